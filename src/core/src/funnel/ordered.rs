//! The automaton of mode `ordered`: exact and linear.
//!
//! **Meaning.** The level is the largest k for which distinct events match steps 1…k with non-decreasing time, all within
//! the window of the first; optional steps before k may be left out.
//!
//! **State.** For each level i (the last step matched) the latest entry among all attempts that are there, and when that
//! attempt matched step i.
//!
//! **Why that is enough.** Whether an attempt can go on depends on its level, its entry, its last match and the events to
//! come. Of two attempts at one level the one with the later entry and the later last match can do whatever the other
//! can: both limits, `t − entry ≤ window` and `t − last ≤ within`, are laxer for it. And the attempt with the latest last
//! match has the latest entry too: let a and b be attempts at one level, b with the later end and the earlier entry;
//! somewhere between two steps b overtakes a, and a's beginning continued by b's rest is an attempt that ends as late as
//! b with a's entry (the step where it changes over is shorter than b's own). So one pair for each level loses nothing.
//!
//! **One event at a time.** An event that matches several steps may serve one of them. Visiting its steps from the last
//! to the first makes every extension start from a level reached *before* the event.
//!
//! **Equal times.** Events of one time may be taken in any order, so the whole group extends each old level i by every
//! run of steps after it that distinct events of the group can take (see [`super::matching`]): a run that can be taken
//! can be taken without its optional steps as well, so those are tried one at a time and never kept. When matches have to increase, a group can give each attempt one
//! event only: it acts as one event that matches what any of them matches.
//!
//! **First entry only.** While the window of an entry runs no other event opens one; when it has passed, whatever began
//! in it cannot go on either.
//!
//! **Cost.** O(steps that the event matches · optional steps before them) for an event that is alone in its time;
//! O(k²·min(group, k)) for a group. Memory O(k), with the times of the attempt O(k²).

use super::matching::Group;
use super::rules::{Entry, Rules, Ties};
use crate::time::Micros;

/// No attempt has reached the level, or a step was left out.
pub const NONE: Micros = Micros::MIN;

/// The automaton. `TIMES` makes it remember when each step of an attempt was matched.
#[derive(Debug)]
pub struct Ordered<const TIMES: bool> {
    rules: Rules,
    window: Micros,
    /// No step has a limit or can be left out: the usual case, with less to look at.
    plain: bool,
    /// Latest entry for each level, and when that attempt matched its last step; index 0 is not used.
    start: Vec<Micros>,
    last: Vec<Micros>,
    /// The times of that attempt, a row of `steps` for each level.
    paths: Vec<Micros>,
    group: Group,
    group_time: Micros,
    /// The entry whose window runs, under [`Entry::First`].
    opened: Micros,
    level: usize,
    best: Vec<Micros>,
    old_start: Vec<Micros>,
    old_last: Vec<Micros>,
    old_paths: Vec<Micros>,
}

impl<const TIMES: bool> Ordered<TIMES> {
    /// An automaton for these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let steps = rules.steps;
        Self {
            window: rules.window.unwrap_or(Micros::MAX),
            plain: rules.optional == 0 && rules.within.iter().all(Option::is_none),
            start: vec![NONE; steps + 1],
            last: vec![NONE; steps + 1],
            paths: vec![NONE; if TIMES { (steps + 1) * steps } else { 0 }],
            group: Group::new(),
            group_time: NONE,
            opened: NONE,
            level: 0,
            best: Vec::with_capacity(if TIMES { steps } else { 0 }),
            old_start: Vec::new(),
            old_last: Vec::new(),
            old_paths: Vec::new(),
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

    /// The next event, in order of time: when it was and which steps it matches, one bit each, at least one.
    /// Gives `true` when nothing that follows can change the result.
    #[inline]
    pub fn push(&mut self, time: Micros, matched: u64) -> bool {
        if self.group.size() > 0
            && (time != self.group_time || self.rules.ties == Ties::Array && !self.rules.increasing)
        {
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

    /// When the steps of the attempt that counts were matched, [`NONE`] for a step left out: of the attempts of the best
    /// level the one completed first, of those one with the latest entry. Empty without `TIMES`.
    #[must_use]
    pub fn times(&self) -> &[Micros] {
        &self.best
    }

    #[inline]
    fn close_group(&mut self) {
        let before = self.level;
        match (self.group.size(), self.group.only()) {
            (0, _) => return,
            (_, Some(matched)) => self.one(matched),
            _ if self.rules.increasing => self.one(self.group.union()),
            _ => self.many(),
        }
        self.group.clear();
        if TIMES && self.level > before {
            let row = self.level * self.rules.steps;
            self.best.clear();
            self.best.extend_from_slice(&self.paths[row..row + self.level]);
        }
    }

    /// Whether an attempt of this entry may still go on at the current time.
    #[inline]
    fn in_window(&self, entry: Micros) -> bool {
        entry != NONE && self.group_time.saturating_sub(entry) <= self.window
    }

    /// Whether a step may follow a match of that time now.
    #[inline]
    fn in_time(&self, step: usize, last: Micros) -> bool {
        self.rules.within[step].is_none_or(|within| self.group_time.saturating_sub(last) <= within)
    }

    /// Whether an event of now may open an attempt.
    #[inline]
    fn may_enter(&self) -> bool {
        self.rules.entry == Entry::Any || !self.in_window(self.opened)
    }

    /// Reaches a level with an entry; gives whether that is now the level's attempt.
    #[inline]
    fn reach(&mut self, level: usize, entry: Micros) -> bool {
        self.level = self.level.max(level);
        if entry >= self.start[level] {
            self.start[level] = entry;
            self.last[level] = self.group_time;
            return true;
        }
        false
    }

    /// The best level that a step can follow now: the nearest of those with the latest entry.
    #[inline]
    fn base_of(&self, step: usize) -> Option<usize> {
        if self.plain {
            return self.in_window(self.start[step]).then_some(step);
        }
        let mut best = None;
        let mut base = step;
        loop {
            let entry = self.start[base];
            if self.in_window(entry)
                && self.in_time(step, self.last[base])
                && best.is_none_or(|best: usize| entry > self.start[best])
            {
                best = Some(base);
            }
            // Steps are counted from 0, levels from 1: the step before `base` is what lies between.
            if base <= 1 || !self.rules.is_optional(base - 1) {
                return best;
            }
            base -= 1;
        }
    }

    #[inline]
    fn one(&mut self, matched: u64) {
        let steps = self.rules.steps;
        let mut left = matched;
        while left != 0 {
            let step = 63 - left.leading_zeros() as usize;
            left &= !(1 << step);
            if step == 0 {
                if self.may_enter() {
                    self.opened = self.group_time;
                    if self.reach(1, self.group_time) && TIMES {
                        self.paths[steps] = self.group_time;
                    }
                }
            } else if let Some(base) = self.base_of(step)
                && self.reach(step + 1, self.start[base])
                && TIMES
            {
                let (from, to) = (base * steps, (step + 1) * steps);
                self.paths.copy_within(from..from + base, to);
                self.paths[to + base..to + step].fill(NONE);
                self.paths[to + step] = self.group_time;
            }
        }
    }

    fn many(&mut self) {
        let steps = self.rules.steps;
        self.old_start.clone_from(&self.start);
        self.old_last.clone_from(&self.last);
        if TIMES {
            self.old_paths.clone_from(&self.paths);
        }
        let enter = self.may_enter();
        for base in 0..steps {
            let entry = if base == 0 { self.group_time } else { self.old_start[base] };
            if if base == 0 { !enter } else { !self.in_window(entry) } {
                continue;
            }
            let mut served = self.group.nothing_served();
            // Steps taken in this group, one bit each; the first of them has to come in time after the base.
            let mut taken = 0u64;
            for step in base..steps {
                if taken == 0 && base > 0 && !self.in_time(step, self.old_last[base]) {
                    if self.rules.is_optional(step) {
                        continue;
                    }
                    break;
                }
                let optional = self.rules.is_optional(step);
                let before = optional.then(|| served.clone());
                if self.group.serve(step, &mut served) {
                    self.arrive(base, step, entry, taken);
                    if base == 0 && step == 0 {
                        self.opened = self.group_time;
                    }
                    match before {
                        Some(before) => {
                            self.through_optional(base, step, entry, taken);
                            served = before;
                        }
                        None => taken |= 1 << step,
                    }
                } else if !optional {
                    break;
                }
            }
        }
    }

    /// Notes an attempt that came from `base`, took `taken` and then `step`, all at the current time.
    fn arrive(&mut self, base: usize, step: usize, entry: Micros, taken: u64) {
        if !self.reach(step + 1, entry) || !TIMES {
            return;
        }
        let steps = self.rules.steps;
        let to = (step + 1) * steps;
        self.paths[to..to + base].copy_from_slice(&self.old_paths[base * steps..base * steps + base]);
        for between in base..step {
            self.paths[to + between] = if taken >> between & 1 == 1 { self.group_time } else { NONE };
        }
        self.paths[to + step] = self.group_time;
    }

    /// A first step of the group that is only in time because an optional one before it was taken: with limits between
    /// steps, taking an optional step can be what lets the next one follow.
    fn through_optional(&mut self, base: usize, through: usize, entry: Micros, taken: u64) {
        if taken != 0 || base == 0 {
            return;
        }
        let mut served = self.group.nothing_served();
        if !self.group.serve(through, &mut served) {
            return;
        }
        let mut taken = 1 << through;
        for step in through + 1..self.rules.steps {
            let optional = self.rules.is_optional(step);
            let before = optional.then(|| served.clone());
            if self.group.serve(step, &mut served) {
                self.arrive(base, step, entry, taken);
                match before {
                    Some(before) => served = before,
                    None => taken |= 1 << step,
                }
            } else if !optional {
                break;
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
        #![proptest_config(ProptestConfig::with_cases(150_000))]
        #[test]
        fn equals_enumeration(events in events(8), rules in rules()) {
            let (level, expected) = enumerate(&events, &rules, Mode::Ordered);
            let mut with_times = Ordered::<true>::new(rules.clone());
            let mut without = Ordered::<false>::new(rules.clone());
            for (time, matched) in &events {
                let matched = matched & ((1 << rules.steps) - 1);
                if matched == 0 { continue }
                let done = with_times.push(*time, matched);
                prop_assert_eq!(without.push(*time, matched), done);
                if done { break }
            }
            prop_assert_eq!(with_times.finish(), level);
            prop_assert_eq!(without.finish(), level);
            prop_assert_eq!(with_times.times().len(), level);
            prop_assert_eq!(ends(with_times.times()), expected);
        }
    }

    #[test]
    fn repeated_steps_ties_and_windows() {
        let level = |events: &[(Micros, u64)], steps, window| {
            let mut automaton = Ordered::<false>::new(Rules::new(steps, window));
            for (time, matched) in events {
                automaton.push(*time, *matched);
            }
            automaton.finish()
        };
        // Steps A, A: one event never counts for two steps.
        assert_eq!(level(&[(1, 0b11)], 2, None), 1);
        assert_eq!(level(&[(1, 0b11), (1, 0b11)], 2, None), 2);
        // B before A in the array, at one time.
        assert_eq!(level(&[(1, 0b10), (1, 0b01)], 2, None), 2);
        // The window is inclusive and counts from step 1.
        assert_eq!(level(&[(0, 1), (5, 2), (10, 4)], 3, Some(10)), 3);
        assert_eq!(level(&[(0, 1), (5, 2), (11, 4)], 3, Some(10)), 2);
        // A million events of one time.
        assert_eq!(level(&vec![(7, 0b101); 1_000_000], 3, Some(0)), 1);
    }
}
