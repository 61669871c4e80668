from libc.stdint cimport uint8_t, uint64_t

from ultrafast.core._message cimport Message

cdef class Asked:
    cdef uint64_t until_ns             # CLOCK_MONOTONIC
    cdef object future                 # or an Awaited; None until somebody has to wait
    # The answer, where it came before there was a future: its message, or without one its value.
    cdef Message message
    cdef bint told                     # `value` is it
    cdef object value

cdef class Requests:
    cdef dict _asked                   # number -> Asked
    cdef Asked _here                   # whose asker hands messages out right now; not in `_asked`
    cdef uint64_t _here_number         # its
    cdef bint _near                    # somebody goes on with an answer from here, up the stack
    cdef object _arm                   # called with the time at which to sweep
    cdef uint64_t _armed_ns            # that time; the greatest number for never
    cdef Py_ssize_t _crowd             # so many, and those whose askers have gone are looked for

    cdef Asked _expect(self, uint64_t number, uint64_t until_ns)
    cdef Asked _expect_here(self, uint64_t number, uint64_t until_ns)
    cdef int _tell(self, object value) except -1
    cdef int _settle(self) except -1
    cdef int _enter(self, uint64_t number, Asked asked) except -1
    cdef int _forget(self, uint64_t number) except -1
    cdef bint _answered(self, Message message) except *
    cdef _forget_cancelled(self)
