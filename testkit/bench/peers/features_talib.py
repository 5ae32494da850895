"""The 45 features with TA-Lib on the columns of one security's frame, as it is mostly used, and pandas for the rest.

TA-Lib knows no ties: on prices that move by cents its ADX and MFI may differ from the list's.
"""

import numpy as np
import pandas as pd
import talib

from features_common import TIE, run
from features_pandas import alone, each, load, oscillators, table, write


def compute(bars: pd.DataFrame) -> pd.DataFrame:
    """Symbol, frame and 45 features of every traded bar."""
    return each(bars, security)


def security(bars: pd.DataFrame) -> pd.DataFrame:
    """The features of one security."""
    bars = bars.reset_index(drop=True)
    adjust = bars["adjust"]
    o, h, l, c = (bars[name] * adjust for name in ("open", "high", "low", "close"))
    v = bars["vol"] / adjust
    found = alone(bars) | trend(c) | movement(o, h, l, c) | volume(h, l, c, v) | oscillators(h, l, c)
    return table(bars, found)


def trend(c: pd.Series) -> dict[str, pd.Series]:
    """Returns, averages, bands, MACD."""
    found = {f"ret_{n}": talib.ROCP(c, n) for n in (1, 5, 10, 20, 60)}
    found |= {f"ma_{n}": talib.SMA(c, n) for n in (5, 10, 20, 60)}
    found |= {f"ema_{n}": c.ewm(span=n, adjust=False).mean() for n in (12, 26)}
    upper, middle, lower = talib.BBANDS(c, 20, 2, 2)
    dif = found["ema_12"] - found["ema_26"]
    dea = dif.ewm(span=9, adjust=False).mean()
    return found | {
        "bias_20": c / middle - 1,
        "boll_upper": upper,
        "boll_lower": lower,
        "boll_pctb": ((c - lower) / (upper - lower)).mask(upper - lower <= 4 * TIE * c, 0.5),
        "boll_width": (upper - lower) / middle,
        "macd_dif": dif,
        "macd_dea": dea,
        "macd_hist": 2 * (dif - dea),
    }


def movement(o: pd.Series, h: pd.Series, l: pd.Series, c: pd.Series) -> dict[str, pd.Series]:
    """How far prices move and where they stand."""
    before = c.shift()
    return {
        "gap_open": o / before - 1,
        "amplitude": (h - l) / before,
        "volatility_20": talib.STDDEV(talib.ROCP(c, 1), 20),
        "parkinson_20": np.sqrt(talib.SMA(np.log(h / l) ** 2, 20) / (4 * np.log(2))),
        "pos_20": 1 + talib.WILLR(h, l, c, 20) / 100,
        "pos_60": 1 + talib.WILLR(h, l, c, 60) / 100,
        "atr_14": talib.ATR(h, l, c, 14),
        "adx_14": talib.ADX(h, l, c, 14),
    }


def volume(h: pd.Series, l: pd.Series, c: pd.Series, v: pd.Series) -> dict[str, pd.Series]:
    """Volume against its past, with and against prices."""
    balance = talib.OBV(c, v)
    return {
        "vol_ratio_5": talib.RVOL(v, 5),
        "vol_ratio_20": talib.RVOL(v, 20),
        "obv_ratio_20": (balance - balance.shift(20)) / talib.SUM(v, 20),
        "mfi_14": talib.MFI(h, l, c, v, 14),
        "pv_corr_20": talib.CORREL(talib.ROCP(c, 1), np.log(v / v.shift()), 20),
    }


if __name__ == "__main__":
    run(load, compute, write)
