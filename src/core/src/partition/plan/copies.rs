//! Copies that have not taken their place yet: their comment tells them from tables of others, which rows they hold, and how they are stored.

use super::super::bound::Bound;
use super::super::name::{identifier, literal};
use super::super::snapshot::Parent;
use super::super::step::Step;

/// How the comment of each copy of a table (quoted and qualified) begins.
#[must_use]
pub fn mark(source: &str) -> String {
    format!("filled by eventkit from {source}:")
}

/// The comment of the table that keeps the changes of a table (quoted and qualified).
#[must_use]
pub fn log_mark(source: &str) -> String {
    format!("changes captured by eventkit from {source}")
}

/// The rows that a copy holds and the structure of the parent that it was made like, out of its comment; `None` for any other comment.
/// The table that it was copied from may have another name now. O(n).
#[must_use]
pub fn told_by(comment: &str) -> Option<(Bound, String)> {
    let mut words = comment.strip_prefix("filled by eventkit from ")?.rsplit_once(": ")?.1.split(' ');
    let bound = Bound { from: words.next()?.parse().ok()?, to: words.next()?.parse().ok()? };
    Some((bound, words.next().unwrap_or_default().to_owned()))
}

/// Marks a copy of rows of a range, made like a parent of such a structure, or of all (`None`).
pub(super) fn marked(copy: &str, source: &str, rows: Option<(Bound, &str)>) -> Step {
    let rows =
        rows.map_or_else(|| "all".to_owned(), |(Bound { from, to }, structure)| format!("{from} {to} {structure}"));
    let comment = format!("{} {rows}", mark(source));
    Step::unseen(
        format!("COMMENT ON TABLE {copy} IS {}", literal(&comment)),
        copy,
        "tells a later call that this is its copy, and of which rows",
    )
}

/// Gives a copy the comment of the table that it becomes a part of.
pub(super) fn described(parent: &Parent, copy: &str) -> Step {
    let comment = parent.comment.as_deref().map_or_else(|| "NULL".to_owned(), literal);
    Step::unseen(format!("COMMENT ON TABLE {copy} IS {comment}"), copy, "a copy no more; described as the parent")
}

/// How the rows of a table are stored, which a partitioned one cannot say.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    /// The access method.
    pub access_method: Option<String>,
    /// `fillfactor=70`, `toast.autovacuum_enabled=false` and the like.
    pub options: Vec<String>,
}

/// Why a copy is stored as what it is made from.
pub(super) const AS_BEFORE: &str = "stored and vacuumed as the rows are where they come from";

impl Storage {
    /// The access method to name, where it is not the usual one or the parent names another.
    pub(super) fn method(&self, parent: &Parent) -> Option<String> {
        let method = self.access_method.clone();
        if parent.access_method.is_some() { method } else { method.filter(|method| method != "heap") }
    }

    /// Gives a table these options.
    pub(super) fn set(&self, table: &str, reason: &str) -> Option<Step> {
        let one = |(option, value): (&str, &str)| match option.strip_prefix("toast.") {
            Some(option) => format!("toast.{} = {}", identifier(option), literal(value)),
            None => format!("{} = {}", identifier(option), literal(value)),
        };
        let options: Vec<String> = self.options.iter().filter_map(|option| option.split_once('=')).map(one).collect();
        let statement = format!("ALTER TABLE {table} SET ({})", options.join(", "));
        (!options.is_empty()).then(|| Step::unseen(statement, table, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_its_rows_and_is_nobody_elses() {
        for bound in [Bound { from: i64::MIN, to: -5 }, Bound { from: 7, to: i64::MAX }] {
            let source = "\"a: b\".\"c'd\"";
            let step = marked("t", source, Some((bound, "5d41")));
            let comment = format!("{} {} {} 5d41", mark(source), bound.from, bound.to);
            assert!(step.statement.unwrap().ends_with(&literal(&comment)));
            assert_eq!(told_by(&comment), Some((bound, "5d41".to_owned())));
        }
        assert_eq!(told_by("filled by eventkit from t: all"), None);
        assert_eq!(told_by("mine"), None);
    }
}
