-- A stock's history at prices of a day (forward-adjusted): day, symbol.
SELECT frame, round(open, 3) AS open, round(high, 3) AS high, round(low, 3) AS low, round(close, 3) AS close, vol
FROM bar_1d_qfq(as_of = {day:Date})
WHERE symbol = {symbol:Int32}
ORDER BY frame;
