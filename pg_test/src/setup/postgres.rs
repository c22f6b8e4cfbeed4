//! A PostgreSQL server installation: where its programs are and what it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{packages, postgres_source, postgres_wheel, private_server};

/// The majors pg_steward supports, newest first.
pub const SUPPORTED_MAJORS: [u32; 4] = [18, 17, 16, 15];

/// One installed PostgreSQL server with its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The major version, such as 15.
    pub major: u32,
    /// The full version, such as `15.20`.
    pub version: String,
    /// What its packager calls that, such as `15.20-0+deb12u1`; the version where there is no packager.
    pub release: String,
    /// Its `pg_config` program.
    pub pg_config: PathBuf,
    /// Where `postgres`, `initdb`, `psql` and `pgbench` are.
    pub bindir: PathBuf,
    /// Where extension libraries go.
    pub pkglibdir: PathBuf,
    /// Where `extension/*.control` and `*.sql` go (`sharedir`).
    pub sharedir: PathBuf,
    /// Where `postgres.h` is (`includedir-server`).
    pub includedir: PathBuf,
    /// What it has been built or packaged without: of `contrib`, PostgreSQL's own extensions, and `icu`; and
    /// `minors_of_2025`, where it is older than the release that mended foreign keys of partitioned tables.
    pub lacks: Vec<&'static str>,
}

impl Installation {
    /// Asks a `pg_config` what it belongs to; the server and its headers must both be there.
    pub fn from_pg_config(pg_config: &Path) -> Result<Self> {
        let ask = |what: &str| -> Result<String> {
            let output = Command::new(pg_config)
                .arg(what)
                .output()
                .with_context(|| format!("cannot run {}", pg_config.display()))?;
            ensure!(output.status.success(), "{} {what} failed", pg_config.display());
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let text = ask("--version")?;
        let version = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
        // "PostgreSQL 15.20 (Debian 15.20-0+deb12u1)"
        let packaged = text.strip_suffix(')').and_then(|text| text.rsplit(' ').next());
        let release = packaged.unwrap_or(&version).to_owned();
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let Ok(major) = digits.parse() else {
            bail!("{} says its version is {text:?}", pg_config.display());
        };
        // Asked for until 15, declined since.
        let configured = ask("--configure")?;
        let has_icu = match major {
            ..=15 => configured.contains("--with-icu"),
            _ => !configured.contains("--without-icu"),
        };
        let mut found = Self {
            major,
            version,
            release,
            pg_config: pg_config.to_path_buf(),
            bindir: ask("--bindir")?.into(),
            pkglibdir: ask("--pkglibdir")?.into(),
            sharedir: ask("--sharedir")?.into(),
            includedir: ask("--includedir-server")?.into(),
            lacks: Vec::new(),
        };
        // One of them stands for all.
        let has_contrib = found.sharedir.join("extension/postgres_fdw.control").is_file();
        // A key of a partitioned table into itself was not enforced, and ATTACH locked other tables than it does.
        let minor: Option<u32> = found.version.split('.').nth(1).and_then(|text| text.parse().ok());
        let is_mended = match major {
            15 => minor >= Some(13),
            16 => minor >= Some(9),
            17 => minor >= Some(5),
            _ => true,
        };
        let parts = [("contrib", has_contrib), ("icu", has_icu), ("minors_of_2025", is_mended)];
        found.lacks = parts.into_iter().filter(|(_, has)| !has).map(|(part, _)| part).collect();
        let server = found.program("postgres");
        ensure!(server.is_file(), "there is no server at {}", server.display());
        let header = found.includedir.join("postgres.h");
        ensure!(header.is_file(), "there are no server headers at {}", header.display());
        Ok(found)
    }

    /// The path of one of the installation's programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    /// The cargo feature of the extension that goes with this major, such as `pg15`.
    pub fn feature(&self) -> String {
        format!("pg{}", self.major)
    }
}

/// Our own server of a major with its headers: a copy of the machine's packaged one, else one that was
/// built or downloaded into the cache. The machine's is read, and never installed into.
pub fn find(major: u32) -> Result<Option<Installation>> {
    let copy = private_server::find_copy(major)?;
    Ok(copy.or_else(|| find_cached(major)))
}

fn find_cached(major: u32) -> Option<Installation> {
    postgres_source::find_built(major).or_else(|| postgres_wheel::find(major))
}

/// The newest installed major that comes from a package, else the newest one in the cache.
pub fn find_default() -> Result<Option<Installation>> {
    for major in SUPPORTED_MAJORS {
        if let Some(copy) = private_server::find_copy(major)? {
            return Ok(Some(copy));
        }
    }
    Ok(SUPPORTED_MAJORS.iter().find_map(|&major| find_cached(major)))
}

/// Where a major that is not installed can be had from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The machine's own Debian release, or an archive it was told of.
    Package,
    /// The source package of a newer Debian release.
    Build,
    /// A package of PyPI.
    Wheel,
}

/// Where a major that is not installed can be had from; an error if nowhere.
pub fn source_of(major: u32) -> Result<Source> {
    ensure!(
        SUPPORTED_MAJORS.contains(&major),
        "PostgreSQL {major} is not supported; these are: {SUPPORTED_MAJORS:?}"
    );
    packages::refresh_lists()?;
    let mut names = packages::for_a_packaged_server(major).into_iter().flatten();
    if names.all(|name| packages::has_candidate(&name)) {
        Ok(Source::Package)
    } else if postgres_source::is_to_be_had(major) {
        Ok(Source::Build)
    } else if postgres_wheel::is_to_be_had(major) {
        Ok(Source::Wheel)
    } else {
        bail!(
            "neither Debian nor PyPI has PostgreSQL {major} for this machine; install postgresql-{major} and \
             postgresql-server-dev-{major} from the PostgreSQL project's own packages and try again"
        )
    }
}

/// The major to use when none is asked for: the installed one, else the one apt would install.
pub fn default_major() -> Result<u32> {
    if let Some(installed) = find_default()? {
        return Ok(installed.major);
    }
    packages::refresh_lists()?;
    let candidate = SUPPORTED_MAJORS.iter().find(|&&major| {
        let mut names = packages::for_a_packaged_server(major).into_iter().flatten();
        names.all(|name| packages::has_candidate(&name))
    });
    // Debian 12's, which is what gets named where apt has no lists and we may not have it read them.
    Ok(candidate.copied().unwrap_or(15))
}
