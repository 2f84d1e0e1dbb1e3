//! The automaton of mode `unordered`: how many different steps distinct events match inside one window.
//!
//! **State.** The events of the present window, and a largest matching of steps into them, kept as events come and go:
//! an event that comes can let one more step be served, an event that goes can cost one (see [`super::pairing`]). Of the
//! events that serve no step it is enough to know, for each step, one that matches it: they stand in a queue for each
//! step that they match, and leave it once.
//!
//! **Why the windows that end with each event are enough.** Any window's events lie within the window that ends with
//! the last of them.
//!
//! **Times.** When a better level is first reached, the events that count are the latest: going back from the present,
//! each event that lets one more step be served is taken. The sets of events that can be matched form a matroid, in
//! which such a greedy choice has the latest possible beginning.
//!
//! **Cost.** O(k) operations on sets of steps (a word each) for an event that comes or goes, with k the steps. Memory
//! O(events in a window · steps that they match).

use std::collections::VecDeque;

use super::ordered::NONE;
use super::pairing::Pairing;
use super::rules::{Entry, Rules};
use super::slot::bits;
use crate::time::Micros;

/// The events of a window, with a largest matching of the steps into them.
#[derive(Debug, Default)]
pub struct Window {
    /// The events: time, what they match, and whether they serve a step.
    inside: VecDeque<(Micros, u64, bool)>,
    /// The number of the first of them.
    first: u64,
    /// For each step the numbers of the events that match it and did not serve when they came.
    waiting: Vec<VecDeque<u64>>,
    served: Pairing,
}

impl Window {
    /// Forgets all events.
    pub fn clear(&mut self) {
        self.first = 0;
        self.inside.clear();
        self.waiting.iter_mut().for_each(VecDeque::clear);
        self.served.clear();
    }

    /// Takes in the next event, in order of time.
    pub fn push(&mut self, time: Micros, matched: u64, steps: usize) {
        let number = self.first + self.inside.len() as u64;
        let serves = self.served.enter(number, matched);
        self.inside.push_back((time, matched, serves));
        if !serves {
            self.waiting.resize_with(steps, VecDeque::new);
            for step in bits(matched) {
                if let Some(queue) = self.waiting.get_mut(step) {
                    queue.push_back(number);
                }
            }
        }
    }

    /// Lets the events go that are earlier than that.
    pub fn drop_before(&mut self, begin: Micros) {
        while let Some((time, _, serves)) = self.inside.front().copied() {
            if time >= begin {
                break;
            }
            self.inside.pop_front();
            let gone = self.first;
            self.first += 1;
            let Some(lost) = self.served.step_of(gone).filter(|_| serves) else { continue };
            let Self { inside, first, waiting, served } = self;
            let place = |number: u64| usize::try_from(number.wrapping_sub(*first)).unwrap_or(usize::MAX);
            let entered = served.replace(lost, |step| {
                let queue = waiting.get_mut(step)?;
                while let Some(number) = queue.front().copied() {
                    match inside.get(place(number)) {
                        Some((_, matched, false)) if number >= *first => return Some((number, *matched)),
                        _ => queue.pop_front(),
                    };
                }
                None
            });
            if let Some(event) = entered.and_then(|number| inside.get_mut(place(number))) {
                event.2 = true;
            }
        }
    }

    /// How many steps are served.
    #[must_use]
    pub const fn served(&self) -> usize {
        self.served.count()
    }

    /// The latest beginning of events inside that serve so many steps.
    #[must_use]
    pub fn latest_beginning(&self, level: usize) -> Micros {
        let mut beginning = Micros::MAX;
        self.latest(level, |time| beginning = time);
        beginning
    }

    /// The times of the latest events that serve so many steps, from the latest back.
    pub fn latest(&self, level: usize, mut visit: impl FnMut(Micros)) {
        let mut served = Pairing::default();
        for (number, (time, matched, _)) in self.inside.iter().enumerate().rev() {
            if served.count() == level {
                break;
            }
            if served.enter(number as u64, *matched) {
                visit(*time);
            }
        }
    }
}

/// The automaton. `TIMES` makes it remember when each step was matched.
#[derive(Debug)]
pub struct Unordered<const TIMES: bool> {
    rules: Rules,
    window: Micros,
    inside: Window,
    opened: Micros,
    level: usize,
    /// When the level was first reached.
    reached: Micros,
    /// The times of that level are still to be found.
    unsettled: bool,
    best: Vec<Micros>,
}

impl<const TIMES: bool> Unordered<TIMES> {
    /// An automaton for these rules, of which it knows steps, window and entry.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            window: rules.window.unwrap_or(Micros::MAX),
            inside: Window::default(),
            opened: NONE,
            level: 0,
            reached: NONE,
            unsettled: false,
            best: Vec::new(),
            rules,
        }
    }

    /// Forgets all events, for the next user.
    pub fn reset(&mut self) {
        self.inside.clear();
        self.opened = NONE;
        self.level = 0;
        self.reached = NONE;
        self.unsettled = false;
        self.best.clear();
    }

    /// The next event, in order of time: when it was and which steps it matches, one bit each, at least one.
    /// Gives `true` when nothing that follows can change the result.
    pub fn push(&mut self, time: Micros, matched: u64) -> bool {
        if time != self.reached {
            self.settle();
            if self.level == self.rules.steps {
                return true;
            }
        }
        if self.rules.entry == Entry::First {
            if self.opened == NONE || time.saturating_sub(self.opened) > self.window {
                self.opened = time;
                self.inside.clear();
            }
        } else {
            self.inside.drop_before(self.rules.window_begin(time));
        }
        self.inside.push(time, matched, self.rules.steps);
        let level = self.inside.served();
        // Another event of the very time may do what an earlier one did, and make the beginning later: the times are
        // settled when the time is over.
        if level > self.level {
            self.level = level;
            self.reached = time;
            self.unsettled = TIMES;
        }
        false
    }

    /// The user's level, 0 when no step was matched.
    pub fn finish(&mut self) -> usize {
        self.settle();
        self.level
    }

    fn settle(&mut self) {
        if self.unsettled {
            self.unsettled = false;
            self.best.clear();
            self.inside.latest(self.level, |time| self.best.push(time));
            self.best.reverse();
        }
    }

    /// When one, two, … different steps had been matched, in the window that counts. Empty without `TIMES`.
    #[must_use]
    pub fn times(&self) -> &[Micros] {
        &self.best
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::{Seen, ends, events};
    use super::*;
    use proptest::prelude::*;

    /// The largest matching, by trying every event for every step.
    fn most(events: &[Seen], steps: &[usize]) -> usize {
        let Some((first, rest)) = steps.split_first() else { return 0 };
        let mut best = most(events, rest);
        for at in 0..events.len() {
            if events[at].1 >> first & 1 == 1 {
                let mut others = events.to_vec();
                others.remove(at);
                best = best.max(1 + most(&others, rest));
            }
        }
        best
    }

    /// The level over all windows, and of the best the earliest end with its latest beginning.
    fn oracle(
        events: &[Seen],
        steps: usize,
        window: Option<Micros>,
        entry: Entry,
    ) -> (usize, Option<(Micros, Micros)>) {
        let steps: Vec<usize> = (0..steps).collect();
        let mut spans = Vec::new();
        let mut open: Option<Micros> = None;
        for (begin, _) in events {
            let running = open.is_some_and(|open| window.is_none_or(|window| begin - open <= window));
            if entry == Entry::First && running {
                continue;
            }
            open = Some(*begin);
            let limit = window.map_or(Micros::MAX, |window| begin + window);
            let ends: Vec<Micros> = events.iter().map(|e| e.0).filter(|end| end >= begin && *end <= limit).collect();
            for end in &ends {
                // Within a window that an entry opened, what counts may begin later than the entry.
                for from in ends.iter().filter(|from| *from <= end) {
                    let inside: Vec<Seen> = events.iter().copied().filter(|e| e.0 >= *from && e.0 <= *end).collect();
                    spans.push((most(&inside, &steps), *end, *from));
                }
            }
        }
        let Some(level) = spans.iter().map(|s| s.0).max() else { return (0, None) };
        if level == 0 {
            return (0, None);
        }
        let end = spans.iter().filter(|s| s.0 == level).map(|s| s.1).min().unwrap();
        let begin = spans.iter().filter(|s| s.0 == level && s.1 == end).map(|s| s.2).max().unwrap();
        (level, Some((begin, end)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]
        #[test]
        fn equals_enumeration(events in events(7), steps in 1usize..5, window in prop::option::of(0i64..8), first: bool) {
            let events: Vec<Seen> = events.into_iter().map(|(time, matched)| (time, matched & ((1 << steps) - 1))).filter(|e| e.1 != 0).collect();
            let rules = Rules { entry: if first { Entry::First } else { Entry::Any }, ..Rules::new(steps, window) };
            let (level, expected) = oracle(&events, steps, window, rules.entry);
            let mut with_times = Unordered::<true>::new(rules.clone());
            let mut without = Unordered::<false>::new(rules);
            for (time, matched) in &events {
                let done = with_times.push(*time, *matched);
                prop_assert_eq!(without.push(*time, *matched), done);
                if done { break }
            }
            prop_assert_eq!(with_times.finish(), level);
            prop_assert_eq!(without.finish(), level);
            prop_assert_eq!(with_times.times().len(), level);
            prop_assert_eq!(ends(with_times.times()), expected);
        }
    }
}
