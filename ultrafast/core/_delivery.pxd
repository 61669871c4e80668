from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._message cimport Message
from ultrafast.core._region cimport Region

cdef class Seat:
    cdef readonly object agent         # has `on_message`
    cdef readonly uint64_t id
    cdef readonly uint32_t slot        # of its record
    cdef public bint busy              # not now: whoever else gets messages decides

cdef class Incoming:
    cdef Message _message
    cdef object _body
    cdef bint _read                    # `_body` holds what the payload says
    cdef Handover _by

    cdef Message _of(self)

cdef class Handover:
    cdef readonly Region region        # strong: the mapping outlives every door onto it
    cdef _c.uf_agents *_agents         # borrowed from `region`, as the metrics
    cdef _c.uf_metrics *_metrics
    cdef dict _seats                   # id -> Seat; the host's own, read at each message
    cdef type _incoming                # Incoming, or a class of it without fields
    cdef object _decode
    cdef object _other
    cdef object _ended
    cdef object _raised
    cdef Incoming _spare               # one that nobody else has, to be used again; or None
    cdef list _batch
    cdef Py_ssize_t _at                # the first of the batch not yet handed out
    cdef uint8_t _kind
    cdef uint8_t _raw                  # the codec of bytes as they are
    cdef uint32_t _delivered           # counters
    cdef uint32_t _handled
    cdef uint32_t _near                # histograms
    cdef uint32_t _far

    cdef Incoming _of(self, Message message)
    cdef int _plain(self, Seat seat, Message message, uint64_t now_ns) except -1
