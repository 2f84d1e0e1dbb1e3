-- 2. Funnels: how far users come, in one scan of the arrays and without a join

-- Users who look at a product, add one to the cart, give payment details and buy, in this order, all within a day.
SELECT step, label, users, round(100 * share_of_first) AS "% of first", round(100 * share_of_previous) AS "% of previous",
       drop_off, date_trunc('second', mean_from_previous) AS mean_time
FROM eventkit.funnel_table((
    SELECT eventkit.funnel_agg(events, ARRAY['product_view', 'add_to_cart', 'payment_details', 'purchase'], '1 day')
    FROM user_events));

-- The same as bars. "116 lost": so many went no further than the step before.
SELECT eventkit.funnel_chart(
           eventkit.funnel_agg(events, ARRAY['product_view', 'add_to_cart', 'payment_details', 'purchase'], '1 day'),
           width => 30)
FROM user_events;

-- By the channel a user came from: GROUP BY.
SELECT events[1] ->> 'channel' AS channel, count(*) AS users,
       round(100 * eventkit.conversion_rate(
           eventkit.funnel_agg(events, ARRAY['product_view', 'add_to_cart', 'purchase'], '1 day'))) AS "% who buy"
FROM user_events GROUP BY 1 ORDER BY 3 DESC;

-- Week after week: of those who gave payment details, how many paid within an hour? Something broke after 19 May.
SELECT week::date, users, round(100 * rate) AS "% paid", repeat('█', round(40 * rate)::int) AS paid
FROM (SELECT week, count(*) FILTER (WHERE eventkit.count_events(events, '{"event": "payment_details"}') > 0) AS users,
             eventkit.conversion_rate(eventkit.funnel_agg(events, ARRAY['payment_details', 'purchase'], '1 hour')) AS rate
      FROM generate_series(timestamptz '2024-05-06 00:00+00', '2024-06-17 00:00+00', '7 days') AS week,
           LATERAL (SELECT eventkit.slice_events(events, week, week + '7 days') AS events FROM user_events) AS of_week
      GROUP BY week) AS weeks
ORDER BY week;

-- Whom to write to? Users who met an error within an hour of their payment details, and have bought nothing since.
SELECT count(*) AS met_an_error, count(*) FILTER (WHERE bought = 0) AS have_not_bought_since
FROM (SELECT eventkit.funnel_level(since, ARRAY['payment_error', 'purchase'], NULL) - 1 AS bought
      FROM (SELECT eventkit.slice_events(events, '2024-05-19 00:00+00') AS since FROM user_events) AS u
      WHERE eventkit.funnel_level(since, ARRAY['payment_details', 'payment_error'], '1 hour') = 2) AS hit;
