//! A funnel as text bars, for psql.

use super::summary::Summary;
use super::table::{Row, rows};
use crate::time::Micros;

/// Eighths of a character cell, from one to seven.
const PARTS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// The chart: for each step its label, a bar, the users, shares, and the median time from the step before.
/// `width` is the length of the longest bar in characters. O(steps · width).
#[must_use]
pub fn text(summary: &Summary, width: usize) -> String {
    let rows = rows(summary);
    let labels = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
    let users = rows.iter().map(|row| row.users.to_string().len()).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let bar = bar(row.share_of_first.unwrap_or(0.0), width);
            let mut line = format!("{}. {:<labels$}  {bar:<width$}  {:>users$}", row.step, row.label, row.users);
            line.push_str(&figures(row));
            line.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

fn figures(row: &Row) -> String {
    let percent = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let mut figures = format!("  {:>7}", percent(row.share_of_first));
    if let Some(share) = row.share_of_previous {
        figures.push_str(&format!("  {:>7} of previous", percent(Some(share))));
        match row.drop_off {
            Some(drop_off) => figures.push_str(&format!(", {drop_off} lost")),
            None => figures.push_str(", optional"),
        }
    }
    if let Some(took) = row.from_previous {
        figures.push_str(&format!(", median {}", duration(took.median)));
    }
    figures
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a small width"
)]
pub(super) fn bar(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).and_then(|part| PARTS.get(part)));
    bar
}

/// A duration for people: its two largest units.
#[expect(clippy::cast_possible_truncation, reason = "a mean of durations is below 64 bits")]
fn duration(micros: f64) -> String {
    let seconds = micros.round() as Micros / 1_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds == 0 => format!("{} ms", micros.round() as Micros / 1_000),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::funnel::summary::{add_user, empty};

    #[test]
    fn a_chart_of_three_steps() {
        let mut bytes = empty(7, [("visit", false), ("sign up", false), ("pay", false)].into_iter());
        for times in [&[0, 90_000_000, 7_290_000_000][..], &[0, 30_000_000], &[0], &[0]] {
            add_user(&mut bytes, times).unwrap();
        }
        assert_eq!(
            text(&Summary::decode(&bytes).unwrap(), 10),
            "1. visit    ██████████  4  100.0 %\n\
             2. sign up  █████       2   50.0 %   50.0 % of previous, 2 lost, median 1 min 0 s\n\
             3. pay      ██▌         1   25.0 %   50.0 % of previous, 1 lost, median 2 h 0 min"
        );
    }

    #[test]
    fn an_empty_funnel_has_no_bars() {
        assert_eq!(
            text(&Summary::decode(&empty(7, [("a", false)].into_iter())).unwrap(), 10),
            "1. a              0        -"
        );
    }
}
