//! What the funnel functions make of unusual and of wrong input: each case of the documented behaviour, in all forms of
//! events and all modes; and that nothing a client can send brings a backend down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails, open, value};
use eventkit_tests::{Failure, Session};

const MODES: [&str; 4] = ["ordered", "strict", "strict_steps", "unordered"];

/// The forms of one user's events, made out of a JSON array: as a document, `jsonb[]`, `hstore[]`, and as chunks of two
/// events each.
fn forms(events: &str) -> [(&'static str, String); 4] {
    let element = format!("FROM jsonb_array_elements($e${events}$e$) WITH ORDINALITY AS u (e, o)");
    [
        ("jsonb", format!("$e${events}$e$::jsonb")),
        ("jsonb[]", format!("ARRAY(SELECT e {element} ORDER BY o)::jsonb[]")),
        (
            "hstore[]",
            format!(
                "ARRAY(SELECT CASE WHEN e = 'null' THEN NULL ELSE (SELECT coalesce(hstore(array_agg(key), array_agg(value)), '') FROM jsonb_each_text(e)) END \
                 {element} ORDER BY o)::hstore[]"
            ),
        ),
        (
            "chunks",
            format!(
                "(SELECT eventkit.event_chunks(chunk ORDER BY n) FROM (SELECT (o - 1) / 2 AS n, jsonb_agg(e ORDER BY o) AS chunk {element} GROUP BY 1) AS c)"
            ),
        ),
    ]
}

/// A definition of a mode; `steps` is JSON.
fn definition(steps: &str, mode: &str) -> String {
    format!(r#"'{{"steps": {steps}, "mode": "{mode}"}}'::jsonb"#)
}

fn level(s: &Session, events: &str, definition: &str) -> String {
    value(s, &format!("SELECT eventkit.funnel_level({events}, {definition})"))
}

/// Asserts the level of some events in each form and mode.
fn levels(s: &Session, events: &str, steps: &str, expected: [&str; 4]) {
    for (mode, expected) in MODES.into_iter().zip(expected) {
        for (form, given) in forms(events) {
            assert_eq!(level(s, &given, &definition(steps, mode)), expected, "{form}, {mode}: {events}");
        }
    }
}

/// Asserts an error that names the element at a 1-based position, in each form.
fn refused_at(s: &Session, events: &str, definition: &str, position: usize, sqlstate: &str, message: &str) {
    for (form, given) in forms(events) {
        for function in ["funnel_level", "funnel_times", "funnel_agg"] {
            let failure = fails(s, &format!("SELECT eventkit.{function}({given}, {definition})"));
            let place = if form == "chunks" {
                format!("element {} of chunk {} of argument", (position - 1) % 2 + 1, (position - 1) / 2 + 1)
            } else {
                format!("element {position} of argument")
            };
            assert_eq!(failure.sqlstate, sqlstate, "{form}: {failure}");
            assert!(failure.message.starts_with(&place), "{form}: {failure}");
            assert!(failure.message.contains(message), "{form}: {failure}");
            assert!(failure.detail.is_some() && failure.hint.is_some(), "{form}: {failure}");
        }
    }
}

#[test]
fn an_event_without_a_name_matches_steps_that_ask_for_none() {
    let (_db, s) = open("");
    let events = r#"[{"event": "a", "time": 1}, {"time": 2}, {"event": null, "time": 3}, {"event": "b", "time": 4}]"#;
    // Named steps pass it by; for `strict` it stands between.
    levels(&s, events, r#"["a", "b"]"#, ["2", "1", "2", "2"]);
    // A step without a name, or of any other name, takes it.
    levels(&s, events, r#"["a", {}, "b"]"#, ["3", "2", "2", "3"]);
    levels(&s, events, r#"["a", {"event": {"not": "x"}}, {"event": {"not": ["x", "y"]}}, "b"]"#, ["4", "4", "4", "4"]);
    levels(&s, r#"[{"time": 1}]"#, r#"["", "null"]"#, ["0", "0", "0", "0"]);
    // A name that is no text counts as its text.
    levels(&s, r#"[{"event": 7, "time": 1}, {"event": true, "time": 2}]"#, r#"["7", "true"]"#, ["2", "2", "2", "2"]);
}

#[test]
fn an_event_without_a_time_is_refused_only_where_its_time_matters() {
    let (_db, s) = open("");
    let events =
        r#"[{"event": "a", "time": 1}, {"event": "x"}, {"event": "b", "time": 2}, {"event": "y", "time": null}]"#;
    for mode in ["ordered", "strict_steps", "unordered"] {
        for (form, given) in forms(events) {
            assert_eq!(level(&s, &given, &definition(r#"["a", "b"]"#, mode)), "2", "{form}, {mode}");
        }
        refused_at(&s, events, &definition(r#"["a", "b", "y"]"#, mode), 4, "22007", "event without a time");
    }
    refused_at(&s, events, &definition(r#"["a", "b"]"#, "strict"), 2, "22007", "event without a time");
}

#[test]
fn a_time_that_does_not_read_is_refused_by_position() {
    let (_db, s) = open("");
    for (time, sqlstate, message) in [
        ("\"soon\"", "22007", "invalid event time: \"soon\""),
        ("\"\"", "22007", "invalid event time: \"\""),
        ("\"2024-02-30T00:00:00Z\"", "22007", "invalid event time"),
        ("\"infinity\"", "22007", "invalid event time: \"infinity\""),
        ("\"-infinity\"", "22007", "invalid event time: \"-infinity\""),
        ("\"Infinity\"", "22007", "invalid event time: \"Infinity\""),
        ("\"NaN\"", "22007", "invalid event time: \"NaN\""),
        ("true", "22007", "invalid event time"),
        ("1e19", "22008", "event time out of range"),
        ("-300000000000000000", "22008", "event time out of range"),
    ] {
        let events = format!(r#"[{{"event": "a", "time": 1}}, null, {{"event": "b", "time": {time}}}]"#);
        for mode in MODES {
            refused_at(&s, &events, &definition(r#"["a", "b"]"#, mode), 3, sqlstate, message);
            // Nobody asks for the time of an event that matches nothing, except `strict`.
            if mode != "strict" {
                for (form, given) in forms(&events) {
                    assert_eq!(level(&s, &given, &definition(r#"["a", "c"]"#, mode)), "1", "{form}, {mode}, {time}");
                }
            }
        }
    }
}

#[test]
fn infinite_numbers_are_out_of_range() {
    let (_db, s) = open("");
    for time in ["1e400", "-1e400", "1e131000"] {
        refused_at(
            &s,
            &format!(r#"[{{"event": "a", "time": {time}}}]"#),
            &definition(r#"["a"]"#, "ordered"),
            1,
            "22008",
            "event time out of range",
        );
    }
}

#[test]
fn times_as_text_and_as_numbers_mix() {
    let (_db, s) = open("");
    // One second apart each, every way to write it: text with a zone, without, with a blank, of digits; seconds,
    // milliseconds, microseconds.
    let events = r#"[{"event": "a", "time": "2024-01-01T00:00:00Z"}, {"event": "b", "time": 1704067201},
                     {"event": "c", "time": "2024-01-01 00:00:02"}, {"event": "d", "time": 1704067203000},
                     {"event": "e", "time": "1704067204"}, {"event": "f", "time": 1704067205000000},
                     {"event": "g", "time": "2024-01-01T02:00:06+02:00"}, {"event": "h", "time": 1704067207.5}]"#;
    let steps = r#"["a", "b", "c", "d", "e", "f", "g", "h"]"#;
    levels(&s, events, steps, ["8"; 4]);
    for (window, expected) in [("7.5 seconds", "8"), ("7.4 seconds", "7"), ("0 seconds", "1")] {
        for mode in MODES {
            for (form, given) in forms(events) {
                let definition = format!(r#"'{{"steps": {steps}, "mode": "{mode}", "window": "{window}"}}'::jsonb"#);
                assert_eq!(level(&s, &given, &definition), expected, "{form}, {mode}, {window}");
            }
        }
    }
}

#[test]
fn null_elements_are_no_events() {
    let (_db, s) = open("");
    levels(
        &s,
        r#"[null, {"event": "a", "time": 1}, null, null, {"event": "b", "time": 2}, null]"#,
        r#"["a", "b"]"#,
        ["2"; 4],
    );
    levels(&s, "[null, null]", r#"[{}, {}]"#, ["0"; 4]);
    let dedupe = r#"'{"steps": ["a", "b"], "mode": "strict", "id_key": "id"}'::jsonb"#;
    for (form, given) in forms(r#"[null, {"event": "a", "time": 1}, null, {"event": "b", "time": 2}]"#) {
        assert_eq!(level(&s, &given, dedupe), "2", "{form}");
    }
}

#[test]
fn the_order_of_the_array_matters_to_ties_alone() {
    let (_db, s) = open("");
    let sorted = [("a", 1), ("x", 2), ("a", 3), ("b", 4), ("b", 4), ("c", 5), ("x", 6), ("c", 7)];
    let json = |events: &[(&str, i32)]| {
        let events: Vec<String> =
            events.iter().map(|(name, time)| format!(r#"{{"event": "{name}", "time": {time}}}"#)).collect();
        format!("[{}]", events.join(", "))
    };
    levels(&s, &json(&sorted), r#"["a", "b", "c"]"#, ["3", "2", "2", "3"]);
    let mut shuffled = sorted.to_vec();
    let mut seed = 7u64;
    for _ in 0..20 {
        for at in (1..shuffled.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(at, usize::try_from(seed >> 33).unwrap() % (at + 1));
        }
        levels(&s, &json(&shuffled), r#"["a", "b", "c"]"#, ["3", "2", "2", "3"]);
    }
    // Events of equal time stay as they stood when others are put in order.
    let ties = r#"'{"steps": ["a", "b"], "ties": "array"}'::jsonb"#;
    for (events, expected) in [([("x", 9), ("a", 1), ("b", 1)], "2"), ([("x", 9), ("b", 1), ("a", 1)], "1")] {
        for (form, given) in forms(&json(&events)) {
            assert_eq!(level(&s, &given, ties), expected, "{form}");
        }
    }
}

#[test]
fn no_events_are_level_zero() {
    let (_db, s) = open("");
    for mode in MODES {
        let definition = definition(r#"["a", "b"]"#, mode);
        for events in [
            "'{}'::hstore[]",
            "'{}'::jsonb[]",
            "'[]'::jsonb",
            "'[]'::eventkit.event_chunks",
            "'[[], []]'::eventkit.event_chunks",
        ] {
            assert_eq!(level(&s, events, &definition), "0", "{events}");
            assert_eq!(value(&s, &format!("SELECT eventkit.funnel_times({events}, {definition})::text")), "{}");
            assert_eq!(
                value(
                    &s,
                    &format!(
                        "SELECT string_agg(users::text, ' ') FROM eventkit.funnel_table((SELECT eventkit.funnel_agg({events}, {definition})))"
                    )
                ),
                "0 0"
            );
        }
    }
}

#[test]
fn a_window_of_zero_holds_equal_times_only() {
    let (_db, s) = open("");
    let events = r#"[{"event": "a", "time": 1}, {"event": "b", "time": 1}, {"event": "c", "time": 1.000001}]"#;
    for (form, given) in forms(events) {
        assert_eq!(
            value(&s, &format!("SELECT eventkit.funnel_level({given}, ARRAY['a', 'b', 'c'], '0')")),
            "2",
            "{form}"
        );
        for mode in MODES {
            let definition = format!(r#"'{{"steps": ["a", "b", "c"], "window": "0 seconds", "mode": "{mode}"}}'"#);
            assert_eq!(level(&s, &given, &definition), "2", "{form}, {mode}");
        }
    }
}

#[test]
fn a_negative_window_is_refused() {
    let (_db, s) = open("");
    for (form, given) in forms("[]") {
        for sql in [
            format!("SELECT eventkit.funnel_level({given}, ARRAY['a'], '-1 second')"),
            format!("SELECT eventkit.funnel_level({given}, ARRAY['a'], '1 day -25 hours')"),
            format!(r#"SELECT eventkit.funnel_level({given}, '{{"steps": ["a"], "window": "-1 second"}}')"#),
            format!(
                r#"SELECT eventkit.funnel_level({given}, '{{"steps": ["a", {{"event": "b", "within": "-1 second"}}]}}')"#
            ),
            format!("SELECT eventkit.funnel_agg({given}, ARRAY['a'], '-1 second')"),
        ] {
            let failure = fails(&s, &sql);
            assert_eq!(failure.sqlstate, "22023", "{form}: {sql}: {failure}");
            assert!(failure.detail.is_some() && failure.hint.is_some(), "{failure}");
        }
    }
}

/// A table of one user with a million events of one time: one `a`, then `b` and `c` in turn.
const MILLION: &str = "
CREATE TABLE tied AS SELECT array_agg(jsonb_build_object('event', CASE i WHEN 1 THEN 'a' ELSE chr(98 + i % 2) END, 'time', 1704067200) ORDER BY i) AS j
FROM generate_series(1, 1000000) AS i;
ALTER TABLE tied ADD d jsonb, ADD h hstore[], ADD c eventkit.event_chunks;
UPDATE tied SET d = to_jsonb(j), h = ARRAY(SELECT hstore(ARRAY['event', e ->> 'event', 'time', '1704067200']) FROM unnest(j) AS e),
                c = (SELECT eventkit.event_chunks(part) FROM (SELECT o % 100, array_agg(e) AS part FROM unnest(j) WITH ORDINALITY AS u (e, o) GROUP BY 1) AS p);
SET statement_timeout = '120s';
";

#[test]
fn a_million_events_of_one_time_are_read_in_every_mode_and_can_be_cancelled() {
    let (_db, s) = open(MILLION);
    // Work in the square of the tied events would take days.
    for (column, mode) in [("j", "ordered"), ("d", "strict"), ("h", "strict_steps"), ("c", "unordered")] {
        let definition = definition(r#"["a", "b", "c", "b", "d"]"#, mode);
        assert_eq!(
            value(&s, &format!("SELECT cardinality(eventkit.funnel_times({column}, {definition})) FROM tied")),
            "4",
            "{column}, {mode}"
        );
    }
    s.query("SET statement_timeout = '20ms'").unwrap();
    for column in ["j", "d", "h", "c"] {
        for mode in MODES {
            let definition = definition(r#"["a", "b", "c", "b", "d"]"#, mode);
            let failure = fails(&s, &format!("SELECT eventkit.funnel_times({column}, {definition}) FROM tied"));
            assert_eq!(failure.sqlstate, "57014", "{column}, {mode}: {failure}");
        }
    }
}

#[test]
fn there_are_64_steps_at_most() {
    let (_db, s) = open("");
    let steps = |count: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("\"s{at}\"")).collect();
        format!("[{}]", names.join(", "))
    };
    let events: Vec<String> = (0..64).map(|at| format!(r#"{{"event": "s{at}", "time": {at}}}"#)).collect();
    let events = format!("[{}]", events.join(", "));
    levels(&s, &events, &steps(64), ["64"; 4]);
    levels(&s, &events, &steps(1), ["1"; 4]);
    for mode in MODES {
        for (_, given) in forms(&events) {
            let failure =
                fails(&s, &format!("SELECT eventkit.funnel_level({given}, {})", definition(&steps(65), mode)));
            assert_eq!(failure.sqlstate, "22023", "{failure}");
            assert_eq!(failure.detail.as_deref(), Some("$.steps has 65 steps."));
        }
        assert_eq!(
            value(
                &s,
                &format!(
                    "SELECT count(*) FROM eventkit.funnel_table((SELECT eventkit.funnel_agg('{events}'::jsonb, {}))) WHERE users = 1",
                    definition(&steps(64), mode)
                )
            ),
            "64"
        );
    }
}

#[test]
fn sixty_four_steps_over_many_ties_can_be_cancelled() {
    // 64 steps of which every event matches many, all events at one time: the worst there is for finding which event takes
    // which step.
    let (_db, s) = open(
        "CREATE TABLE tied AS SELECT array_agg(jsonb_build_object('event', 's' || i % 64, 'time', 1) ORDER BY i) AS j
         FROM generate_series(0, 199999) AS i",
    );
    let names: Vec<String> = (0..64).map(|at| format!("\"s{at}\"")).collect();
    let all = format!("[{}]", names.join(", "));
    // Each step takes all names but one.
    let most: Vec<String> = (0..64).map(|at| format!(r#"{{"event": {{"not": "s{at}"}}}}"#)).collect();
    let most = format!("[{}]", most.join(", "));
    for mode in MODES {
        for steps in [&all, &most] {
            s.query("SET statement_timeout = '120s'").unwrap();
            let sql = format!("SELECT eventkit.funnel_level(j, {}) FROM tied", definition(steps, mode));
            assert_eq!(value(&s, &sql), "64", "{mode}");
            s.query("SET statement_timeout = '5ms'").unwrap();
            assert_eq!(fails(&s, &sql).sqlstate, "57014", "{mode}");
        }
    }
}

#[test]
fn definitions_of_a_megabyte_are_read_or_refused() {
    let (_db, s) = open("SET statement_timeout = '120s'");
    let events = r#"'[{"event": "n99999", "time": 1}, {"event": "b", "time": 2}]'::jsonb"#;
    let run = |definition: &str| s.value(&format!("SELECT eventkit.funnel_level({events}, ({definition})::jsonb)"));
    for mode in MODES {
        // A step of many names.
        let names = format!(
            r#"SELECT jsonb_build_object('mode', '{mode}', 'steps', jsonb_build_array(jsonb_build_object('event', jsonb_agg('n' || i)), 'b')) FROM generate_series(0, 99999) AS i"#
        );
        assert_eq!(run(&names).unwrap().as_deref(), Some("2"), "{mode}");
        // 64 steps of many names each.
        let many = format!(
            r#"SELECT jsonb_build_object('mode', '{mode}', 'steps', jsonb_agg(jsonb_build_object('event', names) ORDER BY step))
               FROM (SELECT step, jsonb_agg('n' || i) AS names FROM generate_series(0, 63) AS step, generate_series(97000, 99999) AS i
                     WHERE (i + step) % 4 = 3 GROUP BY step) AS n"#
        );
        assert_eq!(run(&many).unwrap().as_deref(), Some("1"), "{mode}");
        // Long names that must not match, in 64 steps.
        let not = format!(
            r#"SELECT jsonb_build_object('mode', '{mode}', 'steps', jsonb_agg(jsonb_build_object('event', jsonb_build_object('not', names))))
               FROM (SELECT jsonb_agg(repeat('m', 160) || i) AS names FROM generate_series(0, 99) AS i) AS n, generate_series(1, 64)"#
        );
        assert_eq!(run(&not).unwrap().as_deref(), Some("2"), "{mode}");
    }
    // A name, a label, a key and a condition of a megabyte.
    for (definition, level) in [
        (r#"SELECT jsonb_build_object('steps', jsonb_build_array(repeat('x', 1000000)))"#, "0"),
        (
            r#"SELECT jsonb_build_object('steps', jsonb_build_array(jsonb_build_object('event', 'b', 'label', repeat('x', 1000000))))"#,
            "1",
        ),
        (r#"SELECT jsonb_build_object('steps', jsonb_build_array('b'), 'id_key', repeat('x', 1000000))"#, "1"),
        (
            r#"SELECT jsonb_build_object('steps', jsonb_build_array(jsonb_build_object('event', 'b', 'where', jsonb_build_object('p', jsonb_build_object('not_in', (SELECT jsonb_agg(i) FROM generate_series(1, 100000) AS i))))))"#,
            "1",
        ),
        (
            r#"SELECT jsonb_build_object('steps', jsonb_build_array(jsonb_build_object('event', 'b', 'where', (SELECT jsonb_object_agg('p' || i, '{"exists": false}'::jsonb) FROM generate_series(1, 50000) AS i))))"#,
            "1",
        ),
    ] {
        assert_eq!(run(definition).unwrap().as_deref(), Some(level), "{definition}");
    }
    // What is wrong in one is told in a line.
    for definition in [
        r#"SELECT jsonb_build_object('steps', jsonb_build_array('b'), repeat('x', 1000000), 1)"#,
        r#"SELECT jsonb_build_object('steps', jsonb_build_array('b'), 'mode', repeat('x', 1000000))"#,
        r#"SELECT jsonb_build_object('steps', jsonb_build_array('b'), 'window', repeat('x', 1000000))"#,
        r#"SELECT jsonb_build_object('steps', jsonb_build_array(jsonb_build_object('event', 'b', 'where', jsonb_build_object('p', jsonb_build_object(repeat('x', 1000000), 1)))))"#,
        r#"SELECT jsonb_build_object('steps', jsonb_build_array(jsonb_build_object('event', 'b', 'where', jsonb_build_object(repeat('x', 1000000), NULL))))"#,
        r#"SELECT jsonb_build_object('steps', jsonb_agg('s'::text)) FROM generate_series(1, 200000)"#,
    ] {
        let failure = run(definition).unwrap_err();
        clear(&failure, definition);
        assert!(failure.to_string().len() < 2000, "{} bytes: {definition}", failure.to_string().len());
    }
    // Of a text[] as well.
    let failure =
        fails(&s, &format!("SELECT eventkit.funnel_level({events}, array_fill('a'::text, '{{200000}}'), NULL)"));
    clear(&failure, "steps");
}

/// Asserts that an error is one of wrong input or of a limit, says what was found, and shows nothing of the inside.
fn clear(failure: &Failure, cause: &str) {
    assert!(["22", "0A", "54"].iter().any(|class| failure.sqlstate.starts_with(class)), "{cause}\n{failure}");
    assert!(failure.detail.as_deref().is_some_and(|detail| !detail.is_empty()), "no DETAIL: {cause}\n{failure}");
    for inside in ["panicked", ".rs:", "unwrap", "backtrace"] {
        assert!(!failure.to_string().contains(inside), "{cause}\n{failure}");
    }
}

/// Pseudo-random numbers, the same in each run.
/// Source: G. Marsaglia, "Xorshift RNGs", 2003.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn pick<'p>(&mut self, from: &[&'p str]) -> &'p str {
        from[self.below(from.len())]
    }
}

const WHOLE: &str = r#"{"steps": ["a", {"event": ["b", "c"], "where": {"p": {"gte": 1, "lt": 1e3}, "q": "x"}, "label": "two", "within": "1 hour"}, {"event": {"not": "d"}, "optional": true}], "window": "2 days", "mode": "ordered", "ties": "any", "increasing": false, "entry": "any", "id_key": "event_id", "name_key": "event", "time_key": "time"}"#;

/// Values to put where another one stands.
const VALUES: [&str; 24] = [
    "null",
    "true",
    "0",
    "-1",
    "1e308",
    "9999999999999999999999",
    "\"\"",
    "\"a\"",
    "\"-1 s\"",
    "\"P1M\"",
    "\"99999999999 days\"",
    "\"\\u00e9\\ud83d\\ude00\"",
    "\"1 hour 1 hour\"",
    "\"strict\"",
    "\"unordered\"",
    "\"first\"",
    "[]",
    "[[]]",
    "[null]",
    "[\"a\", 1]",
    "{}",
    "{\"not\": []}",
    "{\"in\": [\"a\", null]}",
    "{\"contains\": 1}",
];

/// Keys to put where another one stands.
const KEYS: [&str; 16] = [
    "\"steps\"",
    "\"event\"",
    "\"where\"",
    "\"label\"",
    "\"optional\"",
    "\"within\"",
    "\"window\"",
    "\"mode\"",
    "\"ties\"",
    "\"increasing\"",
    "\"entry\"",
    "\"id_key\"",
    "\"exclude\"",
    "\"not\"",
    "\"exists\"",
    "\"\"",
];

/// The tokens of a JSON text.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let mut token = c.to_string();
        match c {
            '"' => {
                for c in chars.by_ref() {
                    token.push(c);
                    if c == '"' {
                        break;
                    }
                }
            }
            ' ' => continue,
            '{' | '}' | '[' | ']' | ',' | ':' => {}
            _ => {
                while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+')) {
                    token.push(c);
                }
            }
        }
        tokens.push(token);
    }
    tokens
}

/// The text with a few tokens replaced, doubled, dropped or swapped.
fn mutated(text: &str, random: &mut Random) -> String {
    let mut tokens = tokens(text);
    for _ in 0..=random.below(3) {
        let at = random.below(tokens.len());
        match random.below(10) {
            0 => drop(tokens.remove(at)),
            1 => {
                let token = tokens[at].clone();
                tokens.insert(at, token);
            }
            2 => {
                let other = random.below(tokens.len());
                tokens.swap(at, other);
            }
            3 | 4 => tokens[at] = random.pick(&KEYS).to_owned(),
            _ if matches!(tokens[at].as_str(), "{" | "}" | "[" | "]" | "," | ":") => {}
            _ => tokens[at] = random.pick(&VALUES).to_owned(),
        }
        if tokens.is_empty() {
            break;
        }
    }
    tokens.concat()
}

#[test]
fn mutated_definitions_give_a_level_or_a_clear_error() {
    let (_db, s) = open("");
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut read, mut refused) = (0, 0);
    let events = forms(
        r#"[{"event": "a", "time": 1, "p": 5, "q": "x"}, {"event": "b", "time": 2, "p": 5, "q": "x"}, {"event": "c", "time": 3}]"#,
    );
    let pid = value(&s, "SELECT pg_backend_pid()");
    for turn in 0..6000 {
        let text = mutated(WHOLE, &mut random);
        let (_, events) = &events[turn % events.len()];
        let function = ["funnel_level", "funnel_times", "funnel_agg"][turn % 3];
        match s.query(&format!("SELECT eventkit.{function}({events}, $d${text}$d$::jsonb)::text")) {
            Ok(_) => read += 1,
            Err(failure) => {
                // What is no JSON, the server refuses.
                assert!(failure.sqlstate != "08006", "the backend is gone: {text}");
                clear(&failure, &text);
                refused += i32::from(failure.sqlstate != "22P02");
            }
        }
    }
    assert!(read > 500 && refused > 500, "{read} read, {refused} refused");
    assert_eq!(value(&s, "SELECT pg_backend_pid()"), pid);
}

/// A summary of some users that took different times, of a funnel with an optional step.
const SUMMARY: &str = r#"SELECT eventkit.funnel_agg(
    jsonb_build_array(jsonb_build_object('event', 'a', 'time', 0), jsonb_build_object('event', 'b', 'time', n * n)) ||
    CASE WHEN n % 2 = 0 THEN jsonb_build_object('event', 'c', 'time', n * n + 7) ELSE '[]' END,
    '{"steps": ["a", {"event": "b", "optional": true}, "c"]}'::jsonb) AS summary FROM generate_series(1, 20) AS n"#;

/// Everything that reads a summary.
const READERS: &str = "(SELECT count(*) FROM eventkit.funnel_table(summary)), eventkit.conversion_rate(summary), eventkit.funnel_chart(summary), summary::text, eventkit.funnel_summary_send(summary)";

#[test]
fn mutated_texts_of_summaries_give_a_summary_or_a_clear_error() {
    let (_db, s) = open("");
    let good = value(&s, &format!("SELECT summary::text FROM ({SUMMARY}) AS q"));
    let values = [
        "0",
        "-1",
        "1e308",
        "-1e308",
        "1e999",
        "9223372036854775807",
        "-9223372036854775808",
        "99999999999999999999",
        "null",
        "\"x\"",
        "[]",
        "{}",
        "0.5",
        "2",
    ];
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..6000 {
        let mut tokens = tokens(&good);
        for _ in 0..=random.below(2) {
            let at = random.below(tokens.len());
            match random.below(8) {
                0 => drop(tokens.remove(at)),
                1 => {
                    let token = tokens[at].clone();
                    tokens.insert(at, token);
                }
                _ if tokens[at].starts_with(|c: char| c.is_ascii_digit()) => {
                    tokens[at] = random.pick(&values).to_owned()
                }
                _ => {}
            }
        }
        let text = tokens.concat();
        // Read, put together with itself, and with the good one.
        let sql = format!(
            "SELECT {READERS} FROM (SELECT $s${text}$s$::eventkit.funnel_summary AS summary) AS q
             UNION ALL SELECT {READERS} FROM (SELECT eventkit.rollup(s) AS summary FROM (VALUES ($s${text}$s$::eventkit.funnel_summary), ($s${text}$s$)) AS v (s)) AS q"
        );
        match s.query(&sql) {
            Ok(_) => read += 1,
            Err(failure) => {
                assert!(failure.sqlstate != "08006", "the backend is gone: {text}");
                clear(&failure, &text);
                refused += 1;
            }
        }
    }
    assert!(read > 300 && refused > 1000, "{read} read, {refused} refused");
}

#[test]
fn a_binary_copy_of_summaries_round_trips_and_a_damaged_one_is_refused() {
    let (db, s) =
        open(&format!("CREATE TABLE good AS {SUMMARY}; CREATE TABLE copied (summary eventkit.funnel_summary)"));
    s.query("INSERT INTO good SELECT eventkit.funnel_agg('[]'::jsonb, ARRAY['a'], NULL) UNION ALL SELECT NULL")
        .unwrap();
    let mut client = db.connect().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut client.copy_out("COPY good TO STDOUT (FORMAT binary)").unwrap(), &mut bytes)
        .unwrap();
    let mut writer = client.copy_in("COPY copied FROM STDIN (FORMAT binary)").unwrap();
    std::io::Write::write_all(&mut writer, &bytes).unwrap();
    assert_eq!(writer.finish().unwrap(), 3);
    let all = |table: &str| {
        value(&s, &format!("SELECT string_agg(coalesce(summary::text, '-'), ' ' ORDER BY summary::text) FROM {table}"))
    };
    assert_eq!(all("copied"), all("good"));

    let good: Vec<u8> =
        client.query_one("SELECT eventkit.funnel_summary_send(summary) FROM good LIMIT 1", &[]).unwrap().get(0);
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    let (mut read, mut refused) = (0, 0);
    let mut try_one = |bytes: &[u8]| {
        let mut message = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01".to_vec();
        message.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        message.extend(bytes);
        message.extend([0xff, 0xff]);
        let mut writer = client.copy_in("COPY copied FROM STDIN (FORMAT binary)").unwrap();
        std::io::Write::write_all(&mut writer, &message).unwrap();
        match writer.finish() {
            Ok(_) => read += 1,
            Err(error) => {
                let said = error.as_db_error().expect("the backend is gone");
                assert_eq!(said.code().code(), "22P03", "{said:?}");
                assert!(said.detail().is_some() && said.hint().is_some(), "{said:?}");
                refused += 1;
            }
        }
    };
    try_one(&[]);
    for at in 0..good.len() {
        try_one(&good[..at]);
    }
    try_one(&[&good[..], b"x"].concat());
    for _ in 0..3000 {
        let mut bad = good.clone();
        for _ in 0..=random.below(2) {
            let at = random.below(bad.len());
            bad[at] = match random.below(4) {
                0 => 0,
                1 => 0xff,
                _ => bad[at] ^ (1 << random.below(8)),
            };
        }
        try_one(&bad);
    }
    assert!(read > 300 && refused > 300, "{read} read, {refused} refused");
    // What was read is a summary like any other.
    s.query(&format!("SELECT {READERS} FROM copied")).unwrap();
    s.query(&format!("SELECT {READERS} FROM (SELECT eventkit.rollup(summary) AS summary FROM (SELECT summary, summary::text::jsonb ->> 'funnel' AS funnel, summary::text::jsonb #>> '{{steps}}' AS steps FROM copied UNION ALL SELECT summary, summary::text::jsonb ->> 'funnel', summary::text::jsonb #>> '{{steps}}' FROM copied) AS c GROUP BY funnel, steps) AS q")).unwrap();
}
