//! Retiring partitions: what expires and what becomes of it, readers, foreign keys, archive hooks, kills, roles, names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::kill::{kill_and_wait, own_cluster};
use common::{fails, lines, open, value};
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
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.expired_partitions('t', 'infinity')"), "2");
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
