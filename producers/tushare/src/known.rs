//! What is known of a day before its first bar: factors, price limits, special treatment, suspensions.
//!
//! Knows the tables these come in; must not know bars. A table that is empty on a session is not there yet, which is
//! another thing than a table that says nothing about a security.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDate;
use sqep::{
    RefDay, Symbol,
    bar::{price_decimals, price_limit, round},
    symbol::Class,
};

use crate::{
    client::{CellError, Table},
    config::Join,
    parse::date,
    universe::{self, Codes},
};

/// The words of a name under special treatment: ST, *ST, SST, S*ST.
const TREATED: &str = "ST";
/// Of suspensions and resumptions, the former.
const SUSPENDED: &str = "S";

/// What the tables of one trade date say, by current numbers: a table may use the former one of a security and another
/// the new one. `None`: the table is not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Cumulative back-adjust factors of stocks.
    pub factors: Option<HashMap<Symbol, f64>>,
    /// Those of funds, which are a table of their own.
    pub fund_factors: Option<HashMap<Symbol, f64>>,
    /// Upper and lower price limit.
    pub limits: Option<HashMap<Symbol, Limits>>,
    /// Who is under special treatment.
    pub treatment: Option<Treatment>,
    /// Former numbers under which some of them came, where those are kept.
    pub given: HashMap<Symbol, Symbol>,
}

/// Limits that mean "none" beside whatever reference: the highest share was never a tenth as dear, and nothing is cheaper.
const NO_UP: f64 = 99_999.0;
const NO_DOWN: f64 = 0.01;

/// Price limits as they came, with what they are measured by if that is told.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    up: Option<f64>,
    down: Option<f64>,
    reference: Option<f64>,
}

impl Limits {
    /// Upper and lower limit, without those that mean "none".
    fn prices(self, symbol: Symbol) -> [Option<f64>; 2] {
        let middle = || Some((self.up? * self.down?).sqrt());
        let Some(reference) = self.reference.or_else(middle) else {
            return [self.up.filter(|&up| up < NO_UP), self.down.filter(|&down| down > NO_DOWN)];
        };
        [self.up, self.down]
            .map(|limit| price_limit(limit, reference).map(|limit| round(limit, price_decimals(symbol))))
    }
}

/// Who is under special treatment on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// Those the daily list names, and no other stock.
    Listed(BTreeSet<Symbol>),
    /// By the names they bore; who has no name is unknown.
    Named(BTreeMap<Symbol, bool>),
}

impl Known {
    /// What is known of a security on `frame`. Limits that mean "none" are null.
    pub fn of(&self, symbol: Symbol, frame: NaiveDate) -> RefDay {
        let [buy_limit, sell_limit] = self.limits(symbol).map_or([None; 2], |limits| limits.prices(symbol));
        let (adjust, st) = (self.adjust(symbol), self.st(symbol));
        let symbol = self.given.get(&symbol).copied().unwrap_or(symbol);
        RefDay { symbol, frame, adjust, st, buy_limit, sell_limit }
    }

    /// Securities of which anything is known but that they are not under special treatment.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol> + '_ {
        let factors = self.factors.iter().chain(&self.fund_factors).flat_map(HashMap::keys).copied();
        let limits = self.limits.iter().flat_map(HashMap::keys).copied();
        let treated = self.treatment.iter().flat_map(|treatment| match treatment {
            Treatment::Listed(listed) => listed.iter().copied().collect::<Vec<Symbol>>(),
            Treatment::Named(named) => named.keys().copied().collect(),
        });
        factors.chain(limits).chain(treated)
    }

    /// The factor of a security; an index has 1.0.
    pub fn adjust(&self, symbol: Symbol) -> Option<f64> {
        match symbol.class() {
            Class::Index => Some(1.0),
            class => self.factors_of(class)?.get(&symbol).copied(),
        }
    }

    fn factors_of(&self, class: Class) -> Option<&HashMap<Symbol, f64>> {
        if class == Class::Fund { self.fund_factors.as_ref() } else { self.factors.as_ref() }
    }

    /// Whether the table is there that should tell this of securities of this class.
    pub fn tells(&self, join: Join, class: Class) -> bool {
        match join {
            Join::Adjust => self.factors_of(class).is_some(),
            Join::St => self.treatment.is_some(),
            Join::Limits => self.limits.is_some(),
        }
    }

    /// Whether that table leaves a security out. A row without limits, or with such as mean "none", leaves nothing out.
    pub fn leaves_out(&self, join: Join, symbol: Symbol) -> bool {
        match join {
            Join::Adjust => self.adjust(symbol).is_none(),
            Join::St => self.st(symbol).is_none(),
            Join::Limits => self.limits(symbol).is_none(),
        }
    }

    /// The limits of a security as they came.
    pub fn raw_limits(&self, symbol: Symbol) -> [Option<f64>; 2] {
        self.limits(symbol).map_or([None; 2], |limits| [limits.up, limits.down])
    }

    fn limits(&self, symbol: Symbol) -> Option<Limits> {
        self.limits.as_ref()?.get(&symbol).copied()
    }

    /// Whether a stock is under special treatment; other securities never say.
    pub fn st(&self, symbol: Symbol) -> Option<bool> {
        if symbol.class() != Class::Stock {
            return None;
        }
        match self.treatment.as_ref()? {
            Treatment::Listed(listed) => Some(listed.contains(&symbol)),
            Treatment::Named(named) => named.get(&symbol).copied(),
        }
    }
}

/// Reads `adj_factor` or `fund_adj` of a day. A factor that is no number is unknown.
pub fn factors(table: &Table, codes: &Codes) -> Option<HashMap<Symbol, f64>> {
    let factor = table.column("adj_factor");
    let mut factors = HashMap::with_capacity(table.rows.len());
    each(table, codes, |row, symbol| {
        if let Some(factor) = table.number(row, factor)?.filter(|&factor| factor > 0.0) {
            factors.insert(symbol, factor);
        }
        Ok(())
    });
    (!factors.is_empty()).then_some(factors)
}

/// Reads `stk_limit` of a day.
pub fn limits(table: &Table, codes: &Codes) -> Option<HashMap<Symbol, Limits>> {
    let [up, down, reference] = ["up_limit", "down_limit", "pre_close"].map(|name| table.column(name));
    let mut limits = HashMap::with_capacity(table.rows.len());
    each(table, codes, |row, symbol| {
        let price = |column| table.number(row, column).map(|price| price.filter(|&price| price > 0.0));
        limits.insert(symbol, Limits { up: price(up)?, down: price(down)?, reference: price(reference)? });
        Ok(())
    });
    (!limits.is_empty()).then_some(limits)
}

/// Reads `stock_st` of a day. There has been nobody under special treatment on no day since it began.
pub fn treated(table: &Table, codes: &Codes) -> Option<Treatment> {
    let mut listed = BTreeSet::new();
    each(table, codes, |_, symbol| {
        listed.insert(symbol);
        Ok(())
    });
    (!listed.is_empty()).then_some(Treatment::Listed(listed))
}

/// Reads who is suspended for the whole of a day from `suspend_d`: a row with a time is a pause.
pub fn suspended(table: &Table, codes: &Codes) -> BTreeSet<Symbol> {
    let (timing, kind) = (table.column("suspend_timing"), table.column("suspend_type"));
    let mut suspended = BTreeSet::new();
    each(table, codes, |row, symbol| {
        if table.text(row, timing)?.is_none() && table.text(row, kind)? == Some(SUSPENDED) {
            suspended.insert(symbol);
        }
        Ok(())
    });
    suspended
}

/// Former numbers in a table, by the current ones, as far as they are kept.
pub fn given(table: &Table, codes: &Codes) -> HashMap<Symbol, Symbol> {
    let code = table.column("ts_code");
    let of_row = |row| {
        let symbol = codes.symbol(table.text(row, code).ok()??).ok()?;
        let current = codes.current(symbol);
        (current != symbol).then_some((current, symbol))
    };
    (0..table.rows.len()).filter_map(of_row).collect()
}

/// Calls `read` for every row with a security of ours, by its current number.
fn each(table: &Table, codes: &Codes, mut read: impl FnMut(usize, Symbol) -> Result<(), CellError>) {
    let code = table.column("ts_code");
    universe::each(table, |row| match codes.symbol(table.text(row, code)?.unwrap_or_default()) {
        Ok(symbol) => read(row, codes.current(symbol)),
        Err(_) => Ok(()),
    });
}

/// Names by the day on which they began, from `namechange`: duplicates and missing ends included, as it comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<Symbol, BTreeMap<NaiveDate, bool>>);

impl Names {
    /// Reads all name changes there ever were.
    pub fn new(table: &Table, codes: &Codes) -> Names {
        let (name, from) = (table.column("name"), table.column("start_date"));
        let mut names = Names::default();
        each(table, codes, |row, symbol| {
            if let (Some(name), Some(from)) = (table.text(row, name)?, date(table, row, from)?) {
                names.0.entry(symbol).or_default().insert(from, name.contains(TREATED));
            }
            Ok(())
        });
        names
    }

    /// Who bore a name of special treatment on `day`. The latest name counts, whatever end the one before it claims.
    pub fn on(&self, day: NaiveDate) -> Option<Treatment> {
        let on = |(symbol, names): (&Symbol, &BTreeMap<NaiveDate, bool>)| {
            names.range(..=day).next_back().map(|(_, &treated)| (*symbol, treated))
        };
        let named: BTreeMap<Symbol, bool> = self.0.iter().filter_map(on).collect();
        (!named.is_empty()).then_some(Treatment::Named(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::Cell, config::AliasChoice};

    fn codes() -> Codes {
        Codes::new(AliasChoice::Current)
    }

    fn table(fields: &[&str], rows: &[&[&str]]) -> Table {
        let cell = |text: &&str| if text.is_empty() { Cell::Null } else { Cell::Text((*text).into()) };
        Table {
            api: "test".to_owned(),
            fields: fields.iter().map(|&field| field.to_owned()).collect(),
            rows: rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
        }
    }

    fn symbol(text: &str) -> Symbol {
        text.parse().unwrap()
    }

    #[test]
    fn limits_that_mean_none_are_null() {
        let rows: &[&[&str]] = &[
            &["000001.SZ", "12.49", "10.22"],
            &["000002.SZ", "999999.999", "0.01"],
            &["000003.SZ", "99999.999", ""],
            &["000004.SZ", "0", "0"],
            &["000006.SZ", "11.03", ""],
            &["000007.SZ", "", "0.01"],
        ];
        let known = Known {
            limits: limits(&table(&["ts_code", "up_limit", "down_limit"], rows), &codes()),
            ..Known::default()
        };
        let of = |text| {
            let day = known.of(symbol(text), NaiveDate::default());
            (day.buy_limit, day.sell_limit)
        };
        assert_eq!(of("000001.SZ"), (Some(12.49), Some(10.22)));
        assert_eq!(of("000002.SZ"), (None, None));
        assert_eq!(of("000003.SZ"), (None, None));
        assert_eq!(of("000004.SZ"), (None, None));
        assert_eq!(of("000006.SZ"), (Some(11.03), None));
        assert_eq!(of("000007.SZ"), (None, None));
        assert_eq!(of("000005.SZ"), (None, None));
    }

    #[test]
    fn a_pause_is_no_suspension_and_a_resumption_neither() {
        let rows: &[&[&str]] = &[
            &["000001.SZ", "", "S"],
            &["000002.SZ", "09:30-10:00", "S"],
            &["000003.SZ", "", "R"],
            &["839729.BJ", "", "S"],
        ];
        let found = suspended(&table(&["ts_code", "suspend_timing", "suspend_type"], rows), &codes());
        assert_eq!(found, [symbol("000001.SZ"), symbol("920729.BJ")].into());
    }

    #[test]
    fn an_empty_table_is_not_there_and_a_list_says_no_of_others() {
        let empty = table(&["ts_code", "adj_factor"], &[]);
        assert_eq!((factors(&empty, &codes()), treated(&empty, &codes())), (None, None));
        let listed = treated(&table(&["ts_code"], &[&["000004.SZ"]]), &codes());
        let known = Known { treatment: listed, ..Known::default() };
        assert_eq!(known.st(symbol("000004.SZ")), Some(true));
        assert_eq!(known.st(symbol("000001.SZ")), Some(false));
        assert_eq!(known.st(symbol("510300.SH")), None);
    }

    #[test]
    fn the_latest_name_counts_whatever_ends_and_doubles_say() {
        let rows: &[&[&str]] = &[
            &["000004.SZ", "*ST国华", "20200506", ""],
            &["000004.SZ", "*ST国华", "20200506", "20210520"],
            &["000004.SZ", "国华网安", "20210521", ""],
            &["000005.SZ", "ST星源", "20230506", ""],
        ];
        let names = Names::new(&table(&["ts_code", "name", "start_date", "end_date"], rows), &codes());
        let st = |text, day: &str| {
            let treatment = names.on(day.parse().unwrap());
            Known { treatment, ..Known::default() }.st(symbol(text))
        };
        assert_eq!(st("000004.SZ", "2020-05-06"), Some(true));
        assert_eq!(st("000004.SZ", "2021-05-20"), Some(true));
        assert_eq!(st("000004.SZ", "2021-05-21"), Some(false));
        assert_eq!(st("000005.SZ", "2023-05-05"), None);
        assert_eq!(st("000004.SZ", "2019-01-02"), None);
    }
}
