//! The facts of days of the past: what an archive holds of them and what the stream says after it. Knows which of two facts
//! of a day counts; must not know bars.

use std::{collections::HashMap, path::Path};

use chrono::{NaiveDate, NaiveTime};
use sqep::{Kind, RefDay, Row, Symbol};
use sqep_archive::{Filter, Symbols};

use super::{Gap, Past, Walk, reader};
use crate::{Facts, engine::Engine};

/// Facts of days, by security and day, with the version that says them.
pub(super) type Known = HashMap<(i32, NaiveDate), (u64, Facts)>;

impl<E: Engine> Past<E> {
    /// Adds the facts of the stream that the archive does not hold; whether some lie between them that are nowhere.
    pub(super) async fn join_stream(&self, walk: &mut Walk<E>) -> anyhow::Result<Option<Gap>> {
        if !E::JOINED {
            return Ok(None);
        }
        walk.heard = self.heard(&walk.wanted).await?;
        let (facts, after) = self.after(Kind::RefDay).await?;
        Ok((after < facts.trimmed).then(|| self.gap(Kind::RefDay, &facts, after)))
    }

    /// What the stream says of facts that the archive does not hold yet.
    async fn heard(&self, wanted: &Symbols) -> anyhow::Result<Known> {
        let (stream, after) = self.after(Kind::RefDay).await?;
        let mut heard = Known::new();
        self.scan::<RefDay>(Kind::RefDay, after, stream.last, wanted, |row| learn(&mut heard, &row)).await?;
        Ok(heard)
    }

    /// Facts of some securities' days, from the first to the last of a span: archive and stream.
    pub(crate) async fn facts(
        &self,
        wanted: &Symbols,
        (from, to): (NaiveDate, NaiveDate),
    ) -> anyhow::Result<HashMap<(i32, NaiveDate), Facts>> {
        let mut known = self.heard(wanted).await?;
        if let Some(root) = &self.archive {
            archived_facts(root, wanted, (from, to), |row| learn(&mut known, row))?;
        }
        let within = known.into_iter().filter(|((_, day), _)| (from..=to).contains(day));
        Ok(within.map(|(key, (_, facts))| (key, facts)).collect())
    }

    /// What was known of securities' days before these versions, as far as archive and stream still tell.
    pub(crate) async fn facts_before(
        &self,
        came: &HashMap<(i32, NaiveDate), u64>,
    ) -> anyhow::Result<HashMap<(i32, NaiveDate), Facts>> {
        let days = came.keys().map(|(_, day)| *day);
        let (Some(from), Some(to)) = (days.clone().min(), days.max()) else { return Ok(HashMap::new()) };
        let wanted: Symbols = came.keys().filter_map(|&(symbol, _)| Symbol::from_i32(symbol).ok()).collect();
        let mut known = Known::new();
        let mut visit = |row: &Row<RefDay>| {
            let came = came.get(&(row.record.symbol.get(), row.record.frame));
            if came.is_some_and(|&came| row.version < came) {
                learn(&mut known, row);
            }
        };
        let (stream, after) = self.after(Kind::RefDay).await?;
        self.scan::<RefDay>(Kind::RefDay, after, stream.last, &wanted, |row| visit(&row)).await?;
        if let Some(root) = &self.archive {
            archived_facts(root, &wanted, (from, to), visit)?;
        }
        Ok(known.into_iter().map(|(key, (_, facts))| (key, facts)).collect())
    }
}

/// Shows every version an archive holds of facts.
pub(super) fn archived_facts(
    root: &Path,
    wanted: &Symbols,
    (from, to): (NaiveDate, NaiveDate),
    mut visit: impl FnMut(&Row<RefDay>),
) -> anyhow::Result<()> {
    let (from, to) = (from.and_time(NaiveTime::MIN), to.and_time(NaiveTime::MIN));
    let filter = Filter { from: Some(from), to: Some(to), symbols: wanted.clone() };
    let Some(mut reader) = reader::<RefDay>(root, Kind::RefDay, filter)? else { return Ok(()) };
    while let Some(block) = reader.next()? {
        block.rows.iter().for_each(&mut visit);
    }
    Ok(())
}

/// Remembers what the highest version says.
pub(super) fn learn(known: &mut Known, row: &Row<RefDay>) {
    let key = (row.record.symbol.get(), row.record.frame);
    let said = (row.version, Facts::from(&row.record));
    known.entry(key).and_modify(|best| *best = if said.0 >= best.0 { said } else { *best }).or_insert(said);
}

#[cfg(test)]
mod tests {
    use std::{marker::PhantomData, path::PathBuf, sync::Arc};

    use sqep::{Calendar, EntryId, Record, redis::keys::StreamSettings};
    use sqep_testkit::{TestRedis, feed};

    use super::*;
    use crate::MinuteFeatures;

    #[tokio::test]
    async fn facts_that_are_nowhere_any_more_are_told() {
        let (redis, folder) = (TestRedis::start().await.unwrap(), tempfile::tempdir().unwrap());
        let past: Past<MinuteFeatures> = Past {
            server: redis.client().unwrap(),
            prefix: "sqep".to_owned(),
            partition: 0,
            partitions: 1,
            archive: Some(PathBuf::from(folder.path())),
            calendar: Arc::new(Calendar::published()),
            engine: PhantomData,
        };
        let fact = RefDay {
            symbol: "600000.SH".parse().unwrap(),
            frame: "2025-12-31".parse().unwrap(),
            adjust: Some(2.0),
            ..RefDay::blank()
        };
        let stream = StreamSettings { kind: Kind::RefDay, ..StreamSettings::default() };
        feed::publish(&redis.settings(), &stream, &[fact], 1).await.unwrap();
        let (_, none) = past.archived_walk(Symbols::ALL, u64::MAX).await.unwrap();
        assert_eq!(none, None, "all facts are on the stream");
        let last = past.stream(Kind::RefDay).await.unwrap().last;
        let _: i64 = redis.command(&["XTRIM", "sqep:{ref:1d:0}", "MAXLEN", "0"]).await.unwrap();
        let trimmed = ["SET", "sqep:{ref:1d:0}:trimmed", &last.to_string()];
        let _: String = redis.command(&trimmed).await.unwrap();
        let (_, told) = past.archived_walk(Symbols::ALL, u64::MAX).await.unwrap();
        let Gap { kind, trimmed, archived } = told.unwrap();
        assert_eq!((kind, trimmed), (Kind::RefDay, last));
        assert_eq!(archived, Some((folder.path().to_owned(), EntryId::ZERO)));
        let walk = past.walk(Symbols::ALL, EntryId::ZERO).await;
        assert!(walk.is_err_and(|error| error.is::<Gap>()), "rows that have their facts do not lose them");
    }
}
