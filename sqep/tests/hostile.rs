//! Entries made to harm whoever reads them: the real program buries each with its reason, within bounded memory and
//! time, and the good bars between them arrive.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_array::{ArrayRef, DictionaryArray, RecordBatch, types::Int32Type};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Field, Schema};
use sqep::{
    DayBar, EntryId, Exchange, Record, Symbol,
    codec::{Encoding, encode},
    letter::Letter,
};
use sqep_testkit::{TestRedis, programs::Running};

const STREAM: &str = "sqep:{bar:1d:0}";
const DEAD: &str = "sqep:{bar:1d:0}:dead";
/// Of one program, whatever comes.
const MEMORY_BYTES_MAX: u64 = 300 << 20;
const TIME_MAX: Duration = Duration::from_secs(60);

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// An entry and what it must be buried for: reason, field, and a word of the explanation.
struct Hostile {
    what: &'static str,
    fields: Fields,
    reason: &'static str,
    field: &'static str,
    because: &'static str,
}

fn bar(code: u32) -> DayBar {
    DayBar {
        symbol: Symbol::new(Exchange::SZ, code).expect("a symbol"),
        frame: chrono::NaiveDate::from_ymd_opt(2024, 3, 1).expect("a day"),
        open: 10.0,
        high: 11.0,
        low: 9.0,
        close: 10.5,
        vol: 1_000.0,
        amount: Some(10_000.0),
        ..DayBar::blank()
    }
}

fn payload(encoding: Encoding, bars: &[DayBar], versions: Option<&[u64]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(encoding, bars, versions, &mut bytes).expect("encodes");
    bytes
}

/// An envelope around a payload.
fn entry(enc: &str, n: &str, payload: impl Into<Vec<u8>>) -> Fields {
    let fields = [("v", "1"), ("type", DayBar::TYPE), ("src", "hostile"), ("enc", enc), ("n", n)];
    let mut fields: Fields = fields.map(|(name, value)| (name.into(), value.into())).into();
    fields.push((b"p".to_vec(), payload.into()));
    fields
}

/// A good entry with one field changed.
fn with(name: &str, value: impl Into<Vec<u8>>) -> Fields {
    let mut fields = entry("csv", "1", payload(Encoding::Csv, &[bar(1)], None));
    let field = fields.iter_mut().find(|(field, _)| field == name.as_bytes()).expect("a field of ours");
    field.1 = value.into();
    fields
}

/// A good Arrow payload, with the eight bytes at every place of its batch that holds `old` replaced.
fn arrow_with(old: i64, new: i64) -> Vec<u8> {
    // So many that the lengths of columns look like nothing else.
    let bars: Vec<DayBar> = (1..=1_000).map(bar).collect();
    let mut bytes = payload(Encoding::Arrow, &bars, None);
    let (old, new) = (old.to_le_bytes(), new.to_le_bytes());
    // After the schema: a mark, the length of what describes it, and that.
    let schema = u32::from_le_bytes(*bytes[4..].first_chunk().expect("a length"));
    let mut at = 8 + usize::try_from(schema).expect("fits");
    while let Some(found) = bytes[at..].windows(8).position(|window| window == old) {
        at += found;
        bytes[at..at + 8].copy_from_slice(&new);
        at += 8;
    }
    bytes
}

/// Columns that are dictionaries.
fn arrow_dictionary() -> Vec<u8> {
    let values: DictionaryArray<Int32Type> = ["000001.SZ"; 3].into_iter().collect();
    let schema = Arc::new(Schema::new(vec![Field::new(
        "symbol",
        arrow_array::Array::data_type(&values).clone(),
        false,
    )]));
    let column: ArrayRef = Arc::new(values);
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("a batch");
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &schema).expect("a writer");
    writer.write(&batch).expect("writes");
    writer.finish().expect("ends");
    drop(writer);
    bytes
}

/// Envelopes that lie.
fn envelopes() -> Vec<Hostile> {
    let case = |what, fields, reason, field, because| Hostile { what, fields, reason, field, because };
    let mut all = vec![
        case("unknown version", with("v", "9"), "unknown_version", "v", "\"9\""),
        case("unknown type", with("type", "SQEP-FOO"), "unknown_type", "type", "SQEP-FOO"),
        case("another stream's type", with("type", "SQEP-BAR-MINUTE"), "unknown_type", "type", "MINUTE"),
        case("unknown encoding", with("enc", "pickle"), "undecodable", "enc", "pickle"),
        case("more claimed than held", with("n", "5"), "undecodable", "n", "holds 1"),
        case("less than none claimed", with("n", "-1"), "undecodable", "n", "\"-1\""),
        case("a claim beyond numbers", with("n", "9".repeat(1_000)), "undecodable", "n", "holds 1"),
        case("nothing, claimed to be all", entry("csv", "10000", ""), "undecodable", "n", "holds 0"),
        case("a name and nothing else", vec![(Vec::new(), Vec::new())], "undecodable", "v", "no field"),
        case("no payload", with("v", "1").into_iter().take(5).collect(), "undecodable", "p", "no field"),
        case(
            "thousands of fields",
            (0..50_000).map(|n: u32| (n.to_string().into(), b"x".to_vec())).collect(),
            "undecodable",
            "",
            "more than 1000 fields",
        ),
        case(
            "huge names",
            (0..4u8).map(|n| (vec![n; 1 << 20], b"x".to_vec())).collect(),
            "undecodable",
            "",
            "more than 2097152 bytes",
        ),
    ];
    for field in ["v", "type", "src", "enc", "n"] {
        all.push(case("no text", with(field, [0xff, 0xfe]), "undecodable", field, "not text"));
    }
    all
}

/// Payloads that lie.
fn payloads() -> Vec<Hostile> {
    let case = |what, fields, field, because| Hostile { what, fields, reason: "undecodable", field, because };
    let twice = [bar(1), DayBar { close: 9.5, ..bar(1) }];
    let many: Vec<DayBar> = (1..=10_001).map(bar).collect();
    vec![
        case("no text", with("p", [0xff, 0xfe]), "p", "csv"),
        case("just too large", with("p", vec![b'1'; (1 << 20) + 1]), "p", "payload bytes 1048577"),
        case("one value of a megabyte", entry("csv", "1", "9".repeat(1 << 20)), "p", "symbol"),
        case(
            "too many rows",
            entry("csv", "10001", payload(Encoding::Csv, &many, None)),
            "p",
            "records 10001",
        ),
        case("deep JSON", entry("json", "1", "[".repeat(500_000)), "p", "json"),
        case(
            "deep JSON where nobody looks",
            entry("json", "1", format!("[{{\"x\":{}", "[".repeat(500_000))),
            "p",
            "json",
        ),
        case("a number beyond numbers", entry("json", "1", "[{\"symbol\":1e999}]"), "p", "json"),
        case(
            "a million nulls",
            entry("json", "1", format!("[{}null]", "null,".repeat(200_000))),
            "p",
            "json",
        ),
        case("one key twice", entry("csv", "2", payload(Encoding::Csv, &twice, None)), "p", "key"),
        case(
            "a version of tomorrow",
            entry("arrow", "1", payload(Encoding::Arrow, &[bar(1)], Some(&[u64::MAX]))),
            "p",
            "above",
        ),
        case("no Arrow", entry("arrow", "1", "not Arrow at all"), "p", "arrow"),
        case("Arrow longer than itself", entry("arrow", "1", arrow_with(8_000, i64::MAX)), "p", "outside"),
        case("Arrow before itself", entry("arrow", "1", arrow_with(8_000, i64::MIN)), "p", "outside"),
        case("Arrow of endless columns", entry("arrow", "1", arrow_with(1_000, i64::MAX)), "p", "records"),
        case("Arrow of less than no rows", entry("arrow", "1", arrow_with(1_000, -1)), "p", "negative"),
        case("an Arrow dictionary", entry("arrow", "3", arrow_dictionary()), "p", "Dictionary"),
    ]
}

struct World {
    redis: TestRedis,
    connection: redis::aio::MultiplexedConnection,
    folder: tempfile::TempDir,
    good: u32,
}

impl World {
    async fn new() -> anyhow::Result<World> {
        let redis = TestRedis::start().await?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(TIME_MAX));
        let client = redis::Client::open(redis.url())?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(World { redis, connection, folder: tempfile::tempdir()?, good: 0 })
    }

    async fn add(&mut self, fields: &Fields) -> anyhow::Result<EntryId> {
        let mut command = redis::cmd("XADD");
        command.arg(STREAM).arg("*");
        for (name, value) in fields {
            command.arg(name).arg(value);
        }
        Ok(command.query_async::<String>(&mut self.connection).await?.parse()?)
    }

    /// A bar that must arrive.
    async fn add_good(&mut self) -> anyhow::Result<()> {
        self.good += 1;
        let fields = entry("arrow", "1", payload(Encoding::Arrow, &[bar(self.good)], None));
        self.add(&fields).await.map(drop)
    }

    fn reader(&self, name: &str) -> anyhow::Result<Running> {
        let root = format!("parquet.root={}", self.folder.path().join("archive").display());
        let url = format!("redis.url={}", self.redis.url());
        let set = ["reader.start=earliest", "parquet.wait_s_max=1", &root, &url];
        let arguments: Vec<String> =
            set.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect();
        Running::start(name, &arguments, &self.log())
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    /// Lets the program read until it has settled everything; returns the most memory it ever had.
    async fn settle(&mut self) -> anyhow::Result<u64> {
        let (since, mut reader) = (Instant::now(), self.reader("sqep-parquet")?);
        let last = self.last().await?;
        loop {
            let settled: Option<String> = redis::cmd("HGET")
                .arg(format!("{STREAM}:groups"))
                .arg("parquet")
                .query_async(&mut self.connection)
                .await?;
            if settled.is_some_and(|settled| settled.parse() == Ok(last)) {
                break;
            }
            let log = || std::fs::read_to_string(self.log()).unwrap_or_default();
            assert_eq!(reader.ended()?, None, "{}", log());
            assert!(since.elapsed() < TIME_MAX, "{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let peak = peak_bytes(reader.pid())?;
        assert_eq!(reader.terminate()?, 0);
        Ok(peak)
    }

    async fn last(&mut self) -> anyhow::Result<EntryId> {
        let newest: Vec<(String, redis::Value)> = redis::cmd("XREVRANGE")
            .arg(STREAM)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query_async(&mut self.connection)
            .await?;
        Ok(newest[0].0.parse()?)
    }

    async fn letters(&mut self) -> anyhow::Result<Vec<Letter>> {
        let all: Vec<(String, Fields)> =
            redis::cmd("XRANGE").arg(DEAD).arg("-").arg("+").query_async(&mut self.connection).await?;
        all.iter().map(|(_, fields)| Ok(Letter::of_fields(fields)?)).collect()
    }

    /// Rows of the archive.
    fn arrived(&self) -> anyhow::Result<usize> {
        let log = std::fs::read_to_string(self.log())?;
        let written = log.rsplit_once("written=").and_then(|(_, rest)| rest.split(' ').next());
        Ok(written.unwrap_or_default().parse()?)
    }
}

/// The most memory a process ever had.
fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    Ok(peak.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_entry_is_buried_with_its_reason_and_the_bars_between_arrive() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let mut expected = Vec::new();
    world.add_good().await?;
    for hostile in envelopes().into_iter().chain(payloads()) {
        let id = world.add(&hostile.fields).await?;
        world.add_good().await?;
        expected.push((id, Hostile { fields: Vec::new(), ..hostile }));
    }
    let peak = world.settle().await?;
    assert!(peak < MEMORY_BYTES_MAX, "{} MiB", peak >> 20);
    let letters = world.letters().await?;
    assert_eq!(letters.len(), expected.len());
    for (letter, (id, hostile)) in letters.iter().zip(&expected) {
        let what = hostile.what;
        assert_eq!(letter.origin, id.to_string(), "{what}");
        assert_eq!(letter.reason(), hostile.reason, "{what}: {:?}", letter.refusals);
        let finding = &letter.refusals[0].findings[0];
        assert_eq!(finding.field, hostile.field, "{what}: {finding:?}");
        assert!(finding.value.contains(hostile.because), "{what}: {finding:?}");
        assert!(letter.bytes() < 3 << 20, "{what}");
    }
    assert_eq!(world.arrived()?, usize::try_from(world.good)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_huge_entries_does_not_fill_the_memory_of_a_reader() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let (large, largest) = (with("p", vec![b'1'; 16 << 20]), with("p", vec![b'1'; (1 << 20) - 200]));
    world.add(&large).await?;
    for _ in 0..20 {
        world.add_good().await?;
        world.add(&large).await?;
    }
    for _ in 0..64 {
        world.add(&largest).await?;
    }
    world.add_good().await?;
    world.add(&large).await?;
    let peak = world.settle().await?;
    assert!(peak < MEMORY_BYTES_MAX, "{} MiB", peak >> 20);
    let letters = world.letters().await?;
    assert_eq!(letters.len(), 22 + 64);
    for letter in &letters {
        let told = &letter.refusals[0].findings[0].value;
        assert!(told.contains("more than 2097152 bytes") || told.contains("\"symbol\""), "{told}");
        assert!(letter.bytes() < 3 << 20);
    }
    assert_eq!(world.arrived()?, 21);
    Ok(())
}
