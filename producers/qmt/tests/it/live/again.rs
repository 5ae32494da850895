//! What goes out again, and what does not: bars that grew, days held against their own bar, rows that are refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::collections::BTreeMap;

use chrono::{NaiveDateTime, TimeDelta};
use sqep::{MinuteBar, Reason, Record, Symbol};
use sqep_qmt::{
    config::{Auction, QmtSettings},
    protocol::{Done, From, Message, Reply},
};

use super::{
    bench::{Bench, World, whole},
    pc::{CODES, labels, row},
};
use crate::common::at;

#[tokio::test(start_paused = true)]
async fn a_bar_that_grew_after_it_went_out_goes_out_again_as_history_has_it() {
    let mut bench = Bench::new("2025-01-02T10:00:40", QmtSettings::default()).await;
    bench.push(0, "10:01", 16).await;
    bench.pc.set(at("2025-01-02T10:01:30"));
    // Pushes were lost: a later row closes what is not whole.
    bench.push(0, "10:02", 9).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "10:01").len(), 1);
    bench.push(0, "10:01", 20).await;
    bench.push(0, "10:01", 20).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "10:01")[1..], [whole(0, "10:01")]);
    // A row that knows less changes nothing.
    bench.push(0, "10:01", 3).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "10:01").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_running_when_history_was_asked_for_is_not_final() {
    let mut bench = Bench::new("2025-01-02T10:00:40", QmtSettings::default()).await;
    assert_eq!(bench.bars(0, "10:01"), [0.0; 0]);
    bench.restart(QmtSettings::default()).await;
    bench.world.read(&mut bench.source).await;
    // Asked at 10:00:40, read at 10:00:50, and handed on late: what it says of 10:01 has grown since.
    bench.pc.set(at("2025-01-02T10:00:50"));
    bench.pc.answer().await;
    bench.pc.set(at("2025-01-02T10:02:30"));
    bench.push(0, "10:03", 9).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "10:01"), [whole(0, "10:01")]);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_day_is_still_held_against_its_own_bar() {
    let mut bench = Bench::new("2025-01-02T10:00:30", QmtSettings::default()).await;
    // One process publishes half a bar, and its successor must find it.
    bench.push(0, "10:01", 10).await;
    bench.pc.set(at("2025-01-02T10:01:30"));
    bench.push(0, "10:02", 1).await;
    bench.settle().await;
    let half = bench.bars(0, "10:01");
    let rows = bench.world.stream.len();
    bench.pc.set(at("2025-01-02T14:00:30"));
    bench.restart(QmtSettings::default()).await;
    bench.settle().await;
    assert_eq!(half.len(), 1);
    assert_eq!(bench.bars(0, "10:01")[1..], [whole(0, "10:01")], "history says otherwise than what went out");
    assert_eq!(bench.bars(1, "10:00").len(), 1, "of the others nothing goes out again");
    // Another one, and nothing is said twice.
    let more = bench.world.stream.len();
    assert!(more > rows);
    bench.restart(QmtSettings::default()).await;
    bench.settle().await;
    assert_eq!(bench.world.stream.len(), more);
    bench.pc.set(at("2025-01-02T15:02:00"));
    for _ in 0..30 {
        bench.pc.set(bench.pc.now() + TimeDelta::seconds(20));
        bench.settle().await;
    }
    assert_whole_last(&bench.world);
}

/// The last word on every bar is right.
fn assert_whole_last(world: &World) {
    let last: BTreeMap<(Symbol, i64), MinuteBar> = world.stream.iter().map(|bar| (bar.key(), *bar)).collect();
    assert_eq!(last.len(), CODES.len() * 241);
    for (code, name) in CODES.iter().enumerate() {
        let sum: f64 =
            last.values().filter(|bar| bar.symbol.to_string() == *name).map(|bar| bar.vol / 100.0).sum();
        let wanted: f64 = labels().into_iter().map(|wall| row(code, wall, 20).volume.unwrap()).sum();
        assert!((sum - wanted).abs() < 0.1, "{name}: {sum} of {wanted}");
    }
}

#[tokio::test(start_paused = true)]
async fn corrections_of_the_auction_and_of_the_first_minute_are_folded_again() {
    let settings = QmtSettings { auction: Auction::Fold, ..QmtSettings::default() };
    let mut bench = Bench::new("2025-01-02T09:29:40", settings.clone()).await;
    for (wall, pushes) in [("09:30", 15), ("09:31", 11), ("09:32", 5)] {
        bench.pc.set(at(&format!("2025-01-02T{wall}:00")) - TimeDelta::seconds(10));
        bench.push(0, wall, pushes).await;
        bench.settle().await;
    }
    let parts = |auction, first| {
        let part = |wall: &str, pushes| row(0, at(&format!("2025-01-02T{wall}:00")), pushes).volume.unwrap();
        part("09:30", auction) + part("09:31", first)
    };
    assert_eq!(bench.bars(0, "09:31"), [parts(15, 11)]);
    assert_eq!(bench.bars(0, "09:30"), [0.0; 0]);
    // Rows that know more of either: history is asked, and both parts are kept.
    bench.pc.set(at("2025-01-02T09:31:58"));
    bench.push(0, "09:31", 20).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "09:31")[1..], [parts(15, 20)]);
    bench.push(0, "09:30", 20).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "09:31")[2..], [parts(20, 20)]);
    bench.restart(settings).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "09:31").len(), 3, "and nothing of it again after a restart");
    assert!(bench.world.cursors.totals.balances());
}

#[tokio::test(start_paused = true)]
async fn a_download_that_takes_longer_than_patience_is_not_begun_anew_for_ever() {
    let mut bench = Bench::new("2025-01-02T10:00:00", QmtSettings::default()).await;
    bench.pc.set(at("2025-01-02T10:30:00"));
    bench.restart(QmtSettings::default()).await;
    let mut asked = Vec::new();
    // Each request is answered four minutes after it was made; there is no bar meanwhile.
    for second in 0..120 {
        bench.pc.set(at("2025-01-02T10:30:00") + TimeDelta::seconds(10 * second));
        bench.world.read(&mut bench.source).await;
        let said = bench.pc.said.as_mut().unwrap();
        while let Ok(reply) = said.try_recv() {
            if let Reply::Hist { req, codes, start, .. } = reply {
                asked.push((second, req, codes, start));
            }
        }
        for (_, req, codes, start) in asked.extract_if(.., |(made, ..)| *made + 24 <= second) {
            let start = NaiveDateTime::parse_from_str(&start, "%Y%m%d%H%M%S").unwrap();
            let mut sent = 0;
            for code in codes {
                let place = CODES.iter().position(|known| *known == code).unwrap();
                let rows = bench.pc.kept(place, start);
                sent += u64::try_from(rows.len()).unwrap();
                bench.pc.push(place, From::History, Some(req), rows).await;
            }
            bench.pc.say(Message::Done(Done { req, rows: sent })).await;
        }
    }
    bench.world.read(&mut bench.source).await;
    for (code, name) in CODES.iter().enumerate() {
        assert_eq!(bench.bars(code, "10:30"), [whole(code, "10:30")], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_refused_is_refused_once_however_often_it_grows() {
    let mut bench = Bench::new("2025-01-02T10:00:40", QmtSettings::default()).await;
    for pushes in 12..20 {
        let mut bad = row(0, at("2025-01-02T10:01:00"), pushes);
        bad.close = None;
        bench.pc.push(0, From::Live, None, vec![bad]).await;
    }
    bench.settle().await;
    let refused = &bench.world.cursors.totals.refused;
    assert_eq!(refused.get(&Reason::PriceMissing), Some(&1), "{refused:?}");
}
