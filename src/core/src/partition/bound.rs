//! The bound of a partition, as the server's own syntax: `FOR VALUES`, the CHECK that proves it, the CHECK that excludes it.

use super::key::Key;
use super::name::identifier;
use super::period::Period;
use crate::error::Result;

/// A half-open range in the key's own time, microseconds since 1970-01-01 00:00: what clocks show for `date` and `timestamp`, else
/// instants; `i64::MIN` and `i64::MAX` stand for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The first time inside.
    pub from: i64,
    /// The first time after it.
    pub to: i64,
}

impl Bound {
    /// The bound of a period's partition. O(1).
    #[must_use]
    pub fn of(period: &Period, key: &Key) -> Self {
        let (from, to) = key.range_of(period);
        Self { from, to }
    }

    /// The bound as `FOR VALUES FROM (…) TO (…)`. Raises what [`Key::value`] raises. O(1).
    pub fn for_values(self, key: &Key) -> Result<String> {
        let from = if self.from == i64::MIN { "MINVALUE".to_owned() } else { key.value(self.from)? };
        let to = if self.to == i64::MAX { "MAXVALUE".to_owned() } else { key.value(self.to)? };
        Ok(format!("FOR VALUES FROM ({from}) TO ({to})"))
    }

    /// `key >= from AND key < to`, the range that an index on the key serves; operators and types qualified.
    ///
    /// The constants have the key's own type: compared with another type the operator is not immutable, the server's
    /// proof fails and the attach reads every row. O(1).
    pub fn inside(self, key: &Key) -> Result<String> {
        Ok(self.sides(key, ">=", "<")?.unwrap_or_else(|| format!("{} IS NOT NULL", identifier(&key.column))))
    }

    /// The CHECK expression that implies the whole partition constraint, NOT NULL included. O(1).
    pub fn check(self, key: &Key) -> Result<String> {
        let sides = self.sides(key, ">=", "<")?.map(|sides| format!(" AND {sides}")).unwrap_or_default();
        Ok(format!("{} IS NOT NULL{sides}", identifier(&key.column)))
    }

    /// `key < from OR key >= to`: the one form by which the server sees that a default partition holds no row of the
    /// range (`IS NOT TRUE` is not understood). O(1).
    pub fn outside(self, key: &Key) -> Result<String> {
        Ok(self.sides(key, "<", ">=")?.unwrap_or_else(|| format!("{} IS NULL", identifier(&key.column))))
    }

    /// Whether the two ranges share an instant. O(1).
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// The parts of it that none of the others shares, in order. O(n log n).
    #[must_use]
    pub fn free_of(self, others: impl Iterator<Item = Self>) -> Vec<Self> {
        let mut met: Vec<Self> = others.filter(|other| other.overlaps(self)).collect();
        met.sort_unstable_by_key(|other| other.from);
        let (mut free, mut reached) = (Vec::new(), self.from);
        for other in met {
            if other.from > reached {
                free.push(Self { from: reached, to: other.from });
            }
            reached = reached.max(other.to);
        }
        if reached < self.to {
            free.push(Self { from: reached, to: self.to });
        }
        free
    }

    /// The comparisons with both limits, joined as they must be; `None` without a limit.
    fn sides(self, key: &Key, with_from: &str, with_to: &str) -> Result<Option<String>> {
        let column = identifier(&key.column);
        let side = |operator: &str, micros: i64| {
            key.constant(micros).map(|constant| format!("{column} OPERATOR(pg_catalog.{operator}) {constant}"))
        };
        let mut sides = Vec::new();
        if self.from != i64::MIN {
            sides.push(side(with_from, self.from)?);
        }
        if self.to != i64::MAX {
            sides.push(side(with_to, self.to)?);
        }
        let joined = sides.join(if with_from == ">=" { " AND " } else { " OR " });
        Ok((!sides.is_empty()).then_some(joined))
    }
}

#[cfg(test)]
mod tests {
    use super::super::calendar::Calendar;
    use super::super::clock::{Clock, Utc, tests::Library};
    use super::super::key::KeyType;
    use super::super::period::Length;
    use super::*;
    use proptest::prelude::*;

    fn key(key_type: KeyType) -> Key {
        Key { column: "at".into(), key_type, unit: None }
    }

    fn day(clock: &dyn Clock, days: i64, key_type: KeyType) -> Bound {
        let period = Calendar::new(Length::Days(1), clock).of_shown(days * 86_400_000_000).unwrap();
        Bound::of(&period, &key(key_type))
    }

    #[test]
    fn texts_are_of_the_keys_own_type() {
        let day = day(&Utc, 19_782, KeyType::Date);
        assert_eq!(
            day.for_values(&key(KeyType::Timestamptz)).unwrap(),
            "FOR VALUES FROM ('2024-02-29 00:00:00+00') TO ('2024-03-01 00:00:00+00')"
        );
        assert_eq!(day.for_values(&key(KeyType::Date)).unwrap(), "FOR VALUES FROM ('2024-02-29') TO ('2024-03-01')");
        assert_eq!(
            day.check(&key(KeyType::Timestamp)).unwrap(),
            "\"at\" IS NOT NULL AND \"at\" OPERATOR(pg_catalog.>=) '2024-02-29 00:00:00'::pg_catalog.timestamp \
             AND \"at\" OPERATOR(pg_catalog.<) '2024-03-01 00:00:00'::pg_catalog.timestamp"
        );
        assert_eq!(
            day.outside(&key(KeyType::Date)).unwrap(),
            "\"at\" OPERATOR(pg_catalog.<) '2024-02-29'::pg_catalog.date \
             OR \"at\" OPERATOR(pg_catalog.>=) '2024-03-01'::pg_catalog.date"
        );
    }

    #[test]
    fn a_zone_with_odd_minutes_moves_instants_and_not_what_is_shown() {
        let kathmandu = Library::of("Asia/Kathmandu");
        let text = |key_type| day(&kathmandu, 19_782, key_type).for_values(&key(key_type)).unwrap();
        assert_eq!(
            text(KeyType::Timestamptz),
            "FOR VALUES FROM ('2024-02-28 18:15:00+00') TO ('2024-02-29 18:15:00+00')"
        );
        assert_eq!(text(KeyType::Timestamp), "FOR VALUES FROM ('2024-02-29 00:00:00') TO ('2024-03-01 00:00:00')");
    }

    proptest! {
        #[test]
        fn what_is_free_is_what_no_other_shares(
            from in 0_i64..20, length in 1_i64..20, others in proptest::collection::vec((0_i64..40, 1_i64..8), 0..6)
        ) {
            let bound = Bound { from, to: from + length };
            let others: Vec<Bound> = others.iter().map(|(from, length)| Bound { from: *from, to: from + length }).collect();
            let free = bound.free_of(others.iter().copied());
            let within = |time: i64, of: &[Bound]| of.iter().any(|b| b.from <= time && time < b.to);
            for time in 0..60 {
                prop_assert_eq!(within(time, &free), within(time, &[bound]) && !within(time, &others), "{}", time);
            }
            prop_assert!(free.windows(2).all(|pair| pair[0].to < pair[1].from), "{:?}", free);
        }
    }

    #[test]
    fn open_ends() {
        let (key, all) = (key(KeyType::Date), Bound { from: i64::MIN, to: i64::MAX });
        assert_eq!(all.for_values(&key).unwrap(), "FOR VALUES FROM (MINVALUE) TO (MAXVALUE)");
        assert_eq!(all.check(&key).unwrap(), "\"at\" IS NOT NULL");
        assert_eq!(all.outside(&key).unwrap(), "\"at\" IS NULL");
        let old = Bound { from: i64::MIN, to: 0 };
        assert_eq!(
            old.check(&key).unwrap(),
            "\"at\" IS NOT NULL AND \"at\" OPERATOR(pg_catalog.<) '1970-01-01'::pg_catalog.date"
        );
        assert_eq!(old.outside(&key).unwrap(), "\"at\" OPERATOR(pg_catalog.>=) '1970-01-01'::pg_catalog.date");
    }

    proptest! {
        #[test]
        fn days_touch_and_never_overlap(a in -20_000..20_000i64, b in -20_000..20_000i64) {
            let bound = |days| day(&Utc, days, KeyType::Timestamptz);
            prop_assert_eq!(bound(a).overlaps(bound(b)), a == b);
            prop_assert_eq!(bound(a).to, bound(a + 1).from);
            let all = Bound { from: i64::MIN, to: i64::MAX };
            prop_assert!(all.overlaps(bound(a)) && bound(a).overlaps(all));
        }
    }
}
