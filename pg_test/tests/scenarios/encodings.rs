//! Names that are not ASCII, in databases of several encodings: what is read, made, said and written down has
//! the letters that the server itself has.

use pg_test::cluster::Ask;

use crate::encodings_support::{Database, EUC_JP, Encoding, LATIN1, SQL_ASCII, UTF8};

/// The views that read sets.
const VIEWS: [&str; 7] =
    ["partition_sets", "partitions", "jobs", "job_runs", "alerts", "alert_history", "status"];

/// The set is made, seen, planned, maintained, drained, its old periods are kept back by an archive function
/// that fails, and it is let go.
fn lives(encoding: Encoding) {
    let mut db = Database::new(encoding);
    db.make_set();
    let (word, set, owner) = (encoding.word, db.set(), db.owner());
    let client = &mut db.client;

    // Everything has the name that the server would have made of it.
    let today: i64 = client.value(&format!(
        r#"SELECT count(*) FROM pg_class c WHERE c.relowner = '"{owner}"'::regrole AND c.relkind = 'r'
              AND c.relname = format('{word} {word} %s', to_char(now(), 'YYYYMMDD'))"#
    ));
    assert_eq!(today, 1);
    let shown: Vec<String> = client.column(&format!(
        "SELECT parent::text || ' ' || strategy || coalesce(problem, '') FROM steward.partition_sets
          WHERE parent = {set}::regclass"
    ));
    assert_eq!(shown, [format!("\"{word}\".\"{word}\" range")]);
    let known: Vec<bool> = client.column("SELECT partition IS NOT NULL FROM steward.partitions");
    assert!(known.len() > 6 && known.iter().all(|known| *known));
    for view in VIEWS {
        client.run(&format!("SELECT v::text FROM steward.{view} v"));
    }
    // What is planned is what is done, letter by letter.
    let newest: String = client.value(
        "SELECT partition::text FROM steward.partitions WHERE state = 'future' ORDER BY lower_bound DESC LIMIT 1",
    );
    client.run(&format!("DROP TABLE {newest}"));
    let planned: Vec<String> = client
        .column(&format!("SELECT partition FROM steward.plan({set}) WHERE action = 'create'"));
    assert_eq!(planned, [newest.as_str()]);
    let sql: String = client.value(&format!("SELECT sql FROM steward.plan({set}) LIMIT 1"));
    assert!(sql.contains(&format!("CREATE TABLE {newest} (LIKE \"{word}\".\"{word}\"")), "{sql}");
    assert!(sql.contains("INCLUDING ALL"), "{sql}");
    client.run(&format!("CALL steward.maintain({set})"));
    assert!(client.value::<bool>(&format!("SELECT to_regclass('{newest}') IS NOT NULL")));
    // The template's index, and the parent's.
    let indexes: i64 = client
        .value(&format!("SELECT count(*) FROM pg_index WHERE indrelid = '{newest}'::regclass"));
    assert_eq!(indexes, 2);

    // The policy comes back as it was given.
    client.run(&format!("SELECT steward.alter_range({set}, premake => 3)"));
    let format: String = client.value("SELECT name_format FROM steward.partition_sets");
    assert_eq!(format, format!("{{parent}} {word} %Y%m%d"));

    client.run(&format!("CALL steward.drain_default({set})"));
    let filled: i64 = client.value(&format!(
        "SELECT count(DISTINCT tableoid) FROM \"{word}\".\"{word}\" WHERE tableoid <> (SELECT partdefid
           FROM pg_partitioned_table WHERE partrelid = {set}::regclass)"
    ));
    assert_eq!(filled, 2);

    // What an owner's function raises is told, written down and alerted as it was raised.
    client.run(&format!(
        "SELECT steward.set_retention({set}, '2 days', archive_function => '\"{word}\".\"Archiv {word}\"(regclass)')"
    ));
    let refusal = client.refused("P0001", &format!("CALL steward.maintain({set})"));
    assert!(refusal.message().contains(&format!("kein Archiv {word} ")), "{refusal}");
    assert!(refusal.message().contains(&format!("\"{word}\".\"{word} {word} ")), "{refusal}");
    assert_eq!(refusal.hint(), Some(format!("erst {word}").as_str()));
    assert_eq!(refusal.detail(), Some(format!("ohne {word}").as_str()));
    for recorded in [
        "SELECT error_message FROM steward.job_runs WHERE status = 'failed'",
        "SELECT detail::text FROM steward.job_runs WHERE status = 'failed'",
        "SELECT message FROM steward.alerts ORDER BY alert_id LIMIT 1",
    ] {
        let text: String = client.value(recorded);
        assert!(text.contains(&format!("kein Archiv {word} ")), "{recorded}: {text}");
    }
    let object: String =
        client.value("SELECT object FROM steward.alerts ORDER BY alert_id LIMIT 1");
    assert!(object.starts_with(&format!("\"{word}\".\"{word} {word} ")), "{object}");
    client.run(&format!("SELECT steward.clear_retention({set})"));

    let refusal = client.refused("42710", &format!("SELECT steward.manage_range({set}, '1 day')"));
    assert!(
        refusal.message().starts_with(&format!("\"{word}\".\"{word}\" is already")),
        "{refusal}"
    );
    assert!(refusal.hint().unwrap().contains(&format!("'\"{word}\".\"{word}\"'")), "{refusal}");
    client.run(&format!("SELECT steward.unmanage({set})"));
    let refusal = client.refused("42704", &format!("SELECT steward.unmanage({set})"));
    assert!(refusal.message().contains(&format!("\"{word}\".\"{word}\"")), "{refusal}");
    client.run(&format!("DROP SCHEMA \"{word}\" CASCADE"));
}

#[test]
fn a_set_lives_in_utf8() {
    lives(UTF8);
}

#[test]
fn a_set_lives_in_latin1() {
    lives(LATIN1);
}

#[test]
fn a_set_lives_in_euc_jp() {
    lives(EUC_JP);
}

#[test]
fn a_set_lives_in_sql_ascii() {
    lives(SQL_ASCII);
}

/// What psql shows of NOTICEs, WARNINGs and errors, those of the server's among them that nobody of ours
/// catches.
#[test]
fn what_is_said_arrives_in_the_clients_encoding() {
    for encoding in [UTF8, LATIN1, EUC_JP, SQL_ASCII] {
        let mut db = Database::new(encoding);
        db.make_set();
        let (word, set) = (encoding.word, db.set());
        let name = encoding.name;
        // Workers that speak for a session have this one, too.
        db.client.run(&format!("ALTER DATABASE {} SET client_encoding = 'UTF8'", db.name));
        let said = db.psql(&[&format!("CALL steward.drain_default({set})")]);
        assert!(
            said.contains(&format!("NOTICE:  00000: moved 1 row to \"{word}\".\"{word} {word} ")),
            "{name}: {said}"
        );
        // Without a default partition it is a worker that detaches and archives, for the session that waits.
        let default: String = db
            .client
            .value("SELECT partition::text FROM steward.partitions WHERE state = 'default'");
        db.client.run(&format!(
            "SELECT steward.alter_range({set}, default_partition => false); DROP TABLE {default}"
        ));
        // A WARNING of one of several.
        db.client.run(&format!(
            r#"CREATE TABLE "2 {word}" (k int) PARTITION BY HASH (k); SELECT steward.manage_hash('"2 {word}"', 2);
               SELECT steward.set_retention({set}, '2 days', archive_function => '"{word}"."Archiv {word}"(regclass)');
               CREATE FUNCTION nein() RETURNS event_trigger LANGUAGE plpgsql AS
                   $$ BEGIN RAISE EXCEPTION 'nie {word}' USING HINT = 'nur {word}', ERRCODE = 'SW001'; END $$"#
        ));
        let said = db.psql(&["CALL steward.maintain()"]);
        assert!(
            said.contains(&format!("WARNING:  P0001: pg_steward: \"{word}\".\"{word}")),
            "{name}: {said}"
        );
        assert!(said.contains(&format!("kein Archiv {word} ")), "{name}: {said}");
        assert!(said.contains(&format!("HINT:  erst {word}")), "{name}: {said}");
        // What we refuse, with what was given.
        for argument in ["partition_interval", "start_at", "time_zone", "origin"] {
            let rest = if argument == "partition_interval" {
                ""
            } else {
                ", partition_interval => '1 day'"
            };
            let said = db.psql(&[
                "CREATE TABLE IF NOT EXISTS refused (k date NOT NULL) PARTITION BY RANGE (k)",
                &format!("SELECT steward.manage_range('refused', {argument} => '{word}'{rest})"),
            ]);
            assert!(said.contains("22023") && said.contains(word), "{name}: {argument}: {said}");
        }
        // An error of the server's own within a call.
        db.client.run(
            "CREATE TABLE other (k int) PARTITION BY HASH (k);
             CREATE EVENT TRIGGER nein ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION nein()",
        );
        let said = db.psql(&["SELECT steward.manage_hash('other', 4)"]);
        assert!(said.contains(&format!("nie {word}")), "{name}: {said}");
        assert!(said.contains(&format!("HINT:  nur {word}")), "{name}: {said}");
    }
}

/// As the server itself would, but for one byte: at most 62 bytes of the server's encoding, and no half letter.
#[test]
fn long_names_are_cut_between_letters() {
    for encoding in [UTF8, LATIN1, EUC_JP, SQL_ASCII] {
        let mut db = Database::new(encoding);
        let (letter, bytes) = encoding.letter;
        let long = letter.repeat(63 / bytes);
        db.client.run(&format!(
            "CREATE TABLE \"{long}\" (k int) PARTITION BY HASH (k); SELECT steward.manage_hash('\"{long}\"', 2)"
        ));
        let names: Vec<String> = db.client.column(
            "SELECT c.relname::text FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid ORDER BY 1",
        );
        let cut = letter.repeat((62 - "_p0".len()) / bytes);
        assert_eq!(names, [format!("{cut}_p0"), format!("{cut}_p1")], "{}", encoding.name);
    }
}

/// In SQL_ASCII names need not be in any encoding that is one.
#[test]
fn bytes_that_are_no_letters_come_back_as_they_were() {
    let mut db = Database::new(SQL_ASCII);
    // No client that wants UTF-8 could be shown them.
    db.client.run(
        r#"CREATE FUNCTION word() RETURNS text LANGUAGE sql AS $$ SELECT 'gr' || chr(246) || chr(223) || 'e' || chr(255) $$;
           DO $$
           DECLARE refused text; hinted text;
           BEGIN
               EXECUTE format('CREATE SCHEMA %I', word());
               EXECUTE format('CREATE TABLE %1$I.%1$I (%1$I int) PARTITION BY RANGE (%1$I)', word());
               EXECUTE format('SELECT steward.manage_range(%L, ''10'', premake => 2, start_at => ''0'', name_format => %L)',
                              format('%1$I.%1$I', word()), '{parent}' || word() || '{lower}');
               BEGIN
                   EXECUTE format('SELECT steward.manage_range(%L, ''10'')', format('%1$I.%1$I', word()));
               EXCEPTION WHEN duplicate_object THEN
                   GET STACKED DIAGNOSTICS refused = MESSAGE_TEXT, hinted = PG_EXCEPTION_HINT;
                   CREATE TABLE said AS SELECT refused, hinted;
               END;
           END $$"#,
    );
    let made: Vec<bool> = db.client.column(
        "SELECT c.relname = ANY (ARRAY(SELECT word() || word() || n FROM unnest(ARRAY[0, 10, 20]) n))
           FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid",
    );
    assert_eq!(made, [true, true, true]);
    let said: Vec<bool> = db.client.column(
        "SELECT strpos(refused, format('%1$I.%1$I', word())) > 0 AND strpos(hinted, word()) > 0 FROM said",
    );
    assert_eq!(said, [true]);
    for view in VIEWS {
        // As bytes, and so as ASCII.
        db.client.run(&format!("SELECT md5(v::text) FROM steward.{view} v"));
    }
    let planned: i64 = db.client.value("SELECT count(*) FROM steward.plan(at => now())");
    assert_eq!(planned, 0);
    db.client.run("CALL steward.maintain()");
    let succeeded: Vec<String> = db.client.column("SELECT status FROM steward.job_runs");
    assert_eq!(succeeded, ["succeeded"]);
    db.client.run("SELECT steward.unmanage(parent) FROM steward.partition_sets");
}
