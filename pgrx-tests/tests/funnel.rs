//! Funnels as a client sees them: levels against a recursive query, the three forms, summaries, parallel plans, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{open, value};
use eventkit_tests::Session;

/// 600 users with 0 to 9 events out of few names and few times: ties, repeats, and arrays out of order.
const USERS: &str = "
SELECT setseed(0.25);
CREATE TABLE users AS
SELECT u AS id, array_agg(jsonb_build_object('event_id', i, 'event', (ARRAY['a', 'b', 'c', 'x'])[1 + floor(random() * 4)::int],
                                             'time', 1704067200 + floor(random() * 8)::int)) FILTER (WHERE i > 0) AS events
FROM generate_series(1, 600) u, generate_series(0, 1 + u % 9) i GROUP BY u;
UPDATE users SET events = '{}' WHERE events IS NULL;
-- The meaning of a funnel as a query: every chain of distinct events that match the steps in order of time.
CREATE FUNCTION oracle(events jsonb[], steps text[], seconds int) RETURNS int LANGUAGE sql AS $$
    WITH RECURSIVE event AS (
        SELECT place, e ->> 'event' AS name, (e ->> 'time')::int AS at FROM unnest(events) WITH ORDINALITY AS u (e, place)
    ), chain AS (
        SELECT 1 AS level, ARRAY[place] AS used, at AS entry, at AS last FROM event WHERE name = steps[1]
        UNION ALL
        SELECT level + 1, used || place, entry, at FROM chain JOIN event ON name = steps[level + 1]
            AND at >= last AND (seconds IS NULL OR at - entry <= seconds) AND place <> ALL (used)
    )
    SELECT coalesce(max(level), 0) FROM chain
$$;
";

#[test]
fn levels_equal_the_recursive_query_in_all_three_forms() {
    let (_db, session) = open(USERS);
    for steps in ["a,b,c", "a,a,b", "a,b,a", "b", "c,c,c", "a,b,c,x,a"] {
        for seconds in [None, Some(0), Some(2), Some(5)] {
            let seconds_sql = seconds.map_or("NULL".to_owned(), |s: i32| s.to_string());
            let window = seconds.map_or("NULL::interval".to_owned(), |s: i32| format!("interval '{s} seconds'"));
            let wrong = value(
                &session,
                &format!(
                    "SELECT count(*) FILTER (WHERE want <> jsonb_array) || ' ' || count(*) FILTER (WHERE want <> document)
                         || ' ' || count(*) FILTER (WHERE want <> hstore_array) || ' of ' || count(*)
                     FROM (SELECT oracle(events, steps, {seconds_sql}) AS want,
                                  eventkit.funnel_level(events, steps, {window}) AS jsonb_array,
                                  eventkit.funnel_level(to_jsonb(events), steps, {window}) AS document,
                                  eventkit.funnel_level(ARRAY(SELECT hstore(ARRAY['event', e ->> 'event', 'time', e ->> 'time'])
                                                              FROM unnest(events) WITH ORDINALITY AS u (e, o) ORDER BY o), steps, {window})
                                      AS hstore_array
                           FROM users, string_to_array('{steps}', ',') AS steps) AS compared"
                ),
            );
            assert_eq!(wrong, "0 0 0 of 600", "steps {steps}, window {seconds:?}");
        }
    }
}

#[test]
fn the_full_definition_equals_the_short_form() {
    let (_db, session) = open(USERS);
    assert_eq!(
        value(
            &session,
            "SELECT count(*) FROM users WHERE eventkit.funnel_level(events, ARRAY['a', 'b'], '2 seconds') IS DISTINCT FROM
                 eventkit.funnel_level(events, '{\"steps\": [\"a\", {\"event\": [\"b\"], \"label\": \"then b\"}], \"window\": \"2 seconds\", \"mode\": \"ordered\"}')"
        ),
        "0"
    );
    // A definition that changes from row to row is read anew.
    assert_eq!(
        value(
            &session,
            "SELECT string_agg(eventkit.funnel_level('[{\"event\": \"a\", \"time\": 1}]'::jsonb, definition)::text, ',' ORDER BY o)
             FROM (VALUES (1, '{\"steps\": [\"a\"]}'::jsonb), (2, '{\"steps\": [\"b\"]}'), (3, '{\"steps\": [\"a\"]}')) AS d (o, definition)"
        ),
        "1,0,1"
    );
    // Other keys.
    assert_eq!(
        value(
            &session,
            "SELECT eventkit.funnel_level('[{\"name\": \"a\", \"ts\": 1}]'::jsonb, ARRAY['a'], NULL, name_key => 'name', time_key => 'ts')
                 + eventkit.funnel_level('[{\"name\": \"a\", \"ts\": 1}]'::jsonb, '{\"steps\": [\"a\"], \"name_key\": \"name\", \"time_key\": \"ts\"}')"
        ),
        "2"
    );
}

#[test]
fn a_summary_counts_what_the_levels_say() {
    let (_db, session) = open(USERS);
    let counted = value(
        &session,
        "SELECT string_agg(step || '=' || users, ' ' ORDER BY step) FROM eventkit.funnel_table(
             (SELECT eventkit.funnel_agg(events, ARRAY['a', 'b', 'c'], '3 seconds') FROM users))",
    );
    let expected = value(
        &session,
        "SELECT string_agg(step || '=' || users, ' ' ORDER BY step) FROM (
             SELECT step, (SELECT count(*) FROM users WHERE oracle(events, ARRAY['a', 'b', 'c'], 3) >= step) AS users
             FROM generate_series(1, 3) AS step) AS s",
    );
    assert_eq!(counted, expected);
    // By parts and put together, through text and back, stored in a table.
    session
        .query(
            "CREATE TABLE parts AS SELECT id % 7 AS part, eventkit.funnel_agg(events, ARRAY['a', 'b', 'c'], '3 seconds') AS summary
             FROM users GROUP BY 1",
        )
        .unwrap();
    assert_eq!(
        value(
            &session,
            "SELECT (SELECT array_agg((step, label, users, mean_from_start) ORDER BY step) FROM eventkit.funnel_table(
                         (SELECT eventkit.rollup(summary::text::eventkit.funnel_summary) FROM parts))) =
                    (SELECT array_agg((step, label, users, mean_from_start) ORDER BY step) FROM eventkit.funnel_table(
                         (SELECT eventkit.funnel_agg(events, ARRAY['a', 'b', 'c'], '3 seconds') FROM users)))"
        ),
        "t"
    );
    assert_eq!(
        value(
            &session,
            "SELECT round(eventkit.conversion_rate(eventkit.rollup(summary))::numeric, 9) =
                    round((SELECT count(*) FILTER (WHERE level = 3)::numeric / count(*) FILTER (WHERE level > 0)
                           FROM (SELECT oracle(events, ARRAY['a', 'b', 'c'], 3) AS level FROM users) AS l), 9) FROM parts"
        ),
        "t"
    );
}

#[test]
fn a_parallel_plan_gives_the_same_summary() {
    let (_db, session) = open(USERS);
    session
        .query(
            "INSERT INTO users SELECT id + 600 * n, events FROM users, generate_series(1, 40) AS n; ANALYZE users;
             ALTER TABLE users SET (parallel_workers = 2);
             SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;",
        )
        .unwrap();
    let query = "SELECT eventkit.funnel_agg(events, ARRAY['a', 'b', 'c'], '3 seconds') AS summary FROM users";
    let counts = format!(
        "SELECT array_agg((step, users, mean_from_start) ORDER BY step)::text FROM ({query}) AS s, eventkit.funnel_table(summary)"
    );
    let plan: Vec<String> =
        session.query(&format!("EXPLAIN {query}")).unwrap().into_iter().flatten().flatten().collect();
    assert!(plan.iter().any(|line| line.contains("Partial Aggregate")), "{plan:#?}");
    let parallel = value(&session, &counts);
    session.query("SET max_parallel_workers_per_gather = 0").unwrap();
    assert_eq!(parallel, value(&session, &counts));
}

#[test]
fn a_running_summary_leaves_earlier_rows_alone() {
    let (_db, session) = open(USERS);
    assert_eq!(
        value(
            &session,
            "SELECT count(*) FROM (
                 SELECT (eventkit.funnel_agg(events, ARRAY['a', 'b'], '3 seconds') OVER (ORDER BY id))::text::jsonb ->> 'users' AS seen, id
                 FROM users) AS running WHERE seen::int <> id"
        ),
        "0"
    );
}

#[test]
fn nobody_and_null_are_not_errors() {
    let (_db, session) = open(USERS);
    assert_eq!(value(&session, "SELECT eventkit.funnel_level(NULL::jsonb[], ARRAY['a'], '1 hour') IS NULL"), "t");
    assert_eq!(
        value(&session, "SELECT eventkit.funnel_agg(events, ARRAY['a'], '1 hour') IS NULL FROM users WHERE false"),
        "t"
    );
    assert_eq!(
        value(
            &session,
            "SELECT string_agg(users || coalesce(share_of_first::text, '-'), ' ') FROM eventkit.funnel_table(
                 (SELECT eventkit.funnel_agg(NULL::jsonb[], ARRAY['a', 'b'], '1 hour')))"
        ),
        "0- 0-"
    );
    assert_eq!(
        value(
            &session,
            "SELECT eventkit.conversion_rate(eventkit.funnel_agg('{}'::jsonb[], ARRAY['a'], NULL)) IS NULL"
        ),
        "t"
    );
}

#[test]
fn only_matching_events_need_a_time_and_a_wrong_one_is_named() {
    let (_db, session) = open(USERS);
    assert_eq!(
        value(
            &session,
            "SELECT eventkit.funnel_level('[{\"event\": \"other\"}, null, {\"event\": \"a\", \"time\": 5}]'::jsonb, ARRAY['a'], NULL)"
        ),
        "1"
    );
    for (time, state) in [("", "22007"), (", \"time\": \"soon\"", "22007"), (", \"time\": 1e30", "22008")] {
        let failure = session
            .query(&format!(
                "SELECT eventkit.funnel_level('[{{\"event\": \"b\"}}, {{\"event\": \"a\"{time}}}]'::jsonb, ARRAY['a'], NULL)"
            ))
            .unwrap_err();
        assert_eq!(failure.sqlstate, state, "{failure:?}");
        assert!(failure.message.starts_with("element 2 of argument \"events\": "), "{failure:?}");
        assert!(failure.detail.is_some() && failure.hint.is_some(), "{failure:?}");
    }
}

#[test]
fn the_chart_is_what_psql_shows() {
    let (_db, session) = open(USERS);
    assert_eq!(
        value(
            &session,
            "SELECT eventkit.funnel_chart(eventkit.funnel_agg(events, ARRAY['visit', 'pay'], '1 hour'), width => 8)
             FROM (VALUES ('[{\"event\": \"visit\", \"time\": 0}, {\"event\": \"pay\", \"time\": 90}]'::jsonb),
                          ('[{\"event\": \"visit\", \"time\": 0}]')) AS u (events)"
        ),
        "1. visit  ████████  2  100.0 %\n2. pay    ████      1   50.0 %   50.0 % of previous, 1 lost, median 1 min 30 s"
    );
}

#[test]
fn a_user_of_a_million_events_is_linear_and_can_be_cancelled() {
    let (_db, session) = open(USERS);
    session
        .query(
            "CREATE TABLE long_user AS SELECT array_agg(jsonb_build_object('event', CASE WHEN i % 3 = 0 THEN 'a' ELSE 'b' END,
                 'time', 1700000000 + i / 4) ORDER BY i) AS events FROM generate_series(1, 1000000) AS i",
        )
        .unwrap();
    assert_eq!(
        value(
            &session,
            "SELECT eventkit.funnel_level(events, ARRAY['a', 'a', 'b', 'a', 'c'], '10 seconds') FROM long_user"
        ),
        "4"
    );
    session.query("SET statement_timeout = '100ms'").unwrap();
    let failure = session
        .query("SELECT sum(eventkit.funnel_level(events, ARRAY['a', 'b', 'c'], '1 hour')) FROM long_user, generate_series(1, 1000)")
        .unwrap_err();
    assert_eq!(failure.sqlstate, "57014", "{failure:?}");
}

/// The level that a definition gives for events written as `name@seconds`, with properties behind as `name@seconds+key=value`.
fn level(session: &Session, events: &str, definition: &str) -> String {
    value(
        session,
        &format!(
            "SELECT eventkit.funnel_level(
                 ARRAY(SELECT jsonb_build_object('event', split_part(e, '@', 1), 'time', split_part(split_part(e, '@', 2), '+', 1)::int)
                              || CASE WHEN e LIKE '%+%' THEN jsonb_build_object(split_part(split_part(e, '+', 2), '=', 1), split_part(e, '=', 2)) ELSE '{{}}' END
                       FROM unnest(string_to_array('{events}', ' ')) WITH ORDINALITY AS u (e, o) ORDER BY o),
                 '{definition}'::jsonb)"
        ),
    )
}

#[test]
fn every_mode_and_option_does_what_it_says() {
    let (_db, session) = open(USERS);
    let abc = r#""steps": ["a", "b", "c"]"#;
    for (events, definition, expected) in [
        // Modes.
        ("a@1 x@2 b@3 c@4", format!(r#"{{{abc}, "mode": "ordered"}}"#), "3"),
        ("a@1 x@2 b@3 c@4", format!(r#"{{{abc}, "mode": "strict"}}"#), "1"),
        ("a@1 x@2 b@3 c@4", format!(r#"{{{abc}, "mode": "strict_steps"}}"#), "3"),
        ("a@1 c@2 b@3 c@4", format!(r#"{{{abc}, "mode": "strict_steps"}}"#), "1"),
        ("a@1 x@2 a@3 b@4 c@5", format!(r#"{{{abc}, "mode": "strict"}}"#), "3"),
        ("c@1 a@2 b@3", format!(r#"{{{abc}, "mode": "unordered"}}"#), "3"),
        ("c@1 a@2 b@9", format!(r#"{{{abc}, "mode": "unordered", "window": "5 seconds"}}"#), "2"),
        // Ties and increasing times.
        ("b@1 a@1", r#"{"steps": ["a", "b"]}"#.to_owned(), "2"),
        ("b@1 a@1", r#"{"steps": ["a", "b"], "ties": "array"}"#.to_owned(), "1"),
        ("a@1 b@1", r#"{"steps": ["a", "b"], "ties": "array"}"#.to_owned(), "2"),
        ("a@1 b@1", r#"{"steps": ["a", "b"], "increasing": true}"#.to_owned(), "1"),
        // Entries: the first one's window is not restarted by the second.
        ("a@0 a@30 b@45 c@75", format!(r#"{{{abc}, "window": "1 minute"}}"#), "3"),
        ("a@0 a@30 b@45 c@75", format!(r#"{{{abc}, "window": "1 minute", "entry": "first"}}"#), "2"),
        // Limits between steps, optional steps, names.
        ("a@0 b@10 c@11", r#"{"steps": ["a", {"event": "b", "within": "5 s"}, "c"]}"#.to_owned(), "1"),
        ("a@0 c@11", r#"{"steps": ["a", {"event": "b", "optional": true}, "c"]}"#.to_owned(), "3"),
        ("a@0 x@11", r#"{"steps": ["a", {"event": {"not": ["a", "b"]}}]}"#.to_owned(), "2"),
        ("a@0 x@11", r#"{"steps": [{"event": ["a", "b"]}, {}]}"#.to_owned(), "2"),
        // Properties.
        ("a@0+plan=pro", r#"{"steps": [{"event": "a", "where": {"plan": "pro"}}]}"#.to_owned(), "1"),
        ("a@0+plan=free", r#"{"steps": [{"event": "a", "where": {"plan": {"not": "free"}}}]}"#.to_owned(), "0"),
        ("a@0", r#"{"steps": [{"event": "a", "where": {"plan": {"exists": false}}}]}"#.to_owned(), "1"),
        (
            "a@0+cents=250",
            r#"{"steps": [{"event": "a", "where": {"cents": {"gte": 100, "lt": 1000}}}]}"#.to_owned(),
            "1",
        ),
        (
            "a@0+cents=99",
            r#"{"steps": [{"event": "a", "where": {"cents": {"gte": 100, "lt": 1000}}}]}"#.to_owned(),
            "0",
        ),
        (
            "a@0+path=/shop/7",
            r#"{"steps": [{"event": "a", "where": {"path": {"starts_with": "/shop", "contains": "7"}}}]}"#.to_owned(),
            "1",
        ),
        // Copies: the last of an id counts.
        ("a@0+event_id=1 x@0+event_id=1", r#"{"steps": ["a"], "id_key": "event_id"}"#.to_owned(), "0"),
        ("x@0+event_id=1 a@0+event_id=1", r#"{"steps": ["a"], "id_key": "event_id"}"#.to_owned(), "1"),
    ] {
        assert_eq!(level(&session, events, &definition), expected, "{events} {definition}");
    }
}

#[test]
fn times_are_those_of_the_attempt_that_counts() {
    let (_db, session) = open(USERS);
    let times = |events: &str, definition: &str| {
        value(
            &session,
            &format!(
                "SELECT (SELECT string_agg(coalesce(extract(epoch FROM t)::int::text, 'left out'), ' ' ORDER BY o)
                         FROM unnest(eventkit.funnel_times('{events}'::jsonb, '{definition}'::jsonb)) WITH ORDINALITY AS u (t, o))"
            ),
        )
    };
    let events = r#"[{"event": "a", "time": 1}, {"event": "a", "time": 4}, {"event": "b", "time": 6}, {"event": "b", "time": 9}]"#;
    assert_eq!(times(events, r#"{"steps": ["a", "b"]}"#), "4 6");
    assert_eq!(times(events, r#"{"steps": ["a", {"event": "c", "optional": true}, "b"]}"#), "4 left out 6");
    assert_eq!(times(events, r#"{"steps": ["b", "a"]}"#), "6");
    assert_eq!(times(events, r#"{"steps": ["b", "a"], "mode": "unordered"}"#), "4 6");
    assert_eq!(value(&session, "SELECT eventkit.funnel_times('[]'::jsonb, ARRAY['a'], NULL)::text"), "{}");
}

#[test]
fn one_summary_is_of_one_funnel() {
    let (_db, session) = open(USERS);
    for sql in [
        // Within a group, and between summaries: other steps, another window, another option.
        "SELECT eventkit.funnel_agg(events, CASE WHEN id % 2 = 0 THEN ARRAY['a', 'b'] ELSE ARRAY['x', 'c'] END, '1 hour') FROM users",
        "SELECT eventkit.funnel_agg(events, ARRAY['a', 'b'], CASE WHEN id % 2 = 0 THEN interval '1 hour' END) FROM users",
        "SELECT eventkit.rollup(s) FROM (SELECT eventkit.funnel_agg(events, ARRAY['a'], '1 hour') AS s FROM users
             UNION ALL SELECT eventkit.funnel_agg(events, ARRAY['a'], '2 hours') FROM users) AS two",
        "SELECT eventkit.rollup(s) FROM (SELECT eventkit.funnel_agg(events, '{\"steps\": [\"a\"], \"mode\": \"strict\"}') AS s FROM users
             UNION ALL SELECT eventkit.funnel_agg(events, ARRAY['a'], NULL) FROM users) AS two",
    ] {
        let failure = session.query(sql).unwrap_err();
        assert_eq!(failure.sqlstate, "22023", "{sql}: {failure:?}");
        assert!(failure.detail.is_some() && failure.hint.is_some(), "{failure:?}");
    }
    // The short and the full form of one funnel are one.
    assert_eq!(
        value(
            &session,
            "SELECT eventkit.conversion_rate(eventkit.rollup(s)) IS NOT NULL FROM (
                 SELECT eventkit.funnel_agg(events, ARRAY['a'], '1 hour') AS s FROM users UNION ALL
                 SELECT eventkit.funnel_agg(events, '{\"steps\": [{\"event\": \"a\", \"label\": \"a\"}], \"window\": \"60 min\"}') FROM users) AS two"
        ),
        "t"
    );
}

#[test]
fn conditions_compare_the_text_that_the_server_shows() {
    let (_db, session) = open(USERS);
    for (property, wanted, expected) in [
        ("10.50", "10.50", "1"),
        ("10.5", "10.50", "0"),
        ("12345678901234567890123", "12345678901234567890123", "1"),
        ("true", "true", "1"),
    ] {
        assert_eq!(
            value(
                &session,
                &format!(
                    "SELECT eventkit.funnel_level('[{{\"event\": \"a\", \"time\": 1, \"p\": {property}}}]'::jsonb,
                         '{{\"steps\": [{{\"event\": \"a\", \"where\": {{\"p\": {wanted}}}}}]}}'::jsonb)"
                )
            ),
            expected,
            "{property} against {wanted}"
        );
    }
}

#[test]
fn labels_are_of_bearable_length_and_without_zero_bytes() {
    let (_db, session) = open(USERS);
    assert_eq!(
        value(
            &session,
            "SELECT max(length(label)) FROM eventkit.funnel_table((SELECT eventkit.funnel_agg(events, ARRAY[repeat('é', 100000)], NULL) FROM users))"
        ),
        "100"
    );
    assert!(
        session
            .query(
                "SELECT eventkit.funnel_chart(eventkit.funnel_agg(events, ARRAY[repeat('x', 100000)], NULL)) FROM users"
            )
            .is_ok()
    );
    let summary = value(&session, "SELECT eventkit.funnel_agg(events, ARRAY['a'], NULL)::text FROM users");
    for label in ["a\\u0000b".to_owned(), "x".repeat(101)] {
        let forged = summary.replace("\"label\":\"a\"", &format!("\"label\":\"{label}\""));
        assert_ne!(forged, summary);
        let failure = session.query(&format!("SELECT '{forged}'::eventkit.funnel_summary")).unwrap_err();
        assert_eq!(failure.sqlstate, "22P02", "{failure:?}");
    }
}

#[test]
fn tied_events_in_any_number_stay_cheap_and_can_be_cancelled() {
    let (_db, session) = open(USERS);
    session
        .query(
            "CREATE TABLE tied AS SELECT jsonb_build_array('{\"event\": \"a\", \"time\": 1}'::jsonb) ||
                 jsonb_agg('{\"event\": \"b\", \"time\": 1}'::jsonb) AS events FROM generate_series(1, 200000);
             SET statement_timeout = '60s'",
        )
        .unwrap();
    // Work in the square of the tied events would take hours.
    for mode in ["ordered", "strict", "strict_steps", "unordered"] {
        let definition = format!("'{{\"steps\": [\"a\", \"b\", \"c\"], \"mode\": \"{mode}\"}}'::jsonb");
        assert_eq!(
            value(&session, &format!("SELECT array_length(eventkit.funnel_times(events, {definition}), 1) FROM tied")),
            "2",
            "{mode}"
        );
    }
}
