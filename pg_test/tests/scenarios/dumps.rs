//! Dumps of a part of a database, and restores of every kind: each set that is there has its policy and its
//! job, what is not there is forgotten, and work goes on.

use pg_test::cluster::{Ask, Cluster, wait_until};
use postgres::Client;

use crate::dumps_support::{Dump, Target, server};
use crate::unattended_support::{SOON, make_due};

/// Three sets in two schemas.
const SETS: &str = "
    CREATE SCHEMA app; CREATE SCHEMA big;
    CREATE TABLE app.a (k timestamptz NOT NULL) PARTITION BY RANGE (k);
    CREATE TABLE big.b (LIKE app.a) PARTITION BY RANGE (k);
    CREATE TABLE app.c (id int) PARTITION BY HASH (id);
    SELECT steward.manage_range('app.a', '1 day', premake => 5); SELECT steward.manage_range('big.b', '1 day');
    SELECT steward.manage_hash('app.c', 4);
    SELECT steward.alter_job(job_id, priority => 7) FROM steward.jobs WHERE target = 'app.c'::regclass";

fn source(cluster: &Cluster, sets: &str) -> String {
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run("SET client_min_messages = error");
    client.run(sets);
    name
}

/// The sets with what their policies and jobs say.
const MANAGED: &str = "
    SELECT format('%s %s %s', s.parent, s.premake, j.priority)
      FROM steward.partition_sets s LEFT JOIN steward.jobs j ON j.target = s.parent ORDER BY 1";

/// The sets and jobs are these; they are worked on, by hand and unattended, and all is well.
#[track_caller]
fn goes_on(client: &mut Client, managed: &[&str]) {
    assert_eq!(client.column::<String>(MANAGED), managed);
    client.run("CALL steward.maintain()");
    make_due(client);
    wait_until(SOON, "each has had a run of a worker's", || {
        client.value(
            "SELECT count(*) = 0 FROM steward.jobs j WHERE NOT EXISTS (
                 SELECT FROM steward.job_runs r
                  WHERE r.job_id = j.job_id AND r.status = 'succeeded' AND r.scheduled_at IS NOT NULL)",
        )
    });
    wait_until(SOON, "all is well", || {
        client.value::<String>("SELECT message FROM steward.status") == "ok"
    });
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.jobs"), managed.len() as i64);
}

#[test]
fn a_schema_that_is_left_out_takes_no_other_set_along() {
    let cluster = server();
    let name = source(&cluster, SETS);
    let file = Dump::of(&cluster, &name).options(&["-Fc", "-N", "big"]).take();
    let target = Target::new(&cluster);
    target.restore(&file, &[]);
    let mut client = target.connect();
    assert_eq!(client.column::<String>(MANAGED), ["app.a 5 5", "app.c  7"]);
    wait_until(SOON, "what became of big.b is in the log", || {
        cluster.log_count("WARNING:  pg_steward: the policy of big.b is forgotten") == 1
    });
    goes_on(&mut client, &["app.a 5 5", "app.c  7"]);
    client.run("CALL steward.maintain('app.c')");
    client.refused("42710", "SELECT steward.manage_hash('app.c', 4)");
    // Nobody is put into its place later.
    client.run(
        "CREATE SCHEMA big; CREATE TABLE big.b (k timestamptz NOT NULL) PARTITION BY RANGE (k)",
    );
    client.refused("42704", "CALL steward.maintain('big.b')");
}

#[test]
fn tables_that_are_left_out_are_forgotten() {
    let cluster = server();
    let name = source(
        &cluster,
        "CREATE SCHEMA app; CREATE TABLE app.model (k timestamptz NOT NULL) WITH (fillfactor = 70);
         CREATE TABLE app.a (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE app.b (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT steward.manage_range('app.a', '1 day', time_zone => 'UTC', template => 'app.model',
                                     start_at => (now() - interval '5 days')::text);
         SELECT steward.set_retention('app.a', '2 days', 'detach');
         SELECT steward.manage_range('app.b', '1 day')",
    );
    let mut client = cluster.connect(&name).unwrap();
    client.run("CALL steward.maintain('app.a')");
    let detached = "SELECT partition::text FROM steward.partitions
                     WHERE state = 'detached' ORDER BY 1";
    let mut kept: Vec<String> = client.column(detached);
    assert_eq!(kept.len(), 3, "{kept:?}");
    let gone = kept.remove(0);
    let file = Dump::of(&cluster, &name)
        .options(&["-Fc", "-T", "app.b", "-T", "app.b_*", "-T", "app.model", "-T", &gone])
        .take();
    let target = Target::new(&cluster);
    target.restore(&file, &[]);
    for message in ["the template of app.a did not", "1 detached partitions of app.a are forgotten"]
    {
        assert_eq!(cluster.log_count(message), 1, "{message}: {}", cluster.log_tail(20));
    }
    let mut client = target.connect();
    assert_eq!(client.column::<String>(detached), kept);
    goes_on(&mut client, &["app.a 3 5"]);
    assert!(client.value::<bool>("SELECT template IS NULL FROM steward.partition_sets"));
}

#[test]
fn a_schema_comes_into_a_database_that_has_the_extension_and_sets_of_its_own() {
    let cluster = server();
    let name = source(&cluster, SETS);
    let file = Dump::of(&cluster, &name).options(&["-Fc", "-n", "app", "-e", "pg_steward"]).take();
    let target = Target::new(&cluster);
    let mut client = target.connect();
    client.run(
        "CREATE EXTENSION pg_steward;
         CREATE TABLE here (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE there (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT steward.manage_range(t) FROM unnest('{here,there}'::regclass[]) t;
         SELECT steward.unmanage('here'); SELECT steward.manage_range('here', premake => 2)",
    );
    target.restore(&file, &[]);
    goes_on(&mut client, &["app.a 5 5", "app.c  7", "here 2 5", "there 3 5"]);
    // The dump has set the sequence back.
    client.run("SELECT setval('steward.job_job_id_seq', 1, false); SET search_path = app");
    client.run(
        "CREATE TABLE one (k timestamptz NOT NULL) PARTITION BY RANGE (k); SELECT steward.manage_range('one')",
    );
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.jobs"), 5);
    // Brought once more, over what is there: that stays.
    client.run("SELECT steward.alter_range('app.a', premake => 6)");
    target.restore(&file, &["--data-only"]);
    let message = "app.a is managed already: the policy in the dump is left out";
    assert_eq!(cluster.log_count(message), 1, "{}", cluster.log_tail(20));
    assert_eq!(
        client.value::<i32>(
            "SELECT premake FROM steward.partition_sets WHERE parent = 'app.a'::regclass"
        ),
        6
    );
    // Without the extension no policy comes.
    let file = Dump::of(&cluster, &name).options(&["-Fc", "-t", "app.a*"]).take();
    let target = Target::new(&cluster);
    target.connect().run("CREATE EXTENSION pg_steward; CREATE SCHEMA app");
    target.restore(&file, &[]);
    assert_eq!(target.connect().column::<String>(MANAGED), Vec::<String>::new());
}

#[test]
fn data_comes_without_triggers_into_tables_that_are_there() {
    let cluster = server();
    let name = source(&cluster, SETS);
    let file = Dump::of(&cluster, &name).options(&["-Fc", "-N", "big"]).take();
    let target = Target::new(&cluster);
    target.restore(&file, &["--schema-only"]);
    let mut client = target.connect();
    assert_eq!(client.column::<String>(MANAGED), Vec::<String>::new());
    target.restore(&file, &["--data-only", "--disable-triggers"]);
    wait_until(SOON, "what became of big.b is in the log", || {
        cluster.log_count("WARNING:  pg_steward: the policy of big.b is forgotten") == 1
    });
    goes_on(&mut client, &["app.a 5 5", "app.c  7"]);
}

#[test]
fn the_first_call_meets_what_no_worker_has_taken_over() {
    let cluster = server();
    let name = source(&cluster, SETS);
    let file = Dump::of(&cluster, &name).options(&["-Fc", "-N", "big"]).take();
    let target = Target::new(&cluster);
    target.restore(&file, &["--schema-only"]);
    cluster.add_conf("pg_steward.enabled = off").unwrap();
    cluster.reload().unwrap();
    let mut client = target.connect();
    wait_until(SOON, "the workers are off", || {
        client.value("SELECT message LIKE '%enabled is off' FROM steward.status")
    });
    for kind in ["pg_steward scheduler", "pg_steward executor"] {
        wait_until(SOON, "they have left", || cluster.pids(kind).unwrap().is_empty());
    }
    target.restore(&file, &["--data-only", "--disable-triggers"]);
    assert_eq!(client.column::<String>(MANAGED), Vec::<String>::new());
    // Dumped again as it is, it is all there still.
    let again = Dump::of(&cluster, target.name()).options(&["-Fc"]).take();
    let other = Target::new(&cluster);
    other.restore(&again, &[]);
    assert_eq!(other.connect().column::<String>(MANAGED), ["app.a 5 5", "app.c  7"]);
    let said = cluster.psql(target.name()).command("CALL steward.maintain('app.c')").unwrap();
    assert!(said.text.contains("NOTICE:  the policy of big.b is forgotten"), "{}", said.text);
    assert_eq!(client.column::<String>(MANAGED), ["app.a 5 5", "app.c  7"]);
    client.refused("42710", "SELECT steward.manage_range('app.a')");
}

#[test]
fn every_way_to_restore_brings_the_sets_by_their_names_of_today() {
    let cluster = server();
    let name = source(&cluster, SETS);
    let mut client = cluster.connect(&name).unwrap();
    client.run(
        r#"CREATE ROLE app; GRANT CREATE ON SCHEMA app TO app; ALTER TABLE app.a OWNER TO app;
           CREATE TABLE app.spread (k timestamptz NOT NULL, user_id int) PARTITION BY RANGE (k);
           ALTER TABLE app.spread DROP COLUMN user_id; ALTER TABLE app.spread ADD user_id int;
           CREATE TABLE app.model (k timestamptz NOT NULL, user_id int) WITH (fillfactor = 70);
           SELECT steward.manage_range('app.spread', '1 day', subpartition_by => 'user_id', subpartitions => 2,
                                       template => 'app.model');
           ALTER TABLE app.a RENAME TO "A \ of 'today'"; ALTER TABLE app.c SET SCHEMA public;
           ALTER TABLE app.spread RENAME user_id TO "Player"; ALTER TABLE app.model RENAME TO "Model";
           ALTER SCHEMA app RENAME TO "App 2""#,
    );
    let names = [r#""App 2"."A \ of 'today'" 5 5"#, r#""App 2".spread 3 5"#, "big.b 3 5", "c  7"];
    let ways: [(&[&str], &[&str]); 6] = [
        (&["-Fc"], &["--no-owner"]),
        (&["-Fc"], &["-j4"]),
        (&["-Fc"], &["--single-transaction"]),
        (&["-Fd", "-j2"], &["-j2", "--no-privileges"]),
        (&["-Fc", "--inserts"], &[]),
        (&["-Fc", "--rows-per-insert=2", "--column-inserts"], &[]),
    ];
    for (dump, restore) in ways {
        let file = Dump::of(&cluster, &name).options(dump).take();
        let target = Target::new(&cluster);
        target.restore(&file, &[&["--exit-on-error"], restore].concat());
        let mut there = target.connect();
        goes_on(&mut there, &names);
        let spread = "SELECT format('%s %s %s', template, subpartition_by, subpartitions)
                        FROM steward.partition_sets WHERE subpartition_by IS NOT NULL";
        assert_eq!(there.value::<String>(spread), r#""App 2"."Model" Player 2"#, "{restore:?}");
        // By its number again, from now on.
        there.run(r#"ALTER TABLE "App 2".spread RENAME "Player" TO player"#);
        assert_eq!(there.value::<String>(spread), r#""App 2"."Model" player 2"#);
    }
    let count = cluster.log_count("pg_steward: the policy of");
    assert_eq!(count, 0, "something is forgotten: {}", cluster.log_tail(50));
}

#[test]
fn a_policy_is_gone_with_its_job_and_a_job_without_a_policy_goes() {
    let cluster = server();
    let name = source(&cluster, SETS);
    let mut client = cluster.connect(&name).unwrap();
    client.run(
        "DELETE FROM steward.job WHERE target = 'app.c'::regclass;
         DELETE FROM steward.range_policy WHERE parent = 'app.a'::regclass",
    );
    assert_eq!(client.column::<String>(MANAGED), ["big.b 3 5"]);
    client.refused(
        "23503",
        "INSERT INTO steward.hash_policy (parent, partitions) VALUES ('app.c'::regclass, 4)",
    );
    let refusal = client.refused("42704", "CALL steward.maintain('app.c')");
    assert!(refusal.hint().unwrap().contains("manage_hash"), "{refusal}");
    client.run("SELECT steward.manage_hash('app.c', 4)");
    // Also in a session that is a replica's, where the triggers of foreign keys do not fire.
    client.run("SET session_replication_role = replica; SELECT steward.unmanage('app.c')");
    assert_eq!(client.column::<String>(MANAGED), ["big.b 3 5"]);
    client.run("SELECT steward.manage_hash('app.c', 4); RESET session_replication_role");
    // A scheduler cleans up.
    cluster.restart().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    wait_until(SOON, "they are two and two", || {
        client.value::<i64>("SELECT count(*) FROM steward.jobs") == 2
    });
    assert_eq!(client.column::<String>(MANAGED), ["app.c  5", "big.b 3 5"]);
    goes_on(&mut client, &["app.c  5", "big.b 3 5"]);
}
