//! The algorithms of pg_eventkit, without a server: no pgrx, no unsafe, no clock, no input or output.
//!
//! Events are seen through two small traits ([`event::Event`] and [`event::Events`]), so that `hstore[]`,
//! `jsonb[]` and a `jsonb` array value are three sources of one algorithm.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        reason = "a test fails by panicking"
    )
)]

pub mod arrange;
pub mod bytes;
pub mod copies;
pub mod dedupe;
pub mod document;
pub mod error;
pub mod event;
pub mod funnel;
pub mod names;
pub mod options;
mod packed;
pub mod partition;
pub mod paths;
pub mod pattern;
pub mod prefix;
pub mod retention;
mod rows;
pub mod selection;
pub mod sequence;
pub mod session;
pub mod stored;
pub mod time;
pub mod value;
pub mod zone;
