-- Foreign keys that leave a partitioned table for a while: each partition has its own, which holds for every change and is proved
-- while others read and write; when all are proved the table takes them over. So an attach reads no row under a lock.

CREATE FUNCTION eventkit.loose_foreign_keys(parent regclass) RETURNS SETOF oid
STABLE PARALLEL RESTRICTED COST 1000 ROWS 1 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.oid FROM pg_constraint k
  WHERE k.contype = 'f' AND k.conrelid = $1 AND k.conparentid = 0 AND k.confrelid <> $1 AND k.convalidated
    -- It is added again by the caller.
    AND (SELECT bool_and(has_column_privilege(k.confrelid, a, 'REFERENCES') AND has_column_privilege(p.relowner, k.confrelid, a, 'REFERENCES'))
      FROM unnest(k.confkey) a, pg_class p WHERE p.oid = $1)
    -- A cascade into the key of the partitions moves a row from one to another only where the parent has the key.
    AND NOT (k.confupdtype <> 'a' AND k.confupdtype <> 'r' AND EXISTS (
      SELECT FROM pg_partitioned_table t WHERE t.partrelid = $1 AND t.partattrs[0] = ANY (k.conkey)))
    -- Its name has to be free in each partition.
    AND NOT EXISTS (
      SELECT FROM pg_inherits i JOIN pg_constraint c ON c.conrelid = i.inhrelid
      WHERE i.inhparent = $1 AND c.conname = k.conname AND c.conparentid <> k.oid)
    -- A partitioned table has no key that is not proved.
    AND NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1 AND c.relkind <> 'r')
  ORDER BY k.conname
$$;

COMMENT ON FUNCTION eventkit.loose_foreign_keys(regclass) IS
'Lists the foreign keys of a parent that loosen_foreign_keys can give to its partitions. SELECT eventkit.loose_foreign_keys(''app.events'')';

CREATE FUNCTION eventkit.marked_foreign_keys(partition regclass)
RETURNS TABLE (constraint_id oid, name name, definition text, comment text)
STABLE PARALLEL RESTRICTED COST 100 ROWS 1 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    SELECT k.oid, k.conname, regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), nullif(substr(d.description, length('waits for eventkit.split_partition') + 2), '')
    FROM pg_constraint k
    JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid AND d.objsubid = 0
    WHERE k.conrelid = $1 AND k.contype = 'f' AND k.conparentid = 0 AND starts_with(d.description, 'waits for eventkit.split_partition');
END
$$;

COMMENT ON FUNCTION eventkit.marked_foreign_keys(regclass) IS
'Lists the foreign keys that a table has for itself and that hold_foreign_key has marked. SELECT * FROM eventkit.marked_foreign_keys(''app.events_20231231'')';

CREATE FUNCTION eventkit.waiting_foreign_keys(parent regclass)
RETURNS TABLE (constraint_id oid, partition regclass, name name, definition text, comment text)
-- Asked several times a period, mostly for nothing; this language keeps the plans.
STABLE PARALLEL RESTRICTED COST 1000 ROWS 10 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- While they wait all partitions have them: the oldest tell, however many there are.
  IF EXISTS (
    SELECT FROM (SELECT h.inhrelid FROM pg_inherits h WHERE h.inhparent = $1 ORDER BY h.inhrelid LIMIT 4) h
    CROSS JOIN LATERAL eventkit.marked_foreign_keys(h.inhrelid) o)
  THEN
    RETURN QUERY
      SELECT m.constraint_id, i.inhrelid::regclass, m.name, m.definition, m.comment
      FROM pg_inherits i CROSS JOIN LATERAL eventkit.marked_foreign_keys(i.inhrelid) m
      WHERE i.inhparent = $1;
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.waiting_foreign_keys(regclass) IS
'Lists the foreign keys that partitions have, each for itself, and that wait to be their parent''s. SELECT * FROM eventkit.waiting_foreign_keys(''app.events'')';

CREATE FUNCTION eventkit.hold_foreign_key(partition regclass, name name, definition text, comment text, proved boolean) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s%s', partition, name, definition, CASE WHEN NOT proved THEN ' NOT VALID' END);
  -- One line, so that what stands behind it is the key's own.
  EXECUTE format('COMMENT ON CONSTRAINT %I ON %s IS %L', name, partition, concat_ws(E'\n', 'waits for eventkit.split_partition', comment));
END
$$;

COMMENT ON FUNCTION eventkit.hold_foreign_key(regclass, name, text, text, boolean) IS
'Gives a partition a foreign key that holds for every change from now on, proved for its rows if asked, and marks it as one that waits to be the parent''s. SELECT eventkit.hold_foreign_key(''app.events_20231231'', ''event_fk'', ''FOREIGN KEY (id) REFERENCES public.events(id)'', NULL, true)';

CREATE FUNCTION eventkit.hold_foreign_keys(parent regclass, gone regclass DEFAULT NULL) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF gone IS NULL AND NOT EXISTS (SELECT FROM eventkit.waiting_foreign_keys(parent)) THEN
    RETURN;
  END IF;
  -- Under the locks of the exchange no row is read.
  PERFORM eventkit.hold_foreign_key(i.inhrelid, w.name, w.definition, w.comment, $2 IS NULL)
  FROM (
    SELECT f.name, f.definition, f.comment FROM eventkit.waiting_foreign_keys($1) f
    UNION
    -- The partition that makes place for its parts may have been the only one.
    SELECT f.name, f.definition, f.comment FROM eventkit.marked_foreign_keys($2) f) w
  JOIN pg_inherits i ON i.inhparent = $1 AND NOT i.inhdetachpending
  WHERE NOT EXISTS (
    SELECT FROM pg_constraint k WHERE k.conrelid = i.inhrelid AND k.conname = w.name AND k.contype = 'f'
      AND regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') = w.definition)
  ORDER BY i.inhrelid, w.name;
END
$$;

COMMENT ON FUNCTION eventkit.hold_foreign_keys(regclass, regclass) IS
'Gives the foreign keys that wait to be the parent''s to the partitions that have come since; gone is a partition that had them and has just left. SELECT eventkit.hold_foreign_keys(''app.events'')';

CREATE FUNCTION eventkit.loosen_foreign_keys(parent regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key record;
BEGIN
  FOR key IN
    SELECT k.conname, pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment
    FROM eventkit.loose_foreign_keys(parent) l JOIN pg_constraint k ON k.oid = l ORDER BY k.conname
  LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', parent, key.conname);
    PERFORM eventkit.hold_foreign_key(i.inhrelid, key.conname, key.definition, key.comment, false)
      FROM pg_inherits i WHERE i.inhparent = parent ORDER BY i.inhrelid;
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.loosen_foreign_keys(regclass) IS
'Takes the foreign keys off a parent and gives each partition its own, which holds from then on and is proved later; split_partition calls it under its locks. SELECT eventkit.loosen_foreign_keys(''app.events'')';

CREATE FUNCTION eventkit.prove_foreign_key(partition text, name name) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A partition that has gone since the plan was made takes its keys with it. One that is NOT ENFORCED has nothing to prove.
  IF EXISTS (
    SELECT FROM pg_constraint k WHERE k.conrelid = to_regclass(partition) AND k.conname = name AND k.contype = 'f' AND NOT k.convalidated
      AND coalesce(to_jsonb(k) ->> 'conenforced', 'true') = 'true')
  THEN
    EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', to_regclass(partition), name);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.prove_foreign_key(text, name) IS
'Validates a foreign key of a partition, if both are still there and it is not valid yet. SELECT eventkit.prove_foreign_key(''app.events_20231231'', ''event_fk'')';

CREATE FUNCTION eventkit.tighten_foreign_keys(parent regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key record;
  held record;
BEGIN
  PERFORM eventkit.hold_foreign_keys(parent);
  FOR key IN
    SELECT DISTINCT ON (w.name) w.name, w.definition, w.comment, array_agg(w.partition) OVER (PARTITION BY w.name) AS partitions
    FROM eventkit.waiting_foreign_keys(parent) w ORDER BY w.name, w.comment
  LOOP
    -- Somebody has given it back to the parent: the partitions have it from there.
    IF EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = parent AND k.conname = key.name AND k.contype = 'f' AND pg_get_constraintdef(k.oid) = key.definition) THEN
      FOR held IN SELECT u.partition FROM unnest(key.partitions) u (partition) LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', held.partition, key.name);
      END LOOP;
      CONTINUE;
    END IF;
    -- Those of partitions that came a moment ago.
    PERFORM eventkit.prove_foreign_key(u.partition::text, key.name) FROM unnest(key.partitions) u (partition);
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', parent, key.name, key.definition);
    IF key.comment IS NOT NULL THEN
      EXECUTE format('COMMENT ON CONSTRAINT %I ON %s IS %L', key.name, parent, key.comment);
    END IF;
  END LOOP;
  -- No key waits any more, whoever gave it back: from 18 on the server itself merges what the parent is given with those of the partitions.
  FOR held IN
    SELECT i.inhrelid::regclass AS partition, k.conname AS name
    FROM pg_inherits i JOIN pg_constraint k ON k.conrelid = i.inhrelid AND k.contype = 'f'
    JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid AND d.objsubid = 0
    WHERE i.inhparent = parent AND starts_with(d.description, 'waits for eventkit.split_partition')
  LOOP
    EXECUTE format('COMMENT ON CONSTRAINT %I ON %s IS NULL', held.name, held.partition);
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.tighten_foreign_keys(regclass) IS
'Gives a parent the foreign keys that all its partitions have proved: it takes theirs over and reads no row. SELECT eventkit.tighten_foreign_keys(''app.events'')';
