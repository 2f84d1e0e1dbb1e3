//! Copies of an event left out of a scan: of those that share an id, the last in array order counts.

use crate::dedupe::{Options, dedupe};
use crate::error::Result;
use crate::event::{Events, Poll};
use crate::options::{IdType, Keep, OnMissing, Place};
use crate::selection::Selection;
use crate::value::IntegerSyntax;

const LAST_COPY: Options = Options {
    keep: Keep::Last,
    id_type: IdType::Text,
    on_missing: OnMissing::Keep,
    place: Place::Kept,
    syntax: IntegerSyntax::Decimal,
};

/// The elements that count; all where no key is given.
#[derive(Debug)]
pub struct Counting(Selection);

impl Counting {
    /// Reads the ids. O(events). Errors: those of the source.
    pub fn of<'a, S: Events<'a>>(source: &mut S, argument: &str, id_key: Option<&str>, poll: Poll<'_>) -> Result<Self> {
        id_key.map_or(Ok(Self(Selection::All)), |id_key| dedupe(source, argument, id_key, LAST_COPY, poll).map(Self))
    }

    /// Whether the element at this 1-based position counts.
    #[inline]
    #[must_use]
    pub fn holds(&self, position: usize) -> bool {
        !matches!(&self.0, Selection::Marked(marks) if !marks.get(position - 1))
    }
}
