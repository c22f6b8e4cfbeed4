//! pg_dump and pg_restore of databases of one cluster.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use pg_test::cluster::Cluster;
use pg_test::fixtures;
use pg_test::setup::privilege::as_server_account;
use postgres::Client;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// Where both ends are.
pub(crate) fn server() -> Cluster {
    fixtures::cluster().start().unwrap()
}

/// Runs a program of the server's, as the account that servers run as; what it said.
fn run(cluster: &Cluster, program: &str, arguments: &[&str], path: &Path) -> (bool, String) {
    let output = as_server_account(cluster.installation().program(program))
        .args(["--username", "postgres", "--host"])
        .arg(cluster.socket_dir())
        .args(arguments)
        .arg(path)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A dump to be taken.
pub(crate) struct Dump<'a> {
    cluster: &'a Cluster,
    database: &'a str,
    options: Vec<&'a str>,
}

impl<'a> Dump<'a> {
    pub(crate) fn of(cluster: &'a Cluster, database: &'a str) -> Self {
        Self { cluster, database, options: Vec::new() }
    }

    pub(crate) fn options(mut self, options: &[&'a str]) -> Self {
        self.options.extend(options);
        self
    }

    /// Its file or directory, which goes with the cluster.
    pub(crate) fn take(self) -> PathBuf {
        let number = TAKEN.fetch_add(1, Ordering::Relaxed);
        let path = self.cluster.socket_dir().join(format!("dump_{number}"));
        let arguments = [&self.options[..], &["--dbname", self.database, "--file"]].concat();
        let (succeeded, said) = run(self.cluster, "pg_dump", &arguments, &path);
        assert!(succeeded, "pg_dump {arguments:?}: {said}");
        path
    }
}

/// An empty database to restore into.
pub(crate) struct Target<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Target<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, name: cluster.create_database().unwrap() }
    }

    /// One of an encoding, by its name.
    pub(crate) fn encoded(cluster: &'a Cluster, encoding: &str) -> Self {
        Self { cluster, name: cluster.create_database_encoded(encoding).unwrap() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn connect(&self) -> Client {
        self.cluster.connect(&self.name).unwrap()
    }

    /// Restores a dump. Errors are for `--exit-on-error`: a part of a database has
    /// some that are nobody's fault.
    pub(crate) fn restore(&self, dump: &Path, options: &[&str]) {
        let arguments = [options, &["--dbname", &self.name]].concat();
        let (succeeded, said) = run(self.cluster, "pg_restore", &arguments, dump);
        let exits = options.contains(&"--exit-on-error");
        assert!(succeeded || !exits, "pg_restore {arguments:?}: {said}");
    }
}
