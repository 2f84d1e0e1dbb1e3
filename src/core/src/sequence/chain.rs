//! Lists of matched times that share their beginnings: each path of a search has one, and only those in use take room.

use super::matching::no_memory;
use crate::error::Result;
use crate::time::Micros;

/// The last time of a list.
pub(super) type Link = u32;

/// The empty list.
pub(super) const NONE: Link = Link::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    time: Micros,
    /// The list without this time; the next free node when nobody uses this one.
    before: Link,
    users: u32,
}

/// All lists.
#[derive(Debug)]
pub(super) struct Chains {
    nodes: Vec<Node>,
    free: Link,
}

impl Chains {
    pub(super) const fn new() -> Self {
        Self { nodes: Vec::new(), free: NONE }
    }

    /// Forgets all lists.
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.free = NONE;
    }

    /// The list and a time; the user of the list becomes that of the result. O(1). Errors: `53200`.
    pub(super) fn extended(&mut self, list: Link, time: Micros) -> Result<Link> {
        let node = Node { time, before: list, users: 1 };
        if let Some(place) = self.nodes.get_mut(self.free as usize) {
            let link = self.free;
            self.free = place.before;
            *place = node;
            return Ok(link);
        }
        let link = Link::try_from(self.nodes.len()).ok().filter(|link| *link < NONE).ok_or_else(no_memory)?;
        if self.nodes.len() == self.nodes.capacity() {
            self.nodes.try_reserve(self.nodes.len().max(64)).map_err(|_| no_memory())?;
        }
        self.nodes.push(node);
        Ok(link)
    }

    /// One user more.
    pub(super) fn shared(&mut self, list: Link) -> Link {
        if let Some(node) = self.nodes.get_mut(list as usize) {
            node.users += 1;
        }
        list
    }

    /// One user less. O(1) for each time that goes.
    pub(super) fn dropped(&mut self, mut list: Link) {
        while let Some(node) = self.nodes.get_mut(list as usize) {
            node.users -= 1;
            if node.users > 0 {
                return;
            }
            let before = node.before;
            node.before = self.free;
            self.free = list;
            list = before;
        }
    }

    /// The times of a list, first to last.
    pub(super) fn times(&self, mut list: Link) -> Vec<Micros> {
        let mut times = Vec::new();
        while let Some(node) = self.nodes.get(list as usize) {
            times.push(node.time);
            list = node.before;
        }
        times.reverse();
        times
    }
}
