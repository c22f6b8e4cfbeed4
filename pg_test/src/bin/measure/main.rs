//! `cargo measure`: both sides of every comparison in the same run, on the same fresh cluster, in
//! alternating rounds. docs/performance.md says what the numbers mean.

mod backlog;
mod bench;
mod create;
mod due;
mod fleet;
mod idle;
mod latency;
mod many;
mod noop;
mod numbers;
mod pgbench;
mod processes;
mod report;
mod retire;
mod sets;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use pg_test::setup::extension::{self, Profile};
use pg_test::setup::{self};

use bench::{Bench, CONF, Partman};
use report::Report;

/// Measures pg_steward against pg_partman, plain scripts and an idle server. Installs what is missing.
#[derive(Debug, Parser)]
#[command(name = "cargo measure", bin_name = "cargo measure --")]
struct Arguments {
    /// What to measure; without it all.
    cases: Vec<Case>,
    /// The PostgreSQL major to use; without it the installed one.
    #[arg(long)]
    pg: Option<u32>,
    /// Smaller sizes and fewer rounds: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// A pass that finds nothing to do.
    Noop,
    /// Making partitions.
    Create,
    /// Inserts while partitions are made.
    Latency,
    /// Partitions leaving.
    Retire,
    /// What reads and writes see meanwhile.
    Leaving,
    /// Ten thousand of them leaving under the default lock table.
    Backlog,
    /// Databases with nothing to do.
    Idle,
    /// A hundred databases, ten of them with work every minute.
    Fleet,
    /// Hundreds of jobs due at the same instant.
    Due,
}

impl Case {
    /// How long it takes on two cores, in minutes: all of it, and the quick form.
    fn minutes(self) -> (u32, u32) {
        match self {
            Self::Noop => (3, 1),
            Self::Create => (3, 1),
            Self::Latency => (11, 2),
            Self::Retire => (14, 2),
            Self::Leaving => (11, 4),
            Self::Backlog => (6, 1),
            Self::Idle => (16, 3),
            Self::Fleet => (9, 3),
            Self::Due => (7, 3),
        }
    }

    fn measure(self, bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
        match self {
            Self::Noop => noop::measure(bench, tell),
            Self::Create => create::measure(bench, tell),
            Self::Latency => latency::measure(bench, tell),
            Self::Retire => retire::measure(bench, tell),
            Self::Leaving => retire::measure_latency(bench, tell),
            Self::Backlog => backlog::measure(bench, tell),
            Self::Idle => idle::measure(bench, tell),
            Self::Fleet => fleet::measure(bench, tell),
            Self::Due => due::measure(bench, tell),
        }
    }
}

fn main() -> ExitCode {
    match measure(&Arguments::parse_from(pg_test::arguments())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo measure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures the cases one after the other.
fn measure(arguments: &Arguments) -> Result<()> {
    let cases = match arguments.cases.as_slice() {
        [] => Case::value_variants(),
        some => some,
    };
    let minutes: u32 = cases
        .iter()
        .map(|case| if arguments.quick { case.minutes().1 } else { case.minutes().0 })
        .sum();
    println!(
        "About {minutes} minutes once the extension is built. Leave the machine alone meanwhile."
    );

    let majors: Vec<u32> = arguments.pg.into_iter().collect();
    let (pgrx, servers) = setup::prepare(&majors)?;
    let server = servers[0].clone();
    let partman = Partman::provide(&server)?;
    extension::install(&pgrx, &server, Profile::Release)?;

    let peer = match &partman {
        Some(partman) => format!("pg_partman {}", partman.version),
        None => "no pg_partman for this server: those comparisons are left out".to_owned(),
    };
    let cores = std::thread::available_parallelism()?;
    println!("\nPostgreSQL {}, {peer}, {cores} cores; on both sides", server.version);
    println!("  {}", CONF.trim().replace('\n', "\n  "));
    println!(
        "Times are medians over the rounds. Ratios are taken round by round: median (min–max)."
    );

    let bench = Bench { server, partman, quick: arguments.quick };
    let mut missed = 0;
    for case in cases {
        case.measure(&bench, &mut |report| {
            report.print();
            missed += report.missed();
        })?;
    }
    println!("\n{missed} targets missed");
    Ok(())
}
