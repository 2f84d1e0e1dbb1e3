//! Who may do what: an owner with a grant on one procedure, a guest with a grant on all of them, what the superuser makes for an owner.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::stops::{Start, Victim, holds};
use common::{advisory_locks, fails, lines, number, open, value, victims};
use eventkit_tests::{Session, shared};

/// Gives all that a database holds besides extensions to a role.
const HAND_OVER: &str = "DO $do$ DECLARE one text; BEGIN
    FOR one IN
      SELECT format('ALTER TABLE %s OWNER TO ROLE_NAME', c.oid::regclass) FROM pg_class c
        WHERE c.relnamespace::regnamespace::text IN ('public', 'attic') AND c.relkind IN ('r', 'p', 'v')
      UNION ALL SELECT format('ALTER ROUTINE %s OWNER TO ROLE_NAME', p.oid::regprocedure) FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
      UNION ALL SELECT 'ALTER SCHEMA attic OWNER TO ROLE_NAME' WHERE to_regnamespace('attic') IS NOT NULL
    LOOP EXECUTE one; END LOOP; END $do$";

/// A role that may execute one routine, and count its steps.
fn role(s: &Session, name: &str, grant: &str) {
    for statement in [
        format!("CREATE ROLE {name} LOGIN"),
        format!("GRANT USAGE, CREATE ON SCHEMA public TO {name}"),
        format!("GRANT USAGE ON SCHEMA stops TO {name}"),
        format!("GRANT ALL ON ALL TABLES IN SCHEMA stops TO {name}"),
        format!("GRANT ALL ON ALL SEQUENCES IN SCHEMA stops TO {name}"),
        format!("GRANT EXECUTE ON {grant} TO {name}"),
    ] {
        s.query(&statement).unwrap_or_else(|failure| panic!("{failure}\n{statement}"));
    }
}

/// The routine that a call names.
fn routine(call: &str) -> String {
    let name = call.split("eventkit.").filter_map(|after| after.split_once('(')).map(|(name, _)| name);
    name.filter(|name| name.chars().all(|c| c == '_' || c.is_ascii_lowercase()))
        .last()
        .unwrap_or_else(|| panic!("{call}"))
        .to_owned()
}

/// One call of each routine that writes.
fn calls() -> Vec<Victim> {
    let mut calls = victims::all();
    calls.extend(victims::small());
    calls
}

/// A session of a role of that kind in a copy.
fn session(start: &Start<'_>, n: i64, role: &str) -> Session {
    Session::open_as(shared::cluster().unwrap(), &start.database(n), role, role).unwrap()
}

#[test]
fn a_grant_on_one_procedure_is_enough_for_the_owner() {
    for victim in calls() {
        let start = victim.prepare(shared::cluster().unwrap(), "");
        let s = start.copy(1);
        let owner = format!("owner_{}", start.database(1));
        role(&s, &owner, &format!("ROUTINE eventkit.{}", routine(&victim.call)));
        s.query(&HAND_OVER.replace("ROLE_NAME", &owner)).unwrap();
        let as_owner = session(&start, 1, &owner);
        as_owner.query(&victim.call).unwrap_or_else(|failure| panic!("{failure}\n{}", victim.call));
        let heard = as_owner.take_notices().join("\n");
        // What is given up stays, which is said to whoever calls.
        let heard = heard.replace("WARNING: 3 periods that were copied from public.src stay in public.e", "");
        assert!(!heard.contains("WARNING"), "{}: {heard}", victim.call);
        victim.is_true(&s, &victim.done, "by its owner");
        assert_eq!(advisory_locks(&s), 0, "{}", victim.call);
    }
}

#[test]
fn a_failure_at_any_step_leaves_no_lock_with_the_session() {
    for victim in calls() {
        let start = victim.prepare(shared::cluster().unwrap(), "");
        let (steps, _) = victim.unharmed(&start);
        let s = start.copy(1);
        let owner = format!("owner_{}", start.database(1));
        role(&s, &owner, &format!("ROUTINE eventkit.{}", routine(&victim.call)));
        s.query(&HAND_OVER.replace("ROLE_NAME", &owner)).unwrap();
        s.query(
            "CREATE OR REPLACE FUNCTION stops.pass() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('stops.seen') = (SELECT a.n FROM stops.at a) THEN RAISE insufficient_privilege; END IF; RETURN true; END $$",
        )
        .unwrap();
        let as_owner = session(&start, 1, &owner);
        for step in 1..=steps {
            s.query(&format!("UPDATE stops.at SET n = {step}; SELECT setval('stops.seen', 1, false)")).unwrap();
            let ended = as_owner.query(&victim.call);
            // The server tells of an error before it has ended the transaction.
            as_owner.query("SELECT 1").unwrap();
            assert!(
                ended.as_ref().err().is_none_or(|failure| failure.sqlstate == "42501"),
                "{ended:?}: {}",
                victim.call
            );
            assert_eq!(advisory_locks(&s), 0, "step {step} of {}: {ended:?}", victim.call);
            victim.is_true(&s, &victim.whole, &format!("failed at step {step}"));
        }
        s.query("UPDATE stops.at SET n = 0").unwrap();
        as_owner.query(&victim.call).unwrap_or_else(|failure| panic!("{failure}\n{}", victim.call));
        victim.is_true(&s, &victim.done, "at the end");
    }
}

#[test]
fn nobody_stops_the_retirement_of_what_is_not_his() {
    let (db, s) = open("CREATE SCHEMA app; CREATE TABLE app.e (at timestamptz) PARTITION BY RANGE (at)");
    let guest = format!("guest_{}", db.name);
    s.query(&format!("CREATE ROLE {guest} LOGIN; GRANT USAGE ON SCHEMA app TO {guest}; GRANT ALL ON app.e TO {guest}; GRANT TEMPORARY ON DATABASE {} TO {guest}", db.name)).unwrap();
    s.query("CALL eventkit.create_partitions('app.e', '2024-01-01 00:00Z', '2024-01-03 00:00Z')").unwrap();
    let as_guest = Session::open_as(db.cluster, &db.name, "guest", &guest).unwrap();
    as_guest.query("CREATE TEMP TABLE t (at timestamptz) PARTITION BY RANGE (at); CREATE TEMP TABLE mine PARTITION OF t FOR VALUES FROM ('2024-01-01 00:00Z') TO ('2024-01-02 00:00Z')").unwrap();
    let row = |partition: &str, parent: &str| {
        format!(
            "INSERT INTO eventkit.partition_departures (partition, parent, on_expiry, begun_at) VALUES ('{partition}', '{parent}', 'drop', now())"
        )
    };
    for (partition, parent) in [
        ("app.e_20240101", "t"),
        ("app.e_20240101", "app.e"),
        ("app.e_20240101", "pg_class"),
        ("mine", "app.e"),
        ("pg_class", "t"),
        ("t", "t"),
    ] {
        assert_eq!(fails(&as_guest, &row(partition, parent)).sqlstate, "42501", "{partition} {parent}");
    }
    as_guest.query(&row("mine", "t")).unwrap();
    for change in ["partition = 'app.e_20240101'", "parent = 'app.e'"] {
        assert_eq!(
            fails(&as_guest, &format!("UPDATE eventkit.partition_departures SET {change}")).sqlstate,
            "42501",
            "{change}"
        );
    }
    s.query("CALL eventkit.drop_old_partitions('app.e', '2024-02-01 00:00Z')").unwrap();
    assert_eq!(
        lines(&s, "SELECT partition FROM eventkit.partitions WHERE parent = 'app.e'::regclass"),
        Vec::<String>::new()
    );
    // What belongs to a dropped parent goes with the next call that keeps the settings.
    as_guest.query("ALTER TABLE t DETACH PARTITION mine; DROP TABLE t").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_departures"), "1");
    s.query("CALL eventkit.maintain()").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_departures"), "0");
    for (call, allowed) in [
        ("maintain()", "maintain"),
        ("unmanage_partitions('app.e')", "unmanage_partitions"),
        ("manage_partitions('app.e')", "manage_partitions"),
    ] {
        s.query("CREATE TABLE gone (at timestamptz) PARTITION BY RANGE (at); CREATE TABLE left_over PARTITION OF gone DEFAULT").unwrap();
        s.query(&row("left_over", "gone")).unwrap();
        s.query("ALTER TABLE gone DETACH PARTITION left_over; DROP TABLE gone; DROP TABLE left_over").unwrap();
        // By anybody.
        s.query(&format!("GRANT EXECUTE ON PROCEDURE eventkit.{allowed} TO {guest}; ALTER TABLE app.e OWNER TO {guest}; GRANT CREATE ON SCHEMA app TO {guest}")).unwrap();
        as_guest.query(&format!("CALL eventkit.{call}")).unwrap();
        assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partition_departures"), "0", "{call}");
    }
}

/// What a database holds, how much the catalog has, and what the tables of the extension say.
fn everything(s: &Session) -> Vec<String> {
    let mut all = holds(s);
    all.extend(lines(
        s,
        "SELECT 'pg_class', count(*)::text FROM pg_class UNION ALL SELECT 'pg_attribute', count(*)::text FROM pg_attribute UNION ALL SELECT 'pg_constraint', count(*)::text FROM pg_constraint \
         UNION ALL SELECT 'pg_trigger', count(*)::text FROM pg_trigger UNION ALL SELECT 'pg_proc', count(*)::text FROM pg_proc UNION ALL SELECT 'pg_inherits', count(*)::text FROM pg_inherits \
         UNION ALL SELECT 'setting', p::text FROM eventkit.partition_settings p UNION ALL SELECT 'departure', d::text FROM eventkit.partition_departures d \
         UNION ALL SELECT 'backfill', b::text FROM eventkit.backfills b UNION ALL SELECT 'period', b::text FROM eventkit.backfill_periods b \
         UNION ALL SELECT 'run', h::text FROM eventkit.run_history h WHERE action <> 'maintain' ORDER BY 1, 2",
    ));
    all
}

#[test]
fn a_guest_is_refused_before_anything_happens() {
    for victim in calls() {
        let start = victim.prepare(shared::cluster().unwrap(), "");
        let s = start.copy(1);
        let guest = format!("guest_{}", start.database(1));
        role(&s, &guest, "ALL ROUTINES IN SCHEMA eventkit");
        let as_guest = session(&start, 1, &guest);
        for rights in ["", "GRANT ALL ON ALL TABLES IN SCHEMA public TO ROLE_NAME"] {
            s.query(&rights.replace("ROLE_NAME", &guest)).unwrap();
            let before = everything(&s);
            let steps = value(&s, "SELECT last_value FROM stops.seen");
            // As a guest he does not see that there is anything to finish.
            let call = victim.call.replace(
                "IF EXISTS (SELECT FROM eventkit.backfills WHERE finished_at IS NULL OR changes IS NOT NULL)",
                "IF true",
            );
            let _ = as_guest.take_notices();
            let ended = as_guest.query(&call);
            as_guest.query("SELECT 1").unwrap();
            let after = everything(&s);
            if routine(&call) == "maintain" {
                // Of his own he has none.
                ended.unwrap();
                assert_eq!(
                    lines(&s, "SELECT action, parent, partitions, rows, sqlstate FROM eventkit.run_history"),
                    ["maintain|NULL|0|0|NULL"]
                );
                s.query("DELETE FROM eventkit.run_history").unwrap();
            } else {
                let refused = ended.err().unwrap_or_else(|| panic!("{call} {rights}: {:?}", as_guest.take_notices()));
                assert_eq!(refused.sqlstate, "42501", "{call} {rights}: {refused}");
            }
            assert_eq!(as_guest.take_notices(), Vec::<String>::new(), "{call}");
            assert_eq!(value(&s, "SELECT last_value FROM stops.seen"), steps, "{call}");
            assert_eq!(after, before, "{call}");
        }
    }
}

/// What the superuser makes for an owner, under default privileges that would open it, and what a guest sees of it by its own name.
#[test]
fn what_is_made_belongs_to_the_owner_and_is_as_open_as_its_parent() {
    for victim in calls() {
        let start = victim.prepare(shared::cluster().unwrap(), "");
        let s = start.copy(1);
        let (owner, guest) = (format!("owner_{}", start.database(1)), format!("guest_{}", start.database(1)));
        role(&s, &owner, &format!("ROUTINE eventkit.{}", routine(&victim.call)));
        role(&s, &guest, "FUNCTION eventkit.advisory_lock_key");
        s.query(&HAND_OVER.replace("ROLE_NAME", &owner)).unwrap();
        for statement in [
            format!("GRANT SELECT ON e TO {guest}; GRANT INSERT (day) ON e TO {guest}"),
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC".to_owned(),
            format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT ALL ON TABLES TO PUBLIC"),
            "CREATE SCHEMA before; CREATE TABLE before.tables AS SELECT oid AS relation FROM pg_class".to_owned(),
        ] {
            s.query(&statement).unwrap();
        }
        s.query(&victim.call).unwrap_or_else(|failure| panic!("{failure}\n{}", victim.call));
        let made = "pg_class c WHERE c.relnamespace::regnamespace::text IN ('public', 'attic') AND c.relkind IN ('r', 'p', 'S', 'v', 'f') AND c.oid NOT IN (SELECT relation FROM before.tables)";
        let others = format!("SELECT c.oid::regclass FROM {made} AND c.relowner <> '{owner}'::regrole");
        assert_eq!(lines(&s, &others), Vec::<String>::new(), "{}", victim.call);
        // As the parent, or, once it is none any more, as the table in its place.
        let like_parent = format!(
            "SELECT c.oid::regclass, c.relowner::regrole FROM {made} AND c.relkind <> 'S' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)"
        );
        let rights = |table: &str| {
            lines(&s, &format!("SELECT grantor::regrole::text, grantee::text, privilege_type, is_grantable FROM pg_class c, aclexplode(c.relacl) WHERE c.oid = '{table}'::regclass \
                UNION ALL SELECT attname, attacl::text, NULL, NULL FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attacl IS NOT NULL ORDER BY 1, 2, 3")).join("\n")
        };
        let as_guest = session(&start, 1, &guest);
        let mut hidden = 0;
        for line in lines(&s, &like_parent) {
            let child = line.split('|').next().unwrap();
            assert_eq!(rights(child), rights("e"), "{child} of {}", victim.call);
            let count = format!("SELECT count(*) FROM {child} WHERE id <= 0");
            assert_eq!(value(&as_guest, &count), "0", "{child} of {}", victim.call);
            assert_eq!(
                value(&as_guest, &format!("SELECT count(*) FROM {child}")),
                value(&s, &format!("SELECT count(*) FROM {child} WHERE id > 0"))
            );
            hidden += number(&s, &count);
            assert_eq!(fails(&as_guest, &format!("DELETE FROM {child}")).sqlstate, "42501");
        }
        if ["backfill", "drain_default", "split_partition"].contains(&routine(&victim.call).as_str()) {
            assert!(hidden > 0, "no row was hidden: {}", victim.call);
        }
        // What is no partition, as a table of changes, is nobody else's.
        let open = format!(
            "SELECT c.oid::regclass FROM {made} AND c.relkind = 'r' AND c.oid <> 'e'::regclass AND NOT c.relispartition AND has_table_privilege('{guest}', c.oid, 'SELECT')"
        );
        assert_eq!(lines(&s, &open), Vec::<String>::new(), "{}", victim.call);
        // The parent itself, which may be another table now, too.
        assert_eq!(value(&as_guest, "SELECT count(*) FROM e WHERE id <= 0"), "0", "{}", victim.call);
        assert_eq!(value(&s, "SELECT relowner::regrole FROM pg_class WHERE oid = 'e'::regclass"), owner);
        assert_eq!(fails(&as_guest, "DELETE FROM e").sqlstate, "42501", "{}", victim.call);
    }
}
