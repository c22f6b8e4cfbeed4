//! Upstream tarballs from Debian's source packages, of newer suites than the machine's own too.
//!
//! apt works on a configuration of our own: the machine's source lists, package lists and caches
//! are neither changed nor used, only its mirror and its proxy settings are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::paths;
use crate::progress;

/// The keys that Debian's archives are signed with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Downloads the upstream tarball of a package from the first of the suites that has it.
pub(super) fn download(package: &str, suites: &[&str], into: &Path) -> Result<PathBuf> {
    let mirror = mirror()?;
    let mut failures = Vec::new();
    for suite in suites {
        match download_from(&mirror, suite, package, into) {
            Ok(tarball) => return Ok(tarball),
            Err(error) => failures.push(format!("{suite}: {error:#}")),
        }
    }
    bail!(
        "no source package {package} from {mirror}:\n{}\n\
         If a signature could not be checked, install a newer debian-archive-keyring.",
        failures.join("\n")
    )
}

fn download_from(mirror: &str, suite: &str, package: &str, into: &Path) -> Result<PathBuf> {
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
    // The tarball alone: Debian's own part is not needed, and its newest revision may be on the
    // mirror before the list that names it.
    progress::run(
        &format!("downloading {package} from {suite}"),
        apt_get().args(["source", "--quiet", "--download-only", "--tar-only"]).arg(package),
    )?;
    let tarball = fs::read_dir(into)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| version_of(path).is_ok())
        .context("the source package holds no upstream tarball")?;
    Ok(tarball)
}

/// `18.6` of `…/postgresql-18_18.6.orig.tar.bz2`.
pub(super) fn version_of(tarball: &Path) -> Result<String> {
    let name = tarball.file_name().unwrap_or_default().to_string_lossy();
    let version = name
        .split_once('_')
        .and_then(|(_, rest)| rest.split_once(".orig.tar."))
        .filter(|(_, compression)| !compression.ends_with(".asc"))
        .map(|(version, _)| version.to_owned());
    version.with_context(|| format!("{name} is no upstream tarball"))
}

/// Unpacks a tarball's single directory as `directory`.
pub(super) fn unpack(tarball: &Path, directory: &Path) -> Result<PathBuf> {
    fs::create_dir(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let name = tarball.file_name().unwrap_or_default().to_string_lossy();
    progress::run(
        &format!("unpacking {name}"),
        Command::new("tar")
            .arg("-xf")
            .arg(tarball)
            .arg("--strip-components=1")
            .arg("-C")
            .arg(directory),
    )?;
    Ok(directory.to_path_buf())
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
