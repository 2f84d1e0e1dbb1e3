-- drain_default: rows that fell into the default partition move to partitions of their own, a transaction a period. The steps run
-- with the rights of the parent's owner, whoever calls.

CREATE FUNCTION eventkit.run_drain_period(parent regclass, period timestamp, copy_first boolean, lock_timeout interval, caller_search_path text)
RETURNS bigint
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
-- These settings end with the function; the values given here are replaced below or kept.
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 SET default_tablespace = '' SET row_security = on
AS $$
#variable_conflict use_variable
DECLARE
  step eventkit.plan_step;
  waiting text[] := '{}';
  moved bigint := 0;
  deleted bigint;
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting(lock_timeout), true);
  PERFORM eventkit.lock_period(parent, period, lock_timeout, exclusive => true);
  FOR step IN SELECT p.* FROM eventkit.plan_drain_period(parent, period, copy_first) p ORDER BY p.step LOOP
    IF step.statement IS NULL THEN
      RETURN 0;
    ELSIF step.lock = 'ACCESS SHARE' AND starts_with(step.statement, 'LOCK TABLE ') THEN
      PERFORM eventkit.execute_with_retries(ARRAY[step.statement]);
      CONTINUE;
    ELSIF starts_with(step.statement, 'LOCK TABLE ') THEN
      waiting := waiting || step.statement;
      CONTINUE;
    ELSIF waiting <> '{}' THEN
      PERFORM eventkit.execute_with_retries(waiting);
      waiting := '{}';
      -- From here on others may wait for what it holds.
      PERFORM set_config('lock_timeout', eventkit.yielding_lock_timeout(lock_timeout), true);
    END IF;
    IF starts_with(step.statement, 'INSERT INTO ') THEN
      -- Functions of the user's in constraints and indexes see the path that they would see without us; every name and
      -- operator up to the next set_config is qualified.
      -- A row that a policy hides would be lost: an error says so. The tables of ours have policies, and need them.
      PERFORM pg_catalog.set_config('search_path', caller_search_path, true), pg_catalog.set_config('row_security', 'off', true);
      EXECUTE step.statement;
      GET DIAGNOSTICS deleted = ROW_COUNT;
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('row_security', 'on', true);
      moved := moved + deleted;
    ELSIF starts_with(step.statement, 'DELETE FROM ') THEN
      PERFORM set_config('row_security', 'off', true);
      EXECUTE step.statement;
      GET DIAGNOSTICS deleted = ROW_COUNT;
      PERFORM set_config('row_security', 'on', true);
      IF deleted <> moved THEN
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure',
          MESSAGE = format('%s rows of %s were copied, %s are there', moved, step.target, deleted),
          DETAIL = 'Rows were changed or deleted between the copy and the lock.',
          HINT = 'Call again.';
      END IF;
    ELSIF step.lock IS NOT NULL AND starts_with(step.statement, 'ALTER TABLE ') THEN
      -- Readers of the parent wait meanwhile: nobody is waited for twice.
      PERFORM eventkit.execute_with_retries(ARRAY[step.statement], once => true);
    ELSE
      EXECUTE step.statement;
    END IF;
  END LOOP;
  RETURN moved;
END
$$;

COMMENT ON FUNCTION eventkit.run_drain_period(regclass, timestamp, boolean, interval, text) IS
'Moves the rows of one period from the default partition into one of their own, and tells how many. SELECT eventkit.run_drain_period(''app.events'', ''2024-01-01'', true, ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.drain_period(parent regclass, period timestamp, batch_rows int, lock_timeout interval, caller_search_path text)
RETURNS bigint
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
#variable_conflict use_variable
DECLARE
  copy_first boolean;
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting(lock_timeout), true);
  PERFORM eventkit.lock_period(parent, period, lock_timeout, exclusive => true);
  -- Who alters the parent takes it before its partitions: the other way round one of the two would be ended.
  PERFORM eventkit.execute_with_retries(ARRAY[format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE', parent)]);
  copy_first := eventkit.default_period_rows(parent, period) > batch_rows;
  FOR attempt IN 1..3 LOOP
    BEGIN
      RETURN eventkit.run_drain_period(parent, period, copy_first, lock_timeout, caller_search_path);
    EXCEPTION WHEN serialization_failure OR unique_violation OR exclusion_violation OR insufficient_privilege THEN
      -- Somebody changed what was copied already: another number of rows, the same key twice, or twice in a key that is proved at the
      -- end, which the rights of the owner alone do not suffice for. It is copied again while nobody waits.
      EXIT WHEN NOT copy_first;
    END;
  END LOOP;
  -- They change again and again: all of it is moved under the lock.
  RETURN eventkit.run_drain_period(parent, period, false, lock_timeout, caller_search_path);
END
$$;

COMMENT ON FUNCTION eventkit.drain_period(regclass, timestamp, int, interval, text) IS
'Moves the rows of one period as run_drain_period does; more than batch_rows are copied before the lock, three times while others change them meanwhile. SELECT eventkit.drain_period(''app.events'', ''2024-01-01'', 10000, ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.check_batch_rows(batch_rows int) RETURNS int
IMMUTABLE PARALLEL SAFE COST 5 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF batch_rows IS NULL OR batch_rows < 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('argument "batch_rows" is out of range: %s', coalesce(batch_rows::text, 'NULL')),
      DETAIL = 'Periods with more rows are copied before the lock; 0 does so with all.',
      HINT = 'Leave it out to get its default of 10000.';
  END IF;
  RETURN batch_rows;
END
$$;

COMMENT ON FUNCTION eventkit.check_batch_rows(int) IS
'Checks the argument batch_rows of drain_default. SELECT eventkit.check_batch_rows(10000)';

CREATE PROCEDURE eventkit.drain_periods(
  parent regclass, batch_rows int, lock_timeout interval, caller_search_path text,
  INOUT periods int, INOUT moved bigint, INOUT failure jsonb)
LANGUAGE plpgsql
AS $$
DECLARE
  alone CONSTANT pg_catalog.bool := NOT eventkit.in_transaction_block();
  period pg_catalog.timestamp;
  next_period pg_catalog.timestamp;
  trouble pg_catalog.text;
  began pg_catalog.timestamptz;
  done pg_catalog.record;
BEGIN
  periods := 0;
  moved := 0;
  failure := NULL;
  LOOP
    SELECT t.result, t.failure INTO done FROM eventkit.try_as_owner(parent,
      pg_catalog.format('SELECT pg_catalog.to_char(eventkit.next_default_period(%L, %L), ''YYYY-MM-DD HH24:MI:SS.US'')', parent::pg_catalog.oid, pg_catalog.to_char(period, 'YYYY-MM-DD HH24:MI:SS.US')),
      pg_catalog.format('the default partition of %s is not drained', parent)) t;
    failure := COALESCE(failure, done.failure);
    EXIT WHEN done.result IS NULL;
    -- Written from the year on it is read as the same under any DateStyle, and without a zone by no zone's clocks.
    next_period := done.result::pg_catalog.timestamp;
    IF next_period OPERATOR(pg_catalog.>=) period THEN
      trouble := pg_catalog.format('the default partition of %s is not drained: period %s came again', parent, pg_catalog.to_char(next_period, 'YYYY-MM-DD HH24:MI'));
      failure := COALESCE(failure, pg_catalog.jsonb_build_object('state', '55000', 'message', trouble));
      RAISE WARNING USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = trouble,
        DETAIL = 'Each period is looked for before the last one: the loop would never end.',
        HINT = pg_catalog.format('See what is found with: SELECT eventkit.next_default_period(%L, %L).', parent, period);
      EXIT;
    END IF;
    period := next_period;
    IF alone THEN
      -- The look has locked the tables for reading; the move begins without a lock, and sees what is committed before it has them all.
      COMMIT;
      SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    began := pg_catalog.clock_timestamp();
    SELECT t.result, t.failure INTO done FROM eventkit.try_as_owner(parent,
      pg_catalog.format('SELECT eventkit.drain_period(%L, %L, %s, %L, %L)::pg_catalog.text', parent::pg_catalog.oid,
        pg_catalog.to_char(period, 'YYYY-MM-DD HH24:MI:SS.US'), batch_rows, lock_timeout, caller_search_path),
      pg_catalog.format('rows of %s stay in the default partition', pg_catalog.to_char(period, 'YYYY-MM-DD HH24:MI'))) t;
    IF alone THEN
      COMMIT;
    END IF;
    failure := COALESCE(failure, done.failure);
    IF done.result::pg_catalog.int8 OPERATOR(pg_catalog.>) 0 THEN
      periods := periods OPERATOR(pg_catalog.+) 1;
      moved := moved OPERATOR(pg_catalog.+) done.result::pg_catalog.int8;
      RAISE NOTICE 'period % of %: % rows moved in % s', pg_catalog.to_char(period, 'YYYY-MM-DD HH24:MI'), parent, done.result,
        pg_catalog.round(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) began)::pg_catalog.numeric, 2);
    END IF;
  END LOOP;
END
$$;

COMMENT ON PROCEDURE eventkit.drain_periods(regclass, int, interval, text, int, bigint, jsonb) IS
'Does the work of drain_default and tells how many periods and rows were moved and the first failure. CALL eventkit.drain_periods(''app.events'', 10000, ''2 seconds'', current_setting(''search_path''), NULL, NULL, NULL)';

CREATE PROCEDURE eventkit.drain_default(parent regclass, batch_rows int DEFAULT 10000, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  periods pg_catalog.int4;
  moved pg_catalog.int8;
  failure pg_catalog.jsonb;
  kinds pg_catalog.text;
BEGIN
  PERFORM eventkit.refuse_read_only('drain_default');
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  PERFORM eventkit.check_batch_rows(batch_rows);
  IF parent IS NULL THEN
    PERFORM eventkit.next_default_period(parent);
  END IF;
  -- What is wrong with the arguments is an error; what is wrong with a period is a warning. A query of the table may run functions of
  -- its owner's: with his rights only.
  PERFORM eventkit.run_as_owner(parent, pg_catalog.format('SELECT eventkit.next_default_period(%L)::pg_catalog.text', parent::pg_catalog.oid));
  CALL eventkit.drain_periods(parent, batch_rows, lock_timeout, caller_search_path, periods, moved, failure);
  kinds := eventkit.run_as_owner(parent, pg_catalog.format(
    'SELECT pg_catalog.string_agg(pg_catalog.format(''%%s: %%s rows'', l.kind, l.row_count), '', '') FROM eventkit.default_left_behind(%L) l', parent::pg_catalog.oid));
  IF kinds IS NOT NULL THEN
    RAISE WARNING USING
      MESSAGE = pg_catalog.format('rows stay in the default partition of %s: %s', parent, kinds),
      DETAIL = 'Keys that are NULL, infinite, before 1970 or more than ten years ahead are not moved.',
      HINT = pg_catalog.format('See them with: SELECT * FROM eventkit.default_left_behind(%L).', parent);
  END IF;
END
$$;

COMMENT ON PROCEDURE eventkit.drain_default(regclass, int, interval) IS
'Moves rows out of the default partition into partitions of their own, the newest period first, a transaction a period; nobody sees a row twice or not at all (but an older snapshot of a REPEATABLE READ transaction that reads the table for the first time behind it), and who writes waits for a moment. Periods with more than batch_rows rows are copied before that moment. CALL eventkit.drain_default(''app.events'')';

REVOKE EXECUTE ON PROCEDURE eventkit.drain_default(regclass, int, interval) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.next_default_period(regclass, timestamp) IS
'Finds the newest period with rows in the default partition before another one (NULL: the newest of all), by what the clocks show at its beginning. SELECT eventkit.next_default_period(''app.events'')';
COMMENT ON FUNCTION eventkit.default_period_rows(regclass, timestamp) IS
'Counts the rows of a period in the default partition. SELECT eventkit.default_period_rows(''app.events'', ''2024-01-01'')';
COMMENT ON FUNCTION eventkit.default_left_behind(regclass) IS
'Counts the rows of the default partition that no drain moves: key NULL, infinite, before 1970 or more than ten years ahead. SELECT * FROM eventkit.default_left_behind(''app.events'')';
COMMENT ON FUNCTION eventkit.plan_drain_period(regclass, timestamp, boolean) IS
'Shows the steps that move one period out of the default partition. SELECT * FROM eventkit.plan_drain_period(''app.events'', ''2024-01-01'')';
COMMENT ON FUNCTION eventkit.plan_drain_default(regclass, int) IS
'Shows the steps of drain_default without doing them, COMMIT behind each period. SELECT * FROM eventkit.plan_drain_default(''app.events'')';
