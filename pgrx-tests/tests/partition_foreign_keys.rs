//! Foreign keys of a table that is split: no row is read for them under a lock that others wait for, and they hold all the time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails, lines, number, open, value};
use eventkit_tests::shared::Database;
use eventkit_tests::{PgVersion, Session};

/// Orders that refer to a plain table and to a partitioned one, with a default partition beside.
const SETUP: &str = "
CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE shops (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE shops_a PARTITION OF shops FOR VALUES FROM (0) TO (5); CREATE TABLE shops_b PARTITION OF shops FOR VALUES FROM (5) TO (100);
INSERT INTO users SELECT generate_series(1, 10); INSERT INTO shops SELECT generate_series(1, 10);
CREATE TABLE orders (id bigint, at timestamptz NOT NULL, user_id bigint, shop bigint, PRIMARY KEY (id, at),
  CONSTRAINT \"us\"\"er\" FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE DEFERRABLE, FOREIGN KEY (shop) REFERENCES shops);
COMMENT ON CONSTRAINT \"us\"\"er\" ON orders IS E'who\\norders';
INSERT INTO orders SELECT n, now() - n * interval '1 hour', 1 + n % 10, 1 + n % 10 FROM generate_series(1, 99) n";
const PLAN: &str = "SELECT statement FROM eventkit.plan_split_partition('orders')";
/// The keys of the parent, and how many partitions have them from there.
const KEYS: &str = "SELECT k.conname || ' ' || pg_get_constraintdef(k.oid) || ' ' || coalesce(obj_description(k.oid, 'pg_constraint'), '-') || ' ' || k.convalidated || ' '
  || (SELECT count(*) = (SELECT count(*) FROM pg_inherits WHERE inhparent = 'orders'::regclass) FROM pg_constraint c WHERE c.conparentid = k.oid AND c.convalidated AND c.conrelid <> k.conrelid)
  FROM pg_constraint k WHERE k.conrelid = 'orders'::regclass AND k.contype = 'f' AND k.conparentid = 0 ORDER BY 1";
const MARKS: &str = "SELECT count(*) FROM pg_constraint k JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid AND d.description ~ 'waits'";
/// What this session has locked so that others wait, but for tables that are made in this transaction.
const HELD: &str = "SELECT string_agg(DISTINCT c.relname || ' ' || l.mode, ', ') FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
  WHERE l.pid = pg_backend_pid() AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') AND c.relkind IN ('r', 'p')";

fn converted() -> (Database, Session) {
    let (db, s) = open(SETUP);
    // With neighbours of the adopted partition from the start.
    s.query("CALL eventkit.convert_table('orders', 'at', adopt_until => now() + interval '1 day')").unwrap();
    (db, s)
}

/// Runs a plan statement by statement, up to the end of the transaction of the exchange or to the end of all; gives what was read for
/// foreign keys: the statement and the locks held then.
fn by_hand(s: &Session, all: bool) -> Vec<(String, String)> {
    let plan = lines(s, PLAN);
    let mut checks = Vec::new();
    s.query("SET client_min_messages = debug1").unwrap();
    let mut exchanged = false;
    let mut inside = false;
    for statement in &plan {
        if !inside {
            s.query("BEGIN").unwrap();
            inside = true;
        }
        let _ = s.take_notices();
        s.query(statement).unwrap_or_else(|e| panic!("{statement}: {e}"));
        let heard = s.take_notices().join("\n");
        if heard.contains("validating foreign key constraint") || heard.contains("verifying table") {
            checks.push((statement.clone(), value(s, HELD)));
        }
        exchanged |= statement.contains("DETACH PARTITION");
        if statement == "COMMIT" {
            inside = false;
            if exchanged && !all {
                break;
            }
        }
    }
    s.query("RESET client_min_messages").unwrap();
    checks
}

#[test]
fn no_row_is_read_under_a_lock_that_others_wait_for() {
    let (_db, s) = converted();
    let before = lines(&s, KEYS);
    assert!(before.len() == 2 && before.iter().all(|key| key.ends_with("true true")), "{before:?}");
    let checks = by_hand(&s, true);
    // Each part proves each key, and those of the adopted partition's neighbours.
    assert!(checks.len() >= 10, "{checks:?}");
    for (statement, held) in &checks {
        assert!(statement.contains("eventkit.prove_foreign_key("), "{statement}");
        assert_eq!(held, "NULL", "{statement}");
    }
    assert_eq!(lines(&s, KEYS), before);
    assert_eq!(value(&s, MARKS), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM pg_constraint WHERE NOT convalidated"), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM orders"), "99");
    // All hold, both ways.
    assert_eq!(fails(&s, "INSERT INTO orders VALUES (1, now(), 11, 1)").sqlstate, "23503");
    assert_eq!(fails(&s, "INSERT INTO orders VALUES (1, now(), 1, 11)").sqlstate, "23503");
    assert_eq!(fails(&s, "DELETE FROM shops WHERE id = 3").sqlstate, "23503");
    s.query("DELETE FROM users WHERE id = 3").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM orders WHERE user_id = 3"), "0");
}

#[test]
fn what_was_stopped_after_the_exchange_holds_and_is_ended_by_the_next_call() {
    let (_db, s) = converted();
    let before = lines(&s, KEYS);
    assert_eq!(by_hand(&s, false), []);
    assert!(lines(&s, KEYS).is_empty());
    // Each partition has them: nothing slips in meanwhile, and nothing is lost.
    assert_eq!(fails(&s, "INSERT INTO orders VALUES (1, now(), 11, 1)").sqlstate, "23503");
    assert_eq!(fails(&s, "INSERT INTO orders VALUES (1, now() - interval '2 days', 1, 11)").sqlstate, "23503");
    assert_eq!(fails(&s, "DELETE FROM shops WHERE id = 3").sqlstate, "23503");
    s.query("DELETE FROM users WHERE id = 3").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM orders WHERE user_id = 3"), "0");
    // Also one that is made meanwhile.
    s.query("CALL eventkit.create_partition('orders', (now() + interval '50 days')::date)").unwrap();
    assert_eq!(fails(&s, "INSERT INTO orders VALUES (1, now() + interval '50 days', 11, 1)").sqlstate, "23503");
    assert_eq!(
        number(&s, MARKS),
        2 * number(&s, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'orders'::regclass")
    );
    let told = lines(&s, "SELECT what || ' ' || hint FROM eventkit.partition_health WHERE what ~ 'waits to be'");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].ends_with("CALL eventkit.split_partition('public.orders')"), "{told:?}");
    let refused = fails(&s, "CALL eventkit.unpartition_table('orders')");
    assert!(refused.sqlstate == "0A000" && refused.hint.as_ref().unwrap().contains("split_partition"), "{refused}");
    s.query("CALL eventkit.split_partition('orders')").unwrap();
    assert_eq!(lines(&s, KEYS), before);
    assert_eq!(value(&s, MARKS), "0");
    let _ = s.take_notices();
    s.query("CALL eventkit.split_partition('orders')").unwrap();
    assert!(s.take_notices().join("").contains("no partition of"));
    s.query("CALL eventkit.unpartition_table('orders')").unwrap();
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype = 'f' AND convalidated AND conparentid = 0"
        ),
        "2"
    );
}

#[test]
fn a_violation_that_nobody_has_seen_is_an_error_and_the_next_call_goes_on() {
    let (_db, s) = converted();
    let before = lines(&s, KEYS);
    s.query("SET session_replication_role = replica; INSERT INTO orders VALUES (200, now() - interval '50 hours', 77, 1); RESET session_replication_role").unwrap();
    let refused = fails(&s, "CALL eventkit.split_partition('orders')");
    assert!(refused.sqlstate == "23503" && refused.hint.is_some(), "{refused}");
    assert_eq!(value(&s, "SELECT count(*) FROM orders"), "100");
    s.query("DELETE FROM orders WHERE id = 200").unwrap();
    s.query("CALL eventkit.split_partition('orders')").unwrap();
    assert_eq!(lines(&s, KEYS), before);
    assert_eq!(value(&s, MARKS), "0");
}

#[test]
fn without_the_right_to_add_a_key_the_attach_checks_it() {
    let (db, s) = converted();
    let before = lines(&s, KEYS);
    let owner = format!("owner_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {owner} LOGIN; ALTER TABLE orders OWNER TO {owner}; GRANT CREATE ON SCHEMA public TO {owner}; GRANT USAGE ON SCHEMA eventkit TO {owner}; \
         GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {owner}; GRANT SELECT ON users TO {owner}; GRANT SELECT, REFERENCES ON shops TO {owner}; \
         DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'orders'::regclass LOOP EXECUTE format('ALTER TABLE %s OWNER TO {owner}', p); END LOOP; END $$"
    ))
    .unwrap();
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    let loose = "SELECT k.conname FROM eventkit.loose_foreign_keys('orders') l JOIN pg_constraint k ON k.oid = l";
    assert_eq!(lines(&as_owner, loose), ["orders_shop_fkey"]);
    as_owner.query("CALL eventkit.split_partition('orders')").unwrap();
    assert_eq!(lines(&s, KEYS), before);
    assert_eq!(value(&s, MARKS), "0");
}

#[test]
fn the_keys_outlive_the_only_partition() {
    let (_db, s) = open(SETUP);
    s.query("CALL eventkit.convert_table('orders', 'at', premake => 0)").unwrap();
    let before = lines(&s, KEYS);
    s.query("DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT partition FROM eventkit.partitions WHERE parent = 'orders'::regclass AND from_time <> '-infinity' LOOP EXECUTE format('DROP TABLE %s', p); END LOOP; END $$").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'orders'::regclass"), "1");
    s.query("CALL eventkit.split_partition('orders')").unwrap();
    assert_eq!((before.len(), lines(&s, KEYS)), (2, before));
    assert_eq!(value(&s, MARKS), "0");
}

#[test]
fn rows_that_come_while_keys_wait_are_checked_at_once() {
    let (_db, s) = converted();
    let before = lines(&s, KEYS);
    assert_eq!(by_hand(&s, false), []);
    s.query(
        "CREATE TABLE filled (LIKE orders INCLUDING ALL); INSERT INTO filled VALUES (1, now() + interval '60 days', 77, 1)",
    )
    .unwrap();
    let attach = "CALL eventkit.attach_partition('orders', 'filled', date_trunc('day', now(), 'UTC') + interval '60 days', date_trunc('day', now(), 'UTC') + interval '61 days')";
    assert_eq!(fails(&s, attach).sqlstate, "23503");
    assert_eq!(value(&s, "SELECT relispartition FROM pg_class WHERE oid = 'filled'::regclass"), "f");
    s.query("UPDATE filled SET user_id = 1").unwrap();
    s.query(attach).unwrap();
    s.query("CALL eventkit.split_partition('orders')").unwrap();
    assert_eq!((lines(&s, KEYS), value(&s, MARKS)), (before, "0".to_owned()));
}

#[test]
fn a_partition_planned_before_the_exchange_has_the_keys_all_the_same() {
    let (db, s) = converted();
    let before = lines(&s, KEYS);
    let early = db.session("early").unwrap();
    let plan = lines(
        &early,
        "SELECT statement FROM eventkit.plan_create_partition('orders', (now() + interval '70 days')::date)",
    );
    assert_eq!(by_hand(&s, false), []);
    early.query("BEGIN").unwrap();
    for statement in &plan {
        early.query(statement).unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
    early.query("COMMIT").unwrap();
    assert_eq!(fails(&s, "INSERT INTO orders VALUES (1, now() + interval '70 days', 11, 1)").sqlstate, "23503");
    s.query("CALL eventkit.split_partition('orders')").unwrap();
    assert_eq!((lines(&s, KEYS), value(&s, MARKS)), (before, "0".to_owned()));
}

#[test]
fn a_partition_that_goes_meanwhile_stops_no_proof() {
    let (_db, s) = converted();
    let before = lines(&s, KEYS);
    let plan = lines(&s, PLAN);
    let mut inside = false;
    let mut gone = false;
    for statement in &plan {
        if statement.contains("eventkit.prove_foreign_key(") && !gone {
            gone = true;
            let last = value(
                &s,
                "SELECT partition FROM eventkit.partitions WHERE parent = 'orders'::regclass ORDER BY from_time DESC LIMIT 1",
            );
            s.query(&format!("DROP TABLE {last}")).unwrap();
        }
        if !inside {
            s.query("BEGIN").unwrap();
        }
        s.query(statement).unwrap_or_else(|e| panic!("{statement}: {e}"));
        inside = statement != "COMMIT";
    }
    assert!(gone);
    assert_eq!((lines(&s, KEYS), value(&s, MARKS)), (before, "0".to_owned()));
}

#[test]
fn a_key_that_somebody_gives_back_to_the_parent_is_no_obstacle() {
    let (_db, s) = converted();
    let before = lines(&s, KEYS);
    assert_eq!(by_hand(&s, false), []);
    s.query("ALTER TABLE orders ADD CONSTRAINT orders_shop_fkey FOREIGN KEY (shop) REFERENCES shops").unwrap();
    s.query("CALL eventkit.split_partition('orders')").unwrap();
    assert_eq!((lines(&s, KEYS), value(&s, MARKS)), (before, "0".to_owned()));
    assert_eq!(fails(&s, "INSERT INTO orders VALUES (1, now(), 1, 11)").sqlstate, "23503");
}

#[test]
fn a_name_that_a_partition_has_taken_leaves_the_key_with_the_parent() {
    let (_db, s) = converted();
    let first = value(
        &s,
        "SELECT partition FROM eventkit.partitions WHERE parent = 'orders'::regclass AND from_time > '-infinity' ORDER BY from_time LIMIT 1",
    );
    s.query(&format!("ALTER TABLE orders DROP CONSTRAINT orders_shop_fkey; ALTER TABLE {first} ADD CONSTRAINT taken CHECK (id > 0); ALTER TABLE orders ADD CONSTRAINT taken FOREIGN KEY (shop) REFERENCES shops")).unwrap();
    let before = lines(&s, KEYS);
    s.query("CALL eventkit.split_partition('orders')").unwrap();
    assert_eq!((lines(&s, KEYS), value(&s, MARKS)), (before, "0".to_owned()));
}

#[test]
fn a_key_that_the_server_does_not_hold_is_carried_as_it_is() {
    // The word is known from 18 on; before that the keys are held ones.
    let word = if PgVersion::under_test().unwrap() >= PgVersion::V18 { " NOT ENFORCED" } else { "" };
    let (_db, s) = open(SETUP);
    s.query(&format!(
        "ALTER TABLE orders DROP CONSTRAINT orders_shop_fkey, ADD CONSTRAINT orders_shop_fkey FOREIGN KEY (shop) REFERENCES shops{word};
         CREATE TABLE notes (id bigint, at timestamptz); INSERT INTO notes SELECT id, at FROM orders;
         ALTER TABLE notes ADD CONSTRAINT notes_order_fkey FOREIGN KEY (id, at) REFERENCES orders{word}"
    ))
    .unwrap();
    if !word.is_empty() {
        s.query(
            "INSERT INTO orders VALUES (500, now() - interval '50 hours', 1, 77); INSERT INTO notes VALUES (77, now())",
        )
        .unwrap();
    }
    let keys = "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) || ' ' || coalesce(to_jsonb(k) ->> 'conenforced', 'true') FROM pg_constraint k
      WHERE conrelid IN ('orders'::regclass, 'notes'::regclass) AND contype = 'f' AND conparentid = 0 ORDER BY 1";
    let rows = number(&s, "SELECT count(*) FROM orders");
    let before = lines(&s, keys);
    assert_eq!(before.len(), 3);
    for call in ["convert_table('orders', 'at')", "split_partition('orders')", "unpartition_table('orders')"] {
        s.query(&format!("CALL eventkit.{call}")).unwrap_or_else(|failure| panic!("{call}: {failure}"));
        assert_eq!(lines(&s, keys), before, "{call}");
        assert_eq!(number(&s, "SELECT count(*) FROM orders"), rows, "{call}");
        assert_eq!(fails(&s, "INSERT INTO orders VALUES (1, now(), 11, 1)").sqlstate, "23503", "{call}");
        // Nothing is left to do.
        if call.starts_with("split") {
            let _ = s.take_notices();
            s.query(&format!("CALL eventkit.{call}")).unwrap();
            assert!(s.take_notices().join("").contains("no partition of"));
        }
    }
}

#[test]
fn the_last_partition_with_a_key_that_waits_is_not_retired() {
    let (_db, s) = converted();
    let before = lines(&s, KEYS);
    assert_eq!(by_hand(&s, false), []);
    // What is in use is never called old.
    for later in lines(
        &s,
        "SELECT partition FROM eventkit.partitions WHERE parent = 'orders'::regclass AND (to_time IS NULL OR to_time > now())",
    ) {
        s.query(&format!("ALTER TABLE orders DETACH PARTITION {later}")).unwrap();
    }
    let last = value(
        &s,
        "SELECT partition FROM eventkit.partitions WHERE parent = 'orders'::regclass AND to_time IS NOT NULL ORDER BY from_time DESC LIMIT 1",
    );
    let _ = s.take_notices();
    s.query("CALL eventkit.drop_old_partitions('orders', now())").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains(&format!("WARNING: partition {last} is kept: foreign key")), "{heard}");
    // The others have gone, and what is left is a table with its keys.
    let left = "SELECT string_agg(inhrelid::regclass::text, ' ') FROM pg_inherits WHERE inhparent = 'orders'::regclass";
    assert_eq!(value(&s, left), last);
    assert_eq!(value(&s, &format!("SELECT count(*) FROM eventkit.marked_foreign_keys('{last}')")), "2");
    s.query("CALL eventkit.split_partition('orders')").unwrap();
    assert_eq!(lines(&s, KEYS), before);
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.waiting_foreign_keys('orders')"), "0");
    s.query("CALL eventkit.drop_old_partitions('orders', now())").unwrap();
    assert_eq!(value(&s, left), "NULL");
    assert_eq!(lines(&s, KEYS), before);
}
