//! What is still to be done with a period that is old. Decides only.

use crate::partition::range::RetentionAction;

/// Where a period stands on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A partition like any other.
    Attached,
    /// Its DETACH … CONCURRENTLY was broken off half way.
    Pending,
    /// A table of its own.
    Detached,
}

/// One thing to do, in a transaction of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Detach,
    Finalize,
    Archive,
    Drop,
    /// To where it is kept.
    Relocate,
}

/// What is known of a period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) standing: Standing,
    /// What it was marked for; None: retention has not, and only finishes what somebody began.
    pub(crate) fate: Option<RetentionAction>,
    /// It lies wholly past what the policy of today keeps, and that policy asks for the same fate.
    pub(crate) expired: bool,
    /// A function has to say true before it is dropped.
    pub(crate) needs_archive: bool,
    /// It has.
    pub(crate) archived: bool,
    /// It may be asked (again).
    pub(crate) may_ask: bool,
    /// There is somewhere to go, or something to leave.
    pub(crate) relocates: bool,
}

/// Whether a period leaves: it is wholly past the horizon, does not hold now, and is not the set's
/// last one.
#[must_use]
pub(crate) fn leaves(ends: i128, is_last: bool, horizon: Option<i128>, position: i128) -> bool {
    !is_last && ends <= position && Some(ends) <= horizon
}

/// Whether a period is cold: the same, but that the last one may be.
#[must_use]
pub(crate) fn is_cold(ends: i128, horizon: Option<i128>, position: i128) -> bool {
    ends <= position && Some(ends) <= horizon
}

/// What is still to be done, in order.
#[must_use]
pub(crate) fn phases(case: Case) -> Vec<Phase> {
    let mut phases = match case.standing {
        Standing::Attached if case.expired => vec![Phase::Detach],
        Standing::Attached => return Vec::new(),
        Standing::Pending => vec![Phase::Finalize],
        Standing::Detached => Vec::new(),
    };
    match case.fate {
        Some(RetentionAction::Drop) if case.expired => {
            let asks = case.needs_archive && !case.archived;
            if asks && case.may_ask {
                phases.push(Phase::Archive);
            }
            if !asks || case.may_ask {
                phases.push(Phase::Drop);
            }
        }
        Some(RetentionAction::Detach) if case.relocates => phases.push(Phase::Relocate),
        _ => (),
    }
    phases
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_case() -> impl Strategy<Value = Case> {
        let standing = prop_oneof![
            Just(Standing::Attached),
            Just(Standing::Pending),
            Just(Standing::Detached)
        ];
        let fate = prop_oneof![
            Just(None),
            Just(Some(RetentionAction::Drop)),
            Just(Some(RetentionAction::Detach))
        ];
        let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
        (standing, fate, flags).prop_map(|(standing, fate, flags)| Case {
            standing,
            fate,
            expired: flags.0,
            needs_archive: flags.1,
            archived: flags.2,
            may_ask: flags.3,
            relocates: flags.4,
        })
    }

    proptest! {
        #[test]
        fn nothing_is_dropped_that_may_be_kept(case in any_case()) {
            let phases = phases(case);
            if phases.contains(&Phase::Drop) {
                prop_assert!(case.expired && case.fate == Some(RetentionAction::Drop));
            }
            if case.standing == Standing::Attached && !case.expired {
                prop_assert!(phases.is_empty());
            }
        }

        #[test]
        fn an_archive_comes_before_the_drop_and_only_until_it_said_true(case in any_case()) {
            let phases = phases(case);
            let archives = phases.contains(&Phase::Archive);
            prop_assert!(!(archives && (case.archived || !case.may_ask)));
            if phases.contains(&Phase::Drop) && case.needs_archive {
                prop_assert!(case.archived || archives);
            }
            prop_assert!(phases.is_sorted());
        }

        #[test]
        fn what_is_half_detached_is_finished_first(case in any_case()) {
            let phases = phases(case);
            prop_assert_eq!(
                phases.first() == Some(&Phase::Finalize),
                case.standing == Standing::Pending
            );
        }

        #[test]
        fn the_last_one_and_the_one_that_holds_now_stay(
            ends in any::<i128>(), horizon in any::<i128>(), position in any::<i128>()
        ) {
            prop_assert!(!leaves(ends, true, Some(horizon), position));
            prop_assert!(!leaves(ends, false, None, position));
            prop_assert_eq!(
                leaves(ends, false, Some(horizon), position),
                ends <= horizon && ends <= position
            );
        }
    }
}
