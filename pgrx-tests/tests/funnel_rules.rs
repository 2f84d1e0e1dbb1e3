//! Funnels with exclusions, held properties, sessions and attempts, and what a user's attempt was made of, as a client
//! sees them: against recursive queries and against the same question asked in a longer way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{open, value};

/// 800 users with 0 to 9 events out of few names, times and shops, in no order.
const USERS: &str = "
SELECT setseed(0.75);
CREATE TABLE users AS
SELECT u AS id, coalesce(array_agg(jsonb_build_object(
           'event', (ARRAY['a', 'b', 'c', 'x', 'y'])[1 + floor(random() * 5)::int], 'shop', floor(random() * 2)::int,
           'time', 1704067200 + floor(random() * 12)::int)) FILTER (WHERE i > 0), '{}') AS events
FROM generate_series(1, 800) u, generate_series(0, 1 + u % 9) i GROUP BY u;
CREATE VIEW forms AS
SELECT id, events AS jsonb_array, to_jsonb(events) AS document,
       ARRAY(SELECT hstore(ARRAY['event', e ->> 'event', 'time', e ->> 'time', 'shop', e ->> 'shop'])
             FROM unnest(events) WITH ORDINALITY AS u (e, o) ORDER BY o) AS hstore_array FROM users;
-- The meaning of an exclusion between two steps as a query: every chain of distinct events in order of time; it is void
-- when an x lies strictly between the match of the one step and that of the other, or the end of the window.
CREATE FUNCTION oracle(events jsonb[], steps text[], seconds int, from_step int, to_step int) RETURNS int LANGUAGE sql AS $$
    WITH RECURSIVE event AS (
        SELECT place, e ->> 'event' AS name, (e ->> 'time')::int AS at FROM unnest(events) WITH ORDINALITY AS u (e, place)
    ), chain AS (
        SELECT 1 AS level, ARRAY[place] AS used, ARRAY[at] AS times FROM event WHERE name = steps[1]
        UNION ALL
        SELECT level + 1, used || place, times || at FROM chain JOIN event ON name = steps[level + 1]
            AND at >= times[level] AND (seconds IS NULL OR at - times[1] <= seconds) AND place <> ALL (used)
    )
    SELECT coalesce(max(level), 0) FROM chain WHERE from_step IS NULL OR NOT EXISTS (
        SELECT FROM event WHERE name = 'x' AND at > times[from_step] AND (at < coalesce(times[to_step], times[1] + seconds)
                                                                          OR times[to_step] IS NULL AND seconds IS NULL))
$$;
";

#[test]
fn exclusions_equal_the_recursive_query_in_all_three_forms() {
    let (_db, session) = open(USERS);
    let mut lowered = 0;
    for (steps, spans) in [("a,b,c", [(1, 3), (1, 2), (2, 3)]), ("a,b,a", [(1, 3), (1, 2), (2, 3)])] {
        for (from, to) in spans {
            for seconds in [None, Some(0), Some(3), Some(8)] {
                let names = steps.replace(',', r#"", ""#);
                let window = seconds.map_or(String::new(), |s: i32| format!(r#", "window": "{s} seconds""#));
                let definition = format!(
                    r#"'{{"steps": ["{names}"]{window}, "exclude": [{{"event": "x", "from": {from}, "to": {to}}}]}}'"#
                );
                let limit = seconds.map_or("NULL".to_owned(), |s| s.to_string());
                let found = value(
                    &session,
                    &format!(
                        "SELECT count(*) FILTER (WHERE want <> eventkit.funnel_level(jsonb_array, {definition}))
                             || ' ' || count(*) FILTER (WHERE want <> eventkit.funnel_level(document, {definition}))
                             || ' ' || count(*) FILTER (WHERE want <> eventkit.funnel_level(hstore_array, {definition}))
                             || ' ' || count(*) FILTER (WHERE (want < without) <> eventkit.funnel_excluded(jsonb_array, {definition}))
                             || ' ' || count(*) FILTER (WHERE want < without)
                         FROM (SELECT f.*, oracle(jsonb_array, string_to_array('{steps}', ','), {limit}, {from}, {to}) AS want,
                                      oracle(jsonb_array, string_to_array('{steps}', ','), {limit}, NULL, NULL) AS without
                               FROM forms f) AS compared"
                    ),
                );
                let (wrong, excluded) = found.rsplit_once(' ').unwrap();
                assert_eq!(wrong, "0 0 0 0", "{definition}");
                lowered += excluded.parse::<i32>().unwrap();
                // The summary of all users says the same.
                let summary = format!("eventkit.excluded_users(eventkit.funnel_agg(jsonb_array, {definition}))");
                assert_eq!(value(&session, &format!("SELECT {summary} FROM forms")), excluded);
            }
        }
    }
    assert!(lowered > 200, "the data hardly exclude anybody: {lowered}");
}

#[test]
fn a_held_property_is_the_best_of_its_values() {
    let (_db, session) = open(USERS);
    let funnel = |more: &str| format!(r#"'{{"steps": ["a", "b", "c"], "window": "6 seconds"{more}}}'::jsonb"#);
    for more in ["", r#", "mode": "unordered""#, r#", "increasing": true"#, r#", "mode": "strict_steps""#] {
        // For strict_steps, events of another value stand between: at most what the parts reach.
        let wrong = if more.contains("strict") { ">" } else { "<>" };
        let (held, alone) = (funnel(&format!(r#"{more}, "hold": ["shop"]"#)), funnel(more));
        assert_eq!(
            value(
                &session,
                &format!(
                    "SELECT count(*) FILTER (WHERE eventkit.funnel_level(events, {held}) {wrong} greatest(
                                eventkit.funnel_level(ARRAY(SELECT e FROM unnest(events) WITH ORDINALITY AS u (e, o) WHERE e ->> 'shop' = '0' ORDER BY o), {alone}),
                                eventkit.funnel_level(ARRAY(SELECT e FROM unnest(events) WITH ORDINALITY AS u (e, o) WHERE e ->> 'shop' = '1' ORDER BY o), {alone})))
                         || ' ' || (count(*) FILTER (WHERE eventkit.funnel_level(events, {held}) < eventkit.funnel_level(events, {alone})) > 20)
                     FROM users"
                )
            ),
            "0 true",
            "{more}"
        );
    }
    // A property that is absent equals only one that is absent; NULL and absent are one.
    for (first, second, level) in
        [("", "", "2"), (r#", "p": null"#, "", "2"), (r#", "p": """#, "", "1"), (r#", "p": 1"#, r#", "p": "1""#, "2")]
    {
        let events = format!(r#"[{{"event": "a", "time": 1{first}}}, {{"event": "b", "time": 2{second}}}]"#);
        let call = format!(r#"eventkit.funnel_level('{events}'::jsonb, '{{"steps": ["a", "b"], "hold": ["p"]}}')"#);
        assert_eq!(value(&session, &format!("SELECT {call}")), level, "{events}");
    }
}

#[test]
fn sessions_count_as_users_of_their_own() {
    let (_db, session) = open(USERS);
    let whole =
        r#"'{"steps": ["a", "b", "c"], "window": "1 minute", "count": "sessions", "session_gap": "2 seconds"}'::jsonb"#;
    let each = r#"'{"steps": ["a", "b", "c"], "window": "1 minute"}'::jsonb"#;
    let sessions = "SELECT id, array_agg(e ORDER BY at, o) AS events FROM (
                        SELECT *, sum(new) OVER (PARTITION BY id ORDER BY at, o) AS number FROM (
                            SELECT id, e, o, at, CASE WHEN at - lag(at) OVER (PARTITION BY id ORDER BY at, o) <= 2 THEN 0 ELSE 1 END AS new
                            FROM (SELECT id, e, o, (e ->> 'time')::int AS at FROM users, unnest(events) WITH ORDINALITY AS u (e, o)) AS event
                        ) AS marked) AS numbered GROUP BY id, number";
    let steps = |source: &str, definition: &str| {
        value(
            &session,
            &format!(
                "SELECT string_agg(users::text, ' ' ORDER BY step) FROM eventkit.funnel_table((
                     SELECT eventkit.funnel_agg(events, {definition}) FROM ({source}) AS s))"
            ),
        )
    };
    let counted = steps("SELECT events FROM users", whole);
    assert_eq!(counted, steps(sessions, each));
    assert_ne!(counted, steps("SELECT events FROM users", each));
    // A user's level is that of the best session.
    assert_eq!(
        value(
            &session,
            &format!(
                "SELECT count(*) FROM users JOIN (SELECT id, max(eventkit.funnel_level(events, {each})) AS best FROM ({sessions}) AS s GROUP BY id)
                     AS best USING (id) WHERE eventkit.funnel_level(events, {whole}) <> best"
            )
        ),
        "0"
    );
}

#[test]
fn attempts_follow_each_other() {
    let (_db, session) = open(USERS);
    let steps = |events: &str, more: &str| {
        let events: Vec<String> = events
            .split(' ')
            .map(|event| {
                let (name, time) = event.split_once('@').unwrap();
                format!(r#"{{"event": "{name}", "time": {time}}}"#)
            })
            .collect();
        value(
            &session,
            &format!(
                r#"SELECT string_agg(users::text, ' ' ORDER BY step) FROM eventkit.funnel_table((SELECT eventkit.funnel_agg(events,
                       '{{"steps": ["a", "b"], "count": "attempts"{more}}}') FROM (VALUES ('[{}]'::jsonb)) AS u (events)))"#,
                events.join(", ")
            ),
        )
    };
    // Complete three times; begun once more.
    assert_eq!(steps("a@1 b@2 a@3 b@4 a@5 b@6 a@7", ""), "4 3");
    // The window of the first runs when the second comes; after it has ended the next one opens another.
    assert_eq!(steps("a@0 a@5 b@12 a@13", r#", "window": "10 s""#), "2 0");
    assert_eq!(steps("a@0 a@5 b@10 a@11 b@12", r#", "window": "10 s""#), "2 2");
    // Without a window an attempt that is not completed never ends.
    assert_eq!(steps("a@0 a@5 a@9", ""), "1 0");
    // What is voided was an attempt, but not of any step.
    assert_eq!(steps("a@0 x@1 b@2 a@3 b@4", r#", "window": "2 s", "exclude": ["x"]"#), "1 1");
    // In any order.
    assert_eq!(steps("b@1 a@2 a@3 b@4 b@5", r#", "mode": "unordered""#), "3 2");
}

#[test]
fn a_property_is_taken_from_the_match_that_was_asked_for() {
    let (_db, session) = open(USERS);
    let events = r#"'[{"event": "a", "time": 1, "p": "old"}, {"event": "a", "time": 5, "p": "first"}, {"event": "x", "time": 6, "p": "other"},
                      {"event": "b", "time": 7, "p": 12.50}, {"event": "c", "time": 8, "p": {"deep": true}}]'"#;
    let hstores = "ARRAY['event=>a,time=>1,p=>old', 'event=>a,time=>5,p=>first', 'event=>b,time=>7,p=>12.50', 'event=>c,time=>8,p=>NULL']::hstore[]";
    for (call, expected) in [
        (format!("{events}::jsonb, ARRAY['a', 'b', 'c'], '1 hour', 'p'"), "first"),
        (format!("{events}::jsonb, ARRAY['a', 'b', 'c'], '1 hour', 'p', 'last'"), r#"{"deep": true}"#),
        (format!("{events}::jsonb, ARRAY['a', 'b', 'c'], '1 hour', 'p', attribution => 'step 2'"), "12.50"),
        (format!("{events}::jsonb, ARRAY['a', 'b', 'z'], '1 hour', 'p', 'last'"), "12.50"),
        (format!("{events}::jsonb, ARRAY['a', 'b', 'z'], '1 hour', 'p', 'step 3'"), "NULL"),
        (format!("{events}::jsonb, ARRAY['z'], '1 hour', 'p'"), "NULL"),
        (format!("{events}::jsonb, ARRAY['a'], '1 hour', 'absent'"), "NULL"),
        (
            format!(
                r#"{events}::jsonb, '{{"steps": ["a", {{"event": "z", "optional": true}}, "b"]}}'::jsonb, 'p', 'step 2'"#
            ),
            "NULL",
        ),
        (
            format!(r#"{events}::jsonb, '{{"steps": ["c", "b"], "mode": "unordered"}}'::jsonb, 'p', 'step 1'"#),
            r#"{"deep": true}"#,
        ),
        (format!(r#"{events}::jsonb, '{{"steps": ["b", "c"], "mode": "strict"}}'::jsonb, 'p', 'first'"#), "12.50"),
        (format!("{hstores}, ARRAY['a', 'b'], '1 hour', 'p'"), "first"),
        (format!("{hstores}, ARRAY['a', 'b', 'c'], '1 hour', 'p', 'last'"), "NULL"),
        ("NULL::jsonb, ARRAY['a'], '1 hour', 'p'".to_owned(), "NULL"),
        (
            format!(
                "(SELECT array_agg(e ORDER BY o DESC) FROM jsonb_array_elements({events}::jsonb) WITH ORDINALITY AS u (e, o)), ARRAY['a', 'b'], NULL, 'p'"
            ),
            "first",
        ),
    ] {
        assert_eq!(value(&session, &format!("SELECT eventkit.funnel_property({call})")), expected, "{call}");
    }
    for (call, argument) in [
        (format!("{events}::jsonb, ARRAY['a'], '1 hour', NULL"), "key"),
        (format!("{events}::jsonb, ARRAY['a'], '1 hour', 'p', 'middle'"), "attribution"),
        (format!("{events}::jsonb, ARRAY['a'], '1 hour', 'p', 'step 2'"), "attribution"),
    ] {
        let failure = session.query(&format!("SELECT eventkit.funnel_property({call})")).unwrap_err();
        assert!(failure.sqlstate.starts_with("22"), "{call}: {failure:?}");
        assert!(failure.message.contains(argument) && failure.hint.is_some(), "{call}: {failure:?}");
    }
}

#[test]
fn whoever_matters_needs_a_time() {
    let (_db, session) = open(USERS);
    for (definition, detail) in [
        (r#"{"steps": ["a", "b"], "exclude": ["x"]}"#, "exclusion 1"),
        (r#"{"steps": ["a", "b"], "count": "sessions", "session_gap": "1 hour"}"#, "sessions"),
        (r#"{"steps": ["x", "b"], "hold": ["p"]}"#, "step 1"),
    ] {
        let events = r#"[{"event": "a", "time": 1}, {"event": "x"}]"#;
        let failure = session
            .query(&format!("SELECT eventkit.funnel_level('{events}'::jsonb, '{definition}'::jsonb)"))
            .unwrap_err();
        assert_eq!(failure.sqlstate, "22007", "{definition}: {failure:?}");
        assert!(failure.message.contains("element 2"), "{failure:?}");
        assert!(failure.detail.as_deref().is_some_and(|text| text.contains(detail)), "{failure:?}");
    }
}

#[test]
fn excluded_events_in_any_number_stay_cheap() {
    let (_db, session) = open(USERS);
    // Each b brings every a of the last hours to level 2, each x voids them all: work in the square of the events would
    // take hours.
    session
        .query(
            "CREATE TABLE dense AS SELECT jsonb_agg(jsonb_build_object('event', (ARRAY['a', 'b', 'x'])[1 + i % 3], 'shop', i % 1000, 'time', 1704067200 + i / 2) ORDER BY i) AS events
             FROM generate_series(1, 300000) i;
             SET statement_timeout = '120s'",
        )
        .unwrap();
    for (more, level) in [
        (r#""exclude": [{"event": "x", "from": 2}]"#, "2"),
        (r#""exclude": [{"event": "x", "from": 1, "to": 2}, {"event": "x", "from": 2}]"#, "2"),
        (r#""exclude": ["x"], "hold": ["shop"]"#, "1"),
        (r#""exclude": ["x"], "mode": "strict""#, "1"),
        (r#""exclude": ["x"], "mode": "strict_steps""#, "1"),
        (r#""exclude": ["x"], "mode": "unordered""#, "2"),
        (r#""count": "attempts""#, "2"),
    ] {
        let definition = format!(r#"{{"steps": ["a", "b", "c"], "window": "1 day", {more}}}"#);
        let call = format!("eventkit.funnel_level(events, '{definition}'::jsonb)");
        assert_eq!(value(&session, &format!("SELECT {call} FROM dense")), level, "{definition}");
    }
}
