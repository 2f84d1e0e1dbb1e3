//! `funnel_level`: how far one user gets.

use eventkit_core::error::Result;

use super::compile::Compiled;
use super::per_user::per_user;
use crate::raw::form::Form;
use crate::raw::server::poll;
use crate::raw::types::{EventArray, HstoreArray, JsonbArray};

/// The level of one user's events; the scanner keeps the times.
pub fn level_of<A: EventArray, const TIMES: bool>(compiled: &mut Compiled<TIMES>, events: A) -> Result<usize> {
    let opened = events.open();
    let view = A::Form::view(&opened, "events")?;
    compiled.scanner.level(|| A::Form::walk(view), "events", &mut poll)
}

fn level<A: EventArray>(events: Option<A>, compiled: Result<&mut Compiled<false>>) -> Result<Option<i32>> {
    let compiled = compiled?;
    let Some(events) = events else { return Ok(None) };
    Ok(i32::try_from(level_of(compiled, events)?).ok())
}

per_user!(
    "funnel_level", level, Option<i32>,
    hstore_array HstoreArray: funnel_level_hstore_array, funnel_level_hstore_array_definition;
    jsonb_array JsonbArray: funnel_level_jsonb_array, funnel_level_jsonb_array_definition;
    jsonb_document JsonbValue: funnel_level_jsonb_document, funnel_level_jsonb_document_definition;
);
