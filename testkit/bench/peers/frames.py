"""What the two pandas pipelines share: a Tushare file as bars, and bars as Parquet files by year."""

import pathlib

import pandas as pd

from common import BAR, CSV, EXCHANGES


def read(path: pathlib.Path) -> pd.DataFrame:
    """A Tushare `daily` file as bars: integer symbols, ISO dates, shares and yuan."""
    rows = pd.read_csv(path, usecols=CSV, dtype={"ts_code": "str", "trade_date": "str"})
    code, exchange = rows["ts_code"].str[:6], rows["ts_code"].str[7:]
    date = rows["trade_date"]
    return rows.assign(
        symbol=code.astype("int32") + exchange.map(EXCHANGES).astype("int32"),
        frame=date.str[:4] + "-" + date.str[4:6] + "-" + date.str[6:],
        vol=(rows["vol"] * 100).round(),
        amount=(rows["amount"] * 1000).round(2),
    )[BAR]


def write(parts: list[pd.DataFrame], out: pathlib.Path, batch: int) -> None:
    """One sorted, compressed file a year."""
    bars = pd.concat(parts, ignore_index=True)
    bars["symbol"] = bars["symbol"].astype("int32")
    bars["frame"] = pd.to_datetime(bars["frame"], format="%Y-%m-%d")
    bars = bars.sort_values(["symbol", "frame"])
    year = bars["frame"].dt.year
    bars["frame"] = bars["frame"].dt.date
    for value, rows in bars.groupby(year, sort=True):
        folder = out / f"year={value}"
        folder.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(folder / f"{batch:05}.parquet", compression="zstd", compression_level=1, index=False)
