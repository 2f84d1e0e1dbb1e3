//! `event_array_agg`: the events of a group as one array, deduplicated and in order of time.

use eventkit_core::dedupe::Options;
use eventkit_core::error::Result;
use eventkit_core::options::{IdType, Keep, OnMissing, Place, required};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::raw::array::{Layout, View};
use crate::raw::form::{ArrayOf, Form, HstoreLayout, JsonbDocument, JsonbLayout};
use crate::raw::gather::{self, Gathered};
use crate::raw::hstore::Hstore;
use crate::raw::jsonb::{Container, Object};
use crate::raw::server::{INTEGER_SYNTAX, poll};
use crate::raw::state::State;
use crate::raw::types::{Bytes, EventArray, HstoreArray, HstoreValue, JsonbArray, JsonbValue, Varlena};
use crate::raw::varlena::{Detoasted, Payload};

const OPTIONS: Options = Options {
    keep: Keep::Last,
    id_type: IdType::Text,
    on_missing: OnMissing::Keep,
    place: Place::First,
    syntax: INTEGER_SYNTAX,
};

/// What one input value adds to a state: the grown state's bytes, if it had to grow.
trait Input: Varlena {
    /// The layout of the gathered elements.
    type Layout: Layout + 'static;
    /// Appends the value's events.
    fn add(opened: &Detoasted, state: &mut [u8]) -> Result<Option<Vec<u8>>>;
}

impl Input for HstoreValue {
    type Layout = HstoreLayout;

    fn add(opened: &Detoasted, state: &mut [u8]) -> Result<Option<Vec<u8>>> {
        Hstore::read(Payload(opened.payload()))?;
        gather::push::<HstoreLayout>(state, opened.payload(), OPTIONS, &mut poll)
    }
}

impl Input for HstoreArray {
    type Layout = HstoreLayout;

    fn add(opened: &Detoasted, state: &mut [u8]) -> Result<Option<Vec<u8>>> {
        gather::extend::<HstoreLayout>(state, &View::read(opened.bytes(), "events")?, OPTIONS, &mut poll)
    }
}

impl Input for JsonbArray {
    type Layout = JsonbLayout;

    fn add(opened: &Detoasted, state: &mut [u8]) -> Result<Option<Vec<u8>>> {
        gather::extend::<JsonbLayout>(state, &View::read(opened.bytes(), "events")?, OPTIONS, &mut poll)
    }
}

/// A `jsonb` input is one event, or an array of events.
impl Input for JsonbValue {
    type Layout = JsonbLayout;

    fn add(opened: &Detoasted, state: &mut [u8]) -> Result<Option<Vec<u8>>> {
        let container = Container::read(opened.payload())?;
        if !container.is_object() && !container.is_scalar() {
            JsonbDocument::view(opened, "events")?;
            return gather::extend_document(state, container, OPTIONS, &mut poll);
        }
        match Object::of_container(container)? {
            Some(_) => gather::push::<JsonbLayout>(state, opened.payload(), OPTIONS, &mut poll),
            None => Ok(None),
        }
    }
}

fn add<I: Input>(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<Bytes>,
    input: Option<I>,
    id_key: Option<&str>,
    time_key: Option<&str>,
) -> Result<Option<Bytes>> {
    let Some(input) = input else { return Ok(state) };
    let opened = input.open();
    let (id_key, time_key) = (required("id_key", id_key)?, required("time_key", time_key)?);
    let mut state = match state {
        Some(state) => State::of_argument(fcinfo, state),
        None => State::new(&gather::empty(id_key, time_key)?)?,
    };
    Gathered::read(state.bytes())?.check_keys(id_key, time_key)?;
    let state = match I::add(&opened, state.bytes())? {
        Some(grown) => State::new(&grown)?,
        None => state,
    };
    Ok(Some(state.into_value()))
}

fn finish<L: Layout + 'static, A: EventArray<Form = ArrayOf<L>>>(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<Bytes>,
) -> Result<Option<A>> {
    let Some(state) = state else { return Ok(None) };
    let opened = state.open();
    Gathered::read(opened.payload())?.finish(fcinfo, OPTIONS, &mut poll).map(Some)
}

fn combine<L: Layout + 'static>(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<Bytes>,
    other: Option<Bytes>,
) -> Result<Option<Bytes>> {
    let (state, other) = match (state, other) {
        (Some(state), Some(other)) => (state, other),
        (state, other) => return Ok(state.or(other)),
    };
    let mut state = State::of_argument(fcinfo, state);
    let opened = other.open();
    let view = Gathered::read(opened.payload())?.view(0);
    let state = match gather::extend::<L>(state.bytes(), &view, OPTIONS, &mut poll)? {
        Some(grown) => State::new(&grown)?,
        None => state,
    };
    Ok(Some(state.into_value()))
}

#[pg_extern(immutable, parallel_safe, cost = 10)]
fn event_array_agg_combine_hstore(
    state: Option<Bytes>,
    other: Option<Bytes>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<Bytes> {
    combine::<HstoreLayout>(fcinfo, state, other).or_raise()
}

#[pg_extern(immutable, parallel_safe, cost = 10)]
fn event_array_agg_combine_jsonb(
    state: Option<Bytes>,
    other: Option<Bytes>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<Bytes> {
    combine::<JsonbLayout>(fcinfo, state, other).or_raise()
}

#[pg_extern(immutable, parallel_safe, cost = 1000)]
fn event_array_agg_finish_hstore(state: Option<Bytes>, fcinfo: pg_sys::FunctionCallInfo) -> Option<HstoreArray> {
    finish(fcinfo, state).or_raise()
}

#[pg_extern(immutable, parallel_safe, cost = 1000)]
fn event_array_agg_finish_jsonb(state: Option<Bytes>, fcinfo: pg_sys::FunctionCallInfo) -> Option<JsonbArray> {
    finish(fcinfo, state).or_raise()
}

macro_rules! declare {
    ($module:ident, $input:ty, $plain:ident, $keys:ident) => {
        mod $module {
            use super::*;

            #[pg_extern(name = "event_array_agg_add", immutable, parallel_safe, cost = 10)]
            fn $plain(state: Option<Bytes>, events: Option<$input>, fcinfo: pg_sys::FunctionCallInfo) -> Option<Bytes> {
                add(fcinfo, state, events, Some("event_id"), Some("time")).or_raise()
            }

            #[pg_extern(name = "event_array_agg_add", immutable, parallel_safe, cost = 10)]
            fn $keys(
                state: Option<Bytes>,
                events: Option<$input>,
                id_key: Option<&str>,
                time_key: Option<&str>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<Bytes> {
                add(fcinfo, state, events, id_key, time_key).or_raise()
            }
        }
    };
}

declare!(hstore_value, HstoreValue, event_array_agg_add_hstore, event_array_agg_add_hstore_keys);
declare!(hstore_array, HstoreArray, event_array_agg_add_hstore_array, event_array_agg_add_hstore_array_keys);
declare!(jsonb_value, JsonbValue, event_array_agg_add_jsonb, event_array_agg_add_jsonb_keys);
declare!(jsonb_array, JsonbArray, event_array_agg_add_jsonb_array, event_array_agg_add_jsonb_array_keys);

pgrx::extension_sql_file!(
    "../../../sql/event_aggregates.sql",
    name = "event_aggregates",
    requires = [
        event_array_agg_combine_hstore,
        event_array_agg_combine_jsonb,
        event_array_agg_finish_hstore,
        event_array_agg_finish_jsonb,
        event_array_agg_add_hstore,
        event_array_agg_add_hstore_keys,
        event_array_agg_add_hstore_array,
        event_array_agg_add_hstore_array_keys,
        event_array_agg_add_jsonb,
        event_array_agg_add_jsonb_keys,
        event_array_agg_add_jsonb_array,
        event_array_agg_add_jsonb_array_keys,
    ],
);
