//! The real loops over a simulated server and sink that fail before and after taking effect, from a seed.
//!
//! `SQEP_SIM_SEEDS` sets how many seeds are tried, `SQEP_SIM_SEED` runs a single one.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::Rng;
use sqep::{
    Calendar, Kind, Reason,
    codec::Encoding,
    deliver::{Account, Deliverer, resume},
    marks::{Asker, MarkError, Start},
    publish::Publisher,
};
use sqep_testkit::sim::{FakeInlet, FakeOutlet, Faults, Feed, Script, Shared, StoreSink};
use tokio_util::sync::CancellationToken;

/// No simulation needs more simulated time than this.
const TIME_MAX: Duration = Duration::from_secs(1_000_000);

struct Simulation {
    world: Shared,
    script: Script,
    /// What an archive holds that the group is given first.
    past: Option<Script>,
    calendar: Arc<Calendar>,
    batch: usize,
    chunk: usize,
    crash: Duration,
}

impl Simulation {
    fn new(seed: u64, calendar: &Arc<Calendar>) -> Simulation {
        let world = Shared::new(seed, Faults::default());
        let (rows, faults, batch, chunk, crash, past) = {
            let rng = &mut world.lock().rng;
            let mut rate = |max: u32| if rng.random() { rng.random_range(0..=max) } else { 0 };
            let faults = Faults {
                step: rate(120),
                sink: rate(200),
                pause: rate(30),
                flush: rate(8),
                failover: rate(15),
                garbage: rate(20),
                emptied: rate(400),
            };
            let crash = Duration::from_millis([0, 40, 3_600_000][rng.random_range(0..3)]);
            let past = (rng.random_range(0..3) == 0).then(|| rng.random_range(1..80));
            (rng.random_range(1..120), faults, rng.random_range(1..40), rng.random_range(1..12), crash, past)
        };
        world.lock().faults = faults;
        Simulation {
            world,
            script: Script::new(seed, rows),
            past: past.map(|rows| Script::new(!seed, rows)),
            calendar: Arc::clone(calendar),
            batch,
            chunk,
            crash,
        }
    }

    fn publisher(&self, source: &str, chunk: usize) -> Publisher {
        Publisher {
            kind: Kind::BarDay,
            source: source.to_owned(),
            writer: self.world.lock().rng.random::<u64>().to_string(),
            encoding: Encoding::Csv,
            partitions: 1,
            records_max: 1 + chunk * 2,
            calendar: Arc::clone(&self.calendar),
            patience: None,
            meter: Arc::default(),
        }
    }

    async fn publish(&self, chunk: usize, stop: &CancellationToken) {
        let mut source = Feed::new(self.script.clone(), chunk);
        let mut outlet = FakeOutlet::new(self.world.clone(), "feed");
        let totals = self
            .publisher("feed", chunk)
            .run(&mut source, &mut outlet, stop, |_| ())
            .await
            .expect("publishes");
        assert!(totals.balances(), "{totals:?}");
        self.all_published(stop);
    }

    /// Gives the group its past, as `sqep replay` does: begins, or goes on where it was.
    async fn replay(&self, stop: &CancellationToken) {
        let Some(past) = &self.past else { return };
        self.world.lock().server.begin_past();
        let mut source = Feed::of_the_past(past.clone(), self.chunk);
        let mut outlet = FakeOutlet::of_the_past(self.world.clone());
        // An error: the server has forgotten the past meanwhile. Whoever misses it begins again.
        drop(self.publisher("past", self.chunk).run(&mut source, &mut outlet, stop, |_| ()).await);
    }

    /// A source that has ended is on the stream to its last row, if the server kept what it was given.
    fn all_published(&self, stop: &CancellationToken) {
        let mut world = self.world.lock();
        let (bars, refused, skipped) = self.script.counts();
        let rows = (bars + refused + skipped).to_string();
        let keeps = world.faults.flush == 0 && world.faults.failover == 0;
        if keeps && !stop.is_cancelled() && world.server.cursors().fields.get("rows") != Some(&rows) {
            world.broken.push("the publisher ended before its source was on the stream".to_owned());
        }
    }

    /// Delivers; where the loop stops with a word on marks, does what the operator would.
    async fn deliver(&self, reader: u64, once: bool, stop: &CancellationToken) {
        let deliverer = Deliverer {
            kind: Kind::BarDay,
            partition: 0,
            asker: Asker {
                group: "store".to_owned(),
                stream: "stream".to_owned(),
                start: Some(if self.past.is_some() { Start::Archive } else { Start::Earliest }),
                crash: self.crash,
            },
            once,
            never_records_max: 1_000,
            calendar: Arc::clone(&self.calendar),
            patience: None,
            meter: Arc::default(),
        };
        let mut sink = StoreSink::new(self.world.clone(), self.script.poison(), self.batch, reader);
        let mut inlet = FakeInlet::new(self.world.clone(), reader, self.batch);
        loop {
            match deliverer.run(&mut sink, &mut inlet, stop).await {
                Ok(account) => {
                    balanced(&account);
                    return self.nothing_left(once && !stop.is_cancelled());
                }
                Err(error) => match error.downcast_ref() {
                    Some(MarkError::NoArchive { .. } | MarkError::ReplayGone { .. }) => {
                        self.replay(stop).await;
                    }
                    Some(MarkError::PastLost { .. }) => {
                        self.world.lock().server.retire();
                        self.replay(stop).await;
                    }
                    Some(_) => while resume(0, &mut sink, &mut inlet).await.is_err() {},
                    None => panic!("the loop gave up: {error:#}"),
                },
            }
        }
    }

    /// A run that came to its end has settled all it was handed, also what was published while it wrote.
    fn nothing_left(&self, ended: bool) {
        let mut world = self.world.lock();
        let pending = world.server.pending();
        if ended && pending > 0 {
            world.broken.push(format!("a reader ended and left {pending} entries pending"));
        }
    }

    /// Runs that end, one after another, as a timer starts them.
    async fn deliver_by_timer(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.deliver(1, true, stop).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A daemon that dies at any moment and is started again.
    async fn deliver_and_die(&self, stop: &CancellationToken) {
        let mut deaths = self.world.lock().rng.random_range(0..6u32);
        loop {
            let life = Duration::from_millis(self.world.lock().rng.random_range(1..3_000));
            let ended = tokio::time::timeout(life, self.deliver(1, false, stop)).await.is_ok();
            deaths = deaths.saturating_sub(1);
            if ended || deaths == 0 {
                return;
            }
        }
    }

    /// Everything at once: twin producers, two readers of one group, readers that die at any moment.
    async fn storm(&self) {
        let stop = CancellationToken::new();
        let by_timer = self.world.lock().rng.random_range(0..4) == 0;
        let read = async {
            if by_timer {
                self.deliver_by_timer(&stop).await;
            } else {
                tokio::join!(self.deliver_and_die(&stop), self.deliver(2, false, &stop));
            }
        };
        let publish = async {
            let twin = self.world.lock().rng.random::<bool>();
            // A twin that cuts its chunks otherwise: where one stops is never where the other does.
            let other = async {
                if twin {
                    self.publish(self.chunk + 2, &stop).await;
                }
            };
            tokio::join!(self.publish(self.chunk, &stop), other);
            let rest = Duration::from_millis(self.world.lock().rng.random_range(0..2_000));
            tokio::time::sleep(rest).await;
            stop.cancel();
        };
        tokio::join!(self.replay(&stop), publish, read);
    }

    /// The weather clears; what was lost with the server is published again, and everything is delivered.
    async fn calm(&self) {
        self.world.lock().faults = Faults::default();
        let stop = CancellationToken::new();
        self.publish(self.chunk, &stop).await;
        if self.world.lock().server.awaits_past() {
            self.replay(&stop).await;
        }
        self.deliver(3, true, &stop).await;
    }

    fn verify(&self) -> Vec<String> {
        let world = self.world.lock();
        let mut broken = world.broken.clone();
        let mut promise = |kept: bool, what: String| {
            if !kept {
                broken.push(what);
            }
        };
        // Whatever the stream holds is newer than the past.
        let mut expected = self.past.as_ref().map(Script::expected).unwrap_or_default();
        expected.extend(self.script.expected());
        let current = world.store.current();
        promise(
            current == expected,
            format!("sink holds {} keys, expected {}", current.len(), expected.len()),
        );
        for (key, bar) in &expected {
            promise(
                current.get(key) == Some(bar),
                format!("{key:?} is {:?}, expected {bar:?}", current.get(key)),
            );
        }
        promise(world.server.pending() == 0, format!("{} entries stay pending", world.server.pending()));
        let whole = world.store.mark().is_some_and(|mark| world.server.is_whole(mark));
        promise(whole, format!("the mark {:?} is not at the end of the stream", world.store.mark()));
        let letters = world.server.dead();
        for id in world.server.unreadable_without_letter() {
            // A reader that was the first to bury it may have lost the letter with the server; then it read it again.
            promise(false, format!("unreadable entry {id} has no letter"));
        }
        let poison = sqep::Symbol::from_i32(self.script.poison().0).expect("symbol").to_string();
        for letter in letters {
            for refusal in &letter.refusals {
                let reason = refusal.findings.first().map(|finding| finding.reason);
                let known =
                    matches!(reason, Some(Reason::PriceMissing | Reason::Undecodable | Reason::EntryEmpty))
                        || (reason == Some(Reason::SinkNever) && refusal.symbol == poison);
                promise(known, format!("buried without need: {refusal:?}"));
            }
        }
        self.verify_totals(&world.server.cursors().totals, letters, &mut promise);
        broken
    }

    fn verify_totals(
        &self,
        totals: &sqep::Totals,
        letters: &[sqep::letter::Letter],
        promise: &mut impl FnMut(bool, String),
    ) {
        let (bars, refused, skipped) = self.script.counts();
        let count = |n: usize| u64::try_from(n).expect("small");
        promise(totals.balances(), format!("read is not appended + refused + skipped: {totals:?}"));
        promise(
            totals.appended == count(bars),
            format!("{} appended, the source has {bars}", totals.appended),
        );
        promise(totals.refused() == count(refused), format!("{} refused of {refused}", totals.refused()));
        promise(totals.skipped() == count(skipped), format!("{} skipped of {skipped}", totals.skipped()));
        let by_source =
            letters.iter().filter(|letter| letter.name == "feed").flat_map(|letter| &letter.refusals);
        let rows: BTreeSet<u64> = by_source.map(|refusal| refusal.row).collect();
        promise(
            rows.len() == refused,
            format!("{} rows in the source's letters, refused {refused}", rows.len()),
        );
    }
}

fn balanced(account: &Account) {
    assert!(account.balances(), "fetched is not written + buried: {account:?}");
}

fn run(seed: u64, calendar: &Arc<Calendar>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let simulation = Simulation::new(seed, calendar);
        let all = async {
            simulation.storm().await;
            simulation.calm().await;
        };
        match tokio::time::timeout(TIME_MAX, all).await {
            Ok(()) => simulation.verify(),
            Err(_) => vec!["the loops never came to an end".to_owned()],
        }
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}

#[test]
fn no_bar_is_lost_or_doubled_whatever_fails() {
    let calendar = Arc::new(Calendar::published());
    let seeds = match number("SQEP_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SQEP_SIM_SEEDS").unwrap_or(2_000),
    };
    for seed in seeds {
        let broken = run(seed, &calendar);
        assert!(
            broken.is_empty(),
            "seed {seed}: {}",
            broken.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
        );
    }
}
