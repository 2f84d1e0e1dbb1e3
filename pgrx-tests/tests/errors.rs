//! Every error of the event and the funnel functions: its SQLSTATE, its words, its DETAIL and HINT; and that the session
//! goes on after it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails, open, value};
use eventkit_tests::{Cluster, PgVersion, Session};

/// Asserts that a statement fails with this SQLSTATE and that these words are in the message and in DETAIL; that there
/// is a DETAIL that is a sentence, and a HINT; that nothing of the inside shows.
fn refused(s: &Session, sql: &str, sqlstate: &str, message: &str, detail: &str) {
    let failure = fails(s, sql);
    assert_eq!(failure.sqlstate, sqlstate, "{sql}\n{failure}");
    assert!(failure.message.contains(message), "{sql}\n{failure}");
    let told = failure.detail.as_deref().unwrap_or_else(|| panic!("no DETAIL: {sql}\n{failure}"));
    assert!(told.contains(detail), "{sql}\n{failure}");
    assert!(told.ends_with('.') || told.contains(" line "), "DETAIL is a sentence: {failure}");
    assert!(failure.hint.as_deref().is_some_and(|hint| hint.len() > 10), "no HINT: {sql}\n{failure}");
    for inside in ["panicked", ".rs", "unwrap", "Option", "backtrace", "stack"] {
        assert!(!failure.to_string().contains(inside), "{failure}");
    }
}

const H: &str = "ARRAY['event_id=>1, time=>1']::hstore[]";
const J: &str = "ARRAY['{\"event_id\": 1, \"time\": 1}']::jsonb[]";
const D: &str = "'[{\"event_id\": 1, \"time\": 1}]'::jsonb";

#[test]
fn null_options_are_refused_by_name() {
    let (_db, s) = open("");
    for e in [H, J, D, "NULL::jsonb[]"] {
        for (function, options) in [
            ("dedupe_events(E", &["id_key", "keep", "id_type", "on_missing", "place"][..]),
            ("append_events(E, E", &["id_key", "time_key", "keep", "id_type", "on_missing"]),
            ("sort_events(E", &["time_key"]),
            ("slice_events(E", &["time_key"]),
        ] {
            for option in options {
                let sql = format!("SELECT eventkit.{}, {option} => NULL)", function.replace('E', e));
                refused(&s, &sql, "22004", &format!("argument \"{option}\" must not be NULL"), "may be NULL");
            }
        }
    }
    for (e, none) in [(H, "NULL::hstore"), (J, "NULL::jsonb"), (D, "NULL::jsonb")] {
        let sql = format!("SELECT eventkit.filter_events({e}, {none})");
        refused(&s, &sql, "22004", "argument \"pattern\" must not be NULL", "");
        for keys in ["NULL, 'time'", "'event_id', NULL"] {
            let name = if keys.starts_with("NULL") { "id_key" } else { "time_key" };
            refused(
                &s,
                &format!("SELECT eventkit.event_array_agg({e}, {keys})"),
                "22004",
                &format!("argument \"{name}\" must not be NULL"),
                "",
            );
        }
    }
}

#[test]
fn option_values_that_do_not_exist_are_refused_with_those_that_do() {
    let (_db, s) = open("");
    for e in [H, J, D] {
        for (option, values) in [
            ("keep", "'last', 'first'"),
            ("id_type", "'text', 'bigint'"),
            ("on_missing", "'keep', 'collapse', 'error'"),
            ("place", "'kept', 'first'"),
        ] {
            for wrong in ["", "newest", "LAST", " last", "last\n", "1"] {
                let sql = format!("SELECT eventkit.dedupe_events({e}, {option} => '{wrong}')");
                refused(
                    &s,
                    &sql,
                    "22023",
                    &format!("invalid value for argument \"{option}\": "),
                    &format!("The values of {option} are {values}."),
                );
            }
        }
        let sql = format!("SELECT eventkit.append_events({e}, {e}, keep => 'both')");
        refused(&s, &sql, "22023", "invalid value for argument \"keep\": \"both\"", "'last', 'first'");
    }
    let near = fails(&s, &format!("SELECT eventkit.dedupe_events({J}, on_missing => ' Collapse')"));
    assert_eq!(near.hint.as_deref(), Some("Write on_missing => 'collapse'."));
    let long = fails(&s, &format!("SELECT eventkit.dedupe_events({J}, keep => repeat('x', 1000000))"));
    assert!(long.message.len() < 300 && long.message.contains("more bytes"), "{}", long.message.len());
}

#[test]
fn arrays_of_another_shape_are_refused() {
    let (_db, s) = open("");
    for (flat, kind) in [
        ("ARRAY[ARRAY['event_id=>1', 'event_id=>2']]::hstore[]", "hstore"),
        ("ARRAY[ARRAY['{}', '{}'], ARRAY['{}', '{}']]::jsonb[]", "jsonb"),
    ] {
        let pattern = if kind == "hstore" { "''" } else { "'{}'" };
        let good = if kind == "hstore" { H } else { J };
        for (call, argument) in [
            (format!("dedupe_events({flat})"), "events"),
            (format!("append_events({flat}, {good})"), "events"),
            (format!("append_events({good}, {flat})"), "new_events"),
            (format!("sort_events({flat})"), "events"),
            (format!("slice_events({flat})"), "events"),
            (format!("filter_events({flat}, {pattern})"), "events"),
            (format!("count_events({flat})"), "events"),
            (format!("event_array_agg({flat})"), "events"),
            (format!("funnel_level({flat}, ARRAY['a'], NULL)"), "events"),
            (format!("funnel_agg({flat}, ARRAY['a'], NULL)"), "events"),
        ] {
            refused(
                &s,
                &format!("SELECT eventkit.{call}"),
                "2202E",
                &format!("argument \"{argument}\" has 2 dimensions, not one"),
                "list of events",
            );
        }
    }
    for (other, found) in [
        ("{}", "an object"),
        ("\"text\"", "a single value"),
        ("1", "a single value"),
        ("null", "a single value"),
        ("true", "a single value"),
    ] {
        for (call, argument) in [
            (format!("dedupe_events('{other}'::jsonb)"), "events"),
            (format!("append_events('{other}'::jsonb, {D})"), "events"),
            (format!("append_events({D}, '{other}'::jsonb)"), "new_events"),
            (format!("sort_events('{other}'::jsonb)"), "events"),
            (format!("slice_events('{other}'::jsonb)"), "events"),
            (format!("filter_events('{other}'::jsonb, '{{}}')"), "events"),
            (format!("count_events('{other}'::jsonb)"), "events"),
            (format!("funnel_level('{other}'::jsonb, ARRAY['a'], NULL)"), "events"),
            (format!("funnel_agg('{other}'::jsonb, ARRAY['a'], NULL)"), "events"),
        ] {
            refused(
                &s,
                &format!("SELECT eventkit.{call}"),
                "22039",
                &format!("argument \"{argument}\" is {found}, not a JSON array"),
                "array of objects",
            );
        }
    }
}

#[test]
fn elements_that_are_no_objects_are_refused_by_position() {
    let (_db, s) = open("");
    for (element, found) in
        [("\"text\"", "a string"), ("17", "a number"), ("false", "a boolean"), ("[1]", "an array"), ("[]", "an array")]
    {
        let array = format!("ARRAY['{{}}', NULL, '{element}']::jsonb[]");
        let document = format!("'[{{}}, null, {element}]'::jsonb");
        for e in [&array, &document] {
            for call in [
                "dedupe_events(E)",
                "append_events(E, NULL)",
                "sort_events(E)",
                "slice_events(E)",
                "filter_events(E, '{}')",
                "count_events(E)",
                "event_array_agg(E)",
                "funnel_level(E, ARRAY['a'], NULL)",
                "funnel_agg(E, ARRAY['a'], NULL)",
            ] {
                refused(
                    &s,
                    &format!("SELECT eventkit.{}", call.replace('E', e)),
                    "2203C",
                    &format!("element 3 of argument \"events\": event is {found}, not an object"),
                    "JSON object",
                );
            }
            let second = format!("SELECT eventkit.append_events({}, {e})", if e.starts_with('A') { J } else { D });
            refused(&s, &second, "2203C", "element 3 of argument \"new_events\"", "");
        }
        if found != "an array" {
            refused(
                &s,
                &format!("SELECT eventkit.event_array_agg('{element}'::jsonb)"),
                "2203C",
                &format!("event is {found}, not an object"),
                "",
            );
        }
        for call in ["filter_events", "count_events"] {
            for e in [J, D] {
                refused(
                    &s,
                    &format!("SELECT eventkit.{call}({e}, '{element}'::jsonb)"),
                    "2203C",
                    "argument \"pattern\" is not a JSON object",
                    "all of its properties",
                );
            }
        }
    }
    refused(
        &s,
        &format!("SELECT eventkit.count_events({J}, 'null'::jsonb)"),
        "2203C",
        "argument \"pattern\" is not a JSON object",
        "",
    );
}

#[test]
fn ids_that_are_no_numbers_are_refused_by_position() {
    let (_db, s) = open("");
    let second = |id: &str| {
        [
            format!("ARRAY[hstore('event_id', '5'), hstore('event_id', '{id}')]"),
            format!("ARRAY[jsonb_build_object('event_id', 5), jsonb_build_object('event_id', '{id}')]"),
            format!("jsonb_build_array(jsonb_build_object('event_id', 5), jsonb_build_object('event_id', '{id}'))"),
        ]
    };
    for (id, sqlstate) in [
        ("", "22P02"),
        ("x", "22P02"),
        ("1.0", "22P02"),
        ("1e3", "22P02"),
        ("1 2", "22P02"),
        ("é", "22P02"),
        ("9223372036854775808", "22003"),
        ("-9223372036854775809", "22003"),
        ("123456789012345678901234567890", "22003"),
    ] {
        for e in second(id) {
            for call in [
                format!("dedupe_events({e}, id_type => 'bigint')"),
                format!("append_events({e}, NULL, id_type => 'bigint')"),
            ] {
                refused(
                    &s,
                    &format!("SELECT eventkit.{call}"),
                    sqlstate,
                    "element 2 of argument \"events\": ",
                    "64 bits",
                );
            }
        }
    }
    // JSON values of other kinds have texts that are no numbers.
    for (id, sqlstate) in
        [("true", "22P02"), ("{}", "22P02"), ("[1]", "22P02"), ("1.5", "22P02"), ("1.0", "22P02"), ("1e30", "22003")]
    {
        let sql = format!("SELECT eventkit.dedupe_events('[{{\"event_id\": {id}}}]'::jsonb, id_type => 'bigint')");
        refused(&s, &sql, sqlstate, "element 1 of argument \"events\": ", "64 bits");
    }
    let radix = format!("SELECT eventkit.dedupe_events({}, id_type => 'bigint')", second("0x10")[0]);
    if PgVersion::under_test().unwrap() == PgVersion::V15 {
        refused(&s, &radix, "22P02", "\"0x10\"", "");
    } else {
        assert!(value(&s, &radix).contains("0x10"));
    }
}

#[test]
fn missing_ids_are_refused_by_position_when_told() {
    let (_db, s) = open("");
    for e in [
        "ARRAY['event_id=>1', 'event_id=>NULL']::hstore[]",
        "ARRAY['event_id=>1', 'a=>1']::hstore[]",
        "ARRAY['event_id=>1', NULL]::hstore[]",
        r#"ARRAY['{"event_id": 1}', '{"event_id": null}']::jsonb[]"#,
        r#"ARRAY['{"event_id": 1}', '{}']::jsonb[]"#,
        r#"ARRAY['{"event_id": 1}', 'null']::jsonb[]"#,
        r#"ARRAY['{"event_id": 1}', NULL]::jsonb[]"#,
        r#"'[{"event_id": 1}, {"event_id": null}]'::jsonb"#,
        r#"'[{"event_id": 1}, null]'::jsonb"#,
    ] {
        for call in [
            format!("dedupe_events({e}, on_missing => 'error')"),
            format!("append_events({e}, NULL, on_missing => 'error')"),
        ] {
            refused(
                &s,
                &format!("SELECT eventkit.{call}"),
                "22004",
                "element 2 of argument \"events\": event without an id",
                "absent or NULL",
            );
        }
    }
}

#[test]
fn times_that_do_not_read_are_refused_by_position() {
    let (_db, s) = open("");
    let wrong = [
        ("\"\"", "22007"),
        ("\"soon\"", "22007"),
        ("\"2024-13-01\"", "22007"),
        ("\"2024-02-30T00:00:00Z\"", "22007"),
        ("\"2024-01-01T25:00:00Z\"", "22007"),
        ("\"2024-01-01T00:00:00Europe/Paris\"", "22007"),
        ("\"now\"", "22007"),
        ("\"infinity\"", "22007"),
        ("true", "22007"),
        ("{}", "22007"),
        ("[1]", "22007"),
        ("1e20", "22008"),
        ("-1e20", "22008"),
        ("\"99999999999999999999\"", "22008"),
        ("1e300", "22008"),
        ("\"1.\"", "22007"),
        ("\"NaN\"", "22007"),
    ];
    for (time, sqlstate) in wrong {
        let document = format!("[{{\"time\": 1}}, {{\"time\": {time}}}]");
        let text = time.trim_matches('"');
        for e in [
            format!("'{document}'::jsonb"),
            format!("ARRAY(SELECT jsonb_array_elements('{document}'))"),
            format!("ARRAY[hstore('time', '1'), hstore('time', '{text}')]"),
        ] {
            // As text, a number of that size is written another way.
            if e.contains("hstore") && text.contains("e+") || e.contains("hstore") && text.contains("1e") {
                continue;
            }
            for call in [format!("sort_events({e})"), format!("slice_events({e})"), format!("append_events({e}, NULL)")]
            {
                refused(&s, &format!("SELECT eventkit.{call}"), sqlstate, "element 2 of argument \"events\": ", "");
            }
            let agg = format!("SELECT eventkit.event_array_agg({e})");
            assert_eq!(fails(&s, &agg).sqlstate, sqlstate, "{agg}");
        }
        let named = document.replace("\"time\"", "\"event\": \"a\", \"time\"");
        refused(
            &s,
            &format!("SELECT eventkit.funnel_level('{named}'::jsonb, ARRAY['a', 'a', 'a'], NULL)"),
            sqlstate,
            "element 2 of argument \"events\": ",
            "",
        );
    }
    let none = r#"SELECT eventkit.funnel_level('[{"event": "b"}, {"event": "a"}]'::jsonb, ARRAY['x', 'a'], NULL)"#;
    refused(&s, none, "22007", "element 2 of argument \"events\": event without a time", "step 2");
}

#[test]
fn documents_nested_deeply_are_read_or_refused() {
    // A server of its own: what breaks here must not take the other tests along.
    let cluster = Cluster::start(PgVersion::under_test().unwrap()).unwrap();
    cluster.create_database("deep").unwrap();
    cluster.create_extension("deep").unwrap();
    let deep = |levels: u32| format!("(repeat('[', {levels}) || repeat(']', {levels}))");
    let object = |levels: u32| format!("('{{\"event_id\": ' || {} || '}}')::jsonb", deep(levels));
    let mut broken = Vec::new();
    for stack in ["2MB", "7MB"] {
        for levels in [100, 1000, 2000, 4000, 5000, 9000, 50000] {
            for call in [
                format!("jsonb_array_length(eventkit.dedupe_events(jsonb_build_array({})))", object(levels)),
                format!("eventkit.count_events(jsonb_build_array({0}), {0})", object(levels)),
                format!("eventkit.funnel_level({D}, {})", object(levels)),
                format!(
                    "eventkit.funnel_level(jsonb_build_array({}), '{{\"steps\": [\"a\"], \"name_key\": \"event_id\"}}'::jsonb)",
                    object(levels)
                ),
            ] {
                let s = Session::open(&cluster, "deep", "deep").unwrap();
                s.query(&format!("SET max_stack_depth = '{stack}'")).unwrap();
                // Answers, limits of ours, of the server's stack, or of what a funnel's definition may hold.
                let fine = match s.query(&format!("SELECT {call}")) {
                    Ok(rows) => rows[0][0].is_some(),
                    Err(failure) => matches!(failure.sqlstate.as_str(), "54000" | "54001" | "22023" | "22032"),
                };
                if !fine || s.value("SELECT 1").is_err() {
                    broken.push(format!(
                        "{levels} levels, {stack} of stack: {}",
                        call.split('(').take(2).collect::<Vec<_>>().join("(")
                    ));
                    // The server takes a moment to notice.
                    std::thread::sleep(std::time::Duration::from_millis(500));
                    cluster.wait_until_ready().unwrap();
                }
            }
        }
    }
    assert!(broken.is_empty(), "the server went down at {broken:#?}");
}

#[test]
fn funnel_arguments_that_make_no_funnel_are_refused() {
    let (_db, s) = open("");
    for e in [H, J, D] {
        let level = |rest: &str| format!("SELECT eventkit.funnel_level({e}, {rest})");
        refused(&s, &level("NULL::text[], '1 hour'"), "22004", "argument \"steps\" must not be NULL", "");
        refused(&s, &level("ARRAY[]::text[], '1 hour'"), "22023", "invalid funnel definition", "steps has 0 steps");
        refused(
            &s,
            &level("array_fill('a'::text, '{65}'), '1 hour'"),
            "22023",
            "invalid funnel definition",
            "steps has 65 steps",
        );
        refused(&s, &level("ARRAY['a', NULL], '1 hour'"), "22004", "element 2 of argument \"steps\" is NULL", "");
        refused(
            &s,
            &level("ARRAY[ARRAY['a', 'b']], '1 hour'"),
            "2202E",
            "argument \"steps\" has 2 dimensions, not one",
            "",
        );
        refused(
            &s,
            &level("ARRAY['a'], '1 month'"),
            "22023",
            "\"conversion_window\" must not have months or years",
            "months: 1;",
        );
        refused(
            &s,
            &level("ARRAY['a'], '2 years'"),
            "22023",
            "\"conversion_window\" must not have months or years",
            "months: 24;",
        );
        refused(
            &s,
            &level("ARRAY['a'], '-1 second'"),
            "22023",
            "\"conversion_window\" is out of range",
            "zero or more",
        );
        refused(
            &s,
            &level("ARRAY['a'], '1 day -25 hours'"),
            "22023",
            "\"conversion_window\" is out of range",
            "zero or more",
        );
        refused(
            &s,
            &level("ARRAY['a'], '1 hour', name_key => NULL"),
            "22004",
            "argument \"name_key\" must not be NULL",
            "",
        );
        refused(
            &s,
            &level("ARRAY['a'], '1 hour', time_key => NULL"),
            "22004",
            "argument \"time_key\" must not be NULL",
            "",
        );
        refused(&s, &level("NULL::jsonb"), "22004", "argument \"definition\" must not be NULL", "");
        // The same through the aggregate, also without any row that is not NULL.
        refused(
            &s,
            &format!("SELECT eventkit.funnel_agg({e}, ARRAY['a'], '1 month')"),
            "22023",
            "\"conversion_window\"",
            "",
        );
        refused(
            &s,
            &format!("SELECT eventkit.funnel_agg({e}, NULL::text[], '1 day')"),
            "22004",
            "argument \"steps\"",
            "",
        );
        refused(&s, &format!("SELECT eventkit.funnel_agg({e}, NULL::jsonb)"), "22004", "argument \"definition\"", "");
    }
    refused(
        &s,
        "SELECT eventkit.funnel_level(NULL::jsonb, ARRAY[]::text[], NULL)",
        "22023",
        "invalid funnel definition",
        "0 steps",
    );
    refused(
        &s,
        "SELECT eventkit.funnel_agg(NULL::jsonb, '{}'::jsonb)",
        "22023",
        "invalid funnel definition",
        "$ lacks",
    );
}

#[test]
fn definition_documents_are_refused_with_the_path() {
    let (_db, s) = open("");
    for (definition, detail) in [
        ("[]", "$ is an array, not an object"),
        ("null", "$ is null, not an object"),
        ("1", "$ is a number"),
        ("\"a\"", "$ is a string"),
        ("{}", "$ lacks the key \"steps\""),
        (r#"{"steps": []}"#, "$.steps has 0 steps"),
        (r#"{"steps": "a"}"#, "$.steps is a string, not an array"),
        (r#"{"steps": {"a": 1}}"#, "$.steps is an object, not an array"),
        (r#"{"steps": ["a", 3]}"#, "$.steps[1] is a number, not an object"),
        (r#"{"steps": ["a", null]}"#, "$.steps[1] is null"),
        (r#"{"steps": [{"event": ["a", 3]}]}"#, "$.steps[0].event[1] is a number, not a string"),
        (r#"{"steps": [{"event": []}]}"#, "$.steps[0].event is an array"),
        (r#"{"steps": [{"event": true}]}"#, "$.steps[0].event is a boolean"),
        (r#"{"steps": [{"evnt": "a"}]}"#, "$.steps[0] has the unknown key \"evnt\""),
        (r#"{"steps": [{"event": "a", "label": 1}]}"#, "$.steps[0].label is a number"),
        (r#"{"steps": ["a"], "windw": "1 day"}"#, "$ has the unknown key \"windw\""),
        (r#"{"steps": ["a"], "window": 5}"#, "$.window is a number, not a string"),
        (r#"{"steps": ["a"], "window": "1 month"}"#, "At $.window: "),
        (r#"{"steps": ["a"], "window": "soon"}"#, "At $.window: "),
        (r#"{"steps": ["a"], "window": "-1 hour"}"#, "At $.window: "),
        (r#"{"steps": ["a"], "window": "99999999999 days"}"#, "At $.window: "),
        (r#"{"steps": ["a"], "mode": "loose"}"#, "$.mode has the value \"loose\""),
        (r#"{"steps": ["a"], "mode": null}"#, "$.mode is null"),
        (r#"{"steps": ["a"], "name_key": 1}"#, "$.name_key is a number"),
        (r#"{"steps": ["a"], "time_key": null}"#, "$.time_key is null"),
    ] {
        for call in ["funnel_level", "funnel_agg"] {
            for e in [H, J, D] {
                refused(&s, &format!("SELECT eventkit.{call}({e}, '{definition}'::jsonb)"), "22023", "", detail);
            }
        }
    }
    let many = format!(
        "SELECT eventkit.funnel_level({D}, jsonb_build_object('steps', (SELECT jsonb_agg('a'::text) FROM generate_series(1, 65))))"
    );
    refused(&s, &many, "22023", "invalid funnel definition", "$.steps has 65 steps");
    let most = many.replace("65", "64");
    assert_eq!(value(&s, &most), "0");
}

#[test]
fn summaries_that_are_none_are_refused() {
    let (_db, s) = open("");
    let made = value(&s, &format!("SELECT eventkit.funnel_agg({D}, ARRAY['a', 'b'], '1 hour')"));
    assert_eq!(value(&s, &format!("SELECT '{made}'::eventkit.funnel_summary")), made);
    let set = |path: &str, to: &str| {
        let changed = value(&s, &format!("SELECT jsonb_set('{made}', '{path}', '{to}')"));
        assert_ne!(changed, value(&s, &format!("SELECT '{made}'::jsonb")), "{path}");
        changed
    };
    let with = |part: &str| made.replacen('{', &format!("{{{part}, "), 1);
    for (text, detail) in [
        (String::new(), ""),
        ("x".to_owned(), ""),
        ("{".to_owned(), ""),
        ("[]".to_owned(), ""),
        ("{}".to_owned(), "missing"),
        (made[..made.len() / 2].to_owned(), ""),
        (format!("{made} x"), ""),
        (set("{version}", "2"), "version is 2"),
        (set("{version}", "\"1\""), ""),
        (set("{steps}", "[]"), ""),
        (set("{steps}", "{}"), ""),
        (set("{steps,0,users}", "2"), "between 0 and"),
        (set("{steps,1,users}", "2"), "between 0 and"),
        (set("{steps,0,users}", "-1"), "between 0 and"),
        (set("{users}", "-1"), ""),
        (set("{users}", "99999999999999999999"), ""),
        (set("{users}", "0.5"), ""),
        (set("{steps,0,label}", "null"), ""),
        (set("{steps,0,extra}", "1"), "extra"),
        (with("\"extra\": 1"), "extra"),
        (with("\"version\": 1"), "version"),
    ] {
        let sql = format!("SELECT '{text}'::eventkit.funnel_summary");
        let failure = fails(&s, &sql);
        assert_eq!(failure.sqlstate, "22P02", "{sql}\n{failure}");
        assert_eq!(failure.message, "invalid input syntax for type funnel_summary");
        assert!(failure.detail.as_deref().is_some_and(|told| told.contains(detail)), "{sql}\n{failure}");
        assert!(failure.hint.is_some(), "{sql}\n{failure}");
    }
    let deep = "SELECT (repeat('[', 100000))::eventkit.funnel_summary";
    assert_eq!(fails(&s, deep).sqlstate, "22P02");
    let summary = |steps: &str| format!("(SELECT eventkit.funnel_agg({D}, ARRAY[{steps}], NULL))");
    let two = format!(
        "SELECT eventkit.rollup(s) FROM (VALUES ({}), ({})) AS t (s)",
        summary("'a', 'b'"),
        summary("'a', 'c'")
    );
    refused(&s, &two, "22023", "summaries of different funnels cannot be put together", "a > b and a > c");
    for width in ["0", "-1", "1001", "2147483647"] {
        let sql = format!("SELECT eventkit.funnel_chart({}, {width})", summary("'a'"));
        refused(&s, &sql, "22023", &format!("invalid value for argument \"width\": {width}"), "1 to 1000");
    }
    refused(
        &s,
        &format!("SELECT eventkit.funnel_chart({}, NULL)", summary("'a'")),
        "22004",
        "argument \"width\" must not be NULL",
        "",
    );
}

#[test]
fn support_functions_called_by_hand_give_errors_or_answers() {
    let (_db, s) = open("");
    for name in ["hstore", "jsonb"] {
        for state in [
            "",
            "00",
            "ffffffffffffffffffffffffffffffff",
            "00000000000000000000000000000000",
            "10000000010000000000000000000000",
            "100000000000000008000000f0ffffff",
        ] {
            for call in [
                format!("event_array_agg_finish_{name}('\\x{state}')"),
                format!("event_array_agg_combine_{name}('\\x{state}', '\\x{state}')"),
            ] {
                let answer = s.query(&format!("SELECT eventkit.{call}"));
                if let Err(failure) = answer {
                    assert!(failure.sqlstate != "XX000" && failure.sqlstate != "08006", "{call}: {failure}");
                    assert!(failure.hint.is_some() && failure.detail.is_some(), "{call}: {failure}");
                }
                assert_eq!(value(&s, "SELECT 1"), "1", "{call}");
            }
        }
    }
    for call in [
        "event_array_agg_add(NULL, NULL::jsonb)",
        "event_array_agg_combine_jsonb(NULL, NULL)",
        "event_array_agg_finish_hstore(NULL)",
        "funnel_summary_combine(NULL, NULL)",
        "conversion_rate(NULL)",
        "funnel_chart(NULL)",
    ] {
        assert_eq!(value(&s, &format!("SELECT eventkit.{call}")), "NULL", "{call}");
    }
}

#[test]
fn wrong_types_are_the_servers_own_errors() {
    let (_db, s) = open("");
    for (sql, sqlstate) in [
        ("SELECT eventkit.dedupe_events(ARRAY['x'])", "42883"),
        ("SELECT eventkit.dedupe_events('[{]'::jsonb)", "22P02"),
        ("SELECT eventkit.dedupe_events(1)", "42883"),
        ("SELECT eventkit.dedupe_events('[]'::json)", "42883"),
        ("SELECT eventkit.slice_events('[]'::jsonb, 'yesterday-ish')", "22007"),
    ] {
        assert_eq!(fails(&s, sql).sqlstate, sqlstate, "{sql}");
    }
    // An untyped literal fits several forms: the server asks for a cast rather than to guess.
    assert_eq!(fails(&s, "SELECT eventkit.dedupe_events('[]')").sqlstate, "42725");
}
