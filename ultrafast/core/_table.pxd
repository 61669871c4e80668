from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._region cimport Region

cdef enum:
    NEEDS_CODEC = 1                    # an answer of `_write_native` beside the statuses

cdef object GONE                       # what `_read` answers for no value, since None is one

cdef class Table:
    cdef readonly Region region        # strong: the mapping outlives every door onto it
    cdef _c.uf_table *_table           # borrowed from `region`
    cdef public object decoder         # makes values of the codec's tags; the store sets it
    cdef public object quick_decoder   # of the first of them, by a shorter way

    cdef object _read(self, const _c.uf_key *key, _c.uf_entry *entry)
    cdef bytes _large(self, const _c.uf_key *key, _c.uf_entry *entry)
    cdef object _get(self, const _c.uf_key *key, object default)
    cdef bint _has(self, const _c.uf_key *key) except -1
    cdef int _write(self, const _c.uf_key *key, const void *data, Py_ssize_t count, uint32_t mode,
                    _c.uf_entry *entry) except? -1
    cdef int _write_native(self, const _c.uf_key *key, object value, uint32_t mode,
                           _c.uf_entry *entry) except? -1
    cdef bint _delete(self, const _c.uf_key *key, uint64_t stamp) except -1
