-- The aggregates over the events of many users, and over summaries of them.

CREATE AGGREGATE funnel_agg(events hstore[], steps text[], conversion_window interval) (
    SFUNC = funnel_agg_add,
    STYPE = funnel_summary,
    FINALFUNC = funnel_summary_finish,
    COMBINEFUNC = funnel_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_agg(events hstore[], definition jsonb) (
    SFUNC = funnel_agg_add,
    STYPE = funnel_summary,
    FINALFUNC = funnel_summary_finish,
    COMBINEFUNC = funnel_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_agg(events jsonb[], steps text[], conversion_window interval) (
    SFUNC = funnel_agg_add,
    STYPE = funnel_summary,
    FINALFUNC = funnel_summary_finish,
    COMBINEFUNC = funnel_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_agg(events jsonb[], definition jsonb) (
    SFUNC = funnel_agg_add,
    STYPE = funnel_summary,
    FINALFUNC = funnel_summary_finish,
    COMBINEFUNC = funnel_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_agg(events jsonb, steps text[], conversion_window interval) (
    SFUNC = funnel_agg_add,
    STYPE = funnel_summary,
    FINALFUNC = funnel_summary_finish,
    COMBINEFUNC = funnel_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_agg(events jsonb, definition jsonb) (
    SFUNC = funnel_agg_add,
    STYPE = funnel_summary,
    FINALFUNC = funnel_summary_finish,
    COMBINEFUNC = funnel_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_agg(events event_chunks, steps text[], conversion_window interval) (
    SFUNC = funnel_agg_add,
    STYPE = funnel_summary,
    FINALFUNC = funnel_summary_finish,
    COMBINEFUNC = funnel_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_agg(events event_chunks, definition jsonb) (
    SFUNC = funnel_agg_add,
    STYPE = funnel_summary,
    FINALFUNC = funnel_summary_finish,
    COMBINEFUNC = funnel_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE rollup(summary funnel_summary) (
    SFUNC = funnel_summary_combine,
    STYPE = funnel_summary,
    FINALFUNC = funnel_summary_finish,
    COMBINEFUNC = funnel_summary_combine,
    PARALLEL = SAFE
);
