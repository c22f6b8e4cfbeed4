//! Workers in databases of several encodings, and of names that are not ASCII themselves.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::encodings_support::{EUC_JP, Encoding, LATIN1, SQL_ASCII, UTF8};
use crate::unattended_support::{SOON, exists, make_due, unattended_runs};

fn is_worked_on(encoding: Encoding) {
    let cluster = fixtures::shared_cluster();
    let made = cluster.create_database_encoded(encoding.name).unwrap();
    let word = encoding.word;
    let name = format!("{word} {made}");
    cluster
        .connect("postgres")
        .unwrap()
        .run(&format!("ALTER DATABASE {made} RENAME TO \"{name}\""));
    let mut client = cluster.connect(&name).unwrap();
    client.run("CREATE EXTENSION pg_steward");
    client.run(&format!(
        r#"CREATE TABLE "{word}" ("{word}" timestamptz NOT NULL) PARTITION BY RANGE ("{word}");
           SELECT steward.manage_range('"{word}"', '1 day', name_format => '{{parent}} {word} %Y%m%d')"#
    ));
    wait_until(SOON, "the first unattended run", || unattended_runs(&mut client, "succeeded") == 1);

    let newest: String = client
        .value("SELECT partition::text FROM steward.partitions ORDER BY lower_bound DESC LIMIT 1");
    client.run(&format!("DROP TABLE {newest}"));
    make_due(&mut client);
    wait_until(SOON, "it is there again", || exists(&mut client, &newest));

    // What fails is written down as the server has said it.
    client.run(&format!(
        r#"CREATE FUNCTION nein() RETURNS event_trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'nie {word}: %', current_query() USING ERRCODE = 'SW001'; END $$;
           CREATE EVENT TRIGGER nein ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION nein();
           DROP TABLE {newest}"#
    ));
    make_due(&mut client);
    wait_until(SOON, "a run has failed", || unattended_runs(&mut client, "failed") > 0);
    let said: String = client.value(
        "SELECT concat_ws(' ', sqlstate, error_message) FROM steward.job_runs WHERE status = 'failed'
          ORDER BY run_id LIMIT 1",
    );
    let begins = format!("SW001 nie {word}: CREATE TABLE public.{newest} (LIKE public.\"{word}\" ");
    assert!(said.starts_with(&begins), "{said}");
    client.run("DROP EVENT TRIGGER nein");
    make_due(&mut client);
    wait_until(SOON, "it is there once more", || exists(&mut client, &newest));
    drop(client);
    cluster.connect("postgres").unwrap().run(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
}

#[test]
fn workers_work_in_utf8() {
    is_worked_on(UTF8);
}

#[test]
fn workers_work_in_latin1() {
    is_worked_on(LATIN1);
}

#[test]
fn workers_work_in_euc_jp() {
    is_worked_on(EUC_JP);
}

#[test]
fn workers_work_in_sql_ascii() {
    is_worked_on(SQL_ASCII);
}
