-- What a backfill writes that publications send, said before it happens. The functions run as the invoker, as in partition_plan.sql.

CREATE FUNCTION eventkit.warn_sent_changes(changes regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  published record;
  "table" text;
BEGIN
  SELECT format('CREATE TABLE %I.%I (%s)', n.nspname, c.relname, (
      SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
      FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
    INTO "table" FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = changes;
  FOR published IN
    SELECT p.pubname AS name, p.puballtables AS of_all
    FROM pg_publication p JOIN pg_class c ON c.oid = changes
    WHERE (p.pubinsert OR p.pubdelete) AND (p.puballtables
      OR EXISTS (SELECT FROM pg_publication_namespace r WHERE r.pnpubid = p.oid AND r.pnnspid = c.relnamespace))
    ORDER BY p.pubname
  LOOP
    RAISE WARNING USING
      MESSAGE = format('publication %I sends what is noted in %s', published.name, changes),
      DETAIL = 'A subscriber without such a table stops at the first change of the source, keeps the server''s log from being removed, and goes on when it has one. Nothing is lost.'
        || CASE WHEN published.of_all THEN ' So it is with the tables of pg_eventkit itself.' ELSE '' END,
      HINT = format('Say at each subscriber: %s; it may be dropped there after finish_backfill.', "table")
        || CASE WHEN published.of_all THEN ' Where pg_eventkit is not installed: CREATE EXTENSION pg_eventkit CASCADE.' ELSE '' END
        || ' Or publish the tables by their names.';
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.warn_sent_changes(regclass) IS
'Warns when a publication of all tables, or of a schema, sends what is noted in a table of changes, and says what subscribers need. SELECT eventkit.warn_sent_changes(''app.events_changes'')';

CREATE FUNCTION eventkit.warn_sent_partitions(parent regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  published record;
BEGIN
  FOR published IN
    SELECT p.pubname AS name
    FROM pg_publication p JOIN pg_class c ON c.oid = $1
    WHERE p.pubinsert AND NOT p.pubviaroot AND (p.puballtables
      OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid)
      OR EXISTS (SELECT FROM pg_publication_namespace r WHERE r.pnpubid = p.oid AND r.pnnspid = c.relnamespace))
    ORDER BY p.pubname
  LOOP
    RAISE WARNING USING
      MESSAGE = format('publication %I sends rows of partitions of %s under the names of the partitions', published.name, parent),
      DETAIL = 'A subscriber without a table of such a name stops at the first row, keeps the server''s log from being removed, and goes on when it has one. Nothing is lost.',
      HINT = format('Make the partitions at each subscriber too, then there: ALTER SUBSCRIPTION … REFRESH PUBLICATION. Or have all sent as rows of the parent: ALTER PUBLICATION %I SET (publish_via_partition_root = true).', published.name);
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.warn_sent_partitions(regclass) IS
'Warns when a publication sends rows of a parent under the names of its partitions, which subscribers need then. SELECT eventkit.warn_sent_partitions(''app.events'')';
