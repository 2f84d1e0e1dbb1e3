//! Installing, removing, dumping and restoring the extension, as the least privileged role that may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::process::Output;

use eventkit_tests::shared::{self, Database};
use postgres::Client;

/// Makes a role that is no superuser and may create in the database; roles are shared by all, so it has its own name.
fn role(db: &Database, may_create_in_public: bool) -> String {
    let name = format!("installer_of_{}", db.name);
    let mut client = db.connect().unwrap();
    client.batch_execute(&format!("CREATE ROLE {name} LOGIN; GRANT CREATE ON DATABASE {} TO {name}", db.name)).unwrap();
    let public =
        if may_create_in_public { "GRANT CREATE ON SCHEMA public TO" } else { "REVOKE CREATE ON SCHEMA public FROM" };
    client.batch_execute(&format!("{public} {name}; REVOKE CREATE ON SCHEMA public FROM public")).unwrap();
    name
}

/// Every object of a database that an extension could leave behind, by name; the catalog's own are in it too.
fn objects(client: &mut Client) -> Vec<String> {
    let sql = "
        SELECT format('%s %s', d.classid::regclass, pg_describe_object(d.classid, d.objid, 0))
        FROM (SELECT 'pg_class'::regclass AS classid, oid AS objid FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace
              UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
              UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type
              UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
              UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
              UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
              UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
              UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension) AS d
        ORDER BY 1";
    client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn install_as_owner_of_nothing(may_create_in_public: bool) {
    let db = shared::empty_database().unwrap();
    let role = role(&db, may_create_in_public);
    let mut client = db.cluster.connect_as(&db.name, &role).unwrap();
    client.batch_execute("CREATE EXTENSION pg_eventkit CASCADE").unwrap();
    let schema: String = client
        .query_one("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_eventkit'", &[])
        .unwrap()
        .get(0);
    assert_eq!(schema, "eventkit");
}

#[test]
fn a_role_with_create_on_the_database_installs() {
    install_as_owner_of_nothing(true);
}

#[test]
fn it_installs_where_public_is_closed() {
    install_as_owner_of_nothing(false);
}

#[test]
fn every_function_is_in_the_schema_with_a_comment() {
    let db = shared::database().unwrap();
    let sql = "
        SELECT p.oid::regprocedure::text FROM pg_proc p
        JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
        WHERE e.extname = 'pg_eventkit'
          AND (p.pronamespace <> 'eventkit'::regnamespace OR obj_description(p.oid, 'pg_proc') IS NULL)
        ORDER BY 1";
    let bare: Vec<String> = db.connect().unwrap().query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(bare.is_empty(), "functions outside the schema or without a comment: {bare:#?}");
}

#[test]
fn drop_leaves_nothing_of_ours_and_it_can_be_made_again() {
    let db = shared::empty_database().unwrap();
    let mut client = db.connect().unwrap();
    client.batch_execute("CREATE EXTENSION hstore").unwrap();
    let before = objects(&mut client);
    client.batch_execute("CREATE EXTENSION pg_eventkit").unwrap();
    assert!(objects(&mut client).len() > before.len());
    client.batch_execute("DROP EXTENSION pg_eventkit").unwrap();
    let left: Vec<String> = objects(&mut client).into_iter().filter(|object| !before.contains(object)).collect();
    assert!(left.is_empty(), "DROP EXTENSION leaves {left:#?}");
    client.batch_execute("CREATE EXTENSION pg_eventkit").unwrap();
}

#[test]
fn dump_and_restore_bring_back_the_same() {
    let db = shared::database().unwrap();
    let mut client = db.connect().unwrap();
    client
        .batch_execute(
            r#"CREATE TABLE user_events (user_id text PRIMARY KEY, events jsonb[] NOT NULL);
               INSERT INTO user_events VALUES ('a', ARRAY['{"event_id": 1, "event": "old"}', '{"event_id": 1, "event": "new"}']::jsonb[]);
               CREATE VIEW clean AS SELECT user_id, eventkit.dedupe_events(events) AS events FROM user_events;
               CREATE INDEX ON user_events (cardinality(eventkit.dedupe_events(events)))"#,
        )
        .unwrap();
    let content = "SELECT coalesce(string_agg(clean::text, ';'), '') FROM clean";
    let expected: String = client.query_one(content, &[]).unwrap().get(0);
    assert!(expected.contains("new") && !expected.contains("old"), "{expected}");

    let file = tempfile::NamedTempFile::new().unwrap();
    succeeded(
        db.cluster.client_program("pg_dump").args(["-Fc", "-d", &db.name, "-f"]).arg(file.path()).output().unwrap(),
    );
    let restored = shared::empty_database().unwrap();
    succeeded(
        db.cluster
            .client_program("pg_restore")
            .args(["--exit-on-error", "-d", &restored.name])
            .arg(file.path())
            .output()
            .unwrap(),
    );
    let mut client = restored.connect().unwrap();
    assert_eq!(client.query_one(content, &[]).unwrap().get::<_, String>(0), expected);
    let version = "SELECT extversion FROM pg_extension WHERE extname = 'pg_eventkit'";
    assert_eq!(client.query(version, &[]).unwrap().len(), 1);
}

fn succeeded(output: Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What `CREATE EXTENSION` says in a database that was prepared so.
fn refused(prepare: &str) -> eventkit_tests::Failure {
    let db = shared::empty_database().unwrap();
    let session = db.session("installer").unwrap();
    session.query(prepare).unwrap();
    let failure = session.query("CREATE EXTENSION pg_eventkit CASCADE").unwrap_err();
    assert!(failure.detail.is_some() && failure.hint.is_some(), "{failure:?}");
    failure
}

/// The script runs as a superuser: what stands in its schema already would be taken for ours or for the server's.
#[test]
fn a_schema_that_others_filled_is_refused() {
    for object in [
        "CREATE DOMAIN eventkit.hstore AS int8",
        "CREATE FUNCTION eventkit.format(text, name) RETURNS text LANGUAGE sql AS 'SELECT ''stranger'''",
        "CREATE TABLE eventkit.dedupe_progress ()",
        "CREATE OPERATOR eventkit.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = pg_catalog.oideq)",
    ] {
        let failure = refused(&format!("CREATE SCHEMA eventkit; {object}"));
        assert_eq!(failure.sqlstate, "42710", "{object}: {failure:?}");
    }
    // An empty one is fine.
    let db = shared::empty_database().unwrap();
    db.session("installer").unwrap().query("CREATE SCHEMA eventkit; CREATE EXTENSION pg_eventkit CASCADE").unwrap();
}

#[test]
fn a_database_that_is_not_utf8_is_refused() {
    let cluster = shared::cluster().unwrap();
    let name = "latin";
    cluster
        .connect("postgres")
        .unwrap()
        .batch_execute(&format!(
            "CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        ))
        .unwrap();
    let session = eventkit_tests::Session::open(cluster, name, "installer").unwrap();
    let failure = session.query("CREATE EXTENSION pg_eventkit CASCADE").unwrap_err();
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
}
