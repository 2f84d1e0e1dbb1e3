//! A parent with its calendar and its partitions, as all plans of one call share them.

use super::EPOCH_SHIFT;
use super::catalog::{self, Placed};
use crate::raw::zone::ServerClock;
use eventkit_core::error::Result;
use eventkit_core::partition::bound::Bound;
use eventkit_core::partition::calendar::Calendar;
use eventkit_core::partition::key::Key;
use eventkit_core::partition::period::Period;
use eventkit_core::partition::plan::{self, Found};
use eventkit_core::partition::snapshot::Parent;
use eventkit_core::partition::step::Step;
use pgrx::pg_sys::Oid;

/// A parent on which the caller may make periods.
pub struct Target {
    /// The snapshot, without partitions.
    pub parent: Parent,
    /// Where all its partitions lie.
    pub placed: Vec<Placed>,
    clock: ServerClock,
}

/// How the partitions of a parent meet a period.
pub struct Meeting {
    /// The first that shares a time with it.
    pub first: Option<Oid>,
    /// Whether one is exactly the period's.
    pub exact: bool,
    /// Whether each of its times has a partition.
    pub covered: bool,
}

impl Target {
    /// Reads a parent. Raises `42P01` when it is gone and what [`plan::clock_key_of`] raises.
    pub fn read(table: Oid) -> Result<Self> {
        Self::of(table, catalog::parent(table)?)
    }

    /// The same without a look at the partitions: for one who knows already that none meets what he plans. If the name of its
    /// partition is taken, the look is due. What is attached meanwhile the server's attach finds itself.
    pub fn read_free(table: Oid) -> Result<Self> {
        let parent = catalog::parent(table)?;
        plan::clock_key_of(&parent)?;
        let clock = catalog::clock_of(&parent);
        Ok(Self { parent, placed: Vec::new(), clock })
    }

    /// The same with a snapshot that was changed, to see what would be.
    pub fn of(table: Oid, parent: Parent) -> Result<Self> {
        let placed = catalog::placed(table, plan::clock_key_of(&parent)?);
        let clock = catalog::clock_of(&parent);
        Ok(Self { parent, placed, clock })
    }

    /// The partition key. Errors as [`plan::key_of`].
    pub fn key(&self) -> Result<&Key> {
        plan::key_of(&self.parent)
    }

    /// The parent's calendar: that of its settings, UTC days without any.
    pub fn calendar(&self) -> Result<Calendar<'_>> {
        let length = self.parent.settings.clone().unwrap_or_default().length()?;
        Ok(Calendar::new(length, &self.clock))
    }

    /// An instant (as the server counts it, the infinities for no limit) in the key's own sense. Raises what the clock raises.
    pub fn key_time(&self, instant: i64) -> Result<i64> {
        match instant {
            i64::MIN | i64::MAX => Ok(instant),
            _ if self.key()?.key_type.is_shown() => self.calendar()?.shown_at(instant.saturating_add(EPOCH_SHIFT)),
            _ => Ok(instant.saturating_add(EPOCH_SHIFT)),
        }
    }

    /// The period of a time in the key's own sense. Errors as [`Calendar::of_shown`].
    pub fn period_of_key(&self, time: i64) -> Result<Period> {
        let calendar = self.calendar()?;
        if self.key()?.key_type.is_shown() { calendar.of_shown(time) } else { calendar.of_instant(time) }
    }

    /// The periods that share a time with the instants `[from, to)`. Errors as [`Calendar::of_instants`].
    pub fn periods(&self, from: i64, to: i64) -> Result<Vec<Period>> {
        let calendar = self.calendar()?;
        if self.key()?.key_type.is_shown() {
            calendar.of_all_shown(calendar.shown_at(from)?, calendar.shown_at(to)?)
        } else {
            calendar.of_instants(from, to)
        }
    }

    /// The periods that share a shown time with `[from, to)`. Errors as [`Calendar::of_instants`].
    pub fn shown_periods(&self, from: i64, to: i64) -> Result<Vec<Period>> {
        let mut periods = self.calendar()?.of_all_shown(from, to)?;
        if !self.key()?.key_type.is_shown() {
            periods.retain(|period| period.from < period.to);
        }
        Ok(periods)
    }

    /// How the partitions meet a period.
    pub fn meeting(&self, period: &Period) -> Result<Meeting> {
        let bound = Bound::of(period, self.key()?);
        let mut meeting = Meeting { first: None, exact: false, covered: false };
        let mut reached = bound.from;
        for placed in &self.placed {
            let other = placed.bound;
            if !other.overlaps(bound) {
                continue;
            }
            meeting.first = meeting.first.or(Some(placed.table));
            meeting.exact |= !placed.odd && other == bound;
            if other.from <= reached {
                reached = reached.max(other.to);
            }
        }
        meeting.covered = reached >= bound.to;
        Ok(meeting)
    }

    /// Whether a relation has the name of a period's partition.
    pub fn is_taken(&self, period: &Period) -> Result<bool> {
        catalog::name_taken(&self.parent, period)
    }

    /// The steps of a period as `make` plans them, with the partitions in its way and what is found in the database.
    pub fn steps(&self, period: &Period, make: impl FnOnce(&Parent, Found) -> Result<Vec<Step>>) -> Result<Vec<Step>> {
        let mut parent = self.parent.clone();
        parent.partitions = catalog::partitions(&self.placed, Bound::of(period, self.key()?))?;
        parent.taken = catalog::taken(&parent, plan::names(&parent, &period.digits).collect())?;
        let default_rows = catalog::default_rows(&parent, Bound::of(period, self.key()?))?;
        let found = Found { name_taken: parent.taken.contains(&plan::partition_name(&parent, period)), default_rows };
        make(&parent, found)
    }

    /// The steps that make the partition of a period. Errors as [`plan::create`].
    pub fn create(&self, period: &Period) -> Result<Vec<Step>> {
        self.steps(period, |parent, found| plan::create(parent, period, found))
    }

    /// Where the period ends that is so many behind that of an instant.
    pub fn horizon(&self, instant: i64, premake: i32) -> Result<i64> {
        let calendar = self.calendar()?;
        let mut period = calendar.of_instant(instant)?;
        for _ in 0..premake {
            period = calendar.next(&period)?;
        }
        Ok(period.to)
    }
}
