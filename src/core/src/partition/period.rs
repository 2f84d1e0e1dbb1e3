//! Periods as a clock shows them: hours, days, weeks, months, and how one is told from another in a name.

use super::error;
use crate::error::Result;
use jiff::civil::{Date, DateTime};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// Monday 2000-01-03, from which days and hours are counted: seven days are an ISO week.
const MONDAY: i64 = 10_959 * DAY;

/// January 2000, from which months are counted: three of them are a quarter, twelve a year.
const JANUARY: i64 = 2_000 * 12;

/// 0001-01-01 and 9999-01-01: between them every time is written with four digits of a year.
const FIRST: i64 = -719_162 * DAY;
const END: i64 = 2_932_532 * DAY;

/// How long the periods of a calendar are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// This many hours, never a whole number of days.
    Hours(u32),
    /// This many days; multiples of seven begin on a Monday.
    Days(u32),
    /// This many months.
    Months(u32),
}

impl Length {
    /// The length that an interval of these parts names. Raises `22023` for one that mixes months with shorter parts,
    /// that is no whole number of hours, or that is not between an hour and a hundred years. O(1).
    pub fn from_interval(months: i32, days: i32, micros: i64) -> Result<Self> {
        let refused = || error::period_unsupported(months, days, micros);
        let hours = i64::from(days) * 24 + micros / HOUR;
        let length = match (u32::try_from(months), u32::try_from(hours)) {
            (Ok(n @ 1..=1_200), Ok(0)) if micros == 0 => Self::Months(n),
            (Ok(0), Ok(n @ 1..=876_600)) if micros % HOUR == 0 => {
                if n % 24 == 0 {
                    Self::Days(n / 24)
                } else {
                    Self::Hours(n)
                }
            }
            _ => return Err(refused()),
        };
        Ok(length)
    }

    /// Whether every period begins at midnight. O(1).
    #[must_use]
    pub const fn is_whole_days(self) -> bool {
        !matches!(self, Self::Hours(_))
    }

    /// The shown time at which the period of `shown` begins. Raises `22008` outside of the years 1 to 9998. O(1).
    pub fn start_of(self, shown: i64) -> Result<i64> {
        let start = match self {
            Self::Hours(n) => aligned(shown, i64::from(n) * HOUR),
            Self::Days(n) => aligned(shown, i64::from(n) * DAY),
            Self::Months(n) => {
                let date = date_time(shown)?;
                let month = i64::from(date.year()) * 12 + i64::from(date.month()) - 1 - JANUARY;
                start_of_month(JANUARY + month.div_euclid(i64::from(n)) * i64::from(n))?
            }
        };
        inside(start)
    }

    /// The shown time at which the period behind the one that begins at `start` begins. Errors as [`Self::start_of`]. O(1).
    pub fn after(self, start: i64) -> Result<i64> {
        let end = match self {
            Self::Hours(n) => start + i64::from(n) * HOUR,
            Self::Days(n) => start + i64::from(n) * DAY,
            Self::Months(n) => {
                let date = date_time(start)?;
                start_of_month(i64::from(date.year()) * 12 + i64::from(date.month()) - 1 + i64::from(n))?
            }
        };
        inside(end)
    }

    /// The digits that end the name of the partition that begins at `start`: `2024022913`, `20240229` or `202402`. No
    /// two periods of one length share them. Errors as [`Self::start_of`].
    pub fn digits(self, start: i64) -> Result<String> {
        let at = date_time(start)?;
        Ok(match self {
            Self::Hours(_) => format!("{:04}{:02}{:02}{:02}", at.year(), at.month(), at.day(), at.hour()),
            Self::Days(_) => format!("{:04}{:02}{:02}", at.year(), at.month(), at.day()),
            Self::Months(_) => format!("{:04}{:02}", at.year(), at.month()),
        })
    }

    /// The period that begins at `start` as messages call it: `2024-02-29 13:00`, `2024-02-29` or `2024-02`. Errors as [`Self::start_of`].
    pub fn label(self, start: i64) -> Result<String> {
        let at = date_time(start)?;
        Ok(match self {
            Self::Hours(_) => format!("{:04}-{:02}-{:02} {:02}:00", at.year(), at.month(), at.day(), at.hour()),
            Self::Days(_) => format!("{:04}-{:02}-{:02}", at.year(), at.month(), at.day()),
            Self::Months(_) => format!("{:04}-{:02}", at.year(), at.month()),
        })
    }
}

/// One period: what the clocks show at its ends, and when these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// What the clocks show at its beginning, in microseconds since 1970-01-01 00:00 as if it were UTC. This tells it
    /// from every other period of its calendar.
    pub shown_from: i64,
    /// What they show at its end.
    pub shown_to: i64,
    /// Its first instant, in microseconds since 1970-01-01 00:00 UTC.
    pub from: i64,
    /// The first instant after it; the same as `from` for a period that the clocks skip whole.
    pub to: i64,
    /// What ends the name of its partition.
    pub digits: String,
    /// What messages call it.
    pub label: String,
}

/// A time as `2024-02-29 18:15:00[.ffffff]`. Raises `22008` outside of the years 1 to 9999. O(1).
pub fn text(micros: i64) -> Result<String> {
    let at = date_time(micros)?;
    if !(1..=9999).contains(&at.year()) {
        return Err(error::time_out_of_range(micros));
    }
    let mut text = format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    let fraction = at.subsec_nanosecond() / 1_000;
    if fraction != 0 {
        text.push_str(&format!(".{fraction:06}"));
    }
    Ok(text)
}

fn aligned(shown: i64, unit: i64) -> i64 {
    shown.saturating_sub((shown.saturating_sub(MONDAY)).rem_euclid(unit))
}

fn inside(shown: i64) -> Result<i64> {
    if (FIRST..=END).contains(&shown) { Ok(shown) } else { Err(error::time_out_of_range(shown)) }
}

fn date_time(shown: i64) -> Result<DateTime> {
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    EPOCH.checked_add(jiff::SignedDuration::from_micros(shown)).map_err(|_| error::time_out_of_range(shown))
}

fn start_of_month(month: i64) -> Result<i64> {
    let out = || error::time_out_of_range(month.saturating_mul(30 * DAY));
    let year = i16::try_from(month.div_euclid(12)).map_err(|_| out())?;
    let first = Date::new(year, i8::try_from(month.rem_euclid(12) + 1).unwrap_or(1), 1).map_err(|_| out())?;
    let days = first.duration_since(Date::constant(1970, 1, 1));
    Ok(days.as_secs() * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> i64 {
        let at: DateTime = text.parse().unwrap();
        i64::try_from(at.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_micros()).unwrap()
    }

    fn range(length: Length, shown: &str) -> String {
        let start = length.start_of(at(shown)).unwrap();
        format!(
            "{} {} {}",
            text(start).unwrap(),
            text(length.after(start).unwrap()).unwrap(),
            length.digits(start).unwrap()
        )
    }

    #[test]
    fn lengths() {
        for (length, shown, expected) in [
            (Length::Days(1), "2024-02-29T23:59:59.999999", "2024-02-29 00:00:00 2024-03-01 00:00:00 20240229"),
            (Length::Days(1), "1969-12-31T12:00", "1969-12-31 00:00:00 1970-01-01 00:00:00 19691231"),
            // A week begins on Monday, whatever the year.
            (Length::Days(7), "2024-12-31T12:00", "2024-12-30 00:00:00 2025-01-06 00:00:00 20241230"),
            (Length::Days(7), "1999-12-31T12:00", "1999-12-27 00:00:00 2000-01-03 00:00:00 19991227"),
            (Length::Hours(1), "2024-02-29T23:59", "2024-02-29 23:00:00 2024-03-01 00:00:00 2024022923"),
            (Length::Hours(6), "2024-02-29T23:59", "2024-02-29 18:00:00 2024-03-01 00:00:00 2024022918"),
            (Length::Months(1), "2024-02-29T12:00", "2024-02-01 00:00:00 2024-03-01 00:00:00 202402"),
            (Length::Months(1), "1969-12-31T12:00", "1969-12-01 00:00:00 1970-01-01 00:00:00 196912"),
            (Length::Months(3), "2024-06-30T12:00", "2024-04-01 00:00:00 2024-07-01 00:00:00 202404"),
            (Length::Months(12), "1995-06-30T12:00", "1995-01-01 00:00:00 1996-01-01 00:00:00 199501"),
        ] {
            assert_eq!(range(length, shown), expected, "{length:?} {shown}");
        }
    }

    #[test]
    fn intervals() {
        let length = Length::from_interval;
        assert_eq!(length(0, 0, HOUR).unwrap(), Length::Hours(1));
        assert_eq!(length(0, 1, 0).unwrap(), Length::Days(1));
        assert_eq!(length(0, 0, 48 * HOUR).unwrap(), Length::Days(2));
        assert_eq!(length(0, 1, 12 * HOUR).unwrap(), Length::Hours(36));
        assert_eq!(length(14, 0, 0).unwrap(), Length::Months(14));
        for (months, days, micros) in [
            (0, 0, 0),
            (0, 0, HOUR / 2),
            (0, 0, HOUR + 1),
            (1, 1, 0),
            (1, 0, 1),
            (-1, 0, 0),
            (0, -1, 0),
            (0, 1, -HOUR * 25),
            (1_201, 0, 0),
            (0, 36_526, 0),
            (i32::MAX, i32::MAX, i64::MAX),
            (i32::MIN, i32::MIN, i64::MIN),
        ] {
            let refused = length(months, days, micros).unwrap_err();
            assert_eq!(refused.condition.sqlstate(), "22023", "{months} {days} {micros}");
        }
    }

    #[test]
    fn limits() {
        for length in [Length::Hours(1), Length::Days(1), Length::Months(1)] {
            assert_eq!(length.start_of(FIRST).unwrap(), FIRST);
            assert_eq!(length.after(length.start_of(END - 1).unwrap()).unwrap(), END);
            for shown in [i64::MIN, FIRST - 1, END + DAY * 31, i64::MAX] {
                assert_eq!(length.start_of(shown).unwrap_err().condition.sqlstate(), "22008", "{length:?} {shown}");
            }
            assert_eq!(length.after(length.start_of(END).unwrap()).unwrap_err().condition.sqlstate(), "22008");
        }
    }

    pub fn any_length() -> impl Strategy<Value = Length> {
        prop_oneof![
            (1..100u32).prop_filter("days", |n| n % 24 != 0).prop_map(Length::Hours),
            (1..100u32).prop_map(Length::Days),
            (1..40u32).prop_map(Length::Months),
        ]
    }

    proptest! {
        #[test]
        fn periods_tile_what_is_shown(length in any_length(), shown in (FIRST + 1_300 * 31 * DAY)..(END - 1_300 * 31 * DAY)) {
            let start = length.start_of(shown).unwrap();
            let end = length.after(start).unwrap();
            prop_assert!(start <= shown && shown < end);
            prop_assert_eq!(length.start_of(start).unwrap(), start);
            prop_assert_eq!(length.start_of(end - 1).unwrap(), start);
            prop_assert_eq!(length.start_of(end).unwrap(), end);
            prop_assert!(length.digits(start).unwrap() < length.digits(end).unwrap());
        }
    }
}
