//! One user's events through a funnel's automaton: names to steps, times where they are needed, order where it lacks.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::condition::Conditions;
use super::definition::{Funnel, Mode, Names, Step};
use super::ordered::Ordered;
use super::strict::Strict;
use super::unordered::Unordered;
use crate::dedupe::{Options, dedupe, no_memory};
use crate::error::{Condition, Error, Result};
use crate::event::{Event, Events, Key, POLL_EVERY, Poll, for_each_while};
use crate::options::{IdType, Keep, OnMissing, Place};
use crate::selection::Selection;
use crate::time::{Clock, Micros};
use crate::value::{IntegerSyntax, Value};

/// Which steps an event matches by its name alone.
#[derive(Debug)]
struct ByName {
    /// A few names are compared one by one: the lengths alone tell most of them apart.
    few: Vec<(Vec<u8>, u64)>,
    many: HashMap<Vec<u8>, u64, FixedState>,
    /// What a name matches that is none of these.
    other: u64,
    /// What an event without a name matches.
    nameless: u64,
}

const FEW: usize = 8;

impl ByName {
    fn new(funnel: &Funnel) -> Self {
        let listed = |names: &Names| match names {
            Names::Any => Vec::new(),
            Names::In(names) | Names::NotIn(names) => names.clone(),
        };
        let matching = |name: Option<&String>| {
            funnel.steps.iter().enumerate().fold(0, |bits, (at, step)| {
                let matches = match (&step.names, name) {
                    (Names::Any, _) => true,
                    (Names::In(names), name) => name.is_some_and(|name| names.contains(name)),
                    (Names::NotIn(names), name) => name.is_none_or(|name| !names.contains(name)),
                };
                bits | u64::from(matches) << at
            })
        };
        let names = funnel.steps.iter().flat_map(|step| listed(&step.names));
        let mut many: HashMap<Vec<u8>, u64, FixedState> =
            names.map(|name| (name.clone().into_bytes(), matching(Some(&name)))).collect();
        let nameless = matching(None);
        let few = if many.len() <= FEW { many.drain().collect() } else { Vec::new() };
        // A name that is not listed matches what no name at all does.
        Self { few, many, other: nameless, nameless }
    }

    #[inline]
    fn matched(&self, name: &[u8]) -> u64 {
        let found = if self.many.is_empty() {
            self.few.iter().find(|(known, _)| known == name).map(|(_, steps)| *steps)
        } else {
            self.many.get(name).copied()
        };
        found.unwrap_or(self.other)
    }
}

/// The automaton of a funnel's mode.
#[derive(Debug)]
enum Automaton<const TIMES: bool> {
    Ordered(Ordered<TIMES>),
    Strict(Strict<TIMES>),
    Unordered(Unordered<TIMES>),
}

impl<const TIMES: bool> Automaton<TIMES> {
    fn new(funnel: &Funnel) -> Self {
        match funnel.mode {
            Mode::Ordered => Self::Ordered(Ordered::new(funnel.rules())),
            Mode::Strict | Mode::StrictSteps => Self::Strict(Strict::new(funnel.rules())),
            Mode::Unordered => Self::Unordered(Unordered::new(funnel.rules())),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Ordered(automaton) => automaton.reset(),
            Self::Strict(automaton) => automaton.reset(),
            Self::Unordered(automaton) => automaton.reset(),
        }
    }

    #[inline]
    fn push(&mut self, time: Micros, matched: u64) -> bool {
        match self {
            Self::Ordered(automaton) => automaton.push(time, matched),
            Self::Strict(automaton) => automaton.push(time, matched),
            Self::Unordered(automaton) => automaton.push(time, matched),
        }
    }

    fn finish(&mut self) -> usize {
        match self {
            Self::Ordered(automaton) => automaton.finish(),
            Self::Strict(automaton) => automaton.finish(),
            Self::Unordered(automaton) => automaton.finish(),
        }
    }

    fn times(&self) -> &[Micros] {
        match self {
            Self::Ordered(automaton) => automaton.times(),
            Self::Strict(automaton) => automaton.times(),
            Self::Unordered(automaton) => automaton.times(),
        }
    }
}

/// A funnel with its working memory: one for a query, used for user after user.
#[derive(Debug)]
pub struct Scanner<const TIMES: bool> {
    by_name: ByName,
    /// The conditions of each step, and which steps have any.
    conditions: Vec<Conditions>,
    conditional: u64,
    /// Mode `strict`: events that match nothing matter as well.
    every_event: bool,
    automaton: Automaton<TIMES>,
    id_key: Option<String>,
    name_key: String,
    time_key: String,
    scratch: Vec<u8>,
    /// Events out of order: time, place among the others, steps.
    unordered: Vec<(Micros, u32, u64)>,
}

impl<const TIMES: bool> Scanner<TIMES> {
    /// Compiles a funnel.
    #[must_use]
    pub fn new(funnel: &Funnel) -> Self {
        let conditional = |at: usize, step: &Step| u64::from(!step.conditions.is_empty()) << at;
        Self {
            by_name: ByName::new(funnel),
            conditions: funnel.steps.iter().map(|step| Conditions::new(&step.conditions)).collect(),
            conditional: funnel.steps.iter().enumerate().fold(0, |bits, (at, step)| bits | conditional(at, step)),
            every_event: funnel.mode == Mode::Strict,
            automaton: Automaton::new(funnel),
            id_key: funnel.id_key.clone(),
            name_key: funnel.name_key.clone(),
            time_key: funnel.time_key.clone(),
            scratch: Vec::new(),
            unordered: Vec::new(),
        }
    }

    /// The level of one user. Only events that matter to the mode have their time read: those that match a step, in mode
    /// `strict` all. Events out of order are sorted, stably; `source` gives a walk from the first element and is called
    /// again then, and once before when copies of events are to be left out.
    /// O(events), O(m log m) for m such events out of order.
    /// Errors: those of the source; such an event without a time, or with one that does not read.
    pub fn level<'a, S: Events<'a>>(
        &mut self,
        source: impl Fn() -> S,
        argument: &str,
        poll: Poll<'_>,
    ) -> Result<usize> {
        let kept = match self.id_key.take() {
            None => Selection::All,
            Some(id_key) => {
                let kept = dedupe(&mut source(), argument, &id_key, LAST_COPY, &mut *poll);
                self.id_key = Some(id_key);
                kept?
            }
        };
        self.automaton.reset();
        let mut last = Micros::MIN;
        let mut in_order = true;
        self.each_match(&mut source(), &kept, argument, poll, |automaton, time, matched| {
            if time < last {
                in_order = false;
                return Ok(false);
            }
            last = time;
            Ok(!automaton.push(time, matched))
        })?;
        if in_order {
            return Ok(self.automaton.finish());
        }
        let mut events = std::mem::take(&mut self.unordered);
        events.clear();
        self.each_match(&mut source(), &kept, argument, poll, |_, time, matched| {
            events.try_reserve(1).map_err(|_| no_memory())?;
            events.push((time, u32::try_from(events.len()).unwrap_or(u32::MAX), matched));
            Ok(true)
        })?;
        let mut compared: u32 = 0;
        events.sort_unstable_by(|a, b| {
            compared = compared.wrapping_add(1);
            if compared.is_multiple_of(1 << 16) {
                poll();
            }
            (a.0, a.1).cmp(&(b.0, b.1))
        });
        self.automaton.reset();
        for (at, (time, _, matched)) in events.iter().enumerate() {
            if at % POLL_EVERY == 0 {
                poll();
            }
            if self.automaton.push(*time, *matched) {
                break;
            }
        }
        self.unordered = events;
        Ok(self.automaton.finish())
    }

    /// The times of the attempt that counts, after [`Scanner::level`].
    #[must_use]
    pub fn times(&self) -> &[Micros] {
        self.automaton.times()
    }

    /// Gives each event that matters, until `visit` says to stop.
    #[inline]
    fn each_match<'a, S: Events<'a>>(
        &mut self,
        source: &mut S,
        kept: &Selection,
        argument: &str,
        poll: Poll<'_>,
        mut visit: impl FnMut(&mut Automaton<TIMES>, Micros, u64) -> Result<bool>,
    ) -> Result<()> {
        let Self { by_name, conditions, conditional, every_event, automaton, name_key, time_key, scratch, .. } = self;
        let (mut name_key, mut time_key) = (Key::new(name_key), Key::new(time_key));
        let mut clock = Clock::default();
        for_each_while(source, argument, poll, |position, element| {
            let Some(event) = element.event else { return Ok(true) };
            if matches!(kept, Selection::Marked(marks) if !marks.get(position - 1)) {
                return Ok(true);
            }
            let mut matched = match event.get(&mut name_key)? {
                Value::Text(name) => by_name.matched(name),
                Value::Absent | Value::Null => by_name.nameless,
                other => by_name.matched(other.text(scratch)?.unwrap_or_default()),
            };
            let mut open = matched & *conditional;
            while open != 0 {
                let step = open.trailing_zeros() as usize;
                open &= open - 1;
                if !conditions[step].hold(&event, scratch)? {
                    matched &= !(1 << step);
                }
            }
            if matched == 0 && !*every_event {
                return Ok(true);
            }
            let time = event.time(&mut time_key, &mut clock)?.ok_or_else(|| without_time(matched))?;
            visit(automaton, time, matched)
        })
    }
}

/// Of the copies of an event the last counts.
const LAST_COPY: Options = Options {
    keep: Keep::Last,
    id_type: IdType::Text,
    on_missing: OnMissing::Keep,
    place: Place::Kept,
    syntax: IntegerSyntax::Decimal,
};

fn without_time(matched: u64) -> Error {
    let why = match matched {
        0 => "In mode \"strict\" every event counts, so its time is needed.".to_owned(),
        steps => format!("The event matches step {} of the funnel, so its time is needed.", steps.trailing_zeros() + 1),
    };
    Error::new(Condition::InvalidDatetimeFormat, "event without a time")
        .detail(why)
        .hint("Name the key that holds the time with time_key => '…', or filter such events out.")
}
