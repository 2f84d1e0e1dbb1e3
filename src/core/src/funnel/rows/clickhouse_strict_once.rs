//! `clickhouse_strict_once`: `windowFunnel` with `strict_once`, which is `ordered`.
//!
//! **What it does.** ClickHouse keeps every chain of matches at every level and extends each with an entry whose row the
//! chain does not hold yet and that lies in the chain's window. Chains whose window is over are dropped, but for one a
//! level, which cannot be extended any more.
//!
//! **Why the automaton of `ordered` gives the same.** A chain of k entries in ClickHouse is k different rows that match
//! steps 1…k, each in the order of (time, step), within the window of the first. Rows that match steps 1…k with
//! non-decreasing time are in that order, since rows of one time stand in it by their step, and the other way round.
//! So a chain of k entries exists exactly if k distinct rows match steps 1…k with non-decreasing time within the window
//! of the first, which is the meaning of `ordered`, ties in any order.
//!
//! **Known to be wrong.** Nothing in the result. ClickHouse's own way there is quadratic or worse in a user's rows
//! (20,000 rows of one user: a minute); this one is linear.

use crate::funnel::ordered::Ordered;
use crate::funnel::rules::Rules;
use crate::time::Micros;

pub(super) fn new(steps: usize, window: Option<Micros>) -> Ordered<false> {
    Ordered::new(Rules::new(steps, window))
}
