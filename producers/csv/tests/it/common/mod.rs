//! A small world for the source: files to read, and a stream that loses replies, forgets and stops where it is told.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses a part of it, and fails where that fails"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use sqep::{Calendar, Cursors, DayBar, Exchange, Kind, Record, Refusal, Source, Symbol, Totals};
use sqep_csv::{
    config::{CsvSettings, SymbolSettings},
    enrich::Enrich,
    plan::Plan,
    report::{Report, Summary},
    source::CsvSource,
};
use sqep_testkit::dice::Dice;

/// The header of SQEP's own dialect.
pub(crate) const HEADER: &str =
    "symbol,frame,open,high,low,close,vol,amount,adjust,st,buy_limit,sell_limit\n";

pub(crate) fn symbol(code: u32) -> Symbol {
    Symbol::new(Exchange::SZ, code).unwrap()
}

/// `rows` good rows of one security from its `first` session on; `shift` makes other prices of the same rows.
pub(crate) fn rows(code: u32, first: usize, rows: usize, shift: u32) -> String {
    let calendar = Calendar::published();
    let from = "2019-01-02".parse().unwrap();
    let mut text = String::new();
    for (at, day) in calendar.sessions(from, calendar.last()).enumerate().skip(first).take(rows) {
        let price = 10.0 + f64::from(u32::try_from(at % 50).unwrap()) / 100.0 + f64::from(shift) / 10.0;
        let amount = price * 1000.0;
        let symbol = symbol(code).get();
        writeln!(text, "{symbol},{day},{price:.2},{price:.2},{price:.2},{price:.2},1000,{amount:.2},,,,")
            .unwrap();
    }
    text
}

/// What came onto the stream, and what is stored beside it.
#[derive(Default)]
pub(crate) struct World<R> {
    pub(crate) stream: Vec<(String, R)>,
    pub(crate) letters: Vec<(String, Refusal)>,
    pub(crate) cursors: Cursors,
    pub(crate) transactions: u64,
}

/// What goes wrong, each one in so many; 0 never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// A transaction that is not done.
    pub(crate) refused: u64,
    /// A transaction that is done and whose reply is lost.
    pub(crate) lost: u64,
    /// The process is killed.
    pub(crate) killed: u64,
    /// A read that is dropped while it waits.
    pub(crate) dropped: u64,
}

impl<R: Record> World<R> {
    pub(crate) fn new() -> World<R> {
        World { stream: Vec::new(), letters: Vec::new(), cursors: Cursors::default(), transactions: 0 }
    }

    pub(crate) fn take(&mut self, chunk: sqep::Chunk<R>) {
        let totals = &mut self.cursors.totals;
        let mut new = Totals { read: chunk.read(), skipped: chunk.skipped.clone(), ..Totals::default() };
        new.warned.clone_from(&chunk.warned);
        new.appended = u64::try_from(chunk.records.len()).unwrap();
        for refusal in &chunk.refused {
            *new.refused.entry(refusal.findings[0].reason).or_default() += refusal.rows;
        }
        totals.add(&new);
        self.stream.extend(chunk.records.into_iter().map(|record| (chunk.origin.to_string(), record)));
        self.letters.extend(chunk.refused.into_iter().map(|refusal| (chunk.origin.to_string(), refusal)));
        for (name, value) in chunk.cursor {
            match value {
                Some(value) => drop(self.cursors.fields.insert(name, value)),
                None => drop(self.cursors.fields.remove(&name)),
            }
        }
        self.cursors.stamp.seq += 1;
    }

    /// The records as a sink holds them: the last of each key.
    pub(crate) fn current(&self) -> BTreeMap<(Symbol, i64), R> {
        self.stream.iter().map(|(_, record)| (record.key(), *record)).collect()
    }

    /// Whether all counts of the ledger add up to what was published.
    pub(crate) fn assert_balanced(&self) {
        let totals = &self.cursors.totals;
        assert!(totals.balances(), "{totals:?}");
        assert_eq!(totals.appended, u64::try_from(self.stream.len()).unwrap());
        let (ledger, unread) = sqep_csv::ledger::Ledger::read(&self.cursors);
        assert!(unread.is_empty());
        for (key, entry) in ledger.iter() {
            assert!(entry.totals.balances(), "{key}: {entry:?}");
        }
    }
}

/// What one run of the program did.
pub(crate) struct Run {
    pub(crate) summary: Summary,
    pub(crate) lines: String,
}

/// A place to write to that can be read afterwards.
#[derive(Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Paper {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// The settings of a test: small blocks, two threads.
pub(crate) fn settings(paths: &[&Path]) -> CsvSettings {
    CsvSettings {
        paths: paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect(),
        rows_block_max: 7,
        max_workers: 3,
        ..CsvSettings::default()
    }
}

pub(crate) fn plan(settings: &CsvSettings, kind: Kind, watch: bool) -> Plan {
    Plan::new(settings, SymbolSettings::default(), kind, Arc::new(Calendar::published()), watch).unwrap()
}

/// One process: a source from its start.
pub(crate) fn source<R: Enrich>(
    settings: &CsvSettings,
    kind: Kind,
    watch: bool,
) -> (CsvSource<R>, Arc<Report>, Paper) {
    let paper = Paper::default();
    let report = Arc::new(Report::new(Box::new(paper.clone()), false));
    (CsvSource::new(plan(settings, kind, watch), Arc::clone(&report)).unwrap(), report, paper)
}

/// Runs to the end without any fault.
pub(crate) async fn run(world: &mut World<DayBar>, settings: &CsvSettings) -> Run {
    run_kind(world, settings, Kind::BarDay, Faults::default(), &mut Dice::new(1)).await
}

/// Runs to the end, as many processes and openings as that takes.
pub(crate) async fn run_kind<R: Enrich>(
    world: &mut World<R>,
    settings: &CsvSettings,
    kind: Kind,
    faults: Faults,
    dice: &mut Dice,
) -> Run {
    'process: loop {
        let (mut source, report, paper) = source::<R>(settings, kind, false);
        'open: loop {
            source.open(&world.cursors.clone()).await.unwrap();
            loop {
                if faults.dropped > 0 && dice.one_in(faults.dropped) {
                    // Polled once and dropped: what it had in hand must not be lost.
                    tokio::select! {
                        biased;
                        chunk = source.read() => match chunk.unwrap() {
                            Some(chunk) if chunk.is_empty() => {}
                            Some(chunk) => world.take(chunk),
                            None => break 'open,
                        },
                        () = std::future::ready(()) => {}
                    }
                    continue;
                }
                let Some(chunk) = source.read().await.unwrap() else { break 'open };
                if chunk.is_empty() {
                    continue;
                }
                world.transactions += 1;
                if faults.refused > 0 && dice.one_in(faults.refused) {
                    continue 'open;
                }
                world.take(chunk);
                if faults.killed > 0 && dice.one_in(faults.killed) {
                    continue 'process;
                }
                if faults.lost > 0 && dice.one_in(faults.lost) {
                    continue 'open;
                }
            }
        }
        world.assert_balanced();
        return Run { summary: report.summary(), lines: paper.text() };
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

pub(crate) fn append(path: &Path, text: &str) {
    std::fs::File::options().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// The key of a file in the ledger.
pub(crate) fn key(path: &Path) -> String {
    let folder = path.parent().unwrap().canonicalize().unwrap();
    folder.join(path.file_name().unwrap()).to_str().unwrap().to_owned()
}

pub(crate) fn gzip(path: &Path, text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    let bytes = packer.finish().unwrap();
    std::fs::write(path, &bytes).unwrap();
    bytes
}

pub(crate) fn folder_with(files: &[(&str, String)]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let paths = files.iter().map(|(name, text)| {
        let path = folder.path().join(name);
        write(&path, text);
        path
    });
    let paths = paths.collect();
    (folder, paths)
}
