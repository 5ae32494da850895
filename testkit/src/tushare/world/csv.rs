//! Tables from files as people keep them: `daily_20250331.csv`, `stk_limit.csv`. Knows names of files and columns; must
//! not know what rows mean.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use sqep::Calendar;

use super::{Cell, Row, World, day_of, known, lists, ymd};
use crate::tushare::api::Api;

/// Files below a folder, at most.
const FILES_MAX: usize = 10_000;

/// The tables of a folder and its subfolders.
pub(super) fn world(folder: &Path) -> anyhow::Result<World> {
    let mut world = World::default();
    let mut files = vec![];
    find(folder, &mut files)?;
    files.sort();
    for path in &files {
        let Some(api) = api_of(path) else { continue };
        let rows = rows(path, api).with_context(|| format!("{}", path.display()))?;
        world.put_all(api, rows);
    }
    if world.apis().next().is_none() {
        bail!(
            "{} holds no table: name files API_*.csv or API.csv, like daily_2024.csv, with Tushare's columns",
            folder.display()
        );
    }
    complete(&mut world);
    Ok(world)
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read folder {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read folder {}", folder.display()))?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            bail!("{} holds more than {FILES_MAX} files", folder.display());
        }
    }
    Ok(())
}

/// The API whose name begins that of the file; the longest, since `daily` begins `daily_basic`.
fn api_of(path: &Path) -> Option<&'static Api> {
    let stem = path.file_stem()?.to_str()?;
    let begins =
        |name: &str| stem.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    if begins("st") {
        return Api::named("stock_st");
    }
    Api::all().iter().filter(|api| begins(api.name)).max_by_key(|api| api.name.len())
}

fn rows(path: &Path, api: &'static Api) -> anyhow::Result<Vec<Row>> {
    let bytes = fs::read(path)?;
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
    let columns: Vec<String> = reader.headers()?.iter().map(|name| name.trim().to_owned()).collect();
    if !columns.iter().any(|name| api.column(name).is_some()) {
        bail!("line 1 names no column of {}: {}", api.name, columns.join(","));
    }
    let mut rows = vec![];
    for record in reader.records() {
        let record = record?;
        let mut row = Row::new(api);
        for (name, text) in columns.iter().zip(&record).filter(|(name, _)| api.column(name).is_some()) {
            row.set(name, cell(name, text.trim()));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Codes, names, days and times are text, `is_open` is whole, anything else that reads as a number is one.
fn cell(column: &str, text: &str) -> Cell {
    let is_text = column.ends_with("code")
        || column.ends_with("date")
        || ["name", "symbol", "trade_time", "time", "list_status", "type"].contains(&column);
    match text {
        "" | "nan" | "NaN" | "None" => Cell::Null,
        _ if column.ends_with("date") => day_of(text).map_or_else(|| text.into(), |day| (&ymd(day)).into()),
        _ if is_text => text.into(),
        _ if column == "is_open" => text.parse::<i64>().map_or_else(|_| text.into(), Cell::Whole),
        _ => text.parse::<f64>().map_or_else(|_| text.into(), Cell::Number),
    }
}

/// Lists that no file gave, made of what the files say.
fn complete(world: &mut World) {
    let unlisted: Vec<Row> = world.table("stock_basic").to_vec();
    if unlisted.is_empty() {
        let rows = [lists::stocks_of(world.table("daily")), vec![lists::gone()]].concat();
        world.put_all(known("stock_basic"), rows);
    } else {
        world.change(
            "stock_basic",
            |row| row.text("list_status").is_empty(),
            |row| {
                let gone = !matches!(row.cell("delist_date"), Cell::Null);
                row.set("list_status", if gone { "D" } else { "L" });
            },
        );
    }
    let days = ["daily", "fund_daily", "index_daily", "adj_factor", "stk_limit"];
    let days = days.iter().flat_map(|api| {
        let rows = world.table(api);
        [rows.last(), rows.first()]
    });
    let days: Vec<_> = days.flatten().filter_map(|row| day_of(row.time())).collect();
    if let (true, Some(&from), Some(&to)) =
        (world.table("trade_cal").is_empty(), days.iter().min(), days.iter().max())
    {
        world.put_all(known("trade_cal"), lists::calendar(&Calendar::published(), from, to));
    }
    if world.table("bse_mapping").is_empty() {
        world.put_all(known("bse_mapping"), lists::renumbered());
    }
}
