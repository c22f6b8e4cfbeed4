//! When a job runs next, and in whose turn. Pure.

use std::collections::HashMap;
use std::hash::Hash;

/// First wait after a failure, in microseconds.
const FIRST_BACKOFF: i64 = 2_000_000;
/// Longest wait after a failure: an hour.
const LONGEST_BACKOFF: i64 = 3_600_000_000;
/// Jitter: up to a quarter is taken off, so that jobs which failed together do not return together.
const JITTER: f64 = 0.25;

/// Puts jobs that are due into the order in which they are tried: every owner's first one, then every
/// owner's second. Among owners those come first of whose jobs the fewest are at work; then whoever's job
/// has been due for longest. `due` has each owner's jobs in their own order; `key` says whose one is, and
/// since when it is due.
pub(crate) fn in_turn<T, O: Copy + Eq + Hash>(
    due: Vec<T>,
    key: impl Fn(&T) -> (O, i64),
    at_work: impl Fn(O) -> u32,
) -> Vec<T> {
    let mut owners: HashMap<O, (usize, u32)> = HashMap::new();
    let mut ranked: Vec<_> = due
        .into_iter()
        .map(|job| {
            let (owner, due_at) = key(&job);
            let (rank, busy) = owners.entry(owner).or_insert_with(|| (0, at_work(owner)));
            *rank += 1;
            ((*rank, *busy, due_at), job)
        })
        .collect();
    ranked.sort_by_key(|(order, _)| *order);
    ranked.into_iter().map(|(_, job)| job).collect()
}

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

    #[test]
    fn owners_take_turns_and_each_has_an_order_of_its_own() {
        // Number, owner, due since.
        let due = vec![(1, 'a', 10), (2, 'a', 5), (3, 'a', 1), (4, 'b', 20), (5, 'b', 30)];
        let order = |busy: char| -> Vec<i32> {
            let at_work = |owner| u32::from(owner == busy);
            let turns = in_turn(due.clone(), |job| (job.1, job.2), at_work);
            turns.into_iter().map(|job| job.0).collect()
        };
        assert_eq!(order(' '), [1, 4, 2, 5, 3]);
        assert_eq!(order('a'), [4, 1, 5, 2, 3]);
        assert_eq!(order('b'), [1, 4, 2, 5, 3]);
    }

    proptest! {
        /// Places are as many as there are owners: each has one before anybody has two.
        #[test]
        fn nobody_has_two_at_work_before_each_owner_has_one(
            owners in proptest::collection::vec(1u32..5, 1..60),
        ) {
            let mut due: Vec<(i64, u32)> = (0..).zip(owners).collect();
            let all: std::collections::HashSet<u32> = due.iter().map(|job| job.1).collect();
            let mut at_work = HashMap::<u32, u32>::new();
            for _ in 0..all.len() {
                let busy = |owner| at_work.get(&owner).copied().unwrap_or(0);
                let next = in_turn(due.clone(), |(id, owner)| (*owner, *id), busy)[0];
                due.retain(|job| *job != next);
                *at_work.entry(next.1).or_default() += 1;
            }
            prop_assert!(at_work.values().all(|count| *count == 1), "{:?}", at_work);
        }

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
