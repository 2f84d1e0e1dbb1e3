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

use super::clickhouse::{Chain, Group};

pub(super) fn group(chain: &mut Chain, group: &Group) -> bool {
    for step in group.steps() {
        if step == 0 {
            chain.enter(group.time);
        } else if step < chain.level {
            return true;
        } else if chain.leads_to(step, group.time) {
            chain.extend_to(step);
            // Another row of this time with this step is the next entry, and a repeat.
            if chain.is_whole() || group.twice >> step & 1 == 1 {
                return true;
            }
        }
    }
    chain.is_whole()
}
