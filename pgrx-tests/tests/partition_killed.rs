//! SIGKILL of the backend, then of the whole server, at every step of each procedure; the next call makes it good.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::stops::Victim;

/// A parent of one of everything that a partition gets, with a default partition.
const PARENT: &str = "CREATE TABLE days (day int PRIMARY KEY);
    INSERT INTO days SELECT generate_series(0, 99);
    CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TABLE e (id int, at timestamptz NOT NULL, day int REFERENCES days, twice int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id, at), CHECK (stops.pass())) PARTITION BY RANGE (at);
    CREATE INDEX e_day ON e (day);
    CREATE TRIGGER quiet BEFORE INSERT ON e FOR EACH ROW EXECUTE FUNCTION quiet();
    ALTER TABLE e ENABLE ROW LEVEL SECURITY;
    CREATE POLICY mine ON e USING (id > 0);
    COMMENT ON TABLE e IS 'events';
    CREATE TABLE rest PARTITION OF e DEFAULT;
";

/// No table, CHECK or trigger that nobody can account for.
const NO_STRAYS: &str = "NOT EXISTS (SELECT FROM pg_class WHERE relname ~ '^e_20' AND relkind = 'r' AND NOT relispartition) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname ~ '^partition_(bound|excludes|not_null)')";

#[test]
fn create_partitions_is_killed_at_every_step() {
    Victim {
        setup: PARENT,
        call: "CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-04 00:00Z')",
        whole: NO_STRAYS,
        done: "(SELECT count(*) FROM pg_inherits WHERE inhparent = 'e'::regclass) = 4",
    }
    .is_killed_at_every_step(15);
}

/// A table that fits below the parent, with rows of one day.
const FILLED: &str = "CREATE TABLE filled (at timestamptz, id int, day int, twice int GENERATED ALWAYS AS (id * 2) STORED);
    INSERT INTO filled (at, id, day) SELECT '2024-01-01 00:00Z'::timestamptz + n * interval '1 hour', n, n FROM generate_series(1, 3) n;
";

#[test]
fn attach_partition_is_killed_at_every_step() {
    Victim {
        setup: &format!("{PARENT}{FILLED}"),
        call: "CALL eventkit.attach_partition('e', 'filled', '2024-01-01 00:00Z', '2024-01-02 00:00Z')",
        // A CHECK that was committed before the kill is what the next call goes on with.
        whole: "(SELECT count(*) FROM filled) = 3 AND (SELECT count(*) FROM e) IN (0, 3)",
        done: "(SELECT count(*) FROM e WHERE tableoid = 'filled'::regclass) = 3",
    }
    .is_killed_at_every_step(15);
}

/// Rows of three days, and a parent for them.
const SOURCE: &str = "CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL, day int);
    CREATE INDEX ON src (at);
    INSERT INTO src SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '12 hours', n FROM generate_series(0, 5) n;
";

/// Each period that is written down is there whole, and nothing else.
const WHOLE_DAYS: &str = "NOT EXISTS (SELECT FROM e GROUP BY id HAVING count(*) > 1) AND (SELECT count(*) FROM pg_inherits WHERE inhparent = 'e'::regclass) - 1 = (SELECT count(*) FROM eventkit.backfill_periods)";
const SAME_ROWS: &str = "NOT EXISTS ((SELECT id, at, day FROM src EXCEPT ALL SELECT id, at, day FROM e) UNION ALL (SELECT id, at, day FROM e EXCEPT ALL SELECT id, at, day FROM src))";

#[test]
fn backfill_is_killed_at_every_step() {
    Victim {
        setup: &format!("{PARENT}{SOURCE}"),
        call: "CALL eventkit.backfill('src', 'e')",
        whole: &format!("(SELECT count(*) % 2 = 0 FROM e) AND {WHOLE_DAYS} AND {NO_STRAYS}"),
        done: SAME_ROWS,
    }
    .is_killed_at_every_step(30);
}

/// A backfill is done, and the source has changed: other values, another day, a day that is new, rows that went.
const CHANGED: &str = "CALL eventkit.backfill('src', 'e');
    UPDATE src SET day = 50 WHERE id = 0;
    UPDATE src SET at = at - interval '1 day' WHERE id = 4;
    UPDATE src SET id = 60 WHERE id = 1;
    INSERT INTO src VALUES (7, '2024-02-02 12:00Z', 7), (8, '2024-01-02 01:00Z', 8);
    DELETE FROM src WHERE id = 3;
";

#[test]
fn catch_up_is_killed_at_every_step() {
    Victim {
        setup: &format!("{PARENT}{SOURCE}{CHANGED}"),
        call: "CALL eventkit.catch_up('src', 'e', 2)",
        whole: &format!("{WHOLE_DAYS} AND {NO_STRAYS}"),
        done: &format!("{SAME_ROWS} AND (SELECT changes_waiting = 0 FROM eventkit.backfill_progress)"),
    }
    .is_killed_at_every_step(15);
}

#[test]
fn finish_backfill_is_killed_at_every_step() {
    Victim {
        setup: &format!("{PARENT}{SOURCE}{CHANGED}"),
        // When it has ended there is nothing to finish.
        call: "DO $$ BEGIN IF EXISTS (SELECT FROM eventkit.backfills WHERE finished_at IS NULL OR changes IS NOT NULL) THEN CALL eventkit.finish_backfill('src', 'e'); END IF; END $$",
        whole: &format!("{WHOLE_DAYS} AND {NO_STRAYS}"),
        done: SAME_ROWS,
    }
    .is_killed_at_every_step(20);
}

#[test]
fn drain_default_is_killed_at_every_step() {
    for batch in [0, 100] {
        Victim {
            setup: &format!(
                "{PARENT} INSERT INTO e (id, at, day) SELECT n, '2024-01-01 00:00Z'::timestamptz + n * interval '12 hours', n FROM generate_series(0, 3) n;\n"
            ),
            call: &format!("CALL eventkit.drain_default('e', batch_rows => {batch})"),
            whole: &format!("(SELECT count(*) = 4 AND sum(twice) = 12 FROM e) AND (SELECT count(*) % 2 = 0 FROM rest) AND {NO_STRAYS}"),
            done: "(SELECT count(*) = 0 FROM rest) AND (SELECT count(DISTINCT tableoid) = 2 FROM e)",
        }
        .is_killed_at_every_step(20);
    }
}

/// Three days, of which two have expired; the hook is a step.
const EXPIRED: &str = "CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-04 00:00Z');
    INSERT INTO e (id, at, day) SELECT n, '2024-01-01 12:00Z'::timestamptz + n * interval '1 day', n FROM generate_series(0, 2) n;
    CREATE SCHEMA attic;
    CREATE PROCEDURE hook(partition regclass) LANGUAGE plpgsql AS $$ BEGIN PERFORM stops.pass(); END $$;
    INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry, expired_schema) VALUES ('e', '1 day', 'UTC', 0, 'drop', NULL);
";

#[test]
fn drop_old_partitions_is_killed_at_every_step() {
    for (more, done) in [
        ("", "NOT EXISTS (SELECT FROM pg_class WHERE relname ~ '^e_2024010[12]')"),
        ("DROP TABLE rest;\n", "NOT EXISTS (SELECT FROM pg_class WHERE relname ~ '^e_2024010[12]')"),
        (
            "UPDATE eventkit.partition_settings SET on_expiry = 'move', expired_schema = 'attic';\n",
            "(SELECT count(*) = 1 FROM attic.e_20240101) AND (SELECT count(*) = 1 FROM attic.e_20240102)",
        ),
    ] {
        Victim {
            setup: &format!("{PARENT}{EXPIRED}{more}"),
            call: "CALL eventkit.drop_old_partitions('e', '2024-01-03 00:00Z', archive => 'hook(regclass)')",
            whole: "(SELECT count(*) = 1 FROM e WHERE id = 2)",
            done: &format!("(SELECT count(*) = 1 FROM e) AND {done}"),
        }
        .is_killed_at_every_step(5);
    }
}

#[test]
fn maintain_is_killed_at_every_step() {
    Victim {
        setup: &format!(
            "{PARENT}{EXPIRED} UPDATE eventkit.partition_settings SET premake = 1, retention = '1 day';\n INSERT INTO e (id, at, day) VALUES (9, '2024-01-04 12:00Z', 9);\n"
        ),
        call: "CALL eventkit.maintain(as_of => '2024-01-04 18:00Z')",
        whole: "(SELECT count(*) = 2 FROM e WHERE id IN (2, 9))",
        done: "(SELECT count(*) = 0 FROM rest) AND (SELECT count(*) = 2 FROM e) AND to_regclass('e_20240105') IS NOT NULL",
    }
    .is_killed_at_every_step(15);
}

/// A plain table with what a conversion carries; periods of a year, so that the day of the test is no matter.
const PLAIN: &str = "CREATE TABLE days (day int PRIMARY KEY);
    INSERT INTO days SELECT generate_series(0, 99);
    CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TABLE e (id int GENERATED BY DEFAULT AS IDENTITY, at timestamptz NOT NULL, day int REFERENCES days, n serial, PRIMARY KEY (id, at), CHECK (stops.pass()));
    CREATE INDEX e_day ON e (day);
    CREATE TRIGGER quiet BEFORE INSERT ON e FOR EACH ROW EXECUTE FUNCTION quiet();
    CREATE TABLE notes (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES e);
    CREATE VIEW seen AS SELECT id, at FROM e;
    ALTER TABLE e ENABLE ROW LEVEL SECURITY;
    CREATE POLICY mine ON e USING (id > 0);
    GRANT SELECT ON e TO PUBLIC;
    INSERT INTO e (id, at, day) SELECT n, '2023-07-01 00:00Z'::timestamptz + n * interval '6 months', n FROM generate_series(0, 1) n;
    INSERT INTO notes SELECT id, at FROM e WHERE id = 1;
";
const CONVERT: &str = "CALL eventkit.convert_table('e', 'at', period => '1 year', premake => 0)";
const ROWS: &str = "(SELECT count(*) = 2 AND sum(id) = 1 FROM e) AND (SELECT count(*) = 2 FROM seen) AND (SELECT count(*) = 1 FROM notes JOIN e USING (id, at))";

#[test]
fn convert_table_is_killed_at_every_step() {
    Victim {
        setup: PLAIN,
        call: CONVERT,
        whole: ROWS,
        done: &format!("{ROWS} AND (SELECT relkind = 'p' FROM pg_class WHERE oid = 'e'::regclass)"),
    }
    .is_killed_at_every_step(25);
}

#[test]
fn split_partition_is_killed_at_every_step() {
    Victim {
        setup: &format!("{PLAIN}{CONVERT};\n"),
        call: "CALL eventkit.split_partition('e')",
        whole: ROWS,
        done: &format!("{ROWS} AND (SELECT count(DISTINCT tableoid) = 2 FROM e)"),
    }
    .is_killed_at_every_step(40);
}

#[test]
fn unpartition_table_is_killed_at_every_step() {
    Victim {
        setup: &format!("{PLAIN}{CONVERT};\n"),
        call: "DO $$ BEGIN IF (SELECT relkind = 'p' FROM pg_class WHERE oid = 'e'::regclass) OR EXISTS (SELECT FROM pg_constraint WHERE NOT convalidated) THEN CALL eventkit.unpartition_table('e'); END IF; END $$",
        whole: ROWS,
        done: &format!("{ROWS} AND (SELECT relkind = 'r' FROM pg_class WHERE oid = 'e'::regclass)"),
    }
    .is_killed_at_every_step(40);
}
