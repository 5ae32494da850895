-- When a stock is traded: the average share of each minute in the day's volume, up to a day: day, symbol. A minute without a bar
-- has no share of its day, and a day without volume is none.
WITH bars AS (
    SELECT frame, vol, sum(vol) OVER (PARTITION BY toDate(frame)) AS day_vol
    FROM bar_1m_current
    WHERE symbol = {symbol:Int32} AND toDate(frame) <= {day:Date}
)
SELECT formatDateTime(frame, '%H:%i') AS minute,
       round(sum(vol / day_vol) / (SELECT uniqExact(toDate(frame)) FROM bars WHERE day_vol > 0), 4) AS share
FROM bars
WHERE day_vol > 0
GROUP BY minute
ORDER BY minute;
