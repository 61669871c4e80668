"""The processes that play one contestant: told what to do, watched, given up in time.

Each runs `serve`: it opens its end, says so, and then does what it is told, one order at a time.
All waiting for them is bounded. One that fails or hangs is reported with its own words, and ends
with its team; all end when this process does, however it does.

Stands on multiprocessing. Knows nothing of what is measured.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

__all__ = ["Member", "TeamFailed", "member", "now_ns"]

# A fork of a process that has a region, or a thread, is asking for trouble.
_SPAWN = multiprocessing.get_context("spawn")
_START_S = 60.0
_STOP_S = 5.0
_PR_SET_PDEATHSIG = 1

_STOP = "stop"
_READY = "ready"
_BEGUN = "begun"
_DONE = "done"
_FAILED = "failed"

Order = Callable[..., Any]


class TeamFailed(RuntimeError):
    """A process of a contestant failed, died, or did not answer in time."""


def now_ns() -> int:
    """CLOCK_MONOTONIC, which all processes of a machine share."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class Member:
    """One process of a team, as this process sees it; made by `member`."""

    def __init__(self, process: BaseProcess, connection: Connection, title: str) -> None:
        self._process = process
        self._connection = connection
        self._title = title

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid or 0

    def begin(self, order: Order, *arguments: Any, timeout_s: float) -> None:
        """Tell it to call `order(end, *arguments)`; it has begun when this returns."""
        self._connection.send((order, arguments))
        self._expect(_BEGUN, time.monotonic() + timeout_s)

    def answer(self, deadline: float) -> Any:
        """What the order returned. `deadline` is of time.monotonic."""
        return self._expect(_DONE, deadline)

    def has_answered(self) -> bool:
        """Whether `answer` would return at once."""
        return self._connection.poll(0)

    def ready(self) -> None:
        """Wait until its end is open."""
        self._expect(_READY, time.monotonic() + _START_S)

    def _expect(self, wanted: str, deadline: float) -> Any:
        try:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                raise TeamFailed(f"{self._title}: no answer in time (waited for '{wanted}')")
            kind, value = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(1)
            raise TeamFailed(
                f"{self._title}: its process ended, exit code {self._process.exitcode}"
            ) from error
        if kind == _FAILED:
            raise TeamFailed(f"{self._title}: {value}")
        if kind != wanted:
            raise TeamFailed(f"{self._title}: said '{kind}' where '{wanted}' was due")
        return value


@contextmanager
def member(title: str, open_end: Callable[..., Any], *arguments: Any) -> Iterator[Member]:
    """A process that opens an end with `open_end(*arguments)`; gone when the block ends."""
    near, far = _SPAWN.Pipe()
    process = _SPAWN.Process(target=serve, args=(far, open_end, arguments), daemon=True)
    process.start()
    far.close()
    try:
        yield Member(process, near, title)
    finally:
        try:
            near.send((_STOP, ()))
        except OSError:
            pass  # it is gone already
        process.join(_STOP_S if _is_idle(near) else 0)
        if process.is_alive():
            process.kill()
        process.join()
        process.close()
        near.close()


def _is_idle(connection: Connection) -> bool:
    """Whether the end of the stream comes at once: the process took the order to stop."""
    try:
        return connection.poll(_STOP_S / 5) and connection.recv()[0] == _STOP
    except (EOFError, OSError):
        return True


def serve(connection: Connection, open_end: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """What a member's process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard's goes to all; the parent decides
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        end = open_end(*arguments)
        connection.send((_READY, None))
        while True:
            order, given = connection.recv()
            if order == _STOP:
                end.close()
                connection.send((_STOP, None))
                return
            connection.send((_BEGUN, None))
            connection.send((_DONE, order(end, *given)))
    except EOFError:
        return  # nobody is left to play for
    except BaseException as error:
        connection.send((_FAILED, f"{type(error).__name__}: {error}"))
        raise  # multiprocessing prints it
