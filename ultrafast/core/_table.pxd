from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._region cimport Region

cdef class Table:
    cdef readonly Region region        # strong: the mapping outlives every door onto it
    cdef _c.uf_table *_table           # borrowed from `region`
    cdef public object decoder         # makes values of the codec's tags; the store sets it

    cdef int _find(self, str space, str key, char *small, _c.uf_entry *entry) except? -1
    cdef bytes _large(self, str space, str key, _c.uf_entry *entry)
    cdef int _write(self, str space, str key, const void *data, Py_ssize_t count, uint32_t mode,
                    _c.uf_entry *entry) except? -1
    cdef int _write_native(self, str space, str key, object value, uint32_t mode,
                           _c.uf_entry *entry) except? -1
