//! One round: a database of its own with a fresh zoo, sessions that call, DDL beside them, and a look at what is left.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pg_test::cluster::Cluster;

use crate::calls::Surface;
use crate::chance::Chance;
use crate::findings::Findings;
use crate::relations::{GROUND, KINDS};
use crate::verdict::Listed;
use crate::{aftermath, ddl, sessions, watch};

/// How many sessions call at a time.
const SESSIONS: u64 = 3;

/// What the actors of a round share.
pub(crate) struct Round<'a> {
    /// The server.
    pub(crate) cluster: &'a Cluster,
    /// The round's database.
    pub(crate) database: &'a str,
    /// What can be called.
    pub(crate) surface: &'a Surface,
    /// What may come back.
    pub(crate) listed: &'a Listed,
    /// What should not have.
    pub(crate) findings: &'a Findings,
    seed: u64,
    end: Instant,
    ended: Mutex<BTreeSet<i32>>,
    dropped: Mutex<Option<Instant>>,
    callers_are_done: AtomicBool,
}

impl Round<'_> {
    /// Whether its time is not over, and nothing has happened that ends everything.
    pub(crate) fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// Notes that the extension is being dropped about now.
    pub(crate) fn note_drop(&self) {
        *self.dropped.lock().unwrap() = Some(Instant::now());
    }

    /// Whether it was so a moment ago. The server locks no function or type that a query names: what is
    /// dropped between the query's analysis and our first instruction is `could not open relation with OID`,
    /// or `cache lookup failed`, whoever's functions they are.
    pub(crate) fn was_just_dropped(&self) -> bool {
        self.dropped.lock().unwrap().is_some_and(|at| at.elapsed() < Duration::from_secs(5))
    }

    /// Whether every session has said its last.
    pub(crate) fn callers_are_done(&self) -> bool {
        self.callers_are_done.load(Ordering::Relaxed)
    }

    /// The choices of one actor.
    pub(crate) fn chance(&self, actor: u64) -> Chance {
        Chance::of(self.seed, &[actor])
    }

    /// How it is told in a finding.
    pub(crate) fn name(&self) -> String {
        format!("{} (PG_STEWARD_FUZZ_SEED={})", self.database, self.seed)
    }

    /// Notes that this process is about to be ended.
    pub(crate) fn note_end(&self, pid: i32) {
        self.ended.lock().unwrap().insert(pid);
    }

    /// Whether somebody here has ended it.
    pub(crate) fn was_ended(&self, pid: i32) -> bool {
        self.ended.lock().unwrap().contains(&pid)
    }
}

/// Plays one round; gives the number of calls.
pub(crate) fn play(
    cluster: &Cluster,
    seed: u64,
    length: Duration,
    listed: &Listed,
    findings: &Findings,
) -> Result<usize> {
    let database = cluster.create_database()?;
    let mut client = cluster.connect(&database)?;
    client.batch_execute(GROUND).context("the ground of the zoo")?;
    for kind in KINDS {
        client.batch_execute(&kind.sql()).with_context(|| kind.name)?;
        client.batch_execute(&kind.managed()).with_context(|| format!("managing {}", kind.name))?;
    }
    let surface = Surface::read(&mut client)?;
    drop(client);
    let round = Round {
        cluster,
        database: &database,
        surface: &surface,
        listed,
        findings,
        seed,
        end: Instant::now() + length,
        ended: Mutex::default(),
        dropped: Mutex::default(),
        callers_are_done: AtomicBool::new(false),
    };
    let calls = thread::scope(|scope| {
        let callers: Vec<_> = (0..SESSIONS)
            .map(|number| {
                let round = &round;
                scope.spawn(move || sessions::call_until_the_end(round, number))
            })
            .collect();
        scope.spawn(|| ddl::change_until_the_end(&round, SESSIONS));
        scope.spawn(|| watch::end_what_does_not_end(&round));
        scope.spawn(|| ddl::end_processes_until_the_end(&round, SESSIONS + 1));
        let calls = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        round.callers_are_done.store(true, Ordering::Relaxed);
        calls
    });
    aftermath::look(&round)?;
    Ok(calls)
}
