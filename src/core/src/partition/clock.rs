//! What the clocks of a time zone show, and the first instant at which they show a given time or a later one.

use crate::error::Result;

/// The clocks of one time zone. The server's own database of zones answers in production, a library's in tests.
pub trait Clock {
    /// What the clocks show at an instant, both in microseconds since 1970-01-01 00:00; the first as if it were UTC.
    fn shown_at(&self, instant: i64) -> Result<i64>;
}

/// Clocks that show UTC.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utc;

impl Clock for Utc {
    fn shown_at(&self, instant: i64) -> Result<i64> {
        Ok(instant)
    }
}

/// No zone of the IANA database was ever farther from UTC than 15 hours 14 minutes, Manila and Alaska before 1845 and 1867.
const REACH: i64 = 16 * 3_600 * SECOND;

const SECOND: i64 = 1_000_000;

/// The first instant at which the clocks show `shown` or later.
///
/// So a time that the clocks skip begins at the end of the gap, one that they show twice begins with the first showing,
/// and the instants of rising times never fall: ranges between them have neither gap nor overlap, whatever the clocks do. Takes
/// a whole number of seconds; zones change at whole seconds. Asks the clock at most 22 times, twice where no change is near.
pub fn first_showing(clock: &dyn Clock, shown: i64) -> Result<i64> {
    let offset_at = |instant: i64| clock.shown_at(instant).map(|shown| shown - instant);
    let (mut low, mut high) = (shown - REACH, shown + REACH);
    let (before, after) = (offset_at(low)?, offset_at(high)?);
    if before == after {
        return Ok(shown - before);
    }
    // The change lies in (low, high].
    while high - low > SECOND {
        let middle = low + (high - low) / 2 / SECOND * SECOND;
        if offset_at(middle)? == before { low = middle } else { high = middle }
    }
    let unchanged = shown - before;
    Ok(if unchanged < high { unchanged } else { high.max(shown - offset_at(high)?) })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    /// A zone as a library knows it.
    pub struct Library(pub TimeZone);

    impl Library {
        pub fn of(name: &str) -> Self {
            Self(TimeZone::get(name).unwrap())
        }
    }

    impl Clock for Library {
        fn shown_at(&self, instant: i64) -> Result<i64> {
            let at = Timestamp::from_microsecond(instant).unwrap();
            Ok(instant + i64::from(self.0.to_offset(at).seconds()) * SECOND)
        }
    }

    /// Every zone of the database.
    pub fn zones() -> Vec<String> {
        jiff::tz::db().available().map(|name| name.to_string()).collect()
    }

    /// The definition, second by second from far before.
    fn slowly(clock: &dyn Clock, shown: i64) -> i64 {
        let mut instant = shown - 27 * 3_600 * SECOND;
        while clock.shown_at(instant).unwrap() < shown {
            instant += SECOND;
        }
        instant
    }

    #[test]
    fn gaps_and_repetitions_at_midnight() {
        let utc = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        for (zone, midnight, first) in [
            ("Europe/Berlin", "2024-03-31T00:00:00Z", "2024-03-30T23:00:00Z"),
            // From 00:00 to 01:00, and from 23:30 to 00:30.
            ("America/Sao_Paulo", "2018-11-04T00:00:00Z", "2018-11-04T03:00:00Z"),
            ("America/Toronto", "1919-03-31T00:00:00Z", "1919-03-31T04:30:00Z"),
            // Back from 01:00 to 00:00, and from 00:01 to 23:01: the first midnight of two.
            ("America/Havana", "2023-11-05T00:00:00Z", "2023-11-05T04:00:00Z"),
            ("America/St_Johns", "2010-11-07T00:00:00Z", "2010-11-07T02:30:00Z"),
            // A day that is left out begins with the next.
            ("Pacific/Apia", "2011-12-30T00:00:00Z", "2011-12-30T10:00:00Z"),
            ("Pacific/Apia", "2011-12-31T00:00:00Z", "2011-12-30T10:00:00Z"),
        ] {
            let clock = Library::of(zone);
            assert_eq!(first_showing(&clock, utc(midnight)).unwrap(), utc(first), "{zone} {midnight}");
            assert_eq!(slowly(&clock, utc(midnight)), utc(first), "{zone} {midnight}");
        }
    }

    #[test]
    fn every_change_of_every_zone() {
        let mut changes = 0;
        for name in zones() {
            let clock = Library::of(&name);
            let from = "1840-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
            for change in clock.0.following(from).take_while(|t| t.timestamp().as_second() < 2_000_000_000) {
                let at = change.timestamp().as_microsecond();
                let shown = clock.shown_at(at).unwrap();
                for hours in -3..=3 {
                    let wanted = (shown / (3_600 * SECOND) + hours) * 3_600 * SECOND;
                    let found = first_showing(&clock, wanted).unwrap();
                    assert!(clock.shown_at(found).unwrap() >= wanted, "{name} {change:?} {hours}");
                    // Nothing shows it earlier: neither just before nor around the change.
                    for earlier in [found - SECOND, at - SECOND, at, at + SECOND] {
                        assert!(
                            earlier >= found || clock.shown_at(earlier).unwrap() < wanted,
                            "{name} {change:?} {hours}"
                        );
                    }
                    changes += 1;
                }
            }
        }
        assert!(changes > 100_000, "{changes}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn as_the_definition(zone in prop::sample::select(zones()), hour in -900_000..700_000i64) {
            let clock = Library::of(&zone);
            let shown = hour * 3_600 * SECOND;
            prop_assert_eq!(first_showing(&clock, shown).unwrap(), slowly(&clock, shown));
        }
    }
}
