//! docs/reference.md says what the catalog says: the page is made from a live one and compared. EVENTKIT_BLESS=1
//! writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::fmt::Write;

use eventkit_tests::place::checkout;
use eventkit_tests::{shared, wait};
use postgres::Client;

/// What users call, by subject, in the order of the page. What is in none of them serves the others.
const SUBJECTS: [(&str, &[&str]); 10] = [
    (
        "Event arrays",
        &[
            "dedupe_events",
            "append_events",
            "sort_events",
            "slice_events",
            "filter_events",
            "count_events",
            "event_array_agg",
            "event_chunks",
        ],
    ),
    ("Tables of event arrays", &["dedupe_table", "plan_dedupe_table"]),
    (
        "Funnels",
        &[
            "funnel_level",
            "funnel_times",
            "funnel_property",
            "funnel_excluded",
            "funnel_agg",
            "rollup",
            "funnel_table",
            "funnel_chart",
            "funnel_svg",
            "conversion_rate",
            "excluded_users",
        ],
    ),
    ("Saved funnels", &["save_funnel", "refresh_funnel", "refresh_funnels", "drop_funnel"]),
    ("The trend of a funnel", &["funnel_trend_agg", "funnel_trend_table", "funnel_trend_chart"]),
    ("Retention", &["retention_agg", "retention_table", "retention_chart"]),
    ("Paths", &["paths_agg", "event_paths", "event_transitions"]),
    ("Funnels over plain rows", &["window_funnel", "retention"]),
    ("Sequences and sessions", &["sequence_match", "sequence_count", "sequence_events", "sessionize"]),
    (
        "Daily partitions",
        &[
            "manage_partitions",
            "plan_manage_partitions",
            "unmanage_partitions",
            "plan_unmanage_partitions",
            "create_partitions",
            "plan_create_partitions",
            "create_partition",
            "plan_create_partition",
            "attach_partition",
            "abandon_attach",
            "plan_attach_partition",
            "convert_table",
            "plan_convert_table",
            "split_partition",
            "plan_split_partition",
            "unpartition_table",
            "plan_unpartition_table",
            "stop_capture",
            "partition_periods",
            "backfill",
            "plan_backfill",
            "plan_backfill_period",
            "plan_backfill_sequences",
            "plan_backfill_capture",
            "catch_up",
            "plan_catch_up",
            "finish_backfill",
            "plan_finish_backfill",
            "abandon_backfill",
            "plan_abandon_backfill",
            "periods_left",
            "check_backfill",
            "backfill_left_behind",
            "stray_captures",
            "backfill_differences",
            "partition_range",
            "drop_old_partitions",
            "plan_drop_old_partitions",
            "expired_partitions",
            "drain_default",
            "plan_drain_default",
            "default_left_behind",
            "maintain",
            "plan_maintain",
            "schedule_maintenance",
            "check_partitions",
            "check_unfinished",
            "partition_chart",
        ],
    ),
];

const INTRODUCTION: &str = "# Reference

Every object of the schema `eventkit`, as the catalog describes it. The [README](../README.md) says how they are used
together. This page is written by a test out of a live catalog: `EVENTKIT_BLESS=1`, see
[CONTRIBUTING](../CONTRIBUTING.md).

*Immutable*, *stable* and *volatile* are PostgreSQL's words for what a function depends on; *safe*, *restricted* and
*unsafe* say where it may run in a parallel plan. A procedure is open to those whom `EXECUTE` was granted.
";

const ROUTINES: &str = "
    SELECT p.proname::text AS name,
           CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END AS kind,
           pg_get_function_arguments(p.oid) AS arguments,
           coalesce(pg_get_function_result(p.oid), '') AS result,
           CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS volatility,
           CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END AS parallel,
           p.proisstrict AS strict,
           coalesce(obj_description(p.oid, 'pg_proc'), '') AS comment
    FROM pg_proc p WHERE p.pronamespace = 'eventkit'::regnamespace
    ORDER BY p.proname::text COLLATE \"C\", pg_get_function_arguments(p.oid) COLLATE \"C\"";

/// Views, tables and their columns, and types of our own, each with its comment.
const RELATIONS: &str = "
    SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END AS kind, c.relname::text AS name,
           coalesce(obj_description(c.oid, 'pg_class'), '') AS comment,
           array(SELECT format('| `%s` | `%s` | %s |', a.attname, format_type(a.atttypid, a.atttypmod),
                               coalesce(col_description(c.oid, a.attnum), ''))
                 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                 ORDER BY a.attnum) AS columns
    FROM pg_class c WHERE c.relnamespace = 'eventkit'::regnamespace AND c.relkind IN ('r', 'v')
    UNION ALL
    SELECT 'type', t.typname::text, coalesce(obj_description(t.oid, 'pg_type'), ''), '{}'
    FROM pg_type t WHERE t.typnamespace = 'eventkit'::regnamespace AND t.typtype = 'b' AND t.typelem = 0
    ORDER BY 1, 2";

/// One signature, and what the catalog says of it.
struct Routine {
    name: String,
    signature: String,
    labels: String,
    comment: String,
}

fn routines(client: &mut Client) -> Vec<Routine> {
    let read = |row: &postgres::Row| {
        let text = |column: &str| row.get::<_, String>(column);
        let (name, kind, result) = (text("name"), text("kind"), text("result"));
        // The casts that the server puts behind defaults are noise to a reader; `NULL::jsonb` says no more than NULL.
        let arguments = plain_defaults(&text("arguments"));
        let returns = if kind == "procedure" { String::new() } else { format!("\n    → {result}") };
        let mut labels = match kind.as_str() {
            "procedure" => kind,
            _ => format!("{kind}, {}, parallel {}", text("volatility"), text("parallel")),
        };
        if row.get::<_, bool>("strict") {
            labels.push_str(", NULL in, NULL out");
        }
        Routine { signature: format!("{name}({arguments}){returns}"), name, labels, comment: text("comment") }
    };
    client.query(ROUTINES, &[]).unwrap().iter().map(read).collect()
}

/// `x text DEFAULT 'a'::text, y int DEFAULT NULL::int` as `x text DEFAULT 'a', y int DEFAULT NULL`; without `IN`.
fn plain_defaults(arguments: &str) -> String {
    let plain = |argument: &str| {
        let argument = argument.strip_prefix("IN ").unwrap_or(argument);
        match argument.split_once(" DEFAULT ") {
            Some((name, value)) => format!("{name} DEFAULT {}", value.split("::").next().unwrap_or(value)),
            None => argument.to_owned(),
        }
    };
    arguments.split(", ").map(plain).collect::<Vec<_>>().join(", ")
}

/// A comment's sentences and the call that it ends with.
fn parted(comment: &str) -> Option<(&str, &str)> {
    let at = [". SELECT ", ". CALL "].iter().filter_map(|start| comment.find(start)).min()?;
    let (sentences, call) = comment.split_at(at + 1);
    Some((sentences, call.trim().trim_end_matches(';')))
}

/// The entry of one name: what it is for, a call, each signature.
fn entry(page: &mut String, name: &str, overloads: &[&Routine]) {
    writeln!(page, "\n### {name}\n").unwrap();
    let mut comments: Vec<&str> = overloads.iter().map(|routine| routine.comment.as_str()).collect();
    comments.dedup();
    for comment in comments {
        let (sentences, call) =
            parted(comment).unwrap_or_else(|| panic!("the comment of {name} does not end with a call: {comment}"));
        writeln!(page, "{sentences}\n\n```sql\n{call};\n```\n").unwrap();
    }
    let mut labels: Vec<&str> = overloads.iter().map(|routine| routine.labels.as_str()).collect();
    labels.dedup();
    writeln!(page, "{}\n\n```text", labels.join("; ")).unwrap();
    for routine in overloads {
        writeln!(page, "{}", routine.signature).unwrap();
    }
    writeln!(page, "```").unwrap();
}

fn page(client: &mut Client) -> String {
    let routines = routines(client);
    let mut page = INTRODUCTION.to_owned();
    for (subject, names) in SUBJECTS {
        writeln!(page, "\n## {subject}").unwrap();
        for name in names {
            let overloads: Vec<&Routine> = routines.iter().filter(|routine| routine.name == *name).collect();
            assert!(!overloads.is_empty(), "the catalog has no function {name}");
            entry(&mut page, name, &overloads);
        }
    }
    writeln!(page, "\n## Views, tables and types").unwrap();
    for row in client.query(RELATIONS, &[]).unwrap() {
        let (kind, name, comment): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        assert!(!comment.is_empty(), "{kind} {name} has no comment");
        let (sentences, call) = parted(&comment).map_or((comment.as_str(), None), |(s, call)| (s, Some(call)));
        writeln!(page, "\n### {name}\n\n{kind}. {sentences}").unwrap();
        if let Some(call) = call {
            writeln!(page, "\n```sql\n{call};\n```").unwrap();
        }
        let columns: Vec<String> = row.get(3);
        if !columns.is_empty() {
            writeln!(page, "\n| column | type | |\n|---|---|---|\n{}", columns.join("\n")).unwrap();
        }
    }
    writeln!(page, "\n## Inner workings\n\nThe others call these. There is no need to, and they may change.\n")
        .unwrap();
    writeln!(page, "| function | what it does |\n|---|---|").unwrap();
    let public = |name: &str| SUBJECTS.iter().any(|(_, names)| names.contains(&name));
    let mut inner: Vec<&Routine> = routines.iter().filter(|routine| !public(&routine.name)).collect();
    inner.dedup_by(|a, b| a.name == b.name);
    for routine in inner {
        let sentences = parted(&routine.comment).map_or(routine.comment.as_str(), |(sentences, _)| sentences);
        assert!(!sentences.is_empty(), "{} has no comment", routine.name);
        writeln!(page, "| `{}` | {} |", routine.name, sentences.replace('|', "\\|")).unwrap();
    }
    page
}

#[test]
fn the_reference_says_what_the_catalog_says() {
    let made = page(&mut shared::database().unwrap().connect().unwrap());
    let file = checkout().join("docs/reference.md");
    if std::env::var_os("EVENTKIT_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &made).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let difference = made.lines().zip(kept.lines()).position(|(a, b)| a != b);
    let line = difference.unwrap_or_else(|| made.lines().count().min(kept.lines().count()));
    assert!(
        made == kept,
        "docs/reference.md line {} is \"{}\", the catalog says \"{}\"; EVENTKIT_BLESS=1 writes the page anew",
        line + 1,
        kept.lines().nth(line).unwrap_or("(end)"),
        made.lines().nth(line).unwrap_or("(end)")
    );
}

/// What the calls in the comments name.
const FIXTURES: &str = r#"
    CREATE TABLE user_events (user_id text PRIMARY KEY, events jsonb NOT NULL);
    INSERT INTO user_events VALUES ('ann', '[{"event_id": 1, "event": "view", "time": "2024-01-31T10:00:00Z"}]');
    CREATE TABLE raw_events AS SELECT user_id, events -> 0 AS event FROM user_events;
    CREATE TABLE user_days AS SELECT user_id, date '2024-01-31' AS day, events FROM user_events;
    CREATE TABLE daily_funnels AS
        SELECT eventkit.funnel_agg(events, ARRAY['view', 'pay'], '6 hours') AS summary FROM user_events;
    CREATE TABLE exported_funnels AS SELECT summary::text AS stored FROM daily_funnels;
    CREATE TABLE daily_trends AS
        SELECT eventkit.funnel_trend_agg(events, ARRAY['view', 'pay'], '6 hours', '1 day') AS trend FROM user_events;
    CREATE TABLE exported_trends AS SELECT trend::text AS stored FROM daily_trends;
    CREATE TABLE monthly_retention AS SELECT eventkit.retention_agg(events, 'view', 'pay', '1 month') AS summary FROM user_events;
    CREATE TABLE exported_retention AS SELECT summary::text AS stored FROM monthly_retention;
    CREATE TABLE daily_paths AS SELECT eventkit.paths_agg(events) AS summary FROM user_events;
    CREATE TABLE exported_paths AS SELECT summary::text AS stored FROM daily_paths;
    SELECT eventkit.save_funnel('signup', '{"steps": ["view", "pay"]}', source => 'user_events');
    SELECT eventkit.save_funnel('old signup', '{"steps": ["view", "pay"]}', source => 'user_events');
    CREATE TABLE public.events (id bigint PRIMARY KEY, at timestamptz NOT NULL);
    INSERT INTO public.events VALUES (1, '2024-01-01 12:00Z'), (2, '2024-01-02 12:00Z');
    CREATE SCHEMA app;
    CREATE TABLE app.events (id bigserial, at timestamptz NOT NULL) PARTITION BY RANGE (at);
    CALL eventkit.create_partition('app.events', '2024-01-01');
    CREATE TABLE app.events_20231231 (LIKE app.events);
    CREATE PROCEDURE app.archive(partition regclass) LANGUAGE sql AS 'SELECT 1';
    CREATE TABLE app.june (LIKE app.events);
    INSERT INTO app.june VALUES (1, '2023-06-06 12:00Z');
    CREATE TABLE app.orders (id bigserial, at timestamptz NOT NULL);
    INSERT INTO app.orders (at) VALUES (now() - interval '3 days');
    CREATE TABLE app.visits (at timestamptz NOT NULL);
    CREATE TABLE app.visits_changes (seq bigint, added boolean, changed app.visits);
    CREATE TABLE app.visits_plain (LIKE app.visits);
"#;

/// A capture as a split makes one: in one transaction.
const CAPTURED: &str = r#"
    CREATE TABLE app.taps (at timestamptz NOT NULL);
    CREATE TABLE app.taps_changes (seq bigint, added boolean, changed app.taps);
    COMMENT ON TABLE app.taps_changes IS 'changes captured by eventkit from "app"."taps"';
    CREATE FUNCTION app.taps_capture() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO "app"."taps_changes" (added, changed) VALUES (true, NEW); RETURN NULL; END';
    CREATE TRIGGER eventkit_capture AFTER INSERT ON app.taps FOR EACH ROW EXECUTE FUNCTION app.taps_capture();
    CREATE TRIGGER eventkit_truncate BEFORE TRUNCATE ON app.taps EXECUTE FUNCTION app.taps_capture();
    ALTER TABLE app.taps ENABLE ALWAYS TRIGGER eventkit_capture, ENABLE ALWAYS TRIGGER eventkit_truncate"#;

#[test]
fn every_call_in_a_comment_runs() {
    let db = shared::database().unwrap();
    let mut client = db.connect().unwrap();
    // Statement by statement: a procedure that commits cannot run in the transaction of several.
    for statement in FIXTURES.split(';') {
        client.batch_execute(statement).unwrap();
    }
    client.batch_execute(CAPTURED).unwrap();
    let mut described: Vec<(String, String)> =
        routines(&mut client).into_iter().map(|routine| (routine.name, routine.comment)).collect();
    described.dedup();
    assert!(described.len() > SUBJECTS.len());
    for (name, comment) in described {
        let (_, call) = parted(&comment).unwrap_or_else(|| panic!("the comment of {name} has no call: {comment}"));
        // What applies or ends a capture needs one.
        if ["abandon", "apply", "catch_up", "finish", "remove_capture"].iter().any(|part| name.contains(part)) {
            wait::until(db.cluster, &db.name, "NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')").unwrap();
            client.batch_execute("CALL eventkit.backfill('public.events', 'app.events')").unwrap();
        }
        wait::until(db.cluster, &db.name, "NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')").unwrap();
        // A connection each: a call may leave a lock with its session.
        db.connect().unwrap().batch_execute(call).unwrap_or_else(|error| panic!("{name}: {call}: {error:?}"));
    }
}

#[test]
fn a_comment_is_parted_before_its_call() {
    assert_eq!(parted("Counts. One pass. SELECT f(a) FROM t;"), Some(("Counts. One pass.", "SELECT f(a) FROM t")));
    assert_eq!(parted("Does it. CALL p('t')"), Some(("Does it.", "CALL p('t')")));
    assert_eq!(parted("Selects nothing."), None);
}

#[test]
fn defaults_are_shown_as_one_would_write_them() {
    assert_eq!(
        plain_defaults("IN a regclass, b text DEFAULT 'x'::text, c jsonb DEFAULT NULL::jsonb, d integer DEFAULT 40"),
        "a regclass, b text DEFAULT 'x', c jsonb DEFAULT NULL, d integer DEFAULT 40"
    );
}
