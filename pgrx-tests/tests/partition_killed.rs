//! SIGKILL of the backend, then of the whole server, in every transaction of each procedure; the next call makes it good.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::stops::{Victim, are_killed_in_every_transaction};
use common::victims;

/// The calls of one server are killed together: to make and to start one takes longer than the calls.
fn all_of(victims: Vec<Vec<Victim>>) {
    are_killed_in_every_transaction(&victims.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn what_makes_and_retires_partitions_is_killed() {
    all_of(vec![
        victims::create_partitions(),
        victims::attach_partition(),
        victims::drain_default(),
        victims::drop_old_partitions(),
        victims::maintain(),
    ]);
}

#[test]
fn what_copies_and_converts_tables_is_killed() {
    all_of(vec![
        victims::backfill(),
        victims::catch_up(),
        victims::finish_backfill(),
        victims::convert_table(),
        victims::split_partition(),
        victims::unpartition_table(),
    ]);
}
