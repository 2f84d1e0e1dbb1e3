//! `clickhouse_strict_deduplication`: `windowFunnel` with `strict_deduplication`.
//!
//! **What it does.** As the default, until step 2 or a later one is matched a second time, whichever chain the first
//! match belonged to: that ends the scan for good, and the level reached so far is the result.
//!
//! **Known to be wrong.** A repeat ends the scan even when a complete chain follows, and a match outside of the window
//! ends it as well; repeats of step 1 do not. A match of a step before its predecessor counts as no match, so
//! what is a repeat depends on the level. As in the default, one row may count for several steps.
//!
//! **Cost.** O(steps that the rows match).

use super::clickhouse::{Chain, Group, Rules};
use crate::time::Micros;

#[derive(Debug)]
pub(super) struct StrictDeduplication {
    chain: Chain,
}

impl StrictDeduplication {
    pub(super) fn new(steps: usize, window: Option<Micros>) -> Self {
        Self { chain: Chain::new(steps, window) }
    }
}

impl Rules for StrictDeduplication {
    fn reset(&mut self) {
        self.chain.reset();
    }

    #[inline]
    fn group(&mut self, group: &Group) -> bool {
        for step in group.steps() {
            if step == 0 {
                self.chain.enter(group.time);
            } else if step < self.chain.level {
                return true;
            } else if self.chain.leads_to(step, group.time) {
                self.chain.extend_to(step);
                // Another row of this time with this step is the next entry, and a repeat.
                if self.chain.is_whole() || group.twice >> step & 1 == 1 {
                    return true;
                }
            }
        }
        self.chain.is_whole()
    }

    fn level(&self) -> usize {
        self.chain.level
    }
}
