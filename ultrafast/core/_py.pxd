"""What the doors call of CPython with references that they count themselves.

For calls that are made millions of times a second: Cython's own forms hold and let go of each object
that they touch.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

cdef extern from *:
    """
    /* None of these leaves an exception behind unless it says so, so Cython need not look. */
    static inline int uf_is_kind(PyObject *one, PyTypeObject *kind) { return Py_TYPE(one) == kind; }
    static inline void uf_text_near(PyObject *one) { __builtin_prefetch((PyASCIIObject *)one + 1); }
    static inline PyObject *uf_shared(PyObject *one) { Py_INCREF(one); return one; }
    """
    ctypedef struct PyTypeObject:
        pass
    PyTypeObject PyUnicode_Type, PyBytes_Type, PyLong_Type, PyFloat_Type, PyBool_Type
    PyTypeObject PyDict_Type, PyList_Type
    PyObject *Py_None "Py_None"
    PyObject *Py_True "Py_True"
    PyObject *Py_False "Py_False"
    bint is_kind "uf_is_kind"(PyObject *one, PyTypeObject *kind) noexcept
    PyObject *shared "uf_shared"(PyObject *one) noexcept
    void give_back "Py_DECREF"(PyObject *one) noexcept
    void text_near "uf_text_near"(PyObject *one) noexcept  # a hint, of what may be a str
    bint is_ascii "PyUnicode_IS_COMPACT_ASCII"(PyObject *text) noexcept
    void *ascii_of "PyUnicode_DATA"(PyObject *text) noexcept
    Py_ssize_t length_of "PyUnicode_GET_LENGTH"(PyObject *text) noexcept
    const char *utf8_of "PyUnicode_AsUTF8AndSize"(PyObject *text, Py_ssize_t *length) noexcept
    char *content_of "PyBytes_AS_STRING"(PyObject *data) noexcept
    Py_ssize_t size_of "PyBytes_GET_SIZE"(PyObject *data) noexcept
    PyObject *text_from "PyUnicode_DecodeUTF8"(const char *data, Py_ssize_t size,
                                               const char *errors) noexcept
    PyObject *int_from "PyLong_FromLongLong"(int64_t number) noexcept
    PyObject *float_from "PyFloat_FromDouble"(double number) noexcept
    int64_t number_of "PyLong_AsLongLongAndOverflow"(PyObject *number, int *overflow) noexcept
    double real_of "PyFloat_AS_DOUBLE"(PyObject *number) noexcept
    PyObject *called "PyObject_CallOneArg"(PyObject *function, PyObject *argument) noexcept
    PyObject *raised "PyErr_Occurred"() noexcept
    void PyErr_Clear() noexcept
    bint PyErr_ExceptionMatches(PyObject *kind) noexcept
    PyObject *PyExc_ValueError
    PyObject *PyExc_RecursionError
    PyObject *PyExc_OverflowError

    # A method without Cython's parsing of arguments before it.
    ctypedef struct PyMethodDef:
        const char *ml_name
        void *ml_meth
        int ml_flags
        const char *ml_doc
    int METH_FASTCALL, METH_KEYWORDS
    object method_of "PyDescr_NewMethod"(PyTypeObject *kind, PyMethodDef *method)

    # Containers with references that are counted here; NULL and -1: raised.
    PyObject *copy_of_dict "PyDict_Copy"(PyObject *of) noexcept
    bint next_of_dict "PyDict_Next"(PyObject *of, Py_ssize_t *at, PyObject **key,
                                    PyObject **value) noexcept
    int put_in_dict "PyDict_SetItem"(PyObject *of, PyObject *key, PyObject *value) noexcept
    PyObject *new_list "PyList_New"(Py_ssize_t count) noexcept
    int add_to_list "PyList_Append"(PyObject *of, PyObject *item) noexcept
    PyObject *part_of_list "PyList_GetSlice"(PyObject *of, Py_ssize_t begin, Py_ssize_t end) noexcept
    Py_ssize_t items_in "PyList_GET_SIZE"(PyObject *of) noexcept

    # A list that is filled once, without looks at its length.
    PyObject *item_of "PyList_GET_ITEM"(PyObject *of, Py_ssize_t at) noexcept
    void fill_item "PyList_SET_ITEM"(PyObject *of, Py_ssize_t at, PyObject *item) noexcept

cdef extern from *:
    """
    typedef PySendResult (*uf_am_send)(PyObject *, PyObject *, PyObject **);

    /* What `await` calls of a type: an outcome comes back without an exception made for it. */
    static inline void uf_set_am_send(PyObject *type, int (*send)(PyObject *, PyObject *, PyObject **))
    {
        ((PyTypeObject *)type)->tp_as_async->am_send = (uf_am_send)(void (*)(void))send;
    }
    """
    void uf_set_am_send(object type, int (*send)(PyObject *, PyObject *, PyObject **) except? -1)
    int PyIter_Send(PyObject *, PyObject *, PyObject **) except? -1
    bint is_coroutine "PyCoro_CheckExact"(object) noexcept
