//! Sets with names that are not ASCII that come from elsewhere: from a dump, from pg_partman.

use pg_test::cluster::Ask;
use postgres::Client;

use crate::dumps_support::{Dump, Target, server};
use crate::encodings_support::{Database, EUC_JP, LATIN1, SQL_ASCII, UTF8};

/// What a set's policy, its detached partitions and its job say.
fn managed(client: &mut Client) -> String {
    client.value(
        "SELECT concat_ws(' | ', s.parent, s.name_format, s.template, s.to_schema, s.subpartition_by,
                          (SELECT count(*) FROM steward.partitions p WHERE p.state = 'detached'), j.priority)
           FROM steward.partition_sets s JOIN steward.jobs j ON j.target = s.parent",
    )
}

/// Each encoding into itself, and where all letters are in UTF8, into that.
#[test]
fn a_dump_brings_sets_by_their_names() {
    let cluster = server();
    cluster.connect("postgres").unwrap().run("ALTER SYSTEM SET pg_steward.enabled = off");
    cluster.connect("postgres").unwrap().run("SELECT pg_reload_conf()");
    for (encoding, into) in
        [(UTF8, UTF8), (LATIN1, LATIN1), (LATIN1, UTF8), (EUC_JP, UTF8), (SQL_ASCII, SQL_ASCII)]
    {
        let word = encoding.word;
        let name = cluster.create_database_encoded(encoding.name).unwrap();
        let mut client = cluster.connect(&name).unwrap();
        client.run("CREATE EXTENSION pg_steward; SET client_min_messages = error");
        client.run(&format!(
            r#"CREATE SCHEMA "{word}"; CREATE SCHEMA "alt {word}";
               CREATE TABLE "{word}"."{word}" (k timestamptz NOT NULL, "{word}" int) PARTITION BY RANGE (k);
               CREATE TABLE "{word}"."Vorlage" (LIKE "{word}"."{word}");
               SELECT steward.manage_range('"{word}"."{word}"', '1 day', start_at => (now() - interval '5 days')::text,
                   name_format => '{{parent}} {word} %Y%m%d', template => '"{word}"."Vorlage"',
                   subpartition_by => '{word}', subpartitions => 2);
               SELECT steward.set_retention('"{word}"."{word}"', '2 days', action => 'detach', to_schema => 'alt {word}');
               SELECT steward.alter_job(job_id, priority => 7) FROM steward.jobs"#
        ));
        client.run("CALL steward.maintain()");
        let before = managed(&mut client);
        assert!(
            before.contains(&format!("{{parent}} {word} %Y%m%d")) && before.ends_with(" | 7"),
            "{before}"
        );
        let dump = Dump::of(&cluster, &name).options(&["-Fc"]).take();
        let target = Target::encoded(&cluster, into.name);
        target.restore(&dump, &["--exit-on-error"]);
        let mut client = target.connect();
        assert_eq!(managed(&mut client), before, "{} into {}", encoding.name, into.name);
        client.run("CALL steward.maintain()");
    }
}

/// A set of pg_partman's, as far as that can have such names.
#[test]
fn sets_of_pg_partman_are_imported() {
    for encoding in [UTF8, LATIN1, EUC_JP, SQL_ASCII] {
        let mut db = Database::new(encoding);
        let word = encoding.word;
        db.client.run("CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman");
        let arguments = match crate::import_support::is_version_5(&mut db.client) {
            true => "'1 day'",
            false => "'native', 'daily'",
        };
        db.client.run(&format!(
            r#"CREATE TABLE "{word}" ("k" timestamptz NOT NULL) PARTITION BY RANGE (k);
               SELECT partman.create_parent('public.{word}', 'k', {arguments})"#
        ));
        let imported: String = db.client.value(
            "SELECT concat_ws(' ', parent_table, status, reason) FROM steward.import_pg_partman()",
        );
        assert!(imported.starts_with(&format!("public.{word}")), "{}: {imported}", encoding.name);
        let sets: Vec<String> = db
            .client
            .column("SELECT parent::text || ' ' || name_format FROM steward.partition_sets");
        assert_eq!(sets.len(), 1, "{}: {imported}", encoding.name);
        assert!(sets[0].starts_with(&format!("\"{word}\" ")), "{sets:?}");
        db.client.run("CALL steward.maintain()");
    }
}
