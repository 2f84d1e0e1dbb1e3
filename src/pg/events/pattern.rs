//! The pattern argument of `filter_events` and `count_events`: an `hstore` or a `jsonb` object, read once per call.

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::event::Key;
use eventkit_core::pattern::Pattern;
use eventkit_core::value::Value;

use crate::raw::hstore::Hstore;
use crate::raw::jsonb::{Container, Object, contains};
use crate::raw::types::{HstoreValue, JsonbValue, Varlena};
use crate::raw::varlena::{Detoasted, Payload};

/// A type whose values can be patterns.
pub trait IsPattern: Varlena {
    /// The properties of a pattern.
    fn properties(opened: &Detoasted) -> Result<Vec<(Key<'_>, Value<'_>)>>;
}

impl IsPattern for HstoreValue {
    fn properties(opened: &Detoasted) -> Result<Vec<(Key<'_>, Value<'_>)>> {
        let hstore = Hstore::read(Payload(opened.payload()))?;
        hstore.pairs().map(|pair| pair.map(|(name, value)| (Key::last_at(name, 0), value))).collect()
    }
}

impl IsPattern for JsonbValue {
    fn properties(opened: &Detoasted) -> Result<Vec<(Key<'_>, Value<'_>)>> {
        let container = Container::read(opened.payload())?;
        let Ok(Some(object)) = Object::of_container(container) else {
            return Err(Error::new(Condition::SqlJsonObjectNotFound, "argument \"pattern\" is not a JSON object")
                .detail("An event matches a pattern when it has all of its properties, with equal values.")
                .hint("Write the pattern as '{\"event\": \"signup\"}'."));
        };
        object.pairs().map(|pair| pair.map(|(name, value)| (Key::last_at(name, 0), value))).collect()
    }
}

/// A pattern brought into memory.
pub struct Matching<P> {
    opened: Detoasted,
    kind: std::marker::PhantomData<P>,
}

impl<P: IsPattern> Matching<P> {
    /// Opens the argument.
    pub fn open(pattern: &P) -> Self {
        Self { opened: pattern.open(), kind: std::marker::PhantomData }
    }

    /// What events are compared with. O(properties).
    pub fn pattern(&self) -> Result<Pattern<'_>> {
        Ok(Pattern::new(P::properties(&self.opened)?, contains))
    }
}
