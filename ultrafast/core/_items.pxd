from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._queue cimport Queues

cdef class Items:
    cdef Queues _queues                # strong; None before `_join` and after `_leave`
    cdef _c.uf_receiver _receiver      # on the queue of items
    cdef uint32_t _room                # the queue whose bell rings when there is room again
    cdef int _raw                      # the codec of bytes as they are
    cdef uint64_t _spin_ns             # how long the next wait looks before it sleeps

    cdef int _send(self, Queues queues, object payload, int codec) except? -1
    cdef object _receive(self, Queues queues, uint32_t handle, int *codec)
    cdef int _spin(self, Queues queues, bint for_room) except -1
    cdef int _sleep(self, Queues queues, uint32_t queue, uint32_t armed, double left_s) except -1
