//! A user's events apart by the values of the held properties, each part with what matters to it of the others.

use super::moment::Moment;
use super::rules::{Rules, Ties};
use crate::event::{POLL_EVERY, Poll};
use crate::time::Micros;

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
        let mut seen = 0;
        let mut slots = own.chunk_by(|one, next| self.events[*one].time == self.events[*next].time).peekable();
        while let Some(slot) = slots.next() {
            let (Some(first), Some(last)) = (slot.first(), slot.last()) else { continue };
            let time = self.events[*first].time;
            let next = slots.peek().and_then(|next| next.first()).copied();
            seen += 1;
            if seen % POLL_EVERY == 0 {
                poll();
            }
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
