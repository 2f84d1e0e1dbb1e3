-- backfill: its lock, the capture, the sequences; before and after the periods that partition_copy.sql copies. EXECUTE on the functions stays with
-- PUBLIC as in partition_create.sql.

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

CREATE FUNCTION eventkit.release_backfill(source regclass, parent regclass) RETURNS void
VOLATILE PARALLEL UNSAFE COST 100 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT eventkit.release_session_lock(eventkit.backfill_lock($1, $2)) $$;

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

CREATE FUNCTION eventkit.lock_backfill(source regclass, parent regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
AS $$
DECLARE
  key CONSTANT bigint := eventkit.advisory_lock_key(eventkit.backfill_lock(source, parent));
  taken boolean;
BEGIN
  -- The session's, also inside of a transaction block, and also in a block with EXCEPTION. What an interrupted call of this very
  -- session left is taken over.
  PERFORM eventkit.release_backfill(source, parent);
  taken := pg_try_advisory_lock(key);
  IF taken THEN
    -- A cancel between two statements of the procedure gives it back.
    PERFORM eventkit.remember_session_lock(key, true);
    -- The workers of one that was stopped end a moment after it.
    BEGIN
      PERFORM pg_advisory_xact_lock(eventkit.backfill_jobs_lock(source, parent));
      RAISE EXCEPTION 'they have ended';
    EXCEPTION
      -- The block gives the lock back: new workers share it.
      WHEN raise_exception THEN NULL;
      WHEN lock_not_available THEN
        PERFORM eventkit.release_backfill(source, parent);
        taken := false;
      WHEN query_canceled OR assert_failure OR OTHERS THEN
        PERFORM eventkit.release_backfill(source, parent);
        RAISE;
    END;
  END IF;
  IF NOT taken THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use',
      MESSAGE = format('a backfill from %s into %s is running', source, parent),
      DETAIL = 'One session at a time copies from one table into another, or applies its changes.',
      HINT = 'See it with: SELECT pid, query FROM pg_stat_activity WHERE query ~* ''eventkit.(backfill|catch_up|finish_backfill|run_backfill_job)''; call again when it has ended.';
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.lock_backfill(regclass, regclass) IS
'Takes the session-level lock of a pair of tables, or says who has it. SELECT eventkit.lock_backfill(''public.events'', ''app.events'')';

CREATE FUNCTION eventkit.sweep_backfills() RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  gone record;
BEGIN
  FOR gone IN
    SELECT b.source, b.parent, CASE WHEN l.oid IS NOT NULL THEN format('%I.%I', n.nspname, l.relname) END AS changes, f.oid IS NOT NULL AS has_function
    FROM eventkit.backfills b
    LEFT JOIN pg_class l ON l.oid = b.changes AND pg_has_role(l.relowner, 'USAGE')
    LEFT JOIN pg_namespace n ON n.oid = l.relnamespace
    LEFT JOIN pg_proc f ON f.pronamespace = l.relnamespace AND f.proname = l.relname AND f.pronargs = 0 AND pg_has_role(f.proowner, 'USAGE')
    -- With the source its triggers are gone. Those of a source whose parent is gone are removed by abandon_backfill.
    WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = b.source) AND (b.changes IS NULL OR l.oid IS NOT NULL
      OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = b.changes))
  LOOP
    IF gone.has_function THEN
      EXECUTE format('DROP FUNCTION %s()', gone.changes);
    END IF;
    IF gone.changes IS NOT NULL THEN
      EXECUTE format('DROP TABLE %s', gone.changes);
    END IF;
    DELETE FROM eventkit.backfills b WHERE b.source = gone.source AND b.parent = gone.parent;
  END LOOP;
  DELETE FROM eventkit.backfill_periods p
    WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = p.source) OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = p.parent);
END
$$;

COMMENT ON FUNCTION eventkit.sweep_backfills() IS
'Removes what backfills of dropped tables left: their rows, tables of changes and trigger functions; backfill calls it first. SELECT eventkit.sweep_backfills()';

CREATE FUNCTION eventkit.begin_capture(source regclass, parent regclass, lock_timeout interval) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 SET default_tablespace = ''
AS $$
DECLARE
  planned record;
  copied_before CONSTANT bigint := (SELECT count(*) FROM eventkit.backfill_periods p WHERE p.source = $1 AND p.parent = $2);
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting($3), true);
  -- A finish_backfill that did not come to its end has left what captures nothing any more.
  IF EXISTS (SELECT FROM eventkit.backfills b WHERE b.source = $1 AND b.parent = $2 AND b.changes IS NOT NULL AND b.finished_at IS NOT NULL) THEN
    PERFORM eventkit.remove_capture(source, parent, $3);
  END IF;
  UPDATE eventkit.backfills b SET finished_at = NULL WHERE b.source = $1 AND b.parent = $2;
  FOR planned IN SELECT p.* FROM eventkit.plan_backfill_capture(source, parent) p ORDER BY p.step LOOP
    IF planned.step = 1 AND copied_before > 0 THEN
      RAISE WARNING USING
        MESSAGE = format('%s periods of %s were copied before its changes were captured', copied_before, source),
        DETAIL = 'What changed in them between the copy and now does not follow.',
        HINT = format('To copy them anew drop their partitions of %s first.', parent);
    END IF;
    IF starts_with(planned.statement, 'LOCK TABLE ') THEN
      PERFORM eventkit.execute_with_retries(ARRAY[planned.statement]);
    ELSE
      EXECUTE planned.statement;
    END IF;
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.begin_capture(regclass, regclass, interval) IS
'Runs the steps that begin to capture a source''s changes, unless they are captured already. SELECT eventkit.begin_capture(''public.events'', ''app.events'', ''2 seconds'')';

CREATE FUNCTION eventkit.open_backfill(
  source regclass, parent regclass, from_time timestamptz, to_time timestamptz, newest_first boolean, verify text, capture boolean,
  lock_timeout interval, jobs int) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  PERFORM eventkit.check_backfill(source, parent);
  IF verify IS NULL OR verify NOT IN ('count', 'content', 'none') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('argument "verify": unknown value %s', coalesce(quote_literal(verify), 'NULL')),
      DETAIL = 'It is ''count'' (as many rows), ''content'' (the same values) or ''none''.',
      HINT = 'Leave it out to have the rows counted.';
  END IF;
  IF newest_first IS NULL OR capture IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
      MESSAGE = format('argument "%s" must not be NULL', CASE WHEN capture IS NULL THEN 'capture' ELSE 'newest_first' END),
      DETAIL = 'It is true or false.', HINT = 'Leave it out to have it true.';
  END IF;
  IF jobs IS NULL OR jobs < 1 OR jobs > 64 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('argument "jobs" must be from 1 to 64, not %s', coalesce(jobs::text, 'NULL')),
      DETAIL = 'So many sessions copy at the same time: this one, and background workers of the server.',
      HINT = 'Leave it out to copy in this session alone.';
  END IF;
  IF from_time >= to_time THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'argument "to_time" must be after "from_time"',
      DETAIL = format('The range from %s to %s holds no time.', from_time, to_time),
      HINT = 'Leave one of them out for an open end.';
  END IF;
  -- Outside of a transaction block, where whatever goes wrong from here on gives it back.
  PERFORM eventkit.lock_backfill(source, parent);
  PERFORM eventkit.sweep_backfills();
  -- The range of several calls is the one that holds all of theirs.
  INSERT INTO eventkit.backfills AS b (source, parent, from_time, to_time) VALUES (source, parent, from_time, to_time)
    ON CONFLICT ON CONSTRAINT backfills_pkey DO UPDATE SET
      from_time = CASE WHEN b.from_time IS NOT NULL AND EXCLUDED.from_time IS NOT NULL THEN least(b.from_time, EXCLUDED.from_time) END,
      to_time = CASE WHEN b.to_time IS NOT NULL AND EXCLUDED.to_time IS NOT NULL THEN greatest(b.to_time, EXCLUDED.to_time) END;
  PERFORM eventkit.warn_sent_partitions(parent);
  IF capture THEN
    PERFORM eventkit.begin_capture(source, parent, lock_timeout);
  END IF;
  PERFORM eventkit.run_sequence_plan(source, parent, lock_timeout);
END
$$;

COMMENT ON FUNCTION eventkit.open_backfill(regclass, regclass, timestamptz, timestamptz, boolean, text, boolean, interval, int) IS
'Checks a backfill''s arguments, takes its lock, begins the capture and carries the sequences; backfill calls it first. SELECT eventkit.open_backfill(''public.events'', ''app.events'', NULL, NULL, true, ''count'', true, ''2 seconds'', 1)';

CREATE FUNCTION eventkit.warn_left_behind(source regclass, parent regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kinds text;
BEGIN
  SELECT string_agg(format('%s: %s rows', l.kind, l.row_count), ', ') INTO kinds
    FROM eventkit.backfill_left_behind(source, parent) l;
  IF kinds IS NOT NULL THEN
    RAISE WARNING USING
      MESSAGE = format('rows of %s stay behind: %s', source, kinds),
      DETAIL = 'Keys that are NULL, infinite, before 1970 or more than ten years ahead are not moved.',
      HINT = format('See them with: SELECT * FROM eventkit.backfill_left_behind(%L, %L).', source, parent);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.warn_left_behind(regclass, regclass) IS
'Warns of rows that no backfill moves, if there are any. SELECT eventkit.warn_left_behind(''public.events'', ''app.events'')';

CREATE FUNCTION eventkit.refuse_failed_periods(failures jsonb[]) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  many CONSTANT int := cardinality(failures);
BEGIN
  IF many > 0 THEN
    PERFORM eventkit.raise_failure(
      CASE WHEN many = 1 THEN failures[1]
        ELSE failures[1] || jsonb_build_object('message', format('%s (and %s more)', failures[1] ->> 'message', many - 1),
          'detail', concat_ws(E'\n', nullif(failures[1] ->> 'detail', ''), (SELECT string_agg(f ->> 'message', E'\n' ORDER BY n) FROM unnest(failures[2:]) WITH ORDINALITY u (f, n)))) END,
      NULL, NULL);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.refuse_failed_periods(jsonb[]) IS
'Raises the error of the periods that a backfill or catch_up has passed over, if there are any. SELECT eventkit.refuse_failed_periods(''{}'')';

CREATE FUNCTION eventkit.warn_differences(source regclass, parent regclass, left_alone boolean) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  periods text;
  found_there bigint;
BEGIN
  SELECT count(*), string_agg(eventkit.period_label(p.period), ', ' ORDER BY p.period DESC) FILTER (WHERE p.place <= 10) INTO found_there, periods
    FROM (SELECT p.period, row_number() OVER (ORDER BY p.period DESC) AS place FROM eventkit.backfill_periods p
      WHERE p.source = $1 AND p.parent = $2 AND p.row_count IS NULL) p;
  IF found_there > 0 THEN
    RAISE WARNING USING
      MESSAGE = format('%s periods of %s were left as they were found: %s%s', found_there, parent, periods, CASE WHEN found_there > 10 THEN ' …' END),
      DETAIL = format('Their partitions held rows before this backfill copied anything of them. That these are the rows of %s is compared by their number alone.', source),
      HINT = format('Where they may be older than what %s holds now, drop these partitions, then: CALL eventkit.backfill(%1$L, %L).', source, parent);
  END IF;
  -- Each period was verified when it was copied. While changes wait the two tables differ anyway.
  IF NOT left_alone OR EXISTS (
    SELECT FROM eventkit.backfill_periods p WHERE p.source = $1 AND p.parent = $2 AND p.row_count IS NULL)
  THEN
    SELECT string_agg(format('%s: %s in source, %s in parent', eventkit.period_label(d.period), d.source_rows, d.parent_rows), '; ' ORDER BY d.period DESC)
      INTO periods FROM eventkit.backfill_differences(source, parent) d
      WHERE NOT left_alone OR EXISTS (
        SELECT FROM eventkit.backfill_periods p WHERE p.source = $1 AND p.parent = $2 AND p.period = d.period AND p.row_count IS NULL);
    IF periods IS NOT NULL THEN
      RAISE WARNING USING
        MESSAGE = format('periods of %s and %s differ: %s', source, parent, periods),
        DETAIL = 'The source changed while or after a period was copied, or a partition held other rows before.',
        HINT = format('See them with: SELECT * FROM eventkit.backfill_differences(%L, %L).', source, parent);
    END IF;
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.warn_differences(regclass, regclass, boolean) IS
'Warns of the periods whose numbers of rows differ between source and parent, of all or of those alone that were left as they were found. SELECT eventkit.warn_differences(''public.events'', ''app.events'', false)';

CREATE FUNCTION eventkit.close_backfill(source regclass, parent regclass, lock_timeout interval) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changes regclass;
BEGIN
  PERFORM eventkit.run_sequence_plan(source, parent, lock_timeout);
  PERFORM eventkit.warn_left_behind(source, parent);
  SELECT b.changes INTO changes FROM eventkit.backfills b WHERE b.source = $1 AND b.parent = $2;
  PERFORM eventkit.warn_differences(source, parent, changes IS NOT NULL);
  PERFORM eventkit.release_backfill(source, parent);
  IF changes IS NULL THEN
    RAISE NOTICE 'backfill from % into % is done; changes of the source made meanwhile are not captured', source, parent;
  ELSE
    RAISE NOTICE USING
      MESSAGE = format('backfill from %s into %s is done; %s changes of the source wait', source, parent, eventkit.captured_changes(changes)),
      HINT = format('Apply them with: CALL eventkit.catch_up(%L, %L); at last: CALL eventkit.finish_backfill(%1$L, %2$L).', source, parent);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.close_backfill(regclass, regclass, interval) IS
'Carries the sequences again, warns of rows left behind and of periods that differ, gives back the lock; backfill calls it last. SELECT eventkit.close_backfill(''public.events'', ''app.events'', ''2 seconds'')';

CREATE PROCEDURE eventkit.backfill(
  source regclass, parent regclass, from_time timestamptz DEFAULT NULL, to_time timestamptz DEFAULT NULL, newest_first boolean DEFAULT true,
  verify text DEFAULT 'count', capture boolean DEFAULT true, lock_timeout interval DEFAULT '2 seconds', jobs int DEFAULT 1)
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  began pg_catalog.timestamptz;
  seen pg_catalog.timestamp[] := '{}';
  failures pg_catalog.jsonb[] := '{}';
BEGIN
  -- Where COMMIT is not allowed, these two say so before there is anything to lose.
  PERFORM eventkit.refuse_transaction_block('backfill');
  COMMIT;
  PERFORM eventkit.open_backfill(source, parent, from_time, to_time, newest_first, verify, capture, lock_timeout, jobs);
  -- The capture stands from here on; each period's snapshot is younger.
  COMMIT;
  began := eventkit.start_backfill_jobs(source, parent, from_time, to_time, newest_first, verify, lock_timeout, caller_search_path, jobs);
  CALL eventkit.copy_periods(source, parent, from_time, to_time, newest_first, verify, lock_timeout, caller_search_path, began, began IS NULL, seen, failures);
  IF began IS NOT NULL THEN
    PERFORM eventkit.await_backfill_jobs(source, parent);
    -- What a worker could not copy; here it is told why.
    CALL eventkit.copy_periods(source, parent, from_time, to_time, newest_first, verify, lock_timeout, caller_search_path, began, true, seen, failures);
  END IF;
  PERFORM eventkit.refuse_failed_periods(failures);
  PERFORM eventkit.close_backfill(source, parent, lock_timeout);
END
$$;

COMMENT ON PROCEDURE eventkit.backfill(regclass, regclass, timestamptz, timestamptz, boolean, text, boolean, interval, int) IS
'Copies a table into partitions by the parent''s periods (UTC days, unless it is managed by others), newest first, a transaction a period; call again to resume. Changes made meanwhile are noted for catch_up, which makes bulk inserts into the source take about three times as long until finish_backfill. Empty partitions are filled; those that hold rows are left as they are and compared at the end. A period with a row that breaks a constraint (other than a foreign key, which ends the call: its table is backfilled first), or of which a partition covers a part, is passed over with a warning, the others are copied, and the error that names it comes at the end. With jobs => 2 or more background workers copy other periods at the same time, with the settings of the session but for parameters that the server does not know (app.tenant). CALL eventkit.backfill(''public.events'', ''app.events'')';

REVOKE EXECUTE ON PROCEDURE eventkit.backfill(regclass, regclass, timestamptz, timestamptz, boolean, text, boolean, interval, int) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.plan_backfill(regclass, regclass, timestamptz, timestamptz, boolean, text, boolean) IS
'Shows the steps of backfill without doing them, period after period; a transaction ends after each. SELECT * FROM eventkit.plan_backfill(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.plan_backfill_period(regclass, regclass, timestamp, text) IS
'Shows the steps of one period of a backfill without doing them. SELECT * FROM eventkit.plan_backfill_period(''public.events'', ''app.events'', ''2024-01-01'')';
COMMENT ON FUNCTION eventkit.plan_backfill_sequences(regclass, regclass) IS
'Shows the steps by which a backfill carries sequences without doing them. SELECT * FROM eventkit.plan_backfill_sequences(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.check_backfill(regclass, regclass) IS
'Raises the error that a backfill would raise before its first row, if there is one. SELECT eventkit.check_backfill(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.source_periods(regclass, regclass, timestamptz, timestamptz) IS
'Lists the periods of a source''s rows by what the clocks show at their beginning, newest first. SELECT * FROM eventkit.source_periods(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.plan_backfill_capture(regclass, regclass) IS
'Shows the steps that begin to capture a source''s changes without doing them; none when they are captured already. SELECT * FROM eventkit.plan_backfill_capture(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.backfill_left_behind(regclass, regclass) IS
'Counts the rows that no backfill moves: key NULL, infinite, before 1970 or more than ten years ahead. SELECT * FROM eventkit.backfill_left_behind(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.backfill_differences(regclass, regclass) IS
'Compares the numbers of rows of source and parent period by period, as the parent has them, and returns the periods that differ. SELECT * FROM eventkit.backfill_differences(''public.events'', ''app.events'')';
