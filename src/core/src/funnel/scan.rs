//! One user's events through a funnel's automaton: names to steps, times where they are needed, order where it lacks.

use hashbrown::HashMap;

use super::definition::Funnel;
use super::ordered::Ordered;
use crate::dedupe::no_memory;
use crate::error::{Condition, Error, Result};
use crate::event::{Event, Events, Key, Poll, for_each_while};
use crate::time::Micros;
use crate::value::Value;

/// Which steps an event matches, by its name.
#[derive(Debug)]
struct Names {
    /// A few names are compared one by one: the lengths alone tell most of them apart.
    few: Vec<(Vec<u8>, u64)>,
    many: HashMap<Vec<u8>, u64, foldhash::fast::FixedState>,
    /// Steps that any event matches.
    any: u64,
}

const FEW: usize = 8;

impl Names {
    fn new(funnel: &Funnel) -> Self {
        let mut any = 0;
        let mut many: HashMap<Vec<u8>, u64, foldhash::fast::FixedState> = HashMap::default();
        for (at, step) in funnel.steps.iter().enumerate() {
            if step.names.is_empty() {
                any |= 1 << at;
            }
            for name in &step.names {
                *many.entry(name.clone().into_bytes()).or_default() |= 1 << at;
            }
        }
        let few = if many.len() <= FEW { many.drain().collect() } else { Vec::new() };
        Self { few, many, any }
    }

    #[inline]
    fn matched(&self, name: &[u8]) -> u64 {
        let named = if self.many.is_empty() {
            self.few.iter().find(|(known, _)| known == name).map_or(0, |(_, steps)| *steps)
        } else {
            self.many.get(name).copied().unwrap_or(0)
        };
        named | self.any
    }
}

/// A funnel with its working memory: one for a query, used for user after user.
#[derive(Debug)]
pub struct Scanner<const TIMES: bool> {
    names: Names,
    automaton: Ordered<TIMES>,
    name_key: String,
    time_key: String,
    scratch: Vec<u8>,
    unordered: Vec<(Micros, u64)>,
}

impl<const TIMES: bool> Scanner<TIMES> {
    /// Compiles a funnel.
    #[must_use]
    pub fn new(funnel: &Funnel) -> Self {
        Self {
            names: Names::new(funnel),
            automaton: Ordered::new(funnel.steps.len(), funnel.window),
            name_key: funnel.name_key.clone(),
            time_key: funnel.time_key.clone(),
            scratch: Vec::new(),
            unordered: Vec::new(),
        }
    }

    /// The level of one user. Only events that match a step have their time read. Events out of order are sorted,
    /// stably; `source` gives a walk from the first element and is called again then.
    /// O(events), O(m log m) for m matching events out of order.
    /// Errors: those of the source; a matching event without a time, or with one that does not read.
    pub fn level<'a, S: Events<'a>>(
        &mut self,
        source: impl Fn() -> S,
        argument: &str,
        poll: Poll<'_>,
    ) -> Result<usize> {
        self.automaton.reset();
        let mut last = Micros::MIN;
        let mut in_order = true;
        let mut done = false;
        self.each_match(&mut source(), argument, poll, |this, time, matched| {
            if time < last {
                in_order = false;
                return Ok(false);
            }
            last = time;
            done = this.automaton.push(time, matched);
            Ok(!done)
        })?;
        if in_order {
            return Ok(self.automaton.finish());
        }
        let mut events = std::mem::take(&mut self.unordered);
        events.clear();
        self.each_match(&mut source(), argument, poll, |_, time, matched| {
            events.try_reserve(1).map_err(|_| no_memory())?;
            events.push((time, matched));
            Ok(true)
        })?;
        let mut compared: u32 = 0;
        events.sort_by(|a, b| {
            compared = compared.wrapping_add(1);
            if compared.is_multiple_of(1 << 16) {
                poll();
            }
            a.0.cmp(&b.0)
        });
        self.automaton.reset();
        for (time, matched) in &events {
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

    /// Gives each event that matches a step, until `visit` says to stop.
    #[inline]
    fn each_match<'a, S: Events<'a>>(
        &mut self,
        source: &mut S,
        argument: &str,
        poll: Poll<'_>,
        mut visit: impl FnMut(&mut Self, Micros, u64) -> Result<bool>,
    ) -> Result<()> {
        let (name_key, time_key) = (self.name_key.clone(), self.time_key.clone());
        let (mut name_key, mut time_key) = (Key::new(&name_key), Key::new(&time_key));
        for_each_while(source, argument, poll, |_, element| {
            let Some(event) = element.event else { return Ok(true) };
            let matched = match event.get(&mut name_key)? {
                Value::Text(name) => self.names.matched(name),
                Value::Absent | Value::Null => self.names.any,
                other => {
                    let mut scratch = std::mem::take(&mut self.scratch);
                    let matched = self.names.matched(other.text(&mut scratch)?.unwrap_or_default());
                    self.scratch = scratch;
                    matched
                }
            };
            if matched == 0 {
                return Ok(true);
            }
            let time = event.time(&mut time_key)?.ok_or_else(|| without_time(matched))?;
            visit(self, time, matched)
        })
    }
}

fn without_time(matched: u64) -> Error {
    Error::new(Condition::InvalidDatetimeFormat, "event without a time")
        .detail(format!(
            "The event matches step {} of the funnel, so its time is needed.",
            matched.trailing_zeros() + 1
        ))
        .hint("Name the key that holds the time with time_key => '…', or filter such events out.")
}
