//! Files that arrive by rename: a server that has the old one mapped keeps it as it was, where one
//! that is written in place would die with SIGSEGV; and nobody ever reads half a file.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};

/// What a mirrored file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Bytes of its own.
    Copy,
    /// The same file under a second name: within one file system, and only where nobody writes into it.
    Link,
}

/// Puts a copy of a file in the place of what is there, by rename.
///
/// Everybody may read it, whatever our umask: servers run as another account where we are root.
pub(super) fn place(source: &Path, destination: &Path) -> Result<()> {
    put(source, destination, By::Copy)
        .with_context(|| format!("cannot put {} in place", destination.display()))
}

/// Brings a directory up to date with another: what is missing in it, or differs, arrives by rename.
///
/// What it has besides stays: other extensions are installed there. So do all files of pg_steward,
/// and those of the machine's own do not come along: what is tested is what was built. Links are
/// followed, since Debian's lead out of the directory; one that leads nowhere is left out.
pub(super) fn mirror(source: &Path, destination: &Path, by: By) -> Result<()> {
    make_directory(destination)
        .with_context(|| format!("cannot make {}", destination.display()))?;
    let entries =
        fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.starts_with("pg_steward") || text.starts_with('.') {
            continue;
        }
        let (from, to) = (entry.path(), destination.join(&name));
        let Ok(wanted) = fs::metadata(&from) else { continue };
        if wanted.is_dir() {
            mirror(&from, &to, by)?;
        } else if wanted.is_file()
            && !fs::metadata(&to).is_ok_and(|is| is_current(&is, &wanted, by))
        {
            put(&from, &to, by).with_context(|| format!("cannot put {} in place", to.display()))?;
        }
    }
    Ok(())
}

fn is_current(is: &Metadata, wanted: &Metadata, by: By) -> bool {
    match by {
        By::Copy => {
            (is.len(), is.mtime(), is.mtime_nsec())
                == (wanted.len(), wanted.mtime(), wanted.mtime_nsec())
        }
        By::Link => (is.dev(), is.ino()) == (wanted.dev(), wanted.ino()),
    }
}

/// The new file is made beside the old one: a rename does not leave its file system.
fn put(source: &Path, destination: &Path, by: By) -> io::Result<()> {
    let directory = destination.parent().unwrap_or(destination);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-");
    match by {
        By::Copy => {
            let mut old = File::open(source)?;
            let wanted = old.metadata()?;
            let mut new = builder.tempfile_in(directory)?;
            io::copy(&mut old, new.as_file_mut())?;
            let runs = if wanted.mode() & 0o111 == 0 { 0o644 } else { 0o755 };
            new.as_file().set_permissions(Permissions::from_mode(runs))?;
            new.as_file().set_modified(wanted.modified()?)?;
            new.persist(destination)?;
        }
        By::Link => {
            // Of what a link leads to: renaming one name of a link over another does nothing.
            let source = fs::canonicalize(source)?;
            builder
                .make_in(directory, |name| fs::hard_link(&source, name))?
                .persist(destination)?;
        }
    }
    Ok(())
}

fn make_directory(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn who_has_the_old_file_open_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let (new, library) = (dir.path().join("new"), dir.path().join("library.so"));
        fs::write(&new, "new").unwrap();
        fs::write(&library, "old").unwrap();
        let (mut held, before) = (File::open(&library).unwrap(), inode(&library));
        place(&new, &library).unwrap();
        let mut text = String::new();
        held.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old", "written in place");
        assert_ne!(inode(&library), before);
        assert_eq!(fs::read_to_string(&library).unwrap(), "new");
        assert_eq!(fs::metadata(&library).unwrap().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "something was left behind");
    }

    #[test]
    fn a_mirror_takes_what_differs_and_leaves_pg_steward_and_what_is_there_besides() {
        let dir = tempfile::tempdir().unwrap();
        let (source, mirrored) = (dir.path().join("source"), dir.path().join("mirror"));
        fs::create_dir_all(source.join("lib")).unwrap();
        let outside = dir.path().join("dictionary");
        fs::write(&outside, "words").unwrap();
        fs::write(source.join("lib/a.so"), "a").unwrap();
        fs::write(source.join("lib/pg_steward.so"), "the machine's").unwrap();
        symlink(&outside, source.join("lib/dictionary")).unwrap();
        symlink(dir.path().join("nothing"), source.join("lib/nothing")).unwrap();
        mirror(&source, &mirrored, By::Copy).unwrap();
        fs::write(mirrored.join("lib/pg_steward.so"), "ours").unwrap();
        fs::write(mirrored.join("lib/besides.so"), "besides").unwrap();

        let (same, changed) = (mirrored.join("lib/dictionary"), mirrored.join("lib/a.so"));
        let before = (inode(&same), inode(&changed));
        fs::write(source.join("lib/a.so"), "a newer one").unwrap();
        mirror(&source, &mirrored, By::Copy).unwrap();
        assert_eq!(inode(&same), before.0, "copied without need");
        assert_ne!(inode(&changed), before.1, "written in place");

        let read = |name: &str| fs::read_to_string(mirrored.join("lib").join(name)).ok();
        assert_eq!(read("a.so").as_deref(), Some("a newer one"));
        assert_eq!(read("pg_steward.so").as_deref(), Some("ours"));
        assert_eq!(read("besides.so").as_deref(), Some("besides"));
        assert_eq!(read("dictionary").as_deref(), Some("words"));
        assert!(!same.is_symlink() && fs::symlink_metadata(mirrored.join("lib/nothing")).is_err());
    }

    #[test]
    fn a_mirror_of_links_follows_a_file_that_was_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (source, mirrored) = (dir.path().join("source"), dir.path().join("mirror"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("libpq.so.5"), "old").unwrap();
        symlink("libpq.so.5", source.join("libpq.so")).unwrap();
        mirror(&source, &mirrored, By::Link).unwrap();
        assert_eq!(inode(&mirrored.join("libpq.so.5")), inode(&source.join("libpq.so.5")));

        let new = dir.path().join("new");
        fs::write(&new, "new").unwrap();
        place(&new, &source.join("libpq.so.5")).unwrap();
        assert_eq!(fs::read_to_string(mirrored.join("libpq.so")).unwrap(), "old");
        mirror(&source, &mirrored, By::Link).unwrap();
        assert_eq!(fs::read_to_string(mirrored.join("libpq.so")).unwrap(), "new");
        assert_eq!(fs::read_dir(&mirrored).unwrap().count(), 2, "something was left behind");
    }
}
