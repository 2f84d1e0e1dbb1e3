//! Durations in exact microseconds: a conversion window has no months.

use jiff::Span;

use crate::error::{Condition, Error, Result, quoted};
use crate::time::Micros;

const DAY: Micros = 86_400_000_000;

/// A duration from the parts of an SQL `interval`. A day is 86,400 seconds.
/// Errors: `22023` naming the argument, for months and for a duration below zero or beyond 64 bits.
pub fn of_interval(argument: &str, months: i32, days: i32, micros: i64) -> Result<Micros> {
    if months != 0 {
        return Err(with_months(argument, &format!("months: {months}")));
    }
    let total = i64::from(days).checked_mul(DAY).and_then(|days| days.checked_add(micros));
    not_negative(argument, total)
}

/// A duration from text such as `6 hours`, `1 day 02:30:00` or `PT6H`. Errors: as [`of_interval`], and for other text.
pub fn of_text(argument: &str, text: &str) -> Result<Micros> {
    let (text, of_days) = as_jiff_reads_it(text);
    let text = text.as_str();
    let span: Span =
        if text.is_empty() && of_days.is_some() { Ok(Span::new()) } else { text.parse() }.map_err(|_| {
            Error::new(
                Condition::InvalidParameterValue,
                format!("invalid duration for \"{argument}\": {}", quoted(text.as_bytes())),
            )
            .detail("A duration is a number of weeks, days, hours, minutes, seconds or milliseconds.")
            .hint(format!("Write \"{argument}\": \"6 hours\" or \"{argument}\": \"14 days\"."))
        })?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(with_months(argument, &format!("months or years: {}", quoted(text.trim().as_bytes()))));
    }
    let total = i64::from(span.get_weeks())
        .checked_mul(7)
        .and_then(|days| days.checked_add(i64::from(span.get_days())))
        .and_then(|days| days.checked_mul(DAY))
        .and_then(|total| total.checked_add(i64::from(span.get_hours()).checked_mul(3_600_000_000)?))
        .and_then(|total| total.checked_add(span.get_minutes().checked_mul(60_000_000)?))
        .and_then(|total| total.checked_add(span.get_seconds().checked_mul(1_000_000)?))
        .and_then(|total| total.checked_add(span.get_milliseconds().checked_mul(1_000)?))
        .and_then(|total| total.checked_add(span.get_microseconds()))
        .and_then(|total| total.checked_add(span.get_nanoseconds() / 1_000))
        .and_then(|total| total.checked_add(of_days.unwrap_or(0)));
    not_negative(argument, total)
}

/// The text without what the server's intervals have and the parser does not know: the `@` before them, `mon` for a month,
/// and fractions of days and weeks, which are given in microseconds.
fn as_jiff_reads_it(text: &str) -> (String, Option<Micros>) {
    let mut words = text.trim().trim_start_matches('@').split_whitespace().peekable();
    let (mut rest, mut fractions) = (Vec::new(), None);
    while let Some(word) = words.next() {
        let unit = match words.peek() {
            Some(&("day" | "days" | "d")) => Some(DAY),
            Some(&("week" | "weeks" | "w")) => Some(7 * DAY),
            _ => None,
        };
        match unit.and_then(|unit| fraction_of(word, unit)) {
            Some(micros) => {
                words.next();
                fractions = Some(micros.saturating_add(fractions.unwrap_or(0)));
            }
            None => rest.push(match word {
                "mon" | "mons" => "months",
                word => word,
            }),
        }
    }
    (rest.join(" "), fractions)
}

/// So much of a unit, for a number with a decimal point.
fn fraction_of(number: &str, unit: Micros) -> Option<Micros> {
    let (whole, decimals) = number.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return None;
    }
    let scale = 10_i128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let number: i128 = format!("{whole}{decimals}").parse().ok()?;
    Micros::try_from(number.checked_mul(i128::from(unit))? / scale).ok()
}

fn not_negative(argument: &str, total: Option<Micros>) -> Result<Micros> {
    total.filter(|total| *total >= 0).ok_or_else(|| {
        Error::new(Condition::InvalidParameterValue, format!("\"{argument}\" is out of range"))
            .detail("A duration is zero or more, and below 292,000 years.")
            .hint("Leave it out for no limit.")
    })
}

fn with_months(argument: &str, given: &str) -> Error {
    Error::new(Condition::InvalidParameterValue, format!("\"{argument}\" must not have months or years"))
        .detail(format!("It has {given}; a duration is exact seconds, and months differ in length."))
        .hint("Use days, for example '30 days'.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact_seconds() {
        assert_eq!(of_interval("window", 0, 14, 5), Ok(14 * DAY + 5));
        assert_eq!(of_text("window", "6 hours"), Ok(6 * 3_600_000_000));
        assert_eq!(of_text("window", "1 day 02:30:00"), Ok(DAY + 9_000_000_000));
        assert_eq!(of_text("window", "2 weeks"), Ok(14 * DAY));
        assert_eq!(of_text("window", "PT1M30S"), Ok(90_000_000));
        assert_eq!(of_text("window", "0 seconds"), Ok(0));
        assert_eq!(of_text("window", "250 ms"), Ok(250_000));
        assert_eq!(of_text("window", "1.5 days"), Ok(DAY + DAY / 2));
        assert_eq!(of_text("window", "0.5 weeks 1 hour"), Ok(7 * DAY / 2 + 3_600_000_000));
        assert_eq!(of_text("window", "@ 6 hours"), Ok(6 * 3_600_000_000));
    }

    #[test]
    fn what_is_no_exact_duration_is_refused() {
        assert!(of_text("window", "1 mon").unwrap_err().message.contains("months or years"));
        for text in ["1 month", "1 year", "-1 hour", "soon", "", "6", "-1.5 days", "1..5 days", "@"] {
            assert_eq!(of_text("window", text).unwrap_err().condition, Condition::InvalidParameterValue, "{text}");
        }
        assert!(of_interval("window", 1, 0, 0).is_err());
        assert!(of_interval("window", 0, -1, 0).is_err());
        assert!(of_interval("window", 0, i32::MAX, i64::MAX).is_err());
    }
}
