//! The table that a measurement ends in.

use crate::numbers::Series;

/// What a ratio has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
        }
    }
}

/// One comparison: what was measured, both sides, their ratio.
#[derive(Debug)]
pub(crate) struct Line {
    what: String,
    other: String,
    ours: String,
    ratio: String,
    verdict: String,
    met: bool,
}

impl Line {
    /// Both sides as text, and their ratio round by round.
    pub(crate) fn new(what: &str, other: String, ours: String, ratio: &Series) -> Self {
        Self::plain(what, other, ours, ratio.to_string())
    }

    /// A line whose last word is no ratio.
    pub(crate) fn plain(what: &str, other: String, ours: String, said: String) -> Self {
        let (what, verdict) = (what.to_owned(), String::new());
        Self { what, other, ours, ratio: said, verdict, met: true }
    }

    /// Judges a value by a target.
    pub(crate) fn target(mut self, target: Target, value: f64) -> Self {
        self.met = target.is_met(value);
        let verdict = if self.met { "met" } else { "MISSED" };
        self.verdict = format!("{} {verdict}", target.text());
        self
    }
}

/// What a case came to.
#[derive(Debug)]
pub(crate) struct Report {
    /// What was compared, in a sentence.
    pub(crate) title: String,
    /// Over the columns: the other side, ours, what the ratio is of.
    pub(crate) columns: [&'static str; 3],
    /// The comparisons.
    pub(crate) lines: Vec<Line>,
}

impl Report {
    /// How many targets were missed.
    pub(crate) fn missed(&self) -> usize {
        self.lines.iter().filter(|line| !line.met).count()
    }

    /// Writes the table.
    pub(crate) fn print(&self) {
        println!("\n{}\n", self.title);
        let [other, ours, ratio] = self.columns;
        let mut rows = vec![["", other, ours, ratio, "target"].map(str::to_owned)];
        rows.extend(self.lines.iter().map(|line| {
            [&line.what, &line.other, &line.ours, &line.ratio, &line.verdict].map(Clone::clone)
        }));
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..5).map(width).collect();
        for row in &rows {
            let line = format!(
                "  {:<a$}  {:>b$}  {:>c$}  {:>d$}  {}",
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                a = widths[0],
                b = widths[1],
                c = widths[2],
                d = widths[3],
            );
            println!("{}", line.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Target};
    use crate::numbers::Series;

    #[test]
    fn a_target_is_judged() {
        let line = || Line::new("x", String::new(), String::new(), &Series::default());
        assert!(line().target(Target::AtMost(1.15), 1.15).met);
        assert!(!line().target(Target::AtMost(1.15), 1.16).met);
        assert!(line().target(Target::AtLeast(200.0), 230.0).met);
        let missed = line().target(Target::AtLeast(200.0), f64::NAN);
        assert_eq!((missed.met, missed.verdict.as_str()), (false, "≥ 200 MISSED"));
    }
}
