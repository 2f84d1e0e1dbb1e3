//! What a partition takes over from its parent: each property by itself, against the parent or what the server makes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{lines, open, value};
use eventkit_tests::{PgVersion, Session};

const PARENT: &str =
    "CREATE TABLE e (id bigint, at timestamptz NOT NULL, name text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)";

/// A database where the parent was changed by some SQL, then got one partition by us and one (`r`) by the server.
fn made(setup: &str) -> (eventkit_tests::shared::Database, Session) {
    let (db, s) = open("");
    for statement in [PARENT, setup] {
        s.query(statement).unwrap_or_else(|e| panic!("{e}: {statement}"));
    }
    s.query("CALL eventkit.create_partition('e', '2024-01-01')").unwrap();
    s.query("CREATE TABLE r PARTITION OF e FOR VALUES FROM ('2024-01-02 00:00Z') TO ('2024-01-03 00:00Z')").unwrap();
    (db, s)
}

/// Asserts that a query about a table says the same of two; `TABLE` stands for the table.
fn same(s: &Session, query: &str, one: &str, other: &str) -> String {
    let of = |table: &str| lines(s, &query.replace("TABLE", &format!("'{table}'::regclass"))).join("\n");
    assert_eq!(of(one), of(other), "{query}");
    of(one)
}

const INDEXES: &str = "SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '') AS def, indisunique, indisprimary, \
    (SELECT count(*) FROM pg_inherits WHERE inhrelid = indexrelid) FROM pg_index WHERE indrelid = TABLE ORDER BY 1, 2";

#[test]
fn indexes_of_every_kind() {
    for (index, found) in [
        ("CREATE INDEX i ON e (lower(name))", "lower(name)"),
        ("CREATE INDEX i ON e (name) WHERE id > 5", "WHERE (id > 5)"),
        ("CREATE INDEX i ON e (at) INCLUDE (name, id)", "INCLUDE (name, id)"),
        ("CREATE INDEX i ON e USING brin (at) WITH (pages_per_range = 4, autosummarize = on)", "pages_per_range='4'"),
        ("CREATE UNIQUE INDEX i ON e (at, name) NULLS NOT DISTINCT", "NULLS NOT DISTINCT"),
        ("CREATE INDEX i ON ONLY e (name)", "btree (name)"),
        ("CREATE INDEX i ON e (name text_pattern_ops DESC NULLS LAST, at)", "text_pattern_ops DESC NULLS LAST"),
        ("CREATE INDEX i ON e (name COLLATE \"C\") WITH (fillfactor = 70)", "fillfactor='70'"),
        ("CREATE INDEX i ON e USING hash (name)", "hash (name)"),
        ("CREATE INDEX i ON e USING gin (string_to_array(name, ','))", "gin (string_to_array"),
        ("CREATE INDEX i ON e (name); CREATE INDEX i2 ON e (name)", "btree (name)"),
    ] {
        let (_db, s) = made(index);
        let all = same(&s, INDEXES, "e_20240101", "r");
        assert!(all.contains(found), "{index}: {all}");
    }
}

#[test]
fn keys_and_constraints() {
    const CONSTRAINTS: &str = "SELECT contype, pg_get_constraintdef(oid), condeferrable, condeferred, convalidated, coninhcount, conislocal FROM pg_constraint WHERE conrelid = TABLE ORDER BY 1, 2";
    for setup in [
        "ALTER TABLE e ADD UNIQUE (at, name)",
        "ALTER TABLE e ADD CONSTRAINT u UNIQUE (name, at) DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE e ADD CONSTRAINT positive CHECK (id > 0)",
        "ALTER TABLE e ADD CONSTRAINT later CHECK (id > 0) NOT VALID",
        "CREATE TABLE ref (id bigint PRIMARY KEY); INSERT INTO ref VALUES (1); ALTER TABLE e ADD FOREIGN KEY (id) REFERENCES ref ON DELETE CASCADE DEFERRABLE",
        "CREATE TABLE below (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES e)",
        "ALTER TABLE e ADD up_id bigint, ADD up_at timestamptz, ADD FOREIGN KEY (up_id, up_at) REFERENCES e",
    ] {
        let (_db, s) = made(setup);
        if setup.contains("NOT VALID") {
            // What is new is proved; the server's own copy says so as well.
            assert_eq!(
                value(
                    &s,
                    "SELECT count(*) FROM pg_constraint WHERE conname = 'later' AND conrelid = 'e_20240101'::regclass"
                ),
                "1"
            );
        } else {
            // Whether it is local is how it came about, not what it says.
            same(&s, &CONSTRAINTS.replace(", conislocal", "").replace(", coninhcount", ""), "e_20240101", "r");
        }
    }
    let (_db, s) = made(
        "CREATE TABLE ref (id bigint PRIMARY KEY); INSERT INTO ref VALUES (1); ALTER TABLE e ADD FOREIGN KEY (id) REFERENCES ref; CREATE TABLE below (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES e)",
    );
    s.query("INSERT INTO e VALUES (1, '2024-01-01 12:00Z'); INSERT INTO below VALUES (1, '2024-01-01 12:00Z')")
        .unwrap();
    for (refused, state) in [
        ("INSERT INTO e VALUES (2, '2024-01-01 12:00Z')", "23503"),
        ("INSERT INTO below VALUES (1, '2024-01-01 13:00Z')", "23503"),
        ("DELETE FROM e_20240101", "23503"),
        ("DELETE FROM ref", "23503"),
    ] {
        assert_eq!(s.query(refused).unwrap_err().sqlstate, state, "{refused}");
    }
}

#[test]
fn columns_with_all_that_belongs_to_them() {
    const COLUMNS: &str = "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attstorage, attcompression, attcollation, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum) \
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = TABLE AND attnum > 0 AND NOT attisdropped ORDER BY 1";
    for setup in [
        "ALTER TABLE e ADD gone int; ALTER TABLE e DROP gone; ALTER TABLE e ADD x int NOT NULL DEFAULT 7",
        "ALTER TABLE e ADD x bigint GENERATED ALWAYS AS (id * 2) STORED",
        "CREATE SEQUENCE q; ALTER TABLE e ALTER id SET DEFAULT nextval('q')",
        "ALTER TABLE e ALTER name SET STORAGE EXTERNAL",
        "ALTER TABLE e ALTER name SET COMPRESSION pglz",
        "ALTER TABLE e ADD x varchar(9) COLLATE \"C\"",
        "CREATE DOMAIN positive AS int CHECK (value > 0); ALTER TABLE e ADD x positive[]",
    ] {
        let (_db, s) = made(setup);
        same(&s, COLUMNS, "e_20240101", "r");
        same(&s, COLUMNS, "e_20240101", "e");
    }
    let (_db, s) = made(
        "ALTER TABLE e ALTER id ADD GENERATED ALWAYS AS IDENTITY; COMMENT ON COLUMN e.name IS 'it''s a name'; COMMENT ON TABLE e IS E'back\\\\slash'",
    );
    s.query("INSERT INTO e (at) VALUES ('2024-01-01 12:00Z')").unwrap();
    assert_eq!(value(&s, "SELECT id FROM e_20240101"), "1");
    same(&s, "SELECT obj_description(TABLE), col_description(TABLE, 3)", "e_20240101", "e");
    if PgVersion::under_test().unwrap() == PgVersion::V15 {
        assert_eq!(
            value(
                &s,
                "SELECT count(*) FROM pg_attribute WHERE attidentity <> '' AND attrelid = 'e_20240101'::regclass"
            ),
            "0"
        );
    }
}

#[test]
fn statistics_of_columns_indexes_and_several_columns() {
    let (db, s) = open(PARENT);
    let owner = format!("owner_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}; ALTER TABLE e ALTER name SET STATISTICS 321, ALTER id SET (n_distinct = -0.5, n_distinct_inherited = 9); \
         CREATE INDEX i ON e (lower(name), (id + 1)); ALTER INDEX i ALTER COLUMN 2 SET STATISTICS 77; COMMENT ON INDEX i IS 'an index'; COMMENT ON INDEX e_pkey IS 'the key'; \
         CREATE STATISTICS st (dependencies, ndistinct) ON id, name FROM e; CREATE STATISTICS ex ON (lower(name)) FROM e; CREATE STATISTICS m (mcv) ON id, (id % 10) FROM e; \
         ALTER STATISTICS m SET STATISTICS 55; COMMENT ON STATISTICS m IS 'some'; ALTER TABLE e OWNER TO {owner}"
    ))
    .unwrap();
    s.query("CALL eventkit.create_partition('e', '2024-01-01')").unwrap();
    same(
        &s,
        "SELECT attname, attstattarget, array(SELECT o FROM unnest(attoptions) o WHERE o !~ '^pg_') FROM pg_attribute WHERE attrelid = TABLE AND attnum > 0 ORDER BY 1",
        "e_20240101",
        "e",
    );
    same(
        &s,
        "SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', ''), attnum, attstattarget, obj_description(indexrelid) FROM pg_index JOIN pg_attribute ON attrelid = indexrelid WHERE indrelid = TABLE ORDER BY 1, 2",
        "e_20240101",
        "e",
    );
    let found = same(
        &s,
        "SELECT regexp_replace(stxname, '_20240101$', ''), stxkind, pg_get_statisticsobjdef_columns(oid), stxstattarget, obj_description(oid) FROM pg_statistic_ext WHERE stxrelid = TABLE ORDER BY 1",
        "e_20240101",
        "e",
    );
    assert_eq!(found.lines().count(), 3);
    assert_eq!(
        value(
            &s,
            "SELECT string_agg(DISTINCT pg_get_userbyid(stxowner), ',') FROM pg_statistic_ext WHERE stxrelid = 'e_20240101'::regclass"
        ),
        owner
    );
}

#[test]
fn rights_policies_and_owner() {
    let (db, s) = open(PARENT);
    let (owner, guest) = (format!("owner_{}", db.name), format!("guest_{}", db.name));
    s.query(&format!(
        "CREATE ROLE {owner}; CREATE ROLE {guest}; GRANT CREATE ON SCHEMA public TO {owner}; ALTER TABLE e OWNER TO {owner}; GRANT SELECT, INSERT (id, name) ON e TO {guest} WITH GRANT OPTION; GRANT UPDATE ON e TO PUBLIC; \
         ALTER TABLE e ENABLE ROW LEVEL SECURITY; ALTER TABLE e FORCE ROW LEVEL SECURITY; CREATE POLICY mine ON e TO {guest} USING (name = current_user) WITH CHECK (id < 9); \
         CREATE POLICY never ON e AS RESTRICTIVE FOR DELETE USING (id IN (SELECT 1)); ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC"
    ))
    .unwrap();
    s.query("CALL eventkit.create_partition('e', '2024-01-01')").unwrap();
    for property in [
        "SELECT relowner, relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = TABLE",
        "SELECT grantor, grantee, privilege_type, is_grantable FROM pg_class, aclexplode(relacl) WHERE oid = TABLE ORDER BY 1, 2, 3",
        "SELECT attname, attacl FROM pg_attribute WHERE attrelid = TABLE AND attacl IS NOT NULL",
        "SELECT polname, polcmd, polpermissive, polroles, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) FROM pg_policy WHERE polrelid = TABLE ORDER BY 1",
    ] {
        assert_ne!(same(&s, property, "e_20240101", "e"), "", "{property}");
    }
}

#[test]
fn triggers_replica_identity_tablespace_and_publications() {
    let (_db, s) = made(
        "CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TRIGGER a AFTER INSERT ON e FOR EACH ROW WHEN (NEW.id > 1) EXECUTE FUNCTION noop('x'); CREATE TRIGGER b BEFORE UPDATE OF name ON e FOR EACH ROW EXECUTE FUNCTION noop(); \
         CREATE CONSTRAINT TRIGGER c AFTER DELETE ON e DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION noop(); ALTER TABLE e DISABLE TRIGGER a; ALTER TABLE e ENABLE ALWAYS TRIGGER b; \
         CREATE TRIGGER s AFTER INSERT ON e EXECUTE FUNCTION noop(); \
         ALTER TABLE e REPLICA IDENTITY USING INDEX e_pkey; SET client_min_messages = error; CREATE PUBLICATION p FOR TABLE e",
    );
    let triggers = same(
        &s,
        "SELECT tgname, tgenabled, tgtype, tgdeferrable, tgargs, tgattr, regexp_replace(pg_get_triggerdef(oid), ' ON [^ ]+ ', '') FROM pg_trigger WHERE tgrelid = TABLE AND NOT tgisinternal ORDER BY 1",
        "e_20240101",
        "r",
    );
    assert_eq!(triggers.lines().count(), 3, "{triggers}");
    same(
        &s,
        "SELECT relreplident, (SELECT indisreplident FROM pg_index WHERE indrelid = TABLE AND indisprimary) FROM pg_class WHERE oid = TABLE",
        "e_20240101",
        "e",
    );
    assert_eq!(lines(&s, "SELECT tablename FROM pg_publication_tables ORDER BY 1"), ["e_20240101", "r"]);
}

#[test]
fn tablespaces_access_methods_and_persistence() {
    let (_db, s) = open(PARENT);
    let folder = tempfile::Builder::new().prefix("space").tempdir_in("/var/tmp").unwrap();
    std::process::Command::new("chown")
        .args(["--reference", &value(&s, "SHOW data_directory")])
        .arg(folder.path())
        .status()
        .unwrap();
    s.query(&format!("CREATE TABLESPACE apart LOCATION '{}'", folder.path().display())).unwrap();
    s.query("ALTER TABLE e SET TABLESPACE apart; CREATE INDEX near ON e (name); CREATE INDEX far ON e (id) TABLESPACE apart").unwrap();
    s.query("CALL eventkit.create_partition('e', '2024-01-01')").unwrap();
    assert_eq!(
        lines(
            &s,
            "SELECT relname, coalesce(spcname, '-') FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = reltablespace WHERE relname ~ '_20240101$' ORDER BY 1"
        ),
        ["e_20240101|apart", "e_pkey_20240101|-", "far_20240101|apart", "near_20240101|-"]
    );
    s.query("DROP TABLE e").unwrap();
    s.query("DROP TABLESPACE apart").unwrap();
    if PgVersion::under_test().unwrap() == PgVersion::V15 {
        // From 18 on a partitioned table cannot be unlogged, and has an access method.
        s.query("CREATE UNLOGGED TABLE u (at timestamptz) PARTITION BY RANGE (at); CALL eventkit.create_partition('u', '2024-01-01')").unwrap();
        assert_eq!(value(&s, "SELECT relpersistence FROM pg_class WHERE relname = 'u_20240101'"), "u");
    } else {
        s.query("CREATE ACCESS METHOD pile TYPE TABLE HANDLER heap_tableam_handler; CREATE TABLE u (at timestamptz) PARTITION BY RANGE (at) USING pile; CALL eventkit.create_partition('u', '2024-01-01')").unwrap();
        assert_eq!(
            value(&s, "SELECT amname FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE relname = 'u_20240101'"),
            "pile"
        );
    }
}

/// A table that somebody filled, attached to a parent with all that one can have: in each respect like a partition that was made.
#[test]
fn what_a_filled_table_takes_over() {
    let (db, s) = open(PARENT);
    let (owner, guest) = (format!("owner_{}", db.name), format!("guest_{}", db.name));
    s.query(&format!(
        "CREATE ROLE {owner}; CREATE ROLE {guest}; GRANT CREATE ON SCHEMA public TO {owner}; CREATE SEQUENCE q; GRANT USAGE ON SEQUENCE q TO {owner};
         ALTER TABLE e ALTER id SET DEFAULT nextval('q'), ALTER name SET STORAGE EXTERNAL, ALTER name SET COMPRESSION pglz, ALTER name SET STATISTICS 321, ALTER id SET (n_distinct = -0.5);
         ALTER TABLE e ADD CONSTRAINT positive CHECK (id > 0); CREATE INDEX i ON e (lower(name));
         CREATE STATISTICS st (dependencies, ndistinct) ON id, name FROM e; CREATE STATISTICS ex ON (lower(name)) FROM e; ALTER STATISTICS ex SET STATISTICS 55;
         COMMENT ON TABLE e IS 'all'; COMMENT ON COLUMN e.name IS 'who'; COMMENT ON CONSTRAINT e_pkey ON e IS 'the key'; COMMENT ON INDEX i IS 'an index';
         ALTER TABLE e ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, REPLICA IDENTITY FULL;
         CREATE POLICY own ON e USING (name = current_user); CREATE POLICY few ON e AS RESTRICTIVE FOR SELECT TO {guest} USING (id < 10);
         COMMENT ON POLICY own ON e IS 'one''s own'; GRANT SELECT, INSERT ON e TO {guest}; GRANT UPDATE (name) ON e TO {guest} WITH GRANT OPTION; ALTER TABLE e OWNER TO {owner};
         CALL eventkit.create_partition('e', '2024-01-01');
         CREATE TABLE filled (name text, gone int, at timestamptz, id bigint); ALTER TABLE filled DROP gone;
         INSERT INTO filled VALUES ('{guest}', '2024-01-02 12:00Z', 1), ('{guest}', '2024-01-02 12:00Z', 11), ('other', '2024-01-02 12:00Z', 2);
         CREATE POLICY own ON filled USING (true); CREATE STATISTICS there (ndistinct, dependencies) ON id, name FROM filled; COMMENT ON COLUMN filled.at IS 'its own';
         CALL eventkit.attach_partition('e', 'filled', '2024-01-02 00:00Z', '2024-01-03 00:00Z')"
    ))
    .unwrap();
    for query in [
        "SELECT pg_get_userbyid(relowner), relrowsecurity, relforcerowsecurity, relreplident, obj_description(oid) FROM pg_class WHERE oid = TABLE",
        "SELECT attname, attnotnull, attstorage, attcompression, attstattarget, ARRAY(SELECT o FROM unnest(attoptions) o WHERE o !~ '^pg_'), pg_get_expr(adbin, adrelid), nullif(col_description(attrelid, attnum), 'its own') \
         FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = TABLE AND attnum > 0 AND NOT attisdropped ORDER BY 1",
        "SELECT polname, polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid), obj_description(oid, 'pg_policy') FROM pg_policy WHERE polrelid = TABLE ORDER BY 1",
        "SELECT grantee::regrole, privilege_type, is_grantable FROM pg_class, aclexplode(relacl) WHERE oid = TABLE ORDER BY 1::text, 2",
        "SELECT attname, grantee::regrole, privilege_type, is_grantable FROM pg_attribute, aclexplode(attacl) WHERE attrelid = TABLE ORDER BY 1, 2",
        "SELECT ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = stxrelid AND attnum = ANY (stxkeys::int2[]) ORDER BY 1), pg_get_statisticsobjdef_expressions(oid), stxkind, stxstattarget, pg_get_userbyid(stxowner) = pg_get_userbyid((SELECT relowner FROM pg_class c WHERE c.oid = stxrelid)) OR stxname = 'there' FROM pg_statistic_ext WHERE stxrelid = TABLE ORDER BY 1",
        "SELECT contype, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conrelid = TABLE AND contype <> 'n' ORDER BY 1, 2",
        "SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', ''), obj_description(indexrelid, 'pg_class') FROM pg_index WHERE indrelid = TABLE ORDER BY 1",
    ] {
        assert!(!same(&s, query, "filled", "e_20240101").is_empty(), "{query}");
    }
    assert_eq!(value(&s, "SELECT col_description('filled'::regclass, 3)"), "its own");
    // The rows of others are hidden from who names it directly.
    s.query(&format!("SET ROLE {guest}")).unwrap();
    assert_eq!(lines(&s, "SELECT id FROM filled"), ["1"]);
    s.query("RESET ROLE").unwrap();
}

/// Keys that a plain comparison of columns does not tell apart, and what refers to the parent.
#[test]
fn a_filled_table_gets_keys_of_every_kind_and_is_referred_to() {
    for default in ["", "CREATE TABLE rest PARTITION OF e DEFAULT;"] {
        let (_db, s) = open(&format!(
            "{PARENT}; {default} ALTER TABLE e ADD CONSTRAINT apart UNIQUE NULLS NOT DISTINCT (name, at), ADD CONSTRAINT late UNIQUE (at, id, name) DEFERRABLE INITIALLY DEFERRED;
             CREATE UNIQUE INDEX whole ON e (at, id); ALTER TABLE e REPLICA IDENTITY USING INDEX whole; ALTER TABLE e ALTER id SET NOT NULL;
             CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'told % %', tg_op, tg_table_name; RETURN NULL; END $$;
             CREATE TRIGGER told AFTER INSERT OR DELETE ON e FOR EACH ROW EXECUTE FUNCTION told(); CREATE TRIGGER quiet AFTER INSERT ON e FOR EACH ROW EXECUTE FUNCTION told(); ALTER TABLE e DISABLE TRIGGER quiet;
             CREATE TABLE notes (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES e);
             CREATE TABLE filled (LIKE e); INSERT INTO filled VALUES (1, '2024-01-02 12:00Z', NULL), (2, '2024-01-02 12:00Z', 'x');
             CALL eventkit.create_partition('e', '2024-01-01')"
        ));
        s.query("CALL eventkit.attach_partition('e', 'filled', '2024-01-02 00:00Z', '2024-01-03 00:00Z')").unwrap();
        for query in [
            INDEXES,
            "SELECT contype, pg_get_constraintdef(oid), condeferrable, condeferred FROM pg_constraint WHERE conrelid = TABLE AND contype <> 'n' ORDER BY 1, 2",
            "SELECT relreplident, (SELECT count(*) FROM pg_index WHERE indrelid = TABLE AND indisreplident) FROM pg_class WHERE oid = TABLE",
            "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = TABLE AND NOT tgisinternal ORDER BY 1",
        ] {
            assert!(!same(&s, query, "filled", "e_20240101").is_empty(), "{query}");
        }
        assert_eq!(
            value(
                &s,
                "SELECT relreplident || (SELECT count(*) FROM pg_index WHERE indrelid = c.oid AND indisreplident) FROM pg_class c WHERE oid = 'filled'::regclass"
            ),
            "i1"
        );
        let _ = s.take_notices();
        s.query(
            "INSERT INTO notes VALUES (1, '2024-01-02 12:00Z'); INSERT INTO e VALUES (3, '2024-01-02 12:00Z', 'y')",
        )
        .unwrap();
        assert_eq!(s.take_notices(), ["NOTICE: told INSERT filled"]);
        assert_eq!(
            s.query("DELETE FROM filled WHERE id = 1").unwrap_err().sqlstate,
            "23503",
            "what refers to a row keeps it"
        );
        assert_eq!(s.query("INSERT INTO e VALUES (4, '2024-01-02 12:00Z', NULL)").unwrap_err().sqlstate, "23505");
    }
}

#[test]
fn a_policy_that_names_the_parent_closes_the_partition() {
    let (db, s) = made("");
    let guest = format!("guest_{}", db.name);
    s.query(&format!(
        "CREATE ROLE {guest}; CREATE TABLE friends (id bigint); GRANT SELECT ON friends, e TO {guest}; ALTER TABLE e ENABLE ROW LEVEL SECURITY;
         CREATE POLICY theirs ON e USING (EXISTS (SELECT FROM friends f WHERE f.id = e.id)); INSERT INTO friends VALUES (1);
         CALL eventkit.create_partition('e', '2024-01-05'); INSERT INTO e VALUES (1, '2024-01-05 12:00Z'), (2, '2024-01-05 12:00Z')"
    ))
    .unwrap();
    s.query(&format!("SET ROLE {guest}")).unwrap();
    assert_eq!(lines(&s, "SELECT id FROM e"), ["1"]);
    assert_eq!(s.query("SELECT id FROM e_20240105").unwrap_err().sqlstate, "42501");
    s.query("RESET ROLE").unwrap();
}

/// The youngest partition says how rows are stored, also where it is partitioned itself and says nothing.
#[test]
fn beside_a_partition_that_is_partitioned_itself() {
    let (_db, s) = open(&format!(
        "{PARENT}; CALL eventkit.create_partition('e', '2024-01-01'); ALTER TABLE e_20240101 SET (fillfactor = 70);
         CREATE TABLE many PARTITION OF e FOR VALUES FROM ('2024-01-02 00:00Z') TO ('2024-01-03 00:00Z') PARTITION BY HASH (id);
         CREATE TABLE many_0 PARTITION OF many FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE many_1 PARTITION OF many FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE src (LIKE e INCLUDING INDEXES); INSERT INTO src SELECT n, '2024-01-01 12:00Z'::timestamptz + n * interval '1 day' FROM generate_series(0, 3) n;
         CREATE TABLE filled (LIKE e); INSERT INTO filled VALUES (9, '2024-01-09 12:00Z')"
    ));
    s.query("CALL eventkit.create_partition('e', '2024-01-03')").unwrap();
    s.query("CALL eventkit.attach_partition('e', 'filled', '2024-01-09 00:00Z', '2024-01-10 00:00Z')").unwrap();
    s.query("CALL eventkit.backfill('src', 'e')").unwrap();
    let heard = s.take_notices().join("\n");
    assert!(!heard.contains("WARNING"), "{heard}");
    assert_eq!(
        lines(&s, "SELECT tableoid::regclass, count(*) FROM e GROUP BY 1 ORDER BY 1::text")
            .iter()
            .filter(|l| l.starts_with("many"))
            .count(),
        1,
        "an empty one is filled through the parent or left"
    );
    assert_eq!(value(&s, "SELECT count(*) FROM e"), "5");
    assert_eq!(value(&s, "SELECT reloptions FROM pg_class WHERE relname = 'e_20240103'"), "{fillfactor=70}");
}

#[test]
fn what_policies_and_constraints_are_described_as() {
    let (_db, s) = made(
        "CREATE POLICY own ON e USING (true); COMMENT ON POLICY own ON e IS 'one''s own'; COMMENT ON CONSTRAINT e_pkey ON e IS 'the key'; \
         ALTER TABLE e ADD CONSTRAINT positive CHECK (id > 0); COMMENT ON CONSTRAINT positive ON e IS 'no nought'",
    );
    let described = "SELECT obj_description(oid, 'pg_policy') FROM pg_policy WHERE polrelid = TABLE \
        UNION ALL SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conrelid = TABLE AND contype IN ('p', 'c') ORDER BY 1";
    assert_eq!(same(&s, described, "e_20240101", "e"), "no nought\none's own\nthe key");
}

/// A partitioned table has no storage parameters: the youngest partition tells them.
#[test]
fn storage_parameters_are_those_of_the_youngest_partition() {
    let (_db, s) = open(&format!(
        "{PARENT}; CREATE TABLE rest PARTITION OF e DEFAULT WITH (fillfactor = 11); CALL eventkit.create_partition('e', '2024-01-01');
         ALTER TABLE e_20240101 SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_enabled = false);
         CALL eventkit.create_partition('e', '2024-01-02')"
    ));
    let options = |table: &str| {
        value(
            &s,
            &format!(
                "SELECT concat(c.reloptions, t.reloptions) FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = '{table}'::regclass"
            ),
        )
    };
    assert_eq!(options("e_20240102"), "{fillfactor=70,autovacuum_vacuum_scale_factor=0.05}{autovacuum_enabled=false}");
    // Ahead of a table that was converted the partitions are as it was.
    s.query("CREATE TABLE f (id int, at timestamptz, name text, PRIMARY KEY (id, at)) WITH (fillfactor = 80)").unwrap();
    s.query("CALL eventkit.convert_table('f', 'at', premake => 2)").unwrap();
    assert_eq!(
        lines(
            &s,
            "SELECT DISTINCT c.reloptions FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'f'::regclass"
        ),
        ["{fillfactor=80}"]
    );
}
