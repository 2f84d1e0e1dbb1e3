//! The state of `window_funnel`: the rows of a group in few bytes, changed in place.
//!
//! Layout, numbers in the machine's order: bytes used `u32`, version `u8` = 1, mode `u8`, steps `u8`, window `i64` (-1 =
//! none), whether the rows came in order of time `u8`, time of the last row `i64`; then for each row the distance of its
//! time to the row before (the first one to 0), its sign folded into the lowest bit, and the steps that it matches: two
//! numbers of 7 bits a byte, low ones first, the top bit of a byte saying that another follows. What is behind is
//! room; a full state is replaced by one of twice the size, so that adding a row costs O(1) on average.

use super::{Mode, no_memory};
use crate::error::{Condition, Error, Result};
use crate::event::Poll;
use crate::funnel::definition::MOST_STEPS;
use crate::rows::{self, FIRST, Kind};
use crate::time::Micros;

const VERSION: u8 = 1;
const HEAD: usize = 24;
/// Where the head says whether the rows came in order.
const IN_ORDER: usize = 15;
const KIND: Kind = Kind { of: "window_funnel", broken, no_memory };

#[cold]
fn broken() -> Error {
    Error::new(Condition::InvalidParameterValue, "not a state of window_funnel")
        .detail("The bytes were made by something else.")
        .hint("Call window_funnel, not its support functions.")
}

/// What all rows of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How rows are matched.
    pub mode: Mode,
    /// How many conditions there are.
    pub steps: usize,
    /// The longest time from the match of step 1 to any other; `None` = no limit.
    pub window: Option<Micros>,
}

impl Settings {
    /// Checks the number of steps. Errors: `22023`.
    pub fn check(self) -> Result<Self> {
        if (1..=MOST_STEPS).contains(&self.steps) {
            return Ok(self);
        }
        Err(Error::new(Condition::InvalidParameterValue, format!("window_funnel has {} conditions", self.steps))
            .detail("A funnel has 1 to 64 steps, one condition each.")
            .hint("Give the conditions behind time: window_funnel('6 hours', time, event = 'view', event = 'pay')."))
    }
}

/// The bytes of a state of no rows.
#[must_use]
pub fn empty(settings: Settings) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIRST);
    bytes.extend((HEAD as u32).to_ne_bytes());
    bytes.extend([VERSION, settings.mode.code(), u8::try_from(settings.steps).unwrap_or(u8::MAX)]);
    bytes.extend(settings.window.unwrap_or(-1).to_ne_bytes());
    bytes.push(1);
    bytes.extend(0i64.to_ne_bytes());
    bytes.resize(FIRST, 0);
    bytes
}

/// Makes sure that a row has the settings of its group's state. O(1). Errors: `22023` naming what differs.
#[inline]
pub fn check_same(bytes: &[u8], settings: Settings) -> Result<()> {
    let steps = u8::try_from(settings.steps).unwrap_or(u8::MAX);
    let same = KIND.word(bytes, 4)? == [VERSION, settings.mode.code(), steps]
        && i64::from_ne_bytes(KIND.word(bytes, 7)?) == settings.window.unwrap_or(-1);
    if same { Ok(()) } else { Err(differs(Rows::read(bytes)?.settings()?, settings)) }
}

#[cold]
fn differs(first: Settings, row: Settings) -> Error {
    let (argument, detail) = if first.mode != row.mode {
        ("mode", format!("One row has '{}' and another has '{}'.", first.mode.name(), row.mode.name()))
    } else if first.steps != row.steps {
        ("conditions", format!("One row has {} conditions and another has {}.", first.steps, row.steps))
    } else {
        let shown = |window: Option<Micros>| window.map_or("NULL".to_owned(), |micros| format!("{micros} µs"));
        ("conversion_window", format!("One row has {} and another has {}.", shown(first.window), shown(row.window)))
    };
    Error::new(
        Condition::InvalidParameterValue,
        format!("argument \"{argument}\" of window_funnel differs between rows of one group"),
    )
    .detail(detail)
    .hint(format!("Give a constant, or GROUP BY what {argument} depends on as well."))
}

/// Appends a row: its time and the steps it matches. `false` when the state has to grow first. O(1).
/// Errors: `22023` for bytes that are no state.
#[inline]
pub fn push(bytes: &mut [u8], time: Micros, matched: u64) -> Result<bool> {
    let used = u32::from_ne_bytes(KIND.word(bytes, 0)?) as usize;
    let last = i64::from_ne_bytes(KIND.word(bytes, 16)?);
    if used < HEAD {
        return Err(broken());
    }
    let Some(end) = rows::push(bytes, used, last, time, matched) else { return Ok(false) };
    let head: &mut [u8; HEAD] = bytes.first_chunk_mut().ok_or_else(broken)?;
    if time < last && used > HEAD {
        head[IN_ORDER] = 0;
    }
    head[..4].copy_from_slice(&(end as u32).to_ne_bytes());
    head[16..].copy_from_slice(&time.to_ne_bytes());
    Ok(true)
}

/// The state that replaces a full one: its bytes with room for so many more and a row. O(bytes).
/// Errors: `54000`, `53200`, `22023` for bytes that are no state.
pub fn grown(bytes: &[u8], more: usize) -> Result<Vec<u8>> {
    let rows = Rows::read(bytes)?;
    KIND.grown(rows.used(), bytes.len(), more)
}

/// Appends all rows of another state of the same settings; the caller has grown this one. O(bytes of the other).
/// Errors: `22023` when the settings differ.
pub fn append(bytes: &mut [u8], other: Rows<'_>) -> Result<()> {
    check_same(bytes, other.settings()?)?;
    let Some((time, matched, rest)) = other.first()? else { return Ok(()) };
    let fits = push(bytes, time, matched)?;
    // From its second row on the other's bytes hold distances, so they are true behind any row.
    let used = u32::from_ne_bytes(KIND.word(bytes, 0)?) as usize;
    let place = bytes.get_mut(used..used + rest.len()).filter(|_| fits).ok_or_else(broken)?;
    place.copy_from_slice(rest);
    let head: &mut [u8; HEAD] = bytes.first_chunk_mut().ok_or_else(broken)?;
    head[..4].copy_from_slice(&((used + rest.len()) as u32).to_ne_bytes());
    head[IN_ORDER] &= u8::from(other.in_order());
    head[16..].copy_from_slice(&KIND.word::<8>(other.bytes, 16)?);
    Ok(())
}

/// The bytes of two states put together: the rows of the other come behind. O(bytes).
/// Errors: `22023` when the settings differ or for bytes that are no states, `54000`, `53200`.
pub fn together(state: &[u8], other: &[u8]) -> Result<Vec<u8>> {
    let other = Rows::read(other)?;
    let mut whole = grown(state, other.used().len())?;
    append(&mut whole, other)?;
    Ok(whole)
}

/// A state that is read.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'b> {
    bytes: &'b [u8],
    used: usize,
}

impl<'b> Rows<'b> {
    /// Reads a state's head. Errors: `22023` for bytes that are no state.
    pub fn read(bytes: &'b [u8]) -> Result<Self> {
        let used = u32::from_ne_bytes(KIND.word(bytes, 0)?) as usize;
        let [version] = KIND.word(bytes, 4)?;
        if version != VERSION || !(HEAD..=bytes.len()).contains(&used) {
            return Err(broken());
        }
        Ok(Self { bytes, used })
    }

    /// What the rows have in common. Errors: `22023` for bytes that are no state.
    pub fn settings(self) -> Result<Settings> {
        let [mode, steps] = KIND.word(self.bytes, 5)?;
        let window = i64::from_ne_bytes(KIND.word(self.bytes, 7)?);
        if !(1..=MOST_STEPS).contains(&usize::from(steps)) || window < -1 {
            return Err(broken());
        }
        let mode = Mode::of_code(mode).ok_or_else(broken)?;
        Ok(Settings { mode, steps: steps.into(), window: (window >= 0).then_some(window) })
    }

    /// The bytes that make up the settings.
    #[must_use]
    pub fn settings_bytes(self) -> &'b [u8] {
        self.bytes.get(4..15).unwrap_or_default()
    }

    /// Whether the rows came in order of time.
    #[must_use]
    pub fn in_order(self) -> bool {
        self.bytes.get(IN_ORDER) == Some(&1)
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(self) -> &'b [u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    fn first(self) -> Result<Option<(Micros, u64, &'b [u8])>> {
        let mut walk = self.rows();
        if walk.is_empty() {
            return Ok(None);
        }
        let (time, matched) = KIND.row(&mut walk, 0)?;
        Ok(Some((time, matched, walk)))
    }

    fn rows(self) -> &'b [u8] {
        self.used().get(HEAD..).unwrap_or_default()
    }

    /// Reads all rows into memory, by time. O(rows), O(rows log rows) when they are out of order.
    /// Errors: `53200`, `22023` for bytes that are no state.
    pub fn gather(self, rows: &mut Vec<(Micros, u64)>, poll: Poll<'_>) -> Result<()> {
        KIND.gather(rows, self.rows(), self.settings()?.steps, self.in_order(), poll)
    }

    /// Gives each row: its time and the steps that it matches; until `visit` gives `false`. O(bytes).
    /// Errors: `22023` for bytes that are no state, and those of the visitor.
    pub fn each_while(self, visit: impl FnMut(Micros, u64) -> Result<bool>) -> Result<()> {
        KIND.each_while(self.rows(), self.settings()?.steps, visit)
    }
}
