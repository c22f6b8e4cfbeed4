//! Databases whose encoding is not UTF8, and names that are not ASCII.

use std::sync::OnceLock;

use pg_test::cluster::{Ask, Cluster};
use pg_test::fixtures;
use postgres::Client;

/// An encoding, and a word that has letters of it which take other bytes in UTF-8; in SQL_ASCII, whatever
/// the client sends.
#[derive(Clone, Copy)]
pub(crate) struct Encoding {
    pub(crate) name: &'static str,
    pub(crate) word: &'static str,
    /// A letter for long names, and how many bytes it has.
    pub(crate) letter: (&'static str, usize),
}

pub(crate) const UTF8: Encoding = Encoding { name: "UTF8", word: "größe表", letter: ("ö", 2) };
pub(crate) const LATIN1: Encoding = Encoding { name: "LATIN1", word: "größe", letter: ("ö", 1) };
pub(crate) const EUC_JP: Encoding = Encoding { name: "EUC_JP", word: "表名", letter: ("表", 2) };
pub(crate) const SQL_ASCII: Encoding =
    Encoding { name: "SQL_ASCII", word: "größe表", letter: ("ö", 2) };

/// A cluster where nothing runs unattended; one of its own, for its roles have names that nobody reads in
/// another encoding.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let conf = "pg_steward.enabled = off\nallow_in_place_tablespaces = on";
        fixtures::cluster().conf(conf).start().unwrap()
    })
}

/// A database of an encoding, with the extension, and a superuser's connection whose client is UTF-8.
pub(crate) struct Database {
    pub(crate) cluster: &'static Cluster,
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) encoding: Encoding,
}

impl Database {
    pub(crate) fn new(encoding: Encoding) -> Self {
        let cluster = cluster();
        let name = cluster.create_database_encoded(encoding.name).unwrap();
        let mut client = cluster.connect(&name).unwrap();
        client.run("CREATE EXTENSION pg_steward");
        client.run("SET client_min_messages = error; SET TimeZone = 'UTC'");
        Self { cluster, name, client, encoding }
    }

    /// What psql shows of statements, each by itself, with a client that is UTF-8; NOTICEs, too.
    pub(crate) fn psql(&self, statements: &[&str]) -> String {
        let mut psql = self.cluster.psql(&self.name).env("PGCLIENTENCODING", "UTF8");
        for statement in statements {
            psql = psql.args(&["--command", statement]);
        }
        psql.args(&["--set=VERBOSITY=verbose", "--no-align", "--tuples-only"])
            .command("SELECT")
            .unwrap()
            .text
    }

    /// The owner, schema, set and column of the sets below: each has the word for a name.
    pub(crate) fn owner(&self) -> String {
        format!("{}_of_{}", self.encoding.word, self.name)
    }

    /// A daily set whose parts all have the word in their names, of an owner who has it, too; with a template,
    /// an index, a default partition that holds two rows, and an archive function.
    pub(crate) fn make_set(&mut self) {
        let (word, owner) = (self.encoding.word, self.owner());
        self.client.run(&format!(
            r#"CREATE ROLE "{owner}"; CREATE SCHEMA "{word}" AUTHORIZATION "{owner}";
               SET ROLE "{owner}";
               CREATE TABLE "{word}"."{word}" ("{word}" timestamptz NOT NULL, "Text {word}" text DEFAULT '{word}',
                   CONSTRAINT "{word} ist da" CHECK ("Text {word}" <> '')) PARTITION BY RANGE ("{word}");
               CREATE INDEX "{word} i" ON "{word}"."{word}" ("Text {word}") WHERE "Text {word}" = '{word}';
               CREATE TABLE "{word}"."Vorlage {word}" (LIKE "{word}"."{word}");
               CREATE INDEX "v {word}" ON "{word}"."Vorlage {word}" ("Text {word}");
               SELECT steward.manage_range('"{word}"."{word}"', '1 day', premake => 2,
                   name_format => '{{parent}} {word} %Y%m%d', template => '"{word}"."Vorlage {word}"',
                   default_partition => true, start_at => (now() - interval '4 days')::text);
               INSERT INTO "{word}"."{word}" SELECT now() + make_interval(days => 10 * n) FROM generate_series(1, 2) n;
               CREATE FUNCTION "{word}"."Archiv {word}"(gone regclass) RETURNS boolean LANGUAGE plpgsql AS
                   $$ BEGIN RAISE EXCEPTION 'kein Archiv {word} für %', gone USING HINT = 'erst {word}', DETAIL = 'ohne {word}'; END $$;
               RESET ROLE"#,
            ).replace(" für ", if self.encoding.name == "EUC_JP" { " " } else { " für " }),
        );
    }

    /// The set, as SQL names it in a string.
    pub(crate) fn set(&self) -> String {
        format!(r#"'"{0}"."{0}"'"#, self.encoding.word)
    }
}
