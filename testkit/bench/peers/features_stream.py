"""The same polars query through a Redis stream: Arrow IPC entries with a consumer group, acknowledged after the write."""

import argparse
import io
import pathlib

import polars as pl
import redis

import features_polars
from common import GROUP, STREAM, WINDOW, fetch, make_group, send

ENTRY_ROWS_MAX = 2_000
"""Rows of one entry: of 500 to 10,000 the size this pipeline is fastest with."""
BATCH_ROWS_MAX = 200_000
"""Rows a consumer collects before it writes."""


def produce(server: redis.Redis, archive: pathlib.Path) -> None:
    """Computes all rows and cuts them into entries."""
    rows = features_polars.compute(features_polars.load(sorted(archive.rglob("*.parquet")), None))
    payloads = []
    for part in rows.iter_slices(ENTRY_ROWS_MAX):
        buffer = io.BytesIO()
        part.write_ipc_stream(buffer)
        payloads.append(buffer.getvalue())
        if len(payloads) == WINDOW:
            send(server, payloads)
            payloads = []
    send(server, payloads)


def consume(server: redis.Redis, out: pathlib.Path, rows: int) -> None:
    """Reads entries, writes a batch, acknowledges it."""
    make_group(server)
    out.mkdir(parents=True, exist_ok=True)
    parts, ids, held, batch = [], [], 0, 0
    while rows > 0:
        for entry, payload in fetch(server):
            part = pl.read_ipc_stream(io.BytesIO(payload))
            parts.append(part)
            ids.append(entry)
            held += part.height
            rows -= part.height
        if held >= BATCH_ROWS_MAX or (rows <= 0 and held):
            path = out / f"{batch:05}.parquet"
            pl.concat(parts).sort("symbol", "frame").write_parquet(path, compression="zstd", compression_level=1)
            server.xack(STREAM, GROUP, *ids)
            parts, ids, held, batch = [], [], 0, batch + 1


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
