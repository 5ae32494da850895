//! The fuzz targets on a stable toolchain: good bytes, broken by a seeded mutator, through every decoder.
//!
//! `SQEP_FUZZ_S` seconds for each target, as many at a time as there are cores; `SQEP_FUZZ_SEED` for other bytes. What
//! breaks a decoder is written to a file whose name is in the panic; give it to the target of the same name and make it
//! a test.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

#[path = "../../sqep/fuzz/src/targets.rs"]
#[allow(unreachable_pub, reason = "a crate of its own for cargo fuzz")]
mod targets;

use std::{
    fs,
    io::Cursor,
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqep::{
    Calendar, DayBar, DayFeature, EntryId, Kind, MinuteBar, MinuteFeature, Record, RefDay, Symbol,
    codec::{Encoding, Limits, arrow, decode},
    letter::Letter,
    wire::Entry,
};
use sqep_csv::{
    config::Config,
    dialect,
    load::{self, Options},
};
use targets::{ALL, Target};

/// A decoder that thinks longer about one input can be brought to a stand.
const ONE_MAX: Duration = Duration::from_secs(2);
/// Inputs stay below twice what the wire allows.
const INPUT_BYTES_MAX: usize = 1 << 16;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Every file below a folder of the workspace with one of these endings.
fn files(folder: &str, endings: &[&str]) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(folder);
    let ends = |path: &PathBuf| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending));
    let mut paths: Vec<_> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(ends).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Fields as [`targets::fields`] reads them.
fn packed(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let pack = |(name, value): &(u8, &[u8])| {
        let length = u16::try_from(value.len()).unwrap().to_le_bytes();
        [&[*name], length.as_slice(), value].concat()
    };
    fields.iter().flat_map(pack).collect()
}

/// An entry of each type in each encoding.
fn entries() -> Vec<Vec<u8>> {
    fn of<R: Record>(name: &str) -> Vec<Vec<u8>> {
        let one = |encoding: Encoding| {
            let file = format!("{name}.v1.{encoding}");
            let payload = files("schemas/golden", &[&file]).swap_remove(0);
            let records = decode::<R>(encoding, &payload).unwrap().records.len().to_string();
            let (encoding, records) = (encoding.to_string(), records.as_bytes());
            packed(&[
                (0, b"1"),
                (1, R::TYPE.as_bytes()),
                (2, b"csv"),
                (3, encoding.as_bytes()),
                (4, records),
                (5, &payload),
            ])
        };
        Encoding::ALL.map(one).to_vec()
    }
    [of::<DayBar>("bar_1d"), of::<MinuteBar>("bar_1m"), of::<RefDay>("ref_1d")].concat()
}

fn letters() -> Vec<Vec<u8>> {
    let rows = br#"[{"row":1,"rows":1,"symbol":"000001.SZ","findings":[{"reason":"negative","field":"vol","value":"-1"}],"raw":"x"}]"#;
    let own: [(u8, &[u8]); 7] =
        [(0, b"1"), (6, b"group"), (7, b"parquet"), (8, b"1-0"), (9, b"negative"), (4, b"1"), (10, rows)];
    vec![packed(&own), packed(&[&own[..], &[(11, b"cut"), (12, b"1"), (13, b"payload")]].concat())]
}

/// What a target's bytes are made from.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "arrow_rows" | "arrow_columns" => files("schemas/golden", &[".arrow"]),
        "json" => files("schemas/golden", &[".v1.json"]),
        "csv" => files("schemas/golden", &[".csv"]),
        "entry" => entries(),
        "letter" => letters(),
        "symbol" => texts(&[
            "000001.SZ",
            "600000.XSHG",
            "sh600000",
            "SZ000001",
            "sh.600000",
            "600000.SS",
            "920000.BJ",
        ]),
        // As delivered, and with every key.
        "config" => {
            let full = toml::to_string(&Config::default()).unwrap().into_bytes();
            [files("deploy", &["sqep-csv.toml"]), vec![full]].concat()
        }
        "dialect" => files("producers/csv/dialects", &[".toml"]),
        "csv_file" => texts(&[
            "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount\n\
             000001.SZ,20180718,8.75,8.85,8.69,8.70,8.72,-0.02,-0.23,525152.77,460697.377\n\
             000001.SZ,20180719,8.7,8.85,8.69,8.70,8.72,-0.02,-0.23,525152.77,460697.377\n",
            "symbol,frame,open,high,low,close,vol,amount,adjust,st,buy_limit,sell_limit\r\n\
             000001.SZ,2018-07-18,8.75,8.85,8.69,8.70,52515277,460697377,1.5,false,9.6,7.85\r\n",
            "date,code,open,high,low,close,preclose,volume,amount,adjustflag,turn,tradestatus,pctChg,isST\n\
             2018-07-18,sz.000001,8.75,8.85,8.69,8.70,8.72,52515277,460697377,3,0.3,1,-0.2,0\n",
            "日期,股票代码,开盘,收盘,最高,最低,成交量,成交额,振幅\n2018-07-18,000001,8.75,8.70,8.85,8.69,525152,460697377,1.83\n",
        ]),
        _ => panic!("{target} has no seeds"),
    }
}

/// Whether a target gets to the end of its decoder with these bytes, by the same calls as in `targets.rs`.
fn decodes(target: &str, bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes);
    match target {
        "arrow_rows" => is_payload(Encoding::Arrow, bytes),
        "json" => is_payload(Encoding::Json, bytes),
        "csv" => is_payload(Encoding::Csv, bytes),
        "arrow_columns" => arrow::columns(bytes, Limits::WIRE.records_max).is_ok(),
        "entry" => {
            let entry = Entry { id: EntryId::new(1_700_000_000_000, 0), fields: targets::fields(bytes) };
            entry.open::<DayBar>().is_ok()
                || entry.open::<MinuteBar>().is_ok()
                || entry.open::<RefDay>().is_ok()
                || entry.open::<DayFeature>().is_ok()
                || entry.open::<MinuteFeature>().is_ok()
        }
        "letter" => Letter::of_fields(&targets::fields(bytes)).is_ok(),
        "symbol" => text.is_ok_and(|text| text.parse::<Symbol>().is_ok()),
        "config" => text.is_ok_and(|text| toml::from_str::<Config>(text).is_ok()),
        "dialect" => text.is_ok_and(|text| dialect::read(text, "fuzz").is_ok()),
        "csv_file" => is_file(bytes),
        _ => panic!("{target} decodes nothing"),
    }
}

fn is_payload(encoding: Encoding, bytes: &[u8]) -> bool {
    decode::<DayBar>(encoding, bytes).is_ok()
        || decode::<MinuteBar>(encoding, bytes).is_ok()
        || decode::<RefDay>(encoding, bytes).is_ok()
        || decode::<DayFeature>(encoding, bytes).is_ok()
        || decode::<MinuteFeature>(encoding, bytes).is_ok()
}

/// A file of at least one bar.
fn is_file(bytes: &[u8]) -> bool {
    let mut options = Options::new(Kind::BarDay, Arc::new(Calendar::published()));
    options.exchange = Some(sqep::Exchange::SZ);
    let file = Cursor::new(bytes.to_vec());
    let loaded = load::open_stream::<DayBar>(Path::new("000001.csv"), file, &options, 0);
    loaded.is_ok_and(|mut loaded| matches!(loaded.next(), Ok(Some(block)) if !block.records.is_empty()))
}

#[test]
fn every_seed_is_what_its_decoder_reads() {
    for (name, _) in ALL {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has nothing to begin with");
        for (at, seed) in seeds.iter().enumerate() {
            let text = String::from_utf8_lossy(&seed[..seed.len().min(200)]);
            assert!(decodes(name, seed), "{name}: seed {at} does not decode: {text}");
        }
    }
}

/// One change: of bits, of numbers that decoders stumble over, of pieces.
fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut SmallRng) {
    const NUMBERS: [i64; 12] =
        [0, 1, -1, 7, 127, 255, 10_000, 10_001, 65_536, 0x7fff_ffff, i64::MIN, i64::MAX];
    const WORDS: [&str; 12] =
        ["\"", ",", "\n", "[[[[[[[[", "{\"", "NaN", "-0", "1e999", "\u{feff}", "\u{0}", "=", "日"];
    let at = rng.random_range(0..=bytes.len());
    let end = (at + rng.random_range(0..=64)).min(bytes.len());
    match rng.random_range(0..9) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        2 if at < bytes.len() => bytes[at] = rng.random(),
        3 | 4 => {
            let number = NUMBERS[rng.random_range(0..NUMBERS.len())].to_le_bytes();
            let width = [1, 2, 4, 8][rng.random_range(0..4)];
            let from = at - at % width;
            bytes.iter_mut().skip(from).zip(&number[..width]).for_each(|(byte, new)| *byte = *new);
        }
        5 => drop(bytes.drain(at..end)),
        6 => {
            let piece = bytes[at..end].repeat(1 << rng.random_range(0..8));
            bytes.splice(at..at, piece);
        }
        7 => {
            let other = &others[rng.random_range(0..others.len())];
            let from = rng.random_range(0..=other.len());
            let upto = (from + rng.random_range(0..=256)).min(other.len());
            bytes.splice(at..end, other[from..upto].iter().copied());
        }
        _ => drop(bytes.splice(at..at, WORDS[rng.random_range(0..WORDS.len())].bytes())),
    }
    bytes.truncate(INPUT_BYTES_MAX);
}

/// Runs one target until its time is up; returns how many inputs it has seen.
fn storm(name: &str, target: Target, time: Duration, seed: u64) -> u64 {
    let seeds = seeds(name);
    let (mut rng, mut inputs, since) = (SmallRng::seed_from_u64(seed), 0, Instant::now());
    for seed in &seeds {
        try_one(name, target, seed);
    }
    while since.elapsed() < time {
        let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
        for _ in 0..rng.random_range(1..=6) {
            mutate(&mut bytes, &seeds, &mut rng);
        }
        try_one(name, target, &bytes);
        inputs += 1;
    }
    inputs
}

fn try_one(name: &str, target: Target, bytes: &[u8]) {
    let since = Instant::now();
    let ended = catch_unwind(|| target(bytes));
    if ended.is_err() || since.elapsed() > ONE_MAX {
        let path = std::env::temp_dir().join(format!("sqep-fuzz-{name}-{}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        panic!("{name} breaks or takes {:?} over {}", since.elapsed(), path.display());
    }
}

#[test]
fn no_bytes_break_a_decoder() {
    let (each, seed) = (Duration::from_secs(number("SQEP_FUZZ_S", 1)), number("SQEP_FUZZ_SEED", 1));
    let (cores, targets) = (thread::available_parallelism().unwrap().get(), Mutex::new(ALL.iter()));
    let next = || targets.lock().unwrap().next();
    let work = || {
        while let Some((name, target)) = next() {
            let inputs = storm(name, *target, each, seed);
            assert!(inputs > 100, "{name} has seen {inputs} inputs in {each:?}");
            println!("{name}: {inputs} inputs");
        }
    };
    // A thread that panics fails the test when the others have come through.
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
}

#[test]
fn every_target_has_a_program_of_its_own_for_cargo_fuzz() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sqep/fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, _) in ALL {
        let program = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(
            program.contains(&format!("sqep_fuzz::{name}(data)"))
                && manifest.contains(&format!("\"{name}\""))
        );
    }
    assert_eq!(fs::read_dir(folder.join("fuzz_targets")).unwrap().count(), ALL.len());
}
