//! The pg_steward.* settings. All but shared-memory sizes change by reload.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;

use crate::pg::encoding;
use crate::pg::guc;
use crate::pg::places::Limits;

static ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
static MAX_CONCURRENT_JOBS: GucSetting<i32> = GucSetting::<i32>::new(4);
static LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(2_000);
static HISTORY_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(30 * 24 * 60);
static RETENTION_PAUSE: GucSetting<i32> = GucSetting::<i32>::new(20_000);
static EXCLUDED_DATABASES: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c""));

/// Makes the settings known to the server, and no others of our name.
pub(crate) fn define() {
    GucRegistry::define_bool_guc(
        c"pg_steward.enabled",
        c"Whether background workers start new work.",
        c"Off: work in progress ends, nothing new starts, calls by hand still work.",
        &ENABLED,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_steward.max_concurrent_jobs",
        c"Jobs of one owner that may run at the same time in the whole server.",
        c"One fewer of them may archive or copy; two more are kept for other owners. Each takes one \
          background worker of max_worker_processes, and each database with work due one more.",
        &MAX_CONCURRENT_JOBS,
        1,
        64,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_steward.lock_timeout",
        c"How long a step waits for a lock on a user's table, in milliseconds.",
        c"Nobody is queued behind a step for longer than this; the step is then tried again, and \
          later by its job.",
        &LOCK_TIMEOUT,
        10,
        60_000,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"pg_steward.history_retention",
        c"How long steward.job_runs and steward.alert_history keep what is over, in minutes.",
        c"Older rows are removed by the scheduler, about once an hour; the last run of a job stays.",
        &HISTORY_RETENTION,
        60,
        10 * 366 * 24 * 60,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"pg_steward.retention_pause",
        c"How long workers wait between two partitions that leave a set of 1000 or more, in \
          milliseconds.",
        c"After each, every session reads the set's bounds again: smaller sets wait as much less, \
          and none longer than half of its interval. 0: one right after the other. CALL \
          steward.maintain() does not wait.",
        &RETENTION_PAUSE,
        0,
        3_600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_string_guc(
        c"pg_steward.excluded_databases",
        c"Databases in which no background worker ever runs, separated by commas.",
        c"Calls by hand still work there.",
        &EXCLUDED_DATABASES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    #[cfg(debug_assertions)]
    define_test_settings();
    guc::reserve_prefix(c"pg_steward");
}

/// What only debug builds have.
#[cfg(debug_assertions)]
fn define_test_settings() {
    GucRegistry::define_int_guc(
        c"pg_steward.test_clock_offset",
        c"For tests: how far ahead the workers believe the clock to be, in seconds.",
        c"Only debug builds have it. Default 0.",
        &crate::pg::clock::TEST_OFFSET_SECONDS,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S | GucFlags::NO_SHOW_ALL,
    );
}

/// Whether workers may start new work.
pub(crate) fn enabled() -> bool {
    ENABLED.get()
}

/// How many jobs may run at the same time.
pub(crate) fn limits() -> Limits {
    Limits::new(MAX_CONCURRENT_JOBS.get().unsigned_abs())
}

/// A step's lock_timeout in milliseconds.
pub(crate) fn lock_timeout_milliseconds() -> i32 {
    LOCK_TIMEOUT.get()
}

/// Between two partitions that leave a set, in microseconds.
pub(crate) fn retention_pause_microseconds() -> i64 {
    i64::from(RETENTION_PAUSE.get()) * 1_000
}

/// How long finished runs are kept, in minutes.
pub(crate) fn history_retention_minutes() -> i32 {
    HISTORY_RETENTION.get()
}

/// Names of databases that workers stay out of.
pub(crate) fn excluded_databases() -> Vec<String> {
    let list = EXCLUDED_DATABASES.get().unwrap_or_default();
    let text = encoding::decode_name(&list);
    text.split(',').map(|name| name.trim().trim_matches('"').to_owned()).collect()
}
