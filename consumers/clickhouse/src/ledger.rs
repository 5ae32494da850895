//! The ledger `sqep_schema`: which scripts a database has seen, and what those said that are made anew. Knows its table; must
//! not apply a script.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    ClickHouseError, Script, Store,
    cluster::on_cluster,
    error::UNKNOWN_TABLE,
    schema::{is_anew, statements},
    store::quoted,
};

/// Which scripts were applied, and the sign of what they made anew; of rows from before signs there is none.
const LEDGER: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS sqep_schema (number UInt32, file String, applied DateTime DEFAULT now()) \
     ENGINE = ReplacingMergeTree ORDER BY number",
    "ALTER TABLE sqep_schema ADD COLUMN IF NOT EXISTS said String COMMENT 'sign of the views or the dictionary it made'",
];

/// Makes the table.
pub(crate) async fn make(store: &Store) -> Result<(), ClickHouseError> {
    for ledger in LEDGER.iter().flat_map(|sql| on_cluster(sql, &store.config().cluster)) {
        store.run(&ledger, "making sqep_schema").await?;
    }
    Ok(())
}

/// The number of the last script applied to the database; 0: none.
pub(crate) async fn applied(store: &Store) -> Result<u32, ClickHouseError> {
    let asked = store.ask("SELECT max(number) FROM sqep_schema", "asking for its schema").await;
    match asked {
        Err(error) if error.code() == Some(UNKNOWN_TABLE) => Ok(0),
        text => Ok(text?.trim().parse().unwrap_or(0)),
    }
}

/// The sign of each script, as it was applied last.
pub(crate) async fn signs(store: &Store) -> Result<BTreeMap<u32, String>, ClickHouseError> {
    let text = store.ask("SELECT number, said FROM sqep_schema FINAL", "asking for its schema").await?;
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(lines.filter_map(|(number, said)| Some((number.parse().ok()?, said.to_owned()))).collect())
}

/// Keeps that a script was applied. The row inserted last is the one that counts.
pub(crate) async fn keep(store: &Store, script: &Script) -> Result<(), ClickHouseError> {
    let Script { number, file, .. } = *script;
    let said = quoted(&sign(script, store)?);
    let sql =
        format!("INSERT INTO sqep_schema (number, file, said) VALUES ({number}, {}, {said})", quoted(file));
    store.run(&sql, "keeping which scripts were applied").await
}

/// The sign of what a script makes anew each time it is applied; empty where it makes nothing so.
pub(crate) fn sign(script: &Script, store: &Store) -> Result<String, ClickHouseError> {
    let anew: Vec<_> = statements(script, store)?.into_iter().filter(|sql| is_anew(sql)).collect();
    if anew.is_empty() {
        return Ok(String::new());
    }
    let hash = xxh3_64(anew.join(";\n").as_bytes());
    // Of a password no more than sixteen bits: whoever reads them has next to nothing to guess by.
    Ok(if script.text.contains("{access}") {
        format!("{:04x}", hash & 0xffff)
    } else {
        format!("{hash:016x}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, STATEMENTS};

    fn signed(config: Config) -> Vec<String> {
        let store = Store::new(config).unwrap();
        STATEMENTS.iter().map(|script| sign(script, &store).unwrap()).collect()
    }

    #[test]
    fn a_script_has_a_sign_where_it_makes_views_or_the_dictionary() {
        for (script, sign) in STATEMENTS.iter().zip(signed(Config::default())) {
            let length = match script.file {
                "002_symbol.sql" => 4,
                "005_views.sql" => 16,
                _ => 0,
            };
            assert_eq!(sign.len(), length, "{}", script.file);
        }
    }

    #[test]
    fn another_password_is_another_sign_of_the_dictionary_alone() {
        let with = |password: &str| {
            signed(Config { user: "quant".into(), password: password.into(), ..Config::default() })
        };
        let (one, other) = (with("one"), with("other"));
        assert_ne!(one[1], other[1]);
        assert_eq!(one[4], other[4]);
        assert_eq!(one, with("one"));
    }
}
