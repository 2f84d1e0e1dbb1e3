//! The view of what is wrong: one row for each thing that is, none when all is well; the chart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails, lines, open, value};
use eventkit_tests::shared::Database;
use eventkit_tests::{Session, wait};

fn what(s: &Session) -> String {
    lines(s, "SELECT level, what FROM eventkit.partition_health ORDER BY level, what").join("\n")
}

#[test]
fn each_thing_that_is_wrong_has_a_row_and_its_hint_mends_it() {
    let (_db, s) = open("CREATE TABLE e (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at)");
    assert_eq!(what(&s), "", "nothing is managed");
    s.query("CALL eventkit.manage_partitions('e', premake => 2, retention => '30 days')").unwrap();
    assert_eq!(what(&s), "warning|maintain has never run");
    s.query("CALL eventkit.maintain()").unwrap();
    assert_eq!(what(&s), "");
    let name = |days: i32| {
        value(&s, &format!("SELECT 'e_' || to_char(now() AT TIME ZONE 'UTC' + {days} * interval '1 day', 'YYYYMMDD')"))
    };
    let (today, tomorrow, next) = (name(0), name(1), name(2));
    for (breaks, level, says, mends) in [
        (format!("DROP TABLE {next}"), "warning", "1 of 2 periods ahead have no partition".to_owned(), "CALL eventkit.maintain()".to_owned()),
        (format!("DROP TABLE {today}"), "critical", "the present period has no partition".to_owned(), "CALL eventkit.maintain()".to_owned()),
        (
            format!("DROP TABLE {tomorrow}; CREATE TABLE {tomorrow} (stranger int)"),
            "critical",
            format!("{tomorrow} has the name of the partition for"),
            format!("ALTER TABLE {tomorrow} RENAME TO other_{tomorrow}; CALL eventkit.create_partitions('e', now(), now() + interval '2 days')"),
        ),
        (
            "CALL eventkit.create_partition('e', current_date - 5)".to_owned(),
            "warning",
            "no partition between".to_owned(),
            "CALL eventkit.create_partitions('e', now() - interval '5 days', now())".to_owned(),
        ),
        (
            "CREATE TABLE rest PARTITION OF e DEFAULT; INSERT INTO e VALUES (1, now() + interval '9 days')".to_owned(),
            "warning",
            "default partition public.rest holds rows".to_owned(),
            "DELETE FROM rest".to_owned(),
        ),
        (
            format!("ALTER TABLE {today} ADD CONSTRAINT positive CHECK (id > 0) NOT VALID"),
            "warning",
            format!("constraint positive of public.{today} is not validated"),
            format!("ALTER TABLE public.{today} VALIDATE CONSTRAINT positive"),
        ),
        ("CREATE INDEX by_id ON ONLY e (id)".to_owned(), "critical", "has no index like public.by_id".to_owned(), "DROP INDEX by_id".to_owned()),
        ("CREATE INDEX by_id ON ONLY e (id)".to_owned(), "critical", "index public.by_id of public.e is not valid".to_owned(), "DROP INDEX by_id".to_owned()),
        (
            "UPDATE eventkit.run_history SET started_at = now() - interval '2 days'".to_owned(),
            "warning",
            "maintain has not run since".to_owned(),
            "CALL eventkit.maintain()".to_owned(),
        ),
        (
            "DROP TABLE rest; CALL eventkit.create_partitions('e', now() - interval '40 days', now() - interval '5 days')".to_owned(),
            "warning",
            "expired more than a day ago".to_owned(),
            "CALL eventkit.drop_old_partitions('e')".to_owned(),
        ),
        (
            "UPDATE eventkit.partition_settings SET time_zone = 'Nowhere/Else'".to_owned(),
            "critical",
            "it cannot be checked: time zone \"Nowhere/Else\" not recognized".to_owned(),
            "UPDATE eventkit.partition_settings SET time_zone = 'UTC'".to_owned(),
        ),
    ] {
        for statement in breaks.split("; ") {
            s.query(statement).unwrap_or_else(|f| panic!("{f}\n{statement}"));
        }
        let found = what(&s);
        assert!(found.lines().any(|l| l.starts_with(level) && l.contains(&says)), "{breaks}: {found}");
        assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_health WHERE hint = '' OR hint IS NULL"), "0");
        for statement in mends.split("; ") {
            s.query(statement).unwrap_or_else(|f| panic!("{f}\n{statement}"));
        }
        assert_eq!(what(&s), "", "{mends}");
    }
}

/// Asserts that there is one row, that it says this, and that none is left when its hint was executed.
fn mends(s: &Session, says: &str) {
    let found = lines(s, "SELECT what FROM eventkit.partition_health");
    assert!(found.len() == 1 && found[0].contains(says), "{says}: {found:?}");
    let hint = value(s, "SELECT hint FROM eventkit.partition_health");
    s.query(&hint).unwrap_or_else(|failure| panic!("{failure}\n{hint}"));
    assert_eq!(what(s), "", "{hint}");
}

#[test]
fn a_hint_is_the_statement_that_mends_it() {
    let (_db, s) = open("CREATE TABLE e (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at)");
    s.query("CALL eventkit.manage_partitions('e', premake => 1)").unwrap();
    s.query("CALL eventkit.maintain()").unwrap();
    let today = value(&s, "SELECT 'e_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')");
    assert_eq!(what(&s), "");
    // A departure that was interrupted: of a parent with a retention and of one without.
    for retention in ["NULL", "'30 days'"] {
        s.query(&format!("UPDATE eventkit.partition_settings SET retention = {retention}, on_expiry = 'drop'"))
            .unwrap();
        s.query("CREATE TABLE leaving (LIKE e); INSERT INTO leaving VALUES (1, now())").unwrap();
        s.query("INSERT INTO eventkit.partition_departures (partition, parent, on_expiry, begun_at) VALUES ('leaving', 'e', 'drop', now() - interval '2 hours')").unwrap();
        mends(&s, "the departure of public.leaving was interrupted");
        assert_eq!(value(&s, "SELECT to_regclass('leaving') IS NULL"), "t");
    }
    s.query("UPDATE eventkit.partition_settings SET retention = NULL").unwrap();
    // One that was given up before the detach is a partition as others are.
    s.query(&format!("INSERT INTO eventkit.partition_departures (partition, parent, on_expiry, begun_at) VALUES ('{today}', 'e', 'drop', now() - interval '2 hours')")).unwrap();
    assert_eq!(what(&s), "");
    s.query("DELETE FROM eventkit.partition_departures").unwrap();
    // A foreign key that a split has left with the partitions.
    s.query("CREATE TABLE ids (id int PRIMARY KEY); INSERT INTO ids VALUES (1); ALTER TABLE e ADD CONSTRAINT of_ids FOREIGN KEY (id) REFERENCES ids").unwrap();
    s.query("SELECT eventkit.loosen_foreign_keys('e'); SELECT eventkit.prove_foreign_key('public.' || i.inhrelid::regclass::text, 'of_ids') FROM pg_inherits i WHERE i.inhparent = 'e'::regclass").unwrap();
    mends(&s, "foreign key of_ids of the partitions waits to be that of public.e");
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM pg_constraint WHERE conname = 'of_ids' AND conrelid = 'e'::regclass AND convalidated"
        ),
        "1"
    );
    // An index of a partition that was not built to its end.
    s.query("INSERT INTO e VALUES (1, now()), (1, now())").unwrap();
    fails(&s, &format!("CREATE UNIQUE INDEX CONCURRENTLY alone ON {today} (id)"));
    s.query("DELETE FROM e").unwrap();
    mends(&s, "index public.alone of public.");
    assert_eq!(value(&s, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'alone'::regclass"), "t");
}

#[test]
fn times_before_the_retention_are_no_gap() {
    let (_db, s) = open(
        "CREATE TABLE e (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE TABLE notes (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES e)",
    );
    s.query("CALL eventkit.manage_partitions('e', premake => 1, retention => '10 days', on_expiry => 'drop')").unwrap();
    s.query("CALL eventkit.create_partitions('e', now() - interval '30 days', now())").unwrap();
    s.query("INSERT INTO e VALUES (1, now() - interval '20 days'); INSERT INTO notes SELECT id, at FROM e").unwrap();
    let partitions = || value(&s, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'e'::regclass");
    s.query("CALL eventkit.maintain()").unwrap();
    // Those of ten days, of today and tomorrow, and the one that the note needs.
    assert_eq!(partitions(), "13");
    let found = lines(&s, "SELECT what FROM eventkit.partition_health WHERE what ~ 'no partition between'");
    assert_eq!(found, Vec::<String>::new());
    // One that begins before and ends behind it begins there.
    s.query("DO $$ DECLARE t text; BEGIN FOR t IN SELECT partition::text FROM eventkit.partitions WHERE to_time BETWEEN now() - interval '19 days' AND now() - interval '5 days' LOOP EXECUTE 'ALTER TABLE e DETACH PARTITION ' || t; EXECUTE 'DROP TABLE ' || t; END LOOP; END $$").unwrap();
    let hint = value(&s, "SELECT hint FROM eventkit.partition_health WHERE what ~ 'no partition between'");
    s.query(&hint).unwrap();
    assert_eq!(partitions(), "13");
    s.query("CALL eventkit.maintain()").unwrap();
    assert_eq!(partitions(), "13", "nothing is retired that a hint has made");
    assert_eq!(
        lines(&s, "SELECT what FROM eventkit.partition_health WHERE what ~ 'no partition between'"),
        Vec::<String>::new()
    );
}

#[test]
fn a_gap_of_keys_without_a_zone_is_mended_by_its_hint() {
    for zone in ["America/New_York", "Asia/Kolkata"] {
        let (_db, s) = open("CREATE TABLE h (at timestamp) PARTITION BY RANGE (at)");
        s.query(&format!(
            "CALL eventkit.manage_partitions('h', period => '1 hour', time_zone => '{zone}', premake => 1)"
        ))
        .unwrap();
        s.query("CALL eventkit.maintain()").unwrap();
        s.query("CALL eventkit.create_partitions('h', now() - interval '3 hours', now() - interval '2 hours')")
            .unwrap();
        s.query("DO $$ DECLARE t text := (SELECT partition::text FROM eventkit.partitions ORDER BY from_time OFFSET 1 LIMIT 1); BEGIN EXECUTE 'DROP TABLE ' || t; END $$").unwrap();
        mends(&s, "no partition between");
    }
}

#[test]
fn a_failure_of_the_last_run_is_shown_until_it_is_mended() {
    let (_db, s) = open(
        "CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at); CALL eventkit.manage_partitions('e', premake => 0)",
    );
    s.query("DO $$ DECLARE t text := (SELECT partition::text FROM eventkit.partitions); BEGIN EXECUTE 'DROP TABLE ' || t; EXECUTE 'CREATE TABLE ' || t || ' ()'; END $$").unwrap();
    s.query("CALL eventkit.maintain()").unwrap();
    assert!(what(&s).contains("warning|the last premake of public.e failed: relation"), "{}", what(&s));
    s.query("DO $$ BEGIN EXECUTE 'DROP TABLE e_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'); END $$").unwrap();
    s.query("CALL eventkit.maintain()").unwrap();
    assert_eq!(what(&s), "");
}

#[test]
fn one_sees_what_is_ones_own() {
    let (db, s) = open(
        "CREATE TABLE e (at timestamptz) PARTITION BY RANGE (at); INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry) VALUES ('e', '1 day', 'UTC', 0, 'detach')",
    );
    let guest = format!("guest_{}", db.name);
    s.query(&format!("CREATE ROLE {guest} LOGIN; GRANT ALL ON e TO {guest}")).unwrap();
    let as_guest = Session::open_as(db.cluster, &db.name, "guest", &guest).unwrap();
    assert!(what(&s).contains("critical|the present period has no partition"));
    assert!(!what(&as_guest).contains("critical"), "{}", what(&as_guest));
    s.query(&format!("ALTER TABLE e OWNER TO {guest}")).unwrap();
    assert!(what(&as_guest).contains("critical|the present period has no partition"), "{}", what(&as_guest));
}

#[test]
fn runs_count_for_the_parents_whose_owners_rights_they_had() {
    let (db, s) = open("CREATE SCHEMA app");
    let role = |name: &str| format!("{name}_{}", db.name);
    let (owner, guest) = (role("owner"), role("guest"));
    for name in [&owner, &guest] {
        s.query(&format!("CREATE ROLE {name} LOGIN; GRANT ALL ON SCHEMA app TO {name}; GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {name}")).unwrap();
    }
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    let as_guest = Session::open_as(db.cluster, &db.name, "guest", &guest).unwrap();
    as_owner.query("CREATE TABLE app.e (at timestamptz) PARTITION BY RANGE (at)").unwrap();
    as_owner.query("CALL eventkit.manage_partitions('app.e', premake => 0)").unwrap();
    as_guest.query("CREATE TABLE app.g (at timestamptz) PARTITION BY RANGE (at)").unwrap();
    as_guest.query("CALL eventkit.manage_partitions('app.g', premake => 0)").unwrap();
    assert_eq!((what(&as_owner), what(&s)), ("warning|maintain has never run".to_owned(), what(&as_guest)));
    // What a guest says of himself is true of himself alone.
    as_guest.query("CALL eventkit.maintain()").unwrap();
    assert_eq!(what(&as_guest), "");
    assert_eq!(what(&as_owner), "warning|maintain has never run");
    assert_eq!(what(&s), "warning|maintain has never run for app.e");
    // The superuser maintains all of them.
    s.query("CALL eventkit.maintain()").unwrap();
    assert_eq!(what(&as_owner), "");
    as_owner.query("DO $$ DECLARE t text := (SELECT partition::text FROM eventkit.partitions WHERE parent = 'app.e'::regclass); BEGIN EXECUTE 'DROP TABLE ' || t; EXECUTE 'CREATE TABLE ' || t || ' ()'; END $$").unwrap();
    s.query("CALL eventkit.maintain()").unwrap();
    let failed = "warning|the last premake of app.e failed: relation";
    assert!(what(&as_owner).contains(failed) && what(&s).contains(failed), "{}", what(&as_owner));
    assert_eq!(what(&as_guest), "");
    // A later run of the guest's hides nothing.
    as_guest.query("CALL eventkit.maintain()").unwrap();
    assert!(what(&as_owner).contains(failed) && what(&s).contains(failed), "{}", what(&s));
    // A run that was stopped before its end hides nothing either.
    s.query("DELETE FROM eventkit.run_history WHERE action = 'maintain'").unwrap();
    assert!(what(&as_owner).contains(failed), "{}", what(&as_owner));
}

#[test]
fn a_superuser_who_looks_lends_nothing() {
    let (db, s) = open("");
    let owner = format!("owner_{}", db.name);
    s.query(&format!("CREATE ROLE {owner} LOGIN; GRANT ALL ON SCHEMA public TO {owner}")).unwrap();
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    // The planner runs it for whoever reads the table.
    as_owner.query("CREATE FUNCTION who() RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF current_user = 'postgres' THEN RAISE EXCEPTION 'lent'; END IF; RETURN true; END $$").unwrap();
    as_owner.query("CREATE TABLE e (id int, at timestamptz) PARTITION BY RANGE (at); CREATE TABLE rest PARTITION OF e DEFAULT; CREATE INDEX ON rest (id) WHERE who(); INSERT INTO e VALUES (1, '2024-01-01')").unwrap();
    s.query("INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry) VALUES ('e', '1 day', 'UTC', 0, 'detach')").unwrap();
    s.query("SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0").unwrap();
    assert!(fails(&s, "SELECT FROM rest LIMIT 1").message.contains("lent"), "so it is when he reads the table himself");
    assert!(!what(&s).contains("cannot be checked"), "{}", what(&s));
    assert!(what(&s).contains("default partition public.rest holds rows"), "{}", what(&s));
    assert_eq!(what(&s), what(&as_owner));
}

/// Runs a call until it waits for a lock that somebody holds, and ends its session there.
fn stopped(db: &Database, locked: &str, call: &str) {
    let holder = db.session("holder").unwrap();
    holder.query(&format!("BEGIN; LOCK TABLE {locked} IN ACCESS SHARE MODE")).unwrap();
    let victim = db.session("victim").unwrap();
    victim.run(call);
    wait::until_blocked(db.cluster, &victim).unwrap();
    let s = db.session("look").unwrap();
    assert_eq!(unfinished(&s), "", "{call} goes on");
    s.query(&format!("SELECT pg_terminate_backend({}, 10000)", victim.pid())).unwrap();
    victim.join().unwrap_err();
    holder.query("COMMIT").unwrap();
}

fn unfinished(s: &Session) -> String {
    lines(s, "SELECT concat_ws('|', subject, level, what) FROM eventkit.check_unfinished() ORDER BY 1").join("\n")
}

#[test]
fn what_a_stopped_call_has_left_is_told_and_mended_by_its_hint() {
    let (db, s) = open(
        r#"CREATE TABLE "Old ""orders" (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at));
           INSERT INTO "Old ""orders" SELECT n, now() - n * interval '1 day' FROM generate_series(1, 3) n;
           CREATE TABLE notes (id int, at timestamptz, CONSTRAINT of_order FOREIGN KEY (id, at) REFERENCES "Old ""orders")"#,
    );
    let table = r#""Old ""orders""#;
    let convert = format!("CALL eventkit.convert_table('{table}', 'at', lock_timeout => '1 minute')");
    let hint = || value(&s, "SELECT hint FROM eventkit.check_unfinished()");
    let mend = || {
        let hint = hint();
        s.query(&hint).unwrap_or_else(|failure| panic!("{failure}\n{hint}"));
        assert_eq!(unfinished(&s), "", "{hint}");
    };
    assert_eq!(unfinished(&s), "");
    // Stopped before the hand-over, which waits for the table that refers to it; given up, or called again.
    let left = format!(
        "{table}|critical|constraint partition_bound is left on public.{table}, whose attach or conversion was stopped: rows outside of the bound are refused"
    );
    stopped(&db, "notes", &convert);
    assert_eq!(unfinished(&s), left);
    assert_eq!(
        lines(&s, "SELECT concat_ws('|', parent, level, what) FROM eventkit.partition_health"),
        [left.as_str()],
        "it is managed by nobody"
    );
    assert_eq!(fails(&s, &format!("INSERT INTO {table} VALUES (0, now() + interval '1 year')")).sqlstate, "23514");
    mend();
    s.query(&format!("BEGIN; INSERT INTO {table} VALUES (0, now() + interval '1 year'); ROLLBACK")).unwrap();
    stopped(&db, "notes", &convert);
    s.query(&convert).unwrap();
    assert_eq!(unfinished(&s), "");
    // Stopped behind the hand-over.
    s.query(&format!("CALL eventkit.unmanage_partitions('{table}')")).unwrap();
    s.query("DO $$ DECLARE t text; BEGIN FOR t IN SELECT partition::text FROM eventkit.partitions WHERE from_time > '-infinity' LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$").unwrap();
    s.query(&format!("ALTER TABLE notes DROP CONSTRAINT of_order; TRUNCATE {table}")).unwrap();
    assert_eq!(
        unfinished(&s),
        format!("{table}|critical|public.{table} is converted and not managed: it gets no later partitions")
    );
    mend();
    s.query(&format!("INSERT INTO {table} SELECT n, now() - n * interval '1 day' FROM generate_series(1, 3) n"))
        .unwrap();
    // A split and a way back that were stopped before the exchange.
    let adopted = value(&s, "SELECT partition FROM eventkit.partitions WHERE from_time = '-infinity'");
    stopped(&db, &adopted, &format!("CALL eventkit.split_partition('{table}', lock_timeout => '1 minute')"));
    let captured = |of: &str, by: &str| {
        format!("{table}|warning|changes of {of} are captured for a call of {by} that was stopped")
    };
    assert_eq!(unfinished(&s), captured(&format!("public.{adopted}"), "split_partition"));
    mend();
    assert_eq!(value(&s, "SELECT count(*) FROM pg_class WHERE relname ~ '_adopted$'"), "0", "it was split");
    stopped(&db, table, &format!("CALL eventkit.unpartition_table('{table}', lock_timeout => '1 minute')"));
    assert_eq!(unfinished(&s), captured(&format!("public.{table}"), "unpartition_table"));
    mend();
    assert_eq!(value(&s, &format!("SELECT relkind FROM pg_class WHERE oid = '{table}'::regclass")), "r");
}

#[test]
fn a_table_that_was_to_be_attached_is_told() {
    let (db, s) = open(
        "CREATE TABLE e (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at); CREATE TABLE june (id int, at timestamptz NOT NULL);
         INSERT INTO june VALUES (1, '2023-06-07 00:00Z'); CREATE INDEX ON e (id)",
    );
    // The parent is locked after the CHECK was proved.
    let holder = db.session("holder").unwrap();
    holder.query("BEGIN; LOCK TABLE e IN SHARE UPDATE EXCLUSIVE MODE").unwrap();
    let victim = db.session("victim").unwrap();
    victim.run("CALL eventkit.attach_partition('e', 'june', '2023-06-01 00:00Z', '2023-07-01 00:00Z', lock_timeout => '1 minute')");
    wait::until_blocked(db.cluster, &victim).unwrap();
    assert_eq!(unfinished(&s), "");
    s.query(&format!("SELECT pg_terminate_backend({}, 10000)", victim.pid())).unwrap();
    victim.join().unwrap_err();
    holder.query("COMMIT").unwrap();
    assert!(
        unfinished(&s).starts_with("june|critical|constraint partition_bound is left on public.june"),
        "{}",
        unfinished(&s)
    );
    // Others are not told of it, and cannot mend it.
    let guest = format!("guest_{}", db.name);
    s.query(&format!("CREATE ROLE {guest} LOGIN")).unwrap();
    assert_eq!(unfinished(&Session::open_as(db.cluster, &db.name, "guest", &guest).unwrap()), "");
    s.query(&value(&s, "SELECT hint FROM eventkit.check_unfinished()")).unwrap();
    assert_eq!(unfinished(&s), "");
    assert_eq!(
        value(&s, "SELECT count(*) FROM pg_constraint WHERE conrelid = 'june'::regclass AND contype = 'c'"),
        "0"
    );
}

#[test]
fn a_backfill_that_nobody_finishes_is_told_after_a_week() {
    let (_db, s) = open(
        "CREATE TABLE old (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)); INSERT INTO old VALUES (1, '2024-01-01 00:00Z');
         CREATE TABLE e (LIKE old INCLUDING ALL) PARTITION BY RANGE (at)",
    );
    s.query("CALL eventkit.backfill('old', 'e')").unwrap();
    assert_eq!(unfinished(&s), "");
    s.query("UPDATE eventkit.backfills SET began_at = began_at - interval '8 days'").unwrap();
    assert!(
        unfinished(&s).starts_with("e|warning|changes of public.old are captured for a backfill that began"),
        "{}",
        unfinished(&s)
    );
    s.query(&value(&s, "SELECT hint FROM eventkit.check_unfinished()")).unwrap();
    assert_eq!(unfinished(&s), "");
}

#[test]
fn a_key_to_a_parent_that_nobody_proved_is_told() {
    let (_db, s) = open(
        "CREATE TABLE e (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE notes (id int, at timestamptz); ALTER TABLE notes ADD CONSTRAINT of_e FOREIGN KEY (id, at) REFERENCES e NOT VALID",
    );
    assert_eq!(unfinished(&s), "notes|warning|constraint of_e of public.notes is not validated");
    s.query(&value(&s, "SELECT hint FROM eventkit.check_unfinished()")).unwrap();
    assert_eq!(unfinished(&s), "");
}

#[test]
fn the_chart_has_a_bar_for_each_period() {
    let (_db, s) = open("CREATE TABLE e (id int, at timestamptz) PARTITION BY RANGE (at)");
    s.query("CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-04 00:00Z')").unwrap();
    s.query("CREATE TABLE rest PARTITION OF e DEFAULT").unwrap();
    s.query("INSERT INTO e SELECT n, '2024-01-01 00:00Z' FROM generate_series(1, 100) n; INSERT INTO e SELECT n, '2024-01-02 00:00Z' FROM generate_series(1, 25) n").unwrap();
    s.query("ANALYZE e_20240101, e_20240102, e_20240103").unwrap();
    assert_eq!(
        lines(&s, "SELECT eventkit.partition_chart('e', width => 8)"),
        ["2024-01-01  100  ████████", "2024-01-02   25  ██", "2024-01-03    0  ", "default       ?  "]
    );
    assert_eq!(fails(&s, "SELECT eventkit.partition_chart('e', width => 0)").sqlstate, "22023");
    // What a converted table adopted has no beginning.
    s.query("CREATE TABLE old (at timestamptz NOT NULL); INSERT INTO old VALUES ('2024-01-01 00:00Z')").unwrap();
    s.query("CALL eventkit.convert_table('old', 'at', premake => 1, adopt_until => '2024-02-01 00:00Z')").unwrap();
    s.query("ANALYZE old").unwrap();
    let chart = lines(&s, "SELECT eventkit.partition_chart('old', width => 8)");
    assert_eq!(chart.first().map(String::as_str), Some("before 2024-02-01  1  ████████"), "{chart:?}");
}

#[test]
fn the_chart_shows_the_least_bit_of_a_bar() {
    let (_db, s) = open(
        "CREATE TABLE e (id int, at timestamptz) PARTITION BY RANGE (at); CALL eventkit.create_partitions('e', '2024-01-01 00:00Z', '2024-01-03 00:00Z')",
    );
    s.query("INSERT INTO e SELECT n, '2024-01-01 00:00Z' FROM generate_series(1, 100) n; INSERT INTO e VALUES (0, '2024-01-02 00:00Z')").unwrap();
    s.query("ANALYZE e_20240101, e_20240102").unwrap();
    assert_eq!(
        lines(&s, "SELECT eventkit.partition_chart('e', width => 8)"),
        ["2024-01-01  100  ████████", "2024-01-02    1  █"]
    );
}

#[test]
fn the_chart_names_periods_as_the_clocks_of_the_parent_do() {
    for zone in ["America/New_York", "Asia/Kolkata", "UTC"] {
        for (key, unit) in
            [("date", "NULL"), ("timestamp", "NULL"), ("timestamptz", "NULL"), ("bigint", "'ms'"), ("uuid", "NULL")]
        {
            let (_db, s) = open("");
            s.query(&format!("CREATE TABLE d (at {key}) PARTITION BY RANGE (at)")).unwrap();
            s.query(&format!("INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry, key_unit) VALUES ('d', '1 day', '{zone}', 0, 'detach', {unit})")).unwrap();
            s.query(&format!("SET TimeZone = '{zone}'; CALL eventkit.create_partitions('d', '2024-01-01 12:00', '2024-01-02 12:00'); ANALYZE d")).unwrap();
            assert_eq!(
                lines(&s, "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid ORDER BY 1"),
                ["d_20240101", "d_20240102"],
                "{zone} {key}"
            );
            s.query("SET TimeZone = 'Pacific/Apia'").unwrap();
            let chart: Vec<_> =
                lines(&s, "SELECT eventkit.partition_chart('d')").iter().map(|l| l[..10].to_owned()).collect();
            assert_eq!(chart, ["2024-01-01", "2024-01-02"], "{zone} {key}");
        }
    }
}

#[test]
fn faults_of_old_minor_versions_are_told_to_whom_they_concern() {
    let (_db, s) = open(
        "CREATE TABLE users (id int, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE e (id int, at timestamptz, up int, up_at timestamptz, PRIMARY KEY (id, at), CONSTRAINT who FOREIGN KEY (id, at) REFERENCES users) PARTITION BY RANGE (at);
         ALTER TABLE e ADD CONSTRAINT above FOREIGN KEY (up, up_at) REFERENCES e",
    );
    let told = |version: i32| lines(&s, &format!("SELECT what FROM eventkit.check_server('e', {version})"));
    let (detached, itself) = (
        "a partition that is detached from public.e loses its foreign key who with PostgreSQL 15.8",
        "foreign key above of public.e to itself is not enforced by PostgreSQL 15.8",
    );
    assert_eq!(told(150_008), [detached, itself]);
    assert_eq!(told(150_009), [itself.replace("15.8", "15.9")]);
    for (version, many) in
        [(150_013, 0), (160_004, 2), (160_008, 1), (160_009, 0), (170_000, 2), (170_005, 0), (180_000, 0)]
    {
        assert_eq!(told(version).len(), many, "{version}");
    }
    assert!(lines(&s, "SELECT what FROM eventkit.check_server('users', 150008)").is_empty());
}

#[test]
fn a_hint_reads_the_same_in_any_session() {
    let (db, s) = open(
        "CREATE TABLE e (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at); CREATE TABLE rest PARTITION OF e DEFAULT",
    );
    s.query("CALL eventkit.manage_partitions('e', premake => 0)").unwrap();
    s.query("CALL eventkit.maintain()").unwrap();
    s.query("CALL eventkit.create_partition('e', current_date - 5)").unwrap();
    s.query("SET TimeZone = 'America/New_York'; SET DateStyle = 'SQL, DMY'").unwrap();
    let hint = value(&s, "SELECT hint FROM eventkit.partition_health WHERE what ~ '^no partition between'");
    let other = db.session("other").unwrap();
    other.query("SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'").unwrap();
    other.query(&hint).unwrap();
    assert_eq!(what(&s), "");
    // A key of long ago is more likely a mistake than thousands of days to make.
    other.query("CALL eventkit.create_partition('e', '1970-01-01')").unwrap();
    let told = lines(&s, "SELECT what, hint FROM eventkit.partition_health");
    assert!(told.len() == 1 && told[0].contains("periods: is the one before meant?"), "{told:?}");
    let hint = told[0].split_once('|').unwrap().1;
    assert!(hint.starts_with("SELECT "), "{told:?}");
    assert_eq!(lines(&other, hint).len(), 8);
    s.query("DROP TABLE e_19700101").unwrap();
    // What no drain can move is not told to be drained.
    s.query("INSERT INTO e VALUES (1, 'infinity')").unwrap();
    let told = lines(&s, "SELECT what, hint FROM eventkit.partition_health");
    assert_eq!(
        told,
        [
            "default partition public.rest holds rows that no period is there for|SELECT * FROM eventkit.default_left_behind('public.e')"
        ]
    );
    assert_eq!(lines(&s, told[0].split_once('|').unwrap().1), ["infinity|1"]);
}
