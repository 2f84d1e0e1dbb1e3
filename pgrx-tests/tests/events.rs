//! The functions over event arrays as their users meet them: ingest, plans, settings, the server's own operators, limits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use std::time::{Duration, Instant};

use common::{FORMS, cases, fails, lines, none_differs, number, open, oracle, value};
use eventkit_tests::{Session, wait};

/// An event array of one form, from its JSON.
fn array(form: &str, json: &str) -> String {
    match form {
        "jsonb" => format!("'{json}'::jsonb"),
        "jsonb[]" => format!("ARRAY(SELECT jsonb_array_elements('{json}'))"),
        _ => format!(
            "ARRAY(SELECT (SELECT hstore(array_agg(key), array_agg(value)) FROM jsonb_each_text(e)) FROM jsonb_array_elements('{json}') e)"
        ),
    }
}

/// One letter for each event of an array, the value of its key `n`.
fn letters(s: &Session, form: &str, events: &str) -> String {
    let (from, event) = if form == "jsonb" { ("jsonb_array_elements", "v ->> 'n'") } else { ("unnest", "v -> 'n'") };
    let event = if form == "jsonb[]" { "v ->> 'n'" } else { event };
    value(
        s,
        &format!(
            "SELECT string_agg(coalesce({event}, '-'), '' ORDER BY o) FROM {from}({events}) WITH ORDINALITY AS u (v, o)"
        ),
    )
}

const COPIES: &str = r#"[{"event_id": 1, "n": "a"}, {"event_id": 2, "n": "b"}, {"n": "c"}, {"event_id": "1", "n": "d"}, {"n": "e"}, {"event_id": 3, "n": "f"}]"#;

#[test]
fn each_option_does_what_it_says() {
    let (_db, s) = open("");
    for (_, form, _) in FORMS {
        let events = array(form, COPIES);
        for (options, kept) in [
            ("", "bcdef"),
            (", keep => 'first'", "abcef"),
            (", place => 'first'", "dbcef"),
            (", keep => 'first', place => 'first'", "abcef"),
            (", on_missing => 'collapse'", "bdef"),
            (", on_missing => 'collapse', keep => 'first'", "abcf"),
            (", on_missing => 'collapse', place => 'first'", "dbef"),
            (", id_type => 'bigint'", "bcdef"),
            (", id_key => 'n'", "abcdef"),
            (", id_key => 'absent'", "abcdef"),
            (", id_key => 'absent', on_missing => 'collapse'", "f"),
        ] {
            let call = format!("eventkit.dedupe_events({events}{options})");
            assert_eq!(letters(&s, form, &call), kept, "{form}{options}");
        }
        let padded =
            array(form, r#"[{"event_id": "1", "n": "a"}, {"event_id": "01", "n": "b"}, {"event_id": "1", "n": "c"}]"#);
        assert_eq!(letters(&s, form, &format!("eventkit.dedupe_events({padded})")), "bc");
        assert_eq!(letters(&s, form, &format!("eventkit.dedupe_events({padded}, id_type => 'bigint')")), "c");
    }
}

#[test]
fn null_gives_null_and_empty_gives_empty() {
    let (_db, s) = open("");
    for (_, form, event) in FORMS {
        let empty = if form == "jsonb" { "[]" } else { "{}" };
        for (call, of_empty) in [
            ("dedupe_events(E)", empty),
            ("append_events(E, E)", empty),
            ("append_events(E, NULL)", empty),
            ("append_events(NULL, E)", empty),
            ("sort_events(E)", empty),
            ("slice_events(E)", empty),
            (&format!("filter_events(E, ''::{event})").replace("''::jsonb", "'{}'::jsonb"), empty),
            ("count_events(E)", "0"),
        ] {
            let with = |e: &str| format!("SELECT eventkit.{}", call.replace('E', &format!("{e}::{form}")));
            assert_eq!(value(&s, &with("NULL")), "NULL", "{call} of {form}");
            assert_eq!(value(&s, &with(&format!("'{empty}'"))), of_empty, "{call} of {form}");
        }
    }
}

#[test]
fn the_result_starts_at_one_also_when_nothing_is_dropped() {
    let (_db, s) = open("");
    for call in
        ["dedupe_events(E)", "sort_events(E)", "append_events(E, NULL)", "slice_events(E)", "filter_events(E, '{}')"]
    {
        let jsonb = call
            .replace('E', r#"'[5:6]={"{\"event_id\": 1, \"time\": 1}","{\"event_id\": 2, \"time\": 2}"}'::jsonb[]"#);
        assert_eq!(value(&s, &format!("SELECT array_dims(eventkit.{jsonb})")), "[1:2]", "{call}");
        let hstore = call
            .replace('E', r#"'[-3:-2]={"event_id=>1,time=>1","event_id=>2,time=>2"}'::hstore[]"#)
            .replace("'{}'", "''");
        assert_eq!(value(&s, &format!("SELECT array_dims(eventkit.{hstore})")), "[1:2]", "{call}");
    }
}

#[test]
fn the_ingest_statement_folds_new_events_in() {
    let (_db, s) = open("CREATE TABLE user_events (user_id text PRIMARY KEY, events jsonb[] NOT NULL)");
    let ingest = |user: &str, events: &str| {
        s.query(&format!(
            "INSERT INTO user_events AS t VALUES ('{user}', ARRAY(SELECT jsonb_array_elements('{events}'))) \
             ON CONFLICT (user_id) DO UPDATE SET events = eventkit.append_events(t.events, EXCLUDED.events)"
        ))
        .unwrap();
    };
    let stored =
        |user: &str| letters(&s, "jsonb[]", &format!("(SELECT events FROM user_events WHERE user_id = '{user}')"));
    ingest("a", r#"[{"event_id": 1, "time": 10, "n": "a"}, {"event_id": 2, "time": 30, "n": "b"}]"#);
    ingest("a", r#"[{"event_id": 3, "time": 20, "n": "c"}, {"event_id": 2, "time": 30, "n": "d"}]"#);
    assert_eq!(stored("a"), "acd");
    ingest("a", r#"[{"event_id": 3, "time": 20, "n": "c"}, {"event_id": 2, "time": 30, "n": "d"}]"#);
    assert_eq!(stored("a"), "acd", "the same batch again changes nothing");
    // A corrected event of another time moves there.
    ingest("a", r#"[{"event_id": 1, "time": 40, "n": "e"}]"#);
    assert_eq!(stored("a"), "cde");
    ingest("b", r#"[{"event_id": 1, "time": 1, "n": "x"}]"#);
    assert_eq!((stored("a"), stored("b")), ("cde".to_owned(), "x".to_owned()));
}

const INGEST: &str = "INSERT INTO user_events AS t VALUES ('u', ARRAY[jsonb_build_object('event_id', {id}, 'time', {time}, 'by', '{by}')]) \
     ON CONFLICT (user_id) DO UPDATE SET events = eventkit.append_events(t.events, EXCLUDED.events)";

fn ingest(id: i32, time: i32, by: &str) -> String {
    INGEST.replace("{id}", &id.to_string()).replace("{time}", &time.to_string()).replace("{by}", by)
}

#[test]
fn two_sessions_that_ingest_one_user_lose_nothing() {
    let (db, s) = open("CREATE TABLE user_events (user_id text PRIMARY KEY, events jsonb[] NOT NULL)");
    let (one, two) = (db.session("one").unwrap(), db.session("two").unwrap());
    // The first insert of a user, seen by neither yet.
    one.query(&format!("BEGIN; {}", ingest(1, 1, "one"))).unwrap();
    two.run(&ingest(2, 2, "two"));
    wait::until_blocked(db.cluster, &two).unwrap();
    one.query("COMMIT").unwrap();
    two.join().unwrap();
    // An update that waits for another's.
    one.query(&format!("BEGIN; {}", ingest(3, 3, "one"))).unwrap();
    two.run(&ingest(4, 4, "two"));
    wait::until_blocked(db.cluster, &two).unwrap();
    one.query("COMMIT").unwrap();
    two.join().unwrap();
    assert_eq!(value(&s, "SELECT string_agg(e ->> 'event_id', ' ') FROM user_events, unnest(events) e"), "1 2 3 4");
    // Both at once, every tenth event from both.
    for batch in 0..60 {
        one.run(&ingest(100 + batch * 2, batch, "one"));
        two.run(&ingest(if batch % 10 == 0 { 100 + batch * 2 } else { 101 + batch * 2 }, batch, "two"));
    }
    for _ in 0..60 {
        one.join().unwrap();
        two.join().unwrap();
    }
    assert_eq!(number(&s, "SELECT cardinality(events) FROM user_events"), 4 + 60 + 54);
    assert_eq!(number(&s, "SELECT count(DISTINCT e -> 'event_id') FROM user_events, unnest(events) e"), 4 + 60 + 54);
    let sorted = "SELECT events = eventkit.sort_events(events) FROM user_events";
    assert_eq!(value(&s, sorted), "t");
}

#[test]
fn settings_of_the_session_do_not_matter() {
    let (_db, s) = open(&(oracle() + &cases(common::ANY_IDS, 60)));
    let ask = |s: &Session| {
        lines(
            s,
            "SELECT md5(string_agg(concat(eventkit.sort_events(h), eventkit.sort_events(j), eventkit.sort_events(d), \
                 eventkit.append_events(h, h), eventkit.append_events(d, d), \
                 eventkit.slice_events(h, to_timestamp(1704067200), to_timestamp(1704067200.3)), eventkit.slice_events(j, to_timestamp(0)), \
                 eventkit.dedupe_events(d)), ';' ORDER BY n)), sum(cardinality(eventkit.slice_events(h, to_timestamp(1704067200)))) FROM cases",
        )
    };
    let usual = ask(&s);
    for settings in [
        "SET timezone = 'Pacific/Kiritimati'; SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard'",
        "SET timezone = 'America/St_Johns'; SET datestyle = 'German'; SET intervalstyle = 'iso_8601'",
        "SET timezone = 'Europe/Dublin'; SET extra_float_digits = -15; SET bytea_output = 'escape'",
        "SET lc_numeric = 'C'; SET lc_time = 'C'; SET search_path = ''",
    ] {
        let after = if settings.contains("search_path") { "SET search_path = public" } else { "" };
        s.query(settings).unwrap();
        s.query(after).unwrap();
        assert_eq!(ask(&s), usual, "{settings}");
        s.query("RESET ALL").unwrap();
    }
    // Without a search_path the functions still find all they need.
    s.query("SET search_path = ''").unwrap();
    let bare = r#"SELECT eventkit.append_events('[{"event_id": 1, "time": "2024-01-01 00:00"}]'::pg_catalog.jsonb, '[{"event_id": 1, "time": 1}]')"#;
    assert_eq!(value(&s, bare), r#"[{"time": 1, "event_id": 1}]"#);
}

#[test]
fn functions_are_immutable_enough_for_indexes_and_generated_columns() {
    let (_db, s) = open(
        "CREATE TABLE user_events (user_id int, events jsonb[], \
             clean jsonb[] GENERATED ALWAYS AS (eventkit.dedupe_events(events)) STORED, CHECK (eventkit.count_events(events) < 10)); \
         CREATE INDEX ON user_events (cardinality(eventkit.dedupe_events(events)))",
    );
    s.query(
        r#"INSERT INTO user_events VALUES (1, ARRAY['{"event_id": 1, "n": 1}', '{"event_id": 1, "n": 2}']::jsonb[])"#,
    )
    .unwrap();
    assert_eq!(value(&s, "SELECT clean FROM user_events"), r#"{"{\"n\": 2, \"event_id\": 1}"}"#);
    let failure = fails(&s, "INSERT INTO user_events VALUES (2, array_fill('{}'::jsonb, '{10}'))");
    assert_eq!(failure.sqlstate, "23514");
}

const ROWS: &str = "CREATE TABLE raw_events AS SELECT i, i % 40 AS user_id, hstore(ARRAY['event_id', (i / 120)::text, 'time', (i / 120)::text, 'p', repeat('x', i / 120 % 9)]) AS h, \
     jsonb_build_object('event_id', i / 120, 'time', i / 120, 'p', repeat('x', i / 120 % 9)) AS j FROM generate_series(0, 23999) i; ANALYZE raw_events;";

#[test]
fn a_parallel_plan_gathers_the_same_events() {
    let (_db, s) = open(ROWS);
    let forms = [("h", "h"), ("j", "j"), ("ARRAY[h]", "h"), ("ARRAY[j]", "j"), ("jsonb_build_array(j)", "j")];
    for (input, _) in forms {
        for keys in ["", ", 'event_id', 'time'"] {
            let query = format!(
                "SELECT user_id, eventkit.event_array_agg({input}{keys}) AS events FROM raw_events GROUP BY user_id"
            );
            s.query("SET max_parallel_workers_per_gather = 0").unwrap();
            s.query(&format!("CREATE TEMP TABLE alone AS {query}")).unwrap();
            s.query("SET max_parallel_workers_per_gather = 3; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off").unwrap();
            let plan = lines(&s, &format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {query}")).join("\n");
            assert!(plan.contains("Partial ") && plan.contains("Finalize "), "{plan}");
            assert!(plan.contains("Workers Launched: ") && !plan.contains("Workers Launched: 0"), "{plan}");
            s.query(&format!("CREATE TEMP TABLE together AS {query}")).unwrap();
            none_differs(
                &s,
                40,
                "SELECT count(*), count(*) FILTER (WHERE alone.events IS DISTINCT FROM together.events), min(user_id) FILTER (WHERE alone.events IS DISTINCT FROM together.events) FROM alone FULL JOIN together USING (user_id)",
            );
            assert_eq!(value(&s, "SELECT string_agg(DISTINCT cardinality(events)::text, ' ') FROM together"), "200");
            s.query("DROP TABLE alone, together; RESET ALL").unwrap();
        }
    }
    // One group over all, with nothing but NULLs for some of the workers.
    s.query("SET max_parallel_workers_per_gather = 3; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0").unwrap();
    let few = "SELECT eventkit.event_array_agg(CASE WHEN i < 120 THEN j END) FROM raw_events";
    assert!(lines(&s, &format!("EXPLAIN (COSTS OFF) {few}")).join("\n").contains("Partial Aggregate"));
    assert_eq!(value(&s, &few.replace("eventkit", "cardinality(eventkit").replace("END)", "END))")), "1");
    let none = "SELECT eventkit.event_array_agg(CASE WHEN i < 0 THEN j END) FROM raw_events";
    assert_eq!(value(&s, none), "NULL");
}

#[test]
fn many_groups_are_gathered_apart() {
    let (_db, s) = open(ROWS);
    let groups = "FROM (SELECT i / 3 AS g, eventkit.event_array_agg(j) AS j, eventkit.event_array_agg(h) AS h FROM raw_events GROUP BY i / 3) AS gathered";
    for hash in ["on", "off"] {
        s.query(&format!("SET enable_hashagg = {hash}")).unwrap();
        assert_eq!(
            number(&s, &format!("SELECT count(*) {groups} WHERE cardinality(j) = 1 AND cardinality(h) = 1")),
            8000
        );
        assert_eq!(number(&s, &format!("SELECT count(*) {groups} WHERE (j[1] ->> 'event_id')::int = g / 40")), 8000);
    }
    // More groups than the memory holds: spilled and read again.
    s.query("SET enable_hashagg = on; SET work_mem = '64kB'; SET hash_mem_multiplier = 1; SET enable_sort = off")
        .unwrap();
    assert_eq!(number(&s, &format!("SELECT count(*) {groups} WHERE (h[1] -> 'event_id')::int = g / 40")), 8000);
    s.query("RESET ALL").unwrap();
    // Grouping sets and filters.
    let sets = "SELECT string_agg(format('%s:%s', user_id, cardinality(e)), ' ' ORDER BY user_id) FROM \
        (SELECT user_id, eventkit.event_array_agg(j) FILTER (WHERE i < 1200) AS e FROM raw_events WHERE user_id < 3 GROUP BY ROLLUP (user_id)) AS sets";
    assert_eq!(value(&s, sets), "0:10 1:10 2:10 :10");
}

#[test]
fn as_a_window_function_it_grows_and_shrinks_with_the_frame() {
    let (_db, s) = open("");
    let rows = r#"(VALUES (1, '{"event_id": 1, "time": 1, "n": "a"}'::jsonb), (2, '{"event_id": 2, "time": 3, "n": "b"}'), (3, NULL),
                   (4, '{"event_id": 1, "time": 1, "n": "c"}'), (5, '{"event_id": 3, "time": 2, "n": "d"}')) AS t (i, e)"#;
    let each = |window: &str| {
        let sql = format!(
            "SELECT coalesce((SELECT string_agg(v ->> 'n', '' ORDER BY o) FROM unnest(events) WITH ORDINALITY u (v, o)), '-') \
             FROM (SELECT i, eventkit.event_array_agg(e) OVER ({window}) AS events FROM {rows}) AS windows ORDER BY i"
        );
        lines(&s, &sql).join(" ")
    };
    assert_eq!(each("ORDER BY i"), "a ab ab cb cdb");
    assert_eq!(each("ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW"), "a ab b c cd");
    assert_eq!(each("PARTITION BY i % 2 ORDER BY i"), "a b a cb ad");
    assert_eq!(each(""), "cdb cdb cdb cdb cdb");
}

/// The largest resident size that a process has had, in MB.
fn peak(pid: i32) -> i64 {
    status(pid, "VmHWM:")
}

fn status(pid: i32, field: &str) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() / 1024
}

#[test]
fn copies_that_lose_do_not_stay_in_the_memory_of_a_group() {
    let (_db, s) = open("");
    let before = peak(s.pid());
    // 200,000 events of 1 KB in one group, nine of ten a copy of another: 200 MB go in, 20 MB stay.
    let gathered = "SELECT cardinality(eventkit.event_array_agg(jsonb_build_object('event_id', i % 20000, 'time', i, 'p', repeat('x', 1000)))) FROM generate_series(1, 200000) i";
    assert_eq!(number(&s, gathered), 20000);
    let grown = peak(s.pid()) - before;
    assert!(grown < 200, "{grown} MB");
}

#[test]
fn jsonb_results_are_what_the_server_would_have_built() {
    let (_db, s) = open(&(oracle() + &cases(common::ANY_IDS, 250)));
    s.query("CREATE TABLE wide AS SELECT len AS n, (SELECT jsonb_agg(CASE WHEN i % 11 = 0 THEN NULL ELSE jsonb_build_object('event_id', i % (len / 2 + 1), 'time', -i, 'p', repeat('x', i % 7)) END ORDER BY i) FROM generate_series(1, len) i) AS d \
             FROM (VALUES (1), (2), (31), (32), (33), (34), (63), (64), (65), (66), (96), (97), (128), (129), (200), (500)) AS sizes (len)").unwrap();
    for table in ["cases", "wide"] {
        for call in [
            "eventkit.dedupe_events(d)",
            "eventkit.dedupe_events(d, keep => 'first', place => 'first', on_missing => 'collapse')",
            "eventkit.append_events(d, d)",
            "eventkit.sort_events(d)",
            "eventkit.slice_events(d, '-infinity')",
            "eventkit.filter_events(d, '{\"p\": \"xxx\"}')",
        ] {
            // Byte for byte in the wire form and in size; equal by the operator, the hash and the ordering.
            none_differs(
                &s,
                16,
                &format!(
                    "SELECT count(*), count(*) FILTER (WHERE NOT same), min(format('row %s: %s', n, got)) FILTER (WHERE NOT same) \
                     FROM (SELECT n, got, got = built AND got::text = built::text AND jsonb_hash(got) = jsonb_hash(built) AND jsonb_cmp(got, built) = 0 \
                               AND got @> built AND built @> got AND pg_column_size(got || '[]') = pg_column_size(built || '[]') \
                               AND jsonb_array_length(got) = (SELECT count(*) FROM jsonb_array_elements(got)) \
                               AND (SELECT coalesce(bool_and(e.v = got -> (e.o - 1)::int), true) FROM jsonb_array_elements(built) WITH ORDINALITY e (v, o)) AS same \
                           FROM {table}, LATERAL (SELECT {call} AS got) g, LATERAL (SELECT got::text::jsonb AS built) b WHERE d IS NOT NULL) AS compared"
                ),
            );
        }
    }
    // Reached by paths and by an index.
    s.query("CREATE TABLE clean AS SELECT n, eventkit.dedupe_events(d) AS d FROM wide; CREATE INDEX clean_gin ON clean USING gin (d); CREATE INDEX clean_paths ON clean USING gin (d jsonb_path_ops); CREATE UNIQUE INDEX ON clean USING btree (md5(d::text)); SET enable_seqscan = off").unwrap();
    let by_index =
        "SELECT string_agg(n::text, ' ' ORDER BY n) FROM clean WHERE d @> '[{\"p\": \"xxxxxx\", \"event_id\": 20}]'";
    assert!(lines(&s, &format!("EXPLAIN {by_index}")).join("\n").contains("Bitmap Index Scan on clean_"));
    let found = value(&s, by_index);
    s.query("RESET enable_seqscan; DROP INDEX clean_gin, clean_paths").unwrap();
    assert_eq!(found, value(&s, by_index));
    assert_eq!(found, "96 97 200");
    assert_eq!(
        value(&s, "SELECT jsonb_path_query_array(d, '$[*].event_id ? (@ == 3)') FROM clean WHERE n = 500"),
        "[3]"
    );
}

#[test]
fn jsonb_element_results_hash_sort_and_contain_as_their_sources() {
    let (_db, s) = open(&(oracle() + &cases(common::ANY_IDS, 100)));
    none_differs(
        &s,
        800,
        "SELECT count(*), count(*) FILTER (WHERE NOT same), min(format('row %s', n)) FILTER (WHERE NOT same) FROM ( \
             SELECT c.n, v IS NULL OR (v = v::text::jsonb AND jsonb_hash(v) = jsonb_hash(v::text::jsonb) AND v || '{\"new\": 1}' @> v AND pg_column_size(v || '{}') = pg_column_size(v::text::jsonb || '{}')) AS same \
             FROM cases c, unnest(eventkit.append_events(j, j, on_missing => 'collapse')) AS v) AS compared",
    );
}

#[test]
fn hstore_results_are_what_the_server_would_have_built() {
    let (_db, s) = open(&(oracle() + &cases(common::ANY_IDS, 250)));
    none_differs(
        &s,
        2000,
        "SELECT count(*), count(*) FILTER (WHERE NOT same), min(format('row %s: %s', n, v)) FILTER (WHERE NOT same) FROM ( \
             SELECT c.n, v, v IS NULL OR (v = built AND hstore_hash(v) = hstore_hash(built) AND hstore_cmp(v, built) = 0 AND v @> built AND v::text = built::text \
                 AND pg_column_size(v || '') = pg_column_size(built || '') AND hstore_send(v) = hstore_send(built) AND akeys(v) = akeys(built)) AS same \
             FROM cases c, unnest(eventkit.dedupe_events(h, place => 'first')) AS v, LATERAL (SELECT v::text::hstore AS built) b) AS compared",
    );
    s.query("CREATE TABLE kept AS SELECT DISTINCT v FROM cases, unnest(eventkit.sort_events(h)) v WHERE v IS NOT NULL; \
             CREATE INDEX ON kept USING gin (v); CREATE INDEX ON kept USING gist (v); CREATE UNIQUE INDEX ON kept (v); CREATE INDEX ON kept USING hash (v)").unwrap();
    assert_eq!(
        number(&s, "SELECT count(*) FROM kept"),
        number(&s, "SELECT count(DISTINCT v::text) FROM cases, unnest(h) v WHERE v IS NOT NULL")
    );
}

#[test]
fn results_are_stored_toasted_dumped_and_restored() {
    let (db, s) = open(
        "CREATE TABLE made (n int, h hstore[], j jsonb[], d jsonb); ALTER TABLE made ALTER j SET STORAGE EXTERNAL; \
         INSERT INTO made SELECT len, eventkit.dedupe_events(h), eventkit.sort_events(eventkit.dedupe_events(j)), eventkit.dedupe_events(to_jsonb(j)) FROM (VALUES (1), (50), (4000)) AS sizes (len), \
             LATERAL (SELECT array_agg(hstore(ARRAY['event_id', (i % (len - len / 10))::text, 'p', md5(i::text)]) ORDER BY i) AS h, \
                             array_agg(jsonb_build_object('event_id', i % (len - len / 10), 'time', -i, 'p', md5(i::text)) ORDER BY i) AS j FROM generate_series(1, len) i) AS events",
    );
    assert_eq!(
        value(
            &s,
            "SELECT string_agg(cardinality(h) || '/' || cardinality(j) || '/' || jsonb_array_length(d), ' ' ORDER BY n) FROM made"
        ),
        "1/1/1 45/45/45 3600/3600/3600"
    );
    assert_eq!(
        value(&s, "SELECT pg_relation_size(reltoastrelid) > 100000 FROM pg_class WHERE oid = 'made'::regclass"),
        "t"
    );
    let content = "SELECT md5(string_agg(made::text, ';' ORDER BY n)) FROM made";
    let expected = value(&s, content);
    s.query("VACUUM FULL made").unwrap();
    assert_eq!(value(&s, content), expected);
    for format in ["c", "p"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let dump = db
            .cluster
            .client_program("pg_dump")
            .args(["-F", format, "-d", &db.name, "-f"])
            .arg(file.path())
            .output()
            .unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let restored = eventkit_tests::shared::empty_database().unwrap();
        let restore = if format == "c" {
            db.cluster
                .client_program("pg_restore")
                .args(["--exit-on-error", "-d", &restored.name])
                .arg(file.path())
                .output()
                .unwrap()
        } else {
            db.cluster.psql(&restored.name, ["-q", "-f", &file.path().display().to_string()]).unwrap()
        };
        assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
        assert_eq!(value(&restored.session("restored").unwrap(), content), expected);
    }
    // The binary form of a copy out and in.
    s.query("CREATE TABLE copied (LIKE made)").unwrap();
    let file = db.cluster.data().join("made.copy");
    s.query(&format!("COPY made TO '{}' (FORMAT binary)", file.display())).unwrap();
    s.query(&format!("COPY copied FROM '{}' (FORMAT binary)", file.display())).unwrap();
    assert_eq!(value(&s, &content.replace("made", "copied")), expected);
}

/// A table `many (h, j, d)` with one row of a million events each, a tenth of them copies; stored uncompressed.
const MILLION: &str = "CREATE TABLE many (h hstore[], j jsonb[], d jsonb); ALTER TABLE many ALTER h SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL, ALTER d SET STORAGE EXTERNAL; \
     INSERT INTO many SELECT array_agg(hstore(ARRAY['event_id', (i % 900000)::text, 'time', (i * 7919::bigint % 1000000)::text, 'n', i::text]) ORDER BY i), \
         array_agg(jsonb_build_object('event_id', i % 900000, 'time', i * 7919::bigint % 1000000, 'n', i) ORDER BY i), NULL FROM generate_series(0, 999999) i; \
     UPDATE many SET d = to_jsonb(j)";

#[test]
fn a_million_events_are_right_and_can_be_stopped_at_any_moment() {
    let (db, s) = open(MILLION);
    let right = |call: &str, value_of: &str, elements: &str| {
        let sql = format!(
            "SELECT count(*) || ' ' || min(({value_of})::int) || ' ' || sum(({value_of})::bigint) FROM many, {elements}({call}) v"
        );
        value(&s, &sql)
    };
    // The copies of 0 to 99,999 are 900,000 to 999,999.
    let want = format!("900000 100000 {}", (100_000_i64..1_000_000).sum::<i64>());
    assert_eq!(right("eventkit.dedupe_events(h)", "v -> 'n'", "unnest"), want);
    assert_eq!(right("eventkit.dedupe_events(j, id_type => 'bigint')", "v ->> 'n'", "unnest"), want);
    assert_eq!(right("eventkit.dedupe_events(d, place => 'first')", "v ->> 'n'", "jsonb_array_elements"), want);
    assert_eq!(right("eventkit.append_events(j, j)", "v ->> 'n'", "unnest"), want);
    assert_eq!(number(&s, "SELECT eventkit.count_events(h) FROM many"), 1_000_000);

    for call in [
        "cardinality(eventkit.dedupe_events(h))",
        "cardinality(eventkit.dedupe_events(j, place => 'first'))",
        "jsonb_array_length(eventkit.dedupe_events(d))",
        "cardinality(eventkit.sort_events(j))",
        "jsonb_array_length(eventkit.append_events(d, '[]'))",
        "eventkit.count_events(j, '{\"n\": 5}')",
    ] {
        let sql = format!("SELECT {call} FROM many");
        let began = Instant::now();
        s.query(&sql).unwrap();
        let whole = began.elapsed();
        let mut stopped = 0;
        // At 50 ms and, in steps, at every stage that the call has.
        let mut at = Duration::from_millis(50);
        while at < whole {
            s.query(&format!("SET statement_timeout = '{}ms'", at.as_millis())).unwrap();
            let began = Instant::now();
            let ended = s.query(&sql);
            let over = began.elapsed().saturating_sub(at);
            s.query("RESET statement_timeout").unwrap();
            if let Err(failure) = ended {
                assert_eq!(failure.sqlstate, "57014", "{failure}");
                stopped += 1;
                // Wide: it is the server's cores that a busy machine lacks. A loop that never looks would run to its end.
                let most = Duration::from_secs(2) + whole / 2;
                assert!(over < most, "{call} stopped {over:?} after the timeout of {at:?}; whole: {whole:?}");
            }
            at += (whole / 3).max(Duration::from_millis(40));
        }
        assert!(stopped > 0 || whole < Duration::from_millis(60), "{call} was never stopped in {whole:?}");
    }

    // A cancel request, while it runs in a loop.
    let busy = db.session("busy").unwrap();
    busy.run("SELECT sum(cardinality(eventkit.dedupe_events(h))) FROM many, generate_series(1, 100)");
    wait::until(
        db.cluster,
        "postgres",
        &format!("EXISTS (SELECT FROM pg_stat_activity WHERE pid = {} AND state = 'active')", busy.pid()),
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    assert_eq!(value(&s, &format!("SELECT pg_cancel_backend({})", busy.pid())), "t");
    assert_eq!(busy.join().unwrap_err().sqlstate, "57014");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(busy.value("SELECT 1").unwrap().as_deref(), Some("1"));
}

#[test]
fn memory_of_a_call_is_freed_when_it_ends() {
    let (_db, s) = open(
        "CREATE TABLE many AS SELECT array_agg(hstore('event_id', (i % 90000)::text) || hstore('time', (-i)::text) ORDER BY i) AS h, \
             array_agg(jsonb_build_object('event_id', i % 90000, 'time', -i) ORDER BY i) AS j FROM generate_series(1, 100000) i; ALTER TABLE many ADD d jsonb; UPDATE many SET d = to_jsonb(j)",
    );
    let contexts = "SELECT sum(total_bytes) / 1024 / 1024 FROM pg_backend_memory_contexts";
    for call in [
        "cardinality(eventkit.dedupe_events(h))",
        "cardinality(eventkit.append_events(j, j[1:100]))",
        "jsonb_array_length(eventkit.sort_events(d))",
        "eventkit.count_events(j, '{\"event_id\": 7}')",
        "cardinality(eventkit.filter_events(h, 'event_id=>7'))",
    ] {
        let call = |times: i32| number(&s, &format!("SELECT count({call}) FROM many, generate_series(1, {times})"));
        call(2);
        let (before, resident, highest) = (value(&s, contexts), status(s.pid(), "VmRSS:"), peak(s.pid()));
        assert_eq!(call(6), 6);
        let after: f64 = value(&s, contexts).parse().unwrap();
        assert!(after - before.parse::<f64>().unwrap() < 8.0, "contexts grew from {before} to {after} MB");
        let (now, top) = (status(s.pid(), "VmRSS:") - resident, peak(s.pid()) - highest);
        assert!(now < 32 && top < 48, "resident memory grew by {now} MB, its peak by {top} MB");
    }
    // Two hundred calls of their own, errors among them: what a failed call held is gone as well.
    let before = (value(&s, contexts), status(s.pid(), "VmRSS:"));
    for turn in 0..200 {
        let sql = if turn % 2 == 0 {
            "SELECT cardinality(eventkit.dedupe_events(h)) FROM many"
        } else {
            "SELECT eventkit.dedupe_events(array_append(h, 'a=>1'), on_missing => 'error') FROM many"
        };
        assert_eq!(s.query(sql).is_err(), turn % 2 == 1);
    }
    let grown = value(&s, contexts).parse::<f64>().unwrap() - before.0.parse::<f64>().unwrap();
    assert!(grown < 8.0, "contexts grew by {grown} MB");
    let resident = status(s.pid(), "VmRSS:") - before.1;
    assert!(resident < 48, "resident memory grew by {resident} MB");
}

#[test]
fn ids_of_a_megabyte_are_ids() {
    let (_db, s) = open("");
    for (_, form, _) in FORMS {
        let make = match form {
            "hstore[]" => {
                "array_agg(hstore('event_id', repeat('x', 1000000) || i % 3) || hstore('n', i::text) ORDER BY i)"
            }
            "jsonb[]" => "array_agg(jsonb_build_object('event_id', repeat('x', 1000000) || i % 3, 'n', i) ORDER BY i)",
            _ => {
                "jsonb_agg(jsonb_build_object('event_id', jsonb_build_array(repeat('x', 1000000), i % 3), 'n', i) ORDER BY i)"
            }
        };
        let events = format!("(SELECT {make} FROM generate_series(1, 9) i)");
        assert_eq!(letters(&s, form, &format!("eventkit.dedupe_events({events})")), "789", "{form}");
        assert_eq!(letters(&s, form, &format!("eventkit.dedupe_events({events}, keep => 'first')")), "123", "{form}");
    }
    let failure = fails(
        &s,
        "SELECT eventkit.dedupe_events(ARRAY[hstore('event_id', repeat('x', 1000000))], id_type => 'bigint')",
    );
    assert_eq!(failure.sqlstate, "22P02");
    assert!(failure.message.len() < 300, "a message fits a log line: {} bytes", failure.message.len());
}

#[test]
fn a_jsonb_result_beyond_the_servers_limit_is_refused() {
    let (_db, s) = open(
        "CREATE TABLE large AS SELECT k, (SELECT jsonb_agg(jsonb_build_object('event_id', k * 1000 + i, 'p', repeat('x', 1000000))) FROM generate_series(1, 140) i) AS d FROM generate_series(0, 1) k",
    );
    let failure = fails(
        &s,
        "SELECT jsonb_array_length(eventkit.append_events(a.d, b.d)) FROM large a, large b WHERE a.k = 0 AND b.k = 1",
    );
    assert_eq!(failure.sqlstate, "54000", "{failure}");
    assert!(failure.detail.is_some() && failure.hint.is_some(), "{failure}");
    // Just below, it is done: the same ids come out once.
    let once = "SELECT jsonb_array_length(eventkit.append_events(d, d)) FROM large WHERE k = 0";
    assert_eq!(number(&s, once), 140);
}

#[test]
fn a_state_made_by_hand_is_refused() {
    // A server of its own: what breaks here must not take the other tests along.
    let cluster = eventkit_tests::Cluster::start(eventkit_tests::PgVersion::under_test().unwrap()).unwrap();
    cluster.create_database("states").unwrap();
    cluster.create_extension("states").unwrap();
    let guest = cluster.connect("states").unwrap().batch_execute("CREATE ROLE guest LOGIN");
    guest.unwrap();
    let s = Session::open_as(&cluster, "states", "guest", "guest").unwrap();
    // used, count, key lengths, keys; then one element: its length word and its bytes.
    let head = |count: &str| format!("34000000{count}08000000040000006576656e745f696474696d6500000000");
    let hstore_beyond_its_end = format!("{}480000000100008001000080ffffff0061780000", head("01000000"));
    let jsonb_beyond_its_end = format!("{}480000000100002001000000ffffff0f61780000", head("01000000"));
    let absurd_count = format!("{}480000000100008001000080020000806178000000", head("ffffffff"));
    for (name, state) in
        [("hstore", &hstore_beyond_its_end), ("jsonb", &jsonb_beyond_its_end), ("hstore", &absurd_count)]
    {
        let sql = format!(r"SELECT eventkit.event_array_agg_finish_{name}('\x{state}'::bytea)::text");
        let answer = s.query(&sql);
        let failure = answer.expect_err("bytes that nobody checked became a value");
        assert_ne!(failure.sqlstate, "08006", "the server went down: {sql}");
        assert!(!failure.sqlstate.starts_with("XX000"), "{failure}");
        assert_eq!(s.value("SELECT 1").unwrap().as_deref(), Some("1"));
    }
}
