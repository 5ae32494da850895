//! The promises of a transport, which the loops build upon: guarded publishing, reading under a lease, settling as a whole.

use std::time::Duration;

use sqep::{
    Cursors, DayBar, EntryId, Record, Stamp,
    codec::Encoding,
    letter::Letter,
    transport::{Held, Inlet, Outgoing, Outlet, Published, Settlement, Transaction},
};

fn transaction(cursors: &Cursors, payloads: &[&str]) -> Transaction {
    let entry = |payload: &&str| Outgoing {
        partition: 0,
        source: None,
        kind: DayBar::TYPE,
        encoding: Encoding::Csv,
        records: 1,
        payload: payload.as_bytes().to_vec(),
    };
    let stamp = Stamp { seq: cursors.stamp.seq + 1, writer: "suite".to_owned() };
    let mut totals = cursors.totals.clone();
    totals.read += 1;
    let changed = vec![("file".to_owned(), stamp.seq.to_string())];
    Transaction {
        entries: payloads.iter().map(entry).collect(),
        stamp,
        totals,
        changed,
        ..Transaction::default()
    }
}

fn yes<T: std::fmt::Debug>(held: Held<T>) -> T {
    match held {
        Held::Yes(value) => value,
        Held::Lost => panic!("the lease was lost"),
    }
}

/// Runs all promises. `steal` makes the lease another's, as time would.
///
/// # Panics
/// When a promise is broken.
pub async fn transport<O: Outlet, I: Inlet, F: Future<Output = anyhow::Result<()>>>(
    outlet: &mut O,
    inlet: &mut I,
    steal: impl Fn() -> F,
) -> anyhow::Result<()> {
    let cursors = outlet.open().await?;
    assert_eq!(cursors, Cursors::default(), "nothing is stored yet");
    let first = transaction(&cursors, &["one", "two"]);
    assert_eq!(outlet.publish(&cursors.stamp, &first).await?, Published::Done);
    assert_eq!(
        outlet.publish(&cursors.stamp, &first).await?,
        Published::Conflict,
        "the same transaction again is refused whole"
    );
    let stored = outlet.open().await?;
    assert_eq!(
        (&stored.stamp, &stored.totals),
        (&first.stamp, &first.totals),
        "the cursor moved with the entries"
    );
    assert_eq!(stored.fields, first.changed.iter().cloned().collect());
    let twin = Stamp { writer: "twin".to_owned(), ..stored.stamp.clone() };
    assert_eq!(
        outlet.publish(&twin, &transaction(&stored, &["three"])).await?,
        Published::Conflict,
        "a twin at the same count is refused"
    );

    let standing = inlet.open().await?;
    assert_eq!(standing.settled, None, "there is no group yet");
    assert!(standing.last > EntryId::ZERO);
    yes(inlet.place(EntryId::ZERO).await?);
    assert!(yes(inlet.pending(EntryId::ZERO).await?).is_empty());
    let mut entries = Vec::new();
    while entries.len() < 2 {
        entries.extend(yes(inlet.next(Duration::ZERO).await?));
    }
    assert_eq!(entries[0].field("p"), Some(&b"one"[..]));
    assert_eq!(entries[1].field("n"), Some(&b"1"[..]));
    assert!(yes(inlet.next(Duration::from_millis(20)).await?).is_empty(), "an entry is handed out once");

    let again = inlet.open().await?;
    assert_eq!(again.born, standing.born);
    assert_eq!(again.settled, Some(EntryId::ZERO));
    let mut pending = Vec::new();
    while let Some(last) =
        Some(yes(inlet.pending(pending.last().map_or(EntryId::ZERO, |e: &sqep::wire::Entry| e.id)).await?))
            .filter(|e| !e.is_empty())
    {
        pending.extend(last);
    }
    assert_eq!(pending, entries, "what was handed out and not settled comes again");

    let letter = Letter::of_entry("group", entries[0].id, Vec::new(), entries[0].fields.clone());
    yes(inlet.settle(&Settlement { ids: vec![entries[0].id], letters: vec![letter] }).await?);
    let rest = inlet.open().await?;
    assert_eq!(rest.settled, Some(entries[0].id));
    assert_eq!(yes(inlet.pending(EntryId::ZERO).await?), entries[1..]);

    steal().await?;
    let settlement = Settlement { ids: vec![entries[1].id], letters: Vec::new() };
    assert_eq!(inlet.settle(&settlement).await?, Held::Lost, "without the lease nothing is settled");
    assert_eq!(inlet.next(Duration::ZERO).await?, Held::Lost, "without the lease nothing is handed out");
    assert_eq!(inlet.pending(EntryId::ZERO).await?, Held::Lost);
    assert_eq!(inlet.place(EntryId::ZERO).await?, Held::Lost);
    Ok(())
}

/// Ids given out after [`Inlet::raise`] are above the floor, on a stream that exists and on one that does not.
///
/// # Panics
/// When the promise is broken.
pub async fn raise<O: Outlet, I: Inlet>(outlet: &mut O, inlet: &mut I) -> anyhow::Result<()> {
    let floor = EntryId::new(9_000_000_000_000, 5);
    inlet.open().await?;
    inlet.raise(floor).await?;
    let cursors = outlet.open().await?;
    outlet.publish(&cursors.stamp, &transaction(&cursors, &["late"])).await?;
    assert!(inlet.open().await?.last > floor, "a clock behind the floor does not matter");
    inlet.raise(EntryId::new(1, 0)).await?;
    assert!(inlet.open().await?.last > floor, "raising never lowers");
    Ok(())
}
