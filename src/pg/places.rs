//! Places for work in the whole server: who has how many, so that nobody's work stops another's.
//!
//! A scheduler counts the executors that it starts (`shared_memory::take_executor`); here each of them,
//! and each session that has sent a worker on its behalf, says whose job it runs.

use std::cell::Cell;

use pgrx::pg_sys;

use super::{shared_memory, signals};

/// How many may work at the same time, from `pg_steward.max_concurrent_jobs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Jobs of one owner.
    of_one_owner: u32,
}

impl Limits {
    pub(crate) fn new(max_concurrent_jobs: u32) -> Self {
        Self { of_one_owner: max_concurrent_jobs.max(1) }
    }

    /// Of the whole server: two more than any owner has, so that another one finds a place to make partitions
    /// in, and one for what takes long beside that. Where an owner has one, making partitions beside an
    /// archive takes another.
    pub(crate) fn all(self) -> u32 {
        self.of_one_owner.max(2) + 2
    }

    /// Of those, how many may be at what takes as long as it takes: archives, copies to other tablespaces.
    fn slow(self) -> u32 {
        self.of_one_owner.max(2)
    }

    /// How many of these one owner may have: one fewer than there are, for others, and than an owner may have
    /// at work, for what makes partitions waits for none of that.
    fn slow_of_one_owner(self) -> u32 {
        self.of_one_owner.saturating_sub(1).max(1)
    }

    /// How many more jobs of an owner may begin, who has so many at work, and so many of those slow.
    fn left(self, running: u32, slow: u32) -> u32 {
        let beside_slow = u32::from(running == slow);
        self.of_one_owner.saturating_sub(running).max(beside_slow)
    }
}

/// A job at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The executor, or the session on whose behalf a worker runs; 0 for a free place.
    pid: i32,
    /// Whose the job's target is.
    owner: u32,
    is_slow: bool,
    on_behalf: bool,
}

/// More than [`Limits::all`] can ever be.
pub(super) const MOST: usize = 80;

pub(super) type Places = [Place; MOST];

thread_local! {
    /// Whose place this process works in: its own, or that of the session that waits.
    static MINE: Cell<i32> = const { Cell::new(0) };
    static LEAVES_AT_EXIT: Cell<bool> = const { Cell::new(false) };
}

/// Workers that run on behalf of sessions.
pub(super) fn on_behalf(places: &Places) -> u32 {
    count(places, |place| place.on_behalf)
}

fn count(places: &Places, which: impl Fn(&Place) -> bool) -> u32 {
    let found = places.iter().filter(|place| place.pid != 0 && which(place)).count();
    u32::try_from(found).unwrap_or(u32::MAX)
}

fn left_of(places: &Places, owner: u32, limits: Limits) -> u32 {
    let running = count(places, |place| place.owner == owner);
    let slow = count(places, |place| place.owner == owner && place.is_slow);
    limits.left(running, slow)
}

/// How many more jobs of an owner may begin now.
pub(crate) fn left(owner: pg_sys::Oid, limits: Limits) -> u32 {
    shared_memory::with_places(|places, _| left_of(places, owner.to_u32(), limits)).unwrap_or(0)
}

/// How many jobs of an owner are at work.
pub(crate) fn running(owner: pg_sys::Oid) -> u32 {
    let owner = owner.to_u32();
    shared_memory::with_places(|places, _| count(places, |place| place.owner == owner)).unwrap_or(0)
}

/// Takes a place for a job of `owner`, which an executor does that has been counted already. False: that
/// owner has all that one may have.
pub(crate) fn take(owner: pg_sys::Oid, limits: Limits) -> bool {
    take_for(owner, false, |places, _| left_of(places, owner.to_u32(), limits) > 0)
}

/// The same for a session that is about to send a worker, for which there must be a place in the server.
pub(crate) fn take_on_behalf(owner: pg_sys::Oid, limits: Limits) -> bool {
    take_for(owner, true, |places, executors| {
        left_of(places, owner.to_u32(), limits) > 0 && executors + on_behalf(places) < limits.all()
    })
}

fn take_for(owner: pg_sys::Oid, on_behalf: bool, may: impl FnOnce(&Places, u32) -> bool) -> bool {
    let pid = signals::my_pid();
    leave();
    if !LEAVES_AT_EXIT.replace(true) {
        // SAFETY: a process is removed from shared memory while it can still lock it (ipc.c).
        unsafe { pg_sys::before_shmem_exit(Some(leave_at_exit), pg_sys::Datum::null()) };
    }
    let taken = shared_memory::with_places(|places, executors| {
        if !may(places, executors) {
            return false;
        }
        match places.iter_mut().find(|place| place.pid == 0) {
            Some(free) => {
                *free = Place { pid, owner: owner.to_u32(), is_slow: false, on_behalf };
                true
            }
            None => false,
        }
    });
    // Without shared memory there are no workers that anybody would have to wait for.
    let taken = taken.unwrap_or(true);
    if taken {
        MINE.set(pid);
    }
    taken
}

/// The session's place, for the worker that it has sent: see [`work_in`].
pub(crate) fn mine() -> i32 {
    MINE.get()
}

/// What this process does, it does in a session's place.
pub(crate) fn work_in(place: i32) {
    MINE.set(place);
}

/// Whether what comes next may take as long as it takes; then it is noted. True for one that has been.
pub(crate) fn go_slow(limits: Limits) -> bool {
    let mine = MINE.get();
    shared_memory::with_places(|places, _| {
        let Some(own) = places.iter().position(|place| mine != 0 && place.pid == mine) else {
            return true;
        };
        let owner = places[own].owner;
        let slow = |place: &Place| place.is_slow && place.pid != mine;
        let may = count(places, slow) < limits.slow()
            && count(places, |place| slow(place) && place.owner == owner)
                < limits.slow_of_one_owner();
        places[own].is_slow |= may;
        places[own].is_slow
    })
    .unwrap_or(true)
}

/// Gives this process's own place back, if it has one.
pub(crate) fn leave() {
    let pid = signals::my_pid();
    if MINE.replace(0) == pid {
        shared_memory::with_places(|places, _| {
            places.iter_mut().filter(|place| place.pid == pid).for_each(|place| {
                *place = Place::default();
            });
        });
    }
}

unsafe extern "C-unwind" fn leave_at_exit(_code: std::ffi::c_int, _argument: pg_sys::Datum) {
    leave();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_place_is_neither_one_owners_nor_slow() {
        for jobs in 1..=64 {
            let limits = Limits::new(jobs);
            assert!(usize::try_from(limits.all()).is_ok_and(|all| all <= MOST));
            assert!(limits.slow() < limits.all());
            assert!(limits.slow_of_one_owner() < limits.slow(), "{jobs}: none for another owner");
            // An owner whose slow jobs are as many as can be still makes partitions.
            let slow = limits.slow_of_one_owner();
            assert!(limits.left(slow, slow) > 0, "{jobs}");
        }
    }

    proptest! {
        #[test]
        fn whatever_owners_begin_another_one_finds_a_place(
            jobs in 1u32..=64,
            turns in proptest::collection::vec(any::<bool>(), 0..200),
        ) {
            let limits = Limits::new(jobs);
            let (mut running, mut slow) = (0, 0);
            for goes_slow in turns {
                if limits.left(running, slow) == 0 {
                    break;
                }
                running += 1;
                if goes_slow && slow < limits.slow_of_one_owner() {
                    slow += 1;
                }
            }
            // For both kinds of work.
            prop_assert!(running + 2 <= limits.all());
            prop_assert!(slow < limits.slow());
        }
    }
}
