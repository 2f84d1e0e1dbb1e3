//! Two and eight callers of a procedure at once: nothing is done twice, no deadlock, no internal error; and all procedures at once on one parent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::stops::{Victim, holds};
use common::{number, open, value, victims};
use eventkit_tests::{Failure, Session, shared};

/// Who comes too late is told so, or finds nothing left to do.
fn is_clean(refused: &Failure, call: &str) {
    assert!(!refused.sqlstate.starts_with("XX") && refused.sqlstate != "40P01", "{call}: {refused}");
    assert!(refused.detail.is_some() && refused.hint.is_some(), "{call}: {refused:?}");
}

fn is_called_by_many(victim: &Victim) {
    let start = victim.prepare(shared::cluster().unwrap(), "");
    let (_, expected) = victim.unharmed(&start);
    for callers in [2, 8] {
        let first = start.copy(callers);
        let others: Vec<Session> = (1..callers).map(|_| start.session(callers)).collect();
        let all: Vec<&Session> = others.iter().chain([&first]).collect();
        for s in &all {
            s.run(&victim.call);
        }
        let ended: Vec<Result<_, Failure>> = all.iter().map(|s| s.join()).collect();
        for refused in ended.iter().filter_map(|e| e.as_ref().err()) {
            is_clean(refused, &victim.call);
        }
        assert!(ended.iter().any(Result::is_ok), "{callers} callers of {}: {ended:?}", victim.call);
        for s in &all {
            assert_eq!(
                value(s, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"),
                "0"
            );
        }
        first.query(&victim.call).unwrap_or_else(|failure| panic!("{failure}\n{}", victim.call));
        victim.is_true(&first, &victim.done, &format!("{callers} callers"));
        assert_eq!(holds(&first), expected, "{callers} callers of {}", victim.call);
    }
}

#[test]
fn create_partitions_by_two_and_eight_callers() {
    for victim in victims::create_partitions() {
        is_called_by_many(&victim);
    }
}

#[test]
fn attach_partition_by_two_and_eight_callers() {
    for victim in victims::attach_partition() {
        is_called_by_many(&victim);
    }
}

#[test]
fn backfill_by_two_and_eight_callers() {
    for victim in victims::backfill() {
        is_called_by_many(&victim);
    }
}

#[test]
fn catch_up_by_two_and_eight_callers() {
    for victim in victims::catch_up() {
        is_called_by_many(&victim);
    }
}

#[test]
fn finish_backfill_by_two_and_eight_callers() {
    for victim in victims::finish_backfill() {
        is_called_by_many(&victim);
    }
}

#[test]
fn drain_default_by_two_and_eight_callers() {
    for victim in victims::drain_default() {
        is_called_by_many(&victim);
    }
}

#[test]
fn drop_old_partitions_by_two_and_eight_callers() {
    for victim in victims::drop_old_partitions() {
        is_called_by_many(&victim);
    }
}

#[test]
fn maintain_by_two_and_eight_callers() {
    for victim in victims::maintain() {
        is_called_by_many(&victim);
    }
}

#[test]
fn convert_table_by_two_and_eight_callers() {
    for victim in victims::convert_table() {
        is_called_by_many(&victim);
    }
}

#[test]
fn split_partition_by_two_and_eight_callers() {
    for victim in victims::split_partition() {
        is_called_by_many(&victim);
    }
}

#[test]
fn unpartition_table_by_two_and_eight_callers() {
    for victim in victims::unpartition_table() {
        is_called_by_many(&victim);
    }
}

#[test]
fn all_procedures_at_once_on_one_parent() {
    let (db, s) = open(
        "CREATE TABLE e (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE TABLE rest PARTITION OF e DEFAULT; \
         CREATE TABLE src (id int PRIMARY KEY, at timestamptz NOT NULL); INSERT INTO src SELECT n, '2024-02-01 00:00Z'::timestamptz + n * interval '1 hour' FROM generate_series(0, 479) n; \
         INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, retention, on_expiry) VALUES ('e', '1 day', 'UTC', 5, '30 days', 'drop'); \
         CREATE PROCEDURE again(call text) LANGUAGE plpgsql AS $$ BEGIN FOR n IN 1..10 LOOP EXECUTE call; COMMIT; END LOOP; END $$",
    );
    s.query("CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-20 00:00Z')").unwrap();
    s.query("INSERT INTO e SELECT 1000 + n, '2024-01-01 00:00Z'::timestamptz + n * interval '1 hour' FROM generate_series(0, 1099) n WHERE n < 456 OR n > 960").unwrap();
    let calls = [
        "eventkit.maintain(as_of => '2024-02-25 12:00Z')",
        "eventkit.drain_default('e')",
        "eventkit.drop_old_partitions('e', '2024-01-10 00:00Z')",
        "eventkit.create_partitions('e', '2024-02-18 00:00Z', '2024-03-10 00:00Z')",
        "eventkit.backfill('src', 'e')",
        "eventkit.drain_default('e', 0)",
        "eventkit.drop_old_partitions('e', '2024-01-15 00:00Z')",
        "eventkit.create_partition('e', '2024-02-05')",
    ];
    let sessions: Vec<Session> = calls.iter().map(|call| db.session(call).unwrap()).collect();
    for _ in 0..5 {
        for s in &sessions {
            s.run(&format!("CALL {}", s.name()));
        }
        for s in &sessions {
            if let Err(refused) = s.join() {
                is_clean(&refused, s.name());
            }
        }
    }
    let heard: Vec<String> = sessions.iter().flat_map(Session::take_notices).collect();
    assert!(!heard.join("\n").contains("deadlock"), "{heard:?}");
    for call in calls {
        s.query(&format!("CALL {call}")).unwrap_or_else(|failure| panic!("{failure}\n{call}"));
    }
    assert_eq!(value(&s, "SELECT count(*) FROM rest"), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM (SELECT id FROM e GROUP BY id HAVING count(*) > 1) twice"), "0");
    assert_eq!(
        value(&s, "SELECT count(*) FROM src WHERE NOT EXISTS (SELECT FROM e WHERE (e.id, e.at) = (src.id, src.at))"),
        "0"
    );
    // What had expired was the first fortnight, or as much as the retention of maintain tells besides.
    assert_eq!(
        number(&s, "SELECT count(*) FROM e WHERE at >= '2024-01-26' AND id >= 1000"),
        number(&s, "SELECT count(*) FROM generate_series(0, 1099) n WHERE (n < 456 OR n > 960) AND n >= 25 * 24")
    );
    assert_eq!(
        value(&s, "SELECT count(*) FROM pg_class WHERE relname ~ '^e_2024' AND relkind = 'r' AND NOT relispartition"),
        "0"
    );
    assert_eq!(value(&s, "SELECT count(*) FROM pg_constraint WHERE conname ~ '^partition_(bound|excludes)'"), "0");
}
