//! The definition of a funnel: the JSON document or the short form, read into one compiled form.

use serde_json::{Map, Value as Json};

use super::condition::{Bound, Comparison, Condition, Test};
use super::duration;
use super::rules::{Entry, Rules, Span, Ties};
use super::user::UserRules;
use crate::error::{Condition as State, Error, Result, quoted};
use crate::time::{self, Micros};

/// Steps that a funnel may have: one bit each.
pub const MOST_STEPS: usize = 64;

/// Exclusions that a funnel may have: one bit each.
pub const MOST_EXCLUSIONS: usize = 64;

/// Characters that a label has at most; a longer one is cut.
pub const LONGEST_LABEL: usize = 100;

/// A label of bearable length.
fn cut(label: &str) -> String {
    label.chars().take(LONGEST_LABEL).collect()
}

/// How matches have to lie among the other events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In order; other events may lie between.
    Ordered,
    /// In order and next to each other.
    Strict,
    /// As strict, among the events that match some step.
    StrictSteps,
    /// In any order.
    Unordered,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Each user once, at the best level.
    Users,
    /// Each attempt. They follow each other: the first entry opens one, and the next is opened by the first entry after the
    /// attempt was complete or its window had ended.
    Attempts,
    /// Each session at its best level. A session ends where nothing happens for longer than this.
    Sessions(Micros),
}

/// A funnel, ready to be matched.
#[derive(Clone, Debug, PartialEq)]
pub struct Funnel {
    /// The steps in order, 1 to 64.
    pub steps: Vec<Step>,
    /// The longest time from the match of step 1 to any other, inclusive; `None` = no limit.
    pub window: Option<Micros>,
    /// How matches have to lie among the other events.
    pub mode: Mode,
    /// The order of events of equal time.
    pub ties: Ties,
    /// Whether each match has to be later than the one before.
    pub increasing: bool,
    /// Which events open an attempt.
    pub entry: Entry,
    /// What may not happen between two steps.
    pub exclude: Vec<Exclusion>,
    /// Properties that have to be equal in all matches of an attempt; one that is absent or NULL equals only such a one.
    pub hold: Vec<String>,
    /// What is counted.
    pub count: Count,
    /// The key that holds an event's id, when copies of an event are to be left out; the last copy counts.
    pub id_key: Option<String>,
    /// The key that holds an event's name.
    pub name_key: String,
    /// The key that holds an event's time.
    pub time_key: String,
}

/// Which events a step asks for, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Any event, also one without a name.
    Any,
    /// One of these.
    In(Vec<String>),
    /// Any but these; an event without a name is none of them.
    NotIn(Vec<String>),
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The names that match.
    pub names: Names,
    /// What has to hold of the event's properties.
    pub conditions: Vec<Condition>,
    /// What tables and charts call it.
    pub label: String,
    /// Whether it may be left out.
    pub optional: bool,
    /// The longest time since the match before, inclusive.
    pub within: Option<Micros>,
}

/// Events that void an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Exclusion {
    /// The names that match.
    pub names: Names,
    /// What has to hold of the event's properties.
    pub conditions: Vec<Condition>,
    /// Between which steps.
    pub span: Span,
}

impl Step {
    /// A step that one event name matches.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            names: Names::In(vec![name.to_owned()]),
            conditions: Vec::new(),
            label: cut(name),
            optional: false,
            within: None,
        }
    }
}

/// A hash under way.
struct Fingerprint(u64);

impl Fingerprint {
    fn part(&mut self, tag: &str, text: &str) {
        for part in [tag, text] {
            for byte in (part.len() as u64).to_le_bytes().into_iter().chain(part.bytes()) {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
            }
        }
    }
}

impl Fingerprint {
    fn names(&mut self, tag: &str, names: &Names) {
        let (kind, names): (_, &[String]) = match names {
            Names::Any => ("any", &[]),
            Names::In(names) => ("in", names),
            Names::NotIn(names) => ("not", names),
        };
        self.part(tag, kind);
        names.iter().for_each(|name| self.part("name", name));
    }

    fn conditions(&mut self, conditions: &[Condition]) {
        for condition in conditions {
            self.part("where", &condition.property);
            condition.tests.iter().for_each(|test| test.parts(|tag, text| self.part(tag, text)));
        }
    }

    fn step(&mut self, step: &Step) {
        self.names("step", &step.names);
        if step.optional {
            self.part("optional", "true");
        }
        if let Some(within) = step.within {
            self.part("within", &within.to_string());
        }
        self.conditions(&step.conditions);
    }

    fn exclusion(&mut self, exclusion: &Exclusion) {
        self.names("exclude", &exclusion.names);
        self.part("from", &exclusion.span.from.to_string());
        self.part("to", &exclusion.span.to.to_string());
        self.conditions(&exclusion.conditions);
    }
}

impl Funnel {
    /// The short form: names and a window. Errors: `22023` for no step or too many.
    pub fn of_names(names: &[String], window: Option<Micros>, name_key: &str, time_key: &str) -> Result<Self> {
        count_fits(names.len(), "steps")?;
        Ok(Self {
            steps: names.iter().map(|name| Step::named(name)).collect(),
            window,
            mode: Mode::Ordered,
            ties: Ties::Any,
            increasing: false,
            entry: Entry::Any,
            exclude: Vec::new(),
            hold: Vec::new(),
            count: Count::Users,
            id_key: None,
            name_key: name_key.into(),
            time_key: time_key.into(),
        })
    }

    /// The full form. Errors: `22032` for what is no JSON, `22023` with the JSON path in DETAIL for everything else,
    /// `0A000` for combinations that have no meaning here.
    pub fn of_json(text: &[u8]) -> Result<Self> {
        let document: Json = serde_json::from_slice(text).map_err(|error| {
            Error::new(State::InvalidJsonText, "funnel definition is not a JSON document")
                .detail(error.to_string())
                .hint("Write it as '{\"steps\": [\"a\", \"b\"], \"window\": \"6 hours\"}'.")
        })?;
        let path = "$";
        let top = object(&document, path)?;
        only_keys(
            top,
            path,
            &[
                "steps",
                "window",
                "mode",
                "ties",
                "increasing",
                "entry",
                "exclude",
                "hold",
                "count",
                "session_gap",
                "id_key",
                "name_key",
                "time_key",
            ],
        )?;
        let steps = top.get("steps").ok_or_else(|| {
            wrong(path, "lacks the key \"steps\"", "Add \"steps\": [\"first event\", \"second event\"].")
        })?;
        let list = array(steps, "$.steps")?;
        count_fits(list.len(), "$.steps")?;
        let steps = list
            .iter()
            .enumerate()
            .map(|(at, step)| read_step(step, &format!("$.steps[{at}]")))
            .collect::<Result<Vec<_>>>()?;
        let exclude = match top.get("exclude") {
            None => Vec::new(),
            Some(list) => {
                let list = array(list, "$.exclude")?;
                if list.len() > MOST_EXCLUSIONS {
                    let what = format!("has {} exclusions", list.len());
                    return Err(wrong("$.exclude", &what, "Give at most 64: one can name several events."));
                }
                list.iter()
                    .enumerate()
                    .map(|(at, exclusion)| read_exclusion(exclusion, &steps, &format!("$.exclude[{at}]")))
                    .collect::<Result<_>>()?
            }
        };
        let key = |name: &str, default: &str| match top.get(name) {
            None => Ok(default.to_owned()),
            Some(key) => text_of(key, &format!("$.{name}")).map(str::to_owned),
        };
        let funnel = Self {
            steps,
            window: duration_of(top, "window", path)?,
            mode: word(
                top,
                "mode",
                &[
                    ("ordered", Mode::Ordered),
                    ("strict", Mode::Strict),
                    ("strict_steps", Mode::StrictSteps),
                    ("unordered", Mode::Unordered),
                ],
            )?,
            ties: word(top, "ties", &[("any", Ties::Any), ("array", Ties::Array)])?,
            increasing: flag(top, "increasing", path)?,
            entry: word(top, "entry", &[("any", Entry::Any), ("first", Entry::First)])?,
            exclude,
            hold: match top.get("hold") {
                None => Vec::new(),
                Some(properties) => array(properties, "$.hold")?
                    .iter()
                    .enumerate()
                    .map(|(at, property)| text_of(property, &format!("$.hold[{at}]")).map(str::to_owned))
                    .collect::<Result<_>>()?,
            },
            count: read_count(top)?,
            id_key: top.get("id_key").map(|key| text_of(key, "$.id_key").map(str::to_owned)).transpose()?,
            name_key: key("name_key", "event")?,
            time_key: key("time_key", "time")?,
        };
        funnel.check_meaning()?;
        Ok(funnel)
    }

    /// Refuses what the mode gives no meaning to.
    fn check_meaning(&self) -> Result<()> {
        let refuse = |path: String, what: &str, hint: &str| {
            Err(Error::new(State::FeatureNotSupported, "funnel definition asks for what its mode does not know")
                .detail(format!("{path} {what}."))
                .hint(hint.to_owned()))
        };
        for (at, step) in self.steps.iter().enumerate() {
            if step.optional && at == 0 {
                let hint = "Begin with a step that every attempt has.";
                return Err(wrong("$.steps[0].optional", "is true, but the first step opens the window", hint));
            }
            if step.optional && self.mode == Mode::Unordered {
                let hint = "Leave \"optional\" out: in this mode any step can be missing.";
                return refuse(format!("$.steps[{at}].optional"), "has no meaning in the mode \"unordered\"", hint);
            }
            if step.within.is_some() && self.mode == Mode::Unordered {
                let hint = "Leave \"within\" out and give a \"window\".";
                return refuse(
                    format!("$.steps[{at}].within"),
                    "counts from the step before, and the mode \"unordered\" has none",
                    hint,
                );
            }
        }
        for (at, exclusion) in self.exclude.iter().enumerate() {
            let whole = Span { from: 1, to: self.steps.len() };
            if self.mode == Mode::Unordered && exclusion.span != whole {
                let hint = "Leave \"from\" and \"to\" out: the exclusion is then for the whole attempt.";
                return refuse(
                    format!("$.exclude[{at}]"),
                    "lies between certain steps, which have no order in the mode \"unordered\"",
                    hint,
                );
            }
        }
        if self.mode == Mode::Unordered && (self.increasing || self.ties == Ties::Array) {
            let hint = "Leave \"increasing\" and \"ties\" out, or use another mode.";
            return refuse("$.mode".to_owned(), "is \"unordered\", which asks for no order of events", hint);
        }
        Ok(())
    }

    /// The rules of its attempts.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            steps: self.steps.len(),
            window: self.window,
            ties: self.ties,
            increasing: self.increasing,
            entry: self.entry,
            within: self.steps.iter().map(|step| step.within).collect(),
            optional: self.steps.iter().enumerate().fold(0, |bits, (at, step)| bits | u64::from(step.optional) << at),
            exclude: self.exclude.iter().map(|exclusion| exclusion.span).collect(),
        }
    }

    /// The rules for a user, and whether the matches are wanted.
    #[must_use]
    pub fn user_rules(&self, matches: bool) -> UserRules {
        UserRules { rules: self.rules(), mode: self.mode, hold: !self.hold.is_empty(), count: self.count, matches }
    }

    /// Whether the events have to be looked at more than once: the automata that read them one by one do not know all
    /// rules.
    #[must_use]
    pub fn needs_all_events(&self) -> bool {
        let strict = matches!(self.mode, Mode::Strict | Mode::StrictSteps);
        !self.exclude.is_empty()
            || !self.hold.is_empty()
            || self.count != Count::Users
            || strict && self.steps.iter().any(|step| step.optional)
    }

    /// A number that tells funnels apart that ask different things, whatever their labels: summaries of other funnels
    /// are not put together. Stable between versions: FNV-1a over a tag, a length and the text of each part that
    /// differs from its default. A mistake is told apart, an attack on the hash is not.
    /// Source: G. Fowler, L. C. Noll, K.-P. Vo.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut print = Fingerprint(0xCBF2_9CE4_8422_2325);
        if let Some(window) = self.window {
            print.part("window", &window.to_string());
        }
        match self.mode {
            Mode::Ordered => {}
            Mode::Strict => print.part("mode", "strict"),
            Mode::StrictSteps => print.part("mode", "strict_steps"),
            Mode::Unordered => print.part("mode", "unordered"),
        }
        if self.ties == Ties::Array {
            print.part("ties", "array");
        }
        if self.increasing {
            print.part("increasing", "true");
        }
        if self.entry == Entry::First {
            print.part("entry", "first");
        }
        if let Some(key) = &self.id_key {
            print.part("id_key", key);
        }
        print.part("name_key", &self.name_key);
        print.part("time_key", &self.time_key);
        for step in &self.steps {
            print.step(step);
        }
        for exclusion in &self.exclude {
            print.exclusion(exclusion);
        }
        for property in &self.hold {
            print.part("hold", property);
        }
        match self.count {
            Count::Users => {}
            Count::Attempts => print.part("count", "attempts"),
            Count::Sessions(gap) => print.part("count", &format!("sessions {gap}")),
        }
        print.0
    }

    /// The labels of the steps, in order, and whether each may be left out.
    pub fn steps(&self) -> impl Iterator<Item = (&str, bool)> {
        self.steps.iter().map(|step| (step.label.as_str(), step.optional))
    }
}

fn read_step(step: &Json, path: &str) -> Result<Step> {
    if let Json::String(name) = step {
        return Ok(Step::named(name));
    }
    let step = object(step, path)?;
    only_keys(step, path, &["event", "where", "label", "optional", "within"])?;
    let names = read_names(step.get("event"), &format!("{path}.event"))?;
    let label = match (step.get("label"), &names) {
        (Some(label), _) => text_of(label, &format!("{path}.label"))?.to_owned(),
        (None, Names::Any) => "any event".to_owned(),
        (None, Names::In(names)) => names.join(" or "),
        (None, Names::NotIn(names)) => format!("not {}", names.join(" or ")),
    };
    let conditions = read_conditions(step, path)?;
    Ok(Step {
        names,
        conditions,
        label: cut(&label),
        optional: flag(step, "optional", path)?,
        within: duration_of(step, "within", path)?,
    })
}

/// The conditions under "where", none when it is absent.
fn read_conditions(step: &Map<String, Json>, path: &str) -> Result<Vec<Condition>> {
    let Some(properties) = step.get("where") else { return Ok(Vec::new()) };
    let path = format!("{path}.where");
    let properties = object(properties, &path)?.iter();
    properties.map(|(property, given)| read_condition(property, given, &format!("{path}.{}", cut(property)))).collect()
}

fn read_exclusion(exclusion: &Json, steps: &[Step], path: &str) -> Result<Exclusion> {
    let nothing = Map::new();
    let (names, given) = match exclusion {
        Json::String(name) => (Names::In(vec![name.clone()]), &nothing),
        exclusion => {
            let given = object(exclusion, path)?;
            only_keys(given, path, &["event", "where", "label", "from", "to"])?;
            if let Some(label) = given.get("label") {
                text_of(label, &format!("{path}.label"))?;
            }
            (read_names(given.get("event"), &format!("{path}.event"))?, given)
        }
    };
    if steps.len() < 2 {
        return Err(wrong(
            path,
            "needs two steps to lie between, and there is one",
            "Add a step, or leave \"exclude\" out.",
        ));
    }
    let span = Span {
        from: read_step_number(given, "from", 1, steps, path)?,
        to: read_step_number(given, "to", steps.len(), steps, path)?,
    };
    if span.from >= span.to {
        let what = format!("goes from step {} to step {}", span.from, span.to);
        return Err(wrong(path, &what, "Give a \"to\" that is greater than \"from\"."));
    }
    Ok(Exclusion { names, conditions: read_conditions(given, path)?, span })
}

/// The number of a step, counted from 1, that every attempt takes on its way.
fn read_step_number(given: &Map<String, Json>, key: &str, default: usize, steps: &[Step], path: &str) -> Result<usize> {
    let path = format!("{path}.{key}");
    let hint = format!("Give a number from 1 to {}.", steps.len());
    let step = match given.get(key) {
        None => default,
        Some(Json::Number(number)) => number
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .filter(|step| (1..=steps.len()).contains(step))
            .ok_or_else(|| wrong(&path, &format!("is {number}, which is no step of the funnel"), &hint))?,
        Some(other) => return Err(wrong(&path, &format!("is {}, not a step's number", kind(other)), &hint)),
    };
    if steps.get(step - 1).is_some_and(|step| step.optional) {
        return Err(wrong(
            &path,
            &format!("is step {step}, which may be left out"),
            "Name a step that is not optional.",
        ));
    }
    Ok(step)
}

fn read_count(top: &Map<String, Json>) -> Result<Count> {
    let words = [("users", Count::Users), ("attempts", Count::Attempts), ("sessions", Count::Sessions(0))];
    let count = word(top, "count", &words)?;
    let gap = duration_of(top, "session_gap", "$")?;
    match (count, gap) {
        (Count::Sessions(_), Some(gap)) => Ok(Count::Sessions(gap)),
        (Count::Sessions(_), None) => Err(wrong(
            "$",
            "counts sessions and lacks the key \"session_gap\"",
            "Add \"session_gap\": \"30 minutes\", the pause that ends a session.",
        )),
        (_, Some(_)) => Err(wrong(
            "$.session_gap",
            "is given, but sessions are not counted",
            "Add \"count\": \"sessions\", or leave \"session_gap\" out.",
        )),
        (count, None) => Ok(count),
    }
}

fn read_names(event: Option<&Json>, path: &str) -> Result<Names> {
    match event {
        None => Ok(Names::Any),
        Some(Json::Object(other)) => {
            only_keys(other, path, &["not"])?;
            let not =
                other.get("not").ok_or_else(|| wrong(path, "lacks the key \"not\"", "Write {\"not\": \"name\"}."))?;
            texts_of(not, &format!("{path}.not")).map(Names::NotIn)
        }
        Some(names) => texts_of(names, path).map(Names::In),
    }
}

fn read_condition(property: &str, given: &Json, path: &str) -> Result<Condition> {
    let tests = match given {
        Json::Object(operators) => {
            if operators.is_empty() {
                return Err(wrong(path, "has no operator", "Write {\"gte\": 10} for example."));
            }
            operators.iter().map(|(operator, value)| read_test(operator, value, path)).collect::<Result<_>>()?
        }
        value => vec![Test::In(vec![scalar(value, path)?])],
    };
    Ok(Condition { property: property.to_owned(), tests })
}

/// Below this, whole numbers are exact in floating point.
const EXACT: u128 = 1 << 53;

fn whole_number(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn read_test(operator: &str, value: &Json, path: &str) -> Result<Test> {
    let at = format!("{path}.{operator}");
    let compare = |comparison| match value {
        Json::Number(number) => match (whole_number(number), number.as_f64()) {
            (Some(whole), _) if whole.unsigned_abs() >= EXACT => Ok(Test::Compare(comparison, Bound::Whole(whole))),
            (_, Some(number)) => Ok(Test::Compare(comparison, Bound::Number(number))),
            (_, None) => Err(wrong(&at, "is a number out of range", "Give a smaller number.")),
        },
        Json::String(text) => match time::of_text(text.as_bytes()) {
            Ok(time) => Ok(Test::Compare(comparison, Bound::Time(time))),
            Err(_) => Err(wrong(
                &at,
                "is a string that is no time",
                "Give a number, or a time such as \"2024-01-31T12:00:00Z\".",
            )),
        },
        other => {
            Err(wrong(&at, &format!("is {}, neither a number nor a time", kind(other)), "Give a number or a time."))
        }
    };
    match operator {
        "in" => scalars(value, &at).map(Test::In),
        "not_in" => scalars(value, &at).map(Test::NotIn),
        "not" => scalar(value, &at).map(|text| Test::NotIn(vec![text])),
        "contains" => text_of(value, &at).map(|text| Test::Contains(text.to_owned())),
        "starts_with" => text_of(value, &at).map(|text| Test::StartsWith(text.to_owned())),
        "exists" => boolean(value, &at).map(Test::Exists),
        "lt" => compare(Comparison::Less),
        "lte" => compare(Comparison::LessOrEqual),
        "gt" => compare(Comparison::Greater),
        "gte" => compare(Comparison::GreaterOrEqual),
        other => Err(wrong(
            path,
            &format!("has the unknown operator {}", quoted(other.as_bytes())),
            "The operators are in, not_in, not, contains, starts_with, exists, lt, lte, gt, gte.",
        )),
    }
}

/// A value as the text that `->>` gives for it.
fn scalar(value: &Json, path: &str) -> Result<String> {
    match value {
        Json::String(text) => Ok(text.clone()),
        Json::Number(number) => Ok(number.to_string()),
        Json::Bool(truth) => Ok(truth.to_string()),
        other => Err(wrong(
            path,
            &format!("is {}, not a single value", kind(other)),
            "Give a string, a number, a boolean, or an operator such as {\"exists\": false}.",
        )),
    }
}

fn scalars(value: &Json, path: &str) -> Result<Vec<String>> {
    array(value, path)?.iter().enumerate().map(|(at, value)| scalar(value, &format!("{path}[{at}]"))).collect()
}

/// One text or a list of at least one.
fn texts_of(value: &Json, path: &str) -> Result<Vec<String>> {
    match value {
        Json::Array(texts) if !texts.is_empty() => texts
            .iter()
            .enumerate()
            .map(|(at, text)| text_of(text, &format!("{path}[{at}]")).map(str::to_owned))
            .collect(),
        text => Ok(vec![text_of(text, path)?.to_owned()]),
    }
}

fn duration_of(object: &Map<String, Json>, key: &str, path: &str) -> Result<Option<Micros>> {
    let at = format!("{path}.{key}");
    match object.get(key) {
        None => Ok(None),
        Some(text) => duration::of_text(key, text_of(text, &at)?).map(Some).map_err(|error| at_path(error, &at)),
    }
}

fn flag(object: &Map<String, Json>, key: &str, path: &str) -> Result<bool> {
    object.get(key).map_or(Ok(false), |value| boolean(value, &format!("{path}.{key}")))
}

fn boolean(value: &Json, path: &str) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong(path, &format!("is {}, not a boolean", kind(value)), "Write true or false."))
}

/// One of the words of an option; the first is the default.
fn word<T: Copy>(top: &Map<String, Json>, key: &str, words: &[(&str, T)]) -> Result<T> {
    let path = format!("$.{key}");
    let given = match top.get(key) {
        None => words.first().map(|(word, _)| *word).unwrap_or_default(),
        Some(given) => text_of(given, &path)?,
    };
    words.iter().find(|(word, _)| *word == given).map(|(_, value)| *value).ok_or_else(|| {
        let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        wrong(
            &path,
            &format!("has the value {}", quoted(given.as_bytes())),
            &format!("The values of {key} are {list}."),
        )
    })
}

fn count_fits(count: usize, path: &str) -> Result<()> {
    if (1..=MOST_STEPS).contains(&count) {
        return Ok(());
    }
    Err(wrong(path, &format!("has {count} steps"), "Give 1 to 64 steps."))
}

fn wrong(path: &str, what: &str, hint: &str) -> Error {
    Error::new(State::InvalidParameterValue, "invalid funnel definition")
        .detail(format!("{path} {what}."))
        .hint(hint.to_owned())
}

fn at_path(mut error: Error, path: &str) -> Error {
    let detail = error.detail.take().unwrap_or_default();
    error.detail(format!("At {path}: {detail}"))
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

fn object<'v>(value: &'v Json, path: &str) -> Result<&'v Map<String, Json>> {
    value.as_object().ok_or_else(|| {
        wrong(
            path,
            &format!("is {}, not an object", kind(value)),
            "Write a definition as {\"steps\": [\"a\", {\"event\": \"b\"}], \"window\": \"6 hours\"}.",
        )
    })
}

fn array<'v>(value: &'v Json, path: &str) -> Result<&'v Vec<Json>> {
    value
        .as_array()
        .ok_or_else(|| wrong(path, &format!("is {}, not an array", kind(value)), "Write a list in square brackets."))
}

fn text_of<'v>(value: &'v Json, path: &str) -> Result<&'v str> {
    value
        .as_str()
        .ok_or_else(|| wrong(path, &format!("is {}, not a string", kind(value)), "Write it in double quotes."))
}

fn only_keys(object: &Map<String, Json>, path: &str, known: &[&str]) -> Result<()> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(wrong(
            path,
            &format!("has the unknown key {}", quoted(key.as_bytes())),
            &format!("The keys here are {}.", known.join(", ")),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_give_one_funnel() {
        let short = Funnel::of_names(&["a".into(), "b".into()], Some(3_600_000_000), "event", "time").unwrap();
        let full =
            Funnel::of_json(br#"{"steps": ["a", {"event": "b"}], "window": "1 hour", "mode": "ordered"}"#).unwrap();
        assert_eq!(short, full);
    }

    #[test]
    fn every_key_is_read() {
        let funnel = Funnel::of_json(
            br#"{"steps": [{"event": ["a", "b"], "label": "either"}, {}, {"event": {"not": "c"}, "optional": true, "within": "5 minutes",
                 "where": {"plan": "pro", "paid": true, "cents": {"gte": 100, "lt": 1000}, "at": {"gt": "2024-01-01"},
                           "path": {"starts_with": "/a", "contains": "b", "exists": true, "not": 7, "in": ["x", 1], "not_in": [false]}}}, "end"],
                "exclude": ["x", {"event": {"not": "y"}, "where": {"z": 1}, "label": "no y", "from": 1, "to": 2}],
                "hold": ["cart", "shop"], "count": "sessions", "session_gap": "30 minutes",
                "window": "2 days", "mode": "ordered", "ties": "array", "increasing": true, "entry": "first",
                "id_key": "id", "name_key": "n", "time_key": "t"}"#,
        )
        .unwrap();
        assert_eq!(funnel.steps[0].names, Names::In(vec!["a".into(), "b".into()]));
        assert_eq!(
            funnel.steps().collect::<Vec<_>>(),
            [("either", false), ("any event", false), ("not c", true), ("end", false)]
        );
        let last = &funnel.steps[2];
        assert_eq!((last.optional, last.within), (true, Some(300_000_000)));
        assert_eq!(last.conditions.iter().map(|c| c.tests.len()).sum::<usize>(), 1 + 1 + 2 + 1 + 6);
        let cents = last.conditions.iter().find(|c| c.property == "cents").unwrap();
        assert!(cents.tests.contains(&Test::Compare(Comparison::GreaterOrEqual, Bound::Number(100.0))));
        assert_eq!((funnel.entry, funnel.ties, funnel.increasing), (Entry::First, Ties::Array, true));
        assert_eq!(
            (funnel.id_key.as_deref(), funnel.name_key.as_str(), funnel.time_key.as_str()),
            (Some("id"), "n", "t")
        );
        assert_eq!(funnel.rules().optional, 0b100);
        assert_eq!(funnel.rules().exclude, [Span { from: 1, to: 4 }, Span { from: 1, to: 2 }]);
        assert_eq!(funnel.exclude[1].names, Names::NotIn(vec!["y".into()]));
        assert_eq!(funnel.exclude[1].conditions.len(), 1);
        assert_eq!(funnel.hold, ["cart", "shop"]);
        assert_eq!(funnel.count, Count::Sessions(1_800_000_000));
    }

    #[test]
    fn a_fingerprint_tells_funnels_apart() {
        let print = |text: &str| Funnel::of_json(text.as_bytes()).unwrap().fingerprint();
        let plain = print(r#"{"steps": ["a", "b"], "window": "1 hour"}"#);
        assert_eq!(
            plain,
            print(r#"{"window": "60 minutes", "mode": "ordered", "steps": [{"event": "a", "label": "x"}, "b"]}"#)
        );
        for other in [
            r#"{"steps": ["a", "b"]}"#,
            r#"{"steps": ["a", "b"], "window": "2 hours"}"#,
            r#"{"steps": ["a", "b"], "window": "1 hour", "mode": "strict"}"#,
            r#"{"steps": ["a", {"event": "b", "optional": true}], "window": "1 hour"}"#,
            r#"{"steps": ["a", {"event": "b", "where": {"c": 1}}], "window": "1 hour"}"#,
            r#"{"steps": ["a", "b"], "window": "1 hour", "increasing": true}"#,
            r#"{"steps": ["a", "b"], "window": "1 hour", "exclude": ["x"]}"#,
            r#"{"steps": ["a", "b"], "window": "1 hour", "hold": ["x"]}"#,
            r#"{"steps": ["a", "b"], "window": "1 hour", "count": "attempts"}"#,
            r#"{"steps": ["a", "b"], "window": "1 hour", "count": "sessions", "session_gap": "1 hour"}"#,
        ] {
            assert_ne!(plain, print(other), "{other}");
        }
        // Stored summaries hold it, so it must never change.
        assert_eq!(plain, 11_032_836_493_054_056_115);
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for (text, path) in [
            (r#"{"steps": ["a", {"event": "b", "optional": true}], "mode": "unordered"}"#, "$.steps[1].optional"),
            (
                r#"{"steps": ["a", "b", "c"], "mode": "unordered", "exclude": [{"event": "x", "from": 2}]}"#,
                "$.exclude[0]",
            ),
            (r#"{"steps": ["a", {"event": "b", "within": "1 s"}], "mode": "unordered"}"#, "$.steps[1].within"),
            (r#"{"steps": ["a"], "mode": "unordered", "increasing": true}"#, "$.mode"),
        ] {
            let error = Funnel::of_json(text.as_bytes()).unwrap_err();
            assert_eq!(error.condition, State::FeatureNotSupported, "{text}");
            assert!(error.detail.as_ref().unwrap().starts_with(path), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_names_the_path() {
        for (text, path) in [
            (r#"[]"#, "$ is an array"),
            (r#"{}"#, "$ lacks the key \"steps\""),
            (r#"{"steps": []}"#, "$.steps has 0 steps"),
            (r#"{"steps": "a"}"#, "$.steps is a string"),
            (r#"{"steps": ["a", 3]}"#, "$.steps[1] is a number"),
            (r#"{"steps": [{"event": ["a", 3]}]}"#, "$.steps[0].event[1] is a number"),
            (r#"{"steps": [{"event": []}]}"#, "$.steps[0].event is an array"),
            (r#"{"steps": [{"evnt": "a"}]}"#, "$.steps[0] has the unknown key \"evnt\""),
            (r#"{"steps": ["a"], "exclude": ["x"]}"#, "$.exclude[0] needs two steps"),
            (r#"{"steps": ["a", "b"], "exclude": "x"}"#, "$.exclude is a string"),
            (
                r#"{"steps": ["a", "b"], "exclude": [{"event": "x", "optional": true}]}"#,
                "$.exclude[0] has the unknown key",
            ),
            (r#"{"steps": ["a", "b"], "exclude": [{"event": "x", "from": 0}]}"#, "$.exclude[0].from is 0"),
            (r#"{"steps": ["a", "b"], "exclude": [{"event": "x", "to": 3}]}"#, "$.exclude[0].to is 3"),
            (r#"{"steps": ["a", "b"], "exclude": [{"event": "x", "to": 1.5}]}"#, "$.exclude[0].to is 1.5"),
            (r#"{"steps": ["a", "b"], "exclude": [{"event": "x", "to": "2"}]}"#, "$.exclude[0].to is a string"),
            (
                r#"{"steps": ["a", "b"], "exclude": [{"event": "x", "from": 2}]}"#,
                "$.exclude[0] goes from step 2 to step 2",
            ),
            (
                r#"{"steps": ["a", {"event": "b", "optional": true}], "exclude": ["x"]}"#,
                "$.exclude[0].to is step 2, which may be left out",
            ),
            (r#"{"steps": ["a"], "hold": "plan"}"#, "$.hold is a string"),
            (r#"{"steps": ["a"], "hold": [1]}"#, "$.hold[0] is a number"),
            (r#"{"steps": ["a"], "count": "clicks"}"#, "$.count has the value \"clicks\""),
            (r#"{"steps": ["a"], "count": "sessions"}"#, "$ counts sessions"),
            (r#"{"steps": ["a"], "session_gap": "1 hour"}"#, "$.session_gap is given"),
            (r#"{"steps": ["a"], "windw": "1 day"}"#, "$ has the unknown key \"windw\""),
            (r#"{"steps": ["a"], "window": 5}"#, "$.window is a number"),
            (r#"{"steps": ["a"], "window": "1 month"}"#, "At $.window"),
            (r#"{"steps": ["a"], "mode": "loose"}"#, "$.mode has the value \"loose\""),
            (r#"{"steps": ["a"], "ties": 1}"#, "$.ties is a number"),
            (r#"{"steps": ["a"], "increasing": "yes"}"#, "$.increasing is a string"),
            (r#"{"steps": [{"event": "a", "optional": true}]}"#, "$.steps[0].optional is true"),
            (r#"{"steps": [{"event": {"no": "a"}}]}"#, "$.steps[0].event has the unknown key \"no\""),
            (r#"{"steps": [{"event": "a", "where": {"b": {}}}]}"#, "$.steps[0].where.b has no operator"),
            (r#"{"steps": [{"event": "a", "where": {"b": null}}]}"#, "$.steps[0].where.b is null"),
            (
                r#"{"steps": [{"event": "a", "where": {"b": {"like": 1}}}]}"#,
                "$.steps[0].where.b has the unknown operator",
            ),
            (
                r#"{"steps": [{"event": "a", "where": {"b": {"lt": "soon"}}}]}"#,
                "$.steps[0].where.b.lt is a string that is no time",
            ),
            (
                r#"{"steps": [{"event": "a", "where": {"b": {"in": ["x", []]}}}]}"#,
                "$.steps[0].where.b.in[1] is an array",
            ),
        ] {
            let error = Funnel::of_json(text.as_bytes()).unwrap_err();
            assert!(error.detail.as_ref().unwrap().starts_with(path), "{text}: {error}");
            assert!(error.hint.is_some());
        }
        assert_eq!(Funnel::of_json(b"{").unwrap_err().condition, State::InvalidJsonText);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_funnel_or_an_error(text in "[\\[\\]{}\",:a-c0-9 ]{0,40}") {
            let _ = Funnel::of_json(text.as_bytes());
        }
    }
}
