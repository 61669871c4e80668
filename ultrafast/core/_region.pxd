from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c

cdef enum Mode:  # in this order: what a call needs is compared with it
    CLOSED = 0
    FORKED = 1
    READABLE = 2
    WRITABLE = 3

cdef class Region:
    cdef _c.uf_system _system          # this attachment; its structures are the other doors'
    cdef Mode _mode
    cdef Py_ssize_t _pins              # views, copies and waits that need the mapping to stay
    cdef Py_ssize_t _held              # messages and loans that are not yet given back or sent
    cdef bint _lingers                 # closed, and mapped until the last view goes
    cdef int *_pipes                   # a descriptor for each queue, -1 until it is opened
    cdef int _spare                    # a descriptor to ring with when there are no more to be had
    cdef bytes _path                   # as the file system spells it
    cdef readonly str path
    cdef readonly bytes settings       # a copy of the creator's
    cdef readonly bint read_only
    cdef object __weakref__            # a forked child looks for the regions of its parent

    cdef Region _opened(self, object path, bytes name)
    cdef int _refuse(self) except -1
    cdef int _pipe(self, uint32_t queue, bint make) except -2
    cdef void _keep_spare(self) noexcept
    cdef void _close_pipes(self) noexcept
    cdef void _ring(self, uint32_t queue, uint32_t seen) noexcept


cdef inline int can_read(Region region) except -1:
    return 0 if region._mode >= READABLE else region._refuse()


cdef inline int can_write(Region region) except -1:
    return 0 if region._mode == WRITABLE else region._refuse()


cdef inline const char *text_of(str text, Py_ssize_t *length) except NULL:
    """The UTF-8 of a str, where it already is when the str is ASCII."""
    if _c.PyUnicode_IS_COMPACT_ASCII(text):
        length[0] = _c.PyUnicode_GET_LENGTH(text)
        return <const char *>_c.PyUnicode_DATA(text)
    return _c.PyUnicode_AsUTF8AndSize(text, length)


cdef uint64_t wall_ns() noexcept nogil
cdef int name_of(str text, Py_ssize_t room, const char **out) except -1
