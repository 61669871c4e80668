from libc.stdint cimport uint32_t

from ultrafast.core cimport _c
from ultrafast.core._queue cimport Queues
from ultrafast.core._waiting cimport Spin

cdef class Receiver:
    cdef readonly Queues queues        # strong
    cdef readonly uint32_t index       # of its queue
    cdef _c.uf_receiver _receiver      # how long each lane has waited for its share
    cdef Spin _spin

    cdef list _take(self, uint32_t max)
    cdef list _wrap_all(self, int taken, const uint32_t *handles)
