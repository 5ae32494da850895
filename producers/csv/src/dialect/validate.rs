//! Whether a dialect makes sense. Knows what a table must say for what it holds; must not know any file.

use super::{Column, Dialect, DialectError, Holds, Place, Table, TimeFormat};
use sqep::Kind;

impl Column {
    /// What rows of a table must have, the security aside.
    pub(crate) fn needed(holds: Holds) -> &'static [Column] {
        match holds {
            Holds::Records(Kind::RefDay) | Holds::Treatment => &[Column::Date],
            Holds::Records(_) => {
                &[Column::Date, Column::Open, Column::High, Column::Low, Column::Close, Column::Vol]
            }
            Holds::Factors => &[Column::Date, Column::Adjust],
            Holds::Limits => &[Column::Date, Column::BuyLimit, Column::SellLimit],
        }
    }
}

impl Table {
    /// What a header must have for this table.
    pub(crate) fn required(&self, symbol_column: bool) -> Vec<Column> {
        let mut required: Vec<Column> =
            self.holds.iter().flat_map(|&holds| Column::needed(holds)).copied().collect();
        required.extend(symbol_column.then_some(Column::Symbol));
        required.extend(self.columns.contains_key(&Column::Time).then_some(Column::Time));
        required.sort_unstable();
        required.dedup();
        required
    }

    fn problem(&self, symbol_column: bool) -> Option<String> {
        let missing =
            self.required(symbol_column).into_iter().find(|&column| self.aliases(column).is_empty());
        if let Some(column) = missing {
            return Some(format!("columns.{} is missing; name the column that holds it", column.name()));
        }
        if self.holds.is_empty() || self.time.is_empty() {
            return Some("holds and time must each name at least one".to_owned());
        }
        let clock = |format: &TimeFormat| matches!(format, TimeFormat::Hhmm | TimeFormat::Clock);
        if self.columns.contains_key(&Column::Time) != self.time.iter().any(clock) {
            return Some("a column time and a time format hhmm or hh:mm go together".to_owned());
        }
        for (column, values, key) in
            [(Column::Flag, &self.flag_raw, "flag_raw"), (Column::Status, &self.suspended, "suspended")]
        {
            if self.columns.contains_key(&column) == values.is_empty() {
                return Some(format!("columns.{} and {key} go together", column.name()));
            }
        }
        self.write_problem()
    }

    fn write_problem(&self) -> Option<String> {
        let writing = self.write.as_ref()?;
        let known = |name: &String| {
            writing.constant.contains_key(name) || self.columns.values().any(|aliases| aliases.contains(name))
        };
        let unknown = writing.columns.iter().find(|name| !known(name))?;
        Some(format!("write.columns names {unknown:?}, which is neither in columns nor in write.constant"))
    }
}

impl Dialect {
    /// Whether the security of a row can only come from a column.
    pub(crate) fn symbol_in_column(&self) -> bool {
        self.symbol.from == [Place::Column]
    }

    pub(super) fn validated(self, origin: &str) -> Result<Dialect, DialectError> {
        let sense = |table: &str, problem: String| DialectError::Sense {
            origin: origin.to_owned(),
            table: table.to_owned(),
            problem,
        };
        if self.tables.is_empty() || self.symbol.from.is_empty() || self.delimiter.is_empty() {
            return Err(sense("", "at least one table, delimiter and symbol.from are needed".to_owned()));
        }
        for table in &self.tables {
            if let Some(problem) = table.problem(self.symbol_in_column()) {
                return Err(sense(&table.name, problem));
            }
        }
        Ok(self)
    }
}
