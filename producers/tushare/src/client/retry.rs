//! How long to wait after a failure, and when to give up. Must not know what failed.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Draws pauses: any part of the longest one, so that many who failed together do not come back together.
#[derive(Debug)]
pub(super) struct Jitter(Mutex<SmallRng>);

impl Jitter {
    pub(super) fn new() -> Jitter {
        // Keys of hash maps are random: enough to tell one program from the next.
        Jitter::seeded(RandomState::new().build_hasher().finish())
    }

    pub(super) fn seeded(seed: u64) -> Jitter {
        Jitter(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// Between nothing and `max`.
    pub(super) fn of(&self, max: Duration) -> Duration {
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        max.mul_f64(random.random_range(0.0..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_over_the_whole_span() {
        let jitter = Jitter::seeded(1);
        let pauses: Vec<_> = (0..1_000).map(|_| jitter.of(Duration::from_secs(8)).as_secs()).collect();
        assert!((0..8).all(|second| pauses.iter().filter(|&&pause| pause == second).count() > 80));
    }
}
