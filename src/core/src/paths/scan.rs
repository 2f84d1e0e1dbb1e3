//! One user's events as paths: named events in order of time, cut into sessions, anchored, repeats left out.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::definition::{Definition, Settings};
use crate::copies::Counting;
use crate::dedupe::no_memory;
use crate::error::{Condition, Error, Result};
use crate::event::{Event, Events, Key, POLL_EVERY, Poll, for_each};
use crate::names::{Names, name_of};
use crate::time::{Clock, Micros};

/// Characters of a name that are kept; a longer one is cut.
pub const LONGEST_NAME: usize = 100;

/// Names, and bytes of them, that are remembered from one user to the next.
const MOST_REMEMBERED: usize = 50_000;
const MOST_BYTES: usize = 16 << 20;

/// What is known of an event's name.
#[derive(Debug)]
struct Name {
    text: String,
    starts: bool,
    ends: bool,
}

/// A definition with its working memory: one for a query, used for user after user.
#[derive(Debug)]
pub struct Scanner {
    settings: Settings,
    start_event: Names,
    end_event: Names,
    id_key: Option<String>,
    name_key: String,
    time_key: String,
    known: HashMap<Vec<u8>, u32, FixedState>,
    names: Vec<Name>,
    known_bytes: usize,
    /// The user's named events: time, and the number of the name.
    events: Vec<(Micros, u32)>,
    /// The paths, one behind the other, and where each ends.
    steps: Vec<u32>,
    ends: Vec<usize>,
    scratch: Vec<u8>,
}

impl Scanner {
    /// Compiles a definition.
    #[must_use]
    pub fn new(definition: Definition) -> Self {
        let Definition { settings, start_event, end_event, id_key, name_key, time_key } = definition;
        Self {
            settings,
            start_event,
            end_event,
            id_key,
            name_key,
            time_key,
            known: HashMap::default(),
            names: Vec::new(),
            known_bytes: 0,
            events: Vec::new(),
            steps: Vec::new(),
            ends: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// What a summary keeps of the definition.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads the paths of a user, of whom each session has one at most; one session without a gap. Backward paths begin with
    /// their last event. Events without a name are left out, all others need a time. Those of equal time stand as in
    /// the array. `source` gives a walk from the first element, and is called once before when copies of events are to be
    /// left out. O(events), O(n log n) when they are not in order of time; 16 bytes for each event.
    /// Errors: those of the source; a named event without a time, or with one that does not read.
    pub fn scan<'a, S: Events<'a>>(&mut self, source: impl Fn() -> S, argument: &str, poll: Poll<'_>) -> Result<()> {
        if self.names.len() > MOST_REMEMBERED || self.known_bytes > MOST_BYTES {
            self.known.clear();
            self.names.clear();
            self.known_bytes = 0;
        }
        self.events.clear();
        self.steps.clear();
        self.ends.clear();
        let counting = Counting::of(&mut source(), argument, self.id_key.as_deref(), &mut *poll)?;
        self.read(&mut source(), &counting, argument, &mut *poll)?;
        if !self.events.is_sorted_by_key(|event| event.0) {
            self.events.sort_by_key(|event| event.0);
        }
        let mut from = 0;
        for at in 0..self.events.len() {
            if at % POLL_EVERY == 0 {
                poll();
            }
            let gap = |gap: Micros| {
                self.events.get(at + 1).is_some_and(|next| next.0.saturating_sub(self.events[at].0) > gap)
            };
            if at + 1 == self.events.len() || self.settings.session_gap.is_some_and(gap) {
                self.path(from, at + 1);
                from = at + 1;
            }
        }
        Ok(())
    }

    /// The paths of the user that was scanned last.
    pub fn paths(&self) -> impl Iterator<Item = Path<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(from, to)| Path { steps: self.steps.get(from..*to).unwrap_or_default(), names: &self.names })
    }

    fn read<'a, S: Events<'a>>(
        &mut self,
        source: &mut S,
        counting: &Counting,
        argument: &str,
        poll: Poll<'_>,
    ) -> Result<()> {
        let Self { start_event, end_event, name_key, time_key, known, names, known_bytes, events, scratch, .. } = self;
        let (mut name_key, mut time_key) = (Key::new(name_key), Key::new(time_key));
        let mut clock = Clock::default();
        for_each(source, argument, poll, |position, element| {
            let Some(event) = element.event.filter(|_| counting.holds(position)) else { return Ok(()) };
            let Some(name) = name_of(&event, &mut name_key, scratch)? else { return Ok(()) };
            let number = match known.get(name) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(names.len()).map_err(|_| no_memory())?;
                    let text = String::from_utf8_lossy(name).chars().take(LONGEST_NAME).collect();
                    names.push(Name { text, starts: start_event.hold(Some(name)), ends: end_event.hold(Some(name)) });
                    *known_bytes += name.len();
                    known.insert(name.to_vec(), number);
                    number
                }
            };
            let time = event.time(&mut time_key, &mut clock)?.ok_or_else(without_time)?;
            events.try_reserve(1).map_err(|_| no_memory())?;
            events.push((time, number));
            Ok(())
        })
    }

    /// Adds the path of a session, if it has one.
    fn path(&mut self, from: usize, to: usize) {
        let Self { settings, start_event, end_event, names, events, steps, ends, .. } = self;
        let session = events.get(from..to).unwrap_or_default();
        let name = |event: &(Micros, u32)| names.get(event.1 as usize);
        let starts = |event: &(Micros, u32)| name(event).is_some_and(|name| name.starts);
        let ends_here = |event: &(Micros, u32)| name(event).is_some_and(|name| name.ends);
        let start = if *start_event == Names::Any { Some(0) } else { session.iter().position(starts) };
        let Some(start) = start else { return };
        let session = session.get(start..).unwrap_or_default();
        // The event that begins a path does not end it as well.
        let first_end = usize::from(*start_event != Names::Any);
        let length = match end_event {
            Names::Any => Some(session.len()),
            Names::In(_) => session.iter().skip(first_end).position(ends_here).map(|at| first_end + at + 1),
        };
        let Some(session) = length.and_then(|length| session.get(..length)) else { return };
        let begin = steps.len();
        let mut push = |event: &(Micros, u32)| {
            let repeated = steps.len() > begin && steps.last() == Some(&event.1);
            if !(repeated && settings.collapse_repeats) {
                steps.push(event.1);
            }
            steps.len() - begin < settings.depth
        };
        if settings.is_backward() {
            let _ = session.iter().rev().all(&mut push);
        } else {
            let _ = session.iter().all(&mut push);
        }
        if steps.len() > begin {
            ends.push(steps.len());
        }
    }
}

/// One path: the names of its events.
#[derive(Clone, Copy, Debug)]
pub struct Path<'s> {
    steps: &'s [u32],
    names: &'s [Name],
}

impl<'s> Path<'s> {
    /// The names from the first.
    pub fn names(self) -> impl Iterator<Item = &'s str> + Clone {
        self.steps.iter().map(|step| self.names.get(*step as usize).map_or("", |name| name.text.as_str()))
    }
}

#[cold]
fn without_time() -> Error {
    Error::new(Condition::InvalidDatetimeFormat, "event without a time")
        .detail("Every event with a name may stand in a path, so its time is needed.")
        .hint("Name the key that holds the time with \"time_key\" in the definition, or filter such events out.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{Plain, PlainEvents};
    use proptest::prelude::*;

    fn found(events: &[(&str, i64)], definition: &str) -> Vec<Vec<String>> {
        let plain: Vec<Option<Plain>> =
            events.iter().map(|(name, at)| Some(Plain { id: Some((*name).to_owned()), at: Some(*at) })).collect();
        let mut definition = Definition::of_json(definition.as_bytes()).unwrap();
        definition.name_key = "id".into();
        let mut scanner = Scanner::new(definition);
        scanner.scan(|| PlainEvents::new(&plain, false), "events", &mut || ()).unwrap();
        scanner.paths().map(|path| path.names().map(str::to_owned).collect()).collect()
    }

    fn shown(events: &str, definition: &str) -> String {
        let events: Vec<_> = events
            .split_whitespace()
            .map(|event| event.split_once('@').unwrap())
            .map(|(name, at)| (name, at.parse().unwrap()))
            .collect();
        found(&events, definition).iter().map(|path| path.join(">")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn paths_are_what_the_options_say() {
        for (events, definition, expected) in [
            ("", "{}", ""),
            ("a@1 b@2 c@3", "{}", "a>b>c"),
            ("c@3 a@1 b@2", r#"{"depth": 2}"#, "a>b"),
            ("b@1 a@1", "{}", "b>a"),
            ("a@1 a@2 b@3 b@4 a@5", "{}", "a>b>a"),
            ("a@1 a@2 b@3 b@4 a@5", r#"{"collapse_repeats": false}"#, "a>a>b>b>a"),
            ("a@1 b@2 c@3 b@4 d@5", r#"{"start_event": "b"}"#, "b>c>b>d"),
            ("a@1 b@2", r#"{"start_event": "x"}"#, ""),
            ("a@1 b@2 c@3 d@4 c@5", r#"{"end_event": "c", "depth": 2}"#, "c>b"),
            ("a@1 b@2 c@3", r#"{"end_event": "c"}"#, "c>b>a"),
            ("a@1 b@2 c@3 d@4", r#"{"start_event": "b", "end_event": "d"}"#, "b>c>d"),
            ("a@1 b@2 c@3", r#"{"start_event": "b", "end_event": "x"}"#, ""),
            ("b@1 c@2 b@3 d@4", r#"{"start_event": "b", "end_event": "b"}"#, "b>c>b"),
            ("a@1 b@2 c@3 d@4 e@5", r#"{"start_event": "a", "end_event": "e", "depth": 2}"#, "a>b"),
            ("a@1 b@2 c@12 d@13", r#"{"session_gap": "9 us"}"#, "a>b c>d"),
            ("a@1 b@2 c@12 d@13", r#"{"session_gap": "10 us"}"#, "a>b>c>d"),
            ("a@1 b@2 a@12 d@13", r#"{"session_gap": "5 us", "start_event": "a", "depth": 1}"#, "a a"),
            ("a@1 b@2 c@12 d@13", r#"{"session_gap": "5 us", "start_event": "c"}"#, "c>d"),
        ] {
            assert_eq!(shown(events, definition), expected, "{events} {definition}");
        }
    }

    /// The same in the words of the documentation, by copying lists.
    fn oracle(
        events: &[(&str, i64)],
        depth: usize,
        start: Option<&str>,
        end: Option<&str>,
        collapse: bool,
        gap: Option<i64>,
    ) -> Vec<Vec<String>> {
        let mut sorted = events.to_vec();
        sorted.sort_by_key(|event| event.1);
        let mut sessions: Vec<Vec<(&str, i64)>> = vec![];
        for event in sorted {
            match sessions.last_mut() {
                Some(session) if gap.is_none_or(|gap| event.1 - session.last().unwrap().1 <= gap) => {
                    session.push(event)
                }
                _ => sessions.push(vec![event]),
            }
        }
        let mut paths = vec![];
        for session in sessions {
            let mut names: Vec<&str> = session.iter().map(|event| event.0).collect();
            if let Some(start) = start {
                let Some(at) = names.iter().position(|name| *name == start) else { continue };
                names = names[at..].to_vec();
            }
            if let Some(end) = end {
                let skip = usize::from(start.is_some());
                let Some(at) = names[skip.min(names.len())..].iter().position(|name| *name == end) else { continue };
                names = names[..=at + skip].to_vec();
            }
            if collapse {
                names.dedup();
            }
            if start.is_none() && end.is_some() {
                names.reverse();
            }
            names.truncate(depth);
            paths.push(names.iter().map(|name| (*name).to_owned()).collect());
        }
        paths
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn paths_equal_those_of_the_words(
            events in prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), 0i64..30), 0..14),
            depth in 1usize..6, start in prop::option::of(prop::sample::select(vec!["a", "b"])), end in prop::option::of(prop::sample::select(vec!["a", "c"])),
            collapse: bool, gap in prop::option::of(0i64..8),
        ) {
            let definition = serde_json::json!({"depth": depth, "start_event": start, "end_event": end, "collapse_repeats": collapse, "session_gap": gap.map(|gap| format!("{gap} us"))});
            prop_assert_eq!(found(&events, &definition.to_string()), oracle(&events, depth, start, end, collapse, gap));
        }
    }

    #[test]
    fn a_long_name_is_cut_and_an_event_without_a_time_named() {
        let long = "é".repeat(500);
        assert_eq!(found(&[(&long, 1)], "{}"), [["é".repeat(LONGEST_NAME)]]);
        let events = [Some(Plain::default()), Some(Plain { id: Some("a".into()), at: None })];
        let mut definition = Definition::of_depth(2).unwrap();
        definition.name_key = "id".into();
        let mut scanner = Scanner::new(definition);
        let error = scanner.scan(|| PlainEvents::new(&events, false), "events", &mut || ()).unwrap_err();
        assert!(error.message.starts_with("element 2 of argument \"events\": "), "{error}");
    }
}
