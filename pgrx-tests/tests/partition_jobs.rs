//! A backfill with several jobs: periods shared between a session and its workers, whoever of them is stopped, as whom they run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::kill::{kill_and_wait, own_cluster};
use common::{advisory_locks, fails, lines, number, open, value};
use eventkit_tests::{Session, wait};
use std::collections::BTreeSet;

/// Forty days of rows that refer to others, and parents for both.
const DAYS: &str = "
CREATE TABLE chats (id int PRIMARY KEY);
INSERT INTO chats SELECT generate_series(1, 100);
CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL, chat int NOT NULL);
INSERT INTO src SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '5 minutes', n % 100 + 1 FROM generate_series(0, 40 * 288 - 1) n;
CREATE INDEX ON src (at);
CREATE TABLE e (id int, at timestamptz NOT NULL, chat int NOT NULL REFERENCES chats, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE INDEX e_chat ON e (chat);
";

/// Ten rows a second, so that one can look at who copies.
const SLOW: &str = "
CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_sleep(0.1); RETURN true; END $$;
CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL);
INSERT INTO src SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '12 hours' FROM generate_series(0, 23) n;
CREATE INDEX ON src (at);
CREATE TABLE e (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at), CHECK (slow())) PARTITION BY RANGE (at);
";

const SAME_ROWS: &str =
    "SELECT count(*) FROM ((TABLE src EXCEPT ALL TABLE e) UNION ALL (TABLE e EXCEPT ALL TABLE src)) AS other";

/// Workers of backfills, as everybody sees them.
const WORKERS: &str =
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_eventkit' AND datname = current_database()";

/// The periods that a call has told of, and whether a worker copied them.
fn told(session: &Session) -> Vec<(String, bool)> {
    let heard = session.take_notices();
    let periods = heard.iter().filter_map(|notice| notice.strip_prefix("NOTICE: period "));
    periods.map(|told| (told.chars().take(10).collect(), told.contains("by a worker"))).collect()
}

fn is_whole_and_quiet(s: &Session) {
    assert_eq!(number(s, SAME_ROWS), 0);
    assert_eq!(advisory_locks(s), 0);
    assert_eq!(lines(s, WORKERS), Vec::<String>::new());
}

#[test]
fn days_are_shared_and_each_is_copied_and_told_once() {
    let (db, s) = open(DAYS);
    let writer = db.session("writer").unwrap();
    writer.run(
        "DO $$ BEGIN FOR n IN 1..200 LOOP
           INSERT INTO src VALUES (100000 + n, '2024-01-01 00:00Z'::timestamptz + n * interval '4 hours', n % 100 + 1);
           UPDATE src SET chat = 7 WHERE id = n * 50; DELETE FROM src WHERE id = n * 50 + 1; COMMIT; PERFORM pg_sleep(0.003);
         END LOOP; END $$",
    );
    s.query("CALL eventkit.backfill('src', 'e', jobs => 3)").unwrap();
    let told = told(&s);
    let days: BTreeSet<_> = told.iter().map(|(day, _)| day.clone()).collect();
    assert_eq!((told.len(), days.len()), (40, 40), "{told:?}");
    assert!(told.iter().any(|(_, worker)| *worker) && told.iter().any(|(_, worker)| !worker), "{told:?}");
    writer.join().unwrap();
    s.query("CALL eventkit.finish_backfill('src', 'e')").unwrap();
    is_whole_and_quiet(&s);
    assert_eq!(number(&s, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'e'::regclass"), 40);
    // Nothing is left to do, for nobody.
    s.query("CALL eventkit.backfill('src', 'e', jobs => 3)").unwrap();
    is_whole_and_quiet(&s);
}

#[test]
fn days_that_are_done_are_passed_by_once_whatever_the_jobs() {
    let (_db, s) = open(DAYS);
    s.query("CALL eventkit.backfill('src', 'e', jobs => 3)").unwrap();
    let done = "SELECT string_agg(concat_ws(' ', period, row_count, seconds, copied_at), ',' ORDER BY period) FROM eventkit.backfill_periods";
    let before = value(&s, done);
    let _ = s.take_notices();
    s.query("CALL eventkit.backfill('src', 'e', jobs => 3)").unwrap();
    let told: Vec<_> = s.take_notices().into_iter().filter(|notice| notice.contains("is left as it is")).collect();
    let days: BTreeSet<_> =
        told.iter().filter_map(|notice| notice.split_whitespace().find(|word| word.starts_with("2024"))).collect();
    assert_eq!((told.len(), days.len()), (40, 40), "{told:?}");
    assert_eq!(value(&s, done), before, "what was copied stays noted so");
    // Each job that comes past a period notes it.
    s.query("SELECT pg_stat_force_next_flush()").unwrap();
    assert_eq!(value(&s, "SELECT pg_stat_get_tuples_updated('eventkit.backfill_periods'::regclass)"), "40");
    is_whole_and_quiet(&s);
}

#[test]
fn oldest_first_and_a_range_hold_for_all_jobs() {
    let (_db, s) = open(DAYS);
    s.query("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'").unwrap();
    s.query(
        "CALL eventkit.backfill('src', 'e', '2024-01-05 00:00Z', '2024-01-15 00:00Z', newest_first => false, verify => 'content', capture => false, jobs => 2)",
    )
    .unwrap();
    let told = told(&s);
    assert!(told.first().unwrap().0.as_str() <= "2024-01-06", "{told:?}");
    let days: BTreeSet<_> = told.into_iter().map(|(day, _)| day).collect();
    assert_eq!(days, (5..15).map(|day| format!("2024-01-{day:02}")).collect());
    assert_eq!(number(&s, "SELECT count(*) FROM e"), 2880);
}

#[test]
fn a_day_at_fault_is_told_once_and_the_others_are_whole() {
    for jobs in [1, 2, 4] {
        let (_db, s) = open(&DAYS.replace("id int PRIMARY KEY, at", "id int, at"));
        s.query("INSERT INTO src SELECT * FROM src WHERE id IN (288 * 3, 288 * 30)").unwrap();
        let failure = fails(&s, &format!("CALL eventkit.backfill('src', 'e', jobs => {jobs}, capture => false)"));
        assert_eq!(failure.sqlstate, "23505");
        let text = format!("{} {}", failure.message, failure.detail.unwrap_or_default());
        assert_eq!(text.matches("period 2024-01-31: ").count(), 1, "{text}");
        assert_eq!(text.matches("period 2024-01-04: ").count(), 1, "{text}");
        assert_eq!(number(&s, "SELECT count(DISTINCT at::date) FROM e"), 38);
        assert_eq!((advisory_locks(&s), lines(&s, WORKERS).len()), (0, 0));
        s.query("DELETE FROM src a USING src b WHERE a.id = b.id AND a.ctid > b.ctid").unwrap();
        s.query(&format!("CALL eventkit.backfill('src', 'e', jobs => {jobs}, capture => false)")).unwrap();
        is_whole_and_quiet(&s);
    }
}

#[test]
fn a_fault_that_stops_a_worker_is_told_by_the_session() {
    let (_db, s) = open(&DAYS.replace("generate_series(1, 100)", "generate_series(1, 99)"));
    let failure = fails(&s, "CALL eventkit.backfill('src', 'e', jobs => 3)");
    assert_eq!(failure.sqlstate, "23503");
    assert!(failure.hint.unwrap().contains("referenced table first"));
    wait_for_no_worker(&s);
    assert_eq!(advisory_locks(&s), 0);
    s.query("INSERT INTO chats VALUES (100)").unwrap();
    s.query("CALL eventkit.backfill('src', 'e', jobs => 3)").unwrap();
    is_whole_and_quiet(&s);
}

fn wait_for_no_worker(s: &Session) {
    for _ in 0..500 {
        if lines(s, WORKERS).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("workers go on");
}

#[test]
fn a_worker_has_the_settings_and_the_rights_of_the_session_and_no_more() {
    let (db, s) = open(SLOW);
    let owner = format!("owner_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {owner}; ALTER TABLE src OWNER TO {owner}; ALTER TABLE e OWNER TO {owner}; GRANT CREATE ON SCHEMA public TO {owner};
         GRANT EXECUTE ON PROCEDURE eventkit.backfill TO {owner};
         CREATE TABLE seen (leader boolean, role text, session text, memory text, zone text, path text); GRANT INSERT ON seen TO {owner};
         CREATE OR REPLACE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO public.seen SELECT pg_backend_pid() = {}, current_user, session_user, current_setting('work_mem'), current_setting('TimeZone'), current_setting('search_path');
           PERFORM pg_sleep(0.02); RETURN true;
         END $$;
         SET ROLE {owner}; SET work_mem = '7MB'; SET TimeZone = 'Asia/Kathmandu'; SET search_path = public, \"odd; name\"",
        s.pid()
    ))
    .unwrap();
    s.query("CALL eventkit.backfill('src', 'e', jobs => 2)").unwrap();
    s.query("RESET ROLE").unwrap();
    let session = value(&s, "SELECT session_user");
    let seen =
        lines(&s, "SELECT DISTINCT leader, role = session, session, memory, zone, path FROM seen ORDER BY leader");
    let facts = format!("{session}|7MB|Asia/Kathmandu|public, \"odd; name\"");
    assert_eq!(seen, [format!("f|f|{facts}"), format!("t|f|{facts}")]);
    assert_eq!(
        number(
            &s,
            &format!(
                "SELECT count(*) FROM pg_class WHERE relname ~ '^e_2024.{{4}}$' AND relowner = '{owner}'::regrole"
            )
        ),
        12
    );
    is_whole_and_quiet(&s);
    s.query(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")).unwrap();
}

#[test]
fn a_worker_that_is_ended_is_made_up_for() {
    let (db, s) = open(SLOW);
    let other = db.session("other").unwrap();
    s.run("CALL eventkit.backfill('src', 'e', jobs => 3)");
    wait::until(db.cluster, &db.name, "EXISTS (SELECT FROM eventkit.backfill_periods)").unwrap();
    assert_eq!(lines(&other, &WORKERS.replace("SELECT pid", "SELECT pg_terminate_backend(pid)")), ["t", "t"]);
    s.join().unwrap();
    let heard = s.take_notices();
    assert!(
        heard.iter().any(|n| n.contains("2 workers of the backfill from public.src into public.e have failed")),
        "{heard:?}"
    );
    is_whole_and_quiet(&s);
}

#[test]
fn whoever_ends_the_session_ends_its_workers() {
    let (db, other) = open(SLOW);
    for (name, end) in [("cancelled", "pg_cancel_backend"), ("ended", "pg_terminate_backend")] {
        let s = db.session(name).unwrap();
        let copied = number(&other, "SELECT count(*) FROM eventkit.backfill_periods");
        s.run("CALL eventkit.backfill('src', 'e', jobs => 3)");
        let more = format!("(SELECT count(*) > {copied} FROM eventkit.backfill_periods)");
        wait::until(db.cluster, &db.name, &more).unwrap();
        assert_eq!(lines(&other, WORKERS).len(), 2);
        other.query(&format!("SELECT {end}({})", s.pid())).unwrap();
        s.join().unwrap_err();
        // Called again at once, even before they have ended.
        let again = db.session("again").unwrap();
        again.query("CALL eventkit.backfill('src', 'e', to_time => '2024-01-02 00:00Z')").unwrap();
        assert_eq!(lines(&other, WORKERS), Vec::<String>::new());
        assert_eq!(advisory_locks(&other), 0);
        assert_eq!(number(&other, "SELECT count(*) FROM (SELECT FROM e GROUP BY at::date HAVING count(*) <> 2) x"), 0);
    }
    other.query("CALL eventkit.backfill('src', 'e', jobs => 4)").unwrap();
    is_whole_and_quiet(&other);
}

#[test]
fn a_killed_worker_takes_the_server_with_it_and_nothing_else() {
    let cluster = own_cluster();
    let s = Session::open(&cluster, "d", "main").unwrap();
    s.query(SLOW).unwrap();
    s.run("CALL eventkit.backfill('src', 'e', jobs => 3)");
    wait::until(&cluster, "d", "EXISTS (SELECT FROM eventkit.backfill_periods)").unwrap();
    let other = Session::open(&cluster, "d", "other").unwrap();
    let pid = lines(&other, WORKERS).first().unwrap().parse().unwrap();
    kill_and_wait(&cluster, pid);
    s.join().unwrap_err();
    let s = Session::open(&cluster, "d", "again").unwrap();
    assert_eq!(number(&s, "SELECT count(*) FROM (SELECT FROM e GROUP BY at::date HAVING count(*) <> 2) x"), 0);
    s.query("CALL eventkit.backfill('src', 'e', jobs => 2)").unwrap();
    is_whole_and_quiet(&s);
    // Where the server has no place for a worker the session copies alone.
    s.query("DROP TABLE e").unwrap();
    s.query("ALTER SYSTEM SET max_worker_processes = 1").unwrap();
    drop((s, other));
    cluster.restart().unwrap();
    let s = Session::open(&cluster, "d", "alone").unwrap();
    s.query("CREATE TABLE e (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)").unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.backfill('src', 'e', jobs => 4)").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("of 4 jobs copy: there was a place for"), "{heard}");
    is_whole_and_quiet(&s);
}

#[test]
fn nobody_has_the_pair_while_a_worker_lives() {
    let (db, s) = open(DAYS);
    s.query("CALL eventkit.backfill('src', 'e', to_time => '2024-01-03 00:00Z')").unwrap();
    let worker = db.session("worker").unwrap();
    worker.query("SELECT pg_advisory_lock_shared(eventkit.backfill_jobs_lock('src', 'e'))").unwrap();
    for call in ["backfill", "catch_up", "finish_backfill"] {
        let failure = fails(&s, &format!("CALL eventkit.{call}('src', 'e')"));
        assert_eq!(failure.sqlstate, "55006", "{failure}");
    }
    // One who was told of a leader that is none does nothing.
    let call = format!(
        "CALL eventkit.run_backfill_job('src', 'e', NULL, NULL, true, 'count', '2 seconds', 'public', now(), {})",
        worker.pid()
    );
    s.query(&call).unwrap();
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.backfill_periods"), 2);
    drop(worker);
    s.query("SELECT pg_advisory_unlock_all()").unwrap();
    wait::until(
        db.cluster,
        &db.name,
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name ~ 'worker' AND datname = current_database())",
    )
    .unwrap();
    s.query("CALL eventkit.backfill('src', 'e', jobs => 2)").unwrap();
    is_whole_and_quiet(&s);
}

#[test]
fn jobs_are_from_one_to_sixty_four_and_a_temporary_source_has_one() {
    let (_db, s) = open(DAYS);
    for jobs in ["0", "-1", "65", "NULL"] {
        let failure = fails(&s, &format!("CALL eventkit.backfill('src', 'e', jobs => {jobs})"));
        assert_eq!(
            (failure.sqlstate.as_str(), failure.message),
            ("22023", format!("argument \"jobs\" must be from 1 to 64, not {jobs}"))
        );
    }
    assert_eq!(number(&s, "SELECT count(*) FROM eventkit.backfills"), 0);
    s.query("CREATE TEMP TABLE mine AS TABLE src").unwrap();
    s.query("CALL eventkit.backfill('mine', 'e', capture => false, jobs => 2)").unwrap();
    assert_eq!(number(&s, &SAME_ROWS.replace("src", "mine")), 0);
}

/// A database whose workers take a second and a half for each row, with a session that copies all it can and then waits for one.
fn waiting_for_its_worker() -> (eventkit_tests::shared::Database, Session, Session) {
    let (db, s) = open(SLOW);
    s.query(&format!(
        "CREATE OR REPLACE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
           PERFORM pg_catalog.pg_sleep(CASE WHEN pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) {} THEN 0.1 ELSE 1.5 END); RETURN true; END $$",
        s.pid()
    ))
    .unwrap();
    let other = db.session("other").unwrap();
    s.run("CALL eventkit.backfill('src', 'e', jobs => 2)");
    let waits = format!(
        "EXISTS (SELECT FROM pg_stat_activity WHERE pid = {} AND lower(wait_event) = 'bgworkershutdown')",
        s.pid()
    );
    wait::until(db.cluster, &db.name, &waits).unwrap();
    (db, s, other)
}

#[test]
fn who_waits_for_a_worker_stops_nobody_that_the_worker_needs() {
    let (_db, s, other) = waiting_for_its_worker();
    let held = format!(
        "SELECT count(*) FROM pg_locks WHERE pid = {} AND locktype = 'relation' AND relation = 'src'::regclass",
        s.pid()
    );
    assert_eq!(number(&other, &held), 0);
    // It comes between two transactions of the worker, and the worker behind it.
    other.query("SET lock_timeout = '20s'").unwrap();
    other.query("BEGIN; LOCK TABLE src IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.3); COMMIT").unwrap();
    s.join().unwrap();
    is_whole_and_quiet(&s);
}

#[test]
fn who_is_ended_while_he_waits_ends_his_workers() {
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        let (_db, s, other) = waiting_for_its_worker();
        other.query(&format!("SELECT {end}({})", s.pid())).unwrap();
        s.join().unwrap_err();
        let begun = std::time::Instant::now();
        wait_for_no_worker(&other);
        assert!(begun.elapsed().as_millis() < 1000, "the worker went on for {:?}", begun.elapsed());
        assert_eq!(advisory_locks(&other), 0);
    }
}

#[test]
fn a_claim_that_somebody_else_has_is_told_of() {
    let (db, s) = open(SLOW);
    let other = db.session("other").unwrap();
    other.query("SELECT pg_advisory_lock(eventkit.period_claim_key('src', 'e', '2024-01-03'))").unwrap();
    for jobs in [1, 2] {
        let failure = fails(&s, &format!("CALL eventkit.backfill('src', 'e', jobs => {jobs})"));
        assert_eq!(failure.sqlstate, "55006");
        assert_eq!(failure.message, "period 2024-01-03: another session claims it");
    }
    other.query("SELECT pg_advisory_unlock_all()").unwrap();
    s.query("CALL eventkit.backfill('src', 'e')").unwrap();
    is_whole_and_quiet(&s);
}

#[test]
fn workers_are_for_those_who_may_backfill_and_have_their_own_rights() {
    let (db, s) = open(
        "CREATE FUNCTION lent() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT eventkit.start_backfill_workers(''{}'', 1)'",
    );
    let guest = format!("guest_{}", db.name);
    assert_eq!(fails(&s, "SELECT lent()").sqlstate, "42501");
    s.query(&format!("CREATE ROLE {guest}; SET ROLE {guest}")).unwrap();
    assert_eq!(fails(&s, "SELECT eventkit.start_backfill_workers('{}', 1)").sqlstate, "42501");
    s.query(&format!("RESET ROLE; DROP ROLE {guest}")).unwrap();
}

#[test]
fn serializable_sessions_and_days_that_are_there_already() {
    let (_db, s) = open(DAYS);
    s.query("SET default_transaction_isolation = 'serializable'").unwrap();
    s.query("CALL eventkit.create_partitions('e', '2024-01-10 00:00Z', '2024-01-14 00:00Z')").unwrap();
    s.query("INSERT INTO e SELECT * FROM src WHERE at >= '2024-01-10 00:00Z' AND at < '2024-01-14 00:00Z'").unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.backfill('src', 'e', jobs => 3)").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(!heard.contains("<NULL>"), "{heard}");
    let left = heard.lines().filter(|line| line.contains("2024-01-1") && line.contains("as it is")).count();
    assert!(left >= 1, "{heard}");
    is_whole_and_quiet(&s);
}

#[test]
fn the_time_of_several_jobs_counts_once_in_the_progress() {
    let (_db, s) = open(DAYS);
    s.query("CALL eventkit.backfill('src', 'e', from_time => '2024-01-21 00:00Z', jobs => 2)").unwrap();
    s.query("UPDATE eventkit.backfills SET from_time = NULL").unwrap();
    // Ten of these days were copied in the same ten seconds, the others in ten more.
    s.query(
        "UPDATE eventkit.backfill_periods SET seconds = 10, copied_at = CASE WHEN period < '2024-01-31' THEN '2024-06-01 00:00:10Z' ELSE '2024-06-01 00:01:00Z' END::timestamptz",
    )
    .unwrap();
    assert_eq!(
        lines(
            &s,
            "SELECT periods_done, periods_left, rows_copied, rows_per_second, time_left FROM eventkit.backfill_progress"
        ),
        ["20|20|5760|288|00:00:20"]
    );
}
