//! What ClickHouse's modes have in common: how they see rows of one time, and the chain of levels they keep.
//!
//! ClickHouse turns a row into one entry for each condition that it matches, sorts all entries by time and, within one
//! time, by the number of the condition, and hands them to its automaton one by one; with `strict_order` a row without
//! a match becomes an entry with number 0, hence the first of its time. So of the rows of one time nothing matters but
//! which conditions were met, which of them by more than one row, and whether some row met none: three facts, kept in
//! two words and a bit, whatever the number of rows. A second entry of the same time and condition finds the chains of
//! the level below as the first one did, so it changes nothing, except in `strict_deduplication`, where it is a repeat.
//!
//! The order in which rows arrive plays no part. What each mode makes of a group is in a file of its own, written from
//! the observed behaviour of ClickHouse 26.9 and tested against its answers (`tests.rs`).

use super::Automaton;
use crate::time::Micros;

/// The rows of one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// When.
    pub time: Micros,
    /// The steps that a row matches, one bit each.
    pub once: u64,
    /// Those that more than one row matches.
    pub twice: u64,
    /// Whether a row matches none.
    pub missed: bool,
}

impl Group {
    const NONE: Self = Self { time: 0, once: 0, twice: 0, missed: false };

    /// The steps that a row matches, first to last.
    #[inline]
    pub fn steps(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.once;
        std::iter::from_fn(move || {
            let step = left.trailing_zeros() as usize;
            (left != 0).then(|| {
                left &= left - 1;
                step
            })
        })
    }
}

/// What a mode makes of the rows of one time.
pub(super) trait Rules: std::fmt::Debug {
    /// Forgets all rows.
    fn reset(&mut self);
    /// The rows of the next time. Gives `true` when nothing that follows can change the result.
    fn group(&mut self, group: &Group) -> bool;
    /// The level reached.
    fn level(&self) -> usize;
}

/// An automaton of one row at a time out of the rules for a group.
#[derive(Debug)]
pub(super) struct Grouped<R> {
    rules: R,
    group: Group,
    done: bool,
}

impl<R: Rules> Grouped<R> {
    pub(super) const fn new(rules: R) -> Self {
        Self { rules, group: Group::NONE, done: false }
    }

    #[inline]
    fn close(&mut self) {
        if !self.done && (self.group.once != 0 || self.group.missed) {
            self.done = self.rules.group(&self.group);
        }
    }
}

impl<R: Rules> Automaton for Grouped<R> {
    fn reset(&mut self) {
        self.rules.reset();
        self.group = Group::NONE;
        self.done = false;
    }

    #[inline]
    fn push(&mut self, time: Micros, matched: u64) -> bool {
        if time != self.group.time {
            self.close();
            self.group = Group { time, ..Group::NONE };
        }
        self.group.twice |= self.group.once & matched;
        self.group.once |= matched;
        self.group.missed |= matched == 0;
        self.done
    }

    fn finish(&mut self) -> usize {
        self.close();
        self.group = Group::NONE;
        self.rules.level()
    }
}

/// For each level that a chain has reached, the entry (time of step 1) of the one that reached it last. A level is
/// reached through the one below, so those reached are always the first ones.
#[derive(Debug)]
pub(super) struct Chain {
    window: Micros,
    entries: Vec<Micros>,
    /// How many levels are reached.
    pub level: usize,
}

impl Chain {
    pub(super) fn new(steps: usize, window: Option<Micros>) -> Self {
        Self { window: window.unwrap_or(Micros::MAX), entries: vec![0; steps], level: 0 }
    }

    /// Forgets all chains.
    pub(super) const fn reset(&mut self) {
        self.level = 0;
    }

    /// Starts a chain.
    #[inline]
    pub(super) fn enter(&mut self, time: Micros) {
        self.entries[0] = time;
        self.level = self.level.max(1);
    }

    /// Whether the chain of the level below a step (not the first) exists and its window is open.
    #[inline]
    pub(super) fn leads_to(&self, step: usize, time: Micros) -> bool {
        step <= self.level && time.checked_sub(self.entries[step - 1]).is_some_and(|since| since <= self.window)
    }

    /// Takes the chain of the level below one step further.
    #[inline]
    pub(super) fn extend_to(&mut self, step: usize) {
        self.entries[step] = self.entries[step - 1];
        self.level = self.level.max(step + 1);
    }

    /// Whether all steps are matched.
    #[inline]
    pub(super) const fn is_whole(&self) -> bool {
        self.level == self.entries.len()
    }
}

/// What a mode makes of a group that needs no more than the chain.
type Step = fn(&mut Chain, &Group) -> bool;

/// The rules of a mode that keeps nothing but the chain.
#[derive(Debug)]
pub(super) struct OneChain {
    chain: Chain,
    step: Step,
}

impl OneChain {
    pub(super) fn new(steps: usize, window: Option<Micros>, step: Step) -> Self {
        Self { chain: Chain::new(steps, window), step }
    }
}

impl Rules for OneChain {
    fn reset(&mut self) {
        self.chain.reset();
    }

    fn group(&mut self, group: &Group) -> bool {
        (self.step)(&mut self.chain, group)
    }

    fn level(&self) -> usize {
        self.chain.level
    }
}
