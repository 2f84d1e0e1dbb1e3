//! A funnel as text bars, for psql.

use super::label::{columns, duration, percent, shown};
use super::summary::Summary;
use super::table::{Row, rows};

/// Eighths of a character cell, from one to seven.
const PARTS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// The chart: for each step its label, a bar, the users, shares, those lost, and the median time from the step before.
/// `width` is the length of the longest bar in characters. O(steps · width).
#[must_use]
pub fn text(summary: &Summary, width: usize) -> String {
    let rows = rows(summary);
    let digits = |number: i64| number.to_string().len();
    let numbers = digits(i64::try_from(rows.len()).unwrap_or(i64::MAX));
    let labels = rows.iter().map(|row| columns(&shown(&row.label))).max().unwrap_or(0);
    let users = rows.iter().map(|row| digits(row.users)).max().unwrap_or(0);
    let lost = rows.iter().filter_map(|row| row.drop_off).map(digits).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let (label, bar) = (shown(&row.label), bar(row.share_of_first.unwrap_or(0.0), width));
            let pad = labels - columns(&label);
            let mut line = format!("{:>numbers$}. {label}{:pad$}  {bar:<width$}  {:>users$}", row.step, "", row.users);
            line.push_str(&figures(row, lost));
            line.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

fn figures(row: &Row, lost: usize) -> String {
    let mut figures = format!("  {:>7}", percent(row.share_of_first));
    if let Some(share) = row.share_of_previous {
        figures.push_str(&format!("  {:>7} of previous", percent(Some(share))));
        match row.drop_off {
            Some(drop_off) => figures.push_str(&format!(", {drop_off:>lost$} lost")),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::funnel::summary::{add_user, empty};
    use crate::stored::Stored;

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
    fn columns_stay_in_line_whatever_the_labels() {
        let mut bytes = empty(7, [("日本", false), ("a\nb", false), ("long label", false)].into_iter());
        for user in 0..12 {
            let times = [0, 1_000_000, 2_000_000];
            let reached = if user == 0 { 3 } else { 1 + usize::from(user < 11) };
            if let Some(larger) = add_user(&mut bytes, &times[..reached]).unwrap() {
                bytes = larger;
            }
        }
        assert_eq!(
            text(&Summary::decode(&bytes).unwrap(), 4),
            "1. 日本        ████  12  100.0 %\n\
             2. a\u{FFFD}b         ███▋  11   91.7 %   91.7 % of previous,  1 lost, median 1 s\n\
             3. long label  ▍      1    8.3 %    9.1 % of previous, 10 lost, median 1 s"
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
