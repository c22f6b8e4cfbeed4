//! The table `steward.job`. All of it runs as steward.

use std::cell::Cell;

use pgrx::datum::TimestampWithTimeZone;

use super::runs::start_run;
use super::task::Kind;
use crate::error::{Error, Result};
use crate::pg::locks::{self, TargetLock};
use crate::pg::touched::Touched;
use crate::pg::{Oid, clock, query, subtransaction};

/// What a run needs to know of its job.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// `steward.jobs.job_id`.
    pub(crate) job_id: i64,
    /// What it does: `partition`.
    pub(crate) kind: String,
    /// What it does it to.
    pub(crate) target: Oid,
    /// When it was due, in microseconds since 2000-01-01 UTC.
    pub(crate) due_at: i64,
    /// `next_run_at` as we last saw or set it: another value later is somebody else's.
    pub(crate) noted_next_run_at: i64,
    /// Failures in a row before this run.
    pub(crate) failures: u32,
    /// How long a worker's run may take, in microseconds.
    pub(crate) max_runtime: Option<i64>,
    /// Who owns the target; invalid for one that is gone.
    pub(crate) owner: Oid,
}

/// A constant query for what a [`Job`] holds.
macro_rules! jobs_sql {
    ($($condition:tt)*) => {
        concat!(
            "SELECT j.job_id, j.kind, j.target::pg_catalog.oid, j.next_run_at,
                    j.consecutive_failures,
                    (1000000 * extract(epoch FROM
                        LEAST(j.max_runtime, '24 days'::pg_catalog.interval)))::pg_catalog.int8,
                    coalesce((SELECT t.relowner FROM pg_catalog.pg_class t WHERE t.oid = j.target), 0)
               FROM steward.job j ",
            $($condition)*
        )
    };
}

fn job(row: &query::Row<'_>) -> Result<Job> {
    Ok(Job {
        job_id: row.required(1)?,
        kind: row.required(2)?,
        target: row.required(3)?,
        due_at: row.required::<TimestampWithTimeZone>(4)?.into_inner(),
        noted_next_run_at: row.required::<TimestampWithTimeZone>(4)?.into_inner(),
        failures: row.required::<i32>(5)?.unsigned_abs(),
        max_runtime: row.optional(6)?,
        owner: row.required(7)?,
    })
}

thread_local! {
    static CREATING: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, a job that is inserted is a policy's.
struct Creating;

impl Creating {
    fn begin() -> Self {
        CREATING.set(true);
        Self
    }
}

impl Drop for Creating {
    fn drop(&mut self) {
        CREATING.set(false);
    }
}

/// Jobs have been inserted. Those that no call has made, nor the taking over of a dump, are somebody's copy of a
/// table: what belongs to their sets may come after them, so the workers keep out until that session has ended.
pub(super) fn arrived() -> Result<()> {
    if !CREATING.get() {
        locks::keep_workers_out(registry()?);
    }
    Ok(())
}

/// Makes the job of a policy, due at once, where there is none. A number that is taken is passed over: a dump
/// that is restored beside other sets sets the sequence back.
pub(crate) fn create(kind: Kind, target: Oid) -> Result<()> {
    let _creating = Creating::begin();
    loop {
        let made = query::change(
            "INSERT INTO steward.job (kind, target) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[kind.as_str().into(), target.into()],
        )?;
        if made > 0 || find_by_target(target)?.is_some() {
            return Ok(());
        }
    }
}

/// Makes the job of a policy as it was dumped; where its number is taken, or stands in the history, with
/// another.
pub(crate) fn restore(target: Oid, dumped: &str) -> Result<()> {
    let _creating = Creating::begin();
    let mut with_its_number = true;
    loop {
        let made = query::change(
            "INSERT INTO steward.job (job_id, kind, target, schedule, time_zone, priority, enabled,
                                      next_run_at, consecutive_failures, max_runtime)
             SELECT CASE WHEN $3 THEN d.job_id ELSE pg_catalog.nextval('steward.job_job_id_seq') END,
                    d.kind, $1, d.schedule, d.time_zone, d.priority, d.enabled, d.next_run_at,
                    d.consecutive_failures, d.max_runtime
               FROM pg_catalog.jsonb_populate_record(NULL::steward.job,
                                                     $2::pg_catalog.text::pg_catalog.jsonb) d
              WHERE NOT ($3 AND EXISTS (SELECT FROM steward.job_run r WHERE r.job_id = d.job_id))
                 ON CONFLICT DO NOTHING",
            &[target.into(), dumped.into(), with_its_number.into()],
        )?;
        if made > 0 || find_by_target(target)?.is_some() {
            return Ok(());
        }
        with_its_number = false;
    }
}

/// Forgets the job of a policy, and with it the policy, whatever kind it is of; its history stays until it is
/// trimmed. False: there was none.
pub(crate) fn forget(target: Oid) -> Result<bool> {
    query::change("DELETE FROM steward.job WHERE target = $1", &[target.into()])
        .map(|gone| gone > 0)
}

/// The same of those whose target is gone without a word: no event trigger fires where session_replication_role is
/// replica. Their next run would find that out, but it can be months away.
pub(crate) fn forget_gone() -> Result<()> {
    query::change(
        "DELETE FROM steward.job j
          WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = j.target)",
        &[],
    )
    .map(|_| ())
}

/// The job of one table or view.
pub(crate) fn find_by_target(target: Oid) -> Result<Option<Job>> {
    query::optional(jobs_sql!("WHERE j.target = $1"), &[target.into()], job)
}

/// A job by its number.
pub(crate) fn find(job_id: i64) -> Result<Job> {
    query::optional(jobs_sql!("WHERE j.job_id = $1"), &[job_id.into()], job)?
        .ok_or(Error::NoSuchJob { job_id })
}

/// What makes a job due at $1: it is not being run.
macro_rules! due_sql {
    ($rest:literal) => {
        jobs_sql!(
            "WHERE j.enabled AND j.next_run_at <= $1
               AND NOT EXISTS (SELECT FROM steward.job_run r
                                WHERE r.target = j.target AND r.status = 'running') ",
            $rest
        )
    };
}

/// The jobs that are due and not being run, of each owner the most urgent first.
pub(crate) fn due(now: i64) -> Result<Vec<Job>> {
    query::rows(
        due_sql!("ORDER BY j.priority DESC, j.next_run_at, j.job_id"),
        &[clock::timestamp(now)?.into()],
        job,
    )
}

/// Takes a due job for a run by a worker whose lock on the target the caller holds. Crash first:
/// the run is logged and the job put off as if it had already failed, so that one which takes the
/// server down with it backs off like any other. None: somebody else was faster, or has the row
/// locked and is changing it.
pub(crate) fn claim(job_id: i64, now: i64, if_it_crashes: i64) -> Result<Option<(Job, i64)>> {
    let taken = query::changed_rows(
        due_sql!("AND j.job_id = $2 FOR NO KEY UPDATE SKIP LOCKED"),
        &[clock::timestamp(now)?.into(), job_id.into()],
        job,
    )?;
    let Some(mut job) = taken.into_iter().next() else { return Ok(None) };
    reschedule(&job, if_it_crashes, job.failures.saturating_add(1))?;
    job.noted_next_run_at = if_it_crashes;
    let run_id = start_run(&job, Some(job.due_at), now)?;
    Ok(Some((job, run_id)))
}

/// The jobs of one kind whose target belongs to `caller`, or to nobody because it is gone.
pub(crate) fn owned(kind: Kind, caller: Oid) -> Result<Vec<Job>> {
    query::rows(
        jobs_sql!(
            "LEFT JOIN pg_catalog.pg_class c ON c.oid = j.target
              WHERE j.kind = $1
                AND (c.oid IS NULL OR pg_catalog.pg_has_role($2, c.relowner, 'USAGE'))
              ORDER BY j.job_id"
        ),
        &[kind.as_str().into(), caller.into()],
        job,
    )
}

/// When the next job is due; None when there is no enabled job.
pub(crate) fn next_due_at() -> Result<Option<i64>> {
    query::one(
        "SELECT pg_catalog.min(j.next_run_at) FROM steward.job j WHERE j.enabled",
        &[],
        |row| Ok(row.optional::<TimestampWithTimeZone>(1)?.map(|at| at.into_inner())),
    )
}

/// Makes a job due now, for its policy has changed.
pub(crate) fn make_due(target: Oid) -> Result<()> {
    query::change(
        "UPDATE steward.job SET next_run_at = pg_catalog.clock_timestamp(), consecutive_failures = 0
          WHERE target = $1",
        &[target.into()],
    )
    .map(|_| ())
}

/// Makes the jobs of these tables due, and of those that they are partitions of: they have lost partitions.
/// False: somebody holds one of them locked.
pub(crate) fn make_due_at_once(touched: &Touched, now: i64) -> Result<bool> {
    let tables: Vec<Oid> = touched.tables().iter().map(|table| Oid::from(*table)).collect();
    query::changed_rows(
        "WITH wanted AS MATERIALIZED (
             SELECT j.job_id FROM steward.job j
              WHERE j.next_run_at > $3
                AND ($2 OR j.target::pg_catalog.oid IN (
                     SELECT a.relid FROM pg_catalog.unnest($1) t (t),
                            pg_catalog.pg_partition_ancestors(t.t) a))),
         free AS MATERIALIZED (
             SELECT j.job_id FROM steward.job j
              WHERE j.job_id IN (SELECT w.job_id FROM wanted w)
                FOR NO KEY UPDATE SKIP LOCKED),
         made AS (
             UPDATE steward.job j SET next_run_at = $3
               FROM free f WHERE j.job_id = f.job_id RETURNING j.job_id)
         SELECT (SELECT pg_catalog.count(*) FROM made) = (SELECT pg_catalog.count(*) FROM wanted)",
        &[tables.into(), touched.all().into(), clock::timestamp(now)?.into()],
        |row| row.required(1),
    )
    .map(|answers: Vec<bool>| answers == [true])
}

/// Switches a job on or off; switching on forgets past failures and makes it due.
pub(super) fn set_enabled(job_id: i64, enabled: bool) -> Result<()> {
    query::change(
        "UPDATE steward.job
            SET enabled = $2,
                consecutive_failures = CASE WHEN $2 THEN 0 ELSE consecutive_failures END,
                next_run_at = CASE WHEN $2 AND NOT enabled
                                   THEN LEAST(next_run_at, pg_catalog.clock_timestamp())
                                   ELSE next_run_at END
          WHERE job_id = $1",
        &[job_id.into(), enabled.into()],
    )
    .map(|_| ())
}

/// An interval from a second to a day in microseconds; None: it is none.
pub(super) fn every(schedule: &str) -> Result<Option<i64>> {
    let read = subtransaction::run(|| {
        query::one(
            "SELECT CASE WHEN i.i BETWEEN '1 second'::pg_catalog.interval AND '1 day'::pg_catalog.interval
                         THEN (1000000 * extract(epoch FROM i.i))::pg_catalog.int8 END
               FROM (SELECT $1::pg_catalog.interval) i (i)",
            &[schedule.into()],
            |row| row.optional(1),
        )
    });
    match read {
        Err(error) if error.is_about_value() => Ok(None),
        read => read,
    }
}

/// How often a job looks at what has no clock, in microseconds; None: as usual.
pub(crate) fn looks_every(target: Oid) -> Result<Option<i64>> {
    let schedule = query::optional(
        "SELECT j.schedule FROM steward.job j WHERE j.target = $1",
        &[target.into()],
        |row| row.optional::<String>(1),
    )?;
    schedule.flatten().map_or(Ok(None), |schedule| every(&schedule))
}

/// Changes what is given of a job. A run may take so many microseconds; 0: as long as it does. With a
/// schedule go its microseconds: it holds from now on, but makes none of its failures good.
pub(super) fn alter(
    job_id: i64,
    schedule: Option<(&str, i64)>,
    priority: Option<i32>,
    max_runtime: Option<i64>,
) -> Result<()> {
    let (schedule, every) = schedule.unzip();
    query::change(
        "UPDATE steward.job
            SET priority = coalesce($2, priority),
                max_runtime = CASE WHEN $3 IS NULL THEN max_runtime
                                   WHEN $3 > 0 THEN $3 * '1 microsecond'::pg_catalog.interval END,
                schedule = coalesce($4, schedule),
                next_run_at = CASE WHEN consecutive_failures = 0
                    THEN LEAST(next_run_at, pg_catalog.clock_timestamp()
                                            + $5 * '1 microsecond'::pg_catalog.interval)
                    ELSE next_run_at END
          WHERE job_id = $1",
        &[job_id.into(), priority.into(), max_runtime.into(), schedule.into(), every.into()],
    )
    .map(|_| ())
}

/// Makes jobs due whose next run was set by a clock that has been set back since: their last run
/// began or ended in what is now the future. How many there are.
pub(crate) fn call_back(now: i64) -> Result<usize> {
    query::change(
        "UPDATE steward.job SET next_run_at = $1 WHERE job_id IN (
             SELECT j.job_id FROM steward.job j
              WHERE j.next_run_at > $1
                AND (SELECT GREATEST(r.started_at, r.finished_at) FROM steward.job_run r
                      WHERE r.job_id = j.job_id ORDER BY r.run_id DESC LIMIT 1)
                    > $1 + '1 minute'::pg_catalog.interval
                FOR NO KEY UPDATE OF j SKIP LOCKED)",
        &[clock::timestamp(now)?.into()],
    )
}

/// Notes when the job runs next. An earlier time that somebody set meanwhile (a changed policy)
/// is kept. Writes nothing where nothing changes; says whether something did.
pub(crate) fn reschedule(job: &Job, next_run_at: i64, failures: u32) -> Result<bool> {
    query::change(
        "UPDATE steward.job
            SET next_run_at = CASE WHEN next_run_at = $4 THEN $2 ELSE LEAST(next_run_at, $2) END,
                consecutive_failures = $3
          WHERE job_id = $1
            AND (consecutive_failures <> $3
                 OR next_run_at <> CASE WHEN next_run_at = $4 THEN $2
                                        ELSE LEAST(next_run_at, $2) END)",
        &[
            job.job_id.into(),
            clock::timestamp(next_run_at)?.into(),
            i32::try_from(failures).unwrap_or(i32::MAX).into(),
            clock::timestamp(job.noted_next_run_at)?.into(),
        ],
    )
    .map(|rows| rows > 0)
}

/// The relation whose OID, with the target's, names the lock of a run: `steward.job`.
pub(crate) fn registry() -> Result<Oid> {
    query::one("SELECT 'steward.job'::pg_catalog.regclass::pg_catalog.oid", &[], |row| {
        row.required(1)
    })
}

/// Keeps runs of a target away until the current transaction ends; waits for one in progress under
/// the lock_timeout in force.
pub(crate) fn keep_runs_away(target: Oid) -> Result<()> {
    let registry = registry()?;
    TargetLock::hold_in_transaction(registry, target);
    Ok(())
}

/// Makes sure that this session, which runs a job of the target, has its lock still. In a transaction that
/// keeps runs away.
pub(crate) fn renew_lock(target: Oid) -> Result<()> {
    locks::renew(registry()?, target);
    Ok(())
}

/// The owner of a job's target, and its name; None when the target is gone.
pub(crate) fn target_owner(target: Oid) -> Result<Option<(Oid, String)>> {
    query::optional(
        "SELECT c.relowner, c.oid::pg_catalog.regclass::pg_catalog.text
           FROM pg_catalog.pg_class c WHERE c.oid = $1",
        &[target.into()],
        |row| Ok((row.required(1)?, row.required(2)?)),
    )
}

/// The name of a job's target; its number when it is gone.
pub(crate) fn target_name(target: Oid) -> Result<String> {
    query::one("SELECT $1::pg_catalog.regclass::pg_catalog.text", &[target.into()], |row| {
        row.required(1)
    })
}
