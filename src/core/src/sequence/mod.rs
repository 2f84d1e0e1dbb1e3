//! Sequences over plain rows: a pattern in ClickHouse's language, matched against the rows of a group in order of time.
//!
//! **Meaning.** Rows that meet no condition are not there. A pattern is a list of actions behind an implied `.*`. An
//! action takes the search from a position (the row that it looks at) to another: `(?N)` and `.` to the next row, `.*`
//! to any row from here on, `(?t<=N)` and its like to any row from here on whose distance in time from the base is
//! right. The base is the row before the position if `(?N)` or `.` led there, and the row at the position if `.*` did.
//! So a comparison of times lets rows pass like `.*` does, which is ClickHouse's rule, and behind `.*` it does not look
//! back over the star. Where the rows end, `.*`, `(?t<=N)`, `(?t<N)` and `(?t>=0)` need no row any more if no other
//! action is left; the other actions fail. The search tries the nearest rows first, from the first action to the last:
//! the match is the first of all matches in the order of their lists of positions.
//!
//! **Why one pass finds it.** (1) What may follow depends on the action and the position alone: the base is told by
//! the action before. (2) *Paths do not cross for free.* Let one path stand at position p before an action, another at
//! q > p, and let the first come out at p' and the second at q' < p'. A row-taking action cannot do that. A star from p
//! could go to q' too. So could a comparison of times: the base of p is no later than that of q, as rows are sorted,
//! hence q' is not too far for `<` and `<=` (p' is farther and in time) and far enough for `>` and `>=`; for `==` the
//! rows p' and q' have one time. So the first path can go over to the second's end. (3) Hence, of two matches, the one
//! that takes at each action the nearer position of both is a match too: there is one match that is nearest at every
//! action, it is the first in the order of search, and it ends first. The same holds for the paths up to some action.
//! (4) So it is enough to know, row by row, which actions are reached there, each with the nearest path to it; a path
//! reaches a star first when it is nearest, and a comparison of times takes the earliest base that is right. The first
//! row at which the last action is done ends the match. The time is O(rows × actions): every action is looked at once a
//! row, and every base enters and leaves its queue once. There is nothing to go back to, so nothing to give up. Where no
//! times are compared and no path is asked for, `quick.rs` does the same with one bit for each action.
//!
//! Source of the language and its meaning: ClickHouse's documentation of `sequenceMatch`, and its answers
//! (`tests.rs` has 3,000 of them).

mod chain;
pub mod matching;
pub mod pattern;
mod quick;
pub mod state;
#[cfg(test)]
mod tests;

pub use matching::Matcher;
pub use pattern::Pattern;
