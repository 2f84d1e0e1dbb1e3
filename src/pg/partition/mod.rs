//! Partitions as SQL sees them: the order in which the SQL files of the subject are made, and what their functions share.
#![allow(clippy::type_complexity, reason = "pgrx reads the names of the result's columns in the signature")]

mod backfill;
mod backfill_plans;
mod catalog;
mod convert;
mod copy_rows;
mod drain;
mod jobs;
mod maintain;
mod periods;
mod plans;
mod retire;
mod split;
mod target;
#[cfg(any(test, feature = "pg_test"))]
mod tests;
mod unpartition;

use eventkit_core::error::Result;
use eventkit_core::partition::error;
use pgrx::datum::{Date, Timestamp, TimestampWithTimeZone};

pgrx::extension_sql_file!("../../../sql/ownership.sql", name = "ownership");
pgrx::extension_sql_file!("../../../sql/partition_settings.sql", name = "partition_settings", requires = ["ownership"]);
pgrx::extension_sql_file!(
    "../../../sql/partition_view.sql",
    name = "partition_view",
    requires = ["partition_settings"]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_plan.sql",
    name = "partition_plan",
    requires = ["partition_settings", copy_rows::copy_rows]
);
pgrx::extension_sql_file!("../../../sql/advisory_locks.sql", name = "advisory_locks", requires = ["partition_plan"]);
pgrx::extension_sql_file!(
    "../../../sql/partition_foreign_keys.sql",
    name = "partition_foreign_keys",
    requires = ["partition_plan"]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_create.sql",
    name = "partition_create",
    requires = [
        "partition_foreign_keys",
        "partition_view",
        "advisory_locks",
        plans::plan_create_partition,
        plans::plan_create_partitions,
        plans::plan_partition,
        backfill_plans::plan_backfill_period,
        periods::partition_periods
    ]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_manage.sql",
    name = "partition_manage",
    requires = ["partition_create", plans::plan_manage_partitions]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_attach.sql",
    name = "partition_attach",
    requires = ["partition_create", plans::plan_attach_partition]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_ledger.sql",
    name = "partition_ledger",
    requires = ["partition_settings", backfill::source_periods]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_publications.sql",
    name = "partition_publications",
    requires = ["partition_plan"]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_copy.sql",
    name = "partition_copy",
    requires = [
        "partition_create",
        "partition_ledger",
        backfill::next_backfill_period,
        jobs::start_backfill_workers,
        jobs::await_backfill_workers
    ]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_backfill.sql",
    name = "partition_backfill",
    requires = [
        "partition_copy",
        "partition_publications",
        "partition_ledger",
        backfill_plans::plan_backfill,
        backfill_plans::plan_backfill_capture,
        backfill_plans::plan_backfill_sequences,
        backfill::check_backfill,
        backfill::backfill_left_behind,
        backfill::backfill_differences
    ]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_archive.sql",
    name = "partition_archive",
    requires = ["partition_settings"]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_retire.sql",
    name = "partition_retire",
    requires = [
        "partition_archive",
        "partition_create",
        retire::expired_partitions,
        retire::detach_concurrently,
        retire::run_as_owner,
        retire::plan_detach_partition,
        retire::plan_expired_table,
        retire::plan_drop_old_partitions,
        retire::plan_retire_partitions
    ]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_drain.sql",
    name = "partition_drain",
    requires = [
        "partition_retire",
        drain::next_default_period,
        drain::default_left_behind,
        drain::default_period_rows,
        drain::plan_drain_period,
        drain::plan_drain_default
    ]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_maintain.sql",
    name = "partition_maintain",
    requires = ["partition_retire", "partition_drain", "partition_manage", maintain::upcoming_partitions]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_maintain_plan.sql",
    name = "partition_maintain_plan",
    requires = ["partition_maintain"]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_health.sql",
    name = "partition_health",
    requires = ["partition_maintain", maintain::partition_gaps]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_catch_up.sql",
    name = "partition_catch_up",
    requires = [
        "partition_backfill",
        backfill_plans::plan_catch_up,
        backfill_plans::plan_finish_backfill,
        backfill_plans::plan_abandon_backfill,
        backfill::source_periods_of_hours
    ]
);

pgrx::extension_sql_file!(
    "../../../sql/partition_convert.sql",
    name = "partition_convert",
    requires = ["partition_attach", "partition_manage", convert::plan_convert_table, convert::conversion_fingerprint]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_split.sql",
    name = "partition_split",
    requires = ["partition_convert", split::plan_split_partition, unpartition::plan_unpartition_table]
);

/// From 1970-01-01 to 2000-01-01, where the server counts from.
const EPOCH_SHIFT: i64 = 946_684_800_000_000;

/// Times as the core counts them: microseconds since 1970-01-01 00:00.
trait Micros: Sized {
    /// The time of an argument. Raises `22008` for an infinity.
    fn micros(self, argument: &str) -> Result<i64>;
}

impl Micros for TimestampWithTimeZone {
    fn micros(self, argument: &str) -> Result<i64> {
        finite(self.into_inner(), argument)
    }
}

impl Micros for Timestamp {
    fn micros(self, argument: &str) -> Result<i64> {
        finite(self.into_inner(), argument)
    }
}

impl Micros for Date {
    fn micros(self, argument: &str) -> Result<i64> {
        if self.is_infinity() || self.is_neg_infinity() {
            return Err(error::infinite(argument));
        }
        Ok(i64::from(self.to_pg_epoch_days()) * 86_400_000_000 + EPOCH_SHIFT)
    }
}

fn finite(micros: i64, argument: &str) -> Result<i64> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Err(error::infinite(argument));
    }
    Ok(micros.saturating_add(EPOCH_SHIFT))
}

fn shown(micros: i64) -> Option<Timestamp> {
    Timestamp::try_from(micros - EPOCH_SHIFT).ok()
}

fn instant(micros: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(micros - EPOCH_SHIFT).ok()
}

fn given<T>(value: Option<T>, argument: &str) -> Result<T> {
    value.ok_or_else(|| error::null_argument(argument))
}
