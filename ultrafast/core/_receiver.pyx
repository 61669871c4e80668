# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Receivers: taking messages from a queue, and sleeping until there is one.

Stands on csrc/uf_queue.h and csrc/uf_bell.h. Waits in `Receiver.wait` alone; an event loop watches
`Receiver.fileno` instead.
"""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._message cimport wrap
from ultrafast.core._queue cimport Queues
from ultrafast.core._region cimport can_read, can_write
from ultrafast.core._status cimport check
from ultrafast.core._waiting cimport monotonic_ns, nanoseconds, set_spin, wait_for_message

cdef enum:
    TAKE_MAX = 1024


@cython.final
@cython.no_gc  # its queues cannot refer to it
cdef class Receiver:
    """Takes messages from one queue. Several may share a queue, each with its own `Receiver`.

    Parameters
    ----------
    queues : Queues
        Of a region that was not attached read-only.
    index : int
        Of an open queue.
    spin_us : float, optional
        The longest look of `wait` before it sleeps; 0 for none.
    opening : int, optional
        What `Queues.enter` told: `QueueDeleted` from `take` and `adopt` when another queue is there,
        or none.
    """

    def __cinit__(self, Queues queues not None, uint32_t index, spin_us=0, uint64_t opening=0):
        can_write(queues.region)
        if index >= queues._queues.count:
            check(_c.UF_INVALID, f"queue {index} of {queues._queues.count}")
        if _c.uf_queue_name(queues._queues, index) == NULL:
            check(_c.UF_MISSING, f"queue {index} is not open")
        self.queues = queues
        self.index = index
        self._receiver.queue = index
        self._receiver.opening = opening
        set_spin(&self._spin, spin_us)

    def take(self, uint32_t max=32):
        """Up to `max` messages (at most 1024), urgent lanes first; an empty list when none are there.

        Each is this process's until it is released.
        """
        return self._take(max) or []

    cdef list _take(self, uint32_t max):
        cdef uint32_t handles[TAKE_MAX]
        can_write(self.queues.region)
        cdef int taken = _c.uf_queue_take(
            self.queues._queues, &self._receiver, handles, max if max < TAKE_MAX else TAKE_MAX
        )
        return self._wrap_all(taken, handles)

    def adopt(self, uint32_t max=1024):
        """Up to `max` messages that a dead receiver had, oldest first, marked redelivered.

        To be called before `take`, until it answers none: they were sent before what is in the queue.
        """
        cdef uint32_t handles[TAKE_MAX]
        can_write(self.queues.region)
        cdef int taken = _c.uf_queue_adopt_as(
            self.queues._queues, &self._receiver, handles, max if max < TAKE_MAX else TAKE_MAX
        )
        return self._wrap_all(taken, handles) or []

    cdef list _wrap_all(self, int taken, const uint32_t *handles):
        """The messages; None when there are none."""
        cdef int each
        if taken == _c.UF_EMPTY or taken == _c.UF_BUSY:
            return None
        if taken < 0:
            check(taken, f"queue {self.index}")
        if taken == 1:  # no list that grows
            return [wrap(self.queues, handles[0], self.index)]
        return [wrap(self.queues, handles[each], self.index) for each in range(taken)]

    @property
    def has_orphans(self):
        """True when a dead receiver's messages wait to be adopted."""
        can_read(self.queues.region)
        return _c.uf_queue_has_orphans(self.queues._queues, self.index)

    def look(self, uint32_t longest_ns):
        """Look for a moment, without sleeping, whether there is something to take or adopt.

        Notes
        -----
        Waits: `longest_ns`, with the interpreter's lock: meant for some microseconds.
        """
        cdef int64_t until
        cdef int pause
        can_write(self.queues.region)
        until = monotonic_ns() + longest_ns
        while _c.uf_queue_is_empty(self.queues._queues, self.index):
            if monotonic_ns() >= until:
                return False
            for pause in range(8):
                _c.uf_pause()
        return True

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
        """Look, then sleep, until there is something to take or adopt.

        Parameters
        ----------
        timeout_s : float, optional
            The longest wait; for ever without it.

        Returns
        -------
        bool
            False when the time passed.

        Notes
        -----
        Waits: for a sender, without the interpreter's lock. Signal handlers run meanwhile; when one
        raises, the wait ends with its exception.
        """
        cdef int64_t left = nanoseconds(timeout_s)
        can_write(self.queues.region)
        return wait_for_message(
            self.queues, self.index, &self._spin,
            INT64_MAX if left == INT64_MAX else monotonic_ns() + left, True
        )
