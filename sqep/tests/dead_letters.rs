//! Dead letters on a real server: nothing that is buried is lost, nothing hostile stops a reader, and what comes back never
//! beats its correction.

mod pipe;

use std::{collections::BTreeMap, sync::Arc};

use sqep::{
    Calendar, DayBar, EntryId, Kind, Reason, Record, Refusal,
    check::Finding,
    codec::{Encoding, encode},
    letter::{By, ENTRY_BYTES_MAX, FIELDS_MAX, Letter, TEXT_BYTES_MAX},
    redis::{
        Connection,
        dead::{Filter, Found, LetterId, Letters, by_reason, remove},
        redrive::{Redriven, redrive},
    },
    wire,
};

use self::pipe::{Memory, NEVER, Pipe, STREAM, bar, bars};

/// The published calendar, with these weekdays closed too.
fn closed(days: &[&str]) -> Arc<Calendar> {
    let published = include_str!("../../schemas/calendar/sse.csv");
    let text = format!("{published}{}\n", days.join("\n"));
    Arc::new(text.parse().expect("a calendar"))
}

impl Pipe {
    async fn letters(&self, filter: Filter) -> anyhow::Result<Vec<Found>> {
        let mut letters = Letters::new(self.connection().await?, &[(0, self.keys())], filter, false);
        let mut all = Vec::new();
        while let Some(page) = letters.page().await? {
            all.extend(page);
        }
        Ok(all)
    }

    async fn all_letters(&self) -> anyhow::Result<Vec<Found>> {
        self.letters(Filter::default()).await
    }

    async fn back(&self, connection: &mut Connection, found: &Found) -> anyhow::Result<Redriven> {
        let calendar = Calendar::published();
        Ok(redrive::<DayBar>(connection, &self.keys(), (Kind::BarDay, &calendar), found, false).await?)
    }

    /// Redrives every letter there is.
    async fn redrive(&self) -> anyhow::Result<Vec<Redriven>> {
        let (mut connection, mut all) = (self.connection().await?, Vec::new());
        for found in self.all_letters().await? {
            all.push(self.back(&mut connection, &found).await?);
        }
        Ok(all)
    }

    async fn reasons(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        Ok(by_reason(&mut self.connection().await?, &self.keys()).await?)
    }

    /// Adds an entry of `bars` past the first door.
    async fn smuggle(&self, bars: &[DayBar]) -> anyhow::Result<EntryId> {
        let mut payload = Vec::new();
        encode(Encoding::Json, bars, None, &mut payload)?;
        let count = bars.len().to_string();
        let fields = wire::envelope(DayBar::TYPE, "smuggler", Encoding::Json, &count, &payload);
        let text: Vec<&str> = fields
            .iter()
            .flat_map(|(name, value)| [*name, std::str::from_utf8(value).expect("text")])
            .collect();
        let id: String = self.redis.command(&[&["XADD", STREAM, "*"], text.as_slice()].concat()).await?;
        Ok(id.parse()?)
    }
}

fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|&(reason, rows)| (reason.to_owned(), rows)).collect()
}

#[tokio::test]
async fn an_entry_too_large_for_a_letter_is_buried_as_far_as_it_fits_and_the_reader_goes_on()
-> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    let (many, long) = (vec!["x"; 30_000], "y".repeat(3 * ENTRY_BYTES_MAX));
    pipe.redis.command::<String>(&[&["XADD", STREAM, "*"], many.as_slice()].concat()).await?;
    pipe.redis.command::<String>(&["XADD", STREAM, "*", "v", &long, "p", &long]).await?;
    pipe.redis.command::<String>(&["XADD", STREAM, "*", &long, "name", "p", "payload"]).await?;
    pipe.publish(&[bars(2)]).await?;
    let account = pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!((account.fetched, account.written), (5, 2));

    let letters = pipe.all_letters().await?;
    let letter = |at: usize| letters[at].letter.as_ref().expect("readable");
    assert_eq!(letter(0).fields.len(), FIELDS_MAX);
    assert_eq!(letter(0).cut, "1000 of 15000 fields and 2000 of 30000 bytes are kept");
    assert_eq!((letter(1).fields.len(), letter(1).fields[0].1.len()), (1, ENTRY_BYTES_MAX - 1));
    assert!(letter(1).cut.starts_with("1 of 2 fields"), "{}", letter(1).cut);
    assert!(
        letter(1).refusals[0].findings[0].value.len() <= TEXT_BYTES_MAX + 3,
        "what is wrong is said in short"
    );
    assert_eq!((letter(2).fields.len(), letter(2).cut.is_empty()), (0, false));
    for redriven in pipe.redrive().await? {
        assert!(matches!(&redriven, Redriven::Stays(why) if why.contains("are kept")), "{redriven:?}");
    }
    Ok(())
}

#[tokio::test]
async fn ten_thousand_refused_records_are_one_letter_and_come_back() -> anyhow::Result<()> {
    let (mut pipe, mut sink) = (Pipe::new().await?, Memory::default());
    let days = [4, 5, 6, 7, 8].into_iter();
    let bars: Vec<DayBar> = days.flat_map(|day| (1..=2_000).map(move |n| bar(n, day, 10.0))).collect();
    let mut payload = Vec::new();
    encode(Encoding::Arrow, &bars, None, &mut payload)?;
    let mut connection = redis::Client::open(pipe.redis.url())?.get_multiplexed_async_connection().await?;
    let mut add = redis::cmd("XADD");
    add.arg(STREAM).arg("*");
    for (name, value) in wire::envelope(DayBar::TYPE, "test", Encoding::Arrow, "10000", &payload) {
        add.arg(name).arg(value);
    }
    let id: String = add.query_async(&mut connection).await?;
    let id: EntryId = id.parse()?;
    pipe.calendar = closed(&["2024-03-04", "2024-03-05", "2024-03-06", "2024-03-07", "2024-03-08"]);
    let account = pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!((account.fetched, account.written), (10_000, 0));
    assert_eq!(pipe.reasons().await?, counts(&[("not_a_session", 10_000)]));

    let redriven = pipe.redrive().await?;
    assert_eq!(redriven, [Redriven::Back { records: 10_000, left: Vec::new() }]);
    assert_eq!(pipe.reasons().await?, counts(&[]));
    pipe.calendar = Arc::new(Calendar::published());
    assert_eq!(pipe.deliver(&mut sink, "sink", NEVER).await?.written, 10_000);
    assert!(sink.rows.values().all(|(version, _)| *version == id.version()), "under their first version");
    Ok(())
}

#[tokio::test]
async fn a_record_that_comes_back_never_beats_its_correction() -> anyhow::Result<()> {
    let (mut pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.calendar = closed(&["2024-03-04"]);
    pipe.publish(&[vec![bar(1, 4, 10.0), bar(2, 4, 10.0), bar(3, 5, 10.0)]]).await?;
    let first = pipe.ids().await?[0];
    let account = pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!((account.written, account.buried[&Reason::NotASession]), (1, 2));

    pipe.calendar = Arc::new(Calendar::published());
    pipe.publish(&[vec![bar(1, 4, 11.0)]]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!(pipe.redrive().await?, [Redriven::Back { records: 2, left: Vec::new() }]);
    assert_eq!(pipe.deliver(&mut sink, "sink", NEVER).await?.written, 2);
    let versions: Vec<u64> = sink.rows.values().map(|(version, _)| *version).collect();
    assert_eq!(sink.closes(), [11.0, 10.0, 10.0], "the correction wins");
    assert_eq!(versions[1..], [first.version(), first.version()], "what had none is as old as it was");
    assert_eq!(sink.sources, ["test"; 4]);
    assert!(pipe.all_letters().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_record_that_comes_back_and_is_buried_again_keeps_its_first_version() -> anyhow::Result<()> {
    let (mut pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.calendar = closed(&["2024-03-04"]);
    pipe.publish(&[vec![bar(1, 4, 10.0)]]).await?;
    let first = pipe.ids().await?[0];
    for _ in 0..3 {
        pipe.deliver(&mut sink, "sink", NEVER).await?;
        assert_eq!(pipe.redrive().await?, [Redriven::Back { records: 1, left: Vec::new() }]);
    }
    pipe.calendar = Arc::new(Calendar::published());
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!(sink.rows.values().next().map(|(version, _)| *version), Some(first.version()));
    Ok(())
}

#[tokio::test]
async fn what_still_fails_stays_with_its_reason_and_the_rest_comes_back() -> anyhow::Result<()> {
    let (mut pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.calendar = closed(&["2024-03-04"]);
    let torn = DayBar { high: 1.0, ..bar(3, 4, 10.0) };
    let id = pipe.smuggle(&[bar(1, 1, 10.0), bar(2, 4, 10.0), torn]).await?;
    let account = pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!((account.written, account.buried.values().sum()), (1, 2));
    let before = pipe.all_letters().await?;
    assert_eq!(before[0].first_seen_ms(), id.ms);

    let mut connection = pipe.connection().await?;
    let redriven = pipe.back(&mut connection, &before[0]).await?;
    let Redriven::Back { records: 1, left } = redriven else { panic!("{redriven:?}") };
    assert_eq!((left[0].row, left[0].reason()), (3, Some(Reason::OhlcOrder)));
    assert_eq!(pipe.back(&mut connection, &before[0]).await?, Redriven::Gone, "twice is once");
    let after = pipe.all_letters().await?;
    let rest = after[0].letter.as_ref().expect("readable");
    assert_eq!((after.len(), &rest.refusals), (1, &left));
    assert_eq!((rest.origin.clone(), rest.fields.len()), (id.to_string(), 6), "with the bytes of its entry");
    assert_eq!(pipe.reasons().await?, counts(&[("ohlc_order", 1)]));
    let again = pipe.redrive().await?;
    assert!(
        matches!(&again[..], [Redriven::Stays(why)] if why.contains("row 3 600003.SH: ohlc_order")),
        "{again:?}"
    );

    pipe.calendar = Arc::new(Calendar::published());
    assert_eq!(pipe.deliver(&mut sink, "sink", NEVER).await?.written, 1);
    assert_eq!(sink.sources, ["smuggler", "smuggler"]);
    Ok(())
}

#[tokio::test]
async fn a_record_its_sink_refused_comes_back_once_the_sink_takes_it() -> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    sink.refuses = vec![bar(2, 1, 10.0).symbol()];
    let limits =
        DayBar { buy_limit: Some(11.11), st: Some(true), adjust: Some(1.234_567_890_123), ..bar(2, 1, 9.99) };
    pipe.publish(&[vec![bar(1, 1, 10.0), limits, bar(3, 1, 10.0)]]).await?;
    let first = pipe.ids().await?[0];
    let account = pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!((account.written, account.buried[&Reason::SinkNever]), (2, 1));
    sink.refuses.clear();
    assert_eq!(pipe.redrive().await?, [Redriven::Back { records: 1, left: Vec::new() }]);
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    assert_eq!(sink.rows[&limits.key()], (first.version(), limits), "bit by bit");
    assert_eq!(sink.sources, ["test"; 3]);
    Ok(())
}

#[tokio::test]
async fn what_cannot_come_back_says_what_to_do() -> anyhow::Result<()> {
    let (pipe, mut sink) = (Pipe::new().await?, Memory::default());
    pipe.redis.command::<String>(&["XADD", STREAM, "*", "v", "9", "p", "later"]).await?;
    pipe.publish(&[vec![bar(1, 1, 10.0), DayBar { vol: -1.0, ..bar(2, 1, 10.0) }]]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    pipe.redis.command::<String>(&["XADD", &pipe.keys().dead(), "*", "something", "else"]).await?;
    let redriven = pipe.redrive().await?;
    let why = |at: usize| match &redriven[at] {
        Redriven::Stays(why) => why.as_str(),
        other => panic!("{other:?}"),
    };
    assert!(why(0).contains("sqep-csv --force test") && why(0).contains("source \"test\""), "{}", why(0));
    assert!(why(1).contains("unknown_version") && why(1).contains("upgrade"), "{}", why(1));
    assert!(why(2).contains("no dead letter"), "{}", why(2));
    assert_eq!(pipe.all_letters().await?.len(), 3, "nothing went");
    Ok(())
}

#[tokio::test]
async fn letters_are_found_by_reason_name_time_and_id() -> anyhow::Result<()> {
    let (pipe, mut sink, mut other) = (Pipe::new().await?, Memory::default(), Memory::default());
    let torn = DayBar { high: 1.0, ..bar(1, 1, 10.0) };
    pipe.smuggle(&[torn, DayBar { vol: -1.0, ..bar(2, 1, 10.0) }]).await?;
    pipe.publish(&[vec![DayBar { vol: -1.0, ..bar(3, 1, 10.0) }]]).await?;
    pipe.deliver(&mut sink, "sink", NEVER).await?;
    pipe.deliver(&mut other, "other", NEVER).await?;
    assert_eq!(pipe.reasons().await?, counts(&[("negative", 3), ("ohlc_order", 2)]));
    let found = async |filter: Filter| -> anyhow::Result<Vec<String>> {
        let letters = pipe.letters(filter).await?;
        Ok(letters.into_iter().map(|found| found.letter.expect("readable").name).collect())
    };
    let all = pipe.all_letters().await?;
    let by = |by: By, name: &str| Filter { by: Some((by, name.to_owned())), ..Filter::default() };
    let about = |reason: Reason| Filter { reason: Some(reason), ..Filter::default() };
    assert_eq!(found(Filter::default()).await?, ["test", "sink", "other"]);
    assert_eq!(found(by(By::Group, "other")).await?, ["other"]);
    assert_eq!(found(by(By::Source, "other")).await?, [""; 0]);
    assert_eq!(found(about(Reason::OhlcOrder)).await?, ["sink", "other"]);
    assert_eq!(found(about(Reason::Negative)).await?.len(), 3, "any row's reason counts");
    let ids = [all[1].id, LetterId { partition: 3, ..all[2].id }].into();
    assert_eq!(found(Filter { ids, ..Filter::default() }).await?, ["sink"], "of this partition");
    let (first, last) = (all[0].id.id.ms, all[2].id.id.ms);
    assert_eq!(found(Filter { since_ms: Some(last + 1), ..Filter::default() }).await?, [""; 0]);
    assert_eq!(found(Filter { until_ms: Some(first), ..Filter::default() }).await?, [""; 0]);
    let within = Filter { since_ms: Some(first), until_ms: Some(last + 1), ..Filter::default() };
    assert_eq!(found(within).await?.len(), 3);

    let mut connection = pipe.connection().await?;
    assert!(remove(&mut connection, &pipe.keys(), &all[1]).await?);
    assert!(!remove(&mut connection, &pipe.keys(), &all[1]).await?, "twice is once");
    assert_eq!(pipe.reasons().await?, counts(&[("negative", 2), ("ohlc_order", 1)]));
    pipe.redis.command::<u64>(&["DEL", &pipe.keys().dead()]).await?;
    assert_eq!(pipe.reasons().await?, counts(&[]), "also after somebody deleted them by hand");
    Ok(())
}

#[tokio::test]
async fn letters_are_walked_from_both_ends_over_any_number_of_pages() -> anyhow::Result<()> {
    let pipe = Pipe::new().await?;
    let parts: Vec<Vec<DayBar>> = (1..=30).map(|n| vec![DayBar { vol: -1.0, ..bar(n, 1, 10.0) }]).collect();
    pipe.publish(&parts).await?;
    let oldest: Vec<LetterId> = pipe.all_letters().await?.iter().map(|found| found.id).collect();
    let mut letters = Letters::new(pipe.connection().await?, &[(0, pipe.keys())], Filter::default(), true);
    let mut newest = Vec::new();
    while let Some(page) = letters.page().await? {
        newest.extend(page.iter().map(|found| found.id));
    }
    assert_eq!(oldest.len(), 30);
    assert!(oldest.is_sorted());
    newest.reverse();
    assert_eq!(newest, oldest);
    for id in [oldest[0], LetterId { partition: 7, ..oldest[0] }] {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    assert!("x/1-0".parse::<LetterId>().is_err_and(|error| error.to_string().contains("sqep dead list")));
    Ok(())
}

#[test]
fn a_letter_is_read_back_as_it_was_written() {
    let finding = Finding { reason: Reason::OhlcOrder, field: "high".to_owned(), value: "元".repeat(1_000) };
    let refusal = Refusal {
        row: 7,
        rows: 1,
        symbol: "600001.SH".to_owned(),
        findings: vec![finding],
        raw: "raw,\"text\"\n".to_owned(),
    };
    let fields = vec![(b"p".to_vec(), vec![0, 255, 10]), (b"e:p".to_vec(), Vec::new())];
    let of_group = Letter::of_entry("group", EntryId::new(5, 6), vec![refusal.clone()], fields);
    let of_source = Letter::of_source("csv", "a file.csv", &vec![refusal; 1_500]);
    assert_eq!(of_source.len(), 2);
    for letter in of_source.iter().chain([&of_group]) {
        assert_eq!(Letter::of_fields(&letter.to_fields()).as_ref(), Ok(letter));
    }
    assert!(Letter::of_fields(&[]).is_err());
}
