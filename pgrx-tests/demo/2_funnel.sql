-- Funnels: from a look at a product to the purchase, in one scan and without a join

SELECT * FROM eventkit.funnel_table((
    SELECT eventkit.funnel_agg(events, ARRAY['product_view', 'add_to_cart', 'shipping_details', 'payment_details', 'purchase'],
                               interval '1 day')
    FROM user_events));

SELECT eventkit.funnel_chart(
    eventkit.funnel_agg(events, ARRAY['product_view', 'add_to_cart', 'shipping_details', 'payment_details', 'purchase'],
                        interval '1 day'))
FROM user_events;

-- By how a user came.
SELECT channel, t.step, t.label, t.users
FROM (SELECT events[1] ->> 'channel' AS channel,
             eventkit.funnel_agg(events, ARRAY['product_view', 'add_to_cart', 'purchase'], interval '1 day') AS summary
      FROM user_events GROUP BY 1) AS by_channel,
     eventkit.funnel_table(summary) AS t
ORDER BY channel, t.step;

-- Who came as far as the payment details and no further, of all the users?
SELECT count(*) AS stopped_at_payment
FROM user_events
WHERE eventkit.funnel_level(events, ARRAY['add_to_cart', 'payment_details', 'purchase'], interval '1 day') = 2;
