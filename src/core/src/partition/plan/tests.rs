//! Plans from hand-made snapshots: exact statements, hostile names, refusals.

use super::*;
use crate::partition::calendar::Calendar;
use crate::partition::clock::Utc;
use crate::partition::key::KeyType;
use crate::partition::period::Length;
use crate::partition::snapshot::{
    CheckState, Child, ChildCheck, ChildIndex, Column, Default as Rest, Grant, Index, IndexConstraint, Linked,
    Partition, Policy, Sequence, SourceColumn, SourceSequence, Statistics,
};
use crate::partition::step::Lock;

pub(super) fn parent(schema: &str, name: &str, key_type: KeyType) -> Parent {
    Parent {
        taken: Vec::new(),
        schema: schema.into(),
        name: name.into(),
        owner: "app".into(),
        caller: "app".into(),
        caller_owns: true,
        refusal: None,
        key: Some(Key { column: "at".into(), key_type, unit: None }),
        settings: None,
        unlogged: false,
        autovacuum: false,
        comment: None,
        statistics: vec![],
        tablespace: None,
        access_method: None,
        row_security: false,
        force_row_security: false,
        replica_identity: "d".into(),
        columns: vec![column("id", false), column("at", false), column("twice", true)],
        indexes: vec![],
        policies: vec![],
        grants: vec![],
        default_grantees: vec![],
        default: None,
        partitions: vec![],
        linked: vec![linked(schema, name, true, false)],
        sequences: vec![],
        waiting: None,
        publications: vec![],
        options: vec![],
    }
}

fn column(name: &str, generated: bool) -> Column {
    Column { name: name.into(), generated, statistics: None, options: vec![] }
}

fn linked(schema: &str, name: &str, is_parent: bool, referenced: bool) -> Linked {
    Linked {
        schema: schema.into(),
        name: name.into(),
        is_parent,
        referenced,
        referencing: false,
        lockable: true,
        few_keys: false,
    }
}

fn source(columns: &[&str]) -> Source {
    let known = ["id", "at", "twice"];
    Source {
        schema: "old".into(),
        name: "e".into(),
        kind: "r".into(),
        in_parent: false,
        readable: true,
        row_security: false,
        key_indexed: true,
        verify: backfill::Verify::Count,
        columns: columns
            .iter()
            .map(|name| SourceColumn {
                name: (*name).into(),
                column_type: "text".into(),
                parent_type: known.contains(name).then(|| "text".into()),
                same_type: true,
                castable: false,
                sequences: vec![],
            })
            .collect(),
    }
}

fn leap_day() -> Period {
    Calendar::new(Length::Days(1), &Utc).of_shown(19_782 * 86_400_000_000).unwrap()
}

fn partition(schema: &str, name: &str, bound: Bound) -> Partition {
    Partition { schema: schema.into(), name: name.into(), bound, odd: false }
}

fn statements(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|s| s.statement.as_deref().unwrap()).collect()
}

#[test]
fn the_plainest_parent() {
    let steps = create(&parent("s", "e", KeyType::Date), &leap_day(), Found::default()).unwrap();
    assert_eq!(
        statements(&steps),
        [
            "CREATE TABLE \"s\".\"e_20240229\" (LIKE \"s\".\"e\" INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED \
             INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS, \
             CONSTRAINT \"partition_bound\" CHECK (\"at\" IS NOT NULL AND \"at\" OPERATOR(pg_catalog.>=) \
             '2024-02-29'::pg_catalog.date AND \"at\" OPERATOR(pg_catalog.<) '2024-03-01'::pg_catalog.date))",
            "ANALYZE \"s\".\"e_20240229\"",
            "LOCK TABLE ONLY \"s\".\"e\" IN SHARE UPDATE EXCLUSIVE MODE",
            "ALTER TABLE \"s\".\"e\" ATTACH PARTITION \"s\".\"e_20240229\" FOR VALUES FROM ('2024-02-29') TO ('2024-03-01')",
            "ALTER TABLE \"s\".\"e_20240229\" DROP CONSTRAINT \"partition_bound\"",
        ]
    );
    assert!(steps.iter().all(|s| s.lock != Some(Lock::AccessExclusive)));
}

#[test]
fn everything_is_carried_and_hostile_names_are_quoted() {
    let mut p = parent("Sch\"ema", "we\"ird.Table %I", KeyType::Timestamptz);
    p.caller = "postgres".into();
    p.tablespace = Some("fast disk".into());
    p.access_method = Some("heap".into());
    p.default_grantees = vec![None, Some("gu\"est".into())];
    p.columns[0].statistics = Some(500);
    p.columns[0].options = vec!["n_distinct=-0.5".into()];
    p.indexes = vec![
        Index {
            name: "we\"ird_pkey".into(),
            unique: true,
            definition: Some("USING btree (id, at)".into()),
            tablespace: None,
            replica_identity: true,
            constraint: Some(IndexConstraint {
                from_index: Some("PRIMARY KEY".into()),
                definition: "PRIMARY KEY (id, at)".into(),
                deferrable: true,
                deferred: false,
            }),
            comment: None,
            constraint_comment: None,
            targets: vec![],
        },
        Index {
            name: "brin".into(),
            unique: false,
            definition: Some("USING brin (at) WHERE (id > 0)".into()),
            tablespace: Some("t".into()),
            replica_identity: false,
            constraint: None,
            comment: Some("it's".into()),
            constraint_comment: None,
            targets: vec![(1, 77)],
        },
    ];
    p.unlogged = true;
    p.comment = Some("all".into());
    p.statistics = vec![Statistics {
        name: "st".into(),
        kinds: vec!["ndistinct".into()],
        columns: "id, at".into(),
        target: Some(9),
        comment: None,
    }];
    p.row_security = true;
    p.policies = vec![Policy {
        name: "mine".into(),
        command: "SELECT".into(),
        permissive: false,
        roles: vec![None],
        using: Some("(id = 1)".into()),
        check: None,
        correlated: false,
        comment: None,
    }];
    p.grants = vec![
        Grant { role: Some("gu\"est".into()), privilege: "SELECT".into(), column: Some("id".into()), grantable: false },
        Grant { role: None, privilege: "INSERT".into(), column: None, grantable: true },
    ];
    p.default = Some(Rest { schema: "d".into(), name: "rest".into() });
    p.linked.insert(0, linked("r", "ref", false, true));
    let child = "\"Sch\"\"ema\".\"we\"\"ird.Table %I_20240229\"";
    let steps = create(&p, &leap_day(), Found::default()).unwrap();
    let all = statements(&steps);
    assert!(all[0].starts_with("CREATE UNLOGGED TABLE"));
    assert!(all[0].ends_with(" USING \"heap\" TABLESPACE \"fast disk\""));
    assert_eq!(
        all[1..],
        [
            format!("ALTER TABLE {child} OWNER TO \"app\""),
            format!("REVOKE ALL ON TABLE {child} FROM PUBLIC, \"gu\"\"est\""),
            format!("COMMENT ON TABLE {child} IS 'all'"),
            format!("ALTER TABLE {child} ALTER COLUMN \"id\" SET STATISTICS 500"),
            format!("ALTER TABLE {child} ALTER COLUMN \"id\" SET (\"n_distinct\" = '-0.5')"),
            format!("CREATE UNIQUE INDEX \"we\"\"ird_pkey_20240229\" ON {child} USING btree (id, at)"),
            format!("ALTER TABLE {child} ADD CONSTRAINT \"we\"\"ird_pkey_20240229\" PRIMARY KEY USING INDEX \"we\"\"ird_pkey_20240229\" DEFERRABLE"),
            format!("ALTER TABLE {child} REPLICA IDENTITY USING INDEX \"we\"\"ird_pkey_20240229\""),
            "SET LOCAL default_tablespace TO \"t\"".into(),
            format!("CREATE INDEX \"brin_20240229\" ON {child} USING brin (at) WHERE (id > 0)"),
            "SET LOCAL default_tablespace TO ''".into(),
            "ALTER INDEX \"Sch\"\"ema\".\"brin_20240229\" ALTER COLUMN 1 SET STATISTICS 77".into(),
            "COMMENT ON INDEX \"Sch\"\"ema\".\"brin_20240229\" IS 'it''s'".into(),
            format!("CREATE STATISTICS \"Sch\"\"ema\".\"st_20240229\" (ndistinct) ON id, at FROM {child}"),
            "ALTER STATISTICS \"Sch\"\"ema\".\"st_20240229\" SET STATISTICS 9".into(),
            "ALTER STATISTICS \"Sch\"\"ema\".\"st_20240229\" OWNER TO \"app\"".into(),
            format!("ALTER TABLE {child} ENABLE ROW LEVEL SECURITY"),
            format!("CREATE POLICY \"mine\" ON {child} AS RESTRICTIVE FOR SELECT TO PUBLIC USING ((id = 1))"),
            format!("ANALYZE {child}"),
            "LOCK TABLE \"r\".\"ref\" IN SHARE ROW EXCLUSIVE MODE".into(),
            "LOCK TABLE ONLY \"Sch\"\"ema\".\"we\"\"ird.Table %I\" IN SHARE UPDATE EXCLUSIVE MODE".into(),
            "LOCK TABLE \"d\".\"rest\" IN ACCESS EXCLUSIVE MODE".into(),
            "ALTER TABLE \"d\".\"rest\" ADD CONSTRAINT \"partition_excludes_20240229\" CHECK (\"at\" OPERATOR(pg_catalog.<) \
             '2024-02-29 00:00:00+00'::pg_catalog.timestamptz OR \"at\" OPERATOR(pg_catalog.>=) \
             '2024-03-01 00:00:00+00'::pg_catalog.timestamptz) NOT VALID".into(),
            "ALTER TABLE \"d\".\"rest\" VALIDATE CONSTRAINT \"partition_excludes_20240229\"".into(),
            format!(
                "ALTER TABLE \"Sch\"\"ema\".\"we\"\"ird.Table %I\" ATTACH PARTITION {child} \
                 FOR VALUES FROM ('2024-02-29 00:00:00+00') TO ('2024-03-01 00:00:00+00')"
            ),
            "ALTER TABLE \"d\".\"rest\" DROP CONSTRAINT \"partition_excludes_20240229\"".into(),
            format!("ALTER TABLE {child} DROP CONSTRAINT \"partition_bound\""),
            "SELECT eventkit.hold_foreign_keys('\"Sch\"\"ema\".\"we\"\"ird.Table %I\"'::pg_catalog.regclass)".into(),
            format!("GRANT SELECT (\"id\") ON TABLE {child} TO \"gu\"\"est\""),
            format!("GRANT INSERT ON TABLE {child} TO PUBLIC WITH GRANT OPTION"),
        ]
    );
}

#[test]
fn a_policy_that_cannot_be_carried_leaves_the_partition_closed() {
    let mut p = parent("s", "e", KeyType::Date);
    p.row_security = true;
    p.policies = vec![Policy {
        name: "c".into(),
        command: "ALL".into(),
        permissive: false,
        roles: vec![None],
        using: Some("(EXISTS (SELECT 1 FROM o WHERE (o.id = e.id)))".into()),
        check: None,
        correlated: true,
        comment: None,
    }];
    p.grants = vec![Grant { role: None, privilege: "SELECT".into(), column: None, grantable: false }];
    let steps = create(&p, &leap_day(), Found::default()).unwrap();
    assert!(!statements(&steps).iter().any(|s| s.starts_with("GRANT") || s.starts_with("CREATE POLICY")));
    assert!(statements(&steps).iter().any(|s| s.ends_with("ENABLE ROW LEVEL SECURITY")));
}

#[test]
fn the_same_day_is_no_op_and_an_overlap_is_named() {
    let mut p = parent("s", "e", KeyType::Date);
    let mut bound = Bound::of(&leap_day(), key_of(&p).unwrap());
    p.partitions = vec![partition("s", "x", bound)];
    let steps = create(&p, &leap_day(), Found { name_taken: true, default_rows: 0 }).unwrap();
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].statement, None);
    // A bound that only looks the same is another one.
    p.partitions[0].odd = true;
    assert_eq!(create(&p, &leap_day(), Found::default()).unwrap_err().condition.sqlstate(), "42P17");
    bound.to = i64::MAX;
    p.partitions[0].bound = bound;
    let error = create(&p, &leap_day(), Found::default()).unwrap_err();
    assert_eq!(error.condition.sqlstate(), "42P17");
    assert!(error.message.contains("\"s\".\"x\"") && error.message.contains("2024-02-29"));
    let skipped = backfill_period(&p, &source(&["id", "at"]), &leap_day(), Found::default()).unwrap();
    assert_eq!((skipped.len(), skipped[0].statement.clone()), (1, None));
}

#[test]
fn the_rest_of_a_period_gets_a_partition_and_is_not_backfilled_for_the_whole() {
    for key_type in [KeyType::Date, KeyType::Timestamptz] {
        let mut p = parent("s", "e", key_type);
        let month = Calendar::new(Length::Months(1), &Utc).of_shown(19_782 * 86_400_000_000).unwrap();
        let bound = Bound::of(&leap_day(), key_of(&p).unwrap());
        p.partitions = vec![partition("s", "x", bound)];
        let steps = create(&p, &month, Found::default()).unwrap();
        let attached =
            steps.iter().filter_map(|s| s.statement.as_ref()).find(|s| s.contains("ATTACH PARTITION")).unwrap();
        assert!(
            attached.contains("\"e_202402\" FOR VALUES FROM ('2024-02-01") && attached.contains("TO ('2024-02-29"),
            "{attached}"
        );
        let refused = backfill_period(&p, &source(&["id", "at"]), &month, Found::default()).unwrap_err();
        assert_eq!(refused.condition.sqlstate(), "42P17");
        assert!(refused.message.contains("\"s\".\"x\"") && refused.message.contains("2024-02"), "{}", refused.message);
        // Once it is there nothing is left to do.
        let rest = Bound { from: Bound::of(&month, key_of(&p).unwrap()).from, to: bound.from };
        p.partitions.push(partition("s", "e_202402", rest));
        p.partitions[0].bound.to = i64::MAX;
        let again = create(&p, &month, Found { name_taken: true, default_rows: 0 }).unwrap();
        assert_eq!((again.len(), again[0].statement.clone()), (1, None));
        // Two rests have two names, and neither that of a partition.
        let endings = |p: &Parent| rests(p, &month).unwrap().into_iter().map(|r| r.digits).collect::<Vec<_>>();
        p.partitions[0].bound = Bound { from: bound.from - 86_400_000_000, to: bound.from };
        p.partitions[1].bound.to = bound.from - 86_400_000_000;
        assert_eq!(endings(&p), ["202402_2"]);
        p.partitions.pop();
        assert_eq!(endings(&p), ["202402", "202402_2"]);
        let two = create(&p, &month, Found::default()).unwrap();
        let made: Vec<&String> =
            two.iter().filter_map(|s| s.statement.as_ref()).filter(|s| s.starts_with("CREATE TABLE")).collect();
        assert!(made.len() == 2 && made[0].contains("\"e_202402\"") && made[1].contains("\"e_202402_2\""), "{made:?}");
    }
}

#[test]
fn refusals_have_a_state_a_detail_and_a_hint() {
    let base = || parent("s", "e", KeyType::Date);
    let with = |change: fn(&mut Parent)| {
        let mut p = base();
        change(&mut p);
        create(&p, &leap_day(), Found::default()).unwrap_err()
    };
    let default = |p: &mut Parent| {
        p.default = Some(Rest { schema: "s".into(), name: "d".into() });
    };
    let mut held = base();
    default(&mut held);
    for (error, state) in [
        (with(|p| p.refusal = Some(Refusal::NotRange("a view".into()))), "42809"),
        (with(|p| p.refusal = Some(Refusal::Key("two columns".into()))), "0A000"),
        (with(|p| p.refusal = Some(Refusal::SubPartition("\"s\".\"t\"".into()))), "0A000"),
        (with(|p| p.refusal = Some(Refusal::Temporary)), "0A000"),
        (with(|p| p.caller_owns = false), "42501"),
        (create(&base(), &leap_day(), Found { name_taken: true, default_rows: 0 }).unwrap_err(), "42P07"),
        (create(&held, &leap_day(), Found { name_taken: false, default_rows: 3 }).unwrap_err(), "23514"),
    ] {
        assert_eq!(error.condition.sqlstate(), state);
        assert!(error.detail.is_some() && error.hint.is_some(), "{error}");
    }
}

#[test]
fn a_day_is_copied_by_the_keys_range_with_columns_by_name() {
    let p = parent("s", "e", KeyType::Timestamp);
    let steps = backfill_period(&p, &source(&["twice", "at", "id"]), &leap_day(), Found::default()).unwrap();
    let range = "\"at\" OPERATOR(pg_catalog.>=) '2024-02-29 00:00:00'::pg_catalog.timestamp \
                 AND \"at\" OPERATOR(pg_catalog.<) '2024-03-01 00:00:00'::pg_catalog.timestamp";
    assert_eq!(
        statements(&steps)[1..3],
        [
            format!(
                "SELECT eventkit.copy_rows('\"s\".\"e_20240229\"', ARRAY['id', 'at'], \
                 'SELECT \"id\", \"at\" FROM \"old\".\"e\" WHERE {} ORDER BY \"at\"')",
                range.replace('\'', "''")
            ),
            format!("SELECT pg_catalog.count(*) FROM \"old\".\"e\" WHERE {range}"),
        ]
    );
}

#[test]
fn a_source_that_does_not_fit_is_refused() {
    let p = parent("s", "e", KeyType::Date);
    let state = |change: fn(&mut Source)| {
        let mut s = source(&["id", "at"]);
        change(&mut s);
        let error = backfill_period(&p, &s, &leap_day(), Found::default()).unwrap_err();
        assert!(error.detail.is_some() && error.hint.is_some(), "{error}");
        error.condition.sqlstate()
    };
    assert_eq!(state(|s| s.kind = "v".into()), "42809");
    assert_eq!(state(|s| s.in_parent = true), "22023");
    assert_eq!(state(|s| s.readable = false), "42501");
    assert_eq!(state(|s| s.row_security = true), "42501");
    assert_eq!(state(|s| s.columns.truncate(1)), "42703");
    assert_eq!(state(|s| s.columns[0].parent_type = None), "42703");
    assert_eq!(state(|s| s.columns[0].same_type = false), "42804");
    // A key of another type is refused even if it could be converted: the ranges would not be the source's.
    assert_eq!(state(|s| (s.columns[1].same_type, s.columns[1].castable) = (false, true)), "42804");
}

#[test]
fn questions_to_the_source() {
    let mut p = parent("s", "e", KeyType::Timestamptz);
    p.sequences = vec![
        Sequence { schema: "s".into(), name: "id'seq".into(), column: "id".into(), ascending: true },
        Sequence { schema: "s".into(), name: "none".into(), column: "twice".into(), ascending: false },
    ];
    let s = source(&["id", "at"]);
    assert_eq!(
        backfill::end_key_query(&p, &s, Bound { from: 0, to: Bound::of(&leap_day(), key_of(&p).unwrap()).from }, true)
            .unwrap(),
        "SELECT (pg_catalog.extract('epoch', \"at\") OPERATOR(pg_catalog.*) 1000000::pg_catalog.numeric)::pg_catalog.int8 \
         FROM \"old\".\"e\" WHERE \"at\" OPERATOR(pg_catalog.>=) '1970-01-01 00:00:00+00'::pg_catalog.timestamptz \
         AND \"at\" OPERATOR(pg_catalog.<) '2024-02-29 00:00:00+00'::pg_catalog.timestamptz ORDER BY \"at\" DESC LIMIT 1"
    );
    let steps = backfill::sequence_steps(&p, &s).unwrap();
    assert_eq!(
        statements(&steps),
        ["SELECT eventkit.advance_sequence('\"s\".\"id''seq\"'::pg_catalog.regclass, \
          (SELECT pg_catalog.max(\"id\") FROM \"old\".\"e\")::pg_catalog.int8)"]
    );
    // What feeds the source has drawn numbers of rows that are there no more; the parent's own, or one that goes the other way, tells nothing.
    let mut fed = source(&["id", "at"]);
    let sequence =
        |schema: &str, name: &str, ascending| SourceSequence { schema: schema.into(), name: name.into(), ascending };
    fed.columns[0].sequences =
        vec![sequence("old", "id", true), sequence("s", "id'seq", true), sequence("old", "down", false)];
    assert_eq!(
        statements(&backfill::sequence_steps(&p, &fed).unwrap()),
        ["SELECT eventkit.advance_sequence('\"s\".\"id''seq\"'::pg_catalog.regclass, \
          (SELECT pg_catalog.max(u.value) FROM (SELECT (SELECT pg_catalog.max(\"id\") FROM \"old\".\"e\")::pg_catalog.int8 \
          UNION ALL SELECT last_value FROM \"old\".\"id\" WHERE is_called) u (value)))"]
    );
    assert!(backfill::left_behind_query(&p, &s, &leap_day()).unwrap().contains("'after 2024-02-29'"));
    let (hours, differing) = (
        backfill::hours_query(&p, &s, &leap_day()).unwrap(),
        backfill::differing_periods_query(&p, &s, &[0, 5]).unwrap(),
    );
    assert!(hours.contains("'1970-01-01 00:00:00+00'") && hours.contains("'2024-03-01 00:00:00+00'"), "{hours}");
    assert!(differing.contains("width_bucket(\"at\", ARRAY['1970-01-01 00:00:00+00'::pg_catalog.timestamptz, '1970-01-01 00:00:00.000005+00'"), "{differing}");
}

fn child() -> Child {
    Child {
        schema: "s".into(),
        name: "filled".into(),
        owner: "app".into(),
        caller_owns: true,
        refusal: None,
        attached: false,
        missing: vec![],
        extra: vec![],
        different: vec![],
        identity: vec![],
        nullable: vec![],
        checks: vec![],
        left_over: vec![],
        in_the_way: vec![],
        less_kept: false,
        bytes: 0,
        foreign_keys: vec![],
        indexes: vec![],
        row_security: false,
        force_row_security: false,
        policies: vec![],
        grants: vec![],
        replica_identity: "d".into(),
        comment: None,
        columns: vec![],
        statistics: vec![],
    }
}

fn range() -> Bound {
    Bound { from: i64::MIN, to: 0 }
}

fn index(name: &str, constraint: bool) -> Index {
    Index {
        name: name.into(),
        unique: constraint,
        definition: Some("USING btree (id, at)".into()),
        tablespace: None,
        replica_identity: false,
        constraint: constraint.then(|| IndexConstraint {
            from_index: Some("PRIMARY KEY".into()),
            definition: "PRIMARY KEY (id, at)".into(),
            deferrable: false,
            deferred: false,
        }),
        comment: None,
        constraint_comment: None,
        targets: vec![],
    }
}

#[test]
fn a_table_that_fits_is_proved_and_attached() {
    let p = parent("s", "e", KeyType::Date);
    let steps = adopt(&p, &child(), range(), "the past", 0, true).unwrap();
    assert_eq!(
        statements(&steps),
        [
            "ALTER TABLE \"s\".\"filled\" ADD CONSTRAINT \"partition_bound\" CHECK (\"at\" IS NOT NULL AND \"at\" \
             OPERATOR(pg_catalog.<) '1970-01-01'::pg_catalog.date) NOT VALID",
            "COMMIT",
            "ALTER TABLE \"s\".\"filled\" VALIDATE CONSTRAINT \"partition_bound\"",
            "COMMIT",
            "ANALYZE \"s\".\"filled\"",
            "COMMIT",
            "LOCK TABLE ONLY \"s\".\"e\" IN SHARE UPDATE EXCLUSIVE MODE",
            "LOCK TABLE \"s\".\"filled\" IN ACCESS EXCLUSIVE MODE",
            "ALTER TABLE \"s\".\"e\" ATTACH PARTITION \"s\".\"filled\" FOR VALUES FROM (MINVALUE) TO ('1970-01-01')",
            "ALTER TABLE \"s\".\"filled\" DROP CONSTRAINT \"partition_bound\"",
            "COMMIT",
        ]
    );
    // Nothing is unseen here: others use the table.
    assert!(steps.iter().all(|s| s.lock.is_some() == (s.statement.as_deref() != Some("COMMIT"))));
}

#[test]
fn what_a_table_lacks_is_made_before_the_locks() {
    let mut p = parent("s", "e", KeyType::Date);
    p.indexes = vec![index("e_pkey", true), index("e_id", false), index("e_more", false), index("e_last", true)];
    let mut c = child();
    c.left_over = vec!["partition_bound".into()];
    c.nullable = vec!["id".into()];
    let check =
        |name: &str, state| ChildCheck { name: name.into(), definition: "CHECK ((id > 0)) NOT VALID".into(), state };
    c.checks = vec![check("a", CheckState::Missing), check("b", CheckState::Unproven), check("c", CheckState::There)];
    c.checks.push(ChildCheck {
        name: "d".into(),
        definition: "CHECK (false) NOT ENFORCED".into(),
        state: CheckState::Missing,
    });
    let has =
        |parent: &str, name: &str, constrained| ChildIndex { parent: parent.into(), name: name.into(), constrained };
    c.indexes = vec![has("e_pkey", "mine", false), has("e_more", "filled_index_2", false), has("e_last", "last", true)];
    c.owner = "somebody".into();
    let steps = adopt(&p, &c, range(), "the past", 0, true).unwrap();
    let all: Vec<String> =
        statements(&steps).iter().map(|s| s.replace("ALTER TABLE \"s\".\"filled\" ", "").replace('"', "")).collect();
    assert_eq!(
        all[..all.len() - 6],
        [
            "DROP CONSTRAINT partition_bound",
            "ADD CONSTRAINT partition_bound CHECK (at IS NOT NULL AND at OPERATOR(pg_catalog.<) '1970-01-01'::pg_catalog.date) NOT VALID",
            "ADD CONSTRAINT partition_not_null CHECK (id IS NOT NULL) NOT VALID",
            "ADD CONSTRAINT a CHECK ((id > 0)) NOT VALID",
            "ADD CONSTRAINT d CHECK (false) NOT ENFORCED",
            "COMMIT",
            "VALIDATE CONSTRAINT partition_bound",
            "COMMIT",
            "VALIDATE CONSTRAINT partition_not_null",
            "COMMIT",
            "VALIDATE CONSTRAINT a",
            "COMMIT",
            "VALIDATE CONSTRAINT b",
            "COMMIT",
            "ALTER COLUMN id SET NOT NULL",
            "DROP CONSTRAINT partition_not_null",
            "COMMIT",
            "ADD CONSTRAINT mine PRIMARY KEY USING INDEX mine",
            "COMMIT",
            // The name of an index that is there is not taken twice.
            "CREATE INDEX filled_2_index_2 ON s.filled USING btree (id, at)",
            "COMMIT",
            "ANALYZE s.filled",
            "COMMIT",
        ]
    );
    assert!(all.contains(&"OWNER TO app".to_owned()));
    assert!(steps.iter().any(|s| s.lock == Some(Lock::Share)));
}

#[test]
fn a_table_that_does_not_fit_is_refused() {
    let p = parent("s", "e", KeyType::Date);
    let refused = |change: fn(&mut Child)| {
        let mut c = child();
        change(&mut c);
        let error = adopt(&p, &c, range(), "the past", 0, true).unwrap_err();
        assert!(error.detail.is_some() && error.hint.is_some(), "{error}");
        error.condition.sqlstate()
    };
    assert_eq!(refused(|c| c.refusal = Some("a view".into())), "42809");
    assert_eq!(refused(|c| c.caller_owns = false), "42501");
    assert_eq!(refused(|c| c.extra = vec!["x".into()]), "42804");
    assert_eq!(refused(|c| c.missing = vec!["x".into()]), "42804");
    assert_eq!(refused(|c| c.different = vec![("x".into(), "int".into(), "text".into())]), "42804");
    assert_eq!(refused(|c| c.identity = vec!["x".into()]), "0A000");
    assert_eq!(
        refused(|c| c.checks =
            vec![ChildCheck { name: "a".into(), definition: "CHECK (true)".into(), state: CheckState::Different }]),
        "42P17"
    );
    let mut taken = p.clone();
    taken.partitions = vec![partition("s", "x", Bound { from: -1, to: 1 })];
    assert_eq!(adopt(&taken, &child(), range(), "the past", 0, true).unwrap_err().condition.sqlstate(), "42P17");
    let mut held = p.clone();
    held.default = Some(Rest { schema: "s".into(), name: "d".into() });
    assert_eq!(adopt(&held, &child(), range(), "the past", 2, true).unwrap_err().condition.sqlstate(), "23514");
    // A partition already: of the same range there is nothing to do, of another there is a refusal.
    let mut there = child();
    (there.attached, there.refusal) = (true, Some("a partition of e".into()));
    taken.partitions = vec![partition("s", "filled", range())];
    assert_eq!(adopt(&taken, &there, range(), "the past", 0, true).unwrap()[0].statement, None);
    taken.partitions[0].bound.to = 5;
    assert_eq!(adopt(&taken, &there, range(), "the past", 0, true).unwrap_err().condition.sqlstate(), "42809");
}

#[test]
fn few_referenced_keys_are_hashed_when_there_are_rows() {
    let mut parent = parent("app", "ev", KeyType::Timestamptz);
    let hashed = |parent: &Parent, source: Option<&Source>| {
        let steps = match source {
            Some(source) => backfill_period(parent, source, &leap_day(), Found::default()),
            None => create(parent, &leap_day(), Found::default()),
        };
        let steps = steps.unwrap();
        let all = statements(&steps);
        let at = |start: &str| all.iter().position(|statement| statement.starts_with(start));
        let set = at("SET LOCAL enable_mergejoin = off");
        assert!(set.is_none() || set < at("ALTER TABLE \"app\".\"ev\" ATTACH"));
        set.is_some()
    };
    let rows = source(&["id", "at"]);
    assert!(!hashed(&parent, Some(&rows)), "no foreign key");
    parent.linked.push(Linked { few_keys: true, ..linked("app", "few", false, true) });
    assert!(hashed(&parent, Some(&rows)));
    assert!(!hashed(&parent, None), "no row to check");
    parent.linked.push(linked("app", "many", false, true));
    assert!(!hashed(&parent, Some(&rows)), "one of them is large");
}

#[test]
fn a_small_sample_is_taken_of_rows_where_the_server_takes_another() {
    let mut parent = parent("app", "ev", KeyType::Timestamptz);
    let small = |steps: Vec<Step>| {
        let all: Vec<String> = steps.into_iter().filter_map(|s| s.statement).collect();
        let analyze = all.iter().position(|s| s.starts_with("ANALYZE ")).unwrap();
        all[analyze - 1] == "SET LOCAL default_statistics_target = 5"
    };
    let rows = source(&["id", "at"]);
    assert!(!small(backfill_period(&parent, &rows, &leap_day(), Found::default()).unwrap()));
    parent.autovacuum = true;
    assert!(small(backfill_period(&parent, &rows, &leap_day(), Found::default()).unwrap()));
    assert!(!small(create(&parent, &leap_day(), Found::default()).unwrap()));
}

#[test]
fn a_partition_leaves_by_locks_in_one_order() {
    use crate::partition::retire::{self, Expiry, Leaving};
    let table = |name: &str| Leaving { name: name.into(), foreign: false, references: vec![] };
    let mut parent = parent("app", "ev\"ents", KeyType::Timestamptz);
    let statements = |steps: Vec<Step>| -> Vec<String> { steps.into_iter().filter_map(|s| s.statement).collect() };
    assert_eq!(
        statements(retire::plan(
            &parent,
            &table("\"app\".\"p\""),
            false,
            &Expiry::of("drop", None),
            Some("CALL app.hook"),
            true
        )),
        [
            "CALL app.hook('\"app\".\"p\"'::pg_catalog.regclass)",
            "COMMIT",
            "ALTER TABLE \"app\".\"ev\"\"ents\" DETACH PARTITION \"app\".\"p\" CONCURRENTLY",
            "COMMIT",
            "LOCK TABLE \"app\".\"p\" IN SHARE ROW EXCLUSIVE MODE",
            "DROP TABLE \"app\".\"p\"",
            "COMMIT",
        ]
    );
    parent.default = Some(Rest { schema: "app".into(), name: "rest".into() });
    parent.linked.push(Linked { referencing: true, ..linked("app", "notes", false, false) });
    let expiry = Expiry::of("move", Some("o\"ld".into()));
    assert_eq!(
        statements(retire::plan(&parent, &table("p"), false, &expiry, None, true)),
        [
            "LOCK TABLE ONLY \"app\".\"ev\"\"ents\" IN ACCESS EXCLUSIVE MODE",
            "LOCK TABLE ONLY \"app\".\"notes\" IN SHARE ROW EXCLUSIVE MODE",
            "LOCK TABLE p IN ACCESS EXCLUSIVE MODE",
            "LOCK TABLE \"app\".\"rest\" IN ACCESS EXCLUSIVE MODE",
            "ALTER TABLE \"app\".\"ev\"\"ents\" DETACH PARTITION p",
            "COMMIT",
            "ALTER TABLE p SET SCHEMA \"o\"\"ld\"",
            "COMMIT",
        ]
    );
    let finished = statements(retire::plan(&parent, &table("p"), true, &Expiry::of("detach", None), None, true));
    assert_eq!(finished, ["ALTER TABLE \"app\".\"ev\"\"ents\" DETACH PARTITION p FINALIZE", "COMMIT"]);
    parent.default = None;
    let within =
        statements(retire::plan(&parent, &table("p"), false, &Expiry::of("drop", None), Some("CALL hook"), false));
    assert!(within.iter().all(|s| s != "COMMIT" && !s.ends_with(" CONCURRENTLY")), "{within:#?}");
    let rest = statements(retire::plan_rest(&parent, &table("p"), false, &Expiry::of("drop", None), false, true));
    assert_eq!(rest, ["DROP TABLE p", "COMMIT"]);
    let tied = Leaving { references: vec!["\"app\".\"a\"".into(), "b".into()], ..table("t") };
    assert_eq!(
        statements(Expiry::of("drop", None).steps(&tied, true)),
        [
            "LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE",
            "LOCK TABLE \"app\".\"a\" IN ACCESS EXCLUSIVE MODE",
            "LOCK TABLE b IN ACCESS EXCLUSIVE MODE",
            "DROP TABLE t"
        ]
    );
    assert_eq!(statements(Expiry::of("move", Some("s".into())).steps(&tied, true)), ["ALTER TABLE t SET SCHEMA \"s\""]);
    let foreign = Leaving { name: "f".into(), foreign: true, references: vec![] };
    let outside =
        statements(retire::plan(&parent, &foreign, false, &Expiry::of("drop", None), Some("CALL hook"), false));
    assert_eq!(outside.last().map(String::as_str), Some("DROP FOREIGN TABLE f"));
    assert!(outside.iter().all(|s| !s.starts_with("LOCK TABLE f")), "{outside:#?}");
}

#[test]
fn rows_leave_the_default_partition_behind_the_parents_lock() {
    use crate::partition::drain::{self, Trigger};
    let mut parent = parent("app", "events", KeyType::Timestamptz);
    let day = Calendar::new(Length::Days(1), &Utc).of_shown(19_782 * 86_400_000_000).unwrap();
    let plan = |parent: &Parent, copy_first| -> Vec<String> {
        let quiet = [Trigger { name: "t".into(), always: true }];
        let deferred = ["\"app\".\"to days\"".into(), "\"app\".\"from notes\"".into()];
        let found = Found { name_taken: false, default_rows: 7 };
        let steps = drain::period(parent, &day, found, &quiet, &deferred, copy_first);
        steps.unwrap().into_iter().filter_map(|s| s.statement).collect()
    };
    assert!(plan(&parent, true).is_empty(), "without a default partition");
    parent.default = Some(Rest { schema: "app".into(), name: "rest".into() });
    for copy_first in [false, true] {
        let plan = plan(&parent, copy_first);
        let at =
            |text: &str| plan.iter().position(|s| s.starts_with(text)).unwrap_or_else(|| panic!("{text}: {plan:#?}"));
        let order = [
            "CREATE TABLE ",
            "LOCK TABLE ONLY \"app\".\"events\" IN ACCESS EXCLUSIVE MODE",
            "LOCK TABLE \"app\".\"rest\" IN ACCESS EXCLUSIVE MODE",
            "SET CONSTRAINTS \"app\".\"to days\", \"app\".\"from notes\" IMMEDIATE",
            "ALTER TABLE \"app\".\"rest\" DISABLE TRIGGER \"t\"",
            "DELETE FROM ONLY \"app\".\"rest\"",
            "ALTER TABLE \"app\".\"rest\" ENABLE ALWAYS TRIGGER \"t\"",
            "SET CONSTRAINTS \"app\".\"to days\", \"app\".\"from notes\" DEFERRED",
            "ALTER TABLE \"app\".\"events\" ATTACH PARTITION ",
        ]
        .map(at);
        assert!(order.is_sorted(), "{plan:#?}");
        let inserts: Vec<usize> = (0..plan.len()).filter(|i| plan[*i].starts_with("INSERT INTO ")).collect();
        assert_eq!(inserts.len(), if copy_first { 2 } else { 1 });
        assert!(inserts.last() > Some(&order[2]) && inserts.last() < Some(&order[5]), "{plan:#?}");
        assert_eq!(inserts[0] < order[1], copy_first, "{plan:#?}");
        assert!(
            plan.iter().all(|s| !s.contains("\"twice\"") || s.starts_with("CREATE")),
            "computed, not copied: {plan:#?}"
        );
        assert_eq!(plan.iter().filter(|s| s.starts_with("LOCK TABLE ")).count(), 3);
        assert_eq!(plan[0], "LOCK TABLE ONLY \"app\".\"events\" IN ACCESS SHARE MODE");
    }
}
