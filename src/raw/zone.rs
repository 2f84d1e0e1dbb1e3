//! The server's own database of time zones.

use eventkit_core::error::Result;
use eventkit_core::partition::clock::Clock;
use pgrx::{IntoDatum, pg_sys};

/// From 1970-01-01 to 2000-01-01, where the server counts from.
const EPOCH_SHIFT: i64 = 946_684_800_000_000;

/// The clocks of a zone as `timestamptz AT TIME ZONE` shows them. Lives as long as the function call that makes it.
pub struct ServerClock {
    /// The zone's name as the server's text; `None` for UTC.
    zone: Option<pg_sys::Datum>,
}

impl ServerClock {
    /// The clocks of a zone, whose name is one of `pg_timezone_names`.
    pub fn of(zone: &str) -> Self {
        Self { zone: if zone == "UTC" { None } else { zone.into_datum() } }
    }
}

impl Clock for ServerClock {
    /// An unknown zone and a time outside of `timestamptz` are errors of the server.
    fn shown_at(&self, instant: i64) -> Result<i64> {
        let Some(zone) = self.zone else { return Ok(instant) };
        let at = pg_sys::Datum::from(instant.saturating_sub(EPOCH_SHIFT));
        // SAFETY: the arguments are a text that lives as long as the call and a timestamptz, as the function takes
        // them; it returns a timestamp, a number of 64 bits.
        let shown = unsafe { pgrx::direct_function_call::<i64>(pg_sys::timestamptz_zone, &[Some(zone), Some(at)]) };
        Ok(shown.unwrap_or(0).saturating_add(EPOCH_SHIFT))
    }
}
