from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ultrafast.core._correlations cimport Correlations
from ultrafast.core._loan cimport Loan
from ultrafast.core._metrics cimport Metrics
from ultrafast.core._queue cimport Queues
from ultrafast.core._waiting cimport Spin

cdef class PlainSender:
    cdef Queues _queues                # strong; None before `_open`
    cdef Metrics _metrics              # strong
    cdef Correlations _numbers         # strong; this process's, shared with its other senders
    cdef readonly uint32_t index       # of its queue
    cdef readonly uint64_t opening     # its own, from `Queues.enter`; 0: not asked for
    cdef uint32_t _lane                # of what is put without a priority
    cdef uint8_t _kind
    cdef uint8_t _raw                  # the codec of bytes as they are
    cdef uint8_t _view                 # the codec of lent bytes
    cdef uint32_t _sent                # counters
    cdef uint32_t _refused
    cdef Py_ssize_t _largest           # bytes that a message can carry
    cdef Spin _spin
    cdef dict _modules                 # sys.modules
    cdef object _trace                 # gives the caller's, once OpenTelemetry is imported

    cdef bytes _traced(self)
    cdef int _usable(self) except -1
    cdef Loan _loan_within(self, uint32_t nbytes, object timeout_s)
    cdef uint32_t _spare(self) except? 1
    cdef bint _counted(self, int status) noexcept
    cdef int _block(self, object payload, int codec, uint32_t lane, uint32_t ttl_ms,
                    uint64_t sender, int64_t now, bytes trace, uint32_t *handle) except? -1
    cdef int _push(self, uint32_t lane, uint32_t *handles, uint32_t count) except? -1
    cdef int _one(self, object payload, int codec, uint32_t lane, uint32_t ttl_ms,
                  uint64_t sender) except? -1
    cdef tuple _plain(self, object bodies)
    cdef Py_ssize_t _some(self, tuple payloads, tuple codecs, Py_ssize_t start, uint32_t lane,
                          uint32_t ttl_ms, uint64_t sender, int *why) except -1
    cdef int _await_room(self, uint32_t lane, int why, int64_t until, int64_t *pause) except -1
