//! The events of one time: which steps an attempt can take in them.

use std::rc::Rc;

use super::matching::{Group, Served};
use super::moment::Moment;
use super::rules::{Rules, Ties};
use crate::event::{POLL_EVERY, Poll};

/// The events of one time that match some step.
#[derive(Debug)]
pub struct Slot<'r> {
    rules: &'r Rules,
    group: Group,
    /// What each matches, in the order of the array.
    masks: Vec<u64>,
    /// What was found for each first step.
    known: Vec<Option<Rc<Reach>>>,
}

/// What an attempt can do in a slot, having taken a certain step first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The last steps that it can take there, one bit each.
    pub lasts: u64,
    /// For ties in the order of the array: at which event of the slot each is taken first.
    at: Vec<u32>,
}

impl Reach {
    /// The order in which attempts that end with this step are completed, among those of one time.
    #[must_use]
    pub fn order(&self, step: usize) -> u32 {
        self.at.get(step).copied().unwrap_or_default()
    }
}

/// The bits of a set, from the lowest.
pub fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = set.trailing_zeros() as usize;
        (set != 0).then(|| {
            set &= set - 1;
            lowest
        })
    })
}

impl<'r> Slot<'r> {
    /// No events yet.
    #[must_use]
    pub fn new(rules: &'r Rules) -> Self {
        Self { rules, group: Group::new(), masks: Vec::new(), known: vec![None; rules.steps] }
    }

    /// Takes in the events of a time.
    pub fn fill(&mut self, events: &[Moment]) {
        self.group.clear();
        self.masks.clear();
        self.known.fill(None);
        for event in events.iter().filter(|event| event.steps != 0) {
            self.group.push(event.steps);
            self.masks.push(event.steps);
        }
    }

    /// The rules that it goes by.
    #[must_use]
    pub const fn rules(&self) -> &'r Rules {
        self.rules
    }

    /// The steps that any event matches.
    #[must_use]
    pub fn union(&self) -> u64 {
        self.group.union()
    }

    /// What an attempt can do that takes `first` first.
    /// O(k²·min(events, k)) for free ties, O(events·k²) for those in the order of the array, O(1) for an event alone and
    /// for what was asked before.
    pub fn reach(&mut self, first: usize, poll: Poll<'_>) -> Rc<Reach> {
        if let Some(Some(known)) = self.known.get(first) {
            return Rc::clone(known);
        }
        let only = || Reach { lasts: self.group.union() & 1 << first, at: Vec::new() };
        let reach = Rc::new(match (self.masks.len(), self.rules.ties) {
            (0, _) => Reach::default(),
            (1, _) => only(),
            _ if self.rules.increasing => only(),
            (_, Ties::Any) => Reach { lasts: self.in_any_order(first), at: Vec::new() },
            (_, Ties::Array) => self.in_array_order(first, poll),
        });
        if let Some(known) = self.known.get_mut(first) {
            *known = Some(Rc::clone(&reach));
        }
        reach
    }

    /// A run that can be taken can be taken without its optional steps as well, so those are tried one at a time and
    /// never kept.
    fn in_any_order(&self, first: usize) -> u64 {
        let mut served = self.group.nothing_served();
        if !self.group.serve(first, &mut served) {
            return 0;
        }
        let mut lasts = 1 << first;
        for step in first + 1..self.rules.steps {
            let optional = self.rules.is_optional(step);
            let before = optional.then(|| served.clone());
            if self.group.serve(step, &mut served) {
                lasts |= 1 << step;
                if let Some(before) = before {
                    served = before;
                }
            } else if !optional {
                break;
            }
        }
        lasts
    }

    fn in_array_order(&self, first: usize, poll: Poll<'_>) -> Reach {
        let mut reach = Reach { lasts: 0, at: vec![0; self.rules.steps] };
        for (place, mask) in (0u32..).zip(&self.masks) {
            if (place as usize).is_multiple_of(POLL_EVERY) {
                poll();
            }
            let before = reach.lasts;
            let mut new = mask & 1 << first & !before;
            for last in bits(before) {
                for step in self.rules.next_steps(last + 1) {
                    new |= mask & 1 << step & !before;
                }
            }
            for step in bits(new) {
                reach.at[step] = place;
            }
            reach.lasts |= new;
        }
        reach
    }

    /// Whether an attempt that takes `first` first and `last` last can take every event of the slot, of which there are
    /// `size`. Only for ties in any order; O(k²·min(events, k)).
    #[must_use]
    pub fn takes_all(&self, first: usize, last: usize, size: usize) -> bool {
        if self.rules.increasing || size == 1 {
            return size == 1;
        }
        if size > last - first + 1 || size != self.group.size() {
            return false;
        }
        let mut served = Served::default();
        let needed = (first..=last).filter(|step| *step == first || *step == last || !self.rules.is_optional(*step));
        let mut taken = 0;
        for step in needed {
            if !self.group.serve(step, &mut served) {
                return false;
            }
            taken += 1;
        }
        for step in (first + 1..last).filter(|step| self.rules.is_optional(*step)) {
            taken += usize::from(self.group.serve(step, &mut served));
        }
        taken >= size
    }
}
