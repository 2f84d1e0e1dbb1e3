-- What \df+ shows: for each function a sentence that starts with a verb, and one call. Overloads share theirs.

GRANT USAGE ON SCHEMA eventkit TO PUBLIC;

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
        ('funnel_summary_in', $$Reads the text form of a funnel_summary, as a cast does. SELECT stored::eventkit.funnel_summary FROM exported_funnels;$$),
        ('funnel_summary_out', $$Writes the text form of a funnel_summary, a JSON document. SELECT summary::text FROM daily_funnels;$$),
        ('rollup', $$Puts summaries of one funnel together, of several days for example. SELECT eventkit.rollup(summary) FROM daily_funnels;$$),
        ('funnel_table', $$Lists the steps of a funnel: users, shares, drop-off, mean times. SELECT * FROM eventkit.funnel_table((SELECT eventkit.funnel_agg(events, ARRAY['view', 'pay'], '6 hours') FROM user_events));$$),
        ('conversion_rate', $$Tells the share of those who entered a funnel that reached its last step, NULL when nobody entered. SELECT eventkit.conversion_rate(summary) FROM daily_funnels;$$),
        ('funnel_chart', $$Draws a funnel as text bars for psql. SELECT eventkit.funnel_chart(eventkit.funnel_agg(events, ARRAY['view', 'pay'], '6 hours')) FROM user_events;$$),
        ('dedupe_table', $$Deduplicates the event arrays of a whole table in batches, each committed; only rows that lose an event are written. Called again, it goes on where it was stopped. CALL eventkit.dedupe_table('user_events', 'events');$$),
        ('plan_dedupe_table', $$Tells what dedupe_table would change, and the statement of its batches, and changes nothing. SELECT * FROM eventkit.plan_dedupe_table('user_events', 'events');$$),
        ('refuse_transaction_block', $$Refuses to go on inside a transaction block, where a procedure that commits cannot run. SELECT eventkit.refuse_transaction_block('dedupe_table');$$),
        ('dedupe_targets', $$Lists the tables that dedupe_table would rewrite, and refuses what it cannot. SELECT eventkit.dedupe_targets('user_events', 'events');$$),
        ('dedupe_expression', $$Writes the call of dedupe_events that dedupe_table makes. SELECT eventkit.dedupe_expression('events', 'event_id', 'last', 'text', 'keep', 'kept');$$),
        ('dedupe_length', $$Writes the expression for the length of an event array in a column of a table. SELECT eventkit.dedupe_length('t.events', 'user_events', 'events');$$),
        ('dedupe_statement', $$Writes the statement of one batch of dedupe_table. SELECT eventkit.dedupe_statement('user_events', 'events', 'event_id', 'last', 'text', 'keep', 'kept');$$),
        ('dedupe_batch', $$Finds the rows of the next batch of dedupe_table. SELECT * FROM eventkit.dedupe_batch('user_events', 'events', '[]', 1000);$$),
        ('dedupe_note', $$Writes down how far dedupe_table has come with a table. SELECT eventkit.dedupe_note('user_events', 'events', '[]', '(0,1)', 1, 0);$$)
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
COMMENT ON COLUMN dedupe_progress.rows_read IS 'Row versions read so far; a rewritten row is met again in its new version.';
COMMENT ON COLUMN dedupe_progress.rows_changed IS 'Rows rewritten so far.';
COMMENT ON COLUMN dedupe_progress.updated_at IS 'When the last batch was committed.';
COMMENT ON POLICY updater ON dedupe_progress IS 'Whoever may update a table sees and writes its progress.';
