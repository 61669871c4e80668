# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""A queue's items by single calls: `put` and `get` for a class that does nothing else.

Stands on csrc/uf_queue.h and csrc/uf_bell.h. Items go through lane 0 of the queue "items"; the queue
"room" carries nothing, its bell alone is used: senders arm it, receivers ring it. What does not go
at once (another type than bytes, full, empty, closed, forked) is for the subclass, as are all errors.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memset

from ultrafast.core cimport _c
from ultrafast.core._pool cimport copy
from ultrafast.core._queue cimport Queues, refused
from ultrafast.core._region cimport WRITABLE, can_write
from ultrafast.core._status cimport check
from ultrafast.core._waiting cimport (
    learn, look, look_briefly, look_for_room, monotonic_ns, set_spin, sleep,
)

from ultrafast import errors


cdef class Items:
    """The two ends of one queue, for any number of threads of this process."""

    def __cinit__(self):
        self._queues = None

    def _join(self, Queues queues not None, uint32_t limit, int raw, spin_us=None):
        """Use the queues "items" and "room" of this region, made if they are not there.

        `limit` is how many items there may be, at most the queues' capacity; `raw` the codec of
        bytes as they are; `spin_us` how long a wait may look before it sleeps.
        """
        if limit == 0 or limit > queues._queues.capacity:
            check(_c.UF_INVALID, f"a limit of {limit}, of {queues._queues.capacity}")
        set_spin(&self._items_spin, spin_us)
        set_spin(&self._room_spin, spin_us)
        memset(&self._receiver, 0, sizeof(self._receiver))
        self._receiver.queue = queues.open("items")
        self._room = queues.open("room")
        self._raw = raw
        queues._queues.limit = limit
        self._queues = queues

    def _leave(self):
        """From now on `_here` is false."""
        self._queues = None

    def _here(self):
        """Whether the region is there for this process: not left, not its parent's."""
        return self._queues is not None and self._queues.region._mode == WRITABLE

    def _count(self):
        """Items in the queue."""
        can_write(self._queues.region)
        return _c.uf_queue_length(self._queues._queues, self._receiver.queue, 0)

    def put(self, obj, block=True, timeout=None):
        """Put an object into the queue.

        Parameters
        ----------
        obj : object
        block : bool, optional
            Wait for room.
        timeout : float, optional
            The longest wait, in seconds; for ever without it.

        Raises
        ------
        queue.Full
            There was no room, in the time given.
        """
        cdef Queues queues = self._queues
        if PyBytes_CheckExact(obj) and queues is not None and queues.region._mode == WRITABLE:
            if self._send(queues, obj, self._raw) == _c.UF_OK:
                return
        self._put(obj, block, timeout)

    def get(self, block=True, timeout=None):
        """Take the oldest object out of the queue.

        Parameters
        ----------
        block : bool, optional
            Wait for one.
        timeout : float, optional
            The longest wait, in seconds; for ever without it.

        Returns
        -------
        object

        Raises
        ------
        queue.Empty
            There was none, in the time given.
        """
        cdef Queues queues = self._queues
        cdef uint32_t handle
        cdef int codec
        cdef object payload
        if queues is not None and queues.region._mode == WRITABLE:
            if not _c.uf_queue_has_orphans(queues._queues, self._receiver.queue):
                if _c.uf_queue_take(queues._queues, &self._receiver, &handle, 1) == 1:
                    payload = self._receive(queues, handle, &codec)
                    return payload if codec == self._raw else self._made(payload, codec)
        return self._get(block, timeout)

    cdef int _send(self, Queues queues, object payload, int codec) except? -1:
        """Send without waiting: OK, FULL, NO_BLOCK or BUSY."""
        cdef uint32_t handle = 0
        cdef uint32_t bell = 0
        cdef _c.uf_message *head
        cdef int status = queues._take_block(payload, &handle)
        if status != _c.UF_OK:
            return status
        head = <_c.uf_message *>_c.uf_pool_block(queues._pool, handle)
        head.lane = 0
        head.flags = 0
        head.attempt = 0
        head.codec = <uint8_t>codec
        status = _c.uf_queue_send(queues._queues, self._receiver.queue, 0, &handle, 1, &bell)
        if status <= 0:
            _c.uf_pool_give(queues._pool, handle)
            return refused(status, self._receiver.queue, 0)
        if bell & 3:
            queues.region._ring(self._receiver.queue, bell)
        return _c.UF_OK

    cdef object _receive(self, Queues queues, uint32_t handle, int *codec):
        """The bytes of an item that was taken; its block is given back, and senders told."""
        cdef _c.uf_message *head = <_c.uf_message *>_c.uf_pool_block(queues._pool, handle)
        cdef uint32_t count = head.payload_bytes
        cdef uint32_t room = _c.uf_pool_room(queues._pool, handle)
        cdef uint32_t bell = 0
        cdef object payload
        codec[0] = head.codec
        if count > room:
            _c.uf_pool_give(queues._pool, handle)
            raise errors.RegionCorrupt(
                f"an item's head claims {count} bytes, its block has room for {room}"
            )
        try:
            payload = PyBytes_FromStringAndSize(NULL, count)
        except MemoryError:
            # Not lost: last in the queue again; or, if that is full, delivered after this process.
            _c.uf_queue_send(queues._queues, self._receiver.queue, 0, &handle, 1, &bell)
            raise
        copy(queues.region, PyBytes_AS_STRING(payload), <char *>head + _c.UF_BLOCK_HEAD, count)
        _c.uf_pool_give(queues._pool, handle)
        # The slot was cleared before this look, as a push comes before a sender's (uf_bell.h). The
        # slot's order is weaker than a push's: a sleeper missed for that looks again after a slice.
        bell = _c.uf_bell_look(_c.uf_queue_bell(queues._queues, self._room))
        if bell & 3:
            _c.uf_pool_flush(queues._pool)
            queues.region._ring(self._room, bell)
        return payload

    def _send_within(self, payload, int codec, double wait_s):
        """Send; where there is no room, once there is, but wait no longer than `wait_s` seconds.

        OK, or the status of the last attempt: FULL, NO_BLOCK or BUSY. A wait ends early when a
        signal's handler raises, or this process leaves.
        """
        cdef Queues queues = self._queues
        cdef uint32_t limit
        cdef int64_t began, until
        cdef uint32_t armed
        cdef void *bell
        can_write(queues.region)
        cdef int status = self._send(queues, payload, codec)
        if status == _c.UF_OK or wait_s <= 0:
            return status
        began = monotonic_ns()
        until = began + <int64_t>(wait_s * 1e9)
        limit = queues._queues.limit
        bell = _c.uf_queue_bell(queues._queues, self._room)
        while self._queues is queues:
            if status != _c.UF_NO_BLOCK:
                # A quarter of it, so that the sender does not chase the receiver from slot to slot.
                look_for_room(
                    queues, self._receiver.queue, 0, limit - limit // 4, &self._room_spin
                )
            armed = _c.uf_bell_arm(bell, _c.UF_BELL_FUTEX)
            status = self._send(queues, payload, codec)
            if status == _c.UF_OK or monotonic_ns() >= until:
                break
            self._sleep(queues, self._room, armed, until - monotonic_ns())
        learn(&self._room_spin, monotonic_ns() - began)
        return status

    def _take_within(self, double wait_s):
        """The oldest item's bytes and codec, or None when none came within `wait_s` seconds.

        What a dead receiver had comes first. A wait ends early as that of `_send_within` does.
        """
        cdef Queues queues = self._queues
        cdef int64_t began = 0
        cdef int64_t until = 0
        cdef uint32_t handle, armed
        cdef int codec, status
        cdef bint looked = False
        cdef void *bell
        can_write(queues.region)
        bell = _c.uf_queue_bell(queues._queues, self._receiver.queue)
        while self._queues is queues:
            status = _c.UF_EMPTY
            if _c.uf_queue_has_orphans(queues._queues, self._receiver.queue):
                status = _c.uf_queue_adopt(queues._queues, self._receiver.queue, &handle, 1)
            if status == _c.UF_EMPTY:
                status = _c.uf_queue_take(queues._queues, &self._receiver, &handle, 1)
            if status == 1:
                if began != 0:
                    learn(&self._items_spin, monotonic_ns() - began)
                payload = self._receive(queues, handle, &codec)
                return payload, codec
            if status != _c.UF_EMPTY and status != _c.UF_BUSY:
                check(status, "items")
            if wait_s <= 0:
                break
            if not looked:
                looked = True
                if look_briefly(queues, self._receiver.queue, &self._items_spin):
                    continue
            if began == 0:
                began = monotonic_ns()
                until = began + <int64_t>(wait_s * 1e9)
                if look(queues, self._receiver.queue, &self._items_spin):
                    continue
            if monotonic_ns() >= until:
                learn(&self._items_spin, monotonic_ns() - began)
                break
            armed = _c.uf_bell_arm(bell, _c.UF_BELL_FUTEX)
            if _c.uf_queue_is_empty(queues._queues, self._receiver.queue):
                self._sleep(queues, self._receiver.queue, armed, until - monotonic_ns())
        return None

    cdef int _sleep(self, Queues queues, uint32_t queue, uint32_t armed, int64_t left_ns) except -1:
        """Sleep on an armed bell for a slice at most, with no block kept from those who wait."""
        cdef uint32_t room
        _c.uf_pool_flush(queues._pool)
        if queue != self._room:
            room = _c.uf_bell_look(_c.uf_queue_bell(queues._queues, self._room))
            if room & 3:
                queues.region._ring(self._room, room)
        return sleep(queues, queue, armed, left_ns)
