//! Everything a fresh Debian machine needs before pg_steward can be built and run.
//!
//! Nothing here touches the checkout, the user's own tool settings or the directories of the machine's
//! PostgreSQL, but that missing packages are installed: what is downloaded, built or copied lives in
//! [`paths::cache_dir`].

use anyhow::{Context, Result, ensure};

pub mod command;
mod debian_source;
pub mod extension;
mod files;
pub mod packages;
pub mod paths;
pub mod pg_partman;
pub mod pgrx;
pub mod postgres;
pub mod postgres_source;
pub mod postgres_wheel;
pub mod private_server;
pub mod privilege;
pub mod tools;

pub use pgrx::Pgrx;
pub use postgres::Installation;

use postgres::Source;

/// Installs or builds what is missing; the servers come back in the order asked for.
///
/// No majors means the installed one. Packages are found missing all at once, before anything else.
pub fn prepare(majors: &[u32]) -> Result<(Pgrx, Vec<Installation>)> {
    ensure!(
        std::path::Path::new("/usr/bin/apt-get").exists(),
        "this needs Debian's apt-get; elsewhere, see CONTRIBUTING.md for what to install by hand"
    );
    let default;
    let majors = if majors.is_empty() {
        default = [postgres::default_major()?];
        &default
    } else {
        majors
    };

    let mut needs = packages::for_the_extension();
    let mut builds = Vec::new();
    let mut wheel = false;
    for &major in majors {
        if postgres::find(major)?.is_some() {
            continue;
        }
        match postgres::source_of(major)? {
            Source::Package => needs.extend(packages::for_a_packaged_server(major)),
            Source::Build => {
                needs.extend(packages::for_a_server_build());
                builds.push(major);
            }
            Source::Wheel => {
                needs.extend(postgres_wheel::needs());
                wheel = true;
            }
        }
    }
    if privilege::is_root() {
        // Brings the account that servers run as.
        needs.push(vec!["postgresql-common".to_owned()]);
    }
    packages::ensure(&needs)?;
    for major in builds {
        postgres_source::build(major)?;
    }
    if wheel {
        postgres_wheel::install()?;
    }

    let servers = majors
        .iter()
        .map(|&major| {
            postgres::find(major)?
                .with_context(|| format!("PostgreSQL {major} was installed and is not to be found"))
        })
        .collect::<Result<_>>()?;
    Ok((Pgrx::provide()?, servers))
}
