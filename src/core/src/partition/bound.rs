//! The bound of a partition, as the server's own syntax: `FOR VALUES`, the CHECK that proves it, the CHECK that excludes it.

use super::name::{identifier, literal};
use crate::error::Result;
use serde::Deserialize;

/// The types of a key that a day can be a range of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// `date`.
    Date,
    /// `timestamp without time zone`: a day is the day it shows.
    Timestamp,
    /// `timestamp with time zone`: a day is a day of the calendar's zone.
    Timestamptz,
}

impl KeyType {
    /// The type's qualified name.
    #[must_use]
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Date => "pg_catalog.date",
            Self::Timestamp => "pg_catalog.timestamp",
            Self::Timestamptz => "pg_catalog.timestamptz",
        }
    }
}

/// The column that a parent is partitioned by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Key {
    /// The column's name.
    pub column: String,
    /// The column's type.
    #[serde(rename = "type")]
    pub key_type: KeyType,
}

/// A half-open range of microseconds since 1970-01-01 00:00 UTC; `i64::MIN` and `i64::MAX` stand for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The first instant inside.
    pub from: i64,
    /// The first instant after it.
    pub to: i64,
}

impl Bound {
    /// The bound as `FOR VALUES FROM (…) TO (…)`; read alike under every `DateStyle` and `TimeZone`. Raises `22008`
    /// for an instant outside of the supported years. O(1).
    pub fn for_values(self, key: &Key) -> Result<String> {
        Ok(format!("FOR VALUES FROM ({}) TO ({})", text_of(key, self.from)?, text_of(key, self.to)?))
    }

    /// `key >= from AND key < to`, the range that an index on the key serves; operators and types qualified.
    ///
    /// The constants have the key's own type: compared with another type the operator is not immutable, the server's
    /// proof fails and the attach reads every row. O(1).
    pub fn inside(self, key: &Key) -> Result<String> {
        let (column, from, to) = (identifier(&key.column), constant(key, self.from)?, constant(key, self.to)?);
        Ok(format!("{column} OPERATOR(pg_catalog.>=) {from} AND {column} OPERATOR(pg_catalog.<) {to}"))
    }

    /// The CHECK expression that implies the whole partition constraint, NOT NULL included. O(1).
    pub fn check(self, key: &Key) -> Result<String> {
        Ok(format!("{} IS NOT NULL AND {}", identifier(&key.column), self.inside(key)?))
    }

    /// `key < from OR key >= to`: the one form by which the server sees that a default partition holds no row of the
    /// range (`IS NOT TRUE` is not understood). O(1).
    pub fn outside(self, key: &Key) -> Result<String> {
        let (column, from, to) = (identifier(&key.column), constant(key, self.from)?, constant(key, self.to)?);
        Ok(format!("{column} OPERATOR(pg_catalog.<) {from} OR {column} OPERATOR(pg_catalog.>=) {to}"))
    }

    /// Whether the two ranges share an instant. O(1).
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }
}

/// An instant as a quoted text without a type.
fn text_of(key: &Key, micros: i64) -> Result<String> {
    let text = super::calendar::utc_text(micros)?;
    Ok(literal(&match key.key_type {
        KeyType::Date => text.chars().take(10).collect(),
        KeyType::Timestamp => text,
        KeyType::Timestamptz => text + "+00",
    }))
}

/// An instant as a constant of the key's type.
pub(super) fn constant(key: &Key, micros: i64) -> Result<String> {
    Ok(format!("{}::{}", text_of(key, micros)?, key.key_type.sql()))
}

#[cfg(test)]
mod tests {
    use super::super::calendar::{Calendar, Day};
    use super::*;
    use proptest::prelude::*;

    fn key(key_type: KeyType) -> Key {
        Key { column: "at".into(), key_type }
    }

    fn bound(days: i32) -> Bound {
        let (from, to) = Calendar::utc().range_of(Day::from_unix_days(days).unwrap()).unwrap();
        Bound { from, to }
    }

    #[test]
    fn texts_are_of_the_keys_own_type() {
        let day = bound(19_782);
        assert_eq!(
            day.for_values(&key(KeyType::Timestamptz)).unwrap(),
            "FOR VALUES FROM ('2024-02-29 00:00:00+00') TO ('2024-03-01 00:00:00+00')"
        );
        assert_eq!(day.for_values(&key(KeyType::Date)).unwrap(), "FOR VALUES FROM ('2024-02-29') TO ('2024-03-01')");
        assert_eq!(
            day.check(&key(KeyType::Timestamp)).unwrap(),
            "\"at\" IS NOT NULL AND \"at\" OPERATOR(pg_catalog.>=) '2024-02-29 00:00:00'::pg_catalog.timestamp \
             AND \"at\" OPERATOR(pg_catalog.<) '2024-03-01 00:00:00'::pg_catalog.timestamp"
        );
        assert_eq!(
            day.outside(&key(KeyType::Date)).unwrap(),
            "\"at\" OPERATOR(pg_catalog.<) '2024-02-29'::pg_catalog.date \
             OR \"at\" OPERATOR(pg_catalog.>=) '2024-03-01'::pg_catalog.date"
        );
    }

    #[test]
    fn a_zone_with_odd_minutes_is_written_in_utc() {
        let zone = Calendar::in_zone("Asia/Kathmandu").unwrap();
        let (from, to) = zone.range_of(Day::from_unix_days(19_782).unwrap()).unwrap();
        assert_eq!(
            Bound { from, to }.for_values(&key(KeyType::Timestamptz)).unwrap(),
            "FOR VALUES FROM ('2024-02-28 18:15:00+00') TO ('2024-02-29 18:15:00+00')"
        );
    }

    proptest! {
        #[test]
        fn days_touch_and_never_overlap(a in -20_000..20_000i32, b in -20_000..20_000i32) {
            prop_assert_eq!(bound(a).overlaps(bound(b)), a == b);
            prop_assert_eq!(bound(a).to, bound(a + 1).from);
            let all = Bound { from: i64::MIN, to: i64::MAX };
            prop_assert!(all.overlaps(bound(a)) && bound(a).overlaps(all));
        }
    }
}
