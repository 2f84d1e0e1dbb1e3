//! Retiring partitions: what expires and what becomes of it, readers, foreign keys, archive hooks, kills, roles, names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::kill::{kill_and_wait, own_cluster};
use common::{advisory_locks, fails, lines, number, open, value};
use eventkit_tests::{Session, wait};

/// A parent with partitions of the days from 1 to 6 January 2024, a row in each.
const EVENTS: &str = "CREATE TABLE e (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-07 00:00Z');
    INSERT INTO e SELECT n, '2024-01-01 12:00Z'::timestamptz + (n - 1) * interval '1 day' FROM generate_series(1, 6) n;";
const OLD: &str = "'2024-01-04 00:00Z'";

fn left(s: &Session) -> String {
    value(
        s,
        "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'e'::regclass",
    )
}

fn call(s: &Session) -> String {
    let _ = s.take_notices();
    s.query(&format!("CALL eventkit.drop_old_partitions('e', {OLD})")).unwrap();
    s.take_notices().join("\n")
}

fn tables(s: &Session) -> String {
    value(
        s,
        "SELECT string_agg(c.oid::regclass::text, ' ' ORDER BY c.relname) FROM pg_class c WHERE c.relkind = 'r' AND c.relname ~ '^e_2024'",
    )
}

fn on_expiry(s: &Session, what: &str) {
    s.query(&format!("INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry, expired_schema) VALUES ('e', '1 day', 'UTC', 0, {what})")).unwrap();
}

#[test]
fn what_is_wholly_before_the_limit_goes_as_the_settings_say() {
    for (what, after) in [
        ("'detach', NULL", "e_20240101 e_20240102 e_20240103 e_20240104 e_20240105 e_20240106"),
        ("'drop', NULL", "e_20240104 e_20240105 e_20240106"),
        (
            "'move', 'old days'",
            "\"old days\".e_20240101 \"old days\".e_20240102 \"old days\".e_20240103 e_20240104 e_20240105 e_20240106",
        ),
    ] {
        for default in ["", "CREATE TABLE rest PARTITION OF e DEFAULT; INSERT INTO e VALUES (0, '1999-01-01')"] {
            let (_db, s) = open(&format!("CREATE SCHEMA \"old days\"; {EVENTS} {default}"));
            on_expiry(&s, what);
            let heard = call(&s);
            assert_eq!(heard.matches("NOTICE: partition ").count(), 3, "{what}: {heard}");
            assert!(!heard.contains("WARNING"), "{what}: {heard}");
            assert_eq!(tables(&s), after, "{what}");
            assert_eq!(value(&s, "SELECT count(*) FROM e WHERE id > 0"), "3");
            assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_departures"), "0");
            assert!(!call(&s).contains("partition "), "nothing more to do");
        }
    }
}

#[test]
fn the_retention_counts_from_the_end_of_a_period_by_the_parents_clocks() {
    let (_db, s) = open(
        "CREATE TABLE e (at date) PARTITION BY RANGE (at); CREATE TABLE t (at timestamptz) PARTITION BY RANGE (at)",
    );
    s.query("SET TimeZone = 'America/New_York'").unwrap();
    for table in ["e", "t"] {
        let expired = |as_of: &str| {
            value(&s, &format!("SELECT count(*) FROM eventkit.expired_partitions('{table}', NULL, '{as_of}')"))
        };
        assert_eq!(fails(&s, &format!("CALL eventkit.drop_old_partitions('{table}')")).sqlstate, "55000");
        s.query(&format!("INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, retention, on_expiry) VALUES ('{table}', '1 day', 'Asia/Tokyo', 0, '1 month', 'drop')")).unwrap();
        s.query(&format!("CALL eventkit.create_partitions('{table}', '2024-01-31 00:00+09', '2024-02-02 00:00+09')"))
            .unwrap();
        // The last of January ends with 1 February 00:00 in Tokyo, and a month later is 1 March 00:00 there.
        assert_eq!(expired("2024-02-29 23:59:59.999999+09"), "0", "{table}");
        assert_eq!(expired("2024-03-01 00:00:00+09"), "1", "{table}");
        assert_eq!(expired("2024-03-02 00:00:00+09"), "2", "{table}");
    }
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.expired_partitions('t', clock_timestamp())"), "2");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.expired_partitions('t', '-infinity')"), "0");
}

#[test]
fn a_long_reader_stops_nobody_and_the_next_call_ends_what_is_pending() {
    let (db, s) = open(EVENTS);
    on_expiry(&s, "'drop', NULL");
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    let writer = db.session("writer").unwrap();
    let _ = s.take_notices();
    s.run(&format!("CALL eventkit.drop_old_partitions('e', {OLD}, lock_timeout => '700 milliseconds')"));
    wait::until(db.cluster, &db.name, "EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending)").unwrap();
    // Nobody else waits while the detach is pending.
    writer.query("SET lock_timeout = '1ms'; INSERT INTO e VALUES (7, '2024-01-06'); SELECT count(*) FROM e").unwrap();
    s.join().unwrap();
    let heard = s.take_notices().join("\n");
    assert!(
        heard.contains("e_20240101 is pending while older transactions run") && !heard.contains("WARNING"),
        "{heard}"
    );
    assert_eq!(value(&s, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"), "1");
    assert!(lines(&s, "SELECT what FROM eventkit.partition_health").join("\n").contains("e_20240101 is pending"));
    reader.query("COMMIT").unwrap();
    let heard = call(&s);
    assert!(heard.contains("partition e_20240101 of e: dropped"), "{heard}");
    assert_eq!(left(&s), "e_20240104 e_20240105 e_20240106");
}

#[test]
fn somebody_elses_pending_detach_is_ended_and_his_table_left() {
    let (db, s) = open(EVENTS);
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    let other = db.session("other").unwrap();
    other.query("SET lock_timeout = '50ms'").unwrap();
    other.query("ALTER TABLE e DETACH PARTITION e_20240106 CONCURRENTLY").unwrap_err();
    reader.query("COMMIT").unwrap();
    on_expiry(&s, "'drop', NULL");
    call(&s);
    assert_eq!(left(&s), "e_20240104 e_20240105");
    assert_eq!(tables(&s), "e_20240104 e_20240105 e_20240106");
}

#[test]
fn with_a_default_partition_the_wait_is_short_and_given_up() {
    let (db, s) = open(&format!("{EVENTS} CREATE TABLE rest PARTITION OF e DEFAULT"));
    on_expiry(&s, "'drop', NULL");
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    s.query(&format!("CALL eventkit.drop_old_partitions('e', {OLD}, lock_timeout => '5 milliseconds')")).unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("WARNING: partition e_20240101 is kept: could not get the locks in 20 attempts"), "{heard}");
    assert_eq!(left(&s).matches("e_2024").count(), 6);
    s.run(&format!("CALL eventkit.drop_old_partitions('e', {OLD}, lock_timeout => '100 milliseconds')"));
    wait::until_blocked(db.cluster, &s).unwrap();
    reader.query("COMMIT").unwrap();
    s.join().unwrap();
    assert_eq!(left(&s), "e_20240104 e_20240105 e_20240106 rest");
}

#[test]
fn who_holds_the_partition_alone_keeps_no_reader_of_the_parent_waiting() {
    let (db, s) = open(&format!("{EVENTS} CREATE TABLE rest PARTITION OF e DEFAULT"));
    on_expiry(&s, "'drop', NULL");
    let holder = db.session("holder").unwrap();
    holder.query("BEGIN; SELECT count(*) FROM e_20240101").unwrap();
    s.run("CALL eventkit.drop_old_partitions('e', '2024-01-02 00:00Z', lock_timeout => '200 milliseconds')");
    wait::until_blocked(db.cluster, &s).unwrap();
    let reader = db.session("reader").unwrap();
    reader.query("SET lock_timeout = '2s'").unwrap();
    // Each turn of waiting gives the parent back: a reader gets his rows many times over while the holder stays.
    for _ in 0..5 {
        wait::until_blocked(db.cluster, &s).unwrap();
        assert_eq!(value(&reader, "SELECT count(*) FROM e WHERE at > '2024-01-02'"), "5");
    }
    holder.query("COMMIT").unwrap();
    s.join().unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("partition e_20240101 of e: dropped") && !heard.contains("WARNING"), "{heard}");
}

#[test]
fn an_expired_partition_with_foreign_keys_is_dropped_in_short_waits() {
    let (db, s) = open(
        "CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1); CREATE TABLE e (at date NOT NULL, u int REFERENCES users) PARTITION BY RANGE (at);
         CALL eventkit.create_partitions('e', '2024-01-01', '2024-01-04'); INSERT INTO e VALUES ('2024-01-01', 1)",
    );
    on_expiry(&s, "'drop', NULL");
    let plan = lines(
        &s,
        "SELECT lock, statement FROM eventkit.plan_drop_old_partitions('e', '2024-01-02') WHERE statement <> 'COMMIT' ORDER BY step",
    );
    assert_eq!(
        plan[1..],
        [
            "ACCESS EXCLUSIVE|LOCK TABLE \"public\".\"users\" IN ACCESS EXCLUSIVE MODE",
            "ACCESS EXCLUSIVE|DROP TABLE \"public\".\"e_20240101\""
        ]
    );
    let holder = db.session("holder").unwrap();
    holder.query("BEGIN; SELECT count(*) FROM users").unwrap();
    s.run("CALL eventkit.drop_old_partitions('e', '2024-01-02', lock_timeout => '200 milliseconds')");
    wait::until_blocked(db.cluster, &s).unwrap();
    // Who comes behind the one that waits gets his turn.
    let reader = db.session("reader").unwrap();
    assert_eq!(value(&reader, "SET lock_timeout = '10s'; SELECT count(*) FROM users"), "1");
    holder.query("COMMIT").unwrap();
    s.join().unwrap();
    assert!(s.take_notices().join("\n").contains("partition e_20240101 of e: dropped"));
}

#[test]
fn an_assertion_of_the_hook_is_that_of_one_partition() {
    let (_db, s) = open(&format!(
        "{EVENTS} CREATE FUNCTION hook(regclass) RETURNS int LANGUAGE plpgsql AS $$ BEGIN ASSERT false, 'never'; RETURN 1; END $$; \
         CREATE TABLE f (at timestamptz) PARTITION BY RANGE (at); CALL eventkit.create_partitions('f', '2024-01-01 00:00Z', '2024-01-03 00:00Z');
         INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, retention, on_expiry, archive) SELECT t, '1 day', 'UTC', 0, '1 year', 'drop', h \
           FROM (VALUES ('e'::regclass, 'public.hook(regclass)'), ('f', NULL)) v (t, h)"
    ));
    s.query("CALL eventkit.maintain()").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("WARNING: partition e_20240101 is kept: never"), "{heard}");
    assert_eq!(
        lines(
            &s,
            "SELECT parent_name, partitions, sqlstate, message FROM eventkit.run_history WHERE action = 'retire' ORDER BY id"
        ),
        ["public.e|0|P0004|never", "public.f|2|NULL|NULL"]
    );
    assert_eq!(left(&s).matches("e_202401").count(), 6);
}

#[test]
fn what_a_foreign_key_needs_is_kept_and_named() {
    let (_db, s) = open(&format!(
        "{EVENTS} CREATE TABLE app_notes (note int, event_id int, event_at timestamptz, CONSTRAINT \"to e\" FOREIGN KEY (event_id, event_at) REFERENCES e (id, at) ON DELETE CASCADE);
         INSERT INTO app_notes VALUES (1, 2, '2024-01-02 12:00Z')"
    ));
    on_expiry(&s, "'drop', NULL");
    let heard = call(&s);
    assert!(heard.contains("WARNING: partition e_20240102 is kept: e_20240102 is still needed by foreign key \"to e\" of table app_notes") || heard.contains("public.e_20240102 is still needed by foreign key \"to e\" of table public.app_notes"), "{heard}");
    assert_eq!(left(&s), "e_20240102 e_20240104 e_20240105 e_20240106");
    assert_eq!(value(&s, "SELECT count(*) FROM app_notes"), "1");
    s.query("DELETE FROM app_notes").unwrap();
    call(&s);
    assert_eq!(left(&s), "e_20240104 e_20240105 e_20240106");
    // The key still binds.
    assert_eq!(fails(&s, "INSERT INTO app_notes VALUES (1, 2, '2024-01-02 12:00Z')").sqlstate, "23503");
}

const ARCHIVE: &str = "CREATE TABLE archived (partition text, rows bigint, who text);
    CREATE PROCEDURE archive(partition regclass) LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN
      EXECUTE format('SELECT count(*) FROM %s', partition) INTO n;
      INSERT INTO archived VALUES (partition::text, n, current_user);
      IF partition::text = 'e_20240102' AND EXISTS (SELECT FROM pg_tables WHERE tablename = 'full') THEN RAISE EXCEPTION 'no space'; END IF;
    END $$;";

#[test]
fn what_rows_of_the_parent_itself_refer_to_is_kept_before_the_hook_gets_it() {
    for refers in ["'2024-01-02'", "'2024-01-01'"] {
        let (_db, s) = open(&format!(
            "CREATE TABLE e (id int, at date, up int, up_at date, PRIMARY KEY (id, at), CONSTRAINT above FOREIGN KEY (up, up_at) REFERENCES e) PARTITION BY RANGE (at);
             CALL eventkit.create_partitions('e', '2024-01-01', '2024-01-04'); INSERT INTO e VALUES (1, '2024-01-01', NULL, NULL), (2, {refers}, 1, '2024-01-01'); {ARCHIVE}"
        ));
        on_expiry(&s, "'drop', NULL");
        let drop = "CALL eventkit.drop_old_partitions('e', '2024-01-02', archive => 'archive(regclass)')";
        s.query(drop).unwrap();
        let heard = s.take_notices().join("\n");
        assert!(
            heard.contains(
                "partition e_20240101 is kept: public.e_20240101 is still needed by foreign key above of table public.e"
            ),
            "{heard}"
        );
        assert_eq!(value(&s, "SELECT count(*) FROM archived"), "0", "{refers}");
        let plan =
            lines(&s, "SELECT statement, reason FROM eventkit.plan_drop_old_partitions('e', '2024-01-02')").join("\n");
        assert!(plan.starts_with("NULL|it is kept: "), "{plan}");
        s.query("UPDATE e SET up = NULL, up_at = NULL").unwrap();
        s.query(drop).unwrap();
        assert_eq!(left(&s), "e_20240102 e_20240103", "{refers}");
    }
}

#[test]
fn a_foreign_table_leaves_as_others_do() {
    for default in ["", "CREATE TABLE rest PARTITION OF e DEFAULT;"] {
        for (what, archived) in [("'drop', NULL", true), ("'drop', NULL", false), ("'move', 'old'", false)] {
            let (_db, s) = open(&format!(
                "CREATE SCHEMA old; CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; CREATE TABLE e (at date) PARTITION BY RANGE (at); {default}
                 CREATE FOREIGN TABLE e_far PARTITION OF e FOR VALUES FROM ('2024-01-01') TO ('2024-01-02') SERVER files OPTIONS (program 'true'); {ARCHIVE}
                 CALL eventkit.create_partitions('e', '2024-01-02', '2024-01-03')"
            ));
            on_expiry(&s, what);
            let hook = if archived { "'archive(regclass)'" } else { "NULL" };
            let call = format!("('e', '2024-01-02', archive => {hook})");
            let plan = lines(&s, &format!("SELECT statement FROM eventkit.plan_drop_old_partitions{call}"));
            s.query(&format!("CALL eventkit.drop_old_partitions{call}")).unwrap();
            let heard = s.take_notices().join("\n");
            assert!(
                heard.contains("partition e_far of e: ") && !heard.contains("WARNING"),
                "{what}: {heard}\n{plan:#?}"
            );
            assert_eq!(number(&s, "SELECT count(*) FROM archived"), i64::from(archived));
            let at =
                value(&s, "SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c WHERE c.relname = 'e_far'");
            assert_eq!(at, if what.contains("old") { "old.e_far" } else { "NULL" });
            assert!(
                plan.iter().any(|p| p.starts_with(if archived || !what.contains("old") {
                    "DROP FOREIGN TABLE"
                } else {
                    "ALTER TABLE \"public\".\"e_far\" SET SCHEMA"
                })),
                "{plan:#?}"
            );
        }
    }
}

#[test]
fn the_archive_hook_comes_first_and_its_failure_keeps_the_partition() {
    let (_db, s) = open(&format!("{EVENTS} {ARCHIVE} CREATE TABLE \"full\" ()"));
    on_expiry(&s, "'drop', NULL");
    s.query(&format!("CALL eventkit.drop_old_partitions('e', {OLD}, archive => 'archive(regclass)')")).unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("WARNING: partition e_20240102 is kept: no space"), "{heard}");
    assert_eq!(left(&s), "e_20240102 e_20240104 e_20240105 e_20240106");
    assert_eq!(lines(&s, "SELECT DISTINCT partition, rows FROM archived ORDER BY 1"), ["e_20240101|1", "e_20240103|1"]);
    // By the settings, and as a function; one that is gone keeps as well.
    s.query("DROP TABLE \"full\"; UPDATE eventkit.partition_settings SET archive = 'public.nowhere(regclass)'")
        .unwrap();
    assert!(call(&s).contains("is kept: archive procedure public.nowhere(regclass) does not exist"));
    s.query("CREATE FUNCTION file_away(p regclass) RETURNS int LANGUAGE sql AS 'INSERT INTO public.archived VALUES (p::text, -1, current_user) RETURNING 1'; \
             UPDATE eventkit.partition_settings SET archive = 'public.file_away(regclass)'").unwrap();
    let plan = lines(&s, &format!("SELECT statement FROM eventkit.plan_drop_old_partitions('e', {OLD})"));
    assert_eq!(plan[0], "SELECT public.file_away('\"public\".\"e_20240102\"'::pg_catalog.regclass)");
    call(&s);
    assert_eq!(left(&s), "e_20240104 e_20240105 e_20240106");
    assert_eq!(value(&s, "SELECT count(DISTINCT partition) FROM archived"), "3");
}

#[test]
fn the_hook_of_the_settings_is_checked_when_it_is_set_and_told_when_it_is_gone() {
    let (db, s) = open(&format!(
        "{EVENTS} {ARCHIVE} CREATE FUNCTION two(regclass, int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION of_text(text) RETURNS int LANGUAGE sql AS 'SELECT 1'; \
         CREATE SCHEMA hid; CREATE PROCEDURE hid.closed(regclass) LANGUAGE sql AS 'SELECT 1'; CREATE PROCEDURE shut(regclass) LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON PROCEDURE shut FROM PUBLIC"
    ));
    let owner = format!("owner_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT ALL ON SCHEMA public TO {owner}; GRANT ALL ON archived TO {owner}; GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {owner};
         DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT 'e'::regclass UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = 'e'::regclass LOOP EXECUTE format('ALTER TABLE %s OWNER TO {owner}', t); END LOOP; END $$"
    ))
    .unwrap();
    let manage = |hook: &str| {
        format!(
            "CALL eventkit.manage_partitions('e', premake => 0, retention => '1 year', on_expiry => 'drop', archive_with => {hook})"
        )
    };
    for (hook, state) in [
        ("'nowhere(regclass)'", "42883"),
        ("9999999", "42883"),
        ("'two(regclass, int)'", "22023"),
        ("'of_text(text)'", "22023"),
        ("'count(\"any\")'", "22023"),
        ("'hid.closed(regclass)'", "42501"),
        ("'shut(regclass)'", "42501"),
    ] {
        // By a superuser too: it is the owner who calls it.
        let refused = fails(&s, &manage(hook));
        assert_eq!(refused.sqlstate, state, "{hook}: {refused}");
        assert!(
            state == "42883" && hook != "9999999" || refused.detail.is_some() && refused.hint.is_some(),
            "{refused}"
        );
        assert_eq!(fails(&s, &manage(hook).replace("CALL eventkit.", "SELECT * FROM eventkit.plan_")).sqlstate, state);
    }
    let stored = "SELECT archive FROM eventkit.partition_settings";
    s.query(&manage("'archive(regclass)'")).unwrap();
    assert_eq!(value(&s, stored), "public.archive(regclass)");
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    let told = "SELECT string_agg(what, '; ') FROM eventkit.partition_health WHERE what ~ '^archive procedure'";
    assert_eq!(value(&as_owner, told), "NULL");
    // What becomes of the hook later is told, keeps the partitions and stops nothing else.
    for (change, what) in [
        ("REVOKE EXECUTE ON PROCEDURE archive FROM PUBLIC", "may not be executed by"),
        ("ALTER PROCEDURE archive(regclass) RENAME TO other", "does not exist"),
        ("UPDATE eventkit.partition_settings SET archive = 'no name at all('", "does not exist"),
        ("UPDATE eventkit.partition_settings SET archive = 'of_text(text)'", "does not exist"),
        ("UPDATE eventkit.partition_settings SET archive = 'public.of_text(text)'", "does not take one argument"),
    ] {
        s.query(change).unwrap();
        let heard = value(&as_owner, told);
        assert!(heard.contains(what) && heard.ends_with(": no partition is retired"), "{change}: {heard}");
        let _ = as_owner.take_notices();
        as_owner.query("CALL eventkit.maintain()").unwrap();
        assert!(as_owner.take_notices().join("").contains("is kept: "), "{change}");
        assert!(left(&s).starts_with("e_20240101 e_20240102 "), "{change}");
        let plan = lines(&as_owner, "SELECT statement IS NULL, reason FROM eventkit.plan_drop_old_partitions('e')");
        assert!(plan.len() == 1 && plan[0].contains(what), "{plan:?}");
    }
    // One that is made anew counts; left out, it goes with the other defaults.
    s.query("DROP PROCEDURE other; UPDATE eventkit.partition_settings SET archive = 'public.archive(regclass)'")
        .unwrap();
    s.query("CREATE PROCEDURE archive(p regclass) LANGUAGE sql AS 'INSERT INTO public.archived VALUES (p::text, 0, current_user)'").unwrap();
    as_owner.query("CALL eventkit.maintain()").unwrap();
    assert_eq!(value(&s, "SELECT count(DISTINCT partition) || ' ' || min(who) FROM archived"), format!("6 {owner}"));
    s.query("CALL eventkit.manage_partitions('e', premake => 0)").unwrap();
    assert_eq!(value(&s, stored), "NULL");
}

#[test]
fn rows_that_come_after_the_archive_are_archived_before_the_drop() {
    let (db, s) = open(&format!("{EVENTS} {ARCHIVE} CREATE TABLE rest PARTITION OF e DEFAULT"));
    on_expiry(&s, "'drop', NULL");
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    s.run("CALL eventkit.drop_old_partitions('e', '2024-01-02 00:00Z', archive => 'archive(regclass)', lock_timeout => '100 milliseconds')");
    wait::until_blocked(db.cluster, &s).unwrap();
    reader.query("INSERT INTO e_20240101 VALUES (100, '2024-01-01 13:00Z'); COMMIT").unwrap();
    s.join().unwrap();
    assert_eq!(
        lines(&s, "SELECT DISTINCT partition, rows FROM archived ORDER BY rows"),
        ["e_20240101|1", "e_20240101|2"]
    );
    assert_eq!(tables(&s), "e_20240102 e_20240103 e_20240104 e_20240105 e_20240106");
}

#[test]
fn a_kill_at_any_point_is_made_good_by_the_next_call() {
    let cluster = own_cluster();
    let setup = Session::open(&cluster, "d", "setup").unwrap();
    // The hook, the detach and the drop stop where the test says so.
    setup
        .query(
            "CREATE TABLE stop (phase text); CREATE FUNCTION stop(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
               IF EXISTS (SELECT FROM public.stop s WHERE s.phase = $1) THEN PERFORM pg_advisory_lock(1); END IF; END $$; \
             CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.stop(tg_tag); END $$; \
             CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watch(); CREATE EVENT TRIGGER dropped ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION watch(); \
             CREATE PROCEDURE hook(partition regclass) LANGUAGE plpgsql AS $$ BEGIN PERFORM public.stop('hook'); END $$",
        )
        .unwrap();
    for default in [false, true] {
        for phase in ["hook", "ALTER TABLE", "DROP TABLE"] {
            let s = Session::open(&cluster, "d", "holder").unwrap();
            s.query("DROP TABLE IF EXISTS e CASCADE; TRUNCATE stop").unwrap();
            s.query(EVENTS).unwrap();
            if default {
                s.query("CREATE TABLE rest PARTITION OF e DEFAULT").unwrap();
            }
            s.query("DELETE FROM eventkit.partition_settings").unwrap();
            on_expiry(&s, "'drop', NULL");
            s.query(&format!("SELECT pg_advisory_lock(1); INSERT INTO stop VALUES ('{phase}')")).unwrap();
            let victim = Session::open(&cluster, "d", "victim").unwrap();
            victim.run(&format!(
                "CALL eventkit.drop_old_partitions('e', {OLD}, archive => 'hook(regclass)', lock_timeout => '1 minute')"
            ));
            wait::until(&cluster, "d", "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
                .unwrap();
            kill_and_wait(&cluster, victim.pid());
            victim.join().unwrap_err();
            let s = Session::open(&cluster, "d", "look").unwrap();
            s.query("TRUNCATE stop").unwrap();
            assert_eq!(value(&s, "SELECT count(*) FROM e WHERE at >= '2024-01-04'"), "3", "{phase}");
            s.query(&format!("CALL eventkit.drop_old_partitions('e', {OLD}, archive => 'hook(regclass)')")).unwrap();
            assert_eq!(left(&s).replace(" rest", ""), "e_20240104 e_20240105 e_20240106", "{phase} {default}");
            assert_eq!(tables(&s), "e_20240104 e_20240105 e_20240106", "{phase} {default}");
            assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_departures"), "0");
        }
    }
}

#[test]
fn a_killed_worker_or_none_at_all() {
    let cluster = own_cluster();
    let s = Session::open(&cluster, "d", "main").unwrap();
    s.query(EVENTS).unwrap();
    on_expiry(&s, "'drop', NULL");
    let reader = Session::open(&cluster, "d", "reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    s.run(&format!("CALL eventkit.drop_old_partitions('e', {OLD}, lock_timeout => '1 minute')"));
    wait::until(&cluster, "d", "EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending)").unwrap();
    let worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_eventkit'";
    let pid: i32 = value(&reader, worker).parse().unwrap();
    kill_and_wait(&cluster, pid);
    s.join().unwrap_err();
    let s = Session::open(&cluster, "d", "again").unwrap();
    s.query(&format!("CALL eventkit.drop_old_partitions('e', {OLD})")).unwrap();
    assert_eq!(left(&s), "e_20240104 e_20240105 e_20240106");
    // A cancelled call ends its worker, and gives back its lock.
    let reader = Session::open(&cluster, "d", "reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    s.run("CALL eventkit.drop_old_partitions('e', '2024-01-05 00:00Z', lock_timeout => '1 minute')");
    wait::until(&cluster, "d", "EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending)").unwrap();
    s.cancel().unwrap();
    assert_eq!(s.join().unwrap_err().sqlstate, "57014");
    wait::until(&cluster, "d", "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_eventkit')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
    reader.query("COMMIT").unwrap();
    s.query("CALL eventkit.drop_old_partitions('e', '2024-01-05 00:00Z')").unwrap();
    assert_eq!(left(&s), "e_20240105 e_20240106");
    // Where the server has no place for a worker the plain way is taken.
    s.query("ALTER SYSTEM SET max_worker_processes = 0").unwrap();
    drop((s, reader));
    cluster.restart().unwrap();
    let s = Session::open(&cluster, "d", "without").unwrap();
    s.query("CALL eventkit.drop_old_partitions('e', '2024-01-06 00:00Z')").unwrap();
    assert_eq!(left(&s), "e_20240106");
}

#[test]
fn the_second_of_two_callers_does_nothing() {
    let (db, a) = open(&format!("{EVENTS} CREATE TABLE rest PARTITION OF e DEFAULT"));
    on_expiry(&a, "'drop', NULL");
    let (b, reader) = (db.session("second").unwrap(), db.session("reader").unwrap());
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    a.run(&format!("CALL eventkit.drop_old_partitions('e', {OLD}, lock_timeout => '200 milliseconds')"));
    wait::until_blocked(db.cluster, &a).unwrap();
    assert!(call(&b).contains("NOTICE: partitions of e are being retired by another session"));
    reader.query("COMMIT").unwrap();
    a.join().unwrap();
    assert_eq!(left(&b), "e_20240104 e_20240105 e_20240106 rest");
    for _ in 0..3 {
        b.query("CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-04 00:00Z')").unwrap();
        let call = format!("CALL eventkit.drop_old_partitions('e', {OLD})");
        a.run(&call);
        b.run(&call);
        a.join().unwrap();
        b.join().unwrap();
        a.query(&call).unwrap();
        assert_eq!(left(&b), "e_20240104 e_20240105 e_20240106 rest");
    }
}

#[test]
fn an_owner_needs_no_more_and_a_superuser_lends_nothing() {
    let (db, s) = open(&format!("{EVENTS} {ARCHIVE}"));
    on_expiry(&s, "'drop', NULL");
    let (owner, guest, group) =
        (format!("owner_{}", db.name), format!("guest_{}", db.name), format!("group_{}", db.name));
    s.query(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE {guest} LOGIN; CREATE ROLE {group}; GRANT {group} TO {owner}; GRANT ALL ON SCHEMA public TO {owner}, {group}; GRANT ALL ON archived TO PUBLIC; \
         GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {owner}, {guest}, {group};
         DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT 'e'::regclass UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = 'e'::regclass LOOP EXECUTE format('ALTER TABLE %s OWNER TO {group}', t); END LOOP; END $$"
    ))
    .unwrap();
    let as_guest = Session::open_as(db.cluster, &db.name, "guest", &guest).unwrap();
    let refused = fails(&as_guest, &format!("CALL eventkit.drop_old_partitions('e', {OLD})"));
    assert_eq!(refused.sqlstate, "42501");
    assert_eq!(fails(&as_guest, "SELECT eventkit.run_as_owner('e', 'SELECT current_user')").sqlstate, "42501");
    assert_eq!(fails(&as_guest, "SELECT eventkit.detach_concurrently('e', 'e_20240101', 10)").sqlstate, "42501");
    // The owner cannot log in; who has his rights can.
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    as_owner.query("CALL eventkit.drop_old_partitions('e', '2024-01-02 00:00Z')").unwrap();
    as_owner.query(&format!("SET ROLE {group}")).unwrap();
    as_owner.query("CALL eventkit.drop_old_partitions('e', '2024-01-03 00:00Z')").unwrap();
    assert_eq!(left(&s), "e_20240103 e_20240104 e_20240105 e_20240106");
    // A hook of the owner's runs with his rights alone, whoever calls.
    s.query("CREATE PROCEDURE greedy(partition regclass) LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.archived VALUES ('greedy', 0, current_user); RESET ROLE; END $$").unwrap();
    let _ = s.take_notices();
    s.query(&format!("CALL eventkit.drop_old_partitions('e', {OLD}, archive => 'archive(regclass)')")).unwrap();
    assert_eq!(lines(&s, "SELECT DISTINCT who FROM archived"), [group]);
    s.query("CALL eventkit.drop_old_partitions('e', '2024-01-05 00:00Z', archive => 'greedy(regclass)')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(
        heard.contains(
            "WARNING: partition e_20240104 is kept: cannot set parameter \"role\" within security-restricted operation"
        ),
        "{heard}"
    );
    assert_eq!(left(&s), "e_20240104 e_20240105 e_20240106");
}

#[test]
fn inside_a_transaction_block_all_belongs_to_it() {
    let (_db, s) = open(EVENTS);
    on_expiry(&s, "'drop', NULL");
    s.query(&format!("BEGIN; CALL eventkit.drop_old_partitions('e', {OLD})")).unwrap();
    assert_eq!(left(&s), "e_20240104 e_20240105 e_20240106");
    s.query("ROLLBACK").unwrap();
    assert_eq!(left(&s).matches("e_").count(), 6);
}

#[test]
fn the_steps_of_a_plan_do_the_same() {
    let (_db, s) = open(&format!("{EVENTS} CREATE TABLE rest PARTITION OF e DEFAULT"));
    on_expiry(&s, "'move', 'eventkit_old'");
    s.query("CREATE SCHEMA eventkit_old").unwrap();
    let plan = lines(&s, &format!("SELECT statement FROM eventkit.plan_drop_old_partitions('e', {OLD}) ORDER BY step"));
    assert_eq!(left(&s).matches("e_").count(), 6, "a plan does nothing");
    s.query("BEGIN").unwrap();
    for statement in &plan {
        s.query(statement).unwrap();
        if statement == "COMMIT" {
            s.query("BEGIN").unwrap();
        }
    }
    s.query("COMMIT").unwrap();
    assert_eq!(left(&s), "e_20240104 e_20240105 e_20240106 rest");
    assert_eq!(
        value(&s, "SELECT count(*) FROM pg_class WHERE relnamespace = 'eventkit_old'::regnamespace AND relkind = 'r'"),
        "3"
    );
}

#[test]
fn a_name_that_is_taken_in_the_schema_is_reported_and_tried_again() {
    let (_db, s) = open(&format!("CREATE SCHEMA attic; {EVENTS} CREATE TABLE attic.e_20240102 ()"));
    on_expiry(&s, "'move', 'attic'");
    let heard = call(&s);
    assert!(heard.contains("WARNING: partition e_20240102 is detached and not more"), "{heard}");
    assert_eq!(tables(&s).matches("attic.").count(), 3);
    assert_eq!(value(&s, "SELECT partition FROM eventkit.partition_departures"), "e_20240102");
    s.query("DROP TABLE attic.e_20240102").unwrap();
    call(&s);
    assert_eq!(tables(&s), "attic.e_20240101 attic.e_20240102 attic.e_20240103 e_20240104 e_20240105 e_20240106");
}

#[test]
fn hostile_names_and_look_alikes_change_nothing() {
    let (_db, s) = open(
        "CREATE SCHEMA evil; CREATE FUNCTION evil.cmp(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$; \
         CREATE OPERATOR evil.= (FUNCTION = evil.cmp, LEFTARG = oid, RIGHTARG = oid); \
         CREATE FUNCTION evil.format(text, VARIADIC \"any\") RETURNS text LANGUAGE internal AS 'text_format'; CREATE TABLE evil.pg_inherits (x int); CREATE SCHEMA \"o'ld\"\"%I\"",
    );
    s.query("SET search_path = evil, pg_catalog, public; SET DateStyle = 'German'; SET TimeZone = 'Asia/Kathmandu'; SET standard_conforming_strings = off").unwrap();
    for (name, default) in [("a.b''c%I\\\\\"\"d", ""), ("日本é", "DEFAULT"), ("%L$$%s", "")] {
        let plain = name.replace("''", "'").replace("\\\\", "\\");
        s.query(&format!("CREATE TABLE public.\"{plain}\" (\"a\"\"t\" timestamptz) PARTITION BY RANGE (\"a\"\"t\")"))
            .unwrap();
        if !default.is_empty() {
            s.query(&format!("CREATE TABLE public.\"rest'\"\"%s\" PARTITION OF public.\"{plain}\" DEFAULT")).unwrap();
        }
        s.query(&format!("INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, retention, on_expiry, expired_schema) VALUES ('public.\"{name}\"', '1 day', 'UTC', 0, '1 day', 'move', 'o''ld\"%I')")).unwrap();
        s.query(&format!(
            "CALL eventkit.create_partitions('public.\"{name}\"', '2024-01-01T00:00Z', '2024-01-03T00:00Z')"
        ))
        .unwrap();
        let _ = s.take_notices();
        s.query(&format!("CALL eventkit.drop_old_partitions('public.\"{name}\"')")).unwrap();
        let heard = s.take_notices().join("\n");
        assert!(!heard.contains("WARNING: p") && heard.matches("moved to").count() == 2, "{name}: {heard}");
    }
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace::regnamespace::text ~ '^.o.ld' AND relkind OPERATOR(pg_catalog.=) 'r'"
        ),
        "6"
    );
}

/// The partition has been archived and detached, and its call ended there.
const DETACHED: &str = "SELECT eventkit.begin_departure('e', 'e_20240101', true, 'public.archive(regclass)', 'public'); SELECT eventkit.detach_departing('e', 'e_20240101', '2 seconds', 'public');";

#[test]
fn rows_written_to_a_detached_table_by_name_are_archived_before_the_drop() {
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let (db, s) = open(&format!("{EVENTS} {ARCHIVE}"));
        on_expiry(&s, "'drop', NULL");
        s.query(&format!("{DETACHED} SET default_transaction_isolation = '{isolation}'")).unwrap();
        let (writer, reader) = (db.session("writer").unwrap(), db.session("reader").unwrap());
        writer.query("BEGIN; INSERT INTO e_20240101 VALUES (100, '2024-01-01 13:00Z')").unwrap();
        reader.query("BEGIN; SELECT count(*) FROM e_20240101").unwrap();
        s.run("CALL eventkit.drop_old_partitions('e', '2024-01-02 00:00Z', lock_timeout => '1 minute')");
        wait::until_blocked(db.cluster, &s).unwrap();
        // While the rows are looked at nobody adds more.
        writer.query("COMMIT").unwrap();
        wait::until(
            db.cluster,
            &db.name,
            "EXISTS (SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted)",
        )
        .unwrap();
        writer.run("INSERT INTO e_20240101 VALUES (101, '2024-01-01 13:00Z')");
        wait::until_blocked(db.cluster, &writer).unwrap();
        reader.query("COMMIT").unwrap();
        s.join().unwrap();
        assert_eq!(writer.join().unwrap_err().sqlstate, "42P01", "{isolation}");
        assert_eq!(
            lines(&s, "SELECT partition, rows FROM archived ORDER BY rows"),
            ["e_20240101|1", "e_20240101|2"],
            "{isolation}"
        );
        assert_eq!(tables(&s).matches("e_2024").count(), 5, "{isolation}");
        // From the beginning to the end.
        s.query("CALL eventkit.drop_old_partitions('e', '2024-01-03 00:00Z', archive => 'archive(regclass)')").unwrap();
        assert!(!s.take_notices().join("").contains("WARNING"), "{isolation}");
        assert_eq!(tables(&s).matches("e_2024").count(), 4, "{isolation}");
    }
}

#[test]
fn a_block_that_cannot_see_new_rows_drops_no_archived_partition() {
    let (_db, s) = open(&format!("{EVENTS} {ARCHIVE}"));
    on_expiry(&s, "'drop', NULL");
    let call = "CALL eventkit.drop_old_partitions('e', '2024-01-02 00:00Z', archive => 'archive(regclass)')";
    s.query(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {call}; COMMIT")).unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("WARNING: partition e_20240101 is kept: a transaction of isolation level repeatable read does not see rows that come meanwhile"), "{heard}");
    assert_eq!(left(&s).matches("e_2024").count(), 6);
    assert_eq!(value(&s, "SELECT count(*) FROM archived"), "0");
    s.query(&format!("BEGIN; {call}; COMMIT")).unwrap();
    assert_eq!(tables(&s).matches("e_2024").count(), 5);
}

#[test]
fn rows_of_a_partition_with_partitions_of_its_own_are_seen() {
    let (_db, s) = open(&format!(
        "CREATE TABLE e (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
         CREATE TABLE e_20240101 PARTITION OF e FOR VALUES FROM ('2024-01-01 00:00Z') TO ('2024-01-02 00:00Z') PARTITION BY LIST (id); \
         CREATE TABLE odd PARTITION OF e_20240101 FOR VALUES IN (1, 3, 5); CREATE TABLE even PARTITION OF e_20240101 DEFAULT; INSERT INTO e VALUES (1, '2024-01-01 12:00Z'); \
         CREATE TABLE notes (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES e); INSERT INTO notes SELECT * FROM e; {ARCHIVE}"
    ));
    on_expiry(&s, "'drop', NULL");
    assert_eq!(value(&s, "SELECT eventkit.has_rows('e_20240101')"), "t");
    let call = "CALL eventkit.drop_old_partitions('e', '2024-01-02 00:00Z', archive => 'archive(regclass)')";
    s.query(call).unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("is kept: ") && heard.contains("is still needed by foreign key"), "{heard}");
    assert_eq!(value(&s, "SELECT count(*) FROM archived"), "0");
    s.query("DROP TABLE notes").unwrap();
    s.query(DETACHED).unwrap();
    s.query("INSERT INTO e_20240101 VALUES (2, '2024-01-01 13:00Z')").unwrap();
    s.query(call).unwrap();
    assert_eq!(lines(&s, "SELECT rows FROM archived ORDER BY 1"), ["1", "2"]);
    assert_eq!(value(&s, "SELECT to_regclass('e_20240101') IS NULL AND to_regclass('even') IS NULL"), "t");
}

#[test]
fn a_call_that_cannot_commit_is_refused_and_leaves_no_lock() {
    let (db, s) = open(&format!(
        "{EVENTS} CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN CALL eventkit.drop_old_partitions('e', {OLD}); RETURN 1; END $$"
    ));
    on_expiry(&s, "'drop', NULL");
    assert_eq!(fails(&s, "SELECT f()").sqlstate, "2D000");
    assert_eq!(advisory_locks(&s), 0);
    assert_eq!(left(&s).matches("e_2024").count(), 6);
    call(&db.session("other").unwrap());
    assert_eq!(left(&s).matches("e_2024").count(), 3);
}

#[test]
fn an_error_between_the_steps_is_that_of_one_parent_and_no_cancel_leaves_a_lock() {
    let (_db, s) = open(&format!(
        "{EVENTS} CREATE TABLE f (at timestamptz) PARTITION BY RANGE (at); CREATE SEQUENCE seen; ALTER FUNCTION eventkit.expired_partitions RENAME TO expired_partitions_before; \
         CREATE FUNCTION eventkit.expired_partitions(parent regclass, older_than timestamptz DEFAULT NULL, as_of timestamptz DEFAULT NULL) RETURNS SETOF regclass LANGUAGE plpgsql AS $$ BEGIN \
           IF parent = 'public.e'::regclass AND nextval('public.seen') > 1 THEN RAISE EXCEPTION 'not twice'; END IF; RETURN QUERY SELECT * FROM eventkit.expired_partitions_before(parent, older_than, as_of); END $$"
    ));
    on_expiry(&s, "'drop', NULL");
    s.query("UPDATE eventkit.partition_settings SET retention = '1 day'; INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry) VALUES ('f', '1 day', 'UTC', 0, 'drop')").unwrap();
    for round in [0, -1] {
        // What fails is the second look or the third.
        s.query(&format!("ALTER SEQUENCE seen MINVALUE -1 RESTART WITH {}", round + 1)).unwrap();
        s.query("CALL eventkit.maintain(as_of => '2024-01-05 12:00Z')").unwrap();
        assert_eq!(advisory_locks(&s), 0);
        assert!(number(&s, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'f'::regclass") >= 1);
    }
    assert!(s.take_notices().join("\n").contains("not twice"));
    s.query("DROP FUNCTION eventkit.expired_partitions; ALTER FUNCTION eventkit.expired_partitions_before RENAME TO expired_partitions").unwrap();
    s.query("CREATE OR REPLACE FUNCTION eventkit.may_detach_concurrently(parent regclass, partition regclass) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN true; END $$").unwrap();
    for call in [format!("CALL eventkit.drop_old_partitions('e', {OLD})"), "CALL eventkit.maintain()".to_owned()] {
        s.query("SET statement_timeout = '1s'").unwrap();
        assert_eq!(fails(&s, &call).sqlstate, "57014", "{call}");
        s.query("RESET statement_timeout").unwrap();
        assert_eq!(advisory_locks(&s), 0, "{call}");
    }
}

#[test]
fn policies_that_bind_the_owner_keep_what_would_be_archived_in_part() {
    let (db, s) = open(&format!(
        "{EVENTS} {ARCHIVE} CREATE TABLE rest PARTITION OF e DEFAULT; INSERT INTO e VALUES (200, '2023-06-01 12:00Z')"
    ));
    let owner = format!("owner_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT ALL ON SCHEMA public TO {owner}; GRANT ALL ON archived TO {owner}; GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {owner};
         DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT 'e'::regclass UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = 'e'::regclass LOOP \
           EXECUTE format('ALTER TABLE %s OWNER TO {owner}; ALTER TABLE %1$s ENABLE ROW LEVEL SECURITY; ALTER TABLE %1$s FORCE ROW LEVEL SECURITY; CREATE POLICY few ON %1$s USING (id > 1000)', t); END LOOP; END $$"
    ))
    .unwrap();
    on_expiry(&s, "'drop', NULL");
    s.query("UPDATE eventkit.partition_settings SET archive = 'public.archive(regclass)', retention = '1 day'")
        .unwrap();
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    let hidden = fails(
        &as_owner,
        "SELECT eventkit.begin_departure('e', 'e_20240101', true, 'public.archive(regclass)', 'public')",
    );
    assert_eq!(hidden.sqlstate, "42501", "{hidden}");
    assert!(
        hidden.message.contains("row-level security hides rows of ")
            && hidden.hint.unwrap().contains("NO FORCE ROW LEVEL SECURITY")
    );
    for caller in [&s, &as_owner] {
        let heard = call(caller);
        assert_eq!(heard.matches(" is kept: row-level security hides rows of ").count(), 3, "{heard}");
        assert!(left(&s).starts_with("e_20240101 e_20240102 e_20240103 e_20240104 e_20240105 e_20240106"));
        assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_departures"), "0");
        assert_eq!(value(&s, "SELECT count(*) FROM archived"), "0");
        // What can be made is made, and what cannot be seen is told.
        s.query("UPDATE eventkit.partition_settings SET premake = premake + 1").unwrap();
        caller.query("CALL eventkit.maintain(as_of => '2024-01-06 12:00Z')").unwrap();
    }
    assert_eq!(
        left(&s),
        "e_20240101 e_20240102 e_20240103 e_20240104 e_20240105 e_20240106 e_20240107 e_20240108 rest"
    );
    assert_eq!(
        lines(
            &s,
            "SELECT DISTINCT action, sqlstate, substr(message, 1, 39) FROM eventkit.run_history WHERE parent IS NOT NULL ORDER BY 1"
        ),
        [
            "drain|42501|row-level security hides rows of public",
            "premake|NULL|NULL",
            "retire|42501|row-level security hides rows of public"
        ]
    );
    assert_eq!(fails(&as_owner, "CALL eventkit.drain_default('e')").sqlstate, "42501");
    // What was begun before is not dropped either, and goes on when the rows can be seen.
    s.query("INSERT INTO eventkit.partition_departures SELECT 'e_20240101', 'e', 'drop', NULL, 'public.archive(regclass)', '3', 'e_20240101'::regclass::oid, now(); ALTER TABLE e DETACH PARTITION e_20240101").unwrap();
    assert!(
        call(&s).contains(
            "partition e_20240101 is detached and not more: row-level security hides rows of public.e_20240101"
        )
    );
    s.query("DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT 'e'::regclass UNION ALL SELECT 'e_20240101'::regclass UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = 'e'::regclass LOOP \
               EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', t); END LOOP; END $$").unwrap();
    let heard = call(&as_owner);
    assert!(!heard.contains("WARNING"), "{heard}");
    assert_eq!(tables(&s), "e_20240104 e_20240105 e_20240106 e_20240107 e_20240108");
    assert_eq!(value(&s, "SELECT count(DISTINCT partition) || ' ' || min(rows) FROM archived"), "3 1");
    as_owner.query("CALL eventkit.drain_default('e')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0");
}

/// Writes down each command with its table and what is pending then, each hook, and which of them are one transaction's.
const SEEN: &str = "CREATE TABLE seen (n serial, what text, transaction xid8 DEFAULT pg_current_xact_id());
    CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN
      IF tg_event = 'ddl_command_start' THEN
        INSERT INTO public.seen (what) SELECT concat_ws(' ', tg_tag, CASE WHEN current_query() ~ 'CONCURRENTLY$' THEN current_query() END, (SELECT string_agg(inhrelid::regclass::text, ' ') FROM pg_inherits WHERE inhdetachpending));
      ELSIF tg_event = 'sql_drop' THEN
        INSERT INTO public.seen (what) SELECT concat_ws(' ', tg_tag, object_identity) FROM pg_event_trigger_dropped_objects() WHERE original;
      ELSE
        INSERT INTO public.seen (what) SELECT concat_ws(' ', tg_tag, object_identity) FROM pg_event_trigger_ddl_commands();
      END IF; END $$;
    CREATE EVENT TRIGGER started ON ddl_command_start EXECUTE FUNCTION see(); CREATE EVENT TRIGGER ended ON ddl_command_end EXECUTE FUNCTION see(); CREATE EVENT TRIGGER dropped ON sql_drop EXECUTE FUNCTION see();";

fn seen(s: &Session) -> Vec<String> {
    lines(
        s,
        "SELECT what, dense_rank() OVER (ORDER BY first) FROM (SELECT n, what, min(n) OVER (PARTITION BY transaction) AS first FROM seen) w ORDER BY n",
    )
}

/// Runs a plan: what stands between two COMMITs in one block, but for what cannot run in any.
fn carry_out(s: &Session, plan: &[String]) {
    for phase in plan.split(|statement| statement == "COMMIT").filter(|phase| !phase.is_empty()) {
        let statements = phase.join("; ");
        let block =
            if statements.contains("CONCURRENTLY") { statements } else { format!("BEGIN; {statements}; COMMIT") };
        s.query(&block).unwrap_or_else(|failure| panic!("{failure}\n{block}"));
    }
}

/// A database whose partition of 6 January is being detached by somebody who gave up.
fn with_pending(setup: &str, pending: Option<&str>) -> (eventkit_tests::shared::Database, Session) {
    let (db, s) = open(setup);
    if let Some(partition) = pending {
        let (reader, other) = (db.session("reader").unwrap(), db.session("other").unwrap());
        reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
        other.query("SET lock_timeout = '50ms'").unwrap();
        other.query(&format!("ALTER TABLE e DETACH PARTITION {partition} CONCURRENTLY")).unwrap_err();
        reader.query("COMMIT").unwrap();
    }
    s.query(SEEN).unwrap();
    (db, s)
}

#[test]
fn what_is_planned_is_what_runs() {
    // A detached table it may get once more, when an old transaction runs somewhere, and rows of that time may be in it.
    let hook = "CREATE SCHEMA \"o'l\\d\"; CREATE PROCEDURE hook(partition regclass) LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen (what) SELECT current_schema || ' hook ' || partition FROM pg_class WHERE oid = partition AND relispartition; END $$;";
    let settings = |what: &str| {
        format!(
            "INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry, expired_schema) VALUES ('e', '1 day', 'UTC', 0, {what});"
        )
    };
    let with_hook = "UPDATE eventkit.partition_settings SET archive = 'public.hook(regclass)';";
    let default = "CREATE TABLE rest PARTITION OF e DEFAULT;";
    let needed = "CREATE TABLE notes (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES e); INSERT INTO notes SELECT id, at FROM e WHERE id = 2;";
    // Archived and detached by a call that ended there; the settings were others then.
    let begun = "UPDATE eventkit.partition_settings SET on_expiry = 'drop', expired_schema = NULL; SELECT eventkit.begin_departure('e', 'e_20240102', true, 'public.quiet(regclass)', 'public'); SELECT eventkit.detach_departing('e', 'e_20240102', '2 seconds', 'public'); UPDATE eventkit.partition_settings SET on_expiry = 'move', expired_schema = E'o''l\\\\d';";
    let quiet = "CREATE PROCEDURE quiet(partition regclass) LANGUAGE sql AS 'SELECT 1';";
    let (drop, moved, detach) = (settings("'drop', NULL"), settings("'move', 'o''l\\d'"), settings("'detach', NULL"));
    for (setup, pending, concurrent, finalized, kept) in [
        (format!("{drop}{with_hook}"), None, 3, 0, 0),
        (moved.clone(), None, 3, 0, 0),
        (detach.clone(), None, 3, 0, 0),
        (format!("{default}{drop}{with_hook}"), None, 0, 0, 0),
        (format!("{default}{moved}{with_hook}"), None, 0, 0, 0),
        (drop.clone(), Some("e_20240106"), 3, 1, 0),
        (format!("{drop}{with_hook}"), Some("e_20240103"), 2, 1, 0),
        (format!("{quiet}{moved}{begun}"), None, 2, 0, 0),
        (format!("{quiet}{default}{moved}{begun}"), None, 0, 0, 0),
        (format!("{needed}{drop}{with_hook}"), None, 2, 0, 1),
    ] {
        for block in [false, true] {
            let setup = format!("{EVENTS}{hook}{setup}");
            let open = || with_pending(&setup, pending);
            let ((_one, called), (_two, planned)) = (open(), open());
            let (begin, commit) = if block { ("BEGIN; ", "; COMMIT") } else { ("", "") };
            called.query(&format!("{begin}CALL eventkit.drop_old_partitions('e', {OLD}){commit}")).unwrap();
            let heard = called.take_notices().join("\n");
            assert_eq!(heard.matches("WARNING").count(), kept, "{heard}");
            if block {
                planned.query("BEGIN").unwrap();
            }
            let plan = lines(
                &planned,
                &format!(
                    "SELECT coalesce(statement, reason) FROM eventkit.plan_drop_old_partitions('e', {OLD}) ORDER BY step"
                ),
            );
            let count = |text: &str| plan.iter().filter(|step| step.ends_with(text)).count();
            assert_eq!(count(" CONCURRENTLY"), if block { 0 } else { concurrent }, "{plan:#?}");
            assert_eq!(count(" FINALIZE"), finalized, "{plan:#?}");
            assert_eq!(plan.iter().filter(|step| step.starts_with("it is kept: ")).count(), kept, "{plan:#?}");
            assert_eq!(count("COMMIT") == 0, block, "{plan:#?}");
            let statements: Vec<String> =
                plan.iter().filter(|step| !step.starts_with("it is kept: ")).cloned().collect();
            if block {
                planned.query(&format!("{}; COMMIT", statements.join("; "))).unwrap();
            } else {
                carry_out(&planned, &statements);
            }
            assert_eq!(seen(&called), seen(&planned), "{plan:#?}");
            assert!(seen(&called).len() > 5, "{:?}", seen(&called));
            assert_eq!(tables(&called), tables(&planned));
            assert_eq!(left(&called), left(&planned));
        }
    }
}

#[test]
fn the_last_partition_that_has_a_waiting_key_is_kept_and_planned_so() {
    let (_db, s) = open(&format!(
        "{EVENTS} CREATE TABLE days (at timestamptz PRIMARY KEY); INSERT INTO days SELECT at FROM e; {ARCHIVE}"
    ));
    on_expiry(&s, "'drop', NULL");
    // Two of those that expire have it, nobody else.
    s.query("CREATE OR REPLACE FUNCTION eventkit.marked_foreign_keys(partition regclass) RETURNS TABLE (constraint_id oid, name name, definition text, comment text) STABLE LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$ BEGIN RETURN QUERY SELECT 1::oid, 'waits'::name, '', '' WHERE $1 IN ('e_20240101'::regclass, 'e_20240103'::regclass); EXCEPTION WHEN undefined_table THEN RETURN QUERY SELECT 1::oid, 'waits'::name, '', '' WHERE $1 = 'e_20240103'::regclass; END $$").unwrap();
    let plan = lines(
        &s,
        &format!("SELECT target, statement, reason FROM eventkit.plan_drop_old_partitions('e', {OLD}) ORDER BY step"),
    );
    let kept: Vec<&String> = plan.iter().filter(|step| step.contains("it is kept: ")).collect();
    assert!(
        kept.len() == 1 && kept[0].contains("e_20240103") && kept[0].contains("foreign key waits waits to be that of"),
        "{plan:#?}"
    );
    let heard = call(&s);
    assert!(heard.contains("WARNING: partition e_20240103 is kept: foreign key waits waits to be that of"), "{heard}");
    assert_eq!(left(&s), "e_20240103 e_20240104 e_20240105 e_20240106");
}

#[test]
fn what_is_in_use_or_ahead_is_never_called_old() {
    let (_db, s) = open("CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at)");
    s.query("CALL eventkit.manage_partitions('e', premake => 2, retention => '1 day', on_expiry => 'drop')").unwrap();
    let all = value(&s, "SELECT count(*) FROM eventkit.partitions");
    for call in [
        "CALL eventkit.drop_old_partitions('e', now() + interval '1 day')",
        "CALL eventkit.drop_old_partitions('e', 'infinity')",
        "SELECT * FROM eventkit.plan_drop_old_partitions('e', now() + interval '1 day')",
        "SELECT * FROM eventkit.expired_partitions('e', now() + interval '1 day')",
    ] {
        let refused = fails(&s, call);
        assert!(refused.sqlstate == "22023" && refused.message.contains("\"older_than\""), "{refused}");
        assert!(refused.detail.is_some() && refused.hint.is_some(), "{refused}");
    }
    // As of next year more is made; what is in use today stays.
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM eventkit.plan_maintain(now() + interval '1 year') WHERE statement ~ '^(DROP|ALTER TABLE .* DETACH)'"
        ),
        "0"
    );
    s.query("CALL eventkit.maintain(now() + interval '1 year')").unwrap();
    assert_eq!(
        value(&s, "SELECT count(*) FROM eventkit.partitions WHERE from_time < now() + interval '100 days'"),
        all
    );
    s.query("CALL eventkit.drop_old_partitions('e', clock_timestamp()); CALL eventkit.drop_old_partitions('e', now())")
        .unwrap();
}

#[test]
fn who_changes_what_becomes_of_old_partitions_keeps_those_that_are_detached() {
    let (_db, s) = open(&format!("{EVENTS} CREATE VIEW holds AS SELECT * FROM e_20240101"));
    on_expiry(&s, "'drop', NULL");
    let heard = call(&s);
    assert!(heard.contains("e_20240101 is detached and not more"), "{heard}");
    let health = "SELECT what FROM eventkit.partition_health WHERE what ~ 'interrupted'";
    assert_eq!(lines(&s, health), ["the departure of public.e_20240101 was interrupted"]);
    s.query("UPDATE eventkit.partition_settings SET on_expiry = 'detach'; DROP VIEW holds").unwrap();
    assert_eq!(
        lines(
            &s,
            "SELECT DISTINCT 1 FROM eventkit.plan_drop_old_partitions('e', '2024-01-04 00:00Z') WHERE statement ~ '^DROP'"
        ),
        Vec::<String>::new()
    );
    let heard = call(&s);
    assert!(
        heard.contains("e_20240101 of public.e: detached") || heard.contains("e_20240101 of e: detached"),
        "{heard}"
    );
    assert_eq!(value(&s, "SELECT count(*) FROM e_20240101"), "1");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_departures"), "0");
    // One that somebody has attached again is forgotten.
    s.query("INSERT INTO eventkit.partition_departures (partition, parent, on_expiry, begun_at) VALUES ('e_20240105', 'e', 'drop', now() - interval '2 days')").unwrap();
    s.query("SELECT eventkit.sweep_dropped_parents()").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_departures"), "0");
}
