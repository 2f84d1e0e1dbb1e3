//! `cargo demo`: the main jobs on sample data, on a server of its own that stays up; `cargo demo stop` removes it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use eventkit_tests::cluster::{SUPERUSER, stop_server};
use eventkit_tests::command::say;
use eventkit_tests::install::{Profile, install};
use eventkit_tests::place::{bin_dir, checkout, work};
use eventkit_tests::{Cluster, ClusterBuilder, PgVersion, sample, setup};

const DATABASE: &str = "demo";

fn main() -> ExitCode {
    let ended = match std::env::args().nth(1).as_deref() {
        None => demo(),
        Some("stop") => stop().map(|was_up| say(if was_up { "the demo's server is gone" } else { "no demo is up" })),
        Some(other) => Err(anyhow::anyhow!("\"{other}\" is unknown: `cargo demo` or `cargo demo stop`")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn folder() -> PathBuf {
    work().join("demo")
}

/// Stops the server of the demo before and removes its data; says whether there was any.
fn stop() -> Result<bool> {
    let folder = folder();
    if !folder.exists() {
        return Ok(false);
    }
    let data = folder.join("data");
    // Without a process behind it (the machine was restarted) there is only the folder to remove.
    let process = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let process = process.lines().next().unwrap_or_default().trim().to_owned();
    if !process.is_empty() && Path::new("/proc").join(&process).exists() {
        stop_server(&bin_dir(PgVersion::V15).join("pg_ctl"), &data)?;
    }
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(true)
}

fn demo() -> Result<()> {
    let _ready = setup::ready(&[PgVersion::V15], &[])?;
    install(PgVersion::V15, Profile::Release)?;
    if stop()? {
        say("the demo before is gone");
    }
    say("starting a server and loading the sample data");
    let cluster = ClusterBuilder::new(PgVersion::V15).stays_in(folder()).start()?;
    cluster.create_database(DATABASE)?;
    cluster.create_extension(DATABASE)?;
    let mut client = cluster.connect(DATABASE)?;
    let (clicks, purchases) = (sample::load_clicks(&mut client)?, sample::load_purchases(&mut client)?);
    client.batch_execute("ANALYZE")?;
    say(format!("{clicks} clicks of a shop and {purchases} purchases of a music seller are in"));
    for script in scripts()? {
        play(&cluster, &script)?;
    }
    println!();
    say("the server stays up; look around with");
    println!(
        "    {} -h {} -p {} -U {SUPERUSER} {DATABASE}",
        cluster.program("psql").display(),
        cluster.host().display(),
        cluster.port()
    );
    say("and remove it with");
    println!("    cargo demo stop");
    Ok(())
}

/// The scripts in their order.
fn scripts() -> Result<Vec<PathBuf>> {
    let folder = checkout().join("pgrx-tests/demo");
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("{} is missing", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "sql") {
            scripts.push(path);
        }
    }
    scripts.sort();
    if scripts.is_empty() {
        bail!("{} has no script", folder.display());
    }
    Ok(scripts)
}

/// Plays one script; its first line, a comment, is its heading.
fn play(cluster: &Cluster, script: &Path) -> Result<()> {
    let text = std::fs::read_to_string(script)?;
    let (heading, rest) = text.split_once('\n').unwrap_or((&text, ""));
    println!("\n======== {} ========", heading.trim_start_matches("-- "));
    let mut body = tempfile::NamedTempFile::new()?;
    body.write_all(rest.as_bytes())?;
    let mut psql = cluster.client_program("psql");
    psql.args(["-X", "-v", "ON_ERROR_STOP=1", "--echo-all", "-P", "pager=off", "-P", "null=(null)"]);
    psql.args(["-d", DATABASE, "-f"]).arg(body.path()).stdin(Stdio::null());
    show(&mut psql).with_context(|| format!("{} fails", script.display()))
}

/// Runs a command with its output and its notices on our terminal, in their order; without the place that psql puts
/// before each notice, which names a temporary file.
fn show(command: &mut Command) -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // Our own ends of the pipe: as long as they are open, there is no end of the output.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).lines() {
        let line = line?;
        let said = line.starts_with("psql:").then(|| line.find(" NOTICE:  ")).flatten();
        println!("{}", said.map_or(line.as_str(), |at| line[at..].trim_start()));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("psql failed ({status})");
    }
    Ok(())
}
