//! When a job runs next. Pure.

/// First wait after a failure, in microseconds.
const FIRST_BACKOFF: i64 = 2_000_000;
/// Longest wait after a failure: an hour.
const LONGEST_BACKOFF: i64 = 3_600_000_000;
/// Jitter: up to a quarter is taken off, so that jobs which failed together do not return together.
const JITTER: f64 = 0.25;

/// How a run ended, as far as the next one is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Done; the work itself knows when it is due again.
    Succeeded {
        /// Microseconds since 2000-01-01 UTC.
        due_again_at: i64,
    },
    /// Failed once more.
    Failed {
        /// Failures in a row, this one included.
        consecutive: u32,
        /// When the work would have been due again, where it could be planned: a step that fails
        /// must not keep a set from its next period.
        due_again_at: Option<i64>,
    },
}

/// The instant of the next run. `random` is in `[0, 1)`.
pub(crate) fn next_run_at(now: i64, ending: Ending, random: f64) -> i64 {
    match ending {
        Ending::Succeeded { due_again_at } => due_again_at,
        Ending::Failed { consecutive, due_again_at } => {
            let later = now.saturating_add(backoff(consecutive, random));
            due_again_at.map_or(later, |due| later.min(due).max(now))
        }
    }
}

/// The wait after so many failures in a row, in microseconds: doubles with each, to an hour.
pub(crate) fn backoff(consecutive: u32, random: f64) -> i64 {
    let doublings = consecutive.saturating_sub(1).min(20);
    let full = FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF);
    full - (full as f64 * JITTER * random) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_to_an_hour() {
        let waits: Vec<i64> = (1..=13).map(|n| backoff(n, 0.0) / 1_000_000).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]);
    }

    proptest! {
        #[test]
        fn stays_between_three_quarters_and_all_of_it(failures in 0u32.., random in 0.0f64..1.0) {
            let full = backoff(failures, 0.0);
            let wait = backoff(failures, random);
            prop_assert!(wait <= full && wait >= full - full / 4);
            prop_assert!((1..=LONGEST_BACKOFF).contains(&wait));
        }

        #[test]
        fn a_failed_step_does_not_put_off_the_next_period(due in 0i64..10_000_000, failures in 1u32..) {
            let ending = Ending::Failed { consecutive: failures, due_again_at: Some(due) };
            prop_assert!(next_run_at(0, ending, 0.0) <= due);
        }

        #[test]
        fn never_in_the_past(now in any::<i64>(), failures in 1u32.., random in 0.0f64..1.0) {
            let ending = Ending::Failed { consecutive: failures, due_again_at: None };
            prop_assert!(next_run_at(now, ending, random) >= now);
        }
    }
}
