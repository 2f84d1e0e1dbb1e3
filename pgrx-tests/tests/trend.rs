//! The trend of a funnel as a client sees it: figures against `funnel_times` and `funnel_agg` of each day's users, the
//! three forms, parallel plans, stored trends, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{dump_and_restore, fails_with, lines, none_differs, open, value};

/// 900 users with 0 to 11 events of few names around the nights in which clocks change; in all three forms.
const USERS: &str = "
SELECT setseed(0.125);
CREATE TABLE users AS
SELECT u AS user_id, coalesce(array_agg(jsonb_build_object('event', (ARRAY['a', 'b', 'c', 'x'])[1 + floor(random() * 4)::int], 'time',
           timestamptz '2024-03-29 00:00+00' + floor(random() * 300) * interval '20 minutes' + CASE WHEN u % 3 = 0 THEN interval '210 days' ELSE '0' END) ORDER BY i)
       FILTER (WHERE i > 0), '{}') AS j
FROM generate_series(1, 900) AS u, generate_series(0, u % 12) AS i GROUP BY u;
ALTER TABLE users ADD h hstore[], ADD d jsonb;
UPDATE users SET d = to_jsonb(j), h = ARRAY(SELECT hstore(ARRAY['event', e ->> 'event', 'time', e ->> 'time']) FROM unnest(j) WITH ORDINALITY AS u (e, o) ORDER BY o);
";

/// The users' times, by `funnel_times`, put together in plain SQL by the day of the first one.
fn oracle(column: &str, call: &str, unit: &str, zone: &str, steps: i32) -> String {
    format!(
        "WITH times AS (SELECT eventkit.funnel_times({column}, {call}) AS t FROM users),
              entered AS (SELECT t, date_trunc('{unit}', t[1] AT TIME ZONE '{zone}') AT TIME ZONE '{zone}' AS period FROM times WHERE t[1] IS NOT NULL),
              counted AS (SELECT period, step, count(t[step]) AS users, count(*) AS first
                          FROM entered, generate_series(1, {steps}) AS step GROUP BY period, step)
         SELECT period, step, users, round(users::numeric / first, 9) AS share,
                round(users::numeric / nullif(lag(users) OVER (PARTITION BY period ORDER BY step), 0), 9) AS of_previous FROM counted"
    )
}

#[test]
fn each_day_is_the_funnel_of_those_who_entered_then() {
    let (_db, s) = open(USERS);
    s.query("SET TimeZone = 'Asia/Tokyo'").unwrap();
    for (unit, zone) in [
        ("day", "UTC"),
        ("day", "Europe/Berlin"),
        ("day", "America/New_York"),
        ("week", "Asia/Kathmandu"),
        ("month", "Europe/Berlin"),
    ] {
        for column in ["h", "j", "d"] {
            for (call, steps) in [
                ("ARRAY['a', 'b', 'c'], '10 hours'::interval", 3),
                ("ARRAY['a'], NULL::interval", 1),
                (r#"'{"steps": ["a", "b"], "window": "1 day", "mode": "strict"}'::jsonb"#, 2),
                (r#"'{"steps": ["b", "a", "c"], "window": "5 hours", "mode": "unordered"}'::jsonb"#, 3),
            ] {
                let trend =
                    format!("(SELECT eventkit.funnel_trend_agg({column}, {call}, '1 {unit}', '{zone}') FROM users)");
                none_differs(
                    &s,
                    2,
                    &format!(
                        "WITH found AS (SELECT period, step, users, round(share_of_first::numeric, 9), round(share_of_previous::numeric, 9) FROM eventkit.funnel_trend_table({trend})),
                              wanted AS (SELECT period, step, users, share, of_previous FROM ({}) AS w),
                              wrong AS ((TABLE found EXCEPT ALL TABLE wanted) UNION ALL (TABLE wanted EXCEPT ALL TABLE found))
                         SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM wrong), (SELECT w::text FROM wrong AS w LIMIT 1)",
                        oracle(column, call, unit, zone, steps)
                    ),
                );
            }
        }
    }
    // UTC unless told.
    for call in ["ARRAY['a', 'b'], '1 hour'", r#"'{"steps": ["a", "b"], "window": "1 hour"}'::jsonb"#] {
        assert_eq!(
            value(
                &s,
                &format!(
                    "SELECT eventkit.funnel_trend_agg(j, {call}, '1 day')::text = eventkit.funnel_trend_agg(d, {call}, '1 day', 'UTC')::text FROM users"
                )
            ),
            "t"
        );
    }
}

#[test]
fn the_figures_of_a_period_are_those_of_its_own_summary() {
    let (db, s) = open("");
    eventkit_tests::sample::load_clicks(&mut db.connect().unwrap()).unwrap();
    s.query("CREATE TABLE users AS SELECT user_id, jsonb_agg(jsonb_build_object('event', event, 'time', at) ORDER BY click_id) AS d FROM clicks GROUP BY user_id").unwrap();
    let steps = "ARRAY['product_view', 'add_to_cart', 'purchase'], '2 hours'";
    none_differs(
        &s,
        30,
        &format!(
            "WITH found AS (SELECT * FROM eventkit.funnel_trend_table((SELECT eventkit.funnel_trend_agg(d, {steps}, '1 day', 'Europe/Berlin') FROM users))),
                  days AS (SELECT period, eventkit.funnel_agg(d, {steps}) AS summary
                           FROM (SELECT d, date_trunc('day', (eventkit.funnel_times(d, {steps}))[1], 'Europe/Berlin') AS period FROM users) AS u WHERE period IS NOT NULL GROUP BY 1),
                  wanted AS (SELECT period, step, label, users, share_of_first, share_of_previous, median_from_start FROM days, eventkit.funnel_table(summary)),
                  wrong AS ((TABLE found EXCEPT ALL TABLE wanted) UNION ALL (TABLE wanted EXCEPT ALL TABLE found))
             SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM wrong), (SELECT w::text FROM wrong AS w LIMIT 1)"
        ),
    );
}

#[test]
fn a_parallel_plan_and_parts_give_the_same_figures() {
    let (_db, s) = open(USERS);
    s.query(
        "INSERT INTO users SELECT user_id, j, h, d FROM users, generate_series(1, 20); ANALYZE users;
         ALTER TABLE users SET (parallel_workers = 2);
         SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    )
    .unwrap();
    let query = "SELECT eventkit.funnel_trend_agg(j, ARRAY['a', 'b', 'c'], '10 hours', '1 day', 'Europe/Berlin') AS trend FROM users";
    let plan = lines(&s, &format!("EXPLAIN {query}"));
    assert!(plan.iter().any(|line| line.contains("Partial Aggregate")), "{plan:#?}");
    let figures = |query: &str| {
        value(
            &s,
            &format!(
                "SELECT array_agg((period, step, users, share_of_first) ORDER BY period, step) FROM eventkit.funnel_trend_table(({query}))"
            ),
        )
    };
    let parallel = figures(query);
    s.query("SET max_parallel_workers_per_gather = 0").unwrap();
    assert_eq!(parallel, figures(query));
    assert_eq!(
        parallel,
        figures(&format!("SELECT eventkit.rollup(trend) FROM ({query} GROUP BY user_id % 17) AS parts"))
    );
    // A running aggregate leaves the trends of earlier rows alone.
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM (SELECT (eventkit.funnel_trend_agg(j, ARRAY['a', 'b'], '1 hour', '1 day') OVER (ORDER BY user_id ROWS UNBOUNDED PRECEDING))::text::jsonb ->> 'users' AS seen,
                                          row_number() OVER (ORDER BY user_id ROWS UNBOUNDED PRECEDING) AS n FROM users WHERE user_id < 50) AS running WHERE seen::int <> n"
        ),
        "0"
    );
}

#[test]
fn a_stored_trend_is_dumped_and_restored() {
    let (db, s) = open(USERS);
    s.query("CREATE TABLE stored AS SELECT user_id % 3 AS part, eventkit.funnel_trend_agg(j, ARRAY['a', 'b'], '10 hours', '1 day') AS trend FROM users GROUP BY 1").unwrap();
    assert_eq!(value(&s, "SELECT bool_and(trend::text = trend::text::eventkit.funnel_trend::text) FROM stored"), "t");
    dump_and_restore(&db, &s, "stored");
    assert_eq!(value(&s, "SELECT (eventkit.rollup(trend)::text::jsonb ->> 'users')::int FROM stored"), "900");
}

#[test]
fn nobody_and_null_are_not_errors() {
    let (_db, s) = open("");
    let call = |events: &str| format!("eventkit.funnel_trend_agg({events}, ARRAY['a', 'b'], '1 hour', '1 day')");
    assert_eq!(value(&s, &format!("SELECT {} IS NULL FROM unnest('{{}}'::jsonb[]) AS u (e)", call("e"))), "t");
    // One who does not enter is seen, but belongs to no day.
    assert_eq!(
        value(&s, &format!("SELECT ({}::text::jsonb - 'funnel')::text", call("'[]'::jsonb"))),
        r#"{"users": 1, "period": "P1D", "periods": [], "version": 1, "time_zone": "UTC"}"#
    );
    assert_eq!(value(&s, &format!("SELECT {}::text::jsonb ->> 'users'", call("NULL::jsonb"))), "0");
    assert_eq!(
        value(&s, &format!("SELECT count(*) FROM eventkit.funnel_trend_table((SELECT {}))", call("NULL::jsonb"))),
        "0"
    );
    assert_eq!(value(&s, &format!("SELECT eventkit.funnel_trend_chart({})", call("NULL::jsonb"))), "no entries");
    assert_eq!(value(&s, "SELECT eventkit.funnel_trend_chart(NULL) IS NULL"), "t");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.funnel_trend_table(NULL)"), "0");
}

#[test]
fn the_chart_is_what_psql_shows() {
    let (_db, s) = open("");
    assert_eq!(
        value(
            &s,
            r#"SELECT eventkit.funnel_trend_chart(eventkit.funnel_trend_agg(events, ARRAY['a', 'b'], '1 hour', '1 day'), width => 8)
               FROM (VALUES ('[{"event": "a", "time": "2024-01-01 23:30"}, {"event": "b", "time": "2024-01-02 00:10"}]'::jsonb),
                            ('[{"event": "a", "time": "2024-01-01"}]'), ('[{"event": "a", "time": "2024-01-05"}]')) AS u (events)"#
        ),
        "2024-01-01  ████       50.0 %  1 of 2\n2024-01-05              0.0 %  0 of 1"
    );
}

#[test]
fn wrong_arguments_say_what_is_wrong() {
    let (_db, s) = open(USERS);
    let call = |arguments: &str| format!("SELECT eventkit.funnel_trend_agg(j, {arguments}) FROM users");
    for (sql, state) in [
        (call("ARRAY['a'], '1 hour', '1 hour'"), "22023"),
        (call("ARRAY['a'], '1 hour', NULL"), "22004"),
        (call("ARRAY['a'], '1 hour', '1 day', NULL"), "22004"),
        (call("ARRAY['a'], '1 hour', '1 day', 'Mars/Olympus'"), "22023"),
        (call("ARRAY['a'], '1 month', '1 day'"), "22023"),
        (call("NULL::text[], '1 hour', '1 day'"), "22004"),
        (call("ARRAY[]::text[], '1 hour', '1 day'"), "22023"),
        (call("NULL::jsonb, '1 day'"), "22004"),
        (call(r#"'{"step": ["a"]}'::jsonb, '1 day'"#), "22023"),
        (call("ARRAY['a'], '1 hour', CASE WHEN user_id % 2 = 0 THEN interval '1 day' ELSE '1 week' END"), "22023"),
        (call("CASE WHEN user_id % 2 = 0 THEN ARRAY['a'] ELSE ARRAY['b'] END, '1 hour', '1 day'"), "22023"),
        (r#"SELECT eventkit.funnel_trend_agg('[{"event": "a"}]'::jsonb, ARRAY['a'], NULL, '1 day')"#.to_owned(), "22007"),
        (r#"SELECT eventkit.funnel_trend_agg('[{"event": "a", "time": 9000000000000000000}]'::jsonb, ARRAY['a'], NULL, '1 day')"#.to_owned(), "22008"),
        (
            r#"SELECT eventkit.funnel_trend_agg(jsonb_build_array(jsonb_build_object('event', 'a', 'time', n * 86400)), ARRAY['a'], NULL, '1 day') FROM generate_series(1, 5000) AS n"#.to_owned(),
            "54000",
        ),
        (
            "SELECT eventkit.rollup(s) FROM (SELECT eventkit.funnel_trend_agg(j, ARRAY['a'], '1 hour', '1 day') AS s FROM users
                 UNION ALL SELECT eventkit.funnel_trend_agg(j, ARRAY['a'], '1 hour', '1 day', 'Europe/Berlin') FROM users) AS two".to_owned(),
            "22023",
        ),
        ("SELECT eventkit.funnel_trend_chart(eventkit.funnel_trend_agg(j, ARRAY['a'], '1 hour', '1 day'), width => 0) FROM users".to_owned(), "22023"),
        ("SELECT 'x'::eventkit.funnel_trend".to_owned(), "22P02"),
        (r#"SELECT '{"version":1,"funnel":"x","period":"P1D","time_zone":"UTC","users":1,"periods":[{"start":"2024-01-01","funnel":{}}]}'::eventkit.funnel_trend"#.to_owned(), "22P02"),
    ] {
        fails_with(&s, &sql, state);
    }
}
