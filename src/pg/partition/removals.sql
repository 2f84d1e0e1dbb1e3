-- What the captures of a source ($1) consist of, with one parent ($2) or with all, as JSON for core::partition::capture::Removal; those that no
-- backfill knows belong to each. Parent and source may be gone, the source with its triggers. Runs with search_path pg_catalog.
SELECT jsonb_agg(r.removal ORDER BY r.parent)::text
FROM (
SELECT b.parent, jsonb_build_object(
  'schema', coalesce(n.nspname, ''),
  'name', coalesce(c.relname, ''),
  'changes', jsonb_build_object(
    'schema', ln.nspname,
    'name', l.relname,
    'whole', false,
    'has_function', f.oid IS NOT NULL,
    'triggers', (SELECT coalesce(jsonb_agg(g.tgname ORDER BY g.tgname), '[]') FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgfoid = f.oid))) AS removal
FROM eventkit.backfills b
LEFT JOIN pg_class c ON c.oid = b.source LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class l ON l.oid = b.changes JOIN pg_namespace ln ON ln.oid = l.relnamespace
LEFT JOIN pg_proc f ON f.pronamespace = l.relnamespace AND f.proname = l.relname AND f.pronargs = 0 AND f.prorettype = 'trigger'::regtype
WHERE b.source = $1::oid AND ($2::oid IS NULL OR b.parent = $2::oid)
UNION ALL
SELECT NULL, jsonb_build_object(
  'schema', n.nspname,
  'name', c.relname,
  'changes', jsonb_build_object('schema', s.schema, 'name', s.name, 'whole', false, 'has_function', true, 'has_table', s.has_table, 'triggers', to_jsonb(s.triggers)))
FROM eventkit.stray_captures($1) s JOIN pg_class c ON c.oid = s.source JOIN pg_namespace n ON n.oid = c.relnamespace) r
