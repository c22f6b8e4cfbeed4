//! What the scenarios on `import_pg_partman()` share: databases with the real pg_partman, 4.7 or 5.x,
//! whichever the server under test has.

use pg_test::cluster::Ask;
use postgres::Client;

use crate::range_support::Database;

/// A database with pg_partman, too.
pub(crate) fn database_with_partman() -> Database {
    let mut db = Database::new();
    db.client.run("CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman");
    db
}

pub(crate) fn is_version_5(client: &mut Client) -> bool {
    client.value("SELECT extversion ~ '^5[.]' FROM pg_extension WHERE extname = 'pg_partman'")
}

/// How a kind of set is made: the key, and the interval as each version wants it.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) key: &'static str,
    pub(crate) version_4: &'static str,
    pub(crate) version_5: &'static str,
    /// Further arguments of both.
    pub(crate) and: &'static str,
    /// Further arguments of version 5.
    pub(crate) and_version_5: &'static str,
}

pub(crate) const DAILY: Kind =
    Kind { key: "timestamptz", version_4: "daily", version_5: "1 day", and: "", and_version_5: "" };

impl Database {
    /// A set that pg_partman has just been given.
    pub(crate) fn partman_set(&mut self, name: &str, kind: Kind) {
        let Kind { key, version_4, version_5, and, and_version_5 } = kind;
        let rest = if is_version_5(&mut self.client) {
            format!("'{version_5}'{and}{and_version_5}")
        } else {
            format!("'native', '{version_4}'{and}")
        };
        self.client.run(&format!(
            "CREATE TABLE {name} (k {key} NOT NULL, n integer) PARTITION BY RANGE (k);
             SELECT partman.create_parent('public.{name}', 'k', {rest})"
        ));
    }

    /// What the import says of a set, of some columns.
    pub(crate) fn import(&mut self, name: &str, columns: &str) -> String {
        self.client.value(&format!(
            "SELECT concat_ws('; ', {columns}) FROM steward.import_pg_partman()
              WHERE parent_table = 'public.{name}'"
        ))
    }

    /// `name bound` of each partition, lowest first, the default one aside, with the set's name left out.
    pub(crate) fn in_order(&mut self, name: &str) -> Vec<String> {
        self.client.column(&format!(
            "SELECT format('%s %s', substr(c.relname, length('{name}') + 1), pg_get_expr(c.relpartbound, c.oid))
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
                    substring(pg_get_expr(c.relpartbound, c.oid) FROM '[(](.*?)[)]') lower
              WHERE i.inhparent = '{name}'::regclass AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
              ORDER BY length(lower), lower"
        ))
    }

    /// Whether each partition begins where the one before it ends.
    pub(crate) fn assert_no_gap(&mut self, name: &str) {
        let partitions = self.in_order(name);
        let edge = |text: &str, side: &str| {
            let from = text.find(side).unwrap() + side.len();
            text[from..].split(')').next().unwrap().to_owned()
        };
        for pair in partitions.windows(2) {
            assert_eq!(edge(&pair[0], " TO ("), edge(&pair[1], " FROM ("), "{partitions:#?}");
        }
    }
}
