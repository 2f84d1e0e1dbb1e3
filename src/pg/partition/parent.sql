-- One parent ($1) as the JSON that core::partition::snapshot::Parent reads, behind rights.sql. Runs with search_path pg_catalog, TimeZone UTC,
-- DateStyle ISO.
-- No backslash in the patterns: they are read with the session's standard_conforming_strings.
SELECT (rights.facts || jsonb_build_object(
  'schema', n.nspname,
  'name', c.relname,
  'owner', pg_get_userbyid(c.relowner),
  'caller', current_user,
  'caller_owns', pg_has_role(c.relowner, 'USAGE'),
  'refusal', CASE
    WHEN c.relkind <> 'p' THEN jsonb_build_object('not_range', CASE c.relkind
      WHEN 'r' THEN 'a plain table' WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
      WHEN 'i' THEN 'an index' WHEN 'I' THEN 'an index' WHEN 'S' THEN 'a sequence' ELSE 'another kind of relation' END)
    WHEN pt.partstrat <> 'r' THEN jsonb_build_object('not_range', CASE pt.partstrat WHEN 'l' THEN 'partitioned by list' ELSE 'partitioned by hash' END)
    WHEN c.relpersistence = 't' THEN to_jsonb('temporary'::text)
    WHEN c.relispartition THEN jsonb_build_object('sub_partition', (
      SELECT format('%I.%I', un.nspname, u.relname) FROM pg_inherits i
      JOIN pg_class u ON u.oid = i.inhparent JOIN pg_namespace un ON un.oid = u.relnamespace
      WHERE i.inhrelid = c.oid LIMIT 1))
    WHEN key.type IS NULL OR NOT key.usual THEN jsonb_build_object('key', pg_get_partkeydef(c.oid)
      || coalesce(' of type ' || format_type(key.typid, NULL), '')) END,
  'key', CASE WHEN key.type IS NOT NULL THEN jsonb_build_object(
    'column', key.name, 'type', key.type, 'unit', CASE WHEN key.type = 'bigint' THEN told.key_unit END) END,
  'settings', CASE WHEN told.parent IS NOT NULL THEN jsonb_build_object(
    'months', (extract(year FROM told.period) * 12 + extract(month FROM told.period))::int4,
    'days', extract(day FROM told.period)::int4,
    'micros', (extract(hour FROM told.period) * 3600000000 + extract(minute FROM told.period) * 60000000
      + extract(microseconds FROM told.period))::int8,
    'time_zone', told.time_zone) END,
  'unlogged', c.relpersistence = 'u',
  'autovacuum', current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on',
  'default', (SELECT jsonb_build_object('schema', dn.nspname, 'name', d.relname)
    FROM pg_class d JOIN pg_namespace dn ON dn.oid = d.relnamespace WHERE d.oid = pt.partdefid),
  'options', coalesce((
    SELECT to_jsonb(coalesce(y.reloptions, '{}') || ARRAY(SELECT 'toast.' || o.option FROM unnest(t.reloptions) o (option)))
    FROM pg_class y LEFT JOIN pg_class t ON t.oid = y.reltoastrelid
    WHERE y.relkind = 'r' AND y.oid = (SELECT max(i.inhrelid) FROM pg_inherits i JOIN pg_class r ON r.oid = i.inhrelid WHERE i.inhparent = c.oid AND i.inhrelid <> pt.partdefid AND r.relkind = 'r')), '[]'),
  'comment', obj_description(c.oid, 'pg_class'),
  'tablespace', (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = c.reltablespace),
  'access_method', (SELECT m.amname FROM pg_am m WHERE m.oid = c.relam),
  'row_security', c.relrowsecurity,
  'force_row_security', c.relforcerowsecurity,
  'replica_identity', c.relreplident,
  'columns', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', a.attname,
      'generated', a.attgenerated <> '',
      'statistics', CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END,
      -- Options that begin with pg_ are the server's own.
      'options', (SELECT coalesce(jsonb_agg(o.option), '[]') FROM unnest(a.attoptions) o (option) WHERE o.option !~ '^pg_')) ORDER BY a.attnum), '[]')
    FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'indexes', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', x.name,
      'unique', x.indisunique,
      'definition', CASE WHEN starts_with(x.def, x.head || 'USING ') THEN substr(x.def, length(x.head) + 1) END,
      'tablespace', (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = x.reltablespace),
      'replica_identity', x.indisreplident,
      'constraint', x."constraint",
      'comment', obj_description(x.indexrelid, 'pg_class'),
      'constraint_comment', x.constraint_comment,
      'targets', (SELECT coalesce(jsonb_agg(jsonb_build_array(a.attnum, a.attstattarget) ORDER BY a.attnum), '[]')
        FROM pg_attribute a WHERE a.attrelid = x.indexrelid AND a.attstattarget >= 0 AND x.indexprs IS NOT NULL)
      ) ORDER BY x.indisprimary DESC, x.name), '[]')
    FROM (
      SELECT ic.relname AS name, ic.reltablespace, i.*, pg_get_indexdef(i.indexrelid) AS def,
        format('CREATE %sINDEX %I ON ONLY %I.%I ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, ic.relname, n.nspname, c.relname) AS head,
        k."constraint", k.constraint_comment
      FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
      -- A foreign key to a partitioned table has a row for each of its partitions here: they are read once, not for each index.
      LEFT JOIN (
        SELECT k.conindid, obj_description(k.oid, 'pg_constraint') AS constraint_comment,
          jsonb_build_object(
            'from_index', CASE WHEN coalesce(to_jsonb(k) ->> 'conperiod', 'false') = 'false'
              THEN CASE k.contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE' END END,
            'definition', pg_get_constraintdef(k.oid),
            'deferrable', k.condeferrable,
            'deferred', k.condeferred) AS "constraint"
        FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x') OFFSET 0) k ON k.conindid = i.indexrelid
      WHERE i.indrelid = c.oid AND i.indislive) x),
  'default_grantees', (
    SELECT coalesce(jsonb_agg(DISTINCT CASE WHEN t.grantee <> 0 THEN pg_get_userbyid(t.grantee) END), '[]')
    FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) t
    WHERE d.defaclobjtype = 'r' AND d.defaclnamespace IN (0, c.relnamespace)
      AND d.defaclrole = (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user)
      AND t.grantee NOT IN (d.defaclrole, c.relowner)),
  'statistics', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', e.stxname,
      -- A statistics object of one expression has no kinds to name.
      'kinds', CASE WHEN 'e' = ALL (e.stxkind) THEN '[]' ELSE (
        SELECT jsonb_agg(CASE k.kind WHEN 'd' THEN 'ndistinct' WHEN 'f' THEN 'dependencies' ELSE 'mcv' END)
        FROM unnest(e.stxkind) k (kind) WHERE k.kind <> 'e') END,
      'columns', pg_get_statisticsobjdef_columns(e.oid),
      'target', CASE WHEN e.stxstattarget >= 0 THEN e.stxstattarget END,
      'comment', obj_description(e.oid, 'pg_statistic_ext')) ORDER BY e.stxname), '[]')
    FROM pg_statistic_ext e WHERE e.stxrelid = c.oid),
  -- Those that are not proved; absent when none waits.
  'waiting', (
    SELECT coalesce(jsonb_agg(jsonb_build_object('schema', wn.nspname, 'table', wc.relname, 'name', w.name) ORDER BY w.name, wc.oid) FILTER (WHERE NOT k.convalidated), CASE WHEN count(*) > 0 THEN '[]'::jsonb END)
    FROM eventkit.waiting_foreign_keys(c.oid) w JOIN pg_constraint k ON k.oid = w.constraint_id
    JOIN pg_class wc ON wc.oid = w.partition JOIN pg_namespace wn ON wn.oid = wc.relnamespace),
  'linked', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'schema', ln.nspname,
      'name', l.relname,
      'is_parent', l.oid = c.oid,
      'referenced', f.referenced,
      'referencing', f.referencing,
      'lockable', has_table_privilege(l.oid, 'UPDATE') OR has_table_privilege(l.oid, 'DELETE') OR has_table_privilege(l.oid, 'TRUNCATE'),
      -- By the largest of some partitions: to look at all of them takes longer than the answer is worth.
      'few_keys', f.referenced AND l.relkind = 'p' AND (
        SELECT coalesce(max(greatest(part.reltuples, 0)) * (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = l.oid) <= 1000000
          AND bool_and(part.relkind <> 'p'), false)
        FROM (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = l.oid LIMIT 16) i JOIN pg_class part ON part.oid = i.inhrelid)
      ) ORDER BY l.oid), '[]')
    FROM (
      SELECT t.oid, bool_or(t.referenced) AS referenced, bool_or(t.referencing) AS referencing
      FROM (
        SELECT k.confrelid AS oid, true AS referenced, false AS referencing
        FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = c.oid AND k.conparentid = 0
        UNION ALL
        SELECT k.confrelid, true, false
        FROM eventkit.waiting_foreign_keys(c.oid) w JOIN pg_constraint k ON k.oid = w.constraint_id
        UNION ALL
        SELECT k.conrelid, false, true
        FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = c.oid AND k.conparentid = 0
        UNION ALL
        SELECT c.oid, false, false) t
      GROUP BY t.oid) f
    JOIN pg_class l ON l.oid = f.oid JOIN pg_namespace ln ON ln.oid = l.relnamespace),
  'publications', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', p.pubname, 'inserts', p.pubinsert, 'deletes', p.pubdelete,
      'publish', concat_ws(', ', a.rest, 'delete'), 'publish_no_deletes', a.rest) ORDER BY p.pubname), '[]')
    FROM pg_publication p
    CROSS JOIN LATERAL (SELECT concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
      CASE WHEN p.pubtruncate THEN 'truncate' END) AS rest) a
    WHERE p.puballtables
      OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid IN (c.oid, pt.partdefid))
      OR EXISTS (SELECT FROM pg_publication_namespace r JOIN pg_class t ON t.relnamespace = r.pnnspid
        WHERE r.pnpubid = p.oid AND t.oid IN (c.oid, pt.partdefid))),
  'sequences', (
    SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_object(
      'schema', sn.nspname, 'name', s.relname, 'column', a.attname, 'ascending', q.seqincrement > 0)), '[]')
    FROM (
      SELECT d.objid AS seq, d.refobjsubid AS attnum FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = c.oid AND d.refobjsubid > 0 AND d.deptype = 'i'
      UNION
      SELECT d.refobjid, ad.adnum FROM pg_attrdef ad
      JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid AND d.refclassid = 'pg_class'::regclass
      WHERE ad.adrelid = c.oid) u
    JOIN pg_sequence q ON q.seqrelid = u.seq
    JOIN pg_class s ON s.oid = u.seq JOIN pg_namespace sn ON sn.oid = s.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum
    WHERE a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype))
))::text
FROM rights CROSS JOIN pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_partitioned_table pt ON pt.partrelid = c.oid
LEFT JOIN LATERAL (
  SELECT a.attname AS name, a.atttypid AS typid, o.opcdefault AS usual,
    CASE a.atttypid WHEN 'date'::regtype THEN 'date' WHEN 'timestamp'::regtype THEN 'timestamp' WHEN 'timestamptz'::regtype THEN 'timestamptz'
      WHEN 'int8'::regtype THEN 'bigint' WHEN 'uuid'::regtype THEN 'uuid' END AS type
  FROM pg_attribute a JOIN pg_opclass o ON o.oid = pt.partclass[0]
  WHERE pt.partnatts = 1 AND a.attrelid = c.oid AND a.attnum = pt.partattrs[0] AND a.attnum > 0) key ON true
LEFT JOIN eventkit.partition_settings told ON told.parent = c.oid
WHERE c.oid = $1
