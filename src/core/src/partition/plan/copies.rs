//! Copies that have not taken their place yet: their comment tells them from tables of others, and which rows they hold.

use super::super::bound::Bound;
use super::super::name::literal;
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

/// The rows that a copy holds, out of its comment; `None` for any other comment. O(n).
#[must_use]
pub fn bound_of(comment: &str, source: &str) -> Option<Bound> {
    let (from, to) = comment.strip_prefix(&mark(source))?.trim_start().split_once(' ')?;
    Some(Bound { from: from.parse().ok()?, to: to.parse().ok()? })
}

/// Marks a copy of rows of a range, or of all (`None`).
pub(super) fn marked(copy: &str, source: &str, rows: Option<Bound>) -> Step {
    let rows = rows.map_or_else(|| "all".to_owned(), |Bound { from, to }| format!("{from} {to}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_its_rows_and_is_nobody_elses() {
        for bound in [Bound { from: i64::MIN, to: -5 }, Bound { from: 7, to: i64::MAX }] {
            let source = "\"a: b\".\"c'd\"";
            let step = marked("t", source, Some(bound));
            let comment = format!("{} {} {}", mark(source), bound.from, bound.to);
            assert!(step.statement.unwrap().ends_with(&literal(&comment)));
            assert_eq!(bound_of(&comment, source), Some(bound));
            assert_eq!(bound_of(&comment, "\"a\""), None);
        }
        assert_eq!(bound_of("filled by eventkit from t: all", "t"), None);
        assert_eq!(bound_of("mine", "t"), None);
    }
}
