"""The 45 features in pandas: a function of one security's frame, as they are mostly written, over all securities."""

import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd

from features_common import BARS, FEATURES, FUNDS, TIE, WARM_UP, run


def load(paths: list[pathlib.Path], symbols: int | None) -> pd.DataFrame:
    """Bars in order, and the number of each session."""
    bars = pd.concat([pd.read_parquet(path, columns=BARS) for path in paths], ignore_index=True)
    if symbols:
        bars = bars[bars["symbol"].isin(np.sort(bars["symbol"].unique())[:symbols])]
    bars["st"] = bars["st"].astype("boolean").fillna(False).astype("float64")
    bars["session"] = bars["frame"].rank(method="dense").astype("int64")
    return bars.sort_values(["symbol", "frame"], ignore_index=True)


def compute(bars: pd.DataFrame) -> pd.DataFrame:
    """Symbol, frame and 45 features of every traded bar."""
    return each(bars, security)


def each(bars: pd.DataFrame, security: Callable) -> pd.DataFrame:
    """What a function makes of the traded bars of each security."""
    parts = [security(part) for _, part in bars[bars["vol"] > 0].groupby("symbol", sort=False)]
    return pd.concat(parts, ignore_index=True)


def security(bars: pd.DataFrame) -> pd.DataFrame:
    """The features of one security."""
    bars = bars.reset_index(drop=True)
    adjust = bars["adjust"]
    adjusted = [bars[name] * adjust for name in ("open", "high", "low", "close")] + [bars["vol"] / adjust]
    o, h, l, c, v = adjusted
    found = alone(bars) | trend(c) | movement(o, h, l, c) | volume(h, l, c, v) | oscillators(h, l, c)
    found["adx_14"], found["atr_14"] = wilder(h, l, c)
    return table(bars, found)


def table(bars: pd.DataFrame, found: dict[str, pd.Series]) -> pd.DataFrame:
    """The features in order, null while they warm up."""
    values = np.column_stack([found[name] for name in FEATURES])
    for at, name in enumerate(FEATURES):
        values[: WARM_UP.get(name, 0), at] = np.nan
    features = pd.DataFrame(values, columns=FEATURES)
    features.insert(0, "frame", bars["frame"])
    features.insert(0, "symbol", bars["symbol"])
    return features


def untied(change: pd.Series, price: pd.Series) -> pd.Series:
    """A change, 0 where prices tie."""
    return change.mask(change.abs() <= TIE * price, 0.0)


def within(value: pd.Series, low: pd.Series, high: pd.Series, flat: float) -> pd.Series:
    """Where in its range a value lies."""
    return ((value - low) / (high - low)).mask(high - low <= TIE * value, flat)


def alone(bars: pd.DataFrame) -> dict[str, pd.Series]:
    """What a bar and its day alone decide."""
    o, h, l, c = (bars[name] for name in ("open", "high", "low", "close"))
    vwap, size, flat = bars["amount"] / bars["vol"], h - l, h - l <= TIE * c
    half = 0.0005 if any(low <= bars["symbol"].iat[0] <= high for low, high in FUNDS) else 0.005
    up = (bars["buy_limit"] > 0) & (c >= bars["buy_limit"] - half)
    down = (bars["sell_limit"] > 0) & (c <= bars["sell_limit"] + half)
    inside = vwap.isna() | ((vwap >= 0.98 * l) & (vwap <= 1.02 * h))
    return {
        "vwap_gap": (c / vwap - 1).where(inside, 0.0),
        "upper_shadow": ((h - np.maximum(o, c)) / size).mask(flat, 0.0),
        "lower_shadow": ((np.minimum(o, c) - l) / size).mask(flat, 0.0),
        "close_pos": ((c - l) / size).mask(flat, 0.5),
        "limit_state": up.astype("float64").where(up | ~down, -1.0),
        "is_st": bars["st"],
        "susp_gap": (bars["session"].diff() - 1).fillna(0.0).clip(0, 250),
    }


def trend(c: pd.Series) -> dict[str, pd.Series]:
    """Returns, averages, bands, MACD."""
    found = {f"ret_{n}": c / c.shift(n) - 1 for n in (1, 5, 10, 20, 60)}
    found |= {f"ma_{n}": c.rolling(n).mean() for n in (5, 10, 20, 60)}
    found |= {f"ema_{n}": c.ewm(span=n, adjust=False).mean() for n in (12, 26)}
    ma_20, sd = found["ma_20"], c.rolling(20).std(ddof=0)
    dif = found["ema_12"] - found["ema_26"]
    dea = dif.ewm(span=9, adjust=False).mean()
    return found | {
        "bias_20": c / ma_20 - 1,
        "boll_upper": ma_20 + 2 * sd,
        "boll_lower": ma_20 - 2 * sd,
        "boll_pctb": ((c - ma_20 + 2 * sd) / (4 * sd)).mask(sd <= TIE * c, 0.5),
        "boll_width": 4 * sd / ma_20,
        "macd_dif": dif,
        "macd_dea": dea,
        "macd_hist": 2 * (dif - dea),
    }


def movement(o: pd.Series, h: pd.Series, l: pd.Series, c: pd.Series) -> dict[str, pd.Series]:
    """How far prices move and where they stand."""
    before = c.shift()
    found = {f"pos_{n}": within(c, l.rolling(n).min(), h.rolling(n).max(), 0.5) for n in (20, 60)}
    return found | {
        "gap_open": o / before - 1,
        "amplitude": (h - l) / before,
        "volatility_20": (c / before - 1).rolling(20).std(ddof=0),
        "parkinson_20": np.sqrt((np.log(h / l) ** 2).rolling(20).mean() / (4 * np.log(2))),
    }


def volume(h: pd.Series, l: pd.Series, c: pd.Series, v: pd.Series) -> dict[str, pd.Series]:
    """Volume against its past, with and against prices."""
    typical = (h + l + c) / 3
    flow = np.sign(untied(typical.diff(), typical)) * typical * v
    moved = flow.abs().rolling(14).sum()
    ret, growth = c / c.shift() - 1, np.log(v / v.shift())
    flat = (ret.rolling(20).var(ddof=0) * 20 <= 1e-24) | (growth.rolling(20).var(ddof=0) * 20 <= 1e-24)
    found = {f"vol_ratio_{n}": v / v.rolling(n).mean().shift() for n in (5, 20)}
    return found | {
        "obv_ratio_20": (np.sign(untied(c.diff(), c)) * v).rolling(20).sum() / v.rolling(20).sum(),
        "mfi_14": (100 * flow.clip(lower=0).rolling(14).sum() / moved).mask(moved <= 0, 50.0),
        "pv_corr_20": ret.rolling(20).corr(growth).clip(-1, 1).mask(flat, 0.0),
    }


def oscillators(h: pd.Series, l: pd.Series, c: pd.Series) -> dict[str, pd.Series]:
    """RSI and KDJ."""
    change = untied(c.diff(), c)
    found = {}
    for n in (6, 12, 24):
        gains = change.clip(lower=0).ewm(alpha=1 / n, adjust=False).mean()
        total = change.abs().ewm(alpha=1 / n, adjust=False).mean()
        found[f"rsi_{n}"] = (100 * gains / total).clip(upper=100).mask(total <= 0, 50.0)
    rsv = 100 * within(c, l.rolling(9).min(), h.rolling(9).max(), 0.5)
    if len(rsv) > 8:
        rsv.iat[7] = 50.0
    k = rsv.ewm(alpha=1 / 3, adjust=False).mean()
    d = k.ewm(alpha=1 / 3, adjust=False).mean()
    return found | {"kdj_k": k, "kdj_d": d, "kdj_j": 3 * k - 2 * d}


def seeded(values: pd.Series, seed: float, at: int) -> pd.Series:
    """Wilder's mean of 14 that begins with a seed at one bar."""
    values = values.copy()
    values.iloc[:at] = np.nan
    if len(values) > at:
        values.iat[at] = seed
    return values.ewm(alpha=1 / 14, adjust=False, ignore_na=True).mean()


def wilder(h: pd.Series, l: pd.Series, c: pd.Series) -> tuple[pd.Series, pd.Series]:
    """ADX and ATR with the seeds of TA-Lib."""
    before, up, down, tie = c.shift(), h.diff(), -l.diff(), TIE * c
    ranges = np.maximum(h, before) - np.minimum(l, before)
    plus = up.where((up > tie) & (up - down > tie), 0.0)
    minus = down.where((down > tie) & (down - up > tie), 0.0)
    plus, minus = (seeded(moves, moves.iloc[1:14].sum() / 14, 13) for moves in (plus, minus))
    dx = (100 * (plus - minus).abs() / (plus + minus)).where(plus + minus > 0)
    return seeded(dx, dx.iloc[14:28].mean(), 27), seeded(ranges, ranges.iloc[1:15].mean(), 14)


def write(features: pd.DataFrame, path: pathlib.Path) -> None:
    """One compressed file."""
    features.to_parquet(path, compression="zstd", compression_level=1, index=False)


if __name__ == "__main__":
    run(load, compute, write)
