//! Features as a second archive: computed of the bars that have just come, archived beside them, and the last row of three
//! securities shown. Knows the two programs that do it and what must agree; must not know a formula.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::bail;
use sqep::{
    DayFeature, Kind, Record,
    feature::FEATURES,
    redis::{Server, embedded::Embedded, inspect::Inspector, keys::Keys},
};
use sqep_archive::{Filter, Reader};
use sqep_parquet::{Options, compact_root};
use tokio_util::sync::CancellationToken;

use super::{
    flow::{self, Job, common, set},
    home::Home,
    programs::{Programs, Running},
};
use crate::{
    digest,
    out::{bytes, count, rate, say},
};

/// How often a program is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Securities whose last row is shown.
const SHOWN: usize = 3;
/// Features of a row that is shown.
const COLUMNS: [&str; 8] =
    ["ret_1", "ma_20", "macd_hist", "rsi_12", "boll_pctb", "kdj_j", "atr_14", "vol_ratio_5"];

/// What came of it.
#[derive(Debug)]
pub(super) struct Features {
    on_stream: u64,
    archived: u64,
    same: bool,
    computed: Duration,
    bytes: u64,
    last: Vec<DayFeature>,
}

/// Computes and archives the features of day bars; nothing for other kinds.
pub(super) async fn run(
    job: &Job,
    home: &Home,
    programs: &Programs,
    server: &Embedded,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Features>> {
    if job.kind != Kind::BarDay {
        return Ok(None);
    }
    let begun = Instant::now();
    let (state, archive) = (home.state().join("features"), home.archive());
    let once = ["--once".to_owned()];
    let bars = [once.to_vec(), common(job, server)].concat();
    let from_start = set("reader.start", "earliest").to_vec();
    let own = set("features.state", &state.to_string_lossy()).to_vec();
    through(&programs.features, &[bars, from_start.clone(), own].concat(), home, stop).await?;
    let computed = begun.elapsed();
    let kind = set("stream.kind", Kind::FeatureDay.name()).to_vec();
    let root = set("parquet.root", &archive.to_string_lossy()).to_vec();
    let url = set("redis.url", &server.url()).to_vec();
    through(&programs.parquet, &[once.to_vec(), url, kind, from_start, root].concat(), home, stop).await?;
    let mut inspector = Inspector::connect(&Server::new(&server.settings())?).await?;
    let key = Keys::new("sqep", Kind::FeatureDay, 0);
    let stream = digest::of_stream::<DayFeature>(&mut inspector, key.stream()).await?;
    let found = tokio::task::spawn_blocking(move || archived(&archive)).await??;
    let (stored, bytes, last) = found;
    let same = stream.same_rows(&stored);
    Ok(Some(Features { on_stream: stream.keys, archived: stored.rows, same, computed, bytes, last }))
}

/// Runs a program to its end.
async fn through(
    program: &Path,
    arguments: &[String],
    home: &Home,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut running = Running::start(program, arguments, home)?;
    loop {
        match running.ended()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("{} ended with {status}{}", running.name(), running.last_words()),
            None if stop.is_cancelled() => return Err(flow::stopped()),
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// The compacted archive of features: its digest, its size, and the last row of some securities.
fn archived(root: &Path) -> anyhow::Result<(digest::Digest, u64, Vec<DayFeature>)> {
    compact_root(root, Options::default())?.complete()?;
    let digest = digest::of_archive::<DayFeature>(root, Kind::FeatureDay)?;
    let bytes = digest::bytes_of_archive(root, Kind::FeatureDay)?;
    let mut reader = Reader::<DayFeature>::open(root, Kind::FeatureDay, Filter::default())?;
    let mut last: BTreeMap<i32, DayFeature> = BTreeMap::new();
    while let Some(block) = reader.next()? {
        last.extend(block.rows.iter().map(|row| (row.record.symbol().get(), row.record)));
    }
    let step = (last.len() / SHOWN).max(1);
    Ok((digest, bytes, last.into_values().step_by(step).take(SHOWN).collect()))
}

impl Features {
    /// Prints it.
    pub(super) fn tell(&self) -> anyhow::Result<()> {
        let mark = if self.agrees() { "ok " } else { "NOT" };
        say(&format!(
            "features  45 of each of {} bars in {:.2} s, {} rows/s; a second archive of {}",
            count(self.on_stream),
            self.computed.as_secs_f64(),
            count(rate(self.on_stream, self.computed)),
            bytes(self.bytes),
        ))?;
        say(&format!(
            "  {mark} rows of features on the stream {} = rows in their archive {}, bit by bit",
            count(self.on_stream),
            count(self.archived)
        ))?;
        self.last.iter().try_for_each(|row| say(&format!("  {}", line(row))))?;
        Ok(say("")?)
    }

    /// An error if rows differ.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        if self.agrees() {
            return Ok(());
        }
        bail!("{} rows of features on the stream, {} in the archive", self.on_stream, self.archived)
    }

    fn agrees(&self) -> bool {
        self.same && self.on_stream == self.archived && self.archived > 0
    }
}

/// A row with some of its features.
fn line(row: &DayFeature) -> String {
    let value = |name: &&str| {
        let at = FEATURES.iter().position(|(known, _)| known == name)?;
        row.values.get(at).filter(|value| !value.is_nan()).map(|value| format!("{name} {value:.4}"))
    };
    let shown: Vec<String> = COLUMNS.iter().filter_map(value).collect();
    format!("{} {}  {}  valid {}", row.symbol, row.frame, shown.join("  "), row.valid)
}
