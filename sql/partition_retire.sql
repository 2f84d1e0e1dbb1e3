-- drop_old_partitions: what has expired is archived, detached, dropped or moved, a transaction a step. A table remembers what
-- was begun, so that the next call ends it. The steps run with the rights of the parent's owner, whoever calls.

CREATE TABLE eventkit.partition_departures (
  partition      regclass PRIMARY KEY,
  parent         regclass NOT NULL,
  on_expiry      text     NOT NULL,
  expired_schema name,
  archive        text,
  archived_since xid,
  archived_as    oid,
  begun_at       timestamptz NOT NULL
);

ALTER TABLE eventkit.partition_departures ENABLE ROW LEVEL SECURITY;
-- The partition is the key: a row for one of another parent would stop its retirement for ever.
CREATE POLICY owner ON eventkit.partition_departures FOR SELECT USING (
  eventkit.owns_table(parent) OR eventkit.owns_table(partition) OR eventkit.owns_table(parent) IS NULL
);
CREATE POLICY beginner ON eventkit.partition_departures FOR INSERT WITH CHECK (
  eventkit.owns_table(parent) AND EXISTS (
    SELECT FROM pg_catalog.pg_inherits i
    WHERE i.inhrelid OPERATOR(pg_catalog.=) partition::pg_catalog.oid AND i.inhparent OPERATOR(pg_catalog.=) parent::pg_catalog.oid)
);
CREATE POLICY changer ON eventkit.partition_departures FOR UPDATE USING (eventkit.owns_table(parent) OR eventkit.owns_table(partition)) WITH CHECK (
  eventkit.owns_table(parent) AND (eventkit.owns_table(partition) OR EXISTS (
    SELECT FROM pg_catalog.pg_inherits i
    WHERE i.inhrelid OPERATOR(pg_catalog.=) partition::pg_catalog.oid AND i.inhparent OPERATOR(pg_catalog.=) parent::pg_catalog.oid))
);
CREATE POLICY remover ON eventkit.partition_departures FOR DELETE USING (
  eventkit.owns_table(parent) OR eventkit.owns_table(partition) OR eventkit.owns_table(parent) IS NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON eventkit.partition_departures TO PUBLIC;

-- A table that was detached and not more is known by this alone: it is dropped or moved where the dump is restored.
SELECT pg_catalog.pg_extension_config_dump('eventkit.partition_departures',
  'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) parent) '
  'AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) partition)');

COMMENT ON TABLE eventkit.partition_departures IS
'Partitions that are leaving their parents: written before the detach, removed when all is done; what was interrupted is ended by the next drop_old_partitions.';
COMMENT ON COLUMN eventkit.partition_departures.partition IS 'The partition, or the table that it was made.';
COMMENT ON COLUMN eventkit.partition_departures.parent IS 'The partitioned table.';
COMMENT ON COLUMN eventkit.partition_departures.on_expiry IS 'What becomes of it: detach, drop or move.';
COMMENT ON COLUMN eventkit.partition_departures.expired_schema IS 'The schema that it is moved to.';
COMMENT ON COLUMN eventkit.partition_departures.archive IS 'The procedure that has got it.';
COMMENT ON COLUMN eventkit.partition_departures.archived_since IS 'The first transaction whose rows the procedure may not have seen.';
COMMENT ON COLUMN eventkit.partition_departures.archived_as IS 'The number of the table then; where it has another one, from a dump, the number of the transaction means nothing.';
COMMENT ON COLUMN eventkit.partition_departures.begun_at IS 'When it was begun.';
COMMENT ON POLICY owner ON eventkit.partition_departures IS 'Whoever has the rights of the owner of either sees them, and whoever removes those of a dropped parent.';
COMMENT ON POLICY beginner ON eventkit.partition_departures IS 'Only partitions of a parent leave it, when its owner says so.';
COMMENT ON POLICY changer ON eventkit.partition_departures IS 'The owner of the parent changes them, for partitions of that parent or tables of his own.';
COMMENT ON POLICY remover ON eventkit.partition_departures IS 'Whoever has the rights of the owner of either removes them; those of a dropped parent are anybody''s to remove.';

CREATE FUNCTION eventkit.refuse_hidden_rows(relation regclass) RETURNS void
STABLE STRICT PARALLEL RESTRICTED COST 100 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF row_security_active(relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = format('row-level security hides rows of %s from %I', relation, current_user),
      DETAIL = 'What is not seen whole is not moved, archived or dropped.',
      HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, or give the owner of the table the attribute BYPASSRLS; then call again.', relation);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.refuse_hidden_rows(regclass) IS
'Raises an error when policies bind the current role in a table, as they bind an owner under FORCE ROW LEVEL SECURITY. SELECT eventkit.refuse_hidden_rows(''app.events_20240101'')';

CREATE FUNCTION eventkit.check_unreferenced(parent regclass, relation regclass, condition text DEFAULT NULL) RETURNS void
STABLE PARALLEL RESTRICTED COST 100000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET row_security = off
AS $$
DECLARE
  link record;
  needed boolean;
BEGIN
  FOR link IN
    SELECT k.conname, r.oid::regclass AS referencing,
      format('SELECT EXISTS (SELECT FROM %s r JOIN (SELECT * FROM %s%s%s) p ON %s)',
        CASE WHEN r.oid = parent AND condition IS NOT NULL THEN format('(SELECT * FROM %s WHERE (tableoid = %s AND (%s)) IS NOT TRUE)', r.oid::regclass, relation::oid, condition)
          ELSE concat(CASE WHEN r.relkind <> 'p' THEN 'ONLY ' END, r.oid::regclass) END,
        CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = relation AND c.relkind <> 'p') THEN 'ONLY ' END, relation, ' WHERE ' || condition,
        (SELECT string_agg(format('p.%I OPERATOR(%I.%s) r.%I', pa.attname, n.nspname, o.oprname, ra.attname), ' AND ')
         FROM unnest(k.confkey, k.conkey, k.conpfeqop) u (pkey, fkey, op)
         JOIN pg_attribute pa ON pa.attrelid = k.confrelid AND pa.attnum = u.pkey
         JOIN pg_attribute ra ON ra.attrelid = k.conrelid AND ra.attnum = u.fkey
         JOIN pg_operator o ON o.oid = u.op JOIN pg_namespace n ON n.oid = o.oprnamespace)) AS query
    FROM pg_constraint k JOIN pg_class r ON r.oid = k.conrelid
    -- Rows that move together need each other no more. A partition does not leave for its own rows either, by the server's check.
    WHERE k.contype = 'f' AND k.confrelid = parent AND k.conparentid = 0
    ORDER BY k.conrelid, k.conname
  LOOP
    PERFORM eventkit.refuse_hidden_rows(relation), eventkit.refuse_hidden_rows(link.referencing);
    EXECUTE link.query INTO needed;
    IF needed THEN
      RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
        MESSAGE = format('%s is still needed by foreign key %I of table %s', relation, link.conname, link.referencing),
        DETAIL = format('Rows of %s refer to rows in it.', link.referencing),
        HINT = CASE WHEN condition IS NOT NULL AND link.referencing <> parent THEN
            format('They may stay where they are. To move them take the key off and set it again afterwards: ALTER TABLE %s DROP CONSTRAINT %I.', link.referencing, link.conname)
          WHEN link.referencing = parent AND condition IS NULL THEN 'Set the references to NULL first, or delete those rows: no partition leaves while rows refer to it, not even its own.'
          WHEN link.referencing = parent THEN 'Rows that refer to each other move together only within a period: remove the references first, and set them again afterwards.'
          ELSE format('Remove the rows of %s first; when it is partitioned too: CALL eventkit.drop_old_partitions(%L).', link.referencing, link.referencing) END;
    END IF;
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.check_unreferenced(regclass, regclass, text) IS
'Raises an error that names the foreign key when one needs rows of a partition, or those of them that satisfy a condition. SELECT eventkit.check_unreferenced(''app.events'', ''app.events_20240101'')';

CREATE FUNCTION eventkit.has_rows("table" regclass, since xid DEFAULT NULL) RETURNS boolean
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET row_security = off
AS $$
DECLARE
  found boolean;
BEGIN
  IF row_security_active("table") THEN
    -- Rows that a policy hides are rows.
    RETURN pg_relation_size("table") + coalesce((SELECT sum(pg_relation_size(t.relid)) FROM pg_partition_tree("table") t WHERE t.isleaf), 0) > 0;
  END IF;
  EXECUTE format('SELECT EXISTS (SELECT FROM %s%s WHERE $1 IS NULL OR (age(xmin) > age($1)) IS NOT TRUE)',
    CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = "table" AND c.relkind <> 'p') THEN 'ONLY ' END, "table") INTO found USING since;
  RETURN found;
END
$$;

COMMENT ON FUNCTION eventkit.has_rows(regclass, xid) IS
'Tells whether a table or its partitions have rows, or such as a transaction from this one on may have written; where policies hide rows, whether there may be any. SELECT eventkit.has_rows(''app.events_20240101'')';

CREATE FUNCTION eventkit.departing_partitions(parent regclass, older_than timestamptz DEFAULT NULL, as_of timestamptz DEFAULT NULL) RETURNS regclass[]
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  WITH expired AS MATERIALIZED (SELECT e.partition, e.place FROM eventkit.expired_partitions($1, $2, $3) WITH ORDINALITY e (partition, place))
  SELECT coalesce(array_agg(u.partition ORDER BY u.place, u.partition), '{}') FROM (
    SELECT w.partition, min(w.place) AS place FROM (
      SELECT d.partition, 0 AS place FROM eventkit.partition_departures d
        WHERE d.parent = $1 AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = d.partition AND i.inhparent = $1 AND NOT i.inhdetachpending)
      UNION ALL
      SELECT i.inhrelid::regclass, 0 FROM pg_inherits i WHERE i.inhparent = $1 AND i.inhdetachpending
      UNION ALL
      SELECT e.partition, e.place FROM expired e) w
    GROUP BY w.partition) u
$$;

COMMENT ON FUNCTION eventkit.departing_partitions(regclass, timestamptz, timestamptz) IS
'Lists what drop_old_partitions has to do: departures that were begun, detaches that are pending, then the expired partitions from the oldest on. SELECT eventkit.departing_partitions(''app.events'', now() - interval ''90 days'')';

CREATE FUNCTION eventkit.refuse_old_snapshot() RETURNS void
STABLE PARALLEL SAFE COST 10 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
      MESSAGE = format('a transaction of isolation level %s does not see rows that come meanwhile', current_setting('transaction_isolation')),
      DETAIL = 'A table is dropped after its archive procedure has got all of its rows.',
      HINT = 'Call outside of a transaction block, or in one of isolation level READ COMMITTED.';
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.refuse_old_snapshot() IS
'Raises an error in a transaction that sees the rows of its beginning only. SELECT eventkit.refuse_old_snapshot()';

CREATE FUNCTION eventkit.check_departure(parent regclass, partition regclass, pending boolean, archive text, leaving oid[] DEFAULT '{}', alone boolean DEFAULT false) RETURNS void
STABLE PARALLEL RESTRICTED COST 100000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  lonely name;
BEGIN
  IF NOT pending THEN
    PERFORM eventkit.check_unreferenced(parent, partition);
    -- The parent gets a key back from the partitions that have it: the last one would take it along.
    SELECT m.name INTO lonely FROM eventkit.marked_foreign_keys(partition) m
      WHERE NOT EXISTS (
        SELECT FROM pg_inherits i CROSS JOIN LATERAL eventkit.marked_foreign_keys(i.inhrelid) o
        WHERE i.inhparent = parent AND i.inhrelid <> partition AND NOT i.inhdetachpending AND i.inhrelid <> ALL (leaving) AND o.name = m.name)
      ORDER BY m.name LIMIT 1;
    IF lonely IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'object_in_use',
        MESSAGE = format('foreign key %I waits to be that of %s, and no other partition has it', lonely, parent),
        DETAIL = 'A split was stopped before all was proved.',
        HINT = format('End it first: CALL eventkit.split_partition(%L).', parent);
    END IF;
  END IF;
  IF archive IS NOT NULL AND EXISTS (SELECT FROM eventkit.partition_settings s WHERE s.parent = parent AND s.on_expiry = 'drop') THEN
    -- What the hook does not see would be lost: said before anything is detached.
    PERFORM eventkit.refuse_hidden_rows(partition);
    IF NOT alone THEN
      PERFORM eventkit.refuse_old_snapshot();
    END IF;
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.check_departure(regclass, regclass, boolean, text, oid[], boolean) IS
'Raises an error that says why a partition is kept, when foreign keys, policies or the isolation level call for it; leaving: others that go before; alone: a call that chooses the isolation level of its transactions. SELECT eventkit.check_departure(''app.events'', ''app.events_20231231'', false, NULL)';

CREATE FUNCTION eventkit.kept_because(parent regclass, partition regclass, pending boolean, archive text, leaving oid[], alone boolean) RETURNS text
STABLE PARALLEL UNSAFE COST 100000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM eventkit.check_departure(parent, partition, pending, archive, leaving, alone);
  RETURN NULL;
EXCEPTION WHEN assert_failure OR OTHERS THEN
  RETURN SQLERRM;
END
$$;

COMMENT ON FUNCTION eventkit.kept_because(regclass, regclass, boolean, text, oid[], boolean) IS
'Tells the error that check_departure raises; NULL when the partition may go. SELECT eventkit.kept_because(''app.events'', ''app.events_20231231'', false, NULL, ''{}'', true)';

CREATE FUNCTION eventkit.begin_departure(parent regclass, partition regclass, expired boolean, archive text, caller_search_path text) RETURNS text
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  pending boolean;
  since xid;
BEGIN
  SELECT i.inhdetachpending INTO pending FROM pg_inherits i WHERE i.inhparent = parent AND i.inhrelid = partition;
  IF EXISTS (SELECT FROM eventkit.partition_departures d WHERE d.partition = partition) AND (pending OR pending IS NULL) THEN
    RETURN 'go on';
  ELSIF pending IS NULL THEN
    RETURN 'gone';
  ELSIF NOT expired THEN
    -- Somebody else's detach is ended, and the table is his.
    RETURN CASE WHEN pending THEN 'go on' ELSE 'gone' END;
  END IF;
  PERFORM eventkit.check_departure(parent, partition, pending, archive);
  IF archive IS NOT NULL THEN
    since := pg_snapshot_xmin(pg_current_snapshot())::xid;
    PERFORM eventkit.call_archive(archive, partition, caller_search_path);
  END IF;
  INSERT INTO eventkit.partition_departures AS d (partition, parent, on_expiry, expired_schema, archive, archived_since, archived_as, begun_at)
    SELECT partition, parent, coalesce(s.on_expiry, 'detach'), s.expired_schema, archive, since, partition::oid, clock_timestamp()
    FROM (SELECT) one LEFT JOIN eventkit.partition_settings s ON s.parent = parent
    ON CONFLICT ON CONSTRAINT partition_departures_pkey DO UPDATE SET parent = EXCLUDED.parent, on_expiry = EXCLUDED.on_expiry,
      expired_schema = EXCLUDED.expired_schema, archive = EXCLUDED.archive, archived_since = EXCLUDED.archived_since, archived_as = EXCLUDED.archived_as, begun_at = EXCLUDED.begun_at;
  RETURN 'go on';
END
$$;

COMMENT ON FUNCTION eventkit.begin_departure(regclass, regclass, boolean, text, text) IS
'Checks foreign keys, calls the archive hook and writes down that a partition leaves; ''gone'' when it is no partition any more. SELECT eventkit.begin_departure(''app.events'', ''app.events_20231231'', true, NULL, current_setting(''search_path''))';

CREATE FUNCTION eventkit.detach_departing(parent regclass, partition regclass, lock_timeout interval, caller_search_path text) RETURNS text
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
#variable_conflict use_variable
DECLARE
  pending boolean;
  planned eventkit.plan_step[];
BEGIN
  SELECT i.inhdetachpending INTO pending FROM pg_inherits i WHERE i.inhparent = parent AND i.inhrelid = partition;
  IF pending IS NULL THEN
    RETURN 'detached';
  END IF;
  IF NOT pending THEN
    PERFORM eventkit.lock_period(parent, NULL, lock_timeout, exclusive => true);
  END IF;
  planned := ARRAY(SELECT p FROM eventkit.plan_detach_partition(parent, partition) p ORDER BY p.step);
  IF NOT pending THEN
    PERFORM eventkit.run_plan(planned, lock_timeout, caller_search_path);
    RETURN 'detached';
  END IF;
  -- Nobody waits for this but other DDL; who may still see the partition may take his time, and the next call ends it.
  -- An older snapshot that it waits for may come to wait for the partition, which it holds.
  PERFORM set_config('lock_timeout', eventkit.yielding_lock_timeout(lock_timeout), true);
  BEGIN
    EXECUTE planned[1].statement;
  EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RAISE NOTICE 'the detach of % is pending while older transactions run; the next call ends it', partition;
    RETURN 'pending';
  END;
  RETURN 'detached';
END
$$;

COMMENT ON FUNCTION eventkit.detach_departing(regclass, regclass, interval, text) IS
'Detaches a partition, or ends its detach that is pending; tells detached or pending. SELECT eventkit.detach_departing(''app.events'', ''app.events_20231231'', ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.end_departure(parent regclass, partition regclass, lock_timeout interval, caller_search_path text) RETURNS text
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  begun eventkit.partition_departures;
  planned eventkit.plan_step[];
BEGIN
  SELECT d.* INTO begun FROM eventkit.partition_departures d WHERE d.partition = partition AND d.parent = parent;
  IF begun.partition IS NULL THEN
    RETURN 'detached';
  END IF;
  -- Who has said otherwise since it was begun has the last word: the table stays, detached.
  IF begun.on_expiry <> 'detach' AND begun.on_expiry IS DISTINCT FROM (SELECT s.on_expiry FROM eventkit.partition_settings s WHERE s.parent = parent) THEN
    begun.on_expiry := 'detach';
  END IF;
  IF EXISTS (SELECT FROM pg_class c WHERE c.oid = partition AND NOT c.relispartition) THEN
    planned := ARRAY(SELECT p FROM eventkit.plan_expired_table(partition, begun.on_expiry, begun.expired_schema, begun.archived_since IS NOT NULL) p ORDER BY p.step);
    IF begun.on_expiry = 'drop' AND begun.archived_since IS NOT NULL AND EXISTS (SELECT FROM pg_class c WHERE c.oid = partition AND c.relkind <> 'f') THEN
      -- Who has rights in the table may write to it by its name until it is locked. What was written since the hook is archived
      -- too; in a database that was restored all may be such.
      PERFORM eventkit.refuse_old_snapshot(), eventkit.refuse_hidden_rows(partition);
      PERFORM eventkit.run_together(planned[1:1], lock_timeout);
      planned := planned[2:];
      -- From here on others may wait for what it holds.
      lock_timeout := eventkit.yielding_lock_timeout(lock_timeout)::bigint * interval '1 millisecond';
      IF eventkit.has_rows(partition, CASE WHEN begun.archived_as = partition THEN begun.archived_since END) THEN
        PERFORM eventkit.call_archive(begun.archive, partition, caller_search_path);
      END IF;
    END IF;
    IF begun.on_expiry = 'drop' AND NOT starts_with(planned[1].statement, 'LOCK TABLE ')
      AND EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = partition AND k.contype = 'f') THEN
      -- What the owner may not lock the server locks, one by one.
      lock_timeout := eventkit.yielding_lock_timeout(lock_timeout)::bigint * interval '1 millisecond';
    END IF;
    PERFORM eventkit.run_plan(planned, lock_timeout, caller_search_path);
  END IF;
  DELETE FROM eventkit.partition_departures d WHERE d.partition = partition;
  RETURN CASE begun.on_expiry WHEN 'drop' THEN 'dropped' WHEN 'move' THEN format('moved to %I', begun.expired_schema) ELSE 'detached' END;
END
$$;

COMMENT ON FUNCTION eventkit.end_departure(regclass, regclass, interval, text) IS
'Drops or moves a partition that was detached, as written down when it was begun; tells what was done. SELECT eventkit.end_departure(''app.events'', ''app.events_20231231'', ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.may_detach_concurrently(parent regclass, partition regclass) RETURNS boolean
STABLE STRICT PARALLEL SAFE COST 100 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  -- The server allows it without a default partition, and for one partition of a parent at a time.
  SELECT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = $1 AND i.inhrelid = $2)
    AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = $1 AND i.inhdetachpending)
    AND EXISTS (SELECT FROM pg_partitioned_table p WHERE p.partrelid = $1 AND p.partdefid = 0)
$$;

COMMENT ON FUNCTION eventkit.may_detach_concurrently(regclass, regclass) IS
'Tells whether the server would detach a partition CONCURRENTLY now. SELECT eventkit.may_detach_concurrently(''app.events'', ''app.events_20240101'')';

CREATE FUNCTION eventkit.try_as_owner(parent regclass, statement text, failing text, OUT result text, OUT failure jsonb)
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  detail text;
  hint text;
BEGIN
  result := eventkit.run_as_owner(parent, statement);
-- A cancel is not among the others: it ends the call. A failed ASSERT is not either, but is one parent's matter.
EXCEPTION WHEN assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  failure := jsonb_build_object('state', SQLSTATE, 'message', SQLERRM);
  RAISE WARNING USING ERRCODE = SQLSTATE, MESSAGE = format('%s: %s', failing, SQLERRM),
    DETAIL = coalesce(nullif(detail, ''), format('It was done for %s with the rights of its owner.', parent)),
    HINT = coalesce(nullif(hint, ''), 'Remove the cause, then call again.');
END
$$;

COMMENT ON FUNCTION eventkit.try_as_owner(regclass, text, text) IS
'Runs a statement as run_as_owner does; an error becomes a warning and is returned. SELECT * FROM eventkit.try_as_owner(''app.events'', ''SELECT 1'', ''nothing was done'')';

CREATE PROCEDURE eventkit.retire_partitions(
  parent regclass, older_than timestamptz, as_of timestamptz, archive text, lock_timeout interval, caller_search_path text,
  INOUT retired int, INOUT failure jsonb)
LANGUAGE plpgsql
AS $$
DECLARE
  alone CONSTANT pg_catalog.bool := NOT eventkit.in_transaction_block();
  what CONSTANT pg_catalog.text := pg_catalog.format('retire %s', parent::pg_catalog.oid);
  departing pg_catalog.regclass[];
  expired pg_catalog.oid[];
  one pg_catalog.regclass;
  name pg_catalog.text;
  done pg_catalog.record;
BEGIN
  retired := 0;
  failure := NULL;
  SELECT t.result, t.failure INTO done FROM eventkit.try_as_owner(parent,
    pg_catalog.format('SELECT eventkit.departing_partitions(%L, %L, %L)::pg_catalog.oid[]::pg_catalog.text', parent::pg_catalog.oid, eventkit.exact_time(older_than), eventkit.exact_time(as_of)),
    pg_catalog.format('partitions of %s are not retired', parent)) t;
  failure := done.failure;
  departing := done.result::pg_catalog.oid[]::pg_catalog.regclass[];
  IF departing IS NULL OR departing OPERATOR(pg_catalog.=) '{}' THEN
    RETURN;
  END IF;
  SELECT t.result, t.failure INTO done FROM eventkit.try_as_owner(parent,
    pg_catalog.format('SELECT ARRAY(SELECT e.one::oid FROM eventkit.expired_partitions(%L, %L, %L) e (one))::text', parent::pg_catalog.oid, eventkit.exact_time(older_than), eventkit.exact_time(as_of)),
    pg_catalog.format('partitions of %s are not retired', parent)) t;
  failure := done.failure;
  IF failure IS NOT NULL THEN
    RETURN;
  END IF;
  expired := done.result::pg_catalog.oid[];
  IF NOT eventkit.take_session_lock(what) THEN
    RAISE NOTICE 'partitions of % are being retired by another session', parent;
    RETURN;
  END IF;
  FOREACH one IN ARRAY departing LOOP
    IF alone THEN
      COMMIT;
      -- What is written until a table is locked has to be seen.
      SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    name := one::pg_catalog.text;
    SELECT t.result, t.failure INTO done FROM eventkit.try_as_owner(parent,
      pg_catalog.format('SELECT eventkit.begin_departure(%L, %L, %L, %L, %L)', parent::pg_catalog.oid, one::pg_catalog.oid,
        one::pg_catalog.oid OPERATOR(pg_catalog.=) ANY (expired), archive, caller_search_path),
      pg_catalog.format('partition %s is kept', name)) t;
    failure := COALESCE(failure, done.failure);
    CONTINUE WHEN (done.result OPERATOR(pg_catalog.=) 'go on') IS NOT TRUE;
    IF alone THEN
      COMMIT;
      IF eventkit.may_detach_concurrently(parent, one) THEN
        -- What the worker cannot do the next step does, or says why not.
        COMMIT;
        PERFORM eventkit.try_as_owner(parent,
          pg_catalog.format('SELECT eventkit.detach_concurrently(%L, %L, %s)::pg_catalog.text', parent::pg_catalog.oid, one::pg_catalog.oid, eventkit.lock_timeout_setting(lock_timeout)),
          pg_catalog.format('partition %s is not detached concurrently', name));
        COMMIT;
      END IF;
    END IF;
    SELECT t.result, t.failure INTO done FROM eventkit.try_as_owner(parent,
      pg_catalog.format('SELECT eventkit.detach_departing(%L, %L, %L, %L)', parent::pg_catalog.oid, one::pg_catalog.oid, lock_timeout, caller_search_path),
      pg_catalog.format('partition %s is kept', name)) t;
    failure := COALESCE(failure, done.failure);
    -- While one is pending the server detaches no other concurrently, and the plain way would make others wait.
    EXIT WHEN done.result OPERATOR(pg_catalog.=) 'pending';
    CONTINUE WHEN (done.result OPERATOR(pg_catalog.=) 'detached') IS NOT TRUE;
    IF alone THEN
      COMMIT;
      SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    SELECT t.result, t.failure INTO done FROM eventkit.try_as_owner(parent,
      pg_catalog.format('SELECT eventkit.end_departure(%L, %L, %L, %L)', parent::pg_catalog.oid, one::pg_catalog.oid, lock_timeout, caller_search_path),
      pg_catalog.format('partition %s is detached and not more', name)) t;
    failure := COALESCE(failure, done.failure);
    IF done.failure IS NULL THEN
      retired := retired OPERATOR(pg_catalog.+) 1;
      RAISE NOTICE 'partition % of %: %', name, parent, done.result;
    END IF;
  END LOOP;
  IF alone THEN
    COMMIT;
    PERFORM eventkit.release_session_lock(what);
  END IF;
END
$$;

COMMENT ON PROCEDURE eventkit.retire_partitions(regclass, timestamptz, timestamptz, text, interval, text, int, jsonb) IS
'Does the work of drop_old_partitions and tells how many partitions were retired and the first failure. CALL eventkit.retire_partitions(''app.events'', NULL, now(), NULL, ''2 seconds'', current_setting(''search_path''), NULL, NULL)';

CREATE PROCEDURE eventkit.drop_old_partitions(
  parent regclass, older_than timestamptz DEFAULT NULL, archive regprocedure DEFAULT NULL, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  hook pg_catalog.text;
  retired pg_catalog.int4;
  failure pg_catalog.jsonb;
BEGIN
  PERFORM eventkit.refuse_read_only('drop_old_partitions');
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  -- Where COMMIT is not allowed, this says so before there is anything to lose.
  IF NOT eventkit.in_transaction_block() THEN
    COMMIT;
  END IF;
  -- What is wrong with the arguments is an error; what is wrong with a partition is a warning.
  PERFORM eventkit.departing_partitions(parent, older_than);
  hook := eventkit.archive_of(parent, archive);
  CALL eventkit.retire_partitions(parent, older_than, NULL, hook, lock_timeout, caller_search_path, retired, failure);
END
$$;

COMMENT ON PROCEDURE eventkit.drop_old_partitions(regclass, timestamptz, regprocedure, interval) IS
'Retires the partitions that are wholly before a time (NULL: by the parent''s retention): detached, dropped or moved as its on_expiry says, after the archive procedure, if there is one, has got each (again, when rows may have come between). Keeps the default partition and what a foreign key needs, and warns. Call again to end what was interrupted; where on_expiry was changed since, or the parent is not managed any more, a table that is detached already stays. CALL eventkit.drop_old_partitions(''app.events'', ''2024-01-01'')';

REVOKE EXECUTE ON PROCEDURE eventkit.drop_old_partitions(regclass, timestamptz, regprocedure, interval) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.expired_partitions(regclass, timestamptz, timestamptz) IS
'Lists the partitions that are wholly before a time (NULL: by the parent''s retention), the oldest first; never the default partition. SELECT * FROM eventkit.expired_partitions(''app.events'', now() - interval ''90 days'')';
COMMENT ON FUNCTION eventkit.detach_concurrently(regclass, regclass, int) IS
'Detaches a partition CONCURRENTLY by a background worker, waiting so many milliseconds for each lock; true when a worker ran. SELECT eventkit.detach_concurrently(''app.events'', ''app.events_20231231'', 2000)';
COMMENT ON FUNCTION eventkit.run_as_owner(regclass, text) IS
'Runs a statement with the rights of a table''s owner and no more, for one who has these rights, and returns the text in the first column of its first row. SELECT eventkit.run_as_owner(''app.events'', ''SELECT current_user::text'')';
COMMENT ON FUNCTION eventkit.plan_detach_partition(regclass, regclass) IS
'Shows the steps that detach a partition in one transaction, or end a detach that is pending. SELECT * FROM eventkit.plan_detach_partition(''app.events'', ''app.events_20240101'')';
COMMENT ON FUNCTION eventkit.plan_expired_table(regclass, text, text, boolean) IS
'Shows the steps that drop or move a detached partition, one that was archived behind a lock that keeps writers away. SELECT * FROM eventkit.plan_expired_table(''app.events_20240101'', ''drop'', NULL)';
COMMENT ON FUNCTION eventkit.plan_drop_old_partitions(regclass, timestamptz, regprocedure) IS
'Shows the steps of drop_old_partitions without doing them, those of departures that were begun first, and what is kept and why; inside of a transaction block those of a call there. SELECT * FROM eventkit.plan_drop_old_partitions(''app.events'', now() - interval ''90 days'')';
COMMENT ON FUNCTION eventkit.plan_retire_partitions(regclass, timestamptz) IS
'Shows the steps of retire_partitions as maintain calls it, outside of any transaction block. SELECT * FROM eventkit.plan_retire_partitions(''app.events'', now() - interval ''90 days'')';
