-- The largest moves over the thirty days before a day, at adjusted prices: day. From the last close before them, or the first
-- one of a security that is newer.
SELECT dictGet('symbols', 'code', toUInt64(symbol)) AS code,
       round(100 * (argMax(close, frame) / coalesce(argMaxIf(close, frame, frame <= {day:Date} - 30), argMin(close, frame)) - 1), 2)
           AS percent
FROM bar_1d_hfq
WHERE frame > {day:Date} - 400 AND frame <= {day:Date}
GROUP BY symbol
HAVING isNotNull(percent) AND max(frame) > {day:Date} - 30
ORDER BY abs(percent) DESC, symbol
LIMIT 20;
