-- One source ($1) beside its parent ($2) as the JSON that core::partition::snapshot::Source reads. Runs with search_path pg_catalog.
SELECT jsonb_build_object(
  'schema', n.nspname,
  'name', c.relname,
  'kind', c.relkind,
  'in_parent', c.oid = $2 OR coalesce($2 = ANY (ARRAY(SELECT a.relid::oid FROM pg_partition_ancestors(c.oid) a)), false),
  'readable', c.relkind IN ('r', 'p', 'f', 'm', 'v') AND (has_table_privilege(c.oid, 'SELECT') OR NOT EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT'))),
  'row_security', c.relrowsecurity AND row_security_active(c.oid),
  'key_indexed', EXISTS (
    SELECT FROM pg_index i
    JOIN pg_partitioned_table pt ON pt.partrelid = $2
    JOIN pg_attribute k ON k.attrelid = $2 AND k.attnum = pt.partattrs[0]
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = k.attname AND a.attnum > 0
    JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
    WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND i.indpred IS NULL AND i.indisvalid AND m.amname = 'btree'),
  'columns', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', a.attname,
      'type', format_type(a.atttypid, a.atttypmod),
      'parent_type', format_type(p.atttypid, p.atttypmod),
      'same_type', coalesce(a.atttypid = p.atttypid, false),
      'castable', EXISTS (
        SELECT FROM pg_cast t LEFT JOIN pg_proc f ON f.oid = t.castfunc
        WHERE t.castsource = a.atttypid AND t.casttarget = p.atttypid AND t.castcontext IN ('i', 'a')
          AND (t.castmethod = 'b' OR f.provolatile = 'i')),
      'sequences', (
        SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_object('schema', sn.nspname, 'name', s.relname, 'ascending', q.seqincrement > 0)), '[]')
        FROM (
          SELECT d.objid AS seq FROM pg_depend d
          WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
            AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.deptype = 'i'
          UNION
          SELECT d.refobjid FROM pg_attrdef ad
          JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid AND d.refclassid = 'pg_class'::regclass
          WHERE ad.adrelid = c.oid AND ad.adnum = a.attnum) u
        JOIN pg_sequence q ON q.seqrelid = u.seq
        JOIN pg_class s ON s.oid = u.seq JOIN pg_namespace sn ON sn.oid = s.relnamespace
        WHERE has_sequence_privilege(s.oid, 'SELECT') AND has_schema_privilege(sn.oid, 'USAGE'))) ORDER BY a.attnum), '[]')
    FROM pg_attribute a
    LEFT JOIN pg_attribute p ON p.attrelid = $2 AND p.attname = a.attname AND p.attnum > 0 AND NOT p.attisdropped
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1
