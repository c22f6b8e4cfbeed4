//! `cargo demo`: a primary and its standby, real data, and partitions that appear by themselves.

mod clicks;
mod flights;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use pg_test::cluster::{Cluster, try_wait_for};
use pg_test::progress::Progress;
use pg_test::setup::extension::{self, Profile};
use pg_test::setup::privilege::{SERVER_ACCOUNT, is_root};
use pg_test::setup::{self, Installation};
use postgres::Client;

/// The database everything happens in.
const DATABASE: &str = "demo";

/// Longer than a launcher needs to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shows pg_steward at work on a throw-away primary and standby. Installs what is missing.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo --")]
struct Arguments {
    /// The PostgreSQL major to use; without it the installed one.
    #[arg(long)]
    pg: Option<u32>,
    /// Leaves both servers running and says how to connect and how to stop them.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match demo(&Arguments::parse_from(pg_test::arguments())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The whole demonstration; whether no insert failed and partitions were made.
fn demo(arguments: &Arguments) -> Result<bool> {
    let majors: Vec<u32> = arguments.pg.into_iter().collect();
    let (pgrx, servers) = setup::prepare(&majors)?;
    let server = &servers[0];
    extension::install(&pgrx, server, Profile::Release)?;

    show::heading(&format!("A primary and its standby, PostgreSQL {}", server.version));
    let progress = Progress::start("starting a primary and a standby");
    let mut primary = Cluster::builder(server).start()?;
    primary.connect("postgres")?.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
    let mut client = primary.connect(DATABASE)?;
    client.batch_execute("CREATE EXTENSION pg_steward")?;
    let mut standby = primary.standby()?;
    progress.finish();
    wait_for_the_launcher(&mut client)?;
    show::table(
        &mut client,
        "SELECT preloaded, launcher_running, extension_version, message FROM steward.status",
    )?;

    flights::load(&mut client)?;
    let traffic = clicks::run(&primary, &mut client)?;
    flights::ask(&mut client)?;

    show::heading("How it looks");
    show::sets(&mut client)?;
    show::jobs(&mut client)?;
    on_the_standby(&primary, &standby)?;

    println!("\n{traffic}");
    if arguments.keep {
        primary.keep_running();
        standby.keep_running();
        how_to_go_on(server, &primary, &standby);
    } else {
        println!("\nTo look around yourself: `cargo demo -- --keep` leaves both servers running;");
        println!("then `{}` connects.", connect_command(server, "/tmp/pgs-…"));
    }
    Ok(traffic.is_good())
}

fn wait_for_the_launcher(client: &mut Client) -> Result<()> {
    try_wait_for(PATIENCE, "the launcher runs", || {
        let row = client.query_one("SELECT launcher_running FROM steward.status", &[])?;
        Ok(row.get::<_, bool>(0).then_some(()))
    })
}

/// The same sets, read on the standby, which makes nothing itself.
fn on_the_standby(primary: &Cluster, standby: &Cluster) -> Result<()> {
    primary.wait_for_replay(standby)?;
    let mut reader = standby.connect(DATABASE)?;
    show::heading("On the standby");
    show::table(
        &mut reader,
        "SELECT role, timeline, in_recovery,
                (SELECT count(*) FROM steward.partitions) AS partitions,
                (SELECT count(*) FROM flights) AS flights,
                (SELECT count(*) FROM clicks) AS clicks
         FROM steward.node",
    )
}

fn connect_command(server: &Installation, socket_dir: &str) -> String {
    format!("{} -h {socket_dir} -U postgres {DATABASE}", server.program("psql").display())
}

fn how_to_go_on(server: &Installation, primary: &Cluster, standby: &Cluster) {
    println!("\nBoth are left running; clicks goes on getting partitions. Connect with");
    for (what, cluster) in [("primary", primary), ("standby", standby)] {
        let socket_dir = cluster.socket_dir().display().to_string();
        println!("  {what}: {}", connect_command(server, &socket_dir));
    }
    println!("and stop them with");
    let prefix = if is_root() {
        format!("setpriv --reuid {SERVER_ACCOUNT} --regid {SERVER_ACCOUNT} --init-groups ")
    } else {
        String::new()
    };
    for cluster in [standby, primary] {
        let directory = cluster.socket_dir().display();
        println!(
            "  {prefix}{} stop -m fast -D {directory}/data; rm -r {directory}",
            server.program("pg_ctl").display()
        );
    }
}
