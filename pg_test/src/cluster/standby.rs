//! A streaming standby of a running cluster.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::server::{Cluster, Role};
use super::template;
use super::warden::Warden;
use crate::setup::privilege::as_server_account;

impl Cluster {
    /// Makes and starts a streaming standby of this cluster, which may itself be a standby.
    pub fn standby(&self) -> Result<Cluster> {
        self.standby_named("standby", "")
    }

    /// The same with an `application_name` and further lines of postgresql.conf.
    pub fn standby_named(&self, name: &str, conf: &str) -> Result<Cluster> {
        let dir = template::server_directory()?;
        let warden = Warden::watch(&dir)?;
        let data = dir.join("data");
        template::run(
            as_server_account(self.installation.program("pg_basebackup"))
                .args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast"])
                .args(["--no-sync", "--username=postgres", "--host"])
                .arg(self.socket_dir())
                .arg("--pgdata")
                .arg(&data),
        )?;
        let path = data.join("postgresql.conf");
        let mut text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // Without an application_name of its own a walreceiver goes by its cluster_name.
        writeln!(text, "unix_socket_directories = '{}'", dir.display())?;
        writeln!(text, "cluster_name = '{name}'\n{conf}")?;
        fs::write(&path, text)?;

        let standby = Cluster::new(self.installation.clone(), dir, Role::Standby, warden);
        standby.start()?;
        Ok(standby)
    }
}
