-- The securities: those of the bars, and of `sqep-clickhouse --symbols FILE` names, boards and days of listing.
CREATE TABLE IF NOT EXISTS symbol (
    symbol Int32 COMMENT 'exchange digit x 1,000,000 + six-digit code',
    code String COMMENT '000001.SZ',
    name String,
    board LowCardinality(String),
    list_date Nullable(Date),
    delist_date Nullable(Date),
    version UInt64
) ENGINE = ReplacingMergeTree(version) ORDER BY symbol;

-- dictGet('symbols', 'name', symbol) in any query; read again within a minute of a change.
CREATE OR REPLACE DICTIONARY symbols (
    symbol Int32,
    code String,
    name String,
    board String,
    list_date Nullable(Date),
    delist_date Nullable(Date)
) PRIMARY KEY symbol
SOURCE(CLICKHOUSE({access}QUERY 'SELECT symbol, code, name, board, list_date, delist_date FROM {database}.symbol FINAL'))
LAYOUT(HASHED()) LIFETIME(MIN 30 MAX 60);
