//! Work that is more than one query: statements that commit, tables made anew for each run, others who work beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use postgres::Client;
use postgres::error::SqlState;

use crate::Cluster;

/// How long those beside are at work before the clock starts.
const HEAD_START: Duration = Duration::from_millis(500);

/// Statements that are timed as one piece of work. Each is sent by itself, so that it may commit.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Run before each timing, untimed.
    pub prepare: Vec<String>,
    /// The timed statements; nothing but the time that those beside get, where there are none.
    pub statements: Vec<String>,
    /// Timed as well, after those beside have ended.
    pub at_last: Vec<String>,
    /// A query that gives true when the rows are what they should be; asked after each run.
    pub check: Option<String>,
    /// Who works meanwhile.
    pub beside: Vec<Beside>,
}

/// Somebody with a connection of his own who does the same thing again and again.
#[derive(Clone, Debug)]
pub struct Beside {
    /// What the table calls it.
    pub label: String,
    /// His statement, or several as one transaction.
    pub sql: String,
    /// His pause after each; none: he does it once.
    pub pause: Option<Duration>,
    /// Whether his longest wait counts for the goals.
    pub probes: bool,
}

/// What somebody waited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waited {
    /// Who.
    pub label: String,
    /// Whether it counts for the goals.
    pub probes: bool,
    /// Each of his turns.
    pub seconds: Vec<f64>,
}

impl Waited {
    /// The longest wait.
    #[must_use]
    pub fn longest(&self) -> f64 {
        self.seconds.iter().copied().fold(0.0, f64::max)
    }

    /// The wait that this part of the turns did not exceed.
    #[must_use]
    pub fn part(&self, part: f64) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() as f64 * part).ceil() as usize;
        sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// A job that was run.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Seconds on the wall clock.
    pub wall: f64,
    /// What those beside waited.
    pub waited: Vec<Waited>,
}

/// Makes what a job works on.
///
/// # Errors
/// When a statement fails.
pub fn prepare(client: &mut Client, job: &Job) -> Result<()> {
    for sql in &job.prepare {
        client.batch_execute(sql).with_context(|| sql.clone())?;
    }
    Ok(())
}

/// Runs a job once.
///
/// # Errors
/// When a statement fails, or one of somebody beside, other than by a deadlock.
pub fn run_job(cluster: &Cluster, client: &mut Client, database: &str, job: &Job) -> Result<Done> {
    let mut clients = Vec::new();
    for who in &job.beside {
        clients.push((who, cluster.connect(database)?));
    }
    let (begun, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut run_all = |statements: &[String]| -> Result<f64> {
        let began = Instant::now();
        for sql in statements {
            client.batch_execute(sql).with_context(|| sql.clone())?;
        }
        Ok(began.elapsed().as_secs_f64())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = clients
            .into_iter()
            .map(|(who, client)| {
                let (begun, ended) = (&begun, &ended);
                scope.spawn(move || work(client, who, begun, ended))
            })
            .collect();
        if !workers.is_empty() {
            std::thread::sleep(HEAD_START);
        }
        begun.store(true, Ordering::Relaxed);
        let first = run_all(&job.statements);
        ended.store(true, Ordering::Relaxed);
        let waited: Result<Vec<Waited>> =
            workers.into_iter().map(|w| w.join().map_err(|_| anyhow!("somebody beside gave up"))?).collect();
        let (first, waited) = (first?, waited?);
        Ok(Done { wall: first + run_all(&job.at_last)?, waited })
    })
}

/// Does one's turns until the work has ended; those count that end after it began.
fn work(mut client: Client, who: &Beside, begun: &AtomicBool, ended: &AtomicBool) -> Result<Waited> {
    let mut waited = Waited { label: who.label.clone(), probes: who.probes, seconds: Vec::new() };
    while !ended.load(Ordering::Relaxed) {
        let began = Instant::now();
        match client.batch_execute(&who.sql) {
            // The server counts it.
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {}
            other => other.with_context(|| format!("{}, beside: {}", who.label, who.sql))?,
        }
        if begun.load(Ordering::Relaxed) {
            waited.seconds.push(began.elapsed().as_secs_f64());
        }
        let Some(pause) = who.pause else { break };
        std::thread::sleep(pause);
    }
    Ok(waited)
}

#[cfg(test)]
mod tests {
    use super::Waited;

    #[test]
    fn parts_of_the_waits() {
        let waited = Waited { seconds: (1..=100).rev().map(f64::from).collect(), ..Waited::default() };
        assert_eq!((waited.part(0.5), waited.part(0.99), waited.longest()), (50.0, 99.0, 100.0));
        assert!(Waited::default().part(0.5).is_nan());
    }
}
