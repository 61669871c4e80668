"""What to say when the operating system refuses: `advice`, and the errors of regions not made.

Stands on the standard library and the statuses. `advice` does not know what was refused: whoever
says so puts it behind that.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil

from ultrafast import errors
from ultrafast.core import _status

__all__ = ["advice", "failure", "no_space"]


def advice(reason: int | None) -> str:
    """The end of a sentence for an errno: the limit that was met, and how to raise it.

    Parameters
    ----------
    reason : int or None
        An errno.

    Returns
    -------
    str
        Beginning with a semicolon; empty where there is nothing to add.
    """
    if reason == errno.EMFILE:
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"; this process may have {allowed} files open: close some, or raise it (ulimit -n)"
    if reason == errno.ENFILE:
        return "; the machine has as many files open as it may: raise it (sysctl fs.file-max)"
    if reason == errno.EAGAIN:
        allowed, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        return f"; this user may have {allowed} processes: end some, or raise it (ulimit -u)"
    return ""


def no_space(folder: str, needed: int, free: int, reason: int) -> errors.RegionNoSpace:
    """The error for a file system that refused the bytes of a region.

    Parameters
    ----------
    folder : str
        Where the region was to be.
    needed, free : int
        Bytes; 0 free where it did not come to asking.
    reason : int
        An errno.
    """
    if free == 0:  # not even a file's name had room
        free = shutil.disk_usage(folder).free
    if free < needed:
        text = (
            f"{folder} has {_mib(free)} free, this region needs {_mib(needed)}: "
            "ask for a smaller one, or for a path elsewhere"
        )
    else:
        text = (
            f"{folder} refused a file of {_mib(needed)}, with {_mib(free)} free: "
            f"{os.strerror(reason)}"
        )
    error = errors.RegionNoSpace(text, free_bytes=free, needed_bytes=needed)
    error.errno = reason
    return error


def failure(status: int, path: object, reason: int) -> errors.UltrafastError:
    """The error for a region that could not be made or attached to.

    Parameters
    ----------
    status : int
        Of the core.
    path : str or bytes
    reason : int
        The errno that the call left.
    """
    if status == _status.EXISTS:
        return errors.RegionExists(f"{path}: there already is a region of this name")
    if status == _status.NO_SLOT:
        return errors.NoSlot(f"{path}: every process slot of the region is taken")
    if status == _status.SYSTEM and reason in (errno.ENOSPC, errno.EDQUOT):
        status = _status.NO_SPACE
    error = _status.error(status, str(path))
    if status in (_status.SYSTEM, _status.NO_SPACE) and isinstance(error, errors.RegionError):
        error = type(error)(f"{error}: {os.strerror(reason)}{advice(reason)}")
        error.errno = reason
    return error


def _mib(number: int) -> str:
    return f"{number / 1048576:.1f} MiB"
