//! Aggregates over plain rows as a client sees them: ClickHouse's answers, a recursive query, parallel plans, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{TRIED, value};
use eventkit_tests::Session;
use eventkit_tests::shared::{self, Database};

/// What ClickHouse says of 2,000 small users.
const GOLDEN: &str = include_str!("golden/clickhouse_window_funnel.txt");

const CLICKHOUSE: [&str; 6] = [
    "clickhouse_default",
    "clickhouse_strict_order",
    "clickhouse_strict_deduplication",
    "clickhouse_strict_increase",
    "clickhouse_allow_reentry",
    "clickhouse_strict_once",
];

/// The rows of the golden users: a mask of the conditions met, as a number and as an array of as many as the user has.
fn database() -> (Database, Session) {
    let db = shared::database().unwrap();
    let session = db.session("main").unwrap();
    let mut users = Vec::new();
    for (id, line) in GOLDEN.lines().filter(|line| !line.starts_with('#')).enumerate() {
        let (user, answers) = line.split_once(" = ").unwrap();
        let mut fields = user.split(' ');
        let (steps, seconds) = (fields.next().unwrap(), fields.next().unwrap());
        let rows = fields.collect::<Vec<_>>().join(",");
        users.push(format!("({id}, {steps}, {seconds}, '{{{rows}}}', '{answers}')"));
    }
    session
        .query(&format!(
            "CREATE TABLE users (id, steps, seconds, rows, answers) AS
                 SELECT id, steps, seconds, rows::text[], string_to_array(answers, ' ')
                 FROM (VALUES {}) AS u (id, steps, seconds, rows, answers);
             CREATE TABLE e AS
                 SELECT id, steps, seconds, place, split_part(r, ':', 2)::int AS met,
                        timestamptz '2024-01-01' + split_part(r, ':', 1)::int * interval '1 s' AS at
                 FROM users, unnest(rows) WITH ORDINALITY AS r (r, place);
             ALTER TABLE e ADD conditions bool[];
             UPDATE e SET conditions = ARRAY(SELECT met >> i & 1 = 1 FROM generate_series(0, steps - 1) AS i);
             ANALYZE",
            users.join(", ")
        ))
        .unwrap();
    (db, session)
}

#[test]
fn clickhouse_modes_give_what_clickhouse_gives() {
    let (_db, session) = database();
    for (at, mode) in CLICKHOUSE.iter().enumerate() {
        let wrong = value(
            &session,
            &format!(
                "SELECT count(*) || ' ' || count(*) FILTER (WHERE coalesce(level, 0) <> answers[{}]::int)
                 FROM users LEFT JOIN (
                     SELECT id, eventkit.window_funnel(seconds * interval '1 s', '{mode}', at, VARIADIC conditions) AS level
                     FROM e GROUP BY id) AS levels USING (id)",
                at + 1
            ),
        );
        assert_eq!(wrong, "2000 0", "{mode}");
    }
    let wrong = value(
        &session,
        "SELECT count(*) || ' ' || count(*) FILTER (WHERE array_to_string(flags, '') <> answers[7])
         FROM users JOIN (SELECT id, eventkit.retention(VARIADIC conditions) AS flags FROM e GROUP BY id) AS f USING (id)",
    );
    let (users, wrong) = wrong.split_once(' ').unwrap();
    assert!(users.parse::<i32>().unwrap() > 1900);
    assert_eq!(wrong, "0");
}

#[test]
fn the_default_equals_the_recursive_query() {
    let (_db, session) = database();
    let wrong = value(
        &session,
        "WITH RECURSIVE chain AS (
             SELECT id, steps, seconds, 1 AS level, ARRAY[place] AS used, at AS entry, at AS last FROM e WHERE met & 1 = 1
             UNION ALL
             SELECT e.id, e.steps, e.seconds, level + 1, used || place, entry, at FROM chain JOIN e
                 ON e.id = chain.id AND met >> level & 1 = 1 AND at >= last
                    AND at - entry <= e.seconds * interval '1 s' AND place <> ALL (used) AND level < e.steps)
         SELECT count(*) || ' ' || count(*) FILTER (WHERE l.level <> coalesce(want.level, 0))
                || ' ' || count(*) FILTER (WHERE l.named <> coalesce(want.level, 0))
         FROM (SELECT id, eventkit.window_funnel(seconds * interval '1 s', at, VARIADIC conditions) AS level,
                      eventkit.window_funnel(seconds * interval '1 s', 'ordered', at, VARIADIC conditions) AS named
               FROM e GROUP BY id) AS l
              LEFT JOIN (SELECT id, max(level) AS level FROM chain GROUP BY id) AS want USING (id)",
    );
    assert!(wrong.ends_with(" 0 0"), "{wrong}");
}

#[test]
fn the_exact_modes_equal_those_over_event_arrays() {
    let (_db, session) = database();
    // An event's name is the mask of the conditions that it meets; a step matches all masks that have its bit.
    session
        .query(
            "CREATE TABLE arrays AS
                 SELECT id, jsonb_agg(jsonb_build_object('event', met, 'time', extract(epoch FROM at)::bigint) ORDER BY place) AS events
                 FROM e GROUP BY id;
             CREATE TABLE steps AS
                 SELECT steps, jsonb_agg(jsonb_build_object('event', names) ORDER BY bit) AS list
                 FROM (SELECT steps, bit, jsonb_agg(met::text) AS names
                       FROM generate_series(1, 5) AS steps, generate_series(0, 4) AS bit, generate_series(0, 31) AS met
                       WHERE bit < steps AND met >> bit & 1 = 1 GROUP BY steps, bit) AS s GROUP BY steps",
        )
        .unwrap();
    for (name, mode, increasing) in [
        ("ordered", "ordered", false),
        ("ordered_increasing", "ordered", true),
        ("strict", "strict", false),
        ("strict_increasing", "strict", true),
        ("strict_steps", "strict_steps", false),
        ("strict_steps_increasing", "strict_steps", true),
        ("unordered", "unordered", false),
    ] {
        let options = if increasing { ", 'increasing', true" } else { "" };
        let wrong = value(
            &session,
            &format!(
                "SELECT (count(*) > 1900) || ' ' || count(*) FILTER (WHERE level <> eventkit.funnel_level(events,
                     jsonb_build_object('steps', list, 'window', seconds || ' seconds', 'mode', '{mode}'{options})))
                 FROM (SELECT id, steps, seconds, eventkit.window_funnel(seconds * interval '1 s', '{name}', at, VARIADIC conditions) AS level
                       FROM e GROUP BY id, steps, seconds) AS l JOIN arrays USING (id) JOIN steps USING (steps)"
            ),
        );
        assert_eq!(wrong, "true 0", "{name}");
    }
}

#[test]
fn separate_conditions_equal_an_array_of_them() {
    let (_db, session) = database();
    for many in 1..=12 {
        let conditions: Vec<String> = (0..many).map(|at| format!("met >> {at} & 1 = 1")).collect();
        let conditions = conditions.join(", ");
        for mode in ["", "'ordered', ", "'strict', ", "'clickhouse_strict_order', ", "'clickhouse_strict_increase', "] {
            let wrong = value(
                &session,
                &format!(
                    "SELECT count(*) FROM (
                         SELECT eventkit.window_funnel('4 s', {mode}at, {conditions}) AS separate,
                                eventkit.window_funnel('4 s', {mode}at, VARIADIC ARRAY[{conditions}]) AS together
                         FROM e GROUP BY id) AS levels WHERE separate <> together"
                ),
            );
            assert_eq!(wrong, "0", "{many} conditions, {mode}");
        }
    }
}

#[test]
fn the_order_of_rows_and_parallel_plans_change_nothing() {
    let (_db, session) = database();
    let calls: Vec<String> = CLICKHOUSE
        .iter()
        .chain(&["ordered", "ordered_increasing", "strict", "strict_steps_increasing", "unordered"])
        .map(|mode| format!("eventkit.window_funnel('3 s', '{mode}', at, met & 1 = 1, met & 2 = 2, met & 4 = 4)"))
        .collect();
    let calls = calls.join(", ");
    let digest = |from: &str| {
        format!(
            "SELECT md5(string_agg(levels::text, ',' ORDER BY u)) FROM (
                 SELECT u, ROW({calls}, eventkit.retention(met & 1 = 1, met & 2 = 2)) AS levels
                 FROM (SELECT id % 50 AS u, * FROM {from}) AS e GROUP BY u) AS levels"
        )
    };
    let serial = value(&session, &digest("e"));
    assert_eq!(value(&session, &digest("(SELECT * FROM e ORDER BY at, place) AS e")), serial);
    assert_eq!(value(&session, &digest("(SELECT * FROM e ORDER BY at DESC, place DESC) AS e")), serial);
    session
        .query(
            "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
             SET max_parallel_workers_per_gather = 3; ALTER TABLE e SET (parallel_workers = 3)",
        )
        .unwrap();
    let plan = session.query(&format!("EXPLAIN {}", digest("e"))).unwrap();
    let plan = format!("{plan:?}");
    assert!(plan.contains("Partial") && plan.contains("Gather"), "{plan}");
    for _ in 0..3 {
        assert_eq!(value(&session, &digest("e")), serial);
    }
}

#[test]
fn a_state_grows_and_stays_right() {
    let (_db, session) = database();
    // 200,000 rows of one user, backwards: the only chain of three spans the whole.
    let found = value(
        &session,
        "SELECT eventkit.window_funnel('200000 s', at, i = 1, i = 100000, i = 200000) || ' '
                || eventkit.window_funnel('199998 s', at, i = 1, i = 100000, i = 200000) || ' '
                || eventkit.window_funnel(NULL, 'clickhouse_strict_order', at, i = 1, i = 2, i = 200000) || ' '
                || eventkit.window_funnel('1 s', 'clickhouse_default', at, true, true, true)
         FROM (SELECT i, timestamptz '2024-01-01' + i * interval '1 s' AS at FROM generate_series(200000, 1, -1) AS i) AS r",
    );
    assert_eq!(found, "3 2 2 3");
    // Extreme and equal times, 64 conditions.
    let found = value(
        &session,
        "SELECT eventkit.window_funnel(NULL, at, VARIADIC ARRAY(SELECT g = n FROM generate_series(1, 64) AS g))
         FROM generate_series(1, 64) AS n, (VALUES (timestamptz '2024-01-01')) AS t (at)",
    );
    assert_eq!(found, "64");
    let found = value(
        &session,
        "SELECT eventkit.window_funnel(NULL, at, n = 1, n = 2)
         FROM (VALUES (1, timestamptz '4713-01-01 00:00:00+00 BC'), (2, '2024-01-01')) AS t (n, at)",
    );
    assert_eq!(found, "2");
}

#[test]
fn it_serves_in_windows_filters_and_over_nothing() {
    let (_db, session) = database();
    let found = value(
        &session,
        "SELECT string_agg(level::text, ' ' ORDER BY at) FROM (
             SELECT at, eventkit.window_funnel('1 day', at, n = 'a', n = 'b', n = 'c') OVER (ORDER BY at) AS level
             FROM (VALUES ('b', timestamptz '2024-01-01'), ('a', '2024-01-02'), ('x', '2024-01-02 01:00'),
                          ('b', '2024-01-02 02:00'), ('c', '2024-01-04')) AS t (n, at)) AS running",
    );
    assert_eq!(found, "0 1 1 2 2");
    assert_eq!(value(&session, "SELECT eventkit.window_funnel('1 h', at, true) FROM e WHERE false"), "0");
    assert_eq!(value(&session, "SELECT eventkit.window_funnel('1 h', at, NULL, true) FROM e"), "0");
    assert_eq!(value(&session, "SELECT eventkit.retention(true) FROM e WHERE false"), "NULL");
    assert_eq!(value(&session, "SELECT eventkit.retention(met = 1, NULL, met = 2, false) FROM e"), "{1,0,1,0}");
    // Rows that meet no condition need no time, in any mode.
    for mode in ["ordered", "clickhouse_strict_order"] {
        let sql = format!(
            "SELECT eventkit.window_funnel('1 h', '{mode}', at, n = 1, n = 2)
             FROM (VALUES (1, timestamptz '2024-01-01'), (0, NULL), (0, 'infinity'), (2, '2024-01-01')) AS t (n, at)"
        );
        assert_eq!(value(&session, &sql), "2", "{mode}");
    }
    // A date and a time without a zone are taken as times; text is not.
    assert_eq!(value(&session, "SELECT eventkit.window_funnel('1 h', date '2024-01-01', true)"), "1");
    assert_eq!(value(&session, "SELECT eventkit.window_funnel('1 h', timestamp '2024-01-01', true)"), "1");
    let refused = session.query("SELECT eventkit.window_funnel('1 h', text '2024-01-01', true)").unwrap_err();
    assert_eq!(refused.sqlstate, "42883");
}

#[test]
fn errors_say_what_and_what_next() {
    let (_db, session) = database();
    let at = "timestamptz '2024-01-01'";
    for (call, sqlstate, message) in [
        (
            format!("window_funnel('1 month', {at}, true)"),
            "22023",
            "\"conversion_window\" must not have months or years",
        ),
        (format!("window_funnel('-1 h', {at}, true)"), "22023", "\"conversion_window\" is out of range"),
        (
            format!("window_funnel('1 month', {at}, false)"),
            "22023",
            "\"conversion_window\" must not have months or years",
        ),
        (
            format!("window_funnel('1 h', 'loose', {at}, true)"),
            "22023",
            "invalid value for argument \"mode\": \"loose\"",
        ),
        (format!("window_funnel('1 h', NULL::text, {at}, true)"), "22004", "argument \"mode\" must not be NULL"),
        ("window_funnel('1 h', NULL::timestamptz, true)".into(), "22004", "argument \"time\" of window_funnel is NULL"),
        (
            "window_funnel('1 h', timestamptz '-infinity', true)".into(),
            "22008",
            "argument \"time\" of window_funnel is infinite",
        ),
        (
            format!("window_funnel('1 h', {at}, VARIADIC NULL::bool[])"),
            "22004",
            "argument \"conditions\" must not be NULL",
        ),
        (format!("window_funnel('1 h', {at}, VARIADIC '{{}}'::bool[])"), "22023", "window_funnel has 0 conditions"),
        (
            format!("window_funnel('1 h', {at}, VARIADIC array_fill(true, ARRAY[65]))"),
            "54000",
            "argument \"conditions\" has 65 elements",
        ),
        (
            format!("window_funnel('1 h', {at}, VARIADIC array_fill(true, ARRAY[2, 2]))"),
            "2202E",
            "argument \"conditions\" has 2 dimensions, not one",
        ),
        (
            format!("window_funnel(i * interval '1 h', {at}, true) FROM generate_series(1, 2) AS i"),
            "22023",
            "argument \"conversion_window\" of window_funnel differs between rows of one group",
        ),
        (
            format!(
                "window_funnel('1 h', CASE i WHEN 1 THEN 'ordered' ELSE 'clickhouse_default' END, {at}, true) FROM generate_series(1, 2) AS i"
            ),
            "22023",
            "argument \"mode\" of window_funnel differs between rows of one group",
        ),
        (
            format!("window_funnel('1 h', {at}, VARIADIC array_fill(true, ARRAY[i])) FROM generate_series(1, 2) AS i"),
            "22023",
            "argument \"conditions\" of window_funnel differs between rows of one group",
        ),
        ("retention(VARIADIC array_fill(true, ARRAY[57]))".into(), "54000", "retention cannot take 57 conditions"),
        (
            "retention(VARIADIC array_fill(true, ARRAY[i])) FROM generate_series(1, 2) AS i".into(),
            "22023",
            "rows of one group have different numbers of conditions",
        ),
        ("window_funnel_finish('\\x00')".into(), "22023", "not a state of window_funnel"),
        (format!("window_funnel_add('\\x0102', '1 h', {at}, true)"), "22023", "not a state of window_funnel"),
        ("window_funnel_combine('\\x0102', '\\x0102')".into(), "22023", "not a state of window_funnel"),
    ] {
        let failure = session.query(&format!("SELECT eventkit.{call}")).unwrap_err();
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), (sqlstate, message), "{call}");
        assert!(failure.detail.is_some() && failure.hint.is_some(), "{call}: {failure}");
    }
}

/// States of every mode with each of their first bytes changed in turn: an answer or an error, and the server goes on.
#[test]
fn forged_states_are_refused_or_harmless() {
    let (_db, session) = database();
    session
        .query(
            "CREATE AGGREGATE gathered(interval, text, timestamptz, bool, bool) (SFUNC = eventkit.window_funnel_add, STYPE = bytea);
             CREATE TABLE states AS SELECT mode, gathered('1 h', mode, timestamptz '2024-01-01' + i % 7 * interval '1 s', i % 2 = 0, i % 3 = 0) AS state
             FROM generate_series(1, 12) AS i, unnest('{ordered,strict,unordered,clickhouse_default,clickhouse_strict_once}'::text[]) AS mode GROUP BY mode",
        )
        .unwrap();
    session.query(TRIED).unwrap();
    let found = value(
        &session,
        &"SELECT string_agg(tried || ' ' || many, ', ' ORDER BY tried) FROM (SELECT tried, count(*) > 50 AS many FROM (
              SELECT tried(format('eventkit.window_funnel_finish(%L::bytea)', forged)) FROM forged
              UNION ALL SELECT tried(format('eventkit.window_funnel_combine(%L::bytea, %L::bytea)', forged, state)) FROM forged
              UNION ALL SELECT tried(format('eventkit.window_funnel_combine(%L::bytea, %L::bytea)', state, forged)) FROM forged
              UNION ALL SELECT tried(format('eventkit.window_funnel_add(%L::bytea, ''1 h'', %L, now(), true, true)', forged, mode)) FROM forged) AS all_tried
          GROUP BY tried) AS counted"
            .replace("FROM forged", "FROM (SELECT mode, state, set_byte(state, at, byte) AS forged FROM states, generate_series(0, 63) AS at, unnest('{0,1,40,127,128,255}'::int[]) AS byte) AS forged"),
    );
    assert_eq!(found, "ok true, refused true");
}

#[test]
fn comments_name_the_quirks() {
    let (_db, session) = database();
    let silent = value(
        &session,
        "SELECT count(*) FROM pg_proc WHERE proname = 'window_funnel' AND pronamespace = 'eventkit'::regnamespace
             AND obj_description(oid, 'pg_proc') NOT LIKE '%ClickHouse 26%quirks%'",
    );
    assert_eq!(silent, "0");
}
