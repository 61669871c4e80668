# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Blocks: counting them, and copying to and from one that is ours. What the other doors share.

Stands on csrc/uf_pool.h. Does not take or give blocks: who does must know what they are for.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from ultrafast.core cimport _c
from ultrafast.core._region cimport Region

from ultrafast.core.answers import BlockCount

BLOCK_HEAD_BYTES = _c.UF_BLOCK_HEAD


cdef void copy(Region region, void *out, const void *data, Py_ssize_t count) noexcept:
    """Copy from or to a block that is ours; without the interpreter's lock when that is worth it."""
    if count < LOCKED_COPY_BYTES:
        memcpy(out, data, count)
        return
    region._pins += 1
    with nogil:
        memcpy(out, data, count)
    region._pins -= 1


cdef list block_counts(const _c.uf_pool *pool, Py_ssize_t payload_bytes=0):
    """A `BlockCount` for each size class of a pool that has room for such a payload."""
    cdef uint32_t size_class, free_blocks, blocks, block_bytes
    counts = []
    for size_class in range(pool.classes):
        if _c.uf_pool_room(pool, _c.uf_handle(size_class, 0)) < payload_bytes:
            continue
        _c.uf_pool_count(pool, size_class, &free_blocks, &blocks, &block_bytes)
        counts.append(BlockCount(block_bytes, blocks, free_blocks))
    return counts


cdef object largest_payload(const _c.uf_pool *pool):
    """Bytes that the largest block has room for."""
    cdef uint32_t size_class
    for size_class in range(pool.classes, 0, -1):
        if _c.uf_pool_block(pool, _c.uf_handle(size_class - 1, 0)) != NULL:
            return _c.uf_pool_room(pool, _c.uf_handle(size_class - 1, 0))
    return 0
