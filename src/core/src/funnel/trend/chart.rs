//! A funnel's trend as text bars, for psql.

use super::super::chart::bar;
use super::super::table;
use super::summary::Trend;
use crate::error::Result;

/// The chart: a line for each period with an entry: its first date, a bar and the share for those who reached the last
/// step, and how many of how many they are. `width` is the length of a bar of all. O(periods · width). Errors: `22008`.
pub fn text(trend: &Trend, width: usize) -> Result<String> {
    let calendar = trend.settings.calendar()?;
    if trend.periods.is_empty() {
        return Ok("no entries".to_owned());
    }
    let mut lines = Vec::with_capacity(trend.periods.len());
    for (number, summary) in &trend.periods {
        let rows = table::rows(summary);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { continue };
        let share = last.share_of_first.unwrap_or(0.0);
        let bar = bar(share, width);
        lines.push(format!(
            "{}  {bar:<width$}  {:>5.1} %  {} of {}",
            calendar.label(*number)?,
            share * 100.0,
            last.users,
            first.users
        ));
    }
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::super::summary::{Settings, add_user, empty};
    use super::*;
    use crate::stored::Stored;
    use crate::zone::{Calendar, Period};

    #[test]
    fn a_line_for_each_day() {
        let fresh = crate::funnel::summary::empty(7, [("a", false), ("b", false)].into_iter());
        let calendar = Calendar::new(Period::Days(1), "UTC").unwrap();
        let mut bytes = empty(&Settings::new(7, &calendar));
        assert_eq!(text(&Trend::decode(&bytes).unwrap(), 8).unwrap(), "no entries");
        for (day, times) in [(0, vec![1]), (0, vec![1, 2]), (2, vec![1, 2]), (3, vec![5])] {
            if let Some(larger) = add_user(&mut bytes, Some(day), &times, &fresh).unwrap() {
                bytes = larger;
            }
        }
        let trend = Trend::decode(&bytes).unwrap();
        assert_eq!(
            text(&trend, 8).unwrap(),
            "2000-01-03  ████       50.0 %  1 of 2\n\
             2000-01-05  ████████  100.0 %  1 of 1\n\
             2000-01-06              0.0 %  0 of 1"
        );
        let rows = super::super::table::rows(&trend).unwrap();
        assert_eq!(rows.len(), 6);
        assert_eq!((rows[1].0, rows[1].1.users, rows[1].1.step), (calendar.start(0).unwrap(), 1, 2));
    }
}
