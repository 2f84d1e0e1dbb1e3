-- The aggregates that look for a sequence of rows: whether it is there, how often, and when.

-- For 1 to 8 conditions they follow the time as arguments, which the server prefers to VARIADIC: it builds an array for
-- each row there, which costs as much as all the rest of the aggregate.
DO $forms$
DECLARE
    form record;
    conditions text;
BEGIN
    FOR many IN 0..8 LOOP
        IF many = 0 THEN
            conditions := ', VARIADIC conditions bool[]';
        ELSE
            SELECT pg_catalog.string_agg(', condition_' || at || ' bool', '' ORDER BY at) INTO conditions
            FROM pg_catalog.generate_series(1, many) AS at;
            EXECUTE pg_catalog.format(
                'CREATE FUNCTION sequence_add(state bytea, pattern text, "time" timestamptz%s) RETURNS bytea
                     LANGUAGE c IMMUTABLE PARALLEL SAFE COST 2 AS %L, %L',
                conditions, 'MODULE_PATHNAME', 'sequence_add_separate_wrapper');
        END IF;
        FOR form IN
            SELECT name, final
            FROM (VALUES ('sequence_match', 'sequence_match_finish'), ('sequence_count', 'sequence_count_finish'),
                         ('sequence_events', 'sequence_events_finish')) AS forms (name, final)
        LOOP
            EXECUTE pg_catalog.format(
                'CREATE AGGREGATE %I(pattern text, "time" timestamptz%s) (
                     SFUNC = sequence_add, STYPE = bytea, SSPACE = 256, FINALFUNC = %I,
                     COMBINEFUNC = sequence_combine, PARALLEL = SAFE)',
                form.name, conditions, form.final);
        END LOOP;
    END LOOP;
END
$forms$;
