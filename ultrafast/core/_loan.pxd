from libc.stdint cimport uint8_t, uint32_t

from ultrafast.core cimport _c
from ultrafast.core._region cimport Region

cdef class Loan:
    cdef readonly Region region        # strong: the block is in its mapping
    cdef _c.uf_pool *_pool             # borrowed from `region`
    cdef unsigned char *_data          # the payload in the block
    cdef Py_ssize_t _views
    cdef bint _held                    # the block is ours: not sent, not given back
    cdef readonly uint32_t handle
    cdef readonly uint32_t nbytes
    cdef public uint8_t codec          # what its bytes are, for those who read them
    cdef public object array           # weak: the array that lies in it and goes with it

    cdef int _usable(self) except -1
    cdef int _write(self, const char *data, Py_ssize_t count, Py_ssize_t offset) except -1
    cdef void _give(self) noexcept
    cdef int _lend(self, Region region, uint32_t *handle) except -1
    cdef int _refused(self) except -1


cdef Py_ssize_t clipped(object number) except? -1
cdef Loan lend(Region region, uint32_t nbytes, uint32_t spare)
