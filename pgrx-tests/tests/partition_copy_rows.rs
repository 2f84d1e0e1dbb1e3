//! The copy of rows into a new table: what `INSERT INTO target (columns) query` does, whatever the table is; many rows at a time where it is plain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails, lines, number, open, value};
use eventkit_tests::{Session, wait};

/// Rows of many kinds: NULL, short, wide enough to be stored outside, hard to compress, of a domain, older than a column.
const KINDS: &str = "CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE source (id int, at timestamptz, body text, code varchar(5), marks int[], note jsonb, size positive, gone int);
    ALTER TABLE source DROP COLUMN gone, ALTER body SET STORAGE EXTENDED;
    INSERT INTO source SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '1 s',
        CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN 'short' WHEN 2 THEN repeat('wide ', 5000)
            ELSE (SELECT string_agg(md5((n * 1000 + i)::text), '') FROM generate_series(1, 200) i) END,
        nullif(n % 100, 7)::text, ARRAY[n, NULL, -n], jsonb_build_object('n', n), 1 + n % 9 FROM generate_series(1, 1200) n;
    ALTER TABLE source ADD COLUMN added text DEFAULT 'by default', ADD COLUMN number numeric(10, 2) DEFAULT 1.5;
    CREATE TABLE same AS TABLE source;
    INSERT INTO source (id, at, added) VALUES (1201, '2024-01-02 00:00Z', NULL);";

const COLUMNS: &str = "ARRAY['id', 'at', 'body', 'code', 'marks', 'note', 'size', 'added', 'number']";
const NAMES: &str = "id, at, body, code, marks, note, size, added, number";

/// Copies into a table as the definition makes it, and compares with what INSERT does with another one made so.
fn copies_as_insert_does(s: &Session, definition: &str, query: &str) {
    for table in ["target", "wanted"] {
        s.query(&format!("DROP TABLE IF EXISTS {table} CASCADE; {}", definition.replace('#', table))).unwrap();
    }
    s.query(&format!("INSERT INTO wanted ({NAMES}) {query}")).unwrap();
    let inserted = number(s, "SELECT count(*) FROM wanted");
    let quoted = query.replace('\'', "''");
    assert_eq!(
        number(s, &format!("SELECT eventkit.copy_rows('target', {COLUMNS}, '{quoted}')")),
        inserted,
        "{definition}: {query}"
    );
    for (one, other) in [("target", "wanted"), ("wanted", "target")] {
        assert_eq!(
            lines(s, &format!("SELECT d::text FROM (TABLE {one} EXCEPT ALL TABLE {other}) d LIMIT 3")).len(),
            0,
            "{definition}: {query}"
        );
    }
}

#[test]
fn any_table_gets_what_insert_would_give_it() {
    let (_db, s) = open(KINDS);
    s.query(
        "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id % 2 = 0 THEN RETURN NULL; END IF; NEW.body := 'seen'; RETURN NEW; END $$",
    )
    .unwrap();
    for definition in [
        "CREATE TABLE # (LIKE source INCLUDING ALL)",
        "CREATE UNLOGGED TABLE # (LIKE source)",
        "CREATE TEMP TABLE # (LIKE source)",
        "CREATE TABLE # (LIKE source, CHECK (at >= '2024-01-01'), CHECK (id > 0), CONSTRAINT n CHECK (id IS NOT NULL)); ALTER TABLE # ALTER id SET NOT NULL",
        // What a plain table is not.
        "CREATE TABLE # (LIKE source, UNIQUE (id))",
        "CREATE TABLE # (LIKE source, twice int GENERATED ALWAYS AS (id * 2) STORED)",
        "CREATE TABLE # (LIKE source, more text DEFAULT 'more')",
        "CREATE TABLE # (number numeric(10, 2), added text, size positive, note jsonb, marks int[], code varchar(5), body text, at timestamptz, id int)",
        "CREATE TABLE # (id int, at timestamptz, body text, code varchar(5), marks int[], note jsonb, size positive, dropped int, added text, number numeric(10, 2)); ALTER TABLE # DROP COLUMN dropped",
        "CREATE TABLE # (id bigint, at timestamptz, body varchar, code text, marks bigint[], note jsonb, size int, added text, number numeric)",
        "CREATE TABLE # (LIKE source); CREATE TRIGGER odd BEFORE INSERT ON # FOR EACH ROW EXECUTE FUNCTION odd()",
        "CREATE TABLE # (LIKE source); CREATE RULE other AS ON INSERT TO # WHERE NEW.id % 3 = 0 DO INSTEAD NOTHING",
        "CREATE TABLE # (LIKE source) PARTITION BY RANGE (id); CREATE TABLE #_all PARTITION OF # FOR VALUES FROM (0) TO (10000)",
    ] {
        for query in [
            format!("SELECT {NAMES} FROM source"),
            // Its rows are given as they lie, and so is what is stored outside.
            "SELECT * FROM same".to_owned(),
            format!("SELECT {NAMES} FROM source WHERE id > 1 ORDER BY at DESC"),
            format!("SELECT {NAMES} FROM source WHERE id < 0"),
        ] {
            copies_as_insert_does(&s, definition, &query);
        }
    }
}

/// The tables that a statement writes many rows at a time into, as the log tells.
fn written_at_once(s: &Session, statement: &str) -> Vec<String> {
    // Without a slot, checkpoints that the neighbours' rows bring about remove the log before it is read.
    s.query("SELECT pg_create_physical_replication_slot('log_to_read', true, true)").unwrap();
    let before = value(s, "SELECT pg_current_wal_insert_lsn()");
    s.query(statement).unwrap();
    let written = lines(
        s,
        &format!(
            "WITH at_once AS MATERIALIZED (
                 SELECT DISTINCT (regexp_match(w.block_ref, 'rel [0-9]+/([0-9]+)/([0-9]+) '))::oid[] AS file
                 FROM pg_get_wal_records_info('{before}', pg_current_wal_flush_lsn()) w WHERE w.record_type LIKE 'MULTI_INSERT%')
             SELECT c.relname FROM at_once JOIN pg_database d ON d.oid = file[1] AND d.datname = current_database()
             JOIN pg_class c ON pg_relation_filenode(c.oid) = file[2] AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
        ),
    );
    s.query("SELECT pg_drop_replication_slot('log_to_read')").unwrap();
    written
}

#[test]
fn a_plain_table_gets_many_rows_at_a_time() {
    let (_db, s) = open(KINDS);
    s.query("CREATE EXTENSION pg_walinspect; CREATE TABLE plain (LIKE source); CREATE TABLE keyed (LIKE source, UNIQUE (id))").unwrap();
    let copy = |table: &str| format!("SELECT eventkit.copy_rows('{table}', {COLUMNS}, 'SELECT {NAMES} FROM source')");
    assert_eq!(written_at_once(&s, &copy("plain")), ["plain"]);
    assert!(written_at_once(&s, &copy("keyed")).is_empty());
    // A backfill and a split copy so.
    s.query(
        "CREATE TABLE old (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at));
         INSERT INTO old SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '1 min' FROM generate_series(0, 2879) n;
         CREATE TABLE e (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at); CREATE TABLE f (LIKE old INCLUDING ALL); INSERT INTO f TABLE old",
    )
    .unwrap();
    assert_eq!(written_at_once(&s, "CALL eventkit.backfill('old', 'e')"), ["e_20240101", "e_20240102"]);
    s.query("CALL eventkit.convert_table('f', 'at')").unwrap();
    assert_eq!(written_at_once(&s, "CALL eventkit.split_partition('f')"), ["f_20240101", "f_20240102"]);
    assert_eq!(value(&s, "SELECT count(*) FROM (TABLE e EXCEPT ALL TABLE f) d"), "0");
}

#[test]
fn rows_are_there_at_once_and_go_with_their_transaction() {
    let (_db, s) = open(KINDS);
    let copy = format!("SELECT eventkit.copy_rows('t', {COLUMNS}, 'SELECT {NAMES} FROM source')");
    s.query("CREATE TABLE t (LIKE source); BEGIN; SAVEPOINT a").unwrap();
    assert_eq!(value(&s, &copy), "1201");
    assert_eq!(value(&s, "SELECT count(*) FROM t"), "1201");
    s.query("ROLLBACK TO a").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM t"), "0");
    s.query(&format!("{copy}; COMMIT")).unwrap();
    // What it reads it does not see grow.
    s.query(&copy.replace("source", "t")).unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM t"), "2402");
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM t WHERE ctid IS NOT NULL AND tableoid = 't'::regclass AND xmin::text::bigint > 0"
        ),
        "2402"
    );
    for statement in ["VACUUM t", "DELETE FROM t WHERE id % 2 = 0", "UPDATE t SET body = 'new'", "VACUUM FULL t"] {
        s.query(statement).unwrap();
    }
    assert_eq!(lines(&s, "SELECT count(*), min(body), max(body) FROM t"), ["1202|new|new"]);
}

#[test]
fn a_row_that_breaks_a_constraint_is_named_as_insert_names_it() {
    let (_db, s) = open(KINDS);
    s.query("CREATE TABLE t (LIKE source, CONSTRAINT early CHECK (at < '2024-01-01 00:10Z')); CREATE TABLE u (LIKE source); ALTER TABLE u ALTER code SET NOT NULL").unwrap();
    for table in ["t", "u"] {
        let query = format!("SELECT {NAMES} FROM source ORDER BY id");
        let copied = fails(&s, &format!("SELECT eventkit.copy_rows('{table}', {COLUMNS}, '{query}')"));
        let inserted = fails(&s, &format!("INSERT INTO {table} ({NAMES}) {query}"));
        assert_eq!((&copied.sqlstate, &copied.message), (&inserted.sqlstate, &inserted.message));
        assert_eq!(copied.detail, inserted.detail);
        assert_eq!(value(&s, &format!("SELECT count(*) FROM {table}")), "0");
    }
}

/// What one row's coming may ask of those before it, and what is known of a row only by its table.
#[test]
fn what_looks_at_the_table_sees_each_row_come() {
    let (_db, s) = open(
        "CREATE TABLE few (x int); CREATE FUNCTION held(tab regclass) RETURNS bigint LANGUAGE plpgsql VOLATILE AS \
             $$ DECLARE n bigint; BEGIN EXECUTE format('SELECT count(*) FROM %s', tab) INTO n; RETURN n; END $$;
         CREATE TABLE limited (x int, CHECK (held('limited') < 3));
         CREATE TABLE own (x int, CHECK (tableoid = 'own'::regclass)); CREATE TABLE other (x int, CHECK (tableoid <> 'other'::regclass));
         CREATE TABLE short (x int); INSERT INTO short VALUES (1); ALTER TABLE short ADD y int;
         CREATE TABLE filled (x int); ALTER TABLE filled ADD y int NOT NULL DEFAULT 5;
         CREATE TABLE always (x int GENERATED ALWAYS AS IDENTITY)",
    );
    s.query("SELECT eventkit.copy_rows('few', ARRAY['x'], 'SELECT held(''few'')::int FROM generate_series(1, 3)')")
        .unwrap();
    assert_eq!(lines(&s, "SELECT x FROM few ORDER BY x"), ["0", "1", "2"]);
    let copy = |table: &str, query: &str| format!("SELECT eventkit.copy_rows('{table}', ARRAY['x'], '{query}')");
    assert_eq!(fails(&s, &copy("limited", "SELECT generate_series(1, 4)")).sqlstate, "23514");
    assert_eq!(value(&s, &copy("limited", "SELECT generate_series(1, 3)")), "3");
    assert_eq!(value(&s, &copy("own", "SELECT generate_series(1, 4)")), "4");
    assert_eq!(fails(&s, &copy("other", "SELECT 1")).sqlstate, "23514");
    assert_eq!(fails(&s, &copy("always", "SELECT 1")).sqlstate, "428C9");
    let short = fails(&s, "SELECT eventkit.copy_rows('filled', ARRAY['x', 'y'], 'SELECT x, y FROM short')");
    assert_eq!(short.sqlstate, "23502");
}

/// A page of values that a CHECK has to read whole: what it reads is freed row by row.
#[test]
fn what_a_constraint_reads_is_not_held() {
    let (_db, s) = open(
        "CREATE TABLE wide (body text, CHECK (length(body) > 0)); CREATE TABLE source (body text);
         INSERT INTO source SELECT repeat(n::text || ' and so on ', 100000) FROM generate_series(1, 300) n",
    );
    let pid = value(&s, "SELECT pg_backend_pid()");
    let peak = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    value(&s, "SELECT eventkit.copy_rows('wide', ARRAY['body'], 'SELECT body FROM source LIMIT 10')");
    let before = peak();
    assert_eq!(value(&s, "SELECT eventkit.copy_rows('wide', ARRAY['body'], 'SELECT body FROM source')"), "300");
    let grown = peak() - before;
    // All of them are about 400 MB.
    assert!(grown < 150_000, "{grown} kB");
}

#[test]
fn a_table_that_goes_while_its_lock_is_waited_for_is_said_to_be_gone() {
    let (db, s) = open("CREATE TABLE t (x int)");
    let other = db.session("other").unwrap();
    other.query("BEGIN; DROP TABLE t").unwrap();
    s.run("SELECT eventkit.copy_rows('t', ARRAY['x'], 'SELECT 1')");
    wait::until_blocked(db.cluster, &s).unwrap();
    other.query("COMMIT").unwrap();
    let failure = s.join().unwrap_err();
    assert_eq!(failure.sqlstate, "42P01", "{failure:?}");
}

#[test]
fn rights_and_row_security_are_those_of_insert() {
    let (db, s) = open(KINDS);
    let guest = format!("guest_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {guest}; GRANT SELECT ON source TO {guest}; CREATE TABLE closed (LIKE source); \
         CREATE TABLE secured (LIKE source); ALTER TABLE secured ENABLE ROW LEVEL SECURITY; GRANT INSERT ON secured TO {guest}; \
         CREATE POLICY small ON secured FOR INSERT TO {guest} WITH CHECK (id < 10); \
         CREATE TABLE some_columns (LIKE source); GRANT INSERT (id) ON some_columns TO {guest}; \
         CREATE SCHEMA hidden; CREATE TABLE hidden.t (LIKE source); GRANT INSERT, SELECT ON hidden.t TO {guest}; SET ROLE {guest}"
    ))
    .unwrap();
    let copy = |table: &str, condition: &str| {
        format!("SELECT eventkit.copy_rows('{table}', {COLUMNS}, 'SELECT {NAMES} FROM source WHERE {condition}')")
    };
    assert_eq!(fails(&s, &copy("closed", "true")).sqlstate, "42501");
    assert_eq!(fails(&s, &copy("some_columns", "true")).sqlstate, "42501");
    assert_eq!(fails(&s, &copy("secured", "true")).sqlstate, "42501");
    assert_eq!(value(&s, &copy("secured", "id < 10")), "9");
    s.query("RESET ROLE").unwrap();
    let hidden = value(&s, "SELECT 'hidden.t'::regclass::oid");
    s.query(&format!("SET ROLE {guest}")).unwrap();
    let failure = fails(&s, &copy(&hidden, "true"));
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("42501", "permission denied for schema hidden"));
    s.query("RESET ROLE; SET default_transaction_read_only = on").unwrap();
    assert_eq!(fails(&s, &copy("closed", "true")).sqlstate, "25006");
    s.query("SET default_transaction_read_only = off").unwrap();
}

#[test]
fn bad_arguments_are_named() {
    let (_db, s) = open(KINDS);
    s.query("CREATE TABLE t (LIKE source); CREATE INDEX i ON source (id)").unwrap();
    for (call, state) in [
        ("NULL, ARRAY['id'], 'SELECT 1'", "22004"),
        ("'t', NULL, 'SELECT 1'", "22004"),
        ("'t', ARRAY['id'], NULL", "22004"),
        ("'t', '{}', 'SELECT 1'", "22023"),
        ("'t', ARRAY[NULL], 'SELECT 1'", "22023"),
        ("0::regclass, ARRAY['id'], 'SELECT 1'", "42P01"),
        ("4294967295::regclass, ARRAY['id'], 'SELECT 1'", "42P01"),
        ("'i', ARRAY['id'], 'SELECT 1'", "42809"),
        ("'t', ARRAY['nothing'], 'SELECT 1'", "42703"),
        ("'t', ARRAY['id'], 'SELECT,'", "42601"),
        ("'t', ARRAY['id'], ''", "22023"),
        ("'t', ARRAY['id'], 'COMMIT'", "22023"),
        ("'t', ARRAY['id'], 'SHOW work_mem'", "22023"),
        ("'t', ARRAY['id'], 'EXPLAIN SELECT 1'", "22023"),
        ("'t', ARRAY['id'], 'DELETE FROM source RETURNING id'", "22023"),
        ("'t', ARRAY['id'], 'WITH d AS (DELETE FROM source RETURNING id) SELECT id FROM d'", "22023"),
        ("'t', ARRAY['id'], 'SELECT 1; DELETE FROM source'", "22023"),
        ("'t', ARRAY['id'], 'SELECT 1; COMMIT'", "22023"),
        ("'t', ARRAY['id'], 'SELECT 1 ON CONFLICT DO NOTHING'", "42601"),
        ("'t', ARRAY['id', 'id'], 'SELECT 1, 2'", "42701"),
        ("'t', ARRAY['id', 'at'], 'SELECT 1'", "42601"),
        ("'t', ARRAY['id'], 'SELECT ''x'''", "22P02"),
        ("'t', ARRAY['id'], 'SELECT now()'", "42804"),
        ("'t', ARRAY['id'], 'SELECT 1 / (id - 5) FROM source'", "22012"),
    ] {
        let failure = fails(&s, &format!("SELECT eventkit.copy_rows({call})"));
        assert_eq!(failure.sqlstate, state, "{call}: {failure:?}");
        assert_eq!(value(&s, "SELECT count(*) FROM t"), "0", "{call}");
    }
    // A fault behind rows that are written already, and a cancel, leave nothing.
    for query in [
        format!("SELECT {} FROM source ORDER BY id", NAMES.replacen("id", "id / (1201 - id)", 1)),
        format!("SELECT {} FROM source, generate_series(1, 100000)", NAMES.replacen("body", "NULL::text", 1)),
    ] {
        s.query("SET statement_timeout = '2s'").unwrap();
        let failure = fails(&s, &format!("SELECT eventkit.copy_rows('t', {COLUMNS}, '{query}')"));
        s.query("RESET statement_timeout").unwrap();
        assert!(["22012", "57014"].contains(&failure.sqlstate.as_str()), "{failure:?}");
        assert_eq!(value(&s, "SELECT count(*) FROM t"), "0");
    }
}
