-- backfill: newest period first, a transaction a period. A procedure that COMMITs can pin no setting and have no EXCEPTION
-- around the COMMIT; so it only loops, and the functions below do the work. EXECUTE on them stays with PUBLIC as in
-- partition_create.sql.

CREATE FUNCTION eventkit.advance_sequence(sequence regclass, value bigint) RETURNS bigint
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  facts record;
  behind boolean;
BEGIN
  SELECT q.seqincrement > 0 AS ascending, q.seqcache AS cache, pg_has_role(c.relowner, 'USAGE') AS owned
    INTO facts FROM pg_sequence q JOIN pg_class c ON c.oid = q.seqrelid WHERE q.seqrelid = sequence;
  FOR attempt IN 1..2 LOOP
    EXECUTE format('SELECT CASE WHEN is_called THEN CASE WHEN $1 THEN last_value < $2 ELSE last_value > $2 END '
      'ELSE CASE WHEN $1 THEN last_value <= $2 ELSE last_value >= $2 END END FROM %s', sequence)
      INTO behind USING facts.ascending, value;
    IF behind IS NOT TRUE THEN
      RETURN NULL;
    END IF;
    -- Looked at again when nobody else can draw a number: setval never goes backwards.
    IF attempt = 1 AND facts.owned THEN
      EXECUTE format('ALTER SEQUENCE %s CACHE %s', sequence, facts.cache);
    END IF;
  END LOOP;
  RETURN setval(sequence, value);
END
$$;

COMMENT ON FUNCTION eventkit.advance_sequence(regclass, bigint) IS
'Advances a sequence to a value unless it is there or beyond; returns the value, NULL when nothing was done. SELECT eventkit.advance_sequence(''app.events_id_seq'', (SELECT max(id) FROM app.events))';

CREATE FUNCTION eventkit.backfill_lock_key(source regclass, parent regclass) RETURNS bigint
IMMUTABLE STRICT PARALLEL SAFE COST 5 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT hashtextextended(format('eventkit.backfill %s %s', source::oid, parent::oid), 0) $$;

COMMENT ON FUNCTION eventkit.backfill_lock_key(regclass, regclass) IS
'Tells the key of the session-level advisory lock that a backfill holds. SELECT eventkit.backfill_lock_key(''public.events'', ''app.events'')';

CREATE FUNCTION eventkit.release_backfill(source regclass, parent regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key CONSTANT bigint := eventkit.backfill_lock_key(source, parent);
BEGIN
  -- Only a lock of this session's own is given back: the server warns about any other.
  IF EXISTS (
    SELECT FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid() AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND l.classid = ((key >> 32) & 4294967295)::oid AND l.objid = (key & 4294967295)::oid)
  THEN
    PERFORM pg_advisory_unlock(key);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.release_backfill(regclass, regclass) IS
'Releases the lock that a failed backfill left with this session, if it did. SELECT eventkit.release_backfill(''public.events'', ''app.events'')';

CREATE FUNCTION eventkit.run_sequence_plan(source regclass, parent regclass, lock_timeout interval) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
DECLARE
  planned record;
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting($3), true);
  FOR planned IN SELECT p.* FROM eventkit.plan_backfill_sequences(source, parent) p LOOP
    PERFORM eventkit.execute_with_retries(ARRAY[planned.statement]);
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.run_sequence_plan(regclass, regclass, interval) IS
'Runs the steps that carry the sequences of a parent beyond the values of a source. SELECT eventkit.run_sequence_plan(''public.events'', ''app.events'', ''2 seconds'')';

CREATE FUNCTION eventkit.open_backfill(source regclass, parent regclass, lock_timeout interval) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  PERFORM eventkit.check_backfill(source, parent);
  -- A session-level lock lives through the COMMITs. What an interrupted call of this very session left is taken over.
  PERFORM eventkit.release_backfill(source, parent);
  IF NOT pg_try_advisory_lock(eventkit.backfill_lock_key(source, parent)) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use',
      MESSAGE = format('a backfill from %s into %s is running', source, parent),
      DETAIL = 'One session at a time copies from one table into another.',
      HINT = 'See it with: SELECT pid, query FROM pg_stat_activity WHERE query ILIKE ''%eventkit.backfill%''; call again when it has ended.';
  END IF;
  BEGIN
    PERFORM eventkit.run_sequence_plan(source, parent, lock_timeout);
  EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
    PERFORM eventkit.release_backfill(source, parent);
    RAISE;
  END;
END
$$;

COMMENT ON FUNCTION eventkit.open_backfill(regclass, regclass, interval) IS
'Checks a backfill''s arguments, takes its lock and carries the sequences; backfill calls it first. SELECT eventkit.open_backfill(''public.events'', ''app.events'', ''2 seconds'')';

CREATE FUNCTION eventkit.backfill_next(
  source regclass, parent regclass, before timestamp, lock_timeout interval, caller_search_path text,
  OUT period timestamp, OUT label text, OUT copied bigint)
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  state text;
  message text;
  detail text;
  hint text;
BEGIN
  period := eventkit.next_backfill_period(source, parent, before);
  label := to_char(period, CASE WHEN period = date_trunc('day', period) THEN 'YYYY-MM-DD' ELSE 'YYYY-MM-DD HH24:MI' END);
  IF period IS NOT NULL THEN
    copied := eventkit.run_partition_plan(source, parent, period, lock_timeout, caller_search_path);
  END IF;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  PERFORM eventkit.release_backfill(source, parent);
  RAISE EXCEPTION USING
    ERRCODE = state,
    MESSAGE = coalesce('period ' || label || ': ', '') || message,
    DETAIL = coalesce(nullif(detail, ''), format('Copying from %s into %s.', source, parent)),
    HINT = CASE
      WHEN hint <> '' THEN hint
      WHEN state = '23503' THEN format('Backfill the referenced table first, then call again: CALL eventkit.backfill(%L, %L).', source, parent)
      ELSE format('Finished periods stay, this one left nothing behind; remove the cause, then call again: CALL eventkit.backfill(%L, %L).', source, parent) END;
END
$$;

COMMENT ON FUNCTION eventkit.backfill_next(regclass, regclass, timestamp, interval, text) IS
'Copies the newest period of the source before another one into a partition of its own; period is NULL at the end, copied when a partition covers it. SELECT * FROM eventkit.backfill_next(''public.events'', ''app.events'', NULL, ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.close_backfill(source regclass, parent regclass, lock_timeout interval) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kinds text;
  days text;
BEGIN
  PERFORM eventkit.run_sequence_plan(source, parent, lock_timeout);
  SELECT string_agg(format('%s: %s rows', l.kind, l.row_count), ', ') INTO kinds
    FROM eventkit.backfill_left_behind(source, parent) l;
  IF kinds IS NOT NULL THEN
    RAISE WARNING USING
      MESSAGE = format('rows of %s stay behind: %s', source, kinds),
      DETAIL = 'Keys that are NULL, infinite, before 1970 or more than ten years ahead are not moved.',
      HINT = format('See them with: SELECT * FROM eventkit.backfill_left_behind(%L, %L).', source, parent);
  END IF;
  SELECT string_agg(format('%s: %s in source, %s in parent', to_char(d.day, 'YYYY-MM-DD'), d.source_rows, d.parent_rows), '; ' ORDER BY d.day DESC)
    INTO days FROM eventkit.backfill_differences(source, parent) d;
  IF days IS NOT NULL THEN
    RAISE WARNING USING
      MESSAGE = format('days of %s and %s differ: %s', source, parent, days),
      DETAIL = 'The source changed while or after a period was copied, or a partition held other rows before.',
      HINT = format('See them with: SELECT * FROM eventkit.backfill_differences(%L, %L).', source, parent);
  END IF;
  PERFORM eventkit.release_backfill(source, parent);
  RAISE NOTICE 'backfill from % into % is done; changes of the source made meanwhile are not captured', source, parent;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  PERFORM eventkit.release_backfill(source, parent);
  RAISE;
END
$$;

COMMENT ON FUNCTION eventkit.close_backfill(regclass, regclass, interval) IS
'Carries the sequences again, warns of rows left behind and of days that differ, gives back the lock; backfill calls it last. SELECT eventkit.close_backfill(''public.events'', ''app.events'', ''2 seconds'')';

CREATE PROCEDURE eventkit.backfill(source regclass, parent regclass, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  began pg_catalog.timestamptz;
  done pg_catalog.record;
  last_period pg_catalog.timestamp;
BEGIN
  -- Where COMMIT is not allowed, these two say so before there is anything to lose.
  PERFORM eventkit.refuse_transaction_block('backfill');
  COMMIT;
  PERFORM eventkit.open_backfill(source, parent, lock_timeout);
  COMMIT;
  LOOP
    -- Rows and their count are read from one snapshot.
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
    began := pg_catalog.clock_timestamp();
    SELECT n.period, n.label, n.copied INTO done
      FROM eventkit.backfill_next(source, parent, last_period, lock_timeout, caller_search_path) n;
    EXIT WHEN done.period IS NULL;
    COMMIT;
    IF done.copied IS NOT NULL THEN
      RAISE NOTICE 'period %: % rows in % s', done.label, done.copied,
        pg_catalog.round(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) began)::pg_catalog.numeric, 2);
    END IF;
    last_period := done.period;
    -- The lines above have taken a snapshot; the next period needs a transaction without one.
    COMMIT;
  END LOOP;
  COMMIT;
  PERFORM eventkit.close_backfill(source, parent, lock_timeout);
END
$$;

COMMENT ON PROCEDURE eventkit.backfill(regclass, regclass, interval) IS
'Copies a table into partitions by the parent''s periods (UTC days, unless it is managed by others), newest first, a transaction a period; call again to resume. Periods that a partition covers are left as they are and compared at the end. CALL eventkit.backfill(''public.events'', ''app.events'')';

REVOKE EXECUTE ON PROCEDURE eventkit.backfill(regclass, regclass, interval) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.plan_backfill(regclass, regclass) IS
'Shows the steps of backfill without doing them, period after period; a transaction ends after each. SELECT * FROM eventkit.plan_backfill(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.plan_backfill_period(regclass, regclass, timestamp) IS
'Shows the steps of one period of a backfill without doing them. SELECT * FROM eventkit.plan_backfill_period(''public.events'', ''app.events'', ''2024-01-01'')';
COMMENT ON FUNCTION eventkit.plan_backfill_sequences(regclass, regclass) IS
'Shows the steps by which a backfill carries sequences without doing them. SELECT * FROM eventkit.plan_backfill_sequences(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.check_backfill(regclass, regclass) IS
'Raises the error that a backfill would raise before its first row, if there is one. SELECT eventkit.check_backfill(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.next_backfill_period(regclass, regclass, timestamp) IS
'Finds the newest period of the source before another one (NULL: the newest of all), by what the clocks show at its beginning; rows before 1970 or more than ten years ahead do not count. SELECT eventkit.next_backfill_period(''public.events'', ''app.events'', NULL)';
COMMENT ON FUNCTION eventkit.backfill_left_behind(regclass, regclass) IS
'Counts the rows that no backfill moves: key NULL, infinite, before 1970 or more than ten years ahead. SELECT * FROM eventkit.backfill_left_behind(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.backfill_differences(regclass, regclass) IS
'Compares the rows of source and parent day by day and returns the days that differ. SELECT * FROM eventkit.backfill_differences(''public.events'', ''app.events'')';
