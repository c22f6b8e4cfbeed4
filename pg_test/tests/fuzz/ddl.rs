//! What others do meanwhile: DDL on the same relations, and the ends of processes.

use std::thread;
use std::time::Duration;

use postgres::Client;

use crate::chance::Chance;
use crate::pool::Pool;
use crate::relations::KINDS;
use crate::round::Round;
use crate::verdict::{judge, told};

/// The log's lines of this one are the server's own business, unless our event trigger is in their context.
pub(crate) const APPLICATION: &str = "fuzz ddl";

/// On a set: `%`. Each is a transaction, or stands by itself.
const ON_SETS: &[&str] = &[
    "ALTER TABLE % OWNER TO app",
    "ALTER TABLE % OWNER TO other",
    "ALTER TABLE % SET SCHEMA attic",
    "ALTER TABLE % SET SCHEMA zoo",
    "ALTER TABLE % RENAME COLUMN a TO c",
    "ALTER TABLE % RENAME COLUMN c TO a",
    "ALTER TABLE % RENAME COLUMN k TO \"K \"\" k\"",
    "ALTER TABLE % ADD COLUMN IF NOT EXISTS extra int DEFAULT 7",
    "ALTER TABLE % DROP COLUMN IF EXISTS extra",
    "ALTER TABLE % ALTER COLUMN a TYPE bigint",
    "ALTER TABLE % ALTER COLUMN a TYPE int",
    "ALTER TABLE % ALTER COLUMN a SET NOT NULL",
    "ALTER TABLE % ADD CHECK (a < 1000000)",
    "ALTER TABLE % ADD CONSTRAINT u UNIQUE (k)",
    "ALTER TABLE % DROP CONSTRAINT IF EXISTS u",
    "ALTER TABLE % DISABLE TRIGGER ALL",
    "ALTER TABLE % ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE % FORCE ROW LEVEL SECURITY",
    "ALTER TABLE % NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON % USING (a <> 3)",
    "DROP POLICY IF EXISTS p ON %",
    "CREATE INDEX ON % (a)",
    "CREATE INDEX ON ONLY % (k)",
    "CREATE STATISTICS ON k, a FROM %",
    "CREATE PUBLICATION pub FOR TABLE %",
    "DROP PUBLICATION IF EXISTS pub",
    "GRANT SELECT, INSERT ON % TO other, watcher",
    "REVOKE ALL ON % FROM other, app",
    "COMMENT ON TABLE % IS 'seen'",
    "ANALYZE %",
    "VACUUM %",
    "REINDEX TABLE %",
    "TRUNCATE %",
    "DROP TABLE % CASCADE",
    "INSERT INTO % (k) VALUES (now()), (now() + interval '1 day')",
    "INSERT INTO % (k) SELECT (now() - i * interval '1 day') FROM generate_series(1, 40) i",
    "INSERT INTO % (k) VALUES (5), (15), (3000)",
    "INSERT INTO % (k, a) SELECT i, i FROM generate_series(1, 300) i",
    "INSERT INTO % (a) SELECT i FROM generate_series(1, 300) i",
    "INSERT INTO % (k) VALUES ('infinity')",
    "CREATE TABLE zoo.d PARTITION OF % DEFAULT",
    "CREATE TABLE zoo.day PARTITION OF % FOR VALUES FROM (current_date) TO (current_date + 1)",
    "CREATE TABLE zoo.far PARTITION OF % FOR VALUES FROM ('2031-01-01') TO ('2032-01-01')",
    "CREATE TABLE zoo.tens PARTITION OF % FOR VALUES FROM (5) TO (15)",
    "CREATE TABLE zoo.part PARTITION OF % FOR VALUES WITH (MODULUS 4, REMAINDER 2)",
    "CREATE FOREIGN TABLE zoo.foreign PARTITION OF % FOR VALUES FROM ('2033-01-01') TO ('2034-01-01') SERVER nowhere",
    "ALTER TABLE % ATTACH PARTITION zoo.d DEFAULT",
    "ALTER TABLE % ATTACH PARTITION zoo.far FOR VALUES FROM ('2035-01-01') TO ('2036-01-01')",
    "BEGIN; LOCK TABLE % IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.2); ROLLBACK",
    "BEGIN; LOCK TABLE % IN SHARE ROW EXCLUSIVE MODE; SELECT pg_sleep(0.5); COMMIT",
    "BEGIN; DROP TABLE %; SELECT pg_sleep(0.1); ROLLBACK",
];

/// On a partition: `%`.
const ON_PARTITIONS: &[&str] = &[
    "DROP TABLE %",
    "DROP TABLE % CASCADE",
    "TRUNCATE %",
    "ALTER TABLE % OWNER TO other",
    "ALTER TABLE % OWNER TO app",
    "ALTER TABLE % RENAME TO renamed",
    "ALTER TABLE % SET SCHEMA attic",
    "ALTER TABLE % SET TABLESPACE cold",
    "ALTER TABLE % SET UNLOGGED",
    "ALTER TABLE % SET (fillfactor = 50, autovacuum_enabled = off)",
    "ALTER TABLE % REPLICA IDENTITY FULL",
    "ALTER TABLE % ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    "CREATE VIEW zoo.on_it AS SELECT * FROM %",
    "DROP VIEW IF EXISTS zoo.on_it",
    "CREATE RULE r AS ON DELETE TO % DO INSTEAD NOTHING",
    "CREATE INDEX CONCURRENTLY ON % (k)",
    "ALTER TABLE % ADD CHECK (a IS DISTINCT FROM 77)",
    "BEGIN; LOCK TABLE % IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.2); ROLLBACK",
    "DO $$ BEGIN EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = '%'::regclass), '%'); END $$",
];

/// On neither.
const ELSEWHERE: &[&str] = &[
    "BEGIN; DROP EXTENSION pg_steward CASCADE; SELECT pg_sleep(0.1); ROLLBACK",
    "CREATE EXTENSION pg_steward",
    "DROP SCHEMA attic CASCADE",
    "CREATE SCHEMA attic AUTHORIZATION app",
    "CREATE SCHEMA attic AUTHORIZATION app",
    "REVOKE CREATE ON SCHEMA zoo FROM app",
    "GRANT ALL ON SCHEMA zoo TO app, other",
    "GRANT ALL ON SCHEMA zoo TO app, other",
    "DROP FUNCTION zoo.keeps(regclass)",
    "CREATE OR REPLACE FUNCTION zoo.keeps(regclass) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "ALTER FUNCTION zoo.keeps(regclass) OWNER TO app",
    "REVOKE EXECUTE ON FUNCTION zoo.dallies(regclass) FROM PUBLIC, app",
    "GRANT CREATE ON TABLESPACE cold TO app",
    "REVOKE CREATE ON TABLESPACE cold FROM app",
    "ALTER ROLE app SET TimeZone = 'Asia/Kathmandu'",
    "ALTER ROLE app RESET ALL",
    "ALTER ROLE app RESET ALL",
    "VACUUM",
    "CREATE TABLE attic.plainly (k timestamptz)",
    "ALTER TABLE zoo.template ADD COLUMN IF NOT EXISTS b text, ADD PRIMARY KEY (k)",
    "DROP TABLE zoo.template",
    "CREATE TABLE zoo.template (k timestamptz NOT NULL, a int, b text)",
    "UPDATE steward.job SET next_run_at = now()",
];

/// Changes things until the round is over.
pub(crate) fn change_until_the_end(round: &Round<'_>, actor: u64) {
    let mut chance = round.chance(actor);
    let mut pool = Pool::default();
    let mut client = None;
    while round.goes_on() {
        let Some(connected) = client.as_mut() else {
            client = connect(round);
            continue;
        };
        pool.look(connected);
        if !say(round, connected, "CREATE EXTENSION IF NOT EXISTS pg_steward") {
            client = None;
            continue;
        }
        for _ in 0..8 {
            let sql = change(&mut chance, &pool);
            if !say(round, connected, &sql) {
                client = None;
                break;
            }
            thread::sleep(Duration::from_millis(20 + chance.below(150) as u64));
        }
    }
}

fn connect(round: &Round<'_>) -> Option<Client> {
    let mut client = round.cluster.connect(round.database).ok()?;
    let settings = format!(
        "SET application_name = '{APPLICATION}'; SET statement_timeout = '5s'; SET lock_timeout = '1s'"
    );
    client.batch_execute(&settings).ok()?;
    Some(client)
}

fn change(chance: &mut Chance, pool: &Pool) -> String {
    match chance.below(10) {
        0 => chance.pick_ref(KINDS).sql(),
        1 => chance.pick_ref(KINDS).managed(),
        2..=4 if !pool.sets.is_empty() => {
            chance.pick(ON_SETS).replace('%', chance.pick_ref::<String>(&pool.sets))
        }
        5..=7 if !pool.partitions.is_empty() => on_partition(chance, pool),
        8 if chance.one_in(12) => {
            // Not for long: without it there is nothing to be tried.
            format!(
                "DROP EXTENSION pg_steward CASCADE; COMMIT; SELECT pg_sleep({}); CREATE EXTENSION pg_steward",
                chance.below(5) as f64 / 10.0
            )
        }
        8 => chance.pick(ELSEWHERE).to_owned(),
        _ => {
            let kind = chance.pick_ref(KINDS);
            let manage = if chance.one_in(3) { String::new() } else { kind.managed() };
            format!("DROP TABLE IF EXISTS {} CASCADE; {}; {manage}", kind.name, kind.sql())
        }
    }
}

fn on_partition(chance: &mut Chance, pool: &Pool) -> String {
    let partition = chance.pick_ref::<String>(&pool.partitions);
    match chance.below(8) {
        // Broken off now and then, and left pending.
        0 | 1 if !pool.sets.is_empty() => {
            let set = chance.pick_ref::<String>(&pool.sets);
            let how = chance.pick(&["", "CONCURRENTLY", "CONCURRENTLY", "FINALIZE"]);
            format!("ALTER TABLE {set} DETACH PARTITION {partition} {how}")
        }
        _ => {
            let quoted = partition.replace('\'', "''");
            chance
                .pick(ON_PARTITIONS)
                .replace("'%'", &format!("'{quoted}'"))
                .replace("%s", "\u{1}")
                .replace('%', partition)
                .replace('\u{1}', "%s")
        }
    }
}

/// False: the connection is gone.
fn say(round: &Round<'_>, client: &mut Client, sql: &str) -> bool {
    let drops = sql.starts_with("DROP EXTENSION");
    if drops {
        round.note_drop();
    }
    let outcome = client.simple_query(sql);
    if drops {
        round.note_drop();
    }
    let Err(error) = outcome else { return true };
    let Some(refusal) = error.as_db_error() else { return false };
    if refusal.where_().is_some_and(|context| context.contains("steward"))
        && let Some(wrong) = judge(refusal, sql, round.listed)
    {
        let example = format!("  {}\n  in: {sql}\n  as DDL in {}", told(refusal), round.name());
        let kind = format!("{wrong}: {} (DDL)", refusal.message());
        round.findings.add(refusal.code().code(), &kind, &example);
    }
    if refusal.severity() == "FATAL" {
        return false;
    }
    // What has failed within a transaction, or as somebody else, leaves neither behind.
    client.simple_query("ROLLBACK; RESET ROLE").is_ok()
}

/// Processes that are cancelled or ended now and then.
const VICTIMS: &str = "
SELECT pid, backend_type FROM pg_stat_activity
 WHERE (application_name LIKE 'fuzz session%' AND datname = current_database() OR starts_with(backend_type, 'pg_steward'))
   AND pid <> pg_backend_pid() ORDER BY pid";

/// Cancels and ends sessions and workers until the round is over, a few a second.
pub(crate) fn end_processes_until_the_end(round: &Round<'_>, actor: u64) {
    let mut chance = round.chance(actor);
    let mut client = None;
    while round.goes_on() {
        thread::sleep(Duration::from_millis(100 + chance.below(900) as u64));
        let Some(connected) = client.as_mut() else {
            client = round.cluster.connect(round.database).ok();
            continue;
        };
        let Ok(rows) = connected.query(VICTIMS, &[]) else {
            client = None;
            continue;
        };
        if rows.is_empty() {
            continue;
        }
        let pid: i32 = chance.pick_ref(&rows).get(0);
        let how = if chance.one_in(3) { "pg_terminate_backend" } else { "pg_cancel_backend" };
        if how == "pg_terminate_backend" {
            round.note_end(pid);
        }
        let _ = connected.query(&format!("SELECT {how}($1)"), &[&pid]);
    }
}
