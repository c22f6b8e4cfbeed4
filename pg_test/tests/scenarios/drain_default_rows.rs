//! `CALL steward.drain_default()`: rows that cannot be moved, and what must not notice a move: triggers,
//! foreign keys, row security, subscribers.

use pg_test::cluster::Ask;

use crate::drain_default::NUMBERS;
use crate::errors_common::assert_says;
use crate::range_support::Database;

#[test]
fn a_row_that_a_constraint_refuses_is_told_and_the_rest_goes_on() {
    let mut db = Database::new();
    db.client.run(NUMBERS);
    db.client.run(
        "CREATE TABLE model (LIKE t); CREATE UNIQUE INDEX ON model (note);
         SELECT steward.alter_range('t', template => 'model');
         INSERT INTO t VALUES (310, 'old'), (311, 'fine'), (410, 'good'), (510, 'twice'), (511, 'twice'), (610, 'last');
         ALTER TABLE t ADD CONSTRAINT no_old CHECK (note <> 'old') NOT VALID",
    );
    let said = db.drained("t");
    for part in [
        "WARNING:  23514: pg_steward: public.t_p300: new row for relation \"t_p300\" violates check constraint \"no_old\"",
        "NOTICE:  00000: moved 1 row to public.t_p400",
        "WARNING:  23505: pg_steward: public.t_p500: duplicate key",
        "NOTICE:  00000: moved 1 row to public.t_p600",
        "ERROR:  23514: 2 of 4 steps failed; the first: new row",
    ] {
        assert!(said.contains(part), "{said}\nlacks {part}");
    }
    assert_eq!(db.rows("t"), ["t_default 4", "t_p400 1", "t_p600 1"]);
    let run: String = db.client.value(
        "SELECT format('%s %s %s %s %s', status, sqlstate, detail->>'rows_moved', detail->>'failed',
                       detail->'failures'->1->>'sqlstate')
           FROM steward.job_runs ORDER BY run_id DESC LIMIT 1",
    );
    assert_eq!(run, "failed 23514 2 2 23505");
    // Put right, they go as well.
    db.client.run("UPDATE t SET note = id WHERE id IN (310, 511)");
    db.drain("t");
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM ONLY t_default"), 0);
}

#[test]
fn no_trigger_fires_and_each_is_left_as_it_was() {
    let mut db = Database::new();
    db.client.run(NUMBERS);
    db.client.run(
        "CREATE TABLE fired (what text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO public.fired VALUES (TG_NAME || ' ' || TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$;
         CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TRIGGER of_parent AFTER DELETE ON t EXECUTE FUNCTION note();
         CREATE TRIGGER \"Of it\" AFTER DELETE ON t_default EXECUTE FUNCTION note();
         CREATE TRIGGER always AFTER DELETE ON t_default FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TRIGGER replica BEFORE DELETE ON t_default FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TRIGGER off BEFORE DELETE ON t_default FOR EACH ROW EXECUTE FUNCTION note();
         CREATE CONSTRAINT TRIGGER later AFTER DELETE ON t_default DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION note();
         ALTER TABLE t_default ENABLE ALWAYS TRIGGER always;
         ALTER TABLE t_default ENABLE REPLICA TRIGGER replica;
         ALTER TABLE t_default DISABLE TRIGGER off;
         INSERT INTO t VALUES (350), (450);
         TRUNCATE fired",
    );
    let states = "SELECT format('%s %s %s', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger
                   WHERE tgrelid IN ('t'::regclass, 't_default'::regclass) ORDER BY 1";
    let before: Vec<String> = db.client.column(states);
    assert_eq!(before.len(), 8, "{before:?}");
    db.drain("t");
    assert_eq!(db.rows("t"), ["t_p300 1", "t_p400 1"]);
    assert_eq!(db.client.column::<String>("SELECT what FROM fired"), Vec::<String>::new());
    assert_eq!(db.client.column::<String>(states), before);
    let cloned =
        "SELECT tgname || tgenabled::text FROM pg_trigger WHERE tgrelid = 't_p300'::regclass";
    assert_eq!(db.client.column::<String>(cloned), ["auditO"]);
    // They work as before.
    db.client.run("INSERT INTO t VALUES (950); DELETE FROM t WHERE id IN (350, 950)");
    let fired: Vec<String> = db.client.column("SELECT what FROM fired ORDER BY 1");
    assert_eq!(
        fired,
        [
            "always DELETE t_default",
            "audit DELETE t_default",
            "audit DELETE t_p300",
            "audit INSERT t_default",
            "later DELETE t_default",
            "of_parent DELETE t"
        ]
    );
}

#[test]
fn foreign_keys_out_of_the_set_are_kept_and_those_into_it_refuse_the_call() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE customer (id int PRIMARY KEY); INSERT INTO customer VALUES (1), (2);
         CREATE TABLE t (id bigint PRIMARY KEY, customer int REFERENCES customer, before bigint)
             PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1, default_partition => true);
         INSERT INTO t VALUES (350, 1, NULL), (450, 2, 350)",
    );
    for (key, referencing) in [
        (
            "CREATE TABLE payment (t bigint REFERENCES t ON DELETE CASCADE); INSERT INTO payment VALUES (350)",
            "public.payment",
        ),
        ("CREATE TABLE payment (t bigint REFERENCES t_default)", "public.payment"),
        (
            "CREATE TABLE payment (); ALTER TABLE t ADD CONSTRAINT own FOREIGN KEY (before) REFERENCES t",
            "public.t",
        ),
    ] {
        db.client.run(key);
        let refusal = db.client.refused("2BP01", "CALL steward.drain_default('t')");
        assert_says(
            &refusal,
            &format!("of \"{referencing}\""),
            &format!("drop the foreign key of {referencing}"),
        );
        assert!(refusal.message().contains("\"public.t\" is referenced"), "{refusal}");
        assert_eq!(db.rows("t"), ["t_default 2"]);
        db.client.run("DROP TABLE payment; ALTER TABLE t DROP CONSTRAINT IF EXISTS own");
    }
    db.drain("t");
    assert_eq!(db.rows("t"), ["t_p300 1", "t_p400 1"]);
    db.client.refused("23503", "INSERT INTO t VALUES (351, 9, NULL)");
    db.client.refused("23503", "DELETE FROM customer WHERE id = 1");
}

#[test]
fn keys_that_are_checked_at_the_commit_are_checked_before_it() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE customer (id int PRIMARY KEY); INSERT INTO customer VALUES (1), (2);
         CREATE TABLE t (id bigint PRIMARY KEY,
                         customer int REFERENCES customer DEFERRABLE INITIALLY DEFERRED) PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1, default_partition => true);
         INSERT INTO t VALUES (350, 1), (450, 2);
         CREATE PUBLICATION p FOR TABLE t",
    );
    db.drain("t");
    assert_eq!(db.rows("t"), ["t_p300 1", "t_p400 1"]);
    db.client.refused("23503", "INSERT INTO t VALUES (351, 9)");
    db.client.run("BEGIN; INSERT INTO t VALUES (351, 9); UPDATE t SET customer = 1; COMMIT");
}

#[test]
fn rows_that_row_security_hides_stay_and_are_told() {
    let mut db = Database::new();
    let owner = db.own("owner");
    db.client.run(NUMBERS);
    db.client.run(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT CREATE ON SCHEMA public TO {owner};
         INSERT INTO t VALUES (350, 'seen'), (351, 'hidden'), (450, 'seen'), (550, 'kept');
         ALTER TABLE t_default ENABLE ROW LEVEL SECURITY; ALTER TABLE t_default FORCE ROW LEVEL SECURITY;
         CREATE POLICY s ON t_default FOR SELECT USING (note <> 'hidden');
         CREATE POLICY d ON t_default FOR DELETE USING (note <> 'kept');
         ALTER TABLE t OWNER TO {owner}; ALTER TABLE t_default OWNER TO {owner}"
    ));
    let said = db.drained("t");
    for part in [
        "WARNING:  23514: pg_steward: public.t_p300: ",
        "moved 1 row to public.t_p400",
        "WARNING:  55000: pg_steward: public.t_p500: 0 of 1 row(s) of \"public.t_default\" could be moved to public.t_p500",
        "row security policy on public.t_default",
        "ERROR:  23514: 2 of 3 steps failed",
    ] {
        assert!(said.contains(part), "{said}\nlacks {part}");
    }
    assert_eq!(db.rows("t"), ["t_default 3", "t_p400 1"]);
    // Where all of them are hidden nothing is tried, and that is told, too.
    db.client.run("DROP POLICY s ON t_default");
    let said = db.drained("t");
    for part in ["no rows wait in public.t_default", "row security of public.t_default may hide"] {
        assert!(said.contains(part), "{said}\nlacks {part}");
    }
}

#[test]
fn keys_that_say_nothing_stay_and_are_counted() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (at timestamptz) PARTITION BY RANGE (at);
         SELECT steward.manage_range('t', '1 day', premake => 1, default_partition => true, time_zone => 'UTC');
         INSERT INTO t VALUES (NULL), (NULL), ('infinity'), ('-infinity'), ('2024-02-29 12:00 UTC');
         CREATE TABLE u (id text COLLATE \"C\") PARTITION BY RANGE (id);
         SELECT steward.manage_range('u', '1 month', premake => 1, key_encoding => 'ulid',
                                     default_partition => true, time_zone => 'UTC');
         INSERT INTO u VALUES ('01HR0000000000000000000000'), ('01hr0000000000000000000000'), ('junk'), (''),
                              ('01HR0000000000000000000001'), ('ZZZZZZZZZZZZZZZZZZZZZZZZZZ');
         CREATE TABLE n (id numeric) PARTITION BY RANGE (id);
         SELECT steward.manage_range('n', '10', premake => 1, default_partition => true);
         INSERT INTO n VALUES ('NaN'), (29.5), (30), (39.99999), ('Infinity'), (-0.5)",
    );
    let said = db.drained("t");
    let warning = "WARNING:  22000: pg_steward: public.t: 2 row(s) with a NULL key and 2 row(s) whose key no \
                   period holds stay in \"public.t_default\"";
    assert!(said.contains(warning) && !said.contains("ERROR"), "{said}");
    assert_eq!(db.rows("t"), ["t_2024_02_29 1", "t_default 4"]);
    let left = "SELECT status || ' ' || (detail->>'rows_left') FROM steward.job_runs ORDER BY run_id DESC LIMIT 1";
    assert_eq!(db.client.value::<String>(left), "succeeded 4");
    assert!(db.drained("u").contains("0 row(s) with a NULL key and 4 row(s)"));
    assert_eq!(db.rows("u"), ["u_2024_03 2", "u_default 4"]);
    assert!(db.drained("n").contains("0 row(s) with a NULL key and 2 row(s)"));
    assert_eq!(db.rows("n"), ["n_default 2", "n_p20 1", "n_p30 2", "n_pm10 1"]);
}

#[test]
fn every_kind_of_key() {
    let mut db = Database::new();
    for (column, call, keys, moved) in [
        ("date", "'1 month'", "'2024-01-31', '2024-02-01'", ["k_2024_01 1", "k_2024_02 1"]),
        (
            "timestamp",
            "'1 hour'",
            "'2024-01-31 13:59:59.999999', '2024-01-31 14:00'",
            ["k_2024_01_31_1300 1", "k_2024_01_31_1400 1"],
        ),
        (
            "bigint",
            "'1 year', key_encoding => 'epoch_nanoseconds'",
            "1704067199999999999, 1704067200000000000",
            ["k_2023 1", "k_2024 1"],
        ),
        (
            "numeric",
            "'1 year', key_encoding => 'epoch_seconds'",
            "1704067199.9999999, 1704067200",
            ["k_2023 1", "k_2024 1"],
        ),
        (
            "uuid",
            "'1 year', key_encoding => 'uuidv7'",
            "'018cc251-f3ff-7fff-bfff-ffffffffffff', '018cc251-f400-7000-8000-000000000000'",
            ["k_2023 1", "k_2024 1"],
        ),
        (
            "bytea",
            "'1 year', key_encoding => 'ulid'",
            "'\\x018cc251f3ff7fffbfffffffffffffff', '\\x018cc251f40070008000000000000000'",
            ["k_2023 1", "k_2024 1"],
        ),
        (
            "bigint",
            "'1 year', key_encoding => 'snowflake'",
            "1741610183685046271, 1741610183685046272",
            ["k_2023 1", "k_2024 1"],
        ),
        (
            "text COLLATE \"C\"",
            "'1 year', key_encoding => 'ulid'",
            "'01HK153X00ZZZZZZZZZZZZZZZZ', '01HK153WZZZZZZZZZZZZZZZZZZ'",
            ["k_2023 1", "k_2024 1"],
        ),
    ] {
        db.client.run(&format!(
            "CREATE TABLE k (key {column} NOT NULL) PARTITION BY RANGE (key);
             SELECT steward.manage_range('k', {call}, premake => 1, time_zone => 'UTC', default_partition => true);
             INSERT INTO k SELECT unnest(ARRAY[{keys}]::{}[])",
            column.split(' ').next().unwrap()
        ));
        db.drain("k");
        assert_eq!(db.rows("k"), moved, "{column} {call}");
        db.client.run("DROP TABLE k");
    }
}

mod needs_icu {
    use super::*;

    #[test]
    fn keys_are_compared_as_the_set_compares_them() {
        let mut db = Database::new();
        // Under the column's own collation capitals and small letters would alternate.
        db.client.run(
            "CREATE TABLE u (id text COLLATE \"und-x-icu\" NOT NULL) PARTITION BY RANGE (id COLLATE \"C\");
             SELECT steward.manage_range('u', '1 month', premake => 1, key_encoding => 'ulid',
                                         default_partition => true, time_zone => 'UTC');
             INSERT INTO u VALUES ('01HR0000000000000000000000'), ('01HR0000000000000000000001'),
                                  ('01hr0000000000000000000000'), ('01HQ0000000000000000000000')",
        );
        db.drain("u");
        assert_eq!(db.rows("u"), ["u_2024_02 1", "u_2024_03 2", "u_default 1"]);
    }
}

#[test]
fn subscribers_hear_of_rows_that_leave_and_of_rows_that_arrive() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, twice bigint GENERATED ALWAYS AS (id * 2) STORED, note text)
             PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1, default_partition => true);
         CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fired'; END $$;
         INSERT INTO t SELECT n FROM generate_series(300, 399) n;
         CREATE TRIGGER never AFTER INSERT OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION never();
         CREATE PUBLICATION by_table FOR TABLE t;
         CREATE PUBLICATION by_root FOR TABLES IN SCHEMA public WITH (publish_via_partition_root = true)",
    );
    db.client.run("SELECT pg_create_logical_replication_slot('drain_default', 'pgoutput')");
    db.drain("t");
    assert_eq!(db.rows("t"), ["t_p300 100"]);
    let enabled: String = db
        .client
        .value("SELECT tgenabled::text FROM pg_trigger WHERE tgrelid = 't_p300'::regclass");
    assert_eq!(enabled, "O");
    for publication in ["by_table", "by_root"] {
        let changes: Vec<String> = db.client.column(&format!(
            "SELECT chr(get_byte(data, 0)) || count(*)
               FROM pg_logical_slot_peek_binary_changes('drain_default', NULL, NULL, 'proto_version', '1',
                                                        'publication_names', '{publication}')
              WHERE chr(get_byte(data, 0)) IN ('I', 'U', 'D') GROUP BY get_byte(data, 0) ORDER BY 1"
        ));
        assert_eq!(changes, ["D100", "I100"], "{publication}");
    }
    db.client.run("SELECT pg_drop_replication_slot('drain_default')");
    let left: Vec<String> =
        db.client.column("SELECT relname::text FROM pg_class WHERE relname LIKE '%moving%'");
    assert!(left.is_empty(), "{left:?}");
}
