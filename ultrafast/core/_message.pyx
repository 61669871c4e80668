# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Messages: what a head says, the payload in place, and when its block is given back.

Stands on csrc/uf_pool.h and csrc/uf_queue.h. Does not interpret payloads.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._pool cimport copy
from ultrafast.core._queue cimport Queues, refused
from ultrafast.core._region cimport READABLE, WRITABLE, can_read, can_write

from ultrafast import errors


cdef Message wrap(Queues queues, uint32_t handle, uint32_t queue):
    """The message in a block that has just been taken."""
    cdef _c.uf_message *head = <_c.uf_message *>_c.uf_pool_block(queues._pool, handle)
    cdef Message message = Message.__new__(Message)
    message._queues = queues
    message._hold = HELD
    message._views = 0
    message.handle = handle
    message._look(head)
    message.queue = queue
    message.extra = head.extra
    message.kind = head.kind
    message.lane = head.lane
    message.codec = head.codec
    message.attempt = head.attempt
    message.reply_queue = head.reply_queue
    message.sender = head.sender
    message.receiver = head.receiver
    message.correlation = head.correlation
    message.sent_ns = head.sent_ns
    queues.region._held += 1
    return message


cdef bytes trace_behind(const _c.uf_pool *pool, uint32_t handle):
    """The trace behind the payload of a block that is ours; behind the note, where that is shared."""
    cdef const _c.uf_message *head = <const _c.uf_message *>_c.uf_pool_block(pool, handle)
    cdef uint32_t room = _c.uf_pool_room(pool, handle)
    cdef uint32_t count = head.payload_bytes  # once: another process may write over it
    if not head.flags & _c.UF_MESSAGE_TRACED or count > room or room - count < _c.UF_TRACE_BYTES:
        return None
    return PyBytes_FromStringAndSize(
        <const char *>head + _c.UF_BLOCK_HEAD + count, _c.UF_TRACE_BYTES
    )


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

    cdef void _look(self, _c.uf_message *head) noexcept:
        """Where its payload lies: in its own block, or in one that it shares."""
        cdef _c.uf_shared shared
        cdef _c.uf_pool *pool = self._queues._pool
        self._note_bytes = 0
        self.flags = head.flags
        if self.flags & _c.UF_MESSAGE_REFERENCE:
            self.nbytes = 0
            self._damaged = _c.uf_share_look(pool, self.handle, &shared) != _c.UF_OK
            if not self._damaged:
                self._data, self.nbytes = shared.payload, shared.payload_bytes
                self._note, self._note_bytes = shared.note, shared.note_bytes
            return
        self._data = <unsigned char *>head + _c.UF_BLOCK_HEAD
        self.nbytes = head.payload_bytes
        self._damaged = self.nbytes > _c.uf_pool_room(pool, self.handle)

    cdef int _usable(self) except -1:
        can_read(self._queues.region)
        if self._hold != HELD:
            raise errors.InvalidArgument(f"message {self.handle:#x}: released or sent on already")
        if self._damaged:
            if self.flags & _c.UF_MESSAGE_REFERENCE:
                raise errors.RegionCorrupt(
                    f"message {self.handle:#x}: the payload that it says it shares is not there"
                )
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
    def trace(self):
        """The bytes behind the payload that name a trace; None without, and after `release`.

        Of a message that shares its payload, they stand behind its note.
        """
        if self._hold != HELD or self._damaged or self._queues.region._mode < READABLE:
            return None
        return trace_behind(self._queues._pool, self.handle)

    @property
    def released(self):
        """True once it was released or sent on."""
        return self._hold != HELD

    @property
    def payload(self):
        """A read-only view of the payload where it lies; it keeps the block."""
        return PyMemoryView_FromObject(self)

    @property
    def note(self):
        """What a message that shares its payload with others was sent with besides."""
        self._usable()
        return PyBytes_FromStringAndSize(<const char *>self._note, self._note_bytes)

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
        """It is handled: give the block back, now or when the last view has gone. Twice is fine.

        From here on it is not delivered again, even if this process dies with views of it.
        """
        self._let_go()

    cdef void _let_go(self) noexcept:
        if self._hold != HELD:
            return
        if self._views != 0:
            self._hold = GOING
            if self._queues.region._mode == WRITABLE:
                _c.uf_message_handled(self._queues._pool, self.handle)
        else:
            self._give()

    cdef void _give(self) noexcept:
        self._hold = GONE
        # A closed region left it for recovery; a forked child has no say.
        if self._queues.region._mode == WRITABLE:
            self._queues.region._held -= 1
            _c.uf_message_give(self._queues._pool, self.handle)

    def forward(self, uint32_t queue, uint32_t lane, uint64_t opening=0):
        """Send the same block on to another queue, without a copy.

        Parameters
        ----------
        queue, lane : int
            Where to.
        opening : int, optional
            What `Queues.enter` told.

        Returns
        -------
        int
            `OK`: it is no longer this process's. `FULL`, `BUSY`, or `DELETED`: it still is.

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
        status = _c.uf_queue_send_to(
            self._queues._queues, queue, opening, lane, &self.handle, 1, &bell
        )
        if status == _c.UF_DELETED:
            return status
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
