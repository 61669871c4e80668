# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Bodies out of a queue by single calls: no lists of messages, no message objects.

Stands on csrc/uf_queue.h and on the other doors for what is not plain. What goes straight through is
bytes of one kind, at the first delivery, without a time to live, under a head that is sound; anything
else goes to the subclass as a `Message`.
"""

cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from ultrafast.core cimport _c
from ultrafast.core._message cimport HELD, Message, trace_behind, wrap
from ultrafast.core._metrics cimport Metrics
from ultrafast.core._pool cimport copy
from ultrafast.core._queue cimport Queues
from ultrafast.core._region cimport WRITABLE, can_write
from ultrafast.core._status cimport check
from ultrafast.core._waiting cimport monotonic_ns, nanoseconds, set_spin, wait_for_message

from ultrafast import errors
from ultrafast.core.answers import ItemInfo

cdef enum:
    # Places of `_handles` that hold no handle.
    ODD = 0                            # its Message is in `_odd`
    PASSED = 0xFFFFFFFF                # it was not handed out
    # A batch of copies ends with this many bytes. More of them do not stay in a core's cache until
    # they are looked at, and the memory of a batch that is dropped at once is given back to the
    # system, which takes it page by page the next time.
    BATCH_BYTES = 524288
    # A receiver that waits looks so often by itself.
    LOOK_NS = 200000000

cdef class _Nothing:
    pass

# What `_take_next` answers for a message that is not to be handed out.
cdef object _nothing = _Nothing()
SKIP = _nothing


cdef bint _went_back(Message message, uint64_t opening) except -1:
    """Whether a message stands in its queue again, at the end of its lane, or is past saving."""
    if message._damaged or message._hold != HELD:
        message.release()
        return True
    if message._views != 0:
        return False
    return message.forward(message.queue, message.lane & 3, opening) == _c.UF_OK


@cython.no_gc_clear  # its end gives back what it holds
cdef class PlainReceiver:
    """Gets bodies out of one queue. One thread at a time uses it; others have their own.

    What it handed out is this process's until the next call asks for more, or `done`: when the
    process dies before, another gets it again. A subclass names the queue with `_open` and has
    `_made(message)`: the body of a message that is not plain, or `SKIP` when it is not to be
    handed out and was dealt with.
    """

    def __cinit__(self):
        self._first = self._next = self._end = 0
        self._odd = []
        self._kept = []
        self._queues = None

    def _open(self, Queues queues not None, uint32_t index, Metrics metrics not None, *,
              uint32_t max_batch, uint8_t kind, uint8_t raw, uint32_t delivered,
              uint32_t redelivered, int view=-1, spin_us=None, uint64_t opening=0):
        """Use this queue; `delivered` and `redelivered` are the counters, `view` is the codec of
        bytes that are handed out where they lie."""
        can_write(queues.region)
        if index >= queues._queues.count:
            check(_c.UF_INVALID, f"queue {index} of {queues._queues.count}")
        if not 1 <= max_batch <= HELD_MAX:
            raise errors.InvalidArgument(f"max_batch is {max_batch}; allowed is 1 to {HELD_MAX}")
        set_spin(&self._spin, spin_us)
        memset(&self._receiver, 0, sizeof(self._receiver))
        self._receiver.queue = index
        self._receiver.opening = opening
        self._metrics = metrics
        self._ahead = max_batch
        self._kind = kind
        self._raw = raw
        self._view = view
        self._delivered = delivered
        self._redelivered = redelivered
        self._queues = queues

    cdef int _usable(self) except -1:
        if self._queues is None:
            raise errors.RegionClosed("this receiver was closed")
        return can_write(self._queues.region)

    def get(self, timeout_s=None):
        """The next body; this thread waits for it.

        Parameters
        ----------
        timeout_s : float, optional
            The longest wait; for ever without it.

        Returns
        -------
        object

        Raises
        ------
        Timeout
            None came in the time given.
        """
        cdef int64_t left
        cdef int64_t until = 0
        self._usable()
        self._settle()
        while True:
            while self._next < self._end:
                body = self._take_next()
                if body is not _nothing:
                    return body
            self._settle()
            if self._refill(self._ahead):
                continue
            if until == 0:
                left = nanoseconds(timeout_s)
                until = INT64_MAX if left == INT64_MAX else monotonic_ns() + left
            if not self._wait(until):
                raise errors.Timeout(
                    f"queue {self._queues.name(self._receiver.queue)!r}: nothing came within"
                    f" {timeout_s:g} s"
                )
            self._usable()

    def get_nowait(self, default=None):
        """The next body, or `default` when there is none.

        Parameters
        ----------
        default : object, optional

        Returns
        -------
        object
        """
        self._usable()
        self._settle()
        while True:
            while self._next < self._end:
                body = self._take_next()
                if body is not _nothing:
                    return body
            self._settle()
            if self._refill(self._ahead) == 0:
                return default

    def get_many(self, max_items=None, timeout_s=None):
        """Up to `max_items` bodies; this thread waits until there is one.

        Parameters
        ----------
        max_items : int, optional
            `max_batch`, without it.
        timeout_s : float, optional
            The longest wait; for ever without it.

        Returns
        -------
        list
            Empty when none came in the time given. Large bodies come in smaller batches.
        """
        cdef int64_t left
        cdef int64_t until
        bodies = self.get_many_nowait(max_items)
        if bodies:
            return bodies
        left = nanoseconds(timeout_s)
        until = INT64_MAX if left == INT64_MAX else monotonic_ns() + left
        while not bodies and self._wait(until):
            bodies = self.get_many_nowait(max_items)
        return bodies

    def get_many_nowait(self, max_items=None):
        """Up to `max_items` bodies that are there.

        Parameters
        ----------
        max_items : int, optional
            `max_batch`, without it.

        Returns
        -------
        list
        """
        cdef uint32_t most = self._ahead
        cdef Py_ssize_t room = BATCH_BYTES
        cdef list bodies = []
        if max_items is not None:
            most = min(max(1, max_items), HELD_MAX)
        self._usable()
        self._settle()
        while not bodies:
            if self._next == self._end:
                self._settle()
                if self._refill(most) == 0:
                    break
            while self._next < self._end and self._next - self._first < most and room > 0:
                body = self._take_next()
                if body is not _nothing:
                    bodies.append(body)
                    if PyBytes_CheckExact(body):
                        room -= PyBytes_GET_SIZE(body)
        return bodies

    def done(self):
        """What was handed out is done with: it is not delivered again. Also said by the next call."""
        if self._next != self._first:
            self._usable()
            self._settle()

    @property
    def redelivered(self):
        """Whether the last call handed out anything that a dead receiver had before."""
        return any([(<Message>message).redelivered for message in self._odd])

    def infos(self):
        """An `ItemInfo` for each body that the last call handed out, until it is done with."""
        cdef _c.uf_message *head
        cdef uint32_t place
        infos = []
        self._usable()
        odd = iter(self._odd)
        for place in range(self._first, self._next):
            if self._handles[place] == ODD:
                message = next(odd)
                infos.append(ItemInfo(
                    message.correlation, message.sender, message.lane, message.attempt,
                    message.redelivered, message.sent_ns, message.trace,
                ))
            elif self._handles[place] != PASSED:
                head = <_c.uf_message *>_c.uf_pool_block(
                    self._queues._pool, self._handles[place]
                )
                infos.append(ItemInfo(
                    head.correlation, head.sender, head.lane, head.attempt, False, head.sent_ns,
                    trace_behind(self._queues._pool, self._handles[place]),
                ))
        return infos

    cdef int _settle(self) except -1:
        """What was handed out is done with."""
        cdef uint32_t place, handle
        cdef uint32_t count = 0
        cdef Message message
        if self._first == self._next:
            return 0
        for place in range(self._first, self._next):
            handle = self._handles[place]
            if handle != ODD and handle != PASSED:
                self._handles[self._first + count] = handle
                count += 1
        _c.uf_pool_give_many(self._queues._pool, &self._handles[self._first], count)
        self._queues.region._held -= count
        self._first = self._next
        if self._odd:
            for message in self._odd:
                count += 1
                if message.flags & _c.UF_MESSAGE_REDELIVERED:
                    _c.uf_counter_add(self._metrics._metrics, self._redelivered, 1)
                message._let_go()
            self._odd.clear()
        _c.uf_counter_add(self._metrics._metrics, self._delivered, count)
        return 0

    cdef bint _wait(self, int64_t until) except -1:
        """Wait until it is worth another look, at most until then: False when that time has come.

        A look now and then by itself: the deletion of the queue rings its bell once, and whoever was on
        its way to sleep hears it no more.
        """
        cdef int64_t now = monotonic_ns()
        cdef int64_t end = until if until - now < LOOK_NS else now + LOOK_NS
        if now >= until:
            return False
        return wait_for_message(
            self._queues, self._receiver.queue, &self._spin, end, False
        ) or end < until

    cdef uint32_t _refill(self, uint32_t want) except? 0xFFFFFFFF:
        """Take up to `want` messages, what a dead receiver had first; all places are free."""
        cdef _c.uf_queues *queues = self._queues._queues
        cdef int status = _c.UF_EMPTY
        self._first = self._next = self._end = 0
        if _c.uf_queue_has_orphans(queues, self._receiver.queue):
            status = _c.uf_queue_adopt_as(queues, &self._receiver, self._handles, want)
        if status == _c.UF_EMPTY:
            status = _c.uf_queue_take(queues, &self._receiver, self._handles, want)
        if status == _c.UF_EMPTY or status == _c.UF_BUSY:
            return 0
        check(status, f"queue {self._receiver.queue}")
        self._end = <uint32_t>status
        self._queues.region._held += status
        return self._end

    cdef object _take_next(self):
        """The next body, or SKIP."""
        cdef uint32_t handle = self._handles[self._next]
        cdef _c.uf_message *head = <_c.uf_message *>_c.uf_pool_block(self._queues._pool, handle)
        cdef uint32_t count = head.payload_bytes  # once: another process may write over it
        cdef object body
        if (head.kind != self._kind or head.attempt != 0 or head.extra != 0
                or head.flags & ~<uint32_t>_c.UF_MESSAGE_TRACED or count > _c.uf_pool_room(self._queues._pool, handle)):
            return self._unusual(self._next)
        if head.codec == self._view:
            return self._lent(self._next)
        if head.codec != self._raw:
            return self._unusual(self._next)
        body = PyBytes_FromStringAndSize(NULL, count)
        copy(self._queues.region, PyBytes_AS_STRING(body), <char *>head + _c.UF_BLOCK_HEAD, count)
        self._next += 1
        return body

    cdef object _lent(self, uint32_t place):
        """A view of what its sender wrote in place."""
        cdef Message message = wrap(self._queues, self._handles[place], self._receiver.queue)
        self._queues.region._held -= 1  # it counts as the message's from here on
        self._handles[place] = ODD
        self._odd.append(message)
        self._next = place + 1
        return PyMemoryView_FromObject(message)

    cdef object _unusual(self, uint32_t place):
        """The body of a message that is not plain, by way of the subclass."""
        cdef Message message = wrap(self._queues, self._handles[place], self._receiver.queue)
        self._queues.region._held -= 1  # it counts as the message's from here on
        self._handles[place] = PASSED
        self._next = place + 1
        try:
            body = self._made(message)
        except BaseException:
            if message._damaged:
                message.release()  # there is nothing in it that anybody could deliver
            elif message._hold == HELD and (message._views != 0 or message.forward(
                    self._receiver.queue, message.lane & 3, self._receiver.opening) != _c.UF_OK):
                # It stays ours. Not among what was handed out: the next call would be done with it.
                self._kept.append(message)
            raise
        if body is not _nothing:
            self._odd.append(message)
            self._handles[place] = ODD
        return body

    def _leave(self):
        """Let go of the queue; what is not done with goes back to it, to the end of its lane.

        Returns
        -------
        list of Message
            Those for which there was no room.
        """
        cdef uint32_t place, handle
        cdef list left = self._kept
        if self._queues is None:
            return []
        if self._queues.region._mode == WRITABLE:
            for place in range(self._first, self._end):
                handle = self._handles[place]
                if handle == ODD:
                    left.append(self._odd.pop(0))
                elif handle != PASSED:
                    left.append(wrap(self._queues, handle, self._receiver.queue))
                    self._queues.region._held -= 1
        self._first = self._next = self._end = 0
        self._kept = []
        self._queues = None
        return [message for message in left if not _went_back(message, self._receiver.opening)]

    def __dealloc__(self):
        """Not left: the rest goes back as well as may be; what does not waits for recovery."""
        cdef uint32_t place, handle
        cdef uint32_t bell = 0
        cdef _c.uf_message *head
        if self._queues is None or self._queues.region._mode != WRITABLE:
            return
        for message in self._odd + self._kept:
            _went_back(message, self._receiver.opening)
        for place in range(self._first, self._end):
            handle = self._handles[place]
            if handle == ODD or handle == PASSED:
                continue
            head = <_c.uf_message *>_c.uf_pool_block(self._queues._pool, handle)
            if _c.uf_queue_send_to(self._queues._queues, self._receiver.queue,
                                   self._receiver.opening, head.lane & 3, &handle, 1, &bell) == 1:
                self._queues.region._held -= 1
