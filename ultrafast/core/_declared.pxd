from libc.stdint cimport uint64_t

from ultrafast.core cimport _c
from ultrafast.core._region cimport Region, wall_ns

cdef class Declared:
    cdef readonly Region region        # strong: the mapping outlives every door onto it
    cdef _c.uf_declared *_declared     # borrowed from `region`


cdef inline void as_declared(
    const _c.uf_declared *declared, const _c.uf_key *key, _c.uf_entry *entry
) noexcept:
    """What is declared of the key's namespace, said of an entry that is to be written."""
    cdef uint64_t settings = _c.uf_declared_settings(declared, key.words, key.space_bytes)
    cdef uint64_t ttl_ms = settings >> _c.UF_DECLARED_TTL_SHIFT
    if settings & _c.UF_DECLARED_CACHE:
        entry.use = _c.UF_USE_IDLE
    if ttl_ms != 0 and entry.expires_ns == 0:
        entry.expires_ns = wall_ns() + ttl_ms * 1000000
