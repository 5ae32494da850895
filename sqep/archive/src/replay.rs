//! The past of a stream, given to a group that is new to it: from an archive, or from what the stream still holds.
//!
//! Knows which past it is and where the group goes on with the stream itself; how it travels is the loops'. The group is
//! made first, after the archive's mark, so that nothing newer is trimmed before it was read. Then the rows are published
//! on a stream of the group's own, each with the source and the version it had, and its reader settles them before it
//! turns to the stream. A row that comes twice has the same version twice: once by key.

mod archived;
mod given;
mod pace;
mod streamed;

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use chrono::NaiveDateTime;
use sqep::{
    EntryId, Mark, Record, Sink, Totals, WriteError,
    app::{Inward, Outward, PublishSettings, Usage},
    deliver::Account,
    marks::MarkError,
    record::Cell,
    redis::{
        Server,
        inspect::Inspector,
        keys::{Keys, StreamSettings},
        replay::{Before, Begun, Replayer},
    },
    transport::TransportError,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::pace::{Speed, SpeedError};
use self::{
    archived::{Archived, Wanted},
    given::Given,
    streamed::{Span, Streamed},
};
use crate::{Filter, Home, Symbols, marks};

/// Where a past begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// With the first row there is.
    #[default]
    Beginning,
    /// With rows of this frame.
    Frame(NaiveDateTime),
    /// With the first entry after this one.
    After(EntryId),
}

/// Which past a group is given.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The group.
    pub group: String,
    /// The archive; `None`: what the stream still holds.
    pub archive: Option<PathBuf>,
    /// Where it begins.
    pub from: From,
    /// The last frame.
    pub to: Option<NaiveDateTime>,
    /// Which securities.
    pub symbols: Symbols,
    /// How fast.
    pub speed: Speed,
}

impl Order {
    /// In words, the same for the same past.
    fn what(&self) -> String {
        let Order { archive, from, to, symbols, .. } = self;
        let place =
            archive.as_ref().map_or_else(|| "the stream".to_owned(), |root| root.display().to_string());
        format!("{place}, from {from:?} to {to:?}, {symbols:?}")
    }

    /// The rows of an archive that are asked for.
    pub fn filter(&self) -> Filter {
        let from = match self.from {
            From::Frame(from) => Some(from),
            From::Beginning | From::After(_) => None,
        };
        Filter { from, to: self.to, symbols: self.symbols.clone() }
    }

    fn after(&self) -> EntryId {
        match self.from {
            From::After(id) => id,
            From::Beginning | From::Frame(_) => EntryId::ZERO,
        }
    }
}

/// Whether a replay has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The group waits for its past: [`give`] it.
    Waits {
        /// By partition: where the group goes on with the stream.
        after: Vec<EntryId>,
    },
    /// The group reads the stream already.
    Reads,
}

/// Makes the group and lets it wait for its past; goes on with a replay of the same past that was begun before.
pub async fn begin<R: Record>(outward: &Outward<'_>, order: &Order) -> anyhow::Result<Start> {
    let server = Server::new(outward.redis).map_err(Usage)?;
    let stream = outward.stream;
    let mut replayer = Replayer::connect(&server, stream, &order.group).await?;
    let before = replayer.before().await?;
    let (after, pins, newest) = if let Some(root) = &order.archive {
        // Before the archive is read: everything up to its mark is in the files there are then.
        let marks = marks(&Home::new(root, stream.kind))?;
        let newest = marks.values().map(|mark| mark.id).max().unwrap_or_default();
        let after = (0u16..).zip(&before).map(|(at, before)| handover(stream, at, before, marks.get(&at)));
        let after = after.collect::<anyhow::Result<Vec<EntryId>>>()?;
        (after.clone(), after, newest)
    } else {
        all_there::<R>(&server, stream, order, &before).await?;
        // What the past is read from stays until it was read.
        let pins = before.iter().map(|before| order.after().max(before.trimmed).min(before.last));
        (before.iter().map(|before| before.last).collect(), pins.collect(), EntryId::ZERO)
    };
    match replayer.begin(&after, &pins, newest, &order.what()).await? {
        Begun::New => {
            info!(group = order.group, "the group waits for its past, and then reads the stream after it");
            Ok(Start::Waits { after })
        }
        Begun::GoesOn(state) if state.what == order.what() => {
            info!(group = order.group, "a replay of this past was begun before: it goes on");
            Ok(Start::Waits { after: replayer.after().await? })
        }
        Begun::GoesOn(state) => bail!(
            "group {:?} is being given another past: {}; let that end, or run: sqep group retire {}",
            order.group,
            state.what,
            order.group
        ),
        Begun::Exists => Ok(Start::Reads),
        Begun::Trimmed => bail!("the stream was trimmed while the replay began: run it again"),
    }
}

/// Where a group goes on with a partition whose past is an archive.
fn handover(
    stream: &StreamSettings,
    partition: u16,
    before: &Before,
    mark: Option<&Mark>,
) -> anyhow::Result<EntryId> {
    let key = Keys::new(&stream.prefix, stream.kind, partition);
    match mark.filter(|mark| mark.born == before.born) {
        Some(mark) if mark.id < before.trimmed => bail!(
            "the archive holds {} up to {}, and the stream was trimmed up to {}: what lies between is in neither. Let the \
             archive's own reader catch up first",
            key.stream(),
            mark.id,
            before.trimmed
        ),
        Some(mark) => Ok(mark.id),
        None if before.trimmed == EntryId::ZERO => {
            warn!("the archive is not of {}: the group reads all of it after the archive", key.stream());
            Ok(EntryId::ZERO)
        }
        None => bail!(
            "the archive is not of {}, which was trimmed up to {}: what lies between is not known. Give the archive of \
             this stream",
            key.stream(),
            before.trimmed
        ),
    }
}

/// Refuses a past that the stream no longer holds.
async fn all_there<R: Record>(
    server: &Server,
    stream: &StreamSettings,
    order: &Order,
    before: &[Before],
) -> anyhow::Result<()> {
    let mut inspector = Inspector::connect(server).await?;
    for (partition, before) in (0u16..).zip(before).filter(|(_, before)| before.trimmed > EntryId::ZERO) {
        let keys = Keys::new(&stream.prefix, stream.kind, partition);
        let gone = match order.from {
            From::Beginning => true,
            From::After(id) => id < before.trimmed,
            From::Frame(from) => {
                let entries = inspector.read(keys.stream(), EntryId::ZERO, 1).await?;
                let first = entries.first().and_then(|entry| entry.open::<R>().ok());
                let frames = first.iter().flat_map(|opened| &opened.decoded.records).filter_map(frame);
                frames.min().is_none_or(|first| from < first)
            }
        };
        if gone {
            bail!(
                "{} was trimmed up to {}: what was asked for is not on it any more. Name an archive that has it \
                 (--archive DIR), or ask from a time that is left",
                keys.stream(),
                before.trimmed
            );
        }
    }
    Ok(())
}

fn frame<R: Record>(record: &R) -> Option<NaiveDateTime> {
    match record.get(1) {
        Cell::Date(date) => date.and_hms_opt(0, 0, 0),
        Cell::Minute(wall) => Some(wall),
        _ => None,
    }
}

/// [`Inward::deliver`], for programs whose reader may begin with an archive. The reader of partition 0 gives all
/// partitions their past, beside its own delivery.
pub async fn deliver<S: Sink + 'static>(
    inward: &Inward<'_>,
    name: &str,
    once: bool,
    stop: &CancellationToken,
    mut make: impl FnMut(u16) -> anyhow::Result<S>,
) -> anyhow::Result<Account> {
    if inward.reader.start != Some(sqep::marks::Start::Archive) || !is_new(inward, &mut make).await? {
        return inward.deliver(name, once, stop, make).await;
    }
    let group = inward.group(name).to_owned();
    let Some(archive) = inward.reader.archive.clone() else {
        return Err(Usage(MarkError::NoArchive { group }.into()).into());
    };
    let order = Order { group, archive: Some(archive), ..Order::default() };
    let publish = PublishSettings::default();
    let Inward { redis, stream, calendar, meters, .. } = *inward;
    let outward = Outward { redis, stream, publish: &publish, calendar, meters };
    let Some(Start::Waits { after }) = begin_in_time::<S::Record>(&outward, &order, once, stop).await? else {
        return inward.deliver(name, once, stop, make).await;
    };
    if !inward.partitions()?.contains(&0) {
        return inward.deliver(name, once, stop, make).await;
    }
    let stop = stop.child_token();
    let giving = async {
        let given = give::<S::Record>(&outward, &order, &after, once, &stop, |_| ()).await;
        if given.is_err() {
            stop.cancel();
        }
        given
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

/// Whether every sink of the reader is empty, or was being given the past when it was stopped.
async fn is_new<S: Sink>(
    inward: &Inward<'_>,
    make: &mut impl FnMut(u16) -> anyhow::Result<S>,
) -> anyhow::Result<bool> {
    for partition in inward.partitions()? {
        match make(partition)?.mark(partition).await {
            Ok(mark) if mark.as_ref().is_none_or(Mark::is_in_replay) => {}
            Err(WriteError::Never(error)) => return Err(error),
            // In doubt it holds something: another reader is at it, and this one waits for its lease.
            Ok(_) | Err(WriteError::Later(_)) => return Ok(false),
        }
    }
    Ok(true)
}

/// [`begin`], for as long as the server cannot be reached; `None`: stopped.
async fn begin_in_time<R: Record>(
    outward: &Outward<'_>,
    order: &Order,
    once: bool,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Start>> {
    const PAUSE: Duration = Duration::from_secs(2);
    loop {
        let error = match begin::<R>(outward, order).await {
            Ok(start) => return Ok(Some(start)),
            Err(error) => error,
        };
        if once || !matches!(error.downcast_ref(), Some(TransportError::Gone(_))) {
            return Err(error);
        }
        warn!("{error:#}; trying again in {PAUSE:?}");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

/// Gives the group its past: publishes until all of it lies ready, or `stop`. Ended at any moment, it goes on where it
/// was when it is called again.
pub async fn give<R: Record>(
    outward: &Outward<'_>,
    order: &Order,
    after: &[EntryId],
    once: bool,
    stop: &CancellationToken,
    watch: impl FnMut(&Totals),
) -> anyhow::Result<Totals> {
    let group = &order.group;
    let Some(root) = &order.archive else {
        let server = Server::new(outward.redis).map_err(Usage)?;
        let from =
            Streamed::<R>::new(server, spans(outward.stream, order, after), order.filter(), order.speed);
        return outward.replay(&mut Given::new(from), group, once, stop, watch).await;
    };
    let wanted = Wanted {
        root: root.clone(),
        kind: outward.stream.kind,
        filter: order.filter(),
        above: order.after().version(),
        upto: after.iter().map(|&id| if id == EntryId::ZERO { u64::MAX } else { id.version() }).collect(),
        speed: order.speed,
        calendar: outward.calendar.load().map_err(Usage)?,
    };
    outward.replay(&mut Given::new(Archived::<R>::new(wanted)), group, once, stop, watch).await
}

fn spans(stream: &StreamSettings, order: &Order, after: &[EntryId]) -> Vec<Span> {
    let span = |(partition, &upto): (u16, &EntryId)| Span {
        stream: Keys::new(&stream.prefix, stream.kind, partition).stream().to_owned(),
        after: order.after(),
        upto,
    };
    (0..).zip(after).map(span).collect()
}
