# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Requests: from an id and a body to what the handler returned, by two calls.

Stands on the sender, the table of requests and the handover. A request to an agent of the own process
lies in shared memory like any other, but rings no bell: the asker's own turn hands the inbox out, for
half a millisecond of each turn of the loop, and often has the answer at the end of the call.
"""

cimport cython
from cpython.contextvars cimport PyContext_Enter, PyContext_Exit
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._delivery cimport RAN_EMPTY, Handover, monotonic_ns
from ultrafast.core._message cimport HELD, Message
from ultrafast.core._receiver cimport Receiver
from ultrafast.core._region cimport can_write
from ultrafast.core._requests cimport Asked, Requests
from ultrafast.core._sender cimport Sender

cdef enum:
    TURN_NS = 500000
    TIMEOUT_NS_MAX = 0x3fffffffffffffff


@cython.final
cdef class Asker:
    """Asks agents in the name of a process.

    Parameters
    ----------
    sender, receiver, handover, requests : Sender, Receiver, Handover, Requests
        This process's; the receiver is its inbox's.
    soon : callable
        Has the inbox emptied at the loop's next turn.
    went_wrong : callable
        Gets an exception that came out of handing messages out, to be raised elsewhere.
    read : callable
        Makes a value of an answer, or raises what it says; it releases it.
    decode : callable
        Makes a value of the bytes of an answer whose codec is `plain`, or raises.
    answers, plain, latency : int
        The kind of answers; that codec; the histogram of times to the answer.
    """

    def __cinit__(self, Sender sender not None, Receiver receiver not None,
                  Handover handover not None, Requests requests not None, soon, went_wrong, read,
                  decode, uint8_t answers, uint8_t plain, uint32_t latency):
        self._sender, self._receiver = sender, receiver
        self._handover, self._requests = handover, requests
        self._soon, self._went_wrong, self._read, self._decode = soon, went_wrong, read, decode
        self._answers, self._plain, self._latency = answers, plain, latency

    def run_on(self, loop, context):
        """Say which loop's futures to wait for, and the context to hand messages out in."""
        self._make_future, self._next_turn, self._context = (
            loop.create_future, loop.call_soon, context
        )

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
        Message, Future or None
            The answer, if it is there; what will be it, or `TimeoutError`; None: it was refused.

        Raises
        ------
        AgentGone, MessageTooBig
            And what the sender's encoder raises. Nothing was sent.
        """
        cdef uint32_t lane = self._sender._lane(priority)
        cdef uint32_t worker = 0
        cdef uint32_t handle = 0
        cdef uint64_t now, number
        cdef double limit = timeout_s * 1e9
        cdef uint8_t codec
        cdef Asked asked
        cdef bint mine
        cdef _c.uf_message *head
        if self._make_future is None:
            raise RuntimeError("requests are made once the endpoint has been started")
        payload, codec = self._sender._encode(body)
        can_write(self._sender.queues.region)
        if self._sender._route(receiver, &worker) != _c.UF_OK:
            return None
        now = monotonic_ns()
        if self._sender._fill(payload, codec, lane, sender, receiver,
                              sent_ns if sent_ns != 0 else now, extra,
                              self._sender._traced(), &handle) != _c.UF_OK:
            return None
        head = <_c.uf_message *>_c.uf_pool_block(self._sender.queues._pool, handle)
        head.kind = kind
        head.reply_queue = <uint16_t>(self._receiver.index + 1)
        number = self.number = head.correlation
        mine = worker == self._receiver.index
        if mine:
            # Awake already: nobody needs to ring.
            _c.uf_bell_disarm(_c.uf_queue_bell(self._sender.queues._queues, worker))
        if limit >= <double>TIMEOUT_NS_MAX:
            limit = <double>TIMEOUT_NS_MAX
        asked = self._requests._expect(
            number, now + (<uint64_t>limit if limit > 0 else 0)
        )
        try:
            if not self._sender._push(receiver, lane, handle, payload, &worker):
                self._requests.forget(number)
                return None
            _c.uf_counter_add(self._sender._metrics, self._sender._sent, 1)
        except BaseException:  # raised again: it ended meanwhile, or its queue is damaged
            self._requests.forget(number)
            raise
        finally:
            if mine:
                if self._handover.running:
                    pass  # up the stack it goes on until the inbox is empty
                elif self._may_run(now):
                    self._run()
                else:
                    self._soon()
        if asked.message is not None:
            return asked.message
        if asked.future is None:
            asked.future = self._make_future()
        return asked.future

    def value(self, Message answer not None, uint64_t asked_ns):
        """What an answer says, which is released; what it carries of an error is raised."""
        cdef uint64_t now = monotonic_ns()
        can_write(self._sender.queues.region)
        _c.uf_hist_record(
            self._sender._metrics, self._latency, now - asked_ns if now > asked_ns else 0
        )
        if answer.kind != self._answers or answer.codec != self._plain or answer._hold != HELD:
            return self._read(answer)
        try:
            value = self._decode(answer)
        except Exception:  # not swallowed: it is read once more, the ordinary way
            return self._read(answer)  # raises what an asker is to get
        answer.release()
        return value

    cdef bint _may_run(self, uint64_t now_ns) except *:
        """Whether there is time left to hand messages out in this turn of the loop."""
        if self._until_ns == 0:
            self._until_ns = now_ns + TURN_NS
            self._next_turn(self._turned)
            return True
        return now_ns < self._until_ns

    def _turned(self):
        self._until_ns = 0

    cdef int _run(self) except -1:
        """Hand the inbox out here and now, as a turn of the loop would."""
        cdef uint32_t armed
        PyContext_Enter(self._context)
        try:
            if self._handover._run(self._receiver, self._until_ns) != RAN_EMPTY:
                self._soon()
            elif _c.uf_queue_arm(
                self._receiver.queues._queues, self._receiver.index, _c.UF_BELL_PIPE, &armed
            ) != _c.UF_EMPTY:
                self._soon()
        except BaseException as error:
            # Of an agent that ends the process, or of a damaged queue: not the asker's to hear.
            self._soon()
            self._went_wrong(error)
        finally:
            PyContext_Exit(self._context)
        return 0
