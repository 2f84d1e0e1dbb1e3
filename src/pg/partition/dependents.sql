-- What hangs on one table ($1) that is to hand its name over to another, key column $2, and whether
-- it is partitioned and shall be plain again ($3), as the JSON that
-- core::partition::plan::convert::Dependents reads. Runs with search_path pg_catalog, so that every text names its schema.
-- No backslash in the patterns: they are read with the session's standard_conforming_strings.
WITH it AS (
  SELECT c.*, n.nspname, k.attnum AS key, format('%I.%I', n.nspname, c.relname) AS shown
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute k ON k.attrelid = c.oid AND k.attname = $2 AND k.attnum > 0 AND NOT k.attisdropped
  WHERE c.oid = $1
), members AS (
  -- The table and what is a part of it: none of these is a dependent of its own.
  SELECT 'pg_class'::regclass::oid AS class, it.oid AS object FROM it
  UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM it JOIN pg_index i ON i.indrelid = it.oid
  UNION ALL SELECT 'pg_class'::regclass, it.reltoastrelid FROM it
  UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM it JOIN pg_index i ON i.indrelid = it.reltoastrelid
  UNION ALL SELECT 'pg_class'::regclass, d.objid FROM it JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = it.oid
    AND d.refobjsubid > 0 AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
  UNION ALL SELECT 'pg_type'::regclass, t.oid FROM it JOIN pg_type t ON t.typrelid = it.oid
  UNION ALL SELECT 'pg_type'::regclass, t.typarray FROM it JOIN pg_type t ON t.typrelid = it.oid
  UNION ALL SELECT 'pg_constraint'::regclass, k.oid FROM it JOIN pg_constraint k ON k.conrelid = it.oid
  UNION ALL SELECT 'pg_attrdef'::regclass, a.oid FROM it JOIN pg_attrdef a ON a.adrelid = it.oid
  UNION ALL SELECT 'pg_trigger'::regclass, t.oid FROM it JOIN pg_trigger t ON t.tgrelid = it.oid
  UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM it JOIN pg_policy p ON p.polrelid = it.oid
  UNION ALL SELECT 'pg_statistic_ext'::regclass, e.oid FROM it JOIN pg_statistic_ext e ON e.stxrelid = it.oid
  UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM it JOIN pg_rewrite r ON r.ev_class = it.oid
), needs AS (
  SELECT DISTINCT d.classid, d.objid, d.objsubid, d.refclassid, d.refobjid
  FROM members m JOIN pg_depend d ON d.refclassid = m.class AND d.refobjid = m.object
  WHERE NOT EXISTS (SELECT FROM members o WHERE o.class = d.classid AND o.object = d.objid)
), views AS (
  SELECT DISTINCT v.*, vn.nspname FROM needs d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
  JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v' AND r.rulename = '_RETURN' JOIN pg_namespace vn ON vn.oid = v.relnamespace
), functions AS (
  SELECT DISTINCT p.* FROM needs d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
  WHERE p.prosqlbody IS NOT NULL AND d.refclassid = 'pg_class'::regclass
), policies AS (
  SELECT DISTINCT p.*, pc.relname, pn.nspname, pc.relowner FROM needs d JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
  JOIN pg_class pc ON pc.oid = p.polrelid JOIN pg_namespace pn ON pn.oid = pc.relnamespace
), referencing AS (
  SELECT k.*, coalesce(to_jsonb(k) ->> 'conenforced', 'true')::boolean AS enforced, rc.relname, rn.nspname, rc.relkind, rc.relowner, rc.relispartition FROM it JOIN pg_constraint k ON k.confrelid = it.oid AND k.contype = 'f' AND k.conparentid = 0
  JOIN pg_class rc ON rc.oid = k.conrelid JOIN pg_namespace rn ON rn.oid = rc.relnamespace
), indexes AS (
  SELECT i.*, x.relname, x.reltablespace, k.oid AS conoid, k.contype, k.condeferrable, k.condeferred,
    coalesce(to_jsonb(i) ->> 'indnullsnotdistinct', 'false') AS alike,
    i.indisunique AND NOT coalesce(it.key = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]), false) AS lacks_key,
    format('CREATE %sINDEX %I ON %s%I.%I ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, x.relname, CASE WHEN it.relkind = 'p' THEN 'ONLY ' END, it.nspname, it.relname) AS head,
    pg_get_indexdef(i.indexrelid) AS def
  FROM it JOIN pg_index i ON i.indrelid = it.oid AND i.indislive JOIN pg_class x ON x.oid = i.indexrelid
  LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = it.oid AND k.contype IN ('p', 'u', 'x')
), extended AS (
  -- For a unique index without the key: one that equals it with the key behind.
  SELECT DISTINCT ON (u.indexrelid) u.indexrelid AS short, v.indexrelid AS long
  FROM it, indexes u JOIN indexes v ON v.indisunique AND v.indisvalid AND v.conoid IS NULL AND v.indnkeyatts = u.indnkeyatts + 1
    AND (v.indkey::int2[])[0:u.indnkeyatts - 1] = (u.indkey::int2[])[0:u.indnkeyatts - 1]
    AND (v.indclass::oid[])[0:u.indnkeyatts - 1] = (u.indclass::oid[])[0:u.indnkeyatts - 1]
    AND (v.indcollation::oid[])[0:u.indnkeyatts - 1] = (u.indcollation::oid[])[0:u.indnkeyatts - 1]
    AND pg_get_expr(v.indexprs, v.indrelid) IS NOT DISTINCT FROM pg_get_expr(u.indexprs, u.indrelid)
    AND pg_get_expr(v.indpred, v.indrelid) IS NOT DISTINCT FROM pg_get_expr(u.indpred, u.indrelid) AND v.alike = u.alike
  WHERE u.lacks_key AND (v.indkey::int2[])[u.indnkeyatts] = it.key
  ORDER BY u.indexrelid, v.indexrelid
), refusals (rank, what, why, hint) AS (
  SELECT 1, 'it is ' || w.what, 'A plain table of its own can be converted.', CASE WHEN it.relpersistence = 'u' THEN format('Have it logged first: ALTER TABLE %s SET LOGGED.', it.shown) ELSE 'Name a plain table.' END
  FROM it CROSS JOIN LATERAL (SELECT CASE
    WHEN it.relkind = 'p' AND ($3 OR it.relispartition) THEN CASE WHEN it.relispartition THEN 'a partition itself' END
    WHEN it.relkind <> 'r' THEN CASE it.relkind WHEN 'p' THEN 'partitioned already' WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view'
      WHEN 'f' THEN 'a foreign table' WHEN 'S' THEN 'a sequence' ELSE 'no table' END
    WHEN it.relpersistence = 't' THEN 'a temporary table' WHEN it.relpersistence = 'u' THEN 'an unlogged table'
    WHEN it.reloftype <> 0 THEN 'a typed table' WHEN it.relispartition THEN 'a partition'
    WHEN it.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) THEN 'a table of the server''s own'
    WHEN EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = it.oid AND d.deptype = 'e') THEN 'a part of an extension'
    WHEN EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = it.oid OR i.inhparent = it.oid) THEN 'part of an inheritance' END AS what) w
  WHERE w.what IS NOT NULL
  UNION ALL SELECT 2, format('rule %I is on it', r.rulename), 'Rules are rewritten before the server knows the partition.', format('Drop it first: DROP RULE %I ON %s.', r.rulename, it.shown)
  FROM it JOIN pg_rewrite r ON r.ev_class = it.oid WHERE it.relkind IN ('r', 'p')
  UNION ALL SELECT 3, format('%s depends on it', pg_describe_object(d.classid, d.objid, 0)),
    'A materialized view cannot be pointed at another table.', format('Drop it, convert, and create it again; its definition: SELECT pg_get_viewdef(%L::regclass).', v.oid::regclass)
  FROM needs d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'm'
  UNION ALL SELECT 3, format('%s depends on it', pg_describe_object(d.classid, d.objid, 0)),
    'A rule cannot be pointed at another table.', 'Drop the rule, convert, and create it again; its definition: SELECT * FROM pg_rules.'
  FROM needs d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename <> '_RETURN'
  UNION ALL SELECT 4, format('%s uses its row type', pg_describe_object(d.classid, d.objid, 0)),
    'The row type stays with the old table; a column, argument or result of that type cannot be given another.', 'Use single columns, or jsonb, instead of the row type.'
  FROM needs d WHERE d.refclassid = 'pg_type'::regclass
    -- But for the table that keeps its changes.
    AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM it JOIN pg_class l ON l.oid = d.objid AND l.relnamespace = it.relnamespace AND l.relname ~ '_changes$'
      JOIN pg_attribute a ON a.attrelid = l.oid AND a.attnum = d.objsubid AND a.attname = 'changed' WHERE it.relkind = 'p'))
  UNION ALL SELECT 5, format('%s names it', pg_describe_object(d.classid, d.objid, 0)),
    CASE WHEN p.pubviaroot THEN 'A publication names a table by its address, which stays with the old rows: those of other partitions would not be published.'
      ELSE 'Changes would be published under the names of partitions, which a subscriber may not have.' END,
    CASE WHEN p.pubviaroot THEN 'Take it out of the publication while nobody writes, convert, and put it back.'
      ELSE 'Take it out of the publication while nobody writes, convert, and put it back with publish_via_partition_root = true.' END
  FROM needs d JOIN pg_publication_rel r ON d.classid = 'pg_publication_rel'::regclass AND r.oid = d.objid JOIN pg_publication p ON p.oid = r.prpubid
  UNION ALL SELECT 5, format('publication %I holds all tables', p.pubname),
    'Changes would be published under the names of partitions, which a subscriber may not have.', format('Publish as the parent: ALTER PUBLICATION %I SET (publish_via_partition_root = true).', p.pubname)
  FROM it JOIN pg_publication p ON NOT p.pubviaroot AND (p.puballtables OR EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid AND s.pnnspid = it.relnamespace))
  WHERE it.relkind = 'r'
  UNION ALL SELECT 6, format('constraint %I is an exclusion or goes by periods', k.conname), 'It would hold in each partition alone.', format('Drop it first: ALTER TABLE %s DROP CONSTRAINT %I.', it.shown, k.conname)
  FROM it JOIN pg_constraint k ON k.conrelid = it.oid WHERE it.relkind <> 'p' AND (k.contype = 'x' OR coalesce(to_jsonb(k) ->> 'conperiod', 'false') = 'true')
  UNION ALL SELECT 6, format('constraint %I is not validated', k.conname), 'A constraint of a partitioned table holds for all rows.', format('Prove it first: ALTER TABLE %s VALIDATE CONSTRAINT %I.', it.shown, k.conname)
  FROM it JOIN pg_constraint k ON k.conrelid = it.oid WHERE NOT k.convalidated AND coalesce(to_jsonb(k) ->> 'conenforced', 'true') = 'true' AND it.relkind <> 'p' AND NOT eventkit.proves_bound(k.oid)
  UNION ALL SELECT 6, format('constraint %I is on it', k.conname), 'The bound is proved by a CHECK of that name; this one says something else.', format('Give it another name first: ALTER TABLE %s RENAME CONSTRAINT %I TO ….', it.shown, k.conname)
  FROM it JOIN pg_constraint k ON k.conrelid = it.oid WHERE it.relkind <> 'p' AND k.conname = 'partition_bound' AND NOT eventkit.proves_bound(k.oid)
  UNION ALL SELECT 6, format('constraint %I is NO INHERIT', k.conname), 'A partitioned table has no constraint of its own alone.', format('Add it again without NO INHERIT: ALTER TABLE %s DROP CONSTRAINT %I.', it.shown, k.conname)
  FROM it JOIN pg_constraint k ON k.conrelid = it.oid WHERE k.contype IN ('c', 'n') AND k.connoinherit AND it.relkind = 'r'
  UNION ALL SELECT DISTINCT 6, format('foreign key %I of its partitions waits to be its own', w.name), 'A split was stopped before all was proved.', format('End it first: CALL eventkit.split_partition(%L).', it.shown)
  FROM it, eventkit.waiting_foreign_keys(it.oid) w WHERE it.relkind = 'p'
  UNION ALL SELECT 7, format('index %I is not valid', x.relname), 'A build of it was stopped.', format('Finish or drop it: REINDEX INDEX CONCURRENTLY %I.%I.', it.nspname, x.relname)
  FROM it, indexes x WHERE NOT x.indisvalid AND it.relkind = 'r'
  UNION ALL SELECT 7, format('%s references it', pg_describe_object('pg_constraint'::regclass, k.oid, 0)), w.why, w.hint
  FROM it CROSS JOIN referencing k JOIN indexes x ON x.indexrelid = k.conindid CROSS JOIN LATERAL (SELECT CASE
      WHEN k.conrelid = it.oid THEN 'A table that references itself is not carried.'
      WHEN k.relkind = 'p' OR k.relispartition THEN 'A foreign key of a partitioned table can be added only with all its rows read under lock.'
      WHEN NOT k.convalidated AND k.enforced THEN 'The foreign key is not validated.'
      WHEN x.lacks_key THEN 'It refers to a key that lacks the partition column, which the partitioned table cannot have.'
      WHEN NOT pg_has_role(k.relowner, 'USAGE') THEN 'The table belongs to another role.' END AS why,
    CASE WHEN x.lacks_key THEN 'Let it refer to a key with the partition column, or drop the foreign key.'
      WHEN NOT k.convalidated AND k.enforced THEN 'Prove it first with ALTER TABLE … VALIDATE CONSTRAINT.'
      ELSE 'Drop the foreign key, convert, and add it again.' END AS hint) w
  WHERE w.why IS NOT NULL
  UNION ALL SELECT 8, format('trigger %I is FOR EACH ROW with a transition table', t.tgname), 'The server has no such triggers on partitioned tables.', format('Make it FOR EACH STATEMENT, or drop it: DROP TRIGGER %I ON %s.', t.tgname, it.shown)
  FROM it JOIN pg_trigger t ON t.tgrelid = it.oid AND NOT t.tgisinternal AND it.relkind <> 'p' WHERE t.tgtype & 1 = 1 AND (t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL)
  UNION ALL SELECT 9, format('%s belongs to another role', pg_describe_object(o.class, o.object, 0)), 'It has to be made to see the new table, which only its owner may do.', 'Call as a role with the rights of all owners.'
  FROM (SELECT 'pg_class'::regclass::oid AS class, v.oid AS object, v.relowner AS owner FROM views v
    UNION ALL SELECT 'pg_proc'::regclass, f.oid, f.proowner FROM functions f
    UNION ALL SELECT 'pg_policy'::regclass, p.oid, p.relowner FROM policies p) o
  WHERE NOT pg_has_role(o.owner, 'USAGE')
  UNION ALL SELECT 10, format('%s depends on its key %s', pg_describe_object(d.classid, d.objid, 0), k.conname), 'It relies on a key that will have one more column.', 'Name all columns in its GROUP BY.'
  FROM needs d JOIN indexes x ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = x.conoid AND x.lacks_key JOIN pg_constraint k ON k.oid = x.conoid
  WHERE d.classid <> 'pg_constraint'::regclass
  UNION ALL SELECT 11, format('%s depends on it', pg_describe_object(d.classid, d.objid, 0)), 'A thing of this kind is not carried.', 'Drop it, convert, and create it again.'
  FROM it, needs d
  -- What partitions have of their parent goes with them.
  WHERE it.relkind <> 'p' AND d.classid NOT IN ('pg_rewrite'::regclass, 'pg_publication_rel'::regclass)
    AND d.refclassid <> 'pg_type'::regclass
    AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM referencing k WHERE k.oid = d.objid))
    AND NOT (d.classid = 'pg_proc'::regclass AND EXISTS (SELECT FROM functions f WHERE f.oid = d.objid))
    AND NOT (d.classid = 'pg_policy'::regclass AND EXISTS (SELECT FROM policies p WHERE p.oid = d.objid))
    AND NOT (d.classid = 'pg_trigger'::regclass AND EXISTS (SELECT FROM pg_trigger t WHERE t.oid = d.objid AND t.tgisinternal))
    -- A default of another table may draw from a serial's sequence, which stays; that of an identity is made anew.
    AND NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS (SELECT FROM pg_depend s WHERE s.classid = 'pg_class'::regclass AND s.objid = d.refobjid AND s.refobjid = it.oid AND s.deptype = 'a'))
    AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class h JOIN pg_inherits i ON i.inhrelid = h.oid WHERE h.oid = d.objid))
  UNION ALL SELECT 12, 'it has a security label', 'Labels are not carried.', 'Take it off with SECURITY LABEL … IS NULL, convert, and set it again.'
  FROM it WHERE EXISTS (SELECT FROM pg_seclabel l WHERE l.classoid = 'pg_class'::regclass AND l.objoid = it.oid)
)
SELECT jsonb_build_object(
  'refusals', (SELECT coalesce(jsonb_agg(jsonb_build_array(r.what, r.why, r.hint) ORDER BY r.rank, r.what), '[]') FROM refusals r),
  'partitioned', it.relkind = 'p',
  'access_method', CASE WHEN it.relkind = 'r' AND current_setting('server_version_num')::int >= 170000 THEN (SELECT m.amname FROM pg_am m WHERE m.oid = it.relam AND m.amname <> 'heap') END,
  'key', (SELECT jsonb_build_object('column', a.attname, 'nullable', NOT a.attnotnull, 'generated', a.attgenerated <> '',
      'shown', format_type(a.atttypid, a.atttypmod), 'type', CASE a.atttypid WHEN 'date'::regtype THEN 'date' WHEN 'timestamp'::regtype THEN 'timestamp'
        WHEN 'timestamptz'::regtype THEN 'timestamptz' WHEN 'int8'::regtype THEN 'bigint' WHEN 'uuid'::regtype THEN 'uuid' END)
    FROM pg_attribute a WHERE a.attrelid = it.oid AND a.attnum = it.key),
  'bound_left', EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = it.oid AND k.conname = 'partition_bound' AND eventkit.proves_bound(k.oid)),
  'taken', (SELECT coalesce(jsonb_agg(o.name), '[]') FROM (SELECT c.relname AS name, c.relnamespace AS schema FROM pg_class c
      UNION ALL SELECT x.stxname, x.stxnamespace FROM pg_statistic_ext x) o
    WHERE o.schema IN (SELECT it.relnamespace UNION ALL SELECT e.stxnamespace FROM pg_statistic_ext e WHERE e.stxrelid = it.oid) AND o.name ~ '_adopted$'),
  'indexes', (SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', x.relname, 'unique', x.indisunique, 'primary', x.indisprimary, 'lacks_key', x.lacks_key,
      'definition', CASE WHEN starts_with(coalesce(l.def, x.def), coalesce(l.head, x.head)) THEN substr(coalesce(l.def, x.def), length(coalesce(l.head, x.head)) + 1) END,
      'constraint', CASE x.contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE' END,
      'constraint_definition', CASE WHEN x.conoid IS NOT NULL THEN CASE WHEN l.indexrelid IS NULL THEN pg_get_constraintdef(x.conoid)
        ELSE concat(CASE x.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END, CASE WHEN l.alike = 'true' THEN ' NULLS NOT DISTINCT' END,
          ' (', (SELECT string_agg(format('%I', a.attname), ', ' ORDER BY o.place) FROM unnest(l.indkey::int2[]) WITH ORDINALITY o (attnum, place) JOIN pg_attribute a ON a.attrelid = it.oid AND a.attnum = o.attnum WHERE o.place <= l.indnkeyatts), ')',
          (SELECT ' INCLUDE (' || string_agg(format('%I', a.attname), ', ' ORDER BY o.place) || ')' FROM unnest(l.indkey::int2[]) WITH ORDINALITY o (attnum, place) JOIN pg_attribute a ON a.attrelid = it.oid AND a.attnum = o.attnum WHERE o.place > l.indnkeyatts),
          CASE WHEN x.condeferrable THEN ' DEFERRABLE' END, CASE WHEN x.condeferred THEN ' INITIALLY DEFERRED' END) END END,
      'deferrable', concat(CASE WHEN x.condeferrable THEN ' DEFERRABLE' END, CASE WHEN x.condeferred THEN ' INITIALLY DEFERRED' END),
      'longer', l.relname,
      'wanted', CASE WHEN x.lacks_key AND l.indexrelid IS NULL THEN jsonb_build_array(format('CREATE UNIQUE INDEX CONCURRENTLY ON %s ', it.shown), format(', %I', $2)) END,
      'tablespace', (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = x.reltablespace),
      'replica_identity', x.indisreplident,
      'comment', obj_description(x.indexrelid, 'pg_class'),
      'constraint_comment', obj_description(x.conoid, 'pg_constraint')) ORDER BY x.indisprimary DESC, x.relname), '[]')
    FROM indexes x LEFT JOIN extended e ON e.short = x.indexrelid LEFT JOIN indexes l ON l.indexrelid = e.long
    WHERE x.indexrelid NOT IN (SELECT e.long FROM extended e)),
  'foreign_keys', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', k.conname, 'definition', pg_get_constraintdef(k.oid), 'comment', obj_description(k.oid, 'pg_constraint'),
      'loose', it.relkind = 'p' AND k.oid IN (SELECT l FROM eventkit.loose_foreign_keys(it.oid) l),
      'schema', fn.nspname, 'table', f.relname, 'validated', k.convalidated, 'enforced', coalesce(to_jsonb(k) ->> 'conenforced', 'true')::boolean,
      'lockable', has_table_privilege(f.oid, 'UPDATE') OR has_table_privilege(f.oid, 'DELETE') OR has_table_privilege(f.oid, 'TRUNCATE')) ORDER BY f.oid, k.conname), '[]')
    FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace WHERE k.conrelid = it.oid AND k.contype = 'f' AND k.conparentid = 0),
  'partitions', (SELECT coalesce(jsonb_agg(jsonb_build_array(pn.nspname, p.relname) ORDER BY p.oid), '[]')
    FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE it.relkind = 'p' AND i.inhparent = it.oid),
  'referencing', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', k.conname, 'definition', pg_get_constraintdef(k.oid), 'comment', obj_description(k.oid, 'pg_constraint'),
      'schema', k.nspname, 'table', k.relname, 'validated', k.convalidated, 'enforced', k.enforced,
      'at_once', k.relkind = 'p' AND current_setting('server_version_num')::int < 180000) ORDER BY k.conrelid, k.conname), '[]')
    FROM referencing k),
  'triggers', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', t.tgname, 'definition', pg_get_triggerdef(t.oid), 'comment', obj_description(t.oid, 'pg_trigger'),
      'enabled', CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS' END) ORDER BY t.tgname), '[]')
    FROM pg_trigger t WHERE t.tgrelid = it.oid AND NOT t.tgisinternal AND t.tgname NOT IN ('eventkit_capture', 'eventkit_truncate')),
  'views', (SELECT coalesce(jsonb_agg(jsonb_build_object('schema', v.nspname, 'name', v.relname, 'owner', pg_get_userbyid(v.relowner), 'definition', rtrim(pg_get_viewdef(v.oid), ';'),
      'options', coalesce(v.reloptions, '{}')) ORDER BY v.oid), '[]') FROM views v),
  'functions', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', f.oid::regprocedure::text, 'definition', pg_get_functiondef(f.oid)) ORDER BY f.oid), '[]') FROM functions f),
  'policies', (SELECT coalesce(jsonb_agg(jsonb_build_object('schema', p.nspname, 'table', p.relname, 'name', p.polname,
      'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid)) ORDER BY p.oid), '[]') FROM policies p),
  'policy_comments', (SELECT coalesce(jsonb_agg(jsonb_build_array(p.polname, d.description) ORDER BY p.polname), '[]')
    FROM pg_policy p JOIN pg_description d ON d.classoid = 'pg_policy'::regclass AND d.objoid = p.oid WHERE p.polrelid = it.oid),
  'sequences', (SELECT coalesce(jsonb_agg(jsonb_build_object('schema', sn.nspname, 'name', s.relname, 'column', a.attname,
      'identity', CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END,
      'options', format('START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s %s', q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END),
      'comment', obj_description(s.oid, 'pg_class'),
      'grants', (SELECT coalesce(jsonb_agg(jsonb_build_object('role', CASE WHEN g.grantee <> 0 THEN pg_get_userbyid(g.grantee) END, 'privilege', g.privilege_type, 'column', NULL, 'grantable', g.is_grantable)
          ORDER BY g.grantee, g.privilege_type), '[]') FROM aclexplode(s.relacl) g WHERE g.grantee <> s.relowner)) ORDER BY a.attnum), '[]')
    FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = s.oid JOIN pg_namespace sn ON sn.oid = s.relnamespace
    JOIN pg_attribute a ON a.attrelid = it.oid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = it.oid AND d.deptype IN ('a', 'i')),
  'statistics', (SELECT coalesce(jsonb_agg(jsonb_build_object('schema', en.nspname, 'name', e.stxname,
      'kinds', CASE WHEN 'e' = ALL (e.stxkind) THEN '[]' ELSE (SELECT jsonb_agg(CASE k.kind WHEN 'd' THEN 'ndistinct' WHEN 'f' THEN 'dependencies' ELSE 'mcv' END) FROM unnest(e.stxkind) k (kind) WHERE k.kind <> 'e') END,
      'columns', pg_get_statisticsobjdef_columns(e.oid), 'target', CASE WHEN e.stxstattarget >= 0 THEN e.stxstattarget END,
      'comment', obj_description(e.oid, 'pg_statistic_ext')) ORDER BY e.stxname), '[]')
    FROM pg_statistic_ext e JOIN pg_namespace en ON en.oid = e.stxnamespace WHERE e.stxrelid = it.oid)
)::text
FROM it
