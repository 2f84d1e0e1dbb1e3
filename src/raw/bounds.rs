//! The bounds of a table's partitions, as the server keeps them in memory for its own planning.

use eventkit_core::partition::key::{KeyType, Limit};
use pgrx::pg_sys::{self, Oid};

/// One partition with its limits.
pub struct Attached {
    /// The partition.
    pub table: Oid,
    /// Its lower limit.
    pub low: Limit,
    /// Its upper limit.
    pub high: Limit,
}

/// The partitions of a table that is partitioned by range over one column of this type: those whose detach is pending
/// too, the default partition not. Holds `ACCESS SHARE` on the table for the moment. The server builds the list once after each change of the
/// partitions, and its next attach uses the same; reading it is a walk over numbers.
pub fn partitions_of(parent: Oid, key_type: KeyType) -> Vec<Attached> {
    // The type of the field differs between server versions.
    const BY_RANGE: i64 = b'r' as i64;
    const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: the relation is open and locked while its description is read, and closed afterwards; a dropped one is null.
    // The key of a table never changes, so that its type is the one that the caller has read. A table of this kind has for each bound one datum and one kind, and one more index than bounds; an
    // index that is not negative points into the list of partitions.
    unsafe {
        let relation = pg_sys::try_relation_open(parent, LOCK);
        if relation.is_null() {
            return Vec::new();
        }
        let mut found = Vec::new();
        let description = pg_sys::RelationGetPartitionDesc(relation, false);
        let bounds = if description.is_null() { std::ptr::null_mut() } else { (*description).boundinfo };
        if !bounds.is_null() && i64::from((*bounds).strategy) == BY_RANGE {
            let table = |index: i32| *(*description).oids.add(index as usize);
            let limit = |at: i32| {
                let kind = **(*bounds).kind.add(at as usize);
                match kind {
                    pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MINVALUE => Limit::Below,
                    pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MAXVALUE => Limit::Above,
                    _ => value(key_type, **(*bounds).datums.add(at as usize)),
                }
            };
            for at in 1..(*bounds).ndatums {
                let index = *(*bounds).indexes.add(at as usize);
                if index >= 0 {
                    found.push(Attached { table: table(index), low: limit(at - 1), high: limit(at) });
                }
            }
        }
        pg_sys::relation_close(relation, LOCK);
        found
    }
}

/// A value of the key's type.
///
/// # Safety
/// The datum is of that type.
unsafe fn value(key_type: KeyType, datum: pg_sys::Datum) -> Limit {
    match key_type {
        KeyType::Date => Limit::Date(datum.value() as i32),
        KeyType::Timestamp | KeyType::Timestamptz => Limit::Time(datum.value() as i64),
        KeyType::Bigint => Limit::Number(datum.value() as i64),
        // SAFETY: a uuid is a pointer to its 16 bytes.
        KeyType::Uuid => Limit::Uuid(u128::from_be_bytes(unsafe { *datum.cast_mut_ptr::<[u8; 16]>() })),
    }
}
