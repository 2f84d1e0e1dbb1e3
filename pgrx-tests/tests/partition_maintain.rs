//! Maintenance of all managed parents: what runs, what fails alone, the history, the schedule, two at once, kills, a standby.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::plan::run_by_hand;
use common::stops::holds;
use common::{fails, lines, number, open, value, victims};
use eventkit_tests::{ClusterBuilder, PgVersion, Session, packages, shared, wait};
use std::time::{Duration, Instant};

/// Three managed parents; the second has a stranger where its partition of today belongs.
const PARENTS: &str = "CREATE TABLE a (id int, at timestamptz) PARTITION BY RANGE (at); CREATE TABLE rest PARTITION OF a DEFAULT;
    CREATE TABLE b (id int, at timestamptz) PARTITION BY RANGE (at); CREATE TABLE c (id int, at date) PARTITION BY RANGE (at);
    INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, retention, on_expiry)
      SELECT t, '1 day', 'UTC', 3, '10 days', 'drop' FROM unnest('{a, b, c}'::regclass[]) t;
    INSERT INTO a VALUES (1, '2024-03-10 12:00Z'), (2, '2024-03-07 12:00Z'); CREATE TABLE b_20240311 (stranger int);
    CALL eventkit.create_partitions('c', '2024-02-27 00:00Z', '2024-03-02 00:00Z');";
const CALL: &str = "CALL eventkit.maintain(as_of => '2024-03-10 18:00Z')";

fn history(s: &Session) -> Vec<String> {
    lines(s, "SELECT action, parent_name, partitions, rows, sqlstate FROM eventkit.run_history ORDER BY id")
}

fn partitions(s: &Session, parent: &str) -> String {
    value(
        s,
        &format!(
            "SELECT string_agg(substr(c.relname, 7), ' ' ORDER BY c.relname) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = '{parent}'::regclass AND c.relname <> 'rest'"
        ),
    )
}

#[test]
fn every_parent_gets_what_is_due_and_one_failure_stops_no_other() {
    let (_db, s) = open(PARENTS);
    let _ = s.take_notices();
    s.query(CALL).unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("WARNING: 1 of 3 parents could not be maintained in full"), "{heard}");
    assert_eq!(partitions(&s, "a"), "0307 0310 0311 0312 0313");
    assert_eq!(partitions(&s, "b"), "0310 0312 0313");
    assert_eq!(partitions(&s, "c"), "0229 0301 0310 0311 0312 0313");
    assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0");
    assert_eq!(
        history(&s),
        [
            "premake|public.a|3|0|NULL",
            "drain|public.a|2|2|NULL",
            "premake|public.b|3|0|42P07",
            "premake|public.c|4|0|NULL",
            "retire|public.c|2|0|NULL",
            "maintain|NULL|14|2|42P07"
        ]
    );
    s.query(CALL).unwrap();
    assert_eq!(history(&s)[6..], ["premake|public.b|0|0|42P07", "maintain|NULL|0|0|42P07"]);
    s.query("DROP TABLE b_20240311").unwrap();
    s.query(CALL).unwrap();
    assert_eq!(history(&s)[8..], ["premake|public.b|1|0|NULL", "maintain|NULL|1|0|NULL"]);
    // Settings that cannot be read, and a parent that was dropped.
    s.query(
        "UPDATE eventkit.partition_settings SET time_zone = 'Nowhere/Else' WHERE parent = 'a'::regclass; DROP TABLE b",
    )
    .unwrap();
    s.query("CALL eventkit.maintain(as_of => '2024-03-11 18:00Z')").unwrap();
    assert_eq!(
        history(&s)[10..].iter().map(|l| l.split('|').next().unwrap()).collect::<Vec<_>>(),
        ["premake", "premake", "retire", "maintain"]
    );
    assert_eq!(
        value(&s, "SELECT sqlstate FROM eventkit.run_history WHERE parent = 'a'::regclass ORDER BY id DESC LIMIT 1"),
        "22023"
    );
    // Old rows go.
    s.query("UPDATE eventkit.run_history SET started_at = started_at - interval '40 days'").unwrap();
    s.query("CALL eventkit.maintain(as_of => '2024-03-11 18:00Z', keep_history => '30 days')").unwrap();
    assert!(number(&s, "SELECT count(*) FROM eventkit.run_history") < 4);
    for call in [
        "CALL eventkit.maintain(as_of => 'infinity')",
        "CALL eventkit.maintain(as_of => NULL)",
        "CALL eventkit.maintain(keep_history => NULL)",
        "CALL eventkit.maintain(lock_timeout => '0')",
    ] {
        assert_eq!(fails(&s, call).sqlstate, "22023", "{call}");
    }
    s.query("BEGIN").unwrap();
    assert_eq!(s.query(CALL).unwrap_err().sqlstate, "25001");
    s.query("ROLLBACK").unwrap();
}

#[test]
fn the_second_of_two_runs_is_skipped() {
    let (db, s) = open(PARENTS);
    let (second, reader) = (db.session("second").unwrap(), db.session("reader").unwrap());
    reader.query("BEGIN; SELECT count(*) FROM a").unwrap();
    s.run("CALL eventkit.maintain(as_of => '2024-03-10 18:00Z', lock_timeout => '300 milliseconds')");
    wait::until_blocked(db.cluster, &s).unwrap();
    second.query(CALL).unwrap();
    assert!(second.take_notices().join("").contains("NOTICE: maintain is running in another session"));
    assert_eq!(value(&second, "SELECT count(*) FROM eventkit.run_history WHERE action = 'maintain'"), "0");
    // Cancelled, it gives the lock back.
    s.cancel().unwrap();
    assert_eq!(s.join().unwrap_err().sqlstate, "57014");
    reader.query("COMMIT").unwrap();
    second.query(CALL).unwrap();
    assert_eq!(partitions(&second, "a"), "0307 0310 0311 0312 0313");
}

#[test]
fn owners_maintain_their_own_and_see_their_own() {
    let (db, s) = open(PARENTS);
    let owner = format!("owner_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT ALL ON SCHEMA public TO {owner}; GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {owner}; \
         ALTER TABLE a OWNER TO {owner}; ALTER TABLE rest OWNER TO {owner}; GRANT SELECT ON c TO {owner}"
    ))
    .unwrap();
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    as_owner.query(CALL).unwrap();
    assert_eq!(
        history(&as_owner),
        ["premake|a|3|0|NULL", "drain|a|2|2|NULL", "maintain|NULL|5|2|NULL"].map(|l| l.replace("|a|", "|public.a|"))
    );
    assert_eq!(partitions(&s, "c"), "0227 0228 0229 0301");
    s.query(CALL).unwrap();
    assert_eq!(history(&as_owner)[3..], ["maintain|NULL|9|0|42P07"], "of others' parents nothing is seen");
    let whole = "SELECT message FROM eventkit.run_history WHERE sqlstate IS NOT NULL";
    assert_eq!(lines(&as_owner, whole), ["1 of 3 parents could not be maintained in full"]);
    assert_eq!(lines(&as_owner, "DELETE FROM eventkit.run_history RETURNING 1").len(), 3);
    assert!(number(&s, "SELECT count(*) FROM eventkit.run_history") >= 3);
    assert_eq!(fails(&as_owner, "INSERT INTO eventkit.run_history (action, started_at, duration, partitions, rows, run_by) VALUES ('maintain', now(), '0', 0, 0, 'postgres'::regrole)").sqlstate, "42501");
}

#[test]
fn what_is_planned_is_what_is_done() {
    for victim in victims::maintain() {
        let start = victim.prepare(shared::cluster().unwrap(), "");
        let (_, expected) = victim.unharmed(&start);
        let s = start.copy(1);
        let before = holds(&s);
        let plan = "SELECT statement FROM eventkit.plan_maintain('2024-01-04 18:00Z') ORDER BY step";
        lines(&s, plan);
        assert_eq!(holds(&s), before, "a plan does nothing");
        run_by_hand(&s, plan);
        victim.is_true(&s, &victim.done, "by hand");
        assert_eq!(holds(&s), expected);
        assert_eq!(lines(&s, plan), Vec::<String>::new(), "nothing is left to do");
    }
}

#[test]
fn what_is_detached_concurrently_is_planned_so() {
    let (_db, s) = open(PARENTS);
    let plan =
        "SELECT statement FROM eventkit.plan_maintain('2024-03-11 18:00Z') WHERE statement ~ ' DETACH PARTITION '";
    let planned = lines(&s, plan);
    assert!(!planned.is_empty() && planned.iter().all(|p| p.ends_with(" CONCURRENTLY")), "{planned:#?}");
    s.query("BEGIN").unwrap();
    assert_eq!(lines(&s, plan), planned, "maintain runs in no block");
    s.query("COMMIT; DROP TABLE rest").unwrap();
    s.query("CREATE TABLE rest PARTITION OF c DEFAULT").unwrap();
    let planned = lines(&s, plan);
    assert!(!planned.is_empty() && planned.iter().all(|p| !p.ends_with(" CONCURRENTLY")), "{planned:#?}");
}

#[test]
fn a_plan_shows_every_parent_of_the_callers_and_what_stands_in_the_way() {
    let (db, s) = open(PARENTS);
    let owner = format!("owner_{}", db.name);
    s.query(&format!("CREATE ROLE {owner} LOGIN; GRANT ALL ON SCHEMA public TO {owner}; ALTER TABLE a OWNER TO {owner}; ALTER TABLE rest OWNER TO {owner}; GRANT SELECT ON b, c TO {owner}")).unwrap();
    // A function of the owner's that the planner runs; the superuser lends it nothing.
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    as_owner.query("CREATE FUNCTION who() RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF current_user = 'postgres' THEN RAISE EXCEPTION 'lent'; END IF; RETURN true; END $$").unwrap();
    as_owner.query("CREATE INDEX ON rest (id) WHERE who()").unwrap();
    let plan = |s: &Session, what: &str| {
        lines(s, &format!("SELECT {what} FROM eventkit.plan_maintain('2024-03-10 18:00Z') ORDER BY step"))
    };
    let shown = plan(&s, "statement, reason").join("\n");
    for made in ["a_20240311", "a_20240307", "b_20240313", "c_20240312"] {
        assert!(shown.contains(made), "{made}: {shown}");
    }
    let stranger = "NULL|relation \"public\".\"b_20240311\" exists already and is no partition";
    assert!(shown.contains(stranger), "{shown}");
    assert!(!shown.contains("lent"), "{shown}");
    assert!(shown.contains("DETACH PARTITION \"public\".\"c_20240228\""), "{shown}");
    assert!(!shown.contains("c_20240229\""), "{shown}");
    let numbers = plan(&s, "step");
    assert_eq!(numbers, (1..=numbers.len()).map(|n| n.to_string()).collect::<Vec<_>>());
    let his = plan(&as_owner, "statement, target").join("\n");
    assert!(his.contains("a_20240311") && !his.contains("b_2024") && !his.contains("c_2024"), "{his}");
    // One that cannot be read stops no other.
    s.query("UPDATE eventkit.partition_settings SET time_zone = 'Nowhere/Else' WHERE parent = 'a'::regclass").unwrap();
    let shown = plan(&s, "statement, target, reason").join("\n");
    assert!(shown.contains("NULL|public.a|") && shown.contains("b_20240313"), "{shown}");
    for call in ["'infinity'", "NULL"] {
        assert_eq!(fails(&s, &format!("SELECT eventkit.plan_maintain({call})")).sqlstate, "22023", "{call}");
    }
}

#[test]
fn nobody_writes_history_of_what_is_not_his() {
    let (db, s) = open(PARENTS);
    let guest = format!("guest_{}", db.name);
    s.query(&format!("CREATE ROLE {guest} LOGIN; GRANT ALL ON SCHEMA public TO {guest}; CREATE TABLE mine (at date) PARTITION BY RANGE (at); ALTER TABLE mine OWNER TO {guest}")).unwrap();
    let as_guest = Session::open_as(db.cluster, &db.name, "guest", &guest).unwrap();
    let row = |columns: &str, values: &str, action: &str, parent: &str, at: &str, by: &str| {
        format!(
            "INSERT INTO eventkit.run_history ({columns}action, parent, started_at, duration, partitions, rows, run_by) OVERRIDING SYSTEM VALUE VALUES ({values}'{action}', {parent}, {at}, '0', 0, 0, '{by}'::regrole)"
        )
    };
    for (forged, state) in [
        (row("", "", "maintain", "NULL", "'infinity'", &guest), "42501"),
        (row("", "", "maintain", "NULL", "'-infinity'", &guest), "42501"),
        (row("", "", "maintain", "NULL", "now() + interval '1 hour'", &guest), "42501"),
        (row("", "", "maintain", "NULL", "now()", "postgres"), "42501"),
        (row("", "", "premake", "'a'::regclass", "now()", &guest), "42501"),
        (row("", "", "premake", "'pg_class'::regclass", "now()", &guest), "42501"),
        // The number of a run that is still to come.
        (row("id, ", "2, ", "maintain", "NULL", "now()", &guest), "42501"),
        (row("", "", "premake", "NULL", "now()", &guest), "23514"),
        (row("", "", "maintain", "'mine'::regclass", "now()", &guest), "23514"),
        (row("", "", "other", "'mine'::regclass", "now()", &guest), "23514"),
    ] {
        assert_eq!(fails(&as_guest, &forged).sqlstate, state, "{forged}");
    }
    as_guest.query(&row("", "", "premake", "'mine'::regclass", "now()", &guest)).unwrap();
    assert_eq!(fails(&as_guest, "UPDATE eventkit.run_history SET started_at = 'infinity'").sqlstate, "42501");
}

#[test]
fn a_kill_is_made_good_by_the_next_run() {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap()).fsync(true).start().unwrap();
    cluster.create_database("d").unwrap();
    cluster.create_extension("d").unwrap();
    for (round, (statement, condition)) in [
        // At the first wait for a lock, and in the retirement of the last parent.
        (
            "BEGIN; SELECT count(*) FROM a",
            "EXISTS (SELECT FROM pg_locks WHERE relation = 'rest'::regclass AND NOT granted)",
        ),
        ("BEGIN; SELECT count(*) FROM c", "EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending)"),
    ]
    .into_iter()
    .enumerate()
    {
        let s = Session::open(&cluster, "d", "main").unwrap();
        s.query("DROP TABLE IF EXISTS a, b, c, b_20240311; DELETE FROM eventkit.partition_settings; DELETE FROM eventkit.partition_departures").unwrap();
        for statement in PARENTS.split_inclusive(';') {
            s.query(statement).unwrap();
        }
        let reader = Session::open(&cluster, "d", "reader").unwrap();
        reader.query(statement).unwrap();
        s.run("CALL eventkit.maintain(as_of => '2024-03-10 18:00Z', lock_timeout => '10 seconds')");
        wait::until(&cluster, "d", condition).unwrap();
        cluster.kill_backend(s.pid()).unwrap();
        s.join().unwrap_err();
        while cluster.log().unwrap().matches("reinitializing").count() <= round {
            std::thread::sleep(Duration::from_millis(10));
        }
        cluster.wait_until_ready().unwrap();
        let s = Session::open(&cluster, "d", "again").unwrap();
        s.query(CALL).unwrap();
        assert_eq!(partitions(&s, "a"), "0307 0310 0311 0312 0313");
        assert_eq!(partitions(&s, "b"), "0310 0312 0313");
        assert_eq!(partitions(&s, "c"), "0229 0301 0310 0311 0312 0313");
        assert_eq!(value(&s, "SELECT count(*) FROM pg_class WHERE relname ~ '^c_2024022[78]'"), "0");
    }
}

#[test]
fn a_standby_does_nothing() {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap()).start().unwrap();
    cluster.create_database("d").unwrap();
    cluster.create_extension("d").unwrap();
    let s = Session::open(&cluster, "d", "main").unwrap();
    for statement in PARENTS.split_inclusive(';') {
        s.query(statement).unwrap();
    }
    s.query("CHECKPOINT").unwrap();
    drop(s);
    cluster.stop().unwrap();
    std::fs::write(cluster.data().join("standby.signal"), "").unwrap();
    cluster.start_server().unwrap();
    let s = Session::open(&cluster, "d", "standby").unwrap();
    assert_eq!(value(&s, "SELECT pg_is_in_recovery()"), "t");
    s.query(CALL).unwrap();
    s.query("CALL eventkit.maintain()").unwrap();
    assert_eq!(s.take_notices().len(), 0);
    assert_eq!(value(&s, "SELECT count(*) > 0 FROM eventkit.partition_health"), "t");
}

#[test]
fn without_pg_cron_it_says_what_to_do() {
    let (_db, s) = open("");
    assert_eq!(value(&s, "SELECT eventkit.schedule_maintenance('7 * * * *')"), "NULL");
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("WARNING: nothing is scheduled: extension pg_cron is not in database"), "{heard}");
    assert_eq!(fails(&s, "SELECT eventkit.schedule_maintenance(NULL)").sqlstate, "22004");
}

#[test]
fn the_line_for_crontab_runs_as_it_is_written() {
    let cluster = shared::cluster().unwrap();
    let maker = Session::open(cluster, "postgres", "maker").unwrap();
    for name in ["plain_1", "Up-1.x", "sp ace", "o'dd%d=\\\"q", "-x", "postgresql://x"] {
        maker.query(&format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""))).unwrap();
        let s = Session::open(cluster, name, "main").unwrap();
        s.query("CREATE EXTENSION pg_eventkit CASCADE").unwrap();
        let connect = format!("dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'"));
        let said = cluster.psql(&connect, ["-c", "SELECT eventkit.schedule_maintenance('7 * * * *')"]).unwrap();
        let said = String::from_utf8(said.stderr).unwrap();
        let hint = said
            .lines()
            .find_map(|line| line.split_once("a line for crontab: 7 * * * * "))
            .unwrap_or_else(|| panic!("{said}"));
        // As cron reads it: a bare percent sign would end the line.
        let line = hint.1.replace("\\%", "\u{1}");
        assert!(!line.contains('%'), "{line}");
        let psql = cluster.client_program("psql");
        let mut shell = std::process::Command::new("/bin/sh");
        shell.env("PATH", std::path::Path::new(psql.get_program()).parent().unwrap());
        for (variable, set) in psql.get_envs() {
            if let Some(set) = set {
                shell.env(variable, set);
            }
        }
        let ended = shell.args(["-c", &line.replace('\u{1}', "%")]).output().unwrap();
        assert!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(value(&s, "SELECT count(*) FROM eventkit.run_history WHERE action = 'maintain'"), "1", "{name}");
    }
}

/// The scheduler is Debian's package, so this is for the version that Debian has.
#[test]
fn the_scheduler_runs_it() {
    if PgVersion::under_test().unwrap() != PgVersion::V15 {
        return;
    }
    let cluster = ClusterBuilder::new(PgVersion::V15)
        .setting("shared_preload_libraries = 'pg_cron'")
        .setting("cron.database_name = 'jobs'")
        .setting("max_worker_processes = 20")
        .setting("cron.use_background_workers = on")
        .start()
        .unwrap();
    cluster.create_database("jobs").unwrap();
    cluster.create_extension("jobs").unwrap();
    let s = Session::open(&cluster, "jobs", "main").unwrap();
    s.query("CREATE EXTENSION pg_cron").unwrap();
    let package = packages::installed("postgresql-15-cron").unwrap().unwrap();
    assert!(package.starts_with("1.4.2-"), "{package}");
    // So 1.4.2 calls its SQL.
    assert_eq!(value(&s, "SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'"), "1.4-1");
    s.query("CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at)").unwrap();
    s.query("CALL eventkit.manage_partitions('e', premake => 1, retention => '1 day', on_expiry => 'drop')").unwrap();
    s.query("CALL eventkit.create_partitions('e', now() - interval '4 days', now())").unwrap();
    assert_eq!(
        value(&s, "SELECT eventkit.schedule_maintenance('0 0 1 1 *') = eventkit.schedule_maintenance('* * * * *')"),
        "t"
    );
    let deadline = Instant::now() + Duration::from_secs(90);
    while number(&s, "SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'") == 0 {
        let runs = lines(&s, "SELECT status, return_message FROM cron.job_run_details").join("\n");
        assert!(Instant::now() < deadline, "the job is not done: {runs}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(
        value(&s, "SELECT count(*) FROM eventkit.run_history WHERE action = 'retire' AND sqlstate IS NULL"),
        "1"
    );
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.expired_partitions('e')"), "0");
}
