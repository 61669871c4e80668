# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""A queue's items by single calls: `put` and `get` for a class that does nothing else.

Stands on csrc/uf_queue.h and csrc/uf_bell.h. Items go through lane 0 of the queue "items"; the queue
"room" carries nothing, its bell alone is used: senders arm it, receivers ring it. What does not go
at once (another type than bytes, full, empty, closed, forked) is for the subclass, as are all errors.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from ultrafast.core cimport _c
from ultrafast.core._pool cimport copy
from ultrafast.core._queue cimport Queues, refused
from ultrafast.core._region cimport WRITABLE, Region, can_write
from ultrafast.core._status cimport check

from ultrafast import errors

cdef enum:
    # A wait looks this long before it sleeps: more after it was worth it, less after it was not.
    # A wake takes some 3 to 20 us of the ringer's and the sleeper's time; a pause about 40 ns.
    SPIN_MIN_NS = 1000
    SPIN_MAX_NS = 32000
    PAUSES = 8


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef class Items:
    """The two ends of one queue, for any number of threads of this process."""

    def __cinit__(self):
        self._queues = None
        self._spin_ns = SPIN_MAX_NS

    def _join(self, Queues queues not None, uint32_t limit, int raw):
        """Use the queues "items" and "room" of this region, made if they are not there.

        `limit` is how many items there may be, at most the queues' capacity; `raw` the codec of
        bytes as they are.
        """
        if limit == 0 or limit > queues._queues.capacity:
            check(_c.UF_INVALID, f"a limit of {limit}, of {queues._queues.capacity}")
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
        cdef int64_t until
        cdef uint32_t armed
        cdef void *bell
        can_write(queues.region)
        cdef int status = self._send(queues, payload, codec)
        if status == _c.UF_OK or wait_s <= 0:
            return status
        until = monotonic_ns() + <int64_t>(wait_s * 1e9)
        bell = _c.uf_queue_bell(queues._queues, self._room)
        while self._queues is queues:
            if status != _c.UF_NO_BLOCK:
                self._spin(queues, True)
            armed = _c.uf_bell_arm(bell, _c.UF_BELL_FUTEX)
            status = self._send(queues, payload, codec)
            if status == _c.UF_OK or monotonic_ns() >= until:
                break
            self._sleep(queues, self._room, armed, (until - monotonic_ns()) / 1e9)
        return status

    def _take_within(self, double wait_s):
        """The oldest item's bytes and codec, or None when none came within `wait_s` seconds.

        What a dead receiver had comes first. A wait ends early as that of `_send_within` does.
        """
        cdef Queues queues = self._queues
        cdef int64_t until = 0
        cdef uint32_t handle, armed
        cdef int codec, status
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
                payload = self._receive(queues, handle, &codec)
                return payload, codec
            if status != _c.UF_EMPTY and status != _c.UF_BUSY:
                check(status, "items")
            if wait_s <= 0:
                break
            if until == 0:
                until = monotonic_ns() + <int64_t>(wait_s * 1e9)
            if self._spin(queues, False):
                continue
            if monotonic_ns() >= until:
                break
            armed = _c.uf_bell_arm(bell, _c.UF_BELL_FUTEX)
            if _c.uf_queue_is_empty(queues._queues, self._receiver.queue):
                self._sleep(queues, self._receiver.queue, armed, (until - monotonic_ns()) / 1e9)
        return None

    cdef int _spin(self, Queues queues, bint for_room) except -1:
        """Look for a short time, without the interpreter's lock: whether it was worth it."""
        cdef _c.uf_queues *ends = queues._queues
        cdef uint32_t items = self._receiver.queue
        cdef bint found = False
        cdef int each
        cdef int64_t until
        queues.region._pins += 1
        with nogil:
            until = monotonic_ns() + <int64_t>self._spin_ns
            while not found and monotonic_ns() < until:
                for each in range(PAUSES):
                    _c.uf_pause()
                if for_room:
                    found = _c.uf_queue_length(ends, items, 0) < ends.limit
                else:
                    found = not _c.uf_queue_is_empty(ends, items)
        queues.region._pins -= 1
        if found:
            self._spin_ns = min(2 * self._spin_ns, <uint64_t>SPIN_MAX_NS)
        else:
            self._spin_ns = max(self._spin_ns // 2, <uint64_t>SPIN_MIN_NS)
        return found

    cdef int _sleep(self, Queues queues, uint32_t queue, uint32_t armed, double left_s) except -1:
        """Sleep on an armed bell for a slice at most, with no block kept from those who wait."""
        cdef void *bell = _c.uf_queue_bell(queues._queues, queue)
        cdef uint32_t room
        if left_s <= 0:
            return 0
        _c.uf_pool_flush(queues._pool)
        if queue != self._room:
            room = _c.uf_bell_look(_c.uf_queue_bell(queues._queues, self._room))
            if room & 3:
                queues.region._ring(self._room, room)
        queues.region._pins += 1
        with nogil:
            _c.uf_bell_sleep(bell, armed, <uint64_t>(left_s * 1e9))
        queues.region._pins -= 1
        PyErr_CheckSignals()
        return 0
