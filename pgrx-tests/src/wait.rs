//! Waiting for a state of the server instead of for a length of time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::session::Session;

/// The longest any state may take to come about.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a session waits for a lock.
///
/// # Errors
/// When it does not within the deadline; the error says what the session does instead.
pub fn until_blocked(cluster: &Cluster, session: &Session) -> Result<()> {
    let pid = session.pid();
    // Asked in the maintenance database: pg_locks and pg_stat_activity show all of them.
    until(cluster, "postgres", &format!("EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"))
        .with_context(|| format!("session {} (process {pid}) never waited for a lock", session.name()))
}

/// Waits until a condition over the catalog or the tables of a database is true.
///
/// # Errors
/// When it does not come true within the deadline; the error lists what the sessions do.
pub fn until(cluster: &Cluster, database: &str, condition: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut client = cluster.connect(database)?;
    loop {
        let holds: Option<bool> = client.query_one(&format!("SELECT ({condition})"), &[])?.try_get(0)?;
        if holds == Some(true) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let activity = client.query(
                "SELECT format('%s %s %s %s: %s', pid, application_name, state, wait_event, left(query, 100)) \
                 FROM pg_stat_activity WHERE backend_type = 'client backend' ORDER BY pid",
                &[],
            )?;
            let lines: Vec<String> = activity.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            bail!("not true after {} s: {condition}\n{}", PATIENCE.as_secs(), lines.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
