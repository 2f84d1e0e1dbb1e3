//! All events of one user, in whichever form they come: what a function over a user is written for, once.

use eventkit_core::error::Result;
use eventkit_core::event::Events;

use super::form::Form;
use super::types::{EventArray, Varlena};

/// What is done with a user's events. `source` gives a walk from the first event, as often as it is called.
pub trait Visit {
    /// What comes of it.
    type Output;
    /// Does it.
    fn visit<'a, S: Events<'a>>(self, source: impl Fn() -> S) -> Result<Self::Output>;
}

/// An argument that holds a user's events: an event array, or several of them.
pub trait UserEvents: Varlena {
    /// Opens the value and does something with the events in it. Errors: those of a wrong shape, and of the visit.
    fn visit<V: Visit>(self, visit: V) -> Result<V::Output>;
}

impl<A: EventArray> UserEvents for A {
    fn visit<V: Visit>(self, visit: V) -> Result<V::Output> {
        let opened = self.open();
        let view = A::Form::view(&opened, "events")?;
        visit.visit(|| A::Form::walk(view))
    }
}
