//! `clickhouse_default`: `windowFunnel` without options.
//!
//! **What it does.** For each level the latest entry is kept; a step extends the level below it while the window is
//! open, whatever lies between.
//!
//! **Known to be wrong.** The steps of one time are visited from first to last, so that a row that matches steps 1 and
//! 2 counts for both. Where a step repeats (A, A, B) the level is too high for about half of random users; one row
//! `A` reaches level 2 there. Where no row matches two steps the result equals that of `ordered`.
//!
//! **Cost.** O(steps that the rows match).

use super::clickhouse::{Chain, Group, Rules};
use crate::time::Micros;

#[derive(Debug)]
pub(super) struct Default {
    chain: Chain,
}

impl Default {
    pub(super) fn new(steps: usize, window: Option<Micros>) -> Self {
        Self { chain: Chain::new(steps, window) }
    }
}

impl Rules for Default {
    fn reset(&mut self) {
        self.chain.reset();
    }

    #[inline]
    fn group(&mut self, group: &Group) -> bool {
        for step in group.steps() {
            if step == 0 {
                self.chain.enter(group.time);
            } else if self.chain.leads_to(step, group.time) {
                self.chain.extend_to(step);
            }
        }
        self.chain.is_whole()
    }

    fn level(&self) -> usize {
        self.chain.level
    }
}
