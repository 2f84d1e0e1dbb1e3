//! Saved funnels: what is computed, what is refused, whose rights apply, failures apart, history, dump and restore.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails, lines, number, open, value};
use eventkit_tests::shared::{self, Database};
use eventkit_tests::{Failure, Session, wait};

/// Six users of two countries and one of none: four see, three of those put into the cart, one pays.
const TABLE: &str = r#"CREATE TABLE user_events (user_id int, country text, events jsonb);
    INSERT INTO user_events SELECT n, (ARRAY['nl', 'nl', 'nl', 'de', 'de', NULL])[n],
        (SELECT coalesce(jsonb_agg(jsonb_build_object('event', e, 'time', 1700000000 + 60 * at)), '[]')
         FROM unnest((ARRAY['{view,cart,pay}', '{view,cart}', '{view}', '{view,cart}', '{}', '{other}'])[n]::text[]) WITH ORDINALITY AS u (e, at))
    FROM generate_series(1, 6) n"#;
const STEPS: &str = r#"'{"steps": ["view", "cart", "pay"], "window": "6 hours"}'"#;

fn save(s: &Session, name: &str, arguments: &str) {
    let sql = format!("SELECT eventkit.save_funnel('{name}', {STEPS}, {arguments})");
    s.query(&sql).unwrap_or_else(|failure| panic!("{failure}\n{sql}"));
}

fn refresh(s: &Session, name: &str) {
    s.query(&format!("CALL eventkit.refresh_funnel('{name}')")).unwrap_or_else(|failure| panic!("{failure}"));
}

/// What the newest refresh found: a line for each breakdown value, users of the steps.
fn latest(s: &Session, name: &str) -> Vec<String> {
    lines(
        s,
        &format!(
            "SELECT concat_ws(' ', coalesce(breakdown, '-'), string_agg(users::text, ' ' ORDER BY step)) \
             FROM eventkit.funnel_latest WHERE funnel = '{name}' GROUP BY breakdown ORDER BY breakdown NULLS FIRST"
        ),
    )
}

/// The SQLSTATEs of a funnel's refreshes, oldest first; "ok" for a success.
fn history(s: &Session, name: &str) -> Vec<String> {
    lines(
        s,
        &format!(
            "SELECT coalesce(sqlstate, 'ok') FROM eventkit.funnel_refreshes WHERE funnel = '{name}' ORDER BY refreshed_at"
        ),
    )
}

/// A role that may use saved funnels and read the table, and a session of it; roles are shared by all databases.
fn analyst(db: &Database, s: &Session, name: &str) -> Session {
    s.query(&format!(
        "CREATE ROLE {name} LOGIN; GRANT SELECT ON user_events TO {name}; \
         GRANT EXECUTE ON FUNCTION eventkit.save_funnel, eventkit.drop_funnel TO {name}; \
         GRANT EXECUTE ON PROCEDURE eventkit.refresh_funnel, eventkit.refresh_funnels TO {name}"
    ))
    .unwrap_or_else(|failure| panic!("{failure}"));
    Session::open_as(db.cluster, &db.name, name, name).unwrap()
}

fn refused(failure: &Failure, sqlstate: &str, message: &str) {
    assert_eq!(failure.sqlstate, sqlstate, "{failure}");
    assert!(failure.message.replace("public.", "").contains(message), "{failure}");
    assert!(failure.detail.is_some() && failure.hint.is_some(), "{failure}");
}

#[test]
fn a_table_is_computed_as_the_aggregate_does() {
    let (_db, s) = open(TABLE);
    save(&s, "buy", "source => 'user_events'");
    save(
        &s,
        "by country",
        "source => 'user_events', breakdown_column => 'country', filter => 'user_id <> 2 -- not she'",
    );
    refresh(&s, "buy");
    refresh(&s, "by country");
    assert_eq!(latest(&s, "buy"), ["- 4 3 1"]);
    assert_eq!(latest(&s, "by country"), ["- 0 0 0", "de 1 1 0", "nl 2 1 1"]);
    let differ = format!(
        "SELECT count(*) FROM (
             SELECT step, label, users, share_of_first, share_of_previous, drop_off, median_from_previous, p90_from_previous, mean_from_previous,
                    median_from_start, p90_from_start, mean_from_start FROM eventkit.funnel_latest WHERE funnel = 'buy'
             EXCEPT SELECT * FROM eventkit.funnel_table((SELECT eventkit.funnel_agg(events, {STEPS}) FROM user_events))) AS d"
    );
    assert_eq!(number(&s, &differ), 0);
    assert_eq!(value(&s, "SELECT string_agg(users::text, ' ' ORDER BY funnel) FROM eventkit.funnel_refreshes"), "6 5");
    // The summaries are there to be rolled up.
    let rolled = "SELECT eventkit.rollup(summary)::text::jsonb -> 'users' FROM eventkit.funnel_summaries WHERE funnel = 'by country'";
    assert_eq!(value(&s, rolled), "5");
}

#[test]
fn all_forms_of_event_arrays_and_all_kinds_of_relations_serve() {
    let (_db, s) = open(&format!(
        "{TABLE}; CREATE TABLE forms AS SELECT ARRAY(SELECT jsonb_array_elements(events)) AS j,
             ARRAY(SELECT hstore(ARRAY['event', e ->> 'event', 'time', e ->> 'time']) FROM jsonb_array_elements(events) e) AS h FROM user_events;
         CREATE VIEW seen AS SELECT events FROM user_events; CREATE MATERIALIZED VIEW stored AS SELECT events FROM user_events;
         CREATE TABLE parts (events jsonb) PARTITION BY LIST ((events IS NULL)); CREATE TABLE part PARTITION OF parts DEFAULT; INSERT INTO parts TABLE seen"
    ));
    for (n, arguments) in [
        "source => 'forms', events_column => 'j'",
        "source => 'forms', events_column => 'h'",
        "source => 'seen'",
        "source => 'stored'",
        "source => 'parts'",
        "query => 'SELECT events FROM user_events'",
        "query => 'select h as events from forms;'",
        "query => '/* a */ WITH u AS (TABLE user_events) SELECT events AS \"events\" FROM u ORDER BY 1; -- b'",
        "query => 'SELECT events FROM user_events WHERE user_id < 3 UNION ALL SELECT events FROM user_events WHERE user_id >= 3 --'",
        "query => 'VALUES (NULL::jsonb) UNION ALL SELECT events FROM user_events'",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("f{n}");
        let saved = s.query(&format!("SELECT eventkit.save_funnel('{name}', {STEPS}, {arguments})"));
        if arguments.contains("VALUES") {
            // Its column has another name.
            refused(&saved.unwrap_err(), "22023", "yields a column column1");
            continue;
        }
        saved.unwrap_or_else(|failure| panic!("{arguments}: {failure}"));
        refresh(&s, &name);
        assert_eq!(latest(&s, &name), ["- 4 3 1"], "{arguments}");
    }
}

#[test]
fn a_source_survives_a_new_name_and_a_new_schema_and_its_end_is_told() {
    let (_db, s) = open(TABLE);
    save(&s, "buy", "source => 'user_events'");
    s.query("CREATE SCHEMA app; ALTER TABLE user_events RENAME TO \"Users' events\"; ALTER TABLE \"Users' events\" SET SCHEMA app").unwrap();
    s.query("CREATE TABLE user_events (events jsonb)").unwrap();
    refresh(&s, "buy");
    assert_eq!(latest(&s, "buy"), ["- 4 3 1"]);
    s.query("ALTER TABLE app.\"Users' events\" RENAME events TO clicks").unwrap();
    assert_eq!(fails(&s, "CALL eventkit.refresh_funnel('buy')").sqlstate, "42703");
    s.query("DROP TABLE app.\"Users' events\"").unwrap();
    refused(&fails(&s, "CALL eventkit.refresh_funnel('buy')"), "42P01", "the source of the saved funnel is gone");
    assert_eq!(history(&s, "buy"), ["ok", "42703", "42P01"]);
    // What was known stays.
    assert_eq!(latest(&s, "buy"), ["- 4 3 1"]);
}

#[test]
fn a_query_is_read_with_the_path_of_its_writer_and_times_are_utc() {
    let (_db, s) = open(&format!("{TABLE}; CREATE SCHEMA app; ALTER TABLE user_events SET SCHEMA app"));
    s.query("SET search_path = app; SET TimeZone = 'Asia/Tokyo'").unwrap();
    save(&s, "buy", "query => 'SELECT events, current_setting(''TimeZone'') AS breakdown FROM user_events'");
    s.query("SET search_path = public; CREATE TABLE user_events (events jsonb); CREATE TEMP TABLE user_events (events jsonb)").unwrap();
    refresh(&s, "buy");
    assert_eq!(latest(&s, "buy"), ["UTC 4 3 1"]);
    // The session is as it was.
    assert_eq!(
        value(
            &s,
            "SELECT current_setting('TimeZone') || ' ' || current_setting('search_path') || ' ' || current_setting('transaction_read_only')"
        ),
        "Asia/Tokyo public off"
    );
}

/// What is not one SELECT that reads; the table `canary` has one row.
const SMUGGLED: &[&str] = &[
    "",
    ";",
    "-- SELECT events FROM user_events",
    "SELECT events FROM user_events; DROP TABLE canary",
    "DROP TABLE canary; SELECT events FROM user_events",
    "SELECT events FROM user_events) AS q; DROP TABLE canary; --",
    "SELECT events FROM user_events) AS q; DELETE FROM canary; SELECT (SELECT 1",
    "SELECT events FROM user_events) AS q, LATERAL (SELECT 1",
    "SELECT events FROM user_events) --",
    "SELECT events FROM user_events) /*",
    "SELECT events FROM user_events /*",
    "(SELECT events FROM user_events",
    "DELETE FROM canary RETURNING '[]'::jsonb AS events",
    "INSERT INTO canary VALUES (2) RETURNING '[]'::jsonb AS events",
    "WITH d AS (DELETE FROM canary RETURNING n) SELECT events FROM user_events, d",
    "SELECT events FROM user_events WHERE EXISTS (WITH d AS (DELETE FROM canary RETURNING n) TABLE d)",
    "SELECT events INTO stolen FROM user_events",
    "SELECT events INTO stolen FROM user_events UNION ALL SELECT events FROM user_events",
    "CREATE TABLE stolen AS SELECT events FROM user_events",
    "SELECT events FROM user_events FOR UPDATE",
    "SELECT events FROM (SELECT events FROM user_events FOR UPDATE) AS u",
    "EXPLAIN ANALYZE SELECT events FROM user_events",
    "COPY canary TO PROGRAM 'true'",
    "DO $$BEGIN DELETE FROM canary; END$$",
    "CALL eventkit.refresh_funnels()",
    "PREPARE p AS SELECT events FROM user_events",
    "EXECUTE p",
    "COMMIT",
    "SELECT $1 AS events",
    "SELECT events FROM user_events\\; DROP TABLE canary",
];

#[test]
fn a_query_that_is_more_than_a_query_is_refused_at_save_and_at_refresh() {
    let (_db, s) = open(&format!("{TABLE}; CREATE TABLE canary AS SELECT 1 AS n"));
    save(&s, "buy", "source => 'user_events'");
    for query in SMUGGLED {
        let literal = query.replace('\'', "''");
        let failure = fails(&s, &format!("SELECT eventkit.save_funnel('q', {STEPS}, query => '{literal}')"));
        assert!(["22023", "42601", "0A000", "42P02"].contains(&failure.sqlstate.as_str()), "{query}: {failure}");
        // Past the check, straight into the table.
        s.query(&format!("UPDATE eventkit.saved_funnels SET source = NULL, events_column = NULL, query = '{literal}'"))
            .unwrap();
        let failure = fails(&s, "CALL eventkit.refresh_funnel('buy')");
        assert!(["22023", "42601", "0A000", "42P02"].contains(&failure.sqlstate.as_str()), "{query}: {failure}");
    }
    for filter in [
        "",
        "--",
        "true)",
        "true) UNION ALL SELECT '[]' FROM user_events WHERE (true",
        "true) LIMIT (1",
        "true) GROUP BY (events",
        "true) ORDER BY (events",
        "true) FOR UPDATE --",
        "true); DROP TABLE canary; SELECT (true",
        "true /*",
        "count(*) > 1",
        "'maybe'",
    ] {
        let literal = filter.replace('\'', "''");
        let sql = format!("SELECT eventkit.save_funnel('q', {STEPS}, source => 'user_events', filter => '{literal}')");
        let failure = fails(&s, &sql);
        assert!(["22023", "42601", "42803", "22P02"].contains(&failure.sqlstate.as_str()), "{filter}: {failure}");
    }
    assert_eq!(number(&s, "SELECT count(*) FROM canary"), 1);
    assert_eq!(value(&s, "SELECT to_regclass('stolen')"), "NULL");
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.saved_funnels"), 1);
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.funnel_results"), 0);
}

#[test]
fn saving_runs_nothing_of_the_query() {
    let (_db, s) = open(&format!(
        "{TABLE}; CREATE SEQUENCE calls;
         CREATE FUNCTION counted(e jsonb) RETURNS jsonb VOLATILE LANGUAGE sql AS $$SELECT setval('calls', 7); SELECT e$$"
    ));
    for arguments in [
        "query => 'SELECT counted(events) AS events FROM user_events'",
        "query => 'SELECT counted(events) AS events FROM user_events ORDER BY 1'",
        "source => 'user_events', filter => 'counted(events) IS NOT NULL'",
    ] {
        save(&s, "q", arguments);
        // A refresh may not write either.
        assert_eq!(fails(&s, "CALL eventkit.refresh_funnel('q')").sqlstate, "25006", "{arguments}");
    }
    assert_eq!(value(&s, "SELECT is_called FROM calls"), "f");
}

#[test]
fn wrong_arguments_are_named() {
    let (_db, s) = open(&format!(
        "{TABLE}; CREATE SEQUENCE counter; CREATE TEMP TABLE brief (events jsonb); CREATE TABLE odd (events json, text text)"
    ));
    for (arguments, sqlstate, message) in [
        ("NULL, '{\"steps\": [\"a\"]}', source => 'user_events'", "22004", "argument \"name\" must not be NULL"),
        ("'f', NULL, source => 'user_events'", "22004", "argument \"definition\" must not be NULL"),
        ("'', '{\"steps\": [\"a\"]}', source => 'user_events'", "22023", "invalid value for argument \"name\""),
        ("'f', '{\"steps\": [\"a\"]}'", "22023", "neither of the arguments \"source\" and \"query\""),
        ("'f', '{\"steps\": [\"a\"]}', source => 'user_events', query => 'SELECT 1'", "22023", "both of the arguments"),
        (
            "'f', '{\"steps\": [\"a\"]}', query => 'SELECT 1', filter => 'true'",
            "22023",
            "argument \"filter\" does not go with a query",
        ),
        (
            "'f', '{\"steps\": [\"a\"]}', query => 'SELECT 1', events_column => 'e'",
            "22023",
            "argument \"events_column\" does not",
        ),
        (
            "'f', '{\"steps\": [\"a\"]}', query => 'SELECT 1', breakdown_column => 'e'",
            "22023",
            "argument \"breakdown_column\" does",
        ),
        (
            "'f', '{\"steps\": [\"a\"]}', source => 'user_events', keep => '-1 day'",
            "22023",
            "invalid value for argument \"keep\"",
        ),
        ("'f', '{\"steps\": [\"a\"]}', source => 'counter'", "42809", "argument \"source\": counter is not a table"),
        ("'f', '{\"steps\": [\"a\"]}', source => 'brief'", "42809", "argument \"source\": brief is temporary"),
        (
            "'f', '{\"steps\": [\"a\"]}', source => 'user_events', events_column => 'absent'",
            "42703",
            "column absent of user_events does not exist",
        ),
        (
            "'f', '{\"steps\": [\"a\"]}', source => 'user_events', breakdown_column => 'ctid'",
            "42703",
            "argument \"breakdown_column\": column ctid",
        ),
        ("'f', '{\"steps\": [\"a\"]}', source => 'odd'", "42804", "the column of events is of type json"),
        ("'f', '{\"steps\": []}', source => 'user_events'", "22023", "invalid funnel definition"),
        (
            "'f', '{\"steps\": [\"a\"]}', query => 'SELECT country AS breakdown FROM user_events'",
            "42703",
            "yields no column events",
        ),
        (
            "'f', '{\"steps\": [\"a\"]}', query => 'SELECT events, country FROM user_events'",
            "22023",
            "yields a column country",
        ),
        (
            "'f', '{\"steps\": [\"a\"]}', query => 'SELECT events, events FROM user_events'",
            "22023",
            "yields a column events twice",
        ),
    ] {
        refused(&fails(&s, &format!("SELECT eventkit.save_funnel({arguments})")), sqlstate, message);
    }
    refused(&fails(&s, "SELECT eventkit.drop_funnel('absent')"), "42704", "there is no saved funnel 'absent'");
    refused(&fails(&s, "SELECT eventkit.drop_funnel(NULL)"), "42704", "there is no saved funnel");
    refused(&fails(&s, "CALL eventkit.refresh_funnel('absent')"), "42704", "there is no saved funnel 'absent'");
    refused(&fails(&s, "CALL eventkit.refresh_funnel(NULL)"), "42704", "there is no saved funnel");
}

#[test]
fn hostile_names_are_only_names() {
    let (_db, s) = open("CREATE TABLE canary (n int)");
    for name in [r#"we"ird '%I %s $1 \ ; DROP TABLE canary; --"#, "a.b", "Select", "new\nline", "表表"] {
        let (quoted, literal) = (format!("\"{}\"", name.replace('"', "\"\"")), name.replace('\'', "''"));
        s.query(&format!(
            "CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} jsonb); INSERT INTO {quoted}.{quoted} VALUES ('[{{\"event\": \"view\", \"time\": 1}}]')"
        ))
        .unwrap();
        let table = format!("{quoted}.{quoted}").replace('\'', "''");
        save(
            &s,
            &literal,
            &format!("source => '{table}', events_column => '{literal}', breakdown_column => '{literal}'"),
        );
        refresh(&s, &literal);
        assert_eq!(
            number(&s, &format!("SELECT users FROM eventkit.funnel_latest WHERE funnel = '{literal}' AND step = 1")),
            1
        );
        s.query(&format!("SELECT eventkit.drop_funnel('{literal}')")).unwrap();
    }
    assert_eq!(number(&s, "SELECT count(*) FROM canary"), 0);
}

#[test]
fn an_empty_source_is_nobody() {
    let (_db, s) = open("CREATE TABLE user_events (country text, events jsonb[])");
    save(&s, "buy", "source => 'user_events'");
    save(&s, "by country", "source => 'user_events', breakdown_column => 'country'");
    s.query("CALL eventkit.refresh_funnels()").unwrap();
    assert_eq!(latest(&s, "buy"), ["- 0 0 0"]);
    assert_eq!(latest(&s, "by country"), ["- 0 0 0"]);
    assert_eq!(value(&s, "SELECT string_agg(users::text, ' ') FROM eventkit.funnel_refreshes"), "0 0");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.funnel_latest WHERE share_of_first IS NOT NULL"), "0");
}

#[test]
fn a_change_keeps_the_history_and_its_fingerprint_tells_it_apart() {
    let (_db, s) = open(TABLE);
    save(&s, "buy", "source => 'user_events', breakdown_column => 'country', keep => '1 year'");
    refresh(&s, "buy");
    s.query("SELECT eventkit.save_funnel('buy', '{\"steps\": [\"cart\", \"pay\"]}', query => 'SELECT events FROM user_events')").unwrap();
    refresh(&s, "buy");
    assert_eq!(latest(&s, "buy"), ["- 3 1"]);
    assert_eq!(number(&s, "SELECT count(DISTINCT fingerprint) FROM eventkit.funnel_refreshes"), 2);
    assert_eq!(number(&s, "SELECT count(DISTINCT refreshed_at) FROM eventkit.funnel_results"), 2);
    assert_eq!(
        value(&s, "SELECT source IS NULL AND keep IS NULL AND breakdown_column IS NULL FROM eventkit.saved_funnels"),
        "t"
    );
    s.query("SELECT eventkit.drop_funnel('buy')").unwrap();
    for table in ["saved_funnels", "funnel_refreshes", "funnel_summaries", "funnel_results"] {
        assert_eq!(number(&s, &format!("SELECT count(*) FROM eventkit.{table}")), 0, "{table}");
    }
}

#[test]
fn results_go_when_their_time_is_over_but_the_newest_stays() {
    let (_db, s) = open(TABLE);
    save(&s, "buy", "source => 'user_events', keep => '30 days'");
    save(&s, "other", "source => 'user_events'");
    s.query("CALL eventkit.refresh_funnels()").unwrap();
    let age = "UPDATE eventkit.funnel_refreshes SET refreshed_at = refreshed_at - interval '40 days'";
    // The results hang on the refresh, so all are made older at once.
    let older = "ALTER TABLE eventkit.funnel_results DROP CONSTRAINT funnel_results_funnel_refreshed_at_fkey, \
             ADD CONSTRAINT funnel_results_funnel_refreshed_at_fkey FOREIGN KEY (funnel, refreshed_at) REFERENCES eventkit.funnel_refreshes ON DELETE CASCADE ON UPDATE CASCADE; \
         ALTER TABLE eventkit.funnel_summaries DROP CONSTRAINT funnel_summaries_funnel_refreshed_at_fkey, \
             ADD CONSTRAINT funnel_summaries_funnel_refreshed_at_fkey FOREIGN KEY (funnel, refreshed_at) REFERENCES eventkit.funnel_refreshes ON DELETE CASCADE ON UPDATE CASCADE";
    s.query(older).unwrap();
    s.query(age).unwrap();
    // A failure takes old failures with it, no results.
    s.query("ALTER TABLE user_events RENAME events TO gone").unwrap();
    let _ = fails(&s, "CALL eventkit.refresh_funnel('buy')");
    s.query("UPDATE eventkit.funnel_refreshes SET refreshed_at = refreshed_at - interval '50 days' WHERE sqlstate IS NOT NULL").unwrap();
    let _ = fails(&s, "CALL eventkit.refresh_funnel('buy')");
    assert_eq!(history(&s, "buy"), ["ok", "42703"]);
    assert_eq!(latest(&s, "buy"), ["- 4 3 1"]);
    s.query("ALTER TABLE user_events RENAME gone TO events").unwrap();
    s.query("CALL eventkit.refresh_funnels()").unwrap();
    assert_eq!(history(&s, "buy"), ["42703", "ok"]);
    assert_eq!(history(&s, "other"), ["ok", "ok"]);
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.funnel_results"), 3 * 3);
}

#[test]
fn one_that_fails_stops_no_other() {
    let (_db, s) = open(&format!(
        "{TABLE}; CREATE FUNCTION broken(how text) RETURNS bool VOLATILE LANGUAGE plpgsql AS $$BEGIN
             CASE how WHEN 'assert' THEN ASSERT false; WHEN 'cancel' THEN RAISE 'as if cancelled' USING ERRCODE = 'query_canceled';
                 WHEN 'nested' THEN EXECUTE 'DO $d$BEGIN RAISE query_canceled; END$d$'; WHEN 'commit' THEN COMMIT;
                 ELSE RAISE division_by_zero; END CASE;
             RETURN true; END$$"
    ));
    for (name, how) in [("b", "assert"), ("d", "cancel"), ("f", "error"), ("h", "nested"), ("j", "commit")] {
        save(&s, name, &format!("source => 'user_events', filter => 'broken(''{how}'')'"));
    }
    for name in ["a", "c", "e", "g", "i", "k"] {
        save(&s, name, "source => 'user_events'");
    }
    s.query("CALL eventkit.refresh_funnels()").unwrap();
    for name in ["a", "c", "e", "g", "i", "k"] {
        assert_eq!(latest(&s, name), ["- 4 3 1"], "{name}");
    }
    let failed = "SELECT string_agg(funnel || ' ' || sqlstate, ', ' ORDER BY funnel) FROM eventkit.funnel_refreshes WHERE sqlstate IS NOT NULL";
    assert_eq!(value(&s, failed), "b P0004, d 55000, f 22012, h 55000, j 2D000");
    let warnings: Vec<_> = s.take_notices().into_iter().filter(|notice| notice.starts_with("WARNING")).collect();
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert_eq!(warnings[1], "WARNING: saved funnel 'd': as if cancelled");
    // Alone, the failure is the caller's.
    assert_eq!(fails(&s, "CALL eventkit.refresh_funnel('f')").sqlstate, "22012");
    assert_eq!(history(&s, "f"), ["22012", "22012"]);
}

#[test]
fn each_is_committed_by_itself_and_a_cancel_stops_the_call() {
    let (db, s) = open(&format!("{TABLE}; CREATE TABLE second AS TABLE user_events"));
    save(&s, "1", "source => 'user_events'");
    save(&s, "2", "source => 'second'");
    save(&s, "3", "source => 'user_events'");
    let (holder, caller) = (db.session("holder").unwrap(), db.session("caller").unwrap());
    holder.query("BEGIN; LOCK TABLE second IN ACCESS EXCLUSIVE MODE").unwrap();
    caller.run("CALL eventkit.refresh_funnels()");
    wait::until_blocked(db.cluster, &caller).unwrap();
    assert_eq!(latest(&s, "1"), ["- 4 3 1"]);
    caller.cancel().unwrap();
    assert_eq!(caller.join().unwrap_err().sqlstate, "57014");
    assert_eq!([history(&s, "1").len(), history(&s, "2").len(), history(&s, "3").len()], [1, 0, 0]);
    holder.query("COMMIT").unwrap();
    caller.query("CALL eventkit.refresh_funnels()").unwrap();
    assert_eq!([history(&s, "1").len(), history(&s, "2").len(), history(&s, "3").len()], [2, 1, 1]);
}

#[test]
fn two_refreshes_of_one_funnel_never_run_at_a_time() {
    let (db, s) = open(&format!("{TABLE}; CREATE TABLE second AS TABLE user_events"));
    save(&s, "1", "source => 'user_events'");
    save(&s, "2", "source => 'second'");
    let (holder, first, other) =
        (db.session("holder").unwrap(), db.session("first").unwrap(), db.session("other").unwrap());
    holder.query("BEGIN; LOCK TABLE second IN ACCESS EXCLUSIVE MODE").unwrap();
    // Who ran it a second time would wait for the table.
    other.query("SET lock_timeout = '10 s'").unwrap();
    first.run("CALL eventkit.refresh_funnel('2')");
    wait::until_blocked(db.cluster, &first).unwrap();
    refused(
        &fails(&other, "CALL eventkit.refresh_funnel('2')"),
        "55006",
        "the saved funnel '2' is being refreshed or changed",
    );
    // The others are done meanwhile.
    other.query("CALL eventkit.refresh_funnels()").unwrap();
    assert_eq!(other.take_notices(), ["WARNING: saved funnel '2': the saved funnel '2' is being refreshed or changed"]);
    assert_eq!(latest(&s, "1"), ["- 4 3 1"]);
    holder.query("COMMIT").unwrap();
    first.join().unwrap();
    assert_eq!(history(&s, "2"), ["ok"]);
}

#[test]
fn eight_callers_at_once_leave_whole_results() {
    let (db, s) = open(TABLE);
    for name in ["1", "2", "3"] {
        save(&s, name, "source => 'user_events', breakdown_column => 'country'");
    }
    let sessions: Vec<_> = (0..8).map(|i| db.session(&format!("caller {i}")).unwrap()).collect();
    for session in &sessions {
        session.run("CALL eventkit.refresh_funnels()");
    }
    for session in &sessions {
        session.join().unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.funnel_refreshes WHERE sqlstate IS NOT NULL"), 0);
    let whole = "SELECT count(*) FILTER (WHERE n <> 9) || ' ' || (count(*) > 2) FROM (SELECT count(*) AS n FROM eventkit.funnel_results GROUP BY funnel, refreshed_at) AS r";
    assert_eq!(value(&s, whole), "0 true");
}

#[test]
fn a_call_where_commit_is_not_allowed_is_refused_at_once() {
    let (_db, s) = open(TABLE);
    save(&s, "buy", "source => 'user_events'");
    for call in ["CALL eventkit.refresh_funnel('buy')", "CALL eventkit.refresh_funnels()"] {
        s.query("BEGIN").unwrap();
        refused(&s.query(call).unwrap_err(), "25001", "cannot run inside a transaction block");
        s.query("ROLLBACK").unwrap();
        s.query(&format!("CREATE OR REPLACE FUNCTION inside() RETURNS void LANGUAGE plpgsql AS $$BEGIN {call}; END$$"))
            .unwrap();
        assert_eq!(fails(&s, "SELECT inside()").sqlstate, "2D000");
        assert_eq!(number(&s, "SELECT count(*) FROM eventkit.funnel_refreshes"), 0);
    }
    // Saving and dropping are part of whatever transaction they are in.
    s.query("BEGIN; SELECT eventkit.drop_funnel('buy'); ROLLBACK").unwrap();
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.saved_funnels"), 1);
}

#[test]
fn a_breakdown_has_no_more_than_a_thousand_values() {
    let (_db, s) = open("CREATE TABLE user_events AS SELECT n, '[]'::jsonb AS events FROM generate_series(1, 1001) n");
    save(&s, "wide", "source => 'user_events', breakdown_column => 'n'");
    refused(&fails(&s, "CALL eventkit.refresh_funnel('wide')"), "54000", "more than 1000 values");
    s.query("DELETE FROM user_events WHERE n = 1").unwrap();
    refresh(&s, "wide");
    assert_eq!(latest(&s, "wide").len(), 1000);
}

#[test]
fn a_guest_can_do_and_see_nothing() {
    let (db, s) = open(TABLE);
    save(&s, "buy", "source => 'user_events'");
    refresh(&s, "buy");
    s.query("CREATE ROLE funnel_guest LOGIN; GRANT SELECT ON user_events TO funnel_guest").unwrap();
    let guest = Session::open_as(db.cluster, &db.name, "guest", "funnel_guest").unwrap();
    for sql in [
        &format!("SELECT eventkit.save_funnel('mine', {STEPS}, source => 'user_events')"),
        "SELECT eventkit.drop_funnel('buy')",
        "CALL eventkit.refresh_funnel('buy')",
        "CALL eventkit.refresh_funnels()",
        "INSERT INTO eventkit.saved_funnels VALUES ('mine', 'funnel_guest', '{}', 'user_events', 'events', NULL, NULL, NULL, '', NULL, now())",
        "SELECT * FROM eventkit.run_funnel_query('SELECT NULL::jsonb AS events', '{\"steps\": [\"a\"]}', 'postgres'::regrole, '', false)",
        "SELECT * FROM eventkit.describe_funnel_query('SELECT 1', 'postgres'::regrole, '')",
        "SELECT eventkit.check_funnel_source('SELECT 1', '{}', 'postgres'::regrole, '')",
    ] {
        assert_eq!(fails(&guest, sql).sqlstate, "42501", "{sql}");
    }
    for table in ["saved_funnels", "funnel_refreshes", "funnel_summaries", "funnel_results", "funnel_latest"] {
        assert_eq!(number(&guest, &format!("SELECT count(*) FROM eventkit.{table}")), 0, "{table}");
    }
    for forged in [
        "INSERT INTO eventkit.funnel_refreshes VALUES ('buy', now(), 'x', '0', '', 1)",
        "INSERT INTO eventkit.funnel_summaries SELECT 'buy', now(), NULL, eventkit.funnel_agg('[]'::jsonb, '{\"steps\": [\"a\"]}')",
        "INSERT INTO eventkit.funnel_results VALUES ('buy', now(), NULL, 1, 'x', 1)",
    ] {
        assert_eq!(fails(&guest, forged).sqlstate, "42501", "{forged}");
    }
    guest.query("DELETE FROM eventkit.saved_funnels; UPDATE eventkit.saved_funnels SET query = ''; DELETE FROM eventkit.funnel_results").unwrap();
    assert_eq!(latest(&s, "buy"), ["- 4 3 1"]);
    drop(guest);
    s.query("DROP OWNED BY funnel_guest; DROP ROLE funnel_guest").unwrap();
}

#[test]
fn an_owner_has_his_own_and_those_who_may_become_him_have_them_too() {
    let (db, s) = open(TABLE);
    let (ann, bob) = (analyst(&db, &s, "funnel_ann"), analyst(&db, &s, "funnel_bob"));
    save(&ann, "ann's".replace('\'', "''").as_str(), "source => 'user_events'");
    save(&bob, "bob", "source => 'user_events'");
    // Each sees and refreshes his own.
    ann.query("CALL eventkit.refresh_funnels()").unwrap();
    assert_eq!(lines(&ann, "SELECT DISTINCT funnel FROM eventkit.funnel_latest"), ["ann's"]);
    assert_eq!(number(&bob, "SELECT count(*) FROM eventkit.funnel_refreshes"), 0);
    assert_eq!(fails(&ann, "CALL eventkit.refresh_funnel('bob')").sqlstate, "42704");
    assert_eq!(fails(&ann, "SELECT eventkit.drop_funnel('bob')").sqlstate, "42704");
    refused(
        &fails(&ann, &format!("SELECT eventkit.save_funnel('bob', {STEPS}, source => 'user_events')")),
        "42501",
        "permission denied to save a funnel under the name 'bob'",
    );
    // Nobody makes another one an owner.
    assert_eq!(fails(&ann, "UPDATE eventkit.saved_funnels SET owner = 'funnel_bob'").sqlstate, "42501");
    assert_eq!(fails(&ann, "UPDATE eventkit.saved_funnels SET owner = 'postgres'").sqlstate, "42501");
    // A member of the owner.
    s.query("GRANT funnel_bob TO funnel_ann").unwrap();
    ann.query("CALL eventkit.refresh_funnels()").unwrap();
    assert_eq!(latest(&ann, "bob"), ["- 4 3 1"]);
    save(&ann, "bob", "source => 'user_events', filter => 'user_id = 1'");
    assert_eq!(value(&s, "SELECT owner FROM eventkit.saved_funnels WHERE name = 'bob'"), "funnel_bob");
    // The rights of the owner count when the funnel is refreshed, whoever calls.
    s.query("REVOKE SELECT ON user_events FROM funnel_bob").unwrap();
    assert_eq!(fails(&ann, "CALL eventkit.refresh_funnel('bob')").sqlstate, "42501");
    assert_eq!(fails(&s, "CALL eventkit.refresh_funnel('bob')").sqlstate, "42501");
    assert_eq!(history(&s, "bob"), ["ok", "42501", "42501"]);
    assert_eq!(
        fails(&bob, &format!("SELECT eventkit.save_funnel('new', {STEPS}, source => 'user_events')")).sqlstate,
        "42501"
    );
    drop((ann, bob));
    s.query("DROP OWNED BY funnel_ann, funnel_bob; DROP ROLE funnel_ann, funnel_bob").unwrap();
    // An owner who is gone.
    assert_eq!(fails(&s, "CALL eventkit.refresh_funnel('bob')").sqlstate, "55000");
}

/// On servers that know them: a member who inherits rights but may not SET ROLE.
#[test]
fn a_member_who_may_not_become_the_owner_is_a_stranger() {
    let (db, s) = open(TABLE);
    if number(&s, "SELECT current_setting('server_version_num')::int") < 160_000 {
        // There every member may.
        assert_eq!(
            value(
                &s,
                "SELECT count(*) FROM pg_attribute WHERE attrelid = 'pg_auth_members'::regclass AND attname = 'set_option'"
            ),
            "0"
        );
        return;
    }
    let (ann, dan) = (analyst(&db, &s, "funnel_heir"), analyst(&db, &s, "funnel_dan"));
    save(&dan, "dan", "source => 'user_events'");
    s.query("GRANT funnel_dan TO funnel_heir WITH INHERIT TRUE, SET FALSE").unwrap();
    assert_eq!(fails(&ann, "CALL eventkit.refresh_funnel('dan')").sqlstate, "42704");
    ann.query("UPDATE eventkit.saved_funnels SET filter = 'false'").unwrap();
    assert_eq!(value(&s, "SELECT filter FROM eventkit.saved_funnels"), "NULL");
    drop((ann, dan));
    s.query("DROP OWNED BY funnel_heir, funnel_dan; DROP ROLE funnel_heir, funnel_dan").unwrap();
}

/// What a query of a low-privileged role tries when a superuser refreshes it.
const ATTACKS: &[(&str, &str)] = &[
    ("INSERT INTO loot SELECT current_user", "25006"),
    ("UPDATE pg_authid SET rolsuper = true WHERE rolname = 'funnel_mallory'", "25006"),
    ("ALTER ROLE funnel_mallory SUPERUSER", "25006"),
    ("SET ROLE postgres", "42501"),
    ("SET LOCAL ROLE postgres", "42501"),
    ("RESET ROLE", "42501"),
    ("SET SESSION AUTHORIZATION postgres", "42501"),
    ("SET SESSION AUTHORIZATION DEFAULT", "42501"),
    ("SET transaction_read_only = off", "25001"),
    ("SET TRANSACTION READ WRITE", "25001"),
    ("CREATE TEMP TABLE pg_class ()", "25006"),
    ("PERFORM pg_read_file('/etc/passwd')", "42501"),
    ("PERFORM * FROM secret", "42501"),
    ("DECLARE kept CURSOR WITH HOLD FOR SELECT 1", "42501"),
    ("COMMIT", "2D000"),
];

#[test]
fn a_superuser_who_refreshes_lends_no_rights() {
    let (db, s) = open(&format!(
        "{TABLE}; CREATE TABLE secret (n int); CREATE TABLE loot (who name); GRANT CREATE ON SCHEMA public TO PUBLIC"
    ));
    let mallory = analyst(&db, &s, "funnel_mallory");
    s.query("GRANT INSERT, SELECT ON loot TO funnel_mallory").unwrap();
    mallory
        .query("CREATE TABLE mine AS SELECT * FROM user_events; CREATE FUNCTION attack() RETURNS text VOLATILE LANGUAGE plpgsql AS $$BEGIN RETURN current_user; END$$; \
                CREATE VIEW trap AS SELECT events, attack() AS who FROM mine; \
                ALTER TABLE mine ENABLE ROW LEVEL SECURITY; ALTER TABLE mine FORCE ROW LEVEL SECURITY; CREATE POLICY trap ON mine USING (attack() IS NOT NULL)")
        .unwrap();
    save(&mallory, "1 query", "query => 'SELECT events, attack() AS breakdown FROM user_events'");
    save(&mallory, "2 view", "source => 'trap', breakdown_column => 'who'");
    save(&mallory, "3 filter", "source => 'user_events', filter => 'attack() IS NOT NULL'");
    save(&mallory, "4 policy", "source => 'mine'");
    // Its functions run, as its role.
    s.query("CALL eventkit.refresh_funnels()").unwrap();
    assert_eq!(latest(&s, "1 query"), ["funnel_mallory 4 3 1"]);
    assert_eq!(latest(&s, "2 view"), ["funnel_mallory 4 3 1"]);
    assert_eq!(latest(&s, "4 policy"), ["- 4 3 1"]);
    for (attack, sqlstate) in ATTACKS {
        mallory
            .query(&format!("CREATE OR REPLACE FUNCTION attack() RETURNS text VOLATILE LANGUAGE plpgsql AS $a$BEGIN {}; RETURN ''; END$a$",
                if attack.starts_with("PERFORM") || *attack == "COMMIT" { (*attack).to_owned() } else { format!("EXECUTE $e${attack}$e$") }))
            .unwrap();
        for name in ["1 query", "2 view", "3 filter", "4 policy"] {
            let failure = fails(&s, &format!("CALL eventkit.refresh_funnel('{name}')"));
            assert_eq!(&failure.sqlstate, sqlstate, "{attack} by {name}: {failure}");
        }
    }
    // What stays with a session is put back, and is not the superuser's afterwards.
    mallory
        .query("CREATE OR REPLACE FUNCTION attack() RETURNS text VOLATILE LANGUAGE plpgsql AS $a$BEGIN \
                PERFORM set_config('search_path', 'mallory', false), set_config('work_mem', '64kB', false), set_config('session_replication_role', 'origin', true); RETURN ''; END$a$")
        .unwrap();
    assert_eq!(fails(&s, "CALL eventkit.refresh_funnel('1 query')").sqlstate, "42501", "a superuser's setting");
    mallory
        .query("CREATE OR REPLACE FUNCTION attack() RETURNS text VOLATILE LANGUAGE plpgsql AS $a$BEGIN \
                PERFORM set_config('search_path', 'mallory', false), set_config('work_mem', '64kB', false), set_config('mallory.was', 'here', false); RETURN ''; END$a$")
        .unwrap();
    refresh(&s, "1 query");
    let session = "SELECT concat_ws(' ', current_user, session_user, current_setting('search_path'), current_setting('work_mem'), current_setting('transaction_read_only'), '<' || current_setting('mallory.was', true) || '>')";
    assert_eq!(value(&s, session), "postgres postgres \"$user\", public 4MB off <>");
    assert_eq!(number(&s, "SELECT count(*) FROM loot"), 0);
    assert_eq!(value(&s, "SELECT rolsuper FROM pg_roles WHERE rolname = 'funnel_mallory'"), "f");
    drop(mallory);
    s.query("DROP OWNED BY funnel_mallory; DROP ROLE funnel_mallory").unwrap();
}

#[test]
fn who_bypasses_row_security_writes_no_funnel_of_others() {
    let (db, s) = open(TABLE);
    let eve = analyst(&db, &s, "funnel_eve");
    s.query("ALTER ROLE funnel_eve BYPASSRLS").unwrap();
    save(&s, "buy", "source => 'user_events'");
    for sql in [
        "INSERT INTO eventkit.saved_funnels VALUES ('evil', 'postgres', '{\"steps\": [\"a\"]}', 'user_events', 'events', NULL, 'attack()', NULL, '', NULL, now())",
        "UPDATE eventkit.saved_funnels SET filter = 'attack()'",
        "UPDATE eventkit.saved_funnels SET owner = 'funnel_eve'",
    ] {
        assert_eq!(fails(&eve, sql).sqlstate, "42501", "{sql}");
    }
    // What he sees of others he does not refresh.
    eve.query("CALL eventkit.refresh_funnels()").unwrap();
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.funnel_refreshes"), 0);
    drop(eve);
    s.query("DROP OWNED BY funnel_eve; DROP ROLE funnel_eve").unwrap();
}

/// Functions, operators and types that stand before the server's own; each says that it ran.
const LOOK_ALIKES: &str = "CREATE SCHEMA evil; \
     CREATE FUNCTION evil.ran() RETURNS int VOLATILE LANGUAGE plpgsql AS $$BEGIN RAISE 'a look-alike ran' USING ERRCODE = 'EVIL0'; END$$; \
     CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.ran() = 0); CREATE DOMAIN evil.record AS pg_catalog.text CHECK (evil.ran() = 0); \
     CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb CHECK (evil.ran() = 0); CREATE DOMAIN evil.interval AS pg_catalog.interval CHECK (evil.ran() = 0); \
     CREATE TABLE evil.saved_funnels (LIKE eventkit.saved_funnels); CREATE TABLE evil.funnel_results (LIKE eventkit.funnel_results); \
     DO $$ DECLARE call pg_catalog.text; BEGIN \
         FOREACH call IN ARRAY ARRAY['format(pg_catalog.text, pg_catalog.text)', 'format(pg_catalog.text, pg_catalog.text, pg_catalog.text)', 'clock_timestamp()', 'current_schemas(pg_catalog.bool)', 'may_become(pg_catalog.oid)', \
             'funnel_agg(pg_catalog.jsonb, pg_catalog.jsonb)', 'try_refresh_funnel(pg_catalog.text)', 'store_funnel(pg_catalog.text)', 'left(pg_catalog.text, pg_catalog.int4)'] LOOP \
             EXECUTE pg_catalog.format('CREATE FUNCTION evil.%s RETURNS pg_catalog.int4 VOLATILE LANGUAGE plpgsql AS ''BEGIN RETURN evil.ran(); END''', call); \
         END LOOP; \
         FOREACH call IN ARRAY ARRAY['int4', 'int8', 'text', 'name', 'oid', 'float8', 'timestamptz', 'bool'] LOOP \
             EXECUTE pg_catalog.format('CREATE FUNCTION evil.either(pg_catalog.%1$I, pg_catalog.%1$I) RETURNS pg_catalog.bool VOLATILE LANGUAGE plpgsql AS ''BEGIN RETURN evil.ran() = 0; END''', call); \
             EXECUTE pg_catalog.format('CREATE OPERATOR evil.= (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either); CREATE OPERATOR evil.< (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either); \
                 CREATE OPERATOR evil.<> (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either); CREATE OPERATOR evil.|| (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either)', call); \
         END LOOP; END $$";

#[test]
fn look_alikes_in_the_search_path_never_run() {
    let (_db, s) = open(&format!("{TABLE}; {LOOK_ALIKES}"));
    s.query("SET search_path = evil, pg_catalog, public").unwrap();
    assert_eq!(s.query("SELECT 'a' <> 'b'::pg_catalog.text").unwrap_err().sqlstate, "EVIL0");
    let call = format!(
        "SELECT eventkit.save_funnel('f', {STEPS}, source => 'public.user_events', breakdown_column => 'country')"
    );
    s.query(&call).unwrap_or_else(|failure| panic!("{failure}"));
    s.query("CALL eventkit.refresh_funnel('f')").unwrap_or_else(|failure| panic!("{failure}"));
    s.query("ALTER TABLE public.user_events RENAME events TO gone").unwrap();
    assert_eq!(s.query("CALL eventkit.refresh_funnel('f')").unwrap_err().sqlstate, "42703");
    s.query("CALL eventkit.refresh_funnels()").unwrap_or_else(|failure| panic!("{failure}"));
    // The view is bound to what it was made of.
    assert_eq!(s.query("SELECT users FROM eventkit.funnel_latest").unwrap().len(), 9);
    s.query("SELECT eventkit.drop_funnel('f')").unwrap_or_else(|failure| panic!("{failure}"));
}

fn dump_and_restore(db: &Database) -> Database {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dump =
        db.cluster.client_program("pg_dump").args(["-Fc", "-d", &db.name, "-f"]).arg(file.path()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let restored = shared::empty_database().unwrap();
    let restore = db
        .cluster
        .client_program("pg_restore")
        .args(["--exit-on-error", "-d", &restored.name])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    restored
}

#[test]
fn dump_and_restore_bring_back_funnels_and_history() {
    let (db, s) = open(&format!(
        "CREATE SCHEMA \"an app\"; {TABLE}; ALTER TABLE user_events SET SCHEMA \"an app\"; SET search_path = \"an app\""
    ));
    let kim = {
        s.query("GRANT USAGE ON SCHEMA \"an app\" TO PUBLIC; CREATE ROLE \"funnel Kim\" LOGIN; GRANT SELECT ON \"an app\".user_events TO \"funnel Kim\"; \
                 GRANT EXECUTE ON FUNCTION eventkit.save_funnel TO \"funnel Kim\"").unwrap();
        Session::open_as(db.cluster, &db.name, "kim", "funnel Kim").unwrap()
    };
    save(&kim, "kim", "source => '\"an app\".user_events', breakdown_column => 'country', keep => '1 year'");
    save(&s, "query", "query => 'SELECT events FROM user_events'");
    // A failure and a dropped source are history too.
    s.query("CREATE TABLE gone AS TABLE user_events").unwrap();
    save(&s, "gone", "source => 'gone'");
    s.query("DROP TABLE gone").unwrap();
    s.query("CALL eventkit.refresh_funnels()").unwrap();
    let content = "SELECT (SELECT string_agg(f::text, E'\n' ORDER BY name) FROM eventkit.saved_funnels f WHERE name <> 'gone') || (SELECT string_agg(r::text, E'\n' ORDER BY r::text) FROM eventkit.funnel_refreshes r) \
        || (SELECT string_agg(r::text, E'\n' ORDER BY r::text) FROM eventkit.funnel_results r) || (SELECT string_agg(r::text, E'\n' ORDER BY r::text) FROM eventkit.funnel_summaries r)";
    let expected = value(&s, content);
    assert!(expected.contains("42P01") && expected.contains("funnel Kim"), "{expected}");

    let restored = dump_and_restore(&db);
    let again = restored.session("again").unwrap();
    again.query("SET search_path = \"an app\"").unwrap();
    assert_eq!(value(&again, content), expected);
    let moved =
        "SELECT source::oid = '\"an app\".user_events'::regclass FROM eventkit.saved_funnels WHERE name = 'kim'";
    assert_eq!(value(&again, moved), "t");
    again.query("CALL eventkit.refresh_funnels()").unwrap();
    assert_eq!(history(&again, "kim"), ["ok", "ok"]);
    assert_eq!(history(&again, "query"), ["ok", "ok"]);
    assert_eq!(history(&again, "gone"), ["42P01", "42P01"]);
    drop((kim, again));
    restored.session("clean").unwrap().query("DROP OWNED BY \"funnel Kim\"").unwrap();
    s.query("DROP OWNED BY \"funnel Kim\"; DROP ROLE \"funnel Kim\"").unwrap();
}

#[test]
fn the_end_of_the_extension_leaves_the_users_table() {
    let (_db, s) = open(TABLE);
    save(&s, "buy", "source => 'user_events'");
    refresh(&s, "buy");
    s.query("DROP EXTENSION pg_eventkit").unwrap();
    assert_eq!(number(&s, "SELECT count(*) FROM user_events"), 6);
    s.query("CREATE EXTENSION pg_eventkit").unwrap();
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.saved_funnels"), 0);
}
