"""The same polars query through a Redis stream: Arrow IPC entries with a consumer group, acknowledged after the write."""

import argparse
import pathlib

import polars as pl
import redis

import features_polars
from common import WINDOW, batches, send
from stream_arrow import decode, encode

ENTRY_ROWS_MAX = 2_000
"""Rows of one entry: of 500 to 10,000 the size this pipeline is fastest with."""
BATCH_ROWS_MAX = 200_000
"""Rows a consumer collects before it writes."""


def produce(server: redis.Redis, archive: pathlib.Path) -> None:
    """Computes all rows and cuts them into entries."""
    rows = features_polars.compute(features_polars.load(sorted(archive.rglob("*.parquet")), None))
    payloads = []
    for part in rows.iter_slices(ENTRY_ROWS_MAX):
        payloads.append(encode(part))
        if len(payloads) == WINDOW:
            send(server, payloads)
            payloads = []
    send(server, payloads)


def consume(server: redis.Redis, out: pathlib.Path, rows: int) -> None:
    """Reads entries, writes a batch, acknowledges it."""
    out.mkdir(parents=True, exist_ok=True)
    for batch, parts in enumerate(batches(server, decode, rows, BATCH_ROWS_MAX)):
        path = out / f"{batch:05}.parquet"
        pl.concat(parts).sort("symbol", "frame").write_parquet(path, compression="zstd", compression_level=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("half", choices=["produce", "consume"])
    parser.add_argument("--redis", required=True, help="path of the unix socket")
    parser.add_argument("--archive", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--rows", type=int, help="stop after this many")
    args = parser.parse_args()
    connection = redis.Redis(unix_socket_path=args.redis)
    if args.half == "produce":
        produce(connection, args.archive)
    else:
        consume(connection, args.out, args.rows)
