# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""What is declared of namespaces, and the room that a full store finds by it.

Stands on csrc/uf_declared.h and uf_clock.h. Does not decide how long to look, nor what a full store
means for who writes.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp

from ultrafast.core cimport _c
from ultrafast.core._entries cimport KEY_WORDS, make_key
from ultrafast.core._region cimport Region, can_read, can_write, text_of, wall_ns
from ultrafast.core._status cimport check

from ultrafast import errors

NAMESPACES_MAX = _c.UF_DECLARED
NAME_BYTES_MAX = _c.UF_DECLARED_NAME_BYTES


@cython.final
cdef class Declared:
    """The declarations of one region.

    Parameters
    ----------
    region : Region
        Attached; read-only is enough to read.
    """

    def __cinit__(self, Region region not None):
        can_read(region)
        self.region = region
        self._declared = &region._system.declared

    def declare(self, str space not None, bint cache, uint64_t ttl_ms):
        """Say what a namespace is, from now on and to all processes.

        Parameters
        ----------
        space : str
            At most `NAME_BYTES_MAX` bytes of UTF-8.
        cache : bool
            A full store may take its entries back.
        ttl_ms : int
            How long entries live that bring no time of their own; 0 for ever.

        Raises
        ------
        InvalidArgument
            The name is too long, the time too long, or `NAMESPACES_MAX` others are declared.
        """
        cdef Py_ssize_t count
        cdef const char *text = text_of(space, &count)
        cdef uint64_t settings
        cdef int status
        can_write(self.region)
        if ttl_ms > _c.UF_DECLARED_TTL_MAX_MS:
            check(_c.UF_INVALID, f"namespace {space!r}: a time to live of {ttl_ms} ms")
        settings = _c.UF_DECLARED_TOLD | ttl_ms << _c.UF_DECLARED_TTL_SHIFT
        if cache:
            settings |= _c.UF_DECLARED_CACHE
        status = _c.uf_declare(self._declared, text, count, settings)
        if status == _c.UF_TOO_BIG:
            raise errors.InvalidArgument(
                f"namespace {space!r} has {count} bytes: at most {NAME_BYTES_MAX} can be declared"
            )
        if status == _c.UF_FULL:
            raise errors.InvalidArgument(
                f"namespace {space!r}: {NAMESPACES_MAX} others are declared, which is the most"
            )
        check(status, f"namespace {space!r}")

    def of(self, str space not None):
        """(cache, ttl_ms, evicted, expired) of a namespace; None when it is not declared."""
        cdef Py_ssize_t count
        cdef const char *text = text_of(space, &count)
        cdef uint64_t evicted, expired
        can_read(self.region)
        cdef uint64_t settings = _c.uf_declared_settings(self._declared, text, count)
        if settings & _c.UF_DECLARED_TOLD == 0:
            return None
        _c.uf_declared_counted(
            self._declared, _c.uf_declared_find(self._declared, text, count), &evicted, &expired
        )
        return (
            bool(settings & _c.UF_DECLARED_CACHE), settings >> _c.UF_DECLARED_TTL_SHIFT,
            evicted, expired
        )

    def names(self):
        """The namespaces that are declared."""
        cdef char text[_c.UF_DECLARED_NAME_BYTES]
        cdef uint64_t settings
        cdef uint32_t index, count
        can_read(self.region)
        found = []
        for index in range(_c.UF_DECLARED):
            if _c.uf_declared_at(self._declared, index, &settings, text, &count) == _c.UF_OK:
                found.append(text[:count].decode("utf-8", "replace"))
        return found

    def any(self):
        """Whether anything was ever declared."""
        can_read(self.region)
        return _c.uf_declared_any(self._declared)

    def counted(self):
        """(evicted, expired) of all namespaces."""
        cdef uint64_t evicted, expired
        can_read(self.region)
        _c.uf_declared_counted(self._declared, NULL, &evicted, &expired)
        return evicted, expired

    def count_expired(self, str space not None, uint64_t number):
        """Count entries of a namespace that were removed because their time was over."""
        cdef Py_ssize_t count
        cdef const char *text = text_of(space, &count)
        can_write(self.region)
        _c.uf_declared_count(
            self._declared, _c.uf_declared_find(self._declared, text, count), 0, number
        )

    def classes(self):
        """(block_bytes, blocks) of each size, without a look at the blocks."""
        cdef uint32_t size_class, free_blocks
        cdef const _c.uf_pool *pool = &self.region._system.values
        can_read(self.region)
        return [
            (pool.size_class[size_class].block_bytes, pool.size_class[size_class].count)
            for size_class in range(pool.classes)
        ]

    def sweep(self, uint32_t size_class, uint32_t steps, uint32_t want):
        """Look at some blocks of a size; (evicted, expired) of the entries taken away.

        Parameters
        ----------
        size_class : int
            Index in `classes`.
        steps : int
            How many blocks at most; the interpreter's lock is kept meanwhile.
        want : int
            How many entries are enough.
        """
        cdef _c.uf_clocked done
        done.steps = done.evicted = done.expired = 0
        can_write(self.region)
        check(
            _c.uf_clock_sweep(
                &self.region._system.table, self._declared, size_class, wall_ns(), steps, want, &done
            ),
            f"size class {size_class}",
        )
        return done.evicted, done.expired

    def sweep_bucket(self, str space not None, str key not None):
        """Take one entry out of a key's bucket; (evicted, expired)."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef _c.uf_clocked done
        done.steps = done.evicted = done.expired = 0
        can_write(self.region)
        make_key(&self.region._system.table, space, key, words, &core)
        _c.uf_clock_bucket(
            &self.region._system.table, self._declared, core.hash, wall_ns(), &done
        )
        return done.evicted, done.expired

    def measure(self, str space not None):
        """(entries, bytes) of a namespace's names and values. Cost: one pass over all entries."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_entry entry
        cdef Py_ssize_t wanted_bytes
        cdef const char *wanted = text_of(space, &wanted_bytes)
        cdef uint64_t now = wall_ns()
        cdef uint64_t cursor = 0
        cdef uint64_t found = 0
        cdef uint64_t size = 0
        can_read(self.region)
        while _c.uf_table_next(
            &self.region._system.table, &cursor, now, words, &entry
        ) == _c.UF_OK:
            if entry.space_bytes == wanted_bytes and memcmp(words, wanted, wanted_bytes) == 0:
                found += 1
                size += entry.space_bytes + entry.key_bytes + entry.value_bytes
        return found, size
