//! Each type of key with periods of each unit: rows come into the partition of their period by create, drain, convert and split.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{lines, open, value};
use eventkit_tests::Session;

/// The type of a key, the unit of a number, and a time `t` as such a key.
const KEYS: [(&str, &str, &str); 8] = [
    ("date", "", "(t AT TIME ZONE 'UTC')::date"),
    ("timestamp", "", "t AT TIME ZONE 'UTC'"),
    ("timestamptz", "", "t"),
    ("bigint", "s", "extract(epoch FROM t)::bigint"),
    ("bigint", "ms", "(extract(epoch FROM t) * 1000)::bigint"),
    ("bigint", "us", "(extract(epoch FROM t) * 1000000)::bigint"),
    ("bigint", "ns", "(extract(epoch FROM t) * 1000000000)::bigint"),
    (
        "uuid",
        "",
        "(lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') || '7' || substr(md5(t::text), 1, 3) || '8' || substr(md5(t::text), 4, 15))::uuid",
    ),
];

/// A period, the beginning of that of a time `t` told by the server alone, and a step between rows that meets several periods.
const PERIODS: [(&str, &str, &str); 7] = [
    ("1 hour", "date_trunc('hour', t, 'UTC')", "25 minutes"),
    ("6 hours", "date_bin('6 hours', t, '2024-01-01 00:00Z')", "100 minutes"),
    ("1 day", "date_trunc('day', t, 'UTC')", "7 hours"),
    ("1 week", "date_trunc('week', t, 'UTC')", "50 hours"),
    ("2 weeks", "date_bin('14 days', t, '1969-12-29 00:00Z')", "100 hours"),
    ("1 month", "date_trunc('month', t, 'UTC')", "8 days 1 hour"),
    ("3 months", "date_bin('1 day', date_trunc('quarter', t, 'UTC'), '2024-01-01 00:00Z')", "24 days 1 hour"),
];

fn settings(period: &str, unit: &str) -> String {
    let unit = if unit.is_empty() { String::new() } else { format!(", key_unit => '{unit}'") };
    format!("period => '{period}', premake => 0{unit}")
}

/// The rows of a parent by the partition that holds them.
fn placed(s: &Session, parent: &str) -> Vec<String> {
    lines(s, &format!("SELECT string_agg(id::text, ',' ORDER BY id) FROM {parent} GROUP BY tableoid ORDER BY 1"))
}

const FIXED: &str = "'2024-01-30 22:10Z'::timestamptz";

/// Calls `test` for each key and period, with the rows of `source (id, k)`, which come a step after another from a time on, and how they
/// lie together.
fn of_all(from: &str, test: impl Fn(&Session, &str, &str, &str, &[String], &str)) {
    let (_db, s) = open("SET TimeZone = 'Asia/Kathmandu'");
    let mut tried = 0;
    for (key, unit, of_time) in KEYS {
        for (period, begin, step) in PERIODS {
            if key == "date" && period.contains("hour") {
                continue;
            }
            let case = format!("{key} {unit} {period}");
            s.query(&format!(
                "CREATE TABLE times AS SELECT n AS id, {} + n * interval '{step}' AS t FROM generate_series(1, 12) n;
                 CREATE TABLE source AS SELECT id::int, {of_time} AS k FROM times",
                from.replace("STEP", step)
            ))
            .unwrap_or_else(|e| panic!("{case}: {e}"));
            // A date is the beginning of its day.
            let t =
                if key == "date" { "(SELECT id, date_trunc('day', t, 'UTC') AS t FROM times) times" } else { "times" };
            let together = lines(
                &s,
                &format!("SELECT string_agg(id::text, ',' ORDER BY id) FROM {t} GROUP BY {begin} ORDER BY 1"),
            );
            assert!(together.len() > 2, "{case}: {together:?}");
            test(&s, key, period, unit, &together, &case);
            tried += 1;
            s.query("DROP TABLE IF EXISTS e CASCADE; DROP TABLE source, times").unwrap();
        }
    }
    assert_eq!(tried, 54);
}

#[test]
fn rows_find_the_partitions_of_their_periods() {
    of_all(FIXED, |s, key, period, unit, together, case| {
        let run = |sql: &str| s.query(sql).unwrap_or_else(|e| panic!("{case}: {e}: {sql}"));
        run(&format!("CREATE TABLE e (id int, k {key} NOT NULL) PARTITION BY RANGE (k)"));
        run(&format!("CALL eventkit.manage_partitions('e', {})", settings(period, unit)));
        let last = value(s, "SELECT max(t) FROM times");
        run(&format!(
            "CALL eventkit.create_partitions('e', '2024-01-30 12:00Z', '{last}'::timestamptz + interval '1 hour')"
        ));
        run("INSERT INTO e TABLE source");
        assert_eq!(placed(s, "e"), together, "{case}");
        assert_eq!(
            value(s, "SELECT count(*) FROM eventkit.partition_gaps('e') WHERE from_time < (SELECT max(t) FROM times)"),
            "0",
            "{case}"
        );
    });
}

#[test]
fn rows_are_drained_into_their_periods() {
    of_all(FIXED, |s, key, period, unit, together, case| {
        let run = |sql: &str| s.query(sql).unwrap_or_else(|e| panic!("{case}: {e}: {sql}"));
        run(&format!("CREATE TABLE e (id int, k {key} NOT NULL) PARTITION BY RANGE (k)"));
        run("CREATE TABLE rest PARTITION OF e DEFAULT");
        run("INSERT INTO e TABLE source");
        run(&format!("CALL eventkit.manage_partitions('e', {})", settings(period, unit)));
        run("CALL eventkit.drain_default('e')");
        assert_eq!(placed(s, "e"), together, "{case}");
        assert_eq!(value(s, "SELECT count(*) FROM rest"), "0", "{case}");
    });
}

#[test]
fn a_table_is_split_by_its_periods() {
    // Up to the present one: what is adopted reaches to tomorrow.
    of_all("date_trunc('hour', now() - 13 * interval 'STEP')", |s, key, period, unit, together, case| {
        let run = |sql: &str| s.query(sql).unwrap_or_else(|e| panic!("{case}: {e}: {sql}"));
        run(&format!("CREATE TABLE e (id int, k {key} NOT NULL, PRIMARY KEY (id, k))"));
        run("INSERT INTO e TABLE source");
        run(&format!("CALL eventkit.convert_table('e', 'k', {})", settings(period, unit)));
        assert_eq!(placed(s, "e").len(), 1, "{case}");
        run("CALL eventkit.split_partition('e')");
        assert_eq!(placed(s, "e"), together, "{case}");
        run("CALL eventkit.unpartition_table('e')");
        assert_eq!(
            value(
                s,
                "SELECT count(*) || (SELECT relkind::text FROM pg_class WHERE oid = 'e'::regclass) FROM e JOIN source USING (id, k)"
            ),
            "12r",
            "{case}"
        );
    });
}
