//! The search for patterns of up to 63 actions without comparisons of times, when only whether and where they end is
//! asked: the actions reached are the bits of one word, and a row moves all of them at once.
//!
//! Source: the shift-and method of R. Baeza-Yates and G. Gonnet, "A New Approach to Text Searching" (1992). Stars stay
//! reached; since no star follows a star, one shift passes all of them.

use super::chain::{Link, NONE};
use super::matching::Automaton;
use super::pattern::{Action, Pattern};
use crate::error::Result;
use crate::time::Micros;

#[derive(Debug)]
pub(super) struct Quick {
    /// The actions reached at this row; the bit behind the last is the end of the pattern.
    here: u64,
    /// The stars reached at this row or before.
    open: u64,
    stars: u64,
    dots: u64,
    /// For each condition the actions that ask for it.
    asking: [u64; 64],
    end: u64,
    /// The actions from which on none needs a row when the rows have ended.
    open_end: u64,
}

impl Quick {
    /// `None` for a pattern that has more actions than fit, or comparisons of times.
    pub(super) fn new(pattern: &Pattern) -> Option<Self> {
        let actions = pattern.actions();
        if actions.len() > 63 {
            return None;
        }
        let (mut stars, mut dots, mut asking) = (0, 0, [0; 64]);
        for (at, action) in actions.iter().enumerate() {
            match action {
                Action::Star => stars |= 1 << at,
                Action::Any => dots |= 1 << at,
                Action::Condition(bit) => asking[bit.trailing_zeros() as usize % 64] |= 1 << at,
                Action::Time { .. } => return None,
            }
        }
        Some(Self {
            here: 0,
            open: 0,
            stars,
            dots,
            asking,
            end: 1 << actions.len(),
            open_end: u64::MAX << pattern.open_end(),
        })
    }
}

impl Automaton for Quick {
    fn restart(&mut self) {
        (self.here, self.open) = (1, 0);
    }

    #[inline]
    fn row(&mut self, _: &[Action], _: Micros, _: Micros, matched: u64) -> Result<Option<Link>> {
        self.open |= self.here & self.stars;
        let here = self.here | self.open;
        let here = here | self.open << 1;
        if here & self.end != 0 {
            return Ok(Some(NONE));
        }
        let (mut taken, mut left) = (self.dots, matched);
        while left != 0 {
            taken |= self.asking[left.trailing_zeros() as usize];
            left &= left - 1;
        }
        self.here = (here & taken) << 1;
        Ok(None)
    }

    fn end(&self, pattern: &Pattern) -> Option<Link> {
        (self.here & self.open_end != 0 || pattern.matches_nothing()).then_some(NONE)
    }
}
