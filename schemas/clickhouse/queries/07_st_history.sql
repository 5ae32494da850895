-- From when to when a security was under special treatment.
SELECT dictGet('symbols', 'code', toUInt64(symbol)) AS code, min(frame) AS since, max(frame) AS until, count() AS bars
FROM (
    SELECT symbol, frame, st, sum(changed) OVER (PARTITION BY symbol ORDER BY frame) AS span
    FROM (
        SELECT symbol, frame, st, st != lagInFrame(st, 1, NOT st) OVER (PARTITION BY symbol ORDER BY frame) AS changed
        FROM bar_1d_current
        WHERE isNotNull(st)
    )
)
WHERE st
GROUP BY symbol, span
ORDER BY symbol, since;
