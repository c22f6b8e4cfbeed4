//! The log of runs, `steward.job_run`. All of it runs as steward.

use pgrx::JsonB;

use super::catalog::{Job, registry};
use super::task::Status;
use crate::error::{Error, Result};
use crate::pg::locks::TargetLock;
use crate::pg::{Oid, clock, query, signals};

/// The processes of the runs in progress in this database.
pub(crate) fn running() -> Result<Vec<i32>> {
    query::rows("SELECT r.pid FROM steward.job_run r WHERE r.status = 'running'", &[], |row| {
        row.required(1)
    })
}

/// Those whose run should have ended by itself so many seconds ago: it takes no notice of a cancel.
pub(crate) fn overdue(seconds: i32) -> Result<Vec<i32>> {
    query::rows(
        "SELECT r.pid FROM steward.job_run r JOIN steward.job j ON j.job_id = r.job_id
          WHERE r.status = 'running' AND r.scheduled_at IS NOT NULL
            AND pg_catalog.clock_timestamp() - r.started_at - pg_catalog.make_interval(secs => $1)
                > j.max_runtime",
        &[seconds.into()],
        |row| row.required(1),
    )
}

/// The processes that run a job now.
pub(super) fn running_pids(job_id: i64) -> Result<Vec<i32>> {
    query::rows(
        "SELECT r.pid FROM steward.job_run r WHERE r.job_id = $1 AND r.status = 'running'",
        &[job_id.into()],
        |row| row.required(1),
    )
}

/// Logs that a run has begun, `at` an instant, before it does anything. The caller holds the target's lock, so what
/// still says `running` was left by a crash and is closed as such.
pub(crate) fn start_run(job: &Job, scheduled_at: Option<i64>, at: i64) -> Result<i64> {
    close_crashed(job.target)?;
    let scheduled_at = scheduled_at.map(clock::timestamp).transpose()?;
    let ids = query::changed_rows(
        "INSERT INTO steward.job_run
                (job_id, kind, target, target_name, status, scheduled_at, started_at, pid)
         VALUES ($1, $2, $3::pg_catalog.oid, $3::pg_catalog.regclass::pg_catalog.text, 'running',
                 $4, $6, $5)
         RETURNING run_id",
        &[
            job.job_id.into(),
            job.kind.as_str().into(),
            job.target.into(),
            scheduled_at.into(),
            signals::my_pid().into(),
            clock::timestamp(at)?.into(),
        ],
        |row| row.required(1),
    )?;
    ids.first().copied().ok_or(Error::UnexpectedNull { column: 1 })
}

/// Logs a run by hand that looked, at `looked_at`, and found nothing to do.
pub(crate) fn record_idle_run(job: &Job, looked_at: i64, detail: JsonB) -> Result<()> {
    query::change(
        "INSERT INTO steward.job_run
                (job_id, kind, target, target_name, status, started_at, finished_at, detail, pid)
         VALUES ($1, $2, $3::pg_catalog.oid, $3::pg_catalog.regclass::pg_catalog.text, 'succeeded',
                 $4, pg_catalog.clock_timestamp(), $5, $6)",
        &[
            job.job_id.into(),
            job.kind.as_str().into(),
            job.target.into(),
            clock::timestamp(looked_at)?.into(),
            detail.into(),
            signals::my_pid().into(),
        ],
    )
    .map(|_| ())
}

/// Logs how a run ended, and when.
pub(crate) fn finish_run(
    run_id: i64,
    at: i64,
    status: Status,
    error: Option<&Error>,
    detail: JsonB,
) -> Result<()> {
    query::change(
        "UPDATE steward.job_run
            SET status = $2, finished_at = $6, sqlstate = $3, error_message = $4, detail = $5
          WHERE run_id = $1",
        &[
            run_id.into(),
            status.as_str().into(),
            error.map(Error::sqlstate).into(),
            error.map(Error::recorded).into(),
            detail.into(),
            clock::timestamp(at)?.into(),
        ],
    )
    .map(|_| ())
}

/// Shows how far a run in progress has come.
pub(crate) fn note_progress(run_id: i64, detail: JsonB) -> Result<()> {
    query::change(
        "UPDATE steward.job_run SET detail = $2 WHERE run_id = $1",
        &[run_id.into(), detail.into()],
    )
    .map(|_| ())
}

/// Closes the runs of a target that nobody runs any more; the caller holds its lock.
fn close_crashed(target: Oid) -> Result<usize> {
    let closed = query::changed_rows(
        "UPDATE steward.job_run
            SET status = 'crashed', finished_at = pg_catalog.clock_timestamp(),
                error_message = 'the process that ran it ended without a word'
          WHERE target = $1 AND status = 'running'
         RETURNING run_id",
        &[target.into()],
        |row| row.required::<i64>(1),
    )?;
    Ok(closed.len())
}

/// Closes what a crash, a restart or a promotion left open in this database.
pub(crate) fn close_abandoned_runs() -> Result<()> {
    let open = query::rows(
        "SELECT DISTINCT r.target::pg_catalog.oid FROM steward.job_run r
          WHERE r.status = 'running'",
        &[],
        |row| row.required::<Oid>(1),
    )?;
    let registry = registry()?;
    for target in open {
        if let Some(_lock) = TargetLock::try_take(registry, target) {
            close_crashed(target)?;
        }
    }
    Ok(())
}

/// Removes finished runs older than `minutes`, `most` of them at once, but never a job's last one.
pub(crate) fn trim_history(minutes: i32, most: i64) -> Result<usize> {
    query::change(
        "DELETE FROM steward.job_run WHERE run_id IN (
             SELECT r.run_id FROM steward.job_run r
              WHERE r.finished_at < pg_catalog.clock_timestamp()
                                    - pg_catalog.make_interval(mins => $1)
                AND EXISTS (SELECT FROM steward.job_run later
                             WHERE later.job_id = r.job_id AND later.run_id > r.run_id)
              ORDER BY r.finished_at LIMIT $2)",
        &[minutes.into(), most.into()],
    )
}
