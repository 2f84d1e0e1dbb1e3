//! The suites of plain rows: `window_funnel` against window functions and against counting the rows.

use super::suite::{Contender, Goal, Suite};

/// All of them.
#[must_use]
pub fn suites() -> Vec<Suite> {
    vec![window_funnel(3), window_funnel(5)]
}

/// A million rows of 20,000 users in order of time, as an event table gets them: each user starts at some moment of 30
/// days, 50 events with up to 2.3 hours between two, 50 names, 37 % of the events being steps.
fn rows(steps: usize) -> Vec<String> {
    vec![
        format!(
            "CREATE TABLE e AS SELECT user_id, at, name FROM (
                 SELECT user_id,
                        'e' || CASE WHEN (hashint4(user_id * 50 + i) & 1023) < 379 THEN (hashint4(user_id * 77 + i) & 1023) % {steps}
                                    ELSE {steps} + (hashint4(user_id * 31 + i) & 1023) % (50 - {steps}) END AS name,
                        timestamptz '2024-03-01' + ((hashint4(user_id) & 1048575) / 1048576.0 * 2592000
                            + sum(1 + (hashint4(user_id * 1000 + i) & 8191)) OVER (PARTITION BY user_id ORDER BY i)) * interval '1 s' AS at
                 FROM generate_series(1, 20000) AS user_id, generate_series(0, 49) AS i) AS e
             ORDER BY at"
        ),
        "VACUUM ANALYZE e".to_owned(),
    ]
}

/// The names of the steps as a list in SQL.
fn names(steps: usize) -> String {
    (0..steps).map(|step| format!("'e{step}'")).collect::<Vec<_>>().join(", ")
}

fn ours(steps: usize, filter: &str) -> String {
    let conditions: Vec<String> = (0..steps).map(|step| format!("name = 'e{step}'")).collect();
    format!(
        "SELECT sum(level) FROM (SELECT eventkit.window_funnel('6 hours', at, {}) AS level FROM e {filter} GROUP BY user_id) AS l",
        conditions.join(", ")
    )
}

/// The best plain SQL that is exact where names and times are distinct: for each step the latest entry that has reached
/// it so far, each by a running maximum over the one before.
fn plain(steps: usize, filter: &str) -> String {
    let over = "OVER (PARTITION BY user_id ORDER BY at)";
    let mut sql = format!("SELECT *, max(CASE WHEN name = 'e0' THEN at END) {over} AS entry_1 FROM e {filter}");
    let mut level = "WHEN entry_1 IS NOT NULL THEN 1".to_owned();
    for step in 1..steps {
        sql = format!(
            "SELECT *, max(CASE WHEN name = 'e{step}' AND at - entry_{step} <= interval '6 hours' THEN entry_{step} END) {over} \
             AS entry_{} FROM ({sql}) AS s{step}",
            step + 1
        );
        level = format!("WHEN entry_{} IS NOT NULL THEN {} {level}", step + 1, step + 1);
    }
    format!(
        "SELECT sum(level) FROM (SELECT max(CASE {level} ELSE 0 END) AS level FROM ({sql}) AS s GROUP BY user_id) AS l"
    )
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
        ],
        runs: 5,
    }
}
