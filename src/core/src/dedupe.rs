//! Deduplication by id in one pass: of the events that share an id one stays, whole.
//!
//! A hash table of the distinct ids; the table holds positions, the ids stay in the array (only an id that is no text
//! there, such as a JSON number, is written into an arena, once). O(n) time; O(distinct ids) memory and one bit per
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

/// An id that has been seen.
struct Entry<'a> {
    /// Half of the hash; the table's own is spread from it again.
    hash: u32,
    /// The position of the copy that stays.
    ordinal: u32,
    /// The handle of the copy that stays.
    handle: u32,
    id: Id<'a>,
}

/// Where the bytes of an id are.
#[derive(Clone, Copy)]
enum Id<'a> {
    /// In the array.
    There(&'a [u8]),
    /// In the arena.
    Arena { start: u32, len: u32 },
    /// A number, under [`IdType::Bigint`].
    Number(i64),
    /// The event has none.
    None,
}

/// The distinct ids so far and the copies that stay.
pub struct Index<'a> {
    options: Options,
    elements: usize,
    table: HashTable<u32>,
    hasher: RandomState,
    /// In the order in which the ids stood first; under [`Place::Kept`] without the entries that have no id.
    entries: Vec<Entry<'a>>,
    arena: Vec<u8>,
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
            arena: Vec::new(),
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
        if ordinal == SAMPLE {
            self.reserve()?;
        }
        if id.is_missing() {
            return self.push_missing(ordinal, handle);
        }
        match (self.options.id_type, id) {
            (IdType::Text, Value::Text(bytes)) => {
                let seen = self.place(self.hash(bytes), bytes, Id::There(bytes), ordinal, handle)?;
                self.decide(seen, ordinal, handle)
            }
            (IdType::Text, other) => self.push_written(&other, ordinal, handle),
            (IdType::Bigint, id) => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let number = bigint(id.text(&mut scratch)?.unwrap_or_default(), self.options.syntax);
                self.scratch = scratch;
                let number = number?;
                let seen = self.place(half(self.hasher.hash_one(number)), &[], Id::Number(number), ordinal, handle)?;
                self.decide(seen, ordinal, handle)
            }
        }
    }

    /// An id that has no text in the array: it is written out, and kept in the arena if it is new.
    #[inline(never)]
    fn push_written(&mut self, id: &Value<'a>, ordinal: u32, handle: u32) -> Result<()> {
        let start = self.arena.len();
        let mut scratch = std::mem::take(&mut self.scratch);
        let text = id.text(&mut scratch)?.unwrap_or_default();
        let place = u32::try_from(start).ok().zip(u32::try_from(text.len()).ok());
        let (start, len) = place.filter(|(start, len)| start.checked_add(*len).is_some()).ok_or_else(too_large)?;
        let seen = self.place(self.hash(text), text, Id::Arena { start, len }, ordinal, handle)?;
        if seen.is_none() {
            self.arena.try_reserve(text.len()).map_err(|_| no_memory())?;
            self.arena.extend_from_slice(text);
        }
        self.scratch = scratch;
        self.decide(seen, ordinal, handle)
    }

    #[inline(always)]
    fn hash(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes);
        half(hasher.finish())
    }

    /// The entry of an id, or `None` after an entry was made for it.
    #[inline(always)]
    fn place(&mut self, hash: u32, bytes: &[u8], id: Id<'a>, ordinal: u32, handle: u32) -> Result<Option<u32>> {
        let Self { table, entries, arena, .. } = self;
        let at = u32::try_from(entries.len()).map_err(|_| too_large())?;
        let rehash = |&at: &u32| entries.get(at as usize).map_or(0, |entry| spread(entry.hash));
        let same = |&at: &u32| {
            entries.get(at as usize).is_some_and(|entry| {
                entry.hash == hash
                    && match (id, entry.id) {
                        (Id::Number(a), Id::Number(b)) => a == b,
                        (_, known) => Self::bytes(arena, known) == bytes,
                    }
            })
        };
        // Reserved here, where refusal is an error: the insertion below then never allocates.
        table.try_reserve(1, rehash).map_err(|_| no_memory())?;
        match table.entry(spread(hash), same, rehash) {
            Slot::Occupied(seen) => return Ok(Some(*seen.get())),
            Slot::Vacant(free) => free.insert(at),
        };
        self.add(Entry { hash, ordinal, handle, id })?;
        Ok(None)
    }

    /// Makes room for the ids to come, so that nothing is moved while they come.
    #[cold]
    fn reserve(&mut self) -> Result<()> {
        // A sixteenth more than expected, so that a sample a little too low does not double everything.
        let expected = self.entries.len() * (self.elements / SAMPLE as usize + 1);
        let expected = (expected + expected / 16).min(self.elements);
        let Self { table, entries, .. } = self;
        let more = expected.saturating_sub(table.len());
        table
            .try_reserve(more, |&at| entries.get(at as usize).map_or(0, |entry| spread(entry.hash)))
            .map_err(|_| no_memory())?;
        self.entries.try_reserve(more).map_err(|_| no_memory())
    }

    fn push_missing(&mut self, ordinal: u32, handle: u32) -> Result<()> {
        match self.options.on_missing {
            OnMissing::Error => Err(Error::new(Condition::NullValueNotAllowed, "event without an id")
                .detail("The id is absent or NULL, and on_missing => 'error' refuses such events.")
                .hint("Name the key that holds the id with id_key => '…', or use on_missing => 'keep'.")),
            OnMissing::Keep => {
                if self.options.place == Place::First {
                    self.add(Entry { hash: 0, ordinal, handle, id: Id::None })?;
                }
                self.marks.push(true);
                Ok(())
            }
            OnMissing::Collapse => {
                let seen = self.collapsed;
                if seen.is_none() {
                    self.collapsed = Some(self.add(Entry { hash: 0, ordinal, handle, id: Id::None })?);
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

    fn bytes<'b>(arena: &'b [u8], id: Id<'b>) -> &'b [u8] {
        match id {
            Id::There(bytes) => bytes,
            Id::Arena { start, len } => arena.get(start as usize..(start + len) as usize).unwrap_or_default(),
            Id::Number(_) | Id::None => &[],
        }
    }

    fn add(&mut self, entry: Entry<'a>) -> Result<u32> {
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
