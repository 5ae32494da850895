//! The way onto the simulated stream.

use sqep::{
    Cursors, Stamp,
    transport::{Outlet, Published, Transaction, TransportError},
    wire,
};

use super::Shared;

/// Publishes into a [`Shared`] world.
#[derive(Debug)]
pub struct FakeOutlet {
    world: Shared,
    source: String,
}

pub(super) fn gone(what: &str) -> TransportError {
    TransportError::Gone(std::io::Error::other(what.to_owned()).into())
}

impl FakeOutlet {
    /// For one source.
    pub fn new(world: Shared, source: &str) -> FakeOutlet {
        FakeOutlet { world, source: source.to_owned() }
    }
}

impl Outlet for FakeOutlet {
    async fn open(&mut self) -> Result<Cursors, TransportError> {
        self.world.step().await;
        let mut world = self.world.lock();
        world.weather();
        if world.happens(|faults| faults.step) {
            return Err(gone("connection refused"));
        }
        Ok(world.server.state.cursors.clone())
    }

    async fn publish(
        &mut self,
        expected: &Stamp,
        transaction: &Transaction,
    ) -> Result<Published, TransportError> {
        self.world.step().await;
        let mut world = self.world.lock();
        world.weather();
        if world.happens(|faults| faults.step) {
            return Err(gone("connection reset before the request"));
        }
        if world.server.state.cursors.stamp != *expected {
            return Ok(Published::Conflict);
        }
        for entry in &transaction.entries {
            let records = entry.records.to_string();
            let fields = wire::envelope(entry.kind, &self.source, entry.encoding, &records, &entry.payload);
            let owned = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
            world.server.append(owned.into());
        }
        world.server.state.dead.extend(transaction.letters.iter().cloned());
        // As the real one does: changed fields are set, not the whole.
        let stored = &mut world.server.state.cursors;
        stored.stamp = transaction.stamp.clone();
        stored.totals = transaction.totals.clone();
        stored.fields.extend(transaction.changed.iter().cloned());
        transaction.forget.iter().for_each(|name| drop(stored.fields.remove(name)));
        if world.happens(|faults| faults.step) {
            return Err(gone("connection reset after the request: the reply is lost"));
        }
        Ok(Published::Done)
    }

    async fn room(&mut self) -> Result<Option<String>, TransportError> {
        let mut world = self.world.lock();
        Ok(world.happens(|faults| faults.step).then(|| "no room at the moment".to_owned()))
    }
}
