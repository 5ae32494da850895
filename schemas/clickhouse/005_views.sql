-- The current row of each key. A key never leaves its partition, so that partitions need not be merged with each other.
CREATE OR REPLACE VIEW bar_1d_current AS
SELECT * FROM bar_1d FINAL SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW ref_1d_current AS
SELECT * FROM ref_1d FINAL SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW bar_1m_current AS
SELECT * FROM bar_1m FINAL SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW bar_5m_current AS
SELECT * FROM bar_5m FINAL SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW bar_15m_current AS
SELECT * FROM bar_15m FINAL SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW bar_30m_current AS
SELECT * FROM bar_30m FINAL SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW bar_60m_current AS
SELECT * FROM bar_60m FINAL SETTINGS do_not_merge_across_partitions_select_final = 1;

-- A row without susp_gap withdraws the one before it: its bar was corrected to no volume.
CREATE OR REPLACE VIEW feature_1d_current AS
SELECT * FROM feature_1d FINAL WHERE susp_gap IS NOT NULL SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW feature_1m_current AS
SELECT * FROM feature_1m FINAL WHERE susp_gap IS NOT NULL SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Backward-adjusted prices (hfq): the past keeps its numbers. Null where the factor is unknown, never a made-up one.
CREATE OR REPLACE VIEW bar_1d_hfq AS
SELECT symbol, frame, open * adjust AS open, high * adjust AS high, low * adjust AS low, close * adjust AS close,
       vol, amount, adjust, st, buy_limit * adjust AS buy_limit, sell_limit * adjust AS sell_limit
FROM {database}.bar_1d_current;

-- Forward-adjusted prices (qfq): the prices of the day as_of keep theirs, and nothing later is looked at.
-- SELECT * FROM bar_1d_qfq(as_of = '2025-06-30') WHERE symbol = 2000001
CREATE OR REPLACE VIEW bar_1d_qfq AS
SELECT bar.symbol AS symbol, bar.frame AS frame,
       open * ratio AS open, high * ratio AS high, low * ratio AS low, close * ratio AS close,
       vol, amount, adjust, st, buy_limit * ratio AS buy_limit, sell_limit * ratio AS sell_limit
FROM (
    SELECT *, adjust / last.adjust_as_of AS ratio
    FROM {database}.bar_1d_current AS bar
    LEFT JOIN (
        SELECT symbol, argMax(adjust, frame) AS adjust_as_of
        FROM {database}.bar_1d_current
        WHERE frame <= {as_of:Date}
        GROUP BY symbol
    ) AS last ON bar.symbol = last.symbol
    WHERE frame <= {as_of:Date}
) AS bar;

-- What is known of each day, from its bar or from before its first bar: of each column the newest word that is one, since
-- argMax passes over nulls. A row of limits without a factor takes no factor back, nor a bar without limits the limits.
CREATE OR REPLACE VIEW day_facts AS
SELECT symbol, frame, argMax(adjust, version) AS adjust, argMax(st, version) AS st,
       argMax(buy_limit, version) AS buy_limit, argMax(sell_limit, version) AS sell_limit
FROM (
    SELECT symbol, frame, adjust, st, buy_limit, sell_limit, version FROM {database}.bar_1d_current
    UNION ALL
    SELECT symbol, frame, adjust, st, buy_limit, sell_limit, version FROM {database}.ref_1d_current
)
GROUP BY symbol, frame;

-- Minute bars of some days with the day's factor, ST and limits. The factor is the last one known by then, of the 400 days
-- before at most; ST and limits are of the very day or null, since yesterday's are wrong today. Only those days are read.
-- SELECT * FROM bar_1m_day(from_day = '2025-06-01', to_day = '2025-06-30') WHERE symbol = 2000001
CREATE OR REPLACE VIEW bar_1m_day AS
SELECT bar.symbol AS symbol, bar.frame AS frame, bar.open AS open, bar.high AS high, bar.low AS low, bar.close AS close,
       bar.vol AS vol, bar.amount AS amount, factor.adjust AS adjust, bar.close * factor.adjust AS close_hfq,
       bar.st AS st, bar.buy_limit AS buy_limit, bar.sell_limit AS sell_limit
FROM (
    SELECT minute.symbol AS symbol, minute.frame AS frame, minute.open AS open, minute.high AS high, minute.low AS low,
           minute.close AS close, minute.vol AS vol, minute.amount AS amount, minute.day AS day,
           own.st AS st, own.buy_limit AS buy_limit, own.sell_limit AS sell_limit
    FROM (
        SELECT *, toDate(frame) AS day FROM {database}.bar_1m_current
        WHERE frame >= toDateTime({from_day:Date}, 'Asia/Shanghai') AND frame < toDateTime({to_day:Date} + 1, 'Asia/Shanghai')
    ) AS minute
    LEFT JOIN (
        SELECT symbol, frame, st, buy_limit, sell_limit FROM {database}.day_facts
        WHERE frame >= {from_day:Date} AND frame <= {to_day:Date}
    ) AS own ON minute.symbol = own.symbol AND minute.day = own.frame
) AS bar
LEFT JOIN (
    -- By day and not ASOF, so that what is asked of one security reads the factors of no other.
    SELECT symbol, day, tupleElement(arrayLast(fact -> tupleElement(fact, 1) <= day, known), 2) AS adjust
    FROM (
        SELECT symbol, arraySort(groupArray((frame, adjust))) AS known FROM {database}.day_facts
        WHERE frame >= {from_day:Date} - 400 AND frame <= {to_day:Date} AND adjust IS NOT NULL
        GROUP BY symbol
    )
    ARRAY JOIN arrayMap(n -> {from_day:Date} + n, range(toUInt32({to_day:Date} - {from_day:Date} + 1))) AS day
) AS factor ON bar.symbol = factor.symbol AND bar.day = factor.day;

-- Longer bars from one-minute ones: labelled by their end, the opening auction (09:30) in the first of them, amount null
-- where one of its parts is; the last of a half-day ends with it, whatever the length. Prices are those of minutes with
-- volume, where there are any. A bucket whose day is not over holds what there is so far. Ask by day, not by frame, and only those days are read.
-- SELECT * FROM bar_1m_to(minutes = 5) WHERE symbol = 2000001 AND day >= '2025-06-01'
CREATE OR REPLACE VIEW bar_1m_to AS
SELECT symbol, start_of_day + INTERVAL label MINUTE AS frame,
       argMin(open, early) AS open, if(max(traded), maxIf(high, traded), max(high)) AS high,
       if(max(traded), minIf(low, traded), min(low)) AS low, argMax(close, late) AS close,
       sum(vol) AS vol, if(count() = count(amount), round(sum(amount), 2), NULL) AS amount, max(version) AS version,
       toDate(start_of_day) AS day
FROM (
    SELECT symbol, open, high, low, close, vol, amount, version, vol > 0 AS traded,
           toUnixTimestamp(frame) + if(traded, 0, 4294967296) AS early,
           toUnixTimestamp(frame) + if(traded, 4294967296, 0) AS late,
           toStartOfDay(frame) AS start_of_day,
           toHour(frame) * 60 + toMinute(frame) AS minute,
           if(minute <= 690, 570, 780) AS start,
           intDiv(greatest(minute - start, 1) + {minutes:UInt16} - 1, {minutes:UInt16}) * {minutes:UInt16} AS after,
           start + least(after, 120) AS label
    FROM {database}.bar_1m_current
)
GROUP BY symbol, start_of_day, label;

CREATE OR REPLACE VIEW bar_1m_to_5m AS SELECT * FROM {database}.bar_1m_to(minutes = 5);

CREATE OR REPLACE VIEW bar_1m_to_15m AS SELECT * FROM {database}.bar_1m_to(minutes = 15);

CREATE OR REPLACE VIEW bar_1m_to_30m AS SELECT * FROM {database}.bar_1m_to(minutes = 30);

CREATE OR REPLACE VIEW bar_1m_to_60m AS SELECT * FROM {database}.bar_1m_to(minutes = 60);

-- A day across the market, each security with its name and its close before, on the same footing as the day's prices.
-- SELECT * FROM bar_1d_on(day = '2025-06-30') ORDER BY change DESC
CREATE OR REPLACE VIEW bar_1d_on AS
SELECT bar.symbol AS symbol,
       dictGetOrDefault('{database}.symbols', 'code', toUInt64(bar.symbol), '') AS code,
       dictGetOrDefault('{database}.symbols', 'name', toUInt64(bar.symbol), '') AS name,
       bar.frame AS frame, bar.open AS open, bar.high AS high, bar.low AS low, bar.close AS close,
       bar.vol AS vol, bar.amount AS amount, bar.st AS st, bar.buy_limit AS buy_limit, bar.sell_limit AS sell_limit,
       nullIf(before.close, 0) * before.adjust / bar.adjust AS close_before,
       bar.close / close_before - 1 AS change
FROM (SELECT * FROM {database}.bar_1d_current WHERE frame = {day:Date}) AS bar
LEFT JOIN (
    -- A year and a bit: who was suspended for longer has no change.
    -- Together: a close without its factor must not meet that of another day.
    SELECT symbol, tupleElement(last, 1) AS close, tupleElement(last, 2) AS adjust
    FROM (
        SELECT symbol, argMax((close, adjust), frame) AS last
        FROM {database}.bar_1d_current
        WHERE frame < {day:Date} AND frame >= {day:Date} - 400
        GROUP BY symbol
    )
) AS before ON bar.symbol = before.symbol;
