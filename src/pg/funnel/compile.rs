//! The funnel arguments, compiled once for each call site and query.

use eventkit_core::error::Result;
use eventkit_core::funnel::definition::Funnel;
use eventkit_core::funnel::duration;
use eventkit_core::funnel::scan::Scanner;
use eventkit_core::options::{needed, required};
use pgrx::datum::Interval;
use pgrx::pg_sys;

use crate::raw::cache::cached;
use crate::raw::jsonb::json_text;
use crate::raw::types::{JsonbValue, TextArray, Varlena};

/// A funnel and what runs it.
pub struct Compiled<const TIMES: bool> {
    /// The definition.
    pub funnel: Funnel,
    /// Its fingerprint.
    pub fingerprint: u64,
    /// Its automaton with the working memory.
    pub scanner: Scanner<TIMES>,
}

impl<const TIMES: bool> Compiled<TIMES> {
    /// Compiles a funnel.
    pub fn new(funnel: Funnel) -> Self {
        Self { scanner: Scanner::new(&funnel), fingerprint: funnel.fingerprint(), funnel }
    }
}

/// The short form of the arguments.
pub struct Short<'a> {
    /// `steps`
    pub steps: Option<TextArray>,
    /// `conversion_window`; NULL = no limit
    pub conversion_window: Option<Interval>,
    /// `name_key`
    pub name_key: Option<&'a str>,
    /// `time_key`
    pub time_key: Option<&'a str>,
}

impl Short<'_> {
    /// The compiled funnel. Errors: those of [`Funnel::of_names`] and [`duration::of_interval`], and NULLs.
    pub fn compile<'q, const TIMES: bool>(self, fcinfo: pg_sys::FunctionCallInfo) -> Result<&'q mut Compiled<TIMES>> {
        let name_key = required("name_key", self.name_key)?;
        let time_key = required("time_key", self.time_key)?;
        let steps = needed("steps", self.steps, "ARRAY['view', 'pay']")?.open();
        let window = self.conversion_window.map(|window| (window.months(), window.days(), window.micros()));
        let window_key = match window {
            None => [0; 17],
            Some((months, days, micros)) => {
                let mut key = [1; 17];
                key[1..5].copy_from_slice(&months.to_ne_bytes());
                key[5..9].copy_from_slice(&days.to_ne_bytes());
                key[9..].copy_from_slice(&micros.to_ne_bytes());
                key
            }
        };
        cached(fcinfo, &[steps.bytes(), &window_key, name_key.as_bytes(), time_key.as_bytes()], || {
            let window = window
                .map(|(months, days, micros)| duration::of_interval("conversion_window", months, days, micros))
                .transpose()?;
            Funnel::of_names(&TextArray::read(&steps, "steps")?, window, name_key, time_key).map(Compiled::new)
        })
    }
}

/// The compiled funnel of a JSON definition. Errors: those of [`Funnel::of_json`], and NULL.
pub fn compile_definition<'q, const TIMES: bool>(
    fcinfo: pg_sys::FunctionCallInfo,
    definition: Option<JsonbValue>,
) -> Result<&'q mut Compiled<TIMES>> {
    let definition = needed("definition", definition, "'{\"steps\": [\"view\", \"pay\"]}'")?.open();
    cached(fcinfo, &[definition.bytes()], || Funnel::of_json(&json_text(definition.payload())?).map(Compiled::new))
}
