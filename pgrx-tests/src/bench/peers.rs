//! Other engines over the same events, on request: `cargo bench-all --peers`. They are no goals; they say where we stand.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use postgres::Client;

use super::funnel_data::{Form, arrays, conditions, more_rows, names};
use super::measure::Timing;
use super::suite::{Contender, Goal, Suite};
use crate::command::{read, run, say};
use crate::place::{checkout, work};

const PREFIX: &str = "funnel-peers";

/// The suites that the peers take part in.
#[must_use]
pub fn suites() -> Vec<Suite> {
    [(3, 1), (5, 1), (3, 10), (5, 10)].map(|(steps, copies)| suite(steps, copies)).to_vec()
}

/// Whether a suite is one that needs the peers.
#[must_use]
pub fn take_part(suite: &Suite) -> bool {
    suite.name.starts_with(PREFIX)
}

/// How many steps a suite of the peers has.
fn steps_of(suite: &Suite) -> usize {
    if suite.name.starts_with(&format!("{PREFIX}-5")) { 5 } else { 3 }
}

fn levels(of: &str) -> String {
    format!("SELECT level, count(*) FROM ({of} OFFSET 0) AS l WHERE level > 0 GROUP BY level ORDER BY level")
}

fn suite(steps: usize, copies: usize) -> Suite {
    let mut setup = arrays(Form::Jsonb, steps, copies);
    setup.push("ALTER TABLE u RENAME TO jsonb_arrays".to_owned());
    // The rows are there already, in order.
    setup.extend(arrays(Form::Hstore, steps, copies).into_iter().filter(|sql| !sql.contains("TABLE e ")));
    setup.push("ALTER TABLE u RENAME TO hstore_arrays".to_owned());
    if copies > 1 {
        setup.extend(more_rows(copies));
    }
    // As a table has them that is clustered by user and time, which is how the peers get theirs.
    setup.push("CREATE TABLE by_user AS SELECT * FROM e ORDER BY user_id, at".to_owned());
    setup.push("CREATE INDEX ON by_user (user_id, at)".to_owned());
    setup.push("VACUUM ANALYZE".to_owned());
    let level = |table: &str| {
        format!("SELECT eventkit.funnel_level(events, ARRAY[{}], '6 hours') AS level FROM {table}", names(steps))
    };
    let rows = format!(
        "SELECT eventkit.window_funnel('6 hours', at, {}) AS level FROM by_user WHERE name IN ({}) GROUP BY user_id",
        conditions(steps),
        names(steps)
    );
    let scale = if copies == 1 { String::new() } else { format!("-{copies}M") };
    Suite {
        name: format!("{PREFIX}-{steps}{scale}"),
        about: format!(
            "{copies} million events of {} users, 37 % of them steps, 50 names; {steps} steps, window 6 hours. Peers are \
             outside rows, no goals: each is a process of its own with one thread, its data loaded and sorted by user and \
             time before. The number of users of each level is the same everywhere.",
            copies * 20_000
        ),
        setup,
        contenders: vec![
            Contender::new("eventkit, jsonb[]", "funnel_level", &levels(&level("jsonb_arrays"))),
            Contender::new("eventkit, hstore[]", "funnel_level", &levels(&level("hstore_arrays"))),
            Contender::new("eventkit, rows", "window_funnel over the rows of the steps", &levels(&rows)),
        ],
        goals: vec![
            Goal::agrees("eventkit, jsonb[]", "eventkit, hstore[]"),
            Goal::agrees("eventkit, jsonb[]", "eventkit, rows"),
        ],
        runs: if copies == 1 { 5 } else { 2 },
    }
}

/// Runs the peers over the events of a suite that is measured; appends them to its contenders and timings.
///
/// # Errors
/// When a peer cannot be had or fails, or gives another result than we.
pub fn run_all(client: &mut Client, suite: &mut Suite, timings: &mut Vec<Timing>) -> Result<()> {
    let packages = packages()?;
    let folder = tempfile::Builder::new().prefix("pgek-peers-").tempdir_in("/var/tmp")?;
    let events = folder.path().join("events.csv");
    export(client, &events)?;
    let expected = timings.first().map(|ours| ours.result.replace('\n', ",")).unwrap_or_default();
    for script in ["clickhouse_funnel.py", "duckdb_funnel.py"] {
        say(format!("{}: {script}", suite.name));
        let scripts = checkout().join("pgrx-tests/benches/peers");
        let answer = read(
            Command::new("python3")
                .env("PYTHONPATH", &packages)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .arg(scripts.join(script))
                .arg(&events)
                .args([steps_of(suite).to_string(), suite.runs.to_string()]),
        )?;
        for line in answer.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [label, note, wall, best, cpu, result] = fields[..] else { bail!("{script} says: {line}") };
            if result != expected {
                bail!("{label} gives another result than we:\n{result}\n---\n{expected}");
            }
            suite.contenders.push(Contender::new(&format!("outside: {label}"), note, ""));
            timings.push(Timing { wall: wall.parse()?, best: best.parse()?, cpu: cpu.parse()?, ..Timing::default() });
        }
    }
    Ok(())
}

/// The folder with the peers' Python packages, fetched when it is not there.
fn packages() -> Result<PathBuf> {
    let home = work().join("peers");
    let list = checkout().join("pgrx-tests/benches/peers/requirements.txt");
    let wanted = std::fs::read_to_string(&list)?;
    let made_from = home.join("made-from");
    if std::fs::read_to_string(&made_from).is_ok_and(|had| had == wanted) {
        return Ok(home);
    }
    say("fetching the peers");
    run(Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
            "--upgrade",
        ])
        .arg("--target")
        .arg(&home)
        .arg("-r")
        .arg(&list))
    .context("the peers cannot be fetched from the Python package index; the benches without --peers need none")?;
    std::fs::write(&made_from, wanted)?;
    Ok(home)
}

/// The events as lines of user, seconds, name.
fn export(client: &mut Client, file: &Path) -> Result<()> {
    let mut rows = client
        .copy_out("COPY (SELECT user_id, extract(epoch FROM at)::bigint, name FROM by_user) TO STDOUT (FORMAT csv)")?;
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    std::io::copy(&mut rows, &mut out)?;
    out.flush().context("the events cannot be written")
}
