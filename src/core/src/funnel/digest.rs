//! Durations of many users as a mergeable sketch: a t-digest, whose quantiles are exact to about one percent in rank,
//! and better towards both ends.
//!
//! Source: T. Dunning, O. Ertl, "Computing Extremely Accurate Quantiles Using t-Digests"; the digest is the crate's.

use serde::{Deserialize, Serialize};
use tdigests::{Centroid, TDigest};

/// Centroids kept of one digest.
const CENTROIDS: usize = 100;

/// Durations in microseconds, as centroids: mean and weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(Vec<(f64, f64)>);

impl Digest {
    /// A digest of these centroids; `None` if they are none that a digest could have.
    #[must_use]
    pub fn of_centroids(centroids: Vec<(f64, f64)>) -> Option<Self> {
        let sound = |(mean, weight): &(f64, f64)| mean.is_finite() && weight.is_finite() && *weight >= 1.0;
        (centroids.len() <= CENTROIDS && centroids.iter().all(sound)).then_some(Self(centroids))
    }

    /// Its centroids.
    #[must_use]
    pub fn centroids(&self) -> &[(f64, f64)] {
        &self.0
    }

    fn inner(&self) -> Option<TDigest> {
        if self.0.is_empty() {
            return None;
        }
        Some(TDigest::from_centroids(self.0.iter().map(|(mean, weight)| Centroid::new(*mean, *weight)).collect()))
    }

    /// Puts another digest in. O(centroids).
    pub fn merge(&mut self, other: &Self) {
        let merged = match (self.inner(), other.inner()) {
            (Some(one), Some(two)) => one.merge(&two),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return,
        };
        self.set(merged);
    }

    /// Puts values in, all finite. O(values · log values).
    pub fn add(&mut self, values: Vec<f64>) {
        if values.is_empty() {
            return;
        }
        let added = TDigest::from_values(values);
        let merged = match self.inner() {
            Some(before) => before.merge(&added),
            None => added,
        };
        self.set(merged);
    }

    fn set(&mut self, mut digest: TDigest) {
        if digest.centroids().len() > CENTROIDS {
            digest.compress(CENTROIDS);
        }
        self.0 = digest.centroids().iter().map(|centroid| (centroid.mean, centroid.weight)).collect();
    }

    /// The duration that this share of users does not exceed; `None` of nobody.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        self.inner().map(|digest| digest.estimate_quantile(share)).filter(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_are_near_in_rank(values in prop::collection::vec(0u32..1_000_000, 1..3000), parts in 1usize..6, share in 0.0f64..1.0) {
            let mut digest = Digest::default();
            for part in values.chunks(values.len().div_ceil(parts)) {
                let mut other = Digest::default();
                other.add(part.iter().copied().map(f64::from).collect());
                digest.merge(&other);
            }
            prop_assert!(digest.centroids().len() <= CENTROIDS);
            let found = digest.quantile(share).unwrap();
            let below = values.iter().filter(|value| f64::from(**value) < found).count() as f64 / values.len() as f64;
            let upto = values.iter().filter(|value| f64::from(**value) <= found).count() as f64 / values.len() as f64;
            let slack = 0.03 + 1.0 / values.len() as f64;
            prop_assert!(below - slack <= share && share <= upto + slack, "{} not between {} and {}", share, below, upto);
        }

        #[test]
        fn any_centroids_give_a_quantile_or_none(centroids in prop::collection::vec((any::<f64>(), any::<f64>()), 0..8), share in 0.0f64..1.0) {
            if let Some(mut digest) = Digest::of_centroids(centroids) {
                let _ = digest.quantile(share);
                digest.add(vec![1.0, 2.0]);
                let copy = digest.clone();
                digest.merge(&copy);
                let _ = digest.quantile(share);
            }
        }
    }
}
