from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ultrafast.core._delivery cimport Handover
from ultrafast.core._message cimport Message
from ultrafast.core._receiver cimport Receiver
from ultrafast.core._requests cimport Asked, Requests
from ultrafast.core._sender cimport Sender
from ultrafast.core._steps cimport Steps

cdef class Asker:
    cdef Sender _sender                # strong, as the next three
    cdef Receiver _receiver            # of this process's inbox
    cdef Handover _handover
    cdef Requests _requests
    cdef object _loop                  # None until it runs
    cdef object _context               # in which messages are handed out, as in the loop's own turns
    cdef object _empty                 # empties the inbox, and sleeps
    cdef object _next_turn             # has something called then
    cdef object _went_wrong            # gets what a handler let through that is to end the process
    cdef object _read                  # makes a value of an answer that is not plain
    cdef object _wait                  # makes a coroutine that waits for an answer
    cdef object _again                 # one that tries again what was refused
    cdef uint64_t _until_ns            # of handing out within callers' turns; 0: a turn begins
    cdef uint8_t _answers              # kind
    cdef uint32_t _latency             # histogram

    cdef Asked _ask(self, uint64_t sender, uint64_t receiver, object body, object priority,
                    double timeout_s, uint32_t extra, uint8_t kind, uint64_t sent_ns,
                    uint64_t *number, uint64_t *begun_ns)
    cdef object _value(self, Message answer, uint64_t asked_ns)
    cdef bint _may_run(self, uint64_t now_ns) except *
    cdef int _run(self, uint64_t now_ns) except -1

cdef class Asking(Steps):
    cdef Asker _by
    cdef object _body
    cdef object _priority
    cdef double _timeout_s
    cdef uint64_t _sender
    cdef uint64_t _receiver
    cdef uint32_t _extra
    cdef uint8_t _kind
