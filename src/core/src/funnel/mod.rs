//! Funnels: an ordered list of steps, and how far a user's events get along it.

pub mod chart;
pub mod definition;
pub mod duration;
pub mod ordered;
pub mod scan;
pub mod summary;
pub mod table;
