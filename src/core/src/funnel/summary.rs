//! The summary of a funnel over many users: counts for each step, mergeable, in a versioned byte layout that is updated
//! in place and a stable JSON text form.
//!
//! Layout, all numbers little-endian: version `u32` = 1, steps `u32`, users seen `i64`, fingerprint of the funnel `u64`; for each step the users who
//! reached it `i64`, the microseconds from the previous step summed over them `f64`, and from the first step `f64`;
//! then the labels, each a length `u32` and its UTF-8 bytes.

use serde::{Deserialize, Serialize};

use super::definition::MOST_STEPS;
use super::ordered::NONE;
use crate::error::{Condition, Error, Result};
use crate::time::Micros;

const VERSION: u32 = 1;
const HEAD: usize = 24;
const STEP: usize = 24;

/// A summary read into memory, and its JSON form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The version of the layout.
    pub version: u32,
    /// What the funnel asked: see [`super::definition::Funnel::fingerprint`]. Sixteen hexadecimal digits.
    pub funnel: String,
    /// Users seen, whether they entered or not.
    pub users: i64,
    /// The steps in order.
    pub steps: Vec<StepSummary>,
}

/// What is known of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSummary {
    /// The step's label.
    pub label: String,
    /// Users who reached it.
    pub users: i64,
    /// Microseconds from the previous step, summed over those users.
    pub from_previous: f64,
    /// Microseconds from the first step, summed over those users.
    pub from_start: f64,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn corrupt(what: &'static str) -> Error {
    Error::new(Condition::DataCorrupted, "corrupt funnel_summary value")
        .detail(what)
        .hint("Compute the summary again with funnel_agg.")
}

/// The number of steps, after the head was checked.
fn steps_of(bytes: &[u8]) -> Result<usize> {
    let short = || corrupt("The value ends within its head.");
    let version = u32::from_le_bytes(number(bytes, 0).ok_or_else(short)?);
    if version != VERSION {
        return Err(corrupt("The value is of a version that this library does not know."));
    }
    let steps = u32::from_le_bytes(number(bytes, 4).ok_or_else(short)?) as usize;
    if !(1..=MOST_STEPS).contains(&steps) || bytes.len() < HEAD + steps * STEP {
        return Err(corrupt("The number of steps does not fit the value."));
    }
    Ok(steps)
}

fn add_int(bytes: &mut [u8], at: usize, amount: i64) -> Option<()> {
    let sum = i64::from_le_bytes(number(bytes, at)?).saturating_add(amount);
    bytes.get_mut(at..at + 8)?.copy_from_slice(&sum.to_le_bytes());
    Some(())
}

fn add_float(bytes: &mut [u8], at: usize, amount: f64) -> Option<()> {
    let sum = f64::from_le_bytes(number(bytes, at)?) + amount;
    bytes.get_mut(at..at + 8)?.copy_from_slice(&sum.to_le_bytes());
    Some(())
}

/// The bytes of a summary of no users. O(labels).
#[must_use]
pub fn empty<'l>(fingerprint: u64, labels: impl Iterator<Item = &'l str>) -> Vec<u8> {
    let steps =
        labels.map(|label| StepSummary { label: label.to_owned(), users: 0, from_previous: 0.0, from_start: 0.0 });
    Summary { version: VERSION, funnel: format!("{fingerprint:016x}"), users: 0, steps: steps.collect() }.encode()
}

/// Adds a user to a summary, in place: the times of the steps he reached ([`NONE`] for one he left out), no time for one
/// who did not enter. O(steps).
pub fn add_user(bytes: &mut [u8], times: &[Micros]) -> Result<()> {
    let steps = steps_of(bytes)?;
    let short = || corrupt("The value ends within its counts.");
    add_int(bytes, 8, 1).ok_or_else(short)?;
    let mut previous = None;
    for (step, time) in times.iter().take(steps).enumerate().filter(|(_, time)| **time != NONE) {
        let at = HEAD + step * STEP;
        add_int(bytes, at, 1).ok_or_else(short)?;
        if let (Some(previous), Some(first)) = (previous, times.first()) {
            add_float(bytes, at + 8, seconds_exact(time - previous)).ok_or_else(short)?;
            add_float(bytes, at + 16, seconds_exact(time - first)).ok_or_else(short)?;
        }
        previous = Some(*time);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a mean of durations needs no more than 53 bits")]
const fn seconds_exact(micros: Micros) -> f64 {
    micros as f64
}

/// Adds another summary to one, in place. O(steps). Errors: `22023` when the funnels have other steps.
pub fn add_summary(bytes: &mut [u8], other: &[u8]) -> Result<()> {
    let (steps, other_steps) = (steps_of(bytes)?, steps_of(other)?);
    let labels = HEAD + steps * STEP;
    if steps != other_steps || bytes.get(16..HEAD) != other.get(16..HEAD) || bytes.get(labels..) != other.get(labels..)
    {
        return Err(Error::new(
            Condition::InvalidParameterValue,
            "summaries of different funnels cannot be put together",
        )
        .detail(match (Summary::decode(bytes)?.labels(), Summary::decode(other)?.labels()) {
            (one, two) if one == two => {
                format!("Both have the steps {one}, but their windows or other options differ.")
            }
            (one, two) => format!("The steps are {one} and {two}."),
        })
        .hint("Group by the funnel's name as well."));
    }
    let short = || corrupt("The value ends within its counts.");
    add_int(bytes, 8, number(other, 8).map_or(0, i64::from_le_bytes)).ok_or_else(short)?;
    for step in 0..steps {
        let at = HEAD + step * STEP;
        add_int(bytes, at, number(other, at).map_or(0, i64::from_le_bytes)).ok_or_else(short)?;
        for sum in [at + 8, at + 16] {
            add_float(bytes, sum, number(other, sum).map_or(0.0, f64::from_le_bytes)).ok_or_else(short)?;
        }
    }
    Ok(())
}

impl Summary {
    fn labels(&self) -> String {
        self.steps.iter().map(|step| step.label.as_str()).collect::<Vec<_>>().join(" > ")
    }

    /// The bytes of this summary.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(HEAD + self.steps.len() * (STEP + 24));
        out.extend(VERSION.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(self.users.to_le_bytes());
        out.extend(u64::from_str_radix(&self.funnel, 16).unwrap_or(0).to_le_bytes());
        for step in &self.steps {
            out.extend(step.users.to_le_bytes());
            out.extend(step.from_previous.to_le_bytes());
            out.extend(step.from_start.to_le_bytes());
        }
        for step in &self.steps {
            out.extend(u32::try_from(step.label.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend(step.label.as_bytes());
        }
        out
    }

    /// Reads the bytes. Errors: `XX001`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let count = steps_of(bytes)?;
        let short = || corrupt("The value ends within its counts.");
        let mut steps = Vec::with_capacity(count);
        let mut label_at = HEAD + count * STEP;
        for step in 0..count {
            let at = HEAD + step * STEP;
            let length = u32::from_le_bytes(number(bytes, label_at).ok_or_else(short)?) as usize;
            let label = bytes.get(label_at + 4..).and_then(|rest| rest.get(..length)).ok_or_else(short)?;
            label_at += 4 + length;
            steps.push(StepSummary {
                label: std::str::from_utf8(label).map_err(|_| corrupt("A label is not UTF-8."))?.to_owned(),
                users: i64::from_le_bytes(number(bytes, at).ok_or_else(short)?),
                from_previous: f64::from_le_bytes(number(bytes, at + 8).ok_or_else(short)?),
                from_start: f64::from_le_bytes(number(bytes, at + 16).ok_or_else(short)?),
            });
        }
        if label_at != bytes.len() {
            return Err(corrupt("There are bytes after the last label."));
        }
        let fingerprint = u64::from_le_bytes(number(bytes, 16).ok_or_else(short)?);
        Ok(Self {
            version: VERSION,
            funnel: format!("{fingerprint:016x}"),
            users: i64::from_le_bytes(number(bytes, 8).ok_or_else(short)?),
            steps,
        })
    }

    /// The stable text form.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the text form. Errors: `22P02`.
    pub fn from_text(text: &str) -> Result<Self> {
        let wrong = |detail: String| {
            Error::new(Condition::InvalidTextRepresentation, "invalid input syntax for type funnel_summary")
                .detail(detail)
                .hint("Summaries are made by funnel_agg and written by casting them to text.")
        };
        let summary: Self = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if summary.version != VERSION {
            return Err(wrong(format!("The version is {}, not {VERSION}.", summary.version)));
        }
        if summary.funnel.len() != 16 || !summary.funnel.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong("The funnel's fingerprint is not sixteen hexadecimal digits.".into()));
        }
        if !(1..=MOST_STEPS).contains(&summary.steps.len()) {
            return Err(wrong(format!("There are {} steps, not 1 to {MOST_STEPS}.", summary.steps.len())));
        }
        // An optional step may have fewer users than the one after it, but none has more than there are.
        for step in &summary.steps {
            let users = 0..=summary.users;
            if !users.contains(&step.users) || !step.from_previous.is_finite() || !step.from_start.is_finite() {
                return Err(wrong("The users of a step are between 0 and all users.".into()));
            }
        }
        Ok(summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn users() -> impl Strategy<Value = Vec<Vec<Micros>>> {
        let times = prop::collection::vec(0i64..1_000_000, 0..4).prop_map(|mut times| {
            times.sort_unstable();
            times
        });
        prop::collection::vec(times, 0..12)
    }

    fn summary(users: &[Vec<Micros>]) -> Vec<u8> {
        let mut bytes = empty(7, ["a", "b", "c"].into_iter());
        for times in users {
            add_user(&mut bytes, times).unwrap();
        }
        bytes
    }

    proptest! {
        #[test]
        fn parts_put_together_equal_the_whole(a in users(), b in users()) {
            let mut parts = summary(&a);
            add_summary(&mut parts, &summary(&b)).unwrap();
            let whole = summary(&a.iter().chain(&b).cloned().collect::<Vec<_>>());
            prop_assert_eq!(Summary::decode(&parts).unwrap(), Summary::decode(&whole).unwrap());
        }

        #[test]
        fn the_text_form_gives_the_same_summary(a in users()) {
            let summary = Summary::decode(&summary(&a)).unwrap();
            prop_assert_eq!(Summary::from_text(&summary.to_text()).unwrap(), summary);
        }

        #[test]
        fn any_bytes_give_a_summary_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), steps in 0u32..4) {
            let _ = Summary::decode(&bytes);
            let mut head = VERSION.to_le_bytes().to_vec();
            head.extend(steps.to_le_bytes());
            head.extend(bytes);
            let _ = Summary::decode(&head);
            let _ = add_user(&mut head, &[1, 2, 3]);
            let _ = Summary::from_text(&String::from_utf8_lossy(&head));
        }
    }

    #[test]
    fn other_steps_are_refused() {
        let mut a = empty(7, ["a", "b"].into_iter());
        let error = add_summary(&mut a, &empty(8, ["a", "b"].into_iter())).unwrap_err();
        assert_eq!(
            error.detail.as_deref(),
            Some("Both have the steps a > b, but their windows or other options differ.")
        );
        let error = add_summary(&mut a, &empty(7, ["a", "c"].into_iter())).unwrap_err();
        assert_eq!(error.detail.as_deref(), Some("The steps are a > b and a > c."));
    }
}
