//! A tablespace without room: each procedure fails at each of its writes that need some, leaves nothing half-done, and goes on when there is room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock};

use common::stops::{Victim, holds};
use common::{value, victims};
use eventkit_tests::account::give_to_server;
use eventkit_tests::{Cluster, ClusterBuilder, PgVersion};

/// The folder of the tablespace, beside the data of its server.
const FOLDER: &str = "disk-of-a-test";

/// A server with a tablespace `small`, and the file that fills it.
struct Disk {
    cluster: Cluster,
    full: PathBuf,
}

/// The server of all tests here; one at a time fills its disk.
fn disk() -> MutexGuard<'static, Disk> {
    static DISK: OnceLock<Mutex<Disk>> = OnceLock::new();
    // A test that failed while it had the disk says so itself.
    DISK.get_or_init(|| Mutex::new(made())).lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn made() -> Disk {
    let library = tempfile::Builder::new().prefix("full-disk").suffix(".so").tempfile_in("/var/tmp").unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/full_disk.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(library.path()).arg(source).arg("-ldl");
    assert!(cc.status().unwrap().success(), "cc cannot make the full disk");
    Command::new("chmod").arg("a+rx").arg(library.path()).status().unwrap();
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap())
        .environment("LD_PRELOAD", library.path().to_str().unwrap())
        .environment("FULL_DISK", FOLDER)
        .setting("autovacuum = off")
        .start()
        .unwrap();
    let folder = cluster.host().join(FOLDER);
    std::fs::create_dir(&folder).unwrap();
    give_to_server(&folder).unwrap();
    let made = format!("CREATE TABLESPACE small LOCATION '{}'", folder.display());
    cluster.connect("postgres").unwrap().batch_execute(&made).unwrap();
    Disk { full: folder.join("full"), cluster }
}

/// Lets the call run into the full disk at its first write that needs room, then at the second, and so on until it comes to its end.
fn runs_out_of_room_at_every_write(victim: &Victim) {
    let disk = disk();
    let start = victim.prepare(&disk.cluster, "TABLESPACE small");
    let (_, expected) = victim.unharmed(&start);
    drop(start.copy(1));
    let mut failed = 0;
    for room in 0.. {
        // Each process counts for itself: a new one begins anew.
        let s = start.session(1);
        std::fs::write(&disk.full, room.to_string()).unwrap();
        let ended = s.query(&victim.call);
        std::fs::remove_file(&disk.full).unwrap();
        // What is wrong with one of many partitions is a warning.
        let warned = s.take_notices().join("\n").contains("No space left on device");
        if let Err(refused) = &ended {
            assert_eq!(refused.sqlstate, "53100", "{refused}");
            assert!(refused.message.contains("No space left on device") && refused.hint.is_some(), "{refused}");
        }
        victim.is_true(&s, &victim.whole, &format!("room for {room} writes"));
        assert_eq!(
            value(&s, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
            "0",
            "room for {room} writes"
        );
        if ended.is_ok() && !warned {
            break;
        }
        failed += 1;
    }
    assert!(failed > 2, "the disk was full {failed} times only: {}", victim.call);
    let s = start.session(1);
    s.query(&victim.call).unwrap_or_else(|failure| panic!("{failure}\n{}", victim.call));
    victim.is_true(&s, &victim.done, "when there is room");
    assert_eq!(holds(&s), expected, "{}", victim.call);
}

#[test]
fn create_partitions_on_a_full_disk() {
    for victim in victims::create_partitions() {
        runs_out_of_room_at_every_write(&victim);
    }
}

#[test]
fn attach_partition_on_a_full_disk() {
    for victim in victims::attach_partition() {
        runs_out_of_room_at_every_write(&victim);
    }
}

#[test]
fn backfill_on_a_full_disk() {
    for victim in victims::backfill() {
        runs_out_of_room_at_every_write(&victim);
    }
}

#[test]
fn catch_up_on_a_full_disk() {
    for victim in victims::catch_up() {
        runs_out_of_room_at_every_write(&victim);
    }
}

#[test]
fn finish_backfill_on_a_full_disk() {
    for victim in victims::finish_backfill() {
        runs_out_of_room_at_every_write(&victim);
    }
}

#[test]
fn drain_default_on_a_full_disk() {
    for victim in victims::drain_default() {
        runs_out_of_room_at_every_write(&victim);
    }
}

#[test]
fn drop_old_partitions_on_a_full_disk() {
    for victim in victims::drop_old_partitions_into_files() {
        runs_out_of_room_at_every_write(&victim);
    }
}

#[test]
fn maintain_on_a_full_disk() {
    for victim in victims::maintain() {
        runs_out_of_room_at_every_write(&victim);
    }
}

#[test]
fn convert_table_on_a_full_disk() {
    for victim in victims::convert_table() {
        runs_out_of_room_at_every_write(&victim);
    }
}

#[test]
fn split_partition_on_a_full_disk() {
    for victim in victims::split_partition() {
        runs_out_of_room_at_every_write(&victim);
    }
}

#[test]
fn unpartition_table_on_a_full_disk() {
    for victim in victims::unpartition_table() {
        runs_out_of_room_at_every_write(&victim);
    }
}
