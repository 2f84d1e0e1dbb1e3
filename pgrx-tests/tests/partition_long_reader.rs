//! A transaction that has read everything and stays open: who changes partitions waits for it in short turns, and all others go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{open, value};
use eventkit_tests::wait;

const PARENT: &str =
    "CREATE TABLE e (id bigserial, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-04 00:00Z');
    INSERT INTO e (at) SELECT '2024-01-01 00:00Z'::timestamptz + n * interval '1 hour' FROM generate_series(0, 71) n;";
const DEFAULT: &str =
    "CREATE TABLE rest PARTITION OF e DEFAULT; INSERT INTO e (at) VALUES ('2024-02-01 12:00Z'), ('2024-02-02 12:00Z');";
const PLAIN: &str = "CREATE TABLE e (id bigserial, at timestamptz NOT NULL, PRIMARY KEY (id, at));
    INSERT INTO e (at) SELECT '2024-01-01 00:00Z'::timestamptz + n * interval '1 hour' FROM generate_series(0, 71) n;";

/// Whether a call waits for the reader, or is done beside it.
#[derive(PartialEq)]
enum While {
    Waits,
    Passes,
}

/// Calls beside a reader of all rows, while others read and write the day of `2024-01-01`: their turns all come, although none
/// may take longer than a fraction of what the reader takes; then the reader goes, and the call ends.
fn others_go_on(setup: &str, call: &str, expected: &While, done: &str) {
    let (db, s) = open("");
    for statement in setup.split(';') {
        s.query(statement).unwrap_or_else(|e| panic!("{e}: {statement}"));
    }
    let (reader, other) = (db.session("reader").unwrap(), db.session("other").unwrap());
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    other.query("SET statement_timeout = '10s'").unwrap();
    s.run(call);
    if *expected == While::Waits {
        wait::until_blocked(db.cluster, &s).unwrap_or_else(|e| panic!("{call}: {e}"));
    } else {
        s.join().unwrap_or_else(|e| panic!("{call}: {e}"));
        assert_eq!(value(&other, done), "t", "{call}");
    }
    for turn in 0..12 {
        for statement in [
            "SELECT count(*) FROM e",
            "INSERT INTO e (at) VALUES ('2024-01-01 12:00Z')",
            "UPDATE e SET at = at + interval '1 second' WHERE id = 2",
        ] {
            other.query(statement).unwrap_or_else(|e| panic!("{call}, turn {turn}: {e}: {statement}"));
        }
    }
    let all = "SELECT count(*) FROM e WHERE id > 0";
    let rows = value(&other, all);
    reader.query("COMMIT").unwrap();
    if *expected == While::Waits {
        s.join().unwrap_or_else(|e| panic!("{call}: {e}"));
    }
    if call.contains("drop_old") {
        // What waited too long is kept, and ended by the next call.
        s.query(call).unwrap();
    }
    assert_eq!(value(&other, done), "t", "{call}");
    assert_eq!(value(&other, all), rows, "{call}");
    assert_eq!(
        value(
            &other,
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ),
        "0",
        "{call}"
    );
}

const ATTACHED: &str =
    "SELECT count(*) = 1 FROM pg_inherits WHERE inhparent = 'e'::regclass AND inhrelid = to_regclass('e_20240110')";

#[test]
fn a_partition_comes() {
    let create = "CALL eventkit.create_partition('e', '2024-01-10', lock_timeout => '50 milliseconds')";
    others_go_on(PARENT, create, &While::Passes, ATTACHED);
    others_go_on(&format!("{PARENT}{DEFAULT}"), create, &While::Waits, ATTACHED);
    let filled = "CREATE TABLE e_20240110 (LIKE e); INSERT INTO e_20240110 VALUES (-1, '2024-01-10 12:00Z');";
    let attach = "CALL eventkit.attach_partition('e', 'e_20240110', '2024-01-10 00:00Z', '2024-01-11 00:00Z', lock_timeout => '50 milliseconds')";
    others_go_on(&format!("{PARENT}{filled}"), attach, &While::Passes, ATTACHED);
    others_go_on(&format!("{PARENT}{DEFAULT}{filled}"), attach, &While::Waits, ATTACHED);
}

#[test]
fn rows_come() {
    let source = "CREATE TABLE old (id bigint PRIMARY KEY, at timestamptz NOT NULL); CREATE INDEX ON old (at); INSERT INTO old VALUES (-1, '2024-01-10 12:00Z');";
    let backfill = "CALL eventkit.backfill('old', 'e', lock_timeout => '50 milliseconds')";
    others_go_on(&format!("{PARENT}{source}"), backfill, &While::Passes, ATTACHED);
    others_go_on(&format!("{PARENT}{DEFAULT}{source}"), backfill, &While::Waits, ATTACHED);
    others_go_on(
        &format!("{PARENT}{DEFAULT}"),
        "CALL eventkit.drain_default('e', lock_timeout => '50 milliseconds')",
        &While::Waits,
        "SELECT count(*) = 0 FROM rest",
    );
}

#[test]
fn a_table_becomes_a_partitioned_one_and_back() {
    let convert = "CALL eventkit.convert_table('e', 'at', lock_timeout => '50 milliseconds')";
    others_go_on(PLAIN, convert, &While::Waits, "SELECT relkind = 'p' FROM pg_class WHERE oid = 'e'::regclass");
    others_go_on(
        &format!("{PLAIN} CALL eventkit.convert_table('e', 'at');"),
        "CALL eventkit.split_partition('e', lock_timeout => '50 milliseconds')",
        &While::Waits,
        "SELECT to_regclass('e_20240101') IS NOT NULL",
    );
    others_go_on(
        &format!("{PLAIN} CALL eventkit.convert_table('e', 'at');"),
        "CALL eventkit.unpartition_table('e', lock_timeout => '50 milliseconds')",
        &While::Waits,
        "SELECT relkind = 'r' FROM pg_class WHERE oid = 'e'::regclass",
    );
}

#[test]
fn a_partition_goes() {
    let manage = "CALL eventkit.manage_partitions('e', premake => 0, on_expiry => 'drop');";
    let early = "CALL eventkit.create_partition('e', '2023-12-01');";
    let gone = "SELECT to_regclass('e_20231201') IS NULL";
    let call = "CALL eventkit.drop_old_partitions('e', '2023-12-31 00:00Z', lock_timeout => '50 milliseconds')";
    others_go_on(&format!("{PARENT}{early}{manage}"), call, &While::Waits, gone);
    others_go_on(&format!("{PARENT}{DEFAULT}{early}{manage}"), call, &While::Waits, gone);
}
