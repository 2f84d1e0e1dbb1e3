//! Cancelled, by somebody or by statement_timeout, at every step of each procedure; the session and the tables are as before, the next call goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::victims;

#[test]
fn create_partitions_is_cancelled_at_every_step() {
    for victim in victims::create_partitions() {
        victim.is_cancelled_at_every_step();
    }
}

#[test]
fn attach_partition_is_cancelled_at_every_step() {
    for victim in victims::attach_partition() {
        victim.is_cancelled_at_every_step();
    }
}

#[test]
fn backfill_is_cancelled_at_every_step() {
    for victim in victims::backfill() {
        victim.is_cancelled_at_every_step();
    }
}

#[test]
fn catch_up_is_cancelled_at_every_step() {
    for victim in victims::catch_up() {
        victim.is_cancelled_at_every_step();
    }
}

#[test]
fn finish_backfill_is_cancelled_at_every_step() {
    for victim in victims::finish_backfill() {
        victim.is_cancelled_at_every_step();
    }
}

#[test]
fn drain_default_is_cancelled_at_every_step() {
    for victim in victims::drain_default() {
        victim.is_cancelled_at_every_step();
    }
}

#[test]
fn drop_old_partitions_is_cancelled_at_every_step() {
    for victim in victims::drop_old_partitions() {
        victim.is_cancelled_at_every_step();
    }
}

#[test]
fn maintain_is_cancelled_at_every_step() {
    for victim in victims::maintain() {
        victim.is_cancelled_at_every_step();
    }
}

#[test]
fn convert_table_is_cancelled_at_every_step() {
    for victim in victims::convert_table() {
        victim.is_cancelled_at_every_step();
    }
}

#[test]
fn split_partition_is_cancelled_at_every_step() {
    for victim in victims::split_partition() {
        victim.is_cancelled_at_every_step();
    }
}

#[test]
fn unpartition_table_is_cancelled_at_every_step() {
    for victim in victims::unpartition_table() {
        victim.is_cancelled_at_every_step();
    }
}
