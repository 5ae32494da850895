//! A reader whose group begins with an archive: it gives the past to itself, beside its own delivery.
//!
//! Knows when there is a past to give and who gives it; must not know how it travels. The server is asked before the sink:
//! where a replay is under way it goes on whatever the sink says, and where the group reads there is nothing to give.

use std::time::Duration;

use sqep::{
    Mark, Sink, WriteError,
    app::{Inward, Outward, PublishSettings, Usage},
    deliver::Account,
    marks::{MarkError, Start as At},
    meter::{Loop, Meters},
    redis::{
        Server,
        replay::{Replayer, Stands},
    },
    transport::TransportError,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Order, Start, begin, give};

/// How long is waited before a server or a sink is asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// Records of a transaction: whoever gives itself a past has both ends of it in memory.
const TRANSACTION_RECORDS_MAX: usize = 16_000;
/// How often is looked whether the reader has its lease.
const LOOK: Duration = Duration::from_millis(200);

/// [`Inward::deliver`], for programs whose reader may begin with an archive. The reader of partition 0 gives all
/// partitions their past, once its lease is its own.
pub async fn deliver<S: Sink + 'static>(
    inward: &Inward<'_>,
    name: &str,
    once: bool,
    stop: &CancellationToken,
    mut make: impl FnMut(u16) -> anyhow::Result<S>,
) -> anyhow::Result<Account> {
    if inward.reader.start != Some(At::Archive) {
        return inward.deliver(name, once, stop, make).await;
    }
    let order = Order {
        group: inward.group(name).to_owned(),
        archive: inward.reader.archive.clone(),
        ..Order::default()
    };
    let publish = PublishSettings { records_max: TRANSACTION_RECORDS_MAX, ..PublishSettings::default() };
    let Inward { redis, stream, calendar, meters, .. } = *inward;
    let outward = Outward { redis, stream, publish: &publish, calendar, meters };
    let missing = missing_in_time(inward, &outward, &order, once, stop, &mut make).await?;
    if !missing || !inward.partitions()?.contains(&0) {
        return inward.deliver(name, once, stop, make).await;
    }
    let stop = stop.child_token();
    let giving = async {
        if !at_work(inward.meters, &order.group, &stop).await {
            return Ok(());
        }
        let given = give::<S::Record>(&outward, &order, once, &stop, |_| ()).await;
        if given.is_err() {
            stop.cancel();
        }
        given.map(drop)
    };
    let delivering = async {
        let delivered = inward.deliver(name, once, &stop, make).await;
        stop.cancel();
        delivered
    };
    let (delivered, given) = tokio::join!(delivering, giving);
    given?;
    delivered
}

/// Whether the group waits for a past that is still to be given.
async fn missing<S: Sink>(
    inward: &Inward<'_>,
    outward: &Outward<'_>,
    order: &Order,
    make: &mut impl FnMut(u16) -> anyhow::Result<S>,
) -> anyhow::Result<bool> {
    let server = Server::new(inward.redis).map_err(Usage)?;
    match Replayer::connect(&server, inward.stream, &order.group).await?.stands().await? {
        Stands::Reads | Stands::Given(_) => return Ok(false),
        Stands::Waits(state) if state.what != order.what() => {
            warn!(group = order.group, "is being given another past than reader.archive: {}", state.what);
            return Ok(false);
        }
        Stands::New if !is_new(inward, make).await? => return Ok(false),
        Stands::New | Stands::Waits(_) | Stands::Torn(_) => {}
    }
    if order.archive.is_none() {
        return Err(Usage(MarkError::NoArchive { group: order.group.clone() }.into()).into());
    }
    Ok(begin(outward, order).await? == Start::Waits)
}

/// Whether every sink of the reader is empty, or was being given the past when it was stopped.
async fn is_new<S: Sink>(
    inward: &Inward<'_>,
    make: &mut impl FnMut(u16) -> anyhow::Result<S>,
) -> anyhow::Result<bool> {
    let mut new = true;
    for partition in inward.partitions()? {
        let mark = make(partition)?.mark(partition).await?;
        new &= mark.as_ref().is_none_or(Mark::is_in_replay);
    }
    Ok(new)
}

/// [`missing`], asked again for as long as the server or a sink cannot tell.
async fn missing_in_time<S: Sink>(
    inward: &Inward<'_>,
    outward: &Outward<'_>,
    order: &Order,
    once: bool,
    stop: &CancellationToken,
    make: &mut impl FnMut(u16) -> anyhow::Result<S>,
) -> anyhow::Result<bool> {
    loop {
        let error = match missing(inward, outward, order, make).await {
            Err(error) if !once && passes(&error) => error,
            ended => return ended,
        };
        warn!("{error:#}; trying again in {PAUSE:?}");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return Ok(false),
        }
    }
}

fn passes(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(TransportError::Gone(_)))
        || matches!(error.downcast_ref(), Some(WriteError::Later(_)))
}

/// Waits until the reader of partition 0 has its lease: whoever stands by must not give what another is giving. `false`:
/// stopped before.
async fn at_work(meters: &Meters, group: &str, stop: &CancellationToken) -> bool {
    let first = Loop::Deliver { group: group.to_owned(), partition: 0 };
    loop {
        if meters.all().iter().any(|meter| *meter.of() == first && meter.ready().is_ok()) {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return false,
        }
    }
}
