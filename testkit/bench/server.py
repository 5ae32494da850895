"""A private Redis for one contestant: own folder, unix socket, append-only file on. Every contestant gets the same."""

import pathlib
import shutil
import subprocess
import tempfile
import time

import redis

START_S_MAX = 10

AOF = "append-only file on, fsync every second, no rewrites, no snapshots"

OPTIONS = {
    "port": "0",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "auto-aof-rewrite-percentage": "0",
    "save": "",
    "maxmemory-policy": "noeviction",
}


class Server:
    """A redis-server (or valkey-server) that lives as long as the `with` block."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        # The path of a socket has 107 bytes at most.
        self.nook = tempfile.TemporaryDirectory(prefix="sqep-bench-")
        self.socket = pathlib.Path(self.nook.name) / "redis.sock"

    def __enter__(self) -> "Server":
        self.folder.mkdir(parents=True)
        options = OPTIONS | {"dir": str(self.folder), "unixsocket": str(self.socket)}
        command = [find(), *(text for name, value in options.items() for text in (f"--{name}", value))]
        with (self.folder / "redis.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.client = redis.Redis(unix_socket_path=str(self.socket))
        self.wait()
        return self

    def wait(self) -> None:
        """Until it answers PONG: an open socket may still be loading."""
        end = time.monotonic() + START_S_MAX
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"redis did not start; it says: {(self.folder / 'redis.log').read_text()}")
                time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)
        self.nook.cleanup()

    @property
    def url(self) -> str:
        """The address as programs of this project take it."""
        return f"redis+unix://{self.socket}"

    def memory(self) -> int:
        """Bytes in use."""
        return self.client.info("memory")["used_memory"]

    def version(self) -> str:
        """Version of the server."""
        return self.client.info("server")["redis_version"]


def find() -> str:
    """The server's program."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            return path
    raise SystemExit("neither redis-server nor valkey-server found; run testkit/setup.sh bench")
