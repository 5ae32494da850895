-- What there is of each day: securities with a bar, and with how many of them factor, ST and limits are known.
SELECT frame, count() AS securities, count(adjust) AS with_factor, count(st) AS with_st, count(buy_limit) AS with_limits,
       round(sum(amount)) AS amount
FROM bar_1d_current
GROUP BY frame
ORDER BY frame;
