//! A running (or stopped) server: starting, stopping, crashing, looking into its log.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::builder::Builder;
use super::client::Ask;
use super::wait::try_wait_for;
use super::warden::Warden;
use crate::fixtures::ENCODING_VARIABLE;
use crate::setup::Installation;
use crate::setup::privilege::as_server_account;

/// Longer than any start, stop or crash takes on a busy two-core machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// No test begins in so much of a day's end: longer than nearly all of them take.
const DAY_BREAK: Duration = Duration::from_secs(45);

/// Seconds until midnight in UTC, the time zone of all test servers.
const LEFT_OF_THE_DAY: &str =
    "SELECT extract(epoch FROM date_trunc('day', clock_timestamp(), 'UTC')
    + interval '24 hours' - clock_timestamp())::float8";

/// The file beside the socket that says which postmaster it belongs to.
const SOCKET_LOCK: &str = ".s.PGSQL.5432.lock";

/// How `pg_ctl stop` ends a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for the clients to leave.
    Smart,
    /// Ends the clients' sessions; a clean shutdown.
    Fast,
    /// Quits at once; the next start recovers.
    Immediate,
}

/// What a cluster was made as. A promoted standby stays a `Standby` here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Standby,
}

/// A cluster in a directory of its own, reachable on a socket in that directory only.
#[derive(Debug)]
pub struct Cluster {
    pub(super) installation: Installation,
    dir: PathBuf,
    role: Role,
    databases: AtomicU32,
    warden: Warden,
    keep: bool,
}

impl Cluster {
    /// Sets up a new primary.
    pub fn builder(installation: &Installation) -> Builder {
        Builder::new(installation)
    }

    pub(super) fn new(
        installation: Installation,
        dir: PathBuf,
        role: Role,
        warden: Warden,
    ) -> Self {
        Self { installation, dir, role, databases: AtomicU32::new(0), warden, keep: false }
    }

    /// The installation this server runs from.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The directory of the Unix socket: `psql -h` takes it as the host.
    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The server's log.
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Starts a stopped server and waits until it takes connections.
    pub fn start(&self) -> Result<()> {
        self.pg_ctl(&["start", "--wait", "--timeout", "60", "--log"], Some(&self.log_file()))
            .with_context(|| format!("the server's log ends:\n{}", self.log_tail(30)))
    }

    /// Stops the server and waits until it is gone.
    pub fn stop(&self, mode: StopMode) -> Result<()> {
        let mode = match mode {
            StopMode::Smart => "smart",
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        };
        self.pg_ctl(&["stop", "--wait", "--timeout", "60", "--mode", mode], None)
    }

    /// A fast stop and a start.
    pub fn restart(&self) -> Result<()> {
        self.stop(StopMode::Fast)?;
        self.start()
    }

    /// Has the server read its configuration again.
    pub fn reload(&self) -> Result<()> {
        self.pg_ctl(&["reload"], None)
    }

    /// Adds lines to postgresql.conf, where the last one wins; takes effect at a reload or restart.
    pub fn add_conf(&self, lines: &str) -> Result<()> {
        let path = self.data_dir().join("postgresql.conf");
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        writeln!(file, "{lines}")?;
        Ok(())
    }

    /// Kills the postmaster with SIGKILL and returns when every child of it is gone too.
    pub fn crash(&self) -> Result<()> {
        let postmaster = self.postmaster_pid()?;
        // Stopped first: a child that it makes after we have looked would be missed, and keep the
        // server from starting again.
        signal("STOP", postmaster)?;
        try_wait_for(PATIENCE, "the postmaster makes no more children", || {
            Ok((state_of(postmaster) == Some('T')).then_some(()))
        })?;
        let children = children_of(postmaster);
        signal("KILL", postmaster)?;
        try_wait_for(PATIENCE, "the killed server's processes are gone", || {
            let left = children.iter().chain([&postmaster]).any(|pid| is_alive(*pid));
            Ok((!left).then_some(()))
        })?;
        // Where process 1 does not reap at once (containers), the dead postmaster still looks
        // alive to the next one's `kill(pid, 0)`, which then respects its lock files.
        if Path::new("/proc").join(postmaster.to_string()).exists() {
            for lock in [self.data_dir().join("postmaster.pid"), self.dir.join(SOCKET_LOCK)] {
                fs::remove_file(&lock)
                    .with_context(|| format!("cannot remove {}", lock.display()))?;
            }
        }
        Ok(())
    }

    /// Kills one of the server's processes, not the postmaster, with SIGKILL. True: it was killed, and the
    /// server ends all others and starts anew; false: it had ended by itself just before.
    ///
    /// The signal alone does not tell: a process that has ended takes it too until the postmaster has
    /// looked after it.
    pub fn kill(&self, pid: i32) -> Result<bool> {
        let pid = pid.unsigned_abs();
        if signal("KILL", pid).is_err() {
            return Ok(false);
        }
        try_wait_for(PATIENCE, "the postmaster has seen the end of the process", || {
            Ok((!Path::new("/proc").join(pid.to_string()).exists()).then_some(()))
        })?;
        // It says in the log how the process ended before it takes the next connection, well or not.
        let _ = self.connect("postgres");
        Ok(self.log_contains(&format!("(PID {pid}) was terminated by signal 9")))
    }

    /// Makes a standby a primary and waits until it is one.
    pub fn promote(&self) -> Result<()> {
        self.pg_ctl(&["promote", "--wait", "--timeout", "60"], None)
    }

    /// The postmaster's process id; an error if the server is not running.
    pub fn postmaster_pid(&self) -> Result<u32> {
        let path = self.data_dir().join("postmaster.pid");
        let text = fs::read_to_string(&path).context("the server is not running")?;
        let line = text.lines().next().unwrap_or_default();
        line.trim().parse().with_context(|| format!("{} begins with {line:?}", path.display()))
    }

    /// The processes whose `backend_type` begins so, such as `"pg_steward launcher"`.
    pub fn pids(&self, backend_type: &str) -> Result<Vec<i32>> {
        let mut client = self.connect("postgres")?;
        let rows = client.query(
            "SELECT pid FROM pg_stat_activity WHERE starts_with(backend_type, $1) ORDER BY pid",
            &[&backend_type],
        )?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Whether the server's log holds the text.
    pub fn log_contains(&self, text: &str) -> bool {
        self.log_count(text) > 0
    }

    /// How many lines of the server's log hold the text.
    pub fn log_count(&self, text: &str) -> usize {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).lines().filter(|line| line.contains(text)).count()
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Makes an empty database of a name no other test has, and returns the name.
    ///
    /// Not at the very end of a day, or month, or year, but in the next: of two questions about what is
    /// due, a test that was begun then would ask one before midnight and one after.
    pub fn create_database(&self) -> Result<String> {
        match std::env::var(ENCODING_VARIABLE) {
            Ok(encoding) => self.create_database_encoded(&encoding),
            Err(_) => self.create_database_as(""),
        }
    }

    /// The same in an encoding by name, sorted by bytes.
    pub fn create_database_encoded(&self, encoding: &str) -> Result<String> {
        self.create_database_as(&format!(
            "TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        ))
    }

    fn create_database_as(&self, options: &str) -> Result<String> {
        let mut client = self.connect("postgres")?;
        try_wait_for(DAY_BREAK * 2, "the day has ended", || {
            let left: f64 = client.query_one(LEFT_OF_THE_DAY, &[])?.try_get(0)?;
            Ok((left > DAY_BREAK.as_secs_f64()).then_some(()))
        })?;
        let name = format!("db_{}", self.databases.fetch_add(1, Ordering::Relaxed) + 1);
        client.batch_execute(&format!("CREATE DATABASE {name} {options}"))?;
        Ok(name)
    }

    /// Makes a database with the extension in it, and returns its name.
    pub fn create_database_with_extension(&self) -> Result<String> {
        let name = self.create_database()?;
        self.connect(&name)?.batch_execute("CREATE EXTENSION pg_steward")?;
        Ok(name)
    }

    /// Waits until a standby has replayed everything the primary has written so far.
    pub fn wait_for_replay(&self, standby: &Cluster) -> Result<()> {
        let written: String = self.connect("postgres")?.value("SELECT pg_current_wal_lsn()::text");
        let mut client = standby.connect("postgres")?;
        try_wait_for(PATIENCE, "the standby has replayed everything", || {
            let row = client
                .query_one("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", &[&written])?;
            Ok(row.get::<_, Option<bool>>(0).filter(|caught_up| *caught_up).map(drop))
        })
    }

    /// Leaves the server running, and its directory in place, when this value is dropped.
    pub fn keep_running(&mut self) {
        self.keep = true;
    }

    fn pg_ctl(&self, arguments: &[&str], last: Option<&Path>) -> Result<()> {
        let mut command = as_server_account(self.installation.program("pg_ctl"));
        command.args(["--silent", "--pgdata"]).arg(self.data_dir()).args(arguments).args(last);
        // Not output(): the postmaster would keep the pipe open.
        let said = tempfile::tempfile().context("cannot make a temporary file")?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
        let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
        if !status.success() {
            use std::io::{Read as _, Seek as _};
            let mut text = String::new();
            let mut said = said;
            said.rewind()?;
            said.read_to_string(&mut text)?;
            bail!("pg_ctl {} failed: {}", arguments[0], text.trim());
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of the {:?} ends:\n{}\n----", self.role, self.log_tail(40));
        }
        if self.keep {
            self.warden.leave();
        } else {
            self.warden.clean_up();
        }
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // "pid (name) state ppid …", and a name may hold anything.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    })
    .collect()
}

fn is_alive(pid: u32) -> bool {
    state_of(pid).is_some_and(|state| state != 'Z')
}

/// A process's state, such as `T` for stopped (proc(5)); None: there is no such process.
fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Sends a signal, such as `KILL` or `STOP`, to a process.
///
/// By the shell's own kill: /bin/kill comes with a package that a small Debian lacks.
pub fn signal(name: &str, pid: u32) -> Result<()> {
    let script = format!("kill -{name} {pid}");
    super::template::run(Command::new("/bin/sh").args(["-c", &script]))
}
