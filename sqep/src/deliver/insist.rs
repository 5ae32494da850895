//! Asks of a sink, again and again until they hold: write, keep the mark, tell the mark.
//!
//! Knows what Later and Never mean; must not know the stream nor what was read.

use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{Broken, Deliverer, hand::InHand};
use crate::{
    Appetite, Batch, EntryId, Mark, Row, Sink, WriteError,
    patience::{Backoff, pause},
};

/// A sink, and who asks it.
pub(super) struct Insist<'a, S> {
    pub(super) loop_: &'a Deliverer,
    pub(super) sink: &'a mut S,
    pub(super) stop: &'a CancellationToken,
}

impl<S: Sink> Insist<'_, S> {
    pub(super) fn appetite(&self) -> Appetite {
        self.sink.appetite()
    }

    /// Writes all rows; returns those the sink can never take, with what it said.
    pub(super) async fn write_all(
        &mut self,
        hand: &InHand<S::Record>,
        first: EntryId,
        last: EntryId,
    ) -> Result<Vec<(Row<S::Record>, String)>, Broken> {
        let mut backoff = Backoff::default();
        loop {
            let mut never = Vec::new();
            let mut parts = vec![hand.rows.as_slice()];
            let mut in_a_row = 0;
            let later = loop {
                let Some(rows) = parts.pop() else { return Ok(never) };
                if rows.is_empty() {
                    continue;
                }
                self.loop_.meter.busy();
                let batch =
                    Batch { partition: self.loop_.partition, first, last, rows, sources: &hand.sources };
                match self.sink.write(&batch).await {
                    Ok(()) => in_a_row = 0,
                    Err(WriteError::Later(error)) => break error,
                    Err(WriteError::Never(error)) => match rows {
                        [row] => {
                            in_a_row += 1;
                            if in_a_row > self.loop_.never_records_max {
                                break error
                                    .context("the sink refuses record after record: is it the right table?");
                            }
                            never.push((*row, format!("{error:#}")));
                        }
                        rows => {
                            let (left, right) = rows.split_at(rows.len() / 2);
                            parts.extend([right, left]);
                        }
                    },
                }
            };
            let wait = backoff.next();
            error!("{later:#}; the same batch again in {wait:?}");
            self.loop_.meter.retry("sink", &later);
            if !pause(wait, self.stop).await {
                return Err(Broken::Stopped);
            }
        }
    }

    /// The sink's mark, asked for until the sink can tell.
    pub(super) async fn mark(&mut self) -> Result<Option<Mark>, Broken> {
        let mut backoff = Backoff::default();
        loop {
            self.loop_.meter.busy();
            match self.sink.mark(self.loop_.partition).await {
                Ok(mark) => return Ok(mark),
                Err(WriteError::Never(error)) => return Err(Broken::Fatal(error)),
                Err(WriteError::Later(error)) => {
                    let wait = backoff.next();
                    error!("{error:#}; asking for the mark again in {wait:?}");
                    self.loop_.meter.retry("mark", &error);
                    if !pause(wait, self.stop).await {
                        return Err(Broken::Stopped);
                    }
                }
            }
        }
    }

    /// Keeps a mark in the sink, again and again until it holds.
    pub(super) async fn keep(&mut self, mark: &Mark) -> Result<(), Broken> {
        let mut backoff = Backoff::default();
        loop {
            self.loop_.meter.busy();
            match self.sink.save(self.loop_.partition, mark).await {
                Ok(()) => return Ok(()),
                Err(WriteError::Later(error) | WriteError::Never(error)) => {
                    let wait = backoff.next();
                    error!("cannot keep the mark: {error:#}; again in {wait:?}");
                    self.loop_.meter.retry("mark", &error);
                    if !pause(wait, self.stop).await {
                        return Err(Broken::Stopped);
                    }
                }
            }
        }
    }
}
