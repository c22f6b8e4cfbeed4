//! What `import_pg_partman()` takes over, leaves and refuses, and how it says so.

use pg_test::cluster::Ask;

use crate::import_support::{DAILY, Kind, database_with_partman, is_version_5};
use crate::range_support::Database;

#[test]
fn retention_is_taken_over() {
    let mut db = database_with_partman();
    db.client.run("CREATE SCHEMA attic");
    let ids = Kind { key: "bigint", version_4: "1000", version_5: "1000", ..DAILY };
    for (name, kind, settings, expected) in [
        (
            "dropped",
            DAILY,
            "retention = '2 months', retention_keep_table = false",
            "2 months; drop",
        ),
        ("kept", DAILY, "retention = '2 months'", "2 months; detach"),
        (
            "moved",
            DAILY,
            "retention = '30 days', retention_schema = 'attic'",
            "30 days; detach; attic",
        ),
        (
            "moved_still",
            DAILY,
            "retention = '30 days', retention_schema = 'attic', retention_keep_table = false",
            "30 days; detach; attic",
        ),
        ("by_id", ids, "retention = '5000', retention_keep_table = false", "5000; drop"),
    ] {
        db.partman_set(name, kind);
        db.client.run(&format!(
            "UPDATE partman.part_config SET {settings} WHERE parent_table = 'public.{name}'"
        ));
        let row = db.import(name, "retention, retention_action, retention_schema");
        assert_eq!(row, expected, "{name}");
    }
    // One that is refused leaves the rest of the set imported.
    db.partman_set("refused", DAILY);
    db.client.run(
        "UPDATE partman.part_config SET retention = '-1 day', retention_keep_index = false
          WHERE parent_table = 'public.refused'",
    );
    let row = db.import("refused", "status, retention, retention_action, not_taken_over");
    assert!(row.starts_with("imported; {"), "{row}");
    assert!(row.contains("retention = -1 day: "), "{row}");
    assert!(row.contains("retention_keep_index = off: "), "{row}");
}

#[test]
fn what_is_left_is_told() {
    let mut db = database_with_partman();
    for name in ["plain", "off", "odd", "templated"] {
        db.partman_set(name, DAILY);
    }
    let stranger = db.own("stranger");
    db.client.run(&format!(
        "CREATE ROLE {stranger};
         ALTER TABLE partman.template_public_templated OWNER TO {stranger};
         UPDATE partman.part_config SET automatic_maintenance = 'off' WHERE parent_table = 'public.off';
         UPDATE partman.part_config
            SET datetime_string = 'YYYY_DDD', constraint_cols = '{{n}}', inherit_privileges = true,
                infinite_time_partitions = true, ignore_default_data = false
          WHERE parent_table = 'public.odd'"
    ));
    let rows = db
        .client
        .query(
            "SELECT parent::text, status, not_taken_over, coalesce(hint, ''), name_format, template::text
               FROM steward.import_pg_partman() ORDER BY parent_table",
            &[],
        )
        .unwrap();
    let get = |name: &str| {
        let row = rows.iter().find(|row| row.get::<_, String>(0) == name).unwrap();
        assert_eq!(row.get::<_, String>(1), "imported", "{name}");
        row
    };
    let lines = |name: &str| get(name).get::<_, Vec<String>>(2);
    let hint = |name: &str| get(name).get::<_, String>(3);
    let has = |name: &str, start: &str| lines(name).iter().any(|line| line.starts_with(start));

    assert!(has("plain", "infinite_time_partitions = off: "), "{:?}", lines("plain"));
    assert!(hint("plain").contains("UPDATE partman.part_config SET automatic_maintenance = 'off'"));
    assert!(hint("plain").contains("public.plain_default stays"), "{}", hint("plain"));

    for setting in
        ["datetime_string = YYYY_DDD: ", "constraint_cols = [\"n\"]", "inherit_privileges = on: "]
    {
        assert!(has("odd", setting), "{setting} {:?}", lines("odd"));
    }
    assert!(has("odd", "ignore_default_data = off: "), "{:?}", lines("odd"));
    assert!(!has("odd", "infinite_time_partitions"), "{:?}", lines("odd"));
    assert_eq!(get("odd").get::<_, Option<String>>(4), None);

    assert!(has("templated", "template_table = partman.template_public_templated: it belongs to "));
    assert_eq!(get("templated").get::<_, Option<String>>(5), None);
    let mend = lines("templated")
        .iter()
        .find_map(|line| line.find("ALTER TABLE").map(|from| line[from..].to_owned()));
    let mend = mend.unwrap();
    let said = hint("off");

    db.client.run(&mend);
    let template: String = db.client.value(
        "SELECT template::text FROM steward.partition_sets WHERE parent = 'templated'::regclass",
    );
    assert_eq!(template, "partman.template_public_templated");

    let enabled = "SELECT enabled FROM steward.jobs WHERE target = 'off'::regclass";
    assert!(!db.client.value::<bool>(enabled));
    let resume = &said[said.find("SELECT steward.resume_job(").unwrap()..said.find(';').unwrap()];
    db.client.run(resume);
    assert!(db.client.value::<bool>(enabled));
    // pg_partman's own configuration is as it was.
    let untouched: i64 = db
        .client
        .value("SELECT count(*) FROM partman.part_config WHERE automatic_maintenance = 'on'");
    assert_eq!(untouched, 3);
}

#[test]
fn what_cannot_be_taken_over_is_skipped_and_stops_no_other() {
    let mut db = database_with_partman();
    let stranger = db.own("stranger");
    db.client.run(&format!("CREATE ROLE {stranger}"));
    for name in
        ["fine", "undone", "elsewhere", "foreign_owned", "gone", "by_hand", "mixed", "zz_fine"]
    {
        db.partman_set(name, DAILY);
    }
    db.client.run(
        "SELECT steward.manage_range('by_hand', '1 day');
         UPDATE partman.part_config SET undo_in_progress = true WHERE parent_table = 'public.undone';
         UPDATE partman.part_config SET control = 'n' WHERE parent_table = 'public.elsewhere';
         UPDATE partman.part_config SET partition_interval = '1 mon 15 days' WHERE parent_table = 'public.mixed';
         DROP TABLE gone",
    );
    // Below a set that is divided twice pg_partman keeps a row for each part.
    db.partman_set("divided", Kind { version_4: "yearly", version_5: "1 year", ..DAILY });
    let sub = if is_version_5(&mut db.client) {
        "'public.divided', 'k', '1 month', p_declarative_check => 'yes'"
    } else {
        "'public.divided', 'k', 'native', 'monthly', p_native_check => 'yes'"
    };
    db.client.run(&format!("SELECT partman.create_sub_parent({sub})"));
    if is_version_5(&mut db.client) {
        db.client.run(
            "CREATE TABLE other (k integer NOT NULL) PARTITION BY LIST (k);
             SELECT partman.create_parent('public.other', 'k', '1', p_type => 'list')",
        );
    } else {
        db.client.run(
            "CREATE TABLE other (k timestamptz NOT NULL);
             SELECT partman.create_parent('public.other', 'k', 'partman', 'daily')",
        );
    }
    db.client.run(&format!(
        "GRANT USAGE ON SCHEMA partman TO {stranger}; GRANT SELECT ON ALL TABLES IN SCHEMA partman TO {stranger};
         GRANT CREATE ON SCHEMA public TO {stranger}; ALTER TABLE foreign_owned OWNER TO {stranger}"
    ));
    let skipped =
        "SELECT format('%s: %s', substr(parent_table, 8), reason) FROM steward.import_pg_partman()
                    WHERE status = 'skipped' AND parent_table !~ 'divided_' ORDER BY 1";
    // As somebody who owns one of them.
    db.client.run(&format!("SET ROLE {stranger}"));
    let others: Vec<String> = db.client.column(skipped);
    assert_eq!(others.len(), 9, "{others:#?}");
    assert!(
        others.iter().filter(|line| line.contains("it belongs to ")).count() == 8,
        "{others:#?}"
    );
    db.client.run("RESET ROLE");
    assert_eq!(
        db.client.column::<String>("SELECT parent::text FROM steward.partition_sets ORDER BY 1"),
        ["by_hand", "foreign_owned"]
    );

    let (divided, leaves): (String, i64) = {
        let row = db
            .client
            .query_one(
                "SELECT max(array_to_string(not_taken_over, '; ')) FILTER (WHERE parent_table = 'public.divided'),
                        count(*) FILTER (WHERE reason ~ 'it is a partition of public.divided itself'
                                           AND status = 'skipped')
                   FROM steward.import_pg_partman()",
                &[],
            )
            .unwrap();
        (row.get(0), row.get(1))
    };
    assert!(divided.contains("sub-partitioning by k, every "), "{divided}");
    assert!(leaves >= 5, "{leaves}");

    let lines: Vec<String> = db.client.column(skipped);
    let expected = [
        "by_hand: \"public.by_hand\" is already managed by pg_steward",
        "divided: \"public.divided\" is already managed by pg_steward",
        "elsewhere: control = n: it is partitioned by RANGE (k)",
        "fine: \"public.fine\" is already managed by pg_steward",
        "foreign_owned: \"public.foreign_owned\" is already managed by pg_steward",
        "gone: there is no such table",
        "mixed: ",
        "other: partition_type = ",
        "undone: undo_in_progress: ",
        "zz_fine: \"public.zz_fine\" is already managed by pg_steward",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
    assert!(lines[6].contains("cannot mix months and days"), "{}", lines[6]);
    // Twice is once.
    let before: i64 = db.client.value("SELECT count(*) FROM pg_inherits");
    assert_eq!(db.client.column::<String>(skipped), lines);
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM pg_inherits"), before);
}

#[test]
fn a_set_that_is_locked_is_skipped() {
    let mut db = database_with_partman();
    db.partman_set("free", DAILY);
    db.partman_set("locked", DAILY);
    let mut other = db.connect_as("postgres");
    other.run("BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE");
    db.client.run("SET pg_steward.lock_timeout = '200ms'");
    assert_eq!(db.import("free", "status"), "imported");
    let row = db.import("locked", "status, reason");
    assert!(row.starts_with("skipped; ") && row.contains("locked"), "{row}");
    other.run("ROLLBACK");
    assert_eq!(db.import("locked", "status"), "imported");
}

#[test]
fn without_pg_partman_or_the_right_to_read_it_there_is_an_error() {
    let mut db = Database::new();
    let refusal = db.client.refused("42704", "SELECT * FROM steward.import_pg_partman()");
    assert!(refusal.message().contains("pg_partman"), "{refusal}");
    assert!(refusal.hint().unwrap().contains("manage_range"), "{refusal}");

    db.client.run("CREATE SCHEMA \"Odd one\"; CREATE EXTENSION pg_partman SCHEMA \"Odd one\"");
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.import_pg_partman()"), 0);
    let stranger = db.own("stranger");
    db.client.run(&format!("CREATE ROLE {stranger}; SET ROLE {stranger}"));
    db.client.refused("42501", "SELECT * FROM steward.import_pg_partman()");
}

#[test]
fn rows_in_the_default_partition_are_told() {
    let mut db = database_with_partman();
    db.partman_set("late", DAILY);
    db.client.run(
        "INSERT INTO late SELECT current_date + 6;
         UPDATE partman.part_config SET premake = 8",
    );
    let row = db.import("late", "status, created, hint");
    assert!(row.starts_with("imported; 3; "), "{row}");
    assert!(
        row.contains("1 partition(s) wait until rows are moved out of public.late_default"),
        "{row}"
    );
}

#[test]
fn the_template_goes_on_giving_what_it_gave() {
    let mut db = database_with_partman();
    for name in ["ours", "theirs"] {
        db.partman_set(name, DAILY);
        db.client.run(&format!("CREATE UNIQUE INDEX ON partman.template_public_{name} (n)"));
    }
    db.client.run(
        "UPDATE partman.part_config
            SET undo_in_progress = parent_table = 'public.theirs', infinite_time_partitions = true, premake = 8",
    );
    assert_eq!(db.import("ours", "status, created"), "imported; 4");
    db.client.run(
        "UPDATE partman.part_config SET undo_in_progress = false;
         SELECT partman.run_maintenance('public.theirs')",
    );
    let last = |db: &mut Database, name: &str| -> String {
        db.client.value(&format!(
            "SELECT max(inhrelid::regclass::text) FROM pg_inherits
              WHERE inhparent = '{name}'::regclass AND inhrelid::regclass::text !~ 'default'"
        ))
    };
    let (ours, theirs) = (last(&mut db, "ours"), last(&mut db, "theirs"));
    assert_eq!(db.indexes(&ours), db.indexes(&theirs));
    assert_eq!(db.indexes(&ours).len(), 1);
}

/// A policy of the owner's that row security would have us run is not run.
#[test]
fn no_policy_of_another_role_runs_with_our_rights() {
    let mut db = database_with_partman();
    let (owner, member) = (db.own("owner"), db.own("member"));
    db.partman_set("ours", Kind { key: "bigint", version_4: "1000", version_5: "1000", ..DAILY });
    db.client.run(&format!(
        "CREATE ROLE {owner}; CREATE ROLE {member} IN ROLE {owner};
         GRANT CREATE ON SCHEMA public TO {owner};
         GRANT USAGE ON SCHEMA partman TO {member};
         GRANT SELECT ON partman.part_config, partman.part_config_sub TO {member};
         ALTER TABLE ours OWNER TO {owner};
         DO $$
         DECLARE
             part regclass;
         BEGIN
             FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'ours'::regclass LOOP
                 EXECUTE format('ALTER TABLE %s OWNER TO {owner}', part);
             END LOOP;
         END $$;
         ALTER TABLE partman.template_public_ours OWNER TO {owner};
         CREATE TABLE seen (who name); GRANT INSERT ON seen TO PUBLIC;
         CREATE FUNCTION spy() RETURNS boolean LANGUAGE sql
             AS 'INSERT INTO public.seen VALUES (current_user); SELECT true';
         CREATE POLICY spying ON ours USING (spy());
         ALTER TABLE ours ENABLE ROW LEVEL SECURITY; ALTER TABLE ours FORCE ROW LEVEL SECURITY;
         INSERT INTO ours VALUES (1);
         SET ROLE {member}"
    ));
    assert_eq!(db.import("ours", "status, reason"), "imported");
    db.client.run("RESET ROLE");
    let seen: Vec<String> = db.client.column("SELECT who::text FROM seen");
    assert_eq!(seen, Vec::<String>::new());
}
