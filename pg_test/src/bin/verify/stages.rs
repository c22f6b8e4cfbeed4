//! The stages of `cargo verify`: what each runs, and what it counts.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pg_test::cluster::server_directory;
use pg_test::fixtures::{ENCODING_VARIABLE, OLD_PG_CONFIG_VARIABLE, PG_CONFIG_VARIABLE};
use pg_test::progress::{self, Logged};
use pg_test::setup::extension::{self, Profile};
use pg_test::setup::privilege::{SERVER_ACCOUNT, is_root};
use pg_test::setup::{Installation, Pgrx, command, private_server, tools};

use crate::tally::Tally;

/// How many lines of a failed stage are shown.
const SHOWN: usize = 80;

/// Scenarios that are about names, or have some that are not ASCII.
const NAMES: [&str; 4] = ["range_like_parent", "range_takeover", "hash_sets", "alerts_rough"];

/// How long to fuzz.
const FUZZ_SECONDS_VARIABLE: &str = "PG_STEWARD_FUZZ_SECONDS";

/// In the path of every in-server test's name, and in no other test's: pgrx makes it so.
const IN_SERVER: &str = "::pg_";

/// One run of `cargo verify`: goes on after a failure, and counts.
pub(crate) struct Verification {
    pgrx: Pgrx,
    thorough: bool,
    filter: Vec<String>,
    /// What passed and failed so far.
    pub(crate) tally: Tally,
}

impl Verification {
    pub(crate) fn new(pgrx: Pgrx, thorough: bool, filter: &[String]) -> Self {
        Self { pgrx, thorough, filter: filter.to_vec(), tally: Tally::default() }
    }

    /// rustfmt has nothing to change.
    pub(crate) fn formatting(&mut self) {
        let mut command = self.pgrx.cargo();
        command.args(["fmt", "--all", "--check"]);
        self.whole("formatting", command);
    }

    /// clippy has nothing to say about either crate.
    pub(crate) fn lints(&mut self, server: &Installation) {
        let clippy = |package: &str| {
            let mut command = self.pgrx.cargo();
            command.args(["clippy", "--locked", "--all-targets", "--package", package]);
            command
        };
        // One by one: together they would choose other features for what both depend on, and
        // compile that a second time.
        let (mut extension, mut harness) = (clippy("pg_steward"), clippy("pg_test"));
        extension.args(["--no-default-features", "--features", &server.feature()]);
        for command in [&mut extension, &mut harness] {
            command.args(["--", "-D", "warnings"]);
        }
        self.whole("clippy on pg_steward", extension);
        self.whole("clippy on pg_test", harness);
    }

    /// cargo-deny agrees with the dependencies. Advisories need a network that CI may not have.
    pub(crate) fn dependencies(&mut self) {
        match tools::cargo_deny() {
            Ok(program) => {
                let mut command = command::clean(&program);
                command.args(["--locked", "--workspace", "check", "bans", "licenses", "sources"]);
                self.whole("cargo-deny", command);
            }
            Err(error) => self.broken("cargo-deny", &error),
        }
    }

    /// Unit and property tests of the extension, and those of this crate.
    pub(crate) fn unit_tests(&mut self, server: &Installation) {
        let mut extension = self.pgrx.cargo();
        extension.args(["test", "--locked", "--lib", "--package", "pg_steward"]);
        // The features of the in-server tests, so that nothing is compiled twice.
        extension.args(["--no-default-features", "--features"]);
        extension.arg(format!("{},pg_test", server.feature()));
        extension.args(["--", "--skip", IN_SERVER]).args(&self.filter);
        self.tests("unit and property tests", extension);

        let mut harness = self.pgrx.cargo();
        harness.args(["test", "--locked", "--package", "pg_test", "--lib", "--bins"]);
        harness.args(["--test", "walls"]);
        harness.arg("--").args(&self.filter);
        self.tests("walls and harness", harness);
    }

    /// Tests inside a server of a major.
    pub(crate) fn in_server_tests(&mut self, server: &Installation) {
        let label = format!("in-server tests on {}", server.version);
        let reserved = private_server::reserve_for_in_server_tests(server);
        let (_reserved, directory) = match reserved.and_then(|lock| Ok((lock, server_directory()?)))
        {
            Ok(both) => both,
            Err(error) => return self.broken(&label, &error),
        };
        let mut command = self.pgrx.cargo_pgrx();
        command.args(["test", "--package", "pg_steward", "--no-default-features"]);
        command.arg("--pgdata").arg(&directory);
        if is_root() {
            // This also makes pgrx install through sudo, in place: its configuration names a tree
            // that no other test uses.
            command.args(["--runas", SERVER_ACCOUNT]);
        }
        let feature = server.feature();
        command.args(["--features", &feature, &feature, IN_SERVER]);
        self.tests(&label, command);
        // pgrx stops the server and leaves its data; where that fails, /tmp is swept some day.
        let _ = fs::remove_dir_all(&directory);
    }

    /// Builds and installs the extension; without it nothing on clusters can run.
    pub(crate) fn install(&mut self, server: &Installation) -> bool {
        let outcome = extension::install(&self.pgrx, server, Profile::Dev);
        if let Err(error) = &outcome {
            self.broken(&format!("install into {}", server.version), error);
        }
        outcome.is_ok()
    }

    /// One of this crate's test programs, on a major.
    pub(crate) fn cluster_tests(&mut self, server: &Installation, target: &str) {
        let command = self.test_program(server, target);
        self.tests(&format!("{target} on {}", server.version), command);
    }

    /// The scenarios, and how many are left out on this server.
    pub(crate) fn scenarios(&mut self, server: &Installation) {
        self.cluster_tests(server, "scenarios");
        if !server.lacks.is_empty()
            && let Err(error) = self.left_out(server)
        {
            self.broken(&format!("left out on {}", server.version), &error);
        }
    }

    fn left_out(&mut self, server: &Installation) -> Result<()> {
        let mut list = self.pgrx.cargo();
        list.args(["test", "--locked", "--package", "pg_test", "--test", "scenarios", "--"]);
        list.args(&self.filter);
        let output = list.arg("--list").output().context("cannot list the scenarios")?;
        ensure!(output.status.success(), "cannot list the scenarios");
        let names = String::from_utf8_lossy(&output.stdout);
        for part in &server.lacks {
            let left_out: Vec<&str> =
                names.lines().filter(|name| name.contains(&needing(part))).collect();
            let count = left_out.len();
            println!(
                "left out on {}: {count} that need {}",
                server.version,
                part.replace('_', " ")
            );
            self.tally.add(Tally::left_out(count as u64));
        }
        Ok(())
    }

    /// The scenarios that are about names, in databases of other encodings. Whoever names tests wants those only.
    pub(crate) fn names_in_other_encodings(&mut self, server: &Installation) {
        if !self.filter.is_empty() {
            return;
        }
        for encoding in ["LATIN1", "EUC_JP", "SQL_ASCII"] {
            let mut command = self.test_program(server, "scenarios");
            command.args(NAMES).env(ENCODING_VARIABLE, encoding);
            self.tests(&format!("names in {encoding} on {}", server.version), command);
        }
    }

    /// Fuzzing on one of so many majors, which share the time; `PG_STEWARD_FUZZ_SECONDS` is for each.
    pub(crate) fn fuzzing(&mut self, server: &Installation, majors: usize) {
        let mut command = self.test_program(server, "fuzz");
        if std::env::var_os(FUZZ_SECONDS_VARIABLE).is_none() {
            let seconds = if self.thorough { 3600 } else { 600 } / majors.max(1);
            command.env(FUZZ_SECONDS_VARIABLE, seconds.to_string());
        }
        self.tests(&format!("fuzz on {}", server.version), command);
    }

    /// pg_upgrade from one major to another, the extension being installed in both.
    pub(crate) fn upgrade(&mut self, old: &Installation, new: &Installation) {
        let mut command = self.test_program(new, "upgrade");
        command.env(OLD_PG_CONFIG_VARIABLE, &old.pg_config);
        self.tests(&format!("upgrade {} -> {}", old.version, new.version), command);
    }

    fn test_program(&self, server: &Installation, target: &str) -> Command {
        let mut command = self.pgrx.cargo();
        command.args(["test", "--locked", "--package", "pg_test", "--test", target]);
        command.args(["--", "--test-threads=3"]).args(&self.filter);
        for part in &server.lacks {
            command.args(["--skip", &needing(part)]);
        }
        command.env(PG_CONFIG_VARIABLE, &server.pg_config);
        command
    }

    fn whole(&mut self, label: &str, command: Command) {
        match self.execute(label, command) {
            Ok(outcome) => {
                self.report(label, Tally::one(outcome.success), outcome.elapsed);
                if !outcome.success {
                    show(&outcome, &outcome.tail(SHOWN));
                }
            }
            Err(error) => self.broken(label, &error),
        }
    }

    fn tests(&mut self, label: &str, command: Command) {
        match self.execute(label, command) {
            Ok(outcome) => {
                let text = outcome.text();
                self.report(label, Tally::of_tests(&text, outcome.success), outcome.elapsed);
                if !outcome.success {
                    show(&outcome, &failures(&text).unwrap_or_else(|| outcome.tail(SHOWN)));
                }
            }
            Err(error) => self.broken(label, &error),
        }
    }

    fn execute(&self, label: &str, mut command: Command) -> Result<Logged> {
        // A test's own words say enough; a backtrace of the harness says nothing.
        command.env("RUST_BACKTRACE", "0").env("CARGO_TERM_COLOR", "never");
        if self.thorough {
            command.env("PG_STEWARD_THOROUGH", "1");
        }
        progress::run_quietly(label, &mut command).with_context(|| label.to_owned())
    }

    fn report(&mut self, label: &str, tally: Tally, elapsed: Duration) {
        let verdict = if tally.failed == 0 { "ok" } else { "FAILED" };
        println!(
            "{label:<28} {verdict:<6} {:>5} passed {:>3} failed {:>7.1} s",
            tally.passed,
            tally.failed,
            elapsed.as_secs_f64()
        );
        self.tally.add(tally);
    }

    fn broken(&mut self, label: &str, error: &anyhow::Error) {
        self.report(label, Tally::one(false), Duration::ZERO);
        eprintln!("{error:#}");
    }
}

/// What a test program says about the tests that failed.
fn failures(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| *line == "failures:")?;
    let told = &lines[start..];
    let mut shown: Vec<&str> = told.iter().take(3 * SHOWN).copied().collect();
    if told.len() > shown.len() {
        shown.push("…");
    }
    Some(shown.join("\n"))
}

/// In the path of the name of each test that needs a part of PostgreSQL that not every server has.
fn needing(part: &str) -> String {
    format!("::needs_{part}::")
}

fn show(outcome: &Logged, text: &str) {
    eprintln!("{text}\nall of it: {}", outcome.log.display());
}
