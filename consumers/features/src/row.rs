//! One row of features. Knows 45 numbers, which of them are null, and when rows are equal; must not know formulas.

use std::fmt;

use crate::list::{COUNT, LIST};

/// Null inside this crate: the one NaN a row may hold. On the wire it is a null, never a NaN and never 0.
pub(crate) const NULL: f64 = f64::NAN;

/// The features of one bar, in the order of [`LIST`](crate::list::LIST).
#[derive(Clone, Copy)]
pub struct Row {
    values: [f64; COUNT],
    /// At least [`VALID_FROM`](crate::list::VALID_FROM) bars went before: what an average started from no longer shows.
    pub valid: bool,
    /// The session's average price lay outside its prices (an index, a wrong unit), and `vwap_gap` is 0 for that.
    pub vwap_outside: bool,
}

impl Row {
    /// A row of these numbers; what is no number is null.
    #[inline]
    pub(crate) fn new(mut values: [f64; COUNT], valid: bool, vwap_outside: bool) -> Row {
        for value in &mut values {
            if !value.is_finite() {
                *value = NULL;
            }
        }
        Row { values, valid, vwap_outside }
    }

    /// The feature at a position of the list; `None` where it is null.
    #[inline]
    pub fn get(&self, at: usize) -> Option<f64> {
        self.values.get(at).copied().filter(|value| !value.is_nan())
    }

    /// The feature of a name; `None` where it is null, or no feature has that name.
    pub fn by_name(&self, name: &str) -> Option<f64> {
        self.get(LIST.iter().position(|feature| feature.name == name)?)
    }

    /// All features in order; NaN stands for null.
    pub fn values(&self) -> &[f64; COUNT] {
        &self.values
    }

    /// Whether no feature is null.
    pub fn is_full(&self) -> bool {
        self.values.iter().all(|value| !value.is_nan())
    }
}

/// Rows are equal when their bits are: what batch, live and replay promise each other.
impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        let bits = |row: &Row| row.values.map(f64::to_bits);
        bits(self) == bits(other) && self.valid == other.valid && self.vwap_outside == other.vwap_outside
    }
}

impl Eq for Row {}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (at, feature) in LIST.iter().enumerate() {
            map.entry(&feature.name, &self.get(at));
        }
        map.entry(&"valid", &self.valid).finish()
    }
}
