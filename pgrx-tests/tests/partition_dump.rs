//! A dump taken in the middle of a change: the restored database is whole, and the next call goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeSet;

use common::stops::{Killed, Victim, holds};
use common::{lines, open, value, victims};
use eventkit_tests::{Session, shared, wait};

/// Dumps a copy, restores it into a new database; a session in that.
fn restored(dumped: &str) -> Session {
    let cluster = shared::cluster().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let dump = cluster.client_program("pg_dump").args(["-Fc", "-d", dumped, "-f"]).arg(file.path()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let db = shared::empty_database().unwrap();
    let restore = cluster
        .client_program("pg_restore")
        .args(["--exit-on-error", "-d", &db.name])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    db.session("restored").unwrap()
}

/// Cancels a call where it has stopped, unless it came to its end without that step; nothing stops any more.
fn end(s: &Session, database: &str) {
    let cluster = shared::cluster().unwrap();
    let look = Session::open(cluster, database, "look").unwrap();
    if value(&look, &format!("SELECT state FROM pg_stat_activity WHERE pid = {}", s.pid())) == "active" {
        s.cancel().unwrap();
    }
    let _ = s.join();
    // A worker ends a moment after the one whom it works for.
    let gone =
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_eventkit' AND datname = current_database())";
    wait::until(cluster, database, gone).unwrap();
    s.query("UPDATE stops.at SET n = -1").unwrap();
}

/// What is restored as it was. The parts of a foreign key, one for each partition that it refers to, are the server's own; 15 does not
/// write down that they are proved when it proves the key, but when it adds it anew.
fn lasting(mut found: Vec<String>) -> Vec<String> {
    found.retain(|line| !(line.starts_with("constraint|notes ") && line.contains("REFERENCES e_")));
    found
}

/// Stops the call in each of its transactions, dumps what it has left, restores it and calls again. `look` is given the session that was
/// stopped, the one in what was restored, when that is, and what brings the call to its end there.
fn each_dumped_and_restored(
    victim: &Victim,
    killed: &Killed,
    mut look: impl FnMut(&Session, &Session, &str, &dyn Fn()),
) {
    let stopped = killed.stopped(|n| killed.start.copy(n), |n| n);
    let mut seen = BTreeSet::new();
    for (left, n) in stopped.iter().zip(&killed.steps) {
        end(left, &killed.start.database(*n));
        // Another step of the same transaction leaves the same.
        if !seen.insert(holds(left)) {
            continue;
        }
        let s = restored(&killed.start.database(*n));
        let when = format!("restored from step {n} of {}", victim.call);
        victim.is_true(&s, &victim.whole, &when);
        look(left, &s, &when, &|| {
            s.query(&victim.call).unwrap_or_else(|failure| panic!("{failure}\n{when}"));
            victim.is_true(&s, &victim.done, &when);
        });
    }
}

/// What was dumped in the middle has to be brought to the same end.
fn is_dumped_and_restored(of: Vec<Victim>, rows: &str) {
    for victim in &of {
        let killed = Killed::of(victim, shared::cluster().unwrap());
        let before = lines(&killed.start.copy(999), rows);
        each_dumped_and_restored(victim, &killed, |_, s, when, call_again| {
            assert_eq!(lines(s, rows), before, "{when}");
            call_again();
            assert_eq!(lasting(holds(s)), lasting(killed.expected.clone()), "{when}");
        });
    }
}

#[test]
fn a_split_is_dumped_and_restored() {
    is_dumped_and_restored(victims::split_partition(), "SELECT * FROM e ORDER BY id");
}

#[test]
fn the_way_back_to_a_plain_table_is_dumped_and_restored() {
    is_dumped_and_restored(victims::unpartition_table(), "SELECT * FROM e ORDER BY id");
}

#[test]
fn changes_that_are_being_applied_are_dumped_and_restored() {
    for victim in victims::catch_up().into_iter().chain(victims::finish_backfill()) {
        let killed = Killed::of(&victim, shared::cluster().unwrap());
        each_dumped_and_restored(&victim, &killed, |left, s, when, call_again| {
            // What was applied is there, what waits is there; nothing is both.
            for rows in ["SELECT * FROM e ORDER BY id", "SELECT * FROM src ORDER BY id"] {
                assert_eq!(lines(s, rows), lines(left, rows), "{when}");
            }
            let waiting = "SELECT source, parent, changes IS NULL, finished_at IS NULL, eventkit.captured_changes(changes) FROM eventkit.backfills";
            assert_eq!(lines(s, waiting), lines(left, waiting), "{when}");
            // Who writes before it goes on is captured, unless it was over.
            s.query("UPDATE src SET day = 60 WHERE id = 2").unwrap();
            let over = value(s, "SELECT count(*) FROM eventkit.backfills WHERE finished_at IS NOT NULL") == "1";
            if over {
                s.query("UPDATE src SET day = 2 WHERE id = 2").unwrap();
            }
            call_again();
            assert_eq!(lasting(holds(s)), lasting(killed.expected.clone()), "{when}");
        });
    }
}

#[test]
fn a_retirement_is_dumped_and_restored() {
    let tables = "SELECT oid::regclass FROM pg_class WHERE relname ~ '^e_2024' AND relkind = 'r' ORDER BY 1";
    for victim in victims::drop_old_partitions() {
        let killed = Killed::of(&victim, shared::cluster().unwrap());
        each_dumped_and_restored(&victim, &killed, |left, s, when, call_again| {
            let left = lines(left, tables);
            // What was there is there, a partition or a table, each with its row.
            assert_eq!(lines(s, tables), left, "{when}");
            for table in &left {
                assert_eq!(value(s, &format!("SELECT count(*) FROM {table}")), "1", "{when}");
            }
            // What was begun is ended as it would have been, also with what is a table of its own since.
            call_again();
            assert_eq!(value(s, "SELECT string_agg(id::text, ' ') FROM e"), "2", "{when}");
            assert_eq!(value(s, "SELECT count(*) FROM eventkit.partition_departures"), "0", "{when}");
        });
    }
}

/// The row of a departure as a dump brings it: numbers of transactions and tables are those of another server.
#[test]
fn what_was_archived_before_a_dump_is_not_taken_for_archived() {
    let (_db, s) = open(
        "CREATE TABLE e (id bigint, at timestamptz) PARTITION BY RANGE (at); CREATE TABLE old AS SELECT 1 AS id; CREATE TABLE archived (id bigint);
         CREATE PROCEDURE hook(partition regclass) LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('INSERT INTO archived SELECT id FROM %s', partition); END $$;
         INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry) VALUES ('e', '1 day', 'UTC', 0, 'drop');
         INSERT INTO eventkit.partition_departures (partition, parent, on_expiry, archive, archived_since, archived_as, begun_at)
         VALUES ('old', 'e', 'drop', 'public.hook(regclass)', (pg_current_xact_id()::text::bigint + 1000000)::text::xid, 1, now())",
    );
    s.query("CALL eventkit.drop_old_partitions('e', '2024-01-01')").unwrap();
    assert_eq!(value(&s, "SELECT concat_ws(' ', (SELECT count(*) FROM archived), to_regclass('old'))"), "1");
}
