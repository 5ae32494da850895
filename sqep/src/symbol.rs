//! Securities as integers: exchange digit × 1,000,000 + six-digit code.
//!
//! Knows the code ranges of the three exchanges and the renumbering of Beijing's stocks. Must not know any
//! vendor, and never guesses an exchange from digits.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use chrono::NaiveDate;

/// An exchange; its number is the leading digit of a [`Symbol`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Exchange {
    /// Shanghai, digit 1.
    SH,
    /// Shenzhen, digit 2.
    SZ,
    /// Beijing, digit 3: our extension of the published protocol.
    BJ,
}

impl Exchange {
    /// All exchanges, in the order of their digits.
    pub const ALL: [Exchange; 3] = [Exchange::SH, Exchange::SZ, Exchange::BJ];

    /// The leading digit of this exchange's symbols.
    pub const fn digit(self) -> i32 {
        match self {
            Exchange::SH => 1,
            Exchange::SZ => 2,
            Exchange::BJ => 3,
        }
    }

    /// The canonical suffix, also accepted as a prefix.
    pub const fn suffix(self) -> &'static str {
        match self {
            Exchange::SH => "SH",
            Exchange::SZ => "SZ",
            Exchange::BJ => "BJ",
        }
    }

    /// Every symbol of this exchange as one integer range: "all of Shenzhen" is a comparison, not a prefix.
    pub const fn symbols(self) -> RangeInclusive<i32> {
        let base = self.digit() * 1_000_000;
        base..=base + 999_999
    }

    /// Reads any of the vendors' spellings, in either case: `SH`, `XSHG`, `SS`, `SHSE` and their like.
    pub fn parse(text: &str) -> Option<Exchange> {
        const SPELLINGS: [(&str, Exchange); 11] = [
            ("SH", Exchange::SH),
            ("SS", Exchange::SH),
            ("XSHG", Exchange::SH),
            ("SHSE", Exchange::SH),
            ("SSE", Exchange::SH),
            ("SZ", Exchange::SZ),
            ("XSHE", Exchange::SZ),
            ("SZSE", Exchange::SZ),
            ("BJ", Exchange::BJ),
            ("XBSE", Exchange::BJ),
            ("BSE", Exchange::BJ),
        ];
        SPELLINGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|&(_, exchange)| exchange)
    }
}

/// What a code stands for, by its range (exchange rules, `schemas/SQEP.md` §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A share quoted in yuan, depositary receipts included.
    Stock,
    /// A B share, quoted in US dollars (Shanghai) or Hong Kong dollars (Shenzhen).
    BShare,
    /// An exchange-traded or listed fund.
    Fund,
    /// An index: no currency, no factor.
    Index,
    /// A bond, convertible, exchangeable or repo, traded in lots of ten bonds.
    Bond,
    /// A range no rule of ours names.
    Other,
}

/// A security. Between 1,000,000 and 3,999,999; written `000001.SZ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(i32);

/// Why a text or an integer is no symbol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SymbolError {
    /// Digits without an exchange: never guessed.
    #[error(
        "symbol {0:?} names no exchange; write it like \"000001.SZ\" or declare the exchange of the source"
    )]
    Bare(String),
    /// An exchange outside Shanghai, Shenzhen and Beijing.
    #[error("symbol {0:?} names an exchange that SQEP does not carry (known: SH, SZ, BJ)")]
    Exchange(String),
    /// Anything else.
    #[error("symbol {0:?} is not six digits and an exchange, like \"000001.SZ\"")]
    Form(String),
    /// An integer outside the published range.
    #[error("symbol {0} is not an exchange digit 1 to 3 and six digits, like 2000001")]
    Integer(i64),
    /// A code of none of the securities that the declared exchange lists.
    #[error(
        "{code:06} is no code of {exchange}; the declared exchange (csv.exchange) does not fit this file"
    )]
    Unlisted {
        /// Six digits.
        code: u32,
        /// The exchange somebody declared.
        exchange: &'static str,
    },
}

impl Symbol {
    /// What a decoder starts from; never a security.
    pub(crate) const BLANK: Symbol = Symbol(0);

    /// Joins an exchange and a code below 1,000,000.
    pub const fn new(exchange: Exchange, code: u32) -> Option<Symbol> {
        if code > 999_999 {
            return None;
        }
        #[expect(clippy::as_conversions, clippy::cast_possible_wrap, reason = "below one million")]
        Some(Symbol(exchange.digit() * 1_000_000 + code as i32))
    }

    /// Takes an integer off the wire.
    pub fn from_i32(value: i32) -> Result<Symbol, SymbolError> {
        if (1_000_000..=3_999_999).contains(&value) {
            Ok(Symbol(value))
        } else {
            Err(SymbolError::Integer(i64::from(value)))
        }
    }

    /// The integer that travels.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The exchange of the leading digit.
    pub const fn exchange(self) -> Exchange {
        match self.0 / 1_000_000 {
            1 => Exchange::SH,
            2 => Exchange::SZ,
            _ => Exchange::BJ,
        }
    }

    /// The six-digit code as a number: 1 for `000001.SZ`.
    pub const fn code(self) -> i32 {
        self.0 % 1_000_000
    }

    /// Stock, B share, fund, index or bond, by code range.
    pub const fn class(self) -> Class {
        let code = self.code();
        match self.exchange() {
            Exchange::SH => match code / 1000 {
                0 => Class::Index,
                600..=605 | 688 | 689 => Class::Stock,
                900 => Class::BShare,
                500..=589 => Class::Fund,
                10..=199 | 204 => Class::Bond,
                _ => Class::Other,
            },
            Exchange::SZ => match code / 1000 {
                0..=4 | 300..=302 => Class::Stock,
                200 | 201 => Class::BShare,
                150..=189 => Class::Fund,
                399 | 970..=989 => Class::Index,
                100..=149 => Class::Bond,
                _ => Class::Other,
            },
            Exchange::BJ => match code / 1000 {
                899 => Class::Index,
                430..=439 | 820..=839 | 870..=889 | 920 => Class::Stock,
                _ => Class::Other,
            },
        }
    }

    fn from_parts(exchange: &str, code: &str, text: &str) -> Result<Symbol, SymbolError> {
        if code.len() != 6 || !code.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SymbolError::Form(text.to_owned()));
        }
        let exchange = Exchange::parse(exchange).ok_or_else(|| SymbolError::Exchange(text.to_owned()))?;
        let code = code.parse().map_err(|_| SymbolError::Form(text.to_owned()))?;
        Symbol::new(exchange, code).ok_or_else(|| SymbolError::Form(text.to_owned()))
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}.{}", self.code(), self.exchange().suffix())
    }
}

impl FromStr for Symbol {
    type Err = SymbolError;

    /// Accepts `000001.SZ`, `000001.XSHE`, `sz000001`, `SZ000001`, `sz.000001`, `SZSE.000001`, `SZ#000001` and the
    /// like in either case. A bare code is refused: 000001 is an index in Shanghai and a bank in Shenzhen.
    fn from_str(text: &str) -> Result<Symbol, SymbolError> {
        let trimmed = text.trim();
        let digit = |b: u8| b.is_ascii_digit();
        if !trimmed.is_ascii() || trimmed.len() < 6 {
            return Err(SymbolError::Form(text.to_owned()));
        }
        if trimmed.bytes().all(digit) {
            return Err(SymbolError::Bare(text.to_owned()));
        }
        if trimmed.as_bytes().iter().take(6).all(|&b| digit(b)) {
            let (code, rest) = trimmed.split_at(6);
            let exchange = rest.strip_prefix('.').ok_or_else(|| SymbolError::Form(text.to_owned()))?;
            return Symbol::from_parts(exchange, code, text);
        }
        let (exchange, code) = trimmed.split_at(trimmed.len() - 6);
        Symbol::from_parts(exchange.strip_suffix(['.', '#']).unwrap_or(exchange), code, text)
    }
}

/// Beijing's renumbering: which old number became which 920 number, and since when.
#[derive(Debug, Clone, Default)]
pub struct Aliases {
    pairs: Vec<(Symbol, Symbol, NaiveDate)>,
}

impl Aliases {
    /// The table that ships with the protocol (`schemas/bj_alias.csv`: old, new, since).
    ///
    /// # Panics
    /// Never: a test reads the same text.
    #[expect(clippy::expect_used, reason = "the text is compiled in and read by a test")]
    pub fn published() -> Aliases {
        Aliases::parse(include_str!("../../schemas/bj_alias.csv")).expect("published aliases")
    }

    /// Reads lines `old,new,since`, after one header line.
    pub fn parse(text: &str) -> Result<Aliases, SymbolError> {
        let form = |line: &str| SymbolError::Form(line.to_owned());
        let mut pairs = Vec::new();
        for line in text.lines().skip(1).filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let mut parts = line.split(',');
            let (Some(old), Some(new), Some(since)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(form(line));
            };
            let since = since.trim().parse().map_err(|_| form(line))?;
            pairs.push((old.parse()?, new.parse()?, since));
        }
        pairs.sort_unstable();
        Ok(Aliases { pairs })
    }

    /// The number a security trades under today; itself when it was never renumbered.
    pub fn current(&self, symbol: Symbol) -> Symbol {
        match self.pairs.binary_search_by_key(&symbol, |&(old, _, _)| old) {
            Ok(at) => self.pairs[at].1,
            Err(_) => symbol,
        }
    }

    /// The day from which `symbol` goes by its new number, if it was renumbered.
    pub fn since(&self, symbol: Symbol) -> Option<NaiveDate> {
        let at = self.pairs.binary_search_by_key(&symbol, |&(old, _, _)| old).ok()?;
        Some(self.pairs[at].2)
    }

    /// The number a security had before `symbol`, and the day from which it goes by `symbol`.
    pub fn former(&self, symbol: Symbol) -> Option<(Symbol, NaiveDate)> {
        self.pairs.iter().find(|&&(_, new, _)| new == symbol).map(|&(old, _, since)| (old, since))
    }

    /// How many renumberings the table holds.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}
