-- attach_partition: a table that somebody filled becomes a partition. Each transaction of the plan is committed; what
-- fails takes back the CHECKs and foreign keys that it added.

CREATE FUNCTION eventkit.proves_bound("constraint" oid) RETURNS boolean
STABLE PARALLEL SAFE COST 100 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.contype = 'c' AND CASE k.conname
    WHEN 'partition_bound' THEN cardinality(k.conkey) = 1
      AND (e.told = format('(%I IS NOT NULL)', a.attname) OR starts_with(e.told, format('((%1$I IS NOT NULL) AND (%1$I ', a.attname)))
    WHEN 'partition_not_null' THEN regexp_replace(e.told, '("([^"]|"")*"|[^ ()"]+) IS NOT NULL|AND|[() ]', '', 'g') = ''
    ELSE false END
  FROM pg_constraint k LEFT JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
  CROSS JOIN LATERAL (SELECT pg_get_expr(k.conbin, k.conrelid) AS told) e
  WHERE k.oid = $1
$$;

COMMENT ON FUNCTION eventkit.proves_bound(oid) IS
'Tells whether a constraint is a CHECK by which attach_partition or convert_table proves a bound, by its name and by what it says. SELECT eventkit.proves_bound(k.oid) FROM pg_constraint k WHERE k.conrelid = ''app.events_20240101''::regclass';

CREATE FUNCTION eventkit.abandon_attach(child regclass, lock_timeout interval DEFAULT '2 seconds') RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
DECLARE
  statements text[];
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting($2), true);
  SELECT array_agg(format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname)) INTO statements
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.conrelid = child AND (eventkit.proves_bound(k.oid)
      OR k.contype = 'f' AND k.conparentid = 0 AND obj_description(k.oid, 'pg_constraint') = 'waits for eventkit.attach_partition');
  IF statements IS NOT NULL THEN
    PERFORM eventkit.execute_with_retries(statements);
  END IF;
EXCEPTION WHEN assert_failure OR OTHERS THEN
  RAISE WARNING USING ERRCODE = SQLSTATE,
    MESSAGE = format('constraints that were to prove the bound are left on %s: %s', child, SQLERRM),
    DETAIL = 'New rows outside of the bound are refused as long as they stand.',
    HINT = format('Call again, or drop them: SELECT eventkit.abandon_attach(%L).', child);
END
$$;

COMMENT ON FUNCTION eventkit.abandon_attach(regclass, interval) IS
'Drops the CHECKs and foreign keys that an attach_partition or convert_table which was stopped has added to a table; warns when it cannot. SELECT eventkit.abandon_attach(''app.events_20240101'')';

CREATE FUNCTION eventkit.with_unfit_rows(failure jsonb, child regclass) RETURNS jsonb
VOLATILE PARALLEL UNSAFE COST 100 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  told text;
BEGIN
  IF failure ->> 'state' = '23514' THEN
    SELECT format('See the rows that do not fit with: SELECT * FROM %s WHERE (%s) IS NOT TRUE LIMIT 10; give them another key or place, then call again.',
        child, pg_get_expr(k.conbin, k.conrelid)) INTO told
      FROM pg_constraint k
      -- The server names the constraint behind the table.
      WHERE k.conrelid = child AND eventkit.proves_bound(k.oid) AND strpos(failure ->> 'message', format('"%s"', k.conname)) > 0;
  END IF;
  RETURN CASE WHEN told IS NULL THEN failure ELSE failure || jsonb_build_object('hint', told) END;
END
$$;

COMMENT ON FUNCTION eventkit.with_unfit_rows(jsonb, regclass) IS
'Adds to a failure of try_plan the query that shows the rows of a table which break the CHECK that was to prove its bound. SELECT eventkit.with_unfit_rows(NULL, ''app.june'')';

CREATE FUNCTION eventkit.warn_unsent_rows(parent regclass, child regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  published record;
BEGIN
  -- An answer for rows that are hidden by a policy too; an emptied table may be named without need.
  IF pg_relation_size(child) = 0 THEN
    RETURN;
  END IF;
  FOR published IN
    SELECT p.pubviaroot AS as_parent, format('publication %I', p.pubname) AS name
    FROM pg_publication p
    CROSS JOIN LATERAL (
      SELECT c.oid, p.puballtables OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid)
        OR EXISTS (SELECT FROM pg_publication_namespace r WHERE r.pnpubid = p.oid AND r.pnnspid = c.relnamespace) AS sent
      FROM pg_class c WHERE c.oid IN (parent, child)) t
    WHERE p.pubinsert
    GROUP BY p.oid, p.pubviaroot, p.pubname
    -- Without the root a table that was published before is so still, under its own name.
    HAVING bool_or(t.sent) FILTER (WHERE t.oid = parent) AND (p.pubviaroot OR NOT bool_or(t.sent) FILTER (WHERE t.oid = child))
    ORDER BY p.pubname
  LOOP
    RAISE WARNING USING
      MESSAGE = format('rows that %s held before it was attached to %s are not sent to subscribers of %s', child, parent, published.name),
      DETAIL = 'A publication sends what is written; an attach writes no row.',
      HINT = CASE WHEN published.as_parent THEN format('Copy them into %s at each subscriber by hand.', parent)
        ELSE 'Make a table of that name at each subscriber and have it copied: ALTER SUBSCRIPTION … REFRESH PUBLICATION.' END;
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.warn_unsent_rows(regclass, regclass) IS
'Warns when a partition that is attached with rows belongs to a parent that is published: these rows are sent to no subscriber. SELECT eventkit.warn_unsent_rows(''app.events'', ''app.june'')';

CREATE PROCEDURE eventkit.attach_partition(
  parent regclass, child regclass, from_time timestamptz, to_time timestamptz, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  alone CONSTANT pg_catalog.bool := NOT eventkit.in_transaction_block();
  what CONSTANT pg_catalog.text := pg_catalog.format('change %s', child::pg_catalog.oid);
  planned eventkit.plan_step[];
  step eventkit.plan_step;
  phase eventkit.plan_step[] := '{}';
  failure pg_catalog.jsonb;
BEGIN
  PERFORM eventkit.refuse_read_only('attach_partition');
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  -- Where COMMIT is not allowed, this says so before there is anything to lose.
  IF alone THEN
    COMMIT;
  END IF;
  planned := eventkit.plan_alone(what, pg_catalog.format('eventkit.plan_attach_partition(%L, %L, %L, %L)',
    parent::pg_catalog.oid, child::pg_catalog.oid, eventkit.exact_time(from_time), eventkit.exact_time(to_time)));
  IF alone THEN
    COMMIT;
  END IF;
  FOREACH step IN ARRAY planned LOOP
    IF step.statement IS NULL THEN
      IF alone THEN
        PERFORM eventkit.release_session_lock(what);
      END IF;
      RAISE NOTICE '%', step.reason;
      RETURN;
    ELSIF step.statement OPERATOR(pg_catalog.<>) 'COMMIT' THEN
      phase := pg_catalog.array_append(phase, step);
      CONTINUE;
    END IF;
    failure := eventkit.try_plan(phase, lock_timeout, caller_search_path);
    phase := '{}';
    IF failure IS NOT NULL THEN
      IF alone THEN
        COMMIT;
        failure := eventkit.with_unfit_rows(failure, child);
        PERFORM eventkit.abandon_attach(child, lock_timeout);
        COMMIT;
        PERFORM eventkit.release_session_lock(what);
      END IF;
      PERFORM eventkit.raise_failure(failure, pg_catalog.format('Attaching %s to %s.', child, parent),
        'The table is not attached. Remove the cause, then call again.');
    END IF;
    IF alone THEN
      COMMIT;
    END IF;
  END LOOP;
  -- Inside of a transaction block the lock ends with it.
  IF alone THEN
    PERFORM eventkit.release_session_lock(what);
  END IF;
END
$$;

COMMENT ON PROCEDURE eventkit.attach_partition(regclass, regclass, timestamptz, timestamptz, interval) IS
'Attaches a filled table as the partition of a range of time (infinity for an open end) without a scan under lock: a CHECK is added, proved while others go on, missing indexes are built, then the attach is short. Commits step by step, unless in a transaction block; a call that was stopped can be repeated. Rows that it holds already are sent to no subscriber of a publication; a warning says so. CALL eventkit.attach_partition(''app.events'', ''app.june'', ''2023-06-01 00:00Z'', ''2023-07-01 00:00Z'')';

REVOKE EXECUTE ON PROCEDURE eventkit.attach_partition(regclass, regclass, timestamptz, timestamptz, interval) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.plan_attach_partition(regclass, regclass, timestamptz, timestamptz) IS
'Shows the steps of attach_partition without doing them, COMMIT behind each transaction; asked in a transaction block those of a call there. SELECT * FROM eventkit.plan_attach_partition(''app.events'', ''app.june'', ''2023-06-01 00:00Z'', ''2023-07-01 00:00Z'')';
