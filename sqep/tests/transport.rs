//! The transport suite, on the simulated server and on a real one of the test's own.

use std::time::Duration;

use sqep::{
    Kind, Stamp,
    redis::{
        RedisInlet, RedisOutlet,
        keys::{Keys, StreamSettings},
    },
};
use sqep_testkit::{
    TestRedis,
    sim::{FakeInlet, FakeOutlet, Faults, Shared},
    suite::transport::{raise, transport},
};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn the_simulated_server_keeps_the_promises_of_a_transport() -> anyhow::Result<()> {
    let world = Shared::new(7, Faults::default());
    let mut outlet = FakeOutlet::new(world.clone(), "suite");
    let mut inlet = FakeInlet::new(world.clone(), 1, 1_000);
    transport(&mut outlet, &mut inlet, || async {
        tokio::time::sleep(2 * LEASE).await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn redis_keeps_the_promises_of_a_transport() -> anyhow::Result<()> {
    let redis = TestRedis::start().await?;
    let settings = StreamSettings::default();
    let mut outlet = RedisOutlet::new(redis.client()?, settings.clone(), "suite");
    let mut inlet = RedisInlet::new(redis.client()?, settings, 0, "group", LEASE, None);
    let lease = Keys::new("sqep", Kind::BarDay, 0).lease("group");
    transport(&mut outlet, &mut inlet, || async {
        redis.command::<()>(&["SET", &lease, "somebody/1/1/else"]).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn redis_raises_ids_above_a_floor() -> anyhow::Result<()> {
    let redis = TestRedis::start().await?;
    let settings = StreamSettings::default();
    let mut outlet = RedisOutlet::new(redis.client()?, settings.clone(), "suite");
    let mut inlet = RedisInlet::new(redis.client()?, settings, 0, "group", LEASE, None);
    raise(&mut outlet, &mut inlet).await
}

#[tokio::test]
async fn a_second_source_is_refused_unless_the_stream_is_shared() -> anyhow::Result<()> {
    use sqep::transport::{Outlet, TransportError};
    let redis = TestRedis::start().await?;
    let settings = StreamSettings::default();
    RedisOutlet::new(redis.client()?, settings.clone(), "first").open().await?;
    let refused = RedisOutlet::new(redis.client()?, settings.clone(), "second").open().await;
    assert!(
        matches!(&refused, Err(TransportError::Wrong(e)) if e.to_string().contains("\"first\"")),
        "{refused:?}"
    );
    let shared = StreamSettings { share: true, ..settings };
    RedisOutlet::new(redis.client()?, shared, "second").open().await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_throws_bars_away_is_refused() -> anyhow::Result<()> {
    use sqep::transport::{Outlet, TransportError};
    let redis = TestRedis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await?;
    let refused = RedisOutlet::new(redis.client()?, StreamSettings::default(), "source").open().await;
    assert!(
        matches!(&refused, Err(TransportError::Wrong(e)) if e.to_string().contains("allkeys-lru")),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_producer_waits_for_a_group_that_is_behind_and_says_which() -> anyhow::Result<()> {
    use sqep::transport::{Inlet, Outlet, Transaction};
    let redis = TestRedis::start().await?;
    let settings = StreamSettings { backlog_entries_max: 3, ..StreamSettings::default() };
    let mut outlet = RedisOutlet::new(redis.client()?, settings.clone(), "source");
    let mut cursors = outlet.open().await?;
    let mut inlet = RedisInlet::new(redis.client()?, settings, 0, "slow", LEASE, None);
    inlet.open().await?;
    inlet.place(sqep::EntryId::ZERO).await?;
    for _ in 0..4 {
        assert_eq!(outlet.room().await?, None);
        let stamp = Stamp { seq: cursors.stamp.seq + 1, writer: String::new() };
        let entry = sqep::transport::Outgoing {
            partition: 0,
            source: None,
            kind: "SQEP-BAR-DAY",
            encoding: sqep::codec::Encoding::Csv,
            records: 1,
            payload: b"x".to_vec(),
        };
        let transaction =
            Transaction { entries: vec![entry], stamp: stamp.clone(), ..Transaction::default() };
        outlet.publish(&cursors.stamp, &transaction).await?;
        cursors.stamp = stamp;
    }
    let reason = outlet.room().await?.expect("held back");
    assert!(reason.contains("\"slow\""), "{reason}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_does_not_wait_for_its_own_lease_after_the_server_was_away() -> anyhow::Result<()> {
    use sqep::transport::Inlet;
    let mut redis = TestRedis::start().await?;
    let mut inlet =
        RedisInlet::new(redis.client()?, StreamSettings::default(), 0, "group", LEASE, Some(Duration::ZERO));
    inlet.open().await?;
    redis.server.kill()?;
    assert!(inlet.open().await.is_err(), "the server is away");
    redis.server.restart().await?;
    // Its append-only file still knows the lease, and whoever waits for it here gives up at once.
    inlet.open().await?;
    Ok(())
}
