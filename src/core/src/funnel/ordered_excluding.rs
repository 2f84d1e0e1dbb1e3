//! The automaton of mode `ordered` with exclusions: exact, O(n log n).
//!
//! **Meaning.** As [`super::ordered`], but an attempt is void when an event that matches an exclusion lies strictly in time
//! between the matches of its `from` and its `to`, or between the match of `from` and the end of the window while `to`
//! is not matched.
//!
//! **What an excluded event does.** At its time x every attempt that has the exclusion open (`from` matched before x, `to`
//! not matched by x) is void from then on. All attempts that are at such a level before the events of time x have
//! matched `from` before x; those that come to it at x have matched `from` at x when they came from below `from`, else
//! before. So an excluded event empties the levels `from … to − 1`, and of the ways that the events of x open, those from
//! a level at or above `from` to one below `to`. (Not those of an entry whose window ends at x.)
//!
//! **What is kept.** For each level the *set* of entries whose attempts are there and not void. The latest entry would do
//! for going on (see [`super::ordered`]), but not for an attempt that ends with an exclusion open: it counts when its
//! window ends before the next such excluded event, and the earlier its entry the sooner that is. So whenever a level with an open
//! exclusion is reached, the entries that reached it wait; when an excluded event comes at x, the first completion among
//! them with an entry e, e + window ≤ x, counts, and its latest such e; the others are void. A completion waits only if
//! it has an earlier entry than all before it: else those count no later.
//!
//! **The times of last matches** are needed for `within`. Of two attempts at one level the later entry has the later last
//! match (the crossing argument of [`super::ordered`]: an excluded event that lies in the mixed attempt's gap lies in a
//! gap of one of the two), so the entries from one on share one last match, a monotone list.
//!
//! **Cost.** O(k²) set operations of O(log n) for each time at which a step is matched, O(k) for an excluded event.

use std::collections::VecDeque;

use super::attempt::Found;
use super::entries::Entries;
use super::moment::{Moment, slots};
use super::rules::Rules;
use super::slot::{Slot, bits};
use crate::event::{Pace, Poll};
use crate::time::Micros;

/// The attempts at one level.
#[derive(Debug, Default)]
struct Level {
    alive: Entries,
    /// From which entry on the attempts had their last match when, both rising.
    last: VecDeque<(Micros, Micros)>,
    /// Completions that count unless an excluded event voids them: when, and their entries.
    waiting: Vec<(Micros, Entries)>,
}

impl Level {
    fn arrive(&mut self, entries: &Entries, time: Micros) {
        let Some(first) = entries.first() else { return };
        self.alive = self.alive.with(entries);
        while self.last.back().is_some_and(|(from, _)| *from >= first) {
            self.last.pop_back();
        }
        self.last.push_back((first, time));
    }

    /// The entries whose attempts had their last match no earlier than `limit`.
    fn matched_since(&self, limit: Micros) -> Entries {
        let old = self.last.partition_point(|(_, last)| *last < limit);
        self.last.get(old).map_or_else(Entries::default, |(from, _)| self.alive.since(*from))
    }

    fn clear(&mut self) {
        self.alive = Entries::default();
        self.last.clear();
    }
}

/// Runs a user's events, in order of time.
#[must_use]
pub fn run(rules: &Rules, events: &[Moment], poll: Poll<'_>) -> Option<Found> {
    let mut levels: Vec<Level> = (0..=rules.steps).map(|_| Level::default()).collect();
    let mut best: Option<Found> = None;
    let mut slot = Slot::new(rules);
    // Level, order among the completions of one time, entries.
    let mut gains: Vec<(usize, u32, Entries)> = Vec::new();
    let mut pace = Pace::default();
    for at_once in slots(events) {
        pace.step(at_once.len(), &mut *poll);
        let time = at_once.first().map_or(Micros::MIN, |event| event.time);
        let excluded = at_once.iter().fold(0, |all, event| all | event.excluded);
        slot.fill(at_once);
        gains.clear();
        if slot.union() != 0 {
            gather(&mut slot, (time, excluded), &mut levels, &mut gains, &mut *poll);
        }
        for (_, span) in rules.spans(excluded) {
            for (level, state) in levels.iter_mut().enumerate().take(span.to).skip(span.from) {
                settle(state, level, rules.window_begin(time), &mut best);
                state.clear();
            }
        }
        gains.sort_by_key(|(level, order, _)| (*level, *order));
        for same in gains.chunk_by(|one, next| (one.0, one.1) == (next.0, next.1)) {
            let Some((level, _, first)) = same.first() else { continue };
            let entries = same[1..].iter().fold(first.clone(), |all, (_, _, more)| all.with(more));
            complete(rules, *level, time, &entries, &mut levels[*level], &mut best);
            levels[*level].arrive(&entries, time);
        }
        if best.is_some_and(|best| best.level == rules.steps) {
            return best;
        }
    }
    for (level, state) in levels.iter_mut().enumerate() {
        settle(state, level, Micros::MAX, &mut best);
    }
    best
}

/// What the attempts of each level, and new ones, reach with the events of one time.
fn gather(
    slot: &mut Slot<'_>,
    (time, excluded): (Micros, u64),
    levels: &mut [Level],
    gains: &mut Vec<(usize, u32, Entries)>,
    poll: Poll<'_>,
) {
    let rules = slot.rules();
    for (base, state) in levels.iter_mut().enumerate().take(rules.steps) {
        if base > 0 {
            if state.alive.is_empty() {
                continue;
            }
            state.alive = state.alive.since(rules.window_begin(time));
        }
        for first in rules.next_steps(base) {
            let entries = match rules.within[first] {
                _ if base == 0 => Entries::one(time),
                None => state.alive.clone(),
                Some(within) => state.matched_since(time.saturating_sub(within)),
            };
            if entries.is_empty() {
                continue;
            }
            let reach = slot.reach(first, &mut *poll);
            for last in bits(reach.lasts) {
                let level = last + 1;
                let void = rules.spans(excluded).any(|(_, span)| span.from <= base && span.open_at(level));
                let entries = if void { window_ends_now(rules, &entries, time) } else { entries.clone() };
                if !entries.is_empty() {
                    gains.push((level, reach.order(last), entries));
                }
            }
        }
    }
}

/// The entry whose window ends with this very time: an excluded event of this time comes too late for its attempts.
fn window_ends_now(rules: &Rules, entries: &Entries, time: Micros) -> Entries {
    let first = entries.first().filter(|first| rules.window_end(*first) == time);
    first.map_or_else(Entries::default, Entries::one)
}

fn complete(rules: &Rules, level: usize, time: Micros, entries: &Entries, state: &mut Level, best: &mut Option<Found>) {
    if best.is_some_and(|best| best.level >= level) {
        return;
    }
    if !rules.stays_open(level) {
        *best = entries.latest(Micros::MAX).map(|entry| Found { level, entry, done: time });
        return;
    }
    let earlier = |(_, waiting): &(Micros, Entries)| waiting.first() > entries.first();
    if state.waiting.last().is_none_or(earlier) {
        state.waiting.push((time, entries.clone()));
    }
}

/// Ends the waiting of a level: the first completion with an entry up to `limit` counts.
fn settle(state: &mut Level, level: usize, limit: Micros, best: &mut Option<Found>) {
    if best.is_none_or(|best| best.level < level) {
        let found = state.waiting.iter().find_map(|(done, entries)| Some((*done, entries.latest(limit)?)));
        if let Some((done, entry)) = found {
            *best = Some(Found { level, entry, done });
        }
    }
    state.waiting.clear();
}
