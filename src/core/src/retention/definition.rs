//! What retention is asked for: which events begin and which count as a return, and the calendar.

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::error::Result;
use crate::names::Names;
use crate::zone::{Calendar, Period};

const EXAMPLE: &str =
    r#"{"first_event": "sign_up", "return_event": "visit", "period": "1 week", "time_zone": "Europe/Berlin"}"#;
const KEYS: [&str; 7] = ["first_event", "return_event", "period", "time_zone", "id_key", "name_key", "time_key"];

/// Retention over event arrays.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Which events begin: the first of them puts the user into a cohort.
    pub first_event: Names,
    /// Which events are a return.
    pub return_event: Names,
    /// The periods.
    pub calendar: Calendar,
    /// The key that holds an event's id, when copies of an event are to be left out; the last copy counts.
    pub id_key: Option<String>,
    /// The key that holds an event's name.
    pub name_key: String,
    /// The key that holds an event's time.
    pub time_key: String,
}

impl Definition {
    /// The short form: an event name each, NULL for any event.
    #[must_use]
    pub fn of_names(first_event: Option<&str>, return_event: Option<&str>, calendar: Calendar) -> Self {
        let names = |name: Option<&str>| name.map_or(Names::Any, |name| Names::In(vec![name.to_owned()]));
        Self {
            first_event: names(first_event),
            return_event: names(return_event),
            calendar,
            id_key: None,
            name_key: "event".into(),
            time_key: "time".into(),
        }
    }

    /// The full form. Errors: those of [`Document`], [`Period::of_text`] and [`Calendar::new`].
    pub fn of_json(text: &[u8]) -> Result<Self> {
        let document = Document::read("retention", EXAMPLE, &KEYS, text)?;
        let period = Period::of_text("period", document.text("period")?.unwrap_or("1 week"))?;
        Ok(Self {
            first_event: document.names("first_event")?,
            return_event: document.names("return_event")?,
            calendar: Calendar::new(period, document.text("time_zone")?.unwrap_or("UTC"))?,
            id_key: document.text("id_key")?.map(str::to_owned),
            name_key: document.text("name_key")?.unwrap_or("event").to_owned(),
            time_key: document.text("time_key")?.unwrap_or("time").to_owned(),
        })
    }

    /// What a summary keeps of it.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let list = |names: &Names| match names {
            Names::Any => Some(Vec::new()),
            Names::In(names) => Some(names.clone()),
        };
        Settings {
            first_event: list(&self.first_event),
            return_event: list(&self.return_event),
            ..Settings::of_rows(&self.calendar)
        }
    }
}

/// What all users of a summary have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The events that begin; an empty list is any event, `None` that the query told the times itself.
    pub first_event: Option<Vec<String>>,
    /// The events that are a return; likewise.
    pub return_event: Option<Vec<String>>,
    /// The length of a period, such as `P7D`.
    pub period: String,
    /// The zone's name.
    pub time_zone: String,
}

impl Settings {
    /// Of times that the query told.
    #[must_use]
    pub fn of_rows(calendar: &Calendar) -> Self {
        Self {
            first_event: None,
            return_event: None,
            period: calendar.period().to_string(),
            time_zone: calendar.zone().to_owned(),
        }
    }

    /// Whether period and zone are spelled as this calendar spells them.
    #[must_use]
    pub fn is_of(&self, calendar: &Calendar) -> bool {
        self.period == calendar.period().to_string() && self.time_zone == calendar.zone()
    }

    /// The calendar. Errors: `22023`.
    pub fn calendar(&self) -> Result<Calendar> {
        Calendar::new(Period::of_text("period", &self.period)?, &self.time_zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_what_the_arguments_do() {
        let calendar = Calendar::new(Period::Days(7), "UTC").unwrap();
        let short = Definition::of_names(Some("a"), None, calendar);
        let full = Definition::of_json(br#"{"first_event": ["a"], "return_event": null}"#).unwrap();
        assert_eq!(short.settings(), full.settings());
        assert_eq!((full.name_key.as_str(), full.time_key.as_str()), ("event", "time"));
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for text in [
            "[]",
            "1",
            "{",
            r#"{"first": "a"}"#,
            r#"{"first_event": 1}"#,
            r#"{"first_event": []}"#,
            r#"{"first_event": [1]}"#,
            r#"{"period": "1 hour"}"#,
            r#"{"period": 7}"#,
            r#"{"time_zone": "Mars/Olympus"}"#,
            r#"{"name_key": true}"#,
        ] {
            let error = Definition::of_json(text.as_bytes()).unwrap_err();
            assert!(error.detail.is_some() && error.hint.is_some(), "{text}");
        }
    }
}
