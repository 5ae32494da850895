"""Child processes with their time and peak memory. Knows the operating system, must not know what the programs do."""

import dataclasses
import os
import pathlib
import subprocess
import threading
import time
import typing

LOOK_S = 0.01
"""How often memory is looked at. The kernel keeps the peak: only growth since the last look can be missed."""


@dataclasses.dataclass
class Usage:
    """What a program took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


class Program:
    """A program at work."""

    def __init__(self, command: list[str | pathlib.Path], log: pathlib.Path, out: typing.BinaryIO | None = None):
        self.command = [str(word) for word in command]
        self.log = log
        with log.open("ab") as said:
            self.start = time.monotonic()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out or said, stderr=said)
        self.peak_kib = 0
        self.ended = threading.Event()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()

    def watch(self) -> None:
        """Follows the peak. What `wait4` tells would be no less than this process had when it started the program."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status")
        while status.exists():
            peak = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            self.peak_kib = int(peak[0].split()[1]) if peak else self.peak_kib
            if self.ended.wait(LOOK_S):
                return

    def wait(self) -> Usage:
        """Until it ends, which it must do with exit code 0."""
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        wall = time.monotonic() - self.start
        self.ended.set()
        self.watcher.join()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode != 0:
            raise SystemExit(f"exit code {self.process.returncode} from: {' '.join(self.command)}\n{self.tail()}")
        return Usage(wall, usage.ru_utime + usage.ru_stime, self.peak_kib / 1024)

    def stop(self) -> Usage:
        """Asks it to end in good order."""
        self.process.terminate()
        return self.wait()

    def tail(self) -> str:
        """The last it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def run(command: list[str | pathlib.Path], log: pathlib.Path, out: typing.BinaryIO | None = None) -> Usage:
    """Runs a program to its end; what it prints goes to its log, or out."""
    return Program(command, log, out).wait()
