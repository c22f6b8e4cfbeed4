//! What the server's log says of workers, and of crashes.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};

use anyhow::{Context, Result};
use pg_test::cluster::Cluster;

use crate::findings::Findings;
use crate::verdict::Listed;
use crate::{ddl, sessions};

/// Settings that make it tell: `%b` is the kind of process, `%e` the SQLSTATE.
pub(crate) const SETTINGS: &str =
    "log_line_prefix = '%m [%p] <%b|%a|%d|%e> '\nlog_error_verbosity = verbose";

/// What ends the whole run.
const CRASHES: [&str; 4] = [
    "was terminated by signal",
    "PANIC:  ",
    "TRAP: ",
    "terminating any other active server processes",
];

/// Reads the log on from where it was.
#[derive(Default)]
pub(crate) struct ServerLog {
    read: u64,
}

impl ServerLog {
    /// Looks at what has come since, and gives what tells of a crash.
    pub(crate) fn look(
        &mut self,
        cluster: &Cluster,
        listed: &Listed,
        findings: &Findings,
    ) -> Result<Option<String>> {
        let path = cluster.log_file();
        let mut file =
            fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        self.read += file.read_to_end(&mut bytes)? as u64;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let mut crash = None;
        for (place, line) in lines.iter().enumerate() {
            let around = || lines[place..lines.len().min(place + 12)].join("\n");
            if crash.is_none() && CRASHES.iter().any(|sign| line.contains(sign)) {
                crash =
                    Some(lines[place.saturating_sub(10)..lines.len().min(place + 5)].join("\n"));
            }
            let Some(entry) = Entry::of(line) else { continue };
            if let Some(wrong) = entry.wrong(listed, &around()) {
                findings.add(
                    entry.sqlstate,
                    &format!("in the log, of {}: {wrong}: {}", entry.who, entry.said),
                    &around(),
                );
            }
        }
        Ok(crash)
    }
}

/// A line with a prefix.
struct Entry<'a> {
    who: &'a str,
    application: &'a str,
    sqlstate: &'a str,
    said: &'a str,
}

impl<'a> Entry<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (_, after) = line.split_once("] <")?;
        let (prefix, said) = after.split_once("> ")?;
        let mut parts = prefix.split('|');
        let who = parts.next()?;
        // A worker's name names its database and job.
        let who = who.split(':').next().unwrap_or(who);
        Some(Self { who, application: parts.next()?, sqlstate: prefix.rsplit('|').next()?, said })
    }

    fn wrong(&self, listed: &Listed, around: &str) -> Option<&'static str> {
        let is_main = ["ERROR:", "FATAL:", "WARNING:", "PANIC:"]
            .iter()
            .any(|level| self.said.starts_with(level));
        if !is_main {
            return None;
        }
        let of_ddl = self.application == ddl::APPLICATION && !around.contains("steward");
        if self.said.contains("panicked") {
            return Some("a panic");
        }
        // A caller's own errors are judged where they arrive.
        if self.application.starts_with(sessions::APPLICATION) && !self.said.starts_with("WARNING:")
        {
            return None;
        }
        match self.sqlstate.starts_with("XX") {
            true if !of_ddl => Some("an internal error"),
            false if self.who.starts_with("pg_steward") && !listed.has(self.sqlstate) => {
                Some("a SQLSTATE that is not in docs/errors.md")
            }
            _ => None,
        }
    }
}
