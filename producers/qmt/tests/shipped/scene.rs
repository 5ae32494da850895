//! The agent against the source, until the bars of some minutes are there.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chrono::TimeDelta;
use sqep::{Calendar, Cursors, Kind, MinuteBar, Record, Source, kind::Grid, meter::Meters, shanghai};
use sqep_qmt::{
    clock::Clock,
    config::{AgentSettings, AliasChoice, QmtSettings},
    listen::{Event, listen},
    live::{LivePlan, LiveSource},
    protocol::{Beat, From, Message},
    secret::Token,
    session::Door,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    common::at,
    standin::{Agent, CODES, RUN, SPEED, START, TOKEN, shipped, wanted},
};

/// What runs, and beside what.
pub(crate) struct Scene<'a> {
    pub(crate) script: &'a str,
    /// How often the agent is killed.
    pub(crate) kills: usize,
    /// Minutes that must come of each.
    pub(crate) minutes: i64,
    pub(crate) codes: &'a [u32],
    pub(crate) more: &'a [&'a str],
    pub(crate) habits: &'a [(&'a str, &'a str)],
    /// Seconds of the market without a bar after which everything is subscribed and asked for again. As long as a day:
    /// nothing but what the agent sends by itself brings a bar.
    pub(crate) stale_s_max: u64,
    pub(crate) tls: Option<TlsAcceptor>,
    /// How often an agent may come.
    pub(crate) comes: usize,
    /// Minutes from the start whose bars may go out more than once: their last version counts.
    pub(crate) again: i64,
}

pub(crate) const SCENE: Scene<'_> = Scene {
    script: RUN,
    kills: 0,
    minutes: 5,
    codes: &CODES,
    more: &[],
    habits: &[],
    stale_s_max: 86_400,
    tls: None,
    comes: 1,
    again: 0,
};

/// What agents did by themselves.
#[derive(Debug, Default)]
struct Seen {
    came: AtomicUsize,
    /// Heartbeats that told of a whole look.
    looks: AtomicUsize,
    /// Time of the newest row that was not asked for.
    newest_ms: AtomicI64,
}

/// Passes on what happens, and remembers it.
fn watched(mut events: mpsc::Receiver<Event>) -> (mpsc::Receiver<Event>, Arc<Seen>) {
    let ((tell, told), seen) = (mpsc::channel(1_000), Arc::new(Seen::default()));
    let sees = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            sees.came.fetch_add(usize::from(matches!(event, Event::Came(_))), Ordering::Relaxed);
            if let Event::Said { message: Message::Beat(Beat { swept: Some(_), .. }), .. } = &event {
                sees.looks.fetch_add(1, Ordering::Relaxed);
            }
            if let Event::Said { message: Message::Bars(bars), .. } = &event
                && bars.src == From::Live
            {
                let newest = bars.rows.good.iter().map(|row| row.time).max().unwrap_or(0);
                sees.newest_ms.fetch_max(newest, Ordering::Relaxed);
            }
            if tell.send(event).await.is_err() {
                return;
            }
        }
    });
    (told, seen)
}

/// Runs the market until all bars of the first minutes are there, and holds each to its final values.
pub(crate) async fn play(scene: Scene<'_>) {
    let Scene { minutes, codes, again, .. } = scene;
    let mut bars = watch(scene).await;
    let until = at(START) + TimeDelta::minutes(again);
    let last: BTreeMap<_, MinuteBar> = bars.iter().map(|bar| (bar.key(), *bar)).collect();
    bars.retain(|bar| bar.frame > until);
    bars.extend(last.into_values().filter(|bar| bar.frame <= until));
    assert_whole(&bars, codes, minutes);
}

/// Runs the market until all bars of the first minutes are there; returns them as they were published.
pub(crate) async fn watch(scene: Scene<'_>) -> Vec<MinuteBar> {
    let Scene { script, kills, minutes, codes, more, habits, stale_s_max, tls, comes, again: _ } = scene;
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let door = Door { token: Token::from(TOKEN), unit: None };
    let began = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "the stand-in's clock begins where ours does")]
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let clock =
        Clock::new(move || at(START) + TimeDelta::from_std(began.elapsed() * SPEED.cast_unsigned()).unwrap());
    let plan = LivePlan {
        settings: QmtSettings::default(),
        agent: AgentSettings { stale_s_max, ..AgentSettings::default() },
        alias: AliasChoice::Current,
        kind: Kind::BarMinute(Grid::M1),
        calendar: Arc::new(Calendar::published()),
        once: false,
        meters: Meters::default(),
        clock,
        desk: None,
    };
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let (events, seen) = watched(listen(listener, door, AgentSettings::default(), tls, stop));
    let mut source = LiveSource::<MinuteBar>::new(plan, events).unwrap();
    source.open(&Cursors::default()).await.unwrap();
    let start = || Agent(shipped(script, &address, folder.path(), epoch, more, habits).spawn().unwrap());
    let mut running = Some(start());
    let (mut bars, mut killed, last) = (Vec::new(), 0, at(START) + TimeDelta::minutes(minutes));
    let all = async {
        while !codes.iter().all(|&code| {
            bars.iter().any(|bar: &MinuteBar| bar.symbol.code().cast_unsigned() == code && bar.frame >= last)
        }) {
            if let Ok(chunk) = timeout(Duration::from_millis(100), source.read()).await {
                bars.extend(chunk.unwrap().unwrap().records);
            }
            if killed < kills && bars.len() >= (killed + 1) * 3 {
                killed += 1;
                drop(running.take());
                running = Some(start());
            }
            if running.as_mut().unwrap().0.try_wait().unwrap().is_some() {
                // Whoever supervises it starts it again.
                running = Some(start());
            }
        }
    };
    timeout(Duration::from_secs(60), all).await.expect("all bars within a minute");
    assert_eq!((killed, seen.came.load(Ordering::Relaxed)), (kills, comes), "killed, came");
    assert!(seen.looks.load(Ordering::Relaxed) > 0, "no look at all was whole");
    let newest = shanghai::wall(seen.newest_ms.load(Ordering::Relaxed)).unwrap();
    assert!(newest >= last, "the last row that came by itself is of {newest}");
    bars
}

fn assert_whole(bars: &[MinuteBar], codes: &[u32], minutes: i64) {
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    for bar in bars {
        *seen.entry(bar.key()).or_default() += 1;
        let (lots, price) = wanted(bar.symbol.code().cast_unsigned(), bar.frame);
        assert!(
            (bar.vol - lots * 100.0).abs() < 0.5 && (bar.close - price).abs() < 1e-9,
            "final values: {bar:?} {lots} {price}"
        );
    }
    assert!(seen.values().all(|&count| count == 1), "each key once: {seen:?}");
    for &code in codes {
        let frames: Vec<String> = bars
            .iter()
            .filter(|bar| bar.symbol.code().cast_unsigned() == code)
            .map(|bar| bar.frame.format("%H:%M").to_string())
            .collect();
        for minute in 1..=minutes {
            let wanted = (at("2025-01-02T09:29:00") + TimeDelta::minutes(minute)).format("%H:%M").to_string();
            assert!(frames.contains(&wanted), "{code} {wanted} in {frames:?}");
        }
    }
}
