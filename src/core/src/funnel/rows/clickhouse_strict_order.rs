//! `clickhouse_strict_order`: `windowFunnel` with `strict_order`.
//!
//! **What it does.** As the default, until something comes between: after the first row of step 1, a row that matches
//! no step, or one that matches a step whose predecessor has not been reached, ends the scan for good, and the level
//! reached so far is the result.
//!
//! **Known to be wrong.** It never starts again after a break, so that A X A B C is 1 where three neighbours match. A
//! step that was reached before breaks nothing (A B A C is 3), nor does one whose window is over. Rows of one time are
//! taken as rows without a match first, then by step, so a tie can break a chain that another order would not. As in
//! the default, one row may count for several steps. `strict` is what the name promises.
//!
//! **Cost.** O(steps that the rows match).

use super::clickhouse::{Chain, Group, Rules};
use crate::time::Micros;

#[derive(Debug)]
pub(super) struct StrictOrder {
    chain: Chain,
}

impl StrictOrder {
    pub(super) fn new(steps: usize, window: Option<Micros>) -> Self {
        Self { chain: Chain::new(steps, window) }
    }
}

impl Rules for StrictOrder {
    fn reset(&mut self) {
        self.chain.reset();
    }

    #[inline]
    fn group(&mut self, group: &Group) -> bool {
        if group.missed && self.chain.level > 0 {
            return true;
        }
        for step in group.steps() {
            if step == 0 {
                self.chain.enter(group.time);
            } else if self.chain.level > 0 && step > self.chain.level {
                return true;
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
