//! Look-alikes first in the search path: what procedures that COMMIT, and so cannot pin the path, are written with, and that none of it runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{lines, open, value};
use eventkit_tests::Session;

/// Before the server's own stand: a function for each function, an operator for each operator, a domain for each type, a table for
/// each table, of the server and of the extension. Whatever of them is used raises an error.
const LOOK_ALIKES: &str = "CREATE SCHEMA evil; CREATE FUNCTION evil.ran() RETURNS boolean LANGUAGE internal AS 'trigger_in';
    DO $$ DECLARE statement text; BEGIN
      FOR statement IN
        SELECT format('CREATE FUNCTION evil.%I(%s) RETURNS boolean LANGUAGE internal AS ''trigger_in''', p.proname,
            (SELECT string_agg(CASE WHEN p.provariadic <> 0 AND u.place = p.pronargs THEN 'VARIADIC ' ELSE '' END || format_type(u.type, NULL), ', ' ORDER BY u.place) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u (type, place)))
          FROM (SELECT DISTINCT ON (proname, proargtypes) * FROM pg_proc WHERE pronamespace IN ('pg_catalog'::regnamespace, 'eventkit'::regnamespace) AND prokind <> 'p') p
          WHERE p.proname <> 'ran' AND 0 <> ALL (p.proargtypes::oid[])
        UNION ALL
        SELECT DISTINCT format('CREATE FUNCTION evil.\"operator\"(%s) RETURNS boolean LANGUAGE internal AS ''trigger_in''', concat_ws(', ', CASE WHEN oprleft <> 0 THEN format_type(oprleft, NULL) END, format_type(oprright, NULL)))
          FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprcode <> 0
      LOOP EXECUTE statement; END LOOP;
      FOR statement IN
        SELECT format('CREATE OPERATOR evil.%s (%sRIGHTARG = %s, FUNCTION = evil.\"operator\")', oprname, CASE WHEN oprleft <> 0 THEN format('LEFTARG = %s, ', format_type(oprleft, NULL)) END, format_type(oprright, NULL))
          FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprcode <> 0
        UNION ALL
        SELECT format('CREATE TABLE evil.%I ()', relname) FROM pg_class
          WHERE relnamespace IN ('pg_catalog'::regnamespace, 'eventkit'::regnamespace) AND relkind IN ('r', 'v')
        UNION ALL
        SELECT format('CREATE DOMAIN evil.%1$I AS pg_catalog.%1$I CHECK (evil.ran())', typname) FROM pg_type
          WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') AND typname !~ '^_' AND typname NOT IN ('pg_node_tree', 'char')
      LOOP EXECUTE statement; END LOOP;
      CREATE DOMAIN evil.record AS text CHECK (evil.ran());
    END $$;";

const RAN: &str = "cannot accept a value of type trigger";

/// A session whose path begins with the look-alikes, after some SQL.
fn surrounded(setup: &str) -> (eventkit_tests::shared::Database, Session) {
    let (db, s) = open(&format!("{LOOK_ALIKES} {setup}"));
    s.query("SET search_path = evil, pg_catalog, public").unwrap();
    for asked in [
        "SELECT 'a' = 'b'::pg_catalog.text",
        "SELECT 1::pg_catalog.oid IS DISTINCT FROM 2::pg_catalog.oid",
        "SELECT ''::text",
        "SELECT now()",
        "SELECT format('%s', 1)",
        "SELECT 2 IN (1, 3)",
    ] {
        let failure = s.query(asked).unwrap_err();
        assert!(failure.message.contains(RAN), "{asked}: {failure}");
    }
    let _ = s.take_notices();
    (db, s)
}

/// Calls, and gives what was said; `refused` is the SQLSTATE of the error that is due.
fn heard(s: &Session, call: &str, refused: Option<&str>) -> String {
    let ended = s.query(call);
    match (&ended, refused) {
        (Ok(_), None) => {}
        (Err(failure), Some(state)) => assert_eq!(failure.sqlstate, state, "{call}: {failure:?}"),
        _ => panic!("{call}: {ended:?}"),
    }
    let heard = s.take_notices().join("\n");
    assert!(!heard.contains(RAN), "{call}: {heard}");
    heard
}

/// In transactions of their own, and inside of a block that is taken back first.
fn both_ways(s: &Session, call: &str) -> String {
    s.query("BEGIN").unwrap();
    heard(s, call, None);
    s.query("ROLLBACK").unwrap();
    heard(s, call, None)
}

const EVENTS: &str = "CREATE TABLE e (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-07 00:00Z');
    INSERT INTO e SELECT n, '2024-01-01 12:00Z'::timestamptz + (n - 1) * interval '1 day' FROM generate_series(1, 6) n;
    INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, retention, on_expiry) VALUES ('e', '1 day', 'UTC', 1, '3 days', 'drop');
    CREATE TABLE archived (partition text); CREATE PROCEDURE archive(partition regclass) LANGUAGE sql SET search_path = pg_catalog AS 'INSERT INTO public.archived VALUES (partition::text)';";

const COUNT: &str = "SELECT pg_catalog.count(*) FROM public.e";

#[test]
fn partitions_are_made_drained_retired_and_maintained() {
    for default in [
        "",
        "CREATE TABLE rest PARTITION OF e DEFAULT; INSERT INTO e VALUES (100, '2024-02-01 12:00Z'), (101, '2024-02-02 12:00Z'), (102, '1969-01-01 12:00Z')",
    ] {
        let (_db, s) = surrounded(&format!(
            "{EVENTS} {default}; CREATE TABLE notes (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES e); INSERT INTO notes SELECT id, at FROM e WHERE id = 2;"
        ));
        both_ways(&s, "CALL eventkit.create_partition('public.e', '2024-01-07')");
        both_ways(&s, "CALL eventkit.create_partitions('public.e', '2024-01-08 00:00Z', '2024-01-10 00:00Z')");
        both_ways(&s, "CALL eventkit.drain_default('public.e', batch_rows => 0)");
        let told = heard(
            &s,
            "CALL eventkit.drop_old_partitions('public.e', '2024-01-03 00:00Z', archive => 'public.archive(pg_catalog.regclass)')",
            None,
        );
        assert!(
            told.contains("e_20240101 of e: dropped")
                && told.contains("partition e_20240102 is kept: public.e_20240102 is still needed"),
            "{told}"
        );
        both_ways(
            &s,
            "CALL eventkit.drop_old_partitions('public.e', '2024-01-04 00:00Z', archive => 'public.archive(pg_catalog.regclass)')",
        );
        s.query(
            "UPDATE eventkit.partition_settings SET archive = 'public.archive(regclass)'; DELETE FROM public.notes",
        )
        .unwrap();
        heard(&s, "CALL eventkit.maintain(as_of => '2024-01-09 00:00Z')", None);
        assert_eq!(value(&s, COUNT), if default.is_empty() { "1" } else { "4" });
        both_ways(
            &s,
            "CALL eventkit.manage_partitions('public.e', premake => 2, archive_with => 'public.archive(pg_catalog.regclass)', retention => '100 years')",
        );
        both_ways(&s, "CALL eventkit.unmanage_partitions('public.e')");
        heard(&s, "CALL eventkit.drop_old_partitions('public.e')", Some("55000"));
        heard(&s, "CALL eventkit.drain_default('public.notes')", Some("42809"));
    }
}

#[test]
fn a_table_is_attached_converted_split_and_made_plain() {
    let (_db, s) = surrounded(&format!(
        "{EVENTS} CREATE TABLE june (at timestamptz NOT NULL, id int NOT NULL); INSERT INTO june VALUES ('2024-06-15 12:00Z', 50); CREATE TABLE wrong (at timestamptz NOT NULL, id int NOT NULL); INSERT INTO wrong VALUES ('2024-06-15 12:00Z', 50);
         CREATE TABLE o (id int, at timestamptz NOT NULL); INSERT INTO o SELECT n, now() - n * interval '1 day' FROM generate_series(1, 5) n;"
    ));
    both_ways(
        &s,
        "CALL eventkit.attach_partition('public.e', 'public.june', '2024-06-01 00:00Z', '2024-07-01 00:00Z')",
    );
    heard(
        &s,
        "CALL eventkit.attach_partition('public.e', 'public.june', '2024-06-01 00:00Z', '2024-07-01 00:00Z')",
        None,
    );
    heard(
        &s,
        "CALL eventkit.attach_partition('public.e', 'public.wrong', '2024-08-01 00:00Z', '2024-09-01 00:00Z')",
        Some("23514"),
    );
    assert_eq!(value(&s, COUNT), "7");
    heard(&s, "CALL eventkit.convert_table('public.o', 'nothing')", Some("42703"));
    heard(&s, "CALL eventkit.convert_table('public.o', 'at', premake => 2)", None);
    heard(&s, "CALL eventkit.split_partition('public.o')", None);
    heard(&s, "CALL eventkit.split_partition('public.o')", None);
    assert_eq!(value(&s, "SELECT pg_catalog.count(DISTINCT tableoid::pg_catalog.int8) FROM public.o"), "5");
    heard(&s, "CALL eventkit.unpartition_table('public.o')", None);
    assert_eq!(value(&s, "SELECT pg_catalog.count(*) FROM ONLY public.o"), "5");
    heard(&s, "CALL eventkit.unpartition_table('public.o')", Some("42809"));
}

#[test]
fn a_source_is_copied_and_caught_up() {
    let (_db, s) = surrounded(
        "CREATE TABLE e (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL); CREATE INDEX ON src (at);
         INSERT INTO src SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '12 hours' FROM generate_series(0, 5) n;",
    );
    heard(&s, "CALL eventkit.backfill('public.src', 'public.e', verify => 'content')", None);
    s.query("SET search_path = public; UPDATE src SET id = 60 WHERE id = 1; INSERT INTO src VALUES (7, '2024-02-02 12:00Z'); DELETE FROM src WHERE id = 3; SET search_path = evil, pg_catalog, public").unwrap();
    heard(&s, "CALL eventkit.catch_up('public.src', 'public.e', 2)", None);
    heard(&s, "CALL eventkit.finish_backfill('public.src', 'public.e')", None);
    heard(&s, "CALL eventkit.backfill('public.src', 'public.src')", Some("42809"));
    assert_eq!(value(&s, COUNT), "6");
}

/// What stands in a text of SQL outside of comments and literals, in words, operators and brackets; a literal is `''`.
fn tokens(source: &str) -> Vec<String> {
    let symbols = "+-*/<>=~!@#%^&|`?:";
    let text: Vec<char> = source.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    let until = |from: usize, end: &dyn Fn(usize) -> bool| (from..text.len()).find(|n| end(*n)).unwrap_or(text.len());
    while let Some(c) = text.get(at) {
        let next = text.get(at + 1);
        let end = if *c == '-' && next == Some(&'-') {
            until(at, &|n| text[n] == '\n')
        } else if *c == '\'' {
            // Two of them are one inside.
            let inside = |n: usize| text[at + 1..n].iter().rev().take_while(|c| **c == '\'').count() % 2 == 1;
            until(at + 1, &|n| text[n] == '\'' && text.get(n + 1) != Some(&'\'') && !inside(n)) + 1
        } else if *c == '"' {
            until(at + 1, &|n| text[n] == '"') + 1
        } else if c.is_alphanumeric() || *c == '_' || *c == '$' {
            until(at, &|n| !(text[n].is_alphanumeric() || "_$".contains(text[n])))
        } else if symbols.contains(*c) {
            until(at, &|n| !symbols.contains(text[n]))
        } else {
            at + 1
        };
        let token: String = text[at..end.min(text.len())].iter().collect();
        match c {
            '\'' => found.push("''".to_owned()),
            '-' if next == Some(&'-') => {}
            c if c.is_whitespace() => {}
            '"' => found.push(token),
            _ => found.push(token.to_uppercase()),
        }
        at = end;
    }
    found
}

/// What of a procedure's text is looked up through the search path.
fn looked_up(source: &str) -> Vec<String> {
    // Syntax, and what the grammar itself binds to pg_catalog.
    const NO_FUNCTIONS: [&str; 32] = [
        "IF", "ELSIF", "WHEN", "THEN", "ELSE", "AND", "OR", "NOT", "WHERE", "ON", "FROM", "EXISTS", "COALESCE",
        "GREATEST", "LEAST", "ARRAY", "VALUES", "OPERATOR", "LATERAL", "AS", "BY", "OVER", "FILTER", "CONSTANT",
        "RETURN", "SELECT", "EXTRACT", "ROW", "USING", "CALL", "INTO", "LOOP",
    ];
    const NO_TABLES: [&str; 4] = ["(", "LATERAL", "ONLY", "UNNEST"];
    // Of the server's grammar, never looked up.
    const TYPES: [&str; 9] =
        ["INT", "INTEGER", "BIGINT", "SMALLINT", "BOOLEAN", "INTERVAL", "NUMERIC", "TIMESTAMP", "REAL"];
    let t = tokens(source);
    let at = |n: usize| t.get(n).map_or("", String::as_str);
    let is_word = |word: &str| word.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_' || c == '"');
    let mut found = Vec::new();
    let mut declaring = false;
    // The names given in WITH are no tables.
    let named: Vec<String> = (0..t.len())
        .filter(|n| {
            at(n + 1) == "AS" && (at(n + 2) == "(" || at(n + 2) == "MATERIALIZED" || at(n + 3) == "MATERIALIZED")
        })
        .map(|n| t[n].clone())
        .collect();
    for n in 0..t.len() {
        let (before, this, next) = (if n == 0 { "" } else { at(n - 1) }, at(n), at(n + 1));
        let mut complain =
            |why: &str| found.push(format!("{why}: {}", t[n.saturating_sub(4)..(n + 5).min(t.len())].join(" ")));
        declaring = this == "DECLARE" || declaring && this != "BEGIN";
        if declaring {
            // A name, CONSTANT perhaps, a type.
            let first =
                if before == "DECLARE" || before == ";" { if next == "CONSTANT" { n + 2 } else { n + 1 } } else { 0 };
            if first > 0
                && this != "BEGIN"
                && at(first + 1) != "."
                && !TYPES.contains(&at(first))
                && at(first) != "CURSOR"
            {
                complain("a type");
            }
        }
        match this {
            "::" if at(n + 2) != "." && !TYPES.contains(&next) => complain("a type"),
            "::" | ":=" | "=>" => {}
            // SELECT *, t.*, count(*)
            "*" if ["SELECT", ".", "("].contains(&before) => {}
            // Of RAISE, GET DIAGNOSTICS and SET.
            "=" if ["ERRCODE", "MESSAGE", "DETAIL", "HINT", "ROW_COUNT"].contains(&before)
                || [
                    "ROW_COUNT",
                    "PG_EXCEPTION_DETAIL",
                    "PG_EXCEPTION_HINT",
                    "PG_EXCEPTION_CONTEXT",
                    "RETURNED_SQLSTATE",
                    "MESSAGE_TEXT",
                ]
                .contains(&next)
                || before == "ROW_SECURITY" => {}
            "OPERATOR" if at(n + 2) != "PG_CATALOG" => complain("an operator's schema"),
            "BETWEEN" | "NULLIF" | "LIKE" | "ILIKE" | "SIMILAR" | "OVERLAPS" => complain("an operator in words"),
            "DISTINCT" if next == "FROM" => complain("IS DISTINCT FROM looks = up"),
            "IN" if next == "(" => complain("IN looks = up"),
            "CASE" if next != "WHEN" => complain("CASE x WHEN looks = up"),
            "USING" if next == "(" => complain("USING looks = up"),
            "NATURAL" => complain("NATURAL looks = up"),
            "ANY" | "ALL" | "SOME" if next == "(" && before != ")" => complain("= ANY"),
            "(" if is_word(before)
                && (n < 2 || at(n - 2) != ".")
                && !NO_FUNCTIONS.contains(&before)
                && !["ANY", "ALL", "SOME", "IN"].contains(&before)
                && !named.contains(&before.to_owned()) =>
            {
                complain("a function")
            }
            "FROM" | "JOIN" | "INTO" | "UPDATE"
                if is_word(next)
                    && at(n + 2) != "."
                    && !NO_TABLES.contains(&next)
                    && !(this == "FROM" && before == "DISTINCT")
                    // INTO of SELECT and EXECUTE names variables; that of INSERT a table.
                    && (this != "INTO" || before == "INSERT")
                    && !(this == "FROM" && named.contains(&next.to_owned()))
                    && !(this == "UPDATE" && before == "DO") =>
            {
                complain("a table")
            }
            _ if this.chars().all(|c| "+-*/<>=~!@#%^&|`?:".contains(c))
                && !(before == "." && n >= 4 && at(n - 4) == "OPERATOR") =>
            {
                complain("an operator")
            }
            _ => {}
        }
    }
    found
}

#[test]
fn the_reader_of_procedures_sees_each_construct() {
    for (source, sees) in [
        ("BEGIN IF a IS DISTINCT FROM b THEN END IF; END", true),
        ("BEGIN IF a = b THEN END IF; END", true),
        ("BEGIN IF a IN (1, 2) THEN END IF; END", true),
        ("BEGIN x := CASE a WHEN 1 THEN 2 END; END", true),
        ("BEGIN x := NULLIF(a, 1); END", true),
        ("BEGIN x := a || 'b'; END", true),
        ("BEGIN x := -a; END", true),
        ("BEGIN x := format('%s', 1); END", true),
        ("BEGIN PERFORM count(*) FROM pg_class c; END", true),
        ("BEGIN SELECT FROM a.b JOIN c.d USING (e); END", true),
        ("BEGIN INSERT INTO t VALUES (1); END", true),
        ("BEGIN x := a::text; END", true),
        ("DECLARE x text; BEGIN NULL; END", true),
        ("DECLARE x CONSTANT pg_catalog.text := 'a'; y regclass; BEGIN NULL; END", true),
        ("BEGIN x := a OPERATOR(public.=) b; END", true),
        ("BEGIN x := a LIKE 'b'; END", true),
        ("BEGIN x := a BETWEEN 1 AND 2; END", true),
        (
            "DECLARE x CONSTANT pg_catalog.text := 'a = b'; y pg_catalog.int4 := 0; -- a = b\nBEGIN x := a OPERATOR(pg_catalog.=) ANY (b::pg_catalog.oid[]); SELECT t.* INTO x FROM s.t t WHERE f IS NOT NULL; RAISE NOTICE 'it''s = %', x; END",
            false,
        ),
        (
            "BEGIN RAISE WARNING USING ERRCODE = 'x', MESSAGE = pg_catalog.format('%s', x), HINT = 'a'; GET DIAGNOSTICS n = ROW_COUNT; FOREACH x IN ARRAY y LOOP PERFORM a.b(c => 1); END LOOP; END",
            false,
        ),
    ] {
        assert_eq!(!looked_up(source).is_empty(), sees, "{source}: {:?}", looked_up(source));
    }
}

#[test]
fn procedures_that_commit_look_nothing_up_through_the_search_path() {
    let (_db, s) = open("");
    let found = s
        .query("SELECT p.oid::regprocedure::text, p.prosrc FROM pg_proc p WHERE p.pronamespace = 'eventkit'::regnamespace AND p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql') AND NOT coalesce(p.proconfig::text ~ 'search_path=', false)")
        .unwrap();
    assert!(found.len() > 15);
    let mut wrong = Vec::new();
    for row in found {
        let (name, source) = (row[0].clone().unwrap(), row[1].clone().unwrap());
        wrong.extend(looked_up(&source).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        lines(
            &s,
            "SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'eventkit'::regnamespace AND p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'sql') AND p.proconfig IS NULL AND p.prosqlbody IS NULL"
        ),
        [""; 0]
    );
}
