from libc.stdint cimport uint32_t

from ultrafast.core cimport _c
from ultrafast.core._queue cimport Queues

cdef class Departure:
    cdef Queues _queues                # strong
    cdef readonly uint32_t index       # of the inbox
    cdef readonly uint32_t on_way      # processes that the last look was kept waiting by
    cdef _c.uf_departure _departure    # its `seen` is ours, freed here
