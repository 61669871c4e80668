from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._region cimport Region, text_of, wall_ns

cdef enum:
    TAG_NONE = 1
    TAG_TRUE = 2
    TAG_FALSE = 3
    TAG_INT = 4
    TAG_FLOAT = 5
    TAG_STR = 6
    TAG_BYTES = 7
    TAG_CODEC = 16              # this one and all above are the codec's
    SMALL = 512                 # a value up to this many bytes is read onto the stack
    KEY_WORDS = 129             # UF_KEY_BYTES_MAX + 8 bytes
    SHORT_WORDS = 16            # of a key that a batch keeps at hand
    GROWTH_TRIES = 8            # a value may grow between two reads of it


# Where a value goes while it is read.
cdef struct Place:
    PyObject *data              # of a value of bytes: the bytes object itself, ours
    char small[SMALL]           # of another that is short


cdef inline int make_key(
    _c.uf_table *table, str space, str key, uint64_t *words, _c.uf_key *out
) except -1:
    cdef Py_ssize_t space_bytes, key_bytes
    cdef const char *space_text = text_of(space, &space_bytes)
    cdef const char *key_text = text_of(key, &key_bytes)
    if _c.uf_key_make(out, table.seed, words, space_text, space_bytes, key_text, key_bytes) != 0:
        too_long(space_bytes, key_bytes)
    return 0


cdef inline bint is_expired(const _c.uf_entry *entry) noexcept:
    return entry.expires_ns != 0 and wall_ns() >= entry.expires_ns


cdef void *place_value(void *where, const _c.uf_entry *entry) noexcept
cdef str subject_of(const _c.uf_key *key)
cdef int too_long(Py_ssize_t space_bytes, Py_ssize_t key_bytes) except -1
cdef object native(uint32_t tag, const char *data, Py_ssize_t count)
cdef tuple names_of(const char *text, const _c.uf_entry *entry)
cdef int read_into(Region region, const _c.uf_key *key, char *out, uint64_t room,
                   _c.uf_entry *entry) noexcept
