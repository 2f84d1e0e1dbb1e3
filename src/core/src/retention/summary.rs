//! The summary of retention over many users: counts of a cohort and a period, mergeable, in a versioned byte layout that
//! is updated in place and a stable JSON text form.
//!
//! Layout, all numbers little-endian: version `u32` = 1, records `u32`, room for records `u32`, bytes of the index `u32`,
//! bytes of the settings `u32`, users seen `i64`, fingerprint of the settings `u64`; the settings as JSON; the records,
//! each the cohort's number `i32`, the period counted from it `i32` (-1 = the cohort's users themselves) and users
//! `i64`; then the index to them (see [`crate::bytes`]), which a stored summary has none of.
//!
//! Bound: [`MOST_RECORDS`], of 16 bytes each and as much again for the index: 35 MB.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::definition::Settings;
use super::scan::Visits;
use crate::bytes::{self, Found, Reader};
use crate::error::{Condition, Error, Result};
pub use crate::stored::fingerprint;
use crate::stored::{Kind, Stored, check_fingerprint, json};
use crate::zone::Calendar;

const KIND: Kind = Kind { name: "retention_summary", value: "summary", values: "Summaries", made_by: "retention_agg" };
const VERSION: u32 = 1;
const HEAD: usize = 36;
const RECORD: usize = 16;
const FIRST_ROOM: usize = 16;
/// Records of a summary: of daily cohorts that come back on every day, nearly four years.
pub const MOST_RECORDS: usize = 1 << 20;
/// Room for them, and for what the last user before the error adds.
const MOST_ROOM: usize = MOST_RECORDS + (1 << 16);
/// The period that stands for the cohort itself.
const COHORT: i32 = -1;

/// A summary read into memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What was asked.
    pub settings: Settings,
    /// Users seen, whether they ever began or not.
    pub users: i64,
    /// The cohorts by the number of their period.
    pub cohorts: BTreeMap<i32, Cohort>,
}

/// The users who began in one period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// How many they are.
    pub users: i64,
    /// How many of them came back, by period counted from the cohort's; none is left out.
    pub returned: BTreeMap<i32, i64>,
}

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    #[serde(flatten)]
    settings: Flat,
    users: i64,
    cohorts: Vec<CohortText>,
}

/// [`Settings`] among the other keys: an unknown key is refused once for all.
#[derive(Serialize, Deserialize)]
struct Flat {
    first_event: Option<Vec<String>>,
    return_event: Option<Vec<String>>,
    period: String,
    time_zone: String,
}

/// A cohort: the first date of its period, its users, and pairs of a period and the users who came back in it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CohortText {
    start: String,
    users: i64,
    returned: Vec<(i32, i64)>,
}

#[cold]
fn short() -> Error {
    KIND.short()
}

#[cold]
fn too_large() -> Error {
    Error::new(Condition::ProgramLimitExceeded, "too many cohorts and periods for one retention_summary")
        .detail(format!("A summary has at most {MOST_RECORDS} pairs of a cohort and a period with users in it."))
        .hint("Take a longer period, or leave events with absurd times out.")
}

/// The places of a value's parts, after its head was checked.
struct Parts {
    records: usize,
    room: usize,
    /// Where the records begin.
    at: usize,
    /// Where the index begins, and how long it is.
    index_at: usize,
    index: usize,
}

#[inline]
fn parts(bytes: &[u8]) -> Result<Parts> {
    KIND.check_version(bytes, VERSION)?;
    let count = |place| KIND.count(bytes, place);
    let (records, room, index, settings) = (count(4)?, count(8)?, count(12)?, count(16)?);
    let at = HEAD + settings;
    let index_at = at + room * RECORD;
    if records > room || index_at + index != bytes.len() {
        return Err(KIND.corrupt("The number of records does not fit the value."));
    }
    Ok(Parts { records, room, at, index_at, index })
}

/// The bytes of a summary of no users. O(settings).
#[must_use]
pub fn empty(settings: &Settings) -> Vec<u8> {
    Summary { settings: settings.clone(), users: 0, cohorts: BTreeMap::new() }.with_room(FIRST_ROOM)
}

/// Refuses a summary that was begun with other settings. O(1). Errors: `22023`.
pub fn check_settings(bytes: &[u8], fingerprint: u64) -> Result<()> {
    let message = "the arguments of retention_agg must be the same for all users of a group";
    let detail = "The events, the period or the time zone changed from one row to the next.";
    check_fingerprint(bytes, 28, fingerprint, message, detail)
}

/// Adds a user, in place. Gives the bytes of a larger summary when this one was full. O(periods), amortised.
/// Errors: `54000` beyond [`MOST_RECORDS`], `XX001`.
pub fn add_user(bytes: &mut [u8], visits: &Visits) -> Result<Option<Vec<u8>>> {
    let Parts { records, room, at, index_at, index } = parts(bytes)?;
    let needed = visits.cohort.map_or(0, |_| 1 + visits.periods.len());
    if records + needed > room || index == 0 && needed > 0 {
        let mut larger =
            Summary::decode(bytes)?.with_room(((records + needed) * 2).min(MOST_ROOM).max(records + needed));
        add_user(&mut larger, visits)?;
        return Ok(Some(larger));
    }
    bytes::add(bytes, 20, 1).ok_or_else(short)?;
    let Some(cohort) = visits.cohort else { return Ok(None) };
    let mut count = records;
    for period in std::iter::once(COHORT).chain(visits.periods.iter().copied()) {
        let key = key(cohort, period);
        let (body, slots) = bytes.split_at_mut(index_at);
        let has_key = |record: usize| bytes::at(body, at + record * RECORD) == Some(key);
        match bytes::find(slots, u64::from_le_bytes(key), has_key).ok_or_else(short)? {
            Found::Record(record) => bytes::add(body, at + record * RECORD + 8, 1).ok_or_else(short)?,
            Found::Free(slot) => {
                let place = at + count * RECORD;
                bytes::put(body, place, &key).ok_or_else(short)?;
                bytes::put(body, place + 8, &1i64.to_le_bytes()).ok_or_else(short)?;
                bytes::enter(slots, slot, count).ok_or_else(short)?;
                count += 1;
            }
        }
    }
    if count > MOST_RECORDS {
        return Err(too_large());
    }
    bytes::put(bytes, 4, &bytes::count(count)).ok_or_else(short)?;
    debug_assert!(index > 0);
    Ok(None)
}

fn key(cohort: i32, period: i32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&cohort.to_le_bytes());
    key[4..].copy_from_slice(&period.to_le_bytes());
    key
}

impl Summary {
    fn records(&self) -> usize {
        self.cohorts.values().map(|cohort| 1 + cohort.returned.len()).sum()
    }

    /// The bytes of this summary, with room for more records and an index to them; with room 0 without.
    fn with_room(&self, room: usize) -> Vec<u8> {
        let settings = json(&self.settings);
        let records = self.records();
        let room = room.max(if room > 0 { FIRST_ROOM } else { 0 }).max(records);
        let index = if room > records { bytes::index_size(room) } else { 0 };
        let mut out = Vec::with_capacity(HEAD + settings.len() + room * RECORD + index);
        for number in [VERSION as usize, records, room, index, settings.len()] {
            out.extend(bytes::count(number));
        }
        out.extend(self.users.to_le_bytes());
        out.extend(bytes::fingerprint(&settings).to_le_bytes());
        out.extend(&settings);
        let mut slots = vec![0; index];
        let mut record = 0;
        for (number, cohort) in &self.cohorts {
            for (period, users) in std::iter::once((&COHORT, &cohort.users)).chain(&cohort.returned) {
                let key = key(*number, *period);
                out.extend(key);
                out.extend(users.to_le_bytes());
                // Keys differ, so none is looked up.
                if let Some(Found::Free(slot)) = bytes::find(&slots, u64::from_le_bytes(key), |_| false) {
                    bytes::enter(&mut slots, slot, record);
                }
                record += 1;
            }
        }
        out.resize(HEAD + settings.len() + room * RECORD, 0);
        out.extend(slots);
        out
    }

    /// What is wrong with the figures, if anything is.
    fn check(&self, calendar: &Calendar) -> std::result::Result<(), &'static str> {
        let mut began: i64 = 0;
        for (number, cohort) in &self.cohorts {
            began = began.saturating_add(cohort.users);
            if cohort.users < 1 || cohort.returned.values().any(|users| !(1..=cohort.users).contains(users)) {
                return Err("A cohort has at least one user, and so has each period, with no more than the cohort.");
            }
            let (first, last) =
                (cohort.returned.keys().next().unwrap_or(&0), cohort.returned.keys().next_back().unwrap_or(&0));
            let last = number.checked_add(*last).filter(|_| *first >= 0);
            if calendar.start(*number).is_err() || last.is_none_or(|last| calendar.start(last).is_err()) {
                return Err("A cohort or a period lies outside of the calendar.");
            }
        }
        if self.users < began { Err("The cohorts have more users than were seen.") } else { Ok(()) }
    }
}

impl Stored for Summary {
    const KIND: Kind = KIND;

    fn decode(bytes: &[u8]) -> Result<Self> {
        let parts = parts(bytes)?;
        if parts.records > MOST_RECORDS {
            return Err(KIND.corrupt("The value has more records than a summary may have."));
        }
        let settings: Settings = KIND.settings(bytes.get(HEAD..parts.at))?;
        let calendar = settings.calendar().ok().filter(|calendar| settings.is_of(calendar));
        let calendar = calendar.ok_or_else(|| KIND.corrupt("The settings name no calendar."))?;
        let mut reader = Reader::new(bytes.get(parts.at..).ok_or_else(short)?);
        let mut cohorts: BTreeMap<i32, Cohort> = BTreeMap::new();
        let mut known = 0;
        for _ in 0..parts.records {
            let (number, period) = (reader.i32().ok_or_else(short)?, reader.i32().ok_or_else(short)?);
            let users = reader.i64().ok_or_else(short)?;
            let cohort = cohorts.entry(number).or_default();
            let fresh = if period == COHORT {
                known += 1;
                std::mem::replace(&mut cohort.users, users) == 0
            } else {
                cohort.returned.insert(period, users).is_none()
            };
            if !fresh {
                return Err(KIND.corrupt("A cohort has a period twice."));
            }
        }
        let users = bytes::i64_at(bytes, 20).ok_or_else(short)?;
        if known != cohorts.len() {
            return Err(KIND.corrupt("A cohort has no users."));
        }
        let summary = Self { settings, users, cohorts };
        summary.check(&calendar).map_err(|what| KIND.corrupt(what))?;
        Ok(summary)
    }

    fn encode(&self) -> Vec<u8> {
        self.with_room(0)
    }

    fn to_text(&self) -> Result<String> {
        let calendar = self.settings.calendar()?;
        let cohorts = self.cohorts.iter().map(|(number, cohort)| {
            let returned = cohort.returned.iter().map(|(period, users)| (*period, *users)).collect();
            Ok(CohortText { start: calendar.label(*number)?, users: cohort.users, returned })
        });
        let Settings { first_event, return_event, period, time_zone } = self.settings.clone();
        let text = Text {
            version: VERSION,
            settings: Flat { first_event, return_event, period, time_zone },
            users: self.users,
            cohorts: cohorts.collect::<Result<_>>()?,
        };
        Ok(serde_json::to_string(&text).unwrap_or_default())
    }

    fn from_text(text: &str) -> Result<Self> {
        let text: Text = KIND.read_text(text, VERSION, |text: &Text| text.version)?;
        let Flat { first_event, return_event, period, time_zone } = text.settings;
        let given = Settings { first_event, return_event, period, time_zone };
        let calendar = given.calendar().map_err(|error| KIND.no_text(&error.message))?;
        // One spelling of period and zone, so that equal settings are equal.
        let settings =
            Settings { period: calendar.period().to_string(), time_zone: calendar.zone().to_owned(), ..given };
        let mut cohorts = BTreeMap::new();
        for CohortText { start, users, returned } in text.cohorts {
            let number = calendar.number_of_label(&start);
            let number =
                number.ok_or_else(|| KIND.no_text("A cohort does not start with the first date of a period."))?;
            let pairs = returned.len();
            let returned: BTreeMap<i32, i64> = returned.into_iter().collect();
            if returned.len() != pairs || cohorts.insert(number, Cohort { users, returned }).is_some() {
                return Err(KIND.no_text("A cohort or a period of it stands twice."));
            }
        }
        let summary = Self { settings, users: text.users, cohorts };
        summary.check(&calendar).map_err(|what| KIND.no_text(what))?;
        if summary.records() > MOST_RECORDS {
            return Err(
                KIND.no_text(format_args!("There are more than {MOST_RECORDS} pairs of a cohort and a period."))
            );
        }
        Ok(summary)
    }

    fn together(one: &[u8], two: &[u8]) -> Result<Vec<u8>> {
        let (mut one, two) = (Summary::decode(one)?, Summary::decode(two)?);
        if one.settings != two.settings {
            return Err(KIND.differ(
                "summaries of different retention cannot be put together",
                &one.settings,
                &two.settings,
            ));
        }
        one.users = one.users.saturating_add(two.users);
        for (number, other) in two.cohorts {
            let cohort = one.cohorts.entry(number).or_default();
            cohort.users = cohort.users.saturating_add(other.users);
            for (period, users) in other.returned {
                let returned = cohort.returned.entry(period).or_default();
                *returned = returned.saturating_add(users);
            }
        }
        if one.records() > MOST_RECORDS {
            return Err(too_large());
        }
        Ok(one.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::definition::Definition;
    use crate::zone::Period;
    use proptest::prelude::*;

    fn settings() -> Settings {
        Definition::of_names(Some("a"), None, Calendar::new(Period::Days(7), "Europe/Berlin").unwrap()).settings()
    }

    fn users(most: usize) -> impl Strategy<Value = Vec<Visits>> {
        let visits =
            (prop::option::of(-9i32..9), prop::collection::btree_set(0i32..9, 0..5)).prop_map(|(cohort, periods)| {
                Visits { cohort, periods: if cohort.is_some() { periods.into_iter().collect() } else { vec![] } }
            });
        prop::collection::vec(visits, 0..most)
    }

    fn summary(users: &[Visits]) -> Vec<u8> {
        let mut bytes = empty(&settings());
        for visits in users {
            if let Some(larger) = add_user(&mut bytes, visits).unwrap() {
                bytes = larger;
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn a_summary_counts_the_users(users in users(80)) {
            let mut expected = Summary { settings: settings(), users: users.len() as i64, cohorts: BTreeMap::new() };
            for visits in &users {
                if let Some(number) = visits.cohort {
                    let cohort = expected.cohorts.entry(number).or_default();
                    cohort.users += 1;
                    for period in &visits.periods { *cohort.returned.entry(*period).or_default() += 1; }
                }
            }
            let found = Summary::decode(&summary(&users)).unwrap();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(&Summary::decode(&found.encode()).unwrap(), &expected);
            prop_assert_eq!(&Summary::from_text(&found.to_text().unwrap()).unwrap(), &expected);
        }

        #[test]
        fn parts_put_together_equal_the_whole(a in users(40), b in users(40), c in users(10)) {
            // A stored summary takes more users as well.
            let mut parts = Summary::together(&summary(&a), &Summary::decode(&summary(&b)).unwrap().encode()).unwrap();
            for visits in &c {
                if let Some(larger) = add_user(&mut parts, visits).unwrap() { parts = larger; }
            }
            let whole = summary(&[a, b, c].concat());
            prop_assert_eq!(Summary::decode(&parts).unwrap(), Summary::decode(&whole).unwrap());
        }

        #[test]
        fn any_bytes_give_a_summary_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), numbers in prop::array::uniform4(0u32..40)) {
            let mut forged = VERSION.to_le_bytes().to_vec();
            forged.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            forged.extend(bytes);
            let _ = Summary::decode(&forged);
            let _ = add_user(&mut forged, &Visits { cohort: Some(1), periods: vec![0, 3] });
            let _ = Summary::from_text(&String::from_utf8_lossy(&forged));
        }

        #[test]
        fn a_damaged_summary_gives_a_summary_or_an_error(users in users(20), stored: bool, places in prop::collection::vec((0usize..700, any::<u8>()), 1..4)) {
            let mut bytes = summary(&users);
            if stored { bytes = Summary::decode(&bytes).unwrap().encode(); }
            for (at, value) in places {
                if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            }
            if let Ok(summary) = Summary::decode(&bytes) {
                let text = summary.to_text().unwrap();
                prop_assert_eq!(Summary::from_text(&text).unwrap().to_text().unwrap(), text);
                let _ = Summary::together(&bytes, &bytes);
            }
            let _ = add_user(&mut bytes, &Visits { cohort: Some(1), periods: vec![0, 3] });
        }

        #[test]
        fn a_damaged_text_gives_a_summary_or_an_error(users in users(20), at in 0usize..400, with in "[0-9a-z\\[\\]{},:\"-]{0,3}", drop in 0usize..4) {
            let mut text = Summary::decode(&summary(&users)).unwrap().to_text().unwrap();
            let at = at.min(text.len());
            text.replace_range(at..(at + drop).min(text.len()), &with);
            if let Ok(summary) = Summary::from_text(&text) {
                prop_assert_eq!(Summary::decode(&summary.encode()).unwrap(), summary);
            }
        }
    }

    #[test]
    fn the_text_form_is_stable() {
        let bytes = summary(&[
            Visits { cohort: Some(0), periods: vec![0, 2] },
            Visits { cohort: Some(0), periods: vec![2] },
            Visits::default(),
        ]);
        assert_eq!(
            Summary::decode(&bytes).unwrap().to_text().unwrap(),
            r#"{"version":1,"first_event":["a"],"return_event":[],"period":"P7D","time_zone":"Europe/Berlin","users":3,"cohorts":[{"start":"2000-01-03","users":2,"returned":[[0,1],[2,2]]}]}"#
        );
    }

    #[test]
    fn a_hostile_text_is_refused() {
        let good =
            Summary::decode(&summary(&[Visits { cohort: Some(0), periods: vec![0, 2] }])).unwrap().to_text().unwrap();
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"version\":1", "\"version\":1,\"more\":1"),
            ("P7D", "PT1H"),
            ("P7D", "P1M1D"),
            ("Europe/Berlin", "Mars/Olympus"),
            ("2000-01-03", "2000-01-04"),
            ("\"users\":1,\"r", "\"users\":-1,\"r"),
            ("\"users\":1,\"c", "\"users\":0,\"c"),
            ("[0,1]", "[0,2]"),
            ("[0,1]", "[2,1]"),
            ("[0,1]", "[-1,1]"),
            ("[2,1]", "[2147483647,1]"),
            ("[2,1]", "[1000000,1]"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(Summary::from_text(&bad).unwrap_err().condition, Condition::InvalidTextRepresentation, "{bad}");
        }
    }

    #[test]
    fn other_settings_are_refused() {
        let other = Settings { time_zone: "UTC".into(), ..settings() };
        assert_eq!(
            Summary::together(&empty(&settings()), &empty(&other)).unwrap_err().condition,
            Condition::InvalidParameterValue
        );
        assert!(check_settings(&empty(&settings()), fingerprint(&settings())).is_ok());
        assert!(check_settings(&empty(&settings()), fingerprint(&other)).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let mut bytes = empty(&settings());
        let error = (0..).find_map(|cohort| {
            let visits = Visits {
                cohort: Some(cohort % 1000),
                periods: (cohort..cohort + 1200)
                    .map(|period| period * 7 % 9000)
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .collect(),
            };
            match add_user(&mut bytes, &visits) {
                Ok(larger) => {
                    bytes = larger.unwrap_or_else(|| std::mem::take(&mut bytes));
                    None
                }
                Err(error) => Some(error),
            }
        });
        assert_eq!(error.unwrap().condition, Condition::ProgramLimitExceeded);
        assert!(bytes.len() < 36_000_000, "{}", bytes.len());
    }
}
