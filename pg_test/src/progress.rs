//! Slow commands with a progress line, and a log file that says what they said.
//!
//! Nothing is shown for what takes less than two seconds. On a terminal one line counts the
//! seconds, rewritten in place; elsewhere there is a line at the start and one every half minute.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::setup::paths;

/// What takes less time than this needs no progress line.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a line is written when it cannot be rewritten in place.
const SPARSE: Duration = Duration::from_secs(30);

/// How long logs are kept.
const KEEP_LOGS: Duration = Duration::from_hours(3 * 24);

/// How many of a failed command's last lines are shown.
const TAIL: usize = 20;

/// A line that counts the seconds of something slow, until it is finished or dropped.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    label: String,
    /// Dropping this ends the thread.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<bool>>,
}

impl Progress {
    /// Starts counting.
    pub fn start(label: impl Into<String>) -> Self {
        let label = label.into();
        let started = Instant::now();
        let (running, ended) = channel::<()>();
        let shown = label.clone();
        let thread = thread::spawn(move || {
            let terminal = std::io::stderr().is_terminal();
            let (mut pause, mut written) = (PATIENCE, false);
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let seconds = started.elapsed().as_secs();
                if terminal {
                    eprint!("\r\x1b[K{shown} … {seconds} s");
                    let _ = std::io::stderr().flush();
                    pause = Duration::from_secs(1);
                } else {
                    eprintln!("{shown} … {seconds} s");
                    pause = SPARSE;
                }
                written = true;
            }
            if terminal && written {
                eprint!("\r\x1b[K");
            }
            written
        });
        Self { started, label, running: Some(running), thread: Some(thread) }
    }

    /// Ends the line; says how long it took if that was long enough to be shown.
    pub fn finish(mut self) -> Duration {
        let elapsed = self.started.elapsed();
        if self.end() {
            eprintln!("{}: {:.1} s", self.label, elapsed.as_secs_f64());
        }
        elapsed
    }

    fn end(&mut self) -> bool {
        drop(self.running.take());
        self.thread.take().is_some_and(|thread| thread.join().unwrap_or(false))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a logged command came to.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Whether it exited with 0.
    pub success: bool,
    /// Where everything it said is.
    pub log: PathBuf,
    /// How long it took.
    pub elapsed: Duration,
}

impl Logged {
    /// Everything the command said.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of it.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Runs a command with a progress line; its output goes to a log file in the cache.
pub fn run_logged(label: &str, command: &mut Command) -> Result<Logged> {
    let (mut outcome, progress) = run_with_progress(label, command)?;
    outcome.elapsed = progress.finish();
    Ok(outcome)
}

/// The same for a caller that says itself how long it took.
pub fn run_quietly(label: &str, command: &mut Command) -> Result<Logged> {
    let (outcome, _progress) = run_with_progress(label, command)?;
    Ok(outcome)
}

fn run_with_progress(label: &str, command: &mut Command) -> Result<(Logged, Progress)> {
    let log = log_path(label)?;
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let progress = Progress::start(label);
    let status =
        command.status().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    let elapsed = progress.started.elapsed();
    Ok((Logged { success: status.success(), log, elapsed }, progress))
}

/// The same for a command that must succeed: the error has its last lines and the log's path.
pub fn run(label: &str, command: &mut Command) -> Result<Logged> {
    let outcome = run_logged(label, command)?;
    if !outcome.success {
        bail!("{label} failed:\n{}\nall of it: {}", outcome.tail(TAIL), outcome.log.display());
    }
    Ok(outcome)
}

/// A file of our own for each label and process, in the cache.
fn log_path(label: &str) -> Result<PathBuf> {
    let slug: String = label
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .take(80) // a file's name may be 255 bytes long, a list of packages longer
        .collect();
    let directory = paths::cache_subdir("logs")?;
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| remove_old(&directory));
    Ok(directory.join(format!("{}-{slug}.log", std::process::id())))
}

/// Removes logs that nobody will look into any more; one that cannot be removed stays.
fn remove_old(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        if age > KEEP_LOGS {
            let _ = fs::remove_file(entry.path());
        }
    }
}
