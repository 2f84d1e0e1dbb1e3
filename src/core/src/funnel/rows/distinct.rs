//! Mode `ordered` for the usual user: every row later than the one before, every row matching one step.
//!
//! Then no group of equal times has to be put together, and the automaton of [`super::super::ordered`] is one comparison
//! a row: see there why the latest entry of each level is all that has to be kept.

use super::state::Rows;
use crate::error::Result;
use crate::event::Poll;
use crate::time::Micros;

/// No attempt has reached the level.
const NONE: Micros = Micros::MIN;

/// Rows between two polls.
const POLL_EVERY: u32 = 1 << 16;

/// The level of such a user; `None` for any other, for whom nothing is known then. `start` is working memory.
/// O(rows). Errors: `22023` for bytes that are no state.
pub fn level(
    rows: Rows<'_>,
    steps: usize,
    window: Option<Micros>,
    start: &mut Vec<Micros>,
    poll: Poll<'_>,
) -> Result<Option<usize>> {
    let window = window.unwrap_or(Micros::MAX);
    start.clear();
    start.resize(steps + 1, NONE);
    let (mut level, mut last, mut unusual, mut until_poll) = (0, NONE, false, POLL_EVERY);
    rows.each_while(|time, matched| {
        until_poll -= 1;
        if until_poll == 0 {
            until_poll = POLL_EVERY;
            poll();
        }
        unusual = time <= last || !matched.is_power_of_two();
        last = time;
        let step = matched.trailing_zeros() as usize;
        let Some([before, reached]) = start.get_mut(step..step + 2) else {
            unusual = true;
            return Ok(false);
        };
        let entry = if step == 0 { time } else { *before };
        if entry != NONE && time.saturating_sub(entry) <= window {
            // Entries only rise, so the one that comes is the latest.
            *reached = entry;
            level = level.max(step + 1);
        }
        Ok(!unusual && level < steps)
    })?;
    Ok((!unusual).then_some(level))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Mode;
    use super::super::state::{self, Settings};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn equals_the_automaton(
            rows in prop::collection::vec((0i64..12, prop_oneof![9 => (0u32..4).prop_map(|step| 1u64 << step), 1 => 1u64..16]), 0..14),
            window in prop::option::of(0i64..40),
        ) {
            let settings = Settings { mode: Mode::Ordered, steps: 4, window };
            let mut bytes = state::empty(settings);
            let mut automaton = Mode::Ordered.automaton(4, window);
            let (mut time, mut usual, mut done) = (-20, true, false);
            for (at, (distance, matched)) in rows.iter().enumerate() {
                time += distance;
                if !done {
                    // What stands behind the end of the funnel is not looked at.
                    usual &= (*distance > 0 || at == 0) && matched.is_power_of_two();
                    done = automaton.push(time, *matched);
                }
                if !state::push(&mut bytes, time, *matched).unwrap() {
                    bytes = state::grown(&bytes, 0).unwrap();
                    prop_assert!(state::push(&mut bytes, time, *matched).unwrap());
                }
            }
            let found = level(Rows::read(&bytes).unwrap(), 4, window, &mut vec![7], &mut || ()).unwrap();
            let expected = automaton.finish();
            prop_assert!(found.is_none_or(|found| found == expected), "{:?}, not {}", found, expected);
            prop_assert!(!usual || found.is_some());
        }
    }
}
