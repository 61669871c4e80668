cdef class Steps:
    cdef object _rest                  # a coroutine, once there is more to it than one step
    cdef bint _made                    # by whoever may
    cdef bint _begun

    cdef object _begin(self, bint *ended)
    cdef object _first(self, bint *ended)
    cdef object _unawaited(self)


cdef int stepped(type kind) except -1
