//! `sequence_match`, `sequence_count` and `sequence_events`: patterns over rows of conditions. They share their state,
//! so that calls of several with the same arguments gather the rows once.

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::sequence::state::{self, Rows};
use eventkit_core::sequence::{Matcher, Pattern};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::raw::cache::cached;
use crate::raw::place;
use crate::raw::server::poll;
use crate::raw::state::State;
use crate::raw::types::{BoolArray, Bytes, Text, Varlena};

/// Adds a row to the state of its group. O(1) on average.
/// Errors: those of [`Pattern::read`] and [`state::check_same`]; `22004` and `22008` for a row that meets a condition
/// and has no finite time.
#[inline]
fn add(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<Bytes>,
    pattern: Option<Text>,
    time: Option<TimestampWithTimeZone>,
    conditions: Result<(usize, u64)>,
) -> Result<Option<Bytes>> {
    let (conditions, matched) = conditions?;
    // The state of a row that is not kept is not even looked at: of many groups in turn, no cache holds all states.
    if matched == 0 && state.is_some() {
        return Ok(state);
    }
    let pattern = pattern.ok_or_else(without_pattern)?;
    match place::payload(&pattern) {
        Some(text) => add_read(fcinfo, state, text, time, conditions, matched),
        None => {
            let opened = pattern.open();
            add_read(fcinfo, state, opened.payload(), time, conditions, matched)
        }
    }
}

#[inline]
fn add_read(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<Bytes>,
    pattern: &[u8],
    time: Option<TimestampWithTimeZone>,
    conditions: usize,
    matched: u64,
) -> Result<Option<Bytes>> {
    let Some(mut state) = state else { return first(fcinfo, pattern, time, conditions, matched) };
    let time = finite(time, matched)?;
    if let Some(bytes) = place::state(fcinfo, &mut state) {
        state::check_same(bytes, pattern, conditions)?;
        if state::push(bytes, time, matched)? {
            return Ok(Some(state));
        }
    }
    add_to_copy(state, pattern, time, conditions, matched).map(Some)
}

/// The first row of a group, or one that no row which meets a condition has come before.
fn first(
    fcinfo: pg_sys::FunctionCallInfo,
    pattern: &[u8],
    time: Option<TimestampWithTimeZone>,
    conditions: usize,
    matched: u64,
) -> Result<Option<Bytes>> {
    let read: &mut Pattern =
        cached(fcinfo, &[pattern, &conditions.to_ne_bytes()], || Pattern::read(pattern, conditions))?;
    if matched == 0 {
        // Without a state there is no pattern in the end, and the answer is that to a pattern which needs a row.
        let needed = read.matches_nothing();
        return needed.then(|| State::new(&state::empty(pattern, conditions)).map(State::into_value)).transpose();
    }
    let time = finite(time, matched)?;
    let mut state = State::new(&state::empty(pattern, conditions))?;
    state::push(state.bytes(), time, matched)?;
    Ok(Some(state.into_value()))
}

/// The long way: the state is full, or not ours to change.
#[cold]
fn add_to_copy(state: Bytes, pattern: &[u8], time: i64, conditions: usize, matched: u64) -> Result<Bytes> {
    super::replace(state, |bytes| {
        state::check_same(bytes, pattern, conditions)?;
        let mut larger = state::grown(bytes, 0)?;
        state::push(&mut larger, time, matched)?;
        Ok(larger)
    })
}

#[inline]
fn finite(time: Option<TimestampWithTimeZone>, matched: u64) -> Result<i64> {
    match time.map(i64::from) {
        Some(time) if !matches!(time, i64::MIN | i64::MAX) => Ok(time),
        other => Err(super::without_time("", other.is_some(), matched)),
    }
}

#[cold]
fn without_pattern() -> Error {
    Error::new(Condition::NullValueNotAllowed, "argument \"pattern\" must not be NULL")
        .detail("The pattern says what sequence of rows is looked for.")
        .hint("Write '(?1).*(?2)' for a row that meets condition 1 and later one that meets condition 2.")
}

#[pg_extern(immutable, parallel_safe, cost = 2)]
fn sequence_add(
    state: Option<Bytes>,
    pattern: Option<Text>,
    time: Option<TimestampWithTimeZone>,
    conditions: Option<BoolArray>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<Bytes> {
    add(fcinfo, state, pattern, time, super::conditions(conditions)).or_raise()
}

/// What `sql/sequence_aggregates.sql` declares for each small number of conditions: they follow the time as arguments.
#[pg_extern(sql = false)]
fn sequence_add_separate(
    state: Option<Bytes>,
    pattern: Option<Text>,
    time: Option<TimestampWithTimeZone>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<Bytes> {
    add(fcinfo, state, pattern, time, Ok(place::bools(fcinfo, 3))).or_raise()
}

#[pg_extern(immutable, parallel_safe, cost = 10)]
fn sequence_combine(state: Option<Bytes>, other: Option<Bytes>) -> Option<Bytes> {
    super::combine(state, other, state::together)
}

/// What a final function makes of a group's rows.
fn finish<T>(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Bytes,
    answer: impl FnOnce(&mut Matcher, Rows<'_>) -> Result<T>,
) -> Result<T> {
    let opened = state.open();
    let rows = Rows::read(opened.payload())?;
    let matcher: &mut Matcher =
        cached(fcinfo, &[rows.pattern(), &rows.conditions().to_ne_bytes()], || rows.read_pattern().map(Matcher::new))?;
    answer(matcher, rows)
}

#[pg_extern(immutable, parallel_safe, cost = 100)]
fn sequence_match_finish(state: Option<Bytes>, fcinfo: pg_sys::FunctionCallInfo) -> bool {
    let matches = |matcher: &mut Matcher, rows: Rows<'_>| matcher.matches(rows, &mut poll);
    state.is_some_and(|state| finish(fcinfo, state, matches).or_raise())
}

#[pg_extern(immutable, parallel_safe, cost = 100)]
fn sequence_count_finish(state: Option<Bytes>, fcinfo: pg_sys::FunctionCallInfo) -> i64 {
    let count = |matcher: &mut Matcher, rows: Rows<'_>| matcher.count(rows, &mut poll);
    state.map_or(0, |state| finish(fcinfo, state, count).or_raise())
}

#[pg_extern(immutable, parallel_safe, cost = 100)]
fn sequence_events_finish(state: Option<Bytes>, fcinfo: pg_sys::FunctionCallInfo) -> Vec<TimestampWithTimeZone> {
    let times = |matcher: &mut Matcher, rows: Rows<'_>| matcher.times(rows, &mut poll);
    let times = state.map_or_else(Vec::new, |state| finish(fcinfo, state, times).or_raise());
    times.into_iter().filter_map(|time| TimestampWithTimeZone::try_from(time).ok()).collect()
}

pgrx::extension_sql_file!(
    "../../../sql/sequence_aggregates.sql",
    name = "sequence_aggregates",
    requires = [
        sequence_add,
        sequence_add_separate,
        sequence_combine,
        sequence_match_finish,
        sequence_count_finish,
        sequence_events_finish,
    ],
);
