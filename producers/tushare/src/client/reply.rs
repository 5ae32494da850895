//! From the bytes of an answer to rows. Knows the service's envelope; must not know which page it is.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor},
};

use super::{
    apis::Api,
    error::Misfit,
    table::{Cell, Table},
};

/// Characters of a body that an error quotes.
const QUOTED_MAX: usize = 80;

/// One page of an answer.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) table: Table,
    /// Whether the service claims more rows after these. True is a hint, false means nothing.
    pub(super) claims_more: bool,
    /// Rows in all, as the service claims; a hint likewise.
    pub(super) claims_rows: Option<f64>,
}

/// Why a body is not a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The service refuses.
    Said { code: i64, said: String },
    /// Its rows do not fit their columns.
    Misfit(Misfit),
    /// No answer of the service: HTML, cut off, anything else.
    Garbled(String),
}

#[derive(Deserialize)]
struct Envelope<D> {
    code: i64,
    #[serde(default)]
    msg: Option<Said>,
    #[serde(default)]
    message: Option<Said>,
    data: Option<D>,
}

/// Words, or something else in their place.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Words(String),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default)]
    items: Items,
    #[serde(default)]
    has_more: Cell,
    #[serde(default)]
    count: Cell,
}

impl<D> Envelope<D> {
    fn said(self) -> String {
        let words = |said: Option<Said>| match said {
            Some(Said::Words(words)) if !words.trim().is_empty() => Some(words.trim().to_owned()),
            _ => None,
        };
        words(self.msg).or_else(|| words(self.message)).unwrap_or_else(|| "no words".to_owned())
    }
}

/// Reads a body.
pub(super) fn read(api: &Api, body: &[u8]) -> Result<Page, Unread> {
    let whole = serde_json::from_slice::<Envelope<Data>>(body);
    match whole {
        Ok(Envelope { code: 0, data: Some(data), .. }) => page(api, data).map_err(Unread::Misfit),
        Ok(Envelope { code: 0, data: None, .. }) => Err(Unread::Garbled("code 0 without data".to_owned())),
        Ok(refusal) => Err(Unread::Said { code: refusal.code, said: refusal.said() }),
        Err(error) => match serde_json::from_slice::<Envelope<IgnoredAny>>(body) {
            Ok(refusal) if refusal.code != 0 => {
                Err(Unread::Said { code: refusal.code, said: refusal.said() })
            }
            _ => Err(Unread::Garbled(format!("{} bytes of which {error}: {}", body.len(), beginning(body)))),
        },
    }
}

/// The first characters of a body, in one line.
pub(super) fn beginning(body: &[u8]) -> String {
    let head = body.get(..QUOTED_MAX * 4).unwrap_or(body);
    let text: String = String::from_utf8_lossy(head).chars().take(QUOTED_MAX).collect();
    format!("{:?}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn page(api: &Api, data: Data) -> Result<Page, Misfit> {
    let (fields, rows) = (data.fields, data.items.0);
    if let Some((row, cells)) = rows.iter().enumerate().find(|(_, cells)| cells.len() != fields.len()) {
        return Err(Misfit::Width { row: row + 1, cells: cells.len(), fields: fields.len() });
    }
    let missing = api.fields.iter().find(|asked| !fields.iter().any(|field| field == *asked));
    if let (false, Some(field)) = (rows.is_empty(), missing) {
        return Err(Misfit::NoColumn { field, present: fields.join(", ") });
    }
    Ok(Page {
        table: Table { api: api.name.to_owned(), fields, rows },
        claims_more: data.has_more.is_true(),
        claims_rows: data.count.as_number(),
    })
}

/// Rows, each made as wide as the one before.
#[derive(Default)]
struct Items(Vec<Vec<Cell>>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Items, D::Error> {
        deserializer.deserialize_any(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_unit<E>(self) -> Result<Items, E> {
        Ok(Items::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
        let (mut rows, mut width) = (Vec::new(), 0);
        while let Some(row) = seq.next_element_seed(Row { width })? {
            width = row.len();
            rows.push(row);
        }
        Ok(Items(rows))
    }
}

struct Row {
    width: usize,
}

impl<'de> DeserializeSeed<'de> for Row {
    type Value = Vec<Cell>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Cell>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row {
    type Value = Vec<Cell>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row: a list of numbers, texts and nulls")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Cell>, A::Error> {
        let mut row = Vec::with_capacity(self.width);
        while let Some(cell) = seq.next_element()? {
            row.push(cell);
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::api;

    fn read(body: &str) -> Result<Page, Unread> {
        super::read(api("adj_factor"), body.as_bytes())
    }

    #[test]
    fn values_come_as_they_are_and_columns_by_name() {
        let page = read(
            r#"{"request_id":"x","code":0,"msg":null,"data":{"items":[["20240102",3.375271e+09,"000001.SZ"],
            [20240103,"7.5",null],["x",-3,true]],"fields":["trade_date","adj_factor","ts_code"],"has_more":1,
            "count":7}}"#,
        )
        .unwrap();
        let (table, text) = (&page.table, |text: &str| Cell::Text(text.into()));
        assert_eq!(table.fields, ["trade_date", "adj_factor", "ts_code"]);
        assert_eq!(table.rows[0], [text("20240102"), Cell::Number(3_375_271_000.0), text("000001.SZ")]);
        assert_eq!(table.rows[1], [Cell::Number(20_240_103.0), text("7.5"), Cell::Null]);
        assert_eq!(table.rows[2], [text("x"), Cell::Number(-3.0), Cell::Number(1.0)]);
        assert_eq!((page.claims_more, page.claims_rows), (true, Some(7.0)));
    }

    #[test]
    fn what_is_no_answer_is_never_an_empty_table() {
        let whole =
            r#"{"code":0,"msg":"","data":{"fields":["ts_code"],"items":[],"has_more":false,"count":0}}"#;
        assert!(read(whole).unwrap().table.rows.is_empty());
        for cut in 0..whole.len() {
            assert!(matches!(read(&whole[..cut]), Err(Unread::Garbled(_))), "{cut}");
        }
        for body in [
            "<html><body>503</body></html>",
            r#"{"code":0,"msg":"","data":null}"#,
            r#"{"msg":"","data":{"fields":[],"items":[]}}"#,
            r#"{"code":0,"data":{"fields":["ts_code"],"items":[[{}]]}}"#,
            "[]",
        ] {
            assert!(matches!(read(body), Err(Unread::Garbled(_))), "{body}");
        }
    }

    #[test]
    fn a_refusal_is_read_whatever_stands_beside_it() {
        for body in [
            r#"{"request_id":"x","code":40101,"msg":"不对","message":"other","data":null}"#,
            r#"{"code":40101,"msg":"不对","data":""}"#,
            r#"{"code":40101,"msg":null,"message":" 不对 ","data":[]}"#,
            r#"{"code":40101,"msg":["?"],"message":"不对"}"#,
        ] {
            assert_eq!(
                read(body).unwrap_err(),
                Unread::Said { code: 40101, said: "不对".to_owned() },
                "{body}"
            );
        }
    }

    #[test]
    fn rows_that_do_not_fit_their_columns_are_refused() {
        let with = |fields: &str, items: &str| {
            read(&format!(r#"{{"code":0,"data":{{"fields":{fields},"items":{items}}}}}"#)).unwrap_err()
        };
        assert_eq!(
            with(r#"["ts_code","trade_date","adj_factor"]"#, r#"[["a","b",1],["a","b"]]"#),
            Unread::Misfit(Misfit::Width { row: 2, cells: 2, fields: 3 })
        );
        let present = "ts_code, trade_date".to_owned();
        assert_eq!(
            with(r#"["ts_code","trade_date"]"#, r#"[["a","b"]]"#),
            Unread::Misfit(Misfit::NoColumn { field: "adj_factor", present })
        );
    }
}
