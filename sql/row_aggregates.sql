-- The aggregates over plain rows.

CREATE AGGREGATE window_funnel(conversion_window interval, "time" timestamptz, VARIADIC conditions bool[]) (
    SFUNC = window_funnel_add,
    STYPE = bytea,
    SSPACE = 256,
    FINALFUNC = window_funnel_finish,
    COMBINEFUNC = window_funnel_combine,
    PARALLEL = SAFE
);

-- The mode stands before the time: no time is ever taken for a mode and no mode for a time, so a call fits one form only.
CREATE AGGREGATE window_funnel(conversion_window interval, mode text, "time" timestamptz, VARIADIC conditions bool[]) (
    SFUNC = window_funnel_add,
    STYPE = bytea,
    SSPACE = 256,
    FINALFUNC = window_funnel_finish,
    COMBINEFUNC = window_funnel_combine,
    PARALLEL = SAFE
);

-- Both once more for 1 to 8 conditions, which the server prefers to VARIADIC: it builds an array for each row there,
-- which costs as much as all the rest of the aggregate.
DO $separate$
DECLARE
    form record;
    conditions text;
BEGIN
    FOR form IN
        SELECT many, symbol, first_arguments
        FROM pg_catalog.generate_series(1, 8) AS many,
            (VALUES ('window_funnel_add_row', 'conversion_window interval, "time" timestamptz'),
                    ('window_funnel_add_mode_row', 'conversion_window interval, mode text, "time" timestamptz')) AS forms (symbol, first_arguments)
    LOOP
        SELECT pg_catalog.string_agg(', condition_' || at || ' bool', '' ORDER BY at) INTO conditions
        FROM pg_catalog.generate_series(1, form.many) AS at;
        EXECUTE pg_catalog.format(
            'CREATE FUNCTION window_funnel_add(state bytea, %s%s) RETURNS bytea
                 LANGUAGE c IMMUTABLE PARALLEL SAFE COST 2 AS %L, %L',
            form.first_arguments, conditions, 'MODULE_PATHNAME', form.symbol);
        EXECUTE pg_catalog.format(
            'CREATE AGGREGATE window_funnel(%s%s) (
                 SFUNC = window_funnel_add, STYPE = bytea, SSPACE = 256, FINALFUNC = window_funnel_finish,
                 COMBINEFUNC = window_funnel_combine, PARALLEL = SAFE)',
            form.first_arguments, conditions);
    END LOOP;
END
$separate$;

CREATE AGGREGATE retention(VARIADIC conditions bool[]) (
    SFUNC = retention_add,
    STYPE = bigint,
    FINALFUNC = retention_finish,
    COMBINEFUNC = retention_combine,
    PARALLEL = SAFE
);
