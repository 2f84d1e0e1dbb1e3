//! `funnel_property`: a property of one of the events that a user's attempt was made of.

use eventkit_core::error::Result;
use eventkit_core::funnel::attribution::Attribution;
use eventkit_core::options::required;

use super::compile::Compiled;
use super::per_user::per_user;
use crate::raw::form::Form;
use crate::raw::server::poll;
use crate::raw::types::{EventArray, HstoreArray, JsonbArray};

fn property<A: EventArray>(
    events: Option<A>,
    compiled: Result<&mut Compiled<true>>,
    key: Option<&str>,
    attribution: Option<&str>,
) -> Result<Option<String>> {
    let compiled = compiled?;
    let key = required("key", key)?;
    let attribution = Attribution::of_text(required("attribution", attribution)?, compiled.funnel.steps.len())?;
    let Some(events) = events else { return Ok(None) };
    compiled.scanner.keep_matches(&compiled.funnel);
    let opened = events.open();
    let view = A::Form::view(&opened, "events")?;
    compiled.scanner.property(|| A::Form::walk(view), "events", key, attribution, &mut poll)
}

per_user!(
    "funnel_property", property, Option<String>,
    (key: Option<&str>, attribution: default!(Option<&str>, "'first'"),), (key, attribution),
    hstore_array HstoreArray: funnel_property_hstore_array, funnel_property_hstore_array_definition;
    jsonb_array JsonbArray: funnel_property_jsonb_array, funnel_property_jsonb_array_definition;
    jsonb_document JsonbValue: funnel_property_jsonb_document, funnel_property_jsonb_document_definition;
);
