"""pandas and redis-py, JSON entries of 1,000 rows on a stream with a consumer group, acknowledged after the write."""

import json
import pathlib

import pandas as pd
import redis

import frames
from common import BATCH_ROWS_MAX, GROUP, STREAM, WINDOW, fetch, make_group, run, send

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


def consume(server: redis.Redis, out: pathlib.Path, rows: int) -> None:
    """Reads entries, writes a batch, acknowledges it."""
    make_group(server)
    parts, ids, held, batch = [], [], 0, 0
    while rows > 0:
        for entry, payload in fetch(server):
            part = pd.DataFrame(json.loads(payload))
            parts.append(part)
            ids.append(entry)
            held += len(part)
            rows -= len(part)
        if held >= BATCH_ROWS_MAX or (rows <= 0 and held):
            frames.write(parts, out, batch)
            server.xack(STREAM, GROUP, *ids)
            parts, ids, held, batch = [], [], 0, batch + 1


if __name__ == "__main__":
    run(produce, consume)
