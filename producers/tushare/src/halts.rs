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

/// The suspended of a day, by their current numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Halted {
    /// For the whole of it.
    pub whole: BTreeSet<Symbol>,
    /// For the whole of it or a part.
    pub any: BTreeSet<Symbol>,
}

impl Halted {
    fn read(table: &Table, codes: &Codes) -> Halted {
        let (code, kind) = (table.column("ts_code"), table.column("suspend_type"));
        let mut any = BTreeSet::new();
        universe::each(table, |row| {
            let symbol = codes.symbol(table.text(row, code)?.unwrap_or_default());
            if let (Ok(symbol), Some(SUSPENDED)) = (symbol, table.text(row, kind)?) {
                any.insert(codes.current(symbol));
            }
            Ok(())
        });
        Halted { whole: known::suspended(table, codes), any }
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
