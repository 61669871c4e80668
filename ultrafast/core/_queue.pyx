# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Queues of messages: opening them by name, and sending.

Stands on csrc/uf_queue.h. Does not interpret payloads, and never waits. Receiving is `_receiver`.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport UINT32_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ultrafast.core cimport _c
from ultrafast.core._loan cimport Loan, lend
from ultrafast.core._pool cimport block_counts, copy, largest_payload
from ultrafast.core._region cimport Region, can_read, can_write, name_of
from ultrafast.core._status cimport check

from ultrafast import errors

LANES = _c.UF_LANES
REDELIVERED = _c.UF_MESSAGE_REDELIVERED
ONCE = _c.UF_MESSAGE_ONCE
TRACED = _c.UF_MESSAGE_TRACED
TRACE_BYTES = _c.UF_TRACE_BYTES

cdef enum:
    BATCH = 256


cdef int refused(int status, uint32_t queue, uint32_t lane) except? -1:
    """FULL and BUSY are answers of a send; anything else that is not a count raises."""
    if status == _c.UF_FULL or status == _c.UF_BUSY:
        return status
    return check(status, f"queue {queue}, lane {lane}")


cdef int check_trace(bytes trace) except -1:
    if trace is not None and len(trace) != _c.UF_TRACE_BYTES:
        check(_c.UF_INVALID, f"a trace of {len(trace)} bytes, not {_c.UF_TRACE_BYTES}")
    return 0


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

    def enter(self, str name not None):
        """The queue of this name, made if there is none, so that its deletion is noticed.

        Returns
        -------
        (int, int)
            Its index; and its opening, which tells it from any other queue at that index.
        """
        cdef uint64_t opening = 0
        cdef const char *text
        cdef int status = _c.UF_MISSING
        cdef int tries
        for tries in range(16):
            index = self.open(name)
            name_of(name, _c.UF_NAME_BYTES, &text)
            status = _c.uf_queue_enter(self._queues, text, index, &opening)
            if status == _c.UF_OK:
                return index, opening
            if status != _c.UF_MISSING:
                break
        # Deleted between the two, each time.
        check(_c.UF_BUSY if status == _c.UF_MISSING else status, name)

    def delete(self, uint32_t index, uint64_t opening):
        """Delete a queue that was entered; who sleeps there is woken.

        Returns
        -------
        int
            The opening for a `Receiver` that empties it, and for `retire`.

        Raises
        ------
        QueueDeleted
            It was before.
        """
        cdef uint64_t closing = 0
        cdef uint32_t bell
        can_write(self.region)
        check(_c.uf_queue_delete(self._queues, index, opening, &closing), f"queue {index}")
        bell = _c.uf_bell_look(_c.uf_queue_bell(self._queues, index))
        if bell & 3:
            self.region._ring(index, bell)
        return closing

    def stands(self, uint32_t index, uint64_t opening):
        """Whether a queue that was entered has not been deleted."""
        can_read(self.region)
        return _c.uf_queue_stands(self._queues, index, opening)

    def closing(self, uint32_t index):
        """For who empties a deleted queue, its opening; 0 when there is none at this index."""
        can_read(self.region)
        return _c.uf_queue_closing(self._queues, index)

    def retire(self, uint32_t index, uint64_t closing):
        """Free the place of a deleted queue. False: something is in it, or taken and not given back."""
        can_write(self.region)
        cdef int status = _c.uf_queue_retire(self._queues, index, closing)
        if status == _c.UF_BUSY:
            return False
        check(status, f"queue {index}")
        return True

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
        """The queue's name, that of a deleted one until its place is free; or None."""
        can_read(self.region)
        cdef const char *text = _c.uf_queue_name(self._queues, index)
        if text == NULL:
            return None
        # Copied whole and then cut: another process may be writing over it, and over its end.
        cdef bytes name = text[:_c.UF_NAME_BYTES]
        return name.split(b"\0", 1)[0].decode("utf-8", "replace")

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

    def loan(self, uint32_t nbytes, bint traced=False):
        """A `Loan` to write a payload into, which `send` then takes; None when the pool has none.

        Parameters
        ----------
        nbytes : int
        traced : bool, optional
            It may be sent with a trace: ask for room for one.

        Raises
        ------
        MessageTooBig
            With the bytes and the room there is.
        """
        return lend(self.region, nbytes, _c.UF_TRACE_BYTES if traced else 0)

    def blocks(self, Py_ssize_t payload_bytes=0):
        """A `BlockCount` for each size of block that holds so large a message."""
        can_read(self.region)
        return block_counts(self._pool, payload_bytes)

    cdef int _traced(self, uint32_t handle, bytes trace) except -1:
        """Write a trace behind the payload of a block that is ours, if there is one, and room."""
        cdef _c.uf_message *head
        if trace is None:
            return 0
        head = <_c.uf_message *>_c.uf_pool_block(self._pool, handle)
        if _c.uf_pool_room(self._pool, handle) - head.payload_bytes >= _c.UF_TRACE_BYTES:
            head.flags |= _c.UF_MESSAGE_TRACED
            memcpy(<char *>head + _c.UF_BLOCK_HEAD + head.payload_bytes, PyBytes_AS_STRING(trace),
                   _c.UF_TRACE_BYTES)
        return 0

    cdef int _take_block(self, object payload, uint32_t *handle, bytes trace=None) except? -1:
        """A block with the payload and, where there is room, the trace: OK or NO_BLOCK. A loan's is
        taken from it."""
        cdef Py_buffer view
        cdef const void *data
        cdef Py_ssize_t count
        cdef _c.uf_message *head
        cdef int status
        cdef bint is_bytes = PyBytes_CheckExact(payload)
        if is_bytes:
            data = PyBytes_AS_STRING(payload)
            count = PyBytes_GET_SIZE(payload)
        elif type(payload) is Loan:
            status = (<Loan>payload)._lend(self.region, handle)
            if status == _c.UF_OK:
                (<_c.uf_message *>_c.uf_pool_block(self._pool, handle[0])).flags = 0
                self._traced(handle[0], trace)
            return status
        else:
            PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
            data = view.buf
            count = view.len
        status = _c.UF_TOO_BIG
        if trace is not None and count < <Py_ssize_t>UINT32_MAX - <Py_ssize_t>_c.UF_TRACE_BYTES:
            status = _c.uf_pool_take(self._pool, <uint32_t>count + _c.UF_TRACE_BYTES, handle)
        if status != _c.UF_OK and count < <Py_ssize_t>UINT32_MAX:
            # The message matters more than its trace.
            status = _c.uf_pool_take(self._pool, <uint32_t>count, handle)
        if status == _c.UF_OK:
            head = <_c.uf_message *>_c.uf_pool_block(self._pool, handle[0])
            head.payload_bytes = <uint32_t>count
            head.flags = 0
            self._traced(handle[0], trace)
            copy(self.region, <char *>head + _c.UF_BLOCK_HEAD, data, count)
        if not is_bytes:
            PyBuffer_Release(&view)
        if status == _c.UF_TOO_BIG:
            raise errors.MessageTooBig(
                f"a message of {count} bytes: the largest block has room for"
                f" {largest_payload(self._pool)}"
            )
        return status if status == _c.UF_NO_BLOCK else check(status)

    def send(self, uint32_t queue, uint32_t lane, payload, uint8_t kind=0, uint8_t codec=0,
             uint64_t sender=0, uint64_t receiver=0, uint64_t correlation=0, uint64_t sent_ns=0,
             uint16_t reply_queue=0, uint16_t flags=0, uint8_t attempt=0, uint32_t extra=0,
             bytes trace=None, uint64_t opening=0):
        """Send one message.

        Parameters
        ----------
        queue, lane : int
            Where to; lane 0 is the most urgent.
        payload : bytes-like or Loan
            Copied; of a loan the block is taken, unless the send is refused.
        kind, codec, sender, receiver, correlation, sent_ns, flags, attempt, extra : int
            Carried beside it, as csrc/uf_pool.h names them.
        reply_queue : int
            Index + 1 of the queue that wants the answer; 0 for none.
        trace : bytes, optional
            `TRACE_BYTES` that travel behind the payload.
        opening : int, optional
            What `enter` told: `QueueDeleted` when another queue is there, or none.

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
        check_trace(trace)
        status = self._take_block(payload, &handle, trace)
        if status != _c.UF_OK:
            return status
        head = <_c.uf_message *>_c.uf_pool_block(self._pool, handle)
        head.kind = kind
        head.lane = <uint8_t>lane
        head.flags |= flags
        head.sender = sender
        head.receiver = receiver
        head.correlation = correlation
        head.sent_ns = sent_ns
        head.reply_queue = reply_queue
        head.codec = codec
        head.attempt = attempt
        head.extra = extra
        status = _c.uf_queue_send_to(self._queues, queue, opening, lane, &handle, 1, &bell)
        if status <= 0:
            self._give_back(payload, handle)
            return refused(status, queue, lane)
        if bell & 3:
            self.region._ring(queue, bell)
        return _c.UF_OK

    def send_batch(self, uint32_t queue, uint32_t lane, items, bytes trace=None):
        """Send messages in order, with one look at the receiver's bell for many.

        Parameters
        ----------
        queue, lane : int
            Where to.
        items : sequence of tuple
            ``(payload, kind, codec, sender, receiver, correlation, sent_ns, reply_queue, flags,
            extra)`` each.
        trace : bytes, optional
            `TRACE_BYTES` that travel behind the payload of each.

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
        check_trace(trace)
        items = items if isinstance(items, (list, tuple)) else list(items)
        while total < len(items):
            taken = self._fill(items, total, lane, trace, handles)
            if taken == 0:
                return total
            status = _c.uf_queue_send(self._queues, queue, lane, handles, taken, &bell)
            sent = <uint32_t>status if status > 0 else 0
            total += sent
            for each in range(sent, taken):
                self._give_back(items[total - sent + each][0], handles[each])
            if sent == 0:
                refused(status, queue, lane)
            elif bell & 3:
                self.region._ring(queue, bell)
            if sent < BATCH:
                return total
        return total

    cdef int _give_back(self, object payload, uint32_t handle) except -1:
        """The block of a payload that was refused: the pool's, or its loan's."""
        if type(payload) is Loan:
            (<Loan>payload)._refused()
        else:
            _c.uf_pool_give(self._pool, handle)
        return 0

    cdef uint32_t _fill(
        self, object items, Py_ssize_t start, uint32_t lane, bytes trace, uint32_t *handles
    ) except? 0xFFFFFFFF:
        """Blocks for the items from `start` on, at most BATCH; fewer where one has no block."""
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
                if self._take_block(payload, &handles[taken], trace) != _c.UF_OK:
                    return taken
            except (TypeError, ValueError, OverflowError, BufferError):
                if at == 0:
                    raise
                return taken
            head = <_c.uf_message *>_c.uf_pool_block(self._pool, handles[taken])
            head.kind = kind
            head.lane = <uint8_t>lane
            head.flags |= flags
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
        (<_c.uf_message *>_c.uf_pool_block(self._pool, sent)).flags = 0
        if _c.uf_queue_send(self._queues, queue, 0, &sent, 1, &bell) != 1:
            _c.uf_pool_give(self._pool, sent)
            return False
        memset(&receiver, 0, sizeof(receiver))
        receiver.queue = queue
        if _c.uf_queue_take(self._queues, &receiver, &taken, 1) != 1:
            return False
        if taken != sent:
            # Refused, it stays this process's, and is delivered again after it.
            _c.uf_queue_send(self._queues, queue, 0, &taken, 1, &bell)
            return False
        _c.uf_pool_give(self._pool, taken)
        return True

    def noop(self, uint32_t queue):
        """Nothing: what a call costs."""
        return True
