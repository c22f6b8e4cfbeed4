//! Retention while others copy: standbys with long queries, subscribers.

use pg_test::cluster::{Ask, Cluster, sqlstate, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::SOON;

/// A daily set of the last four days, of which nothing is too old yet.
const FOUR_DAYS: &str = "
    CREATE TABLE bets (at timestamptz NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (at, id))
        PARTITION BY RANGE (at);
    SELECT steward.manage_range('bets', '1 day', premake => 1, time_zone => 'UTC',
                                start_at => (now() - interval '4 days')::text);
    INSERT INTO bets SELECT lower_bound::timestamptz + make_interval(hours => 1)
      FROM steward.partitions WHERE state IN ('past', 'current')";

fn primary(conf: &str) -> (Cluster, String, Client) {
    let conf = format!("{conf}\npg_steward.retention_pause = 0");
    let cluster = fixtures::cluster().conf(&conf).start().unwrap();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run("SET client_min_messages = error; SET TimeZone = 'UTC'");
    client.run(FOUR_DAYS);
    (cluster, name, client)
}

fn states(client: &mut Client) -> Vec<String> {
    client.column(
        "SELECT state FROM steward.partitions WHERE parent = 'bets'::regclass ORDER BY lower_bound",
    )
}

/// Half a minute of a query that has the oldest partition locked, on the standby.
const LONG_QUERY: &str =
    "SELECT count(*), count(pg_sleep(30)) FROM bets WHERE at < now() - interval '3 days'";

fn standby_with_long_query(feedback: &str, delay: &str) {
    let (primary, name, mut client) = primary("hot_standby_feedback = off");
    let conf = format!(
        "hot_standby_feedback = {feedback}\nmax_standby_streaming_delay = '{delay}'\n\
         wal_receiver_status_interval = '100ms'"
    );
    let standby = primary.standby_named("standby", &conf).unwrap();
    primary.wait_for_replay(&standby).unwrap();
    let mut reader = standby.session(&name).unwrap();
    reader.start(LONG_QUERY);
    let mut looker = standby.connect(&name).unwrap();
    wait_until(SOON, "the long query has the oldest partition locked", || {
        looker.value(&format!(
            "SELECT count(*) > 0 FROM pg_locks
              WHERE pid = {} AND granted AND mode = 'AccessShareLock' AND relation IN
                    (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'bets'::regclass)",
            reader.pid()
        ))
    });
    if feedback == "on" {
        wait_until(SOON, "the primary knows of the standby's snapshots", || {
            client.value(
                "SELECT count(*) = 1 FROM pg_stat_replication WHERE backend_xmin IS NOT NULL",
            )
        });
    }
    // The query is to be there until the primary is done, however long that takes.
    looker.run("SELECT pg_wal_replay_pause()");
    client.run("SELECT steward.set_retention('bets', '2 days')");
    // The primary is not held: neither by the query nor by what the standby tells of it.
    wait_until(SOON, "what is old is gone on the primary", || states(&mut client).len() == 4);
    assert!(!reader.is_done(), "the long query had ended before: the test shows nothing");
    let statuses: Vec<String> =
        client.column("SELECT DISTINCT status FROM steward.job_runs WHERE status <> 'running'");
    assert_eq!(statuses, ["succeeded"]);
    looker.run("SELECT pg_wal_replay_resume()");
    // ACCESS EXCLUSIVE is replayed there, whatever the feedback: after the delay the query loses.
    let error = reader.finish(SOON).unwrap_err();
    assert_eq!(sqlstate(&error), "40001", "{error:?}");
    // The reader's session reports its counters when it is next idle, not with the error.
    wait_until(SOON, "the standby has counted one conflict about a lock", || {
        looker.value(
            "SELECT confl_lock = 1 FROM pg_stat_database_conflicts
              WHERE datname = current_database()",
        )
    });
    primary.wait_for_replay(&standby).unwrap();
    assert_eq!(looker.value::<i64>("SELECT count(*) FROM bets"), 3);
    assert_eq!(
        looker
            .value::<i64>("SELECT count(*) FROM pg_inherits i WHERE inhparent = 'bets'::regclass"),
        4
    );
}

#[test]
fn a_long_query_on_a_standby_without_feedback_is_cancelled_after_the_delay() {
    standby_with_long_query("off", "2s");
}

#[test]
fn a_long_query_on_a_standby_with_feedback_is_cancelled_after_the_delay_too() {
    standby_with_long_query("on", "2s");
}

#[test]
fn a_standby_that_waits_for_its_queries_replays_when_they_are_done() {
    let (primary, name, mut client) = primary("");
    let conf = "max_standby_streaming_delay = -1";
    let standby = primary.standby_named("standby", conf).unwrap();
    primary.wait_for_replay(&standby).unwrap();
    let mut reader = standby.session(&name).unwrap();
    reader.run("BEGIN; SELECT count(*) FROM bets");
    client.run("SELECT steward.set_retention('bets', '2 days')");
    wait_until(SOON, "what is old is gone on the primary", || states(&mut client).len() == 4);
    let mut looker = standby.connect("postgres").unwrap();
    // pg_blocking_pids() knows nothing of a process that replays.
    wait_until(SOON, "the standby waits for the reader", || {
        looker.value(
            "SELECT count(*) = 1 FROM pg_stat_activity
              WHERE backend_type = 'startup' AND wait_event_type = 'Lock' AND wait_event = 'relation'",
        )
    });
    reader.run("SELECT count(*) FROM bets; COMMIT");
    primary.wait_for_replay(&standby).unwrap();
    assert_eq!(standby.connect(&name).unwrap().value::<i64>("SELECT count(*) FROM bets"), 3);
}

/// The same partitions on the other side, where they are not there yet.
fn make_partitions_there(here: &mut Client, there: &mut Client) {
    let statements: Vec<String> = here.column(
        "SELECT format('CREATE TABLE IF NOT EXISTS %s PARTITION OF bets %s', c.relname,
                       pg_get_expr(c.relpartbound, c.oid))
           FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = 'bets'::regclass",
    );
    there.run(&statements.join(";\n"));
}

fn subscriber_of(via_root: bool) {
    let (publisher, name, mut client) = primary("wal_level = logical");
    let oldest: String =
        client.value("SELECT partition::text FROM steward.partitions ORDER BY lower_bound LIMIT 1");
    client.run(&format!(
        "CREATE PUBLICATION bets FOR TABLE bets WITH (publish_via_partition_root = {via_root});
         CREATE PUBLICATION oldest FOR TABLE {oldest}"
    ));
    let subscriber =
        fixtures::cluster().preload(false).conf("pg_steward.enabled = off").start().unwrap();
    let mut there = subscriber.connect("postgres").unwrap();
    if via_root {
        there.run("CREATE TABLE bets (at timestamptz NOT NULL, id bigint, PRIMARY KEY (at, id))");
    } else {
        there.run("CREATE TABLE bets (at timestamptz NOT NULL, id bigint, PRIMARY KEY (at, id)) PARTITION BY RANGE (at)");
        make_partitions_there(&mut client, &mut there);
    }
    there.run(&format!(
        "CREATE SUBSCRIPTION bets CONNECTION 'host={} dbname={name} user=postgres' PUBLICATION bets",
        publisher.socket_dir().display()
    ));
    wait_until(SOON, "the first copy is there", || there.value("SELECT count(*) = 5 FROM bets"));
    wait_until(SOON, "its tables are synchronised", || {
        there.value("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")
    });

    // Partitions come …
    client.run("SELECT steward.alter_range('bets', premake => 4)");
    if !via_root {
        make_partitions_there(&mut client, &mut there);
        there.run("ALTER SUBSCRIPTION bets REFRESH PUBLICATION");
    }
    // … and go, kept as tables; rows come in all the while.
    client.run("SELECT steward.set_retention('bets', '2 days', 'detach')");
    wait_until(SOON, "what is old has left", || {
        client.run("INSERT INTO bets VALUES (now()), (now() + interval '3 days')");
        client.value("SELECT count(*) = 2 FROM steward.partitions WHERE state = 'detached'")
    });
    wait_until(SOON, "the run is logged", || {
        client.value("SELECT last_status = 'succeeded' AND NOT running FROM steward.jobs")
    });
    let named: Vec<String> = client.column(
        "SELECT pubname || ' ' || tablename FROM pg_publication_tables WHERE pubname = 'oldest'",
    );
    assert_eq!(named, Vec::<String>::new(), "it is published still");
    let wanted: i64 =
        client.value("SELECT count(*) FROM bets WHERE at > now() - interval '1 hour'");
    assert!(wanted > 0);
    wait_until(SOON, "the subscriber has received all", || {
        there.value(&format!(
            "SELECT count(*) = {wanted} FROM bets WHERE at > now() - interval '1 hour'"
        ))
    });
    // What has left stays where it is over there, and what is written into it here does not arrive.
    client.run(&format!("INSERT INTO {oldest} SELECT at + interval '1 second', -1 FROM {oldest}"));
    client.run("INSERT INTO bets VALUES (now() + interval '4 days')");
    wait_until(SOON, "a later row has arrived", || {
        there.value("SELECT count(*) = 1 FROM bets WHERE at > now() + interval '3 days 12 hours'")
    });
    let of_the_oldest: i64 = there.value(
        "SELECT count(*) FROM bets WHERE at < date_trunc('day', now(), 'UTC') - interval '3 days'",
    );
    assert_eq!(of_the_oldest, 1);
    for cluster in [&publisher, &subscriber] {
        assert_eq!(cluster.log_count("ERROR:"), 0, "{}", cluster.log_tail(20));
    }
    there.run("DROP SUBSCRIPTION bets");
}

#[test]
fn a_subscriber_of_the_root_keeps_receiving() {
    subscriber_of(true);
}

#[test]
fn a_subscriber_of_the_partitions_keeps_receiving() {
    subscriber_of(false);
}
