from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._bodies cimport Bodies
from ultrafast.core._message cimport Message
from ultrafast.core._queue cimport Queues
from ultrafast.core._receiver cimport Receiver
from ultrafast.core._region cimport Region
from ultrafast.core._requests cimport Requests
from ultrafast.core._walkers cimport Walkers

cdef enum Ran:
    SOME_LEFT = 0                      # the time came while messages of a batch were left
    TIME_OVER = 1                      # the time came after a batch
    RAN_EMPTY = 2
    ANSWERED = 3                       # who waits right here has its answer

cdef uint64_t monotonic_ns() noexcept nogil

cdef class Seat:
    cdef public object agent           # has `on_message`; its host gives it another after a failure
    cdef readonly uint64_t id
    cdef readonly uint32_t slot        # of its record
    cdef public bint busy              # not now: whoever else gets messages decides
    # What its host keeps here: in fields, so that nothing is to be set when somebody sits down. The
    # door counts a first step as running, and tells of those that fell or are to stop.
    cdef public bint stopping
    cdef public uint32_t running
    cdef public uint32_t limit
    cdef public object mailbox
    cdef public object markers
    cdef public object subscriptions
    cdef public object timers
    cdef public object fallen

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
    cdef list _nothing                 # always empty; `_batch` when all is handed out
    cdef Py_ssize_t _at                # the first of the batch not yet handed out
    cdef uint8_t _kind
    cdef uint8_t _raw                  # the codec of bytes as they are
    cdef uint32_t _delivered           # counters
    cdef uint32_t _handled
    cdef uint32_t _near                # histograms
    cdef uint32_t _far
    # Answering, and being answered; None until `answer_by`.
    cdef Walkers _walkers              # take first steps of handlers' coroutines; or None
    cdef object _rest
    cdef Queues _queues
    cdef Requests _requests
    cdef Bodies _bodies
    cdef uint8_t _reply                # kinds of answers
    cdef uint8_t _error
    cdef uint32_t _reply_lane
    cdef uint32_t _replies             # a counter
    cdef uint32_t _home                # the queue that this process's answers come by
    # Of the run.
    cdef bint running                  # somebody hands out right now, perhaps up the stack
    cdef public bint stopped           # take no more
    cdef readonly uint64_t filled_ns   # when a run first found messages; 0: it found none
    cdef uint64_t now_ns               # when a run last looked at the clock
    cdef bint stirred                  # somebody was given what only the loop can go on with
    cdef uint32_t _most                # messages to take at once, by how fast they are handled

    cdef Ran _run(self, Receiver receiver, uint64_t until_ns, uint64_t now_ns) except *
    cdef bint _hand_out(self, uint64_t until_ns) except *
    cdef int _load(self, list batch) except -1
    cdef bint _answer(self, Message message, object outcome, uint64_t now_ns) except *
    cdef Incoming _of(self, Message message)
    cdef object _body_of(self, Message message)
    cdef int _call(self, Seat seat, Message message, uint64_t now_ns) except -1
    cdef int _plain(self, Seat seat, Message message, uint64_t now_ns) except -1
