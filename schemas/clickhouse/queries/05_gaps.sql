-- Gaps: sessions between a security's first and last bar on which it has none. A suspended day is one, too.
WITH sessions AS (SELECT groupUniqArray(frame) AS days FROM bar_1d_current)
SELECT dictGet('symbols', 'code', toUInt64(symbol)) AS code, length(missing) AS count, missing
FROM (
    SELECT symbol,
           arraySort(arrayFilter(day -> day > first AND day < last AND NOT has(held, day), (SELECT days FROM sessions))) AS missing
    FROM (
        SELECT symbol, min(frame) AS first, max(frame) AS last, groupArray(frame) AS held
        FROM bar_1d_current
        GROUP BY symbol
    )
)
WHERE notEmpty(missing)
ORDER BY symbol;
