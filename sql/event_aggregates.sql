-- The aggregates over events.

CREATE AGGREGATE event_array_agg(event hstore) (
    SFUNC = event_array_agg_add,
    STYPE = bytea,
    SSPACE = 4096,
    FINALFUNC = event_array_agg_finish_hstore,
    COMBINEFUNC = event_array_agg_combine_hstore,
    PARALLEL = SAFE
);

CREATE AGGREGATE event_array_agg(event hstore, id_key text, time_key text) (
    SFUNC = event_array_agg_add,
    STYPE = bytea,
    SSPACE = 4096,
    FINALFUNC = event_array_agg_finish_hstore,
    COMBINEFUNC = event_array_agg_combine_hstore,
    PARALLEL = SAFE
);

CREATE AGGREGATE event_array_agg(events hstore[]) (
    SFUNC = event_array_agg_add,
    STYPE = bytea,
    SSPACE = 4096,
    FINALFUNC = event_array_agg_finish_hstore,
    COMBINEFUNC = event_array_agg_combine_hstore,
    PARALLEL = SAFE
);

CREATE AGGREGATE event_array_agg(events hstore[], id_key text, time_key text) (
    SFUNC = event_array_agg_add,
    STYPE = bytea,
    SSPACE = 4096,
    FINALFUNC = event_array_agg_finish_hstore,
    COMBINEFUNC = event_array_agg_combine_hstore,
    PARALLEL = SAFE
);

CREATE AGGREGATE event_array_agg(event jsonb) (
    SFUNC = event_array_agg_add,
    STYPE = bytea,
    SSPACE = 4096,
    FINALFUNC = event_array_agg_finish_jsonb,
    COMBINEFUNC = event_array_agg_combine_jsonb,
    PARALLEL = SAFE
);

CREATE AGGREGATE event_array_agg(event jsonb, id_key text, time_key text) (
    SFUNC = event_array_agg_add,
    STYPE = bytea,
    SSPACE = 4096,
    FINALFUNC = event_array_agg_finish_jsonb,
    COMBINEFUNC = event_array_agg_combine_jsonb,
    PARALLEL = SAFE
);

CREATE AGGREGATE event_array_agg(events jsonb[]) (
    SFUNC = event_array_agg_add,
    STYPE = bytea,
    SSPACE = 4096,
    FINALFUNC = event_array_agg_finish_jsonb,
    COMBINEFUNC = event_array_agg_combine_jsonb,
    PARALLEL = SAFE
);

CREATE AGGREGATE event_array_agg(events jsonb[], id_key text, time_key text) (
    SFUNC = event_array_agg_add,
    STYPE = bytea,
    SSPACE = 4096,
    FINALFUNC = event_array_agg_finish_jsonb,
    COMBINEFUNC = event_array_agg_combine_jsonb,
    PARALLEL = SAFE
);
