from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._queue cimport Queues

cdef enum Hold:
    HELD = 0
    GOING = 1                          # released, but views live
    GONE = 2                           # given back or sent on

cdef class Message:
    cdef Queues _queues                # strong: the block is in its region's mapping
    cdef const unsigned char *_data    # the payload in the block; valid while not GONE
    cdef Hold _hold
    cdef bint _damaged                 # its head claims more than its block has, or shares nothing
    cdef const unsigned char *_note    # of a reference: what goes with it besides
    cdef uint32_t _note_bytes
    cdef Py_ssize_t _views
    # A copy of the head, taken once: what another process writes there later is not seen.
    cdef readonly uint32_t handle
    cdef readonly uint32_t nbytes
    cdef readonly uint32_t queue       # it was taken from
    cdef readonly uint32_t extra
    cdef readonly uint8_t kind
    cdef readonly uint8_t lane
    cdef readonly uint8_t codec
    cdef readonly uint8_t attempt
    cdef readonly uint16_t flags
    cdef readonly uint16_t reply_queue
    cdef readonly uint64_t sender
    cdef readonly uint64_t receiver
    cdef readonly uint64_t correlation
    cdef readonly uint64_t sent_ns

    cdef void _look(self, _c.uf_message *head) noexcept
    cdef int _usable(self) except -1
    cdef void _give(self) noexcept
    cdef void _let_go(self) noexcept


cdef bytes trace_behind(const _c.uf_pool *pool, uint32_t handle)
cdef Message wrap(Queues queues, uint32_t handle, uint32_t queue)
