//! The cluster that things are measured on, the same for both sides.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pg_test::cluster::{Builder, Cluster, describe};
use pg_test::setup::{Installation, pg_partman};
use postgres::Client;

/// PostgreSQL's defaults but for what would disturb: commits are durable, nothing runs by itself
/// but what is measured.
pub(crate) const CONF: &str = "
fsync = on
synchronous_commit = on
shared_buffers = '256MB'
max_wal_size = '4GB'
checkpoint_timeout = '1h'
autovacuum = off
max_locks_per_transaction = 1024
";

/// The peer, in a schema of its own.
#[derive(Clone, Debug)]
pub(crate) struct Partman {
    /// Its version.
    pub(crate) version: String,
}

impl Partman {
    /// Installs it for this server if need be. None: there is none for it.
    pub(crate) fn provide(server: &Installation) -> Result<Option<Self>> {
        if let Err(error) = pg_partman::provide(server) {
            println!("no pg_partman: {error:#}");
            return Ok(None);
        }
        let control = server.sharedir.join("extension/pg_partman.control");
        let version = std::fs::read_to_string(&control)?
            .lines()
            .find_map(|line| line.strip_prefix("default_version = '")?.strip_suffix('\''))
            .context("pg_partman's control file names no version")?
            .to_owned();
        Ok(Some(Self { version }))
    }

    /// The arguments of `create_parent()` that make a set daily.
    pub(crate) fn daily(&self) -> &'static str {
        if self.is_version_4() { "'native', 'daily'" } else { "'1 day'" }
    }

    fn is_version_4(&self) -> bool {
        self.version.starts_with("4.")
    }
}

/// What a case is given.
pub(crate) struct Bench {
    /// The server to measure on.
    pub(crate) server: Installation,
    /// The peer, where this server has one.
    pub(crate) partman: Option<Partman>,
    /// Smaller sizes and fewer rounds.
    pub(crate) quick: bool,
}

impl Bench {
    /// The size of a full run, or of a quick one.
    pub(crate) fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A cluster yet to be started, under [`CONF`].
    pub(crate) fn cluster(&self) -> Builder {
        Cluster::builder(&self.server).conf(CONF)
    }

    /// The peer, for what is written for version 4: its names of partitions.
    pub(crate) fn partman_4(&self) -> Option<&Partman> {
        self.partman.as_ref().filter(|partman| partman.is_version_4())
    }

    /// A database with both extensions.
    pub(crate) fn database(&self, cluster: &Cluster) -> Result<(String, Client)> {
        let database = cluster.create_database_with_extension()?;
        let mut client = cluster.connect(&database)?;
        if self.partman.is_some() {
            run(&mut client, "CREATE SCHEMA partman")?;
            run(&mut client, "CREATE EXTENSION pg_partman SCHEMA partman")?;
        }
        Ok((database, client))
    }
}

/// Runs statements by the simple protocol.
pub(crate) fn run(client: &mut Client, sql: &str) -> Result<()> {
    client.batch_execute(sql).map_err(|error| anyhow::anyhow!("{}\nin: {sql}", describe(&error)))
}

/// The same, and how long it took as the client sees it.
pub(crate) fn timed(client: &mut Client, sql: &str) -> Result<Duration> {
    let started = Instant::now();
    run(client, sql)?;
    Ok(started.elapsed())
}

/// The mean time of so many runs.
pub(crate) fn mean(client: &mut Client, sql: &str, times: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for _ in 0..times {
        sum += timed(client, sql)?;
    }
    Ok(sum / times)
}

/// A count.
pub(crate) fn count(client: &mut Client, sql: &str) -> Result<i64> {
    Ok(client.query_one(sql, &[]).with_context(|| sql.to_owned())?.get(0))
}
