-- The aggregates of paths of many users, and of summaries of them.

CREATE AGGREGATE paths_agg(events hstore[]) (
    SFUNC = paths_agg_add,
    STYPE = paths_summary,
    FINALFUNC = paths_summary_finish,
    COMBINEFUNC = paths_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE paths_agg(events hstore[], definition jsonb) (
    SFUNC = paths_agg_add,
    STYPE = paths_summary,
    FINALFUNC = paths_summary_finish,
    COMBINEFUNC = paths_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE paths_agg(events jsonb[]) (
    SFUNC = paths_agg_add,
    STYPE = paths_summary,
    FINALFUNC = paths_summary_finish,
    COMBINEFUNC = paths_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE paths_agg(events jsonb[], definition jsonb) (
    SFUNC = paths_agg_add,
    STYPE = paths_summary,
    FINALFUNC = paths_summary_finish,
    COMBINEFUNC = paths_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE paths_agg(events jsonb) (
    SFUNC = paths_agg_add,
    STYPE = paths_summary,
    FINALFUNC = paths_summary_finish,
    COMBINEFUNC = paths_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE paths_agg(events jsonb, definition jsonb) (
    SFUNC = paths_agg_add,
    STYPE = paths_summary,
    FINALFUNC = paths_summary_finish,
    COMBINEFUNC = paths_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE rollup(summary paths_summary) (
    SFUNC = paths_summary_combine,
    STYPE = paths_summary,
    FINALFUNC = paths_summary_finish,
    COMBINEFUNC = paths_summary_combine,
    PARALLEL = SAFE
);
