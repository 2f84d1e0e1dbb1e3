//! `retention`: which conditions a user met.

use eventkit_core::error::Result;
use eventkit_core::funnel::rows::retention;
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::raw::types::BoolArray;

#[pg_extern(immutable, parallel_safe, cost = 2)]
fn retention_add(state: Option<i64>, conditions: Option<BoolArray>) -> Option<i64> {
    let add = || -> Result<i64> {
        let (count, met) = super::conditions(conditions)?;
        retention::add(state, count, met)
    };
    Some(add().or_raise())
}

#[pg_extern(immutable, strict, parallel_safe, cost = 2)]
fn retention_combine(state: i64, other: i64) -> i64 {
    retention::combine(state, other).or_raise()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10)]
fn retention_finish(state: i64) -> Vec<i32> {
    retention::flags(state)
}
