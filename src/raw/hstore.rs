//! The layout of `hstore`, the present one and the one of PostgreSQL 8.4 that may still stand in upgraded tables.
//!
//! Source: the format as `contrib/hstore` documents it in `hstore.h` and `hstore_compat.c`. Present layout: a count with
//! the top bit set, then two words for each pair (end of key, end of value, with flags), then the text of all, keys in
//! order of length and then of bytes. Old layout: `u16` key length, `u16` value length, and a word with the NULL bit
//! and the position, for each pair.

use eventkit_core::error::Result;
use eventkit_core::event::{Event, Key};
use eventkit_core::value::Value;

use super::varlena::{Payload, corrupted, word};

const NEW_VERSION: u32 = 0x8000_0000;
const COUNT: u32 = 0x0FFF_FFFF;
const IS_FIRST: u32 = 0x8000_0000;
const IS_NULL: u32 = 0x4000_0000;
const POSITION: u32 = 0x3FFF_FFFF;

/// One `hstore`.
#[derive(Clone, Copy, Debug)]
pub struct Hstore<'a> {
    count: usize,
    entries: &'a [u8],
    text: &'a [u8],
    old: bool,
}

/// A key or a value: where its text starts and ends, and whether it is NULL.
type Span = (usize, usize, bool);

impl<'a> Hstore<'a> {
    /// Reads the head of an `hstore`. Errors: `XX001`.
    #[inline(always)]
    pub fn read(payload: Payload<'a>) -> Result<Self> {
        let bytes = payload.0;
        let size = word(bytes, 0).ok_or_else(|| corrupted("hstore", "The value ends before its count."))?;
        let old = size & NEW_VERSION == 0 && size != 0 && Self::is_old(bytes, size)?;
        Self::with_layout(bytes, if old { size as usize } else { (size & COUNT) as usize }, old)
            .ok_or_else(|| corrupted("hstore", "The value ends within its entries."))
    }

    fn with_layout(bytes: &'a [u8], count: usize, old: bool) -> Option<Self> {
        let (entries, text) = bytes.get(4..)?.split_at_checked(count.checked_mul(8)?)?;
        Some(Self { count, entries, text, old })
    }

    /// The choice that the server makes for a value without the version flag.
    #[cold]
    fn is_old(bytes: &'a [u8], size: u32) -> Result<bool> {
        // The server counts the length word in.
        if bytes.len() + 4 < 32768 && word(bytes, 4).is_some_and(|entry| entry & IS_FIRST != 0) {
            return Ok(false);
        }
        if size <= 0x0FFF_FFFF && Self::with_layout(bytes, size as usize, true).is_some_and(|old| old.valid_old()) {
            return Ok(true);
        }
        if Self::with_layout(bytes, (size & COUNT) as usize, false).is_some_and(|new| new.valid_new()) {
            return Ok(false);
        }
        Err(corrupted("hstore", "The value is of neither of the two layouts."))
    }

    fn valid_old(&self) -> bool {
        let mut end = 0;
        let mut shortest = 0;
        for pair in 0..self.count {
            let (Some((from, to, _)), Some((_, behind, _))) = (self.key_span(pair), self.value_span(pair)) else {
                return false;
            };
            if from != end || to - from < shortest {
                return false;
            }
            shortest = to - from;
            end = behind;
        }
        end <= self.text.len()
    }

    fn valid_new(&self) -> bool {
        let entry = |at: usize| word(self.entries, at * 4);
        let mut end = 0;
        let mut shortest = 0;
        for at in 0..self.count * 2 {
            let Some(entry) = entry(at) else { return false };
            let position = entry & POSITION;
            if (entry & IS_FIRST != 0) != (at == 0) || position < end {
                return false;
            }
            if at % 2 == 0 {
                if position - end < shortest || entry & IS_NULL != 0 {
                    return false;
                }
                shortest = position - end;
            }
            end = position;
        }
        end as usize <= self.text.len()
    }

    #[inline]
    fn key_span(&self, pair: usize) -> Option<Span> {
        if self.old {
            let lengths = word(self.entries, pair * 8)?;
            let from = (word(self.entries, pair * 8 + 4)? >> 1) as usize;
            return Some((from, from + (lengths & 0xFFFF) as usize, false));
        }
        let from = if pair == 0 { 0 } else { word(self.entries, pair * 8 - 4)? & POSITION };
        Some((from as usize, (word(self.entries, pair * 8)? & POSITION) as usize, false))
    }

    #[inline]
    fn value_span(&self, pair: usize) -> Option<Span> {
        let (_, from, _) = self.key_span(pair)?;
        if self.old {
            let null = word(self.entries, pair * 8 + 4)? & 1 != 0;
            let len = if null { 0 } else { (word(self.entries, pair * 8)? >> 16) as usize };
            return Some((from, from + len, null));
        }
        let entry = word(self.entries, pair * 8 + 4)?;
        Some((from, (entry & POSITION) as usize, entry & IS_NULL != 0))
    }

    #[inline]
    fn text(&self, span: Option<Span>) -> Result<&'a [u8]> {
        span.and_then(|(from, to, _)| self.text.get(from..to))
            .ok_or_else(|| corrupted("hstore", "An entry points outside of the value."))
    }

    /// The value of the pair, NULL or text.
    #[inline]
    fn value(&self, pair: usize) -> Result<Value<'a>> {
        let span = self.value_span(pair);
        if span.is_some_and(|(_, _, null)| null) {
            return Ok(Value::Null);
        }
        self.text(span).map(Value::Text)
    }

    /// Keys and values, in the order of the value. For patterns.
    pub fn pairs(&self) -> impl Iterator<Item = Result<(&'a [u8], Value<'a>)>> + '_ {
        (0..self.count).map(|pair| Ok((self.text(self.key_span(pair))?, self.value(pair)?)))
    }
}

impl<'a> Event<'a> for Hstore<'a> {
    #[inline(always)]
    fn get(&self, key: &mut Key<'_>) -> Result<Value<'a>> {
        if key.hint < self.count && key.is(self.text(self.key_span(key.hint))?) {
            return self.value(key.hint);
        }
        self.search(key)
    }
}

impl<'a> Hstore<'a> {
    /// Finds a key by halving: keys are in order of length, then of bytes.
    #[inline(never)]
    fn search(&self, key: &mut Key<'_>) -> Result<Value<'a>> {
        let wanted = (key.name.len(), key.name);
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            let name = self.text(self.key_span(middle))?;
            match (name.len(), name).cmp(&wanted) {
                std::cmp::Ordering::Equal => {
                    key.hint = middle;
                    return self.value(middle);
                }
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(Value::Absent)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;

    type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    /// Writes the present layout, with or without the version flag.
    fn new_layout(pairs: &Pairs, flag: bool) -> Vec<u8> {
        let (mut entries, mut text) = (Vec::new(), Vec::new());
        for (at, (key, value)) in pairs.iter().enumerate() {
            text.extend_from_slice(key);
            let first = if at == 0 { IS_FIRST } else { 0 };
            entries.extend((u32::try_from(text.len()).unwrap() | first).to_ne_bytes());
            text.extend_from_slice(value.as_deref().unwrap_or_default());
            let null = if value.is_none() { IS_NULL } else { 0 };
            entries.extend((u32::try_from(text.len()).unwrap() | null).to_ne_bytes());
        }
        let count = u32::try_from(pairs.len()).unwrap() | if flag { NEW_VERSION } else { 0 };
        [count.to_ne_bytes().to_vec(), entries, text].concat()
    }

    /// Writes the layout of PostgreSQL 8.4.
    fn old_layout(pairs: &Pairs) -> Vec<u8> {
        let (mut entries, mut text) = (Vec::new(), Vec::new());
        for (key, value) in pairs {
            let len = value.as_deref().map_or(0, <[u8]>::len);
            entries.extend(u16::try_from(key.len()).unwrap().to_ne_bytes());
            entries.extend(u16::try_from(len).unwrap().to_ne_bytes());
            entries.extend((u32::try_from(text.len()).unwrap() << 1 | u32::from(value.is_none())).to_ne_bytes());
            text.extend_from_slice(key);
            text.extend_from_slice(value.as_deref().unwrap_or_default());
        }
        [u32::try_from(pairs.len()).unwrap().to_ne_bytes().to_vec(), entries, text].concat()
    }

    fn pairs() -> impl Strategy<Value = Pairs> {
        let bytes = || prop::collection::vec(97u8..101, 0..5);
        prop::collection::btree_map(bytes(), prop::option::weighted(0.8, bytes()), 0..9).prop_map(|map| {
            let mut pairs: Pairs = map.into_iter().collect();
            pairs.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
            pairs
        })
    }

    fn found(value: Value<'_>) -> Option<Option<Vec<u8>>> {
        match value {
            Value::Text(text) => Some(Some(text.to_vec())),
            Value::Null => Some(None),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn every_layout_gives_every_value(pairs in pairs(), wanted in "[a-d]{0,4}", hint in 0usize..12, which in 0..3) {
            let bytes = match which { 0 => new_layout(&pairs, true), 1 => new_layout(&pairs, false), _ => old_layout(&pairs) };
            let hstore = Hstore::read(Payload(&bytes)).unwrap();
            let mut keys: Vec<Vec<u8>> = pairs.iter().map(|(key, _)| key.clone()).collect();
            keys.push(wanted.into_bytes());
            for name in &keys {
                let mut key = Key::last_at(name, hint);
                let expected = pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
                prop_assert_eq!(found(hstore.get(&mut key).unwrap()), expected.clone());
                // And again from where it was found.
                prop_assert_eq!(found(hstore.get(&mut key).unwrap()), expected);
            }
            prop_assert_eq!(hstore.pairs().count(), pairs.len());
        }

        #[test]
        fn any_bytes_give_values_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..120), hint in 0usize..4) {
            if let Ok(hstore) = Hstore::read(Payload(&bytes)) {
                let _ = hstore.get(&mut Key::last_at(b"event_id", hint));
                let _ = hstore.pairs().take(1000).filter(Result::is_ok).count();
            }
        }

        #[test]
        fn a_damaged_value_gives_values_or_an_error(pairs in pairs(), at in 0usize..200, bit in 0u8..8, cut in 0usize..200, old: bool) {
            let mut bytes = if old { old_layout(&pairs) } else { new_layout(&pairs, true) };
            if let Some(byte) = bytes.get_mut(at) { *byte ^= 1 << bit; }
            bytes.truncate(bytes.len().saturating_sub(cut % 8));
            if let Ok(hstore) = Hstore::read(Payload(&bytes)) {
                for (name, _) in &pairs {
                    let _ = hstore.get(&mut Key::last_at(name, 0));
                }
            }
        }
    }
}
