# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Requests: from an id and a body to what the handler returned, by one call.

Stands on the sender, the table of requests and the handover. A request to an agent of the own process
lies in shared memory like any other, but rings no bell: the asker's own turn hands the inbox out, for
a millisecond of each turn of the loop, and often has the answer at the end of the call. Until the
loop's next turn, which empties the inbox once more, nobody else needs to ring either.
"""

cimport cython
from cpython.contextvars cimport PyContext_Enter, PyContext_Exit
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._awaited cimport Awaited
from ultrafast.core._delivery cimport Handover, monotonic_ns
from ultrafast.core._message cimport HELD, Message
from ultrafast.core._receiver cimport Receiver
from ultrafast.core._region cimport can_write
from ultrafast.core._requests cimport Asked, Requests
from ultrafast.core._sender cimport Sender
from ultrafast.core._steps cimport Steps, stepped

cdef enum:
    # As long as the loop's own turn at the inbox. A turn finds cold what it needs, and takes as long as
    # some ten requests: who asks again and again is to meet it seldom.
    TURN_NS = 1000000
    TIMEOUT_NS_MAX = 0x3fffffffffffffff


@cython.final
cdef class Asker:
    """Asks agents in the name of a process.

    Parameters
    ----------
    sender, receiver, handover, requests : Sender, Receiver, Handover, Requests
        This process's; the receiver is its inbox's.
    empty : callable
        Empties the inbox, and has the loop sleep until something comes.
    went_wrong : callable
        Gets an exception that came out of handing messages out, to be raised elsewhere.
    read : callable
        Makes a value of an answer, or raises what it says; it releases it.
    answers, latency : int
        The kind of answers; the histogram of times to the answer.
    """

    def __cinit__(self, Sender sender not None, Receiver receiver not None,
                  Handover handover not None, Requests requests not None, empty, went_wrong, read,
                  uint8_t answers, uint32_t latency):
        self._sender, self._receiver = sender, receiver
        self._handover, self._requests = handover, requests
        self._empty, self._went_wrong, self._read = empty, went_wrong, read
        self._answers, self._latency = answers, latency

    def run_on(self, loop, context):
        """Say which loop who asks waits in, and the context to hand messages out in."""
        self._loop, self._next_turn, self._context = loop, loop.call_soon, context

    def wait_by(self, wait, again):
        """Say how to wait.

        Parameters
        ----------
        wait : callable
            Makes a coroutine that gives what a request has for an answer, of: its future, its
            number, when it was sent, sender, receiver, priority, timeout_s, kind.
        again : callable
            Makes one that sends it again until it is accepted, and waits, of: when that was tried
            first, sender, receiver, body, priority, timeout_s, extra, kind.
        """
        self._wait, self._again = wait, again

    def request(self, uint64_t sender, uint64_t receiver, body, priority, double timeout_s,
                uint32_t extra=0, uint8_t kind=0):
        """A coroutine that sends a request and gives its answer; the parameters are those of `ask`."""
        cdef Asking made = Asking.__new__(Asking)
        made._by, made._body, made._priority, made._timeout_s = self, body, priority, timeout_s
        made._sender, made._receiver, made._extra, made._kind = sender, receiver, extra, kind
        made._made = True
        return made

    def ask(self, uint64_t sender, uint64_t receiver, body, priority, double timeout_s,
            uint32_t extra=0, uint8_t kind=0, uint64_t sent_ns=0):
        """Send a request.

        Parameters
        ----------
        sender, receiver : int
            Agent ids; sender 0 for none.
        body : object
        priority : str or int
        timeout_s : float
            How long the answer is waited for.
        extra, kind : int
            Of the message.
        sent_ns : int
            The intended send time; now, when 0.

        Returns
        -------
        (bool, object, int) or None
            Whether the answer is there; then what it says, otherwise a Future of its message, or
            `TimeoutError`; and the number of the request. None: it was refused.

        Raises
        ------
        AgentGone, MessageTooBig
            And what the sender's encoder raises: nothing was sent. What an answer carries of an
            error.
        """
        cdef uint64_t number = 0
        cdef uint64_t begun = 0
        cdef Asked asked = self._ask(sender, receiver, body, priority, timeout_s, extra, kind, sent_ns,
                                     &number, &begun)
        if asked is None:
            return None
        if asked.told:
            return True, asked.value, number
        if asked.message is not None:
            return True, self._value(asked.message, sent_ns if sent_ns != 0 else begun), number
        return False, asked.future, number

    cdef Asked _ask(self, uint64_t sender, uint64_t receiver, object body, object priority,
                    double timeout_s, uint32_t extra, uint8_t kind, uint64_t sent_ns,
                    uint64_t *number, uint64_t *begun_ns):
        cdef Sender by = self._sender
        cdef uint64_t now = monotonic_ns()
        cdef uint64_t until
        cdef uint32_t lane = by._lane(priority)
        cdef uint32_t worker = 0
        cdef uint32_t handle = 0
        cdef double limit = timeout_s * 1e9
        cdef uint8_t codec = 0
        cdef Asked asked
        cdef bint here = False
        cdef bint near
        cdef Awaited answer
        cdef _c.uf_message *head
        begun_ns[0] = now
        if self._loop is None:
            raise RuntimeError("requests are made once the endpoint has been started")
        payload = by._bodies._payload(body, &codec)
        can_write(by.queues.region)
        if by._route(receiver, &worker) != _c.UF_OK:
            return None
        if by._fill(payload, codec, lane, sender, receiver, sent_ns if sent_ns != 0 else now, extra,
                    by._traced(), &handle) != _c.UF_OK:
            return None
        head = <_c.uf_message *>_c.uf_pool_block(by.queues._pool, handle)
        head.kind = kind
        head.reply_queue = <uint16_t>(self._receiver.index + 1)
        number[0] = head.correlation
        if worker == self._receiver.index:
            # Awake already: nobody needs to ring. If messages are handed out now, up the stack, that
            # goes on until the inbox is empty; otherwise the turn that `_may_run` asks for sees to it.
            _c.uf_bell_disarm(_c.uf_queue_bell(by.queues._queues, worker))
            here = not self._handover.running and self._may_run(now)
        if limit >= <double>TIMEOUT_NS_MAX:
            limit = <double>TIMEOUT_NS_MAX
        until = now + (<uint64_t>limit if limit > 0 else 0)
        if here:
            asked = self._requests._expect_here(number[0], until)
        else:
            asked = self._requests._expect(number[0], until)
        try:
            if not by._push(receiver, lane, handle, payload, &worker):
                self._requests._forget(number[0])
                return None
        except BaseException:  # raised again: it ended meanwhile, or its queue is damaged
            self._requests._forget(number[0])
            raise
        _c.uf_counter_add(by._metrics, by._sent, 1)
        if here:
            self._run(now)
            if asked.told:
                can_write(by.queues.region)  # a handler may have closed it, or be a forked child
                now = self._handover.now_ns
                _c.uf_hist_record(by._metrics, self._latency,
                                  now - begun_ns[0] if now > begun_ns[0] else 0)
                return asked
            if asked.message is not None:
                return asked
            self._requests._settle()
        # Who asks somebody in another process goes on as soon as a message from there is handed out;
        # so does who asks here while messages are handed out, once: at the loop's next turn it has a
        # turn of its own, which answers sooner. Otherwise the turn is over: the loop is to turn
        # between the two, or they would keep it from all others.
        near = worker == self._receiver.index
        answer = Awaited(
            self._loop, not near or (self._handover.running and not self._requests._near)
        )
        answer.near = near
        asked.future = answer
        return asked

    def value(self, Message answer not None, uint64_t asked_ns):
        """What an answer says, which is released; what it carries of an error is raised."""
        return self._value(answer, asked_ns)

    cdef object _value(self, Message answer, uint64_t asked_ns):
        cdef uint64_t now = monotonic_ns()
        can_write(self._sender.queues.region)
        _c.uf_hist_record(
            self._sender._metrics, self._latency, now - asked_ns if now > asked_ns else 0
        )
        if (
            answer.kind != self._answers or answer.codec != self._sender._bodies.codec
            or answer._hold != HELD or self._sender._bodies._read is None
        ):
            return self._read(answer)
        try:
            value = self._sender._bodies._read(answer)
        except Exception:  # not swallowed: it is read once more, the ordinary way
            return self._read(answer)  # raises what an asker is to get
        answer._let_go()
        return value

    cdef bint _may_run(self, uint64_t now_ns) except *:
        """Whether there is time left to hand messages out in this turn of the loop.

        Whatever the answer: at the next turn the inbox is emptied.
        """
        if self._until_ns == 0:
            self._next_turn(self._turned, context=self._context)
            self._until_ns = now_ns + TURN_NS
            return True
        return now_ns < self._until_ns

    def _turned(self):
        self._until_ns = 0
        if not self._handover.stopped:
            self._empty()

    cdef int _run(self, uint64_t now_ns) except -1:
        """Hand the inbox out here and now, as a turn of the loop would."""
        PyContext_Enter(self._context)
        self._handover.stirred = False
        try:
            self._handover._run(self._receiver, self._until_ns, now_ns)
        except BaseException as error:
            # Of an agent that ends the process, or of a damaged queue: not the asker's to hear.
            self._went_wrong(error)
        finally:
            PyContext_Exit(self._context)
        if self._handover.stirred:
            # Somebody else waits for the loop to turn: the next asker waits, too.
            self._until_ns = 1
        return 0


@cython.final
cdef class Asking(Steps):
    """A request, as a coroutine: sent when it is first awaited, and ended with its answer.

    Where the answer is there at the end of the call, nothing was waited for. Made by
    `Asker.request`.
    """

    cdef object _begin(self, bint *ended):
        cdef Asker by = self._by
        cdef Asked asked
        cdef uint64_t number = 0
        cdef uint64_t begun = 0
        asked = by._ask(self._sender, self._receiver, self._body, self._priority, self._timeout_s,
                        self._extra, self._kind, 0, &number, &begun)
        if asked is None:
            self._rest = by._again(begun, self._sender, self._receiver, self._body, self._priority,
                                   self._timeout_s, self._extra, self._kind)
        elif asked.told:
            ended[0] = True
            return asked.value
        elif asked.message is not None:
            ended[0] = True
            return by._value(asked.message, begun)
        else:
            self._rest = by._wait(asked.future, number, begun, self._sender, self._receiver,
                                  self._priority, self._timeout_s, self._kind)
        self._body = None
        return None

    cdef object _unawaited(self):
        return f"a request to agent {self._receiver:#x} was never awaited, and not sent"


stepped(Asking)
