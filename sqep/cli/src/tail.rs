//! `sqep tail`: bars as they pass. A plain reader without a group: it settles nothing and disturbs nobody.

use std::collections::BTreeSet;

use sqep::{
    DayBar, DayFeature, EntryId, Kind, MinuteBar, MinuteFeature, Record, RefDay, Symbol,
    codec::{self, Encoding},
    record::Cell,
    redis::{inspect::Inspector, keys::Keys},
    wire::Entry,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{config::Config, out::heard};

/// Entries read ahead of the terminal at most.
const ENTRIES_AHEAD_MAX: usize = 64;
/// Milliseconds one look at the stream waits.
const WAIT_MS: u64 = 500;

/// Arguments of `sqep tail`.
#[derive(Debug, clap::Args)]
pub(crate) struct TailArgs {
    /// What to show: bar:1d, bar:1m, ref:1d and so on.
    #[arg(value_name = "KIND")]
    kind: Option<Kind>,
    /// Only this security, like 000001.SZ; repeatable.
    #[arg(long, value_name = "SYMBOL")]
    symbol: Vec<Symbol>,
    /// From the oldest entry that is still there, not only what comes from now on.
    #[arg(long)]
    from_start: bool,
    /// Ends after so many bars.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) common: sqep::app::Args,
}

pub(crate) async fn run(args: TailArgs, config: &Config, stop: &CancellationToken) -> anyhow::Result<()> {
    match args.kind.unwrap_or(config.stream.kind) {
        Kind::BarDay => show::<DayBar>(args, config, Kind::BarDay, stop).await,
        kind @ Kind::BarMinute(_) => show::<MinuteBar>(args, config, kind, stop).await,
        Kind::RefDay => show::<RefDay>(args, config, Kind::RefDay, stop).await,
        kind @ Kind::FeatureDay => show::<DayFeature>(args, config, kind, stop).await,
        kind @ Kind::FeatureMinute => show::<MinuteFeature>(args, config, kind, stop).await,
    }
}

async fn show<R: Record>(
    args: TailArgs,
    config: &Config,
    kind: Kind,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let server = config.server()?;
    let (sender, mut entries) = mpsc::channel(ENTRIES_AHEAD_MAX);
    let end = stop.child_token();
    let mut looks = tokio::task::JoinSet::new();
    for partition in 0..config.stream.partitions.max(1) {
        let key = Keys::new(&config.stream.prefix, kind, partition).stream().to_owned();
        let inspector = Inspector::connect(&server).await?;
        let look = Look { inspector, key, from_start: args.from_start, once: args.common.once };
        looks.spawn(look.follow(sender.clone(), end.clone()));
    }
    drop(sender);
    if args.common.check {
        return Ok(());
    }
    let symbols: BTreeSet<Symbol> = args.symbol.iter().copied().collect();
    let mut left = args.count.unwrap_or(u64::MAX);
    while let Some((key, entry)) = entries.recv().await {
        left = print::<R>(&key, &entry, &symbols, args.json, left)?;
        if left == 0 {
            break;
        }
    }
    end.cancel();
    entries.close();
    while let Some(ended) = looks.join_next().await {
        ended??;
    }
    Ok(())
}

/// One partition, looked at.
struct Look {
    inspector: Inspector,
    key: String,
    from_start: bool,
    once: bool,
}

impl Look {
    async fn follow(
        mut self,
        sender: mpsc::Sender<(String, Entry)>,
        end: CancellationToken,
    ) -> anyhow::Result<()> {
        let last = self.inspector.stream(&self.key).await?.last;
        let mut after = if self.from_start { EntryId::ZERO } else { last };
        loop {
            if self.once && after >= last {
                return Ok(());
            }
            let entries = tokio::select! {
                () = end.cancelled() => return Ok(()),
                entries = self.inspector.read(&self.key, after, WAIT_MS) => entries?,
            };
            for entry in entries {
                after = entry.id;
                if sender.send((self.key.clone(), entry)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Prints the records of an entry, at most `left` of them, and returns how many may still come.
fn print<R: Record>(
    key: &str,
    entry: &Entry,
    symbols: &BTreeSet<Symbol>,
    as_json: bool,
    mut left: u64,
) -> anyhow::Result<u64> {
    let opened = match entry.open::<R>() {
        Ok(opened) => opened,
        Err(unreadable) => {
            warn!("{key} {}: {unreadable}", entry.id);
            return Ok(left);
        }
    };
    for record in &opened.decoded.records {
        if left == 0 {
            break;
        }
        if symbols.is_empty() || symbols.contains(&record.symbol()) {
            left -= 1;
            let text = if as_json { object(record, entry.id, &opened.source)? } else { line(record) };
            if !heard(&text)? {
                return Ok(0);
            }
        }
    }
    Ok(left)
}

/// A record on one line: symbol, frame, then name and value of what is known.
pub(crate) fn line<R: Record>(record: &R) -> String {
    let known = R::FIELDS.iter().enumerate().filter_map(|(at, field)| {
        let text = match record.get(at) {
            Cell::Null => return None,
            Cell::Float(value) => format!("{} {value}", field.name),
            Cell::Bool(value) => format!("{} {value}", field.name),
            Cell::Integer(value) => format!("{} {value}", field.name),
            Cell::Symbol(symbol) => symbol.to_string(),
            Cell::Date(date) => date.to_string(),
            Cell::Minute(minute) => minute.format("%Y-%m-%d %H:%M").to_string(),
        };
        Some(text)
    });
    known.collect::<Vec<_>>().join("  ")
}

/// A record as the JSON encoding writes it, with the id of its entry and its source.
fn object<R: Record>(record: &R, id: EntryId, source: &str) -> anyhow::Result<String> {
    let mut payload = Vec::new();
    codec::encode(Encoding::Json, std::slice::from_ref(record), None, &mut payload)?;
    let text = String::from_utf8(payload)?;
    let fields = text.trim().trim_start_matches(['[', '{']).trim_end_matches([']', '}']);
    let source = serde_json::to_string(source)?;
    Ok(format!("{{{fields},\"entry\":\"{id}\",\"source\":{source}}}"))
}
