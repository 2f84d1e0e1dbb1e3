//! Attaching a table that somebody filled: no scan under lock, what does not fit, what is taken back, interruptions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::kill::{kill_at, stopping_cluster};
use common::{fails, lines, open, value};
use eventkit_tests::{PgVersion, Session, wait};

/// A parent with all that an attach has to meet, and a table with its rows in other order of columns and with dropped ones.
const SETUP: &str = "
CREATE TABLE e (id bigint, at timestamptz NOT NULL, name text NOT NULL, twice bigint GENERATED ALWAYS AS (id * 2) STORED,
    CONSTRAINT positive CHECK (id > 0), PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE INDEX e_name ON e (lower(name)) INCLUDE (id) WHERE name <> 'x';
CREATE INDEX e_brin ON e USING brin (at);
CREATE INDEX e_brin_too ON e USING brin (at);
CREATE TABLE rest PARTITION OF e DEFAULT;
CREATE TABLE filled (gone int, name text, at timestamptz, id bigint, twice bigint GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE filled DROP COLUMN gone;
INSERT INTO filled (name, at, id) SELECT 'n' || n, '2024-01-01 00:00Z'::timestamptz + n * interval '1 second', n + 1 FROM generate_series(0, 999) n;
CREATE INDEX mine ON filled USING brin (at);
";

const CALL: &str = "CALL eventkit.attach_partition('e', 'filled', '2024-01-01 00:00Z', '2024-01-02 00:00Z')";

fn left_over(s: &Session) -> String {
    value(s, "SELECT count(*) FROM pg_constraint WHERE conname ~ '^partition_(bound|not_null|excludes)'")
}

#[test]
fn a_filled_table_is_attached_without_a_scan() {
    let (_db, s) = open(SETUP);
    s.query("SET client_min_messages = debug1").unwrap();
    let _ = s.take_notices();
    s.query(CALL).unwrap();
    let heard = s.take_notices().join("\n");
    s.query("RESET client_min_messages").unwrap();
    assert!(heard.contains("partition constraint for table \"filled\" is implied by existing constraints"), "{heard}");
    assert!(heard.contains("default partition \"rest\" is implied by existing constraints"), "{heard}");
    // Verified by VALIDATE, one read for each constraint; NOT NULL is proved by them.
    assert_eq!(heard.matches("verifying table \"filled\"").count(), 3, "{heard}");
    assert!(heard.contains("existing constraints on column \"filled.id\" are sufficient to prove"), "{heard}");
    assert_eq!(
        value(&s, "SELECT count(*) || ' ' || sum(twice) || ' ' || count(DISTINCT tableoid) FROM e"),
        "1000 1001000 1"
    );
    assert_eq!(
        lines(
            &s,
            "SELECT relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE indrelid = 'filled'::regclass ORDER BY 1"
        ),
        ["filled_index_1", "filled_index_3", "filled_index_4", "mine"]
    );
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = indexrelid WHERE indrelid = 'filled'::regclass"
        ),
        "4"
    );
    assert_eq!(left_over(&s), "0");
    assert_eq!(value(&s, "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'filled' AND attname = 'at'"), "t");
    let _ = s.take_notices();
    s.query(CALL).unwrap();
    assert!(
        s.take_notices().join("").contains("is the partition of \"public\".\"e\" for"),
        "a second call has nothing to do"
    );
}

#[test]
fn what_is_planned_is_what_is_done() {
    let (_db, s) = open(SETUP);
    let plan = lines(&s, &CALL.replace("CALL eventkit.", "SELECT statement FROM eventkit.plan_"));
    assert_eq!(left_over(&s), "0", "a plan does nothing");
    assert_eq!(plan.iter().filter(|s| *s == "COMMIT").count(), 1 + 3 + 1 + 3 + 1 + 1, "{plan:#?}");
    s.query("BEGIN").unwrap();
    for statement in &plan {
        s.query(statement).unwrap();
        if statement == "COMMIT" {
            s.query("BEGIN").unwrap();
        }
    }
    s.query("COMMIT").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "1000");
    assert_eq!(left_over(&s), "0");
    assert_eq!(
        lines(&s, &CALL.replace("CALL eventkit.", "SELECT count(*), max(statement) FROM eventkit.plan_")),
        ["1|NULL"]
    );
}

#[test]
fn what_does_not_fit_is_refused_before_anything_happens() {
    let (db, s) = open(SETUP);
    let guest = format!("guest_{}", db.name);
    s.query(&format!(
        "CREATE TABLE near PARTITION OF e FOR VALUES FROM ('2024-02-01 00:00Z') TO ('2024-02-02 00:00Z'); \
         CREATE TABLE parted (LIKE e) PARTITION BY RANGE (at); CREATE TABLE heir () INHERITS (filled); CREATE TEMP TABLE passing (LIKE e); \
         CREATE VIEW v AS SELECT * FROM e; CREATE TABLE few (id bigint, at timestamptz); CREATE TABLE many (LIKE e INCLUDING GENERATED, more int); \
         CREATE TABLE other (LIKE e INCLUDING GENERATED); ALTER TABLE other ALTER name TYPE varchar(9); \
         CREATE TABLE plain (LIKE e); CREATE TABLE counted (LIKE e INCLUDING GENERATED); ALTER TABLE counted ALTER id SET NOT NULL, ALTER id ADD GENERATED ALWAYS AS IDENTITY; \
         CREATE TABLE lax (LIKE e INCLUDING GENERATED, CONSTRAINT positive CHECK (id > -1)); CREATE TABLE foreigners (LIKE e INCLUDING GENERATED); \
         CREATE TABLE ok (LIKE e INCLUDING GENERATED); INSERT INTO rest (id, at, name) VALUES (1, '2025-01-01 12:00Z', 'n'); CREATE ROLE {guest} LOGIN; \
         GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {guest}; ALTER TABLE foreigners OWNER TO {guest}; \
         CREATE TABLE d (at date) PARTITION BY RANGE (at); CREATE TABLE d1 (at date)"
    ))
    .unwrap();
    s.query("DROP TABLE heir").unwrap();
    let january = "'2024-01-01 00:00Z', '2024-01-02 00:00Z'";
    for (arguments, state, named) in [
        (format!("'e', 'e', {january}"), "42809", "cannot become a partition"),
        (format!("'e', 'near', {january}"), "42809", "\"near\""),
        (format!("'e', 'parted', {january}"), "42809", "\"parted\""),
        (format!("'e', 'passing', {january}"), "42809", "\"passing\""),
        (format!("'e', 'v', {january}"), "42809", "\"v\""),
        (format!("'e', 'few', {january}"), "42804", "\"name\""),
        (format!("'e', 'many', {january}"), "42804", "\"more\""),
        (format!("'e', 'other', {january}"), "42804", "\"name\""),
        (format!("'e', 'plain', {january}"), "42804", "\"twice\""),
        (format!("'e', 'counted', {january}"), "0A000", "\"id\""),
        (format!("'e', 'lax', {january}"), "42P17", "\"positive\""),
        ("'e', 'ok', '2024-01-31 00:00Z', '2024-02-01 00:00:01Z'".into(), "42P17", "\"near\""),
        ("'e', 'ok', '-infinity', 'infinity'".into(), "42P17", "\"near\""),
        ("'e', 'ok', '2025-01-01 00:00Z', '2025-01-02 00:00Z'".into(), "23514", "\"rest\" holds 1 rows"),
        ("'e', 'ok', '2025-01-02 00:00Z', '2025-01-01 00:00Z'".into(), "22023", "\"to_time\""),
        ("'e', 'ok', NULL, '2025-01-01 00:00Z'".into(), "22004", "\"from_time\""),
        (format!("'e', NULL, {january}"), "22004", "\"child\""),
        (format!("'e', '99999', {january}"), "42P01", "\"child\""),
        ("'d', 'd1', '2025-01-01 06:00Z', '2025-01-02 00:00Z'".into(), "22023", "\"at\""),
    ] {
        let refused = fails(&s, &format!("CALL eventkit.attach_partition({arguments})"));
        assert_eq!(refused.sqlstate, state, "{arguments}: {refused}");
        assert!(refused.message.contains(named), "{arguments}: {refused}");
        assert!(refused.detail.is_some() && refused.hint.is_some(), "{arguments}: {refused}");
    }
    let as_guest = Session::open_as(db.cluster, &db.name, "guest", &guest).unwrap();
    let refused = fails(&as_guest, &format!("CALL eventkit.attach_partition('e', 'foreigners', {january})"));
    assert!(refused.message.contains("must be owner of \"public\".\"e\""), "{refused}");
    s.query(&format!("ALTER TABLE e OWNER TO {guest}; ALTER TABLE rest OWNER TO {guest}; ALTER TABLE foreigners OWNER TO CURRENT_USER")).unwrap();
    let refused = fails(&as_guest, &format!("CALL eventkit.attach_partition('e', 'foreigners', {january})"));
    assert!(refused.message.contains("must be owner of \"public\".\"foreigners\""), "{refused}");
    assert_eq!(left_over(&s), "0");
}

#[test]
fn rows_outside_of_the_range_fail_and_nothing_stays() {
    let (_db, s) = open(SETUP);
    s.query("INSERT INTO filled (name, at, id) VALUES ('late', '2024-01-02 00:00Z', 7777)").unwrap();
    let refused = fails(&s, CALL);
    assert_eq!(refused.sqlstate, "23514");
    assert!(refused.hint.is_some(), "{refused}");
    assert_eq!(left_over(&s), "0");
    s.query("INSERT INTO filled (name, at, id) VALUES ('later', '2024-01-03 00:00Z', 7778)").unwrap();
    s.query("DELETE FROM filled WHERE at >= '2024-01-02 00:00Z'").unwrap();
    s.query(CALL).unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "1000");
}

#[test]
fn open_ends_and_every_key() {
    let (_db, s) = open("");
    for (key, unit, old, new) in [
        ("date", "", "'2023-12-31'", "'2024-01-01'"),
        ("timestamp", "", "'2023-12-31 23:59:59'", "'2024-01-01'"),
        ("timestamptz", "", "'2023-12-31 22:59:59Z'", "'2023-12-31 23:00Z'"),
        ("bigint", ", key_unit => 's'", "1704063599", "1704063600"),
        ("uuid", "", "'018cc21b-057f-7000-8000-000000000000'", "'018cc21b-0580-7000-8000-000000000000'"),
    ] {
        s.query(&format!("DROP TABLE IF EXISTS p CASCADE; CREATE TABLE p (k {key}) PARTITION BY RANGE (k); CREATE TABLE a (k {key}); CREATE TABLE b (k {key}); INSERT INTO a VALUES ({old}); INSERT INTO b VALUES ({new})")).unwrap();
        s.query(&format!("CALL eventkit.manage_partitions('p', premake => 0, time_zone => 'Europe/Berlin'{unit})"))
            .unwrap();
        for made in lines(&s, "SELECT partition FROM eventkit.partitions") {
            s.query(&format!("DROP TABLE {made}")).unwrap();
        }
        s.query("SET client_min_messages = debug1").unwrap();
        let _ = s.take_notices();
        s.query("CALL eventkit.attach_partition('p', 'a', '-infinity', '2024-01-01 00:00+01')").unwrap();
        s.query("CALL eventkit.attach_partition('p', 'b', '2024-01-01 00:00+01', 'infinity')").unwrap();
        assert_eq!(s.take_notices().join("\n").matches("is implied by existing constraints").count(), 2, "{key}");
        s.query("RESET client_min_messages").unwrap();
        assert_eq!(value(&s, "SELECT count(*) FROM p"), "2", "{key}");
    }
}

#[test]
fn readers_and_writers_of_the_table_go_on() {
    let (db, s) = open(SETUP);
    let other = db.session("other").unwrap();
    // A reader of the table holds up the CHECK no longer than lock_timeout.
    other.query("BEGIN; SELECT count(*) FROM filled").unwrap();
    let refused = fails(&s, &CALL.replace("')", "', '5 milliseconds')"));
    assert_eq!(refused.sqlstate, "55P03", "{refused}");
    assert_eq!(left_over(&s), "0");
    other.query("COMMIT").unwrap();
    // A writer that came after the CHECK is refused a row outside of it, and others are taken.
    other.query("BEGIN; SELECT count(*) FROM e").unwrap();
    s.run(&CALL.replace("')", "', '100 milliseconds')"));
    wait::until_blocked(db.cluster, &s).unwrap();
    let writer = db.session("writer").unwrap();
    writer.query("INSERT INTO filled (name, at, id) VALUES ('meanwhile', '2024-01-01 12:00Z', 5555)").unwrap();
    assert_eq!(
        fails(&writer, "INSERT INTO filled (name, at, id) VALUES ('outside', '2024-03-01 12:00Z', 5556)").sqlstate,
        "23514"
    );
    other.query("COMMIT").unwrap();
    s.join().unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "1001");
}

#[test]
fn a_killed_call_is_repeated() {
    let cluster = stopping_cluster(
        SETUP,
        "current_query() ~ 'attach_partition' AND s.tag = tg_tag || ' ' || (SELECT count(*) FROM pg_index WHERE indrelid = 'public.filled'::regclass)",
    );
    for tag in ["ALTER TABLE 1", "CREATE INDEX 2", "ALTER TABLE 4"] {
        let s = kill_at(&cluster, CALL, tag, "");
        assert_eq!(
            value(
                &s,
                "SELECT count(*) || ' ' || (SELECT relispartition FROM pg_class WHERE relname = 'filled') FROM filled"
            ),
            "1000 false",
            "{tag}"
        );
    }
    let s = Session::open(&cluster, "d", "last").unwrap();
    s.query(CALL).unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "1000");
    assert_eq!(left_over(&s), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM pg_index WHERE indrelid = 'filled'::regclass"), "4");
}

#[test]
fn in_a_transaction_block_and_by_two_callers() {
    let (db, s) = open(SETUP);
    s.query("BEGIN").unwrap();
    s.query(CALL).unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "1000");
    s.query("ROLLBACK").unwrap();
    assert_eq!(left_over(&s), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "0");
    s.query("BEGIN").unwrap();
    s.query(CALL).unwrap();
    let second = db.session("second").unwrap();
    // One session at a time attaches a table.
    let refused = fails(&second, CALL);
    assert!(refused.sqlstate == "55006" && refused.hint.is_some(), "{refused}");
    s.query("COMMIT").unwrap();
    second.query(CALL).unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "1000");
    s.query(CALL).unwrap();
    assert_eq!(left_over(&s), "0");
}

#[test]
fn the_owner_and_the_policies_of_the_parent() {
    let (db, s) = open(SETUP);
    let owner = format!("owner_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}; ALTER TABLE e OWNER TO {owner}; ALTER TABLE e ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY mine ON e USING (name = current_user); CREATE POLICY known ON filled USING (true); CREATE POLICY known ON e USING (id > 0); ALTER TABLE e REPLICA IDENTITY FULL"
    ))
    .unwrap();
    s.query(CALL).unwrap();
    assert_eq!(
        value(
            &s,
            "SELECT concat_ws(' ', pg_get_userbyid(relowner), relrowsecurity, relreplident, (SELECT string_agg(polname, ',' ORDER BY polname) FROM pg_policy WHERE polrelid = c.oid)) FROM pg_class c WHERE relname = 'filled'"
        ),
        format!("{owner} t f known,mine")
    );
}

#[test]
fn while_an_index_is_built_nothing_but_the_table_is_locked() {
    let (db, s) = open(&format!(
        "{SETUP} CREATE FUNCTION pause(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(5); RETURN $1; END $$; \
         CREATE TABLE users (id bigint PRIMARY KEY); INSERT INTO users SELECT generate_series(1, 1000); CREATE INDEX e_pause ON e (public.pause(id)); \
         ALTER TABLE e ADD FOREIGN KEY (id) REFERENCES users"
    ));
    let (holder, other) = (db.session("holder").unwrap(), db.session("other").unwrap());
    for (begin, end) in [("SELECT", "DROP TABLE filled"), ("BEGIN", "ROLLBACK")].into_iter().rev() {
        holder.query("SELECT pg_advisory_lock(5)").unwrap();
        s.query(begin).unwrap();
        s.run(CALL);
        wait::until_blocked(db.cluster, &s).unwrap();
        let pid = s.pid();
        assert_eq!(
            value(
                &other,
                &format!(
                    "SELECT command || ' ' || relid::regclass FROM pg_stat_progress_create_index WHERE pid = {pid}"
                )
            ),
            "CREATE INDEX filled"
        );
        let locked = format!(
            "SELECT DISTINCT c.relname || ' ' || l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
             WHERE l.pid = {pid} AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND l.mode NOT IN ('AccessShareLock') ORDER BY 1"
        );
        // Inside of a block what was done before stays locked until its end.
        let wanted = if begin == "BEGIN" {
            vec!["filled AccessExclusiveLock", "filled ShareLock", "filled ShareUpdateExclusiveLock"]
        } else {
            vec!["filled ShareLock"]
        };
        assert_eq!(lines(&other, &locked), wanted);
        // The strongest lock on all others is to be had at once.
        // (Inside of a block the look into the default partition stays a reader's.)
        let only = if begin == "BEGIN" { "ONLY " } else { "" };
        other.query(&format!("BEGIN; LOCK TABLE {only}e, users IN ACCESS EXCLUSIVE MODE NOWAIT; ROLLBACK")).unwrap();
        if begin != "BEGIN" {
            other.query("SELECT count(*) FROM filled").unwrap();
        }
        holder.query("SELECT pg_advisory_unlock(5)").unwrap();
        s.join().unwrap();
        assert_eq!(value(&s, "SELECT count(*) FROM e"), "1000");
        s.query(end).unwrap();
    }
}

#[test]
fn a_check_that_is_not_enforced_is_not_proved() {
    // Before 18 all are.
    let word = if PgVersion::under_test().unwrap() >= PgVersion::V18 { " NOT ENFORCED" } else { "" };
    for own in ["", "CONSTRAINT small CHECK (id < 10) NOT VALID", "CONSTRAINT small CHECK (id < 10)"] {
        let (_db, s) = open(&format!(
            "CREATE TABLE e (id int, at date NOT NULL, CONSTRAINT small CHECK (id < 10){word}) PARTITION BY RANGE (at);
             CREATE TABLE filled (id int, at date NOT NULL); INSERT INTO filled VALUES (1, '2024-01-01')"
        ));
        if !own.is_empty() {
            s.query(&format!("ALTER TABLE filled ADD {own}")).unwrap();
        }
        s.query("CALL eventkit.attach_partition('e', 'filled', '2024-01-01', '2024-01-02')").unwrap();
        let state = value(
            &s,
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'filled'::regclass AND contype = 'c'",
        );
        let expected = match own {
            "" => format!("CHECK ((id < 10)){word}"),
            own if own.ends_with("VALID") && !word.is_empty() => "CHECK ((id < 10)) NOT VALID".into(),
            _ => "CHECK ((id < 10))".into(),
        };
        assert_eq!(state, expected, "{own}");
    }
    let (_db, s) = open(&format!(
        "CREATE TABLE t (id int, at date NOT NULL, CONSTRAINT small CHECK (id < 10){word}); INSERT INTO t VALUES (1, '2024-01-01')"
    ));
    s.query("CALL eventkit.convert_table('t', 'at', adopt_until => '2024-02-01')").unwrap();
    assert_eq!(
        value(
            &s,
            "SELECT string_agg(DISTINCT pg_get_constraintdef(oid), '; ') FROM pg_constraint WHERE conname = 'small'"
        ),
        format!("CHECK ((id < 10)){word}")
    );
}

#[test]
fn rows_that_no_subscriber_gets_are_told_of() {
    let (_db, s) = open(SETUP);
    s.query("CREATE TABLE empty (LIKE e INCLUDING ALL)").unwrap();
    s.query("CREATE PUBLICATION \"as root\" FOR TABLE e WITH (publish_via_partition_root)").unwrap();
    s.query("CREATE PUBLICATION parts FOR TABLE e; CREATE PUBLICATION deletes FOR TABLE e WITH (publish = 'delete'); CREATE PUBLICATION pair FOR TABLE e, filled").unwrap();
    let plan = "SELECT count(*) FROM eventkit.plan_attach_partition('e', 'filled', '2024-01-01 00:00Z', '2024-01-02 00:00Z') WHERE reason ~ 'sent to no subscriber'";
    assert_eq!(value(&s, plan), "1");
    let _ = s.take_notices();
    s.query(CALL).unwrap();
    let told: Vec<String> = s.take_notices().into_iter().filter(|notice| notice.starts_with("WARNING")).collect();
    let of = |publication: &str| {
        format!(
            "WARNING: rows that public.filled held before it was attached to public.e are not sent to subscribers of publication {publication}"
        )
    };
    assert_eq!(told, [of("\"as root\""), of("parts")]);
    s.query("CALL eventkit.attach_partition('e', 'empty', '2024-01-02 00:00Z', '2024-01-03 00:00Z')").unwrap();
    assert!(!s.take_notices().join("").contains("WARNING"));
}

/// A big table that refers to another one, and its parent.
const BIG: &str = "
CREATE TABLE users (id bigint PRIMARY KEY); INSERT INTO users SELECT generate_series(1, 1000);
CREATE TABLE e (id bigint NOT NULL, at timestamptz NOT NULL, user_id bigint CONSTRAINT who REFERENCES users ON DELETE CASCADE, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE filled (LIKE e); ALTER TABLE filled ADD PRIMARY KEY (id, at);
INSERT INTO filled SELECT n, '2024-01-01 00:00Z'::timestamptz + n % 86400 * interval '1 second', 1 + n % 1000 FROM generate_series(1, 350000) n;
";

const KEYS: &str = "SELECT conname, convalidated, conparentid <> 0, obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conrelid = 'filled'::regclass AND contype = 'f'";

#[test]
fn a_big_tables_foreign_key_is_proved_while_others_write_what_it_refers_to() {
    let (_db, s) = open(BIG);
    let held = || {
        lines(
            &s,
            "SELECT mode FROM pg_locks WHERE relation = 'users'::regclass AND pid = pg_backend_pid() AND mode <> 'AccessShareLock' ORDER BY 1",
        )
    };
    let plan = lines(
        &s,
        "SELECT statement FROM eventkit.plan_attach_partition('e', 'filled', '2024-01-01 00:00Z', '2024-01-02 00:00Z')",
    );
    let mut reads = 0;
    s.query("BEGIN").unwrap();
    for statement in &plan {
        if statement == "COMMIT" {
            s.query("COMMIT; BEGIN").unwrap();
            continue;
        }
        s.query(statement).unwrap_or_else(|e| panic!("{e}: {statement}"));
        if statement.contains(" VALIDATE CONSTRAINT \"who\"") {
            reads += 1;
            assert_eq!(held(), ["RowShareLock"], "who writes to it goes on while the rows are read");
        }
        if statement.contains(" ATTACH PARTITION ") {
            assert!(held().contains(&"AccessExclusiveLock".to_owned()), "planned, and taken before: {plan:?}");
        }
    }
    s.query("COMMIT").unwrap();
    assert_eq!(reads, 1, "{plan:?}");
    assert!(plan.iter().any(|step| step == "LOCK TABLE \"public\".\"users\" IN ACCESS EXCLUSIVE MODE"), "{plan:?}");
    assert_eq!(lines(&s, KEYS), ["who|t|t|NULL"]);
    s.query("DELETE FROM users WHERE id = 1").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "349650");
    assert_eq!(fails(&s, "INSERT INTO filled VALUES (0, '2024-01-01 00:00Z', 0)").sqlstate, "23503");
}

#[test]
fn a_big_table_whose_rows_refer_to_nothing_is_left_as_it_was() {
    let (_db, s) = open(&format!("{BIG} INSERT INTO filled VALUES (0, '2024-01-01 00:00Z', 0)"));
    let failure = fails(&s, CALL);
    assert_eq!(failure.sqlstate, "23503", "{failure:?}");
    assert_eq!((lines(&s, KEYS).len(), left_over(&s)), (0, "0".to_owned()));
    // One that the user has made and proved is taken over; the locks are those that the attach takes.
    s.query("DELETE FROM filled WHERE id = 0; ALTER TABLE filled ADD CONSTRAINT own FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE").unwrap();
    s.query(CALL).unwrap();
    assert_eq!(lines(&s, KEYS), ["own|t|t|NULL"]);
}

#[test]
fn a_call_killed_while_it_proves_a_foreign_key_is_repeated() {
    let cluster = stopping_cluster(
        BIG,
        "current_query() ~ 'attach_partition' AND s.tag = tg_tag || ' ' || coalesce((SELECT convalidated::text FROM pg_constraint WHERE conname = 'who' AND conrelid = 'public.filled'::regclass), 'none')",
    );
    for (tag, left) in [("COMMENT false", 0), ("ALTER TABLE true", 1)] {
        let s = kill_at(&cluster, CALL, tag, "");
        assert_eq!(lines(&s, KEYS).len(), left, "{tag}");
        assert_eq!(value(&s, "SELECT relispartition FROM pg_class WHERE relname = 'filled'"), "f");
    }
    let s = Session::open(&cluster, "d", "last").unwrap();
    s.query(CALL).unwrap();
    assert_eq!((lines(&s, KEYS), left_over(&s)), (vec!["who|t|t|NULL".to_owned()], "0".to_owned()));
}

#[test]
fn a_foreign_key_that_may_not_be_made_or_gains_nothing_is_left_to_the_attach() {
    let (db, s) = open(BIG);
    let owner = format!("owner_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}; GRANT EXECUTE ON PROCEDURE eventkit.attach_partition TO {owner}; ALTER TABLE e OWNER TO {owner}; ALTER TABLE filled OWNER TO {owner}"
    ))
    .unwrap();
    let steps = |s: &Session| {
        lines(s, "SELECT statement FROM eventkit.plan_attach_partition('e', 'filled', '2024-01-01 00:00Z', '2024-01-02 00:00Z')").join("\n")
    };
    let (locked, open) = ("\"users\" IN ACCESS EXCLUSIVE MODE", "ADD CONSTRAINT \"who\"");
    // In a block the keys would be locked as long, and against readers too.
    s.query("BEGIN").unwrap();
    assert!(!steps(&s).contains(locked) && !steps(&s).contains(open), "{}", steps(&s));
    s.query("COMMIT").unwrap();
    assert!(steps(&s).contains(locked) && steps(&s).contains(open));
    // What a call that was stopped has added is taken away again.
    s.query("ALTER TABLE filled ADD CONSTRAINT who FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE NOT VALID; COMMENT ON CONSTRAINT who ON filled IS 'waits for eventkit.attach_partition'; BEGIN")
        .unwrap();
    assert!(steps(&s).contains("DROP CONSTRAINT \"who\"") && steps(&s).contains(locked));
    s.query("COMMIT; ALTER TABLE filled DROP CONSTRAINT who").unwrap();
    s.query(&format!("SET ROLE {owner}")).unwrap();
    assert!(!steps(&s).contains(open), "{}", steps(&s));
    s.query(CALL).unwrap();
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM pg_constraint WHERE conrelid = 'filled'::regclass AND contype = 'f' AND conparentid <> 0"
        ),
        "1"
    );
    s.query("RESET ROLE").unwrap();
}

#[test]
fn what_a_crash_would_empty_is_not_attached_to_what_it_would_not() {
    let (_db, s) = open(
        "CREATE TABLE e (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at); CREATE UNLOGGED TABLE filled (LIKE e); INSERT INTO filled VALUES (1, '2024-01-01 12:00Z')",
    );
    let refused = fails(&s, CALL);
    assert!(refused.sqlstate == "55000" && refused.hint.unwrap().contains("SET LOGGED"));
    s.query("CREATE UNLOGGED TABLE other PARTITION OF e FOR VALUES FROM ('2025-01-01') TO ('2025-01-02')").unwrap();
    s.query(CALL).unwrap();
}
