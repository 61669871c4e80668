# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""The table as records, and back: what changed in it is packed into segments, and restored of them.

Stands on csrc/uf_table.h, the records' and the table's doors. Knows nothing of files.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from ultrafast.core cimport _c
from ultrafast.core._records cimport (
    BAD_VALUE, ENTRY, HEAD, NAMES, NO_RECORD, OFFSET_BITS, RECORD, SOUND, VOID, Found, Item, Record,
    id_of, make_key, names_of, padded, read_record, record_crc, resume
)
from ultrafast.core._region cimport can_read, can_write
from ultrafast.core._status cimport check
from ultrafast.core._table cimport Table

from ultrafast.core._records import LEAST_ROOM

cdef enum:
    PLACES_PER_BUCKET = 16      # a place is bucket * 16 + slot
    KEY_WORDS = 129             # UF_KEY_BYTES_MAX + 8 bytes
    ROUNDS = 8                  # as many moves as there are sizes of blocks, and some


@cython.final
cdef class Recorder:
    """Packs what changed in a table into segments, and restores it from them.

    Parameters
    ----------
    table : Table
        Read-only is enough to pack. About 192 bytes of private memory are taken for each of its
        buckets, as they are used.
    own : str
        A namespace that is not kept: what is in it is of this region only.

    Notes
    -----
    Threads: one at a time; others go on with the table meanwhile. Waits: never. The interpreter's
    lock is not held while the table is gone through.
    """

    def __cinit__(self, Table table not None, str own=""):
        can_read(table.region)
        self._table = table
        self._own = own.encode()
        self._own_text = self._own
        self._own_bytes = len(self._own)
        self._places = <uint64_t>table._table.buckets * PLACES_PER_BUCKET
        self._held = []
        self._marks = <uint64_t *>PyMem_Calloc(_c.uf_table_marks_bytes(table._table) // 8, 8)
        self._homes = <uint64_t *>PyMem_Calloc(self._places, 8)
        if self._marks == NULL or self._homes == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self._marks)
        PyMem_Free(self._homes)
        free(self._noted)
        free(self._known)
        free(self._left)

    # --- packing

    def begin(self):
        """Begin to go through the table. What was packed before and not committed is lost."""
        can_read(self._table.region)
        self._cursor = 0
        self._noted_count = 0
        self.packed = 0
        self.removed = 0

    def pack(self, uint8_t[::1] out not None, uint64_t segment):
        """Fill a segment with what changed; its head is for `seal` to write.

        Parameters
        ----------
        out : writable buffer
            At least `LEAST_ROOM` bytes.
        segment : int
            Its number.

        Returns
        -------
        used, items : int
            Bytes with the head, and records.
        done : bool
            Whether the table has been gone through.
        needed : int
            Not 0: nothing was packed, for the next entry needs a buffer of so many bytes.
        """
        cdef uint64_t used = HEAD, items = 0, needed = 0, room = len(out)
        cdef int status
        can_read(self._table.region)
        if room < <uint64_t>LEAST_ROOM:
            check(_c.UF_INVALID, f"a buffer of {room} bytes; at least {LEAST_ROOM} are needed")
        self._table.region._pins += 1
        with nogil:
            status = self._pack(&out[0], room, segment, &used, &items, &needed)
        self._table.region._pins -= 1
        if status == _c.UF_NO_BLOCK:
            raise MemoryError()
        if status != _c.UF_EMPTY and status != _c.UF_TOO_BIG and status != _c.UF_FULL:
            check(status, "snapshot")
        return used, items, status == _c.UF_EMPTY, needed

    cdef int _pack(self, uint8_t *out, uint64_t room, uint64_t segment, uint64_t *used,
                   uint64_t *items, uint64_t *needed) noexcept nogil:
        cdef uint64_t words[KEY_WORDS]
        cdef Record record
        cdef _c.uf_entry entry
        cdef uint64_t place, id, names
        cdef int status
        while True:
            if used[0] + RECORD + NAMES + 64 > room:
                return _c.UF_FULL
            status = _c.uf_table_changed(
                self._table._table, self._marks, &self._cursor, self._places, words,
                out + used[0] + RECORD, room - used[0] - RECORD - NAMES - 8, &entry
            )
            if status == _c.UF_TOO_BIG and items[0] == 0:
                needed[0] = HEAD + RECORD + <uint64_t>entry.value_bytes + NAMES + 128
            if status != _c.UF_OK:
                return status
            place = self._cursor - 1
            id = id_of(segment, used[0])
            memset(&record, 0, RECORD)
            record.replaces = self._homes[place]
            if entry.handle == _c.UF_HANDLE_NONE or self._is_own(words, entry.space_bytes):
                if record.replaces == 0:
                    continue  # it came and went between two snapshots
                record.kind = VOID
                record.value_crc = _c.uf_crc(0, NULL, 0)
                names = 0
                id = 0
                self.removed += 1
            else:
                names = <uint64_t>entry.space_bytes + entry.key_bytes
                record.kind = ENTRY
                record.expires_ns = entry.expires_ns
                record.value_bytes = entry.value_bytes
                record.tag = entry.tag
                record.space_bytes = entry.space_bytes
                record.key_bytes = entry.key_bytes
                record.value_crc = _c.uf_crc(0, out + used[0] + RECORD, entry.value_bytes)
                self.packed += 1
            if not self._note(place, id):
                _c.uf_table_forget(self._table._table, self._marks, place)
                return _c.UF_NO_BLOCK
            record.crc = record_crc(&record, id_of(segment, used[0]), words)
            memcpy(out + used[0], &record, RECORD)
            used[0] += RECORD
            memset(out + used[0] + record.value_bytes, 0,
                   padded(record.value_bytes) - record.value_bytes)
            used[0] += padded(record.value_bytes)
            memcpy(out + used[0], words, names)
            memset(out + used[0] + names, 0, padded(names) - names)
            used[0] += padded(names)
            items[0] += 1

    cdef bint _is_own(self, const void *names, uint64_t space_bytes) noexcept nogil:
        return (space_bytes != 0 and space_bytes == self._own_bytes
                and memcmp(names, self._own_text, space_bytes) == 0)

    cdef bint _note(self, uint64_t place, uint64_t home) noexcept nogil:
        cdef uint64_t room = self._noted_room
        cdef Noted *grown
        if self._noted_count == room:
            room = room * 2 if room else 1024
            grown = <Noted *>realloc(self._noted, room * sizeof(Noted))
            if grown == NULL:
                return False
            self._noted = grown
            self._noted_room = room
        self._noted[self._noted_count].place = place
        self._noted[self._noted_count].home = home
        self._noted_count += 1
        return True

    def commit(self):
        """What was packed since `begin` is kept."""
        cdef uint64_t i, place
        for i in range(self._noted_count):
            place = self._noted[i].place
            self.live += (self._noted[i].home != 0)
            self.live -= (self._homes[place] != 0)
            self._homes[place] = self._noted[i].home
        self._noted_count = 0

    def rollback(self):
        """What was packed since `begin` is not kept: it is packed again the next time."""
        cdef uint64_t i
        for i in range(self._noted_count):
            _c.uf_table_forget(self._table._table, self._marks, self._noted[i].place)
        self._noted_count = 0

    def forget(self, uint64_t below):
        """Have the entries packed again whose records are in segments below this one.

        Returns
        -------
        int
            How many they are.
        """
        cdef uint64_t place, count = 0
        can_read(self._table.region)
        self._table.region._pins += 1
        with nogil:
            for place in range(self._places):
                if self._homes[place] != 0 and self._homes[place] >> OFFSET_BITS < below:
                    _c.uf_table_forget(self._table._table, self._marks, place)
                    count += 1
        self._table.region._pins -= 1
        return count

    def forget_all(self):
        """Have everything packed again, as if nothing had ever been."""
        memset(self._marks, 0, _c.uf_table_marks_bytes(self._table._table))
        memset(self._homes, 0, self._places * 8)
        self.live = 0
        self._noted_count = 0

    # --- restoring

    def open(self, segments):
        """Say what there is to restore from, oldest first.

        Parameters
        ----------
        segments : iterable of (int, bytes-like)
            Numbers and segments; the latter are kept until `close`.
        """
        cdef const uint8_t[::1] data
        cdef uint64_t count = 0
        self.close()
        self._held = [(number, memoryview(each)) for number, each in segments]
        self._known = <Known *>realloc(self._known, (len(self._held) + 1) * sizeof(Known))
        if self._known == NULL:
            raise MemoryError()
        for number, each in self._held:
            if count and number <= self._known[count - 1].segment:
                raise ValueError(f"segment {number} after {self._known[count - 1].segment}")
            data = each
            self._known[count].segment = number
            self._known[count].data = &data[0] if len(data) else NULL
            self._known[count].data_bytes = len(data)
            count += 1
        self._known_count = count

    def close(self):
        """Let go of the segments."""
        self._known_count = 0
        self._left_count = 0
        self._left_at = 0
        self._way = 0
        held, self._held = self._held, []
        for _, each in held:
            each.release()

    def restore(self, uint64_t index, uint64_t offset, uint64_t now_ns):
        """Put a segment's records into the table, up to the first that can't be.

        Parameters
        ----------
        index : int
            Of the segment, as `open` got them.
        offset : int
            Where to begin: `HEAD_BYTES`, or what the last call said.
        now_ns : int
            Wall clock: an entry past its expiry is not restored.

        Returns
        -------
        offset : int or None
            Where to go on; None at the segment's end.
        names : tuple of (str, str) or None
            Of a damaged entry, where they can be read.
        status : int
            `OK` at the end, `CORRUPT` for a damaged record; else the table's reason, and the record
            is the one at `offset`. An entry that finds no room is none: it is left for `again`.
        """
        cdef Item item
        cdef Found found = SOUND
        cdef Known known
        cdef uint64_t id
        cdef int status = _c.UF_OK
        can_write(self._table.region)
        if index >= self._known_count:
            check(_c.UF_INVALID, f"segment {index} of {self._known_count}")
        known = self._known[index]
        self._table.region._pins += 1
        with nogil:
            while offset < known.data_bytes:
                found = read_record(known.data, known.data_bytes, known.segment, offset, &item)
                if found != SOUND:
                    break
                id = id_of(known.segment, offset)
                if item.record.kind == VOID:
                    status = self._void(item.record.replaces)
                elif not self._is_own(item.names, item.record.space_bytes):
                    status = self._apply(&item, id, now_ns)
                    if status == _c.UF_NO_BLOCK or status == _c.UF_STORE_FULL:
                        status = self._leave(&item, id)
                if status != _c.UF_OK:
                    break
                offset = item.next
        self._table.region._pins -= 1
        if found == NO_RECORD:
            return resume(known.data, known.data_bytes, known.segment, offset), None, _c.UF_CORRUPT
        if found == BAD_VALUE:
            self._drop(&item)
            self._void(item.record.replaces)
            return item.next, names_of(&item), _c.UF_CORRUPT
        if status != _c.UF_OK:
            return offset, names_of(&item), status
        return None, None, _c.UF_OK

    def again(self, uint64_t now_ns):
        """Restore the entries that found no room, once all that gives room back has been restored.

        Returns
        -------
        None, or names, value_bytes, status
            None: none is left. Else of the first that finds none this time either, and why; the next
            call begins with it.
        """
        cdef Item item
        cdef int status = _c.UF_OK
        can_write(self._table.region)
        self._table.region._pins += 1
        with nogil:
            while self._left_at < self._left_count:
                status = self._once_more(&self._left[self._left_at], &item, now_ns)
                if status != _c.UF_OK:
                    break
                self._left_at += 1
        self._table.region._pins -= 1
        if status == _c.UF_OK:
            return None
        return names_of(&item), item.record.value_bytes, status

    cdef int _once_more(self, const Left *left, Item *item, uint64_t now) noexcept nogil:
        cdef _c.uf_key key
        cdef uint64_t words[KEY_WORDS]
        cdef uint64_t place
        cdef int status
        if left.over or not self._find(left.id, item):
            return _c.UF_OK
        status = make_key(item, self._table._table.seed, words, &key)
        if status != _c.UF_OK:
            return status
        if (_c.uf_table_known(self._table._table, self._marks, &key, &place) == _c.UF_OK
                and self._homes[place] > left.id):
            return _c.UF_OK  # a later record is its key's
        status = self._apply(item, left.id, now)
        while status == _c.UF_NO_BLOCK and self._make_way(now):
            status = self._apply(item, left.id, now)
        return status

    cdef bint _make_way(self, uint64_t now) noexcept nogil:
        """Put the next entry that is restored into the smallest block that is free for it now.

        While later records had not yet given blocks back, entries went into others than they would
        have, had all been there at once. A block may come free by several such moves, one after the
        other: False once all entries were tried ROUNDS times.
        """
        cdef Item item
        cdef uint64_t home
        while self._way < ROUNDS * self._places:
            home = self._homes[self._way % self._places]
            self._way += 1
            if home != 0 and self._find(home, &item) and self._apply(&item, home, now) == _c.UF_OK:
                return True
        return False

    cdef int _leave(self, const void *found, uint64_t id) noexcept nogil:
        """Keep an entry for `again`; what its key had before is not its value any more."""
        cdef const Item *item = <const Item *>found
        cdef uint64_t room = self._left_room
        cdef Left *grown
        cdef int status = self._drop(item)
        if status == _c.UF_OK:
            status = self._void(item.record.replaces)
        if status != _c.UF_OK:
            return status
        if self._left_count == room:
            room = room * 2 if room else 1024
            grown = <Left *>realloc(self._left, room * sizeof(Left))
            if grown == NULL:
                return _c.UF_NO_BLOCK
            self._left = grown
            self._left_room = room
        self._left[self._left_count].id = id
        self._left[self._left_count].over = False
        self._left_count += 1
        return _c.UF_OK

    cdef int _apply(self, const void *found, uint64_t id, uint64_t now) noexcept nogil:
        """Restore one entry."""
        cdef const Item *item = <const Item *>found
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key key
        cdef _c.uf_entry entry
        cdef uint64_t place, before
        cdef int status = make_key(item, self._table._table.seed, words, &key)
        if status != _c.UF_OK:
            return status
        if item.record.expires_ns != 0 and item.record.expires_ns <= now:
            self.expired += 1
            status = self._drop(item)
            return status if status != _c.UF_OK else self._void(item.record.replaces)
        memset(&entry, 0, sizeof(entry))
        entry.tag = item.record.tag
        entry.expires_ns = item.record.expires_ns
        status = _c.uf_table_set(self._table._table, &key, item.value, item.record.value_bytes, 0,
                                 _c.UF_SET_ANY, &entry)
        if status == _c.UF_OK:
            status = _c.uf_table_known(self._table._table, self._marks, &key, &place)
        if status != _c.UF_OK:
            return status
        before = self._homes[place]
        self.live += (before == 0)
        self._homes[place] = id
        self.restored += 1
        # What it replaced was this key's own record, or another key's that is gone.
        return _c.UF_OK if before == item.record.replaces else self._void(item.record.replaces)

    cdef int _drop(self, const void *found) noexcept nogil:
        """Take away what an earlier record gave an entry's key: it is not its value any more."""
        cdef const Item *item = <const Item *>found
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key key
        cdef uint64_t place
        if make_key(item, self._table._table.seed, words, &key) != _c.UF_OK:
            return _c.UF_OK
        if _c.uf_table_known(self._table._table, self._marks, &key, &place) != _c.UF_OK:
            return _c.UF_OK
        self.live -= (self._homes[place] != 0)
        self._homes[place] = 0
        return _c.uf_table_delete(self._table._table, &key, 0, 0)

    cdef bint _find(self, uint64_t id, Item *item) noexcept nogil:
        """The record of this id, if its segment is there and it is one."""
        cdef uint64_t middle, low = 0, high = self._known_count
        cdef uint64_t segment = id >> OFFSET_BITS
        while low < high:
            middle = (low + high) // 2
            if self._known[middle].segment < segment:
                low = middle + 1
            else:
                high = middle
        if low == self._known_count or self._known[low].segment != segment:
            return False  # its segment went long ago, and with it the record
        return read_record(self._known[low].data, self._known[low].data_bytes, segment,
                           (id & ((<uint64_t>1 << OFFSET_BITS) - 1)) << 3, item) != NO_RECORD

    cdef int _void(self, uint64_t id) noexcept nogil:
        """Take away the entry whose record this is, if it is still that of its key."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key key
        cdef Item item
        cdef uint64_t place, middle, low = 0, high = self._left_count
        if id == 0:
            return _c.UF_OK
        while low < high:
            middle = (low + high) // 2
            if self._left[middle].id < id:
                low = middle + 1
            else:
                high = middle
        if low < self._left_count and self._left[low].id == id:
            self._left[low].over = True
        if not self._find(id, &item):
            return _c.UF_OK  # gone long ago; or damaged, and so told already
        if make_key(&item, self._table._table.seed, words, &key) != _c.UF_OK:
            return _c.UF_OK
        if _c.uf_table_known(self._table._table, self._marks, &key, &place) != _c.UF_OK:
            return _c.UF_OK  # gone already
        if self._homes[place] != id:
            return _c.UF_OK  # set again since
        self._homes[place] = 0
        self.live -= 1
        return _c.uf_table_delete(self._table._table, &key, 0, 0)
