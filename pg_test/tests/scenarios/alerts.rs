//! Alerts: they open, change and close with what they are about, and are told of once.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

use crate::range_support::{Database, cluster};
use crate::retention_archive::{RETAIN, archive_function, attended, owned_set};
use crate::unattended_support::SOON;

/// A set of which one table has left and cannot be archived; its alert is open.
pub(crate) fn failing() -> (Database, String) {
    let (mut database, owner) = attended("BEGIN RETURN false; END");
    database.client.run(
        "SELECT steward.set_retention('mine.bets', '3 days',
                                      archive_function => 'mine.archive(regclass)')",
    );
    database.client.refused("55000", "CALL steward.maintain('mine.bets')");
    assert_eq!(open(&mut database.client).len(), 1);
    (database, owner)
}

/// `check severity state value` of the open alerts.
pub(crate) fn open(client: &mut Client) -> Vec<String> {
    client.column(
        "SELECT concat_ws(' ', check_name, severity, state, value) FROM steward.alerts ORDER BY object",
    )
}

/// What listeners have been told, oldest first. They are told in the order of commits: all of it, when
/// the mark is there.
pub(crate) fn told(client: &mut Client) -> Vec<String> {
    client.run("NOTIFY steward_alerts, 'mark'");
    let mut told = Vec::new();
    let mut notifications = client.notifications();
    let mut notices = notifications.timeout_iter(SOON);
    while let Some(notice) = notices.next().unwrap() {
        if notice.payload() == "mark" {
            return told;
        }
        told.push(notice.payload().to_owned());
    }
    panic!("the mark did not come; before it came {told:?}");
}

pub(crate) fn table(client: &mut Client) -> String {
    client.value("SELECT partition::text FROM steward.partitions WHERE state = 'detached' LIMIT 1")
}

/// How many lines of a state the server log has about this database's one alert.
fn lines(database: &mut Database, state: &str) -> usize {
    let object: String = database.client.value("SELECT object FROM steward.alert_history");
    let begins =
        format!("pg_steward: alert 1 in database {} {state}: archive of {object}, ", database.name);
    cluster().log_count(&begins)
}

#[test]
fn an_alert_fires_once_gets_worse_and_is_resolved() {
    let (mut database, _) = attended("BEGIN RETURN false; END");
    let mut listener = cluster().connect(&database.name).unwrap();
    listener.run("LISTEN steward_alerts");
    let client = &mut database.client;
    assert_eq!(client.value::<i64>("SELECT open_alerts FROM steward.status"), 0);
    client.run(
        "SELECT steward.set_retention('mine.bets', '3 days',
                                      archive_function => 'mine.archive(regclass)')",
    );
    for failures in 1..=6 {
        client.refused("55000", "CALL steward.maintain('mine.bets')");
        let severity = if failures < 5 { "warning" } else { "critical" };
        assert_eq!(open(client), [format!("archive {severity} firing {failures}")]);
    }
    assert_eq!(client.value::<i64>("SELECT open_alerts FROM steward.status"), 1);
    let left = table(client);
    let row: String = client.value(
        "SELECT format('%s %s %s', object, pending_since = fired_at AND fired_at < now(),
                       resolved_at IS NULL AND acknowledged_at IS NULL)
           FROM steward.alerts WHERE message LIKE 'the archive function did not say true%'",
    );
    assert_eq!(row, format!("{left} t t"));
    client.run(
        "CREATE OR REPLACE FUNCTION mine.archive(gone regclass) RETURNS boolean
         LANGUAGE sql AS 'SELECT true'",
    );
    database.maintain("mine.bets");
    assert_eq!(open(&mut database.client), Vec::<String>::new());
    let history: Vec<String> = database.client.column(
        "SELECT concat_ws(' ', object, severity, state, value, resolved_at > fired_at)
           FROM steward.alert_history",
    );
    assert_eq!(history, [format!("{left} critical resolved 6 t")]);

    // Told when it fired, when it was worse, when it was over; and no more.
    let told = told(&mut listener);
    let states: Vec<String> = told
        .iter()
        .map(|payload| {
            database.client.value(&format!(
                "SELECT concat_ws(' ', p->>'state', p->>'severity', p->>'value', p->>'object',
                                  p->>'check_name', p->>'database' = current_database(),
                                  (p->>'fired_at')::timestamptz <= now(), p ?| ARRAY['owner', 'message'])
                   FROM jsonb($j${payload}$j$) p"
            ))
        })
        .collect();
    assert_eq!(
        states,
        [
            format!("firing warning 1 {left} archive t t f"),
            format!("firing critical 5 {left} archive t t f"),
            format!("resolved critical 6 {left} archive t t f"),
        ]
    );
    for (state, times) in [("firing", 2), ("resolved", 1)] {
        wait_until(SOON, "the server log has a line each", || lines(&mut database, state) == times);
    }
}

#[test]
fn a_table_that_is_dropped_has_no_open_alert_and_one_that_is_not_keeps_it() {
    let (mut database, _) = failing();
    let mut listener = cluster().connect(&database.name).unwrap();
    listener.run("LISTEN steward_alerts");
    let left = table(&mut database.client);
    let client = &mut database.client;
    client.run(&format!("BEGIN; DROP TABLE {left}; ROLLBACK"));
    client.run(&format!("BEGIN; SAVEPOINT a; DROP TABLE {left}; ROLLBACK TO a; COMMIT"));
    // Inside the one that comes back another one has ended well.
    client.run(&format!(
        "BEGIN; SAVEPOINT a; SAVEPOINT b; DROP TABLE {left}; RELEASE b; ROLLBACK TO a; COMMIT"
    ));
    client.run(&format!("ALTER TABLE {left} RENAME TO kept_aside"));
    assert_eq!(open(client), ["archive warning firing 1"]);
    assert_eq!(told(&mut listener), Vec::<String>::new());
    client.run("BEGIN; SAVEPOINT a; DROP TABLE mine.kept_aside; RELEASE a; COMMIT");
    assert_eq!(open(client), Vec::<String>::new());
    assert_eq!(told(&mut listener).len(), 1);
    wait_until(SOON, "it is in the log", || lines(&mut database, "resolved") == 1);
}

#[test]
fn nobody_is_alerted_of_what_nobody_asks_for_any_more() {
    for (call, ask_again) in [
        ("SELECT steward.clear_retention('mine.bets')", true),
        ("SELECT steward.set_retention('mine.bets', '1 year')", true),
        ("SELECT steward.unmanage('mine.bets')", false),
        ("DROP TABLE mine.bets", false),
    ] {
        let (mut database, _) = failing();
        let client = &mut database.client;
        client.run(call);
        assert_eq!(open(client), Vec::<String>::new(), "{call}");
        assert_eq!(client.value::<i64>("SELECT failing_archives FROM steward.status"), 0, "{call}");
        if ask_again {
            // A policy that asks begins anew, and at once.
            client.run(RETAIN);
            client.refused("55000", "CALL steward.maintain('mine.bets')");
            assert_eq!(open(client)[0], "archive warning firing 1", "{call}");
        }
    }
}

#[test]
fn owners_see_and_acknowledge_their_own() {
    let (mut database, owner) = failing();
    let (stranger, monitor) = (database.own("stranger"), database.own("monitor"));
    database.client.run(&format!(
        "ALTER ROLE {owner} LOGIN; CREATE ROLE {stranger} LOGIN; CREATE ROLE {monitor} LOGIN IN ROLE pg_monitor"
    ));
    let id: i64 = database.client.value("SELECT alert_id FROM steward.alerts");
    let acknowledge = format!("SELECT steward.acknowledge_alert({id})");
    for view in ["alerts", "alert_history"] {
        for (role, rows) in [(&owner, 1), (&stranger, 0), (&monitor, 1)] {
            let seen: i64 =
                database.connect_as(role).value(&format!("SELECT count(*) FROM steward.{view}"));
            assert_eq!(seen, rows, "{role} {view}");
        }
    }
    for role in [&stranger, &monitor] {
        let mut client = database.connect_as(role);
        client.refused("42501", &acknowledge);
        client.refused("42501", "SELECT FROM steward.alert");
        client.refused("42501", &format!("SELECT steward.resolve_alert('archive', {id}::oid)"));
        client.refused("42501", "SELECT steward.log_at_commit('a line of mine')");
    }
    database.connect_as(&owner).run(&acknowledge);
    database.client.run(&acknowledge); // the first one stays
    let by: String = database.client.value(
        "SELECT format('%s %s', acknowledged_by, acknowledged_at > fired_at) FROM steward.alerts",
    );
    assert_eq!(by, format!("{owner} t"));
    // It fails once more: the same alert, still acknowledged.
    database.client.refused("55000", "CALL steward.maintain('mine.bets')");
    assert_eq!(
        database.client.value::<i64>(
            "SELECT alert_id FROM steward.alerts WHERE value = 2 AND acknowledged_at IS NOT NULL"
        ),
        id
    );
    database.client.refused("42704", "SELECT steward.acknowledge_alert(4711)");
    database.client.run("SELECT steward.clear_retention('mine.bets')");
    database.client.refused("55000", &acknowledge);
}

#[test]
fn a_function_that_is_gone_alerts_too() {
    let (mut database, _) = failing();
    let client = &mut database.client;
    client.run("DROP FUNCTION mine.archive");
    client.refused("22023", "CALL steward.maintain('mine.bets')");
    let said: String = client.value("SELECT value || ' ' || message FROM steward.alerts");
    assert!(said.starts_with("2 invalid archive_function"), "{said}");
}

#[test]
fn a_function_whose_process_is_ended_has_failed() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    let owner = format!("archivist_of_{name}");
    owned_set(&mut client, &owner);
    archive_function(&mut client, &owner, "BEGIN PERFORM pg_sleep(600); RETURN true; END");
    wait_until(SOON, "the first run", || {
        client.value("SELECT count(*) = 1 FROM steward.jobs WHERE last_status = 'succeeded'")
    });
    client.run(RETAIN);
    let asleep = "SELECT coalesce(max(pid), 0) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event = 'PgSleep'";
    for failures in 1..=2 {
        wait_until(SOON, "the function is at work", || client.value::<i32>(asleep) != 0);
        client.run(&format!("SELECT pg_terminate_backend(({asleep}))"));
        wait_until(SOON, "it is told of, once it is asked again", || {
            open(&mut client) == [format!("archive warning firing {failures}")]
        });
    }
    let message: String = client.value("SELECT message FROM steward.alerts");
    assert!(message.starts_with("the archive function gave no answer"), "{message}");
    // The call that told of it sleeps by the old definition.
    wait_until(SOON, "the function is at work", || client.value::<i32>(asleep) != 0);
    client.run(
        "CREATE OR REPLACE FUNCTION mine.archive(gone regclass) RETURNS boolean
         LANGUAGE sql AS 'SELECT true'",
    );
    client.run(&format!("SELECT pg_terminate_backend(({asleep}))"));
    wait_until(SOON * 2, "it is archived, and over", || open(&mut client).is_empty());
}

#[test]
fn resolved_alerts_are_history_for_a_while() {
    let cluster = fixtures::cluster().conf("pg_steward.retention_pause = 0").start().unwrap();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    let owner = format!("archivist_of_{name}");
    owned_set(&mut client, &owner);
    archive_function(&mut client, &owner, "BEGIN RETURN false; END");
    client.run(RETAIN);
    wait_until(SOON, "both tables are told of", || open(&mut client).len() == 2);
    client.run(
        "CREATE OR REPLACE FUNCTION mine.archive(gone regclass) RETURNS boolean
         LANGUAGE sql AS 'SELECT true'",
    );
    client.run("CALL steward.maintain('mine.bets')");
    client.run(
        "UPDATE steward.alert SET resolved_at = now() - interval '1 year'
          WHERE alert_id = (SELECT min(alert_id) FROM steward.alert)",
    );
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.alert_history"), 2);
    cluster.restart().unwrap(); // a scheduler trims when it comes first
    let mut client = cluster.connect(&name).unwrap();
    wait_until(SOON, "the old one is gone", || {
        client.value("SELECT count(*) = 1 FROM steward.alert_history")
    });
}
