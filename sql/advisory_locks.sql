-- Advisory locks: the keys of all of them, and those that a session keeps through the COMMITs of a procedure.

CREATE FUNCTION eventkit.advisory_lock_key(what text) RETURNS bigint
IMMUTABLE STRICT PARALLEL SAFE COST 5 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT hashtextextended('eventkit.' || what, 0) $$;

COMMENT ON FUNCTION eventkit.advisory_lock_key(text) IS
'Tells the key of the advisory lock under which one session at a time does something. SELECT eventkit.advisory_lock_key(''maintain'')';

CREATE FUNCTION eventkit.holds_session_lock(holder int, key bigint) RETURNS boolean
VOLATILE PARALLEL UNSAFE LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (
    SELECT FROM pg_locks l
    WHERE l.locktype = 'advisory' AND ($1 IS NULL OR l.pid = $1) AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND l.classid = (($2 >> 32) & 4294967295)::oid AND l.objid = ($2 & 4294967295)::oid)
$$;

COMMENT ON FUNCTION eventkit.holds_session_lock(int, bigint) IS
'Tells whether a process (NULL: any) holds the advisory lock of a key. SELECT eventkit.holds_session_lock(pg_backend_pid(), eventkit.advisory_lock_key(''maintain''))';

CREATE FUNCTION eventkit.release_session_lock(what text) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key CONSTANT bigint := eventkit.advisory_lock_key(what);
BEGIN
  -- Only a lock of this session's own is given back: the server warns about any other.
  WHILE eventkit.holds_session_lock(pg_backend_pid(), key) LOOP
    EXIT WHEN NOT pg_advisory_unlock(key);
  END LOOP;
  PERFORM eventkit.remember_session_lock(key, false);
END
$$;

COMMENT ON FUNCTION eventkit.release_session_lock(text) IS
'Releases a lock of take_session_lock, if this session holds it. SELECT eventkit.release_session_lock(''maintain'')';

CREATE FUNCTION eventkit.take_session_lock(what text) RETURNS boolean
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key CONSTANT bigint := eventkit.advisory_lock_key(what);
BEGIN
  IF eventkit.in_transaction_block() THEN
    RETURN pg_try_advisory_xact_lock(key);
  END IF;
  -- What an interrupted call of this very session left is taken over.
  PERFORM eventkit.release_session_lock(what);
  IF NOT pg_try_advisory_lock(key) THEN
    RETURN false;
  END IF;
  -- An error or a cancel ends the procedure, wherever it is, and gives the lock back.
  PERFORM eventkit.remember_session_lock(key, true);
  RETURN true;
END
$$;

COMMENT ON FUNCTION eventkit.take_session_lock(text) IS
'Takes a lock that lives through COMMITs, inside of a transaction block until its end; false when another session has it. SELECT eventkit.take_session_lock(''maintain'')';

CREATE FUNCTION eventkit.backfill_lock(source regclass, parent regclass) RETURNS text
IMMUTABLE STRICT PARALLEL SAFE COST 5 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('backfill %s %s', source::oid, parent::oid) $$;

COMMENT ON FUNCTION eventkit.backfill_lock(regclass, regclass) IS
'Names the session-level lock of a pair of tables. SELECT eventkit.advisory_lock_key(eventkit.backfill_lock(''public.events'', ''app.events''))';

CREATE FUNCTION eventkit.partition_lock_key(parent regclass, period timestamp) RETURNS bigint
IMMUTABLE STRICT PARALLEL SAFE COST 5 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT eventkit.advisory_lock_key(format('partition %s %s', $1::oid, encode(timestamp_send($2), 'hex'))) $$;

COMMENT ON FUNCTION eventkit.partition_lock_key(regclass, timestamp) IS
'Tells the key of the advisory lock under which the partition of a period is made, a transaction long. SELECT eventkit.partition_lock_key(''app.events'', ''2024-01-01'')';

CREATE FUNCTION eventkit.lock_period(parent regclass, period timestamp, lock_timeout interval, exclusive boolean DEFAULT false) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting($3), true);
  -- It comes before any table is read: who holds a table and waits here would stop its holder. Who makes a partition reads the
  -- parent, and who moves rows between partitions locks it against readers: the two would wait for each other.
  PERFORM eventkit.execute_with_retries(ARRAY[format('SELECT pg_advisory_xact_lock%s(%s)',
    CASE WHEN NOT exclusive THEN '_shared' END, eventkit.advisory_lock_key(format('partitions %s', parent::oid)))]);
  IF period IS NOT NULL THEN
    PERFORM eventkit.execute_with_retries(ARRAY[format('SELECT pg_advisory_xact_lock(%s)', eventkit.partition_lock_key(parent, period))]);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.lock_period(regclass, timestamp, interval, boolean) IS
'Waits for others who make the partition of a period, and keeps them away until the transaction ends; NULL names no period, exclusive => true keeps away all who make partitions of the parent. SELECT eventkit.lock_period(''app.events'', ''2024-01-01'', ''2 seconds'')';
