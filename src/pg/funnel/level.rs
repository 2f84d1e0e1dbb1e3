//! `funnel_level`: how far one user gets.

use eventkit_core::error::Result;
use eventkit_core::event::Events;

use super::compile::Compiled;
use super::per_user::per_user;
use crate::raw::server::poll;
use crate::raw::types::{EventChunks, HstoreArray, JsonbArray};
use crate::raw::user_events::{UserEvents, Visit};

struct Level<'c, const TIMES: bool>(&'c mut Compiled<TIMES>);

impl<const TIMES: bool> Visit for Level<'_, TIMES> {
    type Output = usize;

    #[inline]
    fn visit<'a, S: Events<'a>>(self, source: impl Fn() -> S) -> Result<usize> {
        self.0.scanner.level(source, "events", &mut poll)
    }
}

/// The level of one user's events; the scanner keeps the times.
pub fn level_of<U: UserEvents, const TIMES: bool>(compiled: &mut Compiled<TIMES>, events: U) -> Result<usize> {
    events.visit(Level(compiled))
}

fn level<U: UserEvents>(events: Option<U>, compiled: Result<&mut Compiled<false>>) -> Result<Option<i32>> {
    let compiled = compiled?;
    let Some(events) = events else { return Ok(None) };
    Ok(i32::try_from(level_of(compiled, events)?).ok())
}

per_user!(
    "funnel_level", level, Option<i32>,
    hstore_array HstoreArray: funnel_level_hstore_array, funnel_level_hstore_array_definition;
    jsonb_array JsonbArray: funnel_level_jsonb_array, funnel_level_jsonb_array_definition;
    jsonb_document JsonbValue: funnel_level_jsonb_document, funnel_level_jsonb_document_definition;
    chunks EventChunks: funnel_level_chunks, funnel_level_chunks_definition;
);
