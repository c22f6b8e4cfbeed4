//! Refusals because of who calls: 42501; and what others may read.

use pg_test::cluster::{Ask, Cluster};
use pg_test::fixtures;
use postgres::Client;

use crate::errors_common::{assert_nothing_remains, assert_says};

/// A database with the extension, three roles of its own, and a set of the first of them.
struct World {
    cluster: Cluster,
    database: String,
    superuser: Client,
}

impl World {
    fn new() -> Self {
        let cluster = fixtures::cluster().start().unwrap();
        let database = cluster.create_database_with_extension().unwrap();
        let mut superuser = cluster.connect(&database).unwrap();
        superuser.run(
            "CREATE ROLE alice LOGIN; CREATE ROLE mallory LOGIN; CREATE ROLE ann LOGIN IN ROLE alice;
             CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
             CREATE SCHEMA alice AUTHORIZATION alice; CREATE SCHEMA mallory AUTHORIZATION mallory;
             CREATE TABLE alice.bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
             ALTER TABLE alice.bets OWNER TO alice",
        );
        Self { cluster, database, superuser }
    }

    fn connect(&self, role: &str) -> Client {
        self.cluster.connect_as(&self.database, role).unwrap()
    }

    /// Puts alice.bets under management and gives its job's number.
    fn manage(&mut self) -> i64 {
        self.connect("alice").run("SELECT steward.manage_range('alice.bets', '1 day')");
        self.superuser.value("SELECT job_id FROM steward.jobs")
    }
}

#[test]
fn each_call_by_another_than_the_owner_is_42501_and_changes_nothing() {
    let mut world = World::new();
    let oid: u32 = world.superuser.value("SELECT 'alice.bets'::regclass::oid");
    let mut mallory = world.connect("mallory");
    let refusal =
        mallory.refused("42501", &format!("SELECT steward.manage_range({oid}::regclass)"));
    assert_says(&refusal, "alice.bets", "alice");
    assert_nothing_remains(&mut world.superuser);

    let job = world.manage();
    let state = "SELECT (SELECT p::text FROM steward.range_policy p) || (SELECT j.enabled FROM steward.job j)
                        || (SELECT count(*) FROM pg_inherits)";
    let before: String = world.superuser.value(state);
    for call in [
        format!("SELECT steward.manage_range({oid}::regclass)"),
        format!("SELECT steward.alter_range({oid}::regclass, premake => 50)"),
        format!("SELECT steward.unmanage({oid}::regclass)"),
        format!("SELECT steward.plan({oid}::regclass)"),
        format!("CALL steward.maintain({oid}::regclass)"),
        format!("SELECT steward.pause_job({job})"),
        format!("SELECT steward.pause_job({job}, true)"),
        format!("SELECT steward.resume_job({job})"),
        format!("CALL steward.run_job({job})"),
    ] {
        let refusal = mallory.refused("42501", &call);
        assert_says(&refusal, "alice.bets", "Call it as alice, or as a member of that role");
    }
    // Without naming anything: only what the caller owns, which is nothing.
    assert_eq!(mallory.value::<i64>("SELECT count(*) FROM steward.plan(at => '2100-01-01')"), 0);
    mallory.run("CALL steward.maintain()");
    assert_eq!(world.superuser.value::<String>(state), before);
}

#[test]
fn a_member_of_the_owner_may_do_all_of_it() {
    let mut world = World::new();
    let mut ann = world.connect("ann");
    ann.run("SELECT steward.manage_range('alice.bets', '1 day')");
    let owners: String = world.superuser.value(
        "SELECT string_agg(DISTINCT relowner::regrole::text, ',') FROM pg_class
          WHERE relnamespace = 'alice'::regnamespace AND relkind = 'r'",
    );
    assert_eq!(owners, "alice", "partitions belong to the parent's owner, not to the caller");
    let job: i64 = ann.value("SELECT job_id FROM steward.jobs");
    for call in [
        "SELECT steward.alter_range('alice.bets', premake => 5)".to_owned(),
        "SELECT steward.plan('alice.bets')".to_owned(),
        "CALL steward.maintain('alice.bets')".to_owned(),
        "CALL steward.maintain()".to_owned(),
        format!("SELECT steward.pause_job({job}, true)"),
        format!("SELECT steward.resume_job({job})"),
        format!("CALL steward.run_job({job})"),
        "SELECT steward.unmanage('alice.bets')".to_owned(),
    ] {
        ann.run(&call);
    }
}

#[test]
fn a_template_of_another_owner_is_42501_and_the_hinted_statement_helps() {
    let mut world = World::new();
    world.superuser.run(
        "CREATE TABLE mallory.template (at timestamptz);
                         ALTER TABLE mallory.template OWNER TO mallory",
    );
    let call = "SELECT steward.manage_range('alice.bets', template => 'mallory.template')";
    let refusal = world.superuser.refused("42501", call);
    assert_says(&refusal, "mallory.template", "ALTER TABLE mallory.template OWNER TO alice;");
    assert_nothing_remains(&mut world.superuser);
    world.superuser.run(refusal.hint().unwrap());
    world.superuser.run(call);
}

#[test]
fn an_owner_who_may_not_create_in_the_schema_is_42501() {
    let mut world = World::new();
    world
        .superuser
        .run("ALTER SCHEMA alice OWNER TO postgres; GRANT USAGE ON SCHEMA alice TO alice");
    for role in ["alice", "postgres"] {
        let refusal =
            world.connect(role).refused("42501", "SELECT steward.manage_range('alice.bets')");
        assert!(refusal.message().contains("schema alice"), "{refusal}");
        assert_nothing_remains(&mut world.superuser);
    }
}

#[test]
fn the_views_show_each_owner_only_their_own_and_the_tables_are_nobodys() {
    let mut world = World::new();
    world.manage();
    world.connect("alice").run("CALL steward.maintain('alice.bets')");
    let mut mallory = world.connect("mallory");
    mallory.run(
        "CREATE TABLE mallory.own (at timestamptz) PARTITION BY RANGE (at);
         SELECT steward.manage_range('mallory.own', '1 day')",
    );
    mallory.run("CALL steward.maintain('mallory.own')");
    // A function of a low price in WHERE is the usual way to look under a view's filter.
    mallory.run(
        "CREATE FUNCTION mallory.peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
         $$ BEGIN RAISE EXCEPTION 'saw %', $1 USING ERRCODE = 'P0099'; END $$",
    );
    for (view, column) in [
        ("jobs", "target"),
        ("job_runs", "target"),
        ("partition_sets", "parent"),
        ("partitions", "parent"),
    ] {
        let rows = |client: &mut Client| -> Vec<String> {
            client.column(&format!(
                "SELECT DISTINCT {column}::oid::text FROM steward.{view} ORDER BY 1"
            ))
        };
        let own = rows(&mut mallory);
        assert_eq!(own.len(), 1, "{view}: {own:?}");
        assert_eq!(rows(&mut world.connect("alice")).len(), 1, "{view}");
        assert_ne!(rows(&mut world.connect("alice")), own, "{view}");
        assert_eq!(rows(&mut world.connect("monitor")).len(), 2, "{view}");
        assert_eq!(rows(&mut world.superuser).len(), 2, "{view}");
        let peek =
            format!("SELECT FROM steward.{view} v WHERE mallory.peek(v.{column}::oid::text)");
        let seen = mallory.refused("P0099", &peek);
        assert!(seen.message().contains(&own[0]), "{view}: {seen}");
    }
    for table in ["job", "job_run", "range_policy"] {
        mallory.refused("42501", &format!("SELECT FROM steward.{table}"));
        mallory.refused("42501", &format!("DELETE FROM steward.{table}"));
        mallory.refused("42501", &format!("INSERT INTO steward.{table} DEFAULT VALUES"));
    }
    mallory.refused("42501", "CREATE TABLE steward.mine (n int)");
    mallory.refused("42501", "SELECT nextval('steward.job_job_id_seq')");
}

#[test]
fn the_extensions_owner_need_not_stay_a_superuser() {
    let cluster = crate::range_support::cluster();
    let name = "owned_by_nobody_special";
    let mut client = cluster.connect("postgres").unwrap();
    client.run("CREATE ROLE once_super SUPERUSER LOGIN");
    client.run(&format!("CREATE DATABASE {name}"));
    cluster.connect_as(name, "once_super").unwrap().run("CREATE EXTENSION pg_steward");
    client.run("ALTER ROLE once_super NOSUPERUSER");
    let mut client = cluster.connect(name).unwrap();
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE FUNCTION archive(gone regclass) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         SELECT steward.manage_range('bets', '1 day', premake => 1, start_at => (now() - interval '5 days')::text);
         SELECT steward.set_retention('bets', '3 days', archive_function => 'archive(regclass)');
         CREATE TABLE users (id int) PARTITION BY HASH (id);
         SELECT steward.manage_hash('users', 2)",
    );
    client.run("CALL steward.maintain()");
    client.run("SELECT steward.alter_hash('users', 3)");
    assert_eq!(
        client.value::<i64>(
            "SELECT count(*) FROM steward.partitions WHERE parent = 'users'::regclass"
        ),
        3
    );
    client.run("DROP TABLE bets");
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.jobs"), 1);
}
