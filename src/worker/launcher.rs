//! The launcher: one for the server. It knows the databases from the shared catalogs, and starts a
//! scheduler in each that is due: at first in every one, to find out which have the extension.

use std::collections::HashMap;
use std::time::Duration;

use super::{SAY_AGAIN_MICROSECONDS, SLEW_MICROSECONDS, scheduler};
use crate::pg::shared_memory::{self, LOOK_NOW, NEVER, Slot};
use crate::pg::workers::{self, Worker};
use crate::pg::{Oid, clock, databases, report, signals, transaction};
use crate::settings;

/// What the postmaster calls.
const ENTRY_POINT: &str = "pg_steward_launcher_main";

/// How often pg_database is read again, in microseconds; CREATE DATABASE … TEMPLATE of a database
/// that has the extension tells us nothing.
const SCAN_EVERY_MICROSECONDS: i64 = 10_000_000;
/// While a scheduler could not be started it is tried again after this.
const RETRY_MICROSECONDS: i64 = 1_000_000;
/// Databases that are probed at the same time after a start of the server.
const PROBES_AT_ONCE: usize = 2;
/// A standby, or a server that is switched off, is looked at this often: a promotion sends no signal.
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// Registers the launcher with the postmaster; only while shared_preload_libraries is being read.
pub(crate) fn register() {
    workers::register_launcher(ENTRY_POINT);
}

workers::entry_point!(pg_steward_launcher_main, main);

fn main(_argument: workers::Argument) {
    workers::connect_to_shared_catalogs();
    workers::show_as("pg_steward launcher");
    shared_memory::set_launcher_pid(signals::my_pid());
    let mut launcher = Launcher::default();
    loop {
        signals::check();
        launcher.turn();
    }
}

#[derive(Default)]
struct Launcher {
    names: HashMap<u32, String>,
    schedulers: HashMap<u32, Worker>,
    /// How often in a row a database's scheduler ended without a word.
    deaths: HashMap<u32, u32>,
    scanned_at: Option<i64>,
    /// When it was last said that no worker was to be had.
    starvation_told_at: i64,
    /// Too many databases, and it has been said.
    crowded: bool,
}

impl Launcher {
    /// One turn: look, start what is due, sleep until the next.
    fn turn(&mut self) {
        if workers::in_recovery() || !settings::enabled() {
            signals::sleep(IDLE_LOOK);
            return;
        }
        let now = clock::now();
        let scanned = |at| clock::is_within(now, at, SCAN_EVERY_MICROSECONDS);
        if !self.scanned_at.is_some_and(scanned) {
            match transaction::run(|| Ok(databases::connectable())) {
                Ok(found) => self.reconcile(found),
                Err(error) => report::failure("launcher", &error),
            }
            self.scanned_at = Some(now);
        }
        self.reap();
        let wake_at = self.start_schedulers(now);
        let until = wake_at.saturating_sub(now).clamp(1_000, SCAN_EVERY_MICROSECONDS);
        workers::report(None);
        signals::sleep(Duration::from_micros(until.unsigned_abs()));
    }

    /// Makes slots for new databases and frees those of databases that are gone.
    fn reconcile(&mut self, found: Vec<(Oid, String)>) {
        let excluded = settings::excluded_databases();
        self.names = found
            .into_iter()
            .filter(|(_, name)| !excluded.contains(name))
            .map(|(oid, name)| (oid.to_u32(), name))
            .collect();
        let names = &self.names;
        shared_memory::retain(|database| names.contains_key(&database));
        self.deaths.retain(|database, _| names.contains_key(database));
        let mut room = true;
        for database in names.keys() {
            room &= shared_memory::update(Oid::from(*database), |_| ()).is_some();
        }
        if !room && !std::mem::replace(&mut self.crowded, true) {
            report::log(&format!(
                "more than {} databases: those beyond are not looked after; name the others in \
                 pg_steward.excluded_databases",
                shared_memory::MAX_DATABASES
            ));
        }
    }

    /// Forgets schedulers that have ended; one that ended without a word is waited for a while.
    fn reap(&mut self) {
        let ended: Vec<u32> = self
            .schedulers
            .iter()
            .filter(|(_, scheduler)| scheduler.has_ended())
            .map(|(database, _)| *database)
            .collect();
        for database in ended {
            self.schedulers.remove(&database);
            let deaths = self.deaths.entry(database).or_default();
            shared_memory::update(Oid::from(database), |slot| {
                if std::mem::take(&mut slot.left_well) {
                    *deaths = 0;
                    return;
                }
                // It found another one there, which an earlier launcher had started.
                if signals::is_alive(slot.scheduler_pid) {
                    return;
                }
                // Killed, or it could not connect: again after a pause that doubles, to a minute.
                slot.scheduler_pid = 0;
                slot.executors = 0;
                slot.waiting_since = 0;
                let pause = RETRY_MICROSECONDS << (*deaths).min(6);
                slot.noted_at = clock::now();
                slot.next_due = slot.noted_at.saturating_add(pause);
                *deaths = deaths.saturating_add(1);
            });
        }
    }

    /// Starts a scheduler in every database that is due; gives the instant to look again.
    fn start_schedulers(&mut self, now: i64) -> i64 {
        let mut wake_at = NEVER;
        let mut slots: Vec<Slot> = shared_memory::slots();
        slots.sort_by_key(|slot| (slot.next_due, slot.database));
        let mut probing = 0;
        for slot in slots {
            if self.schedulers.contains_key(&slot.database) {
                probing += usize::from(!slot.has_extension);
                continue;
            }
            // Left over from an earlier launcher, and still at work.
            if signals::is_alive(slot.scheduler_pid) {
                wake_at = wake_at.min(now.saturating_add(RETRY_MICROSECONDS));
                continue;
            }
            // A clock set back must not make a pause of seconds one of hours.
            let paused_until = slot.paused_until.min(now.saturating_add(SCAN_EVERY_MICROSECONDS));
            let clock_set_back = slot.noted_at > now.saturating_add(SLEW_MICROSECONDS);
            let next_due =
                if clock_set_back && slot.has_extension { LOOK_NOW } else { slot.next_due };
            let due = next_due.max(paused_until);
            if due > now {
                wake_at = wake_at.min(due);
                continue;
            }
            let Some(name) = self.names.get(&slot.database) else {
                // A database that is newer than our last scan.
                self.scanned_at = None;
                wake_at = now;
                continue;
            };
            if slot.next_due == LOOK_NOW && !slot.has_extension {
                if probing >= PROBES_AT_ONCE {
                    continue; // the end of a probe wakes us
                }
                probing += 1;
            }
            match start(Oid::from(slot.database), name) {
                Some(scheduler) => {
                    self.schedulers.insert(slot.database, scheduler);
                }
                None => {
                    if !clock::is_within(now, self.starvation_told_at, SAY_AGAIN_MICROSECONDS) {
                        self.starvation_told_at = now;
                        report::log(
                            "no free background worker for a scheduler: raise \
                             max_worker_processes; trying again every second",
                        );
                    }
                    return wake_at.min(now.saturating_add(RETRY_MICROSECONDS));
                }
            }
        }
        wake_at
    }
}

fn start(database: Oid, name: &str) -> Option<Worker> {
    Worker::start(
        "pg_steward scheduler",
        &format!("pg_steward scheduler: {name}"),
        scheduler::ENTRY_POINT,
        database,
    )
}
