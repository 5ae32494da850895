-- Who closed at its upper limit, and who never left it: day.
SELECT dictGet('symbols', 'code', toUInt64(symbol)) AS code, close, low = buy_limit AS all_day
FROM bar_1d_current
WHERE frame = {day:Date} AND close >= buy_limit
ORDER BY symbol;
