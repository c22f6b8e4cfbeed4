//! Runs every golden/*.sql with psql and compares what comes out with the .out file beside it.
//!
//! `UPDATE_GOLDEN=1` writes the .out files anew. `<name>.<major>.out` wins over `<name>.out`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use pg_test::cluster::Cluster;
use pg_test::fixtures;

fn main() -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut scripts: Vec<PathBuf> = fs::read_dir(&directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    scripts.sort();

    let trials = scripts
        .into_iter()
        .map(|script| Trial::test(stem(&script), move || compare(&script).map_err(fail)))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// One cluster for all files. Nothing runs unattended on it, so that what is seen depends on the
/// script alone.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| match fixtures::cluster().conf("pg_steward.enabled = off").start() {
        Ok(cluster) => cluster,
        Err(error) => panic!("the cluster for golden files does not start: {error:#}"),
    })
}

fn compare(script: &Path) -> Result<()> {
    let cluster = cluster();
    let database = format!("golden_{}", stem(script));
    cluster.connect("postgres")?.batch_execute(&format!("CREATE DATABASE \"{database}\""))?;
    cluster.connect(&database)?.batch_execute("CREATE EXTENSION pg_steward")?;
    let output = cluster
        .psql(&database)
        .args(&["--quiet", "--echo-all"])
        .args(&["--set=VERBOSITY=verbose", "--set=SHOW_CONTEXT=never"])
        .file(script)?;
    // Where in its source the server raised an error is no business of ours.
    let mut actual = String::new();
    for line in output.text.lines().filter(|line| !line.starts_with("LOCATION:")) {
        actual.push_str(line.trim_end());
        actual.push('\n');
    }

    let expected_path = expected_path(script);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value != "0") {
        fs::write(&expected_path, &actual)
            .with_context(|| format!("cannot write {}", expected_path.display()))?;
        return Ok(());
    }
    let expected = fs::read_to_string(&expected_path).with_context(|| {
        format!("cannot read {} (UPDATE_GOLDEN=1 writes it)", expected_path.display())
    })?;
    if expected != actual {
        anyhow::bail!("{} differs:\n{}", expected_path.display(), difference(&expected, &actual)?);
    }
    Ok(())
}

fn expected_path(script: &Path) -> PathBuf {
    let major = fixtures::installation().major;
    let special = script.with_extension(format!("{major}.out"));
    if special.exists() { special } else { script.with_extension("out") }
}

/// A unified difference, by diff itself.
fn difference(expected: &str, actual: &str) -> Result<String> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("expected"), expected)?;
    fs::write(directory.path().join("actual"), actual)?;
    let output = std::process::Command::new("diff")
        .args(["-U3", "expected", "actual"])
        .current_dir(directory.path())
        .output()
        .context("cannot run diff")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn stem(script: &Path) -> String {
    script.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn fail(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}
