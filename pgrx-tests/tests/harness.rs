//! The harness itself: clusters survive what the tests will do to them, sessions block and are seen to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

use eventkit_tests::{Cluster, ClusterBuilder, Failure, PgVersion, Session, shared, wait};

fn version() -> PgVersion {
    PgVersion::under_test().unwrap()
}

#[test]
fn the_shared_server_is_of_the_version_under_test() {
    let db = shared::empty_database().unwrap();
    let number: i32 =
        db.connect().unwrap().query_one("SELECT current_setting('server_version_num')::int", &[]).unwrap().get(0);
    assert_eq!(number / 10_000, version().number() as i32);
    let listens = db.connect().unwrap().query_one("SHOW listen_addresses", &[]).unwrap().get::<_, String>(0);
    assert_eq!(listens, "", "a test server is reachable through its socket only");
}

#[test]
fn a_killed_server_recovers_what_was_committed() {
    let cluster = ClusterBuilder::new(version()).fsync(true).setting("work_mem = '3MB'").start().unwrap();
    let mut client = cluster.connect("postgres").unwrap();
    assert_eq!(client.query_one("SHOW work_mem", &[]).unwrap().get::<_, String>(0), "3MB");
    client.batch_execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n").unwrap();
    client.batch_execute("BEGIN; INSERT INTO t VALUES (0)").unwrap();
    cluster.kill_server().unwrap();
    assert!(client.simple_query("SELECT 1").is_err());
    cluster.start_server().unwrap();
    assert!(cluster.log().unwrap().contains("not properly shut down"));
    let rows: i64 = cluster.connect("postgres").unwrap().query_one("SELECT count(*) FROM t", &[]).unwrap().get(0);
    assert_eq!(rows, 1000);
}

#[test]
fn a_killed_backend_is_survived_and_reported() {
    let cluster = Cluster::start(version()).unwrap();
    let victim = Session::open(&cluster, "postgres", "victim").unwrap();
    victim.run("SELECT pg_sleep(60)");
    wait::until(&cluster, "postgres", "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')").unwrap();
    cluster.kill_backend(victim.pid()).unwrap();
    assert_eq!(victim.join().unwrap_err().sqlstate, "08006");
    cluster.wait_until_ready().unwrap();
    assert!(cluster.kill_backend(1).is_err(), "a process of somebody else must not be touched");
}

#[test]
fn a_dropped_cluster_leaves_nothing() {
    let cluster = Cluster::start(version()).unwrap();
    let (folder, postmaster) = (cluster.host().to_path_buf(), cluster.postmaster().unwrap());
    assert!(folder.exists());
    drop(cluster);
    assert!(!folder.exists());
    let stat = std::fs::read_to_string(format!("/proc/{postmaster}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "the server still runs: {stat}");
}

#[test]
fn restart_keeps_the_data() {
    let cluster = Cluster::start(version()).unwrap();
    cluster.create_database("kept").unwrap();
    cluster.restart().unwrap();
    cluster.connect("kept").unwrap();
}

#[test]
fn two_sessions_block_and_it_is_seen() {
    let db = shared::empty_database().unwrap();
    let (holder, waiter) = (db.session("holder").unwrap(), db.session("waiter").unwrap());
    holder.query("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
    holder.query("BEGIN; UPDATE t SET n = 2").unwrap();
    waiter.run("UPDATE t SET n = n + 10");
    wait::until_blocked(db.cluster, &waiter).unwrap();
    holder.query("COMMIT").unwrap();
    waiter.join().unwrap();
    assert_eq!(holder.value("SELECT n FROM t").unwrap().as_deref(), Some("12"));
    let name = holder.value("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()").unwrap();
    assert_eq!(name.as_deref(), Some("holder"));
}

#[test]
fn a_blocked_session_can_be_cancelled() {
    let db = shared::empty_database().unwrap();
    let (holder, waiter) = (db.session("holder").unwrap(), db.session("waiter").unwrap());
    holder.query("CREATE TABLE t ()").unwrap();
    holder.query("BEGIN; LOCK TABLE t").unwrap();
    waiter.run("SELECT FROM t");
    wait::until_blocked(db.cluster, &waiter).unwrap();
    waiter.cancel().unwrap();
    assert_eq!(waiter.join().unwrap_err().sqlstate, "57014");
}

#[test]
fn errors_and_notices_arrive_whole() {
    let db = shared::empty_database().unwrap();
    let session = db.session("speaker").unwrap();
    let failure = session
        .query("DO $$BEGIN RAISE NOTICE 'heard'; RAISE 'no' USING DETAIL = 'd', HINT = 'h', ERRCODE = '22023'; END$$")
        .unwrap_err();
    let expected = Failure {
        sqlstate: "22023".to_owned(),
        message: "no".to_owned(),
        detail: Some("d".to_owned()),
        hint: Some("h".to_owned()),
    };
    assert_eq!(failure, expected);
    assert_eq!(session.take_notices(), ["NOTICE: heard"]);
    assert_eq!(session.query("SELECT 1, NULL; SELECT 'a'").unwrap().len(), 2, "the session goes on after an error");
}

#[test]
fn psql_speaks_to_the_server() {
    let db = shared::empty_database().unwrap();
    let said = db.cluster.psql(&db.name, ["-At", "-c", "SELECT current_database()"]).unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap().trim(), db.name);
    assert!(!db.cluster.psql(&db.name, ["-c", "SELECT 1/0"]).unwrap().status.success());
}

#[test]
fn the_sample_data_loads_whole() {
    let db = shared::empty_database().unwrap();
    let mut client = db.connect().unwrap();
    assert_eq!(eventkit_tests::sample::load_clicks(&mut client).unwrap(), 31_106);
    assert_eq!(eventkit_tests::sample::load_purchases(&mut client).unwrap(), 69_659);
    let first = "SELECT to_char(min(at), 'YYYY-MM-DD HH24:MI:SS') FROM clicks WHERE session_id = 'sess_000001'";
    assert_eq!(client.query_one(first, &[]).unwrap().get::<_, String>(0), "2024-03-13 10:21:14");
}
