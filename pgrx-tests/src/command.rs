//! Running programs: what a failure says, and which of cargo's variables a child must not inherit.

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use crate::place;

/// Prints one line of progress.
pub fn say(line: impl std::fmt::Display) {
    println!("==> {line}");
}

/// A cargo command in the checkout.
///
/// `cargo run` sets variables about the package it runs; a nested cargo must not see them, or build scripts that
/// watch them run again.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|p| name.starts_with(p));
        if ours || matches!(name, "CARGO" | "CARGO_PRIMARY_PACKAGE" | "LD_LIBRARY_PATH") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(place::checkout())
        .env("PGRX_HOME", place::pgrx_home())
        // With the workaround the test build and the install build have different flags: everything is built twice.
        .env("CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND", "1");
    command
}

/// Runs a command with its output on our terminal.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs a command and returns what it wrote to its standard output.
///
/// # Errors
/// When it cannot be started or fails; the error carries what it wrote.
pub fn read(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "{} failed ({})\n{}{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command and returns all that came of it.
///
/// # Errors
/// When it cannot be started.
pub fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("cannot run {}", shown(command)))
}

/// The command as one would type it.
#[must_use]
pub fn shown(command: &Command) -> String {
    let mut words = vec![PathBuf::from(command.get_program()).display().to_string()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}
