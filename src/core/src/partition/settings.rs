//! What a managed parent was told: period, zone, premake, retention; how they are checked.

use super::error;
use super::key::{Key, KeyType, KeyUnit};
use super::name::{identifier, literal};
use super::period::Length;
use super::plan::key_of;
use super::snapshot::Parent;
use super::step::Step;
use crate::error::Result;
use serde::Deserialize;

/// The most periods that are made ahead.
const MOST_AHEAD: i32 = 1_000;

/// The settings of a parent, or those of one that is not managed: UTC days.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// The months of the period.
    pub months: i32,
    /// The days of the period.
    pub days: i32,
    /// The rest of the period, in microseconds.
    pub micros: i64,
    /// The zone whose clocks tell where a period begins.
    pub time_zone: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { months: 0, days: 1, micros: 0, time_zone: "UTC".into() }
    }
}

impl Settings {
    /// How long the periods are. Errors as [`Length::from_interval`]. O(1).
    pub fn length(&self) -> Result<Length> {
        Length::from_interval(self.months, self.days, self.micros)
    }
}

/// What is told beside the calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Periods made ahead of the present one.
    pub premake: i32,
    /// How long rows are kept after their period has ended: months, days, microseconds.
    pub retention: Option<(i32, i32, i64)>,
    /// `detach`, `drop` or `move`.
    pub on_expiry: String,
    /// The schema that expired partitions move to.
    pub expired_schema: Option<String>,
    /// The procedure that gets a partition before it goes, by its name with schema and argument.
    pub archive: Option<String>,
}

/// The step that writes the settings of a parent down, new or changed.
///
/// Raises what [`key_of`] and [`Length::from_interval`] raise, `22023` for hours of a `date`, a `bigint` without a unit, a unit of
/// anything else, and values outside of their documented sets. O(1).
pub fn steps(parent: &Parent, told: &Settings, rest: &Rest) -> Result<Vec<Step>> {
    let (key, length) = (key_of(parent)?, told.length()?);
    check(key, &parent.qualified(), length, rest)?;
    let interval = |(months, days, micros): (i32, i32, i64)| {
        literal(&format!("{months} months {days} days {micros} microseconds")) + "::pg_catalog.interval"
    };
    let optional = |text: Option<String>| text.unwrap_or_else(|| "NULL".to_owned());
    let unit = key.unit.map(|unit| literal(unit.name()));
    let statement = format!(
        "INSERT INTO eventkit.partition_settings \
         (parent, period, time_zone, premake, retention, on_expiry, expired_schema, key_unit, archive) VALUES \
         ({}::pg_catalog.regclass, {}, {}, {}, {}, {}, {}, {}, {}) \
         ON CONFLICT ON CONSTRAINT partition_settings_pkey DO UPDATE SET period = EXCLUDED.period, \
         time_zone = EXCLUDED.time_zone, premake = EXCLUDED.premake, retention = EXCLUDED.retention, \
         on_expiry = EXCLUDED.on_expiry, expired_schema = EXCLUDED.expired_schema, key_unit = EXCLUDED.key_unit, \
         archive = EXCLUDED.archive",
        literal(&parent.qualified()),
        interval((told.months, told.days, told.micros)),
        literal(&told.time_zone),
        rest.premake,
        optional(rest.retention.map(interval)),
        literal(&rest.on_expiry),
        optional(rest.expired_schema.as_deref().map(literal)),
        optional(unit),
        optional(rest.archive.as_deref().map(literal)),
    );
    Ok(vec![Step::unseen(statement, parent.qualified(), "the settings that later calls go by; a row of its own")])
}

fn check(key: &Key, table: &str, length: Length, rest: &Rest) -> Result<()> {
    let column = identifier(&key.column);
    if key.key_type == KeyType::Date && !length.is_whole_days() {
        return Err(error::period_of_date(&column));
    }
    match (key.key_type, key.unit) {
        (KeyType::Bigint, None) => return Err(error::unit_missing(&column, table)),
        (KeyType::Bigint, Some(_)) | (_, None) => {}
        (_, Some(_)) => return Err(error::unit_unwanted(&column)),
    }
    if !(0..=MOST_AHEAD).contains(&rest.premake) {
        return Err(error::premake_out_of_range(rest.premake, MOST_AHEAD));
    }
    if let Some((months, days, micros)) = rest.retention
        && (months < 0 || days < 0 || micros < 0)
    {
        return Err(error::retention_negative(months, days, micros));
    }
    match (rest.on_expiry.as_str(), &rest.expired_schema) {
        ("detach" | "drop", None) | ("move", Some(_)) => Ok(()),
        ("detach" | "drop", Some(_)) => Err(error::expired_schema_unwanted(&rest.on_expiry)),
        ("move", None) => Err(error::expired_schema_missing()),
        (other, _) => Err(error::unknown_expiry(other)),
    }
}

impl KeyUnit {
    /// The unit of this name. Raises `22023` for another.
    pub fn read(name: &str) -> Result<Self> {
        match name {
            "s" => Ok(Self::S),
            "ms" => Ok(Self::Ms),
            "us" => Ok(Self::Us),
            "ns" => Ok(Self::Ns),
            _ => Err(error::unknown_unit(name)),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::S => "s",
            Self::Ms => "ms",
            Self::Us => "us",
            Self::Ns => "ns",
        }
    }
}
