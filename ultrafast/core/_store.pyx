# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""The store's calls of every day, and a namespace's, as one step into the core each.

Stands on the table's door. What does not go at once (no room, numbers beyond 64 bits, times to live)
is for the subclass: `_late` and `_end`, and `_incr`; so are the errors of those.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._entries cimport (
    KEY_WORDS, SHORT_WORDS, TAG_CODEC, TAG_FLOAT, TAG_INT, make_key, make_short_key
)
from ultrafast.core._table cimport GONE, NEEDS_CODEC, Table

from ultrafast import errors

cdef enum:
    AHEAD = 32                  # keys of a batch whose entries are brought near together
    INCR_TRIES = 10000          # each means that another's write succeeded

cdef object ABSENT = object()


# Of some keys that are read or written next: made, and on their way from memory.
cdef struct Ahead:
    _c.uf_key core[AHEAD]
    bint is_short[AHEAD]
    uint64_t words[AHEAD * SHORT_WORDS]


cdef int look_ahead(Ahead *ahead, Table table, str namespace, list keys, Py_ssize_t at,
                    Py_ssize_t count) except -1:
    """Make keys[at : at + count]; begin to fetch first their buckets, then their blocks."""
    cdef Py_ssize_t i
    for i in range(count):
        ahead.is_short[i] = make_short_key(
            table._table, namespace, <str?>keys[at + i], &ahead.words[i * SHORT_WORDS],
            &ahead.core[i]
        )
        if ahead.is_short[i]:
            _c.uf_table_near(table._table, ahead.core[i].hash)
    for i in range(count):
        if ahead.is_short[i]:
            _c.uf_table_nearer(table._table, ahead.core[i].hash)
    return 0


cdef class StoreDoor:
    """Reads and writes of one store."""

    def _join(self, Table table not None, encode not None):
        """Use this table; `encode(value)` gives the bytes of what the table keeps no other way."""
        self._shelf = table
        self._encode = encode

    cdef int _put_encoded(self, const _c.uf_key *core, object value, _c.uf_entry *entry) except? -1:
        cdef Py_buffer view
        cdef int status
        data, codec = self._encode(value)
        entry.tag = TAG_CODEC + codec
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            status = self._shelf._write(core, view.buf, view.len, _c.UF_SET_ANY, entry)
        finally:
            PyBuffer_Release(&view)
        return status

    cdef bint _put(self, str namespace, str key, const _c.uf_key *core, object value,
                   uint64_t expires_ns) except -1:
        cdef _c.uf_entry entry
        cdef int status
        entry.stamp = 0
        entry.expires_ns = expires_ns
        status = self._shelf._write_native(core, value, _c.UF_SET_ANY, &entry)
        if status == NEEDS_CODEC:
            status = self._put_encoded(core, value, &entry)
        if status != _c.UF_OK:
            self._late(namespace, key, value, expires_ns)
        return True

    def get(self, str namespace not None, str key not None, default=None):
        """The value, or `default` when there is none."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        make_key(self._shelf._table, namespace, key, words, &core)
        return self._shelf._get(&core, default)

    def set(self, str namespace not None, str key not None, value, *, ttl_s=None):
        """Keep a value, in place of an earlier one."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef uint64_t expires_ns = 0 if ttl_s is None else self._end(ttl_s)
        make_key(self._shelf._table, namespace, key, words, &core)
        return self._put(namespace, key, &core, value, expires_ns)

    def contains(self, str namespace not None, str key not None):
        """Whether there is an entry."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        make_key(self._shelf._table, namespace, key, words, &core)
        return self._shelf._has(&core)

    def delete(self, str namespace not None, str key not None):
        """Take an entry away; whether there was one."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        make_key(self._shelf._table, namespace, key, words, &core)
        return self._shelf._delete(&core, 0)

    # --- many at once: what the next ones need is fetched while the first are served

    def get_batch(self, str namespace not None, keys, default=None):
        """The values of these keys, in their order; `default` for those that are missing."""
        cdef Ahead ahead
        cdef list wanted = keys if type(keys) is list else list(keys)
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t count, i
        found = []
        while at < len(wanted):
            count = min(AHEAD, len(wanted) - at)
            look_ahead(&ahead, self._shelf, namespace, wanted, at, count)
            for i in range(count):
                if ahead.is_short[i]:
                    found.append(self._shelf._get(&ahead.core[i], default))
                else:
                    found.append(self.get(namespace, wanted[at + i], default))
            at += count
        return found

    def _set_many(self, str namespace not None, list keys not None, list values not None,
                  uint64_t expires_ns):
        """Whether each was kept, in order: False for no room."""
        cdef Ahead ahead
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t count, i
        done = []
        while at < len(keys):
            count = min(AHEAD, len(keys) - at)
            look_ahead(&ahead, self._shelf, namespace, keys, at, count)
            for i in range(count):
                key, value = keys[at + i], values[at + i]
                try:
                    if ahead.is_short[i]:
                        done.append(self._put(namespace, key, &ahead.core[i], value, expires_ns))
                    else:
                        make_key(self._shelf._table, namespace, key, words, &core)
                        done.append(self._put(namespace, key, &core, value, expires_ns))
                except errors.StoreFull:
                    done.append(False)
            at += count
        return done

    def delete_batch(self, str namespace not None, keys):
        """Take entries away; for each, whether there was one."""
        cdef Ahead ahead
        cdef list wanted = keys if type(keys) is list else list(keys)
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t count, i
        done = []
        while at < len(wanted):
            count = min(AHEAD, len(wanted) - at)
            look_ahead(&ahead, self._shelf, namespace, wanted, at, count)
            for i in range(count):
                if ahead.is_short[i]:
                    done.append(self._shelf._delete(&ahead.core[i], 0))
                else:
                    done.append(self.delete(namespace, wanted[at + i]))
            at += count
        return done

    def incr(self, str namespace not None, str key not None, delta=1, *, ttl_s=None):
        """Add to a number; where there is none, it begins with 0."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef _c.uf_entry entry
        cdef uint32_t mode
        cdef int status
        make_key(self._shelf._table, namespace, key, words, &core)
        for _ in range(INCR_TRIES):
            before = self._shelf._read(&core, &entry)
            mode = _c.UF_SET_STAMP
            if before is GONE:
                before = 0
                mode = _c.UF_SET_NEW
                entry.stamp = 0
                entry.expires_ns = 0
            elif entry.tag != TAG_INT and entry.tag != TAG_FLOAT:
                break
            if ttl_s is not None:
                entry.expires_ns = self._end(ttl_s)
            total = before + delta
            status = self._shelf._write_native(&core, total, mode, &entry)
            if status == _c.UF_OK:
                return total
            if status != _c.UF_EXISTS and status != _c.UF_MISSING:
                break  # no room, or no number of 64 bits any more
        return self._incr(namespace, key, delta, ttl_s)


cdef class NamespaceDoor:
    """Reads and writes of one namespace."""

    def __init__(self, StoreDoor store not None, str name not None):
        self._store = store
        self._shelf = store._shelf
        self.name = name

    def __getitem__(self, key):
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        if not isinstance(key, str):
            raise KeyError(key)
        make_key(self._shelf._table, self.name, <str>key, words, &core)
        value = self._shelf._get(&core, ABSENT)
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __setitem__(self, str key not None, value):
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        make_key(self._shelf._table, self.name, key, words, &core)
        self._store._put(self.name, key, &core, value, 0)

    def __delitem__(self, key):
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        if not isinstance(key, str):
            raise KeyError(key)
        make_key(self._shelf._table, self.name, <str>key, words, &core)
        if not self._shelf._delete(&core, 0):
            raise KeyError(key)

    def __contains__(self, key):
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        if not isinstance(key, str):
            return False
        make_key(self._shelf._table, self.name, <str>key, words, &core)
        return self._shelf._has(&core)

    def __len__(self):
        return self._shelf.count_in(self.name)
