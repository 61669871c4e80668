from libc.stdint cimport int64_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._queue cimport Queues

cdef struct Spin:
    int64_t most_ns                    # the longest look; 0: never look, sleep at once
    int64_t next_ns                    # how long the next look lasts; in [SPIN_LEAST_NS, most_ns]
    uint32_t missed                    # waits in a row that were longer than the longest look


cdef int64_t monotonic_ns() noexcept nogil
cdef int64_t nanoseconds(object timeout_s) except -1
cdef int set_spin(Spin *spin, object spin_us) except -1
cdef int learn(Spin *spin, int64_t waited_ns) noexcept
cdef bint look_briefly(Queues queues, uint32_t queue, Spin *spin) noexcept
cdef bint look(Queues queues, uint32_t queue, Spin *spin) except -1
cdef bint look_for_room(Queues queues, uint32_t queue, uint32_t lane, uint32_t limit,
                        Spin *spin) except -1
cdef int sleep(Queues queues, uint32_t queue, uint32_t armed, int64_t left_ns) except -1
cdef int nap(Queues queues, int64_t ns) except -1
cdef bint wait_for_message(Queues queues, uint32_t queue, Spin *spin, int64_t until,
                           bint alone) except -1
