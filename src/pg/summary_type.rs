//! The support functions of a type whose values are summaries: its text form, and putting values together.

use std::ffi::{CStr, CString};

use eventkit_core::error::Result;
use eventkit_core::stored::Stored;

use crate::pg::raise::OrRaise;
use crate::raw::state::State;
use crate::raw::types::Varlena;

/// Reads a value.
pub fn decode<S: Stored>(value: impl Varlena) -> Result<S> {
    S::decode(value.open().payload())
}

/// The value of a summary, as small as it gets.
pub fn value<S: Stored, V: Varlena>(summary: &S) -> Result<V> {
    Ok(State::new(&summary.encode())?.into_value())
}

/// What a type's input function does.
pub fn input<S: Stored, V: Varlena>(text: &CStr) -> V {
    let read = || -> Result<V> {
        let text = text.to_str().map_err(|_| S::KIND.no_text("The text is not UTF-8."))?;
        value(&S::from_text(text)?)
    };
    read().or_raise()
}

/// What a type's output function does.
pub fn output<S: Stored>(value: impl Varlena) -> CString {
    let text = decode::<S>(value).and_then(|summary| summary.to_text()).or_raise();
    // JSON escapes the zero byte, so there is none.
    CString::new(text).unwrap_or_default()
}

/// What an aggregate's combine function does.
pub fn combine<S: Stored, V: Varlena>(state: Option<V>, other: Option<V>) -> Option<V> {
    let (state, other) = match (state, other) {
        (Some(state), Some(other)) => (state, other),
        (state, other) => return state.or(other),
    };
    let (state, other) = (state.open(), other.open());
    let both = S::together(state.payload(), other.payload()).and_then(|bytes| State::new(&bytes));
    Some(both.or_raise().into_value())
}

/// What an aggregate's final function does: the room that the aggregate kept for more users goes.
pub fn finish<S: Stored, V: Varlena>(state: V) -> V {
    decode::<S>(state).and_then(|summary| value(&summary)).or_raise()
}

/// Declares those functions in SQL: the value's type and the summary's, the names of the SQL blocks that make the type's
/// shell and the type, what the output function calls its argument, and the names of the functions.
macro_rules! summary_type {
    (
        $value:ty: $summary:ty, $shell:literal, $type:literal, $argument:ident,
        $input:ident, $output:ident, $combine:ident, $finish:ident
    ) => {
        #[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = [$shell])]
        fn $input(input: &std::ffi::CStr) -> $value {
            $crate::pg::summary_type::input::<$summary, $value>(input)
        }

        #[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = [$shell])]
        fn $output($argument: $value) -> std::ffi::CString {
            $crate::pg::summary_type::output::<$summary>($argument)
        }

        #[pg_extern(immutable, parallel_safe, cost = 100, requires = [$type])]
        fn $combine(state: Option<$value>, other: Option<$value>) -> Option<$value> {
            $crate::pg::summary_type::combine::<$summary, $value>(state, other)
        }

        #[pg_extern(immutable, strict, parallel_safe, cost = 100, requires = [$type])]
        fn $finish(state: $value) -> $value {
            $crate::pg::summary_type::finish::<$summary, $value>(state)
        }
    };
}

pub(in crate::pg) use summary_type;
