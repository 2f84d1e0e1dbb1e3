-- Plans: their rows, and what runs the steps of one transaction. The functions here run as the invoker and can do
-- nothing that their caller could not type himself: EXECUTE stays with PUBLIC, so that a grant on one procedure is enough for
-- all that it does. No procedure that has to be granted calls another such.

CREATE TYPE eventkit.plan_step AS (step int, statement text, lock text, target text, reason text);

COMMENT ON TYPE eventkit.plan_step IS
'A step of a plan: its number, the statement word for word (NULL: nothing to do), the lock that others may wait for (NULL: nobody sees the table), the table, the reason.';

CREATE FUNCTION eventkit.lock_timeout_setting(lock_timeout interval) RETURNS text
IMMUTABLE PARALLEL SAFE COST 5 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF lock_timeout IS NULL OR lock_timeout < interval '1 millisecond' OR lock_timeout > interval '1 day' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('argument "lock_timeout" is out of range: %s', coalesce(lock_timeout::text, 'NULL')),
      DETAIL = 'A wait takes between 1 millisecond and 1 day.',
      HINT = 'Give a short one, as in: lock_timeout => ''2 seconds''.';
  END IF;
  RETURN ceil(extract(epoch FROM lock_timeout) * 1000)::bigint::text;
END
$$;

COMMENT ON FUNCTION eventkit.lock_timeout_setting(interval) IS
'Checks a lock_timeout and writes it as the server''s setting, in milliseconds. SELECT eventkit.lock_timeout_setting(''2 seconds'')';

CREATE FUNCTION eventkit.yielding_lock_timeout(lock_timeout interval) RETURNS text
STABLE PARALLEL SAFE COST 5 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN greatest(1, least(
    eventkit.lock_timeout_setting(lock_timeout)::bigint, floor(extract(epoch FROM current_setting('deadlock_timeout')::interval) * 400)::bigint))::text;
END
$$;

COMMENT ON FUNCTION eventkit.yielding_lock_timeout(interval) IS
'Writes the lock_timeout of who waits for one lock and holds another: he gives way before the server looks for a deadlock and ends somebody else''s statement. SELECT eventkit.yielding_lock_timeout(''2 seconds'')';

CREATE FUNCTION eventkit.execute_with_retries(statements text[], once boolean DEFAULT false) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  longest CONSTANT text := current_setting('lock_timeout');
  -- Who waits for one lock and holds another gives way before the server looks for a deadlock and ends somebody else's statement.
  budget CONSTANT interval := current_setting('deadlock_timeout')::interval * 0.4;
  began CONSTANT timestamptz := clock_timestamp();
  attempt int := 0;
  statement text;
  reason text;
  held_since timestamptz;
  left_ms bigint;
BEGIN
  -- Short waits do not make it less patient: it goes on as long as 20 full ones take.
  WHILE attempt < 20 OR clock_timestamp() < began + longest::interval * 20 LOOP
    attempt := attempt + 1;
    held_since := NULL;
    -- All or none: a timeout gives back the locks taken so far, so that nobody queues behind a half-taken set.
    BEGIN
      FOREACH statement IN ARRAY statements LOOP
        IF starts_with(statement, 'LOCK TABLE ') AND held_since IS NOT NULL THEN
          left_ms := greatest(1, extract(epoch FROM held_since + budget - clock_timestamp()) * 1000);
          IF longest::interval = interval '0' OR longest::interval > left_ms * interval '1 millisecond' THEN
            PERFORM set_config('lock_timeout', left_ms::text, true);
          END IF;
          EXECUTE statement;
          PERFORM set_config('lock_timeout', longest, true);
        ELSE
          EXECUTE statement;
          held_since := coalesce(held_since, clock_timestamp());
        END IF;
      END LOOP;
      RETURN;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      reason := SQLERRM;
    END;
    EXIT WHEN once;
    IF held_since IS NOT NULL AND starts_with(statement, 'LOCK TABLE ') THEN
      -- The server ends an autovacuum for who waits as long as deadlock_timeout: waited for once more, holding nothing else.
      BEGIN
        EXECUTE statement;
        RAISE EXCEPTION 'it is to be had'; -- The block gives it back.
      EXCEPTION
        WHEN raise_exception THEN CONTINUE;
        WHEN lock_not_available OR deadlock_detected THEN NULL;
      END;
    END IF;
    -- Longer each time, and never in step with another caller.
    PERFORM pg_sleep(0.05 * least(attempt, 20) * (0.5 + random()));
  END LOOP;
  RAISE EXCEPTION USING
    ERRCODE = 'lock_not_available',
    MESSAGE = format('could not get the locks in %s attempt%s: %s', attempt, CASE WHEN attempt > 1 THEN 's' END, reason),
    DETAIL = format('The statement that waited: %s. Nothing was changed by this step.', statement),
    HINT = 'See who holds them with: SELECT pid, state, query FROM pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start; then call again, with a longer lock_timeout if need be.';
END
$$;

COMMENT ON FUNCTION eventkit.execute_with_retries(text[], boolean) IS
'Executes statements together, again while lock_timeout ends the wait: 20 times, more where the waits are short, or once, where others wait for what is held already; who holds a lock already waits shorter than deadlock_timeout. SELECT eventkit.execute_with_retries(ARRAY[''LOCK TABLE app.events IN SHARE MODE''])';

CREATE FUNCTION eventkit.refuse_copy(filled regclass, message text, numbers text) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- A new table has none of these; nor has any trigger behind an insert another say in what is stored.
  blamed CONSTANT text := (
    SELECT string_agg(DISTINCT b.what, ', ') FROM (
      SELECT format('trigger %I', g.tgname) FROM pg_trigger g
      WHERE (g.tgrelid = filled OR g.tgrelid IN (SELECT t.relid FROM pg_partition_tree(filled) t)) AND NOT g.tgisinternal
        AND g.tgenabled <> 'D' AND g.tgtype & 7 = 7
      UNION ALL
      SELECT format('rule %I', r.rulename) FROM pg_rewrite r WHERE r.ev_class = filled AND r.ev_type = '3' AND r.ev_enabled <> 'D') b (what));
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
    MESSAGE = message,
    DETAIL = format(CASE WHEN blamed IS NULL THEN '%s: an index of the source may be damaged, or a cast between the two types does not give the same twice.'
      ELSE '%s: %s of %s may change or drop rows.' END, numbers, blamed, filled),
    HINT = CASE WHEN blamed IS NULL THEN 'Check the indexes of the source with amcheck: SELECT bt_index_check(indexrelid, true) FROM pg_index; then call again.'
      ELSE 'Where that is meant say verify => ''none''. Otherwise drop the partition that stands there empty: rows are copied into a new one past its triggers; or disable it meanwhile, then call again.' END;
END
$$;

COMMENT ON FUNCTION eventkit.refuse_copy(regclass, text, text) IS
'Raises the error of a copy that is not like its source, and names the triggers and rules of the table that was filled which may be to blame. SELECT eventkit.refuse_copy(''app.events'', ''3 rows came to app.events of 4'', ''Both numbers are of one snapshot'') WHERE 3 <> 3';

CREATE FUNCTION eventkit.run_plan(planned eventkit.plan_step[], lock_timeout interval, caller_search_path text)
RETURNS bigint
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
-- These settings end with the function; the values given here are replaced below, by a step of the plan, or kept.
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 SET default_tablespace = '' SET enable_mergejoin = on
AS $$
#variable_conflict use_variable
DECLARE
  step eventkit.plan_step;
  waiting text[] := '{}';
  exclusive boolean := false;
  copied bigint := 0;
  counted bigint;
  filled regclass;
  sample CONSTANT text := current_setting('default_statistics_target');
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting(lock_timeout), true);
  FOREACH step IN ARRAY planned LOOP
    IF step.statement IS NULL THEN
      RAISE NOTICE '%', step.reason;
      RETURN NULL;
    ELSIF starts_with(step.statement, 'LOCK TABLE ') THEN
      waiting := waiting || step.statement;
      exclusive := exclusive OR step.lock = 'ACCESS EXCLUSIVE';
      CONTINUE;
    ELSIF waiting <> '{}' THEN
      PERFORM eventkit.execute_with_retries(waiting);
      waiting := '{}';
      -- From here on others may wait for what it holds.
      PERFORM set_config('lock_timeout', eventkit.yielding_lock_timeout(lock_timeout), true);
    END IF;
    IF starts_with(step.statement, 'INSERT INTO ') OR starts_with(step.statement, 'SELECT eventkit.copy_rows(') THEN
      -- Functions of the user's in constraints and generated columns see the path that they would see without us;
      -- every name and operator up to the next set_config is qualified.
      PERFORM pg_catalog.set_config('search_path', caller_search_path, true);
      IF pg_catalog.starts_with(step.statement, 'INSERT INTO ') THEN
        EXECUTE step.statement;
        GET DIAGNOSTICS copied = ROW_COUNT;
        -- A copy that nobody sees yet has no triggers of the user's.
        filled := CASE WHEN step.lock OPERATOR(pg_catalog.=) 'ROW EXCLUSIVE' THEN step.target END;
      ELSE
        EXECUTE step.statement INTO copied;
      END IF;
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    ELSIF starts_with(step.statement, 'SELECT pg_catalog.count(*) ') THEN
      EXECUTE step.statement INTO counted;
      IF counted <> copied THEN
        PERFORM eventkit.refuse_copy(
          filled,
          CASE WHEN filled IS NULL THEN format('%s rows were copied from %s, which holds %s', copied, step.target, counted)
            ELSE format('%s rows came to %s of %s that %s holds', copied, filled, counted, step.target) END,
          'Both numbers are of one snapshot');
      END IF;
    ELSIF step.lock IS NOT NULL THEN
      -- Readers wait for what is held exclusively: then nobody is waited for twice.
      PERFORM eventkit.execute_with_retries(ARRAY[step.statement], once => exclusive);
    ELSE
      EXECUTE step.statement;
    END IF;
  END LOOP;
  -- A step may have made it smaller, for this plan alone.
  PERFORM set_config('default_statistics_target', sample, true);
  RETURN copied;
END
$$;

COMMENT ON FUNCTION eventkit.run_plan(eventkit.plan_step[], interval, text) IS
'Runs the steps of one transaction: locks together, each wait under lock_timeout and tried again; returns the rows copied, NULL when there was nothing to do. SELECT eventkit.run_plan(ARRAY(SELECT p FROM eventkit.plan_create_partition(''app.events'', current_date) p), ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.run_together(planned eventkit.plan_step[], lock_timeout interval) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
-- These settings end with the function; the timeout is replaced below.
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 SET default_tablespace = ''
AS $$
#variable_conflict use_variable
DECLARE
  statements text[] := ARRAY(SELECT p.statement FROM unnest(planned) p ORDER BY p.step);
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting(lock_timeout), true);
  IF (SELECT count(*) FROM unnest(planned) p WHERE p.lock = 'ACCESS EXCLUSIVE') > 1 THEN
    statements := statements[1:1] || format('SET LOCAL lock_timeout = %s', eventkit.yielding_lock_timeout(lock_timeout)) || statements[2:];
  END IF;
  PERFORM eventkit.execute_with_retries(statements);
END
$$;

COMMENT ON FUNCTION eventkit.run_together(eventkit.plan_step[], interval) IS
'Runs the steps of one transaction, all or none, again while a lock is not to be had. SELECT eventkit.run_together(ARRAY(SELECT p FROM eventkit.plan_create_partition(''app.events'', ''2031-01-01'') p), ''2 seconds'')';

CREATE FUNCTION eventkit.try_plan(
  planned eventkit.plan_step[], lock_timeout interval, caller_search_path text, together boolean DEFAULT false) RETURNS jsonb
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  detail text;
  hint text;
BEGIN
  IF together THEN
    PERFORM eventkit.run_together(planned, lock_timeout);
  ELSE
    PERFORM eventkit.run_plan(planned, lock_timeout, caller_search_path);
  END IF;
  RETURN NULL;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN jsonb_build_object('state', SQLSTATE, 'message', SQLERRM, 'detail', detail, 'hint', hint);
END
$$;

COMMENT ON FUNCTION eventkit.try_plan(eventkit.plan_step[], interval, text, boolean) IS
'Runs the steps of one transaction as run_plan does, or as run_together, and returns the error, if there is one, instead of raising it. SELECT eventkit.try_plan(ARRAY(SELECT p FROM eventkit.plan_create_partition(''app.events'', current_date) p), ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.raise_failure(failure jsonb, detail text, hint text) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF failure IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = failure ->> 'state', MESSAGE = failure ->> 'message',
      DETAIL = coalesce(nullif(failure ->> 'detail', ''), detail, 'The statement that failed says no more.'),
      HINT = coalesce(nullif(failure ->> 'hint', ''), hint, 'Remove the cause, then call again.');
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.raise_failure(jsonb, text, text) IS
'Raises the error that try_plan has returned, if there is one, with a detail and a hint where it has none. SELECT eventkit.raise_failure(eventkit.try_plan(''{}'', ''2 seconds'', ''''), ''Nothing was done.'', ''Call again.'')';

CREATE FUNCTION eventkit.plan_alone(what text, plan text) RETURNS eventkit.plan_step[]
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  planned eventkit.plan_step[];
BEGIN
  IF NOT eventkit.take_session_lock(what) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use',
      MESSAGE = 'another session is changing the same table',
      DETAIL = format('One session at a time carries out %s.', regexp_replace(plan, '^eventkit.plan_([^(]*).*$', '\1')),
      HINT = 'See it with: SELECT pid, query FROM pg_stat_activity WHERE query ~* ''eventkit.(attach_partition|convert_table|split_partition|unpartition_table)''; call again when it has ended.';
  END IF;
  -- No block with EXCEPTION stands around it, which would look like a transaction block of the caller's: the plan may ask for that.
  EXECUTE format('SELECT ARRAY(SELECT p FROM %s p ORDER BY p.step)', plan) INTO planned;
  RETURN planned;
END
$$;

COMMENT ON FUNCTION eventkit.plan_alone(text, text) IS
'Takes the lock of a session that changes a table, and returns the plan made under it; an error gives the lock back. SELECT eventkit.plan_alone(''change app.orders'', $$eventkit.plan_split_partition(''app.orders'')$$)';

CREATE FUNCTION eventkit.exact_time("time" timestamptz) RETURNS text
STABLE STRICT PARALLEL SAFE COST 10 LANGUAGE plpgsql
-- As other styles write it the name of a zone may be read as that of another one.
SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET TimeZone = 'UTC'
AS $$ BEGIN RETURN "time"::text; END $$;

COMMENT ON FUNCTION eventkit.exact_time(timestamptz) IS
'Writes a time so that it is read as the same in any session. SELECT eventkit.exact_time(now())';

COMMENT ON FUNCTION eventkit.copy_rows(regclass, text[], text) IS
'Copies the rows of a query into columns of a table as INSERT does, many at a time where the table is new and plain; returns their number. SELECT eventkit.copy_rows(''app.events_20231231'', ARRAY[''id'', ''at''], ''SELECT id, at FROM public.events ORDER BY at'')';
