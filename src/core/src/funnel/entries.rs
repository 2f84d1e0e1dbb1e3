//! A sorted set of entry times that is cheap to copy, cut and unite: what the attempts at a level began with.
//!
//! A persistent treap: nodes are never changed, so sets share what they have in common. The priority of a node is a hash
//! of its key, so equal sets have equal shapes and uniting two that share most costs little more than what differs.
//! Sources: R. Seidel, C. Aragon, "Randomized search trees"; G. Blelloch, M. Reid-Miller, "Fast set operations using
//! treaps".

use std::rc::Rc;

use crate::time::Micros;

type Link = Option<Rc<Node>>;

#[derive(Debug)]
struct Node {
    key: Micros,
    left: Link,
    right: Link,
}

/// Such a set. A copy costs O(1).
#[derive(Clone, Debug, Default)]
pub struct Entries(Link);

impl Entries {
    /// One entry.
    #[must_use]
    pub fn one(entry: Micros) -> Self {
        Self(Some(Rc::new(Node { key: entry, left: None, right: None })))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The earliest entry. O(log n).
    #[must_use]
    pub fn first(&self) -> Option<Micros> {
        let mut found = None;
        let mut link = &self.0;
        while let Some(node) = link {
            found = Some(node.key);
            link = &node.left;
        }
        found
    }

    /// The latest entry that is not later than `limit`. O(log n).
    #[must_use]
    pub fn latest(&self, limit: Micros) -> Option<Micros> {
        let mut found = None;
        let mut link = &self.0;
        while let Some(node) = link {
            if node.key <= limit {
                found = Some(node.key);
                link = &node.right;
            } else {
                link = &node.left;
            }
        }
        found
    }

    /// The entries from `limit` on. O(log n).
    #[must_use]
    pub fn since(&self, limit: Micros) -> Self {
        if self.first().is_none_or(|first| first >= limit) { self.clone() } else { Self(above(&self.0, limit)) }
    }

    /// The entries of either set. O(m · log(n / m + 1)) for the m nodes that the two do not share.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self(union(&self.0, &other.0))
    }
}

/// Scatters the keys. Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators".
#[expect(clippy::cast_sign_loss, reason = "a hash takes the bits as they are")]
const fn priority(key: Micros) -> u64 {
    let mut hash = (key as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ hash >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ hash >> 31
}

fn node(key: Micros, left: Link, right: Link) -> Link {
    Some(Rc::new(Node { key, left, right }))
}

fn same(one: &Link, other: &Link) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Rc::ptr_eq(one, other),
        _ => false,
    }
}

/// The keys from `limit` on.
fn above(link: &Link, limit: Micros) -> Link {
    let node_ref = link.as_ref()?;
    if node_ref.key < limit {
        return above(&node_ref.right, limit);
    }
    let left = above(&node_ref.left, limit);
    if same(&left, &node_ref.left) { link.clone() } else { node(node_ref.key, left, node_ref.right.clone()) }
}

/// The keys below `limit`.
fn below(link: &Link, limit: Micros) -> Link {
    let node_ref = link.as_ref()?;
    if node_ref.key >= limit {
        return below(&node_ref.left, limit);
    }
    let right = below(&node_ref.right, limit);
    if same(&right, &node_ref.right) { link.clone() } else { node(node_ref.key, node_ref.left.clone(), right) }
}

fn union(one: &Link, other: &Link) -> Link {
    if same(one, other) {
        return one.clone();
    }
    let (Some(a), Some(b)) = (one, other) else { return one.clone().or_else(|| other.clone()) };
    // Of two nodes the one with the higher priority is the root; equal keys are one node.
    if (priority(a.key), a.key) < (priority(b.key), b.key) {
        return union(other, one);
    }
    let (left, right) = if a.key == b.key {
        (union(&a.left, &b.left), union(&a.right, &b.right))
    } else {
        (union(&a.left, &below(other, a.key)), union(&a.right, &above(other, a.key)))
    };
    if same(&left, &a.left) && same(&right, &a.right) { one.clone() } else { node(a.key, left, right) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn of(set: &BTreeSet<i64>) -> Entries {
        set.iter().fold(Entries::default(), |entries, key| entries.with(&Entries::one(*key)))
    }

    proptest! {
        #[test]
        fn is_a_sorted_set(one in prop::collection::btree_set(0i64..40, 0..30), two in prop::collection::btree_set(0i64..40, 0..30), limit in -1i64..42) {
            let both: BTreeSet<i64> = one.union(&two).copied().collect();
            let entries = of(&one).with(&of(&two));
            prop_assert_eq!(entries.first(), both.first().copied());
            prop_assert_eq!(entries.latest(limit), both.range(..=limit).next_back().copied());
            let since = entries.since(limit);
            for at in -1..42 {
                prop_assert_eq!(since.latest(at), both.range(limit..).take_while(|key| **key <= at).last().copied());
            }
            prop_assert_eq!(entries.is_empty(), both.is_empty());
        }
    }

    #[test]
    fn uniting_what_is_shared_makes_nothing_new() {
        let large = of(&(0..10_000).collect());
        let part = large.since(5_000);
        assert!(same(&large.with(&part).0, &large.0));
        assert!(same(&large.with(&large.clone()).0, &large.0));
    }
}
