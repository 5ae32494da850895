"""What the contestants of features share: arguments, names, the clock. Knows no formula."""

import argparse
import json
import pathlib
import time
from collections.abc import Callable

BARS = ["symbol", "frame", "open", "high", "low", "close", "vol", "amount", "adjust", "st", "buy_limit", "sell_limit"]

FEATURES = [
    "ret_1", "ret_5", "ret_10", "ret_20", "ret_60", "gap_open", "ma_5", "ma_10", "ma_20", "ma_60", "ema_12", "ema_26",
    "bias_20", "adx_14", "macd_dif", "macd_dea", "macd_hist", "rsi_6", "rsi_12", "rsi_24", "boll_upper", "boll_lower",
    "boll_pctb", "boll_width", "kdj_k", "kdj_d", "kdj_j", "atr_14", "volatility_20", "parkinson_20", "amplitude",
    "vol_ratio_5", "vol_ratio_20", "obv_ratio_20", "mfi_14", "vwap_gap", "pv_corr_20", "upper_shadow", "lower_shadow",
    "close_pos", "pos_20", "pos_60", "limit_state", "is_st", "susp_gap",
]  # fmt: skip

WARM_UP = {
    "ret_1": 1, "ret_5": 5, "ret_10": 10, "ret_20": 20, "ret_60": 60, "gap_open": 1, "ma_5": 4, "ma_10": 9, "ma_20": 19,
    "ma_60": 59, "ema_12": 11, "ema_26": 25, "bias_20": 19, "adx_14": 27, "macd_dif": 25, "macd_dea": 33, "macd_hist": 33,
    "rsi_6": 6, "rsi_12": 12, "rsi_24": 24, "boll_upper": 19, "boll_lower": 19, "boll_pctb": 19, "boll_width": 19,
    "kdj_k": 8, "kdj_d": 8, "kdj_j": 8, "atr_14": 14, "volatility_20": 20, "parkinson_20": 19, "amplitude": 1,
    "vol_ratio_5": 5, "vol_ratio_20": 20, "obv_ratio_20": 20, "mfi_14": 14, "pv_corr_20": 20, "pos_20": 19, "pos_60": 59,
}  # fmt: skip
"""Bars at the start of a security that have no value."""

TIE = 1e-9
"""Prices closer than this part of the price are equal."""

FUNDS = [(1_500_000, 1_589_999), (2_150_000, 2_189_999)]
"""Symbols whose prices move by a thousandth of a yuan."""


def run(load: Callable, compute: Callable, write: Callable) -> None:
    """Does what the arguments say, and prints the figures as JSON.

    `load(paths, symbols)` gives bars, `compute(bars)` their features, `write(features, path)` a Parquet file.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--archive", type=pathlib.Path, required=True, help="folder of day bars, Parquet")
    parser.add_argument("--symbols", type=int, help="only so many securities")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, help="keep the features here")
    args = parser.parse_args()
    bars = load(sorted(args.archive.rglob("*.parquet")), args.symbols)
    cpu, wall = [], []
    for _ in range(args.rounds):
        began = time.process_time(), time.perf_counter()
        features = compute(bars)
        cpu.append(time.process_time() - began[0])
        wall.append(time.perf_counter() - began[1])
    if args.out:
        write(features, args.out)
    print(json.dumps({"bars": len(features), "cpu_s": cpu, "wall_s": wall}))
