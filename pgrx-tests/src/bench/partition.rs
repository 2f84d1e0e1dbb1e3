//! The suites of single partitions and their upkeep: attach, maintain, periods ahead.

use super::job::Job;
use super::suite::{Contender, Goal, Suite};

/// All of them.
#[must_use]
pub fn suites() -> Vec<Suite> {
    vec![attach(), maintain(), ahead()]
}

/// A parent like the article's messages, without the foreign key.
fn parent(name: &str) -> Vec<String> {
    vec![
        format!(
            "CREATE TABLE {name} (id bigint, created_at timestamptz NOT NULL, chat_id bigint NOT NULL,
                 chat_created_at timestamptz NOT NULL, message text NOT NULL, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)"
        ),
        format!("CREATE INDEX ON {name} (created_at)"),
        format!("CREATE INDEX ON {name} (chat_id, chat_created_at)"),
    ]
}

/// Partitions of so many days that end with a day, made by hand.
fn partitions(parent: &str, days: u32, last: &str) -> String {
    format!(
        "DO $$ BEGIN FOR i IN 0..{days} - 1 LOOP
             EXECUTE format('CREATE TABLE {parent}_%s PARTITION OF {parent} FOR VALUES FROM (%L) TO (%L)',
                 to_char(({last})::date - i, 'YYYYMMDD'), (({last})::date - i)::timestamptz, (({last})::date - i + 1)::timestamptz);
         END LOOP; END $$"
    )
}

/// Steps of the plan that attaches the table, which is what attach_partition runs: up to its last transaction, or these of that.
fn steps(from: &str) -> String {
    format!(
        "SELECT eventkit.run_plan(ARRAY(SELECT ROW(p.step, p.statement, p.lock, p.target, p.reason)::eventkit.plan_step FROM plan AS p
             WHERE p.statement <> 'COMMIT' AND p.step {from} (SELECT max(step) FROM plan WHERE statement = 'COMMIT' AND step < (SELECT max(step) FROM plan)) ORDER BY p.step),
             '2 seconds', 'public')"
    )
}

fn attach() -> Suite {
    let (ours, plain) = ("eventkit, proven", "plain ATTACH");
    let attach = "CALL eventkit.attach_partition('m', 'day', '2024-03-01 00:00Z', '2024-03-02 00:00Z')";
    let mut setup = parent("m");
    setup.push(partitions("m", 30, "'2024-02-29'"));
    setup.extend([
        "CREATE TABLE day (LIKE m)".to_owned(),
        "INSERT INTO day SELECT i, timestamptz '2024-03-01 00:00Z' + i * interval '17 ms', i % 1000, '2024-03-01 00:00Z', 'hello ' || i
             FROM generate_series(1, 5000000) AS i"
            .to_owned(),
        "ALTER TABLE day ADD PRIMARY KEY (id, created_at)".to_owned(),
        "CREATE INDEX ON day (created_at)".to_owned(),
        "CREATE INDEX ON day (chat_id, chat_created_at)".to_owned(),
        "VACUUM ANALYZE".to_owned(),
    ]);
    let apart = "DO $$ BEGIN IF (SELECT relispartition FROM pg_class WHERE oid = 'day'::regclass) THEN
         ALTER TABLE m DETACH PARTITION day; END IF; END $$";
    let job = |prepare: &[&str], statement: &str| Job {
        prepare: std::iter::once(apart).chain(prepare.iter().copied()).map(str::to_owned).collect(),
        statements: vec![statement.to_owned()],
        check: Some("SELECT count(*) = 5000000 FROM m WHERE created_at >= '2024-03-01 00:00Z'".to_owned()),
        ..Job::default()
    };
    let plan = "DROP TABLE IF EXISTS plan;
         CREATE TABLE plan AS SELECT * FROM eventkit.plan_attach_partition('m', 'day', '2024-03-01 00:00Z', '2024-03-02 00:00Z')";
    Suite {
        name: "partition-attach".to_owned(),
        about: "A day of 5,000,000 rows with all its indexes becomes the partition of a parent with 30 others. The first \
                line is the last transaction of attach_partition, the one that holds locks, after its CHECK was proved; \
                the second is the whole call: the CHECK added, proved in one read while others go on, analyzed, attached."
            .to_owned(),
        setup,
        contenders: vec![
            Contender::with_job(ours, "locks, ATTACH, the CHECK dropped", job(&[plan, &steps("<=")], &steps(">"))),
            Contender::with_job("eventkit, whole call", "attach_partition of a table without a CHECK", job(&[], attach)),
            Contender::with_job(
                plain,
                "ALTER TABLE .. ATTACH PARTITION of a table without a CHECK",
                job(&[], "ALTER TABLE m ATTACH PARTITION day FOR VALUES FROM ('2024-03-01 00:00Z') TO ('2024-03-02 00:00Z')"),
            ),
        ],
        goals: vec![
            Goal::faster(ours, plain, 50.0),
            Goal::says(ours, "is implied by existing constraints"),
        ],
        runs: 5,
    }
}

fn maintain() -> Suite {
    let mut setup = Vec::new();
    for i in 1..=200 {
        setup.push(format!(
            "CREATE TABLE p{i} (id bigint, created_at timestamptz NOT NULL, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)"
        ));
        setup.push(partitions(&format!("p{i}"), 100, "current_date + 8"));
    }
    setup.push(
        "INSERT INTO eventkit.partition_settings (parent, period, time_zone, premake, retention, on_expiry)
             SELECT c.oid, '1 day', 'UTC', 7, '120 days', 'drop' FROM pg_class AS c WHERE c.relkind = 'p'"
            .to_owned(),
    );
    setup.push("VACUUM ANALYZE".to_owned());
    let nothing_to_do = "SELECT (SELECT count(*) FROM pg_inherits WHERE inhparent IN (SELECT parent FROM eventkit.partition_settings)) = 20000
         AND (SELECT count(*) FROM eventkit.partition_settings) = 200 AND NOT EXISTS (SELECT FROM eventkit.run_history WHERE action <> 'maintain' OR sqlstate IS NOT NULL)";
    Suite {
        name: "partition-maintain".to_owned(),
        about: "CALL eventkit.maintain() over 200 managed parents with 100 partitions of a day each, those of the next eight \
                days there already, retention 120 days: it looks and finds nothing to do."
            .to_owned(),
        setup,
        contenders: vec![Contender::with_job(
            "maintain",
            "a transaction a parent",
            Job {
                statements: vec!["CALL eventkit.maintain()".to_owned()],
                check: Some(nothing_to_do.to_owned()),
                ..Job::default()
            },
        )],
        goals: vec![Goal::within("maintain", 2.0)],
        runs: 5,
    }
}

fn ahead() -> Suite {
    let (many, few) = ("1,000 partitions", "10 partitions");
    let job = |name: &str, days: u32| {
        let drop = format!(
            "DO $$ DECLARE t text; BEGIN FOR t IN SELECT partition::text FROM eventkit.partitions
                 WHERE parent = '{name}'::regclass AND from_time >= '2024-03-01 00:00Z' LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$"
        );
        Job {
            prepare: vec![
                drop,
                "VACUUM pg_class, pg_attribute, pg_depend, pg_inherits, pg_index, pg_constraint, pg_type".to_owned(),
            ],
            statements: vec![format!(
                "CALL eventkit.create_partitions('{name}', '2024-03-01 00:00Z', '2024-03-31 00:00Z')"
            )],
            check: Some(format!("SELECT count(*) = {days} + 30 FROM pg_inherits WHERE inhparent = '{name}'::regclass")),
            ..Job::default()
        }
    };
    let mut setup = parent("many");
    // One transaction's locks have to fit into the server's table.
    for hundred in 0..10 {
        setup.push(partitions("many", 100, &format!("date '2024-02-29' - {}", hundred * 100)));
    }
    setup.extend(parent("few"));
    setup.push(partitions("few", 10, "'2024-02-29'"));
    setup.push("VACUUM ANALYZE".to_owned());
    Suite {
        name: "partition-ahead".to_owned(),
        about: "CALL eventkit.create_partitions() for 30 days ahead, each with a primary key and two indexes, a transaction \
                each, on a parent with 1,000 partitions and on one with 10."
            .to_owned(),
        setup,
        contenders: vec![
            Contender::with_job(many, "30 days ahead", job("many", 1000)),
            Contender::with_job(few, "30 days ahead", job("few", 10)),
        ],
        goals: vec![Goal::costs(many, few, 2.0)],
        runs: 5,
    }
}
