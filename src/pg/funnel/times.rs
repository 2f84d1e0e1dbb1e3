//! `funnel_times`: when one user matched each step, in the attempt that counts.

use eventkit_core::error::Result;
use eventkit_core::funnel::ordered::NONE;
use eventkit_core::time::to_timestamptz;
use pgrx::datum::TimestampWithTimeZone;

use super::compile::Compiled;
use super::level::level_of;
use super::per_user::per_user;
use crate::raw::types::{EventChunks, HstoreArray, JsonbArray};
use crate::raw::user_events::UserEvents;

/// One time for each step up to the user's level; NULL for an optional step that was left out.
type Times = Vec<Option<TimestampWithTimeZone>>;

fn times<U: UserEvents>(events: Option<U>, compiled: Result<&mut Compiled<true>>) -> Result<Option<Times>> {
    let compiled = compiled?;
    let Some(events) = events else { return Ok(None) };
    level_of(compiled, events)?;
    let time = |time: &i64| match *time {
        NONE => None,
        time => TimestampWithTimeZone::try_from(to_timestamptz(time)).ok(),
    };
    Ok(Some(compiled.scanner.times().iter().map(time).collect()))
}

per_user!(
    "funnel_times", times, Option<Vec<Option<TimestampWithTimeZone>>>,
    hstore_array HstoreArray: funnel_times_hstore_array, funnel_times_hstore_array_definition;
    jsonb_array JsonbArray: funnel_times_jsonb_array, funnel_times_jsonb_array_definition;
    jsonb_document JsonbValue: funnel_times_jsonb_document, funnel_times_jsonb_document_definition;
    chunks EventChunks: funnel_times_chunks, funnel_times_chunks_definition;
);
