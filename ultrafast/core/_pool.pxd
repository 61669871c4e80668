from libc.stdint cimport uint32_t

from ultrafast.core cimport _c
from ultrafast.core._region cimport Region

cdef enum:
    # Below this a copy takes less than handing the interpreter's lock back and forth is worth.
    LOCKED_COPY_BYTES = 262144

cdef void copy(Region region, void *out, const void *data, Py_ssize_t count) noexcept
cdef list block_counts(const _c.uf_pool *pool, Py_ssize_t payload_bytes=*)
cdef object largest_payload(const _c.uf_pool *pool)
