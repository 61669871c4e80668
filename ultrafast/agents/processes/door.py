"""`Door`: where a worker that lost its manager is found by the next one; `knock` goes there.

A Unix socket in the abstract namespace: nothing of it stays behind, and no path is too long. Its
name is made of the region's secret number and the worker's slot, so that nobody but who can open
the region can tell it beforehand. Both sides look at who the kernel says is at the other end: only
processes of one user talk, the visitor must be the one that has a manager's slot, and whoever
answers the one that has the worker's. Stands on sockets, the control pipe and process slots.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct
import time
from typing import Final

import msgspec

from ultrafast.agents.processes.control import Adopt, Pipe
from ultrafast.agents.processes.handles import is_same
from ultrafast.core import Region
from ultrafast.core._region import ROLE_MANAGER
from ultrafast.core.answers import OwnerInfo

__all__ = ["Door", "Visit", "knock"]

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, user, group
_BACKLOG: Final = 8
# A visitor says at once who it is.
_INTRODUCTION_S: Final = 5.0
_PAUSE_S: Final = 0.05


class Visit(msgspec.Struct, frozen=True):
    """A manager at the door: what it said, and the pipe to it."""

    adopt: Adopt
    pipe: Pipe


class Door:
    """A worker's, open from now on.

    Parameters
    ----------
    region : Region
        Attached by the worker.

    Raises
    ------
    OSError
        The operating system gives none.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(_address(region, region.owner(region.slot)))
            self._socket.listen(_BACKLOG)
        except OSError:
            self._socket.close()
            raise

    def visit(self, timeout_s: float) -> Visit | None:
        """Wait for a manager; None: none came in time. Others are turned away."""
        self._socket.settimeout(timeout_s)
        try:
            visitor, _ = self._socket.accept()
        except TimeoutError:
            return None
        except OSError:  # no descriptor is left, or the visitor has gone again
            time.sleep(_PAUSE_S)
            return None
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            visitor.settimeout(_INTRODUCTION_S)
            pipe = Pipe(visitor)
            adopt = pipe.receive() if _is_own_user(visitor) else None
            if isinstance(adopt, Adopt) and self._is_manager(adopt, _pid_of(visitor)):
                visitor.settimeout(None)
                return Visit(adopt, pipe)
        visitor.close()
        return None

    def _is_manager(self, adopt: Adopt, pid: int) -> bool:
        said = adopt.manager
        if not 0 <= said.slot < self._region.slots:
            return False
        owner = self._region.owner(said.slot)
        true = owner.role == ROLE_MANAGER and owner.incarnation == said.incarnation
        return true and owner.pid == pid and is_same(self._region, owner)


def knock(region: Region, owner: OwnerInfo) -> Pipe | None:
    """A pipe to a worker, when it is at its door and is the process that has the slot."""
    visitor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    visitor.setblocking(False)
    try:
        visitor.connect(_address(region, owner))
        if _is_own_user(visitor) and _pid_of(visitor) == owner.pid:
            return Pipe(visitor)
    except OSError:
        pass  # nobody listens there, or too many wait already
    visitor.close()
    return None


def _address(region: Region, owner: OwnerInfo) -> bytes:
    said = f"{region.id:x} {owner.slot} {owner.incarnation}".encode()
    return b"\0ultrafast-" + hashlib.blake2b(said, digest_size=16).hexdigest().encode()


def _pid_of(sock: socket.socket) -> int:
    pid, _, _ = _peer(sock)
    return pid


def _is_own_user(sock: socket.socket) -> bool:
    _, user, _ = _peer(sock)
    return user == os.geteuid()


def _peer(sock: socket.socket) -> tuple[int, int, int]:
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, group = _CREDENTIALS.unpack(data)
    return pid, user, group
