//! Servers of a test's own, whose calls stop at a statement and are killed there.

use eventkit_tests::{Cluster, ClusterBuilder, PgVersion, Session, wait};

/// A server that keeps what it was told, with the extension in its database `d`.
pub fn own_cluster() -> Cluster {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap()).fsync(true).start().unwrap();
    cluster.create_database("d").unwrap();
    cluster.create_extension("d").unwrap();
    cluster
}

/// Kills a process of a server, which then begins anew, and waits until it answers.
pub fn kill_and_wait(cluster: &Cluster, pid: i32) {
    let before = cluster.log().unwrap().matches("reinitializing").count();
    cluster.kill_backend(pid).unwrap();
    while cluster.log().unwrap().matches("reinitializing").count() <= before {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    cluster.wait_until_ready().unwrap();
}

/// A server after some SQL, whose DDL waits behind each statement that satisfies a condition over `s` (its columns: `tag`, `objects`,
/// as given to [`kill_at`]) and the `tg_tag` of an event trigger.
pub fn stopping_cluster(setup: &str, condition: &str) -> Cluster {
    let cluster = own_cluster();
    Session::open(&cluster, "d", "setup")
        .unwrap()
        .query(&format!(
            "{setup}; CREATE TABLE stop (tag text, objects text); \
             CREATE FUNCTION stop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
               IF EXISTS (SELECT FROM public.stop s WHERE {condition}) THEN PERFORM pg_advisory_lock(1); END IF; END $$; \
             CREATE EVENT TRIGGER stop ON ddl_command_end EXECUTE FUNCTION stop()"
        ))
        .unwrap();
    cluster
}

/// Kills a call where it stops; gives a session that sees what it left, on a server where nothing stops any more.
pub fn kill_at(cluster: &Cluster, call: &str, tag: &str, objects: &str) -> Session {
    let s = Session::open(cluster, "d", "holder").unwrap();
    s.query(&format!("SELECT pg_advisory_lock(1); INSERT INTO stop VALUES ('{tag}', '{objects}')")).unwrap();
    let victim = Session::open(cluster, "d", "victim").unwrap();
    victim.run(call);
    wait::until_blocked(cluster, &victim).unwrap_or_else(|e| panic!("{tag} {objects}: {e}"));
    kill_and_wait(cluster, victim.pid());
    victim.join().unwrap_err();
    let s = Session::open(cluster, "d", "look").unwrap();
    s.query("TRUNCATE stop").unwrap();
    s
}
