-- Two stories in a shop's clicks: a checkout that broke on mobile, and three weeks in which payments failed for everybody.
-- Play it in the folder of the checkout, where the sample data lies: psql -f sql/examples/04_funnel_stories.sql

CREATE EXTENSION IF NOT EXISTS pg_eventkit CASCADE;

-- The clicks, one row each, where they are not there yet. The times of the file are UTC.
SET TimeZone = 'UTC';
SELECT to_regclass('clicks') IS NULL AS missing \gset
\if :missing
CREATE TABLE clicks (
    click_id bigint GENERATED ALWAYS AS IDENTITY,
    user_id text NOT NULL, session_id text NOT NULL, event text NOT NULL, at timestamptz NOT NULL,
    platform text, acquisition_channel text, user_cohort text, user_lifecycle text);
\copy clicks (user_id, session_id, event, at, platform, acquisition_channel, user_cohort, user_lifecycle) FROM PROGRAM 'gzip -dc pgrx-tests/data/ecom_clickstream.csv.gz' WITH (FORMAT csv, HEADER)
\endif

-- One array for each session: a session is on one platform, and a purchase that takes two of them is rare.
CREATE TABLE shop_sessions AS
SELECT session_id, min(platform) AS platform, min(at) AS began,
       eventkit.event_array_agg(jsonb_build_object('event_id', click_id, 'event', event,
                                                   'time', to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))) AS events
FROM clicks GROUP BY session_id;
SELECT platform, count(*) AS sessions FROM shop_sessions GROUP BY platform ORDER BY platform;

-- The times within a session of this data are not true to the minute: a purchase may stand before its payment details.
-- So the funnel takes the steps of a session in any order.
\set checkout '{"steps": ["cart", "payment_details"], "mode": "unordered"}'
\set payment '{"steps": ["payment_details", "purchase"], "mode": "unordered"}'

-- First story. From 9 April to 9 May fewer carts get to the payment than before and after. Who is it?
-- Broken down by platform: desktop and tablet are as they were. On mobile more than half of those who went on are gone.
SELECT platform,
       round(100 * eventkit.conversion_rate(eventkit.funnel_agg(events, :'checkout') FILTER (WHERE NOT hit))) AS "% usually",
       round(100 * eventkit.conversion_rate(eventkit.funnel_agg(events, :'checkout') FILTER (WHERE hit))) AS "% in these weeks",
       repeat('█', round(40 * eventkit.conversion_rate(eventkit.funnel_agg(events, :'checkout') FILTER (WHERE hit)))::int) AS bar
FROM (SELECT *, began >= '2024-04-09' AND began < '2024-05-10' AS hit FROM shop_sessions) AS s
GROUP BY platform ORDER BY platform;

-- As bars.
SELECT platform, eventkit.funnel_chart(eventkit.funnel_agg(events, :'checkout'), width => 30)
FROM shop_sessions WHERE began >= '2024-04-09' AND began < '2024-05-10' GROUP BY platform ORDER BY platform;

-- What did they meet? An event that nobody else has.
SELECT platform, count(*) AS sessions, min(began)::date AS first_day, max(began)::date AS last_day
FROM shop_sessions WHERE eventkit.count_events(events, '{"event": "checkout_bug"}') > 0 GROUP BY platform;

-- Second story. The trend by day: of the sessions that came to the payment on a day, how many paid? The day is that of
-- the first step that matched. On 19 May the bars break off, on 9 June they are back.
SELECT day, users AS came, round(100 * rate) AS "% paid", repeat('█', round(30 * rate)::int) AS paid
FROM (SELECT (eventkit.funnel_times(events, :'payment'))[1]::date AS day,
             eventkit.conversion_rate(eventkit.funnel_agg(events, :'payment')) AS rate,
             count(*) AS users
      FROM shop_sessions GROUP BY 1) AS days
WHERE day BETWEEN '2024-05-12' AND '2024-06-16' ORDER BY day;

-- This time the platform makes no difference: what is broken lies behind all of them.
SELECT platform,
       round(100 * eventkit.conversion_rate(eventkit.funnel_agg(events, :'payment') FILTER (WHERE NOT hit))) AS "% usually",
       round(100 * eventkit.conversion_rate(eventkit.funnel_agg(events, :'payment') FILTER (WHERE hit))) AS "% in these weeks"
FROM (SELECT *, began >= '2024-05-19' AND began < '2024-06-09' AS hit FROM shop_sessions) AS s
GROUP BY platform ORDER BY platform;

-- So that the next one is seen at once: the funnel is saved, refreshed by a schedule, and read by a dashboard.
SELECT eventkit.save_funnel('payment', :'payment', source => 'shop_sessions', breakdown_column => 'platform', keep => '1 year');
CALL eventkit.refresh_funnel('payment');
SELECT breakdown, step, label, users, round(100 * share_of_first) AS "% of first", drop_off
FROM eventkit.funnel_latest WHERE funnel = 'payment' ORDER BY breakdown, step;

-- The bug halves the share of mobile and of nothing else; the incident halves that of every platform.
WITH rates AS (
    SELECT platform,
           eventkit.conversion_rate(eventkit.funnel_agg(events, :'checkout') FILTER (WHERE began >= '2024-04-09' AND began < '2024-05-10'))
           / eventkit.conversion_rate(eventkit.funnel_agg(events, :'checkout') FILTER (WHERE began < '2024-04-09' OR began >= '2024-05-10')) AS bug,
           eventkit.conversion_rate(eventkit.funnel_agg(events, :'payment') FILTER (WHERE began >= '2024-05-19' AND began < '2024-06-09'))
           / eventkit.conversion_rate(eventkit.funnel_agg(events, :'payment') FILTER (WHERE began < '2024-05-19' OR began >= '2024-06-09')) AS incident
    FROM shop_sessions GROUP BY platform)
SELECT bool_and((bug < 0.65) = (platform = 'mobile') AND incident < 0.65) AS ok FROM rates;
