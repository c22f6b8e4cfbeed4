//! Counting what passed and failed.

use std::fmt;

/// How much passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// What passed.
    pub(crate) passed: u64,
    /// What failed.
    pub(crate) failed: u64,
    /// What was left out, because a server cannot do what it is about.
    pub(crate) skipped: u64,
}

impl Tally {
    /// One thing that passed or failed as a whole.
    pub(crate) fn one(success: bool) -> Self {
        Self { passed: u64::from(success), failed: u64::from(!success), skipped: 0 }
    }

    /// The sum of a test run's `test result:` lines. A run that failed without saying which test
    /// did, such as one that does not compile, is one failure.
    pub(crate) fn of_tests(output: &str, success: bool) -> Self {
        let mut sum = Self::default();
        for line in output.lines().filter(|line| line.starts_with("test result:")) {
            let words: Vec<&str> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
            for pair in words.windows(2) {
                let Ok(count) = pair[0].parse::<u64>() else { continue };
                match pair[1] {
                    "passed" => sum.passed += count,
                    "failed" => sum.failed += count,
                    _ => {}
                }
            }
        }
        if !success && sum.failed == 0 {
            sum.failed = 1;
        }
        sum
    }

    /// What was left out.
    pub(crate) fn left_out(skipped: u64) -> Self {
        Self { skipped, ..Self::default() }
    }

    /// Adds another tally to this one.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.skipped {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn result_lines_are_summed() {
        let output = "running 2 tests\n\
            test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s\n\
            test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Tally::of_tests(output, false), Tally { passed: 16, failed: 2, skipped: 0 });
    }

    #[test]
    fn a_run_that_does_not_compile_is_one_failure() {
        let output = "error: could not compile\n";
        assert_eq!(Tally::of_tests(output, false), Tally { passed: 0, failed: 1, skipped: 0 });
    }

    #[test]
    fn what_was_left_out_is_told_where_something_was() {
        let mut tally = Tally::one(true);
        assert_eq!(tally.to_string(), "1 passed, 0 failed");
        tally.add(Tally::left_out(3));
        assert_eq!(tally.to_string(), "1 passed, 0 failed, 3 skipped");
    }
}
