//! Debian packages: what is missing is installed, and no server is ever set up or started by that.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::account::is_root;
use crate::command::{output, read, run, say};

/// What building and testing need.
pub const FOR_TESTS: &[&str] = &[
    "postgresql-15",
    "postgresql-server-dev-15",
    "postgresql-15-cron",
    "libclang-dev",
    "libssl-dev",
    "pkg-config",
    "gcc",
    "libc6-dev",
    "make",
    "python3-pip",
    "sudo",
];

/// What the benches compare against, on top.
pub const FOR_BENCHES: &[&str] = &["postgresql-15-partman"];

/// The drop-in that tells Debian's packaging to make no server of its own.
const NO_CLUSTER: &str = "/etc/postgresql-common/createcluster.d/pg_eventkit.conf";

/// The installed version of a package; none when it is not installed.
///
/// # Errors
/// When there is no dpkg to ask.
pub fn installed(package: &str) -> Result<Option<String>> {
    let answer = output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Abbrev} ${Version}", package]))
        .context("this set-up knows Debian 12 only")?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    Ok(text.strip_prefix("ii ").map(|version| version.trim().to_owned()))
}

/// Installs those of the packages that are missing.
///
/// # Errors
/// When something cannot be had; the error says what to type.
pub fn ensure(wanted: &[&str]) -> Result<()> {
    let mut missing = Vec::new();
    for package in wanted {
        if installed(package)?.is_none() {
            missing.push(*package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    say(format!("installing Debian packages: {list}"));
    let advice = || format!("Debian packages are missing; install them by hand: sudo apt-get install {list}");
    run(as_root("apt-get").args(["update", "-q"])).with_context(advice)?;
    let first_server = missing.contains(&"postgresql-15");
    if first_server {
        forbid_cluster()?;
    }
    let installing = run(as_root("env")
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install"])
        .args(["-y", "-q", "--no-install-recommends"])
        .args(&missing))
    .with_context(advice);
    if first_server {
        // Whatever came of the installation: the next server somebody installs here is their own business.
        run(as_root("rm").args(["-f", NO_CLUSTER]))?;
    }
    installing
}

fn forbid_cluster() -> Result<()> {
    let folder = Path::new(NO_CLUSTER).parent().unwrap_or(Path::new("/"));
    run(as_root("mkdir").arg("-p").arg(folder))?;
    let line = format!("echo 'create_main_cluster = false' > {NO_CLUSTER}");
    read(as_root("sh").args(["-c", &line])).map(drop)
}

fn as_root(program: &str) -> Command {
    if is_root() {
        Command::new(program)
    } else {
        let mut command = Command::new("sudo");
        command.arg(program);
        command
    }
}
