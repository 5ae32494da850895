"""The pipelines this project is measured beside: their names and how they are run."""

import dataclasses
import pathlib
import sys
import time

from programs import Program, Usage, run
from server import Server

PEERS = pathlib.Path(__file__).parent / "peers"


@dataclasses.dataclass(frozen=True)
class Peer:
    """A pipeline of two Python processes."""

    name: str
    script: str
    files: int = 1
    repeat: bool = False

    def command(self, half: str, server: Server, *more: str | pathlib.Path) -> list:
        """One of its halves."""
        return [sys.executable, PEERS / self.script, half, "--redis", server.socket, *more]

    def produce(self, server: Server, folder: pathlib.Path) -> list:
        """The half that reads files."""
        return self.command("produce", server, "--csv", folder, "--files", str(self.files))

    def side_by_side(
        self, server: Server, folder: pathlib.Path, out: pathlib.Path, bars: int, log: pathlib.Path
    ) -> tuple[float, Usage, Usage]:
        """Both halves from their start until the last file is written: seconds, producer, consumer."""
        start = time.monotonic()
        consumer = Program(self.command("consume", server, "--out", out, "--rows", str(bars)), log)
        produced = run(self.produce(server, folder), log)
        consumed = consumer.wait()
        return time.monotonic() - start, produced, consumed


LIST_JSON = Peer("pandas, a JSON message a stock, list", "list_json.py")
STREAM_JSON = Peer("pandas, 1,000-row JSON entries, stream", "stream_json.py")
ARROW = Peer("polars, Arrow entries, stream, file by file", "stream_arrow.py", repeat=True)
ARROW_MANY = Peer("polars, the same, 64 files at a time", "stream_arrow.py", files=64, repeat=True)

ALL = (LIST_JSON, STREAM_JSON, ARROW, ARROW_MANY)
