//! Sessions: runs of events in order of time with no gap longer than a given one between neighbours.
//!
//! An event begins a session when it is more than the gap later than the event before; at exactly the gap it still
//! belongs. Sessions are numbered from 1. One look at each event in order: O(n).

use crate::arrange::{NO_TIME, Timed};
use crate::dedupe::no_memory;
use crate::error::{Condition, Error, Result};
use crate::event::{Events, POLL_EVERY, Poll};
use crate::funnel::duration;
use crate::selection::Selection;
use crate::time::Micros;

/// The gap from the parts of an SQL `interval`; a day is 86,400 seconds.
/// Errors: `22004` for NULL; `22023` for months and for a gap below zero or beyond 64 bits.
pub fn gap(parts: Option<(i32, i32, i64)>) -> Result<Micros> {
    let Some((months, days, micros)) = parts else {
        return Err(Error::new(Condition::NullValueNotAllowed, "argument \"gap\" must not be NULL")
            .detail("The gap is the longest time without an event within a session.")
            .hint("Write gap => '30 minutes' for example."));
    };
    duration::of_interval("gap", months, days, micros).map_err(|error| match months {
        0 => error.hint("Write gap => '30 minutes' for example."),
        _ => error,
    })
}

/// Where a walk over rows in order of time is: all that is known of the rows before. All zeros before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// The number of the session; 0 before the first row.
    pub session: i64,
    /// The time of the last row.
    pub last: Micros,
}

impl Counter {
    /// Takes the next row and gives the number of its session. O(1). Errors: `22023` for a time before the last one.
    #[inline]
    pub fn number(&mut self, time: Micros, gap: Micros) -> Result<i64> {
        if self.session > 0 && time < self.last {
            return Err(back_in_time());
        }
        self.session += i64::from(self.session == 0 || begins(self.last, time, gap));
        self.last = time;
        Ok(self.session)
    }
}

/// Whether an event begins a session, told by the time of the one before.
#[inline]
const fn begins(last: Micros, time: Micros, gap: Micros) -> bool {
    time.saturating_sub(last) > gap
}

#[cold]
fn back_in_time() -> Error {
    Error::new(Condition::InvalidParameterValue, "the rows of sessionize are not in order of time")
        .detail("A row is earlier than the row before it in the window, so there is no telling where sessions begin.")
        .hint(
            "Write OVER (PARTITION BY user_id ORDER BY time), with the columns' names; the order has to be ascending.",
        )
}

/// One session of an event array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The time of the first event.
    pub started: Micros,
    /// The time of the last event.
    pub ended: Micros,
    /// How many events it has.
    pub events: usize,
}

/// An event array in sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// The order that puts the sessions behind one another, and then what has no time.
    pub order: Selection,
    /// The sessions, first to last.
    pub sessions: Vec<Session>,
    /// How many elements have no time.
    pub without_time: usize,
}

/// Divides an array into sessions. An array that is not in order of time is sorted, stably; events without a time and
/// elements that are no event come last, as [`crate::arrange::sort`] puts them.
/// O(n) when the array is in order, O(n log n) otherwise.
/// Errors: those of the source and of times that do not read, each naming the argument and the element; `53200`.
pub fn split<'a, S: Events<'a>>(
    source: &mut S,
    argument: &str,
    time_key: &str,
    gap: Micros,
    poll: Poll<'_>,
) -> Result<Sessions> {
    let mut timed = Timed::read(source, argument, time_key, poll)?;
    let in_order = timed.in_order();
    timed.sort(poll);
    let mut sessions: Vec<Session> = Vec::new();
    let mut without_time = 0;
    for (at, time) in timed.times().enumerate() {
        if at % POLL_EVERY == 0 {
            poll();
        }
        match sessions.last_mut() {
            _ if time == NO_TIME => without_time += 1,
            Some(session) if !begins(session.ended, time, gap) => {
                session.ended = time;
                session.events += 1;
            }
            _ => {
                if sessions.len() == sessions.capacity() {
                    sessions.try_reserve(sessions.len().max(16)).map_err(|_| no_memory())?;
                }
                sessions.push(Session { started: time, ended: time, events: 1 });
            }
        }
    }
    let order = if in_order { Selection::All } else { Selection::Ordered(timed.handles()) };
    Ok(Sessions { order, sessions, without_time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{Plain, PlainEvents};
    use proptest::prelude::*;

    #[test]
    fn a_gap_is_an_exact_duration() {
        assert_eq!(gap(Some((0, 1, 5))), Ok(86_400_000_005));
        assert_eq!(gap(Some((0, 0, 0))), Ok(0));
        for (parts, condition) in [
            (None, Condition::NullValueNotAllowed),
            (Some((1, 0, 0)), Condition::InvalidParameterValue),
            (Some((0, 0, -1)), Condition::InvalidParameterValue),
            (Some((0, i32::MAX, i64::MAX)), Condition::InvalidParameterValue),
        ] {
            let error = gap(parts).unwrap_err();
            assert_eq!(error.condition, condition, "{parts:?}");
            assert!(error.message.contains("\"gap\"") && error.detail.is_some() && error.hint.is_some(), "{error}");
        }
    }

    #[test]
    fn a_counter_begins_a_session_behind_a_longer_gap_alone() {
        let mut counter = Counter::default();
        for (time, expected) in [(-5, 1), (-5, 1), (5, 1), (16, 2), (26, 2), (Micros::MAX, 3)] {
            assert_eq!(counter.number(time, 10), Ok(expected));
        }
        assert_eq!(counter.number(3, 10).unwrap_err().condition, Condition::InvalidParameterValue);
        let mut counter = Counter::default();
        assert_eq!(counter.number(Micros::MIN, 10), Ok(1));
        assert_eq!(counter.number(Micros::MAX, Micros::MAX - 1), Ok(2));
    }

    fn events() -> impl Strategy<Value = Vec<Option<Plain>>> {
        let event = prop::option::weighted(0.9, 0i64..60).prop_map(|at| Plain { id: None, at });
        prop::collection::vec(prop::option::weighted(0.95, event), 0..25)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        /// The definition, word by word: the number of an event is how many events up to it have no event within the
        /// gap before them.
        #[test]
        fn sessions_are_what_the_definition_says(all in events(), gap in 0i64..8, sorted: bool) {
            let mut all = all;
            if sorted {
                all.sort_by_key(|event| event.as_ref().and_then(|event| event.at).unwrap_or(i64::MAX));
            }
            let found = split(&mut PlainEvents::new(&all, false), "events", "time", gap, &mut || ()).unwrap();
            let time = |place: usize| all[place].as_ref().and_then(|event| event.at);
            let mut order: Vec<usize> = (0..all.len()).collect();
            order.sort_by_key(|place| (time(*place).unwrap_or(i64::MAX), *place));
            let handles: Vec<usize> = match &found.order {
                Selection::All => (0..all.len()).collect(),
                Selection::Ordered(handles) => handles.iter().map(|handle| *handle as usize).collect(),
                Selection::Marked(_) => panic!("nothing is left out"),
            };
            prop_assert_eq!(&handles, &order);
            let times: Vec<i64> = order.iter().filter_map(|place| time(*place)).collect();
            prop_assert_eq!(found.without_time, all.len() - times.len());
            let first = |at: usize| !times.iter().enumerate().any(|(other, time)| other < at && times[at] - time <= gap);
            let number = |at: usize| (0..=at).filter(|at| first(*at)).count();
            let mut expected: Vec<Session> = Vec::new();
            for (at, time) in times.iter().enumerate() {
                if number(at) > expected.len() {
                    expected.push(Session { started: *time, ended: *time, events: 0 });
                }
                let session = expected.last_mut().unwrap();
                session.ended = *time;
                session.events += 1;
            }
            prop_assert_eq!(&found.sessions, &expected);
            let mut counter = Counter::default();
            for (at, time) in times.iter().enumerate() {
                prop_assert_eq!(counter.number(*time, gap).unwrap(), i64::try_from(number(at)).unwrap());
            }
        }
    }

    #[test]
    fn a_million_events_are_divided_in_one_pass() {
        let all: Vec<_> = (0..1_000_000).map(|at| Some(Plain { id: None, at: Some(at * 10 + at % 3) })).collect();
        let found = split(&mut PlainEvents::new(&all, false), "events", "time", 10, &mut || ()).unwrap();
        assert_eq!(found.sessions.iter().map(|session| session.events).sum::<usize>(), all.len());
        assert_eq!(found.sessions.len(), 666_667);
    }
}
