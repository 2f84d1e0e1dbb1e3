//! Timing: contenders in turn on one connection, the wall clock here and the backend's processor time from the kernel;
//! before that their results compared, and their memory and what the server says each on a connection of its own where a
//! goal asks for it.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use postgres::{Client, SimpleQueryMessage};

use super::job::{Job, Waited, prepare, run_job};
use super::suite::{Contender, Rule, Suite};
use crate::command::say;
use crate::{Cluster, Session};

/// The medians of one contender.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timing {
    /// Seconds on the wall clock.
    pub wall: f64,
    /// Seconds of the backend's processor time.
    pub cpu: f64,
    /// The fastest run's wall clock.
    pub best: f64,
    /// Megabytes by which one run made a fresh backend larger, where a goal asks.
    pub memory: Option<f64>,
    /// What it gave: rows in lines, columns by blanks.
    pub result: String,
    /// What those waited who worked beside it, all runs together.
    pub waited: Vec<Waited>,
    /// How many deadlocks the server found, in all runs together.
    pub deadlocks: i64,
    /// For each goal that it is judged by whether the server said the words; none where no goal asks.
    pub said: Option<bool>,
}

/// Runs a suite in the database of its name; the timings are in the order of its contenders.
///
/// # Errors
/// When a statement fails, two contenders have one label, or results differ that should agree.
pub fn measure(cluster: &Cluster, client: &mut Client, suite: &Suite) -> Result<Vec<Timing>> {
    let mut labels = HashMap::new();
    for (i, contender) in suite.contenders.iter().enumerate() {
        if labels.insert(&contender.label, i).is_some() {
            bail!("suite {} has two contenders \"{}\"", suite.name, contender.label);
        }
    }
    say(format!("{}: data", suite.name));
    for sql in &suite.setup {
        client
            .batch_execute(sql)
            .with_context(|| format!("the data of suite {} cannot be made:\n{sql}", suite.name))?;
    }
    let backend: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.try_get(0)?;
    let mut samples: Vec<Vec<(f64, f64)>> = vec![Vec::new(); suite.contenders.len()];
    let mut results = Vec::new();
    let mut beside: Vec<(Vec<Waited>, i64)> = vec![(Vec::new(), 0); suite.contenders.len()];
    // One round before those that count: plans, caches and the tables' pages are warm for everybody alike. A job makes
    // what it works on anew each time.
    let first = usize::from(suite.contenders.iter().all(|contender| contender.job.is_some()));
    for round in first..=suite.runs {
        say(format!("{}: round {round} of {}", suite.name, suite.runs));
        for ((contender, samples), beside) in suite.contenders.iter().zip(&mut samples).zip(&mut beside) {
            if let Some(job) = &contender.job {
                if round > 0 {
                    let sample = timed_job(cluster, client, &suite.name, backend, contender, job, beside)?;
                    say(format!("{}: {} took {:.2} s", suite.name, contender.label, sample.0));
                    samples.push(sample);
                }
                if round <= 1 && results.len() < suite.contenders.len() {
                    results.push(String::new());
                }
                continue;
            }
            if let Some(before) = &contender.before {
                client.batch_execute(before).with_context(|| format!("before {}", contender.label))?;
            }
            let (cpu, began) = (cpu_seconds(backend)?, Instant::now());
            let answer =
                client.simple_query(&contender.sql).with_context(|| format!("contender {}", contender.label))?;
            let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(backend)? - cpu);
            if round > 0 {
                samples.push((wall, cpu));
            } else {
                results.push(text(&answer));
            }
        }
        if round == 0 {
            compare(suite, &labels, &results)?;
        }
    }
    let mut timings = Vec::new();
    let measured = samples.iter().zip(results).zip(beside);
    for (contender, ((samples, result), (waited, deadlocks))) in suite.contenders.iter().zip(measured) {
        let asked = |goal: &super::Goal| goal.ours == contender.label && matches!(goal.rule, Rule::Memory(_));
        let memory = if suite.goals.iter().any(asked) {
            let mut fresh = cluster.connect(&suite.name)?;
            Some(memory_of(&mut fresh, contender.before.as_deref(), &contender.sql)?)
        } else {
            None
        };
        timings.push(Timing {
            wall: median(samples.iter().map(|s| s.0)),
            cpu: median(samples.iter().map(|s| s.1)),
            best: samples.iter().map(|s| s.0).fold(f64::INFINITY, f64::min),
            memory,
            result,
            waited,
            deadlocks,
            said: said(cluster, suite, contender)?,
        });
    }
    Ok(timings)
}

/// Times a job once, its times scaled to the whole; adds what those beside it waited.
fn timed_job(
    cluster: &Cluster,
    client: &mut Client,
    database: &str,
    backend: i32,
    contender: &Contender,
    job: &Job,
    (waited, deadlocks): &mut (Vec<Waited>, i64),
) -> Result<(f64, f64)> {
    prepare(client, job).with_context(|| format!("before {}", contender.label))?;
    let before = found_deadlocks(cluster, client, database)?;
    let cpu = cpu_seconds(backend)?;
    let done = run_job(cluster, client, database, job).with_context(|| format!("contender {}", contender.label))?;
    let cpu = cpu_seconds(backend)? - cpu;
    *deadlocks += found_deadlocks(cluster, client, database)? - before;
    for new in done.waited {
        match waited.iter_mut().find(|known| known.label == new.label) {
            Some(known) => known.seconds.extend(new.seconds),
            None => waited.push(new),
        }
    }
    if let Some(check) = &job.check {
        let right: Option<bool> = client.query_one(check, &[])?.try_get(0)?;
        if right != Some(true) {
            bail!("\"{}\" gives other rows than it should:\n{check}", contender.label);
        }
    }
    Ok((done.wall, cpu))
}

/// The deadlocks that the server has found in a database so far.
fn found_deadlocks(cluster: &Cluster, client: &mut Client, database: &str) -> Result<i64> {
    client.batch_execute("SELECT pg_stat_force_next_flush()")?;
    let mut fresh = cluster.connect(database)?;
    let query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    Ok(fresh.query_one(query, &[])?.try_get(0)?)
}

/// Whether the server says the words that a goal asks for; the contender runs once more for that.
fn said(cluster: &Cluster, suite: &Suite, contender: &Contender) -> Result<Option<bool>> {
    let asked = suite.goals.iter().find_map(|goal| match goal.rule {
        Rule::Says(words) if goal.ours == contender.label => Some(words),
        _ => None,
    });
    let Some(words) = asked else { return Ok(None) };
    let session = Session::open(cluster, &suite.name, "listener")?;
    let statements = contender.job.as_ref().map_or_else(
        || (contender.before.iter().cloned().collect(), vec![contender.sql.clone()]),
        |job| (job.prepare.clone(), job.statements.clone()),
    );
    for sql in &statements.0 {
        session.query(sql)?;
    }
    session.query("SET client_min_messages = debug1")?;
    let _ = session.take_notices();
    for sql in &statements.1 {
        session.query(sql)?;
    }
    Ok(Some(session.take_notices().iter().any(|notice| notice.contains(words))))
}

fn text(answer: &[SimpleQueryMessage]) -> String {
    let mut lines = Vec::new();
    for message in answer {
        if let SimpleQueryMessage::Row(row) = message {
            lines.push((0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect::<Vec<_>>().join(" "));
        }
    }
    lines.join("\n")
}

/// As much of a result as a message bears.
fn beginning(result: &str) -> &str {
    result.get(..1000).unwrap_or(result)
}

fn compare(suite: &Suite, labels: &HashMap<&String, usize>, results: &[String]) -> Result<()> {
    for goal in suite.goals.iter().filter(|goal| goal.rule == Rule::Agrees) {
        let of = |label: &String| labels.get(label).and_then(|at| results.get(*at));
        let (ours, other) = (of(&goal.ours), of(&goal.other));
        if ours.is_none() || ours != other {
            bail!(
                "suite {}: \"{}\" and \"{}\" give different results:\n{}\n---\n{}",
                suite.name,
                goal.ours,
                goal.other,
                ours.map_or("(no contender)", |result| beginning(result)),
                other.map_or("(no contender)", |result| beginning(result))
            );
        }
    }
    Ok(())
}

/// By how many megabytes a statement makes its backend larger. What was freed is counted as well: the server of the
/// benches keeps it, so this is the most that the statement ever held.
fn memory_of(client: &mut Client, before: Option<&str>, sql: &str) -> Result<f64> {
    let backend: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.try_get(0)?;
    client.batch_execute(before.unwrap_or_default())?;
    let start = own_megabytes(backend)?;
    client.simple_query(sql)?;
    Ok(own_megabytes(backend)? - start)
}

/// The memory that a process shares with no other.
fn own_megabytes(pid: i32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the backend is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("the kernel counts no RssAnon")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().context("RssAnon is odd")?;
    Ok(kilobytes / 1024.0)
}

/// How many cores other work keeps busy, measured over a moment in which nothing of ours runs.
#[must_use]
pub fn busy_cores() -> Option<f64> {
    let busy = || -> Option<f64> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let fields: Vec<f64> = text.lines().next()?.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; ticks of 10 ms.
        Some([0, 1, 2, 5, 6, 7].iter().filter_map(|at| fields.get(*at)).sum::<f64>() / 100.0)
    };
    let (before, began) = (busy()?, Instant::now());
    std::thread::sleep(std::time::Duration::from_secs(1));
    Some((busy()? - before) / began.elapsed().as_secs_f64())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => f64::NAN,
        (1, Some(value)) => *value,
        (_, Some(value)) => (sorted[middle - 1] + value) / 2.0,
    }
}

/// The processor time of a process so far. The scheduler's own figure is in nanoseconds; utime + stime only in ticks
/// of 10 ms, too coarse for what is measured here, so they are taken only where the kernel keeps nothing better.
fn cpu_seconds(pid: i32) -> Result<f64> {
    if let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))
        && let Some(nanoseconds) = text.split_whitespace().next().and_then(|field| field.parse::<f64>().ok())
        && nanoseconds > 0.0
    {
        return Ok(nanoseconds / 1e9);
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the backend is gone")?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).context("/proc/pid/stat is odd");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }
}
