//! scratch
use sqep::*;
use sqep_csv::{
    dialect,
    load::{self, Options},
    row::FromRow,
};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

fn run<R: FromRow>(path: &str, options: &Options) {
    let t = Instant::now();
    match load::open::<R>(Path::new(path), options, 0) {
        Err(e) => println!("{path}: ERR {e} {:?}", std::error::Error::source(&e).map(|e| e.to_string())),
        Ok(mut loaded) => {
            let mut n = 0;
            let mut refused: BTreeMap<String, u64> = BTreeMap::new();
            let mut skipped: BTreeMap<Reason, u64> = BTreeMap::new();
            let mut warned: BTreeMap<Reason, u64> = BTreeMap::new();
            let mut shown = Vec::new();
            let mut rows = 0;
            let mut read = 0;
            let mut first = None;
            let mut last = None;
            while let Some(b) = loaded.next().unwrap() {
                n += b.records.len();
                rows = b.rows;
                read += b.read();
                if first.is_none() {
                    first = b.records.first().copied();
                }
                if let Some(l) = b.records.last() {
                    last = Some(*l);
                }
                for r in b.refused {
                    *refused
                        .entry(format!("{}{}", r.findings[0].reason, if r.rows > 1 { "*" } else { "" }))
                        .or_default() += r.rows;
                    if shown.len() < 3 {
                        shown.push(r);
                    }
                }
                for (k, v) in b.skipped {
                    *skipped.entry(k).or_default() += v;
                }
                for (k, v) in b.warned {
                    *warned.entry(k).or_default() += v;
                }
            }
            println!(
                "{path}: {}/{} rows {rows} read {read} records {n} refused {refused:?} skipped {skipped:?} warned {warned:?} {:?}",
                loaded.dialect_name(),
                loaded.table_name(),
                t.elapsed()
            );
            if std::env::var("V").is_ok() {
                println!("   {first:?}\n   {last:?}");
            }
            for r in shown {
                println!(
                    "   row {} x{} {} :: {} :: {:?}",
                    r.row,
                    r.rows,
                    r.symbol,
                    r.raw.chars().take(100).collect::<String>(),
                    r.findings
                        .iter()
                        .take(4)
                        .map(|f| format!("{} {}={}", f.reason, f.field, f.value))
                        .collect::<Vec<_>>()
                );
            }
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let kind: Kind = args.next().unwrap().parse().unwrap();
    let choice = dialect::from_choice(&args.next().unwrap()).unwrap();
    let mut o = Options::new(kind, Arc::new(Calendar::published()));
    o.dialect = choice;
    for a in args {
        if let Some((k, v)) = a.split_once('=') {
            match k {
                "ex" => o.exchange = Exchange::parse(v),
                "basis" => o.price_basis = Some(dialect::Basis::Raw),
                "vol" => {
                    o.vol_unit =
                        Some(if v == "lots" { dialect::VolUnit::Lots } else { dialect::VolUnit::Shares })
                }
                "amount" => {
                    o.amount_unit = Some(if v == "yuan" {
                        dialect::AmountUnit::Yuan
                    } else {
                        dialect::AmountUnit::ThousandYuan
                    })
                }
                "mem" => o.file_bytes_memory_max = v.parse().unwrap(),
                _ => panic!(),
            }
            continue;
        }
        match kind {
            Kind::BarDay => run::<DayBar>(&a, &o),
            Kind::BarMinute(_) => run::<MinuteBar>(&a, &o),
            Kind::RefDay => run::<RefDay>(&a, &o),
        }
    }
}
