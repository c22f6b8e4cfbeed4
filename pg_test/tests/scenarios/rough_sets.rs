//! Sets in trouble beside sets that are well, and a set that slept.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{SOON, drop_newest, exists, make_due, unattended_runs};

#[test]
fn a_dropped_parent_and_a_check_that_raises_stop_no_other_set() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE public.mood (is_bad boolean); INSERT INTO public.mood VALUES (false);
         CREATE FUNCTION public.smiles(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF (SELECT m.is_bad FROM public.mood m) THEN
                 RAISE EXCEPTION 'no smile today' USING ERRCODE = 'P4242';
             END IF;
             RETURN true;
         END $$;
         CREATE TABLE first (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE middle (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE broken (at timestamptz NOT NULL, CHECK (public.smiles(1))) PARTITION BY RANGE (at);
         CREATE TABLE last (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range(t, '1 day') FROM unnest('{first,middle,broken,last}'::regclass[]) t",
    );
    wait_until(SOON, "each has had its first run", || {
        unattended_runs(&mut client, "succeeded") == 4
    });
    let orphan: i64 = client.value("SELECT 'middle'::regclass::oid::bigint");
    let lost = ["first", "broken", "last"].map(|parent| drop_newest(&mut client, parent));
    client.run(
        "UPDATE public.mood SET is_bad = true;
         SET session_replication_role = replica; DROP TABLE middle; RESET session_replication_role",
    );
    let left = format!(
        "SELECT (SELECT count(*) FROM steward.range_policy WHERE parent::oid = {orphan})
              + (SELECT count(*) FROM steward.job WHERE target::oid = {orphan})"
    );
    assert_eq!(client.value::<i64>(&left), 2, "the drop took the policy along: nothing to see");
    make_due(&mut client);

    wait_until(SOON, "the others are kept up", || {
        exists(&mut client, &lost[0]) && exists(&mut client, &lost[2])
    });
    wait_until(SOON, "the orphan policy and its job are gone", || client.value::<i64>(&left) == 0);
    let broken = "FROM steward.job_runs WHERE target_name = 'public.broken' AND status = 'failed'";
    wait_until(SOON, "the broken one has failed twice", || {
        client.value(&format!("SELECT count(*) >= 2 {broken}"))
    });
    let said: Vec<String> = client.column(&format!(
        "SELECT DISTINCT format('%s %s %s', sqlstate, detail->'failures'->0->>'sqlstate', error_message)
           {broken}"
    ));
    assert_eq!(said, ["P4242 P4242 no smile today"]);
    let orphans_run: String = client.value(&format!(
        "SELECT string_agg(status || ' ' || coalesce(sqlstate, '-'), ',') FROM steward.job_run
          WHERE target::oid = {orphan} AND status <> 'succeeded'"
    ));
    assert_eq!(orphans_run, "failed 42P01");
    assert!(!exists(&mut client, &lost[1]));
    let failed_elsewhere: i64 = client.value(
        "SELECT count(*) FROM steward.job_runs
          WHERE target_name IN ('public.first', 'public.last') AND status <> 'succeeded'",
    );
    assert_eq!(failed_elsewhere, 0);

    client.run("UPDATE public.mood SET is_bad = false");
    wait_until(SOON, "the broken one is kept up again by itself", || {
        exists(&mut client, &lost[1])
            && client.value(
                "SELECT count(*) = 3 AND bool_and(consecutive_failures = 0) FROM steward.jobs",
            )
    });
}

#[test]
fn a_set_that_slept_for_five_months_wakes_to_its_current_partition_first() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 month', premake => 2, time_zone => 'UTC')",
    );
    wait_until(SOON, "the first unattended run", || unattended_runs(&mut client, "succeeded") == 1);
    // As it was five months ago: the partitions of that month and the one before, nothing since.
    client.run(
        "SELECT steward.pause_job(job_id, true) FROM steward.jobs;
         DO $$
         DECLARE this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC'); p text;
         BEGIN
             FOR p IN SELECT partition::text FROM steward.partitions LOOP
                 EXECUTE 'DROP TABLE ' || p;
             END LOOP;
             FOR ago IN REVERSE 6..5 LOOP
                 EXECUTE format('CREATE TABLE bets_ago_%s PARTITION OF bets FOR VALUES FROM (%L) TO (%L)',
                                ago, this_month - make_interval(months => ago),
                                this_month - make_interval(months => ago - 1));
             END LOOP;
         END $$",
    );
    assert_eq!(client.value::<i64>("SELECT partitions FROM steward.partition_sets"), 2);
    client.run("SELECT steward.resume_job(job_id) FROM steward.jobs");
    wait_until(SOON, "one unattended run", || unattended_runs(&mut client, "succeeded") == 2);

    // Months from the current one, in the order in which the tables were made.
    let months: Vec<i32> = client.column(
        "SELECT (extract(year FROM begins) * 12 + extract(month FROM begins)
                 - extract(year FROM ran) * 12 - extract(month FROM ran))::integer
           FROM (SELECT p.partition, p.lower_bound::timestamptz AT TIME ZONE 'UTC' AS begins,
                        (SELECT max(started_at) FROM steward.job_runs) AT TIME ZONE 'UTC' AS ran
                   FROM steward.partitions p
                  WHERE p.partition::text NOT LIKE 'bets_ago%') p
          ORDER BY p.partition::oid",
    );
    assert_eq!(months, [0, 1, 2, -1, -2, -3, -4]);
    let listed: Vec<String> = client.column(
        "SELECT jsonb_array_elements_text(detail->'partitions') FROM steward.job_runs
          WHERE run_id = (SELECT max(run_id) FROM steward.job_runs)",
    );
    let made: Vec<String> = client.column(
        "SELECT 'public.' || partition::text FROM steward.partitions
          WHERE partition::text NOT LIKE 'bets_ago%' ORDER BY partition::oid",
    );
    assert_eq!(listed, made, "what the run's log says");
    assert_eq!(client.value::<i64>("SELECT partitions FROM steward.partition_sets"), 9);
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.plan()"), 0, "a hole is left");
}

#[test]
fn a_set_that_went_without_a_word_is_forgotten_long_before_its_next_run() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range(t, '100 years') FROM unnest('{bets,wins}'::regclass[]) t",
    );
    wait_until(SOON, "both have run", || unattended_runs(&mut client, "succeeded") == 2);
    // One of a set that has no retention any more, and so is looked after by none of its runs.
    client.run(
        "CREATE TABLE old_wins (at timestamptz);
         INSERT INTO steward.retired_partition (partition, parent, lower_bound, upper_bound, ends, action)
         VALUES ('old_wins'::regclass, 'wins'::regclass, '1900-01-01', '2000-01-01', 0, 'detach')",
    );
    // No event trigger fires.
    client.run("SET session_replication_role = replica; DROP TABLE bets, old_wins");
    let kept = "SELECT count(*) FROM steward.retired_partition";
    assert_eq!(client.value::<i64>(kept), 1);
    cluster.restart().unwrap(); // a scheduler cleans up when it comes first
    let mut client = cluster.connect(&database).unwrap();
    wait_until(SOON, "its policy and its job are gone", || {
        client.value(
            "SELECT (SELECT count(*) FROM steward.job) = 1 AND (SELECT count(*) FROM steward.range_policy) = 1",
        )
    });
    wait_until(SOON, "so is the table", || client.value::<i64>(kept) == 0);
    assert_eq!(
        client.value::<String>("SELECT parent::regclass::text FROM steward.range_policy"),
        "wins"
    );
}
