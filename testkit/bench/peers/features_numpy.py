"""The 45 features with TA-Lib on bare numpy arrays and one table for all of them; pandas only for averages that begin as
Chinese programs' do. As lean as TA-Lib is called from Python.

TA-Lib knows no ties: on prices that move by cents its ADX and MFI may differ from the list's.
"""

import numpy as np
import pandas as pd
import talib

from features_common import FEATURES, FUNDS, TIE, WARM_UP, run
from features_pandas import load, write


def compute(bars: pd.DataFrame) -> pd.DataFrame:
    """Symbol, frame and 45 features of every traded bar."""
    bars = bars[bars["vol"] > 0]
    table = np.full((len(bars), len(FEATURES)), np.nan)
    starts = np.flatnonzero(np.diff(bars["symbol"].to_numpy(), prepend=-1))
    columns = {name: bars[name].to_numpy() for name in bars.columns if name != "frame"}
    with np.errstate(divide="ignore", invalid="ignore"):
        for start, end in zip(starts, [*starts[1:], len(bars)]):
            security({name: column[start:end] for name, column in columns.items()}, table[start:end])
    features = pd.DataFrame(table, columns=FEATURES)
    features.insert(0, "frame", bars["frame"].to_numpy())
    features.insert(0, "symbol", bars["symbol"].to_numpy())
    return features


def security(bars: dict[str, np.ndarray], table: np.ndarray) -> None:
    """The features of one security, into its rows."""
    adjust = bars["adjust"]
    o, h, l, c = (bars[name] * adjust for name in ("open", "high", "low", "close"))
    v = bars["vol"] / adjust
    found = alone(bars) | trend(c) | movement(o, h, l, c) | volume(h, l, c, v) | oscillators(h, l, c)
    for at, name in enumerate(FEATURES):
        table[WARM_UP.get(name, 0) :, at] = found[name][WARM_UP.get(name, 0) :]


def ewm(values: np.ndarray, **how: float) -> np.ndarray:
    """An exponential mean that begins with the first value."""
    return pd.Series(values).ewm(adjust=False, **how).mean().to_numpy()


def before(values: np.ndarray, n: int = 1) -> np.ndarray:
    """The values of n bars ago."""
    shifted = np.full_like(values, np.nan)
    shifted[n:] = values[:-n]
    return shifted


def alone(bars: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a bar and its day alone decide."""
    o, h, l, c = (bars[name] for name in ("open", "high", "low", "close"))
    vwap, size, flat = bars["amount"] / bars["vol"], h - l, h - l <= TIE * c
    half = 0.0005 if any(low <= bars["symbol"][0] <= high for low, high in FUNDS) else 0.005
    up = (bars["buy_limit"] > 0) & (c >= bars["buy_limit"] - half)
    down = (bars["sell_limit"] > 0) & (c <= bars["sell_limit"] + half)
    outside = (vwap < 0.98 * l) | (vwap > 1.02 * h)
    missed = np.diff(bars["session"], prepend=bars["session"][0] - 1) - 1
    return {
        "vwap_gap": np.where(outside, 0.0, c / vwap - 1),
        "upper_shadow": np.where(flat, 0.0, (h - np.maximum(o, c)) / size),
        "lower_shadow": np.where(flat, 0.0, (np.minimum(o, c) - l) / size),
        "close_pos": np.where(flat, 0.5, (c - l) / size),
        "limit_state": np.where(up, 1.0, np.where(down, -1.0, 0.0)),
        "is_st": bars["st"],
        "susp_gap": np.clip(missed, 0, 250),
    }


def trend(c: np.ndarray) -> dict[str, np.ndarray]:
    """Returns, averages, bands, MACD."""
    found = {f"ret_{n}": talib.ROCP(c, n) for n in (1, 5, 10, 20, 60)}
    found |= {f"ma_{n}": talib.SMA(c, n) for n in (5, 10, 20, 60)}
    found |= {f"ema_{n}": ewm(c, span=n) for n in (12, 26)}
    upper, middle, lower = talib.BBANDS(c, 20, 2, 2)
    dif = found["ema_12"] - found["ema_26"]
    dea = ewm(dif, span=9)
    flat = upper - lower <= 4 * TIE * c
    return found | {
        "bias_20": c / middle - 1,
        "boll_upper": upper,
        "boll_lower": lower,
        "boll_pctb": np.where(flat, 0.5, (c - lower) / (upper - lower)),
        "boll_width": (upper - lower) / middle,
        "macd_dif": dif,
        "macd_dea": dea,
        "macd_hist": 2 * (dif - dea),
    }


def movement(o: np.ndarray, h: np.ndarray, l: np.ndarray, c: np.ndarray) -> dict[str, np.ndarray]:
    """How far prices move and where they stand."""
    last = before(c)
    found = {}
    for n in (20, 60):
        flat = talib.MAX(h, n) - talib.MIN(l, n) <= TIE * c
        found[f"pos_{n}"] = np.where(flat, 0.5, 1 + talib.WILLR(h, l, c, n) / 100)
    volatility = np.full_like(c, np.nan)
    volatility[1:] = talib.STDDEV(c[1:] / c[:-1] - 1, 20)
    return found | {
        "gap_open": o / last - 1,
        "amplitude": (h - l) / last,
        "volatility_20": volatility,
        "parkinson_20": np.sqrt(talib.SMA(np.log(h / l) ** 2, 20) / (4 * np.log(2))),
        "atr_14": talib.ATR(h, l, c, 14),
        "adx_14": talib.ADX(h, l, c, 14),
    }


def volume(h: np.ndarray, l: np.ndarray, c: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
    """Volume against its past, with and against prices."""
    balance, correlation = talib.OBV(c, v), np.full_like(c, np.nan)
    correlation[1:] = talib.CORREL(c[1:] / c[:-1] - 1, np.log(v[1:] / v[:-1]), 20)
    return {
        "vol_ratio_5": talib.RVOL(v, 5),
        "vol_ratio_20": talib.RVOL(v, 20),
        "obv_ratio_20": (balance - before(balance, 20)) / talib.SUM(v, 20),
        "mfi_14": talib.MFI(h, l, c, v, 14),
        "pv_corr_20": correlation,
    }


def oscillators(h: np.ndarray, l: np.ndarray, c: np.ndarray) -> dict[str, np.ndarray]:
    """RSI and KDJ as Chinese programs show them, of which TA-Lib has the ranges."""
    change = np.diff(c, prepend=np.nan)
    change = np.where(np.abs(change) <= TIE * c, 0.0, change)
    found = {}
    for n in (6, 12, 24):
        gains, total = ewm(np.maximum(change, 0), alpha=1 / n), ewm(np.abs(change), alpha=1 / n)
        found[f"rsi_{n}"] = np.where(total > 0, np.minimum(100 * gains / total, 100), 50.0)
    low, high = talib.MIN(l, 9), talib.MAX(h, 9)
    rsv = np.where(high - low <= TIE * c, 50.0, 100 * (c - low) / (high - low))
    rsv[7:8] = 50.0
    k = ewm(rsv, alpha=1 / 3)
    d = ewm(k, alpha=1 / 3)
    return found | {"kdj_k": k, "kdj_d": d, "kdj_j": 3 * k - 2 * d}


if __name__ == "__main__":
    run(load, compute, write)
