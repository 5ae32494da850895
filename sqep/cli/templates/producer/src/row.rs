//! What a line of the vendor's files means. This is where a vendor differs from another: change it first.
//!
//! Knows the vendor's columns and units; must not know files, streams or any other line.

use chrono::NaiveDate;
use sqep::{
    DayBar, Reason, Symbol,
    check::Finding,
    unit::{Alarm, Quanta, Turnover},
};

/// The first line of every file. A file that begins otherwise is not guessed at.
pub const HEADER: &str = "ts_code,trade_date,open,high,low,close,vol,amount";

/// Volume comes in 手, lots of 100 shares …
const SHARES_A_LOT: f64 = 100.0;
/// … and turnover in 千元.
const YUAN_A_THOUSAND: f64 = 1_000.0;
/// The smallest steps of both: hundredths of a lot, thousandths of a thousand yuan.
const QUANTA: Quanta = Quanta { vol: 1.0, amount: 1.0 };

/// The bar of a line, in yuan and shares; `None` for a suspended security, which the vendor writes with a volume of 0.
///
/// What the vendor does not know stays `None`: never a made-up factor, limit or zero. The rules of the protocol, such as
/// low ≤ open ≤ high, are not asked here: every record is judged by them on its way to the stream.
pub fn parse(line: &str) -> Result<Option<DayBar>, Finding> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let Ok([code, date, open, high, low, close, vol, amount]) = <[&str; 8]>::try_from(cells) else {
        return Err(finding(Reason::RowIllegal, "", line));
    };
    let vol = number("vol", vol)?;
    if vol == 0.0 {
        return Ok(None);
    }
    let bar = DayBar {
        symbol: symbol(code)?,
        frame: day(date)?,
        open: number("open", open)?,
        high: number("high", high)?,
        low: number("low", low)?,
        close: number("close", close)?,
        vol: vol * SHARES_A_LOT,
        amount: Some(number("amount", amount)? * YUAN_A_THOUSAND),
        adjust: None,
        st: None,
        buy_limit: None,
        sell_limit: None,
    };
    in_units(bar.normalised()).map(Some)
}

/// `600000.SH`. The exchange is never guessed from digits.
fn symbol(text: &str) -> Result<Symbol, Finding> {
    text.parse().map_err(|_| finding(Reason::SymbolIllegal, "ts_code", text))
}

/// `20240301`.
fn day(text: &str) -> Result<NaiveDate, Finding> {
    NaiveDate::parse_from_str(text, "%Y%m%d").map_err(|_| finding(Reason::ValueIllegal, "trade_date", text))
}

fn number(field: &str, text: &str) -> Result<f64, Finding> {
    text.parse().map_err(|_| finding(Reason::ValueIllegal, field, text))
}

/// Refuses a bar whose turnover says that the vendor has changed its units.
fn in_units(bar: DayBar) -> Result<DayBar, Finding> {
    let DayBar { high, low, vol, .. } = bar;
    let applies = Alarm::applies(bar.symbol.class());
    let turnover = bar.amount.filter(|_| applies).map(|amount| Turnover { high, low, vol, amount });
    match turnover.and_then(|turnover| turnover.off_by(QUANTA)) {
        Some(why) => Err(finding(Reason::Unit, "amount", why)),
        None => Ok(bar),
    }
}

fn finding(reason: Reason, field: &str, value: &str) -> Finding {
    Finding { reason, field: field.to_owned(), value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(line: &str) -> DayBar {
        parse(line).unwrap().unwrap()
    }

    fn reason(line: &str) -> Reason {
        parse(line).unwrap_err().reason
    }

    #[test]
    fn lots_become_shares_and_thousands_become_yuan() {
        let bar = bar("600000.SH,20240301,7.1,7.16,7.08,7.12,321456.78,228868.123");
        assert_eq!(
            (bar.symbol.to_string(), bar.frame.to_string()),
            ("600000.SH".into(), "2024-03-01".into())
        );
        assert_eq!((bar.open, bar.high, bar.low, bar.close), (7.1, 7.16, 7.08, 7.12));
        assert_eq!((bar.vol, bar.amount), (32_145_678.0, Some(228_868_123.0)));
        assert_eq!((bar.adjust, bar.st, bar.buy_limit, bar.sell_limit), (None, None, None, None));
    }

    #[test]
    fn a_suspended_security_has_no_bar() {
        assert_eq!(parse("600000.SH,20240301,0,0,0,7.12,0,0"), Ok(None));
    }

    #[test]
    fn what_is_no_bar_is_refused_with_its_reason() {
        let good = "600000.SH,20240301,10,10,10,10,1,1";
        assert_eq!(bar(good).amount, Some(1_000.0));
        assert_eq!(reason("600000.SH,20240301,10,10,10,10,1"), Reason::RowIllegal);
        assert_eq!(reason(&good.replace("600000.SH", "600000")), Reason::SymbolIllegal);
        assert_eq!(reason(&good.replace("20240301", "2024-13-01")), Reason::ValueIllegal);
        assert_eq!(reason(&good.replace(",10,10,10,", ",10,-,10,")), Reason::ValueIllegal);
    }

    #[test]
    fn a_vendor_that_changes_its_units_is_noticed() {
        assert_eq!(reason("600000.SH,20240301,10,10,10,10,500000,5000"), Reason::Unit);
        assert_eq!(reason("600000.SH,20240301,10,10,10,10,5000,5000000"), Reason::Unit);
    }
}
