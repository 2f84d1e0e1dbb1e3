-- The aggregates of a funnel by period of entry, over many users and over trends.

CREATE AGGREGATE funnel_trend_agg(events hstore[], steps text[], conversion_window interval, period interval) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events hstore[], steps text[], conversion_window interval, period interval, time_zone text) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events hstore[], definition jsonb, period interval) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events hstore[], definition jsonb, period interval, time_zone text) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events jsonb[], steps text[], conversion_window interval, period interval) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events jsonb[], steps text[], conversion_window interval, period interval, time_zone text) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events jsonb[], definition jsonb, period interval) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events jsonb[], definition jsonb, period interval, time_zone text) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events jsonb, steps text[], conversion_window interval, period interval) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events jsonb, steps text[], conversion_window interval, period interval, time_zone text) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events jsonb, definition jsonb, period interval) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE funnel_trend_agg(events jsonb, definition jsonb, period interval, time_zone text) (
    SFUNC = funnel_trend_agg_add,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);

CREATE AGGREGATE rollup(trend funnel_trend) (
    SFUNC = funnel_trend_combine,
    STYPE = funnel_trend,
    FINALFUNC = funnel_trend_finish,
    COMBINEFUNC = funnel_trend_combine,
    PARALLEL = SAFE
);
