-- Copying periods of a source, each in its own transaction: one job, or several beside each other, which share the periods by claims. A procedure
-- that COMMITs can pin no setting and have no EXCEPTION around the COMMIT; so it only loops, and the functions do the work.

CREATE FUNCTION eventkit.verify_content(target text, source_query text, target_query text) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
-- Both sides are written with one setting, exactly.
SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1
AS $$
DECLARE
  source_rows bigint;
  source_sum numeric;
  target_rows bigint;
  target_sum numeric;
BEGIN
  EXECUTE source_query INTO source_rows, source_sum;
  EXECUTE target_query INTO target_rows, target_sum;
  IF (source_rows, source_sum) IS DISTINCT FROM (target_rows, target_sum) THEN
    PERFORM eventkit.refuse_copy(
      target::regclass,
      CASE WHEN source_rows = target_rows THEN format('the values in %s differ from those of the source', target)
        ELSE format('%s rows came to %s of %s', target_rows, target::regclass, source_rows) END,
      format('Sums of hashes over all rows are %s in the source, %s in the copy', source_sum, target_sum));
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.verify_content(text, text, text) IS
'Compares the count and the sum of two queries and raises an error when they differ; plans of a backfill call it. SELECT eventkit.verify_content(''app.events'', ''SELECT count(*), sum(id) FROM public.events'', ''SELECT count(*), sum(id) FROM public.events'')';

CREATE FUNCTION eventkit.period_label(period timestamp) RETURNS text
IMMUTABLE STRICT PARALLEL SAFE COST 5 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT to_char($1, CASE WHEN $1 = date_trunc('day', $1) THEN 'YYYY-MM-DD' ELSE 'YYYY-MM-DD HH24:MI' END) $$;

COMMENT ON FUNCTION eventkit.period_label(timestamp) IS
'Writes the beginning of a period as short as it can be. SELECT eventkit.period_label(''2024-01-01 00:00'')';

CREATE FUNCTION eventkit.copy_period(
  source regclass, parent regclass, period timestamp, verify text, lock_timeout interval, caller_search_path text) RETURNS bigint
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  began CONSTANT timestamptz := clock_timestamp();
  copied bigint;
  seconds double precision;
  state text;
  message text;
  detail text;
  hint text;
BEGIN
  copied := eventkit.run_partition_plan(source, parent, period, lock_timeout, caller_search_path, verify => verify);
  seconds := extract(epoch FROM clock_timestamp() - began);
  -- What was copied once stays noted as copied when it is met again.
  INSERT INTO eventkit.backfill_periods AS p (source, parent, period, row_count, seconds)
    VALUES (copy_period.source, copy_period.parent, copy_period.period, copied, seconds)
    ON CONFLICT ON CONSTRAINT backfill_periods_pkey DO UPDATE SET
      row_count = coalesce(EXCLUDED.row_count, p.row_count),
      seconds = CASE WHEN EXCLUDED.row_count IS NULL THEN p.seconds ELSE EXCLUDED.seconds END,
      copied_at = CASE WHEN EXCLUDED.row_count IS NULL THEN p.copied_at ELSE EXCLUDED.copied_at END,
      passed_at = EXCLUDED.passed_at;
  IF copied IS NOT NULL THEN
    RAISE NOTICE 'period %: % rows in % s', eventkit.period_label(period), copied, round(seconds::numeric, 2);
  END IF;
  RETURN copied;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RAISE EXCEPTION USING
    ERRCODE = state,
    MESSAGE = 'period ' || eventkit.period_label(period) || ': ' || message,
    DETAIL = coalesce(nullif(detail, ''), format('Copying from %s into %s.', source, parent)),
    HINT = CASE
      WHEN hint <> '' THEN hint
      WHEN state = '23503' THEN format('Backfill the referenced table first, then call again: CALL eventkit.backfill(%L, %L).', source, parent)
      ELSE format('Finished periods stay, this one left nothing behind; remove the cause, then call again: CALL eventkit.backfill(%L, %L).', source, parent) END;
END
$$;

COMMENT ON FUNCTION eventkit.copy_period(regclass, regclass, timestamp, text, interval, text) IS
'Copies one period, writes it down in the same transaction and tells of it; returns the rows, NULL when partitions that hold rows cover it. SELECT eventkit.copy_period(''public.events'', ''app.events'', ''2024-01-01'', ''count'', ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.try_period(
  source regclass, parent regclass, period timestamp, verify text, lock_timeout interval, caller_search_path text) RETURNS jsonb
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  detail text;
  hint text;
BEGIN
  PERFORM eventkit.copy_period(source, parent, period, verify, lock_timeout, caller_search_path);
  RETURN NULL;
-- What a row or a partition of this period is to blame for stops no other. A foreign key is mostly one whose table is to be backfilled first.
EXCEPTION WHEN not_null_violation OR unique_violation OR check_violation OR exclusion_violation OR data_exception OR invalid_object_definition THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RAISE WARNING USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM, DETAIL = detail, HINT = hint;
  RETURN jsonb_build_object('state', SQLSTATE, 'message', SQLERRM, 'detail', detail, 'hint', hint);
END
$$;

COMMENT ON FUNCTION eventkit.try_period(regclass, regclass, timestamp, text, interval, text) IS
'Copies one period; when its rows break a constraint (other than a foreign key), or a partition is in its way, it copies nothing, warns and returns the error. SELECT eventkit.try_period(''public.events'', ''app.events'', ''2024-01-01'', ''count'', ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.period_claim_key(source regclass, parent regclass, period timestamp) RETURNS bigint
IMMUTABLE STRICT PARALLEL SAFE COST 5 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT eventkit.advisory_lock_key(format('%s %s', eventkit.backfill_lock($1, $2), encode(timestamp_send($3), 'hex'))) $$;

COMMENT ON FUNCTION eventkit.period_claim_key(regclass, regclass, timestamp) IS
'Tells the key of the advisory lock by which a job of a backfill has a period for itself. SELECT eventkit.period_claim_key(''public.events'', ''app.events'', ''2024-01-01'')';

CREATE FUNCTION eventkit.release_claim(source regclass, parent regclass, period timestamp) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key CONSTANT bigint := eventkit.period_claim_key(source, parent, period);
BEGIN
  PERFORM pg_advisory_unlock(key), eventkit.remember_session_lock(key, false);
END
$$;

COMMENT ON FUNCTION eventkit.release_claim(regclass, regclass, timestamp) IS
'Gives back the claim of a period that this session has. SELECT eventkit.release_claim(''public.events'', ''app.events'', ''2024-01-01'')';

CREATE FUNCTION eventkit.claim_period(
  source regclass, parent regclass, beside timestamp, newest_first boolean, from_time timestamptz, to_time timestamptz, began timestamptz,
  alone boolean, INOUT seen timestamp[], OUT period timestamp)
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  done record;
  key bigint;
BEGIN
  IF beside IS NOT NULL THEN
    PERFORM eventkit.release_claim(source, parent, beside);
  END IF;
  -- A split may have given the parent's foreign keys to its partitions since the last period; one job at a time gives them on.
  IF pg_try_advisory_xact_lock(eventkit.advisory_lock_key(format('foreign keys %s', parent::oid))) THEN
    PERFORM eventkit.hold_foreign_keys(parent);
  END IF;
  IF began IS NOT NULL THEN
    FOR done IN
      SELECT p.period, p.row_count, p.seconds, p.copied_at FROM eventkit.backfill_periods p
      WHERE p.source = source AND p.parent = parent AND p.passed_at >= began
        AND NOT EXISTS (SELECT FROM unnest(seen) s (period) WHERE s.period = p.period)
      ORDER BY p.passed_at
    LOOP
      IF done.row_count IS NULL OR done.copied_at < began THEN
        RAISE NOTICE 'period % is left as it is: a partition that holds rows covers it', eventkit.period_label(done.period);
      ELSE
        RAISE NOTICE 'period %: % rows in % s, by a worker', eventkit.period_label(done.period), done.row_count, round(done.seconds::numeric, 2);
      END IF;
      seen := seen || done.period;
    END LOOP;
  END IF;
  period := beside;
  LOOP
    period := eventkit.next_backfill_period(source, parent, period, newest_first, from_time, to_time, seen);
    EXIT WHEN period IS NULL;
    key := eventkit.period_claim_key(source, parent, period);
    IF pg_try_advisory_lock(key) THEN
      PERFORM eventkit.remember_session_lock(key, true);
      -- Who had it may have given it back a moment ago, done.
      EXIT WHEN NOT EXISTS (
        SELECT FROM eventkit.backfill_periods p WHERE p.source = source AND p.parent = parent AND p.period = period AND p.passed_at >= began);
      PERFORM eventkit.release_claim(source, parent, period);
    ELSIF alone THEN
      RAISE EXCEPTION USING ERRCODE = 'object_in_use',
        MESSAGE = format('period %s: another session claims it', eventkit.period_label(period)),
        DETAIL = format('No backfill from %s into %s runs but this one; somebody else has taken its advisory lock.', source, parent),
        HINT = 'See who has it with: SELECT a.pid, a.query FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = ''advisory''; end that session, then call again.';
    END IF;
  END LOOP;
  IF period IS NOT NULL AND began IS NOT NULL THEN
    seen := seen || period;
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.claim_period(regclass, regclass, timestamp, boolean, timestamptz, timestamptz, timestamptz, boolean, timestamp[]) IS
'Gives back the claim of one period and claims the next one that no other job has, NULL at the end; alone => true refuses one that another session has. Tells of the periods that other jobs have copied since a time, and adds them to those seen. SELECT * FROM eventkit.claim_period(''public.events'', ''app.events'', NULL, true, NULL, NULL, now(), false, ''{}'')';

CREATE PROCEDURE eventkit.copy_periods(
  source regclass, parent regclass, from_time timestamptz, to_time timestamptz, newest_first boolean, verify text, lock_timeout interval,
  caller_search_path text, began timestamptz, alone boolean, INOUT seen timestamp[], INOUT failures jsonb[])
LANGUAGE plpgsql
AS $$
DECLARE
  claimed pg_catalog.record;
  period pg_catalog.timestamp;
  failure pg_catalog.jsonb;
BEGIN
  COMMIT;
  LOOP
    -- In a transaction of its own: the snapshot of the copy is younger than the claim, and sees what the last owner of the claim has done.
    SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    claimed := eventkit.claim_period(source, parent, period, newest_first, from_time, to_time, began, alone, seen);
    period := claimed.period;
    seen := claimed.seen;
    EXIT WHEN period IS NULL;
    COMMIT;
    -- Rows, their count and the changes noted are read from one snapshot.
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
    failure := eventkit.try_period(source, parent, period, verify, lock_timeout, caller_search_path);
    IF failure IS NOT NULL THEN
      failures := pg_catalog.array_append(failures, failure);
    END IF;
    COMMIT;
  END LOOP;
  -- Who waits for workers now holds no table that they may wait for.
  COMMIT;
END
$$;

COMMENT ON PROCEDURE eventkit.copy_periods(regclass, regclass, timestamptz, timestamptz, boolean, text, interval, text, timestamptz, boolean, timestamp[], jsonb[]) IS
'Copies the periods of a source that no other job has, a transaction a period; with a time it passes by those copied since and seen. backfill calls it, and each of its workers. CALL eventkit.copy_periods(''public.events'', ''app.events'', NULL, NULL, true, ''count'', ''2 seconds'', current_setting(''search_path''), NULL, true, ''{}'', ''{}'')';

CREATE FUNCTION eventkit.backfill_jobs_lock(source regclass, parent regclass) RETURNS bigint
IMMUTABLE STRICT PARALLEL SAFE COST 5 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT eventkit.advisory_lock_key(format('%s jobs', eventkit.backfill_lock($1, $2))) $$;

COMMENT ON FUNCTION eventkit.backfill_jobs_lock(regclass, regclass) IS
'Tells the key of the advisory lock that the workers of a backfill share while they live. SELECT eventkit.backfill_jobs_lock(''public.events'', ''app.events'')';

CREATE FUNCTION eventkit.leave_backfill(source regclass, parent regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM pg_advisory_unlock_shared(eventkit.backfill_jobs_lock(source, parent));
END
$$;

COMMENT ON FUNCTION eventkit.leave_backfill(regclass, regclass) IS
'Gives back the lock of join_backfill. SELECT eventkit.leave_backfill(''public.events'', ''app.events'')';

CREATE FUNCTION eventkit.join_backfill(source regclass, parent regclass, leader int) RETURNS boolean
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Before the look at the leader: who takes the pair after him sees this one.
  IF NOT pg_try_advisory_lock_shared(eventkit.backfill_jobs_lock(source, parent)) THEN
    RETURN false;
  END IF;
  IF eventkit.holds_session_lock(leader, eventkit.advisory_lock_key(eventkit.backfill_lock(source, parent))) THEN
    RETURN true;
  END IF;
  PERFORM eventkit.leave_backfill(source, parent);
  RETURN false;
END
$$;

COMMENT ON FUNCTION eventkit.join_backfill(regclass, regclass, int) IS
'Takes the lock that the workers of a backfill share while they live, if the session that has started them still has the pair; false if not. SELECT eventkit.join_backfill(''public.events'', ''app.events'', 4711)';

CREATE PROCEDURE eventkit.run_backfill_job(
  source regclass, parent regclass, from_time timestamptz, to_time timestamptz, newest_first boolean, verify text, lock_timeout interval,
  caller_search_path text, began timestamptz, leader int)
LANGUAGE plpgsql
AS $$
DECLARE
  seen pg_catalog.timestamp[] := '{}';
  failures pg_catalog.jsonb[] := '{}';
BEGIN
  IF eventkit.join_backfill(source, parent, leader) THEN
    CALL eventkit.copy_periods(source, parent, from_time, to_time, newest_first, verify, lock_timeout, caller_search_path, began, false, seen, failures);
    PERFORM eventkit.leave_backfill(source, parent);
  END IF;
END
$$;

COMMENT ON PROCEDURE eventkit.run_backfill_job(regclass, regclass, timestamptz, timestamptz, boolean, text, interval, text, timestamptz, int) IS
'Copies periods beside the session of a process that runs a backfill; its workers call it. CALL eventkit.run_backfill_job(''public.events'', ''app.events'', NULL, NULL, true, ''count'', ''2 seconds'', ''public'', now(), 4711)';

CREATE FUNCTION eventkit.start_backfill_jobs(
  source regclass, parent regclass, from_time timestamptz, to_time timestamptz, newest_first boolean, verify text, lock_timeout interval,
  caller_search_path text, jobs int) RETURNS timestamptz
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  began CONSTANT timestamptz := clock_timestamp();
  started int := 0;
BEGIN
  IF jobs = 1 THEN
    RETURN NULL;
  END IF;
  IF EXISTS (SELECT FROM pg_class c WHERE c.oid = source AND c.relpersistence = 't') THEN
    RAISE NOTICE 'this session copies alone: no worker can read %, a temporary table', source;
    RETURN NULL;
  END IF;
  -- As JSON writes a time it is read whatever the DateStyle.
  started := eventkit.start_backfill_workers(
    ARRAY[source::oid::text, parent::oid::text, to_jsonb(from_time) #>> '{}', to_jsonb(to_time) #>> '{}', newest_first::text, verify, lock_timeout::text,
      caller_search_path, to_jsonb(began) #>> '{}', pg_backend_pid()::text],
    jobs - 1);
  IF started < jobs - 1 THEN
    RAISE NOTICE USING
      MESSAGE = format('%s of %s jobs copy: there was a place for %s workers', started + 1, jobs, started),
      HINT = format('Parallel queries, logical replication and other extensions take workers too: ALTER SYSTEM SET max_worker_processes = %s; and restart the server.',
        current_setting('max_worker_processes')::int + jobs - 1 - started);
  END IF;
  RETURN CASE WHEN started > 0 THEN began END;
END
$$;

COMMENT ON FUNCTION eventkit.start_backfill_jobs(regclass, regclass, timestamptz, timestamptz, boolean, text, interval, text, int) IS
'Starts workers that copy periods beside this session and returns the time at which they began; NULL when this session copies alone. SELECT eventkit.start_backfill_jobs(''public.events'', ''app.events'', NULL, NULL, true, ''count'', ''2 seconds'', ''public'', 2)';

CREATE FUNCTION eventkit.await_backfill_jobs(source regclass, parent regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failed CONSTANT int := eventkit.await_backfill_workers();
BEGIN
  IF failed > 0 THEN
    RAISE WARNING USING
      MESSAGE = format('%s workers of the backfill from %s into %s have failed', failed, source, parent),
      DETAIL = 'This session copies what they have left; the server''s log has their errors.';
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.await_backfill_jobs(regclass, regclass) IS
'Waits for the workers of a backfill that this session has started, and warns of those that have failed. SELECT eventkit.await_backfill_jobs(''public.events'', ''app.events'')';

COMMENT ON FUNCTION eventkit.start_backfill_workers(text[], int) IS
'Starts so many workers that call run_backfill_job with these arguments as the caller, who may call backfill, and returns how many the server has a place for. SELECT eventkit.start_backfill_workers(''{}'', 0)';
COMMENT ON FUNCTION eventkit.await_backfill_workers() IS
'Waits for the workers that this session has started, and returns how many have failed. SELECT eventkit.await_backfill_workers()';
COMMENT ON FUNCTION eventkit.next_backfill_period(regclass, regclass, timestamp, boolean, timestamptz, timestamptz, timestamp[]) IS
'Finds the next period of the source beside another one (NULL: the first of all), by what the clocks show at its beginning, passing by those to skip; rows before 1970 or more than ten years ahead do not count. SELECT eventkit.next_backfill_period(''public.events'', ''app.events'', NULL)';
