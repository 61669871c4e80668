from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ultrafast.core._delivery cimport Handover
from ultrafast.core._receiver cimport Receiver
from ultrafast.core._requests cimport Requests
from ultrafast.core._sender cimport Sender

cdef class Asker:
    cdef Sender _sender                # strong, as the next three
    cdef Receiver _receiver            # of this process's inbox
    cdef Handover _handover
    cdef Requests _requests
    cdef object _make_future           # None until the loop runs
    cdef object _context               # in which messages are handed out, as in the loop's own turns
    cdef object _soon                  # has the inbox emptied at the loop's next turn
    cdef object _next_turn             # has something called then
    cdef object _went_wrong            # gets what a handler let through that is to end the process
    cdef object _read                  # makes a value of an answer that is not plain
    cdef object _decode                # of the bytes of a message
    cdef readonly uint64_t number      # of the request that was sent last
    cdef uint64_t _until_ns            # of handing out within callers' turns; 0: a turn begins
    cdef uint8_t _answers              # kind
    cdef uint8_t _plain                # codec that `_decode` reads
    cdef uint32_t _latency             # histogram

    cdef bint _may_run(self, uint64_t now_ns) except *
    cdef int _run(self) except -1
