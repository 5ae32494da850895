//! The dialects that come with the program, and those a user writes. Knows names and files; must not know headers.

use std::{
    fs,
    path::Path,
    sync::{Arc, OnceLock},
};

use super::{Dialect, DialectChoice, DialectError};

const TEXTS: [(&str, &str); 16] = [
    ("sqep", include_str!("../../dialects/sqep.toml")),
    ("tushare", include_str!("../../dialects/tushare.toml")),
    ("tushare_old_hist", include_str!("../../dialects/tushare_old_hist.toml")),
    ("baostock", include_str!("../../dialects/baostock.toml")),
    ("eastmoney", include_str!("../../dialects/eastmoney.toml")),
    ("sina", include_str!("../../dialects/sina.toml")),
    ("netease163", include_str!("../../dialects/netease163.toml")),
    ("joinquant", include_str!("../../dialects/joinquant.toml")),
    ("wind", include_str!("../../dialects/wind.toml")),
    ("wind_db", include_str!("../../dialects/wind_db.toml")),
    ("xbx", include_str!("../../dialects/xbx.toml")),
    ("tdx", include_str!("../../dialects/tdx.toml")),
    ("pytdx", include_str!("../../dialects/pytdx.toml")),
    ("qmt", include_str!("../../dialects/qmt.toml")),
    ("yahoo", include_str!("../../dialects/yahoo.toml")),
    ("plain", include_str!("../../dialects/plain.toml")),
];

/// The dialects that come with the program.
///
/// # Panics
/// Never: a test reads the same texts.
#[expect(clippy::expect_used, reason = "the texts are compiled in and read by a test")]
pub fn builtin() -> &'static [Arc<Dialect>] {
    static ALL: OnceLock<Vec<Arc<Dialect>>> = OnceLock::new();
    ALL.get_or_init(|| {
        TEXTS.iter().map(|(name, text)| Arc::new(read(text, name).expect("built-in dialect"))).collect()
    })
}

/// The built-in dialect of that name.
pub fn named(name: &str) -> Option<Arc<Dialect>> {
    builtin().iter().find(|dialect| dialect.answers_to(name)).cloned()
}

/// Reads a dialect from its text; `origin` is named in errors.
pub fn read(text: &str, origin: &str) -> Result<Dialect, DialectError> {
    let form = |error| DialectError::Form { origin: origin.to_owned(), error: Box::new(error) };
    let dialect: Dialect = toml::from_str(text).map_err(form)?;
    dialect.validated(origin)
}

/// What a user chose: `auto`, the name of a built-in dialect, or the path of a dialect file.
pub fn from_choice(choice: &str) -> Result<DialectChoice, DialectError> {
    if choice == "auto" {
        return Ok(DialectChoice::Auto);
    }
    if let Some(dialect) = named(choice) {
        return Ok(DialectChoice::Named(dialect));
    }
    let path = Path::new(choice);
    if path.extension().is_none_or(|extension| extension != "toml") {
        let known: Vec<&str> = builtin().iter().map(|dialect| dialect.name.as_str()).collect();
        return Err(DialectError::Unknown { name: choice.to_owned(), known: known.join(" ") });
    }
    let text =
        fs::read_to_string(path).map_err(|error| DialectError::File { path: path.to_owned(), error })?;
    Ok(DialectChoice::Named(Arc::new(read(&text, choice)?)))
}
