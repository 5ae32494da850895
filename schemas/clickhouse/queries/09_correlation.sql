-- How alike two stocks move: correlation of their daily returns on days on which both were traded: symbol, other.
SELECT count() AS days, round(corr(mine, others), 4) AS correlation
FROM (
    SELECT frame,
           anyIf(change, symbol = {symbol:Int32}) AS mine,
           anyIf(change, symbol = {other:Int32}) AS others
    FROM (
        SELECT symbol, frame, close / lagInFrame(close) OVER (PARTITION BY symbol ORDER BY frame) - 1 AS change
        FROM bar_1d_hfq
        WHERE symbol IN ({symbol:Int32}, {other:Int32})
    )
    WHERE isFinite(change)
    GROUP BY frame
    HAVING count() = 2
);
