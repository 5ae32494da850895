"""The line that says where figures come from. Knows the machine, must not know what is measured."""

import os
import pathlib
import platform
import subprocess


def describe(redis_version: str, aof: str) -> str:
    """Processor, cores, memory, kernel and server, in one line."""
    return " · ".join(
        [
            processor(),
            f"{os.cpu_count()} cores",
            f"{memory_gib()} GiB",
            f"Linux {platform.release()}" if platform.system() == "Linux" else platform.platform(),
            f"redis {redis_version}, {aof}",
            version(["rustc", "--version"]),
            f"Python {platform.python_version()}",
        ]
    )


def processor() -> str:
    """The processor's name as the kernel tells it."""
    for line in lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def memory_gib() -> int:
    """Memory of the machine."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def version(command: list[str]) -> str:
    """The first line a program says of itself, without its build."""
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0].split(" (")[0]


def lines(path: str) -> list[str]:
    """Lines of a file of the kernel, or none where there is no such file."""
    file = pathlib.Path(path)
    return file.read_text().splitlines() if file.exists() else []
