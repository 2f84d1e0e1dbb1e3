-- The bounds of partitions as times, and the view that lists them.

CREATE FUNCTION eventkit.key_time(value text, key_type oid, key_unit text) RETURNS timestamptz
STABLE PARALLEL SAFE COST 10 LANGUAGE sql
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    -- A number beyond the years of a timestamptz is infinitely far.
    WHEN key_type IN ('int8'::regtype, 'uuid'::regtype) THEN
      CASE WHEN n.seconds < -210866803200 THEN '-infinity'::timestamptz WHEN n.seconds >= 9224318016000 THEN 'infinity'::timestamptz
        ELSE 'epoch'::timestamptz + floor(n.seconds) * interval '1 second'
          + floor((n.seconds - floor(n.seconds)) * 1000000) * interval '1 microsecond' END
    ELSE value::timestamptz END
  FROM (SELECT CASE
    WHEN key_type = 'int8'::regtype THEN value::numeric / CASE key_unit WHEN 's' THEN 1 WHEN 'ms' THEN 1000 WHEN 'us' THEN 1000000 WHEN 'ns' THEN 1000000000 END
    WHEN key_type = 'uuid'::regtype THEN ('x' || substr(replace(value, '-', ''), 1, 12))::bit(48)::int8 / 1000.0 END AS seconds) n
$$;

COMMENT ON FUNCTION eventkit.key_time(text, oid, text) IS
'Tells the time of a partition key''s value: a date or timestamp read as UTC, a bigint by its unit (NULL when that is not known), a uuid by its first 48 bits. SELECT eventkit.key_time(''1709208000'', ''bigint''::regtype, ''s'')';

CREATE FUNCTION eventkit.partition_range(partition regclass, OUT from_time timestamptz, OUT to_time timestamptz)
STABLE STRICT PARALLEL SAFE COST 50 LANGUAGE sql
-- The server prints bounds in the session's settings; these two lines make the text and its reading agree.
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET search_path = pg_catalog, pg_temp
-- No backslash in the patterns: they are read with the session's standard_conforming_strings.
AS $$
  SELECT
    CASE WHEN e.bound ~ ' FROM [(]MINVALUE[)] ' THEN '-infinity'::timestamptz
      ELSE eventkit.key_time(substring(e.bound FROM ' FROM [(]''([^'']*)''[)] '), a.atttypid, s.key_unit) END,
    CASE WHEN e.bound ~ ' TO [(]MAXVALUE[)]$' THEN 'infinity'::timestamptz
      ELSE eventkit.key_time(substring(e.bound FROM ' TO [(]''([^'']*)''[)]$'), a.atttypid, s.key_unit) END
  FROM pg_class c
  JOIN pg_inherits i ON i.inhrelid = c.oid
  JOIN pg_partitioned_table p ON p.partrelid = i.inhparent
  JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
  LEFT JOIN eventkit.partition_settings s ON s.parent = p.partrelid
  CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) e
  WHERE c.oid = $1 AND p.partstrat = 'r' AND p.partnatts = 1
    AND a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype, 'int8'::regtype, 'uuid'::regtype)
$$;

COMMENT ON FUNCTION eventkit.partition_range(regclass) IS
'Tells the half-open range of a partition of a table partitioned by one time column, read as UTC; NULLs for a default partition and for a bigint whose unit is not known. SELECT * FROM eventkit.partition_range(''app.events_20240101'')';

CREATE VIEW eventkit.partitions AS
SELECT
  i.inhparent::pg_catalog.regclass AS parent,
  i.inhrelid::pg_catalog.regclass AS partition,
  r.from_time,
  r.to_time,
  CASE WHEN c.reltuples OPERATOR(pg_catalog.>=) 0 THEN c.reltuples::pg_catalog.int8 END AS row_estimate,
  pg_catalog.pg_total_relation_size(c.oid) AS bytes
FROM pg_catalog.pg_partitioned_table p
JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) p.partrelid AND a.attnum OPERATOR(pg_catalog.=) p.partattrs[0]
JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) p.partrelid
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid
CROSS JOIN LATERAL eventkit.partition_range(i.inhrelid::pg_catalog.regclass) r
WHERE p.partstrat OPERATOR(pg_catalog.=) 'r' AND p.partnatts OPERATOR(pg_catalog.=) 1
  AND a.atttypid OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.date'::pg_catalog.regtype, 'pg_catalog.timestamp'::pg_catalog.regtype, 'pg_catalog.timestamptz'::pg_catalog.regtype, 'pg_catalog.int8'::pg_catalog.regtype, 'pg_catalog.uuid'::pg_catalog.regtype]::pg_catalog.oid[]);

COMMENT ON VIEW eventkit.partitions IS
'Partitions of all tables partitioned by one time column, with bounds, estimated rows and bytes. SELECT * FROM eventkit.partitions WHERE parent = ''app.events''::regclass ORDER BY from_time';
COMMENT ON COLUMN eventkit.partitions.parent IS 'The partitioned table.';
COMMENT ON COLUMN eventkit.partitions.partition IS 'The partition.';
COMMENT ON COLUMN eventkit.partitions.from_time IS 'First instant inside, read as UTC; NULL for the default partition.';
COMMENT ON COLUMN eventkit.partitions.to_time IS 'First instant after it, read as UTC; NULL for the default partition.';
COMMENT ON COLUMN eventkit.partitions.row_estimate IS 'Rows as of the last ANALYZE or VACUUM; NULL before the first.';
COMMENT ON COLUMN eventkit.partitions.bytes IS 'Bytes on disk with indexes and TOAST.';

GRANT SELECT ON eventkit.partitions TO PUBLIC;
