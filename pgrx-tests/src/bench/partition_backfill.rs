//! The suites of the backfill: against one table loaded at once and against the others; beside writers and beside probers.

use std::time::Duration;

use super::job::{Beside, Job};
use super::partition_data::{
    ARTICLE_LOADS, PARTMAN_MOVES, Size, article, backfill, backfill_by_two, by_hand, finish, one_table, parents,
    partman_source, same_rows, source,
};
use super::suite::{Contender, Goal, Suite};

/// All of them.
#[must_use]
pub fn suites() -> Vec<Suite> {
    vec![
        load("partition-backfill-10r", Size::TEN_ROWS, 1.4, 2.5),
        load("partition-backfill-10d", Size::TEN_DAYS, 1.7, 14.0),
        writers(),
        quiet(),
    ]
}

const OURS: &str = "eventkit.backfill";
const BY_TWO: &str = "the same, jobs => 2";
const FLOOR: &str = "one table at once";

/// Statements of the whole backfill: the referenced table first, the capture ended in the other order.
fn whole() -> Vec<String> {
    vec![backfill("chats"), backfill("chat_messages"), finish("chat_messages"), finish("chats")]
}

/// The same, each backfill by a session and one worker.
fn whole_by_two() -> Vec<String> {
    vec![backfill_by_two("chats"), backfill_by_two("chat_messages"), finish("chat_messages"), finish("chats")]
}

/// The chats in their partitions, which everybody finds there.
fn with_chats() -> Vec<String> {
    [parents(), vec![backfill("chats"), finish("chats")]].concat()
}

fn load(name: &str, size: Size, floor: f64, times_article: f64) -> Suite {
    let all = size.days + 1;
    let mut setup = source(size);
    setup.extend([
        article(),
        by_hand(),
        // Autovacuum is on, as by default: it analyzes what was loaded.
        "ALTER SYSTEM SET autovacuum = on".to_owned(),
        "SELECT pg_reload_conf()".to_owned(),
        "CREATE SCHEMA partman".to_owned(),
        "CREATE EXTENSION pg_partman SCHEMA partman".to_owned(),
    ]);
    let moved = |statements: Vec<String>| Job {
        prepare: with_chats(),
        statements,
        check: Some(same_rows("app.chat_messages")),
        ..Job::default()
    };
    let contenders = vec![
        Contender::with_job(
            OURS,
            "backfill of the messages: foreign key proved, rows counted, changes captured; finish_backfill",
            moved(vec![backfill("chat_messages"), finish("chat_messages")]),
        ),
        Contender::with_job(
            BY_TWO,
            "a session and one worker; the processor time is that of the session alone",
            moved(vec![backfill_by_two("chat_messages"), finish("chat_messages")]),
        ),
        Contender::with_job(
            FLOOR,
            "messages alone: heap, primary key, two indexes; no foreign key, nothing checked",
            Job { prepare: parents(), statements: one_table(), check: Some(same_rows("app.one")), ..Job::default() },
        ),
        Contender::with_job(
            "by hand",
            "a careful script for the messages: nothing verified, captured or analyzed; no goal, it says what is possible",
            moved(vec!["CALL hand_load()".to_owned()]),
        ),
        Contender::with_job("article", "its statements for the messages", moved(vec![ARTICLE_LOADS.to_owned()])),
        Contender::with_job(
            "pg_partman",
            "partition_data_proc for the messages",
            Job { prepare: [with_chats(), partman_source()].concat(), ..moved(vec![PARTMAN_MOVES.to_owned()]) },
        ),
    ];
    Suite {
        name: name.to_owned(),
        about: format!(
            "The chats and messages of the published article: 10,375,200 messages of {all} days into partitions of a day, \
             with primary key, two indexes and the foreign key to the partitioned chats. The source is vacuumed before. \
             The chats are in place already. The article's method is restated in our own words; pg_partman is Debian's 4.7.2 and moves a copy of the source. Autovacuum is on for \
             all, as by default; what its workers do is in nobody's processor time."
        ),
        setup,
        contenders,
        goals: vec![
            Goal::costs(OURS, FLOOR, floor),
            Goal::faster(OURS, "article", times_article),
            Goal::faster(OURS, "pg_partman", 13.0),
            // The work of two processes is compared by what the user waits.
            Goal::costs(BY_TWO, FLOOR, floor).by_best_wall(),
            Goal::faster(BY_TWO, "article", times_article).by_best_wall(),
            Goal::faster(BY_TWO, "pg_partman", 13.0).by_best_wall(),
        ],
        runs: 1,
    }
}

/// Somebody who repeats a statement, a pause between two.
fn repeated(label: &str, milliseconds: u64, sql: &str) -> Beside {
    let pause = Some(Duration::from_millis(milliseconds));
    Beside { label: label.to_owned(), sql: sql.to_owned(), pause, probes: false }
}

/// The days for the rows that are written into the new tables while the old ones are copied, and one in each, for the
/// foreign key.
fn day_of_writers() -> Vec<String> {
    [
        "CALL eventkit.create_partition('app.chats', '2023-06-01')",
        "CALL eventkit.create_partition('app.chat_messages', '2023-06-01')",
        "INSERT INTO app.chats VALUES (-1, '2023-06-01 00:00Z')",
    ]
    .map(str::to_owned)
    .to_vec()
}

const INSERT_PARENT: &str = "INSERT INTO app.chat_messages (created_at, chat_id, chat_created_at, message) VALUES ('2023-06-01 12:00Z', -1, '2023-06-01 00:00Z', 'hello')";
const INSERT_REFERENCED: &str = "INSERT INTO app.chats (created_at) VALUES ('2023-06-01 12:00Z')";

fn writers() -> Suite {
    let (alone, beside, two) = ("without writers", "with writers", "the same, jobs => 2");
    // A source of its own for each run: what the writers change is not there again.
    let fresh = || {
        let anew = ["DROP TABLE IF EXISTS public.chat_messages", "DROP TABLE IF EXISTS public.chats"];
        [anew.map(str::to_owned).to_vec(), source(Size::ONE), parents(), day_of_writers()].concat()
    };
    let default_partitions = [
        "CREATE TABLE app.chats_rest PARTITION OF app.chats DEFAULT",
        "CREATE TABLE app.chat_messages_rest PARTITION OF app.chat_messages DEFAULT",
    ];
    let job = |backfill: fn(&str) -> String, beside: Vec<Beside>| Job {
        prepare: [fresh(), default_partitions.map(str::to_owned).to_vec()].concat(),
        statements: vec![backfill("chats"), backfill("chat_messages")],
        at_last: vec![finish("chat_messages"), finish("chats")],
        check: Some(same_rows("app.chat_messages")),
        beside,
    };
    let someone = "1 + (random() * 1000000)::bigint";
    let change_rows = format!(
        "INSERT INTO public.chat_messages (created_at, chat_id, chat_created_at, message)
             SELECT created_at, chat_id, chat_created_at, 'more' FROM public.chat_messages WHERE id = (SELECT {someone});
         DELETE FROM public.chat_messages WHERE id = (SELECT {someone})"
    );
    let change_values = format!("UPDATE public.chat_messages SET message = 'changed' WHERE id = (SELECT {someone})");
    let writing = vec![
        repeated("source: insert, delete", 20, &change_rows),
        repeated("source: update", 20, &change_values),
        repeated("messages: insert", 20, INSERT_PARENT),
        repeated("chats: insert", 20, INSERT_REFERENCED),
    ];
    Suite {
        name: "partition-writers".to_owned(),
        about: "1,037,520 messages of 31 days with their chats, while four others write: two into the source (inserts, updates, \
                deletes, all of which arrive), one into the new messages, one into the new chats, each ten times a second and \
                more. Both new tables have a default partition. The source is made anew for each run. The processor time is \
                that of the backfill alone, with what it takes to apply the captured changes."
            .to_owned(),
        setup: Vec::new(),
        contenders: vec![
            Contender::with_job(alone, "backfill, finish_backfill", job(backfill, Vec::new())),
            Contender::with_job(
                beside,
                "the same, four writers",
                job(backfill, writing.clone()),
            ),
            Contender::with_job(
                two,
                "each backfill by a session and one worker; the processor time is that of the session",
                job(backfill_by_two, writing),
            ),
        ],
        goals: vec![Goal::costs(beside, alone, 1.15), Goal::no_deadlock(beside), Goal::no_deadlock(two)],
        runs: 10,
    }
}

/// The four who measure how long one waits.
fn probers() -> Vec<Beside> {
    [
        (
            "select, pruned",
            "SELECT count(*) FROM app.chat_messages WHERE id = 1 AND created_at >= '2023-06-01 00:00Z' AND created_at < '2023-06-02 00:00Z'",
        ),
        ("select, all", "SELECT count(*) FROM app.chat_messages WHERE id = 1"),
        ("insert parent", INSERT_PARENT),
        ("insert referenced", INSERT_REFERENCED),
    ]
    .map(|(label, sql)| Beside { probes: true, ..repeated(label, 1, sql) })
    .to_vec()
}

/// A transaction that has read all partitions of both tables and stays open for five seconds.
fn reader() -> Beside {
    Beside {
        label: "reader, open 5 s".to_owned(),
        sql: "SELECT count(*) FROM app.chat_messages; SELECT count(*) FROM app.chats; SELECT pg_sleep(5)".to_owned(),
        pause: None,
        probes: false,
    }
}

fn quiet() -> Suite {
    let (idle, loading, two, open, rest) =
        ("idle server", "backfill", "backfill, jobs => 2", "backfill, reader open", "the same, default partitions");
    let (mut with_reader, mut with_rest) = (probers(), parents());
    with_reader.push(reader());
    with_rest.extend([
        "CREATE TABLE app.chats_rest PARTITION OF app.chats DEFAULT".to_owned(),
        "CREATE TABLE app.chat_messages_rest PARTITION OF app.chat_messages DEFAULT".to_owned(),
    ]);
    let job = |parents: Vec<String>, statements: Vec<String>, beside: Vec<Beside>| {
        let check = (statements.len() > 1).then(|| same_rows("app.chat_messages"));
        Job { prepare: [parents, day_of_writers()].concat(), statements, check, beside, ..Job::default() }
    };
    Suite {
        name: "partition-quiet".to_owned(),
        about: "How long others wait during a backfill of 1,037,520 messages of 31 days: four probers, each a millisecond \
                after its last turn, on a connection of its own. A reader has read both new tables and keeps its transaction \
                open for 5 seconds from half a second before the backfill on; lock_timeout is the 2 seconds of the default. \
                The longest wait is that of all runs; what the machine's scheduler adds stands in the lines of the idle server."
            .to_owned(),
        setup: source(Size::ONE),
        contenders: vec![
            Contender::with_job(idle, "nothing for 5 seconds", job(parents(), vec!["SELECT pg_sleep(5)".to_owned()], probers())),
            Contender::with_job(loading, "backfill, finish_backfill of both tables", job(parents(), whole(), probers())),
            Contender::with_job(two, "the same by a session and one worker", job(parents(), whole_by_two(), probers())),
            Contender::with_job(open, "backfill by the session alone, beside the reader", job(parents(), whole(), with_reader.clone())),
            Contender::with_job(rest, "the same, both new tables with a default partition", job(with_rest, whole(), with_reader)),
        ],
        goals: vec![
            Goal::waits(loading, 150.0),
            Goal::waits(two, 150.0),
            Goal::waits(open, 2100.0),
            Goal::waits(rest, 2100.0),
            Goal::no_deadlock(loading),
            Goal::no_deadlock(two),
            Goal::no_deadlock(open),
            Goal::no_deadlock(rest),
        ],
        runs: 3,
    }
}
