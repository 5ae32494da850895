//! Nobody reads, or nothing comes: what waited is not taken for live, and silence is noticed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::TimeDelta;
use sqep::{MinuteBar, Source, meter::render};
use sqep_qmt::{
    live::{LivePlan, LiveSource},
    protocol::{Beat, From, Message, Reply},
};

use super::{
    bench::{World, plan},
    pc::{CODES, Pc, labels, row},
};
use crate::common::at;

#[tokio::test(start_paused = true)]
async fn what_waited_while_nobody_read_is_not_taken_for_live() {
    let (mut pc, happened) = Pc::new(5, "2025-01-02T09:31:30");
    let now = Arc::clone(&pc.now);
    let mut source = LiveSource::<MinuteBar>::new(plan(&now), happened).unwrap();
    let mut world = World::default();
    source.open(&world.cursors.clone()).await.unwrap();
    pc.come().await;
    world.read(&mut source).await;
    // The stream is full: half a minute is pushed, and nobody reads for ten minutes.
    for step in 1..=10 {
        pc.pushes(at("2025-01-02T09:32:00"), step, false, &[]).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    pc.set(at("2025-01-02T09:41:30"));
    world.read(&mut source).await;
    assert!(pc.agent.as_ref().unwrap().is_ended(), "it is let go");
    assert!(world.stream.is_empty(), "half a minute is no bar: {:?}", world.stream);
    pc.go().await;
    pc.come().await;
    for _ in 0..40 {
        world.read(&mut source).await;
        pc.answer().await;
        pc.set(pc.now() + TimeDelta::seconds(10));
    }
    let frames = labels().into_iter().filter(|wall| *wall <= at("2025-01-02T09:41:00"));
    for (code, wall) in frames.flat_map(|wall| (0..CODES.len()).map(move |code| (code, wall))) {
        let found: Vec<f64> = world
            .stream
            .iter()
            .filter(|bar| bar.symbol.to_string() == CODES[code] && bar.frame == wall)
            .map(|bar| bar.vol)
            .collect();
        assert!(
            found.len() == 1 && (found[0] / 100.0 - row(code, wall, 20).volume.unwrap()).abs() < 0.1,
            "{code} {wall} {found:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_with_once_that_was_kept_from_reading_is_not_over_before_all_has_come() {
    let (mut pc, happened) = Pc::new(5, "2025-01-02T09:31:30");
    pc.busy = u64::MAX;
    let plan = LivePlan { once: true, ..plan(&pc.now) };
    let mut source = LiveSource::<MinuteBar>::new(plan, happened).unwrap();
    let mut world = World::default();
    source.open(&world.cursors.clone()).await.unwrap();
    pc.come().await;
    world.read(&mut source).await;
    // Its agents are let go with all that they were asked.
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.read(&mut source).await;
    assert!(pc.agent.as_ref().unwrap().is_ended(), "it is let go");
    pc.go().await;
    world.read(&mut source).await;
    pc.come().await;
    world.read(&mut source).await;
    pc.answer().await;
    assert!(world.goes_on(&mut source).await, "four are asked for three at a time");
    pc.answer().await;
    assert!(!world.goes_on(&mut source).await, "all has come");
    let symbols: BTreeSet<_> = world.stream.iter().map(|bar| bar.symbol).collect();
    assert_eq!(symbols.len(), CODES.len());
}

#[tokio::test(start_paused = true)]
async fn pushes_that_stop_in_silence_are_noticed_in_a_session_and_only_there() {
    for (start, noticed) in [("10:00:00", true), ("12:00:00", false), ("15:10:00", false)] {
        let (mut pc, happened) = Pc::new(5, &format!("2025-01-02T{start}"));
        let now = Arc::clone(&pc.now);
        let plan = plan(&now);
        let meters = plan.meters.clone();
        let mut source = LiveSource::<MinuteBar>::new(plan, happened).unwrap();
        let mut world = World::default();
        source.open(&world.cursors.clone()).await.unwrap();
        pc.come().await;
        let mut subscribed = 0;
        for _ in 0..30 {
            pc.beat(false).await;
            world.read(&mut source).await;
            while let Ok(reply) = pc.said.as_mut().unwrap().try_recv() {
                subscribed += usize::from(matches!(reply, Reply::Sub { .. }));
            }
            pc.set(pc.now() + TimeDelta::seconds(5));
        }
        assert_eq!(subscribed, if noticed { 3 } else { 1 }, "at {start}, 150 seconds of heartbeats alone");
        assert_eq!(meters.degraded(), Some(noticed), "at {start}");
        pc.push(0, From::Live, None, vec![row(0, at("2025-01-02T10:03:00"), 9)]).await;
        world.read(&mut source).await;
        assert!(render(&meters).contains("\nsqep_source_degraded 0\n"), "a bar has come");
        pc.say(Message::Beat(Beat { seq: 1, now: 0, connected: false, swept: None })).await;
        world.read(&mut source).await;
        assert!(render(&meters).contains("\nsqep_source_degraded 1\n"), "QMT does not answer");
        pc.go().await;
        world.read(&mut source).await;
        assert_eq!(meters.degraded(), Some(noticed), "at {start}, without an agent");
    }
}
