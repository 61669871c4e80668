# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Sending to agents: from an id and a body to a block in their worker's queue, in one call.

Stands on csrc/uf_agents.h and csrc/uf_queue.h. Knows no codec but that of bytes, and never waits.
"""

cimport cython
from cpython.bytes cimport PyBytes_CheckExact
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._agents cimport Agents
from ultrafast.core._bodies cimport Bodies
from ultrafast.core._correlations cimport Correlations
from ultrafast.core._metrics cimport Metrics
from ultrafast.core._queue cimport Queues, refused
from ultrafast.core._region cimport can_write
from ultrafast.core._steps cimport Steps, stepped
from ultrafast.core._waiting cimport monotonic_ns

import sys

from ultrafast import errors

ORIGIN_SHIFT = ORIGIN_BITS

cdef enum:
    RUN = 256
    UNLOOKED = 256
    NOWHERE = 0xFFFFFFFF


cdef object gone(uint64_t receiver):
    return errors.AgentGone(f"there is no agent {receiver:#x}: it stopped, failed or never was")


@cython.final
cdef class Sender:
    """Sends messages to agents.

    Parameters
    ----------
    queues, agents, metrics : Queues, Agents, Metrics
        Of one region.
    numbers : Correlations
        This process's.
    kind, raw : int
        Of the messages; of the codec of bytes as they are.
    bodies : Bodies
        Makes payloads of all other bodies.
    lanes : dict of str to int
        Priorities by name.
    lane_of : callable
        The lane of any other priority; it raises for what is none.
    trace : callable
        The trace that this thread is in, as `Queues.send` takes it, or None; asked only when the
        process has imported OpenTelemetry.
    counters : tuple of int
        Numbers of: messages tried to send, messages refused.
    """

    def __cinit__(self, Queues queues not None, Agents agents not None, Metrics metrics not None,
                  Correlations numbers not None, uint8_t kind, uint8_t raw,
                  Bodies bodies not None, dict lanes not None, lane_of, trace, tuple counters not None):
        can_write(queues.region)
        self.queues = queues
        self._agents = agents._agents
        self._metrics = metrics._metrics
        self._numbers = numbers
        self._kind, self._raw = kind, raw
        self._bodies = bodies
        self._modules, self._trace = sys.modules, trace
        self._lanes, self._lane_of = lanes, lane_of
        self._sent, self._refused = counters

    def again_by(self, again):
        """Say how to send what was refused.

        Parameters
        ----------
        again : callable
            Makes a coroutine that gives whether it was accepted, of: sender, receiver, body, and by
            name priority, timeout_s and ttl_s.
        """
        self._again = again

    def send(self, uint64_t sender, uint64_t receiver, body, priority, uint64_t sent_ns=0,
             uint32_t extra=0):
        """Send one message, or be refused at once.

        Parameters
        ----------
        sender, receiver : int
            Agent ids; sender 0 for none.
        body : object
        priority : str or int
        sent_ns : int
            The intended send time; now, when 0.
        extra : int
            Carried beside it.

        Returns
        -------
        bool
            Whether it was accepted; either way it is counted.

        Raises
        ------
        AgentGone, MessageTooBig
            And what `bodies` and `lane_of` raise. Nothing was sent or counted.
        """
        return self._send(sender, receiver, body, priority, sent_ns, extra)

    cdef object _send(self, uint64_t sender, uint64_t receiver, object body, object priority,
                      uint64_t sent_ns, uint32_t extra):
        cdef uint32_t lane = self._lane(priority)
        cdef uint32_t worker = 0
        cdef uint32_t handle = 0
        cdef uint8_t codec = self._raw
        cdef int status
        if not PyBytes_CheckExact(body):
            body = self._bodies._payload(body, &codec)
        can_write(self.queues.region)
        status = self._route(receiver, &worker)
        if status == _c.UF_OK:
            status = self._fill(body, codec, lane, sender, receiver,
                                sent_ns if sent_ns != 0 else monotonic_ns(), extra,
                                self._traced(), &handle)
        if status == _c.UF_OK and self._push(receiver, lane, handle, body, &worker):
            _c.uf_counter_add(self._metrics, self._sent, 1)
            return True
        _c.uf_counter_add(self._metrics, self._sent, 1)
        _c.uf_counter_add(self._metrics, self._refused, 1)
        return False

    def send_many(self, uint64_t sender, items, priority):
        """Send (receiver, body) pairs in order, neighbours of one worker with one look at its bell.

        Parameters
        ----------
        sender : int
        items : sequence of tuple
        priority : str or int

        Returns
        -------
        list of bool
            For each, whether it was accepted. Of the messages of one worker those from the first
            that it refused on are not.

        Raises
        ------
        AgentGone, MessageTooBig
            And what `bodies` raises, for any of them: then none was sent or counted.
        """
        cdef uint32_t lane = self._lane(priority)
        cdef Py_ssize_t count, at, most
        cdef Py_ssize_t begin = 0
        cdef uint32_t handles[RUN]
        cdef uint64_t ids[RUN]
        cdef uint32_t filled = 0
        cdef uint32_t full = 0
        cdef uint32_t current = NOWHERE
        cdef uint32_t *workers
        cdef uint64_t receiver
        cdef uint64_t now = monotonic_ns()
        cdef uint8_t codec
        cdef list answers
        can_write(self.queues.region)
        items = items if isinstance(items, (list, tuple)) else list(items)
        count = len(items)
        # The room of a block of the last class, which is the largest.
        most = _c.uf_pool_room(
            self.queues._pool, ((self.queues._pool.classes - 1) << _c.UF_INDEX_BITS) | 1
        )
        ready = []
        trace = self._traced()
        refusing = set()
        workers = <uint32_t *>PyMem_Malloc((count + 1) * sizeof(uint32_t))
        if workers == NULL:
            raise MemoryError
        try:
            for at in range(count):
                receiver, body = items[at]
                codec = self._raw
                if not PyBytes_CheckExact(body):
                    body = self._bodies._payload(body, &codec)
                if len(body) > most:
                    raise errors.MessageTooBig(
                        f"item {at} is a message of {len(body)} bytes: the largest block has room "
                        f"for {most}"
                    )
                if self._route(receiver, &workers[at]) != _c.UF_OK:
                    workers[at] = NOWHERE
                ready.append((body, codec, receiver))
            answers = [False] * count
            workers[count] = NOWHERE
            # An encoder's own code may have run meanwhile, and closed the region.
            can_write(self.queues.region)
            for at in range(count + 1):
                if filled != 0 and (workers[at] != current or filled == RUN):
                    full, filled = filled, 0  # whatever comes of it, they are no longer held here
                    if not self._push_run(ids, lane, handles, full, ready, begin, answers):
                        refusing.add(current)
                if at == count or workers[at] == NOWHERE or workers[at] in refusing:
                    continue
                if filled == 0:
                    begin, current = at, workers[at]
                body, codec, receiver = ready[at]
                if self._fill(body, codec, lane, sender, receiver, now, 0, trace,
                              &handles[filled]) == _c.UF_OK:
                    ids[filled] = receiver
                    filled += 1
                else:
                    refusing.add(current)
                    workers[at] = NOWHERE
        finally:
            PyMem_Free(workers)
            for full in range(filled):
                self.queues._give_back(ready[begin + full][0], handles[full])
        _c.uf_counter_add(self._metrics, self._sent, <uint64_t>count)
        _c.uf_counter_add(self._metrics, self._refused, <uint64_t>answers.count(False))
        return answers

    cdef uint32_t _lane(self, object priority) except? 0xFFFFFFFF:
        lane = self._lanes.get(priority)
        return self._lane_of(priority) if lane is None else lane

    cdef bytes _traced(self):
        # Importing it brings more modules than this; the count spares most sends the search.
        self._unlooked += 1
        if len(self._modules) != self._modules_then or self._unlooked >= UNLOOKED:
            self._unlooked, self._modules_then = 0, len(self._modules)
            self._asks = "opentelemetry.trace" in self._modules
        return self._trace() if self._asks else None

    cdef int _route(self, uint64_t receiver, uint32_t *worker) except? -1:
        """Where its receiver lives: OK, or FULL when its mailbox is."""
        cdef int status = _c.uf_agent_route(self._agents, receiver, worker)
        if status == _c.UF_STALE:
            raise gone(receiver)
        return status

    cdef int _fill(self, object payload, uint8_t codec, uint32_t lane, uint64_t sender,
                   uint64_t receiver, uint64_t sent_ns, uint32_t extra,
                   bytes trace, uint32_t *handle) except? -1:
        """A block with the message: OK or NO_BLOCK."""
        cdef _c.uf_message *head
        cdef int status = self.queues._take_block(payload, handle, trace)
        if status != _c.UF_OK:
            return status
        head = <_c.uf_message *>_c.uf_pool_block(self.queues._pool, handle[0])
        self._numbers._last += 1
        head.kind = self._kind
        head.lane = <uint8_t>lane
        head.sender = sender
        head.receiver = receiver
        head.correlation = self._numbers._last
        head.sent_ns = sent_ns
        head.reply_queue = 0
        head.codec = codec
        head.attempt = 0
        head.extra = extra
        return _c.UF_OK

    cdef bint _push(self, uint64_t receiver, uint32_t lane, uint32_t handle, object payload,
                    uint32_t *worker) except -1:
        """Send a block to where its receiver lives by now; one that is refused is given back."""
        cdef uint32_t bell = 0
        cdef uint32_t together = 0
        cdef int status = _c.uf_deliver(
            &self.queues.region._system.self, self._agents, self.queues._queues, &receiver, lane,
            &handle, 1, worker, &together, &bell
        )
        if status == 1:
            if bell & 3:
                self.queues.region._ring(worker[0], bell)
            return True
        self.queues._give_back(payload, handle)
        if status == _c.UF_STALE:
            raise gone(receiver)
        refused(status, worker[0], lane)
        return False

    cdef bint _push_run(self, const uint64_t *ids, uint32_t lane, const uint32_t *handles,
                        uint32_t count, list ready, Py_ssize_t begin, list answers) except -1:
        """Send the blocks of `ready` from `begin` on, and write down which were accepted.

        False: a queue refused one of them; that, and those behind it, are given back.
        """
        cdef uint32_t at = 0
        cdef uint32_t each
        cdef uint32_t sent
        cdef uint32_t together = 0
        cdef uint32_t worker = 0
        cdef uint32_t bell
        cdef int status = _c.UF_OK
        try:
            while at < count:
                bell = 0
                status = _c.uf_deliver(
                    &self.queues.region._system.self, self._agents, self.queues._queues, &ids[at],
                    lane, &handles[at], count - at, &worker, &together, &bell
                )
                if status == _c.UF_STALE:
                    # It ended since its message was filled: the one is refused, the others go on.
                    at += 1
                    self.queues._give_back(ready[begin + at - 1][0], handles[at - 1])
                    continue
                if status <= 0:
                    refused(status, worker, lane)
                    return False
                if bell & 3:
                    self.queues.region._ring(worker, bell)
                sent = <uint32_t>status
                for each in range(sent):
                    answers[begin + at + each] = True
                at += sent
                if sent < together:
                    return False
            return True
        finally:
            for each in range(at, count):
                self.queues._give_back(ready[begin + each][0], handles[each])


cdef class Outlet:
    """Sends in one agent's name, which may be done from any thread of its process.

    Parameters
    ----------
    sender : Sender
    agent : int
        Its id.
    ttl_ms_of : callable
        What travels beside a message for its `ttl_s`.
    system, host : object, optional
        What a subclass stands on; kept here, as every agent has one.
    """

    def __init__(self, Sender sender not None, agent, ttl_ms_of, system=None, host=None):
        self._sender, self._agent, self._ttl_ms_of = sender, agent, ttl_ms_of
        self._agent_id = agent
        self.system, self._host = system, host

    cdef Sender _sound(self):
        if self._sender is None:
            raise TypeError("whoever sends was not told by what")
        return self._sender

    def send_nowait(self, uint64_t receiver, body, *, priority="normal", uint64_t sent_ns=0,
                    ttl_s=None):
        """Send from any thread of the worker; see `UltraFastCommunicationBus.send_nowait`."""
        return self._sound()._send(self._agent, receiver, body, priority, sent_ns,
                                   0 if ttl_s is None else self._ttl_ms_of(ttl_s))

    def send_many_nowait(self, items, *, priority="normal"):
        """Send (receiver, body) pairs; see `UltraFastCommunicationBus.send_many_nowait`."""
        return self._sound().send_many(self._agent, items, priority)

    def send(self, uint64_t receiver, body, *, priority="normal", double timeout_s=0.0, ttl_s=None):
        """Send a message to another agent; see `UltraFastCommunicationBus.send`."""
        cdef Sending made = Sending.__new__(Sending)
        made._by, made._agent, made._receiver = self._sound(), self._agent, receiver
        made._body, made._priority, made._timeout_s = body, priority, timeout_s
        if ttl_s is not None:
            made._ttl_s, made._extra = ttl_s, self._ttl_ms_of(ttl_s)
        made._made = True
        return made


@cython.final
cdef class Sending(Steps):
    """A message on its way, as a coroutine: sent when it is awaited, and that gives whether it was
    accepted. Made by `Outlet.send`.
    """

    cdef object _begin(self, bint *ended):
        accepted = self._by._send(self._agent, self._receiver, self._body, self._priority, 0,
                                  self._extra)
        if accepted or self._timeout_s <= 0 or self._by._again is None:
            ended[0] = True
            return accepted
        self._rest = self._by._again(self._agent, self._receiver, self._body,
                                     priority=self._priority, timeout_s=self._timeout_s,
                                     ttl_s=self._ttl_s)
        self._body = None
        return None

    cdef object _unawaited(self):
        return f"a message to agent {self._receiver:#x} was never awaited, and not sent"


stepped(Sending)
