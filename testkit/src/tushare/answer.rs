//! A reply as text. Knows the service's JSON and its habits; must not know how rows were found.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::{
    api::{Api, Column},
    ask::Question,
    faults::{Faults, Luck, Oddity},
    row::{Cell, Row},
    texts::Refusal,
};

/// Turnovers of index minutes are written like 3.375271e9.
const SCIENTIFIC_FROM: f64 = 1e9;

/// Rows of one page.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) has_more: bool,
}

/// The reply to a question that is refused.
pub(super) fn refused(refusal: &Refusal, api: &str, id: u64) -> String {
    let text = refusal.text(api);
    json!({
        "request_id": request_id(id), "code": refusal.code(), "msg": text, "message": text, "data": null,
    })
    .to_string()
}

/// The reply with rows.
pub(super) fn rows(
    found: &Rows,
    api: &Api,
    question: &Question,
    faults: &Faults,
    luck: &mut Luck,
    id: u64,
) -> String {
    let columns = columns(api, &question.fields, luck);
    let mut out = String::with_capacity(200 + found.rows.len() * columns.len() * 10);
    // Writing to a text does not fail.
    render(&mut out, found, api, &columns, faults, luck, id).map_or_else(|_| String::new(), |()| out)
}

fn render(
    out: &mut String,
    found: &Rows,
    api: &Api,
    columns: &[usize],
    faults: &Faults,
    luck: &Luck,
    id: u64,
) -> fmt::Result {
    let names: Vec<&str> = columns.iter().filter_map(|&at| Some(api.columns.get(at)?.name)).collect();
    let message = if id.is_multiple_of(2) { "\"\"" } else { "null" };
    write!(out, "{{\"request_id\":\"{}\",\"code\":0,\"msg\":{message},", request_id(id))?;
    write!(out, "\"data\":{{\"fields\":{},\"items\":[", json!(names))?;
    let form = Form { as_text: luck.is(Oddity::Strings), scientific: api.name == "idx_mins" };
    for (nth, row) in found.rows.iter().enumerate() {
        out.push_str(if nth == 0 { "[" } else { ",[" });
        let forgets = faults.forgets(row.code(), row.time());
        for (position, (&column, &name)) in columns.iter().zip(&names).enumerate() {
            out.push_str(if position == 0 { "" } else { "," });
            let forgotten = forgets && name == "amount";
            form.put(out, if forgotten { &Cell::Null } else { row.at(column) })?;
        }
        out.push(']');
    }
    let count = if luck.is(Oddity::CountLies) { 0 } else { found.rows.len() };
    let has_more = found.has_more != luck.is(Oddity::HasMoreLies);
    write!(out, "],\"has_more\":{has_more},\"count\":{count}}}}}")
}

/// Which columns come, by their positions: those that are asked for and known, or those that come by default.
fn columns(api: &Api, fields: &[String], luck: &mut Luck) -> Vec<usize> {
    let mut columns: Vec<usize> = fields.iter().filter_map(|name| api.column(name)).collect();
    if columns.is_empty() {
        let by_default = |(at, column): (usize, &Column)| column.by_default.then_some(at);
        columns = api.columns.iter().enumerate().filter_map(by_default).collect();
    }
    let is_key = |at: usize| {
        let name = api.columns.get(at).map(|column| column.name);
        name == api.code || name == api.time
    };
    if luck.is(Oddity::DropsField) {
        let others: Vec<usize> = (0..columns.len()).filter(|&at| !is_key(columns[at])).collect();
        let nth = below(luck, others.len());
        if let Some(&at) = others.get(nth) {
            columns.remove(at);
        }
    }
    if luck.is(Oddity::ShufflesFields) {
        for at in (1..columns.len()).rev() {
            let other = below(luck, at + 1);
            columns.swap(at, other);
        }
    }
    columns
}

fn below(luck: &mut Luck, n: usize) -> usize {
    usize::try_from(luck.rng.below(u32::try_from(n).unwrap_or(u32::MAX))).unwrap_or(0)
}

/// How cells are written.
#[derive(Debug, Clone, Copy)]
struct Form {
    as_text: bool,
    scientific: bool,
}

impl Form {
    fn put(self, out: &mut String, cell: &Cell) -> fmt::Result {
        let quote = if self.as_text { "\"" } else { "" };
        match cell {
            Cell::Null => write!(out, "null"),
            Cell::Whole(number) => write!(out, "{quote}{number}{quote}"),
            Cell::Number(number) if self.scientific && number.abs() >= SCIENTIFIC_FROM => {
                write!(out, "{quote}{number:e}{quote}")
            }
            // With a point always, as Python writes floats.
            Cell::Number(number) => write!(out, "{quote}{number:?}{quote}"),
            Cell::Text(text) => write!(out, "{}", Value::from(&**text)),
        }
    }
}

fn request_id(id: u64) -> String {
    format!("00000000-0000-4000-8000-{id:012x}")
}
