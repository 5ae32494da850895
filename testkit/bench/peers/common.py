"""What the three pipelines share: arguments, the files to read, when a batch is full. Knows no encoding."""

import argparse
import pathlib
from collections.abc import Callable, Iterator

import redis

BATCH_ROWS_MAX = 500_000
"""Rows a consumer collects before it writes: what `sqep-parquet` takes."""

WINDOW = 64
"""Entries sent, or asked for, in one round trip."""

EXCHANGES = {"SH": 1_000_000, "SZ": 2_000_000, "BJ": 3_000_000}
BAR = ["symbol", "frame", "open", "high", "low", "close", "vol", "amount"]
CSV = ["ts_code", "trade_date", "open", "high", "low", "close", "vol", "amount"]

STREAM = "bars"
GROUP = "parquet"


def run(produce: Callable, consume: Callable) -> None:
    """Runs one half of a pipeline, as the arguments say."""
    parser = argparse.ArgumentParser()
    halves = parser.add_subparsers(dest="half", required=True)
    producer = halves.add_parser("produce")
    producer.add_argument("--csv", type=pathlib.Path, required=True)
    producer.add_argument("--files", type=int, default=1, help="files read at once, where the library can")
    consumer = halves.add_parser("consume")
    consumer.add_argument("--out", type=pathlib.Path, required=True)
    consumer.add_argument("--rows", type=int, required=True, help="stop after this many")
    for half in (producer, consumer):
        half.add_argument("--redis", required=True, help="path of the unix socket")
    args = parser.parse_args()
    server = redis.Redis(unix_socket_path=args.redis)
    if args.half == "produce":
        paths = sorted(args.csv.rglob("*.csv"))
        produce(server, [paths[at : at + args.files] for at in range(0, len(paths), args.files)])
    else:
        consume(server, args.out, args.rows)


def batches(server: redis.Redis, decode: Callable, rows: int, rows_max: int = BATCH_ROWS_MAX) -> Iterator[list]:
    """Frames that make a batch, until `rows` rows have come. A batch is acknowledged when the next one is asked for."""
    make_group(server)
    parts, ids, held = [], [], 0
    while rows > 0:
        for entry, payload in fetch(server):
            part = decode(payload)
            parts.append(part)
            ids.append(entry)
            held += len(part)
            rows -= len(part)
        if held >= rows_max or (rows <= 0 and held):
            yield parts
            server.xack(STREAM, GROUP, *ids)
            parts, ids, held = [], [], 0


def send(server: redis.Redis, payloads: list[bytes]) -> None:
    """Appends payloads to the stream, one entry each, in one round trip."""
    pipe = server.pipeline(transaction=False)
    for payload in payloads:
        pipe.xadd(STREAM, {"p": payload})
    pipe.execute()


def make_group(server: redis.Redis) -> None:
    """Makes the consumer group, at the beginning of the stream."""
    try:
        server.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def fetch(server: redis.Redis) -> list[tuple[bytes, bytes]]:
    """The next entries of the group: id and payload."""
    reply = server.xreadgroup(GROUP, "one", {STREAM: ">"}, count=WINDOW, block=1_000)
    # A list of pairs in RESP2, a map in RESP3.
    streams = reply.values() if isinstance(reply, dict) else [entries for _, entries in reply or []]
    flat = []
    for entries in streams:
        for entry in entries if not entries or not isinstance(entries[0], list) else entries[0]:
            flat.append((entry[0], entry[1][b"p"]))
    return flat
