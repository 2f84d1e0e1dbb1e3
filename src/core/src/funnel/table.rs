//! The rows of a funnel's table, from its summary.

use super::summary::{Durations, Summary};

/// One step in figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// 1-based number.
    pub step: i32,
    /// The step's label.
    pub label: String,
    /// Users who reached it.
    pub users: i64,
    /// Their share of those who reached step 1; `None` when nobody did.
    pub share_of_first: Option<f64>,
    /// Their share of those who reached the last step before that is not optional; `None` on step 1 and when nobody did.
    pub share_of_previous: Option<f64>,
    /// Users who reached that step but not this one; `None` on step 1 and on an optional step.
    pub drop_off: Option<i64>,
    /// The time from the match before; `None` on step 1 and when nobody got here.
    pub from_previous: Option<Took>,
    /// The time from step 1; likewise.
    pub from_start: Option<Took>,
}

/// How long users took, in microseconds. Median and 90th percentile are exact to about one percent in rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Took {
    /// Half of them took no longer.
    pub median: f64,
    /// Nine of ten took no longer.
    pub p90: f64,
    /// The mean.
    pub mean: f64,
}

impl Took {
    fn of(durations: &Durations, users: i64) -> Option<Self> {
        Some(Self {
            median: durations.digest.quantile(0.5)?,
            p90: durations.digest.quantile(0.9)?,
            mean: ratio(durations.sum, users)?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares and means need no more than 53 bits")]
fn ratio(part: f64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part / whole as f64)
}

/// The rows in order of steps. O(steps).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shares need no more than 53 bits")]
pub fn rows(summary: &Summary) -> Vec<Row> {
    let first = summary.steps.first().map_or(0, |step| step.users);
    let mut previous = None;
    let mut rows = Vec::with_capacity(summary.steps.len());
    for (at, step) in summary.steps.iter().enumerate() {
        rows.push(Row {
            step: i32::try_from(at + 1).unwrap_or(i32::MAX),
            label: step.label.clone(),
            users: step.users,
            share_of_first: ratio(step.users as f64, first),
            share_of_previous: previous.and_then(|users| ratio(step.users as f64, users)),
            drop_off: previous.filter(|_| !step.optional).map(|users: i64| users - step.users),
            from_previous: previous.and_then(|_| Took::of(&step.from_previous, step.users)),
            from_start: previous.and_then(|_| Took::of(&step.from_start, step.users)),
        });
        // Who left an optional step out has not left the funnel.
        if !step.optional {
            previous = Some(step.users);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::funnel::summary::{add_user, empty};
    use crate::stored::Stored;

    #[test]
    fn figures_of_three_users() {
        let mut bytes = empty(7, [("a", false), ("b", false)].into_iter());
        for times in [&[0, 10][..], &[5, 35], &[7], &[]] {
            add_user(&mut bytes, times).unwrap();
        }
        let rows = rows(&Summary::decode(&bytes).unwrap());
        assert_eq!(
            (rows[0].users, rows[0].share_of_first, rows[0].share_of_previous, rows[0].drop_off),
            (3, Some(1.0), None, None)
        );
        assert_eq!((rows[1].users, rows[1].drop_off), (2, Some(1)));
        assert_eq!(rows[1].from_previous.map(|took| took.mean), Some(20.0));
        assert_eq!(rows[1].share_of_previous, Some(2.0 / 3.0));
    }

    #[test]
    fn an_optional_step_loses_nobody() {
        let none = crate::funnel::ordered::NONE;
        let mut bytes = empty(7, [("a", false), ("b", true), ("c", false)].into_iter());
        for times in [&[0, none, 10][..], &[0, 5], &[0, none, 20]] {
            add_user(&mut bytes, times).unwrap();
        }
        let rows = rows(&Summary::decode(&bytes).unwrap());
        assert_eq!(
            rows.iter().map(|row| (row.users, row.drop_off)).collect::<Vec<_>>(),
            [(3, None), (1, None), (2, Some(1))]
        );
        assert_eq!(rows[2].share_of_previous, Some(2.0 / 3.0));
    }

    #[test]
    fn nobody_divides_by_nothing() {
        let rows = rows(&Summary::decode(&empty(7, [("a", false), ("b", false)].into_iter())).unwrap());
        assert!(rows.iter().all(|row| row.users == 0 && row.share_of_first.is_none() && row.from_start.is_none()));
    }
}
