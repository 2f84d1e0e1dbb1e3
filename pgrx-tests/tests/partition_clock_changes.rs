//! Days of 23, 24.5 and 25 hours, midnights that do not exist or come twice, a day that was left out: where rows go, and which bounds they get.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{lines, number, open, value};
use eventkit_tests::Session;

/// Zones, and a day on which their clocks were changed or behind which they were.
const CHANGES: [(&str, &str); 11] = [
    ("Europe/Berlin", "2024-03-31"),
    ("Europe/Berlin", "2024-10-27"),
    ("America/Sao_Paulo", "2018-11-04"),
    ("America/Sao_Paulo", "2018-02-18"),
    ("Africa/Cairo", "2023-04-28"),
    ("Africa/Cairo", "2023-10-27"),
    ("Asia/Beirut", "2024-03-31"),
    ("Asia/Beirut", "2024-10-27"),
    ("Australia/Lord_Howe", "2024-04-07"),
    ("Australia/Lord_Howe", "2024-10-06"),
    ("Pacific/Apia", "2011-12-30"),
];

/// A table with a row each 20 minutes of five days around the change, and three around each midnight.
fn rows(table: &str, zone: &str, day: &str) -> String {
    format!(
        "CREATE TABLE {table} (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL); CREATE INDEX ON {table} (at); \
         INSERT INTO {table} (at) SELECT '{day} 00:00Z'::timestamptz + n * interval '20 minutes' FROM generate_series(-144, 216) n; \
         INSERT INTO {table} (at) SELECT ('{day}'::date + n)::timestamp AT TIME ZONE '{zone}' + d * interval '1 microsecond' FROM generate_series(-1, 2) n, generate_series(-1, 1) d; \
         CREATE TABLE kept AS TABLE {table}"
    )
}

/// A session that shows and reads times otherwise.
fn elsewhere(s: &Session) {
    s.query("SET TimeZone = 'America/New_York'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'")
        .unwrap();
}

/// Asserts that each row is in `e` once, in the partition whose bound holds it, that there is one of them for each day by the clocks of
/// the zone, and that one ends where the next begins.
fn is_right(s: &Session, zone: &str, day: &str) {
    s.query("SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'").unwrap();
    let differing = "(SELECT id, at FROM kept EXCEPT ALL SELECT id, at FROM e) UNION ALL (SELECT id, at FROM e EXCEPT ALL SELECT id, at FROM kept)";
    assert_eq!(lines(s, differing), [""; 0], "{zone} {day}");
    let placed = format!(
        "(SELECT e.at, (e.at AT TIME ZONE '{zone}')::date AS day, e.tableoid AS partition, b[1]::timestamptz AS lo, b[2]::timestamptz AS hi \
          FROM e JOIN pg_class c ON c.oid = e.tableoid, regexp_match(pg_get_expr(c.relpartbound, c.oid), $$FROM \\('(.*)'\\) TO \\('(.*)'\\)$$) b) p"
    );
    assert_eq!(
        value(s, &format!("SELECT count(*) FROM {placed}")),
        value(s, "SELECT count(*) FROM kept"),
        "{zone} {day}"
    );
    assert_eq!(
        lines(s, &format!("SELECT * FROM {placed} WHERE (at >= lo AND at < hi) IS NOT TRUE")),
        [""; 0],
        "{zone} {day}"
    );
    assert_eq!(
        lines(
            s,
            &format!("SELECT partition, count(DISTINCT day) FROM {placed} GROUP BY 1 HAVING count(DISTINCT day) > 1")
        ),
        [""; 0],
        "{zone} {day}"
    );
    assert_eq!(
        lines(
            s,
            &format!(
                "SELECT day, count(DISTINCT partition) FROM {placed} GROUP BY 1 HAVING count(DISTINCT partition) > 1"
            )
        ),
        [""; 0],
        "{zone} {day}"
    );
    let bounds = format!(
        "(SELECT lo, hi, lag(hi) OVER (ORDER BY lo) AS before FROM (SELECT DISTINCT lo, hi FROM {placed}) b) c"
    );
    assert_eq!(lines(s, &format!("SELECT * FROM {bounds} WHERE before <> lo")), [""; 0], "{zone} {day}");
    assert!(number(s, &format!("SELECT count(*) FROM {bounds}")) > 4, "{zone} {day}");
}

const PARENT: &str = "CREATE TABLE e (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at);";

#[test]
fn a_backfill_around_changes_of_the_clocks() {
    for (zone, day) in CHANGES {
        let (_db, s) = open(&format!(
            "{PARENT}{}; CALL eventkit.manage_partitions('e', time_zone => '{zone}', premake => 0)",
            rows("src", zone, day)
        ));
        elsewhere(&s);
        s.query("CALL eventkit.backfill('src', 'e', verify => 'content')").unwrap();
        assert!(!s.take_notices().join("").contains("WARNING"));
        is_right(&s, zone, day);
    }
}

#[test]
fn a_drain_around_changes_of_the_clocks() {
    for (zone, day) in CHANGES {
        for batch in [0, 10_000] {
            let (_db, s) = open(&format!(
                "{PARENT}CREATE TABLE rest PARTITION OF e DEFAULT; {}; INSERT INTO e SELECT * FROM src; CALL eventkit.manage_partitions('e', time_zone => '{zone}', premake => 0)",
                rows("src", zone, day)
            ));
            elsewhere(&s);
            s.query(&format!("CALL eventkit.drain_default('e', batch_rows => {batch})")).unwrap();
            assert!(!s.take_notices().join("").contains("WARNING"));
            assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0", "{zone} {day}");
            is_right(&s, zone, day);
        }
    }
}

#[test]
fn a_split_around_changes_of_the_clocks() {
    for (zone, day) in CHANGES {
        let (_db, s) = open(&rows("e", zone, day));
        s.query("ALTER TABLE e DROP CONSTRAINT e_pkey").unwrap();
        elsewhere(&s);
        s.query(&format!("CALL eventkit.convert_table('e', 'at', time_zone => '{zone}', premake => 0, adopt_until => (('{day}'::date + 5)::timestamp AT TIME ZONE '{zone}'))")).unwrap();
        s.query("CALL eventkit.split_partition('e')").unwrap();
        assert!(!s.take_notices().join("").contains("WARNING"));
        is_right(&s, zone, day);
    }
}

/// Hours by UTC, around an hour that a session's own clocks leave out or show twice.
const HOURS: [(&str, &str); 4] = [
    ("America/New_York", "2024-03-10 02:00Z"),
    ("America/New_York", "2024-11-03 01:00Z"),
    ("Europe/Berlin", "2024-03-31 02:00Z"),
    ("Australia/Lord_Howe", "2024-10-06 02:00Z"),
];

#[test]
fn hours_that_the_clocks_of_the_session_leave_out_are_drained() {
    for (zone, hour) in HOURS {
        for call in ["CALL eventkit.drain_default('e')", "CALL eventkit.maintain(as_of => '2024-01-01 00:00Z')"] {
            let (_db, s) = open(&format!(
                "CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at); CREATE TABLE rest PARTITION OF e DEFAULT; \
                 CALL eventkit.manage_partitions('e', period => '1 hour', premake => 0); \
                 INSERT INTO e SELECT '{hour}'::timestamptz + n * interval '30 minutes' FROM generate_series(-3, 6) n; SET TimeZone = '{zone}'; SET statement_timeout = '30s'"
            ));
            s.query(call).unwrap_or_else(|failure| panic!("{failure}\n{zone} {hour} {call}"));
            let heard = s.take_notices().join("\n");
            assert!(!heard.contains("WARNING"), "{zone} {hour}: {heard}");
            assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0", "{zone} {hour}");
            let placed = "(SELECT date_trunc('hour', at, 'UTC') AS hour, tableoid FROM e) p";
            assert_eq!(
                value(
                    &s,
                    &format!(
                        "SELECT count(DISTINCT tableoid) || ' ' || count(DISTINCT hour) || ' ' || count(DISTINCT (hour, tableoid)) FROM {placed}"
                    )
                ),
                "6 6 6",
                "{zone} {hour}"
            );
        }
    }
}
