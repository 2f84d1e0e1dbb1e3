-- plan_maintain: what maintain would do, parent by parent, each read with the rights of its owner.

CREATE FUNCTION eventkit.try_show_plan(plan text, target text) RETURNS SETOF eventkit.plan_step
VOLATILE PARALLEL UNSAFE COST 10000 ROWS 20 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY EXECUTE format('SELECT p.* FROM %s p ORDER BY p.step', plan);
EXCEPTION WHEN assert_failure OR OTHERS THEN
  RETURN QUERY SELECT 1, NULL::text, NULL::text, $2, SQLERRM;
END
$$;

COMMENT ON FUNCTION eventkit.try_show_plan(text, text) IS
'Shows a plan, or a step without a statement whose reason is the error that stands in its way. SELECT * FROM eventkit.try_show_plan($$eventkit.plan_drain_default(''app.events'')$$, ''app.events'')';

CREATE FUNCTION eventkit.plan_maintain_parent(parent regclass, as_of timestamptz) RETURNS SETOF eventkit.plan_step
VOLATILE PARALLEL UNSAFE COST 100000 ROWS 100 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD'
AS $$
#variable_conflict use_variable
DECLARE
  named CONSTANT text := (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent);
  due record;
  period timestamp;
  free boolean;
BEGIN
  SELECT d.* INTO due FROM eventkit.due_work(parent, as_of) d;
  FOR period, free IN SELECT m.period, true FROM unnest(due.missing) m (period) UNION ALL SELECT c.period, false FROM unnest(due.cut) c (period) LOOP
    -- Of rows in the default partition the drain makes a partition.
    CONTINUE WHEN eventkit.default_period_rows(parent, period) > 0;
    RETURN QUERY SELECT p.* FROM eventkit.try_show_plan(format('eventkit.plan_partition(%L, %L, %L)', parent::oid, period, free), named) p;
    RETURN QUERY SELECT 1, 'COMMIT', NULL::text, named, 'ends a transaction: each partition stands by itself';
  END LOOP;
  IF due.rows_in_default THEN
    RETURN QUERY SELECT p.* FROM eventkit.try_show_plan(format('eventkit.plan_drain_default(%L)', parent::oid), named) p;
  END IF;
  IF due.expired THEN
    RETURN QUERY SELECT p.* FROM eventkit.try_show_plan(format('eventkit.plan_retire_partitions(%L, %L)', parent::oid, (
      SELECT coalesce(eventkit.exact_time((least(as_of, statement_timestamp()) AT TIME ZONE s.time_zone - s.retention) AT TIME ZONE s.time_zone), '-infinity')
      FROM eventkit.partition_settings s WHERE s.parent = parent)), named) p;
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.plan_maintain_parent(regclass, timestamptz) IS
'Shows the steps of maintain for one parent, not numbered. SELECT * FROM eventkit.plan_maintain_parent(''app.events'', now())';

CREATE FUNCTION eventkit.plan_maintain(as_of timestamptz DEFAULT pg_catalog.now()) RETURNS SETOF eventkit.plan_step
VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  parent regclass;
  number int := 0;
  found eventkit.plan_step;
BEGIN
  IF as_of IS NULL OR NOT isfinite(as_of) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'argument "as_of" must be a finite value',
      DETAIL = 'The work is that which is due at a time.',
      HINT = 'Leave it out: SELECT * FROM eventkit.plan_maintain().';
  END IF;
  FOR parent IN
    SELECT s.parent FROM eventkit.partition_settings s JOIN pg_class c ON c.oid = s.parent WHERE pg_has_role(c.relowner, 'USAGE') ORDER BY s.parent::oid
  LOOP
    -- What hangs on a table may run functions of its owner's: with his rights, as maintain has it.
    FOR found IN
      SELECT w.* FROM eventkit.try_show_plan(format(
        'jsonb_populate_recordset(NULL::eventkit.plan_step, (SELECT eventkit.run_as_owner(%L, %L)::jsonb))', parent::oid,
        format('SELECT jsonb_agg(to_jsonb(q) || jsonb_build_object(''step'', n) ORDER BY n)::text FROM eventkit.plan_maintain_parent(%L, %L) WITH ORDINALITY q (step, statement, lock, target, reason, n)',
          parent::oid, eventkit.exact_time(as_of))), parent::text) w ORDER BY w.step
    LOOP
      number := number + 1;
      found.step := number;
      RETURN NEXT found;
    END LOOP;
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.plan_maintain(timestamptz) IS
'Shows the steps of maintain without doing them: for each managed parent of the caller''s the partitions that it would make, drain and retire, COMMIT behind each transaction; what stands in the way is a step without a statement. What the steps of one parent leave to be done is planned as if they had not run. SELECT * FROM eventkit.plan_maintain()';
