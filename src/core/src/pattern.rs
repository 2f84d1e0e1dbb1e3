//! Containment: does an event have all properties of a pattern, with equal values.

use crate::error::Result;
use crate::event::{Event, Key};
use crate::value::Value;

/// The properties an event must have. What `@>` asks of `hstore` and `jsonb`.
pub struct Pattern<'p> {
    properties: Vec<(Key<'p>, Value<'p>)>,
    contains: fn(&Value<'_>, &Value<'_>) -> Result<bool>,
}

impl<'p> Pattern<'p> {
    /// A pattern of these properties; `contains` decides about nested documents.
    #[must_use]
    pub fn new(properties: Vec<(Key<'p>, Value<'p>)>, contains: fn(&Value<'_>, &Value<'_>) -> Result<bool>) -> Self {
        Self { properties, contains }
    }

    /// Whether the event has them all; one without properties matches every event. O(properties · lookup).
    pub fn matches<'a>(&mut self, event: &impl Event<'a>) -> Result<bool> {
        for (key, expected) in &mut self.properties {
            let found = event.get(key)?;
            let same = match (&found, &*expected) {
                (Value::Null, Value::Null) => true,
                (Value::Text(a), Value::Text(b)) => a == b,
                (Value::Number(a), Value::Number(b)) => a.same_value(b),
                (Value::Bool(a), Value::Bool(b)) => a == b,
                (Value::Document(_), Value::Document(_)) => (self.contains)(&found, expected)?,
                _ => false,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
