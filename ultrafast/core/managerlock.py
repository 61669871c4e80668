"""`ManagerLock`: who manages a system; one process at a time, and the kernel keeps count.

A lock on the first byte of the region's file, which no process slot has. Its holder may mend,
supervise and end the system; its death gives it up. Stands on the locks of files.
"""

from __future__ import annotations

import os
import weakref

from ultrafast.core.filelocks import is_at, open_own, try_lock

__all__ = ["ManagerLock"]

_FIRST_BYTE = 0

# A forked child has the same open file: it would keep the lock beyond its parent's death.
_held: weakref.WeakSet[ManagerLock] = weakref.WeakSet()


def _close_all() -> None:
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_close_all)


class ManagerLock:
    """The right to manage the system of one region file, until `release`.

    Parameters
    ----------
    path : str
        Of the region. It is opened; `held` is False until `take` answered True.

    Raises
    ------
    FileNotFoundError
        There is no such file of this user; a link is none.
    """

    def __init__(self, path: str) -> None:
        fd = open_own(path)
        if fd is None:
            raise FileNotFoundError(f"{path}: there is no region of this user")
        self._fd = fd
        self._path = path
        self.held = False
        _held.add(self)

    def take(self) -> bool:
        """Take it, if nobody has it: whether it is ours now. Never waits."""
        if not self.held and self._fd >= 0:
            self.held = try_lock(self._fd, _FIRST_BYTE, 1)
        return self.held

    @property
    def is_current(self) -> bool:
        """Whether the path still is the file that is locked."""
        return self._fd >= 0 and is_at(self._fd, self._path)

    def release(self) -> None:
        """Give it up. May be called twice; in a forked child it stays the parent's."""
        fd, self._fd = self._fd, -1
        self.held = False
        if fd >= 0:
            os.close(fd)
