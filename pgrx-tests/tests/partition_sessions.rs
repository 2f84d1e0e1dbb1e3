//! Each procedure in unusual sessions: inside of a transaction block, under other settings, on tables with unusual names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::stops::{Victim, holds};
use common::{lines, value, victims};
use eventkit_tests::{Session, shared};

/// Inside of a block it is refused at once with a hint, or it works; after a ROLLBACK all is as it was.
fn leaves_a_block_to_its_owner(victim: &Victim) {
    let start = victim.prepare(shared::cluster().unwrap(), "");
    let s = start.copy(1);
    let before = (holds(&s), steps(&s));
    s.query("BEGIN").unwrap();
    let ended = s.query(&victim.call);
    if let Err(refused) = &ended {
        assert_eq!(refused.sqlstate, "25001", "{refused}");
        assert!(refused.hint.as_ref().is_some_and(|hint| hint.contains("COMMIT or ROLLBACK")), "{refused:?}");
        s.query("ROLLBACK; BEGIN").unwrap();
        assert_eq!(steps(&s), before.1, "refused before anything is done: {}", victim.call);
    } else {
        victim.is_true(&s, &victim.done, "in the block");
    }
    s.query("ROLLBACK").unwrap();
    assert_eq!(holds(&s), before.0, "{}", victim.call);
    victim.is_true(&s, &victim.whole, "after ROLLBACK");
    s.query(&victim.call).unwrap_or_else(|failure| panic!("{failure}\n{}", victim.call));
    victim.is_true(&s, &victim.done, "afterwards");
}

/// How far a call has come.
fn steps(s: &Session) -> String {
    value(s, "SELECT last_value FROM stops.seen")
}

#[test]
fn each_procedure_inside_of_a_transaction_block() {
    for victim in victims::all() {
        leaves_a_block_to_its_owner(&victim);
    }
}

#[test]
fn each_procedure_under_other_settings_of_the_session() {
    for victim in victims::all() {
        let start = victim.prepare(shared::cluster().unwrap(), "");
        let (_, expected) = victim.unharmed(&start);
        let s = start.copy(1);
        s.query(
            "SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET standard_conforming_strings = off; SET extra_float_digits = -15; \
             SET bytea_output = 'escape'; SET default_transaction_isolation = 'serializable'; SET default_tablespace = ''; SET quote_all_identifiers = on; SET client_min_messages = error; \
             SET check_function_bodies = off; SET enable_seqscan = off; SET jit = on; SET xmloption = document; SET plan_cache_mode = force_generic_plan; SET default_transaction_deferrable = on; SET lock_timeout = '1ms'; SET idle_in_transaction_session_timeout = '1s'",
        )
        .unwrap();
        s.query(&victim.call).unwrap_or_else(|failure| panic!("{failure}\n{}", victim.call));
        let s = start.session(1);
        victim.is_true(&s, &victim.done, "other settings");
        assert_eq!(holds(&s), expected, "{}", victim.call);
    }
}

/// Names of 63 bytes, of several bytes a letter, with quotes, dots, backslashes and what format() reads.
fn names() -> Vec<String> {
    vec!["é".repeat(31) + "x", "x".repeat(63), "日".repeat(21), r#"a.b'c%I\"d $$ %s"#.to_owned(), "SELECT".to_owned()]
}

#[test]
fn each_procedure_on_tables_with_unusual_names() {
    let kinds = |s: &Session| -> Vec<String> {
        let mut kinds: Vec<String> =
            holds(s).into_iter().map(|line| line.split('|').next().unwrap().to_owned()).collect();
        kinds.sort();
        kinds
    };
    for victim in victims::all() {
        let start = victim.prepare(shared::cluster().unwrap(), "");
        let plain = start.copy(0);
        plain.query(&victim.call).unwrap();
        let rows = value(&plain, "SELECT count(*) FROM e");
        for (n, name) in names().into_iter().enumerate() {
            let n = i64::try_from(n).unwrap() + 1;
            let s = start.copy(n);
            let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
            let literal = |name: &str| quoted(name).replace('\'', "''");
            // Another schema of that name, so that the default partition, the source and the table can have it as well.
            let other = |prefix: &str| {
                let mut short = format!("{prefix}{name}");
                while short.len() > 63 {
                    short.pop();
                }
                short
            };
            let exists = |table: &str| value(&s, &format!("SELECT to_regclass('{table}') IS NOT NULL")) == "t";
            let mut call = victim.call.clone();
            for (table, prefix) in
                [("rest", "r"), ("src", "s"), ("filled", "f"), ("days", "d"), ("notes", "n"), ("seen", "v")]
            {
                if exists(table) {
                    s.query(&format!("ALTER TABLE {table} RENAME TO {}", quoted(&other(prefix)))).unwrap();
                    call = call.replace(&format!("'{table}'"), &format!("'{}'", literal(&other(prefix))));
                }
            }
            let mut rename = String::new();
            // A source whose changes are captured keeps its columns.
            if value(&s, "SELECT count(*) FROM eventkit.backfills") == "0" {
                for table in lines(
                    &s,
                    "SELECT attrelid::regclass FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE attname = 'at' AND relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND NOT relispartition",
                ) {
                    rename.push_str(&format!("ALTER TABLE {table} RENAME COLUMN at TO {};", quoted(&other("k"))));
                }
            }
            s.query(&format!(
                "{rename} ALTER INDEX e_day RENAME TO {}; ALTER TRIGGER quiet ON e RENAME TO {name}; ALTER POLICY mine ON e RENAME TO {name}; \
                 ALTER TABLE e RENAME CONSTRAINT e_check TO {name}; ALTER TABLE e RENAME TO {name}",
                quoted(&other("i")),
                name = quoted(&name)
            ))
            .unwrap_or_else(|failure| panic!("{failure}\n{name}"));
            call = call
                .replace("'e'", &format!("'{}'", literal(&name)))
                .replace("'at'", &format!("'{}'", other("k").replace('\'', "''")));
            let _ = s.take_notices();
            s.query(&call).unwrap_or_else(|failure| panic!("{failure}\n{call}"));
            let heard = s.take_notices().join("\n");
            assert!(!heard.contains("WARNING"), "{call}: {heard}");
            assert_eq!(value(&s, &format!("SELECT count(*) FROM {}", quoted(&name))), rows, "{call}");
            assert_eq!(kinds(&s), kinds(&plain), "{call}: {:#?}\n{:#?}", holds(&s), holds(&plain));
        }
    }
}
