//! A row as an agent sends it, and what becomes of one with a value that QMT should not send. Knows JSON values and
//! names of fields; must not know connections nor bars of a stream.
//!
//! One odd value costs its row, not the line and not the connection: what is odd is kept beside the good rows, with its
//! field, so that it can be refused by name.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Rows of a line; the agent that is shipped sends a thousand.
pub const LINE_ROWS_MAX: usize = 10_000;
/// Characters of an odd value that are kept.
const TOLD_CHARS_MAX: usize = 64;

/// A row with QMT's names and values. A value that is no number is null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Milliseconds since 1970-01-01 UTC: the end of the bar, or 00:00 of the day in Beijing.
    pub time: i64,
    /// First price, yuan.
    pub open: Option<f64>,
    /// Highest price, yuan.
    pub high: Option<f64>,
    /// Lowest price, yuan.
    pub low: Option<f64>,
    /// Last price, yuan.
    pub close: Option<f64>,
    /// In the unit that the agent declares.
    pub volume: Option<f64>,
    /// Yuan.
    pub amount: Option<f64>,
    /// Close of the bar before; of the first bar of a day the reference price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_close: Option<f64>,
    /// 1: suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_flag: Option<i64>,
    /// Of a stock a status code: 15 after the close.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_interest: Option<f64>,
}

/// A row with a value that does not belong there.
#[derive(Debug, Clone, PartialEq)]
pub struct Odd {
    /// The field.
    pub field: &'static str,
    /// What stood there.
    pub value: String,
    /// The rest of the row.
    pub row: Row,
}

/// Rows of a line: those that read, and the odd ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// In the order in which they came.
    pub good: Vec<Row>,
    /// In the order in which they came.
    pub odd: Vec<Odd>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    Time,
    Open,
    High,
    Low,
    Close,
    Volume,
    Amount,
    PreClose,
    SuspendFlag,
    OpenInterest,
    #[serde(other)]
    Other,
}

/// A value of a row, whatever it is.
enum Cell {
    Null,
    Whole(i64),
    Number(f64),
    Odd(String),
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cell, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Cell;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Cell, E> {
                Ok(Cell::Null)
            }

            fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
                Ok(Cell::Whole(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
                Ok(i64::try_from(value).map_or_else(|_| Cell::Odd(value.to_string()), Cell::Whole))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
                Ok(Cell::Number(value))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
                Ok(Cell::Odd(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
                Ok(Cell::Odd(format!("{:?}", value.chars().take(TOLD_CHARS_MAX).collect::<String>())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Cell::Odd("a list".to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Cell::Odd("an object".to_owned()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A row that is being read.
#[derive(Default)]
struct Reading {
    row: Row,
    timed: bool,
    odd: Option<(&'static str, String)>,
}

impl Reading {
    fn number(&mut self, field: &'static str, cell: Cell) -> Option<f64> {
        match cell {
            Cell::Null => None,
            Cell::Number(value) => Some(value),
            // Exact below 2⁵³, and a number of QMT is below.
            Cell::Whole(value) => value.to_string().parse().ok(),
            Cell::Odd(value) => self.odd(field, value),
        }
    }

    /// A whole number, also one that is written as a fraction: `0.0`.
    fn whole(&mut self, field: &'static str, cell: Cell) -> Option<i64> {
        match cell {
            Cell::Null => None,
            Cell::Whole(value) => Some(value),
            Cell::Number(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
                format!("{value:.0}").parse().ok()
            }
            Cell::Number(value) => self.odd(field, value.to_string()),
            Cell::Odd(value) => self.odd(field, value),
        }
    }

    fn odd<T>(&mut self, field: &'static str, value: String) -> Option<T> {
        self.odd.get_or_insert((field, value));
        None
    }

    fn take(&mut self, key: &Key, cell: Cell) {
        match key {
            Key::Time => {
                self.timed = true;
                match self.whole("time", cell) {
                    Some(time) => self.row.time = time,
                    None => drop(self.odd::<()>("time", "null".to_owned())),
                }
            }
            Key::Open => self.row.open = self.number("open", cell),
            Key::High => self.row.high = self.number("high", cell),
            Key::Low => self.row.low = self.number("low", cell),
            Key::Close => self.row.close = self.number("close", cell),
            Key::Volume => self.row.volume = self.number("volume", cell),
            Key::Amount => self.row.amount = self.number("amount", cell),
            Key::PreClose => self.row.pre_close = self.number("preClose", cell),
            Key::SuspendFlag => self.row.suspend_flag = self.whole("suspendFlag", cell),
            Key::OpenInterest => self.row.open_interest = self.number("openInterest", cell),
            Key::Other => {}
        }
    }
}

impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reading, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Reading;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row: an object with time, open, high, low, close, volume and amount")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reading, A::Error> {
                let mut reading = Reading::default();
                while let Some((key, cell)) = map.next_entry::<Key, Cell>()? {
                    reading.take(&key, cell);
                }
                if !reading.timed {
                    reading.odd::<()>("time", "missing".to_owned());
                }
                Ok(reading)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rows, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Rows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of rows")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rows, A::Error> {
                let mut rows = Rows::default();
                while let Some(Reading { row, odd, .. }) = seq.next_element()? {
                    if rows.len() == LINE_ROWS_MAX {
                        return Err(A::Error::custom(format!("more than {LINE_ROWS_MAX} rows in a line")));
                    }
                    match odd {
                        None => rows.good.push(row),
                        Some((field, value)) => rows.odd.push(Odd { field, value, row }),
                    }
                }
                Ok(rows)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

impl Rows {
    /// How many came.
    pub fn len(&self) -> usize {
        self.good.len() + self.odd.len()
    }

    /// Whether none came.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(row: &str) -> Rows {
        serde_json::from_str(&format!("[{row}]")).unwrap()
    }

    #[test]
    fn an_odd_value_costs_its_row_and_a_whole_number_may_be_written_as_a_fraction() {
        let good = r#"{"time":1735781460000.0,"open":10,"high":10.5,"low":null,"volume":3,"suspendFlag":0.0,"later":[1]}"#;
        let row = read(good).good[0];
        assert_eq!(
            (row.time, row.open, row.low, row.suspend_flag),
            (1_735_781_460_000, Some(10.0), None, Some(0))
        );
        for (odd, field, value) in [
            (r#"{"open":10}"#, "time", "missing"),
            (r#"{"time":null}"#, "time", "null"),
            (r#"{"time":"20250102"}"#, "time", "\"20250102\""),
            (r#"{"time":1,"volume":"12"}"#, "volume", "\"12\""),
            (r#"{"time":1,"suspendFlag":0.5}"#, "suspendFlag", "0.5"),
            (r#"{"time":1,"close":[10]}"#, "close", "a list"),
            (r#"{"time":1,"close":{"a":{}}}"#, "close", "an object"),
            (r#"{"time":1,"amount":true}"#, "amount", "true"),
        ] {
            let rows = read(&format!("{odd},{good}"));
            assert_eq!((rows.good.len(), rows.odd.len()), (1, 1), "{odd}: the other row is kept");
            assert_eq!((rows.odd[0].field, rows.odd[0].value.as_str()), (field, value), "{odd}");
        }
    }

    #[test]
    fn a_line_of_too_many_rows_is_not_read_to_its_end() {
        let many = vec![r#"{"time":1}"#; LINE_ROWS_MAX + 1].join(",");
        let error = serde_json::from_str::<Rows>(&format!("[{many}]")).unwrap_err();
        assert!(error.to_string().contains("more than 10000 rows"), "{error}");
    }
}
