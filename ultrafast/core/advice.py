"""What to do when the operating system refuses: `advice`.

Stands on the standard library. Does not know what was refused: whoever says so puts this behind it.
"""

from __future__ import annotations

import errno
import resource

__all__ = ["advice"]


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
