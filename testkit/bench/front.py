"""ClickHouse for the benchmark: the engine behind the front of the tests, with a folder of its own."""

import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

SCRIPT = pathlib.Path(__file__).parent.parent / "python" / "chdb_http.py"
DATABASE = "bench"


class Front:
    """An engine that lives as long as the `with` block."""

    def __enter__(self) -> "Front":
        self.folder = tempfile.TemporaryDirectory(prefix="sqep-bench-")
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, self.folder.name + "/data"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        said = self.process.stdout.readline().split()
        if len(said) != 2:
            raise SystemExit("ClickHouse's engine did not start; its own message stands above")
        self.url, self.version = f"http://127.0.0.1:{said[0]}", said[1]
        self.ask(f"CREATE DATABASE {DATABASE}", "default")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def place(self, database: str = DATABASE, **words: str) -> str:
        """The address of a request."""
        return f"{self.url}/?{urllib.parse.urlencode({'database': database, **words})}"

    def ask(self, sql: str, database: str = DATABASE) -> str:
        """The answer as tab-separated text."""
        return self.send(self.place(database), sql.encode()).decode().strip()

    def send(self, place: str, body: bytes) -> bytes:
        """Posts, and says what the engine says where it refuses."""
        try:
            with urllib.request.urlopen(urllib.request.Request(place, data=body)) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"ClickHouse refuses: {error.read().decode(errors='replace')}") from error

    def save(self, sql: str, path: pathlib.Path) -> None:
        """The answer to a file, piece by piece."""
        self.ask(f"{sql.replace(' FORMAT ', f' INTO OUTFILE {chr(39)}{path}{chr(39)} FORMAT ')}")
