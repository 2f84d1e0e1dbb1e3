use super::super::snapshot::SourceColumn;
use super::*;

fn parent() -> Parent {
    let json = r#"{"schema": "new", "name": "e", "owner": "o", "caller": "o", "caller_owns": true, "refusal": null,
        "settings": null, "unlogged": false, "comment": null, "tablespace": null, "access_method": null, "row_security": false,
        "force_row_security": false, "replica_identity": "d", "indexes": [], "policies": [], "grants": [],
        "default_grantees": [null], "default": null, "statistics": [], "sequences": [],
        "linked": [{"schema": "new", "name": "e", "is_parent": true, "referenced": false, "referencing": false, "lockable": true}],
        "columns": [{"name": "id", "generated": false}, {"name": "at", "generated": false}, {"name": "v", "generated": false}]}"#;
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    value["key"] = serde_json::json!({"column": "at", "type": "timestamptz"});
    Parent::read(&value.to_string()).unwrap()
}

fn source() -> Source {
    let columns = ["id", "at", "v"].map(|name| SourceColumn {
        name: name.into(),
        column_type: "int".into(),
        parent_type: Some("bigint".into()),
        same_type: true,
        castable: false,
        sequences: vec![],
    });
    Source {
        schema: "old".into(),
        name: "é".repeat(31),
        kind: "r".into(),
        in_parent: false,
        readable: true,
        row_security: false,
        key_indexed: true,
        verify: super::super::backfill::Verify::Count,
        columns: columns.to_vec(),
    }
}

fn column(name: &str) -> KeyColumn {
    KeyColumn {
        name: name.into(),
        equal: "=".into(),
        parent_equal: "=".into(),
        parent_type: "bigint".into(),
        plain: true,
    }
}

fn capture() -> Capture {
    Capture {
        source_owner: "o".into(),
        caller_owns: true,
        inherited: false,
        key: vec![column("id")],
        at: column("at"),
        always: vec!["id".into()],
        taken: Vec::new(),
        changes: None,
        strays: Vec::new(),
        finished_at: None,
    }
}

fn made(whole: bool) -> Changes {
    let (schema, name) = ("new".into(), "e_changes".into());
    let triggers = vec!["a".into(), "b".into()];
    Changes { schema, name, whole, finished: false, triggers, has_function: true, has_table: true }
}

fn beginnings(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|s| s.statement.as_deref().unwrap().split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn everything_is_ready_before_the_writers_wait() {
    let steps = install(&parent(), &source(), &capture()).unwrap();
    assert_eq!(
        beginnings(&steps),
        [
            "CREATE TABLE",
            "ALTER TABLE",
            "REVOKE ALL",
            "CREATE FUNCTION",
            "REVOKE ALL",
            "LOCK TABLE",
            "CREATE TRIGGER",
            "CREATE TRIGGER",
            "CREATE TRIGGER",
            "CREATE TRIGGER",
            "ALTER TABLE",
            "UPDATE eventkit.backfills"
        ]
    );
    // The names of all that is made fit, whatever the source is called.
    for step in &steps {
        for name in step.statement.as_deref().unwrap().split('"').filter(|part| part.contains("_changes")) {
            assert!(name.len() <= 63, "{name}");
        }
    }
}

#[test]
fn a_name_in_use_is_left_alone() {
    let mut taken = capture();
    taken.taken = vec![format!("{}_changes", "é".repeat(20))];
    let steps = install(&parent(), &source(), &taken).unwrap();
    assert!(steps[0].statement.as_deref().unwrap().contains("_2_changes"));
}

#[test]
fn what_cannot_be_captured() {
    let state = |change: &dyn Fn(&mut Parent, &mut Source, &mut Capture)| {
        let (mut p, mut s, mut c) = (parent(), source(), capture());
        change(&mut p, &mut s, &mut c);
        let refused = install(&p, &s, &c).unwrap_err();
        assert!(refused.hint.is_some() && refused.detail.is_some());
        refused.condition.sqlstate()
    };
    assert_eq!(state(&|_, s, _| s.kind = "m".into()), "42809");
    assert_eq!(state(&|_, _, c| c.caller_owns = false), "42501");
    assert_eq!(state(&|p, _, _| p.owner = "else".into()), "42501");
    assert_eq!(state(&|_, _, c| c.inherited = true), "0A000");
    assert_eq!(state(&|_, _, c| c.key.clear()), "55000");
    assert_eq!(state(&|_, _, c| c.changes = Some(made(false))), "55000");
    assert_eq!(state(&|_, _, c| c.strays = vec!["new.e_changes".into()]), "55000");
    assert!(apply(&parent(), &source(), &capture(), batch(true, false)).is_err());
    let mut standing = capture();
    standing.changes = Some(made(true));
    assert!(install(&parent(), &source(), &standing).unwrap().is_empty());
}

#[test]
fn why_there_is_nothing_to_apply_is_told() {
    let mut without = capture();
    let message = |c: &Capture| c.changes(&parent(), &source()).unwrap_err();
    assert!(message(&without).hint.as_deref().unwrap().starts_with("Begin one"));
    without.finished_at = Some("2024-01-02 03:04:05 UTC".into());
    let finished = message(&without);
    assert!(finished.message.contains("was finished at 2024-01-02 03:04:05 UTC"));
    assert!(!finished.hint.as_deref().unwrap().contains("eventkit.backfill("));
    without.strays = vec!["new.e_changes".into()];
    assert!(message(&without).hint.as_deref().unwrap().contains("abandon_backfill"));
}

#[test]
fn what_is_gone_is_not_dropped_again() {
    let mut gone = made(false);
    gone.has_table = false;
    assert_eq!(beginnings(&remove("s", &gone)), ["LOCK TABLE", "DROP TRIGGER", "DROP TRIGGER", "DROP FUNCTION"]);
}

#[test]
fn what_was_taken_apart_is_neither_applied_nor_ended() {
    let mut broken = capture();
    broken.changes = Some(made(false));
    for refused in [
        apply(&parent(), &source(), &broken, batch(true, false)),
        end(&parent(), &source(), &broken),
        finish(&parent(), &source(), &broken, batch(true, false), vec![]),
    ] {
        assert_eq!(refused.unwrap_err().condition.sqlstate(), "55000");
    }
}

#[test]
fn what_is_finished_has_its_removal_left() {
    let mut finished = capture();
    finished.taken = vec!["e_changes".into()];
    finished.changes = Some(Changes { finished: true, ..made(false) });
    let removal = remove(&source().qualified(), &made(false));
    assert_eq!(finish(&parent(), &source(), &finished, batch(true, false), vec![]).unwrap(), removal);
    assert!(apply(&parent(), &source(), &finished, batch(true, false)).is_err());
    // Begun anew it has its name again.
    let mut named = source();
    named.name = "e".into();
    let anew = install(&parent(), &named, &finished).unwrap();
    assert_eq!(beginnings(&anew[..removal.len()]), beginnings(&removal));
    assert!(anew[removal.len()].statement.as_deref().unwrap().starts_with("CREATE TABLE \"new\".\"e_changes\" AS"));
}

fn batch(deletes: bool, replace: bool) -> Batch {
    Batch { moved: Bound { from: 0, to: 86_400_000_000 }, rows: 7, deletes, replace, passed_over: vec![], alone: None }
}

#[test]
fn a_batch_deletes_updates_inserts_and_forgets() {
    let mut standing = capture();
    standing.changes = Some(made(true));
    let plan =
        |p: &Parent, deletes, replace| beginnings(&apply(p, &source(), &standing, batch(deletes, replace)).unwrap());
    let (pick, hours) = ("SELECT pg_catalog.array_agg(b.ctid)", "SELECT pg_catalog.array_agg(DISTINCT");
    let (delete, update, insert) = ("DELETE FROM", "UPDATE \"new\".\"e\"", "INSERT INTO");
    assert_eq!(plan(&parent(), true, false), [pick, hours, delete, update, insert, delete]);
    assert_eq!(plan(&parent(), false, false), [pick, hours, update, insert, delete]);
    assert_eq!(plan(&parent(), true, true), [pick, hours, delete, insert, delete]);
    // Rows that others refer to stay in their place.
    let mut referenced = parent();
    referenced.linked[0].referencing = true;
    assert_eq!(plan(&referenced, true, true), [pick, hours, delete, update, insert, delete]);
    // An identity that only the server sets is never updated.
    let steps = apply(&parent(), &source(), &standing, batch(true, false)).unwrap();
    let update = steps[3].statement.as_deref().unwrap();
    assert!(update.contains("SET \"at\" = s.\"at\", \"v\" = s.\"v\" FROM"), "{update}");
}

#[test]
fn readers_wait_for_the_removal_only() {
    let mut standing = capture();
    standing.changes = Some(made(true));
    let exclusive = |steps: Vec<Step>| steps.iter().filter(|s| s.lock == Some(Lock::AccessExclusive)).count();
    assert_eq!(last_lock(&source()).lock, Some(Lock::ShareRowExclusive));
    assert_eq!(exclusive(end(&parent(), &source(), &standing).unwrap()), 0);
    assert_eq!(exclusive(remove("s", &made(true))), 4);
}
