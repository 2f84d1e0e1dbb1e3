//! Paths as a client sees them: paths and transitions against plain SQL, the three forms, parallel plans, stored
//! summaries, bounds, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{dump_and_restore, fails, fails_with, lines, none_differs, number, open, value};

/// 700 users with 0 to 14 events of few names, some out of order, tied or without a name; in all three forms, and as rows.
const USERS: &str = "
SELECT setseed(0.75);
CREATE TABLE happened AS
SELECT u AS user_id, i AS place, (ARRAY['a', 'b', 'c', 'd', NULL])[1 + floor(random() * 5)::int] AS event, 1700000000 + floor(random() * 200)::int AS at
FROM generate_series(1, 700) AS u, generate_series(1, u % 15) AS i;
CREATE TABLE users AS
SELECT u AS user_id,
       coalesce((SELECT array_agg(jsonb_build_object('event', event, 'time', at) ORDER BY place) FROM happened WHERE user_id = u), '{}') AS j
FROM generate_series(1, 700) AS u;
ALTER TABLE users ADD h hstore[], ADD d jsonb;
UPDATE users SET d = to_jsonb(j), h = ARRAY(SELECT hstore(ARRAY['event', e ->> 'event', 'time', e ->> 'time']) FROM unnest(j) WITH ORDINALITY AS u (e, o) ORDER BY o);
";

/// What paths mean, with window functions over rows: one row for each path, its names as an array from the first, or from
/// the last in backward paths.
fn oracle(depth: i32, start: Option<&str>, end: Option<&str>, collapse: bool, gap: Option<i32>) -> String {
    let gap = gap.map_or("false".to_owned(), |gap| format!("at - lag(at) OVER w > {gap}"));
    let (start_is, end_is) = (start.map_or("n = 1".to_owned(), |name| format!("event = '{name}'")), end.unwrap_or(""));
    let until = match (start, end) {
        (_, None) => "NULL::int".to_owned(),
        (None, Some(_)) => format!("min(n) FILTER (WHERE event = '{end_is}')"),
        (Some(_), Some(_)) => format!("min(n) FILTER (WHERE event = '{end_is}' AND n > begin)"),
    };
    let cut = if end.is_some() { "AND until IS NOT NULL" } else { "" };
    let order = if start.is_none() && end.is_some() { "DESC" } else { "" };
    let repeats = if collapse { "WHERE event IS DISTINCT FROM before" } else { "" };
    format!(
        "WITH named AS (SELECT * FROM happened WHERE event IS NOT NULL),
              cut AS (SELECT *, coalesce(({gap})::int, 0) AS new FROM named WINDOW w AS (PARTITION BY user_id ORDER BY at, place)),
              session AS (SELECT *, sum(new) OVER (PARTITION BY user_id ORDER BY at, place) AS session FROM cut),
              counted AS (SELECT user_id, session, event, (row_number() OVER (PARTITION BY user_id, session ORDER BY at, place))::int AS n FROM session),
              begun AS (SELECT *, min(n) FILTER (WHERE {start_is}) OVER (PARTITION BY user_id, session) AS begin FROM counted),
              bound AS (SELECT user_id, session, {until} AS until FROM begun GROUP BY user_id, session),
              kept AS (SELECT user_id, session, event, n FROM begun JOIN bound USING (user_id, session) WHERE n >= begin AND n <= coalesce(until, n) {cut}),
              seen AS (SELECT *, lag(event) OVER (PARTITION BY user_id, session ORDER BY n {order}) AS before FROM kept),
              placed AS (SELECT *, row_number() OVER (PARTITION BY user_id, session ORDER BY n {order}) AS at FROM seen {repeats})
         SELECT array_agg(event ORDER BY at) AS path FROM placed WHERE at <= {depth} GROUP BY user_id, session"
    )
}

struct Case {
    depth: i32,
    start: Option<&'static str>,
    end: Option<&'static str>,
    collapse: bool,
    gap: Option<i32>,
}

impl Case {
    fn definition(&self) -> String {
        let name = |name: Option<&str>| name.map_or("null".to_owned(), |name| format!("\"{name}\""));
        let gap = self.gap.map_or("null".to_owned(), |gap| format!("\"{gap} seconds\""));
        format!(
            r#"{{"depth": {}, "start_event": {}, "end_event": {}, "collapse_repeats": {}, "session_gap": {gap}}}"#,
            self.depth,
            name(self.start),
            name(self.end),
            self.collapse
        )
    }

    fn oracle(&self) -> String {
        oracle(self.depth, self.start, self.end, self.collapse, self.gap)
    }

    fn is_backward(&self) -> bool {
        self.start.is_none() && self.end.is_some()
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (depth, start, end, collapse, gap) in [
        (5, None, None, true, None),
        (1, None, None, true, None),
        (3, None, None, false, None),
        (20, None, None, false, None),
        (4, Some("b"), None, true, None),
        (4, None, Some("c"), true, None),
        (3, None, Some("c"), false, Some(20)),
        (5, Some("a"), Some("d"), true, None),
        (2, Some("a"), Some("a"), false, None),
        (4, None, None, true, Some(15)),
        (4, Some("d"), None, false, Some(0)),
    ] {
        cases.push(Case { depth, start, end, collapse, gap });
    }
    cases
}

#[test]
fn paths_and_transitions_equal_plain_sql_in_all_forms() {
    let (_db, s) = open(USERS);
    for case in cases() {
        let definition = case.definition();
        s.query(&format!("CREATE TABLE wanted AS {}", case.oracle())).unwrap();
        let shown = if case.is_backward() {
            "(SELECT array_agg(e ORDER BY o DESC) FROM unnest(path) WITH ORDINALITY AS u (e, o))"
        } else {
            "path"
        };
        for column in ["h", "j", "d"] {
            let summary = format!("(SELECT eventkit.paths_agg({column}, '{definition}'::jsonb) FROM users)");
            none_differs(
                &s,
                4,
                &format!(
                    "WITH found AS (SELECT path, users, round(share::numeric, 9) FROM eventkit.event_paths({summary}, top => NULL)),
                          wanted AS (SELECT {shown}, count(*), round(count(*)::numeric / (SELECT count(*) FROM wanted), 9) FROM wanted GROUP BY path),
                          wrong AS ((TABLE found EXCEPT ALL TABLE wanted) UNION ALL (TABLE wanted EXCEPT ALL TABLE found))
                     SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM wrong), (SELECT w::text FROM wrong AS w LIMIT 1)"
                ),
            );
            // Each place and the one behind it; what follows the last place is not known.
            let (source, target, step) =
                if case.is_backward() { ("path[n + 1]", "path[n]", "-n") } else { ("path[n]", "path[n + 1]", "n") };
            none_differs(
                &s,
                0,
                &format!(
                    "WITH found AS (SELECT step, source, target, count FROM eventkit.event_transitions({summary})),
                          wanted AS (SELECT {step}, {source}, {target}, count(*) FROM wanted, generate_series(1, {} - 1) AS n WHERE path[n] IS NOT NULL GROUP BY 1, 2, 3),
                          wrong AS ((TABLE found EXCEPT ALL TABLE wanted) UNION ALL (TABLE wanted EXCEPT ALL TABLE found))
                     SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM wrong), (SELECT w::text FROM wrong AS w LIMIT 1)",
                    case.depth
                ),
            );
        }
        s.query("DROP TABLE wanted").unwrap();
    }
    // The short forms.
    for (short, full) in [
        ("j", r#"j, '{"depth": 5}'::jsonb"#),
        (r#"h, '{"depth": 3}'"#, r#"d, '{"depth": 3, "collapse_repeats": true}'::jsonb"#),
    ] {
        assert_eq!(
            value(
                &s,
                &format!("SELECT eventkit.paths_agg({short})::text = eventkit.paths_agg({full})::text FROM users")
            ),
            "t"
        );
    }
}

#[test]
fn the_sample_clicks_give_what_plain_sql_gives() {
    let (db, s) = open("");
    eventkit_tests::sample::load_clicks(&mut db.connect().unwrap()).unwrap();
    s.query(
        "CREATE TABLE happened AS SELECT user_id, click_id AS place, event, extract(epoch FROM at) AS at FROM clicks;
         CREATE TABLE users AS SELECT user_id, jsonb_agg(jsonb_build_object('event', event, 'time', at) ORDER BY click_id) AS d FROM clicks GROUP BY user_id",
    )
    .unwrap();
    let case = Case { depth: 6, start: Some("home"), end: None, collapse: true, gap: Some(1800) };
    let summary = format!("(SELECT eventkit.paths_agg(d, '{}') FROM users)", case.definition());
    none_differs(
        &s,
        100,
        &format!(
            "WITH found AS (SELECT path, users FROM eventkit.event_paths({summary}, NULL)), wanted AS (SELECT path, count(*) FROM ({}) AS w GROUP BY 1),
                  wrong AS ((TABLE found EXCEPT ALL TABLE wanted) UNION ALL (TABLE wanted EXCEPT ALL TABLE found))
             SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM wrong), (SELECT w::text FROM wrong AS w LIMIT 1)",
            case.oracle()
        ),
    );
}

#[test]
fn a_sankey_adds_up() {
    let (_db, s) = open(USERS);
    s.query(
        "CREATE TABLE steps AS SELECT * FROM eventkit.event_transitions((SELECT eventkit.paths_agg(j, '{\"depth\": 6}') FROM users))",
    )
    .unwrap();
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM (SELECT step + 1 AS step, target AS name, sum(count) AS n FROM steps WHERE target IS NOT NULL GROUP BY 1, 2) AS arrived
             FULL JOIN (SELECT step, source AS name, sum(count) AS n FROM steps WHERE step > 1 GROUP BY 1, 2) AS left_again USING (step, name)
             WHERE arrived.n IS DISTINCT FROM left_again.n AND step < 6"
        ),
        "0"
    );
    assert_eq!(
        value(
            &s,
            "SELECT sum(count) = (SELECT count(*) FROM users WHERE j::text LIKE '%\"event\\\\\": \\\\\"%') FROM steps WHERE step = 1"
        ),
        "t"
    );
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
    let query = r#"SELECT eventkit.paths_agg(j, '{"depth": 7, "session_gap": "10 s"}') AS summary FROM users"#;
    let plan = lines(&s, &format!("EXPLAIN {query}"));
    assert!(plan.iter().any(|line| line.contains("Partial Aggregate")), "{plan:#?}");
    let parallel = value(&s, query);
    s.query("SET max_parallel_workers_per_gather = 0").unwrap();
    assert_eq!(parallel, value(&s, query));
    assert_eq!(
        parallel,
        value(
            &s,
            r#"SELECT eventkit.rollup(summary) FROM (SELECT eventkit.paths_agg(j, '{"depth": 7, "session_gap": "10 s"}') AS summary FROM users GROUP BY user_id % 17) AS parts"#
        )
    );
    // A running aggregate leaves the summaries of earlier rows alone.
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM (SELECT (eventkit.paths_agg(j) OVER (ORDER BY user_id ROWS UNBOUNDED PRECEDING))::text::jsonb ->> 'users' AS seen,
                                          row_number() OVER (ORDER BY user_id ROWS UNBOUNDED PRECEDING) AS n FROM users WHERE user_id < 50) AS running WHERE seen::int <> n"
        ),
        "0"
    );
}

#[test]
fn a_stored_summary_is_dumped_and_restored() {
    let (db, s) = open(USERS);
    s.query(
        "CREATE TABLE stored AS SELECT user_id % 3 AS part, eventkit.paths_agg(j) AS summary FROM users GROUP BY 1",
    )
    .unwrap();
    assert_eq!(
        value(&s, "SELECT bool_and(summary::text = summary::text::eventkit.paths_summary::text) FROM stored"),
        "t"
    );
    dump_and_restore(&db, &s, "stored");
    assert_eq!(
        value(
            &s,
            "SELECT eventkit.rollup(summary)::text = (SELECT eventkit.paths_agg(j) FROM users)::text FROM stored"
        ),
        "t"
    );
}

#[test]
fn nobody_and_null_are_not_errors() {
    let (_db, s) = open("");
    assert_eq!(value(&s, "SELECT eventkit.paths_agg(e) IS NULL FROM unnest('{}'::jsonb[]) AS u (e)"), "t");
    assert_eq!(
        value(&s, "SELECT eventkit.paths_agg(NULL::jsonb[], '{\"depth\": 3}')"),
        r#"{"version":1,"settings":{"depth":3,"start_event":[],"end_event":[],"collapse_repeats":true,"session_gap":null},"users":0,"paths":0,"other":0,"names":[],"nodes":[]}"#
    );
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.event_paths(NULL)"), "0");
    assert_eq!(
        value(&s, "SELECT count(*) FROM eventkit.event_transitions((SELECT eventkit.paths_agg('[]'::jsonb)))"),
        "0"
    );
    assert_eq!(
        lines(
            &s,
            r#"SELECT path, users, share FROM eventkit.event_paths((SELECT eventkit.paths_agg(e) FROM (VALUES
                   ('[null, {}, {"event": null}, {"event": 7, "time": 2}, {"event": true, "time": 1}]'::jsonb), ('[]'), (NULL), ('[{"event": "é", "time": 1}]')) AS u (e)))"#
        ),
        ["{true,7}|1|0.5", "{é}|1|0.5"]
    );
    // Of copies the last counts, where ids are known.
    assert_eq!(
        value(
            &s,
            r#"SELECT path FROM eventkit.event_paths((SELECT eventkit.paths_agg(
                   '[{"id": 1, "event": "a", "time": 1}, {"id": 2, "event": "b", "time": 2}, {"id": 1, "event": "c", "time": 3}]'::jsonb, '{"id_key": "id"}')))"#
        ),
        "{b,c}"
    );
}

#[test]
fn the_rarest_are_counted_as_other() {
    let (_db, s) = open(
        "CREATE TABLE users AS SELECT CASE WHEN n % 3 > 0 THEN '[{\"event\": \"home\", \"time\": 1}, {\"event\": \"buy\", \"time\": 2}]'::jsonb
             ELSE jsonb_build_array(jsonb_build_object('event', 'home', 'time', 1), jsonb_build_object('event', 'page ' || n, 'time', 2)) END AS d
         FROM generate_series(1, 60000) AS n; SET work_mem = '4MB'",
    );
    s.query("CREATE TABLE stored AS SELECT eventkit.paths_agg(d) AS summary FROM users").unwrap();
    assert_eq!(
        lines(&s, "SELECT path, users FROM eventkit.event_paths((SELECT summary FROM stored), 1)"),
        ["{home,buy}|40000"]
    );
    assert!(
        number(
            &s,
            "SELECT users FROM eventkit.event_paths((SELECT summary FROM stored), 2) WHERE path = '{home,(other)}'"
        ) > 10_000
    );
    assert_eq!(value(&s, "SELECT sum(users) FROM eventkit.event_paths((SELECT summary FROM stored), NULL)"), "60000");
    assert_eq!(
        value(&s, "SELECT sum(count) FROM eventkit.event_transitions((SELECT summary FROM stored)) WHERE step = 1"),
        "60000"
    );
    assert!(number(&s, "SELECT pg_column_size(summary) FROM stored") < 8_000_000);
    assert_eq!(value(&s, "SELECT summary::text = summary::text::eventkit.paths_summary::text FROM stored"), "t");
}

#[test]
fn wrong_arguments_say_what_is_wrong() {
    let (_db, s) = open(USERS);
    let call = |arguments: &str| format!("SELECT eventkit.paths_agg(j, {arguments}) FROM users");
    for (sql, state) in [
        (call(r#"'{"depth": 0}'"#), "22023"),
        (call(r#"'{"depth": 65}'"#), "22023"),
        (call("NULL::jsonb"), "22004"),
        (call("jsonb_build_object('depth', user_id % 2 + 1)"), "22023"),
        (call(r#"'{"depth": 3, "gap": "1 hour"}'::jsonb"#), "22023"),
        (call(r#"'{"session_gap": "1 month"}'::jsonb"#), "22023"),
        (call(r#"'{"start_event": 3}'::jsonb"#), "22023"),
        (call(r#"'"a"'::jsonb"#), "22032"),
        (r#"SELECT eventkit.paths_agg('[{"event": "a"}]'::jsonb)"#.to_owned(), "22007"),
        (r#"SELECT eventkit.paths_agg('[{"event": "a", "time": "soon"}]'::jsonb)"#.to_owned(), "22007"),
        (r#"SELECT eventkit.paths_agg('{"event": "a"}'::jsonb)"#.to_owned(), "22039"),
        ("SELECT eventkit.event_paths(eventkit.paths_agg(j), -1) FROM users".to_owned(), "22023"),
        (
            "SELECT eventkit.rollup(s) FROM (SELECT eventkit.paths_agg(j) AS s FROM users UNION ALL SELECT eventkit.paths_agg(j, '{\"depth\": 3}') FROM users) AS two".to_owned(),
            "22023",
        ),
        ("SELECT '[]'::eventkit.paths_summary".to_owned(), "22P02"),
        (
            r#"SELECT '{"version":1,"settings":{"depth":3,"start_event":[],"end_event":[],"collapse_repeats":true,"session_gap":null},"users":1,"paths":1,"other":0,"names":["a"],"nodes":[[7,0,1,0]]}'::eventkit.paths_summary"#.to_owned(),
            "22P02",
        ),
    ] {
        fails_with(&s, &sql, state);
    }
}

#[test]
fn a_user_of_many_sessions_can_be_cancelled() {
    let (_db, s) = open(
        "CREATE TABLE long_user AS SELECT jsonb_agg(jsonb_build_object('event', 'e' || i % 50, 'time', 1700000000 + i * 100)) AS events FROM generate_series(1, 300000) AS i;",
    );
    assert_eq!(
        value(
            &s,
            r#"SELECT eventkit.paths_agg(events, '{"session_gap": "1 minute"}')::text::jsonb ->> 'paths' FROM long_user"#
        ),
        "300000"
    );
    s.query("SET statement_timeout = '100ms'").unwrap();
    let failure = fails(
        &s,
        r#"SELECT eventkit.paths_agg(events, '{"session_gap": "1 minute"}') FROM long_user, generate_series(1, 1000)"#,
    );
    assert_eq!(failure.sqlstate, "57014", "{failure:?}");
}
