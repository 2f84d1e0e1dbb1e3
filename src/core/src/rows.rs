//! Rows of conditions in few bytes: what the states of `window_funnel` and of the sequence functions have in common.
//!
//! A row is two packed numbers: the folded distance of its time to the row before (the first one to 0), and the conditions
//! that it meets, one bit each.

use crate::bytes;
use crate::error::{Condition, Error, Result};
use crate::event::Poll;
use crate::packed::{LONGEST, fold, put, take, unfold};
use crate::time::Micros;

/// The longest row.
pub(crate) const ROW: usize = 2 * LONGEST;
/// The least bytes of a first state: with the length word in front a size that the server's allocator has no waste for.
pub(crate) const FIRST: usize = 124;
/// The server refuses values from here on.
const LARGEST: usize = 0x3FFF_FFFF - 4;

/// A kind of state, by what its errors say.
#[derive(Debug)]
pub(crate) struct Kind {
    /// What the rows of a group are given to.
    pub of: &'static str,
    /// The error of bytes that are no state.
    pub broken: fn() -> Error,
    /// The error of rows that do not fit into memory.
    pub no_memory: fn() -> Error,
}

/// Writes a row behind the bytes in use. Gives how many are in use then; `None` when the state has to grow first. O(1).
#[inline]
pub(crate) fn push(bytes: &mut [u8], used: usize, last: Micros, time: Micros, matched: u64) -> Option<usize> {
    let place = bytes.get_mut(used..)?.get_mut(..ROW)?;
    // Wrapped around, a distance still leads from the one time to the other.
    let written = put(place, fold(time.wrapping_sub(last)));
    Some(used + written + place.get_mut(written..).map_or(0, |place| put(place, matched)))
}

impl Kind {
    /// So many bytes of a state from a place on. Errors: those of `broken`.
    #[inline]
    pub(crate) fn word<const N: usize>(&self, bytes: &[u8], at: usize) -> Result<[u8; N]> {
        bytes::at(bytes, at).ok_or_else(self.broken)
    }

    /// Reads a row and moves behind it. Errors: those of `broken`.
    #[inline]
    pub(crate) fn row(&self, walk: &mut &[u8], last: Micros) -> Result<(Micros, u64)> {
        let distance = unfold(take(walk).ok_or_else(self.broken)?);
        Ok((last.wrapping_add(distance), take(walk).ok_or_else(self.broken)?))
    }

    /// Gives each row: its time and which of so many conditions it meets; until `visit` gives `false`. O(bytes).
    /// Errors: those of `broken` and of the visitor.
    #[inline]
    pub(crate) fn each_while(
        &self,
        mut walk: &[u8],
        conditions: usize,
        mut visit: impl FnMut(Micros, u64) -> Result<bool>,
    ) -> Result<()> {
        let beyond = u64::MAX.checked_shl(conditions as u32).unwrap_or(0);
        let mut time = 0;
        while !walk.is_empty() {
            let matched;
            (time, matched) = self.row(&mut walk, time)?;
            if matched & beyond != 0 {
                return Err((self.broken)());
            }
            if !visit(time, matched)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads all rows into memory, in order of time; those of one time stay as they came. O(rows), O(rows log rows) when
    /// they are out of order. Errors: those of `broken` and of `no_memory`.
    pub(crate) fn gather(
        &self,
        rows: &mut Vec<(Micros, u64)>,
        walk: &[u8],
        conditions: usize,
        in_order: bool,
        poll: Poll<'_>,
    ) -> Result<()> {
        rows.clear();
        self.each_while(walk, conditions, |time, matched| {
            if rows.len() == rows.capacity() {
                poll();
                rows.try_reserve(rows.len().max(64)).map_err(|_| (self.no_memory)())?;
            }
            rows.push((time, matched));
            Ok(true)
        })?;
        if !in_order {
            let mut compared: u32 = 0;
            rows.sort_by(|a, b| {
                compared = compared.wrapping_add(1);
                if compared.is_multiple_of(1 << 16) {
                    poll();
                }
                a.0.cmp(&b.0)
            });
        }
        Ok(())
    }

    /// The bytes that replace those of a full state of this length: those in use, with room for so many more and a row.
    /// O(bytes). Errors: `54000`, those of `no_memory`.
    pub(crate) fn grown(&self, used: &[u8], len: usize, more: usize) -> Result<Vec<u8>> {
        let least = used.len().saturating_add(more).saturating_add(ROW);
        if least > LARGEST {
            return Err(Error::new(
                Condition::ProgramLimitExceeded,
                format!("too many rows in one group of {}", self.of),
            )
            .detail(format!(
                "The rows of one group may take {LARGEST} bytes together, which is about 150 million rows."
            ))
            .hint("Group by user, and filter for the rows that matter."));
        }
        // The length word counts towards a power of two.
        let len = (least + 4).next_power_of_two().max(len * 2 + 4).min(LARGEST + 4) - 4;
        let mut larger = Vec::new();
        larger.try_reserve_exact(len).map_err(|_| (self.no_memory)())?;
        larger.extend_from_slice(used);
        larger.resize(len, 0);
        Ok(larger)
    }
}
