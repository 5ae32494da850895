"""Child processes with their time and peak memory. Knows the operating system, must not know what the programs do."""

import dataclasses
import os
import pathlib
import subprocess
import time


@dataclasses.dataclass
class Usage:
    """What a program took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


class Program:
    """A program at work."""

    def __init__(self, command: list[str | pathlib.Path], log: pathlib.Path):
        self.command = [str(word) for word in command]
        self.log = log
        with log.open("ab") as output:
            self.start = time.monotonic()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def wait(self) -> Usage:
        """Until it ends, which it must do with exit code 0."""
        _, status, usage = os.wait4(self.process.pid, 0)
        wall = time.monotonic() - self.start
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode != 0:
            raise SystemExit(f"exit code {self.process.returncode} from: {' '.join(self.command)}\n{self.tail()}")
        # Kilobytes on Linux.
        return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)

    def stop(self) -> Usage:
        """Asks it to end in good order."""
        self.process.terminate()
        return self.wait()

    def tail(self) -> str:
        """The last it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def run(command: list[str | pathlib.Path], log: pathlib.Path) -> Usage:
    """Runs a program to its end."""
    return Program(command, log).wait()
