from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ultrafast.core cimport _c

cdef enum:
    HEAD = 64
    RECORD = 40
    OFFSET_BITS = 24            # of an id: the offset, in words of 8 bytes
    NAMES = 1032                # room for the longest names, padded

cdef enum Kind:
    ENTRY = 1
    VOID = 2

cdef enum Found:
    SOUND = 0
    BAD_VALUE = 1               # the record's head and names are sound, its value is not
    NO_RECORD = 2               # whatever stands here is no record, or a damaged one

cdef packed struct Head:
    uint8_t magic[8]
    uint32_t crc
    uint32_t items
    uint64_t segment
    uint64_t floor
    uint64_t made_ns
    uint64_t first
    uint64_t total
    uint32_t last
    uint32_t reserved

cdef packed struct Record:
    uint32_t crc
    uint32_t value_crc
    uint64_t expires_ns
    uint64_t replaces           # id of what had the place before, of another key perhaps; 0: nothing
    uint32_t value_bytes
    uint32_t tag
    uint16_t space_bytes
    uint16_t key_bytes
    uint32_t kind

cdef struct Item:
    Record record
    const uint8_t *value
    const uint8_t *names
    uint64_t next               # offset of what follows


cdef inline uint64_t padded(uint64_t count) noexcept nogil:
    return (count + 7) & ~<uint64_t>7


cdef inline uint64_t id_of(uint64_t segment, uint64_t offset) noexcept nogil:
    return segment << OFFSET_BITS | offset >> 3


cdef uint32_t record_crc(const Record *record, uint64_t id, const void *names) noexcept nogil
cdef Found read_record(const uint8_t *data, uint64_t total, uint64_t segment, uint64_t offset,
                       Item *item) noexcept nogil
cdef uint64_t resume(const uint8_t *data, uint64_t total, uint64_t segment,
                     uint64_t offset) noexcept nogil
cdef int make_key(const Item *item, uint64_t seed, uint64_t *words, _c.uf_key *key) noexcept nogil
cdef tuple names_of(const Item *item)
