//! The other side of an audit: files, as they would be published, or what a stream holds. Knows how to read either to its
//! end, twice if need be; must not know what is compared.

use std::{collections::HashMap, io, path::Path, sync::Arc};

use anyhow::{anyhow, bail};
use sqep::{
    Calendar, Cursors, DayBar, DayFeature, EntryId, Kind, MinuteBar, MinuteFeature, Record, RefDay, Source,
    app::Usage,
    check::Checker,
    record::Cell,
    redis::{inspect::Inspector, keys::Keys},
};
use sqep_archive::{Filter, Reader, Symbols};
use sqep_csv::{enrich::Enrich, plan::Plan, report::Report, source::CsvSource};
use tracing::warn;

use super::compare::{Difference, FieldPair, How, moment};
use crate::config::Config;

/// The word for the stream instead of files.
const STREAM: &str = "stream";
/// Milliseconds one look at the stream waits.
const WAIT_MS: u64 = 1;

/// What became of the rows of the other side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Read {
    /// Rows that are records.
    pub(crate) kept: u64,
    /// Rows, or whole entries, that break a rule: they have no place in an archive.
    pub(crate) refused: u64,
    /// Rows that are no bars.
    pub(crate) skipped: u64,
}

/// The other side.
pub(crate) enum Against<'a> {
    Files { plan: Box<Plan>, calendar: Arc<Calendar>, kind: Kind },
    Stream { config: &'a Config, calendar: Arc<Calendar>, kind: Kind },
}

impl Against<'_> {
    /// What the words of `--against` mean.
    pub(crate) fn of<'a>(
        words: &[String],
        dialect: Option<&str>,
        config: &'a Config,
        kind: Kind,
    ) -> anyhow::Result<Against<'a>> {
        let usage = |error| anyhow!(Usage(error));
        let calendar = config.calendar.load().map_err(usage)?;
        if words == [STREAM] {
            return Ok(Against::Stream { config, calendar, kind });
        }
        if words.iter().any(|word| word == "-") {
            bail!(Usage(anyhow!("standard input comes only once and is read twice: save it as a file")));
        }
        let mut settings = config.csv.clone();
        settings.paths = words.to_vec();
        settings.dialect = dialect.map_or(settings.dialect, str::to_owned);
        let plan = Plan::new(&settings, config.symbol, kind, Arc::clone(&calendar), false).map_err(usage)?;
        Ok(Against::Files { plan: Box::new(plan), calendar, kind })
    }

    /// As it is called in what is told.
    pub(crate) fn name(&self) -> &'static str {
        if self.is_stream() { "the stream" } else { "the files" }
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Against::Stream { .. })
    }

    /// Whether it can be read at all.
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
        match self {
            Against::Files { plan, .. } => match plan.missing()?.first() {
                Some(missing) => bail!(Usage(anyhow!("{missing}"))),
                None => Ok(()),
            },
            Against::Stream { config, .. } => Ok(Inspector::connect(&config.server()?).await.map(drop)?),
        }
    }

    /// Shows every record that `filter` asks for, with what decides among those of a key.
    pub(crate) async fn each<R: Audited>(
        &self,
        filter: &Filter,
        mut visit: impl FnMut(&R, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Read> {
        let visit = |record: &R, order| if asked(filter, record) { visit(record, order) } else { Ok(()) };
        match self {
            Against::Files { plan, calendar, kind } => R::files(plan, calendar, *kind, visit).await,
            Against::Stream { config, calendar, kind } => stream(config, calendar, *kind, visit).await,
        }
    }

    /// Finds the fields in which the keys of `differences` differ, by a second look at both sides.
    pub(crate) async fn explain<R: Audited>(
        &self,
        root: &Path,
        differences: &mut [Difference],
    ) -> anyhow::Result<()> {
        let keys = differences.iter().filter(|found| found.how == How::Differs).map(|found| found.key);
        let mut others: HashMap<(i32, i64), (u64, Option<R>)> = keys.map(|key| (key, (0, None))).collect();
        if others.is_empty() {
            return Ok(());
        }
        let symbols = Symbols::within(others.keys().map(|&(symbol, _)| symbol..=symbol));
        let (first, last) = others
            .keys()
            .fold((i64::MAX, i64::MIN), |(first, last), &(_, time)| (first.min(time), last.max(time)));
        let filter = Filter { from: Some(moment::<R>(first)), to: Some(moment::<R>(last)), symbols };
        self.each::<R>(&filter, |record, order| {
            if let Some(best) = others.get_mut(&(record.symbol().get(), record.time()))
                && (order >= best.0 || best.1.is_none())
            {
                *best = (order, Some(*record));
            }
            Ok(())
        })
        .await?;
        let kind = self.kind();
        let root = root.to_owned();
        let ours = tokio::task::spawn_blocking(move || rows::<R>(&root, kind, filter, &others)).await??;
        for found in differences {
            if let Some((archive, against)) = ours.get(&found.key) {
                found.fields = pairs(archive, against);
            }
        }
        Ok(())
    }

    fn kind(&self) -> Kind {
        match self {
            Against::Files { kind, .. } | Against::Stream { kind, .. } => *kind,
        }
    }
}

/// A record whose archive can be held against something.
pub(crate) trait Audited: Record {
    /// Shows everything that publishing these files would append.
    async fn files(
        plan: &Plan,
        calendar: &Calendar,
        kind: Kind,
        visit: impl FnMut(&Self, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Read>;
}

macro_rules! from_files {
    ($($record:ty),*) => {$(
        impl Audited for $record {
            async fn files(
                plan: &Plan,
                calendar: &Calendar,
                kind: Kind,
                visit: impl FnMut(&Self, u64) -> anyhow::Result<()>,
            ) -> anyhow::Result<Read> {
                files(plan, calendar, kind, visit).await
            }
        }
    )*};
}

macro_rules! from_no_file {
    ($($record:ty),*) => {$(
        impl Audited for $record {
            async fn files(
                _: &Plan,
                _: &Calendar,
                kind: Kind,
                _: impl FnMut(&Self, u64) -> anyhow::Result<()>,
            ) -> anyhow::Result<Read> {
                let other = "hold them against the stream, or recompute them with sqep-features verify";
                bail!(Usage(anyhow!("{kind} comes from no file: {other}")))
            }
        }
    )*};
}

from_files!(DayBar, MinuteBar, RefDay);
from_no_file!(DayFeature, MinuteFeature);

/// The rows of both sides, by key.
type Both<R> = HashMap<(i32, i64), (R, R)>;

fn rows<R: Record>(
    root: &Path,
    kind: Kind,
    filter: Filter,
    others: &HashMap<(i32, i64), (u64, Option<R>)>,
) -> anyhow::Result<Both<R>> {
    let mut both = Both::new();
    let mut reader = Reader::<R>::open(root, kind, filter)?;
    while let Some(block) = reader.next()? {
        for row in block.rows {
            let key = (row.record.symbol().get(), row.record.time());
            if let Some(&(_, Some(other))) = others.get(&key) {
                both.insert(key, (row.record, other));
            }
        }
    }
    Ok(both)
}

/// The fields that differ.
fn pairs<R: Record>(archive: &R, against: &R) -> Vec<FieldPair> {
    let text = |cell| match cell {
        Cell::Float(value) => value.to_string(),
        Cell::Bool(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
        _ => String::new(),
    };
    let fields = R::FIELDS.iter().enumerate().filter(|&(at, _)| archive.get(at) != against.get(at));
    let pair = |(at, field): (usize, &'static sqep::record::Field)| FieldPair {
        field: field.name,
        archive: text(archive.get(at)),
        against: text(against.get(at)),
    };
    fields.map(pair).collect()
}

fn asked<R: Record>(filter: &Filter, record: &R) -> bool {
    let at = moment::<R>(record.time());
    filter.symbols.contains(record.symbol().get())
        && filter.from.is_none_or(|from| from <= at)
        && filter.to.is_none_or(|to| at <= to)
}

/// Everything that publishing these files to an empty stream would append, in its order.
async fn files<R: Enrich>(
    plan: &Plan,
    calendar: &Calendar,
    kind: Kind,
    mut visit: impl FnMut(&R, u64) -> anyhow::Result<()>,
) -> anyhow::Result<Read> {
    let report = Arc::new(Report::new(Box::new(io::sink()), false));
    let mut source = CsvSource::<R>::new(plan.clone(), Arc::clone(&report))?;
    let (mut read, mut checker) = (Read::default(), Checker::new(calendar));
    source.open(&Cursors::default()).await?;
    while let Some(chunk) = source.read().await? {
        read.skipped += chunk.skipped.values().sum::<u64>();
        read.refused += chunk.refused.iter().map(|refusal| refusal.rows).sum::<u64>();
        for record in &chunk.records {
            if checker.admit(record, kind).is_err() {
                read.refused += 1;
                continue;
            }
            visit(record, read.kept)?;
            read.kept += 1;
        }
    }
    let summary = report.summary();
    for (file, why) in &summary.wrong {
        warn!("{file}: {why}");
    }
    if summary.failed > 0 {
        bail!(
            "{} of the files could not be read, they are named above: what they hold is not known",
            summary.failed
        );
    }
    Ok(read)
}

/// Everything on a stream, up to what is last when it begins.
async fn stream<R: Record>(
    config: &Config,
    calendar: &Calendar,
    kind: Kind,
    mut visit: impl FnMut(&R, u64) -> anyhow::Result<()>,
) -> anyhow::Result<Read> {
    let mut inspector = Inspector::connect(&config.server()?).await?;
    let prefix = &config.stream.prefix;
    let count = inspector.partitions(prefix, kind).await?.unwrap_or(config.stream.partitions).max(1);
    let mut read = Read::default();
    let mut checker = Checker::new(calendar);
    for partition in 0..count {
        let key = Keys::new(prefix, kind, partition).stream().to_owned();
        let (last, mut after) = (inspector.stream(&key).await?.last, EntryId::ZERO);
        while after < last {
            let entries = inspector.read(&key, after, WAIT_MS).await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries.iter().filter(|entry| entry.id <= last) {
                let Ok(opened) = entry.open::<R>() else {
                    read.refused += 1;
                    continue;
                };
                let versions = opened.decoded.versions.unwrap_or_default();
                for (at, record) in opened.decoded.records.iter().enumerate() {
                    if checker.admit(record, kind).is_err() {
                        read.refused += 1;
                        continue;
                    }
                    read.kept += 1;
                    visit(record, versions.get(at).copied().unwrap_or_else(|| entry.id.version()))?;
                }
            }
            after = entries.last().map_or(last, |entry| entry.id);
        }
    }
    Ok(read)
}
