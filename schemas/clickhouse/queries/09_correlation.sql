-- How alike two stocks move: correlation of their returns from one day on which both were traded to the next: symbol, other.
SELECT count() AS days, round(corr(my_change, others_change), 4) AS correlation
FROM (
    SELECT mine / lagInFrame(mine) OVER (ORDER BY frame) - 1 AS my_change,
           others / lagInFrame(others) OVER (ORDER BY frame) - 1 AS others_change
    FROM (
        SELECT frame,
               anyIf(close, symbol = {symbol:Int32}) AS mine,
               anyIf(close, symbol = {other:Int32}) AS others
        FROM bar_1d_hfq
        WHERE symbol IN ({symbol:Int32}, {other:Int32}) AND vol > 0 AND isNotNull(close)
        GROUP BY frame
        HAVING count() = 2
    )
)
WHERE isFinite(my_change) AND isFinite(others_change);
