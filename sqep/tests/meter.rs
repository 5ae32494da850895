//! What a meter shows, and when it says that a loop no longer moves.

use std::time::Duration;

use sqep::{
    EntryId, Kind,
    meter::{Behind, Loop, Meter, Meters, render},
};

const NOW_MS: u64 = 1_700_000_010_500;

fn reader(group: &str) -> Meter {
    let of = Loop::Deliver { group: group.to_owned(), partition: 3 };
    Meter::new(Kind::BarDay, of, Duration::from_secs(5), || NOW_MS)
}

#[tokio::test(start_paused = true)]
async fn a_step_may_last_as_long_as_it_may_and_a_pause_for_ever() {
    let meters = Meters::default();
    let meter = meters.add(reader("a"));
    meter.busy();
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(meters.move_on(), Ok(()));
    tokio::time::advance(Duration::from_secs(1)).await;
    let why = meters.move_on().expect_err("six seconds are too many");
    assert!(why.contains("bar:1d/3 for a") && why.contains("6s"), "{why}");
    meter.retry("sink", &anyhow::anyhow!("disk full"));
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(meters.move_on(), Ok(()), "a loop that tries again later moves");
    meter.busy();
    assert_eq!(meters.move_on(), Ok(()), "each step has its own time");
}

#[test]
fn one_loop_that_is_not_ready_is_enough_and_says_why() {
    let meters = Meters::default();
    assert_eq!(meters.ready(), Err("starting".to_owned()));
    assert!(!meters.connected(), "nothing runs yet");
    let (first, second) = (meters.add(reader("a")), meters.add(reader("b")));
    first.opened();
    assert!(meters.ready().is_err_and(|why| why.contains("for b: not connected yet")));
    second.standby("host/7");
    assert!(meters.connected(), "who stands by is connected");
    assert!(meters.ready().is_err_and(|why| why.contains("host/7 holds the lease")));
    second.opened();
    assert_eq!(meters.ready(), Ok(()));
    second.standby("host/7");
    assert_eq!(meters.ready(), Ok(()), "whoever looks from outside may be late");
    second.lost(&anyhow::anyhow!("gone"));
    assert!(meters.ready().is_err_and(|why| why.contains("not connected: gone")));
}

#[test]
fn times_are_seconds_buckets_add_up_and_labels_are_escaped() {
    let meters = Meters::default();
    let meter = meters.add(reader("a\"b\\c"));
    meter.durable(EntryId::new(NOW_MS - 25, 0));
    meter.durable(EntryId::new(NOW_MS - 700, 0));
    meter.durable(EntryId::new(0, 1));
    meter.behind(Some(Behind { entries: 4, oldest: Some(EntryId::new(NOW_MS - 10_500, 0)) }));
    let text = render(&meters);
    let labels = "kind=\"bar:1d\",partition=\"3\",group=\"a\\\"b\\\\c\"";
    for (name, more, value) in [
        ("sqep_batch_latency_seconds_bucket", ",le=\"0.01\"", "0"),
        ("sqep_batch_latency_seconds_bucket", ",le=\"0.025\"", "1"),
        ("sqep_batch_latency_seconds_bucket", ",le=\"1\"", "2"),
        ("sqep_batch_latency_seconds_bucket", ",le=\"1800\"", "2"),
        ("sqep_batch_latency_seconds_bucket", ",le=\"+Inf\"", "3"),
        ("sqep_batch_latency_seconds_count", "", "3"),
        ("sqep_batch_latency_seconds_sum", "", "1700000011.225"),
        ("sqep_lag_entries", "", "4"),
        ("sqep_lag_seconds", "", "10.5"),
    ] {
        let line = format!("{name}{{{labels}{more}}} {value}\n");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

#[test]
fn a_loop_that_starts_again_takes_its_place_and_not_another() {
    let meters = Meters::default();
    meters.add(reader("a"));
    meters.add(reader("a"));
    meters.add(reader("b"));
    assert_eq!(meters.all().len(), 2);
}
