-- manage_partitions and unmanage_partitions: the settings of a parent, and the partitions that they call for now.

CREATE FUNCTION eventkit.sweep_dropped_parents() RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM eventkit.partition_settings s WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.parent);
  DELETE FROM eventkit.partition_departures d WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.parent)
    -- What is a partition again after a day is one that somebody has attached again.
    OR d.begun_at < statement_timestamp() - interval '1 day'
      AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = d.partition AND i.inhparent = d.parent AND NOT i.inhdetachpending);
END
$$;

COMMENT ON FUNCTION eventkit.sweep_dropped_parents() IS
'Removes the settings of dropped parents, the departures of their partitions and of those that were attached again; manage_partitions, unmanage_partitions and maintain do so. SELECT eventkit.sweep_dropped_parents()';

CREATE FUNCTION eventkit.write_partition_settings(
  parent regclass, period interval, time_zone text, premake int, retention interval, on_expiry text, expired_schema name, key_unit text,
  archive_with regprocedure)
RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  statement text;
BEGIN
  PERFORM eventkit.sweep_dropped_parents();
  SELECT p.statement INTO statement
    FROM eventkit.plan_manage_partitions($1, $2, $3, $4, $5, $6, $7, $8, $9) p WHERE p.step = 1;
  EXECUTE statement;
END
$$;

COMMENT ON FUNCTION eventkit.write_partition_settings(regclass, interval, text, int, interval, text, name, text, regprocedure) IS
'Writes the settings of a parent down, new or changed, and removes those of dropped tables; manage_partitions calls it first. SELECT eventkit.write_partition_settings(''app.events'', ''1 day'', ''UTC'', 7, NULL, ''detach'', NULL, NULL, NULL)';

CREATE FUNCTION eventkit.try_partition(parent regclass, period timestamp, seen_free boolean, lock_timeout interval, caller_search_path text) RETURNS boolean
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  detail text;
  hint text;
BEGIN
  PERFORM eventkit.run_partition_plan(NULL, parent, period, lock_timeout, caller_search_path, seen_free);
  RETURN true;
EXCEPTION WHEN assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RAISE WARNING USING ERRCODE = SQLSTATE, MESSAGE = format('no partition was made: %s', SQLERRM),
    DETAIL = coalesce(nullif(detail, ''), format('Period %s of %s has none; the settings are written all the same.', eventkit.period_label(period), parent)),
    HINT = coalesce(nullif(hint, ''), format('Remove the cause; the next CALL eventkit.maintain() makes it, or: CALL eventkit.create_partition(%L, %L).', parent, period::date));
  RETURN false;
END
$$;

COMMENT ON FUNCTION eventkit.try_partition(regclass, timestamp, boolean, interval, text) IS
'Makes the partition of one period (seen_free: no partition meets it), or warns of what stands in the way and returns false. SELECT eventkit.try_partition(''app.events'', ''2024-01-01'', false, ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.missing_partitions(parent regclass) RETURNS TABLE (period timestamp, free boolean)
VOLATILE PARALLEL UNSAFE COST 10000 ROWS 10 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  found record;
BEGIN
  FOR found IN
    SELECT p.period, p.partition
    FROM eventkit.partition_settings s
    CROSS JOIN LATERAL eventkit.partition_periods(s.parent, statement_timestamp(), eventkit.partition_horizon(s.parent, s.premake)) p
    WHERE s.parent = $1 AND NOT p.covered
    ORDER BY p.period
  LOOP
    IF found.partition IS NOT NULL THEN
      RAISE NOTICE '% holds a part of period % of %: the rest gets a partition of its own', found.partition, eventkit.period_label(found.period), $1;
    END IF;
    RETURN QUERY SELECT found.period, found.partition IS NULL;
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.missing_partitions(regclass) IS
'Lists the periods from the present one to those ahead that a managed parent lacks a partition for, by what the clocks show at their beginning, and whether no partition meets them; tells of those that are covered in part, as after a change of period or time zone. SELECT * FROM eventkit.missing_partitions(''app.events'')';

CREATE PROCEDURE eventkit.manage_parent(
  parent regclass, period interval, time_zone text, premake int, retention interval, on_expiry text, expired_schema name, key_unit text,
  lock_timeout interval, archive_with regprocedure, caller_search_path text)
LANGUAGE plpgsql
AS $$
DECLARE
  alone CONSTANT pg_catalog.bool := NOT eventkit.in_transaction_block();
  missing pg_catalog.jsonb;
  one pg_catalog.jsonb;
BEGIN
  PERFORM eventkit.write_partition_settings(parent, period, time_zone, premake, retention, on_expiry, expired_schema, key_unit, archive_with);
  IF alone THEN
    COMMIT;
  END IF;
  missing := (SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(m)) FROM eventkit.missing_partitions(parent) m);
  FOR one IN SELECT e.value FROM pg_catalog.jsonb_array_elements(missing) e LOOP
    PERFORM eventkit.try_partition(parent, (one OPERATOR(pg_catalog.->>) 'period')::pg_catalog.timestamp,
      (one OPERATOR(pg_catalog.->) 'free')::pg_catalog.bool, lock_timeout, caller_search_path);
    IF alone THEN
      COMMIT;
    END IF;
  END LOOP;
END
$$;

COMMENT ON PROCEDURE eventkit.manage_parent(regclass, interval, text, int, interval, text, name, text, interval, regprocedure, text) IS
'Does the work of manage_partitions and of the end of convert_table. CALL eventkit.manage_parent(''app.events'', ''1 day'', ''UTC'', 7, NULL, ''detach'', NULL, NULL, ''2 seconds'', NULL, current_setting(''search_path''))';

CREATE PROCEDURE eventkit.manage_partitions(
  parent regclass, period interval DEFAULT '1 day', time_zone text DEFAULT 'UTC', premake int DEFAULT 7,
  retention interval DEFAULT NULL, on_expiry text DEFAULT 'detach', expired_schema name DEFAULT NULL, key_unit text DEFAULT NULL,
  lock_timeout interval DEFAULT '2 seconds', archive_with regprocedure DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
BEGIN
  PERFORM eventkit.refuse_read_only('manage_partitions');
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  CALL eventkit.manage_parent(parent, period, time_zone, premake, retention, on_expiry, expired_schema, key_unit, lock_timeout, archive_with, caller_search_path);
END
$$;

COMMENT ON PROCEDURE eventkit.manage_partitions(regclass, interval, text, int, interval, text, name, text, interval, regprocedure) IS
'Puts a range-partitioned table under management, or changes how: period, the time zone of its beginnings, periods made ahead, retention, and a procedure that gets each partition (a regclass) before it goes: when it fails, the partition stays. What is left out gets its default. Makes the partitions from now to premake periods ahead at once. CALL eventkit.manage_partitions(''app.events'', period => ''1 day'', premake => 7)';

REVOKE EXECUTE ON PROCEDURE eventkit.manage_partitions(regclass, interval, text, int, interval, text, name, text, interval, regprocedure) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.plan_manage_partitions(regclass, interval, text, int, interval, text, text, text, regprocedure) IS
'Shows the steps of manage_partitions without doing them. SELECT * FROM eventkit.plan_manage_partitions(''app.events'', period => ''1 week'')';

CREATE PROCEDURE eventkit.unmanage_partitions(parent regclass)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM eventkit.refuse_read_only('unmanage_partitions');
  IF parent IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'argument "parent" must not be NULL',
      DETAIL = 'The table has to be named.', HINT = 'CALL eventkit.unmanage_partitions(''app.events'').';
  END IF;
  PERFORM eventkit.check_owner(parent, 'parent');
  DELETE FROM eventkit.partition_settings s WHERE s.parent = unmanage_partitions.parent;
  IF NOT FOUND THEN
    RAISE NOTICE '% is not managed', parent;
  END IF;
  PERFORM eventkit.sweep_dropped_parents();
END
$$;

COMMENT ON PROCEDURE eventkit.unmanage_partitions(regclass) IS
'Ends the management of a parent: its settings go, its partitions stay as they are. CALL eventkit.unmanage_partitions(''app.events'')';

REVOKE EXECUTE ON PROCEDURE eventkit.unmanage_partitions(regclass) FROM PUBLIC;

CREATE FUNCTION eventkit.plan_unmanage_partitions(parent regclass) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 100 ROWS 1 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM eventkit.check_owner(parent, 'parent');
  RETURN QUERY
    SELECT 1, CASE WHEN s.parent IS NOT NULL THEN format('DELETE FROM eventkit.partition_settings WHERE parent = %L::pg_catalog.regclass', t.name) END,
      NULL::text, t.name, CASE WHEN s.parent IS NOT NULL THEN 'the settings; partitions stay as they are' ELSE 'it is not managed' END
    FROM (SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent) t
    LEFT JOIN eventkit.partition_settings s ON s.parent = parent;
END
$$;

COMMENT ON FUNCTION eventkit.plan_unmanage_partitions(regclass) IS
'Shows the step of unmanage_partitions without doing it. SELECT * FROM eventkit.plan_unmanage_partitions(''app.events'')';
