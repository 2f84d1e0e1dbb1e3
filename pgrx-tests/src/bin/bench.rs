//! `cargo bench-all [--peers] [suite]`: measures the suite of that name, or those whose name contains the word, and writes
//! their results; with `--peers` those with other engines as well, which are fetched.

use std::process::ExitCode;

use anyhow::{Result, bail};
use eventkit_tests::bench::{measure, peers, report, suites};
use eventkit_tests::command::say;
use eventkit_tests::install::{Profile, install};
use eventkit_tests::{ClusterBuilder, PgVersion, packages, setup};

fn main() -> ExitCode {
    match bench() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(missed) => {
            eprintln!("bench-all: {missed} goals missed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench-all: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<usize> {
    let (options, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    if let Some(unknown) = options.iter().find(|option| *option != "--peers") {
        bail!("unknown option {unknown}; there is --peers");
    }
    if words.len() > 1 {
        bail!("one word picks the suites, not {}", words.join(" "));
    }
    let (filter, with_peers) = (words.first().cloned().unwrap_or_default(), !options.is_empty());
    let all = suites();
    let order: Vec<String> = all.iter().map(|suite| suite.name.clone()).collect();
    let exact = order.contains(&filter);
    let chosen: Vec<_> = all
        .into_iter()
        .filter(|suite| if exact { suite.name == filter } else { suite.name.contains(&filter) })
        .filter(|suite| with_peers || !peers::take_part(suite))
        .collect();
    if chosen.is_empty() {
        bail!("no suite is called \"{filter}\"; there are: {}", order.join(", "));
    }
    let _ready = setup::ready(&[PgVersion::V15], packages::FOR_BENCHES)?;
    install(PgVersion::V15, Profile::Release)?;
    // With fsync: loads are to wait for the disk, as they do elsewhere.
    let mut builder = ClusterBuilder::new(PgVersion::V15).fsync(true);
    for setting in [
        "shared_buffers = '512MB'",
        "max_wal_size = '8GB'",
        "jit = off",
        "max_parallel_workers_per_gather = 0",
        // The processor time of workers that build an index is in nobody's column.
        "max_parallel_maintenance_workers = 0",
        "default_toast_compression = 'pglz'",
        // A vacuum that comes by is nobody's cost.
        "autovacuum = off",
    ] {
        builder = builder.setting(setting);
    }
    // glibc gives freed memory back to the system from some size on, which differs with what was freed before: one and the
    // same statement then takes once or twice its time, in the page faults. Here all contenders keep theirs.
    builder = builder.environment("MALLOC_MMAP_MAX_", "0").environment("MALLOC_TRIM_THRESHOLD_", "4294967296");
    let cluster = builder.start()?;
    let mut missed = 0;
    for mut suite in chosen {
        cluster.create_database(&suite.name)?;
        cluster.create_extension(&suite.name)?;
        let mut client = cluster.connect(&suite.name)?;
        let mut timings = measure::measure(&cluster, &mut client, &suite)?;
        if peers::take_part(&suite) {
            peers::run_all(&mut client, &mut suite, &mut timings)?;
        }
        let (section, missed_here) = report::section(&mut client, &suite, &timings)?;
        println!("\n{section}");
        report::store(&suite.name, &section, &order)?;
        missed += missed_here;
        drop(client);
        cluster.connect("postgres")?.batch_execute(&format!("DROP DATABASE \"{}\" WITH (FORCE)", suite.name))?;
    }
    say(format!("written to {}", report::file().display()));
    Ok(missed)
}
