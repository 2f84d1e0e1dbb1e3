//! Timing: contenders in turn on one connection, the wall clock here and the backend's processor time from the kernel.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use postgres::Client;

use super::suite::Suite;
use crate::command::say;

/// The medians of one contender.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Seconds on the wall clock.
    pub wall: f64,
    /// Seconds of the backend's processor time.
    pub cpu: f64,
    /// The fastest run's wall clock.
    pub best: f64,
}

/// Runs a suite; the timings are in the order of its contenders.
///
/// # Errors
/// When a statement fails or two contenders have one label.
pub fn measure(client: &mut Client, suite: &Suite) -> Result<Vec<Timing>> {
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
    // One round before those that count: plans, caches and the tables' pages are warm for everybody alike.
    for round in 0..=suite.runs {
        say(format!("{}: round {round} of {}", suite.name, suite.runs));
        for (contender, samples) in suite.contenders.iter().zip(&mut samples) {
            if let Some(before) = &contender.before {
                client.batch_execute(before).with_context(|| format!("before {}", contender.label))?;
            }
            let (cpu, began) = (cpu_seconds(backend)?, Instant::now());
            client.simple_query(&contender.sql).with_context(|| format!("contender {}", contender.label))?;
            let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(backend)? - cpu);
            if round > 0 {
                samples.push((wall, cpu));
            }
        }
    }
    Ok(samples
        .iter()
        .map(|samples| Timing {
            wall: median(samples.iter().map(|s| s.0)),
            cpu: median(samples.iter().map(|s| s.1)),
            best: samples.iter().map(|s| s.0).fold(f64::INFINITY, f64::min),
        })
        .collect())
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
