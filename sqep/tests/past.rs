//! The giving of a past on a real server: one replay over all partitions or none, and only its own giver may add to it.

use sqep::{
    EntryId, Stamp, Totals,
    redis::{
        RedisOutlet,
        groups::{self, How, Steered},
        keys::{Keys, StreamSettings},
        replay::{Begun, Replayer, Stands, Wish},
    },
    transport::{Outlet, Published, Transaction, end_of_replay},
};
use sqep_testkit::TestRedis;

const GROUP: &str = "new";

struct World {
    redis: TestRedis,
    stream: StreamSettings,
}

impl World {
    async fn new(partitions: u16) -> anyhow::Result<World> {
        let stream = StreamSettings { partitions, ..StreamSettings::default() };
        Ok(World { redis: TestRedis::start().await?, stream })
    }

    async fn replayer(&self) -> anyhow::Result<Replayer> {
        Ok(Replayer::connect(&self.redis.client()?, &self.stream, GROUP).await?)
    }

    fn giver(&self) -> anyhow::Result<RedisOutlet> {
        Ok(RedisOutlet::replaying(self.redis.client()?, self.stream.clone(), GROUP))
    }

    fn wish(&self, what: &str) -> Wish {
        let zero = vec![EntryId::ZERO; self.stream.partitions.into()];
        Wish { after: zero.clone(), pins: zero, newest: EntryId::ZERO, what: what.to_owned() }
    }

    fn keys(&self, partition: u16) -> Keys {
        Keys::new(&self.stream.prefix, self.stream.kind, partition)
    }

    async fn retire(&self) -> anyhow::Result<()> {
        let mut connection = self.redis.client()?.connect().await?;
        for partition in 0..self.stream.partitions {
            let retired =
                groups::retire(&mut connection, &self.keys(partition), GROUP, How::default()).await?;
            assert!(matches!(retired, Steered::Done(_)), "{retired:?}");
        }
        Ok(())
    }
}

/// What comes after `stamp`, and ends the past.
fn last(stamp: &Stamp) -> Transaction {
    Transaction {
        entries: Vec::new(),
        letters: Vec::new(),
        stamp: Stamp { seq: stamp.seq + 1, writer: "giver".to_owned() },
        totals: Totals::default(),
        changed: vec![end_of_replay()],
        forget: Vec::new(),
    }
}

#[tokio::test]
async fn who_gave_a_past_that_was_retired_adds_nothing_to_the_next_one_of_the_same_group()
-> anyhow::Result<()> {
    let world = World::new(2).await?;
    assert_eq!(world.replayer().await?.begin(&world.wish("one")).await?, Begun::Waits);
    let mut late = world.giver()?;
    let before = late.open().await?.stamp;
    world.retire().await?;
    assert_eq!(world.replayer().await?.stands().await?, Stands::New);
    assert_eq!(world.replayer().await?.begin(&world.wish("two")).await?, Begun::Waits);
    assert_eq!(late.publish(&before, &last(&before)).await?, Published::Conflict);
    let error = late.open().await.expect_err("another replay").to_string();
    assert!(error.contains("another begun"), "{error}");
    let mut giver = world.giver()?;
    let stamp = giver.open().await?.stamp;
    assert_eq!(giver.publish(&stamp, &last(&stamp)).await?, Published::Done);
    let stands = world.replayer().await?.stands().await?;
    assert!(matches!(&stands, Stands::Given(state) if state.what == "two"), "{stands:?}");
    Ok(())
}

#[tokio::test]
async fn a_group_that_reads_a_part_of_the_stream_is_torn_and_one_begun_in_part_is_completed()
-> anyhow::Result<()> {
    let world = World::new(3).await?;
    world.redis.command::<()>(&["XGROUP", "CREATE", world.keys(1).stream(), GROUP, "0", "MKSTREAM"]).await?;
    assert_eq!(world.replayer().await?.stands().await?, Stands::Torn(vec![1]));
    world.redis.command::<()>(&["XGROUP", "DESTROY", world.keys(1).stream(), GROUP]).await?;
    // Cut off after the first partition: the same again goes on with the others, as one replay.
    assert_eq!(world.replayer().await?.begin(&world.wish("one")).await?, Begun::Waits);
    for partition in [1, 2] {
        let mut connection = world.redis.client()?.connect().await?;
        groups::retire(&mut connection, &world.keys(partition), GROUP, How::default()).await?;
    }
    assert!(world.giver()?.open().await.is_err(), "nothing is given before all partitions wait");
    let other = world.replayer().await?.begin(&world.wish("two")).await?;
    assert!(matches!(&other, Begun::Other(state) if state.what == "one"), "{other:?}");
    assert_eq!(world.replayer().await?.begin(&world.wish("one")).await?, Begun::Waits);
    let mut giver = world.giver()?;
    let stamp = giver.open().await?.stamp;
    assert_eq!(giver.publish(&stamp, &last(&stamp)).await?, Published::Done);
    assert!(matches!(world.replayer().await?.stands().await?, Stands::Given(_)), "on all three");
    Ok(())
}

#[tokio::test]
async fn a_full_server_holds_back_a_source_and_not_a_past() -> anyhow::Result<()> {
    let world = World::new(1).await?;
    world.redis.command::<()>(&["SET", "ballast", &"x".repeat(4 << 20)]).await?;
    assert_eq!(world.replayer().await?.begin(&world.wish("one")).await?, Begun::Waits);
    let mut giver = world.giver()?;
    giver.open().await?;
    let mut source = RedisOutlet::new(world.redis.client()?, world.stream.clone(), "csv");
    source.open().await?;
    world.redis.command::<()>(&["CONFIG", "SET", "maxmemory", "6mb"]).await?;
    assert!(source.room().await?.is_some_and(|reason| reason.contains("maxmemory")));
    assert_eq!(
        giver.room().await?,
        None,
        "only when the past is settled does the group let go of the stream"
    );
    Ok(())
}
