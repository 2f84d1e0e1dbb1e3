//! Options in a JSON document: its keys read by kind, unknown keys and impossible values refused by name.

use serde_json::{Map, Value as Json};

use crate::error::{Condition, Error, Result, quoted};
use crate::names::Names;

/// Names that a list of event names has at most.
const MOST_NAMES: usize = 100;

/// A JSON object of options.
pub struct Document {
    subject: &'static str,
    example: &'static str,
    keys: Map<String, Json>,
}

impl Document {
    /// Reads the text of a definition: what it defines, the keys it may have, and an example for hints.
    /// Errors: `22032` for what is no JSON object, `22023` for a key that it does not know.
    pub fn read(subject: &'static str, example: &'static str, known: &[&str], text: &[u8]) -> Result<Self> {
        let document: Json = serde_json::from_slice(text).map_err(|error| {
            Error::new(Condition::InvalidJsonText, format!("{subject} definition is not a JSON document"))
                .detail(error.to_string())
                .hint(format!("Write it as '{example}'."))
        })?;
        let Json::Object(keys) = document else {
            return Err(Error::new(Condition::InvalidJsonText, format!("{subject} definition is not a JSON object"))
                .detail("It is an array or a single value.")
                .hint(format!("Write it as '{example}'.")));
        };
        let document = Self { subject, example, keys };
        match document.keys.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(document),
            Some(key) => Err(document.wrong(&format!(
                "has an unknown key {}; it knows {}",
                quoted(key.as_bytes()),
                known.join(", ")
            ))),
        }
    }

    #[cold]
    fn wrong(&self, what: &str) -> Error {
        Error::new(Condition::InvalidParameterValue, format!("invalid {} definition", self.subject))
            .detail(format!("$ {what}."))
            .hint(format!("Write it as '{}'.", self.example))
    }

    #[cold]
    fn wrong_at(&self, key: &str, what: &str) -> Error {
        let mut error = self.wrong("");
        error.detail = Some(format!("$.{key} {what}.").into());
        error
    }

    fn value(&self, key: &str) -> Option<&Json> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// A text; `None` where the key is absent or null. Errors: `22023`.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.value(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong_at(key, "is no string")),
        }
    }

    /// `true` or `false`; `None` as for [`Self::text`]. Errors: `22023`.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.value(key) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong_at(key, "is neither true nor false")),
        }
    }

    /// A whole number; `None` as for [`Self::text`]. Errors: `22023`.
    pub fn whole(&self, key: &str) -> Result<Option<i64>> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| self.wrong_at(key, "is no whole number")),
        }
    }

    /// An event name or a list of some; [`Names::Any`] where the key is absent or null. Errors: `22023`.
    pub fn names(&self, key: &str) -> Result<Names> {
        let names: Option<Vec<String>> = match self.value(key) {
            None => return Ok(Names::Any),
            Some(Json::String(name)) => Some(vec![name.clone()]),
            Some(Json::Array(names)) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        match names {
            Some(names) if (1..=MOST_NAMES).contains(&names.len()) => Ok(Names::In(names)),
            Some(_) => Err(self.wrong_at(key, &format!("has no name, or more than {MOST_NAMES}"))),
            None => Err(self.wrong_at(key, "is neither an event name nor a list of event names")),
        }
    }
}
