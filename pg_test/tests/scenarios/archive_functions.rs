//! The archive functions that docs/retention.md shows, as they stand there, on what they are for.

use std::fs;

use pg_test::cluster::Ask;
use pg_test::fixtures;
use pg_test::setup::paths;
use postgres::Client;

use crate::range_support::{Database, cluster};

/// The SQL under a heading of docs/retention.md.
fn shown_under(heading: &str) -> String {
    let text = fs::read_to_string(paths::repository().join("docs/retention.md")).unwrap();
    let section = text.split_once(&format!("\n{heading}\n")).unwrap().1;
    let block = section.split_once("```sql").unwrap().1;
    // What follows the word on the fence's line is for the test of the docs.
    let body = block.split_once('\n').unwrap().1;
    body.split_once("```").unwrap().0.to_owned()
}

/// A set as the document's, whose owner is no superuser and may not log in. Gives the owner.
fn audit(db: &mut Database) -> String {
    let owner = db.own("auditor");
    db.client.run(&format!(
        "CREATE ROLE {owner} NOLOGIN; GRANT CREATE ON SCHEMA public TO {owner};
         CREATE SCHEMA archive AUTHORIZATION {owner};
         SET ROLE {owner};
         CREATE TABLE audit (at timestamptz NOT NULL, who text, what text) PARTITION BY RANGE (at);
         SELECT steward.manage_range('audit', '1 month', premake => 1,
             start_at => (date_trunc('month', now()) - interval '15 months')::text);
         INSERT INTO audit SELECT date_trunc('month', now()) - m * interval '1 month' + interval '1 day',
                                  E'tab\\there', format(E'line %s\\nand another', n)
           FROM generate_series(1, 15) m, generate_series(1, 40) n;
         CREATE TABLE archive.audit (LIKE public.audit);
         RESET ROLE"
    ));
    owner
}

/// What the set holds of what it held, and how many tables are left over.
#[track_caller]
fn assert_left(db: &mut Database, months: i64) {
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM audit"), 40 * months);
    let detached: i64 =
        db.client.value("SELECT count(*) FROM steward.partitions WHERE state = 'detached'");
    assert_eq!(detached, 0);
}

fn rows(client: &mut Client, table: &str) -> i64 {
    client.value(&format!("SELECT count(*) FROM {table}"))
}

#[test]
fn into_another_schemas_table() {
    let mut db = Database::new();
    let owner = audit(&mut db);
    let sql = shown_under("### Into another schema's table");
    let sql = sql.replace("CREATE SCHEMA archive;", "");
    let sql = sql.replace("CREATE TABLE archive.audit (LIKE public.audit);", "");
    db.client.run(&format!("SET ROLE {owner}; {sql}; RESET ROLE"));
    db.maintain("audit");
    assert_eq!(rows(&mut db.client, "archive.audit"), 40 * 3);
    assert_left(&mut db, 12);
}

#[test]
fn into_a_compressed_file() {
    let mut db = Database::new();
    let owner = audit(&mut db);
    let folder = tempfile::tempdir_in(cluster().data_dir()).unwrap();
    let sql = shown_under("### Into a compressed file")
        .replace("/var/tmp/", &format!("{}/", folder.path().display()));
    std::process::Command::new("chown").arg("postgres").arg(folder.path()).status().unwrap();
    db.client.run(&format!("SET ROLE {owner}; {sql}; RESET ROLE"));

    // Without the right nothing is dropped.
    let error = db.client.refused("42501", "CALL steward.maintain('audit')");
    assert!(error.message().contains("COPY"), "{}", error.message());
    let waiting = "SELECT count(*) FROM steward.partitions
                    WHERE state = 'detached' AND archive_failures = 1 AND last_error IS NOT NULL";
    assert_eq!(db.client.value::<i64>(waiting), 3);

    db.client.run(&format!("GRANT pg_execute_server_program TO {owner}"));
    db.maintain("audit");
    assert_left(&mut db, 12);
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 3);
    for file in files {
        assert!(file.file_name().to_string_lossy().ends_with(".gz"), "{file:?}");
        // What is in it can be read back.
        db.client.run(&format!(
            "COPY archive.audit FROM PROGRAM 'gzip --decompress --stdout {}'",
            file.path().display()
        ));
    }
    assert_eq!(rows(&mut db.client, "archive.audit"), 40 * 3);
}

mod needs_contrib {
    use super::*;

    #[test]
    fn into_another_server() {
        let vault = fixtures::cluster().preload(false).start().unwrap();
        let mut far = vault.connect("postgres").unwrap();
        far.run(
            "CREATE ROLE archivist LOGIN PASSWORD 'secret';
             CREATE TABLE public.audit (at timestamptz NOT NULL, who text, what text);
             GRANT SELECT, INSERT, DELETE ON public.audit TO archivist;
             -- Left by a call after which the other server was gone.
             INSERT INTO public.audit SELECT date_trunc('month', now()) - interval '15 months'
                                             + interval '1 day', 'half', 'done'",
        );
        let mut db = Database::new();
        let owner = audit(&mut db);
        let place = format!(
            "host '{}', port '{}', dbname 'postgres'",
            vault.socket_dir().display(),
            far.value::<String>("SELECT current_setting('port')")
        );
        let sql = shown_under("### Into another server")
            .replace("host 'vault.example', port '5432', dbname 'vault'", &place)
            .replace("CREATE EXTENSION postgres_fdw;", "")
            // The test's servers ask nobody for a password, which only a superuser may waive.
            .replace(
                "OPTIONS (user 'archivist')",
                "OPTIONS (user 'archivist', password_required 'false')",
            );
        let (server, rest) = sql.split_once("CREATE FOREIGN TABLE").unwrap();
        let server = server.replace("CURRENT_USER", &owner);
        db.client.run(&format!(
            "CREATE EXTENSION postgres_fdw; {server};
             GRANT USAGE ON FOREIGN SERVER vault TO {owner};
             SET ROLE {owner}; CREATE FOREIGN TABLE {rest}; RESET ROLE"
        ));
        vault.stop(pg_test::cluster::StopMode::Fast).unwrap();
        db.client.refused("08001", "CALL steward.maintain('audit')");
        assert_eq!(
            db.client
                .value::<i64>("SELECT count(*) FROM steward.partitions WHERE state = 'detached'"),
            3
        );
        vault.start().unwrap();
        db.maintain("audit");
        assert_left(&mut db, 12);
        let mut far = vault.connect("postgres").unwrap();
        assert_eq!(rows(&mut far, "public.audit"), 40 * 3);
    }
}
