from libc.stdint cimport uint32_t

from ultrafast.core cimport _c
from ultrafast.core._region cimport Region

cdef class Queues:
    cdef readonly Region region        # strong: the mapping outlives every door onto it
    cdef _c.uf_queues *_queues         # borrowed from `region`, as the pool
    cdef _c.uf_pool *_pool

    cdef int _traced(self, uint32_t handle, bytes trace) except -1
    cdef int _take_block(self, object payload, uint32_t *handle, bytes trace=*) except? -1
    cdef int _give_back(self, object payload, uint32_t handle) except -1
    cdef uint32_t _fill(self, object items, Py_ssize_t start, uint32_t lane,
                        bytes trace, uint32_t *handles) except? 0xFFFFFFFF


cdef int check_trace(bytes trace) except -1
cdef int refused(int status, uint32_t queue, uint32_t lane) except? -1
