//! A source and a fake service that look at the same clock, which a test moves.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::NaiveDateTime;
use sqep::{Calendar, Chunk, Cursors, Kind, Source};
use sqep_testkit::tushare::{FakeTushare, Faults, TOKEN, World};
use sqep_tushare::{
    client::{Client, ClientSettings, Clock},
    config::{AliasChoice, FetchSettings},
    desk::Desk,
    gaps::Gaps,
    job::Feed,
    source::{Errand, TushareSource},
    tables::Tables,
};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a source waits before it looks again.
const LOOK_MAX: Duration = Duration::from_millis(50);

/// A service and a program that look at the same clock.
pub(crate) struct Office {
    pub(crate) fake: FakeTushare,
    pub(crate) now: Arc<Mutex<NaiveDateTime>>,
    pub(crate) folder: TempDir,
}

pub(crate) fn at(text: &str) -> NaiveDateTime {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap()
}

impl Office {
    pub(crate) async fn open(world: World, now: &str) -> Office {
        let fake = FakeTushare::start(world, Faults::default()).await.unwrap();
        let office =
            Office { fake, now: Arc::new(Mutex::new(at(now))), folder: tempfile::tempdir().unwrap() };
        office.set(at(now));
        office
    }

    pub(crate) fn set(&self, now: NaiveDateTime) {
        *self.now.lock().unwrap() = now;
        self.fake.set_now(now);
    }

    pub(crate) fn source<R: Feed>(&self, kind: Kind, errand: Errand) -> TushareSource<R> {
        let settings = FetchSettings { retry_s: 1, ..FetchSettings::default() };
        self.source_with(kind, errand, settings)
    }

    pub(crate) fn source_with<R: Feed>(
        &self,
        kind: Kind,
        errand: Errand,
        fetch: FetchSettings,
    ) -> TushareSource<R> {
        let settings = ClientSettings {
            base_url: self.fake.url(),
            token: vec![TOKEN.into()],
            points: 15_000,
            minute_ms: 20,
            rate_refusals_max: 2,
            pause_first_ms: 1,
            pause_ms_max: 4,
            cache_dir: "".into(),
            ..ClientSettings::default()
        };
        let now = Arc::clone(&self.now);
        let clock: Clock = Arc::new(move || *now.lock().unwrap());
        let client = Client::by_clock(settings, clock, CancellationToken::new()).unwrap();
        let tables = Tables::new(client, AliasChoice::Current);
        let desk = Desk {
            kind,
            tables,
            settings: fetch,
            calendar: Arc::new(Calendar::published()),
            gaps: Gaps::new(self.folder.path(), "sqep", kind),
            minute_rows_max: 8_000,
            live_rows_max: 1_000,
            look_max: LOOK_MAX,
        };
        TushareSource::new(Arc::new(desk), errand)
    }

    /// A daemon, as after a start with nothing published yet but by its clock of that day.
    pub(crate) async fn daemon<R: Feed>(&self, kind: Kind) -> Daemon<R> {
        let mut source = self.source(kind, Errand::Daemon);
        source.open(&Cursors::default()).await.unwrap();
        Daemon { source }
    }
}

/// The next rows of a source; `None`: it has looked by the clock of now and rests. However busy the machine is, this takes
/// longer than the pause between two looks.
pub(crate) async fn before_rest<R: Feed>(source: &mut TushareSource<R>) -> Option<Chunk<R>> {
    loop {
        match timeout(5 * LOOK_MAX, source.read()).await {
            Ok(chunk) => return chunk.unwrap(),
            Err(_) if source.rests() => return None,
            Err(_) => {}
        }
    }
}

/// A daemon that is read until it rests.
pub(crate) struct Daemon<R> {
    pub(crate) source: TushareSource<R>,
}

impl<R: Feed> Daemon<R> {
    /// What it hands over by now, by day.
    pub(crate) async fn by_now(&mut self) -> Vec<Chunk<R>> {
        let mut chunks = Vec::new();
        while let Some(chunk) = before_rest(&mut self.source).await {
            if !chunk.is_empty() {
                chunks.push(chunk);
            }
        }
        chunks
    }

    pub(crate) async fn rows(&mut self) -> Vec<R> {
        self.by_now().await.into_iter().flat_map(|chunk| chunk.records).collect()
    }
}
