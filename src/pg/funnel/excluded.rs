//! `funnel_excluded`: whether exclusions cost a user steps.

use eventkit_core::error::Result;

use super::compile::Compiled;
use super::level::level_of;
use super::per_user::per_user;
use crate::raw::types::{EventChunks, HstoreArray, JsonbArray};
use crate::raw::user_events::UserEvents;

fn excluded<U: UserEvents>(events: Option<U>, compiled: Result<&mut Compiled<false>>) -> Result<Option<bool>> {
    let compiled = compiled?;
    let Some(events) = events else { return Ok(None) };
    level_of(compiled, events)?;
    Ok(Some(compiled.scanner.excluded()))
}

per_user!(
    "funnel_excluded", excluded, Option<bool>,
    hstore_array HstoreArray: funnel_excluded_hstore_array, funnel_excluded_hstore_array_definition;
    jsonb_array JsonbArray: funnel_excluded_jsonb_array, funnel_excluded_jsonb_array_definition;
    jsonb_document JsonbValue: funnel_excluded_jsonb_document, funnel_excluded_jsonb_document_definition;
    chunks EventChunks: funnel_excluded_chunks, funnel_excluded_chunks_definition;
);
