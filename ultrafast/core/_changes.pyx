# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""The table as bytes, for those who keep a copy of it elsewhere: what changed, and back again.

Stands on csrc/uf_table.h and the table's door. Writers do nothing for it, and do not wait for it: it
compares the slots with what they were. Knows nothing of files.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint64_t

from ultrafast.core cimport _c
from ultrafast.core._entries cimport KEY_WORDS, SMALL, make_key, names_of, subject_of
from ultrafast.core._region cimport can_read
from ultrafast.core._status cimport check
from ultrafast.core._table cimport Table

cdef enum:
    PLACES_PER_BUCKET = 16      # a place is bucket * 16 + slot


@cython.final
cdef class Changes:
    """What changed in a table since it was last looked over.

    Parameters
    ----------
    table : Table
        Read-only is enough. 64 bytes of private memory are taken for each of its buckets.

    Notes
    -----
    Threads: one at a time. Waits: never. Cost: some 15 ns a bucket that did not change.
    """

    def __cinit__(self, Table table not None):
        can_read(table.region)
        self._table = table
        self._cursor = 0
        self._marks = <uint64_t *>PyMem_Calloc(
            _c.uf_table_marks_bytes(table._table) // sizeof(uint64_t), sizeof(uint64_t)
        )
        if self._marks == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self._marks)

    def read(self, Py_ssize_t max=256, uint64_t buckets=4096):
        """The next of the places whose entry is another than it was when it was last read.

        Parameters
        ----------
        max : int, optional
            How many at most.
        buckets : int, optional
            How many buckets are looked at, at most, so that the interpreter's lock is not kept long.

        Returns
        -------
        list of (int, tuple or None), or None
            Place, and its entry as (namespace, key, tag, data, stamp, expires_ns): `data` are the
            value's bytes, whatever its tag. None in place of the tuple: that place is empty now.
            Perhaps an empty list. None in place of the list: all places were looked at, and the
            next call begins again.

        Notes
        -----
        An entry deleted and set again may have another place. So a key can be told at its new place
        before its old place is told empty: keep with each key the place that was told last, and take
        a place's emptiness as the key's end only if it is still that one. A write that was over
        before a round of calls began is told in it. The first round tells everything.
        """
        return self._read(max, buckets, True)

    def look(self, Py_ssize_t max=256, uint64_t buckets=4096):
        """As `read`, but that no value is copied: an entry is (namespace, key, stamp, expires_ns)."""
        return self._read(max, buckets, False)

    cdef object _read(self, Py_ssize_t max, uint64_t buckets, bint values):
        cdef uint64_t words[KEY_WORDS]
        cdef char small[SMALL]
        cdef bytes large = None
        cdef char *out = small if values else NULL
        cdef uint64_t room = SMALL
        cdef _c.uf_entry entry
        cdef const _c.uf_table *table = self._table._table
        cdef uint64_t end
        cdef int status
        can_read(self._table.region)
        if self._cursor >= <uint64_t>table.buckets * PLACES_PER_BUCKET:
            self._cursor = 0
            return None
        end = self._cursor + buckets * PLACES_PER_BUCKET
        found = []
        while len(found) < max:
            status = _c.uf_table_changed(
                table, self._marks, &self._cursor, end, words, out, room, &entry
            )
            if status == _c.UF_EMPTY:
                return found
            if status == _c.UF_TOO_BIG:
                large = PyBytes_FromStringAndSize(NULL, entry.value_bytes)
                out = PyBytes_AS_STRING(large)
                room = entry.value_bytes
                continue
            check(status, "changes")
            if entry.handle == _c.UF_HANDLE_NONE:
                found.append((self._cursor - 1, None))
            else:
                space, key = names_of(<const char *>words, &entry)
                if not values:
                    found.append((self._cursor - 1, (space, key, entry.stamp, entry.expires_ns)))
                    continue
                found.append((self._cursor - 1, (
                    space, key, entry.tag, out[:entry.value_bytes], entry.stamp, entry.expires_ns
                )))
        return found

    def forget(self, uint64_t place):
        """Tell of this place again, whatever it holds: what was told did not get where it should."""
        cdef uint64_t buckets = self._table._table.buckets
        if place >= buckets * PLACES_PER_BUCKET:
            check(_c.UF_INVALID, f"place {place} of {buckets * PLACES_PER_BUCKET}")
        _c.uf_table_forget(self._table._table, self._marks, place)


def restore(Table table not None, entries):
    """Keep entries as `Changes.read` told them.

    Parameters
    ----------
    table : Table
    entries : iterable of (str, str, int, bytes, int)
        Namespace, key, tag, data, expires_ns.

    Returns
    -------
    int
        How many were kept: fewer than there were, where there is no room for the next one.

    Raises
    ------
    InvalidArgument, ValueTooBig, Contended
        Those before it are kept.
    """
    cdef uint64_t words[KEY_WORDS]
    cdef _c.uf_key core
    cdef _c.uf_entry entry
    cdef bytes data
    cdef Py_ssize_t done = 0
    cdef int status
    for space, key, tag, data, expires_ns in entries:
        entry.tag = tag
        entry.stamp = 0
        entry.expires_ns = expires_ns
        make_key(table._table, space, key, words, &core)
        status = table._write(
            &core, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), _c.UF_SET_ANY, &entry
        )
        if status == _c.UF_NO_BLOCK or status == _c.UF_STORE_FULL:
            return done
        if status != _c.UF_OK:
            check(status, subject_of(&core))
        done += 1
    return done
