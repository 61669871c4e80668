"""What a test left in /dev/shm. Stands on /proc; knows nothing of regions but their names."""

import os
import time
from collections.abc import Iterator, Set
from pathlib import Path

__all__ = ["MARKER", "wait_for_leftovers"]

MARKER = "ULTRAFAST_TEST_RUN"
"""In the environment of this run and of every process that it starts."""

SHM = Path("/dev/shm")
PREFIX = "ultrafast-"


def _mapped_by_others() -> Iterator[str]:
    """Names in /dev/shm mapped by live processes of another run, of which we must not complain."""
    ours = f"{MARKER}={os.getpid()}".encode()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or process.name == str(os.getpid()):
            continue
        try:
            maps = (process / "maps").read_text(errors="replace")
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile, or is another user's
        for line in maps.splitlines():
            if f"{SHM}/{PREFIX}" in line and ours not in environment:
                yield line.rsplit(f"{SHM}/", 1)[1].split(" ")[0]


def wait_for_leftovers(before: Set[str], patience_s: float) -> frozenset[str]:
    """Names of ours in /dev/shm that are not in `before`, once processes had time to end."""
    deadline = time.monotonic() + patience_s
    while True:
        names = {path.name for path in SHM.iterdir() if path.name.startswith(PREFIX)}
        left = names - before
        if left and patience_s:
            others = set(_mapped_by_others())
            left = {name for name in left if name.split(".bell.")[0] not in others}
            left = {name for name in left if (SHM / name).exists()}  # that look took its time
        if not left or time.monotonic() >= deadline:
            return frozenset(left)
        time.sleep(0.02)
