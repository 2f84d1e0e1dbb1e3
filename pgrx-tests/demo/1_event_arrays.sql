-- 1. Event arrays: a user's events in one row, and an import that may run twice

-- What there is: the clicks of a shop, one row each.
SELECT user_id, click_id, event, at, platform FROM clicks ORDER BY user_id, at LIMIT 3;

-- What we want: one row per user, with all events of the user in one array, each id once, in order of time.
CREATE TABLE user_events (user_id text PRIMARY KEY, events jsonb[] NOT NULL);
INSERT INTO user_events
SELECT user_id, eventkit.event_array_agg(jsonb_build_object(
           'event_id', click_id, 'event', event, 'platform', platform, 'channel', acquisition_channel,
           'time', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')))
FROM clicks GROUP BY user_id;

SELECT user_id, cardinality(events) AS events, eventkit.count_events(events, '{"event": "purchase"}') AS purchases
FROM user_events ORDER BY user_id LIMIT 3;

-- The source sends a tenth of the events again; some were corrected: the desktop was a tablet.
CREATE TABLE resent AS
SELECT user_id, array_agg(event || CASE WHEN event @> '{"platform": "desktop"}' AND (event ->> 'event_id')::int % 20 = 0
                                        THEN '{"platform": "tablet"}'::jsonb ELSE '{}' END) AS events
FROM user_events, unnest(events) AS event
WHERE (event ->> 'event_id')::int % 10 = 0
GROUP BY user_id;

-- An import by || stores them twice.
UPDATE user_events u SET events = u.events || r.events FROM resent r WHERE r.user_id = u.user_id;

SELECT sum(cardinality(events)) AS stored, sum(cardinality(eventkit.dedupe_events(events))) AS deduplicated
FROM user_events;

-- Of two copies the last one stays, whole.
SELECT 'stored' AS what, event FROM user_events, unnest(events) AS event
WHERE event @> '{"event_id": 3520}'
UNION ALL
SELECT 'deduplicated', event FROM user_events, unnest(eventkit.dedupe_events(events)) AS event
WHERE event @> '{"event_id": 3520}';

-- Cleaning the table: first the plan, then batches, each committed. place => 'first' keeps the order of time.
SELECT relation, rows_read, rows_to_change, events_to_drop
FROM eventkit.plan_dedupe_table('user_events', 'events', place => 'first');
CALL eventkit.dedupe_table('user_events', 'events', place => 'first', batch_rows => 250);

-- Better: an import that does no harm. append_events merges in one pass; sending it all once more changes nothing.
SELECT count(*) AS users, sum(cardinality(u.events)) AS stored,
       sum(cardinality(eventkit.append_events(u.events, r.events))) AS after_import,
       count(*) FILTER (WHERE eventkit.append_events(u.events, r.events) <> u.events) AS rows_that_change
FROM user_events u LEFT JOIN resent r USING (user_id);
