//! Which events the steps of an attempt were matched by, once its level, entry and end are known.

use std::rc::Rc;

use super::matching::Group;
use super::moment::{Moment, slots};
use super::pairing::Pairing;
use super::rules::{Rules, Ties};
use super::slot::{Slot, bits};
use crate::event::{Pace, Poll};
use crate::time::Micros;

/// The attempt that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The last step matched, counted from 1.
    pub level: usize,
    /// When it began.
    pub entry: Micros,
    /// When its last step was matched.
    pub done: Micros,
}

/// A step and the event that matched it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The step, counted from 0.
    pub step: usize,
    /// When.
    pub time: Micros,
    /// The event's place in the array, from 0.
    pub place: u32,
}

/// What an attempt did in the events of one time: the steps it took there, and what it had done before.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The segment before, if any.
    pub before: Option<Rc<Segment>>,
    /// Where the events of that time begin and end in the list of events.
    pub events: (usize, usize),
    /// The first step that it took there.
    pub first: usize,
    /// The last one.
    pub last: usize,
}

/// The matches of an attempt that ended with a segment. `whole` says that it had to take every event of the times between
/// its first and its last.
/// O(k·events of each time).
#[must_use]
pub fn matches(rules: &Rules, events: &[Moment], end: &Rc<Segment>, whole: bool, poll: Poll<'_>) -> Vec<Match> {
    let mut found = Vec::new();
    let mut at = Some(end);
    while let Some(segment) = at {
        let fill = whole && !Rc::ptr_eq(segment, end) && segment.before.is_some();
        let events = &events[segment.events.0..segment.events.1];
        let mut taken = match rules.ties {
            _ if rules.increasing || segment.first == segment.last => first_match(events, segment.first),
            Ties::Any => in_any_order(rules, events, segment.first, segment.last, fill),
            Ties::Array => in_array_order(rules, events, segment.first, segment.last, &mut *poll),
        };
        taken.reverse();
        found.append(&mut taken);
        at = segment.before.as_ref();
    }
    found.reverse();
    found
}

fn matched(step: usize, event: &Moment) -> Match {
    Match { step, time: event.time, place: event.place }
}

fn first_match(events: &[Moment], step: usize) -> Vec<Match> {
    events.iter().find(|event| event.steps >> step & 1 == 1).map(|event| matched(step, event)).into_iter().collect()
}

fn in_any_order(rules: &Rules, events: &[Moment], first: usize, last: usize, fill: bool) -> Vec<Match> {
    let mut group = Group::new();
    for event in events.iter().filter(|event| event.steps != 0) {
        group.push(event.steps);
    }
    let mut served = group.nothing_served();
    let needed = |step: &usize| *step == first || *step == last || !rules.is_optional(*step);
    let optional = (first..=last).filter(|step| fill && !needed(step));
    for step in (first..=last).filter(needed).chain(optional) {
        group.serve(step, &mut served);
    }
    let hand_out = |event: &Moment| group.hand_out(event.steps, &mut served).map(|step| matched(step, event));
    let mut taken: Vec<Match> = events.iter().filter_map(hand_out).collect();
    taken.sort_by_key(|matched| matched.step);
    taken
}

fn in_array_order(rules: &Rules, events: &[Moment], first: usize, last: usize, poll: Poll<'_>) -> Vec<Match> {
    // For each step the event that takes it first, and the step before it.
    let mut reached: Vec<Option<(usize, usize)>> = vec![None; rules.steps];
    let mut pace = Pace::default();
    for (at, event) in events.iter().enumerate() {
        pace.step(rules.steps, &mut *poll);
        let mut new = Vec::new();
        if event.steps >> first & 1 == 1 && reached[first].is_none() {
            new.push((first, first));
        }
        for (before, _) in reached.iter().enumerate().filter(|(_, reached)| reached.is_some()) {
            let next = rules.next_steps(before + 1);
            new.extend(next.filter(|step| event.steps >> step & 1 == 1).map(|step| (step, before)));
        }
        for (step, before) in new {
            reached[step].get_or_insert((at, before));
        }
    }
    let mut taken = Vec::new();
    let mut step = last;
    while let Some((at, before)) = reached.get(step).copied().flatten() {
        taken.push(matched(step, &events[at]));
        if before == step {
            break;
        }
        step = before;
    }
    taken.reverse();
    taken
}

/// The matches of an attempt of mode `ordered`: of those that began and ended when it did and are not void, one that takes
/// optional steps where it meets them.
/// Its own entry is the only one, so at each level the latest match is all that matters. O(events·k²).
#[must_use]
pub fn ordered(rules: &Rules, events: &[Moment], found: Found, poll: Poll<'_>) -> Vec<Match> {
    let mut pace = Pace::default();
    let begin = events.partition_point(|event| event.time < found.entry);
    let end = events.partition_point(|event| event.time <= found.done);
    // For each level the last match and the segment that ends with it. What none of them leads to any more is freed, so
    // there are O(k²) segments at a time.
    let mut levels: Vec<Option<(Micros, Rc<Segment>)>> = vec![None; rules.steps + 1];
    let mut slot = Slot::new(rules);
    let mut at = begin;
    for at_once in slots(&events[begin..end]) {
        let place = (at, at + at_once.len());
        at = place.1;
        pace.step(at_once.len(), &mut *poll);
        let time = at_once.first().map_or(Micros::MIN, |event| event.time);
        let open = time < rules.window_end(found.entry);
        let excluded = at_once.iter().filter(|_| open).fold(0, |all, event| all | event.excluded);
        slot.fill(at_once);
        let mut next: Vec<Option<(Micros, Rc<Segment>)>> = (0..=rules.steps)
            .map(|level| levels[level].clone().filter(|_| !rules.spans(excluded).any(|(_, span)| span.open_at(level))))
            .collect();
        for (base, before) in levels.iter().enumerate().take(rules.steps) {
            if base == 0 && time != found.entry || base > 0 && before.is_none() {
                continue;
            }
            for first in rules.next_steps(base) {
                let late = |within| before.as_ref().is_some_and(|(last, _)| time.saturating_sub(*last) > within);
                if rules.within[first].is_some_and(late) {
                    continue;
                }
                for last in bits(slot.reach(first, &mut *poll).lasts) {
                    let level = last + 1;
                    if rules.spans(excluded).any(|(_, span)| span.from <= base && span.open_at(level)) {
                        continue;
                    }
                    let before = before.as_ref().map(|(_, segment)| Rc::clone(segment));
                    next[level] = Some((time, Rc::new(Segment { before, events: place, first, last })));
                }
            }
        }
        levels = next;
    }
    levels
        .get(found.level)
        .and_then(Option::as_ref)
        .map(|(_, segment)| matches(rules, events, segment, false, poll))
        .unwrap_or_default()
}

/// The matches of an attempt of mode `unordered`: its first event, and the latest others that serve so many steps.
/// O(events·k), as [`super::unordered`].
#[must_use]
pub fn unordered(events: &[Moment], found: Found, poll: Poll<'_>) -> Vec<Match> {
    let begin = events.partition_point(|event| event.time < found.entry);
    let end = events.partition_point(|event| event.time <= found.done);
    let matching = events[begin..end].iter().filter(|event| event.steps != 0);
    let first = matching.clone().next();
    let latest = matching.rev().filter(|event| first.is_none_or(|first| first.place != event.place));
    let mut pairing = Pairing::default();
    let mut pace = Pace::default();
    let mut taken: Vec<&Moment> = Vec::new();
    for event in first.into_iter().chain(latest) {
        pace.step(1, &mut *poll);
        if taken.len() >= found.level {
            break;
        }
        if pairing.enter(u64::from(event.place), event.steps) {
            taken.push(event);
        }
    }
    let of = |event: &&Moment| pairing.step_of(u64::from(event.place)).map(|step| matched(step, event));
    let mut matches: Vec<Match> = taken.iter().filter_map(of).collect();
    matches.sort_by_key(|matched| (matched.time, matched.place));
    matches
}
