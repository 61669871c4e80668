"""Processes that do as a test tells them: `Actor.do`, one command and its answer at a time.

Stands on `doors.actor`, which runs in them. Each is forked from one nursery, which ends with the
test run, and they with their test. Does not know the rules of any door.
"""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from doors.actor import put, take_one
from ultrafast.core import _region

__all__ = ["Actor", "actors"]

PATIENCE_S = 60.0
_NURSERY = """
import sys
sys.path.insert(0, sys.argv[1])
from doors.actor import main
main(int(sys.argv[2]))
"""


class _Nursery:
    """The process that all actors are forked from; started when the first is wanted."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    _NURSERY,
                    Path(__file__).parents[1],
                    f"{theirs.fileno()}",
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )


_nursery: list[_Nursery] = []


class Actor:
    """Another process, attached to the region at `path`."""

    def __init__(self, path: str | Path, role: int = _region.ROLE_WORKER) -> None:
        if not _nursery:
            _nursery.append(_Nursery())
        self.stream, theirs = socket.socketpair()
        self.stream.settimeout(PATIENCE_S)
        with theirs:
            socket.send_fds(_nursery[0].control, [b"."], [theirs.fileno()])
        self.pid: int = self.hear()
        self.process = os.pidfd_open(self.pid)
        try:
            self.slot: int = self.do("attach", str(path), role)
        except BaseException:
            self.forget()
            raise

    def tell(self, *command: Any) -> None:
        """Give a command."""
        put(self.stream, command)

    def hear(self) -> Any:
        """The answer; what it raised is raised here."""
        well, answer = take_one(self.stream)
        if not well:
            raise answer
        return answer

    def do(self, *command: Any) -> Any:
        """Give a command and wait for its answer."""
        self.tell(*command)
        return self.hear()

    def kill(self) -> None:
        """SIGKILL it; it has let go of everything when this returns."""
        signal.pidfd_send_signal(self.process, signal.SIGKILL)
        ended, _, _ = select.select([self.process], [], [], PATIENCE_S)
        assert ended, f"process {self.pid} did not end"
        self.forget()

    def forget(self) -> None:
        """Let it go; it ends when it notices."""
        self.stream.close()
        if self.process >= 0:
            os.close(self.process)
            self.process = -1

    def end(self) -> None:
        """Leave the region in good order."""
        self.do("close")
        self.forget()


@contextmanager
def actors(path: str | Path, count: int) -> Iterator[list[Actor]]:
    """So many of them, for the length of the block."""
    many = [Actor(path) for _ in range(count)]
    try:
        yield many
        for each in many:
            each.end()
    finally:
        for each in many:
            each.forget()
