//! Sequences over plain rows as a client sees them: ClickHouse's answers, regular expressions, joins, parallel plans,
//! errors, long groups.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{TRIED, fails, lines, none_differs, number, open, value};
use eventkit_tests::Session;
use eventkit_tests::shared::Database;

/// What ClickHouse says of 3,000 small users.
const GOLDEN: &str = include_str!("golden/clickhouse_sequence.txt");

/// 2,000 users of up to 14 rows, each row at a time of its own and meeting one of the conditions a, b, c.
const RANDOM: &str = "
    SELECT setseed(0.26);
    CREATE TABLE e AS
        SELECT u, timestamptz '2024-01-01' + s * interval '1 s' AS at, substr('abc', 1 + floor(random() * 3)::int, 1) AS what
        FROM generate_series(1, 2000) AS u, LATERAL (
            SELECT DISTINCT floor(random() * 20)::int AS s FROM generate_series(1, 14 + u % 3)) AS times;
    CREATE TABLE texts AS SELECT u, string_agg(what, '' ORDER BY at) AS t FROM e GROUP BY u;
    ANALYZE";

fn random() -> (Database, Session) {
    open(RANDOM)
}

#[test]
fn it_gives_what_clickhouse_gives() {
    let (_db, s) = open("");
    let users: Vec<String> = GOLDEN
        .lines()
        .filter(|line| !line.starts_with('#'))
        .enumerate()
        .map(|(id, line)| {
            let (user, answers) = line.split_once(" = ").unwrap();
            let mut fields = user.split(' ');
            let (conditions, pattern) = (fields.next().unwrap(), fields.next().unwrap());
            let rows = fields.collect::<Vec<_>>().join(",");
            format!("({id}, {conditions}, '{pattern}', '{{{rows}}}', '{answers}')")
        })
        .collect();
    s.query(&format!(
        "CREATE TABLE users (id, conditions, pattern, rows, answers) AS
             SELECT id, conditions, pattern, rows::text[], string_to_array(answers, ' ')
             FROM (VALUES {}) AS u (id, conditions, pattern, rows, answers)",
        users.join(", ")
    ))
    .unwrap();
    s.query(
        "CREATE TABLE found AS
         SELECT id, pattern, answers, count(*),
                eventkit.sequence_match(pattern, at, VARIADIC met ORDER BY place) AS m,
                eventkit.sequence_count(pattern, at, VARIADIC met ORDER BY place) AS c,
                ARRAY(SELECT extract(epoch FROM t)::int FROM unnest(
                    eventkit.sequence_events(pattern, at, VARIADIC met ORDER BY place)) AS t)::text AS times
         FROM users, unnest(rows) WITH ORDINALITY AS r (r, place), LATERAL (
             SELECT to_timestamp(split_part(r, ':', 1)::int) AS at,
                    ARRAY(SELECT split_part(r, ':', 2)::int >> i & 1 = 1 FROM generate_series(0, conditions - 1) AS i) AS met) AS row
         GROUP BY id, pattern, answers",
    )
    .unwrap();
    assert_eq!(number(&s, "SELECT count(*) FROM found"), 3_000);
    // The known differences are told apart and explained in src/core/src/sequence/tests.rs; here they are only counted.
    assert_eq!(number(&s, "SELECT count(*) FROM found WHERE m::int::text <> answers[1] OR c::text <> answers[2]"), 6);
    assert_eq!(
        number(&s, "SELECT count(*) FROM found WHERE translate(times, '{}', '[]') <> answers[3]"),
        number(
            &s,
            "SELECT count(*) FROM found WHERE translate(times, '{}', '[]') <> answers[3] AND m AND pattern !~ '[(][?][0-9]+[)]([.][*])*$'"
        )
    );
}

#[test]
fn without_times_it_equals_a_regular_expression() {
    let (_db, s) = random();
    for (pattern, expression) in [
        ("(?1)", "a"),
        ("(?1)(?2)", "ab"),
        ("(?1).*(?2)", "a.*?b"),
        ("(?1).(?2)", "a.b"),
        ("(?1).*(?2).*(?1).*(?2)", "a.*?b.*?a.*?b"),
        ("(?3)..(?3).*(?2)(?2)", "c..c.*?bb"),
        ("..", ".."),
        (".*(?1)(?1).*(?3)", "aa.*?c"),
    ] {
        let conditions = pattern.matches("(?").count();
        none_differs(
            &s,
            2_000,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE wrong), min(t) FILTER (WHERE wrong) FROM (
                     SELECT t, m <> (t ~ '{expression}') OR c <> regexp_count(t, '{expression}')
                            OR m AND cardinality(times) <> {conditions} AS wrong
                     FROM (SELECT u, eventkit.sequence_match('{pattern}', at, what = 'a', what = 'b', what = 'c') AS m,
                                  eventkit.sequence_count('{pattern}', at, what = 'a', what = 'b', what = 'c') AS c,
                                  eventkit.sequence_events('{pattern}', at, what = 'a', what = 'b', what = 'c') AS times
                           FROM e GROUP BY u) AS found JOIN texts USING (u)) AS compared"
            ),
        );
    }
}

#[test]
fn with_times_it_equals_a_join() {
    let (_db, s) = random();
    for (pattern, condition) in [
        ("(?1)(?t<=3)(?2)", "y.at - x.at <= '3 s'"),
        ("(?1)(?t<3)(?2)", "y.at - x.at < '3 s'"),
        ("(?1)(?t>=9)(?2)", "y.at - x.at >= '9 s'"),
        ("(?1)(?t>9)(?2)", "y.at - x.at > '9 s'"),
        ("(?1)(?t==4)(?2)", "y.at - x.at = '4 s'"),
        ("(?1)(?t<=2)(?2)(?t>=8)(?3)", "y.at - x.at <= '2 s' AND z.at - y.at >= '8 s'"),
        ("(?1)(?t==3)(?2)(?t==5)(?3)", "y.at - x.at = '3 s' AND z.at - y.at = '5 s'"),
    ] {
        // The earliest chain by its end is also the earliest by each of its rows.
        let (join, times) = match condition.contains("z.at") {
            true => ("JOIN e AS z ON z.u = x.u AND z.what = 'c' AND z.at > y.at", "ARRAY[x.at, y.at, z.at]"),
            false => ("", "ARRAY[x.at, y.at]"),
        };
        none_differs(
            &s,
            2_000,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE wrong), min(u) FILTER (WHERE wrong) FROM (
                     SELECT u, m <> (first IS NOT NULL) OR m AND times <> first AS wrong
                     FROM (SELECT u, eventkit.sequence_match('{pattern}', at, what = 'a', what = 'b', what = 'c') AS m,
                                  eventkit.sequence_events('{pattern}', at, what = 'a', what = 'b', what = 'c') AS times
                           FROM e GROUP BY u) AS found
                          LEFT JOIN (SELECT x.u, min({times}) AS first FROM e AS x
                                     JOIN e AS y ON y.u = x.u AND y.what = 'b' AND y.at > x.at {join}
                                     WHERE x.what = 'a' AND {condition} GROUP BY x.u) AS joined USING (u)) AS compared"
            ),
        );
    }
}

#[test]
fn separate_conditions_equal_an_array_of_them() {
    let (_db, s) = random();
    for many in 1..=12 {
        let conditions: Vec<String> = (1..=many).map(|at| format!("ascii(what) - 96 = {at}")).collect();
        let conditions = conditions.join(", ");
        let call = |function: &str, given: &str| format!("eventkit.sequence_{function}('.*(?1).(?t<=9)', at, {given})");
        let row =
            |given: &str| format!("ROW({}, {}, {})", call("match", given), call("count", given), call("events", given));
        none_differs(
            &s,
            2_000,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE separate IS DISTINCT FROM together), {many} FROM (
                     SELECT {} AS separate, {} AS together FROM e GROUP BY u) AS answers",
                row(&conditions),
                row(&format!("VARIADIC ARRAY[{conditions}]"))
            ),
        );
    }
}

#[test]
fn the_order_of_rows_and_parallel_plans_change_nothing() {
    let (_db, s) = random();
    let digest = |from: &str| {
        let calls: Vec<String> = ["(?1).*(?2)", "(?1)(?t<=4)(?2).(?3)", ".*", "(?3)(?t==2)(?3)"]
            .iter()
            .flat_map(|pattern| {
                ["match", "count", "events"]
                    .map(|f| format!("eventkit.sequence_{f}('{pattern}', at, what = 'a', what = 'b', what = 'c')"))
            })
            .collect();
        format!(
            "SELECT md5(string_agg(answers::text, ',' ORDER BY u)) FROM (
                 SELECT u, ROW({}) AS answers FROM {from} GROUP BY u) AS answers",
            calls.join(", ")
        )
    };
    let serial = value(&s, &digest("e"));
    assert_eq!(value(&s, &digest("(SELECT * FROM e ORDER BY at) AS e")), serial);
    assert_eq!(value(&s, &digest("(SELECT * FROM e ORDER BY at DESC) AS e")), serial);
    s.query(
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
         SET max_parallel_workers_per_gather = 3; ALTER TABLE e SET (parallel_workers = 3)",
    )
    .unwrap();
    let plan = lines(&s, &format!("EXPLAIN {}", digest("e"))).join("\n");
    assert!(plan.contains("Partial") && plan.contains("Gather"), "{plan}");
    for _ in 0..3 {
        assert_eq!(value(&s, &digest("e")), serial);
    }
}

#[test]
fn rows_of_one_time_are_taken_as_they_come() {
    let (_db, s) = open("");
    let call = |order: &str| {
        format!(
            "SELECT eventkit.sequence_match('(?1)(?2)', at, n = 1, n = 2 ORDER BY {order})
             FROM (VALUES (1, timestamptz '2024-01-01'), (2, '2024-01-01')) AS t (n, at)"
        )
    };
    assert_eq!(value(&s, &call("n")), "t");
    assert_eq!(value(&s, &call("n DESC")), "f");
}

#[test]
fn it_serves_in_windows_filters_and_over_nothing() {
    let (_db, s) = random();
    let running = value(
        &s,
        "SELECT string_agg(concat_ws('/', m, c, cardinality(times)), ' ' ORDER BY at) FROM (
             SELECT at, eventkit.sequence_match('(?1).*(?2)', at, n = 'a', n = 'b') OVER w AS m,
                    eventkit.sequence_count('(?1).*(?2)', at, n = 'a', n = 'b') OVER w AS c,
                    eventkit.sequence_events('(?1).*(?2)', at, n = 'a', n = 'b') OVER w AS times
             FROM (VALUES ('b', timestamptz '2024-01-01'), ('a', '2024-01-02'), ('x', '2024-01-03'),
                          ('b', '2024-01-04'), ('a', '2024-01-05'), ('b', '2024-01-06')) AS t (n, at)
             WINDOW w AS (ORDER BY at)) AS running",
    );
    assert_eq!(running, "f/0/0 f/0/1 f/0/1 t/1/2 t/1/2 t/2/2");
    let all = |pattern: &str, conditions: &str, rest: &str| {
        let call = |f: &str| format!("eventkit.sequence_{f}('{pattern}', at, {conditions})");
        value(
            &s,
            &format!("SELECT concat_ws(' ', {}, {}, {}) FROM e {rest}", call("match"), call("count"), call("events")),
        )
    };
    assert_eq!(all(".*", "true", "WHERE false"), "f 0 {}");
    // A row that meets nothing is not there; what needs no row matches then.
    assert_eq!(all("(?1)", "NULL, false", ""), "f 0 {}");
    assert_eq!(all(".*", "NULL, false", ""), "t 0 {}");
    assert_eq!(all("(?t<5).*", "false", ""), "t 0 {}");
    assert_eq!(
        value(&s, "SELECT eventkit.sequence_count('(?1)', at, what = 'a') FILTER (WHERE what <> 'a') FROM e"),
        "0"
    );
    // Rows that meet no condition need no time.
    let sql = "SELECT eventkit.sequence_match('(?1)(?2)', at, n = 1, n = 2)
        FROM (VALUES (1, timestamptz '2024-01-01'), (0, NULL), (0, 'infinity'), (NULL, NULL), (2, '2024-01-02')) AS t (n, at)";
    assert_eq!(value(&s, sql), "t");
    // Dates and times without a zone are taken as times.
    assert_eq!(value(&s, "SELECT eventkit.sequence_match('(?1)', date '2024-01-01', true)"), "t");
    assert_eq!(value(&s, "SELECT eventkit.sequence_match('(?1)', timestamp '2024-01-01', true)"), "t");
    // 64 conditions.
    assert_eq!(
        value(
            &s,
            "SELECT eventkit.sequence_count('(?64)(?63).*(?1)', timestamptz '2024-01-01' - n * interval '1 s',
                 VARIADIC ARRAY(SELECT g = n FROM generate_series(1, 64) AS g)) FROM generate_series(1, 64) AS n"
        ),
        "1"
    );
    // Several functions of the same arguments gather the rows once; a pattern may come from a column.
    assert_eq!(
        value(
            &s,
            "SELECT string_agg(c::text, ' ' ORDER BY pattern COLLATE \"C\") FROM (
                 SELECT pattern, eventkit.sequence_count(pattern, at, what = 'a', what = 'b') AS c
                 FROM (SELECT * FROM e WHERE u = 1) AS e, unnest(ARRAY['.', '(?1)', '(?2)']) AS pattern GROUP BY pattern) AS counts"
        ),
        value(
            &s,
            "SELECT concat_ws(' ', count(*) FILTER (WHERE what = 'a'), count(*) FILTER (WHERE what = 'b'),
                 count(*) FILTER (WHERE what IN ('a', 'b'))) FROM e WHERE u = 1"
        )
    );
}

#[test]
fn errors_say_where_and_what_next() {
    let (_db, s) = open("");
    let at = "timestamptz '2024-01-01'";
    let two = format!("{at}, true, false");
    for (call, sqlstate, message, detail) in [
        (format!("sequence_match('', {two})"), "22023", "argument \"pattern\" is empty", "position 1"),
        (
            format!("sequence_count('(?1) (?2)', {two})"),
            "22023",
            "invalid pattern: no element of a pattern begins here",
            "position 5: \" (?2)\"",
        ),
        (format!("sequence_events('(?3)', {two})"), "22023", "the pattern asks for condition 3", "position 1"),
        (format!("sequence_match('(?0)', {two})"), "22023", "the pattern asks for condition 0", "position 1"),
        (
            format!("sequence_match('(?1)(?t!=5)(?2)', {two})"),
            "22023",
            "invalid pattern: the comparisons of times are <=, <, >=, > and ==",
            "position 8",
        ),
        (
            format!("sequence_match('(?1)(?t<5)(?t>1)', {two})"),
            "22023",
            "invalid pattern: one comparison of times follows another",
            "position 11",
        ),
        (
            format!("sequence_match('(?1', {two})"),
            "22023",
            "invalid pattern: a closing parenthesis is missing",
            "position 4",
        ),
        (
            format!("sequence_match('(?1', {at}, false)"),
            "22023",
            "invalid pattern: a closing parenthesis is missing",
            "position 4",
        ),
        (
            format!("sequence_match(repeat('.', 1048576), {two})"),
            "54000",
            "argument \"pattern\" has 1048576 bytes",
            "position 4097",
        ),
        (format!("sequence_match(NULL, {two})"), "22004", "argument \"pattern\" must not be NULL", "sequence"),
        (
            "sequence_match('(?1)', NULL::timestamptz, false, true)".into(),
            "22004",
            "argument \"time\" is NULL",
            "condition 2",
        ),
        (
            "sequence_match('(?1)', timestamptz 'infinity', true)".into(),
            "22008",
            "argument \"time\" is infinite",
            "condition 1",
        ),
        (
            format!("sequence_match('(?1)', {at}, VARIADIC NULL::bool[])"),
            "22004",
            "argument \"conditions\" must not be NULL",
            "",
        ),
        (
            format!("sequence_match('(?1)', {at}, VARIADIC '{{}}'::bool[])"),
            "22023",
            "the pattern is given 0 conditions",
            "1 to 64",
        ),
        (
            format!("sequence_match('(?1)', {at}, VARIADIC array_fill(true, ARRAY[65]))"),
            "54000",
            "argument \"conditions\" has 65 elements",
            "64",
        ),
        (
            format!("sequence_match(repeat('.', i), {at}, true) FROM generate_series(1, 2) AS i"),
            "22023",
            "argument \"pattern\" differs between rows of one group",
            "\".\"",
        ),
        (
            format!("sequence_match('.', {at}, VARIADIC array_fill(true, ARRAY[i])) FROM generate_series(1, 2) AS i"),
            "22023",
            "argument \"conditions\" differs between rows of one group",
            "1 conditions",
        ),
        ("sequence_match_finish('\\x00')".into(), "22023", "not a state of the sequence functions", ""),
        (
            "sequence_count_finish(decode(repeat('01', 200), 'hex'))".into(),
            "22023",
            "not a state of the sequence functions",
            "",
        ),
        ("sequence_events_finish('')".into(), "22023", "not a state of the sequence functions", ""),
        (format!("sequence_add('\\x0102', '.', {at}, true)"), "22023", "not a state of the sequence functions", ""),
        ("sequence_combine('\\x0102', '\\x0102')".into(), "22023", "not a state of the sequence functions", ""),
    ] {
        let failure = fails(&s, &format!("SELECT eventkit.{call}"));
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), (sqlstate, message), "{call}");
        assert!(failure.detail.as_ref().is_some_and(|found| found.contains(detail)), "{call}: {failure}");
        assert!(failure.hint.is_some(), "{call}: {failure}");
    }
}

/// States with each of their first bytes changed in turn: an answer or an error, and the server goes on.
#[test]
fn forged_states_are_refused_or_harmless() {
    let (_db, s) = open(
        "CREATE AGGREGATE gathered(text, timestamptz, bool, bool) (SFUNC = eventkit.sequence_add, STYPE = bytea);
         CREATE TABLE states AS SELECT gathered('(?1).*(?t<3)(?2)(?t==1).', timestamptz '2024-01-01' + i % 7 * interval '1 s', i % 2 = 0, i % 3 = 0) AS state
         FROM generate_series(1, 30) AS i",
    );
    s.query(TRIED).unwrap();
    let found = lines(
        &s,
        "SELECT tried, count(*) > 50 FROM (
             SELECT tried(format('eventkit.sequence_%s_finish(%L::bytea)', f, forged)) FROM forged, unnest('{match,count,events}'::text[]) AS f
             UNION ALL SELECT tried(format('eventkit.sequence_combine(%L::bytea, %L::bytea)', forged, state)) FROM forged
             UNION ALL SELECT tried(format('eventkit.sequence_combine(%L::bytea, %L::bytea)', state, forged)) FROM forged
             UNION ALL SELECT tried(format('eventkit.sequence_add(%L::bytea, ''(?1).*(?t<3)(?2)(?t==1).'', now(), true, true)', forged)) FROM forged) AS all_tried
         GROUP BY tried ORDER BY tried"
            .replace("FROM forged", "FROM (SELECT state, set_byte(state, at, byte) AS forged FROM states, generate_series(0, 79) AS at, unnest('{0,1,40,127,128,255}'::int[]) AS byte) AS forged")
            .as_str(),
    );
    assert_eq!(found, ["ok|t", "refused|t"]);
}

#[test]
fn a_group_of_a_million_rows_is_linear_and_can_be_cancelled() {
    let (_db, s) = open(
        "CREATE TABLE long AS SELECT timestamptz '2024-01-01' + i * interval '1 s' AS at, i % 2 AS n FROM generate_series(1, 1000000) AS i;
         CREATE AGGREGATE gathered(text, timestamptz, bool, bool) (SFUNC = eventkit.sequence_add, STYPE = bytea);
         SET statement_timeout = '120s'",
    );
    // A search that goes back would look at 10^24 combinations of four rows.
    assert_eq!(
        value(
            &s,
            "SELECT eventkit.sequence_match('(?1)(?t<=600000).*(?2)(?t>=10)(?1).*(?2)(?3)', at, n = 0, n = 1, false) || ' '
                    || eventkit.sequence_count('(?1).*(?2).*(?1).*(?2)', at, n = 0, n = 1) || ' '
                    || cardinality(eventkit.sequence_events('(?1)(?t<=600000)(?2).*(?1).*(?2)(?t==300000)(?3)', at, n = 0, n = 1, false))
             FROM long"
        ),
        "false 249999 4"
    );
    // Four billion steps of the final function alone: it is the search that is stopped.
    s.query("CREATE TABLE states AS SELECT gathered(repeat('.', 4092) || '(?2)', at, true, false) AS state FROM long")
        .unwrap();
    s.query("SET statement_timeout = '300ms'").unwrap();
    for function in ["match", "count", "events"] {
        let sql = format!("SELECT eventkit.sequence_{function}_finish(state) FROM states");
        assert_eq!(fails(&s, &sql).sqlstate, "57014", "{function}");
    }
}
