//! The rows of a retention table, from its summary.

use super::summary::Summary;
use crate::error::Result;
use crate::time::Micros;

/// One cohort in one period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The first instant of the cohort's period.
    pub cohort: Micros,
    /// Periods since then; 0 is the cohort's own.
    pub period: i32,
    /// Users of the cohort.
    pub users: i64,
    /// Those of them who came back in that period.
    pub returned: i64,
    /// Their share of the cohort.
    pub share: f64,
}

/// The number of the last period in which anybody began or came back; `None` when nobody began.
#[must_use]
pub fn last_period(summary: &Summary) -> Option<i32> {
    let last = |(number, cohort): (&i32, &super::summary::Cohort)| {
        number.saturating_add(cohort.returned.keys().next_back().copied().unwrap_or(0))
    };
    summary.cohorts.iter().map(last).max()
}

/// The rows, made one by one: for each cohort the periods 0 to the last one that the data reaches, also those in which
/// nobody came back, and no more than `periods` behind 0. Errors: `22008`.
pub fn rows(summary: Summary, periods: Option<i32>) -> Result<impl Iterator<Item = Row>> {
    let calendar = summary.settings.calendar()?;
    let last = last_period(&summary).unwrap_or(0);
    let mut cohorts = Vec::with_capacity(summary.cohorts.len());
    for (number, cohort) in summary.cohorts {
        let most = last.saturating_sub(number).min(periods.unwrap_or(i32::MAX));
        cohorts.push((calendar.start(number)?, most, cohort));
    }
    Ok(cohorts.into_iter().flat_map(|(start, most, cohort)| {
        (0..=most).map(move |period| {
            let returned = cohort.returned.get(&period).copied().unwrap_or(0);
            Row { cohort: start, period, users: cohort.users, returned, share: share(returned, cohort.users) }
        })
    }))
}

/// A share of a cohort, which has a user at least.
#[expect(clippy::cast_precision_loss, reason = "shares need no more than 53 bits")]
#[must_use]
pub fn share(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
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
    fn every_cohort_has_all_periods_up_to_the_last_one_seen() {
        let calendar = Calendar::new(Period::Days(1), "UTC").unwrap();
        let mut bytes = empty(&Definition::of_names(None, None, calendar.clone()).settings());
        for (cohort, periods) in [(0, vec![1]), (0, vec![]), (2, vec![1])] {
            add_user(&mut bytes, &Visits { cohort: Some(cohort), periods }).unwrap();
        }
        let summary = Summary::decode(&bytes).unwrap();
        let shown = |periods| -> Vec<_> {
            rows(summary.clone(), periods)
                .unwrap()
                .map(|row| (row.cohort, row.period, row.users, row.returned, row.share))
                .collect()
        };
        let (first, second) = (calendar.start(0).unwrap(), calendar.start(2).unwrap());
        let all = [
            (first, 0, 2, 0, 0.0),
            (first, 1, 2, 1, 0.5),
            (first, 2, 2, 0, 0.0),
            (first, 3, 2, 0, 0.0),
            (second, 0, 1, 0, 0.0),
            (second, 1, 1, 1, 1.0),
        ];
        assert_eq!(shown(None), all);
        assert_eq!(shown(Some(1)), [all[0], all[1], all[4], all[5]]);
    }
}
