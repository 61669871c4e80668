# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Bodies into a queue by single calls: no tuples, no message objects.

Stands on csrc/uf_queue.h. What goes straight through is bytes under the usual head; anything else is
left to the subclass to encode.
"""

from cpython.bytes cimport PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._correlations cimport Correlations
from ultrafast.core._loan cimport Loan, clipped, lend
from ultrafast.core._metrics cimport Metrics
from ultrafast.core._pool cimport largest_payload
from ultrafast.core._queue cimport Queues, refused
from ultrafast.core._region cimport WRITABLE, can_write
from ultrafast.core._status cimport check
from ultrafast.core._waiting cimport (
    look_for_room, monotonic_ns, nanoseconds, nap, set_spin,
)

import sys

from ultrafast import errors

cdef enum:
    BATCH = 256
    # A bound on what is copied before the receiver can see the first of it.
    BATCH_BYTES = 131072
    NAP_FIRST_NS = 50000
    NAP_LAST_NS = 1000000

cdef str _NORMAL = "normal"


cdef class PlainSender:
    """Puts bodies into one queue. For any number of threads of this process.

    A subclass names the queue with `_open`, and has `_put(body, priority, ttl_s, sender, wait_ns)`
    and `_put_many`, which encode, and end in `_post` and `_post_many`, and `_exhausted(nbytes)`,
    which gives the error of a loan that there is no block for.
    """

    def _open(self, Queues queues not None, uint32_t index, Metrics metrics not None,
              Correlations numbers not None, *, uint32_t lane, uint8_t kind, uint8_t raw,
              uint32_t sent, uint32_t refused, trace, uint8_t view=0, spin_us=None,
              uint64_t opening=0):
        """Use this queue; `sent` and `refused` are the counters, `trace()` gives that of the caller,
        once OpenTelemetry is imported, `view` is the codec of lent bytes."""
        can_write(queues.region)
        if index >= queues._queues.count or lane >= _c.UF_LANES:
            check(_c.UF_INVALID, f"queue {index} of {queues._queues.count}, lane {lane}")
        set_spin(&self._spin, spin_us)
        self._largest = largest_payload(queues._pool)
        self._metrics = metrics
        self._numbers = numbers
        self.index = index
        self.opening = opening
        self._lane = lane
        self._kind = kind
        self._raw = raw
        self._view = view
        self._sent = sent
        self._refused = refused
        self._modules, self._trace = sys.modules, trace
        self._queues = queues

    cdef int _usable(self) except -1:
        if self._queues is None:
            raise errors.RegionClosed("this sender has no queue")
        return can_write(self._queues.region)

    def put_nowait(self, body, *, priority=_NORMAL, ttl_s=None, sender=None):
        """Put an item, or be refused at once.

        Parameters
        ----------
        body : object
            Anything `ultrafast.codec` encodes. Bytes and loans take the shortest way.
        priority : str or int
        ttl_s : float, optional
            When no consumer comes to it in time it becomes a dead letter.
        sender : int, optional
            The agent that puts it.

        Returns
        -------
        bool
            False: the queue's lane is full, or the pool has no block.
        """
        if PyBytes_CheckExact(body) and priority is _NORMAL and ttl_s is None and sender is None:
            self._usable()
            return self._counted(self._one(body, self._raw, self._lane, 0, 0))
        if type(body) is Loan and priority is _NORMAL and ttl_s is None and sender is None:
            self._usable()
            return self._counted(self._one(body, (<Loan>body).codec, self._lane, 0, 0))
        return self._put(body, priority, ttl_s, sender, 0.0)

    def put_blocking(self, body, timeout_s=None, *, priority=_NORMAL, ttl_s=None, sender=None):
        """`put_nowait`; while it is refused, this thread waits, `timeout_s` at most.

        Parameters
        ----------
        body : object
        timeout_s : float, optional
            For ever without it.
        priority, ttl_s, sender
            As for `put_nowait`.

        Returns
        -------
        bool
            False: refused until the time was over.
        """
        if PyBytes_CheckExact(body) and priority is _NORMAL and ttl_s is None and sender is None:
            self._usable()
            if self._one(body, self._raw, self._lane, 0, 0) == _c.UF_OK:
                return self._counted(_c.UF_OK)
            return self._post(body, self._raw, self._lane, 0, 0, timeout_s)
        if type(body) is Loan and priority is _NORMAL and ttl_s is None and sender is None:
            return self._post(body, (<Loan>body).codec, self._lane, 0, 0, timeout_s)
        return self._put(body, priority, ttl_s, sender, timeout_s)

    def put_many_nowait(self, bodies, *, priority=_NORMAL, ttl_s=None, sender=None):
        """Put items in their order, as many as there is room for.

        Parameters
        ----------
        bodies : sequence of object
            One that can't be encoded, or is too large, raises before anything is put.
        priority, ttl_s, sender
            As for `put_nowait`, for each of them.

        Returns
        -------
        int
            How many were put, from the first on.
        """
        cdef tuple plain = self._plain(bodies)
        if plain is not None and priority is _NORMAL and ttl_s is None and sender is None:
            return self._post_many(plain, None, self._lane, 0, 0, 0.0)
        return self._put_many(bodies, priority, ttl_s, sender, 0.0)

    def put_many_blocking(self, bodies, timeout_s=None, *, priority=_NORMAL, ttl_s=None,
                          sender=None):
        """`put_many_nowait`; while one is refused, this thread waits, `timeout_s` at most.

        Parameters
        ----------
        bodies : sequence of object
        timeout_s : float, optional
            For all of them; for ever without it.
        priority, ttl_s, sender
            As for `put_nowait`, for each of them.

        Returns
        -------
        int
            How many were put, from the first on, until the time was over.
        """
        cdef tuple plain = self._plain(bodies)
        if plain is not None and priority is _NORMAL and ttl_s is None and sender is None:
            return self._post_many(plain, None, self._lane, 0, 0, timeout_s)
        return self._put_many(bodies, priority, ttl_s, sender, timeout_s)

    def loan(self, nbytes, timeout_s=0.0):
        """Memory to write an item into, which is then put without a copy.

        Parameters
        ----------
        nbytes : int
        timeout_s : float, optional
            While no block is free, this thread waits so long; for ever with None.

        Returns
        -------
        Loan

        Raises
        ------
        PoolExhausted
            There was no block of that size free, in the time given.
        MessageTooBig
            No block is so large.
        """
        cdef Py_ssize_t count = clipped(nbytes)
        cdef Loan loan = None
        self._usable()
        if 0 <= count < <Py_ssize_t>UINT32_MAX:
            loan = lend(self._queues.region, <uint32_t>count, self._spare())
            if loan is None:
                loan = self._loan_within(<uint32_t>count, timeout_s)
        if loan is None:
            raise self._exhausted(nbytes)
        loan.codec = self._view
        return loan

    cdef Loan _loan_within(self, uint32_t nbytes, timeout_s):
        """Wait for a block; None when there was none in time."""
        cdef int64_t left = nanoseconds(timeout_s)
        cdef int64_t until = 0
        cdef int64_t pause = 0
        cdef Loan loan = None
        if left > 0:
            until = INT64_MAX if left == INT64_MAX else monotonic_ns() + left
        while loan is None and monotonic_ns() < until:
            self._await_room(self._lane, _c.UF_NO_BLOCK, until, &pause)
            self._usable()
            loan = lend(self._queues.region, nbytes, self._spare())
        return loan

    cdef uint32_t _spare(self) except? 1:
        """Bytes behind a loan's payload that a trace may need."""
        return _c.UF_TRACE_BYTES if "opentelemetry.trace" in self._modules else 0

    cdef bint _counted(self, int status) noexcept:
        """Whether it was sent; counted."""
        _c.uf_counter_add(self._metrics._metrics, self._sent, 1)
        if status != _c.UF_OK:
            _c.uf_counter_add(self._metrics._metrics, self._refused, 1)
        return status == _c.UF_OK

    cdef tuple _plain(self, bodies):
        """A list or tuple of bytes, each of which fits, as a tuple that nobody changes; or None."""
        cdef tuple plain
        if not isinstance(bodies, (list, tuple)):
            return None
        plain = tuple(bodies)
        for body in plain:
            if not PyBytes_CheckExact(body) or PyBytes_GET_SIZE(body) > self._largest:
                return None
        return plain

    def _check_size(self, Py_ssize_t count):
        """`MessageTooBig`, if no block has room for it."""
        if count > self._largest:
            raise errors.MessageTooBig(
                f"a message of {count} bytes: the largest block has room for {self._largest}"
            )

    def _post(self, payload, uint8_t codec, uint32_t lane, uint32_t ttl_ms, uint64_t sender,
              timeout_s):
        """Put what is encoded; wait for room so long. Counted."""
        cdef int64_t left = nanoseconds(timeout_s)
        cdef int64_t until = 0
        cdef int64_t pause = 0
        cdef int status
        self._usable()
        status = self._one(payload, codec, lane, ttl_ms, sender)
        if status != _c.UF_OK and left > 0:
            until = INT64_MAX if left == INT64_MAX else monotonic_ns() + left
            while status != _c.UF_OK and monotonic_ns() < until:
                self._await_room(lane, status, until, &pause)
                self._usable()
                status = self._one(payload, codec, lane, ttl_ms, sender)
        return self._counted(status)

    def _post_many(self, tuple payloads not None, tuple codecs, uint32_t lane, uint32_t ttl_ms,
                   uint64_t sender, timeout_s):
        """Put what is encoded and fits, in order; wait for room so long. Counted."""
        cdef int64_t left = nanoseconds(timeout_s)
        cdef int64_t until = 0
        cdef int64_t pause = 0
        cdef Py_ssize_t total = len(payloads)
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t now
        cdef int why = _c.UF_OK
        self._usable()
        try:
            done = self._some(payloads, codecs, 0, lane, ttl_ms, sender, &why)
            if done < total and left > 0:
                until = INT64_MAX if left == INT64_MAX else monotonic_ns() + left
                while done < total and monotonic_ns() < until:
                    self._await_room(lane, why, until, &pause)
                    self._usable()
                    now = self._some(payloads, codecs, done, lane, ttl_ms, sender, &why)
                    pause = pause if now == 0 else 0
                    done += now
        finally:
            if self._queues.region._mode == WRITABLE:
                _c.uf_counter_add(self._metrics._metrics, self._sent, total)
                if done < total:
                    _c.uf_counter_add(self._metrics._metrics, self._refused, total - done)
        return done

    cdef bytes _traced(self):
        return self._trace() if "opentelemetry.trace" in self._modules else None

    cdef int _block(self, object payload, int codec, uint32_t lane, uint32_t ttl_ms,
                    uint64_t sender, int64_t now, bytes trace, uint32_t *handle) except? -1:
        """A block that holds the message: OK or NO_BLOCK."""
        cdef _c.uf_message *head
        cdef int status = self._queues._take_block(payload, handle, trace)
        if status != _c.UF_OK:
            return status
        head = <_c.uf_message *>_c.uf_pool_block(self._queues._pool, handle[0])
        self._numbers._last += 1
        head.kind = self._kind
        head.lane = <uint8_t>lane
        head.sender = sender
        head.receiver = 0
        head.correlation = self._numbers._last
        head.sent_ns = <uint64_t>now
        head.reply_queue = 0
        head.codec = <uint8_t>codec
        head.attempt = 0
        head.extra = ttl_ms
        return _c.UF_OK

    cdef int _push(self, uint32_t lane, uint32_t *handles, uint32_t count) except? -1:
        """Send blocks: how many went, or the status of the first. The others stay the caller's."""
        cdef uint32_t bell = 0
        cdef int status = _c.uf_queue_send_to(
            self._queues._queues, self.index, self.opening, lane, handles, count, &bell
        )
        if status > 0 and bell & 3:
            self._queues.region._ring(self.index, bell)
        return status

    cdef int _one(self, object payload, int codec, uint32_t lane, uint32_t ttl_ms,
                  uint64_t sender) except? -1:
        """Send one message: OK, FULL, NO_BLOCK or BUSY."""
        cdef uint32_t handle = 0
        cdef int status = self._block(
            payload, codec, lane, ttl_ms, sender, monotonic_ns(), self._traced(), &handle
        )
        if status != _c.UF_OK:
            return status
        status = self._push(lane, &handle, 1)
        if status > 0:
            return _c.UF_OK
        self._queues._give_back(payload, handle)
        return refused(status, self.index, lane)

    cdef Py_ssize_t _some(self, tuple payloads, tuple codecs, Py_ssize_t start, uint32_t lane,
                          uint32_t ttl_ms, uint64_t sender, int *why) except -1:
        """Send from `start` on, as many as go: how many, and why not the next."""
        cdef uint32_t handles[BATCH]
        cdef uint32_t taken, sent, each
        cdef Py_ssize_t at = start
        cdef Py_ssize_t total = len(payloads)
        cdef int64_t now = monotonic_ns()
        cdef Py_ssize_t room
        cdef bytes trace = self._traced()
        cdef bint short
        cdef int status = _c.UF_OK
        while at < total:
            taken = 0
            room = BATCH_BYTES
            while taken < BATCH and at + taken < total and room > 0 and status == _c.UF_OK:
                room -= len(payloads[at + taken])
                status = self._block(
                    payloads[at + taken], self._raw if codecs is None else codecs[at + taken],
                    lane, ttl_ms, sender, now, trace, &handles[taken]
                )
                taken += status == _c.UF_OK
            why[0] = status
            if taken == 0:
                break
            short = status != _c.UF_OK
            status = self._push(lane, handles, taken)
            sent = <uint32_t>status if status > 0 else 0
            for each in range(sent, taken):
                self._queues._give_back(payloads[at + each], handles[each])
            if sent == 0:
                refused(status, self.index, lane)
            at += sent
            if sent < taken:
                why[0] = _c.UF_FULL
            if sent < taken or short:
                break
            status = _c.UF_OK
        return at - start

    cdef int _await_room(self, uint32_t lane, int why, int64_t until, int64_t *pause) except -1:
        """Wait until it is worth another try.

        Nobody rings for room. A quarter of the lane is waited for, so that the sender does not
        chase the receiver from slot to slot; where blocks are missing, a quarter of those that
        wait in the lane. Then there are naps, each longer than the last.
        """
        cdef Queues queues = self._queues
        cdef uint32_t most = queues._queues.capacity
        if why == _c.UF_NO_BLOCK:
            most = _c.uf_queue_length(queues._queues, self.index, lane)
        if most != 0 and look_for_room(queues, self.index, lane, most - most // 4, &self._spin):
            return 0
        pause[0] = min(max(2 * pause[0], <int64_t>NAP_FIRST_NS), <int64_t>NAP_LAST_NS)
        if until != INT64_MAX:
            pause[0] = max(<int64_t>0, min(pause[0], until - monotonic_ns()))
        nap(queues, pause[0])
        return 0
