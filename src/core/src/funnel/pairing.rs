//! Events that serve steps, one each, kept the most that can be as events come and go.
//!
//! Alternating paths (Kuhn), searched over the steps alone: a served step has one event that serves it. An event that
//! serves goes on serving some step until it goes.

use super::slot::bits;

/// Distinct events that serve steps.
#[derive(Debug)]
pub struct Pairing {
    /// The steps that are served, one bit each.
    steps: u64,
    /// For each step the number of the event that serves it, and what that event matches.
    by: Box<[(u64, u64); 64]>,
}

impl Default for Pairing {
    fn default() -> Self {
        Self { steps: 0, by: Box::new([(0, 0); 64]) }
    }
}

impl Pairing {
    /// How many steps are served.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.steps.count_ones() as usize
    }

    /// Forgets all events.
    pub const fn clear(&mut self) {
        self.steps = 0;
    }

    /// The step that an event serves.
    #[must_use]
    pub fn step_of(&self, event: u64) -> Option<usize> {
        bits(self.steps).find(|step| self.by[*step].0 == event)
    }

    /// Lets an event serve a step that nothing serves, if moving others lets it. O(k).
    pub fn enter(&mut self, event: u64, matched: u64) -> bool {
        // From which step each was come to; the steps that the event itself matches from none.
        let mut from = [0u8; 64];
        let (mut seen, mut open) = (matched, matched);
        while open != 0 {
            if open & !self.steps != 0 {
                let mut step = (open & !self.steps).trailing_zeros() as usize;
                self.steps |= 1 << step;
                while matched >> step & 1 == 0 {
                    let before = usize::from(from[step]);
                    self.by[step] = self.by[before];
                    step = before;
                }
                self.by[step] = (event, matched);
                return true;
            }
            let step = open.trailing_zeros() as usize;
            open &= open - 1;
            let new = self.by[step].1 & !seen;
            for further in bits(new) {
                from[further] = u8::try_from(step).unwrap_or_default();
            }
            seen |= new;
            open |= new;
        }
        false
    }

    /// A step that an event serves no longer; the event that `waiting` knows for it, or for a step whose event can take
    /// it, serves in its place. Gives that event, if there is one. O(k²) at most, mostly O(k).
    pub fn replace(&mut self, lost: usize, mut waiting: impl FnMut(usize) -> Option<(u64, u64)>) -> Option<u64> {
        self.steps &= !(1 << lost);
        let mut to = [0u8; 64];
        let (mut seen, mut open) = (1u64 << lost, 1u64 << lost);
        while open != 0 {
            let step = open.trailing_zeros() as usize;
            open &= open - 1;
            if let Some(event) = waiting(step) {
                // Each event on the way back takes the step that was come from.
                let (mut place, mut moved) = (step, event);
                loop {
                    std::mem::swap(&mut self.by[place], &mut moved);
                    if place == lost {
                        break;
                    }
                    place = usize::from(to[place]);
                }
                self.steps |= 1 << lost;
                return Some(event.0);
            }
            for other in bits(self.steps & !seen) {
                if self.by[other].1 >> step & 1 == 1 {
                    to[other] = u8::try_from(step).unwrap_or_default();
                    seen |= 1 << other;
                    open |= 1 << other;
                }
            }
        }
        None
    }
}
