-- What is wrong with the managed parents, and what they look like.

CREATE FUNCTION eventkit.check_server(parent regclass, version_num int DEFAULT current_setting('server_version_num')::int)
RETURNS TABLE (level text, what text, hint text)
STABLE PARALLEL SAFE COST 100 ROWS 1 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  -- The minor versions that mended it, by the release notes of PostgreSQL.
  SELECT 'critical', f.what, format('update the server to PostgreSQL %s.%s or later; then drop foreign key %I and add it again', $2 / 10000, f.mended, f.conname)
  FROM (
    SELECT k.conname, v.itself AS mended, format('foreign key %I of %s to itself is not enforced by PostgreSQL %s.%s', k.conname, $1, $2 / 10000, $2 % 10000) AS what
    FROM (VALUES (15, 13, 9), (16, 9, 5), (17, 5, 1)) v (major, itself, detached) JOIN pg_constraint k
      ON k.contype = 'f' AND k.conrelid = $1 AND k.confrelid = $1 AND k.conparentid = 0
    WHERE $2 / 10000 = v.major AND $2 % 10000 < v.itself
    UNION ALL
    SELECT k.conname, v.detached, format('a partition that is detached from %s loses its foreign key %I with PostgreSQL %s.%s', $1, k.conname, $2 / 10000, $2 % 10000)
    FROM (VALUES (15, 13, 9), (16, 9, 5), (17, 5, 1)) v (major, itself, detached) JOIN pg_constraint k
      ON k.contype = 'f' AND k.conrelid = $1 AND k.confrelid <> $1 AND k.conparentid = 0
    JOIN pg_class r ON r.oid = k.confrelid AND r.relkind = 'p'
    WHERE $2 / 10000 = v.major AND $2 % 10000 < v.detached) f
  ORDER BY f.what
$$;

COMMENT ON FUNCTION eventkit.check_server(regclass, int) IS
'Names the faults of a server''s minor version that concern the foreign keys of a parent. SELECT * FROM eventkit.check_server(''app.events'')';

CREATE FUNCTION eventkit.check_partitions(parent regclass) RETURNS TABLE (level text, what text, hint text)
VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 5 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  told eventkit.partition_settings;
  lacking int;
  present regclass;
  rest oid;
  shown boolean;
  expiry timestamptz := '-infinity';
BEGIN
  SELECT s.* INTO told FROM eventkit.partition_settings s WHERE s.parent = parent;
  -- Ahead.
  SELECT count(*) INTO lacking FROM eventkit.upcoming_partitions(parent);
  SELECT u.partition INTO present FROM eventkit.upcoming_partitions(parent) u WHERE u.ahead = 0;
  IF FOUND THEN
    RETURN QUERY SELECT 'critical', CASE WHEN present IS NULL THEN 'the present period has no partition' ELSE format('a part of the present period has no partition, another is in %s', present) END,
      'CALL eventkit.maintain()';
  ELSIF lacking > 0 THEN
    RETURN QUERY SELECT 'warning', format('%s of %s periods ahead have no partition', lacking, told.premake), 'CALL eventkit.maintain()';
  END IF;
  RETURN QUERY
    SELECT 'critical', format('%I has the name of the partition for %s and is none', u.partition_name, u.period),
      format('ALTER TABLE %I.%I RENAME TO …', n.nspname, u.partition_name)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL eventkit.upcoming_partitions(parent) u
    WHERE c.oid = parent AND u.taken
      -- The copies of a split are told of with what they are copies of.
      AND NOT EXISTS (SELECT FROM pg_class o WHERE o.relnamespace = n.oid AND o.relname = u.partition_name AND starts_with(obj_description(o.oid, 'pg_class'), 'filled by eventkit from "'))
    ORDER BY u.period;
  -- Between. What lies before the retention would be retired as soon as it is made.
  SELECT a.atttypid IN ('date'::regtype, 'timestamp'::regtype) INTO shown
    FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] WHERE p.partrelid = parent;
  IF told.retention IS NOT NULL THEN
    expiry := (statement_timestamp() AT TIME ZONE told.time_zone - told.retention) AT TIME ZONE told.time_zone;
  END IF;
  RETURN QUERY
    SELECT 'warning', format('no partition between %s and %s%s', g.from_time, g.to_time, CASE WHEN g.periods > 1000 THEN format(', some %s periods: is the one before meant?', g.periods) END),
      CASE WHEN g.periods > 1000 THEN format('SELECT * FROM eventkit.partitions WHERE parent = %L::regclass ORDER BY from_time', parent)
        ELSE format('CALL eventkit.create_partitions(%L, %L, %L)', parent, eventkit.exact_time(g.from_time), eventkit.exact_time(g.to_time)) END
    FROM eventkit.partition_gaps(parent) p (from_time, to_time)
    CROSS JOIN LATERAL (SELECT
      greatest(CASE WHEN shown THEN p.from_time AT TIME ZONE 'UTC' AT TIME ZONE told.time_zone ELSE p.from_time END, expiry) AS from_time,
      CASE WHEN shown THEN p.to_time AT TIME ZONE 'UTC' AT TIME ZONE told.time_zone ELSE p.to_time END AS to_time) t
    CROSS JOIN LATERAL (SELECT t.*, round(extract(epoch FROM t.to_time - t.from_time) / extract(epoch FROM told.period)) AS periods) g
    WHERE g.from_time < g.to_time ORDER BY g.from_time;
  -- The default partition.
  SELECT p.partdefid INTO rest FROM pg_partitioned_table p WHERE p.partrelid = parent AND p.partdefid <> 0;
  -- To read a table may run functions of its owner's: not with the rights of whoever looks.
  IF rest IS NOT NULL AND eventkit.run_as_owner(parent, format('SELECT eventkit.has_rows(%L)::text', rest))::boolean THEN
    RETURN QUERY
      SELECT 'warning', format('default partition %s holds rows%s', rest::regclass, CASE WHEN NOT m.movable THEN ' that no period is there for' END),
        format(CASE WHEN m.movable THEN 'CALL eventkit.drain_default(%L)' ELSE 'SELECT * FROM eventkit.default_left_behind(%L)' END, parent)
      FROM (SELECT eventkit.run_as_owner(parent, format('SELECT (eventkit.next_default_period(%L) IS NOT NULL)::text', parent::oid))::boolean AS movable) m;
  END IF;
  -- Detaches and departures.
  RETURN QUERY
    SELECT 'warning', format('the detach of %s is pending', i.inhrelid::regclass), format('ALTER TABLE %s DETACH PARTITION %s FINALIZE', parent, i.inhrelid::regclass)
    FROM pg_inherits i WHERE i.inhparent = parent AND i.inhdetachpending ORDER BY i.inhrelid;
  RETURN QUERY
    SELECT 'warning', format('the departure of %s was interrupted', d.partition),
      -- Without a retention only what was begun is ended.
      format('CALL eventkit.drop_old_partitions(%L%s)', parent, CASE WHEN told.retention IS NULL THEN ', ''-infinity''' END)
    FROM eventkit.partition_departures d
    WHERE d.parent = parent AND NOT eventkit.holds_session_lock(NULL, eventkit.advisory_lock_key(format('retire %s', parent::oid)))
      AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = d.partition AND i.inhparent = parent AND NOT i.inhdetachpending)
    ORDER BY d.partition;
  RETURN QUERY
    SELECT 'warning', format('archive procedure %s %s: no partition is retired', told.archive, t.trouble),
      CASE WHEN t.trouble ~ '^may not' THEN format('GRANT EXECUTE ON ROUTINE %s TO the owner, and USAGE on its schema', told.archive) ELSE 'CREATE PROCEDURE app.archive(partition regclass) …, then CALL eventkit.manage_partitions(…, archive_with => ''app.archive(regclass)'')' END
    FROM eventkit.archive_trouble(parent, told.archive) t (trouble) WHERE t.trouble IS NOT NULL;
  IF told.retention IS NOT NULL THEN
    RETURN QUERY
      SELECT 'warning', format('%s expired more than a day ago', e.partition), format('CALL eventkit.drop_old_partitions(%L)', parent)
      FROM eventkit.expired_partitions(parent, NULL, statement_timestamp() - interval '1 day') e (partition);
  END IF;
  -- Constraints and indexes.
  RETURN QUERY SELECT f.level, f.what, f.hint FROM eventkit.check_server(parent) f;
  RETURN QUERY
    SELECT DISTINCT 'warning', format('foreign key %I of the partitions waits to be that of %s', w.name, parent), format('CALL eventkit.split_partition(%L)', parent)
    FROM eventkit.waiting_foreign_keys(parent) w ORDER BY 2;
  RETURN QUERY
    SELECT 'warning', format('constraint %I of %s is not validated', k.conname, k.conrelid::regclass),
      format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k.conrelid::regclass, k.conname)
    FROM pg_constraint k
    WHERE k.contype IN ('c', 'f') AND NOT k.convalidated
      AND (k.conrelid = parent OR k.conrelid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = parent))
    ORDER BY k.conrelid, k.conname;
  RETURN QUERY
    SELECT 'critical', format('index %s of %s is not valid', x.indexrelid::regclass, x.indrelid::regclass),
      CASE WHEN x.indrelid = parent THEN format('make it on each partition and attach: ALTER INDEX %s ATTACH PARTITION …', x.indexrelid::regclass)
        ELSE format('REINDEX INDEX CONCURRENTLY %s', x.indexrelid::regclass) END
    FROM pg_index x
    WHERE NOT x.indisvalid AND (x.indrelid = parent OR x.indrelid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = parent))
    ORDER BY x.indrelid, x.indexrelid;
  RETURN QUERY
    SELECT 'critical', format('%s has no index like %s', i.inhrelid::regclass, x.indexrelid::regclass),
      format('make one on it, then: ALTER INDEX %s ATTACH PARTITION …', x.indexrelid::regclass)
    FROM pg_index x CROSS JOIN pg_inherits i
    WHERE x.indrelid = parent AND i.inhparent = parent AND NOT i.inhdetachpending
      AND (SELECT c.relkind FROM pg_class c WHERE c.oid = i.inhrelid) IN ('r', 'p')
      AND NOT EXISTS (SELECT FROM pg_inherits xi JOIN pg_index cx ON cx.indexrelid = xi.inhrelid WHERE xi.inhparent = x.indexrelid AND cx.indrelid = i.inhrelid)
    ORDER BY i.inhrelid, x.indexrelid;
END
$$;

COMMENT ON FUNCTION eventkit.check_partitions(regclass) IS
'Lists what is wrong with a managed parent: level, what, and the command that mends it. SELECT * FROM eventkit.check_partitions(''app.events'')';

CREATE FUNCTION eventkit.try_check_partitions(parent regclass) RETURNS TABLE (level text, what text, hint text)
VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 5 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  RETURN QUERY SELECT c.level, c.what, c.hint FROM eventkit.check_partitions(parent) c;
EXCEPTION WHEN assert_failure OR OTHERS THEN
  RETURN QUERY SELECT 'critical', format('it cannot be checked: %s', SQLERRM), format('SELECT * FROM eventkit.check_partitions(%L)', parent);
END
$$;

COMMENT ON FUNCTION eventkit.try_check_partitions(regclass) IS
'Does as check_partitions does, and tells an error as a row. SELECT * FROM eventkit.try_check_partitions(''app.events'')';

CREATE FUNCTION eventkit.check_maintenance() RETURNS TABLE (level text, what text, hint text)
STABLE PARALLEL RESTRICTED COST 1000 ROWS 1 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  -- What a role says of its runs counts for parents whose owner's rights it has.
  WITH owned AS MATERIALIZED (
    SELECT s.parent, c.relowner FROM eventkit.partition_settings s JOIN pg_class c ON c.oid = s.parent WHERE pg_has_role(c.relowner, 'USAGE')
  ), owners AS MATERIALIZED (
    SELECT o.relowner, (SELECT max(r.started_at) FROM eventkit.run_history r WHERE r.action = 'maintain' AND pg_has_role(r.run_by::oid, o.relowner, 'USAGE')) AS last
    FROM (SELECT DISTINCT relowner FROM owned) o
  )
  SELECT 'warning', concat(CASE WHEN n.last IS NULL THEN 'maintain has never run' ELSE format('maintain has not run since %s', n.last) END,
      CASE WHEN n.parents < (SELECT count(*) FROM owned) THEN ' for ' || n.names END),
    'SELECT eventkit.schedule_maintenance(''5 * * * *'')'
  FROM (
    SELECT w.last, count(*) AS parents, string_agg(o.parent::text, ', ' ORDER BY o.parent::text) AS names
    FROM owned o JOIN owners w USING (relowner) GROUP BY w.last) n
  WHERE n.last IS NULL OR n.last < statement_timestamp() - interval '1 day'
  UNION ALL
  SELECT 'warning', format('the last %s of %s failed: %s', f.action, f.parent, f.message),
    'SELECT * FROM eventkit.run_history WHERE sqlstate IS NOT NULL ORDER BY id DESC'
  FROM (
    SELECT DISTINCT ON (r.action, r.parent) r.*, w.last
    FROM eventkit.run_history r JOIN owned o ON o.parent = r.parent JOIN owners w USING (relowner)
    WHERE pg_has_role(r.run_by::oid, o.relowner, 'USAGE') ORDER BY r.action, r.parent, r.id DESC) f
  WHERE f.sqlstate IS NOT NULL AND f.started_at >= coalesce(f.last, '-infinity')
$$;

COMMENT ON FUNCTION eventkit.check_maintenance() IS
'Tells when nobody with the rights of a parent''s owner has maintained it for a day, and what of the last run failed. SELECT * FROM eventkit.check_maintenance()';

CREATE FUNCTION eventkit.check_unfinished() RETURNS TABLE (subject regclass, level text, what text, hint text)
VOLATILE PARALLEL UNSAFE COST 100000 ROWS 1 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  WITH found (subject, lock, level, what, hint) AS (
    -- Rows that a CHECK refuses, or that no partition is there for.
    SELECT c.oid::regclass, format('change %s', c.oid), 'critical',
      format('constraint partition_bound is left on %s, whose attach or conversion was stopped: rows outside of the bound are refused', c.oid::regclass),
      format('SELECT eventkit.abandon_attach(%L)', c.oid::regclass)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid AND c.relkind = 'r' AND NOT c.relispartition
    WHERE k.conname = 'partition_bound' AND k.contype = 'c' AND eventkit.proves_bound(k.oid)
      -- The copies of a split are told of with what they are copies of.
      AND NOT starts_with(coalesce(obj_description(c.oid, 'pg_class'), ''), 'filled by eventkit from "')
    UNION ALL
    SELECT p.partrelid::regclass, format('change %s', c.oid), 'critical', format('%s is converted and not managed: it gets no later partitions', p.partrelid::regclass),
      format('CALL eventkit.manage_partitions(%L)', p.partrelid::regclass)
    FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid JOIN pg_partitioned_table p ON p.partrelid = i.inhparent
    JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
    WHERE c.relispartition AND c.relname ~ '_adopted$' AND starts_with(pg_get_expr(c.relpartbound, c.oid), 'FOR VALUES FROM (MINVALUE) TO')
      AND NOT EXISTS (SELECT FROM pg_inherits other WHERE other.inhparent = i.inhparent AND other.inhrelid <> c.oid)
      AND NOT EXISTS (SELECT FROM eventkit.partition_settings s WHERE s.parent = i.inhparent)
    UNION ALL
    SELECT k.conrelid::regclass, NULL, 'warning', format('constraint %I of %s is not validated', k.conname, k.conrelid::regclass),
      format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k.conrelid::regclass, k.conname)
    FROM pg_constraint k JOIN pg_partitioned_table p ON p.partrelid = k.confrelid
    WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT k.convalidated AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
      -- Those of managed parents are told with them.
      AND NOT EXISTS (SELECT FROM eventkit.partition_settings s WHERE s.parent = k.conrelid OR s.parent = (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = k.conrelid LIMIT 1))
    -- What grows with each write.
    UNION ALL
    SELECT coalesce(p.partrelid, t.tgrelid)::regclass, format('change %s', coalesce(p.partrelid, t.tgrelid)), CASE WHEN s.whole THEN 'warning' ELSE 'critical' END,
      CASE WHEN NOT s.whole THEN format('the capture of changes of %s is not whole: who writes to it may get an error', t.tgrelid::regclass)
        WHEN p.partrelid IS NULL THEN format('changes of %s are captured, which is a partition no more', t.tgrelid::regclass)
        ELSE format('changes of %s are captured for a call of %s that was stopped', t.tgrelid::regclass, CASE p.partrelid WHEN t.tgrelid THEN 'unpartition_table' ELSE 'split_partition' END) END,
      CASE WHEN NOT s.whole OR p.partrelid IS NULL THEN format('SELECT eventkit.stop_capture(%L)', t.tgrelid::regclass)
        WHEN p.partrelid = t.tgrelid THEN format('CALL eventkit.unpartition_table(%L)', p.partrelid::regclass)
        ELSE format('CALL eventkit.split_partition(%L, %L)', p.partrelid::regclass, t.tgrelid::regclass) END
    FROM pg_trigger t LEFT JOIN pg_inherits i ON i.inhrelid = t.tgrelid LEFT JOIN pg_partitioned_table p ON p.partrelid IN (t.tgrelid, i.inhparent)
    CROSS JOIN LATERAL eventkit.capture_state(t.tgrelid) s
    WHERE t.tgname = 'eventkit_capture' AND t.tgparentid = 0
    UNION ALL
    SELECT b.parent, eventkit.backfill_lock(b.source, b.parent), 'warning', format('changes of %s are captured for a backfill that began %s', b.source, b.began_at),
      format('CALL eventkit.finish_backfill(%L, %L)', b.source, b.parent)
    FROM eventkit.backfills b
    WHERE b.finished_at IS NULL AND b.changes IS NOT NULL AND b.began_at < statement_timestamp() - interval '7 days'
      AND EXISTS (SELECT FROM pg_class c WHERE c.oid = b.changes)
    UNION ALL
    SELECT b.source, NULL, 'critical', format('nobody can write to %s: its triggers note changes in a table that is called %s now', b.source, b.changes),
      format('CALL eventkit.abandon_backfill(%L, %L)', b.source, b.parent)
    FROM eventkit.backfills b JOIN pg_class l ON l.oid = b.changes JOIN pg_namespace ln ON ln.oid = l.relnamespace
    JOIN pg_trigger g ON g.tgrelid = b.source AND g.tgname ~ '_changes_insert$' AND g.tgenabled <> 'D' JOIN pg_proc f ON f.oid = g.tgfoid
    WHERE b.finished_at IS NULL AND f.pronamespace = l.relnamespace AND f.proname = l.relname
      AND strpos(f.prosrc, format('INSERT INTO "%s"."%s" ', replace(ln.nspname, '"', '""'), replace(l.relname, '"', '""'))) = 0
    UNION ALL
    SELECT s.source, NULL, CASE WHEN s.has_table THEN 'warning' ELSE 'critical' END,
      CASE WHEN s.has_table THEN format('changes of %s are captured for a backfill that is not known here', s.source)
        ELSE format('nobody can write to %s: its triggers note changes in %I.%I, which is gone', s.source, s.schema, s.name) END,
      format('CALL eventkit.abandon_backfill(%L)', s.source)
    FROM eventkit.stray_captures() s
  )
  SELECT f.subject, f.level, f.what, f.hint FROM found f JOIN pg_class c ON c.oid = f.subject AND pg_has_role(c.relowner, 'USAGE')
  -- A call that goes on holds the lock of what it changes.
  WHERE f.lock IS NULL OR NOT eventkit.holds_session_lock(NULL, eventkit.advisory_lock_key(f.lock))
$$;

COMMENT ON FUNCTION eventkit.check_unfinished() IS
'Lists what calls have left that were stopped and not repeated, managed or not: constraints, captures of changes, a conversion without later partitions, a backfill of last week; subject is the table. SELECT * FROM eventkit.check_unfinished()';

CREATE VIEW eventkit.partition_health WITH (security_invoker = true) AS
SELECT s.parent, c.level, c.what, c.hint
FROM eventkit.partition_settings s
JOIN pg_catalog.pg_class t ON t.oid OPERATOR(pg_catalog.=) s.parent
CROSS JOIN LATERAL eventkit.try_check_partitions(s.parent) c
WHERE pg_catalog.pg_has_role(t.relowner, 'USAGE')
UNION ALL
SELECT u.subject, u.level, u.what, u.hint FROM eventkit.check_unfinished() u
UNION ALL
SELECT NULL::pg_catalog.regclass, m.level, m.what, m.hint FROM eventkit.check_maintenance() m;

COMMENT ON VIEW eventkit.partition_health IS
'What is wrong with the managed parents of the caller''s: gaps, periods ahead that lack, rows in default partitions, constraints not validated, indexes missing or invalid, detaches pending, strangers with a partition''s name, maintenance that does not run; and what calls have left that were stopped, on any table of the caller''s. No row is good news. SELECT * FROM eventkit.partition_health ORDER BY level';
COMMENT ON COLUMN eventkit.partition_health.parent IS 'The partitioned table, or the one that was to be one or a part of one; NULL for what is about all.';
COMMENT ON COLUMN eventkit.partition_health.level IS 'critical: rows are refused or will be; warning: look at it.';
COMMENT ON COLUMN eventkit.partition_health.what IS 'What is wrong.';
COMMENT ON COLUMN eventkit.partition_health.hint IS 'The command that mends it.';

GRANT SELECT ON eventkit.partition_health TO PUBLIC;

CREATE FUNCTION eventkit.partition_chart(parent regclass, width int DEFAULT 40) RETURNS SETOF text
STABLE STRICT PARALLEL RESTRICTED COST 10000 ROWS 30 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  IF width NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('argument "width" is out of range: %s', width),
      DETAIL = 'The longest bar has between 1 and 1000 characters.', HINT = 'Leave it out to get its default of 40.';
  END IF;
  RETURN QUERY
    SELECT concat(rpad(f.name, max(length(f.name)) OVER ()), '  ', lpad(coalesce(f.row_estimate::int8::text, '?'), max(length(coalesce(f.row_estimate::int8::text, '?'))) OVER ()),
      '  ', repeat('█', ceil(width * f.row_estimate::float8 / nullif(max(f.row_estimate) OVER (), 0))::int))
    FROM (SELECT CASE WHEN p.from_time IS NULL THEN 'default'
              -- An adopted partition begins with the first row that there can be.
              WHEN p.from_time = '-infinity' THEN 'before ' || coalesce(to_char(p.to_time AT TIME ZONE z.name, z.format), 'the end')
              ELSE to_char(p.from_time AT TIME ZONE z.name, z.format) END AS name,
            p.row_estimate, p.from_time
          FROM eventkit.partitions p LEFT JOIN eventkit.partition_settings s ON s.parent = p.parent
          JOIN pg_partitioned_table t ON t.partrelid = p.parent
          JOIN pg_attribute a ON a.attrelid = t.partrelid AND a.attnum = t.partattrs[0]
          -- A key without a zone holds what the clocks show, and was read as UTC.
          CROSS JOIN LATERAL (SELECT CASE WHEN a.atttypid IN ('date'::regtype, 'timestamp'::regtype) THEN 'UTC' ELSE coalesce(s.time_zone, 'UTC') END AS name,
            CASE WHEN coalesce(s.period, '1 day') < interval '1 day' THEN 'YYYY-MM-DD HH24:MI' ELSE 'YYYY-MM-DD' END AS format) z
          WHERE p.parent = parent) f
    ORDER BY f.from_time NULLS LAST;
END
$$;

COMMENT ON FUNCTION eventkit.partition_chart(regclass, int) IS
'Draws the periods of a parent and their rows, as of the last ANALYZE or VACUUM (? before the first), as bars. SELECT eventkit.partition_chart(''app.events'')';

COMMENT ON FUNCTION eventkit.partition_gaps(regclass) IS
'Lists the times between the partitions of a parent that have none; a key without a zone is read as UTC. SELECT * FROM eventkit.partition_gaps(''app.events'')';
