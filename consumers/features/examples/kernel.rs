//! Speed of the features alone: day bars of an archive, in memory before the clock runs, to rows. One JSON object for the
//! benchmark.
//!
//! `cargo run --release -p sqep-features --example kernel -- ARCHIVE [THREADS] [ROUNDS] [keep]`

use std::{error::Error, hint::black_box, path::Path, str::FromStr, thread, time::Instant};

use rustix::time::{ClockId, clock_gettime};
use sqep::{Calendar, DayBar, Kind};
use sqep_archive::{Filter, Reader};
use sqep_features::{DayFeatures, Row};

/// Bars of one security, oldest first.
type Series = Vec<DayBar>;

/// How to compute.
#[derive(Debug, Clone, Copy)]
struct How {
    threads: usize,
    /// Every row stays in memory to the end.
    keep: bool,
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn say(text: &str) {
    println!("{text}");
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = args.first().ok_or("usage: kernel ARCHIVE [THREADS] [ROUNDS] [keep]")?;
    let rounds = number(args.get(2), 5)?;
    let how = How { threads: number(args.get(1), 1)?, keep: args.get(3).is_some_and(|word| word == "keep") };
    let (calendar, market) = (Calendar::published(), market(Path::new(root))?);
    let (mut rows, mut cpu, mut wall) = (0, Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (begun, spent) = (Instant::now(), cpu_s());
        rows = compute(&market, &calendar, how)?;
        cpu.push(cpu_s() - spent);
        wall.push(begun.elapsed().as_secs_f64());
    }
    say(&format!("{{\"bars\": {rows}, \"cpu_s\": {cpu:?}, \"wall_s\": {wall:?}}}"));
    Ok(())
}

fn number<T: FromStr>(arg: Option<&String>, default: T) -> Result<T, T::Err> {
    arg.map_or(Ok(default), |text| text.parse())
}

/// Seconds all threads of this program have run.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).map_or(0.0, f64::from);
    u32::try_from(time.tv_sec).map_or(0.0, f64::from) + nanoseconds / 1e9
}

fn market(root: &Path) -> Result<Vec<Series>, Box<dyn Error>> {
    let mut reader = Reader::<DayBar>::open(root, Kind::BarDay, Filter::default())?;
    let mut bars = Vec::new();
    while let Some(block) = reader.next()? {
        bars.extend(block.rows.iter().map(|row| row.record));
    }
    bars.sort_by_key(|bar| (bar.symbol, bar.frame));
    Ok(bars.chunk_by(|one, next| one.symbol == next.symbol).map(<[DayBar]>::to_vec).collect())
}

/// The rows of all bars, a share of the securities a thread; tells how many.
fn compute(market: &[Series], calendar: &Calendar, how: How) -> Result<usize, Box<dyn Error>> {
    let share = market.len().div_ceil(how.threads).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> =
            market.chunks(share).map(|part| scope.spawn(move || table(part, calendar, how.keep))).collect();
        let joined = parts.into_iter().map(|part| part.join().map_err(|_| "a thread panicked"));
        joined.map(|table| Ok(table??)).sum()
    })
}

/// The rows of some securities. They are handed on a security at a time, as the program does, unless they are to be kept.
fn table(part: &[Series], calendar: &Calendar, keep: bool) -> Result<usize, String> {
    let longest = part.iter().map(Vec::len).max().unwrap_or_default();
    let mut rows: Vec<Row> = Vec::with_capacity(if keep { part.iter().map(Vec::len).sum() } else { longest });
    let mut handed = 0;
    for series in part {
        let Some(first) = series.first() else { continue };
        let mut features = DayFeatures::new(first.symbol);
        for bar in series {
            rows.extend(features.push(bar, calendar).map_err(|error| error.to_string())?);
        }
        if !keep {
            handed += black_box(&rows).len();
            rows.clear();
        }
    }
    Ok(handed + black_box(&rows).len())
}
