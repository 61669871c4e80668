# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Handing messages to who sits at their receivers' records, and what a handler sees of one.

Stands on csrc/uf_agents.h, csrc/uf_hist.h and csrc/uf_queue.h. Handles the plain case whole: a
message of one kind, come for the first time and for somebody who is free, whose handler returns and
does not wait; and answers, its own and those that come. Anything else it gives to whom its maker
named; it decides nothing about it.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_REFCNT
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from ultrafast.core cimport _c, _py
from ultrafast.core._agents cimport Agents
from ultrafast.core._bodies cimport Bodies, surely_a_value
from ultrafast.core._message cimport HELD, Message
from ultrafast.core._metrics cimport Metrics
from ultrafast.core._pool cimport LOCKED_COPY_BYTES
from ultrafast.core._queue cimport Queues
from ultrafast.core._receiver cimport Receiver
from ultrafast.core._region cimport can_write
from ultrafast.core._requests cimport Requests
from ultrafast.core._sender cimport ORIGIN_BITS
from ultrafast.core._walkers cimport Walkers

cdef enum:
    # Messages taken at once; fewer, where handlers are so slow that a turn ends before a batch
    # does: what was taken waits no longer by its lane.
    BATCH = 64
    ADOPTED = 1024


cdef uint64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef class Seat:
    """A place where messages are handled, one at a time.

    Parameters
    ----------
    agent : object
        Its `on_message` gets an `Incoming`.
    id : int
        Of its record.
    """

    def __init__(self, agent, uint64_t id):
        self.agent = agent
        self.id = id
        self.slot = <uint32_t>(id & ((1 << _c.UF_AGENT_SLOT_BITS) - 1))
        self.busy = False


cdef class Incoming:
    """What a handler sees of a message; made by a `Handover`."""

    def __init__(self):
        raise TypeError("messages come from a queue")

    cdef Message _of(self):
        if self._message is None:
            raise TypeError("this message was not made by a queue's receiver")
        return self._message

    @property
    def sender(self):
        return self._of().sender

    @property
    def receiver(self):
        return self._of().receiver

    @property
    def id(self):
        return self._of().correlation

    @property
    def priority(self):
        return self._of().lane

    @property
    def redelivered(self):
        return (self._of().flags & _c.UF_MESSAGE_REDELIVERED) != 0

    @property
    def sent_ns(self):
        return self._of().sent_ns

    @property
    def wants_answer(self):
        return self._of().reply_queue != 0

    @property
    def trace(self):
        return self._of().trace

    @property
    def body(self):
        """What was sent."""
        cdef Message message
        if not self._read:
            message = self._of()
            if message.codec == self._by._raw and message.nbytes < LOCKED_COPY_BYTES:
                message._usable()
                self._body = PyBytes_FromStringAndSize(<const char *>message._data, message.nbytes)
            else:
                self._body = self._by._body_of(message)
            self._read = True
        return self._body


@cython.final
cdef class Handover:
    """Hands batches of messages out.

    Parameters
    ----------
    agents : Agents
        Where what was handled is counted for each.
    metrics : Metrics
    other : callable
        Gets every message that is not the plain case; it is then the callee's.
    counters, histograms : tuple of int
        Numbers of: messages delivered, messages handled; the latency of those from this process,
        the latency of those from others.
    """

    def __cinit__(self, Agents agents not None, Metrics metrics not None, other,
                  tuple counters not None, tuple histograms not None):
        can_write(agents.region)
        self.region = agents.region
        self._agents = agents._agents
        self._metrics = metrics._metrics
        self._other = other
        self._delivered, self._handled = counters
        self._near, self._far = histograms
        self._seats = {}
        self._incoming = Incoming
        self._batch = self._nothing = []
        self._most = BATCH

    def seat(self, dict seats not None, type incoming not None, uint8_t kind, uint8_t raw, decode,
             ended, raised):
        """Say who sits where, and what becomes of outcomes.

        Parameters
        ----------
        seats : dict of int to Seat
            By id; the caller goes on changing it.
        incoming : type
            `Incoming` or a subclass without fields of its own.
        kind : int
            Of the messages that seats get.
        raw : int
            The codec whose bytes are the body.
        decode : callable
            Makes a body of a payload and a codec.
        ended : callable
            Called with seat, message and outcome where a handler returned what may have to be
            awaited or sent; both are then the callee's.
        raised : callable
            The same with the error of a handler that raised.
        """
        if not issubclass(incoming, Incoming):
            raise TypeError(f"{incoming.__name__} is no Incoming")
        self._seats, self._incoming, self._decode = seats, incoming, decode
        self._kind, self._raw = kind, raw
        self._ended, self._raised = ended, raised
        self._spare = None  # it may be of another type

    def answer_by(self, Queues queues not None, Requests requests not None, Bodies bodies not None,
                  tuple kinds not None, uint32_t home, uint32_t lane, uint32_t replies):
        """Say how to answer, and who waits for answers here.

        Parameters
        ----------
        queues : Queues
        requests : Requests
            Get the answers that come.
        bodies : Bodies
            Makes payloads of what handlers return, and reads what it wrote.
        kinds : tuple of int
            Of answers, and of those that say what went wrong.
        home, lane : int
            The queue that this process's answers come by; the lane that all go by.
        replies : int
            The number of the counter of answers.
        """
        self._queues, self._requests, self._bodies = queues, requests, bodies
        self._reply, self._error = kinds
        self._home, self._reply_lane, self._replies = home, lane, replies

    def walk_by(self, Walkers walkers not None, rest not None):
        """Have handlers' coroutines begun at once; `ended` gets the `Walker` of one that waits.

        `rest` is called with a seat that fell or is to stop, after its handler.
        """
        self._walkers, self._rest = walkers, rest

    def run(self, Receiver receiver not None, uint64_t until_ns):
        """Take messages and hand them out until there are none, or the time has come.

        What a dead receiver left comes first.

        Returns
        -------
        bool
            Whether there are none: the receiver may sleep, once it has armed its bell.
        """
        return self._run(receiver, until_ns, monotonic_ns()) == RAN_EMPTY

    cdef Ran _run(self, Receiver receiver, uint64_t until_ns, uint64_t now_ns) except *:
        cdef list batch
        cdef bint waited_for = self._requests is not None and self._requests._here is not None
        self.filled_ns = 0
        self.now_ns = now_ns  # its caller's: nothing has been done since
        self.running = True
        try:
            while True:
                if self._at < len(self._batch):
                    if not self._hand_out(until_ns):
                        self._most = self._most // 2 if self._most > 1 else 1
                        return SOME_LEFT
                    self.now_ns = monotonic_ns()
                if waited_for and self._requests._here is None:
                    return ANSWERED
                if self.stopped or self.now_ns >= until_ns:
                    return TIME_OVER
                if _c.uf_queue_has_orphans(receiver.queues._queues, receiver.index):
                    batch = receiver.adopt(ADOPTED)
                else:
                    batch = receiver._take(self._most)
                if not batch:
                    return RAN_EMPTY
                if self.filled_ns == 0:
                    self.filled_ns = self.now_ns
                self._most = 2 * self._most if 2 * self._most < BATCH else BATCH
                self._load(batch)
        finally:
            self.running = False

    cdef object _body_of(self, Message message):
        if self._bodies is not None and message.codec == self._bodies.codec:
            try:
                return self._bodies._read(message)
            except Exception:  # not swallowed: it is read once more, the way that says what it is
                pass
        return self._decode(message.payload, message.codec)

    def incoming(self, Message message not None):
        """What a handler sees of a message."""
        return self._of(message)

    cdef Incoming _of(self, Message message):
        cdef Incoming made = self._spare
        cdef type kind
        if made is None:
            kind = self._incoming
            made = <Incoming>kind.__new__(kind)
        else:
            self._spare = None
        made._message = message
        made._by = self
        return made

    @property
    def waiting(self):
        """Messages of the batch that are not handed out yet; they are this process's."""
        return len(self._batch) - self._at

    def has_for(self, ids not None):
        """Whether a message that is not handed out yet is for one of these receivers."""
        cdef Py_ssize_t at
        for at in range(self._at, len(self._batch)):
            if (<Message?>self._batch[at]).receiver in ids:
                return True
        return False

    def call_roll(self, const uint64_t[::1] ids not None):
        """Have those who sit here, and are free, give a sign of life.

        Parameters
        ----------
        ids : buffer of uint64

        Returns
        -------
        int
            How many did.
        list of int
            The other ids.
        """
        cdef uint64_t now = monotonic_ns()
        cdef Py_ssize_t at
        cdef Py_ssize_t answered = 0
        cdef object seat
        can_write(self.region)
        others = []
        for at in range(len(ids)):
            seat = self._seats.get(ids[at])
            if seat is not None and not (<Seat?>seat).busy:
                _c.uf_agent_handled(self._agents, (<Seat>seat).slot, False, now)
                answered += 1
            else:
                others.append(ids[at])
        return answered, others

    def load(self, list batch not None):
        """Take messages to hand out, after those that it has."""
        self._load(batch)

    cdef int _load(self, list batch) except -1:
        if self._at < len(self._batch):
            self._batch += batch
        else:
            self._batch, self._at = batch, 0
        return 0

    def handle(self, Seat seat not None, Message message not None):
        """Have a message of the plain case handled by who has just been seated, and is free.

        Returns
        -------
        bool
            False: it is not the plain case, and still the caller's.
        """
        if seat.busy or message.kind != self._kind or message.extra != 0 or message.flags != 0:
            return False
        self._plain(seat, message, monotonic_ns())
        return True

    def take_back(self):
        """The messages not handed out, which are the caller's again."""
        left = self._batch[self._at:]
        self._batch, self._at = self._nothing, 0
        return left

    def hand_out(self, uint64_t until_ns):
        """Hand the messages out, in order, until none is left or the time has come.

        Parameters
        ----------
        until_ns : int
            CLOCK_MONOTONIC. One message is handed out whatever the time is.

        Returns
        -------
        bool
            Whether none is left.

        Notes
        -----
        An error that `other`, `ended` or `raised` lets through comes out of here; the messages
        behind the one it was about stay to be handed out.
        """
        return self._hand_out(until_ns)

    cdef bint _hand_out(self, uint64_t until_ns) except *:
        cdef Message message
        cdef object seat
        cdef uint64_t now
        cdef bint begun = False
        while self._at < len(self._batch):
            now = monotonic_ns()
            if begun and now >= until_ns:
                return False
            begun = True
            message = <Message?>self._batch[self._at]
            self._at += 1
            if message.kind == self._kind and message.extra == 0 and message.flags == 0:
                seat = self._seats.get(message.receiver)
                if seat is not None and not (<Seat?>seat).busy:
                    self._plain(<Seat>seat, message, now)
                    continue
            elif self._requests is not None and (
                message.kind == self._reply or message.kind == self._error
            ):
                if self._requests._answered(message):
                    self.stirred = True
                continue
            # Those of the plain kind are for one who is built now, or busy: that waits for nothing.
            self.stirred = self.stirred or message.kind != self._kind
            self._other(message)
        self._batch, self._at = self._nothing, 0
        return True

    cdef int _plain(self, Seat seat, Message message, uint64_t now_ns) except -1:
        self._call(seat, message, now_ns)
        if self._walkers is not None and (seat.stopping or seat.fallen is not None):
            self._rest(seat)
        return 0

    cdef int _call(self, Seat seat, Message message, uint64_t now_ns) except -1:
        cdef int64_t taken = <int64_t>(now_ns - message.sent_ns)
        cdef Incoming incoming
        cdef object outcome
        can_write(self.region)
        _c.uf_hist_record(
            self._metrics,
            self._near if message.correlation >> ORIGIN_BITS == self.region._system.self.slot
            else self._far,
            <uint64_t>taken if taken > 0 else 0,
        )
        incoming = self._of(message)
        try:
            outcome = seat.agent.on_message(incoming)
            if self._walkers is not None and _py.is_coroutine(outcome):
                seat.running += 1
                try:
                    outcome = self._walkers._first(outcome)
                finally:
                    seat.running -= 1
        except BaseException as error:
            self._raised(seat, message, error)
            return 0
        if not surely_a_value(outcome):
            self.stirred = True
            self._ended(seat, message, outcome)
            return 0
        can_write(self.region)  # the handler may have closed it, or be a forked child
        if message.reply_queue != 0 and not self._answer(message, outcome, now_ns):
            self._ended(seat, message, outcome)
            return 0
        _c.uf_counter_add(self._metrics, self._delivered, 1)
        _c.uf_counter_add(self._metrics, self._handled, 1)
        _c.uf_agent_handled(self._agents, seat.slot, False, now_ns)
        if message._hold == HELD:
            if message._views != 0:
                message.release()
            else:
                message._give()
        if Py_REFCNT(incoming) == 1 and type(incoming) is self._incoming:
            # The handler did not keep it, and making another one costs more than all else here.
            incoming._message = incoming._body = incoming._by = None
            incoming._read = False
            self._spare = incoming
        return 0

    cdef bint _answer(self, Message message, object outcome, uint64_t now_ns) except *:
        """Send an outcome to who waits for it. False: somebody else is to see to it."""
        cdef uint32_t handle = 0
        cdef uint32_t bell = 0
        cdef uint32_t queue = <uint32_t>message.reply_queue - 1
        cdef _c.uf_message *head
        cdef object payload
        cdef uint8_t codec = 0
        cdef bint sure = False
        if self._queues is None:
            return False
        if (
            queue == self._home and self._requests._here is not None
            and self._requests._here_number == message.correlation
        ):
            # Its asker is up the stack, and dies with us or not at all: no need to send it.
            value = self._bodies._arrived(outcome, &sure)
            can_write(self.region)  # a decoder's own code may have closed it
            if sure:
                self._requests._tell(value)
                _c.uf_counter_add(self._metrics, self._replies, 1)
                return True
        try:
            payload = self._bodies._payload(outcome, &codec)
            if self._queues._take_block(payload, &handle) != _c.UF_OK:
                return False
        except Exception:
            return False  # it will be raised once more where it is accounted for
        can_write(self.region)  # an encoder's own code may have closed it
        head = <_c.uf_message *>_c.uf_pool_block(self._queues._pool, handle)
        head.kind = self._reply
        head.lane = <uint8_t>self._reply_lane
        head.sender = message.receiver
        head.receiver = message.sender
        head.correlation = message.correlation
        head.sent_ns = now_ns
        head.reply_queue = 0
        head.codec = codec
        head.attempt = 0
        head.extra = 0
        if _c.uf_queue_send(
            self._queues._queues, queue, self._reply_lane, &handle, 1, &bell
        ) != 1:
            self._queues._give_back(payload, handle)
            return False
        if bell & 3:
            self.region._ring(queue, bell)
        _c.uf_counter_add(self._metrics, self._replies, 1)
        return True
