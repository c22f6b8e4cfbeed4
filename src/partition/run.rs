//! Carries steps out, one transaction each: the same for a person who waits and for a worker.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::apply::{self, Outcome};
use super::steps::{Action, Step, Work, lowest};
use super::{range, retention};
use crate::error::{Error, Result};
use crate::pg::transaction::Transactions;
use crate::pg::{Oid, clock, places, report, workers};
use crate::settings;

/// After so long, and when new periods are due, a worker leaves what is old to the next run, which looks
/// first whether a partition is lacking: an archive, or a copy to another tablespace, can take hours.
const TURN: Duration = Duration::from_secs(60);

/// The longest pause between two partitions of integer keys, in microseconds: how soon the next one will
/// be too old nobody knows.
const KEYS_PAUSE: i64 = 5_000_000;
/// How soon a run that had no place for what takes long comes back, in microseconds.
const PLACE_PAUSE: i64 = 5_000_000;
/// How soon it is looked again whether a database is read only still, in microseconds.
const READ_ONLY_PAUSE: i64 = 600_000_000;
/// A shorter one is none.
const SHORTEST_PAUSE: i64 = 1_000_000;

/// Takes every step, each in its own transaction; one that fails stops no other, but for what was
/// to follow on the same partition. `progress` is told before each step that copies.
pub(crate) fn carry_out(
    transactions: &Transactions<'_>,
    work: &Work,
    progress: impl Fn(&Outcome) -> Result<()>,
) -> Result<Outcome> {
    let outcome = Outcome { bytes: retention::bytes(work), ..Outcome::default() };
    // Written down before the first step: see `remember_make_up`.
    if work.remembered != work.make_up_from {
        transactions.on_our_tables(|| range::remember_make_up(work.parent, work.make_up_from))?;
    }
    let began = Instant::now();
    let mut run = Run {
        transactions,
        work,
        outcome,
        given_up: GivenUp::default(),
        began,
        retires: false,
        left: None,
    };
    let mut held = Vec::new();
    for step in &work.steps {
        // Copied when nobody is at it; those that somebody holds come last.
        if step.copies.is_some() && !transactions.on_user_tables(|| retention::is_free(step))? {
            held.push(step);
            continue;
        }
        run.take(step, &progress)?;
    }
    for step in held {
        run.take(step, &progress)?;
    }
    let mut outcome = run.outcome;
    if outcome.cancelled.is_some() {
        return Ok(outcome); // what was remembered at the start still holds
    }
    if let Some(error) = &work.refused {
        report::failure("missed periods", error);
        outcome.failed.push(("missed periods".into(), error.clone()));
        outcome.left_from = lowest(outcome.left_from, work.make_up_from);
    }
    if outcome.left_from != work.make_up_from {
        transactions.on_our_tables(|| range::remember_make_up(work.parent, outcome.left_from))?;
    }
    Ok(outcome)
}

/// A run in progress.
struct Run<'a> {
    transactions: &'a Transactions<'a>,
    work: &'a Work,
    outcome: Outcome,
    given_up: GivenUp,
    began: Instant,
    /// It has come to what is old.
    retires: bool,
    /// The last one that was detached.
    left: Option<Oid>,
}

impl Run<'_> {
    /// When a step is to be taken, if not now: a worker has the time to let one partition go after the
    /// other, and makes room for a run that looks first whether a partition is lacking. With each that
    /// leaves, every session has to read the set's bounds and plan its queries on it anew (relcache.c,
    /// inval.c).
    fn leave_for_later(&self, step: &Step) -> Option<i64> {
        if self.outcome.waits_for_place && step.subject.is_some() {
            return self.outcome.more_at;
        }
        if self.transactions.attended() || step.action == Action::Create {
            return None;
        }
        let now = clock::now();
        if self.retires && (now >= self.work.due_again_at || self.began.elapsed() > TURN) {
            return Some(now);
        }
        let pause = self.pause();
        let is_next = step.leaving && step.subject != self.left && self.left.is_some() && pause > 0;
        is_next.then(|| now.saturating_add(pause))
    }

    /// Whether a worker would take something away from a database that is to be read only. Partitions are
    /// made all the same: who overrides that for an insert must find one.
    fn is_unwanted(&self, step: &Step) -> bool {
        step.action != Action::Create
            && self.transactions.in_worker()
            && workers::database_is_read_only()
    }

    /// Whether a worker may begin a step that takes as long as it takes: those have not all places.
    fn may_take_long(&self, step: &Step) -> bool {
        let takes_long = step.action == Action::Archive || step.copies.is_some();
        !takes_long || !self.transactions.in_worker() || places::go_slow(settings::limits())
    }

    /// Between two partitions that leave: the setting is for a set of a thousand, for what it spares
    /// the sessions grows with the set; and no longer than would let them pile up. 0: not worth it.
    fn pause(&self) -> i64 {
        let Some(past) = &self.work.past else { return 0 };
        let partitions = i64::try_from(past.partitions).unwrap_or(i64::MAX).min(1_000);
        let pause = settings::retention_pause_microseconds() * partitions / 1_000;
        let pause = pause.min(past.every.map_or(KEYS_PAUSE, |every| every / 2));
        if pause < SHORTEST_PAUSE { 0 } else { pause }
    }

    fn take(&mut self, step: &Step, progress: impl Fn(&Outcome) -> Result<()>) -> Result<()> {
        if self.given_up.covers(step) || self.outcome.cancelled.is_some() {
            return Ok(());
        }
        if let Some(later) = self.leave_for_later(step) {
            self.outcome.more_at = Some(later);
            return Ok(());
        }
        if self.is_unwanted(step) {
            self.outcome.deferred = Some(Error::ReadOnlyDatabase);
            self.outcome.more_at = Some(clock::now().saturating_add(READ_ONLY_PAUSE));
            return Ok(());
        }
        if !self.may_take_long(step) {
            if self.transactions.attended() {
                let partition = step.partition.to_string();
                report::failure(&partition, &Error::NoFreePlace);
                self.given_up.add(step, &Error::NoFreePlace);
                self.outcome.failed.push((partition, Error::NoFreePlace));
                return Ok(());
            }
            // What leaves next would come to the same.
            self.outcome.more_at = Some(clock::now().saturating_add(PLACE_PAUSE));
            self.outcome.waits_for_place = true;
            return Ok(());
        }
        self.retires |= step.subject.is_some();
        let partition = step.partition.to_string();
        if step.copies.is_some() {
            progress(&self.outcome)?;
        }
        let outcome = &mut self.outcome;
        match attempt(self.transactions, self.work, step) {
            Ok(()) => {
                report::step(self.transactions.attended(), &said(step));
                if let (Some((done, _)), Some(bytes)) = (&mut outcome.bytes, step.copies) {
                    *done += bytes;
                }
                if takes_out(step.action) {
                    self.left = step.subject;
                }
                outcome.done.push((step.action, partition));
            }
            Err(error) if error.is_cancel() => outcome.cancelled = Some(error),
            Err(error) => {
                report::failure(&partition, &error);
                self.given_up.add(step, &error);
                outcome.failed.push((partition, error));
                outcome.left_from = lowest(outcome.left_from, step.begins);
            }
        }
        Ok(())
    }
}

/// What a failed step takes with it.
#[derive(Default)]
struct GivenUp {
    /// The rest of what was to be done to these.
    partitions: HashSet<Oid>,
    /// Nothing more can be detached for now: somebody holds the set, or a detach is pending, and the
    /// others would wait in vain as long as this one.
    detaching: bool,
}

impl GivenUp {
    fn add(&mut self, step: &Step, error: &Error) {
        self.partitions.extend(step.subject);
        self.detaching |= takes_out(step.action) && error.is_lock_trouble();
    }

    fn covers(&self, step: &Step) -> bool {
        step.subject.is_some_and(|oid| self.partitions.contains(&oid))
            || (self.detaching && step.leaving)
    }
}

fn takes_out(action: Action) -> bool {
    matches!(action, Action::Detach | Action::Finalize)
}

/// What is said of a step that was taken.
fn said(step: &Step) -> String {
    let done = match step.action {
        Action::Create => "created partition",
        Action::Detach => "detached partition",
        Action::Finalize => "finished detaching",
        Action::Archive => "archived",
        Action::Drop => "dropped",
        Action::Move => "moved",
    };
    format!("{done} {}", step.partition)
}

fn attempt(transactions: &Transactions<'_>, work: &Work, step: &Step) -> Result<()> {
    apply::retried(transactions, work.parent, || match step.subject {
        None => transactions.on_user_tables(|| apply::take(work, step)),
        Some(subject) => retention::take(transactions, work, step, subject),
    })
    .map_err(|error| match &error {
        Error::Sql(sql) if sql.lacks_privilege() || sql.misses_object() => transactions
            .on_user_tables(|| Ok(apply::explaining(error.clone(), work.owner)))
            .unwrap_or(error),
        _ => error,
    })
}
