//! The past of a stream, given to a group that is new to it: from an archive, or from what the stream still holds.
//!
//! Knows which past it is and where the group goes on with the stream itself; how it travels is the loops'. The group is
//! made first, after the archive's mark, so that nothing newer is trimmed before it was read. Then the rows are published
//! on a stream of the group's own, each with the source and the version it had, and its reader settles them before it
//! turns to the stream. A row that comes twice has the same version twice: once by key.

mod archived;
mod given;
mod pace;
mod reader;
mod streamed;

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use chrono::NaiveDateTime;
use sqep::{
    EntryId, Mark, Record, Totals,
    app::{Outward, Usage},
    redis::{
        Server,
        keys::{Keys, StreamSettings},
        replay::{Before, Begun, Replayer, Stands, State, Wish},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    archived::{Archived, Wanted},
    given::Given,
    streamed::{Span, Streamed},
};
pub use self::{
    pace::{Speed, SpeedError},
    reader::deliver,
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
        let Order { archive, from, to, symbols, speed, .. } = self;
        let place =
            archive.as_ref().map_or_else(|| "the stream".to_owned(), |root| root.display().to_string());
        format!("{place}, from {from:?} to {to:?}, {symbols:?}, at {speed:?}")
    }

    /// Entries of several partitions lie side by side: only an archive knows which of their rows came first.
    fn paced(&self, partitions: u16) -> anyhow::Result<()> {
        if self.archive.is_none() && self.speed != Speed::Max && partitions > 1 {
            bail!(Usage(anyhow!(
                "a past from a stream of {partitions} partitions has no order to keep pace with: name the archive \
                 (--archive DIR), or leave --speed out"
            )));
        }
        Ok(())
    }

    fn other(&self, under_way: &State) -> String {
        let Order { group, .. } = self;
        let what = &under_way.what;
        format!(
            "group {group:?} is being given another past: {what}; let that end, or run: sqep group retire {group}"
        )
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
    Waits,
    /// All of this past lies ready, or was read.
    Given,
    /// The group reads the stream already.
    Reads,
}

/// Makes the group and lets it wait for its past; goes on with a replay of the same past that was begun before.
pub async fn begin(outward: &Outward<'_>, order: &Order) -> anyhow::Result<Start> {
    let (server, stream) = (Server::new(outward.redis).map_err(Usage)?, outward.stream);
    order.paced(stream.partitions)?;
    let mut replayer = Replayer::connect(&server, stream, &order.group).await?;
    match replayer.stands().await? {
        Stands::Reads => return Ok(Start::Reads),
        Stands::Torn(partitions) => bail!(
            "group {:?} reads partitions {partitions:?} of {} and is not on the others: retire it there first, or name \
             another",
            order.group,
            stream.kind
        ),
        Stands::Waits(state) | Stands::Given(state) if state.what != order.what() => {
            bail!(order.other(&state))
        }
        Stands::Given(_) => return Ok(Start::Given),
        Stands::Waits(_) => info!(group = order.group, "a replay of this past was begun before: it goes on"),
        Stands::New => {
            info!(group = order.group, "the group waits for its past, and then reads the stream after it");
        }
    }
    let before = replayer.before().await?;
    let wish = wish(stream, order, &before)?;
    match replayer.begin(&wish).await? {
        Begun::Waits => Ok(Start::Waits),
        Begun::Other(state) => bail!(order.other(&state)),
        Begun::Exists => Ok(Start::Reads),
        Begun::Trimmed => bail!("the stream was trimmed while the replay began: run it again"),
    }
}

/// Where the past ends and the stream begins, by partition.
fn wish(stream: &StreamSettings, order: &Order, before: &[Before]) -> anyhow::Result<Wish> {
    let what = order.what();
    let Some(root) = &order.archive else {
        all_there(stream, order, before)?;
        // What the past is read from stays until it was read.
        let pins = before.iter().map(|before| order.after().max(before.trimmed).min(before.last)).collect();
        let after = before.iter().map(|before| before.last).collect();
        return Ok(Wish { after, pins, newest: EntryId::ZERO, what });
    };
    // Before the archive is read: everything up to its mark is in the files there are then.
    let marks = marks(&Home::new(root, stream.kind))?;
    let newest = marks.values().map(|mark| mark.id).max().unwrap_or_default();
    let after = (0u16..).zip(before).map(|(at, before)| handover(stream, at, before, marks.get(&at)));
    let after = after.collect::<anyhow::Result<Vec<EntryId>>>()?;
    Ok(Wish { pins: after.clone(), after, newest, what })
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

/// Refuses a past that the stream may no longer hold. Entries lie in the order they came in, not in that of their frames: only
/// of a place in that order can a trimmed stream tell whether it is still there.
fn all_there(stream: &StreamSettings, order: &Order, before: &[Before]) -> anyhow::Result<()> {
    let since = order.after();
    let gone = |(_, before): &(u16, &Before)| since < before.trimmed;
    if let Some((partition, before)) = (0u16..).zip(before).find(gone) {
        bail!(
            "{} was trimmed up to {}: what was asked for may not be on it any more. Name an archive that has it \
             (--archive DIR), or ask from the id or time of an entry that is left",
            Keys::new(&stream.prefix, stream.kind, partition).stream(),
            before.trimmed
        );
    }
    Ok(())
}

/// Gives the group its past: publishes until all of it lies ready, or `stop`. Ended at any moment, it goes on where it
/// was when it is called again.
pub async fn give<R: Record>(
    outward: &Outward<'_>,
    order: &Order,
    once: bool,
    stop: &CancellationToken,
    mut watch: impl FnMut(&Totals),
) -> anyhow::Result<Totals> {
    let mut told = Totals::default();
    let watch = |totals: &Totals| {
        told.clone_from(totals);
        watch(totals);
    };
    let error = match publish::<R>(outward, order, once, stop, watch).await {
        Ok(totals) => return Ok(totals),
        Err(error) => error,
    };
    // The answer to the last transaction may be lost, and the group at once be through with what lay ready.
    let server = Server::new(outward.redis).map_err(Usage)?;
    let Ok(mut replayer) = Replayer::connect(&server, outward.stream, &order.group).await else {
        return Err(error);
    };
    match replayer.stands().await {
        Ok(Stands::Given(_) | Stands::Reads) => Ok(told),
        _ => Err(error),
    }
}

async fn publish<R: Record>(
    outward: &Outward<'_>,
    order: &Order,
    once: bool,
    stop: &CancellationToken,
    watch: impl FnMut(&Totals),
) -> anyhow::Result<Totals> {
    let (server, group) = (Server::new(outward.redis).map_err(Usage)?, &order.group);
    // Asked now: between the beginning and this the group may have been retired and given another past.
    let after = Replayer::connect(&server, outward.stream, group).await?.after().await?;
    let Some(root) = &order.archive else {
        let spans = spans(outward.stream, order, &after);
        let from = Streamed::<R>::new(server, spans, order.filter(), order.speed);
        return outward.replay(&mut Given::new(from), group, once, stop, watch).await;
    };
    let wanted = Wanted {
        root: root.clone(),
        kind: outward.stream.kind,
        filter: order.filter(),
        above: order.after().version(),
        upto: after.iter().map(|&id| if id == EntryId::ZERO { u64::MAX } else { id.version() }).collect(),
        speed: order.speed,
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
