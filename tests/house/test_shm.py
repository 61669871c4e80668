"""The check for leftovers in /dev/shm sees one, and complains of nobody else's."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

from shm import MARKER, wait_for_leftovers

HOLD = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    view = mmap.mmap(file.fileno(), 0)
print("mapped", flush=True)
sys.stdin.read()
"""


def test_a_leftover_is_seen_unless_a_process_of_another_run_maps_it() -> None:
    before = wait_for_leftovers(frozenset(), patience_s=0)
    # No name that a region may have: a system that starts meanwhile would sweep it away.
    path = Path(f"/dev/shm/ultrafast-house+{uuid.uuid4().hex}")
    path.write_bytes(bytes(4096))
    try:
        assert path.name in wait_for_leftovers(before, patience_s=0.1)
        assert path.name not in wait_for_leftovers(before | {path.name}, patience_s=0)
        for run, seen in ((str(os.getpid()), True), ("another", False)):
            holder = subprocess.Popen(
                [sys.executable, "-c", HOLD, str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, MARKER: run},
            )
            assert holder.stdout and holder.stdout.readline() == b"mapped\n"
            assert (path.name in wait_for_leftovers(before, patience_s=0.1)) is seen
            holder.communicate()
    finally:
        path.unlink()
