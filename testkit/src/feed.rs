//! Records on a stream of a server, for programs that read it. Knows the publishing loop; must not know who reads.

use std::{collections::VecDeque, sync::Arc};

use sqep::{
    Chunk, Cursors, Record, Source,
    app::{CalendarSettings, Outward, PublishSettings},
    meter::Meters,
    redis::{RedisSettings, keys::StreamSettings},
};
use tokio_util::sync::CancellationToken;

/// Chunks one after another, then nothing ever again.
struct Given<R>(VecDeque<Vec<R>>);

impl<R: Record> Source for Given<R> {
    type Record = R;

    async fn open(&mut self, _cursors: &Cursors) -> anyhow::Result<()> {
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        let Some(records) = self.0.pop_front() else { return Ok(None) };
        Ok(Some(Chunk { records, origin: Arc::from("feed"), ..Chunk::empty("feed") }))
    }
}

/// Publishes records as the source `feed`, so many a chunk and a transaction; an error if any of them was not appended.
pub async fn publish<R: Record>(
    redis: &RedisSettings,
    stream: &StreamSettings,
    records: &[R],
    records_max: usize,
) -> anyhow::Result<()> {
    let outward = Outward {
        redis,
        stream,
        publish: &PublishSettings { records_max, ..PublishSettings::default() },
        calendar: &CalendarSettings::default(),
        meters: &Meters::default(),
    };
    let mut source = Given(records.chunks(records_max).map(<[R]>::to_vec).collect());
    let totals = outward.publish(&mut source, "feed", true, &CancellationToken::new(), |_| {}).await?;
    anyhow::ensure!(
        u64::try_from(records.len())? == totals.appended,
        "{} records given, {totals:?}",
        records.len()
    );
    Ok(())
}
