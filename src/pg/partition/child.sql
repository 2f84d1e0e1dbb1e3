-- A table ($1) that is to become a partition of a parent ($2), as the JSON that core::partition::snapshot::Child reads, behind rights.sql. Runs with search_path
-- pg_catalog.
, mine AS (
  SELECT * FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
), theirs AS (
  SELECT * FROM pg_attribute WHERE attrelid = $2 AND attnum > 0 AND NOT attisdropped
), generated AS (
  SELECT d.adrelid, a.attname, pg_get_expr(d.adbin, d.adrelid) AS expression
  FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  WHERE d.adrelid IN ($1, $2) AND a.attgenerated <> ''
), statistics AS (
  SELECT e.stxrelid, e.stxname, e.stxkind, concat(
    ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = e.stxrelid AND a.attnum = ANY (e.stxkeys::int2[]) ORDER BY a.attname),
    ARRAY(SELECT x FROM unnest(pg_get_statisticsobjdef_expressions(e.oid)) x ORDER BY x)) AS facts
  FROM pg_statistic_ext e WHERE e.stxrelid IN ($1, $2)
), indexes AS (
  -- Two equal indexes of the parent need two of the table: each has its number among its equals.
  SELECT i.indrelid, x.relname, k.contype IS NOT NULL AS constrained, f.form, i.indisunique,
    row_number() OVER (PARTITION BY i.indrelid, f.form, i.indisunique, kind.kind ORDER BY k.contype IS NULL, x.oid) AS number, kind.kind
  FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
  LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
  CROSS JOIN LATERAL (SELECT regexp_replace(pg_get_indexdef(i.indexrelid), '^.*? USING ', '') AS form) f
  -- An index can still be given the constraint; one of another kind it cannot lose.
  CROSS JOIN LATERAL (SELECT CASE WHEN i.indrelid = $2 THEN coalesce(k.contype, '-') ELSE coalesce(k.contype, '?') END AS kind) kind
  WHERE i.indrelid IN ($1, $2) AND i.indislive AND (i.indrelid = $2 OR i.indisvalid)
)
SELECT (rights.facts || jsonb_build_object(
  'schema', n.nspname,
  'name', c.relname,
  'owner', pg_get_userbyid(c.relowner),
  'caller_owns', pg_has_role(c.relowner, 'USAGE'),
  'refusal', CASE
    WHEN c.oid = $2 THEN 'the parent itself'
    WHEN c.relkind <> 'r' THEN CASE c.relkind WHEN 'p' THEN 'a partitioned table' WHEN 'v' THEN 'a view'
      WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table' ELSE 'no table' END
    WHEN c.relpersistence = 't' THEN 'a temporary table'
    WHEN c.reloftype <> 0 THEN 'a typed table'
    WHEN c.relispartition THEN (SELECT format('a partition of %s', i.inhparent::regclass) FROM pg_inherits i WHERE i.inhrelid = c.oid LIMIT 1)
    WHEN EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid OR i.inhparent = c.oid) THEN 'part of an inheritance' END,
  'attached', EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = $2),
  'missing', (SELECT coalesce(jsonb_agg(t.attname ORDER BY t.attnum), '[]') FROM theirs t WHERE NOT EXISTS (SELECT FROM mine m WHERE m.attname = t.attname)),
  'extra', (SELECT coalesce(jsonb_agg(m.attname ORDER BY m.attnum), '[]') FROM mine m WHERE NOT EXISTS (SELECT FROM theirs t WHERE m.attname = t.attname)),
  'different', (
    SELECT coalesce(jsonb_agg(jsonb_build_array(m.attname, o.found, o.wanted) ORDER BY m.attnum), '[]')
    FROM mine m JOIN theirs t ON t.attname = m.attname
    LEFT JOIN generated g ON g.adrelid = $1 AND g.attname = m.attname
    LEFT JOIN generated h ON h.adrelid = $2 AND h.attname = m.attname
    CROSS JOIN LATERAL (SELECT
      concat(format_type(m.atttypid, m.atttypmod), ' COLLATE ' || nullif(m.attcollation, 0)::regcollation, ' GENERATED ALWAYS AS ' || g.expression) AS found,
      concat(format_type(t.atttypid, t.atttypmod), ' COLLATE ' || nullif(t.attcollation, 0)::regcollation, ' GENERATED ALWAYS AS ' || h.expression) AS wanted) o
    WHERE o.found <> o.wanted),
  'identity', (SELECT coalesce(jsonb_agg(m.attname ORDER BY m.attnum), '[]') FROM mine m WHERE m.attidentity <> ''),
  'nullable', (
    SELECT coalesce(jsonb_agg(m.attname ORDER BY m.attnum), '[]') FROM mine m JOIN theirs t ON t.attname = m.attname
    WHERE t.attnotnull AND NOT m.attnotnull),
  'checks', (
    SELECT coalesce(jsonb_agg(jsonb_build_object('name', p.conname, 'definition', pg_get_constraintdef(p.oid), 'state', CASE
      WHEN k.oid IS NULL THEN 'missing'
      WHEN regexp_replace(pg_get_constraintdef(k.oid), s.state, '') <> regexp_replace(pg_get_constraintdef(p.oid), s.state, '') OR k.connoinherit THEN 'different'
      WHEN NOT k.convalidated AND s.enforced THEN 'unproven' ELSE 'there' END) ORDER BY p.conname), '[]')
    FROM pg_constraint p
    CROSS JOIN LATERAL (SELECT coalesce(to_jsonb(p) ->> 'conenforced', 'true')::boolean) e (enforced)
    -- The table may prove more than the parent asks for.
    CROSS JOIN LATERAL (SELECT e.enforced, CASE WHEN e.enforced THEN ' NOT VALID$' ELSE ' NOT (VALID|ENFORCED)$' END AS state) s
    LEFT JOIN pg_constraint k ON k.conrelid = $1 AND k.conname = p.conname AND k.contype = 'c'
    WHERE p.conrelid = $2 AND p.contype = 'c' AND NOT p.connoinherit),
  'bytes', pg_table_size(c.oid),
  -- The server takes over what has these facts in common. One that is not enforced has nothing to prove.
  'foreign_keys', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', coalesce(k.conname, p.conname), 'definition', pg_get_constraintdef(p.oid), 'schema', rn.nspname, 'table', r.relname,
      'tables', (SELECT count(*) FROM pg_partition_tree(r.oid)) + CASE WHEN r.relkind = 'p' THEN 0 ELSE 1 END,
      'state', CASE
        WHEN k.convalidated THEN 'there'
        WHEN k.oid IS NOT NULL THEN 'unproven'
        WHEN EXISTS (SELECT FROM pg_constraint o WHERE o.conrelid = $1 AND o.conname = p.conname) THEN 'different'
        ELSE 'missing' END,
      'allowed', has_schema_privilege(rn.oid, 'USAGE') AND (SELECT bool_and(has_column_privilege(r.oid, a, 'REFERENCES')) FROM unnest(p.confkey) a),
      'marked', coalesce(obj_description(k.oid, 'pg_constraint') = 'waits for eventkit.attach_partition', false)) ORDER BY p.conname), '[]')
    FROM pg_constraint p JOIN pg_class r ON r.oid = p.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
    LEFT JOIN LATERAL (
      SELECT o.oid, o.conname, o.convalidated FROM pg_constraint o
      WHERE o.conrelid = $1 AND o.contype = 'f' AND o.conparentid = 0
        AND replace(pg_get_constraintdef(o.oid), ' NOT VALID', '') = pg_get_constraintdef(p.oid)
      ORDER BY o.convalidated DESC LIMIT 1) k ON true
    WHERE p.conrelid = $2 AND p.contype = 'f' AND p.conparentid = 0 AND p.confrelid <> $2 AND p.convalidated
      AND coalesce(to_jsonb(p) ->> 'conenforced', 'true') = 'true'),
  'left_over', (SELECT coalesce(jsonb_agg(k.conname ORDER BY k.conname), '[]') FROM pg_constraint k
    WHERE k.conrelid = $1 AND eventkit.proves_bound(k.oid)),
  'in_the_way', (SELECT coalesce(jsonb_agg(k.conname ORDER BY k.conname), '[]') FROM pg_constraint k
    WHERE k.conrelid = $1 AND k.conname IN ('partition_bound', 'partition_not_null') AND NOT eventkit.proves_bound(k.oid)),
  'less_kept', c.relpersistence = 'u' AND EXISTS (SELECT FROM pg_class p WHERE p.oid = $2 AND p.relpersistence <> 'u')
    -- A parent cannot say that it is unlogged from 18 on: its partitions do.
    AND NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class o ON o.oid = i.inhrelid WHERE i.inhparent = $2 AND o.relpersistence = 'u'),
  'indexes', (
    SELECT coalesce(jsonb_agg(jsonb_build_object('parent', p.relname, 'name', m.relname, 'constrained', m.constrained)), '[]')
    FROM indexes p JOIN LATERAL (
      SELECT i.relname, i.constrained FROM indexes i
      WHERE i.indrelid = $1 AND i.form = p.form AND i.indisunique = p.indisunique AND i.number = p.number
        AND (i.kind = p.kind OR i.kind = '?')
      ORDER BY i.kind = '?' LIMIT 1) m ON true
    WHERE p.indrelid = $2),
  'row_security', c.relrowsecurity,
  'force_row_security', c.relforcerowsecurity,
  'replica_identity', c.relreplident,
  'comment', obj_description(c.oid, 'pg_class'),
  'columns', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', m.attname,
      'default', CASE WHEN NOT m.atthasdef AND t.attgenerated = '' THEN (
        SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = $2 AND d.adnum = t.attnum) END,
      'statistics', CASE WHEN t.attstattarget >= 0 AND m.attstattarget IS DISTINCT FROM t.attstattarget THEN t.attstattarget END,
      'options', (SELECT coalesce(jsonb_agg(o.option), '[]') FROM unnest(t.attoptions) o (option)
        WHERE o.option !~ '^pg_' AND o.option <> ALL (coalesce(m.attoptions, '{}'))),
      'storage', CASE WHEN m.attstorage <> t.attstorage THEN
        CASE t.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END,
      'compression', CASE WHEN m.attcompression <> t.attcompression THEN
        CASE t.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'default' END END,
      'comment', CASE WHEN col_description($1, m.attnum) IS NULL THEN col_description($2, t.attnum) END) ORDER BY m.attnum), '[]')
    FROM mine m JOIN theirs t ON t.attname = m.attname),
  'statistics', (
    SELECT coalesce(jsonb_agg(p.stxname), '[]') FROM statistics p
    WHERE p.stxrelid = $2 AND EXISTS (SELECT FROM statistics m WHERE m.stxrelid = $1 AND m.stxkind = p.stxkind AND m.facts = p.facts))
))::text
FROM rights CROSS JOIN pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1
