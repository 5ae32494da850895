//! Who was suspended on a day, asked once between two looks at what is to be done. Knows `suspend_d`; must not know what
//! it excuses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::NaiveDate;
use sqep::Symbol;
use tokio::sync::OnceCell;

use crate::{
    client::{ApiError, Table},
    known,
    market::Ground,
    universe::{self, Codes},
};

/// Of suspensions and resumptions, the former.
const SUSPENDED: &str = "S";

/// Between two pauses of a row.
const AND: char = ',';

/// The suspended of a day, by their current numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Halted {
    /// For the whole of it.
    pub whole: BTreeSet<Symbol>,
    /// For a part of it.
    pauses: BTreeMap<Symbol, Vec<Pause>>,
}

/// A part of a day, in minutes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    from: u32,
    to: u32,
}

impl Pause {
    /// Reads `09:30-10:00`. One that does not read explains nothing.
    fn read(text: &str) -> Option<Pause> {
        let minute = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            Some(hour.parse::<u32>().ok()? * 60 + minute.get(..2)?.parse::<u32>().ok()?)
        };
        let (from, to) = text.split_once('-')?;
        Some(Pause { from: minute(from)?, to: minute(to)? })
    }

    /// Whether it lasts when a minute ends.
    fn holds(self, label: u32) -> bool {
        self.from < label && label <= self.to
    }
}

impl Halted {
    fn read(table: &Table, codes: &Codes) -> Halted {
        let [code, kind, timing] =
            ["ts_code", "suspend_type", "suspend_timing"].map(|name| table.column(name));
        let mut pauses: BTreeMap<Symbol, Vec<Pause>> = BTreeMap::new();
        universe::each(table, |row| {
            let symbol = codes.symbol(table.text(row, code)?.unwrap_or_default());
            if let (Ok(symbol), Some(SUSPENDED)) = (symbol, table.text(row, kind)?) {
                let parts = table.text(row, timing)?.unwrap_or_default().split(AND);
                pauses.entry(codes.current(symbol)).or_default().extend(parts.filter_map(Pause::read));
            }
            Ok(())
        });
        Halted { whole: known::suspended(table, codes), pauses }
    }

    /// Whether a security was suspended when all of these minutes of the day ended.
    pub fn explains(&self, symbol: Symbol, mut labels: impl Iterator<Item = u32>) -> bool {
        let pauses = self.pauses.get(&symbol).map(Vec::as_slice).unwrap_or_default();
        labels.all(|label| pauses.iter().any(|pause| pause.holds(label)))
    }
}

/// One day's answer, which whoever asks first waits for and all others get.
type Once = Arc<OnceCell<Arc<Halted>>>;

/// The answers since a look.
#[derive(Debug, Default)]
pub struct Halts(Mutex<BTreeMap<NaiveDate, Once>>);

impl Halts {
    /// Who was suspended on a day.
    pub async fn of(&self, ground: &Ground<'_>, day: NaiveDate) -> Result<Arc<Halted>, ApiError> {
        let once = {
            let mut days = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(days.entry(day).or_default())
        };
        let ask = || async {
            let table = ground.tables.of_day("suspend_d", day, false).await?;
            Ok(Arc::new(Halted::read(&table, &ground.universe.codes)))
        };
        once.get_or_try_init(ask).await.map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::Cell, config::AliasChoice};

    #[test]
    fn a_pause_explains_the_minutes_that_end_in_it_and_no_others() {
        let row =
            |code: &str, timing: &str| [code, timing, SUSPENDED].map(|text| Cell::Text(text.into())).into();
        let table = Table {
            api: "suspend_d".to_owned(),
            fields: ["ts_code", "suspend_timing", "suspend_type"].map(str::to_owned).into(),
            rows: vec![row("000001.SZ", "09:30-10:00,13:00:00-13:10:00"), row("000002.SZ", "later")],
        };
        let halted = Halted::read(&table, &Codes::new(AliasChoice::Current));
        let explains =
            |code: &str, labels: &[u32]| halted.explains(code.parse().unwrap(), labels.iter().copied());
        assert!(explains("000001.SZ", &[571, 600, 781, 790]));
        for label in [570, 601, 780, 791] {
            assert!(!explains("000001.SZ", &[571, label]), "{label}");
        }
        assert!(!explains("000002.SZ", &[571]) && !explains("000003.SZ", &[571]));
    }
}
