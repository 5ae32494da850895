//! A world in memory for the real loops: a stream server, a source and a sink that fail before and after taking
//! effect, from a seed, in simulated time.
//!
//! Knows the promises of [`sqep::transport`] and how they break in practice; must not contain a second copy of the loops.

mod feed;
mod reader;
mod server;
mod store;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::{Rng, SeedableRng, rngs::SmallRng};

pub use self::{
    feed::{Feed, Script},
    reader::FakeInlet,
    server::{Poison, Server},
    store::{Store, StoreSink},
    writer::FakeOutlet,
};

/// How often things go wrong, in thousandths of the steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// A step fails, before or after taking effect.
    pub step: u32,
    /// The sink says Later, before or after taking effect.
    pub sink: u32,
    /// A write takes longer than the lease.
    pub pause: u32,
    /// The server is flushed.
    pub flush: u32,
    /// The server falls back to an older state.
    pub failover: u32,
    /// An entry nobody can read appears.
    pub garbage: u32,
    /// The sink is emptied while it is being given the past.
    pub emptied: u32,
}

/// What all parts of one simulation share.
#[derive(Debug)]
pub struct World {
    /// Chance.
    pub rng: SmallRng,
    /// How often things go wrong now.
    pub faults: Faults,
    /// The stream server.
    pub server: Server,
    /// What the sink holds.
    pub store: Store,
    /// Broken promises of the loops, in words.
    pub broken: Vec<String>,
}

/// A handle on a [`World`].
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    /// A new world from a seed.
    pub fn new(seed: u64, faults: Faults) -> Shared {
        let mut rng = SmallRng::seed_from_u64(seed);
        let server = Server::new(rng.random());
        Shared(Arc::new(Mutex::new(World {
            rng,
            faults,
            server,
            store: Store::default(),
            broken: Vec::new(),
        })))
    }

    /// The world, for one step.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A little time passes, so that others get their turn.
    async fn step(&self) {
        let millis = self.lock().rng.random_range(0..5);
        tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
    }
}

impl World {
    fn happens(&mut self, thousandths: impl Fn(&Faults) -> u32) -> bool {
        self.rng.random_range(0..1000) < thousandths(&self.faults)
    }

    /// Things that happen to a server by themselves.
    fn weather(&mut self) {
        let advance = self.rng.random_range(0..3);
        self.server.tick(advance);
        if self.happens(|faults| faults.flush) {
            let born = self.rng.random();
            self.server.flush(born);
        }
        if self.happens(|faults| faults.failover) {
            let steps = self.rng.random_range(1..20);
            self.server.fail_over(steps);
        }
        if self.happens(|faults| faults.garbage) {
            self.server.garbage();
        }
        self.server.remember();
    }

    /// Notes a broken promise.
    fn promise(&mut self, kept: bool, what: &str) {
        if !kept {
            self.broken.push(what.to_owned());
        }
    }
}
