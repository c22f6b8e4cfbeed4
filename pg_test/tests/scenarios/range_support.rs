//! What the scenarios on range sets share: a cluster on which nothing runs unattended, so that only
//! what a test calls changes a set.

use std::sync::OnceLock;

use pg_test::cluster::{Ask, Cluster, Psql};
use pg_test::fixtures;
use postgres::Client;

/// A cluster for all of them; logical, for the publications.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let conf = "pg_steward.enabled = off\nwal_level = logical\nallow_in_place_tablespaces = on";
        match fixtures::cluster().conf(conf).start() {
            Ok(cluster) => cluster,
            Err(error) => panic!("the cluster for range sets does not start: {error:#}"),
        }
    })
}

/// A database of a test's own, with the extension, and a superuser's connection to it.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) client: Client,
}

impl Database {
    pub(crate) fn new() -> Self {
        let name = cluster().create_database_with_extension().unwrap();
        let mut client = cluster().connect(&name).unwrap();
        client.run("SET client_min_messages = error; SET TimeZone = 'UTC'");
        Self { name, client }
    }

    /// Another connection, as any role.
    pub(crate) fn connect_as(&self, role: &str) -> Client {
        cluster().connect_as(&self.name, role).unwrap()
    }

    pub(crate) fn psql(&self) -> Psql {
        cluster().psql(&self.name)
    }

    /// Maintains a set by hand.
    #[track_caller]
    pub(crate) fn maintain(&mut self, parent: &str) {
        self.client.run(&format!("CALL steward.maintain('{parent}')"));
    }

    /// A name for a role or tablespace that no other test has.
    pub(crate) fn own(&self, name: &str) -> String {
        format!("{name}_of_{}", self.name)
    }

    /// `name bound` of each partition, in the order of the catalog's bounds' text.
    pub(crate) fn partitions(&mut self, parent: &str) -> Vec<String> {
        self.client.column(&format!(
            "SELECT format('%s %s', c.relname, pg_get_expr(c.relpartbound, c.oid))
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
              WHERE i.inhparent = '{parent}'::regclass
              ORDER BY pg_get_expr(c.relpartbound, c.oid)"
        ))
    }

    /// `lower upper state` of each partition, lowest first.
    pub(crate) fn states(&mut self, parent: &str) -> Vec<String> {
        self.client.column(&format!(
            "SELECT format('%s %s %s', lower_bound, upper_bound, state)
               FROM steward.partitions WHERE parent = '{parent}'::regclass"
        ))
    }

    pub(crate) fn count(&mut self, parent: &str) -> i64 {
        self.client.value(&format!(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = '{parent}'::regclass"
        ))
    }

    /// What two tables' columns are, by name, but for those given in `without`.
    pub(crate) fn columns(&mut self, table: &str) -> Vec<String> {
        self.client.column(&format!(
            "SELECT concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                              'storage', a.attstorage, 'compression', a.attcompression,
                              'generated', a.attgenerated, 'identity', a.attidentity,
                              'collation', a.attcollation::regcollation,
                              'default', pg_get_expr(d.adbin, d.adrelid))
               FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
              WHERE a.attrelid = '{table}'::regclass AND a.attnum > 0 AND NOT a.attisdropped
              ORDER BY a.attname"
        ))
    }

    /// Definitions of a table's indexes with names and table left out, and their tablespaces.
    pub(crate) fn indexes(&mut self, table: &str) -> Vec<String> {
        self.client.column(&format!(
            "SELECT concat_ws(' ', CASE WHEN i.indisunique THEN 'unique' END,
                              CASE WHEN i.indisprimary THEN 'primary' END,
                              substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*'),
                              'in', (SELECT spcname FROM pg_tablespace t WHERE t.oid = c.reltablespace),
                              'constraint', (SELECT contype FROM pg_constraint k
                                              WHERE k.conindid = i.indexrelid AND contype IN ('p','u','x')))
               FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
              WHERE i.indrelid = '{table}'::regclass ORDER BY 1"
        ))
    }
}
