//! temp
use std::{path::Path, sync::Arc, time::Instant};
use sqep::{Batch, Calendar, DayBar, EntryId, Kind, MinuteBar, Record, Row, Sink, kind::Grid};
use sqep_parquet::{Config, Options, compact_root, open};
use sqep_testkit::market::{Market, Plan};

fn cpu() -> f64 { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect(); (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0 }
fn size(p: &Path) -> u64 { std::fs::read_dir(p).unwrap().map(|e| { let e = e.unwrap(); if e.path().is_dir() { size(&e.path()) } else { e.metadata().unwrap().len() } }).sum() }

fn run<R: Record>(name: &str, kind: Kind, rows: &[Row<R>], per_entry: usize, options: Options) {
    let root = std::path::PathBuf::from(format!("/tmp/speed-{name}"));
    drop(std::fs::remove_dir_all(&root));
    let rt = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut sink = open::<R>(Config { root: root.clone(), ..Config::default() }, kind).unwrap();
    let sources: [Arc<str>; 1] = ["tushare".into()];
    let (t, c) = (Instant::now(), cpu());
    for (n, rows) in rows.chunks(500_000).enumerate() {
        let n = u64::try_from(n).unwrap();
        let batch = Batch { partition: 0, first: EntryId::new(n, 0), last: EntryId::new(n, 1), rows, sources: &sources };
        rt.block_on(sink.write(&batch)).unwrap();
    }
    let (t, c) = (t.elapsed().as_secs_f64(), cpu() - c);
    let m = rows.len() as f64;
    let table = root.join(kind.table());
    println!("{name}: {} rows: write {:.2} M/s wall, {:.2} M/s cpu; {:.2} B/row", rows.len(), m / t / 1e6, m / c / 1e6, size(&table) as f64 / m);
    let (t, c) = (Instant::now(), cpu());
    let report = compact_root(&root, options).unwrap().complete().unwrap();
    let (t, c) = (t.elapsed().as_secs_f64(), cpu() - c);
    println!("   compact {} folders: {:.2} M/s wall, {:.2} cpu; {:.2} B/row", report.compacted.len(), m / t / 1e6, m / c / 1e6, size(&table) as f64 / m);
    let _ = per_entry;
}
fn versioned<R: Record>(bars: Vec<R>, per_entry: usize) -> Vec<Row<R>> {
    bars.into_iter().enumerate().map(|(n, record)| Row { record, version: EntryId::new(1_700_000_000_000 + (n / per_entry / 50 * 7) as u64, (n / per_entry % 50) as u64).version(), source: 0 }).collect()
}
fn main() {
    let plan = Plan { seed: 7, symbols: 4000, days: 500, to: "2025-12-31".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    let mut full: Vec<DayBar> = Vec::new();
    for s in market.securities() { full.extend(market.days(s.symbol)); }
    let bare: Vec<DayBar> = full.iter().map(|b| DayBar { adjust: None, st: None, buy_limit: None, sell_limit: None, ..*b }).collect();
    let mut by_day = full.clone(); by_day.sort_by_key(|b| (b.frame, b.symbol));
    let mut mixed = full.clone(); let n = mixed.len(); for i in 0..n { mixed.swap(i, (i * 7919 + 13) % n); }
    run("bare-by-symbol", Kind::BarDay, &versioned(bare, 750), 750, Options::default());
    run("full-by-symbol", Kind::BarDay, &versioned(full, 750), 750, Options::default());
    run("full-by-day", Kind::BarDay, &versioned(by_day, 750), 750, Options::default());
    run("full-shuffled", Kind::BarDay, &versioned(mixed, 750), 750, Options::default());
    let plan = Plan { seed: 7, symbols: 1500, days: 5, to: "2025-12-31".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    let mut mins: Vec<MinuteBar> = Vec::new();
    for s in market.securities() { mins.extend(market.minutes(s.symbol)); }
    run("minutes-by-symbol", Kind::BarMinute(Grid::M1), &versioned(mins.clone(), 1000), 1000, Options::default());
    mins.sort_by_key(|b| (b.frame, b.symbol));
    run("minutes-by-time", Kind::BarMinute(Grid::M1), &versioned(mins, 1000), 1000, Options::default());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
