//! Funnels over plain rows: the modes by name, and the automaton that runs each of them.

use std::fmt::Debug;

use super::ordered::Ordered;
use super::rules::Rules;
use super::strict::Strict;
use super::unordered::Unordered;
use crate::error::{Condition, Error, Result, quoted};
use crate::event::Poll;
use crate::time::Micros;

mod clickhouse;
mod clickhouse_allow_reentry;
mod clickhouse_default;
mod clickhouse_strict_deduplication;
mod clickhouse_strict_increase;
mod clickhouse_strict_once;
mod clickhouse_strict_order;
mod distinct;
pub mod retention;
pub mod state;
#[cfg(test)]
mod tests;

use clickhouse::{Grouped, OneChain};
use clickhouse_strict_increase::StrictIncrease;

/// How the rows of a user are matched to the steps. The first seven are this product's own, exact; the others give
/// what ClickHouse's `windowFunnel` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `ordered`: other rows may lie between the matches.
    Ordered,
    /// `ordered_increasing`: as ordered, with times that rise from match to match.
    OrderedIncreasing,
    /// `strict`: the matches are neighbours among the user's rows.
    Strict,
    /// `strict_increasing`: as strict, with times that rise from match to match.
    StrictIncreasing,
    /// `strict_steps`: as strict, but rows that match no step are ignored.
    StrictSteps,
    /// `strict_steps_increasing`: as strict_steps, with times that rise from match to match.
    StrictStepsIncreasing,
    /// `unordered`: steps in any order within one window.
    Unordered,
    /// `clickhouse_default`: no option.
    ClickhouseDefault,
    /// `clickhouse_strict_order`: the option strict_order.
    ClickhouseStrictOrder,
    /// `clickhouse_strict_deduplication`: the option strict_deduplication.
    ClickhouseStrictDeduplication,
    /// `clickhouse_strict_increase`: the option strict_increase.
    ClickhouseStrictIncrease,
    /// `clickhouse_allow_reentry`: the options strict_order and allow_reentry, since ClickHouse refuses the latter alone.
    ClickhouseAllowReentry,
    /// `clickhouse_strict_once`: the option strict_once.
    ClickhouseStrictOnce,
}

/// Every mode and its name; a mode's place is its code in an aggregate state, so new ones go to the end.
const NAMES: [(Mode, &str); 13] = [
    (Mode::Ordered, "ordered"),
    (Mode::OrderedIncreasing, "ordered_increasing"),
    (Mode::Strict, "strict"),
    (Mode::StrictIncreasing, "strict_increasing"),
    (Mode::StrictSteps, "strict_steps"),
    (Mode::StrictStepsIncreasing, "strict_steps_increasing"),
    (Mode::Unordered, "unordered"),
    (Mode::ClickhouseDefault, "clickhouse_default"),
    (Mode::ClickhouseStrictOrder, "clickhouse_strict_order"),
    (Mode::ClickhouseStrictDeduplication, "clickhouse_strict_deduplication"),
    (Mode::ClickhouseStrictIncrease, "clickhouse_strict_increase"),
    (Mode::ClickhouseAllowReentry, "clickhouse_allow_reentry"),
    (Mode::ClickhouseStrictOnce, "clickhouse_strict_once"),
];

impl Mode {
    /// Reads a mode's name. O(1). Errors: `22023` for another text.
    pub fn read(given: &[u8]) -> Result<Self> {
        let Some((mode, _)) = NAMES.iter().find(|(_, name)| name.as_bytes() == given) else {
            let list = NAMES.iter().map(|(_, name)| format!("'{name}'")).collect::<Vec<_>>().join(", ");
            let known =
                |name: &&(Self, &str)| name.1.strip_prefix("clickhouse_").is_some_and(|n| n.as_bytes() == given);
            let nearest = NAMES.iter().find(known).map_or("ordered", |(_, name)| name);
            return Err(Error::new(
                Condition::InvalidParameterValue,
                format!("invalid value for argument \"mode\": {}", quoted(given)),
            )
            .detail(format!("The values of mode are {list}."))
            .hint(format!("Write '{nearest}' between conversion_window and time.")));
        };
        Ok(*mode)
    }

    /// The mode of a code, as [`Mode::code`] gives it.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        NAMES.get(usize::from(code)).map(|(mode, _)| *mode)
    }

    /// The mode's number in an aggregate state.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The mode's name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.get(self as usize).map_or("", |(_, name)| name)
    }

    /// Whether rows that match no step change the result, so that they have to be kept.
    #[must_use]
    pub const fn needs_misses(self) -> bool {
        matches!(
            self,
            Self::Strict | Self::StrictIncreasing | Self::ClickhouseStrictOrder | Self::ClickhouseAllowReentry
        )
    }

    /// What runs the mode.
    fn automaton(self, steps: usize, window: Option<Micros>) -> Box<dyn Automaton> {
        let rules = |increasing| Rules { increasing, ..Rules::new(steps, window) };
        let one_chain = |group| Box::new(Grouped::new(OneChain::new(steps, window, group)));
        match self {
            Self::Ordered => Box::new(Ordered::<false>::new(rules(false))),
            Self::OrderedIncreasing => Box::new(Ordered::<false>::new(rules(true))),
            Self::Strict | Self::StrictSteps => Box::new(Strict::<false>::new(rules(false))),
            Self::StrictIncreasing | Self::StrictStepsIncreasing => Box::new(Strict::<false>::new(rules(true))),
            Self::Unordered => Box::new(Unordered::<false>::new(rules(false))),
            Self::ClickhouseDefault => one_chain(clickhouse_default::group),
            Self::ClickhouseStrictOrder => one_chain(clickhouse_strict_order::group),
            Self::ClickhouseStrictDeduplication => one_chain(clickhouse_strict_deduplication::group),
            Self::ClickhouseStrictIncrease => Box::new(Grouped::new(StrictIncrease::new(steps, window))),
            Self::ClickhouseAllowReentry => one_chain(clickhouse_allow_reentry::group),
            Self::ClickhouseStrictOnce => Box::new(clickhouse_strict_once::new(steps, window)),
        }
    }
}

/// What takes one user's rows in order of time and says how far he got.
pub trait Automaton: Debug {
    /// Forgets all rows, for the next user.
    fn reset(&mut self);

    /// The next row, in order of time: when it was and which steps it matches, one bit each (no bit only in modes that
    /// need such rows). Gives `true` when nothing that follows can change the result.
    fn push(&mut self, time: Micros, matched: u64) -> bool;

    /// The level reached, after the last row.
    fn finish(&mut self) -> usize;

    /// Several rows; as [`Automaton::push`]. The loop is compiled for the mode, so that a call is paid once for many rows.
    fn push_all(&mut self, rows: &[(Micros, u64)]) -> bool {
        rows.iter().any(|(time, matched)| self.push(*time, *matched))
    }
}

macro_rules! automaton {
    ($($name:ident),*) => {$(
        impl Automaton for $name<false> {
            fn reset(&mut self) {
                Self::reset(self);
            }

            #[inline]
            fn push(&mut self, time: Micros, matched: u64) -> bool {
                Self::push(self, time, matched)
            }

            fn finish(&mut self) -> usize {
                Self::finish(self)
            }
        }
    )*};
}

automaton!(Ordered, Strict, Unordered);

/// A mode's automaton with its working memory: one for a query, used for group after group.
#[derive(Debug)]
pub struct Levels {
    automaton: Box<dyn Automaton>,
    rows: Vec<(Micros, u64)>,
    /// The steps and the window, in the mode that has a short way for the usual user; and what that needs.
    short: Option<(usize, Option<Micros>)>,
    start: Vec<Micros>,
}

impl Levels {
    /// Compiles a mode for so many steps, 1 to 64, and a window.
    #[must_use]
    pub fn new(mode: Mode, steps: usize, window: Option<Micros>) -> Self {
        let short = (mode == Mode::Ordered).then_some((steps, window));
        Self { automaton: mode.automaton(steps, window), rows: Vec::new(), short, start: Vec::new() }
    }

    /// The level of a group's rows. They are sorted by time, stably, only if they did not come so.
    /// O(rows), O(rows log rows) when out of order. Errors: `53200`, `22023` for bytes that are no state.
    pub fn level(&mut self, state: state::Rows<'_>, poll: Poll<'_>) -> Result<usize> {
        if let Some((steps, window)) = self.short.filter(|_| state.in_order())
            && let Some(level) = distinct::level(state, steps, window, &mut self.start, &mut *poll)?
        {
            return Ok(level);
        }
        state.gather(&mut self.rows, &mut *poll)?;
        self.automaton.reset();
        for rows in self.rows.chunks(1 << 16) {
            if self.automaton.push_all(rows) {
                break;
            }
            poll();
        }
        Ok(self.automaton.finish())
    }
}

fn no_memory() -> Error {
    Error::new(Condition::OutOfMemory, "out of memory")
        .detail("The rows of one group of window_funnel do not fit into memory.")
        .hint("Group by user, and filter for the rows that matter.")
}
