//! The three forms of an event array (`hstore[]`, `jsonb[]`, a `jsonb` array value) behind one trait: opened, walked,
//! and written back from a selection in large pieces.

use eventkit_core::error::Result;
use eventkit_core::event::{Event, Events};
use eventkit_core::selection::{Marks, Selection};
use pgrx::pg_sys;

pub use super::array_form::{ArrayOf, HstoreLayout, JsonbLayout};
pub use super::document_form::JsonbDocument;
use super::varlena::Detoasted;

/// A form of event array.
pub trait Form {
    /// Its events.
    type Event<'a>: Event<'a>;
    /// A walk over them.
    type Walk<'a>: Events<'a, Event = Self::Event<'a>>;
    /// The array, its head read.
    type View<'a>: Copy;

    /// Reads the head. Errors: those of a wrong shape, naming the argument.
    fn view<'a>(value: &'a Detoasted, argument: &str) -> Result<Self::View<'a>>;
    /// The elements from the first.
    fn walk<'a>(view: Self::View<'a>) -> Self::Walk<'a>;
    /// Whether the value can be the result as it is when all its elements stay.
    fn is_canonical(view: &Self::View<'_>) -> bool;
    /// Drops the elements without a mark from a value that is our own copy, and gives its new length; `None` when it
    /// has to be written anew. Saves a second value of that size: its memory costs more than its copying.
    fn compact(_bytes: &mut [u8], _marks: &Marks) -> Result<Option<usize>> {
        Ok(None)
    }
    /// Puts a second array behind a first one that is our own copy; gives `false` when both have to be written anew.
    fn extend(_first: &mut Detoasted, _second: &Detoasted) -> Result<bool> {
        Ok(false)
    }
    /// Writes the selected elements of one or two arrays (see [`SECOND`]) as a new value, bytes unchanged.
    fn write(views: &[Self::View<'_>], selection: &Selection) -> Result<pg_sys::Datum>;
    /// Cuts an array into values of so many elements each, one behind the other, bytes unchanged. O(bytes).
    fn pieces(view: Self::View<'_>, lens: impl Iterator<Item = usize>) -> Result<Vec<pg_sys::Datum>>;
}
