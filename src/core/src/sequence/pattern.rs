//! The pattern language of the sequence functions: text in, a list of actions out.

use crate::error::{Condition, Error, Result, quoted};
use crate::time::Micros;

/// Bytes that a pattern may have. Each row can cost as many steps.
pub const LONGEST: usize = 4096;
/// Conditions that a row may have: a mask has as many bits.
pub const MOST_CONDITIONS: usize = 64;

/// How the time since the row before compares with the one written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<=`.
    AtMost,
    /// `<`.
    Below,
    /// `>=`.
    AtLeast,
    /// `>`.
    Above,
    /// `==`.
    Equal,
}

/// One element of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `(?N)`: a row that meets the condition; its bit.
    Condition(u64),
    /// `.`: any row.
    Any,
    /// `.*`: any number of rows.
    Star,
    /// `(?t…)`: any number of rows, up to one at the right distance.
    Time {
        /// How the distance is compared.
        comparison: Comparison,
        /// With what.
        distance: Micros,
        /// Whether the distance is measured from the row that ends a star, instead of from the row matched before.
        after_star: bool,
    },
}

/// A pattern that has been read. The first action is always a star: a match may begin anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    actions: Vec<Action>,
    open_end: usize,
}

impl Pattern {
    /// Reads a pattern for so many conditions. O(length).
    /// Errors: `22023` for a wrong number of conditions, an empty pattern, and for what does not read, with the position
    /// in the detail; `54000` for a pattern beyond [`LONGEST`].
    pub fn read(text: &[u8], conditions: usize) -> Result<Self> {
        if !(1..=MOST_CONDITIONS).contains(&conditions) {
            return Err(without_conditions(conditions));
        }
        if text.is_empty() {
            return Err(Error::new(Condition::InvalidParameterValue, "argument \"pattern\" is empty")
                .detail("A pattern has at least one element, at position 1.")
                .hint(ELEMENTS));
        }
        if text.len() > LONGEST {
            return Err(Error::new(
                Condition::ProgramLimitExceeded,
                format!("argument \"pattern\" has {} bytes", text.len()),
            )
            .detail(format!("A pattern may have {LONGEST} bytes; what begins at position {} is too much.", LONGEST + 1))
            .hint("Look for a shorter sequence; write .* for any number of rows instead of a dot for each."));
        }
        let actions = Reader { text, at: 0, conditions }.actions()?;
        let open_end = actions.iter().rposition(|action| !action.may_be_empty()).map_or(0, |last| last + 1);
        Ok(Self { actions, open_end })
    }

    /// What is to be done, in order.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// From which action on there are only such as need no row when the rows have ended.
    #[must_use]
    pub const fn open_end(&self) -> usize {
        self.open_end
    }

    /// Whether no rows at all are a match.
    #[must_use]
    pub const fn matches_nothing(&self) -> bool {
        self.open_end == 0
    }
}

impl Action {
    /// Whether the action needs no row when the rows have ended.
    const fn may_be_empty(&self) -> bool {
        match self {
            Self::Star => true,
            Self::Condition(_) | Self::Any => false,
            Self::Time { comparison, distance, .. } => match comparison {
                Comparison::AtMost | Comparison::Below => true,
                Comparison::AtLeast => *distance == 0,
                Comparison::Above | Comparison::Equal => false,
            },
        }
    }
}

const ELEMENTS: &str = "The elements are (?1), (?2) and so on for a row that meets that condition, . for any row, \
    .* for any number of rows, and (?t<=60), (?t<60), (?t>=60), (?t>60), (?t==60) for the seconds since the row before.";

fn without_conditions(conditions: usize) -> Error {
    Error::new(Condition::InvalidParameterValue, format!("the pattern is given {conditions} conditions"))
        .detail(format!("There can be 1 to {MOST_CONDITIONS} of them."))
        .hint("Give the conditions behind time: sequence_match('(?1).*(?2)', time, event = 'view', event = 'pay').")
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    conditions: usize,
}

impl<'t> Reader<'t> {
    fn actions(mut self) -> Result<Vec<Action>> {
        let mut actions = vec![Action::Star];
        while self.at < self.text.len() {
            let start = self.at;
            let before = actions.last().copied().unwrap_or(Action::Star);
            let action = if self.takes("(?t") {
                self.time(start, before)?
            } else if self.takes("(?") {
                self.condition(start)?
            } else if self.takes(".*") {
                Action::Star
            } else if self.takes(".") {
                Action::Any
            } else {
                return Err(self.refused(start, "no element of a pattern begins here"));
            };
            // Two stars are one.
            if (before, action) != (Action::Star, Action::Star) {
                actions.push(action);
            }
        }
        Ok(actions)
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        if found {
            self.at += word.len();
        }
        found
    }

    fn condition(&mut self, start: usize) -> Result<Action> {
        let at = self.at;
        let digits = self.digits();
        if digits.is_empty() {
            return Err(self.refused(at, "the number of a condition or a t is missing"));
        }
        let number = digits.iter().try_fold(0usize, |number, digit| {
            number.checked_mul(10)?.checked_add(usize::from(digit - b'0')).filter(|number| *number <= MOST_CONDITIONS)
        });
        let number = number.filter(|number| (1..=self.conditions).contains(number)).ok_or_else(|| {
            let many = self.conditions;
            Error::new(
                Condition::InvalidParameterValue,
                format!("the pattern asks for condition {}", String::from_utf8_lossy(&digits[..digits.len().min(20)])),
            )
            .detail(format!("At position {}: {}. The call has {many} conditions.", start + 1, self.rest(start)))
            .hint(if many == 1 {
                "Write (?1), or give more conditions.".to_owned()
            } else {
                format!("Write a number from 1 to {many}, or give more conditions.")
            })
        })?;
        self.close()?;
        Ok(Action::Condition(1 << (number - 1)))
    }

    fn time(&mut self, start: usize, before: Action) -> Result<Action> {
        let at = self.at;
        let comparison = if self.takes("<=") {
            Comparison::AtMost
        } else if self.takes("<") {
            Comparison::Below
        } else if self.takes(">=") {
            Comparison::AtLeast
        } else if self.takes(">") {
            Comparison::Above
        } else if self.takes("==") {
            Comparison::Equal
        } else {
            return Err(self.refused(at, "the comparisons of times are <=, <, >=, > and =="));
        };
        let distance = self.seconds()?;
        self.close()?;
        if matches!(before, Action::Time { .. }) {
            return Err(self.refused(start, "one comparison of times follows another"));
        }
        Ok(Action::Time { comparison, distance, after_star: before == Action::Star })
    }

    /// A number of seconds with up to six decimals.
    fn seconds(&mut self) -> Result<Micros> {
        let at = self.at;
        let whole = self.digits();
        if whole.is_empty() {
            return Err(self.refused(at, "a number of seconds is missing"));
        }
        let mut decimals: &[u8] = &[];
        if self.takes(".") {
            decimals = self.digits();
            if !(1..=6).contains(&decimals.len()) {
                return Err(self.refused(at, "seconds have one to six decimals, if any"));
            }
        }
        let padded = decimals.iter().copied().chain(std::iter::repeat(b'0')).take(6);
        let micros = whole
            .iter()
            .copied()
            .chain(padded)
            .try_fold(0, |micros: Micros, digit| micros.checked_mul(10)?.checked_add(Micros::from(digit - b'0')));
        micros.ok_or_else(|| self.refused(at, "that is more than 292,000 years"))
    }

    fn digits(&mut self) -> &'t [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let digits = &rest[..rest.iter().take_while(|byte| byte.is_ascii_digit()).count()];
        self.at += digits.len();
        digits
    }

    fn close(&mut self) -> Result<()> {
        let at = self.at;
        if self.takes(")") { Ok(()) } else { Err(self.refused(at, "a closing parenthesis is missing")) }
    }

    fn rest(&self, at: usize) -> String {
        quoted(self.text.get(at..).unwrap_or_default())
    }

    /// All that was read before is ASCII, so positions of bytes are those of characters.
    #[cold]
    fn refused(&self, at: usize, why: &str) -> Error {
        Error::new(Condition::InvalidParameterValue, format!("invalid pattern: {why}"))
            .detail(match at < self.text.len() {
                true => format!("At position {}: {}.", at + 1, self.rest(at)),
                false => format!("At position {}, where the pattern ends.", at + 1),
            })
            .hint(ELEMENTS)
    }
}
