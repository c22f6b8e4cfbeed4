//! What many databases with the extension and nothing to do cost a server.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use pg_test::progress::Progress;

use crate::bench::Bench;
use crate::many::{Contents, settle, with_databases};
use crate::numbers::{Series, mebibytes, time};
use crate::processes::Server;
use crate::report::{Line, Report, Target};

pub(crate) fn measure(bench: &Bench, tell: &mut dyn FnMut(Report)) -> Result<()> {
    for databases in bench.size([100, 1_000], [20, 50]) {
        tell(idle(bench, databases)?);
    }
    Ok(())
}

fn idle(bench: &Bench, databases: u32) -> Result<Report> {
    let (minute, rounds) = bench.size((60, 3), (20, 2));
    let progress = Progress::start(format!("two servers with {databases} databases each"));
    let without = with_databases(bench.cluster().preload(false), databases, Contents::Plain)?;
    let with = with_databases(bench.cluster(), databases, Contents::Managed)?;
    let (plain, steward) = (Server::of(&without)?, Server::of(&with)?);
    let settled = settle(&with)?;
    progress.finish();

    let _progress = Progress::start("both idle");
    let [mut cpu_plain, mut cpu_steward, mut memory_plain, mut memory_steward, mut processes] =
        [(); 5].map(|()| Series::default());
    for _ in 0..rounds {
        let before = (plain.cpu_seconds()?, steward.cpu_seconds()?);
        thread::sleep(Duration::from_secs(minute)); // the time that is measured
        cpu_plain.push(plain.cpu_seconds()? - before.0);
        cpu_steward.push(steward.cpu_seconds()? - before.1);
        memory_plain.push(plain.memory_bytes()?);
        memory_steward.push(steward.memory_bytes()?);
        processes.push(steward.processes() as f64 - plain.processes() as f64);
    }

    Ok(Report {
        title: format!(
            "{databases} idle databases, each with the extension and a monthly set, against the \
             same without (all were looked into {:.1} s after the start)",
            settled.as_secs_f64()
        ),
        columns: ["without", "with", "times without"],
        lines: vec![
            Line::plain(
                "processes",
                plain.processes().to_string(),
                steward.processes().to_string(),
                format!("{:+}", processes.max()),
            )
            .target(Target::AtMost(1.0), processes.max()),
            Line::new(
                &format!("CPU time in {minute} s"),
                time(cpu_plain.median()),
                time(cpu_steward.median()),
                &cpu_steward.over(&cpu_plain),
            ),
            Line::new(
                "memory, shared_buffers aside",
                mebibytes(memory_plain.median()),
                mebibytes(memory_steward.median()),
                &memory_steward.over(&memory_plain),
            ),
        ],
    })
}
