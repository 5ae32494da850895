//! Golden series and the gate every kernel must pass. Knows files and tolerances; must not know formulas.

#![allow(dead_code, reason = "each test uses a part")]

use std::{fmt::Write, fs, path::Path};

use chrono::{NaiveDate, NaiveDateTime};
use sqep::{Calendar, DayBar, MinuteBar, Symbol};
use sqep_features::{
    DayFeatures, Facts, Kernel, MinuteFeatures, MinuteRow, Row, Rules, Traded, Turnover,
    list::{COUNT, LIST},
};

/// What a cell may be wrong by, as a part of its scale.
pub(crate) const TOLERANCE: f64 = 1e-10;

/// The series that ships with the project: limit boards, special treatment, suspensions of 3, 22 and 1 sessions, three
/// ex-dates, a flat run of 26 bars, a spike of 1e12 shares.
pub(crate) const EDGE: &str = include_str!("../data/edge_1d.csv");

/// Features of a row, `None` where null.
pub(crate) type Cells = [Option<f64>; COUNT];

/// A bar and what its features must be.
#[derive(Debug, Clone)]
pub(crate) struct Golden {
    pub(crate) frame: String,
    pub(crate) open: f64,
    pub(crate) high: f64,
    pub(crate) low: f64,
    pub(crate) close: f64,
    pub(crate) vol: f64,
    pub(crate) amount: Option<f64>,
    pub(crate) facts: Facts,
    pub(crate) want: Cells,
}

/// Reads a golden file: eleven columns of the bar, then one a feature, by name; an empty cell is null.
pub(crate) fn read(text: &str) -> Vec<Golden> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().unwrap().clone();
    let names: Vec<&str> = LIST.iter().map(|feature| feature.name).collect();
    assert_eq!(heads.iter().skip(11).collect::<Vec<_>>(), names, "columns");
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        let cell =
            |at: usize| -> Option<f64> { (!record[at].is_empty()).then(|| record[at].parse().unwrap()) };
        Golden {
            frame: record[0].to_owned(),
            open: cell(1).unwrap(),
            high: cell(2).unwrap(),
            low: cell(3).unwrap(),
            close: cell(4).unwrap(),
            vol: cell(5).unwrap(),
            amount: cell(6),
            facts: Facts {
                adjust: cell(7),
                st: cell(8).map(|st| st > 0.0),
                buy_limit: cell(9),
                sell_limit: cell(10),
            },
            want: std::array::from_fn(|at| cell(11 + at)),
        }
    });
    rows.collect()
}

/// Reads a golden file of a folder.
pub(crate) fn load(folder: &Path, name: &str) -> Vec<Golden> {
    let path = folder.join(name);
    read(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

impl Golden {
    pub(crate) fn traded(&self) -> Traded {
        let &Golden { open, high, low, close, vol, amount, facts, .. } = self;
        let Facts { adjust: factor, st, buy_limit, sell_limit } = facts;
        let session = Turnover { amount, vol, low, high };
        let rules = Rules { st, buy_limit, sell_limit, half_tick: 0.005 };
        Traded { open, high, low, close, vol, factor, session, rules, sessions_missed: 0 }
    }

    pub(crate) fn day_bar(&self, symbol: Symbol) -> DayBar {
        let &Golden { open, high, low, close, vol, amount, facts, .. } = self;
        let Facts { adjust, st, buy_limit, sell_limit } = facts;
        let frame: NaiveDate = self.frame.parse().unwrap();
        DayBar { symbol, frame, open, high, low, close, vol, amount, adjust, st, buy_limit, sell_limit }
    }

    /// The end of a minute.
    pub(crate) fn minute(&self) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(&self.frame, "%Y-%m-%d %H:%M:%S").unwrap()
    }

    pub(crate) fn minute_bar(&self, symbol: Symbol, frame: NaiveDateTime) -> MinuteBar {
        let &Golden { open, high, low, close, vol, amount, .. } = self;
        MinuteBar { symbol, frame, open, high, low, close, vol, amount }
    }
}

pub(crate) fn cells(row: &Row) -> Cells {
    std::array::from_fn(|at| row.get(at))
}

/// Rows of day bars, oldest first.
pub(crate) fn day_rows(bars: &[DayBar]) -> Vec<Row> {
    let calendar = Calendar::published();
    let mut features = DayFeatures::new(bars[0].symbol);
    bars.iter().filter_map(|bar| features.push(bar, &calendar).unwrap()).collect()
}

/// Rows of minute bars, oldest first, all days with the same facts.
pub(crate) fn minute_rows(bars: &[MinuteBar], facts: &Facts) -> Vec<MinuteRow> {
    let calendar = Calendar::published();
    let mut features = MinuteFeatures::new(bars[0].symbol);
    let mut rows = Vec::new();
    for bar in bars {
        features.push(bar, 1, facts, &calendar, &mut rows).unwrap();
    }
    features.settle(&calendar, &mut rows).unwrap();
    rows
}

/// Rows of bars without dates, each the whole of its session.
pub(crate) fn kernel_rows(bars: &[Golden]) -> Vec<Cells> {
    let mut kernel = Kernel::new();
    bars.iter().map(|bar| cells(&kernel.push(&bar.traded()).unwrap())).collect()
}

/// What an error of this cell is measured by: the adjusted close for prices, 100 for percents, 1 or the value itself for
/// volume ratios, else 1.
fn scale(at: usize, golden: &Golden, want: f64) -> f64 {
    match (LIST[at].unit, LIST[at].name) {
        ("yuan", _) => golden.close * golden.facts.adjust.unwrap_or(1.0),
        ("%", _) => 100.0,
        (_, "vol_ratio_5" | "vol_ratio_20") => want.abs().max(1.0),
        _ => 1.0,
    }
}

/// The larger one; NaN is larger than all.
fn larger(a: f64, b: f64) -> f64 {
    if a >= b {
        a
    } else if b.is_nan() {
        f64::INFINITY
    } else {
        b
    }
}

/// The worst error of each feature, as a part of its scale; infinite where a null mask differs.
pub(crate) fn worst(golden: &[Golden], got: &[Cells]) -> [f64; COUNT] {
    assert_eq!(golden.len(), got.len(), "rows");
    let error = |at: usize, golden: &Golden, got: &Cells| match (golden.want[at], got[at]) {
        (None, None) => 0.0,
        (Some(want), Some(got)) => (got - want).abs() / scale(at, golden, want),
        _ => f64::INFINITY,
    };
    std::array::from_fn(|at| golden.iter().zip(got).map(|(g, got)| error(at, g, got)).fold(0.0, larger))
}

/// Features beyond the tolerance, with their errors.
pub(crate) fn beyond(golden: &[Golden], got: &[Cells]) -> Vec<(&'static str, f64)> {
    let worst = worst(golden, got);
    let named = LIST.iter().zip(worst).map(|(feature, error)| (feature.name, error));
    named.filter(|(_, error)| *error > TOLERANCE).collect()
}

/// The largest error of all, with its feature, as text.
pub(crate) fn summary(name: &str, golden: &[Golden], got: &[Cells]) -> String {
    let worst = worst(golden, got);
    let (at, error) = worst.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    let mut text = String::new();
    write!(text, "{name}: {} cells, worst {error:.1e} of scale ({})", got.len() * COUNT, LIST[at].name)
        .unwrap();
    text
}
