//! One server for all tests of a binary that need none of their own, and a database for each of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use anyhow::{Result, anyhow};

use crate::cluster::{Cluster, ClusterBuilder};
use crate::place::PgVersion;

/// A database of a test's own on the shared server.
#[derive(Debug, Clone)]
pub struct Database {
    /// The server.
    pub cluster: &'static Cluster,
    /// The database's name.
    pub name: String,
}

impl Database {
    /// Connects as the superuser.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn connect(&self) -> Result<postgres::Client> {
        self.cluster.connect(&self.name)
    }

    /// Opens a named session as the superuser.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn session(&self, name: &str) -> Result<crate::Session> {
        crate::Session::open(self.cluster, &self.name, name)
    }
}

/// The shared server; started by the first who asks, removed when the test binary ends.
///
/// # Errors
/// When it cannot be started.
pub fn cluster() -> Result<&'static Cluster> {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    let _only_one = STARTING.lock().map_err(|_| anyhow!("another test failed while it started the shared server"))?;
    if let Some(cluster) = SHARED.get() {
        return Ok(cluster);
    }
    let cluster = ClusterBuilder::new(PgVersion::under_test()?).setting("max_connections = 200").start()?;
    Ok(SHARED.get_or_init(|| cluster))
}

/// An empty database on the shared server.
///
/// # Errors
/// When it cannot be made.
pub fn empty_database() -> Result<Database> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let cluster = cluster()?;
    let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
    cluster.create_database(&name)?;
    Ok(Database { cluster, name })
}

/// A database with the extension on the shared server.
///
/// # Errors
/// When it cannot be made, or the extension is not installed.
pub fn database() -> Result<Database> {
    let database = empty_database()?;
    database.cluster.create_extension(&database.name)?;
    Ok(database)
}
