-- Event arrays: one row per user, and a re-import that does no harm

-- Each user's clicks as one array of events, in time order.
CREATE TABLE user_events (user_id text PRIMARY KEY, events jsonb[] NOT NULL);
INSERT INTO user_events
SELECT user_id, array_agg(jsonb_build_object(
           'event_id', click_id, 'event', event, 'session', session_id, 'platform', platform,
           'channel', acquisition_channel,
           'time', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')) ORDER BY at, click_id)
FROM clicks GROUP BY user_id;

-- The import runs again for a tenth of the events; it knows now that some "desktop" events came from a tablet.
CREATE TABLE imported AS
SELECT user_id, event || CASE WHEN (event ->> 'event_id')::bigint % 20 = 0 AND event ->> 'platform' = 'desktop'
                              THEN '{"platform": "tablet"}'::jsonb ELSE '{}' END AS event
FROM user_events, unnest(events) AS event
WHERE (event ->> 'event_id')::bigint % 10 = 0;

-- Sent naively, a tenth of the events is there twice.
UPDATE user_events u SET events = u.events || i.events
FROM (SELECT user_id, array_agg(event) AS events FROM imported GROUP BY user_id) AS i
WHERE i.user_id = u.user_id;

SELECT sum(cardinality(events)) AS with_duplicates,
       sum(cardinality(eventkit.dedupe_events(events))) AS deduplicated
FROM user_events;

-- One event, before and after: the last that was sent stays, whole.
SELECT e ->> 'event_id' AS id, e ->> 'event' AS event, e ->> 'platform' AS platform, 'stored' AS what
FROM user_events, unnest(events) AS e WHERE e ->> 'event_id' = '3520'
UNION ALL
SELECT e ->> 'event_id', e ->> 'event', e ->> 'platform', 'deduplicated'
FROM user_events, unnest(eventkit.dedupe_events(events)) AS e WHERE e ->> 'event_id' = '3520';

-- For good, with each kept event where its id first stood: the arrays stay in time order.
UPDATE user_events SET events = eventkit.dedupe_events(events, place => 'first');

-- The right way to import: append, dedupe and keep the order in one pass. Sending it again changes nothing.
UPDATE user_events u SET events = eventkit.append_events(u.events, i.events)
FROM (SELECT user_id, array_agg(event) AS events FROM imported GROUP BY user_id) AS i
WHERE i.user_id = u.user_id;
SELECT count(*) AS users, sum(cardinality(events)) AS events FROM user_events;

-- The same from rows that were never in an array: dedupe and order while aggregating.
SELECT user_id, cardinality(eventkit.event_array_agg(event)) AS events FROM imported
GROUP BY user_id ORDER BY 2 DESC, 1 LIMIT 3;
