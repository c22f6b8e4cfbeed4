//! What our processes know of each other: one small slot a database, and the launcher's pid.
//!
//! Fixed in size, laid out once at server start. Without the preload there is none of it and every
//! call here answers as if the slot were empty.

use std::collections::HashMap;
use std::sync::OnceLock;

use pgrx::{PGRXSharedMemory, PgLwLock, pg_guard, pg_shmem_init, pg_sys};

use super::clock;
use super::places::{self, Place, Places};
use super::touched::Touched;

/// How many databases can be watched; 120 bytes each.
pub(crate) const MAX_DATABASES: usize = 4096;

/// No due instant known: look at once.
pub(crate) const LOOK_NOW: i64 = i64::MIN;
/// Nothing to do here until told otherwise.
pub(crate) const NEVER: i64 = i64::MAX;

/// One database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The database; 0 for a free slot.
    pub(crate) database: u32,
    /// When a scheduler has to run there, in microseconds since 2000-01-01 UTC.
    pub(crate) next_due: i64,
    /// When that was noted: an instant ahead of now is from before the clock was set back.
    pub(crate) noted_at: i64,
    /// Raised with every request to look again, so that a scheduler that was just leaving does not
    /// overwrite the request with what it had seen before.
    pub(crate) requests: u32,
    /// Tables that have lost partitions since a scheduler last looked.
    pub(crate) touched: Touched,
    /// The scheduler in this database; 0 when there is none.
    pub(crate) scheduler_pid: i32,
    /// Executors that scheduler has running.
    pub(crate) executors: u32,
    /// Since when it waits for one more; 0 when it does not.
    pub(crate) waiting_since: i64,
    /// The owner who has all that one may have at work; 0 where it is the server that has.
    waiting_for: u32,
    /// When it last asked for that one.
    asked_at: i64,
    /// The scheduler has ended as it should; false from its start until then.
    pub(crate) left_well: bool,
    /// When the log last said that no worker was to be had for an executor; schedulers come and go
    /// meanwhile.
    pub(crate) starvation_told_at: i64,
    /// No scheduler is started before this instant: a command wants the database for itself.
    pub(crate) paused_until: i64,
    /// Whether the last scheduler found the extension.
    pub(crate) has_extension: bool,
    /// When the history of runs was last trimmed; schedulers come and go more often than that.
    pub(crate) trimmed_at: i64,
}

/// All of it.
#[derive(Clone, Copy)]
struct Directory {
    launcher_pid: i32,
    slots: [Slot; MAX_DATABASES],
    places: Places,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            launcher_pid: 0,
            slots: [Slot::default(); MAX_DATABASES],
            places: [Place::default(); places::MOST],
        }
    }
}

// SAFETY: fixed size, no pointers, no destructor, every bit pattern that we store is valid.
unsafe impl PGRXSharedMemory for Directory {}

// SAFETY: the name is unique among LWLock tranches.
static DIRECTORY: PgLwLock<Directory> = unsafe { PgLwLock::new(c"pg_steward_directory") };

/// Asks for the memory, if the server is reading shared_preload_libraries; false: it is not, and
/// there will be none.
pub(crate) fn reserve() -> bool {
    // SAFETY: flags of miscadmin.h, set by the postmaster while it loads libraries. Under pg_upgrade
    // nothing of ours may connect or write, as autovacuum does not.
    if unsafe { !pg_sys::process_shared_preload_libraries_in_progress || pg_sys::IsBinaryUpgrade } {
        return false;
    }
    pg_shmem_init!(DIRECTORY);
    PRELOADED.get_or_init(|| ());
    true
}

/// Whether this server loaded us at its start. Without it there is no shared memory.
pub(crate) fn is_preloaded() -> bool {
    PRELOADED.get().is_some()
}

/// Set in the postmaster, and so in every process it forks.
static PRELOADED: OnceLock<()> = OnceLock::new();

/// The launcher's pid; 0 when none runs.
pub(crate) fn launcher_pid() -> i32 {
    if is_preloaded() { DIRECTORY.share().launcher_pid } else { 0 }
}

/// Registers the calling process as the launcher.
pub(crate) fn set_launcher_pid(pid: i32) {
    if is_preloaded() {
        DIRECTORY.exclusive().launcher_pid = pid;
    }
}

/// A copy of the slots in use.
pub(crate) fn slots() -> Vec<Slot> {
    if !is_preloaded() {
        return Vec::new();
    }
    DIRECTORY.share().slots.iter().copied().filter(|slot| slot.database != 0).collect()
}

/// The slot of one database.
pub(crate) fn slot(database: pg_sys::Oid) -> Option<Slot> {
    if !is_preloaded() {
        return None;
    }
    let directory = DIRECTORY.share();
    directory.slots.iter().copied().find(|slot| slot.database == database.to_u32())
}

/// Changes a database's slot, making one if needed. None: no slot is free.
pub(crate) fn update<T>(database: pg_sys::Oid, change: impl FnOnce(&mut Slot) -> T) -> Option<T> {
    if !is_preloaded() {
        return None;
    }
    let wanted = database.to_u32();
    let mut directory = DIRECTORY.exclusive();
    let slots = &mut directory.slots;
    let index = slots
        .iter()
        .position(|slot| slot.database == wanted)
        .or_else(|| slots.iter().position(|slot| slot.database == 0))?;
    let slot = &mut slots[index];
    if slot.database == 0 {
        *slot = Slot { database: wanted, next_due: LOOK_NOW, ..Slot::default() };
    }
    Some(change(slot))
}

/// Changes a database's slot if it has one.
pub(crate) fn update_known<T>(
    database: pg_sys::Oid,
    change: impl FnOnce(&mut Slot) -> T,
) -> Option<T> {
    if !is_preloaded() {
        return None;
    }
    let mut directory = DIRECTORY.exclusive();
    directory.slots.iter_mut().find(|slot| slot.database == database.to_u32()).map(change)
}

/// Frees the slots of databases that are gone.
pub(crate) fn retain(mut keep: impl FnMut(u32) -> bool) {
    if !is_preloaded() {
        return;
    }
    for slot in &mut DIRECTORY.exclusive().slots {
        if slot.database != 0 && !keep(slot.database) {
            *slot = Slot::default();
        }
    }
}

impl Directory {
    fn executors(&self) -> u32 {
        self.slots.iter().map(|slot| slot.executors).sum()
    }
}

/// Reads or changes who works, given the number of executors that have been started. None: there is no
/// shared memory.
pub(super) fn with_places<T>(work: impl FnOnce(&mut Places, u32) -> T) -> Option<T> {
    if !is_preloaded() {
        return None;
    }
    let mut directory = DIRECTORY.exclusive();
    let executors = directory.executors();
    Some(work(&mut directory.places, executors))
}

/// Whoever waits for a place asks at least once a second; after this long without, they do not any
/// more. In microseconds.
const STILL_WAITING_MICROSECONDS: i64 = 3_000_000;

impl Slot {
    /// Asks for a look now, and gives the process to wake for it.
    pub(super) fn ask(&mut self) -> i32 {
        self.next_due = LOOK_NOW;
        self.requests = self.requests.wrapping_add(1);
        self.scheduler_pid
    }

    /// Whether the extension is there, or nobody has looked yet.
    pub(super) fn may_have_extension(&self) -> bool {
        self.has_extension || self.next_due == LOOK_NOW
    }

    fn waits(&self, now: i64) -> bool {
        self.waiting_since != 0 && clock::is_within(now, self.asked_at, STILL_WAITING_MICROSECONDS)
    }

    /// Since when it waits for that; `now` when it does not.
    fn waiting_for_since(&self, whose: u32, now: i64) -> i64 {
        if self.waiting_since != 0 && self.waiting_for == whose { self.waiting_since } else { now }
    }
}

impl Directory {
    /// How many other databases have waited longer for the same.
    fn ahead_of(&self, own: &Slot, whose: u32, now: i64) -> u32 {
        let since = own.waiting_for_since(whose, now);
        let before_us = |slot: &&Slot| {
            slot.database != own.database
                && slot.waits(now)
                && slot.waiting_for == whose
                && slot.waiting_since < since
        };
        u32::try_from(self.slots.iter().filter(before_us).count()).unwrap_or(u32::MAX)
    }
}

/// What a database's scheduler waits for where the server has room: the owner of jobs that are due, who has all
/// that one may have at work. None: for nothing.
pub(crate) fn wait_for_owner(database: pg_sys::Oid, owner: Option<pg_sys::Oid>, now: i64) {
    update(database, |slot| {
        slot.waiting_since = owner.map_or(0, |owner| slot.waiting_for_since(owner.to_u32(), now));
        slot.waiting_for = owner.map_or(0, |owner| owner.to_u32());
        slot.asked_at = now;
    });
}

/// How many databases have waited longer than this one for an owner to have fewer at work.
pub(crate) fn ahead_for_owner(database: pg_sys::Oid, owner: pg_sys::Oid, now: i64) -> u32 {
    if !is_preloaded() {
        return 0;
    }
    let directory = DIRECTORY.share();
    let own = directory.slots.iter().find(|slot| slot.database == database.to_u32());
    own.map_or(0, |own| directory.ahead_of(own, owner.to_u32(), now))
}

/// Counts one more executor of a database, unless the server would have more than `limit` of them, or
/// needs the place for others that have waited longer. False: the scheduler must wait, and is noted
/// as waiting, at `now`.
pub(crate) fn take_executor(database: pg_sys::Oid, limit: u32, now: i64) -> bool {
    if !is_preloaded() {
        return false;
    }
    let mut directory = DIRECTORY.exclusive();
    let running = directory.executors() + places::on_behalf(&directory.places);
    let mine = database.to_u32();
    let Some(place) = directory.slots.iter().position(|slot| slot.database == mine) else {
        return false;
    };
    let own = directory.slots[place];
    let ahead = directory.ahead_of(&own, 0, now);
    let slot = &mut directory.slots[place];
    if running.saturating_add(ahead) >= limit {
        slot.waiting_since = own.waiting_for_since(0, now);
        slot.waiting_for = 0;
        slot.asked_at = now;
        return false;
    }
    slot.waiting_since = 0;
    slot.executors += 1;
    true
}

/// Counts so many executors of a database less. Gives the schedulers that may now start one, those
/// first that have waited longest, for the server and for each owner; the caller wakes them.
pub(crate) fn give_back_executors(database: pg_sys::Oid, ended: u32, now: i64) -> Vec<i32> {
    if !is_preloaded() {
        return Vec::new();
    }
    let mut directory = DIRECTORY.exclusive();
    let mine = directory.slots.iter_mut().find(|slot| slot.database == database.to_u32());
    if let Some(slot) = mine {
        slot.executors = slot.executors.saturating_sub(ended);
        if slot.waiting_for != 0 {
            // It has just had its turn with them: it waits anew.
            slot.waiting_since = 0;
        }
    }
    let mut waiting: Vec<&Slot> = directory
        .slots
        .iter()
        .filter(|slot| slot.database != database.to_u32() && slot.waits(now))
        .collect();
    waiting.sort_by_key(|slot| slot.waiting_since);
    let mut woken: HashMap<u32, u32> = HashMap::new();
    waiting.retain(|slot| {
        let before = woken.entry(slot.waiting_for).or_default();
        *before += 1;
        *before <= ended
    });
    waiting.into_iter().map(|slot| slot.scheduler_pid).collect()
}

/// Whether another database's scheduler waits for a place that a job of `owner` has.
pub(crate) fn others_wait(database: pg_sys::Oid, owner: pg_sys::Oid, now: i64) -> bool {
    slots().iter().any(|slot| {
        slot.database != database.to_u32()
            && slot.waits(now)
            && [0, owner.to_u32()].contains(&slot.waiting_for)
    })
}
