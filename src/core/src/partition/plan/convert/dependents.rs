//! What hangs on a table that hands its name over: read by `src/pg`, made by hand in tests.

use super::super::super::error;
use super::super::super::key::KeyType;
use super::super::super::snapshot::Grant;
use crate::error::Result;
use serde::Deserialize;

/// All that depends on a table by its address rather than by its name, and what the other table needs a name of its own for.
#[derive(Clone, Debug, Deserialize)]
pub struct Dependents {
    /// What cannot be carried: what is found, why, what to do.
    pub refusals: Vec<(String, String, String)>,
    /// Whether it is partitioned.
    pub partitioned: bool,
    /// The access method that the partitioned table shall name, where it is not the usual one and the server lets it (17 and later).
    #[serde(default)]
    pub access_method: Option<String>,
    /// The column named as key; absent when there is none of that name.
    pub key: Option<KeyColumn>,
    /// Whether a CHECK of an interrupted call is left.
    pub bound_left: bool,
    /// Names in use that end as those made here do.
    pub taken: Vec<String>,
    /// The indexes, the primary key first.
    pub indexes: Vec<Index>,
    /// Foreign keys of the table.
    pub foreign_keys: Vec<ForeignKey>,
    /// Its partitions: schema and name.
    pub partitions: Vec<(String, String)>,
    /// Foreign keys of other tables to it.
    pub referencing: Vec<ForeignKey>,
    /// Its triggers.
    pub triggers: Vec<Trigger>,
    /// Views that read it.
    pub views: Vec<View>,
    /// Functions whose body is bound to it.
    pub functions: Vec<Function>,
    /// Policies of other tables that read it.
    pub policies: Vec<ForeignPolicy>,
    /// What its own policies are described as.
    pub policy_comments: Vec<(String, String)>,
    /// The sequences that belong to its columns.
    pub sequences: Vec<Sequence>,
    /// Its extended statistics.
    pub statistics: Vec<Statistics>,
}

impl Dependents {
    /// Reads the snapshot from JSON. Raises `XX001` for a document of another shape. Linear in its length.
    pub fn read(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| error::unreadable_catalog(&e.to_string()))
    }
}

/// The column that a table is to be partitioned by.
#[derive(Clone, Debug, Deserialize)]
pub struct KeyColumn {
    /// Its name.
    pub column: String,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether it is computed from others.
    pub generated: bool,
    /// Its type as shown.
    pub shown: String,
    /// Its type, if periods can be ranges of it.
    #[serde(rename = "type")]
    pub key_type: Option<KeyType>,
}

/// An index.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Whether it is unique.
    pub unique: bool,
    /// Whether it is unique without the partition key, which a partitioned table cannot have.
    pub lacks_key: bool,
    /// The definition that the partitioned table gets, from `USING` on; absent when the server's text has another form.
    pub definition: Option<String>,
    /// `PRIMARY KEY` or `UNIQUE`, when it serves a constraint.
    pub constraint: Option<String>,
    /// The whole constraint that the partitioned table gets.
    pub constraint_definition: Option<String>,
    /// ` DEFERRABLE` and the like, or nothing.
    pub deferrable: String,
    /// The index that equals it but for the partition key at the end.
    pub longer: Option<String>,
    /// How the statement that makes such an index begins, and what it adds to the columns; absent when it is there or not needed.
    pub wanted: Option<(String, String)>,
    /// Its tablespace, unless it is the database's.
    pub tablespace: Option<String>,
    /// Whether it is the replica identity.
    pub replica_identity: bool,
    /// What it is described as.
    pub comment: Option<String>,
    /// What its constraint is described as.
    pub constraint_comment: Option<String>,
}

impl Index {
    /// The statement that makes the index which equals this one with the partition key behind its columns: whatever else its definition says is
    /// taken over word for word. O(n).
    #[must_use]
    pub fn wanted(&self) -> Option<String> {
        let (head, column) = self.wanted.as_ref()?;
        let definition = self.definition.as_deref()?;
        let definition = definition.strip_prefix("USING btree ").unwrap_or(definition);
        let (mut depth, mut quote) = (0_u32, None);
        for (at, c) in definition.char_indices() {
            match (quote, c) {
                // A doubled quote closes and opens again.
                (Some(open), _) if open == c => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(c),
                (None, '(') => depth += 1,
                (None, ')') if depth == 1 => {
                    let (before, behind) = definition.split_at(at);
                    return Some(format!("{head}{before}{column}{behind}"));
                }
                (None, ')') => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        None
    }
}

/// A foreign key.
#[derive(Clone, Debug, Deserialize)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// Its whole definition.
    pub definition: String,
    /// What it is described as.
    pub comment: Option<String>,
    /// The schema of the table at its other end.
    pub schema: String,
    /// The table at its other end.
    pub table: String,
    /// Whether it holds for all rows.
    #[serde(default = "yes")]
    pub validated: bool,
    /// Whether the server holds it; one that it does not (`NOT ENFORCED`, from 18 on) is carried as it is and never proved.
    #[serde(default = "yes")]
    pub enforced: bool,
    /// Whether the caller's rights allow to lock the other table by name.
    #[serde(default = "yes")]
    pub lockable: bool,
    /// Whether the server adds it only with a proof of all rows: the table that has it is partitioned (before 18).
    #[serde(default)]
    pub at_once: bool,
    /// Whether it can be given to the partitions for a while.
    #[serde(default)]
    pub loose: bool,
}

impl ForeignKey {
    /// Whether it is still to be proved.
    #[must_use]
    pub const fn unproved(&self) -> bool {
        self.enforced && !self.validated
    }

    /// How it is added without a row read under a lock.
    #[must_use]
    pub fn definition_unproved(&self) -> String {
        let proof = if self.enforced { " NOT VALID" } else { "" };
        format!("{}{proof}", self.definition.trim_end_matches(" NOT VALID"))
    }
}

const fn yes() -> bool {
    true
}

/// A trigger.
#[derive(Clone, Debug, Deserialize)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// Its whole definition.
    pub definition: String,
    /// What it is described as.
    pub comment: Option<String>,
    /// `DISABLE`, `ENABLE REPLICA` or `ENABLE ALWAYS`, unless it just fires.
    pub enabled: Option<String>,
}

/// A view.
#[derive(Clone, Debug, Deserialize)]
pub struct View {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Who owns it.
    pub owner: String,
    /// Its query, every name qualified.
    pub definition: String,
    /// `security_barrier=true` and the like.
    pub options: Vec<String>,
}

/// A function.
#[derive(Clone, Debug, Deserialize)]
pub struct Function {
    /// Its name with the types of its arguments, quoted and qualified.
    pub name: String,
    /// The statement that replaces it.
    pub definition: String,
}

/// A policy of another table.
#[derive(Clone, Debug, Deserialize)]
pub struct ForeignPolicy {
    /// The schema of its table.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The USING expression.
    pub using: Option<String>,
    /// The WITH CHECK expression.
    pub check: Option<String>,
}

/// A sequence that belongs to a column.
#[derive(Clone, Debug, Deserialize)]
pub struct Sequence {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The column.
    pub column: String,
    /// `ALWAYS` or `BY DEFAULT` for an identity; absent for a serial.
    pub identity: Option<String>,
    /// `START WITH …` and so on.
    pub options: String,
    /// What it is described as.
    pub comment: Option<String>,
    /// What others may do with it.
    pub grants: Vec<Grant>,
}

/// Statistics over several columns or expressions.
#[derive(Clone, Debug, Deserialize)]
pub struct Statistics {
    /// Their schema.
    pub schema: String,
    /// Their name.
    pub name: String,
    /// The kinds, in the server's words; none for those of one expression.
    pub kinds: Vec<String>,
    /// The columns and expressions, as the server shows them.
    pub columns: String,
    /// The statistics target, where one is set.
    pub target: Option<i32>,
    /// What they are described as.
    pub comment: Option<String>,
}
