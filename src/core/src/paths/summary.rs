//! The summary of the paths of many users: a tree of events with counts, mergeable, in a versioned byte layout that is
//! updated in place and a stable JSON text form.
//!
//! Layout, all numbers little-endian: version `u32` = 1; names `u32`, room for names `u32`, bytes of them `u32`, room for
//! bytes `u32`, nodes `u32`, room for nodes `u32`, bytes of the index to names `u32`, of the index to nodes `u32`, bytes of
//! the settings `u32`; users seen `i64`, paths `i64`, paths of which no event is kept `i64`, fingerprint of the settings
//! `u64`; the settings as JSON; the names, each where its bytes begin `u32` and how many they are `u32`; the bytes; the
//! nodes, each the node before it `u32` (0 = none, else 1 + its number, which is lower), the name's number `u32`, the paths
//! that go through it `i64` and those of them of which nothing more is kept `i64`; then the two indexes (see
//! [`crate::bytes`]), which a stored summary has none of.
//!
//! Bound: [`MOST_NODES`] nodes and [`MOST_NAMES`] names, 8 MB with all. When one of the two is reached, the rarest nodes
//! go until half of the room is free, and what went through them is counted as "other" where it left the tree: the
//! counts of what is left are those since a node was last made, never too large. Source of the idea: G. S. Manku,
//! R. Motwani, "Approximate Frequency Counts over Data Streams" (lossy counting).

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::definition::Settings;
use super::scan::LONGEST_NAME;
use crate::bytes::{self, Found, Reader};
use crate::error::{Error, Result};
pub use crate::stored::fingerprint;
use crate::stored::{Kind, Stored, check_fingerprint, json};

const KIND: Kind = Kind { name: "paths_summary", value: "summary", values: "Summaries", made_by: "paths_agg" };
const VERSION: u32 = 1;
const HEAD: usize = 72;
const NAME: usize = 8;
const NODE: usize = 24;
const FIRST_ROOM: usize = 16;
/// Bytes that a name has at most.
const NAME_BYTES: usize = LONGEST_NAME * 4;
/// Nodes of a summary: different beginnings of paths.
pub const MOST_NODES: usize = 100_000;
/// Different names in a summary.
pub const MOST_NAMES: usize = 10_000;

/// A summary read into memory, and its JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The version of the layout.
    pub version: u32,
    /// What was asked.
    pub settings: Settings,
    /// Users seen, whether they have a path or not.
    pub users: i64,
    /// Paths: one for each user, or for each session.
    pub paths: i64,
    /// Paths of which no event is kept.
    pub other: i64,
    /// The names, each once.
    pub names: Vec<String>,
    /// The tree, each node behind the one before it.
    pub nodes: Vec<Node>,
}

/// An event of a path, after the events before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, i64, i64)", into = "(u32, u32, i64, i64)")]
pub struct Node {
    /// 0 for the first event of a path, else 1 + the number of the node before.
    pub before: u32,
    /// The number of its name.
    pub name: u32,
    /// Paths that go through it or end here.
    pub passed: i64,
    /// Those of them of which nothing more is kept.
    pub other: i64,
}

impl From<(u32, u32, i64, i64)> for Node {
    fn from((before, name, passed, other): (u32, u32, i64, i64)) -> Self {
        Self { before, name, passed, other }
    }
}

impl From<Node> for (u32, u32, i64, i64) {
    fn from(node: Node) -> Self {
        (node.before, node.name, node.passed, node.other)
    }
}

#[cold]
fn short() -> Error {
    KIND.short()
}

/// The places of a value's parts, after its head was checked.
struct Parts {
    names: usize,
    name_room: usize,
    text: usize,
    text_room: usize,
    nodes: usize,
    node_room: usize,
    names_at: usize,
    text_at: usize,
    nodes_at: usize,
    name_index_at: usize,
    node_index_at: usize,
    has_index: bool,
}

#[inline]
fn parts(bytes: &[u8]) -> Result<Parts> {
    KIND.check_version(bytes, VERSION)?;
    let count = |place| KIND.count(bytes, place);
    let (names, name_room, text, text_room, nodes, node_room) =
        (count(4)?, count(8)?, count(12)?, count(16)?, count(20)?, count(24)?);
    let (name_index, node_index, settings) = (count(28)?, count(32)?, count(36)?);
    let names_at = HEAD + settings;
    let text_at = names_at + name_room * NAME;
    let nodes_at = text_at + text_room;
    let name_index_at = nodes_at + node_room * NODE;
    let node_index_at = name_index_at + name_index;
    if names > name_room || text > text_room || nodes > node_room || node_index_at + node_index != bytes.len() {
        return Err(KIND.corrupt("The numbers of names and nodes do not fit the value."));
    }
    let has_index = name_index > 0 && node_index > 0;
    Ok(Parts {
        names,
        name_room,
        text,
        text_room,
        nodes,
        node_room,
        names_at,
        text_at,
        nodes_at,
        name_index_at,
        node_index_at,
        has_index,
    })
}

/// The bytes of a summary of no users. O(settings).
#[must_use]
pub fn empty(settings: &Settings) -> Vec<u8> {
    Summary::new(settings.clone()).with_room(FIRST_ROOM)
}

/// Refuses a summary that was begun with other settings. O(1). Errors: `22023`.
pub fn check_settings(bytes: &[u8], fingerprint: u64) -> Result<()> {
    let message = "the arguments of paths_agg must be the same for all users of a group";
    let detail = "The depth or another option changed from one row to the next.";
    check_fingerprint(bytes, 64, fingerprint, message, detail)
}

/// Counts a user, in place. O(1). Errors: `XX001`.
pub fn add_user(bytes: &mut [u8]) -> Result<()> {
    bytes::add(bytes, 40, 1).ok_or_else(short)
}

/// Adds a path, in place: its names from the first, no more than the depth. Gives the bytes of a larger summary, or of
/// one without its rarest nodes, when this one was full. O(depth), amortised. Errors: `XX001`.
pub fn add_path<'p>(bytes: &mut [u8], path: impl Iterator<Item = &'p str> + Clone) -> Result<Option<Vec<u8>>> {
    let parts = parts(bytes)?;
    let (mut length, mut text) = (0, 0);
    for name in path.clone() {
        length += 1;
        text += name.len();
    }
    let fits = |have: usize, more: usize, room: usize| have + more <= room;
    let full = !fits(parts.names, length, parts.name_room)
        || !fits(parts.text, text, parts.text_room)
        || !fits(parts.nodes, length, parts.node_room);
    if full || !parts.has_index {
        let mut summary = Summary::decode(bytes)?;
        summary.shrink(length);
        let mut larger = summary.with_room(length.max(FIRST_ROOM));
        add_path(&mut larger, path)?;
        return Ok(Some(larger));
    }
    bytes::add(bytes, 48, 1).ok_or_else(short)?;
    let mut before = 0;
    let mut counts = (parts.names, parts.text, parts.nodes);
    for name in path {
        let name = enter_name(bytes, &parts, &mut counts, name).ok_or_else(short)?;
        before = enter_node(bytes, &parts, &mut counts, before, name).ok_or_else(short)?;
    }
    for (place, count) in [(4, counts.0), (12, counts.1), (20, counts.2)] {
        bytes::put(bytes, place, &bytes::count(count)).ok_or_else(short)?;
    }
    Ok(None)
}

/// The number of a name, which is added when it is new.
fn enter_name(bytes: &mut [u8], parts: &Parts, counts: &mut (usize, usize, usize), name: &str) -> Option<u32> {
    let (body, indexes) = bytes.split_at_mut_checked(parts.name_index_at)?;
    let index = indexes.get_mut(..parts.node_index_at - parts.name_index_at)?;
    let text_of = |number: usize| {
        let record = parts.names_at + number * NAME;
        let (from, length) = (bytes::count_at(body, record)?, bytes::count_at(body, record + 4)?);
        body.get(parts.text_at + from..)?.get(..length)
    };
    match bytes::find(index, bytes::fingerprint(name.as_bytes()), |number| text_of(number) == Some(name.as_bytes()))? {
        Found::Record(number) => u32::try_from(number).ok(),
        Found::Free(slot) => {
            let (number, from) = (counts.0, counts.1);
            let record = parts.names_at + number * NAME;
            bytes::put(body, record, &bytes::count(from))?;
            bytes::put(body, record + 4, &bytes::count(name.len()))?;
            bytes::put(body, parts.text_at + from, name.as_bytes())?;
            bytes::enter(index, slot, number)?;
            counts.0 += 1;
            counts.1 += name.len();
            u32::try_from(number).ok()
        }
    }
}

fn node_key(before: u32, name: u32) -> [u8; 8] {
    (u64::from(before) << 32 | u64::from(name)).to_le_bytes()
}

fn node_hash(key: [u8; 8]) -> u64 {
    let mixed = u64::from_le_bytes(key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed >> 29
}

/// One more path through a node, which is added when it is new. Gives 1 + its number.
fn enter_node(
    bytes: &mut [u8],
    parts: &Parts,
    counts: &mut (usize, usize, usize),
    before: u32,
    name: u32,
) -> Option<u32> {
    let (body, index) = bytes.split_at_mut_checked(parts.node_index_at)?;
    // The name comes first in a key's bytes, the node before it second, as little-endian numbers stand.
    let key = node_key(before, name);
    let has_key = |number: usize| {
        let place = parts.nodes_at + number * NODE;
        bytes::i32_at(body, place).map(i32::cast_unsigned) == Some(before)
            && bytes::i32_at(body, place + 4).map(i32::cast_unsigned) == Some(name)
    };
    match bytes::find(index, node_hash(key), has_key)? {
        Found::Record(number) => {
            bytes::add(body, parts.nodes_at + number * NODE + 8, 1)?;
            u32::try_from(number + 1).ok()
        }
        Found::Free(slot) => {
            let place = parts.nodes_at + counts.2 * NODE;
            bytes::put(body, place, &before.to_le_bytes())?;
            bytes::put(body, place + 4, &name.to_le_bytes())?;
            bytes::put(body, place + 8, &1i64.to_le_bytes())?;
            bytes::put(body, place + 16, &0i64.to_le_bytes())?;
            bytes::enter(index, slot, counts.2)?;
            counts.2 += 1;
            u32::try_from(counts.2).ok()
        }
    }
}

impl Summary {
    fn new(settings: Settings) -> Self {
        Self { version: VERSION, settings, users: 0, paths: 0, other: 0, names: Vec::new(), nodes: Vec::new() }
    }

    /// Whether there is room for so many more names and nodes.
    fn has_room(&self, more: usize) -> bool {
        self.names.len() + more <= MOST_NAMES && self.nodes.len() + more <= MOST_NODES
    }

    /// Drops the rarest nodes until half of the room is free, if there is none for so many more.
    fn shrink(&mut self, more: usize) {
        let mut share = 2;
        while !self.has_room(more) {
            let mut counts: Vec<i64> = self.nodes.iter().map(|node| node.passed).collect();
            counts.sort_unstable_by(|a, b| b.cmp(a));
            let least = counts.get(MOST_NODES.min(counts.len()) / share).copied().unwrap_or(i64::MAX);
            self.keep_above(least);
            share *= 2;
        }
    }

    /// Keeps the nodes that more than so many paths go through, and the names that they have. A node's followers never
    /// have more paths than it, so the rest is a tree again.
    fn keep_above(&mut self, least: i64) {
        let (mut nodes, mut moved, mut names) = (Vec::new(), vec![0u32], Vec::new());
        let mut renamed: HashMap<u32, u32> = HashMap::new();
        let mut dropped = vec![false];
        for node in &self.nodes {
            let at = node.before as usize;
            let before = moved.get(at).copied().unwrap_or(0);
            if node.passed <= least {
                // What left the tree further up was counted there.
                if !dropped.get(at).copied().unwrap_or(true) {
                    let other = match before.checked_sub(1).and_then(|at| nodes.get_mut(at as usize)) {
                        Some(Node { other, .. }) => other,
                        None => &mut self.other,
                    };
                    *other = other.saturating_add(node.passed);
                }
                moved.push(0);
                dropped.push(true);
                continue;
            }
            let name = *renamed.entry(node.name).or_insert_with(|| {
                names.push(self.names.get(node.name as usize).cloned().unwrap_or_default());
                u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
            });
            nodes.push(Node { before, name, ..*node });
            moved.push(u32::try_from(nodes.len()).unwrap_or(u32::MAX));
            dropped.push(false);
        }
        self.nodes = nodes;
        self.names = names;
    }

    /// Names in order, and nodes in order of their paths: equal summaries have equal bytes.
    fn in_order(&self) -> Self {
        let mut names: Vec<&String> = self.names.iter().collect();
        names.sort_unstable();
        let numbers: HashMap<&String, u32> = names.iter().copied().zip(0..).collect();
        let number =
            |node: &Node| self.names.get(node.name as usize).and_then(|name| numbers.get(name)).copied().unwrap_or(0);
        let mut followers: Vec<BTreeMap<u32, u32>> = vec![BTreeMap::new(); self.nodes.len() + 1];
        for (node, at) in self.nodes.iter().zip(1..) {
            if let Some(of) = followers.get_mut(node.before as usize) {
                of.insert(number(node), at);
            }
        }
        let mut nodes = Vec::with_capacity(self.nodes.len());
        // Nodes that are still to be written: the old number, and the new number of the node before.
        let mut waiting: Vec<(u32, u32)> = Vec::new();
        let wait = |waiting: &mut Vec<(u32, u32)>, of: u32, before: u32| {
            let followers = followers.get(of as usize).into_iter().flat_map(|of| of.values().rev());
            waiting.extend(followers.map(|at| (*at, before)));
        };
        wait(&mut waiting, 0, 0);
        while let Some((at, before)) = waiting.pop() {
            let Some(node) = self.nodes.get(at as usize - 1) else { continue };
            nodes.push(Node { before, name: number(node), ..*node });
            wait(&mut waiting, at, u32::try_from(nodes.len()).unwrap_or(u32::MAX));
        }
        let names = names.into_iter().cloned().collect();
        Self { names, nodes, settings: self.settings.clone(), ..*self }
    }

    /// The bytes of this summary, with twice the room and so much more, and indexes; with room 0 without.
    fn with_room(&self, more: usize) -> Vec<u8> {
        let settings = json(&self.settings);
        let text: usize = self.names.iter().map(String::len).sum();
        let room = |have: usize, more: usize, most: usize| {
            if more == 0 { have } else { (have * 2 + more).min(most).max(have) }
        };
        let (name_room, node_room) =
            (room(self.names.len(), more, MOST_NAMES), room(self.nodes.len(), more, MOST_NODES));
        let text_room = room(text, more * NAME_BYTES, MOST_NAMES * NAME_BYTES);
        let index = |room: usize| if more == 0 { 0 } else { bytes::index_size(room) };
        let (name_index, node_index) = (index(name_room), index(node_room));
        let mut out = Vec::with_capacity(
            HEAD + settings.len() + name_room * NAME + text_room + node_room * NODE + name_index + node_index,
        );
        for number in [
            VERSION as usize,
            self.names.len(),
            name_room,
            text,
            text_room,
            self.nodes.len(),
            node_room,
            name_index,
            node_index,
            settings.len(),
        ] {
            out.extend(bytes::count(number));
        }
        for number in [self.users, self.paths, self.other] {
            out.extend(number.to_le_bytes());
        }
        out.extend(bytes::fingerprint(&settings).to_le_bytes());
        out.extend(&settings);
        let mut from = 0;
        for name in &self.names {
            out.extend(bytes::count(from));
            out.extend(bytes::count(name.len()));
            from += name.len();
        }
        out.resize(HEAD + settings.len() + name_room * NAME, 0);
        self.names.iter().for_each(|name| out.extend(name.as_bytes()));
        out.resize(out.len() + text_room - text, 0);
        for node in &self.nodes {
            out.extend(node.before.to_le_bytes());
            out.extend(node.name.to_le_bytes());
            out.extend(node.passed.to_le_bytes());
            out.extend(node.other.to_le_bytes());
        }
        out.resize(out.len() + (node_room - self.nodes.len()) * NODE, 0);
        let mut write_index = |size: usize, hashes: &mut dyn Iterator<Item = u64>| {
            let mut slots = vec![0; size];
            for (number, hash) in hashes.enumerate() {
                // Keys differ, so none is looked up.
                if let Some(Found::Free(slot)) = bytes::find(&slots, hash, |_| false) {
                    bytes::enter(&mut slots, slot, number);
                }
            }
            out.extend(slots);
        };
        write_index(name_index, &mut self.names.iter().map(|name| bytes::fingerprint(name.as_bytes())));
        write_index(node_index, &mut self.nodes.iter().map(|node| node_hash(node_key(node.before, node.name))));
        out
    }

    /// What is wrong with the figures, if anything is. O(size).
    fn check(&self) -> std::result::Result<(), &'static str> {
        if !self.settings.are_sound() {
            return Err("The depth or the session gap is impossible.");
        }
        if self.names.len() > MOST_NAMES || self.nodes.len() > MOST_NODES {
            return Err("There are more names or nodes than a summary may have.");
        }
        if self.users < 0 || !(0..=self.paths).contains(&self.other) {
            return Err("A count is below zero, or more paths are lost than there are.");
        }
        let mut names: Vec<&String> = self.names.iter().collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err("A name stands twice.");
        }
        if names.iter().any(|name| name.contains('\0') || name.chars().count() > LONGEST_NAME) {
            return Err("A name has at most 100 characters, none of them a zero byte.");
        }
        let mut keys: Vec<(u32, u32)> = self.nodes.iter().map(|node| (node.before, node.name)).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err("A node stands twice.");
        }
        // For each node, what of its paths has not gone on yet; first for the beginning of all.
        let mut left = vec![self.paths - self.other];
        let mut levels = vec![0];
        for (at, node) in self.nodes.iter().enumerate() {
            let before = node.before as usize;
            if before > at || node.name as usize >= self.names.len() {
                return Err("A node follows one that is not there, or has no name.");
            }
            let level = levels.get(before).map_or(1, |level| level + 1);
            if level > self.settings.depth {
                return Err("A path is longer than the depth.");
            }
            levels.push(level);
            if node.passed < 1 || !(0..=node.passed).contains(&node.other) {
                return Err("A node has at least one path, and no more that are lost.");
            }
            left.push(node.passed - node.other);
            if let Some(left) = left.get_mut(before) {
                *left -= node.passed;
                if *left < 0 {
                    return Err("More paths follow a node than go through it.");
                }
            }
        }
        if left.first() != Some(&0) { Err("The first events are not those of all paths.") } else { Ok(()) }
    }
}

impl Stored for Summary {
    const KIND: Kind = KIND;

    fn decode(bytes: &[u8]) -> Result<Self> {
        let parts = parts(bytes)?;
        let settings: Settings = KIND.settings(bytes.get(HEAD..parts.names_at))?;
        let mut names = Vec::with_capacity(parts.names.min(MOST_NAMES));
        let mut reader = Reader::new(bytes.get(parts.names_at..).ok_or_else(short)?);
        for _ in 0..parts.names {
            let (from, length) = (reader.count().ok_or_else(short)?, reader.count().ok_or_else(short)?);
            let text =
                bytes.get(parts.text_at..parts.text_at + parts.text).and_then(|text| text.get(from..)?.get(..length));
            let name = text
                .and_then(|text| std::str::from_utf8(text).ok())
                .ok_or_else(|| KIND.corrupt("A name is no text."))?;
            if names.len() == MOST_NAMES {
                return Err(KIND.corrupt("The value has more names than a summary may have."));
            }
            names.push(name.to_owned());
        }
        let mut reader = Reader::new(bytes.get(parts.nodes_at..).ok_or_else(short)?);
        let mut nodes = Vec::with_capacity(parts.nodes.min(MOST_NODES));
        for _ in 0..parts.nodes.min(MOST_NODES + 1) {
            let (before, name) = (reader.i32().ok_or_else(short)?, reader.i32().ok_or_else(short)?);
            let (passed, other) = (reader.i64().ok_or_else(short)?, reader.i64().ok_or_else(short)?);
            nodes.push(Node { before: before.cast_unsigned(), name: name.cast_unsigned(), passed, other });
        }
        let number = |place: usize| bytes::i64_at(bytes, place).ok_or_else(short);
        let (users, paths, other) = (number(40)?, number(48)?, number(56)?);
        let summary = Self { version: VERSION, settings, users, paths, other, names, nodes };
        summary.check().map_err(|what| KIND.corrupt(what))?;
        Ok(summary)
    }

    fn encode(&self) -> Vec<u8> {
        self.in_order().with_room(0)
    }

    fn to_text(&self) -> Result<String> {
        Ok(serde_json::to_string(&self.in_order()).unwrap_or_default())
    }

    fn from_text(text: &str) -> Result<Self> {
        let summary = KIND.read_text(text, VERSION, |summary: &Self| summary.version)?;
        summary.check().map_err(|what| KIND.no_text(what))?;
        Ok(summary)
    }

    fn together(one: &[u8], two: &[u8]) -> Result<Vec<u8>> {
        let (mut one, two) = (Summary::decode(one)?, Summary::decode(two)?);
        if one.settings != two.settings {
            return Err(KIND.differ(
                "summaries of different paths cannot be put together",
                &one.settings,
                &two.settings,
            ));
        }
        one.users = one.users.saturating_add(two.users);
        one.paths = one.paths.saturating_add(two.paths);
        one.other = one.other.saturating_add(two.other);
        let mut numbers: HashMap<String, u32> = HashMap::with_capacity(one.names.len());
        for (name, number) in one.names.iter().zip(0..) {
            numbers.insert(name.clone(), number);
        }
        let mut known: HashMap<(u32, u32), u32> =
            one.nodes.iter().zip(1..).map(|(node, number)| ((node.before, node.name), number)).collect();
        let mut moved = vec![0u32];
        for node in &two.nodes {
            let name = two.names.get(node.name as usize).cloned().unwrap_or_default();
            let name = *numbers.entry(name).or_insert_with_key(|name| {
                one.names.push(name.clone());
                u32::try_from(one.names.len() - 1).unwrap_or(u32::MAX)
            });
            let before = moved.get(node.before as usize).copied().unwrap_or(0);
            let number = *known.entry((before, name)).or_insert_with(|| {
                one.nodes.push(Node { before, name, passed: 0, other: 0 });
                u32::try_from(one.nodes.len()).unwrap_or(u32::MAX)
            });
            if let Some(sum) = one.nodes.get_mut(number as usize - 1) {
                sum.passed = sum.passed.saturating_add(node.passed);
                sum.other = sum.other.saturating_add(node.other);
            }
            moved.push(number);
        }
        one.shrink(0);
        Ok(one.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Condition;
    use proptest::prelude::*;

    fn settings() -> Settings {
        Settings {
            depth: 4,
            start_event: vec![],
            end_event: vec!["e".into()],
            collapse_repeats: true,
            session_gap: Some(5),
        }
    }

    fn paths(most: usize) -> impl Strategy<Value = Vec<Vec<&'static str>>> {
        prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "dd", ""]), 1..5), 0..most)
    }

    fn add(bytes: &mut Vec<u8>, path: &[&str]) {
        add_user(bytes).unwrap();
        if let Some(larger) = add_path(bytes, path.iter().copied()).unwrap() {
            *bytes = larger;
        }
    }

    fn summary(paths: &[Vec<&str>]) -> Vec<u8> {
        let mut bytes = empty(&settings());
        paths.iter().for_each(|path| add(&mut bytes, path));
        bytes
    }

    /// How many paths begin so, from the nodes.
    fn beginnings(summary: &Summary) -> BTreeMap<Vec<String>, i64> {
        let mut all: Vec<Vec<String>> = vec![vec![]];
        for node in &summary.nodes {
            let mut path = all[node.before as usize].clone();
            path.push(summary.names[node.name as usize].clone());
            all.push(path);
        }
        all.into_iter().skip(1).zip(&summary.nodes).map(|(path, node)| (path, node.passed)).collect()
    }

    proptest! {
        #[test]
        fn nodes_count_the_paths_that_begin_so(paths in paths(60)) {
            let mut expected: BTreeMap<Vec<String>, i64> = BTreeMap::new();
            for path in &paths {
                for length in 1..=path.len() {
                    *expected.entry(path[..length].iter().map(|name| (*name).to_owned()).collect()).or_default() += 1;
                }
            }
            let bytes = summary(&paths);
            let found = Summary::decode(&bytes).unwrap();
            prop_assert_eq!(beginnings(&found), expected);
            prop_assert_eq!((found.users, found.paths, found.other), (paths.len() as i64, paths.len() as i64, 0));
            prop_assert_eq!(&Summary::decode(&found.encode()).unwrap(), &found.in_order());
            prop_assert_eq!(&Summary::from_text(&found.to_text().unwrap()).unwrap(), &found.in_order());
        }

        #[test]
        fn parts_put_together_equal_the_whole(a in paths(40), b in paths(40), c in paths(10)) {
            let mut parts = Summary::together(&summary(&a), &Summary::decode(&summary(&b)).unwrap().encode()).unwrap();
            c.iter().for_each(|path| add(&mut parts, path));
            let whole = summary(&[a, b, c].concat());
            prop_assert_eq!(Summary::decode(&parts).unwrap().encode(), Summary::decode(&whole).unwrap().encode());
        }

        #[test]
        fn any_bytes_give_a_summary_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), numbers in prop::array::uniform9(0u32..20)) {
            let mut forged = VERSION.to_le_bytes().to_vec();
            forged.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            forged.extend(bytes);
            let _ = Summary::decode(&forged);
            let _ = add_path(&mut forged, ["a", "b"].into_iter());
            let _ = Summary::from_text(&String::from_utf8_lossy(&forged));
        }

        #[test]
        fn a_damaged_summary_gives_a_summary_or_an_error(paths in paths(12), stored: bool, places in prop::collection::vec((0usize..9000, any::<u8>()), 1..4), head in prop::option::of((0usize..72, any::<u8>()))) {
            let mut bytes = summary(&paths);
            if stored { bytes = Summary::decode(&bytes).unwrap().encode(); }
            let length = bytes.len();
            for (at, value) in places.into_iter().chain(head) {
                bytes[at % length] = value;
            }
            if let Ok(summary) = Summary::decode(&bytes) {
                let text = summary.to_text().unwrap();
                prop_assert_eq!(Summary::from_text(&text).unwrap().to_text().unwrap(), text);
                let _ = Summary::together(&bytes, &bytes);
            }
            let _ = add_path(&mut bytes, ["a", "b"].into_iter());
        }

        #[test]
        fn a_damaged_text_gives_a_summary_or_an_error(paths in paths(12), at in 0usize..400, with in "[0-9a-z\\[\\]{},:\"-]{0,3}", drop in 0usize..4) {
            let mut text = Summary::decode(&summary(&paths)).unwrap().to_text().unwrap();
            let at = at.min(text.len());
            text.replace_range(at..(at + drop).min(text.len()), &with);
            if let Ok(summary) = Summary::from_text(&text) {
                prop_assert_eq!(Summary::decode(&summary.encode()).unwrap(), summary.in_order());
            }
        }

        #[test]
        fn dropping_nodes_loses_no_path(paths in paths(60), least in 0i64..6) {
            let mut found = Summary::decode(&summary(&paths)).unwrap();
            let before = beginnings(&found);
            found.keep_above(least);
            prop_assert_eq!(found.check(), Ok(()));
            let kept: BTreeMap<_, _> = before.into_iter().filter(|(_, passed)| *passed > least).collect();
            prop_assert_eq!(beginnings(&found), kept);
        }
    }

    #[test]
    fn the_text_form_is_stable() {
        let bytes = summary(&[vec!["b", "a"], vec!["b"], vec!["a", "b"]]);
        assert_eq!(
            Summary::decode(&bytes).unwrap().to_text().unwrap(),
            r#"{"version":1,"settings":{"depth":4,"start_event":[],"end_event":["e"],"collapse_repeats":true,"session_gap":5},"users":3,"paths":3,"other":0,"names":["a","b"],"nodes":[[0,0,1,0],[1,1,1,0],[0,1,2,0],[3,0,1,0]]}"#
        );
    }

    #[test]
    fn a_hostile_text_is_refused() {
        let good = Summary::decode(&summary(&[vec!["b", "a"], vec!["b"]])).unwrap().to_text().unwrap();
        assert!(Summary::from_text(&good).is_ok());
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"depth\":4", "\"depth\":65"),
            ("\"depth\":4", "\"depth\":1"),
            ("\"session_gap\":5", "\"session_gap\":-5"),
            ("\"users\":2", "\"users\":-2"),
            ("\"paths\":2", "\"paths\":3"),
            ("\"other\":0", "\"other\":1"),
            ("\"other\":0", "\"other\":9223372036854775807"),
            ("[1,0,1,0]", "[1,0,9223372036854775807,0]"),
            ("[\"a\",\"b\"]", "[\"a\",\"a\"]"),
            ("[\"a\",\"b\"]", "[\"a\"]"),
            ("[\"a\",\"b\"]", "[\"a\\u0000\",\"b\"]"),
            ("[1,0,1,0]", "[2,0,1,0]"),
            ("[1,0,1,0]", "[1,0,3,0]"),
            ("[1,0,1,0]", "[1,0,1,2]"),
            ("[1,0,1,0]", "[1,0,0,0]"),
            ("[1,0,1,0]", "[1,0,1,0],[1,0,1,0]"),
            ("[1,0,1,0]", "[4000000000,0,1,0]"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert_eq!(Summary::from_text(&bad).unwrap_err().condition, Condition::InvalidTextRepresentation, "{bad}");
        }
    }

    #[test]
    fn other_settings_are_refused() {
        let other = Settings { depth: 5, ..settings() };
        assert_eq!(
            Summary::together(&empty(&settings()), &empty(&other)).unwrap_err().condition,
            Condition::InvalidParameterValue
        );
        assert!(check_settings(&empty(&settings()), fingerprint(&settings())).is_ok());
        assert!(check_settings(&empty(&settings()), fingerprint(&other)).is_err());
    }

    #[test]
    fn memory_is_bounded_and_the_usual_paths_stay() {
        let mut bytes = empty(&settings());
        let mut largest = 0;
        for n in 0..60_000 {
            // Half of the users take one path, the others each a path of their own.
            let own = [format!("p{n}"), format!("q{n}"), format!("r{}", n % 7)];
            if n % 2 == 0 {
                add(&mut bytes, &["home", "shop", "pay"])
            } else {
                add(&mut bytes, &own.each_ref().map(String::as_str))
            }
            largest = largest.max(bytes.len());
        }
        let found = Summary::decode(&bytes).unwrap();
        assert_eq!(found.paths, 60_000);
        assert_eq!(beginnings(&found)[&["home", "shop", "pay"].map(str::to_owned).to_vec()], 30_000);
        assert!(found.names.len() <= MOST_NAMES && largest < 8_000_000, "{} {largest}", found.names.len());
        assert!(found.other > 0);
        let both = Summary::decode(&Summary::together(&bytes, &bytes).unwrap()).unwrap();
        assert_eq!((both.paths, both.check()), (120_000, Ok(())));
    }
}
