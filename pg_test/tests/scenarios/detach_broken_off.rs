//! A DETACH … CONCURRENTLY that somebody has broken off: it is ended, and what is missing then is made in the
//! same run.

use pg_test::cluster::{Ask, sqlstate};

use crate::range_support::{Database, cluster};
use crate::unattended_support::SOON;

#[test]
fn the_current_period_is_made_again_by_the_run_that_ends_its_detach() {
    let mut database = Database::new();
    database.client.run(
        "CREATE TABLE t (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT count(*) FROM steward.manage_range('t', '1 day', time_zone => 'UTC')",
    );
    let today: String = database
        .client
        .value("SELECT partition::text FROM steward.partitions WHERE state = 'current'");
    let mut reader = cluster().session(&database.name).unwrap();
    reader.run("BEGIN; SELECT count(*) FROM t");
    let mut detacher = cluster().session(&database.name).unwrap();
    detacher.run("SET lock_timeout = '500ms'");
    detacher.start(&format!("ALTER TABLE t DETACH PARTITION {today} CONCURRENTLY"));
    let error = detacher.finish(SOON).unwrap_err();
    assert_eq!(sqlstate(&error), "55P03");
    reader.run("COMMIT");
    let pending: i64 =
        database.client.value("SELECT count(*) FROM pg_inherits WHERE inhdetachpending");
    assert_eq!(pending, 1, "the detach was not broken off half way");

    database.maintain("t");
    let (states, detail): (String, String) = (
        database.client.value(
            "SELECT string_agg(state, ' ' ORDER BY lower_bound) FROM steward.partitions WHERE state <> 'detached'",
        ),
        database.client.value(
            "SELECT format('%s %s', detail ->> 'created', detail ->> 'detached') FROM steward.job_runs
              ORDER BY run_id DESC LIMIT 1",
        ),
    );
    assert_eq!(states, "current future future future");
    assert_eq!(detail, "1 1", "created and detached, in one run");
    let left: i64 = database.client.value("SELECT count(*) FROM steward.plan('t')");
    assert_eq!(left, 0);
    database.client.run("INSERT INTO t VALUES (now())");
}
