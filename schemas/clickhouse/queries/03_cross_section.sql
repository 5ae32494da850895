-- A day across the market, the largest change first: day.
SELECT code, close, round(100 * change, 2) AS percent, amount
FROM bar_1d_on(day = {day:Date})
ORDER BY change DESC NULLS LAST, symbol;
