//! How the algorithms see events: one trait for an event, one for an array of them.

use crate::error::{Error, Result};
use crate::prefix::{WHOLE, prefix};
use crate::time::{self, Clock, Micros};
use crate::value::Value;

/// A property's name, with the place where the last event had it: events of one array are mostly alike. A reader that
/// finds keys as fast without it leaves it alone.
#[derive(Clone, Debug)]
pub struct Key<'k> {
    /// The name's bytes.
    pub name: &'k [u8],
    prefix: u64,
    /// Where a reader found the name last and looks first.
    pub hint: usize,
}

impl<'k> Key<'k> {
    /// A key that nobody has looked for yet.
    #[must_use]
    #[inline]
    pub fn new(name: &'k str) -> Self {
        Self::last_at(name.as_bytes(), 0)
    }

    /// A key that was found there last.
    #[must_use]
    #[inline]
    pub fn last_at(name: &'k [u8], hint: usize) -> Self {
        Self { name, prefix: prefix(name), hint }
    }

    /// Whether this is the property's name.
    #[must_use]
    #[inline(always)]
    pub fn is(&self, name: &[u8]) -> bool {
        name.len() == self.name.len() && prefix(name) == self.prefix && (name.len() <= WHOLE || name == self.name)
    }
}

/// One event, seen where it lies.
pub trait Event<'a>: Copy {
    /// The value of a property. Errors: `XX001` if the bytes are no value of their type.
    fn get(&self, key: &mut Key<'_>) -> Result<Value<'a>>;

    /// The event's time, `None` when it has none. Errors: those of [`time::of_value`].
    #[inline]
    fn time(&self, key: &mut Key<'_>, clock: &mut Clock) -> Result<Option<Micros>> {
        // Looked at where it lies: a copy made at once waits for the stores that wrote it.
        match self.get(key) {
            Ok(ref value) => time::of_value(value, clock),
            Err(error) => Err(error),
        }
    }
}

/// One element of an event array.
#[derive(Clone, Copy, Debug)]
pub struct Element<E> {
    /// What the array's owner needs to find the element again (an offset or an index), below 2^31.
    pub handle: u32,
    /// The event; `None` for a NULL element or a JSON null.
    pub event: Option<E>,
}

/// An event array, walked once from front to back.
pub trait Events<'a> {
    /// How an element reads as an event.
    type Event: Event<'a>;

    /// The next element, `None` at the end.
    /// Errors: `2203C` for an element that is no object, `XX001` for bytes that are no value.
    fn next(&mut self) -> Result<Option<Element<Self::Event>>>;

    /// How many elements the array has.
    fn len(&self) -> usize;

    /// Whether the array has no element.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What messages call the element at this 1-based position, which is the one that was given last or failed.
    #[cold]
    fn place(&self, position: usize) -> String {
        format!("element {position}")
    }
}

/// What long loops call now and then; it does not return when the statement was cancelled (it unwinds).
pub type Poll<'p> = &'p mut dyn FnMut();

/// Elements between two calls of a [`Poll`]: well under a millisecond of work.
pub const POLL_EVERY: usize = 1024;

/// Counts the work of a long loop and polls now and then.
#[derive(Debug, Default)]
pub struct Pace(usize);

impl Pace {
    /// So many more elements are dealt with.
    #[inline]
    pub fn step(&mut self, elements: usize, poll: Poll<'_>) {
        self.0 += elements;
        if self.0 >= POLL_EVERY {
            self.0 = 0;
            poll();
        }
    }
}

/// Walks an array, gives each element with its 1-based position, polls, and names the position in errors.
#[inline(always)]
pub fn for_each<'a, S: Events<'a>>(
    source: &mut S,
    argument: &str,
    poll: Poll<'_>,
    mut visit: impl FnMut(usize, Element<S::Event>) -> Result<()>,
) -> Result<()> {
    for_each_while(source, argument, poll, |position, element| visit(position, element).map(|()| true))
}

/// As [`for_each`], until `visit` gives `false`.
#[inline(always)]
pub fn for_each_while<'a, S: Events<'a>>(
    source: &mut S,
    argument: &str,
    poll: Poll<'_>,
    mut visit: impl FnMut(usize, Element<S::Event>) -> Result<bool>,
) -> Result<()> {
    let mut position = 0;
    loop {
        position += 1;
        if position % POLL_EVERY == 0 {
            poll();
        }
        let step = match source.next() {
            Ok(Some(element)) => visit(position, element),
            Ok(None) => return Ok(()),
            Err(error) => Err(error),
        };
        match step {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(in_place(error, argument, &source.place(position))),
        }
    }
}

/// The error with the argument and the 1-based position of the element it arose in.
#[must_use]
#[cold]
pub fn in_element(error: Error, argument: &str, position: usize) -> Error {
    in_place(error, argument, &format!("element {position}"))
}

/// The error with the argument and the part of it that it arose in.
#[must_use]
#[cold]
pub fn in_place(mut error: Error, argument: &str, place: &str) -> Error {
    error.message = format!("{place} of argument \"{argument}\": {}", error.message).into();
    error
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::value::Number;

    /// An event of a test: an id and a time, nothing else.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Plain {
        pub(crate) id: Option<String>,
        pub(crate) at: Option<i64>,
    }

    /// Such events as a source; small ids are numbers instead of texts when asked.
    pub(crate) struct PlainEvents<'a> {
        events: Vec<Option<View<'a>>>,
        at: usize,
    }

    #[derive(Clone, Copy)]
    pub(crate) struct View<'a> {
        id: Value<'a>,
        at: Option<i64>,
    }

    const DIGITS: [[u8; 2]; 10] = {
        let mut digits = [[0; 2]; 10];
        let mut n = 0;
        while n < 10 {
            digits[n] = (n as u16).to_ne_bytes();
            n += 1;
        }
        digits
    };

    impl<'a> PlainEvents<'a> {
        pub(crate) fn new(events: &'a [Option<Plain>], as_numbers: bool) -> Self {
            let view = |event: &'a Plain| View {
                id: match event.id.as_deref() {
                    None => Value::Absent,
                    Some(id) => match id.as_bytes() {
                        [digit @ b'1'..=b'9'] if as_numbers => Value::Number(Number {
                            negative: false,
                            weight: 0,
                            scale: 0,
                            digits: &DIGITS[usize::from(digit - b'0')],
                        }),
                        bytes => Value::Text(bytes),
                    },
                },
                at: event.at,
            };
            Self { events: events.iter().map(|event| event.as_ref().map(view)).collect(), at: 0 }
        }
    }

    impl<'a> Event<'a> for View<'a> {
        fn get(&self, key: &mut Key<'_>) -> Result<Value<'a>> {
            Ok(if key.name == b"id" { self.id } else { Value::Absent })
        }

        fn time(&self, _: &mut Key<'_>, _: &mut Clock) -> Result<Option<Micros>> {
            Ok(self.at)
        }
    }

    impl<'a> Events<'a> for PlainEvents<'a> {
        type Event = View<'a>;

        fn next(&mut self) -> Result<Option<Element<View<'a>>>> {
            let Some(event) = self.events.get(self.at) else { return Ok(None) };
            self.at += 1;
            Ok(Some(Element { handle: u32::try_from(self.at - 1).unwrap(), event: *event }))
        }

        fn len(&self) -> usize {
            self.events.len()
        }
    }
}
