"""polars, Arrow IPC entries on a stream with a consumer group, acknowledged after the write."""

import io
import pathlib

import polars as pl
import redis

from common import BAR, CSV, EXCHANGES, WINDOW, batches, run, send

ENTRY_ROWS_MAX = 10_000
"""Rows of one entry: of 750 to 50,000 the size this pipeline is fastest with."""

SCHEMA = {"ts_code": pl.String, "trade_date": pl.String}


def read(paths: list[pathlib.Path]) -> pl.DataFrame:
    """Tushare `daily` files as bars: integer symbols, dates, shares and yuan."""
    code = pl.col("ts_code")
    rows = pl.scan_csv(paths, schema_overrides=SCHEMA).select(CSV)
    bars = rows.select(
        symbol=code.str.head(6).cast(pl.Int32)
        + code.str.tail(2).replace_strict(EXCHANGES, return_dtype=pl.Int32),
        frame=pl.col("trade_date").str.to_date("%Y%m%d"),
        open="open",
        high="high",
        low="low",
        close="close",
        vol=(pl.col("vol") * 100).round(),
        amount=(pl.col("amount") * 1000).round(2),
    )
    return bars.collect()


def produce(server: redis.Redis, groups: list[list[pathlib.Path]]) -> None:
    """Cuts the rows of all files into entries."""
    held, payloads = None, []
    for paths in groups:
        part = read(paths)
        held = part if held is None else pl.concat([held, part])
        while held.height >= ENTRY_ROWS_MAX:
            payloads.append(encode(held[:ENTRY_ROWS_MAX]))
            held = held[ENTRY_ROWS_MAX:]
        if len(payloads) >= WINDOW:
            send(server, payloads)
            payloads = []
    send(server, payloads + ([] if held is None or held.is_empty() else [encode(held)]))


def encode(bars: pl.DataFrame) -> bytes:
    """Rows as an Arrow IPC stream."""
    buffer = io.BytesIO()
    bars.write_ipc_stream(buffer)
    return buffer.getvalue()


def decode(payload: bytes) -> pl.DataFrame:
    """Rows of an Arrow IPC stream."""
    return pl.read_ipc_stream(io.BytesIO(payload))


def consume(server: redis.Redis, out: pathlib.Path, rows: int) -> None:
    """Reads entries, writes a batch, acknowledges it."""
    for batch, parts in enumerate(batches(server, decode, rows)):
        write(parts, out, batch)


def write(parts: list[pl.DataFrame], out: pathlib.Path, batch: int) -> None:
    """One sorted, compressed file a year."""
    bars = pl.concat(parts).select(BAR).sort("symbol", "frame")
    for (year,), rows in bars.group_by(pl.col("frame").dt.year(), maintain_order=True):
        folder = out / f"year={year}"
        folder.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(folder / f"{batch:05}.parquet", compression="zstd", compression_level=1)


if __name__ == "__main__":
    run(produce, consume)
