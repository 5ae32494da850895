//! The two records of features, of a day and of a minute: 45 numbers, whether they are settled, and of what they were
//! computed. Knows their names and units; must not know a formula.

use chrono::{NaiveDate, NaiveDateTime, Timelike};

use crate::{
    Kind, Symbol,
    bar::{day_number, minute_number},
    check::{Checker, Reason},
    kind::Grid,
    record::{Cell, Field, Record, Type},
};

/// How many features a row has.
pub const COUNT: usize = 45;

/// Name and unit of each feature, in the order of a row; `schemas/feature_1d.toml` says what they are.
pub const FEATURES: [(&str, &str); COUNT] = [
    ("ret_1", "1"),
    ("ret_5", "1"),
    ("ret_10", "1"),
    ("ret_20", "1"),
    ("ret_60", "1"),
    ("gap_open", "1"),
    ("ma_5", "yuan"),
    ("ma_10", "yuan"),
    ("ma_20", "yuan"),
    ("ma_60", "yuan"),
    ("ema_12", "yuan"),
    ("ema_26", "yuan"),
    ("bias_20", "1"),
    ("adx_14", "%"),
    ("macd_dif", "yuan"),
    ("macd_dea", "yuan"),
    ("macd_hist", "yuan"),
    ("rsi_6", "%"),
    ("rsi_12", "%"),
    ("rsi_24", "%"),
    ("boll_upper", "yuan"),
    ("boll_lower", "yuan"),
    ("boll_pctb", "1"),
    ("boll_width", "1"),
    ("kdj_k", "%"),
    ("kdj_d", "%"),
    ("kdj_j", "%"),
    ("atr_14", "yuan"),
    ("volatility_20", "1"),
    ("parkinson_20", "1"),
    ("amplitude", "1"),
    ("vol_ratio_5", "1"),
    ("vol_ratio_20", "1"),
    ("obv_ratio_20", "1"),
    ("mfi_14", "%"),
    ("vwap_gap", "1"),
    ("pv_corr_20", "1"),
    ("upper_shadow", "1"),
    ("lower_shadow", "1"),
    ("close_pos", "1"),
    ("pos_20", "1"),
    ("pos_60", "1"),
    ("limit_state", "flag"),
    ("is_st", "flag"),
    ("susp_gap", "sessions"),
];

/// Where the features begin among the fields.
const FIRST: usize = 2;
const VALID: usize = FIRST + COUNT;
const SET: usize = VALID + 1;
const BAR_VERSION: usize = SET + 1;
const FIELDS: usize = BAR_VERSION + 1;

static DAY: [Field; FIELDS] = fields(Type::Date);
static MINUTE: [Field; FIELDS] = fields(Type::Minute);

const fn fields(frame: Type) -> [Field; FIELDS] {
    let symbol = Field { name: "symbol", kind: Type::Symbol, nullable: false, unit: "" };
    let mut fields = [symbol; FIELDS];
    fields[1] = Field { name: "frame", kind: frame, ..symbol };
    let mut at = 0;
    while at < COUNT {
        let (name, unit) = FEATURES[at];
        fields[FIRST + at] = Field { name, kind: Type::Float, nullable: true, unit };
        at += 1;
    }
    fields[VALID] = Field { name: "valid", kind: Type::Bool, ..symbol };
    fields[SET] = Field { name: "set", kind: Type::Integer, ..symbol };
    fields[BAR_VERSION] = Field { name: "bar_version", kind: Type::Integer, ..symbol };
    fields
}

/// What the two differ in.
trait Frame: Copy {
    const KIND: Kind;
    fn number(self) -> i64;
    fn judge(self, checker: &mut Checker<'_>);
}

impl Frame for NaiveDate {
    const KIND: Kind = Kind::FeatureDay;

    fn number(self) -> i64 {
        day_number(self)
    }

    fn judge(self, checker: &mut Checker<'_>) {
        checker.session(self);
    }
}

impl Frame for NaiveDateTime {
    const KIND: Kind = Kind::FeatureMinute;

    fn number(self) -> i64 {
        minute_number(self)
    }

    /// The opening auction is part of 09:31: no row ends at 09:30.
    fn judge(self, checker: &mut Checker<'_>) {
        let minute = self.hour() * 60 + self.minute();
        let whole = self.second() == 0 && self.nanosecond() == 0;
        if !whole || !Grid::M1.is_label(minute) || minute == Grid::AUCTION {
            checker.find(Reason::FrameIllegal, "frame", &self);
        }
        checker.session(self.date());
    }
}

/// Features are finite or null, and say of which set they are.
fn judge(values: &[f64; COUNT], set: u32, checker: &mut Checker<'_>) {
    for (value, (name, _)) in values.iter().zip(FEATURES) {
        if value.is_infinite() {
            checker.find(Reason::NotFinite, name, value);
        }
    }
    if set == 0 {
        checker.find(Reason::ValueIllegal, "set", &set);
    }
}

/// Bit for bit, null for null.
fn same(left: &[f64; COUNT], right: &[f64; COUNT]) -> bool {
    left.iter().zip(right).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

macro_rules! feature {
    ($(#[$doc:meta])* $name:ident $type:literal $frame:ty, $cell:ident, $fields:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name {
            /// The security.
            pub symbol: Symbol,
            /// Time of the bar.
            pub frame: $frame,
            /// The features in the order of [`FEATURES`]; NaN stands for null and is never on the wire.
            pub values: [f64; COUNT],
            /// Enough bars went before: what an average started from no longer shows.
            pub valid: bool,
            /// Number of the set of features, never 0: rows of two numbers were computed differently.
            pub set: u32,
            /// Version of the bar the row was computed of.
            pub bar_version: u64,
        }

        /// Equal to the bit, null to null.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                (self.symbol, self.frame, self.valid) == (other.symbol, other.frame, other.valid)
                    && (self.set, self.bar_version) == (other.set, other.bar_version)
                    && same(&self.values, &other.values)
            }
        }

        impl Record for $name {
            const TYPE: &'static str = $type;
            const FIELDS: &'static [Field] = &$fields;

            fn blank() -> Self {
                let (frame, values) = (<$frame>::default(), [f64::NAN; COUNT]);
                $name { symbol: Symbol::BLANK, frame, values, valid: false, set: 0, bar_version: 0 }
            }

            fn symbol(&self) -> Symbol {
                self.symbol
            }

            fn time(&self) -> i64 {
                self.frame.number()
            }

            #[inline]
            fn get(&self, at: usize) -> Cell {
                match at {
                    0 => Cell::Symbol(self.symbol),
                    1 => Cell::$cell(self.frame),
                    VALID => Cell::Bool(self.valid),
                    SET => Cell::Integer(u64::from(self.set)),
                    BAR_VERSION => Cell::Integer(self.bar_version),
                    _ => match self.values.get(at.wrapping_sub(FIRST)) {
                        Some(value) if !value.is_nan() => Cell::Float(*value),
                        _ => Cell::Null,
                    },
                }
            }

            #[inline]
            fn set(&mut self, at: usize, cell: Cell) {
                match (at, cell) {
                    (0, Cell::Symbol(symbol)) => self.symbol = symbol,
                    (1, Cell::$cell(frame)) => self.frame = frame,
                    (VALID, Cell::Bool(valid)) => self.valid = valid,
                    (SET, Cell::Integer(set)) => self.set = u32::try_from(set).unwrap_or(0),
                    (BAR_VERSION, Cell::Integer(version)) => self.bar_version = version,
                    (FIRST..VALID, Cell::Float(value)) => self.values[at - FIRST] = value,
                    (FIRST..VALID, Cell::Null) => self.values[at - FIRST] = f64::NAN,
                    _ => {}
                }
            }

            fn check(&self, _kind: Kind, checker: &mut Checker<'_>) {
                judge(&self.values, self.set, checker);
                self.frame.judge(checker);
                checker.currency(self.symbol);
            }

            fn fits(kind: Kind) -> bool {
                kind == <$frame as Frame>::KIND
            }
        }
    };
}

feature! {
    /// SQEP-FEATURE-DAY: the features of one security and one trading day.
    DayFeature "SQEP-FEATURE-DAY" NaiveDate, Date, DAY
}

feature! {
    /// SQEP-FEATURE-MINUTE: the features of one security and one minute, labelled by its end; never 09:30.
    MinuteFeature "SQEP-FEATURE-MINUTE" NaiveDateTime, Minute, MINUTE
}
