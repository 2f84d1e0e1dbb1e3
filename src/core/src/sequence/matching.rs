//! The search: which actions are reached at each row, and by which path. The reasons are in [`super`].

use std::collections::VecDeque;

use super::chain::{Chains, Link, NONE};
use super::pattern::{Action, Comparison, Pattern};
use super::quick::Quick;
use super::state::Rows;
use crate::error::{Condition, Error, Result};
use crate::event::Poll;
use crate::time::Micros;

/// Rows between two looks at whether the statement was cancelled. A row costs as many steps as the pattern has actions.
const POLL_EVERY: usize = 1024;

/// A pattern with its working memory: one for a query, used for group after group.
#[derive(Debug)]
pub struct Matcher {
    pattern: Pattern,
    rows: Vec<(Micros, u64)>,
    quick: Option<Quick>,
    untraced: Search<false>,
    traced: Search<true>,
}

impl Matcher {
    /// Working memory for a pattern.
    #[must_use]
    pub fn new(pattern: Pattern) -> Self {
        let actions = pattern.actions().len();
        Self {
            quick: Quick::new(&pattern),
            untraced: Search::new(actions),
            traced: Search::new(actions),
            rows: Vec::new(),
            pattern,
        }
    }

    /// Whether the rows of a group match. O(rows × actions), and O(rows log rows) when they are out of order.
    /// Errors: `53200`, `22023` for bytes that are no state.
    pub fn matches(&mut self, state: Rows<'_>, poll: Poll<'_>) -> Result<bool> {
        state.gather(&mut self.rows, &mut *poll)?;
        let found = match &mut self.quick {
            Some(quick) => first(quick, &self.pattern, &self.rows, poll)?,
            None => first(&mut self.untraced, &self.pattern, &self.rows, poll)?,
        };
        Ok(found.is_some())
    }

    /// How many matches follow one another, each found from the end of the one before. As [`Matcher::matches`].
    pub fn count(&mut self, state: Rows<'_>, poll: Poll<'_>) -> Result<i64> {
        state.gather(&mut self.rows, &mut *poll)?;
        match &mut self.quick {
            Some(quick) => count(quick, &self.pattern, &self.rows, poll),
            None => count(&mut self.untraced, &self.pattern, &self.rows, poll),
        }
    }

    /// The times of the rows that the conditions of the first match took; if nothing matches, those of the first path
    /// that met the most conditions. As [`Matcher::matches`]; the memory is O(rows × actions) at worst.
    pub fn times(&mut self, state: Rows<'_>, poll: Poll<'_>) -> Result<Vec<Micros>> {
        state.gather(&mut self.rows, &mut *poll)?;
        let matched = first(&mut self.traced, &self.pattern, &self.rows, poll)?;
        Ok(self.traced.chains.times(matched.unwrap_or(self.traced.farthest)))
    }
}

#[cold]
pub(super) fn no_memory() -> Error {
    Error::new(Condition::OutOfMemory, "out of memory")
        .detail("The rows of one group do not fit into memory together with what is known of each.")
        .hint("Group by user, and filter for the rows that matter.")
}

/// What a search does row by row.
pub(super) trait Automaton {
    /// Nothing is reached but the first action, at this row.
    fn restart(&mut self);

    /// Looks at a row: gives the path that has done all actions before it, if one has; otherwise the next row is to come.
    fn row(&mut self, actions: &[Action], before: Micros, time: Micros, matched: u64) -> Result<Option<Link>>;

    /// Where the rows end: the path that has done all actions, or all but such as need no row. Of several the one that
    /// has done most is the nearest.
    fn end(&self, pattern: &Pattern) -> Option<Link>;
}

/// The path of the first match, if there is one.
fn first(
    automaton: &mut impl Automaton,
    pattern: &Pattern,
    rows: &[(Micros, u64)],
    poll: Poll<'_>,
) -> Result<Option<Link>> {
    automaton.restart();
    let mut before = 0;
    for rows in rows.chunks(POLL_EVERY) {
        poll();
        for (time, matched) in rows {
            if let Some(path) = automaton.row(pattern.actions(), before, *time, *matched)? {
                return Ok(Some(path));
            }
            before = *time;
        }
    }
    Ok(automaton.end(pattern))
}

/// How many matches follow one another.
fn count(automaton: &mut impl Automaton, pattern: &Pattern, rows: &[(Micros, u64)], poll: Poll<'_>) -> Result<i64> {
    automaton.restart();
    let (mut count, mut start, mut before) = (0, 0, 0);
    for (at, (time, matched)) in rows.iter().enumerate() {
        if at % POLL_EVERY == 0 {
            poll();
        }
        while automaton.row(pattern.actions(), before, *time, *matched)?.is_some() {
            count += 1;
            automaton.restart();
            // A match of no rows: the next one is looked for a row later.
            if start == at {
                start += 1;
                break;
            }
            start = at;
        }
        before = *time;
    }
    Ok(count + i64::from(start < rows.len() && automaton.end(pattern).is_some()))
}

/// A set of actions.
#[derive(Clone, Debug)]
struct Set(Vec<u64>);

impl Set {
    fn new(actions: usize) -> Self {
        Self(vec![0; actions / 64 + 1])
    }

    #[inline]
    fn add(&mut self, action: usize) {
        self.0[action / 64] |= 1 << (action % 64);
    }

    #[inline]
    fn remove(&mut self, action: usize) {
        self.0[action / 64] &= !(1 << (action % 64));
    }

    #[inline]
    fn has(&self, action: usize) -> bool {
        self.0[action / 64] >> (action % 64) & 1 == 1
    }

    #[inline]
    fn clear(&mut self) {
        self.0.fill(0);
    }

    /// The first action from one on that is in this set or in another.
    #[inline]
    fn first_of_both(&self, other: &Self, from: usize) -> Option<usize> {
        let mut at = from / 64;
        let mut word = (self.0.get(at)? | other.0.get(at)?) & u64::MAX << (from % 64);
        while word == 0 {
            at += 1;
            word = self.0.get(at)? | other.0.get(at)?;
        }
        Some(at * 64 + word.trailing_zeros() as usize)
    }

    fn last(&self) -> Option<usize> {
        let at = self.0.iter().rposition(|word| *word != 0)?;
        Some(at * 64 + 63 - self.0[at].leading_zeros() as usize)
    }
}

/// A search over the rows. `TRACED` also keeps for each path the times that its conditions took.
#[derive(Debug)]
struct Search<const TRACED: bool> {
    /// The actions that a path has just reached at this row; one past the last action is the end of the pattern.
    here: Set,
    /// Those that a row-taking action reaches at the next row.
    next: Set,
    /// Stars, and comparisons of times with a base, that were reached at this row or before.
    open: Set,
    paths_here: Vec<Link>,
    paths_next: Vec<Link>,
    /// The nearest path to each open star.
    paths_open: Vec<Link>,
    /// For each comparison of times the bases that may still be right, earliest first, and the nearest path to each.
    bases: Vec<VecDeque<(Micros, Link)>>,
    chains: Chains,
    /// The first path that met the most conditions.
    farthest: Link,
    most: usize,
}

impl<const TRACED: bool> Automaton for Search<TRACED> {
    fn restart(&mut self) {
        let mut from = 0;
        while let Some(action) = self.open.first_of_both(&self.open, from) {
            if let Some(bases) = self.bases.get_mut(action) {
                bases.clear();
            }
            from = action + 1;
        }
        self.open.clear();
        self.next.clear();
        self.here.clear();
        self.here.add(0);
        if TRACED {
            // A traced search is run for the first match alone, so nothing before it is asked for any more.
            self.chains.clear();
            (self.farthest, self.most) = (NONE, 0);
            self.paths_here[0] = NONE;
        }
    }

    #[inline]
    fn row(&mut self, actions: &[Action], before: Micros, time: Micros, matched: u64) -> Result<Option<Link>> {
        let mut from = 0;
        while let Some(at) = self.here.first_of_both(&self.open, from) {
            from = at + 1;
            let Some(action) = actions.get(at) else { return Ok(Some(self.path(at))) };
            match *action {
                Action::Condition(bit) => {
                    let path = self.path(at);
                    if matched & bit != 0 {
                        self.next.add(at + 1);
                        if TRACED {
                            self.paths_next[at + 1] = self.chains.extended(path, time)?;
                            self.note_farthest(actions, at);
                        }
                    } else if TRACED {
                        self.chains.dropped(path);
                    }
                }
                Action::Any => {
                    self.next.add(at + 1);
                    if TRACED {
                        self.paths_next[at + 1] = self.paths_here[at];
                    }
                }
                Action::Star => {
                    if !self.open.has(at) {
                        self.open.add(at);
                        if TRACED {
                            self.paths_open[at] = self.paths_here[at];
                        }
                    } else if TRACED && self.here.has(at) {
                        self.chains.dropped(self.paths_here[at]);
                    }
                    self.reach(at + 1, if TRACED { self.paths_open[at] } else { NONE });
                }
                Action::Time { comparison, distance, after_star } => {
                    if self.here.has(at) {
                        let base = if after_star { time } else { before };
                        self.add_base(at, comparison, base)?;
                    }
                    if let Some(path) = self.right_base(at, comparison, distance, time) {
                        self.reach(at + 1, path);
                    }
                }
            }
        }
        self.here.clear();
        std::mem::swap(&mut self.here, &mut self.next);
        std::mem::swap(&mut self.paths_here, &mut self.paths_next);
        Ok(None)
    }

    fn end(&self, pattern: &Pattern) -> Option<Link> {
        match self.here.last() {
            Some(action) if action >= pattern.open_end() => Some(self.path(action)),
            _ => pattern.matches_nothing().then_some(NONE),
        }
    }
}

impl<const TRACED: bool> Search<TRACED> {
    fn new(actions: usize) -> Self {
        let set = Set::new(actions);
        let paths = vec![NONE; if TRACED { actions + 1 } else { 0 }];
        Self {
            here: set.clone(),
            next: set.clone(),
            open: set,
            paths_here: paths.clone(),
            paths_next: paths.clone(),
            paths_open: paths,
            bases: vec![VecDeque::new(); actions],
            chains: Chains::new(),
            farthest: NONE,
            most: 0,
        }
    }

    #[inline]
    fn path(&self, action: usize) -> Link {
        if TRACED { self.paths_here[action] } else { NONE }
    }

    /// An action is reached at this row by a path that goes on otherwise as well.
    #[inline]
    fn reach(&mut self, action: usize, path: Link) {
        self.here.add(action);
        if TRACED {
            self.paths_here[action] = self.chains.shared(path);
        }
    }

    /// A comparison of times is reached. Bases come in order of time, and of equal ones the first has the nearest path.
    #[inline]
    fn add_base(&mut self, action: usize, comparison: Comparison, base: Micros) -> Result<()> {
        let path = self.path(action);
        let bases = &mut self.bases[action];
        let needless = match comparison {
            Comparison::AtLeast | Comparison::Above => !bases.is_empty(),
            _ => bases.back().is_some_and(|last| last.0 == base),
        };
        if needless {
            if TRACED {
                self.chains.dropped(path);
            }
            return Ok(());
        }
        if !TRACED && matches!(comparison, Comparison::AtMost | Comparison::Below) {
            // The latest is right whenever an earlier one is, and no path is asked for.
            bases.clear();
        }
        if bases.len() == bases.capacity() {
            bases.try_reserve(bases.len().max(4)).map_err(|_| no_memory())?;
        }
        bases.push_back((base, path));
        self.open.add(action);
        Ok(())
    }

    /// The path to the earliest base that is at the right distance from a time. What is too far for this time is too
    /// far for all that follow.
    #[inline]
    fn right_base(&mut self, action: usize, comparison: Comparison, distance: Micros, time: Micros) -> Option<Link> {
        let bases = &mut self.bases[action];
        while let Some((base, path)) = bases.front().copied() {
            // A sum beyond 64 bits is later than every time.
            let end = base.checked_add(distance);
            let too_far = match comparison {
                Comparison::AtMost | Comparison::Equal => end.is_some_and(|end| end < time),
                Comparison::Below => end.is_some_and(|end| end <= time),
                Comparison::AtLeast | Comparison::Above => false,
            };
            if !too_far {
                let right = match comparison {
                    Comparison::AtMost | Comparison::Below => true,
                    Comparison::AtLeast => end.is_some_and(|end| end <= time),
                    Comparison::Above => end.is_some_and(|end| end < time),
                    Comparison::Equal => end == Some(time),
                };
                return right.then_some(path);
            }
            bases.pop_front();
            if TRACED {
                self.chains.dropped(path);
            }
        }
        self.open.remove(action);
        None
    }

    #[inline]
    fn note_farthest(&mut self, actions: &[Action], at: usize) {
        if at + 1 > self.most {
            self.most = at + 1;
            self.chains.dropped(self.farthest);
            self.farthest = self.chains.shared(self.paths_next[at + 1]);
            debug_assert!(matches!(actions.get(at), Some(Action::Condition(_))), "only conditions are noted");
        }
    }
}
