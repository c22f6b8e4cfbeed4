//! The scheduler: one for a database that has work due. It starts executors, notes in shared
//! memory when the database is due again, and leaves when nothing is due for a while.

use std::collections::HashMap;
use std::time::Duration;

use super::{SAY_AGAIN_MICROSECONDS, SLEW_MICROSECONDS, executor, kinds};
use crate::error::{Error, Result};
use crate::jobs::Job;
use crate::pg::locks;
use crate::pg::shared_memory::{self, NEVER, Slot};
use crate::pg::touched::Touched;
use crate::pg::workers::Worker;
use crate::pg::{Oid, clock, places, query, report, signals, transaction, workers};
use crate::{alerts, dump, jobs, settings};

/// What the postmaster calls.
pub(super) const ENTRY_POINT: &str = "pg_steward_scheduler_main";

/// It stays for a job that is due within this time, in microseconds.
const LINGER_MICROSECONDS: i64 = 15_000_000;
/// It comes back so long before the next job is due, in microseconds: connecting and reading the
/// catalogs takes a while, the more so where many databases are due at the same instant.
const LEAD_MICROSECONDS: i64 = 3_000_000;
/// While it could not start what is due (no free worker, too many jobs), it tries again after this.
const RETRY: Duration = Duration::from_secs(1);
/// An executor takes jobs one after the other; as long as some are left, another one is started so
/// much later, for those that take long. In microseconds.
const REINFORCE_MICROSECONDS: i64 = 100_000;
/// While it stays it looks this often whether somebody wants the database for themselves: they wait
/// 5 s.
const LONGEST_NAP: Duration = Duration::from_secs(1);
/// How long it then keeps away, in microseconds.
const YIELD_MICROSECONDS: i64 = 10_000_000;
/// A run that has been cancelled at its max_runtime is ended so many seconds later.
const CANCEL_GRACE_SECONDS: i32 = 10;
/// How many finished runs are trimmed in one transaction.
const TRIM_AT_ONCE: u32 = 5_000;
/// How often finished runs are trimmed, in microseconds.
const TRIM_EVERY_MICROSECONDS: i64 = 3_600_000_000;

workers::entry_point!(pg_steward_scheduler_main, main);

fn main(argument: workers::Argument) {
    let (oid, name) = workers::connect(argument);
    workers::show_as(&format!("pg_steward scheduler: {name}"));
    let mut scheduler = Scheduler {
        oid,
        name,
        executors: Vec::new(),
        starved: false,
        left_due: Vec::new(),
        started_at: 0,
        looked_at: None,
        clock_set_back: false,
        waiting: false,
    };
    if !scheduler.take_slot() {
        return;
    }
    let requests = scheduler.requests();
    match scheduler.work() {
        Ok(()) => (),
        Err(Error::NoExtension) => scheduler.leave(requests, false, clock::now(), NEVER),
        Err(error) => {
            // Look again later: whatever it was, the launcher must not start us every instant.
            let now = clock::now();
            scheduler.leave(requests, true, now, now.saturating_add(60_000_000));
            report::failure(&format!("scheduler in {}", scheduler.name), &error);
        }
    }
    shared_memory::update(oid, |slot| {
        slot.scheduler_pid = 0;
        slot.executors = 0;
        slot.waiting_since = 0;
        slot.left_well = true;
    });
    signals::wake(shared_memory::launcher_pid());
}

struct Scheduler {
    oid: Oid,
    name: String,
    executors: Vec<Worker>,
    /// No worker was to be had.
    starved: bool,
    /// What was due at the last look.
    left_due: Vec<i64>,
    /// When the last executor was asked for.
    started_at: i64,
    /// When we last looked at the jobs.
    looked_at: Option<i64>,
    /// Since the last look of ours, or of the scheduler before us.
    clock_set_back: bool,
    /// We are noted as waiting for a place.
    waiting: bool,
}

/// What one look at the jobs gave.
struct Look {
    /// What there is to say of sets that a dump has brought.
    from_dump: Vec<String>,
    /// The jobs that are due and not being run.
    due: Vec<i64>,
    /// How many of them may begin now: of one owner there are only so many at work.
    may_begin: usize,
    /// Of how many owners those are.
    owners: usize,
    /// Whose job is due first of those who have as many at work as one may have, or others wait for.
    blocked: Option<Oid>,
    /// Every table that has lost partitions: what others hold locked is tried again.
    reached: bool,
    /// The processes of the runs in progress.
    running: Vec<i32>,
    /// Those that should have ended long ago.
    overdue: Vec<i32>,
    next_due_at: i64,
    /// The database accepts connections, is no template, and is not being restored.
    open: bool,
}

impl Scheduler {
    fn work(&mut self) -> Result<()> {
        loop {
            signals::check();
            let requests = self.requests();
            let ended = self.reap();
            if transaction::run(|| Ok(locks::database_is_wanted()))? {
                self.yield_database();
                return Ok(());
            }
            let now = clock::now();
            self.clock_set_back |= self.looked_before(now);
            // A run that has just ended may have gone by a clock that we have never seen.
            let call_back = self.clock_set_back || self.executors.is_empty();
            let touched = self.take_touched();
            let look =
                match transaction::with_extension(|| look(self.oid, now, call_back, &touched)) {
                    // Somebody has the extension or our tables locked.
                    Err(error) if error.is_lock_trouble() => {
                        self.put_back(&touched);
                        workers::report(None);
                        signals::sleep(RETRY);
                        continue;
                    }
                    outcome => outcome?,
                };
            if !look.reached {
                self.put_back(&touched);
            }
            look.from_dump.iter().for_each(|message| report::about_dump(false, message));
            self.looked_at = Some(now);
            self.end(&look.overdue);
            let welcome = look.open && !settings::excluded_databases().contains(&self.name);
            let enabled = settings::enabled() && welcome;
            // An executor that ended and left the same jobs due could not have them: somebody holds
            // them locked. They are tried again after a pause.
            let held = ended && !look.due.is_empty() && look.due == self.left_due;
            let wanted = if !enabled || held || look.due.is_empty() {
                0
            } else {
                self.busy(&look.running).saturating_add(look.may_begin)
            };
            let mut has_room = self.start_executor(wanted, look.owners, now);
            while has_room && self.executors.len() < wanted.min(look.owners) {
                has_room = self.start_executor(wanted, look.owners, now);
            }
            if has_room {
                let blocked = if enabled { look.blocked } else { None };
                self.wait_for_owner(blocked, now);
            }
            let starved = !has_room || held;
            self.left_due.clone_from(&look.due);
            shared_memory::update(self.oid, |slot| slot.has_extension = true);
            let idle = self.executors.is_empty();
            if enabled && idle && look.due.is_empty() && self.trim(now) {
                continue;
            }
            let stay_for = now.saturating_add(LINGER_MICROSECONDS);
            if idle && (!enabled || (look.due.is_empty() && look.next_due_at > stay_for)) {
                // The launcher learns at its next scan that we are not welcome here any more.
                let mut due = if welcome { look.next_due_at } else { stay_for };
                if self.clock_set_back {
                    // Somebody's CALL that began before may still write down what it read then.
                    due = due.min(stay_for);
                }
                self.leave(requests, true, now, due.saturating_sub(LEAD_MICROSECONDS));
                return Ok(());
            }
            if idle && self.starved {
                // Every worker slot is taken, perhaps by schedulers like us: make room for an executor.
                let pause = clock::jittered(2_000).as_micros();
                let later = now.saturating_add(i64::try_from(pause).unwrap_or(2_000_000));
                self.leave(requests, true, now, later);
                return Ok(());
            }
            workers::report(None);
            signals::sleep(Self::nap(now, &look, starved));
        }
    }

    /// Whether the last look was at an instant that is now in the future.
    fn looked_before(&self, now: i64) -> bool {
        let noted_at = || shared_memory::slot(self.oid).map(|slot| slot.noted_at);
        self.looked_at
            .or_else(noted_at)
            .is_some_and(|at| now < at.saturating_sub(SLEW_MICROSECONDS))
    }

    /// Ends executors of ours whose run takes no notice of a cancel. It is closed as crashed.
    fn end(&mut self, pids: &[i32]) {
        if pids.is_empty() {
            return;
        }
        for executor in &self.executors {
            if executor.pid().is_some_and(|pid| pids.contains(&pid)) {
                executor.end();
            }
        }
    }

    /// How many of our executors are in the middle of a run.
    fn busy(&self, running: &[i32]) -> usize {
        let pids = self.executors.iter().filter_map(Worker::pid);
        pids.filter(|pid| running.contains(pid)).count()
    }

    /// Registers as this database's scheduler. False: a launcher that has ended since had started
    /// another one, which is still there.
    fn take_slot(&self) -> bool {
        let mine = signals::my_pid();
        // The look and the note are one: two that start at the same time must not both find nobody.
        let registered = shared_memory::update(self.oid, |slot| {
            let other = slot.scheduler_pid;
            if other != mine && signals::is_alive(other) {
                return false;
            }
            slot.scheduler_pid = mine;
            // What an earlier one has left, that ended together with its launcher or after it.
            slot.executors = 0;
            slot.waiting_since = 0;
            slot.left_well = false;
            true
        });
        registered == Some(true)
    }

    fn requests(&self) -> u32 {
        shared_memory::slot(self.oid).map_or(0, |slot| slot.requests)
    }

    /// The tables that have lost partitions since the last look; one that fails puts them back.
    fn take_touched(&self) -> Touched {
        let touched = shared_memory::update(self.oid, |slot| std::mem::take(&mut slot.touched));
        touched.unwrap_or_default()
    }

    fn put_back(&self, touched: &Touched) {
        shared_memory::update(self.oid, |slot| slot.touched.add_all(touched));
    }

    /// Forgets executors that have ended, and lets others have their places. True: there were some.
    fn reap(&mut self) -> bool {
        let before = self.executors.len();
        self.executors.retain(|executor| !executor.has_ended());
        self.give_back(before - self.executors.len());
        self.executors.len() < before
    }

    fn give_back(&self, executors: usize) {
        let ended = u32::try_from(executors).unwrap_or(u32::MAX);
        if ended > 0 {
            let waiting = shared_memory::give_back_executors(self.oid, ended, clock::now());
            waiting.into_iter().for_each(signals::wake);
        }
    }

    /// Starts one more executor if fewer than `wanted` run, and the last one has had a while to take
    /// what is due. False: there was no room for it.
    ///
    /// An executor is one owner's: each of `owners` that have something due is not waited for.
    fn start_executor(&mut self, wanted: usize, owners: usize, now: i64) -> bool {
        let settling = self.executors.len() >= owners.max(1)
            && clock::is_within(now, self.started_at, REINFORCE_MICROSECONDS);
        if self.executors.len() >= wanted || settling {
            return true;
        }
        self.waiting = !shared_memory::take_executor(self.oid, settings::limits().all(), now);
        if self.waiting {
            return false;
        }
        self.started_at = now;
        match executor::start(self.oid, &self.name) {
            Some(executor) => {
                self.executors.push(executor);
                self.starved = false;
                true
            }
            None => {
                self.give_back(1);
                self.starved = true;
                let tell = shared_memory::update(self.oid, |slot| {
                    let tell =
                        !clock::is_within(now, slot.starvation_told_at, SAY_AGAIN_MICROSECONDS);
                    if tell {
                        slot.starvation_told_at = now;
                    }
                    tell
                });
                if tell == Some(true) {
                    report::log(&format!(
                        "no free background worker for jobs in database \"{}\": raise \
                         max_worker_processes; trying again every second",
                        self.name
                    ));
                }
                false
            }
        }
    }

    /// Notes whose jobs wait here because that owner has as many at work as one may have.
    fn wait_for_owner(&mut self, owner: Option<Oid>, now: i64) {
        if self.waiting || owner.is_some() {
            shared_memory::wait_for_owner(self.oid, owner, now);
        }
        self.waiting = owner.is_some();
    }

    /// How long to sleep: an executor's end and a changed policy set the latch.
    fn nap(now: i64, look: &Look, starved: bool) -> Duration {
        if starved {
            return RETRY;
        }
        if !look.due.is_empty() && look.may_begin == 0 {
            return RETRY;
        }
        if !look.due.is_empty() {
            // They are being taken; what is left then gets another executor.
            return Duration::from_micros(REINFORCE_MICROSECONDS.unsigned_abs());
        }
        let until = look.next_due_at.saturating_sub(now).max(1_000);
        Duration::from_micros(until.unsigned_abs()).min(LONGEST_NAP)
    }

    /// Removes a batch of old runs and alerts, and what is left of tables that are gone, once an hour all of
    /// them. True: there may be more.
    fn trim(&self, now: i64) -> bool {
        let trimmed_at = shared_memory::slot(self.oid).map_or(0, |slot| slot.trimmed_at);
        if clock::is_within(now, trimmed_at, TRIM_EVERY_MICROSECONDS) {
            return false;
        }
        let keep = settings::history_retention_minutes();
        let most = i64::from(TRIM_AT_ONCE);
        let trimmed = transaction::with_extension(|| {
            jobs::forget_gone()?;
            kinds::tidy()?;
            Ok(jobs::trim_history(keep, most)?.max(alerts::trim(keep, most)?))
        });
        let more = match trimmed {
            Ok(removed) => removed >= TRIM_AT_ONCE as usize,
            // Tried again in an hour.
            Err(error) => {
                report::failure(&format!("history of {}", self.name), &error);
                false
            }
        };
        if !more {
            shared_memory::update(self.oid, |slot| slot.trimmed_at = now);
        }
        more
    }

    /// Ends our executors, and starts nothing here for a while. A run that is cut off is closed as
    /// crashed and done again, as after any other end of its process.
    fn yield_database(&mut self) {
        self.executors.drain(..).for_each(Worker::terminate);
        let until = clock::now().saturating_add(YIELD_MICROSECONDS);
        shared_memory::update(self.oid, |slot| slot.paused_until = until);
    }

    /// Notes when to come back as of a look at `now`, unless somebody asked for another one since
    /// `requests` was read.
    fn leave(&self, requests: u32, has_extension: bool, now: i64, next_due: i64) {
        shared_memory::update(self.oid, |slot: &mut Slot| {
            slot.has_extension = has_extension;
            if slot.requests == requests {
                slot.next_due = next_due;
                slot.noted_at = now;
            }
        });
    }
}

fn look(database: Oid, now: i64, call_back: bool, touched: &Touched) -> Result<Look> {
    jobs::close_abandoned_runs()?;
    let being_restored = locks::workers_are_kept_out(jobs::registry()?);
    let from_dump = if being_restored { Vec::new() } else { dump::take_over()? };
    if call_back {
        jobs::call_back(now)?;
    }
    let reached = touched.is_empty() || jobs::make_due_at_once(touched, now)?;
    let due = jobs::due(now)?;
    let may_begin = may_begin(&due, database, now);
    let is_blocked = |owner: &Oid| may_begin.get(owner) == Some(&0);
    Ok(Look {
        from_dump,
        may_begin: may_begin.values().sum(),
        owners: may_begin.values().filter(|jobs| **jobs > 0).count(),
        blocked: due.iter().map(|job| job.owner).find(is_blocked),
        due: due.into_iter().map(|job| job.job_id).collect(),
        running: jobs::running()?,
        overdue: jobs::overdue(CANCEL_GRACE_SECONDS)?,
        next_due_at: match reached {
            true => jobs::next_due_at()?.unwrap_or(NEVER),
            false => now.saturating_add(i64::try_from(RETRY.as_micros()).unwrap_or(NEVER)),
        },
        reached,
        open: !being_restored
            && query::one(
                "SELECT d.datallowconn AND NOT d.datistemplate FROM pg_catalog.pg_database d
              WHERE d.datname = pg_catalog.current_database()",
                &[],
                |row| row.required(1),
            )?,
    })
}

/// How many of these jobs each owner may have at work beside what they have, and what other databases have
/// waited for longer.
fn may_begin(due: &[Job], database: Oid, now: i64) -> HashMap<Oid, usize> {
    let limits = settings::limits();
    let mut owners: HashMap<Oid, usize> = HashMap::new();
    for job in due {
        *owners.entry(job.owner).or_default() += 1;
    }
    for (owner, jobs) in &mut owners {
        let ahead = shared_memory::ahead_for_owner(database, *owner, now);
        let left = places::left(*owner, limits).saturating_sub(ahead);
        *jobs = (*jobs).min(left as usize);
    }
    owners
}
