-- Day bars. Codecs by testkit/bench/codecs.py; floats are kept to the bit.
CREATE TABLE IF NOT EXISTS bar_1d (
    symbol Int32 CODEC(Delta, ZSTD(1)),
    frame Date CODEC(Delta, ZSTD(1)) COMMENT 'trading day, Asia/Shanghai',
    open Float64 CODEC(Delta, ZSTD(1)) COMMENT 'yuan, unadjusted',
    high Float64 CODEC(Delta, ZSTD(1)) COMMENT 'yuan, unadjusted',
    low Float64 CODEC(Delta, ZSTD(1)) COMMENT 'yuan, unadjusted',
    close Float64 CODEC(Delta, ZSTD(1)) COMMENT 'yuan, unadjusted',
    vol Float64 CODEC(ZSTD(1)) COMMENT 'shares',
    amount Nullable(Float64) CODEC(ZSTD(3)) COMMENT 'yuan',
    adjust Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'cumulative back-adjust factor: hfq price = price x adjust',
    st Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'special treatment on that day',
    buy_limit Nullable(Float64) CODEC(Delta, ZSTD(1)) COMMENT 'upper price limit, yuan; null: none or unknown',
    sell_limit Nullable(Float64) CODEC(Delta, ZSTD(1)) COMMENT 'lower price limit, yuan; null: none or unknown',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'entry id: ms x 2^20 + seq; the highest of a key is its current row',
    source LowCardinality(String) COMMENT 'who sent it'
) ENGINE = ReplacingMergeTree(version) PARTITION BY toYear(frame) ORDER BY (symbol, frame);

-- What is known of a day before its first bar.
CREATE TABLE IF NOT EXISTS ref_1d (
    symbol Int32 CODEC(Delta, ZSTD(1)),
    frame Date CODEC(Delta, ZSTD(1)) COMMENT 'trading day, Asia/Shanghai',
    adjust Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'cumulative back-adjust factor: hfq price = price x adjust',
    st Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'special treatment on that day',
    buy_limit Nullable(Float64) CODEC(Delta, ZSTD(1)) COMMENT 'upper price limit, yuan; null: none or unknown',
    sell_limit Nullable(Float64) CODEC(Delta, ZSTD(1)) COMMENT 'lower price limit, yuan; null: none or unknown',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'entry id: ms x 2^20 + seq; the highest of a key is its current row',
    source LowCardinality(String) COMMENT 'who sent it'
) ENGINE = ReplacingMergeTree(version) PARTITION BY toYear(frame) ORDER BY (symbol, frame);

-- Minute bars, labelled by their end. A correction lands in the partition of what it corrects.
CREATE TABLE IF NOT EXISTS bar_1m (
    symbol Int32 CODEC(Delta, ZSTD(1)),
    frame DateTime('Asia/Shanghai') CODEC(Delta, ZSTD(1)) COMMENT 'end of the bar',
    open Float64 CODEC(Delta, ZSTD(1)) COMMENT 'yuan, unadjusted',
    high Float64 CODEC(Delta, ZSTD(1)) COMMENT 'yuan, unadjusted',
    low Float64 CODEC(Delta, ZSTD(1)) COMMENT 'yuan, unadjusted',
    close Float64 CODEC(Delta, ZSTD(1)) COMMENT 'yuan, unadjusted',
    vol Float64 CODEC(ZSTD(1)) COMMENT 'shares',
    amount Nullable(Float64) CODEC(ZSTD(3)) COMMENT 'yuan',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'entry id: ms x 2^20 + seq; the highest of a key is its current row',
    source LowCardinality(String) COMMENT 'who sent it'
) ENGINE = ReplacingMergeTree(version) PARTITION BY toYYYYMM(frame) ORDER BY (symbol, frame);

CREATE TABLE IF NOT EXISTS bar_5m AS bar_1m ENGINE = ReplacingMergeTree(version) PARTITION BY toYYYYMM(frame) ORDER BY (symbol, frame);

CREATE TABLE IF NOT EXISTS bar_15m AS bar_1m ENGINE = ReplacingMergeTree(version) PARTITION BY toYYYYMM(frame) ORDER BY (symbol, frame);

CREATE TABLE IF NOT EXISTS bar_30m AS bar_1m ENGINE = ReplacingMergeTree(version) PARTITION BY toYYYYMM(frame) ORDER BY (symbol, frame);

CREATE TABLE IF NOT EXISTS bar_60m AS bar_1m ENGINE = ReplacingMergeTree(version) PARTITION BY toYYYYMM(frame) ORDER BY (symbol, frame);

-- What is acknowledged is on disk. Skipped where the server is too old.
ALTER TABLE bar_1d MODIFY SETTING fsync_after_insert = 1;
ALTER TABLE bar_1d MODIFY SETTING fsync_part_directory = 1;
ALTER TABLE ref_1d MODIFY SETTING fsync_after_insert = 1;
ALTER TABLE ref_1d MODIFY SETTING fsync_part_directory = 1;
ALTER TABLE bar_1m MODIFY SETTING fsync_after_insert = 1;
ALTER TABLE bar_1m MODIFY SETTING fsync_part_directory = 1;
ALTER TABLE bar_5m MODIFY SETTING fsync_after_insert = 1;
ALTER TABLE bar_5m MODIFY SETTING fsync_part_directory = 1;
ALTER TABLE bar_15m MODIFY SETTING fsync_after_insert = 1;
ALTER TABLE bar_15m MODIFY SETTING fsync_part_directory = 1;
ALTER TABLE bar_30m MODIFY SETTING fsync_after_insert = 1;
ALTER TABLE bar_30m MODIFY SETTING fsync_part_directory = 1;
ALTER TABLE bar_60m MODIFY SETTING fsync_after_insert = 1;
ALTER TABLE bar_60m MODIFY SETTING fsync_part_directory = 1;
