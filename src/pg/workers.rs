//! Background workers: registering, starting, connecting.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::bgworkers::{
    BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime, DynamicBackgroundWorker,
};
use pgrx::{IntoDatum, pg_sys};

use super::{encoding, guc, identity, signals, version};

const LIBRARY: &str = "pg_steward";

/// Registers the launcher, which the postmaster starts as soon as the server can be read from (on
/// a standby too) and again a second after it ends.
pub(crate) fn register_launcher(entry_point: &str) {
    BackgroundWorkerBuilder::new("pg_steward launcher")
        .set_type("pg_steward launcher")
        .set_library(LIBRARY)
        .set_function(entry_point)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// Makes the C function that the postmaster looks up by name and calls in a new worker; `main` gets
/// the argument that the worker was registered with.
macro_rules! entry_point {
    ($name:ident, $main:path) => {
        #[pgrx::pg_guard]
        // The name is ours alone: it begins with the extension's.
        #[unsafe(no_mangle)]
        extern "C-unwind" fn $name(argument: pgrx::pg_sys::Datum) {
            $main(argument);
        }
    };
}
pub(crate) use entry_point;

/// What a worker was registered with.
pub(crate) type Argument = pg_sys::Datum;

/// A worker that was asked for.
pub(crate) struct Worker(DynamicBackgroundWorker);

impl Worker {
    /// Asks the postmaster for a worker in a database. None: every slot of max_worker_processes is
    /// taken. This process's latch is set when the worker starts and when it ends.
    pub(crate) fn start(
        kind: &str,
        name: &str,
        entry_point: &str,
        database: pg_sys::Oid,
    ) -> Option<Self> {
        Self::start_with(kind, name, entry_point, database.to_u32())
    }

    /// The same with any argument.
    pub(super) fn start_with(
        kind: &str,
        name: &str,
        entry_point: &str,
        argument: u32,
    ) -> Option<Self> {
        // As the server shows names of applications (pg_clean_ascii); show_as() says it again, in full.
        let name = name.replace(|c: char| !c.is_ascii(), "?");
        BackgroundWorkerBuilder::new(&name)
            .set_type(kind)
            .set_library(LIBRARY)
            .set_function(entry_point)
            .set_argument(pg_sys::Oid::from(argument).into_datum())
            .enable_spi_access()
            .set_start_time(BgWorkerStartTime::RecoveryFinished)
            .set_restart_time(None)
            .set_notify_pid(signals::my_pid())
            .load_dynamic()
            .ok()
            .map(Self)
    }

    /// Asks it to end at once, whatever it is at; does not wait for that.
    pub(crate) fn terminate(self) {
        let _ending = self.0.terminate();
    }

    /// The same, of one that has started and is waited for.
    pub(crate) fn end(&self) {
        self.pid().into_iter().for_each(signals::terminate);
    }

    /// Its process, once it has started.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.0.pid().ok()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(
            self.0.pid(),
            Err(BackgroundWorkerStatus::Stopped | BackgroundWorkerStatus::PostmasterDied)
        )
    }
}

/// Connects to no database: shared catalogs only.
pub(crate) fn connect_to_shared_catalogs() {
    signals::install();
    // SAFETY: once, at the start of a worker's main; NULL database and user are what the
    // autovacuum launcher passes.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
    settle();
}

/// Connects to a database as the bootstrap superuser; gives the database's name. Ends the process
/// when the database is gone or accepts no connections.
pub(crate) fn connect(argument: pg_sys::Datum) -> (pg_sys::Oid, String) {
    signals::install();
    let database = pg_sys::Oid::from(argument.value() as u32);
    (database, connect_to(database))
}

/// The same, once signals are let in; gives the name.
pub(super) fn connect_to(database: pg_sys::Oid) -> String {
    // SAFETY: once, at the start of a worker's main.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0);
        READ_ONLY.store(pg_sys::DefaultXactReadOnly, Ordering::Relaxed);
    }
    settle();
    let name = super::transaction::run(|| {
        encoding::prepare();
        identity::begin_worker_session();
        Ok(super::databases::name(database))
    });
    name.ok().flatten().unwrap_or_else(|| database.to_u32().to_string())
}

/// Whether transactions of this database are to be read only unless they say otherwise: `postgresql.conf`, or
/// ALTER DATABASE … SET, as of when this worker was connected. What workers do is said otherwise; but what
/// takes something away is not done over a DBA's wish.
pub(crate) fn database_is_read_only() -> bool {
    READ_ONLY.load(Ordering::Relaxed)
}

static READ_ONLY: AtomicBool = AtomicBool::new(false);

/// For our own tables.
pub(super) const OWN_LOCK_TIMEOUT: &str = "5s";

/// What every worker of ours runs under, whatever the database or role has been given by
/// ALTER … SET.
pub(super) fn settle() {
    guc::session("search_path", "pg_catalog, pg_temp");
    guc::session("role", "none");
    guc::fire_own_triggers(true);
    guc::session("statement_timeout", "0");
    guc::session("transaction_timeout", "0"); // since 17
    // For our own tables; a step has its own. Whoever holds them locked must not keep our places.
    guc::session("lock_timeout", OWN_LOCK_TIMEOUT);
    guc::session("idle_in_transaction_session_timeout", "0");
    guc::session("default_transaction_read_only", "off");
    guc::session("default_transaction_isolation", "read committed");
    guc::session("synchronous_commit", "local");
}

/// Shows in ps and in pg_stat_activity what this worker is doing.
pub(crate) fn show_as(name: &str) {
    guc::session("application_name", name);
    version::set_process_title(&encoding::encode_name(name));
}

/// What [`show_as`] has shown last.
pub(super) fn shown_as() -> String {
    // SAFETY: the value of a setting, which is never NULL after start.
    encoding::decode_name(unsafe { CStr::from_ptr(pg_sys::application_name) })
}

/// Shows the worker as idle or active in pg_stat_activity.
pub(crate) fn report(active: Option<&str>) {
    let state = match active {
        Some(_) => pg_sys::BackendState::STATE_RUNNING,
        None => pg_sys::BackendState::STATE_IDLE,
    };
    let text = encoding::encode_name(active.unwrap_or_default());
    // SAFETY: the string lives through the call, which copies it.
    unsafe { pg_sys::pgstat_report_activity(state, text.as_ptr()) };
}

/// Whether the server is a standby, or still recovering.
pub(crate) fn in_recovery() -> bool {
    // SAFETY: reads shared state only.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Whether this process is the server's own that applies, or copies, for a subscription.
pub(crate) fn applies_subscription() -> bool {
    // SAFETY: reads what this process is.
    unsafe { pg_sys::IsLogicalWorker() }
}
