//! Speed of day features on one core, calendar included: 500 securities × 750 day bars from a seed, bar by bar.
//!
//! `cargo run --release -p sqep-features --example kernel`

use std::{error::Error, hint::black_box, time::Instant};

use sqep::{Calendar, DayBar, Symbol};
use sqep_features::DayFeatures;
use sqep_testkit::market::{Market, Plan};

const SYMBOLS: usize = 500;
const DAYS: usize = 750;
const ROUNDS: usize = 7;

#[expect(clippy::print_stdout, reason = "a program that prints figures")]
fn say(text: &str) {
    println!("{text}");
}

fn market(calendar: &Calendar) -> Result<Vec<Vec<DayBar>>, Box<dyn Error>> {
    let plan = Plan { seed: 7, symbols: SYMBOLS, days: DAYS, to: "2025-12-31".parse()? };
    let market = Market::new(&plan, calendar)?;
    let symbols: Vec<Symbol> = market.securities().iter().map(|security| security.symbol).collect();
    Ok(symbols.into_iter().map(|symbol| market.days(symbol).collect()).collect())
}

/// Computes all rows; tells how many bars and how many seconds.
fn round(market: &[Vec<DayBar>], calendar: &Calendar) -> Result<(u32, f64), Box<dyn Error>> {
    let begun = Instant::now();
    let mut bars = 0;
    for series in market {
        let Some(first) = series.first() else { continue };
        let mut features = DayFeatures::new(first.symbol);
        for bar in series {
            black_box(features.push(bar, calendar)?);
            bars += 1;
        }
    }
    Ok((bars, begun.elapsed().as_secs_f64()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let calendar = Calendar::published();
    let market = market(&calendar)?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let (bars, seconds) = round(&market, &calendar)?;
        let speed = f64::from(bars) / seconds / 1e6;
        say(&format!("{bars} bars in {seconds:.3} s: {speed:.2} M bars/s, {:.0} ns a bar", 1e3 / speed));
        best = best.min(seconds);
    }
    let symbol = "600000.SH".parse()?;
    let (state, snapshot) = (size_of::<DayFeatures>(), DayFeatures::new(symbol).snapshot().len());
    say(&format!("best {best:.3} s; {state} bytes of memory a security, {snapshot} and more a snapshot"));
    Ok(())
}
