//! Making partitions for a range: calendars, keys, zones, names, interruptions, callers at once, settings of the session.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::kill::{kill_at, stopping_cluster};
use common::{fails, lines, open, value};
use eventkit_tests::{Session, wait};

/// Partitions as `name from to`, in UTC, in order.
fn partitions(s: &Session, parent: &str) -> Vec<String> {
    lines(
        s,
        &format!(
            "SELECT format('%s %s %s', relname, to_char(from_time AT TIME ZONE 'UTC', 'MM-DD HH24:MI'), to_char(to_time AT TIME ZONE 'UTC', 'MM-DD HH24:MI')) \
             FROM eventkit.partitions JOIN pg_class c ON c.oid = partition WHERE parent = '{parent}'::regclass ORDER BY from_time"
        ),
    )
}

fn manage(s: &Session, parent: &str, more: &str) {
    s.query(&format!("CALL eventkit.manage_partitions('{parent}', premake => 0{more})")).unwrap();
}

/// Runs the statements of a plan, which ends each transaction itself.
fn run(s: &Session, plan: &[String]) {
    s.query("BEGIN").unwrap();
    for statement in plan {
        s.query(statement).unwrap();
        if statement == "COMMIT" {
            s.query("BEGIN").unwrap();
        }
    }
    s.query("COMMIT").unwrap();
}

fn create(s: &Session, parent: &str, from: &str, to: &str) {
    s.query(&format!("CALL eventkit.create_partitions('{parent}', '{from}', '{to}')")).unwrap();
}

#[test]
fn days_of_a_zone_have_23_or_25_hours() {
    let (_db, s) = open("CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at)");
    manage(&s, "e", ", time_zone => 'Europe/Berlin'");
    create(&s, "e", "2024-03-30 12:00Z", "2024-04-01 00:00Z");
    create(&s, "e", "2024-10-27 00:00+02", "2024-10-28 00:00+01");
    assert_eq!(
        partitions(&s, "e")[..4],
        [
            "e_20240330 03-29 23:00 03-30 23:00",
            "e_20240331 03-30 23:00 03-31 22:00",
            "e_20240401 03-31 22:00 04-01 22:00",
            "e_20241027 10-26 22:00 10-27 23:00",
        ]
    );
}

#[test]
fn zones_whose_clocks_skip_midnight_or_a_day() {
    let (_db, s) = open(
        "CREATE TABLE b (at timestamptz) PARTITION BY RANGE (at); CREATE TABLE a (at timestamptz) PARTITION BY RANGE (at); CREATE TABLE d (at date) PARTITION BY RANGE (at)",
    );
    manage(&s, "b", ", time_zone => 'America/Sao_Paulo'");
    create(&s, "b", "2018-11-03 12:00Z", "2018-11-05 12:00Z");
    assert_eq!(
        partitions(&s, "b")[..3],
        [
            "b_20181103 11-03 03:00 11-04 03:00",
            "b_20181104 11-04 03:00 11-05 02:00",
            "b_20181105 11-05 02:00 11-06 02:00"
        ]
    );
    for table in ["a", "d"] {
        manage(&s, table, ", time_zone => 'Pacific/Apia'");
        create(&s, table, "2011-12-29 12:00Z", "2011-12-31 00:00Z");
    }
    assert_eq!(partitions(&s, "a")[..2], ["a_20111229 12-29 10:00 12-30 10:00", "a_20111231 12-30 10:00 12-31 10:00"]);
    // A date may name the day that nobody lived.
    assert_eq!(
        partitions(&s, "d")[..3],
        [
            "d_20111229 12-29 00:00 12-30 00:00",
            "d_20111230 12-30 00:00 12-31 00:00",
            "d_20111231 12-31 00:00 01-01 00:00"
        ]
    );
    assert_eq!(fails(&s, "CALL eventkit.create_partition('a', '2011-12-30')").sqlstate, "22008");
}

#[test]
fn the_servers_zones_tile_time() {
    let (_db, s) = open("CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at)");
    let zones = lines(
        &s,
        "SELECT name FROM pg_timezone_names WHERE name !~ '^(posix|right)/|^(Factory|posixrules|localtime)$' ORDER BY hashtext(name) LIMIT 60",
    );
    assert!(zones.len() >= 40, "{zones:?}");
    for zone in zones {
        for period in ["1 day", "1 hour", "1 month"] {
            s.query(&format!(
                "DELETE FROM eventkit.partition_settings; INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry) VALUES ('e', '{period}', '{zone}', 0, 'detach')"
            ))
            .unwrap();
            // No gap, no overlap, no name twice; and each period begins when the server's clocks first show it.
            let wrong = lines(
                &s,
                "SELECT p.* FROM (SELECT *, lag(end_time) OVER (ORDER BY first_time) AS before, count(*) OVER (PARTITION BY partition_name) AS named \
                 FROM eventkit.partition_periods('e', '2023-01-01 00:00Z', '2023-05-01 00:00Z')) p, eventkit.partition_settings s \
                 WHERE before <> first_time OR named <> 1 OR first_time AT TIME ZONE s.time_zone < p.period \
                    OR (first_time - interval '1 microsecond') AT TIME ZONE s.time_zone >= p.period",
            );
            assert!(wrong.is_empty(), "{zone} {period}: {wrong:?}");
        }
    }
}

#[test]
fn periods_of_hours_weeks_and_months() {
    let (_db, s) = open("");
    for (period, from, to, expected) in [
        ("1 hour", "2024-02-29 22:30Z", "2024-03-01 00:30Z", "2024022922 2024022923 2024030100"),
        ("6 hours", "2024-02-29 22:30Z", "2024-03-01 00:30Z", "2024022918 2024030100"),
        ("1 week", "2024-12-31 00:00Z", "2025-01-06 00:00:00.000001Z", "20241230 20250106"),
        ("1 month", "2024-01-31 00:00Z", "2024-03-01 00:00Z", "202401 202402"),
        ("3 months", "2024-01-31 00:00Z", "2024-07-01 00:00Z", "202401 202404"),
        ("1 year", "2024-01-31 00:00Z", "2025-01-01 00:00Z", "202401"),
    ] {
        s.query("DROP TABLE IF EXISTS e; CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at)").unwrap();
        s.query(&format!("INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry) VALUES ('e', '{period}', 'UTC', 0, 'detach')")).unwrap();
        create(&s, "e", from, to);
        let names: Vec<_> = partitions(&s, "e").iter().map(|p| p.split(' ').next().unwrap()[2..].to_owned()).collect();
        assert_eq!(names.join(" "), expected, "{period}");
        s.query("DELETE FROM eventkit.partition_settings").unwrap();
    }
    // A day of hours is all of them.
    s.query("DROP TABLE e; CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at)").unwrap();
    s.query("INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry) VALUES ('e', '1 hour', 'Europe/Berlin', 0, 'detach')").unwrap();
    s.query("CALL eventkit.create_partition('e', '2024-03-31')").unwrap();
    assert_eq!(partitions(&s, "e").len(), 23);
}

#[test]
fn every_type_of_key_gets_bounds_of_its_own() {
    let (_db, s) = open("");
    for (key, unit, inside, outside) in [
        ("date", "", "'2024-02-29'", "'2024-03-01'"),
        ("timestamp", "", "'2024-02-29 23:59:59.999999'", "'2024-03-01'"),
        ("timestamptz", "", "'2024-02-29 18:14:59.999999Z'", "'2024-02-29 18:15Z'"),
        ("bigint", "s", "1709230499", "1709230500"),
        ("bigint", "ms", "1709230499999", "1709230500000"),
        ("bigint", "us", "1709230499999999", "1709230500000000"),
        ("bigint", "ns", "1709230499999999999", "1709230500000000000"),
        ("uuid", "", "'018df613-a89f-7fff-bfff-ffffffffffff'", "'018df613-a8a0-7000-8000-000000000000'"),
    ] {
        s.query(&format!(
            "DROP TABLE IF EXISTS e; CREATE TABLE e (id int, k {key} PRIMARY KEY) PARTITION BY RANGE (k)"
        ))
        .unwrap();
        let unit = if unit.is_empty() { String::new() } else { format!(", key_unit => '{unit}'") };
        manage(&s, "e", &format!(", time_zone => 'Asia/Kathmandu'{unit}"));
        s.query("SET client_min_messages = debug1").unwrap();
        let _ = s.take_notices();
        create(&s, "e", "2024-02-29 12:00Z", "2024-02-29 12:01Z");
        let heard = s.take_notices().join("\n");
        assert!(
            heard.contains("is implied by existing constraints") && !heard.contains("verifying table"),
            "{key}: {heard}"
        );
        s.query("RESET client_min_messages").unwrap();
        s.query(&format!("INSERT INTO e VALUES (1, {inside})")).unwrap();
        assert_eq!(value(&s, "SELECT tableoid::regclass FROM e"), "e_20240229", "{key}");
        assert_eq!(fails(&s, &format!("INSERT INTO e VALUES (1, {outside})")).sqlstate, "23514", "{key}");
        // The view says when that is: read as UTC where the key has no zone.
        let shown =
            if ["date", "timestamp"].contains(&key) { "02-29 00:00 03-01 00:00" } else { "02-28 18:15 02-29 18:15" };
        assert_eq!(partitions(&s, "e")[0], format!("e_20240229 {shown}"), "{key}");
        create(&s, "e", "2024-02-29 12:00Z", "2024-02-29 12:01Z");
        assert_eq!(partitions(&s, "e").len(), 2, "{key}");
    }
    s.query("CREATE TABLE n (k bigint) PARTITION BY RANGE (k)").unwrap();
    assert_eq!(fails(&s, "CALL eventkit.create_partition('n', '2024-01-01')").sqlstate, "22023");
    manage(&s, "n", ", key_unit => 'ns'");
    assert_eq!(fails(&s, "CALL eventkit.create_partition('n', '2300-01-01')").sqlstate, "22008");
    s.query("CREATE TABLE u (k uuid) PARTITION BY RANGE (k)").unwrap();
    assert_eq!(fails(&s, "CALL eventkit.create_partition('u', '1969-01-01')").sqlstate, "22008");
}

#[test]
fn what_is_planned_is_what_is_made() {
    let (_db, s) = open("CREATE TABLE e (id int, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)");
    let call = "create_partitions('e', '2024-01-01 00:00Z', '2024-01-04 00:00Z')";
    s.query("CALL eventkit.create_partition('e', '2024-01-02')").unwrap();
    let plan = lines(&s, &format!("SELECT statement FROM eventkit.plan_{call} ORDER BY step"));
    assert_eq!(plan.iter().filter(|s| *s == "COMMIT").count(), 2, "the day that exists is left out");
    run(&s, &plan);
    assert_eq!(partitions(&s, "e").len(), 3);
    s.query(&format!("CALL eventkit.{call}")).unwrap();
    assert_eq!(lines(&s, &format!("SELECT statement FROM eventkit.plan_{call}")).len(), 0);
    s.query("DROP TABLE e_20240101, e_20240103").unwrap();
    // The statements of the call, as the server saw them.
    s.query(
        "CREATE TABLE seen (n serial, tag text, object text); \
         CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen (tag, object) SELECT command_tag, object_identity FROM pg_event_trigger_ddl_commands(); END'; \
         CREATE EVENT TRIGGER see ON ddl_command_end EXECUTE FUNCTION see()",
    )
    .unwrap();
    s.query(&format!("CALL eventkit.{call}")).unwrap();
    let called = lines(&s, "SELECT tag, object FROM seen ORDER BY n");
    s.query("DROP TABLE e_20240101, e_20240103; TRUNCATE seen").unwrap();
    run(&s, &plan);
    assert_eq!(lines(&s, "SELECT tag, object FROM seen ORDER BY n"), called);
    assert!(called.len() >= 10, "{called:?}");
}

#[test]
fn a_stopped_call_leaves_whole_partitions_and_is_repeated() {
    // Each kind of statement of a partition stops where the test says so.
    let cluster = stopping_cluster(
        "CREATE TABLE e (id int, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); ALTER TABLE e REPLICA IDENTITY FULL; \
         CREATE TABLE rest PARTITION OF e DEFAULT",
        "s.tag = tg_tag || (SELECT count(*) FROM pg_class WHERE relname ~ '^e_2024' AND relkind = 'r')",
    );
    let whole = "SELECT count(*) FROM pg_class c WHERE relname ~ '^e_2024' AND relkind = 'r' AND NOT relispartition";
    let call = "CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-05 00:00Z')";
    for (round, tag) in ["CREATE TABLE1", "CREATE INDEX2", "ALTER TABLE3"].into_iter().enumerate() {
        let s = kill_at(&cluster, call, tag, "");
        assert_eq!(value(&s, whole), "0", "{tag}");
        assert_eq!(
            value(&s, "SELECT count(*) FROM pg_constraint WHERE conname ~ '^partition_(bound|excludes)'"),
            "0",
            "{tag}"
        );
        assert_eq!(partitions(&s, "e").iter().filter(|p| p.starts_with("e_")).count(), round, "{tag}");
    }
    let s = Session::open(&cluster, "d", "last").unwrap();
    s.query(call).unwrap();
    assert_eq!(partitions(&s, "e").iter().filter(|p| p.starts_with("e_")).count(), 4);
}

#[test]
fn two_callers_of_one_range() {
    let (db, a) = open("CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at)");
    let b = db.session("second").unwrap();
    for round in 0..3 {
        let call =
            format!("CALL eventkit.create_partitions('e', '202{round}-01-01 00:00Z', '202{round}-01-31 00:00Z')");
        a.run(&call);
        b.run(&call);
        a.join().unwrap();
        b.join().unwrap();
    }
    assert_eq!(partitions(&a, "e").len(), 90);
    a.query("BEGIN; CALL eventkit.create_partitions('e', '2030-01-01 00:00Z', '2030-01-03 00:00Z')").unwrap();
    b.run("CALL eventkit.create_partitions('e', '2030-01-01 00:00Z', '2030-01-03 00:00Z')");
    wait::until_blocked(db.cluster, &b).unwrap();
    a.query("ROLLBACK").unwrap();
    b.join().unwrap();
    assert_eq!(partitions(&a, "e").len(), 92);
}

#[test]
fn a_long_reader_delays_and_never_blocks_others() {
    let (db, s) =
        open("CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at); CREATE TABLE rest PARTITION OF e DEFAULT");
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN; SELECT count(*) FROM e").unwrap();
    let refused =
        fails(&s, "CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-03 00:00Z', '5 milliseconds')");
    assert_eq!(refused.sqlstate, "55P03");
    assert!(refused.hint.is_some(), "{refused}");
    assert_eq!(value(&s, "SELECT count(*) FROM pg_class WHERE relname ~ '^e_'"), "0");
    s.run("CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-03 00:00Z', '50 milliseconds')");
    wait::until_blocked(db.cluster, &s).unwrap();
    reader.query("COMMIT").unwrap();
    s.join().unwrap();
    assert_eq!(partitions(&s, "e").len(), 3);
}

#[test]
fn hostile_names_settings_and_look_alikes_change_nothing() {
    let (_db, s) = open(
        "CREATE SCHEMA evil;
         CREATE FUNCTION evil.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
         CREATE FUNCTION evil.cmp(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.trap(); RETURN true; END $$;
         CREATE OPERATOR evil.>= (FUNCTION = evil.cmp, LEFTARG = timestamptz, RIGHTARG = timestamptz);
         CREATE OPERATOR evil.< (FUNCTION = evil.cmp, LEFTARG = timestamptz, RIGHTARG = timestamptz);
         CREATE FUNCTION evil.eq(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.trap(); RETURN true; END $$;
         CREATE OPERATOR evil.= (FUNCTION = evil.eq, LEFTARG = oid, RIGHTARG = oid);
         CREATE FUNCTION evil.no(boolean) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.trap(); RETURN true; END $$;
         CREATE FUNCTION evil.statement_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.trap(); RETURN NULL; END $$;
         CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.trap(); RETURN ''; END $$;
         CREATE TABLE evil.pg_class (oid oid, relname name); CREATE TYPE evil.timestamp AS (x int)",
    );
    for setting in [
        "TimeZone = 'America/New_York'",
        "DateStyle = 'German, DMY'",
        "IntervalStyle = 'sql_standard'",
        "standard_conforming_strings = off",
        "search_path = evil, pg_catalog, public",
    ] {
        s.query(&format!("SET {setting}")).unwrap();
    }
    let names = ["é".repeat(31), "x".repeat(63), "日".repeat(21), "a.b'c%I\\\"\"d".to_owned()];
    for name in &names {
        let quoted = format!("public.\"{name}\"").replace('\'', "''").replace('\\', "\\\\");
        s.query(&format!("CREATE TABLE public.\"{name}\" (\"a\"\"t\" timestamptz, PRIMARY KEY (\"a\"\"t\")) PARTITION BY RANGE (\"a\"\"t\")")).unwrap();
        s.query(&format!("CALL eventkit.manage_partitions('{quoted}', premake => 1, time_zone => 'Asia/Tokyo')"))
            .unwrap();
        s.query(&format!("CALL eventkit.create_partitions('{quoted}', '2024-02-29T12:00Z', '2024-02-29T12:01Z')"))
            .unwrap();
        assert_eq!(
            value(
                &s,
                &format!(
                    "SELECT pg_catalog.string_agg(from_time AT TIME ZONE 'UTC' || '', ',') FROM eventkit.partitions WHERE parent::oid OPERATOR(pg_catalog.=) '{quoted}'::regclass::oid AND from_time OPERATOR(pg_catalog.<) '2024-12-31'"
                )
            ),
            "28.02.2024 15:00:00"
        );
    }
    s.query("RESET search_path").unwrap();
    let names = lines(&s, "SELECT relname FROM pg_catalog.pg_class JOIN eventkit.partitions ON partition = oid");
    assert_eq!(names.len(), 12);
    assert!(names.iter().all(|n| n.len() <= 63 && n.as_bytes()[n.len() - 9] == b'_'), "{names:?}");
}

#[test]
fn ranges_and_strangers_are_refused_with_a_reason() {
    let (_db, s) = open(
        "CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at); CREATE TABLE e_20240103 (x int); \
         CREATE TABLE odd PARTITION OF e FOR VALUES FROM ('2024-01-19 06:00Z') TO ('2024-01-22 12:00Z')",
    );
    for (range, state, named) in [
        ("'2024-01-02 00:00Z', '2024-01-02 00:00Z'", "22023", "\"to_time\""),
        ("'2024-01-02 00:00Z', '2024-01-01 00:00Z'", "22023", "\"to_time\""),
        ("'2024-01-02 00:00Z', 'infinity'", "22008", "\"to_time\""),
        ("NULL, '2024-01-01 00:00Z'", "22004", "\"from_time\""),
        ("'1900-01-02 00:00Z', '2024-01-01 00:00Z'", "54000", "20000"),
        ("'2024-01-03 00:00Z', '2024-01-04 00:00Z'", "42P07", "\"e_20240103\""),
        ("'2024-01-20 00:00Z', '2024-01-21 00:00Z'", "42P17", "\"odd\""),
    ] {
        let refused = fails(&s, &format!("CALL eventkit.create_partitions('e', {range})"));
        assert_eq!(refused.sqlstate, state, "{range}: {refused}");
        assert!(refused.message.contains(named), "{range}: {refused}");
        assert!(refused.detail.is_some() && refused.hint.is_some(), "{range}: {refused}");
    }
    assert_eq!(partitions(&s, "e").len(), 1);
}

#[test]
fn the_rest_of_a_period_that_another_partition_cuts_is_made() {
    let (_db, s) = open(
        "CREATE TABLE e (at timestamptz PRIMARY KEY) PARTITION BY RANGE (at); \
         CREATE TABLE odd PARTITION OF e FOR VALUES FROM ('2024-01-10 06:00Z') TO ('2024-01-11 06:00Z')",
    );
    let periods = "SELECT string_agg(concat_ws(' ', partition_name, partition, exact, covered), ', ' ORDER BY period) FROM eventkit.partition_periods('e', '2024-01-10 00:00Z', '2024-01-12 00:00Z')";
    assert_eq!(value(&s, periods), "e_20240110 odd f f, e_20240111 odd f f");
    for _ in 0..2 {
        s.query("CALL eventkit.create_partitions('e', '2024-01-10 00:00Z', '2024-01-12 00:00Z'); CALL eventkit.create_partition('e', '2024-01-10')").unwrap();
        assert_eq!(
            lines(
                &s,
                "SELECT partition, from_time AT TIME ZONE 'UTC', to_time AT TIME ZONE 'UTC' FROM eventkit.partitions ORDER BY 2"
            ),
            [
                "e_20240110|2024-01-10 00:00:00|2024-01-10 06:00:00",
                "odd|2024-01-10 06:00:00|2024-01-11 06:00:00",
                "e_20240111|2024-01-11 06:00:00|2024-01-12 00:00:00"
            ]
        );
        assert_eq!(value(&s, periods), "e_20240110 e_20240110 f t, e_20240111 odd f t");
    }
    s.query(
        "INSERT INTO e SELECT '2024-01-10 00:00Z'::timestamptz + i * interval '1 hour' FROM generate_series(0, 47) i",
    )
    .unwrap();
}

#[test]
fn what_a_partition_has_left_under_its_names_is_in_nobodys_way() {
    let (_db, s) = open(
        "CREATE TABLE e (id int, at timestamptz, v int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE INDEX e_v ON e (v); CREATE STATISTICS e_s ON id, v FROM e",
    );
    s.query("CALL eventkit.create_partition('e', '2024-01-01')").unwrap();
    s.query("ALTER TABLE e DETACH PARTITION e_20240101; ALTER TABLE e_20240101 RENAME TO kept").unwrap();
    s.query("CALL eventkit.create_partition('e', '2024-01-01')").unwrap();
    let indexes = "SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 'e_20240101'::regclass";
    assert_eq!(value(&s, indexes), "e_pkey_2_20240101 e_v_2_20240101");
    assert_eq!(value(&s, "SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = 'e_20240101'::regclass"), "1");
    // The same for a split.
    s.query("CREATE TABLE o (id int, at timestamptz, PRIMARY KEY (id, at)); INSERT INTO o SELECT n, now() - n * interval '1 day' FROM generate_series(1, 3) n").unwrap();
    let yesterday = value(&s, "SELECT to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYYMMDD')");
    s.query(&format!("CREATE TABLE other (x int); CREATE INDEX o_pkey_{yesterday} ON other (x)")).unwrap();
    s.query("CALL eventkit.convert_table('o', 'at')").unwrap();
    s.query("CALL eventkit.split_partition('o')").unwrap();
    assert_eq!(value(&s, &format!("SELECT count(*) FROM o_{yesterday}")), "1");
}
