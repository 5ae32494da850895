//! The service's refusals, word for word. Knows codes and texts; must not know when one is due.

/// Where the service explains permissions and rates.
const DETAILS: &str = "https://tushare.pro/document/1?doc_id=108";

/// A span over which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// 分钟
    Minute,
    /// 小时
    Hour,
    /// 天
    Day,
}

impl Span {
    fn word(self) -> &'static str {
        match self {
            Span::Minute => "分钟",
            Span::Hour => "小时",
            Span::Day => "天",
        }
    }
}

/// A refusal the service sends with status 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The token is none of the service's.
    Token,
    /// There is no such API.
    ApiName,
    /// Too many calls, in the text of older replies: 每分钟最多访问该接口N次.
    RateOld(u32, Span),
    /// Too many calls, in the text of newer replies: 频率超限(N次/分钟).
    RateNew(u32, Span),
    /// The account may not ask this API, in the text that names it.
    PermissionNew,
    /// The account may not ask this API, in the text that does not name it.
    PermissionOld,
    /// The account has too few points.
    Points,
    /// The token is used from more than so many addresses.
    Addresses(u32),
    /// Parameters the service cannot work with, such as an offset above 100,000.
    Request,
    /// A parameter is missing.
    Required(String),
    /// The service failed; again later.
    Server,
    /// Anything else.
    Other(i64, String),
}

impl Refusal {
    /// Its code.
    pub fn code(&self) -> i64 {
        match self {
            Refusal::Token | Refusal::ApiName => 40101,
            Refusal::Addresses(_) => 40204,
            Refusal::Request | Refusal::Required(_) => 50101,
            Refusal::Server => 50000,
            Refusal::Other(code, _) => *code,
            _ => 40203,
        }
    }

    /// Its text for this API.
    pub fn text(&self, api: &str) -> String {
        match self {
            Refusal::Token => "您的token不对，请确认。".to_owned(),
            Refusal::ApiName => "请指定正确的接口名".to_owned(),
            Refusal::RateOld(times, span) => {
                format!("抱歉，您每{}最多访问该接口{times}次，权限的具体详情访问：{DETAILS}。", span.word())
            }
            Refusal::RateNew(times, span) => format!(
                "抱歉，您访问接口({api})频率超限({times}次/{})，具体频次详情：{DETAILS}。",
                span.word()
            ),
            Refusal::PermissionNew => {
                format!("抱歉，您没有接口({api})访问权限，权限的具体详情访问：{DETAILS}。")
            }
            Refusal::PermissionOld => "抱歉，您没有访问该接口的权限".to_owned(),
            Refusal::Points => format!("抱歉，您的积分不足，权限的具体详情访问：{DETAILS}。"),
            Refusal::Addresses(most) => format!("您的IP数量超限，最大数量为{most}个！"),
            Refusal::Request => "查询数据失败，请确认参数！可以反馈管理员协助您排查问题".to_owned(),
            Refusal::Required(parameter) => format!("必填参数, {parameter}"),
            Refusal::Server => "服务器内部错误，请稍后重试".to_owned(),
            Refusal::Other(_, text) => text.clone(),
        }
    }
}
