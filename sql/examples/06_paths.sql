-- Paths: which events users take one after the other, before and after a given one; enough to draw a Sankey.
-- Play it in an empty database: psql -f 06_paths.sql

CREATE EXTENSION IF NOT EXISTS pg_eventkit CASCADE;

-- 1000 users: half of them search, the others browse; of both some buy, a few ask for help before. One session a user, and
-- a second one on the day after for every fifth.
CREATE TABLE user_events (user_id int PRIMARY KEY, events jsonb NOT NULL);
INSERT INTO user_events
SELECT n, (SELECT jsonb_agg(jsonb_build_object('event', event, 'time', 1709251200 + n + 60 * place + CASE WHEN place > 8 THEN 86400 ELSE 0 END) ORDER BY place)
           FROM unnest(ARRAY['home', CASE WHEN n % 2 = 0 THEN 'search' ELSE 'browse' END, 'product', 'product',
                             CASE WHEN n % 7 = 0 THEN 'help' END, CASE WHEN n % 3 = 0 THEN 'cart' END, CASE WHEN n % 6 = 0 THEN 'buy' END, NULL,
                             CASE WHEN n % 5 = 0 THEN 'home' END]) WITH ORDINALITY AS u (event, place)
           WHERE event IS NOT NULL)
FROM generate_series(1, 1000) AS n;

-- What most users do.
SELECT * FROM eventkit.event_paths((SELECT eventkit.paths_agg(events) FROM user_events), top => 5);

-- The same by session: events more than half an hour apart belong to two.
SELECT * FROM eventkit.event_paths((
    SELECT eventkit.paths_agg(events, '{"session_gap": "30 minutes", "depth": 8}') FROM user_events), top => 5);

-- After the product page, and before buying.
SELECT * FROM eventkit.event_paths((
    SELECT eventkit.paths_agg(events, '{"start_event": "product", "depth": 3, "session_gap": "30 minutes"}') FROM user_events));
SELECT * FROM eventkit.event_paths((
    SELECT eventkit.paths_agg(events, '{"end_event": "buy", "depth": 3}') FROM user_events));

-- The links of a Sankey: from which event to which, at which step. An empty target is the end.
SELECT step, source, target, count
FROM eventkit.event_transitions((
    SELECT eventkit.paths_agg(events, '{"session_gap": "30 minutes", "depth": 4}') FROM user_events));

-- Every session begins at home: 1000, and 200 on the day after. Everybody who arrives somewhere leaves again.
WITH steps AS (
    SELECT * FROM eventkit.event_transitions((
        SELECT eventkit.paths_agg(events, '{"session_gap": "30 minutes", "depth": 4}') FROM user_events)))
SELECT sum(count) FILTER (WHERE step = 1) = 1200
       AND sum(count) FILTER (WHERE step = 1 AND target IS NOT NULL) = sum(count) FILTER (WHERE step = 2) AS ok
FROM steps;
