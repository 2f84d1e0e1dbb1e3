//! One user's events under all rules of a funnel, exclusions, held properties, sessions and repeated attempts included:
//! what is counted, each with its level and matches.
//!
//! The scan uses this only for funnels (and questions) that need the events more than once; others go through the
//! automata as they are read.

use super::attempt::{self, Found, Match};
use super::automaton::Automaton;
use super::definition::{Count, Mode};
use super::held;
use super::moment::Moment;
use super::ordered::NONE;
use super::rules::{Entry, Rules};
use super::{ordered_excluding, strict_excluding, unordered_excluding};
use crate::event::{Pace, Poll};
use crate::time::Micros;

/// Events that an attempt is looked for in at first.
const FIRST_LOOK: usize = if cfg!(test) { 2 } else { 64 };

/// One user, session or attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The attempt that counts; none when no step was matched by one that is not void.
    pub found: Option<Found>,
    /// Its matches in their order, if they were asked for.
    pub matches: Vec<Match>,
    /// Whether exclusions made the level lower.
    pub excluded: bool,
}

/// The rules for a user.
#[derive(Clone, Debug)]
pub struct UserRules {
    /// The rules of an attempt.
    pub rules: Rules,
    /// How matches have to lie among the other events.
    pub mode: Mode,
    /// Whether the matches of an attempt have to have equal held properties.
    pub hold: bool,
    /// What is counted.
    pub count: Count,
    /// Whether the matches are wanted.
    pub matches: bool,
}

impl Outcome {
    /// The level, 0 when there is no attempt.
    #[must_use]
    pub fn level(&self) -> usize {
        self.found.map_or(0, |found| found.level)
    }
}

/// What to look at of one part of the events.
#[derive(Clone, Copy)]
struct Part<'e> {
    events: &'e [Moment],
    /// In mode `unordered` the end of the window that holds all of them.
    end: Option<Micros>,
}

impl UserRules {
    /// What is counted of a user's events, which are in order of time; for [`Count::Users`] always one outcome.
    /// O(n log n) for n events, [`Mode::Unordered`] as [`super::unordered`].
    #[must_use]
    pub fn outcomes(&self, events: &[Moment], poll: Poll<'_>) -> Vec<Outcome> {
        match self.count {
            Count::Users => vec![self.outcome(events, poll)],
            Count::Sessions(gap) => held::sessions(events, gap).map(|session| self.outcome(session, poll)).collect(),
            Count::Attempts => self.attempts(events, poll),
        }
    }

    /// The attempts that follow each other: one begins with the first entry after the last one's end, which is its last
    /// match when it is complete, else the end of its window.
    fn attempts(&self, events: &[Moment], poll: Poll<'_>) -> Vec<Outcome> {
        let opens = |event: &Moment| match self.mode {
            Mode::Unordered => event.steps != 0,
            _ => event.steps & 1 == 1,
        };
        let first = Self { rules: Rules { entry: Entry::First, ..self.rules.clone() }, ..self.clone() };
        let mut outcomes = Vec::new();
        let mut rest = events;
        while let Some(begin) = rest.iter().position(opens) {
            let end = self.rules.window_end(rest[begin].time);
            // Events of the entry's own time may come before it in the array.
            let begin = rest.partition_point(|event| event.time < rest[begin].time);
            let until = rest.partition_point(|event| event.time <= end);
            let outcome = first.first_attempt(&rest[begin..until], &mut *poll);
            let complete = outcome.found.filter(|found| found.level == self.rules.steps);
            let over = complete.map_or(end, |found| found.done);
            outcomes.push(outcome);
            rest = &rest[rest.partition_point(|event| event.time <= over)..];
        }
        outcomes
    }

    /// The outcome of the events of one window. A complete attempt is the same whatever follows its end, so a growing part
    /// of them is looked at: O(log n) times the events up to its end, or all of them when there is no such end.
    fn first_attempt(&self, window: &[Moment], poll: Poll<'_>) -> Outcome {
        let mut size = FIRST_LOOK;
        loop {
            let cut = match window.get(size) {
                None => window.len(),
                Some(last) => window.partition_point(|event| event.time <= last.time),
            };
            let outcome = self.outcome(&window[..cut], &mut *poll);
            if cut == window.len() || outcome.level() == self.rules.steps {
                return outcome;
            }
            size = 2 * cut;
        }
    }

    fn outcome(&self, events: &[Moment], poll: Poll<'_>) -> Outcome {
        poll();
        if self.rules.entry == Entry::Any {
            return self.of_parts(&[Part { events, end: None }], poll);
        }
        if self.mode == Mode::Unordered {
            let mut windows = Vec::new();
            held::windows(&self.rules, events, |end, events| windows.push(Part { events, end: Some(end) }));
            return self.of_parts(&windows, poll);
        }
        let mut gated = events.to_vec();
        held::keep_first_entries(&self.rules, &mut gated);
        self.of_parts(&[Part { events: &gated, end: None }], poll)
    }

    fn of_parts(&self, parts: &[Part<'_>], poll: Poll<'_>) -> Outcome {
        let mut best: Option<Found> = None;
        let mut matches = Vec::new();
        let mut without = 0;
        let mut look = |part: Part<'_>, poll: Poll<'_>| {
            let (found, level) = self.found(part, &mut *poll);
            without = without.max(level);
            let Some(found) = found else { return };
            let rank = |found: &Found| (std::cmp::Reverse(found.level), found.done, std::cmp::Reverse(found.entry));
            if best.is_none_or(|best| rank(&found) < rank(&best)) {
                best = Some(found);
                if self.matches {
                    matches = self.matches(part.events, found, &mut *poll);
                }
            }
        };
        for part in parts {
            if self.hold {
                held::each_part(&self.rules, part.events, &mut *poll, |events, poll| {
                    look(Part { events, end: part.end }, poll);
                });
            } else {
                look(*part, &mut *poll);
            }
        }
        let level = best.map_or(0, |best| best.level);
        Outcome { found: best, matches, excluded: without > level }
    }

    /// The attempt that counts among those of one part, and the level that it would be without exclusions.
    fn found(&self, part: Part<'_>, poll: Poll<'_>) -> (Option<Found>, usize) {
        let rules = match part.end {
            None => Rules { entry: Entry::Any, ..self.rules.clone() },
            Some(_) => Rules { entry: Entry::Any, window: None, ..self.rules.clone() },
        };
        let excluded = part.events.iter().any(|event| event.excluded != 0);
        let optional = rules.optional != 0 && matches!(self.mode, Mode::Strict | Mode::StrictSteps);
        let plain = if optional {
            let rules = Rules { exclude: Vec::new(), ..rules.clone() };
            let events: Vec<Moment> = part.events.iter().map(|event| Moment { excluded: 0, ..*event }).collect();
            strict_excluding::run(&rules, &events, &mut *poll)
        } else {
            self.without_exclusions(&rules, part.events, &mut *poll)
        };
        let level = plain.map_or(0, |found| found.level);
        if !excluded {
            return (plain, level);
        }
        let found = match self.mode {
            Mode::Ordered => ordered_excluding::run(&rules, part.events, poll),
            Mode::Strict | Mode::StrictSteps => strict_excluding::run(&rules, part.events, poll),
            Mode::Unordered => unordered_excluding::run(&rules, part.events, part.end, poll),
        };
        (found, level)
    }

    fn without_exclusions(&self, rules: &Rules, events: &[Moment], poll: Poll<'_>) -> Option<Found> {
        let mut automaton = Automaton::<true>::new(self.mode, rules.clone());
        let mut pace = Pace::default();
        let matters = |event: &&Moment| match self.mode {
            Mode::Strict | Mode::StrictSteps => event.counts,
            Mode::Ordered | Mode::Unordered => event.steps != 0,
        };
        for event in events.iter().filter(matters) {
            pace.step(1, &mut *poll);
            if automaton.push(event.time, event.steps) {
                break;
            }
        }
        automaton.finish();
        found_in(automaton.times())
    }

    fn matches(&self, events: &[Moment], found: Found, poll: Poll<'_>) -> Vec<Match> {
        match self.mode {
            Mode::Ordered => attempt::ordered(&self.rules, events, found, poll),
            Mode::Strict | Mode::StrictSteps => strict_excluding::matches_of(&self.rules, events, found, poll),
            Mode::Unordered => attempt::unordered(events, found, poll),
        }
    }
}

fn found_in(times: &[Micros]) -> Option<Found> {
    let mut taken = times.iter().copied().filter(|time| *time != NONE);
    let entry = taken.next()?;
    Some(Found { level: times.len(), entry, done: taken.next_back().unwrap_or(entry) })
}

#[cfg(test)]
mod tests;
