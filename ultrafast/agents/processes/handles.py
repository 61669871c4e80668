"""`WorkerProcess`: a worker's process, whether this one started it or found it; `find` finds it.

Stands on pidfds, which tell of a death once and for all: a pid that is given again fools nobody who
has one. Says nothing of what the process is told.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess

from ultrafast.core import Region
from ultrafast.core._region import PHASE_LIVE
from ultrafast.core.answers import OwnerInfo

__all__ = ["WorkerProcess", "find", "is_same"]

_let_go: list[subprocess.Popen[bytes]] = []


class WorkerProcess:
    """A process, and how to end it and learn of its end.

    Parameters
    ----------
    pid : int
    pidfd : int
        Of it; closed by `close`. Readable once it has ended.
    child : Popen, optional
        Where this process started it; then its status is known.
    """

    def __init__(self, pid: int, pidfd: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._child = child

    @property
    def is_ours(self) -> bool:
        """Whether this process started it."""
        return self._child is not None

    def has_ended(self) -> bool:
        """Whether it has; never waits."""
        if self._child is not None:
            return self._child.poll() is not None
        if self.pidfd < 0:
            return True  # whoever closed it knew
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(0))

    def cause(self) -> str:
        """How one ended that has ended, as far as this process can know."""
        if self._child is None:
            return "unknown: another process started it"
        code = self._child.wait()
        return f"signal {-code}" if code < 0 else f"status {code}"

    def kill(self) -> None:
        """SIGKILL; nothing where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def wait(self, timeout_s: float) -> None:
        """Wait for the end of one that was killed, and have nothing left of it."""
        if self._child is not None:
            self._child.wait(timeout_s)

    def close(self) -> None:
        """Let go of it, alive or not. May be called twice."""
        pidfd, self.pidfd = self.pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)
        if not self.has_ended() and self._child is not None:
            # A child stays one: its end is waited for when the next is let go.
            _let_go[:] = [each for each in _let_go if each.poll() is None]
            _let_go.append(self._child)


def is_same(region: Region, owner: OwnerInfo) -> bool:
    """Whether the process that a slot told of still lives and has it."""
    now = region.owner(owner.slot)
    same = now.phase == PHASE_LIVE and now.incarnation == owner.incarnation
    return same and region.alive(owner.slot)


def find(region: Region, owner: OwnerInfo) -> WorkerProcess | None:
    """The process that has a slot; None where it has died.

    Its pid names it for certain: it held the slot's lock before the pidfd was opened, and still
    does afterwards.

    Raises
    ------
    OSError
        The operating system gives no pidfd.
    """
    try:
        pidfd = os.pidfd_open(owner.pid)
    except ProcessLookupError:
        return None
    if is_same(region, owner):
        return WorkerProcess(owner.pid, pidfd)
    os.close(pidfd)
    return None
