//! A call that stops behind the n-th thing it does, so that a kill finds it there; and what a database holds, for comparison.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use eventkit_tests::{Cluster, ClusterBuilder, PgVersion, Session, shared, wait};

use super::{advisory_locks, lines, number, value};

/// Counts every DDL command, and every row that passes a `CHECK (stops.pass())`; the one whose turn it is sleeps.
const STOPS: &str = "
CREATE SCHEMA stops; CREATE SEQUENCE stops.seen; CREATE TABLE stops.at (n bigint); INSERT INTO stops.at VALUES (0);
CREATE TABLE stops.steps (n bigint, transaction xid8);
CREATE FUNCTION stops.pass() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  step CONSTANT bigint := nextval('stops.seen');
  stop CONSTANT bigint := (SELECT a.n FROM stops.at a);
BEGIN
  IF stop = 0 THEN
    INSERT INTO stops.steps VALUES (step, pg_current_xact_id());
  ELSIF step = stop THEN
    PERFORM set_config('application_name', 'stopped', false); PERFORM pg_sleep(3600);
  END IF;
  RETURN true; END $$;
CREATE FUNCTION stops.command() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM stops.pass(); END $$;";

/// A call that is stopped at its steps.
pub struct Victim {
    /// How many steps it has at least.
    pub steps: i64,
    /// Makes the tables; `stops.pass()` is there for CHECKs and hooks.
    pub setup: String,
    /// What is called, and after it was stopped called again.
    pub call: String,
    /// What is true at any time, however it was interrupted.
    pub whole: String,
    /// What is true when the call has ended.
    pub done: String,
}

impl Victim {
    /// Makes the database that the others are copies of.
    pub fn prepare<'a>(&self, cluster: &'a Cluster, options: &str) -> Start<'a> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("start_{}", MADE.fetch_add(1, Ordering::Relaxed));
        let maker = Session::open(cluster, "postgres", "maker").unwrap();
        maker.query(&format!("CREATE DATABASE {name} {options}")).unwrap();
        cluster.create_extension(&name).unwrap();
        let s = Session::open(cluster, &name, "setup").unwrap();
        s.query(STOPS).unwrap();
        for statement in self.setup.split_inclusive(";\n") {
            s.query(statement).unwrap_or_else(|failure| panic!("{failure}\n{statement}"));
        }
        s.query("CREATE EVENT TRIGGER stops ON ddl_command_end EXECUTE FUNCTION stops.command()").unwrap();
        Start { cluster, name }
    }

    /// How many steps the call has when nobody stops it, and what it leaves.
    pub fn unharmed(&self, start: &Start<'_>) -> (i64, Vec<String>) {
        let s = start.copy(0);
        s.query(&self.call).unwrap_or_else(|failure| panic!("{failure}\n{}", self.call));
        let steps = number(&s, "SELECT last_value FROM stops.seen");
        assert!(steps >= self.steps, "only {steps} steps: {}", self.call);
        self.is_true(&s, &self.done, "unharmed");
        (steps, holds(&s))
    }

    /// Cancels the call at its first step, then, when it is called again, at the second, and so on until it comes to its
    /// end, which has to be that of a call that nobody stopped. Each time its session has to be as it was before.
    pub fn is_cancelled_at_every_step(&self) {
        let start = self.prepare(shared::cluster().unwrap(), "");
        let (steps, expected) = self.unharmed(&start);
        let s = start.copy(1);
        let session = "SELECT concat_ws(',', current_setting('search_path'), current_setting('lock_timeout'), current_setting('row_security'), current_setting('role'), \
            current_setting('default_tablespace'), current_setting('enable_hashjoin'), current_setting('transaction_isolation'), current_user)";
        let before = value(&s, session);
        for step in 1.. {
            assert!(step <= 2 * steps, "it does not come to its end: {}", self.call);
            s.query(&format!(
                "RESET application_name; UPDATE stops.at SET n = {step}; SELECT setval('stops.seen', 1, false)"
            ))
            .unwrap();
            // At some by the server's clock, which is as if somebody cancelled.
            let by_clock = step % 5 == 2;
            if by_clock {
                s.query("SET statement_timeout = '500ms'").unwrap();
            }
            s.run(&self.call);
            all_stopped(&start, std::slice::from_ref(&s), &self.call);
            if !by_clock {
                s.cancel().unwrap();
            }
            let ended = s.join();
            s.query("RESET statement_timeout").unwrap();
            // A worker ends a moment after the one whom it works for.
            wait::until(start.cluster, &start.database(1), "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_eventkit' AND datname = current_database())")
            .unwrap();
            let Err(refused) = ended else { break };
            assert_eq!(refused.sqlstate, "57014", "{refused}");
            self.is_true(&s, &self.whole, &format!("cancelled at step {step}"));
            assert_eq!(advisory_locks(&s), 0, "step {step} of {}", self.call);
            assert_eq!(value(&s, session), before, "step {step} of {}", self.call);
        }
        s.query("UPDATE stops.at SET n = 0").unwrap();
        s.query(&self.call).unwrap_or_else(|failure| panic!("{failure}\n{}", self.call));
        self.is_true(&s, &self.done, "at the end");
        assert_eq!(holds(&s), expected, "{}", self.call);
    }

    /// Asserts that a condition holds.
    pub fn is_true(&self, s: &Session, condition: &str, when: &str) {
        let holds = value(s, &format!("SELECT {condition}"));
        assert_eq!(holds, "t", "{when}: {condition}\n{}\n{:#?}", self.call, self::holds(s));
    }
}

/// A call and the copies in which it is stopped, one for each of these steps.
pub struct Killed<'a> {
    /// The call.
    pub victim: &'a Victim,
    /// What the copies are made from.
    pub start: Start<'a>,
    /// What a call that nobody stopped leaves.
    pub expected: Vec<String>,
    /// The steps.
    pub steps: Vec<i64>,
}

impl<'a> Killed<'a> {
    /// The first, middle and last step of each transaction. Between two steps of one nothing is written that a kill leaves.
    pub fn of(victim: &'a Victim, cluster: &'a Cluster) -> Self {
        let start = victim.prepare(cluster, "");
        let (_, expected) = victim.unharmed(&start);
        let steps: Vec<i64> = lines(
            &start.session(0),
            "SELECT DISTINCT unnest(ARRAY[min(n), percentile_disc(0.5) WITHIN GROUP (ORDER BY n), max(n)]) FROM stops.steps GROUP BY transaction ORDER BY 1",
        )
        .iter()
        .map(|n| n.parse().unwrap())
        .collect();
        assert!(steps.len() > 2, "{steps:?}: {}", victim.call);
        Self { victim, start, expected, steps }
    }

    /// Calls in each copy, the n-th in a session of its own, until all of them have come to their steps.
    pub fn stopped(&self, session: impl Fn(i64) -> Session, step: impl Fn(i64) -> i64) -> Vec<Session> {
        let stopped: Vec<Session> = self
            .steps
            .iter()
            .map(|n| {
                let s = session(*n);
                let at = step(*n);
                s.query(&format!("UPDATE stops.at SET n = {at}; SELECT setval('stops.seen', 1, false)")).unwrap();
                s.run(&self.victim.call);
                s
            })
            .collect();
        all_stopped(&self.start, &stopped, &self.victim.call);
        stopped
    }

    fn after_kill(&self, n: i64, killed: &str) -> Session {
        let s = self.start.session(n);
        self.victim.is_true(&s, &self.victim.whole, &format!("{killed} killed, step {n}"));
        s
    }
}

/// Kills calls in each of their transactions: once their backends, then, when they run again, the whole server at other steps.
/// A third call has to end with exactly what a call that nobody stopped leaves behind.
pub fn are_killed_in_every_transaction(victims: &[Victim]) {
    let cluster = ClusterBuilder::new(PgVersion::under_test().unwrap())
        .setting("max_connections = 300")
        .setting("max_worker_processes = 100")
        .setting("autovacuum = off")
        .start()
        .unwrap();
    let killed: Vec<Killed<'_>> = victims.iter().map(|victim| Killed::of(victim, &cluster)).collect();
    let stopped: Vec<Vec<Session>> = killed.iter().map(|k| k.stopped(|n| k.start.copy(n), |n| n)).collect();
    let restarts = cluster.log().unwrap().matches("reinitializing").count();
    cluster.kill_backends(&stopped.iter().flatten().map(Session::pid).collect::<Vec<_>>()).unwrap();
    // The server answers for a moment before it notices.
    while cluster.log().unwrap().matches("reinitializing").count() == restarts {
        std::thread::sleep(Duration::from_millis(5));
    }
    cluster.wait_until_ready().unwrap();
    drop(stopped);
    let again: Vec<Vec<Session>> =
        killed.iter().map(|k| k.stopped(|n| k.after_kill(n, "backend"), |n| 1 + n / 2)).collect();
    cluster.kill_server().unwrap();
    drop(again);
    cluster.start_server().unwrap();
    for k in &killed {
        let call = &k.victim.call;
        for n in &k.steps {
            let s = k.after_kill(*n, "server");
            s.query("UPDATE stops.at SET n = 0").unwrap();
            s.query(call).unwrap_or_else(|failure| panic!("{failure}\nafter step {n} of {call}"));
            k.victim.is_true(&s, &k.victim.done, &format!("the last call after step {n}"));
            assert_eq!(holds(&s), k.expected, "after step {n} of {call}");
        }
    }
}

/// A database that others are copies of, each with a number.
pub struct Start<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl Start<'_> {
    /// The name of a copy.
    pub fn database(&self, n: i64) -> String {
        format!("{}_{n}", self.name)
    }

    /// A session in a copy.
    pub fn session(&self, n: i64) -> Session {
        Session::open(self.cluster, &self.database(n), "caller").unwrap()
    }

    /// Makes a copy; a session in it.
    pub fn copy(&self, n: i64) -> Session {
        let maker = Session::open(self.cluster, "postgres", "maker").unwrap();
        maker
            .query(&format!("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", self.database(n), self.name))
            .unwrap();
        self.session(n)
    }
}

/// Waits until each of the calls has come to its step, or to its end.
fn all_stopped(start: &Start<'_>, sessions: &[Session], call: &str) {
    let at_rest =
        format!("backend_type = 'client backend' AND state = 'idle' AND query = '{}'", call.replace('\'', "''"));
    wait::until(
        start.cluster,
        "postgres",
        // In a retirement it is a worker that stops.
        &format!(
            "(SELECT count(DISTINCT datname) FROM pg_stat_activity WHERE datname ~ '^{}_' AND (application_name = 'stopped' OR ({at_rest}))) = {}",
            start.name,
            sessions.len()
        ),
    )
    .unwrap();
}

/// All that a database holds besides the extension's own: relations, bounds, constraints, indexes, triggers, functions, policies, settings, locks.
pub fn holds(s: &Session) -> Vec<String> {
    lines(
        s,
        "WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|eventkit$|stops$)')
         SELECT * FROM (
           SELECT 'relation' AS kind, concat_ws(' ', c.oid::regclass, relkind, relispartition, pg_get_expr(relpartbound, c.oid), relrowsecurity, relowner::regrole) AS what FROM pg_class c WHERE relnamespace IN (SELECT oid FROM ours)
           UNION ALL SELECT 'constraint', concat_ws(' ', conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ours)
           UNION ALL SELECT 'index', concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid) FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE relnamespace IN (SELECT oid FROM ours)
           UNION ALL SELECT 'trigger', concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE NOT tgisinternal AND relnamespace IN (SELECT oid FROM ours)
           UNION ALL SELECT 'function', p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace IN (SELECT oid FROM ours) AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
           UNION ALL SELECT 'policy', concat_ws(' ', polrelid::regclass, polname) FROM pg_policy JOIN pg_class c ON c.oid = polrelid WHERE relnamespace IN (SELECT oid FROM ours)
           UNION ALL SELECT 'settings', p::text FROM eventkit.partition_settings p
           UNION ALL SELECT 'departure', d.partition::text FROM eventkit.partition_departures d
           UNION ALL SELECT 'backfill', concat_ws(' ', source, parent, changes, finished_at IS NOT NULL) FROM eventkit.backfills
           UNION ALL SELECT 'period', concat_ws(' ', source, parent, period, row_count) FROM eventkit.backfill_periods
           UNION ALL SELECT 'lock', concat_ws(' ', locktype, relation::regclass, mode) FROM pg_locks WHERE pid <> pg_backend_pid() AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           UNION ALL SELECT 'lock', mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
         ) all_of_it ORDER BY 1, 2",
    )
}
