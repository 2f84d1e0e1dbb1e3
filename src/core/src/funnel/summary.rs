//! The summary of a funnel over many users: counts for each step and the times it took, mergeable, in a versioned byte
//! layout that is updated in place and a stable JSON text form.
//!
//! Layout, all numbers little-endian: version `u32` = 1, steps `u32`, users seen `i64`, fingerprint of the funnel `u64`, optional
//! steps as bits `u64`, users whom exclusions cost steps `i64`;
//! for each step the users who reached it `i64`, the microseconds from the previous step summed over them `f64`, and from
//! the first step `f64`; then the durations that are not in a digest yet: how many there are `u32`, how many there is room
//! for `u32`, and each as step `u32`, from the previous `i64`, from the first `i64`; then the labels, each a length `u32`
//! and its UTF-8 bytes; then two digests for each step, each a count `u32` and its centroids, mean `f64` and weight `f64`.
//!
//! Durations wait until their room is full, since a digest takes a hundred of them as fast as one.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::definition::{LONGEST_LABEL, MOST_STEPS};
use super::digest::Digest;
use super::ordered::NONE;
use crate::error::{Condition, Error, Result};
use crate::stored::{Kind, Stored};
use crate::time::Micros;

const KIND: Kind = Kind { name: "funnel_summary", value: "summary", values: "Summaries", made_by: "funnel_agg" };
const VERSION: u32 = 1;
const HEAD: usize = 40;
const STEP: usize = 24;
const WAITING: usize = 20;
const FIRST_ROOM: usize = 16;
const MOST_ROOM: usize = 256;

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
    /// Users whose level would be higher without the funnel's exclusions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub excluded: i64,
    /// The steps in order.
    pub steps: Vec<StepSummary>,
}

/// What is known of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSummary {
    /// The step's label.
    pub label: String,
    /// Whether it may be left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Users who reached it.
    pub users: i64,
    /// The times from the previous step.
    pub from_previous: Durations,
    /// The times from the first step.
    pub from_start: Durations,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(count: &i64) -> bool {
    *count == 0
}

/// Times that users took, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Durations {
    /// Their sum.
    pub sum: f64,
    /// Their distribution.
    pub digest: Digest,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The number of steps, after the head was checked.
fn steps_of(bytes: &[u8]) -> Result<usize> {
    let short = || KIND.corrupt("The value ends within its head.");
    let version = u32::from_le_bytes(number(bytes, 0).ok_or_else(short)?);
    if version != VERSION {
        return Err(KIND.corrupt("The value is of a version that this library does not know."));
    }
    let steps = u32::from_le_bytes(number(bytes, 4).ok_or_else(short)?) as usize;
    if !(1..=MOST_STEPS).contains(&steps) || bytes.len() < HEAD + steps * STEP {
        return Err(KIND.corrupt("The number of steps does not fit the value."));
    }
    Ok(steps)
}

fn add_int(bytes: &mut [u8], at: usize, amount: i64) -> Option<()> {
    let sum = i64::from_le_bytes(number(bytes, at)?).saturating_add(amount);
    bytes.get_mut(at..at + 8)?.copy_from_slice(&sum.to_le_bytes());
    Some(())
}

fn add_float(bytes: &mut [u8], at: usize, amount: f64) -> Option<()> {
    let sum = (f64::from_le_bytes(number(bytes, at)?) + amount).clamp(f64::MIN, f64::MAX);
    bytes.get_mut(at..at + 8)?.copy_from_slice(&sum.to_le_bytes());
    Some(())
}

/// The bytes of a summary of no users. O(labels).
#[must_use]
pub fn empty<'l>(fingerprint: u64, steps: impl Iterator<Item = (&'l str, bool)>) -> Vec<u8> {
    let step = |(label, optional): (&str, bool)| StepSummary {
        optional,
        label: label.to_owned(),
        users: 0,
        from_previous: Durations::default(),
        from_start: Durations::default(),
    };
    let summary = Summary {
        version: VERSION,
        funnel: format!("{fingerprint:016x}"),
        users: 0,
        excluded: 0,
        steps: steps.map(step).collect(),
    };
    summary.with_room(FIRST_ROOM)
}

/// Adds a user to a summary, in place: the times of the steps he reached ([`NONE`] for one he left out), no time for one
/// who did not enter. Gives the bytes of a summary with more room when this one was full. O(steps), amortised.
pub fn add_user(bytes: &mut [u8], times: &[Micros]) -> Result<Option<Vec<u8>>> {
    let steps = steps_of(bytes)?;
    let short = || KIND.corrupt("The value ends within its counts.");
    let waiting_at = HEAD + steps * STEP;
    let count = |at: usize| number(&*bytes, at).map(|count| u32::from_le_bytes(count) as usize).ok_or_else(short);
    let (waiting, room) = (count(waiting_at)?, count(waiting_at + 4)?);
    if waiting + times.len() > room {
        let mut larger = Summary::decode(bytes)?.with_room((room * 2).clamp(FIRST_ROOM.max(times.len()), MOST_ROOM));
        add_user(&mut larger, times)?;
        return Ok(Some(larger));
    }
    add_int(bytes, 8, 1).ok_or_else(short)?;
    let mut previous = None;
    let mut place = waiting_at + 8 + waiting * WAITING;
    for (step, time) in times.iter().take(steps).enumerate().filter(|(_, time)| **time != NONE) {
        let at = HEAD + step * STEP;
        add_int(bytes, at, 1).ok_or_else(short)?;
        if let (Some(previous), Some(first)) = (previous, times.first()) {
            let (since_previous, since_first) = (time.saturating_sub(previous), time.saturating_sub(*first));
            add_float(bytes, at + 8, float(since_previous)).ok_or_else(short)?;
            add_float(bytes, at + 16, float(since_first)).ok_or_else(short)?;
            let entry = bytes.get_mut(place..place + WAITING).ok_or_else(short)?;
            entry[..4].copy_from_slice(&u32::try_from(step).unwrap_or(u32::MAX).to_le_bytes());
            entry[4..12].copy_from_slice(&since_previous.to_le_bytes());
            entry[12..].copy_from_slice(&since_first.to_le_bytes());
            place += WAITING;
        }
        previous = Some(*time);
    }
    let waiting = u32::try_from((place - waiting_at - 8) / WAITING).unwrap_or(u32::MAX);
    bytes.get_mut(waiting_at..waiting_at + 4).ok_or_else(short)?.copy_from_slice(&waiting.to_le_bytes());
    Ok(None)
}

/// Notes that exclusions cost the user steps who was added last, in place. O(1).
pub fn add_excluded(bytes: &mut [u8]) -> Result<()> {
    add_int(bytes, 32, 1).ok_or_else(|| KIND.corrupt("The value ends within its head."))
}

#[expect(clippy::cast_precision_loss, reason = "a mean of durations needs no more than 53 bits")]
const fn float(micros: Micros) -> f64 {
    micros as f64
}

/// Refuses a summary that was begun for another funnel. O(1). Errors: `22023`.
pub fn check_funnel(bytes: &[u8], fingerprint: u64) -> Result<()> {
    if number(bytes, 16).map(u64::from_le_bytes) == Some(fingerprint) {
        return Ok(());
    }
    Err(Error::new(Condition::InvalidParameterValue, "the funnel must be the same for all users of a group")
        .detail("The steps, the window or another option changed from one row to the next.")
        .hint("Give constants, or GROUP BY the definition as well."))
}

impl Summary {
    fn labels(&self) -> String {
        self.steps.iter().map(|step| step.label.as_str()).collect::<Vec<_>>().join(" > ")
    }

    /// The bytes of this summary, with room for durations to wait in.
    fn with_room(&self, room: usize) -> Vec<u8> {
        let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        let mut out = Vec::with_capacity(HEAD + self.steps.len() * (STEP + 32) + room * WAITING);
        out.extend(VERSION.to_le_bytes());
        out.extend(length(self.steps.len()));
        out.extend(self.users.to_le_bytes());
        out.extend(u64::from_str_radix(&self.funnel, 16).unwrap_or(0).to_le_bytes());
        let optional =
            self.steps.iter().enumerate().fold(0u64, |bits, (at, step)| bits | u64::from(step.optional) << at);
        out.extend(optional.to_le_bytes());
        out.extend(self.excluded.to_le_bytes());
        for step in &self.steps {
            out.extend(step.users.to_le_bytes());
            out.extend(step.from_previous.sum.to_le_bytes());
            out.extend(step.from_start.sum.to_le_bytes());
        }
        out.extend(length(0));
        out.extend(length(room));
        out.resize(out.len() + room * WAITING, 0);
        for step in &self.steps {
            out.extend(length(step.label.len()));
            out.extend(step.label.as_bytes());
        }
        for step in &self.steps {
            for durations in [&step.from_previous, &step.from_start] {
                out.extend(length(durations.digest.centroids().len()));
                for (mean, weight) in durations.digest.centroids() {
                    out.extend(mean.to_le_bytes());
                    out.extend(weight.to_le_bytes());
                }
            }
        }
        out
    }

    /// Reads the bytes of a binary message, which hold just a value's. Errors: `22P03`.
    pub fn from_binary(bytes: &[u8]) -> Result<Self> {
        let wrong = |detail: Cow<'static, str>| {
            Error::new(Condition::InvalidBinaryRepresentation, "invalid binary form of funnel_summary")
                .detail(detail)
                .hint("Write it with COPY … (FORMAT binary), or use the text form.")
        };
        let summary = Self::decode(bytes).map_err(|error| wrong(error.into_report().detail.unwrap_or_default()))?;
        match summary.flaw() {
            None => Ok(summary),
            Some(flaw) => Err(wrong(flaw.into())),
        }
    }

    /// What no summary that `funnel_agg` made would have, as a sentence.
    fn flaw(&self) -> Option<String> {
        if self.version != VERSION {
            return Some(format!("The version is {}, not {VERSION}.", self.version));
        }
        if self.funnel.len() != 16 || !self.funnel.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Some("The funnel's fingerprint is not sixteen hexadecimal digits.".to_owned());
        }
        if !(1..=MOST_STEPS).contains(&self.steps.len()) {
            return Some(format!("There are {} steps, not 1 to {MOST_STEPS}.", self.steps.len()));
        }
        if !(0..=self.users).contains(&self.excluded) {
            return Some("The excluded users are between 0 and all users.".to_owned());
        }
        // An optional step may have fewer users than the one after it, but none has more than there are.
        for step in &self.steps {
            if step.label.contains('\0') || step.label.chars().count() > LONGEST_LABEL {
                return Some(format!("A label has at most {LONGEST_LABEL} characters, none of them a zero byte."));
            }
            if !(0..=self.users).contains(&step.users) {
                return Some("The users of a step are between 0 and all users.".to_owned());
            }
            for durations in [&step.from_previous, &step.from_start] {
                if !durations.sum.is_finite() || Digest::of_centroids(durations.digest.centroids().to_vec()).is_none() {
                    return Some(
                        "Sums, means and weights are finite numbers, weights at least 1, and a digest has at most 100 centroids."
                            .to_owned(),
                    );
                }
            }
        }
        None
    }
}

/// Reads what has no fixed place.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8]> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..length));
        self.at += length;
        taken.ok_or_else(|| KIND.corrupt("The value ends too early."))
    }

    fn length(&mut self) -> Result<usize> {
        let at = self.at;
        self.take(4)?;
        Ok(number(self.bytes, at).map_or(0, u32::from_le_bytes) as usize)
    }

    fn digest(&mut self) -> Result<Digest> {
        let count = self.length()?;
        let centroids = self.take(count.checked_mul(16).ok_or_else(|| KIND.corrupt("A digest is too large."))?)?;
        let float = |bytes: &[u8], at| number(bytes, at).map_or(f64::NAN, f64::from_le_bytes);
        let centroids = centroids.chunks_exact(16).map(|centroid| (float(centroid, 0), float(centroid, 8))).collect();
        Digest::of_centroids(centroids).ok_or_else(|| KIND.corrupt("A digest has impossible centroids."))
    }
}

impl Stored for Summary {
    const KIND: Kind = KIND;

    fn decode(bytes: &[u8]) -> Result<Self> {
        let count = steps_of(bytes)?;
        let short = || KIND.corrupt("The value ends within its counts.");
        let mut rest = Reader { bytes, at: HEAD + count * STEP };
        let (waiting, room) = (rest.length()?, rest.length()?);
        let waits = rest.take(room.checked_mul(WAITING).ok_or_else(short)?)?;
        if waiting > room {
            return Err(short());
        }
        let mut labels = Vec::with_capacity(count);
        for _ in 0..count {
            let length = rest.length()?;
            let label = std::str::from_utf8(rest.take(length)?).map_err(|_| KIND.corrupt("A label is not UTF-8."))?;
            labels.push(label.to_owned());
        }
        let optional = u64::from_le_bytes(number(bytes, 24).ok_or_else(short)?);
        let mut steps = Vec::with_capacity(count);
        for (step, label) in labels.into_iter().enumerate() {
            let at = HEAD + step * STEP;
            let sum =
                |at: usize| number(bytes, at).map(f64::from_le_bytes).filter(|sum| sum.is_finite()).ok_or_else(short);
            steps.push(StepSummary {
                label,
                optional: optional >> step & 1 == 1,
                users: i64::from_le_bytes(number(bytes, at).ok_or_else(short)?),
                from_previous: Durations { sum: sum(at + 8)?, digest: rest.digest()? },
                from_start: Durations { sum: sum(at + 16)?, digest: rest.digest()? },
            });
        }
        if rest.at != bytes.len() {
            return Err(KIND.corrupt("There are bytes after the last digest."));
        }
        let mut added = vec![(Vec::new(), Vec::new()); count];
        for entry in waits.chunks_exact(WAITING).take(waiting) {
            let step = u32::from_le_bytes(number(entry, 0).ok_or_else(short)?) as usize;
            let (previous, start) = added.get_mut(step).ok_or_else(|| KIND.corrupt("A duration is of no step."))?;
            previous.push(float(i64::from_le_bytes(number(entry, 4).ok_or_else(short)?)));
            start.push(float(i64::from_le_bytes(number(entry, 12).ok_or_else(short)?)));
        }
        for (step, (previous, start)) in steps.iter_mut().zip(added) {
            step.from_previous.digest.add(previous);
            step.from_start.digest.add(start);
        }
        let fingerprint = u64::from_le_bytes(number(bytes, 16).ok_or_else(short)?);
        Ok(Self {
            version: VERSION,
            funnel: format!("{fingerprint:016x}"),
            users: i64::from_le_bytes(number(bytes, 8).ok_or_else(short)?),
            excluded: i64::from_le_bytes(number(bytes, 32).ok_or_else(short)?),
            steps,
        })
    }

    fn encode(&self) -> Vec<u8> {
        self.with_room(0)
    }

    fn to_text(&self) -> Result<String> {
        Ok(serde_json::to_string(self).unwrap_or_default())
    }

    fn from_text(text: &str) -> Result<Self> {
        let summary: Self = serde_json::from_str(text).map_err(|error| KIND.no_text(error))?;
        match summary.flaw() {
            None => Ok(summary),
            Some(flaw) => Err(KIND.no_text(flaw)),
        }
    }

    fn together(one: &[u8], two: &[u8]) -> Result<Vec<u8>> {
        let (mut one, two) = (Summary::decode(one)?, Summary::decode(two)?);
        if one.funnel != two.funnel || one.labels() != two.labels() {
            return Err(Error::new(
                Condition::InvalidParameterValue,
                "summaries of different funnels cannot be put together",
            )
            .detail(match (one.labels(), two.labels()) {
                (one, two) if one == two => {
                    format!("Both have the steps {one}, but their windows or other options differ.")
                }
                (one, two) => format!("The steps are {one} and {two}."),
            })
            .hint("Group by the funnel's name as well."));
        }
        one.users = one.users.saturating_add(two.users);
        one.excluded = one.excluded.saturating_add(two.excluded);
        for (step, other) in one.steps.iter_mut().zip(&two.steps) {
            step.users = step.users.saturating_add(other.users);
            for (durations, other) in
                [(&mut step.from_previous, &other.from_previous), (&mut step.from_start, &other.from_start)]
            {
                durations.sum = (durations.sum + other.sum).clamp(f64::MIN, f64::MAX);
                durations.digest.merge(&other.digest);
            }
        }
        Ok(one.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn users(most: usize) -> impl Strategy<Value = Vec<Vec<Micros>>> {
        let times = prop::collection::vec(0i64..1_000_000, 0..4).prop_map(|mut times| {
            times.sort_unstable();
            times
        });
        prop::collection::vec(times, 0..most)
    }

    fn summary(users: &[Vec<Micros>]) -> Vec<u8> {
        let mut bytes = empty(7, [("a", false), ("b", false), ("c", false)].into_iter());
        for times in users {
            if let Some(larger) = add_user(&mut bytes, times).unwrap() {
                bytes = larger;
            }
            if times.len() == 1 {
                add_excluded(&mut bytes).unwrap();
            }
        }
        bytes
    }

    /// The summary without its digests, which depend a little on the order of merging.
    fn counts(bytes: &[u8]) -> Summary {
        let mut summary = Summary::decode(bytes).unwrap();
        for step in &mut summary.steps {
            step.from_previous.digest = Digest::default();
            step.from_start.digest = Digest::default();
        }
        summary
    }

    /// Does with a summary all that can be done with one; what it gives can be read again.
    fn use_all(read: &Summary, other: &[u8]) -> bool {
        for step in &read.steps {
            let _ = (step.from_previous.digest.quantile(0.5), step.from_start.digest.quantile(0.9));
        }
        let _ = (crate::funnel::table::rows(read), crate::funnel::chart::text(read, 40));
        let mut bytes = read.encode();
        if let Ok(Some(larger)) = add_user(&mut bytes, &[1, 2, 3]) {
            bytes = larger;
        }
        let twice = Summary::together(&bytes, &bytes);
        let _ = Summary::together(&bytes, other);
        Summary::decode(&bytes).is_ok() && twice.is_ok_and(|twice| Summary::decode(&twice).is_ok())
    }

    proptest! {
        #[test]
        fn parts_put_together_equal_the_whole(a in users(60), b in users(60)) {
            let parts = Summary::together(&summary(&a), &summary(&b)).unwrap();
            let whole = summary(&a.iter().chain(&b).cloned().collect::<Vec<_>>());
            prop_assert_eq!(counts(&parts), counts(&whole));
        }

        #[test]
        fn the_middle_one_is_the_median(a in users(300)) {
            let mut seconds: Vec<f64> = a.iter().filter(|times| times.len() > 1).map(|times| float(times[1] - times[0])).collect();
            seconds.sort_by(f64::total_cmp);
            let median = Summary::decode(&summary(&a)).unwrap().steps[1].from_previous.digest.quantile(0.5);
            match seconds.len() {
                0 => prop_assert_eq!(median, None),
                count => {
                    let (low, high) = (seconds[count * 45 / 100], seconds[(count * 55 / 100 + 1).min(count - 1)]);
                    prop_assert!(median.is_some_and(|median| median >= low && median <= high), "{median:?} {low} {high}");
                }
            }
        }

        #[test]
        fn the_text_form_gives_the_same_summary(a in users(60)) {
            let summary = Summary::decode(&summary(&a)).unwrap();
            prop_assert_eq!(Summary::from_text(&summary.to_text().unwrap()).unwrap(), summary);
        }

        #[test]
        fn the_binary_form_gives_the_same_summary(a in users(60)) {
            let summary = Summary::decode(&summary(&a)).unwrap();
            prop_assert_eq!(Summary::from_binary(&summary.encode()).unwrap(), summary);
        }

        #[test]
        fn a_mutated_encoding_gives_a_sound_summary_or_an_error(
            a in users(40), b in users(40),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6),
            cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
        ) {
            let mut bytes = Summary::decode(&summary(&a)).unwrap().encode();
            for (at, byte, how) in changes {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes[at] ^= 1 << (byte % 8),
                    2 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            match Summary::from_binary(&bytes) {
                Ok(read) => {
                    prop_assert_eq!(&Summary::from_text(&read.to_text().unwrap()).unwrap(), &read);
                    prop_assert_eq!(&Summary::from_binary(&read.encode()).unwrap(), &read);
                    prop_assert!(use_all(&read, &summary(&b)));
                }
                Err(error) => {
                    prop_assert_eq!(error.condition, Condition::InvalidBinaryRepresentation);
                    prop_assert!(error.detail.as_ref().is_some_and(|detail| !detail.is_empty()) && error.hint.is_some());
                }
            }
        }

        #[test]
        fn a_mutated_text_gives_a_sound_summary_or_an_error(
            a in users(20), b in users(20),
            changes in prop::collection::vec((any::<prop::sample::Index>(), "[-0-9.eE,:\"{}\\[\\]a-z]{0,3}", 0usize..4), 1..4),
        ) {
            let mut text = Summary::decode(&summary(&a)).unwrap().to_text().unwrap();
            for (at, with, length) in changes {
                // The text is of single bytes.
                let at = at.index(text.len());
                text.replace_range(at..(at + length).min(text.len()), &with);
                if text.is_empty() { break }
            }
            match Summary::from_text(&text) {
                Ok(read) => {
                    prop_assert_eq!(&Summary::from_binary(&read.encode()).unwrap(), &read);
                    prop_assert!(use_all(&read, &summary(&b)));
                }
                Err(error) => {
                    prop_assert_eq!(error.condition, Condition::InvalidTextRepresentation);
                    prop_assert!(error.detail.as_ref().is_some_and(|detail| !detail.is_empty()) && error.hint.is_some());
                }
            }
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

        #[test]
        fn a_damaged_summary_gives_a_summary_or_an_error(a in users(20), at in 0usize..400, bit in 0u8..8) {
            let mut bytes = summary(&a);
            if let Some(byte) = bytes.get_mut(at) { *byte ^= 1 << bit; }
            if let Ok(summary) = Summary::decode(&bytes) {
                for step in &summary.steps {
                    let _ = step.from_start.digest.quantile(0.9);
                }
                let _ = Summary::together(&bytes, &bytes);
            }
            let _ = add_user(&mut bytes, &[1, 2, 3]);
        }
    }

    #[test]
    fn other_steps_are_refused() {
        let a = empty(7, [("a", false), ("b", false)].into_iter());
        let error = Summary::together(&a, &empty(8, [("a", false), ("b", false)].into_iter())).unwrap_err();
        assert_eq!(
            error.detail.as_deref(),
            Some("Both have the steps a > b, but their windows or other options differ.")
        );
        let error = Summary::together(&a, &empty(7, [("a", false), ("c", false)].into_iter())).unwrap_err();
        assert_eq!(error.detail.as_deref(), Some("The steps are a > b and a > c."));
    }

    #[test]
    fn a_hostile_text_is_refused() {
        let good = Summary::decode(&summary(&[vec![0, 5]])).unwrap().to_text().unwrap();
        assert!(Summary::from_text(&good).is_ok());
        for (from, to) in [
            ("[5.0,1.0]", "[5.0,-1.0]"),
            ("[5.0,1.0]", "[5.0]"),
            ("\"users\":1", "\"users\":-1"),
            ("\"users\":1", "\"users\":1,\"excluded\":2"),
            ("\"sum\":5.0", "\"sum\":1e999"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(Summary::from_text(&bad).unwrap_err().condition, Condition::InvalidTextRepresentation, "{bad}");
        }
    }
}
