-- Policies and rights of a table ($1), as the JSON that core::partition::snapshot reads: the beginning of parent.sql and child.sql.
WITH rights AS (SELECT jsonb_build_object(
  'policies', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', p.polname,
      'command', CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
      'permissive', p.polpermissive,
      'roles', (SELECT jsonb_agg(CASE WHEN r.role <> 0 THEN pg_get_userbyid(r.role) END ORDER BY r.place) FROM unnest(p.polroles) WITH ORDINALITY r (role, place)),
      'using', pg_get_expr(p.polqual, p.polrelid),
      'check', pg_get_expr(p.polwithcheck, p.polrelid),
      'correlated', concat(p.polqual::text, p.polwithcheck::text) ~ ':varlevelsup [1-9]',
      'comment', obj_description(p.oid, 'pg_policy')) ORDER BY p.polname), '[]')
    FROM pg_policy p WHERE p.polrelid = c.oid),
  'grants', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'role', CASE WHEN g.grantee <> 0 THEN pg_get_userbyid(g.grantee) END,
      'privilege', g.privilege_type,
      'column', g.attname,
      'grantable', g.is_grantable) ORDER BY g.attnum, g.grantee, g.privilege_type), '[]')
    FROM (
      SELECT t.grantee, t.privilege_type, bool_or(t.is_grantable) AS is_grantable, NULL::name AS attname, 0 AS attnum
      FROM aclexplode(c.relacl) t GROUP BY t.grantee, t.privilege_type
      UNION ALL
      SELECT t.grantee, t.privilege_type, bool_or(t.is_grantable), a.attname, a.attnum
      FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) t
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      GROUP BY t.grantee, t.privilege_type, a.attname, a.attnum) g
    WHERE g.grantee <> c.relowner)) AS facts
FROM pg_class c WHERE c.oid = $1)
