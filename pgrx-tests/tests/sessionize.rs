//! Sessions as a client sees them: against lag() and sum() OVER, the three forms of event arrays, errors, long arrays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{ANY_IDS, FORMS, cases, fails, lines, none_differs, number, open, oracle, value};
use eventkit_tests::Session;
use eventkit_tests::shared::Database;

/// 300 users of 40 visits, many of one time, gaps around half an hour and exactly that.
const VISITS: &str = "
    SELECT setseed(0.7);
    CREATE TABLE visits AS
        SELECT i % 300 AS u, timestamptz '2024-01-01' + floor(random() * 60)::int * interval '15 min' AS at, i
        FROM generate_series(1, 12000) AS i;
    ANALYZE";

fn visits() -> (Database, Session) {
    open(VISITS)
}

/// The number of each row's session in plain SQL.
const PLAIN: &str = "
    SELECT u, at, i, 1 + sum(starts::int) OVER (PARTITION BY u ORDER BY at, i) AS session FROM (
        SELECT *, coalesce(at - lag(at) OVER (PARTITION BY u ORDER BY at, i) > '{gap}', false) AS starts FROM visits) AS marked";

#[test]
fn it_numbers_rows_as_lag_and_sum_do() {
    let (_db, s) = visits();
    for gap in ["30 min", "0 s", "29 min 59.999999 s", "1 day", "100000 days"] {
        for order in ["at", "at, i", "at, i DESC"] {
            none_differs(
                &s,
                12_000,
                &format!(
                    "SELECT count(*), count(*) FILTER (WHERE found.session <> plain.session), min(i)
                     FROM (SELECT i, eventkit.sessionize(at, '{gap}') OVER (PARTITION BY u ORDER BY {order}) AS session FROM visits) AS found
                          JOIN ({}) AS plain USING (i)",
                    PLAIN.replace("{gap}", gap)
                ),
            );
        }
    }
}

#[test]
fn a_frame_does_not_matter_and_a_gap_may_differ_from_row_to_row() {
    let (_db, s) = visits();
    let frames = ["", "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING"];
    let digests = frames.map(|frame| {
        value(&s, &format!("SELECT md5(string_agg(n::text, ' ' ORDER BY i)) FROM (SELECT i, eventkit.sessionize(at, '30 min') OVER (PARTITION BY u ORDER BY at {frame}) AS n FROM visits) AS numbered"))
    });
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
    assert_eq!(
        value(
            &s,
            "SELECT string_agg(n::text, ' ' ORDER BY h) FROM (
                 SELECT h, eventkit.sessionize(timestamptz '2024-01-01' + h * interval '1 h', CASE WHEN h % 3 = 0 THEN interval '59 min' ELSE '1 h' END)
                     OVER (ORDER BY h) AS n FROM generate_series(0, 9) AS h) AS numbered"
        ),
        "1 1 1 2 2 2 3 3 3 4"
    );
}

#[test]
fn rows_without_a_time_have_no_number_and_infinite_times_are_times() {
    let (_db, s) = open("");
    let numbers = |order: &str| {
        value(
            &s,
            &format!(
                "SELECT string_agg(coalesce(n::text, '-'), ' ' ORDER BY o) FROM (
                     SELECT row_number() OVER (ORDER BY {order}) AS o, eventkit.sessionize(at, '1 h') OVER (ORDER BY {order}) AS n
                     FROM (VALUES (timestamptz '2024-01-01'), (NULL), ('-infinity'), ('infinity'), (NULL), ('2024-01-01 00:59'), ('infinity')) AS v (at)) AS numbered"
            ),
        )
    };
    assert_eq!(numbers("at NULLS LAST"), "1 2 2 3 3 - -");
    assert_eq!(numbers("at NULLS FIRST"), "- - 1 2 2 3 3");
    assert_eq!(
        value(&s, "SELECT count(*) FROM (SELECT eventkit.sessionize(now(), '1 h') OVER () WHERE false) AS none"),
        "0"
    );
}

#[test]
fn summaries_of_sessions_need_no_more_than_group_by() {
    let (_db, s) = visits();
    none_differs(
        &s,
        300,
        &format!(
            "SELECT count(*), count(*) FILTER (WHERE found.n IS DISTINCT FROM plain.n), min(u) FROM
                 (SELECT u, max(session) AS n FROM (SELECT u, eventkit.sessionize(at, '30 min') OVER (PARTITION BY u ORDER BY at) AS session FROM visits) AS v GROUP BY u) AS found
                 FULL JOIN (SELECT u, max(session) AS n FROM ({}) AS p GROUP BY u) AS plain USING (u)",
            PLAIN.replace("{gap}", "30 min")
        ),
    );
}

/// Sessions of an array in plain SQL: a row each, the last one for what has no time.
fn plain(array: &str, micros: i64) -> String {
    let gather = if array == "jsonb" { "jsonb_agg" } else { "array_agg" };
    format!(
        "SELECT session::int, min(at), max(at), count(*)::int, {gather}(v ORDER BY at NULLS LAST, o)
         FROM (SELECT *, CASE WHEN at IS NOT NULL
                   THEN 1 + sum(coalesce(at - before > {micros}, false)::int) OVER (ORDER BY at NULLS LAST, o) END AS session
               FROM (SELECT *, lag(at) OVER (ORDER BY at NULLS LAST, o) AS before
                     FROM (SELECT v, o, oracle.at(oracle.property(v, 'time')) AS at FROM oracle.elements(e) AS u (v, o)) AS timed)
                   AS lagged) AS numbered
         GROUP BY session"
    )
}

#[test]
fn arrays_of_all_forms_are_divided_as_in_plain_sql() {
    let (_db, s) = open(&format!("{}{}", oracle(), cases(ANY_IDS, 200)));
    for (column, array, _) in FORMS {
        for (interval, micros) in [("0 s", 0), ("0.5 s", 500_000), ("1 day", 86_400_000_000)] {
            s.query(&format!(
                "CREATE OR REPLACE FUNCTION pg_temp.plain(e {array})
                     RETURNS TABLE (session int, started numeric, ended numeric, n int, events {array})
                     STABLE LANGUAGE sql AS $$ {} $$",
                plain(array, micros)
            ))
            .unwrap();
            none_differs(
                &s,
                200,
                &format!(
                    "SELECT count(*), count(*) FILTER (WHERE found IS DISTINCT FROM wanted), min(format('%s: %s, not %s', n, found, wanted)) FILTER (WHERE found IS DISTINCT FROM wanted)
                     FROM (SELECT n,
                         (SELECT string_agg(concat_ws('|', session, (extract(epoch FROM started_at) * 1000000)::bigint,
                              (extract(epoch FROM ended_at) * 1000000)::bigint, event_count, oracle.show(events), ended_at - started_at = duration), E'\\n' ORDER BY session NULLS LAST)
                          FROM eventkit.sessionize({column}, '{interval}')) AS found,
                         (SELECT string_agg(concat_ws('|', session, started::bigint, ended::bigint, n, oracle.show(events), CASE WHEN session IS NOT NULL THEN true END), E'\\n' ORDER BY session NULLS LAST)
                          FROM pg_temp.plain({column})) AS wanted
                         FROM cases) AS compared"
                ),
            );
        }
    }
}

#[test]
fn nothing_in_nothing_out() {
    let (_db, s) = open("");
    for array in ["NULL::hstore[]", "NULL::jsonb[]", "NULL::jsonb", "'{}'::hstore[]", "'{}'::jsonb[]", "'[]'::jsonb"] {
        assert_eq!(number(&s, &format!("SELECT count(*) FROM eventkit.sessionize({array}, '1 h')")), 0, "{array}");
    }
    assert_eq!(
        lines(
            &s,
            "SELECT * FROM eventkit.sessionize('[{\"at\": 10}, null, {\"at\": 5}, {\"x\": 1}, {\"at\": 99}]'::jsonb, '5 s', time_key => 'at')"
        ),
        [
            "1|1970-01-01 00:00:05+00|1970-01-01 00:00:10+00|00:00:05|2|[{\"at\": 5}, {\"at\": 10}]",
            "2|1970-01-01 00:01:39+00|1970-01-01 00:01:39+00|00:00:00|1|[{\"at\": 99}]",
            "NULL|NULL|NULL|NULL|2|[null, {\"x\": 1}]",
        ]
        .map(|line| line.to_owned())
    );
}

#[test]
fn parallel_plans_change_nothing() {
    let (_db, s) = visits();
    s.query(
        "CREATE TABLE arrays AS SELECT u, array_agg(jsonb_build_object('time', at, 'i', i) ORDER BY i) AS events FROM visits GROUP BY u; ANALYZE arrays",
    )
    .unwrap();
    let digest = "SELECT md5(string_agg(md5(sessions::text), ' ' ORDER BY sessions::text)) FROM (SELECT u, eventkit.sessionize(events, '30 min') AS sessions FROM arrays) AS found";
    let serial = value(&s, digest);
    s.query(
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
         SET max_parallel_workers_per_gather = 3; ALTER TABLE arrays SET (parallel_workers = 3)",
    )
    .unwrap();
    let plan = lines(&s, &format!("EXPLAIN {digest}")).join("\n");
    assert!(plan.contains("Gather"), "{plan}");
    assert_eq!(value(&s, digest), serial);
}

#[test]
fn errors_say_what_and_what_next() {
    let (_db, s) = open(
        "CREATE TABLE v AS SELECT timestamptz '2024-01-01' + i * interval '1 h' AS at FROM generate_series(1, 3) AS i",
    );
    let row = "'[{\"time\": 1}]'::jsonb";
    for (sql, sqlstate, message) in [
        (
            "SELECT eventkit.sessionize(at, '1 h') OVER (ORDER BY at DESC) FROM v".to_owned(),
            "22023",
            "the rows of sessionize are not in order of time",
        ),
        (
            "SELECT eventkit.sessionize(at, NULL) OVER (ORDER BY at) FROM v".into(),
            "22004",
            "argument \"gap\" must not be NULL",
        ),
        (
            "SELECT eventkit.sessionize(at, '1 month') OVER (ORDER BY at) FROM v".into(),
            "22023",
            "\"gap\" must not have months or years",
        ),
        ("SELECT eventkit.sessionize(at, '-1 s') OVER (ORDER BY at) FROM v".into(), "22023", "\"gap\" is out of range"),
        (format!("SELECT * FROM eventkit.sessionize({row}, NULL)"), "22004", "argument \"gap\" must not be NULL"),
        ("SELECT * FROM eventkit.sessionize(NULL::jsonb, NULL)".into(), "22004", "argument \"gap\" must not be NULL"),
        (
            format!("SELECT * FROM eventkit.sessionize({row}, '1 month')"),
            "22023",
            "\"gap\" must not have months or years",
        ),
        (format!("SELECT * FROM eventkit.sessionize({row}, '-1 s')"), "22023", "\"gap\" is out of range"),
        (
            format!("SELECT * FROM eventkit.sessionize({row}, '1 h', time_key => NULL)"),
            "22004",
            "argument \"time_key\" must not be NULL",
        ),
        (
            "SELECT * FROM eventkit.sessionize('{\"time\": 1}'::jsonb, '1 h')".into(),
            "22039",
            "argument \"events\" is an object, not a JSON array",
        ),
        (
            "SELECT * FROM eventkit.sessionize('[{\"time\": 1}, 2]'::jsonb, '1 h')".into(),
            "2203C",
            "element 2 of argument \"events\": event is a number, not an object",
        ),
        (
            "SELECT * FROM eventkit.sessionize('[{\"time\": 1}, {\"time\": \"soon\"}]'::jsonb, '1 h')".into(),
            "22007",
            "element 2 of argument \"events\": invalid event time: \"soon\"",
        ),
        (
            "SELECT * FROM eventkit.sessionize(array_fill('{}'::jsonb, ARRAY[2, 2]), '1 h')".into(),
            "2202E",
            "argument \"events\" has 2 dimensions, not one",
        ),
    ] {
        let failure = fails(&s, &sql);
        assert_eq!(failure.sqlstate, sqlstate, "{sql}: {failure}");
        assert!(failure.message.starts_with(message), "{sql}: {failure}");
        assert!(failure.detail.is_some() && failure.hint.is_some(), "{sql}: {failure}");
    }
    // The server's own words.
    assert_eq!(fails(&s, "SELECT eventkit.sessionize(at, '1 h') FROM v").sqlstate, "42809");
    // Without an order the rows come as they lie; these lie in order.
    assert_eq!(
        value(&s, "SELECT max(n) FROM (SELECT eventkit.sessionize(at, '1 h') OVER () AS n FROM v) AS numbered"),
        "1"
    );
}

#[test]
fn a_million_events_are_linear_and_can_be_cancelled() {
    let (_db, s) = open(
        "CREATE TABLE many AS SELECT array_agg(hstore('time', (1700000000 + i * 10 + i % 3)::text) ORDER BY i) AS h,
                array_agg(jsonb_build_object('time', 1700000000 + i * 10 + i % 3) ORDER BY i) AS j FROM generate_series(1, 1000000) AS i;
         ALTER TABLE many ADD d jsonb; UPDATE many SET d = to_jsonb(j); SET statement_timeout = '120s'",
    );
    // 666,667 sessions: work in the square of them would take days.
    for form in ["h", "j", "d"] {
        let found = value(
            &s,
            &format!(
                "SELECT concat_ws(' ', count(*), max(session), sum(event_count), max(duration)) FROM many, eventkit.sessionize({form}, '10 s')"
            ),
        );
        assert_eq!(found, "666667 666667 1000000 00:00:08", "{form}");
    }
    let rows = "SELECT concat_ws(' ', count(*), max(n)) FROM (
        SELECT eventkit.sessionize(timestamptz 'epoch' + (i * 10 + i % 3) * interval '1 s', '10 s') OVER (ORDER BY i) AS n FROM generate_series(1, {rows}) AS i) AS numbered";
    assert_eq!(value(&s, &rows.replace("{rows}", "1000000")), "1000000 666667");
    s.query("SET statement_timeout = '300ms'").unwrap();
    for sql in [
        "SELECT count(*) FROM many, generate_series(1, 100) AS again, eventkit.sessionize(j, (again || ' s')::interval)",
        &rows.replace("{rows}", "100000000"),
    ] {
        assert_eq!(fails(&s, sql).sqlstate, "57014", "{sql}");
    }
}
