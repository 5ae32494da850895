-- Days on which a stock was traded at least three times as much as on average over the five bars before, up to a day: day.
SELECT dictGet('symbols', 'code', toUInt64(symbol)) AS code, frame, vol, round(vol / before, 2) AS times
FROM (
    SELECT symbol, frame, vol,
           avg(vol) OVER (PARTITION BY symbol ORDER BY frame ROWS BETWEEN 5 PRECEDING AND 1 PRECEDING) AS before,
           count() OVER (PARTITION BY symbol ORDER BY frame ROWS BETWEEN 5 PRECEDING AND 1 PRECEDING) AS bars
    FROM bar_1d_current
    WHERE frame <= {day:Date}
)
WHERE bars = 5 AND before > 0 AND vol >= 3 * before
ORDER BY times DESC, symbol, frame;
