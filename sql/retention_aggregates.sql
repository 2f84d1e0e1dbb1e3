-- The aggregates of retention over many users, and over summaries of them.

CREATE AGGREGATE retention_agg(events hstore[], first_event text, return_event text, period interval) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE retention_agg(events hstore[], first_event text, return_event text, period interval, time_zone text) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE retention_agg(events hstore[], definition jsonb) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE retention_agg(events jsonb[], first_event text, return_event text, period interval) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE retention_agg(events jsonb[], first_event text, return_event text, period interval, time_zone text) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE retention_agg(events jsonb[], definition jsonb) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE retention_agg(events jsonb, first_event text, return_event text, period interval) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE retention_agg(events jsonb, first_event text, return_event text, period interval, time_zone text) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE retention_agg(events jsonb, definition jsonb) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE retention_agg(first_time timestamptz, return_times timestamptz[], period interval) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE retention_agg(first_time timestamptz, return_times timestamptz[], period interval, time_zone text) (
    SFUNC = retention_agg_add,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE rollup(summary retention_summary) (
    SFUNC = retention_summary_combine,
    STYPE = retention_summary,
    FINALFUNC = retention_summary_finish,
    COMBINEFUNC = retention_summary_combine,
    PARALLEL = SAFE
);
