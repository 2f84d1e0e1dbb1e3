//! Everything around pg_eventkit that speaks SQL only: servers of our own, sessions, the demo, the benches.

pub mod account;
pub mod bench;
pub mod cluster;
pub mod command;
pub mod failure;
mod guard;
pub mod install;
pub mod packages;
pub mod place;
pub mod sample;
pub mod servers;
pub mod session;
pub mod setup;
pub mod shared;
pub mod tools;
pub mod wait;

pub use cluster::{Cluster, ClusterBuilder};
pub use failure::Failure;
pub use place::PgVersion;
pub use session::Session;
