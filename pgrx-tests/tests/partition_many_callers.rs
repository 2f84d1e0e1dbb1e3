//! Two and eight callers of a procedure at once: nothing is done twice, no deadlock, no internal error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::stops::{Victim, holds};
use common::{value, victims};
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
