//! The layout of arrays of variable-length elements, walked from front to back.
//!
//! Source: the format comment of PostgreSQL's `array.h`: dimensions, offset of the data (0 = no NULL), element type,
//! lengths, lower bounds, a bit per element (1 = present) if there are NULLs, then the elements, each at a multiple of
//! its alignment, NULLs taking no room.

use std::marker::PhantomData;

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::event::{Element, Event, Events};

use super::varlena::{Payload, aligned, corrupted, element, word};

/// The handle of a NULL element: no offset is that large.
pub const NULL_HANDLE: u32 = (1 << 31) - 1;

/// How the payload of an element reads as an event.
pub trait Layout {
    /// The event.
    type Event<'a>: Event<'a>;
    /// What such elements are called in messages.
    const NAME: &'static str;
    /// Reads an element; `None` for a JSON null.
    fn read(payload: Payload<'_>) -> Result<Option<Self::Event<'_>>>;
}

/// An array seen where it lies.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Its element type's Oid.
    pub element_type: u32,
    /// How many elements it has.
    pub len: usize,
    /// Whether its lower bound is 1, as every result's is.
    pub from_one: bool,
    nulls: Option<&'a [u8]>,
    /// The elements.
    pub data: &'a [u8],
}

/// What an array's head takes before the data: 4 words, a length and a bound, and the bits if there are NULLs.
pub const fn head_size(dimensions: usize, bits: usize) -> usize {
    (16 + 8 * dimensions + bits.div_ceil(8) + 7) & !7
}

impl<'a> View<'a> {
    /// Reads the head of an array. Errors: `2202E` for more than one dimension, `XX001`.
    pub fn read(bytes: &'a [u8], argument: &str) -> Result<Self> {
        let broken = || corrupted("array", "The value ends within its head.");
        let at = |index: usize| word(bytes, index * 4).ok_or_else(broken);
        let dimensions = at(1)?;
        let element_type = at(3)?;
        match dimensions {
            0 => return Ok(Self { element_type, len: 0, from_one: true, nulls: None, data: &[] }),
            _ => Self::check_dimensions(bytes, argument)?,
        }
        let len = usize::try_from(at(4)?.cast_signed()).map_err(|_| broken())?;
        let from_one = at(5)? == 1;
        let offset = at(2)? as usize;
        let (nulls, start) = if offset == 0 {
            (None, head_size(1, 0))
        } else {
            (Some(bytes.get(24..24 + len.div_ceil(8)).ok_or_else(broken)?), offset)
        };
        let data = bytes.get(start..).ok_or_else(broken)?;
        Ok(Self { element_type, len, from_one, nulls, data })
    }

    /// Refuses an array, given as its first 8 bytes at least, of more than one dimension. Errors: `2202E`.
    pub fn check_dimensions(bytes: &[u8], argument: &str) -> Result<()> {
        match word(bytes, 4) {
            None | Some(0 | 1) => Ok(()),
            Some(many) => Err(Error::new(
                Condition::ArraySubscript,
                format!("argument \"{argument}\" has {many} dimensions, not one"),
            )
            .detail("An event array is a list of events.")
            .hint("Flatten it with ARRAY(SELECT unnest(events)).")),
        }
    }

    /// Elements that lie as an array's do, without a head.
    pub const fn of_elements(element_type: u32, len: usize, data: &'a [u8]) -> Self {
        Self { element_type, len, from_one: true, nulls: None, data }
    }

    /// Whether the element at this 0-based position is NULL.
    #[inline]
    pub fn is_null(&self, position: usize) -> bool {
        self.nulls.is_some_and(|bits| bits.get(position / 8).is_none_or(|byte| byte >> (position % 8) & 1 == 0))
    }

    /// Whether there can be NULL elements.
    pub const fn may_have_nulls(&self) -> bool {
        self.nulls.is_some()
    }

    /// Where the element at this offset ends, the padding to the next included.
    #[inline]
    pub fn end_of(&self, offset: usize) -> Result<usize> {
        let (_, end) = element("array", self.data, offset)?;
        Ok(aligned(end).min(self.data.len()))
    }

    /// The elements as events.
    pub const fn walk<L: Layout>(self) -> Walk<'a, L> {
        Walk { view: self, position: 0, offset: 0, layout: PhantomData }
    }
}

/// A walk over the elements of an array.
pub struct Walk<'a, L> {
    view: View<'a>,
    position: usize,
    offset: usize,
    layout: PhantomData<L>,
}

impl<'a, L: Layout> Events<'a> for Walk<'a, L> {
    type Event = L::Event<'a>;

    #[inline(always)]
    fn next(&mut self) -> Result<Option<Element<Self::Event>>> {
        if self.position >= self.view.len {
            return Ok(None);
        }
        let position = self.position;
        self.position += 1;
        if self.view.is_null(position) {
            return Ok(Some(Element { handle: NULL_HANDLE, event: None }));
        }
        let offset = self.offset;
        let (payload, end) = element(L::NAME, self.view.data, offset)?;
        self.offset = aligned(end);
        // Arrays end at 1 GB: an offset is below the handle of NULL.
        let handle = u32::try_from(offset).map_err(|_| corrupted("array", "The array is beyond 1 GB."))?;
        Ok(Some(Element { handle, event: L::read(payload)? }))
    }

    fn len(&self) -> usize {
        self.view.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::form::{HstoreLayout, JsonbLayout};
    use eventkit_core::event::Key;
    use proptest::prelude::*;

    fn walk<L: Layout>(view: View<'_>) {
        let mut walk = view.walk::<L>();
        let mut key = Key::new("event_id");
        while let Ok(Some(element)) = walk.next() {
            if let Some(event) = element.event {
                let _ = event.get(&mut key);
            }
            let _ = view.end_of(element.handle as usize);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn any_bytes_give_elements_or_an_error(
            head in (0u32..3, prop_oneof![Just(0u32), 20u32..60], 0u32..20), data in prop::collection::vec(any::<u8>(), 0..160)
        ) {
            let (dimensions, offset, len) = head;
            let mut bytes: Vec<u8> = [0, dimensions, offset, 25, len, 1].iter().flat_map(|w| w.to_ne_bytes()).collect();
            bytes.extend(data);
            if let Ok(view) = View::read(&bytes, "events") {
                walk::<HstoreLayout>(view);
                walk::<JsonbLayout>(view);
            }
        }
    }
}
