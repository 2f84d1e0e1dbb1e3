//! The retention arguments, compiled once for each call site and query.

use eventkit_core::error::Result;
use eventkit_core::options::needed;
use eventkit_core::retention::definition::{Definition, Settings};
use eventkit_core::retention::scan::{Scanner, Visits};
use eventkit_core::retention::summary::fingerprint;
use eventkit_core::zone::Calendar;
use pgrx::datum::Interval;
use pgrx::pg_sys;

use crate::pg::calendar::CalendarArguments;
use crate::raw::cache::cached;
use crate::raw::jsonb::json_text;
use crate::raw::types::{JsonbValue, Varlena};

/// What is the same for all users of a summary.
pub struct Common {
    /// What the summary keeps of it.
    pub settings: Settings,
    /// What tells it apart.
    pub fingerprint: u64,
}

impl Common {
    fn new(settings: Settings) -> Self {
        Self { fingerprint: fingerprint(&settings), settings }
    }
}

/// Retention over event arrays, with its working memory.
pub struct OverEvents {
    /// What is the same for all users.
    pub common: Common,
    /// What reads a user's events.
    pub scanner: Scanner,
}

impl OverEvents {
    fn new(definition: Definition) -> Self {
        Self { common: Common::new(definition.settings()), scanner: Scanner::new(definition) }
    }
}

/// Retention over times, with its working memory.
pub struct OverTimes {
    /// What is the same for all users.
    pub common: Common,
    /// The periods.
    pub calendar: Calendar,
    /// The times of a user.
    pub times: Vec<i64>,
    /// What the user adds.
    pub visits: Visits,
}

/// The short form of the arguments; an event name that is NULL stands for any event.
pub fn compile_names<'q>(
    fcinfo: pg_sys::FunctionCallInfo,
    first_event: Option<&str>,
    return_event: Option<&str>,
    period: Option<Interval>,
    zone: Option<&str>,
) -> Result<&'q mut OverEvents> {
    let calendar = CalendarArguments::new(period, zone)?;
    let given = [u8::from(first_event.is_some()), u8::from(return_event.is_some())];
    let names = [first_event.unwrap_or_default().as_bytes(), return_event.unwrap_or_default().as_bytes()];
    cached(fcinfo, &[&given, names[0], names[1], &calendar.key(), calendar.zone().as_bytes()], || {
        Ok(OverEvents::new(Definition::of_names(first_event, return_event, calendar.calendar()?)))
    })
}

/// The full form of the arguments. Errors: those of [`Definition::of_json`], and NULL.
pub fn compile_definition<'q>(
    fcinfo: pg_sys::FunctionCallInfo,
    definition: Option<JsonbValue>,
) -> Result<&'q mut OverEvents> {
    let definition =
        needed("definition", definition, "'{\"first_event\": \"sign_up\", \"return_event\": \"visit\"}'")?.open();
    cached(fcinfo, &[definition.bytes()], || {
        Definition::of_json(&json_text(definition.payload())?).map(OverEvents::new)
    })
}

/// The arguments of retention over times.
pub fn compile_times<'q>(
    fcinfo: pg_sys::FunctionCallInfo,
    period: Option<Interval>,
    zone: Option<&str>,
) -> Result<&'q mut OverTimes> {
    let arguments = CalendarArguments::new(period, zone)?;
    cached(fcinfo, &[&arguments.key(), arguments.zone().as_bytes()], || {
        let calendar = arguments.calendar()?;
        let common = Common::new(Settings::of_rows(&calendar));
        Ok(OverTimes { common, calendar, times: Vec::new(), visits: Visits::default() })
    })
}
