//! pg_steward: keeps a growing PostgreSQL database in order from the inside, unattended.

use pgrx::prelude::*;

mod alerts;
mod calendar;
mod dump;
mod error;
mod jobs;
mod key;
mod partition;
mod pg;
mod settings;
mod status;
mod worker;

pgrx::pg_module_magic!(name, version);

/// Called by the server when it loads the library. From shared_preload_libraries it also asks for
/// shared memory and for the launcher; loaded later, by a session, it only defines the settings.
#[pg_guard]
extern "C-unwind" fn _PG_init() {
    pg::backtrace::switch_off();
    settings::define();
    if pg::shared_memory::reserve() {
        worker::register();
        pg::leaving::watch();
    }
}

// The extension's SQL, in the order of the floors; a file a room. All of it is written by hand, so
// that what a DBA reads with \df+ is what stands in these files.
extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
extension_sql_file!("../sql/jobs.sql", name = "jobs", requires = ["schema"]);
extension_sql_file!("../sql/alerts.sql", name = "alerts", requires = ["schema"]);
extension_sql_file!("../sql/range.sql", name = "range", requires = ["jobs"]);
extension_sql_file!("../sql/hash.sql", name = "hash", requires = ["jobs"]);
extension_sql_file!("../sql/retention.sql", name = "retention", requires = ["range", "alerts"]);
extension_sql_file!("../sql/dump.sql", name = "dump", requires = ["hash", "retention"]);
extension_sql_file!("../sql/subscriptions.sql", name = "subscriptions", requires = ["dump"]);
extension_sql_file!("../sql/partition.sql", name = "partition", requires = ["dump"]);
extension_sql_file!("../sql/pg_partman.sql", name = "pg_partman", requires = ["partition"]);
extension_sql_file!("../sql/import.sql", name = "import", requires = ["pg_partman"]);
extension_sql_file!("../sql/replication.sql", name = "replication", requires = ["schema"]);
extension_sql_file!("../sql/status.sql", name = "status", requires = ["partition"], finalize);

/// What `cargo pgrx test` asks of the crate.
#[cfg(test)]
pub(crate) mod pg_test {
    pub(crate) fn setup(_options: Vec<&str>) {}

    pub(crate) fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["shared_preload_libraries = 'pg_steward'"]
    }
}
