//! The Python programs of `schemas/SQEP.md` and this crate understand one another to the bit, over a real server.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    collections::BTreeMap,
    env,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use chrono::NaiveDate;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::Value;
use sqep::{
    Calendar, DayBar, DayFeature, EntryId, Kind, MinuteBar, Reason, Record, RefDay, Refusal, Severity, Stamp,
    check::{Checker, Finding},
    codec::{
        Encoding,
        pack::{PAYLOAD_BYTES_MAX, Packer},
    },
    kind::Grid,
    letter::Letter,
    record::Cell,
    redis::{
        RedisOutlet, Server,
        embedded::Embedded,
        keys::{Keys, StreamSettings},
    },
    transport::{Outgoing, Outlet, Published, Transaction},
    wire::Entry,
};

const SOURCE: &str = "interop";

/// Names and values of an entry.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A server of its own, gone with it.
struct World {
    server: Embedded,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        World { server: Embedded::start(folder.path()).await.unwrap(), _folder: folder }
    }

    async fn publish<R: Record>(&self, kind: Kind, encoding: Encoding, records: &[R], letters: Vec<Letter>) {
        let settings = StreamSettings { kind, ..StreamSettings::default() };
        let server = Server::new(&self.server.settings()).unwrap();
        let mut outlet = RedisOutlet::new(server, settings, SOURCE);
        let cursors = outlet.open().await.unwrap();
        let packed = Packer::new(encoding, PAYLOAD_BYTES_MAX).pack(records, None).unwrap();
        let entry = |packed: sqep::codec::pack::Packed| Outgoing {
            partition: 0,
            source: None,
            kind: R::TYPE,
            encoding,
            records: packed.records,
            payload: packed.payload,
        };
        let stamp = Stamp { seq: cursors.stamp.seq + 1, writer: SOURCE.to_owned() };
        let entries = packed.into_iter().map(entry).collect();
        let transaction = Transaction { entries, letters, stamp, ..Transaction::default() };
        assert_eq!(outlet.publish(&cursors.stamp, &transaction).await.unwrap(), Published::Done);
    }

    fn entries(&self, stream: &str) -> Vec<Entry> {
        let mut connection = redis::Client::open(self.server.url()).unwrap().get_connection().unwrap();
        let found: Vec<(String, Fields)> =
            redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut connection).unwrap();
        found.into_iter().map(|(id, fields)| Entry { id: id.parse().unwrap(), fields }).collect()
    }

    /// Runs `interop.py` on a stream of this server.
    fn python(&self, verb: &str, encoding: Encoding, kind: Kind, fields: &[&str], input: &str) -> Vec<u8> {
        let socket = self.server.url().replace("redis+unix://", "unix://");
        let stream = stream(kind);
        let mut arguments = vec![verb, encoding.name(), &socket, &stream];
        arguments.extend(fields);
        interop(&arguments, input)
    }
}

fn interop(arguments: &[&str], input: &str) -> Vec<u8> {
    let python = env::var_os("SQEP_PYTHON").filter(|path| !path.is_empty()).unwrap_or_else(|| {
        panic!("SQEP_PYTHON names no python with redis and pyarrow; run `make test`, which sets it up")
    });
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python/interop.py");
    let mut command = Command::new(&python);
    command.arg(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", python.display()));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

fn stream(kind: Kind) -> String {
    Keys::new(&StreamSettings::default().prefix, kind, 0).stream().to_owned()
}

fn names<R: Record>() -> Vec<&'static str> {
    R::FIELDS.iter().map(|field| field.name).collect()
}

/// Cells as both sides write them: floats as the sixteen hexadecimal digits of their bits.
fn cells<R: Record>(records: &[R]) -> Vec<Vec<Value>> {
    let text = |cell| match cell {
        Cell::Null => Value::Null,
        Cell::Symbol(symbol) => symbol.get().to_string().into(),
        Cell::Date(date) => date.to_string().into(),
        Cell::Minute(wall) => wall.to_string().into(),
        Cell::Float(value) => format!("{:016x}", value.to_bits()).into(),
        Cell::Bool(value) => value.into(),
        Cell::Integer(value) => value.to_string().into(),
    };
    records.iter().map(|record| (0..R::FIELDS.len()).map(|at| text(record.get(at))).collect()).collect()
}

/// A positive double of any magnitude, subnormal ones included, or an edge.
fn positive(random: &mut SmallRng) -> f64 {
    const EDGES: [f64; 6] = [0.1, 0.001, 5e-324, f64::MIN_POSITIVE, f64::MAX, 1e12];
    match random.random_range(0..10) {
        at @ 0..6 => EDGES[at],
        6..8 => f64::from(random.random_range(1..10_000_000_u32)) / 1000.0,
        _ => f64::from_bits(random.random_range(1..f64::INFINITY.to_bits())),
    }
}

fn perhaps<T>(random: &mut SmallRng, value: T) -> Option<T> {
    random.random_bool(0.7).then_some(value)
}

fn count(random: &mut SmallRng) -> f64 {
    if random.random_bool(0.1) { 0.0 } else { positive(random) }
}

fn day_bars(seed: u64, days: usize) -> Vec<DayBar> {
    let mut random = SmallRng::seed_from_u64(seed);
    let first = NaiveDate::from_ymd_opt(1990, 12, 19).unwrap();
    let calendar = Calendar::published();
    let sessions = calendar.sessions(first, calendar.last()).step_by(7).take(days);
    let bar = |frame| {
        let random = &mut random;
        let mut prices = [0; 4].map(|_| positive(random));
        prices.sort_by(f64::total_cmp);
        let [low, open, close, high] = prices;
        DayBar {
            symbol: ["000001.SZ", "600000.SH", "920729.BJ"][random.random_range(0..3)].parse().unwrap(),
            frame,
            open,
            high,
            low,
            close,
            vol: count(random),
            amount: Some(count(random)).filter(|_| random.random_bool(0.7)),
            adjust: Some(positive(random)).filter(|_| random.random_bool(0.7)),
            st: perhaps(random, true).map(|st| st && random.random_bool(0.5)),
            buy_limit: Some(positive(random)).filter(|_| random.random_bool(0.7)),
            sell_limit: Some(positive(random)).filter(|_| random.random_bool(0.7)),
        }
    };
    sessions.map(bar).collect()
}

fn minute_bars(seed: u64) -> Vec<MinuteBar> {
    let minutes = (0..24 * 60).filter(|&minute| Grid::M1.is_label(minute));
    let bar = |(day, minute): (DayBar, u32)| {
        let frame =
            NaiveDate::from_ymd_opt(2024, 3, 1).unwrap().and_hms_opt(minute / 60, minute % 60, 0).unwrap();
        let DayBar { symbol, open, high, low, close, vol, amount, .. } = day;
        MinuteBar { symbol, frame, open, high, low, close, vol, amount }
    };
    day_bars(seed, 241).into_iter().zip(minutes).map(bar).collect()
}

fn ref_days(seed: u64) -> Vec<RefDay> {
    let known = |bar: DayBar| {
        let DayBar { symbol, frame, adjust, st, buy_limit, sell_limit, .. } = bar;
        RefDay { symbol, frame, adjust, st, buy_limit, sell_limit }
    };
    day_bars(seed, 500).into_iter().map(known).collect()
}

async fn python_reads_what_we_publish<R: Record>(kind: Kind, records: &[R]) {
    for encoding in Encoding::ALL {
        let world = World::start().await;
        world.publish(kind, encoding, records, Vec::new()).await;
        let printed = world.python("read", encoding, kind, &names::<R>(), "");
        let found: Vec<Vec<Value>> = serde_json::from_slice(&printed).unwrap();
        assert!(found == cells(records), "{kind} {encoding}: {}", first_difference(&found, &cells(records)));
    }
}

fn first_difference(found: &[Vec<Value>], expected: &[Vec<Value>]) -> String {
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected);
    match at {
        Some(at) => format!("record {at}: found {:?}, expected {:?}", found[at], expected[at]),
        None => format!("{} records found, {} expected", found.len(), expected.len()),
    }
}

#[tokio::test]
async fn the_python_readers_read_day_bars_to_the_bit() {
    let bars = day_bars(1, 1200);
    assert!(bars.iter().any(|bar| bar.st.is_none()) && bars.iter().any(|bar| bar.st == Some(true)));
    python_reads_what_we_publish(Kind::BarDay, &bars).await;
}

#[tokio::test]
async fn the_python_readers_read_minute_bars_with_their_wall_clock() {
    python_reads_what_we_publish(Kind::BarMinute(Grid::M1), &minute_bars(2)).await;
}

#[tokio::test]
async fn the_python_readers_read_reference_days_to_the_bit() {
    python_reads_what_we_publish(Kind::RefDay, &ref_days(3)).await;
}

#[tokio::test]
async fn the_python_readers_read_features_to_the_bit() {
    let mut random = SmallRng::seed_from_u64(5);
    let feature = |bar: &DayBar| DayFeature {
        symbol: bar.symbol,
        frame: bar.frame,
        values: std::array::from_fn(|at| if at % 7 == 0 { f64::NAN } else { -positive(&mut random) }),
        valid: bar.st.is_some(),
        set: u32::MAX,
        bar_version: u64::MAX,
    };
    let rows: Vec<DayFeature> = day_bars(5, 300).iter().map(feature).collect();
    python_reads_what_we_publish(Kind::FeatureDay, &rows).await;
}

#[tokio::test]
async fn we_read_what_the_python_writers_publish_to_the_bit() {
    let bars = day_bars(4, 300);
    let input = serde_json::to_string(&cells(&bars)).unwrap();
    for encoding in Encoding::ALL {
        let world = World::start().await;
        world.python("write", encoding, Kind::BarDay, &names::<DayBar>(), &input);
        let entries = world.entries(&stream(Kind::BarDay));
        assert_eq!(entries.len(), 1, "{encoding}");
        let opened = entries[0].open::<DayBar>().unwrap_or_else(|e| panic!("{encoding}: {e}"));
        assert_eq!((opened.source.as_str(), opened.decoded.versions), ("mine", None));
        let (found, expected) = (cells(&opened.decoded.records), cells(&bars));
        assert!(found == expected, "{encoding}: {}", first_difference(&found, &expected));
    }
}

#[tokio::test]
async fn readers_pass_over_entries_of_another_encoding() {
    let (world, bars) = (World::start().await, day_bars(5, 30));
    for (encoding, part) in Encoding::ALL.into_iter().zip(bars.chunks(10)) {
        world.publish(Kind::BarDay, encoding, part, Vec::new()).await;
    }
    for (encoding, part) in Encoding::ALL.into_iter().zip(bars.chunks(10)) {
        let printed = world.python("read", encoding, Kind::BarDay, &names::<DayBar>(), "");
        assert_eq!(serde_json::from_slice::<Vec<Vec<Value>>>(&printed).unwrap(), cells(part), "{encoding}");
    }
}

#[test]
fn each_python_program_of_the_protocol_has_at_most_five_lines_and_its_imports() {
    let lines: BTreeMap<String, usize> = serde_json::from_slice(&interop(&["lines"], "")).unwrap();
    let named: Vec<&str> = lines.keys().map(String::as_str).collect();
    let all = ["reader arrow", "reader csv", "reader json", "writer arrow", "writer csv", "writer json"];
    assert_eq!(named, all);
    assert!(lines.values().all(|&lines| (1..=5).contains(&lines)), "{lines:?}");
}

#[test]
fn the_bars_of_this_test_are_such_as_may_travel() {
    let calendar = Calendar::published();
    let mut checker = Checker::new(&calendar);
    for bar in day_bars(1, 1200) {
        let findings = checker.check(&bar, Kind::BarDay);
        assert!(
            findings.iter().all(|finding| finding.reason.severity() != Severity::Refuse),
            "{bar:?}: {findings:?}"
        );
    }
}

/// Names of one list of tables in `wire.toml`, such as `[[letter]]`.
fn stated(table: &str) -> Vec<String> {
    let text = include_str!("../../schemas/wire.toml");
    let head = format!("[[{table}]]\nname = \"");
    text.split(&head).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn entries_and_letters_have_the_fields_the_protocol_states() {
    let world = World::start().await;
    let finding = Finding { reason: Reason::OhlcOrder, field: "high".into(), value: "1".into() };
    let refusal =
        Refusal { row: 7, rows: 1, symbol: "000001.SZ".into(), findings: vec![finding], raw: "x".into() };
    let mut letters = Letter::of_source(SOURCE, "a.csv", std::slice::from_ref(&refusal));
    let buried = vec![(b"v".to_vec(), b"2".to_vec())];
    letters.push(Letter::of_entry("archive", EntryId::new(1, 0), vec![refusal], buried));
    world.publish(Kind::BarDay, Encoding::Arrow, &day_bars(6, 3), letters).await;
    let keys = Keys::of(&stream(Kind::BarDay));
    let written = |entry: &Entry| -> Vec<String> {
        entry.fields.iter().map(|(name, _)| String::from_utf8(name.clone()).unwrap()).collect()
    };
    assert_eq!(written(&world.entries(keys.stream())[0]), stated("entry"));
    let dead = world.entries(&keys.dead());
    assert_eq!(written(&dead[0]), stated("letter"));
    assert_eq!(written(&dead[1]), [stated("letter"), vec!["e:v".to_owned()]].concat());
    let rows: Vec<BTreeMap<String, Value>> = serde_json::from_slice(dead[0].field("rows").unwrap()).unwrap();
    assert_eq!(rows[0].keys().collect::<Vec<_>>(), ["findings", "raw", "row", "rows", "symbol"]);
    assert_eq!(rows[0]["findings"][0]["reason"], Reason::OhlcOrder.code());
}
