-- The first thing that is bound to one of the partitions ($1) of a parent ($2) rather than to the parent, and would keep it from being dropped, or be
-- lost with it: the partition, then the thing. Runs with search_path pg_catalog, so that every text names its schema.
WITH members AS (
  SELECT u.part, 'pg_class'::regclass::oid AS class, u.part AS object FROM unnest($1::oid[]) u (part)
  UNION ALL SELECT u.part, 'pg_class'::regclass, i.indexrelid FROM unnest($1::oid[]) u (part) JOIN pg_index i ON i.indrelid = u.part
  UNION ALL SELECT u.part, 'pg_type'::regclass, t.oid FROM unnest($1::oid[]) u (part) JOIN pg_type t ON t.typrelid = u.part
  UNION ALL SELECT u.part, 'pg_type'::regclass, t.typarray FROM unnest($1::oid[]) u (part) JOIN pg_type t ON t.typrelid = u.part
  UNION ALL SELECT u.part, 'pg_constraint'::regclass, k.oid FROM unnest($1::oid[]) u (part) JOIN pg_constraint k ON k.conrelid = u.part
  UNION ALL SELECT u.part, 'pg_attrdef'::regclass, a.oid FROM unnest($1::oid[]) u (part) JOIN pg_attrdef a ON a.adrelid = u.part
  UNION ALL SELECT u.part, 'pg_trigger'::regclass, t.oid FROM unnest($1::oid[]) u (part) JOIN pg_trigger t ON t.tgrelid = u.part
  UNION ALL SELECT u.part, 'pg_policy'::regclass, p.oid FROM unnest($1::oid[]) u (part) JOIN pg_policy p ON p.polrelid = u.part
  UNION ALL SELECT u.part, 'pg_statistic_ext'::regclass, e.oid FROM unnest($1::oid[]) u (part) JOIN pg_statistic_ext e ON e.stxrelid = u.part
  UNION ALL SELECT u.part, 'pg_rewrite'::regclass, r.oid FROM unnest($1::oid[]) u (part) JOIN pg_rewrite r ON r.ev_class = u.part
)
SELECT m.part::regclass::text,
  CASE WHEN r.oid IS NOT NULL AND r.rulename = '_RETURN' THEN pg_describe_object('pg_class'::regclass, r.ev_class, 0)
    ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END
FROM members m
JOIN pg_depend d ON d.refclassid = m.class AND d.refobjid = m.object
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
WHERE (d.deptype = 'n' OR d.classid = 'pg_publication_rel'::regclass)
  AND NOT EXISTS (SELECT FROM members o WHERE o.class = d.classid AND o.object = d.objid)
  -- Foreign keys to the parent have a part for each partition.
  AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint k WHERE k.oid = d.objid AND k.contype = 'f' AND (k.conparentid <> 0 OR k.confrelid = $2)))
  AND NOT (d.classid = 'pg_trigger'::regclass AND EXISTS (SELECT FROM pg_trigger t WHERE t.oid = d.objid AND t.tgisinternal))
  -- What keeps its changes goes before it.
  AND NOT (d.classid = 'pg_class'::regclass AND d.objid IS NOT DISTINCT FROM (SELECT s.log::oid FROM eventkit.capture_state(m.part) s))
ORDER BY m.part, d.classid, d.objid, d.objsubid LIMIT 1
