//! What makes a bar final: a look of the agent that began after its end, or history.

use chrono::TimeDelta;
use sqep_qmt::{
    config::QmtSettings,
    protocol::{Failed, Message},
};

use super::{
    bench::{Bench, whole},
    pc::CODES,
};
use crate::common::at;

#[tokio::test(start_paused = true)]
async fn time_alone_makes_no_bar_final_only_a_look_that_began_after_its_end() {
    let mut bench = Bench::new("2025-01-02T11:29:20", QmtSettings::default()).await;
    bench.pc.beat(false).await;
    bench.settle().await;
    bench.push(0, "11:30", 11).await;
    bench.settle().await;
    // The agent downloads and does not look: heartbeats come, and say nothing.
    bench.pc.set(at("2025-01-02T11:30:20"));
    for _ in 0..3 {
        bench.pc.beat(false).await;
        bench.settle().await;
    }
    // A look that had heard no word of ours since the end began before it.
    bench.pc.set(at("2025-01-02T11:30:21"));
    bench.pc.heard = Some(1);
    bench.pc.beat(true).await;
    bench.world.read(&mut bench.source).await;
    assert_eq!(bench.bars(0, "11:30"), [0.0; 0], "eleven of twenty pushes are no bar");
    bench.settle().await;
    bench.push(0, "11:30", 20).await;
    bench.pc.beat(true).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "11:30"), [whole(0, "11:30")]);
}

#[tokio::test(start_paused = true)]
async fn what_no_look_shows_to_be_final_history_does() {
    let mut bench = Bench::new("2025-01-02T11:29:20", QmtSettings::default()).await;
    bench.push(0, "11:30", 11).await;
    bench.pc.set(at("2025-01-02T11:31:00"));
    bench.settle().await;
    assert_eq!(bench.bars(0, "11:30"), [0.0; 0]);
    bench.pc.set(at("2025-01-02T11:31:10"));
    bench.settle().await;
    assert_eq!(bench.bars(0, "11:30"), [whole(0, "11:30")]);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_went_on_without_a_security_makes_no_bar_of_it_final() {
    let mut bench = Bench::new("2025-01-02T10:00:40", QmtSettings::default()).await;
    bench.push(0, "10:01", 10).await;
    bench.push(1, "10:01", 10).await;
    bench.pc.set(at("2025-01-02T10:01:10"));
    bench.pc.beat(false).await;
    bench.settle().await;
    bench.pc.set(at("2025-01-02T10:01:20"));
    bench.push(1, "10:01", 20).await;
    let (code, msg) = (Some(CODES[0].to_owned()), "no server".to_owned());
    bench.pc.say(Message::Failed(Failed { req: None, code, msg })).await;
    bench.pc.beat(true).await;
    bench.world.read(&mut bench.source).await;
    assert_eq!(bench.bars(1, "10:01"), [whole(1, "10:01")]);
    assert_eq!(bench.bars(0, "10:01"), [0.0; 0], "ten of twenty pushes are no bar");
    bench.settle().await;
    assert_eq!(bench.bars(0, "10:01"), [whole(0, "10:01")], "history tells");
}

/// Eight minutes of heartbeats, and the word that everything was looked at since they began. `shown`: at which second which
/// bar of the first security.
async fn long_look(bench: &mut Bench, shown: (i64, &str, u32)) {
    let (began, heard) = (bench.pc.now(), bench.pc.heard);
    for second in 1..=480 {
        bench.pc.set(began + TimeDelta::seconds(second));
        bench.pc.beat(false).await;
        if second == shown.0 {
            bench.push(0, shown.1, shown.2).await;
        }
        bench.world.read(&mut bench.source).await;
        bench.pc.answer().await;
    }
    let after = std::mem::replace(&mut bench.pc.heard, heard);
    bench.pc.beat(true).await;
    bench.pc.heard = after;
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn looks_that_take_eight_minutes_close_bars_and_nothing_is_asked_of_who_waits_its_turn() {
    let mut bench = Bench::new("2025-01-02T11:19:40", QmtSettings::default()).await;
    bench.push(0, "11:20", 16).await;
    bench.pc.beat(false).await;
    bench.settle().await;
    long_look(&mut bench, (30, "11:21", 4)).await;
    long_look(&mut bench, (130, "11:30", 16)).await;
    assert_eq!(bench.bars(0, "11:30"), [0.0; 0], "sixteen of twenty pushes are no bar");
    let before = bench.pc.asked;
    long_look(&mut bench, (130, "11:30", 20)).await;
    assert_eq!(bench.bars(0, "11:30"), [whole(0, "11:30")]);
    assert_eq!(bench.pc.asked, before, "requests for history");
}
