"""The 45 features in polars: one lazy query, windows within `over`, shared parts once."""

import pathlib

import polars as pl

from features_common import BARS, FEATURES, FUNDS, TIE, WARM_UP, run

O, H, L, C, V = (pl.col(name) for name in "OHLCV")


def load(paths: list[pathlib.Path], symbols: int | None) -> pl.DataFrame:
    """Bars in order, and the number of each session."""
    bars = pl.read_parquet(paths, columns=BARS)
    if symbols:
        bars = bars.filter(pl.col("symbol").is_in(bars["symbol"].unique().sort().head(symbols).implode()))
    return bars.with_columns(session=pl.col("frame").rank("dense").cast(pl.Int64)).sort("symbol", "frame")


def of(expr: pl.Expr) -> pl.Expr:
    """Within one security."""
    return expr.over("symbol")


def untied(change: pl.Expr, price: pl.Expr) -> pl.Expr:
    """A change, 0 where prices tie."""
    return pl.when(change.abs() <= TIE * price).then(0.0).otherwise(change)


def within(value: pl.Expr, low: pl.Expr, high: pl.Expr, flat: float) -> pl.Expr:
    """Where in its range a value lies."""
    return pl.when(high - low <= TIE * value).then(flat).otherwise((value - low) / (high - low))


def seeded(value: pl.Expr, seed: pl.Expr, at: int, alpha: float) -> pl.Expr:
    """An exponential mean that begins with a seed at one bar of each security."""
    begun = pl.when(pl.col("t") == at).then(seed).when(pl.col("t") > at).then(value)
    return of(begun.ewm_mean(alpha=alpha, adjust=False, ignore_nulls=True))


def smooth(value: pl.Expr, n: int) -> pl.Expr:
    """SMA(x, n, 1) of the Chinese programs."""
    return of(value.ewm_mean(alpha=1 / n, adjust=False, ignore_nulls=True))


def ema(value: pl.Expr, n: int) -> pl.Expr:
    """EMA that begins with the first value."""
    return of(value.ewm_mean(span=n, adjust=False))


def compute(bars: pl.DataFrame) -> pl.DataFrame:
    """Symbol, frame and 45 features of every traded bar."""
    return query(bars.lazy()).collect()


def query(bars: pl.LazyFrame) -> pl.LazyFrame:
    """The whole computation."""
    adjust = pl.col("adjust")
    base = bars.filter(pl.col("vol") > 0).with_columns(
        t=of(pl.int_range(pl.len())),
        O=pl.col("open") * adjust,
        H=pl.col("high") * adjust,
        L=pl.col("low") * adjust,
        C=pl.col("close") * adjust,
        V=pl.col("vol") / adjust,
    )
    return changes(base).pipe(windows).pipe(averages).pipe(directed).select("symbol", "frame", *map(final, FEATURES))


def final(name: str) -> pl.Expr:
    """A feature, null while it warms up."""
    warm_up = WARM_UP.get(name)
    return pl.when(pl.col("t") >= warm_up).then(pl.col(name)).alias(name) if warm_up else pl.col(name)


def changes(base: pl.LazyFrame) -> pl.LazyFrame:
    """What a bar makes with the one before it."""
    typical = (H + L + C) / 3
    base = base.with_columns(C1=of(C.shift()), H1=of(H.shift()), L1=of(L.shift()), V1=of(V.shift()), TP=typical)
    c1, up, down = pl.col("C1"), H - pl.col("H1"), pl.col("L1") - L
    tie = TIE * C
    moved = untied(pl.col("TP") - of(pl.col("TP").shift()), pl.col("TP"))
    return base.with_columns(
        ret_1=C / c1 - 1,
        d=untied(C - c1, C),
        growth=(V / pl.col("V1")).log(),
        range=(H / L).log() ** 2,
        flow=moved.sign() * pl.col("TP") * V,
        TR=pl.max_horizontal(H, c1) - pl.min_horizontal(L, c1),
        plus=pl.when((up > tie) & (up - down > tie)).then(up).when(c1.is_not_null()).then(0.0),
        minus=pl.when((down > tie) & (down - up > tie)).then(down).when(c1.is_not_null()).then(0.0),
        gap_open=O / c1 - 1,
        amplitude=(H - L) / c1,
    ).with_columns(signed=pl.col("d").sign() * V)


def windows(base: pl.LazyFrame) -> pl.LazyFrame:
    """Everything that looks at so many bars."""
    ret, growth = pl.col("ret_1"), pl.col("growth")
    base = base.with_columns(
        *(of(C / C.shift(n) - 1).alias(f"ret_{n}") for n in (5, 10, 20, 60)),
        *(of(C.rolling_mean(n)).alias(f"ma_{n}") for n in (5, 10, 20, 60)),
        *(of(L.rolling_min(n)).alias(f"low_{n}") for n in (9, 20, 60)),
        *(of(H.rolling_max(n)).alias(f"high_{n}") for n in (9, 20, 60)),
        *((V / of(V.rolling_mean(n).shift())).alias(f"vol_ratio_{n}") for n in (5, 20)),
        sd=of(C.rolling_std(20, ddof=0)),
        volatility_20=of(ret.rolling_std(20, ddof=0)),
        scatter=of(growth.rolling_std(20, ddof=0)),
        corr=of(pl.rolling_corr(ret, growth, window_size=20)),
        parkinson_20=(of(pl.col("range").rolling_mean(20)) / (4 * pl.lit(2.0).log())).sqrt(),
        obv_ratio_20=of(pl.col("signed").rolling_sum(20)) / of(V.rolling_sum(20)),
        gains=of(pl.col("flow").clip(lower_bound=0).rolling_sum(14)),
        moved=of(pl.col("flow").abs().rolling_sum(14)),
    )
    sd, ma_20 = pl.col("sd"), pl.col("ma_20")
    flat = (pl.col("volatility_20") ** 2 * 20 <= 1e-24) | (pl.col("scatter") ** 2 * 20 <= 1e-24)
    return base.with_columns(
        bias_20=C / ma_20 - 1,
        boll_upper=ma_20 + 2 * sd,
        boll_lower=ma_20 - 2 * sd,
        boll_pctb=pl.when(sd <= TIE * C).then(0.5).otherwise((C - ma_20 + 2 * sd) / (4 * sd)),
        boll_width=4 * sd / ma_20,
        mfi_14=pl.when(pl.col("moved") > 0).then(100 * pl.col("gains") / pl.col("moved")).otherwise(50.0),
        pv_corr_20=pl.when(flat).then(0.0).otherwise(pl.col("corr").clip(-1, 1)),
        pos_20=within(C, pl.col("low_20"), pl.col("high_20"), 0.5),
        pos_60=within(C, pl.col("low_60"), pl.col("high_60"), 0.5),
        rsv=100 * within(C, pl.col("low_9"), pl.col("high_9"), 0.5),
    )


def averages(base: pl.LazyFrame) -> pl.LazyFrame:
    """Everything that remembers all bars a little."""
    d = pl.col("d")
    gain, total = pl.when(d.is_not_null()).then(d.clip(lower_bound=0)), d.abs()
    base = base.with_columns(
        ema_12=ema(C, 12),
        ema_26=ema(C, 26),
        kdj_k=seeded(pl.col("rsv"), pl.lit(50.0), 7, 1 / 3),
        atr_14=seeded(pl.col("TR"), of(pl.col("TR").rolling_mean(14)), 14, 1 / 14),
        dm_plus=seeded(pl.col("plus"), of(pl.col("plus").rolling_sum(13)) / 14, 13, 1 / 14),
        dm_minus=seeded(pl.col("minus"), of(pl.col("minus").rolling_sum(13)) / 14, 13, 1 / 14),
        **{f"gain_{n}": smooth(gain, n) for n in (6, 12, 24)},
        **{f"total_{n}": smooth(total, n) for n in (6, 12, 24)},
    ).with_columns(macd_dif=pl.col("ema_12") - pl.col("ema_26"))
    plus, minus = pl.col("dm_plus"), pl.col("dm_minus")
    base = base.with_columns(
        macd_dea=ema(pl.col("macd_dif"), 9),
        kdj_d=of(pl.col("kdj_k").ewm_mean(alpha=1 / 3, adjust=False, ignore_nulls=True)),
        dx=pl.when(plus + minus > 0).then(100 * (plus - minus).abs() / (plus + minus)),
        **{
            f"rsi_{n}": pl.when(pl.col(f"total_{n}") > 0)
            .then((100 * pl.col(f"gain_{n}") / pl.col(f"total_{n}")).clip(upper_bound=100))
            .otherwise(50.0)
            for n in (6, 12, 24)
        },
    )
    return base.with_columns(
        macd_hist=2 * (pl.col("macd_dif") - pl.col("macd_dea")),
        kdj_j=3 * pl.col("kdj_k") - 2 * pl.col("kdj_d"),
        adx_14=seeded(pl.col("dx"), of(pl.col("dx").rolling_mean(14)), 27, 1 / 14),
    )


def directed(base: pl.LazyFrame) -> pl.LazyFrame:
    """What a bar and its day alone decide."""
    o, h, l, c = (pl.col(name) for name in ("open", "high", "low", "close"))
    vwap, flat = pl.col("amount") / pl.col("vol"), h - l <= TIE * c
    half = pl.when(pl.any_horizontal(pl.col("symbol").is_between(*span) for span in FUNDS)).then(0.0005).otherwise(0.005)
    up = (pl.col("buy_limit") > 0) & (c >= pl.col("buy_limit") - half)
    down = (pl.col("sell_limit") > 0) & (c <= pl.col("sell_limit") + half)
    return base.with_columns(
        vwap_gap=pl.when((vwap >= 0.98 * l) & (vwap <= 1.02 * h)).then(c / vwap - 1).when(vwap.is_not_null()).then(0.0),
        upper_shadow=pl.when(flat).then(0.0).otherwise((h - pl.max_horizontal(o, c)) / (h - l)),
        lower_shadow=pl.when(flat).then(0.0).otherwise((pl.min_horizontal(o, c) - l) / (h - l)),
        close_pos=pl.when(flat).then(0.5).otherwise((c - l) / (h - l)),
        limit_state=pl.when(up).then(1.0).when(down).then(-1.0).otherwise(0.0),
        is_st=pl.col("st").fill_null(False).cast(pl.Float64),
        susp_gap=of(pl.col("session").diff() - 1).fill_null(0).clip(0, 250).cast(pl.Float64),
    )


def write(features: pl.DataFrame, path: pathlib.Path) -> None:
    """One compressed file."""
    features.write_parquet(path, compression="zstd", compression_level=1)


if __name__ == "__main__":
    run(load, compute, write)
