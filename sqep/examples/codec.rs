//! How fast payloads of full entries are written and read, on generated day bars; one JSON object a line for the
//! benchmark. `cargo run --release -p sqep --example codec [BARS]`

use std::{hint::black_box, time::Instant};

use chrono::NaiveDate;
use sqep::{
    Calendar, DayBar, Record,
    codec::{
        Encoding, arrow, decode,
        pack::{PAYLOAD_BYTES_MAX, Packer},
    },
};
use sqep_testkit::market::{Market, Plan};

/// Each figure is the best of so many runs: the machine's noise only ever slows.
const RUNS: u32 = 5;

fn main() {
    let wanted = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let to = NaiveDate::from_ymd_opt(2026, 6, 30).expect("date");
    let plan = Plan { seed: 1, symbols: wanted / 750 + 2, days: 750, to };
    let market = Market::new(&plan, &Calendar::published()).expect("market");
    let bars: Vec<DayBar> =
        market.securities().iter().flat_map(|security| market.days(security.symbol)).collect();
    for encoding in Encoding::ALL {
        let packed = Packer::new(encoding, PAYLOAD_BYTES_MAX).pack(&bars, None).expect("packs");
        let payloads: Vec<&[u8]> = packed.iter().map(|entry| entry.payload.as_slice()).collect();
        let encode = || Packer::new(encoding, PAYLOAD_BYTES_MAX).pack(&bars, None).expect("packs").len();
        say(encoding, "from rows", bars.len(), encode);
        let rows = || {
            payloads
                .iter()
                .map(|payload| decode::<DayBar>(encoding, payload).expect("decodes").records.len())
                .sum()
        };
        say(encoding, "into rows", bars.len(), rows);
        if encoding == Encoding::Arrow {
            let columns = || {
                payloads.iter().map(|payload| arrow::columns(payload, 10_000).expect("decodes").len()).sum()
            };
            say(encoding, "into columns", bars.len(), columns);
        }
        let bytes: usize = payloads.iter().map(|payload| payload.len()).sum();
        assert!(bytes > bars.len() * DayBar::FIELDS.len());
    }
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn say(encoding: Encoding, what: &str, bars: usize, work: impl Fn() -> usize) {
    let time = || {
        let start = Instant::now();
        black_box(work());
        start.elapsed()
    };
    let best = (0..RUNS).map(|_| time()).min().unwrap_or_default();
    println!(
        "{{\"stage\": \"codec {encoding}, {what}\", \"bars\": {bars}, \"seconds\": {:.6}}}",
        best.as_secs_f64()
    );
}
