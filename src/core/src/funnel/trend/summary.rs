//! A funnel's summaries by period of entry, mergeable, in a versioned byte layout that is updated in place and a stable
//! JSON text form.
//!
//! Layout, all numbers little-endian: version `u32` = 1, periods `u32`, room for periods `u32`, bytes of summaries `u32`,
//! room for such bytes `u32`, bytes of the settings `u32`, users seen `i64`, fingerprint of the settings `u64`; the
//! settings as JSON; the periods in order, each its number `i32`, where the bytes of its summary begin `u32`, how many
//! they are `u32` and how many may be there `u32`; then those bytes (see [`super::super::summary`]).
//!
//! Bound: [`MOST_PERIODS`] periods and [`MOST_BYTES`] bytes. A period of a funnel of five steps takes 23 kB at most.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::super::summary::{self as funnel, Summary};
use crate::bytes;
use crate::error::{Condition, Error, Result};
pub use crate::stored::fingerprint;
use crate::stored::{Kind, Stored, check_fingerprint, json};
use crate::time::Micros;
use crate::zone::{Calendar, Period};

const KIND: Kind = Kind { name: "funnel_trend", value: "trend", values: "Trends", made_by: "funnel_trend_agg" };
const VERSION: u32 = 1;
const HEAD: usize = 40;
const ENTRY: usize = 16;
const FIRST_ROOM: usize = 8;
/// Periods of a trend: of days, eleven years.
pub const MOST_PERIODS: usize = 4_096;
/// Bytes of a trend.
pub const MOST_BYTES: usize = 256 << 20;

/// What all users of a trend have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The funnel's fingerprint, sixteen hexadecimal digits.
    pub funnel: String,
    /// The length of a period, such as `P1D`.
    pub period: String,
    /// The zone's name.
    pub time_zone: String,
}

impl Settings {
    /// Of a funnel and a calendar.
    #[must_use]
    pub fn new(fingerprint: u64, calendar: &Calendar) -> Self {
        Self {
            funnel: format!("{fingerprint:016x}"),
            period: calendar.period().to_string(),
            time_zone: calendar.zone().to_owned(),
        }
    }

    /// The calendar. Errors: `22023`, also for other spellings than its own.
    pub fn calendar(&self) -> Result<Calendar> {
        let calendar = Calendar::new(Period::of_text("period", &self.period)?, &self.time_zone)?;
        if self.period == calendar.period().to_string() && self.time_zone == calendar.zone() {
            return Ok(calendar);
        }
        Err(Error::new(Condition::InvalidParameterValue, "period and time zone are not spelled as a trend spells them"))
    }
}

/// A trend read into memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// What was asked.
    pub settings: Settings,
    /// Users seen, whether they entered or not.
    pub users: i64,
    /// The funnel of those who entered in a period, by the period's number.
    pub periods: BTreeMap<i32, Summary>,
}

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    funnel: String,
    period: String,
    time_zone: String,
    users: i64,
    periods: Vec<PeriodText>,
}

/// A period: its first date and its funnel.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeriodText {
    start: String,
    funnel: Json,
}

#[cold]
fn short() -> Error {
    KIND.short()
}

#[cold]
fn too_large() -> Error {
    Error::new(Condition::ProgramLimitExceeded, "too many periods for one funnel_trend")
        .detail(format!("A trend has at most {MOST_PERIODS} periods and {MOST_BYTES} bytes."))
        .hint("Take a longer period, or leave events with absurd times out.")
}

/// The places of a value's parts, after its head was checked.
struct Parts {
    periods: usize,
    room: usize,
    used: usize,
    heap: usize,
    at: usize,
    heap_at: usize,
}

#[inline]
fn parts(bytes: &[u8]) -> Result<Parts> {
    KIND.check_version(bytes, VERSION)?;
    let count = |place| KIND.count(bytes, place);
    let (periods, room, used, heap) = (count(4)?, count(8)?, count(12)?, count(16)?);
    let at = HEAD + count(20)?;
    let heap_at = at + room * ENTRY;
    if periods > room || used > heap || heap_at + heap != bytes.len() {
        return Err(KIND.corrupt("The number of periods does not fit the value."));
    }
    Ok(Parts { periods, room, used, heap, at, heap_at })
}

/// Where the summary of a period lies.
struct Entry {
    number: i32,
    from: usize,
    length: usize,
    room: usize,
}

impl Parts {
    fn entry(&self, bytes: &[u8], at: usize) -> Option<Entry> {
        let place = self.at + at * ENTRY;
        let entry = Entry {
            number: bytes::i32_at(bytes, place)?,
            from: bytes::count_at(bytes, place + 4)?,
            length: bytes::count_at(bytes, place + 8)?,
            room: bytes::count_at(bytes, place + 12)?,
        };
        (entry.length <= entry.room && entry.from + entry.room <= self.used).then_some(entry)
    }

    /// The place of a period among the others, or where it goes. O(log periods).
    fn search(&self, bytes: &[u8], number: i32) -> Option<std::result::Result<Entry, usize>> {
        let (mut low, mut high) = (0, self.periods);
        while low < high {
            let middle = usize::midpoint(low, high);
            let entry = self.entry(bytes, middle)?;
            match entry.number.cmp(&number) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(Ok(entry)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Some(Err(low))
    }
}

/// The bytes of a trend of no users. O(settings).
#[must_use]
pub fn empty(settings: &Settings) -> Vec<u8> {
    written(&json(settings), 0, &BTreeMap::new(), true)
}

/// Refuses a trend that was begun with other settings. O(1). Errors: `22023`.
pub fn check_settings(bytes: &[u8], fingerprint: u64) -> Result<()> {
    let message = "the funnel, the period and the time zone must be the same for all users of a group";
    check_fingerprint(bytes, 32, fingerprint, message, "One of them changed from one row to the next.")
}

/// Adds a user, in place: the number of the period of entry, if the user entered, and the times of the steps. `fresh` is
/// the funnel's summary of nobody. Gives the bytes of a larger trend when this one was full. O(steps + log periods),
/// amortised. Errors: `54000` beyond the bounds, `XX001`.
pub fn add_user(bytes: &mut [u8], period: Option<i32>, times: &[Micros], fresh: &[u8]) -> Result<Option<Vec<u8>>> {
    let larger = match period {
        Some(number) => add_entry(bytes, number, times, fresh)?,
        None => None,
    };
    match larger {
        Some(mut larger) => {
            bytes::add(&mut larger, 24, 1).ok_or_else(short)?;
            Ok(Some(larger))
        }
        None => {
            parts(bytes)?;
            bytes::add(bytes, 24, 1).ok_or_else(short)?;
            Ok(None)
        }
    }
}

fn add_entry(bytes: &mut [u8], number: i32, times: &[Micros], fresh: &[u8]) -> Result<Option<Vec<u8>>> {
    let parts = parts(bytes)?;
    match parts.search(bytes, number).ok_or_else(short)? {
        Ok(Entry { from, length, room, .. }) => {
            let at = parts.heap_at + from;
            let summary = bytes.get_mut(at..at + length).ok_or_else(short)?;
            match funnel::add_user(summary, times)? {
                None => Ok(None),
                Some(larger) if larger.len() <= room => {
                    bytes::put(bytes, at, &larger).ok_or_else(short)?;
                    set_entry(bytes, &parts, number, (from, larger.len(), room))?;
                    Ok(None)
                }
                Some(larger) => moved(bytes, &parts, number, larger),
            }
        }
        Err(_) if parts.periods >= MOST_PERIODS => Err(too_large()),
        Err(place) => {
            let mut summary = fresh.to_vec();
            if let Some(larger) = funnel::add_user(&mut summary, times)? {
                summary = larger;
            }
            if parts.periods == parts.room {
                return rebuilt(bytes, &parts, number, summary).map(Some);
            }
            // The periods behind make way for one without a place yet.
            let (from, to) = (parts.at + place * ENTRY, parts.at + parts.periods * ENTRY);
            bytes.get(to..to + ENTRY).ok_or_else(short)?;
            bytes.copy_within(from..to, from + ENTRY);
            bytes::put(bytes, from, &number.to_le_bytes()).ok_or_else(short)?;
            bytes::put(bytes, from + 4, &[0; 12]).ok_or_else(short)?;
            bytes::put(bytes, 4, &bytes::count(parts.periods + 1)).ok_or_else(short)?;
            moved(bytes, &Parts { periods: parts.periods + 1, ..parts }, number, summary)
        }
    }
}

/// Writes where the summary of a period lies: from, length, room.
fn set_entry(bytes: &mut [u8], parts: &Parts, number: i32, (from, length, room): (usize, usize, usize)) -> Result<()> {
    // The period was found or entered just before, so it is there.
    let (mut low, mut high) = (0, parts.periods);
    while low < high {
        let middle = usize::midpoint(low, high);
        let place = parts.at + middle * ENTRY;
        match bytes::i32_at(bytes, place).ok_or_else(short)?.cmp(&number) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Equal => {
                for (at, count) in [(4, from), (8, length), (12, room)] {
                    bytes::put(bytes, place + at, &bytes::count(count)).ok_or_else(short)?;
                }
                return Ok(());
            }
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Err(KIND.corrupt("The periods are out of order."))
}

/// Room for a summary of this length: it grows for a while.
const fn room_for(length: usize) -> usize {
    length + length / 4
}

/// Puts a summary that outgrew its room behind all others; gives a larger trend when there is no room either.
fn moved(bytes: &mut [u8], parts: &Parts, number: i32, summary: Vec<u8>) -> Result<Option<Vec<u8>>> {
    let room = room_for(summary.len());
    if parts.used + room > parts.heap {
        return rebuilt(bytes, parts, number, summary).map(Some);
    }
    bytes::put(bytes, parts.heap_at + parts.used, &summary).ok_or_else(short)?;
    set_entry(bytes, parts, number, (parts.used, summary.len(), room))?;
    bytes::put(bytes, 12, &bytes::count(parts.used + room)).ok_or_else(short)?;
    Ok(None)
}

/// A larger trend, with another summary for one period, without the gaps of those that moved.
fn rebuilt(bytes: &[u8], parts: &Parts, number: i32, summary: Vec<u8>) -> Result<Vec<u8>> {
    let mut summaries = BTreeMap::new();
    for at in 0..parts.periods {
        let entry = parts.entry(bytes, at).ok_or_else(short)?;
        let from = parts.heap_at + entry.from;
        summaries.insert(entry.number, bytes.get(from..from + entry.length).ok_or_else(short)?.to_vec());
    }
    summaries.insert(number, summary);
    let settings = bytes.get(HEAD..parts.at).ok_or_else(short)?;
    let larger = written(settings, bytes::i64_at(bytes, 24).ok_or_else(short)?, &summaries, true);
    if summaries.len() > MOST_PERIODS || larger.len() > MOST_BYTES { Err(too_large()) } else { Ok(larger) }
}

/// The bytes of a trend, with room for more or without.
fn written(settings: &[u8], users: i64, summaries: &BTreeMap<i32, Vec<u8>>, room: bool) -> Vec<u8> {
    let room_of = |summary: &Vec<u8>| if room { room_for(summary.len()) } else { summary.len() };
    let used: usize = summaries.values().map(room_of).sum();
    let heap = if room { used * 2 + 4_096 } else { used };
    let periods = if room { (summaries.len() * 2).max(FIRST_ROOM) } else { summaries.len() };
    let mut out = Vec::with_capacity(HEAD + settings.len() + periods * ENTRY + heap);
    for number in [VERSION as usize, summaries.len(), periods, used, heap, settings.len()] {
        out.extend(bytes::count(number));
    }
    out.extend(users.to_le_bytes());
    out.extend(bytes::fingerprint(settings).to_le_bytes());
    out.extend(settings);
    let mut from = 0;
    for (number, summary) in summaries {
        out.extend(number.to_le_bytes());
        for count in [from, summary.len(), room_of(summary)] {
            out.extend(bytes::count(count));
        }
        from += room_of(summary);
    }
    out.resize(HEAD + settings.len() + periods * ENTRY, 0);
    for summary in summaries.values() {
        out.extend(summary);
        out.resize(out.len() + room_of(summary) - summary.len(), 0);
    }
    out.resize(HEAD + settings.len() + periods * ENTRY + heap, 0);
    out
}

impl Trend {
    /// What is wrong with the trend, if anything is.
    fn check(&self, calendar: &Calendar) -> std::result::Result<(), &'static str> {
        let labels = |summary: &Summary| {
            summary.steps.iter().map(|step| (step.label.clone(), step.optional)).collect::<Vec<_>>()
        };
        let first = self.periods.values().next().map(labels);
        let mut entered: i64 = 0;
        for (number, summary) in &self.periods {
            if calendar.start(*number).is_err() {
                return Err("A period lies outside of the calendar.");
            }
            if summary.funnel != self.settings.funnel || first.as_ref() != Some(&labels(summary)) {
                return Err("The periods have different funnels.");
            }
            if summary.users < 1 {
                return Err("A period has at least one user.");
            }
            entered = entered.saturating_add(summary.users);
        }
        if self.users < entered { Err("The periods have more users than were seen.") } else { Ok(()) }
    }
}

impl Stored for Trend {
    const KIND: Kind = KIND;

    fn decode(bytes: &[u8]) -> Result<Self> {
        let parts = parts(bytes)?;
        if parts.periods > MOST_PERIODS {
            return Err(KIND.corrupt("The value has more periods than a trend may have."));
        }
        let settings: Settings = KIND.settings(bytes.get(HEAD..parts.at))?;
        let calendar = settings.calendar().map_err(|_| KIND.corrupt("The settings name no calendar."))?;
        let mut periods = BTreeMap::new();
        let mut last = None;
        for at in 0..parts.periods {
            let Entry { number, from, length, .. } = parts.entry(bytes, at).ok_or_else(short)?;
            let from = parts.heap_at + from;
            let summary = Summary::decode(bytes.get(from..from + length).ok_or_else(short)?)?;
            if last.is_some_and(|last| last >= number) {
                return Err(KIND.corrupt("The periods are out of order."));
            }
            last = Some(number);
            periods.insert(number, summary);
        }
        let trend = Self { settings, users: bytes::i64_at(bytes, 24).ok_or_else(short)?, periods };
        trend.check(&calendar).map_err(|what| KIND.corrupt(what))?;
        Ok(trend)
    }

    fn encode(&self) -> Vec<u8> {
        let summaries = self.periods.iter().map(|(number, summary)| (*number, summary.encode())).collect();
        written(&json(&self.settings), self.users, &summaries, false)
    }

    fn to_text(&self) -> Result<String> {
        let calendar = self.settings.calendar()?;
        let period = |(number, summary): (&i32, &Summary)| {
            Ok(PeriodText {
                start: calendar.label(*number)?,
                funnel: serde_json::to_value(summary).unwrap_or_default(),
            })
        };
        let Settings { funnel, period: length, time_zone } = self.settings.clone();
        let periods = self.periods.iter().map(period).collect::<Result<_>>()?;
        let text = Text { version: VERSION, funnel, period: length, time_zone, users: self.users, periods };
        Ok(serde_json::to_string(&text).unwrap_or_default())
    }

    fn from_text(text: &str) -> Result<Self> {
        let text: Text = KIND.read_text(text, VERSION, |text: &Text| text.version)?;
        let settings = Settings { funnel: text.funnel, period: text.period, time_zone: text.time_zone };
        let calendar = settings.calendar().map_err(|error| KIND.no_text(&error.message))?;
        if text.periods.len() > MOST_PERIODS {
            return Err(KIND.no_text(format_args!("There are more than {MOST_PERIODS} periods.")));
        }
        let mut periods = BTreeMap::new();
        for PeriodText { start, funnel } in text.periods {
            let number = calendar.number_of_label(&start);
            let number = number.ok_or_else(|| KIND.no_text("A period does not start with its first date."))?;
            let summary = Summary::from_text(&funnel.to_string());
            let summary = summary.map_err(|error| KIND.no_text(error.into_report().detail.unwrap_or_default()))?;
            if periods.insert(number, summary).is_some() {
                return Err(KIND.no_text("A period stands twice."));
            }
        }
        let trend = Self { settings, users: text.users, periods };
        trend.check(&calendar).map_err(|what| KIND.no_text(what))?;
        Ok(trend)
    }

    fn together(one: &[u8], two: &[u8]) -> Result<Vec<u8>> {
        let (mut one, two) = (Trend::decode(one)?, Trend::decode(two)?);
        if one.settings != two.settings {
            let shown = |settings: &Settings| format!("periods of {} in {}", settings.period, settings.time_zone);
            let detail = if one.settings.funnel == two.settings.funnel {
                format!("They have {} and {}.", shown(&one.settings), shown(&two.settings))
            } else {
                "Their steps, windows or other options differ.".to_owned()
            };
            return Err(Error::new(
                Condition::InvalidParameterValue,
                "trends of different funnels cannot be put together",
            )
            .detail(detail)
            .hint("Group by what they were asked for as well."));
        }
        one.users = one.users.saturating_add(two.users);
        for (number, other) in two.periods {
            let both = match one.periods.remove(&number) {
                Some(summary) => Summary::decode(&Summary::together(&summary.encode(), &other.encode())?)?,
                None => other,
            };
            one.periods.insert(number, both);
        }
        let bytes = one.encode();
        if one.periods.len() > MOST_PERIODS || bytes.len() > MOST_BYTES { Err(too_large()) } else { Ok(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::funnel::digest::Digest;
    use proptest::prelude::*;

    fn fresh() -> Vec<u8> {
        funnel::empty(7, [("a", false), ("b", false), ("c", false)].into_iter())
    }

    fn settings() -> Settings {
        Settings::new(7, &Calendar::new(Period::Days(1), "Europe/Berlin").unwrap())
    }

    type User = (Option<i32>, Vec<Micros>);

    fn users(most: usize) -> impl Strategy<Value = Vec<User>> {
        let times = prop::collection::vec(0i64..1_000_000, 1..4).prop_map(|mut times| {
            times.sort_unstable();
            times
        });
        let user = (prop::option::weighted(0.9, -9i32..9), times)
            .prop_map(|(period, times)| (period, if period.is_some() { times } else { vec![] }));
        prop::collection::vec(user, 0..most)
    }

    fn add(bytes: &mut Vec<u8>, (period, times): &User) {
        if let Some(larger) = add_user(bytes, *period, times, &fresh()).unwrap() {
            *bytes = larger;
        }
    }

    fn trend(users: &[User]) -> Vec<u8> {
        let mut bytes = empty(&settings());
        users.iter().for_each(|user| add(&mut bytes, user));
        bytes
    }

    /// The trend without its digests, which depend a little on the order of merging.
    fn counts(bytes: &[u8]) -> Trend {
        let mut trend = Trend::decode(bytes).unwrap();
        for step in trend.periods.values_mut().flat_map(|summary| &mut summary.steps) {
            step.from_previous.digest = Digest::default();
            step.from_start.digest = Digest::default();
        }
        trend
    }

    proptest! {
        #[test]
        fn a_trend_is_a_summary_for_each_period(users in users(400)) {
            let bytes = trend(&users);
            let found = Trend::decode(&bytes).unwrap();
            prop_assert_eq!(found.users, users.len() as i64);
            let mut expected: BTreeMap<i32, Vec<u8>> = BTreeMap::new();
            for (period, times) in &users {
                let Some(number) = period else { continue };
                let summary = expected.entry(*number).or_insert_with(fresh);
                if let Some(larger) = funnel::add_user(summary, times).unwrap() { *summary = larger; }
            }
            let expected: BTreeMap<i32, Summary> = expected.into_iter().map(|(number, summary)| (number, Summary::decode(&summary).unwrap())).collect();
            prop_assert_eq!(&found.periods, &expected);
            prop_assert_eq!(&Trend::decode(&found.encode()).unwrap(), &found);
            prop_assert_eq!(&Trend::from_text(&found.to_text().unwrap()).unwrap(), &found);
        }

        #[test]
        fn parts_put_together_equal_the_whole(a in users(60), b in users(60), c in users(20)) {
            let mut parts = Trend::together(&trend(&a), &Trend::decode(&trend(&b)).unwrap().encode()).unwrap();
            c.iter().for_each(|user| add(&mut parts, user));
            let whole = trend(&[a, b, c].concat());
            prop_assert_eq!(counts(&parts), counts(&whole));
        }

        #[test]
        fn any_bytes_give_a_trend_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), numbers in prop::array::uniform5(0u32..40)) {
            let mut forged = VERSION.to_le_bytes().to_vec();
            forged.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            forged.extend(bytes);
            let _ = Trend::decode(&forged);
            let _ = add_user(&mut forged, Some(1), &[1, 2], &fresh());
            let _ = Trend::from_text(&String::from_utf8_lossy(&forged));
        }

        #[test]
        fn a_damaged_trend_gives_a_trend_or_an_error(users in users(20), stored: bool, places in prop::collection::vec((0usize..1_000_000, any::<u8>()), 1..4), head in prop::option::of((0usize..160, any::<u8>()))) {
            let mut bytes = trend(&users);
            if stored { bytes = Trend::decode(&bytes).unwrap().encode(); }
            let length = bytes.len();
            for (at, value) in places.into_iter().chain(head) {
                bytes[at % length] = value;
            }
            if let Ok(trend) = Trend::decode(&bytes) {
                let _ = trend.to_text().unwrap();
                let _ = Trend::together(&bytes, &bytes);
            }
            let _ = add_user(&mut bytes, Some(1), &[1, 2], &fresh());
            let _ = add_user(&mut bytes, Some(20), &[1, 2], &fresh());
        }

        #[test]
        fn a_damaged_text_gives_a_trend_or_an_error(users in users(6), at in 0usize..900, with in "[0-9a-z\\[\\]{},:\"-]{0,3}", drop in 0usize..4) {
            let mut text = Trend::decode(&trend(&users)).unwrap().to_text().unwrap();
            let at = at.min(text.len());
            text.replace_range(at..(at + drop).min(text.len()), &with);
            if let Ok(trend) = Trend::from_text(&text) {
                prop_assert_eq!(Trend::decode(&trend.encode()).unwrap(), trend);
            }
        }
    }

    #[test]
    fn a_hostile_text_is_refused() {
        let good = Trend::decode(&trend(&[(Some(0), vec![0, 5])])).unwrap().to_text().unwrap();
        assert!(Trend::from_text(&good).is_ok());
        assert!(good.starts_with(r#"{"version":1,"funnel":"0000000000000007","period":"P1D","time_zone":"Europe/Berlin","users":1,"periods":[{"start":"2000-01-03","funnel":{"#), "{good}");
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("0000000000000007", "0000000000000008"),
            ("P1D", "PT1H"),
            ("P1D", "P01D"),
            ("Europe/Berlin", "europe/berlin"),
            ("2000-01-03", "2000-1-3"),
            ("\"users\":1", "\"users\":0"),
            ("[5.0,1.0]", "[5.0,-1.0]"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(Trend::from_text(&bad).unwrap_err().condition, Condition::InvalidTextRepresentation, "{bad}");
        }
    }

    #[test]
    fn other_settings_are_refused() {
        let calendar = Calendar::new(Period::Days(7), "UTC").unwrap();
        for other in [Settings::new(8, &calendar), Settings::new(7, &calendar)] {
            assert_eq!(
                Trend::together(&empty(&settings()), &empty(&other)).unwrap_err().condition,
                Condition::InvalidParameterValue
            );
            assert!(check_settings(&empty(&settings()), fingerprint(&other)).is_err());
        }
        assert!(check_settings(&empty(&settings()), fingerprint(&settings())).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let mut bytes = empty(&settings());
        let error = (0..).find_map(|number| match add_user(&mut bytes, Some(number), &[1, 2, 3], &fresh()) {
            Ok(larger) => {
                bytes = larger.unwrap_or_else(|| std::mem::take(&mut bytes));
                None
            }
            Err(error) => Some((number, error.condition)),
        });
        assert!(error.is_some_and(
            |(number, condition)| number as usize == MOST_PERIODS && condition == Condition::ProgramLimitExceeded
        ));
    }
}
