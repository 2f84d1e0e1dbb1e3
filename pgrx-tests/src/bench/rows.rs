//! The suites of plain rows: `window_funnel` against window functions and against counting the rows.

use super::funnel_data::{conditions, names, rows};
use super::funnel_plain::one_sort;
use super::suite::{Contender, Goal, Suite};

/// All of them.
#[must_use]
pub fn suites() -> Vec<Suite> {
    vec![window_funnel(3), window_funnel(5)]
}

fn ours(steps: usize, filter: &str) -> String {
    format!(
        "SELECT sum(level) FROM (SELECT eventkit.window_funnel('6 hours', at, {}) AS level FROM e {filter} GROUP BY user_id) AS l",
        conditions(steps)
    )
}

/// The best plain SQL, see there.
fn plain(steps: usize, filter: &str) -> String {
    format!("SELECT sum(level) FROM ({}) AS l", one_sort(&format!("e {filter}"), steps))
}

fn window_funnel(steps: usize) -> Suite {
    let only_steps = format!("WHERE name IN ({})", names(steps));
    Suite {
        name: format!("rows-{steps}-steps"),
        about: format!(
            "A million rows of 20,000 users in order of time, 37 % of them steps; {steps} steps, window 6 hours. \
             The statements add up all users' levels."
        ),
        setup: rows(steps),
        contenders: vec![
            Contender::new("eventkit", "window_funnel over the rows of the steps", &ours(steps, &only_steps)),
            Contender::new(
                "eventkit, all rows",
                "the same without WHERE: users without a step are in it",
                &ours(steps, ""),
            ),
            Contender::new(
                "eventkit, VARIADIC array",
                "over all rows, the server building an array for each",
                &ours(steps, "").replace("at, name", "at, VARIADIC ARRAY[name").replace(") AS level", "]) AS level"),
            ),
            Contender::new("plain SQL", "running maxima over the rows of the steps", &plain(steps, &only_steps)),
            Contender::new("plain SQL, all rows", "the same without WHERE", &plain(steps, "")),
            Contender::new(
                "count(*)",
                "all rows by user",
                "SELECT sum(n) FROM (SELECT count(*) AS n FROM e GROUP BY user_id) AS c",
            ),
        ],
        goals: vec![
            Goal::faster("eventkit", "plain SQL", 2.0),
            Goal::costs("eventkit", "count(*)", 2.0),
            Goal::faster("eventkit, all rows", "plain SQL, all rows", 2.0),
            Goal::costs("eventkit, all rows", "count(*)", 2.0),
            Goal::agrees("eventkit", "plain SQL"),
            Goal::agrees("eventkit", "plain SQL, all rows"),
            Goal::agrees("eventkit", "eventkit, all rows"),
            Goal::agrees("eventkit", "eventkit, VARIADIC array"),
        ],
        runs: 5,
    }
}
