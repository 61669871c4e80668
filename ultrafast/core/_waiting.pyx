# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Waiting, for every door that may: look for a while, then sleep until somebody rings.

Stands on csrc/uf_bell.h and csrc/uf_queue.h. What is waited for is taken by the caller.

A look costs a core's time and nothing else; a sleep costs the sender a system call and the sleeper
some 3 to 50 us until it runs again. How long a look may be is the user's to say (`spin_us`); how
long it is follows from how long the last waits were: it grows to twice a wait that a look could
have met, and halves after each that it could not. Two that wait for each other and sleep make each
other's waits long, and no short look would tell them: so one wait of some looks for as long as it may.
"""

import os

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec

from ultrafast.core cimport _c
from ultrafast.core._queue cimport Queues
from ultrafast.core._status cimport check

from ultrafast import errors

SPIN_US = 50
"""The longest look where nobody says otherwise."""
SPIN_US_MAX = 1_000_000

cdef enum:
    # So little that it is never missed: the next arrival that is quick makes it grow again.
    SPIN_LEAST_NS = 1000
    # One wait of so many that were missed is given the longest look. It costs a sleeper as much of the
    # longest look for each wait as this is of one.
    PROBE = 16
    LOOKS = 16  # between two looks at the clock
    # Some 2 us: who answers at once is met without handing the interpreter's lock back and forth.
    BRIEF_LOOKS = 32


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef int64_t nanoseconds(object timeout_s) except -1:
    """A time to wait: INT64_MAX for None, 0 for one that is over."""
    if timeout_s is None:
        return INT64_MAX
    if not timeout_s < 1e9:
        check(_c.UF_INVALID, f"a timeout of {timeout_s} s")
    return <int64_t>(max(timeout_s, 0) * 1e9)


cdef int set_spin(Spin *spin, object spin_us) except -1:
    """Begin with looks as long as they may be. With one core, who is waited for could not run."""
    if spin_us is None:
        spin_us = SPIN_US
    if not 0 <= spin_us <= SPIN_US_MAX:
        raise errors.InvalidArgument(
            f"spin_us is {spin_us!r}; allowed is 0 (never) to {SPIN_US_MAX:,} microseconds"
        )
    spin.most_ns = <int64_t>(spin_us * 1000)
    if spin.most_ns != 0 and len(os.sched_getaffinity(0)) == 1:
        spin.most_ns = 0
    spin.next_ns = spin.most_ns
    spin.missed = 0
    return 0


cdef int learn(Spin *spin, int64_t waited_ns) noexcept:
    """A wait has ended after so long, looks and sleeps together."""
    if waited_ns <= spin.most_ns:
        spin.missed = 0
        spin.next_ns = min(spin.most_ns, max(spin.next_ns, 2 * waited_ns))
        return 0
    spin.missed += 1
    if spin.missed % PROBE == 0:
        spin.next_ns = spin.most_ns
    elif spin.missed % PROBE == 1 and spin.missed > 1:
        spin.next_ns = min(spin.most_ns, <int64_t>SPIN_LEAST_NS)  # it was in vain
    else:
        spin.next_ns = min(spin.most_ns, max(spin.next_ns // 2, <int64_t>SPIN_LEAST_NS))
    return 0


def learned(spin_us, waits_ns):
    """How long the look after each of these waits would be, in nanoseconds, of one who may look for
    `spin_us`."""
    cdef Spin spin
    set_spin(&spin, spin_us)
    lengths = []
    for waited_ns in waits_ns:
        learn(&spin, waited_ns)
        lengths.append(spin.next_ns)
    return lengths


cdef bint look_briefly(Queues queues, uint32_t queue, Spin *spin) noexcept:
    """Look for a message for a moment, and not at the clock: whether there is one."""
    cdef int each
    for each in range(BRIEF_LOOKS if spin.most_ns != 0 else 1):
        if not _c.uf_queue_is_empty(queues._queues, queue):
            return True
        _c.uf_pause()
    return False


cdef bint look(Queues queues, uint32_t queue, Spin *spin) except -1:
    """Look for a message, without the interpreter's lock: whether there is one."""
    cdef bint found = False
    cdef int each
    cdef int64_t until
    if spin.next_ns == 0:
        return False
    queues.region._pins += 1
    with nogil:
        until = monotonic_ns() + spin.next_ns
        while not found:
            for each in range(LOOKS):
                found = not _c.uf_queue_is_empty(queues._queues, queue)
                if found:
                    break
                _c.uf_pause()
            if monotonic_ns() >= until:
                break
    queues.region._pins -= 1
    return found


cdef bint look_for_room(Queues queues, uint32_t queue, uint32_t lane, uint32_t limit,
                        Spin *spin) except -1:
    """Look for fewer messages than `limit` in a lane: whether it came to that."""
    cdef bint found = False
    cdef int each
    cdef int64_t until
    if spin.next_ns == 0:
        return False
    queues.region._pins += 1
    with nogil:
        until = monotonic_ns() + spin.next_ns
        while not found:
            for each in range(LOOKS):
                _c.uf_pause()
            # The receiver may be waiting for this very core.
            _c.sched_yield()
            found = _c.uf_queue_length(queues._queues, queue, lane) < limit
            if monotonic_ns() >= until:
                break
    queues.region._pins -= 1
    return found


cdef int sleep(Queues queues, uint32_t queue, uint32_t armed, int64_t left_ns) except -1:
    """Sleep on an armed bell, for a slice at most; then signal handlers have their turn."""
    cdef void *bell = _c.uf_queue_bell(queues._queues, queue)
    if left_ns <= 0:
        return 0
    queues.region._pins += 1
    with nogil:
        _c.uf_bell_sleep(bell, armed, <uint64_t>left_ns)
    queues.region._pins -= 1
    PyErr_CheckSignals()
    return 0


cdef int nap(Queues queues, int64_t ns) except -1:
    """Sleep so long, where nobody rings; then signal handlers have their turn."""
    cdef timespec length
    length.tv_sec = ns // 1000000000
    length.tv_nsec = ns % 1000000000
    queues.region._pins += 1
    with nogil:
        nanosleep(&length, NULL)
    queues.region._pins -= 1
    PyErr_CheckSignals()
    return 0


cdef bint wait_for_message(Queues queues, uint32_t queue, Spin *spin, int64_t until,
                           bint alone) except -1:
    """Wait until there is something to take or adopt: False when it is `until` first.

    `alone`: nobody else sleeps on this bell, so it is disarmed when there is no need to sleep.
    """
    cdef int64_t began, now
    cdef uint32_t armed
    cdef void *bell
    if look_briefly(queues, queue, spin):
        return True
    began = monotonic_ns()
    if until > began and look(queues, queue, spin):
        learn(spin, monotonic_ns() - began)
        return True
    bell = _c.uf_queue_bell(queues._queues, queue)
    try:
        while True:
            armed = _c.uf_bell_arm(bell, _c.UF_BELL_FUTEX)
            now = monotonic_ns()
            if not _c.uf_queue_is_empty(queues._queues, queue):
                break
            if now >= until:
                if until > began:
                    learn(spin, INT64_MAX)
                return False
            sleep(queues, queue, armed, until - now)
            # Rung, the bell is disarmed; armed again it would cost the next sender a call.
            if not _c.uf_queue_is_empty(queues._queues, queue):
                alone = False
                break
    finally:
        if alone:
            _c.uf_bell_disarm(bell)
    learn(spin, monotonic_ns() - began)
    return True
