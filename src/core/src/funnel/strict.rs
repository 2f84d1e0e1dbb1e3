//! The automaton of the modes `strict` and `strict_steps`: matches that follow each other without any event between.
//!
//! **Meaning.** As `ordered`, but the matches are consecutive events of the user. `strict` is fed every event,
//! `strict_steps` only those that match some step; the automaton is the same.
//!
//! **Equal times.** Events of one time may be put into any order. So of a group of tied events an attempt that came into
//! it takes some at the front, and goes on beyond it only if it takes them all; an attempt that begins in it takes some
//! at the back. Taking means distinct events for the next steps: a matching (see [`super::matching`]).
//!
//! **State.** For each level i the latest entry among the attempts whose last match can be the last event so far. They
//! all have the same last match in time, so the one with the latest entry can do whatever the others can.
//!
//! **Cost.** O(steps) for an event that is alone in its time, O(k²·min(group, k)) for a group. Memory as `ordered`.

use super::matching::Group;
use super::ordered::NONE;
use super::rules::{Entry, Rules, Ties};
use crate::time::Micros;

/// The automaton. `TIMES` makes it remember when each step of an attempt was matched.
#[derive(Debug)]
pub struct Strict<const TIMES: bool> {
    rules: Rules,
    window: Micros,
    /// Latest entry of the attempts at each level that end with the last group; index 0 is not used.
    start: Vec<Micros>,
    next: Vec<Micros>,
    /// The times of those attempts, a row of `steps` for each level.
    paths: Vec<Micros>,
    next_paths: Vec<Micros>,
    /// The time of the last group.
    last_time: Micros,
    group: Group,
    group_time: Micros,
    opened: Micros,
    level: usize,
    best_entry: Micros,
    best: Vec<Micros>,
}

impl<const TIMES: bool> Strict<TIMES> {
    /// An automaton for these rules; optional steps are not for it.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let table = if TIMES { (rules.steps + 1) * rules.steps } else { 0 };
        Self {
            window: rules.window.unwrap_or(Micros::MAX),
            start: vec![NONE; rules.steps + 1],
            next: vec![NONE; rules.steps + 1],
            paths: vec![NONE; table],
            next_paths: vec![NONE; table],
            last_time: NONE,
            group: Group::new(),
            group_time: NONE,
            opened: NONE,
            level: 0,
            best_entry: NONE,
            best: Vec::new(),
            rules,
        }
    }

    /// Forgets all events, for the next user.
    pub fn reset(&mut self) {
        self.start.fill(NONE);
        self.group.clear();
        self.opened = NONE;
        self.level = 0;
        self.best.clear();
    }

    /// The next event, in order of time: when it was and which steps it matches, one bit each, perhaps none.
    /// Gives `true` when nothing that follows can change the result.
    #[inline]
    pub fn push(&mut self, time: Micros, matched: u64) -> bool {
        if self.group.size() > 0 && (time != self.group_time || self.rules.ties == Ties::Array) {
            self.close_group();
            if self.level == self.rules.steps {
                return true;
            }
        }
        self.group_time = time;
        self.group.push(matched);
        false
    }

    /// The user's level, 0 when no step was matched.
    pub fn finish(&mut self) -> usize {
        self.close_group();
        self.level
    }

    /// As [`super::ordered::Ordered::times`].
    #[must_use]
    pub fn times(&self) -> &[Micros] {
        &self.best
    }

    fn close_group(&mut self) {
        if self.group.size() == 0 {
            return;
        }
        let before = self.level;
        self.next.fill(NONE);
        for base in 1..self.rules.steps {
            let entry = self.start[base];
            if entry != NONE && self.may_follow(base, entry) {
                let run = self.longest_run(base);
                if run > 0 {
                    let whole = run >= self.group.size();
                    self.take(base, run, entry, before, whole.then_some(base + self.group.size()));
                }
            }
        }
        if self.rules.entry == Entry::Any || !self.in_window(self.opened) {
            let run = self.longest_run(0);
            if run > 0 {
                self.opened = self.group_time;
                for level in 1..=run {
                    self.take(0, level, self.group_time, before, Some(level));
                }
            }
        }
        std::mem::swap(&mut self.start, &mut self.next);
        std::mem::swap(&mut self.paths, &mut self.next_paths);
        self.last_time = self.group_time;
        self.group.clear();
    }

    fn in_window(&self, entry: Micros) -> bool {
        entry != NONE && self.group_time.saturating_sub(entry) <= self.window
    }

    fn may_follow(&self, base: usize, entry: Micros) -> bool {
        self.in_window(entry)
            && (!self.rules.increasing || self.group_time > self.last_time)
            && self.rules.within[base].is_none_or(|within| self.group_time.saturating_sub(self.last_time) <= within)
    }

    /// How many steps from `base` on distinct events of the group can take.
    fn longest_run(&self, base: usize) -> usize {
        if let Some(matched) = self.group.only() {
            return usize::from(matched >> base & 1 == 1);
        }
        if self.rules.increasing {
            return usize::from(self.group.union() >> base & 1 == 1);
        }
        let mut served = self.group.nothing_served();
        (base..self.rules.steps).take_while(|step| self.group.serve(*step, &mut served)).count()
    }

    /// An attempt takes `run` events after `base`; it is alive after the group at the level `alive`, if at any.
    fn take(&mut self, base: usize, run: usize, entry: Micros, before: usize, alive: Option<usize>) {
        let (steps, level) = (self.rules.steps, base + run);
        if level > self.level || level == self.level && level > before && entry > self.best_entry {
            self.level = level;
            self.best_entry = entry;
            if TIMES {
                self.best.clear();
                self.best.extend_from_slice(&self.paths[base * steps..base * steps + base]);
                self.best.resize(level, self.group_time);
            }
        }
        if let Some(alive) = alive.filter(|alive| *alive <= steps)
            && entry >= self.next[alive]
        {
            self.next[alive] = entry;
            if TIMES {
                let to = alive * steps;
                self.next_paths[to..to + base].copy_from_slice(&self.paths[base * steps..base * steps + base]);
                self.next_paths[to + base..to + alive].fill(self.group_time);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::{Mode, ends, enumerate, events, rules};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]
        #[test]
        fn equals_enumeration(events in events(8), mut rules in rules(), only_steps: bool) {
            rules.optional = 0;
            let mask = (1 << rules.steps) - 1;
            let events: Vec<_> = events.into_iter().map(|(time, matched)| (time, matched & mask))
                .filter(|event| !only_steps || event.1 != 0).collect();
            let (level, expected) = enumerate(&events, &rules, Mode::Strict);
            let mut with_times = Strict::<true>::new(rules.clone());
            let mut without = Strict::<false>::new(rules.clone());
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

    #[test]
    fn any_other_event_ends_an_attempt_and_the_next_entry_begins_one() {
        let level = |events: &[(Micros, u64)]| {
            let mut automaton = Strict::<false>::new(Rules::new(3, None));
            for (time, matched) in events {
                automaton.push(*time, *matched);
            }
            automaton.finish()
        };
        assert_eq!(level(&[(0, 1), (1, 2), (2, 4)]), 3);
        assert_eq!(level(&[(0, 1), (1, 0), (2, 2), (3, 4)]), 1);
        assert_eq!(level(&[(0, 1), (1, 0), (2, 1), (3, 2), (4, 4)]), 3);
        assert_eq!(level(&[(0, 1), (1, 2), (2, 1), (3, 4)]), 2);
    }
}
