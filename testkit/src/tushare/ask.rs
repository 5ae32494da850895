//! What a request asks for. Knows parameters as the service takes them; must not know rows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{api::Api, texts::Refusal, world::Wanted};

/// The largest offset the service takes.
const OFFSET_MAX: usize = 100_000;

/// A question as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) api: String,
    pub(super) token: String,
    pub(super) params: BTreeMap<String, String>,
    pub(super) fields: Vec<String>,
}

/// Which part of the rows is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) offset: usize,
    pub(super) limit: Option<usize>,
}

impl Question {
    /// Reads a body; the name of the API may stand in the path instead. None: not a question at all.
    pub(super) fn read(path: &str, body: &[u8]) -> Option<Question> {
        let Value::Object(body) = serde_json::from_slice(body).ok()? else { return None };
        let in_path = path.trim_matches('/').rsplit('/').next().filter(|name| *name != "dataapi");
        let in_body = body.get("api_name").and_then(Value::as_str);
        let params = match body.get("params") {
            Some(Value::Object(params)) => {
                let given = params.iter().map(|(name, value)| (name.clone(), scalar(value)));
                given.filter(|(_, value)| !value.is_empty()).collect()
            }
            _ => BTreeMap::new(),
        };
        Some(Question {
            api: in_body.or(in_path).unwrap_or_default().to_owned(),
            token: body.get("token").and_then(Value::as_str).unwrap_or_default().to_owned(),
            params,
            fields: body.get("fields").map(list).unwrap_or_default(),
        })
    }

    /// A parameter; none where it is absent or empty.
    fn get(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    /// What the parameters want of the rows; unknown ones are passed over.
    pub(super) fn wanted(&self, api: &Api) -> Result<Wanted, Refusal> {
        if let Some(missing) = api.required.iter().find(|name| self.get(name).is_none()) {
            return Err(Refusal::Required((*missing).to_owned()));
        }
        let time = |name: &str| self.get(name).map(|text| in_form(api, text));
        let mut equals = BTreeMap::new();
        for &name in api.equals {
            if let Some(values) = self.get(name).or_else(|| default_of(api, name)) {
                equals.insert(name, split(values));
            }
        }
        Ok(Wanted {
            codes: if api.code.is_some() {
                self.get("ts_code").map(split).unwrap_or_default()
            } else {
                vec![]
            },
            time: time("trade_date").filter(|_| api.time == Some("trade_date")),
            from: time("start_date").filter(|_| api.time.is_some()),
            to: time("end_date").filter(|_| api.time.is_some()),
            equals,
            freq: self.freq(api)?,
        })
    }

    /// `1min` for the past, `1MIN` for live minutes.
    fn freq(&self, api: &Api) -> Result<Option<String>, Refusal> {
        if !api.required.contains(&"freq") {
            return Ok(None);
        }
        let freq = self.get("freq").unwrap_or_default();
        let upper = api.name.starts_with("rt_");
        let fits = super::world::length(freq).is_some() && freq.ends_with(if upper { "MIN" } else { "min" });
        if fits { Ok(Some(freq.to_owned())) } else { Err(Refusal::Request) }
    }

    /// The page; an offset beyond the service's largest is refused.
    pub(super) fn page(&self) -> Result<Page, Refusal> {
        let number = |name: &str| match self.get(name).map(str::parse::<usize>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(Refusal::Request),
        };
        let offset = number("offset")?.unwrap_or(0);
        let limit = number("limit")?.filter(|&limit| limit > 0);
        if offset > OFFSET_MAX { Err(Refusal::Request) } else { Ok(Page { offset, limit }) }
    }

    /// The question in one line, without the token.
    pub(super) fn line(&self) -> String {
        let params: Vec<String> = self.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}?{}#{}", self.api, params.join("&"), self.fields.join(","))
    }
}

/// Parameters that are asked for when nobody names them.
fn default_of(api: &Api, name: &str) -> Option<&'static str> {
    match (api.name, name) {
        ("trade_cal", "exchange") => Some("SSE"),
        ("stock_basic", "list_status") => Some("L"),
        _ => None,
    }
}

/// Days as `YYYYMMDD`, also where they were given with hyphens; minutes as they are.
fn in_form(api: &Api, text: &str) -> String {
    if api.time == Some("trade_time") { text.to_owned() } else { text.replace('-', "") }
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    }
}

/// A comma string, or an array.
fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(scalar).filter(|name| !name.is_empty()).collect(),
        other => split(&scalar(other)),
    }
}
