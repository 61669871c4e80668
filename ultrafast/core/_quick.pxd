"""One read or write of a stored entry, by the shortest way, compiled into the doors that make them.

Stands on csrc/uf_table.h. What takes longer, fails, or has a time to live is not for here: these
answer that they have done nothing, and the door goes the ordinary way, which says what is wrong.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._entries cimport (
    KEY_WORDS, SMALL, TAG_BYTES, TAG_CODEC, TAG_FALSE, TAG_FLOAT, TAG_INT, TAG_NONE, TAG_STR, TAG_TRUE
)
from ultrafast.core._kept cimport KEPT_BYTES, Kept, keep, recalled
from ultrafast.core._py cimport (
    PyBytes_Type, PyErr_Clear, PyErr_ExceptionMatches, PyExc_OverflowError, PyExc_RecursionError,
    PyExc_ValueError, PyFloat_Type, PyLong_Type, PyUnicode_Type, Py_False, Py_None, Py_True,
    ascii_of, called, content_of, float_from, give_back, int_from, is_ascii, is_kind, length_of,
    number_of, real_of, shared, size_of, text_from, utf8_of
)
from ultrafast.core._region cimport READABLE, WRITABLE
from ultrafast.core._table cimport Table

cdef enum:
    SPACES = 8                  # namespaces that a store's door remembers, by their str
    QUICK_BYTES = 65536         # longer values go the ordinary way


# A namespace that was used: its part of each key.
cdef struct Space:
    PyObject *name              # ours, so that no other str has its address
    _c.uf_space made


cdef inline bint learn_space(Space *space, const _c.uf_table *table, PyObject *name) noexcept:
    """Remember this namespace in the place of another. False: it is no str, or can't be one's name."""
    cdef Py_ssize_t length = 0
    cdef const char *text
    cdef _c.uf_space made
    cdef PyObject *before = space.name
    if not is_kind(name, &PyUnicode_Type):
        return False
    text = utf8_of(name, &length)
    if text == NULL:
        PyErr_Clear()
        return False
    if _c.uf_space_make(&made, table.seed, text, length) != _c.UF_OK:
        return False
    space.made = made
    space.name = shared(name)
    if before != NULL:
        give_back(before)
    return True


cdef inline Space *space_of(Space *spaces, const _c.uf_table *table, PyObject *name) noexcept:
    """Where this namespace is remembered, or NULL."""
    cdef Space *space = &spaces[(<size_t>name >> 5) % SPACES]
    return space if space.name == name or learn_space(space, table, name) else NULL


cdef inline bint quick_key(
    const Space *space, PyObject *name, uint64_t *words, _c.uf_key *key
) noexcept:
    """Whether a key is a str of ASCII that is not too long, and is made."""
    return (
        is_kind(name, &PyUnicode_Type)
        and is_ascii(name)
        and _c.uf_key_in(key, &space.made, words, ascii_of(name), length_of(name)) == _c.UF_OK
    )


cdef inline PyObject *decoded(Table table, PyObject *data) noexcept:
    """Of the first of the codec's tags. NULL: raised, or `Table.decoder` must say what is wrong."""
    cdef PyObject *value = NULL
    if table.quick_decoder is not None:
        value = called(<PyObject *>table.quick_decoder, data)
        if value == NULL and (
            PyErr_ExceptionMatches(PyExc_ValueError)
            or PyErr_ExceptionMatches(PyExc_RecursionError)
            or PyErr_ExceptionMatches(PyExc_OverflowError)
        ):
            PyErr_Clear()
    give_back(data)
    return value


cdef inline PyObject *quick_bytes(
    const _c.uf_table *table, const _c.uf_found *found, const _c.uf_key *key, Py_ssize_t count
) noexcept:
    """The value's bytes; NULL when it was replaced meanwhile."""
    cdef PyObject *data = _c.bytes_of(NULL, count)
    if data == NULL:
        PyErr_Clear()
        return NULL
    if not _c.uf_table_fetch(table, found, key, content_of(data), count):
        give_back(data)
        return NULL
    return data


cdef inline PyObject *quick_value(
    Kept *kept, Table table, const Space *space, PyObject *space_name, PyObject *name,
    PyObject *default
) noexcept:
    """As `quick_read`, and remembered for the next time; `recalled` was asked before."""
    cdef uint64_t words[KEY_WORDS]
    cdef _c.uf_key core
    cdef _c.uf_found found
    cdef PyObject *value
    if not is_kind(name, &PyUnicode_Type) or not is_ascii(name):
        return NULL
    if _c.uf_key_begin(&core, &space.made, ascii_of(name), length_of(name)) != _c.UF_OK:
        return NULL
    if table.region._mode >= READABLE and _c.uf_table_lacks(table._table, core.hash):
        return shared(default)
    _c.uf_key_end(&core, &space.made, words, ascii_of(name))
    value = quick_read(table, &core, default, &found)
    if value != NULL and found.word != 0:
        keep(kept, space_name, name, &found, value)
    return value


cdef inline PyObject *quick_read(
    Table table, const _c.uf_key *key, PyObject *default, _c.uf_found *found
) noexcept:
    """The value, or `default`, ours. NULL: raised, or to be read the ordinary way.

    What is worth keeping is told in `found`, or its word is 0.
    """
    cdef _c.uf_entry entry
    cdef int status
    if table.region._mode < READABLE:
        return NULL
    status = _c.uf_table_glance(table._table, key, found, &entry)
    if status == _c.UF_MISSING:
        found.word = 0
        return shared(default)
    if status != _c.UF_OK or entry.expires_ns != 0:
        return NULL
    return quick_found(table, key, found, &entry)


cdef inline PyObject *quick_found(
    Table table, const _c.uf_key *key, _c.uf_found *found, const _c.uf_entry *entry
) noexcept:
    """As `quick_read`, of the entry that was found and has no time to live."""
    cdef char small[SMALL]
    cdef PyObject *value
    if entry.tag == TAG_BYTES or entry.tag == TAG_CODEC:
        if entry.value_bytes > QUICK_BYTES:
            return NULL
        value = quick_bytes(table._table, found, key, entry.value_bytes)
        if entry.value_bytes > KEPT_BYTES:
            found.word = 0
        if value == NULL or entry.tag == TAG_BYTES:
            return value
        return decoded(table, value)
    if entry.value_bytes > SMALL or not _c.uf_table_fetch(
        table._table, found, key, small, entry.value_bytes
    ):
        return NULL
    if entry.tag == TAG_STR:
        value = text_from(small, entry.value_bytes, NULL)
        if value == NULL:
            PyErr_Clear()
        return value
    if entry.tag == TAG_INT and entry.value_bytes == 8:
        return int_from((<int64_t *>&small[0])[0])
    if entry.tag == TAG_FLOAT and entry.value_bytes == 8:
        return float_from((<double *>&small[0])[0])
    if entry.tag == TAG_NONE:
        return shared(Py_None)
    if entry.tag == TAG_TRUE or entry.tag == TAG_FALSE:
        return shared(Py_True if entry.tag == TAG_TRUE else Py_False)
    return NULL


cdef inline int quick_has(Table table, const _c.uf_key *key) noexcept:
    """Whether there is an entry; -1: to be asked the ordinary way."""
    cdef _c.uf_found found
    cdef _c.uf_entry entry
    cdef int status
    if table.region._mode < READABLE:
        return -1
    status = _c.uf_table_glance(table._table, key, &found, &entry)
    if status == _c.UF_MISSING:
        return 0
    if status == _c.UF_OK and entry.expires_ns == 0:
        if _c.uf_table_fetch(table._table, &found, key, NULL, 0):
            return 1
    return -1


cdef inline bint quick_write(Table table, const _c.uf_key *key, PyObject *value) noexcept:
    """Whether the value was kept, in place of any; what needs a codec, or finds no room, is not."""
    cdef _c.uf_entry entry
    cdef const void *data = NULL
    cdef uint64_t count = 0
    cdef int64_t number
    cdef double real
    cdef int overflow = 0
    if table.region._mode != WRITABLE or _c.uf_declared_any(&table.region._system.declared):
        return False
    entry.stamp = 0
    entry.expires_ns = 0
    entry.use = _c.UF_USE_NONE
    if is_kind(value, &PyBytes_Type):
        entry.tag = TAG_BYTES
        data = content_of(value)
        count = size_of(value)
        if count > QUICK_BYTES:
            return False
    elif is_kind(value, &PyUnicode_Type):
        if not is_ascii(value) or length_of(value) > QUICK_BYTES:
            return False
        entry.tag = TAG_STR
        data = ascii_of(value)
        count = length_of(value)
    elif is_kind(value, &PyLong_Type):
        number = number_of(value, &overflow)
        if overflow != 0:
            return False
        entry.tag = TAG_INT
        data = &number
        count = 8
    elif is_kind(value, &PyFloat_Type):
        real = real_of(value)
        entry.tag = TAG_FLOAT
        data = &real
        count = 8
    elif value == Py_None:
        entry.tag = TAG_NONE
    elif value == Py_True or value == Py_False:
        entry.tag = TAG_TRUE if value == Py_True else TAG_FALSE
    else:
        return False
    return _c.uf_table_set(table._table, key, data, count, 0, _c.UF_SET_ANY, &entry) == _c.UF_OK
