//! Benches: ratios of our statements to others that do the same work, measured side by side in one run.

pub mod chunks;
pub mod event_arrays;
pub mod funnel;
mod funnel_data;
mod funnel_plain;
pub mod job;
pub mod measure;
pub mod partition;
pub mod partition_backfill;
mod partition_data;
pub mod peers;
pub mod report;
pub mod rows;
pub mod suite;

pub use suite::{Contender, Goal, Suite};

/// Every suite, in the order of the results file.
#[must_use]
pub fn suites() -> Vec<Suite> {
    [
        event_arrays::suites(),
        chunks::suites(),
        funnel::suites(),
        peers::suites(),
        rows::suites(),
        partition::suites(),
        partition_backfill::suites(),
    ]
    .concat()
}
