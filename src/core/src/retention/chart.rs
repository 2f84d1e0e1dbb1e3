//! Retention as a triangle of percentages, for psql.

use super::summary::Summary;
use super::table::{last_period, share};
use crate::error::Result;

/// The chart: a line for each cohort with its first date, its users, and the share that came back in each period, in
/// percent; a dot where nobody did. O(cohorts · periods). Errors: `22008`.
pub fn text(summary: &Summary, periods: i32) -> Result<String> {
    let calendar = summary.settings.calendar()?;
    let Some(last) = last_period(summary) else { return Ok("no users".to_owned()) };
    let first = summary.cohorts.keys().next().copied().unwrap_or(last);
    let columns = last.saturating_sub(first).min(periods);
    let width = summary.cohorts.values().map(|cohort| cohort.users.to_string().len()).max().unwrap_or(0).max(5);
    let mut lines = vec![format!("{:<10}  {:>width$}", "cohort", "users")];
    if let Some(head) = lines.first_mut() {
        (0..=columns).for_each(|period| head.push_str(&format!(" {period:>5}")));
    }
    for (number, cohort) in &summary.cohorts {
        let mut line = format!("{:<10}  {:>width$}", calendar.label(*number)?, cohort.users);
        for period in 0..=last.saturating_sub(*number).min(columns) {
            match cohort.returned.get(&period) {
                Some(returned) => line.push_str(&format!(" {:>4.0}%", share(*returned, cohort.users) * 100.0)),
                None => line.push_str("     ."),
            }
        }
        lines.push(line);
    }
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::definition::Definition;
    use crate::retention::scan::Visits;
    use crate::retention::summary::{add_user, empty};
    use crate::stored::Stored;
    use crate::zone::{Calendar, Period};

    #[test]
    fn a_triangle() {
        let calendar = Calendar::new(Period::Months(1), "UTC").unwrap();
        let mut bytes = empty(&Definition::of_names(None, None, calendar).settings());
        assert_eq!(text(&Summary::decode(&bytes).unwrap(), 10).unwrap(), "no users");
        for (cohort, periods) in [(0, vec![0, 1]), (0, vec![1]), (0, vec![]), (1, vec![1])] {
            add_user(&mut bytes, &Visits { cohort: Some(cohort), periods }).unwrap();
        }
        assert_eq!(
            text(&Summary::decode(&bytes).unwrap(), 10).unwrap(),
            "cohort      users     0     1     2\n\
             2000-01-01      3   33%   67%     .\n\
             2000-02-01      1     .  100%"
        );
    }
}
