//! All procedures on one parent at the same time, with writers: no row is lost, no writer fails, who is refused is told why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{advisory_locks, lines, number, open, value};
use eventkit_tests::{Session, wait};

/// How often all of them are called.
const ROUNDS: i32 = 6;

/// January for the backfill (from the 11th on) and the retirement (before), February for the drain, March for the attach, April and May for new partitions.
const TABLES: &str = "
CREATE TABLE days (day int PRIMARY KEY, seen int NOT NULL DEFAULT 0);
INSERT INTO days SELECT generate_series(0, 99);
CREATE TABLE e (id bigint, at timestamptz NOT NULL, day int REFERENCES days, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE INDEX ON e (day);
CREATE TABLE rest PARTITION OF e DEFAULT;
CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-10 00:00Z');
INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry) VALUES ('e', '1 day', 'UTC', 1, 'detach');
CREATE TABLE src (id bigint PRIMARY KEY, at timestamptz NOT NULL, day int);
CREATE INDEX ON src (at);
INSERT INTO src SELECT n, '2024-01-11 00:00Z'::timestamptz + n * interval '10 minutes', n % 100 FROM generate_series(0, 999) n;
CREATE SEQUENCE ids START 1000000;
CREATE TABLE written (id bigint);
CREATE PROCEDURE write(own int) LANGUAGE plpgsql AS $$
DECLARE one bigint;
BEGIN
  WHILE to_regclass('stop') IS NULL LOOP
    FOR month IN 1..2 LOOP
      -- Both orders of the two tables.
      IF month = 1 THEN UPDATE days SET seen = seen + 1 WHERE day = own; END IF;
      one := nextval('ids');
      INSERT INTO e VALUES (one, make_timestamptz(2024, month, CASE month WHEN 1 THEN 9 ELSE 1 + (one % 9)::int END, 12, 0, 0, 'UTC'), one % 100);
      INSERT INTO e VALUES (one, make_timestamptz(2024, 2, 10, 12, 0, 0, 'UTC'), one % 100);
      INSERT INTO written VALUES (one), (one);
      IF month = 2 THEN UPDATE days SET seen = seen + 1 WHERE day = own; END IF;
      COMMIT;
      PERFORM pg_sleep(0.005);
    END LOOP;
  END LOOP;
END $$;
CREATE PROCEDURE change() LANGUAGE plpgsql AS $$
BEGIN
  WHILE to_regclass('stop') IS NULL LOOP
    UPDATE src SET day = (day + 1) % 100 WHERE id = floor(random() * 1000);
    COMMIT;
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;";

/// What is called in one round.
fn calls(round: i32) -> Vec<String> {
    vec![
        format!(
            "CALL eventkit.backfill('src', 'e', '2024-01-{:02} 00:00Z', '2024-01-{:02} 00:00Z')",
            10 + round,
            11 + round
        ),
        format!(
            "CALL eventkit.create_partitions('e', '2024-04-{:02} 00:00Z', '2024-04-{:02} 00:00Z')",
            3 * round,
            3 * round + 3
        ),
        "CALL eventkit.drain_default('e')".into(),
        "CALL eventkit.drain_default('e', batch_rows => 0)".into(),
        format!("CALL eventkit.drop_old_partitions('e', '2024-01-{:02} 00:00Z')", round + 1),
        format!("CALL eventkit.maintain('2024-05-{:02} 12:00Z')", round),
        format!(
            "CALL eventkit.attach_partition('e', 'filled_{round}', '2024-03-{round:02} 00:00Z', '2024-03-{:02} 00:00Z')",
            round + 1
        ),
    ]
}

#[test]
fn all_procedures_at_once_lose_nothing_and_stop_no_writer() {
    let (db, s) = open(TABLES);
    for round in 1..=ROUNDS {
        s.query(&format!(
            "CREATE TABLE filled_{round} (LIKE e INCLUDING ALL); \
             INSERT INTO filled_{round} SELECT 10000 * {round} + n, '2024-03-{round:02} 12:00Z', n FROM generate_series(0, 99) n"
        ))
        .unwrap();
    }
    let writers: Vec<Session> = (0..4).map(|n| db.session(&format!("writer {n}")).unwrap()).collect();
    for (n, writer) in writers.iter().enumerate() {
        writer.run(&if n == 3 { "CALL change()".to_owned() } else { format!("CALL write({n})") });
    }
    let callers: Vec<Session> = calls(1).iter().map(|call| db.session(call).unwrap()).collect();
    for round in 1..=ROUNDS {
        for (caller, call) in callers.iter().zip(calls(round)) {
            caller.run(&call);
        }
        for (caller, call) in callers.iter().zip(calls(round)) {
            if let Err(refused) = caller.join() {
                assert!(["55006", "55P03"].contains(&refused.sqlstate.as_str()), "{call}: {refused}");
                assert!(refused.detail.is_some() && refused.hint.is_some(), "{call}: {refused:?}");
            }
            let heard = caller.take_notices().join("\n");
            assert!(!heard.contains("deadlock"), "{call}: {heard}");
            assert!(!heard.contains("could not"), "{call}: {heard}");
        }
    }
    s.query("CREATE TABLE stop ()").unwrap();
    for writer in &writers {
        writer.join().unwrap_or_else(|failure| panic!("{}: {failure}", writer.name()));
    }
    // Alone, each ends what it was refused.
    for call in (1..=ROUNDS).flat_map(calls).chain(["CALL eventkit.finish_backfill('src', 'e')".to_owned()]) {
        let already = call.contains("filled_")
            && value(&s, "SELECT count(*) FROM pg_inherits WHERE inhrelid::regclass::text ~ '^filled_'")
                == ROUNDS.to_string();
        if !already {
            s.query(&call).unwrap_or_else(|failure| panic!("{failure}\n{call}"));
        }
    }
    let heard = s.take_notices().join("\n");
    assert!(!heard.contains("WARNING"), "{heard}");
    let gone: Vec<String> = lines(
        &s,
        "SELECT format('SELECT id, at FROM %s', oid::regclass) FROM pg_class WHERE relname ~ '^e_2024' AND relkind = 'r' AND NOT relispartition",
    );
    assert_eq!(gone.len(), usize::try_from(ROUNDS).unwrap(), "{gone:?}");
    let all = format!("(SELECT id, at FROM e UNION ALL {})", gone.join(" UNION ALL "));
    assert_eq!(
        lines(
            &s,
            &format!(
                "(SELECT id FROM written EXCEPT ALL SELECT id FROM {all} a) UNION ALL (SELECT id FROM {all} a WHERE id >= 1000000 EXCEPT ALL SELECT id FROM written)"
            )
        ),
        [""; 0]
    );
    assert!(number(&s, "SELECT count(*) FROM written") > 100);
    assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM e WHERE id BETWEEN 10000 AND 100000"), (100 * ROUNDS).to_string());
    assert_eq!(lines(&s, "SELECT id, day FROM src WHERE at < '2024-01-17Z' EXCEPT SELECT id, day FROM e"), [""; 0]);
    assert_eq!(
        value(&s, "SELECT count(*) FROM pg_constraint WHERE conname ~ '^partition_(bound|excludes|not_null)'"),
        "0"
    );
    assert_eq!(advisory_locks(&s), 0);
}

#[test]
fn a_writer_who_comes_the_other_way_is_not_stopped_by_the_server() {
    let (db, s) = open(TABLES);
    s.query("INSERT INTO e VALUES (1, '2024-02-01 12:00Z', 1)").unwrap();
    for call in [
        "CALL eventkit.create_partition('e', '2024-04-01', lock_timeout => '1 minute')",
        "CALL eventkit.drain_default('e', lock_timeout => '1 minute')",
        "CALL eventkit.drop_old_partitions('e', '2024-01-02 00:00Z', lock_timeout => '1 minute')",
    ] {
        let (ours, writer) = (db.session("ours").unwrap(), db.session("writer").unwrap());
        // The writer asks whether it is a deadlock long before the other one does.
        ours.query("SET deadlock_timeout = '5 s'").unwrap();
        writer
            .query("SET deadlock_timeout = '3 s'; BEGIN; INSERT INTO rest VALUES (2, '2024-02-02 12:00Z', 2)")
            .unwrap();
        ours.run(call);
        // It has the table that the foreign key refers to, and waits for the parent or its default partition.
        wait::until(
            db.cluster,
            &db.name,
            &format!(
                "EXISTS (SELECT FROM pg_locks WHERE pid = {} AND NOT granted AND relation IN ('e'::regclass, 'rest'::regclass))",
                ours.pid()
            ),
        )
        .unwrap();
        writer
            .query("UPDATE days SET seen = seen + 1 WHERE day = 1; ROLLBACK")
            .unwrap_or_else(|failure| panic!("{call}: {failure}"));
        ours.join().unwrap_or_else(|failure| panic!("{call}: {failure}"));
        let heard = ours.take_notices().join("\n");
        assert!(!heard.contains("WARNING"), "{call}: {heard}");
    }
}
