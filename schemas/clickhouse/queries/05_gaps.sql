-- Gaps: days on which others have bars, between a security's first and last bar, on which it has none. A suspended day is
-- one, too; a day that is missing altogether is seen in 10_coverage.
WITH (SELECT groupBitmapState(toUInt32(toUInt16(frame))) FROM bar_1d_current) AS sessions
SELECT dictGet('symbols', 'code', toUInt64(symbol)) AS code, length(missing) AS count, missing
FROM (
    SELECT symbol,
           groupBitmapState(toUInt32(toUInt16(frame))) AS held,
           bitmapSubsetInRange(sessions, toUInt32(toUInt16(min(frame))), toUInt32(toUInt16(max(frame)))) AS between,
           arrayMap(day -> toDate(toUInt16(day)), bitmapToArray(bitmapAndnot(between, held))) AS missing
    FROM bar_1d_current
    GROUP BY symbol
)
WHERE notEmpty(missing)
ORDER BY symbol;
