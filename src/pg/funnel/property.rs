//! `funnel_property`: a property of one of the events that a user's attempt was made of.

use eventkit_core::error::Result;
use eventkit_core::event::Events;
use eventkit_core::funnel::attribution::Attribution;
use eventkit_core::options::required;

use super::compile::Compiled;
use super::per_user::per_user;
use crate::raw::server::poll;
use crate::raw::types::{EventChunks, HstoreArray, JsonbArray};
use crate::raw::user_events::{UserEvents, Visit};

struct Property<'c, 'k> {
    compiled: &'c mut Compiled<true>,
    key: &'k str,
    attribution: Attribution,
}

impl Visit for Property<'_, '_> {
    type Output = Option<String>;

    fn visit<'a, S: Events<'a>>(self, source: impl Fn() -> S) -> Result<Option<String>> {
        self.compiled.scanner.property(source, "events", self.key, self.attribution, &mut poll)
    }
}

fn property<U: UserEvents>(
    events: Option<U>,
    compiled: Result<&mut Compiled<true>>,
    key: Option<&str>,
    attribution: Option<&str>,
) -> Result<Option<String>> {
    let compiled = compiled?;
    let key = required("key", key)?;
    let attribution = Attribution::of_text(required("attribution", attribution)?, compiled.funnel.steps.len())?;
    let Some(events) = events else { return Ok(None) };
    compiled.scanner.keep_matches(&compiled.funnel);
    events.visit(Property { compiled, key, attribution })
}

per_user!(
    "funnel_property", property, Option<String>,
    (key: Option<&str>, attribution: default!(Option<&str>, "'first'"),), (key, attribution),
    hstore_array HstoreArray: funnel_property_hstore_array, funnel_property_hstore_array_definition;
    jsonb_array JsonbArray: funnel_property_jsonb_array, funnel_property_jsonb_array_definition;
    jsonb_document JsonbValue: funnel_property_jsonb_document, funnel_property_jsonb_document_definition;
    chunks EventChunks: funnel_property_chunks, funnel_property_chunks_definition;
);
