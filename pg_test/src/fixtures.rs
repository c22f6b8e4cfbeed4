//! What tests share: which server they use, and one cluster for those that need none of their own.

use std::path::Path;
use std::sync::OnceLock;

use crate::cluster::Cluster;
use crate::setup::{Installation, postgres};

/// Names the `pg_config` of the server that tests run on; `cargo verify` sets it.
pub const PG_CONFIG_VARIABLE: &str = "PG_STEWARD_PG_CONFIG";

/// The installation that tests run on: [`PG_CONFIG_VARIABLE`]'s, else the one installed.
///
/// Panics if there is none, with what to do about it.
pub fn installation() -> &'static Installation {
    static INSTALLATION: OnceLock<Installation> = OnceLock::new();
    INSTALLATION.get_or_init(|| match std::env::var_os(PG_CONFIG_VARIABLE) {
        Some(path) => match Installation::from_pg_config(Path::new(&path)) {
            Ok(found) => found,
            Err(error) => panic!("{PG_CONFIG_VARIABLE} is of no use: {error:#}"),
        },
        None => match postgres::find_default() {
            Some(found) => found,
            None => {
                panic!("no PostgreSQL server is installed: run `cargo verify`, which sees to it")
            }
        },
    })
}

/// A builder of clusters of [`installation`], with pg_steward preloaded.
pub fn cluster() -> crate::cluster::Builder {
    Cluster::builder(installation())
}

/// One primary for all tests of the process that only need a database of their own.
///
/// Use [`Cluster::create_database_with_extension`] on it. It is stopped when the process ends.
pub fn shared_cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| match cluster().start() {
        Ok(cluster) => cluster,
        Err(error) => panic!("the shared cluster does not start: {error:#}"),
    })
}
