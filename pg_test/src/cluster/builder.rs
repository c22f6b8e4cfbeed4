//! How a primary is set up before its first start.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::server::{Cluster, Role};
use super::template;
use super::warden::Warden;
use crate::setup::Installation;

/// Settings of every test server. Later lines win, so a test may say otherwise.
const BASE: &str = "
listen_addresses = ''
fsync = off
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'ISO, MDY'
lc_messages = 'C'
log_line_prefix = '%m [%p] %b %d '
log_min_messages = 'warning'
max_worker_processes = 16
shared_buffers = '32MB'
cluster_name = 'primary'
";

/// Sets up a primary; see [`Cluster::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    installation: Installation,
    conf: Vec<String>,
    preload: bool,
    preload_also: Vec<String>,
}

impl Builder {
    pub(super) fn new(installation: &Installation) -> Self {
        Self {
            installation: installation.clone(),
            conf: Vec::new(),
            preload: true,
            preload_also: Vec::new(),
        }
    }

    /// Adds lines to postgresql.conf, such as `"work_mem = '4MB'"`.
    #[must_use]
    pub fn conf(mut self, lines: &str) -> Self {
        self.conf.push(lines.to_owned());
        self
    }

    /// Whether `shared_preload_libraries` names pg_steward (it does unless told otherwise).
    #[must_use]
    pub fn preload(mut self, preload: bool) -> Self {
        self.preload = preload;
        self
    }

    /// Preloads one more library.
    #[must_use]
    pub fn preload_also(mut self, library: &str) -> Self {
        self.preload_also.push(library.to_owned());
        self
    }

    /// Makes the data directory and starts the server.
    pub fn start(self) -> Result<Cluster> {
        let cluster = self.create()?;
        cluster.start()?;
        Ok(cluster)
    }

    /// Makes the data directory of a server that is not started yet.
    pub fn create(self) -> Result<Cluster> {
        let dir = template::server_directory()?;
        let warden = Warden::watch(&dir)?;
        let data = dir.join("data");
        template::copy_to(&self.installation, &data)?;

        let mut libraries = self.preload_also.clone();
        if self.preload {
            libraries.push("pg_steward".to_owned());
        }
        let mut conf = BASE.to_owned();
        writeln!(conf, "unix_socket_directories = '{}'", dir.display())?;
        writeln!(conf, "shared_preload_libraries = '{}'", libraries.join(","))?;
        for lines in &self.conf {
            writeln!(conf, "{lines}")?;
        }
        let path = data.join("postgresql.conf");
        let old =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::write(&path, old + &conf)?;

        Ok(Cluster::new(self.installation, dir, Role::Primary, warden))
    }
}
