//! `paths_agg`: the summary of the paths of many users.

use eventkit_core::error::Result;
use eventkit_core::options::needed;
use eventkit_core::paths::definition::{DEFAULT_DEPTH, Definition};
use eventkit_core::paths::scan::Scanner;
use eventkit_core::paths::summary::{add_path, add_user, check_settings, empty, fingerprint};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::raw::cache::cached;
use crate::raw::form::Form;
use crate::raw::jsonb::json_text;
use crate::raw::server::poll;
use crate::raw::state::State;
use crate::raw::types::{EventArray, HstoreArray, JsonbArray, JsonbValue, PathsSummary, Varlena};

/// A definition compiled, with its working memory.
struct Compiled {
    scanner: Scanner,
    fingerprint: u64,
}

impl Compiled {
    fn new(definition: Definition) -> Self {
        Self { fingerprint: fingerprint(&definition.settings), scanner: Scanner::new(definition) }
    }
}

/// Without arguments. Errors: none, since the default depth is one.
fn compile_default<'q>(fcinfo: pg_sys::FunctionCallInfo) -> Result<&'q mut Compiled> {
    cached(fcinfo, &[], || Definition::of_depth(DEFAULT_DEPTH).map(Compiled::new))
}

/// The full form of the arguments. Errors: those of [`Definition::of_json`], and NULL.
fn compile_definition<'q>(
    fcinfo: pg_sys::FunctionCallInfo,
    definition: Option<JsonbValue>,
) -> Result<&'q mut Compiled> {
    let definition = needed("definition", definition, "'{\"depth\": 5, \"start_event\": \"sign_up\"}'")?.open();
    cached(fcinfo, &[definition.bytes()], || Definition::of_json(&json_text(definition.payload())?).map(Compiled::new))
}

/// Adds one user. A user without events (NULL) is no user, but a group of such has a summary of nobody.
fn add<A: EventArray>(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<PathsSummary>,
    events: Option<A>,
    compiled: Result<&mut Compiled>,
) -> Result<PathsSummary> {
    let Compiled { scanner, fingerprint } = compiled?;
    let mut state = match state {
        Some(state) => State::of_argument(fcinfo, state),
        None => State::new(&empty(scanner.settings()))?,
    };
    check_settings(state.bytes(), *fingerprint)?;
    if let Some(events) = events {
        let opened = events.open();
        let view = A::Form::view(&opened, "events")?;
        scanner.scan(|| A::Form::walk(view), "events", &mut poll)?;
        add_user(state.bytes())?;
        for (at, path) in scanner.paths().enumerate() {
            if at % 1024 == 0 {
                poll();
            }
            if let Some(larger) = add_path(state.bytes(), path.names())? {
                state = State::new(&larger)?;
            }
        }
    }
    Ok(state.into_value())
}

macro_rules! declare {
    ($module:ident, $array:ty, $plain:ident, $full:ident) => {
        mod $module {
            use super::*;

            #[pg_extern(name = "paths_agg_add", immutable, parallel_safe, cost = 500, requires = ["paths_summary_type"])]
            fn $plain(
                state: Option<PathsSummary>,
                events: Option<$array>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<PathsSummary> {
                Some(add(fcinfo, state, events, compile_default(fcinfo)).or_raise())
            }

            #[pg_extern(name = "paths_agg_add", immutable, parallel_safe, cost = 500, requires = ["paths_summary_type"])]
            fn $full(
                state: Option<PathsSummary>,
                events: Option<$array>,
                definition: Option<JsonbValue>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<PathsSummary> {
                Some(add(fcinfo, state, events, compile_definition(fcinfo, definition)).or_raise())
            }
        }
    };
}

declare!(hstore_array, HstoreArray, paths_agg_add_hstore_array, paths_agg_add_hstore_array_definition);
declare!(jsonb_array, JsonbArray, paths_agg_add_jsonb_array, paths_agg_add_jsonb_array_definition);
declare!(jsonb_document, JsonbValue, paths_agg_add_jsonb_document, paths_agg_add_jsonb_document_definition);

pgrx::extension_sql_file!(
    "../../../sql/path_aggregates.sql",
    name = "path_aggregates",
    requires = [
        paths_summary_combine,
        paths_summary_finish,
        paths_agg_add_hstore_array,
        paths_agg_add_hstore_array_definition,
        paths_agg_add_jsonb_array,
        paths_agg_add_jsonb_array_definition,
        paths_agg_add_jsonb_document,
        paths_agg_add_jsonb_document_definition,
    ],
);
