from libc.stdint cimport int64_t, uint32_t

from ultrafast.core cimport _c
from ultrafast.core._queue cimport Queues
from ultrafast.core._waiting cimport Spin

cdef class Items:
    cdef Queues _queues                # strong; None before `_join` and after `_leave`
    cdef _c.uf_receiver _receiver      # on the queue of items
    cdef uint32_t _room                # the queue whose bell rings when there is room again
    cdef int _raw                      # the codec of bytes as they are
    cdef Spin _items_spin              # how long the next wait for an item looks before it sleeps
    cdef Spin _room_spin               # the same, for room

    cdef int _send(self, Queues queues, object payload, int codec) except? -1
    cdef object _receive(self, Queues queues, uint32_t handle, int *codec)
    cdef int _sleep(self, Queues queues, uint32_t queue, uint32_t armed, int64_t left_ns) except -1
