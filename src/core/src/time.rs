//! The time of an event: ISO 8601 text or a number since the epoch, read into 64-bit microseconds.

use jiff::fmt::temporal::Pieces;

use crate::error::{Condition, Error, Result, quoted};
use crate::value::Value;

/// Microseconds since 1970-01-01 00:00 UTC.
pub type Micros = i64;

/// From the first microsecond of `timestamptz` (4713 BC) to the last that 64 bits count from 1970 (294247 AD).
pub const RANGE: std::ops::Range<Micros> = -210_866_803_200_000_000..Micros::MAX;

/// From 1970-01-01 to 2000-01-01, where `timestamptz` counts from.
const EPOCH_SHIFT: Micros = 946_684_800_000_000;

/// The time of a `timestamptz`; its infinities become the ends of the range of 64 bits.
#[must_use]
pub const fn from_timestamptz(time: i64) -> Micros {
    if time == i64::MIN { Micros::MIN } else { time.saturating_add(EPOCH_SHIFT) }
}

/// The `timestamptz` of a time within [`RANGE`].
#[must_use]
pub const fn to_timestamptz(time: Micros) -> i64 {
    time - EPOCH_SHIFT
}

/// The last date that was read: most events happen on the day of the event before.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    date: [u8; 10],
    days: i64,
}

/// Reads the time of an event.
///
/// Takes ISO 8601 text (`T` or a blank between date and time, no zone means UTC) or a number since the epoch,
/// decimals allowed, by magnitude seconds (< 1e11), milliseconds (< 1e14) or microseconds; a text of digits is a
/// number. Digits beyond microseconds are rounded half up. Gives `None` for an absent or NULL value.
/// O(length), no allocation on the usual forms.
/// Errors: `22007` for what is no time, `22008` for one outside of `timestamptz`.
#[inline]
pub fn of_value(value: &Value<'_>, clock: &mut Clock) -> Result<Option<Micros>> {
    match value {
        Value::Absent | Value::Null => Ok(None),
        Value::Text(text) => match usual(text, clock) {
            Some(time) => Ok(Some(time)),
            None => of_text(text).map(Some),
        },
        Value::Number(number) => {
            let at_micro = number.scaled(6).ok_or_else(|| out_of_range(&written(value)))?;
            by_magnitude(at_micro, |places| number.scaled(places))
                .ok_or_else(|| out_of_range(&written(value)))
                .map(Some)
        }
        Value::Bool(_) | Value::Document(_) => Err(no_time(&written(value))),
    }
}

/// Reads a time from text, by the rules of [`of_value`].
pub fn of_text(text: &[u8]) -> Result<Micros> {
    if let Some(time) = usual(text, &mut Clock::default()) {
        return Ok(time);
    }
    if let Some(number) = decimal(text) {
        return number.ok_or_else(|| out_of_range(text));
    }
    uncommon(text).ok_or_else(|| no_time(text))
}

fn written(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match value.text(&mut out) {
        Ok(Some(text)) => text.to_vec(),
        _ => Vec::new(),
    }
}

fn no_time(text: &[u8]) -> Error {
    Error::new(Condition::InvalidDatetimeFormat, format!("invalid event time: {}", quoted(text)))
        .detail("A time is ISO 8601 text such as 2024-01-31T23:59:59.5Z, or a number of seconds, milliseconds or microseconds since 1970.")
        .hint("Correct the event, or name the key that holds its time with time_key => '…'.")
}

fn out_of_range(text: &[u8]) -> Error {
    Error::new(Condition::DatetimeFieldOverflow, format!("event time out of range: {}", quoted(text)))
        .detail("A time lies between 4713 BC and 294247 AD.")
        .hint("Correct the event, or name the key that holds its time with time_key => '…'.")
}

/// Microseconds from a number whose unit follows from its size: `at_micro` is the number times 10^6.
fn by_magnitude(at_micro: i128, scaled: impl Fn(u32) -> Option<i128>) -> Option<Micros> {
    const SECONDS: i128 = 100_000_000_000 * 1_000_000;
    const MILLISECONDS: i128 = 100_000_000_000_000 * 1_000_000;
    let micros = match at_micro.abs() {
        size if size < SECONDS => at_micro,
        size if size < MILLISECONDS => scaled(3)?,
        _ => scaled(0)?,
    };
    i64::try_from(micros).ok().filter(|time| RANGE.contains(time))
}

/// A text that is a decimal number: its time, or `Some(None)` when out of range; `None` when it is no number.
fn decimal(text: &[u8]) -> Option<Option<Micros>> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let point = digits.iter().position(|c| *c == b'.').unwrap_or(digits.len());
    let whole = &digits[..point];
    let fraction = digits.get(point + 1..).unwrap_or_default();
    if whole.is_empty() || (point < digits.len() && fraction.is_empty()) {
        return None;
    }
    if !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let scaled = |places: u32| -> Option<i128> {
        let mut value: i128 = 0;
        for c in whole {
            value = value.checked_mul(10)?.checked_add(i128::from(c - b'0'))?;
        }
        for place in 0..places as usize {
            value = value.checked_mul(10)?.checked_add(i128::from(fraction.get(place).map_or(0, |c| c - b'0')))?;
        }
        value += i128::from(fraction.get(places as usize).is_some_and(|c| *c >= b'5'));
        Some(if negative { -value } else { value })
    };
    Some(scaled(6).and_then(|at_micro| by_magnitude(at_micro, scaled)))
}

/// The form nearly every event has: `YYYY-MM-DD[T ]HH:MM:SS[.fraction][Z|±HH[[:]MM]]`. `None` for any other,
/// which is not yet an error. A library reads the rest; this exists because it is the inner loop of every scan.
#[inline]
fn usual(text: &[u8], clock: &mut Clock) -> Option<Micros> {
    let (head, mut rest) = text.split_at_checked(19)?;
    if head[4] != b'-' || head[7] != b'-' || !matches!(head[10], b'T' | b' ') || head[13] != b':' || head[16] != b':' {
        return None;
    }
    let two = |at: usize| -> Option<i64> {
        let (a, b) = (head[at].wrapping_sub(b'0'), head[at + 1].wrapping_sub(b'0'));
        (a < 10 && b < 10).then(|| i64::from(a) * 10 + i64::from(b))
    };
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if head[..10] != clock.date {
        let year = two(0)? * 100 + two(2)?;
        let (month, day) = (two(5)?, two(8)?);
        if !(1..=12).contains(&month) || day < 1 || day > 28 && day > days_in_month(year, month) {
            return None;
        }
        clock.date.copy_from_slice(&head[..10]);
        clock.days = days_since_epoch(year, month, day);
    }
    let mut micros = ((clock.days * 24 + hour) * 60 + minute) * 60 + second;
    micros *= 1_000_000;
    if let [b'.', digits @ ..] = rest {
        let count = digits.iter().take_while(|c| c.is_ascii_digit()).count();
        if count == 0 {
            return None;
        }
        let mut unit = 100_000;
        for c in &digits[..count.min(6)] {
            micros += i64::from(c - b'0') * unit;
            unit /= 10;
        }
        micros += i64::from(count > 6 && digits[6] >= b'5');
        rest = &digits[count..];
    }
    let offset = match rest {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), a, b, minutes @ ..] => {
            let digit = |c: &u8| c.is_ascii_digit().then(|| i64::from(c - b'0'));
            let hours = digit(a)? * 10 + digit(b)?;
            let minutes = match minutes {
                [] => 0,
                [b':', c, d] | [c, d] => digit(c)? * 10 + digit(d)?,
                _ => return None,
            };
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = (hours * 60 + minutes) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    Some(micros - offset * 1_000_000)
}

/// Any other ISO 8601 form, by the library.
fn uncommon(text: &[u8]) -> Option<Micros> {
    let pieces = Pieces::parse(text).ok()?;
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    let civil = pieces.date().to_datetime(pieces.time().unwrap_or_default());
    let offset = pieces.to_numeric_offset().map_or(0, |offset| i64::from(offset.seconds()));
    let days = days_since_epoch(civil.year().into(), civil.month().into(), civil.day().into());
    let seconds = ((days * 24 + i64::from(civil.hour())) * 60 + i64::from(civil.minute())) * 60
        + i64::from(civil.second())
        - offset;
    let nanos = i64::from(civil.subsec_nanosecond());
    let time = seconds.checked_mul(1_000_000)?.checked_add((nanos + 500) / 1000)?;
    RANGE.contains(&time).then_some(time)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar.
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Micros {
        of_text(text.as_bytes()).unwrap()
    }

    #[test]
    fn documented_forms() {
        let noon = 1_706_702_400_000_000;
        for text in [
            "2024-01-31T12:00:00Z",
            "2024-01-31 12:00:00",
            "2024-01-31T12:00:00",
            "2024-01-31 14:00:00+02",
            "2024-01-31T14:00:00+02:00",
            "2024-01-31T06:30:00-0530",
            "2024-01-31T12:00",
            "20240131T120000Z",
            "1706702400",
            "1706702400000",
            "1706702400000000",
            "1706702400.0",
        ] {
            assert_eq!(at(text), noon, "{text}");
        }
        assert_eq!(at("2024-01-31"), noon - 12 * 3_600_000_000);
        assert_eq!(at("1706702400.5"), noon + 500_000);
        assert_eq!(at("1706702400123.4567"), noon + 123_457);
        assert_eq!(at("2024-01-31T12:00:00.1234567Z"), noon + 123_457);
        assert_eq!(at("-1.5"), -1_500_000);
        assert_eq!(at("99999999999"), 99_999_999_999_000_000);
        assert_eq!(at("100000000000"), 100_000_000_000_000);
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        for text in [
            "",
            " ",
            "yesterday",
            "infinity",
            "2024-13-01T00:00:00",
            "2023-02-29T00:00:00Z",
            "2024-01-31T25:00:00",
            "1.",
            ".5",
            "1e9",
            "2024-01-31T12:00:00[Europe/Paris]",
            "2024-01-31T12:00:00+99",
            "31.01.2024",
            "NaN",
            "\u{e9}",
        ] {
            assert_eq!(of_text(text.as_bytes()).unwrap_err().condition, Condition::InvalidDatetimeFormat, "{text}");
        }
        for text in ["99999999999999999999", "-9223372036854775808", "9223372036854775807"] {
            assert_eq!(of_text(text.as_bytes()).unwrap_err().condition, Condition::DatetimeFieldOverflow, "{text}");
        }
        assert_eq!(
            of_value(&Value::Bool(true), &mut Clock::default()).unwrap_err().condition,
            Condition::InvalidDatetimeFormat
        );
    }

    proptest! {
        #[test]
        fn a_clock_that_has_seen_other_times_reads_the_same(texts in prop::collection::vec("20[0-2][0-9]-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-5][0-9]Z?", 1..6)) {
            let mut clock = Clock::default();
            for text in &texts {
                prop_assert_eq!(of_value(&Value::Text(text.as_bytes()), &mut clock).ok().flatten(), of_text(text.as_bytes()).ok());
            }
        }

        #[test]
        fn agrees_with_the_library(micros in -60_000_000_000_000_000i64..250_000_000_000_000_000, offset in -18i8..18, style in 0..4) {
            let time = jiff::Timestamp::from_microsecond(micros).unwrap();
            let zoned = jiff::tz::Offset::constant(offset).to_datetime(time);
            let text = match style {
                0 => time.to_string(),
                1 => time.to_string().replace('T', " "),
                2 => format!("{zoned}{offset:+03}"),
                _ => format!("{zoned}{offset:+03}:00"),
            };
            prop_assert_eq!(of_text(text.as_bytes()), Ok(micros), "{}", text);
        }

        #[test]
        fn any_bytes_give_a_time_or_an_error(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = of_text(&text);
        }

        #[test]
        fn near_misses_give_what_the_library_gives(text in "[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z") {
            let expected = text.parse::<jiff::Timestamp>().ok().map(|t| {
                (t.as_nanosecond() + 500).div_euclid(1000)
            });
            prop_assert_eq!(of_text(text.as_bytes()).ok().map(i128::from), expected, "{}", text);
        }
    }
}
