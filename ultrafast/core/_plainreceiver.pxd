from libc.stdint cimport int64_t, uint8_t, uint32_t

from ultrafast.core cimport _c
from ultrafast.core._metrics cimport Metrics
from ultrafast.core._queue cimport Queues
from ultrafast.core._waiting cimport Spin

cdef enum:
    HELD_MAX = 1024                    # messages that a receiver has taken at a time, at most

cdef class PlainReceiver:
    cdef Queues _queues                # strong; None before `_open` and after `_leave`
    cdef Metrics _metrics              # strong
    cdef _c.uf_receiver _receiver
    cdef uint8_t _kind                 # of messages that are handed out here
    cdef uint8_t _raw                  # the codec of bytes as they are
    cdef int _view                     # the codec of lent bytes
    cdef uint32_t _delivered           # counters
    cdef uint32_t _redelivered
    cdef uint32_t _ahead               # messages that `get` takes at once
    cdef Spin _spin
    # What was taken and not given back: [ _first .. _next ) handed out, [ _next .. _end ) not yet.
    cdef uint32_t _handles[HELD_MAX]
    cdef uint32_t _first
    cdef uint32_t _next
    cdef uint32_t _end
    cdef list _odd                     # Messages of handed out places that are marked ODD, in order
    cdef list _kept                    # Messages that could be neither handed out nor sent back

    cdef int _usable(self) except -1
    cdef int _settle(self) except -1
    cdef bint _wait(self, int64_t until) except -1
    cdef uint32_t _refill(self, uint32_t want) except? 0xFFFFFFFF
    cdef object _take_next(self)
    cdef object _lent(self, uint32_t place)
    cdef object _unusual(self, uint32_t place)
