-- Retention: of those who joined in a week, how many came back in each week after; and the trend of a funnel.
-- Play it in an empty database: psql -f 05_retention.sql

CREATE EXTENSION IF NOT EXISTS pg_eventkit CASCADE;

-- 2000 members join over ten weeks from Monday 2024-01-01 on. Each comes back every five days, up to twelve times, the
-- fewer the higher the number; every fourth one who comes back buys.
CREATE TABLE members (user_id int PRIMARY KEY, events jsonb NOT NULL);
INSERT INTO members
SELECT n, jsonb_build_array(jsonb_build_object('event', 'join', 'time', joined))
       || coalesce((SELECT jsonb_agg(jsonb_build_object('event', CASE WHEN n % 4 = 0 AND k = 1 THEN 'buy' ELSE 'visit' END,
                                                        'time', joined + k * interval '5 days') ORDER BY k)
                    FROM generate_series(1, n % 13) AS k), '[]')
FROM (SELECT n, timestamptz '2024-01-01 00:00+00' + n * interval '50 minutes' AS joined FROM generate_series(1, 2000) AS n) AS joining;

-- The triangle: a line for each week of joining, a column for each week after.
SELECT eventkit.retention_chart(eventkit.retention_agg(events, 'join', 'visit', '1 week'), periods => 8) FROM members;

-- The same in figures, by calendar months of Berlin, any event being a return.
SELECT cohort AT TIME ZONE 'Europe/Berlin' AS month, period, users, returned, round(100 * share) AS "%"
FROM eventkit.retention_table((SELECT eventkit.retention_agg(events, 'join', NULL, '1 month', 'Europe/Berlin') FROM members));

-- From plain rows: the first time of each user, and the times that may be returns.
CREATE VIEW plain AS
SELECT user_id, event ->> 'event' AS event, (event ->> 'time')::timestamptz AS at FROM members, jsonb_array_elements(events) AS event;
SELECT eventkit.retention_chart(eventkit.retention_agg(first_time, return_times, '1 week'), periods => 8)
FROM (SELECT min(at) FILTER (WHERE event = 'join') AS first_time, array_agg(at) FILTER (WHERE event = 'visit') AS return_times
      FROM plain GROUP BY user_id) AS users;

-- Who buys within ten days of joining, by the week of joining.
SELECT eventkit.funnel_trend_chart(eventkit.funnel_trend_agg(events, ARRAY['join', 'buy'], '10 days', '1 week')) FROM members;

-- Summaries of parts are stored, and put together without looking at an event again.
CREATE TABLE retention_of_parts AS
SELECT user_id % 10 AS part, eventkit.retention_agg(events, 'join', 'visit', '1 week') AS summary FROM members GROUP BY 1;

-- 2000 members in ten weeks, and both ways give the same.
SELECT (SELECT sum(users) FROM eventkit.retention_table(whole) WHERE period = 0) = 2000
       AND whole::text = (SELECT eventkit.retention_agg(events, 'join', 'visit', '1 week')::text FROM members) AS ok
FROM (SELECT eventkit.rollup(summary) AS whole FROM retention_of_parts) AS parts;
