//! The value of the type `event_chunks`: event arrays of one user, one behind the other as they were stored, compressed
//! ones still compressed.
//!
//! Layout after the length word, numbers in the machine's order: bytes used `u32`, form of the arrays `u32` (see
//! [`Kind`]), arrays `u32`, then the arrays, each with its own length word at a multiple of 4. While an aggregate adds to
//! a value, there is room behind what is used.

use eventkit_core::dedupe::no_memory;
use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::event::{Element, Events, in_place};
use eventkit_core::value::Value;
use pgrx::pg_sys;

use super::array::View;
use super::form::{ArrayOf, Form, HstoreLayout, JsonbDocument, JsonbLayout};
use super::jsonb::{self, Container};
use super::out::{LARGEST, Out};
use super::server::poll;
use super::state::State;
use super::types::{EventChunks, HstoreArray, JsonbArray, JsonbValue, Varlena};
use super::user_events::{UserEvents, Visit};
use super::varlena::{Detoasted, aligned, corrupted, element, word};

/// Bytes before the first array.
const HEAD: usize = 12;

/// Elements that all arrays of a value may have together: each has a handle.
const MOST_ELEMENTS: usize = (1 << 31) - 1;

/// The form that all arrays of a value have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `hstore[]`
    HstoreArray = 1,
    /// `jsonb[]`
    JsonbArray = 2,
    /// `jsonb`, an array
    JsonbDocument = 3,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::HstoreArray => "hstore[]",
            Self::JsonbArray => "jsonb[]",
            Self::JsonbDocument => "jsonb",
        }
    }
}

/// An event array that can be a chunk.
pub trait Chunk: Varlena {
    /// Its form.
    const KIND: Kind;

    /// Refuses a value whose first bytes tell that it is no list of events. Errors: `2202E`, `22039`.
    fn check(head: &[u8]) -> Result<()>;
}

impl Chunk for HstoreArray {
    const KIND: Kind = Kind::HstoreArray;

    fn check(head: &[u8]) -> Result<()> {
        View::check_dimensions(head, "events")
    }
}

impl Chunk for JsonbArray {
    const KIND: Kind = Kind::JsonbArray;

    fn check(head: &[u8]) -> Result<()> {
        View::check_dimensions(head, "events")
    }
}

impl Chunk for JsonbValue {
    const KIND: Kind = Kind::JsonbDocument;

    fn check(head: &[u8]) -> Result<()> {
        Container::check_array(head.get(4..).unwrap_or_default(), "events")
    }
}

/// A value seen where it lies.
#[derive(Clone, Copy)]
pub struct Chunks<'b> {
    /// What is used, from behind the length word on.
    bytes: &'b [u8],
    kind: Kind,
    count: usize,
}

fn broken(what: &'static str) -> Error {
    corrupted("event_chunks", what)
}

impl<'b> Chunks<'b> {
    /// Reads the head of a value, given without its length word. Errors: `XX001`.
    pub fn read(bytes: &'b [u8]) -> Result<Self> {
        let at = |index: usize| word(bytes, index * 4).ok_or_else(|| broken("The value ends within its head."));
        let used = at(0)? as usize;
        let kind = match at(1)? {
            1 => Kind::HstoreArray,
            2 => Kind::JsonbArray,
            3 => Kind::JsonbDocument,
            _ => return Err(broken("The form of the arrays is not known.")),
        };
        let count = at(2)? as usize;
        // Each array takes a length word at least.
        let fits = used >= HEAD && count <= (used - HEAD) / 4;
        let bytes =
            bytes.get(..used).filter(|_| fits).ok_or_else(|| broken("The value is shorter than its head says."))?;
        Ok(Self { bytes, kind, count })
    }

    /// Where each array starts and ends. Errors: `XX001`, after which there is no more.
    fn spans(self) -> impl Iterator<Item = Result<(usize, usize)>> + 'b {
        let mut at = HEAD;
        let mut sound = true;
        (0..self.count).map_while(move |_| {
            let start = at;
            sound.then(|| {
                let end = packed_end(self.bytes, start);
                match end {
                    Ok(end) => at = aligned(end),
                    Err(_) => sound = false,
                }
                end.map(|end| (start, end))
            })
        })
    }

    /// Each array, decompressed. O(bytes). Errors: `XX001`.
    fn open(&self) -> Result<Vec<Detoasted>> {
        let mut opened = Vec::new();
        opened.try_reserve_exact(self.count).map_err(|_| no_memory())?;
        for span in self.spans() {
            poll();
            let (start, _) = span?;
            // SAFETY: `packed_end` has found a plain or a compressed value that ends within ours, which outlives the
            // result here and in `visit_form`; it lies at a multiple of 4, since ours does.
            opened.push(unsafe { Detoasted::open(pg_sys::Datum::from(self.bytes.as_ptr().add(start))) });
        }
        Ok(opened)
    }

    /// The arrays as one JSON text, a list of lists. O(bytes). Errors: `XX001`, `54000` beyond 1 GB.
    pub fn to_text(self) -> Result<Vec<u8>> {
        let mut out = vec![b'['];
        for (at, chunk) in self.open()?.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            match self.kind {
                Kind::JsonbDocument => write(&mut out, &jsonb::json_text(chunk.payload())?)?,
                kind => write_array(&mut out, kind, View::read(chunk.bytes(), "events")?)?,
            }
        }
        out.push(b']');
        Ok(out)
    }
}

/// Where the value at an offset ends, which is plain or compressed and has a 4-byte header.
fn packed_end(bytes: &[u8], at: usize) -> Result<usize> {
    let header = word(bytes, at).ok_or_else(|| broken("An array lies outside of the value."))?;
    let len = (header >> 2) as usize;
    let sound = match header & 3 {
        0 => len >= 4,
        // Compressed: a word with the length of the original and the method, of which there are two, comes before the data.
        2 => {
            len >= 8 && word(bytes, at + 4).is_some_and(|info| info >> 30 < 2 && info as usize & LARGEST <= LARGEST - 4)
        }
        _ => false,
    };
    let end = at + len;
    if !sound || end > bytes.len() {
        return Err(broken("The length word of an array is impossible."));
    }
    Ok(end)
}

fn write(out: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    if out.len() + text.len() > LARGEST - 8 {
        return Err(Error::new(Condition::ProgramLimitExceeded, "event_chunks value too large for a text")
            .detail(format!("Its text would take more than {LARGEST} bytes."))
            .hint("Keep fewer chunks in one value."));
    }
    out.try_reserve(text.len()).map_err(|_| no_memory())?;
    out.extend_from_slice(text);
    Ok(())
}

fn write_array(out: &mut Vec<u8>, kind: Kind, view: View<'_>) -> Result<()> {
    out.push(b'[');
    let mut offset = 0;
    let mut text = Vec::new();
    for position in 0..view.len {
        poll();
        if position > 0 {
            write(out, b", ")?;
        }
        if view.is_null(position) {
            write(out, b"null")?;
            continue;
        }
        let (payload, end) = element("event_chunks", view.data, offset)?;
        offset = aligned(end);
        if kind == Kind::HstoreArray {
            text.clear();
            write_hstore(&mut text, &super::hstore::Hstore::read(payload)?)?;
            write(out, &text)?;
        } else {
            write(out, &jsonb::json_text(payload.0)?)?;
        }
    }
    out.push(b']');
    Ok(())
}

fn write_hstore(out: &mut Vec<u8>, event: &super::hstore::Hstore<'_>) -> Result<()> {
    out.push(b'{');
    for (at, pair) in event.pairs().enumerate() {
        let (key, value) = pair?;
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        jsonb::write_string(key, out);
        out.extend_from_slice(b": ");
        match value {
            Value::Text(text) => jsonb::write_string(text, out),
            _ => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    Ok(())
}

fn too_large() -> Error {
    Error::new(Condition::ProgramLimitExceeded, "event_chunks value too large")
        .detail(format!("The chunks of one group may take {LARGEST} bytes together, as they are stored."))
        .hint("Leave out chunks that the question does not need, with FILTER (WHERE …) for example.")
}

/// A value of these arrays, given as they lie in a value, with at least so much room behind.
fn build(kind: Kind, count: usize, parts: &[&[u8]], room: usize) -> Result<EventChunks> {
    let used = HEAD + parts.iter().map(|part| part.len()).sum::<usize>();
    if used + 4 > LARGEST {
        return Err(too_large());
    }
    let capacity = (used + 4 + room).min(LARGEST);
    let mut out = Out::with_capacity(capacity)?;
    for number in [used, kind as usize, count] {
        out.word(u32::try_from(number).map_err(|_| too_large())?);
    }
    parts.iter().for_each(|part| out.bytes(part));
    out.zeros_to(capacity);
    // SAFETY: the bytes are laid out as the type has it.
    Ok(unsafe { EventChunks::wrap(out.into_datum()) })
}

fn same_kind(state: Kind, added: Kind) -> Result<()> {
    if state == added {
        return Ok(());
    }
    Err(Error::new(Condition::InvalidParameterValue, "chunks of different forms cannot be put together")
        .detail(format!("Some are {}, others {}.", state.name(), added.name()))
        .hint("Cast the events to one form first."))
}

/// Adds arrays, given as they lie in a value, to the state of an aggregate. Amortised O(bytes added).
fn append(
    fcinfo: pg_sys::FunctionCallInfo,
    state: EventChunks,
    kind: Kind,
    count: usize,
    added: &[u8],
) -> Result<EventChunks> {
    let mut state = State::of_argument(fcinfo, state);
    let (used, sum) = {
        let present = Chunks::read(state.bytes())?;
        same_kind(present.kind, kind)?;
        (present.bytes.len(), present.count + count)
    };
    let end = used + added.len();
    let bytes = state.bytes();
    if let Some(place) = bytes.get_mut(used..end) {
        place.copy_from_slice(added);
        for (index, number) in [(0, end), (2, sum)] {
            let number = u32::try_from(number).map_err(|_| too_large())?;
            bytes[index * 4..index * 4 + 4].copy_from_slice(&number.to_ne_bytes());
        }
        return Ok(state.into_value());
    }
    let larger = build(kind, sum, &[bytes.get(HEAD..used).unwrap_or_default(), added], end)?;
    Ok(larger)
}

/// Adds an event array. Amortised O(its size as it is stored). Errors: `2202E`, `22039`, `54000`.
pub fn add<C: Chunk>(fcinfo: pg_sys::FunctionCallInfo, state: Option<EventChunks>, chunk: C) -> Result<EventChunks> {
    // SAFETY: a value of this trait is a varlena that is not NULL.
    let packed = unsafe { Detoasted::open_packed(chunk.datum()) };
    C::check(&packed.head())?;
    let bytes = packed.bytes();
    let mut padded;
    let added = if bytes.len().is_multiple_of(4) {
        bytes
    } else {
        padded = Vec::new();
        padded.try_reserve_exact(aligned(bytes.len())).map_err(|_| no_memory())?;
        padded.extend_from_slice(bytes);
        padded.resize(aligned(bytes.len()), 0);
        &padded
    };
    match state {
        Some(state) => append(fcinfo, state, C::KIND, 1, added),
        None => build(C::KIND, 1, &[added], 0),
    }
}

/// Puts the arrays of the second behind those of the first. Errors: `22023` for other forms, `54000`.
pub fn combine(fcinfo: pg_sys::FunctionCallInfo, state: EventChunks, other: EventChunks) -> Result<EventChunks> {
    let opened = other.open();
    let other = Chunks::read(opened.payload())?;
    append(fcinfo, state, other.kind, other.count, other.bytes.get(HEAD..).unwrap_or_default())
}

/// The value without the room behind.
pub fn finish(state: EventChunks) -> Result<EventChunks> {
    let opened = state.open();
    let chunks = Chunks::read(opened.payload())?;
    build(chunks.kind, chunks.count, &[chunks.bytes.get(HEAD..).unwrap_or_default()], 0)
}

/// The value of a JSON document that is a list of event arrays. Errors: `22P02` for another document.
pub fn of_document(document: JsonbValue) -> Result<EventChunks> {
    let opened = document.open();
    let wrong = |what: String| {
        Error::new(Condition::InvalidTextRepresentation, "invalid input syntax for type event_chunks")
            .detail(what)
            .hint("Write a JSON array with an array of events for each chunk, or use the aggregate event_chunks.")
    };
    let container = Container::read(opened.payload())?;
    if container.is_object() || container.is_scalar() {
        return Err(wrong("The text is no JSON array.".to_owned()));
    }
    let mut chunks: Vec<u8> = Vec::new();
    for (at, child) in container.children().enumerate() {
        let not_array = || wrong(format!("Chunk {} is no JSON array.", at + 1));
        let Value::Document(chunk) = child?.value else { return Err(not_array()) };
        if Container::read(chunk.bytes)?.is_object() {
            return Err(not_array());
        }
        let len = u32::try_from(chunk.bytes.len() + 4).map_err(|_| too_large())?;
        chunks.try_reserve(aligned(len as usize)).map_err(|_| no_memory())?;
        chunks.extend((len << 2).to_ne_bytes());
        chunks.extend_from_slice(chunk.bytes);
        chunks.resize(aligned(chunks.len()), 0);
    }
    build(Kind::JsonbDocument, container.len(), &[&chunks], 0)
}

impl UserEvents for EventChunks {
    fn visit<V: Visit>(self, visit: V) -> Result<V::Output> {
        let opened = self.open();
        let chunks = Chunks::read(opened.payload())?;
        match chunks.kind {
            Kind::HstoreArray => visit_form::<ArrayOf<HstoreLayout>, V>(chunks, visit),
            Kind::JsonbArray => visit_form::<ArrayOf<JsonbLayout>, V>(chunks, visit),
            Kind::JsonbDocument => visit_form::<JsonbDocument, V>(chunks, visit),
        }
    }
}

fn visit_form<F: Form, V: Visit>(chunks: Chunks<'_>, visit: V) -> Result<V::Output> {
    let opened = chunks.open()?;
    let mut views = Vec::new();
    views.try_reserve_exact(opened.len()).map_err(|_| no_memory())?;
    let mut len: usize = 0;
    for (at, chunk) in opened.iter().enumerate() {
        let view = F::view(chunk, "events").map_err(|error| in_place(error, "events", &format!("chunk {}", at + 1)))?;
        len = len.saturating_add(F::walk(view).len());
        views.push(view);
    }
    if len > MOST_ELEMENTS {
        return Err(Error::new(Condition::ProgramLimitExceeded, "event_chunks value has too many events")
            .detail(format!("There are {len} events; {MOST_ELEMENTS} can be read together."))
            .hint("Keep fewer chunks in one value."));
    }
    visit.visit(|| ChunksWalk::<'_, '_, F> { views: &views, next: 0, walk: None, given: 0, before: 0, len })
}

/// A walk over the events of each array in turn.
struct ChunksWalk<'v, 'a, F: Form> {
    views: &'v [F::View<'a>],
    /// The array after the present one.
    next: usize,
    walk: Option<F::Walk<'a>>,
    /// Events given so far.
    given: u32,
    /// Events of the arrays before the present one.
    before: u32,
    len: usize,
}

impl<'a, F: Form> Events<'a> for ChunksWalk<'_, 'a, F> {
    type Event = F::Event<'a>;

    #[inline(always)]
    fn next(&mut self) -> Result<Option<Element<F::Event<'a>>>> {
        loop {
            if let Some(walk) = &mut self.walk
                && let Some(element) = walk.next()?
            {
                let handle = self.given;
                self.given += 1;
                return Ok(Some(Element { handle, event: element.event }));
            }
            let Some(view) = self.views.get(self.next) else { return Ok(None) };
            self.walk = Some(F::walk(*view));
            self.next += 1;
            self.before = self.given;
        }
    }

    fn len(&self) -> usize {
        self.len
    }

    #[cold]
    fn place(&self, position: usize) -> String {
        format!("element {} of chunk {}", position - self.before as usize, self.next)
    }
}

#[cfg(test)]
mod layout_tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn any_bytes_give_arrays_inside_of_them_or_an_error(
            used in prop_oneof![8u32..200, any::<u32>()], kind in 0u32..5, count in prop_oneof![0u32..6, any::<u32>()],
            arrays in prop::collection::vec((prop_oneof![0u32..40, any::<u32>()], 0u32..4, any::<u32>()), 0..8),
            rest in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut bytes: Vec<u8> = [used, kind, count].iter().flat_map(|number| number.to_ne_bytes()).collect();
            for (len, flags, word) in arrays {
                bytes.extend((len << 2 | flags).to_ne_bytes());
                bytes.extend(word.to_ne_bytes());
            }
            bytes.extend(rest);
            if let Ok(chunks) = Chunks::read(&bytes) {
                let mut last = HEAD;
                for (start, end) in chunks.spans().map_while(|span| span.ok()) {
                    prop_assert!(start >= last && start.is_multiple_of(4) && start + 4 <= end && end <= bytes.len());
                    last = end;
                }
            }
        }
    }
}

/// Values damaged in memory, as no client can make them, are read by the functions.
#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]
mod tests {
    use std::panic::AssertUnwindSafe;

    use pgrx::prelude::*;

    use super::*;
    use eventkit_core::event::{Event, Key};

    /// Looks at each event, twice.
    struct Look;

    impl Visit for Look {
        type Output = usize;

        fn visit<'a, S: Events<'a>>(self, source: impl Fn() -> S) -> Result<usize> {
            let mut seen = 0;
            for _ in 0..2 {
                let mut walk = source();
                let mut key = Key::new("event");
                while let Some(element) = walk.next()? {
                    if let Some(event) = element.event {
                        event.get(&mut key)?;
                        seen += 1;
                    }
                }
            }
            Ok(seen)
        }
    }

    /// The value of these bytes after the length word.
    fn value(bytes: &[u8]) -> EventChunks {
        let mut out = Out::with_capacity(4 + bytes.len()).unwrap_or_else(|error| panic!("{error}"));
        out.bytes(bytes);
        // SAFETY: the type is ours, and its readers take any bytes.
        unsafe { EventChunks::wrap(out.into_datum()) }
    }

    /// Reads the events and writes the text; whether both could be done.
    fn use_all(bytes: &[u8]) -> bool {
        let read = || {
            let text = Chunks::read(bytes).and_then(Chunks::to_text);
            value(bytes).visit(Look).is_ok() && text.is_ok()
        };
        // The server raises an error for compressed data that is none.
        PgTryBuilder::new(AssertUnwindSafe(read)).catch_others(|_| false).execute()
    }

    #[pg_test]
    fn damaged_values_give_events_or_an_error() {
        Spi::run(
            r#"CREATE TEMP TABLE stored AS SELECT n, (
                   SELECT jsonb_agg('{"event": "view", "time": 1704067200, "p": {"q": [1.5, null, true]}}'::jsonb)
                   FROM generate_series(1, n)) AS events
               FROM (VALUES (3), (60)) AS lengths (n)"#,
        )
        .unwrap();
        let compressed =
            "SELECT string_agg((pg_column_compression(events) IS NOT NULL)::text, ' ' ORDER BY n) FROM stored";
        assert_eq!(Spi::get_one::<String>(compressed).unwrap().unwrap(), "false true");
        let mut tested = (0, 0);
        for length in [3, 60] {
            let one = Spi::connect(|client| {
                let query = format!("SELECT events FROM stored WHERE n = {length}");
                let row = client.select(query.as_str(), Some(1), &[]).unwrap().first();
                let datum = row.get_datum_by_ordinal(1).unwrap().unwrap();
                // SAFETY: the column is of this type and not NULL.
                let chunk = unsafe { JsonbValue::wrap(datum) };
                // Without a state the call frame is not looked at.
                let first = add(std::ptr::null_mut(), None, chunk).unwrap_or_else(|error| panic!("{error}"));
                first.open().payload().to_vec()
            });
            let part = &one[HEAD..];
            let both = build(Kind::JsonbDocument, 2, &[part, part], 0).unwrap_or_else(|error| panic!("{error}"));
            let good = both.open().payload().to_vec();
            assert!(use_all(&good));
            for at in 0..good.len() {
                for damage in [1u8, 2, 4, 0x40, 0x80, 0xff] {
                    let mut bad = good.clone();
                    bad[at] ^= damage;
                    match use_all(&bad) {
                        true => tested.0 += 1,
                        false => tested.1 += 1,
                    }
                }
                let _ = use_all(&good[..at]);
            }
        }
        assert!(tested.0 > 100 && tested.1 > 100, "{tested:?}");
    }
}
