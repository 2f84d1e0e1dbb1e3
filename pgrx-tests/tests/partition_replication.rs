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
    let subscribed = "CREATE TABLE e (id int, at timestamptz NOT NULL, n int, got serial, PRIMARY KEY (id, at)); CREATE INDEX ON e (at)";
    published("FOR TABLE e WITH (publish_via_partition_root = true)", tables, subscribed)
}

/// What is published, what the publisher has besides the parent, and what the subscriber has.
fn published(publication: &str, tables: &str, subscribed: &str) -> Pair {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap())
        .setting("wal_level = logical")
        .setting("wal_retrieve_retry_interval = '100ms'")
        .start()
        .unwrap();
    for database in ["publisher", "subscriber"] {
        cluster.create_database(database).unwrap();
        cluster.create_extension(database).unwrap();
    }
    let publisher = Session::open(&cluster, "publisher", "publisher").unwrap();
    let subscriber = Session::open(&cluster, "subscriber", "subscriber").unwrap();
    publisher.query(&format!("CREATE TABLE e (id int, at timestamptz NOT NULL, n int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); {tables}")).unwrap();
    subscriber.query(subscribed).unwrap();
    publisher.query(&format!("CREATE PUBLICATION p {publication}")).unwrap();
    // The server waits for the end of a transaction of its own when it makes the slot: so it is made before.
    publisher.query("SELECT pg_create_logical_replication_slot('s', 'pgoutput')").unwrap();
    subscriber
        .query(&format!(
            "CREATE SUBSCRIPTION s CONNECTION 'host={} port={} user=postgres dbname=publisher' PUBLICATION p WITH (create_slot = false, slot_name = 's')",
            cluster.host().display(),
            cluster.port()
        ))
        .unwrap();
    let pair = Pair { cluster, publisher, subscriber };
    pair.synchronized();
    pair
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

    /// Waits until the subscriber has copied the tables that are new to it.
    fn synchronized(&self) {
        wait::until(
            &self.cluster,
            "subscriber",
            "(SELECT coalesce(bool_and(srsubstate = 'r'), true) FROM pg_subscription_rel)",
        )
        .unwrap();
    }

    /// Runs a call by psql at the publisher, and gives all that it tells, hints included.
    fn told(&self, sql: &str) -> String {
        let output = self.cluster.psql("publisher", ["-c", sql]).unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        told
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

/// What stands between two pieces of a text.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before)
        .and_then(|(_, rest)| rest.split_once(after))
        .unwrap_or_else(|| panic!("{before} … {after}: {text}"))
        .0
}

#[test]
fn a_backfill_where_all_tables_are_published_says_what_is_sent_and_goes_on() {
    let source = "CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL, n int); INSERT INTO src SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '6 hours', 0 FROM generate_series(0, 11) n;";
    for (all, root) in [
        ("ALL TABLES", true),
        ("ALL TABLES", false),
        ("TABLES IN SCHEMA public", true),
        ("TABLES IN SCHEMA public", false),
    ] {
        let below = if root { "" } else { "PARTITION BY RANGE (at)" };
        let pair = published(
            &format!("FOR {all} WITH (publish_via_partition_root = {root})"),
            source,
            &format!(
                "CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL, n int); CREATE TABLE e (id int, at timestamptz NOT NULL, n int, PRIMARY KEY (id, at)) {below}"
            ),
        );
        let case = format!("FOR {all}, publish_via_partition_root = {root}");
        let told = pair.told("CALL eventkit.backfill('src', 'e')");
        assert!(told.contains("WARNING:  publication p sends what is noted in public.src_changes"), "{case}: {told}");
        assert_eq!(
            told.contains(
                "WARNING:  publication p sends rows of partitions of public.e under the names of the partitions"
            ),
            !root,
            "{case}: {told}"
        );
        // The subscriber does what it is told, then it goes on where it stopped.
        let table = between(&told, "Say at each subscriber: ", "; it may be dropped");
        pair.subscriber.query(table).unwrap_or_else(|failure| panic!("{failure}\n{table}"));
        if !root {
            for range in ["'2024-01-01 00:00Z', '2024-01-05 00:00Z'", "'2024-03-01 00:00Z', '2024-03-02 00:00Z'"] {
                pair.subscriber.query(&format!("CALL eventkit.create_partitions('e', {range})")).unwrap();
            }
        }
        let refresh = || {
            if !root {
                pair.call("SELECT 1");
                pair.subscriber.query("ALTER SUBSCRIPTION s REFRESH PUBLICATION").unwrap();
                pair.synchronized();
            }
        };
        refresh();
        pair.call("SELECT 1");
        pair.same(&case);
        pair.call("UPDATE src SET n = 1 WHERE id < 3; DELETE FROM src WHERE id = 4; UPDATE src SET at = at + interval '1 day' WHERE id = 5; INSERT INTO src VALUES (20, '2024-03-01 00:00Z', 0)");
        pair.call("CALL eventkit.catch_up('src', 'e')");
        refresh();
        pair.same(&case);
        pair.call("UPDATE src SET n = 2 WHERE id = 7; DELETE FROM src WHERE id = 8");
        pair.call("CALL eventkit.finish_backfill('src', 'e')");
        pair.call("INSERT INTO e VALUES (30, '2024-01-02 01:00Z', 3); UPDATE e SET n = 4 WHERE id = 20; DELETE FROM e WHERE id = 9");
        pair.same(&case);
        assert_eq!(
            lines(&pair.publisher, "SELECT id, n FROM e WHERE id < 30 AND id NOT IN (9, 20) ORDER BY id"),
            lines(&pair.publisher, "SELECT id, n FROM src WHERE id NOT IN (9, 20) ORDER BY id")
        );
        pair.subscriber.query("DROP TABLE src_changes").unwrap();
        pair.call("UPDATE e SET n = 5 WHERE id = 20");
        pair.same(&case);
    }
}

#[test]
fn nothing_is_told_where_nothing_is_sent() {
    for publication in [
        "FOR TABLE e WITH (publish_via_partition_root = true)",
        "FOR TABLE src",
        "FOR ALL TABLES WITH (publish = 'update, truncate')",
        "FOR TABLES IN SCHEMA elsewhere",
    ] {
        let (_db, s) = common::open(&format!(
            "CREATE SCHEMA elsewhere; CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL); CREATE TABLE e (id int, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE PUBLICATION p {publication}"
        ));
        s.query("INSERT INTO src VALUES (1, '2024-01-01')").unwrap();
        s.query("CALL eventkit.backfill('src', 'e')").unwrap();
        s.query("UPDATE src SET at = '2024-01-02'").unwrap();
        let heard = s.take_notices().join("\n");
        assert!(!heard.contains("WARNING: publication"), "{publication}: {heard}");
        s.query("CALL eventkit.finish_backfill('src', 'e')")
            .unwrap_or_else(|failure| panic!("{failure}\n{publication}"));
    }
}

#[test]
fn what_is_noted_of_partitions_can_be_published() {
    let (_db, s) = common::open("");
    assert_eq!(
        lines(
            &s,
            "SELECT oid::regclass FROM pg_class c WHERE relnamespace = 'eventkit'::regnamespace AND relkind = 'r' AND relname ~ 'partition|backfill|run' AND relreplident <> 'f' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (indisprimary OR indisreplident))"
        ),
        [""; 0]
    );
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
