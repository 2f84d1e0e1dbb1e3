//! What a plan has to know of the catalog: plain names and texts, read by `src/pg`, made by hand in tests.

use super::backfill::Verify;
use super::bound::Bound;
use super::error;
use super::key::Key;
use super::name::qualified;
use super::settings::Settings;
use crate::error::Result;
use serde::Deserialize;

/// The partitioned table.
#[derive(Clone, Debug, Deserialize)]
pub struct Parent {
    /// Names in its schema that others have, of those that a plan would give.
    #[serde(default)]
    pub taken: Vec<String>,
    /// Its schema; partitions are made in the same one.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// The role that calls.
    pub caller: String,
    /// Whether the caller has the owner's rights.
    pub caller_owns: bool,
    /// Why periods cannot be made on it, if so.
    pub refusal: Option<Refusal>,
    /// Its partition key; absent when refused.
    pub key: Option<Key>,
    /// What it is managed by; absent when it is not.
    pub settings: Option<Settings>,
    /// Whether its partitions are unlogged, as far as the server lets a parent say so.
    pub unlogged: bool,
    /// Whether the server analyzes tables by itself.
    #[serde(default)]
    pub autovacuum: bool,
    /// What it is described as.
    pub comment: Option<String>,
    /// The tablespace that partitions belong in, unless it is the database's.
    pub tablespace: Option<String>,
    /// The access method that partitions get, where the parent names one (PostgreSQL 17 and later).
    pub access_method: Option<String>,
    /// Whether row-level security is on.
    pub row_security: bool,
    /// Whether it binds the owner too.
    pub force_row_security: bool,
    /// `d`, `f`, `n` or `i`, as in `pg_class.relreplident`.
    pub replica_identity: String,
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// Its indexes, the primary key first.
    pub indexes: Vec<Index>,
    /// Its policies.
    pub policies: Vec<Policy>,
    /// What others may do with it.
    pub grants: Vec<Grant>,
    /// Whom default privileges would let into a new table; `None` is PUBLIC.
    pub default_grantees: Vec<Option<String>>,
    /// The default partition.
    pub default: Option<Default>,
    /// The partitions whose bounds meet the range that is planned; filled by the reader.
    #[serde(skip)]
    pub partitions: Vec<Partition>,
    /// Its extended statistics.
    pub statistics: Vec<Statistics>,
    /// The tables that an attach locks, the parent among them, in the order in which everybody takes them.
    pub linked: Vec<Linked>,
    /// Sequences that feed its columns.
    pub sequences: Vec<Sequence>,
    /// The keys not proved yet, when foreign keys of partitions wait to be the parent's.
    pub waiting: Option<Vec<HeldKey>>,
    /// The publications that it is in, or its default partition.
    #[serde(default)]
    pub publications: Vec<Publication>,
    /// The storage parameters of its youngest partition, as in [`Storage`](super::plan::copies::Storage): it can have none itself.
    #[serde(default)]
    pub options: Vec<String>,
}

/// A foreign key that a partition has for itself.
#[derive(Clone, Debug, Deserialize)]
pub struct HeldKey {
    /// The partition's schema.
    pub schema: String,
    /// The partition.
    pub table: String,
    /// The key's name.
    pub name: String,
}

/// What is sent to subscribers.
#[derive(Clone, Debug, Deserialize)]
pub struct Publication {
    /// Its name.
    pub name: String,
    /// Whether new rows are sent.
    pub inserts: bool,
    /// Whether deleted rows are.
    pub deletes: bool,
    /// All that is, as ALTER PUBLICATION takes it.
    pub publish: String,
    /// The same without what is deleted.
    pub publish_no_deletes: String,
}

impl Parent {
    /// Reads the snapshot from JSON. Raises `XX001` for a document of another shape. Linear in its length.
    pub fn read(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| error::unreadable_catalog(&e.to_string()))
    }

    /// The quoted, qualified name.
    #[must_use]
    pub fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// The default partition's quoted, qualified name, if there is one.
    #[must_use]
    pub fn default_partition(&self) -> Option<String> {
        self.default.as_ref().map(|default| qualified(&default.schema, &default.name))
    }
}

/// Why a parent is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Not partitioned by range; what it is.
    NotRange(String),
    /// Another key than one time column; what it is.
    Key(String),
    /// Itself a partition of that table.
    SubPartition(String),
    /// A temporary table.
    Temporary,
}

/// A column of the parent.
#[derive(Clone, Debug, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether its value is computed from others.
    pub generated: bool,
    /// The statistics target, where one is set.
    pub statistics: Option<i32>,
    /// `n_distinct=…` and the like.
    #[serde(default)]
    pub options: Vec<String>,
}

/// An index of the parent.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Whether it is unique.
    pub unique: bool,
    /// Its definition from `USING` on; absent when the server's text has another form.
    pub definition: Option<String>,
    /// Its tablespace, unless it is the database's.
    pub tablespace: Option<String>,
    /// Whether it is the replica identity.
    pub replica_identity: bool,
    /// The constraint that it serves.
    pub constraint: Option<IndexConstraint>,
    /// What it is described as.
    #[serde(default)]
    pub comment: Option<String>,
    /// What its constraint is described as.
    #[serde(default)]
    pub constraint_comment: Option<String>,
    /// Statistics targets of its expressions: column number and target.
    #[serde(default)]
    pub targets: Vec<(i16, i32)>,
}

/// Statistics over several columns or expressions.
#[derive(Clone, Debug, Deserialize)]
pub struct Statistics {
    /// Their name.
    pub name: String,
    /// `ndistinct` and so on.
    pub kinds: Vec<String>,
    /// The columns and expressions as the server writes them.
    pub columns: String,
    /// The statistics target, where one is set.
    pub target: Option<i32>,
    /// What they are described as.
    pub comment: Option<String>,
}

/// A primary key, unique or exclusion constraint.
#[derive(Clone, Debug, Deserialize)]
pub struct IndexConstraint {
    /// `PRIMARY KEY` or `UNIQUE`: made from a finished index. `None`: made from its definition.
    pub from_index: Option<String>,
    /// The whole definition.
    pub definition: String,
    /// Whether it can be deferred.
    pub deferrable: bool,
    /// Whether it is deferred from the start.
    pub deferred: bool,
}

/// A policy of row-level security.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// `ALL`, `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
    pub command: String,
    /// PERMISSIVE rather than RESTRICTIVE.
    pub permissive: bool,
    /// For whom; `None` is PUBLIC.
    pub roles: Vec<Option<String>>,
    /// The USING expression.
    pub using: Option<String>,
    /// The WITH CHECK expression.
    pub check: Option<String>,
    /// Whether a subquery in it names the table, so that its text fits no other table.
    pub correlated: bool,
    /// What it is described as.
    #[serde(default)]
    pub comment: Option<String>,
}

/// One right of one role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Grant {
    /// To whom; `None` is PUBLIC.
    pub role: Option<String>,
    /// `SELECT` and so on.
    pub privilege: String,
    /// On this column only.
    pub column: Option<String>,
    /// WITH GRANT OPTION.
    pub grantable: bool,
}

/// The partition for the rows of no other.
#[derive(Clone, Debug, Deserialize)]
pub struct Default {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// A partition of the parent.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its bound in the key's own time.
    pub bound: Bound,
    /// Whether the bound lies between two microseconds, and is shown wider than it is.
    pub odd: bool,
}

impl Partition {
    /// The quoted, qualified name.
    #[must_use]
    pub fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }
}

/// A table that the attach locks: the parent, or one that a foreign key ties to it.
#[derive(Clone, Debug, Deserialize)]
pub struct Linked {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether it is the parent itself.
    pub is_parent: bool,
    /// Whether the parent references it.
    pub referenced: bool,
    /// Whether it references the parent.
    pub referencing: bool,
    /// Whether the caller's rights allow to lock it by name.
    pub lockable: bool,
    /// Whether the parent references it, it is partitioned, and its keys fit into memory by the server's own estimate.
    #[serde(default)]
    pub few_keys: bool,
}

/// A sequence that a column of the parent takes its values from.
#[derive(Clone, Debug, Deserialize)]
pub struct Sequence {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The column.
    pub column: String,
    /// Whether it counts upwards.
    pub ascending: bool,
}

/// The table that rows come from.
#[derive(Clone, Debug, Deserialize)]
pub struct Source {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `pg_class.relkind`.
    pub kind: String,
    /// Whether it is the parent or below it.
    pub in_parent: bool,
    /// Whether the caller may read it.
    pub readable: bool,
    /// Whether row-level security hides rows from the caller.
    pub row_security: bool,
    /// Whether an index begins with the partition key.
    pub key_indexed: bool,
    /// How its copied rows are verified; filled by the reader.
    #[serde(skip)]
    pub verify: Verify,
    /// Its columns in order.
    pub columns: Vec<SourceColumn>,
}

impl Source {
    /// Reads the snapshot from JSON. Raises `XX001` for a document of another shape. Linear in its length.
    pub fn read(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| error::unreadable_catalog(&e.to_string()))
    }

    /// The quoted, qualified name.
    #[must_use]
    pub fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }
}

/// A column of the source.
#[derive(Clone, Debug, Deserialize)]
pub struct SourceColumn {
    /// Its name.
    pub name: String,
    /// Its type as shown.
    #[serde(rename = "type")]
    pub column_type: String,
    /// The type of the parent's column of that name.
    pub parent_type: Option<String>,
    /// Whether both are the same type.
    pub same_type: bool,
    /// Whether a cast that depends on nothing else leads from one to the other.
    pub castable: bool,
    /// The sequences that feed it and that the caller may look at.
    pub sequences: Vec<SourceSequence>,
}

/// A sequence that feeds a column of the source.
#[derive(Clone, Debug, Deserialize)]
pub struct SourceSequence {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether its numbers grow.
    pub ascending: bool,
}

/// A table that is to become a partition, compared with the parent.
#[derive(Clone, Debug, Deserialize)]
pub struct Child {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// Whether the caller has the owner's rights.
    pub caller_owns: bool,
    /// What it is, when that cannot become a partition.
    pub refusal: Option<String>,
    /// Whether it is a partition of the parent already.
    pub attached: bool,
    /// Columns of the parent that it lacks.
    pub missing: Vec<String>,
    /// Columns that the parent lacks.
    pub extra: Vec<String>,
    /// Columns of another type, collation or expression: name, what it is, what it should be.
    pub different: Vec<(String, String, String)>,
    /// Columns that are an identity of its own.
    pub identity: Vec<String>,
    /// Columns that are NOT NULL in the parent alone.
    pub nullable: Vec<String>,
    /// The CHECKs of the parent.
    pub checks: Vec<ChildCheck>,
    /// Constraints that an interrupted attach left.
    pub left_over: Vec<String>,
    /// Constraints of somebody else's under the names that an attach needs.
    #[serde(default)]
    pub in_the_way: Vec<String>,
    /// Whether it is unlogged, unlike the parent's partitions.
    #[serde(default)]
    pub less_kept: bool,
    /// Its size in bytes.
    pub bytes: i64,
    /// The foreign keys of the parent to other tables.
    #[serde(default)]
    pub foreign_keys: Vec<ChildKey>,
    /// Its indexes that equal one of the parent's.
    pub indexes: Vec<ChildIndex>,
    /// Whether row-level security is on.
    pub row_security: bool,
    /// Whether it binds the owner too.
    pub force_row_security: bool,
    /// Its policies.
    pub policies: Vec<Policy>,
    /// What others may do with it.
    pub grants: Vec<Grant>,
    /// As in [`Parent::replica_identity`].
    pub replica_identity: String,
    /// What it is described as.
    pub comment: Option<String>,
    /// What its columns take over from the parent's.
    pub columns: Vec<ChildColumn>,
    /// The extended statistics of the parent that it has equal ones of.
    pub statistics: Vec<String>,
}

impl Child {
    /// Reads the snapshot from JSON. Raises `XX001` for a document of another shape. Linear in its length.
    pub fn read(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| error::unreadable_catalog(&e.to_string()))
    }

    /// The quoted, qualified name.
    #[must_use]
    pub fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }
}

/// What a column takes over from the parent's column: what differs, or what it has none of.
#[derive(Clone, Debug, Deserialize)]
pub struct ChildColumn {
    /// Its name.
    pub name: String,
    /// The default, where it has none.
    pub default: Option<String>,
    /// The statistics target.
    pub statistics: Option<i32>,
    /// `n_distinct=…` and the like.
    pub options: Vec<String>,
    /// How wide values are stored.
    pub storage: Option<String>,
    /// How they are compressed.
    pub compression: Option<String>,
    /// What it is described as, where it has no description.
    pub comment: Option<String>,
}

/// A CHECK of the parent and what the table has of it.
#[derive(Clone, Debug, Deserialize)]
pub struct ChildCheck {
    /// Its name.
    pub name: String,
    /// The parent's definition.
    pub definition: String,
    /// What the table has.
    pub state: CheckState,
}

/// A foreign key of the parent and what the table has of it.
#[derive(Clone, Debug, Deserialize)]
pub struct ChildKey {
    /// Its name on the table, where it has an equal one, else on the parent.
    pub name: String,
    /// The parent's definition.
    pub definition: String,
    /// The schema of the referenced table.
    pub schema: String,
    /// The referenced table.
    pub table: String,
    /// How many tables the referenced one is, with its partitions.
    pub tables: i64,
    /// What the table has; different where another constraint has the name.
    pub state: CheckState,
    /// Whether the caller may make one that refers to it.
    pub allowed: bool,
    /// Whether an attach has added it.
    pub marked: bool,
}

/// What a table has of a constraint of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// Nothing.
    Missing,
    /// The same, not proved for the rows that were there before.
    Unproven,
    /// Another one of that name.
    Different,
    /// The same.
    There,
}

/// An index of the table that equals one of the parent's.
#[derive(Clone, Debug, Deserialize)]
pub struct ChildIndex {
    /// The parent's index.
    pub parent: String,
    /// The table's index.
    pub name: String,
    /// Whether it serves the constraint that the parent's does.
    pub constrained: bool,
}
