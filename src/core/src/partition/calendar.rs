//! Periods in time: which one an instant belongs to and which ones cover a range, in the calendar's zone, never the session's.

use super::clock::{Clock, first_showing};
use super::error;
use super::period::{Length, Period};
use crate::error::Result;

/// The most periods that one call lists.
const MOST: usize = 20_000;

/// Periods of one length in one time zone.
pub struct Calendar<'a> {
    length: Length,
    clock: &'a dyn Clock,
}

impl<'a> Calendar<'a> {
    /// A calendar of these periods by these clocks.
    #[must_use]
    pub fn new(length: Length, clock: &'a dyn Clock) -> Self {
        Self { length, clock }
    }

    /// How long its periods are.
    #[must_use]
    pub const fn length(&self) -> Length {
        self.length
    }

    /// What its clocks show at an instant. Raises what the clock raises.
    pub fn shown_at(&self, instant: i64) -> Result<i64> {
        self.clock.shown_at(instant)
    }

    /// The period of a time that the clocks show. Raises `22008` outside of the years 1 to 9998. O(1).
    pub fn of_shown(&self, shown: i64) -> Result<Period> {
        self.beginning(self.length.start_of(shown)?)
    }

    /// The period that an instant belongs to. Raises `22008` outside of the years 1 to 9998. O(1).
    pub fn of_instant(&self, instant: i64) -> Result<Period> {
        let mut period = self.of_shown(self.shown_at(instant)?)?;
        // Where the clocks went back over a beginning, the later period has begun and does not end again.
        while period.to <= instant {
            period = self.next(&period)?;
        }
        Ok(period)
    }

    /// The next period. Raises `22008` after the last one. O(1).
    pub fn next(&self, period: &Period) -> Result<Period> {
        self.beginning(period.shown_to)
    }

    /// The periods that share an instant with `[from, to)`, in order; those that the clocks skip are left out.
    /// Linear in their number. Raises `54000` for more than 20,000, else as [`Self::of_instant`].
    pub fn of_instants(&self, from: i64, to: i64) -> Result<Vec<Period>> {
        self.while_before(self.of_instant(from)?, |period| period.from < to, |period| period.from < period.to)
    }

    /// The periods that share a shown time with `[from, to)`, in order. Linear in their number. Errors as [`Self::of_instants`].
    pub fn of_all_shown(&self, from: i64, to: i64) -> Result<Vec<Period>> {
        self.while_before(self.of_shown(from)?, |period| period.shown_from < to, |_| true)
    }

    fn while_before(
        &self,
        first: Period,
        goes_on: impl Fn(&Period) -> bool,
        counts: impl Fn(&Period) -> bool,
    ) -> Result<Vec<Period>> {
        let (mut periods, mut period) = (Vec::new(), first);
        while goes_on(&period) {
            let next = self.next(&period)?;
            if counts(&period) {
                periods.push(period);
            }
            if periods.len() > MOST {
                return Err(error::too_many_periods(MOST));
            }
            period = next;
        }
        Ok(periods)
    }

    fn beginning(&self, shown_from: i64) -> Result<Period> {
        let shown_to = self.length.after(shown_from)?;
        Ok(Period {
            shown_from,
            shown_to,
            from: first_showing(self.clock, shown_from)?,
            to: first_showing(self.clock, shown_to)?,
            digits: self.length.digits(shown_from)?,
            label: self.length.label(shown_from)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::Utc;
    use super::super::clock::tests::{Library, zones};
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000_000;

    fn micros(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
    }

    #[test]
    fn days_of_23_and_25_hours_and_of_none() {
        for (zone, noon, hours) in [
            ("Europe/Berlin", "2024-03-31T12:00:00Z", 23),
            ("Europe/Berlin", "2024-10-27T12:00:00Z", 25),
            ("America/Sao_Paulo", "2018-11-04T12:00:00Z", 23),
            ("America/Havana", "2023-11-05T12:00:00Z", 25),
            ("Australia/Lord_Howe", "2024-04-07T00:00:00Z", 24),
            ("Pacific/Apia", "2011-12-29T12:00:00Z", 24),
        ] {
            let clock = Library::of(zone);
            let day = Calendar::new(Length::Days(1), &clock).of_instant(micros(noon)).unwrap();
            assert_eq!((day.to - day.from) / HOUR, hours, "{zone} {noon}");
        }
        let samoa = Library::of("Pacific/Apia");
        let samoa = Calendar::new(Length::Days(1), &samoa);
        let skipped = samoa.of_shown(micros("2011-12-30T00:00:00Z")).unwrap();
        assert_eq!(skipped.from, skipped.to);
        let labels = |periods: Vec<Period>| periods.into_iter().map(|p| p.label).collect::<Vec<_>>().join(" ");
        let (from, to) = ("2011-12-29T12:00:00Z", "2012-01-01T00:00:00Z");
        assert_eq!(labels(samoa.of_instants(micros(from), micros(to)).unwrap()), "2011-12-29 2011-12-31 2012-01-01");
        // A column without a zone may hold the day that nobody lived.
        assert_eq!(labels(samoa.of_all_shown(micros(from), micros(to)).unwrap()), "2011-12-29 2011-12-30 2011-12-31");
    }

    #[test]
    fn an_hour_shown_twice_is_one_period_and_one_skipped_is_none() {
        let clock = Library::of("Europe/Berlin");
        let hours = Calendar::new(Length::Hours(1), &clock);
        let night = |from: &str, to: &str| {
            let periods = hours.of_instants(micros(from), micros(to)).unwrap();
            periods
                .iter()
                .map(|p| format!("{}:{}", &p.digits[8..], (p.to - p.from) / HOUR))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(night("2024-10-26T22:00:00Z", "2024-10-27T03:00:00Z"), "00:1 01:1 02:2 03:1");
        assert_eq!(night("2024-03-30T23:00:00Z", "2024-03-31T03:00:00Z"), "00:1 01:1 03:1 04:1");
    }

    #[test]
    fn a_range_is_covered_from_its_first_to_its_last_instant() {
        let days = Calendar::new(Length::Days(1), &Utc);
        let count = |from: i64, to: i64| days.of_instants(from, to).unwrap().len();
        assert_eq!(count(0, 24 * HOUR), 1);
        assert_eq!(count(1, 24 * HOUR + 1), 2);
        assert_eq!(count(24 * HOUR, 24 * HOUR), 0);
        let hours = Calendar::new(Length::Hours(1), &Utc);
        assert_eq!(hours.of_instants(0, 30_000 * HOUR).unwrap_err().condition.sqlstate(), "54000");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn periods_tile_time(
            zone in prop::sample::select(zones()),
            length in prop_oneof![
                (1..30u32).prop_filter("days", |n| n % 24 != 0).prop_map(Length::Hours),
                (1..15u32).prop_map(Length::Days),
                (1..6u32).prop_map(Length::Months),
            ],
            instant in -4_000_000_000_000_000..2_500_000_000_000_000i64,
            parts in prop::collection::vec(0.0..1.0f64, 4),
        ) {
            let clock = Library::of(&zone);
            let calendar = Calendar::new(length, &clock);
            let mut period = calendar.of_instant(instant).unwrap();
            prop_assert!(period.from <= instant && instant < period.to);
            for _ in 0..4 {
                let next = calendar.next(&period).unwrap();
                // No gap, no overlap, another name.
                prop_assert_eq!(period.to, next.from);
                prop_assert!(period.from <= period.to);
                prop_assert!(period.digits < next.digits);
                for part in &parts {
                    let inside = period.from + ((period.to - period.from) as f64 * part) as i64;
                    if inside < period.to {
                        prop_assert_eq!(&calendar.of_instant(inside).unwrap(), &period);
                    }
                }
                period = next;
            }
        }
    }
}
