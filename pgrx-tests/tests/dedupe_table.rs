//! `dedupe_table`: batches that commit, resumption after every kind of end, others at work meanwhile, rights, names, paths.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use std::time::{Duration, Instant};

use common::{fails, lines, number, open, value};
use eventkit_tests::shared::Database;
use eventkit_tests::{Cluster, ClusterBuilder, PgVersion, Session, wait};

/// 400 rows of one size, so that they lie in the order of `n`: each has two events, in three of four of one id.
const TABLE: &str = "CREATE TABLE user_events (n int, note text DEFAULT '', events jsonb[]); \
     INSERT INTO user_events (n, events) SELECT n, ARRAY[jsonb_build_object('event_id', CASE WHEN n % 4 = 0 THEN -n ELSE n END, 'copy', 'old', 'p', repeat('x', 150)), \
         jsonb_build_object('event_id', n, 'copy', 'new', 'p', repeat('x', 150))] FROM generate_series(1, 400) n";
const CALL: &str = "CALL eventkit.dedupe_table('user_events', 'events', batch_rows => 50)";
/// Rows in which an id stands twice.
const LEFT: &str = "SELECT count(*) FROM user_events WHERE (SELECT count(DISTINCT e -> 'event_id') FROM unnest(events) e) < cardinality(events)";

/// Every row is there once, with the new copy of its event and with all others that it had.
fn complete(s: &Session) {
    assert_eq!(number(s, LEFT), 0);
    let right = "SELECT count(*) || ' ' || count(DISTINCT n) || ' ' || bool_and(events[cardinality(events)] ->> 'event_id' = n::text \
        AND events[cardinality(events)] ->> 'copy' = 'new' AND cardinality(events) = CASE WHEN n % 4 = 0 THEN 2 ELSE 1 END) FROM user_events";
    assert_eq!(value(s, right), "400 400 true");
    assert_eq!(number(s, "SELECT count(*) FROM eventkit.dedupe_progress"), 0);
}

/// The row versions read and rewritten as the first notice tells them.
fn first_notice(s: &Session) -> String {
    let notices = s.take_notices();
    let first =
        notices.iter().find(|notice| notice.contains(" row versions read")).unwrap_or_else(|| panic!("{notices:?}"));
    first.split(" (").next().unwrap_or_default().to_owned()
}

/// A session that holds a lock on row 220, and one whose call stops there, with four batches done.
fn stopped(db: &Database) -> (Session, Session) {
    let (holder, caller) = (db.session("holder").unwrap(), db.session("caller").unwrap());
    half_done(&holder, &caller, db.cluster);
    (holder, caller)
}

/// Starts the call in a session and lets it stop at the lock on row 220, with four batches done.
fn half_done(holder: &Session, caller: &Session, cluster: &Cluster) {
    holder.query("BEGIN; SELECT FROM user_events WHERE n = 221 FOR UPDATE").unwrap();
    caller.run(CALL);
    wait::until_blocked(cluster, caller).unwrap();
}

#[test]
fn only_rows_that_lose_an_event_are_written() {
    let (_db, s) = open(TABLE);
    s.query("CREATE TABLE before AS SELECT n, ctid AS at, xmin::text::bigint AS by, cardinality(events) AS len FROM user_events").unwrap();
    s.query(CALL).unwrap();
    complete(&s);
    let written = "SELECT string_agg(DISTINCT format('%s lost: %s', len - cardinality(events), CASE WHEN t.ctid = at AND t.xmin::text::bigint = by THEN 'as it was' WHEN t.ctid <> at AND t.xmin::text::bigint <> by THEN 'written' ELSE '?' END), ', ') \
        FROM before JOIN user_events t USING (n)";
    assert_eq!(value(&s, written), "0 lost: as it was, 1 lost: written");
    // Nothing is left to do, and nothing is done.
    s.query("CREATE TABLE after AS SELECT n, ctid AS at, xmin::text AS by FROM user_events").unwrap();
    s.query(CALL).unwrap();
    assert_eq!(
        number(&s, "SELECT count(*) FROM after JOIN user_events t USING (n) WHERE t.ctid <> at OR t.xmin::text <> by"),
        0
    );
}

#[test]
fn each_batch_commits_and_says_so() {
    let (db, s) = open(TABLE);
    let (holder, caller) = stopped(&db);
    // Another session sees the batches before.
    assert_eq!(number(&s, &format!("{LEFT} AND n <= 200")), 0);
    assert_eq!(number(&s, &format!("{LEFT} AND n > 200")), 150);
    assert_eq!(
        value(
            &s,
            "SELECT column_name || ' ' || rows_read || ' ' || rows_changed || ' ' || (relation = 'user_events'::regclass) FROM eventkit.dedupe_progress"
        ),
        "events 200 150 true"
    );
    assert_eq!(
        caller.take_notices().iter().map(|n| n.split(" (").next().unwrap().to_owned()).collect::<Vec<_>>(),
        [
            "50 row versions read, 38 rewritten",
            "100 row versions read, 75 rewritten",
            "150 row versions read, 113 rewritten",
            "200 row versions read, 150 rewritten"
        ]
        .map(|text| format!("NOTICE: user_events: {text}"))
    );
    holder.query("COMMIT").unwrap();
    caller.join().unwrap();
    complete(&s);
}

#[test]
fn a_call_that_was_terminated_is_resumed_by_the_next() {
    let (db, s) = open(TABLE);
    let (holder, caller) = stopped(&db);
    assert_eq!(value(&s, &format!("SELECT pg_terminate_backend({})", caller.pid())), "t");
    assert!(caller.join().is_err());
    holder.query("COMMIT").unwrap();
    assert_eq!(number(&s, LEFT), 150);
    s.query(CALL).unwrap();
    // 200 rows had been read: the next batch is the fifth.
    assert_eq!(first_notice(&s), "NOTICE: user_events: 250 row versions read, 188 rewritten");
    complete(&s);
}

#[test]
fn a_cancelled_call_is_resumed_by_the_next() {
    let (db, s) = open(TABLE);
    let (holder, caller) = stopped(&db);
    caller.cancel().unwrap();
    assert_eq!(caller.join().unwrap_err().sqlstate, "57014");
    holder.query("COMMIT").unwrap();
    let _ = caller.take_notices();
    // A run with other options, or of another column, is another run.
    s.query("CALL eventkit.dedupe_table('user_events', 'events', keep => 'first', id_key => 'absent')").unwrap();
    assert!(first_notice(&s).contains(": 400 row versions read, 0 rewritten"));
    caller.query(CALL).unwrap();
    assert_eq!(first_notice(&caller), "NOTICE: user_events: 250 row versions read, 188 rewritten");
    complete(&s);
}

#[test]
fn a_killed_server_loses_no_batch() {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap()).fsync(true).start().unwrap();
    cluster.create_database("d").unwrap();
    cluster.create_extension("d").unwrap();
    {
        let s = Session::open(&cluster, "d", "main").unwrap();
        s.query(TABLE).unwrap();
        let (holder, caller) =
            (Session::open(&cluster, "d", "holder").unwrap(), Session::open(&cluster, "d", "caller").unwrap());
        half_done(&holder, &caller, &cluster);
        cluster.kill_server().unwrap();
        assert!(caller.join().is_err());
    }
    cluster.start_server().unwrap();
    let s = Session::open(&cluster, "d", "again").unwrap();
    assert_eq!(number(&s, LEFT), 150);
    s.query(CALL).unwrap();
    assert_eq!(first_notice(&s), "NOTICE: user_events: 250 row versions read, 188 rewritten");
    complete(&s);
}

#[test]
fn a_table_rewritten_between_two_calls_is_begun_anew() {
    let (db, s) = open(TABLE);
    let (holder, caller) = stopped(&db);
    caller.cancel().unwrap();
    let _ = caller.join();
    holder.query("COMMIT").unwrap();
    // Rows move: the last of them to the front.
    s.query("CREATE INDEX by_n ON user_events (n DESC); CLUSTER user_events USING by_n").unwrap();
    s.query(CALL).unwrap();
    assert!(first_notice(&s).contains(": 50 row versions read"));
    complete(&s);
    s.query("UPDATE user_events SET events = events[1] || events").unwrap();
    half_done(&holder, &caller, db.cluster);
    caller.cancel().unwrap();
    let _ = caller.join();
    holder.query("COMMIT").unwrap();
    s.query("VACUUM FULL user_events").unwrap();
    s.query(CALL).unwrap();
    complete(&s);
}

#[test]
fn what_others_write_meanwhile_is_neither_lost_nor_overwritten() {
    let (db, s) = open(TABLE);
    let (holder, caller) = (db.session("holder").unwrap(), db.session("caller").unwrap());
    // In rows that the batch will want: a new event, another copy of one, another column, a row less.
    holder.query(
        r#"BEGIN; UPDATE user_events SET events = events || '{"event_id": "theirs"}'::jsonb WHERE n = 221;
           UPDATE user_events SET events = events || '{"event_id": 222, "copy": "newest"}'::jsonb WHERE n = 222;
           UPDATE user_events SET note = 'theirs' WHERE n = 223;
           DELETE FROM user_events WHERE n = 225;
           UPDATE user_events SET events = NULL WHERE n = 226;
           INSERT INTO user_events VALUES (401, 'theirs', ARRAY['{"event_id": 1}', '{"event_id": 1, "copy": "new"}']::jsonb[])"#,
    )
    .unwrap();
    caller.run(CALL);
    wait::until_blocked(db.cluster, &caller).unwrap();
    holder.query("COMMIT").unwrap();
    caller.join().unwrap();
    let row = |n: i32| {
        value(
            &s,
            &format!(
                "SELECT format('%s %s', note, (SELECT string_agg(coalesce(e ->> 'copy', e ->> 'event_id'), ' ' ORDER BY o) FROM unnest(events) WITH ORDINALITY u (e, o))) FROM user_events WHERE n = {n}"
            ),
        )
    };
    assert_eq!([221, 222, 223, 226, 401].map(row), [" new theirs", " newest", "theirs new", " ", "theirs new"]);
    assert_eq!(number(&s, "SELECT count(*) FROM user_events WHERE n = 225"), 0);
    assert_eq!(number(&s, LEFT), 0);
    assert_eq!(number(&s, "SELECT count(*) FROM user_events"), 400);
}

#[test]
fn a_row_that_others_move_to_the_front_is_deduplicated_too() {
    let (db, s) = open(TABLE);
    let (holder, caller) = (db.session("holder").unwrap(), db.session("caller").unwrap());
    // Room on the first pages, which the server gives to new versions of rows.
    s.query("DELETE FROM user_events WHERE n <= 200").unwrap();
    s.query("VACUUM user_events").unwrap();
    holder.query("BEGIN; SELECT FROM user_events WHERE n = 321 FOR UPDATE").unwrap();
    caller.run(CALL);
    wait::until_blocked(db.cluster, &caller).unwrap();
    let other = db.session("other").unwrap();
    other.query("UPDATE user_events SET note = 'moved' WHERE n IN (381, 382, 383)").unwrap();
    let moved = "SELECT count(*) FROM user_events WHERE note = 'moved' AND ctid < (SELECT next_row FROM eventkit.dedupe_progress)";
    assert!(number(&s, moved) > 0, "the case under test did not come about");
    holder.query("COMMIT").unwrap();
    caller.join().unwrap();
    assert_eq!(number(&s, LEFT), 0);
}

#[test]
fn rows_are_read_in_order_whatever_the_planner_prefers() {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap())
        .setting("shared_buffers = '1MB'")
        .setting("max_worker_processes = 16")
        .setting("max_parallel_workers = 16")
        .start()
        .unwrap();
    cluster.create_database("d").unwrap();
    cluster.create_extension("d").unwrap();
    let s = Session::open(&cluster, "d", "main").unwrap();
    let fill = "TRUNCATE user_events; INSERT INTO user_events SELECT n, '', ARRAY[jsonb_build_object('event_id', n), jsonb_build_object('event_id', n, 'copy', 'new')] FROM generate_series(1, 30000) n";
    s.query("CREATE TABLE user_events (n int, note text, events jsonb[])").unwrap();
    for settings in [
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 6; SET parallel_leader_participation = off",
        "SET enable_tidscan = off",
        "SET enable_tidscan = off; SET enable_seqscan = off",
    ] {
        s.query("RESET ALL").unwrap();
        s.query(fill).unwrap();
        s.query("ANALYZE user_events").unwrap();
        s.query(settings).unwrap();
        // Others that read the same table: scans of large tables start where another is.
        let reader = Session::open(&cluster, "d", "reader").unwrap();
        reader.run("DO $$BEGIN FOR i IN 1..200 LOOP PERFORM count(*) FROM user_events; END LOOP; END$$");
        s.query("CALL eventkit.dedupe_table('user_events', 'events', batch_rows => 700)").unwrap();
        reader.cancel().unwrap();
        let _ = reader.join();
        assert_eq!(number(&s, LEFT), 0, "rows were passed over under {settings}");
    }
}

#[test]
fn two_and_eight_callers_at_once_do_it_once() {
    let (db, s) = open(TABLE);
    for callers in [2, 8] {
        s.query(
            "UPDATE user_events SET events = (events || events) || jsonb_build_object('event_id', n, 'copy', 'new')",
        )
        .unwrap();
        let sessions: Vec<_> = (0..callers).map(|i| db.session(&format!("caller {i}")).unwrap()).collect();
        for session in &sessions {
            session.run("CALL eventkit.dedupe_table('user_events', 'events', batch_rows => 3)");
        }
        let mut done = 0;
        for session in &sessions {
            match session.join() {
                Ok(_) => done += 1,
                // To say that somebody else is at it is an answer; to trip over him is not.
                Err(failure) => assert_eq!(failure.sqlstate, "55006", "{failure}"),
            }
        }
        assert!(done > 0);
        complete(&s);
    }
}

#[test]
fn all_three_types_and_all_options_are_done() {
    let (_db, s) = open(
        r#"CREATE TABLE three (n int, h hstore[], j jsonb[], d jsonb);
           INSERT INTO three VALUES (1, ARRAY['event_id=>1,c=>a', 'event_id=>01,c=>b', NULL, NULL]::hstore[], ARRAY['{"event_id": 1, "c": "a"}', '{"event_id": "01", "c": "b"}', NULL, NULL]::jsonb[], '[{"event_id": 1, "c": "a"}, {"event_id": "01", "c": "b"}, null, null]'), (2, NULL, NULL, NULL), (3, '{}', '{}', '[]'), (4, '[5:5]={"event_id=>1"}', ARRAY['{}']::jsonb[], '[{}]')"#,
    );
    for (column, empty) in [("h", "{}"), ("j", "{}"), ("d", "[]")] {
        let length = if column == "d" { "jsonb_array_length(d)".to_owned() } else { format!("cardinality({column})") };
        let shape = |s: &Session| {
            value(s, &format!("SELECT string_agg(coalesce({length}::text, '-'), ' ' ORDER BY n) FROM three"))
        };
        let call =
            |options: &str| s.query(&format!("CALL eventkit.dedupe_table('three', '{column}'{options})")).unwrap();
        call("");
        assert_eq!(shape(&s), "4 - 0 1", "{column}");
        call(", on_missing => 'collapse'");
        assert_eq!(shape(&s), "3 - 0 1", "{column}");
        call(", id_type => 'bigint', keep => 'first', place => 'first', id_key => 'event_id'");
        assert_eq!(shape(&s), "2 - 0 1", "{column}");
        let first = value(
            &s,
            &format!("SELECT {column}::text LIKE '%a%' AND {column}::text NOT LIKE '%01%' FROM three WHERE n = 1"),
        );
        assert_eq!(first, "t");
        assert_eq!(value(&s, &format!("SELECT {column} FROM three WHERE n = 3")), empty);
    }
}

#[test]
fn partitions_are_done_one_by_one() {
    let (_db, s) = open(
        "CREATE TABLE days (day date, k int, events jsonb[]) PARTITION BY RANGE (day); \
         CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2024-01-01') TO ('2024-02-01'); \
         CREATE TABLE days_2 (k int, dropped int, events jsonb[], day date); ALTER TABLE days_2 DROP dropped; \
         ALTER TABLE days ATTACH PARTITION days_2 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01'); \
         CREATE TABLE days_3 PARTITION OF days FOR VALUES FROM ('2024-03-01') TO ('2024-04-01') PARTITION BY LIST (k); \
         CREATE TABLE days_3_even PARTITION OF days_3 FOR VALUES IN (0, 2, 4); CREATE TABLE days_3_rest PARTITION OF days_3 DEFAULT; \
         INSERT INTO days SELECT '2024-01-01'::date + n, n % 5, ARRAY[jsonb_build_object('event_id', n), jsonb_build_object('event_id', n, 'copy', 'new')] FROM generate_series(0, 89) n",
    );
    let plan = "SELECT string_agg(format('%s %s/%s/%s', relation, rows_read, rows_to_change, events_to_drop), ', ' ORDER BY relation::text) FROM eventkit.plan_dedupe_table('days', 'events')";
    assert_eq!(value(&s, plan), "days_1 31/31/31, days_2 29/29/29, days_3_even 18/18/18, days_3_rest 12/12/12");
    s.query("CALL eventkit.dedupe_table('days', 'events')").unwrap();
    assert_eq!(
        value(
            &s,
            "SELECT count(*) || ' ' || bool_and(cardinality(events) = 1 AND events[1] ->> 'copy' = 'new') FROM days"
        ),
        "90 true"
    );
    assert_eq!(s.take_notices().len(), 8, "each partition twice: its rows, and the new versions of them");
    // One partition by its own name.
    s.query("UPDATE days SET events = events || events").unwrap();
    s.query("CALL eventkit.dedupe_table('days_3', 'events')").unwrap();
    assert_eq!(
        value(&s, "SELECT string_agg(DISTINCT extract(month FROM day) || ':' || cardinality(events), ' ') FROM days"),
        "1:2 2:2 3:1"
    );
}

#[test]
fn the_plan_tells_exactly_what_is_done() {
    let (_db, s) = open(TABLE);
    for options in [
        "",
        ", keep => 'first'",
        ", place => 'first'",
        ", id_key => 'p', on_missing => 'collapse'",
        ", id_type => 'bigint'",
    ] {
        s.query("DROP TABLE IF EXISTS user_events").unwrap();
        s.query(TABLE).unwrap();
        s.query(r#"INSERT INTO user_events VALUES (401, '', NULL), (402, '', '{}'), (403, '', ARRAY['{"event_id": 1}', '{}', '{}', '{"event_id": "01"}', '{"event_id": 1}']::jsonb[])"#).unwrap();
        s.query("CREATE TEMP TABLE before AS SELECT n, ctid AS at, cardinality(events) AS len FROM user_events")
            .unwrap();
        let plan = lines(
            &s,
            &format!(
                "SELECT rows_read, rows_to_change, events_to_drop FROM eventkit.plan_dedupe_table('user_events', 'events'{options})"
            ),
        );
        assert_eq!(
            number(&s, "SELECT count(*) FROM before JOIN user_events t USING (n) WHERE t.ctid <> at"),
            0,
            "a plan changes nothing"
        );
        s.query(&format!("CALL eventkit.dedupe_table('user_events', 'events'{options})")).unwrap();
        let done = lines(
            &s,
            "SELECT count(*), count(*) FILTER (WHERE t.ctid <> at), coalesce(sum(len - cardinality(t.events)), 0) FROM before JOIN user_events t USING (n)",
        );
        assert_eq!(plan, done, "{options}");
        s.query("DROP TABLE before").unwrap();
    }
    // The statement of a batch is the one that runs.
    s.query("UPDATE user_events SET events = events || events").unwrap();
    let statement = value(&s, "SELECT statement FROM eventkit.plan_dedupe_table('user_events', 'events')");
    let run = statement.replace("$1", "'(0,0)'::tid").replace("$2", "'(100000,1)'::tid").replace("$3", "NULL::xid");
    s.query(&run).unwrap();
    assert_eq!(number(&s, LEFT), 1, "{statement}");
}

#[test]
fn the_plan_refuses_what_the_call_refuses() {
    let (_db, s) =
        open("CREATE TABLE user_events (events jsonb[], n int); CREATE VIEW seen AS SELECT * FROM user_events");
    let mut different = Vec::new();
    for arguments in [
        "'seen', 'events'",
        "'user_events', 'n'",
        "'user_events', 'absent'",
        "NULL, 'events'",
        "'user_events', NULL",
        "'user_events', 'events', keep => 'newest'",
        "'user_events', 'events', keep => NULL",
        "'user_events', 'events', id_key => NULL",
        "'user_events', 'events', batch_rows => 0",
        "'user_events', 'events', batch_rows => NULL",
    ] {
        let called = fails(&s, &format!("CALL eventkit.dedupe_table({arguments})"));
        match s.query(&format!("SELECT * FROM eventkit.plan_dedupe_table({arguments})")) {
            Ok(_) => different.push(format!("{arguments}: a plan is made, but the call says {}", called.message)),
            Err(planned) if planned != called => {
                different.push(format!("{arguments}: {planned}\n  but the call says {called}"))
            }
            Err(_) => {}
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn hostile_names_are_only_names() {
    let (_db, s) = open("CREATE TABLE canary (n int)");
    let names = [
        r#"we"ird '%I %s $1 \ ; DROP TABLE canary; --"#.to_owned(),
        "a.b".to_owned(),
        "表".repeat(21),
        "x".repeat(63),
        "Select".to_owned(),
        "t".to_owned(),
        "new\nline\ttab".to_owned(),
    ];
    for name in &names {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let literal = name.replace('\'', "''");
        let table = format!("{quoted}.{quoted}");
        s.query(&format!("CREATE SCHEMA {quoted}; CREATE TABLE {table} ({quoted} jsonb, \"other\" int); INSERT INTO {table} VALUES (jsonb_build_array(jsonb_build_object('{literal}', 1), jsonb_build_object('{literal}', 1)), 1)")).unwrap();
        let arguments = format!("'{}', '{literal}', id_key => '{literal}'", table.replace('\'', "''"));
        let plan =
            format!("SELECT rows_to_change || ' ' || events_to_drop FROM eventkit.plan_dedupe_table({arguments})");
        assert_eq!(value(&s, &plan), "1 1", "{name}");
        s.query(&format!("CALL eventkit.dedupe_table({arguments})"))
            .unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert_eq!(value(&s, &format!("SELECT jsonb_array_length({quoted}) FROM {table}")), "1", "{name}");
    }
    assert_eq!(number(&s, "SELECT count(*) FROM canary"), 0);
}

#[test]
fn a_temporary_table_is_not_taken_for_another_of_its_name() {
    let (_db, s) = open(
        "CREATE TABLE public.user_events AS SELECT ARRAY['{\"event_id\": 1}', '{\"event_id\": 1}']::jsonb[] AS events; \
         CREATE TEMP TABLE user_events AS TABLE public.user_events",
    );
    s.query("SET search_path = public, pg_temp").unwrap();
    s.query("CALL eventkit.dedupe_table('pg_temp.user_events', 'events')").unwrap();
    assert_eq!(
        value(
            &s,
            "SELECT (SELECT cardinality(events) FROM pg_temp.user_events) || ' ' || (SELECT cardinality(events) FROM public.user_events)"
        ),
        "1 2"
    );
    s.query("CALL eventkit.dedupe_table('public.user_events', 'events')").unwrap();
    assert_eq!(value(&s, "SELECT cardinality(events) FROM public.user_events"), "1");
}

/// Look-alikes of what the procedure uses; each says that it ran.
const LOOK_ALIKES: &str = "CREATE SCHEMA evil; \
     CREATE FUNCTION evil.ran() RETURNS int VOLATILE LANGUAGE plpgsql AS $$BEGIN RAISE 'a look-alike ran' USING ERRCODE = 'EVIL0'; END$$; \
     CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.ran() = 0); CREATE DOMAIN evil.int8 AS pg_catalog.int8 CHECK (evil.ran() = 0); \
     CREATE DOMAIN evil.regclass AS pg_catalog.regclass CHECK (evil.ran() = 0); CREATE DOMAIN evil.bool AS pg_catalog.bool CHECK (evil.ran() = 0); \
     CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb CHECK (evil.ran() = 0); CREATE DOMAIN evil.tid AS pg_catalog.tid CHECK (evil.ran() = 0); \
     CREATE DOMAIN evil.timestamptz AS pg_catalog.timestamptz CHECK (evil.ran() = 0); CREATE DOMAIN evil.name AS pg_catalog.name CHECK (evil.ran() = 0); \
     CREATE TABLE evil.dedupe_progress (LIKE eventkit.dedupe_progress); \
     DO $$ DECLARE call pg_catalog.text; BEGIN \
         FOREACH call IN ARRAY ARRAY['cardinality(anyarray)', 'jsonb_array_length(pg_catalog.jsonb)', 'format(pg_catalog.text, pg_catalog.text)', 'format(pg_catalog.text, pg_catalog.regclass, pg_catalog.name)', 'clock_timestamp()', 'round(pg_catalog.float8)', \
             'date_part(pg_catalog.text, pg_catalog.interval)', 'jsonb_build_array(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text)', 'format_type(pg_catalog.oid, pg_catalog.int4)', 'has_table_privilege(pg_catalog.oid, pg_catalog.text)', \
             'has_column_privilege(pg_catalog.oid, pg_catalog.name, pg_catalog.text)', 'pg_relation_filenode(pg_catalog.regclass)', 'pg_partition_tree(pg_catalog.regclass)', \
             'dedupe_targets(pg_catalog.regclass, pg_catalog.name)', 'dedupe_events(pg_catalog.jsonb[], pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text)'] LOOP \
             EXECUTE pg_catalog.format('CREATE FUNCTION evil.%s RETURNS pg_catalog.int4 VOLATILE LANGUAGE plpgsql AS ''BEGIN RETURN evil.ran(); END''', call); \
         END LOOP; \
         FOREACH call IN ARRAY ARRAY['int4', 'int8', 'tid', 'text', 'name', 'oid', 'float8', 'timestamptz', 'bool'] LOOP \
             EXECUTE pg_catalog.format('CREATE FUNCTION evil.either(pg_catalog.%1$I, pg_catalog.%1$I) RETURNS pg_catalog.bool VOLATILE LANGUAGE plpgsql AS ''BEGIN RETURN evil.ran() = 0; END''', call); \
             EXECUTE pg_catalog.format('CREATE OPERATOR evil.= (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either); CREATE OPERATOR evil.> (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either); \
                 CREATE OPERATOR evil.< (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either); CREATE OPERATOR evil.<= (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either); \
                 CREATE OPERATOR evil.- (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either); CREATE OPERATOR evil.+ (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either); \
                 CREATE OPERATOR evil.* (LEFTARG = pg_catalog.%1$I, RIGHTARG = pg_catalog.%1$I, FUNCTION = evil.either)', call); \
         END LOOP; END $$;";

#[test]
fn look_alikes_in_the_search_path_never_run() {
    let (_db, s) = open(&(TABLE.to_owned() + ";" + LOOK_ALIKES));
    s.query("SET search_path = evil, pg_catalog, public").unwrap();
    // They do run when they are asked for.
    let failure = s.query("SELECT cardinality(events) FROM public.user_events").unwrap_err();
    assert_eq!(failure.sqlstate, "EVIL0");
    assert_eq!(s.query("SELECT 1 = 2").unwrap_err().sqlstate, "EVIL0");
    assert_eq!(s.query("SELECT ''::text").unwrap_err().sqlstate, "EVIL0");
    let plan =
        s.query("SELECT rows_to_change FROM eventkit.plan_dedupe_table('public.user_events', 'events')").unwrap();
    assert_eq!(plan[0][0].as_deref(), Some("300"));
    s.query("CALL eventkit.dedupe_table('public.user_events', 'events', batch_rows => 100)").unwrap();
    let failure = s.query("CALL eventkit.dedupe_table('public.user_events', 'events', batch_rows => 0)").unwrap_err();
    assert_eq!(failure.sqlstate, "22023");
    let failure = s.query("CALL eventkit.dedupe_table('public.user_events', 'absent')").unwrap_err();
    assert_eq!(failure.sqlstate, "42703");
    s.query("RESET search_path").unwrap();
    complete(&s);
}

#[test]
fn a_role_with_the_right_to_update_the_column_may_call() {
    let (db, s) = open(&format!(
        "{TABLE}; CREATE ROLE worker LOGIN; GRANT SELECT, UPDATE (events) ON user_events TO worker; GRANT EXECUTE ON PROCEDURE eventkit.dedupe_table TO worker"
    ));
    let worker = Session::open_as(db.cluster, &db.name, "worker", "worker").unwrap();
    let plan = "SELECT rows_to_change FROM eventkit.plan_dedupe_table('user_events', 'events')";
    assert_eq!(worker.value(plan).unwrap().as_deref(), Some("300"));
    worker.query(CALL).unwrap_or_else(|failure| panic!("{failure}"));
    complete(&s);
    drop(worker);
    s.query("DROP OWNED BY worker; DROP ROLE worker").unwrap();
}

#[test]
fn a_guest_is_refused_and_changes_nothing() {
    let (db, s) = open(&format!("{TABLE}; CREATE ROLE visitor LOGIN; GRANT SELECT ON user_events TO visitor"));
    let visitor = Session::open_as(db.cluster, &db.name, "visitor", "visitor").unwrap();
    assert_eq!(fails(&visitor, CALL).sqlstate, "42501", "without EXECUTE");
    s.query("GRANT EXECUTE ON PROCEDURE eventkit.dedupe_table TO visitor").unwrap();
    let failure = fails(&visitor, CALL);
    assert_eq!(failure.sqlstate, "42501", "without UPDATE");
    assert_eq!(failure.message, "permission denied for table public.user_events");
    assert_eq!(failure.hint.as_deref(), Some("GRANT SELECT, UPDATE (events) ON public.user_events TO visitor;"));
    // The progress of others is not his to see or to change.
    s.query("INSERT INTO eventkit.dedupe_progress VALUES ('user_events'::regclass, 'events', '[]', 1, '(0,1)', 1, NULL, '3', 0, 1, 1, now())").unwrap();
    assert_eq!(visitor.value("SELECT count(*) FROM eventkit.dedupe_progress").unwrap().as_deref(), Some("0"));
    visitor.query("DELETE FROM eventkit.dedupe_progress").unwrap();
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.dedupe_progress"), 1);
    let forged = "INSERT INTO eventkit.dedupe_progress VALUES ('user_events'::regclass, 'events', '[1]', 1, '(9999,1)', 1, NULL, '3', 0, 1, 1, now())";
    assert_eq!(fails(&visitor, forged).sqlstate, "42501");
    s.query("GRANT UPDATE (note) ON user_events TO visitor").unwrap();
    assert_eq!(fails(&visitor, CALL).sqlstate, "42501", "with UPDATE of another column");
    assert_eq!(number(&s, LEFT), 300);
    drop(visitor);
    s.query("DROP OWNED BY visitor; DROP ROLE visitor").unwrap();
}

#[test]
fn the_progress_of_a_column_belongs_to_those_who_may_update_it() {
    let (db, s) = open(&format!(
        "{TABLE}; CREATE ROLE annotator LOGIN; GRANT SELECT, UPDATE (note) ON user_events TO annotator; \
         INSERT INTO eventkit.dedupe_progress VALUES ('user_events'::regclass, 'events', '[]', 1, '(0,1)', 1, NULL, '3', 0, 1, 1, now())"
    ));
    let annotator = Session::open_as(db.cluster, &db.name, "annotator", "annotator").unwrap();
    // Who may not write the events must not make the run of another pass over rows.
    let forged = "INSERT INTO eventkit.dedupe_progress VALUES ('user_events'::regclass, 'events', '[1]', 1, '(9999,1)', 1, NULL, '3', 0, 1, 1, now())";
    assert_eq!(fails(&annotator, forged).sqlstate, "42501");
    annotator.query("UPDATE eventkit.dedupe_progress SET next_row = '(9999,1)'").unwrap();
    assert_eq!(value(&s, "SELECT next_row FROM eventkit.dedupe_progress"), "(0,1)");
    drop(annotator);
    s.query("DROP OWNED BY annotator; DROP ROLE annotator").unwrap();
}

#[test]
fn a_call_where_commit_is_not_allowed_is_refused_at_once() {
    let (_db, s) = open(TABLE);
    s.query("BEGIN").unwrap();
    assert_eq!(s.query(CALL).unwrap_err().sqlstate, "25001");
    s.query("ROLLBACK").unwrap();
    assert!(s.take_notices().iter().all(|notice| !notice.contains("rows read")));
    assert_eq!(number(&s, LEFT), 300);
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.dedupe_progress"), 0);
    s.query(&format!("CREATE FUNCTION inside() RETURNS void LANGUAGE plpgsql AS $$BEGIN {CALL}; END$$")).unwrap();
    assert_eq!(fails(&s, "SELECT inside()").sqlstate, "2D000");
    // A DO block may commit.
    s.query(&format!("DO $$BEGIN {CALL}; END$$")).unwrap();
    complete(&s);
}

#[test]
fn wrong_arguments_are_named() {
    let (_db, s) = open(
        "CREATE TABLE user_events (n int, events jsonb[], \"text\" text, flat hstore, doc json); CREATE VIEW seen AS SELECT * FROM user_events; CREATE SEQUENCE counter; CREATE INDEX an_index ON user_events (n)",
    );
    for (arguments, sqlstate, message) in [
        ("NULL, 'events'", "22004", "argument \"table\" must not be NULL"),
        ("'user_events', NULL", "22004", "argument \"column_name\" must not be NULL"),
        ("'seen', 'events'", "42809", "argument \"table\": seen is not a table"),
        ("'counter', 'events'", "42809", "argument \"table\": counter is not a table"),
        ("'an_index', 'events'", "42809", "argument \"table\": an_index is not a table"),
        ("4711, 'events'", "42P01", "argument \"table\": no relation with OID 4711"),
        ("'absent', 'events'", "42P01", "relation \"absent\" does not exist"),
        (
            "'user_events', 'absent'",
            "42703",
            "argument \"column_name\": column absent of table user_events does not exist",
        ),
        ("'user_events', 'ctid'", "42703", "argument \"column_name\": column ctid of table user_events does not exist"),
        ("'user_events', 'n'", "42804", "argument \"column_name\": column n of table user_events is of type integer"),
        (
            "'user_events', 'flat'",
            "42804",
            "argument \"column_name\": column flat of table user_events is of type hstore",
        ),
        ("'user_events', 'doc'", "42804", "argument \"column_name\": column doc of table user_events is of type json"),
        ("'user_events', 'events', batch_rows => 0", "22023", "invalid value for argument \"batch_rows\": 0"),
        ("'user_events', 'events', batch_rows => -5", "22023", "invalid value for argument \"batch_rows\": -5"),
        ("'user_events', 'events', batch_rows => NULL", "22023", "invalid value for argument \"batch_rows\": NULL"),
        ("'user_events', 'events', keep => 'newest'", "22023", "invalid value for argument \"keep\": \"newest\""),
        ("'user_events', 'events', id_type => 'uuid'", "22023", "invalid value for argument \"id_type\": \"uuid\""),
        ("'user_events', 'events', on_missing => NULL", "22004", "argument \"on_missing\" must not be NULL"),
        ("'user_events', 'events', place => ''", "22023", "invalid value for argument \"place\": \"\""),
        ("'user_events', 'events', id_key => NULL", "22004", "argument \"id_key\" must not be NULL"),
    ] {
        let failure = fails(&s, &format!("CALL eventkit.dedupe_table({arguments})"));
        assert_eq!(
            (failure.sqlstate.as_str(), failure.message.replace("public.", "").as_str()),
            (sqlstate, message),
            "{arguments}"
        );
        if arguments != "'absent', 'events'" {
            assert!(failure.detail.is_some() && failure.hint.is_some(), "{arguments}: {failure}");
        }
    }
}

#[test]
fn a_row_that_cannot_be_read_is_named_and_those_before_stay_done() {
    let (_db, s) = open(
        r#"CREATE TABLE docs (n int, events jsonb); INSERT INTO docs SELECT n, '[{"event_id": 1}, {"event_id": 1}]' FROM generate_series(1, 100) n;
           UPDATE docs SET events = '{"event_id": 1}' WHERE n = 77"#,
    );
    let call = "CALL eventkit.dedupe_table('docs', 'events', batch_rows => 10)";
    let failure = fails(&s, call);
    assert_eq!(failure.sqlstate, "22039", "{failure}");
    assert!(
        number(&s, "SELECT count(*) FROM docs WHERE jsonb_typeof(events) = 'array' AND jsonb_array_length(events) = 1")
            > 60
    );
    // When the row is corrected, the next call goes on.
    s.query("UPDATE docs SET events = jsonb_build_array(events) WHERE jsonb_typeof(events) = 'object'").unwrap();
    s.query(call).unwrap();
    assert_eq!(number(&s, "SELECT count(*) FROM docs WHERE jsonb_array_length(events) <> 1"), 0);
}

#[test]
fn a_dropped_table_leaves_no_obstacle() {
    let (db, s) = open(TABLE);
    let (holder, caller) = stopped(&db);
    caller.cancel().unwrap();
    let _ = caller.join();
    holder.query("COMMIT").unwrap();
    s.query("DROP TABLE user_events").unwrap();
    s.query(TABLE).unwrap();
    s.query(CALL).unwrap();
    assert_eq!(number(&s, LEFT), 0);
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.dedupe_progress WHERE relation = 'user_events'::regclass"), 0);
}

/// Waits for a minute and a half: the scheduler starts jobs at the full minute.
fn job_done(s: &Session) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while number(s, LEFT) > 0 || number(s, "SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'") == 0
    {
        let runs = || lines(s, "SELECT status, return_message FROM cron.job_run_details").join("\n");
        assert!(Instant::now() < deadline, "the job is not done: {}", runs());
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The scheduler is Debian's package, so this is for the version that Debian has.
#[test]
fn the_scheduler_runs_it() {
    if PgVersion::under_test().unwrap() != PgVersion::V15 {
        return;
    }
    let started: Vec<_> = ["off", "on"]
        .map(|workers| {
            let cluster = ClusterBuilder::new(PgVersion::V15)
                .setting("shared_preload_libraries = 'pg_cron'")
                .setting("cron.database_name = 'jobs'")
                .setting("max_worker_processes = 20")
                .setting(format!("cron.use_background_workers = {workers}"))
                .start()
                .unwrap();
            // Through the socket, which has a place only now.
            let host = format!("ALTER SYSTEM SET cron.host = '{}'", cluster.host().display());
            cluster.connect("postgres").unwrap().batch_execute(&host).unwrap();
            cluster.create_database("jobs").unwrap();
            cluster.restart().unwrap();
            cluster.create_extension("jobs").unwrap();
            cluster
        })
        .into();
    let sessions: Vec<_> = started.iter().map(|cluster| Session::open(cluster, "jobs", "main").unwrap()).collect();
    for s in &sessions {
        s.query("CREATE EXTENSION pg_cron").unwrap();
        s.query(TABLE).unwrap();
        s.query(&format!("SELECT cron.schedule('dedupe', '* * * * *', $${CALL}$$)")).unwrap();
    }
    for s in &sessions {
        job_done(s);
        complete(s);
    }
}

#[test]
fn the_row_that_cannot_be_read_is_named() {
    let (_db, s) = open(
        "CREATE TABLE named AS SELECT n, ARRAY[jsonb_build_object('event_id', 1, 'n', 1), jsonb_build_object('event_id', CASE n WHEN 150 THEN 'x' ELSE '1' END)] AS events
         FROM generate_series(1, 250) AS n",
    );
    let call = "CALL eventkit.dedupe_table('named', 'events', id_type => 'bigint', batch_rows => 100)";
    let failure = fails(&s, call);
    let row = value(&s, "SELECT ctid FROM named WHERE n = 150");
    assert_eq!(failure.sqlstate, "22P02", "{failure}");
    assert!(failure.message.starts_with("element 2 of argument \"events\": "), "{failure}");
    let wanted =
        format!("every id is read as a whole number of 64 bits. It is in the row of named with the ctid {row}.");
    assert!(failure.detail.as_deref().unwrap().ends_with(&wanted), "{failure}");
    assert!(failure.hint.as_deref().unwrap().contains("id_type => 'text'"), "{failure}");
    // The batch before it stays done, and the next call goes on behind it.
    let done = "SELECT count(*) FILTER (WHERE cardinality(events) = 1) FROM named";
    assert_eq!(value(&s, done), "100");
    s.query("UPDATE named SET events = '{}' WHERE n = 150").unwrap();
    s.query(call).unwrap();
    assert_eq!(value(&s, done), "249");
    // An error that no value is to blame for is told as it is.
    s.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '22000', MESSAGE = 'not today'; END $$;
         UPDATE named SET events = events || events;
         CREATE TRIGGER refuse BEFORE UPDATE ON named FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    .unwrap();
    let failure = fails(&s, call);
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str(), failure.detail), ("22000", "not today", None));
}
