//! The automaton of mode `ordered`: exact and linear.
//!
//! **Meaning.** The level is the largest k for which distinct events e1…ek match steps 1…k with non-decreasing time, all
//! within the window of e1.
//!
//! **State.** For each level i the latest entry (time of e1) among all attempts that have matched steps 1…i so far.
//!
//! **Why that is enough.** Whether an attempt can go on depends on its level, its entry and the events to come, and of
//! two attempts at one level the one with the later entry can do whatever the other can: the window `t − entry ≤ W` is
//! laxer for it. So one number for each level loses nothing.
//!
//! **One event at a time.** An event that matches several steps may serve one of them. Visiting its steps from the last
//! to the first makes every extension start from a level reached *before* the event.
//!
//! **Equal times.** Events of one time may be taken in any order, so the whole group extends each old level i by the
//! longest run of steps i+1…j that distinct events of the group can take: a matching of the run's steps into the
//! group's events. If a run can be matched, so can each of its beginnings; so runs grow a step at a time by augmenting
//! paths (Kuhn) until one fails. At most k events of one kind can be used, so a group has bounded size.
//!
//! **Cost.** O(steps that the event matches) for an event that is alone in its time; O(k²·min(group, k)) for a group.
//! Memory O(k), with the times of the attempt O(k²).

use crate::time::Micros;

/// No attempt has reached the level.
const NONE: Micros = Micros::MIN;

/// The automaton. `TIMES` makes it remember when each step of an attempt was matched.
#[derive(Debug)]
pub struct Ordered<const TIMES: bool> {
    steps: usize,
    window: Micros,
    /// Latest entry for each level; index 0 is not used.
    start: Vec<Micros>,
    /// The times of that attempt, a row of `steps` for each level.
    paths: Vec<Micros>,
    /// The events of the current time: what they match, and how many match just that.
    group: Vec<(u64, u32)>,
    group_time: Micros,
    group_size: usize,
    level: usize,
    best: Vec<Micros>,
    old_start: Vec<Micros>,
    old_paths: Vec<Micros>,
}

impl<const TIMES: bool> Ordered<TIMES> {
    /// An automaton for so many steps and a window.
    #[must_use]
    pub fn new(steps: usize, window: Option<Micros>) -> Self {
        let table = if TIMES { (steps + 1) * steps } else { 0 };
        Self {
            steps,
            window: window.unwrap_or(Micros::MAX),
            start: vec![NONE; steps + 1],
            paths: vec![NONE; table],
            group: Vec::new(),
            group_time: NONE,
            group_size: 0,
            level: 0,
            best: Vec::with_capacity(if TIMES { steps } else { 0 }),
            old_start: Vec::new(),
            old_paths: Vec::new(),
        }
    }

    /// Forgets all events, for the next user.
    pub fn reset(&mut self) {
        self.start.fill(NONE);
        self.group.clear();
        self.group_size = 0;
        self.level = 0;
        self.best.clear();
    }

    /// The next event, in order of time: when it was and which steps it matches, one bit each.
    /// Gives `true` when nothing that follows can change the result.
    #[inline]
    pub fn push(&mut self, time: Micros, matched: u64) -> bool {
        if self.group_size > 0 && time != self.group_time {
            self.close_group();
            if self.level == self.steps {
                return true;
            }
        }
        self.group_time = time;
        self.group_size += 1;
        match self.group.iter_mut().find(|(kind, _)| *kind == matched) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.group.push((matched, 1)),
        }
        false
    }

    /// The user's level, 0 when no step was matched.
    pub fn finish(&mut self) -> usize {
        self.close_group();
        self.level
    }

    /// When the steps of the attempt that counts were matched: of the attempts of the best level the one completed
    /// first, of those the one with the latest entry. Empty without `TIMES`.
    #[must_use]
    pub fn times(&self) -> &[Micros] {
        &self.best
    }

    #[inline]
    fn close_group(&mut self) {
        let before = self.level;
        match (self.group_size, self.group.first()) {
            (0, _) | (_, None) => return,
            (1, Some(&(matched, _))) => self.one(matched),
            _ => self.many(),
        }
        self.group.clear();
        self.group_size = 0;
        if TIMES && self.level > before {
            let row = self.level * self.steps;
            self.best.clear();
            self.best.extend_from_slice(&self.paths[row..row + self.level]);
        }
    }

    /// Whether an attempt of this entry may still go on at the current time.
    #[inline]
    fn open(&self, entry: Micros) -> bool {
        entry != NONE && self.group_time.checked_sub(entry).is_some_and(|since| since <= self.window)
    }

    /// Reaches a level with an entry, from a level that `base_times` belongs to.
    #[inline]
    fn reach(&mut self, level: usize, entry: Micros) -> bool {
        self.level = self.level.max(level);
        if entry > self.start[level] {
            self.start[level] = entry;
            return true;
        }
        false
    }

    #[inline]
    fn one(&mut self, matched: u64) {
        let mut left = matched;
        while left != 0 {
            let step = 63 - left.leading_zeros() as usize;
            left &= !(1 << step);
            if step == 0 {
                if self.reach(1, self.group_time) && TIMES {
                    self.paths[self.steps] = self.group_time;
                }
            } else if self.open(self.start[step]) && self.reach(step + 1, self.start[step]) && TIMES {
                let (from, to) = (step * self.steps, (step + 1) * self.steps);
                self.paths.copy_within(from..from + step, to);
                self.paths[to + step] = self.group_time;
            }
        }
    }

    fn many(&mut self) {
        self.old_start.clone_from(&self.start);
        if TIMES {
            self.old_paths.clone_from(&self.paths);
        }
        for base in 0..self.steps {
            let entry = if base == 0 { self.group_time } else { self.old_start[base] };
            if !self.open(entry) {
                continue;
            }
            let run = self.longest_run(base);
            for level in base + 1..=base + run {
                if self.reach(level, entry) && TIMES {
                    let to = level * self.steps;
                    self.paths[to..to + base]
                        .copy_from_slice(&self.old_paths[base * self.steps..base * self.steps + base]);
                    self.paths[to + base..to + level].fill(self.group_time);
                }
            }
        }
    }

    /// How many steps after `base` distinct events of the group can take.
    fn longest_run(&self, base: usize) -> usize {
        // The steps that each kind of event serves now, one bit each.
        let mut serves = vec![0u64; self.group.len()];
        let mut run = 0;
        while base + run < self.steps {
            let mut tried = vec![false; self.group.len()];
            if !self.serve(base + run, &mut serves, &mut tried) {
                break;
            }
            run += 1;
        }
        run
    }

    /// Finds an event for a step, moving others to other events where that helps.
    fn serve(&self, step: usize, serves: &mut [u64], tried: &mut [bool]) -> bool {
        for at in 0..self.group.len() {
            let (matched, count) = self.group[at];
            if tried[at] || matched >> step & 1 == 0 {
                continue;
            }
            tried[at] = true;
            if serves[at].count_ones() < count {
                serves[at] |= 1 << step;
                return true;
            }
            let mut others = serves[at];
            while others != 0 {
                let other = others.trailing_zeros() as usize;
                others &= others - 1;
                if self.serve(other, serves, tried) {
                    serves[at] = serves[at] & !(1 << other) | 1 << step;
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The meaning, by enumeration of every attempt: (level, times of the attempt that counts).
    pub(crate) fn oracle(
        events: &[(Micros, u64)],
        steps: usize,
        window: Option<Micros>,
    ) -> (usize, Option<(Micros, Micros)>) {
        fn extend(
            events: &[(Micros, u64)],
            steps: usize,
            window: Micros,
            used: &mut Vec<usize>,
            found: &mut Vec<(usize, Micros, Micros)>,
        ) {
            if let (Some(first), Some(last)) = (used.first(), used.last()) {
                found.push((used.len(), events[*last].0, events[*first].0));
            }
            if used.len() == steps {
                return;
            }
            for (at, (time, matched)) in events.iter().enumerate() {
                if used.contains(&at) || matched >> used.len() & 1 == 0 {
                    continue;
                }
                if let (Some(first), Some(last)) = (used.first(), used.last())
                    && (*time < events[*last].0 || time - events[*first].0 > window)
                {
                    continue;
                }
                used.push(at);
                extend(events, steps, window, used, found);
                used.pop();
            }
        }
        let mut found = Vec::new();
        extend(events, steps, window.unwrap_or(Micros::MAX), &mut Vec::new(), &mut found);
        let Some(level) = found.iter().map(|f| f.0).max() else { return (0, None) };
        let done = found.iter().filter(|f| f.0 == level).map(|f| f.1).min().unwrap();
        let entry = found.iter().filter(|f| f.0 == level && f.1 == done).map(|f| f.2).max().unwrap();
        (level, Some((entry, done)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]
        #[test]
        fn equals_enumeration(
            mut events in prop::collection::vec((0i64..8, 0u64..16), 0..8), steps in 1usize..5,
            window in prop::option::of(0i64..8),
        ) {
            events.sort_by_key(|event| event.0);
            let (level, ends) = oracle(&events, steps, window);
            let mut with_times = Ordered::<true>::new(steps, window);
            let mut without = Ordered::<false>::new(steps, window);
            for (time, matched) in &events {
                let matched = matched & ((1 << steps) - 1);
                if matched == 0 { continue }
                let done = with_times.push(*time, matched);
                prop_assert_eq!(without.push(*time, matched), done);
                if done { break }
            }
            prop_assert_eq!(with_times.finish(), level);
            prop_assert_eq!(without.finish(), level);
            let times = with_times.times();
            prop_assert_eq!(times.len(), level);
            prop_assert_eq!(times.first().copied().zip(times.last().copied()), ends);
            prop_assert!(times.is_sorted());
        }
    }

    #[test]
    fn repeated_steps_ties_and_windows() {
        let level = |events: &[(Micros, u64)], steps, window| {
            let mut automaton = Ordered::<false>::new(steps, window);
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
