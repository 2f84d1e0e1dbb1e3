-- What backfills have done: one row for each pair of tables and for each period, written in the transaction of the period itself.

CREATE TABLE eventkit.backfills (
  source      regclass    NOT NULL,
  parent      regclass    NOT NULL,
  from_time   timestamptz,
  to_time     timestamptz,
  changes     regclass,
  began_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
  finished_at timestamptz,
  PRIMARY KEY (source, parent)
);

CREATE TABLE eventkit.backfill_periods (
  source    regclass         NOT NULL,
  parent    regclass         NOT NULL,
  period    timestamp        NOT NULL,
  row_count bigint,
  seconds   double precision NOT NULL,
  copied_at timestamptz      NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  passed_at timestamptz      NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  PRIMARY KEY (source, parent, period)
);

ALTER TABLE eventkit.backfills ENABLE ROW LEVEL SECURITY;
ALTER TABLE eventkit.backfill_periods ENABLE ROW LEVEL SECURITY;

-- A table of changes is dropped in the end: nobody can enter one that is not his own.
CREATE POLICY owner ON eventkit.backfills USING (eventkit.owns_table(parent))
  WITH CHECK (eventkit.owns_table(parent) AND (changes IS NULL OR eventkit.owns_table(changes)));
CREATE POLICY reader ON eventkit.backfills FOR SELECT USING (eventkit.owns_table(source) OR eventkit.owns_table(parent) IS NULL);
CREATE POLICY sweeper ON eventkit.backfills FOR DELETE USING (eventkit.owns_table(source) IS NULL OR eventkit.owns_table(parent) IS NULL);
CREATE POLICY owner ON eventkit.backfill_periods USING (eventkit.owns_table(parent));
CREATE POLICY reader ON eventkit.backfill_periods FOR SELECT USING (eventkit.owns_table(source) OR eventkit.owns_table(parent) IS NULL);
CREATE POLICY sweeper ON eventkit.backfill_periods FOR DELETE USING (eventkit.owns_table(source) IS NULL OR eventkit.owns_table(parent) IS NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON eventkit.backfills, eventkit.backfill_periods TO PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('eventkit.backfills',
  'WHERE 2 OPERATOR(pg_catalog.=) (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) source OR c.oid OPERATOR(pg_catalog.=) parent) '
  'AND (changes IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) changes))');
SELECT pg_catalog.pg_extension_config_dump('eventkit.backfill_periods',
  'WHERE 2 OPERATOR(pg_catalog.=) (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) source OR c.oid OPERATOR(pg_catalog.=) parent)');

COMMENT ON TABLE eventkit.backfills IS
'The pairs of tables that a backfill copies or has copied between; seen by the owners of either, changed by that of the parent.';
COMMENT ON COLUMN eventkit.backfills.source IS 'The table that rows are copied from.';
COMMENT ON COLUMN eventkit.backfills.parent IS 'The partitioned table that they are copied into.';
COMMENT ON COLUMN eventkit.backfills.from_time IS 'Where the range begins that is copied; NULL for the beginning.';
COMMENT ON COLUMN eventkit.backfills.to_time IS 'Where the range ends that is copied; NULL for the end.';
COMMENT ON COLUMN eventkit.backfills.changes IS 'The table that notes the rows of the source that change; NULL when nothing is captured.';
COMMENT ON COLUMN eventkit.backfills.began_at IS 'When the first call of backfill began.';
COMMENT ON COLUMN eventkit.backfills.finished_at IS 'When finish_backfill applied the last change.';
COMMENT ON TABLE eventkit.backfill_periods IS
'The periods that backfills have dealt with; a row is written together with the rows that it counts.';
COMMENT ON COLUMN eventkit.backfill_periods.source IS 'The table that rows are copied from.';
COMMENT ON COLUMN eventkit.backfill_periods.parent IS 'The partitioned table that they are copied into.';
COMMENT ON COLUMN eventkit.backfill_periods.period IS 'What the clocks of the parent''s zone show at the beginning of the period.';
COMMENT ON COLUMN eventkit.backfill_periods.row_count IS 'The rows copied; NULL when a partition held rows already and was left as it is.';
COMMENT ON COLUMN eventkit.backfill_periods.seconds IS 'How long it took.';
COMMENT ON COLUMN eventkit.backfill_periods.copied_at IS 'When it was done.';
COMMENT ON COLUMN eventkit.backfill_periods.passed_at IS 'When a backfill last came past it.';
COMMENT ON POLICY owner ON eventkit.backfills IS 'Whoever has the rights of the parent''s owner changes them.';
COMMENT ON POLICY reader ON eventkit.backfills IS 'The owner of the source sees them, and whoever removes those of a dropped parent.';
COMMENT ON POLICY sweeper ON eventkit.backfills IS 'What belongs to a dropped table is anybody''s to remove.';
COMMENT ON POLICY owner ON eventkit.backfill_periods IS 'Whoever has the rights of the parent''s owner changes them.';
COMMENT ON POLICY reader ON eventkit.backfill_periods IS 'The owner of the source sees them, and whoever removes those of a dropped parent.';
COMMENT ON POLICY sweeper ON eventkit.backfill_periods IS 'What belongs to a dropped table is anybody''s to remove.';

CREATE FUNCTION eventkit.captured_changes(changes regclass) RETURNS bigint
STABLE PARALLEL SAFE COST 10000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  counted bigint;
BEGIN
  IF EXISTS (SELECT FROM pg_class c WHERE c.oid = changes AND has_table_privilege(c.oid, 'SELECT')) THEN
    EXECUTE format('SELECT count(*) FROM %s', changes) INTO counted;
  END IF;
  RETURN counted;
END
$$;

COMMENT ON FUNCTION eventkit.captured_changes(regclass) IS
'Counts the changes that a table of changes holds; NULL without the right to read it. SELECT eventkit.captured_changes(b.changes) FROM eventkit.backfills b';

CREATE FUNCTION eventkit.stray_captures(source regclass DEFAULT NULL)
RETURNS TABLE (source regclass, schema name, name name, has_table boolean, triggers name[])
STABLE PARALLEL SAFE COST 1000 ROWS 1 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT g.tgrelid::regclass, n.nspname, f.proname, t.oid IS NOT NULL, array_agg(g.tgname ORDER BY g.tgname)
  FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
  -- All of a capture belongs to the owner of the source: whoever may make triggers on it, and names that look so, points at nobody's tables.
  JOIN pg_proc f ON f.oid = g.tgfoid AND f.proowner = c.relowner JOIN pg_namespace n ON n.oid = f.pronamespace
  LEFT JOIN pg_class t ON t.relnamespace = f.pronamespace AND t.relname = f.proname AND t.relkind = 'r' AND t.relowner = c.relowner
  WHERE ($1 IS NULL OR g.tgrelid = $1) AND NOT g.tgisinternal AND g.tgparentid = 0
    AND f.prorettype = 'trigger'::regtype AND g.tgname ~ '_changes_(delete|insert|move|truncate)$' AND starts_with(g.tgname, f.proname || '_')
    -- What its function says when somebody truncates the source.
    AND strpos(f.prosrc, 'eventkit.abandon_backfill(') > 0
    AND NOT EXISTS (
      SELECT FROM eventkit.backfills b JOIN pg_class k ON k.oid = b.changes
      WHERE b.source = g.tgrelid AND k.relnamespace = f.pronamespace AND k.relname = f.proname)
  GROUP BY g.tgrelid, n.nspname, f.proname, t.oid
$$;

COMMENT ON FUNCTION eventkit.stray_captures(regclass) IS
'Lists the captures of a source, or of all, that no backfill knows: their table of changes was dropped, or the extension was, or its tables were restored empty. SELECT * FROM eventkit.stray_captures(''public.events'')';

CREATE FUNCTION eventkit.periods_left(source regclass, parent regclass, from_time timestamptz DEFAULT NULL, to_time timestamptz DEFAULT NULL)
RETURNS SETOF timestamp
STABLE PARALLEL RESTRICTED COST 100000 ROWS 100 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY SELECT s.period FROM eventkit.source_periods(source, parent, from_time, to_time) s (period)
    WHERE NOT EXISTS (
      SELECT FROM eventkit.backfill_periods p
      WHERE p.source = periods_left.source AND p.parent = periods_left.parent AND p.period = s.period);
END
$$;

COMMENT ON FUNCTION eventkit.periods_left(regclass, regclass, timestamptz, timestamptz) IS
'Lists the periods of a source that no backfill has dealt with yet, newest first. SELECT * FROM eventkit.periods_left(''public.events'', ''app.events'')';

CREATE FUNCTION eventkit.count_periods_left(source regclass, parent regclass, from_time timestamptz, to_time timestamptz) RETURNS bigint
STABLE PARALLEL RESTRICTED COST 100000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_class c WHERE c.oid = source AND has_table_privilege(c.oid, 'SELECT'))
    AND EXISTS (SELECT FROM pg_class c WHERE c.oid = parent AND pg_has_role(c.relowner, 'USAGE'))
  THEN
    RETURN (SELECT count(*) FROM eventkit.periods_left(source, parent, from_time, to_time));
  END IF;
  RETURN NULL;
-- One pair whose key was renamed, or whose parent is not managed any more, hides no other from who looks.
EXCEPTION WHEN assert_failure OR OTHERS THEN
  RETURN NULL;
END
$$;

COMMENT ON FUNCTION eventkit.count_periods_left(regclass, regclass, timestamptz, timestamptz) IS
'Counts the periods of a source that no backfill has dealt with yet; NULL when that cannot be told, as without the rights to look. SELECT eventkit.count_periods_left(''public.events'', ''app.events'', NULL, NULL)';

CREATE VIEW eventkit.backfill_progress WITH (security_invoker = true) AS
SELECT
  b.source,
  b.parent,
  d.periods_done,
  l.periods_left,
  d.rows_copied,
  d.rows_copied OPERATOR(pg_catalog./) NULLIF(t.seconds, 0) AS rows_per_second,
  CASE WHEN l.periods_left OPERATOR(pg_catalog.=) 0 THEN '0'::pg_catalog.interval
    ELSE pg_catalog.make_interval(secs => l.periods_left OPERATOR(pg_catalog.*) t.seconds OPERATOR(pg_catalog./) NULLIF(d.periods_done, 0)) END AS time_left,
  eventkit.captured_changes(b.changes) AS changes_waiting,
  b.began_at,
  b.finished_at
FROM eventkit.backfills b
CROSS JOIN LATERAL (
  SELECT pg_catalog.count(*) AS periods_done, COALESCE(pg_catalog.sum(p.row_count), 0)::pg_catalog.int8 AS rows_copied,
    pg_catalog.range_agg(pg_catalog.tstzrange(
      p.copied_at OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => GREATEST(p.seconds, 0)), p.copied_at)) AS busy
  FROM eventkit.backfill_periods p
  WHERE p.source::pg_catalog.oid OPERATOR(pg_catalog.=) b.source::pg_catalog.oid AND p.parent::pg_catalog.oid OPERATOR(pg_catalog.=) b.parent::pg_catalog.oid) d
-- Periods that several jobs copied at the same time count once.
CROSS JOIN LATERAL (
  SELECT COALESCE(pg_catalog.sum(EXTRACT(epoch FROM pg_catalog.upper(r) OPERATOR(pg_catalog.-) pg_catalog.lower(r))), 0)::pg_catalog.float8 AS seconds
  FROM pg_catalog.unnest(d.busy) r) t
CROSS JOIN LATERAL (
  SELECT CASE WHEN b.finished_at IS NULL THEN eventkit.count_periods_left(b.source, b.parent, b.from_time, b.to_time) ELSE 0 END AS periods_left) l;

COMMENT ON VIEW eventkit.backfill_progress IS
'How far the backfills are: periods, rows, speed, time left, captured changes that wait. SELECT * FROM eventkit.backfill_progress';
COMMENT ON COLUMN eventkit.backfill_progress.source IS 'The table that rows are copied from.';
COMMENT ON COLUMN eventkit.backfill_progress.parent IS 'The partitioned table that they are copied into.';
COMMENT ON COLUMN eventkit.backfill_progress.periods_done IS 'Periods that have been dealt with.';
COMMENT ON COLUMN eventkit.backfill_progress.periods_left IS 'Periods with rows in the source that have not, an index probe for each; NULL when that cannot be told: plan_backfill says why.';
COMMENT ON COLUMN eventkit.backfill_progress.rows_copied IS 'Rows copied so far.';
COMMENT ON COLUMN eventkit.backfill_progress.rows_per_second IS 'Rows copied per second in which somebody copied, whoever and however many.';
COMMENT ON COLUMN eventkit.backfill_progress.time_left IS 'The periods left, at the speed of those done; NULL before the first.';
COMMENT ON COLUMN eventkit.backfill_progress.changes_waiting IS 'Changes of the source that catch_up has not applied; NULL when nothing is captured.';
COMMENT ON COLUMN eventkit.backfill_progress.began_at IS 'When the first call of backfill began.';
COMMENT ON COLUMN eventkit.backfill_progress.finished_at IS 'When finish_backfill applied the last change.';

GRANT SELECT ON eventkit.backfill_progress TO PUBLIC;
