//! The suites of funnels over event arrays: against PL/pgSQL, plain SQL and detoasting; in parallel; over one large user;
//! with conditions; and what they take in memory.

use super::funnel_data::{Form, arrays, more_rows, names};
use super::funnel_plain::{arrays_lateral, arrays_one_sort, loop_function};
use super::suite::{Contender, Goal, Suite};

/// All of them.
#[must_use]
pub fn suites() -> Vec<Suite> {
    let mut suites = Vec::new();
    for form in [Form::Jsonb, Form::Hstore] {
        for steps in [3, 5] {
            suites.extend([over_arrays(form, steps, 1), over_arrays(form, steps, 10)]);
        }
    }
    suites.extend([parallel(), one_user(), conditions(), memory()]);
    suites
}

/// How many users reached which level, from a statement that gives a `level` for each; nobody counts at level 0, since
/// some contenders never see the users without a step.
fn levels(of: &str) -> String {
    format!("SELECT level, count(*) FROM ({of}) AS l WHERE level > 0 GROUP BY level ORDER BY level")
}

/// The steps as a `text[]`.
fn array_of(steps: usize) -> String {
    format!("ARRAY[{}]", names(steps))
}

/// The level of each user of `u`.
fn ours(steps: usize) -> String {
    // OFFSET 0: the level is computed once, not once more for WHERE.
    format!("SELECT eventkit.funnel_level(events, {}, '6 hours') AS level FROM u OFFSET 0", array_of(steps))
}

fn detoast() -> Contender {
    Contender::new("detoast alone", "cardinality() of each array", "SELECT sum(cardinality(events)) FROM u")
}

fn over_arrays(form: Form, steps: usize, copies: usize) -> Suite {
    let element = form.element();
    let mut setup = arrays(form, steps, copies);
    setup.push(loop_function(form, steps));
    if copies == 1 {
        setup.push(format!(
            "DO $$ BEGIN ASSERT (
                 SELECT bool_and(eventkit.funnel_level(events, {}, '6 hours') = loop_funnel(events)) FROM u
             ), 'some user has another level'; END $$",
            array_of(steps)
        ));
    }
    let (rivals, times, most) = match form {
        Form::Jsonb => (["PL/pgSQL loop", "plain SQL", "plain SQL, one sort"], 3.0, 1.5),
        Form::Hstore => (["plain SQL", "plain SQL, one sort", "PL/pgSQL loop"], 5.0, 1.3),
    };
    let others = vec![
        Contender::new(
            "PL/pgSQL loop",
            "one pass in local variables",
            &levels("SELECT loop_funnel(events) AS level FROM u OFFSET 0"),
        ),
        Contender::new("plain SQL", "running maxima, each user by himself", &levels(&arrays_lateral(form, steps))),
        Contender::new("plain SQL, one sort", "running maxima over all users", &levels(&arrays_one_sort(form, steps))),
    ];
    // Ten times the events with the best of the other ways alone: a minute each.
    let others: Vec<_> = others.into_iter().filter(|other| copies == 1 || other.label == rivals[0]).collect();
    let judged = if form == Form::Hstore && copies == 1 { 2 } else { 1 };
    let mut goals: Vec<_> = rivals[..judged].iter().map(|rival| Goal::faster("eventkit", rival, times)).collect();
    goals.push(Goal::costs("eventkit", "detoast alone", most));
    goals.extend(others.iter().map(|other| Goal::agrees("eventkit", &other.label)));
    let (million, users) = (copies, copies * 20_000);
    Suite {
        name: format!("funnel-{element}-{steps}{}", if copies == 1 { String::new() } else { format!("-{million}M") }),
        about: format!(
            "{million} million events in {users} stored {element}[] of 50 events with five keys, in order of time, 37 % of \
             them steps, 50 names; {steps} steps, window 6 hours. The statements count the users of each level."
        ),
        setup,
        contenders: [
            vec![
                Contender::new("eventkit", "funnel_level", &levels(&ours(steps))),
                Contender::new(
                    "eventkit, funnel_agg",
                    "the summary with the times between steps",
                    &format!("SELECT (eventkit.funnel_agg(events, {}, '6 hours'))::text FROM u", array_of(steps)),
                ),
            ],
            others,
            vec![detoast()],
        ]
        .concat(),
        goals,
        runs: if copies == 1 { 5 } else { 2 },
    }
}

/// Fails unless the statement runs with one worker besides the leader.
fn with_a_worker(sql: &str) -> String {
    format!(
        "SET max_parallel_workers_per_gather = 1;
         DO $do$ DECLARE plan json; BEGIN
             EXECUTE $sql$EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}$sql$ INTO plan;
             ASSERT plan::text LIKE '%\"Workers Launched\": 1%', 'no worker: ' || plan::text;
         END $do$"
    )
}

fn parallel() -> Suite {
    // The numbers of users; quantiles depend a little on which process saw which user.
    let sql = format!(
        "SELECT step, users FROM eventkit.funnel_table((SELECT eventkit.funnel_agg(events, {}, '6 hours') FROM u))",
        array_of(3)
    );
    let contender = |label: &str, note: &str, before: String| Contender {
        before: Some(before),
        ..Contender::new(label, note, &sql)
    };
    Suite {
        name: "funnel-parallel".to_owned(),
        about: "funnel_agg over 10 million events in 200,000 stored jsonb[], 3 steps: one backend, and the same with one \
                worker (checked by EXPLAIN ANALYZE before each run). The processor time is the leader's alone; on a machine \
                without a second idle core there is nothing to gain."
            .to_owned(),
        setup: arrays(Form::Jsonb, 3, 10),
        contenders: vec![
            contender("serial", "one backend", "SET max_parallel_workers_per_gather = 0".to_owned()),
            contender("parallel", "leader and one worker", with_a_worker(&sql)),
        ],
        goals: vec![
            Goal::faster("parallel", "serial", 1.6).by_best_wall(),
            Goal::agrees("parallel", "serial"),
        ],
        runs: 5,
    }
}

/// What is added to the definition `{"steps": ["a", "b", "a", "c"], "window": "30 days"}`.
const MODES: [(&str, &str); 6] = [
    ("ordered", ""),
    ("ordered, array ties", r#", "ties": "array""#),
    ("increasing", r#", "increasing": true"#),
    ("strict", r#", "mode": "strict""#),
    ("strict_steps", r#", "mode": "strict_steps""#),
    ("unordered", r#", "mode": "unordered""#),
];

fn one_user() -> Suite {
    let (mut setup, mut contenders, mut goals) = (Vec::new(), Vec::new(), Vec::new());
    for half_million in [1, 2] {
        setup.push(format!(
            "CREATE TABLE u{half_million} AS SELECT array_agg(jsonb_build_object('event', name, 'time', at) ORDER BY i) AS events
             FROM (SELECT i, (ARRAY['a', 'b', 'a', 'b', 'x'])[1 + (hashint4(i) & 1048575) % 5] AS name,
                          1709251200 + i - (i % 4 = 3)::int AS at
                   FROM generate_series(1, {half_million} * 500000) AS i) AS e"
        ));
    }
    for (mode, more) in MODES {
        for (half_million, size) in [(1, "500K"), (2, "1M")] {
            contenders.push(Contender::new(
                &format!("{mode}, {size}"),
                "funnel_level",
                &format!(
                    r#"SELECT eventkit.funnel_level(events, '{{"steps": ["a", "b", "a", "c"], "window": "30 days"{more}}}') FROM u{half_million}"#
                ),
            ));
        }
        goals.push(Goal::doubles(&format!("{mode}, 1M"), &format!("{mode}, 500K"), 1.15));
        goals.push(Goal::agrees(&format!("{mode}, 1M"), &format!("{mode}, 500K")));
    }
    Suite {
        name: "funnel-one-user".to_owned(),
        about: "One stored jsonb[] of 500,000 and one of a million events: two of five events are a, two are b, every fourth \
                has the time of the one before it. Steps a, b, a, c: every a opens an attempt, none is completed, and all are \
                inside the window. Twice the events may take 2.3 times the time."
            .to_owned(),
        setup,
        contenders,
        goals,
        runs: 5,
    }
}

fn conditions() -> Suite {
    let wheres =
        [r#"{"platform": "mobile"}"#, r#"{"path": {"starts_with": "/item/1"}}"#, r#"{"event_id": {"gte": 250000}}"#];
    let steps = (0..10)
        .map(|at| match wheres.get(at) {
            Some(condition) => format!(r#"{{"event": "e{at}", "where": {condition}}}"#),
            None => format!("\"e{at}\""),
        })
        .collect::<Vec<_>>()
        .join(", ");
    let full = |steps: &str| {
        levels(&format!(
            r#"SELECT eventkit.funnel_level(events, '{{"steps": [{steps}], "window": "6 hours"}}') AS level FROM u OFFSET 0"#
        ))
    };
    Suite {
        name: "funnel-conditions".to_owned(),
        about:
            "A million events in 20,000 stored jsonb[]: a definition with 10 steps and conditions on three properties, \
                against 3 plain steps."
                .to_owned(),
        setup: arrays(Form::Jsonb, 3, 1),
        contenders: vec![
            Contender::new("10 steps, 3 conditions", "funnel_level", &full(&steps)),
            Contender::new("3 plain steps", "funnel_level", &full(r#""e0", "e1", "e2""#)),
            Contender::new("3 plain steps, short form", "funnel_level", &levels(&ours(3))),
            detoast(),
        ],
        goals: vec![
            Goal::costs("10 steps, 3 conditions", "3 plain steps", 2.5),
            Goal::agrees("3 plain steps", "3 plain steps, short form"),
        ],
        runs: 5,
    }
}

fn memory() -> Suite {
    let mut setup = arrays(Form::Jsonb, 3, 10);
    setup.extend(more_rows(10));
    let over_rows = "SELECT eventkit.window_funnel('6 hours', at, name = 'e0', name = 'e1', name = 'e2') AS level
                     FROM e GROUP BY user_id OFFSET 0";
    Suite {
        name: "funnel-memory".to_owned(),
        about: "10 million events, as 200,000 stored jsonb[] and as rows: how much larger the statement makes a backend that \
                has done nothing before (its own memory, RssAnon, which includes the server's own caches and work_mem)."
            .to_owned(),
        setup,
        contenders: vec![
            Contender::new("funnel_level", "jsonb[]", &levels(&ours(3))),
            Contender::new(
                "funnel_agg",
                "jsonb[]",
                &format!("SELECT (eventkit.funnel_agg(events, {}, '6 hours'))::text FROM u", array_of(3)),
            ),
            Contender::new("window_funnel", "rows by user", &levels(over_rows)),
        ],
        goals: vec![
            Goal::memory("funnel_level", 50.0),
            Goal::memory("funnel_agg", 50.0),
            Goal::memory("window_funnel", 50.0),
            Goal::agrees("window_funnel", "funnel_level"),
        ],
        runs: 1,
    }
}
