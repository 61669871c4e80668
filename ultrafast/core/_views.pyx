# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Stored values read where they lie: blocks that views keep.

Stands on csrc/uf_hold.h and uf_table.h. Decodes nothing: what the bytes mean is the store's business.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._entries cimport KEY_WORDS, make_key, subject_of
from ultrafast.core._region cimport WRITABLE, Region, can_read, can_write, wall_ns
from ultrafast.core._status cimport check
from ultrafast.core._table cimport Table


@cython.final
@cython.no_gc  # it refers to a region, which cannot refer to it
cdef class Held:
    """An entry that stays where it is for as long as this lives. Its buffer is the value, read-only."""

    cdef readonly Region region        # strong: the mapping outlives the view
    cdef const unsigned char *_data    # in the block
    cdef uint32_t _handle
    cdef uint32_t _name                # which of the block's holders we are
    cdef bint _held                    # ours to drop
    cdef readonly Py_ssize_t nbytes
    cdef readonly uint32_t tag
    cdef readonly uint64_t stamp
    cdef object __weakref__            # the store finds by it what it keeps already

    def __init__(self):
        raise TypeError("held entries come from hold()")

    def __len__(self):
        return self.nbytes

    def __getbuffer__(self, Py_buffer *view, int flags):
        can_read(self.region)
        PyBuffer_FillInfo(view, self, <void *>self._data, self.nbytes, 1, flags)
        self.region._pins += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.region._pins -= 1

    def __dealloc__(self):
        # A closed region's recovery has it; a forked child has no say.
        if self.region is not None and self._held and self.region._mode == WRITABLE:
            self.region._held -= 1
            _c.uf_hold_drop(&self.region._system.values, self._handle, self._name)

    def __repr__(self):
        return f"<Held {self._handle:#x} {self.nbytes} bytes>"


def stamp_of(Table table not None, str space not None, str key not None):
    """The stamp of an entry; 0 when there is none."""
    cdef uint64_t words[KEY_WORDS]
    cdef _c.uf_key core
    cdef _c.uf_entry entry
    can_read(table.region)
    make_key(table._table, space, key, words, &core)
    cdef int status = _c.uf_table_get(table._table, &core, wall_ns(), NULL, 0, &entry)
    if status == _c.UF_MISSING:
        return 0
    if status != _c.UF_OK and status != _c.UF_TOO_BIG:
        check(status, subject_of(&core))
    return entry.stamp


def hold(Table table not None, str space not None, str key not None):
    """Keep an entry where it is.

    Parameters
    ----------
    table : Table
        Of a region that this process may write to.
    space, key : str

    Returns
    -------
    Held, int or None
        None: there is no entry. `FULL`: as many processes as can keep it already.
    """
    cdef uint64_t words[KEY_WORDS]
    cdef _c.uf_key core
    cdef _c.uf_entry entry
    cdef _c.uf_held held
    can_write(table.region)
    make_key(table._table, space, key, words, &core)
    cdef int status = _c.uf_table_hold(table._table, &core, wall_ns(), &held, &entry)
    if status == _c.UF_MISSING:
        return None
    if status == _c.UF_FULL:
        return status
    check(status, subject_of(&core))
    cdef Held kept = Held.__new__(Held)
    kept.region = table.region
    kept._data = held.data
    kept._handle = held.handle
    kept._name = held.name
    kept._held = True
    kept.nbytes = entry.value_bytes
    kept.tag = entry.tag
    kept.stamp = entry.stamp
    kept.region._held += 1
    return kept
