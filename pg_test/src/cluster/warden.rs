//! A small shell that outlives us to stop a server and remove its directory.
//!
//! `Drop` does not run for statics, on Ctrl-C or on a kill. The warden reads from a pipe that only
//! this process holds open; when the pipe closes, for whatever reason, it cleans up.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Stops the postmaster, if there is one, and removes the directory.
const SCRIPT: &str = r#"
dir=$1
while read -r line; do test "$line" = leave && exit 0; done
pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null)
if test -n "$pid" && test "$pid" -gt 1; then
    kill -QUIT "$pid" 2>/dev/null
    tries=0
    # A zombie that process 1 has not reaped yet is gone as far as we are concerned.
    while grep -q '^State:.[^ZX]' "/proc/$pid/status" 2>/dev/null && test $tries -lt 100; do
        sleep 0.05
        tries=$((tries + 1))
    done
    kill -KILL "$pid" 2>/dev/null
fi
rm -rf "$dir"
"#;

/// Cleans up a directory with a server in it once this process is gone or lets go of it.
#[derive(Debug)]
pub(super) struct Warden {
    shell: Child,
}

impl Warden {
    /// Watches over `dir`, whose server's data directory is `dir/data`.
    pub(super) fn watch(dir: &Path) -> Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "pg_test-warden"])
            .arg(dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // a Ctrl-C on the terminal is for us, not for the warden
            .spawn()
            .context("cannot start a shell to clean up after the server")?;
        Ok(Self { shell })
    }

    /// Cleans up now and returns when that is done.
    pub(super) fn clean_up(&mut self) {
        drop(self.shell.stdin.take());
        // The warden has no way to fail that we could mend here.
        let _ = self.shell.wait();
    }

    /// Lets the server run on and the directory stay.
    pub(super) fn leave(&mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            let _ = stdin.write_all(b"leave\n");
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.clean_up();
    }
}
