//! What an owner's code sees as the session: the owner, in workers and in a superuser's CALL; and what
//! it leaves behind for the next owner's in the same process.

use std::collections::BTreeSet;

use pg_test::cluster::{Ask, Cluster, sqlstate, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::{SOON, drop_newest, exists, make_due};

/// `is_on`: owners' code says what it sees, which it does not while all of this is set up. `brake`: the
/// function that hangs does so.
const SHARED: &str = "
CREATE TABLE public.watching (is_on boolean, brake boolean); INSERT INTO public.watching VALUES (false, true);
GRANT SELECT ON public.watching TO PUBLIC;
CREATE TABLE public.got (note text); GRANT INSERT ON public.got TO PUBLIC;
CREATE TABLE public.notes (owner name DEFAULT session_user, note text);
ALTER TABLE public.notes OWNER TO victim; ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
SET ROLE victim;
CREATE POLICY own ON public.notes USING (owner = session_user); GRANT SELECT ON public.notes TO PUBLIC;
RESET ROLE;
INSERT INTO public.notes VALUES ('postgres', 'of postgres')";

/// An owner's code. `look` says what it sees after it has tried to be somebody else: into the log, which no
/// rollback takes back. `innocent` makes the server call it, for it seems to be a constant.
const CODE: &str = "
CREATE FUNCTION OWNER.look(place text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE attempt text; did text[] := '{}';
BEGIN
    FOREACH attempt IN ARRAY ARRAY[
        'SET ROLE postgres', 'SET LOCAL ROLE postgres', 'RESET ROLE', 'SET ROLE NONE',
        'SET SESSION AUTHORIZATION postgres', 'SET LOCAL SESSION AUTHORIZATION postgres',
        'SET SESSION AUTHORIZATION DEFAULT', 'RESET SESSION AUTHORIZATION',
        'SELECT set_config(''role'', ''postgres'', false)',
        'SELECT set_config(''session_authorization'', ''postgres'', false)',
        'SELECT set_config(''is_superuser'', ''on'', false)'
    ] LOOP
        BEGIN
            EXECUTE attempt;
            did := did || attempt;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    RAISE LOG 'look|%|%|%|%|%|%|%|%|', place, current_user, session_user, current_setting('is_superuser'),
        current_setting('session_authorization'), pg_backend_pid(), current_setting('application_name'), did;
END $$;
CREATE FUNCTION OWNER.innocent(place text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF (SELECT w.is_on FROM public.watching w) THEN PERFORM OWNER.look(place); END IF;
    RETURN true;
END $$;
CREATE FUNCTION OWNER.archive(gone regclass) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM OWNER.look('archive');
    -- Row security that would hide rows is an error in an archive function, unless it asks for it.
    PERFORM set_config('row_security', 'on', true);
    INSERT INTO public.got SELECT note FROM public.notes;
    RETURN true;
END $$;
CREATE FUNCTION OWNER.raises(gone regclass) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN PERFORM OWNER.look('raises'), setseed(0.5); RAISE EXCEPTION 'no'; END $$;
CREATE FUNCTION OWNER.hangs(gone regclass) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM OWNER.look('hangs'), setseed(0.5);
    IF (SELECT w.brake FROM public.watching w) THEN PERFORM pg_sleep(600); END IF;
    RETURN true;
END $$;
CREATE FUNCTION OWNER.seeds(gone regclass) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN PERFORM OWNER.look('seeds'), setseed(0.5); RETURN true; END $$";

/// Nothing runs by itself until [`begin`].
fn world(conf: &str) -> (Cluster, String, Client) {
    let conf = format!("pg_steward.enabled = off\npg_steward.retention_pause = 0\n{conf}");
    let cluster = fixtures::cluster().conf(&conf).start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut superuser = cluster.connect(&database).unwrap();
    superuser
        .run("CREATE ROLE mallory LOGIN; CREATE ROLE victim LOGIN; CREATE ROLE silent NOLOGIN");
    superuser.run(SHARED);
    for owner in ["mallory", "victim", "silent"] {
        superuser.run(&format!("CREATE SCHEMA {owner} AUTHORIZATION {owner}; SET ROLE {owner}"));
        superuser.run(&CODE.replace("OWNER", owner));
        superuser.run("RESET ROLE");
    }
    (cluster, database, superuser)
}

fn begin(cluster: &Cluster, superuser: &mut Client) {
    superuser.run("UPDATE public.watching SET is_on = true");
    cluster.add_conf("pg_steward.enabled = on").unwrap();
    cluster.reload().unwrap();
    make_due(superuser);
}

/// A daily set with past days, of which retention takes out all but the last, through a function.
fn retained(superuser: &mut Client, owner: &str, set: &str, arguments: &str, archive: &str) {
    superuser.run(&format!(
        "SET ROLE {owner};
         CREATE TABLE {owner}.{set} (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('{owner}.{set}', '1 day', premake => 1, time_zone => 'UTC',
                                     start_at => (now() - interval '4 days')::text {arguments});
         SELECT steward.set_retention('{owner}.{set}', '1 day',
                                      archive_function => '{owner}.{archive}(regclass)');
         RESET ROLE"
    ));
}

/// What one call of `look` has said.
#[derive(Debug)]
struct Look {
    place: String,
    who: String,
    session: String,
    is_superuser: String,
    authorization: String,
    pid: String,
    application: String,
    did: String,
}

/// What has been said so far, in that order.
fn looks(cluster: &Cluster) -> Vec<Look> {
    let log = std::fs::read(cluster.log_file()).unwrap();
    let log = String::from_utf8_lossy(&log);
    let said = log.lines().filter_map(|line| line.split_once("LOG:  look|"));
    said.map(|(_, text)| {
        let part: Vec<&str> = text.split('|').collect();
        Look {
            place: part[0].to_owned(),
            who: part[1].to_owned(),
            session: part[2].to_owned(),
            is_superuser: part[3].to_owned(),
            authorization: part[4].to_owned(),
            pid: part[5].to_owned(),
            application: part[6].to_owned(),
            did: part[7].to_owned(),
        }
    })
    .collect()
}

/// Every look was that of an owner and nothing that it tried was done; and these were among them, as
/// `(owner, place)`, in an application whose name begins so.
#[track_caller]
fn assert_all_by_owners(cluster: &Cluster, application: &str, expected: &[(&str, &str)]) {
    let looks = looks(cluster);
    for (owner, place) in expected {
        let was_seen = looks.iter().any(|look| {
            look.who == *owner && look.place == *place && look.application.starts_with(application)
        });
        assert!(was_seen, "{place} of {owner} was never called: the test shows nothing");
    }
    let is_owners = |look: &&Look| {
        ["mallory", "victim", "silent"].contains(&look.who.as_str())
            && look.session == look.who
            && look.authorization == look.who
            && look.is_superuser == "off"
            && look.did == "{}"
    };
    let wrong: Vec<&Look> = looks.iter().filter(|look| !is_owners(look)).collect();
    assert!(wrong.is_empty(), "{} of {}, the first: {:#?}", wrong.len(), looks.len(), wrong[0]);
}

#[test]
fn in_a_worker_the_owner_is_the_session_too() {
    let (cluster, _, mut superuser) = world("");
    // The trap is a trap: this is what mallory would see if the session were a superuser's.
    superuser.run("SET ROLE mallory");
    assert_eq!(superuser.value::<i64>("SELECT count(*) FROM public.notes"), 1);
    superuser.run("RESET ROLE");
    let owners = ["mallory", "silent"]; // silent: no LOGIN
    let mut lost = Vec::new();
    for owner in owners {
        // Evaluated when a partition is attached and its indexes are built …
        superuser.run(&format!(
            "SET ROLE {owner};
             CREATE TABLE {owner}.made (at timestamptz NOT NULL, CHECK ({owner}.innocent('attach')))
                 PARTITION BY RANGE (at);
             CREATE INDEX ON {owner}.made (({owner}.innocent('index')));
             SELECT steward.manage_range('{owner}.made', '1 day', premake => 1); RESET ROLE"
        ));
        lost.push(drop_newest(&mut superuser, &format!("{owner}.made")));
        // … and when one is detached CONCURRENTLY. Of this set nothing is to be made.
        retained(&mut superuser, owner, "left_", "", "archive");
        superuser.run(&format!(
            "SET ROLE {owner};
             ALTER TABLE {owner}.left_ ADD CHECK ({owner}.innocent('detach')); RESET ROLE"
        ));
    }
    begin(&cluster, &mut superuser);
    wait_until(SOON, "a period of each is made, and the old ones are gone", || {
        lost.iter().all(|partition| exists(&mut superuser, partition))
            && owners.iter().all(|owner| {
                superuser.value::<bool>(&format!(
                    "SELECT NOT running AND last_status = 'succeeded' FROM steward.jobs
                      WHERE target = '{owner}.left_'::regclass"
                ))
            })
    });
    let places = ["attach", "index", "detach", "archive"];
    let expected: Vec<_> =
        owners.iter().flat_map(|owner| places.map(|place| (*owner, place))).collect();
    assert_all_by_owners(&cluster, "pg_steward", &expected);
    let got: Vec<String> = superuser.column("SELECT note FROM public.got");
    assert!(got.is_empty(), "mallory has read {got:?}");
}

/// What a session is.
const STATE: &str =
    "SELECT format('%s as %s, superuser %s, role %s, authorization %s, path %s', session_user,
    current_user, current_setting('is_superuser'), current_setting('role'),
    current_setting('session_authorization'), current_setting('search_path'))";

#[test]
fn a_superusers_session_is_what_it_was_after_its_calls() {
    let (cluster, database, mut superuser) = world("");
    // With a default partition all is done in the caller's own session.
    let here = ", default_partition => true";
    retained(&mut superuser, "mallory", "near", here, "archive");
    retained(&mut superuser, "silent", "near", here, "archive");
    retained(&mut superuser, "mallory", "far", "", "archive");
    retained(&mut superuser, "mallory", "raising", here, "raises");
    retained(&mut superuser, "mallory", "hanging", here, "hangs");
    superuser.run(
        "SET ROLE victim; CREATE TABLE victim.near (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('victim.near', '1 day'); RESET ROLE",
    );
    superuser.run("UPDATE public.watching SET is_on = true");
    let before: String = superuser.value(STATE);
    assert!(before.starts_with("postgres as postgres, superuser on"), "{before}");

    for set in ["mallory.near", "silent.near", "mallory.far"] {
        superuser.run(&format!("CALL steward.maintain('{set}')"));
        assert_eq!(superuser.value::<String>(STATE), before, "after {set}");
    }
    // An error in between, and then somebody else's set.
    superuser.refused("P0001", "CALL steward.maintain('mallory.raising')");
    assert_eq!(superuser.value::<String>(STATE), before, "after an error");

    // One that is cancelled in the owner's function.
    let mut caller = cluster.session(&database).unwrap();
    caller.start("CALL steward.maintain('mallory.hanging')");
    wait_until(SOON, "the function hangs", || {
        superuser.value(&format!(
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = {} AND wait_event = 'PgSleep'",
            caller.pid()
        ))
    });
    superuser.run(&format!("SELECT pg_cancel_backend({})", caller.pid()));
    assert_eq!(sqlstate(&caller.finish(SOON).unwrap_err()), "57014");
    caller.run(&format!("DO $do$ BEGIN ASSERT ({STATE}) = '{before}', 'after a cancel'; END $do$"));

    // Inside of a SET ROLE of the superuser's own, where nothing is changed: the setting could not be put back
    // as it was on every minor release.
    superuser.run("SET ROLE victim");
    let as_victim: String = superuser.value(STATE);
    assert!(as_victim.starts_with("postgres as victim, superuser off"), "{as_victim}");
    superuser.run("CALL steward.maintain('victim.near')");
    assert_eq!(superuser.value::<String>(STATE), as_victim, "after a call under SET ROLE");
    superuser.run("RESET ROLE");
    assert_eq!(superuser.value::<String>(STATE), before, "after RESET ROLE");
    // Who has logged in is still known, too.
    superuser.run("SET SESSION AUTHORIZATION victim");
    assert!(superuser.value::<String>(STATE).starts_with("victim as victim, superuser off"));
    superuser.run("RESET SESSION AUTHORIZATION");
    assert_eq!(superuser.value::<String>(STATE), before, "after RESET SESSION AUTHORIZATION");
    superuser.run("CREATE ROLE made_by_a_superuser SUPERUSER; DROP ROLE made_by_a_superuser");

    assert_all_by_owners(
        &cluster,
        "pg_test",
        &[
            ("mallory", "archive"),
            ("silent", "archive"),
            ("mallory", "raises"),
            ("mallory", "hangs"),
        ],
    );
    // That of mallory.far, for which a worker was sent.
    assert_all_by_owners(&cluster, "pg_steward", &[("mallory", "archive")]);
    let got: Vec<String> = superuser.column("SELECT note FROM public.got");
    assert!(got.is_empty(), "owners have read {got:?}");
}

/// Executors work on three sets of mallory's, of which one hangs until it is cancelled and one raises, and on
/// four of victim's; all of mallory's functions set the seed.
fn both_at_work() -> (Cluster, Client) {
    let (cluster, _, mut superuser) = world("pg_steward.max_concurrent_jobs = 1");
    for (set, archive) in [("hanging", "hangs"), ("raising", "raises"), ("seeding", "seeds")] {
        retained(&mut superuser, "mallory", set, "", archive);
    }
    // Whoever's turn it is: one of victim's comes after one of mallory's.
    for set in ["one", "two", "three", "four"] {
        retained(&mut superuser, "victim", set, "", "archive");
    }
    superuser.run(
        "UPDATE steward.job SET priority = CASE WHEN target = 'mallory.hanging'::regclass THEN 100
             WHEN target = 'mallory.raising'::regclass THEN 50
             WHEN target = 'mallory.seeding'::regclass THEN 20 ELSE 1 END",
    );
    begin(&cluster, &mut superuser);
    wait_until(SOON, "her function hangs", || {
        superuser.value(
            "SELECT count(*) = 1 FROM pg_stat_activity
              WHERE backend_type = 'pg_steward executor' AND wait_event = 'PgSleep'",
        )
    });
    superuser.run("UPDATE public.watching SET brake = false");
    superuser.run(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
          WHERE backend_type = 'pg_steward executor' AND wait_event = 'PgSleep'",
    );
    wait_until(SOON, "every set has had its turn", || {
        superuser.value(
            "SELECT bool_and(last_status = 'succeeded' OR target = 'mallory.raising'::regclass)
                AND count(last_status) = 7
                -- A run that finds no place for an archive comes back for it.
                AND NOT EXISTS (SELECT FROM steward.partitions
                                 WHERE state IN ('detached', 'expired')
                                   AND parent <> 'mallory.raising'::regclass) FROM steward.jobs",
        )
    });
    (cluster, superuser)
}

#[test]
fn what_one_owners_code_does_is_not_the_next_ones_to_meet() {
    let (cluster, mut superuser) = both_at_work();
    let how: Vec<String> = superuser.column(
        "SELECT DISTINCT target_name || ' ' || status FROM steward.job_runs
          WHERE status NOT IN ('succeeded', 'running') ORDER BY 1",
    );
    assert_eq!(how, ["mallory.hanging cancelled", "mallory.raising failed"]);
    let all =
        [("mallory", "hangs"), ("mallory", "raises"), ("mallory", "seeds"), ("victim", "archive")];
    assert_all_by_owners(&cluster, "pg_steward", &all);
}

/// The first numbers that `random()` gives after `setseed(0.5)`.
fn foretold(cluster: &Cluster) -> Vec<f64> {
    let mut plain = cluster.connect("postgres").unwrap();
    plain.run("SELECT setseed(0.5)");
    (0..5).map(|_| plain.value("SELECT random()")).collect()
}

/// Not a seed, not a connection of dblink's, not an advisory lock: no process is two owners'.
#[test]
fn a_worker_is_one_owners() {
    let (cluster, _superuser) = both_at_work();
    let (mut of_mallory, mut of_victim) = (BTreeSet::new(), BTreeSet::new());
    for look in looks(&cluster) {
        match look.who.as_str() {
            "mallory" => of_mallory.insert(look.pid),
            _ => of_victim.insert(look.pid),
        };
    }
    assert!(!of_mallory.is_empty() && !of_victim.is_empty());
    assert!(of_mallory.is_disjoint(&of_victim), "{of_mallory:?} {of_victim:?}");
}

#[test]
fn nor_is_it_that_of_the_caller() {
    let (cluster, _, mut superuser) = world("");
    retained(&mut superuser, "mallory", "near", ", default_partition => true", "seeds");
    superuser.run("UPDATE public.watching SET is_on = true");
    superuser.run("CALL steward.maintain('mallory.near')");
    let drawn: f64 = superuser.value("SELECT random()");
    let looks = looks(&cluster);
    assert!(looks.iter().any(|look| look.place == "seeds" && look.application == "pg_test"));
    assert!(!foretold(&cluster).contains(&drawn), "mallory knew {drawn}");
}

#[test]
fn a_session_is_put_back_after_an_error_in_a_check_too() {
    let (cluster, database, mut superuser) = world("");
    superuser.run(
        "SET ROLE mallory;
         CREATE FUNCTION mallory.fails(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF (SELECT w.is_on FROM public.watching w) THEN
                 PERFORM mallory.look('fails');
                 RAISE EXCEPTION 'no';
             END IF;
             RETURN true;
         END $$;
         CREATE TABLE mallory.odd (at timestamptz NOT NULL, CHECK (mallory.fails(1))) PARTITION BY RANGE (at);
         SELECT steward.manage_range('mallory.odd', '1 day'); RESET ROLE",
    );
    let lost = drop_newest(&mut superuser, "mallory.odd");
    superuser.run("UPDATE public.watching SET is_on = true");
    let mut caller = cluster.connect(&database).unwrap();
    let before: String = caller.value(STATE);
    let refusal = caller.refused("P0001", "CALL steward.maintain()");
    assert!(refusal.message().contains("no"), "{refusal}");
    assert_eq!(caller.value::<String>(STATE), before);
    // What is refused in a call that is no procedure takes its transaction with it, and no more.
    caller.refused("P0001", "SELECT steward.alter_range('mallory.odd', premake => 6)");
    assert_eq!(caller.value::<String>(STATE), before);
    assert!(!exists(&mut superuser, &lost));
    assert_all_by_owners(&cluster, "pg_test", &[("mallory", "fails")]);
}
