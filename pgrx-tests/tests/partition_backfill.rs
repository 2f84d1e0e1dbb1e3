//! A backfill as a client sees it: the published example, resumption, names, settings, rights, locks; and one day made by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{advisory_locks, lines, open};
use eventkit_tests::shared::{self, Database};
use eventkit_tests::{ClusterBuilder, PgVersion, Session, wait};

/// The published example with three days of chats: one an hour, a message every ten minutes of the day after.
const ARTICLE: &str = r"
CREATE TABLE public.chats (id bigserial, created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (id));
CREATE TABLE public.chat_messages (id bigserial, created_at timestamptz NOT NULL, chat_id bigint NOT NULL,
    chat_created_at timestamptz NOT NULL, message text NOT NULL, PRIMARY KEY (id), FOREIGN KEY (chat_id) REFERENCES chats (id));
INSERT INTO chats (created_at)
    SELECT generate_series('2022-01-01 00:00+00'::timestamptz, '2022-01-03 23:00+00', interval '1 hour');
INSERT INTO chat_messages (created_at, chat_id, chat_created_at, message)
    SELECT m, c.id, c.created_at, 'message ' || c.id
    FROM chats c, generate_series(c.created_at, c.created_at + interval '1 day', interval '10 minutes') m;
CREATE INDEX ON chats (created_at);
CREATE INDEX ON chat_messages (created_at);
CREATE SCHEMA app;
CREATE TABLE app.chats (id bigserial, created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (id, created_at))
    PARTITION BY RANGE (created_at);
CREATE INDEX chats_created_at ON app.chats (created_at);
CREATE TABLE app.chat_messages (id bigserial, created_at timestamptz NOT NULL, chat_id bigint NOT NULL,
    chat_created_at timestamptz NOT NULL, message text NOT NULL, PRIMARY KEY (id, created_at),
    FOREIGN KEY (chat_id, chat_created_at) REFERENCES app.chats (id, created_at)) PARTITION BY RANGE (created_at);
CREATE INDEX chat_messages_created_at ON app.chat_messages (created_at);
CREATE INDEX chat_messages_chat_id_chat_created_at ON app.chat_messages (chat_id, chat_created_at);
";

fn database(setup: &str) -> (Database, Session) {
    let db = shared::database().unwrap();
    let session = db.session("main").unwrap();
    session.query(setup).unwrap();
    (db, session)
}

fn value(session: &Session, sql: &str) -> String {
    session.value(sql).unwrap().unwrap_or_else(|| "NULL".to_owned())
}

/// A number that changes with any value of any row.
fn content(session: &Session, table: &str, columns: &str) -> String {
    value(
        session,
        &format!(
            "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(({columns})::text, 0)::numeric), 0) FROM {table}"
        ),
    )
}

/// Tables of a schema that are neither partitioned nor partitions nor tables of changes.
fn strays(session: &Session, schema: &str) -> String {
    value(
        session,
        &format!(
            "SELECT count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'r' AND NOT relispartition AND relname !~ '_changes$'"
        ),
    )
}

fn leftovers(session: &Session) -> String {
    value(
        session,
        "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) \
         + (SELECT count(*) FROM pg_constraint WHERE conname ~ '^partition_(bound|excludes)')",
    )
}

#[test]
fn the_published_example_moves_whole_and_proves_its_bounds() {
    let (_db, s) = database(ARTICLE);
    // The referenced table comes first; the refusal names the day and the next command.
    let refused = s.query("CALL eventkit.backfill('chat_messages', 'app.chat_messages')").unwrap_err();
    assert_eq!(refused.sqlstate, "23503");
    assert!(refused.message.starts_with("period 2022-01-04: "), "{refused}");
    assert!(refused.hint.unwrap().contains("referenced table first"));
    assert_eq!(strays(&s, "app"), "0");

    s.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap();
    s.query("SET client_min_messages = debug1").unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.backfill('chat_messages', 'app.chat_messages')").unwrap();
    s.query("RESET client_min_messages").unwrap();
    let heard = s.take_notices().join("\n");
    assert_eq!(heard.matches("is implied by existing constraints").count(), 4, "{heard}");
    assert!(!heard.contains("verifying table"), "{heard}");
    // One index build for each of three indexes and the TOAST table a day: the attach builds none.
    assert_eq!(heard.matches("building index \"chat_messages").count(), 12, "{heard}");
    let days: Vec<&str> = heard.lines().filter(|l| l.starts_with("NOTICE: period ")).collect();
    assert_eq!(days.len(), 4);
    assert!(days[0].contains("2022-01-04") && days[3].contains("2022-01-01"), "newest first: {days:?}");
    assert!(heard.contains("is done; 0 changes of the source wait"), "{heard}");

    for (table, columns) in
        [("chats", "id, created_at"), ("chat_messages", "id, created_at, chat_id, chat_created_at, message")]
    {
        assert_eq!(content(&s, &format!("public.{table}"), columns), content(&s, &format!("app.{table}"), columns));
    }
    assert_eq!(
        value(
            &s,
            "SELECT string_agg(partition::text || ' ' || from_time || ' ' || to_time || ' ' || row_estimate, ', ' ORDER BY from_time) \
                   FROM eventkit.partitions WHERE parent = 'app.chats'::regclass"
        ),
        "app.chats_20220101 2022-01-01 00:00:00+00 2022-01-02 00:00:00+00 24, \
         app.chats_20220102 2022-01-02 00:00:00+00 2022-01-03 00:00:00+00 24, \
         app.chats_20220103 2022-01-03 00:00:00+00 2022-01-04 00:00:00+00 24"
    );
    // Every index of a partition hangs below one of the parent, and the foreign key is inherited.
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM pg_index i JOIN eventkit.partitions p ON p.partition = i.indrelid \
                   WHERE NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)"
        ),
        "0"
    );
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conparentid <> 0 AND conrelid IN (SELECT partition FROM eventkit.partitions)"
        ),
        "4"
    );
    // Sequences go on after the copied rows.
    s.query("CALL eventkit.create_partition('app.chats', '2022-01-04')").unwrap();
    assert_eq!(value(&s, "INSERT INTO app.chats (created_at) VALUES ('2022-01-04 10:00+00') RETURNING id"), "73");

    let _ = s.take_notices();
    s.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap();
    assert!(s.take_notices().iter().any(|n| n.contains("2022-01-01 is left as it is")));
    assert_eq!(leftovers(&s), "0");
}

#[test]
fn numbers_of_deleted_rows_are_not_given_twice() {
    let (_db, s) = open(
        "CREATE TABLE src (id int GENERATED BY DEFAULT AS IDENTITY, at date, n bigint DEFAULT 0); CREATE SEQUENCE up; CREATE SEQUENCE down INCREMENT -1;
         ALTER TABLE src ALTER n SET DEFAULT nextval('up') + 0 * nextval('down');
         INSERT INTO src (at) SELECT '2024-01-01' FROM generate_series(1, 100); DELETE FROM src WHERE id > 40;
         CREATE TABLE e (id int GENERATED BY DEFAULT AS IDENTITY, at date, n bigserial) PARTITION BY RANGE (at)",
    );
    s.query("CALL eventkit.backfill('src', 'e', capture => false)").unwrap();
    assert_eq!(value(&s, "INSERT INTO e (at) VALUES ('2024-01-01') RETURNING id || ' ' || n"), "101 101");
    // A sequence that the caller may not look at tells nothing; one that both share is not looked at.
    s.query("CREATE TABLE shared (id int DEFAULT nextval('up'), at date) PARTITION BY RANGE (at); CREATE TABLE from_up (id int DEFAULT nextval('up'), at date); INSERT INTO from_up (at) VALUES ('2024-01-01')").unwrap();
    let plan = lines(
        &s,
        "SELECT statement FROM eventkit.plan_backfill('from_up', 'shared', capture => false) WHERE statement ~ 'advance_sequence'",
    )
    .join("");
    assert!(plan.contains("max(\"id\")") && !plan.contains("last_value"), "{plan}");
}

#[test]
fn what_is_planned_is_what_makes_the_partition() {
    let (_db, s) = database(ARTICLE);
    let plan =
        s.query("SELECT statement FROM eventkit.plan_backfill_period('chats', 'app.chats', '2022-01-02')").unwrap();
    assert_eq!(
        s.query("SELECT statement FROM eventkit.plan_backfill('chats', 'app.chats')").unwrap().len(),
        // The capture; sequences, three periods and sequences, a COMMIT before each.
        s.query("SELECT FROM eventkit.plan_backfill_capture('chats', 'app.chats')").unwrap().len()
            + 3 * plan.len()
            + 2
            + 5
    );
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions"), "0", "a plan does nothing");
    s.query("BEGIN").unwrap();
    for step in plan {
        s.query(step[0].as_ref().unwrap()).unwrap();
    }
    s.query("COMMIT").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM app.chats_20220102"), "24");
    assert_eq!(value(&s, "SELECT count(*) FROM app.chats"), "24");
}

#[test]
fn a_killed_backfill_leaves_whole_days_and_resumes() {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap()).fsync(true).start().unwrap();
    cluster.create_database("d").unwrap();
    cluster.create_extension("d").unwrap();
    let slow = "CREATE FUNCTION public.slowly(bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN true; END';
                ALTER TABLE app.chats ADD CHECK (public.slowly(id))";
    Session::open(&cluster, "d", "setup").unwrap().query(&format!("{ARTICLE};{slow}")).unwrap();
    for (round, attached) in [1, 2].into_iter().enumerate() {
        let victim = Session::open(&cluster, "d", "victim").unwrap();
        victim.run("CALL eventkit.backfill('chats', 'app.chats')");
        wait::until(
            &cluster,
            "d",
            &format!("(SELECT count(*) FROM eventkit.partitions WHERE parent = 'app.chats'::regclass) >= {attached}"),
        )
        .unwrap();
        if round == 0 {
            cluster.connect("d").unwrap().execute("SELECT pg_terminate_backend($1)", &[&victim.pid()]).unwrap();
            // The connection may break before the server's word arrives.
            assert!(["57P01", "08006"].contains(&victim.join().unwrap_err().sqlstate.as_str()));
            wait::until(
                &cluster,
                "d",
                &format!("NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {})", victim.pid()),
            )
            .unwrap();
        } else {
            cluster.kill_backend(victim.pid()).unwrap();
            victim.join().unwrap_err();
            // The server answers for a moment before it notices.
            while !cluster.log().unwrap().contains("reinitializing") {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            cluster.wait_until_ready().unwrap();
        }
        let s = Session::open(&cluster, "d", "look").unwrap();
        assert_eq!(strays(&s, "app"), "0");
        assert_eq!(leftovers(&s), "0");
        assert_eq!(value(&s, "SELECT count(*) % 24 FROM app.chats"), "0", "whole days only");
        assert_ne!(value(&s, "SELECT count(*) FROM app.chats"), "0");
    }
    let last = Session::open(&cluster, "d", "last").unwrap();
    last.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap();
    assert_eq!(content(&last, "public.chats", "id, created_at"), content(&last, "app.chats", "id, created_at"));
    assert_eq!(value(&last, "SELECT count(*) FROM eventkit.partitions WHERE parent = 'app.chats'::regclass"), "3");
    // A cancelled one gives its lock back at once.
    last.query("TRUNCATE app.chats CASCADE; INSERT INTO public.chats (created_at) SELECT '2021-12-31 00:00+00'::timestamptz + n * interval '1 minute' FROM generate_series(0, 999) n").unwrap();
    last.run("CALL eventkit.backfill('chats', 'app.chats')");
    wait::until(&cluster, "d", "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    last.cancel().unwrap();
    assert_eq!(last.join().unwrap_err().sqlstate, "57014");
    assert_eq!(leftovers(&last), "0");
}

#[test]
fn a_killed_server_keeps_whole_days() {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap()).fsync(true).start().unwrap();
    cluster.create_database("d").unwrap();
    cluster.create_extension("d").unwrap();
    Session::open(&cluster, "d", "setup").unwrap().query(ARTICLE).unwrap();
    let victim = Session::open(&cluster, "d", "victim").unwrap();
    victim.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap();
    victim.run("CALL eventkit.backfill('chat_messages', 'app.chat_messages')");
    wait::until(&cluster, "d", "EXISTS (SELECT FROM eventkit.partitions WHERE parent = 'app.chat_messages'::regclass)")
        .unwrap();
    cluster.kill_server().unwrap();
    // It may have been done already on a fast machine.
    let _ = victim.join();
    cluster.start_server().unwrap();
    let s = Session::open(&cluster, "d", "again").unwrap();
    assert_eq!(strays(&s, "app"), "0");
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM eventkit.backfill_differences('chat_messages', 'app.chat_messages') WHERE parent_rows > 0"
        ),
        "0"
    );
    s.query("CALL eventkit.backfill('chat_messages', 'app.chat_messages')").unwrap();
    let columns = "id, created_at, chat_id, chat_created_at, message";
    assert_eq!(content(&s, "public.chat_messages", columns), content(&s, "app.chat_messages", columns));
}

#[test]
fn hostile_names_and_every_key_type() {
    let db = shared::database().unwrap();
    let s = db.session("main").unwrap();
    let long = "é".repeat(31);
    let schema = r#""Sch""ema '\.%I""#;
    s.query(&format!("CREATE SCHEMA {schema}")).unwrap();
    for (key_type, table) in
        [("date", r#"we""ird.Table %I"#), ("timestamp", long.as_str()), ("timestamptz", "select'\\")]
    {
        let parent = format!("{schema}.\"{table}\"");
        let source = format!("\"old {table}\"").replace("éé\"", "\"");
        s.query(&format!(
            r#"CREATE TABLE {parent} ("i""d" bigint, "at %s""" {key_type}, "sum" bigint GENERATED ALWAYS AS ("i""d" * 2) STORED, x varchar(5) CHECK (x <> ''),
                   PRIMARY KEY ("i""d", "at %s""")) PARTITION BY RANGE ("at %s""");
               CREATE INDEX "index {key_type} '" ON {parent} ((lower(x)), "at %s""" DESC) INCLUDE ("i""d") WHERE x <> 'no''';
               CREATE TABLE {source} (x text, "at %s""" {key_type}, "i""d" int);
               INSERT INTO {source} SELECT 'x', ('2024-02-28'::timestamp + n * interval '1 hour')::{key_type}, n FROM generate_series(0, 71) n;"#
        ))
        .unwrap();
        let quoted = |name: &str| name.replace('\'', "''");
        let call = format!("CALL eventkit.backfill('{}', '{}', capture => false)", quoted(&source), quoted(&parent));
        s.query(&call).unwrap();
        assert_eq!(value(&s, &format!("SELECT count(*) || ' ' || sum(\"sum\") FROM {parent}")), "72 5112");
        let of_parent = format!("parent = '{}'::regclass", quoted(&parent));
        assert_eq!(
            value(
                &s,
                &format!(
                    "SELECT string_agg(to_char(from_time, 'MMDD'), ' ' ORDER BY from_time) FROM eventkit.partitions WHERE {of_parent}"
                )
            ),
            "0228 0229 0301"
        );
        assert_eq!(
            value(
                &s,
                &format!(
                    "SELECT bool_and(octet_length(relname) <= 63 AND relname ~ '_2024[0-9]{{4}}$') FROM pg_class JOIN eventkit.partitions ON partition = oid WHERE {of_parent}"
                )
            ),
            "t"
        );
    }
}

#[test]
fn settings_of_the_session_change_nothing() {
    let (_db, s) = database(ARTICLE);
    for setting in [
        "TimeZone = 'America/New_York'",
        "DateStyle = 'German, DMY'",
        "IntervalStyle = 'sql_standard'",
        "standard_conforming_strings = off",
    ] {
        s.query(&format!("SET {setting}")).unwrap();
    }
    s.query("CALL eventkit.create_partition('app.chats', '02.01.2022')").unwrap();
    s.query("SET TimeZone = 'Asia/Kathmandu'").unwrap();
    s.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap();
    s.query("SET TimeZone = 'UTC'").unwrap();
    s.query("SET DateStyle = 'ISO'").unwrap();
    assert_eq!(
        value(
            &s,
            "SELECT string_agg(partition::text || ' ' || from_time::timestamp, ', ' ORDER BY from_time) FROM eventkit.partitions"
        ),
        "app.chats_20220101 2022-01-01 00:00:00, app.chats_20220102 2022-01-02 00:00:00, app.chats_20220103 2022-01-03 00:00:00"
    );
    assert_eq!(value(&s, "SELECT count(*) FROM app.chats_20220102"), "24", "the partition that stood empty is filled");
}

#[test]
fn inside_a_transaction() {
    let (_db, s) = database(ARTICLE);
    s.query("BEGIN").unwrap();
    let refused = s.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap_err();
    assert_eq!(refused.sqlstate, "25001");
    s.query("ROLLBACK").unwrap();
    assert_eq!(leftovers(&s), "0");
    s.query("SET search_path = app, public").unwrap();
    s.query("BEGIN").unwrap();
    s.query("SET LOCAL lock_timeout = '7s'").unwrap();
    s.query("CALL eventkit.create_partition('chats', '2022-01-01')").unwrap();
    assert_eq!(
        value(&s, "SELECT concat_ws(' ', current_setting('search_path'), current_setting('lock_timeout'))"),
        "app, public 7s"
    );
    s.query("INSERT INTO app.chats VALUES (1, '2022-01-01 12:00+00')").unwrap();
    s.query("ROLLBACK").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions"), "0");
    assert_eq!(strays(&s, "app"), "0");
}

#[test]
fn two_callers() {
    let (db, a) = database(ARTICLE);
    let b = db.session("second").unwrap();
    a.query("BEGIN").unwrap();
    a.query("CALL eventkit.create_partition('app.chats', '2022-01-03')").unwrap();
    b.run("CALL eventkit.create_partition('app.chats', '2022-01-03')");
    wait::until_blocked(db.cluster, &b).unwrap();
    a.query("COMMIT").unwrap();
    b.join().unwrap();
    assert!(b.take_notices().iter().any(|n| n.contains("holds 2022-01-03 already")));
    // A backfill meets another session at the same day: it gives way with an error of its own.
    a.query("BEGIN").unwrap();
    a.query("CALL eventkit.create_partition('app.chats', '2022-01-02')").unwrap();
    assert_eq!(b.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap_err().sqlstate, "55006");
    a.query("ROLLBACK").unwrap();
    // Two backfills of one pair.
    a.query("SELECT pg_advisory_lock(eventkit.advisory_lock_key(eventkit.backfill_lock('chats', 'app.chats')))")
        .unwrap();
    let refused = b.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap_err();
    assert_eq!(refused.sqlstate, "55006");
    assert!(refused.hint.is_some());
    a.query("SELECT pg_advisory_unlock_all()").unwrap();
    b.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap();
    assert_eq!(leftovers(&b), "0");
}

#[test]
fn rights() {
    let (db, s) = database(ARTICLE);
    let (owner, guest) = (format!("owner_{}", db.name), format!("guest_{}", db.name));
    s.query(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE {guest} LOGIN; GRANT USAGE ON SCHEMA app, eventkit TO {owner}, {guest}; GRANT CREATE ON SCHEMA app TO {owner};
         ALTER TABLE app.chats OWNER TO {owner}; GRANT SELECT ON public.chats TO {owner}; GRANT SELECT ON app.chats TO {guest};
         GRANT EXECUTE ON PROCEDURE eventkit.backfill, eventkit.create_partition TO {owner};
         ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO PUBLIC, {guest}"
    ))
    .unwrap();
    let as_guest = Session::open_as(db.cluster, &db.name, "guest", &guest).unwrap();
    let call = "CALL eventkit.create_partition('app.chats', '2022-01-05')";
    assert_eq!(as_guest.query(call).unwrap_err().sqlstate, "42501");
    s.query(&format!("GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {guest}")).unwrap();
    for refused in [
        call,
        "CALL eventkit.backfill('chats', 'app.chats', capture => false)",
        "SELECT * FROM eventkit.plan_create_partition('app.chats', '2022-01-05')",
    ] {
        let refused = as_guest.query(refused).unwrap_err();
        assert_eq!(refused.sqlstate, "42501", "{refused}");
        assert!(refused.message.contains("must be owner of \"app\".\"chats\"") && refused.hint.is_some(), "{refused}");
    }
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions"), "0");

    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    as_owner.query("CALL eventkit.backfill('chats', 'app.chats', capture => false)").unwrap();
    assert_eq!(value(&as_owner, "SELECT count(*) FROM app.chats"), "72");
    // The superuser's partition belongs to the owner; default privileges open neither.
    s.query(call).unwrap();
    assert_eq!(
        value(
            &s,
            "SELECT string_agg(DISTINCT pg_get_userbyid(relowner)::text, ' ') FROM pg_class JOIN eventkit.partitions ON partition = oid"
        ),
        owner
    );
    assert_eq!(value(&as_guest, "SELECT has_table_privilege('app.chats_20220105', 'SELECT')"), "t", "as on the parent");
    for privilege in ["INSERT", "UPDATE", "DELETE", "TRUNCATE"] {
        assert_eq!(value(&as_guest, &format!("SELECT has_table_privilege('app.chats_20220105', '{privilege}')")), "f");
    }
    // A source that row-level security shows in part only is refused.
    s.query(&format!("ALTER TABLE public.chats ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON public.chats TO {owner} USING (id < 5)")).unwrap();
    let hidden = as_owner.query("CALL eventkit.backfill('chats', 'app.chats', capture => false)").unwrap_err();
    assert_eq!(hidden.sqlstate, "42501");
    assert!(hidden.message.contains("row-level security"));
}

#[test]
fn a_hostile_search_path_is_never_used() {
    let (_db, s) = database(ARTICLE);
    s.query(
        "CREATE SCHEMA evil;
         CREATE FUNCTION evil.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
         CREATE FUNCTION evil.cmp(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.trap(); RETURN true; END $$;
         CREATE OPERATOR evil.>= (FUNCTION = evil.cmp, LEFTARG = timestamptz, RIGHTARG = timestamptz);
         CREATE OPERATOR evil.< (FUNCTION = evil.cmp, LEFTARG = timestamptz, RIGHTARG = timestamptz);
         CREATE OPERATOR evil.- (FUNCTION = evil.cmp, LEFTARG = timestamptz, RIGHTARG = timestamptz);
         CREATE FUNCTION evil.tr(date, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.trap(); RETURN ''; END $$;
         CREATE FUNCTION evil.to_char(date, text) RETURNS text LANGUAGE sql AS 'SELECT evil.tr($1, $2)';
         CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM evil.trap(); RETURN ''; END $$;
         CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT evil.tr(NULL, $1)';
         CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT evil.tr(NULL, $1)';
         CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT evil.tr(NULL, NULL)::timestamptz';
         CREATE TABLE evil.pg_class (oid oid, relname name); CREATE TABLE evil.chats (id bigint, created_at timestamptz);
         CREATE INDEX ON app.chats (lower(id::text), created_at)",
    )
    .unwrap();
    s.query("SET search_path = evil, pg_catalog, app").unwrap();
    s.query("CALL eventkit.create_partition('app.chats', '2022-01-09')").unwrap();
    s.query("CALL eventkit.backfill('public.chats', 'app.chats')").unwrap();
    s.query("SELECT * FROM eventkit.partitions").unwrap();
    s.query("RESET search_path").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM app.chats"), "72");
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM pg_depend WHERE refobjid IN (SELECT oid FROM pg_proc WHERE proname = 'lower' AND pronamespace = 'evil'::regnamespace)"
        ),
        "0"
    );
}

#[test]
fn functions_of_a_constraint_see_the_callers_search_path() {
    let (_db, s) = database(ARTICLE);
    s.query(
        "CREATE SCHEMA lookup; CREATE TABLE lookup.allowed (id bigint); INSERT INTO lookup.allowed SELECT generate_series(1, 72);
         CREATE FUNCTION public.is_allowed(i bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN EXISTS (SELECT FROM allowed a WHERE a.id = i); END';
         ALTER TABLE app.chats ADD CHECK (public.is_allowed(id))",
    )
    .unwrap();
    s.query("SET search_path = public, lookup").unwrap();
    s.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM app.chats"), "72");
}

#[test]
fn a_partition_is_like_its_parent() {
    let (_db, s) = database("");
    s.query(
        "CREATE TABLE e (dropped int, id bigint GENERATED BY DEFAULT AS IDENTITY, at timestamptz, name text COLLATE \"C\" DEFAULT 'x' NOT NULL,
             twice bigint GENERATED ALWAYS AS (id * 2) STORED, payload text, CHECK (id > 0),
             UNIQUE (id, at) DEFERRABLE INITIALLY DEFERRED, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
         ALTER TABLE e DROP COLUMN dropped;
         ALTER TABLE e ALTER payload SET STORAGE EXTERNAL;
         CREATE UNIQUE INDEX e_covering ON e (at DESC NULLS LAST, name text_pattern_ops) INCLUDE (payload) NULLS NOT DISTINCT WHERE name <> 'a';
         CREATE INDEX e_brin ON e USING brin (at) WITH (pages_per_range = 4);
         CREATE INDEX e_only ON ONLY e ((upper(name)));
         ALTER TABLE e ALTER name SET STATISTICS 321;
         ALTER TABLE e ALTER id SET (n_distinct = -0.5);
         CREATE STATISTICS e_stats (dependencies) ON id, name FROM e;
         COMMENT ON COLUMN e.name IS 'the name';
         ALTER TABLE e REPLICA IDENTITY FULL;
         ALTER TABLE e ENABLE ROW LEVEL SECURITY; ALTER TABLE e FORCE ROW LEVEL SECURITY;
         CREATE POLICY p_all ON e USING (name = current_user);
         CREATE POLICY p_no ON e AS RESTRICTIVE FOR UPDATE TO pg_monitor, CURRENT_USER USING (id < 9) WITH CHECK (id IN (SELECT 1));
         GRANT SELECT, UPDATE (name) ON e TO pg_monitor;
         CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER t BEFORE INSERT ON e FOR EACH ROW EXECUTE FUNCTION noop();
         SET client_min_messages = debug1",
    )
    .unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.create_partition('e', '2024-01-01')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("is implied by existing constraints") && !heard.contains("verifying table"), "{heard}");
    s.query("RESET client_min_messages").unwrap();
    assert_eq!(
        value(&s, "SELECT count(*) FROM pg_index WHERE indrelid = 'e_20240101'::regclass"),
        "5",
        "the attach made no index of its own"
    );
    assert_eq!(
        value(
            &s,
            "SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid WHERE i.indrelid = 'e_20240101'::regclass"
        ),
        "5"
    );
    // A real partition, made by the server, is the measure; what it lacks itself is compared with the parent.
    s.query("CREATE TABLE r PARTITION OF e FOR VALUES FROM ('2024-01-02') TO ('2024-01-03')").unwrap();
    let columns = "SELECT string_agg(format('%s %s %s %s %s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull, attgenerated, attstorage, attcompression, attcollation, atthasdef), ', ' ORDER BY attnum) FROM pg_attribute WHERE NOT attisdropped AND attnum > 0 AND attrelid = ";
    assert_eq!(value(&s, &format!("{columns} 'e_20240101'::regclass")), value(&s, &format!("{columns} 'r'::regclass")));
    let indexes = "SELECT string_agg(regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', ''), '; ' ORDER BY regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '')) FROM pg_index WHERE indrelid = ";
    assert_eq!(value(&s, &format!("{indexes} 'e_20240101'::regclass")), value(&s, &format!("{indexes} 'r'::regclass")));
    let constraints = "SELECT string_agg(pg_get_constraintdef(oid), '; ' ORDER BY pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid = ";
    assert_eq!(
        value(&s, &format!("{constraints} 'e_20240101'::regclass")),
        value(&s, &format!("{constraints} 'r'::regclass"))
    );
    for like_parent in [
        "SELECT concat_ws(' ', relreplident, relrowsecurity, relforcerowsecurity, relowner) FROM pg_class WHERE oid = ",
        "SELECT string_agg(concat_ws(' ', polname, polcmd, polpermissive, polroles, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)), ';' ORDER BY polname) FROM pg_policy WHERE polrelid = ",
        "SELECT string_agg(concat_ws(' ', a.grantee, a.privilege_type), ';' ORDER BY a.grantee, a.privilege_type) FROM pg_class, aclexplode(relacl) a WHERE oid = ",
        "SELECT string_agg(concat_ws(' ', attname, attacl), ';') FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid = ",
        "SELECT string_agg(tgname, ' ') FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = ",
        "SELECT string_agg(concat_ws(' ', attname, attstattarget, array_to_string(array_remove(attoptions, (SELECT o FROM unnest(attoptions) o WHERE o LIKE 'pg_%')), ',')), ';' ORDER BY attname) FROM pg_attribute WHERE attname IN ('id', 'name') AND attrelid = ",
        "SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = ",
        "SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attname = 'name' AND attrelid = ",
    ] {
        assert_eq!(
            value(&s, &format!("{like_parent} 'e_20240101'::regclass")),
            value(&s, &format!("{like_parent} 'e'::regclass")),
            "{like_parent}"
        );
    }
    s.query("INSERT INTO e (at, name) VALUES ('2024-01-01 12:00+00', 'n')").unwrap();
    assert_eq!(value(&s, "SELECT id || ' ' || twice FROM e_20240101"), "1 2");
}

#[test]
fn a_default_partition_is_excluded_first() {
    let (_db, s) = database(ARTICLE);
    s.query("CREATE TABLE app.rest PARTITION OF app.chats DEFAULT; INSERT INTO app.rest VALUES (7, '2022-01-02 10:00+00'), (8, '2023-01-01 10:00+00')").unwrap();
    s.query("SET client_min_messages = debug1").unwrap();
    s.query("CALL eventkit.create_partition('app.chats', '2022-01-05')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(
        heard
            .contains("updated partition constraint for default partition \"rest\" is implied by existing constraints"),
        "{heard}"
    );
    s.query("RESET client_min_messages").unwrap();
    let refused = s.query("CALL eventkit.create_partition('app.chats', '2022-01-02')").unwrap_err();
    assert_eq!(refused.sqlstate, "23514");
    assert!(refused.message.contains("\"app\".\"rest\" holds 1 rows of 2022-01-02"), "{refused}");
    let refused = s.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap_err();
    assert_eq!(refused.sqlstate, "23514");
    assert!(refused.message.starts_with("period 2022-01-02"), "{refused}");
    assert_eq!(leftovers(&s), "0");
    s.query("DELETE FROM app.rest WHERE id = 7").unwrap();
    s.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM app.chats"), "73");
}

#[test]
fn strangers_overlaps_and_unfit_parents_are_named() {
    let (_db, s) = database(ARTICLE);
    s.query(
        "CREATE TABLE app.chats_20220102 (x int); CREATE TABLE app.january PARTITION OF app.chats FOR VALUES FROM ('2022-01-03 12:00+00') TO ('2022-02-01');
         CREATE TABLE plain (at date); CREATE TABLE by_list (at date) PARTITION BY LIST (at); CREATE TABLE by_number (at bigint) PARTITION BY RANGE (at); CREATE TABLE numbers (at bigint PRIMARY KEY);
         CREATE TABLE by_two (at date, b int) PARTITION BY RANGE (at, b); CREATE TABLE by_expression (at timestamp) PARTITION BY RANGE ((at::date));
         CREATE TABLE top (at date) PARTITION BY RANGE (at); CREATE TABLE below PARTITION OF top FOR VALUES FROM ('2022-01-01') TO ('2023-01-01') PARTITION BY RANGE (at)",
    )
    .unwrap();
    for (call, state, named) in [
        ("create_partition('app.chats', '2022-01-02')", "42P07", "\"app\".\"chats_20220102\""),
        (
            "backfill('chats', 'app.chats', from_time => '2022-01-03 00:00Z', to_time => '2022-01-04 00:00Z', capture => false)",
            "42P17",
            "\"app\".\"january\"",
        ),
        ("backfill('numbers', 'by_number')", "22023", "\"key_unit\""),
        ("create_partition('app.chats', '2022-01-20')", "42P17", "\"app\".\"january\""),
        ("create_partition('app.chats', 'infinity')", "22008", "\"day\""),
        ("create_partition('app.chats', '0044-03-15 BC')", "22008", "out of range"),
        ("create_partition('app.chats', NULL)", "22004", "\"day\""),
        ("create_partition(NULL, '2022-01-01')", "22004", "\"parent\""),
        ("create_partition('app.chats', '2022-01-01', '0')", "22023", "\"lock_timeout\""),
        ("create_partition('plain', '2022-01-01')", "42809", "\"plain\""),
        ("create_partition('by_list', '2022-01-01')", "42809", "\"by_list\""),
        ("create_partition('by_number', '2022-01-01')", "22023", "\"key_unit\""),
        ("create_partition('by_two', '2022-01-01')", "0A000", "\"by_two\""),
        ("create_partition('by_expression', '2022-01-01')", "0A000", "\"by_expression\""),
        ("create_partition('below', '2022-01-01')", "0A000", "\"below\""),
        ("backfill('app.chats', 'app.chats')", "22023", "\"source\""),
        ("backfill('app.january', 'app.chats')", "22023", "\"source\""),
        ("backfill('plain', 'app.chats')", "42703", "\"created_at\""),
        ("backfill('chat_messages', 'app.chats')", "42703", "\"chat_id\""),
        ("backfill('eventkit.partitions', 'app.chats')", "42809", "\"source\""),
    ] {
        let refused = s.query(&format!("CALL eventkit.{call}")).unwrap_err();
        assert_eq!(refused.sqlstate, state, "{call}: {refused}");
        assert!(refused.message.contains(named), "{call}: {refused}");
        assert!(refused.detail.is_some() && refused.hint.is_some(), "{call}: {refused}");
    }
    assert_eq!(leftovers(&s), "0");
}

#[test]
fn wild_keys_stay_behind_and_end_the_loop() {
    let (_db, s) = database(
        "CREATE TABLE src (id int, at timestamptz); CREATE TABLE dst (id int, at timestamptz) PARTITION BY RANGE (at);
         INSERT INTO src VALUES (1, 'infinity'), (2, '-infinity'), (3, NULL), (4, '1969-12-31 23:59:59+00'), (5, '2150-01-01'), (6, '0044-03-15 BC'),
             (7, '1970-01-01 00:00+00'), (8, '2024-01-01 00:00+00'), (9, '2024-01-01 23:59:59.999999+00'), (10, '2024-01-02 00:00+00')",
    );
    s.query("CALL eventkit.backfill('src', 'dst', capture => false)").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(heard.contains("NOTICE: \"public\".\"src\" has no index"), "{heard}");
    let warning = heard.lines().find(|l| l.starts_with("WARNING")).unwrap();
    for kind in ["infinity: 1 rows", "-infinity: 1 rows", "NULL: 1 rows", "before 1970-01-01: 2 rows", "after "] {
        assert!(warning.contains(kind), "{warning}");
    }
    assert_eq!(value(&s, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM dst"), "7 8 9 10");
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions"), "3");
    // What changes in the source after its day was copied shows as a difference.
    s.query("INSERT INTO src VALUES (11, '2024-01-01 05:00+00')").unwrap();
    let _ = s.take_notices();
    s.query("CALL eventkit.backfill('src', 'dst', capture => false)").unwrap();
    assert!(s.take_notices().join("\n").contains("2024-01-01: 3 in source, 2 in parent"));
}

#[test]
fn wild_keys_of_each_type_stay_behind() {
    for (key, unit, wild) in [
        (
            "date",
            "NULL",
            "(1, 'infinity'), (2, '-infinity'), (3, NULL), (4, '1969-12-31'), (5, '2150-01-01'), (6, '0044-03-15 BC'), (7, '1970-01-01'), (8, '2024-01-02')",
        ),
        (
            "timestamp",
            "NULL",
            "(1, 'infinity'), (2, '-infinity'), (3, NULL), (4, '1969-12-31 23:59:59.999999'), (5, '2150-01-01'), (6, '0044-03-15 BC'), (7, '1970-01-01'), (8, '2024-01-02')",
        ),
        (
            "bigint",
            "'ms'",
            "(1, 9223372036854775807), (2, -9223372036854775808), (3, NULL), (4, -1), (5, 5680281600000), (7, 0), (8, 1704153600000)",
        ),
    ] {
        let (_db, s) = database(&format!("CREATE TABLE src (id int, at {key}); CREATE TABLE dst (id int, at {key}) PARTITION BY RANGE (at); INSERT INTO src VALUES {wild};
            INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, on_expiry, key_unit) VALUES ('dst', '1 day', 'UTC', 0, 'detach', {unit})"));
        s.query("CALL eventkit.backfill('src', 'dst', capture => false)").unwrap();
        let heard = s.take_notices().join("\n");
        assert_eq!(value(&s, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM dst"), "7 8", "{key}: {heard}");
        assert!(heard.contains("WARNING") && heard.contains("NULL: 1 rows"), "{key}: {heard}");
        let left = value(&s, "SELECT sum(row_count) FROM eventkit.backfill_left_behind('src', 'dst')");
        assert_eq!(left, if key == "bigint" { "5" } else { "6" }, "{key}");
    }
}

#[test]
fn ddl_that_waits_too_long_is_given_up_whole() {
    let (db, s) = database(ARTICLE);
    s.query("CREATE TABLE app.rest PARTITION OF app.chats DEFAULT").unwrap();
    let reader = db.session("reader").unwrap();
    reader.query("BEGIN").unwrap();
    reader.query("SELECT count(*) FROM app.chats").unwrap();
    let refused = s.query("CALL eventkit.create_partition('app.chats', '2022-01-05', '10 milliseconds')").unwrap_err();
    assert_eq!(refused.sqlstate, "55P03");
    assert!(refused.detail.unwrap().contains("\"rest\"") && refused.hint.is_some());
    assert_eq!(leftovers(&s), "0");
    assert_eq!(strays(&s, "app"), "0");
    // The reader goes while the next call tries again.
    s.run("CALL eventkit.create_partition('app.chats', '2022-01-05', '50 milliseconds')");
    wait::until_blocked(db.cluster, &s).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    reader.query("COMMIT").unwrap();
    s.join().unwrap();
    assert_eq!(value(&s, "SELECT count(*) FROM eventkit.partitions WHERE from_time IS NOT NULL"), "1");
}

#[test]
fn a_referenced_table_of_somebody_else_is_waited_for_too() {
    let (db, s) = database(ARTICLE);
    s.query("CALL eventkit.backfill('chats', 'app.chats')").unwrap();
    let owner = format!("writer_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT USAGE ON SCHEMA app, eventkit TO {owner}; GRANT CREATE ON SCHEMA app TO {owner};
         ALTER TABLE app.chat_messages OWNER TO {owner}; GRANT SELECT ON public.chat_messages, app.chats TO {owner};
         GRANT REFERENCES ON app.chats TO {owner}; GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA eventkit TO {owner}"
    ))
    .unwrap();
    let as_owner = Session::open_as(db.cluster, &db.name, "owner", &owner).unwrap();
    s.query("BEGIN").unwrap();
    s.query("INSERT INTO app.chats (created_at) VALUES ('2022-01-03 12:00+00')").unwrap();
    as_owner.run("CALL eventkit.backfill('chat_messages', 'app.chat_messages', capture => false, lock_timeout => '50 milliseconds')");
    wait::until_blocked(db.cluster, &as_owner).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    s.query("COMMIT").unwrap();
    as_owner.join().unwrap();
    assert_eq!(
        value(&s, "SELECT count(*) FROM eventkit.backfill_differences('chat_messages', 'app.chat_messages')"),
        "0"
    );
}

#[test]
fn a_failed_day_is_named_and_the_others_are_copied() {
    let (_db, s) = database(ARTICLE);
    s.query("ALTER TABLE public.chats DROP CONSTRAINT chats_pkey CASCADE").unwrap();
    s.query("INSERT INTO public.chats VALUES (30, '2022-01-02 05:00+00')").unwrap();
    let refused = s.query("CALL eventkit.backfill('chats', 'app.chats', capture => false)").unwrap_err();
    assert_eq!(refused.sqlstate, "23505");
    assert!(refused.message.starts_with("period 2022-01-02: ") && refused.hint.is_some(), "{refused}");
    assert_eq!(
        value(&s, "SELECT string_agg(partition::text, ' ' ORDER BY from_time) FROM eventkit.partitions"),
        "app.chats_20220101 app.chats_20220103"
    );
    assert_eq!((leftovers(&s), strays(&s, "app")), ("0".to_owned(), "0".to_owned()));
    s.query("DELETE FROM public.chats WHERE ctid = (SELECT max(ctid) FROM public.chats WHERE id = 30)").unwrap();
    s.query("CALL eventkit.backfill('chats', 'app.chats', capture => false)").unwrap();
    assert_eq!(content(&s, "public.chats", "id, created_at"), content(&s, "app.chats", "id, created_at"));
}

#[test]
fn bad_rows_in_two_days_leave_these_absent_and_the_others_whole() {
    let (_db, s) = database(
        "CREATE TABLE src (id int, at timestamptz, n int); CREATE TABLE dst (id int NOT NULL, at timestamptz NOT NULL, n int CHECK (n > 0), PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         INSERT INTO src SELECT i, timestamptz '2024-01-01 00:00Z' + i * interval '1 hour', 1 FROM generate_series(0, 143) i;
         CREATE UNIQUE INDEX ON src (id, at);
         INSERT INTO src VALUES (NULL, '2024-01-05 05:00Z', 1), (NULL, '2024-01-02 07:00Z', 1)",
    );
    let days = "SELECT string_agg(to_char(from_time AT TIME ZONE 'UTC', 'DD') || ':' || (SELECT count(*) FROM dst WHERE at >= from_time AND at < to_time), ' ' ORDER BY from_time) FROM eventkit.partitions WHERE parent = 'dst'::regclass";
    s.query("ALTER TABLE src REPLICA IDENTITY FULL").unwrap();
    let _ = s.take_notices();
    let refused = s.query("CALL eventkit.backfill('src', 'dst', capture => false)").unwrap_err();
    assert_eq!(refused.sqlstate, "23502");
    assert!(
        refused.message.starts_with("period 2024-01-05: ") && refused.message.ends_with("(and 1 more)"),
        "{refused}"
    );
    assert!(refused.detail.as_ref().is_some_and(|detail| detail.contains("period 2024-01-02: ")), "{refused:?}");
    assert!(
        refused.hint.as_ref().is_some_and(|hint| hint.contains("CALL eventkit.backfill('public.src', 'public.dst')")),
        "{refused:?}"
    );
    let told = s.take_notices().join("\n");
    assert!(
        told.contains("period 2024-01-05: ") && told.contains("period 2024-01-02: ") && !told.contains("is done"),
        "{told}"
    );
    assert_eq!(value(&s, days), "01:24 03:24 04:24 06:24");
    // The source is the one plain table.
    assert_eq!((leftovers(&s), strays(&s, "public")), ("0".to_owned(), "1".to_owned()));
    // Another cause in one of them; the other one is right now.
    s.query("UPDATE src SET n = 0 WHERE id = 100; DELETE FROM src WHERE id IS NULL").unwrap();
    let refused = s.query("CALL eventkit.backfill('src', 'dst', capture => false)").unwrap_err();
    assert!(
        refused.sqlstate == "23514"
            && refused.message.starts_with("period 2024-01-05: ")
            && !refused.message.contains("(and"),
        "{refused}"
    );
    assert_eq!(value(&s, days), "01:24 02:24 03:24 04:24 06:24");
    s.query("UPDATE src SET n = 1 WHERE id = 100").unwrap();
    s.query("CALL eventkit.backfill('src', 'dst', capture => false)").unwrap();
    assert_eq!(value(&s, days), "01:24 02:24 03:24 04:24 05:24 06:24");
    assert_eq!(content(&s, "src", "id, at, n"), content(&s, "dst", "id, at, n"));
    // Nobody is kept from a backfill by what failed.
    assert_eq!(advisory_locks(&s), 0);
}

#[test]
fn duplicates_in_two_days_leave_these_absent_and_the_others_whole() {
    for parent_key in ["PRIMARY KEY (id, at)", "UNIQUE (at, id)", "EXCLUDE USING btree (id WITH =, at WITH =)"] {
        // From 17 on a partitioned table takes an exclusion constraint.
        if parent_key.starts_with("EXCLUDE") && PgVersion::under_test().unwrap() == PgVersion::V15 {
            continue;
        }
        let (_db, s) = database(&format!(
            "CREATE TABLE src (id int, at timestamptz, n int); CREATE TABLE dst (id int NOT NULL, at timestamptz NOT NULL, n int, {parent_key}) PARTITION BY RANGE (at);
             INSERT INTO src SELECT i, timestamptz '2024-01-01 00:00Z' + i * interval '1 hour', 1 FROM generate_series(0, 143) i; CREATE INDEX ON src (at);
             INSERT INTO src SELECT id, at, 2 FROM src WHERE id IN (30, 31, 100)"
        ));
        let days = "SELECT string_agg(to_char(from_time AT TIME ZONE 'UTC', 'DD') || ':' || (SELECT count(*) FROM dst WHERE at >= from_time AND at < to_time), ' ' ORDER BY from_time) FROM eventkit.partitions WHERE parent = 'dst'::regclass";
        for (order, first, other) in [("true", "2024-01-05", "2024-01-02"), ("false", "2024-01-02", "2024-01-05")] {
            let _ = s.take_notices();
            let refused = s
                .query(&format!("CALL eventkit.backfill('src', 'dst', capture => false, newest_first => {order})"))
                .unwrap_err();
            assert!(["23505", "23P01"].contains(&&*refused.sqlstate), "{refused}");
            assert!(
                refused.message.starts_with(&format!("period {first}: ")) && refused.message.ends_with("(and 1 more)"),
                "{refused}"
            );
            assert!(
                refused.detail.as_ref().is_some_and(|detail| detail.contains(&format!("period {other}: "))),
                "{refused:?}"
            );
            assert!(
                refused.detail.is_some_and(|detail| detail.contains("(id, at)=(") || detail.contains("(at, id)=(")),
                "the row is named"
            );
            let told = s.take_notices().join("\n");
            assert!(
                told.contains("WARNING: period 2024-01-05: ") && told.contains("WARNING: period 2024-01-02: "),
                "{told}"
            );
            assert_eq!(value(&s, days), "01:24 03:24 04:24 06:24");
            assert_eq!((leftovers(&s), strays(&s, "public")), ("0".to_owned(), "1".to_owned()));
        }
        s.query("DELETE FROM src WHERE n = 2 AND id < 100").unwrap();
        let refused = s.query("CALL eventkit.backfill('src', 'dst', capture => false)").unwrap_err();
        assert!(refused.message.starts_with("period 2024-01-05: ") && !refused.message.contains("(and"), "{refused}");
        assert_eq!(value(&s, days), "01:24 02:24 03:24 04:24 06:24");
        s.query("DELETE FROM src WHERE n = 2").unwrap();
        s.query("CALL eventkit.backfill('src', 'dst', capture => false)").unwrap();
        assert_eq!(content(&s, "src", "id, at, n"), content(&s, "dst", "id, at, n"));
        assert_eq!(advisory_locks(&s), 0);
    }
}

#[test]
fn differences_are_told_by_the_parents_periods() {
    for (key, unit, period, zone, at) in [
        ("timestamptz", "NULL", "day", "America/New_York", "k"),
        ("timestamptz", "NULL", "hour", "America/New_York", "k"),
        ("timestamptz", "NULL", "hour", "Asia/Kathmandu", "k"),
        ("timestamptz", "NULL", "day", "Australia/Lord_Howe", "k"),
        ("timestamptz", "NULL", "month", "Asia/Kathmandu", "k"),
        ("timestamptz", "NULL", "week", "UTC", "k"),
        ("timestamp", "NULL", "day", "America/New_York", "k AT TIME ZONE 'America/New_York'"),
        ("date", "NULL", "month", "America/New_York", "k::timestamp AT TIME ZONE 'America/New_York'"),
        ("bigint", "'ms'", "day", "America/New_York", "to_timestamp(k / 1000.0)"),
        (
            "uuid",
            "NULL",
            "day",
            "Asia/Kathmandu",
            "to_timestamp(('x' || left(replace(k::text, '-', ''), 12))::bit(48)::bigint / 1000.0)",
        ),
    ] {
        // Rows around the days on which clocks are put forward and back.
        let made = match key {
            "bigint" => "(extract(epoch FROM t) * 1000)::bigint",
            "uuid" => "(lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid",
            "date" => "t::date",
            "timestamp" => "t AT TIME ZONE 'America/New_York'",
            _ => "t",
        };
        let (_db, s) = database(&format!(
            "CREATE TABLE src (k {key}); CREATE TABLE dst (k {key}) PARTITION BY RANGE (k);
             CREATE INDEX ON src (k); INSERT INTO src SELECT {made} FROM (SELECT d::timestamptz + n * interval '7 minutes' AS t
               FROM unnest('{{2024-03-09 00:00Z,2024-04-05 00:00Z,2024-11-02 00:00Z,2024-10-04 00:00Z}}'::text[]) d, generate_series(0, 600) n) made;
             CALL eventkit.manage_partitions('dst', '1 {period}', '{zone}', premake => 0, key_unit => {unit})"
        ));
        s.query("CALL eventkit.backfill('src', 'dst', capture => false)").unwrap();
        let call = "SELECT period || ' ' || source_rows || ' ' || parent_rows FROM eventkit.backfill_differences('src', 'dst')";
        assert_eq!(lines(&s, call), [""; 0], "{key} {period} {zone}");
        s.query("DELETE FROM dst WHERE abs(hashtext(k::text)) % 40 = 0; INSERT INTO dst SELECT k FROM src WHERE abs(hashtext(k::text)) % 60 = 1").unwrap();
        let counted = |table: &str| {
            format!(
                "SELECT date_trunc('{period}', ({at}) AT TIME ZONE '{zone}') AS p, count(*) AS n FROM {table} GROUP BY 1"
            )
        };
        let wanted = lines(
            &s,
            &format!(
                "SELECT s.p || ' ' || s.n || ' ' || coalesce(d.n, 0) FROM ({}) s LEFT JOIN ({}) d USING (p) WHERE s.n <> coalesce(d.n, 0) ORDER BY s.p DESC",
                counted("src"),
                counted("dst")
            ),
        );
        assert!(!wanted.is_empty(), "{key} {period} {zone}");
        assert_eq!(lines(&s, call), wanted, "{key} {period} {zone}");
    }
}
