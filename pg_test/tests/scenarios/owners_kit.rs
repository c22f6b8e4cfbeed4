//! Every function, procedure, view and worker of the extension against one hostile owner's kit: her code
//! runs as her, or not at all. The calls are made from the catalog: what is new is in it by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pg_test::cluster::{Ask, sqlstate, wait_until};
use postgres::Client;

use crate::owners_support::{Heard, World};
use crate::owners_zoo;

/// For all jobs' next turn; two cores are all there is.
const TURN: Duration = Duration::from_secs(120);
const ROLES: [&str; 4] = ["postgres", "monitor", "victim", "mallory"];
/// A call that did not come to the function at all: not these arguments, not this syntax.
const NOT_CALLED: [&str; 6] = ["42883", "42601", "42804", "42703", "22P02", "42725"];

/// A function or procedure of ours, with the name and type of each argument that is passed.
struct Routine {
    signature: String,
    name: String,
    is_procedure: bool,
    arguments: Vec<(String, String)>,
}

fn routines(client: &mut Client) -> Vec<Routine> {
    let found = client.query(
        "SELECT p.oid::regprocedure::text, p.proname::text, p.prokind = 'p',
                ARRAY(SELECT coalesce(a.name, '') || '=' || a.type::regtype::text
                        FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames, p.proargmodes)
                             WITH ORDINALITY a (type, name, mode, place)
                       WHERE a.mode IS NULL OR a.mode IN ('i', 'b', 'v') ORDER BY a.place)
           FROM pg_proc p WHERE p.pronamespace = 'steward'::regnamespace ORDER BY 1",
        &[],
    );
    let routine = |row: &postgres::Row| Routine {
        signature: row.get(0),
        name: row.get(1),
        is_procedure: row.get(2),
        arguments: row
            .get::<_, Vec<String>>(3)
            .iter()
            .map(|argument| argument.split_once('=').unwrap())
            .map(|(name, type_name)| (name.to_owned(), type_name.to_owned()))
            .collect(),
    };
    found.unwrap().iter().map(routine).collect()
}

/// What a call is about: a relation, and the number of its job, or 0.
struct Relation {
    name: String,
    job: i64,
}

/// Her sets, managed and not, what is below them, defaults, leaves, indexes, a view, templates; and a
/// set of victim's, for whom her template and her archive function are not.
fn relations(client: &mut Client) -> Vec<Relation> {
    let found = client.query(
        "WITH kinds AS (
             SELECT c.oid, c.relkind, pg_partition_root(c.oid) AS root, c.relispartition,
                    row_number() OVER (PARTITION BY c.relkind, pg_partition_root(c.oid), c.relispartition ORDER BY c.oid) AS place
               FROM pg_class c WHERE c.relnamespace = 'mallory'::regnamespace AND c.relkind IN ('p', 'r', 'v', 'i', 'I'))
         SELECT k.oid::regclass::text, coalesce((SELECT j.job_id FROM steward.job j WHERE j.target = k.oid), 0)
           FROM kinds k
          WHERE k.relkind = 'p' OR k.relkind IN ('r', 'v') AND NOT k.relispartition
             OR k.relkind = 'r' AND k.place = 1
             OR k.relkind IN ('i', 'I') AND k.place = 1 AND k.oid::regclass::text ~ '^mallory.(t|n|h|hx)_'
             OR k.oid::regclass::text LIKE '%\\_default'
         UNION ALL
         SELECT 'victim.' || t, 0 FROM unnest('{t,free}'::text[]) t",
        &[],
    );
    let relation = |row: &postgres::Row| Relation { name: row.get(0), job: row.get(1) };
    found.unwrap().iter().map(relation).collect()
}

/// An argument, by its name, and where that says nothing by its type. There are two of each where it
/// makes a difference: as for times, and as for numbers.
fn argument(name: &str, type_name: &str, relation: &Relation, variant: usize) -> String {
    let either = |values: [&str; 2]| values[variant].to_owned();
    let of_relation = format!("'{}'::regclass", relation.name);
    let value = match (name, type_name) {
        ("template", _) => "'mallory.template'".to_owned(),
        ("archive_function", _) => either(["'mallory.keep(regclass)'", "NULL"]),
        ("action", _) => either(["'drop'", "'detach'"]),
        ("to_schema", _) => either(["NULL", "'mallory'"]),
        ("tablespace", _) => "'cold'".to_owned(),
        ("partition_interval", "text") => either(["'1 day'", "'10'"]),
        ("keep" | "older_than", _) => either(["'1 day'", "'20'"]),
        ("start_at" | "origin" | "key_encoding" | "name_format" | "schedule", _) => "NULL".to_owned(),
        ("time_zone", _) => "'UTC'".to_owned(),
        ("subpartition_by", _) => either(["NULL", "'n'"]),
        ("subpartitions", _) => either(["NULL", "2"]),
        ("premake" | "partitions", _) => either(["4", "2"]),
        ("priority", _) => "5".to_owned(),
        ("job_id", _) => relation.job.to_string(),
        ("by_id", _) => either(["false", "true"]),
        ("config", "jsonb") => format!(
            "jsonb_build_object('control', 'k', 'partition_interval', {}, 'template_table', 'mallory.template',
                                'datetime_string', 'YYYYMMDD', 'premake', 4)",
            ["'1 day'", "'10'"][variant]
        ),
        (_, "regclass" | "oid") => of_relation,
        (_, "timestamp with time zone") => either(["now()", "now() + interval '30 days'"]),
        (_, "timestamp with time zone[]") => "ARRAY[now(), now() - interval '1 day']".to_owned(),
        (_, "interval") => "'1 day'".to_owned(),
        (_, "boolean") => either(["true", "false"]),
        (_, "smallint" | "integer" | "bigint" | "numeric") => "1".to_owned(),
        (_, "text" | "name") => "'warning'".to_owned(),
        (_, "jsonb") => "'{}'".to_owned(),
        _ => "NULL".to_owned(),
    };
    format!("{value}::{type_name}")
}

/// The calls of a routine: about each relation where it takes one.
fn calls(routine: &Routine, relations: &[Relation]) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for relation in relations {
        for variant in 0..2 {
            let arguments: Vec<String> = routine
                .arguments
                .iter()
                .map(|(name, type_name)| argument(name, type_name, relation, variant))
                .collect();
            calls.insert(format!("steward.{}({})", routine.name, arguments.join(", ")));
        }
    }
    calls
}

/// A session that says in the log what it is for; nothing hangs in it.
fn session(world: &World, role: &str, purpose: &str) -> Client {
    let mut client = world.fresh(role);
    client.run(&format!(
        "SET statement_timeout = '10s'; SET application_name = 'kit {role} {purpose}'"
    ));
    client
}

/// Calls a routine as each role; the SQLSTATEs that calls ended with. All of it is taken back, so that the
/// next one finds her sets as they were; but what procedures do.
fn call(world: &World, routine: &Routine, relations: &[Relation]) -> BTreeSet<String> {
    let mut states = BTreeSet::new();
    for role in ROLES {
        let mut client = session(world, role, &routine.name);
        for call in calls(routine, relations) {
            // The superuser has a new one for each: what a server has read once it does not read again.
            if role == "postgres" {
                client = session(world, role, &routine.name);
            }
            let outcome = match routine.is_procedure {
                true => client.batch_execute(&format!("CALL {call}")),
                false => client.batch_execute(&format!("BEGIN; SELECT {call}")),
            };
            let state = outcome.as_ref().map_or_else(sqlstate, |()| "00000");
            states.insert(state.to_owned());
            if client.batch_execute("ROLLBACK").is_err() {
                client = session(world, role, &routine.name);
            }
        }
    }
    states
}

/// Every job has its turn in the workers, and all that they do is done.
fn let_workers_run(world: &mut World) {
    world.superuser.run(
        "UPDATE steward.job SET next_run_at = '2000-01-01', consecutive_failures = 0, enabled = true;
         SELECT steward.wake_at_commit()",
    );
    wait_until(TURN, "every job has had its turn", || {
        world.superuser.value(
            "SELECT bool_and(j.next_run_at > '2001-01-01')
                    AND NOT EXISTS (SELECT FROM steward.job_run r WHERE r.status = 'running') FROM steward.job j",
        )
    });
}

/// Something to do in every set: the newest partition of each is gone.
fn drop_newest_of_each(world: &mut World) {
    let newest: Vec<String> = world.superuser.column(
        "SELECT max(inhrelid)::regclass::text FROM pg_inherits i JOIN steward.job j ON j.target = i.inhparent
          WHERE inhrelid::regclass::text NOT LIKE '%\\_default' GROUP BY inhparent",
    );
    assert!(newest.len() >= 6, "{newest:?}");
    for partition in newest {
        world.superuser.run(&format!("DROP TABLE {partition}"));
    }
}

#[test]
fn her_code_runs_as_her_or_not_at_all() {
    let mut world = World::new();
    let managed = owners_zoo::populate(&mut world);
    assert!(managed >= 7, "only {managed} sets are managed");
    world.fresh("victim").run(
        "CREATE TABLE victim.t (n int, k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT count(*) FROM steward.manage_range('victim.t', '1 day');
         CREATE TABLE victim.free (n int, k timestamptz NOT NULL) PARTITION BY RANGE (k)",
    );
    let_workers_run(&mut world);

    let routines = routines(&mut world.superuser);
    let relations = relations(&mut world.superuser);
    assert!(routines.len() > 30 && relations.len() > 30, "{} {}", routines.len(), relations.len());
    let views: Vec<String> = world.superuser.column(
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'steward'::regnamespace
            AND relkind IN ('v', 'm') ORDER BY 1",
    );
    for view in &views {
        for role in ROLES {
            let purpose = format!("view {}", view.trim_start_matches("steward."));
            // What a view does not show because of her is the business of other tests.
            let _ = session(&world, role, &purpose).batch_execute(&format!("SELECT * FROM {view}"));
        }
    }
    let mut never_called = BTreeMap::new();
    for routine in &routines {
        let states = call(&world, routine, &relations);
        if states.iter().all(|state| NOT_CALLED.contains(&state.as_str())) {
            never_called.insert(&routine.signature, states);
        }
    }
    drop_newest_of_each(&mut world);
    world.mallory.run("UPDATE mallory.says SET archived = true");
    let_workers_run(&mut world);

    assert!(never_called.is_empty(), "add arguments for these: {never_called:#?}");
    let heard = world.heard();
    let count = |what: &dyn Fn(&Heard) -> bool| heard.iter().filter(|line| what(line)).count();
    let by_workers = count(&Heard::is_of_a_worker);
    let by_calls = count(&|line| {
        line.application.starts_with("kit postgres") && !line.application.contains(" view ")
    });
    let tags: BTreeSet<&str> = heard.iter().map(|line| line.tag.as_str()).collect();
    assert!(by_workers > 5 && by_calls > 5, "{by_workers} by workers, {by_calls} by calls");
    for tag in [
        "archive",
        "cast",
        "check",
        "check of a row",
        "default",
        "domain",
        "generated",
        "hash key",
        "index",
        "key below, hash",
        "key below, list",
        "key below, range",
        "opclass",
        "policy",
        "predicate",
        "rule",
        "statistics",
        "template index",
        "trigger row_before",
        "trigger row_after",
        "trigger deferred",
        "trigger statement_before",
        "trigger statement_after",
    ] {
        assert!(tags.contains(tag), "{tag} never ran: {tags:?}");
    }
    world.assert_only_mallory("mallory.hx");
    let sessions: BTreeSet<(&str, &str)> = heard
        .iter()
        .filter(|line| line.is_of_a_worker())
        .map(|line| (line.session.as_str(), line.is_superuser.as_str()))
        .collect();
    assert_eq!(
        sessions,
        BTreeSet::from([("mallory", "off")]),
        "session and is_superuser in workers"
    );
}
