"""Names of region files, and the removal of what dead systems left: `remove_leftovers`.

A region is `ultrafast-<name>`; its bells are FIFOs beside it, `ultrafast-<name>.bell.<n>`; while it
is made it is `.ultrafast-<name>.<pid>.<random>.tmp`. Whoever is attached holds a lock of the kernel
on one byte of it (csrc/uf_owner.h), so a region without locks is nobody's.

A region whose settings begin with `adoptable_mark` is kept for the next start under its name, until
the machine starts anew: then its bytes may be older than they look, and it goes as any other.

Stands on the locks of files, the region's door and the errors. Does not mend a region: a system
whose manager alone died is alive, and is left alone.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ultrafast.core._region import Region
from ultrafast.core.filelocks import is_at, open_own, try_lock
from ultrafast.errors import InvalidArgument, RegionError

__all__ = [
    "MARK_BYTES",
    "adoptable_mark",
    "check_name",
    "region_path",
    "remove_leftovers",
    "remove_region",
]

_MARK = b"\xc1adoptable until the end of boot "
MARK_BYTES = len(_MARK) + 36

_PREFIX = "ultrafast-"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BELL = re.compile(r"ultrafast-[A-Za-z0-9._-]{1,64}\.bell\.[0-9]+")
_TEMP = re.compile(r"\.ultrafast-[A-Za-z0-9._-]{1,64}\.([0-9]{1,10})\.[A-Za-z0-9_]+\.tmp")
_TEMP_AGE_S = 60.0


def check_name(name: str) -> str:
    """The name, when a region can have it.

    Raises
    ------
    InvalidArgument
        It is empty, too long, or has other characters.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{name!r} can't be a region's name; use 1 to 64 of the characters A-Z a-z 0-9 . _ -"
        )
    return name


def adoptable_mark() -> bytes:
    """What the settings of a region begin with that is to be adopted by its successor."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return _MARK + file.read().strip().ljust(36)[:36]


def _is_adoptable(path: str) -> bool:
    try:
        with Region.attach(path, read_only=True) as region:
            return region.settings.startswith(adoptable_mark())
    except RegionError:
        return False


def region_path(directory: str | os.PathLike[str], name: str) -> str:
    """Where the region of this name is.

    Parameters
    ----------
    directory : path-like
    name : str

    Returns
    -------
    str

    Raises
    ------
    InvalidArgument
        As `check_name`.
    """
    return os.path.join(directory, _PREFIX + check_name(name))


def remove_region(path: str | os.PathLike[str]) -> list[str]:
    """Remove a region's file and its bells, whether or not somebody still has it mapped.

    Parameters
    ----------
    path : path-like
        As `region_path` gives it.

    Returns
    -------
    list of str
        The paths that were removed; those that were gone already are not among them.

    Raises
    ------
    OSError
        A file is there and can't be removed.
    """
    directory, name = os.path.split(os.fspath(path))
    # The bells first: as long as the region is there, nobody else makes bells of these names.
    paths = [*_bells_of(directory, name), os.fspath(path)]
    return [each for each in paths if _unlink(each)]


def remove_leftovers(directory: str | os.PathLike[str]) -> list[str]:
    """Remove what dead systems left in a directory; those of live ones are not touched.

    Regions that nobody is attached to go with their bells, unless they are to be adopted; so do
    bells whose region is gone and that nobody listens to, and unfinished regions whose maker is
    dead (or, because a pid may have been given again, that are older than a minute). Other users'
    files, links and everything else stay.

    Parameters
    ----------
    directory : path-like

    Returns
    -------
    list of str
        The paths that were removed, sorted.

    Raises
    ------
    OSError
        The directory can't be read, or a file of ours in it can't be removed.

    Notes
    -----
    Threads and processes: any number at once. Waits: never. A region that somebody attaches to at
    this very moment has no live system to belong to, and goes all the same.
    """
    directory = os.fspath(directory)
    removed: list[str] = []
    names = sorted(os.listdir(directory))
    for name in names:
        path = os.path.join(directory, name)
        if temp := _TEMP.fullmatch(name):
            removed += _remove_temp(path, int(temp[1]))
        elif name.startswith(_PREFIX) and _NAME.fullmatch(name.removeprefix(_PREFIX)):
            with _locked(path) as ours:
                if ours and not _is_adoptable(path):
                    removed += remove_region(path)
    for name in names:
        path = os.path.join(directory, name)
        if _BELL.fullmatch(name) and _is_orphan(path) and _unlink(path):
            removed.append(path)
    return sorted(removed)


@contextmanager
def _locked(path: str) -> Iterator[bool]:
    """Whether the file is ours and nobody has a lock on any byte of it; it is locked meanwhile.

    The lock is what keeps two removers apart: one that has it knows that the path stays the file it
    looked at until it has unlinked it, for a region's name is only taken where there is none.
    """
    fd = open_own(path)
    if fd is None:
        yield False  # gone, a link, or another user's
        return
    try:
        yield try_lock(fd, 0, 0) and is_at(fd, path)
    finally:
        os.close(fd)  # and with it the lock


def _remove_temp(path: str, pid: int) -> list[str]:
    # Judged before it is locked: a living maker may be about to take its own lock.
    if _is_running(pid) and _age_s(path) <= _TEMP_AGE_S:
        return []
    with _locked(path) as ours:
        return [path] if ours and _unlink(path) else []


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _age_s(path: str) -> float:
    try:
        return time.time() - os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _bells_of(directory: str, name: str) -> list[str]:
    bell = re.compile(re.escape(name) + r"\.bell\.[0-9]+")
    paths = [
        os.path.join(directory, each)
        for each in os.listdir(directory or ".")
        if bell.fullmatch(each)
    ]
    return sorted(path for path in paths if _is_own_pipe(path))


def _is_own_pipe(path: str) -> bool:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISFIFO(status.st_mode) and status.st_uid == os.geteuid()


def _is_orphan(bell: str) -> bool:
    """Whether a bell's region is gone, and no process has the bell open."""
    region = bell[: bell.rindex(".bell.")]
    if os.path.lexists(region) or not _is_own_pipe(bell):
        return False
    try:
        os.close(os.open(bell, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.ENXIO  # nobody reads
    return False


def _unlink(path: str) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True
