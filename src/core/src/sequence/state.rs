//! The state of the sequence functions: the pattern and the rows of a group in few bytes, changed in place.
//!
//! Layout, numbers in the machine's order: bytes used `u32`, version `u8` = 1, conditions `u8`, whether the rows came
//! in order of time `u8`, nothing `u8`, time of the last row `i64`, bytes of the pattern `u16`, the pattern; then for
//! each row two packed numbers: the folded distance of its time to the row before (the first one to 0), and the
//! conditions that it meets. What is behind is room; a full state is replaced by one of twice the size, so that adding a
//! row costs O(1) on average.

use super::matching::no_memory;
use super::pattern::{LONGEST as LONGEST_PATTERN, MOST_CONDITIONS, Pattern};
use crate::error::{Condition, Error, Result, quoted};
use crate::event::Poll;
use crate::rows::{self, FIRST, Kind, ROW};
use crate::time::Micros;

const VERSION: u8 = 1;
/// Where the head says whether the rows came in order.
const IN_ORDER: usize = 6;
/// Where the pattern is.
const PATTERN: usize = 18;
const KIND: Kind = Kind { of: "a sequence function", broken, no_memory };

#[cold]
fn broken() -> Error {
    Error::new(Condition::InvalidParameterValue, "not a state of the sequence functions")
        .detail("The bytes were made by something else.")
        .hint("Call sequence_match, sequence_count or sequence_events, not their support functions.")
}

/// The bytes of a state of no rows; pattern and number of conditions are those that [`Pattern::read`] has taken.
#[must_use]
pub fn empty(pattern: &[u8], conditions: usize) -> Vec<u8> {
    let head = PATTERN + pattern.len();
    let len = if head + ROW > FIRST { (head + 8 * ROW + 4).next_power_of_two() - 4 } else { FIRST };
    let mut bytes = Vec::with_capacity(len);
    bytes.extend(u32::try_from(head).unwrap_or(0).to_ne_bytes());
    bytes.extend([VERSION, u8::try_from(conditions).unwrap_or(0), 1, 0]);
    bytes.extend(0i64.to_ne_bytes());
    bytes.extend(u16::try_from(pattern.len()).unwrap_or(0).to_ne_bytes());
    bytes.extend_from_slice(pattern);
    bytes.resize(len, 0);
    bytes
}

/// Makes sure that a row has the pattern and the number of conditions of its group's state. O(pattern).
/// Errors: `22023` naming what differs.
#[inline]
pub fn check_same(bytes: &[u8], pattern: &[u8], conditions: usize) -> Result<()> {
    let found = bytes.get(PATTERN..PATTERN + pattern.len());
    let same = found == Some(pattern)
        && usize::from(u16::from_ne_bytes(KIND.word(bytes, 16)?)) == pattern.len()
        && KIND.word(bytes, 4)? == [VERSION, u8::try_from(conditions).unwrap_or(u8::MAX)];
    if same { Ok(()) } else { Err(differs(Rows::read(bytes)?, pattern, conditions)) }
}

#[cold]
fn differs(first: Rows<'_>, pattern: &[u8], conditions: usize) -> Error {
    let (argument, detail) = if first.pattern == pattern {
        ("conditions", format!("One row has {} conditions and another has {conditions}.", first.conditions))
    } else {
        ("pattern", format!("One row has {} and another has {}.", quoted(first.pattern), quoted(pattern)))
    };
    Error::new(Condition::InvalidParameterValue, format!("argument \"{argument}\" differs between rows of one group"))
        .detail(detail)
        .hint(format!("Give a constant, or GROUP BY what {argument} depends on as well."))
}

/// Appends a row: its time and the conditions it meets. `false` when the state has to grow first. O(1).
/// Errors: `22023` for bytes that are no state.
#[inline]
pub fn push(bytes: &mut [u8], time: Micros, matched: u64) -> Result<bool> {
    let used = u32::from_ne_bytes(KIND.word(bytes, 0)?) as usize;
    let last = i64::from_ne_bytes(KIND.word(bytes, 8)?);
    let head = PATTERN + usize::from(u16::from_ne_bytes(KIND.word(bytes, 16)?));
    if used < head {
        return Err(broken());
    }
    let Some(end) = rows::push(bytes, used, last, time, matched) else { return Ok(false) };
    let in_order = time >= last || used == head;
    write_head(bytes, end, in_order, time)?;
    Ok(true)
}

#[inline]
fn write_head(bytes: &mut [u8], used: usize, in_order: bool, last: Micros) -> Result<()> {
    let head: &mut [u8; PATTERN] = bytes.first_chunk_mut().ok_or_else(broken)?;
    head[..4].copy_from_slice(&(used as u32).to_ne_bytes());
    head[IN_ORDER] &= u8::from(in_order);
    head[8..16].copy_from_slice(&last.to_ne_bytes());
    Ok(())
}

/// The state that replaces a full one: its bytes with room for so many more and a row. O(bytes).
/// Errors: `54000`, `53200`, `22023` for bytes that are no state.
pub fn grown(bytes: &[u8], more: usize) -> Result<Vec<u8>> {
    let rows = Rows::read(bytes)?;
    KIND.grown(rows.used, bytes.len(), more)
}

/// Appends all rows of another state of the same pattern; the caller has grown this one. O(bytes of the other).
/// Errors: `22023` when the patterns differ.
pub fn append(bytes: &mut [u8], other: Rows<'_>) -> Result<()> {
    check_same(bytes, other.pattern, other.conditions)?;
    let mut walk = other.rows();
    if walk.is_empty() {
        return Ok(());
    }
    let (time, matched) = KIND.row(&mut walk, 0)?;
    let fits = push(bytes, time, matched)?;
    // From its second row on the other's bytes hold distances, so they are true behind any row.
    let used = u32::from_ne_bytes(KIND.word(bytes, 0)?) as usize;
    let place = bytes.get_mut(used..used + walk.len()).filter(|_| fits).ok_or_else(broken)?;
    place.copy_from_slice(walk);
    write_head(bytes, used + walk.len(), other.in_order, other.last)
}

/// The bytes of two states put together: the rows of the other come behind. O(bytes).
/// Errors: `22023` when the patterns differ or for bytes that are no states, `54000`, `53200`.
pub fn together(state: &[u8], other: &[u8]) -> Result<Vec<u8>> {
    let other = Rows::read(other)?;
    let mut whole = grown(state, other.len())?;
    append(&mut whole, other)?;
    Ok(whole)
}

/// A state that is read.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'b> {
    used: &'b [u8],
    pattern: &'b [u8],
    conditions: usize,
    in_order: bool,
    last: Micros,
}

impl<'b> Rows<'b> {
    /// Reads a state's head. Errors: `22023` for bytes that are no state.
    pub fn read(bytes: &'b [u8]) -> Result<Self> {
        let used = bytes.get(..u32::from_ne_bytes(KIND.word(bytes, 0)?) as usize).ok_or_else(broken)?;
        let [version, conditions, in_order] = KIND.word(used, 4)?;
        let conditions = usize::from(conditions);
        let len = usize::from(u16::from_ne_bytes(KIND.word(used, 16)?));
        let pattern = used.get(PATTERN..PATTERN + len).ok_or_else(broken)?;
        let known = version == VERSION && (1..=MOST_CONDITIONS).contains(&conditions);
        if !known || !(1..=LONGEST_PATTERN).contains(&len) {
            return Err(broken());
        }
        Ok(Self { used, pattern, conditions, in_order: in_order == 1, last: i64::from_ne_bytes(KIND.word(used, 8)?) })
    }

    /// The pattern's text.
    #[must_use]
    pub const fn pattern(&self) -> &'b [u8] {
        self.pattern
    }

    /// How many conditions the rows have.
    #[must_use]
    pub const fn conditions(&self) -> usize {
        self.conditions
    }

    /// The pattern. Errors: `22023` for bytes that are no state.
    pub fn read_pattern(&self) -> Result<Pattern> {
        Pattern::read(self.pattern, self.conditions)
    }

    /// Whether the rows came in order of time.
    #[must_use]
    pub const fn in_order(&self) -> bool {
        self.in_order
    }

    /// How many bytes are in use.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    fn rows(&self) -> &'b [u8] {
        self.used.get(PATTERN + self.pattern.len()..).unwrap_or_default()
    }

    /// Reads all rows into memory, by time. O(rows), O(rows log rows) when they are out of order.
    /// Errors: `53200`, `22023` for bytes that are no state.
    pub fn gather(&self, rows: &mut Vec<(Micros, u64)>, poll: Poll<'_>) -> Result<()> {
        KIND.gather(rows, self.rows(), self.conditions, self.in_order, poll)
    }
}
