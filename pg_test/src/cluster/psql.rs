//! psql against a cluster.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::server::Cluster;

/// What psql wrote, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PsqlOutput {
    /// Standard output and standard error, in the order they were written.
    pub text: String,
    /// psql's exit status; 3 is an error in a script under ON_ERROR_STOP.
    pub code: Option<i32>,
}

/// A psql call being put together; `-X` and an empty environment of PG variables are given.
pub struct Psql {
    command: Command,
}

impl Cluster {
    /// psql as the superuser, for `database`.
    pub fn psql(&self, database: &str) -> Psql {
        let mut command = Command::new(self.installation.program("psql"));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        command.args(["--no-psqlrc", "--username=postgres", "--host"]).arg(self.socket_dir());
        command.arg("--dbname").arg(database);
        command.env("LC_ALL", "C.UTF-8").env("PGTZ", "UTC").env("PAGER", "cat");
        Psql { command }
    }
}

impl Psql {
    /// Adds arguments of psql.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of psql's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs one `-c` command.
    pub fn command(mut self, sql: &str) -> Result<PsqlOutput> {
        self.command.arg("--command").arg(sql).stdin(Stdio::null());
        self.output()
    }

    /// Runs a file, which psql sees on its standard input, so no path shows in its messages.
    pub fn file(mut self, path: &Path) -> Result<PsqlOutput> {
        let file =
            std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        self.command.stdin(file);
        self.output()
    }

    fn output(mut self) -> Result<PsqlOutput> {
        use std::io::{Read as _, Seek as _};
        // One file for both, so that messages stand where they were written.
        let mut both = tempfile::tempfile().context("cannot make a temporary file")?;
        self.command.stdout(both.try_clone()?).stderr(both.try_clone()?);
        let status = self.command.status().context("cannot run psql")?;
        let mut bytes = Vec::new();
        both.rewind()?;
        both.read_to_end(&mut bytes)?;
        Ok(PsqlOutput { text: String::from_utf8_lossy(&bytes).into_owned(), code: status.code() })
    }
}
