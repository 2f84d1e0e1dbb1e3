-- Event arrays: the events of a user in one row, imported as often as you like.
-- Play it in an empty database: psql -f 01_event_arrays.sql

CREATE EXTENSION IF NOT EXISTS pg_eventkit CASCADE;

-- One row per user. The events are one jsonb array; hstore[] and jsonb[] work the same way.
CREATE TABLE user_events (user_id text PRIMARY KEY, events jsonb NOT NULL);

-- Raw events as a source might deliver them: out of order, and event 2 twice, the second time corrected.
CREATE TABLE delivered (id bigint GENERATED ALWAYS AS IDENTITY, user_id text NOT NULL, event jsonb NOT NULL);
INSERT INTO delivered (user_id, event) VALUES
    ('ann', '{"event_id": 3, "event": "logout", "time": "2024-03-01T10:30:00Z"}'),
    ('ann', '{"event_id": 1, "event": "login",  "time": "2024-03-01T10:00:00Z"}'),
    ('ann', '{"event_id": 2, "event": "serch",  "time": "2024-03-01T10:05:00Z"}'),
    ('ann', '{"event_id": 2, "event": "search", "time": "2024-03-01T10:05:00Z"}'),
    ('bob', '{"event_id": 4, "event": "login",  "time": 1709287200}');

-- Gathering: one event of each id, the last one that was fed in, in order of time. An import is this statement.
-- What is stored already and what comes now are merged; the same rows once more change nothing.
INSERT INTO user_events
SELECT user_id, to_jsonb(eventkit.event_array_agg(event ORDER BY id)) FROM delivered GROUP BY user_id
ON CONFLICT (user_id) DO UPDATE SET events = eventkit.append_events(user_events.events, EXCLUDED.events);

INSERT INTO user_events
SELECT user_id, to_jsonb(eventkit.event_array_agg(event ORDER BY id)) FROM delivered GROUP BY user_id
ON CONFLICT (user_id) DO UPDATE SET events = eventkit.append_events(user_events.events, EXCLUDED.events);

SELECT user_id, jsonb_pretty(events) AS events FROM user_events ORDER BY user_id;

-- Looking into the arrays: a span of time, a pattern, a count.
SELECT user_id,
       eventkit.count_events(events) AS events,
       eventkit.count_events(events, '{"event": "login"}') AS logins,
       eventkit.slice_events(events, '2024-03-01 10:05:00Z', '2024-03-01 10:30:00Z') AS within
FROM user_events ORDER BY user_id;

-- Other keys have other names: here the id is "n" and the time "at".
SELECT eventkit.append_events('[{"n": 1, "at": 10}, {"n": 3, "at": 30}]'::jsonb, '[{"n": 2, "at": 20}, {"n": 3, "at": 30}]',
                              id_key => 'n', time_key => 'at') AS merged;

-- A table that has duplicates already: look first, then clean it in batches.
UPDATE user_events SET events = events || events WHERE user_id = 'bob';
SELECT relation, rows_to_change, events_to_drop FROM eventkit.plan_dedupe_table('user_events', 'events');
CALL eventkit.dedupe_table('user_events', 'events');

-- Each id once, in order of time, with the corrected name.
SELECT (SELECT string_agg(e ->> 'event', ' ' ORDER BY at) FROM user_events, jsonb_array_elements(events) WITH ORDINALITY AS e (e, at)
        WHERE user_id = 'ann') = 'login search logout'
   AND (SELECT sum(jsonb_array_length(events)) FROM user_events) = 4 AS ok;
