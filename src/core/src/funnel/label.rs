//! Labels and durations as charts and pictures show them: one line, a bounded width, nothing that disturbs the rest.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::time::Micros;

/// What would break the line or turn the direction of what follows, or what no XML document may contain.
fn disturbs(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FFFE}' | '\u{FFFF}')
}

/// The label on one line; what would disturb is shown as U+FFFD. O(length).
#[must_use]
pub fn shown(label: &str) -> String {
    label.chars().map(|c| if disturbs(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// How many cells of a terminal a text takes; those of Chinese and the like take two.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.width()
}

/// The text in at most `room` cells; one that is longer ends with an ellipsis. O(length).
#[must_use]
pub fn cut(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken < room
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

/// A duration in microseconds for people: its two largest units.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a mean of durations is below 64 bits")]
pub fn duration(micros: f64) -> String {
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

/// A share as a percentage with one decimal; a dash where there is none.
#[must_use]
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_label_stays_on_its_line() {
        assert_eq!(shown("a\nb\t\u{202E}c\u{0}"), "a\u{FFFD}b\u{FFFD}\u{FFFD}c\u{FFFD}");
        assert_eq!(shown("é 日本 שלום"), "é 日本 שלום");
    }

    #[test]
    fn what_does_not_fit_ends_with_an_ellipsis() {
        assert_eq!(cut("sign up", 7), "sign up");
        assert_eq!(cut("sign up", 6), "sign …");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("ab", 1), "…");
    }

    proptest! {
        #[test]
        fn a_cut_label_fits(label in any::<String>(), room in 1usize..40) {
            let label = shown(&label);
            prop_assert!(!label.chars().any(char::is_control));
            prop_assert!(columns(&cut(&label, room)) <= room, "{:?}", cut(&label, room));
        }
    }

    #[test]
    fn durations_have_two_units() {
        let shown = [0.0, 1500.0, 1e6, 61e6, 3_700e6, 90_000e6].map(duration);
        assert_eq!(shown, ["0 ms", "1 ms", "1 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }
}
