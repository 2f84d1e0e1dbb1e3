//! `clickhouse_allow_reentry`: `windowFunnel` with `strict_order` and `allow_reentry`, which ClickHouse takes together only.
//!
//! **What it does.** As strict_order, except that a step that comes too early is passed over instead of ending the
//! scan.
//!
//! **Known to be wrong.** A row that matches no step still ends the scan for good once step 1 was seen, and nothing
//! re-enters after it, whatever the option's name says. As in the default, one row may count for several steps.
//!
//! **Cost.** O(steps that the rows match).

use super::clickhouse::{Chain, Group};

pub(super) fn group(chain: &mut Chain, group: &Group) -> bool {
    if group.missed && chain.level > 0 {
        return true;
    }
    for step in group.steps() {
        if step == 0 {
            chain.enter(group.time);
        } else if chain.leads_to(step, group.time) {
            chain.extend_to(step);
        }
    }
    chain.is_whole()
}
