//! Logical replication of a parent that is published as one table: each row once at the subscriber, whatever is done to its partitions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{lines, value};
use eventkit_tests::{Cluster, ClusterBuilder, PgVersion, Session, wait};

/// A publisher and a subscriber, two databases of one server; the subscriber's table is partitioned otherwise.
struct Pair {
    cluster: Cluster,
    publisher: Session,
    subscriber: Session,
}

fn pair(tables: &str) -> Pair {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap()).setting("wal_level = logical").start().unwrap();
    for database in ["publisher", "subscriber"] {
        cluster.create_database(database).unwrap();
        cluster.create_extension(database).unwrap();
    }
    let publisher = Session::open(&cluster, "publisher", "publisher").unwrap();
    let subscriber = Session::open(&cluster, "subscriber", "subscriber").unwrap();
    publisher.query(&format!("CREATE TABLE e (id int, at timestamptz NOT NULL, n int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); {tables}")).unwrap();
    subscriber.query("CREATE TABLE e (id int, at timestamptz NOT NULL, n int, got serial, PRIMARY KEY (id, at)); CREATE INDEX ON e (at)").unwrap();
    publisher.query("CREATE PUBLICATION p FOR TABLE e WITH (publish_via_partition_root = true)").unwrap();
    // The server waits for the end of a transaction of its own when it makes the slot: so it is made before.
    publisher.query("SELECT pg_create_logical_replication_slot('s', 'pgoutput')").unwrap();
    subscriber
        .query(&format!(
            "CREATE SUBSCRIPTION s CONNECTION 'host={} port={} user=postgres dbname=publisher' PUBLICATION p WITH (create_slot = false, slot_name = 's')",
            cluster.host().display(),
            cluster.port()
        ))
        .unwrap();
    wait::until(&cluster, "subscriber", "(SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel)").unwrap();
    Pair { cluster, publisher, subscriber }
}

const ROWS: &str = "SELECT id, at, n FROM e ORDER BY id";

impl Pair {
    /// Runs a call at the publisher and waits until the subscriber has seen all of it.
    fn call(&self, sql: &str) {
        self.publisher.query(sql).unwrap_or_else(|failure| panic!("{failure}\n{sql}"));
        let lsn = value(&self.publisher, "SELECT pg_current_wal_insert_lsn()");
        self.publisher.query("SELECT pg_logical_emit_message(true, 'test', 'end')").unwrap();
        wait::until(
            &self.cluster,
            "publisher",
            &format!("(SELECT confirmed_flush_lsn >= '{lsn}' FROM pg_replication_slots WHERE slot_name = 's')"),
        )
        .unwrap_or_else(|error| {
            panic!(
                "{error}\n{sql}\n{}",
                self.cluster.log().unwrap().lines().filter(|l| l.contains("ERROR")).collect::<Vec<_>>().join("\n")
            )
        });
    }

    fn same(&self, after: &str) {
        assert_eq!(lines(&self.subscriber, ROWS), lines(&self.publisher, ROWS), "{after}");
    }
}

#[test]
fn each_row_of_a_backfill_arrives_once() {
    let pair = pair(
        "CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL, n int); INSERT INTO src SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '6 hours', 0 FROM generate_series(0, 11) n;",
    );
    pair.call("CALL eventkit.create_partition('e', '2024-01-02')");
    pair.call("CALL eventkit.backfill('src', 'e')");
    pair.same("backfill");
    pair.call("UPDATE src SET n = 1 WHERE id < 3; DELETE FROM src WHERE id = 4; UPDATE src SET at = at + interval '1 day' WHERE id = 5; INSERT INTO src VALUES (20, '2024-03-01 00:00Z', 0)");
    pair.call("CALL eventkit.catch_up('src', 'e')");
    pair.same("catch_up");
    pair.call("CALL eventkit.finish_backfill('src', 'e')");
    pair.call("INSERT INTO e VALUES (30, '2024-01-02 01:00Z', 3); UPDATE e SET n = 4 WHERE id = 20");
    pair.same("what is written after");
}

#[test]
fn rows_that_are_drained_stay() {
    let pair = pair("CREATE TABLE rest PARTITION OF e DEFAULT;");
    pair.call("INSERT INTO e SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '6 hours', 0 FROM generate_series(0, 11) n");
    pair.same("rows in the default partition");
    for batch in [0, 100] {
        let drain = format!("CALL eventkit.drain_default('e', batch_rows => {batch})");
        let _ = pair.publisher.take_notices();
        pair.call(&drain);
        let heard = pair.publisher.take_notices().join("\n");
        assert!(
            heard.contains("stay in the default partition: publication \"p\" sends what is deleted from"),
            "{heard}"
        );
        assert_eq!(value(&pair.publisher, "SELECT count(*) FROM rest"), "12");
        // The way that the hint shows; others' deletes are sent as ever.
        let refused = pair.publisher.query("SELECT eventkit.plan_drain_default('e')").unwrap_err();
        let shown = refused.hint.unwrap();
        let way = shown.split_once("BEGIN;").unwrap().1.trim_end_matches(" COMMIT.");
        pair.publisher.query("BEGIN").unwrap();
        for statement in way.split("; ").map(|s| s.trim_end_matches(';')) {
            pair.publisher
                .query(&statement.replace("drain_default('\"public\".\"e\"')", &format!("drain_default('e', {batch})")))
                .unwrap_or_else(|failure| panic!("{failure}\n{statement}"));
        }
        let other = Session::open(&pair.cluster, "publisher", "other").unwrap();
        other.run("DELETE FROM e WHERE id % 40 = 5");
        wait::until_blocked(&pair.cluster, &other).unwrap();
        pair.publisher.query("COMMIT").unwrap();
        other.join().unwrap();
        assert_eq!(value(&pair.publisher, "SELECT count(*) FROM rest"), "0");
        pair.call("SELECT 1");
        pair.same("drain_default");
        pair.call(&format!("UPDATE e SET n = n + 1; INSERT INTO e SELECT 40 + {batch} + n, '2024-02-01 00:00Z'::timestamptz + {batch} * interval '1 day' + n * interval '6 hours', 0 FROM generate_series(0, 11) n"));
        pair.same("rows changed where they are now");
    }
}

#[test]
fn rows_that_expire_stay_at_the_subscriber() {
    let pair = pair("");
    pair.call("CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-04 00:00Z')");
    pair.call("INSERT INTO e SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '6 hours', 0 FROM generate_series(0, 11) n");
    pair.call("CALL eventkit.drop_old_partitions('e', '2024-01-02 00:00Z')");
    pair.call("UPDATE e SET n = 7");
    assert_eq!(value(&pair.publisher, "SELECT count(*) || ' ' || min(n) FROM e"), "8 7");
    assert_eq!(value(&pair.subscriber, "SELECT count(*) || ' ' || sum(n) FROM e"), "12 56");
}

#[test]
fn rows_of_a_wide_partition_stay_when_it_is_split() {
    let pair = pair("CREATE TABLE wide PARTITION OF e FOR VALUES FROM ('2024-01-01 00:00Z') TO ('2024-01-04 00:00Z');");
    pair.call("INSERT INTO e SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '6 hours', 0 FROM generate_series(0, 11) n");
    pair.call("CALL eventkit.split_partition('e')");
    assert_eq!(value(&pair.publisher, "SELECT count(DISTINCT tableoid) FROM e"), "3");
    pair.same("split_partition");
    pair.call("UPDATE e SET n = 7; DELETE FROM e WHERE id = 3; INSERT INTO e VALUES (50, '2024-01-02 12:00Z', 5)");
    pair.same("what is written after");
}
