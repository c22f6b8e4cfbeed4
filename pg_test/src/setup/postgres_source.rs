//! A major that the machine's Debian has no package of, built from a newer suite's source package.
//!
//! apt works on a configuration of our own: the machine's source lists, package lists and caches
//! are neither changed nor used, only its mirror and its proxy settings are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::paths;
use super::postgres::Installation;
use crate::progress;

/// Marks a finished build: an interrupted one has none and is built again.
const FINISHED: &str = ".complete";

/// The keys that Debian's archives are signed with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The suites whose source package of a major may be found, in the order they are tried.
fn suites(major: u32) -> &'static [&'static str] {
    match major {
        17 => &["trixie"],
        18 => &["sid", "forky"],
        _ => &[],
    }
}

/// Whether some Debian suite has a source package of the major.
pub fn is_to_be_had(major: u32) -> bool {
    !suites(major).is_empty()
}

/// The newest finished build of a major in the cache.
pub fn find_built(major: u32) -> Option<Installation> {
    let prefix = format!("postgres-{major}.");
    let entries = fs::read_dir(paths::cache_dir().ok()?).ok()?;
    let mut builds: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.path().join(FINISHED).is_file())
        .filter_map(|entry| {
            let minor = entry.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok()?;
            Some((minor, entry.path().join("bin/pg_config")))
        })
        .collect();
    builds.sort();
    builds.iter().rev().find_map(|(_, path)| Installation::from_pg_config(path).ok())
}

/// Downloads, builds and installs a major into the cache; about five minutes on two cores.
pub fn build(major: u32) -> Result<Installation> {
    let cache = paths::cache_dir()?;
    let lock = File::create(cache.join("postgres.lock")).context("cannot make a lock file")?;
    lock.lock().context("cannot lock the cache of built servers")?;
    if let Some(found) = find_built(major) {
        return Ok(found); // another process built it while we waited
    }

    let work = tempfile::Builder::new().prefix("build-").tempdir_in(&cache)?;
    let tarball = download(major, work.path())?;
    let version = version_of(&tarball)?;
    let source = work.path().join("source");
    fs::create_dir(&source)?;
    let label = |step: &str| format!("PostgreSQL {version}: {step}");
    progress::run(
        &label("unpack"),
        Command::new("tar")
            .arg("-xf")
            .arg(&tarball)
            .arg("--strip-components=1")
            .arg("-C")
            .arg(&source),
    )?;

    let prefix = cache.join(format!("postgres-{version}"));
    let mut configure = Command::new("./configure");
    configure.arg(format!("--prefix={}", prefix.display())).arg("--quiet");
    configure.args(["--with-openssl", "--with-lz4", "--with-zstd", "--with-icu"]);
    progress::run(&label("configure"), configure.current_dir(&source))?;
    let jobs = std::thread::available_parallelism().map_or(2, usize::from);
    let make = |step: &str, arguments: &[&str]| {
        let mut command = Command::new("make");
        command.arg("-s").args(arguments).current_dir(&source);
        progress::run(&label(step), &mut command)
    };
    let jobs = format!("-j{jobs}");
    make("compile", &[&jobs])?;
    make("compile contrib", &[&jobs, "-C", "contrib"])?;
    make("install", &["install"])?;
    make("install contrib", &["-C", "contrib", "install"])?;
    // The account the servers run as must be able to read it, whatever our umask.
    progress::run(&label("open"), Command::new("chmod").args(["-R", "a+rX"]).arg(&prefix))?;
    let installation = Installation::from_pg_config(&prefix.join("bin/pg_config"))?;
    ensure!(installation.major == major, "the source package holds {}", installation.version);
    File::create(prefix.join(FINISHED))?;
    Ok(installation)
}

/// Downloads the upstream tarball of the first suite that has the major.
fn download(major: u32, into: &Path) -> Result<PathBuf> {
    let mirror = mirror()?;
    let mut failures = Vec::new();
    for suite in suites(major) {
        match download_from(&mirror, suite, major, into) {
            Ok(tarball) => return Ok(tarball),
            Err(error) => failures.push(format!("{suite}: {error:#}")),
        }
    }
    bail!(
        "no source package of PostgreSQL {major} from {mirror}:\n{}\n\
         If a signature could not be checked, install a newer debian-archive-keyring.",
        failures.join("\n")
    )
}

fn download_from(mirror: &str, suite: &str, major: u32, into: &Path) -> Result<PathBuf> {
    let apt = paths::cache_subdir("apt")?.join(suite);
    for directory in ["lists/partial", "cache/archives/partial"] {
        let directory = apt.join(directory);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let list = apt.join("sources.list");
    fs::write(&list, format!("deb-src [signed-by={KEYRING}] {mirror} {suite} main\n"))?;
    let apt_get = || {
        let mut command = Command::new("apt-get");
        let option = |name: &str, path: &Path| format!("{name}={}", path.display());
        command.arg("-o").arg(option("Dir::Etc::sourcelist", &list));
        command.args(["-o", "Dir::Etc::sourceparts=/dev/null"]);
        command.arg("-o").arg(option("Dir::State::lists", &apt.join("lists")));
        command.arg("-o").arg(option("Dir::Cache", &apt.join("cache")));
        command.args(["-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root"]);
        // sid's lists expire within a week, and a mirror may be a snapshot; the signature, which is
        // still checked, is what counts here.
        command.args(["-o", "Acquire::Check-Valid-Until=false"]);
        command.current_dir(into);
        command
    };
    progress::run(
        &format!("reading the list of {suite}'s sources"),
        apt_get().args(["update", "--quiet", "--error-on=any"]),
    )?;
    let package = format!("postgresql-{major}");
    progress::run(
        &format!("downloading {package} from {suite}"),
        apt_get().args(["source", "--quiet", "--download-only"]).arg(&package),
    )?;
    let tarball = fs::read_dir(into)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| version_of(path).is_ok())
        .context("the source package holds no upstream tarball")?;
    Ok(tarball)
}

/// `18.6` of `…/postgresql-18_18.6.orig.tar.bz2`.
fn version_of(tarball: &Path) -> Result<String> {
    let name = tarball.file_name().unwrap_or_default().to_string_lossy();
    let version = name
        .split_once('_')
        .and_then(|(_, rest)| rest.split_once(".orig.tar."))
        .filter(|(_, compression)| !compression.ends_with(".asc"))
        .map(|(version, _)| version.to_owned());
    version.with_context(|| format!("{name} is no upstream tarball"))
}

/// The Debian mirror this machine uses.
fn mirror() -> Result<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
        .output()
        .context("cannot run apt-get indextargets")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find(|line| line.trim_end_matches('/').ends_with("/debian"));
    found.map(str::to_owned).context("apt on this machine names no Debian mirror (…/debian)")
}
