from ultrafast.core._message cimport Message

cdef class Awaited:
    cdef public bint _asyncio_future_blocking  # as tasks ask it of everything that they wait for
    cdef object _loop
    cdef bint _at_once                 # who waits may go on within `_come`
    cdef bint near                     # who was asked lives here; set by who asks
    cdef bint _done
    cdef bint _cancelled
    cdef object _value
    cdef object _error
    cdef list _callbacks               # (callback, context); None: nobody waits yet, or any more

    cdef bint _come(self, Message answer) except *
    cdef int _end(self) except -1
