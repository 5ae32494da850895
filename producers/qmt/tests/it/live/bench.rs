//! The source between an agent and a stream: what came onto it, and what is stored beside it. Must not know what a test
//! expects.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::NaiveDateTime;
use sqep::{Calendar, Cursors, Kind, MinuteBar, Source, Symbol, kind::Grid, meter::Meters};
use sqep_qmt::{
    clock::Clock,
    config::{AgentSettings, AliasChoice, QmtSettings},
    live::{LivePlan, LiveSource},
    protocol::From,
};
use tokio::{sync::mpsc, time::timeout};

use super::pc::{CODES, Pc, row};
use crate::common::at;

/// What came onto the stream, and what is stored beside it.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) stream: Vec<MinuteBar>,
    pub(crate) cursors: Cursors,
}

impl World {
    pub(crate) async fn read(&mut self, source: &mut LiveSource<MinuteBar>) {
        assert!(self.goes_on(source).await, "the source is at its end");
    }

    /// Reads what is at hand; `false`: the source has said that nothing more will come.
    pub(crate) async fn goes_on(&mut self, source: &mut LiveSource<MinuteBar>) -> bool {
        // A source with nothing at hand waits; the clock is ours, so that a moment is enough.
        while let Ok(chunk) = timeout(Duration::from_millis(1), source.read()).await {
            let Some(chunk) = chunk.unwrap() else { return false };
            if chunk.is_empty() {
                continue;
            }
            let totals = &mut self.cursors.totals;
            totals.read += chunk.read();
            totals.appended += u64::try_from(chunk.records.len()).unwrap();
            chunk.refused.iter().for_each(|refusal| refusal.count(&mut totals.refused));
            for (&reason, &count) in &chunk.skipped {
                *totals.skipped.entry(reason).or_default() += count;
            }
            self.stream.extend(chunk.records);
            for (name, value) in chunk.cursor {
                self.cursors.fields.insert(name, value.unwrap());
            }
        }
        true
    }
}

pub(crate) fn plan(now: &Arc<Mutex<NaiveDateTime>>) -> LivePlan {
    let shown = Arc::clone(now);
    LivePlan {
        settings: QmtSettings::default(),
        agent: AgentSettings { request_codes_max: 3, ..AgentSettings::default() },
        alias: AliasChoice::Current,
        kind: Kind::BarMinute(Grid::M1),
        calendar: Arc::new(Calendar::published()),
        once: false,
        meters: Meters::default(),
        clock: Clock::new(move || *shown.lock().unwrap()),
        desk: None,
    }
}

/// A day of one restart at a time, without faults, and what an agent's history says may be changed.
pub(crate) struct Bench {
    pub(crate) pc: Pc,
    pub(crate) source: LiveSource<MinuteBar>,
    pub(crate) world: World,
}

impl Bench {
    pub(crate) async fn new(start: &str, settings: QmtSettings) -> Bench {
        let (mut pc, happened) = Pc::new(7, start);
        pc.busy = u64::MAX;
        let plan = LivePlan { settings, ..plan(&pc.now) };
        let mut bench =
            Bench { source: LiveSource::new(plan, happened).unwrap(), pc, world: World::default() };
        bench.source.open(&bench.world.cursors.clone()).await.unwrap();
        bench.pc.come().await;
        bench.settle().await;
        bench
    }

    /// The process ends, and another takes up at what is stored.
    pub(crate) async fn restart(&mut self, settings: QmtSettings) {
        let (events, happened) = mpsc::channel(100_000);
        (self.pc.events, self.pc.said) = (events, None);
        self.source = LiveSource::new(LivePlan { settings, ..plan(&self.pc.now) }, happened).unwrap();
        self.source.open(&self.world.cursors.clone()).await.unwrap();
        self.pc.come().await;
    }

    pub(crate) async fn settle(&mut self) {
        for _ in 0..4 {
            self.world.read(&mut self.source).await;
            self.pc.answer().await;
        }
        self.world.read(&mut self.source).await;
    }

    pub(crate) fn bars(&self, code: usize, wall: &str) -> Vec<f64> {
        let (symbol, wall): (Symbol, _) =
            (CODES[code].parse().unwrap(), at(&format!("2025-01-02T{wall}:00")));
        let bars = self.world.stream.iter().filter(|bar| bar.symbol == symbol && bar.frame == wall);
        bars.map(|bar| bar.vol / 100.0).collect()
    }

    pub(crate) async fn push(&mut self, code: usize, wall: &str, pushes: u32) {
        let wall = at(&format!("2025-01-02T{wall}:00"));
        self.pc.push(code, From::Live, None, vec![row(code, wall, pushes)]).await;
    }
}

pub(crate) fn whole(code: usize, wall: &str) -> f64 {
    row(code, at(&format!("2025-01-02T{wall}:00")), 20).volume.unwrap()
}
