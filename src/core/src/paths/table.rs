//! The rows of paths and of transitions, from their summary.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::summary::Summary;

/// What stands for events of which the summary has no count of their own.
pub const OTHER: &str = "(other)";

/// One path and how many took it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its events in order of time.
    pub path: Vec<String>,
    /// Users, or sessions, whose path it is.
    pub users: i64,
    /// Their share of all paths.
    pub share: f64,
}

/// One step from an event to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The place of the source in the path, from 1; in backward paths the place of the target from the end, -1 being the
    /// last event.
    pub step: i32,
    /// The event before; `None` where a backward path begins.
    pub source: Option<String>,
    /// The event after; `None` where a path ends.
    pub target: Option<String>,
    /// Paths that take it.
    pub count: i64,
}

impl Summary {
    fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", String::as_str)
    }

    /// For each node and, first, for the beginning of all: what of its paths ends there.
    fn ended(&self) -> Vec<i64> {
        let mut ended = vec![0];
        for node in &self.nodes {
            ended.push(node.passed.saturating_sub(node.other));
            if let Some(before) = ended.get_mut(node.before as usize) {
                *before = before.saturating_sub(node.passed);
            }
        }
        ended
    }

    /// The events up to a node, from the first; the node's number is counted from 1.
    fn path_to(&self, mut number: u32) -> Vec<u32> {
        let mut names = Vec::new();
        // Each node follows one of a lower number, so this ends.
        while let Some(node) = number.checked_sub(1).and_then(|at| self.nodes.get(at as usize)) {
            names.push(node.name);
            number = node.before.min(number - 1);
        }
        names.reverse();
        names
    }
}

/// The paths that most took, so many of them or all; of equally many those first that come first in the alphabet. A path
/// whose later events have no count of their own ends in [`OTHER`]. O(nodes · log nodes).
#[must_use]
pub fn paths(summary: &Summary, top: Option<usize>) -> Vec<Row> {
    let mut found: Vec<(Reverse<i64>, Vec<&str>)> = Vec::new();
    let mut ranked: Vec<(i64, u32, bool)> = vec![(summary.other, 0, true)];
    for ((ended, node), number) in summary.ended().iter().skip(1).zip(&summary.nodes).zip(1..) {
        ranked.push((*ended, number, false));
        ranked.push((node.other, number, true));
    }
    ranked.retain(|(users, ..)| *users > 0);
    ranked.sort_unstable_by_key(|(users, ..)| Reverse(*users));
    let top = top.unwrap_or(usize::MAX);
    // All that are as many as the last one wanted: the alphabet decides between them.
    let least = top.checked_sub(1).and_then(|last| ranked.get(last)).map_or(0, |(users, ..)| *users);
    for (users, number, other) in ranked.into_iter().take_while(|(users, ..)| *users >= least) {
        let mut path: Vec<&str> = summary.path_to(number).into_iter().map(|name| summary.name(name)).collect();
        if other {
            path.push(OTHER);
        }
        if summary.settings.is_backward() {
            path.reverse();
        }
        found.push((Reverse(users), path));
    }
    found.sort_unstable();
    let row = |(Reverse(users), path): (Reverse<i64>, Vec<&str>)| Row {
        path: path.into_iter().map(str::to_owned).collect(),
        users,
        share: share(users, summary.paths),
    };
    found.into_iter().take(top).map(row).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shares need no more than 53 bits")]
fn share(part: i64, whole: i64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// The steps from event to event, in order of place, number and names. All that arrive at an event leave it again, to
/// another event or to no event, but for [`OTHER`] and for the last event of a path that has as many as the depth allows:
/// what follows there is not known. O(nodes · log nodes).
#[must_use]
pub fn transitions(summary: &Summary) -> Vec<Transition> {
    let mut sums: BTreeMap<(usize, &str, Option<&str>), i64> = BTreeMap::new();
    let mut levels = vec![0];
    let mut add = |place: usize, from, to, users: i64| {
        if users > 0 {
            let sum = sums.entry((place, from, to)).or_insert(0);
            *sum = sum.saturating_add(users);
        }
    };
    let depth = summary.settings.depth;
    if depth > 1 {
        add(1, OTHER, None, summary.other);
    }
    for (node, ended) in summary.nodes.iter().zip(summary.ended().iter().skip(1)) {
        let level = levels.get(node.before as usize).map_or(1, |level: &usize| level + 1);
        levels.push(level);
        let name = summary.name(node.name);
        if let Some(before) = node.before.checked_sub(1).and_then(|at| summary.nodes.get(at as usize)) {
            add(level - 1, summary.name(before.name), Some(name), node.passed);
        }
        add(level, name, Some(OTHER), node.other);
        if level < depth {
            add(level, name, None, *ended);
        }
    }
    let backward = summary.settings.is_backward();
    let mut rows: Vec<Transition> = sums
        .into_iter()
        .map(|((place, from, to), count)| {
            let (from, to) = (Some(from.to_owned()), to.map(str::to_owned));
            let place = i32::try_from(place).unwrap_or(i32::MAX);
            if backward {
                Transition { step: -place, source: to, target: from, count }
            } else {
                Transition { step: place, source: from, target: to, count }
            }
        })
        .collect();
    rows.sort_by(|a, b| {
        let key = |row: &Transition| (row.step.abs(), Reverse(row.count));
        key(a).cmp(&key(b)).then_with(|| (&a.source, &a.target).cmp(&(&b.source, &b.target)))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::definition::Definition;
    use crate::paths::summary::{add_path, empty};
    use crate::stored::Stored;
    use proptest::prelude::*;

    fn summary(definition: &str, paths: &[Vec<&str>]) -> Summary {
        let mut bytes = empty(&Definition::of_json(definition.as_bytes()).unwrap().settings);
        for path in paths {
            if let Some(larger) = add_path(&mut bytes, path.iter().copied()).unwrap() {
                bytes = larger;
            }
        }
        Summary::decode(&bytes).unwrap()
    }

    fn shown(rows: &[Transition]) -> Vec<String> {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".into());
        rows.iter()
            .map(|row| format!("{} {}>{} {}", row.step, name(&row.source), name(&row.target), row.count))
            .collect()
    }

    #[test]
    fn top_paths_and_transitions() {
        let taken = [vec!["a", "b", "c"], vec!["a", "b", "c"], vec!["a"], vec!["b", "a"], vec!["a", "c"]];
        let forward = summary(r#"{"depth": 3}"#, &taken);
        let top = paths(&forward, Some(3));
        assert_eq!(
            top.iter().map(|row| (row.path.join(">"), row.users, row.share)).collect::<Vec<_>>(),
            [("a>b>c".to_owned(), 2, 0.4), ("a".to_owned(), 1, 0.2), ("a>c".to_owned(), 1, 0.2),]
        );
        assert_eq!(paths(&forward, None).len(), 4);
        assert_eq!(paths(&forward, Some(0)).len(), 0);
        assert_eq!(
            shown(&transitions(&forward)),
            ["1 a>b 2", "1 a>- 1", "1 a>c 1", "1 b>a 1", "2 b>c 2", "2 a>- 1", "2 c>- 1"]
        );
        let backward = summary(r#"{"depth": 3, "end_event": "c"}"#, &[vec!["c", "b", "a"], vec!["c", "b"]]);
        assert_eq!(paths(&backward, Some(1))[0].path, ["a", "b", "c"]);
        assert_eq!(shown(&transitions(&backward)), ["-1 b>c 2", "-2 ->b 1", "-2 a>b 1"]);
    }

    #[test]
    fn what_has_no_count_of_its_own_is_other() {
        let mut found = summary(r#"{"depth": 3}"#, &[vec!["a", "b"], vec!["a", "b"]]);
        found.other = 3;
        found.paths = 5;
        found.nodes[0].other = 2;
        found.nodes.truncate(1);
        assert_eq!(
            paths(&found, None).iter().map(|row| (row.path.join(">"), row.users)).collect::<Vec<_>>(),
            [("(other)".to_owned(), 3), ("a>(other)".to_owned(), 2),]
        );
        assert_eq!(shown(&transitions(&found)), ["1 (other)>- 3", "1 a>(other) 2"]);
    }

    proptest! {
        #[test]
        fn rows_equal_counts_over_the_paths(
            taken in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4), 0..60)
        ) {
            let found = summary(r#"{"depth": 3}"#, &taken);
            let mut expected: BTreeMap<Vec<&str>, i64> = BTreeMap::new();
            let mut steps: BTreeMap<(i32, Option<&str>, Option<&str>), i64> = BTreeMap::new();
            for path in &taken {
                *expected.entry(path.clone()).or_default() += 1;
                for (at, name) in path.iter().enumerate().take(2) {
                    *steps.entry((at as i32 + 1, Some(*name), path.get(at + 1).copied())).or_default() += 1;
                }
            }
            let mut expected: Vec<_> = expected.into_iter().map(|(path, users)| (Reverse(users), path)).collect();
            expected.sort();
            let rows = paths(&found, None);
            prop_assert_eq!(rows.iter().map(|row| (Reverse(row.users), row.path.iter().map(String::as_str).collect())).collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(paths(&found, Some(2)), rows[..rows.len().min(2)].to_vec());
            let found: BTreeMap<_, _> = transitions(&found).into_iter().map(|row| ((row.step, row.source, row.target), row.count)).collect();
            let steps: BTreeMap<_, _> = steps.into_iter().map(|((step, from, to), count)| ((step, from.map(str::to_owned), to.map(str::to_owned)), count)).collect();
            prop_assert_eq!(found, steps);
        }
    }
}
