//! The account that servers run under: PostgreSQL refuses root, so root hands over to `postgres`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::{Uid, User};

/// The account that root hands over to; Debian's server package makes it.
pub const SERVER_ACCOUNT: &str = "postgres";

/// Whether we are root.
#[must_use]
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// A command that runs as an account a server accepts.
pub fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", SERVER_ACCOUNT, "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    // cargo's own library path is nothing for a server; a backtrace would end up in DETAIL of every error.
    command.env_remove("LD_LIBRARY_PATH").env("RUST_BACKTRACE", "0").current_dir("/");
    command
}

/// Gives a folder to the account that servers run under.
///
/// # Errors
/// When the account does not exist or the folder cannot be given.
pub fn give_to_server(folder: &Path) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let user = User::from_name(SERVER_ACCOUNT)?
        .with_context(|| format!("there is no account \"{SERVER_ACCOUNT}\": install postgresql-15"))?;
    std::os::unix::fs::chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .with_context(|| format!("cannot give {} to {SERVER_ACCOUNT}", folder.display()))
}
