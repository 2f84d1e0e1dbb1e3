-- What capturing has to know of a source ($1) and a parent ($2), as the JSON that core::partition::capture::Capture reads. Runs with search_path pg_catalog.
SELECT jsonb_build_object(
  'source_owner', pg_get_userbyid(c.relowner),
  'caller_owns', pg_has_role(c.relowner, 'USAGE'),
  'inherited', c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid),
  'key', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', a.attname,
      'plain', (SELECT t.typtype IN ('b', 'e') AND t.typelem = 0 FROM pg_type t WHERE t.oid = a.atttypid),
      'equal', of_source.equal,
      -- A type without usual operators is compared as the source's index does it.
      'parent_equal', coalesce(of_parent.equal, of_source.equal),
      'parent_type', format_type(pa.atttypid, pa.atttypmod)) ORDER BY k.place), '[]')
    FROM unnest(chosen.indkey::int2[], chosen.indclass::oid[]) WITH ORDINALITY k (attnum, opclass, place)
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
    JOIN pg_opclass oc ON oc.oid = k.opclass
    JOIN pg_attribute pa ON pa.attrelid = $2 AND pa.attname = a.attname AND NOT pa.attisdropped
    CROSS JOIN LATERAL (
      SELECT format('OPERATOR(%I.%s)', n.nspname, q.oprname) AS equal
      FROM pg_amop o JOIN pg_operator q ON q.oid = o.amopopr JOIN pg_namespace n ON n.oid = q.oprnamespace
      WHERE o.amopfamily = oc.opcfamily AND o.amoplefttype = oc.opcintype AND o.amoprighttype = oc.opcintype AND o.amopstrategy = 3) of_source
    LEFT JOIN LATERAL (
      -- A type without an ordering of its own (varchar) is ordered by the one that it is binary-coercible to.
      SELECT format('OPERATOR(%I.%s)', n.nspname, q.oprname) AS equal
      FROM pg_type t
      JOIN pg_opclass po ON po.opcdefault AND po.opcmethod = (SELECT m.oid FROM pg_am m WHERE m.amname = 'btree')
      JOIN pg_amop o ON o.amopfamily = po.opcfamily AND o.amoplefttype = po.opcintype AND o.amoprighttype = po.opcintype AND o.amopstrategy = 3
      JOIN pg_operator q ON q.oid = o.amopopr JOIN pg_namespace n ON n.oid = q.oprnamespace
      WHERE t.oid = pa.atttypid
        AND po.opcintype IN (t.oid, t.typbasetype,
          CASE WHEN coalesce(nullif(t.typbasetype, 0), t.oid) = 'varchar'::regtype THEN 'text'::regtype END,
          CASE WHEN t.typtype = 'e' THEN 'anyenum'::regtype WHEN t.typtype = 'c' THEN 'record'::regtype
            WHEN t.typtype = 'r' THEN 'anyrange'::regtype WHEN t.typlen = -1 AND t.typelem <> 0 THEN 'anyarray'::regtype END)
      ORDER BY po.opcintype = t.oid DESC LIMIT 1) of_parent ON true
    WHERE k.place <= chosen.indnkeyatts),
  'at', jsonb_build_object(
    'name', key.attname,
    'equal', 'OPERATOR(pg_catalog.=)',
    'parent_equal', 'OPERATOR(pg_catalog.=)',
    'parent_type', format_type(key.atttypid, NULL)),
  'always', (SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_attribute a WHERE a.attrelid = $2 AND a.attidentity = 'a' AND NOT a.attisdropped),
  'taken', (
    SELECT coalesce(jsonb_agg(DISTINCT t.name), '[]') FROM (
      SELECT r.relname AS name FROM pg_class r WHERE r.relnamespace = p.relnamespace AND r.relname ~ '_changes$'
      UNION ALL SELECT r.typname FROM pg_type r WHERE r.typnamespace = p.relnamespace AND r.typname ~ '_changes$'
      UNION ALL SELECT f.proname FROM pg_proc f WHERE f.pronamespace = p.relnamespace AND f.proname ~ '_changes$'
      UNION ALL SELECT regexp_replace(g.tgname, '_(delete|insert|move|truncate)$', '') FROM pg_trigger g WHERE g.tgrelid = c.oid) t),
  'strays', (SELECT coalesce(jsonb_agg(format('%I.%I', s.schema, s.name)), '[]') FROM eventkit.stray_captures(c.oid) s),
  'finished_at', (SELECT to_char(b.finished_at, 'YYYY-MM-DD HH24:MI:SS "UTC"') FROM eventkit.backfills b WHERE b.source = $1::oid AND b.parent = $2::oid),
  'changes', (
    SELECT jsonb_build_object(
      'schema', ln.nspname,
      'name', l.relname,
      -- It names its table: with another name or schema nothing can be written any more.
      'whole', f.oid IS NOT NULL AND strpos(f.prosrc, format('INSERT INTO "%s"."%s" ', replace(ln.nspname, '"', '""'), replace(l.relname, '"', '""'))) > 0 AND 4 = (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgfoid = f.oid AND g.tgenabled = 'A')
        -- A partition of the source has the three that see rows.
        AND (c.relkind <> 'p' OR NOT EXISTS (
          SELECT FROM pg_partition_tree(c.oid) t
          WHERE t.level > 0 AND 3 <> (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = t.relid AND g.tgfoid = f.oid AND g.tgenabled = 'A'))),
      'finished', b.finished_at IS NOT NULL,
      'has_function', f.oid IS NOT NULL,
      'triggers', (SELECT coalesce(jsonb_agg(g.tgname ORDER BY g.tgname), '[]') FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgfoid = f.oid))
    FROM eventkit.backfills b
    JOIN pg_class l ON l.oid = b.changes JOIN pg_namespace ln ON ln.oid = l.relnamespace
    LEFT JOIN pg_proc f ON f.pronamespace = l.relnamespace AND f.proname = l.relname AND f.pronargs = 0 AND f.prorettype = 'trigger'::regtype
    WHERE b.source = $1::oid AND b.parent = $2::oid)
)::text
FROM pg_class c
JOIN pg_class p ON p.oid = $2
JOIN pg_partitioned_table pt ON pt.partrelid = p.oid
JOIN pg_attribute key ON key.attrelid = p.oid AND key.attnum = pt.partattrs[0]
LEFT JOIN LATERAL (
  SELECT i.* FROM pg_index i
  WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident AND c.relreplident = 'i')
    AND i.indisvalid AND i.indimmediate AND i.indexprs IS NULL AND i.indpred IS NULL
  ORDER BY i.indisprimary DESC LIMIT 1) chosen ON true
WHERE c.oid = $1
