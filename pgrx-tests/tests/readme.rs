//! What the README and the examples show is run, and what the README says it prints is compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::path::Path;

use eventkit_tests::place::checkout;
use eventkit_tests::shared::{self, Database};
use eventkit_tests::{ClusterBuilder, PgVersion};

/// A block of SQL, the line it starts in, and the output promised by the ```text block that follows it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    line: usize,
    sql: String,
    output: Option<String>,
}

/// The blocks of a page in one language. A ```text block promises output when only blank lines stand between.
fn blocks(page: &str, wanted: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut lines = page.lines().enumerate();
    let mut promise_possible = false;
    while let Some((number, line)) = lines.next() {
        let language = line.trim_end().strip_prefix("```");
        if language.is_none() {
            promise_possible &= line.trim().is_empty();
            continue;
        }
        let body: String = lines
            .by_ref()
            .map(|(_, l)| l)
            .take_while(|l| l.trim_end() != "```")
            .fold(String::new(), |text, line| text + line + "\n");
        let promised = promise_possible && language == Some("text");
        promise_possible = language == Some(wanted);
        if promise_possible {
            found.push(Block { line: number + 1, sql: body, output: None });
        } else if promised && let Some(block) = found.last_mut() {
            block.output = Some(body);
        }
    }
    found
}

fn readme() -> String {
    std::fs::read_to_string(checkout().join("README.md")).expect("there is no README.md")
}

/// What psql said: results, and messages without the place that psql puts before them.
struct Said {
    results: String,
    messages: String,
}

impl Said {
    fn failed(&self) -> bool {
        self.messages.lines().any(|line| line.starts_with("ERROR:") || line.starts_with("FATAL:"))
    }

    /// What a block prints, as a page shows it: messages only when the page shows some, and then first.
    fn like(&self, promised: &str) -> String {
        let with_messages = ["NOTICE:", "WARNING:", "ERROR:"].iter().any(|kind| promised.starts_with(kind));
        if with_messages { format!("{}{}", self.messages, self.results) } else { self.results.clone() }
    }
}

/// Runs SQL through psql to its end, as a reader would.
fn psql(db: &Database, sql: &str) -> Said {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), sql).unwrap();
    let go_on = ["-q".as_ref(), "-v".as_ref(), "ON_ERROR_STOP=0".as_ref(), "-f".as_ref()];
    let output = db.cluster.psql(&db.name, go_on.into_iter().chain([file.path().as_os_str()])).unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "psql fails:\n{messages}\n{sql}");
    let place = format!("psql:{}:", file.path().display());
    let bare = |line: &str| match line.strip_prefix(&place) {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(": ").to_owned(),
        None => line.to_owned(),
    };
    let messages = messages.lines().fold(String::new(), |text, line| text + &bare(line) + "\n");
    Said { results: String::from_utf8(output.stdout).unwrap(), messages }
}

/// Runs SQL that must not fail.
fn good(db: &Database, sql: &str, whence: &str) -> Said {
    let said = psql(db, sql);
    assert!(!said.failed(), "{whence} fails:\n{}\n{sql}", said.messages);
    said
}

/// Trailing blanks, blank lines at the ends and measured times are no difference.
fn tidy(text: &str) -> String {
    text.lines().map(|line| untimed(line.trim_end())).collect::<Vec<_>>().join("\n").trim_matches('\n').to_owned()
}

/// A message with the numbers before "s" and "ms" at its end blotted out.
fn untimed(line: &str) -> String {
    let ending = [" s", " ms)"].into_iter().find(|ending| line.starts_with("NOTICE:") && line.ends_with(ending));
    let Some(rest) = ending.and_then(|ending| line.strip_suffix(ending)) else { return line.to_owned() };
    format!("{}…", rest.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

/// A database in which all blocks of the README have been run, each compared with what it promises; with EVENTKIT_BLESS
/// in the environment the page is given what they print instead.
fn played_readme() -> Database {
    let mut page = readme();
    let bless = std::env::var_os("EVENTKIT_BLESS").is_some();
    let blocks = blocks(&page, "sql");
    assert!(!blocks.is_empty(), "README.md has no ```sql block");
    let db = shared::empty_database().unwrap();
    for block in blocks {
        let whence = format!("README.md line {}", block.line);
        let promised = block.output.unwrap_or_default();
        let said = if promised.starts_with("ERROR:") { psql(&db, &block.sql) } else { good(&db, &block.sql, &whence) };
        if !promised.is_empty() {
            let printed = said.like(&promised);
            if bless {
                let trimmed: Vec<&str> = printed.trim_matches('\n').lines().map(str::trim_end).collect();
                let block = |output: &str| format!("{}```\n\n```text\n{output}", block.sql);
                page = page.replacen(&block(&promised), &block(&(trimmed.join("\n") + "\n")), 1);
                continue;
            }
            assert_eq!(tidy(&printed), tidy(&promised), "{whence} prints something else (left) than it says (right)");
        }
    }
    if bless {
        std::fs::write(checkout().join("README.md"), page).unwrap();
    }
    keeps_picture(&db, bless);
    db
}

/// The README's picture is the one that its view draws.
fn keeps_picture(db: &Database, bless: bool) {
    let drawn = psql(db, "\\pset format unaligned\n\\pset tuples_only on\nSELECT picture FROM shop_picture").results;
    let (drawn, file) = (drawn.trim_end().to_owned() + "\n", checkout().join("docs/funnel.svg"));
    if bless {
        std::fs::write(&file, &drawn).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(drawn == kept, "docs/funnel.svg is not what shop_picture draws; EVENTKIT_BLESS=1 writes it anew:\n{drawn}");
}

/// The scheduled commands are run as well: by pg_cron's own table where it is packaged, by one like it elsewhere.
#[test]
fn every_block_of_the_readme_runs_and_prints_what_it_says() {
    let db = played_readme();
    let schedules = blocks(&readme(), "pgsql");
    assert!(!schedules.is_empty(), "README.md has no ```pgsql block, for pg_cron");
    let version = PgVersion::under_test().unwrap();
    let cron = if version == PgVersion::V15 {
        let cluster = ClusterBuilder::new(version)
            .setting("shared_preload_libraries = 'pg_cron'")
            .setting("cron.database_name = 'postgres'")
            .setting("cron.launch_active_jobs = off")
            .start()
            .unwrap();
        cluster.connect("postgres").unwrap().batch_execute("CREATE EXTENSION pg_cron").unwrap();
        cluster
    } else {
        let cluster = ClusterBuilder::new(version).start().unwrap();
        let stand_in = "CREATE SCHEMA cron;
             CREATE TABLE cron.job (jobname text PRIMARY KEY, schedule text NOT NULL, command text NOT NULL);
             CREATE FUNCTION cron.schedule(text, text, text) RETURNS void LANGUAGE sql
             AS 'INSERT INTO cron.job VALUES ($1, $2, $3)'";
        cluster.connect("postgres").unwrap().batch_execute(stand_in).unwrap();
        cluster
    };
    let mut client = cron.connect("postgres").unwrap();
    for block in &schedules {
        client.batch_execute(&block.sql).unwrap_or_else(|error| panic!("README.md line {}: {error}", block.line));
    }
    let jobs = client.query("SELECT jobname::text, command FROM cron.job", &[]).unwrap();
    assert_eq!(jobs.len(), schedules.len(), "a job for each block");
    for job in jobs {
        good(&db, job.get("command"), job.get("jobname"));
    }
}

#[test]
fn every_example_runs_in_a_fresh_database() {
    let folder = checkout().join("sql/examples");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("there is no folder sql/examples")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "sql"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "sql/examples has no .sql file");
    for file in files {
        run_example(&file);
    }
}

/// An example checks itself: it ends with a row of one column, `ok`, that is true.
fn run_example(file: &Path) {
    let sql = std::fs::read_to_string(file).unwrap();
    let whence = file.display().to_string();
    let said = good(&shared::empty_database().unwrap(), &sql, &whence);
    let last = tidy(&said.results);
    assert!(last.ends_with(" ok\n----\n t\n(1 row)"), "{whence} does not end with an ok that is true:\n{last}");
}

/// The scripts of the demo name what exists; what they show is the demo's own business.
#[test]
fn every_script_of_the_demo_runs_on_the_sample_data() {
    let db = shared::database().unwrap();
    let mut client = db.connect().unwrap();
    eventkit_tests::sample::load_clicks(&mut client).unwrap();
    eventkit_tests::sample::load_purchases(&mut client).unwrap();
    for script in ["1_event_arrays", "2_funnel", "3_partitions"] {
        let sql = std::fs::read_to_string(checkout().join(format!("pgrx-tests/demo/{script}.sql"))).unwrap();
        good(&db, &sql, script);
    }
    let one = |sql: &str| -> i64 { db.connect().unwrap().query_one(sql, &[]).unwrap().get(0) };
    assert_eq!(one("SELECT sum(cardinality(events)) FROM user_events"), 31_106);
    assert_eq!(one("SELECT count(*) FROM purchases_by_day"), one("SELECT count(*) FROM old_purchases"));
}

#[test]
fn the_readme_names_every_package_that_the_commands_install() {
    let page = readme();
    for package in eventkit_tests::packages::FOR_TESTS {
        assert!(page.contains(&format!("`{package}`")), "README.md does not name the Debian package {package}");
    }
}

#[test]
fn blocks_are_found_with_what_they_promise() {
    let page = "a\n```sql\nSELECT 1;\n```\n\n```text\nout\n```\n```sql\nSELECT 2;\n```\nwords\n```text\nno\n```\n```sh\nls\n```\n";
    let expected = [
        Block { line: 2, sql: "SELECT 1;\n".to_owned(), output: Some("out\n".to_owned()) },
        Block { line: 9, sql: "SELECT 2;\n".to_owned(), output: None },
    ];
    assert_eq!(blocks(page, "sql"), expected);
    assert_eq!(blocks(page, "pgsql"), []);
}

#[test]
fn only_measured_times_are_no_difference() {
    assert_eq!(untimed("NOTICE:  day 2024-01-31: 24 rows in 0.01 s"), "NOTICE:  day 2024-01-31: 24 rows in …");
    assert_eq!(untimed("NOTICE:  t: 3 rows read, 1 rewritten (12 ms)"), "NOTICE:  t: 3 rows read, 1 rewritten (…");
    assert_eq!(untimed(" 1. view  3 users, mean 5 s"), " 1. view  3 users, mean 5 s");
}
