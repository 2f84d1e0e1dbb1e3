//! The automaton of mode `unordered` with exclusions: exact, as linear as [`super::unordered`].
//!
//! **Meaning.** An attempt that matches every step is void when an excluded event lies strictly in time between its first and
//! its last match; one that does not, when an excluded event lies strictly between its first match and the end of its window.
//! (An exclusion between two certain steps has no meaning here, since steps have no order.)
//!
//! **Why sliding windows are enough.** Whatever can be matched by some events can be matched with the first of them taking
//! part: in a largest matching give it a step that it matches. So an attempt that ends at a time may as well begin at the
//! earliest event from which it is not void: for all steps the first event since the last excluded one and within the
//! window, for fewer the first event within the window whose own window holds no excluded event. Both
//! beginnings rise with the end.
//!
//! **Times.** When the level is known: its first end, and from there back to the latest event from which it can be reached
//! and that may begin it.

use super::attempt::Found;
use super::moment::{Moment, slots};
use super::rules::Rules;
use super::unordered::Window;
use crate::event::{Pace, Poll};
use crate::time::Micros;

/// Runs a user's events, in order of time. `end` is when the window ends, if it is one that an earlier event opened.
#[must_use]
pub fn run(rules: &Rules, events: &[Moment], end: Option<Micros>, poll: Poll<'_>) -> Option<Found> {
    let excluded: Vec<Micros> = events.iter().filter(|event| event.excluded != 0).map(|event| event.time).collect();
    let matching: Vec<Moment> = events.iter().filter(|event| event.steps != 0).copied().collect();
    let whole = sweep(rules, &matching, rules.steps, poll, |since, until| {
        let last = excluded.partition_point(|time| *time < until).checked_sub(1).map(|at| excluded[at]);
        last.is_none_or(|last| last <= since)
    });
    if whole.is_some() {
        return whole;
    }
    let steps = rules.steps - 1;
    sweep(rules, &matching, steps, poll, |since, _| {
        let end = end.unwrap_or_else(|| rules.window_end(since));
        excluded.get(excluded.partition_point(|time| *time <= since)).is_none_or(|next| *next >= end)
    })
}

/// The best attempt of at most so many steps; at exactly so many of all of them. `may_begin` says whether an attempt may
/// last from one time to another; what may not, may not last longer either.
fn sweep(
    rules: &Rules,
    events: &[Moment],
    most: usize,
    poll: Poll<'_>,
    may_begin: impl Fn(Micros, Micros) -> bool,
) -> Option<Found> {
    let mut window = Window::default();
    let mut begin = 0;
    let mut best: Option<Found> = None;
    let least = if most == rules.steps { most } else { 1 };
    let mut pace = Pace::default();
    for at_once in slots(events) {
        pace.step(at_once.len(), &mut *poll);
        let time = at_once.first()?.time;
        for event in at_once {
            window.push(event.time, event.steps, rules.steps);
        }
        let mut from = time;
        while begin < events.len() && events[begin].time <= time {
            from = events[begin].time;
            if from >= rules.window_begin(time) && may_begin(from, time) {
                break;
            }
            begin += 1;
        }
        window.drop_before(if begin < events.len() && events[begin].time <= time { from } else { Micros::MAX });
        let level = window.served().min(most);
        if level >= least && best.is_none_or(|best| best.level < level) {
            let latest = window.latest_beginning(level);
            // The latest event at or before it that may begin the attempt.
            let until = events.partition_point(|event| event.time <= latest);
            let entry = events[begin..until].iter().rev().map(|event| event.time).find(|from| may_begin(*from, time));
            best = entry.map(|entry| Found { level, entry, done: time });
            if level == most {
                return best;
            }
        }
    }
    best
}
