//! `sessionize`: the sessions of an event array as rows, and the session of a row as a window function.

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::options::required;
use eventkit_core::session::{self, Counter, Sessions};
use eventkit_core::time::{Micros, to_timestamptz};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::raw::form::Form;
use crate::raw::server::poll;
use crate::raw::types::{EventArray, HstoreArray, JsonbArray, JsonbValue};
use crate::raw::window::Window;

fn gap(given: Option<Interval>) -> Result<Micros> {
    session::gap(given.map(|gap| (gap.months(), gap.days(), gap.micros())))
}

/// One session; all of it but the events is NULL for those without a time.
struct Row<A> {
    session: Option<i32>,
    started_at: Option<TimestampWithTimeZone>,
    ended_at: Option<TimestampWithTimeZone>,
    duration: Option<Interval>,
    event_count: i32,
    events: A,
}

/// What `ended_at - started_at` gives.
fn duration(micros: Micros) -> Option<Interval> {
    const DAY: Micros = 86_400_000_000;
    Interval::new(0, i32::try_from(micros / DAY).ok()?, micros % DAY).ok()
}

fn sessionize<A: EventArray>(
    events: Option<A>,
    given: Option<Interval>,
    time_key: Option<&str>,
) -> Result<Vec<Row<A>>> {
    let (gap, time_key) = (gap(given)?, required("time_key", time_key)?);
    let Some(events) = events else { return Ok(Vec::new()) };
    let opened = events.open();
    let Sessions { order, sessions, without_time } = {
        let mut walk = A::Form::walk(A::Form::view(&opened, "events")?);
        session::split(&mut walk, "events", time_key, gap, &mut poll)?
    };
    let lens = sessions.iter().map(|session| session.events).chain((without_time > 0).then_some(without_time));
    let pieces = A::select(opened, &[], &order)?.pieces(lens)?;
    let time = |time: Micros| TimestampWithTimeZone::try_from(to_timestamptz(time)).ok();
    let mut numbers = 1..;
    Ok(pieces
        .into_iter()
        .enumerate()
        .map(|(at, events)| match sessions.get(at) {
            Some(session) => Row {
                session: numbers.next(),
                started_at: time(session.started),
                ended_at: time(session.ended),
                duration: duration(session.ended - session.started),
                event_count: i32::try_from(session.events).unwrap_or(i32::MAX),
                events,
            },
            None => Row {
                session: None,
                started_at: None,
                ended_at: None,
                duration: None,
                event_count: i32::try_from(without_time).unwrap_or(i32::MAX),
                events,
            },
        })
        .collect())
}

/// Declares the function for one form of event array. The Rust names differ, since they become symbols of the library.
macro_rules! declare {
    ($array:ty, $function:ident) => {
        #[pg_extern(name = "sessionize", immutable, parallel_safe, cost = 1000)]
        #[allow(clippy::type_complexity, reason = "the columns of a table")]
        fn $function(
            events: Option<$array>,
            gap: Option<Interval>,
            time_key: default!(Option<&str>, "'time'"),
        ) -> TableIterator<
            'static,
            (
                name!(session, Option<i32>),
                name!(started_at, Option<TimestampWithTimeZone>),
                name!(ended_at, Option<TimestampWithTimeZone>),
                name!(duration, Option<Interval>),
                name!(event_count, i32),
                name!(events, $array),
            ),
        > {
            let rows = sessionize(events, gap, time_key).or_raise();
            TableIterator::new(
                rows.into_iter()
                    .map(|row| (row.session, row.started_at, row.ended_at, row.duration, row.event_count, row.events)),
            )
        }
    };
}

declare!(HstoreArray, sessionize_hstore_array);
declare!(JsonbArray, sessionize_jsonb_array);
declare!(JsonbValue, sessionize_jsonb_document);

/// The number of the current row's session; NULL for a row without a time.
fn number(fcinfo: pg_sys::FunctionCallInfo) -> Result<Option<i64>> {
    let mut window = Window::of_call(fcinfo).ok_or_else(|| {
        Error::new(Condition::WrongObjectType, "sessionize over rows was called without a window")
            .detail("It numbers the sessions of the rows of a window.")
            .hint("Write sessionize(time, '30 minutes') OVER (PARTITION BY user_id ORDER BY time).")
    })?;
    let (time, given) = window.time_and_interval();
    let gap = gap(given)?;
    let Some(time) = time else { return Ok(None) };
    let memory = window.memory();
    let mut counter = Counter { session: memory[0], last: memory[1] };
    let session = counter.number(i64::from(time), gap)?;
    *memory = [counter.session, counter.last];
    Ok(Some(session))
}

/// What `sql/session_window.sql` declares.
#[pg_extern(sql = false)]
fn session_number(fcinfo: pg_sys::FunctionCallInfo) -> Option<i64> {
    number(fcinfo).or_raise()
}

pgrx::extension_sql_file!("../../../sql/session_window.sql", name = "session_window", requires = [session_number]);
