//! Which steps, or which exclusions, an event matches: by its name, then by the conditions on its properties.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::condition::{Condition, Conditions};
use super::definition::Names;
use crate::error::Result;
use crate::event::Event;
use crate::prefix::{WHOLE, prefix};
use crate::value::Value;

/// Which steps (or exclusions) an event matches by its name alone.
#[derive(Debug)]
struct ByName {
    /// A few names are compared one by one.
    few: Vec<Known>,
    many: HashMap<Vec<u8>, u64, FixedState>,
    /// What an event without a name matches, or with one that is none of these.
    other: u64,
}

const FEW: usize = 8;

/// A name and what it matches.
#[derive(Debug)]
struct Known {
    prefix: u64,
    name: Vec<u8>,
    patterns: u64,
}

impl ByName {
    fn new<'n>(wanted: impl Iterator<Item = &'n Names> + Clone) -> Self {
        let other = wanted.clone().enumerate().fold(0u64, |bits, (at, names)| match names {
            Names::Any | Names::NotIn(_) => bits | 1 << at,
            Names::In(_) => bits,
        });
        let mut many: HashMap<Vec<u8>, u64, FixedState> = HashMap::with_hasher(FixedState::default());
        for (at, names) in wanted.enumerate() {
            let (listed, matches): (&[String], _) = match names {
                Names::Any => (&[], false),
                Names::In(names) => (names, true),
                Names::NotIn(names) => (names, false),
            };
            for name in listed {
                let bits = many.entry(name.clone().into_bytes()).or_insert(other);
                *bits = if matches { *bits | 1 << at } else { *bits & !(1 << at) };
            }
        }
        let few = if many.len() <= FEW {
            many.drain().map(|(name, patterns)| Known { prefix: prefix(&name), name, patterns }).collect()
        } else {
            Vec::new()
        };
        Self { few, many, other }
    }

    #[inline]
    fn matched(&self, name: &[u8]) -> u64 {
        if !self.many.is_empty() {
            return self.many.get(name).copied().unwrap_or(self.other);
        }
        // All are looked at, without a branch for each: which one it is, nobody can foretell.
        let begins = prefix(name);
        let mut alike = 0u32;
        for (at, known) in self.few.iter().enumerate() {
            alike |= u32::from(known.prefix == begins && known.name.len() == name.len()) << at;
        }
        while alike != 0 {
            let known = &self.few[alike.trailing_zeros() as usize];
            if name.len() <= WHOLE || known.name == name {
                return known.patterns;
            }
            alike &= alike - 1;
        }
        self.other
    }
}

/// Several patterns of events, one bit each: the steps, or the exclusions.
#[derive(Debug)]
pub struct Patterns {
    by_name: ByName,
    /// The conditions of each, and which have any.
    conditions: Vec<Conditions>,
    conditional: u64,
}

impl Patterns {
    /// Patterns of names, each with the conditions that have to hold as well. O(names).
    #[must_use]
    pub fn new<'n>(wanted: impl Iterator<Item = (&'n Names, &'n [Condition])> + Clone) -> Self {
        let conditional =
            |bits, (at, (_, conditions)): (usize, (_, &[_]))| bits | u64::from(!conditions.is_empty()) << at;
        Self {
            by_name: ByName::new(wanted.clone().map(|(names, _)| names)),
            conditions: wanted.clone().map(|(_, conditions)| Conditions::new(conditions)).collect(),
            conditional: wanted.enumerate().fold(0, conditional),
        }
    }

    /// What an event matches, of which the name is known.
    /// O(1) for the name; the conditions of each pattern that it fits.
    #[inline]
    pub fn matched<'a>(&mut self, name: &Value<'a>, event: &impl Event<'a>, scratch: &mut Vec<u8>) -> Result<u64> {
        let mut matched = match name {
            Value::Text(name) => self.by_name.matched(name),
            Value::Absent | Value::Null => self.by_name.other,
            other => self.by_name.matched(other.text(scratch)?.unwrap_or_default()),
        };
        let mut open = matched & self.conditional;
        while open != 0 {
            let at = open.trailing_zeros() as usize;
            open &= open - 1;
            if !self.conditions[at].hold(event, scratch)? {
                matched &= !(1 << at);
            }
        }
        Ok(matched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_are_told_apart(names in prop::collection::vec("[ab]{0,12}", 1..6), other in "[ab]{0,12}") {
            let steps: Vec<Names> = names.iter().map(|name| Names::In(vec![name.clone()])).collect();
            let by_name = ByName::new(steps.iter());
            for name in names.iter().chain([&other]) {
                let expected = names.iter().enumerate().fold(0, |bits, (at, known)| bits | u64::from(known == name) << at);
                prop_assert_eq!(by_name.matched(name.as_bytes()), expected);
            }
        }
    }
}
