//! Builds the extension and installs it into a server copy.

use anyhow::{Context, Result};

use crate::command::{cargo, run, say};
use crate::place::{PgVersion, pg_config};

/// How the extension is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build, for the tests.
    Debug,
    /// As users run it, for the demo and the benches.
    Release,
}

/// Builds the extension and installs it into the copy of one version.
///
/// # Errors
/// When it does not build or cannot be installed.
pub fn install(version: PgVersion, profile: Profile) -> Result<()> {
    say(format!("building and installing the extension for PostgreSQL {version}"));
    run(&mut command(version, profile)).with_context(|| format!("the extension does not install on {version}"))
}

/// The command that does it.
#[must_use]
pub fn command(version: PgVersion, profile: Profile) -> std::process::Command {
    let mut install = cargo();
    install.args(["pgrx", "install", "--package", "pg_eventkit", "--pg-config"]).arg(pg_config(version));
    install.args(["--no-default-features", "--features", version.feature()]);
    if profile == Profile::Release {
        install.arg("--release");
    }
    install
}
