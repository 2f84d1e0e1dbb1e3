//! Backfills of tables that are written to meanwhile: nothing lost, nothing doubled, whatever is killed, whoever writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::kill::kill_and_wait;
use common::{fails, lines, open, value};
use eventkit_tests::{Cluster, ClusterBuilder, PgVersion, Session, wait};

/// Four days of events, one each two minutes, and the parent that they go to. `{source}` is what the source is besides.
fn tables(source: &str) -> String {
    format!(
        "CREATE TABLE public.ev (id bigint PRIMARY KEY, at timestamptz NOT NULL, n int NOT NULL DEFAULT 0, name text){source};
         INSERT INTO public.ev SELECT i, '2024-01-01 00:00Z'::timestamptz + i * interval '2 minutes', 0, 'name ' || i FROM generate_series(1, 2800) i;
         CREATE INDEX ON public.ev (at);
         CREATE SEQUENCE public.ids START 3000;
         CREATE SCHEMA app;
         CREATE TABLE app.ev (name text, id bigint GENERATED ALWAYS AS IDENTITY, n bigint NOT NULL, at timestamptz NOT NULL,
             twice bigint GENERATED ALWAYS AS (n * 2) STORED, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
    )
}

const PLAIN: &str = "";

/// The rows that are in one of the two tables only.
fn differences(s: &Session, source: &str, parent: &str) -> String {
    value(
        s,
        &format!(
            "WITH s AS (SELECT id, at, n::bigint, name, n::bigint * 2 AS twice FROM {source}), p AS (SELECT id, at, n, name, twice FROM {parent}) \
             SELECT count(*) || coalesce(' ' || (array_agg(d::text))[1], '') FROM ((SELECT 'source', * FROM (TABLE s EXCEPT ALL TABLE p) a) UNION ALL (SELECT 'parent', * FROM (TABLE p EXCEPT ALL TABLE s) b)) d"
        ),
    )
}

/// What a backfill leaves behind when it is over: triggers, functions, tables of changes, locks.
fn leftovers(s: &Session) -> String {
    value(
        s,
        "SELECT concat_ws(' ', (SELECT string_agg(tgname, ',') FROM pg_trigger WHERE tgname ~ '_changes_'), (SELECT string_agg(proname, ',') FROM pg_proc WHERE proname ~ '_changes$' AND prorettype = 'trigger'::regtype), \
             (SELECT string_agg(relname, ',') FROM pg_class WHERE relname ~ '_changes$' AND relpersistence <> 't'), \
             (SELECT string_agg(locktype, ',') FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())))",
    )
}

/// One statement of a writer: new rows, other values, rows that move to another day or get another id, rows that go.
fn write(s: &Session, turn: usize) -> Result<(), eventkit_tests::Failure> {
    let row = (turn * 7919) % 2800 + 1;
    let sql = match turn % 6 {
        0 => "INSERT INTO public.ev SELECT nextval('public.ids'), '2024-01-01 00:00Z'::timestamptz + random() * interval '5 days', 1, 'new' FROM generate_series(1, 3)".to_owned(),
        1 => format!("UPDATE public.ev SET n = n + 1, name = NULL WHERE id BETWEEN {row} AND {row} + 5"),
        2 => format!("UPDATE public.ev SET at = at + interval '1 day' * (random() * 4 - 2)::int WHERE id = {row}"),
        3 => format!("DELETE FROM public.ev WHERE id = {row}"),
        4 => format!("UPDATE public.ev SET id = nextval('public.ids'), n = 5 WHERE id = {row}"),
        _ => format!("BEGIN; INSERT INTO public.ev VALUES (nextval('public.ids'), '2024-01-02 12:00Z'); DELETE FROM public.ev WHERE id = currval('public.ids'); UPDATE public.ev SET n = 9 WHERE id = {row}; {}", if turn % 4 == 1 { "ROLLBACK" } else { "COMMIT" }),
    };
    s.query(&sql).map(drop)
}

/// Lets writers run beside some work, and says how many statements they did.
///
/// Work that fails may hold locks that writers wait for, beyond its end: then their sessions are ended.
fn beside_writers<T>(cluster: &Cluster, database: &str, writers: usize, work: impl FnOnce() -> T) -> (T, usize) {
    let (stop, failed, written) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
    let sessions: Vec<_> = (0..writers)
        .map(|writer| {
            let session = Session::open(cluster, database, &format!("writer {writer}")).unwrap();
            session.query(&format!("SET statement_timeout = '{} s'", 2 * wait::PATIENCE.as_secs())).unwrap();
            session
        })
        .collect();
    let pids: Vec<String> = sessions.iter().map(|session| session.pid().to_string()).collect();
    let result = std::thread::scope(|scope| {
        for (writer, session) in sessions.into_iter().enumerate() {
            let (stop, failed, written) = (&stop, &failed, &written);
            scope.spawn(move || {
                let mut turn = writer;
                while !stop.load(Ordering::Relaxed) {
                    match write(&session, turn) {
                        Ok(()) => written.fetch_add(1, Ordering::Relaxed),
                        // Two writers may want each other's row, or one that another moves to the other partition of a source.
                        Err(e) if e.sqlstate == "40P01" => 0,
                        Err(e) if e.sqlstate == "40001" && e.message.contains("moved to another partition") => 0,
                        Err(_) if failed.load(Ordering::SeqCst) => break,
                        Err(e) => panic!("a writer fails: {e}"),
                    };
                    turn += writers + 1;
                }
            });
        }
        // The writers end also when the work fails.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        if result.is_err() {
            failed.store(true, Ordering::SeqCst);
        }
        stop.store(true, Ordering::Relaxed);
        if result.is_err() {
            let end = format!("SELECT pg_terminate_backend(pid) FROM unnest('{{{}}}'::int[]) pid", pids.join(","));
            cluster.connect("postgres").unwrap().batch_execute(&end).unwrap();
        }
        result
    });
    let written = written.into_inner();
    (result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), written)
}

fn written_since(s: &Session, so_many: usize) {
    let before: usize = value(s, "SELECT last_value FROM public.ids").parse().unwrap();
    let deadline = std::time::Instant::now() + 2 * wait::PATIENCE;
    while value(s, "SELECT last_value FROM public.ids").parse::<usize>().unwrap() < before + so_many {
        assert!(std::time::Instant::now() < deadline, "the writers have stopped");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn work_that_fails_beside_writers_under_a_lock_is_told_and_not_waited_for() {
    let (db, s) = open(&tables(PLAIN));
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        beside_writers(db.cluster, &db.name, 2, || {
            s.query("BEGIN; LOCK TABLE public.ev").unwrap();
            let waits = "2 = (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^writer' AND wait_event_type = 'Lock')";
            wait::until(db.cluster, &db.name, waits).unwrap();
            panic!("the work fails");
        })
    }));
    assert_eq!(told.unwrap_err().downcast_ref::<&str>(), Some(&"the work fails"));
    // They have waited to the end, and the lock is still held.
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'public.ev'::regclass AND mode = 'AccessExclusiveLock'"
        ),
        "1"
    );
}

#[test]
fn nothing_is_lost_while_others_write() {
    let partitioned = " PARTITION BY HASH (id); CREATE TABLE public.ev_0 PARTITION OF public.ev FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
                       CREATE TABLE public.ev_1 PARTITION OF public.ev FOR VALUES WITH (MODULUS 2, REMAINDER 1)";
    for (source, zone, arguments) in
        [(PLAIN, "UTC", ""), (partitioned, "Asia/Kathmandu", ", newest_first => false, verify => 'content'")]
    {
        let (db, s) = open(&tables(source));
        s.query(&format!("CALL eventkit.manage_partitions('app.ev', time_zone => '{zone}', premake => 0); SET TimeZone = 'America/New_York'; SET DateStyle = 'German'")).unwrap();
        let ((), written) = beside_writers(db.cluster, &db.name, 4, || {
            written_since(&s, 20);
            s.query(&format!("CALL eventkit.backfill('ev', 'app.ev'{arguments})")).unwrap();
            written_since(&s, 20);
            s.query("CALL eventkit.catch_up('ev', 'app.ev', batch_rows => 50)").unwrap();
            written_since(&s, 20);
            // The switch: nobody writes to the source unseen between the last change and the new name.
            s.query("BEGIN").unwrap();
            s.query("CALL eventkit.finish_backfill('ev', 'app.ev', lock_timeout => '20 seconds')").unwrap();
            // Who fails in here holds the table, and the writers would never end.
            let differ = differences(&s, "public.ev", "app.ev");
            s.query("COMMIT").unwrap();
            assert_eq!((differ.as_str(), leftovers(&s).as_str()), ("0", ""));
        });
        assert!(written > 50, "{written}");
        assert_eq!(
            value(&s, "SELECT count(*) || ' ' || bool_and(finished_at IS NOT NULL) FROM eventkit.backfills"),
            "1 true"
        );
        // The identity goes on behind the greatest id of all.
        let greatest = value(&s, "SELECT max(id) + 1 FROM app.ev");
        assert!(value(&s, "INSERT INTO app.ev (at, n) VALUES ('2024-01-02 00:00Z', 1) RETURNING id") >= greatest);
    }
}

#[test]
fn finish_alone_catches_up_first() {
    let (db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev', verify => 'none')").unwrap();
    let ((), _) = beside_writers(db.cluster, &db.name, 3, || written_since(&s, 60));
    assert_ne!(differences(&s, "public.ev", "app.ev"), "0");
    assert_ne!(value(&s, "SELECT changes_waiting FROM eventkit.backfill_progress"), "0");
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
    assert_eq!(leftovers(&s), "");
    assert_eq!(
        value(
            &s,
            "SELECT concat_ws(' ', periods_left, time_left, changes_waiting IS NULL) FROM eventkit.backfill_progress"
        ),
        "0 00:00:00 t"
    );
    assert_eq!(fails(&s, "CALL eventkit.finish_backfill('ev', 'app.ev')").sqlstate, "55000");
}

#[test]
fn who_wrote_before_the_capture_is_waited_for() {
    let (db, s) = open(&tables(PLAIN));
    let (early, late) = (db.session("early").unwrap(), db.session("late").unwrap());
    early
        .query("BEGIN; INSERT INTO public.ev VALUES (5001, '2024-01-02 00:00Z'); DELETE FROM public.ev WHERE id = 7")
        .unwrap();
    // This one has a snapshot from before the capture and writes when it stands.
    late.query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM public.ev").unwrap();
    let refused = fails(&s, "CALL eventkit.backfill('ev', 'app.ev', lock_timeout => '5 milliseconds')");
    assert_eq!(refused.sqlstate, "55P03");
    assert_eq!(leftovers(&s), "");
    s.run("CALL eventkit.backfill('ev', 'app.ev')");
    wait::until_blocked(db.cluster, &s).unwrap();
    assert_eq!(value(&late, "SELECT count(*) FROM app.ev"), "0", "no period is copied before");
    early.query("COMMIT").unwrap();
    s.join().unwrap();
    late.query("UPDATE public.ev SET name = 'late' WHERE id = 8; INSERT INTO public.ev VALUES (5002, '2024-01-03 00:00Z'); COMMIT").unwrap();
    assert_eq!(value(&s, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM app.ev WHERE id IN (7, 5001)"), "5001");
    s.query("CALL eventkit.catch_up('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn a_change_that_commits_late_is_not_forgotten() {
    let (db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    let late = db.session("late").unwrap();
    late.query("BEGIN; UPDATE public.ev SET n = 77 WHERE id = 1").unwrap();
    s.query("UPDATE public.ev SET n = 78 WHERE id = 2").unwrap();
    s.query("CALL eventkit.catch_up('ev', 'app.ev')").unwrap();
    late.query("UPDATE public.ev SET at = at + interval '2 days' WHERE id = 1; COMMIT").unwrap();
    s.query("CALL eventkit.catch_up('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
    assert_eq!(
        lines(&s, "SELECT id, n, at FROM app.ev WHERE id < 3 ORDER BY id"),
        ["1|77|2024-01-03 00:02:00+00", "2|78|2024-01-01 00:04:00+00"]
    );
}

#[test]
fn batches_are_repeatable_and_wild_rows_stay() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("INSERT INTO public.ev VALUES (9001, 'infinity'), (9002, '1960-01-01'), (9003, '2300-01-01')").unwrap();
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    // In and out of the range, in a period that has no partition yet, twice in one batch.
    s.query(
        "UPDATE public.ev SET at = '2024-03-01' WHERE id = 9001; UPDATE public.ev SET at = '-infinity' WHERE id = 1; UPDATE public.ev SET at = '2300-01-01' WHERE id = 2;
         UPDATE public.ev SET n = n + 1 WHERE id = 3; UPDATE public.ev SET n = n + 1 WHERE id = 3; INSERT INTO public.ev VALUES (9004, '2024-05-05'); DELETE FROM public.ev WHERE id = 9004",
    )
    .unwrap();
    // The same changes, noted again and again.
    s.query("INSERT INTO app.ev_changes SELECT c.* FROM app.ev_changes c, generate_series(1, 3)").unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.catch_up('ev', 'app.ev', batch_rows => 3)").unwrap();
    assert!(s.take_notices().iter().any(|n| n.contains("period 2024-03-01: 1 rows")));
    let moved = "(SELECT * FROM public.ev WHERE at BETWEEN '2024-01-01' AND '2025-01-01')";
    assert_eq!(differences(&s, &format!("{moved} m"), "app.ev"), "0");
    assert_eq!(
        value(&s, "SELECT count(*) FROM eventkit.partitions WHERE from_time = '2024-05-05'"),
        "0",
        "no partition for nothing"
    );
    let _ = s.take_notices();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(
        heard.contains("-infinity: 1 rows")
            && heard.contains("before 1970-01-01: 1 rows")
            && heard.contains("2036") | heard.contains("after "),
        "{heard}"
    );
}

#[test]
fn a_range_of_time_oldest_first() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev', from_time => '2024-01-02 12:00Z', to_time => '2024-01-03 00:00:01Z', newest_first => false)").unwrap();
    let periods: Vec<String> =
        s.take_notices().into_iter().filter(|n| n.contains("period ")).map(|n| n[15..25].to_owned()).collect();
    assert_eq!(periods, ["2024-01-02", "2024-01-03"]);
    // Outside of the range nothing is applied; the capture goes on.
    s.query("UPDATE public.ev SET n = 3").unwrap();
    s.query("CALL eventkit.catch_up('ev', 'app.ev')").unwrap();
    let range = "(SELECT * FROM public.ev WHERE at >= '2024-01-02' AND at < '2024-01-04') e";
    assert_eq!(differences(&s, range, "app.ev"), "0");
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    assert_eq!(
        value(&s, "SELECT concat_ws(' ', periods_done, periods_left, rows_copied) FROM eventkit.backfill_progress"),
        "4 0 2800"
    );
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
    for (arguments, state, named) in [
        ("from_time => '2024-01-02', to_time => '2024-01-02'", "22023", "to_time"),
        ("verify => 'maybe'", "22023", "verify"),
        ("verify => NULL", "22023", "verify"),
        ("newest_first => NULL", "22004", "newest_first"),
        ("capture => NULL", "22004", "capture"),
        ("lock_timeout => '0'", "22023", "lock_timeout"),
    ] {
        let refused = fails(&s, &format!("CALL eventkit.backfill('ev', 'app.ev', {arguments})"));
        assert_eq!(refused.sqlstate, state, "{arguments}: {refused}");
        assert!(refused.message.contains(named) && refused.hint.is_some(), "{refused}");
    }
    assert_eq!(fails(&s, "SELECT * FROM eventkit.plan_catch_up('ev', 'app.ev')").sqlstate, "55000");
}

#[test]
fn partitions_made_before_are_filled_or_left() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.create_partition('app.ev', '2024-01-02'); CALL eventkit.create_partition('app.ev', '2024-01-03')").unwrap();
    s.query("INSERT INTO app.ev (id, at, n, name) OVERRIDING SYSTEM VALUE SELECT id, at, n, 'ours' FROM public.ev WHERE at >= '2024-01-03' AND at < '2024-01-03 12:00'").unwrap();
    // A change before the period is dealt with does not pass for the period.
    s.query("CALL eventkit.backfill('ev', 'app.ev', from_time => '2024-01-04', to_time => '2024-01-05')").unwrap();
    s.query("UPDATE public.ev SET n = 1 WHERE id = 1000").unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.backfill('ev', 'app.ev', verify => 'content')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("period 2024-01-02: 720 rows") && heard.contains("2024-01-03 is left as it is"), "{heard}");
    assert!(heard.contains("2024-01-03: 720 in source, 360 in parent"), "{heard}");
    s.query("UPDATE public.ev SET n = 2 WHERE at >= '2024-01-03' AND at < '2024-01-04'").unwrap();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn content_is_verified() {
    let (_db, s) = open(&tables(PLAIN));
    s.query(
        "CREATE FUNCTION app.shout() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := upper(NEW.name); RETURN NEW; END';
         CREATE TRIGGER shout BEFORE INSERT ON app.ev FOR EACH ROW EXECUTE FUNCTION app.shout();
         CALL eventkit.create_partition('app.ev', '2024-01-02')",
    )
    .unwrap();
    let refused = s.query("CALL eventkit.backfill('ev', 'app.ev', verify => 'content')").unwrap_err();
    assert_eq!(refused.sqlstate, "55000");
    assert!(refused.message.starts_with("period 2024-01-02: the values in ") && refused.hint.is_some(), "{refused}");
    assert!(refused.detail.unwrap().contains("trigger shout"));
    assert_eq!(
        value(&s, "SELECT string_agg(period::date::text, ' ' ORDER BY period) FROM eventkit.backfill_periods"),
        "2024-01-03 2024-01-04"
    );
    s.query("DROP TRIGGER shout ON app.ev").unwrap();
    s.query("CALL eventkit.backfill('ev', 'app.ev', verify => 'content')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn rows_that_a_trigger_drops_are_missed_by_count() {
    let (_db, s) = open(&tables(PLAIN));
    s.query(
        "CREATE FUNCTION app.drop_some() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN NEW.id % 100 = 0 THEN NULL ELSE NEW END; END';
         CREATE TRIGGER \"drop %I\" BEFORE INSERT ON app.ev FOR EACH ROW EXECUTE FUNCTION app.drop_some();
         CREATE TRIGGER off BEFORE INSERT ON app.ev FOR EACH ROW EXECUTE FUNCTION app.drop_some(); ALTER TABLE app.ev DISABLE TRIGGER off;
         CALL eventkit.create_partition('app.ev', '2024-01-02')",
    )
    .unwrap();
    for (verify, message) in [
        ("count", "period 2024-01-02: 713 rows came to app.ev of 720"),
        ("content", "period 2024-01-02: 713 rows came to app.ev of 720"),
    ] {
        let refused = fails(&s, &format!("CALL eventkit.backfill('ev', 'app.ev', verify => '{verify}')"));
        assert_eq!(refused.sqlstate, "55000", "{refused}");
        assert!(refused.message.starts_with(message), "{refused}");
        assert!(
            refused.detail.as_ref().unwrap().contains("trigger \"drop %I\"")
                && !refused.detail.unwrap().contains("off")
        );
        assert_eq!(value(&s, "SELECT count(*) FROM app.ev WHERE at < '2024-01-03'"), "0");
    }
    // Who says none has it so.
    s.query("CALL eventkit.backfill('ev', 'app.ev', verify => 'none')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM app.ev WHERE at >= '2024-01-02' AND at < '2024-01-03'"), "713");
    assert_eq!(value(&s, "SELECT sum(row_count) FROM eventkit.backfill_periods WHERE period = '2024-01-02'"), "713");
}

#[test]
fn a_damaged_index_of_the_source_is_noticed_by_count() {
    let (_db, s) = open(
        "CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL, pad text);
         INSERT INTO src SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '1 minute', repeat('x', 1900) FROM generate_series(1, 4000) n ORDER BY hashint4(n);
         CREATE INDEX src_at ON src (at); UPDATE pg_index SET indisready = false WHERE indexrelid = 'src_at'::regclass;
         INSERT INTO src VALUES (5000, '2024-01-02 00:00:30Z', 'no index knows of it');
         UPDATE pg_index SET indisready = true WHERE indexrelid = 'src_at'::regclass;
         CREATE TABLE dst (id int, at timestamptz NOT NULL, pad text) PARTITION BY RANGE (at)",
    );
    s.query("VACUUM ANALYZE src").unwrap();
    // The rows are read from the table and counted in the index.
    s.query("SET enable_bitmapscan = off").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM src WHERE at >= '2024-01-02' AND at < '2024-01-03'"), "1440");
    let refused = fails(&s, "CALL eventkit.backfill('src', 'dst', verify => 'count')");
    assert_eq!(refused.sqlstate, "55000", "{refused}");
    assert!(
        refused
            .message
            .starts_with("period 2024-01-02: 1441 rows were copied from \"public\".\"src\", which holds 1440"),
        "{refused}"
    );
    assert!(refused.hint.unwrap().contains("amcheck"));
    assert_eq!(value(&s, "SELECT string_agg(row_count::text, ' ') FROM eventkit.backfill_periods"), "1121");
    s.query("CALL eventkit.backfill('src', 'dst', verify => 'none')").unwrap();
    assert_eq!(
        value(&s, "SELECT string_agg(row_count::text, ' ' ORDER BY period) FROM eventkit.backfill_periods"),
        "1439 1441 1121"
    );
    s.query("CALL eventkit.abandon_backfill('src', 'dst')").unwrap();
    s.query("TRUNCATE dst; REINDEX INDEX src_at").unwrap();
    s.query("CALL eventkit.backfill('src', 'dst', verify => 'count')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM dst"), "4001");
}

#[test]
fn writers_need_no_rights_of_ours() {
    let (db, s) = open(&tables(PLAIN));
    let (owner, writer) = (format!("own_{}", db.name), format!("wri_{}", db.name));
    s.query(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE {writer} LOGIN; GRANT USAGE ON SCHEMA public TO {writer}; GRANT INSERT, UPDATE, DELETE, SELECT ON public.ev TO {writer};
         GRANT USAGE, CREATE ON SCHEMA app TO {owner}; GRANT USAGE ON SCHEMA eventkit TO {owner}; ALTER TABLE public.ev OWNER TO {owner};
         GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {owner}; ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT ALL ON TABLES TO PUBLIC"
    ))
    .unwrap();
    // Two owners: refused with both ways out; nothing is left.
    let refused = fails(&s, "CALL eventkit.backfill('ev', 'app.ev')");
    assert_eq!(refused.sqlstate, "42501");
    assert!(refused.hint.unwrap().contains("capture => false"));
    assert_eq!(leftovers(&s), "");
    s.query(&format!("ALTER TABLE app.ev OWNER TO {owner}")).unwrap();
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    as_owner.query("CALL eventkit.backfill('public.ev', 'app.ev')").unwrap();
    let as_writer = Session::open_as(db.cluster, &db.name, "writer", &writer).unwrap();
    as_writer
        .query(
            "CREATE TEMP TABLE ev_changes (x int); SET search_path = pg_temp, public; INSERT INTO public.ev VALUES (6001, '2024-01-01 12:00Z');
             UPDATE public.ev SET at = at + interval '1 day' WHERE id < 10; DELETE FROM public.ev WHERE id = 10",
        )
        .unwrap();
    for hole in [
        "SELECT * FROM app.ev_changes",
        "DELETE FROM app.ev_changes",
        "CREATE TEMP TABLE t (id bigint, at timestamptz); CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION app.ev_changes('new')",
    ] {
        assert_eq!(fails(&as_writer, hole).sqlstate, "42501", "{hole}");
    }
    assert_eq!(
        value(
            &s,
            "SELECT string_agg(DISTINCT concat_ws(' ', pg_get_userbyid(proowner) = pg_get_userbyid(relowner), prosecdef, proconfig), ';') FROM pg_proc JOIN pg_class ON relname = proname WHERE proname = 'ev_changes' AND relkind = 'r' AND relnamespace = 'app'::regnamespace"
        ),
        "t t"
    );
    // Without triggers for everybody else, the capture still sees it.
    s.query("SET session_replication_role = replica; UPDATE public.ev SET n = 4 WHERE id = 20; RESET session_replication_role").unwrap();
    // Strangers see no backfill and cannot enter one, nor a table of changes that is not theirs.
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.backfill_progress"), "1");
    s.query(&format!("GRANT USAGE ON SCHEMA eventkit TO {writer}; CREATE TABLE public.treasure (x int)")).unwrap();
    assert_eq!(value(&as_writer, "SELECT count(*) FROM eventkit.backfill_progress"), "0");
    assert_eq!(
        fails(&as_writer, "INSERT INTO eventkit.backfills (source, parent) VALUES ('public.ev', 'public.ev')").sqlstate,
        "42501"
    );
    assert_eq!(fails(&as_owner, "UPDATE eventkit.backfills SET changes = 'public.treasure'").sqlstate, "42501");
    as_owner.query("CALL eventkit.finish_backfill('public.ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
    assert_eq!(leftovers(&s), "");
}

#[test]
fn what_cannot_be_captured_is_refused_with_the_way_out() {
    let (_db, s) = open(
        "CREATE TABLE bare (id bigint, at timestamptz); INSERT INTO bare VALUES (1, '2024-01-01'), (1, '2024-01-01');
         CREATE TABLE dst (id bigint, at timestamptz) PARTITION BY RANGE (at);
         CREATE TABLE above (id bigint PRIMARY KEY, at timestamptz); CREATE TABLE below (PRIMARY KEY (id)) INHERITS (above);
         CREATE MATERIALIZED VIEW seen AS SELECT * FROM bare",
    );
    for (source, state, named) in
        [("bare", "55000", "primary key"), ("above", "0A000", "inherit"), ("seen", "42809", "captured")]
    {
        let refused = fails(&s, &format!("CALL eventkit.backfill('{source}', 'dst')"));
        assert_eq!(refused.sqlstate, state, "{refused}");
        assert!(refused.message.contains(named), "{refused}");
        assert!(refused.hint.unwrap().contains("capture => false"));
    }
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.backfills"), "0");
    s.query("CALL eventkit.backfill('bare', 'dst', capture => false)").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM dst"), "2");
    // A replica identity serves as well.
    s.query("DELETE FROM bare WHERE ctid = '(0,1)'; ALTER TABLE bare ALTER id SET NOT NULL, ALTER at SET NOT NULL; CREATE UNIQUE INDEX identity ON bare (id, at); ALTER TABLE bare REPLICA IDENTITY USING INDEX identity").unwrap();
    s.query("TRUNCATE dst").unwrap();
    s.query("CALL eventkit.abandon_backfill('bare')").unwrap();
    s.query("CALL eventkit.backfill('bare', 'dst')").unwrap();
    let refused = fails(&s, "TRUNCATE bare");
    assert_eq!(refused.sqlstate, "55006");
    assert!(refused.hint.unwrap().contains("abandon_backfill"));
    s.query("DELETE FROM bare").unwrap();
    s.query("CALL eventkit.finish_backfill('bare', 'dst')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM dst"), "0");
    s.query("TRUNCATE bare").unwrap();
}

#[test]
fn a_capture_that_somebody_took_apart_is_noticed() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    s.query("ALTER TABLE public.ev DISABLE TRIGGER ev_changes_insert").unwrap();
    let refused = fails(&s, "CALL eventkit.backfill('ev', 'app.ev')");
    assert_eq!(refused.sqlstate, "55000");
    assert!(refused.hint.unwrap().contains("abandon_backfill"));
    s.query("CALL eventkit.abandon_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(leftovers(&s), "");
    assert_eq!(
        value(
            &s,
            "SELECT (SELECT count(*) FROM eventkit.backfills) + (SELECT count(*) FROM eventkit.backfill_periods)"
        ),
        "0"
    );
    s.query("CALL eventkit.abandon_backfill('ev')").unwrap();
    assert!(s.take_notices().iter().any(|n| n.contains("there is no backfill of")));
}

/// Who took what apart, and what was written unseen.
const TAKEN_APART: [&str; 5] = [
    "ALTER TABLE public.ev DISABLE TRIGGER USER; {}",
    "ALTER TABLE public.ev DISABLE TRIGGER USER; {} ALTER TABLE public.ev ENABLE TRIGGER USER",
    "DROP TRIGGER ev_changes_insert ON public.ev; {}",
    "DROP FUNCTION app.ev_changes() CASCADE; {}",
    "ALTER TABLE public.ev_1 DISABLE TRIGGER ALL; {}",
];

#[test]
fn rows_that_a_broken_capture_missed_are_not_called_applied() {
    let halves = " PARTITION BY HASH (id); CREATE TABLE public.ev_0 PARTITION OF public.ev FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
                  CREATE TABLE public.ev_1 PARTITION OF public.ev FOR VALUES WITH (MODULUS 2, REMAINDER 1)";
    let unseen = "INSERT INTO public.ev SELECT 8000 + n, '2024-01-02 12:00Z' FROM generate_series(1, 9) n; UPDATE public.ev SET n = 4 WHERE id < 20; DELETE FROM public.ev WHERE id = 2000;";
    for apart in TAKEN_APART {
        let (_db, s) = open(&tables(if apart.contains("ev_1") { halves } else { PLAIN }));
        s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
        s.query(&apart.replace("{}", unseen)).unwrap();
        let calls = ["catch_up('ev', 'app.ev')", "finish_backfill('ev', 'app.ev')", "backfill('ev', 'app.ev')"];
        let mut hint = String::new();
        for call in calls {
            let refused = fails(&s, &format!("CALL eventkit.{call}"));
            assert_eq!(refused.sqlstate, "55000", "{apart} {call}: {refused}");
            assert!(refused.message.ends_with("is not whole"), "{apart} {call}: {refused}");
            hint = refused.hint.unwrap();
        }
        for plan in ["plan_catch_up", "plan_finish_backfill", "plan_backfill"] {
            assert_eq!(fails(&s, &format!("SELECT eventkit.{plan}('ev', 'app.ev')")).sqlstate, "55000");
        }
        s.query("BEGIN").unwrap();
        assert_eq!(s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap_err().sqlstate, "55000");
        s.query("ROLLBACK").unwrap();
        // What the hint says, word for word, brings it right.
        let commands: Vec<&str> = hint
            .split("; ")
            .filter_map(|part| part.find("CALL ").or(part.find("TRUNCATE ")).map(|at| part[at..].trim_end_matches('.')))
            .collect();
        assert!(commands.len() == 3 && hint.contains("eventkit.backfill_differences("), "{hint}");
        for command in commands {
            s.query(command).unwrap_or_else(|failure| panic!("{failure}\n{command}"));
        }
        s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
        assert_eq!((differences(&s, "public.ev", "app.ev"), leftovers(&s)), ("0".into(), String::new()), "{apart}");
    }
}

#[test]
fn a_capture_that_is_taken_apart_at_the_last_moment_is_noticed() {
    let (db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    let other = db.session("other").unwrap();
    other
        .query("BEGIN; ALTER TABLE public.ev DISABLE TRIGGER USER; INSERT INTO public.ev VALUES (8001, '2024-01-02')")
        .unwrap();
    // It has looked before it waits for the lock, and looks again when it has it.
    s.run("CALL eventkit.finish_backfill('ev', 'app.ev', lock_timeout => '1 minute')");
    wait::until_blocked(db.cluster, &s).unwrap();
    other.query("COMMIT").unwrap();
    let refused = s.join().unwrap_err();
    assert!(refused.sqlstate == "55000" && refused.message.ends_with("is not whole"), "{refused}");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.backfills WHERE finished_at IS NULL"), "1");
}

/// A key type with operators of its own in a schema that nobody looks into, with or without being the type's usual ones.
fn own_type(usual: &str) -> String {
    format!(
        "CREATE SCHEMA kinds; CREATE TYPE kinds.code AS (a int, b text);
         CREATE FUNCTION kinds.cmp(kinds.code, kinds.code) RETURNS int IMMUTABLE STRICT LANGUAGE sql AS 'SELECT btrecordcmp($1, $2)';
         CREATE FUNCTION kinds.eq(kinds.code, kinds.code) RETURNS bool IMMUTABLE STRICT LANGUAGE sql AS 'SELECT kinds.cmp($1, $2) = 0';
         CREATE FUNCTION kinds.lt(kinds.code, kinds.code) RETURNS bool IMMUTABLE STRICT LANGUAGE sql AS 'SELECT kinds.cmp($1, $2) < 0';
         CREATE FUNCTION kinds.le(kinds.code, kinds.code) RETURNS bool IMMUTABLE STRICT LANGUAGE sql AS 'SELECT kinds.cmp($1, $2) <= 0';
         CREATE FUNCTION kinds.gt(kinds.code, kinds.code) RETURNS bool IMMUTABLE STRICT LANGUAGE sql AS 'SELECT kinds.cmp($1, $2) > 0';
         CREATE FUNCTION kinds.ge(kinds.code, kinds.code) RETURNS bool IMMUTABLE STRICT LANGUAGE sql AS 'SELECT kinds.cmp($1, $2) >= 0';
         CREATE OPERATOR kinds.=== (FUNCTION = kinds.eq, LEFTARG = kinds.code, RIGHTARG = kinds.code, COMMUTATOR = OPERATOR(kinds.===));
         CREATE OPERATOR kinds.<<< (FUNCTION = kinds.lt, LEFTARG = kinds.code, RIGHTARG = kinds.code);
         CREATE OPERATOR kinds.<<= (FUNCTION = kinds.le, LEFTARG = kinds.code, RIGHTARG = kinds.code);
         CREATE OPERATOR kinds.>>> (FUNCTION = kinds.gt, LEFTARG = kinds.code, RIGHTARG = kinds.code);
         CREATE OPERATOR kinds.>>= (FUNCTION = kinds.ge, LEFTARG = kinds.code, RIGHTARG = kinds.code);
         CREATE OPERATOR CLASS kinds.code_ops {usual} FOR TYPE kinds.code USING btree AS OPERATOR 1 kinds.<<<, OPERATOR 2 kinds.<<=, OPERATOR 3 kinds.===,
             OPERATOR 4 kinds.>>=, OPERATOR 5 kinds.>>>, FUNCTION 1 kinds.cmp(kinds.code, kinds.code);"
    )
}

#[test]
fn keys_of_types_that_an_extension_or_somebody_made() {
    let of = |made: &str, kind: &str, ops: &str, text: &str| {
        (made.to_owned(), kind.to_owned(), ops.to_owned(), text.to_owned())
    };
    let extension = |name: &str| format!("CREATE SCHEMA kinds; CREATE EXTENSION {name} SCHEMA kinds;");
    for (made, kind, ops, text) in [
        of(&extension("ltree"), "kinds.ltree", "", "'a.b' || i"),
        of(&extension("citext"), "kinds.citext", "", "'Name ' || i"),
        of(&extension("isn"), "kinds.issn", "", "'977' || lpad(i::text, 7, '0') || '00?'"),
        of(&extension("seg"), "kinds.seg", "", "i || '.5'"),
        of(&own_type("DEFAULT"), "kinds.code", "", "'(' || i || ',x)'"),
        of(&own_type(""), "kinds.code", "kinds.code_ops", "'(' || i || ',x)'"),
        of("CREATE DOMAIN kind AS bigint[];", "kind", "", "'{' || i || '}'"),
    ] {
        let key = if ops.is_empty() { "PRIMARY KEY (p, at)".to_owned() } else { String::new() };
        let (_db, s) = open(&format!(
            "{made} CREATE TABLE src (p {kind} NOT NULL, at timestamptz NOT NULL, v int, {} );
             CREATE TABLE dst (p {kind} NOT NULL, at timestamptz NOT NULL, v int, {}) PARTITION BY RANGE (at);",
            if key.is_empty() { "CHECK (true)" } else { &key },
            if key.is_empty() { "CHECK (true)" } else { &key },
        ));
        if !ops.is_empty() {
            s.query(&format!(
                "CREATE UNIQUE INDEX identity ON src (p {ops}); ALTER TABLE src REPLICA IDENTITY USING INDEX identity"
            ))
            .unwrap();
        }
        s.query(&format!("INSERT INTO src SELECT ({text})::{kind}, '2024-01-01 00:00Z'::timestamptz + i * interval '2 hours', i FROM generate_series(1, 30) i")).unwrap();
        s.query("CALL eventkit.backfill('src', 'dst', verify => 'content')")
            .unwrap_or_else(|failure| panic!("{failure}\n{kind}"));
        s.query(&format!(
            "UPDATE src SET v = 100 WHERE v < 5; UPDATE src SET at = at + interval '1 day' WHERE v = 7; DELETE FROM src WHERE v = 8;
             UPDATE src SET p = (SELECT ({text})::{kind} FROM generate_series(50, 50) i) WHERE v = 9; INSERT INTO src SELECT ({text})::{kind}, '2024-02-01', i FROM generate_series(60, 61) i"
        ))
        .unwrap_or_else(|failure| panic!("{failure}\n{kind}"));
        s.query("CALL eventkit.catch_up('src', 'dst', 3)").unwrap_or_else(|failure| panic!("{failure}\n{kind}"));
        s.query("DELETE FROM src WHERE v = 10; UPDATE src SET v = 200 WHERE v = 11").unwrap();
        s.query("CALL eventkit.finish_backfill('src', 'dst')").unwrap_or_else(|failure| panic!("{failure}\n{kind}"));
        let rows = |table: &str| lines(&s, &format!("SELECT p, at, v FROM {table} ORDER BY at, v"));
        assert_eq!(rows("src"), rows("dst"), "{kind}");
        assert_eq!((rows("src").len(), leftovers(&s)), (30, String::new()), "{kind}");
    }
}

#[test]
fn periods_that_stood_there_and_differ_are_named_when_all_is_over() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.create_partition('app.ev', '2024-01-03')").unwrap();
    s.query("INSERT INTO app.ev (id, at, n, name) OVERRIDING SYSTEM VALUE SELECT id, at, n, name FROM public.ev WHERE at >= '2024-01-03' AND at < '2024-01-03 12:00'").unwrap();
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    let heard = s.take_notices().join("\n");
    let told = "WARNING: periods of public.ev and app.ev differ: 2024-01-03: 720 in source, 360 in parent";
    assert!(heard.contains(told) && heard.contains("is finished"), "{heard}");
    assert!(heard.contains("WARNING: 1 periods of app.ev were left as they were found: 2024-01-03"), "{heard}");
    // What was copied whole is not counted again.
    assert_eq!(heard.matches("WARNING").count(), 2, "{heard}");
    s.query("TRUNCATE app.ev; CALL eventkit.abandon_backfill('ev', 'app.ev')").unwrap();
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(!heard.contains("WARNING"), "{heard}");
}

#[test]
fn hostile_names_types_and_paths() {
    let (_db, s) = open(
        r#"CREATE SCHEMA "Od'd \ $x$"; CREATE TYPE "Od'd \ $x$"."co""lour" AS ENUM ('red', 'blue'); CREATE DOMAIN "Od'd \ $x$".code AS varchar(9);
           CREATE TABLE "Od'd \ $x$"."so""urce 'x' \ $$ a very long name that hardly leaves any room" ("a t" timestamp NOT NULL, "k""1" "Od'd \ $x$"."co""lour", k2 "Od'd \ $x$".code, k3 numeric, v json,
               PRIMARY KEY ("k""1", k2, k3))"#,
    );
    let source = r#""Od'd \ $x$"."so""urce 'x' \ $$ a very long name that hardly leaves any room""#;
    let named = |name: &str| name.replace('\'', "''");
    s.query(&format!(
        r#"INSERT INTO {source} SELECT '2024-01-01'::timestamp + n * interval '3 hours', CASE n % 2 WHEN 0 THEN 'red' ELSE 'blue' END::"Od'd \ $x$"."co""lour", 'c' || n, n, '{{"a": 1}}' FROM generate_series(0, 20) n;
           CREATE TABLE "Od'd \ $x$"."pa'rent" (v json, k3 numeric, k2 "Od'd \ $x$".code, "k""1" "Od'd \ $x$"."co""lour", "a t" timestamp, UNIQUE ("a t", "k""1", k2, k3)) PARTITION BY RANGE ("a t");
           CREATE SCHEMA evil; CREATE FUNCTION evil.trap(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
           CREATE FUNCTION evil.trap_text(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
           CREATE OPERATOR evil.= (FUNCTION = evil.trap, LEFTARG = anyelement, RIGHTARG = anyelement);
           CREATE OPERATOR evil.= (FUNCTION = evil.trap_text, LEFTARG = text, RIGHTARG = text);
           SET search_path = evil, pg_catalog"#
    ))
    .unwrap();
    let pair = format!("'{}', '{}'", named(source), named(r#""Od'd \ $x$"."pa'rent""#));
    s.query(&format!("CALL eventkit.backfill({pair}, verify => 'content')")).unwrap();
    s.query(&format!(
        r#"UPDATE {source} SET k2 = 'z' || k3 WHERE k3 OPERATOR(pg_catalog.<) 5; UPDATE {source} SET v = '{{"a":  1}}' WHERE k3 OPERATOR(pg_catalog.>) 5; DELETE FROM {source} WHERE k3 OPERATOR(pg_catalog.=) 5;
           UPDATE {source} SET k3 = 7.00 WHERE k3 OPERATOR(pg_catalog.=) 7"#
    ))
    .unwrap();
    s.query(&format!("SELECT * FROM eventkit.plan_finish_backfill({pair})")).unwrap();
    s.query(&format!("CALL eventkit.catch_up({pair}, 3)")).unwrap();
    s.query(&format!("CALL eventkit.finish_backfill({pair})")).unwrap();
    s.query("RESET search_path").unwrap();
    let rows = |table: &str| lines(&s, &format!(r#"SELECT "a t", "k""1", k2, k3, v FROM {table} ORDER BY k3"#));
    assert_eq!(rows(source), rows(r#""Od'd \ $x$"."pa'rent""#));
    assert_eq!(rows(source).len(), 20);
    assert_eq!(leftovers(&s), "");
}

#[test]
fn each_period_of_each_kind_of_key_has_its_rows_once() {
    // How a key is made of an instant, and an instant of a key; in the zone of the parent.
    let kinds = [
        ("date", "NULL", "(t AT TIME ZONE '{zone}')::date", "k::timestamp AT TIME ZONE '{zone}'"),
        ("timestamp", "NULL", "t AT TIME ZONE '{zone}'", "k AT TIME ZONE '{zone}'"),
        ("timestamptz", "NULL", "t", "k"),
        ("bigint", "'s'", "extract(epoch FROM t)::bigint", "to_timestamp(k)"),
        ("bigint", "'ms'", "(extract(epoch FROM t) * 1000)::bigint", "to_timestamp(k / 1000.0)"),
        ("bigint", "'us'", "(extract(epoch FROM t) * 1000000)::bigint", "to_timestamp(k / 1000000.0)"),
        ("bigint", "'ns'", "(extract(epoch FROM t) * 1000000000)::bigint", "to_timestamp(k / 1000000000.0)"),
        (
            "uuid",
            "NULL",
            "(lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') || '7000' || '8' || lpad(to_hex(i), 15, '0'))::uuid",
            "to_timestamp(('x' || left(replace(k::text, '-', ''), 12))::bit(48)::bigint / 1000.0)",
        ),
    ];
    // Each begins where a period does, a second before and within; no clock goes back here.
    for (period, unit, begins) in [
        ("1 hour", "hour", "2024-03-05 03:00,2024-03-05 04:00,2024-03-05 23:00"),
        ("6 hours", "6 hours", "2024-03-05 06:00,2024-03-05 12:00,2024-03-06 00:00"),
        ("1 day", "day", "2024-03-05 00:00,2024-03-06 00:00,2024-03-08 00:00"),
        ("1 week", "week", "2024-03-04 00:00,2024-03-11 00:00,2024-12-30 00:00"),
        ("1 month", "month", "2024-02-01 00:00,2024-03-01 00:00,2024-12-01 00:00"),
        ("3 months", "quarter", "2023-10-01 00:00,2024-01-01 00:00,2024-04-01 00:00"),
    ] {
        for (kind, key_unit, made, instant) in kinds {
            if kind == "date" && period.contains("hour") {
                continue;
            }
            let zone = if kind == "date" || kind == "timestamp" || period.contains("month") {
                "America/New_York"
            } else {
                "Asia/Kathmandu"
            };
            // Hours of a zone that is 45 minutes off begin there as they do elsewhere.
            let zone = if period.contains("hour") { "UTC" } else { zone };
            let (made, instant) = (made.replace("{zone}", zone), instant.replace("{zone}", zone));
            let case = format!("{kind} {key_unit} by {period} in {zone}");
            let rows = |from: i64, shift: &str| {
                format!(
                    "SELECT i, {made}, 0 FROM (SELECT {from} + row_number() OVER () AS i, (b::timestamp + d::interval + '{shift}'::interval) AT TIME ZONE '{zone}' AS t \
                     FROM unnest('{{{begins}}}'::text[]) b, unnest('{{0,-1 second,10 minutes,25 minutes}}'::text[]) d) made"
                )
            };
            let (_db, s) = open(&format!(
                "CREATE TABLE src (i bigint, k {kind} NOT NULL, n int, PRIMARY KEY (i)); CREATE INDEX ON src (k);
                 CREATE TABLE dst (i bigint, k {kind} NOT NULL, n int, PRIMARY KEY (i, k)) PARTITION BY RANGE (k);
                 INSERT INTO src {};
                 CALL eventkit.manage_partitions('dst', '{period}', '{zone}', premake => 0, key_unit => {key_unit})",
                rows(0, "0")
            ));
            let call = |call: &str| {
                s.query(&format!("CALL eventkit.{call}('src', 'dst')"))
                    .unwrap_or_else(|failure| panic!("{failure}\n{case}"))
            };
            let same = |when: &str| {
                assert_eq!(
                    lines(&s, "SELECT i, k, n FROM src ORDER BY i"),
                    lines(&s, "SELECT i, k, n FROM dst ORDER BY i"),
                    "{case} {when}"
                );
                // The bounds that the server enforces hold the row; they are those of the period by the zone's own clocks.
                let begin = if unit == "6 hours" {
                    format!("date_bin('6 hours', ({instant}) AT TIME ZONE '{zone}', '2000-01-01')")
                } else {
                    format!("date_trunc('{unit}', ({instant}) AT TIME ZONE '{zone}')")
                };
                // A key without a zone is told as it stands.
                let shown = if ["date", "timestamp"].contains(&kind) { "UTC" } else { zone };
                let wrong = lines(
                    &s,
                    &format!(
                        "SELECT d.i, p.partition, p.from_time, {begin} FROM dst d JOIN eventkit.partitions p ON p.partition = d.tableoid WHERE p.from_time IS DISTINCT FROM ({begin}) AT TIME ZONE '{shown}'"
                    ),
                );
                assert!(wrong.is_empty(), "{case} {when}: {wrong:?}");
                assert_eq!(
                    lines(&s, "SELECT * FROM eventkit.backfill_differences('src', 'dst')"),
                    [""; 0],
                    "{case} {when}"
                );
            };
            call("backfill");
            same("backfill");
            // Other values, rows that go, rows that move on by more than a period, rows of periods that are new.
            s.query(&format!(
                "UPDATE src SET n = 1 WHERE i % 3 = 0; DELETE FROM src WHERE i = 4; UPDATE src SET k = m.k FROM ({}) m (i, k, n) WHERE src.i = m.i AND src.i IN (5, 6); INSERT INTO src {}",
                rows(0, "100 days"),
                rows(100, "200 days")
            ))
            .unwrap();
            call("catch_up");
            same("catch_up");
            s.query("UPDATE src SET n = 2 WHERE i = 7; DELETE FROM src WHERE i = 101").unwrap();
            call("finish_backfill");
            same("finish_backfill");
            assert_eq!((value(&s, "SELECT count(*) FROM dst"), leftovers(&s)), ("22".into(), String::new()), "{case}");
        }
    }
}

#[test]
fn a_short_lock_timeout_of_the_session_ends_no_wait_of_a_call() {
    let (db, s) = open(&tables(PLAIN));
    let other = db.session("other").unwrap();
    s.query("SET lock_timeout = '1ms'; SET deadlock_timeout = '1s'").unwrap();
    let waits_for = |call: &str, holds: &str| {
        other.query(&format!("BEGIN; {holds}")).unwrap();
        s.run(&format!("CALL eventkit.{call}"));
        wait::until_blocked(db.cluster, &s)
            .unwrap_or_else(|error| panic!("{error}\n{call} behind {holds}\n{:?}", s.join()));
        // Longer than the session would wait.
        std::thread::sleep(std::time::Duration::from_millis(50));
        other.query("COMMIT").unwrap();
        s.join().unwrap_or_else(|failure| panic!("{failure}\n{call} behind {holds}"));
        assert_eq!(value(&s, "SHOW lock_timeout"), "1ms", "{call}");
    };
    waits_for("backfill('ev', 'app.ev')", "UPDATE public.ev SET n = 1 WHERE id = 1");
    s.query("UPDATE public.ev SET n = 2 WHERE id = 2; DELETE FROM public.ev WHERE id = 3; INSERT INTO public.ev VALUES (9001, '2024-02-01')").unwrap();
    waits_for("catch_up('ev', 'app.ev')", "SELECT FROM app.ev WHERE id = 2 FOR UPDATE");
    s.query("UPDATE public.ev SET n = 3 WHERE id = 2; INSERT INTO public.ev VALUES (9002, '2024-02-02')").unwrap();
    waits_for("catch_up('ev', 'app.ev')", "LOCK TABLE ONLY app.ev IN SHARE UPDATE EXCLUSIVE MODE");
    s.query("UPDATE public.ev SET n = 4 WHERE id = 2").unwrap();
    waits_for("finish_backfill('ev', 'app.ev')", "UPDATE public.ev SET n = 5 WHERE id = 4");
    assert_eq!((differences(&s, "public.ev", "app.ev"), leftovers(&s)), ("0".into(), String::new()));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    waits_for("abandon_backfill('ev', 'app.ev')", "SELECT count(*) FROM public.ev");
    assert_eq!(leftovers(&s), "");
}

/// Chats and their messages: what refers to what decides what comes first.
const LINKED: &str = r"
CREATE TABLE chats (id bigint PRIMARY KEY, at timestamptz NOT NULL, title text);
CREATE TABLE messages (id bigint PRIMARY KEY, at timestamptz NOT NULL, chat bigint NOT NULL REFERENCES chats, chat_at timestamptz NOT NULL);
INSERT INTO chats SELECT i, '2024-01-01 00:00Z'::timestamptz + i * interval '1 hour' FROM generate_series(1, 60) i;
INSERT INTO messages SELECT i, '2024-01-01 00:00Z'::timestamptz + i * interval '1 hour', c.id, c.at FROM generate_series(1, 60) i JOIN chats c ON c.id = i;
CREATE SCHEMA app;
CREATE TABLE app.chats (id bigint, at timestamptz NOT NULL, title text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE app.messages (id bigint, at timestamptz NOT NULL, chat bigint NOT NULL, chat_at timestamptz NOT NULL, PRIMARY KEY (id, at),
    FOREIGN KEY (chat, chat_at) REFERENCES app.chats (id, at)) PARTITION BY RANGE (at);
";

#[test]
fn referenced_tables_come_first_and_go_last() {
    let (_db, s) = open(LINKED);
    let refused = fails(&s, "CALL eventkit.backfill('messages', 'app.messages')");
    assert_eq!(refused.sqlstate, "23503");
    assert!(refused.hint.unwrap().contains("referenced table first"));
    s.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap();
    s.query("CALL eventkit.backfill('messages', 'app.messages')").unwrap();
    s.query(
        "DELETE FROM messages WHERE id < 10; DELETE FROM chats WHERE id < 10; INSERT INTO chats VALUES (70, '2024-01-02 01:30Z');
         INSERT INTO messages VALUES (70, '2024-01-02 01:31Z', 70, '2024-01-02 01:30Z'); UPDATE chats SET title = 'new' WHERE id > 40",
    )
    .unwrap();
    // The new message's chat is not there yet.
    let refused = fails(&s, "CALL eventkit.catch_up('messages', 'app.messages')");
    assert_eq!(refused.sqlstate, "23503");
    assert!(refused.hint.unwrap().contains("referenced table first"));
    let _ = s.take_notices();
    s.query("CALL eventkit.catch_up('chats', 'app.chats')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("WARNING: rows that left") && heard.contains("9 wait"), "{heard}");
    s.query("CALL eventkit.catch_up('messages', 'app.messages')").unwrap();
    s.query("CALL eventkit.finish_backfill('messages', 'app.messages')").unwrap();
    s.query("CALL eventkit.finish_backfill('chats', 'app.chats')").unwrap();
    for table in ["chats", "messages"] {
        assert_eq!(
            value(
                &s,
                &format!(
                    "SELECT count(*) FROM ((TABLE {table} EXCEPT TABLE app.{table}) UNION ALL (TABLE app.{table} EXCEPT TABLE {table})) d"
                )
            ),
            "0",
            "{table}"
        );
    }
    assert_eq!(leftovers(&s), "");
}

#[test]
fn rows_that_pass_a_unique_value_on_fit_only_together() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("UPDATE public.ev SET at = '2024-01-01 12:00Z'; CREATE UNIQUE INDEX ON public.ev (name, at); CREATE UNIQUE INDEX ON app.ev (name, at)").unwrap();
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    // Each name goes one further; the last one is freed first.
    s.query("DELETE FROM public.ev WHERE id > 100; DO $$ BEGIN FOR i IN REVERSE 100..1 LOOP UPDATE public.ev SET name = 'name ' || (i + 1) WHERE id = i; END LOOP; END $$").unwrap();
    s.query("INSERT INTO public.ev VALUES (9999, '2024-01-01 12:00Z', 0, 'name 1')").unwrap();
    s.query("CREATE TABLE order_of_changes AS SELECT c.ctid AS place, c.* FROM app.ev_changes c; DELETE FROM app.ev_changes; INSERT INTO app.ev_changes SELECT id, at FROM order_of_changes ORDER BY id DESC").unwrap();
    s.query("CALL eventkit.catch_up('ev', 'app.ev', batch_rows => 7)").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn one_session_at_a_time() {
    let (db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    let other = db.session("other").unwrap();
    other.query("SELECT pg_advisory_lock(eventkit.advisory_lock_key(eventkit.backfill_lock('ev', 'app.ev')))").unwrap();
    for call in ["backfill", "catch_up", "finish_backfill", "abandon_backfill"] {
        let refused = fails(&s, &format!("CALL eventkit.{call}('ev', 'app.ev')"));
        assert_eq!(refused.sqlstate, "55006", "{call}: {refused}");
    }
    other.query("SELECT pg_advisory_unlock_all()").unwrap();
    s.query("BEGIN").unwrap();
    assert_eq!(s.query("CALL eventkit.catch_up('ev', 'app.ev')").unwrap_err().sqlstate, "25001");
    s.query("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ").unwrap();
    let refused = s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap_err();
    assert_eq!(refused.sqlstate, "55000", "{refused}");
    s.query("ROLLBACK").unwrap();
    // A finish that is taken back leaves the capture as it was.
    s.query("BEGIN; CALL eventkit.finish_backfill('ev', 'app.ev'); ROLLBACK; UPDATE public.ev SET n = 8 WHERE id = 8")
        .unwrap();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn nobody_comes_between_the_commits_of_a_real_backfill() {
    let (db, s) = open(&tables(PLAIN));
    // It stops in its third transaction, and by then it has committed.
    s.query("CREATE FUNCTION stop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF (SELECT count(*) FROM pg_inherits WHERE inhparent = 'app.ev'::regclass) = 2 THEN PERFORM pg_advisory_lock(1); END IF; END $$; \
             CREATE EVENT TRIGGER stop ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION stop(); SELECT pg_advisory_lock(1)").unwrap();
    let first = db.session("first").unwrap();
    first.run("CALL eventkit.backfill('ev', 'app.ev')");
    wait::until_blocked(db.cluster, &first).unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.backfill_periods"), "2");
    let second = db.session("second").unwrap();
    for call in ["backfill", "catch_up", "finish_backfill", "abandon_backfill"] {
        let refused = fails(&second, &format!("CALL eventkit.{call}('ev', 'app.ev')"));
        assert_eq!(refused.sqlstate, "55006", "{call}: {refused}");
        assert!(refused.hint.as_ref().is_some_and(|hint| hint.contains("pg_stat_activity")), "{call}: {refused}");
    }
    s.query("SELECT pg_advisory_unlock(1)").unwrap();
    first.join().unwrap();
    second.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn an_unfinished_backfill_is_not_called_done() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("INSERT INTO public.ev SELECT 4000 + i, '2023-01-01 00:00Z'::timestamptz + i * interval '1 day' FROM generate_series(1, 3) i").unwrap();
    s.query("CREATE TABLE app.ev_20240102 (x int)").unwrap();
    assert_eq!(fails(&s, "CALL eventkit.backfill('ev', 'app.ev')").sqlstate, "42P07");
    assert_eq!(
        value(&s, "SELECT concat_ws(' ', periods_done, periods_left, time_left > '0') FROM eventkit.backfill_progress"),
        "2 5 t"
    );
    let refused = fails(&s, "CALL eventkit.finish_backfill('ev', 'app.ev')");
    assert_eq!(refused.sqlstate, "55000");
    assert!(refused.detail.unwrap().contains("2024-01-02") && refused.hint.unwrap().contains("eventkit.backfill"));
    s.query("DROP TABLE app.ev_20240102").unwrap();
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn a_long_reader_delays_the_removal_alone() {
    let (db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    s.query("UPDATE public.ev SET n = 1").unwrap();
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM public.ev").unwrap();
    let refused = fails(&s, "CALL eventkit.finish_backfill('ev', 'app.ev', lock_timeout => '5 milliseconds')");
    assert_eq!(refused.sqlstate, "55P03");
    // All is applied and nothing captured any more; writers go on.
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
    s.query("UPDATE public.ev SET n = 2 WHERE id = 1").unwrap();
    assert_eq!(value(&s, "SELECT changes_waiting FROM eventkit.backfill_progress"), "0");
    reader.query("COMMIT").unwrap();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(leftovers(&s), "");
    // Begun anew: what changed when nothing was captured is not there, which is said.
    let _ = s.take_notices();
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    assert!(s.take_notices().iter().any(|n| n.starts_with("WARNING: 4 periods of public.ev were copied before")));
    s.query("UPDATE public.ev SET n = n WHERE id = 1").unwrap();
    // A writer in the way of the last changes.
    reader.query("BEGIN; UPDATE public.ev SET n = 3 WHERE id = 1").unwrap();
    assert_eq!(
        fails(&s, "CALL eventkit.finish_backfill('ev', 'app.ev', lock_timeout => '5 milliseconds')").sqlstate,
        "55P03"
    );
    s.run("CALL eventkit.finish_backfill('ev', 'app.ev')");
    wait::until_blocked(db.cluster, &s).unwrap();
    reader.query("COMMIT").unwrap();
    s.join().unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn tables_that_are_dropped_in_the_middle() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    s.query("DROP TABLE app.ev").unwrap();
    s.query("UPDATE public.ev SET n = 1 WHERE id = 1").unwrap();
    s.query("SELECT * FROM eventkit.backfill_progress").unwrap();
    s.query("CALL eventkit.abandon_backfill('ev')").unwrap();
    assert_eq!(leftovers(&s), "");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.backfills"), "0");

    s.query("CREATE TABLE app.ev (name text, id bigint, n bigint, at timestamptz) PARTITION BY RANGE (at)").unwrap();
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    s.query("DROP TABLE public.ev").unwrap();
    s.query("SELECT * FROM eventkit.backfill_progress").unwrap();
    s.query("CREATE TABLE public.other (id bigint PRIMARY KEY, at timestamptz)").unwrap();
    s.query("CALL eventkit.backfill('other', 'app.ev')").unwrap();
    assert_eq!(
        value(&s, "SELECT string_agg(concat_ws(' ', source, changes), ',') FROM eventkit.backfills"),
        "other app.other_changes"
    );
    assert_eq!(value(&s, "SELECT count(*) FROM pg_proc WHERE proname = 'ev_changes'"), "0");
    // Without the extension the capture is plain SQL of the user's: writers go on.
    s.query("DROP EXTENSION pg_eventkit").unwrap();
    s.query("INSERT INTO public.other VALUES (1, '2024-01-01')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM app.other_changes"), "1");
}

#[test]
fn a_source_that_is_dropped_when_all_is_over_stops_no_other_backfill() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    s.query("DROP TABLE public.ev; CREATE TABLE public.other (id bigint PRIMARY KEY, at timestamptz)").unwrap();
    s.query("CREATE TABLE app.other (id bigint, at timestamptz) PARTITION BY RANGE (at)").unwrap();
    s.query("CALL eventkit.backfill('other', 'app.other')").unwrap();
    assert_eq!(value(&s, "SELECT string_agg(source::text, ',') FROM eventkit.backfills"), "other");
}

#[test]
fn a_dump_in_the_middle_goes_on_elsewhere() {
    let (db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev', from_time => '2024-01-03')").unwrap();
    s.query("UPDATE public.ev SET at = at - interval '1 day', n = 4 WHERE id % 100 = 0").unwrap();
    let copy = format!("copy_of_{}", db.name);
    db.cluster.create_database(&copy).unwrap();
    let dump = db.cluster.client_program("pg_dump").args(["-d", &db.name]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = std::env::temp_dir().join(format!("{copy}.sql"));
    std::fs::write(&file, &dump.stdout).unwrap();
    let restored = db.cluster.psql(&copy, ["-q", "-f", file.to_str().unwrap()]).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let other = Session::open(db.cluster, &copy, "restored").unwrap();
    other.query("UPDATE public.ev SET n = 5 WHERE id % 70 = 0").unwrap();
    for s in [&s, &other] {
        s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
        s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
        assert_eq!(differences(s, "public.ev", "app.ev"), "0");
        assert_eq!(leftovers(s), "");
    }
}

/// A server on which each row that goes to the parent takes its time, so that a kill finds the call at work.
fn slow_server() -> Cluster {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap()).fsync(true).start().unwrap();
    cluster.create_database("d").unwrap();
    cluster.create_extension("d").unwrap();
    let slow = "CREATE FUNCTION public.slowly(bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN true; END'; ALTER TABLE app.ev ADD CHECK (public.slowly(id))";
    Session::open(&cluster, "d", "setup").unwrap().query(&format!("{};{slow}", tables(PLAIN))).unwrap();
    cluster
}

#[test]
fn whatever_is_killed_the_next_call_goes_on() {
    let cluster = slow_server();
    // What is called, and what has to be true when the axe falls. `waiting` counts what is left to apply.
    let phases = [
        ("CALL eventkit.backfill('ev', 'app.ev')", "(SELECT count(*) FROM eventkit.backfill_periods) >= 1"),
        ("CALL eventkit.backfill('ev', 'app.ev')", "(SELECT count(*) FROM eventkit.backfill_periods) >= 2"),
        (
            "CALL eventkit.backfill('ev', 'app.ev'); CALL eventkit.catch_up('ev', 'app.ev', 40)",
            "(SELECT count(*) FROM eventkit.backfill_periods) >= 4 AND EXISTS (SELECT FROM pg_locks WHERE relation = 'app.ev_changes'::regclass AND mode = 'RowExclusiveLock')",
        ),
        (
            "CALL eventkit.finish_backfill('ev', 'app.ev')",
            "EXISTS (SELECT FROM pg_locks WHERE relation = 'app.ev'::regclass AND mode = 'RowExclusiveLock')",
        ),
        (
            "CALL eventkit.finish_backfill('ev', 'app.ev')",
            "EXISTS (SELECT FROM pg_locks WHERE relation = 'public.ev'::regclass AND mode = 'ShareRowExclusiveLock')",
        ),
    ];
    for (round, (call, reached)) in phases.into_iter().enumerate() {
        let s = Session::open(&cluster, "d", "writer").unwrap();
        for turn in 0..60 {
            write(&s, round * 60 + turn).unwrap();
        }
        drop(s);
        let victim = Session::open(&cluster, "d", "victim").unwrap();
        for part in call.split("; ") {
            victim.run(part);
        }
        if round == 4 {
            // The lock is held while the last changes are applied: one writer more makes some.
            let late = Session::open(&cluster, "d", "late").unwrap();
            late.query("BEGIN; UPDATE public.ev SET n = n + 1 WHERE id % 3 = 0").unwrap();
            wait::until_blocked(&cluster, &victim).unwrap();
            late.query("COMMIT").unwrap();
        }
        // A quick call may be over before it is seen at work: then the axe falls on what it has left.
        let last = call.rsplit("; ").next().unwrap_or(call).replace('\'', "''");
        let over = format!(
            "SELECT FROM pg_stat_activity WHERE pid = {} AND state = 'idle' AND query = '{last}'",
            victim.pid()
        );
        wait::until(&cluster, "d", &format!("({reached}) OR EXISTS ({over})")).unwrap();
        if round % 2 == 0 {
            cluster.kill_server().unwrap();
            let _ = victim.join();
            cluster.start_server().unwrap();
        } else {
            kill_and_wait(&cluster, victim.pid());
            let _ = victim.join();
        }
        let s = Session::open(&cluster, "d", "look").unwrap();
        // Whole periods or nothing, each written down; none attached that is not.
        assert_eq!(
            value(
                &s,
                "SELECT (SELECT count(*) FROM eventkit.partitions) - (SELECT count(*) FROM eventkit.backfill_periods)"
            ),
            "0",
            "{call}"
        );
        assert_eq!(
            value(&s, "SELECT count(*) FROM pg_trigger WHERE tgname ~ '_changes_' AND tgenabled = 'A'"),
            "4",
            "{call}"
        );
    }
    let s = Session::open(&cluster, "d", "last").unwrap();
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
    assert_eq!(leftovers(&s), "");
}

#[test]
fn a_cancelled_call_gives_its_lock_back() {
    let cluster = slow_server();
    let s = Session::open(&cluster, "d", "main").unwrap();
    s.run("CALL eventkit.backfill('ev', 'app.ev')");
    wait::until(&cluster, "d", "EXISTS (SELECT FROM eventkit.backfill_periods)").unwrap();
    s.cancel().unwrap();
    assert_eq!(s.join().unwrap_err().sqlstate, "57014");
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    s.query("UPDATE public.ev SET n = 1").unwrap();
    for call in ["catch_up", "finish_backfill"] {
        s.run(&format!("CALL eventkit.{call}('ev', 'app.ev')"));
        wait::until(
            &cluster,
            "d",
            "EXISTS (SELECT FROM pg_locks WHERE relation = 'app.ev'::regclass AND mode = 'RowExclusiveLock')",
        )
        .unwrap();
        s.cancel().unwrap();
        assert_eq!(s.join().unwrap_err().sqlstate, "57014");
        assert_eq!(value(&s, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0", "{call}");
    }
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn a_writers_path_changes_nothing_of_the_capture() {
    let (_db, s) = open(
        "CREATE SCHEMA evil; CREATE FUNCTION evil.equals(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'looked up'; END $$; \
         CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equals); \
         CREATE DOMAIN odd AS bigint; \
         CREATE TABLE plain (id bigint PRIMARY KEY, at timestamptz NOT NULL); CREATE TABLE by_domain (id odd PRIMARY KEY, at timestamptz NOT NULL); \
         INSERT INTO plain VALUES (1, '2024-01-01 12:00Z'); INSERT INTO by_domain VALUES (1, '2024-01-01 12:00Z'); \
         CREATE TABLE to_plain (id bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at); CREATE TABLE to_by_domain (id odd, at timestamptz NOT NULL) PARTITION BY RANGE (at)",
    );
    for table in ["plain", "by_domain"] {
        s.query(&format!("CALL eventkit.backfill('{table}', 'to_{table}')")).unwrap();
        // To set a path for each row costs: only a domain, whose CHECK may call anything, has it.
        assert_eq!(
            value(
                &s,
                &format!("SELECT proconfig IS NULL FROM pg_proc WHERE oid = 'public.{table}_changes()'::regprocedure")
            ),
            if table == "plain" { "t" } else { "f" }
        );
    }
    s.query("SET search_path = evil, pg_catalog").unwrap();
    s.query("INSERT INTO public.plain VALUES (2, '2024-01-01 13:00Z'); UPDATE public.plain SET id = 3 WHERE id OPERATOR(pg_catalog.=) 2; DELETE FROM public.plain WHERE id OPERATOR(pg_catalog.=) 1").unwrap();
    assert_eq!(fails(&s, "TRUNCATE public.plain").sqlstate, "55006");
    s.query("RESET search_path").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM plain_changes"), "4");
    s.query("CALL eventkit.finish_backfill('plain', 'to_plain')").unwrap();
    assert_eq!(lines(&s, "SELECT id FROM to_plain"), ["3"]);
}

#[test]
fn what_cannot_be_applied_in_one_period_keeps_no_other_waiting() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("ALTER TABLE public.ev ALTER n DROP NOT NULL").unwrap();
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    // In periods that are copied and in such as are not: two without a fault, one with a NULL, one with a value that is refused.
    s.query(
        "ALTER TABLE app.ev ADD CONSTRAINT small CHECK (n < 1000);
         UPDATE public.ev SET n = NULL WHERE id = 1; UPDATE public.ev SET n = 5 WHERE id IN (2, 3);
         UPDATE public.ev SET n = 7 WHERE id = 1000; DELETE FROM public.ev WHERE id = 1001; UPDATE public.ev SET at = at + interval '1 day' WHERE id = 4;
         INSERT INTO public.ev VALUES (9001, '2024-02-01', 1), (9002, '2024-02-02', 2000), (9003, '2024-02-03', 3)",
    )
    .unwrap();
    let bad = "at < '2024-01-02' OR at >= '2024-02-02' AND at < '2024-02-03'";
    for batch in [2, 10_000] {
        let _ = s.take_notices();
        let refused = fails(&s, &format!("CALL eventkit.catch_up('ev', 'app.ev', batch_rows => {batch})"));
        let told = s.take_notices().join("\n");
        assert!(refused.message.starts_with("period 2024-0") && refused.message.ends_with("(and 1 more)"), "{refused}");
        assert!(refused.hint.is_some() && ["23502", "23514"].contains(&&*refused.sqlstate), "{refused}");
        for warned in ["WARNING: period 2024-01-01: null value", "WARNING: period 2024-02-02: new row"] {
            assert!(told.contains(warned), "{warned}\n{told}");
        }
        assert_eq!(
            differences(
                &s,
                &format!("(SELECT * FROM public.ev WHERE NOT ({bad})) s"),
                &format!("(SELECT * FROM app.ev WHERE NOT ({bad})) p")
            ),
            "0"
        );
        // Nothing of the day with the fault has come, and all of it waits, each as often as it was noted.
        assert_eq!(
            value(&s, "SELECT string_agg(n::text, ' ' ORDER BY id) FROM app.ev WHERE id < 5 AND at < '2024-01-02'"),
            "0 0 0 0"
        );
        assert_eq!(value(&s, "SELECT string_agg(DISTINCT id::text, ' ') FROM app.ev_changes"), "1 2 3 4 9002");
    }
    s.query("UPDATE public.ev SET n = 8 WHERE id = 1; UPDATE public.ev SET n = 8 WHERE id = 9002").unwrap();
    s.query("CALL eventkit.catch_up('ev', 'app.ev')").unwrap();
    assert_eq!(
        (differences(&s, "public.ev", "app.ev"), value(&s, "SELECT count(*) FROM app.ev_changes")),
        ("0".into(), "0".into())
    );
    // A row of the parent in the way of one of the source.
    s.query(
        "CREATE UNIQUE INDEX ON app.ev (name, at); INSERT INTO app.ev (id, at, n, name) OVERRIDING SYSTEM VALUE VALUES (9100, '2024-01-02 00:00:00.5', 1, 'twice');
         INSERT INTO public.ev VALUES (9101, '2024-01-02 00:00:00.5', 1, 'twice'), (9102, '2024-01-03 00:00:00.5', 1, 'once')",
    )
    .unwrap();
    let refused = fails(&s, "CALL eventkit.catch_up('ev', 'app.ev')");
    assert!(refused.sqlstate == "23505" && refused.message.starts_with("period 2024-01-02: "), "{refused}");
    assert_eq!(value(&s, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM app.ev WHERE id > 9100"), "9102");
    s.query("DELETE FROM app.ev WHERE id = 9100").unwrap();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!((differences(&s, "public.ev", "app.ev"), leftovers(&s)), ("0".into(), String::new()));
}

#[test]
fn a_backfill_whose_source_is_gone_is_abandoned_with_all_that_is_left() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    let source = value(&s, "SELECT 'public.ev'::regclass::oid");
    s.query("DROP TABLE public.ev").unwrap();
    assert!(leftovers(&s).contains("ev_changes"));
    s.query(&format!("CALL eventkit.abandon_backfill({source}::regclass, 'app.ev')")).unwrap();
    assert_eq!(leftovers(&s), "");
}

/// Runs statements each as a query of its own: a CALL that commits allows no other.
fn one_by_one(s: &Session, statements: &str) {
    for statement in statements.split(';') {
        s.query(statement).unwrap_or_else(|failure| panic!("{failure}\n{statement}"));
    }
}

/// What a notice or an error tells to type, word for word.
fn command(text: &str) -> &str {
    let at = text.find("CALL eventkit.").unwrap_or_else(|| panic!("no command in: {text}"));
    let end = text[at..].find(')').unwrap_or_else(|| panic!("no end in: {text}"));
    &text[at..=at + end]
}

#[test]
fn a_backfill_that_was_given_up_does_not_pass_for_the_next_one() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.abandon_backfill('ev', 'app.ev')").unwrap();
    let told = s.take_notices().join("\n");
    assert!(told.contains("WARNING: 4 periods that were copied from public.ev stay in app.ev"), "{told}");
    s.query("UPDATE public.ev SET n = 7").unwrap();
    for call in ["backfill('ev', 'app.ev', verify => 'content')", "finish_backfill('ev', 'app.ev')"] {
        s.query(&format!("CALL eventkit.{call}")).unwrap();
        let told = s.take_notices().join("\n");
        let warned =
            "WARNING: 4 periods of app.ev were left as they were found: 2024-01-04, 2024-01-03, 2024-01-02, 2024-01-01";
        assert!(told.contains(warned), "{call}: {told}");
    }
    // What is finished may be given up without a word: nothing followed any more.
    s.query("CALL eventkit.abandon_backfill('ev', 'app.ev')").unwrap();
    assert!(!s.take_notices().join("").contains("WARNING"));
}

#[test]
fn what_is_finished_says_so() {
    let (_db, s) = open(&tables(PLAIN));
    one_by_one(&s, "CALL eventkit.backfill('ev', 'app.ev'); CALL eventkit.finish_backfill('ev', 'app.ev')");
    for call in ["finish_backfill", "catch_up"] {
        let again = fails(&s, &format!("CALL eventkit.{call}('ev', 'app.ev')"));
        assert!(again.sqlstate == "55000" && again.message.contains("was finished at 20"), "{again}");
        assert!(!again.hint.unwrap().contains("CALL "), "nothing is to be called");
    }
}

#[test]
fn the_table_of_changes_is_not_dropped_by_mistake_and_its_loss_can_be_mended() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    let refused = fails(&s, "DROP TABLE app.ev_changes");
    assert!(
        refused.sqlstate == "2BP01" && refused.detail.as_deref().unwrap().contains("ev_changes_truncate"),
        "{refused}"
    );
    s.query("DROP TABLE app.ev_changes CASCADE").unwrap();
    assert_eq!(fails(&s, "UPDATE public.ev SET n = 1 WHERE id = 1").sqlstate, "42P01");
    let health =
        lines(&s, "SELECT level, what, hint FROM eventkit.partition_health WHERE parent = 'public.ev'::regclass");
    assert_eq!(
        health,
        [
            "critical|nobody can write to public.ev: its triggers note changes in app.ev_changes, which is gone|CALL eventkit.abandon_backfill('public.ev')"
        ]
    );
    for call in ["backfill", "catch_up", "finish_backfill"] {
        let refused = fails(&s, &format!("CALL eventkit.{call}('ev', 'app.ev')"));
        assert!(refused.sqlstate == "55000" && refused.message.contains("no backfill knows"), "{call}: {refused}");
        assert!(command(refused.hint.as_deref().unwrap()).contains("abandon_backfill"), "{refused}");
    }
    let refused = fails(&s, "CALL eventkit.finish_backfill('ev', 'app.ev')");
    s.query(command(refused.hint.as_deref().unwrap())).unwrap();
    assert_eq!(leftovers(&s), "");
    s.query("UPDATE public.ev SET n = 1 WHERE id = 1; TRUNCATE app.ev").unwrap();
    one_by_one(&s, "CALL eventkit.backfill('ev', 'app.ev'); CALL eventkit.finish_backfill('ev', 'app.ev')");
    assert_eq!((differences(&s, "public.ev", "app.ev"), leftovers(&s)), ("0".into(), String::new()));
}

#[test]
fn a_capture_that_outlives_the_extension_is_found_and_removed() {
    let (_db, s) = open(&tables(PLAIN));
    s.query("CALL eventkit.backfill('ev', 'app.ev')").unwrap();
    s.query("DROP EXTENSION pg_eventkit CASCADE").unwrap();
    // Writers go on meanwhile.
    s.query("UPDATE public.ev SET n = 1 WHERE id = 1").unwrap();
    s.query("CREATE EXTENSION pg_eventkit").unwrap();
    let health =
        lines(&s, "SELECT level, what, hint FROM eventkit.partition_health WHERE parent = 'public.ev'::regclass");
    assert_eq!(
        health,
        [
            "warning|changes of public.ev are captured for a backfill that is not known here|CALL eventkit.abandon_backfill('public.ev')"
        ]
    );
    assert_eq!(fails(&s, "CALL eventkit.backfill('ev', 'app.ev')").sqlstate, "55000");
    // Whoever owns it not removes nothing.
    s.query("CREATE ROLE passer_by; GRANT USAGE ON SCHEMA eventkit TO passer_by; GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO passer_by; SET ROLE passer_by").unwrap();
    assert_eq!(fails(&s, "CALL eventkit.abandon_backfill('ev')").sqlstate, "42501");
    s.query("RESET ROLE; DROP OWNED BY passer_by; DROP ROLE passer_by").unwrap();
    s.query("CALL eventkit.abandon_backfill('public.ev')").unwrap();
    assert_eq!(leftovers(&s), "");
    assert_eq!(lines(&s, "SELECT * FROM eventkit.stray_captures()"), Vec::<String>::new());
    // Of two captures of one source the one that is known stays.
    one_by_one(
        &s,
        "CREATE TABLE app.two (LIKE app.ev INCLUDING ALL) PARTITION BY RANGE (at); CALL eventkit.backfill('ev', 'app.two'); CALL eventkit.backfill('ev', 'app.ev')",
    );
    one_by_one(&s, "DROP TABLE app.ev_changes CASCADE; CALL eventkit.abandon_backfill('ev', 'app.two')");
    assert_eq!(
        leftovers(&s),
        "ev_2_changes_delete,ev_2_changes_insert,ev_2_changes_move,ev_2_changes_truncate ev_2_changes ev_2_changes"
    );
}

#[test]
fn an_error_without_a_detail_and_a_key_that_lacks_its_row_are_told_in_full() {
    let (_db, s) = open(&tables(PLAIN));
    one_by_one(
        &s,
        "CREATE TABLE public.kind (id int PRIMARY KEY); INSERT INTO public.kind VALUES (0), (1);
         ALTER TABLE app.ev ADD FOREIGN KEY (n) REFERENCES public.kind, ALTER name TYPE varchar(12);
         CALL eventkit.backfill('ev', 'app.ev')",
    );
    s.query("UPDATE public.ev SET name = 'longer than it may be' WHERE id = 5").unwrap();
    let refused = fails(&s, "CALL eventkit.catch_up('ev', 'app.ev')");
    assert!(refused.sqlstate == "22001" && refused.message.starts_with("period 2024-01-01: "), "{refused}");
    assert!(refused.detail.is_some() && refused.hint.is_some(), "{refused}");
    // A key without its row in one period keeps no other waiting, beside another fault or not.
    s.query("UPDATE public.ev SET n = 9 WHERE id = 1000; UPDATE public.ev SET n = 1 WHERE id = 1800").unwrap();
    for _ in 0..2 {
        let _ = s.take_notices();
        let refused = fails(&s, "CALL eventkit.catch_up('ev', 'app.ev')");
        let told = s.take_notices().join("\n");
        assert!(told.contains("WARNING: period 2024-01-02: insert or update on table"), "{told}");
        assert!(
            refused.message.starts_with("period 2024-01-0") && refused.hint.is_some() && refused.detail.is_some(),
            "{refused}"
        );
        assert_eq!(value(&s, "SELECT n FROM app.ev WHERE id = 1800"), "1");
        s.query("UPDATE public.ev SET name = 'short' WHERE id = 5").unwrap();
    }
    s.query("INSERT INTO public.kind VALUES (9)").unwrap();
    s.query("CALL eventkit.finish_backfill('ev', 'app.ev')").unwrap();
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn a_period_that_a_partition_cuts_is_passed_over_and_named() {
    let (_db, s) = open(&tables(PLAIN));
    one_by_one(
        &s,
        "CALL eventkit.manage_partitions('app.ev', premake => 0); CALL eventkit.backfill('ev', 'app.ev', from_time => '2024-01-03 00:00Z')",
    );
    s.query("CALL eventkit.manage_partitions('app.ev', period => '1 month', premake => 0)").unwrap();
    let refused = fails(&s, "CALL eventkit.backfill('ev', 'app.ev')");
    assert!(refused.sqlstate == "42P17" && refused.message.starts_with("period 2024-01-01: "), "{refused}");
    assert!(refused.message.contains("app\".\"ev_2024010"), "{refused}");
    let refused = fails(&s, "CALL eventkit.finish_backfill('ev', 'app.ev')");
    assert!(["42P17", "55000"].contains(&&*refused.sqlstate), "{refused}");
    one_by_one(
        &s,
        "CALL eventkit.manage_partitions('app.ev', premake => 0); CALL eventkit.backfill('ev', 'app.ev'); CALL eventkit.finish_backfill('ev', 'app.ev')",
    );
    assert_eq!(differences(&s, "public.ev", "app.ev"), "0");
}

#[test]
fn progress_is_told_of_what_can_be_told() {
    let (_db, s) = open(&tables(PLAIN));
    s.query(
        "CREATE TABLE public.ms (id int PRIMARY KEY, at bigint); INSERT INTO public.ms VALUES (1, 1704067200000);
         CREATE TABLE app.ms (id int, at bigint) PARTITION BY RANGE (at)",
    )
    .unwrap();
    let refused = fails(&s, "CALL eventkit.backfill('ms', 'app.ms')");
    assert!(refused.sqlstate == "22023" && refused.hint.as_deref().unwrap().contains("\"app\".\"ms\""), "{refused}");
    assert_eq!(leftovers(&s), "");
    one_by_one(
        &s,
        "CALL eventkit.manage_partitions('app.ms', key_unit => 'ms', premake => 0); CALL eventkit.backfill('ms', 'app.ms'); CALL eventkit.backfill('ev', 'app.ev')",
    );
    s.query("CALL eventkit.unmanage_partitions('app.ms')").unwrap();
    assert_eq!(
        lines(&s, "SELECT source, periods_left FROM eventkit.backfill_progress ORDER BY source::text"),
        ["ev|0", "ms|NULL"]
    );
}

#[test]
fn a_schema_that_is_renamed_under_a_capture_is_told_and_mended() {
    let (_db, s) = open(&tables(PLAIN));
    one_by_one(&s, "CALL eventkit.backfill('ev', 'app.ev'); ALTER SCHEMA app RENAME TO app2");
    assert_eq!(fails(&s, "UPDATE public.ev SET n = 1 WHERE id = 1").sqlstate, "42P01");
    let health =
        lines(&s, "SELECT level, what, hint FROM eventkit.partition_health WHERE parent = 'public.ev'::regclass");
    let told = "critical|nobody can write to public.ev: its triggers note changes in a table that is called app2.ev_changes now";
    assert_eq!(health, [format!("{told}|CALL eventkit.abandon_backfill('public.ev', 'app2.ev')")]);
    assert!(fails(&s, "CALL eventkit.catch_up('ev', 'app2.ev')").message.ends_with("is not whole"));
    one_by_one(
        &s,
        "CALL eventkit.abandon_backfill('ev', 'app2.ev'); UPDATE public.ev SET n = 1 WHERE id = 1; TRUNCATE app2.ev; CALL eventkit.backfill('ev', 'app2.ev'); CALL eventkit.finish_backfill('ev', 'app2.ev')",
    );
    assert_eq!((differences(&s, "public.ev", "app2.ev"), leftovers(&s)), ("0".into(), String::new()));
}

#[test]
fn what_only_looks_like_a_capture_is_nobodys_to_remove() {
    let (_db, s) = open(&tables(PLAIN));
    s.query(
        "CREATE ROLE look_alike; GRANT TRIGGER ON public.ev TO look_alike; GRANT USAGE, CREATE ON SCHEMA app TO look_alike;
         CREATE TABLE app.precious_changes (x int); SET ROLE look_alike;
         CREATE FUNCTION app.precious_changes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN /* eventkit.abandon_backfill( */ RETURN NULL; END';
         CREATE TRIGGER precious_changes_insert AFTER INSERT ON public.ev FOR EACH ROW EXECUTE FUNCTION app.precious_changes(); RESET ROLE",
    )
    .unwrap();
    assert_eq!(lines(&s, "SELECT * FROM eventkit.stray_captures()"), Vec::<String>::new());
    s.query("CALL eventkit.abandon_backfill('public.ev')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM app.precious_changes"), "0");
    one_by_one(&s, "DROP TRIGGER precious_changes_insert ON public.ev; DROP OWNED BY look_alike; DROP ROLE look_alike");
}
