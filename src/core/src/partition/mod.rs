//! Partitions by time: calendar, bounds, names, plans.
//!
//! A plan is made from a snapshot of the catalog (plain names, no Oids) and is an ordered list of steps; whoever
//! shows it and whoever runs it read the same list.

pub mod backfill;
pub mod bound;
pub mod calendar;
pub mod capture;
pub mod clock;
pub mod drain;
pub mod error;
pub mod key;
pub mod name;
pub mod period;
pub mod plan;
pub mod retire;
pub mod settings;
pub mod snapshot;
pub mod step;
