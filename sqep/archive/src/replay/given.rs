//! A past as a source: what is fetched lies on a shelf until it is due, and the last chunk says that it was the last.
//!
//! Knows cursors; must not know where a past comes from.

use std::future::Future;

use sqep::{Chunk, Cursors, Record, Source, anyhow, transport::end_of_replay};

use super::pace::Shelf;

/// The cursor field that says what was published; each place has its own words for it.
const PLACE: &str = "place";

/// Where a past comes from.
pub(super) trait Fetch: Send {
    /// What it holds.
    type Record: Record;

    /// Stands after `place`, or at the beginning.
    fn begin(&mut self, place: Option<&str>) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Puts what comes next on the shelf; `false`: there is nothing more.
    fn fetch(&mut self, shelf: &mut Shelf<Self::Record>)
    -> impl Future<Output = anyhow::Result<bool>> + Send;
}

/// A past on its way.
#[derive(Debug)]
pub(super) struct Given<F: Fetch> {
    from: F,
    shelf: Shelf<F::Record>,
    ended: bool,
}

impl<F: Fetch> Given<F> {
    pub(super) const fn new(from: F) -> Given<F> {
        Given { from, shelf: Shelf::new(), ended: false }
    }
}

/// What is stored once everything up to `place` was published.
pub(super) fn cursor(place: String) -> Vec<(String, Option<String>)> {
    vec![(PLACE.to_owned(), Some(place))]
}

impl<F: Fetch> Source for Given<F> {
    type Record = F::Record;

    async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
        let (name, value) = end_of_replay();
        self.ended = cursors.fields.get(&name) == Some(&value);
        self.shelf.clear();
        self.from.begin(cursors.fields.get(PLACE).map(String::as_str)).await
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<F::Record>>> {
        loop {
            if let Some(chunk) = self.shelf.take().await {
                return Ok(Some(chunk));
            }
            if self.ended {
                return Ok(None);
            }
            if !self.from.fetch(&mut self.shelf).await? {
                self.ended = true;
                let (name, value) = end_of_replay();
                return Ok(Some(Chunk { cursor: vec![(name, Some(value))], ..Chunk::empty("replay") }));
            }
        }
    }
}
