//! Hash sets: every remainder gets its partition, and keeps it.

use pg_test::cluster::{Ask, sqlstate, wait_until};
use pg_test::fixtures;

use crate::errors_common::assert_says;
use crate::range_support::Database;
use crate::unattended_support::{SOON, exists, make_due};

/// Remainders of a hash set that have a partition, `modulus/remainder` each.
const CLASSES: &str = "SELECT format('%s/%s', modulus, remainder) FROM steward.partitions
    WHERE parent = 'orders'::regclass ORDER BY modulus, remainder";

#[test]
fn sixty_four_partitions_by_tenant_hold_every_key() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE orders (tenant bigint NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant, id))
             PARTITION BY HASH (tenant)",
    );
    let made: Vec<String> = db.client.column(
        "SELECT partition FROM steward.manage_hash('orders', partitions => 64) ORDER BY ordinal",
    );
    let expected: Vec<String> = (0..64).map(|n| format!("public.orders_p{n}")).collect();
    assert_eq!(made, expected);
    db.client.run("INSERT INTO orders SELECT n % 500, n FROM generate_series(1, 5000) n");
    let used: i64 = db.client.value("SELECT count(DISTINCT tableoid) FROM orders");
    assert!(used > 60, "{used} partitions used");
    let shown: String = db.client.value(
        "SELECT format('%s|%s|%s|%s|%s', strategy, partition_key, partitions, holes, partition_interval)
           FROM steward.partition_sets WHERE parent = 'orders'::regclass",
    );
    assert_eq!(shown, "hash|HASH (tenant)|64|{}|");
    let states: Vec<String> = db.client.column("SELECT DISTINCT state FROM steward.partitions");
    assert_eq!(states, ["current"]);
    // Nothing is left to do, whoever asks.
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.plan('orders')"), 0);
    db.maintain("orders");
    assert_eq!(db.count("orders"), 64);
}

#[test]
fn a_set_with_any_names_and_mixed_moduli_is_completed() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE orders (tenant int) PARTITION BY HASH (tenant);
         CREATE TABLE north PARTITION OF orders FOR VALUES WITH (modulus 4, remainder 0);
         CREATE TABLE \"Süd\" PARTITION OF orders FOR VALUES WITH (modulus 4, remainder 1);
         CREATE TABLE orders_p6 PARTITION OF orders FOR VALUES WITH (modulus 8, remainder 2);
         CREATE TABLE west PARTITION OF orders FOR VALUES WITH (modulus 4, remainder 3)",
    );
    let all = "INSERT INTO orders SELECT generate_series(1, 1000)";
    assert_eq!(sqlstate(&db.client.batch_execute(all).unwrap_err()), "23514");
    let step: String = db.client.value(
        "SELECT concat_ws('|', action, partition, reason, lock)
           FROM steward.manage_hash('orders', partitions => 8)",
    );
    // The usual name is another partition's.
    assert_eq!(
        step,
        "create|public.orders_p6_1|keys with modulus 8, remainder 6 have no partition: their inserts \
         fail until then|SHARE UPDATE EXCLUSIVE on public.orders, ACCESS EXCLUSIVE on the new partition"
    );
    assert_eq!(db.client.column::<String>(CLASSES), ["4/0", "4/1", "4/3", "8/2", "8/6"]);
    db.client.run(all);
}

#[test]
fn a_partition_that_is_lost_is_told_and_made_again() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE orders (tenant int) PARTITION BY HASH (tenant);
         SELECT steward.manage_hash('orders', partitions => 4)",
    );
    client.run("CALL steward.maintain('orders')");
    client.run("ALTER TABLE orders DETACH PARTITION orders_p1; DROP TABLE orders_p2");
    let holes: Vec<String> = client.value("SELECT holes FROM steward.partition_sets");
    assert_eq!(holes, ["modulus 4, remainder 1", "modulus 4, remainder 2"]);
    make_due(&mut client);
    wait_until(SOON, "the workers have made both", || {
        client.value("SELECT holes = '{}' AND partitions = 4 FROM steward.partition_sets")
    });
    // The detached one still has its name.
    assert!(exists(&mut client, "orders_p1") && exists(&mut client, "orders_p1_1"));
    let next: bool = client
        .value("SELECT next_run_at BETWEEN now() AND now() + interval '61 s' FROM steward.jobs");
    assert!(next, "it is looked at every minute");
}

#[test]
fn another_number_of_partitions_is_for_an_empty_set_only() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE orders (tenant int) PARTITION BY HASH (tenant);
         SELECT steward.manage_hash('orders', partitions => 2);
         INSERT INTO orders VALUES (1)",
    );
    let alter = "SELECT steward.alter_hash('orders', partitions => 3)";
    let refusal = db.client.refused("55000", alter);
    assert_says(&refusal, "\"public.orders\"", "move the rows");
    assert_eq!(db.client.column::<String>(CLASSES), ["2/0", "2/1"]);

    db.client.run("TRUNCATE orders");
    let actions: Vec<String> = db.client.column(
        "SELECT format('%s %s', action, partition) FROM steward.alter_hash('orders', partitions => 3)",
    );
    assert_eq!(
        actions,
        [
            "drop public.orders_p0",
            "drop public.orders_p1",
            "create public.orders_p0",
            "create public.orders_p1",
            "create public.orders_p2"
        ]
    );
    assert_eq!(db.client.column::<String>(CLASSES), ["3/0", "3/1", "3/2"]);
    db.client.run("INSERT INTO orders SELECT generate_series(1, 100)");
    // What stays as it is can be said again, rows or not.
    db.client.run("SELECT steward.alter_hash('orders', partitions => 3, name_format => '{parent}_{remainder}')");
}

#[test]
fn a_set_that_only_looks_empty_keeps_its_rows() {
    let mut db = Database::new();
    let keeper = db.own("keeper");
    db.client.run(&format!(
        "CREATE ROLE {keeper};
         CREATE TABLE orders (tenant int) PARTITION BY HASH (tenant);
         ALTER TABLE orders OWNER TO {keeper};
         GRANT CREATE, USAGE ON SCHEMA public TO {keeper};
         SELECT steward.manage_hash('orders', partitions => 2)"
    ));
    let alter = "SELECT steward.alter_hash('orders', partitions => 3)";

    // A transaction that began before the rows were there, and does not see them.
    let mut old = crate::range_support::cluster().connect(&db.name).unwrap();
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    old.run("SELECT count(*) FROM orders");
    db.client.run("INSERT INTO orders SELECT generate_series(1, 100)");
    let refusal = old.refused("55000", alter);
    assert_says(&refusal, "\"public.orders\"", "READ COMMITTED");
    old.run("ROLLBACK");

    // Rows that are committed while it waits for the set.
    db.client.run("TRUNCATE orders");
    let mut writer = crate::range_support::cluster().session(&db.name).unwrap();
    writer.run("BEGIN");
    writer.run("INSERT INTO orders SELECT generate_series(1, 100)");
    let mut waiting = crate::range_support::cluster().session(&db.name).unwrap();
    waiting.run("SET pg_steward.lock_timeout = '1min'");
    waiting.start(alter);
    waiting.wait_until_blocked(SOON);
    writer.run("COMMIT");
    assert_eq!(sqlstate(&waiting.finish(SOON).unwrap_err()), "55000");
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM orders"), 100);

    // Row security that hides them from their owner.
    db.client.run(
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
         ALTER TABLE orders FORCE ROW LEVEL SECURITY;
         CREATE POLICY none ON orders USING (false)",
    );
    db.client.refused("55000", alter);

    // A partition that is being detached, which queries on the set leave out.
    db.client.run("ALTER TABLE orders DISABLE ROW LEVEL SECURITY; DELETE FROM orders_p0");
    let mut reader = crate::range_support::cluster().session(&db.name).unwrap();
    reader.run("BEGIN");
    reader.run("SELECT count(*) FROM orders");
    db.client.run("SET statement_timeout = '300ms'");
    let detach = "ALTER TABLE orders DETACH PARTITION orders_p1 CONCURRENTLY";
    assert_eq!(sqlstate(&db.client.batch_execute(detach).unwrap_err()), "57014");
    db.client.run("RESET statement_timeout");
    reader.run("COMMIT");
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM orders"), 0);
    db.client.refused("55000", alter);
    assert!(db.client.value::<i64>("SELECT count(*) FROM orders_p1") > 0);
}

#[test]
fn another_number_of_partitions_keeps_foreign_keys_and_what_the_partitions_were_like() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE orders (tenant int PRIMARY KEY) PARTITION BY HASH (tenant);
         CREATE UNLOGGED TABLE one PARTITION OF orders FOR VALUES WITH (modulus 2, remainder 0)
             WITH (fillfactor = 50);
         SELECT steward.manage_hash('orders', partitions => 2);
         CREATE UNLOGGED TABLE bills (tenant int)",
    );
    let like = "SELECT DISTINCT format('%s %s', c.relpersistence, c.reloptions)
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'orders'::regclass";
    assert_eq!(db.client.column::<String>(like), ["u {fillfactor=50}"]);
    db.client.run("SELECT steward.alter_hash('orders', partitions => 3)");
    assert_eq!(db.client.column::<String>(like), ["u {fillfactor=50}"]);

    db.client.run(
        "CREATE TABLE tenants (id int PRIMARY KEY) PARTITION BY HASH (id);
         SELECT steward.manage_hash('tenants', partitions => 2);
         CREATE TABLE invoices (tenant int REFERENCES tenants)",
    );
    db.client.run("SELECT steward.alter_hash('tenants', partitions => 3)");
    db.client.run("INSERT INTO tenants VALUES (1); INSERT INTO invoices VALUES (1)");
    let orphan = "INSERT INTO invoices VALUES (2)";
    assert_eq!(sqlstate(&db.client.batch_execute(orphan).unwrap_err()), "23503");
}

#[test]
fn a_modulus_beyond_reason_is_refused_and_not_completed() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE orders (tenant int) PARTITION BY HASH (tenant);
         CREATE TABLE one PARTITION OF orders FOR VALUES WITH (modulus 20000, remainder 1)",
    );
    let refusal = db.client.refused("54000", "SELECT steward.manage_hash('orders', 10000)");
    assert_says(&refusal, "20000", "by hand");
    db.client.run("DROP TABLE one; SELECT steward.manage_hash('orders', 2); DROP TABLE orders_p1");
    db.client
        .run("CREATE TABLE one PARTITION OF orders FOR VALUES WITH (modulus 20000, remainder 1)");
    db.client.refused("54000", "SELECT steward.plan('orders')");
    let holes: Vec<String> = db.client.value("SELECT holes FROM steward.partition_sets");
    assert_eq!(holes, ["modulus 20000: too many to list"]);
}

#[test]
fn the_second_of_two_calls_at_once_finds_the_set_managed() {
    let mut db = Database::new();
    db.client.run("CREATE TABLE orders (tenant int) PARTITION BY HASH (tenant)");
    let (mut first, mut second) = (
        crate::range_support::cluster().session(&db.name).unwrap(),
        crate::range_support::cluster().session(&db.name).unwrap(),
    );
    first.run("BEGIN");
    first.run("SELECT steward.manage_hash('orders', 4)");
    second.start("SELECT steward.manage_hash('orders', 8)");
    second.wait_until_blocked(SOON);
    first.run("COMMIT");
    assert_eq!(sqlstate(&second.finish(SOON).unwrap_err()), "42710");
    assert_eq!(db.client.value::<i32>("SELECT partitions FROM steward.hash_policy"), 4);
}

#[test]
fn partitions_are_made_like_the_parent_and_after_the_template() {
    let mut db = Database::new();
    let keeper = db.own("keeper");
    db.client.run(&format!(
        "CREATE ROLE {keeper};
         CREATE SCHEMA \"Sales\" AUTHORIZATION {keeper};
         SET ROLE {keeper};
         CREATE TABLE \"Sales\".tenants (id int PRIMARY KEY);
         CREATE TABLE \"Sales\".\"Or ders\" (gone int, tenant int NOT NULL CHECK (tenant > 0),
                region text, id bigint, FOREIGN KEY (tenant) REFERENCES \"Sales\".tenants)
             PARTITION BY HASH (tenant, region);
         ALTER TABLE \"Sales\".\"Or ders\" DROP COLUMN gone;
         CREATE INDEX ON \"Sales\".\"Or ders\" (id);
         CREATE TABLE \"Sales\".model (LIKE \"Sales\".\"Or ders\") WITH (fillfactor = 70);
         RESET ROLE;
         SELECT steward.manage_hash('\"Sales\".\"Or ders\"', 3, '{{parent}} part {{remainder}}',
                                    '\"Sales\".model')"
    ));
    let like: Vec<String> = db.client.column(&format!(
        "SELECT format('%s %s %s %s %s', c.relname, c.relowner = '{keeper}'::regrole, c.reloptions,
                       (SELECT count(*) FROM pg_index x WHERE x.indrelid = c.oid),
                       (SELECT count(*) FROM pg_constraint k
                         WHERE k.conrelid = c.oid AND k.contype IN ('c', 'f')))
           FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = '\"Sales\".\"Or ders\"'::regclass ORDER BY c.relname"
    ));
    let expected: Vec<String> =
        (0..3).map(|n| format!("Or ders part {n} t {{fillfactor=70}} 1 2")).collect();
    assert_eq!(like, expected);
}

#[test]
fn nobody_who_writes_or_reads_is_kept_waiting() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE orders (tenant int) PARTITION BY HASH (tenant);
         CREATE TABLE one PARTITION OF orders FOR VALUES WITH (modulus 2, remainder 0)",
    );
    let mut writer = crate::range_support::cluster().session(&db.name).unwrap();
    writer.run("BEGIN");
    writer.run("LOCK TABLE orders IN ROW EXCLUSIVE MODE");
    let held: bool = db.client.value(&format!(
        "SELECT count(*) > 0 FROM pg_locks WHERE pid = {} AND mode = 'RowExclusiveLock' AND granted
            AND relation = 'orders'::regclass",
        writer.pid()
    ));
    assert!(held);
    db.client.run("SELECT steward.manage_hash('orders', partitions => 2)");
    writer.run("INSERT INTO orders SELECT generate_series(1, 10)");
    writer.run("COMMIT");

    // And in turn nobody makes it wait for long.
    db.client.run("DROP TABLE orders_p1; SET pg_steward.lock_timeout = '100ms'");
    writer.run("BEGIN");
    writer.run("LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE");
    let refusal = db.client.refused("55P03", "SELECT steward.alter_hash('orders')");
    assert_says(&refusal, "\"public.orders\"", "pg_steward.lock_timeout");
    writer.run("ROLLBACK");
    db.maintain("orders");
    assert_eq!(db.count("orders"), 2);
}

#[test]
fn bad_calls_are_refused_and_change_nothing() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE by_range (id int) PARTITION BY RANGE (id);
         CREATE TABLE orders (tenant int) PARTITION BY HASH (tenant);
         CREATE TABLE plain (id int)",
    );
    for (call, code, object, hint) in [
        ("manage_hash('by_range')", "42809", "\"public.by_range\"", "manage_range()"),
        ("manage_hash('plain')", "42809", "\"public.plain\"", "PARTITION BY"),
        ("manage_hash('orders', partitions => 0)", "22023", "partitions", "for example 16"),
        ("manage_hash('orders', partitions => 10001)", "22023", "10000", "for example 16"),
        ("manage_hash('orders', NULL)", "22004", "partitions", "default"),
        (
            "manage_hash('orders', name_format => 'p')",
            "22023",
            "{remainder}",
            "{parent}_{remainder}",
        ),
        ("manage_hash('orders', name_format => '%Y')", "22023", "%Y", "{parent}_{remainder}"),
        (
            "alter_hash('orders')",
            "42704",
            "\"public.orders\"",
            "steward.manage_hash('public.orders')",
        ),
        (
            "unmanage('orders')",
            "42704",
            "\"public.orders\"",
            "steward.manage_hash('public.orders')",
        ),
    ] {
        let refusal = db.client.refused(code, &format!("SELECT steward.{call}"));
        assert_says(&refusal, object, hint);
    }
    let left: i64 = db.client.value(
        "SELECT (SELECT count(*) FROM steward.hash_policy) + (SELECT count(*) FROM steward.job)
              + (SELECT count(*) FROM pg_inherits)",
    );
    assert_eq!(left, 0);
    db.client.run("SELECT steward.manage_hash('orders', 2)");
    let refusal = db.client.refused("42710", "SELECT steward.manage_hash('orders', 2)");
    assert_says(&refusal, "\"public.orders\"", "steward.alter_hash(");

    let mallory = db.own("mallory");
    db.client.run(&format!("CREATE ROLE {mallory} LOGIN"));
    let mut other = db.connect_as(&mallory);
    for call in ["alter_hash('orders')", "unmanage('orders')"] {
        let refusal = other.refused("42501", &format!("SELECT steward.{call}"));
        assert_says(&refusal, "orders", "Call it as");
    }
    for view in ["partition_sets", "partitions", "jobs"] {
        let seen: i64 = other.value(&format!("SELECT count(*) FROM steward.{view}"));
        assert_eq!(seen, 0, "{view}");
    }
    // The policy goes with the call, or with the table.
    db.client.run("SELECT steward.unmanage('orders'); SELECT steward.manage_hash('orders', 2)");
    db.client.run("DROP TABLE orders");
    let left: i64 = db.client.value(
        "SELECT (SELECT count(*) FROM steward.hash_policy) + (SELECT count(*) FROM steward.job)",
    );
    assert_eq!(left, 0);
}
