from libc.stdint cimport uint64_t

cdef class Correlations:
    cdef uint64_t _last                # the last one given, by this class or by a door that counts on
