from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._bodies cimport Bodies
from ultrafast.core._correlations cimport Correlations
from ultrafast.core._queue cimport Queues
from ultrafast.core._steps cimport Steps

cdef enum:
    # A message's number begins with its maker's process slot, above so many bits.
    ORIGIN_BITS = 54

cdef class Sender:
    cdef readonly Queues queues        # strong
    cdef _c.uf_agents *_agents         # borrowed from the region, as the metrics
    cdef _c.uf_metrics *_metrics
    cdef Correlations _numbers         # strong; this process's, shared with its other senders
    cdef dict _lanes                   # of priorities by name
    cdef object _lane_of
    cdef Bodies _bodies
    cdef dict _modules                 # sys.modules
    cdef Py_ssize_t _modules_then      # how many there were at the last look whether to ask `_trace`
    cdef uint32_t _unlooked            # sends since then
    cdef bint _asks                    # what it showed
    cdef object _trace
    cdef uint8_t _kind
    cdef uint8_t _raw                  # the codec of bytes as they are
    cdef object _again                 # makes a coroutine that tries again what was refused; or None
    cdef uint32_t _sent                # counters
    cdef uint32_t _refused

    cdef object _send(self, uint64_t sender, uint64_t receiver, object body, object priority,
                      uint64_t sent_ns, uint32_t extra)
    cdef uint32_t _lane(self, object priority) except? 0xFFFFFFFF
    cdef bytes _traced(self)
    cdef int _route(self, uint64_t receiver, uint32_t *worker) except? -1
    cdef int _fill(self, object payload, uint8_t codec, uint32_t lane, uint64_t sender,
                   uint64_t receiver, uint64_t sent_ns, uint32_t extra,
                   bytes trace, uint32_t *handle) except? -1
    cdef bint _push(self, uint64_t receiver, uint32_t lane, uint32_t handle, object payload,
                    uint32_t *worker) except -1
    cdef bint _push_run(self, const uint64_t *ids, uint32_t lane, const uint32_t *handles,
                        uint32_t count, list ready, Py_ssize_t begin, list answers) except -1

cdef class Outlet:
    cdef Sender _sender
    cdef uint64_t _agent
    cdef readonly object _agent_id     # the same
    cdef object _ttl_ms_of
    cdef readonly object system        # its maker's, as the next
    cdef readonly object _host

    cdef Sender _sound(self)

cdef class Sending(Steps):
    cdef Sender _by
    cdef object _body
    cdef object _priority
    cdef object _ttl_s
    cdef double _timeout_s
    cdef uint64_t _agent
    cdef uint64_t _receiver
    cdef uint32_t _extra
