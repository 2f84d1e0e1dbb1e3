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

use super::clickhouse::{Chain, Group};

pub(super) fn group(chain: &mut Chain, group: &Group) -> bool {
    for step in group.steps() {
        if step == 0 {
            chain.enter(group.time);
        } else if chain.leads_to(step, group.time) {
            chain.extend_to(step);
        }
    }
    chain.is_whole()
}
