# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Stored entries as the doors onto the table see them: keys, tags, values of our own tags.

Stands on csrc/uf_table.h. What the table's doors share; has nothing to call from Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_Clear
from cpython.ref cimport Py_CLEAR
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ultrafast.core cimport _c
from ultrafast.core._pool cimport LOCKED_COPY_BYTES
from ultrafast.core._region cimport Region

from ultrafast import errors

ANY = _c.UF_SET_ANY
NEW = _c.UF_SET_NEW
STAMP = _c.UF_SET_STAMP
KEY_BYTES_MAX = _c.UF_KEY_BYTES_MAX
NONE = TAG_NONE
TRUE = TAG_TRUE
FALSE = TAG_FALSE
INT = TAG_INT
FLOAT = TAG_FLOAT
STR = TAG_STR
BYTES = TAG_BYTES
FIRST_CODEC_TAG = TAG_CODEC


cdef int too_long(Py_ssize_t space_bytes, Py_ssize_t key_bytes) except -1:
    raise errors.InvalidArgument(
        f"a namespace of {space_bytes} bytes and a key of {key_bytes}:"
        f" together at most {_c.UF_KEY_BYTES_MAX}"
    )


cdef str subject_of(const _c.uf_key *key):
    """Namespace and key, for a message."""
    cdef const char *text = <const char *>key.words
    space = text[:key.space_bytes].decode("utf-8", "replace")
    name = text[key.space_bytes:key.space_bytes + key.key_bytes].decode("utf-8", "replace")
    return f"{space!r} {name!r}"


cdef void *place_value(void *where, const _c.uf_entry *entry) noexcept:
    """Called as a value is found: bytes go where they will stay, other short ones onto the stack.

    What is longer goes nowhere yet: it is copied without the interpreter's lock, or needs another
    form than bytes.
    """
    cdef Place *place = <Place *>where
    if entry.tag != TAG_BYTES and entry.tag < TAG_CODEC:
        return place.small if entry.value_bytes <= SMALL else NULL
    if entry.value_bytes >= LOCKED_COPY_BYTES:
        return NULL
    Py_CLEAR(place.data)
    place.data = _c.bytes_of(NULL, entry.value_bytes)
    if place.data == NULL:
        PyErr_Clear()  # the second attempt says it, where an exception can be raised
        return NULL
    return PyBytes_AS_STRING(<object>place.data)


cdef object native(uint32_t tag, const char *data, Py_ssize_t count):
    """The value of one of our own tags."""
    cdef int64_t number
    cdef double real
    if tag == TAG_BYTES:
        return PyBytes_FromStringAndSize(data, count)
    if tag == TAG_STR:
        try:
            return PyUnicode_DecodeUTF8(data, count, NULL)
        except UnicodeDecodeError as error:
            raise errors.RegionCorrupt(f"a stored text of {count} bytes is none: {error}") from None
    if tag == TAG_INT and count == 8:
        memcpy(&number, data, 8)
        return number
    if tag == TAG_FLOAT and count == 8:
        memcpy(&real, data, 8)
        return real
    if tag == TAG_NONE:
        return None
    if tag == TAG_TRUE or tag == TAG_FALSE:
        return tag == TAG_TRUE
    raise errors.RegionCorrupt(f"a stored value of {count} bytes has the tag {tag}: none of ours")


cdef tuple names_of(const char *text, const _c.uf_entry *entry):
    """Namespace and key, as uf_table_next copies them."""
    return (
        text[:entry.space_bytes].decode("utf-8", "replace"),
        text[entry.space_bytes:entry.space_bytes + entry.key_bytes].decode("utf-8", "replace"),
    )


cdef int read_into(
    Region region, const _c.uf_key *key, char *out, uint64_t room, _c.uf_entry *entry
) noexcept:
    """A read of a value larger than SMALL; without the interpreter's lock when that is worth it."""
    cdef int status
    if room < LOCKED_COPY_BYTES:
        return _c.uf_table_get(&region._system.table, key, 0, out, room, entry)
    region._pins += 1
    with nogil:
        status = _c.uf_table_get(&region._system.table, key, 0, out, room, entry)
    region._pins -= 1
    return status
