//! More jobs than the server may run at the same time.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{
    SOON, drop_newest, exists, make_due, release_brake, set_with_brake, signal,
};

#[test]
fn no_more_jobs_than_allowed_run_at_once_and_the_next_begins_when_one_ends() {
    let cluster = fixtures::cluster()
        .conf("pg_steward.max_concurrent_jobs = 2\nmax_worker_processes = 16")
        .start()
        .unwrap();
    let names: Vec<String> =
        (0..3).map(|_| cluster.create_database_with_extension().unwrap()).collect();
    let mut clients: Vec<_> =
        names.iter().map(|database| cluster.connect(database).unwrap()).collect();
    clients.iter_mut().for_each(set_with_brake);
    let lost: Vec<String> = clients.iter_mut().map(|client| drop_newest(client, "bets")).collect();
    for client in &mut clients {
        client.run("UPDATE public.brake SET is_on = true");
        make_due(client);
    }
    let mut watcher = cluster.connect("postgres").unwrap();
    let mut most = 0;
    wait_until(SOON, "two hang in a step, and the third has wanted its turn for long", || {
        let executors: i64 = watcher.value(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_steward executor'",
        );
        most = most.max(executors);
        watcher.value::<bool>(
            "SELECT count(*) FILTER (WHERE backend_type = 'pg_steward executor'
                                       AND wait_event = 'PgSleep') = 2
                AND count(*) FILTER (WHERE backend_type = 'pg_steward scheduler'
                                       AND clock_timestamp() - backend_start > interval '3 s') = 3
               FROM pg_stat_activity",
        )
    });
    // Others look, and leave again: their places are there for another owner.
    assert!((2..=4).contains(&most), "{most} executors at once");

    clients.iter_mut().for_each(release_brake);
    for pid in cluster.pids("pg_steward executor").unwrap() {
        signal("-INT", pid);
    }
    for (client, lost) in clients.iter_mut().zip(&lost) {
        wait_until(SOON, "every set has had its turn", || exists(client, lost));
    }
}
