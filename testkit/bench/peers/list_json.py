"""pandas and redis-py, one JSON message a stock on a Redis list: the way the published SQEP scripts work.

Row by row as they do, with one kindness: the consumer collects a batch before it writes. A message is gone from
Redis once popped, so that what is in memory when the consumer dies is lost.
"""

import json
import pathlib
from datetime import datetime

import pandas as pd
import redis

import frames
from common import BATCH_ROWS_MAX, run

QUEUE = "sqep_bar_day_queue"


def produce(server: redis.Redis, groups: list[list[pathlib.Path]]) -> None:
    """Pushes a message a file."""
    for path in (path for paths in groups for path in paths):
        message = {
            "timestamp": datetime.now().isoformat(),
            "source": "tushare",
            "data_type": "SQEP-BAR-DAY",
            "records": [record(row) for _, row in frames.read(path).iterrows()],
        }
        server.lpush(QUEUE, json.dumps(message))


def record(row: pd.Series) -> dict:
    """A row as the message carries it."""
    floats = {name: float(row[name]) for name in ("open", "high", "low", "close", "vol", "amount")}
    return {"symbol": int(row["symbol"]), "frame": row["frame"], **floats}


def consume(server: redis.Redis, out: pathlib.Path, rows: int) -> None:
    """Pops messages and writes them, a batch at a time."""
    parts, held, batch = [], 0, 0
    while rows > 0:
        popped = server.brpop([QUEUE], timeout=1)
        if popped is None:
            continue
        part = pd.DataFrame(json.loads(popped[1])["records"])
        parts.append(part)
        held += len(part)
        rows -= len(part)
        if held >= BATCH_ROWS_MAX or rows <= 0:
            frames.write(parts, out, batch)
            parts, held, batch = [], 0, batch + 1


if __name__ == "__main__":
    run(produce, consume)
