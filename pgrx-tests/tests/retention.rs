//! Retention as a client sees it: tables against plain SQL in several zones, the three forms, rows, parallel plans,
//! stored summaries, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{dump_and_restore, fails, fails_with, lines, none_differs, open, value};

/// 800 users with 0 to 12 events of few names on few hours around the nights in which clocks change, some of them out of
/// order, tied, of another name or without one; in all three forms, and as rows.
const USERS: &str = "
SELECT setseed(0.5);
CREATE TABLE happened AS
SELECT u AS user_id, i AS place, (ARRAY['join', 'visit', 'buy', NULL])[1 + floor(random() * 4)::int] AS event,
       timestamptz '2024-03-08 00:00+00' + floor(random() * 220) * interval '3 hours' + CASE WHEN u % 4 = 0 THEN interval '217 days' ELSE '0' END AS at
FROM generate_series(1, 800) AS u, generate_series(1, u % 13) AS i;
CREATE TABLE users AS
SELECT u AS user_id,
       coalesce((SELECT array_agg(jsonb_build_object('event', event, 'time', at) ORDER BY place) FROM happened WHERE user_id = u), '{}') AS j
FROM generate_series(1, 800) AS u;
ALTER TABLE users ADD h hstore[], ADD d jsonb;
UPDATE users SET d = to_jsonb(j), h = ARRAY(SELECT hstore(ARRAY['event', e ->> 'event', 'time', e ->> 'time']) FROM unnest(j) WITH ORDINALITY AS u (e, o) ORDER BY o);
";

/// What retention means, over rows with the server's own calendar: the first joining event of each user, and the events
/// behind it, their periods counted by walking from one start of a period to the next.
fn oracle(first: &str, back: &str, unit: &str, many: i32, zone: &str) -> String {
    let start = |at: &str| format!("date_trunc('{unit}', {at} AT TIME ZONE '{zone}')");
    let number = match unit {
        "month" => format!("(extract(year FROM period) * 12 + extract(month FROM period) - 24001)::int / {many}"),
        _ => format!(
            "floor((period::date - date '2000-01-03') / {}.0)::int",
            if unit == "week" { 7 * many } else { many }
        ),
    };
    let begins = match unit {
        "month" => format!("timestamp '2000-01-01' + number * {many} * interval '1 month'"),
        _ => format!("timestamp '2000-01-03' + number * {many} * interval '1 {unit}'"),
    };
    format!(
        "WITH began AS (
             SELECT DISTINCT ON (user_id) user_id, at AS first_at, place AS first_place, {} AS period
             FROM happened WHERE {first} ORDER BY user_id, at, place
         ), cohorts AS (SELECT began.*, {number} AS number FROM began),
         returned AS (
             SELECT DISTINCT user_id, cohorts.number AS cohort, later.number - cohorts.number AS period FROM cohorts JOIN (
                 SELECT user_id, at, place, {number} AS number FROM (SELECT *, {} AS period FROM happened WHERE {back}) AS h
             ) AS later USING (user_id) WHERE at >= first_at AND place <> first_place
         ), last AS (SELECT max(number) AS number FROM (SELECT number FROM cohorts UNION ALL SELECT cohort + period FROM returned) AS n)
         SELECT ({begins}) AT TIME ZONE '{zone}' AS cohort, period, users,
                (SELECT count(*) FROM returned WHERE cohort = sizes.number AND returned.period = series.period) AS returned
         FROM (SELECT number, count(*) AS users FROM cohorts GROUP BY number) AS sizes,
              generate_series(0, (SELECT number FROM last) - sizes.number) AS series (period)",
        start("at"),
        start("at")
    )
}

/// The rows of the table and of the oracle that are not in the other, and how many there are.
fn differing(table: &str, oracle: &str) -> String {
    format!(
        "WITH found AS (SELECT cohort, period, users, returned FROM {table}), wanted AS ({oracle}),
              wrong AS ((TABLE found EXCEPT ALL TABLE wanted) UNION ALL (TABLE wanted EXCEPT ALL TABLE found))
         SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM wrong), (SELECT w::text FROM wrong AS w LIMIT 1)"
    )
}

#[test]
fn tables_equal_plain_sql_in_every_zone_and_form() {
    let (_db, s) = open(USERS);
    // The session's zone and week play no part.
    s.query("SET TimeZone = 'Asia/Tokyo'").unwrap();
    for zone in
        ["UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu"]
    {
        for (unit, many) in [("day", 1), ("week", 1), ("week", 2), ("month", 1), ("month", 3), ("day", 10)] {
            let wanted = oracle("event = 'join'", "event IN ('visit', 'buy')", unit, many, zone);
            let definition = format!(
                r#"{{"first_event": "join", "return_event": ["visit", "buy"], "period": "{many} {unit}", "time_zone": "{zone}"}}"#
            );
            // Each form once, the calendars with one of them.
            let columns: &[&str] = if (unit, many) == ("week", 1) { &["h", "j", "d"] } else { &["j"] };
            for column in columns {
                let table = format!(
                    "eventkit.retention_table((SELECT eventkit.retention_agg({column}, '{definition}'::jsonb) FROM users))"
                );
                none_differs(&s, 5, &differing(&table, &wanted));
            }
        }
        let wanted = oracle("event = 'join'", "event = 'buy'", "week", 1, zone);
        let table = format!(
            "eventkit.retention_table((SELECT eventkit.retention_agg(j, 'join', 'buy', '1 week', '{zone}') FROM users))"
        );
        none_differs(&s, 5, &differing(&table, &wanted));
    }
    // UTC unless told, and any event.
    let wanted = oracle("true", "true", "month", 1, "UTC");
    let table = "eventkit.retention_table((SELECT eventkit.retention_agg(d, NULL, NULL, '1 month') FROM users))";
    none_differs(&s, 5, &differing(table, &wanted));
    // The first event of a user is a return of nobody; the same event again is one.
    let wanted = oracle("event = 'join'", "event = 'join'", "day", 1, "Europe/Berlin");
    let table = "eventkit.retention_table((SELECT eventkit.retention_agg(h, 'join', 'join', '1 day', 'Europe/Berlin') FROM users))";
    none_differs(&s, 10, &differing(table, &wanted));
}

#[test]
fn rows_need_one_group_by() {
    let (_db, s) = open(USERS);
    for zone in ["UTC", "America/New_York"] {
        let table = format!(
            "eventkit.retention_table((
                 SELECT eventkit.retention_agg(first_time, return_times, '1 week', '{zone}')
                 FROM (SELECT min(at) FILTER (WHERE event = 'join') AS first_time, array_agg(at) FILTER (WHERE event = 'buy') AS return_times
                       FROM happened GROUP BY user_id) AS u))"
        );
        // Over rows a return is later than the first event; only then no tie can be it.
        let wanted = oracle("event = 'join'", "event = 'buy'", "week", 1, zone)
            .replace("at >= first_at AND place <> first_place", "at > first_at");
        none_differs(&s, 5, &differing(&table, &wanted));
    }
    assert_eq!(
        lines(
            &s,
            "SELECT period, users, returned, share FROM eventkit.retention_table((
                 SELECT eventkit.retention_agg(first_time::timestamptz, return_times::timestamptz[], '1 day')
                 FROM (VALUES ('2024-01-01 10:00+00', '{2024-01-01 10:00+00,NULL,2024-01-03 00:00+00,2023-12-31 00:00+00}'),
                              ('2024-01-01 12:00+00', '{2024-01-01 13:00+00}'), ('2024-01-01 13:00+00', NULL), (NULL, '{2024-01-05}')) AS u (first_time, return_times)))"
        ),
        ["0|3|1|0.3333333333333333", "1|3|0|0", "2|3|1|0.3333333333333333"]
    );
    // Columns without a zone are taken as the server takes them, in the session's.
    s.query("SET TimeZone = 'Europe/Berlin'").unwrap();
    for column in ["date", "timestamp"] {
        assert_eq!(
            lines(
                &s,
                &format!(
                    "SELECT cohort, period, returned FROM eventkit.retention_table((
                         SELECT eventkit.retention_agg(first, times, '1 day', 'Europe/Berlin') FROM (
                             SELECT min(at) AS first, array_agg(at) AS times FROM (VALUES ('2024-03-30'::{column}), ('2024-03-31'), ('2024-04-01')) AS v (at)) AS u))"
                )
            ),
            ["2024-03-30 00:00:00+01|0|0", "2024-03-30 00:00:00+01|1|1", "2024-03-30 00:00:00+01|2|1"]
        );
    }
}

#[test]
fn the_sample_clicks_give_what_plain_sql_gives() {
    let (db, s) = open("");
    eventkit_tests::sample::load_clicks(&mut db.connect().unwrap()).unwrap();
    s.query(
        "CREATE TABLE happened AS SELECT user_id, click_id AS place, event, at FROM clicks;
         CREATE TABLE users AS SELECT user_id, jsonb_agg(jsonb_build_object('event', event, 'time', at) ORDER BY click_id) AS d FROM clicks GROUP BY user_id",
    )
    .unwrap();
    for (unit, zone) in [("week", "UTC"), ("day", "Europe/Berlin"), ("month", "America/New_York")] {
        let table = format!(
            "eventkit.retention_table((SELECT eventkit.retention_agg(d, 'home', 'product_view', '1 {unit}', '{zone}') FROM users))"
        );
        none_differs(&s, 10, &differing(&table, &oracle("event = 'home'", "event = 'product_view'", unit, 1, zone)));
    }
}

#[test]
fn a_parallel_plan_and_parts_give_the_same_summary() {
    let (_db, s) = open(USERS);
    s.query(
        "INSERT INTO users SELECT user_id, j, h, d FROM users, generate_series(1, 20); ANALYZE users;
         ALTER TABLE users SET (parallel_workers = 2);
         SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    )
    .unwrap();
    let query = "SELECT eventkit.retention_agg(j, 'join', 'buy', '1 day', 'Europe/Berlin') AS summary FROM users";
    let plan = lines(&s, &format!("EXPLAIN {query}"));
    assert!(plan.iter().any(|line| line.contains("Partial Aggregate")), "{plan:#?}");
    let parallel = value(&s, query);
    s.query("SET max_parallel_workers_per_gather = 0").unwrap();
    assert_eq!(parallel, value(&s, query));
    assert_eq!(
        parallel,
        value(
            &s,
            "SELECT eventkit.rollup(summary) FROM (SELECT eventkit.retention_agg(j, 'join', 'buy', '1 day', 'Europe/Berlin') AS summary FROM users GROUP BY user_id % 17) AS parts"
        )
    );
    // A running aggregate leaves the summaries of earlier rows alone.
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM (SELECT (eventkit.retention_agg(j, 'join', 'buy', '1 day') OVER (ORDER BY user_id ROWS UNBOUNDED PRECEDING))::text::jsonb ->> 'users' AS seen,
                                          row_number() OVER (ORDER BY user_id ROWS UNBOUNDED PRECEDING) AS n FROM users WHERE user_id < 50) AS running WHERE seen::int <> n"
        ),
        "0"
    );
}

#[test]
fn a_stored_summary_is_dumped_and_restored() {
    let (db, s) = open(USERS);
    s.query("CREATE TABLE stored AS SELECT user_id % 3 AS part, eventkit.retention_agg(j, 'join', 'buy', '1 week') AS summary FROM users GROUP BY 1").unwrap();
    assert_eq!(
        value(&s, "SELECT bool_and(summary::text = summary::text::eventkit.retention_summary::text) FROM stored"),
        "t"
    );
    dump_and_restore(&db, &s, "stored");
    assert_eq!(
        value(
            &s,
            "SELECT eventkit.rollup(summary)::text = (SELECT eventkit.retention_agg(j, 'join', 'buy', '1 week') FROM users)::text FROM stored"
        ),
        "t"
    );
}

#[test]
fn nobody_and_null_are_not_errors() {
    let (_db, s) = open("");
    assert_eq!(
        value(&s, "SELECT eventkit.retention_agg(e, 'a', 'b', '1 day') IS NULL FROM unnest('{}'::jsonb[]) AS u (e)"),
        "t"
    );
    assert_eq!(
        value(&s, "SELECT eventkit.retention_agg(NULL::jsonb[], 'a', 'b', '1 day', 'Europe/Berlin')"),
        r#"{"version":1,"first_event":["a"],"return_event":["b"],"period":"P1D","time_zone":"Europe/Berlin","users":0,"cohorts":[]}"#
    );
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.retention_table(NULL)"), "0");
    assert_eq!(value(&s, "SELECT eventkit.retention_chart(NULL) IS NULL"), "t");
    assert_eq!(
        value(&s, "SELECT eventkit.retention_chart(eventkit.retention_agg('[]'::jsonb, 'a', 'b', '1 day'))"),
        "no users"
    );
    // NULL elements and events that are not asked for need no time.
    assert_eq!(
        value(
            &s,
            r#"SELECT eventkit.retention_agg('[null, {"event": "x"}, {"event": "a", "time": 0}]'::jsonb, 'a', 'b', '1 day')::text::jsonb ->> 'cohorts'"#
        ),
        r#"[{"start": "1970-01-01", "users": 1, "returned": []}]"#
    );
    assert_eq!(
        value(
            &s,
            r#"SELECT eventkit.retention_agg('[{"n": "a", "t": 0}]'::jsonb, '{"name_key": "n", "time_key": "t", "first_event": "a"}')::text::jsonb ->> 'users'"#
        ),
        "1"
    );
    // A copy of the first event is no return, where ids are known.
    for (id_key, returned) in [("", "[[0, 1]]"), (r#", "id_key": "id""#, "[]")] {
        assert_eq!(
            value(
                &s,
                &format!(
                    r#"SELECT eventkit.retention_agg('[{{"id": 1, "event": "a", "time": 0}}, {{"id": 1, "event": "a", "time": 0}}]'::jsonb, '{{"period": "1 day"{id_key}}}')::text::jsonb #>> '{{cohorts,0,returned}}'"#
                )
            ),
            returned
        );
    }
}

#[test]
fn the_chart_is_what_psql_shows() {
    let (_db, s) = open("");
    let setup = r#"FROM (VALUES ('[{"event": "a", "time": "2024-01-01"}, {"event": "b", "time": "2024-01-09"}]'::jsonb),
                                ('[{"event": "a", "time": "2024-01-03"}, {"event": "b", "time": "2024-01-04"}]'),
                                ('[{"event": "a", "time": "2024-01-08"}, {"event": "b", "time": "2024-01-29"}]')) AS u (events)"#;
    assert_eq!(
        value(
            &s,
            &format!("SELECT eventkit.retention_chart(eventkit.retention_agg(events, 'a', 'b', '1 week')) {setup}")
        ),
        "cohort      users     0     1     2     3     4\n2024-01-01      2   50%   50%     .     .     .\n2024-01-08      1     .     .     .  100%"
    );
    assert_eq!(
        value(
            &s,
            &format!(
                "SELECT eventkit.retention_chart(eventkit.retention_agg(events, 'a', 'b', '1 week'), periods => 1) {setup}"
            )
        ),
        "cohort      users     0     1\n2024-01-01      2   50%   50%\n2024-01-08      1     .     ."
    );
    assert_eq!(
        value(
            &s,
            &format!(
                "SELECT count(*) FROM eventkit.retention_table((SELECT eventkit.retention_agg(events, 'a', 'b', '1 week') {setup}), periods => 1)"
            )
        ),
        "4"
    );
}

#[test]
fn wrong_arguments_say_what_is_wrong() {
    let (_db, s) = open(USERS);
    let call = |arguments: &str| format!("SELECT eventkit.retention_agg(j, {arguments}) FROM users");
    for (sql, state) in [
        (call("'join', 'buy', '1 hour'"), "22023"),
        (call("'join', 'buy', '1 month 1 day'"), "22023"),
        (call("'join', 'buy', '0 days'"), "22023"),
        (call("'join', 'buy', '-1 days'"), "22023"),
        (call("'join', 'buy', NULL"), "22004"),
        (call("'join', 'buy', '1 day', NULL"), "22004"),
        (call("'join', 'buy', '1 day', 'Mars/Olympus'"), "22023"),
        (call("NULL::jsonb"), "22004"),
        (call(r#"'{"firts_event": "join"}'"#), "22023"),
        (call(r#"'[]'"#), "22032"),
        (call("'join', 'buy', CASE WHEN user_id % 2 = 0 THEN interval '1 day' ELSE '1 week' END"), "22023"),
        (call("CASE WHEN user_id % 2 = 0 THEN 'join' END, 'buy', '1 day'"), "22023"),
        (r#"SELECT eventkit.retention_agg('[{"event": "a"}]'::jsonb, 'a', 'b', '1 day')"#.to_owned(), "22007"),
        (r#"SELECT eventkit.retention_agg('[{"event": "a", "time": "200000-01-01"}]'::jsonb, 'a', 'b', '1 day')"#.to_owned(), "22007"),
        (r#"SELECT eventkit.retention_agg('[{"event": "a", "time": 9000000000000000000}]'::jsonb, 'a', 'b', '1 day')"#.to_owned(), "22008"),
        ("SELECT eventkit.retention_agg('infinity'::timestamptz, NULL::timestamptz[], '1 day')".to_owned(), "22008"),
        ("SELECT eventkit.retention_agg(now(), '{infinity}'::timestamptz[], '1 day')".to_owned(), "22008"),
        ("SELECT eventkit.retention_chart(eventkit.retention_agg(j, 'a', 'b', '1 day'), periods => -1) FROM users".to_owned(), "22023"),
        ("SELECT eventkit.retention_chart(eventkit.retention_agg(j, 'a', 'b', '1 day'), periods => NULL) FROM users".to_owned(), "22004"),
        ("SELECT eventkit.retention_table(eventkit.retention_agg(j, 'a', 'b', '1 day'), periods => -1) FROM users".to_owned(), "22023"),
        (
            "SELECT eventkit.rollup(s) FROM (SELECT eventkit.retention_agg(j, 'join', 'buy', '1 day') AS s FROM users
                 UNION ALL SELECT eventkit.retention_agg(j, 'join', 'buy', '1 week') FROM users) AS two".to_owned(),
            "22023",
        ),
        ("SELECT ''::eventkit.retention_summary".to_owned(), "22P02"),
        ("SELECT '{}'::eventkit.retention_summary".to_owned(), "22P02"),
        (
            r#"SELECT '{"version":1,"first_event":null,"return_event":null,"period":"P1D","time_zone":"UTC","users":0,"cohorts":[{"start":"2024-01-01","users":1,"returned":[]}]}'::eventkit.retention_summary"#.to_owned(),
            "22P02",
        ),
    ] {
        fails_with(&s, &sql, state);
    }
}

#[test]
fn a_long_user_can_be_cancelled_and_a_wide_table_is_cut() {
    let (_db, s) = open("");
    s.query(
        "CREATE TABLE long_user AS SELECT jsonb_agg(jsonb_build_object('event', 'a', 'time', 1700000000 + i)) AS events FROM generate_series(1, 300000) AS i;
         SET statement_timeout = '100ms'",
    )
    .unwrap();
    let failure =
        fails(&s, "SELECT eventkit.retention_agg(events, 'a', 'a', '1 day') FROM long_user, generate_series(1, 1000)");
    assert_eq!(failure.sqlstate, "57014", "{failure:?}");
    s.query("SET statement_timeout = '60s'").unwrap();
    // A clock that is wrong by centuries makes many periods, but no rows that nobody asked for.
    let wrong_clock = r#"SELECT eventkit.retention_agg('[{"event": "a", "time": 0}, {"event": "b", "time": "9000-01-01"}]'::jsonb, 'a', 'b', '1 day')"#;
    assert_eq!(
        value(&s, &format!("SELECT count(*) FROM eventkit.retention_table(({wrong_clock}), periods => 30)")),
        "31"
    );
    assert_eq!(value(&s, &format!("SELECT length(eventkit.retention_chart(({wrong_clock}))) < 500")), "t");
}
