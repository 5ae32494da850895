//! What the service offers: names, columns, rows a call, points. Knows its documented contract; must not know how it
//! is asked.

/// One API of the service. Its units stand with the columns in the service's documents: 手 and 千元 for days of stocks,
/// funds and indices, shares and yuan for minutes and live rows.
#[derive(Debug, PartialEq, Eq)]
pub struct Api {
    /// Its name.
    pub name: &'static str,
    /// Rows a call, at most; `tushare.caps` overrides it.
    pub cap: usize,
    /// The columns to ask for. They are all needed: an answer that leaves one out, as the service may, is none.
    pub fields: &'static [&'static str],
    /// When an answer without rows says something that holds.
    pub empty: Empty,
    /// Whether it can be asked page by page. Live rows cannot: they change from page to page.
    pub paged: bool,
    /// Points an account needs; 0 where the API is bought apart.
    pub points: u32,
    /// Its own calls a minute at most, whatever the account; 0: those of the account.
    pub rate_per_min: u32,
}

/// Whether an answer without rows says something that holds, such as that nobody was suspended: it is kept like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// Nothing may be a moment's nothing.
    Never,
    /// There may be none.
    Holds,
    /// There may be none where this parameter has one of these values.
    HoldsWhere(&'static str, &'static [&'static str]),
}

/// Calls a minute of an API that is bought apart, until the service names the number of this account.
pub(super) const BOUGHT_RATE_PER_MIN: u32 = 300;

/// The most common case: paged, at the rate of the account.
const PLAIN: Api =
    Api { name: "", cap: 0, fields: &[], empty: Empty::Never, paged: true, points: 2_000, rate_per_min: 0 };

/// Days of stocks, funds and indices have the same columns.
const DAY: Api = Api {
    fields: &["ts_code", "trade_date", "open", "high", "low", "close", "pre_close", "vol", "amount"],
    ..PLAIN
};

/// So have minutes of the past.
const MINUTES: Api = Api {
    cap: 8_000,
    fields: &["ts_code", "trade_time", "open", "high", "low", "close", "vol", "amount"],
    points: 0,
    ..PLAIN
};

/// And live rows, but for their key.
const LIVE: Api = Api { paged: false, points: 0, ..PLAIN };

/// Every API that is used.
pub static APIS: &[Api] = &[
    Api { name: "daily", cap: 6_000, points: 120, ..DAY },
    Api { name: "adj_factor", cap: 6_000, fields: &["ts_code", "trade_date", "adj_factor"], ..PLAIN },
    Api {
        name: "stk_limit",
        cap: 5_800,
        fields: &["trade_date", "ts_code", "pre_close", "up_limit", "down_limit"],
        ..PLAIN
    },
    Api {
        name: "stock_st",
        cap: 1_000,
        fields: &["ts_code", "name", "trade_date", "type"],
        points: 3_000,
        ..PLAIN
    },
    Api {
        name: "namechange",
        cap: 10_000,
        fields: &["ts_code", "name", "start_date", "end_date", "ann_date"],
        points: 120,
        ..PLAIN
    },
    Api {
        name: "suspend_d",
        cap: 5_000,
        fields: &["ts_code", "trade_date", "suspend_timing", "suspend_type"],
        empty: Empty::Holds,
        points: 120,
        ..PLAIN
    },
    Api {
        name: "trade_cal",
        cap: 2_000,
        fields: &["exchange", "cal_date", "is_open", "pretrade_date"],
        ..PLAIN
    },
    Api {
        name: "stock_basic",
        cap: 6_000,
        fields: &["ts_code", "name", "list_status", "list_date", "delist_date"],
        // Somebody is listed always, and somebody left; nobody may be paused or approved.
        empty: Empty::HoldsWhere("list_status", &["P", "G"]),
        rate_per_min: 50,
        ..PLAIN
    },
    Api {
        name: "bse_mapping",
        cap: 1_000,
        fields: &["name", "o_code", "n_code", "list_date"],
        points: 120,
        ..PLAIN
    },
    Api { name: "fund_daily", cap: 5_000, points: 5_000, ..DAY },
    Api { name: "fund_adj", cap: 2_000, fields: &["ts_code", "trade_date", "adj_factor"], ..PLAIN },
    Api { name: "index_daily", cap: 8_000, ..DAY },
    Api { name: "stk_mins", ..MINUTES },
    Api { name: "idx_mins", ..MINUTES },
    Api {
        name: "rt_min",
        cap: 1_000,
        fields: &["ts_code", "time", "open", "high", "low", "close", "vol", "amount"],
        ..LIVE
    },
];

/// The API of this name; `None`: none that is used.
pub fn find(name: &str) -> Option<&'static Api> {
    APIS.iter().find(|api| api.name == name)
}

/// An API that the code itself names.
///
/// # Panics
/// When there is none of this name.
pub fn api(name: &str) -> &'static Api {
    find(name).unwrap_or_else(|| panic!("no API {name}"))
}

/// The names of all, as an error lists them.
pub(super) fn names() -> String {
    APIS.iter().map(|api| api.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_can_be_asked_and_its_answers_judged() {
        for each in APIS {
            assert!(each.cap > 0 && each.fields.len() > 1, "{}", each.name);
            assert_eq!(api(each.name), each, "a name twice");
        }
    }
}
