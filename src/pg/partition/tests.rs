//! What needs a server but no COMMIT: plans read from a real catalog, partitions made inside of a transaction.

#[pgrx::pg_schema]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]
mod tests {
    use pgrx::prelude::*;

    const PARENT: &str =
        "CREATE TABLE public.\"Ev\"\"ents\" (id bigint, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)";

    fn text(query: &str) -> String {
        Spi::get_one::<String>(query).unwrap().unwrap_or_else(|| "NULL".to_owned())
    }

    #[pg_test]
    fn a_plan_has_the_order_that_never_blocks() {
        Spi::run(PARENT).unwrap();
        assert_eq!(
            text(
                "SELECT string_agg(concat_ws(' ', split_part(statement, ' ', 1), split_part(statement, ' ', 2), '/', lock), ', ' ORDER BY step)
                 FROM eventkit.plan_create_partition('public.\"Ev\"\"ents\"', '2024-02-29')"
            ),
            "CREATE TABLE / ACCESS SHARE, CREATE UNIQUE /, ALTER TABLE /, ANALYZE \"public\".\"Ev\"\"ents_20240229\" /, \
             LOCK TABLE / SHARE UPDATE EXCLUSIVE, ALTER TABLE / SHARE UPDATE EXCLUSIVE, ALTER TABLE /"
        );
    }

    #[pg_test]
    fn create_partition_works_in_a_transaction_and_twice() {
        Spi::run(PARENT).unwrap();
        for _ in 0..2 {
            Spi::run("CALL eventkit.create_partition('public.\"Ev\"\"ents\"', '2024-02-29')").unwrap();
        }
        assert_eq!(
            text(
                "SELECT concat_ws(' ', partition, from_time AT TIME ZONE 'UTC', to_time AT TIME ZONE 'UTC') FROM eventkit.partitions"
            ),
            "\"Ev\"\"ents_20240229\" 2024-02-29 00:00:00 2024-03-01 00:00:00"
        );
    }

    #[pg_test]
    fn a_sequence_is_advanced_and_never_set_back() {
        Spi::run("CREATE SEQUENCE up; CREATE SEQUENCE down INCREMENT -1; SELECT setval('up', 50)").unwrap();
        assert_eq!(text("SELECT concat_ws(' ', eventkit.advance_sequence('up', 49), nextval('up'))"), "51");
        assert_eq!(text("SELECT concat_ws(' ', eventkit.advance_sequence('up', 99), nextval('up'))"), "99 100");
        assert_eq!(text("SELECT concat_ws(' ', eventkit.advance_sequence('down', -7), nextval('down'))"), "-7 -8");
        assert_eq!(text("SELECT coalesce(eventkit.advance_sequence('up', NULL), 0)::text"), "0");
    }

    #[pg_test]
    fn a_number_drawn_by_nobody_counts_as_behind() {
        Spi::run("CREATE SEQUENCE fresh").unwrap();
        assert_eq!(text("SELECT concat_ws(' ', eventkit.advance_sequence('fresh', 1), nextval('fresh'))"), "1 2");
    }

    #[pg_test]
    fn open_ranges_are_infinite_and_the_default_has_none() {
        Spi::run(
            "CREATE TABLE d (at date) PARTITION BY RANGE (at);
             CREATE TABLE d_old PARTITION OF d FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
             CREATE TABLE d_new PARTITION OF d FOR VALUES FROM ('2025-01-01') TO (MAXVALUE);
             CREATE TABLE d_rest PARTITION OF d DEFAULT",
        )
        .unwrap();
        assert_eq!(
            text(
                "SELECT string_agg(concat_ws(' ', partition, from_time AT TIME ZONE 'UTC', to_time AT TIME ZONE 'UTC'), ', ' ORDER BY from_time)
                 FROM eventkit.partitions WHERE parent = 'd'::regclass"
            ),
            "d_old -infinity 2024-01-01 00:00:00, d_new 2025-01-01 00:00:00 infinity, d_rest"
        );
    }

    #[pg_test(error = "2023-06-01 overlaps partition \"public\".\"d_old\" of \"public\".\"d\"")]
    fn an_open_range_overlaps() {
        Spi::run(
            "CREATE TABLE public.d (at date) PARTITION BY RANGE (at);
             CREATE TABLE public.d_old PARTITION OF public.d FOR VALUES FROM (MINVALUE) TO ('2024-01-01')",
        )
        .unwrap();
        Spi::run("CALL eventkit.create_partition('public.d', '2023-06-01')").unwrap();
    }

    #[pg_test]
    fn everything_of_this_subject_is_described() {
        assert_eq!(
            text(
                "SELECT coalesce(string_agg(p.proname, ', '), 'none') FROM pg_proc p
                 WHERE p.pronamespace = 'eventkit'::regnamespace AND p.proname ~ 'partition|backfill|sequence|retries'
                   AND obj_description(p.oid, 'pg_proc') !~ '^[A-Z][a-z]+s .*(SELECT|CALL) .*eventkit[.]'
                    OR p.pronamespace = 'eventkit'::regnamespace AND p.proname ~ 'partition|backfill|sequence|retries'
                   AND obj_description(p.oid, 'pg_proc') IS NULL"
            ),
            "none"
        );
    }
}
