//! pg_upgrade of a stopped cluster into a new one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::server::Cluster;
use super::template;
use crate::setup::Installation;
use crate::setup::privilege::as_server_account;

/// How many lines of each log a failure shows.
const SHOWN: usize = 20;

/// Takes the versions of columns from tables that are not the server's own (from FirstNormalObjectId,
/// access/transam.h).
const FORGET_VERSIONS: &str = "
UPDATE pg_catalog.pg_attribute
   SET attoptions = nullif(ARRAY(SELECT o FROM unnest(attoptions) o WHERE NOT starts_with(o, 'pg_attver=')), '{}')
 WHERE attrelid >= 16384 AND attoptions::text LIKE '%pg\\_attver=%'";

impl Cluster {
    /// Makes this running cluster one that pg_upgrade to `newer` can read.
    ///
    /// 15.20 notes a version of each column among its options. 18.6, which came before that, takes
    /// it for an option to be dumped, and refuses to restore it: its pg_upgrade fails for every
    /// table made on 15.20, whoever made it. Where the newer server is such a one, tables are made to
    /// look like those made before 15.20, which have no versions.
    pub fn make_ready_for(&self, newer: &Installation) -> Result<()> {
        if !versions_columns(&self.installation)? || versions_columns(newer)? {
            return Ok(());
        }
        let databases = self.connect("postgres")?.query(
            "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate",
            &[],
        )?;
        for row in databases {
            self.connect(row.get(0))?.batch_execute(FORGET_VERSIONS)?;
        }
        Ok(())
    }

    /// Has pg_upgrade move everything from `old`, which was stopped and must not be started again,
    /// into this cluster, which must never have been started ([`super::Builder::create`]).
    ///
    /// Returns the log of the servers that pg_upgrade itself started, the old one and the new one.
    pub fn upgrade_from(&self, old: &Cluster) -> Result<String> {
        self.take_checksums_from(old)?;
        let mut command = as_server_account(self.installation.program("pg_upgrade"));
        command.args(["--link", "--retain", "--no-sync", "--username=postgres"]);
        command.arg("--old-bindir").arg(&old.installation.bindir);
        command.arg("--new-bindir").arg(&self.installation.bindir);
        command.arg("--old-datadir").arg(old.data_dir());
        command.arg("--new-datadir").arg(self.data_dir());
        // It leaves a script behind where it is run; the socket's directory makes its ports ours.
        command.arg("--socketdir").arg(self.socket_dir()).current_dir(self.socket_dir());
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        let logs = self.upgrade_logs()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            bail!("pg_upgrade failed:\n{said}\n{}", tails(&logs));
        }
        let log = logs.iter().find(|path| path.ends_with("pg_upgrade_server.log"));
        let log = log.with_context(|| format!("no log of the servers among {logs:?}"))?;
        Ok(String::from_utf8_lossy(&fs::read(log)?).into_owned())
    }

    /// pg_upgrade wants both with checksums or both without, and initdb's default depends on the
    /// major (on since 18).
    fn take_checksums_from(&self, old: &Cluster) -> Result<()> {
        let wanted = old.has_checksums()?;
        if wanted == self.has_checksums()? {
            return Ok(());
        }
        let mut command = as_server_account(self.installation.program("pg_checksums"));
        command.arg(if wanted { "--enable" } else { "--disable" });
        template::run(command.args(["--no-sync", "--pgdata"]).arg(self.data_dir()))
    }

    fn has_checksums(&self) -> Result<bool> {
        let mut command = as_server_account(self.installation.program("pg_controldata"));
        command.env("LC_ALL", "C").arg(self.data_dir());
        checksum_version(&mut command).map(|version| version != "0")
    }

    /// The logs that pg_upgrade has kept of its only run; none if it did not come to that.
    fn upgrade_logs(&self) -> Result<Vec<PathBuf>> {
        let runs = files_in(&self.data_dir().join("pg_upgrade_output.d"))?;
        let mut logs = Vec::new();
        for run in runs {
            logs.extend(files_in(&run.join("log"))?);
        }
        logs.sort();
        Ok(logs)
    }
}

/// Whether a release knows versions of columns: the header tells its pg_dump of them.
fn versions_columns(installation: &Installation) -> Result<bool> {
    let header = installation.includedir.join("catalog/pg_attribute.h");
    let text =
        fs::read_to_string(&header).with_context(|| format!("cannot read {}", header.display()))?;
    Ok(text.contains("ATTRIBUTE_VERSION_ATTOPTION"))
}

fn checksum_version(controldata: &mut Command) -> Result<String> {
    let output = controldata.output().with_context(|| format!("cannot run {controldata:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let version = text.lines().find_map(|line| line.strip_prefix("Data page checksum version:"));
    Ok(version.with_context(|| format!("no checksum version in\n{text}"))?.trim().to_owned())
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn tails(logs: &[PathBuf]) -> String {
    let mut text = String::new();
    for log in logs {
        let said = fs::read(log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "---- {}\n{last}", log.display());
    }
    text
}
