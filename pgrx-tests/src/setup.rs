//! Makes the machine ready: packages, tools, servers, in that order; quick when nothing is missing.

use std::fs::{File, TryLockError};

use anyhow::{Context, Result};

use crate::command::say;
use crate::place::{PgVersion, make_work};
use crate::{packages, servers, tools};

/// Held as long as the server copies are in use: two runs that install into one of them would collide.
#[derive(Debug)]
pub struct Ready {
    _lock: File,
}

/// Makes the machine ready for the given versions.
///
/// # Errors
/// When something cannot be had; the error says what to do.
pub fn ready(versions: &[PgVersion], extra_packages: &[&str]) -> Result<Ready> {
    let work = make_work()?;
    let lock = File::create(work.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say("waiting for another run in this checkout to end");
            lock.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the work folder"),
    }
    let wanted: Vec<&str> = packages::FOR_TESTS.iter().chain(extra_packages).copied().collect();
    packages::ensure(&wanted)?;
    tools::ensure_pgrx()?;
    for version in versions {
        servers::ensure(*version)?;
    }
    servers::configure_pgrx()?;
    Ok(Ready { _lock: lock })
}
