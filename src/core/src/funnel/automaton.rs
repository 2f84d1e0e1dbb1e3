//! The automaton of a mode: events in order of time go in, a level and times come out.

use super::definition::Mode;
use super::ordered::Ordered;
use super::rules::Rules;
use super::strict::Strict;
use super::unordered::Unordered;
use crate::time::Micros;

/// The automaton of a funnel's mode.
#[derive(Debug)]
pub enum Automaton<const TIMES: bool> {
    /// Of [`Mode::Ordered`].
    Ordered(Ordered<TIMES>),
    /// Of [`Mode::Strict`] and [`Mode::StrictSteps`].
    Strict(Strict<TIMES>),
    /// Of [`Mode::Unordered`].
    Unordered(Unordered<TIMES>),
}

impl<const TIMES: bool> Automaton<TIMES> {
    /// The automaton of a mode.
    #[must_use]
    pub fn new(mode: Mode, rules: Rules) -> Self {
        match mode {
            Mode::Ordered => Self::Ordered(Ordered::new(rules)),
            Mode::Strict | Mode::StrictSteps => Self::Strict(Strict::new(rules)),
            Mode::Unordered => Self::Unordered(Unordered::new(rules)),
        }
    }

    /// Forgets all events, for the next user.
    pub fn reset(&mut self) {
        match self {
            Self::Ordered(automaton) => automaton.reset(),
            Self::Strict(automaton) => automaton.reset(),
            Self::Unordered(automaton) => automaton.reset(),
        }
    }

    /// The next event that matters to the mode, in order of time: when it was and which steps it matches, one bit each.
    /// Gives `true` when nothing that follows can change the result.
    #[inline]
    pub fn push(&mut self, time: Micros, matched: u64) -> bool {
        match self {
            Self::Ordered(automaton) => automaton.push(time, matched),
            Self::Strict(automaton) => automaton.push(time, matched),
            Self::Unordered(automaton) => automaton.push(time, matched),
        }
    }

    /// The user's level, 0 when no step was matched.
    pub fn finish(&mut self) -> usize {
        match self {
            Self::Ordered(automaton) => automaton.finish(),
            Self::Strict(automaton) => automaton.finish(),
            Self::Unordered(automaton) => automaton.finish(),
        }
    }

    /// The times of the attempt that counts. Empty without `TIMES`.
    #[must_use]
    pub fn times(&self) -> &[Micros] {
        match self {
            Self::Ordered(automaton) => automaton.times(),
            Self::Strict(automaton) => automaton.times(),
            Self::Unordered(automaton) => automaton.times(),
        }
    }
}
