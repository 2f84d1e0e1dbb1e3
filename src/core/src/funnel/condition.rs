//! The conditions of a step on the properties of an event.

use crate::error::Result;
use crate::event::{Event, Key};
use crate::time::{self, Clock, Micros};
use crate::value::Value;

/// One property and all that has to hold of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The property's name.
    pub property: String,
    /// What has to hold, all of it.
    pub tests: Vec<Test>,
}

/// What has to hold of a property. Texts are compared with what `->>` gives; an absent or NULL property equals nothing,
/// contains nothing and is neither below nor above anything.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// It is one of these texts.
    In(Vec<String>),
    /// It is none of these texts; an absent property is none.
    NotIn(Vec<String>),
    /// It contains this text.
    Contains(String),
    /// It starts with this text.
    StartsWith(String),
    /// It is there and not NULL, or not.
    Exists(bool),
    /// It is a number or a time that compares so with the bound.
    Compare(Comparison, Bound),
}

/// A comparison with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Below.
    Less,
    /// Below or equal.
    LessOrEqual,
    /// Above.
    Greater,
    /// Above or equal.
    GreaterOrEqual,
}

/// What a property is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// A number; the property has to read as one.
    Number(f64),
    /// A whole number that is too large for every other one near it to be told apart in floating point.
    Whole(i128),
    /// A time; the property has to read as one.
    Time(Micros),
}

impl Comparison {
    fn holds<T: PartialOrd>(self, value: &T, bound: &T) -> bool {
        match self {
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
        }
    }
}

impl Test {
    /// The test as tags and texts that never change between versions.
    pub fn parts(&self, mut part: impl FnMut(&str, &str)) {
        match self {
            Self::In(texts) => texts.iter().for_each(|text| part("in", text)),
            Self::NotIn(texts) => texts.iter().for_each(|text| part("not_in", text)),
            Self::Contains(text) => part("contains", text),
            Self::StartsWith(text) => part("starts_with", text),
            Self::Exists(there) => part("exists", if *there { "true" } else { "false" }),
            Self::Compare(comparison, bound) => {
                let tag = match comparison {
                    Comparison::Less => "lt",
                    Comparison::LessOrEqual => "lte",
                    Comparison::Greater => "gt",
                    Comparison::GreaterOrEqual => "gte",
                };
                match bound {
                    Bound::Number(number) => part(tag, &format!("{:016x}", number.to_bits())),
                    Bound::Whole(number) => part(tag, &format!("whole {number}")),
                    Bound::Time(time) => part(tag, &format!("time {time}")),
                }
            }
        }
    }

    fn holds(&self, value: &Value<'_>, scratch: &mut Vec<u8>) -> Result<bool> {
        if let Self::Compare(comparison, Bound::Time(bound)) = self {
            return Ok(
                matches!(time::of_value(value, &mut Clock::default()), Ok(Some(time)) if comparison.holds(&time, bound)),
            );
        }
        let text = value.text(scratch)?;
        let Some(text) = text else {
            return Ok(matches!(self, Self::NotIn(_) | Self::Exists(false)));
        };
        Ok(match self {
            Self::In(texts) => texts.iter().any(|known| known.as_bytes() == text),
            Self::NotIn(texts) => texts.iter().all(|known| known.as_bytes() != text),
            Self::Contains(part) => memchr::memmem::find(text, part.as_bytes()).is_some(),
            Self::StartsWith(part) => text.starts_with(part.as_bytes()),
            Self::Exists(there) => *there,
            Self::Compare(comparison, Bound::Number(bound)) => {
                number(text).is_some_and(|number| comparison.holds(&number, bound))
            }
            Self::Compare(comparison, Bound::Whole(bound)) => match whole(text) {
                Some(number) => comparison.holds(&number, bound),
                None => number(text).is_some_and(|number| comparison.holds(&number, &float(*bound))),
            },
            Self::Compare(_, Bound::Time(_)) => false,
        })
    }
}

/// A text that reads as a decimal number; one beyond all floating-point numbers is beyond all bounds.
fn number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    // Words such as "inf" are no decimal numbers.
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if is_decimal { text.parse().ok() } else { None }
}

/// A text that reads as a whole number.
fn whole(text: &[u8]) -> Option<i128> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "what it is compared with is not exact either")]
const fn float(whole: i128) -> f64 {
    whole as f64
}

/// Conditions with the places where their properties were found last.
#[derive(Clone, Debug)]
pub struct Conditions(Vec<(Condition, usize)>);

impl Conditions {
    /// Conditions that nothing was looked up for yet.
    #[must_use]
    pub fn new(conditions: &[Condition]) -> Self {
        Self(conditions.iter().map(|condition| (condition.clone(), 0)).collect())
    }

    /// Whether all of them hold of an event. O(conditions · look-up).
    pub fn hold<'a>(&mut self, event: &impl Event<'a>, scratch: &mut Vec<u8>) -> Result<bool> {
        for (condition, hint) in &mut self.0 {
            let mut key = Key::last_at(condition.property.as_bytes(), *hint);
            let value = event.get(&mut key)?;
            *hint = key.hint;
            for test in &condition.tests {
                if !test.holds(&value, scratch)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(test: Test, value: Value<'_>) -> bool {
        test.holds(&value, &mut Vec::new()).unwrap()
    }

    #[test]
    fn texts() {
        let text = Value::Text(b"web shop");
        assert!(holds(Test::In(vec!["app".into(), "web shop".into()]), text));
        assert!(!holds(Test::NotIn(vec!["web shop".into()]), text));
        assert!(holds(Test::Contains("b s".into()), text) && !holds(Test::Contains("x".into()), text));
        assert!(holds(Test::StartsWith("web".into()), text) && !holds(Test::StartsWith("shop".into()), text));
        assert!(holds(Test::In(vec!["true".into()]), Value::Bool(true)));
    }

    #[test]
    fn what_is_not_there_equals_nothing() {
        for value in [Value::Absent, Value::Null] {
            assert!(!holds(Test::In(vec![String::new()]), value));
            assert!(holds(Test::NotIn(vec!["a".into()]), value));
            assert!(holds(Test::Exists(false), value) && !holds(Test::Exists(true), value));
            assert!(!holds(Test::Contains(String::new()), value));
            assert!(!holds(Test::Compare(Comparison::Less, Bound::Number(1.0)), value));
        }
    }

    #[test]
    fn numbers_and_times() {
        let compare = |comparison, bound, value: &[u8]| holds(Test::Compare(comparison, bound), Value::Text(value));
        assert!(compare(Comparison::Less, Bound::Number(10.0), b"9"));
        assert!(
            !compare(Comparison::Less, Bound::Number(9.0), b"9")
                && compare(Comparison::LessOrEqual, Bound::Number(9.0), b"9")
        );
        assert!(compare(Comparison::GreaterOrEqual, Bound::Number(-1.5), b"-1.5"));
        // Neighbours that are one in floating point.
        let large = Bound::Whole(9_007_199_254_740_992);
        assert!(compare(Comparison::Greater, large, b"9007199254740993"));
        assert!(!compare(Comparison::Greater, large, b"9007199254740992"));
        assert!(compare(Comparison::Less, large, b"0.5") && compare(Comparison::Greater, large, b"1e400"));
        assert!(compare(Comparison::Greater, Bound::Number(5.0), b"1e400"));
        assert!(!compare(Comparison::Greater, Bound::Number(5.0), b"inf"));
        assert!(
            !compare(Comparison::Greater, Bound::Number(0.0), b"many")
                && !compare(Comparison::Less, Bound::Number(0.0), b"NaN")
        );
        assert!(compare(Comparison::Less, Bound::Time(2_000_000), b"1970-01-01T00:00:01Z"));
        assert!(!compare(Comparison::Less, Bound::Time(2_000_000), b"soon"));
    }
}
