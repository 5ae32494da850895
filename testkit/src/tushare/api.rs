//! What each API of the service has: columns, rows a call, the hour of its update, what an account must have for it.
//! Knows the vendor's documentation; must not know rows.

/// A column, and whether it comes without being asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// It comes when no `fields` are asked for.
    pub by_default: bool,
}

/// What an account must have to ask an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// So many points.
    Points(u32),
    /// A permission of its own, which points do not give.
    Purchase,
}

/// An API.
#[derive(Debug, PartialEq, Eq)]
pub struct Api {
    /// Its name.
    pub name: &'static str,
    /// Its columns, in the order in which they come.
    pub columns: &'static [Column],
    /// The column that `ts_code` asks for.
    pub code: Option<&'static str>,
    /// The column that `trade_date`, `start_date` and `end_date` ask for; rows come newest first by it.
    pub time: Option<&'static str>,
    /// The most rows of one call; the rest is cut off without a word.
    pub rows_max: Option<usize>,
    /// Minute of the day, Shanghai, from which a day's rows are there.
    pub updates: u32,
    /// What an account must have.
    pub needs: Needs,
    /// Parameters without which it refuses.
    pub required: &'static [&'static str],
    /// Parameters that ask for a column of the same name.
    pub equals: &'static [&'static str],
}

impl Api {
    /// The API of this name.
    pub fn named(name: &str) -> Option<&'static Api> {
        ALL.iter().find(|api| api.name == name)
    }

    /// All of them.
    pub fn all() -> &'static [Api] {
        ALL
    }

    /// The position of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

const fn shown(name: &'static str) -> Column {
    Column { name, by_default: true }
}

/// Comes only when `fields` names it.
const fn hidden(name: &'static str) -> Column {
    Column { name, by_default: false }
}

const fn at(hour: u32, minute: u32) -> u32 {
    hour * 60 + minute
}

/// An API by day, newest first.
const BY_DAY: Api = Api {
    name: "",
    columns: &[],
    code: Some("ts_code"),
    time: Some("trade_date"),
    rows_max: None,
    updates: 0,
    needs: Needs::Points(2000),
    required: &[],
    equals: &[],
};

/// A list without a time.
const LIST: Api = Api { time: None, ..BY_DAY };

/// Minutes of the past.
const MINUTES: Api = Api {
    columns: &[
        shown("ts_code"),
        shown("trade_time"),
        shown("close"),
        shown("open"),
        shown("high"),
        shown("low"),
        shown("vol"),
        shown("amount"),
    ],
    time: Some("trade_time"),
    rows_max: Some(8000),
    updates: at(19, 30),
    needs: Needs::Purchase,
    required: &["ts_code", "freq"],
    ..BY_DAY
};

const PRICES: &[Column] = &[
    shown("ts_code"),
    shown("trade_date"),
    shown("open"),
    shown("high"),
    shown("low"),
    shown("close"),
    shown("pre_close"),
    shown("change"),
    shown("pct_chg"),
    shown("vol"),
    shown("amount"),
];

const LIMITS: &[Column] =
    &[shown("trade_date"), shown("ts_code"), hidden("pre_close"), shown("up_limit"), shown("down_limit")];

const ALL: &[Api] = &[
    Api {
        name: "daily",
        columns: &[
            shown("ts_code"),
            shown("trade_date"),
            shown("open"),
            shown("high"),
            shown("low"),
            shown("close"),
            shown("pre_close"),
            shown("change"),
            shown("pct_chg"),
            shown("vol"),
            shown("amount"),
            hidden("ah_vol"),
            hidden("ah_amount"),
        ],
        rows_max: Some(6000),
        updates: at(16, 0),
        needs: Needs::Points(120),
        ..BY_DAY
    },
    Api {
        name: "adj_factor",
        columns: &[shown("ts_code"), shown("trade_date"), shown("adj_factor")],
        updates: at(9, 20),
        ..BY_DAY
    },
    Api { name: "stk_limit", columns: LIMITS, rows_max: Some(5800), updates: at(8, 40), ..BY_DAY },
    Api { name: "etf_limit", columns: LIMITS, rows_max: Some(3000), updates: at(8, 40), ..BY_DAY },
    Api {
        name: "stock_st",
        columns: &[shown("ts_code"), shown("name"), shown("trade_date"), shown("type"), shown("type_name")],
        rows_max: Some(1000),
        updates: at(9, 20),
        needs: Needs::Points(3000),
        ..BY_DAY
    },
    Api {
        name: "namechange",
        columns: &[
            shown("ts_code"),
            shown("name"),
            shown("start_date"),
            shown("end_date"),
            shown("ann_date"),
            shown("change_reason"),
        ],
        time: Some("ann_date"),
        rows_max: Some(10_000),
        needs: Needs::Points(120),
        ..BY_DAY
    },
    Api {
        name: "suspend_d",
        columns: &[shown("ts_code"), shown("trade_date"), shown("suspend_timing"), shown("suspend_type")],
        rows_max: Some(5000),
        updates: at(9, 0),
        needs: Needs::Points(120),
        equals: &["suspend_type"],
        ..BY_DAY
    },
    Api {
        name: "trade_cal",
        columns: &[shown("exchange"), shown("cal_date"), shown("is_open"), shown("pretrade_date")],
        code: None,
        time: Some("cal_date"),
        equals: &["exchange", "is_open"],
        ..BY_DAY
    },
    Api {
        name: "stock_basic",
        columns: &[
            shown("ts_code"),
            shown("symbol"),
            shown("name"),
            shown("area"),
            shown("industry"),
            hidden("fullname"),
            hidden("enname"),
            shown("cnspell"),
            shown("market"),
            hidden("exchange"),
            hidden("curr_type"),
            hidden("list_status"),
            shown("list_date"),
            hidden("delist_date"),
            hidden("is_hs"),
            shown("act_name"),
            shown("act_ent_type"),
        ],
        rows_max: Some(6000),
        equals: &["list_status", "exchange", "market", "name"],
        ..LIST
    },
    Api {
        name: "bse_mapping",
        columns: &[shown("name"), shown("o_code"), shown("n_code"), shown("list_date")],
        code: None,
        needs: Needs::Points(120),
        equals: &["o_code", "n_code"],
        ..LIST
    },
    Api {
        name: "daily_basic",
        columns: &[
            shown("ts_code"),
            shown("trade_date"),
            shown("close"),
            shown("turnover_rate"),
            shown("volume_ratio"),
            shown("total_share"),
            shown("float_share"),
            shown("total_mv"),
            shown("circ_mv"),
        ],
        rows_max: Some(6000),
        updates: at(16, 30),
        ..BY_DAY
    },
    Api {
        name: "fund_daily",
        columns: PRICES,
        rows_max: Some(5000),
        updates: at(16, 0),
        needs: Needs::Points(5000),
        ..BY_DAY
    },
    Api {
        name: "fund_adj",
        columns: &[shown("ts_code"), shown("trade_date"), shown("adj_factor")],
        rows_max: Some(2000),
        updates: at(9, 20),
        ..BY_DAY
    },
    Api {
        name: "index_daily",
        columns: &[
            shown("ts_code"),
            shown("trade_date"),
            shown("close"),
            shown("open"),
            shown("high"),
            shown("low"),
            shown("pre_close"),
            shown("change"),
            shown("pct_chg"),
            shown("vol"),
            shown("amount"),
        ],
        rows_max: Some(8000),
        updates: at(19, 0),
        required: &["ts_code"],
        ..BY_DAY
    },
    Api { name: "stk_mins", ..MINUTES },
    Api { name: "idx_mins", ..MINUTES },
    Api {
        name: "rt_min",
        columns: &[
            shown("ts_code"),
            shown("time"),
            shown("open"),
            shown("close"),
            shown("high"),
            shown("low"),
            shown("vol"),
            shown("amount"),
        ],
        time: None,
        rows_max: Some(1000),
        ..MINUTES
    },
    Api {
        name: "rt_min_daily",
        columns: &[
            shown("code"),
            shown("freq"),
            shown("time"),
            shown("open"),
            shown("close"),
            shown("high"),
            shown("low"),
            shown("vol"),
            shown("amount"),
        ],
        code: Some("code"),
        time: None,
        rows_max: None,
        ..MINUTES
    },
    Api {
        name: "rt_k",
        columns: &[
            shown("ts_code"),
            shown("name"),
            shown("pre_close"),
            shown("high"),
            shown("open"),
            shown("low"),
            shown("close"),
            shown("vol"),
            shown("amount"),
            shown("num"),
            hidden("ask_price1"),
            hidden("ask_volume1"),
            hidden("bid_price1"),
            hidden("bid_volume1"),
            hidden("trade_time"),
        ],
        time: None,
        rows_max: Some(6000),
        required: &["ts_code"],
        ..MINUTES
    },
];
