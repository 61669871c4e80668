from libc.stdint cimport uint8_t, uint64_t

from ultrafast.core._message cimport Message

cdef class Asked:
    cdef uint64_t until_ns             # CLOCK_MONOTONIC
    cdef object future                 # None until somebody has to wait
    cdef Message message               # the answer, where it came before there was a future

cdef class Requests:
    cdef dict _asked                   # number -> Asked
    cdef object _arm                   # called with the time at which to sweep
    cdef uint64_t _armed_ns            # that time; the greatest number for never
    cdef Py_ssize_t _crowd             # so many, and those whose askers have gone are looked for

    cdef Asked _expect(self, uint64_t number, uint64_t until_ns)
    cdef int _answered(self, Message message) except -1
    cdef _forget_cancelled(self)
