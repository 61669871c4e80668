"""What a process has read, given again without reading it while nobody has written its key.

Stands on csrc/uf_table.h, whose uf_table_again says whether an entry is still its key's. A value is kept
once the same entry was read twice, under the very str objects that it was asked for with, so that
two addresses say that it is asked for again. Containers are given as copies: what is kept is nobody's.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from ultrafast.core cimport _c
from ultrafast.core._py cimport (
    PyBool_Type, PyBytes_Type, PyDict_Type, PyErr_Clear, PyFloat_Type, PyList_Type, PyLong_Type,
    PyUnicode_Type, Py_None, add_to_list, copy_of_dict, fill_item, give_back, is_kind, item_of, items_in,
    new_list, next_of_dict, part_of_list, put_in_dict, raised, shared
)
from ultrafast.core._region cimport READABLE
from ultrafast.core._table cimport Table

cdef enum:
    KEPT = 256                  # places, one for a key, whose address says which
    KEPT_BYTES = 1024           # a longer value is read each time
    KEPT_DEPTH = 8              # so deep do containers lie in each other, or they are decoded each time


# A place. All of it is zero at first.
cdef struct Kept:
    PyObject *space             # ours, as the next three
    PyObject *name
    PyObject *value
    PyObject *inner             # of a dict: a list of its keys with containers, each before its own
    _c.uf_found found
    uint64_t met                # the slot's word of the entry that was read here last,
    PyObject *asked             # and where the key's str was: nobody's, only compared


cdef inline bint is_constant(PyObject *value) noexcept:
    """Whether everybody may have the same one."""
    return (
        is_kind(value, &PyUnicode_Type) or is_kind(value, &PyLong_Type)
        or is_kind(value, &PyFloat_Type) or is_kind(value, &PyBytes_Type)
        or is_kind(value, &PyBool_Type) or value == Py_None
    )


cdef inline PyObject *copied_dict(PyObject *value, int depth) noexcept:
    cdef PyObject *copy = copy_of_dict(value)
    cdef PyObject *key
    cdef PyObject *item
    cdef PyObject *fresh
    cdef Py_ssize_t at = 0
    cdef int status
    while copy != NULL and next_of_dict(copy, &at, &key, &item):
        if is_constant(item):
            continue
        fresh = copied(item, depth)
        status = -1
        if fresh != NULL:
            status = put_in_dict(copy, key, fresh)  # the key is there: the dict's order stays
            give_back(fresh)
        if status != 0:
            give_back(copy)
            return NULL
    return copy


cdef inline PyObject *copied_list(PyObject *value, int depth) noexcept:
    cdef PyObject *copy = part_of_list(value, 0, items_in(value))
    cdef PyObject *item
    cdef PyObject *fresh
    cdef Py_ssize_t at = 0
    while copy != NULL and at < items_in(copy):
        item = item_of(copy, at)
        if not is_constant(item):
            fresh = copied(item, depth)
            if fresh == NULL:
                give_back(copy)
                return NULL
            fill_item(copy, at, fresh)
            give_back(item)  # the one that the slice had
        at += 1
    return copy


cdef inline PyObject *copied(PyObject *value, int depth) noexcept:
    """The same for somebody else. NULL: raised, or it holds what can't be told to be constant."""
    if is_constant(value):
        return shared(value)
    if depth == 0:
        return NULL
    if is_kind(value, &PyDict_Type):
        return copied_dict(value, depth - 1)
    if is_kind(value, &PyList_Type):
        return copied_list(value, depth - 1)
    return NULL


cdef inline PyObject *inner_of(PyObject *value) noexcept:
    """What of a dict is to be copied with it. NULL: nothing, or raised."""
    cdef PyObject *found = NULL
    cdef PyObject *key
    cdef PyObject *item
    cdef Py_ssize_t at = 0
    while next_of_dict(value, &at, &key, &item):
        if is_constant(item):
            continue
        if found == NULL:
            found = new_list(0)
        if found == NULL or add_to_list(found, key) != 0 or add_to_list(found, item) != 0:
            break
    return found


cdef inline PyObject *copied_again(PyObject *value, PyObject *inner) noexcept:
    """As `copied` of a dict, by what `inner_of` told, without a look at each of its items."""
    cdef PyObject *copy = copy_of_dict(value)
    cdef PyObject *fresh
    cdef Py_ssize_t at = 0
    cdef int status
    while inner != NULL and copy != NULL and at < items_in(inner):
        fresh = copied(item_of(inner, at + 1), KEPT_DEPTH)
        status = -1
        if fresh != NULL:
            status = put_in_dict(copy, item_of(inner, at), fresh)
            give_back(fresh)
        if status != 0:
            give_back(copy)
            return NULL
        at += 2
    return copy


cdef inline Kept *kept_at(Kept *kept, PyObject *space, PyObject *name) noexcept:
    cdef uint64_t mixed = <uint64_t>(<size_t>name ^ <size_t>space << 7) * 0x9e3779b97f4a7c15ull
    return &kept[mixed >> 56]


cdef inline PyObject *recalled(
    Kept *kept, Table table, PyObject *space, PyObject *name
) noexcept:
    """The value of a key, ours; NULL: it must be read."""
    cdef Kept *one = kept_at(kept, space, name)
    cdef Kept held
    cdef PyObject *copy
    if one.name != name or one.space != space or table.region._mode < READABLE:
        return NULL
    if not _c.uf_table_again(table._table, &one.found):
        return NULL
    if is_constant(one.value):
        return shared(one.value)
    # Ours while it is copied: a collection of garbage may run anything meanwhile.
    held.value = shared(one.value)
    held.inner = one.inner
    if held.inner != NULL:
        shared(held.inner)
    if is_kind(held.value, &PyDict_Type):
        copy = copied_again(held.value, held.inner)
    else:
        copy = copied(held.value, KEPT_DEPTH)
    give_back(held.value)
    if held.inner != NULL:
        give_back(held.inner)
    if copy == NULL:
        PyErr_Clear()
    return copy


cdef inline void keep(
    Kept *kept, PyObject *space, PyObject *name, const _c.uf_found *found, PyObject *value
) noexcept:
    """Remember what was read; in another's place once it is read again."""
    cdef Kept *one = kept_at(kept, space, name)
    cdef Kept before
    cdef Kept now
    if one.met != found.word or one.asked != name:
        one.met = found.word
        one.asked = name
        return
    now.value = copied(value, KEPT_DEPTH)
    now.inner = NULL
    if now.value != NULL and is_kind(now.value, &PyDict_Type):
        now.inner = inner_of(now.value)
    if raised() != NULL:
        PyErr_Clear()
        if now.value != NULL:
            give_back(now.value)
        if now.inner != NULL:
            give_back(now.inner)
        return
    if now.value == NULL:
        return
    now.space = shared(space)
    now.name = shared(name)
    now.found = found[0]
    now.met = found.word
    now.asked = name
    before = one[0]
    one[0] = now
    drop(&before)


cdef inline void drop(Kept *one) noexcept:
    if one.name != NULL:
        give_back(one.space)
        give_back(one.name)
        give_back(one.value)
        if one.inner != NULL:
            give_back(one.inner)
