# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Queues of messages: sending, taking, waiting, and the messages themselves.

Stands on csrc/uf_queue.h and csrc/uf_bell.h. Does not interpret payloads, and does not wait but in
`Receiver.wait`.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport INT64_MAX, UINT32_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from ultrafast.core cimport _c
from ultrafast.core._region cimport WRITABLE, Region, can_read, can_write, name_of
from ultrafast.core._status cimport check

from ultrafast import errors
from ultrafast.core.answers import BlockCount

LANES = _c.UF_LANES
REDELIVERED = _c.UF_MESSAGE_REDELIVERED
ONCE = _c.UF_MESSAGE_ONCE

cdef enum:
    BATCH = 256
    TAKE_MAX = 1024
    # Below this a copy takes less than handing the interpreter's lock back and forth is worth.
    LOCKED_COPY_BYTES = 262144


cdef void copy(Region region, void *out, const void *data, Py_ssize_t count) noexcept:
    """Copy from or to a block that is ours; without the interpreter's lock when that is worth it."""
    if count < LOCKED_COPY_BYTES:
        memcpy(out, data, count)
        return
    region._pins += 1
    with nogil:
        memcpy(out, data, count)
    region._pins -= 1


cdef int refused(int status, uint32_t queue, uint32_t lane) except? -1:
    """FULL and BUSY are answers of a send; anything else that is not a count raises."""
    if status == _c.UF_FULL or status == _c.UF_BUSY:
        return status
    return check(status, f"queue {queue}, lane {lane}")


cdef list block_counts(const _c.uf_pool *pool):
    """A `BlockCount` for each size class of a pool."""
    cdef uint32_t size_class, free_blocks, blocks, block_bytes
    counts = []
    for size_class in range(pool.classes):
        _c.uf_pool_count(pool, size_class, &free_blocks, &blocks, &block_bytes)
        counts.append(BlockCount(block_bytes, blocks, free_blocks))
    return counts


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


@cython.final
@cython.no_gc  # a region cannot refer to it
cdef class Queues:
    """The queues of a region: opening them by name, and sending.

    Parameters
    ----------
    region : Region
        Attached; read-only is enough to find and measure queues.
    """

    def __cinit__(self, Region region not None):
        can_read(region)
        self.region = region
        self._queues = &region._system.queues
        self._pool = &region._system.messages

    @property
    def count(self):
        """Queues that the region has room for."""
        return self._queues.count

    @property
    def capacity(self):
        """Messages that each lane of a queue has room for."""
        return self._queues.capacity

    def open(self, str name not None):
        """The index of the queue of this name, made if there is none. `NoSlot` when all are used."""
        cdef uint32_t index
        cdef const char *text
        can_write(self.region)
        name_of(name, _c.UF_NAME_BYTES, &text)
        cdef int status = _c.uf_queue_open(self._queues, text, &index)
        if status == _c.UF_NO_SLOT:
            raise errors.NoSlot(
                f"queue {name!r}: every one of the {self._queues.count} queues is in use"
            )
        check(status, name)
        return index

    def find(self, str name not None):
        """The index of the queue of this name, or None."""
        cdef uint32_t index
        cdef const char *text
        can_read(self.region)
        name_of(name, _c.UF_NAME_BYTES, &text)
        cdef int status = _c.uf_queue_find(self._queues, text, &index)
        if status == _c.UF_MISSING:
            return None
        check(status, name)
        return index

    def close(self, uint32_t index):
        """Take the queue's name away. False when it had none; what is in it should be taken before."""
        can_write(self.region)
        cdef int status = _c.uf_queue_close(self._queues, index)
        if status == _c.UF_MISSING:
            return False
        check(status, f"queue {index} of {self._queues.count}")
        return True

    def name(self, uint32_t index):
        """The queue's name, or None when it is not open."""
        can_read(self.region)
        cdef const char *text = _c.uf_queue_name(self._queues, index)
        return None if text == NULL else text.decode("utf-8", "replace")

    def length(self, uint32_t index, lane=None):
        """Messages in one lane, or in all: already old when it returns."""
        can_read(self.region)
        if index >= self._queues.count:
            check(_c.UF_INVALID, f"queue {index} of {self._queues.count}")
        if lane is not None:
            return _c.uf_queue_length(self._queues, index, lane)
        return sum(
            [_c.uf_queue_length(self._queues, index, each) for each in range(_c.UF_LANES)]
        )

    def blocks(self):
        """A `BlockCount` for each size of block for messages."""
        can_read(self.region)
        return block_counts(self._pool)

    cdef int _take_block(self, object payload, uint32_t *handle) except? -1:
        """A block that holds the payload: OK or NO_BLOCK."""
        cdef Py_buffer view
        cdef const void *data
        cdef Py_ssize_t count
        cdef _c.uf_message *head
        cdef int status
        cdef bint is_bytes = PyBytes_CheckExact(payload)
        if is_bytes:
            data = PyBytes_AS_STRING(payload)
            count = PyBytes_GET_SIZE(payload)
        else:
            PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
            data = view.buf
            count = view.len
        status = _c.UF_TOO_BIG
        if count < <Py_ssize_t>UINT32_MAX:
            status = _c.uf_pool_take(self._pool, <uint32_t>count, handle)
        if status == _c.UF_OK:
            head = <_c.uf_message *>_c.uf_pool_block(self._pool, handle[0])
            head.payload_bytes = <uint32_t>count
            copy(self.region, <char *>head + _c.UF_BLOCK_HEAD, data, count)
        if not is_bytes:
            PyBuffer_Release(&view)
        if status == _c.UF_TOO_BIG:
            room = max([each.block_bytes for each in block_counts(self._pool)]) - _c.UF_BLOCK_HEAD
            raise errors.MessageTooBig(
                f"a message of {count} bytes: the largest block has room for {room}"
            )
        return status if status == _c.UF_NO_BLOCK else check(status)

    def send(self, uint32_t queue, uint32_t lane, payload, uint8_t kind=0, uint8_t codec=0,
             uint64_t sender=0, uint64_t receiver=0, uint64_t correlation=0, uint64_t sent_ns=0,
             uint16_t reply_queue=0, uint16_t flags=0, uint8_t attempt=0, uint32_t extra=0):
        """Send one message.

        Parameters
        ----------
        queue, lane : int
            Where to; lane 0 is the most urgent.
        payload : bytes-like
            Copied.
        kind, codec, sender, receiver, correlation, sent_ns, flags, attempt, extra : int
            Carried beside it, as csrc/uf_pool.h names them.
        reply_queue : int
            Index + 1 of the queue that wants the answer; 0 for none.

        Returns
        -------
        int
            `OK`: it is in the queue, and outlives this process. `FULL`: the lane. `NO_BLOCK`: the
            pool. `BUSY`: others were quicker at every attempt.

        Raises
        ------
        MessageTooBig
            With the payload's bytes and the room there is.
        """
        cdef uint32_t handle = 0
        cdef uint32_t bell = 0
        cdef _c.uf_message *head
        cdef int status
        can_write(self.region)
        status = self._take_block(payload, &handle)
        if status != _c.UF_OK:
            return status
        head = <_c.uf_message *>_c.uf_pool_block(self._pool, handle)
        head.kind = kind
        head.lane = <uint8_t>lane
        head.flags = flags
        head.sender = sender
        head.receiver = receiver
        head.correlation = correlation
        head.sent_ns = sent_ns
        head.reply_queue = reply_queue
        head.codec = codec
        head.attempt = attempt
        head.extra = extra
        status = _c.uf_queue_send(self._queues, queue, lane, &handle, 1, &bell)
        if status <= 0:
            _c.uf_pool_give(self._pool, handle)
            return refused(status, queue, lane)
        if bell & 3:
            self.region._ring(queue, bell)
        return _c.UF_OK

    def send_batch(self, uint32_t queue, uint32_t lane, items):
        """Send messages in order, with one look at the receiver's bell for many.

        Parameters
        ----------
        queue, lane : int
            Where to.
        items : sequence of tuple
            ``(payload, kind, codec, sender, receiver, correlation, sent_ns, reply_queue, flags,
            extra)`` each.

        Returns
        -------
        int
            How many were sent, from the first on. An item that cannot be sent at all ends the
            batch; it raises when it is the first.
        """
        cdef uint32_t handles[BATCH]
        cdef uint32_t taken, sent, each
        cdef uint32_t bell = 0
        cdef Py_ssize_t total = 0
        cdef int status
        can_write(self.region)
        items = items if isinstance(items, (list, tuple)) else list(items)
        while total < len(items):
            taken = self._fill(items, total, lane, <size_t>&handles[0])
            if taken == 0:
                return total
            status = _c.uf_queue_send(self._queues, queue, lane, handles, taken, &bell)
            sent = <uint32_t>status if status > 0 else 0
            total += sent
            for each in range(sent, taken):
                _c.uf_pool_give(self._pool, handles[each])
            if sent == 0:
                refused(status, queue, lane)
            elif bell & 3:
                self.region._ring(queue, bell)
            if sent < BATCH:
                return total
        return total

    def _fill(self, items, Py_ssize_t start, uint32_t lane, size_t out):
        """Blocks for the items from `start` on, at most BATCH; fewer where one has no block."""
        cdef uint32_t *handles = <uint32_t *>out
        cdef uint32_t taken = 0
        cdef _c.uf_message *head
        cdef uint64_t sender, receiver, correlation, sent_ns
        cdef uint32_t extra
        cdef uint16_t reply_queue, flags
        cdef uint8_t kind, codec
        cdef Py_ssize_t end = min(len(items), start + BATCH)
        for at in range(start, end):
            try:
                (payload, kind, codec, sender, receiver, correlation, sent_ns, reply_queue, flags,
                 extra) = items[at]
                if self._take_block(payload, &handles[taken]) != _c.UF_OK:
                    return taken
            except (TypeError, ValueError, OverflowError, BufferError):
                if at == 0:
                    raise
                return taken
            head = <_c.uf_message *>_c.uf_pool_block(self._pool, handles[taken])
            head.kind = kind
            head.lane = <uint8_t>lane
            head.flags = flags
            head.sender = sender
            head.receiver = receiver
            head.correlation = correlation
            head.sent_ns = sent_ns
            head.reply_queue = reply_queue
            head.codec = codec
            head.attempt = 0
            head.extra = extra
            taken += 1
        return taken

    cdef Message _wrap(self, uint32_t handle, uint32_t queue):
        """The message in a block that has just been taken."""
        cdef _c.uf_message *head = <_c.uf_message *>_c.uf_pool_block(self._pool, handle)
        cdef Message message = Message.__new__(Message)
        message._queues = self
        message._data = <unsigned char *>head + _c.UF_BLOCK_HEAD
        message._hold = HELD
        message._views = 0
        message.handle = handle
        message.nbytes = head.payload_bytes
        message._damaged = message.nbytes > _c.uf_pool_room(self._pool, handle)
        message.queue = queue
        message.extra = head.extra
        message.kind = head.kind
        message.lane = head.lane
        message.codec = head.codec
        message.attempt = head.attempt
        message.flags = head.flags
        message.reply_queue = head.reply_queue
        message.sender = head.sender
        message.receiver = head.receiver
        message.correlation = head.correlation
        message.sent_ns = head.sent_ns
        self.region._held += 1
        return message

    def echo(self, uint32_t queue):
        """Send an empty message through the queue's lane 0 and take it back: what a passage costs.

        For measuring a queue that nobody else uses. False when it was full, empty, or somebody
        else's message came out, which is then sent on to the queue's end.
        """
        cdef _c.uf_receiver receiver
        cdef uint32_t sent = 0
        cdef uint32_t taken = 0
        cdef uint32_t bell = 0
        can_write(self.region)
        if _c.uf_pool_take(self._pool, 0, &sent) != _c.UF_OK:
            return False
        (<_c.uf_message *>_c.uf_pool_block(self._pool, sent)).payload_bytes = 0
        if _c.uf_queue_send(self._queues, queue, 0, &sent, 1, &bell) != 1:
            _c.uf_pool_give(self._pool, sent)
            return False
        memset(&receiver, 0, sizeof(receiver))
        receiver.queue = queue
        if _c.uf_queue_take(self._queues, &receiver, &taken, 1) != 1:
            return False
        if taken != sent:
            self._wrap(taken, queue).forward(queue, 0)
            return False
        _c.uf_pool_give(self._pool, taken)
        return True

    def noop(self, uint32_t queue):
        """Nothing: what a call costs."""
        return True


@cython.final
@cython.no_gc  # as Queues
cdef class Receiver:
    """Takes messages from one queue. Several may share a queue, each with its own `Receiver`.

    Parameters
    ----------
    queues : Queues
        Of a region that was not attached read-only.
    index : int
        Of an open queue.
    """

    def __cinit__(self, Queues queues not None, uint32_t index):
        can_write(queues.region)
        if index >= queues._queues.count:
            check(_c.UF_INVALID, f"queue {index} of {queues._queues.count}")
        if _c.uf_queue_name(queues._queues, index) == NULL:
            check(_c.UF_MISSING, f"queue {index} is not open")
        self.queues = queues
        self.index = index
        self._receiver.queue = index

    def take(self, uint32_t max=32):
        """Up to `max` messages (at most 1024), urgent lanes first; an empty list when none are there.

        Each is this process's until it is released.
        """
        cdef uint32_t handles[TAKE_MAX]
        can_write(self.queues.region)
        cdef int taken = _c.uf_queue_take(
            self.queues._queues, &self._receiver, handles, max if max < TAKE_MAX else TAKE_MAX
        )
        return self._wrap_all(taken, <size_t>&handles[0])

    def adopt(self, uint32_t max=1024):
        """Up to `max` messages that a dead receiver had, oldest first, marked redelivered.

        To be called before `take`, until it answers none: they were sent before what is in the queue.
        """
        cdef uint32_t handles[TAKE_MAX]
        can_write(self.queues.region)
        cdef int taken = _c.uf_queue_adopt(
            self.queues._queues, self.index, handles, max if max < TAKE_MAX else TAKE_MAX
        )
        return self._wrap_all(taken, <size_t>&handles[0])

    def _wrap_all(self, int taken, size_t out):
        cdef uint32_t *handles = <uint32_t *>out
        cdef int each
        if taken == _c.UF_EMPTY or taken == _c.UF_BUSY:
            return []
        if taken < 0:
            check(taken, f"queue {self.index}")
        return [self.queues._wrap(handles[each], self.index) for each in range(taken)]

    @property
    def has_orphans(self):
        """True when a dead receiver's messages wait to be adopted."""
        can_read(self.queues.region)
        return _c.uf_queue_has_orphans(self.queues._queues, self.index)

    def fileno(self):
        """The descriptor that becomes readable when a sender rings; the region closes it."""
        can_write(self.queues.region)
        return self.queues.region._pipe(self.index, True)

    def arm_pipe(self):
        """Ask senders to ring the pipe. True: nothing is there, sleep. False: there is something."""
        cdef uint32_t armed
        can_write(self.queues.region)
        self.queues.region._pipe(self.index, True)
        cdef int status = _c.uf_queue_arm(
            self.queues._queues, self.index, _c.UF_BELL_PIPE, &armed
        )
        if status == _c.UF_EMPTY:
            return True
        if status != _c.UF_OK:
            check(status, f"queue {self.index}")
        return False

    def disarm(self):
        """Awake again: senders need not ring."""
        can_write(self.queues.region)
        _c.uf_bell_disarm(_c.uf_queue_bell(self.queues._queues, self.index))

    def drain(self):
        """Empty the pipe, so that it is no longer readable."""
        can_write(self.queues.region)
        _c.uf_bell_drain_pipe(self.queues.region._pipe(self.index, True))

    def wait(self, timeout_s=None):
        """Sleep until there is something to take or adopt.

        Parameters
        ----------
        timeout_s : float, optional
            The longest sleep; for ever without it.

        Returns
        -------
        bool
            False when the time passed.

        Notes
        -----
        Waits: for a sender, without the interpreter's lock. Signal handlers run meanwhile; when one
        raises, the wait ends with its exception.
        """
        cdef Region region = self.queues.region
        cdef int64_t deadline = INT64_MAX
        cdef int64_t left = INT64_MAX
        cdef uint32_t armed
        cdef int status
        cdef void *bell
        can_write(region)
        if timeout_s is not None:
            if not timeout_s < 1e9:
                check(_c.UF_INVALID, f"a timeout of {timeout_s} s")
            deadline = monotonic_ns() + <int64_t>(max(timeout_s, 0) * 1e9)
        bell = _c.uf_queue_bell(self.queues._queues, self.index)
        while True:
            status = _c.uf_queue_arm(self.queues._queues, self.index, _c.UF_BELL_FUTEX, &armed)
            if status == _c.UF_OK:
                return True
            if status != _c.UF_EMPTY:
                check(status, f"queue {self.index}")
            if timeout_s is not None:
                left = deadline - monotonic_ns()
            if left <= 0:
                _c.uf_bell_disarm(bell)
                return False
            region._pins += 1
            with nogil:
                _c.uf_bell_sleep(bell, armed, <uint64_t>left)
            region._pins -= 1
            try:
                PyErr_CheckSignals()
            except BaseException:
                _c.uf_bell_disarm(bell)
                raise


@cython.final
@cython.no_gc  # nothing that it refers to can refer to a message
@cython.freelist(256)
cdef class Message:
    """A message taken from a queue: what its head says, and its payload in place.

    The block is this process's until `release`, `forward`, or the end of the object; views of the
    payload keep it longer. Until then it would be delivered again if this process died. The buffer
    protocol gives the payload, read-only.
    """

    def __init__(self):
        raise TypeError("messages come from Receiver.take and Receiver.adopt")

    cdef int _usable(self) except -1:
        can_read(self._queues.region)
        if self._hold != HELD:
            raise errors.InvalidArgument(f"message {self.handle:#x}: released or sent on already")
        if self._damaged:
            raise errors.RegionCorrupt(
                f"message {self.handle:#x}: its head claims {self.nbytes} bytes, its block has room "
                f"for {_c.uf_pool_room(self._queues._pool, self.handle)}"
            )
        return 0

    @property
    def redelivered(self):
        """True when an earlier receiver died before it was done with this message."""
        return (self.flags & _c.UF_MESSAGE_REDELIVERED) != 0

    @property
    def released(self):
        """True once it was released or sent on."""
        return self._hold != HELD

    @property
    def payload(self):
        """A read-only view of the payload where it lies; it keeps the block."""
        return PyMemoryView_FromObject(self)

    def tobytes(self):
        """A copy of the payload."""
        self._usable()
        cdef object out = PyBytes_FromStringAndSize(NULL, self.nbytes)
        copy(self._queues.region, PyBytes_AS_STRING(out), self._data, self.nbytes)
        return out

    def __len__(self):
        return self.nbytes

    def __getbuffer__(self, Py_buffer *view, int flags):
        self._usable()
        PyBuffer_FillInfo(view, self, <void *>self._data, self.nbytes, 1, flags)
        self._views += 1
        self._queues.region._pins += 1

    def __releasebuffer__(self, Py_buffer *view):
        self._views -= 1
        self._queues.region._pins -= 1
        if self._views == 0 and self._hold == GOING:
            self._give()

    def release(self):
        """It is handled: give the block back, now or when the last view has gone. Twice is fine."""
        if self._hold != HELD:
            return
        if self._views != 0:
            self._hold = GOING
        else:
            self._give()

    cdef void _give(self) noexcept:
        self._hold = GONE
        # A closed region left it for recovery; a forked child has no say.
        if self._queues.region._mode == WRITABLE:
            self._queues.region._held -= 1
            _c.uf_pool_give(self._queues._pool, self.handle)

    def forward(self, uint32_t queue, uint32_t lane):
        """Send the same block on to another queue, without a copy.

        Parameters
        ----------
        queue, lane : int
            Where to.

        Returns
        -------
        int
            `OK`: it is no longer this process's. `FULL` or `BUSY`: it still is.

        Raises
        ------
        BufferError
            While views of the payload live.
        """
        cdef uint32_t bell = 0
        cdef int status
        can_write(self._queues.region)
        self._usable()
        if self._views != 0:
            raise BufferError(f"message {self.handle:#x}: {self._views} views of it live")
        status = _c.uf_queue_send(self._queues._queues, queue, lane, &self.handle, 1, &bell)
        if status <= 0:
            return refused(status, queue, lane)
        self._hold = GONE
        self._queues.region._held -= 1
        if bell & 3:
            self._queues.region._ring(queue, bell)
        return _c.UF_OK

    def __dealloc__(self):
        if self._queues is not None and self._hold != GONE:
            self._give()

    def __repr__(self):
        return (f"<Message {self.handle:#x} kind {self.kind} lane {self.lane} "
                f"{self.nbytes} bytes{' released' if self.released else ''}>")
