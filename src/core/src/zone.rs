//! Calendar periods in a named time zone: which period a time lies in, and when a period begins. Never the session's zone.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::error::{Condition, Error, Result, quoted};
use crate::time::Micros;

const DAY: Micros = 86_400_000_000;

/// The day that day numbers are counted from.
const EPOCH: Date = Date::constant(1970, 1, 1);

/// Monday 2000-01-03 as a day number: a period of days begins so many days before or after it.
const MONDAY: i32 = 10_959;

/// Months from year 0 to January 2000: a period of months begins so many months before or after it.
const JANUARY: i32 = 2000 * 12;

/// Days from 0001-01-01 to 9998-12-31, from the epoch.
const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_531;

/// The longest period: a hundred years.
const MOST_MONTHS: i32 = 1_200;
const MOST_DAYS: i32 = 36_600;

/// The length of a period: so many calendar months, or so many calendar days (a week is seven).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Calendar months; a quarter is three, a year twelve.
    Months(i32),
    /// Calendar days.
    Days(i32),
}

impl Period {
    /// A period from the parts of an SQL `interval`.
    /// Errors: `22023` naming the argument, for anything but a whole number of months or a whole number of days, up to a
    /// hundred years.
    pub fn of_interval(argument: &str, months: i32, days: i32, micros: i64) -> Result<Self> {
        let of_micros = (micros % DAY == 0).then(|| i32::try_from(micros / DAY).ok()).flatten();
        let days = of_micros.and_then(|more| days.checked_add(more));
        match (months, days) {
            (1..=MOST_MONTHS, Some(0)) => Ok(Self::Months(months)),
            (0, Some(days @ 1..=MOST_DAYS)) => Ok(Self::Days(days)),
            _ => Err(Error::new(Condition::InvalidParameterValue, format!("argument \"{argument}\" is no calendar period"))
                .detail("A period is a whole number of days, weeks, months or years, up to a hundred years; months and days do not go together.")
                .hint(format!("Write {argument} as '1 day', '1 week', '2 weeks' or '1 month'."))),
        }
    }

    /// A period from text such as `1 week` or `P1M`. Errors: as [`Self::of_interval`], and for other text.
    pub fn of_text(argument: &str, text: &str) -> Result<Self> {
        let parts = text.trim().parse::<Span>().ok().and_then(|span| {
            let days_only = Span::new()
                .years(span.get_years())
                .months(span.get_months())
                .weeks(span.get_weeks())
                .days(span.get_days());
            let months = i32::from(span.get_years()).checked_mul(12)?.checked_add(span.get_months())?;
            (span.fieldwise() == days_only.fieldwise())
                .then_some((months, span.get_weeks().checked_mul(7)?.checked_add(span.get_days())?))
        });
        let (months, days) = parts.unwrap_or((0, 0));
        Self::of_interval(argument, months, days, 0)
    }

    /// The number of the period that a day lies in.
    fn number(self, day: i32) -> Result<i32> {
        match self {
            Self::Days(days) => Ok((day - MONDAY).div_euclid(days)),
            Self::Months(months) => {
                let date = Span::new().try_days(day).and_then(|days| EPOCH.checked_add(days));
                let date = date.map_err(|_| outside(&format!("day {day}")))?;
                Ok((i32::from(date.year()) * 12 + i32::from(date.month()) - 1 - JANUARY).div_euclid(months))
            }
        }
    }

    /// The first day of a period.
    fn first_day(self, number: i32) -> Result<i32> {
        let out = || outside(&format!("period {number}"));
        match self {
            Self::Days(days) => {
                let day = i64::from(number) * i64::from(days) + i64::from(MONDAY);
                i32::try_from(day).map_err(|_| out())
            }
            Self::Months(months) => {
                let month = i64::from(number) * i64::from(months) + i64::from(JANUARY);
                let (year, month) = (i16::try_from(month.div_euclid(12)), i8::try_from(month.rem_euclid(12) + 1));
                let date = Date::new(year.map_err(|_| out())?, month.map_err(|_| out())?, 1).map_err(|_| out())?;
                Ok(day_of(date))
            }
        }
    }
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Months(months) => write!(f, "P{months}M"),
            Self::Days(days) => write!(f, "P{days}D"),
        }
    }
}

/// The number of a day.
fn day_of(date: Date) -> i32 {
    let midnight = TimeZone::UTC.to_timestamp(date.to_datetime(Time::midnight()));
    midnight.map_or(0, |at| i32::try_from(at.as_second().div_euclid(86_400)).unwrap_or(0))
}

#[cold]
fn outside(found: &str) -> Error {
    Error::new(Condition::DatetimeFieldOverflow, format!("time outside of the calendar: {found}"))
        .detail("Calendar periods are known for the years 1 to 9998.")
        .hint("Leave such events out, with slice_events(events, '2000-01-01', '2100-01-01') for example.")
}

/// The periods of one length in one time zone.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    name: String,
    period: Period,
    /// Times with one offset to UTC, the last that was asked for: from, before, offset.
    offset: (Micros, Micros, Micros),
    /// Days of one period, the last that was asked for: from, before, number.
    span: (i32, i32, i32),
}

impl Calendar {
    /// The periods of a zone of the IANA database. Errors: `22023` for a name that it does not have.
    pub fn new(period: Period, zone: &str) -> Result<Self> {
        let found = TimeZone::get(zone).map_err(|_| {
            Error::new(Condition::InvalidParameterValue, format!("time zone {} is not known", quoted(zone.as_bytes())))
                .detail("Zones have the names of the IANA database.")
                .hint("See the names with: SELECT name FROM pg_timezone_names.")
        })?;
        // Spellings of one name are one zone.
        let name = found.iana_name().unwrap_or(zone).to_owned();
        Ok(Self { zone: found, name, period, offset: (0, 0, 0), span: (0, 0, 0) })
    }

    /// The zone's name.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.name
    }

    /// The length of a period.
    #[must_use]
    pub const fn period(&self) -> Period {
        self.period
    }

    /// The number of the period that a time lies in, by the date that the zone's clocks show then. Neighbours have
    /// neighbouring numbers. O(1) when the zone's offset is that of the call before, else O(log transitions).
    /// Errors: `22008` outside of the years 1 to 9998.
    #[inline]
    pub fn number(&mut self, time: Micros) -> Result<i32> {
        if !(self.offset.0..self.offset.1).contains(&time) {
            self.move_to(time)?;
        }
        let day = (time + self.offset.2).div_euclid(DAY);
        if i64::from(self.span.0) <= day && day < i64::from(self.span.1) {
            return Ok(self.span.2);
        }
        self.number_of_day(day)
    }

    #[cold]
    fn move_to(&mut self, time: Micros) -> Result<()> {
        let out = || outside(&format!("{time} microseconds since 1970"));
        let at = Timestamp::from_microsecond(time).map_err(|_| out())?;
        let after = at.checked_add(Span::new().nanoseconds(1)).map_err(|_| out())?;
        let transition =
            |found: Option<jiff::tz::TimeZoneTransition<'_>>| found.map(|at| at.timestamp().as_microsecond());
        self.offset = (
            transition(self.zone.preceding(after).next()).unwrap_or(time).min(time),
            transition(self.zone.following(at).next()).unwrap_or_else(|| Timestamp::MAX.as_microsecond()),
            i64::from(self.zone.to_offset(at).seconds()) * 1_000_000,
        );
        Ok(())
    }

    fn number_of_day(&mut self, day: i64) -> Result<i32> {
        let out = || outside(&format!("day {day} since 1970"));
        let day = i32::try_from(day).ok().filter(|day| DAYS.contains(day)).ok_or_else(out)?;
        let number = self.period.number(day)?;
        self.span = (self.period.first_day(number)?, self.period.first_day(number + 1).unwrap_or(i32::MAX), number);
        Ok(number)
    }

    /// When a period begins: the first instant of its first day. A midnight that the clocks skip gives the instant after
    /// the gap, one that they show twice the first of the two. Errors: `22008`.
    pub fn start(&self, number: i32) -> Result<Micros> {
        let out = || outside(&format!("period {number}"));
        let midnight = self.first_date(number)?.to_datetime(Time::midnight());
        self.zone.to_timestamp(midnight).map(Timestamp::as_microsecond).map_err(|_| out())
    }

    /// The date that a period begins with. Errors: `22008`.
    fn first_date(&self, number: i32) -> Result<Date> {
        let day = self.period.first_day(number)?;
        let days = Span::new().try_days(day).and_then(|days| EPOCH.checked_add(days));
        days.map_err(|_| outside(&format!("period {number}")))
    }

    /// The first date of a period as `2024-02-29`. Errors: `22008`.
    pub fn label(&self, number: i32) -> Result<String> {
        self.first_date(number).map(|date| date.to_string())
    }

    /// The number of the period that begins with this date; `None` when none does.
    #[must_use]
    pub fn number_of_label(&self, label: &str) -> Option<i32> {
        let day = day_of(label.parse::<Date>().ok()?);
        let number = self.period.number(day).ok()?;
        (self.period.first_day(number).ok()? == day && self.label(number).ok()? == label).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZONES: [&str; 9] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",
        "America/Havana",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
    ];

    fn calendar(period: Period, zone: &str) -> Calendar {
        Calendar::new(period, zone).unwrap()
    }

    /// The date that the zone's clocks show, by the library, and the period's first date by walking back from it.
    fn oracle(time: Micros, period: Period, zone: &str) -> Date {
        let mut date = Timestamp::from_microsecond(time).unwrap().to_zoned(TimeZone::get(zone).unwrap()).date();
        let begins = |date: Date| match period {
            Period::Days(days) => Date::constant(2000, 1, 3).until(date).unwrap().get_days().rem_euclid(days) == 0,
            Period::Months(months) => {
                date.day() == 1
                    && ((i32::from(date.year()) - 2000) * 12 + i32::from(date.month()) - 1).rem_euclid(months) == 0
            }
        };
        while !begins(date) {
            date = date.yesterday().unwrap();
        }
        date
    }

    proptest! {
        #[test]
        fn a_time_lies_in_the_period_that_a_walk_back_finds(
            times in prop::collection::vec(-4_000_000_000_000_000i64..8_000_000_000_000_000, 1..20),
            zone in prop::sample::select(ZONES.to_vec()),
            period in prop_oneof![(1i32..40).prop_map(Period::Days), (1i32..14).prop_map(Period::Months)],
        ) {
            // One calendar for all times: what it remembers must not change the answers.
            let mut one = calendar(period, zone);
            for time in times {
                let number = one.number(time).unwrap();
                prop_assert_eq!(number, calendar(period, zone).number(time).unwrap());
                prop_assert_eq!(one.label(number).unwrap(), oracle(time, period, zone).to_string());
                prop_assert_eq!(one.number_of_label(&one.label(number).unwrap()), Some(number));
            }
        }

        #[test]
        fn periods_begin_where_the_number_changes(
            number in -300i32..300, zone in prop::sample::select(ZONES.to_vec()),
            period in prop::sample::select(vec![Period::Days(1), Period::Days(7), Period::Months(1), Period::Months(3)]),
        ) {
            // St. John's had days whose first minute the clocks showed twice, with an hour of the day before between.
            prop_assume!(zone != "America/St_Johns");
            let mut calendar = calendar(period, zone);
            let start = calendar.start(number).unwrap();
            if calendar.start(number + 1).unwrap() > start {
                prop_assert_eq!(calendar.number(start).unwrap(), number);
                prop_assert!(calendar.number(start - 1).unwrap() < number);
            }
        }
    }

    #[test]
    fn weeks_begin_on_monday_and_odd_days_are_one_day() {
        let mut weeks = calendar(Period::Days(7), "UTC");
        let number = weeks.number(crate::time::of_text(b"2024-02-04T23:59:59Z").unwrap()).unwrap();
        assert_eq!(weeks.label(number).unwrap(), "2024-01-29");
        assert_eq!(weeks.label(number + 1).unwrap(), "2024-02-05");
        let days = calendar(Period::Days(1), "Europe/Berlin");
        for (date, hours) in [("2024-03-31", 23), ("2024-10-27", 25), ("2024-10-28", 24)] {
            let number = days.number_of_label(date).unwrap();
            assert_eq!(days.start(number + 1).unwrap() - days.start(number).unwrap(), hours * 3_600_000_000, "{date}");
        }
    }

    #[test]
    fn what_is_no_calendar_period_is_refused() {
        for (months, days, micros) in [
            (0, 0, 0),
            (1, 1, 0),
            (0, -1, 0),
            (-1, 0, 0),
            (0, 0, 3_600_000_000),
            (0, 36_601, 0),
            (i32::MAX, i32::MAX, i64::MAX),
        ] {
            let error = Period::of_interval("period", months, days, micros).unwrap_err();
            assert_eq!(error.condition, Condition::InvalidParameterValue, "{months} {days} {micros}");
        }
        assert_eq!(Period::of_interval("period", 0, 0, DAY), Ok(Period::Days(1)));
        for (text, period) in [
            ("1 week", Period::Days(7)),
            ("P1M", Period::Months(1)),
            ("1 year", Period::Months(12)),
            ("2 weeks 1 day", Period::Days(15)),
        ] {
            assert_eq!(Period::of_text("period", text), Ok(period), "{text}");
        }
        for text in ["", "soon", "1 hour", "1 month 1 day", "-1 day", "1 day 1 hour"] {
            assert!(Period::of_text("period", text).is_err(), "{text}");
        }
        for period in [Period::Days(7), Period::Months(3)] {
            assert_eq!(Period::of_text("period", &period.to_string()), Ok(period));
        }
        assert!(Calendar::new(Period::Days(1), "Mars/Olympus").is_err());
        for time in [i64::MIN, i64::MAX, crate::time::RANGE.start, -62_200_000_000_000_000] {
            assert_eq!(
                calendar(Period::Days(7), "UTC").number(time).unwrap_err().condition,
                Condition::DatetimeFieldOverflow
            );
        }
    }
}
