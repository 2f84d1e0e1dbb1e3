//! What the tests share: short ways to ask the server, the plain SQL oracle of event arrays, random arrays.
#![allow(dead_code, reason = "each test binary uses some of it")]

pub mod kill;
pub mod plan;
pub mod stops;
pub mod victims;

use eventkit_tests::shared::{self, Database};
use eventkit_tests::{Failure, Session};

/// A database with the extension and a session in it, after some SQL.
pub fn open(setup: &str) -> (Database, Session) {
    let db = shared::database().unwrap();
    let session = db.session("main").unwrap();
    if !setup.is_empty() {
        session.query(setup).unwrap_or_else(|failure| panic!("{failure}\n{setup}"));
    }
    (db, session)
}

/// A function of SQL that says whether a call gives an answer or is refused as bad input; any other error is raised.
pub const TRIED: &str = "CREATE FUNCTION tried(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
    EXECUTE 'SELECT ' || call INTO found;
    RETURN 'ok';
EXCEPTION WHEN invalid_parameter_value THEN RETURN 'refused';
END $$";

/// The first column of the first row, NULL as the word.
pub fn value(session: &Session, sql: &str) -> String {
    session.value(sql).unwrap_or_else(|failure| panic!("{failure}\n{sql}")).unwrap_or_else(|| "NULL".to_owned())
}

/// A number out of the first column of the first row.
pub fn number(session: &Session, sql: &str) -> i64 {
    let text = value(session, sql);
    text.parse().unwrap_or_else(|_| panic!("{text} is no whole number: {sql}"))
}

/// The advisory locks that anybody holds or waits for in this database.
pub fn advisory_locks(session: &Session) -> i64 {
    number(
        session,
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
}

/// Each row as one line, columns separated by a bar.
pub fn lines(session: &Session, sql: &str) -> Vec<String> {
    let rows = session.query(sql).unwrap_or_else(|failure| panic!("{failure}\n{sql}"));
    let column = |column: Option<String>| column.unwrap_or_else(|| "NULL".to_owned());
    rows.into_iter().map(|row| row.into_iter().map(column).collect::<Vec<_>>().join("|")).collect()
}

/// What the server says of a statement that has to fail; it is never an internal error, and the session goes on.
pub fn fails(session: &Session, sql: &str) -> Failure {
    let failure = match session.query(sql) {
        Ok(rows) => panic!("this succeeds with {rows:?}: {sql}"),
        Err(failure) => failure,
    };
    assert!(!failure.sqlstate.starts_with("XX"), "an internal error from {sql}\n{failure}");
    let alive = session.value("SELECT 1").unwrap_or_else(|gone| panic!("{gone}\nafter {sql}\n{failure}"));
    assert_eq!(alive.as_deref(), Some("1"));
    failure
}

/// Asserts that a statement fails in this way, and that the server says more than that.
pub fn fails_with(session: &Session, sql: &str, sqlstate: &str) {
    let failure = fails(session, sql);
    assert_eq!(failure.sqlstate, sqlstate, "{sql}\n{failure:?}");
    assert!(failure.detail.is_some() && failure.hint.is_some(), "{sql}\n{failure:?}");
}

/// Drops a table and makes it again from its dump; asserts that its rows are what they were.
pub fn dump_and_restore(db: &Database, session: &Session, table: &str) {
    let rows = || lines(session, &format!("SELECT * FROM {table} ORDER BY 1"));
    let before = rows();
    let dump = db.cluster.client_program("pg_dump").args(["-d", &db.name, "-t", table, "--inserts"]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    session.query(&format!("DROP TABLE {table}")).unwrap();
    let script = String::from_utf8(dump.stdout).unwrap();
    // Newer versions of pg_dump write commands of psql as well.
    let plain: Vec<&str> = script.lines().filter(|line| !line.starts_with('\\')).collect();
    db.session("restore").unwrap().query(&plain.join("\n")).unwrap();
    assert_eq!(rows(), before);
}

/// Asserts that a query over cases finds some, and none that differs. Columns: cases, differing, an example.
pub fn none_differs(session: &Session, least: i64, sql: &str) {
    let rows = lines(session, sql);
    let row = rows.first().unwrap_or_else(|| panic!("no row from {sql}"));
    let mut columns = row.splitn(3, '|');
    let mut next = || columns.next().unwrap_or_default();
    let (cases, differing, example) = (next().parse::<i64>().unwrap(), next().to_owned(), next().to_owned());
    assert!(cases >= least, "only {cases} cases, not {least}");
    assert_eq!(differing, "0", "of {cases} cases; the first: {example}");
}

/// The forms of an event array: the column of `cases`, its type, the type of an event.
pub const FORMS: [(&str, &str, &str); 3] =
    [("h", "hstore[]", "hstore"), ("j", "jsonb[]", "jsonb"), ("d", "jsonb", "jsonb")];

/// What every function is judged by, in plain SQL that shares nothing with it.
pub fn oracle() -> String {
    let mut sql = ORACLE_OF_EVENTS.to_owned();
    for (_, array, event) in FORMS {
        let of_array = array != "jsonb";
        let parts = [
            ("{array}", array),
            ("{event}", event),
            ("{unnest}", if of_array { "unnest" } else { "jsonb_array_elements" }),
            ("{gather}", if of_array { "array_agg" } else { "jsonb_agg" }),
            ("{cut}", if of_array { "CASE WHEN cardinality(e) = 0" } else { "CASE WHEN jsonb_array_length(e) = 0" }),
            ("{nothing}", if of_array { "'{}'" } else { "'[]'" }),
        ];
        sql.push_str(&parts.iter().fold(ORACLE_OF_ARRAYS.to_owned(), |text, (name, part)| text.replace(name, part)));
    }
    sql
}

const ORACLE_OF_EVENTS: &str = r"
CREATE SCHEMA oracle;
CREATE FUNCTION oracle.property(event hstore, key text) RETURNS text IMMUTABLE LANGUAGE sql RETURN event -> key;
CREATE FUNCTION oracle.property(event jsonb, key text) RETURNS text IMMUTABLE LANGUAGE sql RETURN event ->> key;
CREATE FUNCTION oracle.is_nothing(event hstore) RETURNS bool IMMUTABLE LANGUAGE sql RETURN event IS NULL;
CREATE FUNCTION oracle.is_nothing(event jsonb) RETURNS bool IMMUTABLE LANGUAGE sql
    RETURN event IS NULL OR event = 'null';
-- Microseconds since 1970.
CREATE FUNCTION oracle.at(t text) RETURNS numeric STABLE LANGUAGE sql SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
    SELECT CASE
        WHEN t !~ '^[+-]?[0-9]+([.][0-9]+)?$' THEN extract(epoch FROM t::timestamptz) * 1000000
        WHEN abs(t::numeric) < 1e11 THEN round(t::numeric * 1e6)
        WHEN abs(t::numeric) < 1e14 THEN round(t::numeric * 1e3)
        ELSE round(t::numeric) END
$$;
";

const ORACLE_OF_ARRAYS: &str = r"
CREATE FUNCTION oracle.elements(e {array}, OUT v {event}, OUT n bigint) RETURNS SETOF record IMMUTABLE LANGUAGE sql
    AS $$ SELECT v, n FROM {unnest}(e) WITH ORDINALITY AS u(v, n) $$;
-- All that a client can see of an array: its text with the bounds, its size (with the header it has in memory, which
-- putting nothing behind it brings back), the sizes of its elements.
CREATE FUNCTION oracle.show(e {array}) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT format('%s, %s bytes, elements of %s', e, pg_column_size(e || {nothing}::{array}), string_agg(coalesce(pg_column_size(v), 0)::text, ' ' ORDER BY n))
    FROM oracle.elements(e)
$$;
CREATE FUNCTION oracle.dedupe(e {array}, id_key text, keep text, id_type text, on_missing text, place text) RETURNS {array}
IMMUTABLE LANGUAGE sql AS $$
    SELECT {cut} THEN {nothing}::{array} WHEN e IS NOT NULL THEN (
        SELECT {gather}(v ORDER BY CASE place WHEN 'kept' THEN n ELSE first END) FROM (
            SELECT DISTINCT ON (key) v, n, key, min(n) OVER (PARTITION BY key) AS first FROM (
                SELECT v, n, CASE
                    WHEN id IS NOT NULL THEN 'id ' || CASE id_type WHEN 'bigint' THEN id::bigint::text ELSE id END
                    WHEN on_missing = 'keep' THEN 'alone ' || n
                    ELSE 'without' END AS key
                FROM (SELECT v, n, oracle.property(v, id_key) AS id FROM oracle.elements(e)) AS read
            ) AS keyed
            ORDER BY key, CASE keep WHEN 'last' THEN -n ELSE n END
        ) AS kept) END
$$;
CREATE FUNCTION oracle.sorted(e {array}, time_key text) RETURNS {array} STABLE LANGUAGE sql AS $$
    SELECT {cut} THEN {nothing}::{array} WHEN e IS NOT NULL THEN (
        SELECT {gather}(v ORDER BY oracle.at(oracle.property(v, time_key)) NULLS LAST, n) FROM oracle.elements(e)) END
$$;
CREATE FUNCTION oracle.append(a {array}, b {array}, id_key text, time_key text, keep text, id_type text, on_missing text)
RETURNS {array} STABLE LANGUAGE sql AS $$
    SELECT oracle.sorted(oracle.dedupe(
        CASE WHEN a IS NULL THEN b WHEN b IS NULL THEN a ELSE a || b END, id_key, keep, id_type, on_missing, 'first'), time_key)
$$;
CREATE FUNCTION oracle.slice(e {array}, from_time timestamptz, to_time timestamptz) RETURNS {array} STABLE LANGUAGE sql AS $$
    SELECT CASE WHEN e IS NOT NULL THEN coalesce((
        SELECT {gather}(v ORDER BY n) FROM (SELECT v, n, oracle.at(oracle.property(v, 'time')) AS at FROM oracle.elements(e)) AS timed
        WHERE at IS NOT NULL
          AND (from_time IS NULL OR at >= extract(epoch FROM from_time) * 1000000)
          AND (to_time IS NULL OR at < extract(epoch FROM to_time) * 1000000)), {nothing}::{array}) END
$$;
CREATE FUNCTION oracle.filtered(e {array}, pattern {event}) RETURNS {array} IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE WHEN e IS NOT NULL THEN coalesce((
        SELECT {gather}(v ORDER BY n) FROM oracle.elements(e) WHERE v @> pattern), {nothing}::{array}) END
$$;
CREATE FUNCTION oracle.present(e {array}) RETURNS {array} IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE WHEN e IS NOT NULL THEN coalesce((
        SELECT {gather}(v ORDER BY n) FROM oracle.elements(e) WHERE NOT oracle.is_nothing(v)), {nothing}::{array}) END
$$;
";

/// Ids of every kind whose texts meet: numbers, strings, booleans, nested values; as JSON.
pub const ANY_IDS: &[&str] = &[
    "1",
    r#""1""#,
    r#""01""#,
    "1.0",
    "2",
    "-3",
    r#""-3""#,
    "1e3",
    r#""1000""#,
    "0",
    "0.50",
    r#""0.50""#,
    r#""a""#,
    r#""""#,
    r#"" ""#,
    "true",
    r#""true""#,
    "false",
    r#"{"a": 1}"#,
    r#""{\"a\": 1}""#,
    "[1, 2]",
    r#""[1, 2]""#,
    r#"{"b": [null, "\"x\\"], "a": {}}"#,
    r#""é""#,
    r#""日本""#,
];

/// Ids that read as whole numbers, several texts for one number; as JSON.
pub const WHOLE_IDS: &[&str] = &[
    "1",
    r#""1""#,
    r#""01""#,
    r#""+1""#,
    r#"" 1 ""#,
    "2",
    r#""2""#,
    "-3",
    r#""-3""#,
    r#""-03""#,
    "0",
    r#""-0""#,
    "10000000000",
    r#""10000000000""#,
    "9223372036854775807",
    r#""-9223372036854775808""#,
    "-9223372036854775808",
];

/// A table `cases (n, h, j, d)` of random arrays of the three forms with the same events in each row, always the same.
///
/// Among them: NULL and JSON null elements, events without an id or a time, several spellings of one time, empty
/// arrays, other lower bounds, elements that end at every alignment.
pub fn cases(ids: &[&str], rows: usize) -> String {
    let list = ids.iter().map(|id| format!("'{}'", id.replace('\'', "''"))).collect::<Vec<_>>().join(", ");
    RANDOM_CASES.replace("{ids}", &list).replace("{rows}", &rows.to_string())
}

const RANDOM_CASES: &str = r#"
CREATE FUNCTION oracle.pick(choices text[]) RETURNS text VOLATILE LANGUAGE sql
    RETURN choices[1 + floor(random() * cardinality(choices))::int];
CREATE FUNCTION oracle.random_event(ids text[]) RETURNS jsonb VOLATILE LANGUAGE plpgsql AS $$
DECLARE
    event jsonb := '{}';
    roll float8 := random();
BEGIN
    IF random() < 0.06 THEN RETURN NULL; END IF;
    IF random() < 0.04 THEN RETURN 'null'; END IF;
    IF roll > 0.14 THEN event := jsonb_build_object('event_id', oracle.pick(ids)::jsonb);
    ELSIF roll > 0.07 THEN event := '{"event_id": null}'; END IF;
    IF random() < 0.9 THEN
        event := event || jsonb_build_object('time', oracle.pick(ARRAY[
            '"2024-01-01T00:00:00Z"', '"2024-01-01 00:00:00"', '"2024-01-01T02:00:00+02:00"', '"2024-01-01T00:00:00.5Z"',
            '"2023-12-31T23:59:59.999999-00:30"', '1704067200', '"1704067200"', '1704067200.25', '1704067200250',
            '1704067201000000', '"1704067199"', '0', '-1', '"1969-12-31 23:59:58"', 'null'])::jsonb);
    END IF;
    IF random() < 0.7 THEN event := event || jsonb_build_object('pad', repeat('x', floor(random() * 12)::int)); END IF;
    IF random() < 0.5 THEN event := event || jsonb_build_object('event', oracle.pick('{view,cart,pay}')); END IF;
    IF random() < 0.1 THEN event := event || '{"nested": {"a": [1, {"b": null}], "c": -1.50}}'; END IF;
    RETURN event || jsonb_build_object('copy', floor(random() * 1000)::int);
END
$$;
CREATE FUNCTION oracle.as_hstore(event jsonb) RETURNS hstore IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE WHEN jsonb_typeof(event) = 'object'
        THEN (SELECT hstore(array_agg(key), array_agg(value)) FROM jsonb_each_text(event)) END
$$;
CREATE TABLE cases (n int PRIMARY KEY, h hstore[], j jsonb[], d jsonb);
DO $$
DECLARE
    ids text[] := ARRAY[{ids}] || ('"' || repeat('z', 300) || '"');
    events jsonb[];
    hstores hstore[];
BEGIN
    -- The long one is no number.
    IF ids[2] = '"1"' AND '"+1"' = ANY (ids) THEN ids := trim_array(ids, 1); END IF;
    PERFORM setseed(0.42);
    FOR n IN 1..{rows} LOOP
        events := ARRAY(SELECT oracle.random_event(ids)
            FROM generate_series(1, CASE WHEN n % 25 = 0 THEN 0 ELSE 1 + floor(random() * random() * 70)::int END));
        hstores := ARRAY(SELECT oracle.as_hstore(e) FROM unnest(events) e);
        IF n % 5 = 0 AND cardinality(events) > 0 THEN
            events := format('[%s:%s]=%s', n - 50, n - 51 + cardinality(events), events)::jsonb[];
            hstores := format('[%s:%s]=%s', n - 50, n - 51 + cardinality(hstores), hstores)::hstore[];
        END IF;
        INSERT INTO cases VALUES (n, hstores, events, coalesce((SELECT jsonb_agg(e) FROM unnest(events) e), '[]'));
    END LOOP;
    INSERT INTO cases VALUES (0, NULL, NULL, NULL);
END
$$;
"#;
