//! Who we are, how to get root's rights for installing, and as whom servers run.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The account that servers run as when we are root: PostgreSQL refuses to run as root itself.
pub const SERVER_ACCOUNT: &str = "postgres";

/// How this process can change the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// We are root.
    Root,
    /// We are not, and `sudo` lets us act as root.
    Sudo,
    /// We can change nothing outside our own files.
    None,
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// How this process can change the system; may ask for sudo's password on a terminal, once.
pub fn privilege() -> Privilege {
    static PRIVILEGE: OnceLock<Privilege> = OnceLock::new();
    *PRIVILEGE.get_or_init(|| {
        if is_root() {
            return Privilege::Root;
        }
        let sudo = |args: &[&str]| {
            let mut command = Command::new("sudo");
            command.args(args).stdout(Stdio::null());
            if args.contains(&"-n") {
                command.stderr(Stdio::null()); // whether it may is asked, not why it may not
            }
            command.status().is_ok_and(|status| status.success())
        };
        let asks = std::io::stdin().is_terminal();
        if sudo(&["-n", "true"]) || (asks && sudo(&["-v"])) {
            Privilege::Sudo
        } else {
            Privilege::None
        }
    })
}

/// A command that runs `program` with root's rights: as it is when we are root, else through sudo.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("-n").arg("--").arg(program);
    command
}

/// A command that runs `program` as the account servers run as: ourselves, unless we are root.
///
/// `setpriv` replaces itself with the program, so the child's process id is the program's. Our
/// environment's settings for PostgreSQL's clients and for Rust's panics stay with us.
pub fn as_server_account(program: impl AsRef<OsStr>) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", SERVER_ACCOUNT, "--regid", SERVER_ACCOUNT, "--init-groups"]);
        command.arg("--").arg(program);
        // The caller's directories may be closed to that account.
        command.current_dir("/tmp").env("HOME", "/tmp");
        command
    } else {
        Command::new(program)
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG") || name.starts_with("RUST_")) {
            command.env_remove(name);
        }
    }
    command
}
