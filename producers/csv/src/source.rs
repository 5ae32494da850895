//! Files as a source: read by several threads, handed over in the order of the input.
//!
//! Knows order, the ledger and when there is nothing more; must not know how a row is written nor where it goes.
//! Memory: at most `max_workers` + `AHEAD_FILES` files are begun, each holding at most `PIECES_MAX` pieces that
//! wait and two in the hands of its thread, whatever the size and the number of the files.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use sqep::{Chunk, Cursors, Source, Totals, app::Usage};
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    time::{Instant, timeout},
};

use crate::{
    enrich::{Enrich, MONTH_PREFIX},
    ledger::{Entry, Ledger, Stamp},
    plan::{Plan, Scan},
    pool::Pool,
    report::{Examples, FileLine, Outcome, Report},
    watch::Watch,
    work::{Bench, End, Piece, Rows, Task},
};

/// Files begun beyond one a thread, so that no thread waits for its turn to come.
const AHEAD_FILES: usize = 2;

/// Pieces of one file that wait to be handed over.
const PIECES_MAX: usize = 2;

/// How long the threads are waited for before what was gathered is published without them.
const PATIENCE: Duration = Duration::from_millis(50);

/// How often the screen says how far the judging of a large file is.
const SHOWN: Duration = Duration::from_millis(250);

/// A daemon tries a file that could not be read again when it changes, and every so often without a change.
const RETRY: Duration = Duration::from_secs(600);

/// Bars from CSV files.
#[derive(Debug)]
pub struct CsvSource<R> {
    plan: Arc<Plan>,
    bench: Arc<Bench>,
    report: Arc<Report>,
    pool: Pool,
    workers: usize,
    /// What was handed over, not only what is stored.
    ledger: Ledger,
    /// Pass and counts of each file when it was first met or last reported.
    reported: BTreeMap<String, (u64, Totals)>,
    /// Files reported as published, and their pass: read again after a conflict, they are not news.
    listed: BTreeMap<String, u64>,
    ended: bool,
    /// With `--force`: the pass of each file that this process found.
    forced: Option<BTreeMap<String, u64>>,
    scan: Arc<Scan>,
    waiting: VecDeque<Task>,
    begun: VecDeque<Begun<R>>,
    told: BTreeSet<String>,
    failed: BTreeMap<String, String>,
    retried: Instant,
    looked: BTreeMap<String, Stamp>,
    watch: Option<Watch>,
    idle: bool,
    due: bool,
}

/// A file in the hands of a thread.
#[derive(Debug)]
struct Begun<R> {
    key: String,
    /// Bytes shown as done so far.
    bytes: u64,
    size: u64,
    /// Bytes read in the pass at work.
    consumed: Arc<AtomicU64>,
    pieces: mpsc::Receiver<Piece<R>>,
}

/// What the file in front has.
enum Front<R> {
    Piece(Piece<R>),
    NotYet,
    Died,
}

impl<R: Enrich> CsvSource<R> {
    /// A source by `plan` that tells `report` what becomes of each file.
    pub fn new(plan: Plan, report: Arc<Report>) -> anyhow::Result<CsvSource<R>> {
        let workers = plan.workers();
        let pool = Pool::new(workers).context("cannot start the reading threads")?;
        // The watch begins before the first look, so that nothing comes between them unseen.
        let watch = plan.pace.map(|pace| Watch::new(plan.roots(), pace));
        Ok(CsvSource {
            bench: Arc::new(plan.bench()),
            forced: None,
            plan: Arc::new(plan),
            report,
            pool,
            workers,
            ledger: Ledger::default(),
            reported: BTreeMap::new(),
            listed: BTreeMap::new(),
            ended: false,
            scan: Arc::default(),
            waiting: VecDeque::new(),
            begun: VecDeque::new(),
            told: BTreeSet::new(),
            failed: BTreeMap::new(),
            retried: Instant::now(),
            looked: BTreeMap::new(),
            watch,
            idle: false,
            due: false,
        })
    }

    /// Whether everything there was to read was handed over.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Looks at the folders on a thread that may block. Safe to drop while it waits: the look is due until it is taken.
    async fn look(&mut self) -> anyhow::Result<()> {
        let (plan, last) = (Arc::clone(&self.plan), Arc::clone(&self.scan));
        let scan =
            tokio::task::spawn_blocking(move || plan.scan(&last)).await.context("the look was cut off")??;
        if R::JOINED && !scan.side.is_as(&self.scan.side) {
            self.looked.clear();
        }
        self.scan = Arc::new(scan);
        self.tell_missing();
        if self.retried.elapsed() >= RETRY {
            self.retried = Instant::now();
            self.looked.retain(|key, _| !self.failed.contains_key(key));
        }
        let tasks: VecDeque<Task> = self.tasks();
        self.report.expect(tasks.len(), tasks.iter().map(|task| self.scan.size(&task.input.key)).sum());
        self.waiting = tasks;
        self.due = false;
        Ok(())
    }

    fn tell_missing(&mut self) {
        for (name, error) in &self.scan.missing {
            if self.told.insert(error.clone()) {
                self.report.missing(name, error);
            }
        }
    }

    /// Whatever was published with side files is not published again without them.
    fn keep_side_files(&self) -> anyhow::Result<()> {
        let months = self.scan.inputs.iter().any(|(_, month)| month.is_some());
        let wanted = self.scan.inputs.iter().filter_map(|(input, _)| {
            let entry = self.ledger.get(&input.key)?;
            Some((input.key.as_str(), entry))
        });
        let earlier = self.ledger.iter().filter(|(key, _)| months && key.starts_with(MONTH_PREFIX));
        for (key, entry) in wanted.chain(earlier).filter(|_| !self.plan.force) {
            let gone = self.scan.side.lacks(&entry.mapping);
            if !gone.is_empty() {
                return Err(anyhow!(Usage(anyhow!(
                    "{key} was published with the side files of {}, which are not named now: its rows would lose \
                     what they say; name them again, or publish without them by --force",
                    gone.join(" and ")
                ))));
            }
        }
        Ok(())
    }

    /// The files that are not as they were when they were last looked at, in their order.
    fn tasks(&self) -> VecDeque<Task> {
        let scan = &self.scan;
        let same = |key: &str| self.looked.get(key).is_some_and(|stamp| scan.stamp(key) == Some(*stamp));
        scan.inputs
            .iter()
            .filter(|(input, _)| !same(&input.key))
            .map(|(input, month)| Task {
                entry: None,
                forced_pass: self.forced_pass(&input.key),
                input: input.clone(),
                month: *month,
                side: Arc::clone(&scan.side),
                side_stamp: scan.side_stamp,
                consumed: Arc::default(),
            })
            .collect()
    }

    fn forced_pass(&self, key: &str) -> Option<u64> {
        let forced = self.forced.as_ref()?;
        Some(forced.get(key).copied().unwrap_or(0))
    }

    /// Gives files to the threads, in order, as far ahead as memory allows.
    fn begin(&mut self) {
        while self.begun.len() < self.workers + AHEAD_FILES {
            let Some(mut task) = self.waiting.pop_front() else { return };
            let key = task.input.key.clone();
            task.entry = self.ledger.get(&key).cloned();
            self.reported.entry(key.clone()).or_insert_with(|| state(task.entry.as_ref()));
            let (out, pieces) = mpsc::channel(PIECES_MAX);
            let (size, consumed) = (self.scan.size(&key), Arc::clone(&task.consumed));
            self.begun.push_back(Begun { key, bytes: 0, size, consumed, pieces });
            let bench = Arc::clone(&self.bench);
            self.pool.give(move || bench.work(&task, &out));
        }
    }

    /// What the file in front has. Safe to drop while it waits.
    async fn front(begun: &mut Begun<R>, idle: bool) -> Front<R> {
        let piece = match begun.pieces.try_recv() {
            Ok(piece) => return Front::Piece(piece),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                let wait = if idle { SHOWN } else { PATIENCE };
                let Ok(piece) = timeout(wait, begun.pieces.recv()).await else { return Front::NotYet };
                piece
            }
        };
        piece.map_or(Front::Died, Front::Piece)
    }

    /// A large file is silent until all of it was judged.
    fn tell_judging(&self) {
        if let Some(begun) = self.begun.front().filter(|begun| begun.bytes == 0) {
            self.report.judging(&begun.key, begun.consumed.load(Ordering::Relaxed), begun.size);
        }
    }

    fn handed(&mut self, rows: Rows<R>) -> Chunk<R> {
        self.idle = false;
        if let Some(begun) = self.begun.front_mut() {
            self.report.moved(rows.chunk.read(), rows.bytes.saturating_sub(begun.bytes));
            begun.bytes = begun.bytes.max(rows.bytes);
            self.ledger.put(&begun.key, rows.entry);
        }
        rows.chunk
    }

    fn ended(&mut self, end: End) {
        let Some(begun) = self.begun.pop_front() else { return };
        self.report.moved(0, begun.size.saturating_sub(begun.bytes));
        let known = match &end.outcome {
            Outcome::Failed { error } => {
                self.failed.insert(begun.key.clone(), error.clone()).as_ref() == Some(error)
            }
            _ => self.failed.remove(&begun.key).is_some_and(|_| false),
        };
        match end.stamp {
            Some(stamp) => drop(self.looked.insert(begun.key.clone(), stamp)),
            None => drop(self.looked.remove(&begun.key)),
        }
        if !known {
            self.tell(begun.key, end);
        }
    }

    /// Reports what became of a file since it was last reported.
    fn tell(&mut self, key: String, end: End) {
        let (pass, now) = state(self.ledger.get(&key));
        let before = self.reported.insert(key.clone(), (pass, now.clone()));
        let totals = match before {
            Some((same, before)) if same == pass && now.read >= before.read => now.since(&before),
            _ => now,
        };
        let listed = match end.outcome {
            Outcome::Published { .. } => self.listed.insert(key.clone(), pass),
            _ => None,
        };
        if listed == Some(pass) && totals.read == 0 {
            return;
        }
        self.report.ended(&FileLine {
            key,
            dialect: end.dialect,
            outcome: end.outcome,
            totals,
            examples: end.examples,
        });
    }

    fn died(&mut self) {
        let error =
            "the thread that read it came to an untimely end; this is a defect of the program".to_owned();
        let outcome = Outcome::Failed { error };
        self.ended(End { stamp: None, dialect: String::new(), outcome, examples: Examples::default() });
    }
}

fn state(entry: Option<&Entry>) -> (u64, Totals) {
    entry.map(|entry| (entry.pass, entry.totals.clone())).unwrap_or_default()
}

impl<R: Enrich> Source for CsvSource<R> {
    type Record = R;

    async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
        // Dropping the receivers makes the threads let go of what they hold.
        self.begun.clear();
        self.waiting.clear();
        self.pool.clear();
        let (ledger, unread) = Ledger::read(cursors);
        for key in unread {
            tracing::warn!(file = key, "its ledger entry does not read; the file counts as new");
        }
        if self.plan.force && self.forced.is_none() {
            self.forced = Some(ledger.iter().map(|(key, entry)| (key.to_owned(), entry.pass)).collect());
        }
        self.ledger = ledger;
        self.looked.clear();
        (self.idle, self.ended) = (false, false);
        self.look().await?;
        self.keep_side_files()?;
        if self.scan.inputs.is_empty() && self.watch.is_none() {
            let missing = self.scan.missing.first().map_or_else(String::new, |(_, error)| error.clone());
            return Err(anyhow!("there is nothing to read: {missing}"));
        }
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        loop {
            self.begin();
            let Some(begun) = self.begun.front_mut() else {
                if self.watch.is_none() {
                    self.ended = true;
                    return Ok(None);
                }
                if !mem::replace(&mut self.idle, true) {
                    return Ok(Some(Chunk::empty("")));
                }
                if let Some(watch) = self.watch.as_mut().filter(|_| !self.due) {
                    watch.due().await;
                    self.due = true;
                }
                self.look().await?;
                continue;
            };
            match CsvSource::front(begun, self.idle).await {
                Front::Piece(Piece::Rows(rows)) => return Ok(Some(self.handed(*rows))),
                Front::Piece(Piece::End(end)) => self.ended(end),
                Front::Died => self.died(),
                Front::NotYet => {
                    self.tell_judging();
                    if !mem::replace(&mut self.idle, true) {
                        return Ok(Some(Chunk::empty("")));
                    }
                }
            }
        }
    }
}
