//! Which match of an attempt a property is taken from.

use super::attempt::Match;
use crate::error::{Condition, Error, Result, quoted};

/// The match that a user's property is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// The first match of the attempt.
    First,
    /// The last one.
    Last,
    /// The match of this step, counted from 0.
    Step(usize),
}

impl Attribution {
    /// Reads `first`, `last` or `step N` for a funnel of so many steps. Errors: `22023`.
    pub fn of_text(text: &str, steps: usize) -> Result<Self> {
        let wrong = |detail: String| {
            Error::new(
                Condition::InvalidParameterValue,
                format!("invalid value for argument \"attribution\": {}", quoted(text.as_bytes())),
            )
            .detail(detail)
            .hint("Write attribution => 'first', 'last' or 'step 2'.")
        };
        match text {
            "first" => Ok(Self::First),
            "last" => Ok(Self::Last),
            other => {
                let number = other.strip_prefix("step ").and_then(|number| number.parse::<usize>().ok());
                let number = number.ok_or_else(|| wrong("It is none of 'first', 'last' and 'step N'.".to_owned()))?;
                if !(1..=steps).contains(&number) {
                    return Err(wrong(format!("The funnel has the steps 1 to {steps}.")));
                }
                Ok(Self::Step(number - 1))
            }
        }
    }

    /// The match, none when the attempt has not got it.
    #[must_use]
    pub fn of(self, matches: &[Match]) -> Option<&Match> {
        match self {
            Self::First => matches.first(),
            Self::Last => matches.last(),
            Self::Step(step) => matches.iter().find(|matched| matched.step == step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_three_forms() {
        assert_eq!(Attribution::of_text("first", 2).unwrap(), Attribution::First);
        assert_eq!(Attribution::of_text("last", 2).unwrap(), Attribution::Last);
        assert_eq!(Attribution::of_text("step 2", 2).unwrap(), Attribution::Step(1));
        for wrong in ["step 3", "step 0", "step", "step -1", "step two", "", "First"] {
            assert_eq!(
                Attribution::of_text(wrong, 2).unwrap_err().condition,
                Condition::InvalidParameterValue,
                "{wrong}"
            );
        }
    }
}
