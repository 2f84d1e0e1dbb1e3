-- The settings of managed parents. The address of the table is the key: it survives a rename and a move to another schema, and
-- a dump writes it as a name. Rows of dropped tables are in no dump, and go with the next call that manages any table.

CREATE TABLE eventkit.partition_settings (
  parent         regclass PRIMARY KEY,
  period         interval NOT NULL CHECK (period OPERATOR(pg_catalog.>=) '1 hour'::pg_catalog.interval),
  time_zone      text     NOT NULL,
  premake        int      NOT NULL CHECK (premake OPERATOR(pg_catalog.>=) 0 AND premake OPERATOR(pg_catalog.<=) 1000),
  retention      interval          CHECK (retention OPERATOR(pg_catalog.>=) '0'::pg_catalog.interval),
  on_expiry      text     NOT NULL CHECK (on_expiry OPERATOR(pg_catalog.=) ANY (ARRAY['detach', 'drop', 'move'])),
  expired_schema name              CHECK ((on_expiry OPERATOR(pg_catalog.=) 'move') OPERATOR(pg_catalog.=) (expired_schema IS NOT NULL)),
  key_unit       text              CHECK (key_unit OPERATOR(pg_catalog.=) ANY (ARRAY['s', 'ms', 'us', 'ns'])),
  archive        text
);

ALTER TABLE eventkit.partition_settings ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON eventkit.partition_settings FOR SELECT USING (
  pg_catalog.has_table_privilege(parent, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
  OR pg_catalog.has_any_column_privilege(parent, 'SELECT, INSERT, UPDATE, REFERENCES')
);
CREATE POLICY owner ON eventkit.partition_settings USING (
  COALESCE((SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) parent), false)
);
CREATE POLICY sweeper ON eventkit.partition_settings FOR DELETE USING (
  NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) parent)
);
CREATE POLICY finder ON eventkit.partition_settings FOR SELECT USING (
  NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) parent)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON eventkit.partition_settings TO PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('eventkit.partition_settings',
  'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) parent)');

COMMENT ON TABLE eventkit.partition_settings IS
'How the managed parents are partitioned; seen by those with a right on the parent, changed by its owner with manage_partitions.';
COMMENT ON COLUMN eventkit.partition_settings.parent IS 'The partitioned table.';
COMMENT ON COLUMN eventkit.partition_settings.period IS 'How much time one partition holds.';
COMMENT ON COLUMN eventkit.partition_settings.time_zone IS 'The zone whose clocks tell where a period begins.';
COMMENT ON COLUMN eventkit.partition_settings.premake IS 'How many periods after the present one have partitions.';
COMMENT ON COLUMN eventkit.partition_settings.retention IS 'How long rows are kept after their period has ended; NULL for ever.';
COMMENT ON COLUMN eventkit.partition_settings.on_expiry IS 'What becomes of an expired partition: detach, drop or move.';
COMMENT ON COLUMN eventkit.partition_settings.expired_schema IS 'The schema that expired partitions are moved to.';
COMMENT ON COLUMN eventkit.partition_settings.key_unit IS 'What a bigint key counts: s, ms, us or ns since 1970.';
COMMENT ON COLUMN eventkit.partition_settings.archive IS 'The procedure that gets an expired partition before it goes, by its name, as in app.archive(regclass).';
COMMENT ON POLICY reader ON eventkit.partition_settings IS 'Whoever has a right on a parent sees its settings.';
COMMENT ON POLICY owner ON eventkit.partition_settings IS 'Whoever has the rights of its owner changes them.';
COMMENT ON POLICY sweeper ON eventkit.partition_settings IS 'Settings of a dropped parent are anybody''s to remove.';
COMMENT ON POLICY finder ON eventkit.partition_settings IS 'Settings of a dropped parent are found by whoever removes them.';
