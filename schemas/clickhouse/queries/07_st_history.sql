-- From when to when a security was under special treatment; a stretch of which nothing is known ends it.
SELECT dictGet('symbols', 'code', toUInt64(symbol)) AS code, min(frame) AS since, max(frame) AS until, count() AS bars
FROM (
    SELECT symbol, frame, state, sum(changed) OVER (PARTITION BY symbol ORDER BY frame) AS span
    FROM (
        SELECT symbol, frame, ifNull(toInt8(st), -1) AS state,
               state != lagInFrame(state, 1, toInt8(-2)) OVER (PARTITION BY symbol ORDER BY frame) AS changed
        FROM bar_1d_current
    )
)
WHERE state = 1
GROUP BY symbol, span
ORDER BY symbol, since;
