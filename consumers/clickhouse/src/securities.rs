//! The list of securities: those the bars name, by their codes; and a file of names, boards and days of listing. Must not
//! judge any of it.

use std::{collections::BTreeSet, fs::File, path::Path};

use bytes::{BufMut, Bytes, BytesMut};
use chrono::NaiveDate;
use sqep::{Symbol, symbol::Class};

use crate::{ClickHouseError, Store, schema};

/// Securities of one insert, as `TabSeparated`.
const INTO: &str =
    "INSERT INTO symbol (symbol, code, name, board, list_date, delist_date, version) FORMAT TabSeparated";

/// Makes securities known that were met for the first time. Whatever a list says of them counts more.
pub(crate) async fn meet(store: &Store, new: &BTreeSet<Symbol>) -> Result<(), ClickHouseError> {
    let mut body = BytesMut::new();
    for symbol in new {
        let board = class(symbol.class());
        body.put_slice(format!("{}\t{symbol}\t\t{board}\t\\N\t\\N\t0\n", symbol.get()).as_bytes());
    }
    store.insert_all(INTO, body.freeze(), "inserting into symbol").await
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Stock => "stock",
        Class::BShare => "B share",
        Class::Fund => "fund",
        Class::Index => "index",
        Class::Bond => "bond",
        Class::Other => "",
    }
}

/// Reads a list of securities, a CSV file with the columns `ts_code` (or `code`, `symbol`), `name`, `market` (or `board`),
/// `list_date` and `delist_date`, as far as it has them, and takes it over. Returns how many there were. Lines that cannot be
/// read are left out with a word on them, unless that is all of them.
pub async fn import(store: &Store, path: &Path) -> Result<usize, ClickHouseError> {
    let list = read(path)?;
    if let Some(first) = &list.first_wrong {
        tracing::warn!(
            lines = list.wrong,
            "{first}; lines that cannot be read are left out, this is the first"
        );
    }
    // The server's clock, so that the newest list counts whoever brings it.
    let version = store.ask("SELECT toUnixTimestamp64Milli(now64(3))", "asking for the time").await?;
    let lines = list.lines.iter().map(|line| format!("{line}\t{}\n", version.trim()));
    let body = Bytes::from(lines.collect::<String>());
    store.insert_all(INTO, body, "inserting into symbol").await?;
    schema::try_dictionary(store).await;
    Ok(list.lines.len())
}

/// A list as it was read.
#[derive(Debug, Default)]
struct List {
    /// Lines of the insert, without their version.
    lines: Vec<String>,
    /// How many lines could not be read.
    wrong: usize,
    /// The first of them.
    first_wrong: Option<ClickHouseError>,
}

fn read(path: &Path) -> Result<List, ClickHouseError> {
    let name = path.display().to_string();
    let wrong = |line: u64, why: String| ClickHouseError::Securities { path: name.clone(), line, why };
    let file = File::open(path).map_err(|error| wrong(0, error.to_string()))?;
    let mut reader = csv::Reader::from_reader(file);
    let headers = reader.headers().map_err(|error| wrong(1, error.to_string()))?.clone();
    let columns = Columns::of(&headers).map_err(|why| wrong(1, why))?;
    let mut list = List::default();
    for row in reader.records() {
        let at = |position: Option<&csv::Position>| position.map_or(0, csv::Position::line);
        let read = match &row {
            Ok(row) => columns.line(row).map_err(|why| wrong(at(row.position()), why)),
            Err(error) => Err(wrong(at(error.position()), error.to_string())),
        };
        match read {
            Ok(line) => list.lines.push(line),
            Err(error) => {
                list.wrong += 1;
                list.first_wrong.get_or_insert(error);
            }
        }
    }
    match list.first_wrong.take() {
        Some(error) if list.lines.is_empty() => Err(error),
        first_wrong => Ok(List { first_wrong, ..list }),
    }
}

/// Where the columns of a list stand.
struct Columns {
    code: usize,
    /// Name, board, first and last day.
    more: [Option<usize>; 4],
}

impl Columns {
    fn of(headers: &csv::StringRecord) -> Result<Columns, String> {
        let at = |names: &[&str]| {
            headers.iter().position(|header| names.contains(&header.trim_start_matches('\u{feff}')))
        };
        let code = at(&["ts_code", "code", "symbol"]).ok_or("no column ts_code, code or symbol")?;
        let more = [at(&["name"]), at(&["market", "board"]), at(&["list_date"]), at(&["delist_date"])];
        Ok(Columns { code, more })
    }

    /// A line of the insert; else what is wrong with it.
    fn line(&self, row: &csv::StringRecord) -> Result<String, String> {
        let [name, board, list, delist] =
            self.more.map(|at| at.and_then(|at| row.get(at)).unwrap_or_default().trim());
        let symbol =
            row.get(self.code).unwrap_or_default().parse::<Symbol>().map_err(|error| error.to_string())?;
        let [name, board] = [name, board].map(|text| text.replace(['\t', '\\', '\n'], " "));
        let (list, delist) = (date(list)?, date(delist)?);
        Ok(format!("{}\t{symbol}\t{name}\t{board}\t{list}\t{delist}", symbol.get()))
    }
}

/// A day, `20240301` or `2024-03-01`, as the server reads it; nothing is null.
fn date(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok("\\N".to_owned());
    }
    let form = if text.contains('-') { "%Y-%m-%d" } else { "%Y%m%d" };
    let day = NaiveDate::parse_from_str(text, form);
    day.map(|day| day.to_string()).map_err(|_| format!("{text:?} is no day like 20240301"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<List, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.csv");
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_is_read_whatever_the_order_of_its_columns() {
        let lines =
            read_text("\u{feff}name,ts_code,list_date,market\n平安银行,000001.SZ,19910403,主板\n").unwrap();
        assert_eq!(lines.lines, ["2000001\t000001.SZ\t平安银行\t主板\t1991-04-03\t\\N"]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_left_out_and_the_first_told_by_line_and_value() {
        let list =
            read_text("ts_code,list_date\n000001.SZ,19910403\nT00018.SH,20000719\n000002.SZ,soon\n").unwrap();
        assert_eq!((list.lines.len(), list.wrong), (1, 2));
        let told = list.first_wrong.unwrap().to_string();
        assert!(told.contains("line 3") && told.contains("T00018.SH"), "{told}");
    }

    #[test]
    fn a_list_of_which_nothing_can_be_read_is_refused() {
        let told = read_text("ts_code,list_date\n000002.SZ,soon\n").unwrap_err();
        assert!(told.contains("line 2") && told.contains("soon"), "{told}");
        assert!(read_text("a,b\n1,2\n").unwrap_err().contains("ts_code"));
        assert!(read_text("ts_code\n000001\n").unwrap_err().contains("line 2"));
        assert!(read_text("ts_code\n").unwrap().lines.is_empty());
    }
}
