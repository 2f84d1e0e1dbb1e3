//! The SQL types of arguments and results that pgrx has no zero-copy type for: the server's value, unopened.

use eventkit_core::error::{Condition, Error, Result as Outcome};
use eventkit_core::selection::Selection;
use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::array::View;
use super::form::{ArrayOf, Form, HstoreLayout, JsonbDocument, JsonbLayout};
use super::varlena::Detoasted;

/// A value of a variable-length type, not NULL, as the server passed it.
pub trait Varlena: Sized {
    /// The value, unopened.
    fn datum(&self) -> pg_sys::Datum;
    /// Wraps a value that this library built.
    ///
    /// # Safety
    /// The datum must be a value of this SQL type.
    unsafe fn wrap(datum: pg_sys::Datum) -> Self;

    /// Brings the value into memory; a copy is freed when the result goes.
    fn open(&self) -> Detoasted {
        // SAFETY: a value of this trait is a varlena that is not NULL.
        unsafe { Detoasted::open(self.datum()) }
    }
}

/// An event array argument, in one of the three forms.
pub trait EventArray: Varlena {
    /// How it is read and written.
    type Form: Form;

    /// The selected elements of one array or two, as a new value; the first value itself when that is the same.
    fn select(mut opened: Detoasted, rest: &[&Detoasted], selection: &Selection) -> Outcome<Self> {
        if let (true, Selection::Marked(marks)) = (rest.is_empty(), selection)
            && let Some(bytes) = opened.own_bytes()
            && let Some(len) = Self::Form::compact(bytes, marks)?
        {
            opened.shorten(len);
            // SAFETY: the value is one of this type still.
            return Ok(unsafe { Self::wrap(opened.into_datum()) });
        }
        if let (&[second], Selection::All) = (rest, selection)
            && Self::Form::extend(&mut opened, second)?
        {
            // SAFETY: the value is one of this type still.
            return Ok(unsafe { Self::wrap(opened.into_datum()) });
        }
        let first = Self::Form::view(&opened, "events")?;
        if rest.is_empty() && *selection == Selection::All && Self::Form::is_canonical(&first) {
            // SAFETY: the value is one of this type.
            return Ok(unsafe { Self::wrap(opened.into_datum()) });
        }
        let mut views = vec![first];
        for other in rest {
            views.push(Self::Form::view(other, "new_events")?);
        }
        let datum = Self::Form::write(&views, selection)?;
        // SAFETY: `write` builds a value of the type it read.
        Ok(unsafe { Self::wrap(datum) })
    }

    /// The array cut into values of so many elements each, one behind the other.
    fn pieces(&self, lens: impl Iterator<Item = usize>) -> Outcome<Vec<Self>> {
        let opened = self.open();
        let pieces = Self::Form::pieces(Self::Form::view(&opened, "events")?, lens)?;
        // SAFETY: `pieces` builds values of the type it read.
        Ok(pieces.into_iter().map(|datum| unsafe { Self::wrap(datum) }).collect())
    }
}

macro_rules! varlena {
    ($(#[$doc:meta])* $name:ident, $sql:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name(pg_sys::Datum);

        impl Varlena for $name {
            fn datum(&self) -> pg_sys::Datum {
                self.0
            }

            unsafe fn wrap(datum: pg_sys::Datum) -> Self {
                Self(datum)
            }
        }

        // SAFETY: the argument's SQL type is the one declared below; its datum is kept as it is.
        unsafe impl<'fcx> ArgAbi<'fcx> for $name {
            unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
                // SAFETY: the caller has checked that the argument is not NULL.
                match unsafe { arg.unbox_arg_using_from_datum::<Self>() } {
                    Some(value) => value,
                    None => Self(pg_sys::Datum::null()),
                }
            }
        }

        impl FromDatum for $name {
            unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
                (!is_null).then_some(Self(datum))
            }
        }

        impl IntoDatum for $name {
            fn into_datum(self) -> Option<pg_sys::Datum> {
                Some(self.0)
            }

            fn type_oid() -> pg_sys::Oid {
                pg_sys::InvalidOid
            }
        }

        // SAFETY: the value is one of the declared SQL type.
        unsafe impl BoxRet for $name {
            unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
                // SAFETY: as above.
                unsafe { fcinfo.return_raw_datum(self.0) }
            }
        }

        pgrx::impl_sql_translatable!($name, $sql);
    };
}

varlena!(
    /// One `hstore`.
    HstoreValue, "hstore"
);
varlena!(
    /// An `hstore[]`.
    HstoreArray, "hstore[]"
);
varlena!(
    /// A `jsonb[]`.
    JsonbArray, "jsonb[]"
);
varlena!(
    /// One `jsonb`, of whatever kind.
    JsonbValue, "jsonb"
);

varlena!(
    /// A `text[]`.
    TextArray, "text[]"
);
varlena!(
    /// One `text`.
    Text, "text"
);
varlena!(
    /// A `bool[]`.
    BoolArray, "bool[]"
);
varlena!(
    /// A `bytea` that is an aggregate's state.
    Bytes, "bytea"
);
varlena!(
    /// A `funnel_summary`.
    FunnelSummary, "funnel_summary"
);
varlena!(
    /// An `event_chunks`.
    EventChunks, "event_chunks"
);
varlena!(
    /// A `funnel_trend`.
    FunnelTrend, "funnel_trend"
);
varlena!(
    /// A `retention_summary`.
    RetentionSummary, "retention_summary"
);
varlena!(
    /// A `paths_summary`.
    PathsSummary, "paths_summary"
);

impl TextArray {
    /// The texts. Errors: `22004` for a NULL element, `2202E` for more than one dimension; both name the argument.
    pub fn read(opened: &Detoasted, argument: &str) -> Outcome<Vec<String>> {
        let view = View::read(opened.bytes(), argument)?;
        let mut texts = Vec::with_capacity(view.len);
        let mut offset = 0;
        for position in 0..view.len {
            if view.is_null(position) {
                return Err(Error::new(
                    Condition::NullValueNotAllowed,
                    format!("element {} of argument \"{argument}\" is NULL", position + 1),
                )
                .detail("Every element has to be a text.")
                .hint(format!("Use array_remove({argument}, NULL).")));
            }
            let (payload, end) = super::varlena::element("text", view.data, offset)?;
            texts.push(String::from_utf8_lossy(payload.0).into_owned());
            offset = super::varlena::aligned(end);
        }
        Ok(texts)
    }
}

impl EventArray for HstoreArray {
    type Form = ArrayOf<HstoreLayout>;
}

impl EventArray for JsonbArray {
    type Form = ArrayOf<JsonbLayout>;
}

impl EventArray for JsonbValue {
    type Form = JsonbDocument;
}
