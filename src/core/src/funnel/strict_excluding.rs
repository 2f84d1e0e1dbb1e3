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
//! attempt can go on: later events end its going on, not its waiting.
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

struct Run<'r> {
    rules: &'r Rules,
    alive: Vec<Attempt>,
    next: Vec<Attempt>,
    last_time: Micros,
    /// Completions that wait, for each level: when, in which group, and the attempt.
    waiting: Vec<Vec<(Micros, usize, Attempt)>>,
    groups: usize,
    best: Option<Found>,
    /// The attempt whose matches are looked for.
    wanted: Option<Found>,
    /// The segment that ends it.
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
            waiting: vec![Vec::new(); rules.steps + 1],
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
        // Of one group those of the highest level first, and of those the ones that began last.
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
        if let Some(wanted) = self.wanted {
            if (wanted.level, wanted.entry, wanted.done) == (level, attempt.entry, time) && self.end.is_none() {
                self.end = attempt.segment;
            }
            return;
        }
        if self.best.is_some_and(|best| best.level >= level) {
            return;
        }
        if !self.rules.stays_open(level) {
            self.best = Some(Found { level, entry: attempt.entry, done: time });
            return;
        }
        let group = self.groups;
        let waiting = &mut self.waiting[level];
        // A later completion counts first only if its window ends earlier.
        if !waiting
            .iter()
            .any(|(_, at, other)| *at < group && other.entry <= attempt.entry && other.from >= attempt.from)
        {
            waiting.push((time, group, attempt));
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

    /// Ends the waiting of those completions that the verdict speaks of: they count, or are void. The first counts, of one
    /// group the one that began last.
    fn settle(&mut self, level: usize, verdict: impl Fn(&Attempt) -> Option<bool>) {
        let mut counts: Option<(usize, Found)> = None;
        self.waiting[level].retain(|(done, group, attempt)| {
            let Some(good) = verdict(attempt) else { return true };
            let better = counts.is_none_or(|(first, found)| *group == first && attempt.entry > found.entry);
            if good && better {
                counts = Some((*group, Found { level, entry: attempt.entry, done: *done }));
            }
            false
        });
        if let Some((_, found)) = counts
            && self.best.is_none_or(|best| best.level < level)
        {
            self.best = Some(found);
        }
    }
}
