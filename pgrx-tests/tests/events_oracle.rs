//! Event arrays against plain SQL: `unnest WITH ORDINALITY` and `DISTINCT ON`, and the method of the published function.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{ANY_IDS, FORMS, WHOLE_IDS, cases, fails, lines, none_differs, number, open, oracle, value};
use eventkit_tests::{PgVersion, Session};

const OPTIONS: &str = "(SELECT * FROM unnest('{last,first}'::text[]) keep, unnest('{keep,collapse}'::text[]) on_missing, \
                        unnest('{kept,first}'::text[]) place) AS options";

/// Compares `dedupe_events` with the oracle over a table's column, for all options.
fn dedupe_is_right(s: &Session, table: &str, column: &str, id_type: &str, least: i64) {
    none_differs(
        s,
        least,
        &format!(
            "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want), \
                 min(format('row %s, keep %s, on_missing %s, place %s: %s but %s', n, keep, on_missing, place, got, want)) \
                     FILTER (WHERE got IS DISTINCT FROM want) \
             FROM {table} AS given, {OPTIONS}, LATERAL (SELECT \
                 oracle.show(eventkit.dedupe_events({column}, keep => keep, id_type => '{id_type}', on_missing => on_missing, place => place)) AS got, \
                 oracle.show(oracle.dedupe({column}, 'event_id', keep, '{id_type}', on_missing, place)) AS want OFFSET 0) AS shown"
        ),
    );
}

#[test]
fn dedupe_by_text_equals_distinct_on() {
    let (_db, s) = open(&(oracle() + &cases(ANY_IDS, 250)));
    assert!(number(&s, "SELECT max(cardinality(h)) FROM cases") > 40);
    assert!(number(&s, "SELECT min(array_lower(j, 1)) FROM cases") < 0);
    for (column, ..) in FORMS {
        dedupe_is_right(&s, "cases", column, "text", 2000);
    }
}

#[test]
fn dedupe_by_number_equals_distinct_on() {
    let (_db, s) = open(&(oracle() + &cases(WHOLE_IDS, 150)));
    for (column, ..) in FORMS {
        dedupe_is_right(&s, "cases", column, "bigint", 1200);
    }
    // Texts of one number are one id here and several there.
    let several = "SELECT sum(cardinality(eventkit.dedupe_events(j))) > sum(cardinality(eventkit.dedupe_events(j, id_type => 'bigint'))) FROM cases";
    assert_eq!(value(&s, several), "t");
}

#[test]
fn the_refusal_of_missing_ids_changes_nothing_when_all_have_one() {
    let (_db, s) = open(&(oracle() + &cases(ANY_IDS, 120)));
    for (column, array, _) in FORMS {
        let whole = format!(
            "(SELECT n, oracle.present({column}) AS e FROM cases WHERE NOT EXISTS (SELECT FROM oracle.elements(oracle.present({column})) \
             WHERE oracle.property(v, 'event_id') IS NULL))"
        );
        none_differs(
            &s,
            20,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want), min(n) FILTER (WHERE got IS DISTINCT FROM want) \
                 FROM {whole} AS given, LATERAL (SELECT oracle.show(eventkit.dedupe_events(e, on_missing => 'error')) AS got, \
                 oracle.show(oracle.dedupe(e, 'event_id', 'last', 'text', 'keep', 'kept')) AS want) AS shown"
            ),
        );
        let missing =
            if array == "hstore[]" { r#"ARRAY['event_id=>1', 'a=>1']"# } else { r#"'[{"event_id": 1}, {}]'"# };
        if array != "jsonb[]" {
            let failure =
                fails(&s, &format!("SELECT eventkit.dedupe_events({missing}::{array}, on_missing => 'error')"));
            assert_eq!(failure.sqlstate, "22004");
            assert!(failure.message.starts_with("element 2 of argument \"events\""), "{failure}");
        }
    }
}

#[test]
fn other_keys_hold_the_id_when_told() {
    let (_db, s) = open(&(oracle() + &cases(ANY_IDS, 100)));
    for (column, ..) in FORMS {
        for key in ["event", "copy", "nested", "", "absent", "é"] {
            none_differs(
                &s,
                101,
                &format!(
                    "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want), min(n) FILTER (WHERE got IS DISTINCT FROM want) \
                     FROM cases, LATERAL (SELECT oracle.show(eventkit.dedupe_events({column}, id_key => '{key}')) AS got, \
                     oracle.show(oracle.dedupe({column}, '{key}', 'last', 'text', 'keep', 'kept')) AS want) AS shown"
                ),
            );
        }
    }
}

/// Arrays of three with NULLs between, every pad from 0 to 6 in every place; the first and the last share an id.
const NEIGHBOURS: &str = r"
CREATE TABLE neighbours (n int GENERATED ALWAYS AS IDENTITY, h hstore[], j jsonb[], d jsonb);
INSERT INTO neighbours (h, j, d)
SELECT CASE with_null WHEN 1 THEN hs || NULL::hstore WHEN 2 THEN hs[1:1] || NULL::hstore || hs[2:3] ELSE hs END,
       CASE with_null WHEN 1 THEN js || NULL::jsonb WHEN 2 THEN js[1:1] || NULL::jsonb || js[2:3] ELSE js END,
       CASE with_null WHEN 1 THEN to_jsonb(js || NULL::jsonb) WHEN 2 THEN to_jsonb(js[1:1] || NULL::jsonb || js[2:3]) ELSE to_jsonb(js) END
FROM generate_series(0, 6) a, generate_series(0, 6) b, generate_series(0, 6) c, generate_series(0, 2) AS with_null,
     LATERAL (SELECT ARRAY[hstore(ARRAY['event_id', '1', 'p', repeat('a', a)]), hstore(ARRAY['event_id', '2', 'p', repeat('b', b)]),
                           hstore(ARRAY['event_id', '1', 'p', repeat('c', c)])] AS hs,
                     ARRAY[jsonb_build_object('event_id', '1', 'p', repeat('a', a)), jsonb_build_object('event_id', 2, 'p', repeat('b', b)),
                           jsonb_build_object('event_id', 1, 'p', repeat('c', c))] AS js) AS events;
";

#[test]
fn elements_of_every_size_keep_their_alignment() {
    let (_db, s) = open(&(oracle() + NEIGHBOURS));
    for (column, ..) in FORMS {
        dedupe_is_right(&s, "neighbours", column, "text", 8000);
    }
}

#[test]
fn null_bitmaps_of_every_length_are_read_and_written() {
    let (_db, s) = open(
        &(oracle()
            + "CREATE TABLE holes AS SELECT len * 100 + step AS n, \
                 ARRAY(SELECT CASE WHEN i % step <> 0 THEN hstore('event_id', (i % 7)::text) END FROM generate_series(1, len) i ORDER BY i) AS h, \
                 ARRAY(SELECT CASE WHEN i % step <> 0 THEN jsonb_build_object('event_id', i % 7) END FROM generate_series(1, len) i ORDER BY i) AS j \
               FROM generate_series(0, 40) len, generate_series(1, 9) step;\
               ALTER TABLE holes ADD d jsonb; UPDATE holes SET d = to_jsonb(j);"),
    );
    for (column, ..) in FORMS {
        dedupe_is_right(&s, "holes", column, "text", 2900);
    }
    // Step 1 leaves NULLs alone, which are elements like any other, or one of them.
    assert_eq!(value(&s, "SELECT eventkit.dedupe_events(h) FROM holes WHERE n = 301"), "{NULL,NULL,NULL}");
    let one = "SELECT eventkit.dedupe_events(j, on_missing => 'collapse', place => 'first') FROM holes WHERE n = 301";
    assert_eq!(value(&s, one), "{NULL}");
}

#[test]
fn stored_arrays_read_the_same_however_they_are_stored() {
    let (_db, s) = open(
        &(oracle()
            + "CREATE TABLE source AS SELECT n, \
                 ARRAY(SELECT hstore(ARRAY['event_id', (i % 150)::text, 'copy', i::text, 'p', repeat('x', i % 7 + size), 'q', md5(i::text)]) \
                     FROM generate_series(1, len) i ORDER BY i) AS h, \
                 ARRAY(SELECT jsonb_build_object('event_id', i % 150, 'copy', i, 'p', repeat('x', i % 7 + size), 'q', md5(i::text)) \
                     FROM generate_series(1, len) i ORDER BY i) AS j \
               FROM (VALUES (1, 2, 0), (2, 170, 0), (3, 400, 30), (4, 3000, 100)) AS sizes (n, len, size);\
               ALTER TABLE source ADD d jsonb; UPDATE source SET d = to_jsonb(j);\
               INSERT INTO source SELECT 0, ARRAY[hstore('event_id', '1')], ARRAY['{\"event_id\": 1}'::jsonb], '[{\"event_id\": 1}]';\
               INSERT INTO source SELECT -1, ARRAY['', NULL]::hstore[], ARRAY['{}', NULL]::jsonb[], '[{}]';"),
    );
    let has_lz4 =
        value(&s, "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'") == "t";
    assert!(has_lz4 || PgVersion::under_test().unwrap() != PgVersion::V15, "Debian's server has lz4");
    let mut ways = vec![
        ("pglz", "SET STORAGE EXTENDED", "pglz", "pglz"),
        ("outside", "SET STORAGE EXTERNAL", "pglz", "NULL"),
        ("main", "SET STORAGE MAIN", "pglz", "pglz"),
    ];
    if has_lz4 {
        ways.push(("lz4", "SET STORAGE EXTENDED", "lz4", "lz4"));
    }
    for (table, storage, compression, found) in ways {
        s.query(&format!("CREATE TABLE {table} (LIKE source)")).unwrap();
        for (column, ..) in FORMS {
            s.query(&format!(
                "ALTER TABLE {table} ALTER {column} {storage}, ALTER {column} SET COMPRESSION {compression}"
            ))
            .unwrap();
        }
        // Through text, so that each value is made anew.
        s.query(&format!(
            "INSERT INTO {table} SELECT n, h::text::hstore[], j::text::jsonb[], d::text::jsonb FROM source"
        ))
        .unwrap();
        for (column, ..) in FORMS {
            let how = format!("SELECT pg_column_compression({column}) FROM {table} WHERE n = 4");
            assert_eq!(value(&s, &how), found, "{table}.{column}");
            let short = format!("SELECT pg_column_size({column}) < 127 FROM {table} WHERE n = 0");
            assert_eq!(value(&s, &short), "t", "a short header is under test");
            dedupe_is_right(&s, table, column, "text", 48);
        }
        let outside =
            format!("SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class WHERE oid = '{table}'::regclass");
        assert_eq!(value(&s, &outside), "t", "{table}");
    }
    // PLAIN: a 4-byte header in the row, whatever the length.
    s.query("CREATE TABLE plain (LIKE source); ALTER TABLE plain ALTER h SET STORAGE PLAIN, ALTER j SET STORAGE PLAIN, ALTER d SET STORAGE PLAIN")
        .unwrap();
    s.query("INSERT INTO plain SELECT n, h[1:12], j[1:12], to_jsonb(j[1:12]) FROM source").unwrap();
    for (column, ..) in FORMS {
        dedupe_is_right(&s, "plain", column, "text", 48);
    }
}

#[test]
fn arrays_that_the_server_holds_expanded_are_read() {
    let (_db, s) = open(&oracle());
    let got = value(
        &s,
        r#"CREATE FUNCTION pg_temp.expanded() RETURNS text LANGUAGE plpgsql AS $$
           DECLARE h hstore[] := '{}'; j jsonb[] := '{}'; a text; b text; want text;
           BEGIN
               FOR i IN 1..50 LOOP h[i] := hstore('event_id', (i % 9)::text) || hstore('n', i::text); j[i] := jsonb_build_object('event_id', i % 9, 'n', i); END LOOP;
               h := eventkit.dedupe_events(h); h[10] := 'event_id=>8, n=>last'; h := eventkit.dedupe_events(h);
               j := eventkit.dedupe_events(j); j[10] := '{"event_id": 8, "n": "last"}'; j := eventkit.dedupe_events(j);
               RETURN (SELECT string_agg(e -> 'n', ' ') FROM unnest(h) e) || ' / ' || (SELECT string_agg(e ->> 'n', ' ') FROM unnest(j) e);
           END $$; SELECT pg_temp.expanded()"#,
    );
    assert_eq!(got, "42 43 45 46 47 48 49 50 last / 42 43 45 46 47 48 49 50 last");
}

/// The method of the published function, quadratic: each position by its subscript, ranked within its id from the last.
const BY_SUBSCRIPT: &str = r"
CREATE FUNCTION oracle.by_subscript(e hstore[]) RETURNS hstore[] LANGUAGE sql AS $$
    SELECT array_agg(e[at] ORDER BY at)
    FROM (SELECT at, rank() OVER (PARTITION BY (e[at] -> 'event_id')::bigint ORDER BY at DESC) AS nth
          FROM generate_series(array_lower(e, 1), array_upper(e, 1)) AS at) AS ranked
    WHERE nth = 1
$$;
-- Its second form: the positions are numbered by the text of the time instead.
CREATE FUNCTION oracle.by_time(e hstore[]) RETURNS hstore[] LANGUAGE sql AS $$
    SELECT array_agg(event ORDER BY at)
    FROM (SELECT event, at, rank() OVER (PARTITION BY (event -> 'event_id')::bigint ORDER BY at DESC) AS nth
          FROM (SELECT event, row_number() OVER (ORDER BY event -> 'time') AS at FROM unnest(e) AS event) AS numbered) AS ranked
    WHERE nth = 1
$$;
";

#[test]
fn by_number_and_collapsed_it_equals_the_published_function() {
    let (_db, s) = open(&(oracle() + &cases(WHOLE_IDS, 200) + BY_SUBSCRIPT));
    none_differs(
        &s,
        190,
        "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want), min(format('row %s: %s but %s', n, got, want)) FILTER (WHERE got IS DISTINCT FROM want) \
         FROM cases, LATERAL (SELECT oracle.show(eventkit.dedupe_events(h, id_type => 'bigint', on_missing => 'collapse')) AS got, \
         oracle.show(oracle.by_subscript(h)) AS want) AS shown WHERE cardinality(h) > 0",
    );
}

#[test]
fn ids_that_are_no_number_fail_as_in_the_published_function() {
    let (_db, s) = open(&(oracle() + BY_SUBSCRIPT));
    let ids = [
        "",
        " ",
        "x",
        "1.0",
        "1e3",
        " 7 ",
        "+7",
        "-7",
        "--7",
        "+ 7",
        "7 7",
        "\t7\n",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999999",
        "0x10",
        "0X10",
        "0o17",
        "0b101",
        "0x",
        "0xg",
        "1_000",
        "1__000",
        "_1",
        "1_",
        "0x_1",
        "-0x10",
        "0x8000000000000000",
        "-0x8000000000000000",
        "٣",
        "１",
        "NaN",
        "Infinity",
        "NULL",
        "007",
        "-0",
        "\u{a0}7",
    ];
    let mut answers = [0, 0];
    for id in ids {
        let events = format!("ARRAY[hstore('event_id', '7'), hstore(ARRAY['event_id', '{id}', 'n', '2'])]");
        let ours =
            s.value(&format!("SELECT eventkit.dedupe_events({events}, id_type => 'bigint', on_missing => 'collapse')"));
        let theirs = s.value(&format!("SELECT oracle.by_subscript({events})"));
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "id {id:?}"),
            (Err(ours), Err(theirs)) => {
                assert_eq!(ours.sqlstate, theirs.sqlstate, "id {id:?}: {ours} / {theirs}");
                assert!(ours.message.starts_with("element 2 of argument \"events\": "), "{ours}");
                assert!(ours.message.ends_with(&theirs.message) || id.contains(['\t', '\u{a0}']), "{ours} / {theirs}");
            }
            _ => panic!("id {id:?}: {ours:?} but {theirs:?}"),
        }
        answers[usize::from(ours.is_err())] += 1;
    }
    // From 16 on the server reads more texts as numbers: so do we, on that server.
    let takes_radix = PgVersion::under_test().unwrap() == PgVersion::V18;
    assert_eq!(answers, if takes_radix { [16, 23] } else { [8, 31] });
}

#[test]
fn what_the_published_function_does_to_other_inputs_is_known() {
    let (_db, s) = open(&(oracle() + BY_SUBSCRIPT));
    assert_eq!(value(&s, "SELECT oracle.by_subscript('{}')"), "NULL");
    assert_eq!(value(&s, "SELECT eventkit.dedupe_events('{}'::hstore[])"), "{}");
    let flat = "SELECT oracle.by_subscript(ARRAY[ARRAY['event_id=>1', 'event_id=>2']]::hstore[])";
    assert_eq!(value(&s, flat), "{NULL}");
    let failure = fails(&s, "SELECT eventkit.dedupe_events(ARRAY[ARRAY['event_id=>1', 'event_id=>2']]::hstore[])");
    assert_eq!(failure.sqlstate, "2202E");
}

#[test]
fn the_second_published_function_keeps_old_copies_where_ours_keeps_the_new() {
    let (_db, s) = open(&(oracle() + BY_SUBSCRIPT));
    // 600 events, then all of them again with the same id and time.
    s.query(
        "CREATE TABLE imported AS SELECT array_agg(hstore(ARRAY['event_id', i::text, 'time', (1700000000 + i * 7919 % 600)::text, 'copy', copy]) ORDER BY copy DESC, i) AS e \
         FROM generate_series(1, 600) i, unnest('{old,new}'::text[]) copy",
    )
    .unwrap();
    assert_eq!(value(&s, "SELECT e[1] -> 'copy' || ' ' || (e[1200] -> 'copy') FROM imported"), "old new");
    let kept = |function: &str, copy: &str| {
        number(&s, &format!("SELECT count(*) FROM imported, unnest({function}) v WHERE v -> 'copy' = '{copy}'"))
    };
    assert_eq!(kept("oracle.by_time(e)", "old") + kept("oracle.by_time(e)", "new"), 600);
    assert!(
        kept("oracle.by_time(e)", "old") > 100,
        "it is wrong for a good part: {}",
        kept("oracle.by_time(e)", "old")
    );
    assert_eq!(kept("oracle.by_subscript(e)", "old"), 0);
    assert_eq!(kept("eventkit.dedupe_events(e)", "old"), 0);
    assert_eq!(kept("eventkit.dedupe_events(e)", "new"), 600);
    let same = "SELECT eventkit.dedupe_events(e) = oracle.by_subscript(e) FROM imported";
    assert_eq!(value(&s, same), "t");
}

#[test]
fn append_equals_dedupe_and_sort_in_plain_sql() {
    let (_db, s) = open(&(oracle() + &cases(ANY_IDS, 160)));
    for (column, ..) in FORMS {
        none_differs(
            &s,
            640,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want), \
                     min(format('rows %s and %s, keep %s, on_missing %s: %s but %s', a.n, b.n, keep, on_missing, got, want)) FILTER (WHERE got IS DISTINCT FROM want) \
                 FROM cases a JOIN cases b ON b.n = (a.n + 1) % 161, unnest('{{last,first}}'::text[]) keep, unnest('{{keep,collapse}}'::text[]) on_missing, \
                 LATERAL (SELECT \
                     oracle.show(eventkit.append_events(a.{column}, b.{column}, keep => keep, on_missing => on_missing)) AS got, \
                     oracle.show(oracle.append(a.{column}, b.{column}, 'event_id', 'time', keep, 'text', on_missing)) AS want OFFSET 0) AS shown"
            ),
        );
    }
}

#[test]
fn append_is_idempotent_and_in_order_of_time() {
    let (_db, s) = open(&(oracle() + &cases(ANY_IDS, 160)));
    for (column, ..) in FORMS {
        // Events without an id cannot be told from others, so they are left out here.
        s.query(&format!(
            "CREATE TABLE with_ids_{column} AS SELECT n, eventkit.append_events(oracle.dedupe({column}, 'event_id', 'last', 'text', 'collapse', 'kept'), NULL, on_missing => 'collapse') AS e \
             FROM (SELECT n, oracle.present({column}) AS {column} FROM cases) AS present WHERE {column} IS NOT NULL"
        ))
        .unwrap();
        none_differs(
            &s,
            160,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE once::text <> twice::text OR sorted::text <> once::text), min(n) FILTER (WHERE once::text <> twice::text OR sorted::text <> once::text) \
                 FROM (SELECT a.n, eventkit.append_events(a.e, b.e, on_missing => 'collapse') AS once, b.e AS more FROM with_ids_{column} a JOIN with_ids_{column} b ON b.n = a.n % 160 + 1) AS first, \
                 LATERAL (SELECT eventkit.append_events(once, more, on_missing => 'collapse') AS twice, oracle.sorted(once, 'time') AS sorted OFFSET 0) AS second"
            ),
        );
    }
}

#[test]
fn sorting_is_stable_and_puts_events_without_time_last() {
    let (_db, s) = open(&(oracle() + &cases(ANY_IDS, 250)));
    for (column, array, _) in FORMS {
        none_differs(
            &s,
            251,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want), min(format('row %s: %s but %s', n, got, want)) FILTER (WHERE got IS DISTINCT FROM want) \
                 FROM cases, LATERAL (SELECT oracle.show(eventkit.sort_events({column})) AS got, oracle.show(oracle.sorted({column}, 'time')) AS want) AS shown"
            ),
        );
        let keyed = if array == "hstore[]" {
            r#"ARRAY['at=>3, n=>c', 'n=>x', 'at=>1, n=>a', NULL, 'at=>1, n=>b', 'at=>NULL, n=>y']::hstore[]"#.to_owned()
        } else {
            let events = r#"[{"at": 3, "n": "c"}, {"n": "x"}, {"at": 1, "n": "a"}, null, {"at": "1", "n": "b"}, {"at": null, "n": "y"}]"#;
            if array == "jsonb" {
                format!("'{events}'::jsonb")
            } else {
                format!("ARRAY(SELECT jsonb_array_elements('{events}'))")
            }
        };
        let order = format!(
            "SELECT string_agg(coalesce(oracle.property(v, 'n'), '-'), '' ORDER BY n) FROM oracle.elements(eventkit.sort_events({keyed}, time_key => 'at'))"
        );
        assert_eq!(value(&s, &order), "abcx-y", "{array}");
    }
}

#[test]
fn slices_are_half_open_and_null_leaves_a_side_open() {
    let (_db, s) = open(&(oracle() + &cases(ANY_IDS, 120)));
    let bounds = "unnest(ARRAY[NULL, '-infinity', '1969-12-31 23:59:59+00', '1970-01-01+00', '2024-01-01+00', '2024-01-01 00:00:00.25+00', '2024-01-01 00:00:00.500001+00', 'infinity']::timestamptz[])";
    for (column, ..) in FORMS {
        none_differs(
            &s,
            121 * 64,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want), min(format('row %s, %s to %s: %s but %s', n, f, t, got, want)) FILTER (WHERE got IS DISTINCT FROM want) \
                 FROM cases, {bounds} f, {bounds} t, LATERAL (SELECT oracle.show(eventkit.slice_events({column}, f, t)) AS got, oracle.show(oracle.slice({column}, f, t)) AS want OFFSET 0) AS shown"
            ),
        );
    }
}

/// Documents whose containment is not obvious, as events and as patterns.
const DOCUMENTS: &[&str] = &[
    "{}",
    r#"{"a": 1}"#,
    r#"{"a": 1.0}"#,
    r#"{"a": 1.00, "b": 2}"#,
    r#"{"a": "1"}"#,
    r#"{"a": true}"#,
    r#"{"a": null}"#,
    r#"{"a": 0}"#,
    r#"{"a": -0.0}"#,
    r#"{"a": 1e2}"#,
    r#"{"a": 100}"#,
    r#"{"a": 12345678901234567890.5}"#,
    r#"{"a": 12345678901234567890.50}"#,
    r#"{"a": 0.0001}"#,
    r#"{"a": 0.00010}"#,
    r#"{"a": ""}"#,
    r#"{"a": "é"}"#,
    r#"{"a": {}}"#,
    r#"{"a": []}"#,
    r#"{"a": {"x": 1}}"#,
    r#"{"a": {"x": 1, "y": 2}}"#,
    r#"{"a": {"x": {"z": [1, 2]}}}"#,
    r#"{"a": {"x": {"z": [2]}}}"#,
    r#"{"a": [1]}"#,
    r#"{"a": [1, 1]}"#,
    r#"{"a": [1, 2, 3]}"#,
    r#"{"a": [3, 1]}"#,
    r#"{"a": [1.0]}"#,
    r#"{"a": [[1]]}"#,
    r#"{"a": [[1, 2], 3]}"#,
    r#"{"a": [{"x": 1}]}"#,
    r#"{"a": [{}]}"#,
    r#"{"a": [{"x": 1, "y": [1]}, {"z": 2}]}"#,
    r#"{"a": [{"z": 2}, {"y": []}]}"#,
    r#"{"a": [null]}"#,
    r#"{"a": [true, null]}"#,
    r#"{"a": ["x", "y"]}"#,
    r#"{"a": "x"}"#,
    r#"{"b": 2}"#,
    r#"{"b": 2, "a": {"x": 1}, "c": [1, {"d": null}]}"#,
    r#"{"a": [[]]}"#,
    r#"{"": 1}"#,
    r#"{"a": [1, "1", true]}"#,
    r#"{"a": {"": {"": {}}}}"#,
];

#[test]
fn filters_and_counts_agree_with_the_operator_on_every_pair() {
    let (_db, s) = open(&oracle());
    let list = DOCUMENTS.iter().map(|d| format!("('{d}')")).collect::<Vec<_>>().join(", ");
    s.query(&format!("CREATE TABLE documents AS SELECT d::jsonb FROM (VALUES {list}) AS t (d)")).unwrap();
    let count = DOCUMENTS.len() as i64;
    none_differs(
        &s,
        count * count,
        "SELECT count(*), count(*) FILTER (WHERE one <> CASE WHEN e.d @> p.d THEN 1 ELSE 0 END OR other <> one OR kept <> one), \
             min(format('%s @> %s is %s', e.d, p.d, e.d @> p.d)) FILTER (WHERE one <> CASE WHEN e.d @> p.d THEN 1 ELSE 0 END OR other <> one OR kept <> one) \
         FROM documents e, documents p, LATERAL (SELECT eventkit.count_events(ARRAY[e.d], p.d) AS one, \
             eventkit.count_events(jsonb_build_array(e.d), p.d) AS other, cardinality(eventkit.filter_events(ARRAY[e.d], p.d)) AS kept) AS counted",
    );
    assert!(number(&s, "SELECT count(*) FROM documents e, documents p WHERE e.d @> p.d") > count * 3);
    // The same as hstore, which knows texts and NULLs only.
    s.query("CREATE TABLE pairs AS SELECT DISTINCT hstore(ARRAY['a', a, 'b', b]) - CASE c WHEN 1 THEN 'a' WHEN 2 THEN 'b' ELSE '' END AS h \
             FROM unnest(ARRAY['1', '1.0', '', NULL, 'é', 'long long long text']) a, unnest('{1,NULL,x}'::text[]) b, generate_series(0, 2) c").unwrap();
    none_differs(
        &s,
        400,
        "SELECT count(*), count(*) FILTER (WHERE (found = 1) <> (e.h @> p.h) OR kept <> found), min(format('%s @> %s', e.h, p.h)) FILTER (WHERE (found = 1) <> (e.h @> p.h) OR kept <> found) \
         FROM pairs e, pairs p, LATERAL (SELECT eventkit.count_events(ARRAY[e.h], p.h) AS found, cardinality(eventkit.filter_events(ARRAY[e.h], p.h)) AS kept) AS counted",
    );
}

#[test]
fn filters_keep_the_matching_events_of_an_array_in_order() {
    let (_db, s) = open(&(oracle() + &cases(ANY_IDS, 120)));
    let patterns = [
        r#"{"event": "view"}"#,
        r#"{"event_id": 1}"#,
        r#"{"event_id": "1"}"#,
        "{}",
        r#"{"event_id": null}"#,
        r#"{"nothing": 1}"#,
        r#"{"nested": {"c": -1.5}}"#,
        r#"{"nested": {"a": [{}]}}"#,
        r#"{"event": "cart", "pad": ""}"#,
    ];
    for (column, array, event) in FORMS {
        for pattern in patterns {
            let pattern = if array == "hstore[]" {
                let flat = lines(&s, &format!("SELECT quote_literal(coalesce(oracle.as_hstore('{pattern}'), ''))"));
                flat.concat()
            } else {
                format!("'{pattern}'")
            };
            none_differs(
                &s,
                121,
                &format!(
                    "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want OR counted IS DISTINCT FROM wanted), min(format('row %s: %s but %s', n, got, want)) FILTER (WHERE got IS DISTINCT FROM want OR counted IS DISTINCT FROM wanted) \
                     FROM cases, LATERAL (SELECT oracle.show(eventkit.filter_events({column}, {pattern}::{event})) AS got, oracle.show(oracle.filtered({column}, {pattern}::{event})) AS want, \
                     eventkit.count_events({column}, {pattern}::{event}) AS counted, \
                     CASE WHEN {column} IS NOT NULL THEN (SELECT count(*)::int FROM oracle.elements({column}) WHERE v @> {pattern}::{event}) END AS wanted OFFSET 0) AS shown"
                ),
            );
        }
        none_differs(
            &s,
            121,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want), min(n) FILTER (WHERE got IS DISTINCT FROM want) FROM cases, LATERAL (SELECT eventkit.count_events({column}) AS got, \
                 CASE WHEN {column} IS NOT NULL THEN (SELECT count(*)::int FROM oracle.elements({column}) WHERE NOT oracle.is_nothing(v)) END AS want) AS counted"
            ),
        );
    }
}

#[test]
fn gathering_rows_equals_appending_them() {
    let (_db, s) = open(&(oracle() + &cases(ANY_IDS, 160)));
    for (column, array, event) in FORMS {
        // Single events in the order of the array.
        let gathered = if array == "jsonb" { "jsonb[]" } else { array };
        none_differs(
            &s,
            160,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want), min(format('row %s: %s but %s', n, got, want)) FILTER (WHERE got IS DISTINCT FROM want) \
                 FROM (SELECT n, (SELECT oracle.show(eventkit.event_array_agg(v ORDER BY e.n)) FROM oracle.elements({column}) e) AS got, \
                     (SELECT oracle.show(oracle.append(oracle.present(array_agg(v ORDER BY e.n)), NULL, 'event_id', 'time', 'last', 'text', 'keep')) \
                      FROM oracle.elements({column}) e WHERE EXISTS (SELECT FROM oracle.elements({column}) WHERE v IS NOT NULL)) AS want FROM cases) AS shown"
            ),
        );
        // Whole arrays, several of a group; then with other keys, the time's being one that no event has.
        for (keys, id_key, time_key) in [("", "event_id", "time"), (", 'copy', 'absent'", "copy", "absent")] {
            none_differs(
                &s,
                17,
                &format!(
                    "SELECT count(*), count(*) FILTER (WHERE got IS DISTINCT FROM want), min(format('group %s: %s but %s', g, got, want)) FILTER (WHERE got IS DISTINCT FROM want) \
                     FROM generate_series(0, 16) AS g, LATERAL ( \
                         SELECT oracle.show(eventkit.event_array_agg({column}{keys} ORDER BY n)) AS got FROM cases WHERE n % 17 = g) AS gathered, LATERAL ( \
                         SELECT oracle.show(oracle.append(oracle.present(array_agg(v ORDER BY c.n, e.n)), NULL, '{id_key}', '{time_key}', 'last', 'text', 'keep')) AS want \
                         FROM cases c, oracle.elements({column}) e WHERE c.n % 17 = g) AS appended"
                ),
            );
        }
        let kind = format!("SELECT pg_typeof(eventkit.event_array_agg(NULL::{event}))::text");
        assert_eq!(value(&s, &kind), gathered);
    }
}

#[test]
fn a_group_of_nothing_has_no_array() {
    let (_db, s) = open("");
    for (_, array, event) in FORMS {
        for kind in [array, event] {
            let none = format!(
                "SELECT eventkit.event_array_agg(x) FROM (SELECT NULL::{kind} AS x FROM generate_series(0, 3)) AS nothing"
            );
            assert_eq!(value(&s, &none), "NULL");
            let none =
                format!("SELECT eventkit.event_array_agg(x) FROM (SELECT NULL::{kind} AS x WHERE false) AS nothing");
            assert_eq!(value(&s, &none), "NULL");
        }
    }
}
