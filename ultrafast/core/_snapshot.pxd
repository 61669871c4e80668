from libc.stdint cimport uint8_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._records cimport Item
from ultrafast.core._table cimport Table

cdef struct Noted:                     # a place and its record, once what was packed is kept
    uint64_t place
    uint64_t home

cdef struct Known:                     # a segment that is being restored from
    uint64_t segment
    const uint8_t *data
    uint64_t data_bytes

cdef struct Left:                      # an entry that found no room while it was restored
    uint64_t id                        # of its record
    bint over                          # a later record took its place, or said that it is gone

cdef class Recorder:
    cdef Table _table                  # strong
    cdef uint64_t *_marks              # ours: the words that the slots had when they were packed
    cdef uint64_t *_homes              # ours, by place: the id of its entry's record, 0 for none
    cdef uint64_t _places
    cdef uint64_t _cursor              # the next place to look at
    cdef Noted *_noted                 # since `begin`
    cdef uint64_t _noted_count
    cdef uint64_t _noted_room
    cdef Known *_known                 # sorted by segment
    cdef uint64_t _known_count
    cdef Left *_left                   # sorted by record
    cdef uint64_t _left_count
    cdef uint64_t _left_room
    cdef uint64_t _left_at             # the next that `again` looks at
    cdef uint64_t _way                 # the next place whose entry may move out of the way
    cdef bytes _own                    # a namespace that is not kept
    cdef const char *_own_text
    cdef uint64_t _own_bytes
    cdef list _held                    # memoryviews: keep what _known points to
    cdef readonly uint64_t live        # records that are some place's
    cdef readonly uint64_t packed      # entries packed since `begin`
    cdef readonly uint64_t removed     # entries told to be gone since `begin`
    cdef readonly uint64_t restored    # records put into the table
    cdef readonly uint64_t expired     # records whose time was over

    cdef bint _is_own(self, const void *names, uint64_t space_bytes) noexcept nogil
    cdef bint _note(self, uint64_t place, uint64_t home) noexcept nogil
    cdef int _pack(self, uint8_t *out, uint64_t room, uint64_t segment, uint64_t *used,
                   uint64_t *items, uint64_t *needed) noexcept nogil
    cdef bint _find(self, uint64_t id, Item *item) noexcept nogil
    cdef bint _make_way(self, uint64_t now) noexcept nogil
    cdef int _once_more(self, const Left *left, Item *item, uint64_t now) noexcept nogil
    cdef int _leave(self, const void *found, uint64_t id) noexcept nogil
    cdef int _apply(self, const void *found, uint64_t id, uint64_t now) noexcept nogil
    cdef int _drop(self, const void *found) noexcept nogil
    cdef int _void(self, uint64_t id) noexcept nogil
