-- What a calendar needs of one parent ($1), as JSON for core::partition::snapshot::Parent like parent.sql, without what a plan needs
-- beside. Planned and run in a fraction of the time: maintenance asks it of every parent.
SELECT jsonb_build_object(
  'schema', n.nspname,
  'name', c.relname,
  'owner', pg_get_userbyid(c.relowner),
  'caller', current_user,
  'caller_owns', pg_has_role(c.relowner, 'USAGE'),
  'refusal', CASE
    WHEN pt.partrelid IS NULL THEN jsonb_build_object('not_range', 'no partitioned table')
    WHEN pt.partstrat <> 'r' THEN jsonb_build_object('not_range', CASE pt.partstrat WHEN 'l' THEN 'partitioned by list' ELSE 'partitioned by hash' END)
    WHEN c.relpersistence = 't' THEN to_jsonb('temporary'::text)
    WHEN c.relispartition THEN jsonb_build_object('sub_partition', (SELECT i.inhparent::regclass::text FROM pg_inherits i WHERE i.inhrelid = c.oid LIMIT 1))
    WHEN pt.partnatts <> 1 OR k.type IS NULL THEN jsonb_build_object('key', pg_get_partkeydef(c.oid)) END,
  'key', CASE WHEN k.type IS NOT NULL THEN jsonb_build_object(
    'column', a.attname, 'type', k.type, 'unit', CASE WHEN k.type = 'bigint' THEN told.key_unit END) END,
  'settings', CASE WHEN told.parent IS NOT NULL THEN jsonb_build_object(
    'months', (extract(year FROM told.period) * 12 + extract(month FROM told.period))::int4,
    'days', extract(day FROM told.period)::int4,
    'micros', (extract(hour FROM told.period) * 3600000000 + extract(minute FROM told.period) * 60000000
      + extract(microseconds FROM told.period))::int8,
    'time_zone', told.time_zone) END,
  'unlogged', false, 'row_security', false, 'force_row_security', false, 'replica_identity', 'd',
  'columns', '[]'::jsonb, 'indexes', '[]'::jsonb, 'policies', '[]'::jsonb, 'grants', '[]'::jsonb, 'default_grantees', '[]'::jsonb,
  'statistics', '[]'::jsonb, 'linked', '[]'::jsonb, 'sequences', '[]'::jsonb
)::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_partitioned_table pt ON pt.partrelid = c.oid
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = pt.partattrs[0] AND a.attnum > 0
LEFT JOIN eventkit.partition_settings told ON told.parent = c.oid
CROSS JOIN LATERAL (SELECT CASE a.atttypid WHEN 'date'::regtype THEN 'date' WHEN 'timestamp'::regtype THEN 'timestamp' WHEN 'timestamptz'::regtype THEN 'timestamptz'
  WHEN 'int8'::regtype THEN 'bigint' WHEN 'uuid'::regtype THEN 'uuid' END AS type) k
WHERE c.oid = $1
