"""Locks of the kernel on bytes of a region's file, from Python: `try_lock`, and who owns a file.

Open-file-description locks, as csrc/uf_owner.c takes them for process slots: they are its holder's
until its last descriptor is closed, however its process ends. Stands on fcntl. Waits never.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

__all__ = ["is_at", "is_own_file", "open_own", "try_lock"]

# struct flock of 64-bit Linux: type, whence, start, length (0: to the end), pid.
_FLOCK = struct.Struct("hhxxxxqqixxxx")


def open_own(path: str) -> int | None:
    """A descriptor of a file; None where there is none, a link, or another user's.

    Raises
    ------
    OSError
        This process can open no file at all, which says nothing of this one.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return None
    if is_own_file(fd):
        return fd
    os.close(fd)
    return None


def is_own_file(fd: int) -> bool:
    """Whether it is a regular file of this user."""
    status = os.fstat(fd)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def is_at(fd: int, path: str) -> bool:
    """Whether a path still is the file that was opened."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def try_lock(fd: int, start: int, length: int) -> bool:
    """Lock bytes of a file: whether nobody else has a lock on any of them.

    Parameters
    ----------
    fd : int
    start, length : int
        Length 0 is up to the end, wherever that is.
    """
    lock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
