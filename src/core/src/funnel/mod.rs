//! Funnels: an ordered list of steps, and how far a user's events get along it.

pub mod attempt;
pub mod attribution;
pub mod chart;
pub mod condition;
pub mod definition;
pub mod digest;
pub mod duration;
pub mod entries;
pub mod held;
pub mod matching;
pub mod moment;
pub mod ordered;
pub mod ordered_excluding;
pub mod rows;
pub mod rules;
pub mod scan;
pub mod slot;
pub mod strict;
pub mod strict_excluding;
pub mod summary;
pub mod table;
pub mod trend;
pub mod unordered;
pub mod unordered_excluding;
pub mod user;
