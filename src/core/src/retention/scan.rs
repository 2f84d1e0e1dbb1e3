//! One user's events: the cohort and the periods of the returns.

use super::definition::Definition;
use crate::copies::Counting;
use crate::error::{Condition, Error, Result};
use crate::event::{Event, Events, Key, Poll, for_each};
use crate::names::name_of;
use crate::time::{Clock, Micros};
use crate::zone::Calendar;

/// What one user adds to a summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visits {
    /// The number of the period of the first event; `None` for a user who never began.
    pub cohort: Option<i32>,
    /// The periods of returns, counted from the cohort's, each once, in order.
    pub periods: Vec<i32>,
}

impl Visits {
    fn clear(&mut self) {
        self.cohort = None;
        self.periods.clear();
    }

    /// Of the first event's time and all times of returns from it on. O(returns). Errors: those of [`Calendar::number`].
    fn set(&mut self, calendar: &mut Calendar, first: Micros, returns: impl Iterator<Item = Micros>) -> Result<()> {
        let cohort = calendar.number(first)?;
        self.cohort = Some(cohort);
        for time in returns {
            let period = calendar.number(time)? - cohort;
            if self.periods.last() != Some(&period) {
                self.periods.push(period);
            }
        }
        if !self.periods.is_sorted() {
            self.periods.sort_unstable();
        }
        self.periods.dedup();
        Ok(())
    }

    /// Of times that the query told: the first event's, and those of events that may be returns; they are when they are
    /// later than the first event. O(times). Errors: those of [`Calendar::number`].
    pub fn of_times(&mut self, calendar: &mut Calendar, first: Option<Micros>, times: &[Micros]) -> Result<()> {
        self.clear();
        match first {
            Some(first) => self.set(calendar, first, times.iter().copied().filter(|time| *time > first)),
            None => Ok(()),
        }
    }
}

/// A definition with its working memory: one for a query, used for user after user.
#[derive(Debug)]
pub struct Scanner {
    definition: Definition,
    visits: Visits,
    returns: Vec<Micros>,
    scratch: Vec<u8>,
}

impl Scanner {
    /// Compiles a definition.
    #[must_use]
    pub const fn new(definition: Definition) -> Self {
        Self {
            definition,
            visits: Visits { cohort: None, periods: Vec::new() },
            returns: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// What a user adds. The user's cohort is the period of the first event, in time, that begins. A return is a
    /// return event that is not that very event and not earlier. Only events that begin or are a return have their
    /// time read; they need not be in order. `source` gives a walk from the first element, and is called once before when
    /// copies of events are to be left out. O(events) time, and 8 bytes for each return.
    /// Errors: those of the source; such an event without a time, or with one that does not read or that the calendar
    /// does not know.
    pub fn visits<'a, S: Events<'a>>(
        &mut self,
        source: impl Fn() -> S,
        argument: &str,
        poll: Poll<'_>,
    ) -> Result<&Visits> {
        let Self { definition, visits, returns, scratch } = self;
        visits.clear();
        returns.clear();
        let Definition { first_event, return_event, calendar, id_key, name_key, time_key } = definition;
        let counting = Counting::of(&mut source(), argument, id_key.as_deref(), &mut *poll)?;
        let (mut name_key, mut time_key) = (Key::new(name_key), Key::new(time_key));
        let mut clock = Clock::default();
        // The first event's time, and whether it is a return event as well.
        let mut first: Option<(Micros, bool)> = None;
        for_each(&mut source(), argument, poll, |position, element| {
            let Some(event) = element.event.filter(|_| counting.holds(position)) else { return Ok(()) };
            let name = name_of(&event, &mut name_key, scratch)?;
            let (begins, returned) = (first_event.hold(name), return_event.hold(name));
            if !begins && !returned {
                return Ok(());
            }
            let time = event.time(&mut time_key, &mut clock)?.ok_or_else(without_time)?;
            if begins && first.is_none_or(|(earliest, _)| time < earliest) {
                first = Some((time, returned));
            }
            if returned {
                returns.push(time);
            }
            Ok(())
        })?;
        if let Some((first, mut itself)) = first {
            let later =
                returns.iter().copied().filter(|time| *time > first || *time == first && !std::mem::take(&mut itself));
            visits.set(calendar, first, later)?;
        }
        Ok(visits)
    }
}

#[cold]
fn without_time() -> Error {
    Error::new(Condition::InvalidDatetimeFormat, "event without a time")
        .detail("The event begins or is a return, so its time is needed.")
        .hint("Name the key that holds the time with \"time_key\" in the definition, or filter such events out.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{Plain, PlainEvents};
    use crate::names::Names;
    use crate::zone::Period;
    use jiff::tz::TimeZone;
    use jiff::{Timestamp, Unit};
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000_000;

    fn names(list: &[&str]) -> Names {
        if list.is_empty() { Names::Any } else { Names::In(list.iter().map(|name| (*name).to_owned()).collect()) }
    }

    /// The definition in words, by the library's dates: sort, take the first, look at each other event.
    fn oracle(
        events: &[(&str, i64)],
        first: &Names,
        back: &Names,
        period: Period,
        zone: &str,
    ) -> (Option<String>, Vec<i32>) {
        let zone = TimeZone::get(zone).unwrap();
        let date = |time: i64| Timestamp::from_microsecond(time).unwrap().to_zoned(zone.clone()).date();
        let start = |time: i64| match period {
            Period::Months(1) => date(time).first_of_month(),
            Period::Days(1) => date(time),
            _ => date(time)
                .checked_sub(jiff::Span::new().days(i64::from(date(time).weekday().to_monday_zero_offset())))
                .unwrap(),
        };
        let begins = |at: usize| first.hold(Some(events[at].0.as_bytes()));
        let Some(begin) = (0..events.len()).filter(|at| begins(*at)).min_by_key(|at| events[*at].1) else {
            return (None, vec![]);
        };
        let mut periods = std::collections::BTreeSet::new();
        for at in 0..events.len() {
            if at != begin && events[at].1 >= events[begin].1 && back.hold(Some(events[at].0.as_bytes())) {
                let (from, to) = (start(events[begin].1), start(events[at].1));
                periods.insert(match period {
                    Period::Months(_) => from.until((Unit::Month, to)).unwrap().get_months(),
                    Period::Days(days) => from.until((Unit::Day, to)).unwrap().get_days() / days,
                });
            }
        }
        (Some(start(events[begin].1).to_string()), periods.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn a_user_is_where_the_words_put_him(
            // Few times, so that many are equal, around a night in which Berlin's and New York's clocks change.
            events in prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), -60i64..2_000), 0..12),
            first in prop::sample::select(vec![vec![], vec!["a"], vec!["a", "b"], vec!["x"]]),
            back in prop::sample::select(vec![vec![], vec!["a"], vec!["b"], vec!["b", "c"]]),
            period in prop::sample::select(vec![Period::Days(1), Period::Days(7), Period::Months(1)]),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
        ) {
            let base = 1_709_942_400_000_000; // 2024-03-09
            let events: Vec<(&str, i64)> = events.into_iter().map(|(name, hours)| (name, base + hours / 2 * HOUR)).collect();
            let plain: Vec<Option<Plain>> =
                events.iter().map(|(name, time)| Some(Plain { id: Some((*name).to_owned()), at: Some(*time) })).collect();
            let (first, back) = (names(&first), names(&back));
            let calendar = Calendar::new(period, zone).unwrap();
            let definition = Definition { first_event: first.clone(), return_event: back.clone(), calendar: calendar.clone(), id_key: None,
                name_key: "id".into(), time_key: "at".into() };
            let mut scanner = Scanner::new(definition);
            let visits = scanner.visits(|| PlainEvents::new(&plain, false), "events", &mut || ()).unwrap();
            let expected = oracle(&events, &first, &back, period, zone);
            prop_assert_eq!(visits.cohort.map(|number| calendar.label(number).unwrap()), expected.0);
            prop_assert_eq!(&visits.periods, &expected.1);
        }
    }

    #[test]
    fn told_times_count_when_they_are_later() {
        let mut calendar = Calendar::new(Period::Days(1), "UTC").unwrap();
        let mut visits = Visits::default();
        visits
            .of_times(&mut calendar, Some(5 * HOUR), &[30 * HOUR, 4 * HOUR, 5 * HOUR, 6 * HOUR, 100 * HOUR, 31 * HOUR])
            .unwrap();
        assert_eq!(visits.periods, [0, 1, 4]);
        visits.of_times(&mut calendar, Some(5 * HOUR), &[5 * HOUR]).unwrap();
        assert_eq!((visits.cohort.is_some(), visits.periods.len()), (true, 0));
        visits.of_times(&mut calendar, None, &[1]).unwrap();
        assert_eq!(visits, Visits::default());
    }

    #[test]
    fn an_event_that_matters_needs_a_time() {
        let definition = Definition::of_names(None, None, Calendar::new(Period::Days(1), "UTC").unwrap());
        let events = [None, Some(Plain::default())];
        let error =
            Scanner::new(definition).visits(|| PlainEvents::new(&events, false), "events", &mut || ()).unwrap_err();
        assert!(error.message.starts_with("element 2 of argument \"events\": "), "{error}");
    }
}
