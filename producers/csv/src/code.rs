//! Which security a row is of: from a column, the name of the file or a line above the header.
//!
//! Knows spellings and declared exchanges; must not guess an exchange from digits.

use std::{path::Path, sync::Arc};

use sqep::{
    Exchange, Symbol,
    symbol::{Aliases, Class, SymbolError},
};

use crate::{
    dialect::{Place, SymbolRule},
    number,
};

/// How Beijing's renumbered securities are named.
#[derive(Debug, Clone, Default)]
pub enum Alias {
    /// As the file names them.
    #[default]
    AsGiven,
    /// By their current number.
    Current(Arc<Aliases>),
}

/// Six digits found in a text, with the exchange before or after them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    code: u32,
    exchange: Result<Option<Exchange>, String>,
}

/// Names the security of each row.
pub(crate) struct Codes {
    /// What the name of the file and the lines above the header say.
    file: Result<Symbol, SymbolError>,
    named: Option<Found>,
    exchange: Option<Exchange>,
    prefix: Vec<(String, Exchange)>,
    alias: Alias,
    last_text: Vec<u8>,
    last: Result<Symbol, SymbolError>,
}

impl Codes {
    pub(crate) fn new(
        rule: &SymbolRule,
        path: &Path,
        preamble: &[String],
        exchange: Option<Exchange>,
        alias: Alias,
    ) -> Codes {
        let name = stem(path);
        let in_file = rule.from.contains(&Place::File).then(|| scan(&name)).flatten();
        let above = rule.from.contains(&Place::Preamble);
        let in_preamble = above.then(|| preamble.iter().find_map(|line| scan(line))).flatten();
        let mut prefix: Vec<(String, Exchange)> =
            rule.prefix.iter().map(|(digits, name)| (digits.clone(), name.0)).collect();
        prefix.sort_by_key(|(digits, _)| std::cmp::Reverse(digits.len()));
        let mut codes = Codes {
            file: Err(SymbolError::Form(name.clone())),
            named: in_file.clone(),
            exchange,
            prefix,
            alias,
            last_text: Vec::new(),
            last: Err(SymbolError::Form(String::new())),
        };
        codes.file = codes.of_places(&name, in_file, in_preamble);
        codes
    }

    /// The security the file as a whole is of.
    pub(crate) fn of_file(&self) -> Result<Symbol, SymbolError> {
        self.file.clone()
    }

    /// The security a row names; the text of the row before is not looked at twice.
    pub(crate) fn of_row(&mut self, text: &[u8]) -> Result<Symbol, SymbolError> {
        if self.last_text != text {
            self.last = self.read(text);
            self.last_text.clear();
            self.last_text.extend_from_slice(text);
        }
        match &self.last {
            Ok(symbol) => Ok(*symbol),
            Err(error) => Err(error.clone()),
        }
    }

    fn of_places(
        &self,
        name: &str,
        file: Option<Found>,
        preamble: Option<Found>,
    ) -> Result<Symbol, SymbolError> {
        if let (Some(file), Some(preamble)) = (&file, &preamble)
            && file.code != preamble.code
        {
            return Err(SymbolError::Form(format!("{name}: first line says {:06}", preamble.code)));
        }
        let found = file.or(preamble).ok_or_else(|| SymbolError::Form(name.to_owned()))?;
        let exchange = match found.exchange {
            Ok(Some(exchange)) => exchange,
            Ok(None) => return self.bare(found.code, name),
            Err(foreign) => return Err(SymbolError::Exchange(format!("{:06}.{foreign}", found.code))),
        };
        self.join(exchange, found.code, name)
    }

    fn read(&self, text: &[u8]) -> Result<Symbol, SymbolError> {
        if let Some(symbol) = quick(text) {
            return Ok(self.current(symbol));
        }
        let text = String::from_utf8_lossy(text);
        let text = text.trim_matches(['\'', '"', '=', ' ', '`']);
        match number::natural(text.as_bytes()) {
            Some(code) if text.len() == 6 => {
                self.beside(code).map_or_else(|| self.bare(code, text), |found| self.join(found, code, text))
            }
            Some(whole) if text.len() == 7 => {
                let whole = i32::try_from(whole).map_err(|_| SymbolError::Integer(i64::from(whole)))?;
                Symbol::from_i32(whole).map(|symbol| self.current(symbol))
            }
            _ => text.parse().map(|symbol| self.current(symbol)),
        }
    }

    /// The exchange that the name of the file gives to the same six digits.
    fn beside(&self, code: u32) -> Option<Exchange> {
        let found = self.named.as_ref().filter(|found| found.code == code)?;
        found.exchange.as_ref().ok().copied().flatten()
    }

    /// The exchange that somebody declared for a bare code.
    fn declared(&self, code: u32) -> Option<Exchange> {
        let digits = format!("{code:06}");
        let by_prefix =
            || self.prefix.iter().find(|(prefix, _)| digits.starts_with(prefix)).map(|&(_, found)| found);
        self.exchange.or_else(by_prefix)
    }

    /// A bare code on its declared exchange, which has to list such codes.
    fn bare(&self, code: u32, text: &str) -> Result<Symbol, SymbolError> {
        let exchange = self.declared(code).ok_or_else(|| SymbolError::Bare(text.to_owned()))?;
        let symbol = self.join(exchange, code, text)?;
        if symbol.class() == Class::Other {
            return Err(SymbolError::Unlisted { code, exchange: exchange.suffix() });
        }
        Ok(symbol)
    }

    fn join(&self, exchange: Exchange, code: u32, text: &str) -> Result<Symbol, SymbolError> {
        let symbol = Symbol::new(exchange, code).ok_or_else(|| SymbolError::Form(text.to_owned()))?;
        Ok(self.current(symbol))
    }

    fn current(&self, symbol: Symbol) -> Symbol {
        match &self.alias {
            Alias::Current(aliases) if symbol.exchange() == Exchange::BJ => aliases.current(symbol),
            _ => symbol,
        }
    }
}

/// `000001.SZ` and its like, without a detour.
fn quick(text: &[u8]) -> Option<Symbol> {
    let (code, rest) = text.split_at_checked(6)?;
    let exchange = match rest {
        b".SZ" => Exchange::SZ,
        b".SH" => Exchange::SH,
        b".BJ" => Exchange::BJ,
        _ => return None,
    };
    Symbol::new(exchange, number::natural(code)?)
}

/// The name of a file without what says how it is packed.
fn stem(path: &Path) -> String {
    let mut name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    while let Some((stem, ending)) = name.rsplit_once('.') {
        if !["csv", "txt", "tsv", "gz", "zst"].iter().any(|known| ending.eq_ignore_ascii_case(known)) {
            break;
        }
        name = stem.to_owned();
    }
    name
}

/// The first six digits with an exchange beside them, else the first six digits.
fn scan(text: &str) -> Option<Found> {
    let mut bare = None;
    for (start, digits) in six_digits(text) {
        let found = Found { code: digits, exchange: beside(&text[..start], &text[start + 6..]) };
        if matches!(found.exchange, Ok(Some(_))) {
            return Some(found);
        }
        bare = bare.or(Some(found));
    }
    bare
}

fn six_digits(text: &str) -> impl Iterator<Item = (usize, u32)> + '_ {
    let digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
    (0..text.len()).filter_map(move |at| {
        let alone = !digit(at.checked_sub(1)) && !digit(Some(at + 6));
        let code = text.as_bytes().get(at..at + 6).and_then(number::natural);
        code.filter(|_| alone).map(|code| (at, code))
    })
}

/// The exchange that stands before (`SH#`, `sh.`, `sh`, `SH_`) or after (`.SH`, `_SH`, `sh`) six digits. Letters in its
/// place that name no exchange of ours are an error if they look meant: `000001.IDX`.
fn beside(before: &str, after: &str) -> Result<Option<Exchange>, String> {
    let letters = |c: char| c.is_ascii_alphabetic();
    let suffix = after.strip_prefix('.').map_or("", |rest| rest.split(|c| !letters(c)).next().unwrap_or(""));
    let prefix = before.trim_end_matches(['.', '#']).rsplit(|c| !letters(c)).next().unwrap_or("");
    let parted = ['.', '#', '_', '-'];
    let loose = after.strip_prefix(parted).unwrap_or(after).split(|c| !letters(c)).next().unwrap_or("");
    let ahead = before.strip_suffix(parted).unwrap_or(before).rsplit(|c| !letters(c)).next().unwrap_or("");
    for name in [suffix, prefix, loose, ahead] {
        if let Some(exchange) = Exchange::parse(name) {
            return Ok(Some(exchange));
        }
    }
    let meant =
        |name: &str| (2..=4).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_uppercase());
    match [suffix, prefix].into_iter().find(|name| meant(name)) {
        Some(foreign) => Err(foreign.to_owned()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(from: &[Place]) -> SymbolRule {
        SymbolRule { from: from.to_vec(), ..SymbolRule::default() }
    }

    fn of_file(name: &str, exchange: Option<Exchange>) -> Result<String, String> {
        let codes = Codes::new(&rule(&[Place::File]), Path::new(name), &[], exchange, Alias::AsGiven);
        codes.of_file().map(|symbol| symbol.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_name_of_a_file_tells_its_security() {
        for (name, symbol) in [
            ("/a/000001.SZ-20240301.csv", "000001.SZ"),
            ("sh600000.csv", "600000.SH"),
            ("SH#601003.txt", "601003.SH"),
            ("sz.300750.csv.gz", "300750.SZ"),
            ("600519.SS.csv", "600519.SH"),
            ("000001.XSHE.csv", "000001.SZ"),
            ("600105.SH_1d.csv", "600105.SH"),
            ("SH_600519.csv", "600519.SH"),
            ("600519_SH.csv", "600519.SH"),
            ("SH-600519.csv", "600519.SH"),
            ("600519sh.csv", "600519.SH"),
            ("600519-sh_1min.csv", "600519.SH"),
            ("20240301_bj920000.csv.zst", "920000.BJ"),
        ] {
            assert_eq!(of_file(name, None).as_deref(), Ok(symbol), "{name}");
        }
    }

    #[test]
    fn an_exchange_is_declared_and_never_guessed() {
        assert!(of_file("600519.csv", None).unwrap_err().contains("declare the exchange"));
        assert_eq!(of_file("600519.csv", Some(Exchange::SH)).as_deref(), Ok("600519.SH"));
        assert!(of_file("000001.IDX-20240304.csv", Some(Exchange::SH)).unwrap_err().contains("IDX"));
        assert!(of_file("symbol.csv", Some(Exchange::SH)).is_err());
        assert!(of_file("20240301.csv", Some(Exchange::SH)).is_err());
    }

    #[test]
    fn a_bare_code_in_a_column_takes_the_exchange_of_the_file_or_of_the_declaration() {
        let both = rule(&[Place::Column, Place::File]);
        let mut named = Codes::new(&both, Path::new("sh600519.csv"), &[], None, Alias::AsGiven);
        assert_eq!(named.of_row(b"600519").unwrap().to_string(), "600519.SH");
        assert!(named.of_row(b"000001").is_err());
        let mut declared = Codes::new(&both, Path::new("x.csv"), &[], Some(Exchange::SZ), Alias::AsGiven);
        assert_eq!(declared.of_row(b"'000001").unwrap().to_string(), "000001.SZ");
        assert_eq!(declared.of_row(b"sh.600000").unwrap().to_string(), "600000.SH");
        assert_eq!(declared.of_row(b"2000001").unwrap().to_string(), "000001.SZ");
        assert!(declared.of_row(b"1").is_err());
    }

    #[test]
    fn first_digits_name_an_exchange_where_a_dialect_declares_it() {
        let mut rule = rule(&[Place::Column]);
        rule.prefix = [("6", "SH"), ("60", "SH"), ("61", "SZ")]
            .map(|(digits, name)| (digits.to_owned(), name.to_owned().try_into().unwrap()))
            .into();
        let mut codes = Codes::new(&rule, Path::new("x.csv"), &[], None, Alias::AsGiven);
        assert_eq!(codes.of_row(b"600000").unwrap().to_string(), "600000.SH");
        assert!(codes.of_row(b"610000").unwrap_err().to_string().contains("610000 is no code of SZ"));
        assert_eq!(codes.of_row(b"688001").unwrap().to_string(), "688001.SH");
        assert!(codes.of_row(b"000001").is_err());
    }

    #[test]
    fn file_and_first_line_must_agree() {
        let places = rule(&[Place::File, Place::Preamble]);
        let preamble = ["601003 柳钢股份 日线 不复权".to_owned()];
        let of = |name: &str, exchange| {
            Codes::new(&places, Path::new(name), &preamble, exchange, Alias::AsGiven).of_file()
        };
        assert_eq!(of("SH#601003.txt", None).unwrap().to_string(), "601003.SH");
        assert_eq!(of("x.txt", Some(Exchange::SH)).unwrap().to_string(), "601003.SH");
        assert!(of("SH#601004.txt", None).is_err());
    }

    #[test]
    fn beijing_is_renumbered_where_asked() {
        let aliases = Aliases::parse("old,new,since\n839729.BJ,920729.BJ,2025-10-09\n").unwrap();
        let rule = rule(&[Place::Column]);
        let mut codes = Codes::new(&rule, Path::new("x"), &[], None, Alias::Current(Arc::new(aliases)));
        assert_eq!(codes.of_row(b"839729.BJ").unwrap().to_string(), "920729.BJ");
        assert_eq!(codes.of_row(b"bj839729").unwrap().to_string(), "920729.BJ");
    }
}
