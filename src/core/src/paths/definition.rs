//! What paths are asked for: how long, from or up to which event, within which sessions.

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::error::{Condition, Error, Result};
use crate::funnel::duration;
use crate::names::Names;
use crate::time::Micros;

/// Events of a path at most.
pub const MOST_DEPTH: usize = 64;

/// Events of a path when nothing else is said.
pub const DEFAULT_DEPTH: i64 = 5;

const EXAMPLE: &str = r#"{"depth": 5, "start_event": "sign_up", "session_gap": "30 minutes"}"#;
const KEYS: [&str; 8] =
    ["depth", "start_event", "end_event", "collapse_repeats", "session_gap", "id_key", "name_key", "time_key"];

/// Paths over event arrays.
#[derive(Clone, Debug)]
pub struct Definition {
    /// What a summary keeps of it.
    pub settings: Settings,
    /// Paths begin with the first of these; [`Names::Any`] = with the first event.
    pub start_event: Names,
    /// Paths end with the first of these; [`Names::Any`] = anywhere.
    pub end_event: Names,
    /// The key that holds an event's id, when copies of an event are to be left out; the last copy counts.
    pub id_key: Option<String>,
    /// The key that holds an event's name.
    pub name_key: String,
    /// The key that holds an event's time.
    pub time_key: String,
}

/// What all users of a summary have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Events of a path at most, 1 to 64.
    pub depth: usize,
    /// The events that a path begins with; none = the first event.
    pub start_event: Vec<String>,
    /// The events that a path ends with; none = it is not looked for.
    pub end_event: Vec<String>,
    /// Whether an event that follows one of the same name is left out.
    pub collapse_repeats: bool,
    /// Microseconds without an event that a path does not cross; `None` = it crosses all.
    pub session_gap: Option<Micros>,
}

impl Settings {
    /// Whether the paths are those before an event, and looked at from there.
    #[must_use]
    pub const fn is_backward(&self) -> bool {
        self.start_event.is_empty() && !self.end_event.is_empty()
    }

    /// Whether these are settings that a definition can have.
    #[must_use]
    pub fn are_sound(&self) -> bool {
        (1..=MOST_DEPTH).contains(&self.depth) && self.session_gap.is_none_or(|gap| gap >= 0)
    }
}

impl Definition {
    /// With a depth and nothing else. Errors: `22023` for a depth that is not 1 to 64.
    pub fn of_depth(depth: i64) -> Result<Self> {
        let depth = usize::try_from(depth).ok().filter(|depth| (1..=MOST_DEPTH).contains(depth)).ok_or_else(|| {
            Error::new(Condition::InvalidParameterValue, "invalid path definition")
                .detail(format!("$.depth is {depth}; a path has 1 to {MOST_DEPTH} events."))
                .hint("Leave depth out to get 5.")
        })?;
        Ok(Self {
            settings: Settings {
                depth,
                start_event: Vec::new(),
                end_event: Vec::new(),
                collapse_repeats: true,
                session_gap: None,
            },
            start_event: Names::Any,
            end_event: Names::Any,
            id_key: None,
            name_key: "event".into(),
            time_key: "time".into(),
        })
    }

    /// The full form. Errors: those of [`Document`], [`Self::of_depth`] and [`duration::of_text`].
    pub fn of_json(text: &[u8]) -> Result<Self> {
        let document = Document::read("path", EXAMPLE, &KEYS, text)?;
        let mut definition = Self::of_depth(document.whole("depth")?.unwrap_or(DEFAULT_DEPTH))?;
        let list = |names: &Names| match names {
            Names::Any => Vec::new(),
            Names::In(names) => names.clone(),
        };
        definition.start_event = document.names("start_event")?;
        definition.end_event = document.names("end_event")?;
        definition.settings.start_event = list(&definition.start_event);
        definition.settings.end_event = list(&definition.end_event);
        definition.settings.collapse_repeats = document.flag("collapse_repeats")?.unwrap_or(true);
        definition.settings.session_gap =
            document.text("session_gap")?.map(|gap| duration::of_text("session_gap", gap)).transpose()?;
        definition.id_key = document.text("id_key")?.map(str::to_owned);
        if let Some(key) = document.text("name_key")? {
            definition.name_key = key.to_owned();
        }
        if let Some(key) = document.text("time_key")? {
            definition.time_key = key.to_owned();
        }
        Ok(definition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_what_the_arguments_do() {
        assert_eq!(Definition::of_json(b"{}").unwrap().settings, Definition::of_depth(5).unwrap().settings);
        let full = Definition::of_json(br#"{"depth": 3, "start_event": "a", "end_event": ["b", "c"], "collapse_repeats": false, "session_gap": "30 min", "name_key": "n", "time_key": "t"}"#).unwrap();
        assert_eq!(
            full.settings,
            Settings {
                depth: 3,
                start_event: vec!["a".into()],
                end_event: vec!["b".into(), "c".into()],
                collapse_repeats: false,
                session_gap: Some(1_800_000_000)
            }
        );
        assert!(!full.settings.is_backward() && full.settings.are_sound());
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for text in [
            "[]",
            "{",
            r#"{"depht": 3}"#,
            r#"{"depth": 0}"#,
            r#"{"depth": 65}"#,
            r#"{"depth": 1.5}"#,
            r#"{"depth": "3"}"#,
            r#"{"session_gap": 30}"#,
            r#"{"session_gap": "1 month"}"#,
            r#"{"collapse_repeats": 1}"#,
            r#"{"start_event": [null]}"#,
        ] {
            let error = Definition::of_json(text.as_bytes()).unwrap_err();
            assert!(error.detail.is_some() && error.hint.is_some(), "{text}");
        }
    }
}
