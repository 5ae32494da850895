"""pandas and redis-py, JSON entries of 1,000 rows on a stream with a consumer group, acknowledged after the write."""

import json
import pathlib

import pandas as pd
import redis

import frames
from common import WINDOW, batches, run, send

ENTRY_ROWS_MAX = 1_000
"""Rows of one entry."""


def produce(server: redis.Redis, groups: list[list[pathlib.Path]]) -> None:
    """Cuts the rows of all files into entries."""
    held, payloads = pd.DataFrame(), []
    for paths in groups:
        part = pd.concat([frames.read(path) for path in paths])
        held = part if held.empty else pd.concat([held, part], ignore_index=True)
        while len(held) >= ENTRY_ROWS_MAX:
            payloads.append(encode(held[:ENTRY_ROWS_MAX]))
            held = held[ENTRY_ROWS_MAX:]
        if len(payloads) >= WINDOW:
            send(server, payloads)
            payloads = []
    send(server, payloads + ([] if held.empty else [encode(held)]))


def encode(bars: pd.DataFrame) -> bytes:
    """Rows as an array of objects."""
    return bars.to_json(orient="records", double_precision=6).encode()


def decode(payload: bytes) -> pd.DataFrame:
    """Rows of an array of objects."""
    return pd.DataFrame(json.loads(payload))


def consume(server: redis.Redis, out: pathlib.Path, rows: int) -> None:
    """Reads entries, writes a batch, acknowledges it."""
    for batch, parts in enumerate(batches(server, decode, rows)):
        frames.write(parts, out, batch)


if __name__ == "__main__":
    run(produce, consume)
