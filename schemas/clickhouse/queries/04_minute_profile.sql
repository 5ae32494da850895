-- When a stock is traded: the average share of each minute in the day's volume, up to a day: day, symbol.
SELECT formatDateTime(frame, '%H:%i') AS minute, round(avg(share), 4) AS share
FROM (
    SELECT frame, vol / sum(vol) OVER (PARTITION BY toDate(frame)) AS share
    FROM bar_1m_current
    WHERE symbol = {symbol:Int32} AND toDate(frame) <= {day:Date}
)
GROUP BY minute
ORDER BY minute;
