//! One user's events through a funnel: read, put in order where they are not, given to the automaton or kept whole.

use super::attribution::Attribution;
use super::automaton::Automaton;
use super::definition::{Count, Funnel, Mode};
use super::held::Numbers;
use super::moment::Moment;
use super::ordered::NONE;
use super::patterns::Patterns;
use super::rules::Entry;
use super::user::{Outcome, UserRules};
use crate::copies::Counting;
use crate::dedupe::no_memory;
use crate::error::{Condition, Error, Result};
use crate::event::{Event, Events, Key, POLL_EVERY, Poll, for_each_while};
use crate::time::{Clock, Micros};

/// What a funnel needs that looks at the events of a user more than once.
#[derive(Debug)]
struct Whole {
    rules: UserRules,
    exclusions: Patterns,
    held: Numbers,
    events: Vec<Moment>,
    outcomes: Vec<Outcome>,
}

/// A funnel with its working memory: one for a query, used for user after user.
#[derive(Debug)]
pub struct Scanner<const TIMES: bool> {
    steps: Patterns,
    /// Events that match nothing matter as well, with their times: in mode `strict`, and for sessions.
    every_event: bool,
    /// The best level, once reached, stands whatever follows, also if that is out of order: nothing is left to read.
    stops_at_best: bool,
    automaton: Automaton<TIMES>,
    whole: Option<Box<Whole>>,
    /// The times of the attempt that counts, when the automaton did not find it.
    times: Vec<Micros>,
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
        Self::compile(funnel, funnel.needs_all_events())
    }

    fn compile(funnel: &Funnel, needs_all_events: bool) -> Self {
        let whole = || Whole {
            rules: funnel.user_rules(TIMES),
            exclusions: Patterns::new(
                funnel.exclude.iter().map(|exclusion| (&exclusion.names, exclusion.conditions.as_slice())),
            ),
            held: Numbers::new(funnel.hold.clone()),
            events: Vec::new(),
            outcomes: Vec::new(),
        };
        Self {
            steps: Patterns::new(funnel.steps.iter().map(|step| (&step.names, step.conditions.as_slice()))),
            every_event: funnel.mode == Mode::Strict || matches!(funnel.count, Count::Sessions(_)),
            stops_at_best: !TIMES
                && funnel.entry == Entry::Any
                && matches!(funnel.mode, Mode::Ordered | Mode::Unordered),
            automaton: Automaton::new(funnel.mode, funnel.rules()),
            whole: needs_all_events.then(|| Box::new(whole())),
            times: Vec::new(),
            id_key: funnel.id_key.clone(),
            name_key: funnel.name_key.clone(),
            time_key: funnel.time_key.clone(),
            scratch: Vec::new(),
            unordered: Vec::new(),
        }
    }

    /// The level of one user. Only events that matter to the mode have their time read: those that match a step, in mode
    /// `strict` all. Events out of order are sorted, stably; `source` gives a walk from the first element and is called
    /// again then, and once before when copies of events are to be left out. Reading ends early only where no later
    /// element can change the answer by standing out of order.
    /// O(events), O(m log m) for m such events out of order.
    /// Errors: those of the source; such an event without a time, or with one that does not read.
    pub fn level<'a, S: Events<'a>>(
        &mut self,
        source: impl Fn() -> S,
        argument: &str,
        poll: Poll<'_>,
    ) -> Result<usize> {
        let counting = Counting::of(&mut source(), argument, self.id_key.as_deref(), &mut *poll)?;
        if let Some(mut whole) = self.whole.take() {
            let level = self.whole_level(&mut whole, &mut source(), &counting, argument, poll);
            self.whole = Some(whole);
            return level;
        }
        self.automaton.reset();
        let mut last = Micros::MIN;
        let (mut in_order, mut done) = (true, false);
        let stops_at_best = self.stops_at_best;
        self.each_match(&mut source(), &counting, argument, poll, |automaton, time, matched| {
            if time < last {
                in_order = false;
                return Ok(false);
            }
            if !done {
                last = time;
                done = automaton.push(time, matched);
            }
            Ok(!(done && stops_at_best))
        })?;
        if in_order {
            return Ok(self.automaton.finish());
        }
        let mut events = std::mem::take(&mut self.unordered);
        events.clear();
        self.each_match(&mut source(), &counting, argument, poll, |_, time, matched| {
            events.try_reserve(1).map_err(|_| no_memory())?;
            events.push((time, u32::try_from(events.len()).unwrap_or(u32::MAX), matched));
            Ok(true)
        })?;
        sort(&mut events, &mut *poll, |event| (event.0, event.1));
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

    /// As [`Scanner::level`], for a funnel that looks at all events of a user.
    fn whole_level<'a, S: Events<'a>>(
        &mut self,
        whole: &mut Whole,
        source: &mut S,
        counting: &Counting,
        argument: &str,
        poll: Poll<'_>,
    ) -> Result<usize> {
        whole.outcomes.clear();
        self.gather(whole, source, counting, argument, &mut *poll)?;
        whole.outcomes = whole.rules.outcomes(&whole.events, poll);
        let best = whole.outcomes.iter().map(Outcome::level).max().unwrap_or(0);
        if TIMES {
            self.times.clear();
            if let Some(outcome) = whole.outcomes.iter().find(|outcome| outcome.level() == best) {
                times_of(outcome, whole.rules.mode, &mut self.times);
            }
        }
        Ok(best)
    }

    /// Gathers the events that matter, in order of time.
    fn gather<'a, S: Events<'a>>(
        &mut self,
        whole: &mut Whole,
        source: &mut S,
        counting: &Counting,
        argument: &str,
        poll: Poll<'_>,
    ) -> Result<()> {
        let Self { steps, every_event, name_key, time_key, scratch, .. } = self;
        let Whole { rules, exclusions, held, events, .. } = whole;
        events.clear();
        held.clear();
        let (mut name_key, mut time_key) = (Key::new(name_key), Key::new(time_key));
        let mut clock = Clock::default();
        let mut in_order = true;
        for_each_while(source, argument, &mut *poll, |position, element| {
            let Some(event) = &element.event else { return Ok(true) };
            if !counting.holds(position) {
                return Ok(true);
            }
            let name = event.get(&mut name_key)?;
            let matched = steps.matched(&name, event, scratch)?;
            let excluded = exclusions.matched(&name, event, scratch)?;
            if matched == 0 && excluded == 0 && !*every_event {
                return Ok(true);
            }
            let time = event.time(&mut time_key, &mut clock)?.ok_or_else(|| without_time(matched, excluded))?;
            in_order &= events.last().is_none_or(|last: &Moment| last.time <= time);
            events.try_reserve(1).map_err(|_| no_memory())?;
            events.push(Moment {
                time,
                place: u32::try_from(position - 1).unwrap_or(u32::MAX),
                steps: matched,
                excluded,
                hold: if rules.hold && matched != 0 { held.number(event, scratch)? } else { 0 },
                counts: match rules.mode {
                    Mode::Strict => true,
                    Mode::StrictSteps => matched != 0,
                    Mode::Ordered | Mode::Unordered => false,
                },
            });
            Ok(true)
        })?;
        if !in_order {
            sort(events, poll, |event| (event.time, event.place));
        }
        Ok(())
    }

    /// The times of the attempt that counts, after [`Scanner::level`].
    #[must_use]
    pub fn times(&self) -> &[Micros] {
        if self.whole.is_some() { &self.times } else { self.automaton.times() }
    }

    /// Gives what is counted of the user, after [`Scanner::level`]: the times of its attempt, and whether exclusions made
    /// its level lower. For funnels that count users that is one.
    pub fn each_counted(&self, mut visit: impl FnMut(&[Micros], bool) -> Result<()>) -> Result<()> {
        let Some(whole) = &self.whole else { return visit(self.automaton.times(), false) };
        let mut times = Vec::new();
        for outcome in &whole.outcomes {
            times_of(outcome, whole.rules.mode, &mut times);
            visit(&times, outcome.excluded)?;
        }
        Ok(())
    }

    /// From now on keeps which events the steps were matched by; costs a copy of the events that matter.
    pub fn keep_matches(&mut self, funnel: &Funnel) {
        if self.whole.is_none() {
            *self = Self::compile(funnel, true);
        }
    }

    /// A property, as text, of an event of the attempt that counts, after [`Scanner::keep_matches`]. `None` when there is
    /// no such match, or the event has not got the property. Of several sessions or attempts the first best counts.
    /// Walks the array once more, up to that event. Errors: those of [`Scanner::level`].
    pub fn property<'a, S: Events<'a>>(
        &mut self,
        source: impl Fn() -> S,
        argument: &str,
        key: &str,
        attribution: Attribution,
        poll: Poll<'_>,
    ) -> Result<Option<String>> {
        let level = self.level(&source, argument, &mut *poll)?;
        let outcomes = self.whole.as_ref().map_or(&[][..], |whole| &whole.outcomes);
        let counts = outcomes.iter().find(|outcome| outcome.level() == level);
        let Some(matched) = counts.and_then(|outcome| attribution.of(&outcome.matches)) else { return Ok(None) };
        let wanted = usize::try_from(matched.place).unwrap_or(usize::MAX);
        let mut property = None;
        let scratch = &mut self.scratch;
        for_each_while(&mut source(), argument, poll, |position, element| {
            if position - 1 < wanted {
                return Ok(true);
            }
            if let Some(event) = element.event {
                let value = event.get(&mut Key::new(key))?;
                property = value.text(scratch)?.map(|text| String::from_utf8_lossy(text).into_owned());
            }
            Ok(false)
        })?;
        Ok(property)
    }

    /// Whether exclusions made the level lower of anything counted, after [`Scanner::level`].
    #[must_use]
    pub fn excluded(&self) -> bool {
        self.whole.as_ref().is_some_and(|whole| whole.outcomes.iter().any(|outcome| outcome.excluded))
    }

    /// Gives each event that matters, until `visit` says to stop.
    #[inline]
    fn each_match<'a, S: Events<'a>>(
        &mut self,
        source: &mut S,
        counting: &Counting,
        argument: &str,
        poll: Poll<'_>,
        mut visit: impl FnMut(&mut Automaton<TIMES>, Micros, u64) -> Result<bool>,
    ) -> Result<()> {
        let Self { steps, every_event, automaton, name_key, time_key, scratch, .. } = self;
        let (mut name_key, mut time_key) = (Key::new(name_key), Key::new(time_key));
        let mut clock = Clock::default();
        for_each_while(source, argument, poll, |position, element| {
            let Some(event) = &element.event else { return Ok(true) };
            if !counting.holds(position) {
                return Ok(true);
            }
            // Event and value are looked at where they lie: a copy made at once waits for the stores that wrote it.
            let matched = match event.get(&mut name_key) {
                Ok(ref name) => steps.matched(name, event, scratch)?,
                Err(error) => return Err(error),
            };
            if matched == 0 && !*every_event {
                return Ok(true);
            }
            let time = event.time(&mut time_key, &mut clock)?.ok_or_else(|| without_time(matched, 0))?;
            visit(automaton, time, matched)
        })
    }
}

/// Sorts events by a key that no two share, and polls.
fn sort<T>(events: &mut [T], poll: Poll<'_>, key: impl Fn(&T) -> (Micros, u32)) {
    let mut compared: u32 = 0;
    events.sort_unstable_by(|a, b| {
        compared = compared.wrapping_add(1);
        if compared.is_multiple_of(1 << 16) {
            poll();
        }
        key(a).cmp(&key(b))
    });
}

/// The times of an attempt: one for each step up to its level, [`NONE`] for one left out; in mode `unordered` when one,
/// two, … different steps had been matched.
fn times_of(outcome: &Outcome, mode: Mode, times: &mut Vec<Micros>) {
    times.clear();
    times.resize(outcome.level(), NONE);
    for (at, matched) in outcome.matches.iter().enumerate() {
        let place = if mode == Mode::Unordered { at } else { matched.step };
        if let Some(time) = times.get_mut(place) {
            *time = matched.time;
        }
    }
}

fn without_time(matched: u64, excluded: u64) -> Error {
    let why = match (matched, excluded) {
        (0, 0) => "In mode \"strict\", and to find sessions, every event's time is needed.".to_owned(),
        (0, _) => {
            format!(
                "The event matches exclusion {} of the funnel, so its time is needed.",
                excluded.trailing_zeros() + 1
            )
        }
        (steps, _) => {
            format!("The event matches step {} of the funnel, so its time is needed.", steps.trailing_zeros() + 1)
        }
    };
    Error::new(Condition::InvalidDatetimeFormat, "event without a time")
        .detail(why)
        .hint("Name the key that holds the time with time_key => '…', or filter such events out.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{Plain, PlainEvents};
    use crate::funnel::rules::Ties;
    use proptest::prelude::*;

    fn found<const TIMES: bool>(funnel: &Funnel, events: &[(&str, Micros)]) -> (usize, Vec<Micros>) {
        let plain: Vec<Option<Plain>> =
            events.iter().map(|(name, at)| Some(Plain { id: Some((*name).to_owned()), at: Some(*at) })).collect();
        let mut scanner = Scanner::<TIMES>::new(funnel);
        let level = scanner.level(|| PlainEvents::new(&plain, false), "events", &mut || ()).unwrap();
        (level, scanner.times().to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn an_array_out_of_order_is_the_same_as_in_order(
            events in prop::collection::vec((prop::sample::select(vec!["a", "b", "x"]), 0i64..9), 0..9),
            steps in prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..4),
            mode in prop::sample::select(vec![Mode::Ordered, Mode::Strict, Mode::StrictSteps, Mode::Unordered]),
            ties in prop::sample::select(vec![Ties::Any, Ties::Array]),
            entry in prop::sample::select(vec![Entry::Any, Entry::First]),
            window in prop::option::of(0i64..6),
            increasing in any::<bool>(),
        ) {
            let steps: Vec<String> = steps.into_iter().map(str::to_owned).collect();
            let funnel = Funnel { mode, ties, entry, increasing, ..Funnel::of_names(&steps, window, "id", "at").unwrap() };
            let mut sorted = events.clone();
            sorted.sort_by_key(|event| event.1);
            prop_assert_eq!(found::<false>(&funnel, &events), found::<false>(&funnel, &sorted));
            prop_assert_eq!(found::<true>(&funnel, &events), found::<true>(&funnel, &sorted));
        }
    }
}
