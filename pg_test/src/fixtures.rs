//! What tests share: which server they use, and one cluster for those that need none of their own.

use std::path::Path;
use std::sync::OnceLock;

use crate::cluster::Cluster;
use crate::setup::{Installation, postgres};

/// Names the `pg_config` of the server that tests run on; `cargo verify` sets it.
pub const PG_CONFIG_VARIABLE: &str = "PG_STEWARD_PG_CONFIG";

/// Names the `pg_config` of an older major, for the test of pg_upgrade; `cargo verify` sets it.
pub const OLD_PG_CONFIG_VARIABLE: &str = "PG_STEWARD_OLD_PG_CONFIG";

/// Names the encoding of the databases that tests ask for without naming one; else it is the server's.
pub const ENCODING_VARIABLE: &str = "PG_STEWARD_TEST_ENCODING";

/// The installation that tests run on: [`PG_CONFIG_VARIABLE`]'s, else the one installed.
///
/// Panics if there is none, with what to do about it.
pub fn installation() -> &'static Installation {
    static INSTALLATION: OnceLock<Installation> = OnceLock::new();
    INSTALLATION.get_or_init(|| {
        if let Some(named) = named_by(PG_CONFIG_VARIABLE) {
            return named;
        }
        match postgres::find_default() {
            Ok(Some(found)) => found,
            Ok(None) => {
                panic!("no PostgreSQL server is installed: run `cargo verify`, which sees to it")
            }
            Err(error) => panic!("no PostgreSQL server is to be had: {error:#}"),
        }
    })
}

/// An installation of an older major than [`installation`]'s: [`OLD_PG_CONFIG_VARIABLE`]'s.
///
/// Panics if it is not set or not older, with what to do about it.
pub fn old_installation() -> Installation {
    let Some(old) = named_by(OLD_PG_CONFIG_VARIABLE) else {
        panic!("{OLD_PG_CONFIG_VARIABLE} is not set: run `cargo verify --pg 15,18 --only upgrade`");
    };
    let (from, to) = (old.major, installation().major);
    assert!(
        from < to,
        "{OLD_PG_CONFIG_VARIABLE} is of PostgreSQL {from}, which {to} is no upgrade of"
    );
    old
}

fn named_by(variable: &str) -> Option<Installation> {
    let path = std::env::var_os(variable)?;
    match Installation::from_pg_config(Path::new(&path)) {
        Ok(found) => Some(found),
        Err(error) => panic!("{variable} is of no use: {error:#}"),
    }
}

/// A builder of clusters of [`installation`], with pg_steward preloaded.
pub fn cluster() -> crate::cluster::Builder {
    Cluster::builder(installation())
}

/// One primary for all tests of the process that only need a database of their own.
///
/// Use [`Cluster::create_database_with_extension`] on it. It is stopped when the process ends. There are
/// places for all of them: a test whose job hangs does not keep another's from its turn.
pub fn shared_cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    let conf = "max_worker_processes = 96\npg_steward.max_concurrent_jobs = 48";
    SHARED.get_or_init(|| match cluster().conf(conf).start() {
        Ok(cluster) => cluster,
        Err(error) => panic!("the shared cluster does not start: {error:#}"),
    })
}
