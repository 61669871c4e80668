from libc.stdint cimport uint64_t

from ultrafast.core cimport _c
from ultrafast.core._kept cimport KEPT, Kept
from ultrafast.core._quick cimport SPACES, Space
from ultrafast.core._table cimport Table

cdef class StoreDoor:
    cdef Table _shelf                  # strong; None before `_join`
    cdef object _encode                # (value) -> (bytes-like, codec)
    cdef Space _spaces[SPACES]         # the namespaces used last, each at its str's place
    cdef Kept _kept[KEPT]              # what was read again and again

    cdef bint _put(self, str namespace, str key, const _c.uf_key *core, object value,
                   uint64_t expires_ns) except -1
    cdef int _put_encoded(self, const _c.uf_key *core, object value, _c.uf_entry *entry) except? -1
    cdef bint _set_one(self, str namespace, object key, object value, uint64_t expires_ns) except -1
    cdef int _here(self, str namespace, Space *space) except -1

cdef class NamespaceDoor:
    cdef StoreDoor _store              # strong
    cdef Table _shelf                  # its table
    cdef Space _space                  # of its name, which `name` keeps
    cdef readonly str name
