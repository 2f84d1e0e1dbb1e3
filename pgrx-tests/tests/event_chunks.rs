//! Chunks of one user as a client sees them: the same answers as over one array, however the chunks are stored, in
//! parallel plans, stored, dumped and restored; wrong chunks and forged values are errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails, lines, open, value};
use eventkit_tests::Session;

/// 150 users of 0 to 6 days, each day one row in all three forms: few names, few times, ties within and across days,
/// ids that come again on other days, and days that are empty or NULL. Padding makes some rows long enough to be
/// compressed, some to be stored outside of the table.
const DAYS: &str = "
SELECT setseed(0.5);
CREATE TABLE days AS
SELECT u AS user_id, day,
       CASE WHEN (u + day) % 11 = 0 THEN NULL ELSE ARRAY(
           SELECT CASE WHEN random() < 0.05 THEN NULL ELSE
                  jsonb_build_object('event_id', floor(random() * 40)::int, 'event', (ARRAY['a', 'b', 'c', 'x'])[1 + floor(random() * 4)::int],
                                     'time', 1704067200 + day * 3 + floor(random() * 5)::int)
                  || CASE u % 3 WHEN 0 THEN '{}'::jsonb WHEN 1 THEN jsonb_build_object('pad', repeat('pad ', 40))
                     ELSE jsonb_build_object('pad', (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 20 + 0 * i))) END END
           FROM generate_series(1, u % 8) AS i WHERE u > 0 AND day > 0)::jsonb[] END AS j
FROM generate_series(1, 150) AS u, generate_series(1, 6) AS day WHERE day <= u % 7;
ALTER TABLE days ADD h hstore[], ADD d jsonb;
UPDATE days SET d = to_jsonb(j), h = CASE WHEN j IS NOT NULL THEN ARRAY(
    SELECT CASE WHEN e IS NOT NULL THEN (SELECT hstore(array_agg(key), array_agg(value)) FROM jsonb_each_text(e)) END
    FROM unnest(j) WITH ORDINALITY AS u (e, o) ORDER BY o)::hstore[] END;
-- One array of a user's events, in order of days, without a function that is under test.
CREATE TABLE whole AS
SELECT user_id, (SELECT array_agg(e ORDER BY day, o) FROM days AS own, unnest(own.j) WITH ORDINALITY AS u (e, o)
                 WHERE own.user_id = days.user_id) AS j
FROM days GROUP BY user_id HAVING count(j) > 0;
UPDATE whole SET j = coalesce(j, '{}');
";

const DEFINITIONS: [&str; 9] = [
    r#"{"steps": ["a", "b", "c"]}"#,
    r#"{"steps": ["a", "b", "c"], "window": "3 seconds"}"#,
    r#"{"steps": ["a", "a", "b"], "window": "6 seconds", "ties": "array"}"#,
    r#"{"steps": ["a", "b"], "increasing": true, "entry": "first"}"#,
    r#"{"steps": ["a", "b", "c"], "mode": "strict"}"#,
    r#"{"steps": ["a", "b", "c"], "mode": "strict_steps", "ties": "array"}"#,
    r#"{"steps": ["c", "b", "a"], "mode": "unordered", "window": "2 seconds"}"#,
    r#"{"steps": ["a", "b", "c"], "id_key": "event_id"}"#,
    r#"{"steps": ["a", {"event": "b", "where": {"event_id": {"lt": 20}}}, "x"], "mode": "strict", "id_key": "event_id"}"#,
];

const COLUMNS: [&str; 3] = ["j", "d", "h"];

#[test]
fn chunks_give_what_one_array_gives() {
    let (_db, s) = open(DAYS);
    let stored = lines(
        &s,
        "SELECT bool_or(pg_column_compression(j) IS NOT NULL), bool_or(pg_column_size(j) > 2000), bool_or(j = '{}'), bool_or(j IS NULL) FROM days",
    );
    assert_eq!(stored, ["t|t|t|t"], "the chunks are not as various as they should be");
    for definition in DEFINITIONS {
        for column in COLUMNS {
            let differing = lines(
                &s,
                &format!(
                    "SELECT user_id, chunks.level, eventkit.funnel_level(j, definition), chunks.times, eventkit.funnel_times(j, definition)
                     FROM (SELECT user_id, eventkit.funnel_level(eventkit.event_chunks({column} ORDER BY day), definition) AS level,
                                  eventkit.funnel_times(eventkit.event_chunks({column} ORDER BY day), definition) AS times, definition
                           FROM days, (VALUES ('{definition}'::jsonb)) AS d (definition) GROUP BY user_id, definition) AS chunks
                     FULL JOIN whole USING (user_id)
                     WHERE chunks.level IS DISTINCT FROM eventkit.funnel_level(j, definition)
                        OR chunks.times IS DISTINCT FROM eventkit.funnel_times(j, definition)"
                ),
            );
            assert!(differing.is_empty(), "{definition}, {column}: {differing:#?}");
        }
    }
    let levels = lines(
        &s,
        "SELECT eventkit.funnel_level(eventkit.event_chunks(j ORDER BY day), ARRAY['a', 'b', 'c'], '5 seconds') AS level
         FROM days GROUP BY user_id",
    );
    for level in ["NULL", "0", "1", "2", "3"] {
        assert!(levels.iter().any(|found| found == level), "no user of level {level}");
    }
}

#[test]
fn the_short_form_and_the_summary_take_chunks() {
    let (_db, s) = open(DAYS);
    for column in COLUMNS {
        let summary = |events: &str| {
            format!(
                "SELECT array_agg((step, label, users, mean_from_previous, mean_from_start) ORDER BY step)::text
                 FROM eventkit.funnel_table((SELECT eventkit.funnel_agg(events, ARRAY['a', 'b', 'c'], '5 seconds') FROM ({events}) AS u))"
            )
        };
        let chunks =
            format!("SELECT eventkit.event_chunks({column} ORDER BY day) AS events FROM days GROUP BY user_id");
        assert_eq!(value(&s, &summary(&chunks)), value(&s, &summary("SELECT j AS events FROM whole")), "{column}");
    }
}

#[test]
fn with_ids_the_copy_gathered_last_counts() {
    let (_db, s) = open(
        r#"CREATE TABLE two (day int, events jsonb);
           INSERT INTO two VALUES (1, '[{"event_id": 1, "event": "a", "time": 1}]'), (2, '[{"event_id": 1, "event": "x", "time": 1}]')"#,
    );
    for (order, level) in [("day", "0"), ("day DESC", "1")] {
        assert_eq!(
            value(
                &s,
                &format!(
                    r#"SELECT eventkit.funnel_level(eventkit.event_chunks(events ORDER BY {order}), '{{"steps": ["a"], "id_key": "event_id"}}') FROM two"#
                )
            ),
            level
        );
    }
}

#[test]
fn arrays_in_memory_are_chunks_as_well() {
    let (_db, s) = open("");
    // Built by the query: expanded arrays, short values, and one of a megabyte.
    for (events, level) in [
        ("ARRAY[jsonb_build_object('event', CASE n WHEN 1 THEN 'a' ELSE 'b' END, 'time', n)]", "2"),
        ("ARRAY[hstore(ARRAY['event', CASE n WHEN 1 THEN 'a' ELSE 'b' END, 'time', n::text])]", "2"),
        ("jsonb_build_array(jsonb_build_object('event', CASE n WHEN 1 THEN 'a' ELSE 'b' END, 'time', n))", "2"),
        (
            "ARRAY(SELECT jsonb_build_object('event', CASE n WHEN 1 THEN 'a' ELSE 'b' END, 'time', n) FROM generate_series(1, 20000))",
            "2",
        ),
        ("'{}'::jsonb[]", "0"),
        ("'[]'::jsonb", "0"),
        ("NULL::hstore[]", "NULL"),
    ] {
        assert_eq!(
            value(
                &s,
                &format!(
                    "SELECT eventkit.funnel_level(eventkit.event_chunks({events}), ARRAY['a', 'b'], NULL) FROM generate_series(1, 3) AS n"
                )
            ),
            level,
            "{events}"
        );
    }
    assert_eq!(value(&s, "SELECT eventkit.event_chunks(NULL::jsonb) IS NULL"), "t");
    assert_eq!(value(&s, "SELECT eventkit.funnel_level(NULL::eventkit.event_chunks, ARRAY['a'], NULL) IS NULL"), "t");
    assert_eq!(value(&s, "SELECT eventkit.funnel_level('[]'::eventkit.event_chunks, ARRAY['a'], NULL)"), "0");
}

#[test]
fn a_parallel_plan_gives_the_same() {
    let (_db, s) = open(DAYS);
    s.query(
        "INSERT INTO days SELECT user_id, day + 10 * n, j, h, d FROM days, generate_series(1, 20) AS n; ANALYZE days;
         ALTER TABLE days SET (parallel_workers = 2);
         SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET enable_sort = off",
    )
    .unwrap();
    for column in COLUMNS {
        let query = format!(
            "SELECT user_id, eventkit.funnel_level(eventkit.event_chunks({column}), ARRAY['a', 'b', 'c'], '4 seconds') AS level FROM days GROUP BY user_id"
        );
        s.query("SET max_parallel_workers_per_gather = 2").unwrap();
        let plan = lines(&s, &format!("EXPLAIN {query}"));
        assert!(plan.iter().any(|line| line.contains("Partial HashAggregate")), "{plan:#?}");
        let levels = format!(
            "SELECT md5(string_agg(user_id || ' ' || coalesce(level::text, '-'), ',' ORDER BY user_id)) FROM ({query}) AS q"
        );
        let parallel = value(&s, &levels);
        s.query("SET max_parallel_workers_per_gather = 0").unwrap();
        assert_eq!(parallel, value(&s, &levels), "{column}");
    }
}

#[test]
fn a_running_value_leaves_earlier_rows_alone() {
    let (_db, s) = open(DAYS);
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM (
                 SELECT jsonb_array_length(eventkit.event_chunks(j) OVER (ORDER BY user_id, day)::text::jsonb) AS seen,
                        count(j) OVER (ORDER BY user_id, day) AS wanted FROM days WHERE j IS NOT NULL) AS running
             WHERE seen <> wanted"
        ),
        "0"
    );
}

/// A table with a value of each user in each form.
const STORED: &str = "
CREATE TABLE stored AS
SELECT user_id, eventkit.event_chunks(j ORDER BY day) AS j, eventkit.event_chunks(d ORDER BY day) AS d,
       eventkit.event_chunks(h ORDER BY day) AS h
FROM days GROUP BY user_id;
";

fn answers(s: &Session, table: &str) -> Vec<String> {
    lines(
        s,
        &format!(
            "SELECT user_id, (SELECT string_agg(coalesce(eventkit.funnel_times(c, definition::jsonb)::text, '-'), ' ')
                              FROM unnest(ARRAY[j, d, h]) AS c, unnest($d${{{}}}$d$::text[]) AS definition)
             FROM {table} ORDER BY user_id",
            DEFINITIONS.map(|definition| format!("\"{}\"", definition.replace('"', "\\\""))).join(",")
        ),
    )
}

#[test]
fn a_stored_value_survives_text_binary_and_dump() {
    let (db, s) = open(&format!("{DAYS}{STORED}"));
    let before = answers(&s, "stored");
    // The text is JSON with the same events, and what is read from it is written the same way.
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM stored JOIN LATERAL (SELECT jsonb_agg(to_jsonb(days.j) ORDER BY day) AS wanted FROM days
                 WHERE days.user_id = stored.user_id AND days.j IS NOT NULL) AS w ON true
             WHERE stored.j::text::jsonb IS DISTINCT FROM wanted OR stored.d::text <> stored.j::text
                OR stored.j::text::eventkit.event_chunks::text IS DISTINCT FROM stored.j::text
                OR stored.h::text::eventkit.event_chunks::text IS DISTINCT FROM stored.h::text
                OR stored.j::text IS DISTINCT FROM wanted::text"
        ),
        "0"
    );
    s.query("CREATE TABLE read_text AS SELECT user_id, j::text::eventkit.event_chunks, d::text::eventkit.event_chunks, h::text::eventkit.event_chunks FROM stored")
        .unwrap();
    assert_eq!(answers(&s, "read_text"), before);
    // Binary out and in.
    let mut client = db.connect().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut client.copy_out("COPY stored TO STDOUT (FORMAT binary)").unwrap(), &mut bytes)
        .unwrap();
    client.batch_execute("CREATE TABLE read_binary (LIKE stored)").unwrap();
    let mut writer = client.copy_in("COPY read_binary FROM STDIN (FORMAT binary)").unwrap();
    std::io::Write::write_all(&mut writer, &bytes).unwrap();
    writer.finish().unwrap();
    assert_eq!(answers(&s, "read_binary"), before);
    // Dumped and restored.
    let file = tempfile::NamedTempFile::new().unwrap();
    let dump = db.cluster.client_program("pg_dump").args(["-d", &db.name, "-f"]).arg(file.path()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let restored = eventkit_tests::shared::empty_database().unwrap();
    let restore = db.cluster.psql(&restored.name, ["-q", "-f", &file.path().display().to_string()]).unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    assert_eq!(answers(&restored.session("restored").unwrap(), "stored"), before);
}

#[test]
fn wrong_chunks_are_refused_and_named() {
    let (_db, s) = open("");
    for (sql, sqlstate, message) in [
        (
            "SELECT eventkit.event_chunks(ARRAY[ARRAY['{}', '{}']]::jsonb[])",
            "2202E",
            "argument \"events\" has 2 dimensions, not one",
        ),
        (
            "SELECT eventkit.event_chunks(ARRAY[ARRAY['a=>1', 'a=>2']]::hstore[])",
            "2202E",
            "argument \"events\" has 2 dimensions, not one",
        ),
        (
            "SELECT eventkit.event_chunks('{\"event\": \"a\"}'::jsonb)",
            "22039",
            "argument \"events\" is an object, not a JSON array",
        ),
        (
            "SELECT eventkit.event_chunks('7'::jsonb)",
            "22039",
            "argument \"events\" is a single value, not a JSON array",
        ),
        (
            "SELECT eventkit.event_chunks_combine(eventkit.event_chunks('{}'::jsonb[]), '[]')",
            "22023",
            "chunks of different forms cannot be put together",
        ),
        (
            r#"SELECT eventkit.funnel_level('[[{}], [], [{}, 5]]'::eventkit.event_chunks, ARRAY['a'], NULL)"#,
            "2203C",
            "element 2 of chunk 3 of argument \"events\": event is a number, not an object",
        ),
        (
            r#"SELECT eventkit.funnel_level('[[{}], [{"event": "a"}]]'::eventkit.event_chunks, ARRAY['a'], NULL)"#,
            "22007",
            "element 1 of chunk 2 of argument \"events\": event without a time",
        ),
        (
            r#"SELECT eventkit.funnel_level('[[{}], [{}, {"event": "a", "time": "soon"}]]'::eventkit.event_chunks, '{"steps": ["a"], "id_key": "event_id"}')"#,
            "22007",
            "element 2 of chunk 2 of argument \"events\": invalid event time: \"soon\"",
        ),
        ("SELECT '{}'::eventkit.event_chunks", "22P02", "invalid input syntax for type event_chunks"),
        ("SELECT '7'::eventkit.event_chunks", "22P02", "invalid input syntax for type event_chunks"),
        ("SELECT '[[], 1]'::eventkit.event_chunks", "22P02", "invalid input syntax for type event_chunks"),
        ("SELECT '[[], {}]'::eventkit.event_chunks", "22P02", "invalid input syntax for type event_chunks"),
    ] {
        let failure = fails(&s, sql);
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), (sqlstate, message), "{sql}");
        assert!(failure.detail.is_some() && failure.hint.is_some(), "{failure}");
    }
    for sql in ["SELECT ''::eventkit.event_chunks", "SELECT '[['::eventkit.event_chunks"] {
        assert_eq!(fails(&s, sql).sqlstate, "22P02");
    }
    // A compressed array tells its dimensions as well.
    s.query("CREATE TABLE flat AS SELECT array_fill('{\"event\": \"a\"}'::jsonb, ARRAY[2, 1000]) AS e").unwrap();
    assert_eq!(value(&s, "SELECT pg_column_compression(e) IS NOT NULL FROM flat"), "t");
    assert_eq!(fails(&s, "SELECT eventkit.event_chunks(e) FROM flat").sqlstate, "2202E");
}

#[test]
fn damaged_messages_are_refused() {
    let (db, s) = open("CREATE TABLE t (c eventkit.event_chunks)");
    let mut client = db.connect().unwrap();
    let good: Vec<u8> = client
        .query_one(
            r#"SELECT eventkit.event_chunks_send('[[{"event": "a", "time": 1, "p": {"q": [1.5, null]}}], [null, {"event": "b", "time": 2}]]')"#,
            &[],
        )
        .unwrap()
        .get(0);
    let (mut read, mut refused) = (0, 0);
    let mut states = std::collections::BTreeSet::new();
    let mut try_one = |bytes: &[u8]| {
        let mut message = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01".to_vec();
        message.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        message.extend(bytes);
        message.extend([0xff, 0xff]);
        let mut writer = client.copy_in("COPY t FROM STDIN (FORMAT binary)").unwrap();
        std::io::Write::write_all(&mut writer, &message).unwrap();
        match writer.finish() {
            Ok(_) => read += 1,
            Err(error) => {
                states.insert(error.as_db_error().expect("the backend is gone").code().code().to_owned());
                refused += 1;
            }
        }
    };
    try_one(&good);
    try_one(&[]);
    for at in 0..good.len() {
        try_one(&good[..at]);
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            try_one(&bad);
        }
    }
    assert!(read > 50 && refused > 500, "{read} read, {refused} refused");
    for state in states {
        assert!(["22P02", "22P03", "22P05"].contains(&state.as_str()), "{state}");
    }
    // What was read is a value like any other: each is scanned or refused, and written again.
    let written = lines(&s, "SELECT c::text FROM t");
    for text in written {
        match s
            .query(&format!("SELECT eventkit.funnel_level($x${text}$x$::eventkit.event_chunks, ARRAY['a', 'b'], NULL)"))
        {
            Ok(_) => {}
            Err(failure) => assert!(failure.sqlstate.starts_with("22"), "{text}: {failure}"),
        }
    }
}

#[test]
fn a_scan_over_many_chunks_can_be_cancelled() {
    let (_db, s) = open(
        "CREATE TABLE many AS SELECT day, (SELECT jsonb_agg(jsonb_build_object('event', 'a', 'time', -i)) FROM generate_series(1, 1000) AS i) AS events
         FROM generate_series(1, 100) AS day;
         CREATE TABLE gathered AS SELECT eventkit.event_chunks(events) AS c FROM many",
    );
    s.query("SET statement_timeout = '200ms'").unwrap();
    let sql =
        "SELECT sum(eventkit.funnel_level(c, ARRAY['a', 'a', 'b'], NULL)) FROM gathered, generate_series(1, 100000)";
    assert_eq!(fails(&s, sql).sqlstate, "57014");
}
