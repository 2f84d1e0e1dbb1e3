//! What the summary types have in common: the forms that a summary is stored and shown in, and what is said of a value, a
//! text or a setting that does not fit.

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bytes;
use crate::error::{Condition, Error, Result};

/// A type of summaries, as its errors name it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The type's name in SQL.
    pub name: &'static str,
    /// What one value is called.
    pub value: &'static str,
    /// What several are called at the beginning of a sentence.
    pub values: &'static str,
    /// The aggregate that makes them.
    pub made_by: &'static str,
}

impl Kind {
    /// The error of bytes that are no value. `XX001`.
    #[cold]
    #[must_use]
    pub fn corrupt(&self, what: &'static str) -> Error {
        let Self { name, value, made_by, .. } = self;
        Error::new(Condition::DataCorrupted, format!("corrupt {name} value"))
            .detail(what)
            .hint(format!("Compute the {value} again with {made_by}."))
    }

    /// The error of bytes that end too early. `XX001`.
    #[cold]
    #[must_use]
    pub fn short(&self) -> Error {
        self.corrupt("The value ends too early.")
    }

    /// The error of a text that is no value. `22P02`.
    #[cold]
    #[must_use]
    pub fn no_text(&self, detail: impl Display) -> Error {
        let Self { name, values, made_by, .. } = self;
        Error::new(Condition::InvalidTextRepresentation, format!("invalid input syntax for type {name}"))
            .detail(detail.to_string())
            .hint(format!("{values} are made by {made_by} and written by casting them to text."))
    }

    /// Refuses bytes of another version, which is their first number. Errors: `XX001`.
    #[inline]
    pub fn check_version(&self, bytes: &[u8], version: u32) -> Result<()> {
        if self.count(bytes, 0)? == version as usize {
            return Ok(());
        }
        Err(self.corrupt("The value is of a version that this library does not know."))
    }

    /// A number that counts something. Errors: `XX001`.
    #[inline]
    pub fn count(&self, bytes: &[u8], place: usize) -> Result<usize> {
        bytes::count_at(bytes, place).ok_or_else(|| self.short())
    }

    /// What was asked, from the bytes of its JSON. Errors: `XX001`.
    pub fn settings<S: DeserializeOwned>(&self, bytes: Option<&[u8]>) -> Result<S> {
        let settings = bytes.and_then(|bytes| serde_json::from_slice(bytes).ok());
        settings.ok_or_else(|| self.corrupt("The settings are not readable."))
    }

    /// The JSON text form. Errors: `22P02`, also for another version than the one that `version_of` should find.
    pub fn read_text<T: DeserializeOwned>(
        &self,
        text: &str,
        version: u32,
        version_of: impl Fn(&T) -> u32,
    ) -> Result<T> {
        let text: T = serde_json::from_str(text).map_err(|error| self.no_text(error))?;
        match version_of(&text) {
            found if found == version => Ok(text),
            found => Err(self.no_text(format_args!("The version is {found}, not {version}."))),
        }
    }

    /// The error of two values that were asked for different things. `22023`.
    #[cold]
    #[must_use]
    pub fn differ<S: Serialize>(&self, message: &'static str, one: &S, two: &S) -> Error {
        let shown = |settings| String::from_utf8(json(settings)).unwrap_or_default();
        Error::new(Condition::InvalidParameterValue, message)
            .detail(format!("They were asked for {} and {}.", shown(one), shown(two)))
            .hint("Group by what they were asked for as well.")
    }
}

/// A summary in memory, in its versioned bytes and in its stable text form.
pub trait Stored: Sized {
    /// How errors name it.
    const KIND: Kind;

    /// Reads the bytes. O(size), or O(size · log size). Errors: `XX001`.
    fn decode(bytes: &[u8]) -> Result<Self>;

    /// The bytes, as small as they get.
    #[must_use]
    fn encode(&self) -> Vec<u8>;

    /// The stable text form. Errors: none for a value that was read or computed.
    fn to_text(&self) -> Result<String>;

    /// Reads the text form. Errors: `22P02`.
    fn from_text(text: &str) -> Result<Self>;

    /// The bytes of two values put together. O(size), or O(size · log size). Errors: `22023` when they were asked for
    /// different things, `54000` beyond the type's bound, `XX001`.
    fn together(one: &[u8], two: &[u8]) -> Result<Vec<u8>>;
}

/// The JSON of settings, or of a text form.
#[must_use]
pub fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What tells settings apart: see [`check_fingerprint`].
#[must_use]
pub fn fingerprint<S: Serialize>(settings: &S) -> u64 {
    bytes::fingerprint(&json(settings))
}

/// Refuses a value that was begun with other settings than those of this fingerprint; the value's own is at a place.
/// O(1). Errors: `22023` with the message and the detail.
#[inline]
pub fn check_fingerprint(
    bytes: &[u8],
    place: usize,
    fingerprint: u64,
    message: &'static str,
    detail: &'static str,
) -> Result<()> {
    if bytes::at(bytes, place).map(u64::from_le_bytes) == Some(fingerprint) {
        return Ok(());
    }
    Err(Error::new(Condition::InvalidParameterValue, message)
        .detail(detail)
        .hint("Give constants, or GROUP BY them as well."))
}
