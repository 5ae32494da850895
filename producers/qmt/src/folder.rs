//! A folder of QMT or TDX as a source. Knows order, the ledger and when there is nothing more; must not know what a file
//! holds.
//!
//! A file is looked at again when its size or its time has changed. What it grew by is handed over; one that was written
//! anew, which the hash of what was published tells, goes out again from its first record, as later versions.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    marker::PhantomData,
    mem,
    sync::Arc,
    time::Duration,
};

use anyhow::anyhow;
use chrono::{NaiveDateTime, TimeDelta};
use sqep::{Chunk, Cursors, Kind, Source, Symbol, app::Usage, record::Cell, symbol::Aliases};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::{
    bar::Bar,
    clock::Clock,
    config::{AliasChoice, QmtSettings},
    file::{Bars, Block},
    files::{self, Input},
    format::Format,
    ledger::{self, Done},
    reading::Reading,
};

/// What a folder source works with.
#[derive(Debug, Clone)]
pub struct FolderPlan {
    /// Folders and files.
    pub paths: Vec<String>,
    /// The form of the files.
    pub format: Format,
    /// Securities; empty: all.
    pub wanted: BTreeSet<Symbol>,
    /// Section `qmt`.
    pub settings: QmtSettings,
    /// Which number a renumbered stock goes by.
    pub alias: AliasChoice,
    /// Between two looks.
    pub rescan: Duration,
    /// Whether it ends when everything is read.
    pub once: bool,
    /// The wall clock.
    pub clock: Clock,
}

impl FolderPlan {
    /// The plan of a configuration; `None`: it reads no local files.
    pub fn new(
        settings: &QmtSettings,
        alias: AliasChoice,
        kind: Kind,
        once: bool,
        clock: Clock,
    ) -> anyhow::Result<Option<FolderPlan>> {
        settings.check(kind)?;
        let Some(source) = settings.files() else { return Ok(None) };
        let format = Format::of(source, kind)
            .ok_or_else(|| anyhow!("stream.kind is {kind}: there are no files of such bars"))?;
        Ok(Some(FolderPlan {
            paths: settings.paths.clone(),
            format,
            wanted: settings.symbols()?.into_iter().collect(),
            settings: settings.clone(),
            alias,
            rescan: Duration::from_secs(settings.rescan_s),
            once,
            clock,
        }))
    }

    /// The word before the slash of cursor fields.
    fn source(&self) -> &'static str {
        match self.format {
            Format::Dat(_) => "dat",
            Format::TdxDay | Format::TdxMinute(_) => "tdx",
        }
    }

    /// The settings that decide what a row says; another text reads a file anew.
    fn read_as(&self) -> String {
        format!("{} {:?} {:?}", self.reading().unit, self.settings.auction, self.alias)
    }

    fn reading(&self) -> Reading {
        let seconds = |seconds| TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::from(u16::MAX)));
        Reading {
            unit: self.settings.vol_unit.unwrap_or(self.format.vol_unit()),
            auction: self.settings.auction,
            now: self.clock.now(),
            grace: seconds(self.settings.grace_s),
            close_grace: seconds(self.settings.close_grace_s),
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files with rows that were handed over.
    pub files: usize,
    /// Files of which everything was known.
    pub unchanged: usize,
    /// Files that were refused as a whole.
    pub refused: usize,
    /// Files and folders that could not be read.
    pub failed: usize,
    /// Files of securities that are not carried.
    pub passed_over: usize,
    /// Rows that were not final when their file was written: they come when it is written again.
    pub held: u64,
}

/// What the files of a look keep back.
#[derive(Debug, Default)]
struct Held {
    files: usize,
    rows: u64,
    /// One of them, and when it was written.
    example: Option<(Arc<str>, NaiveDateTime)>,
}

impl Held {
    fn add(&mut self, origin: &Arc<str>, (rows, written): (u64, NaiveDateTime)) {
        if rows > 0 {
            self.files += 1;
            self.rows += rows;
            self.example.get_or_insert_with(|| (Arc::clone(origin), written));
        }
    }

    fn tell(&self) {
        let (Held { files, rows, .. }, Some((origin, written))) = (self, &self.example) else { return };
        info!(
            "{rows} rows of {files} files were not over when their file was written ({origin}: {written}); they are \
             held back until it is written again"
        );
    }
}

/// Files in the order of their securities.
pub struct FolderSource<R> {
    plan: FolderPlan,
    aliases: Aliases,
    ledger: BTreeMap<Symbol, Done>,
    queue: VecDeque<Input>,
    open: Option<(Arc<str>, Symbol, Bars)>,
    held: Held,
    /// Securities whose file was empty, so that each is told once.
    empty: BTreeSet<Symbol>,
    idle: bool,
    summary: Summary,
    record: PhantomData<R>,
}

impl<R: Bar> FolderSource<R> {
    /// A source that has not looked yet.
    pub fn new(plan: FolderPlan) -> FolderSource<R> {
        FolderSource {
            plan,
            aliases: Aliases::published(),
            ledger: BTreeMap::new(),
            queue: VecDeque::new(),
            open: None,
            held: Held::default(),
            empty: BTreeSet::new(),
            idle: false,
            summary: Summary::default(),
            record: PhantomData,
        }
    }

    /// What the run came to so far.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let found = files::find(&self.plan.paths, self.plan.format, &self.plan.wanted);
        for error in &found.failed {
            let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            warn!("{error}: {source}");
        }
        if self.plan.once && found.files.is_empty() && found.failed.is_empty() {
            let paths = self.plan.paths.join(", ");
            return Err(anyhow!(Usage(anyhow!("{paths}: no {} below", self.wanted()))));
        }
        let read_as = self.plan.read_as();
        let (known, news): (Vec<Input>, Vec<Input>) = found.files.into_values().partition(|input| {
            self.ledger.get(&input.symbol).is_some_and(|done| done.covers(input, &read_as))
        });
        let waits = known.iter().filter_map(|input| Some(self.ledger.get(&input.symbol)?.held));
        self.summary.held = waits.sum();
        self.summary.failed += found.failed.len();
        (self.summary.unchanged, self.summary.passed_over) = (known.len(), found.passed_over);
        self.queue = news.into();
        Ok(())
    }

    /// Everything that was found is read: says once what is held back of it.
    fn end_look(&mut self) {
        let held = mem::take(&mut self.held);
        held.tell();
        self.summary.held += held.rows;
    }

    fn wanted(&self) -> String {
        match self.plan.format {
            Format::Dat(seconds) => format!("file like SH/{seconds}/600000.DAT"),
            Format::TdxDay => "file like sh600000.day".to_owned(),
            Format::TdxMinute(minutes) => format!("file like sh600000.lc{minutes}"),
        }
    }

    /// Opens a file; one that cannot be read is told and left for the next look.
    fn begin(&mut self, input: Input) {
        let (symbol, read_as) = (input.symbol, self.plan.read_as());
        let origin: Arc<str> = input.path.display().to_string().into();
        let done = self.ledger.get(&symbol);
        match Bars::open(input, self.plan.reading(), done, &read_as, R::MINUTE) {
            Ok(Some(bars)) => {
                if bars.is_cut() {
                    info!("{origin} ends inside a record: the rest is waited for");
                }
                if bars.unwritten() > 0 {
                    info!("{origin} ends with {} records of zeros: they are waited for", bars.unwritten());
                }
                if bars.is_anew(done) {
                    info!("{origin} was written anew: its bars go out again, as later versions");
                }
                self.held.add(&origin, bars.held());
                self.open = Some((origin, symbol, bars));
            }
            Ok(None) => {
                if self.empty.insert(symbol) {
                    info!("{origin} holds no record yet");
                }
            }
            Err(error) => {
                warn!("{origin} could not be read: {error}");
                self.summary.failed += 1;
            }
        }
    }

    /// The next rows of the open file.
    fn give(&mut self) -> Option<Chunk<R>> {
        let (origin, symbol, bars) = self.open.as_mut()?;
        let (origin, symbol) = (Arc::clone(origin), *symbol);
        let block = match bars.next::<R>() {
            Ok(Some(block)) => block,
            Ok(None) => {
                // Also a file that was only touched has been looked at.
                let block = bars.block();
                self.open = None;
                block
            }
            Err(error) => {
                warn!("{origin} could not be read to its end: {error}");
                self.summary.failed += 1;
                self.open = None;
                return None;
            }
        };
        let chunk = self.chunk(origin, symbol, block);
        Some(chunk).filter(|chunk| !chunk.is_empty())
    }

    fn chunk(&mut self, origin: Arc<str>, symbol: Symbol, block: Block<R>) -> Chunk<R> {
        let Block { mut records, lines, refused, skipped, warned, done } = block;
        let current = self.aliases.current(symbol);
        if self.plan.alias == AliasChoice::Current && current != symbol {
            for record in &mut records {
                record.set(0, Cell::Symbol(current));
            }
        }
        let value = serde_json::to_string(&done).unwrap_or_default();
        let before = self.ledger.get(&symbol);
        let changed = before != Some(&done);
        let first = before.is_none_or(|before| before.size != done.size);
        self.summary.refused += usize::from(changed && done.refused);
        self.summary.files += usize::from(first && !done.refused && !records.is_empty());
        self.ledger.insert(symbol, done);
        let cursor =
            if changed { vec![(ledger::field(self.plan.source(), symbol), Some(value))] } else { Vec::new() };
        Chunk { records, lines, refused, skipped, warned, cursor, origin, past: None }
    }
}

impl<R: Bar> Source for FolderSource<R> {
    type Record = R;

    async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
        self.ledger = ledger::read(cursors, self.plan.source());
        (self.open, self.held, self.idle) = (None, Held::default(), false);
        self.look()
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        loop {
            if let Some(chunk) = self.give() {
                self.idle = false;
                return Ok(Some(chunk));
            }
            if self.open.is_some() {
                continue;
            }
            if let Some(input) = self.queue.pop_front() {
                self.begin(input);
                continue;
            }
            self.end_look();
            if self.plan.once {
                return Ok(None);
            } else if !self.idle {
                self.idle = true;
                return Ok(Some(Chunk::empty(self.plan.source())));
            }
            sleep(self.plan.rescan).await;
            self.look()?;
        }
    }
}
