//! The automaton of the modes `strict` and `strict_steps` with exclusions or optional steps: exact, linear in events.
//!
//! **Meaning.** As [`super::strict`]; an attempt is void as in [`super::ordered_excluding`]; optional steps may be left
//! out.
//!
//! **State.** The attempts that can go on, one by one: their last match is the last event (or group of tied events) so
//! far, so there are at most as many entries for a level as it has steps. An attempt remembers when it matched the step from which each
//! exclusion counts. Of attempts with one level and entry those are dropped that matched all of these no later than
//! another; without exclusions the latest entry of a level is enough.
//!
//! **Completions** that still have an exclusion open wait, as in [`super::ordered_excluding`], apart from whether the
//! attempt can go on: later events end its going on, not its waiting. One that no event can void any more is sure; it
//! counts once no completion that would count before it waits: the window of an earlier entry may end with the very event that leaves
//! a later entry of the same group waiting.
//!
//! **Cost.** O(k⁴·min(group, k)) for a group of tied events, O(k³) for one event, with k the steps; a funnel without
//! optional steps has one attempt for each level, so O(k) for one event. Memory O(k²).

use std::rc::Rc;

use super::attempt::{Found, Match, Segment, matches};
use super::moment::{Moment, slots};
use super::rules::{Rules, Ties};
use super::slot::{Slot, bits};
use crate::event::{Pace, Poll};
use crate::time::Micros;

/// An attempt.
#[derive(Clone, Debug)]
struct Attempt {
    level: usize,
    entry: Micros,
    /// For each exclusion when its `from` was matched; the beginning of time when it was not.
    from: Vec<Micros>,
    /// What it did last, when that is remembered.
    segment: Option<Rc<Segment>>,
}

impl Attempt {
    /// Whether an excluded event of that time, matching those exclusions, voids it.
    fn is_void(&self, rules: &Rules, excluded: u64, time: Micros) -> bool {
        rules.spans(excluded).any(|(at, span)| span.open_at(self.level) && self.from[at] < time)
    }

    fn goes_on(&self, rules: &Rules, level: usize, time: Micros) -> Self {
        let mut from = self.from.clone();
        for (at, span) in rules.exclude.iter().enumerate() {
            if self.level < span.from && span.from <= level {
                from[at] = time;
            }
        }
        Self { level, entry: self.entry, from, segment: self.segment.clone() }
    }

    /// Whether whatever the other can become this one can become too.
    fn is_as_good(&self, other: &Self) -> bool {
        self.level == other.level
            && (if self.from.is_empty() { self.entry >= other.entry } else { self.entry == other.entry })
            && self.from.iter().zip(&other.from).all(|(one, other)| one >= other)
    }
}

/// A completion that waits.
#[derive(Debug)]
struct Waiting {
    done: Micros,
    group: usize,
    attempt: Attempt,
    /// Whether nothing can void it any more.
    sure: bool,
}

impl Waiting {
    /// Whether it counts before an attempt that is completed in that group, and whatever voids it voids that one too. Only an event of
    /// this very time can tell them apart by when they matched the step from which its exclusion counts.
    fn outlives(&self, attempt: &Attempt, group: usize, time: Micros) -> bool {
        let mut pairs = self.attempt.from.iter().zip(&attempt.from);
        self.group < group
            && self.attempt.entry <= attempt.entry
            && pairs.all(|(before, after)| *before == time || *after < time)
    }
}

/// Leaves of completions whose time is over, events that exclude included, those that may count: with an earlier entry than
/// all before them. There are at most as many as steps, for the matches of an attempt follow each other.
fn thin_out(waiting: &mut Vec<Waiting>) {
    let mut earliest = Micros::MAX;
    waiting.retain(|completion| {
        let counts = completion.attempt.entry < earliest;
        earliest = earliest.min(completion.attempt.entry);
        counts
    });
}

struct Run<'r> {
    rules: &'r Rules,
    alive: Vec<Attempt>,
    next: Vec<Attempt>,
    last_time: Micros,
    /// Completions that wait, for each level, the one that would count first in front.
    waiting: Vec<Vec<Waiting>>,
    groups: usize,
    best: Option<Found>,
    /// The attempt whose matches are looked for.
    wanted: Option<Found>,
    /// The segment that ends the best one, when that is remembered.
    end: Option<Rc<Segment>>,
}

/// Runs a user's events, in order of time.
#[must_use]
pub fn run(rules: &Rules, events: &[Moment], poll: Poll<'_>) -> Option<Found> {
    Run::new(rules, None).all(events, poll)
}

/// The matches of an attempt that was found.
#[must_use]
pub fn matches_of(rules: &Rules, events: &[Moment], found: Found, poll: Poll<'_>) -> Vec<Match> {
    let begin = events.partition_point(|event| event.time < found.entry);
    let end = events.partition_point(|event| event.time <= found.done);
    let events = &events[begin..end];
    let mut run = Run::new(rules, Some(found));
    run.all(events, poll);
    run.end.map(|end| matches(rules, events, &end, true, poll)).unwrap_or_default()
}

impl<'r> Run<'r> {
    fn new(rules: &'r Rules, wanted: Option<Found>) -> Self {
        Self {
            rules,
            alive: Vec::new(),
            next: Vec::new(),
            last_time: Micros::MIN,
            waiting: (0..=rules.steps).map(|_| Vec::new()).collect(),
            groups: 0,
            best: None,
            wanted,
            end: None,
        }
    }

    fn all(&mut self, events: &[Moment], poll: Poll<'_>) -> Option<Found> {
        let rules = self.rules;
        let mut slot = Slot::new(rules);
        let mut pace = Pace::default();
        let mut place = 0;
        for at_once in slots(events) {
            let begin = place;
            place += at_once.len();
            let time = at_once.first().map_or(Micros::MIN, |event| event.time);
            let mut excluded = 0;
            let mut size = 0;
            for (at, event) in at_once.iter().enumerate() {
                pace.step(1, &mut *poll);
                excluded |= event.excluded;
                if event.counts {
                    size += 1;
                    if rules.ties == Ties::Array {
                        slot.fill(&at_once[at..=at]);
                        self.group(&mut slot, (time, 1), (begin + at, begin + at + 1), &mut *poll);
                    }
                }
            }
            if rules.ties == Ties::Any && size > 0 {
                slot.fill(at_once);
                self.group(&mut slot, (time, size), (begin, place), &mut *poll);
            }
            if excluded != 0 {
                self.exclude(excluded, time);
            }
            if self.best.is_some_and(|best| best.level == rules.steps) {
                return self.best;
            }
        }
        for level in 1..=rules.steps {
            self.settle(level, |_| Some(true));
        }
        self.best
    }

    /// The events that come next, of one time.
    fn group(&mut self, slot: &mut Slot<'_>, (time, size): (Micros, usize), place: (usize, usize), poll: Poll<'_>) {
        let rules = self.rules;
        self.next.clear();
        self.groups += 1;
        let mut done = Vec::new();
        let alive = std::mem::take(&mut self.alive);
        for attempt in &alive {
            if attempt.entry < rules.window_begin(time) || rules.increasing && time <= self.last_time {
                continue;
            }
            for first in rules.next_steps(attempt.level) {
                if rules.within[first].is_some_and(|within| time.saturating_sub(self.last_time) > within) {
                    continue;
                }
                for last in bits(slot.reach(first, &mut *poll).lasts) {
                    let mut further = attempt.goes_on(rules, last + 1, time);
                    further.segment = self.remember(attempt.segment.as_ref(), place, first, last);
                    if slot.takes_all(first, last, size) {
                        self.next.push(further.clone());
                    }
                    done.push(further);
                }
            }
        }
        let new = Attempt { level: 0, entry: time, from: vec![Micros::MIN; rules.exclude.len()], segment: None };
        let enters = self.wanted.is_none_or(|wanted| wanted.entry == time);
        for last in bits(if enters { slot.reach(0, poll).lasts } else { 0 }) {
            let mut entered = new.goes_on(rules, last + 1, time);
            entered.segment = self.remember(None, place, 0, last);
            self.next.push(entered.clone());
            done.push(entered);
        }
        // Of one group those of the highest level first, and of those the ones that began last: they count first.
        done.sort_by_key(|attempt| std::cmp::Reverse((attempt.level, attempt.entry)));
        for attempt in done {
            self.complete(attempt, time);
        }
        self.alive = alive;
        self.alive.clear();
        for attempt in self.next.drain(..) {
            if !self.alive.iter().any(|other| other.is_as_good(&attempt)) {
                self.alive.retain(|other| !attempt.is_as_good(other));
                self.alive.push(attempt);
            }
        }
        self.last_time = time;
    }

    fn remember(
        &self,
        before: Option<&Rc<Segment>>,
        events: (usize, usize),
        first: usize,
        last: usize,
    ) -> Option<Rc<Segment>> {
        self.wanted?;
        Some(Rc::new(Segment { before: before.map(Rc::clone), events, first, last }))
    }

    fn complete(&mut self, attempt: Attempt, time: Micros) {
        let level = attempt.level;
        let wanted = |wanted: Found| (wanted.level, wanted.entry, wanted.done) == (level, attempt.entry, time);
        if !self.wanted.is_none_or(wanted) {
            return;
        }
        if self.best.is_some_and(|best| best.level >= level) {
            return;
        }
        if !self.rules.stays_open(level) {
            self.best = Some(Found { level, entry: attempt.entry, done: time });
            self.end = attempt.segment;
            return;
        }
        let group = self.groups;
        let waiting = &mut self.waiting[level];
        if waiting.last().is_some_and(|last| last.done < time) {
            thin_out(waiting);
        }
        if !waiting.iter().any(|other| other.outlives(&attempt, group, time)) {
            waiting.push(Waiting { done: time, group, attempt, sure: false });
        }
    }

    /// Events that match exclusions, at the end of their time.
    fn exclude(&mut self, excluded: u64, time: Micros) {
        let rules = self.rules;
        self.alive.retain(|attempt| !attempt.is_void(rules, excluded, time));
        let opened = rules.window_begin(time);
        for level in 1..=rules.steps {
            if !self.waiting[level].is_empty() {
                let verdict =
                    |attempt: &Attempt| attempt.is_void(rules, excluded, time).then_some(attempt.entry <= opened);
                self.settle(level, verdict);
            }
        }
    }

    /// Ends the waiting of those completions that the verdict speaks of: they are sure, or void.
    fn settle(&mut self, level: usize, verdict: impl Fn(&Attempt) -> Option<bool>) {
        let waiting = &mut self.waiting[level];
        waiting.retain_mut(|completion| {
            if completion.sure {
                return true;
            }
            let verdict = verdict(&completion.attempt);
            completion.sure = verdict == Some(true);
            verdict != Some(false)
        });
        if let Some(first) = waiting.first().filter(|first| first.sure) {
            if self.best.is_none_or(|best| best.level < level) {
                self.best = Some(Found { level, entry: first.attempt.entry, done: first.done });
                self.end.clone_from(&first.attempt.segment);
            }
            waiting.clear();
        }
    }
}
