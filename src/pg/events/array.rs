//! `dedupe_events`, `append_events`, `sort_events`, `slice_events`, `filter_events`, `count_events`.

use eventkit_core::arrange;
use eventkit_core::dedupe::{self, Options};
use eventkit_core::error::Result;
use eventkit_core::event::{Element, Event, Key, for_each};
use eventkit_core::options::{IdType, Keep, OnMissing, Place, needed, required};
use eventkit_core::selection::{Marks, Selection};
use eventkit_core::time::{Clock, Micros, from_timestamptz};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::pattern::Matching;
use crate::pg::raise::OrRaise;
use crate::raw::form::Form;
use crate::raw::server::{INTEGER_SYNTAX, poll};
use crate::raw::types::{EventArray, HstoreArray, HstoreValue, JsonbArray, JsonbValue};

/// The options as SQL gives them; NULL is an error that names the argument.
fn options(
    keep: Option<&str>,
    id_type: Option<&str>,
    on_missing: Option<&str>,
    place: Option<&str>,
) -> Result<Options> {
    Ok(Options {
        keep: Keep::read(required("keep", keep)?)?,
        id_type: IdType::read(required("id_type", id_type)?)?,
        on_missing: OnMissing::read(required("on_missing", on_missing)?)?,
        place: Place::read(required("place", place)?)?,
        syntax: INTEGER_SYNTAX,
    })
}

fn dedupe<A: EventArray>(events: Option<A>, id_key: Option<&str>, options: Result<Options>) -> Result<Option<A>> {
    let (options, id_key) = (options?, required("id_key", id_key)?);
    let Some(events) = events else { return Ok(None) };
    let opened = events.open();
    let selection = {
        let mut walk = A::Form::walk(A::Form::view(&opened, "events")?);
        dedupe::dedupe(&mut walk, "events", id_key, options, &mut poll)?
    };
    A::select(opened, &[], &selection).map(Some)
}

fn append<A: EventArray>(
    events: Option<A>,
    new_events: Option<A>,
    id_key: Option<&str>,
    time_key: Option<&str>,
    options: Result<Options>,
) -> Result<Option<A>> {
    let (options, id_key) = (options?, required("id_key", id_key)?);
    let time_key = required("time_key", time_key)?;
    let (first, second) = match (events, new_events) {
        (Some(first), second) => (first, second),
        (None, Some(second)) => (second, None),
        (None, None) => return Ok(None),
    };
    let opened = first.open();
    let second = second.map(|array| array.open());
    let selection = {
        let mut walks = vec![("events", A::Form::walk(A::Form::view(&opened, "events")?))];
        if let Some(second) = &second {
            walks.push(("new_events", A::Form::walk(A::Form::view(second, "new_events")?)));
        }
        arrange::append(&mut walks, id_key, time_key, options, &mut poll)?
    };
    let rest: Vec<_> = second.iter().collect();
    A::select(opened, &rest, &selection).map(Some)
}

fn sort<A: EventArray>(events: Option<A>, time_key: Option<&str>) -> Result<Option<A>> {
    let time_key = required("time_key", time_key)?;
    let Some(events) = events else { return Ok(None) };
    let opened = events.open();
    let selection = {
        let mut walk = A::Form::walk(A::Form::view(&opened, "events")?);
        arrange::sort(&mut walk, "events", time_key, &mut poll)?
    };
    A::select(opened, &[], &selection).map(Some)
}

/// Keeps the elements that a test lets through.
fn keep_where<A: EventArray>(
    events: Option<A>,
    mut test: impl for<'a> FnMut(&Element<<A::Form as Form>::Event<'a>>) -> Result<bool>,
) -> Result<Option<A>> {
    let Some(events) = events else { return Ok(None) };
    let opened = events.open();
    let selection = marks::<A>(&opened, &mut test)?;
    A::select(opened, &[], &selection).map(Some)
}

fn marks<A: EventArray>(
    opened: &crate::raw::varlena::Detoasted,
    test: &mut impl for<'a> FnMut(&Element<<A::Form as Form>::Event<'a>>) -> Result<bool>,
) -> Result<Selection> {
    let mut walk = A::Form::walk(A::Form::view(opened, "events")?);
    let mut marks = Marks::new();
    for_each(&mut walk, "events", &mut poll, |_, element| {
        marks.push(test(&element)?);
        Ok(())
    })?;
    Ok(marks.into_selection())
}

fn slice<A: EventArray>(
    events: Option<A>,
    from_time: Option<TimestampWithTimeZone>,
    to_time: Option<TimestampWithTimeZone>,
    time_key: Option<&str>,
) -> Result<Option<A>> {
    let mut time_key = Key::new(required("time_key", time_key)?);
    let mut clock = Clock::default();
    let bound = |time: Option<TimestampWithTimeZone>, open: Micros| {
        time.map_or(open, |time| from_timestamptz(time.into_inner()))
    };
    let (from, to) = (bound(from_time, Micros::MIN), bound(to_time, Micros::MAX));
    keep_where(events, |element| {
        let time = match &element.event {
            Some(event) => event.time(&mut time_key, &mut clock)?,
            None => None,
        };
        Ok(time.is_some_and(|time| time >= from && time < to))
    })
}

fn count<A: EventArray>(
    events: Option<A>,
    mut test: impl for<'a> FnMut(&Element<<A::Form as Form>::Event<'a>>) -> Result<bool>,
) -> Result<Option<i32>> {
    let Some(events) = events else { return Ok(None) };
    let opened = events.open();
    let mut walk = A::Form::walk(A::Form::view(&opened, "events")?);
    let mut found = 0;
    for_each(&mut walk, "events", &mut poll, |_, element| {
        found += i32::from(test(&element)?);
        Ok(())
    })?;
    Ok(Some(found))
}

/// Declares the functions of one form of event array. Their Rust names differ, since they become symbols of the library.
macro_rules! declare {
    (
        $module:ident, $array:ty, $event:ty,
        $dedupe:ident, $append:ident, $sort:ident, $slice:ident, $filter:ident, $count:ident
    ) => {
        mod $module {
            use super::*;

            #[pg_extern(name = "dedupe_events", immutable, parallel_safe, cost = 1000)]
            #[allow(clippy::too_many_arguments, reason = "one argument for each documented option")]
            fn $dedupe(
                events: Option<$array>,
                id_key: default!(Option<&str>, "'event_id'"),
                keep: default!(Option<&str>, "'last'"),
                id_type: default!(Option<&str>, "'text'"),
                on_missing: default!(Option<&str>, "'keep'"),
                place: default!(Option<&str>, "'kept'"),
            ) -> Option<$array> {
                dedupe(events, id_key, options(keep, id_type, on_missing, place)).or_raise()
            }

            #[pg_extern(name = "append_events", immutable, parallel_safe, cost = 1000)]
            #[allow(clippy::too_many_arguments, reason = "one argument for each documented option")]
            fn $append(
                events: Option<$array>,
                new_events: Option<$array>,
                id_key: default!(Option<&str>, "'event_id'"),
                time_key: default!(Option<&str>, "'time'"),
                keep: default!(Option<&str>, "'last'"),
                id_type: default!(Option<&str>, "'text'"),
                on_missing: default!(Option<&str>, "'keep'"),
            ) -> Option<$array> {
                append(events, new_events, id_key, time_key, options(keep, id_type, on_missing, Some("first")))
                    .or_raise()
            }

            #[pg_extern(name = "sort_events", immutable, parallel_safe, cost = 1000)]
            fn $sort(events: Option<$array>, time_key: default!(Option<&str>, "'time'")) -> Option<$array> {
                sort(events, time_key).or_raise()
            }

            #[pg_extern(name = "slice_events", immutable, parallel_safe, cost = 1000)]
            fn $slice(
                events: Option<$array>,
                from_time: default!(Option<TimestampWithTimeZone>, "NULL"),
                to_time: default!(Option<TimestampWithTimeZone>, "NULL"),
                time_key: default!(Option<&str>, "'time'"),
            ) -> Option<$array> {
                slice(events, from_time, to_time, time_key).or_raise()
            }

            #[pg_extern(name = "filter_events", immutable, parallel_safe, cost = 1000)]
            fn $filter(events: Option<$array>, pattern: Option<$event>) -> Option<$array> {
                let pattern = needed("pattern", pattern, "'{\"event\": \"purchase\"}'").or_raise();
                let opened = Matching::open(&pattern);
                let mut pattern = opened.pattern().or_raise();
                keep_where(events, |element| element.event.as_ref().map_or(Ok(false), |event| pattern.matches(event)))
                    .or_raise()
            }

            #[pg_extern(name = "count_events", immutable, parallel_safe, cost = 1000)]
            fn $count(events: Option<$array>, pattern: default!(Option<$event>, "NULL")) -> Option<i32> {
                let Some(pattern) = pattern else {
                    return count(events, |element| Ok(element.event.is_some())).or_raise();
                };
                let opened = Matching::open(&pattern);
                let mut pattern = opened.pattern().or_raise();
                count(events, |element| element.event.as_ref().map_or(Ok(false), |event| pattern.matches(event)))
                    .or_raise()
            }
        }
    };
}

declare!(
    hstore_array,
    HstoreArray,
    HstoreValue,
    dedupe_hstore_array,
    append_hstore_array,
    sort_hstore_array,
    slice_hstore_array,
    filter_hstore_array,
    count_hstore_array
);
declare!(
    jsonb_array,
    JsonbArray,
    JsonbValue,
    dedupe_jsonb_array,
    append_jsonb_array,
    sort_jsonb_array,
    slice_jsonb_array,
    filter_jsonb_array,
    count_jsonb_array
);
declare!(
    jsonb_document,
    JsonbValue,
    JsonbValue,
    dedupe_jsonb_document,
    append_jsonb_document,
    sort_jsonb_document,
    slice_jsonb_document,
    filter_jsonb_document,
    count_jsonb_document
);
