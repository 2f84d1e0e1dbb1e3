//! The data of the funnel suites: rows and event arrays of users with 50 events each, 37 % of them steps, 50 names.

/// A million rows `e (user_id, at, name)` of 20,000 users in order of time, as an event table gets them: each user starts
/// at some moment of 30 days, 50 events with up to 2.3 hours between two. The steps are called e0, e1 and so on.
pub fn rows(steps: usize) -> Vec<String> {
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

/// A form of event array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `jsonb[]`
    Jsonb,
    /// `hstore[]`
    Hstore,
}

impl Form {
    /// The element type's name.
    #[must_use]
    pub fn element(self) -> &'static str {
        match self {
            Self::Jsonb => "jsonb",
            Self::Hstore => "hstore",
        }
    }

    /// The operator that gives a property's text.
    #[must_use]
    pub fn get(self) -> &'static str {
        match self {
            Self::Jsonb => "->>",
            Self::Hstore => "->",
        }
    }

    /// The expression for one event: `id`, `name` and `at` are in scope. Five keys, as an imported click has them.
    fn event(self) -> &'static str {
        match self {
            Self::Jsonb => {
                "jsonb_build_object('event_id', id, 'event', name, 'time', to_char(at, 'YYYY-MM-DD\"T\"HH24:MI:SS'),
                     'platform', (ARRAY['desktop', 'mobile', 'tablet'])[1 + (hashint4(-id) & 1023) % 3],
                     'path', '/item/' || (hashint4(id + 1) & 65535))"
            }
            Self::Hstore => {
                "hstore(ARRAY['event_id', 'event', 'time', 'platform', 'path'],
                     ARRAY[id::text, name, to_char(at, 'YYYY-MM-DD\"T\"HH24:MI:SS'),
                           (ARRAY['desktop', 'mobile', 'tablet'])[1 + (hashint4(-id) & 1023) % 3],
                           '/item/' || (hashint4(id + 1) & 65535)])"
            }
        }
    }
}

/// The rows and, from them, one stored array for each user: `u (user_id, events)`. The events of `copies` times as many
/// users are those of the 20,000 again.
pub fn arrays(form: Form, steps: usize, copies: usize) -> Vec<String> {
    let mut setup = rows(steps);
    setup.push(format!(
        "CREATE TABLE u AS SELECT user_id, array_agg({} ORDER BY at) AS events
         FROM (SELECT row_number() OVER ()::int AS id, * FROM e) AS e GROUP BY user_id",
        form.event()
    ));
    if copies > 1 {
        setup.push(format!(
            "INSERT INTO u SELECT copy * 20000 + user_id, events FROM u, generate_series(1, {copies} - 1) AS copy"
        ));
    }
    setup.push("VACUUM ANALYZE u".to_owned());
    setup
}

/// The rows of so many times as many users.
pub fn more_rows(copies: usize) -> Vec<String> {
    vec![
        format!(
            "INSERT INTO e SELECT copy * 20000 + user_id, at, name FROM e, generate_series(1, {copies} - 1) AS copy"
        ),
        "VACUUM ANALYZE e".to_owned(),
    ]
}

/// The names of the steps as a list in SQL.
pub fn names(steps: usize) -> String {
    (0..steps).map(|step| format!("'e{step}'")).collect::<Vec<_>>().join(", ")
}

/// The steps as conditions on `name`.
pub fn conditions(steps: usize) -> String {
    (0..steps).map(|step| format!("name = 'e{step}'")).collect::<Vec<_>>().join(", ")
}
