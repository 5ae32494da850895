//! What the loops need of a stream server: [`Outlet`] to publish, [`Inlet`] to deliver.
//!
//! Knows the promises; must not know Redis. The simulation implements both over a stream in memory that fails before
//! and after taking effect.

use std::{future::Future, time::Duration};

use crate::{Cursors, EntryId, Stamp, Totals, letter::Letter, wire::Entry};

/// Why the server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Connection, time-out, restart, fail-over, memory: open again and go on from what is stored.
    #[error("{0:#}")]
    Gone(anyhow::Error),
    /// The configuration or the server's state is wrong and waiting will not mend it.
    #[error("{0:#}")]
    Wrong(anyhow::Error),
}

/// What one publish does, as a whole or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transaction {
    /// Entries by partition, in order.
    pub entries: Vec<Outgoing>,
    /// Refused rows.
    pub letters: Vec<Letter>,
    /// Which transaction it is: one more than the one that guards it.
    pub stamp: Stamp,
    /// What became of the source's rows, this transaction included.
    pub totals: Totals,
    /// Fields of the cursor that change, with their new values.
    pub changed: Vec<(String, String)>,
    /// Fields of the cursor to remove.
    pub forget: Vec<String>,
}

/// An entry on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Partition of the stream.
    pub partition: u16,
    /// Who sent it the first time, if that was another than the publishing source.
    pub source: Option<std::sync::Arc<str>>,
    /// Name of the record.
    pub kind: &'static str,
    /// Encoding of the payload.
    pub encoding: crate::codec::Encoding,
    /// Records in the payload.
    pub records: usize,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// All of it is on the stream.
    Done,
    /// None of it is: the stored cursor is not the one that was expected.
    Conflict,
}

/// The way out: one source on one stream.
pub trait Outlet: Send {
    /// Connects, or connects again, and returns what is stored of this source.
    fn open(&mut self) -> impl Future<Output = Result<Cursors, TransportError>> + Send;

    /// Appends to all partitions and moves the cursor, if the stored stamp is `expected`.
    fn publish(
        &mut self,
        expected: &Stamp,
        transaction: &Transaction,
    ) -> impl Future<Output = Result<Published, TransportError>> + Send;

    /// `None`: publish. A text: wait, and say what for.
    fn room(&mut self) -> impl Future<Output = Result<Option<String>, TransportError>> + Send;
}

/// How a stream and a group stand when a reader comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Tells this stream from one of the same name.
    pub born: String,
    /// Up to where the group has settled; `None` without a group.
    pub settled: Option<EntryId>,
    /// The last id the stream gave out.
    pub last: EntryId,
    /// The id up to which it was trimmed.
    pub trimmed: EntryId,
    /// The operator's word: go on after this entry, whatever the sink's mark says.
    pub resume: Option<EntryId>,
    /// A past that the group is given before it reads the stream; entries come from there until [`Inlet::turn`].
    pub replay: Option<Replay>,
}

/// The cursor field by which a source says that all of the past it replays is published. It takes effect with the rows
/// before it, or not at all.
pub fn end_of_replay() -> (String, String) {
    ("done".to_owned(), "1".to_owned())
}

/// How far a replay to a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Where the group goes on with the stream itself.
    pub after: EntryId,
    /// Whether all of the past lies ready.
    pub done: bool,
    /// Whether some of it was handed out: a sink that was given it says so.
    pub begun: bool,
}

/// What a batch leaves behind: letters, acknowledgements and the group's mark, as a whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Entries that are done.
    pub ids: Vec<EntryId>,
    /// What was buried.
    pub letters: Vec<Letter>,
}

/// What became of a step that needs the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held<T> {
    /// It was done.
    Yes(T),
    /// The lease is another's or nobody's; nothing was done.
    Lost,
}

/// The way in: one group on one partition, read under a lease.
pub trait Inlet: Send {
    /// Connects, or connects again, takes the lease (waiting for it) and tells how things stand.
    fn open(&mut self) -> impl Future<Output = Result<Standing, TransportError>> + Send;

    /// Makes sure that ids given out from now on are above `floor`.
    fn raise(&mut self, floor: EntryId) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Makes the group, or moves it, so that it reads on after `at`.
    fn place(&mut self, at: EntryId) -> impl Future<Output = Result<Held<()>, TransportError>> + Send;

    /// Entries that were handed out and not settled, after `after`. Empty: none left.
    fn pending(
        &mut self,
        after: EntryId,
    ) -> impl Future<Output = Result<Held<Vec<Entry>>, TransportError>> + Send;

    /// Entries never handed out before, waiting up to `wait` for the first. Safe to drop while it waits.
    fn next(
        &mut self,
        wait: Duration,
    ) -> impl Future<Output = Result<Held<Vec<Entry>>, TransportError>> + Send;

    /// Buries, acknowledges and moves the group's mark.
    fn settle(
        &mut self,
        settlement: &Settlement,
    ) -> impl Future<Output = Result<Held<()>, TransportError>> + Send;

    /// Whether the dead letters have room for `bytes` more; a text says what to do if not.
    fn burial_room(
        &mut self,
        bytes: usize,
    ) -> impl Future<Output = Result<Option<String>, TransportError>> + Send;

    /// Lets go of a replay that was read to its end: the next [`Inlet::open`] stands on the stream itself.
    fn turn(&mut self) -> impl Future<Output = Result<Held<()>, TransportError>> + Send;

    /// Gives the lease back.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}
