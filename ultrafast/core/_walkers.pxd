cdef object swapped(object loop, object task)

cdef class Walker:
    cdef readonly object task          # that what it has runs in; set by whoever made it
    cdef readonly object parked        # a Future that wakes the task; None before its first parking
    cdef readonly object coroutine     # what is to be gone on with; None: nothing
    cdef readonly object yielded       # what it waits for
    cdef readonly object context       # that its steps run in

cdef class Walkers:
    cdef list _idle                    # parked
    cdef object _loop
    cdef object _more                  # makes others
    cdef bint _closed

    cdef object _first(self, object coroutine)
