//! What the README and the examples show is run, and what the README says it prints is compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::path::Path;

use eventkit_tests::place::checkout;
use eventkit_tests::shared::{self, Database};

/// A block of SQL, the line it starts in, and the output promised by the ```text block that follows it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    line: usize,
    sql: String,
    output: Option<String>,
}

/// The ```sql blocks of a page. A ```text block promises output when only blank lines stand between.
fn blocks(page: &str) -> Vec<Block> {
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
        promise_possible = language == Some("sql");
        if promise_possible {
            found.push(Block { line: number + 1, sql: body, output: None });
        } else if promised && let Some(block) = found.last_mut() {
            block.output = Some(body);
        }
    }
    found
}

/// Runs SQL through psql, as a reader would; returns what it printed.
fn psql(db: &Database, sql: &str, whence: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), sql).unwrap();
    let output = db.cluster.psql(&db.name, ["-q".as_ref(), "-f".as_ref(), file.path().as_os_str()]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{whence} fails:\n{said}\n{sql}");
    String::from_utf8(output.stdout).unwrap()
}

/// Trailing blanks and blank lines at the ends are no difference.
fn tidy(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_matches('\n').to_owned()
}

#[test]
fn every_block_of_the_readme_runs_and_prints_what_it_says() {
    let page = std::fs::read_to_string(checkout().join("README.md")).expect("there is no README.md");
    let blocks = blocks(&page);
    assert!(!blocks.is_empty(), "README.md has no ```sql block");
    let db = shared::empty_database().unwrap();
    if !page.contains("CREATE EXTENSION") {
        db.cluster.create_extension(&db.name).unwrap();
    }
    for block in blocks {
        let whence = format!("README.md line {}", block.line);
        let printed = psql(&db, &block.sql, &whence);
        if let Some(promised) = block.output {
            assert_eq!(tidy(&printed), tidy(&promised), "{whence} prints something else (left) than it says (right)");
        }
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

fn run_example(file: &Path) {
    let sql = std::fs::read_to_string(file).unwrap();
    let db = shared::empty_database().unwrap();
    if !sql.contains("CREATE EXTENSION") {
        db.cluster.create_extension(&db.name).unwrap();
    }
    psql(&db, &sql, &file.display().to_string());
}

#[test]
fn blocks_are_found_with_what_they_promise() {
    let page = "a\n```sql\nSELECT 1;\n```\n\n```text\nout\n```\n```sql\nSELECT 2;\n```\nwords\n```text\nno\n```\n```sh\nls\n```\n";
    let expected = [
        Block { line: 2, sql: "SELECT 1;\n".to_owned(), output: Some("out\n".to_owned()) },
        Block { line: 9, sql: "SELECT 2;\n".to_owned(), output: None },
    ];
    assert_eq!(blocks(page), expected);
}
