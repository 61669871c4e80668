from libc.stdint cimport uint64_t

from ultrafast.core._table cimport Table

cdef class Changes:
    cdef Table _table                  # strong
    cdef uint64_t *_marks              # ours: the words that the slots had when they were read
    cdef uint64_t _cursor              # the next place

    cdef object _read(self, Py_ssize_t max, uint64_t buckets, bint values)
