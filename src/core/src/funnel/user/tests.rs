//! Every rule of a funnel crossed with every other, against the enumeration of all attempts.

use proptest::prelude::*;

use super::*;
use crate::funnel::rules::{Span, Ties};

/// One attempt: steps with the events that match them, in the order of the steps.
type Chain = Vec<(usize, usize)>;

struct Oracle<'o> {
    events: &'o [Moment],
    rules: &'o UserRules,
    /// In mode `unordered`, when only first events open windows: the window of each event.
    windows: Vec<(Micros, Micros)>,
}

impl<'o> Oracle<'o> {
    fn new(events: &'o [Moment], rules: &'o UserRules) -> Self {
        let mut windows = Vec::new();
        let mut open: Option<(Micros, Micros)> = None;
        for event in events {
            if open.is_none_or(|open| event.time > open.1) && event.steps != 0 {
                open = Some((event.time, end(rules, event.time)));
            }
            windows.push(open.unwrap_or((0, 0)));
        }
        Self { events, rules, windows }
    }

    fn event(&self, matched: (usize, usize)) -> &Moment {
        &self.events[matched.1]
    }

    /// Whether the chain is an attempt; exclusions are another matter.
    fn is_attempt(&self, chain: &Chain) -> bool {
        let rules = &self.rules.rules;
        let times: Vec<Micros> = chain.iter().map(|matched| self.event(*matched).time).collect();
        let (first, last) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
        let distinct = (0..chain.len()).all(|at| chain[..at].iter().all(|other| other.1 != chain[at].1));
        let matching = chain.iter().all(|matched| self.event(*matched).steps >> matched.0 & 1 == 1);
        let held =
            !self.rules.hold || chain.iter().all(|matched| self.event(*matched).hold == self.event(chain[0]).hold);
        if !distinct || !matching || !held || rules.window.is_some_and(|window| last - first > window) {
            return false;
        }
        if self.rules.mode == Mode::Unordered {
            let window = self.windows[chain[0].1];
            return rules.entry == Entry::Any || chain.iter().all(|matched| self.windows[matched.1] == window);
        }
        let steps = chain[0].0 == 0
            && chain.windows(2).all(|pair| (pair[0].0 + 1..pair[1].0).all(|step| rules.is_optional(step)))
            && chain.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let in_order = chain.windows(2).all(|pair| {
            let (before, after) = (self.event(pair[0]).time, self.event(pair[1]).time);
            (if rules.ties == Ties::Any { before <= after } else { pair[0].1 < pair[1].1 })
                && !(rules.increasing && before >= after)
                && rules.within[pair[1].0].is_none_or(|within| after - before <= within)
        });
        steps && in_order && self.may_enter(chain[0].1) && self.is_consecutive(chain)
    }

    fn may_enter(&self, entry: usize) -> bool {
        let rules = &self.rules.rules;
        if rules.entry == Entry::Any {
            return true;
        }
        let mut open: Option<Micros> = None;
        for (at, event) in self.events.iter().enumerate().filter(|(_, event)| event.steps & 1 == 1) {
            let running = open.is_some_and(|open| rules.window.is_none_or(|window| event.time - open <= window));
            let tied = rules.ties == Ties::Any && open == Some(event.time);
            if !running {
                open = Some(event.time);
            }
            if at == entry {
                return !running || tied;
            }
        }
        false
    }

    fn is_consecutive(&self, chain: &Chain) -> bool {
        let used = |at: usize| chain.iter().any(|matched| matched.1 == at);
        let (first, last) = (chain[0].1, chain[chain.len() - 1].1);
        let (from, to) = (self.events[first].time, self.events[last].time);
        (0..self.events.len()).all(|at| {
            let event = &self.events[at];
            let between = match self.rules.rules.ties {
                Ties::Array => first < at && at < last,
                Ties::Any => from < event.time && event.time < to,
            };
            let counts = match self.rules.mode {
                Mode::Strict => true,
                Mode::StrictSteps => event.steps != 0,
                _ => false,
            };
            !between || !counts || used(at)
        })
    }

    /// Whether an excluded event voids it.
    fn is_void(&self, chain: &Chain) -> bool {
        let rules = &self.rules.rules;
        let between = |at: usize, from: Micros, to: Micros| {
            self.events.iter().any(|event| event.excluded >> at & 1 == 1 && from < event.time && event.time < to)
        };
        let times: Vec<Micros> = chain.iter().map(|matched| self.event(*matched).time).collect();
        let (first, last) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
        let window_end = match (self.rules.mode, rules.entry) {
            (Mode::Unordered, Entry::First) => self.windows[chain[0].1].1,
            _ => end(self.rules, first),
        };
        rules.exclude.iter().enumerate().any(|(at, span)| {
            if self.rules.mode == Mode::Unordered {
                return between(at, first, if chain.len() == rules.steps { last } else { window_end });
            }
            let time_of = |step: usize| chain.iter().find(|matched| matched.0 + 1 == step).map(|m| self.event(*m).time);
            time_of(span.from).is_some_and(|from| between(at, from, time_of(span.to).unwrap_or(window_end)))
        })
    }

    fn chains(&self) -> Vec<Chain> {
        let mut all: Vec<Chain> = Vec::new();
        let mut open: Vec<Chain> = vec![Vec::new()];
        for step in 0..self.rules.rules.steps {
            let mut longer = Vec::new();
            for chain in &open {
                for at in 0..self.events.len() {
                    let mut chain = chain.clone();
                    chain.push((step, at));
                    // In order, the beginning of an attempt is one but for the exclusions and what lies between.
                    let hopeless = self.rules.mode != Mode::Unordered
                        && (chain[0].0 != 0
                            || chain.windows(2).any(|pair| self.event(pair[0]).time > self.event(pair[1]).time));
                    if self.events[at].steps >> step & 1 == 1 && !hopeless {
                        longer.push(chain);
                    }
                }
            }
            all.extend(longer.iter().cloned());
            open.extend(longer);
        }
        all.retain(|chain| self.is_attempt(chain));
        all
    }

    fn level(&self, chain: &Chain) -> usize {
        if self.rules.mode == Mode::Unordered { chain.len() } else { chain[chain.len() - 1].0 + 1 }
    }

    /// The attempt that counts, and whether exclusions made the level lower.
    fn outcome(&self) -> (Option<Found>, bool) {
        let chains = self.chains();
        let without = chains.iter().map(|chain| self.level(chain)).max().unwrap_or(0);
        let good: Vec<&Chain> = chains.iter().filter(|chain| !self.is_void(chain)).collect();
        let level = good.iter().map(|chain| self.level(chain)).max().unwrap_or(0);
        let time = |chain: &Chain, at: usize| {
            let mut times: Vec<Micros> = chain.iter().map(|matched| self.event(*matched).time).collect();
            times.sort_unstable();
            times[if at == 0 { 0 } else { times.len() - 1 }]
        };
        // In the order of the array, tied completions follow each other; but values that are held are looked at apart.
        let array =
            self.rules.rules.ties == Ties::Array && !self.rules.rules.increasing && self.rules.mode != Mode::Unordered;
        let rank = |chain: &Chain| {
            (time(chain, 1), if array { chain[chain.len() - 1].1 } else { 0 }, std::cmp::Reverse(time(chain, 0)))
        };
        let mut holds: Vec<u32> =
            good.iter().map(|chain| if self.rules.hold { self.event(chain[0]).hold } else { 0 }).collect();
        holds.sort_unstable();
        holds.dedup();
        let best = holds
            .iter()
            .filter_map(|hold| {
                good.iter()
                    .filter(|chain| {
                        self.level(chain) == level && (!self.rules.hold || self.event(chain[0]).hold == *hold)
                    })
                    .min_by_key(|chain| rank(chain))
            })
            .min_by_key(|chain| (time(chain, 1), std::cmp::Reverse(time(chain, 0))));
        (best.map(|chain| Found { level, entry: time(chain, 0), done: time(chain, 1) }), without > level)
    }

    fn check(&self, outcome: &Outcome) {
        let (found, excluded) = self.outcome();
        assert_eq!(outcome.found, found);
        assert_eq!(outcome.excluded, excluded);
        let Some(found) = found else {
            assert!(outcome.matches.is_empty());
            return;
        };
        let place = |matched: &Match| self.events.iter().position(|event| event.place == matched.place).unwrap();
        let mut chain: Chain = outcome.matches.iter().map(|matched| (matched.step, place(matched))).collect();
        let times: Vec<Micros> = outcome.matches.iter().map(|matched| matched.time).collect();
        assert_eq!((times.first(), times.last()), (Some(&found.entry), Some(&found.done)), "{chain:?}");
        assert!(times.is_sorted());
        chain.sort_unstable();
        assert!(self.is_attempt(&chain) && !self.is_void(&chain), "{chain:?}");
        assert_eq!(self.level(&chain), found.level);
    }
}

fn end(rules: &UserRules, entry: Micros) -> Micros {
    rules.rules.window.map_or(Micros::MAX, |window| entry + window)
}

/// What is counted, told plainly.
fn check(events: &[Moment], rules: &UserRules) {
    let outcomes = rules.outcomes(events, &mut || {});
    let first = UserRules { rules: Rules { entry: Entry::First, ..rules.rules.clone() }, ..rules.clone() };
    let mut expected = 0;
    let mut check_next = |events: &[Moment], rules: &UserRules| {
        Oracle::new(events, rules).check(&outcomes[expected]);
        expected += 1;
        outcomes[expected - 1].found
    };
    match rules.count {
        Count::Users => {
            check_next(events, rules);
        }
        Count::Sessions(gap) => {
            let mut session: Vec<Moment> = Vec::new();
            for event in events {
                if session.last().is_some_and(|last| event.time - last.time > gap) {
                    check_next(&session, rules);
                    session.clear();
                }
                session.push(*event);
            }
            if !session.is_empty() {
                check_next(&session, rules);
            }
        }
        Count::Attempts => {
            let mut over = Micros::MIN;
            let opens =
                |event: &&Moment| if rules.mode == Mode::Unordered { event.steps != 0 } else { event.steps & 1 == 1 };
            while let Some(entry) = events.iter().filter(|event| event.time > over).find(opens) {
                let until = end(rules, entry.time);
                let inside: Vec<Moment> =
                    events.iter().filter(|e| e.time >= entry.time && e.time <= until).copied().collect();
                let found = check_next(&inside, &first);
                over = found.filter(|found| found.level == rules.rules.steps).map_or(until, |found| found.done);
            }
        }
    }
    assert_eq!(expected, outcomes.len());
}

fn events() -> impl Strategy<Value = Vec<Moment>> {
    let excluded = prop_oneof![4 => Just(0u64), 1 => 0u64..4];
    let steps = prop_oneof![0u64..16, (0u64..4).prop_map(|step| 1 << step)];
    prop::collection::vec((0i64..10, steps, excluded, 0u32..2), 0..8).prop_map(|mut events| {
        events.sort_by_key(|event| event.0);
        let event = |(place, (time, steps, excluded, hold)): (u32, (Micros, u64, u64, u32))| Moment {
            time,
            place,
            steps,
            excluded,
            hold,
            counts: true,
        };
        (0..).zip(events).map(event).collect()
    })
}

fn user_rules(mode: Mode) -> impl Strategy<Value = UserRules> {
    let count =
        prop_oneof![6 => Just(Count::Users), 1 => Just(Count::Attempts), 1 => (0i64..4).prop_map(Count::Sessions)];
    let spans = prop::collection::vec((0usize..4, 0usize..4), 0..3);
    (crate::funnel::rules::tests::rules(), spans, any::<bool>(), count).prop_map(
        move |(mut rules, spans, hold, count)| {
            if mode == Mode::Unordered {
                (rules.increasing, rules.ties, rules.optional) = (false, Ties::Any, 0);
                rules.within.fill(None);
            }
            for (from, to) in spans {
                let (from, to) = if mode == Mode::Unordered { (0, rules.steps - 1) } else { (from, to) };
                if from < to && to < rules.steps && !rules.is_optional(from) && !rules.is_optional(to) {
                    rules.exclude.push(Span { from: from + 1, to: to + 1 });
                }
            }
            UserRules { rules, mode, hold, count, matches: true }
        },
    )
}

/// Events and rules that meet at the edges: few times make many ties, and windows that end with an excluded event; every
/// funnel has exclusions.
fn edges(mode: Mode) -> impl Strategy<Value = (Vec<Moment>, UserRules)> {
    let exclusions = prop::collection::vec((1usize..4, 1usize..4), 1..3);
    let rules = (user_rules(mode), 3usize..5, prop::option::weighted(0.9, 0i64..3), exclusions).prop_map(
        move |(mut user, steps, window, spans)| {
            let rules = &mut user.rules;
            rules.steps = steps;
            rules.within.resize(steps, None);
            rules.window = window;
            rules.exclude.clear();
            for (from, length) in spans {
                let (from, to) = if mode == Mode::Unordered { (1, steps) } else { (from, (from + length).min(steps)) };
                if from < to && !rules.is_optional(from - 1) && !rules.is_optional(to - 1) {
                    rules.exclude.push(Span { from, to });
                }
            }
            user
        },
    );
    let events = events().prop_map(|mut events| {
        for event in &mut events {
            event.time /= 2;
        }
        events
    });
    (events, rules)
}

fn prepared(mut events: Vec<Moment>, rules: &UserRules) -> Vec<Moment> {
    let known = (1 << rules.rules.steps) - 1;
    let exclusions = (1 << rules.rules.exclude.len()) - 1;
    for event in &mut events {
        event.steps &= known;
        event.excluded &= exclusions;
        event.counts = match rules.mode {
            Mode::Strict => true,
            Mode::StrictSteps => event.steps != 0,
            Mode::Ordered | Mode::Unordered => false,
        };
    }
    events
}

macro_rules! equals_enumeration {
    ($($name:ident $at_the_edges:ident $mode:ident;)+) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(100_000))]
            $(#[test]
            fn $name(events in events(), rules in user_rules(Mode::$mode)) {
                check(&prepared(events, &rules), &rules);
            }

            #[test]
            fn $at_the_edges((events, rules) in edges(Mode::$mode)) {
                check(&prepared(events, &rules), &rules);
            })+
        }
    };
}

equals_enumeration! {
    ordered_equals_enumeration ordered_equals_enumeration_at_the_edges Ordered;
    strict_equals_enumeration strict_equals_enumeration_at_the_edges Strict;
    strict_steps_equals_enumeration strict_steps_equals_enumeration_at_the_edges StrictSteps;
    unordered_equals_enumeration unordered_equals_enumeration_at_the_edges Unordered;
}

/// The event at 9 is excluded at the very end of the window of 8, whose attempt is sure then; the one that begins at 9 is
/// not sure yet, but counts before it.
#[test]
fn a_sure_attempt_gives_way_to_a_better_one_that_still_waits() {
    let event = |place, time, steps, excluded| Moment { time, place, steps, excluded, hold: 0, counts: true };
    let events = [event(0, 8, 1, 0), event(1, 9, 1, 1), event(2, 9, 2, 0)];
    let exclude = vec![Span { from: 1, to: 3 }];
    for ties in [Ties::Any, Ties::Array] {
        for mode in [Mode::Ordered, Mode::Strict, Mode::StrictSteps] {
            let rules = Rules { ties, exclude: exclude.clone(), ..Rules::new(3, Some(1)) };
            let rules = UserRules { rules, mode, hold: false, count: Count::Users, matches: true };
            check(&events, &rules);
        }
    }
}

/// Two attempts begin and end at the same times, and the excluded event at the end voids one: the matches are the other's.
#[test]
fn the_matches_are_of_an_attempt_that_is_not_void() {
    let event = |place, time, steps, excluded| Moment { time, place, steps, excluded, hold: 0, counts: true };
    let events = [event(0, 0, 1, 0), event(1, 0, 3, 0), event(2, 3, 6, 1), event(3, 3, 4, 0)];
    for ties in [Ties::Any, Ties::Array] {
        for mode in [Mode::Ordered, Mode::Strict, Mode::StrictSteps] {
            let rules = Rules { ties, exclude: vec![Span { from: 2, to: 4 }], ..Rules::new(4, None) };
            check(&events, &UserRules { rules, mode, hold: false, count: Count::Users, matches: true });
        }
    }
}

/// Seconds that this thread has had a processor, whoever else wants it; by the wall clock where the system does not say.
fn processor_time(began: std::time::Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split_whitespace().next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| began.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

/// Long users of every shape and mode, with exclusions that nothing ends, held properties and optional steps: eight times
/// the events take about eight times as long. A quadratic way takes 64 times.
#[test]
fn no_mode_is_quadratic_in_a_long_user() {
    type Shape = (&'static str, fn(i64) -> (Micros, u64, u64));
    let shapes: [Shape; 6] = [
        ("an excluded event at the beginning", |at| (at, 1 << (at % 2), u64::from(at == 0))),
        ("entries alone", |at| (at, 1, u64::from(at == 0))),
        ("excluded events between", |at| (at, [1, 2, 0][at as usize % 3], u64::from(at % 3 == 2))),
        ("excluded second steps", |at| (at / 2, 1 << (at % 2), u64::from(at % 7 == 1))),
        ("ties of hundreds", |at| (at / 300, 1 << (at % 3), u64::from(at % 1000 == 0))),
        ("one time", |at| (0, 1 << (at % 3), u64::from(at == 0))),
    ];
    for mode in [Mode::Ordered, Mode::Strict, Mode::StrictSteps, Mode::Unordered] {
        for (shape, event) in shapes {
            for ties in [Ties::Any, Ties::Array] {
                for (hold, optional, count) in [
                    (false, 0, Count::Users),
                    (true, 0, Count::Users),
                    (false, 2, Count::Users),
                    (false, 0, Count::Attempts),
                    (false, 0, Count::Sessions(10)),
                ] {
                    let ordered = mode != Mode::Unordered;
                    let rules = Rules {
                        ties: if ordered { ties } else { Ties::Any },
                        optional: if ordered { optional } else { 0 },
                        exclude: vec![Span { from: 1, to: 4 }],
                        ..Rules::new(4, Some(1_000_000))
                    };
                    let rules = UserRules { rules, mode, hold, count, matches: true };
                    let events: Vec<Moment> = (0..160_000)
                        .map(|at| {
                            let (time, steps, excluded) = event(at);
                            let place = at as u32;
                            Moment { time, place, steps, excluded, hold: place % 1000, counts: true }
                        })
                        .collect();
                    let time = |size: usize| {
                        let begin = std::time::Instant::now();
                        let before = processor_time(begin);
                        std::hint::black_box(rules.outcomes(&events[..size], &mut || {}));
                        processor_time(begin) - before
                    };
                    let mut small = f64::MAX;
                    let mut large = f64::MAX;
                    // Whoever else works on the machine makes single measurements long (its caches are shared), never all of them.
                    for _ in 0..6 {
                        small = small.min(time(20_000)).max(0.005);
                        large = large.min(time(160_000));
                        if large < 30.0 * small {
                            break;
                        }
                    }
                    let user = format!("{mode:?}, {shape}, {ties:?}, hold {hold}, optional {optional}, {count:?}");
                    assert!(large < 30.0 * small, "{user}: {small} s, {large} s");
                }
            }
        }
    }
}
