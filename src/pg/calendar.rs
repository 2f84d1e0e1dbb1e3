//! The arguments `period` and `time_zone`.

use eventkit_core::error::Result;
use eventkit_core::options::needed;
use eventkit_core::zone::{Calendar, Period};
use pgrx::datum::Interval;

/// A period and a zone, not NULL.
#[derive(Clone, Copy)]
pub struct CalendarArguments<'a> {
    parts: (i32, i32, i64),
    zone: &'a str,
}

impl<'a> CalendarArguments<'a> {
    /// Checks that both are there. Errors: `22004`.
    pub fn new(period: Option<Interval>, zone: Option<&'a str>) -> Result<Self> {
        let period = needed("period", period, "'1 week'")?;
        let zone = needed("time_zone", zone, "'UTC'")?;
        Ok(Self { parts: (period.months(), period.days(), period.micros()), zone })
    }

    /// The bytes of the period.
    #[must_use]
    pub fn key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&self.parts.0.to_ne_bytes());
        key[4..8].copy_from_slice(&self.parts.1.to_ne_bytes());
        key[8..].copy_from_slice(&self.parts.2.to_ne_bytes());
        key
    }

    /// The zone's name.
    #[must_use]
    pub const fn zone(&self) -> &'a str {
        self.zone
    }

    /// The calendar. Errors: those of [`Period::of_interval`] and [`Calendar::new`].
    pub fn calendar(&self) -> Result<Calendar> {
        let (months, days, micros) = self.parts;
        Calendar::new(Period::of_interval("period", months, days, micros)?, self.zone)
    }
}
