-- The archive hook: the procedure that gets an expired partition before it goes. It is kept by its name, so that one that is made
-- anew counts, a dump can be restored, and a server be upgraded, which columns of type regprocedure would forbid.

CREATE FUNCTION eventkit.archive_trouble(parent regclass, archive text) RETURNS text
STABLE PARALLEL RESTRICTED COST 100 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN $2 IS NULL THEN NULL
    WHEN p.oid IS NULL THEN 'does not exist'
    WHEN p.pronargs <> 1 OR p.proargtypes[0] <> 'regclass'::regtype OR p.prokind NOT IN ('p', 'f') THEN 'does not take one argument of type regclass'
    WHEN NOT has_function_privilege(c.relowner, p.oid, 'EXECUTE') OR NOT has_schema_privilege(c.relowner, p.pronamespace, 'USAGE')
      THEN format('may not be executed by %I, the owner of %s', pg_get_userbyid(c.relowner), $1) END
  FROM (SELECT) one LEFT JOIN pg_proc p ON p.oid = CASE WHEN $2 ~ '^[^(]+[(].*[)]$' THEN to_regprocedure($2) END LEFT JOIN pg_class c ON c.oid = $1
$$;

COMMENT ON FUNCTION eventkit.archive_trouble(regclass, text) IS
'Tells why an archive procedure cannot be called for partitions of a parent; NULL when it can. SELECT eventkit.archive_trouble(''app.events'', ''app.archive(regclass)'')';

CREATE FUNCTION eventkit.check_archive(parent regclass, archive_with regprocedure) RETURNS text
STABLE PARALLEL RESTRICTED COST 100 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- With the schema, since that of the caller's is in this function's path no more.
  archive CONSTANT text := archive_with::text;
  trouble CONSTANT text := eventkit.archive_trouble(parent, archive);
BEGIN
  IF trouble IS NOT NULL THEN
    RAISE EXCEPTION USING
      ERRCODE = CASE WHEN trouble ~ '^may not' THEN 'insufficient_privilege' WHEN trouble = 'does not exist' THEN 'undefined_function' ELSE 'invalid_parameter_value' END,
      MESSAGE = format('argument "archive_with": %s %s', archive, trouble),
      DETAIL = 'It is called with a partition, as a regclass, by the owner of the parent, before the partition goes.',
      HINT = CASE WHEN trouble ~ '^may not' THEN format('GRANT EXECUTE ON ROUTINE %s TO the owner, and USAGE on its schema.', archive)
        ELSE 'Make one with: CREATE PROCEDURE app.archive(partition regclass) …, and name it with its argument: archive_with => ''app.archive(regclass)''.' END;
  END IF;
  RETURN archive;
END
$$;

COMMENT ON FUNCTION eventkit.check_archive(regclass, regprocedure) IS
'Checks the argument archive_with of manage_partitions and writes its name down with schema and argument. SELECT eventkit.check_archive(''app.events'', ''app.archive(regclass)'')';

CREATE FUNCTION eventkit.call_archive(archive text, partition regclass, caller_search_path text) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  trouble CONSTANT text := eventkit.archive_trouble(NULL, archive);
  statement text;
BEGIN
  IF trouble IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_function',
      MESSAGE = format('archive procedure %s %s', archive, trouble),
      DETAIL = 'It takes one argument, a regclass.',
      HINT = 'Make one with: CREATE PROCEDURE app.archive(partition regclass) …, and name it with its argument: app.archive(regclass).';
  END IF;
  SELECT format('%s %I.%I(%L::pg_catalog.regclass)', CASE p.prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END, n.nspname, p.proname,
      -- Word for word as it is planned.
      format('"%s"."%s"', replace(cn.nspname, '"', '""'), replace(c.relname, '"', '""')))
    INTO statement
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, pg_class c JOIN pg_namespace cn ON cn.oid = c.relnamespace
    WHERE p.oid = to_regprocedure(archive) AND c.oid = partition;
  PERFORM pg_catalog.set_config('search_path', caller_search_path, true);
  EXECUTE statement;
END
$$;

COMMENT ON FUNCTION eventkit.call_archive(text, regclass, text) IS
'Calls the archive hook for a partition. SELECT eventkit.call_archive(''app.archive(regclass)'', ''app.events_20240101'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.archive_of(parent regclass, archive regprocedure DEFAULT NULL) RETURNS text
STABLE PARALLEL RESTRICTED COST 100 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce($2::text, (SELECT s.archive FROM eventkit.partition_settings s WHERE s.parent = $1)) $$;

COMMENT ON FUNCTION eventkit.archive_of(regclass, regprocedure) IS
'Tells the archive procedure of a parent: the one given, or that of its settings. SELECT eventkit.archive_of(''app.events'')';
