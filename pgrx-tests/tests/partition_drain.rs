//! Draining the default partition: what moves and what stays, readers and writers meanwhile, kills, keys, triggers, roles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::kill::{kill_at, own_cluster, stopping_cluster};
use common::{advisory_locks, fails, lines, number, open, value};
use eventkit_tests::{ClusterBuilder, PgVersion, Session, wait};

/// A parent whose rows, 1000 a day of four days, all lie in the default partition.
const EVENTS: &str = "CREATE TABLE e (id int, at timestamptz NOT NULL, twice int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE rest PARTITION OF e DEFAULT;
    INSERT INTO e (id, at) SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '86.4 seconds' FROM generate_series(0, 3999) n;";

fn where_rows_are(s: &Session) -> Vec<String> {
    lines(
        s,
        "SELECT tableoid::regclass, count(*), sum(twice) FROM e GROUP BY tableoid ORDER BY tableoid::regclass::text",
    )
}

const DRAINED: [&str; 4] =
    ["e_20240101|1000|999000", "e_20240102|1000|2999000", "e_20240103|1000|4999000", "e_20240104|1000|6999000"];

#[test]
fn rows_move_to_partitions_of_their_own() {
    for batch in [0, 500, 10_000] {
        let (_db, s) = open(EVENTS);
        s.query(&format!("CALL eventkit.drain_default('e', batch_rows => {batch})")).unwrap();
        let heard = s.take_notices().join("\n");
        assert_eq!(heard.matches("1000 rows moved").count(), 4, "{heard}");
        assert!(!heard.contains("WARNING"), "{heard}");
        assert_eq!(where_rows_are(&s), DRAINED);
        assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0");
        assert_eq!(value(&s, "SELECT count(*) FROM pg_constraint WHERE conname ~ '^partition_(bound|excludes)'"), "0");
        s.query("CALL eventkit.drain_default('e')").unwrap();
        assert_eq!(s.take_notices().len(), 0, "nothing more to do");
        // Days without rows there were never in the way.
        s.query(
            "INSERT INTO e (id, at) VALUES (1, '2024-02-01 00:00Z'); CALL eventkit.create_partition('e', '2024-02-02')",
        )
        .unwrap();
        let refused = fails(&s, "CALL eventkit.create_partition('e', '2024-02-01')");
        assert_eq!(refused.sqlstate, "23514");
        assert!(refused.hint.unwrap().contains("drain_default"));
    }
}

#[test]
fn what_no_period_is_made_for_stays_and_is_reported() {
    let (_db, s) = open(
        "CREATE TABLE e (id int, at timestamptz) PARTITION BY RANGE (at); CREATE TABLE rest PARTITION OF e DEFAULT; \
         INSERT INTO e VALUES (1, NULL), (2, 'infinity'), (3, '-infinity'), (4, '1969-12-31'), (5, now() + interval '11 years'), (6, '2024-01-01 12:00Z')",
    );
    s.query("CALL eventkit.drain_default('e')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("WARNING: rows stay in the default partition of e: "), "{heard}");
    assert_eq!(value(&s, "SELECT string_agg(id::text, '' ORDER BY id) FROM rest"), "12345");
    assert_eq!(value(&s, "SELECT id FROM e_20240101"), "6");
    assert_eq!(value(&s, "SELECT sum(row_count) FROM eventkit.default_left_behind('e')"), "5");
    s.query("CREATE TABLE none (at date) PARTITION BY RANGE (at); CALL eventkit.drain_default('none')").unwrap();
    for (call, state) in [
        ("'e', batch_rows => -1", "22023"),
        ("'e', batch_rows => NULL", "22023"),
        ("NULL", "22004"),
        ("'rest'", "42809"),
        ("'e', lock_timeout => '0'", "22023"),
    ] {
        assert_eq!(fails(&s, &format!("CALL eventkit.drain_default({call})")).sqlstate, state, "{call}");
    }
}

#[test]
fn one_period_that_cannot_move_does_not_stop_the_rest() {
    let (_db, s) = open(&format!("{EVENTS} CREATE TABLE e_20240102 (stranger int)"));
    s.query("CALL eventkit.drain_default('e')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("WARNING: rows of 2024-01-02 00:00 stay in the default partition: relation \"public\".\"e_20240102\" exists already"), "{heard}");
    assert_eq!(where_rows_are(&s).len(), 4);
    assert_eq!(value(&s, "SELECT count(*) FROM rest"), "1000");
}

#[test]
fn readers_never_see_a_wrong_count_and_writers_no_error() {
    for batch in [0, 10_000] {
        let (db, s) = open(EVENTS);
        let (counter, writer, repeatable) =
            (db.session("counter").unwrap(), db.session("writer").unwrap(), db.session("repeatable").unwrap());
        // Each in a loop of its own: a count per statement, an INSERT and an UPDATE per transaction.
        let _ = counter.query("CREATE TABLE counts (n bigint); CREATE TABLE done ()");
        counter.run("DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_tables WHERE tablename = 'stop') LOOP INSERT INTO counts SELECT count(*) FROM e WHERE id < 4000; COMMIT; END LOOP; END $$");
        repeatable.run("DO $$ DECLARE a bigint; b bigint; BEGIN WHILE NOT EXISTS (SELECT FROM pg_tables WHERE tablename = 'stop') LOOP COMMIT; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
            SELECT count(*) INTO a FROM e WHERE id < 4000; SELECT count(*) INTO b FROM e WHERE id < 4000; INSERT INTO counts VALUES (a), (b); COMMIT; END LOOP; END $$");
        writer.run("DO $$ DECLARE n int := 10000; BEGIN WHILE NOT EXISTS (SELECT FROM pg_tables WHERE tablename = 'stop') LOOP n := n + 1; \
            INSERT INTO e (id, at) VALUES (n, '2024-01-01 00:00Z'::timestamptz + (n % 96) * interval '1 hour'); UPDATE e SET id = id + 1000000 WHERE id = n - 3; COMMIT; END LOOP; END $$");
        wait::until(
            db.cluster,
            &db.name,
            "(SELECT count(*) FROM counts) > 5 AND (SELECT count(*) FROM e WHERE id >= 10000) > 5",
        )
        .unwrap();
        s.query(&format!(
            "CALL eventkit.drain_default('e', batch_rows => {batch}, lock_timeout => '300 milliseconds')"
        ))
        .unwrap();
        let before = number(&s, "SELECT count(*) FROM counts");
        wait::until(db.cluster, &db.name, &format!("(SELECT count(*) FROM counts) > {before} + 5")).unwrap();
        s.query("CREATE TABLE stop ()").unwrap();
        counter.join().unwrap();
        repeatable.join().unwrap();
        writer.join().unwrap();
        let heard = s.take_notices().join("\n");
        assert!(!heard.contains("WARNING"), "{heard}");
        assert_eq!(lines(&s, "SELECT DISTINCT n FROM counts"), ["4000"], "batch_rows {batch}");
        assert_eq!(value(&s, "SELECT count(*) FROM e WHERE id < 4000"), "4000");
        let (least, most) = (
            number(&s, "SELECT count(*) FROM e WHERE id >= 10000"),
            number(&s, "SELECT count(DISTINCT id % 1000000) FROM e WHERE id >= 10000"),
        );
        assert_eq!(least, most, "no row of the writer is doubled");
        assert_eq!(number(&s, "SELECT max(id % 1000000) FROM e WHERE id >= 10000"), 10_000 + most, "none is lost");
    }
}

#[test]
fn rows_changed_between_the_copy_and_the_lock() {
    let (db, s) = open(EVENTS);
    for change in [
        "DELETE FROM e WHERE id = 3500",
        "UPDATE e SET id = 5000 WHERE id = 3501",
        "INSERT INTO e (id, at) VALUES (6000, '2024-01-04 12:00Z')",
        "UPDATE e SET at = at - interval '3 days' WHERE id = 3502",
        "UPDATE e SET at = at WHERE id = 3503",
    ] {
        let reader = db.session("reader").unwrap();
        reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
        s.run("CALL eventkit.drain_default('e', batch_rows => 0, lock_timeout => '200 milliseconds')");
        wait::until_blocked(db.cluster, &s).unwrap();
        reader.query(&format!("{change}; COMMIT")).unwrap();
        s.join().unwrap();
        let heard = s.take_notices().join("\n");
        assert!(!heard.contains("WARNING"), "{change}: {heard}");
        assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0", "{change}");
        // Back to where it was.
        s.query("BEGIN; CREATE TEMP TABLE kept AS SELECT id, at FROM e; DROP TABLE e_20240101, e_20240102, e_20240103, e_20240104; INSERT INTO e (id, at) SELECT * FROM kept; DROP TABLE kept; COMMIT").unwrap();
    }
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "4000");
    assert_eq!(
        value(
            &s,
            "SELECT string_agg(id || ' ' || at::date, ', ' ORDER BY id) FROM e WHERE id IN (3500, 3501, 3502) OR id > 4000"
        ),
        "3502 2024-01-01, 5000 2024-01-04, 6000 2024-01-04"
    );
}

#[test]
fn what_changes_during_the_copy_is_copied_again_while_nobody_waits() {
    // Of a cluster's own: any transaction that has run since before the rows makes them late.
    let cluster = own_cluster();
    let s = Session::open(&cluster, "d", "drain").unwrap();
    s.query(&format!(
        "CREATE FUNCTION told(n int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
           IF n % 1000 = 0 AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'e'::regclass AND inhrelid <> 'rest'::regclass) THEN \
             RAISE NOTICE 'row % is written, the parent is %', n, CASE WHEN EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.relation = 'e'::regclass AND l.mode = 'AccessExclusiveLock') THEN 'closed' ELSE 'open' END; \
           END IF; RETURN true; END $$; {EVENTS} ALTER TABLE e ADD CHECK (told(id))"
    ))
    .unwrap();
    let reader = Session::open(&cluster, "d", "reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    let _ = s.take_notices();
    s.run("CALL eventkit.drain_default('e', batch_rows => 0, lock_timeout => '200 milliseconds')");
    wait::until_blocked(&cluster, &s).unwrap();
    reader.query("DELETE FROM e WHERE id = 3500; COMMIT").unwrap();
    s.join().unwrap();
    let heard: Vec<String> = s.take_notices().into_iter().filter(|n| n.contains("row 3000 is written")).collect();
    assert_eq!(heard, vec!["NOTICE: row 3000 is written, the parent is open"; 2]);
    assert_eq!(value(&s, "SELECT count(*) FROM e_20240104"), "999");
}

#[test]
fn rows_that_come_while_a_drain_waits_are_moved_at_any_isolation_level() {
    for level in ["repeatable read", "serializable"] {
        let (db, s) = open(EVENTS);
        s.query(&format!("SET default_transaction_isolation = '{level}'")).unwrap();
        let writer = db.session("writer").unwrap();
        writer.query("BEGIN; INSERT INTO e (id, at) VALUES (9000, '2024-01-04 12:00Z')").unwrap();
        s.run("CALL eventkit.drain_default('e', lock_timeout => '200 milliseconds')");
        wait::until_blocked(db.cluster, &s).unwrap();
        writer.query("COMMIT").unwrap();
        s.join().unwrap();
        let heard = s.take_notices().join("\n");
        assert!(!heard.contains("WARNING"), "{level}: {heard}");
        assert_eq!(value(&s, "SELECT count(*) FROM e_20240104"), "1001", "{level}");
        assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0", "{level}");
    }
}

#[test]
fn an_autovacuum_of_the_default_partition_is_not_waited_for_in_vain() {
    let cluster =
        ClusterBuilder::new(PgVersion::under_test().unwrap()).setting("autovacuum_naptime = 1s").start().unwrap();
    cluster.create_database("d").unwrap();
    cluster.create_extension("d").unwrap();
    let s = Session::open(&cluster, "d", "drain").unwrap();
    // For minutes, at this speed.
    s.query("CREATE TABLE e (at date, wide text) PARTITION BY RANGE (at); CREATE TABLE rest PARTITION OF e DEFAULT WITH (autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_cost_delay = 100); \
             INSERT INTO e SELECT '2024-01-01', repeat('x', 1000) FROM generate_series(1, 10000); DELETE FROM e WHERE random() < 0.9").unwrap();
    wait::until(&cluster, "d", "EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.relation = 'rest'::regclass AND a.backend_type = 'autovacuum worker' AND a.query ~ 'VACUUM')").unwrap();
    s.query("CALL eventkit.drain_default('e')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(!heard.contains("WARNING") && heard.contains("rows moved"), "{heard}");
    assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0");
}

#[test]
fn what_is_no_plain_table_is_not_drained_and_the_batch_is_checked_in_the_plan_too() {
    for (default, what) in [
        (
            "CREATE TABLE rest PARTITION OF e DEFAULT PARTITION BY HASH (id); CREATE TABLE rest_0 PARTITION OF rest FOR VALUES WITH (MODULUS 1, REMAINDER 0); INSERT INTO e VALUES (1, '2024-01-01')",
            "is partitioned itself",
        ),
        (
            "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE rest PARTITION OF e DEFAULT SERVER files OPTIONS (program 'echo \"1\t2024-01-01\"')",
            "is a foreign table",
        ),
    ] {
        let (_db, s) = open(&format!("CREATE TABLE e (id int, at date) PARTITION BY RANGE (at); {default}"));
        s.query("INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry) VALUES ('e', '1 day', 'UTC', 0, 'detach')").unwrap();
        for call in ["CALL eventkit.drain_default('e')", "SELECT * FROM eventkit.plan_drain_default('e')"] {
            let refused = fails(&s, call);
            assert!(
                refused.sqlstate == "0A000" && refused.message.contains(what) && refused.hint.is_some(),
                "{refused}"
            );
        }
        let _ = s.take_notices();
        s.query("CALL eventkit.maintain('2024-06-01 12:00Z')").unwrap();
        let heard = s.take_notices().join("\n");
        assert_eq!(heard.matches(what).count(), 1, "{heard}");
    }
    let (_db, s) = open(EVENTS);
    for batch in ["-1", "NULL"] {
        assert_eq!(fails(&s, &format!("SELECT * FROM eventkit.plan_drain_default('e', {batch})")).sqlstate, "22023");
    }
}

#[test]
fn who_alters_the_parent_meanwhile_waits_and_is_not_ended() {
    // The count of the period's rows stands for a long read of the default partition.
    let (db, s) = open(&format!(
        "{EVENTS} CREATE FUNCTION slow(n int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN IF n = 3000 THEN PERFORM pg_sleep(1); END IF; RETURN true; END $$; \
         ALTER TABLE e ADD CHECK (slow(id)) NOT VALID"
    ));
    for delay in [100, 600, 1100] {
        s.run("CALL eventkit.drain_default('e', batch_rows => 0)");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let other = db.session("other").unwrap();
        other.query(&format!("ALTER TABLE e ADD COLUMN after_{delay} int")).unwrap();
        s.join().unwrap();
        let heard = s.take_notices().join("\n");
        assert!(!heard.contains("WARNING"), "{delay}: {heard}");
        s.query("BEGIN; CREATE TEMP TABLE kept AS SELECT id, at FROM e; DROP TABLE e_20240101, e_20240102, e_20240103, e_20240104; INSERT INTO e (id, at) SELECT * FROM kept; DROP TABLE kept; COMMIT").unwrap();
    }
    // From the count on the parent is held before the default partition.
    let holder = db.session("holder").unwrap();
    holder.query("BEGIN; LOCK TABLE ONLY e IN ACCESS EXCLUSIVE MODE").unwrap();
    s.run("SELECT eventkit.drain_period('e', '2024-01-04', 0, '20 seconds', 'public')");
    wait::until_blocked(db.cluster, &s).unwrap();
    holder.query("LOCK TABLE rest IN ACCESS EXCLUSIVE MODE NOWAIT; COMMIT").unwrap();
    s.join().unwrap();
}

#[test]
fn a_long_reader_is_waited_for_in_short_turns_only() {
    let (db, s) = open(EVENTS);
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    s.query("CALL eventkit.drain_default('e', lock_timeout => '2 milliseconds')").unwrap();
    let heard = s.take_notices().join("\n");
    assert_eq!(heard.matches("could not get the locks in 20 attempts").count(), 4, "{heard}");
    assert_eq!(value(&s, "SELECT count(*) FROM pg_class WHERE relname ~ '^e_2024'"), "0");
    reader.query("COMMIT").unwrap();
    s.query("CALL eventkit.drain_default('e')").unwrap();
    assert_eq!(where_rows_are(&s), DRAINED);
}

#[test]
fn a_kill_leaves_all_rows_in_one_place_and_the_next_call_moves_them() {
    let cluster = stopping_cluster(
        EVENTS,
        "s.tag = tg_tag || (SELECT count(*) FROM pg_class WHERE relname ~ '^e_2024' AND relkind = 'r')",
    );
    for (round, (tag, batch)) in
        [("CREATE TABLE1", 0), ("CREATE INDEX2", 0), ("ALTER TABLE3", 10_000)].into_iter().enumerate()
    {
        let call = format!("CALL eventkit.drain_default('e', batch_rows => {batch})");
        let s = kill_at(&cluster, &call, tag, "");
        assert_eq!(value(&s, "SELECT count(*) FROM e"), "4000", "{tag}");
        assert_eq!(where_rows_are(&s).len(), round + 1, "{tag}");
        assert_eq!(
            value(
                &s,
                "SELECT count(*) FROM pg_class WHERE relname ~ '^e_2024' AND relkind = 'r' AND NOT relispartition"
            ),
            "0",
            "{tag}"
        );
    }
    let s = Session::open(&cluster, "d", "last").unwrap();
    s.query("CALL eventkit.drain_default('e')").unwrap();
    assert_eq!(where_rows_are(&s), DRAINED);
}

#[test]
fn two_at_once_and_one_who_makes_the_same_day() {
    let (db, a) = open(EVENTS);
    let (b, c) = (db.session("second").unwrap(), db.session("third").unwrap());
    a.run("CALL eventkit.drain_default('e', 0)");
    b.run("CALL eventkit.drain_default('e')");
    c.run("DO $$ BEGIN FOR n IN 1..20 LOOP BEGIN CALL eventkit.create_partition('e', '2024-01-02'); EXCEPTION WHEN check_violation THEN NULL; END; COMMIT; END LOOP; END $$");
    a.join().unwrap();
    b.join().unwrap();
    c.join().unwrap();
    a.query("CALL eventkit.drain_default('e')").unwrap();
    assert_eq!(where_rows_are(&a), DRAINED);
}

#[test]
fn keys_that_point_to_the_rows_keep_them_and_triggers_stay_quiet() {
    let (_db, s) = open(&format!(
        "{EVENTS} CREATE TABLE days (day int PRIMARY KEY); INSERT INTO days SELECT generate_series(0, 9000); ALTER TABLE e ADD FOREIGN KEY (id) REFERENCES days;
         CREATE TABLE heard (what text); CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.heard VALUES (tg_name || tg_op); RETURN NULL; END $$;
         CREATE TRIGGER every AFTER INSERT OR DELETE ON e FOR EACH ROW EXECUTE FUNCTION hear(); CREATE TRIGGER own AFTER DELETE ON rest FOR EACH STATEMENT EXECUTE FUNCTION hear();
         CREATE TRIGGER idle BEFORE DELETE ON rest FOR EACH ROW EXECUTE FUNCTION hear(); ALTER TABLE rest DISABLE TRIGGER idle; ALTER TABLE rest ENABLE ALWAYS TRIGGER own;
         CREATE TABLE notes (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES e (id, at) ON DELETE CASCADE); INSERT INTO notes SELECT id, at FROM e WHERE id = 1500"
    ));
    let states =
        "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'rest'::regclass AND NOT tgisinternal ORDER BY 1";
    let before = lines(&s, states);
    let _ = s.take_notices();
    s.query("CALL eventkit.drain_default('e')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(
        heard.contains("WARNING: rows of 2024-01-02 00:00 stay in the default partition: ")
            && heard.contains("is still needed by foreign key"),
        "{heard}"
    );
    assert_eq!(value(&s, "SELECT count(*) FROM notes"), "1");
    assert_eq!(value(&s, "SELECT count(*) FROM rest"), "1000");
    s.query("DELETE FROM notes; CALL eventkit.drain_default('e', 0)").unwrap();
    assert_eq!(where_rows_are(&s), DRAINED);
    assert_eq!(value(&s, "SELECT count(*) FROM heard"), "0");
    assert_eq!(lines(&s, states), before);
    s.query("DELETE FROM e WHERE id = 1").unwrap();
    assert_eq!(lines(&s, "SELECT what FROM heard"), ["everyDELETE"]);
    assert_eq!(fails(&s, "INSERT INTO e (id, at) VALUES (9999, '2024-01-02')").sqlstate, "23503");
}

#[test]
fn every_type_of_key() {
    let (_db, s) = open("");
    for (key, unit, inside) in [
        ("date", "NULL", "'2024-02-29'"),
        ("timestamp", "NULL", "'2024-02-29 23:00'"),
        ("timestamptz", "NULL", "'2024-02-29 14:00Z'"),
        ("bigint", "'ms'", "1709215200000"),
        ("uuid", "NULL", "'018df529-8000-7000-8000-000000000000'"),
    ] {
        s.query(&format!("DROP TABLE IF EXISTS e; CREATE TABLE e (k {key}) PARTITION BY RANGE (k); CREATE TABLE rest PARTITION OF e DEFAULT; DELETE FROM eventkit.partition_settings; \
             INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry, key_unit) VALUES ('e', '1 day', 'Asia/Tokyo', 0, 'detach', {unit}); INSERT INTO e VALUES ({inside})")).unwrap();
        s.query("CALL eventkit.drain_default('e')").unwrap();
        assert_eq!(value(&s, "SELECT tableoid::regclass FROM e"), "e_20240229", "{key}");
    }
}

#[test]
fn the_steps_of_a_plan_do_the_same_and_a_block_can_take_it_back() {
    for batch in [0, 10_000] {
        let (_db, s) = open(EVENTS);
        let plan = lines(&s, &format!("SELECT statement FROM eventkit.plan_drain_default('e', {batch}) ORDER BY step"));
        assert_eq!(value(&s, "SELECT count(*) FROM rest"), "4000", "a plan does nothing");
        s.query("BEGIN; CALL eventkit.drain_default('e')").unwrap();
        assert_eq!(where_rows_are(&s), DRAINED);
        s.query("ROLLBACK").unwrap();
        assert_eq!(value(&s, "SELECT count(*) FROM rest"), "4000");
        s.query("BEGIN").unwrap();
        for statement in &plan {
            s.query(statement).unwrap();
            if statement == "COMMIT" {
                s.query("BEGIN").unwrap();
            }
        }
        s.query("COMMIT").unwrap();
        assert_eq!(where_rows_are(&s), DRAINED, "{batch}");
    }
}

#[test]
fn an_owner_may_and_a_superuser_lends_nothing() {
    let (db, s) = open("");
    let (owner, guest) = (format!("owner_{}", db.name), format!("guest_{}", db.name));
    s.query(&format!("CREATE ROLE {owner} LOGIN; CREATE ROLE {guest} LOGIN; GRANT ALL ON SCHEMA public TO {owner}; GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {owner}, {guest}")).unwrap();
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    // A function in the owner's table that would use the rights of whoever moves the rows.
    as_owner.query("CREATE FUNCTION who() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN IF current_user = 'postgres' THEN RAISE EXCEPTION 'lent'; END IF; RETURN true; END $$").unwrap();
    as_owner.query(EVENTS).unwrap();
    as_owner.query("ALTER TABLE e ADD CHECK (who())").unwrap();
    // And one that is run as soon as a query of the table is planned.
    as_owner.query("CREATE FUNCTION planned(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN public.who(); END $$; CREATE INDEX ON rest (at) WHERE planned(1)").unwrap();
    let as_guest = Session::open_as(db.cluster, &db.name, "guest", &guest).unwrap();
    s.query(&format!("GRANT ALL ON e TO {guest}")).unwrap();
    assert_eq!(fails(&as_guest, "CALL eventkit.drain_default('e')").sqlstate, "42501");
    s.query("CALL eventkit.drain_default('e')").unwrap();
    assert!(!s.take_notices().join("").contains("lent"));
    assert_eq!(where_rows_are(&as_owner), DRAINED);
    as_owner.query("INSERT INTO e (id, at) VALUES (1, '2024-03-01 00:00Z')").unwrap();
    as_owner.query("CALL eventkit.drain_default('e')").unwrap();
    assert_eq!(value(&as_owner, "SELECT count(*) FROM rest"), "0");
}

/// What a moved row is referred to by within its parent: nothing is deleted, emptied or left without its row on the way.
#[test]
fn rows_that_others_of_the_parent_refer_to_stay_until_nothing_does() {
    for action in ["CASCADE", "SET NULL", "NO ACTION"] {
        let (_db, s) = open(&format!(
            "CREATE TABLE e (id int, at timestamptz, up int, up_at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
             CREATE TABLE rest PARTITION OF e DEFAULT; CALL eventkit.create_partition('e', '2024-01-02');
             ALTER TABLE e ADD FOREIGN KEY (up, up_at) REFERENCES e ON DELETE {action};
             INSERT INTO e VALUES (1, '2024-01-01 12:00Z', NULL, NULL), (3, '2024-01-01 13:00Z', 1, '2024-01-01 12:00Z'), (2, '2024-01-02 12:00Z', 1, '2024-01-01 12:00Z')"
        ));
        let rows = "SELECT id, at, up, up_at FROM e ORDER BY id";
        let before = lines(&s, rows);
        let _ = s.take_notices();
        s.query("CALL eventkit.drain_default('e')").unwrap();
        let heard = s.take_notices().join("\n");
        assert!(
            heard.contains("rest is still needed by foreign key e_up_up_at_fkey of table public.e"),
            "{action}: {heard}"
        );
        assert_eq!(lines(&s, rows), before, "{action}");
        s.query("UPDATE e SET up = NULL, up_at = NULL WHERE id = 2; CALL eventkit.drain_default('e')").unwrap();
        // A row without a time is one of the others, too.
        let untimed = "CREATE TABLE n (id int, at timestamptz, up int, up_at timestamptz, UNIQUE (id, at)) PARTITION BY RANGE (at); CREATE TABLE n_rest PARTITION OF n DEFAULT";
        s.query(untimed).unwrap();
        s.query(&format!("ALTER TABLE n ADD FOREIGN KEY (up, up_at) REFERENCES n (id, at) ON DELETE {action}"))
            .unwrap();
        s.query("INSERT INTO n VALUES (1, '2024-01-01 12:00Z', NULL, NULL), (2, NULL, 1, '2024-01-01 12:00Z')")
            .unwrap();
        s.query("CALL eventkit.drain_default('n')").unwrap();
        assert_eq!(
            lines(&s, "SELECT id, up, tableoid::regclass FROM n ORDER BY id"),
            ["1|NULL|n_rest", "2|1|n_rest"],
            "{action}"
        );
        // Those of one period have moved together.
        assert_eq!(
            lines(&s, "SELECT tableoid::regclass, id, up FROM e ORDER BY id"),
            ["e_20240101|1|NULL", "e_20240102|2|NULL", "e_20240101|3|1"]
        );
    }
}

#[test]
fn a_period_that_comes_again_ends_the_loop_and_nothing_else() {
    let (_db, s) = open(
        "CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at); CREATE TABLE rest PARTITION OF e DEFAULT; \
         CREATE TABLE f (at timestamptz) PARTITION BY RANGE (at); CALL eventkit.manage_partitions('e', premake => 0); CALL eventkit.manage_partitions('f', premake => 0); \
         INSERT INTO e VALUES ('2024-01-01 12:00Z'); \
         CREATE OR REPLACE FUNCTION eventkit.next_default_period(parent regclass, before timestamp DEFAULT NULL) RETURNS timestamp LANGUAGE sql AS $$ SELECT '2024-01-02'::timestamp $$; \
         SET statement_timeout = '30s'",
    );
    s.query("CALL eventkit.drain_default('e')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(
        heard.contains("WARNING: the default partition of e is not drained: period 2024-01-02 00:00 came again"),
        "{heard}"
    );
    s.query("CALL eventkit.maintain()").unwrap();
    assert_eq!(
        lines(
            &s,
            "SELECT action, parent, sqlstate FROM eventkit.run_history WHERE parent = 'e'::regclass AND sqlstate IS NOT NULL"
        ),
        ["drain|e|55000"]
    );
    assert_eq!(advisory_locks(&s), 0);
    assert_eq!(value(&s, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'f'::regclass"), "1");
}

#[test]
fn keys_that_are_proved_at_the_end_are_proved_at_once_and_then_again_at_the_end() {
    for batch in [0, 10_000] {
        for block in ["", "BEGIN"] {
            let (_db, s) = open(&format!(
                "CREATE TABLE days (day int PRIMARY KEY); INSERT INTO days SELECT generate_series(0, 9000); {EVENTS} \
                 ALTER TABLE e ADD FOREIGN KEY (id) REFERENCES days DEFERRABLE INITIALLY DEFERRED, ADD CONSTRAINT \"on%ce\" UNIQUE (at, id) DEFERRABLE INITIALLY DEFERRED; \
                 CREATE SCHEMA \"o'ther\"; CREATE TABLE \"o'ther\".notes (id int, at timestamptz, CONSTRAINT \"to e\" FOREIGN KEY (id, at) REFERENCES e (id, at) DEFERRABLE INITIALLY DEFERRED); \
                 CREATE TABLE marks (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES e (id, at) DEFERRABLE); INSERT INTO \"o'ther\".notes SELECT id, at FROM e WHERE id = 1500; \
                 CALL eventkit.manage_partitions('e', premake => 0)"
            ));
            let plan = lines(&s, &format!("SELECT statement FROM eventkit.plan_drain_default('e', {batch})"));
            let _ = s.take_notices();
            s.query(&format!("{block}; CALL eventkit.drain_default('e', batch_rows => {batch})")).unwrap();
            let heard = s.take_notices().join("\n");
            assert_eq!(heard.matches("1000 rows moved").count(), 3, "{heard}");
            assert!(heard.contains("is still needed by foreign key"), "{heard}");
            assert_eq!(plan.iter().filter(|step| step.starts_with("SET CONSTRAINTS ")).count(), 8, "{plan:#?}");
            assert!(!plan.iter().any(|step| step.starts_with("SET CONSTRAINTS ") && step.contains("marks")));
            if block.is_empty() {
                s.query("BEGIN").unwrap();
            }
            // The block's own rows are proved at its end.
            s.query("INSERT INTO \"o'ther\".notes VALUES (77, '1999-01-01'); INSERT INTO e (id, at) VALUES (99999, '2024-01-01 00:00Z')").unwrap();
            assert_eq!(s.query("INSERT INTO marks VALUES (77, '1999-01-01')").unwrap_err().sqlstate, "23503");
            s.query("ROLLBACK").unwrap();
            s.query("DELETE FROM \"o'ther\".notes").unwrap();
            s.query("CALL eventkit.maintain()").unwrap();
            assert_eq!(where_rows_are(&s), DRAINED);
        }
    }
}

/// The server finds a constraint to defer by its name alone: another one may have it.
#[test]
fn a_deferred_key_with_a_namesake_of_another_kind_stops_no_drain() {
    let (_db, s) = open(
        "CREATE TABLE days (day int PRIMARY KEY); INSERT INTO days VALUES (1); CREATE TABLE e (day int, at timestamptz) PARTITION BY RANGE (at);
         CREATE TABLE rest PARTITION OF e DEFAULT; ALTER TABLE e ADD CONSTRAINT u FOREIGN KEY (day) REFERENCES days DEFERRABLE INITIALLY DEFERRED;
         CREATE TABLE other (x int, CONSTRAINT u CHECK (true)); INSERT INTO e VALUES (1, '2024-01-01 12:00Z')",
    );
    s.query("CALL eventkit.drain_default('e')").unwrap();
    assert_eq!(lines(&s, "SELECT tableoid::regclass FROM e"), ["e_20240101"], "{:?}", s.take_notices());
    assert_eq!(fails(&s, "CALL eventkit.drain_default(NULL)").message, "argument \"parent\" must not be NULL");
}

#[test]
fn rows_that_a_key_needs_may_stay_and_the_hint_says_so() {
    let (_db, s) = open(&format!(
        "{EVENTS} CREATE TABLE notes (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES e); INSERT INTO notes SELECT id, at FROM e WHERE id = 1500"
    ));
    s.query("CALL eventkit.drain_default('e')").unwrap();
    let told = s.take_notices().join("\n");
    assert!(told.contains("rows of 2024-01-02 00:00 stay in the default partition"), "{told}");
    let hint = fails(&s, "SELECT eventkit.check_unreferenced('e', 'rest', 'id = 1500')").hint.unwrap();
    assert!(hint.starts_with("They may stay where they are") && !hint.contains("Remove the rows"), "{hint}");
    s.query("ALTER TABLE notes DROP CONSTRAINT notes_id_at_fkey").unwrap();
    s.query("CALL eventkit.drain_default('e')").unwrap();
    s.query("ALTER TABLE notes ADD FOREIGN KEY (id, at) REFERENCES e").unwrap();
    assert_eq!(where_rows_are(&s), DRAINED);
}
