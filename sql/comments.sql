-- What \df+ shows: for each function a sentence that starts with a verb, and one call. Overloads share theirs.

GRANT USAGE ON SCHEMA eventkit TO PUBLIC;
COMMENT ON SCHEMA eventkit IS 'The functions, procedures, views and tables of the extension pg_eventkit.';

-- What serves an aggregate gets its state as bytes, grows it in place and trusts it: only the aggregate may pass it. The server asks
-- for the right of the aggregate's owner, not of who calls the aggregate.
DO $serving$
DECLARE
    serving regprocedure;
BEGIN
    FOR serving IN
        SELECT DISTINCT f.oid::pg_catalog.regprocedure
        FROM pg_catalog.pg_aggregate AS a
        JOIN pg_catalog.pg_proc AS p ON p.oid = a.aggfnoid AND p.pronamespace = 'eventkit'::pg_catalog.regnamespace
        JOIN pg_catalog.pg_proc AS f ON f.oid IN (a.aggtransfn, a.aggcombinefn, a.aggfinalfn, a.aggserialfn, a.aggdeserialfn)
        WHERE f.pronamespace = 'eventkit'::pg_catalog.regnamespace
    LOOP
        EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', serving);
    END LOOP;
END
$serving$;

DO $comments$
DECLARE
    described record;
    routine record;
    found bool;
BEGIN
    FOR described IN
        SELECT * FROM (VALUES
        ('dedupe_events', $$Keeps one event of each id, whole and in place: the last copy unless keep => 'first'. One pass. SELECT eventkit.dedupe_events(events, id_key => 'event_id', place => 'first') FROM user_events;$$),
        ('append_events', $$Adds new events to stored ones: concatenates, keeps one event of each id, and puts all in order of time. Idempotent. SELECT eventkit.append_events(events, '[{"event_id": 7, "time": "2024-01-31T12:00:00Z"}]') FROM user_events;$$),
        ('sort_events', $$Puts events in order of time, those of equal time as they stood, those without a time last. SELECT eventkit.sort_events(events) FROM user_events;$$),
        ('slice_events', $$Keeps the events from from_time on and before to_time; NULL leaves a side open, events without a time are left out. SELECT eventkit.slice_events(events, '2024-01-01', '2024-02-01') FROM user_events;$$),
        ('filter_events', $$Keeps the events that have all properties of the pattern, as the operator @> decides. SELECT eventkit.filter_events(events, '{"event": "purchase"}') FROM user_events;$$),
        ('count_events', $$Counts the events that have all properties of the pattern, or all events without one. SELECT eventkit.count_events(events, '{"event": "purchase"}') FROM user_events;$$),
        ('event_array_agg', $$Gathers events, or arrays of them, into one array: one event of each id (the last one fed in), in order of time. NULLs are left out. SELECT user_id, eventkit.event_array_agg(event) FROM raw_events GROUP BY user_id;$$),
        ('event_array_agg_add', $$Serves the aggregate event_array_agg as its transition function. SELECT eventkit.event_array_agg(event) FROM raw_events;$$),
        ('event_array_agg_combine_hstore', $$Serves the aggregate event_array_agg as its combine function. SELECT eventkit.event_array_agg(event) FROM raw_events;$$),
        ('event_array_agg_combine_jsonb', $$Serves the aggregate event_array_agg as its combine function. SELECT eventkit.event_array_agg(event) FROM raw_events;$$),
        ('event_array_agg_finish_hstore', $$Serves the aggregate event_array_agg as its final function. SELECT eventkit.event_array_agg(event) FROM raw_events;$$),
        ('event_array_agg_finish_jsonb', $$Serves the aggregate event_array_agg as its final function. SELECT eventkit.event_array_agg(event) FROM raw_events;$$),
        ('event_chunks', $$Gathers a user's event arrays, one a day for example, into one value for the functions over a user: as they are stored, compressed ones still compressed, no event read or copied. ORDER BY day inside spares a sort of the events. Where ids are looked at (id_key in a definition), the copy in the chunk gathered last counts. NULLs are left out. SELECT user_id, eventkit.funnel_level(eventkit.event_chunks(events ORDER BY day), ARRAY['view', 'pay'], '1 day') FROM user_days GROUP BY user_id;$$),
        ('event_chunks_add', $$Serves the aggregate event_chunks as its transition function. SELECT eventkit.event_chunks(events) FROM user_days;$$),
        ('event_chunks_combine', $$Serves the aggregate event_chunks as its combine function. SELECT eventkit.event_chunks(events) FROM user_days;$$),
        ('event_chunks_finish', $$Serves the aggregate event_chunks as its final function. SELECT eventkit.event_chunks(events) FROM user_days;$$),
        ('event_chunks_in', $$Reads the text form of event_chunks, a JSON array of arrays of events, as a cast does. SELECT '[[{"event": "view", "time": 1}], [{"event": "pay", "time": 2}]]'::eventkit.event_chunks;$$),
        ('event_chunks_out', $$Writes the text form of event_chunks, a JSON array of arrays of events. SELECT eventkit.event_chunks(events)::text FROM user_days;$$),
        ('event_chunks_recv', $$Serves COPY and drivers: reads the binary form of event_chunks, a version byte and the text form. SELECT eventkit.event_chunks(events) FROM user_days;$$),
        ('event_chunks_send', $$Serves COPY and drivers: writes the binary form of event_chunks, a version byte and the text form. SELECT eventkit.event_chunks_send(eventkit.event_chunks(events)) FROM user_days;$$),
        ('funnel_level', $$Tells how many steps of a funnel one user's events reach, in order and within the window of the first. SELECT eventkit.funnel_level(events, ARRAY['view', 'cart', 'pay'], '6 hours') FROM user_events;$$),
        ('funnel_times', $$Tells when one user matched each step, in the best attempt (the one completed first, of those the one that began last); NULL for an optional step left out. SELECT eventkit.funnel_times(events, ARRAY['view', 'cart', 'pay'], '6 hours') FROM user_events;$$),
        ('funnel_property', $$Tells a property of an event that the best attempt of one user was made of, as text: attribution => 'first' takes the first match, 'last' the last one, 'step 2' the match of that step; NULL when there is no such match or property. To break a funnel down by it, group by it. SELECT eventkit.funnel_property(events, ARRAY['view', 'cart', 'pay'], '6 hours', 'platform') AS platform, eventkit.funnel_agg(events, ARRAY['view', 'cart', 'pay'], '6 hours') FROM user_events GROUP BY 1;$$),
        ('funnel_excluded', $$Tells whether the exclusions of a funnel cost one user steps: without them the level would be higher. SELECT count(*) FROM user_events WHERE eventkit.funnel_excluded(events, '{"steps": ["cart", "pay"], "window": "1 day", "exclude": ["refund"]}');$$),
        ('excluded_users', $$Tells how many users of a summary would have got further without the exclusions of the funnel. SELECT eventkit.excluded_users(summary) FROM daily_funnels;$$),
        ('funnel_agg', $$Summarises a funnel over many users, one event array each; read the result with funnel_table or funnel_chart. SELECT eventkit.funnel_agg(events, ARRAY['view', 'cart', 'pay'], '6 hours') FROM user_events;$$),
        ('funnel_agg_add', $$Serves the aggregate funnel_agg as its transition function. SELECT eventkit.funnel_agg(events, ARRAY['view', 'pay'], '6 hours') FROM user_events;$$),
        ('funnel_summary_combine', $$Serves the aggregates funnel_agg and rollup as their combine function. SELECT eventkit.rollup(summary) FROM daily_funnels;$$),
        ('funnel_summary_finish', $$Serves the aggregates funnel_agg and rollup as their final function. SELECT eventkit.rollup(summary) FROM daily_funnels;$$),
        ('funnel_summary_in', $$Reads the text form of a funnel_summary, as a cast does. SELECT stored::eventkit.funnel_summary FROM exported_funnels;$$),
        ('funnel_summary_out', $$Writes the text form of a funnel_summary, a JSON document. SELECT summary::text FROM daily_funnels;$$),
        ('funnel_summary_recv', $$Serves COPY and drivers: reads the binary form of a funnel_summary. SELECT eventkit.rollup(summary) FROM daily_funnels;$$),
        ('funnel_summary_send', $$Serves COPY and drivers: writes the binary form of a funnel_summary. SELECT eventkit.funnel_summary_send(summary) FROM daily_funnels;$$),
        ('rollup', $$Puts summaries of one kind together, of several days for example. SELECT eventkit.rollup(summary) FROM daily_funnels;$$),
        ('funnel_table', $$Lists the steps of a funnel: users, shares, drop-off, and the times from the step before and from the first (median and 90th percentile to about one percent in rank, and the mean). SELECT * FROM eventkit.funnel_table((SELECT eventkit.funnel_agg(events, ARRAY['view', 'pay'], '6 hours') FROM user_events));$$),
        ('conversion_rate', $$Tells the share of those who entered a funnel that reached its last step, NULL when nobody entered. SELECT eventkit.conversion_rate(summary) FROM daily_funnels;$$),
        ('funnel_chart', $$Draws a funnel as text bars for psql. SELECT eventkit.funnel_chart(eventkit.funnel_agg(events, ARRAY['view', 'pay'], '6 hours')) FROM user_events;$$),
        ('funnel_svg', $$Draws a summary as a standalone SVG picture, light or dark as the viewer: bars, users, shares, drop-off, median times. SELECT eventkit.funnel_svg(summary, title => 'Sign-up') FROM daily_funnels;$$),
        ('save_funnel', $$Saves a funnel under a name, or changes it: a definition over the event arrays of a table (source, events_column, breakdown_column, filter) or of one SELECT that yields events and, as you like, breakdown. All is checked, no row is read. Results older than keep go. SELECT eventkit.save_funnel('signup', '{"steps": ["view", "pay"], "window": "6 hours"}', source => 'user_events', keep => '1 year');$$),
        ('drop_funnel', $$Drops a saved funnel with all its results. SELECT eventkit.drop_funnel('old signup');$$),
        ('refresh_funnel', $$Computes a saved funnel into funnel_results, with the rights of its owner, and commits. A failure is recorded in funnel_refreshes and raised. CALL eventkit.refresh_funnel('signup');$$),
        ('refresh_funnels', $$Computes every saved funnel that the caller may refresh, each in a transaction of its own. A failure is recorded in funnel_refreshes, told by a WARNING, and stops no other. CALL eventkit.refresh_funnels();$$),
        ('store_funnel', $$Serves eventkit.save_funnel: checks a funnel and writes it down with the search path of its writer. SELECT eventkit.save_funnel('signup', '{"steps": ["view", "pay"]}', source => 'user_events');$$),
        ('check_funnel_column', $$Refuses a column that the source of a funnel does not have. SELECT eventkit.check_funnel_column('user_events', 'events_column', 'events');$$),
        ('check_funnel_filter', $$Refuses a text that is not one condition, without running it. SELECT eventkit.check_funnel_filter('country = ''nl''');$$),
        ('check_funnel_source', $$Refuses a query that yields no event arrays or that its owner may not run; reads no row. SELECT eventkit.check_funnel_source('SELECT events FROM user_events', '{"steps": ["view"]}', current_user::regrole, 'public');$$),
        ('describe_funnel_query', $$Tells the columns of a query, after it was found to be one SELECT that only reads, without running it. SELECT * FROM eventkit.describe_funnel_query('SELECT events FROM user_events', current_user::regrole, 'public');$$),
        ('funnel_query', $$Builds the query of a saved funnel: its own, or that of its table. SELECT eventkit.funnel_query('user_events', 'events', NULL, NULL, NULL);$$),
        ('guard_saved_funnel', $$Serves the table saved_funnels as a trigger: a funnel of a role is written by those who may become it. SELECT * FROM eventkit.saved_funnels;$$),
        ('may_become', $$Tells whether the current user is a role or may become it by SET ROLE. SELECT eventkit.may_become(current_user::regrole);$$),
        ('run_funnel_query', $$Runs the query of a saved funnel as its owner, read-only and in a security-restricted operation, and summarises it for each breakdown. SELECT * FROM eventkit.run_funnel_query('SELECT events FROM user_events', '{"steps": ["view"]}', current_user::regrole, 'public', false);$$),
        ('try_refresh_funnel', $$Computes a saved funnel once; a failure is recorded and told in the row, not raised. SELECT * FROM eventkit.try_refresh_funnel('signup');$$),
        ('window_funnel', $$Tells how many conditions a user's rows meet, in order and within the window of the first; NULL as window is no limit. One row never counts for two conditions, rows of one time count in any order. A row that meets a condition needs a time, a finite one. A mode may follow the window: 'ordered' (the default), 'strict' (no other row between), 'strict_steps' (no other row that meets a condition between), each also with '_increasing' (times that rise), and 'unordered', all exact. 'clickhouse_default', 'clickhouse_strict_order', 'clickhouse_strict_deduplication', 'clickhouse_strict_increase', 'clickhouse_allow_reentry' (with strict_order) and 'clickhouse_strict_once' give what windowFunnel of ClickHouse 26 gives, quirks included: all but strict_once count one row for several conditions, strict_increase misses chains, and strict_order, strict_deduplication and allow_reentry never start again after a break. SELECT user_id, eventkit.window_funnel('6 hours', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events GROUP BY user_id;$$),
        ('window_funnel_add', $$Serves the aggregate window_funnel as its transition function. SELECT eventkit.window_funnel('6 hours', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('window_funnel_combine', $$Serves the aggregate window_funnel as its combine function. SELECT eventkit.window_funnel('6 hours', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('window_funnel_finish', $$Serves the aggregate window_funnel as its final function. SELECT eventkit.window_funnel('6 hours', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('retention', $$Flags which conditions a user met at all, in any order: 1 for the first if it was met, 1 for each other that was met as well as the first. As in ClickHouse, a later condition met before the first counts. SELECT user_id, eventkit.retention(event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events GROUP BY user_id;$$),
        ('retention_add', $$Serves the aggregate retention as its transition function. SELECT eventkit.retention(event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('retention_combine', $$Serves the aggregate retention as its combine function. SELECT eventkit.retention(event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('retention_finish', $$Serves the aggregate retention as its final function. SELECT eventkit.retention(event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('sequence_match', $$Tells whether a user's rows, in order of time, contain a sequence. In the pattern (?1), (?2) and so on is a row that meets that condition, . is any row, .* any number of rows, and (?t<=60), also with <, >=, > and ==, lets rows pass up to one that is so many seconds (decimals allowed, compared to the microsecond) after the row before it in the pattern. Rows that meet no condition are not there; rows of one time are taken as they come, so give such a call an ORDER BY. The pattern language is that of ClickHouse, without its limit of steps: the time is rows times elements of the pattern. SELECT user_id, eventkit.sequence_match('(?1).*(?2)', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events GROUP BY user_id;$$),
        ('sequence_count', $$Counts how often a user's rows, in order of time, contain a sequence; each is looked for behind the one before. In the pattern (?1), (?2) and so on is a row that meets that condition, . is any row, .* any number of rows, and (?t<=60), also with <, >=, > and ==, lets rows pass up to one that is so many seconds (decimals allowed, compared to the microsecond) after the row before it in the pattern. Rows that meet no condition are not there; rows of one time are taken as they come, so give such a call an ORDER BY. The pattern language is that of ClickHouse, without its limit of steps: the time is rows times elements of the pattern. SELECT user_id, eventkit.sequence_count('(?1).*(?2)', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events GROUP BY user_id;$$),
        ('sequence_events', $$Lists when the conditions of a sequence were met in a user's rows: by the first match, or without one by the first rows that met the most of them. In the pattern (?1), (?2) and so on is a row that meets that condition, . is any row, .* any number of rows, and (?t<=60), also with <, >=, > and ==, lets rows pass up to one that is so many seconds (decimals allowed, compared to the microsecond) after the row before it in the pattern. Rows that meet no condition are not there; rows of one time are taken as they come, so give such a call an ORDER BY. The pattern language is that of ClickHouse, without its limit of steps: the time is rows times elements of the pattern. SELECT user_id, eventkit.sequence_events('(?1).*(?2)', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events GROUP BY user_id;$$),
        ('sequence_add', $$Serves the aggregates sequence_match, sequence_count and sequence_events as their transition function. SELECT eventkit.sequence_match('(?1).*(?2)', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('sequence_combine', $$Serves the aggregates sequence_match, sequence_count and sequence_events as their combine function. SELECT eventkit.sequence_match('(?1).*(?2)', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('sequence_match_finish', $$Serves the aggregate sequence_match as its final function. SELECT eventkit.sequence_match('(?1).*(?2)', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('sequence_count_finish', $$Serves the aggregate sequence_count as its final function. SELECT eventkit.sequence_count('(?1).*(?2)', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('sequence_events_finish', $$Serves the aggregate sequence_events as its final function. SELECT eventkit.sequence_events('(?1).*(?2)', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('sessionize', $$Divides events into sessions: one begins where the time since the event before is longer than the gap. Over rows it is a window function that numbers the sessions from 1; the window has to be ordered by time, and a row without a time has no number. Over an event array it gives a row for each session, with its events; arrays out of order are sorted first, and events without a time come in a last row without number and times. SELECT user_id, eventkit.sessionize((event ->> 'time')::timestamptz, '30 minutes') OVER (PARTITION BY user_id ORDER BY (event ->> 'time')::timestamptz) FROM raw_events;$$),
        ('retention_agg', $$Summarises over many users how many come back in the calendar periods after the one they began in; read the result with retention_table or retention_chart. A user's cohort is the period of the first first_event; a return is a return_event, not that very event, at its time or later. NULL stands for any event. Periods are whole days, weeks (from Monday) or months in the time zone (UTC unless told). The definition, in JSON, has the keys first_event and return_event (a name or a list of names, any event without), period ('1 week'), time_zone, id_key (leaves out copies of an event, the last counts), name_key, time_key. Over rows, give the time of each user's first event and an array of the times that may be returns; later ones are. At most 1048576 pairs of a cohort and a period. SELECT eventkit.retention_agg(events, 'sign_up', 'visit', '1 week', 'Europe/Berlin') FROM user_events;$$),
        ('retention_agg_add', $$Serves the aggregate retention_agg as its transition function. SELECT eventkit.retention_agg(events, 'sign_up', 'visit', '1 week') FROM user_events;$$),
        ('retention_summary_combine', $$Serves the aggregates retention_agg and rollup as their combine function. SELECT eventkit.rollup(summary) FROM monthly_retention;$$),
        ('retention_summary_finish', $$Serves the aggregates retention_agg and rollup as their final function. SELECT eventkit.rollup(summary) FROM monthly_retention;$$),
        ('retention_summary_in', $$Reads the text form of a retention_summary, as a cast does. SELECT stored::eventkit.retention_summary FROM exported_retention;$$),
        ('retention_summary_out', $$Writes the text form of a retention_summary, a JSON document. SELECT summary::text FROM monthly_retention;$$),
        ('retention_table', $$Lists each cohort in each period: when the cohort's period begins, how many periods later (0 is its own), the users of the cohort, how many of them came back in that period, and their share. The rows of a cohort reach to the last period in which anybody began or came back, which is mostly not over yet, or no further than periods says. SELECT * FROM eventkit.retention_table((SELECT eventkit.retention_agg(events, 'sign_up', 'visit', '1 week') FROM user_events));$$),
        ('retention_chart', $$Draws retention as a triangle of percentages for psql: a line for each cohort, a column for each period, up to periods after the first; a dot is nobody. SELECT eventkit.retention_chart(eventkit.retention_agg(events, 'sign_up', 'visit', '1 week')) FROM user_events;$$),
        ('paths_agg', $$Summarises which events many users take one after the other; read the result with event_paths and event_transitions. A path has the first 5 events of a user in order of time, or as many as depth says, an event that repeats the one before left out. The definition, in JSON, has the keys depth (1 to 64), start_event (the path begins with the first of it), end_event (the path is what leads up to the first of it, looked at from there; with start_event it is what lies between), both a name or a list of names, collapse_repeats, session_gap (each session has a path of its own; events further apart than this are of two), id_key (leaves out copies of an event, the last counts), name_key, time_key. At most 100000 beginnings of paths and 10000 names are kept, in 8 MB: beyond, the rarest are counted as '(other)'. SELECT eventkit.paths_agg(events, '{"depth": 4, "start_event": "sign_up", "session_gap": "30 minutes"}') FROM user_events;$$),
        ('paths_agg_add', $$Serves the aggregate paths_agg as its transition function. SELECT eventkit.paths_agg(events) FROM user_events;$$),
        ('paths_summary_combine', $$Serves the aggregates paths_agg and rollup as their combine function. SELECT eventkit.rollup(summary) FROM daily_paths;$$),
        ('paths_summary_finish', $$Serves the aggregates paths_agg and rollup as their final function. SELECT eventkit.rollup(summary) FROM daily_paths;$$),
        ('paths_summary_in', $$Reads the text form of a paths_summary, as a cast does. SELECT stored::eventkit.paths_summary FROM exported_paths;$$),
        ('paths_summary_out', $$Writes the text form of a paths_summary, a JSON document. SELECT summary::text FROM daily_paths;$$),
        ('event_paths', $$Lists the paths that most users took, the top 10 or as many as told (NULL for all): the events in order of time, the users whose path it is (sessions, when the summary was asked for them), and their share of all paths. A path that ends in '(other)' stands for rare ones that are not kept one by one. SELECT * FROM eventkit.event_paths((SELECT eventkit.paths_agg(events) FROM user_events), top => 20);$$),
        ('event_transitions', $$Counts the steps from event to event, enough to draw a Sankey: the place of the source in the path from 1 on, source, target (NULL where the path ends), and how many paths take the step. All that arrive at an event leave it again, except at '(other)' and at the depth. Of paths up to an end_event, step -1 leads into it, -2 into the event before, and a NULL source is where a path begins. SELECT * FROM eventkit.event_transitions((SELECT eventkit.paths_agg(events) FROM user_events));$$),
        ('funnel_trend_agg', $$Summarises a funnel over many users by the calendar period of their entry, which is the first of funnel_times; read the result with funnel_trend_table or funnel_trend_chart. Users who do not enter belong to no period. Periods are whole days, weeks (from Monday) or months in the time zone (UTC unless told), at most 4096 of them. SELECT eventkit.funnel_trend_agg(events, ARRAY['view', 'pay'], '6 hours', '1 day', 'Europe/Berlin') FROM user_events;$$),
        ('funnel_trend_agg_add', $$Serves the aggregate funnel_trend_agg as its transition function. SELECT eventkit.funnel_trend_agg(events, ARRAY['view', 'pay'], '6 hours', '1 day') FROM user_events;$$),
        ('funnel_trend_combine', $$Serves the aggregates funnel_trend_agg and rollup as their combine function. SELECT eventkit.rollup(trend) FROM daily_trends;$$),
        ('funnel_trend_finish', $$Serves the aggregates funnel_trend_agg and rollup as their final function. SELECT eventkit.rollup(trend) FROM daily_trends;$$),
        ('funnel_trend_in', $$Reads the text form of a funnel_trend, as a cast does. SELECT stored::eventkit.funnel_trend FROM exported_trends;$$),
        ('funnel_trend_out', $$Writes the text form of a funnel_trend, a JSON document. SELECT trend::text FROM daily_trends;$$),
        ('funnel_trend_table', $$Lists the steps of a funnel for each period of entry: when the period begins, the step, its users, shares, and the median time from the first step. Periods without an entry have no rows. SELECT * FROM eventkit.funnel_trend_table((SELECT eventkit.funnel_trend_agg(events, ARRAY['view', 'pay'], '6 hours', '1 day') FROM user_events));$$),
        ('funnel_trend_chart', $$Draws the conversion of each period of entry as a text bar for psql. SELECT eventkit.funnel_trend_chart(eventkit.funnel_trend_agg(events, ARRAY['view', 'pay'], '6 hours', '1 day')) FROM user_events;$$),
        ('dedupe_table', $$Deduplicates the event arrays of a whole table in batches, each committed; only rows that lose an event are written. Called again, it goes on where it was stopped. CALL eventkit.dedupe_table('user_events', 'events');$$),
        ('plan_dedupe_table', $$Tells what dedupe_table would change, and the statement of its batches, and changes nothing. SELECT * FROM eventkit.plan_dedupe_table('user_events', 'events');$$),
        ('refuse_transaction_block', $$Refuses to go on inside a transaction block, where a procedure that commits cannot run, and where nothing can be written. SELECT eventkit.refuse_transaction_block('dedupe_table');$$),
        ('refuse_read_only', $$Refuses to go on on a standby, or in a read-only transaction, where a procedure that writes cannot run. SELECT eventkit.refuse_read_only('create_partition');$$),
        ('in_transaction_block', $$Tells whether the client has begun a transaction block, in which a procedure leaves the COMMIT to him. SELECT eventkit.in_transaction_block();$$),
        ('remember_session_lock', $$Remembers that this session holds an advisory lock through its COMMITs, or that it does no more; a transaction that is aborted gives back those held. SELECT eventkit.remember_session_lock(eventkit.advisory_lock_key('maintain'), false);$$),
        ('dedupe_targets', $$Lists the tables that dedupe_table would rewrite, and refuses what it cannot. SELECT eventkit.dedupe_targets('user_events', 'events');$$),
        ('dedupe_options', $$Checks the options of dedupe_table and gives them as one text. SELECT eventkit.dedupe_options('event_id', 'last', 'text', 'keep', 'kept', 1000);$$),
        ('dedupe_statement', $$Writes the statement of one batch of dedupe_table, or with counting => true the one that counts. SELECT eventkit.dedupe_statement('user_events', 'events', 'event_id', 'last', 'text', 'keep', 'kept', false);$$),
        ('dedupe_resume', $$Tells where dedupe_table goes on with a table: at its beginning, or where it was stopped. SELECT * FROM eventkit.dedupe_resume('user_events', 'events', '[]');$$),
        ('dedupe_batch', $$Finds the last row of the next batch of dedupe_table. SELECT * FROM eventkit.dedupe_batch('user_events', '(0,0)', 1000);$$),
        ('dedupe_unreadable', $$Finds the row of a batch whose value dedupe_table cannot read. SELECT eventkit.dedupe_unreadable('user_events', 'events', 'event_id', 'last', 'text', 'keep', 'kept', '(0,0)', '(0,9)');$$),
        ('dedupe_note', $$Writes down how far dedupe_table has come with a table. SELECT eventkit.dedupe_note('user_events', 'events', '[]', '(0,1)', 1, NULL, '3', 1, 0, 0);$$),
        ('dedupe_forget', $$Forgets the progress of a table that dedupe_table has ended with. SELECT eventkit.dedupe_forget('user_events', 'events', '[]');$$)
        ) AS all_described (name, comment)
    LOOP
        found := false;
        FOR routine IN
            SELECT p.oid, CASE p.prokind WHEN 'a' THEN 'AGGREGATE' WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS kind
            FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname = 'eventkit' AND p.proname = described.name
        LOOP
            found := true;
            EXECUTE pg_catalog.format('COMMENT ON %s %s IS %L', routine.kind, routine.oid::pg_catalog.regprocedure, described.comment);
        END LOOP;
        IF NOT found THEN
            RAISE EXCEPTION 'there is no function % to describe', described.name;
        END IF;
    END LOOP;
END
$comments$;

COMMENT ON TYPE event_chunks IS 'The event arrays of one user, all in one form: made by the aggregate event_chunks, read by the functions over a user. Its text form is a JSON array of arrays of events.';
COMMENT ON TYPE funnel_summary IS 'A funnel over many users in figures: made by funnel_agg, put together by rollup, read by funnel_table and funnel_chart.';
COMMENT ON TYPE funnel_trend IS 'A funnel by period of entry in figures: made by funnel_trend_agg, put together by rollup, read by funnel_trend_table and funnel_trend_chart.';
COMMENT ON TYPE retention_summary IS 'Retention of many users in figures: made by retention_agg, put together by rollup, read by retention_table and retention_chart.';
COMMENT ON TYPE paths_summary IS 'The paths of many users in figures: made by paths_agg, put together by rollup, read by event_paths and event_transitions.';
COMMENT ON TABLE dedupe_progress IS 'How far each unfinished dedupe_table has come; a row goes when its run ends.';
COMMENT ON COLUMN dedupe_progress.relation IS 'The table or partition.';
COMMENT ON COLUMN dedupe_progress.column_name IS 'Its column of event arrays.';
COMMENT ON COLUMN dedupe_progress.options IS 'The options of the run: id_key, keep, id_type, on_missing, place.';
COMMENT ON COLUMN dedupe_progress.file_node IS 'The file that the rows lie in; another one starts the table anew.';
COMMENT ON COLUMN dedupe_progress.next_row IS 'The last row that has been read.';
COMMENT ON COLUMN dedupe_progress.pass IS 'Which pass over the table this is: from the second on only rows that changed since the one before began.';
COMMENT ON COLUMN dedupe_progress.since IS 'The oldest transaction whose rows this pass looks at; NULL for all.';
COMMENT ON COLUMN dedupe_progress.began IS 'The oldest transaction that was open when this pass began.';
COMMENT ON COLUMN dedupe_progress.pass_changed IS 'Rows rewritten in this pass.';
COMMENT ON COLUMN dedupe_progress.rows_read IS 'Row versions read so far; a rewritten row is met again in its new version.';
COMMENT ON COLUMN dedupe_progress.rows_changed IS 'Rows rewritten so far.';
COMMENT ON COLUMN dedupe_progress.updated_at IS 'When the last batch was committed.';
COMMENT ON POLICY updater ON dedupe_progress IS 'Whoever may update a table sees and writes its progress.';

COMMENT ON TABLE saved_funnels IS 'Funnels saved by save_funnel. Each role sees its own. SELECT name, owner, definition FROM eventkit.saved_funnels;';
COMMENT ON COLUMN saved_funnels.name IS 'Its name.';
COMMENT ON COLUMN saved_funnels.owner IS 'The role that saved it; a refresh runs with the rights of this role.';
COMMENT ON COLUMN saved_funnels.definition IS 'The funnel, as funnel_agg takes it.';
COMMENT ON COLUMN saved_funnels.source IS 'The table or view with a row for each user; NULL where a query yields them.';
COMMENT ON COLUMN saved_funnels.events_column IS 'Its column of event arrays.';
COMMENT ON COLUMN saved_funnels.breakdown_column IS 'Its column to break down by.';
COMMENT ON COLUMN saved_funnels.filter IS 'A condition over its columns: which rows count.';
COMMENT ON COLUMN saved_funnels.query IS 'One SELECT that yields events and, as you like, breakdown.';
COMMENT ON COLUMN saved_funnels.search_path IS 'The path that query and filter are read with: the one they were saved with.';
COMMENT ON COLUMN saved_funnels.keep IS 'How long results are kept; NULL for ever. The newest is kept in any case.';
COMMENT ON COLUMN saved_funnels.saved_at IS 'When it was saved or changed.';
COMMENT ON POLICY owner ON saved_funnels IS 'Whoever may become the owner sees and writes a funnel; writing needs EXECUTE on save_funnel too.';
COMMENT ON TRIGGER guard ON saved_funnels IS 'A funnel of a role is written by those who may become it, also where row security is bypassed.';
COMMENT ON TABLE funnel_refreshes IS 'Each refresh of a saved funnel: when, by whom, how long, how many users, or why it failed. SELECT * FROM eventkit.funnel_refreshes WHERE sqlstate IS NOT NULL;';
COMMENT ON COLUMN funnel_refreshes.funnel IS 'The saved funnel.';
COMMENT ON COLUMN funnel_refreshes.refreshed_at IS 'When the refresh began.';
COMMENT ON COLUMN funnel_refreshes.refreshed_by IS 'The role that called for it.';
COMMENT ON COLUMN funnel_refreshes.took IS 'How long it took.';
COMMENT ON COLUMN funnel_refreshes.fingerprint IS 'What the definition asked: refreshes of equal fingerprints can be compared and rolled up. NULL for a failure.';
COMMENT ON COLUMN funnel_refreshes.users IS 'Users seen, whether they entered the funnel or not. NULL for a failure.';
COMMENT ON COLUMN funnel_refreshes.sqlstate IS 'The SQLSTATE of a failure; NULL where it succeeded.';
COMMENT ON COLUMN funnel_refreshes.message IS 'The message of a failure.';
COMMENT ON COLUMN funnel_refreshes.detail IS 'Its detail.';
COMMENT ON COLUMN funnel_refreshes.hint IS 'Its hint.';
COMMENT ON POLICY owner ON funnel_refreshes IS 'Whoever sees a saved funnel sees and writes its refreshes.';
COMMENT ON TABLE funnel_summaries IS 'The summary of each refresh and breakdown value, to be rolled up. SELECT eventkit.funnel_chart(eventkit.rollup(summary)) FROM eventkit.funnel_summaries GROUP BY funnel, refreshed_at;';
COMMENT ON COLUMN funnel_summaries.funnel IS 'The saved funnel.';
COMMENT ON COLUMN funnel_summaries.refreshed_at IS 'When the refresh began.';
COMMENT ON COLUMN funnel_summaries.breakdown IS 'The value of the breakdown, as text; NULL without one, and for users who have none.';
COMMENT ON COLUMN funnel_summaries.summary IS 'What funnel_agg gave.';
COMMENT ON POLICY owner ON funnel_summaries IS 'Whoever sees a saved funnel sees and writes its summaries.';
COMMENT ON TABLE funnel_results IS 'The figures of each refresh, breakdown value and step, with their history. SELECT * FROM eventkit.funnel_results ORDER BY funnel, refreshed_at, breakdown, step;';
COMMENT ON VIEW funnel_latest IS 'The figures of the newest successful refresh of each saved funnel. SELECT * FROM eventkit.funnel_latest WHERE funnel = ''signup'' ORDER BY breakdown, step;';
DO $columns$
DECLARE
    described record;
    relation text;
BEGIN
    FOR described IN SELECT * FROM (VALUES
        ('funnel', 'The saved funnel.'),
        ('refreshed_at', 'When the refresh began.'),
        ('breakdown', 'The value of the breakdown, as text; NULL without one, and for users who have none.'),
        ('step', 'The number of the step, from 1.'),
        ('label', 'Its label.'),
        ('users', 'Users who reached it.'),
        ('share_of_first', 'Their share of those who reached step 1.'),
        ('share_of_previous', 'Their share of those who reached the step before.'),
        ('drop_off', 'Users who reached the step before but not this one.'),
        ('median_from_previous', 'Half of them took no longer from the step before.'),
        ('p90_from_previous', 'Nine of ten took no longer from the step before.'),
        ('mean_from_previous', 'The mean time from the step before.'),
        ('median_from_start', 'Half of them took no longer from step 1.'),
        ('p90_from_start', 'Nine of ten took no longer from step 1.'),
        ('mean_from_start', 'The mean time from step 1.')) AS c (name, words)
    LOOP
        FOREACH relation IN ARRAY ARRAY['funnel_results', 'funnel_latest'] LOOP
            EXECUTE pg_catalog.format('COMMENT ON COLUMN eventkit.%I.%I IS %L', relation, described.name, described.words);
        END LOOP;
    END LOOP;
END
$columns$;
COMMENT ON POLICY owner ON funnel_results IS 'Whoever sees a saved funnel sees and writes its results.';
