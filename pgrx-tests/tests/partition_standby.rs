//! A hot standby: what the primary does arrives there, what reads works there, what writes is refused there at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails_with, lines, value};
use eventkit_tests::{Cluster, PgVersion, Session, wait};

const TABLES: &str = "CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL);
    INSERT INTO src SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '1 hour' FROM generate_series(0, 71) n;
    CREATE TABLE e (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE rest PARTITION OF e DEFAULT; INSERT INTO e VALUES (100, '2024-02-01 12:00Z');
    CREATE TABLE filled (id int, at timestamptz NOT NULL); CREATE TABLE plain (id int, at timestamptz NOT NULL);
    CREATE TABLE wide (id int, at timestamptz NOT NULL); INSERT INTO wide VALUES (1, now() - interval '2 days');";

/// Waits until the standby has all that the primary has committed.
fn caught_up(primary: &Session, standby: &Cluster) {
    let lsn = value(primary, "SELECT pg_current_wal_insert_lsn()");
    wait::until(standby, "d", &format!("pg_last_wal_replay_lsn() >= '{lsn}'")).unwrap();
}

#[test]
fn what_the_primary_does_arrives_and_the_standby_writes_nothing() {
    let primary = Cluster::start(PgVersion::under_test().unwrap()).unwrap();
    primary.create_database("d").unwrap();
    primary.create_extension("d").unwrap();
    let standby = primary.standby().unwrap();
    let p = Session::open(&primary, "d", "primary").unwrap();
    for statement in [
        TABLES,
        "CALL eventkit.convert_table('wide', 'at')",
        "CALL eventkit.backfill('src', 'e')",
        "CALL eventkit.drain_default('e')",
        "INSERT INTO src VALUES (200, '2024-01-02 00:30Z'); INSERT INTO e VALUES (101, '2024-02-02 12:00Z')",
        "INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, retention, on_expiry) VALUES ('e', '1 day', 'UTC', 1, '1 year', 'drop')",
    ] {
        p.query(statement).unwrap_or_else(|failure| panic!("{failure}\n{statement}"));
    }
    caught_up(&p, &standby);
    let s = Session::open(&standby, "d", "standby").unwrap();
    assert_eq!(value(&s, "SELECT pg_is_in_recovery()"), "t");

    // Rows, partitions and the ledger are there.
    for query in [
        "SELECT tableoid::regclass, count(*), sum(id) FROM e GROUP BY tableoid ORDER BY 1",
        "SELECT * FROM eventkit.partitions ORDER BY parent, partition",
        "SELECT * FROM eventkit.backfill_progress",
        "SELECT source, parent, period, row_count FROM eventkit.backfill_periods ORDER BY period",
        "SELECT * FROM eventkit.partition_settings ORDER BY parent",
        "SELECT * FROM eventkit.partition_health ORDER BY 1, 2, 3",
        // Whatever only looks.
        "SELECT * FROM eventkit.partition_periods('e', '2024-01-01 00:00Z', '2024-01-05 00:00Z')",
        "SELECT * FROM eventkit.partition_periods_of_day('e', '2024-01-01')",
        "SELECT * FROM eventkit.expired_partitions('e')",
        "SELECT * FROM eventkit.source_periods('src', 'e')",
        "SELECT * FROM eventkit.periods_left('src', 'e')",
        "SELECT * FROM eventkit.backfill_differences('src', 'e')",
        "SELECT * FROM eventkit.backfill_left_behind('src', 'e')",
        "SELECT * FROM eventkit.default_left_behind('e')",
        "SELECT eventkit.waiting_changes('src', 'e')",
        "SELECT * FROM eventkit.upcoming_partitions('e', '2024-03-01 00:00Z')",
        "SELECT * FROM eventkit.plan_create_partition('e', '2024-03-01')",
        "SELECT * FROM eventkit.plan_create_partitions('e', '2024-03-01 00:00Z', '2024-03-03 00:00Z')",
        "SELECT * FROM eventkit.plan_attach_partition('e', 'filled', '2024-03-01 00:00Z', '2024-03-02 00:00Z')",
        "SELECT * FROM eventkit.plan_backfill('src', 'e')",
        "SELECT * FROM eventkit.plan_catch_up('src', 'e')",
        "SELECT * FROM eventkit.plan_finish_backfill('src', 'e')",
        "SELECT * FROM eventkit.plan_convert_table('plain', 'at')",
        "SELECT * FROM eventkit.plan_split_partition('wide')",
        "SELECT * FROM eventkit.plan_unpartition_table('wide')",
        "SELECT * FROM eventkit.plan_drain_default('e')",
        "SELECT * FROM eventkit.plan_drop_old_partitions('e')",
        "SELECT * FROM eventkit.plan_manage_partitions('e', premake => 3)",
    ] {
        assert_eq!(lines(&s, query), lines(&p, query), "{query}");
    }
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "74");

    // What writes is refused before it does or takes anything; maintain is for every server of a cluster's schedule.
    let writers = [
        "create_partition('e', '2024-03-01')",
        "create_partitions('e', '2024-03-01 00:00Z', '2024-03-03 00:00Z')",
        "attach_partition('e', 'filled', '2024-03-01 00:00Z', '2024-03-02 00:00Z')",
        "backfill('src', 'e')",
        "catch_up('src', 'e')",
        "finish_backfill('src', 'e')",
        "abandon_backfill('src', 'e')",
        "convert_table('plain', 'at')",
        "split_partition('wide')",
        "unpartition_table('wide')",
        "drain_default('e')",
        "drop_old_partitions('e')",
        "manage_partitions('e', premake => 3)",
        "unmanage_partitions('e')",
    ];
    let _ = s.take_notices();
    for call in writers {
        let name = call.split('(').next().unwrap();
        fails_with(&s, &format!("CALL eventkit.{call}"), "25006");
        let refused = s.query(&format!("CALL eventkit.{call}")).unwrap_err();
        assert_eq!(refused.message, format!("{name} cannot run on a standby"));
        assert!(refused.hint.unwrap().contains("primary"), "{call}");
    }
    s.query("CALL eventkit.maintain()").unwrap();
    assert_eq!(s.take_notices(), Vec::<String>::new(), "no warning besides");
    assert_eq!(value(&s, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");

    // So it is in a session of the primary that may only read.
    p.query("SET default_transaction_read_only = on").unwrap();
    for call in writers {
        let refused = p.query(&format!("CALL eventkit.{call}")).unwrap_err();
        assert_eq!(refused.sqlstate, "25006", "{call}: {refused}");
        assert!(refused.hint.unwrap().contains("READ WRITE"), "{call}");
    }
    p.query("RESET default_transaction_read_only").unwrap();

    // A standby that takes over goes on with what the primary has begun.
    caught_up(&p, &standby);
    drop(p);
    primary.kill_server().unwrap();
    s.query("SELECT pg_promote()").unwrap();
    for call in ["finish_backfill('src', 'e')", "drain_default('e')", "split_partition('wide')"] {
        s.query(&format!("CALL eventkit.{call}")).unwrap_or_else(|failure| panic!("{failure}\n{call}"));
    }
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "75");
    assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0");
    assert_eq!(
        value(&s, "SELECT count(*) FROM src WHERE NOT EXISTS (SELECT FROM e WHERE (e.id, e.at) = (src.id, src.at))"),
        "0"
    );
}
