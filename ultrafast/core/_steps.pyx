# cython: language_level=3, binding=False, embedsignature=True
"""Coroutines of the core: awaited like any other, and mostly done at their first step.

Stands on the interpreter's protocol of awaiting. What can't be done at once, a coroutine of Python
does, which is made only then.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from ultrafast.core cimport _py

import warnings
from collections.abc import Coroutine

cdef enum:
    ENDED = 0  # a PySendResult


cdef class Steps:
    """Something that is begun when it is first awaited. Of its subclasses."""

    def __init__(self):
        raise TypeError(f"{type(self).__name__} objects come from a call that is to be awaited")

    cdef object _begin(self, bint *ended):
        """The first step: what it gives, if that ends it; otherwise it has set `_rest`."""
        raise NotImplementedError

    cdef object _unawaited(self):
        """What to say where it is never awaited."""
        return f"a {type(self).__name__} was never awaited"

    cdef object _first(self, bint *ended):
        if self._begun or not self._made:
            raise RuntimeError("cannot reuse already awaited coroutine")
        self._begun = True
        return self._begin(ended)

    def send(self, value):
        cdef bint ended = False
        if self._rest is None:
            if value is not None and not self._begun:
                raise TypeError("can't send non-None value to a just-started coroutine")
            outcome = self._first(&ended)
            if ended:
                raise StopIteration(outcome)
        return self._rest.send(value)

    def throw(self, kind, value=None, traceback=None):
        if self._rest is not None:
            if value is None and traceback is None:
                return self._rest.throw(kind)
            return self._rest.throw(kind, value, traceback)
        self._begun = True
        if value is None:
            value = kind() if isinstance(kind, type) else kind
        raise value if traceback is None else value.with_traceback(traceback)

    def close(self):
        self._begun = True
        if self._rest is not None:
            self._rest.close()

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    def __dealloc__(self):
        if self._made and not self._begun:
            warnings.warn(self._unawaited(), RuntimeWarning)


cdef int step(PyObject *steps, PyObject *given, PyObject **outcome) except? -1:
    """`am_send`."""
    cdef Steps it = <Steps>steps
    cdef bint ended = False
    cdef object said
    outcome[0] = NULL
    if it._rest is None:
        if given != <PyObject *>None:
            it.send(<object>given)  # raises what it is to raise
        said = it._first(&ended)
        if ended:
            Py_INCREF(said)
            outcome[0] = <PyObject *>said
            return ENDED
    return _py.PyIter_Send(<PyObject *>it._rest, given, outcome)


cdef int stepped(type kind) except -1:
    """Have `await` call a subclass by the short way."""
    _py.uf_set_am_send(kind, step)
    return 0


stepped(Steps)
Coroutine.register(Steps)
