//! `clickhouse_allow_reentry`: `windowFunnel` with `strict_order` and `allow_reentry`, which ClickHouse takes together only.
//!
//! **What it does.** As strict_order, except that a step that comes too early is passed over instead of ending the
//! scan.
//!
//! **Known to be wrong.** A row that matches no step still ends the scan for good once step 1 was seen, and nothing
//! re-enters after it, whatever the option's name says. As in the default, one row may count for several steps.
//!
//! **Cost.** O(steps that the rows match).

use super::clickhouse::{Chain, Group, Rules};
use crate::time::Micros;

#[derive(Debug)]
pub(super) struct AllowReentry {
    chain: Chain,
}

impl AllowReentry {
    pub(super) fn new(steps: usize, window: Option<Micros>) -> Self {
        Self { chain: Chain::new(steps, window) }
    }
}

impl Rules for AllowReentry {
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
