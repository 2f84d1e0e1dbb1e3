//! The catalog of the extension: comments, volatility, parallel labels, rights, settings, signatures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeSet;

use common::{lines, open, value};
use eventkit_tests::Session;

/// Asserts that a query finds nothing to complain of.
fn nothing(s: &Session, what: &str, sql: &str) {
    let found = lines(s, sql);
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

const ROUTINES: &str = "pg_proc p WHERE p.pronamespace = 'eventkit'::regnamespace";

#[test]
fn all_that_the_extension_has_is_in_its_schema_and_the_schema_has_nothing_else() {
    let (_db, s) = open("");
    nothing(
        &s,
        "members of the extension outside of its schema",
        "SELECT pg_describe_object(classid, objid, 0) FROM pg_depend d, LATERAL pg_identify_object(d.classid, d.objid, 0) AS o \
         WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_eventkit') \
           AND o.schema IS DISTINCT FROM 'eventkit' AND o.type <> 'schema' AND o.identity !~ 'eventkit[.]'",
    );
    nothing(
        &s,
        "strangers in the schema",
        "SELECT pg_describe_object(o.classid, o.oid, 0) FROM ( \
             SELECT 'pg_class'::regclass AS classid, oid FROM pg_class WHERE relnamespace = 'eventkit'::regnamespace AND relkind IN ('r', 'v', 'm', 'S', 'p') \
             UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = 'eventkit'::regnamespace \
             UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = 'eventkit'::regnamespace AND typelem = 0 AND typrelid = 0) AS o \
         WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e')",
    );
    let extension = "SELECT format('%s %s %s %s', extrelocatable, extversion, extnamespace::regnamespace, (SELECT string_agg(refobjid::text, '') IS NOT NULL FROM pg_depend WHERE classid = 'pg_extension'::regclass AND objid = e.oid AND refclassid = 'pg_extension'::regclass)) FROM pg_extension e WHERE extname = 'pg_eventkit'";
    assert_eq!(value(&s, extension), "f 0.1.0 eventkit t");
}

#[test]
fn every_object_says_what_it_is() {
    let (_db, s) = open("");
    nothing(
        &s,
        "routines without a comment",
        &format!("SELECT p.oid::regprocedure FROM {ROUTINES} AND obj_description(p.oid, 'pg_proc') IS NULL"),
    );
    nothing(
        &s,
        "relations and columns without a comment",
        "SELECT c.oid::regclass || coalesce('.' || attname, '') FROM pg_class c LEFT JOIN LATERAL (SELECT 0 AS attnum, NULL::name AS attname UNION ALL SELECT attnum, attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) a ON true \
         WHERE c.relnamespace = 'eventkit'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'S') AND NOT (c.relkind = 'S' AND a.attnum > 0) \
           AND coalesce(col_description(c.oid, a.attnum), CASE WHEN a.attnum = 0 THEN obj_description(c.oid, 'pg_class') END) IS NULL ORDER BY 1",
    );
    nothing(
        &s,
        "types without a comment",
        "SELECT t.oid::regtype FROM pg_type t WHERE typnamespace = 'eventkit'::regnamespace AND typelem = 0 AND typrelid = 0 AND obj_description(t.oid, 'pg_type') IS NULL",
    );
    nothing(
        &s,
        "policies, operators, casts and triggers without a comment",
        "SELECT pg_describe_object(o.classid, o.oid, 0) FROM ( \
             SELECT 'pg_policy'::regclass AS classid, p.oid FROM pg_policy p JOIN pg_class c ON c.oid = polrelid WHERE c.relnamespace = 'eventkit'::regnamespace \
             UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprnamespace = 'eventkit'::regnamespace \
             UNION ALL SELECT 'pg_cast'::regclass, objid FROM pg_depend WHERE classid = 'pg_cast'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_eventkit') \
             UNION ALL SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE c.relnamespace = 'eventkit'::regnamespace AND NOT tgisinternal) AS o \
         WHERE obj_description(o.oid, o.classid::name) IS NULL",
    );
}

#[test]
fn comments_of_routines_start_with_a_verb_and_show_a_call() {
    let (_db, s) = open("");
    nothing(
        &s,
        "comments whose first word is no verb",
        &format!(
            "SELECT p.oid::regprocedure || ': ' || obj_description(p.oid, 'pg_proc') FROM {ROUTINES} AND obj_description(p.oid, 'pg_proc') !~ '^[A-Z][a-z]+s '"
        ),
    );
    // A support function shows the call that uses it.
    nothing(
        &s,
        "comments without a call",
        &format!(
            "SELECT p.oid::regprocedure || ': ' || obj_description(p.oid, 'pg_proc') FROM {ROUTINES} AND position('eventkit.' || proname IN obj_description(p.oid, 'pg_proc')) = 0 \
             AND NOT (obj_description(p.oid, 'pg_proc') ~ '^(Serves|Reads the text form|Writes the text form) ' AND obj_description(p.oid, 'pg_proc') ~ 'eventkit[.]|::text')"
        ),
    );
    nothing(
        &s,
        "comments with a call that is none",
        &format!(
            "SELECT p.oid::regprocedure || ': ' || obj_description(p.oid, 'pg_proc') FROM {ROUTINES} AND obj_description(p.oid, 'pg_proc') !~ '(SELECT|CALL) .*;?$'"
        ),
    );
}

#[test]
fn arguments_have_plain_names() {
    let (_db, s) = open("");
    nothing(
        &s,
        "arguments with a prefix",
        &format!(
            "SELECT p.oid::regprocedure FROM {ROUTINES} AND EXISTS (SELECT FROM unnest(proargnames) AS name WHERE name ~ '^(p|v|in|arg|_)_|^_|[A-Z]')"
        ),
    );
    nothing(
        &s,
        "arguments without a name",
        &format!(
            "SELECT p.oid::regprocedure FROM {ROUTINES} AND pronargs > 0 AND (proargnames IS NULL OR '' = ANY (proargnames)) AND prokind <> 'w'"
        ),
    );
}

/// What each routine is declared to be: volatility (immutable, stable, volatile), parallel label (safe, restricted,
/// unsafe), cost, and whether it is strict. One line for all overloads that are alike.
const EXPECTED: &[(&str, &str, &str, f32, bool)] = &[
    // Look at their arguments alone.
    ("append_events", "i", "s", 1000.0, false),
    ("count_events", "i", "s", 1000.0, false),
    ("dedupe_events", "i", "s", 1000.0, false),
    ("filter_events", "i", "s", 1000.0, false),
    ("slice_events", "i", "s", 1000.0, false),
    ("sort_events", "i", "s", 1000.0, false),
    ("event_array_agg", "i", "s", 1.0, false),
    ("event_array_agg_add", "i", "s", 10.0, false),
    ("event_array_agg_combine_hstore", "i", "s", 10.0, false),
    ("event_array_agg_combine_jsonb", "i", "s", 10.0, false),
    ("event_array_agg_finish_hstore", "i", "s", 1000.0, false),
    ("event_array_agg_finish_jsonb", "i", "s", 1000.0, false),
    ("event_chunks", "i", "s", 1.0, false),
    ("event_chunks_add", "i", "s", 10.0, false),
    ("event_chunks_combine", "i", "s", 10.0, false),
    ("event_chunks_finish", "i", "s", 10.0, true),
    ("event_chunks_in", "i", "s", 1000.0, true),
    ("event_chunks_out", "i", "s", 1000.0, true),
    ("event_chunks_recv", "i", "s", 1000.0, true),
    ("event_chunks_send", "i", "s", 1000.0, true),
    ("conversion_rate", "i", "s", 10.0, true),
    ("excluded_users", "i", "s", 10.0, true),
    ("funnel_agg", "i", "s", 1.0, false),
    ("funnel_agg_add", "i", "s", 500.0, false),
    ("funnel_chart", "i", "s", 10.0, false),
    ("funnel_svg", "i", "s", 50.0, false),
    ("funnel_level", "i", "s", 500.0, false),
    ("funnel_summary_combine", "i", "s", 100.0, false),
    ("funnel_summary_finish", "i", "s", 100.0, true),
    ("retention", "i", "s", 1.0, false),
    ("retention_add", "i", "s", 2.0, false),
    ("retention_combine", "i", "s", 2.0, true),
    ("retention_finish", "i", "s", 10.0, true),
    ("sequence_add", "i", "s", 2.0, false),
    ("sequence_combine", "i", "s", 10.0, false),
    ("sequence_count", "i", "s", 1.0, false),
    ("sequence_count_finish", "i", "s", 100.0, false),
    ("sequence_events", "i", "s", 1.0, false),
    ("sequence_events_finish", "i", "s", 100.0, false),
    ("sequence_match", "i", "s", 1.0, false),
    ("sequence_match_finish", "i", "s", 100.0, false),
    // A row of a window, and a whole array.
    ("sessionize", "i", "s", 2.0, false),
    ("sessionize", "i", "s", 1000.0, false),
    ("window_funnel", "i", "s", 1.0, false),
    ("window_funnel_add", "i", "s", 2.0, false),
    ("window_funnel_combine", "i", "s", 10.0, false),
    ("window_funnel_finish", "i", "s", 100.0, false),
    ("funnel_summary_in", "i", "s", 10.0, true),
    ("funnel_summary_out", "i", "s", 10.0, true),
    ("funnel_summary_recv", "i", "s", 10.0, true),
    ("funnel_summary_send", "i", "s", 10.0, true),
    ("funnel_table", "i", "s", 10.0, true),
    ("funnel_times", "i", "s", 500.0, false),
    ("funnel_property", "i", "s", 500.0, false),
    ("funnel_excluded", "i", "s", 500.0, false),
    ("rollup", "i", "s", 1.0, false),
    ("funnel_trend_agg", "i", "s", 1.0, false),
    ("funnel_trend_agg_add", "i", "s", 500.0, false),
    ("funnel_trend_chart", "i", "s", 10.0, false),
    ("funnel_trend_combine", "i", "s", 100.0, false),
    ("funnel_trend_finish", "i", "s", 100.0, true),
    ("funnel_trend_in", "i", "s", 10.0, true),
    ("funnel_trend_out", "i", "s", 10.0, true),
    ("funnel_trend_table", "i", "s", 10.0, true),
    ("retention_agg", "i", "s", 1.0, false),
    ("retention_agg_add", "i", "s", 500.0, false),
    ("retention_chart", "i", "s", 10.0, false),
    ("retention_summary_combine", "i", "s", 100.0, false),
    ("retention_summary_finish", "i", "s", 100.0, true),
    ("retention_summary_in", "i", "s", 10.0, true),
    ("retention_summary_out", "i", "s", 10.0, true),
    ("retention_table", "i", "s", 10.0, false),
    ("event_paths", "i", "s", 10.0, false),
    ("event_transitions", "i", "s", 10.0, true),
    ("paths_agg", "i", "s", 1.0, false),
    ("paths_agg_add", "i", "s", 500.0, false),
    ("paths_summary_combine", "i", "s", 100.0, false),
    ("paths_summary_finish", "i", "s", 100.0, true),
    ("paths_summary_in", "i", "s", 10.0, true),
    ("paths_summary_out", "i", "s", 10.0, true),
    ("advisory_lock_key", "i", "s", 5.0, true),
    ("backfill_lock", "i", "s", 5.0, true),
    ("partition_lock_key", "i", "s", 5.0, true),
    ("backfill_jobs_lock", "i", "s", 5.0, true),
    ("period_claim_key", "i", "s", 5.0, true),
    ("lock_timeout_setting", "i", "s", 5.0, false),
    ("yielding_lock_timeout", "s", "s", 5.0, false),
    ("period_label", "i", "s", 5.0, true),
    // Look at the catalog or at tables.
    ("dedupe_options", "s", "s", 100.0, false),
    ("dedupe_statement", "s", "s", 100.0, false),
    ("dedupe_targets", "s", "r", 1000.0, false),
    ("plan_dedupe_table", "s", "r", 1_000_000.0, false),
    ("backfill_differences", "s", "r", 1_000_000.0, false),
    ("backfill_left_behind", "s", "r", 100_000.0, false),
    ("check_backfill", "s", "r", 10_000.0, false),
    ("captured_changes", "s", "s", 10_000.0, false),
    ("count_periods_left", "s", "r", 100_000.0, false),
    ("is_captured", "s", "s", 10.0, false),
    ("next_backfill_period", "s", "r", 10_000.0, false),
    ("check_owner", "s", "s", 10.0, false),
    ("crontab_line", "s", "s", 10.0, true),
    ("owns_table", "s", "s", 10.0, false),
    ("periods_left", "s", "r", 100_000.0, false),
    ("source_periods", "s", "r", 100_000.0, false),
    ("source_periods_of_hours", "s", "r", 10_000.0, false),
    ("stray_captures", "s", "s", 1_000.0, false),
    ("waiting_changes", "s", "s", 10_000.0, false),
    ("key_time", "s", "s", 10.0, false),
    ("archive_of", "s", "r", 100.0, false),
    ("archive_trouble", "s", "r", 100.0, false),
    ("check_archive", "s", "r", 100.0, false),
    ("loose_foreign_keys", "s", "r", 1000.0, false),
    ("marked_foreign_keys", "s", "r", 100.0, false),
    ("waiting_foreign_keys", "s", "r", 1000.0, false),
    ("check_batch_rows", "i", "s", 5.0, false),
    ("check_maintenance", "s", "r", 1000.0, false),
    ("check_server", "s", "s", 100.0, false),
    ("check_partitions", "v", "u", 1_000_000.0, false),
    ("check_unfinished", "v", "u", 100_000.0, false),
    ("check_unreferenced", "s", "r", 100_000.0, false),
    ("check_departure", "s", "r", 100_000.0, false),
    ("kept_because", "s", "u", 100_000.0, false),
    ("refuse_hidden_rows", "s", "r", 100.0, true),
    ("refuse_old_snapshot", "s", "s", 10.0, false),
    ("default_left_behind", "s", "r", 100_000.0, false),
    ("default_period_rows", "s", "r", 10_000.0, false),
    ("departing_partitions", "s", "r", 10_000.0, false),
    ("due_work", "s", "r", 100_000.0, false),
    ("expired_partitions", "s", "r", 10_000.0, false),
    ("has_rows", "s", "r", 10_000.0, false),
    ("may_detach_concurrently", "s", "s", 100.0, true),
    ("never_before", "s", "r", 100.0, false),
    ("next_default_period", "s", "r", 10_000.0, false),
    ("partition_chart", "s", "r", 10_000.0, true),
    ("partition_gaps", "s", "r", 10_000.0, false),
    ("plan_detach_partition", "s", "r", 10_000.0, false),
    ("plan_drain_default", "s", "r", 100_000.0, false),
    ("plan_drain_period", "s", "r", 10_000.0, false),
    ("plan_drop_old_partitions", "s", "r", 100_000.0, false),
    ("plan_expired_table", "s", "r", 1000.0, false),
    ("plan_retire_partitions", "s", "r", 100_000.0, false),
    ("try_check_partitions", "v", "u", 1_000_000.0, false),
    ("upcoming_partitions", "s", "r", 10_000.0, false),
    ("partition_horizon", "s", "r", 10_000.0, false),
    ("partition_periods", "s", "r", 10_000.0, false),
    ("partition_periods_of_day", "s", "r", 10_000.0, false),
    ("partition_range", "s", "s", 50.0, true),
    ("plan_attach_partition", "s", "r", 10_000.0, false),
    ("plan_backfill", "s", "r", 100_000.0, false),
    ("plan_backfill_capture", "s", "r", 10_000.0, false),
    ("plan_backfill_period", "s", "r", 10_000.0, false),
    ("plan_backfill_sequences", "s", "r", 10_000.0, false),
    ("plan_catch_up", "s", "r", 10_000.0, false),
    ("plan_finish_backfill", "s", "r", 10_000.0, false),
    ("plan_abandon_backfill", "s", "r", 10_000.0, false),
    ("plan_convert_table", "s", "r", 100_000.0, false),
    ("plan_split_partition", "s", "r", 100_000.0, false),
    ("plan_unpartition_table", "s", "r", 100_000.0, false),
    ("plan_create_partition", "s", "r", 10_000.0, false),
    ("check_funnel_column", "s", "s", 100.0, true),
    ("check_funnel_filter", "s", "s", 10.0, true),
    ("check_funnel_source", "s", "u", 10_000.0, false),
    ("describe_funnel_query", "s", "u", 1000.0, true),
    ("funnel_query", "s", "s", 1000.0, false),
    ("guard_saved_funnel", "s", "u", 100.0, false),
    ("may_become", "s", "s", 10.0, true),
    ("run_funnel_query", "s", "u", 1_000_000.0, true),
    ("plan_create_partitions", "s", "r", 100_000.0, false),
    ("plan_manage_partitions", "s", "r", 100_000.0, false),
    ("plan_unmanage_partitions", "s", "r", 100.0, false),
    ("plan_partition", "s", "r", 10_000.0, false),
    // Look at the transaction.
    ("in_transaction_block", "s", "u", 1.0, true),
    ("exact_time", "s", "s", 10.0, true),
    ("plan_alone", "v", "u", 100.0, false),
    ("refuse_read_only", "s", "u", 1.0, true),
    ("refuse_transaction_block", "s", "u", 1.0, true),
    // Write.
    ("abandon_attach", "v", "u", 100.0, false),
    ("proves_bound", "s", "s", 100.0, false),
    ("with_unfit_rows", "v", "u", 100.0, false),
    ("structure_of", "v", "u", 1000.0, false),
    ("expect_structure", "v", "u", 100.0, false),
    ("advance_sequence", "v", "u", 100.0, false),
    ("begin_departure", "v", "u", 100.0, false),
    ("remember_session_lock", "v", "u", 1.0, true),
    ("call_archive", "v", "u", 100.0, false),
    ("clean_run_history", "v", "u", 1000.0, false),
    ("detach_concurrently", "v", "u", 100_000.0, false),
    ("start_backfill_workers", "v", "u", 100_000.0, false),
    ("await_backfill_workers", "v", "u", 100_000.0, false),
    ("detach_departing", "v", "u", 100.0, false),
    ("drain_default", "v", "u", 100.0, false),
    ("drain_period", "v", "u", 100.0, false),
    ("drain_periods", "v", "u", 100.0, false),
    ("drop_old_partitions", "v", "u", 100.0, false),
    ("end_departure", "v", "u", 100.0, false),
    ("lock_period", "v", "u", 100.0, false),
    ("maintain", "v", "u", 100.0, false),
    ("maintain_parent", "v", "u", 100.0, false),
    ("note_run", "v", "u", 1000.0, false),
    ("plan_maintain", "v", "u", 1_000_000.0, false),
    ("plan_maintain_parent", "v", "u", 100_000.0, false),
    ("premake_partition", "v", "u", 100.0, false),
    ("release_session_lock", "v", "u", 100.0, false),
    ("retire_partitions", "v", "u", 100.0, false),
    ("run_as_owner", "v", "u", 10_000.0, false),
    ("run_drain_period", "v", "u", 100.0, false),
    ("schedule_maintenance", "v", "u", 100.0, false),
    ("take_session_lock", "v", "u", 100.0, false),
    ("try_as_owner", "v", "u", 100.0, false),
    ("apply_captured", "v", "u", 100.0, false),
    ("conversion_fingerprint", "v", "u", 10_000.0, false),
    ("convert_table", "v", "u", 100.0, false),
    ("expect_unchanged", "v", "u", 100.0, false),
    ("capture_state", "v", "u", 1000.0, false),
    ("copies_of", "v", "u", 1000.0, false),
    ("expect_captured", "v", "u", 100.0, false),
    ("expect_copied", "v", "u", 100.0, false),
    ("expect_partitions", "v", "u", 100.0, false),
    ("run_copying_plan", "v", "u", 100.0, false),
    ("split_partition", "v", "u", 100.0, false),
    ("stop_capture", "v", "u", 100.0, false),
    ("hold_foreign_key", "v", "u", 100.0, false),
    ("hold_foreign_keys", "v", "u", 100.0, false),
    ("prove_foreign_key", "v", "u", 100.0, false),
    ("loosen_foreign_keys", "v", "u", 100.0, false),
    ("tighten_foreign_keys", "v", "u", 100.0, false),
    ("raise_failure", "v", "u", 100.0, false),
    ("run_together", "v", "u", 100.0, false),
    ("unpartition_table", "v", "u", 100.0, false),
    ("attach_partition", "v", "u", 100.0, false),
    ("warn_unsent_rows", "v", "u", 100.0, false),
    ("backfill", "v", "u", 100.0, false),
    ("abandon_backfill", "v", "u", 100.0, false),
    ("apply_changes", "v", "u", 100.0, false),
    ("apply_by_period", "v", "u", 100.0, false),
    ("apply_last_changes", "v", "u", 100.0, false),
    ("apply_waiting_changes", "v", "u", 100.0, false),
    ("await_backfill_jobs", "v", "u", 100.0, false),
    ("claim_period", "v", "u", 100.0, false),
    ("holds_session_lock", "v", "u", 100.0, false),
    ("leave_backfill", "v", "u", 100.0, false),
    ("release_claim", "v", "u", 100.0, false),
    ("copy_periods", "v", "u", 100.0, false),
    ("join_backfill", "v", "u", 100.0, false),
    ("run_backfill_job", "v", "u", 100.0, false),
    ("start_backfill_jobs", "v", "u", 100.0, false),
    ("try_period", "v", "u", 100.0, false),
    ("refuse_failed_periods", "v", "u", 100.0, false),
    ("begin_capture", "v", "u", 100.0, false),
    ("catch_up", "v", "u", 100.0, false),
    ("catch_up_next", "v", "u", 100.0, false),
    ("close_catch_up", "v", "u", 100.0, false),
    ("copy_period", "v", "u", 100.0, false),
    ("copy_rows", "v", "u", 100.0, false),
    ("finish_backfill", "v", "u", 100.0, false),
    ("finish_step", "v", "u", 100.0, false),
    ("lock_backfill", "v", "u", 100.0, false),
    ("open_catch_up", "v", "u", 100.0, false),
    ("remove_capture", "v", "u", 100.0, false),
    ("sweep_backfills", "v", "u", 100.0, false),
    ("sweep_dropped_parents", "v", "u", 100.0, false),
    ("verify_content", "v", "u", 100.0, false),
    ("warn_left_behind", "v", "u", 100.0, false),
    ("refuse_copy", "v", "u", 100.0, false),
    ("warn_abandoned", "v", "u", 100.0, false),
    ("warn_differences", "v", "u", 100.0, false),
    ("warn_sent_changes", "v", "u", 100.0, false),
    ("warn_sent_partitions", "v", "u", 100.0, false),
    ("close_backfill", "v", "u", 100.0, false),
    ("create_partition", "v", "u", 100.0, false),
    ("create_partitions", "v", "u", 100.0, false),
    ("dedupe_batch", "v", "u", 1000.0, false),
    ("dedupe_forget", "v", "u", 1000.0, false),
    ("dedupe_note", "v", "u", 1000.0, false),
    ("dedupe_resume", "v", "u", 1000.0, false),
    ("dedupe_table", "v", "u", 100.0, false),
    ("drop_funnel", "v", "u", 1000.0, false),
    ("dedupe_unreadable", "v", "u", 1000.0, false),
    ("execute_with_retries", "v", "u", 100.0, false),
    ("manage_parent", "v", "u", 100.0, false),
    ("manage_partitions", "v", "u", 100.0, false),
    ("missing_partitions", "v", "u", 10_000.0, false),
    ("open_backfill", "v", "u", 100.0, false),
    ("refresh_funnel", "v", "u", 100.0, false),
    ("refresh_funnels", "v", "u", 100.0, false),
    ("release_backfill", "v", "u", 100.0, false),
    ("run_partition_plan", "v", "u", 100.0, false),
    ("run_plan", "v", "u", 100.0, false),
    ("run_sequence_plan", "v", "u", 100.0, false),
    ("save_funnel", "v", "u", 10_000.0, false),
    ("store_funnel", "v", "u", 10_000.0, false),
    ("try_refresh_funnel", "v", "u", 1_000_000.0, false),
    ("try_partition", "v", "u", 100.0, false),
    ("try_plan", "v", "u", 100.0, false),
    ("try_show_plan", "v", "u", 10_000.0, false),
    ("unmanage_partitions", "v", "u", 100.0, false),
    ("write_partition_settings", "v", "u", 100.0, false),
];

#[test]
fn volatility_parallel_label_cost_and_strictness_are_as_written_here() {
    let (_db, s) = open("");
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for (name, volatility, parallel, cost, strict) in EXPECTED {
        let line =
            format!("{name}: {volatility} {parallel} {cost} {}", if *strict { "strict" } else { "called with NULL" });
        assert!(expected.insert(line), "{name} stands twice");
    }
    let found = lines(
        &s,
        &format!(
            "SELECT DISTINCT format('%s: %s %s %s %s', proname, provolatile, proparallel, procost::numeric, CASE WHEN proisstrict THEN 'strict' ELSE 'called with NULL' END) FROM {ROUTINES} ORDER BY 1"
        ),
    );
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    nothing(
        &s,
        "writers that a parallel worker might run",
        &format!("SELECT p.oid::regprocedure FROM {ROUTINES} AND provolatile = 'v' AND proparallel <> 'u'"),
    );
    nothing(
        &s,
        "sets whose size the planner is not told",
        &format!(
            "SELECT p.oid::regprocedure FROM {ROUTINES} AND proretset AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c') AND prorows NOT BETWEEN 1 AND 1000"
        ),
    );
}

#[test]
fn no_routine_runs_with_the_rights_of_its_owner() {
    let (_db, s) = open("");
    nothing(&s, "SECURITY DEFINER", &format!("SELECT p.oid::regprocedure FROM {ROUTINES} AND prosecdef"));
    nothing(
        &s,
        "views that read with the rights of their owner without need",
        "SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'eventkit'::regnamespace AND relkind = 'v' AND NOT coalesce(reloptions::text LIKE '%security_invoker=%', false) AND EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class t ON t.oid = d.refobjid WHERE r.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND t.relnamespace = 'eventkit'::regnamespace AND t.relkind = 'r')",
    );
}

#[test]
fn what_is_written_in_sql_does_not_depend_on_the_search_path() {
    let (_db, s) = open("");
    let unpinned = lines(
        &s,
        &format!(
            "SELECT DISTINCT format('%s %s', prokind, proname) FROM {ROUTINES} AND prolang IN (SELECT oid FROM pg_language WHERE lanname IN ('sql', 'plpgsql')) \
             AND NOT coalesce(proconfig::text LIKE '%search_path=pg_catalog, pg_temp%', false) AND prosqlbody IS NULL ORDER BY 1"
        ),
    );
    // A procedure with a SET clause may not COMMIT. The plan reads the users' tables with their own functions and
    // types in reach, as the call would. All of them qualify every name: tests with look-alikes show it.
    assert_eq!(
        unpinned,
        [
            "f plan_dedupe_table",
            "p apply_waiting_changes",
            "p attach_partition",
            "p backfill",
            "p catch_up",
            "p convert_table",
            "p copy_periods",
            "p create_partition",
            "p create_partitions",
            "p dedupe_table",
            "p drain_default",
            "p drain_periods",
            "p drop_old_partitions",
            "p finish_backfill",
            "p maintain",
            "p maintain_parent",
            "p manage_parent",
            "p manage_partitions",
            "p refresh_funnel",
            "p refresh_funnels",
            "p retire_partitions",
            "p run_backfill_job",
            "p run_copying_plan",
            "p split_partition",
            "p unpartition_table",
        ]
    );
    nothing(
        &s,
        "settings that a function changes besides those known",
        &format!(
            "SELECT p.oid::regprocedure || ' ' || setting FROM (SELECT p.oid, unnest(proconfig) AS setting FROM {ROUTINES}) AS p WHERE setting !~ '^(search_path|TimeZone|DateStyle|extra_float_digits|lock_timeout|default_tablespace|row_security|enable_hashjoin|enable_mergejoin|enable_seqscan|jit|synchronize_seqscans|max_parallel_workers_per_gather)='",
        ),
    );
}

#[test]
fn only_those_told_to_may_write() {
    let (_db, s) = open("");
    let serving = "EXISTS (SELECT FROM pg_aggregate AS a WHERE p.oid IN (a.aggtransfn, a.aggcombinefn, a.aggfinalfn))";
    let may = "has_function_privilege('public', p.oid, 'EXECUTE')";
    // What serves an aggregate trusts the bytes of the state, so nobody else may pass any.
    nothing(
        &s,
        "functions that serve an aggregate and are open to all",
        &format!("SELECT p.oid::regprocedure FROM {ROUTINES} AND {serving} AND {may}"),
    );
    // The helpers of these can do nothing that their caller could not type, and need no grant of their own.
    assert_eq!(
        lines(&s, &format!("SELECT proname FROM {ROUTINES} AND NOT {may} AND NOT {serving} ORDER BY 1")),
        [
            "abandon_backfill",
            "attach_partition",
            "backfill",
            "catch_up",
            "convert_table",
            "create_partition",
            "create_partitions",
            "dedupe_table",
            "drain_default",
            "drop_funnel",
            "drop_old_partitions",
            "finish_backfill",
            "maintain",
            "manage_partitions",
            "refresh_funnel",
            "refresh_funnels",
            "save_funnel",
            "schedule_maintenance",
            "split_partition",
            "unmanage_partitions",
            "unpartition_table",
        ]
    );
    // A grant on one is enough for all that it does.
    nothing(
        &s,
        "routines that call one that has to be granted",
        &format!(
            "SELECT c.proname || ' calls ' || q.proname FROM pg_proc c, (SELECT p.proname FROM {ROUTINES} AND NOT {may} AND NOT {serving}) q \
             WHERE c.pronamespace = 'eventkit'::regnamespace AND c.prosrc ~ ('(?n)(^ *(CALL|PERFORM)|:=|SELECT) eventkit[.]' || q.proname || '[(](?!'')')"
        ),
    );
    assert_eq!(
        value(
            &s,
            "SELECT has_schema_privilege('public', 'eventkit', 'USAGE') || ' ' || has_schema_privilege('public', 'eventkit', 'CREATE')"
        ),
        "true false"
    );
    let tables = lines(
        &s,
        "SELECT format('%s: %s%s', c.relname, (SELECT string_agg(a.privilege_type, ' ' ORDER BY a.privilege_type) FROM aclexplode(c.relacl) a WHERE a.grantee = 0), CASE WHEN relrowsecurity THEN ', by row' END) \
         FROM pg_class c WHERE relnamespace = 'eventkit'::regnamespace AND relkind IN ('r', 'v', 'S') ORDER BY 1",
    );
    assert_eq!(
        tables,
        [
            "backfill_periods: DELETE INSERT SELECT UPDATE, by row",
            "backfill_progress: SELECT",
            "backfills: DELETE INSERT SELECT UPDATE, by row",
            "dedupe_progress: DELETE INSERT SELECT UPDATE, by row",
            "funnel_latest: SELECT",
            "funnel_refreshes: DELETE INSERT SELECT UPDATE, by row",
            "funnel_results: DELETE INSERT SELECT UPDATE, by row",
            "funnel_summaries: DELETE INSERT SELECT UPDATE, by row",
            "partition_departures: DELETE INSERT SELECT UPDATE, by row",
            "partition_health: SELECT",
            "partition_settings: DELETE INSERT SELECT UPDATE, by row",
            "partitions: SELECT",
            "run_history: DELETE SELECT, by row",
            "run_history_id_seq: ",
            "saved_funnels: DELETE INSERT SELECT UPDATE, by row",
        ]
    );
}

#[test]
fn every_aggregate_runs_in_parts() {
    let (_db, s) = open("");
    nothing(
        &s,
        "aggregates without a combine function, with a state that cannot be shipped, or not parallel safe",
        "SELECT p.oid::regprocedure FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid WHERE p.pronamespace = 'eventkit'::regnamespace \
         AND (aggcombinefn = 0 OR aggtranstype = 'internal'::regtype OR proparallel <> 's' OR (SELECT typtype FROM pg_type WHERE oid = aggtranstype) = 'p')",
    );
}

/// Where all tables are published, a row that no identity tells could not be deleted.
#[test]
fn every_table_has_a_replica_identity() {
    let (_db, s) = open("");
    nothing(
        &s,
        "tables without a replica identity",
        "SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'eventkit'::regnamespace AND c.relkind = 'r' AND c.relreplident <> 'f' \
         AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND c.relreplident = 'd')",
    );
}

/// The signatures as they were when they were last agreed on. To agree on others: EVENTKIT_BLESS=1 in the environment.
#[test]
fn signatures_are_those_agreed_on() {
    let (_db, s) = open("SET search_path = public");
    let found = lines(
        &s,
        &format!(
            "SELECT format('%s %s(%s)%s', CASE prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, proname, pg_get_function_arguments(p.oid), ' returns ' || pg_get_function_result(p.oid)) \
             FROM {ROUTINES} ORDER BY 1"
        ),
    )
    .join("\n")
        + "\n";
    let file = eventkit_tests::place::checkout().join("pgrx-tests/tests/golden/signatures.txt");
    if std::env::var_os("EVENTKIT_BLESS").is_some_and(|set| set == "1") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &found).unwrap();
    }
    let agreed = std::fs::read_to_string(&file).unwrap_or_default();
    let gone: Vec<_> = agreed.lines().filter(|line| !found.lines().any(|found| found == *line)).collect();
    let new: Vec<_> = found.lines().filter(|line| !agreed.lines().any(|agreed| agreed == *line)).collect();
    assert!(gone.is_empty() && new.is_empty(), "gone: {gone:#?}\nnew: {new:#?}\nEVENTKIT_BLESS=1 agrees to that");
    assert_eq!(found, agreed);
}
