//! The options that all automata share, and the plain statement of what an attempt is that their tests enumerate.

use crate::time::Micros;

/// How events of equal time may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// In any order.
    Any,
    /// In the order of the array.
    Array,
}

/// Which entry events open an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Every one; the best attempt counts.
    Any,
    /// The first; later ones do not restart the window while it runs.
    First,
}

/// An exclusion: the steps between which no event that matches it may lie, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The step after whose match it begins to matter.
    pub from: usize,
    /// The step with whose match it ceases to matter; later than `from`.
    pub to: usize,
}

impl Span {
    /// Whether an attempt of that level, `from` matched and `to` not, has it open.
    #[inline]
    #[must_use]
    pub const fn open_at(&self, level: usize) -> bool {
        self.from <= level && level < self.to
    }
}

/// The rules of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How many steps there are, 1 to 64.
    pub steps: usize,
    /// The longest time from the entry to any match, inclusive.
    pub window: Option<Micros>,
    /// The order of events of equal time.
    pub ties: Ties,
    /// Whether each match has to be later than the one before.
    pub increasing: bool,
    /// Which events open an attempt.
    pub entry: Entry,
    /// For each step the longest time since the match before, inclusive.
    pub within: Vec<Option<Micros>>,
    /// The steps that may be left out, one bit each; never the first.
    pub optional: u64,
    /// The exclusions, at most 64. An event that matches one, strictly in time between the matches of its two steps (or the
    /// end of the window as long as the second is not matched) voids the attempt.
    pub exclude: Vec<Span>,
}

impl Rules {
    /// Steps and a window, all else as it is by default.
    #[must_use]
    pub fn new(steps: usize, window: Option<Micros>) -> Self {
        Self {
            steps,
            window,
            ties: Ties::Any,
            increasing: false,
            entry: Entry::Any,
            within: vec![None; steps],
            optional: 0,
            exclude: Vec::new(),
        }
    }

    /// The end of the window of an entry; the end of time when there is none.
    #[inline]
    #[must_use]
    pub fn window_end(&self, entry: Micros) -> Micros {
        self.window.map_or(Micros::MAX, |window| entry.saturating_add(window))
    }

    /// The earliest entry whose window holds that time.
    #[inline]
    #[must_use]
    pub fn window_begin(&self, time: Micros) -> Micros {
        self.window.map_or(Micros::MIN, |window| time.saturating_sub(window))
    }

    /// The exclusions of a set of bits.
    pub fn spans(&self, bits: u64) -> impl Iterator<Item = (usize, Span)> {
        self.exclude.iter().copied().enumerate().filter(move |(at, _)| bits >> at & 1 == 1)
    }

    /// Whether an attempt of that level is only sure when its window has ended.
    #[must_use]
    pub fn stays_open(&self, level: usize) -> bool {
        self.exclude.iter().any(|span| span.open_at(level))
    }

    /// The steps that can be the next after a level: the one behind it, and those that optional ones let through.
    pub fn next_steps(&self, level: usize) -> impl Iterator<Item = usize> + use<'_> {
        let last = (level..self.steps).find(|step| !self.is_optional(*step)).unwrap_or(self.steps.saturating_sub(1));
        level..=last
    }

    /// Whether a step may be left out.
    #[inline]
    #[must_use]
    pub const fn is_optional(&self, step: usize) -> bool {
        self.optional >> step & 1 == 1
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What an attempt has to be besides that.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Mode {
        Ordered,
        Strict,
    }

    /// An event: its time and what it matches.
    pub(crate) type Seen = (Micros, u64);

    /// Entry and end of an attempt's times, those of steps left out passed over; none of an empty one. In order, always.
    pub(crate) fn ends(times: &[Micros]) -> Option<(Micros, Micros)> {
        let taken: Vec<_> = times.iter().copied().filter(|time| *time != Micros::MIN).collect();
        assert!(taken.is_sorted());
        taken.first().copied().zip(taken.last().copied())
    }

    pub(crate) fn events(most: usize) -> impl Strategy<Value = Vec<Seen>> {
        prop::collection::vec((0i64..8, 0u64..16), 0..most).prop_map(|mut events| {
            events.sort_by_key(|event| event.0);
            events
        })
    }

    pub(crate) fn rules() -> impl Strategy<Value = Rules> {
        (1usize..5, prop::option::of(0i64..8), any::<bool>(), any::<bool>(), any::<bool>()).prop_flat_map(
            |(steps, window, array, increasing, first)| {
                (
                    prop::collection::vec(prop::option::weighted(0.3, 0i64..5), steps),
                    prop_oneof![3 => Just(0u64), 1 => 0u64..16],
                )
                    .prop_map(move |(within, optional)| Rules {
                        steps,
                        window,
                        ties: if array { Ties::Array } else { Ties::Any },
                        increasing,
                        entry: if first { Entry::First } else { Entry::Any },
                        within,
                        optional: optional & !1 & ((1 << steps) - 1),
                        exclude: Vec::new(),
                    })
            },
        )
    }

    /// One chain of matches: the steps taken, in order, and the events that matched them.
    struct Chain {
        steps: Vec<usize>,
        events: Vec<usize>,
    }

    /// By enumeration of every attempt: the level, and of the attempt that counts the time of entry and of its end.
    pub(crate) fn enumerate(events: &[Seen], rules: &Rules, mode: Mode) -> (usize, Option<(Micros, Micros)>) {
        let mut found = Vec::new();
        let entries = entries(events, rules);
        for first in entries {
            let mut chain = Chain { steps: vec![0], events: vec![first] };
            extend(events, rules, mode, &mut chain, &mut found);
        }
        let Some(level) = found.iter().map(|f: &Found| f.level).max() else { return (0, None) };
        found.retain(|f| f.level == level);
        // In array order tied events follow each other, so the first of them to complete is first.
        let key = |f: &Found| if rules.ties == Ties::Array && !rules.increasing { f.last_event } else { 0 };
        let done = found.iter().map(|f| (f.done, key(f))).min().unwrap();
        let entry = found.iter().filter(|f| (f.done, key(f)) == done).map(|f| f.entry).max().unwrap();
        (level, Some((entry, done.0)))
    }

    /// An attempt that was found.
    struct Found {
        level: usize,
        entry: Micros,
        done: Micros,
        last_event: usize,
    }

    fn entries(events: &[Seen], rules: &Rules) -> Vec<usize> {
        let mut open: Option<Micros> = None;
        let mut entries = Vec::new();
        for (at, (time, matched)) in events.iter().enumerate() {
            if matched & 1 == 0 {
                continue;
            }
            // Free order within a tie: any of the tied events can be the one that comes first.
            let tied = rules.ties == Ties::Any && open == Some(*time);
            let running = open.is_some_and(|open| rules.window.is_none_or(|window| time - open <= window));
            if rules.entry == Entry::First && running && !tied {
                continue;
            }
            open = Some(*time);
            entries.push(at);
        }
        entries
    }

    fn extend(events: &[Seen], rules: &Rules, mode: Mode, chain: &mut Chain, found: &mut Vec<Found>) {
        let (last_step, last_event) = (*chain.steps.last().unwrap(), *chain.events.last().unwrap());
        let (entry, last) = (events[chain.events[0]].0, events[last_event].0);
        if mode == Mode::Ordered || consecutive(events, rules, chain) {
            found.push(Found { level: last_step + 1, entry, done: last, last_event });
        } else if !could_be_consecutive(events, rules, chain) {
            return;
        }
        for step in last_step + 1..rules.steps {
            for (at, (time, matched)) in events.iter().enumerate() {
                let later = match rules.ties {
                    Ties::Any => *time >= last,
                    Ties::Array => at > last_event,
                };
                if matched >> step & 1 == 0
                    || chain.events.contains(&at)
                    || !later
                    || rules.increasing && *time <= last
                    || rules.window.is_some_and(|window| time - entry > window)
                    || rules.within[step].is_some_and(|within| time - last > within)
                {
                    continue;
                }
                chain.steps.push(step);
                chain.events.push(at);
                extend(events, rules, mode, chain, found);
                chain.steps.pop();
                chain.events.pop();
            }
            if !rules.is_optional(step) {
                break;
            }
        }
    }

    /// Whether the tied events can be put into an order in which the chain's events stand next to each other.
    fn consecutive(events: &[Seen], rules: &Rules, chain: &Chain) -> bool {
        let (first, last) = (chain.events[0], *chain.events.last().unwrap());
        if rules.ties == Ties::Array {
            return last - first + 1 == chain.events.len();
        }
        // Groups strictly between the first and the last one have to be used whole; the ends can be turned as needed.
        let (from, to) = (events[first].0, events[last].0);
        (0..events.len()).all(|at| events[at].0 <= from || events[at].0 >= to || chain.events.contains(&at))
    }

    fn could_be_consecutive(_: &[Seen], rules: &Rules, _: &Chain) -> bool {
        // In free order a chain that leaves out a tied event may still take it with a later step.
        rules.ties == Ties::Any
    }
}
