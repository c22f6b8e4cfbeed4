//! `default_transaction_read_only` of a database: nothing is taken away over a DBA's wish, and who overrides it
//! for an insert finds a partition.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{SOON, drop_newest, exists, make_due, settled_set};

#[test]
fn partitions_are_made_and_none_leaves() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    settled_set(&mut client);
    client.run(
        "CREATE TABLE bets_old PARTITION OF bets FOR VALUES FROM ('2020-01-01') TO ('2020-01-02');
         SELECT steward.pause_job(job_id) FROM steward.jobs;
         SELECT steward.set_retention('bets', '1 year')",
    );
    let lost = drop_newest(&mut client, "bets");
    client.run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    client.run("SELECT steward.resume_job(job_id) FROM steward.jobs");
    make_due(&mut client);
    wait_until(SOON, "the partition ahead is made", || exists(&mut client, &lost));
    make_due(&mut client);
    wait_until(SOON, "a run says why nothing leaves", || {
        client.value(
            "SELECT count(*) > 0 FROM steward.job_runs
              WHERE status = 'deferred' AND error_message LIKE '%default_transaction_read_only%'",
        )
    });
    let said =
        "SELECT reason LIKE '%deferred by the workers while default_transaction_read_only is on%'
                  FROM steward.plan('bets') WHERE action = 'detach'";
    assert!(client.value::<bool>(said), "plan() does not say so");
    assert!(client.value::<bool>(
        "SELECT count(*) = 1 FROM pg_inherits WHERE inhrelid = 'bets_old'::regclass"
    ));
    client.run(&format!("ALTER DATABASE {name} RESET default_transaction_read_only"));
    assert!(!client.value::<bool>(said), "plan() says so still");
    wait_until(SOON, "it leaves when the setting is off", || {
        make_due(&mut client);
        !exists(&mut client, "bets_old")
    });
}
