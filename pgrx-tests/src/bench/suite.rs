//! What a suite is: data, contenders that do the same work, and the goals between them.

use super::job::Job;

/// Statements that are timed against each other on the same data.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Its heading in the results, and what a filter picks.
    pub name: String,
    /// What is measured, in a sentence or two.
    pub about: String,
    /// Run once before, untimed, in a database of the suite's own that has the extension.
    pub setup: Vec<String>,
    /// The statements, run in turn.
    pub contenders: Vec<Contender>,
    /// What is to be reached.
    pub goals: Vec<Goal>,
    /// How often each contender runs.
    pub runs: usize,
}

/// One statement that is timed.
#[derive(Clone, Debug)]
pub struct Contender {
    /// What the table calls it; goals refer to it.
    pub label: String,
    /// Run before each timing, untimed.
    pub before: Option<String>,
    /// The timed statement.
    pub sql: String,
    /// What it does, in some words.
    pub note: String,
    /// What is timed instead of `sql`, where that is more than one statement.
    pub job: Option<Job>,
}

impl Contender {
    /// A contender without preparation.
    #[must_use]
    pub fn new(label: &str, note: &str, sql: &str) -> Self {
        Self { label: label.to_owned(), before: None, sql: sql.to_owned(), note: note.to_owned(), job: None }
    }

    /// A contender whose work is a job.
    #[must_use]
    pub fn with_job(label: &str, note: &str, job: Job) -> Self {
        Self { job: Some(job), ..Self::new(label, note, "") }
    }
}

/// How one contender is to compare to another.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The contender that is judged.
    pub ours: String,
    /// The one it is compared to.
    pub other: String,
    /// What is asked.
    pub rule: Rule,
    /// Which clock judges.
    pub clock: Clock,
}

/// What a goal is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The backend's processor time: the same on a busy machine.
    Processor,
    /// The fastest run's wall clock: for work that several processes share, and for times that a user waits.
    BestWall,
}

/// What a goal asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// At least so many times as fast.
    Faster(f64),
    /// At most so many times the cost.
    Costs(f64),
    /// For so many times the work of the other at most so many times the proportional cost.
    Grows {
        /// How much more work ours is.
        work: f64,
        /// The allowed excess.
        at_most: f64,
    },
    /// The same result; checked in the warm-up round, before anything is timed.
    Agrees,
    /// At most so many megabytes of a fresh backend's own memory, at the end above the start.
    Memory(f64),
    /// At most so many seconds.
    Within(f64),
    /// No prober beside it waited longer than so many milliseconds, in any run.
    Waits(f64),
    /// The server found no deadlock, in all runs together.
    NoDeadlock,
    /// The server says these words (at level DEBUG1) when it runs once more, on a connection of its own.
    Says(&'static str),
}

impl Goal {
    /// `ours` is to be at least `times` as fast as `other`.
    #[must_use]
    pub fn faster(ours: &str, other: &str, times: f64) -> Self {
        Self { ours: ours.to_owned(), other: other.to_owned(), rule: Rule::Faster(times), clock: Clock::Processor }
    }

    /// `ours` is to cost at most `times` what `other` costs.
    #[must_use]
    pub fn costs(ours: &str, other: &str, times: f64) -> Self {
        Self { ours: ours.to_owned(), other: other.to_owned(), rule: Rule::Costs(times), clock: Clock::Processor }
    }

    /// `ours`, twice the work of `other`, is to cost at most `at_most` times twice as much.
    #[must_use]
    pub fn doubles(ours: &str, other: &str, at_most: f64) -> Self {
        let rule = Rule::Grows { work: 2.0, at_most };
        Self { ours: ours.to_owned(), other: other.to_owned(), rule, clock: Clock::Processor }
    }

    /// `ours` is to give what `other` gives, or the suite fails.
    #[must_use]
    pub fn agrees(ours: &str, other: &str) -> Self {
        Self { rule: Rule::Agrees, ..Self::costs(ours, other, 0.0) }
    }

    /// `ours` is to leave a fresh backend at most so many megabytes larger.
    #[must_use]
    pub fn memory(ours: &str, megabytes: f64) -> Self {
        Self { rule: Rule::Memory(megabytes), ..Self::costs(ours, ours, 0.0) }
    }

    /// `ours` is to take at most so many seconds of the wall clock.
    #[must_use]
    pub fn within(ours: &str, seconds: f64) -> Self {
        Self { rule: Rule::Within(seconds), clock: Clock::BestWall, ..Self::costs(ours, ours, 0.0) }
    }

    /// Nobody beside `ours` is to wait longer than so many milliseconds.
    #[must_use]
    pub fn waits(ours: &str, milliseconds: f64) -> Self {
        Self { rule: Rule::Waits(milliseconds), ..Self::costs(ours, ours, 0.0) }
    }

    /// No run of `ours` is to bring a deadlock about.
    #[must_use]
    pub fn no_deadlock(ours: &str) -> Self {
        Self { rule: Rule::NoDeadlock, ..Self::costs(ours, ours, 0.0) }
    }

    /// The server is to say these words when it runs `ours`.
    #[must_use]
    pub fn says(ours: &str, words: &'static str) -> Self {
        Self { rule: Rule::Says(words), ..Self::costs(ours, ours, 0.0) }
    }

    /// The same goal, judged by the wall clock of the fastest run.
    #[must_use]
    pub fn by_best_wall(self) -> Self {
        Self { clock: Clock::BestWall, ..self }
    }
}

impl Rule {
    /// The ratio that the rule is about, from the two times; for what stands alone the first of them.
    #[must_use]
    pub fn ratio(self, ours: f64, other: f64) -> f64 {
        match self {
            Self::Faster(_) => other / ours,
            Self::Costs(_) | Self::Agrees => ours / other,
            Self::Memory(_) | Self::Within(_) | Self::Waits(_) | Self::NoDeadlock | Self::Says(_) => ours,
            Self::Grows { work, .. } => ours / (other * work),
        }
    }

    /// Whether a ratio is good enough.
    #[must_use]
    pub fn is_met_by(self, ratio: f64) -> bool {
        match self {
            Self::Faster(times) => ratio >= times,
            Self::Costs(times) => ratio <= times,
            Self::Grows { at_most, .. } => ratio <= at_most,
            Self::Agrees => true,
            Self::Memory(most) | Self::Within(most) | Self::Waits(most) => ratio <= most,
            Self::NoDeadlock => ratio == 0.0,
            Self::Says(_) => ratio > 0.0,
        }
    }

    /// The rule in words.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Faster(times) => format!("≥ {times} × as fast"),
            Self::Costs(times) => format!("≤ {times} × its cost"),
            Self::Grows { work, at_most } => format!("≤ {at_most} × proportional for {work} × the work"),
            Self::Agrees => "the same result".to_owned(),
            Self::Memory(megabytes) => format!("≤ {megabytes} MB above the start"),
            Self::Within(seconds) => format!("≤ {seconds} s"),
            Self::Waits(milliseconds) => format!("nobody waits > {milliseconds} ms"),
            Self::NoDeadlock => "no deadlock".to_owned(),
            Self::Says(words) => format!("says \"{words}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn rules_judge_in_the_right_direction() {
        assert!(Rule::Faster(5.0).is_met_by(Rule::Faster(5.0).ratio(1.0, 6.0)));
        assert!(!Rule::Faster(5.0).is_met_by(Rule::Faster(5.0).ratio(1.0, 4.0)));
        assert!(Rule::Costs(2.0).is_met_by(Rule::Costs(2.0).ratio(1.9, 1.0)));
        assert!(!Rule::Costs(2.0).is_met_by(Rule::Costs(2.0).ratio(2.1, 1.0)));
        let doubling = Rule::Grows { work: 2.0, at_most: 1.15 };
        assert!(doubling.is_met_by(doubling.ratio(2.2, 1.0)));
        assert!(!doubling.is_met_by(doubling.ratio(2.4, 1.0)));
        assert!(Rule::Memory(50.0).is_met_by(Rule::Memory(50.0).ratio(49.0, 1.0)));
        assert!(!Rule::Memory(50.0).is_met_by(Rule::Memory(50.0).ratio(51.0, 1.0)));
        assert!(Rule::Within(2.0).is_met_by(1.9) && !Rule::Within(2.0).is_met_by(2.1));
        assert!(Rule::Waits(150.0).is_met_by(149.0) && !Rule::Waits(150.0).is_met_by(151.0));
        assert!(Rule::NoDeadlock.is_met_by(0.0) && !Rule::NoDeadlock.is_met_by(1.0));
        assert!(Rule::Says("done").is_met_by(1.0) && !Rule::Says("done").is_met_by(0.0));
    }
}
