-- sessionize over plain rows: a window function, so that each row costs the same and a frame does not matter.

CREATE FUNCTION sessionize("time" timestamptz, gap interval) RETURNS bigint
    LANGUAGE c WINDOW IMMUTABLE PARALLEL SAFE COST 2 AS 'MODULE_PATHNAME', 'session_number_wrapper';
