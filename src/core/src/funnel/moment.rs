//! One event as the rules see it, and events cut by their time.

use crate::time::Micros;

/// One event of a user, or a mark that stands for some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// When it was.
    pub time: Micros,
    /// Where it stands in the array, from 0.
    pub place: u32,
    /// The steps that it matches, one bit each.
    pub steps: u64,
    /// The exclusions that it matches, one bit each.
    pub excluded: u64,
    /// The values of the held properties, as a number.
    pub hold: u32,
    /// Whether it stands between its neighbours in the modes that ask for consecutive events.
    pub counts: bool,
}

/// The events of one time after the other; the events are in order of time.
pub fn slots(events: &[Moment]) -> impl Iterator<Item = &[Moment]> {
    events.chunk_by(|one, next| one.time == next.time)
}
