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

use super::clickhouse::{Chain, Group};

pub(super) fn group(chain: &mut Chain, group: &Group) -> bool {
    if group.missed && chain.level > 0 {
        return true;
    }
    for step in group.steps() {
        if step == 0 {
            chain.enter(group.time);
        } else if chain.level > 0 && step > chain.level {
            return true;
        } else if chain.leads_to(step, group.time) {
            chain.extend_to(step);
        }
    }
    chain.is_whole()
}
