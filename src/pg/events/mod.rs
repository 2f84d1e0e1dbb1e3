//! Event arrays in SQL: one generic body for each function, declared for the three forms.

mod aggregate;
mod array;
mod chunks;
mod pattern;
mod sessionize;
mod table;
