# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""The store's table: values by namespace and key, read whole and without locks.

Stands on csrc/uf_table.h. Keeps None, bool, int of 64 bits, float, str and bytes as they are; other
values come encoded, with a tag of the codec's, and go through `Table.decoder` on their way out.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_CLEAR, Py_DECREF
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp

from ultrafast.core cimport _c
from ultrafast.core._entries cimport (
    GROWTH_TRIES, KEY_WORDS, Place, TAG_BYTES, TAG_CODEC, TAG_FALSE, TAG_FLOAT, TAG_INT, TAG_NONE,
    TAG_STR, TAG_TRUE, is_expired, make_key, names_of, native, place_value, read_into, subject_of
)
from ultrafast.core._declared cimport as_declared
from ultrafast.core._pool cimport block_counts, largest_payload
from ultrafast.core._region cimport Region, can_read, can_write, text_of, wall_ns
from ultrafast.core._status cimport check

from ultrafast import errors
from ultrafast.core._entries import (
    ANY, BYTES, FALSE, FIRST_CODEC_TAG, FLOAT, INT, KEY_BYTES_MAX, NEW, NONE, STAMP, STR, TRUE
)
from ultrafast.core.answers import Entry

GONE = object()


@cython.final
cdef class Table:
    """Values in shared memory by (namespace, key).

    Parameters
    ----------
    region : Region
        Attached; read-only is enough to read.

    Attributes
    ----------
    decoder : callable or None
        ``decoder(tag, data)`` makes the value of a tag of the codec's.
    quick_decoder : callable or None
        ``quick_decoder(data)`` makes that of `FIRST_CODEC_TAG`; where it raises, `decoder` is asked.
    """

    def __cinit__(self, Region region not None):
        can_read(region)
        self.region = region
        self._table = &region._system.table
        self.decoder = None
        self.quick_decoder = None

    cdef object _read(self, const _c.uf_key *key, _c.uf_entry *entry):
        """The value, a codec's as its bytes; NULL is no answer of Cython's, so `GONE` for none."""
        cdef Place place
        cdef object value
        cdef int status
        can_read(self.region)
        place.data = NULL
        status = _c.uf_table_read(self._table, key, 0, place_value, &place, entry)
        if status == _c.UF_OK and (entry.expires_ns == 0 or not is_expired(entry)):
            if place.data != NULL and (entry.tag == TAG_BYTES or entry.tag >= TAG_CODEC):
                value = <object>place.data
                Py_DECREF(value)
                return value
            value = native(entry.tag, place.small, entry.value_bytes)
            Py_CLEAR(place.data)
            return value
        Py_CLEAR(place.data)
        if status == _c.UF_OK or status == _c.UF_MISSING:
            return GONE
        if status != _c.UF_TOO_BIG:
            check(status, subject_of(key))
        value = self._large(key, entry)
        if value is None:
            return GONE
        if entry.tag == TAG_BYTES or entry.tag >= TAG_CODEC:
            return value
        return native(entry.tag, value, entry.value_bytes)

    cdef bytes _large(self, const _c.uf_key *key, _c.uf_entry *entry):
        """The bytes of a value that was found to be long; None when it is gone by now."""
        cdef bytes value = None
        cdef int status = _c.UF_TOO_BIG
        cdef int tries = 0
        while status == _c.UF_TOO_BIG and tries < GROWTH_TRIES:  # it may grow between two reads
            value = PyBytes_FromStringAndSize(NULL, entry.value_bytes)
            status = read_into(self.region, key, PyBytes_AS_STRING(value), len(value), entry)
            tries += 1
        if status == _c.UF_MISSING:
            return None
        if status != _c.UF_OK:
            check(_c.UF_BUSY if status == _c.UF_TOO_BIG else status, subject_of(key))
        if is_expired(entry):
            return None
        return value if <uint32_t>len(value) == entry.value_bytes else value[:entry.value_bytes]

    cdef object _get(self, const _c.uf_key *key, object default):
        """The value, decoded; `default` when there is none."""
        cdef _c.uf_entry entry
        cdef object value = self._read(key, &entry)
        if value is GONE:
            return default
        if entry.tag < TAG_CODEC:
            return value
        if entry.tag == TAG_CODEC and self.quick_decoder is not None:
            try:
                return self.quick_decoder(value)
            except (ValueError, RecursionError, OverflowError):
                pass  # `decoder` says what is wrong
        if self.decoder is None:
            raise TypeError(f"{subject_of(key)}: tag {entry.tag} needs a decoder; none is set")
        return self.decoder(entry.tag, value)

    def get(self, str space not None, str key not None, default=None):
        """The value, or `default` when there is none."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        make_key(self._table, space, key, words, &core)
        return self._get(&core, default)

    def get_entry(self, str space not None, str key not None):
        """The `Entry`, or None; a value with a tag of the codec's is left as its bytes."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef _c.uf_entry entry
        make_key(self._table, space, key, words, &core)
        value = self._read(&core, &entry)
        return None if value is GONE else Entry(value, entry.tag, entry.stamp, entry.expires_ns)

    cdef bint _has(self, const _c.uf_key *key) except -1:
        """Whether there is an entry."""
        cdef _c.uf_entry entry
        can_read(self.region)
        cdef int status = _c.uf_table_get(self._table, key, 0, NULL, 0, &entry)
        if status == _c.UF_MISSING:
            return False
        if status != _c.UF_OK and status != _c.UF_TOO_BIG:
            check(status, subject_of(key))
        return entry.expires_ns == 0 or not is_expired(&entry)

    def contains(self, str space not None, str key not None):
        """True when there is a value."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        make_key(self._table, space, key, words, &core)
        return self._has(&core)

    cdef int _write(
        self, const _c.uf_key *key, const void *data, Py_ssize_t count, uint32_t mode,
        _c.uf_entry *entry
    ) except? -1:
        """Any status but the errors."""
        cdef int status
        can_write(self.region)
        entry.use = _c.UF_USE_NONE
        if _c.uf_declared_any(&self.region._system.declared):
            as_declared(&self.region._system.declared, key, entry)
        status = _c.uf_table_set(
            self._table, key, data, count, 0 if mode == _c.UF_SET_ANY else wall_ns(), mode, entry
        )
        if status == _c.UF_OK or status == _c.UF_EXISTS or status == _c.UF_MISSING:
            return status
        if status == _c.UF_NO_BLOCK or status == _c.UF_STORE_FULL or status == _c.UF_BUSY:
            return status
        if status == _c.UF_TOO_BIG:
            room = largest_payload(&self.region._system.values)
            raise errors.ValueTooBig(
                f"{subject_of(key)}: a value of {count} bytes: the largest block has room for"
                f" {room} with the key; cut it in several, or raise Config(largest_value_bytes=...)"
            )
        return check(status, subject_of(key))

    cdef int _write_native(
        self, const _c.uf_key *key, object value, uint32_t mode, _c.uf_entry *entry
    ) except? -1:
        """As `_write`; 1: the value needs a codec."""
        cdef const char *data = NULL
        cdef Py_ssize_t count = 0
        cdef int64_t number
        cdef double real
        kind = type(value)
        if kind is bytes:
            entry.tag = TAG_BYTES
            data = PyBytes_AS_STRING(value)
            count = PyBytes_GET_SIZE(value)
        elif kind is str:
            entry.tag = TAG_STR
            data = text_of(value, &count)
        elif kind is int:
            entry.tag = TAG_INT
            try:
                number = value
            except OverflowError:
                return NEEDS_CODEC
            data = <const char *>&number
            count = 8
        elif kind is float:
            entry.tag = TAG_FLOAT
            real = value
            data = <const char *>&real
            count = 8
        elif value is None:
            entry.tag = TAG_NONE
        elif kind is bool:
            entry.tag = TAG_TRUE if value else TAG_FALSE
        else:
            return NEEDS_CODEC
        return self._write(key, data, count, mode, entry)

    def set(self, str space not None, str key not None, value, uint64_t expires_ns=0):
        """Keep a value that needs no codec.

        Parameters
        ----------
        space, key : str
            Together at most `KEY_BYTES_MAX` bytes of UTF-8.
        value : None, bool, int, float, str or bytes
            An int of at most 64 bits; subclasses are refused, since they would come back as these.
        expires_ns : int, optional
            CLOCK_REALTIME after which it is gone; 0 for never.

        Returns
        -------
        bool
            False: there is no room, and nothing has changed.

        Raises
        ------
        TypeError, ValueTooBig, InvalidArgument, Contended
            Nothing has changed.
        """
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef _c.uf_entry entry
        entry.stamp = 0
        entry.expires_ns = expires_ns
        make_key(self._table, space, key, words, &core)
        cdef int status = self._write_native(&core, value, _c.UF_SET_ANY, &entry)
        if status == _c.UF_OK:
            return True
        if status == NEEDS_CODEC:
            raise refusal_of(&core, value)
        if status == _c.UF_BUSY:
            check(status, subject_of(&core))
        return False

    def set_encoded(self, str space not None, str key not None, data, uint32_t tag,
                    uint64_t expires_ns=0, uint32_t mode=_c.UF_SET_ANY, uint64_t stamp=0):
        """Keep bytes under a tag.

        Parameters
        ----------
        space, key : str
            As `set`.
        data : bytes-like
            Copied.
        tag : int
            From `FIRST_CODEC_TAG` on.
        expires_ns : int, optional
            As `set`.
        mode : int, optional
            `ANY`; `NEW`: only where there is none; `STAMP`: only over the entry with this stamp.
        stamp : int, optional
            For `STAMP`.

        Returns
        -------
        status : int
            `OK`, `EXISTS` (there is one, or one with another stamp), `MISSING`, `NO_BLOCK`,
            `STORE_FULL`, `BUSY`. Nothing has changed unless `OK`.
        stamp : int
            The new entry's, or that of the one in the way; 0 for none.
        """
        cdef Py_buffer view
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef _c.uf_entry entry
        cdef int status
        if tag < TAG_CODEC:
            check(_c.UF_INVALID, f"tag {tag}: the codec's begin with {TAG_CODEC}")
        if mode > _c.UF_SET_STAMP:
            check(_c.UF_INVALID, f"mode {mode}")
        entry.tag = tag
        entry.stamp = stamp
        entry.expires_ns = expires_ns
        make_key(self._table, space, key, words, &core)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            status = self._write(&core, view.buf, view.len, mode, &entry)
        finally:
            PyBuffer_Release(&view)
        return status, stamp_of(status, &entry)

    def compare_and_set(self, str space not None, str key not None, value, uint64_t stamp,
                        uint64_t expires_ns=0):
        """Keep a value if the entry is still the one with this stamp; stamp 0: if there is none.

        Parameters
        ----------
        space, key, value, expires_ns
            As `set`.
        stamp : int
            From `get_entry`, or from the last write.

        Returns
        -------
        status, stamp : int
            As `set_encoded`.
        """
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef _c.uf_entry entry
        cdef uint32_t mode = _c.UF_SET_STAMP if stamp != 0 else _c.UF_SET_NEW
        entry.stamp = stamp
        entry.expires_ns = expires_ns
        make_key(self._table, space, key, words, &core)
        cdef int status = self._write_native(&core, value, mode, &entry)
        if status == NEEDS_CODEC:
            raise refusal_of(&core, value)
        return status, stamp_of(status, &entry)

    cdef bint _delete(self, const _c.uf_key *key, uint64_t stamp) except -1:
        """Whether an entry, with `stamp` the one of this stamp, was taken away.

        Without a stamp an entry whose time is over goes too, but was none; who names it by its
        stamp knows of its time.
        """
        can_write(self.region)
        cdef int status = _c.uf_table_delete(self._table, key, wall_ns() if stamp == 0 else 0, stamp)
        if status == _c.UF_MISSING or status == _c.UF_EXISTS:
            return False
        if status != _c.UF_OK:
            check(status, subject_of(key))
        return True

    def delete(self, str space not None, str key not None, uint64_t stamp=0):
        """Take the entry away. False: there is none, or, with `stamp`, none with this stamp."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        make_key(self._table, space, key, words, &core)
        return self._delete(&core, stamp)

    def scan(self, uint64_t cursor, str space=None, Py_ssize_t max=256):
        """Some of the keys: those after `cursor`.

        Parameters
        ----------
        cursor : int
            0 to begin with, then what the last call answered.
        space : str, optional
            Only this namespace's.
        max : int, optional
            How many at most.

        Returns
        -------
        cursor : int or None
            None at the end.
        keys : list of (str, str)
            Namespace and key. An entry that stays throughout is seen, once.
        """
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_entry entry
        cdef Py_ssize_t wanted_bytes = 0
        cdef const char *wanted = NULL
        cdef const char *text = <const char *>&words[0]
        cdef uint64_t now = wall_ns()
        cdef int status
        can_read(self.region)
        if space is not None:
            wanted = text_of(space, &wanted_bytes)
        found = []
        while len(found) < max:
            status = _c.uf_table_next(self._table, &cursor, now, words, &entry)
            if status == _c.UF_EMPTY:
                return None, found
            check(status, "scan")
            if wanted != NULL and (
                entry.space_bytes != wanted_bytes or memcmp(text, wanted, wanted_bytes) != 0
            ):
                continue
            found.append(names_of(text, &entry))
        return cursor, found

    def expired(self, uint64_t cursor, Py_ssize_t max=256):
        """The entries whose time is over, of some of the entries: those after `cursor`.

        Parameters
        ----------
        cursor : int
            As `scan`.
        max : int, optional
            How many entries are looked at, at most.

        Returns
        -------
        cursor : int or None
            As `scan`.
        entries : list of (str, str, int)
            Namespace, key, and the stamp to delete it by.
        """
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_entry entry
        cdef const char *text = <const char *>&words[0]
        cdef Py_ssize_t looked = 0
        cdef int status
        can_read(self.region)
        found = []
        while looked < max:
            status = _c.uf_table_next(self._table, &cursor, 0, words, &entry)
            if status == _c.UF_EMPTY:
                return None, found
            check(status, "expired")
            looked += 1
            if is_expired(&entry):
                space, key = names_of(text, &entry)
                found.append((space, key, entry.stamp))
        return cursor, found

    def keys(self, str space=None):
        """Iterate over (namespace, key), of all namespaces or of one."""
        cursor = 0
        while cursor is not None:
            cursor, found = self.scan(cursor, space)
            yield from found

    def count(self):
        """Entries, expired ones too: already old when it returns. Cost: one pass over the buckets."""
        can_read(self.region)
        return _c.uf_table_count(self._table)

    def count_in(self, str space not None):
        """Entries of one namespace that are not over. Cost: one pass over all entries."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_entry entry
        cdef Py_ssize_t wanted_bytes
        cdef const char *wanted = text_of(space, &wanted_bytes)
        cdef uint64_t now = wall_ns()
        cdef uint64_t cursor = 0
        cdef uint64_t found = 0
        can_read(self.region)
        while _c.uf_table_next(self._table, &cursor, now, words, &entry) == _c.UF_OK:
            found += (
                entry.space_bytes == wanted_bytes and memcmp(words, wanted, wanted_bytes) == 0
            )
        return found

    def blocks(self):
        """A `BlockCount` for each size of block for values."""
        can_read(self.region)
        return block_counts(&self.region._system.values)

    def noop(self, str space not None, str key not None, default=None):
        """Nothing, with the arguments of `get`: what a call costs."""
        return default


cdef uint64_t stamp_of(int status, const _c.uf_entry *entry) noexcept:
    """The stamp that goes with the answer of a write."""
    return entry.stamp if status == _c.UF_OK or status == _c.UF_EXISTS else 0


cdef object refusal_of(const _c.uf_key *key, object value):
    """The exception for a value that only a codec can keep."""
    if type(value) is int:
        return TypeError(f"{subject_of(key)}: an int beyond 64 bits; encode it")
    return TypeError(
        f"{subject_of(key)}: {type(value).__name__} is not None, bool, int, float, str or bytes;"
        " encode it"
    )
