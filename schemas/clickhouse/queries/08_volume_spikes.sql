-- Days of the thirty up to a day on which a stock was traded at least three times as much as on average over the five days
-- before on which it was traded: day. Shares are counted as they were: a large split shows, too.
SELECT dictGet('symbols', 'code', toUInt64(symbol)) AS code, frame, vol, round(vol / before, 2) AS times
FROM (
    SELECT symbol, frame, vol,
           avg(vol) OVER (PARTITION BY symbol ORDER BY frame ROWS BETWEEN 5 PRECEDING AND 1 PRECEDING) AS before,
           count() OVER (PARTITION BY symbol ORDER BY frame ROWS BETWEEN 5 PRECEDING AND 1 PRECEDING) AS bars
    FROM bar_1d_current
    WHERE frame <= {day:Date} AND vol > 0
)
WHERE bars = 5 AND frame > {day:Date} - 30 AND vol >= 3 * before
ORDER BY times DESC, symbol, frame;
