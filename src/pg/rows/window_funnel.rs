//! `window_funnel`: how far a user gets, over rows of conditions.

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::funnel::duration;
use eventkit_core::funnel::rows::state::{self, Rows, Settings};
use eventkit_core::funnel::rows::{Levels, Mode};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::raw::cache::cached;
use crate::raw::place;
use crate::raw::server::poll;
use crate::raw::state::State;
use crate::raw::types::{BoolArray, Bytes, Text, Varlena};

/// The arguments of one row, read no further than the row asks for.
struct Row {
    conversion_window: Option<Interval>,
    mode: Result<Mode>,
    time: Option<TimestampWithTimeZone>,
    /// How many conditions there are and which hold.
    conditions: Result<(usize, u64)>,
}

impl Row {
    /// Adds the row to the state of its group. O(1) on average.
    /// Errors: those of [`Mode::read`], [`duration::of_interval`], [`Settings::check`] and [`state::check_same`];
    /// `22004` and `22008` for a row that meets a condition and has no finite time.
    #[inline]
    fn add(self, fcinfo: pg_sys::FunctionCallInfo, state: Option<Bytes>) -> Result<Option<Bytes>> {
        let ((steps, matched), mode) = (self.conditions?, self.mode?);
        let kept = matched != 0 || mode.needs_misses();
        // The state of a row that is not kept is not even looked at: of many groups in turn, no cache holds all states.
        if !kept && state.is_some() {
            return Ok(state);
        }
        let window = match self.conversion_window {
            Some(window) => {
                let (months, days, micros) = (window.months(), window.days(), window.micros());
                Some(duration::of_interval("conversion_window", months, days, micros)?)
            }
            None => None,
        };
        let settings = Settings { mode, steps, window };
        let time = self.time.map(i64::from);
        let Some(time) = time.filter(|time| kept && !matches!(*time, i64::MIN | i64::MAX)) else {
            settings.check()?;
            // A row that meets no condition and has no time is left out in every mode.
            return if matched == 0 {
                Ok(state)
            } else {
                Err(super::without_time(" of window_funnel", time.is_some(), matched))
            };
        };
        let Some(mut state) = state else { return first(settings.check()?, time, matched).map(Some) };
        if let Some(bytes) = place::state(fcinfo, &mut state) {
            state::check_same(bytes, settings)?;
            if state::push(bytes, time, matched)? {
                return Ok(Some(state));
            }
        }
        add_to_copy(state, settings, time, matched).map(Some)
    }
}

#[cold]
fn first(settings: Settings, time: i64, matched: u64) -> Result<Bytes> {
    let mut state = State::new(&state::empty(settings))?;
    state::push(state.bytes(), time, matched)?;
    Ok(state.into_value())
}

/// The long way: the state is full, or not ours to change.
#[cold]
fn add_to_copy(state: Bytes, settings: Settings, time: i64, matched: u64) -> Result<Bytes> {
    super::replace(state, |bytes| {
        state::check_same(bytes, settings)?;
        let mut larger = state::grown(bytes, 0)?;
        state::push(&mut larger, time, matched)?;
        Ok(larger)
    })
}

#[inline]
fn read_mode(given: Option<Text>) -> Result<Mode> {
    let given = given.ok_or_else(|| {
        Error::new(Condition::NullValueNotAllowed, "argument \"mode\" must not be NULL")
            .detail("The mode says how rows are matched to the conditions.")
            .hint("Leave mode out to get 'ordered'.")
    })?;
    match place::payload(&given) {
        Some(name) => Mode::read(name),
        None => Mode::read(given.open().payload()),
    }
}

#[pg_extern(immutable, parallel_safe, cost = 2)]
fn window_funnel_add(
    state: Option<Bytes>,
    conversion_window: Option<Interval>,
    time: Option<TimestampWithTimeZone>,
    conditions: Option<BoolArray>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<Bytes> {
    let conditions = super::conditions(conditions);
    Row { conversion_window, mode: Ok(Mode::Ordered), time, conditions }.add(fcinfo, state).or_raise()
}

#[pg_extern(name = "window_funnel_add", immutable, parallel_safe, cost = 2)]
fn window_funnel_add_mode(
    state: Option<Bytes>,
    conversion_window: Option<Interval>,
    mode: Option<Text>,
    time: Option<TimestampWithTimeZone>,
    conditions: Option<BoolArray>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<Bytes> {
    let conditions = super::conditions(conditions);
    Row { conversion_window, mode: read_mode(mode), time, conditions }.add(fcinfo, state).or_raise()
}

/// What `sql/row_aggregates.sql` declares for each small number of conditions: they follow the time as arguments.
#[pg_extern(sql = false)]
fn window_funnel_add_separate(
    state: Option<Bytes>,
    conversion_window: Option<Interval>,
    time: Option<TimestampWithTimeZone>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<Bytes> {
    let conditions = Ok(place::bools(fcinfo, 3));
    Row { conversion_window, mode: Ok(Mode::Ordered), time, conditions }.add(fcinfo, state).or_raise()
}

/// The same with a mode.
#[pg_extern(sql = false)]
fn window_funnel_add_mode_separate(
    state: Option<Bytes>,
    conversion_window: Option<Interval>,
    mode: Option<Text>,
    time: Option<TimestampWithTimeZone>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<Bytes> {
    let conditions = Ok(place::bools(fcinfo, 4));
    Row { conversion_window, mode: read_mode(mode), time, conditions }.add(fcinfo, state).or_raise()
}

#[pg_extern(immutable, parallel_safe, cost = 10)]
fn window_funnel_combine(state: Option<Bytes>, other: Option<Bytes>) -> Option<Bytes> {
    super::combine(state, other, state::together)
}

#[pg_extern(immutable, parallel_safe, cost = 100)]
fn window_funnel_finish(state: Option<Bytes>, fcinfo: pg_sys::FunctionCallInfo) -> i32 {
    let finish = |state: Bytes| -> Result<i32> {
        let opened = state.open();
        let rows = Rows::read(opened.payload())?;
        let levels: &mut Levels = cached(fcinfo, &[rows.settings_bytes()], || {
            let Settings { mode, steps, window } = rows.settings()?;
            Ok(Levels::new(mode, steps, window))
        })?;
        Ok(i32::try_from(levels.level(rows, &mut poll)?).unwrap_or(i32::MAX))
    };
    // A group whose rows met no condition has no state.
    state.map_or(0, |state| finish(state).or_raise())
}
