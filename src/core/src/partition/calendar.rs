//! Days: where one begins and ends in a named time zone, never in the session's.

use super::error;
use crate::error::Result;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A calendar day, from 0001-01-01 to 9998-12-31: every such day can be written with four digits of a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

/// The day that day numbers are counted from.
const EPOCH: Date = Date::constant(1970, 1, 1);

/// Days from 0001-01-01 to the epoch.
const FIRST: i32 = -719_162;

/// Days from the epoch to 9998-12-31.
const LAST: i32 = 2_932_531;

impl Day {
    /// The day that is `days` after 1970-01-01. Raises `22008` outside of the years 1 to 9998. O(1).
    pub fn from_unix_days(days: i32) -> Result<Self> {
        if !(FIRST..=LAST).contains(&days) {
            return Err(error::day_out_of_range(&format!("day number {days}")));
        }
        EPOCH
            .checked_add(jiff::Span::new().days(days))
            .map(Self)
            .map_err(|_| error::day_out_of_range(&format!("day number {days}")))
    }

    /// Days since 1970-01-01, negative before it. O(1).
    #[must_use]
    pub fn unix_days(self) -> i32 {
        let micros = TimeZone::UTC.to_timestamp(self.0.to_datetime(jiff::civil::Time::midnight()));
        // Inside of the documented years the conversion cannot fail, and a day number fits 32 bits.
        micros.map_or(0, |t| i32::try_from(t.as_second().div_euclid(86_400)).unwrap_or(0))
    }

    /// The next day. Raises `22008` after the last one. O(1).
    pub fn next(self) -> Result<Self> {
        Self::from_unix_days(self.unix_days() + 1)
    }

    /// Year, month and day of the month. O(1).
    #[must_use]
    pub fn parts(self) -> (i32, u8, u8) {
        // Months and days are small positive numbers.
        (i32::from(self.0.year()), self.0.month().unsigned_abs(), self.0.day().unsigned_abs())
    }

    /// The eight digits that end a partition's name: `20240229`.
    #[must_use]
    pub fn digits(self) -> String {
        format!("{:04}{:02}{:02}", self.0.year(), self.0.month(), self.0.day())
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.year(), self.0.month(), self.0.day())
    }
}

/// The days of one time zone.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
}

impl Calendar {
    /// Days from midnight to midnight UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { zone: TimeZone::UTC }
    }

    /// The days of a zone of the IANA database, by its name. Raises `22023` for a name that it does not have.
    pub fn in_zone(name: &str) -> Result<Self> {
        TimeZone::get(name).map(|zone| Self { zone }).map_err(|_| error::unknown_zone(name))
    }

    /// The first instant of a day, in microseconds since 1970-01-01 00:00 UTC.
    ///
    /// A midnight that the zone's clocks skip gives the first instant after the gap; one that they show twice gives
    /// the first of the two. So the days of a zone follow each other without a gap and without an overlap. O(log n)
    /// in the zone's transitions. Raises `22008` at the end of the supported years.
    pub fn start_of(&self, day: Day) -> Result<i64> {
        let midnight = day.0.to_datetime(jiff::civil::Time::midnight());
        self.zone
            .to_timestamp(midnight)
            .map(Timestamp::as_microsecond)
            .map_err(|_| error::day_out_of_range(&day.to_string()))
    }

    /// The half-open range of a day: its first instant and the first instant of the next day.
    ///
    /// Raises `22008` for a day that the zone leaves out whole (2011-12-30 in Samoa). O(log n) as [`Self::start_of`].
    pub fn range_of(&self, day: Day) -> Result<(i64, i64)> {
        let range = (self.start_of(day)?, self.start_of(day.next()?)?);
        if range.0 == range.1 { Err(error::day_left_out(&day.to_string())) } else { Ok(range) }
    }

    /// The day that an instant belongs to. Raises `22008` outside of the supported years. O(log n).
    pub fn day_at(&self, micros: i64) -> Result<Day> {
        let out = || error::day_out_of_range(&format!("{micros} microseconds since 1970"));
        let instant = Timestamp::from_microsecond(micros).map_err(|_| out())?;
        let date = self.zone.to_datetime(instant).date();
        if (1..=9998).contains(&date.year()) { Ok(Day(date)) } else { Err(out()) }
    }
}

/// An instant as `2024-02-29 18:15:00[.ffffff]` in UTC. Raises `22008` outside of the supported years. O(1).
pub fn utc_text(micros: i64) -> Result<String> {
    let out = || error::day_out_of_range(&format!("{micros} microseconds since 1970"));
    let instant = Timestamp::from_microsecond(micros).map_err(|_| out())?;
    let shown = TimeZone::UTC.to_datetime(instant);
    if !(1..=9999).contains(&shown.year()) {
        return Err(out());
    }
    let mut text = format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        shown.year(),
        shown.month(),
        shown.day(),
        shown.hour(),
        shown.minute(),
        shown.second()
    );
    let fraction = shown.subsec_nanosecond() / 1_000;
    if fraction != 0 {
        text.push_str(&format!(".{fraction:06}"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(text: &str) -> Day {
        Day(text.parse().unwrap())
    }

    #[test]
    fn limits_are_what_they_say() {
        assert_eq!(Day::from_unix_days(FIRST).unwrap().to_string(), "0001-01-01");
        assert_eq!(Day::from_unix_days(LAST).unwrap().to_string(), "9998-12-31");
        assert_eq!(Day::from_unix_days(FIRST - 1).unwrap_err().condition.sqlstate(), "22008");
        assert_eq!(Day::from_unix_days(LAST + 1).unwrap_err().condition.sqlstate(), "22008");
        assert_eq!(Day::from_unix_days(i32::MAX).unwrap_err().condition.sqlstate(), "22008");
    }

    #[test]
    fn leap_day() {
        let utc = Calendar::utc();
        let (from, to) = utc.range_of(day("2024-02-29")).unwrap();
        assert_eq!(to - from, 86_400_000_000);
        assert_eq!(day("2024-02-29").next().unwrap(), day("2024-03-01"));
        assert_eq!(day("2023-02-28").next().unwrap(), day("2023-03-01"));
        assert_eq!(day("2024-02-29").digits(), "20240229");
    }

    #[test]
    fn odd_days_of_zones() {
        let hours = |zone: &str, text: &str| {
            let (from, to) = Calendar::in_zone(zone).unwrap().range_of(day(text)).unwrap();
            (to - from) / 3_600_000_000
        };
        assert_eq!(hours("Europe/Berlin", "2024-03-31"), 23);
        assert_eq!(hours("Europe/Berlin", "2024-10-27"), 25);
        // These days have no midnight, or two of them.
        assert_eq!(hours("America/Sao_Paulo", "2018-11-04"), 23);
        assert_eq!(hours("America/Havana", "2023-11-05"), 25);
        let samoa = Calendar::in_zone("Pacific/Apia").unwrap();
        assert_eq!(samoa.range_of(day("2011-12-30")).unwrap_err().condition.sqlstate(), "22008");
        assert_eq!(samoa.range_of(day("2011-12-29")).unwrap().1, samoa.range_of(day("2011-12-31")).unwrap().0);
        assert_eq!(Calendar::in_zone("Mars/Olympus").unwrap_err().condition.sqlstate(), "22023");
    }

    proptest! {
        #[test]
        fn day_numbers_come_back(days in FIRST..=LAST) {
            prop_assert_eq!(Day::from_unix_days(days).unwrap().unix_days(), days);
        }

        #[test]
        fn days_tile_time(
            days in -40_000..40_000i32,
            zone in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/Havana", "Asia/Beirut",
                "Africa/Cairo", "Australia/Lord_Howe", "Asia/Tehran", "Pacific/Apia", "Pacific/Kiritimati",
            ]),
            part in 0.0..1.0f64,
        ) {
            let calendar = Calendar::in_zone(zone).unwrap();
            let one = Day::from_unix_days(days).unwrap();
            let (from, to) = (calendar.start_of(one).unwrap(), calendar.start_of(one.next().unwrap()).unwrap());
            prop_assert!(from <= to && to - from <= 26 * 3_600_000_000);
            if from < to {
                let inside = from + ((to - from - 1) as f64 * part) as i64;
                for instant in [from, inside, to - 1] {
                    prop_assert_eq!(calendar.day_at(instant).unwrap(), one);
                }
                prop_assert_ne!(calendar.day_at(from - 1).unwrap(), one);
                prop_assert_ne!(calendar.day_at(to).unwrap(), one);
            }
        }
    }
}
