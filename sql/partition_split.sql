-- split_partition and unpartition_table: rows are copied while others read and write, then the copies take their place.

CREATE FUNCTION eventkit.apply_captured(changes regclass, part regclass, key name, range text) RETURNS bigint
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns text;
  sources text;
  targets text;
  same text;
  change record;
  touched bigint;
  applied bigint := 0;
BEGIN
  SELECT string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum), string_agg(format('(c.changed).%I', a.attname), ', ' ORDER BY a.attnum),
      string_agg(format('t.%I', a.attname), ', ' ORDER BY a.attnum)
    INTO columns, sources, targets
    FROM pg_attribute a WHERE a.attrelid = part AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
  -- Found by the primary key's columns where there is one; the whole row decides, column by column of the same name: the order may be
  -- another, and what is generated follows from the rest.
  SELECT coalesce(string_agg(format('t.%1$I OPERATOR(%2$I.%3$s) (c.changed).%1$I', a.attname, n.nspname, q.oprname), ' AND '),
      format('(t.%1$I OPERATOR(pg_catalog.=) (c.changed).%1$I OR t.%1$I IS NULL AND (c.changed).%1$I IS NULL)', key))
    INTO same
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY k (attnum, opclass, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    -- Equal as the index sees it, whose type may be one of an extension's.
    JOIN pg_opclass oc ON oc.oid = k.opclass
    JOIN pg_amop o ON o.amopfamily = oc.opcfamily AND o.amoplefttype = oc.opcintype AND o.amoprighttype = oc.opcintype AND o.amopstrategy = 3
    JOIN pg_operator q ON q.oid = o.amopopr
    JOIN pg_namespace n ON n.oid = q.oprnamespace
    WHERE i.indrelid = part AND i.indisprimary AND k.place <= i.indnkeyatts;
  SET CONSTRAINTS ALL DEFERRED;
  FOR change IN EXECUTE format('SELECT c.seq, c.added FROM %s c CROSS JOIN LATERAL (SELECT (c.changed).*) r WHERE %s ORDER BY c.seq', changes, replace(range, format('"%s"', replace(key, '"', '""')), format('r.%I', key)))
  LOOP
    IF change.added THEN
      EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM %s c WHERE c.seq = $1', part, columns, sources, changes) USING change.seq;
    ELSE
      EXECUTE format('DELETE FROM %1$s WHERE ctid = (SELECT t.ctid FROM %1$s t, %2$s c WHERE c.seq = $1 AND %3$s AND (ROW(%4$s)::record) OPERATOR(pg_catalog.*=) (ROW(%5$s)::record) LIMIT 1)',
        part, changes, same, targets, sources)
        USING change.seq;
    END IF;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched <> 1 THEN
      RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('change %s in %s does not fit the rows of %s', change.seq, changes, part),
        DETAIL = 'A row that was taken away is not in the copy: somebody changed the copy, or its source past its triggers.',
        HINT = 'Give it up, then call again: SELECT eventkit.stop_capture(b) FROM pg_trigger t, regclass(t.tgrelid) b WHERE t.tgname = ''eventkit_capture'' AND t.tgparentid = 0.';
    END IF;
    EXECUTE format('DELETE FROM %s WHERE seq = $1', changes) USING change.seq;
    applied := applied + 1;
  END LOOP;
  RETURN applied;
END
$$;

COMMENT ON FUNCTION eventkit.apply_captured(regclass, regclass, name, text) IS
'Applies the captured changes of a range to the copy of its rows, in their order, and returns how many; split_partition calls it. SELECT eventkit.apply_captured(''app.visits_changes'', ''app.visits'', ''at'', ''"at" IS NOT NULL'')';

CREATE FUNCTION eventkit.capture_state("table" regclass, OUT captured boolean, OUT log regclass, OUT function regprocedure, OUT whole boolean, OUT named text)
VOLATILE PARALLEL UNSAFE COST 1000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  state record;
BEGIN
  -- The triggers on its partitions are copies of its own.
  SELECT t.oid, t.tgfoid, l.oid AS log, l.named, l.oid IS NOT NULL
      -- It names the table of changes: with another name or schema nothing can be written any more.
      AND strpos(p.prosrc, format('INSERT INTO "%s"."%s" ', replace(l.schema, '"', '""'), replace(l.name, '"', '""'))) > 0
      AND 2 = (SELECT count(*) FROM pg_trigger o WHERE o.tgrelid = c.oid AND o.tgfoid = t.tgfoid AND o.tgname IN ('eventkit_capture', 'eventkit_truncate')
        -- All is made in one transaction: what was changed since shows another one. Only a dump is restored in several.
        AND o.tgenabled = 'A' AND (o.xmin = p.xmin OR p.xmin::text <> l.xmin::text))
      AND NOT EXISTS (SELECT FROM pg_trigger o WHERE o.tgparentid = t.oid AND o.tgenabled <> 'A') AS whole
    INTO state
    FROM pg_class c
    JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname IN ('eventkit_capture', 'eventkit_truncate') AND t.tgparentid = 0
    JOIN pg_proc p ON p.oid = t.tgfoid
    -- By the type of its column, whatever the table is called now.
    LEFT JOIN LATERAL (
      SELECT r.oid, a.xmin, rn.nspname AS schema, r.relname AS name, substr(obj_description(r.oid, 'pg_class'), 35) AS named
      FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid AND r.relkind = 'r' AND r.relowner = c.relowner JOIN pg_namespace rn ON rn.oid = r.relnamespace
      WHERE a.atttypid = c.reltype AND a.attname = 'changed' AND starts_with(obj_description(r.oid, 'pg_class'), 'changes captured by eventkit from "')
      ORDER BY r.oid LIMIT 1) l ON true
    WHERE c.oid = "table"
    ORDER BY t.tgname LIMIT 1;
  captured := FOUND;
  log := state.log;
  function := state.tgfoid;
  whole := coalesce(state.whole, false);
  named := state.named;
END
$$;

COMMENT ON FUNCTION eventkit.capture_state(regclass) IS
'Tells whether changes of a table are captured for a split_partition or unpartition_table, where they are kept, by which function, whether nobody has touched it since, and what the table was called then. SELECT * FROM eventkit.capture_state(''app.taps'')';

CREATE FUNCTION eventkit.copies_of("table" regclass) RETURNS SETOF regclass
VOLATILE PARALLEL UNSAFE COST 1000 ROWS 10 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    SELECT o.oid::regclass
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objsubid = 0
      AND starts_with(d.description, format('filled by eventkit from %s:',
        coalesce((SELECT s.named FROM eventkit.capture_state(c.oid) s), format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""')))))
    -- Anybody may write such a description on a table of his own.
    JOIN pg_class o ON o.oid = d.objoid AND o.relkind = 'r' AND NOT o.relispartition AND o.relowner = c.relowner
    WHERE c.oid = "table"
    ORDER BY o.relname;
END
$$;

COMMENT ON FUNCTION eventkit.copies_of(regclass) IS
'Lists the copies of a table''s rows that a split_partition or unpartition_table has made and that have not taken their place. SELECT eventkit.copies_of(''app.visits'')';

CREATE FUNCTION eventkit.expect_captured("table" regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT (SELECT s.whole FROM eventkit.capture_state("table") s) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('the capture of changes of %s is not whole', "table"),
      DETAIL = 'A trigger of it was disabled, changed or dropped, or what it writes to was: rows may have changed unseen since they were copied.',
      HINT = format('Begin anew: SELECT eventkit.stop_capture(%L); then call again.', "table");
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.expect_captured(regclass) IS
'Raises an error when the triggers that capture the changes of a table are not as they were made; split_partition calls it under its locks. SELECT eventkit.expect_captured(''app.taps'')';

CREATE FUNCTION eventkit.expect_copied(source regclass, part regclass, changes regclass, key name, range text) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
-- Policies that bind the caller would hide rows: an error instead.
SET search_path = pg_catalog, pg_temp SET row_security = off
AS $$
DECLARE
  there bigint;
  copied bigint;
  captured bigint;
BEGIN
  -- One statement sees one moment: what is committed in the source is either in the copy or captured.
  EXECUTE format('SELECT (SELECT count(*) FROM %s WHERE %s), (SELECT count(*) FROM %s), '
      '(SELECT coalesce(sum(CASE WHEN c.added THEN 1 ELSE -1 END), 0) FROM %s c CROSS JOIN LATERAL (SELECT (c.changed).*) r WHERE %s)',
    source, range, part, changes, replace(range, format('"%s"', replace(key, '"', '""')), format('r.%I', key)))
    INTO there, copied, captured;
  IF there <> copied + captured THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('%s holds %s rows of %s, its copy %s with what was captured since', source, there, part, copied + captured),
      DETAIL = 'Rows have changed past the triggers that capture changes, or somebody has changed the copy.',
      HINT = format('Begin anew: SELECT eventkit.stop_capture(%L); then call again.', source);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.expect_copied(regclass, regclass, regclass, name, text) IS
'Raises an error when a copy, with the changes captured since, has not as many rows as its range of the source; split_partition calls it before the exchange. SELECT eventkit.expect_copied(''app.visits'', ''app.visits_plain'', ''app.visits_changes'', ''at'', ''true'')';

CREATE FUNCTION eventkit.expect_partitions(parent regclass, plain regclass, known text[]) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET row_security = off
AS $$
DECLARE
  now_there CONSTANT text[] := ARRAY(
    SELECT format('%s/%s', c.oid, c.relfilenode) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = parent);
  part record;
  there bigint;
  copied bigint;
  trouble text;
BEGIN
  IF NOT known <@ now_there THEN
    trouble := format('partitions of %s have left it or were emptied or rewritten meanwhile', parent);
  END IF;
  -- One that is made by itself is empty at first, and its rows are captured; one that was filled before is not.
  FOR part IN
    SELECT c.oid::regclass AS name, coalesce(pg_get_partition_constraintdef(c.oid), 'true') AS bound
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = parent AND format('%s/%s', c.oid, c.relfilenode) <> ALL (known) AND trouble IS NULL
  LOOP
    EXECUTE format('SELECT (SELECT count(*) FROM %s), (SELECT count(*) FROM %s WHERE %s)', part.name, plain, part.bound) INTO there, copied;
    IF there <> copied THEN
      trouble := format('partition %s was attached to %s meanwhile with rows', part.name, parent);
    END IF;
  END LOOP;
  IF trouble IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use',
      MESSAGE = trouble,
      DETAIL = 'The copy has other rows than the partitions.',
      HINT = format('Call again, all is copied anew. If it was eventkit.maintain, end that first: CALL eventkit.unmanage_partitions(%L).', parent);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.expect_partitions(regclass, regclass, text[]) IS
'Raises an error when a parent has lost partitions that were copied, told as oid/relfilenode, or got others with rows that are not in the copy; unpartition_table calls it under its locks. SELECT eventkit.expect_partitions(''app.events'', ''app.events'', ''{}'')';

CREATE FUNCTION eventkit.structure_of(parent regclass) RETURNS text
VOLATILE PARALLEL UNSAFE COST 1000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Without what a split changes itself (foreign keys), what a rename of a table changes, and numbers that a dump does not keep.
  RETURN md5(concat_ws(' ',
    (SELECT jsonb_agg(jsonb_build_array(a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, o.collname,
        CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END) ORDER BY a.attnum)
      FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum LEFT JOIN pg_collation o ON o.oid = a.attcollation
      WHERE a.attrelid = parent AND a.attnum > 0 AND NOT a.attisdropped),
    (SELECT jsonb_agg(pg_get_constraintdef(k.oid) ORDER BY pg_get_constraintdef(k.oid) COLLATE "C")
      FROM pg_constraint k WHERE k.conrelid = parent AND k.contype IN ('c', 'p', 'u', 'x')),
    (SELECT jsonb_agg(x.shape ORDER BY x.shape) FROM (
      SELECT jsonb_build_array(i.indkey::text, i.indisunique, i.indnkeyatts, i.indoption::text, m.amname, pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid),
          to_jsonb(i) ->> 'indnullsnotdistinct', (SELECT jsonb_agg(p.opcname ORDER BY u.place) FROM unnest(i.indclass::oid[]) WITH ORDINALITY u (class, place) JOIN pg_opclass p ON p.oid = u.class)) AS shape
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = parent AND i.indisvalid) x)));
END
$$;

COMMENT ON FUNCTION eventkit.structure_of(regclass) IS
'Tells a text that another state of the columns, constraints and indexes of a table has not. SELECT eventkit.structure_of(''app.visits'')';

CREATE FUNCTION eventkit.expect_structure(parent regclass, source regclass, structure text) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF eventkit.structure_of(parent) IS DISTINCT FROM structure THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('%s was altered since rows of %s were copied', parent, source),
      DETAIL = 'Its columns, constraints or indexes are not those of the copies.',
      HINT = format('Begin anew: SELECT eventkit.stop_capture(%L); then call again.', source);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.expect_structure(regclass, regclass, text) IS
'Raises an error when the columns, constraints or indexes of a parent are not those that the copies of a partition''s rows were made like; split_partition calls it under its locks. SELECT eventkit.expect_structure(''app.visits'', ''app.visits'', eventkit.structure_of(''app.visits''))';

CREATE FUNCTION eventkit.stop_capture("table" regclass, lock_timeout interval DEFAULT '2 seconds') RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
DECLARE
  state record;
  statements text[];
  changing CONSTANT bigint := eventkit.advisory_lock_key(format('change %s',
    coalesce((SELECT i.inhparent FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent AND c.relkind = 'p' WHERE i.inhrelid = "table"), "table"::oid)));
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting($2), true);
  PERFORM eventkit.check_owner("table", 'table');
  IF NOT pg_try_advisory_xact_lock(changing) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use',
      MESSAGE = format('another session is copying the rows of %s', "table"),
      DETAIL = 'What it has copied so far would be lost.',
      HINT = 'See it with: SELECT pid, query FROM pg_stat_activity WHERE query ~* ''eventkit.(split_partition|unpartition_table)''; end that session first: SELECT pg_terminate_backend(pid).';
  END IF;
  SELECT s.* INTO state FROM eventkit.capture_state("table") s;
  statements := ARRAY(
    SELECT format('DROP TRIGGER %I ON %s', t.tgname, "table") FROM pg_trigger t
      WHERE t.tgrelid = "table" AND t.tgname IN ('eventkit_capture', 'eventkit_truncate') AND t.tgparentid = 0 ORDER BY t.tgname)
    || CASE WHEN state.captured THEN format('DROP FUNCTION %s', state.function) END
    || CASE WHEN state.log IS NOT NULL THEN format('DROP TABLE %s', state.log) END
    || ARRAY(SELECT format('DROP TABLE %s', c) FROM eventkit.copies_of("table") c)
    || ARRAY(
      SELECT format('ALTER TABLE %s DROP CONSTRAINT partition_excludes_split', k.conrelid::regclass)
      FROM pg_inherits i JOIN pg_partitioned_table p ON p.partrelid = i.inhparent JOIN pg_constraint k ON k.conrelid = p.partdefid
      WHERE i.inhrelid = "table" AND k.conname = 'partition_excludes_split' AND state.captured
        -- Another partition may be split meanwhile.
        AND NOT EXISTS (SELECT FROM pg_inherits o JOIN pg_trigger t ON t.tgrelid = o.inhrelid
          WHERE o.inhparent = i.inhparent AND o.inhrelid <> "table" AND t.tgname = 'eventkit_capture' AND t.tgparentid = 0));
  statements := array_remove(statements, NULL);
  IF statements = '{}' THEN
    RAISE NOTICE 'no changes of % are captured', "table";
    RETURN;
  END IF;
  PERFORM eventkit.execute_with_retries(statements);
END
$$;

COMMENT ON FUNCTION eventkit.stop_capture(regclass, interval) IS
'Gives up a split_partition (name the partition) or unpartition_table that was stopped: changes of the table are captured no more, and the copies of its rows are dropped. SELECT eventkit.stop_capture(''app.visits'')';

CREATE PROCEDURE eventkit.run_copying_plan(planned eventkit.plan_step[], parent text, lock_timeout interval, what text)
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  step eventkit.plan_step;
  phase eventkit.plan_step[] := '{}';
  copies pg_catalog.bool := false;
  failure pg_catalog.jsonb;
BEGIN
  FOREACH step IN ARRAY planned LOOP
    IF step.statement IS NULL THEN
      PERFORM eventkit.release_session_lock(what);
      RAISE NOTICE '%', step.reason;
      RETURN;
    ELSIF step.statement OPERATOR(pg_catalog.=) 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ' THEN
      -- To find the statement above took a snapshot, and this one has to be the first of its transaction.
      COMMIT;
      SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
      copies := true;
      CONTINUE;
    ELSIF step.statement OPERATOR(pg_catalog.<>) 'COMMIT' THEN
      phase := pg_catalog.array_append(phase, step);
      CONTINUE;
    END IF;
    IF copies THEN
      -- Policies that bind the caller would hide rows: an error instead.
      SET LOCAL row_security = off;
    END IF;
    failure := eventkit.try_plan(phase, lock_timeout, caller_search_path, together => NOT copies);
    phase := '{}';
    COMMIT;
    IF failure IS NOT NULL THEN
      PERFORM eventkit.release_session_lock(what);
      PERFORM eventkit.raise_failure(failure, pg_catalog.format('Copying rows of %s.', parent),
        'Remove the cause, then call again: what is finished stays, and changes are captured until all is done. To give up: SELECT eventkit.stop_capture(…).');
    END IF;
    IF copies THEN
      RAISE NOTICE '% is copied', step.target;
      copies := false;
    END IF;
  END LOOP;
  PERFORM eventkit.release_session_lock(what);
END
$$;

COMMENT ON PROCEDURE eventkit.run_copying_plan(eventkit.plan_step[], text, interval, text) IS
'Runs a plan that copies rows while their changes are captured, and commits each transaction of it, then releases the lock named; split_partition and unpartition_table call it. CALL eventkit.run_copying_plan(''{}'', ''app.orders'', ''2 seconds'', ''change app.orders'')';

CREATE PROCEDURE eventkit.split_partition(parent regclass, partition regclass DEFAULT NULL, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  what CONSTANT pg_catalog.text := pg_catalog.format('change %s', parent::pg_catalog.oid);
  named CONSTANT pg_catalog.text := parent::pg_catalog.text;
  planned eventkit.plan_step[];
BEGIN
  -- Where COMMIT is not allowed, these two say so before there is anything to lose.
  PERFORM eventkit.refuse_transaction_block('split_partition');
  COMMIT;
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  planned := eventkit.plan_alone(what, pg_catalog.format('eventkit.plan_split_partition(%L, %L)', parent::pg_catalog.oid, partition::pg_catalog.oid));
  COMMIT;
  CALL eventkit.run_copying_plan(planned, named, lock_timeout, what);
END
$$;

COMMENT ON PROCEDURE eventkit.split_partition(regclass, regclass, interval) IS
'Splits a partition of many periods, as convert_table leaves one, into one for each: rows are copied period by period, newest first, in a transaction each, changes are captured meanwhile, and one short transaction exchanges the copies for the old partition, which is dropped. Without a partition named, the first wide one. A call that was stopped can be repeated. CALL eventkit.split_partition(''app.orders'')';

REVOKE EXECUTE ON PROCEDURE eventkit.split_partition(regclass, regclass, interval) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.plan_split_partition(regclass, regclass) IS
'Shows the steps of split_partition without doing them, COMMIT behind each transaction. SELECT * FROM eventkit.plan_split_partition(''app.orders'')';

CREATE PROCEDURE eventkit.unpartition_table(parent regclass, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  what CONSTANT pg_catalog.text := pg_catalog.format('change %s', parent::pg_catalog.oid);
  named CONSTANT pg_catalog.text := parent::pg_catalog.text;
  planned eventkit.plan_step[];
BEGIN
  -- Where COMMIT is not allowed, these two say so before there is anything to lose.
  PERFORM eventkit.refuse_transaction_block('unpartition_table');
  COMMIT;
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  planned := eventkit.plan_alone(what, pg_catalog.format('eventkit.plan_unpartition_table(%L)', parent::pg_catalog.oid));
  COMMIT;
  CALL eventkit.run_copying_plan(planned, named, lock_timeout, what);
END
$$;

COMMENT ON PROCEDURE eventkit.unpartition_table(regclass, interval) IS
'Makes a plain table of a partitioned one, under its name and with all that hangs on it: rows are copied while others read and write, changes are captured meanwhile, and one short transaction exchanges the two; the partitions are dropped. Undoes convert_table. CALL eventkit.unpartition_table(''app.orders'')';

REVOKE EXECUTE ON PROCEDURE eventkit.unpartition_table(regclass, interval) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.plan_unpartition_table(regclass) IS
'Shows the steps of unpartition_table without doing them, COMMIT behind each transaction. SELECT * FROM eventkit.plan_unpartition_table(''app.orders'')';
