-- 3. Daily partitions: the rows of an old table are copied into days of their own

-- Two months of a music seller's purchases, in a plain table with an index on the day.
CREATE TABLE old_purchases AS SELECT * FROM purchases WHERE bought_on >= '1997-02-01' AND bought_on < '1997-04-01';
CREATE INDEX ON old_purchases (bought_on);

-- The new table is made by plain SQL and stays yours.
CREATE TABLE purchases_by_day (LIKE old_purchases) PARTITION BY RANGE (bought_on);
CREATE INDEX ON purchases_by_day (customer_id);

-- What will be done for a day, and which locks others may meet; "-" on a table that nobody else sees yet.
SELECT step, coalesce(lock, '-') AS lock, left(replace(statement, '"public".', ''), 70) AS statement
FROM eventkit.plan_backfill_period('old_purchases', 'purchases_by_day', '1997-03-31');

-- Now it is done: newest day first, one transaction per day. Its line for each of the 59 days is left out here.
SET client_min_messages = warning;
-- Nobody writes to the old table meanwhile, so that it needs no key by which changes would be captured.
CALL eventkit.backfill('old_purchases', 'purchases_by_day', capture => false);
RESET client_min_messages;

SELECT (SELECT count(*) FROM old_purchases) AS old_rows, (SELECT count(*) FROM purchases_by_day) AS new_rows,
       count(*) AS partitions
FROM eventkit.partitions WHERE parent = 'purchases_by_day'::regclass;

-- A question about three days reads three partitions of 59.
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
SELECT sum(dollars) FROM purchases_by_day WHERE bought_on >= '1997-03-03' AND bought_on < '1997-03-06';

-- The next day, made before its first row comes. Asked for again, it is there already.
CALL eventkit.create_partition('purchases_by_day', '1997-04-01');
CALL eventkit.create_partition('purchases_by_day', '1997-04-01');

SELECT partition, from_time, row_estimate FROM eventkit.partitions
WHERE parent = 'purchases_by_day'::regclass ORDER BY from_time DESC LIMIT 3;
