//! Timing: contenders in turn on one connection, the wall clock here and the backend's processor time from the kernel;
//! before that their results compared, and their memory each on a connection of its own where a goal asks for it.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use postgres::{Client, SimpleQueryMessage};

use super::suite::{Rule, Suite};
use crate::Cluster;
use crate::command::say;

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
    // One round before those that count: plans, caches and the tables' pages are warm for everybody alike.
    for round in 0..=suite.runs {
        say(format!("{}: round {round} of {}", suite.name, suite.runs));
        for (contender, samples) in suite.contenders.iter().zip(&mut samples) {
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
    for (contender, (samples, result)) in suite.contenders.iter().zip(samples.iter().zip(results)) {
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
        });
    }
    Ok(timings)
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
