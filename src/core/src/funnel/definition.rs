//! The definition of a funnel: the JSON document or the short form, read into one compiled form.

use serde_json::{Map, Value as Json};

use super::duration;
use crate::error::{Condition, Error, Result, quoted};
use crate::time::Micros;

/// Steps that a funnel may have: one bit each.
pub const MOST_STEPS: usize = 64;

/// A funnel, ready to be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Funnel {
    /// The steps in order, 1 to 64.
    pub steps: Vec<Step>,
    /// The longest time from the match of step 1 to any other, inclusive; `None` = no limit.
    pub window: Option<Micros>,
    /// The key that holds an event's name.
    pub name_key: String,
    /// The key that holds an event's time.
    pub time_key: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The event names that match; empty = any event.
    pub names: Vec<String>,
    /// What tables and charts call it.
    pub label: String,
}

impl Funnel {
    /// The short form: names and a window. Errors: `22023` for no step, too many, or an empty name.
    pub fn of_names(names: Vec<String>, window: Option<Micros>, name_key: &str, time_key: &str) -> Result<Self> {
        count_fits(names.len(), "steps")?;
        let steps = names.into_iter().map(|name| Step { label: name.clone(), names: vec![name] }).collect();
        Ok(Self { steps, window, name_key: name_key.into(), time_key: time_key.into() })
    }

    /// The full form. Errors: `22032` for what is no JSON, `22023` with the JSON path in DETAIL for everything else.
    pub fn of_json(text: &[u8]) -> Result<Self> {
        let document: Json = serde_json::from_slice(text).map_err(|error| {
            Error::new(Condition::InvalidJsonText, "funnel definition is not a JSON document")
                .detail(error.to_string())
                .hint("Write it as '{\"steps\": [\"a\", \"b\"], \"window\": \"6 hours\"}'.")
        })?;
        let path = "$";
        let top = object(&document, path)?;
        only_keys(top, path, &["steps", "window", "mode", "name_key", "time_key"])?;
        if let Some(mode) = top.get("mode") {
            let mode = text_of(mode, "$.mode")?;
            if mode != "ordered" {
                return Err(wrong(
                    "$.mode",
                    &format!("has the value {}", quoted(mode.as_bytes())),
                    "The mode is \"ordered\".",
                ));
            }
        }
        let steps = top.get("steps").ok_or_else(|| {
            wrong(path, "lacks the key \"steps\"", "Add \"steps\": [\"first event\", \"second event\"].")
        })?;
        let list = array(steps, "$.steps")?;
        count_fits(list.len(), "$.steps")?;
        let steps = list
            .iter()
            .enumerate()
            .map(|(at, step)| read_step(step, &format!("$.steps[{at}]")))
            .collect::<Result<_>>()?;
        let window = match top.get("window") {
            None | Some(Json::Null) => None,
            Some(window) => Some(
                duration::of_text("window", text_of(window, "$.window")?)
                    .map_err(|error| at_path(error, "$.window"))?,
            ),
        };
        let key = |name: &str, default: &str| match top.get(name) {
            None => Ok(default.to_owned()),
            Some(key) => text_of(key, &format!("$.{name}")).map(str::to_owned),
        };
        Ok(Self { steps, window, name_key: key("name_key", "event")?, time_key: key("time_key", "time")? })
    }

    /// The labels of the steps, in order.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.label.as_str())
    }
}

fn read_step(step: &Json, path: &str) -> Result<Step> {
    if let Json::String(name) = step {
        return Ok(Step { names: vec![name.clone()], label: name.clone() });
    }
    let step = object(step, path)?;
    only_keys(step, path, &["event", "label"])?;
    let event = format!("{path}.event");
    let names = match step.get("event") {
        None => Vec::new(),
        Some(Json::Array(names)) if !names.is_empty() => names
            .iter()
            .enumerate()
            .map(|(at, name)| text_of(name, &format!("{event}[{at}]")).map(str::to_owned))
            .collect::<Result<_>>()?,
        Some(name) => vec![text_of(name, &event)?.to_owned()],
    };
    let label = match step.get("label") {
        Some(label) => text_of(label, &format!("{path}.label"))?.to_owned(),
        None if names.is_empty() => "any event".to_owned(),
        None => names.join(" or "),
    };
    Ok(Step { names, label })
}

fn count_fits(count: usize, path: &str) -> Result<()> {
    if (1..=MOST_STEPS).contains(&count) {
        return Ok(());
    }
    Err(wrong(path, &format!("has {count} steps"), "Give 1 to 64 steps."))
}

fn wrong(path: &str, what: &str, hint: &str) -> Error {
    Error::new(Condition::InvalidParameterValue, "invalid funnel definition")
        .detail(format!("{path} {what}."))
        .hint(hint.to_owned())
}

fn at_path(mut error: Error, path: &str) -> Error {
    let detail = error.detail.take().unwrap_or_default();
    error.detail(format!("At {path}: {detail}"))
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

fn object<'v>(value: &'v Json, path: &str) -> Result<&'v Map<String, Json>> {
    value.as_object().ok_or_else(|| {
        wrong(path, &format!("is {}, not an object", kind(value)), "See the reference of funnel definitions.")
    })
}

fn array<'v>(value: &'v Json, path: &str) -> Result<&'v Vec<Json>> {
    value
        .as_array()
        .ok_or_else(|| wrong(path, &format!("is {}, not an array", kind(value)), "Write a list in square brackets."))
}

fn text_of<'v>(value: &'v Json, path: &str) -> Result<&'v str> {
    value
        .as_str()
        .ok_or_else(|| wrong(path, &format!("is {}, not a string", kind(value)), "Write it in double quotes."))
}

fn only_keys(object: &Map<String, Json>, path: &str, known: &[&str]) -> Result<()> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(wrong(
            path,
            &format!("has the unknown key {}", quoted(key.as_bytes())),
            &format!("The keys here are {}.", known.join(", ")),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_give_one_funnel() {
        let short = Funnel::of_names(vec!["a".into(), "b".into()], Some(3_600_000_000), "event", "time").unwrap();
        let full =
            Funnel::of_json(br#"{"steps": ["a", {"event": "b"}], "window": "1 hour", "mode": "ordered"}"#).unwrap();
        assert_eq!(short, full);
        let several = Funnel::of_json(br#"{"steps": [{"event": ["a", "b"], "label": "either"}, {}]}"#).unwrap();
        assert_eq!(several.steps[0], Step { names: vec!["a".into(), "b".into()], label: "either".into() });
        assert_eq!(several.steps[1], Step { names: vec![], label: "any event".into() });
    }

    #[test]
    fn an_error_names_the_path() {
        for (text, path) in [
            (r#"[]"#, "$ is an array"),
            (r#"{}"#, "$ lacks the key \"steps\""),
            (r#"{"steps": []}"#, "$.steps has 0 steps"),
            (r#"{"steps": "a"}"#, "$.steps is a string"),
            (r#"{"steps": ["a", 3]}"#, "$.steps[1] is a number"),
            (r#"{"steps": [{"event": ["a", 3]}]}"#, "$.steps[0].event[1] is a number"),
            (r#"{"steps": [{"event": []}]}"#, "$.steps[0].event is an array"),
            (r#"{"steps": [{"evnt": "a"}]}"#, "$.steps[0] has the unknown key \"evnt\""),
            (r#"{"steps": ["a"], "windw": "1 day"}"#, "$ has the unknown key \"windw\""),
            (r#"{"steps": ["a"], "window": 5}"#, "$.window is a number"),
            (r#"{"steps": ["a"], "window": "1 month"}"#, "At $.window"),
            (r#"{"steps": ["a"], "mode": "loose"}"#, "$.mode has the value \"loose\""),
        ] {
            let error = Funnel::of_json(text.as_bytes()).unwrap_err();
            assert!(error.detail.as_ref().unwrap().starts_with(path), "{text}: {error}");
            assert!(error.hint.is_some());
        }
        assert_eq!(Funnel::of_json(b"{").unwrap_err().condition, Condition::InvalidJsonText);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_funnel_or_an_error(text in "[\\[\\]{}\",:a-c0-9 ]{0,40}") {
            let _ = Funnel::of_json(text.as_bytes());
        }
    }
}
