//! Throw-away PostgreSQL clusters on a private Unix socket.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use pg_test::cluster::Cluster;
//! let installation = pg_test::fixtures::installation();
//! let primary = Cluster::builder(installation).conf("max_worker_processes = 16").start()?;
//! let standby = primary.standby()?;
//! primary.connect("postgres")?.batch_execute("CREATE EXTENSION pg_steward")?;
//! # Ok(()) }
//! ```
//! A cluster is stopped and its directory removed when the value is dropped, and also when the
//! process ends in any other way.

mod builder;
mod client;
mod psql;
mod server;
mod session;
mod standby;
mod template;
mod upgrade;
mod wait;
mod warden;

pub use builder::Builder;
pub use client::{Ask, describe, sqlstate};
pub use psql::{Psql, PsqlOutput};
pub use server::{Cluster, StopMode, signal};
pub use session::{Outcome, Session};
pub use template::server_directory;
pub use wait::{try_wait_for, wait_until};
