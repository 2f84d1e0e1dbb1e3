-- What \df+ shows: for each function a sentence that starts with a verb, and one call. Overloads share theirs.

GRANT USAGE ON SCHEMA eventkit TO PUBLIC;
COMMENT ON SCHEMA eventkit IS 'The functions, procedures, views and tables of the extension pg_eventkit.';

-- The state of event_array_agg is bytes that these trust: only the aggregate may pass them.
REVOKE EXECUTE ON FUNCTION
    event_array_agg_add(bytea, hstore), event_array_agg_add(bytea, hstore, text, text),
    event_array_agg_add(bytea, hstore[]), event_array_agg_add(bytea, hstore[], text, text),
    event_array_agg_add(bytea, jsonb), event_array_agg_add(bytea, jsonb, text, text),
    event_array_agg_add(bytea, jsonb[]), event_array_agg_add(bytea, jsonb[], text, text),
    event_array_agg_combine_hstore(bytea, bytea), event_array_agg_combine_jsonb(bytea, bytea),
    event_array_agg_finish_hstore(bytea), event_array_agg_finish_jsonb(bytea)
FROM PUBLIC;

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
        ('funnel_level', $$Tells how many steps of a funnel one user's events reach, in order and within the window of the first. SELECT eventkit.funnel_level(events, ARRAY['view', 'cart', 'pay'], '6 hours') FROM user_events;$$),
        ('funnel_times', $$Tells when one user matched each step, in the best attempt (the one completed first, of those the one that began last); NULL for an optional step left out. SELECT eventkit.funnel_times(events, ARRAY['view', 'cart', 'pay'], '6 hours') FROM user_events;$$),
        ('funnel_agg', $$Summarises a funnel over many users, one event array each; read the result with funnel_table or funnel_chart. SELECT eventkit.funnel_agg(events, ARRAY['view', 'cart', 'pay'], '6 hours') FROM user_events;$$),
        ('funnel_agg_add', $$Serves the aggregate funnel_agg as its transition function. SELECT eventkit.funnel_agg(events, ARRAY['view', 'pay'], '6 hours') FROM user_events;$$),
        ('funnel_summary_combine', $$Serves the aggregates funnel_agg and rollup as their combine function. SELECT eventkit.rollup(summary) FROM daily_funnels;$$),
        ('funnel_summary_finish', $$Serves the aggregates funnel_agg and rollup as their final function. SELECT eventkit.rollup(summary) FROM daily_funnels;$$),
        ('funnel_summary_in', $$Reads the text form of a funnel_summary, as a cast does. SELECT stored::eventkit.funnel_summary FROM exported_funnels;$$),
        ('funnel_summary_out', $$Writes the text form of a funnel_summary, a JSON document. SELECT summary::text FROM daily_funnels;$$),
        ('rollup', $$Puts summaries of one funnel together, of several days for example. SELECT eventkit.rollup(summary) FROM daily_funnels;$$),
        ('funnel_table', $$Lists the steps of a funnel: users, shares, drop-off, and the times from the step before and from the first (median and 90th percentile to about one percent in rank, and the mean). SELECT * FROM eventkit.funnel_table((SELECT eventkit.funnel_agg(events, ARRAY['view', 'pay'], '6 hours') FROM user_events));$$),
        ('conversion_rate', $$Tells the share of those who entered a funnel that reached its last step, NULL when nobody entered. SELECT eventkit.conversion_rate(summary) FROM daily_funnels;$$),
        ('funnel_chart', $$Draws a funnel as text bars for psql. SELECT eventkit.funnel_chart(eventkit.funnel_agg(events, ARRAY['view', 'pay'], '6 hours')) FROM user_events;$$),
        ('window_funnel', $$Tells how many conditions a user's rows meet, in order and within the window of the first; NULL as window is no limit. One row never counts for two conditions, rows of one time count in any order. A mode may follow the window: 'ordered' (the default), 'strict' (no other row between), 'strict_steps' (no other row that meets a condition between), each also with '_increasing' (times that rise), and 'unordered', all exact. 'clickhouse_default', 'clickhouse_strict_order', 'clickhouse_strict_deduplication', 'clickhouse_strict_increase', 'clickhouse_allow_reentry' (with strict_order) and 'clickhouse_strict_once' give what windowFunnel of ClickHouse 26 gives, quirks included: all but strict_once count one row for several conditions, strict_increase misses chains, and strict_order, strict_deduplication and allow_reentry never start again after a break. SELECT user_id, eventkit.window_funnel('6 hours', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events GROUP BY user_id;$$),
        ('window_funnel_add', $$Serves the aggregate window_funnel as its transition function. SELECT eventkit.window_funnel('6 hours', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('window_funnel_combine', $$Serves the aggregate window_funnel as its combine function. SELECT eventkit.window_funnel('6 hours', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('window_funnel_finish', $$Serves the aggregate window_funnel as its final function. SELECT eventkit.window_funnel('6 hours', (event ->> 'time')::timestamptz, event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('retention', $$Flags which conditions a user met at all, in any order: 1 for the first if it was met, 1 for each other that was met as well as the first. As in ClickHouse, a later condition met before the first counts. SELECT user_id, eventkit.retention(event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events GROUP BY user_id;$$),
        ('retention_add', $$Serves the aggregate retention as its transition function. SELECT eventkit.retention(event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('retention_combine', $$Serves the aggregate retention as its combine function. SELECT eventkit.retention(event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('retention_finish', $$Serves the aggregate retention as its final function. SELECT eventkit.retention(event ->> 'event' = 'view', event ->> 'event' = 'pay') FROM raw_events;$$),
        ('dedupe_table', $$Deduplicates the event arrays of a whole table in batches, each committed; only rows that lose an event are written. Called again, it goes on where it was stopped. CALL eventkit.dedupe_table('user_events', 'events');$$),
        ('plan_dedupe_table', $$Tells what dedupe_table would change, and the statement of its batches, and changes nothing. SELECT * FROM eventkit.plan_dedupe_table('user_events', 'events');$$),
        ('refuse_transaction_block', $$Refuses to go on inside a transaction block, where a procedure that commits cannot run. SELECT eventkit.refuse_transaction_block('dedupe_table');$$),
        ('in_transaction_block', $$Tells whether the client has begun a transaction block, in which a procedure leaves the COMMIT to him. SELECT eventkit.in_transaction_block();$$),
        ('dedupe_targets', $$Lists the tables that dedupe_table would rewrite, and refuses what it cannot. SELECT eventkit.dedupe_targets('user_events', 'events');$$),
        ('dedupe_options', $$Checks the options of dedupe_table and gives them as one text. SELECT eventkit.dedupe_options('event_id', 'last', 'text', 'keep', 'kept', 1000);$$),
        ('dedupe_statement', $$Writes the statement of one batch of dedupe_table, or with counting => true the one that counts. SELECT eventkit.dedupe_statement('user_events', 'events', 'event_id', 'last', 'text', 'keep', 'kept', false);$$),
        ('dedupe_resume', $$Tells where dedupe_table goes on with a table: at its beginning, or where it was stopped. SELECT * FROM eventkit.dedupe_resume('user_events', 'events', '[]');$$),
        ('dedupe_batch', $$Finds the last row of the next batch of dedupe_table. SELECT * FROM eventkit.dedupe_batch('user_events', '(0,0)', 1000);$$),
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

COMMENT ON TYPE funnel_summary IS 'A funnel over many users in figures: made by funnel_agg, put together by rollup, read by funnel_table and funnel_chart.';
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
