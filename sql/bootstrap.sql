-- What has to be true before the first object is made. The script runs with the rights of a superuser and resolves names
-- in the schema it fills: objects that somebody put there before would be taken for the server's or for ours.
DO $bootstrap$
DECLARE
    home pg_catalog.oid := pg_catalog.to_regnamespace('eventkit');
    stranger pg_catalog.text;
BEGIN
    IF pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = pg_catalog.format('pg_eventkit needs a database in UTF8, not in %s', pg_catalog.current_setting('server_encoding')),
            DETAIL = 'Event names and properties are compared as UTF-8.',
            HINT = 'CREATE DATABASE events ENCODING ''UTF8'' TEMPLATE template0;';
    END IF;
    SELECT pg_catalog.pg_describe_object(o.class, o.object, 0) INTO stranger FROM (
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass AS class, oid AS object FROM pg_catalog.pg_proc WHERE pronamespace OPERATOR(pg_catalog.=) home
        UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid FROM pg_catalog.pg_type WHERE typnamespace OPERATOR(pg_catalog.=) home
        UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid FROM pg_catalog.pg_class WHERE relnamespace OPERATOR(pg_catalog.=) home
        UNION ALL SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid FROM pg_catalog.pg_operator WHERE oprnamespace OPERATOR(pg_catalog.=) home
    ) o LIMIT 1;
    IF stranger IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object',
            MESSAGE = 'schema "eventkit" is not empty',
            DETAIL = pg_catalog.format('It holds %s.', stranger),
            HINT = 'Look at it with \dn+ eventkit and \df eventkit.*, drop the schema, and create the extension again.';
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
        WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
          AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
          AND d.objid OPERATOR(pg_catalog.=) pg_catalog.to_regtype('hstore')
          AND d.deptype OPERATOR(pg_catalog.=) 'e' AND e.extname OPERATOR(pg_catalog.=) 'hstore'
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_object',
            MESSAGE = 'the type "hstore" is not that of the extension hstore',
            DETAIL = 'Another type of this name stands before it.',
            HINT = 'Rename the other type, or CREATE EXTENSION hstore SCHEMA public, and create the extension again.';
    END IF;
END
$bootstrap$;
