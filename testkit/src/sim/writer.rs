//! The way onto the simulated stream.

use sqep::{
    Cursors, Stamp,
    transport::{Outlet, Published, Transaction, TransportError, end_of_replay},
    wire,
};

use super::Shared;

/// Publishes into a [`Shared`] world.
#[derive(Debug)]
pub struct FakeOutlet {
    world: Shared,
    source: String,
    past: bool,
}

pub(super) fn gone(what: &str) -> TransportError {
    TransportError::Gone(std::io::Error::other(what.to_owned()).into())
}

impl FakeOutlet {
    /// For one source.
    pub fn new(world: Shared, source: &str) -> FakeOutlet {
        FakeOutlet { world, source: source.to_owned(), past: false }
    }

    /// For the past that the group waits for.
    pub fn of_the_past(world: Shared) -> FakeOutlet {
        FakeOutlet { world, source: "past".to_owned(), past: true }
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
        if !self.past {
            return Ok(world.server.state.cursors.clone());
        }
        match &world.server.state.past {
            Some(past) => Ok(past.cursors.clone()),
            None => Err(TransportError::Wrong(std::io::Error::other("nobody waits for a past").into())),
        }
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
        let state = &world.server.state;
        let stored =
            if self.past { state.past.as_ref().map(|past| &past.cursors) } else { Some(&state.cursors) };
        if stored.is_none_or(|stored| stored.stamp != *expected) {
            return Ok(Published::Conflict);
        }
        for entry in &transaction.entries {
            let records = entry.records.to_string();
            let source = entry.source.as_deref().unwrap_or(&self.source);
            let fields = wire::envelope(entry.kind, source, entry.encoding, &records, &entry.payload);
            let owned = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
            if self.past {
                world.server.append_past(owned.into());
            } else {
                world.server.append(owned.into());
            }
        }
        world.server.state.dead.extend(transaction.letters.iter().cloned());
        // As the real one does: changed fields are set, not the whole.
        let state = &mut world.server.state;
        if let (Some(past), true) = (&mut state.past, transaction.changed.contains(&end_of_replay())) {
            past.done = true;
        }
        let stored = match (&mut state.past, self.past) {
            (Some(past), true) => &mut past.cursors,
            _ => &mut state.cursors,
        };
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
