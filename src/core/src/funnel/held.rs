//! A user's events apart by the values of the held properties, each part with what matters to it of the others.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::moment::Moment;
use super::rules::{Rules, Ties};
use crate::dedupe::no_memory;
use crate::error::Result;
use crate::event::{Event, Key, Pace, Poll};
use crate::time::Micros;

/// Numbers for the combinations of values that the held properties have.
#[derive(Debug)]
pub struct Numbers {
    properties: Vec<String>,
    known: HashMap<Vec<u8>, u32, FixedState>,
    combination: Vec<u8>,
}

impl Numbers {
    /// Numbers for these properties.
    #[must_use]
    pub fn new(properties: Vec<String>) -> Self {
        Self { properties, known: HashMap::with_hasher(FixedState::with_seed(0)), combination: Vec::new() }
    }

    /// Forgets all combinations, for the next user.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// The number of an event's combination. Errors: those of the event; `53200`.
    pub fn number<'a>(&mut self, event: &impl Event<'a>, scratch: &mut Vec<u8>) -> Result<u32> {
        self.combination.clear();
        for property in &self.properties {
            let value = event.get(&mut Key::new(property))?;
            // What is absent differs from every text, also from an empty one.
            match value.text(scratch)? {
                None => self.combination.push(0),
                Some(text) => {
                    self.combination.push(1);
                    self.combination.extend(text.len().to_le_bytes());
                    self.combination.extend(text);
                }
            }
        }
        if let Some(number) = self.known.get(&self.combination) {
            return Ok(*number);
        }
        let number = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        self.known.try_reserve(1).map_err(|_| no_memory())?;
        self.known.insert(self.combination.clone(), number);
        Ok(number)
    }
}

/// Gives the events of each value with the marks that stand for the rest: at each of its times the exclusions of that
/// time, after each the next event of every exclusion (an attempt is void from then on, so a further one changes
/// nothing), and, where events have to be consecutive, one mark for the other events between two of its own.
/// O(n log n) altogether, for n events and few exclusions.
pub fn each_part(rules: &Rules, events: &[Moment], poll: Poll<'_>, mut visit: impl FnMut(&[Moment], Poll<'_>)) {
    let excluded: Vec<Vec<Micros>> = (0..rules.exclude.len())
        .inspect(|_| poll())
        .map(|at| events.iter().filter(|event| event.excluded >> at & 1 == 1).map(|event| event.time).collect())
        .collect();
    // How many events that count stand before each place.
    let mut counted = Vec::with_capacity(events.len() + 1);
    counted.push(0usize);
    for event in events {
        counted.push(counted.last().copied().unwrap_or_default() + usize::from(event.counts));
    }
    let others = Others { events, excluded, counted };
    let mut own: Vec<usize> = (0..events.len()).filter(|at| events[*at].steps != 0).collect();
    own.sort_by_key(|at| (events[*at].hold, *at));
    let mut part = Vec::new();
    for own in own.chunk_by(|one, next| events[*one].hold == events[*next].hold) {
        part.clear();
        others.fill(rules, own, &mut part, &mut *poll);
        part.sort_by_key(|event| (event.time, event.place));
        visit(&part, &mut *poll);
    }
}

struct Others<'e> {
    events: &'e [Moment],
    excluded: Vec<Vec<Micros>>,
    counted: Vec<usize>,
}

impl Others<'_> {
    fn fill(&self, rules: &Rules, own: &[usize], part: &mut Vec<Moment>, poll: Poll<'_>) {
        let mut marks: Vec<(Micros, u64)> = Vec::new();
        let mut pace = Pace::default();
        let mut slots = own.chunk_by(|one, next| self.events[*one].time == self.events[*next].time).peekable();
        while let Some(slot) = slots.next() {
            let (Some(first), Some(last)) = (slot.first(), slot.last()) else { continue };
            let time = self.events[*first].time;
            let next = slots.peek().and_then(|next| next.first()).copied();
            pace.step(1, &mut *poll);
            let mut now = 0;
            for (at, times) in self.excluded.iter().enumerate() {
                let from = times.partition_point(|excluded| *excluded < time);
                now |= u64::from(times.get(from) == Some(&time)) << at;
                let later = times.get(times.partition_point(|excluded| *excluded <= time)).copied();
                if let Some(later) = later.filter(|later| next.is_none_or(|next| *later < self.events[next].time)) {
                    marks.push((later, 1 << at));
                }
            }
            marks.sort_unstable();
            // One mark for each time, so that there are never more of them than events.
            part.extend(marks.chunk_by(|one, next| one.0 == next.0).map(|same| Moment {
                time: same.first().map_or(time, |mark| mark.0),
                place: u32::MAX,
                excluded: same.iter().fold(0, |all, mark| all | mark.1),
                ..Moment::default()
            }));
            marks.clear();
            part.extend(slot.iter().map(|at| Moment { excluded: now, ..self.events[*at] }));
            match rules.ties {
                Ties::Array => {
                    for pair in slot.windows(2) {
                        self.mark_between(pair[0] + 1, pair[1], part);
                    }
                    if let Some(next) = next {
                        self.mark_between(last + 1, next, part);
                    }
                }
                Ties::Any => {
                    let begin = self.events.partition_point(|event| event.time < time);
                    let end = self.events.partition_point(|event| event.time <= time);
                    let mine = slot.iter().filter(|at| self.events[**at].counts).count();
                    if self.counted[end] - self.counted[begin] > mine {
                        part.push(Moment { time, place: u32::MAX, counts: true, ..Moment::default() });
                    }
                    if let Some(next) = next {
                        let until = self.events.partition_point(|event| event.time < self.events[next].time);
                        self.mark_between(end, until, part);
                    }
                }
            }
        }
    }

    /// One mark for the events that count from one place to before another, if there are any.
    fn mark_between(&self, begin: usize, end: usize, part: &mut Vec<Moment>) {
        if self.counted[end] > self.counted[begin] {
            let at = self.counted.partition_point(|count| *count <= self.counted[begin]) - 1;
            part.push(Moment { steps: 0, excluded: 0, ..self.events[at] });
        }
    }
}

/// Takes the first step away from the events that open no window because one runs already.
pub fn keep_first_entries(rules: &Rules, events: &mut [Moment]) {
    let mut opened: Option<Micros> = None;
    for event in events.iter_mut().filter(|event| event.steps & 1 == 1) {
        let running = opened.is_some_and(|opened| event.time <= rules.window_end(opened));
        // In any order, any of the tied events can be the one that comes first.
        let tied = rules.ties == Ties::Any && opened == Some(event.time);
        if running && !tied {
            event.steps &= !1;
        } else {
            opened = Some(event.time);
        }
    }
}

/// The windows that follow each other when only the first event that matches any step opens one: where each ends, and
/// its events.
pub fn windows<'e>(rules: &Rules, events: &'e [Moment], mut visit: impl FnMut(Micros, &'e [Moment])) {
    let mut rest = events;
    while let Some(begin) = rest.iter().position(|event| event.steps != 0) {
        let end = rules.window_end(rest[begin].time);
        let until = rest.partition_point(|event| event.time <= end);
        visit(end, &rest[begin..until]);
        rest = &rest[until..];
    }
}

/// Cuts the events where nothing happened for longer than the gap.
pub fn sessions(events: &[Moment], gap: Micros) -> impl Iterator<Item = &[Moment]> {
    events.chunk_by(move |one, next| next.time.saturating_sub(one.time) <= gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_with_a_longer_pause() {
        let events: Vec<Moment> = [0, 5, 10, 16, 16, 30].map(|time| Moment { time, ..Moment::default() }).into();
        let sizes: Vec<usize> = sessions(&events, 5).map(<[Moment]>::len).collect();
        assert_eq!(sizes, [3, 2, 1]);
    }
}
