//! `cargo check-all [15] [18]`: every check and every test, in one command.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use eventkit_tests::PgVersion;
use eventkit_tests::account::{SERVER_ACCOUNT, give_to_server, is_root};
use eventkit_tests::command::{cargo, shown};
use eventkit_tests::install::{self, Profile};
use eventkit_tests::place::work;
use eventkit_tests::{setup, tools};

fn main() -> ExitCode {
    let mut report = Report::default();
    let ended = check_all(&mut report);
    report.print();
    if let Err(error) = &ended {
        eprintln!("check-all: {error:#}");
        // A step that broke before any test could fail is a failure all the same.
        report.failed = report.failed.max(1);
    }
    println!("{} passed, {} failed", report.passed, report.failed);
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check_all(report: &mut Report) -> Result<()> {
    let mut versions = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<Vec<PgVersion>>>()?;
    if versions.is_empty() {
        versions = PgVersion::ALL.to_vec();
    }
    versions.sort_unstable();
    versions.dedup();

    report.heading("set-up");
    let began = Instant::now();
    let _ready = setup::ready(&versions, &[])?;
    tools::ensure_checkers()?;
    report.done("set-up", began.elapsed());

    report.step("formatting", cargo().args(["fmt", "--all", "--check"]))?;
    for version in PgVersion::ALL.iter().filter(|v| versions.contains(v)) {
        let features = format!("pg_eventkit/{}", version.feature());
        let mut clippy = cargo();
        clippy.args(["clippy", "--workspace", "--all-targets", "--no-default-features", "--features", &features]);
        report.step(&format!("clippy {version}"), clippy.args(["--", "-D", "warnings"]))?;
    }
    report.step("core tests", cargo().args(["test", "--package", "eventkit-core", "--no-fail-fast"]))?;
    report.step("licences and sources", cargo().args(["deny", "check", "bans", "licenses", "sources"]))?;
    for version in versions {
        report.step(&format!("tests inside PostgreSQL {version}"), &mut inside_tests(version)?)?;
        report.step(&format!("install into PostgreSQL {version}"), &mut install::command(version, Profile::Debug))?;
        report.step(
            &format!("client tests on PostgreSQL {version}"),
            cargo()
                .args(["test", "--package", "eventkit-tests", "--no-fail-fast"])
                .env("EVENTKIT_PG", version.to_string()),
        )?;
    }
    if report.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// `cargo pgrx test`: it starts a server of its own, which as root must run as somebody else.
fn inside_tests(version: PgVersion) -> Result<Command> {
    let data = work().join(format!("pgd{version}"));
    std::fs::create_dir_all(&data)?;
    give_to_server(&data)?;
    let mut test = cargo();
    test.args(["pgrx", "test", version.feature(), "--package", "pg_eventkit", "--no-default-features"]);
    test.args(["--features", version.feature(), "--pgdata"]).arg(&data);
    test.env("RUST_BACKTRACE", "0");
    if is_root() {
        test.args(["--runas", SERVER_ACCOUNT]).env("USER", "root");
    }
    Ok(test)
}

/// What has been done so far.
#[derive(Default)]
struct Report {
    steps: Vec<(String, Duration, bool)>,
    passed: u64,
    failed: u64,
}

impl Report {
    fn heading(&self, name: &str) {
        println!("\n======== {name} ========");
    }

    fn done(&mut self, name: &str, took: Duration) {
        self.steps.push((name.to_owned(), took, true));
    }

    /// Runs one step with its output on the terminal, and counts the tests that it reports.
    fn step(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.heading(name);
        println!("$ {}", shown(command));
        let began = Instant::now();
        let mut child =
            command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {}", shown(command)))?;
        let mut counts = Counts::default();
        if let Some(output) = child.stdout.take() {
            counts = stream(BufReader::new(output), std::io::stdout())?;
        }
        let status = child.wait()?;
        self.passed += counts.passed;
        self.failed += counts.failed;
        let good = status.success() && counts.failed == 0 && counts.ignored == 0;
        self.steps.push((name.to_owned(), began.elapsed(), good));
        if counts.ignored > 0 {
            bail!("step \"{name}\" skipped {} tests: a test that cannot run must fail", counts.ignored);
        }
        if !good {
            bail!("step \"{name}\" failed ({status}): {}", shown(command));
        }
        Ok(())
    }

    fn print(&self) {
        println!("\n{:<40} {:>9}", "step", "seconds");
        for (name, took, good) in &self.steps {
            println!("{name:<40} {:>9.1}{}", took.as_secs_f64(), if *good { "" } else { "  FAILED" });
        }
    }
}

/// The sums over the test runners of one step.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Copies output to the terminal as it comes and adds up what cargo's test runners report in it.
fn stream(mut output: impl BufRead, mut terminal: impl Write) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        terminal.write_all(&line)?;
        terminal.flush()?;
        let text = String::from_utf8_lossy(&line);
        if let Some((_, result)) = text.split_once("test result: ") {
            counts.passed += number_before(result, " passed");
            counts.failed += number_before(result, " failed");
            counts.ignored += number_before(result, " ignored");
        }
        line.clear();
    }
    Ok(counts)
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split_once(word).map_or("", |(before, _)| before);
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Counts, stream};

    #[test]
    fn results_of_several_runners_add_up() {
        let output = "running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: \u{1b}[31mFAILED\u{1b}[0m. 13 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out\n";
        let mut shown = Vec::new();
        let counts = stream(output.as_bytes(), &mut shown).unwrap();
        assert_eq!(counts, Counts { passed: 15, failed: 1, ignored: 4 });
        assert_eq!(shown, output.as_bytes());
    }
}
