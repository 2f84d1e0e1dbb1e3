//! Which events are meant, by their names: any, or those of a list.

use crate::error::Result;
use crate::event::{Event, Key};
use crate::value::Value;

/// A set of event names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Any event, also one without a name.
    Any,
    /// One of these.
    In(Vec<String>),
}

impl Names {
    /// Whether an event of this name is meant; `None` is an event without one. O(names).
    #[inline]
    #[must_use]
    pub fn hold(&self, name: Option<&[u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::In(names) => name.is_some_and(|name| names.iter().any(|known| known.as_bytes() == name)),
        }
    }
}

/// The name of an event as the text that `->>` gives. Errors: those of a corrupt value.
#[inline]
pub fn name_of<'s, 'a: 's, E: Event<'a>>(
    event: &E,
    key: &mut Key<'_>,
    scratch: &'s mut Vec<u8>,
) -> Result<Option<&'s [u8]>> {
    match event.get(key)? {
        Value::Text(name) => Ok(Some(name)),
        Value::Absent | Value::Null => Ok(None),
        other => other.text(scratch),
    }
}
