//! Which distinct events of a group can take which steps: a small bipartite matching.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Events of one group: what they match, one bit a step, and how many match just that.
#[derive(Clone, Debug)]
pub struct Group {
    /// The event of a group of one, which most are.
    only: [(u64, u32); 1],
    /// The kinds of events of a larger group.
    several: Vec<(u64, u32)>,
    /// Where each kind is, once there are many: the masks of a group are not bounded by the number of steps.
    places: HashMap<u64, usize, FixedState>,
    size: usize,
}

/// Up to so many kinds are looked through.
const FEW_KINDS: usize = 16;

/// The steps that each kind of event of a group serves, one bit a step.
#[derive(Clone, Debug, Default)]
pub struct Served(Vec<u64>);

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl Group {
    /// No events.
    #[must_use]
    pub fn new() -> Self {
        Self { only: [(0, 1)], several: Vec::new(), places: HashMap::with_hasher(FixedState::with_seed(0)), size: 0 }
    }

    /// Forgets the events.
    #[inline]
    pub fn clear(&mut self) {
        if self.size > 1 {
            self.several.clear();
            self.places.clear();
        }
        self.size = 0;
    }

    #[inline]
    fn kinds(&self) -> &[(u64, u32)] {
        match self.size {
            0 => &[],
            1 => &self.only,
            _ => &self.several,
        }
    }

    /// Adds an event. O(1).
    #[inline]
    pub fn push(&mut self, matched: u64) {
        self.size += 1;
        match self.size {
            1 => self.only[0].0 = matched,
            2 => {
                self.several.extend_from_slice(&self.only);
                self.push_further(matched);
            }
            _ => self.push_further(matched),
        }
    }

    fn push_further(&mut self, matched: u64) {
        if let Some(at) = self.kind_of(matched) {
            self.several[at].1 = self.several[at].1.saturating_add(1);
            return;
        }
        self.several.push((matched, 1));
        let at = self.several.len() - 1;
        if at == FEW_KINDS {
            self.places.extend(self.several.iter().enumerate().map(|(at, (kind, _))| (*kind, at)));
        } else if at > FEW_KINDS {
            self.places.insert(matched, at);
        }
    }

    #[inline]
    fn kind_of(&self, matched: u64) -> Option<usize> {
        if self.places.is_empty() {
            self.kinds().iter().position(|(kind, _)| *kind == matched)
        } else {
            self.places.get(&matched).copied()
        }
    }

    /// A step that an event which matches this is to take, of those that are served; each is given once. O(1).
    pub fn hand_out(&self, matched: u64, served: &mut Served) -> Option<usize> {
        let steps = served.0.get_mut(self.kind_of(matched)?).filter(|steps| **steps != 0)?;
        let step = steps.trailing_zeros() as usize;
        *steps &= *steps - 1;
        Some(step)
    }

    /// How many events there are.
    #[inline]
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// What an only event matches.
    #[inline]
    #[must_use]
    pub fn only(&self) -> Option<u64> {
        (self.size == 1).then_some(self.only[0].0)
    }

    /// The steps that any of the events match.
    #[must_use]
    pub fn union(&self) -> u64 {
        self.kinds().iter().fold(0, |all, (kind, _)| all | kind)
    }

    /// No step served yet.
    #[must_use]
    pub fn nothing_served(&self) -> Served {
        Served(vec![0; self.kinds().len()])
    }

    /// Serves one more step, if distinct events can then still take all that are served; moves others to other events
    /// where that helps. Gives whether it could; what could not be served changes nothing.
    /// O(kinds · served steps). Source: H. W. Kuhn, augmenting paths.
    pub fn serve(&self, step: usize, served: &mut Served) -> bool {
        served.0.resize(self.kinds().len(), 0);
        let mut tried = vec![false; self.kinds().len()];
        self.augment(step, &mut served.0, &mut tried)
    }

    fn augment(&self, step: usize, served: &mut [u64], tried: &mut [bool]) -> bool {
        for (at, (matched, count)) in self.kinds().iter().copied().enumerate() {
            if tried[at] || matched >> step & 1 == 0 {
                continue;
            }
            tried[at] = true;
            if served[at].count_ones() < count {
                served[at] |= 1 << step;
                return true;
            }
            let mut others = served[at];
            while others != 0 {
                let other = others.trailing_zeros() as usize;
                others &= others - 1;
                if self.augment(other, served, tried) {
                    served[at] = served[at] & !(1 << other) | 1 << step;
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether distinct events can take the steps, by trying every event for the first and so on.
    fn oracle(events: &[u64], steps: &[usize]) -> bool {
        let Some((first, rest)) = steps.split_first() else { return true };
        (0..events.len()).any(|at| {
            let mut others = events.to_vec();
            others.remove(at) >> first & 1 == 1 && oracle(&others, rest)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn serves_what_can_be_served(events in prop::collection::vec(0u64..16, 0..6), wanted in prop::collection::vec(0usize..4, 0..5)) {
            let mut group = Group::new();
            events.iter().for_each(|event| group.push(*event));
            let mut served = group.nothing_served();
            let mut have = Vec::new();
            for step in wanted {
                if have.contains(&step) { continue }
                have.push(step);
                let can = oracle(&events, &have);
                prop_assert_eq!(group.serve(step, &mut served), can);
                if !can { have.pop(); }
            }
            // Each step that is served is handed to one event that matches it.
            let mut handed: Vec<usize> = Vec::new();
            for event in &events {
                if let Some(step) = group.hand_out(*event, &mut served) {
                    prop_assert!(event >> step & 1 == 1);
                    handed.push(step);
                }
            }
            handed.sort_unstable();
            have.sort_unstable();
            prop_assert_eq!(handed, have);
        }
    }
}
