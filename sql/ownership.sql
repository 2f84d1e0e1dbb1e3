-- Who owns a table: what policies ask, and what procedures ask before anything happens.

CREATE FUNCTION eventkit.owns_table("table" regclass) RETURNS boolean
STABLE PARALLEL SAFE COST 10 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT pg_has_role(c.relowner, 'USAGE') FROM pg_class c WHERE c.oid = $1 $$;

COMMENT ON FUNCTION eventkit.owns_table(regclass) IS
'Tells whether the current role has the rights of a table''s owner; NULL when it is gone. SELECT eventkit.owns_table(''app.events'')';

CREATE FUNCTION eventkit.check_owner("table" regclass, argument text) RETURNS void
STABLE PARALLEL SAFE COST 10 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner name;
BEGIN
  IF NOT eventkit.owns_table("table") THEN
    SELECT pg_get_userbyid(c.relowner) INTO owner FROM pg_class c WHERE c.oid = "table";
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = format('argument "%s": must be owner of %s', argument, "table"),
      DETAIL = format('The current role is %I, the owner is %I.', current_user, owner),
      HINT = format('Become the owner first: SET ROLE %I.', owner);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.check_owner(regclass, text) IS
'Raises an error that names the argument when the current role has not the rights of a table''s owner; a table that is gone is nobody''s. SELECT eventkit.check_owner(''app.events'', ''parent'')';
