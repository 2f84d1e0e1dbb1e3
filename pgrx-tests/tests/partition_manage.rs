//! Managed parents: settings, who may see and change them, what survives a rename, a drop and a dump.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails, lines, number, open, value};
use eventkit_tests::{Session, shared};

const EVENTS: &str = "CREATE SCHEMA app; CREATE TABLE app.events (id bigint, at timestamptz) PARTITION BY RANGE (at)";

/// All settings but the parent, as one line.
fn settings(s: &Session, parent: &str) -> String {
    value(
        s,
        &format!(
            "SELECT concat_ws(' ', period, time_zone, premake, retention, on_expiry, expired_schema, key_unit) \
             FROM eventkit.partition_settings WHERE parent = '{parent}'::regclass"
        ),
    )
}

#[test]
fn managing_makes_the_partitions_of_now_and_ahead() {
    let (_db, s) = open(EVENTS);
    s.query("CALL eventkit.manage_partitions('app.events')").unwrap();
    assert_eq!(settings(&s, "app.events"), "1 day UTC 7 detach");
    assert_eq!(
        value(
            &s,
            "SELECT count(*) || ' ' || (min(from_time) = date_trunc('day', now(), 'UTC')) FROM eventkit.partitions"
        ),
        "8 true"
    );
    s.query("INSERT INTO app.events SELECT n, now() + n * interval '1 day' FROM generate_series(0, 7) n").unwrap();
    // Again changes it, and what is left out gets its default.
    s.query("CALL eventkit.manage_partitions('app.events', premake => 9, retention => '90 days', on_expiry => 'drop')")
        .unwrap();
    assert_eq!(settings(&s, "app.events"), "1 day UTC 9 90 days drop");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions"), "10");
    let plan = "SELECT statement, target FROM eventkit.plan_unmanage_partitions('app.events')";
    s.query("BEGIN").unwrap();
    let planned = lines(&s, plan).join("");
    assert!(planned.ends_with("|app.events"), "{planned}");
    s.query(planned.trim_end_matches("|app.events")).unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_settings"), "0");
    s.query("ROLLBACK").unwrap();
    s.query("CALL eventkit.unmanage_partitions('app.events')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_settings"), "0");
    assert_eq!(lines(&s, plan), ["NULL|app.events"]);
    let _ = s.take_notices();
    s.query("CALL eventkit.unmanage_partitions('app.events')").unwrap();
    assert!(s.take_notices().join("").contains("is not managed"));
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions"), "10");
}

#[test]
fn another_period_leaves_what_is_there_and_makes_the_rest() {
    let (_db, s) = open(EVENTS);
    s.query("CALL eventkit.manage_partitions('app.events', premake => 3)").unwrap();
    let call = "manage_partitions('app.events', period => '1 month', premake => 2)";
    let plan = lines(&s, &format!("SELECT target FROM eventkit.plan_{call} WHERE statement ~ 'ATTACH PARTITION'"));
    let _ = s.take_notices();
    s.query(&format!("CALL eventkit.{call}")).unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("holds a part of period"), "{heard}");
    assert_eq!(plan.len() + 4, lines(&s, "SELECT FROM eventkit.partitions").len(), "{plan:?}");
    let gaps = "SELECT count(*) FROM eventkit.partition_gaps('app.events')";
    assert_eq!(value(&s, gaps), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.upcoming_partitions('app.events') "), "0");
    for days in [0, 1, 4, 20, 40, 58] {
        s.query(&format!("INSERT INTO app.events (id, at) VALUES ({days}, now() + interval '{days} days')")).unwrap();
    }
    // And back: the months stay, days are made where they end.
    s.query("CALL eventkit.manage_partitions('app.events', premake => 120)").unwrap();
    assert_eq!(value(&s, gaps), "0");
    s.query("INSERT INTO app.events (id, at) VALUES (100, now() + interval '100 days')").unwrap();
}

#[test]
fn maintain_makes_the_rest_that_another_time_zone_leaves() {
    let (_db, s) = open(EVENTS);
    s.query("CALL eventkit.manage_partitions('app.events', premake => 1)").unwrap();
    s.query("UPDATE eventkit.partition_settings SET time_zone = 'Asia/Tokyo', premake = 3").unwrap();
    let planned = value(&s, "SELECT count(*) FROM eventkit.plan_maintain() WHERE statement ~ 'ATTACH PARTITION'");
    assert!(
        number(
            &s,
            "SELECT count(*) FROM eventkit.partition_health WHERE parent IS NOT NULL AND hint = 'CALL eventkit.maintain()'"
        ) > 0
    );
    s.query("CALL eventkit.maintain()").unwrap();
    let made = value(
        &s,
        "SELECT string_agg(partitions || coalesce(message, ''), ' ') FROM eventkit.run_history WHERE action = 'premake'",
    );
    assert_eq!(made, planned);
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.upcoming_partitions('app.events')"), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_gaps('app.events')"), "0");
    assert_eq!(
        lines(&s, "SELECT what, hint FROM eventkit.partition_health WHERE parent IS NOT NULL"),
        Vec::<String>::new()
    );
}

#[test]
fn what_is_planned_is_what_is_done() {
    let (_db, s) = open(EVENTS);
    let call = "manage_partitions('app.events', period => '6 hours', time_zone => 'europe/berlin', premake => 1, on_expiry => 'move', expired_schema => 'app', retention => '1 year 2 days 03:04:05.000006')";
    let plan = lines(&s, &format!("SELECT statement FROM eventkit.plan_{call} ORDER BY step"));
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_settings"), "0", "a plan does nothing");
    assert_eq!(plan.iter().filter(|s| *s == "COMMIT").count(), 2);
    s.query("BEGIN").unwrap();
    for statement in &plan {
        s.query(statement).unwrap();
        if statement == "COMMIT" {
            s.query("BEGIN").unwrap();
        }
    }
    s.query("COMMIT").unwrap();
    let planned = lines(&s, "SELECT partition, from_time, to_time FROM eventkit.partitions ORDER BY 2");
    let told = settings(&s, "app.events");
    assert_eq!(told, "06:00:00 Europe/Berlin 1 1 year 2 days 03:04:05.000006 move app");
    s.query("CALL eventkit.unmanage_partitions('app.events')").unwrap();
    for partition in lines(&s, "SELECT partition FROM eventkit.partitions") {
        s.query(&format!("DROP TABLE {partition}")).unwrap();
    }
    s.query(&format!("CALL eventkit.{call}")).unwrap();
    assert_eq!(settings(&s, "app.events"), told);
    assert_eq!(lines(&s, "SELECT partition, from_time, to_time FROM eventkit.partitions ORDER BY 2"), planned);
}

#[test]
fn impossible_settings_are_refused_before_anything_is_written() {
    let (_db, s) = open(EVENTS);
    s.query(
        "CREATE TABLE d (at date) PARTITION BY RANGE (at); CREATE TABLE n (at bigint) PARTITION BY RANGE (at); \
         CREATE TABLE i (at int) PARTITION BY RANGE (at); CREATE TABLE plain (at date)",
    )
    .unwrap();
    for (arguments, state, named) in [
        ("'app.events', period => '30 minutes'", "22023", "\"period\""),
        ("'app.events', period => '1 month 1 day'", "22023", "\"period\""),
        ("'app.events', period => '-1 day'", "22023", "\"period\""),
        ("'app.events', period => '0'", "22023", "\"period\""),
        ("'app.events', period => '200 years'", "22023", "\"period\""),
        ("'app.events', period => NULL", "22004", "\"period\""),
        ("'app.events', time_zone => 'Mars/Olympus'", "22023", "\"time_zone\""),
        ("'app.events', time_zone => 'UTC+3'", "22023", "\"time_zone\""),
        ("'app.events', time_zone => NULL", "22004", "\"time_zone\""),
        ("'app.events', premake => -1", "22023", "\"premake\""),
        ("'app.events', premake => 1001", "22023", "\"premake\""),
        ("'app.events', premake => NULL", "22004", "\"premake\""),
        ("'app.events', retention => '-1 day'", "22023", "\"retention\""),
        ("'app.events', on_expiry => 'burn'", "22023", "\"on_expiry\""),
        ("'app.events', on_expiry => 'move'", "22023", "\"expired_schema\""),
        ("'app.events', on_expiry => 'move', expired_schema => 'nowhere'", "3F000", "\"expired_schema\""),
        ("'app.events', on_expiry => 'drop', expired_schema => 'app'", "22023", "\"expired_schema\""),
        ("'app.events', key_unit => 'ms'", "22023", "\"key_unit\""),
        ("'app.events', lock_timeout => '0'", "22023", "\"lock_timeout\""),
        ("'d', period => '6 hours'", "22023", "\"period\""),
        ("'n'", "22023", "\"key_unit\""),
        ("'n', key_unit => 'hours'", "22023", "\"key_unit\""),
        ("'i'", "0A000", "\"parent\""),
        ("'plain'", "42809", "\"parent\""),
        ("NULL", "22004", "\"parent\""),
        ("'999999'", "42P01", "\"parent\""),
    ] {
        let refused = fails(&s, &format!("CALL eventkit.manage_partitions({arguments})"));
        assert_eq!(refused.sqlstate, state, "{arguments}: {refused}");
        assert!(refused.message.contains(named), "{arguments}: {refused}");
        assert!(refused.detail.is_some() && refused.hint.is_some(), "{arguments}: {refused}");
    }
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_settings"), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions"), "0");
}

#[test]
fn a_default_partition_with_rows_of_today_does_not_stop_the_rest() {
    let (_db, s) = open(EVENTS);
    s.query("CREATE TABLE app.rest PARTITION OF app.events DEFAULT; INSERT INTO app.events VALUES (1, now())").unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.manage_partitions('app.events', premake => 3)").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("no partition was made: default partition \"app\".\"rest\" holds 1 rows of "), "{heard}");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions WHERE from_time IS NOT NULL"), "3");
}

#[test]
fn owners_change_settings_and_others_with_a_right_see_them() {
    let (db, s) = open(EVENTS);
    let role = |name: &str| format!("{name}_{}", db.name);
    let (owner, member, reader, guest) = (role("owner"), role("member"), role("reader"), role("guest"));
    s.query(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE {member} LOGIN; CREATE ROLE {reader} LOGIN; CREATE ROLE {guest} LOGIN; GRANT {owner} TO {member}; \
         GRANT USAGE, CREATE ON SCHEMA app TO {owner}; GRANT USAGE ON SCHEMA app TO {guest}, {reader}; ALTER TABLE app.events OWNER TO {owner}; \
         GRANT SELECT (id) ON app.events TO {reader}; GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {owner}"
    ))
    .unwrap();
    let session = |name: &str| Session::open_as(db.cluster, &db.name, name, name).unwrap();
    let (owner, member, reader, guest) = (session(&owner), session(&member), session(&reader), session(&guest));
    let call = "CALL eventkit.manage_partitions('app.events', premake => 1)";
    for (who, allowed) in [(&guest, false), (&reader, false)] {
        assert_eq!(fails(who, call).sqlstate, "42501", "{allowed}");
    }
    s.query(&format!("GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {}, {}", guest.name(), reader.name()))
        .unwrap();
    for who in [&guest, &reader] {
        let refused = fails(who, call);
        assert!(refused.message.contains("must be owner of \"app\".\"events\""), "{refused}");
        assert_eq!(fails(who, "CALL eventkit.unmanage_partitions('app.events')").sqlstate, "42501");
        assert_eq!(fails(who, "SELECT eventkit.plan_unmanage_partitions('app.events')").sqlstate, "42501");
    }
    owner.query(call).unwrap();
    member.query("CALL eventkit.manage_partitions('app.events', premake => 2)").unwrap();
    let seen = "SELECT count(*) FROM eventkit.partition_settings";
    for (who, rows) in [(&owner, "1"), (&member, "1"), (&reader, "1"), (&guest, "0")] {
        assert_eq!(value(who, seen), rows, "{}", who.name());
    }
    // Nobody else gets at the table behind the procedures.
    for change in [
        "UPDATE eventkit.partition_settings SET premake = 0 RETURNING 1",
        "DELETE FROM eventkit.partition_settings RETURNING 1",
    ] {
        for who in [&guest, &reader] {
            assert_eq!(lines(who, change).len(), 0);
        }
    }
    let forged = "INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry) VALUES ('pg_class', '1 day', 'UTC', 1, 'drop')";
    assert_eq!(fails(&owner, forged).sqlstate, "42501");
    assert_eq!(settings(&s, "app.events"), "1 day UTC 2 detach");
    // What the superuser makes belongs to the owner.
    s.query("CALL eventkit.manage_partitions('app.events', premake => 3)").unwrap();
    assert_eq!(
        value(
            &s,
            "SELECT count(DISTINCT relowner) || ' ' || count(*) FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p')"
        ),
        "1 5"
    );
}

#[test]
fn a_rename_and_a_move_keep_the_settings_and_a_drop_ends_them() {
    let (db, s) = open(EVENTS);
    s.query("CALL eventkit.manage_partitions('app.events', premake => 1); CREATE SCHEMA other").unwrap();
    s.query("ALTER TABLE app.events RENAME TO \"Ev.ents\"; ALTER TABLE app.\"Ev.ents\" SET SCHEMA other; ALTER TABLE other.\"Ev.ents\" RENAME at TO \"t\"\"ime\"").unwrap();
    assert_eq!(settings(&s, "other.\"Ev.ents\""), "1 day UTC 1 detach");
    s.query("CALL eventkit.create_partitions('other.\"Ev.ents\"', '2024-01-01 00:00Z', '2024-01-02 00:00Z')").unwrap();
    assert_eq!(value(&s, "SELECT '\"other\".\"Ev.ents_20240101\"'::regclass"), "other.\"Ev.ents_20240101\"");
    s.query("DROP TABLE other.\"Ev.ents\"; CREATE TABLE a (at date) PARTITION BY RANGE (at)").unwrap();
    // Also by somebody who owned nothing of it.
    let owner = format!("plain_{}", db.name);
    s.query(&format!("CREATE ROLE {owner} LOGIN; ALTER TABLE a OWNER TO {owner}; GRANT ALL ON SCHEMA public TO {owner}; GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {owner}")).unwrap();
    let as_owner = Session::open_as(db.cluster, &db.name, "plain", &owner).unwrap();
    as_owner.query("CALL eventkit.manage_partitions('a', premake => 0)").unwrap();
    assert_eq!(lines(&s, "SELECT parent FROM eventkit.partition_settings"), ["a"]);
}

#[test]
fn settings_are_dumped_by_name_and_come_back() {
    let (db, s) = open(EVENTS);
    for call in [
        "CREATE TABLE gone (at date) PARTITION BY RANGE (at)",
        "CREATE TABLE app.archived (partition text); CREATE PROCEDURE app.archive(p regclass) LANGUAGE sql AS 'INSERT INTO app.archived VALUES (p::text)'",
        "CALL eventkit.manage_partitions('gone', premake => 0)",
        "CALL eventkit.manage_partitions('app.events', period => '1 week', time_zone => 'Asia/Kathmandu', premake => 1, retention => '1 year', archive_with => 'app.archive(regclass)')",
        "DROP TABLE gone",
    ] {
        s.query(call).unwrap();
    }
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_settings"), "2");
    let copy = shared::empty_database().unwrap();
    // Other addresses for the same names.
    let second = copy.session("second").unwrap();
    second.query("CREATE TABLE padding_1 (a serial); CREATE TABLE padding_2 (a serial)").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = db.cluster.client_program(program);
        let output = command.args(arguments).arg(file.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("pg_dump", &["-Fc", "-d", &db.name, "-f"]);
    run("pg_restore", &["--exit-on-error", "-d", &copy.name]);
    assert_eq!(settings(&second, "app.events"), "7 days Asia/Kathmandu 1 1 year detach");
    assert_eq!(value(&second, "SELECT count(*) FROM eventkit.partition_settings"), "1");
    second.query("CALL eventkit.create_partitions('app.events', '2024-01-03 00:00Z', '2024-01-04 00:00Z')").unwrap();
    assert_eq!(
        lines(&second, "SELECT from_time AT TIME ZONE 'UTC' FROM eventkit.partitions ORDER BY 1 LIMIT 1"),
        ["2023-12-31 18:15:00"]
    );
    // With its hook.
    second.query("CALL eventkit.drop_old_partitions('app.events', '2024-02-01 00:00Z')").unwrap();
    assert_eq!(lines(&second, "SELECT partition FROM app.archived"), ["app.events_20240101"]);
}

#[test]
fn inside_a_transaction_block_nothing_is_committed() {
    let (_db, s) = open(EVENTS);
    s.query("BEGIN").unwrap();
    s.query("CALL eventkit.manage_partitions('app.events', premake => 2)").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions"), "3");
    s.query("ROLLBACK").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions"), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_settings"), "0");
    assert_eq!(value(&s, "SELECT count(*) FROM pg_class WHERE relname ~ '^events_'"), "0");
}
