# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""The store's calls of every day, and a namespace's, as one step into the core each.

Stands on the table's door. What does not go at once (no room, numbers beyond 64 bits, times to live)
is for the subclass: `_late` and `_end`, and `_incr`; so are the errors of those.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.list cimport PyList_New
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._entries cimport (
    KEY_WORDS, SHORT_WORDS, TAG_CODEC, TAG_FLOAT, TAG_INT, make_key,
    too_long
)
from ultrafast.core._kept cimport KEPT, drop, recalled
from ultrafast.core._py cimport (
    METH_FASTCALL, METH_KEYWORDS, PyMethodDef, PyTypeObject, PyUnicode_Type, Py_False, Py_None,
    Py_True, ascii_of, fill_item, give_back, is_ascii, is_kind, item_of, length_of, method_of,
    raised, shared, text_near
)
from ultrafast.core._quick cimport (
    SPACES, Space, quick_found, quick_has, quick_key, quick_read, quick_value, quick_write, space_of
)
from ultrafast.core._region cimport READABLE, text_of
from ultrafast.core._table cimport GONE, NEEDS_CODEC, Table

from ultrafast import errors

cdef enum:
    AHEAD = 32                  # keys of a batch that are on their way at once, a power of 2
    LAG_OF_BUCKET = 4           # steps from a key's text to its bucket,
    LAG_OF_BLOCK = 12           # to its block,
    LAG = 20                    # to its use
    INCR_TRIES = 10000          # each means that another's write succeeded

cdef object ABSENT = object()


cdef PyObject *ordinarily(
    object method, StoreDoor self, PyObject *const *given, Py_ssize_t count, PyObject *names
) except NULL:
    """Call a method of `StoreDoor` with the arguments of a quick one."""
    cdef list wanted = [self]
    cdef dict named = {}
    cdef Py_ssize_t i
    for i in range(count):
        wanted.append(<object>given[i])
    if names != NULL:
        for i, name in enumerate(<tuple>names):
            named[name] = <object>given[count + i]
    value = method(*wanted, **named)
    return shared(<PyObject *>value)


cdef PyObject *quick_get(
    StoreDoor self, PyObject *const *given, Py_ssize_t count, PyObject *names
) except NULL:
    cdef PyObject *value
    cdef Space *space
    if names == NULL and (count == 2 or count == 3) and self._shelf is not None:
        value = recalled(self._kept, self._shelf, given[0], given[1])
        if value != NULL:
            return value
        space = space_of(self._spaces, self._shelf._table, given[0])
        if space != NULL:
            value = quick_value(
                self._kept, self._shelf, space, given[0], given[1],
                given[2] if count == 3 else Py_None
            )
            if value != NULL or raised() != NULL:
                return value
    return ordinarily(GET, self, given, count, names)


cdef PyObject *quick_contains(
    StoreDoor self, PyObject *const *given, Py_ssize_t count, PyObject *names
) except NULL:
    cdef uint64_t words[KEY_WORDS]
    cdef _c.uf_key core
    cdef Space *space
    cdef int found
    if names == NULL and count == 2 and self._shelf is not None:
        space = space_of(self._spaces, self._shelf._table, given[0])
        if space != NULL and quick_key(space, given[1], words, &core):
            found = quick_has(self._shelf, &core)
            if found >= 0:
                return shared(Py_True if found else Py_False)
    return ordinarily(CONTAINS, self, given, count, names)


cdef PyObject *quick_set(
    StoreDoor self, PyObject *const *given, Py_ssize_t count, PyObject *names
) except NULL:
    cdef uint64_t words[KEY_WORDS]
    cdef _c.uf_key core
    cdef Space *space
    if names == NULL and count == 3 and self._shelf is not None:
        space = space_of(self._spaces, self._shelf._table, given[0])
        if space != NULL and quick_key(space, given[1], words, &core):
            if not quick_write(self._shelf, &core, given[2]):
                self._put(<str>given[0], <str>given[1], &core, <object>given[2], 0)
            return shared(Py_True)
    return ordinarily(SET, self, given, count, names)


cdef PyObject *ordinary_value(StoreDoor self, str namespace, object key, object default) except NULL:
    """What a quick read did not answer, if it has not raised."""
    if raised() != NULL:
        return NULL
    value = self.get(namespace, key, default)
    return shared(<PyObject *>value)


cdef PyMethodDef[3] QUICK


def quicken(kind):
    """Give a subclass of `StoreDoor` its calls of every day without Cython's parsing of arguments.

    They are made for the very class whose instances are called, since the interpreter's short way to
    a method wants that.
    """
    cdef Py_ssize_t i
    for i in range(3):
        setattr(kind, (<bytes>QUICK[i].ml_name).decode(), method_of(<PyTypeObject *>kind, &QUICK[i]))
    return kind


# Of some keys that are read or written next: made, and on their way from memory.
cdef struct Ahead:
    _c.uf_key core[AHEAD]
    _c.uf_found found[AHEAD]
    int status[AHEAD]           # of `found`
    bint is_short[AHEAD]
    uint64_t words[AHEAD * SHORT_WORDS]


cdef inline void look_ahead(Ahead *ahead, Table table, const Space *space, PyObject *keys,
                            Py_ssize_t count, Py_ssize_t at) noexcept:
    """Before keys[at - LAG] is read or written: bring what those behind it need one step nearer.

    In turns with the reads, so that memory works while values are copied: first the text of a key, then
    its bucket, then its block.
    """
    cdef PyObject *name
    cdef Py_ssize_t i
    if at < count:
        text_near(item_of(keys, at))
    at -= LAG_OF_BUCKET
    if 0 <= at < count:
        i = at & (AHEAD - 1)
        name = item_of(keys, at)
        ahead.is_short[i] = (
            is_kind(name, &PyUnicode_Type) and is_ascii(name)
            and length_of(name) + <Py_ssize_t>space.made.bytes <= (SHORT_WORDS - 1) * 8
            and _c.uf_key_begin(
                &ahead.core[i], &space.made, ascii_of(name), length_of(name)
            ) == _c.UF_OK
        )
        if ahead.is_short[i]:
            _c.uf_table_near(table._table, ahead.core[i].hash)
            _c.uf_key_end(
                &ahead.core[i], &space.made, &ahead.words[i * SHORT_WORDS], ascii_of(name)
            )
    at -= LAG_OF_BLOCK - LAG_OF_BUCKET
    if 0 <= at < count:
        i = at & (AHEAD - 1)
        if ahead.is_short[i] and table.region._mode >= READABLE:
            ahead.status[i] = _c.uf_table_nearer(
                table._table, ahead.core[i].hash, &ahead.found[i]
            )


cdef PyObject *quick_ahead(Ahead *ahead, Py_ssize_t i, Table table, PyObject *default) noexcept:
    """As `quick_read`, of one of these keys."""
    cdef _c.uf_entry entry
    if not ahead.is_short[i] or table.region._mode < READABLE:
        return NULL
    if ahead.status[i] == _c.UF_MISSING:
        return shared(default)
    if (
        ahead.status[i] == _c.UF_OK
        and _c.uf_table_met(table._table, &ahead.core[i], &ahead.found[i], &entry) == _c.UF_OK
        and entry.expires_ns == 0
    ):
        return quick_found(table, &ahead.core[i], &ahead.found[i], &entry)
    return quick_read(table, &ahead.core[i], default, &ahead.found[i])


cdef class StoreDoor:
    """Reads and writes of one store."""

    def __dealloc__(self):
        for i in range(SPACES):
            if self._spaces[i].name != NULL:
                give_back(self._spaces[i].name)
        for i in range(KEPT):
            drop(&self._kept[i])

    def _join(self, Table table not None, encode not None):
        """Use this table; `encode(value)` gives the bytes of what the table keeps no other way."""
        self._shelf = table
        self._encode = encode

    cdef int _put_encoded(self, const _c.uf_key *core, object value, _c.uf_entry *entry) except? -1:
        cdef Py_buffer view
        cdef int status
        data, codec = self._encode(value)
        entry.tag = TAG_CODEC + codec
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            status = self._shelf._write(core, view.buf, view.len, _c.UF_SET_ANY, entry)
        finally:
            PyBuffer_Release(&view)
        return status

    cdef bint _put(self, str namespace, str key, const _c.uf_key *core, object value,
                   uint64_t expires_ns) except -1:
        cdef _c.uf_entry entry
        cdef int status
        entry.stamp = 0
        entry.expires_ns = expires_ns
        status = self._shelf._write_native(core, value, _c.UF_SET_ANY, &entry)
        if status == NEEDS_CODEC:
            status = self._put_encoded(core, value, &entry)
        if status != _c.UF_OK:
            self._late(namespace, key, value, expires_ns)
        return True

    def get(self, str namespace not None, str key not None, default=None):
        """The value, or `default` when there is none."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        make_key(self._shelf._table, namespace, key, words, &core)
        return self._shelf._get(&core, default)

    def set(self, str namespace not None, str key not None, value, *, ttl_s=None):
        """Keep a value, in place of an earlier one."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef uint64_t expires_ns = 0 if ttl_s is None else self._end(ttl_s)
        make_key(self._shelf._table, namespace, key, words, &core)
        return self._put(namespace, key, &core, value, expires_ns)

    def contains(self, str namespace not None, str key not None):
        """Whether there is an entry."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        make_key(self._shelf._table, namespace, key, words, &core)
        return self._shelf._has(&core)

    def delete(self, str namespace not None, str key not None):
        """Take an entry away; whether there was one."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        make_key(self._shelf._table, namespace, key, words, &core)
        return self._shelf._delete(&core, 0)

    # --- many at once: what the next ones need is fetched while the first are served

    def get_batch(self, str namespace not None, keys, default=None):
        """The values of these keys, in their order; `default` for those that are missing."""
        cdef Ahead ahead
        cdef Space space
        cdef list wanted = list(keys)  # ours: nobody changes it meanwhile
        cdef list found = PyList_New(len(wanted))
        cdef Py_ssize_t step, at, i
        cdef PyObject *value
        self._here(namespace, &space)
        cdef Py_ssize_t count = len(wanted)
        for step in range(count + LAG):
            look_ahead(&ahead, self._shelf, &space, <PyObject *>wanted, count, step)
            at = step - LAG
            i = at & (AHEAD - 1)
            if at >= 0:
                value = quick_ahead(&ahead, i, self._shelf, <PyObject *>default)
                if value == NULL:
                    value = ordinary_value(self, namespace, wanted[at], default)
                fill_item(<PyObject *>found, at, value)
        return found

    def _set_many(self, str namespace not None, list keys not None, list values not None,
                  uint64_t expires_ns):
        """Whether each was kept, in order: False for no room."""
        cdef Ahead ahead
        cdef Space space
        cdef Py_ssize_t step, at, i
        cdef list done = [True] * len(keys)
        if len(values) != len(keys):
            raise ValueError(f"{len(keys)} keys and {len(values)} values")
        self._here(namespace, &space)
        cdef Py_ssize_t count = len(keys)
        for step in range(count + LAG):
            look_ahead(&ahead, self._shelf, &space, <PyObject *>keys, count, step)
            at = step - LAG
            i = at & (AHEAD - 1)
            if at >= 0 and (
                expires_ns != 0
                or not ahead.is_short[i]
                or not quick_write(
                    self._shelf, &ahead.core[i], item_of(<PyObject *>values, at)
                )
            ):
                done[at] = self._set_one(namespace, keys[at], values[at], expires_ns)
        return done

    cdef bint _set_one(self, str namespace, object key, object value, uint64_t expires_ns) except -1:
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        if not isinstance(key, str):
            raise TypeError(f"a key is a str, not {type(key).__name__}")
        make_key(self._shelf._table, namespace, <str>key, words, &core)
        try:
            return self._put(namespace, <str>key, &core, value, expires_ns)
        except errors.StoreFull:
            return False

    cdef int _here(self, str namespace, Space *space) except -1:
        """A namespace's part of the keys of a batch."""
        cdef Py_ssize_t length
        cdef const char *text = text_of(namespace, &length)
        if _c.uf_space_make(&space.made, self._shelf._table.seed, text, length) != _c.UF_OK:
            too_long(length, 0)
        return 0

    def delete_batch(self, str namespace not None, keys):
        """Take entries away; for each, whether there was one."""
        cdef Ahead ahead
        cdef Space space
        cdef list wanted = list(keys)
        cdef Py_ssize_t step, at, i
        done = []
        self._here(namespace, &space)
        cdef Py_ssize_t count = len(wanted)
        for step in range(count + LAG):
            look_ahead(&ahead, self._shelf, &space, <PyObject *>wanted, count, step)
            at = step - LAG
            i = at & (AHEAD - 1)
            if at < 0:
                continue
            if ahead.is_short[i]:
                done.append(self._shelf._delete(&ahead.core[i], 0))
            else:
                done.append(self.delete(namespace, wanted[at]))
        return done

    def incr(self, str namespace not None, str key not None, delta=1, *, ttl_s=None):
        """Add to a number; where there is none, it begins with 0."""
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef _c.uf_entry entry
        cdef uint32_t mode
        cdef int status
        make_key(self._shelf._table, namespace, key, words, &core)
        for _ in range(INCR_TRIES):
            before = self._shelf._read(&core, &entry)
            mode = _c.UF_SET_STAMP
            if before is GONE:
                before = 0
                mode = _c.UF_SET_NEW
                entry.stamp = 0
                entry.expires_ns = 0
            elif entry.tag != TAG_INT and entry.tag != TAG_FLOAT:
                break
            if ttl_s is not None:
                entry.expires_ns = self._end(ttl_s)
            total = before + delta
            status = self._shelf._write_native(&core, total, mode, &entry)
            if status == _c.UF_OK:
                return total
            if status != _c.UF_EXISTS and status != _c.UF_MISSING:
                break  # no room, or no number of 64 bits any more
        return self._incr(namespace, key, delta, ttl_s)


cdef class NamespaceDoor:
    """Reads and writes of one namespace."""

    def __cinit__(self, StoreDoor store not None, str name not None):
        self._store = store
        self._shelf = store._shelf
        self.name = name
        store._here(name, &self._space)

    def __getitem__(self, key):
        cdef PyObject *name = <PyObject *>self.name
        cdef PyObject *found = recalled(self._store._kept, self._shelf, name, <PyObject *>key)
        if found == NULL:
            found = quick_value(
                self._store._kept, self._shelf, &self._space, name, <PyObject *>key,
                <PyObject *>ABSENT
            )
        if found == NULL and isinstance(key, str):
            found = ordinary_value(self._store, self.name, key, ABSENT)
        if found == NULL:
            raise KeyError(key)
        value = <object>found
        give_back(found)
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __setitem__(self, str key not None, value):
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        if quick_key(&self._space, <PyObject *>key, words, &core):
            if not quick_write(self._shelf, &core, <PyObject *>value):
                self._store._put(self.name, key, &core, value, 0)
            return
        make_key(self._shelf._table, self.name, key, words, &core)
        self._store._put(self.name, key, &core, value, 0)

    def __delitem__(self, key):
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        if not isinstance(key, str):
            raise KeyError(key)
        make_key(self._shelf._table, self.name, <str>key, words, &core)
        if not self._shelf._delete(&core, 0):
            raise KeyError(key)

    def __contains__(self, key):
        cdef uint64_t words[KEY_WORDS]
        cdef _c.uf_key core
        cdef int found
        if quick_key(&self._space, <PyObject *>key, words, &core):
            found = quick_has(self._shelf, &core)
            return self._shelf._has(&core) if found < 0 else found != 0
        if not isinstance(key, str):
            return False
        make_key(self._shelf._table, self.name, <str>key, words, &core)
        return self._shelf._has(&core)

    def __len__(self):
        return self._shelf.count_in(self.name)


cdef object GET = StoreDoor.get
cdef object CONTAINS = StoreDoor.contains
cdef object SET = StoreDoor.set

QUICK[0] = PyMethodDef(
    b"get", <void *>quick_get, METH_FASTCALL | METH_KEYWORDS,
    b"get($self, /, namespace, key, default=None)\n--\n\n"
    b"The value, or `default` when there is none.",
)
QUICK[1] = PyMethodDef(
    b"contains", <void *>quick_contains, METH_FASTCALL | METH_KEYWORDS,
    b"contains($self, /, namespace, key)\n--\n\nWhether there is an entry.",
)
QUICK[2] = PyMethodDef(
    b"set", <void *>quick_set, METH_FASTCALL | METH_KEYWORDS,
    b"set($self, /, namespace, key, value, *, ttl_s=None)\n--\n\n"
    b"Keep a value, in place of an earlier one.",
)
