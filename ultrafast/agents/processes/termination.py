"""`Termination`: SIGTERM ends a system in order, as Ctrl-C does.

Stands on `signal`. It cancels the task that entered the system; what an orderly end is, the manager
knows. Where the program has a say of its own in what SIGTERM means, that stays.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Termination"]


class Termination:
    """From `begin` to `end`, the first SIGTERM cancels the task that called `begin`.

    A second one ends the process at once, as it always does.
    """

    def __init__(self) -> None:
        self._received = False
        self._ours = False
        self._ending = False
        self._pid = 0
        self._task: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        """Take SIGTERM, in the main thread and where nobody else has."""
        self._received = self._ending = False
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._pid = os.getpid()
        self._ours = True
        signal.signal(signal.SIGTERM, self._told)

    def ending(self) -> None:
        """The system ends by now: there is nothing left to cancel."""
        self._ending = True

    def end(self, why: type[BaseException] | None) -> None:
        """Give SIGTERM back; if it came, end the program as it asked for.

        Parameters
        ----------
        why : type, optional
            Of the exception that ended the body; one that is no cancellation goes on.

        Raises
        ------
        SystemExit
            With status 143, which is what shells call an end by this signal.
        """
        if self._ours and os.getpid() == self._pid and not self._received:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._ours = False
        if self._received and why in (None, asyncio.CancelledError):
            raise SystemExit(128 + signal.SIGTERM)

    def _told(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() != self._pid:
            signal.raise_signal(signal.SIGTERM)  # a forked child ends as it would have
            return
        self._received = True
        if not self._ending and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
