-- Daily partitions: an old table becomes a partitioned one, day by day, while it is in use

CREATE TABLE purchases_by_day (LIKE purchases) PARTITION BY RANGE (at);
CALL eventkit.manage_partitions('purchases_by_day', period => '1 day');

-- What will be done, before anything is.
SELECT * FROM eventkit.plan_backfill('purchases', 'purchases_by_day') LIMIT 8;

-- One transaction per day; broken off, it goes on where it was.
\set QUIET on
SET client_min_messages = warning;
CALL eventkit.backfill('purchases', 'purchases_by_day');
RESET client_min_messages;
\set QUIET off

SELECT (SELECT count(*) FROM purchases) AS purchases, (SELECT count(*) FROM purchases_by_day) AS by_day,
       (SELECT count(*) FROM pg_inherits WHERE inhparent = 'purchases_by_day'::regclass) AS partitions;

-- A question about a week reads a week.
EXPLAIN (COSTS OFF)
SELECT sum(dollars) FROM purchases_by_day WHERE at >= '1997-03-03 00:00+00' AND at < '1997-03-10 00:00+00';
