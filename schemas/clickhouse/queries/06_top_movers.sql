-- The largest moves over the thirty days before a day, at adjusted prices: day.
SELECT dictGet('symbols', 'code', toUInt64(symbol)) AS code,
       round(100 * (argMax(close, frame) / argMin(close, frame) - 1), 2) AS percent
FROM bar_1d_hfq
WHERE frame > {day:Date} - 30 AND frame <= {day:Date}
GROUP BY symbol
HAVING isNotNull(percent)
ORDER BY abs(percent) DESC, symbol
LIMIT 20;
