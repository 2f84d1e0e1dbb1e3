//! The suites of event arrays: dedupe, its growth, append, many users.

use super::suite::{Contender, Goal, Suite};

/// All of them.
#[must_use]
pub fn suites() -> Vec<Suite> {
    vec![dedupe_hstore(), dedupe_jsonb(), growth(), append(), many_users()]
}

/// The expression for one event: `id` is in scope. Five keys, as an imported click has them; the values follow a hash,
/// because data that repeats itself compresses, and decompresses, better than any real events do.
const HSTORE_EVENT: &str = "hstore(ARRAY['event_id', 'event', 'time', 'platform', 'path'],
    ARRAY[id::text, (ARRAY['home', 'search', 'product_view', 'add_to_cart', 'purchase'])[1 + (hashint4(id) & 1023) % 5],
          to_char(timestamp '2024-03-13' + (id * 7 + (hashint4(id) & 7)) * interval '1 s', 'YYYY-MM-DD\"T\"HH24:MI:SS'),
          (ARRAY['desktop', 'mobile', 'tablet'])[1 + (hashint4(-id) & 1023) % 3], '/item/' || (hashint4(id + 1) & 65535)])";

/// The same as jsonb, with the id as a number.
const JSONB_EVENT: &str = "jsonb_build_object('event_id', id,
    'event', (ARRAY['home', 'search', 'product_view', 'add_to_cart', 'purchase'])[1 + (hashint4(id) & 1023) % 5],
    'time', to_char(timestamp '2024-03-13' + (id * 7 + (hashint4(id) & 7)) * interval '1 s', 'YYYY-MM-DD\"T\"HH24:MI:SS'),
    'platform', (ARRAY['desktop', 'mobile', 'tablet'])[1 + (hashint4(-id) & 1023) % 3],
    'path', '/item/' || (hashint4(id + 1) & 65535))";

/// Statements that make a table with one stored array of `n` events; every tenth comes a second time, as a re-import.
fn stored_array(table: &str, form: &str, event: &str, n: u32) -> Vec<String> {
    vec![
        format!("CREATE TABLE {table} (user_id int, events {form}[])"),
        format!(
            "INSERT INTO {table} SELECT 1, array_agg({event} ORDER BY i)
             FROM (SELECT i, CASE WHEN i % 10 = 9 THEN i - 5 ELSE i END AS id FROM generate_series(0, {n} - 1) AS i) AS e"
        ),
        format!("VACUUM ANALYZE {table}"),
    ]
}

/// The method of the published article's second function, in our words: number by the text of `time`, rank per id.
const ARTICLE: &str = "CREATE FUNCTION article_dedupe(events hstore[]) RETURNS hstore[] LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(event) FROM (
        SELECT event FROM (
            SELECT event, place,
                   rank() OVER (PARTITION BY (event -> 'event_id')::bigint ORDER BY place DESC) AS rank_of_id
            FROM (SELECT event, row_number() OVER (ORDER BY event -> 'time') AS place FROM unnest(events) AS event) AS u
        ) AS ranked WHERE rank_of_id = 1 ORDER BY place) AS kept $$";

/// The best correct plain SQL: the last of each id by its place, put back into the array's order.
fn plain(form: &str, key: &str) -> String {
    format!(
        "CREATE FUNCTION plain_dedupe(events {form}[]) RETURNS {form}[] LANGUAGE sql IMMUTABLE AS $$
             SELECT array_agg(event ORDER BY place) FROM (
                 SELECT DISTINCT ON ({key}) event, place
                 FROM unnest(events) WITH ORDINALITY AS u (event, place) ORDER BY {key}, place DESC) AS kept $$"
    )
}

/// Detoasts the whole value and looks at nothing but its header: `cardinality` takes an array as such, which fetches
/// and decompresses all of it, whereas a subscript or a length of the stored bytes would not.
fn detoast(table: &str) -> Contender {
    Contender::new(
        "detoast alone",
        "cardinality() of the stored array",
        &format!("SELECT sum(cardinality(events)) FROM {table}"),
    )
}

fn dedupe_hstore() -> Suite {
    let mut setup = stored_array("t", "hstore", HSTORE_EVENT, 100_000);
    setup.extend([ARTICLE.to_owned(), plain("hstore", "event -> 'event_id'")]);
    Suite {
        name: "dedupe-hstore".to_owned(),
        about: "One stored array of 100,000 hstore events with five keys, every tenth a duplicate.".to_owned(),
        setup,
        contenders: vec![
            Contender::new(
                "eventkit",
                "dedupe_events",
                "SELECT sum(cardinality(eventkit.dedupe_events(events))) FROM t",
            ),
            Contender::new(
                "article's second",
                "rank() by the text of time",
                "SELECT sum(cardinality(article_dedupe(events))) FROM t",
            ),
            Contender::new(
                "plain SQL",
                "DISTINCT ON over WITH ORDINALITY",
                "SELECT sum(cardinality(plain_dedupe(events))) FROM t",
            ),
            detoast("t"),
        ],
        goals: vec![
            Goal::faster("eventkit", "article's second", 10.0),
            Goal::faster("eventkit", "plain SQL", 5.0),
            Goal::costs("eventkit", "detoast alone", 2.0),
        ],
        runs: 5,
    }
}

fn dedupe_jsonb() -> Suite {
    let mut setup = stored_array("t", "jsonb", JSONB_EVENT, 100_000);
    setup.push(plain("jsonb", "event ->> 'event_id'"));
    Suite {
        name: "dedupe-jsonb".to_owned(),
        about: "One stored array of 100,000 jsonb events with five keys, every tenth a duplicate.".to_owned(),
        setup,
        contenders: vec![
            Contender::new(
                "eventkit",
                "dedupe_events",
                "SELECT sum(cardinality(eventkit.dedupe_events(events))) FROM t",
            ),
            Contender::new(
                "plain SQL",
                "DISTINCT ON over WITH ORDINALITY",
                "SELECT sum(cardinality(plain_dedupe(events))) FROM t",
            ),
            detoast("t"),
        ],
        goals: vec![Goal::faster("eventkit", "plain SQL", 5.0), Goal::costs("eventkit", "detoast alone", 2.5)],
        runs: 5,
    }
}

fn growth() -> Suite {
    let sizes: Vec<u32> = (0..7).map(|doubling| 10_000 << doubling).chain([1_000_000]).collect();
    let (mut setup, mut contenders, mut goals) = (Vec::new(), Vec::new(), Vec::new());
    for n in &sizes {
        let table = format!("t{n}");
        setup.extend(stored_array(&table, "hstore", HSTORE_EVENT, *n));
        contenders.push(Contender::new(
            &format!("eventkit {n}"),
            "dedupe_events",
            &format!("SELECT sum(cardinality(eventkit.dedupe_events(events))) FROM {table}"),
        ));
        contenders.push(Contender { label: format!("detoast {n}"), ..detoast(&table) });
    }
    for pair in sizes.windows(2) {
        if let [small, large] = pair
            && *large == 2 * small
        {
            goals.push(Goal::doubles(&format!("eventkit {large}"), &format!("eventkit {small}"), 1.15));
        }
    }
    Suite {
        name: "dedupe-growth".to_owned(),
        about: "Stored arrays of 10,000 to 1,000,000 hstore events: twice the events, twice the time.".to_owned(),
        setup,
        contenders,
        goals,
        runs: 5,
    }
}

fn append() -> Suite {
    let mut setup = stored_array("t", "jsonb", JSONB_EVENT, 100_000);
    // Sorted and without duplicates, as a table kept by append_events is.
    setup.push("UPDATE t SET events = eventkit.sort_events(eventkit.dedupe_events(events))".to_owned());
    setup.push(format!(
        "CREATE TABLE new_events AS SELECT array_agg({JSONB_EVENT} ORDER BY id) AS events
         FROM generate_series(100000, 100099) AS id"
    ));
    setup.push("VACUUM FULL ANALYZE t".to_owned());
    Suite {
        name: "append".to_owned(),
        about: "100 new events to one stored, sorted array of 100,000 jsonb events.".to_owned(),
        setup,
        contenders: vec![
            Contender::new(
                "eventkit",
                "append_events: dedupe and keep the order",
                "SELECT sum(cardinality(eventkit.append_events(t.events, n.events))) FROM t, new_events AS n",
            ),
            Contender::new(
                "||",
                "concatenate only",
                "SELECT sum(cardinality(t.events || n.events)) FROM t, new_events AS n",
            ),
            detoast("t"),
        ],
        goals: vec![Goal::costs("eventkit", "||", 2.0)],
        runs: 5,
    }
}

fn many_users() -> Suite {
    let setup = vec![
        "CREATE TABLE u (user_id int, events jsonb[])".to_owned(),
        format!(
            "INSERT INTO u SELECT user_id, array_agg({JSONB_EVENT} ORDER BY i)
             FROM (SELECT user_id, i, CASE WHEN i % 10 = 9 THEN i - 5 ELSE i END + user_id * 50 AS id
                   FROM generate_series(1, 20000) AS user_id, generate_series(0, 49) AS i) AS e
             GROUP BY user_id"
        ),
        "VACUUM ANALYZE u".to_owned(),
        plain("jsonb", "event ->> 'event_id'"),
    ];
    Suite {
        name: "dedupe-users".to_owned(),
        about: "20,000 users with 50 jsonb events each, every tenth a duplicate, each user deduplicated.".to_owned(),
        setup,
        contenders: vec![
            Contender::new(
                "eventkit",
                "dedupe_events",
                "SELECT sum(cardinality(eventkit.dedupe_events(events))) FROM u",
            ),
            Contender::new(
                "plain SQL per user",
                "DISTINCT ON in a function",
                "SELECT sum(cardinality(plain_dedupe(events))) FROM u",
            ),
            Contender::new(
                "plain SQL, lateral",
                "the same as one statement",
                "SELECT sum(cardinality(d.events)) FROM u CROSS JOIN LATERAL (
                     SELECT array_agg(event ORDER BY place) AS events FROM (
                         SELECT DISTINCT ON (event ->> 'event_id') event, place
                         FROM unnest(u.events) WITH ORDINALITY AS e (event, place)
                         ORDER BY event ->> 'event_id', place DESC) AS kept) AS d",
            ),
            Contender::new(
                "plain SQL, one sort",
                "all users in one DISTINCT ON, then grouped",
                "SELECT sum(cardinality(events)) FROM (
                     SELECT user_id, array_agg(event ORDER BY place) AS events FROM (
                         SELECT DISTINCT ON (user_id, event ->> 'event_id') user_id, event, place
                         FROM u, unnest(u.events) WITH ORDINALITY AS e (event, place)
                         ORDER BY user_id, event ->> 'event_id', place DESC) AS kept GROUP BY user_id) AS d",
            ),
            detoast("u"),
        ],
        goals: vec![
            Goal::faster("eventkit", "plain SQL per user", 5.0),
            Goal::faster("eventkit", "plain SQL, lateral", 5.0),
            Goal::faster("eventkit", "plain SQL, one sort", 5.0),
        ],
        runs: 5,
    }
}
