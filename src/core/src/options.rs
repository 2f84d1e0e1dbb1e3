//! The text options of the event-array functions, read into types.

use crate::error::{Condition, Error, Result, quoted};

/// Which of the events that share an id stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The first in array order.
    First,
    /// The last in array order.
    Last,
}

/// How ids are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdType {
    /// By the text that `->>` gives.
    Text,
    /// As 64-bit numbers: `'01'` and `'1'` are one id.
    Bigint,
}

/// What becomes of events without an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// Each stays: it cannot be a duplicate.
    Keep,
    /// All of them count as one id.
    Collapse,
    /// The call fails.
    Error,
}

/// Where the kept event stands in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where it stood itself.
    Kept,
    /// Where the id stood first.
    First,
}

/// Reads one option out of its documented words. Errors: `22023` naming the argument.
fn word<T: Copy>(argument: &str, given: &str, words: &[(&str, T)]) -> Result<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
        return Ok(*value);
    }
    let list = words.iter().map(|(word, _)| format!("'{word}'")).collect::<Vec<_>>().join(", ");
    let nearest = words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(given.trim()))
        .or_else(|| words.first())
        .map_or("", |(word, _)| word);
    Err(Error::new(
        Condition::InvalidParameterValue,
        format!("invalid value for argument \"{argument}\": {}", quoted(given.as_bytes())),
    )
    .detail(format!("The values of {argument} are {list}."))
    .hint(format!("Write {argument} => '{nearest}'.")))
}

impl Keep {
    /// Reads `keep`.
    pub fn read(given: &str) -> Result<Self> {
        word("keep", given, &[("last", Self::Last), ("first", Self::First)])
    }
}

impl IdType {
    /// Reads `id_type`.
    pub fn read(given: &str) -> Result<Self> {
        word("id_type", given, &[("text", Self::Text), ("bigint", Self::Bigint)])
    }
}

impl OnMissing {
    /// Reads `on_missing`.
    pub fn read(given: &str) -> Result<Self> {
        word("on_missing", given, &[("keep", Self::Keep), ("collapse", Self::Collapse), ("error", Self::Error)])
    }
}

impl Place {
    /// Reads `place`.
    pub fn read(given: &str) -> Result<Self> {
        word("place", given, &[("kept", Self::Kept), ("first", Self::First)])
    }
}

/// An option that has a default and was given as NULL. Errors: `22004` naming the argument.
pub fn required<T>(argument: &str, given: Option<T>) -> Result<T> {
    given.ok_or_else(|| is_null(argument, format!("Leave {argument} out to get its default.")))
}

/// An argument without a default. Errors: `22004` naming the argument, with an example.
pub fn needed<T>(argument: &str, given: Option<T>, example: &str) -> Result<T> {
    given.ok_or_else(|| is_null(argument, format!("Write {argument} => {example} for example.")))
}

fn is_null(argument: &str, hint: String) -> Error {
    Error::new(Condition::NullValueNotAllowed, format!("argument \"{argument}\" must not be NULL"))
        .detail("Only the events may be NULL, and then so is the result.")
        .hint(hint)
}
