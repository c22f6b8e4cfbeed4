//! `cargo verify`: everything that must hold before a change is taken, with one closing line.

mod stages;
mod tally;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use pg_test::setup::{self, Installation, postgres_wheel};

use stages::Verification;

/// Formats, lints, tests: on one or more PostgreSQL majors. Installs what is missing.
#[derive(Debug, Parser)]
#[command(name = "cargo verify", bin_name = "cargo verify")]
struct Arguments {
    /// The majors to test on, such as 15,17,18; without it the installed one.
    #[arg(long, value_delimiter = ',')]
    pg: Vec<u32>,
    /// Only these stages.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Stage>,
    /// More samples in property tests, and the slow scenarios too.
    #[arg(long)]
    thorough: bool,
    /// Only tests whose name contains one of these, as `cargo test` takes them.
    #[arg(last = true)]
    filter: Vec<String>,
}

/// One thing `cargo verify` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Stage {
    /// Formatting.
    Fmt,
    /// Lints, none of which may warn.
    Clippy,
    /// Licences, sources and doubles among the dependencies.
    Deny,
    /// Unit and property tests of the extension.
    Unit,
    /// Tests inside a server.
    Server,
    /// The SQL files with their expected output.
    Golden,
    /// The SQL in the documentation.
    Docs,
    /// Scenarios on real clusters.
    Scenarios,
    /// Every call with nasty arguments, beside DDL and workers: ten minutes in all, thoroughly an hour.
    Fuzz,
    /// pg_upgrade from the oldest to the newest of several majors.
    Upgrade,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse_from(pg_test::arguments());
    match verify(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo verify: {error:#}");
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// Runs the stages; whether all passed.
fn verify(arguments: &Arguments) -> Result<bool> {
    use Stage::{Clippy, Deny, Docs, Fmt, Fuzz, Golden, Scenarios, Server, Unit};

    let wanted: BTreeSet<Stage> = if arguments.only.is_empty() {
        Stage::value_variants().iter().copied().collect()
    } else {
        arguments.only.iter().copied().collect()
    };
    let majors: BTreeSet<u32> = arguments.pg.iter().copied().collect();
    ensure!(
        majors.len() > 1 || !arguments.only.contains(&Stage::Upgrade),
        "an upgrade takes two majors, such as --pg 15,18"
    );
    let (pgrx, servers) = setup::prepare(&arguments.pg)?;
    for server in servers.iter().filter(|server| postgres_wheel::is_one(server)) {
        println!("PostgreSQL {} is PyPI's {}", server.version, postgres_wheel::PACKAGE);
    }
    if wanted.contains(&Fmt) || wanted.contains(&Clippy) {
        setup::tools::components()?;
    }
    if wanted.contains(&Scenarios) {
        for server in &servers {
            setup::pg_partman::provide(server)?;
        }
    }
    let mut run = Verification::new(pgrx, arguments.thorough, &arguments.filter);
    let first = &servers[0];
    let upgrade = oldest_and_newest(&servers).filter(|_| wanted.contains(&Stage::Upgrade));
    let mut installed = Vec::new();

    for stage in [Fmt, Clippy, Deny, Unit].into_iter().filter(|stage| wanted.contains(stage)) {
        match stage {
            Fmt => run.formatting(),
            Clippy => run.lints(first),
            Deny => run.dependencies(),
            _ => run.unit_tests(first),
        }
    }
    for server in &servers {
        if wanted.contains(&Server) {
            run.in_server_tests(server);
        }
        let clusters = [Golden, Docs, Scenarios, Fuzz];
        let upgraded = upgrade.is_some_and(|(old, new)| server == old || server == new);
        let needed = upgraded || clusters.iter().any(|stage| wanted.contains(stage));
        if !needed || !run.install(server) {
            continue;
        }
        installed.push(server);
        for stage in clusters.into_iter().filter(|stage| wanted.contains(stage)) {
            match stage {
                Golden => run.cluster_tests(server, "golden"),
                Docs => run.cluster_tests(server, "docs"),
                Fuzz => run.fuzzing(server, servers.len()),
                _ => {
                    run.scenarios(server);
                    if server.version == first.version {
                        run.names_in_other_encodings(server);
                    }
                }
            }
        }
    }
    // Where the installation failed that has been counted.
    if let Some((old, new)) = upgrade
        && installed.contains(&old)
        && installed.contains(&new)
    {
        run.upgrade(old, new);
    }
    println!("{}", run.tally);
    Ok(run.tally.failed == 0)
}

/// None: they are all of one major.
fn oldest_and_newest(servers: &[Installation]) -> Option<(&Installation, &Installation)> {
    let oldest = servers.iter().min_by_key(|server| server.major)?;
    let newest = servers.iter().max_by_key(|server| server.major)?;
    (oldest.major < newest.major).then_some((oldest, newest))
}
