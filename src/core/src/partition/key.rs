//! The column that a parent is partitioned by: its type, its values as times and times as its values.

use super::bound::Bound;
use super::error;
use super::name::{identifier, literal};
use super::period::{Period, text};
use crate::error::Result;
use serde::Deserialize;

const DAY: i64 = 86_400_000_000;

/// From 1970-01-01 to 2000-01-01, where the server counts dates and timestamps from.
const EPOCH_DAYS: i64 = 10_957;

/// The types of a key that a period can be a range of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// `date`: what the calendar of the zone shows.
    Date,
    /// `timestamp without time zone`: what the clocks of the zone show.
    Timestamp,
    /// `timestamp with time zone`: an instant.
    Timestamptz,
    /// `bigint`: an instant, counted from 1970 in a unit that the settings name.
    Bigint,
    /// `uuid` of version 7: an instant, in milliseconds since 1970 in its first 48 bits.
    Uuid,
}

impl KeyType {
    /// The type's qualified name.
    #[must_use]
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Date => "pg_catalog.date",
            Self::Timestamp => "pg_catalog.timestamp",
            Self::Timestamptz => "pg_catalog.timestamptz",
            Self::Bigint => "pg_catalog.int8",
            Self::Uuid => "pg_catalog.uuid",
        }
    }

    /// Whether its values are what clocks show rather than instants.
    #[must_use]
    pub const fn is_shown(self) -> bool {
        matches!(self, Self::Date | Self::Timestamp)
    }
}

/// What a `bigint` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// The column that a parent is partitioned by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Key {
    /// The column's name.
    pub column: String,
    /// The column's type.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// What a `bigint` counts; absent for other types.
    #[serde(default)]
    pub unit: Option<KeyUnit>,
}

/// One end of a bound, as the server keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// MINVALUE.
    Below,
    /// MAXVALUE.
    Above,
    /// Days since 2000-01-01; the ends of the range are the infinities.
    Date(i32),
    /// Microseconds since 2000-01-01; the ends of the range are the infinities.
    Time(i64),
    /// A number.
    Number(i64),
    /// The 16 bytes, the first one the most significant.
    Uuid(u128),
}

impl Key {
    /// The time of a limit in microseconds since 1970 (`i64::MIN` and `i64::MAX` for no limit), rounded down, and
    /// whether that is exact. O(1).
    #[must_use]
    pub fn time_of(&self, limit: Limit) -> (i64, bool) {
        match limit {
            Limit::Below | Limit::Date(i32::MIN) | Limit::Time(i64::MIN) => (i64::MIN, true),
            Limit::Above | Limit::Date(i32::MAX) | Limit::Time(i64::MAX) => (i64::MAX, true),
            Limit::Date(days) => (i64::from(days).saturating_add(EPOCH_DAYS).saturating_mul(DAY), true),
            Limit::Time(micros) => (micros.saturating_add(EPOCH_DAYS * DAY), true),
            Limit::Number(number) => match self.unit {
                Some(KeyUnit::S) => (number.saturating_mul(1_000_000), true),
                Some(KeyUnit::Ms) => (number.saturating_mul(1_000), true),
                Some(KeyUnit::Ns) => (number.div_euclid(1_000), number.rem_euclid(1_000) == 0),
                Some(KeyUnit::Us) | None => (number, true),
            },
            Limit::Uuid(bytes) => {
                let milliseconds = i64::try_from(bytes >> 80).unwrap_or(i64::MAX);
                (milliseconds.saturating_mul(1_000), bytes << 48 == 0)
            }
        }
    }

    /// The range of a period in the key's own time: what clocks show for `date` and `timestamp`, else instants. O(1).
    #[must_use]
    pub fn range_of(&self, period: &Period) -> (i64, i64) {
        if self.key_type.is_shown() { (period.shown_from, period.shown_to) } else { (period.from, period.to) }
    }

    /// A period of which a part of its range is left, with the ending of that part's name. O(1).
    #[must_use]
    pub fn cut(&self, period: &Period, rest: Bound, digits: String) -> Period {
        let mut period = Period { digits, ..period.clone() };
        if self.key_type.is_shown() {
            (period.shown_from, period.shown_to) = (rest.from, rest.to);
        } else {
            (period.from, period.to) = (rest.from, rest.to);
        }
        period
    }

    /// A time as a quoted text without a type, read alike under every `DateStyle` and `TimeZone`. Raises `22008` for a
    /// time that the type cannot hold, `22023` for one between two of its values. O(1).
    pub fn value(&self, micros: i64) -> Result<String> {
        let whole = |unit: i64| {
            if micros % unit == 0 {
                Ok(micros / unit)
            } else {
                Err(error::time_between_values(micros, &identifier(&self.column)))
            }
        };
        Ok(literal(&match self.key_type {
            KeyType::Date => {
                whole(DAY)?;
                text(micros)?.chars().take(10).collect()
            }
            KeyType::Timestamp => text(micros)?,
            KeyType::Timestamptz => text(micros)? + "+00",
            KeyType::Bigint => match self.unit {
                Some(KeyUnit::S) => whole(1_000_000)?.to_string(),
                Some(KeyUnit::Ms) => whole(1_000)?.to_string(),
                Some(KeyUnit::Us) => micros.to_string(),
                Some(KeyUnit::Ns) => {
                    micros.checked_mul(1_000).ok_or_else(|| error::time_out_of_range(micros))?.to_string()
                }
                None => return Err(error::unit_missing(&identifier(&self.column), "…")),
            },
            KeyType::Uuid => {
                let milliseconds = whole(1_000)?;
                if !(0..1 << 48).contains(&milliseconds) {
                    return Err(error::time_out_of_range(micros));
                }
                // The least uuid of the millisecond, of whatever version.
                let digits = format!("{milliseconds:012x}");
                format!("{}-{}-0000-0000-000000000000", &digits[..8], &digits[8..])
            }
        }))
    }

    /// A time as a constant of the key's type. Errors as [`Self::value`]. O(1).
    pub fn constant(&self, micros: i64) -> Result<String> {
        Ok(format!("{}::{}", self.value(micros)?, self.key_type.sql()))
    }

    /// The SQL expression for a key's time in microseconds since 1970, of times from 1970 on. Raises `22023` for a `bigint` without a unit. O(1).
    pub fn time_expression(&self) -> Result<String> {
        let column = identifier(&self.column);
        Ok(match (self.key_type, self.unit) {
            (KeyType::Date, _) => format!(
                "({column} OPERATOR(pg_catalog.-) '1970-01-01'::pg_catalog.date)::pg_catalog.int8 \
                 OPERATOR(pg_catalog.*) 86400000000::pg_catalog.int8"
            ),
            (KeyType::Timestamp | KeyType::Timestamptz, _) => format!(
                "(pg_catalog.extract('epoch', {column}) OPERATOR(pg_catalog.*) 1000000::pg_catalog.numeric)::pg_catalog.int8"
            ),
            (KeyType::Bigint, Some(KeyUnit::S)) => format!("{column} OPERATOR(pg_catalog.*) 1000000::pg_catalog.int8"),
            (KeyType::Bigint, Some(KeyUnit::Ms)) => format!("{column} OPERATOR(pg_catalog.*) 1000::pg_catalog.int8"),
            (KeyType::Bigint, Some(KeyUnit::Us)) => column,
            (KeyType::Bigint, Some(KeyUnit::Ns)) => format!("{column} OPERATOR(pg_catalog./) 1000::pg_catalog.int8"),
            (KeyType::Bigint, None) => return Err(error::unit_missing(&column, "…")),
            (KeyType::Uuid, _) => format!(
                "('x' OPERATOR(pg_catalog.||) pg_catalog.substr(pg_catalog.replace({column}::pg_catalog.text, '-', ''), 1, 12))\
                 ::pg_catalog.bit(48)::pg_catalog.int8 OPERATOR(pg_catalog.*) 1000::pg_catalog.int8"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(key_type: KeyType, unit: Option<KeyUnit>) -> Key {
        Key { column: "at".into(), key_type, unit }
    }

    #[test]
    fn values() {
        let noon = 1_709_208_000_000_000; // 2024-02-29 12:00
        for (key_type, unit, expected) in [
            (KeyType::Timestamp, None, "'2024-02-29 12:00:00'"),
            (KeyType::Timestamptz, None, "'2024-02-29 12:00:00+00'"),
            (KeyType::Bigint, Some(KeyUnit::S), "'1709208000'"),
            (KeyType::Bigint, Some(KeyUnit::Ms), "'1709208000000'"),
            (KeyType::Bigint, Some(KeyUnit::Us), "'1709208000000000'"),
            (KeyType::Bigint, Some(KeyUnit::Ns), "'1709208000000000000'"),
            (KeyType::Uuid, None, "'018df4bc-5600-0000-0000-000000000000'"),
        ] {
            assert_eq!(key(key_type, unit).value(noon).unwrap(), expected);
        }
        assert_eq!(key(KeyType::Date, None).value(noon - DAY / 2).unwrap(), "'2024-02-29'");
        let state = |key_type, unit, micros| key(key_type, unit).value(micros).unwrap_err().condition.sqlstate();
        assert_eq!(state(KeyType::Date, None, noon), "22023");
        assert_eq!(state(KeyType::Bigint, Some(KeyUnit::S), 1), "22023");
        assert_eq!(state(KeyType::Bigint, None, 0), "22023");
        assert_eq!(state(KeyType::Bigint, Some(KeyUnit::Ns), i64::MAX / 999), "22008");
        assert_eq!(state(KeyType::Uuid, None, -1_000), "22008");
        assert_eq!(state(KeyType::Uuid, None, 1_000 << 48), "22008");
        assert_eq!(state(KeyType::Timestamp, None, i64::MAX), "22008");
    }

    #[test]
    fn limits_of_hand_made_partitions() {
        let date = key(KeyType::Date, None);
        assert_eq!(date.time_of(Limit::Below), (i64::MIN, true));
        assert_eq!(date.time_of(Limit::Date(i32::MAX)), (i64::MAX, true));
        assert_eq!(date.time_of(Limit::Date(0)), (946_684_800_000_000, true));
        let ns = key(KeyType::Bigint, Some(KeyUnit::Ns));
        assert_eq!(ns.time_of(Limit::Number(-1)), (-1, false));
        assert_eq!(key(KeyType::Bigint, Some(KeyUnit::S)).time_of(Limit::Number(i64::MAX)), (i64::MAX, true));
        let uuid = key(KeyType::Uuid, None);
        assert_eq!(uuid.time_of(Limit::Uuid(u128::MAX)), (281_474_976_710_655_000, false));
        assert_eq!(uuid.time_of(Limit::Uuid(5 << 80)), (5_000, true));
    }

    proptest! {
        #[test]
        fn a_value_reads_back(milliseconds in 0..250_000_000_000_000i64) {
            let uuid = key(KeyType::Uuid, None).value(milliseconds * 1_000).unwrap();
            let bytes = u128::from_str_radix(&uuid.replace(['-', '\''], ""), 16).unwrap();
            prop_assert_eq!(key(KeyType::Uuid, None).time_of(Limit::Uuid(bytes)), (milliseconds * 1_000, true));
            let ms = key(KeyType::Bigint, Some(KeyUnit::Ms));
            let number = ms.value(milliseconds * 1_000).unwrap().replace('\'', "").parse().unwrap();
            prop_assert_eq!(ms.time_of(Limit::Number(number)), (milliseconds * 1_000, true));
        }
    }
}
