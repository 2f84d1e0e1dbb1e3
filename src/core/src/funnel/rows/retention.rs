//! `retention`: which conditions a user met at all, as far as he met the first one.
//!
//! The state is one 64-bit number, so that no memory is taken for a user: the number of conditions in the top byte, and
//! a bit for each condition that some row met below. The order of rows plays no part.

use crate::error::{Condition, Error, Result};

/// Conditions that a state has room for.
pub const MOST_CONDITIONS: usize = 56;

const MET: u64 = (1 << MOST_CONDITIONS) - 1;

/// The state after one more row with so many conditions, of which those in `met` hold, one bit each. O(1).
/// Errors: `54000` for more than 56 conditions, `22023` when rows of one group differ in their number.
pub fn add(state: Option<i64>, conditions: usize, met: u64) -> Result<i64> {
    let row = match u8::try_from(conditions) {
        Ok(count) if (1..=MOST_CONDITIONS).contains(&conditions) => u64::from(count) << MOST_CONDITIONS | met & MET,
        _ => {
            return Err(Error::new(
                Condition::ProgramLimitExceeded,
                format!("retention cannot take {conditions} conditions"),
            )
            .detail("It takes 1 to 56 conditions.")
            .hint("Count the later conditions in a second call that repeats the first condition."));
        }
    };
    combine(state.unwrap_or(row.cast_signed()), row.cast_signed())
}

/// The state of two parts of a group. O(1). Errors: `22023` as [`add`].
pub fn combine(state: i64, other: i64) -> Result<i64> {
    if count(state) != count(other) {
        return Err(Error::new(
            Condition::InvalidParameterValue,
            "rows of one group have different numbers of conditions",
        )
        .detail(format!("One row has {} conditions and another has {}.", count(state), count(other)))
        .hint("Give retention the same conditions in every row."));
    }
    Ok(state | other)
}

const fn count(state: i64) -> u64 {
    state.cast_unsigned() >> MOST_CONDITIONS
}

/// The flags of a group: 1 for the first condition if it was met, 1 for each other one that was met as well as the
/// first. O(conditions).
#[must_use]
pub fn flags(state: i64) -> Vec<i32> {
    let met = state.cast_unsigned();
    (0..count(state).min(MOST_CONDITIONS as u64)).map(|at| i32::from(met & 1 == 1 && met >> at & 1 == 1)).collect()
}
