//! `dedupe_table` and its plan: SQL alone, since only a procedure of SQL may COMMIT.

pgrx::extension_sql_file!(
    "../../../sql/dedupe_table.sql",
    name = "dedupe_table",
    requires = [dedupe_hstore_array, dedupe_jsonb_array, dedupe_jsonb_document],
);
