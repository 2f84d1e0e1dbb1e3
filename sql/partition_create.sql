-- Making partitions: one day, a range of periods. The functions run as the invoker, as in partition_plan.sql.

CREATE FUNCTION eventkit.run_partition_plan(
  source regclass, parent regclass, period timestamp, lock_timeout interval, caller_search_path text, seen_free boolean DEFAULT false,
  verify text DEFAULT 'count')
RETURNS bigint
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
#variable_conflict use_variable
DECLARE
  planned eventkit.plan_step[];
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting(lock_timeout), true);
  IF parent IS NOT NULL THEN
    PERFORM eventkit.lock_period(parent, CASE WHEN source IS NULL THEN period END, lock_timeout);
  END IF;
  -- Two callers of one period: the second one waits here and then finds the first one's partition. A backfill has its
  -- snapshot already and would not find it: it gives way.
  IF source IS NOT NULL AND NOT pg_try_advisory_xact_lock(eventkit.partition_lock_key(parent, period)) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use',
      MESSAGE = format('%s of %s is being made by another session', to_char(period, 'YYYY-MM-DD HH24:MI'), parent),
      DETAIL = 'One session at a time makes a partition.',
      HINT = format('Call again when it is done: CALL eventkit.backfill(%L, %L).', source, parent);
  END IF;
  BEGIN
    IF source IS NULL THEN
      planned := ARRAY(SELECT p FROM eventkit.plan_partition(parent, period, seen_free) p ORDER BY p.step);
    ELSE
      planned := ARRAY(SELECT p FROM eventkit.plan_backfill_period(source, parent, period, verify) p ORDER BY p.step);
    END IF;
    -- The plan has read the default partition. Its lock is given back, or two who keep it and want more wait for each other.
    RAISE EXCEPTION 'the plan is made';
  EXCEPTION WHEN raise_exception THEN
    IF planned IS NULL THEN
      RAISE;
    END IF;
  END;
  RETURN eventkit.run_plan(planned, lock_timeout, caller_search_path);
END
$$;

COMMENT ON FUNCTION eventkit.run_partition_plan(regclass, regclass, timestamp, interval, text, boolean, text) IS
'Runs the plan of one period, with rows when a source is given, and returns the rows copied; NULL when there was nothing to do. SELECT eventkit.run_partition_plan(NULL, ''app.events'', ''2024-01-01'', ''2 seconds'', current_setting(''search_path''))';

CREATE PROCEDURE eventkit.create_partition(parent regclass, day date, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  period pg_catalog.timestamp;
BEGIN
  PERFORM eventkit.refuse_read_only('create_partition');
  FOR period IN SELECT p.* FROM eventkit.partition_periods_of_day(parent, day) p LOOP
    PERFORM eventkit.run_partition_plan(NULL, parent, period, lock_timeout, caller_search_path);
  END LOOP;
END
$$;

COMMENT ON PROCEDURE eventkit.create_partition(regclass, date, interval) IS
'Creates the partition of a day (of UTC, or of the period and zone that the parent is managed by) like its parent in every respect and attaches it without a scan; does nothing when it exists. Works inside a transaction. CALL eventkit.create_partition(''app.events'', current_date)';

REVOKE EXECUTE ON PROCEDURE eventkit.create_partition(regclass, date, interval) FROM PUBLIC;

CREATE PROCEDURE eventkit.create_partitions(
  parent regclass, from_time timestamptz, to_time timestamptz, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  alone CONSTANT pg_catalog.bool := NOT eventkit.in_transaction_block();
  wanted pg_catalog.record;
BEGIN
  PERFORM eventkit.refuse_read_only('create_partitions');
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  FOR wanted IN
    SELECT p.period, p.partition IS NULL AS seen_free
    FROM eventkit.partition_periods(parent, from_time, to_time) p WHERE NOT p.exact ORDER BY p.period
  LOOP
    PERFORM eventkit.run_partition_plan(NULL, parent, wanted.period, lock_timeout, caller_search_path, wanted.seen_free);
    -- Each one stands by itself; inside of a transaction block the caller decides.
    IF alone THEN
      COMMIT;
    END IF;
  END LOOP;
END
$$;

COMMENT ON PROCEDURE eventkit.create_partitions(regclass, timestamptz, timestamptz, interval) IS
'Creates the partitions of all periods that share a time with a range, each in its own transaction; those that exist are left as they are, so that a call that was stopped can be repeated. Inside of a transaction block all of them belong to it. CALL eventkit.create_partitions(''app.events'', now(), now() + interval ''30 days'')';

REVOKE EXECUTE ON PROCEDURE eventkit.create_partitions(regclass, timestamptz, timestamptz, interval) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.plan_create_partition(regclass, date) IS
'Shows the steps of create_partition without doing them: statement, the lock that others may wait for (NULL: nobody sees the table), target, reason. SELECT * FROM eventkit.plan_create_partition(''app.events'', current_date)';
COMMENT ON FUNCTION eventkit.plan_create_partitions(regclass, timestamptz, timestamptz) IS
'Shows the steps of create_partitions without doing them, COMMIT behind each partition. SELECT * FROM eventkit.plan_create_partitions(''app.events'', now(), now() + interval ''30 days'')';
COMMENT ON FUNCTION eventkit.plan_partition(regclass, timestamp, boolean) IS
'Shows the steps that make the partition of one period, told by a time that the clocks of the parent''s zone show in it; seen_free => true for one who has seen that no partition meets it. SELECT * FROM eventkit.plan_partition(''app.events'', ''2024-01-01 00:00'')';
COMMENT ON FUNCTION eventkit.partition_periods(regclass, timestamptz, timestamptz) IS
'Lists the periods of a parent that share a time with a range: what the clocks show at the beginning, the first instant, the first one after, the partition''s name, the first partition in it, whether one is exactly the period''s, whether all of it is covered. SELECT * FROM eventkit.partition_periods(''app.events'', now(), now() + interval ''30 days'')';
COMMENT ON FUNCTION eventkit.partition_periods_of_day(regclass, date) IS
'Lists the periods of a day by what the clocks show at their beginning. SELECT * FROM eventkit.partition_periods_of_day(''app.events'', current_date)';
COMMENT ON FUNCTION eventkit.partition_horizon(regclass, int) IS
'Tells when the period ends that is so many after the present one. SELECT eventkit.partition_horizon(''app.events'', 7)';
