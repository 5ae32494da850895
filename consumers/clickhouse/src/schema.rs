//! The schema: numbered scripts of `schemas/clickhouse`, applied in order and never back. Knows which were applied; must not
//! know a column.

use std::collections::BTreeSet;

use sqep::Record;

use crate::{
    ClickHouseError, Store,
    cluster::{holder, on_cluster},
    error::{TIMEOUT, UNKNOWN_SETTING},
    ledger,
    rows::columns,
    store::quoted,
};

/// One numbered script.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// Its place in the order, from 1.
    pub number: u32,
    /// Its file in `schemas/clickhouse`.
    pub file: &'static str,
    /// Its statements, each idempotent.
    pub text: &'static str,
}

macro_rules! scripts {
    ($($number:literal $file:literal),* $(,)?) => {
        &[$(Script {
            number: $number,
            file: $file,
            text: include_str!(concat!("../../../schemas/clickhouse/", $file)),
        }),*]
    };
}

/// Every script, in order. What was released is never changed: a change is a new script. Views alone are changed where they
/// stand: they are made anew wherever they say something else than those there are.
pub const STATEMENTS: &[Script] = scripts![
    1 "001_mark.sql",
    2 "002_symbol.sql",
    3 "003_bars.sql",
    4 "004_features.sql",
    5 "005_views.sql",
    6 "006_mark.sql",
    7 "007_mark.sql",
    8 "008_deduplication.sql",
    9 "009_mark.sql",
];

/// Scripts that take something back, and are not said again: what is there since then somebody wanted.
const ONCE: [u32; 1] = [8];
/// How a statement begins that makes something anew.
const ANEW: &str = "CREATE OR REPLACE ";

/// The statements of a script for a database, on one server or on a cluster.
pub fn statements(script: &Script, store: &Store) -> Result<Vec<String>, ClickHouseError> {
    let config = store.config();
    let database = format!("`{}`", config.database);
    let text = script.text.replace("{database}", &database).replace("{access}", &access(store)?);
    // In literals a name stands without quotes.
    let text = text.replace(&format!("'{database}."), &format!("'{}.", config.database));
    let plain = text.split(";\n").map(without_comments).filter(|sql| !sql.is_empty());
    Ok(plain.flat_map(|sql| on_cluster(&sql, &config.cluster)).collect())
}

/// How the dictionary gets at its own server: as the user who made it. Its default user may not be let in.
fn access(store: &Store) -> Result<String, ClickHouseError> {
    let config = store.config();
    let secret = config.secret().map_err(ClickHouseError::File)?;
    if config.user == "default" && secret.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("USER {} PASSWORD {} ", quoted(&config.user), quoted(secret.reveal())))
}

fn without_comments(sql: &str) -> String {
    let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// The scripts that the database has not seen.
pub(crate) async fn missing(store: &Store) -> Result<Vec<&'static Script>, ClickHouseError> {
    let (found, known) = (ledger::applied(store).await?, STATEMENTS.last().map_or(0, |script| script.number));
    if found > known {
        let (place, database) = (store.who().place.clone(), store.who().database.clone());
        return Err(ClickHouseError::Newer { place, database, found, known });
    }
    Ok(STATEMENTS.iter().filter(|script| script.number > found).collect())
}

/// Asks the server what it can and brings its schema up to date; returns how many scripts were new.
pub async fn administer(store: &mut Store) -> Result<usize, ClickHouseError> {
    store.greet().await?;
    migrate(store).await
}

/// Applies every script where one is new, or a table or view is not there, as one that was dropped or renamed by hand; else
/// makes anew what is another than this program's. Returns how many scripts were new. Two programs at once do no harm: every
/// statement may come twice.
pub(crate) async fn migrate(store: &Store) -> Result<usize, ClickHouseError> {
    let new = missing(store).await?;
    if new.is_empty() && is_whole(store).await? {
        renew(store).await?;
        return Ok(0);
    }
    ledger::make(store).await?;
    let is_new = |script: &Script| new.iter().any(|other| other.number == script.number);
    for script in STATEMENTS.iter().filter(|script| is_new(script) || !ONCE.contains(&script.number)) {
        apply(store, script).await?;
    }
    Ok(new.len())
}

/// Makes views and the dictionary anew that say something else than this program's: another program's, older or newer, or
/// those of another password.
async fn renew(store: &Store) -> Result<(), ClickHouseError> {
    let signs = ledger::signs(store).await?;
    for script in STATEMENTS {
        let sign = ledger::sign(script, store)?;
        if sign.is_empty() || signs.get(&script.number) == Some(&sign) {
            continue;
        }
        for sql in statements(script, store)?.iter().filter(|sql| is_anew(sql)) {
            replace(store, script, sql).await?;
        }
        ledger::keep(store, script).await?;
        tracing::info!(
            database = store.config().database,
            "what {} makes was another: made anew",
            script.file
        );
    }
    Ok(())
}

/// Makes something anew that is there. Inserts need none of it: servers of a cluster that are away do it when they are back.
async fn replace(store: &Store, script: &Script, sql: &str) -> Result<(), ClickHouseError> {
    match store.run(sql, &format!("applying {}", script.file)).await {
        Err(error) if error.code() == Some(TIMEOUT) && !store.config().cluster.is_empty() => {
            tracing::warn!("{error}; going on: servers that are away do it when they are back");
            Ok(())
        }
        done => done,
    }
}

/// Whether a statement makes anew what it makes.
pub(crate) fn is_anew(sql: &str) -> bool {
    sql.starts_with(ANEW)
}

/// Asks the dictionary for a security, and says what to do where it does not answer. Rows go in without it. Asked it is read,
/// and stays as it is for a minute: not to be done before there are securities.
pub(crate) async fn try_dictionary(store: &Store) {
    let sql = "SELECT dictGetOrDefault('symbols', 'code', toUInt64(0), '')";
    if let Err(error) = store.ask(sql, "asking the dictionary symbols").await {
        tracing::warn!(
            "{error}; rows are loaded all the same, but views that name securities do not answer: let user {:?} log in from \
             the server itself (ALTER USER … ADD HOST LOCAL) and grant it SELECT on symbol and dictGet on symbols",
            store.config().user
        );
    }
}

/// Whether everything that the scripts make is there.
async fn is_whole(store: &Store) -> Result<bool, ClickHouseError> {
    let sql = "SELECT name FROM system.tables WHERE database = currentDatabase()";
    let found = store.ask(sql, "asking for its tables").await?;
    let found: BTreeSet<_> = found.lines().collect();
    for script in STATEMENTS {
        let made = statements(script, store)?;
        if made.iter().filter_map(|sql| maker(sql)).any(|name| !found.contains(name)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The name of what a statement makes.
fn maker(sql: &str) -> Option<&str> {
    let heads = ["CREATE TABLE IF NOT EXISTS ", "CREATE OR REPLACE VIEW ", "CREATE OR REPLACE DICTIONARY "];
    let rest = heads.iter().find_map(|head| sql.strip_prefix(head))?;
    rest.split_whitespace().next()
}

async fn apply(store: &Store, script: &Script) -> Result<(), ClickHouseError> {
    say(store, script).await?;
    tracing::debug!(database = store.config().database, "applied {}", script.file);
    ledger::keep(store, script).await
}

/// The statements of a script, one after another.
async fn say(store: &Store, script: &Script) -> Result<(), ClickHouseError> {
    let file = script.file;
    for sql in statements(script, store)? {
        match store.run(&sql, &format!("applying {file}")).await {
            // A property of tables that an older server does not have is none it could be without.
            Err(error) if error.code() == Some(UNKNOWN_SETTING) && sql.contains(" MODIFY SETTING ") => {
                tracing::warn!("{error}; going on without");
            }
            done => done?,
        }
    }
    Ok(())
}

/// Holds the columns of a table, and on a cluster of the one that holds its rows, against those of the records that go into
/// it; tells whether the one that holds the rows is there.
pub(crate) async fn compare<R: Record>(store: &Store, table: &str) -> Result<bool, ClickHouseError> {
    let holder = holder(table, &store.config().cluster);
    if holder != table {
        compare_one::<R>(store, table).await?;
    }
    compare_one::<R>(store, &holder).await
}

async fn compare_one<R: Record>(store: &Store, table: &str) -> Result<bool, ClickHouseError> {
    let sql = format!(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {} FORMAT TabSeparatedRaw",
        quoted(table)
    );
    let text = store.ask(&sql, &format!("asking for the columns of {table}")).await?;
    let found: Vec<_> = text.lines().filter_map(|line| line.split_once('\t')).collect();
    if found.is_empty() {
        return Ok(false);
    }
    for (column, expected) in columns::<R>() {
        let kind = found.iter().find(|(name, _)| *name == column).map_or("missing", |(_, kind)| kind);
        if kind != expected {
            return Err(ClickHouseError::Table {
                place: store.who().place.clone(),
                table: table.to_owned(),
                column: column.to_owned(),
                found: kind.to_owned(),
                expected,
            });
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::Config;

    fn all(config: Config) -> Vec<String> {
        let store = Store::new(config).unwrap();
        STATEMENTS.iter().flat_map(|script| statements(script, &store).unwrap()).collect()
    }

    #[test]
    fn scripts_are_numbered_in_order_as_their_files() {
        for (at, script) in STATEMENTS.iter().enumerate() {
            assert_eq!(usize::try_from(script.number).unwrap(), at + 1);
            assert!(script.file.starts_with(&format!("{:03}_", script.number)), "{}", script.file);
        }
    }

    /// A database that has seen a script never sees it again: what it says now would reach new ones alone.
    #[test]
    fn what_was_released_is_never_changed() {
        let released = [
            ("001_mark.sql", 0x4c98_fb66_d055_801a_u64),
            ("002_symbol.sql", 0x7d83_b2cc_6d5f_8381),
            ("003_bars.sql", 0xeea9_f90f_ff37_3feb),
            ("004_features.sql", 0x5dd3_9b08_ba6a_dbb6),
            ("006_mark.sql", 0x4a6a_0e45_e9dd_a926),
            ("007_mark.sql", 0x03b6_c4cf_a3fc_f888),
            ("008_deduplication.sql", 0x0e2d_2499_5e0b_0dbf),
            ("009_mark.sql", 0x5f50_a8d1_a356_8d60),
        ];
        let is_kept = |script: &&Script| script.file != "005_views.sql";
        let found = STATEMENTS.iter().filter(is_kept);
        let found: Vec<_> = found.map(|script| (script.file, xxh3_64(script.text.as_bytes()))).collect();
        assert_eq!(found, released, "a change is a new script; a new one is added here with its hash");
    }

    #[test]
    fn a_script_of_views_makes_everything_anew() {
        let views = STATEMENTS.iter().find(|script| script.file == "005_views.sql").unwrap();
        let store = Store::new(Config::default()).unwrap();
        assert!(statements(views, &store).unwrap().iter().all(|sql| is_anew(sql)));
    }

    #[test]
    fn every_statement_may_come_twice() {
        for sql in all(Config::default()) {
            let idempotent = ["IF NOT EXISTS", ANEW, "MODIFY SETTING"];
            assert!(idempotent.iter().any(|word| sql.contains(word)), "{sql}");
            assert!(!sql.contains("{database}") && !sql.contains("{access}"), "{sql}");
        }
    }

    #[test]
    fn what_a_statement_makes_is_known_by_name() {
        let made = all(Config::default());
        let made: Vec<_> = made.iter().filter_map(|sql| maker(sql)).collect();
        for name in
            ["sqep_mark", "symbol", "symbols", "bar_1d", "bar_60m", "feature_1m", "bar_1m_to", "bar_1d_on"]
        {
            assert!(made.contains(&name), "{name}");
        }
        assert_eq!(maker("ALTER TABLE bar_1d MODIFY SETTING a = 1"), None);
    }

    #[test]
    fn the_dictionary_goes_in_as_whoever_made_it() {
        let dictionary = |config| {
            let made = all(config).into_iter().find(|sql| sql.contains("DICTIONARY"));
            made.unwrap()
        };
        assert!(!dictionary(Config::default()).contains("USER"));
        let config = Config { user: "quant".into(), password: "it's".into(), ..Config::default() };
        assert!(dictionary(config).contains(r"USER 'quant' PASSWORD 'it\'s' QUERY"));
    }
}
