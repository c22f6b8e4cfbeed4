//! Retention: what it locks, what stands in its way, and how much of the lock table it needs.

use pg_test::cluster::Ask;

use crate::range_support::{Database, cluster};

#[test]
fn every_step_says_truly_what_it_locks() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE users (id int PRIMARY KEY); CREATE SCHEMA attic;
         CREATE TABLE bets (at timestamptz NOT NULL, who int REFERENCES users) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day', premake => 1, default_partition => true,
                                     start_at => (current_date - 4)::text);
         INSERT INTO users VALUES (1); INSERT INTO bets VALUES (current_date - 3, 1);
         SELECT steward.set_retention('bets', '1 day')",
    );
    // CONCURRENTLY cannot be looked into from outside; what it locks at its end is what FINALIZE and
    // a plain DETACH lock.
    let steps = db
        .client
        .query(
            "SELECT action, sql, lock, partition FROM steward.plan('bets') ORDER BY ordinal",
            &[],
        )
        .unwrap();
    assert_eq!(steps.len(), 6);
    for step in steps {
        let (action, sql, said): (&str, &str, &str) = (step.get(0), step.get(1), step.get(2));
        let partition = step.get::<_, &str>(3).trim_start_matches("public.");
        let mut session = cluster().session(&db.name).unwrap();
        let oid: u32 = db.client.value(&format!("SELECT '{partition}'::regclass::oid"));
        session.run(&format!("BEGIN; {sql}"));
        let held: Vec<String> = db.client.column(&format!(
            "SELECT DISTINCT CASE WHEN l.relation = {oid} THEN '{partition}'
                                  ELSE l.relation::regclass::text END || ' ' || l.mode
               FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
              WHERE l.pid = {} AND l.locktype = 'relation' AND l.relation > 16384
                AND (c.oid IS NULL OR c.relnamespace = 'public'::regnamespace)
                AND coalesce(c.relkind, 'r') IN ('r', 'p')
                AND l.mode IN ('ShareRowExclusiveLock', 'AccessExclusiveLock')
              ORDER BY 1",
            session.pid()
        ));
        let expected = match action {
            "detach" => vec![
                format!("{partition} AccessExclusiveLock"),
                "bets AccessExclusiveLock".into(),
                "bets_default AccessExclusiveLock".into(),
                "users ShareRowExclusiveLock".into(),
            ],
            _ => {
                vec![format!("{partition} AccessExclusiveLock"), "users AccessExclusiveLock".into()]
            }
        };
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        assert_eq!(sorted(held), sorted(expected), "{sql}");
        let names = match action {
            "detach" => "ACCESS EXCLUSIVE on public.bets,|SHARE ROW EXCLUSIVE on public.users",
            _ => "none on public.bets|, ACCESS EXCLUSIVE on public.users",
        };
        for part in names.split('|') {
            assert!(said.contains(part), "{action}: {said}");
        }
        session.run("COMMIT");
    }
}

#[test]
fn a_long_backlog_leaves_under_few_locks() {
    // Room for some three hundred locks; a set of four hundred tables with two indexes each.
    let cluster = pg_test::fixtures::cluster()
        .conf("pg_steward.enabled = off\nmax_locks_per_transaction = 10\nmax_connections = 20")
        .start()
        .unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run("SET client_min_messages = error");
    client.run(
        "CREATE TABLE keys (id bigint PRIMARY KEY, n text) PARTITION BY RANGE (id);
         CREATE INDEX ON keys (n);
         SELECT steward.manage_range('keys', '10', premake => 1)",
    );
    // As alter_range() would, but not all in one transaction: that is refused with 53200.
    client.refused("53200", "SELECT steward.alter_range('keys', premake => 399)");
    client.run("UPDATE steward.range_policy SET premake = 399");
    client.run("CALL steward.maintain('keys')");
    client.run("INSERT INTO keys VALUES (3995)");
    client.run("UPDATE steward.range_policy SET premake = 1");
    client.run("SELECT steward.set_retention('keys', '20')");
    client.run("CALL steward.maintain('keys')");
    let left: i64 =
        client.value("SELECT count(*) FROM pg_inherits WHERE inhparent = 'keys'::regclass");
    assert_eq!(left, 4);
    let dropped: String = client
        .value("SELECT detail->>'dropped' FROM steward.job_runs ORDER BY run_id DESC LIMIT 1");
    assert_eq!(dropped, "397");
}

#[test]
fn with_a_default_partition_it_is_a_plain_detach() {
    let mut db = Database::new();
    db.daily_set(", default_partition => true");
    db.client.run("SELECT steward.set_retention('bets', '10 days')");
    let plan = db.planned_sql("bets");
    assert!(!plan.is_empty() && plan.iter().all(|sql| !sql.contains("CONCURRENTLY")), "{plan:?}");
    let locks: Vec<String> =
        db.client.column("SELECT lock FROM steward.plan('bets') WHERE action = 'detach'");
    assert!(locks[0].starts_with("ACCESS EXCLUSIVE on public.bets"), "{locks:?}");
    // A reader holds the set: nobody is kept waiting for longer than the timeout.
    let mut reader = cluster().session(&db.name).unwrap();
    reader.run("BEGIN; SELECT count(*) FROM bets");
    db.client.run("SET pg_steward.lock_timeout = '100ms'");
    db.client.refused("55P03", "CALL steward.maintain('bets')");
    assert_eq!(db.planned_sql("bets"), plan);
    reader.run("COMMIT");
    db.maintain("bets");
    assert_eq!(db.days().first(), Some(&10));
    assert_eq!(db.tables_like("bets%"), 1 + 11 + 2 + 1);
}

#[test]
fn incoming_foreign_keys_are_refused_and_the_rest_goes_on() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE keys (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         SELECT steward.manage_range('keys', '10', premake => 5);
         INSERT INTO keys VALUES (1), (41);
         SELECT steward.set_retention('keys', '20')",
    );
    // One that points to a single partition keeps that one.
    db.client.run("CREATE TABLE to_one (k bigint REFERENCES keys_p0)");
    let error = db.client.refused("2BP01", "CALL steward.maintain('keys')");
    assert!(error.message().contains("public.keys_p0"), "{}", error.message());
    assert!(error.message().contains("to_one"), "{}", error.message());
    let left: Vec<String> = db.client.column(
        "SELECT lower_bound FROM steward.partitions WHERE parent = 'keys'::regclass
          ORDER BY lower_bound::int",
    );
    assert_eq!(left[..2], ["0", "20"]);
    // Of one that points to the set the rows keep what they point to; creation goes on.
    db.client.run(
        "DROP TABLE to_one; CREATE TABLE to_all (k bigint REFERENCES keys); INSERT INTO to_all VALUES (1);
         INSERT INTO keys VALUES (61)",
    );
    let error = db.client.refused("2BP01", "CALL steward.maintain('keys')");
    assert!(error.message().contains("to_all"), "{}", error.message());
    let recorded: String = db.client.value(
        "SELECT format('%s %s %s', status, sqlstate, detail->>'created')
           FROM steward.job_runs ORDER BY run_id DESC LIMIT 1",
    );
    assert_eq!(recorded, "failed 2BP01 2");
    db.client.run("DROP TABLE to_all");
    db.maintain("keys");
    assert_eq!(db.client.value::<String>("SELECT covered_from FROM steward.partition_sets"), "40");
}
