//! Tiering: older periods in another tablespace.

use std::time::Duration;

use pg_test::cluster::{Ask, wait_until};

use crate::range_support::{Database, cluster};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn cold_periods_move_with_their_indexes() {
    let mut db = Database::new();
    let cold = db.own("cold");
    db.client.run(&format!("CREATE TABLESPACE {cold} LOCATION ''"));
    db.daily_set("");
    db.client.run(&format!(
        "ALTER TABLE bets ADD COLUMN note text; CREATE INDEX ON bets (n);
         UPDATE bets SET note = (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 500) g);
         SELECT steward.set_tiering('bets', '10 days', '{cold}')"
    ));
    // The newest of the two is in use: the other goes first.
    let names: Vec<String> = db.client.column(
        "SELECT partition FROM steward.plan('bets') WHERE action = 'move' ORDER BY ordinal",
    );
    assert_eq!(names.len(), 2);
    let mut reader = cluster().session(&db.name).unwrap();
    reader.run(&format!("BEGIN; SELECT count(*) FROM {}", names[0]));
    let mut mover = cluster().session(&db.name).unwrap();
    mover.run("SET pg_steward.lock_timeout = '30s'");
    mover.start("CALL steward.maintain('bets')");
    let moved = format!(
        "SELECT count(*) FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
          WHERE t.spcname = '{cold}'"
    );
    wait_until(SOON, "the free one is moved, the other waited for", || {
        db.client.value::<i64>(&moved) == 4 && mover.is_blocked()
    });
    let progress: String = db.client.value(
        "SELECT format('%s %s', status, (detail->>'bytes_done')::bigint > 0
                       AND (detail->>'bytes_done')::bigint < (detail->>'bytes_total')::bigint)
           FROM steward.job_runs ORDER BY run_id DESC LIMIT 1",
    );
    assert_eq!(progress, "running t");
    reader.run("COMMIT");
    mover.finish(SOON).unwrap();
    // Table, toast, its index, and the index: twice.
    assert_eq!(db.client.value::<i64>(&moved), 8);
    let places: Vec<String> = db.client.column(
        "SELECT tablespace || ' ' || count(*) FROM steward.partitions
          WHERE parent = 'bets'::regclass GROUP BY tablespace ORDER BY count(*)",
    );
    assert_eq!(places, [format!("{cold} 2"), "pg_default 13".to_owned()]);
    assert!(db.planned_sql("bets").is_empty());
    db.client.run("SELECT steward.clear_tiering('bets')");
    db.client.run("DROP TABLE bets");
    db.client.run(&format!("DROP TABLESPACE {cold}"));
}

#[test]
fn a_spread_period_moves_as_one() {
    let mut db = Database::new();
    let cold = db.own("cold");
    db.client.run(&format!("CREATE TABLESPACE {cold} LOCATION ''"));
    db.client.run(&format!(
        "CREATE TABLE events (at timestamptz NOT NULL, who bigint NOT NULL, PRIMARY KEY (who, at))
             PARTITION BY RANGE (at);
         SELECT steward.manage_range('events', '1 day', premake => 1,
                                     start_at => (current_date - 3)::text,
                                     subpartition_by => 'who', subpartitions => 3);
         INSERT INTO events SELECT current_date - g, h FROM generate_series(0, 3) g, generate_series(1, 9) h;
         SELECT steward.set_tiering('events', '2 days', '{cold}')"
    ));
    let steps: i64 = db.client.value("SELECT count(*) FROM steward.plan('events')");
    assert_eq!(steps, 1);
    db.maintain("events");
    // The period, three leaves, and an index for each of the four.
    let moved: i64 = db.client.value(&format!(
        "SELECT count(*) FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
          WHERE t.spcname = '{cold}' AND c.relkind IN ('r', 'p', 'i', 'I')"
    ));
    assert_eq!(moved, 8);
    assert!(db.planned_sql("events").is_empty());
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM events"), 36);
    db.client.run("DROP TABLE events");
    db.client.run(&format!("DROP TABLESPACE {cold}"));
}
