//! The results as text: one section per suite, in a file where a run replaces only the sections it measured.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use postgres::Client;

use super::job::Waited;
use super::measure::{Timing, busy_cores};
use super::suite::{Clock, Goal, Rule, Suite};
use crate::place::checkout;

const PREAMBLE: &str = "\
# Bench results

Written by `cargo bench-all`; `cargo bench-all <suite>` measures one suite and replaces its section alone. Contenders
run in turn on one connection after a warm-up round; the times are medians. Goals are ratios within one run, judged by
the backend's processor time, because that is the same on a busy machine; the ratio of the wall clocks stands beside it.
Where contenders should give the same result, that is checked before anything is timed, and the run fails otherwise.
Loads make their tables anew, untimed, before each run; they have no warm-up round, and their rows (number and sums) are
checked after each run. A load that is too slow is run on the part of the data that its line names, and its times are scaled.
The server's C library is told to keep freed memory (MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_=4294967296): otherwise
each contender, detoasting alone as well, takes once or twice its time, depending on what was freed before it.
";

/// The settings worth knowing when reading a result.
const SETTINGS: [&str; 9] = [
    "shared_buffers",
    "work_mem",
    "maintenance_work_mem",
    "max_wal_size",
    "fsync",
    "jit",
    "max_parallel_workers_per_gather",
    "max_parallel_maintenance_workers",
    "default_toast_compression",
];

/// The section of one suite.
///
/// # Errors
/// When the server does not say what it is, or a goal names a contender that does not exist.
pub fn section(client: &mut Client, suite: &Suite, timings: &[Timing]) -> Result<(String, usize)> {
    let busy =
        busy_cores().map_or(String::new(), |cores| format!("; other work kept {cores:.1} cores busy after the run"));
    let mut text = format!("## {}\n\n{}\n\n", suite.name, suite.about);
    let width =
        suite.contenders.iter().map(|c| c.label.chars().count()).max().unwrap_or(0).max("a fresh backend".len());
    writeln!(
        text,
        "```text\n{:<width$} | {:>10} | {:>10} | {:>10} | what",
        "contender", "wall ms", "best ms", "cpu ms"
    )?;
    for (contender, t) in suite.contenders.iter().zip(timings) {
        let (wall, best, cpu) = (t.wall * 1e3, t.best * 1e3, t.cpu * 1e3);
        let label = &contender.label;
        writeln!(text, "{label:<width$} | {wall:>10.1} | {best:>10.1} | {cpu:>10.1} | {}", contender.note)?;
    }
    text.push_str("```\n\n");
    text.push_str(&waits(suite, timings)?);
    let mut missed = 0;
    // That results agree was checked before; a line would say no more.
    let judged = || suite.goals.iter().filter(|goal| goal.rule != Rule::Agrees);
    let any = judged().next().is_some();
    if any {
        writeln!(
            text,
            "```text\n{:<width$} | {:<width$} | {:<40} | {:>7} | {:>7} |",
            "goal of", "against", "asked", "cpu", "wall"
        )?;
    }
    for goal in judged() {
        let timing = |label: &str| {
            let at = suite.contenders.iter().position(|c| c.label == label);
            at.and_then(|i| timings.get(i)).with_context(|| format!("a goal names no contender: {label}"))
        };
        let judgement = judge(goal, timing(&goal.ours)?, timing(&goal.other)?)?;
        missed += usize::from(judgement.verdict == MISSED);
        let Judgement { against, cpu, wall, verdict } = judgement;
        let (ours, asked) = (&goal.ours, goal.rule.text());
        writeln!(text, "{ours:<width$} | {against:<width$} | {asked:<40} | {cpu:>7} | {wall:>7} | {verdict}")?;
    }
    if any {
        text.push_str("```\n\n");
    }
    writeln!(text, "{}", circumstances(client, suite, &busy)?)?;
    Ok((text, missed))
}

const MISSED: &str = "MISSED";

/// What a goal's line says.
struct Judgement<'a> {
    against: &'a str,
    cpu: String,
    wall: String,
    verdict: &'static str,
}

fn judge<'a>(goal: &'a Goal, ours: &Timing, other: &Timing) -> Result<Judgement<'a>> {
    let verdict = |met: bool, when_met: &'static str| if met { when_met } else { MISSED };
    let alone = |against: &'static str, cpu: String, wall: String, value: f64| {
        let verdict = verdict(goal.rule.is_met_by(value), "met");
        Judgement { against, cpu, wall, verdict }
    };
    let of = &goal.ours;
    Ok(match goal.rule {
        Rule::Memory(_) => {
            let memory = ours.memory.with_context(|| format!("no memory of {of}"))?;
            alone("a fresh backend", format!("{memory:.1} MB"), String::new(), memory)
        }
        Rule::Waits(_) => {
            let longest = ours.waited.iter().filter(|w| w.probes).map(Waited::longest).reduce(f64::max);
            let longest = longest.with_context(|| format!("nobody works beside {of}"))? * 1e3;
            alone("", String::new(), format!("{longest:.0} ms"), longest)
        }
        Rule::NoDeadlock => {
            let found = ours.deadlocks;
            alone("", String::new(), found.to_string(), if found == 0 { 0.0 } else { 1.0 })
        }
        Rule::Says(_) => {
            let said = ours.said.with_context(|| format!("nobody listened to {of}"))?;
            alone("", String::new(), String::new(), f64::from(u8::from(said)))
        }
        Rule::Within(_) => Judgement {
            verdict: verdict(goal.rule.is_met_by(ours.best), "met by the best wall clock"),
            ..alone("", format!("{:.2} s", ours.cpu), format!("{:.2} s", ours.best), ours.best)
        },
        Rule::Faster(_) | Rule::Costs(_) | Rule::Grows { .. } | Rule::Agrees => {
            let cpu = goal.rule.ratio(ours.cpu, other.cpu);
            let (wall, verdict) = match goal.clock {
                Clock::Processor => (goal.rule.ratio(ours.wall, other.wall), verdict(goal.rule.is_met_by(cpu), "met")),
                Clock::BestWall => {
                    let wall = goal.rule.ratio(ours.best, other.best);
                    (wall, verdict(goal.rule.is_met_by(wall), "met by the best wall clock"))
                }
            };
            Judgement { against: &goal.other, cpu: format!("{cpu:.2}"), wall: format!("{wall:.2}"), verdict }
        }
    })
}

/// What those waited who worked beside the contenders; empty where nobody did.
fn waits(suite: &Suite, timings: &[Timing]) -> Result<String> {
    let lines: Vec<_> = suite
        .contenders
        .iter()
        .zip(timings)
        .flat_map(|(contender, t)| t.waited.iter().map(|waited| (contender.label.as_str(), waited)))
        .collect();
    if lines.is_empty() {
        return Ok(String::new());
    }
    let (beside, who) = ("beside", "who");
    let width = |labels: &mut dyn Iterator<Item = &str>| labels.map(|l| l.chars().count()).max().unwrap_or(0);
    let width_of_label = width(&mut lines.iter().map(|(label, _)| *label)).max(beside.len());
    let width_of_who = width(&mut lines.iter().map(|(_, waited)| waited.label.as_str()));
    let mut text = format!(
        "```text\n{beside:<width_of_label$} | {who:<width_of_who$} | {:>7} | {:>9} | {:>9} | {:>10}\n",
        "turns", "median ms", "99 % ms", "longest ms"
    );
    for (label, waited) in lines {
        let (median, most) = (waited.part(0.5) * 1e3, waited.part(0.99) * 1e3);
        writeln!(
            text,
            "{label:<width_of_label$} | {:<width_of_who$} | {:>7} | {median:>9.1} | {most:>9.1} | {:>10.1}",
            waited.label,
            waited.seconds.len(),
            waited.longest() * 1e3
        )?;
    }
    text.push_str("```\n\n");
    Ok(text)
}

/// On what and how it was measured.
fn circumstances(client: &mut Client, suite: &Suite, busy: &str) -> Result<String> {
    let row = client.query_one("SELECT current_setting('server_version'), current_date::text", &[])?;
    let (version, date): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let mut settings = Vec::new();
    for name in SETTINGS {
        let value: String = client.query_one("SELECT current_setting($1)", &[&name])?.try_get(0)?;
        settings.push(format!("{name} {value}"));
    }
    Ok(format!(
        "{date}, `cargo bench-all {}{}`, {} runs each; {}{busy}; PostgreSQL {version}: {}.",
        if super::peers::take_part(suite) { "--peers " } else { "" },
        suite.name,
        suite.runs,
        machine(),
        settings.join(", ")
    ))
}

fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once(':').map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kilobytes: u64 = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    format!("{}, {cores} cores, {} GB", field("/proc/cpuinfo", "model name"), kilobytes.div_ceil(1024 * 1024))
}

/// The results file.
#[must_use]
pub fn file() -> PathBuf {
    checkout().join("pgrx-tests/benches/RESULTS.md")
}

/// Puts a section into the results, in the order of all suites, in place of its predecessor.
///
/// # Errors
/// When the file cannot be written.
pub fn store(name: &str, section: &str, order: &[String]) -> Result<()> {
    if let Some(folder) = file().parent() {
        std::fs::create_dir_all(folder)?;
    }
    let old = std::fs::read_to_string(file()).unwrap_or_default();
    std::fs::write(file(), replaced(&old, name, section, order))
        .with_context(|| format!("cannot write {}", file().display()))
}

fn replaced(old: &str, name: &str, section: &str, order: &[String]) -> String {
    let mut page = PREAMBLE.to_owned();
    for suite in order {
        let heading = format!("## {suite}\n");
        let text = if suite == name {
            Some(section)
        } else {
            old.find(&heading).map(|at| {
                let rest = &old[at..];
                rest[3..].find("\n## ").map_or(rest, |end| &rest[..end + 4])
            })
        };
        if let Some(text) = text {
            page.push('\n');
            page.push_str(text.trim_end());
            page.push('\n');
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{PREAMBLE, replaced};

    #[test]
    fn a_section_takes_the_place_of_its_predecessor() {
        let order = ["a", "b", "c"].map(str::to_owned);
        let first = replaced("", "b", "## b\n\nold\n", &order);
        let second = replaced(&first, "a", "## a\n\nfirst\n", &order);
        let third = replaced(&second, "b", "## b\n\nnew\n", &order);
        assert_eq!(third, format!("{PREAMBLE}\n## a\n\nfirst\n\n## b\n\nnew\n"));
    }
}
