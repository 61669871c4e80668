# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Statuses of the core, and the one place where a status becomes an exception.

Stands on `ultrafast.errors`, whose classes carry the statuses. Does not decide which statuses are
ordinary answers: each door does, before it asks here.
"""

from ultrafast.core cimport _c

from ultrafast import errors as _errors

OK = _c.UF_OK
FULL = _c.UF_FULL
EMPTY = _c.UF_EMPTY
MISSING = _c.UF_MISSING
EXISTS = _c.UF_EXISTS
NO_BLOCK = _c.UF_NO_BLOCK
TOO_BIG = _c.UF_TOO_BIG
STALE = _c.UF_STALE
BUSY = _c.UF_BUSY
CORRUPT = _c.UF_CORRUPT
NOT_REGION = _c.UF_NOT_REGION
LAYOUT = _c.UF_LAYOUT
TRUNCATED = _c.UF_TRUNCATED
NO_SPACE = _c.UF_NO_SPACE
DENIED = _c.UF_DENIED
NO_REGION = _c.UF_NO_REGION
NO_SLOT = _c.UF_NO_SLOT
INVALID = _c.UF_INVALID
TIMEOUT = _c.UF_TIMEOUT
INTERRUPTED = _c.UF_INTERRUPTED
SYSTEM = _c.UF_SYSTEM
CLOSED = _c.UF_CLOSED
READ_ONLY = _c.UF_READ_ONLY
NO_AGENT_SLOT = _c.UF_NO_AGENT_SLOT
STORE_FULL = _c.UF_STORE_FULL
DELETED = _c.UF_DELETED


def sentence(int status):
    """The sentence of a status, as csrc/uf_status.h has it."""
    return _c.uf_status_sentence(status).decode("ascii")


def name(int status):
    """The name of a status without its prefix: 'FULL'."""
    return _c.uf_status_name(status).decode("ascii")


def error(int status, subject=None):
    """The exception for a status: its class's, saying the sentence and what it is about.

    Parameters
    ----------
    status : int
        A negative status of the core.
    subject : str, optional
        What the call was about, with its numbers.

    Returns
    -------
    UltrafastError
        Not raised.
    """
    text = sentence(status)
    if subject is not None:
        text = f"{subject}: {text}"
    if status not in _CLASSES:
        return _errors.RegionCorrupt(f"{text} ({status})")
    return _CLASSES[status](text)


cdef int check(int status, object subject=None) except? -1:
    if status >= 0:
        return status
    raise error(status, subject)


def _classes():
    """Status -> class, from the classes that carry one in their own body."""
    table = {}
    for each in vars(_errors).values():
        if isinstance(each, type) and isinstance(each.__dict__.get("status"), int):
            table[each.status] = each
    return table


_CLASSES = _classes()
