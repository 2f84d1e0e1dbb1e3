//! Plans that a test carries out by hand.

use super::lines;
use eventkit_tests::Session;

/// Runs the statements that a query gives, those before each COMMIT in one block; what is behind the last COMMIT runs at the end.
pub fn run_by_hand(session: &Session, plan: &str) {
    let statements = lines(session, plan);
    let phases: Vec<&[String]> = statements.split(|statement| statement == "COMMIT").collect();
    let (rest, blocks) = phases.split_last().unwrap();
    for block in blocks {
        session.query(&format!("BEGIN; {}; COMMIT", block.join(";"))).unwrap();
    }
    session.query(&rest.join(";")).unwrap();
}

/// A statement with a mark for each constant and each parameter, or for a list of them, as which of them the server tells is another matter in each version.
pub fn shape(statement: &str) -> String {
    let mut shape = String::new();
    let mut rest = statement.trim();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let end_of = |quote: char, from: usize| {
            let mut at = from;
            loop {
                at += rest[at..].find(quote).map_or(rest.len() - at, |found| found + 1);
                if !rest[at..].starts_with(quote) {
                    return at.min(rest.len());
                }
                at += 1;
            }
        };
        let (taken, constant) = if first == '\'' {
            (end_of('\'', 1), true)
        } else if rest.starts_with("E'") {
            (end_of('\'', 2), true)
        } else if first == '"' {
            (end_of('"', 1), false)
        } else if first.is_ascii_digit() {
            (word, true)
        } else if first == '$' {
            (1 + rest[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - 1), true)
        } else {
            (word.max(first.len_utf8()), false)
        };
        shape.push_str(if constant { "?" } else { &rest[..taken] });
        rest = &rest[taken..];
    }
    // From 18 on the server tells lists of constants by their first one.
    shape = shape.replace(" /*, ... */", "");
    while shape.contains("?, ?") {
        shape = shape.replace("?, ?", "?");
    }
    shape
}

/// A statement that changes or locks something.
const CHANGES: &str = "^(LOCK|CREATE|ALTER|DROP|INSERT|UPDATE|DELETE|TRUNCATE|ANALYZE|REVOKE|GRANT|COMMENT|SET LOCAL|SELECT eventkit.(copy_rows|verify_content|advance_sequence|warn_sent_changes|hold_foreign_keys)|SELECT pg_catalog.(count|array_agg))";

/// Runs a call on a server that counts statements, and asserts that it has executed those of its plans, and nothing else that
/// changes or locks anything but its own notes. Where the order can be seen, which is that of DDL, it is that of the plans.
pub fn runs_as_planned(session: &Session, call: &str, plans: &[&str]) {
    let query = plans
        .iter()
        .enumerate()
        .map(|(n, plan)| format!("SELECT {n} AS n, step, statement FROM {plan}"))
        .collect::<Vec<_>>()
        .join(" UNION ALL ");
    let planned: Vec<String> = lines(
        session,
        &format!(
            "SELECT statement FROM ({query}) p WHERE statement IS NOT NULL AND statement <> 'COMMIT' ORDER BY n, step"
        ),
    );
    assert!(!planned.is_empty(), "{call}");
    session
        .query(
            "CREATE SCHEMA IF NOT EXISTS watch; CREATE TABLE IF NOT EXISTS watch.seen (n serial, tag text); TRUNCATE watch.seen;
             CREATE OR REPLACE FUNCTION watch.see() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO watch.seen (tag) VALUES (tg_tag); END';
             CREATE EVENT TRIGGER see ON ddl_command_end EXECUTE FUNCTION watch.see()",
        )
        .unwrap();
    session.query("SELECT pg_stat_statements_reset()").unwrap();
    session.query(call).unwrap_or_else(|failure| panic!("{failure}\n{call}"));
    let executed = lines(
        session,
        &format!(
            "SELECT query FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND NOT toplevel AND query ~ '{CHANGES}'"
        ),
    );
    session.query("DROP EVENT TRIGGER see").unwrap();
    let shapes = |statements: &[String]| -> std::collections::BTreeSet<String> {
        statements.iter().map(|statement| shape(statement)).collect()
    };
    let (of_plan, of_call) = (shapes(&planned), shapes(&executed));
    let missing: Vec<_> = of_plan.difference(&of_call).collect();
    assert!(missing.is_empty(), "{call}: planned, but not executed: {missing:#?}\nexecuted: {of_call:#?}");
    // Its own notes, and what is inside of a statement that was planned.
    let own = |statement: &str| {
        statement.contains(" eventkit.backfill")
            || statement.starts_with("ALTER SEQUENCE ")
            || statement.starts_with("SELECT pg_catalog.count(*)")
            || statement == "SELECT eventkit.hold_foreign_keys(parent)"
            // Where rows may see each other copy_rows leaves them to an INSERT, which names the table as the server does.
            || statement.starts_with("INSERT INTO public.")
            || statement.starts_with("INSERT INTO watch.")
    };
    let unplanned: Vec<_> = of_call.difference(&of_plan).filter(|statement| !own(statement)).collect();
    assert!(unplanned.is_empty(), "{call}: executed, but not planned: {unplanned:#?}\nplanned: {of_plan:#?}");
    let tag = |statement: &String| {
        let mut words = statement.split_whitespace();
        let (first, second) = (words.next()?, words.next()?);
        match (first, second) {
            ("REVOKE" | "GRANT" | "COMMENT", _) => Some(first.to_owned()),
            ("CREATE", "TABLE") if statement.contains(" AS SELECT ") => Some("CREATE TABLE AS".to_owned()),
            ("CREATE", "UNIQUE" | "UNLOGGED") => Some(format!("CREATE {}", words.next()?)),
            ("CREATE" | "ALTER" | "DROP", _) => Some(format!("{first} {second}")),
            _ => None,
        }
    };
    let wanted: Vec<String> = planned.iter().filter_map(tag).collect();
    let seen = lines(session, "SELECT tag FROM watch.seen WHERE tag <> 'ALTER SEQUENCE' ORDER BY n");
    assert_eq!(seen, wanted, "{call}");
}

/// The lock modes of tables, the strongest last.
const MODES: [&str; 8] = [
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
];

/// Executes the statements of a plan in the plan's transactions, and asserts after each that the strongest lock held on its target is the
/// one that the plan names, or that of a step before in the transaction; and that there is on no table which was there before a stronger one than the plan names for that table.
/// What the first statement of a batch gives is `$1` in the others.
pub fn locks_as_planned(session: &Session, plan: &str) {
    let rank = |mode: &str| MODES.iter().position(|m| *m == mode).unwrap();
    let rows = session
        .query(&format!("SELECT statement, lock, target FROM {plan} WHERE statement IS NOT NULL ORDER BY step"))
        .unwrap();
    assert!(!rows.is_empty(), "{plan}");
    let name = |target: &str| {
        session.value(&format!("SELECT to_regclass('{}')::oid::text", target.replace('\'', "''"))).unwrap()
    };
    let before: Vec<String> = lines(
        session,
        "SELECT oid FROM pg_class WHERE relkind IN ('r', 'p', 'S') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema|eventkit)'",
    );
    let mut most = std::collections::BTreeMap::new();
    for row in &rows {
        if let (Some(lock), Some(oid)) = (&row[1], name(row[2].as_deref().unwrap())) {
            let strongest = most.entry(oid).or_insert(0);
            *strongest = rank(lock).max(*strongest);
        }
    }
    // A partition is locked with the table above it, and a key that refers to a row holds that row.
    let above: Vec<Vec<String>> = before
        .iter()
        .map(|table| {
            lines(session, &format!("SELECT {table} UNION SELECT relid::oid FROM pg_partition_ancestors({table})"))
        })
        .collect();
    let allowed: Vec<usize> = above
        .iter()
        .map(|tables| tables.iter().filter_map(|t| most.get(t).copied()).max().unwrap_or(0).max(rank("ROW SHARE")))
        .collect();
    let mut batch: Option<String> = None;
    let mut so_far = std::collections::BTreeMap::new();
    session.query("BEGIN").unwrap();
    for row in &rows {
        let (statement, lock, target) = (row[0].as_ref().unwrap(), &row[1], row[2].as_deref().unwrap());
        let oid = name(target);
        let statement = batch
            .as_ref()
            .map_or_else(|| statement.clone(), |batch| statement.replace("$1", &format!("'{batch}'::tid[]")));
        if statement == "COMMIT" {
            session.query("COMMIT; BEGIN").unwrap();
            so_far.clear();
            continue;
        }
        let given = session.query(&statement).unwrap_or_else(|failure| panic!("{failure}\n{statement}"));
        if batch.is_none() && statement.starts_with("SELECT pg_catalog.array_agg(b.ctid)") {
            batch.clone_from(&given[0][0]);
        }
        let held = session
            .query("SELECT relation, upper(regexp_replace(regexp_replace(mode, 'Lock$', ''), '([a-z])([A-Z])', '\\1 \\2', 'g')) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND database <> 0 AND granted")
            .unwrap();
        let of = |oid: &str| {
            held.iter().filter(|h| h[0].as_deref() == Some(oid)).map(|h| rank(h[1].as_deref().unwrap())).max()
        };
        if let Some(lock) = lock {
            let found = oid.as_deref().and_then(of).map(|rank| MODES[rank]);
            let wanted = so_far.entry(target).or_insert(0);
            *wanted = rank(lock).max(*wanted);
            assert_eq!(found, Some(MODES[*wanted]), "{statement}\non {target}\n{plan}");
        }
        for (table, allowed) in before.iter().zip(&allowed) {
            let found = of(table).unwrap_or(0);
            assert!(
                found <= *allowed,
                "{statement}\ntakes {} on {}, the plan says {}",
                MODES[found],
                session.value(&format!("SELECT {table}::regclass")).unwrap().unwrap(),
                MODES[*allowed]
            );
        }
    }
    session.query("COMMIT").unwrap();
}
