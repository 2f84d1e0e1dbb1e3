//! Time order: sorting an event array, and appending one array to another with both deduplicated and in order.
//!
//! Sorting is stable; events without a time come last. An array that is in order is found to be so in the pass that
//! reads the times, and then nothing is sorted.

use crate::dedupe::{Index, Options, no_memory};
use crate::error::Result;
use crate::event::{Event, Events, Key, Poll, for_each};
use crate::selection::Selection;
use crate::time::{Clock, Micros};
use crate::value::Value;

/// Sorts after every time that exists.
pub(crate) const NO_TIME: Micros = Micros::MAX;

/// Handles of the second source of [`append`] have this bit.
pub const SECOND: u32 = 1 << 31;

/// The array in order of time. O(n) when it is so already, O(n log n) otherwise.
/// Errors: those of the source and of times that do not read; each names the argument and the element.
pub fn sort<'a, S: Events<'a>>(source: &mut S, argument: &str, time_key: &str, poll: Poll<'_>) -> Result<Selection> {
    let timed = Timed::read(source, argument, time_key, poll)?;
    if timed.in_order {
        return Ok(Selection::All);
    }
    Ok(Selection::Ordered(timed.sorted(poll)))
}

/// One pass over one or two arrays, then order: deduplicated as [`Options`] say, the kept events by time, those of
/// equal time in the order the dedupe left. The second array's handles have [`SECOND`]; [`Selection::All`] is one array
/// after the other.
/// O(n) when the result comes out in order, O(n log n) otherwise.
pub fn append<'a, S: Events<'a>>(
    sources: &mut [(&str, S)],
    id_key: &str,
    time_key: &str,
    options: Options,
    poll: Poll<'_>,
) -> Result<Selection> {
    let mut id_key = Key::new(id_key);
    let mut time_key = Key::new(time_key);
    let mut clock = Clock::default();
    let mut times: Vec<Micros> = Vec::new();
    let mut handles: Vec<u32> = Vec::new();
    let len = sources.iter().map(|(_, source)| source.len()).sum();
    let mut index = Index::new(options, len);
    times.try_reserve_exact(len).map_err(|_| no_memory())?;
    handles.try_reserve_exact(len).map_err(|_| no_memory())?;
    let mut bit = 0;
    for (argument, source) in sources {
        for_each(source, argument, poll, |_, element| {
            let (id, time) = match &element.event {
                Some(event) => (event.get(&mut id_key)?, event.time(&mut time_key, &mut clock)?),
                None => (Value::Null, None),
            };
            // The index keeps ordinals: they find the time as well as the handle.
            index.push(u32::try_from(times.len()).unwrap_or(u32::MAX), id)?;
            times.push(time.unwrap_or(NO_TIME));
            handles.push(element.handle | bit);
            Ok(())
        })?;
        bit = SECOND;
    }
    let kept = index.finish();
    // The usual case, a user's new events after all that he has: nothing to list and nothing to sort.
    if kept == Selection::All && times.is_sorted() {
        return Ok(Selection::All);
    }
    let mut timed = Timed::with_capacity(len)?;
    match kept {
        Selection::All => (0..len).for_each(|at| timed.push_known(times[at], handles[at])),
        Selection::Marked(marks) => {
            (0..len).filter(|at| marks.get(*at)).for_each(|at| timed.push_known(times[at], handles[at]));
        }
        Selection::Ordered(kept) => {
            kept.iter().map(|at| *at as usize).for_each(|at| timed.push_known(times[at], handles[at]));
        }
    }
    Ok(Selection::Ordered(timed.sorted(poll)))
}

/// Handles with their times, and whether they came in order.
pub(crate) struct Timed {
    /// Time, place among the others, handle.
    events: Vec<(Micros, u32, u32)>,
    in_order: bool,
    last: Micros,
}

impl Timed {
    /// The times of an array; [`NO_TIME`] for an event without one and for what is no event.
    pub(crate) fn read<'a, S: Events<'a>>(
        source: &mut S,
        argument: &str,
        time_key: &str,
        poll: Poll<'_>,
    ) -> Result<Self> {
        let mut timed = Self::with_capacity(source.len())?;
        let mut time_key = Key::new(time_key);
        let mut clock = Clock::default();
        for_each(source, argument, poll, |_, element| {
            let time = match &element.event {
                Some(event) => event.time(&mut time_key, &mut clock)?,
                None => None,
            };
            timed.push(time, element.handle);
            Ok(())
        })?;
        Ok(timed)
    }

    /// Whether the events came in order of time.
    pub(crate) const fn in_order(&self) -> bool {
        self.in_order
    }

    /// The times, in the order in which the events are now.
    pub(crate) fn times(&self) -> impl Iterator<Item = Micros> {
        self.events.iter().map(|event| event.0)
    }

    fn with_capacity(len: usize) -> Result<Self> {
        let mut events = Vec::new();
        events.try_reserve_exact(len).map_err(|_| no_memory())?;
        Ok(Self { events, in_order: true, last: Micros::MIN })
    }

    fn push(&mut self, time: Option<Micros>, handle: u32) {
        self.push_known(time.unwrap_or(NO_TIME), handle);
    }

    fn push_known(&mut self, time: Micros, handle: u32) {
        self.in_order &= time >= self.last;
        self.last = time;
        let place = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        self.events.push((time, place, handle));
    }

    /// The handles by time, stable.
    fn sorted(mut self, poll: Poll<'_>) -> Vec<u32> {
        self.sort(poll);
        self.handles()
    }

    /// The handles, in the order in which the events are now.
    pub(crate) fn handles(self) -> Vec<u32> {
        self.events.into_iter().map(|(_, _, handle)| handle).collect()
    }

    /// Brings the events into order of time, stably. Polls from the comparison: unwinding out of a sort is safe.
    pub(crate) fn sort(&mut self, poll: Poll<'_>) {
        if !self.in_order {
            let mut compared: u32 = 0;
            // The place makes it stable; unlike a stable sort this one needs no memory that could be refused.
            self.events.sort_unstable_by(|a, b| {
                compared = compared.wrapping_add(1);
                if compared.is_multiple_of(1 << 16) {
                    poll();
                }
                (a.0, a.1).cmp(&(b.0, b.1))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedupe::tests::{any_options, handles, oracle};
    use crate::event::tests::{Plain, PlainEvents};
    use crate::options::{Keep, OnMissing, Place};
    use proptest::prelude::*;

    fn events(len: usize) -> impl Strategy<Value = Vec<Option<Plain>>> {
        let event = ((prop::option::weighted(0.9, "[0-5]")), prop::option::weighted(0.9, 0i64..6))
            .prop_map(|(id, at)| Plain { id, at });
        prop::collection::vec(prop::option::weighted(0.95, event), 0..len)
    }

    fn by_time(all: &[Option<Plain>], mut at: Vec<u32>) -> Vec<u32> {
        // Insertion sort: stable, and nothing like the one under test.
        let time = |at: u32| all[at as usize].as_ref().and_then(|e| e.at).unwrap_or(i64::MAX);
        for end in 1..at.len() {
            let mut i = end;
            while i > 0 && time(at[i - 1]) > time(at[i]) {
                at.swap(i - 1, i);
                i -= 1;
            }
        }
        at
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]
        #[test]
        fn sort_is_stable_and_puts_events_without_time_last(all in events(20)) {
            let sorted = sort(&mut PlainEvents::new(&all, false), "events", "time", &mut || ()).unwrap();
            let identity = (0..u32::try_from(all.len()).unwrap()).collect();
            prop_assert_eq!(handles(&sorted, all.len()), by_time(&all, identity));
        }

        #[test]
        fn append_equals_dedupe_then_sort_of_the_concatenation(a in events(12), b in events(12), options in any_options()) {
            let all: Vec<_> = a.iter().chain(&b).cloned().collect();
            let result = append(
                &mut [("events", PlainEvents::new(&a, false)), ("new_events", PlainEvents::new(&b, true))],
                "id", "time", options, &mut || (),
            );
            match (result, oracle(&all, options)) {
                (Ok(selection), Ok(kept)) => {
                    let second = u32::try_from(a.len()).unwrap();
                    let got: Vec<u32> = handles(&selection, all.len())
                        .into_iter()
                        .map(|h| if h & SECOND != 0 { (h & !SECOND) + second } else { h })
                        .collect();
                    prop_assert_eq!(got, by_time(&all, kept));
                }
                (Err(_), Err(())) => {}
                (result, expected) => prop_assert!(false, "{:?} against {:?}", result, expected),
            }
        }

        #[test]
        fn append_is_idempotent_for_events_with_ids(a in events(12), b in events(12), first: bool) {
            let with_ids = |events: Vec<Option<Plain>>| events.into_iter().flatten().filter(|e| e.id.is_some()).map(Some).collect::<Vec<_>>();
            let (a, b) = (with_ids(a), with_ids(b));
            let options = Options {
                keep: if first { Keep::First } else { Keep::Last },
                id_type: crate::options::IdType::Text,
                on_missing: OnMissing::Keep,
                place: Place::First,
                syntax: crate::value::IntegerSyntax::Decimal,
            };
            let run = |a: &[Option<Plain>], b: &[Option<Plain>]| -> Vec<Option<Plain>> {
                let selection = append(
                    &mut [("events", PlainEvents::new(a, false)), ("new_events", PlainEvents::new(b, false))],
                    "id", "time", options, &mut || (),
                ).unwrap();
                let handles = match selection {
                    Selection::Ordered(handles) => handles,
                    _ => return a.iter().chain(b).cloned().collect(),
                };
                handles.iter().map(|h| if h & SECOND != 0 { b[(h & !SECOND) as usize].clone() } else { a[*h as usize].clone() }).collect()
            };
            let once = run(&a, &b);
            prop_assert_eq!(run(&once, &b), once);
        }
    }
}
