-- Funnels: how many users reach which step, within what time, and who does not.
-- Play it in an empty database: psql -f 02_funnel.sql

CREATE EXTENSION IF NOT EXISTS pg_eventkit CASCADE;

-- 1000 users. All visit, 3 of 5 sign up, of those every other one pays: half of them after an hour, half after two days.
CREATE TABLE user_events (user_id int PRIMARY KEY, channel text NOT NULL, events jsonb[] NOT NULL);
INSERT INTO user_events
SELECT n, CASE WHEN n % 3 = 0 THEN 'email' ELSE 'search' END,
       ARRAY[jsonb_build_object('event_id', 3 * n, 'event', 'visit', 'time', at)]
       || CASE WHEN n % 5 < 3 THEN ARRAY[jsonb_build_object('event_id', 3 * n + 1, 'event', 'sign_up', 'time', at + 120)] END
       || CASE WHEN n % 5 < 3 AND n % 2 = 0
               THEN ARRAY[jsonb_build_object('event_id', 3 * n + 2, 'event', 'pay', 'time', at + CASE WHEN n % 4 = 0 THEN 3600 ELSE 172800 END)]
          END
FROM (SELECT n, 1709251200 + n * 60 AS at FROM generate_series(1, 1000) AS n) AS users;

-- The steps in figures; all within a day of the visit.
SELECT step, label, users, round(100 * share_of_first) AS "% of first", drop_off, mean_from_previous
FROM eventkit.funnel_table((
    SELECT eventkit.funnel_agg(events, ARRAY['visit', 'sign_up', 'pay'], '1 day') FROM user_events));

-- As bars, with a window of three days: those who pay after two days are in time now.
SELECT eventkit.funnel_chart(eventkit.funnel_agg(events, ARRAY['visit', 'sign_up', 'pay'], '3 days')) FROM user_events;

-- The full form: alternatives for a step, labels, a window as text.
SELECT eventkit.funnel_chart(eventkit.funnel_agg(events, '{
    "steps": [{"event": "visit", "label": "comes"}, {"event": ["sign_up", "log_in"], "label": "says who"}, "pay"],
    "window": "1 day"
}')) FROM user_events;

-- By channel.
SELECT channel, count(*) AS users,
       eventkit.conversion_rate(eventkit.funnel_agg(events, ARRAY['visit', 'sign_up', 'pay'], '1 day'))
FROM user_events GROUP BY channel ORDER BY channel;

-- Who signed up and did not pay within a day: the level of each user is a condition like any other.
SELECT count(*) AS to_remind FROM user_events
WHERE eventkit.funnel_level(events, ARRAY['visit', 'sign_up', 'pay'], '1 day') = 2;

-- Summaries can be stored, one per channel here, and added up without looking at an event again.
CREATE TABLE funnels (channel text PRIMARY KEY, summary eventkit.funnel_summary NOT NULL);
INSERT INTO funnels
SELECT channel, eventkit.funnel_agg(events, ARRAY['visit', 'sign_up', 'pay'], '1 day') FROM user_events GROUP BY channel;
SELECT eventkit.funnel_chart(eventkit.rollup(summary)) FROM funnels;

-- 1000 visits, 600 sign-ups, 150 payments within a day.
SELECT array_agg(users ORDER BY step) = '{1000,600,150}' AS ok
FROM eventkit.funnel_table((SELECT eventkit.rollup(summary) FROM funnels));
