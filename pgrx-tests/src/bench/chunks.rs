//! The suites of users in chunks: a funnel over several arrays of a user, against putting them into one array before.

use super::suite::{Contender, Goal, Suite};

/// All of them.
#[must_use]
pub fn suites() -> Vec<Suite> {
    vec![funnel("hstore"), funnel("jsonb")]
}

/// 2,000 users with 30 days of 20 events each, one row for a user and day: in order of users with a primary key that says
/// so, and in the order in which days come to an end. The values follow a hash, because data that repeats itself is decompressed faster than real events are.
fn days(form: &str) -> Vec<String> {
    let properties = "'event_id', id, 'event', 'e' || (hashint8(id) & 1023) % 20,
        'time', to_char(timestamp '2024-03-01' + day * interval '1 day' + i * interval '1 hour' + (hashint8(id) & 2047) * interval '1 s',
                        'YYYY-MM-DD\"T\"HH24:MI:SS'),
        'platform', (ARRAY['desktop', 'mobile', 'tablet'])[1 + (hashint8(-id) & 1023) % 3], 'path', '/item/' || (hashint8(id + 1) & 65535)";
    let event = match form {
        "hstore" => format!("hstore(ARRAY[{}])", properties.replace("id, 'event',", "id::text, 'event',")),
        _ => format!("jsonb_build_object({properties})"),
    };
    vec![
        format!(
            "CREATE TABLE by_day AS
             SELECT user_id, day, array_agg({event} ORDER BY i) AS events
             FROM generate_series(0, 29) AS day, generate_series(1, 2000) AS user_id, generate_series(0, 19) AS i,
                  LATERAL (SELECT (user_id * 30 + day)::bigint * 20 + i AS id) AS numbered
             GROUP BY day, user_id ORDER BY day, user_id"
        ),
        "CREATE TABLE by_user AS SELECT * FROM by_day ORDER BY user_id, day".to_owned(),
        "ALTER TABLE by_user ADD PRIMARY KEY (user_id, day)".to_owned(),
        "VACUUM ANALYZE by_day, by_user".to_owned(),
    ]
}

fn funnel(form: &str) -> Suite {
    const ASKED: &str = "ARRAY['e0', 'e1', 'e2'], '6 hours'";
    let over = |table: &str, events: &str| {
        format!(
            "SELECT sum(level) FROM (SELECT eventkit.funnel_level({events}, {ASKED}) AS level FROM {table} GROUP BY user_id) AS l"
        )
    };
    let contender =
        |label: &str, note: &str, table: &str, events: &str| Contender::new(label, note, &over(table, events));
    Suite {
        name: format!("chunks-{form}"),
        about: format!(
            "2,000 users with 30 arrays of 20 {form} events each, a row for a user and day, users together under a primary \
             key or days together; a funnel of 3 steps, 15 % of the events, window 6 hours. The statements add up all \
             users' levels."
        ),
        setup: days(form),
        contenders: vec![
            contender("eventkit", "funnel_level over event_chunks", "by_user", "eventkit.event_chunks(events)"),
            contender(
                "one array before",
                "funnel_level over event_array_agg",
                "by_user",
                "eventkit.event_array_agg(events)",
            ),
            Contender::new(
                "each chunk alone",
                "funnel_level of each row: another question",
                &format!("SELECT sum(eventkit.funnel_level(events, {ASKED})) FROM by_user"),
            ),
            Contender::new(
                "detoast alone",
                "cardinality() of each array",
                "SELECT sum(cardinality(events)) FROM by_user",
            ),
            contender(
                "eventkit, by day",
                "the same from the other table",
                "by_day",
                "eventkit.event_chunks(events ORDER BY day)",
            ),
            contender(
                "one array, by day",
                "the same from the other table",
                "by_day",
                "eventkit.event_array_agg(events)",
            ),
        ],
        goals: vec![
            Goal::faster("eventkit", "one array before", 1.4),
            Goal::costs("eventkit", "each chunk alone", 1.2),
            Goal::costs("eventkit", "detoast alone", 2.0),
            Goal::faster("eventkit, by day", "one array, by day", 1.3),
        ],
        runs: 5,
    }
}
