//! Deduplication by id in one pass: of the events that share an id one stays, whole.
//!
//! A hash table of the distinct ids; the table holds positions. Ids that are whole numbers, as most are, are kept as
//! such; other texts stay in the array, and only what is no text there, such as a JSON fraction, is written out, once. O(n) time; O(distinct ids) memory and one bit per
//! element; no allocation per element.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use std::hash::{BuildHasher, Hasher};

use crate::error::{Condition, Error, Result};
use crate::event::{Event, Events, Key, Poll, for_each};
use crate::options::{IdType, Keep, OnMissing, Place};
use crate::selection::{Marks, Selection};
use crate::value::{IntegerSyntax, Value, bigint};

/// What [`dedupe`] should do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which copy stays.
    pub keep: Keep,
    /// How ids are compared.
    pub id_type: IdType,
    /// What becomes of events without an id.
    pub on_missing: OnMissing,
    /// Where the kept copy stands.
    pub place: Place,
    /// How the server at hand reads a `bigint`.
    pub syntax: IntegerSyntax,
}

/// The elements that stay of an array. Errors: those of the source, of ids that do not read as `id_type` says, and
/// `22004` for a missing id under [`OnMissing::Error`]; each names the argument and the element.
pub fn dedupe<'a, S: Events<'a>>(
    source: &mut S,
    argument: &str,
    id_key: &str,
    options: Options,
    poll: Poll<'_>,
) -> Result<Selection> {
    let mut id_key = Key::new(id_key);
    let mut index = Index::new(options, source.len());
    for_each(source, argument, poll, |_, element| {
        let id = match &element.event {
            Some(event) => event.get(&mut id_key)?,
            None => Value::Null,
        };
        index.push(element.handle, id)
    })?;
    Ok(index.finish())
}

/// The half of a hash that an entry keeps.
#[expect(clippy::cast_possible_truncation, reason = "the other half is dropped")]
const fn half(hash: u64) -> u32 {
    hash as u32
}

/// A half spread over 64 bits: the table places by the low bits and compares the high ones first.
/// Source: D. E. Knuth, The Art of Computer Programming 3, 6.4, multiplicative hashing by the golden ratio.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// After so many elements their share of distinct ids tells how much room the rest will need.
const SAMPLE: u32 = 1024;

/// An id that has been seen. Kept small: every array has as many of them as it has distinct ids.
struct Entry {
    /// Half of the hash; the table's own is spread from it again.
    hash: u32,
    /// The position of the copy that stays.
    ordinal: u32,
    /// The handle of the copy that stays.
    handle: u32,
    id: IdPlace,
}

/// Where an id is: its kind in the two highest bits, its place among those of the kind in the others.
#[derive(Clone, Copy, PartialEq, Eq)]
struct IdPlace(u32);

/// An id as it comes, before it has a place.
#[derive(Clone, Copy)]
enum Id<'a> {
    /// A whole number, or a text that is one as it would be written.
    Number(i64),
    /// A text in the array.
    There(&'a [u8]),
    /// A text written out, to be kept in the arena.
    Written,
}

const KIND: u32 = 3 << 30;
const NUMBER: u32 = 0;
const THERE: u32 = 1 << 30;
const ARENA: u32 = 2 << 30;
const NO_ID: u32 = 3 << 30;

/// The ids themselves, by kind.
#[derive(Default)]
struct Ids<'a> {
    numbers: Vec<i64>,
    there: Vec<&'a [u8]>,
    /// Start and length in the arena.
    spans: Vec<(u32, u32)>,
    arena: Vec<u8>,
}

impl<'a> Ids<'a> {
    fn is_number(&self, place: IdPlace, number: i64) -> bool {
        place.0 & KIND == NUMBER && self.numbers.get(place.0 as usize) == Some(&number)
    }

    fn is_text(&self, place: IdPlace, text: &[u8]) -> bool {
        let at = (place.0 & !KIND) as usize;
        match place.0 & KIND {
            THERE => self.there.get(at) == Some(&text),
            ARENA => self
                .spans
                .get(at)
                .and_then(|(start, len)| self.arena.get(*start as usize..(*start + *len) as usize))
                .is_some_and(|known| known == text),
            _ => false,
        }
    }

    /// Keeps an id; `text` is what was written out.
    #[inline]
    fn keep(&mut self, id: Id<'a>, text: &[u8]) -> Result<IdPlace> {
        let (kind, at) = match id {
            Id::Number(number) => (NUMBER, push(&mut self.numbers, number)?),
            Id::There(bytes) => (THERE, push(&mut self.there, bytes)?),
            Id::Written => {
                let place = u32::try_from(self.arena.len()).ok().zip(u32::try_from(text.len()).ok());
                let span = place.filter(|(start, len)| start.checked_add(*len).is_some()).ok_or_else(too_large)?;
                self.arena.try_reserve(text.len()).map_err(|_| no_memory())?;
                self.arena.extend_from_slice(text);
                (ARENA, push(&mut self.spans, span)?)
            }
        };
        u32::try_from(at).ok().filter(|at| at & KIND == 0).map(|at| IdPlace(kind | at)).ok_or_else(too_large)
    }
}

/// Appends a value and gives its place.
#[inline]
fn push<T>(values: &mut Vec<T>, value: T) -> Result<usize> {
    values.try_reserve(1).map_err(|_| no_memory())?;
    values.push(value);
    Ok(values.len() - 1)
}

/// The number that a text is, if it is just the way the number would be written: no sign but a minus, no leading zero.
#[inline]
fn canonical(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 18 => {}
        _ => return None,
    }
    let mut value = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// The distinct ids so far and the copies that stay.
pub struct Index<'a> {
    options: Options,
    elements: usize,
    table: HashTable<u32>,
    hasher: RandomState,
    /// In the order in which the ids stood first; under [`Place::Kept`] without the entries that have no id.
    entries: Vec<Entry>,
    ids: Ids<'a>,
    scratch: Vec<u8>,
    marks: Marks,
    ordinal: u32,
    collapsed: Option<u32>,
    dropped: bool,
}

impl<'a> Index<'a> {
    /// No ids yet; about so many elements to come.
    #[must_use]
    pub fn new(options: Options, elements: usize) -> Self {
        Self {
            options,
            elements,
            table: HashTable::new(),
            hasher: RandomState::default(),
            entries: Vec::new(),
            ids: Ids::default(),
            scratch: Vec::new(),
            marks: Marks::new(),
            ordinal: 0,
            collapsed: None,
            dropped: false,
        }
    }

    /// The next element, in array order. Amortised O(length of the id).
    #[inline(always)]
    pub fn push(&mut self, handle: u32, id: Value<'a>) -> Result<()> {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        if ordinal == 0 || ordinal == SAMPLE {
            self.reserve(ordinal)?;
        }
        if id.is_missing() {
            return self.push_missing(ordinal, handle);
        }
        let seen = match (self.options.id_type, id) {
            (IdType::Text, Value::Text(bytes)) => match canonical(bytes) {
                Some(number) => self.place(self.hash_number(number), Id::Number(number), &[], ordinal, handle)?,
                None => self.place(self.hash_text(bytes), Id::There(bytes), bytes, ordinal, handle)?,
            },
            (IdType::Text, other) => match other.whole_number() {
                Some(number) => self.place(self.hash_number(number), Id::Number(number), &[], ordinal, handle)?,
                None => return self.push_written(&other, ordinal, handle),
            },
            (IdType::Bigint, id) => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let number = bigint(id.text(&mut scratch)?.unwrap_or_default(), self.options.syntax);
                self.scratch = scratch;
                let number = number?;
                self.place(self.hash_number(number), Id::Number(number), &[], ordinal, handle)?
            }
        };
        self.decide(seen, ordinal, handle)
    }

    /// An id that has no text in the array and is no whole number: it is written out, and kept in the arena if it is new.
    #[inline(never)]
    fn push_written(&mut self, id: &Value<'a>, ordinal: u32, handle: u32) -> Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let text = id.text(&mut scratch)?.unwrap_or_default();
        let seen = self.place(self.hash_text(text), Id::Written, text, ordinal, handle)?;
        self.scratch = scratch;
        self.decide(seen, ordinal, handle)
    }

    #[inline(always)]
    fn hash_text(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes);
        half(hasher.finish())
    }

    #[inline(always)]
    fn hash_number(&self, number: i64) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_i64(number);
        half(hasher.finish())
    }

    /// The entry of an id, or `None` after an entry was made for it.
    #[inline(always)]
    fn place(&mut self, hash: u32, id: Id<'a>, text: &[u8], ordinal: u32, handle: u32) -> Result<Option<u32>> {
        let Self { table, entries, ids, .. } = self;
        let at = u32::try_from(entries.len()).map_err(|_| too_large())?;
        let rehash = |&at: &u32| entries.get(at as usize).map_or(0, |entry| spread(entry.hash));
        let same = |&at: &u32| {
            entries.get(at as usize).is_some_and(|entry| {
                entry.hash == hash
                    && match id {
                        Id::Number(number) => ids.is_number(entry.id, number),
                        _ => ids.is_text(entry.id, text),
                    }
            })
        };
        // Reserved here, where refusal is an error: the insertion below then never allocates.
        table.try_reserve(1, rehash).map_err(|_| no_memory())?;
        match table.entry(spread(hash), same, rehash) {
            Slot::Occupied(seen) => return Ok(Some(*seen.get())),
            Slot::Vacant(free) => free.insert(at),
        };
        let id = ids.keep(id, text)?;
        self.add(Entry { hash, ordinal, handle, id })?;
        Ok(None)
    }

    /// Makes room for the ids to come, so that nothing is moved while they come: for a sample of them at first.
    #[cold]
    fn reserve(&mut self, seen: u32) -> Result<()> {
        // A sixteenth more than expected, so that a sample a little too low does not double everything.
        let expected = self.entries.len() * (self.elements / SAMPLE as usize + 1);
        let expected = if seen == 0 { SAMPLE as usize } else { expected + expected / 16 }.min(self.elements);
        let Self { table, entries, .. } = self;
        let more = expected.saturating_sub(table.len());
        table
            .try_reserve(more, |&at| entries.get(at as usize).map_or(0, |entry| spread(entry.hash)))
            .map_err(|_| no_memory())?;
        self.entries.try_reserve(more).map_err(|_| no_memory())?;
        let Ids { numbers, there, .. } = &mut self.ids;
        let numbers_more = if numbers.len() > there.len() { more } else { 0 };
        numbers.try_reserve(numbers_more).map_err(|_| no_memory())?;
        there.try_reserve(more - numbers_more).map_err(|_| no_memory())
    }

    fn push_missing(&mut self, ordinal: u32, handle: u32) -> Result<()> {
        match self.options.on_missing {
            OnMissing::Error => Err(Error::new(Condition::NullValueNotAllowed, "event without an id")
                .detail("The id is absent or NULL, and on_missing => 'error' refuses such events.")
                .hint("Name the key that holds the id with id_key => '…', or use on_missing => 'keep'.")),
            OnMissing::Keep => {
                if self.options.place == Place::First {
                    self.add(Entry { hash: 0, ordinal, handle, id: IdPlace(NO_ID) })?;
                }
                self.marks.push(true);
                Ok(())
            }
            OnMissing::Collapse => {
                let seen = self.collapsed;
                if seen.is_none() {
                    self.collapsed = Some(self.add(Entry { hash: 0, ordinal, handle, id: IdPlace(NO_ID) })?);
                }
                self.decide(seen, ordinal, handle)
            }
        }
    }

    /// Marks a new element, and settles which copy stays when its id was seen.
    #[inline(always)]
    fn decide(&mut self, seen: Option<u32>, ordinal: u32, handle: u32) -> Result<()> {
        let Some(entry) = seen.and_then(|at| self.entries.get_mut(at as usize)) else {
            self.marks.push(true);
            return Ok(());
        };
        self.dropped = true;
        match self.options.keep {
            Keep::First => self.marks.push(false),
            Keep::Last => {
                self.marks.clear(entry.ordinal as usize);
                self.marks.push(true);
                entry.ordinal = ordinal;
                entry.handle = handle;
            }
        }
        Ok(())
    }

    #[inline]
    fn add(&mut self, entry: Entry) -> Result<u32> {
        let at = u32::try_from(self.entries.len()).map_err(|_| too_large())?;
        self.entries.try_reserve(1).map_err(|_| no_memory())?;
        self.entries.push(entry);
        Ok(at)
    }

    /// The elements that stay.
    #[must_use]
    pub fn finish(self) -> Selection {
        if !self.dropped {
            return Selection::All;
        }
        match (self.options.place, self.options.keep) {
            // The first copy stands where the id stood first already.
            (Place::Kept, _) | (Place::First, Keep::First) => self.marks.into_selection(),
            (Place::First, Keep::Last) => Selection::Ordered(self.entries.iter().map(|entry| entry.handle).collect()),
        }
    }
}

/// More than the 2^32 entries or bytes of ids that the index counts.
fn too_large() -> Error {
    Error::new(Condition::ProgramLimitExceeded, "too many ids to deduplicate")
        .detail("The ids of one array may have 4 GB together.")
        .hint("Keep the events of a user in several arrays, one a day for example.")
}

/// The system refused memory.
#[must_use]
pub fn no_memory() -> Error {
    Error::new(Condition::OutOfMemory, "out of memory")
        .detail("The index of the distinct ids does not fit into memory.")
        .hint("Keep the events of a user in several arrays, one a day for example.")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::tests::{Plain, PlainEvents};
    use proptest::prelude::*;

    /// The meaning, written as slowly and plainly as possible: compare every pair.
    pub(crate) fn oracle(events: &[Option<Plain>], options: Options) -> std::result::Result<Vec<u32>, ()> {
        let id = |event: &Option<Plain>| -> std::result::Result<Option<String>, ()> {
            let id = event.as_ref().and_then(|e| e.id.clone());
            match (id, options.on_missing) {
                (None, OnMissing::Error) => Err(()),
                (None, OnMissing::Collapse) => Ok(Some("no id at all".into())),
                (None, OnMissing::Keep) => Ok(None),
                (Some(id), _) if options.id_type == IdType::Bigint => {
                    Ok(Some(id.parse::<i64>().map_err(|_| ())?.to_string()))
                }
                (Some(id), _) => Ok(Some(id)),
            }
        };
        let ids = events.iter().map(id).collect::<std::result::Result<Vec<_>, ()>>()?;
        let mut placed = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            let same: Vec<usize> = match id {
                None => vec![at],
                Some(id) => (0..ids.len()).filter(|other| ids[*other].as_ref() == Some(id)).collect(),
            };
            let kept = if options.keep == Keep::First { same[0] } else { same[same.len() - 1] };
            let place = if options.place == Place::First { same[0] } else { kept };
            if place == at {
                placed.push(u32::try_from(kept).unwrap());
            }
        }
        Ok(placed)
    }

    pub(crate) fn handles(selection: &Selection, len: usize) -> Vec<u32> {
        let all = 0..u32::try_from(len).unwrap();
        match selection {
            Selection::All => all.collect(),
            Selection::Marked(marks) => all.filter(|at| marks.get(*at as usize)).collect(),
            Selection::Ordered(handles) => handles.clone(),
        }
    }

    pub(crate) fn any_options() -> impl Strategy<Value = Options> {
        (any::<bool>(), any::<bool>(), 0usize..3, any::<bool>()).prop_map(|(first, bigint, missing, place)| Options {
            keep: if first { Keep::First } else { Keep::Last },
            id_type: if bigint { IdType::Bigint } else { IdType::Text },
            on_missing: [OnMissing::Keep, OnMissing::Collapse, OnMissing::Error][missing],
            place: if place { Place::First } else { Place::Kept },
            syntax: IntegerSyntax::Decimal,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn equals_the_oracle(
            events in prop::collection::vec(
                prop::option::weighted(0.9, (prop::option::weighted(0.9, "0?[0-4]|x?"), 0i64..9).prop_map(|(id, at)| Plain { id, at: Some(at) })),
                0..20
            ),
            options in any_options(),
            as_numbers: bool,
        ) {
            let mut source = PlainEvents::new(&events, as_numbers);
            let result = dedupe(&mut source, "events", "id", options, &mut || ());
            match (result, oracle(&events, options)) {
                (Ok(selection), Ok(expected)) => prop_assert_eq!(handles(&selection, events.len()), expected),
                (Err(_), Err(())) => {}
                (result, expected) => prop_assert!(false, "{:?} against {:?}", result, expected),
            }
        }
    }

    proptest! {
        #[test]
        fn a_canonical_text_is_what_the_number_writes(number: i64, text in "-?[0-9]{0,20}|[a-z0-9+ -]{0,6}") {
            let written = number.to_string();
            prop_assert_eq!(canonical(written.as_bytes()), Some(number).filter(|n| n.unsigned_abs() < 1_000_000_000_000_000_000));
            if let Some(found) = canonical(text.as_bytes()) {
                prop_assert_eq!(found.to_string(), text);
            }
        }
    }

    #[test]
    fn an_error_names_the_element() {
        let events = [Some(Plain { id: Some("1".into()), at: None }), Some(Plain { id: Some("x".into()), at: None })];
        let options = Options {
            keep: Keep::Last,
            id_type: IdType::Bigint,
            on_missing: OnMissing::Keep,
            place: Place::Kept,
            syntax: IntegerSyntax::Decimal,
        };
        let error = dedupe(&mut PlainEvents::new(&events, false), "events", "id", options, &mut || ()).unwrap_err();
        assert_eq!(error.message, "element 2 of argument \"events\": invalid input syntax for type bigint: \"x\"");
        assert!(error.detail.is_some() && error.hint.is_some());
    }
}
