//! Splitting a wide partition and the way back to a plain table: strangers with our names, calls that were stopped, captures taken apart,
//! partitions of another shape than their parent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails, lines, number, open, value};
use eventkit_tests::shared::{self, Database};
use eventkit_tests::{Session, wait};

/// Five days of rows, one a day.
const DAYS: &str = "CREATE TABLE e (id int, at timestamptz, v text, PRIMARY KEY (id, at)); \
     INSERT INTO e SELECT n, now() - (4 - n) * interval '1 day', 'v' || n FROM generate_series(0, 4) n";
const CONVERT: &str = "CALL eventkit.convert_table('e', 'at')";
const SPLIT: &str = "CALL eventkit.split_partition('e')";
const PLAIN: &str = "CALL eventkit.unpartition_table('e')";

fn converted(setup: &str) -> (Database, Session) {
    let (db, s) = open(setup);
    s.query(CONVERT).unwrap();
    (db, s)
}

/// A call that has copied all and is ended while it waits for the exchange.
fn stopped(db: &Database, s: &Session, call: &str) {
    let (reader, victim) = (db.session("reader").unwrap(), db.session("victim").unwrap());
    reader.query("SET search_path = public, app; BEGIN; SELECT count(*) FROM e").unwrap();
    victim.run(&call.replace("')", "', lock_timeout => '1 minute')"));
    wait::until_blocked(db.cluster, &victim).unwrap();
    s.query(&format!("SELECT pg_terminate_backend({}, 10000)", victim.pid())).unwrap();
    victim.join().unwrap_err();
    reader.query("COMMIT").unwrap();
}

/// All that a split or a way back makes for a while.
fn left_over(s: &Session) -> String {
    value(
        s,
        "SELECT concat_ws(' ', (SELECT string_agg(relname, ' ') FROM pg_class WHERE relname ~ '_changes$|_plain$'), \
           (SELECT string_agg(proname, ' ') FROM pg_proc WHERE proname ~ '_capture$' AND pronamespace <> 'eventkit'::regnamespace), \
           (SELECT string_agg(conrelid::regclass::text, ' ') FROM pg_constraint WHERE conname ~ '^partition_(bound|excludes)'), \
           (SELECT string_agg(tgname, ' ') FROM pg_trigger WHERE tgname ~ '^eventkit'), \
           (SELECT string_agg(description, ' ') FROM pg_description WHERE description ~ 'eventkit' AND classoid = 'pg_class'::regclass \
             AND (SELECT relnamespace FROM pg_class WHERE oid = objoid) <> 'eventkit'::regnamespace))",
    )
}

#[test]
fn what_strangers_have_under_our_names_stays() {
    for (stranger, name) in [
        ("CREATE TABLE e_changes (note text); INSERT INTO e_changes VALUES ('precious')", "e_changes"),
        ("CREATE TABLE e_plain (note text); INSERT INTO e_plain VALUES ('precious')", "e_plain"),
        ("CREATE FUNCTION e_capture() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'", "e_capture"),
    ] {
        let (_db, s) = converted(&format!("{DAYS}; {stranger}"));
        let refused = fails(&s, PLAIN);
        assert!(refused.sqlstate == "42P07" || refused.sqlstate == "42723", "{refused}");
        assert!(refused.message.contains(name) && refused.hint.is_some(), "{refused}");
        assert_eq!(value(&s, "SELECT count(*) FROM pg_trigger WHERE tgname ~ '^eventkit'"), "0");
        if name != "e_capture" {
            assert_eq!(value(&s, &format!("SELECT note FROM {name}")), "precious");
            s.query(&format!("ALTER TABLE {name} RENAME TO kept")).unwrap();
        } else {
            s.query("ALTER FUNCTION e_capture RENAME TO kept").unwrap();
        }
        s.query(PLAIN).unwrap();
        assert_eq!(value(&s, "SELECT count(*) FROM e"), "5");
        assert_eq!(left_over(&s), "");
    }
    for (stranger, name) in [
        ("CREATE TABLE e_adopted_changes (note text)", "e_adopted_changes"),
        (
            "CREATE FUNCTION e_adopted_capture() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "e_adopted_capture",
        ),
    ] {
        let (_db, s) = converted(&format!("{DAYS}; {stranger}"));
        let refused = fails(&s, SPLIT);
        assert!(refused.sqlstate == "42P07" || refused.sqlstate == "42723", "{refused}");
        assert!(refused.message.contains(name) && refused.hint.is_some(), "{refused}");
        assert_eq!(value(&s, "SELECT count(*) FROM pg_constraint WHERE conname = 'partition_bound'"), "0");
    }
}

#[test]
fn a_table_that_looks_like_a_copy_is_not_taken_for_one() {
    let (db, s) = converted(DAYS);
    stopped(&db, &s, SPLIT);
    let name = value(&s, "SELECT format('e_%s', to_char(now() AT TIME ZONE 'UTC' - interval '2 days', 'YYYYMMDD'))");
    // As an attach_partition that was stopped leaves one.
    s.query(&format!(
        "DROP TABLE {name}; CREATE TABLE {name} (LIKE e INCLUDING ALL, CONSTRAINT partition_bound CHECK (at IS NOT NULL)); INSERT INTO {name} VALUES (77, now(), 'mine')"
    ))
    .unwrap();
    let refused = fails(&s, SPLIT);
    assert!(refused.sqlstate == "42P07" && refused.message.contains(&name), "{refused}");
    s.query(&format!("ALTER TABLE {name} RENAME TO kept; ALTER INDEX {name}_pkey RENAME TO kept_pkey")).unwrap();
    // The copy that was dropped is made again.
    s.query(SPLIT).unwrap();
    assert_eq!(value(&s, "SELECT count(*) || ' ' || count(DISTINCT tableoid) FROM e"), "5 5");
    assert_eq!(value(&s, "SELECT v FROM kept"), "mine");
    s.query("DROP TABLE kept").unwrap();
    assert_eq!(left_over(&s), "");
}

#[test]
fn the_capture_of_a_backfill_stays() {
    let (_db, s) = open(
        "CREATE TABLE ev (id int, at timestamptz, PRIMARY KEY (id, at)); INSERT INTO ev SELECT n, now() - n * interval '1 hour' FROM generate_series(1, 99) n; \
         CREATE SCHEMA app; CREATE TABLE app.ev (LIKE ev INCLUDING ALL) PARTITION BY RANGE (at)",
    );
    s.query("CALL eventkit.manage_partitions('app.ev')").unwrap();
    s.query("CALL eventkit.backfill('public.ev', 'app.ev')").unwrap();
    assert_eq!(value(&s, "SELECT to_regclass('app.ev_changes')::text"), "app.ev_changes");
    let refused = fails(&s, "CALL eventkit.unpartition_table('app.ev')");
    assert!(refused.sqlstate == "42P07" && refused.message.contains("ev_changes"), "{refused}");
    s.query("INSERT INTO ev VALUES (100, now())").unwrap();
    s.query("CALL eventkit.catch_up('public.ev', 'app.ev')").unwrap();
    s.query("CALL eventkit.finish_backfill('public.ev', 'app.ev')").unwrap();
    s.query("CALL eventkit.unpartition_table('app.ev')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM app.ev"), "100");
}

#[test]
fn a_stopped_split_is_ended_though_the_oldest_row_has_changed() {
    for (change, rows, oldest) in [
        ("DELETE FROM e WHERE id = 0", 4, "1"),
        ("DELETE FROM e WHERE id < 3", 2, "3"),
        ("DELETE FROM e", 0, "NULL"),
        ("INSERT INTO e SELECT -n, now() - (4 + n) * interval '1 day', 'old' FROM generate_series(1, 3) n", 8, "-3"),
        ("UPDATE e SET at = at - interval '9 days' WHERE id = 4", 5, "0"),
    ] {
        let (db, s) = converted(DAYS);
        stopped(&db, &s, SPLIT);
        s.query(change).unwrap();
        s.query(SPLIT).unwrap_or_else(|e| panic!("{change}: {e}"));
        assert_eq!(lines(&s, "SELECT count(*), min(id) FROM e"), [format!("{rows}|{oldest}")], "{change}");
        assert_eq!(left_over(&s), "", "{change}");
        assert_eq!(
            value(
                &s,
                "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND relnamespace = 'public'::regnamespace"
            ),
            "0",
            "{change}"
        );
        let places = number(&s, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'e'::regclass");
        assert!(places >= 12, "{change}: {places}");
    }
}

#[test]
fn a_copy_that_is_half_done_is_taken_up_where_it_stands() {
    let (db, s) = converted(DAYS);
    // The newest days are copied, then the oldest row goes and older ones come.
    let plan = lines(&s, "SELECT statement FROM eventkit.plan_split_partition('e')");
    let transactions: Vec<&[String]> = plan.split(|statement| statement == "COMMIT").collect();
    let some = transactions
        .iter()
        .position(|t| {
            t.iter().any(|s| {
                s.starts_with("CREATE TABLE")
                    && s.contains(&value(
                        &db.session("at").unwrap(),
                        "SELECT to_char(now() AT TIME ZONE 'UTC' - interval '2 days', 'YYYYMMDD')",
                    ))
            })
        })
        .unwrap();
    for transaction in &transactions[..=some] {
        s.query(&format!("BEGIN; {}; COMMIT", transaction.join(";"))).unwrap();
    }
    s.query("DELETE FROM e WHERE id = 0; INSERT INTO e VALUES (-9, now() - interval '20 days', 'older'); UPDATE e SET v = 'seen' WHERE id = 4").unwrap();
    s.query(SPLIT).unwrap();
    assert_eq!(lines(&s, "SELECT id, v FROM e ORDER BY id"), ["-9|older", "1|v1", "2|v2", "3|v3", "4|seen"]);
    assert_eq!(value(&s, "SELECT count(DISTINCT tableoid) FROM e"), "5");
    assert_eq!(left_over(&s), "");
}

#[test]
fn a_capture_that_was_taken_apart_is_seen() {
    for (call, table) in [(SPLIT, "e_adopted"), (PLAIN, "e"), (PLAIN, "e_adopted")] {
        for (off, on) in [
            ("DISABLE TRIGGER ALL", "ENABLE TRIGGER ALL"),
            ("DISABLE TRIGGER eventkit_capture", "ENABLE ALWAYS TRIGGER eventkit_capture"),
        ] {
            let (db, s) = converted(DAYS);
            stopped(&db, &s, call);
            s.query(&format!("ALTER TABLE {table} {off}; INSERT INTO e VALUES (9, now() - interval '30 hours', 'unseen'); ALTER TABLE {table} {on}")).unwrap();
            if call == PLAIN {
                // Begun anew: whatever was missed is in the new copy.
                s.query(call).unwrap();
                assert_eq!(value(&s, "SELECT count(*) FROM e"), "6");
                continue;
            }
            let refused = fails(&s, call);
            assert!(
                refused.sqlstate == "55000" && refused.hint.as_ref().unwrap().contains("stop_capture"),
                "{call} {table} {off}: {refused}"
            );
            assert_eq!(value(&s, "SELECT count(*) FROM e"), "6");
            let hint = refused.hint.unwrap();
            let again =
                hint.split("SELECT eventkit.stop_capture(").nth(1).unwrap().split(')').next().unwrap().to_owned();
            s.query(&format!("SELECT eventkit.stop_capture({again})")).unwrap();
            assert_eq!(left_over(&s), "");
            s.query(call).unwrap();
            assert_eq!(value(&s, "SELECT count(*) FROM e"), "6");
            assert_eq!(left_over(&s), "");
        }
    }
}

#[test]
fn a_capture_that_is_taken_apart_meanwhile_is_seen_under_the_locks() {
    for (call, table) in [(SPLIT, "e_adopted"), (PLAIN, "e")] {
        let (db, s) = converted(DAYS);
        let reader = db.session("reader").unwrap();
        reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
        s.run(&call.replace("')", "', lock_timeout => '10 seconds')"));
        wait::until(db.cluster, &db.name, "EXISTS (SELECT FROM pg_locks l WHERE l.relation = 'e'::regclass AND NOT l.granted AND l.mode = 'AccessExclusiveLock')").unwrap();
        reader.query(&format!("ALTER TABLE {table} DISABLE TRIGGER ALL; INSERT INTO e VALUES (9, now() - interval '30 hours', 'unseen'); ALTER TABLE {table} ENABLE TRIGGER ALL; COMMIT")).unwrap();
        let refused = s.join().unwrap_err();
        assert_eq!(refused.sqlstate, "55000", "{call}: {refused}");
        assert_eq!(value(&s, "SELECT count(*) FROM e"), "6");
    }
}

#[test]
fn a_copy_that_somebody_has_changed_is_seen() {
    let (db, s) = converted(DAYS);
    stopped(&db, &s, SPLIT);
    s.query("DELETE FROM e_older; INSERT INTO e_older VALUES (1, now() - interval '30 days', 'stranger')").unwrap();
    let refused = fails(&s, SPLIT);
    assert!(refused.sqlstate == "55000" && refused.hint.as_ref().unwrap().contains("stop_capture"), "{refused}");
    s.query("SELECT eventkit.stop_capture('e_adopted')").unwrap();
    s.query(SPLIT).unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "5");
}

#[test]
fn what_refers_to_the_parent_and_cannot_be_proved_later_is_told_first() {
    let referring = "CREATE TABLE r (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES e) PARTITION BY RANGE (at); \
         CREATE TABLE r_all PARTITION OF r DEFAULT; INSERT INTO r SELECT id, at FROM e";
    let itself = "ALTER TABLE e ADD up int, ADD upat timestamptz, ADD FOREIGN KEY (up, upat) REFERENCES e; UPDATE e SET up = 2, upat = (SELECT x.at FROM e x WHERE x.id = 2)";
    for setup in [referring, itself] {
        let (db, s) = converted(DAYS);
        s.query(setup).unwrap();
        let later = db.cluster.version().number() >= 18;
        if later {
            s.query(SPLIT).unwrap();
            assert_eq!(value(&s, "SELECT count(DISTINCT tableoid) FROM e"), "5");
            assert_eq!(value(&s, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated"), "0");
            assert_eq!(fails(&s, "DELETE FROM e WHERE id = 2").sqlstate, "23503", "{setup}");
        } else {
            let refused = fails(&s, SPLIT);
            assert!(refused.sqlstate == "0A000" && refused.message.contains("_fkey"), "{setup}: {refused}");
            assert!(refused.hint.is_some() && refused.detail.is_some(), "{refused}");
            assert_eq!(fails(&s, "SELECT * FROM eventkit.plan_split_partition('e')").sqlstate, "0A000");
        }
        assert_eq!(left_over(&s), "");
        assert_eq!(value(&s, "SELECT count(*) FROM e"), "5");
    }
}

#[test]
fn what_hangs_on_a_partition_itself_is_told_first() {
    for (setup, named) in [
        ("CREATE VIEW direct AS SELECT id FROM e_adopted", "view public.direct"),
        ("CREATE TABLE r (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES e_adopted)", "r_id_at_fkey"),
        ("CREATE TABLE holds (it e_adopted)", "holds"),
        (
            "CREATE FUNCTION seen() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM e_adopted; END",
            "function public.seen",
        ),
    ] {
        let (_db, s) = converted(DAYS);
        s.query(setup).unwrap();
        for call in [SPLIT, PLAIN] {
            let refused = fails(&s, call);
            assert!(refused.sqlstate == "0A000" && refused.message.contains(named), "{call} {setup}: {refused}");
            assert!(refused.hint.is_some() && refused.detail.is_some(), "{refused}");
            assert_eq!(left_over(&s), "");
        }
    }
}

#[test]
fn columns_in_another_order_and_generated_ones() {
    let virtual_column = if shared::database().unwrap().cluster.version().number() >= 18 {
        ", half int GENERATED ALWAYS AS (id / 2) VIRTUAL"
    } else {
        ""
    };
    let (db, s) = open(&format!(
        "CREATE TABLE e (gone int, id int, at timestamptz NOT NULL, v text, twice int GENERATED ALWAYS AS (id * 2) STORED{virtual_column}, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
         ALTER TABLE e DROP gone; \
         CREATE TABLE e_wide (v text, at timestamptz NOT NULL{virtual_column}, twice int GENERATED ALWAYS AS (id * 2) STORED, id int, PRIMARY KEY (id, at)); \
         INSERT INTO e_wide (v, at, id) SELECT 'v' || n, now() - (4 - n) * interval '1 day', n FROM generate_series(0, 4) n; \
         CALL eventkit.manage_partitions('e', premake => 0); DROP TABLE IF EXISTS e_gone"
    ));
    s.query("DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'e'::regclass LOOP EXECUTE format('DROP TABLE %s', p); END LOOP; END $$; \
        CALL eventkit.attach_partition('e', 'e_wide', '-infinity', date_trunc('day', now(), 'UTC') + interval '3 days')").unwrap();
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    assert_eq!(fails(&s, "CALL eventkit.split_partition('e', lock_timeout => '5 milliseconds')").sqlstate, "55P03");
    reader.query("COMMIT").unwrap();
    s.query("UPDATE e SET v = 'new' WHERE id = 2; DELETE FROM e WHERE id = 1; INSERT INTO e (id, at) VALUES (7, now() - interval '1 day'); UPDATE e SET id = 8 WHERE id = 3").unwrap();
    s.query(SPLIT).unwrap();
    assert_eq!(
        lines(&s, "SELECT id, v, twice FROM e ORDER BY id"),
        ["0|v0|0", "2|new|4", "4|v4|8", "7|NULL|14", "8|v3|16"]
    );
    if !virtual_column.is_empty() {
        assert_eq!(value(&s, "SELECT sum(half) FROM e"), "10");
    }
    assert_eq!(left_over(&s), "");
    // The way back from partitions whose columns stand otherwise.
    stopped(&db, &s, PLAIN);
    s.query("UPDATE e SET v = 'newer' WHERE id = 2").unwrap();
    s.query(PLAIN).unwrap();
    assert_eq!(value(&s, "SELECT v FROM e WHERE id = 2"), "newer");
}

#[test]
fn keys_of_types_that_an_extension_brings() {
    let (db, s) = converted(
        "CREATE SCHEMA ext; ALTER EXTENSION hstore SET SCHEMA ext; CREATE TABLE e (k ext.hstore, at timestamptz, v text, PRIMARY KEY (k, at)); \
         INSERT INTO e SELECT ext.hstore('n', n::text), now() - (4 - n) * interval '1 day', 'v' || n FROM generate_series(0, 4) n",
    );
    for call in [SPLIT, PLAIN] {
        stopped(&db, &s, call);
        s.query("UPDATE e SET v = v || '!' WHERE at < now() - interval '30 hours'").unwrap();
        s.query(call).unwrap();
        assert_eq!(left_over(&s), "");
    }
    assert_eq!(lines(&s, "SELECT v FROM e ORDER BY at"), ["v0!!", "v1!!", "v2!!", "v3", "v4"]);
}

#[test]
fn the_default_partition_is_read_once_before_anybody_waits() {
    let (db, s) = converted(DAYS);
    s.query("CREATE TABLE e_rest PARTITION OF e DEFAULT; INSERT INTO e SELECT n, now() + interval '400 days', 'far' FROM generate_series(1, 50) n").unwrap();
    let under_lock = |plan: &[String]| {
        let exchange =
            plan.split(|s| s == "COMMIT").find(|t| t.iter().any(|s| s.contains("DETACH PARTITION"))).unwrap().to_vec();
        exchange.iter().filter(|s| s.contains("VALIDATE CONSTRAINT")).count()
    };
    assert_eq!(under_lock(&lines(&s, "SELECT statement FROM eventkit.plan_split_partition('e')")), 0);
    stopped(&db, &s, SPLIT);
    s.query("SET client_min_messages = debug1").unwrap();
    let _ = s.take_notices();
    s.query(SPLIT).unwrap();
    let heard = s.take_notices().join("\n");
    s.query("RESET client_min_messages").unwrap();
    assert!(heard.matches("verifying table \"e_rest\"").count() <= 1, "{heard}");
    assert!(
        heard.matches("updated partition constraint for default partition \"e_rest\" is implied").count() >= 5,
        "{heard}"
    );
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "55");
    assert_eq!(left_over(&s), "");
    // Given up, nothing stays that would refuse rows later.
    let (db, s) = converted(DAYS);
    s.query("CREATE TABLE e_rest PARTITION OF e DEFAULT").unwrap();
    stopped(&db, &s, SPLIT);
    s.query("SELECT eventkit.stop_capture('e_adopted')").unwrap();
    assert_eq!(left_over(&s), "");
}

#[test]
fn how_rows_are_stored_goes_along() {
    let (db, s) = open(&format!(
        "CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler; {}; \
         ALTER TABLE e SET ACCESS METHOD heap_too, SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_enabled = false)",
        DAYS
    ));
    let kept = "{fillfactor=70,autovacuum_vacuum_scale_factor=0.01}|{autovacuum_enabled=false}|heap_too";
    let stored = |s: &Session, which: &str| {
        lines(
            s,
            &format!(
                "SELECT DISTINCT c.reloptions, t.reloptions, m.amname FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid JOIN pg_am m ON m.oid = c.relam WHERE {which}"
            ),
        )
    };
    assert_eq!(stored(&s, "c.oid = 'e'::regclass"), [kept]);
    s.query(CONVERT).unwrap();
    if db.cluster.version().number() >= 17 {
        assert_eq!(
            value(&s, "SELECT amname FROM pg_am m JOIN pg_class c ON c.relam = m.oid WHERE c.oid = 'e'::regclass"),
            "heap_too"
        );
    }
    // Back at once, then by the way of a split.
    s.query(PLAIN).unwrap();
    assert_eq!(stored(&s, "c.oid = 'e'::regclass"), [kept]);
    s.query(CONVERT).unwrap();
    s.query(SPLIT).unwrap();
    assert_eq!(stored(&s, "c.oid IN (SELECT tableoid FROM e)"), [kept]);
    s.query(PLAIN).unwrap();
    assert_eq!(stored(&s, "c.oid = 'e'::regclass"), [kept]);
    let _ = number(&s, "SELECT count(*) FROM e");
}

#[test]
fn a_way_back_that_failed_leaves_the_table_managed() {
    let (db, s) = converted(DAYS);
    stopped(&db, &s, PLAIN);
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_settings"), "1");
    s.query(PLAIN).unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_settings"), "0");
}

#[test]
fn more_parts_than_the_server_has_locks_for_are_refused_first() {
    let (_db, s) = converted("CREATE TABLE e (at timestamptz); INSERT INTO e VALUES (now()), ('1980-01-01')");
    let refused = fails(&s, "SELECT count(*) FROM eventkit.plan_split_partition('e')");
    assert_eq!(refused.sqlstate, "54000", "{refused}");
    assert_eq!(fails(&s, SPLIT).sqlstate, "54000");
    assert!(refused.hint.as_ref().unwrap().contains("max_locks_per_transaction"), "{refused}");
    assert_eq!(left_over(&s), "");
    // By the month there are few enough.
    s.query("CALL eventkit.manage_partitions('e', period => '1 month')").unwrap();
    assert!(number(&s, "SELECT count(*) FROM eventkit.plan_split_partition('e')") > 400);
}

#[test]
fn partitions_that_come_and_go_during_the_way_back() {
    let waits = "EXISTS (SELECT FROM pg_locks l WHERE l.relation = 'e'::regclass AND NOT l.granted AND l.mode = 'AccessExclusiveLock')";
    let (db, s) = converted(DAYS);
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    s.run(&PLAIN.replace("')", "', lock_timeout => '500 milliseconds')"));
    wait::until(db.cluster, &db.name, waits).unwrap();
    // As maintain makes one; its rows are captured.
    let other = db.session("other").unwrap();
    other.query("CALL eventkit.create_partition('e', (now() + interval '50 days')::date)").unwrap();
    other.query("INSERT INTO e VALUES (50, now() + interval '50 days', 'new')").unwrap();
    reader.query("COMMIT").unwrap();
    s.join().unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "6");
    assert_eq!(left_over(&s), "");
    // One that leaves takes its rows along.
    let (db, s) = converted(DAYS);
    s.query("CALL eventkit.create_partition('e', (now() + interval '50 days')::date)").unwrap();
    s.query("INSERT INTO e VALUES (50, now() + interval '50 days', 'new')").unwrap();
    let name = value(&s, "SELECT max(tableoid::regclass::text) FILTER (WHERE id = 50) FROM e");
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    s.run(&PLAIN.replace("')", "', lock_timeout => '10 seconds')"));
    wait::until(db.cluster, &db.name, waits).unwrap();
    reader.query(&format!("ALTER TABLE e DETACH PARTITION {name}; COMMIT")).unwrap();
    let refused = s.join().unwrap_err();
    assert!(refused.sqlstate == "55006" && refused.hint.as_ref().unwrap().contains("unmanage_partitions"), "{refused}");
    s.query(PLAIN).unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "5");
}

/// Anybody can describe a table of his own as a copy: it is neither taken for a part nor dropped.
#[test]
fn a_strangers_mark_is_not_believed() {
    let (db, s) = converted(DAYS);
    stopped(&db, &s, SPLIT);
    let guest = format!("guest_{}", db.name);
    let wide = value(
        &s,
        "SELECT obj_description(oid) FROM pg_class WHERE obj_description(oid) LIKE 'filled by eventkit%' LIMIT 1",
    );
    let (head, _) = wide.rsplit_once(": ").unwrap();
    s.query(&format!("CREATE ROLE {guest}; CREATE SCHEMA theirs AUTHORIZATION {guest}; SET ROLE {guest}; CREATE TABLE theirs.t (x int); COMMENT ON TABLE theirs.t IS '{head}: 0 86400000000'; RESET ROLE"))
        .unwrap();
    s.query(SPLIT).unwrap();
    assert_eq!(value(&s, "SELECT count(*) || ' ' || count(DISTINCT tableoid) FROM e"), "5 5");
    assert_eq!(value(&s, "SELECT count(*) FROM theirs.t"), "0");
}

/// The command that a hint tells, up to its end.
fn told(hint: &str) -> &str {
    let at = hint.find("SELECT eventkit.").unwrap_or_else(|| panic!("no command in: {hint}"));
    let end = hint[at..].find(')').unwrap_or_else(|| panic!("no end in: {hint}"));
    &hint[at..=at + end]
}

#[test]
fn copies_of_another_shape_than_the_parent_has_now_take_no_place() {
    let shape = "CREATE TABLE e (id int, at timestamptz NOT NULL, v int NOT NULL, w int CONSTRAINT wpos CHECK (w > 0), secret text, PRIMARY KEY (id, at), CONSTRAINT e_u UNIQUE (v, at)); \
         INSERT INTO e SELECT n, now() - n * interval '1 day', n, -n + 10, 'secret' FROM generate_series(0, 4) n";
    for (ddl, then, is) in [
        ("ALTER TABLE e DROP COLUMN secret; ALTER TABLE e ADD COLUMN secret text", "SELECT count(secret) FROM e", "0"),
        (
            "ALTER TABLE e RENAME v TO x; ALTER TABLE e RENAME w TO v; ALTER TABLE e RENAME x TO w",
            "SELECT sum(v) - sum(w) FROM e",
            "30",
        ),
        ("ALTER TABLE e ALTER v DROP NOT NULL", "INSERT INTO e (id, at, w) VALUES (9, now(), 1) RETURNING id", "9"),
        (
            "ALTER TABLE e DROP CONSTRAINT wpos",
            "INSERT INTO e (id, at, v, w) VALUES (9, now(), 9, -1) RETURNING id",
            "9",
        ),
        (
            "ALTER TABLE e DROP CONSTRAINT e_u",
            "INSERT INTO e (id, at, v, w) SELECT 9 + n, now(), 9, 1 FROM generate_series(0, 1) n RETURNING id",
            "9",
        ),
        ("ALTER TABLE e ADD COLUMN more int", "SELECT count(*) - count(more) FROM e", "5"),
        ("ALTER TABLE e ADD CONSTRAINT few CHECK (v < 100)", "SELECT count(*) FROM e", "5"),
        ("CREATE INDEX e_w ON e (w)", "SELECT count(*) FROM e WHERE w > 0", "5"),
    ] {
        let (db, s) = converted(shape);
        stopped(&db, &s, SPLIT);
        s.query(ddl).unwrap();
        let refused = fails(&s, SPLIT);
        assert!(refused.sqlstate == "55000" && refused.message.contains("was altered since"), "{ddl}: {refused}");
        s.query(told(refused.hint.as_deref().unwrap())).unwrap();
        s.query(SPLIT).unwrap();
        assert_eq!((value(&s, then).as_str(), left_over(&s).as_str()), (is, ""), "{ddl}");
        assert!(number(&s, "SELECT count(*) FROM eventkit.partitions WHERE parent = 'e'::regclass") > 5);
    }
    // Under the locks of the exchange too, for what changes while rows are copied.
    let (_db, s) = converted(shape);
    let plan = lines(&s, "SELECT statement FROM eventkit.plan_split_partition('e') ORDER BY step");
    let at = |text: &str| plan.iter().position(|statement| statement.contains(text)).unwrap();
    assert!(at("ACCESS EXCLUSIVE MODE") < at("expect_structure") && at("expect_structure") < at("DETACH PARTITION"));
    s.query("ALTER TABLE e DROP COLUMN secret").unwrap();
    assert_eq!(fails(&s, &plan[at("expect_structure")]).sqlstate, "55000");
}

#[test]
fn a_rename_in_the_middle_leaves_nothing_behind() {
    let (db, s) = converted(DAYS);
    stopped(&db, &s, SPLIT);
    s.query("ALTER TABLE e RENAME TO ee; ALTER TABLE e_adopted RENAME TO old_rows; DELETE FROM ee WHERE id = 3; INSERT INTO ee VALUES (7, now() - interval '1 day', 'new')").unwrap();
    s.query("CALL eventkit.split_partition('ee', 'old_rows')").unwrap();
    assert_eq!(value(&s, "SELECT string_agg(id::text, '' ORDER BY id) FROM ee"), "01247");
    assert_eq!((left_over(&s), value(&s, "SELECT to_regclass('old_rows')")), (String::new(), "NULL".into()));
    s.query("ALTER TABLE ee RENAME TO e").unwrap();
    stopped(&db, &s, PLAIN);
    s.query("ALTER TABLE e RENAME TO ee; CALL eventkit.unmanage_partitions('ee')").unwrap();
    s.query("CALL eventkit.unpartition_table('ee')").unwrap();
    assert_eq!(
        (value(&s, "SELECT string_agg(id::text, '' ORDER BY id) FROM ee"), left_over(&s)),
        ("01247".into(), String::new())
    );
    // Given up after a rename.
    let (db, s) = converted(DAYS);
    stopped(&db, &s, SPLIT);
    s.query("ALTER TABLE e RENAME TO ee; ALTER TABLE e_adopted RENAME TO old_rows").unwrap();
    s.query("SELECT eventkit.stop_capture('old_rows')").unwrap();
    assert_eq!(left_over(&s), "");
    s.query("CALL eventkit.split_partition('ee')").unwrap();
    assert_eq!((value(&s, "SELECT count(*) FROM ee"), left_over(&s)), ("5".into(), String::new()));
}

#[test]
fn a_schema_that_is_renamed_in_the_middle_is_told_and_mended() {
    let (db, s) = open(
        "CREATE SCHEMA app; SET search_path = app; CREATE TABLE app.e (id int, at timestamptz, v text, PRIMARY KEY (id, at)); \
         INSERT INTO app.e SELECT n, now() - n * interval '1 day' FROM generate_series(0, 4) n",
    );
    s.query("CALL eventkit.convert_table('app.e', 'at')").unwrap();
    stopped(&db, &s, "CALL eventkit.split_partition('app.e')");
    s.query("ALTER SCHEMA app RENAME TO app2; SET search_path = app2").unwrap();
    assert_eq!(fails(&s, "INSERT INTO e VALUES (9, now())").sqlstate, "42P01");
    let health = lines(&s, "SELECT level, what, hint FROM eventkit.check_unfinished()");
    assert_eq!(
        health,
        [
            "critical|the capture of changes of app2.e_adopted is not whole: who writes to it may get an error|SELECT eventkit.stop_capture('app2.e_adopted')"
        ]
    );
    s.query("SELECT eventkit.stop_capture('app2.e_adopted')").unwrap();
    s.query("INSERT INTO e VALUES (9, now())").unwrap();
    s.query("CALL eventkit.split_partition('app2.e')").unwrap();
    assert_eq!((value(&s, "SELECT count(*) FROM e"), left_over(&s)), ("6".into(), String::new()));
}

#[test]
fn rows_that_come_late_to_the_oldest_partition_are_split_off_too() {
    let (_db, s) = converted(DAYS);
    s.query(SPLIT).unwrap();
    for late in ["20 days", "40 days"] {
        s.query(&format!("INSERT INTO e SELECT 100 + n, now() - interval '{late}' - n * interval '1 day' FROM generate_series(0, 2) n")).unwrap();
        s.query(SPLIT).unwrap();
        assert_eq!(left_over(&s), "");
        assert_eq!(
            value(&s, "SELECT count(DISTINCT tableoid) FROM e WHERE id >= 100 AND tableoid::regclass::text !~ 'older'"),
            value(&s, "SELECT count(*) FROM e WHERE id >= 100"),
            "{late}"
        );
    }
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "11");
}

#[test]
fn a_partition_that_is_partitioned_itself_stays_so() {
    let (_db, s) = open(
        "CREATE TABLE e (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE twofold PARTITION OF e FOR VALUES FROM ('2024-01-01') TO ('2024-01-15') PARTITION BY LIST (id);
         CREATE TABLE one PARTITION OF twofold FOR VALUES IN (1); INSERT INTO e VALUES (1, '2024-01-02'), (1, '2024-01-09')",
    );
    s.query(SPLIT).unwrap();
    let refused = fails(&s, "CALL eventkit.split_partition('e', 'twofold')");
    assert!(refused.sqlstate == "0A000" && refused.message.contains("partitioned itself"), "{refused}");
    assert_eq!(value(&s, "SELECT count(*) FROM one"), "2");
}

#[test]
fn a_split_that_goes_on_is_not_given_up_by_another() {
    let (db, s) = converted(DAYS);
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    s.run("CALL eventkit.split_partition('e', lock_timeout => '1 minute')");
    wait::until_blocked(db.cluster, &s).unwrap();
    let other = db.session("other").unwrap();
    let refused = fails(&other, "SELECT eventkit.stop_capture('e_adopted')");
    assert!(
        refused.sqlstate == "55006" && refused.hint.as_deref().unwrap().contains("pg_terminate_backend"),
        "{refused}"
    );
    reader.query("COMMIT").unwrap();
    s.join().unwrap();
    assert_eq!((value(&s, "SELECT count(*) FROM e"), left_over(&s)), ("5".into(), String::new()));
}

#[test]
fn a_partition_that_is_detached_in_the_middle_is_told_with_the_way_out() {
    let (db, s) = converted(DAYS);
    stopped(&db, &s, SPLIT);
    s.query("ALTER TABLE e DETACH PARTITION e_adopted").unwrap();
    let health = lines(&s, "SELECT what, hint FROM eventkit.partition_health WHERE hint !~ 'maintenance|maintain'");
    assert_eq!(
        health,
        [
            "changes of public.e_adopted are captured, which is a partition no more|SELECT eventkit.stop_capture('public.e_adopted')"
        ]
    );
    s.query("SELECT eventkit.stop_capture('public.e_adopted')").unwrap();
    assert_eq!((value(&s, "SELECT count(*) FROM e_adopted"), left_over(&s)), ("5".into(), String::new()));
}

#[test]
fn what_policies_hide_from_the_caller_is_said_before_anything_is_begun() {
    let (db, s) = converted(DAYS);
    s.query("CREATE ROLE hidden_from; GRANT ALL ON SCHEMA public TO hidden_from; ALTER TABLE e OWNER TO hidden_from; ALTER TABLE e_adopted OWNER TO hidden_from; \
         GRANT USAGE ON SCHEMA eventkit TO hidden_from; GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eventkit TO hidden_from; \
         ALTER TABLE e_adopted ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY").unwrap();
    let owner = db.session("owner").unwrap();
    owner.query("SET ROLE hidden_from").unwrap();
    let refused = fails(&owner, SPLIT);
    assert!(refused.sqlstate == "42501" && refused.message.contains("row-level security hides rows"), "{refused}");
    drop(owner);
    assert_eq!(left_over(&s), "");
    s.query("REASSIGN OWNED BY hidden_from TO CURRENT_USER; DROP OWNED BY hidden_from; DROP ROLE hidden_from").unwrap();
}
