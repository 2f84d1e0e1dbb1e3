-- The aggregates that gather a user's event arrays, one a day for example, as they are.

CREATE AGGREGATE event_chunks(events hstore[]) (
    SFUNC = event_chunks_add,
    STYPE = event_chunks,
    SSPACE = 4096,
    FINALFUNC = event_chunks_finish,
    COMBINEFUNC = event_chunks_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE event_chunks(events jsonb[]) (
    SFUNC = event_chunks_add,
    STYPE = event_chunks,
    SSPACE = 4096,
    FINALFUNC = event_chunks_finish,
    COMBINEFUNC = event_chunks_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE event_chunks(events jsonb) (
    SFUNC = event_chunks_add,
    STYPE = event_chunks,
    SSPACE = 4096,
    FINALFUNC = event_chunks_finish,
    COMBINEFUNC = event_chunks_combine,
    PARALLEL = SAFE
);
