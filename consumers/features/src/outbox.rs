//! Rows on their way to the stream of features: the hand-over between who computes them and the publishing loop. Knows
//! pieces and whether they are on the stream; must not know a feature, nor Redis, nor when anything is tried again.
//!
//! The publishing loop asks for a chunk, publishes it, and asks again: then the piece is on the stream. A piece whose cursor
//! is found stored when the loop opens again is there too, and is not sent twice. Where a server has lost what it had
//! taken, the piece in hand is given back: what went before it is missing, and must come first.

use std::{collections::BTreeMap, sync::Arc};

use sqep::{Chunk, Cursors, EntryId, Record, Source};
use tokio::sync::{mpsc, oneshot, watch};

/// What is published in one transaction.
#[derive(Debug)]
struct Piece<R> {
    rows: Vec<R>,
    /// The cursors that move with it, if it is the last of its input.
    cursors: Vec<(String, String)>,
    /// Is told when it is on the stream.
    done: oneshot::Sender<()>,
}

/// Where the publishing loop gets its rows.
#[derive(Debug)]
pub struct Outgoing<R> {
    pieces: mpsc::Receiver<Piece<R>>,
    hand: Option<Piece<R>>,
    step: Step,
    stored: Arc<watch::Sender<Option<BTreeMap<String, String>>>>,
}

/// How far the piece in hand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Not handed over yet.
    Waits,
    /// Handed over.
    Given,
    /// Asked to be published.
    Pushed,
}

/// Where rows are put.
#[derive(Debug)]
pub struct Outbox<R> {
    pieces: mpsc::Sender<Piece<R>>,
    stored: watch::Receiver<Option<BTreeMap<String, String>>>,
}

impl<R> Clone for Outbox<R> {
    fn clone(&self) -> Self {
        Outbox { pieces: self.pieces.clone(), stored: self.stored.clone() }
    }
}

/// The publishing loop is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody publishes the features any more: the program is ending")]
pub struct Closed;

/// Both ends.
pub fn outbox<R: Record>() -> (Outbox<R>, Outgoing<R>) {
    let (pieces, taken) = mpsc::channel(1);
    let (stored, known) = watch::channel(None);
    let outgoing = Outgoing { pieces: taken, hand: None, step: Step::Waits, stored: Arc::new(stored) };
    (Outbox { pieces, stored: known }, outgoing)
}

impl<R: Record> Outbox<R> {
    /// Hands rows over, with the cursors that move with them; what is returned tells when they are on the stream.
    pub async fn put(
        &self,
        rows: Vec<R>,
        cursors: Vec<(String, String)>,
    ) -> Result<oneshot::Receiver<()>, Closed> {
        let (done, told) = oneshot::channel();
        self.pieces.send(Piece { rows, cursors, done }).await.map_err(|_| Closed)?;
        Ok(told)
    }

    /// The cursor of a name as it is stored; waits until the publishing loop has looked.
    pub async fn stored(&self, name: &str) -> Result<Option<String>, Closed> {
        let mut stored = self.stored.clone();
        let fields = stored.wait_for(Option::is_some).await.map_err(|_| Closed)?;
        Ok(fields.as_ref().and_then(|fields| fields.get(name).cloned()))
    }
}

impl<R: Record> Outgoing<R> {
    /// The piece in hand is on the stream.
    fn settle(&mut self) {
        let Some(Piece { cursors, done, .. }) = self.hand.take() else { return };
        self.stored.send_modify(|stored| stored.iter_mut().for_each(|fields| fields.extend(cursors.clone())));
        // Who does not wait any more knows it by the cursor.
        if done.send(()).is_err() {
            tracing::debug!("nobody waited for these rows any more");
        }
    }

    fn give(&mut self) -> Chunk<R> {
        let Some(piece) = &self.hand else { return Chunk::empty("features") };
        self.step = Step::Given;
        let cursor = piece.cursors.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        Chunk { records: piece.rows.clone(), cursor, ..Chunk::empty("features") }
    }
}

/// The entry a cursor names; nothing is before everything.
fn place(cursor: Option<&String>) -> Option<EntryId> {
    cursor?.rsplit_once(' ')?.1.parse().ok()
}

impl<R: Record> Source for Outgoing<R> {
    type Record = R;

    async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
        let is_stored = |(name, value): &(String, String)| cursors.fields.get(name) == Some(value);
        let hand = self.hand.as_ref();
        if hand.is_some_and(|piece| !piece.cursors.is_empty() && piece.cursors.iter().all(is_stored)) {
            self.settle();
        }
        let known = self.stored.send_replace(Some(cursors.fields.clone()));
        let lost = |(name, value): (&String, &String)| place(cursors.fields.get(name)) < place(Some(value));
        if known.is_some_and(|known| known.iter().any(lost)) {
            self.hand = None;
        }
        self.step = Step::Waits;
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        match (self.hand.is_some(), self.step) {
            (true, Step::Waits) => return Ok(Some(self.give())),
            (true, Step::Given) => {
                self.step = Step::Pushed;
                return Ok(Some(Chunk::empty("features")));
            }
            (true, Step::Pushed) => self.settle(),
            (false, _) => {}
        }
        let Some(piece) = self.pieces.recv().await else { return Ok(None) };
        self.hand = Some(piece);
        Ok(Some(self.give()))
    }
}
