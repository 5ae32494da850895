//! Why the service did not answer: its refusals told apart by their words, and what a caller is told.
//!
//! Knows the vendor's texts; must not know how often to try.

use chrono::NaiveDateTime;

/// A question that got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The token is wrong, or every token is.
    #[error(
        "{api}: the service does not know the token ({said}): check SQEP__TUSHARE__TOKEN, tushare.token_file or the \
         credential"
    )]
    Auth {
        /// The API that was asked.
        api: &'static str,
        /// The vendor's words.
        said: String,
    },
    /// The account may not use this API.
    #[error("{api}: no permission: {}: {said}", needed(*points))]
    Permission {
        /// The API that was asked.
        api: &'static str,
        /// Points it needs, as documented; 0: it is bought apart.
        points: u32,
        /// The vendor's words, or ours where the service was not asked.
        said: String,
    },
    /// Too many calls a minute, for longer than is waited.
    #[error(
        "{api}: refused {refusals} times in a row for calls a minute ({said}): somebody else uses this token, or \
         lower tushare.rates.{api}"
    )]
    Rate {
        /// The API that was asked.
        api: &'static str,
        /// Refusals in a row.
        refusals: u32,
        /// The vendor's words.
        said: String,
    },
    /// The calls of an hour or a day are used up.
    #[error(
        "{api}: quota used up until {until} Asia/Shanghai ({said}): run again after that, or add a token"
    )]
    Quota {
        /// The API that was asked.
        api: &'static str,
        /// When it may be asked again, wall clock of Asia/Shanghai.
        until: NaiveDateTime,
        /// The vendor's words.
        said: String,
    },
    /// The token is used from too many addresses.
    #[error("{api}: the token is used from too many addresses ({said}): stop the other programs that use it")]
    IpQuota {
        /// The API that was asked.
        api: &'static str,
        /// The vendor's words.
        said: String,
    },
    /// The service has no API of this name.
    #[error("{api}: the service has no such API ({said}): check tushare.base_url and tushare.url_form")]
    UnknownApi {
        /// The API that was asked.
        api: &'static str,
        /// The vendor's words.
        said: String,
    },
    /// The service does not take the question.
    #[error("{api}: the service does not take the question {asked} ({said})")]
    BadRequest {
        /// The API that was asked.
        api: &'static str,
        /// The question.
        asked: String,
        /// The vendor's words.
        said: String,
    },
    /// The service failed, try after try.
    #[error("{api}: the service failed {tries} times in a row, last with code {code}: {said}")]
    Server {
        /// The API that was asked.
        api: &'static str,
        /// Tries that failed.
        tries: u32,
        /// The vendor's number.
        code: i64,
        /// The vendor's words.
        said: String,
    },
    /// No whole answer came, try after try.
    #[error("{api}: no answer in {tries} tries: {why}")]
    Transport {
        /// The API that was asked.
        api: &'static str,
        /// Tries that failed.
        tries: u32,
        /// What happened to the last.
        why: String,
    },
    /// The pages of an answer do not fit together, try after try: nothing of it can be trusted to be complete.
    #[error("{api}: the answer to {asked} cannot be complete: {why}")]
    Incomplete {
        /// The API that was asked.
        api: &'static str,
        /// The question.
        asked: String,
        /// What does not fit.
        why: Misfit,
    },
    /// More rows than the service lets be paged through: ask for a smaller range.
    #[error("{api}: {asked} has more than {rows} rows: ask for a smaller range")]
    TooLarge {
        /// The API that was asked.
        api: &'static str,
        /// The question.
        asked: String,
        /// Rows that were read.
        rows: usize,
    },
    /// A stop was asked for.
    #[error("stopped")]
    Stopped,
}

/// What does not fit in an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A page came again: the service ignores `offset`.
    #[error("the page at offset {offset} is one that came before")]
    RepeatedPage {
        /// Where it was asked for.
        offset: usize,
    },
    /// No rows, but more of them promised.
    #[error("the page at offset {offset} is empty but claims that there is more")]
    EmptyClaimsMore {
        /// Where it was asked for.
        offset: usize,
    },
    /// No rows where there are always some.
    #[error("it has no row, and there always are some")]
    Empty,
    /// More rows than were asked for.
    #[error("{rows} rows came where at most {limit} were asked for")]
    TooManyRows {
        /// Rows that came.
        rows: usize,
        /// Rows that were asked for.
        limit: usize,
    },
    /// A live answer as large as its limit, which may have cut it.
    #[error("{rows} rows came, as many as a call gives at most: ask for fewer codes at once")]
    Full {
        /// Rows that came.
        rows: usize,
    },
    /// A row that is not as wide as the list of columns.
    #[error("row {row} has {cells} cells for {fields} columns")]
    Width {
        /// The row, from 1.
        row: usize,
        /// Its cells.
        cells: usize,
        /// Columns named.
        fields: usize,
    },
    /// A column that nothing can be made without.
    #[error("column {field} is missing; there are {present}")]
    NoColumn {
        /// The column.
        field: &'static str,
        /// Those that came.
        present: String,
    },
}

/// How far an error reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No API can be asked: wrong token, too many addresses.
    Account,
    /// This API cannot be asked: no permission, quota used up, unknown.
    Api,
    /// This question has no answer as it stands.
    Ask,
    /// Nobody is to blame but the moment: the same question may be answered later.
    Moment,
    /// A stop was asked for.
    Stop,
}

impl ApiError {
    /// Whether the same question may have an answer later without anybody doing anything. A question that the service
    /// does not take may be one of its bad moments too.
    pub fn passes(&self) -> bool {
        matches!(self.reach(), Reach::Moment | Reach::Ask)
            || matches!(self, ApiError::Quota { .. } | ApiError::Rate { .. })
    }

    /// Whether an API is closed to the account: it does not pass by itself, and the other APIs are open.
    pub fn is_denied(&self) -> bool {
        matches!(self, ApiError::Permission { .. } | ApiError::UnknownApi { .. })
    }

    /// What to do about a missing permission.
    pub fn advice(&self) -> Option<String> {
        let ApiError::Permission { api, .. } = self else { return None };
        let without = match *api {
            "adj_factor" | "fund_adj" => ", or take \"adjust\" out of fetch.join",
            "stk_limit" => ", or take \"limits\" out of fetch.join",
            "stock_st" | "namechange" => ", or take \"st\" out of fetch.join",
            "rt_min" => ", or set fetch.live = false",
            _ => "",
        };
        Some(format!("buy it{without}"))
    }

    /// How far it reaches.
    pub fn reach(&self) -> Reach {
        match self {
            ApiError::Auth { .. } | ApiError::IpQuota { .. } => Reach::Account,
            ApiError::Permission { .. }
            | ApiError::Rate { .. }
            | ApiError::Quota { .. }
            | ApiError::UnknownApi { .. } => Reach::Api,
            ApiError::BadRequest { .. } | ApiError::TooLarge { .. } => Reach::Ask,
            ApiError::Server { .. } | ApiError::Transport { .. } | ApiError::Incomplete { .. } => {
                Reach::Moment
            }
            ApiError::Stopped => Reach::Stop,
        }
    }
}

fn needed(points: u32) -> String {
    match points {
        0 => "it is bought apart from points".to_owned(),
        points => format!("it needs {points} points"),
    }
}

/// A span whose calls are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    Hour,
    Day,
}

/// What the service says when it answers with a code other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Auth,
    UnknownApi,
    Rate { per_min: Option<u32> },
    Quota(Span),
    Permission,
    IpQuota,
    BadRequest,
    Server,
}

impl Refusal {
    /// Tells a refusal by its words, in the order rate, long quota, permission: texts about rates hold the word 权限 too.
    /// Numbers such as 40203, 2002 and -2001 stand for several things at once: words that nobody knows are asked about
    /// again, whatever the number.
    pub(super) fn of(code: i64, said: &str) -> Refusal {
        let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if has(&["每分钟", "次/分钟"]) {
            return Refusal::Rate { per_min: number_in(said) };
        }
        if has(&["每小时", "次/小时"]) {
            return Refusal::Quota(Span::Hour);
        }
        if has(&["每天", "每日", "次/天", "次/日", "次/周", "次/月"]) {
            return Refusal::Quota(Span::Day);
        }
        if has(&["频率超限"]) {
            return Refusal::Rate { per_min: None };
        }
        if code == 40204 || has(&["IP数量超限"]) {
            return Refusal::IpQuota;
        }
        if has(&["接口名"]) {
            return Refusal::UnknownApi;
        }
        if has(&["积分不足", "权限"]) {
            return Refusal::Permission;
        }
        if code == 40101 || has(&["token"]) {
            return Refusal::Auth;
        }
        if code == 50101 || code == 40002 || has(&["必填参数", "确认参数"]) {
            return Refusal::BadRequest;
        }
        Refusal::Server
    }
}

/// The number of calls that a text about rates names: `最多访问该接口200次`, `频率超限(1次/分钟)`.
fn number_in(said: &str) -> Option<u32> {
    let end = said
        .match_indices('次')
        .map(|(at, _)| at)
        .find(|&at| said[..at].ends_with(|c: char| c.is_ascii_digit()))?;
    let digits = said[..end].rsplit(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|&number| number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_OLD: &str =
        "抱歉，您每分钟最多访问该接口200次，权限的具体详情访问：https://tushare.pro/document/1?doc_id=108。";
    const RATE_NEW: &str = "抱歉，您访问接口(stk_mins)频率超限(1次/分钟)，具体频次详情：https://tushare.pro/document/1?doc_id=108。";

    #[test]
    fn every_text_of_the_service_is_told_by_its_words() {
        let per_min = |number| Refusal::Rate { per_min: Some(number) };
        for (code, said, wanted) in [
            (40101, "您的token不对，请确认。", Refusal::Auth),
            (40101, "请指定正确的接口名", Refusal::UnknownApi),
            (50101, "请指定正确的接口名", Refusal::UnknownApi),
            (40203, RATE_OLD, per_min(200)),
            (40203, RATE_NEW, per_min(1)),
            (-2002, RATE_OLD, per_min(200)),
            (40203, "抱歉，您每小时最多访问该接口10次，权限的具体详情访问：x", Refusal::Quota(Span::Hour)),
            (40203, "抱歉，您每天最多访问该接口8000次，权限的具体详情访问：x", Refusal::Quota(Span::Day)),
            (40203, "抱歉，您访问接口(rt_k)频率超限(5次/小时)，具体频次详情：x", Refusal::Quota(Span::Hour)),
            (40203, "抱歉，您访问接口(rt_k)频率超限(5次/天)，具体频次详情：x", Refusal::Quota(Span::Day)),
            (40203, "抱歉，您没有接口(stk_mins)访问权限，权限的具体详情访问：x", Refusal::Permission),
            (2002, "抱歉，您没有访问该接口的权限", Refusal::Permission),
            (40203, "抱歉，您的积分不足", Refusal::Permission),
            (40203, "另一句话", Refusal::Server),
            (2002, "另一句话", Refusal::Server),
            (-2001, "", Refusal::Server),
            (40204, "您的IP数量超限，最大数量为2个！", Refusal::IpQuota),
            (50101, "查询数据失败，请确认参数！可以反馈管理员协助您排查问题", Refusal::BadRequest),
            (50101, "必填参数, ts_code", Refusal::BadRequest),
            (40002, "必填参数, ts_code", Refusal::BadRequest),
            (-2001, "必填参数, ts_code", Refusal::BadRequest),
            (50000, "服务器内部错误，请稍后重试", Refusal::Server),
            (1, "", Refusal::Server),
        ] {
            assert_eq!(Refusal::of(code, said), wanted, "{code} {said}");
        }
    }

    #[test]
    fn the_number_is_the_one_before_the_word_for_times() {
        assert_eq!(number_in("接口2每分钟最多访问该接口500次"), Some(500));
        assert_eq!(number_in("每分钟最多多次"), None);
        assert_eq!(number_in("每分钟最多0次"), None);
    }
}
