//! What must be true when a round is over: nothing is held, nothing runs for ever, and the work is done again.

use std::time::Duration;

use anyhow::{Result, anyhow};
use pg_test::cluster::{Ask, try_wait_for};

use crate::round::Round;

/// For what the workers do within seconds on an idle machine.
const SOON: Duration = Duration::from_secs(90);

/// The round's database as a DBA would put it in order.
const IN_ORDER: &str = "
DROP PUBLICATION IF EXISTS pub;
ALTER ROLE app RESET ALL;
CREATE EXTENSION IF NOT EXISTS pg_steward;
CREATE TABLE public.afterwards (at timestamptz NOT NULL) PARTITION BY RANGE (at);
SELECT count(*) FROM steward.manage_range('public.afterwards', '1 day', 3);
DROP TABLE public.afterwards_";

/// Transactions and locks of others in this database.
const HELD: &str = "
SELECT coalesce(string_agg(DISTINCT concat_ws(' ', a.backend_type, a.application_name, a.state, l.locktype, l.relation::regclass, l.mode), ', '), '')
  FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
 WHERE l.pid IS DISTINCT FROM pg_backend_pid() AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
   AND (l.locktype = 'advisory' OR l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

/// Looks, and adds what is wrong to the findings. An error: the server is not to be worked with any more.
pub(crate) fn look(round: &Round<'_>) -> Result<()> {
    let mut client = round.cluster.connect(round.database)?;
    let wrong = |what: &str, error: &anyhow::Error| {
        round.findings.add(
            "",
            &format!("afterwards: {what}"),
            &format!("{error:#}\n  in {}", round.name()),
        );
    };

    let tomorrow: String =
        client.value("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '1 day', 'YYYY_MM_DD')");
    match client.batch_execute(&format!("{IN_ORDER}{tomorrow}")) {
        Err(error) => wrong("the database cannot be put in order", &anyhow!("{error:?}")),
        Ok(()) => {
            let there = format!("SELECT to_regclass('public.afterwards_{tomorrow}') IS NOT NULL");
            let made = try_wait_for(SOON, "workers make a partition that was dropped", || {
                Ok(client.query_one(&there, &[])?.get::<_, bool>(0).then_some(()))
            });
            if let Err(error) = made {
                wrong("the workers do not work", &error);
            }
        }
    }
    let quiet = try_wait_for(SOON, "nobody runs", || {
        let running: String = client
            .query_one("SELECT coalesce(string_agg(concat_ws(' ', target, started_at), ', '), '') FROM steward.job_runs WHERE status = 'running'", &[])?
            .get(0);
        if running.is_empty() { Ok(Some(())) } else { Err(anyhow!("running: {running}")) }
    });
    if let Err(error) = quiet {
        wrong("a run does not end", &error);
    }
    let free = try_wait_for(SOON, "no lock is held", || {
        let held: String = client.query_one(HELD, &[])?.get(0);
        if held.is_empty() { Ok(Some(())) } else { Err(anyhow!("held: {held}")) }
    });
    if let Err(error) = free {
        wrong("a lock is left", &error);
    }
    look_at_runs(round, &mut client)?;

    client.batch_execute("DROP EXTENSION pg_steward CASCADE")?;
    drop(client);
    let gone = try_wait_for(SOON, "the database is dropped", || {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", round.database);
        Ok(Some(round.cluster.connect("postgres")?.batch_execute(&drop)?))
    });
    if let Err(error) = gone {
        wrong("the database cannot be dropped", &error);
    }
    Ok(())
}

/// What runs were logged with. The zoo's own functions have P4242.
fn look_at_runs(round: &Round<'_>, client: &mut postgres::Client) -> Result<()> {
    let rows = client.query(
        "SELECT DISTINCT ON (sqlstate) sqlstate, concat_ws(' ', kind, target, status, error_message) FROM steward.job_runs
          WHERE sqlstate IS NOT NULL ORDER BY sqlstate, run_id",
        &[],
    )?;
    for row in rows {
        let (state, said): (String, String) = (row.get(0), row.get(1));
        if state.starts_with("XX") || !round.listed.has(&state) {
            round.findings.add(
                &state,
                "a run's SQLSTATE is not in docs/errors.md",
                &format!("  {said}\n  in {}", round.name()),
            );
        }
    }
    Ok(())
}
