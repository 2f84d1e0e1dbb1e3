//! Cargo's subcommands that the checks need, each at one version.

use anyhow::{Context, Result};

use crate::command::{cargo, output, run, say};

/// The version of cargo-pgrx; it must be that of the pgrx crate.
const CARGO_PGRX: &str = "0.18.1";
const CARGO_DENY: &str = "0.20.2";

/// Makes sure of cargo-pgrx.
///
/// # Errors
/// When it cannot be installed.
pub fn ensure_pgrx() -> Result<()> {
    ensure_tool("pgrx", CARGO_PGRX)
}

/// Makes sure of cargo-deny, rustfmt and clippy.
///
/// # Errors
/// When one of them cannot be installed.
pub fn ensure_checkers() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !output(cargo().args([subcommand, "--version"]))?.status.success() {
            say(format!("installing {component}"));
            run(std::process::Command::new("rustup").args(["component", "add", component]))
                .with_context(|| format!("{component} is missing: rustup component add {component}"))?;
        }
    }
    ensure_tool("deny", CARGO_DENY)
}

fn ensure_tool(subcommand: &str, version: &str) -> Result<()> {
    let there = output(cargo().args([subcommand, "--version"]))?;
    let text = String::from_utf8_lossy(&there.stdout);
    if there.status.success() && text.split_whitespace().last() == Some(version) {
        return Ok(());
    }
    let name = format!("cargo-{subcommand}");
    say(format!("installing {name} {version} (some minutes)"));
    run(cargo().args(["install", &name, "--version", version, "--locked", "--force"]))
        .with_context(|| format!("{name} is missing: cargo install {name} --version {version} --locked"))
}
