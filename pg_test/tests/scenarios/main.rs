//! Scenarios on real clusters: one module a topic, plain `#[test]` functions.
//!
//! Rules: wait for a condition with a deadline, never for a time; a "does not block" test first
//! proves that the lock is held; no test returns early and passes.

mod archive_functions;
mod drain_default;
mod drain_default_locks;
mod drain_default_rows;
mod errors_arguments;
mod errors_common;
mod errors_privileges;
mod errors_relations;
mod errors_transactions;
mod harness;
mod hash_sets;
mod import_pg_partman;
mod import_pg_partman_goes_on;
mod import_support;
mod install;
mod preload;
mod range_access;
mod range_keys;
mod range_like_parent;
mod range_like_parent_keys;
mod range_locks;
mod range_over_hash;
mod range_plan;
mod range_support;
mod range_takeover;
mod range_template;
mod retention;
mod retention_archive;
mod retention_dump;
mod retention_replication;
mod retention_rough;
mod rough_clock;
mod rough_databases;
mod rough_extension;
mod rough_kills;
mod rough_limits;
mod rough_locks;
mod rough_sets;
mod rough_standby;
mod standby;
mod unattended_concurrency;
mod unattended_control;
mod unattended_crashes;
mod unattended_databases;
mod unattended_failures;
mod unattended_owners;
mod unattended_review;
mod unattended_runs;
mod unattended_shutdown;
mod unattended_standby;
mod unattended_support;
mod unattended_traffic;
