//! The layout of `jsonb`: containers of entries, looked into without an iterator or an allocation.
//!
//! Source: the format comment of PostgreSQL's `jsonb.h`. A container is a head word (count and kind), one entry word for
//! each child (objects: all keys, then all values), then the children's bytes. An entry holds its child's length, every
//! 32nd the end offset instead. Keys are in order of length, then of bytes. Containers and numbers start at multiples
//! of 4; the padding counts as part of the child.

use std::ffi::CStr;

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::event::{Event, Key};
use eventkit_core::value::{Document, Value};
use pgrx::pg_sys;

use super::numeric;
use super::types::{JsonbValue, Varlena};
use super::varlena::{aligned, corrupted, word};

const COUNT: u32 = 0x0FFF_FFFF;
const SCALAR: u32 = 0x1000_0000;
const OBJECT: u32 = 0x2000_0000;
const ARRAY: u32 = 0x4000_0000;

/// The length or offset part of an entry.
pub const LENGTH: u32 = 0x0FFF_FFFF;
/// The entry holds an end offset.
pub const HAS_OFFSET: u32 = 0x8000_0000;
/// Every entry at a multiple of this holds an offset.
pub const STRIDE: usize = 32;
const TYPE: u32 = 0x7000_0000;
const STRING: u32 = 0x0000_0000;
const NUMERIC: u32 = 0x1000_0000;
const FALSE: u32 = 0x2000_0000;
const TRUE: u32 = 0x3000_0000;
const NULL: u32 = 0x4000_0000;
const CONTAINER: u32 = 0x5000_0000;

/// Objects of more keys are searched by halving.
const FEW_KEYS: usize = 32;

/// Containers nested deeper than this are refused: the readers below recurse.
const DEEPEST: usize = 1000;

/// A JSON object or array.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// The head word; as wide as the other fields, or a copy made at once waits for the narrow store (measured: 8 % of a funnel).
    head: u64,
    entries: &'a [[u8; 4]],
    data: &'a [u8],
}

fn outside() -> Error {
    corrupted("jsonb", "An entry points outside of the value.")
}

impl<'a> Container<'a> {
    /// Reads the head. Errors: `XX001`.
    #[inline(always)]
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let head = word(bytes, 0).ok_or_else(|| corrupted("jsonb", "The value ends before its head."))?;
        let children = (head & COUNT) as usize * if head & OBJECT == 0 { 1 } else { 2 };
        let (entries, data) = bytes
            .get(4..)
            .and_then(|rest| rest.split_at_checked(children.checked_mul(4)?))
            .ok_or_else(|| corrupted("jsonb", "The value ends within its entries."))?;
        let (entries, _) = entries.as_chunks();
        if (head & OBJECT == 0) == (head & ARRAY == 0) {
            return Err(corrupted("jsonb", "The value is neither an object nor an array."));
        }
        Ok(Self { head: u64::from(head), entries, data })
    }

    /// Refuses a value, given as its first 4 bytes at least, that is no array. Errors: `22039`.
    pub fn check_array(bytes: &[u8], argument: &str) -> Result<()> {
        let head = word(bytes, 0).unwrap_or_default();
        let found = match head & (OBJECT | SCALAR) {
            0 => return Ok(()),
            OBJECT => "an object",
            _ => "a single value",
        };
        Err(Error::new(
            Condition::SqlJsonArrayNotFound,
            format!("argument \"{argument}\" is {found}, not a JSON array"),
        )
        .detail("An event array in jsonb is an array of objects.")
        .hint("Wrap one event with jsonb_build_array(event)."))
    }

    /// Pairs of an object, elements of an array.
    pub const fn len(&self) -> usize {
        (self.head & COUNT as u64) as usize
    }

    /// Whether this is an object.
    pub const fn is_object(&self) -> bool {
        self.head & OBJECT as u64 != 0
    }

    /// Whether this is the wrapper of a value that is neither object nor array.
    pub const fn is_scalar(&self) -> bool {
        self.head & SCALAR as u64 != 0
    }

    /// The head word of an array of so many elements.
    pub const fn array_head(count: u32) -> u32 {
        count | ARRAY
    }

    /// How many bytes the children take.
    pub const fn data_len(&self) -> usize {
        self.data.len()
    }

    /// Bytes of the children.
    pub fn data_slice(&self, start: usize, end: usize) -> Option<&'a [u8]> {
        self.data.get(start..end)
    }

    #[inline(always)]
    fn entry(&self, child: usize) -> Result<u32> {
        self.entries.get(child).map(|entry| u32::from_ne_bytes(*entry)).ok_or_else(outside)
    }

    /// Where a child's bytes start: the sum of the lengths since the last offset. O(32).
    #[inline(always)]
    fn start(&self, child: usize) -> Result<usize> {
        let mut start = 0;
        for before in (0..child).rev() {
            let entry = self.entry(before)?;
            start += (entry & LENGTH) as usize;
            if entry & HAS_OFFSET != 0 {
                break;
            }
        }
        Ok(start)
    }

    /// Where a child ends that starts at `start`.
    #[inline]
    fn end(entry: u32, start: usize) -> usize {
        let length = (entry & LENGTH) as usize;
        if entry & HAS_OFFSET == 0 { start + length } else { length }
    }

    /// The bytes of a child, padding included.
    #[inline]
    fn slice(&self, start: usize, end: usize) -> Result<&'a [u8]> {
        self.data.get(start..end).ok_or_else(outside)
    }

    /// The value of a child that lies at these offsets.
    #[inline(always)]
    fn value_at(&self, entry: u32, start: usize, end: usize) -> Result<Value<'a>> {
        if start > end || end > self.data.len() {
            return Err(outside());
        }
        Ok(match entry & TYPE {
            STRING => Value::Text(self.slice(start, end)?),
            NUMERIC => Value::Number(numeric::read(self.slice(aligned(start), end)?)?),
            TRUE => Value::Bool(true),
            FALSE => Value::Bool(false),
            NULL => Value::Null,
            CONTAINER => Value::Document(Document { bytes: self.slice(aligned(start), end)?, write: write_document }),
            _ => return Err(corrupted("jsonb", "An entry is of no known type.")),
        })
    }

    /// All children in order: keys then values of an object, elements of an array.
    pub fn children(self) -> Children<'a> {
        Children { container: self, next: 0, offset: 0 }
    }

    /// The pairs of an object.
    pub fn pairs(self) -> impl Iterator<Item = Result<(&'a [u8], Value<'a>)>> {
        let keys = self.children().take(self.len());
        let values = self.children().skip(self.len());
        keys.zip(values).map(|(key, value)| match key?.value {
            Value::Text(key) => Ok((key, value?.value)),
            _ => Err(corrupted("jsonb", "A key is no string.")),
        })
    }
}

/// A child of a container.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// Its entry word.
    pub entry: u32,
    /// Its value.
    pub value: Value<'a>,
    /// Where its bytes, padding included, start and end among the container's data.
    pub start: usize,
    /// See `start`.
    pub end: usize,
}

/// Walks the children of a container with a running offset. O(1) a step.
pub struct Children<'a> {
    container: Container<'a>,
    next: usize,
    offset: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<Child<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.container.entries.len() {
            return None;
        }
        let child = self.container.entry(self.next).and_then(|entry| {
            let start = self.offset;
            let end = Container::end(entry, start);
            self.offset = end;
            Ok(Child { entry, value: self.container.value_at(entry, start, end)?, start, end })
        });
        self.next += 1;
        if child.is_err() {
            // What follows a broken entry has no place.
            self.next = self.container.entries.len();
        }
        Some(child)
    }
}

/// One JSON object as an event.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a>(Container<'a>);

impl<'a> Object<'a> {
    /// The object of a container; `None` for a JSON null. Errors: `2203C` for any other value.
    #[inline(always)]
    pub fn of_container(container: Container<'a>) -> Result<Option<Self>> {
        if container.is_object() {
            return Ok(Some(Self(container)));
        }
        Self::of_other(container)
    }

    /// What is no object: a JSON null or an error.
    #[cold]
    fn of_other(container: Container<'a>) -> Result<Option<Self>> {
        if container.is_scalar() {
            match container.children().next().transpose()?.map(|child| child.value) {
                Some(Value::Null) => return Ok(None),
                Some(Value::Text(_)) => return Err(not_an_object("a string")),
                Some(Value::Number(_)) => return Err(not_an_object("a number")),
                Some(Value::Bool(_)) => return Err(not_an_object("a boolean")),
                _ => return Err(corrupted("jsonb", "A scalar holds no value.")),
            }
        }
        Err(not_an_object("an array"))
    }

    /// The object that is a child of an array; `None` for a JSON null. Errors: `2203C` for any other value.
    #[inline]
    pub fn of_value(value: &Value<'a>) -> Result<Option<Self>> {
        match value {
            Value::Document(document) => Self::of_container(Container::read(document.bytes)?),
            Value::Null | Value::Absent => Ok(None),
            Value::Text(_) => Err(not_an_object("a string")),
            Value::Number(_) => Err(not_an_object("a number")),
            Value::Bool(_) => Err(not_an_object("a boolean")),
        }
    }

    /// Finds a key among a few, with a running offset; gives its pair and where its value starts. O(keys).
    #[inline(always)]
    fn walk(&self, key: &Key<'_>) -> Result<Option<(usize, usize)>> {
        let container = &self.0;
        let len = key.name.len();
        let pairs = container.len();
        let mut offset = 0;
        for (pair, entry) in container.entries.iter().take(pairs).enumerate() {
            let end = Container::end(u32::from_ne_bytes(*entry), offset);
            let found = end.wrapping_sub(offset);
            if found == len && key.is(container.slice(offset, end)?) {
                let mut start = end;
                for between in container.entries.iter().take(pairs + pair).skip(pair + 1) {
                    start = Container::end(u32::from_ne_bytes(*between), start);
                }
                return Ok(Some((pair, start)));
            }
            if found > len {
                break;
            }
            offset = end;
        }
        Ok(None)
    }

    /// Finds a key by halving. O(log keys), each step O(32).
    #[cold]
    fn search(&self, name: &[u8]) -> Result<Option<usize>> {
        let container = &self.0;
        let (mut low, mut high) = (0, container.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let start = container.start(middle)?;
            let found = container.slice(start, Container::end(container.entry(middle)?, start))?;
            match (found.len(), found).cmp(&(name.len(), name)) {
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// The pairs of the object.
    pub fn pairs(self) -> impl Iterator<Item = Result<(&'a [u8], Value<'a>)>> {
        self.0.pairs()
    }
}

fn not_an_object(found: &str) -> Error {
    Error::new(Condition::SqlJsonObjectNotFound, format!("event is {found}, not an object"))
        .detail("An event is a JSON object such as {\"event\": \"signup\", \"time\": \"2024-01-31T12:00:00Z\"}.")
        .hint(
            "Look at the elements with SELECT * FROM unnest(events) WITH ORDINALITY, or jsonb_array_elements(events).",
        )
}

impl<'a> Event<'a> for Object<'a> {
    #[inline(always)]
    fn get(&self, key: &mut Key<'_>) -> Result<Value<'a>> {
        let container = &self.0;
        let pairs = container.len();
        // Keys are in order of length: a running offset over the entries meets every key that can be equal, and for the
        // few keys of an event that is cheaper than halving.
        let (pair, start) = if pairs > FEW_KEYS {
            let Some(pair) = self.search(key.name)? else { return Ok(Value::Absent) };
            (pair, container.start(pairs + pair)?)
        } else {
            let Some(found) = self.walk(key)? else { return Ok(Value::Absent) };
            found
        };
        let entry = container.entry(pairs + pair)?;
        container.value_at(entry, start, Container::end(entry, start))
    }
}

/// Appends the text of a nested container, as the server writes `jsonb`.
fn write_document(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    write_container(Container::read(bytes)?, out, 0)
}

/// The text of a whole `jsonb` value, given as its bytes after the length word.
pub fn json_text(bytes: &[u8]) -> Result<Vec<u8>> {
    let container = Container::read(bytes)?;
    let mut out = Vec::new();
    if container.is_scalar() {
        // The wrapper of a single value is an array of one.
        write_container(container, &mut out, 0)?;
        return Ok(out.get(1..out.len() - 1).unwrap_or_default().to_vec());
    }
    write_container(container, &mut out, 0)?;
    Ok(out)
}

/// The `jsonb` of a text, as the server reads it; it raises the error of a text that is none.
pub fn read_json(text: &CStr) -> JsonbValue {
    // SAFETY: `jsonb_in` takes a C string alone and never gives NULL.
    unsafe {
        let text = pg_sys::Datum::from(text.as_ptr());
        let read = pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text)]);
        JsonbValue::wrap(read.unwrap_or_else(pg_sys::Datum::null))
    }
}

fn too_deep() -> Error {
    Error::new(Condition::ProgramLimitExceeded, "JSON value nested too deeply")
        .detail(format!("Values are read to a depth of {DEEPEST}."))
        .hint("Store deep documents in a column of their own, not in events.")
}

fn write_container(container: Container<'_>, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(too_deep());
    }
    let value = |value: &Value<'_>, out: &mut Vec<u8>| -> Result<()> {
        match value {
            Value::Text(text) => write_string(text, out),
            Value::Number(number) => number.write_text(out),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Null | Value::Absent => out.extend_from_slice(b"null"),
            Value::Document(document) => write_container(Container::read(document.bytes)?, out, depth + 1)?,
        }
        Ok(())
    };
    let mut separator: &[u8] = b"";
    if container.is_object() {
        out.push(b'{');
        for pair in container.pairs() {
            let (key, child) = pair?;
            out.extend_from_slice(separator);
            write_string(key, out);
            out.extend_from_slice(b": ");
            value(&child, out)?;
            separator = b", ";
        }
        out.push(b'}');
    } else {
        out.push(b'[');
        for child in container.children() {
            out.extend_from_slice(separator);
            value(&child?.value, out)?;
            separator = b", ";
        }
        out.push(b']');
    }
    Ok(())
}

/// A string with the escapes that the server writes.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &c in text {
        match c {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', c]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            c if c < b' ' => {
                let hex = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(hex[usize::from(c >> 4)]);
                out.push(hex[usize::from(c & 15)]);
            }
            c => out.push(c),
        }
    }
    out.push(b'"');
}

/// Whether a JSON value contains another, as `@>` decides it below the top level.
pub fn contains(value: &Value<'_>, wanted: &Value<'_>) -> Result<bool> {
    contains_at(value, wanted, 0)
}

fn contains_at(value: &Value<'_>, wanted: &Value<'_>, depth: usize) -> Result<bool> {
    if depth > DEEPEST {
        return Err(too_deep());
    }
    Ok(match (value, wanted) {
        (Value::Null, Value::Null) => true,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => a.same_value(b),
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Document(a), Value::Document(b)) => {
            let (a, b) = (Container::read(a.bytes)?, Container::read(b.bytes)?);
            if a.is_object() != b.is_object() {
                return Ok(false);
            }
            if b.is_object() {
                for pair in b.pairs() {
                    super::server::poll();
                    let (name, wanted) = pair?;
                    let found = Object(a).get(&mut Key::last_at(name, 0))?;
                    if !contains_at(&found, &wanted, depth + 1)? {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            for wanted in b.children() {
                super::server::poll();
                let wanted = wanted?.value;
                let mut any = false;
                for found in a.children() {
                    if contains_at(&found?.value, &wanted, depth + 1)? {
                        any = true;
                        break;
                    }
                }
                if !any {
                    return Ok(false);
                }
            }
            true
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn look(bytes: &[u8]) {
        let Ok(container) = Container::read(bytes) else { return };
        if let Ok(Some(object)) = Object::of_container(container) {
            for name in [&b"id"[..], b"event", b"a"] {
                let _ = object.get(&mut Key::last_at(name, 3));
            }
        }
        let _ = write_container(container, &mut Vec::new(), 0);
        for child in container.children() {
            let Ok(child) = child else { break };
            let _ = Object::of_value(&child.value);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn any_bytes_give_values_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
            look(&bytes);
        }

        #[test]
        fn plausible_heads_give_values_or_an_error(
            count in 0u32..6, object: bool,
            entries in prop::collection::vec((0u32..8, 0u32..24, any::<bool>()), 0..12),
            data in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let head = count | if object { OBJECT } else { ARRAY };
            let mut bytes = head.to_ne_bytes().to_vec();
            for (kind, len, offset) in entries {
                bytes.extend((kind << 28 | len | if offset { HAS_OFFSET } else { 0 }).to_ne_bytes());
            }
            bytes.extend(data);
            look(&bytes);
        }
    }
}
