# cython: language_level=3, binding=False, embedsignature=True
"""Coroutines begun at once, in the name of a task that goes on with them if they have to wait.

Stands on the interpreter's protocol of awaiting and on the functions that asyncio keeps for makers of
tasks. Most handlers never wait: they cost one step, and no task. What a waiting one needs of a task
(`asyncio.timeout`, its cancellation) is there from the first step on, and stays the same. It runs no
loop: the task, which is parked until then, is its maker's.
"""

cimport cython
from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit
from cpython.object cimport PyObject

from ultrafast.core cimport _py

from asyncio import tasks

cdef enum:
    ENDED = 0  # a PySendResult

cdef object current_of = tasks.current_task
cdef object enter = tasks._enter_task
cdef object leave = tasks._leave_task
cdef object swap = getattr(tasks, "_swap_current_task", None)  # from Python 3.12 on


cdef object swapped(object loop, object task):
    """Make a task the loop's current one, or none: the one before."""
    if swap is not None and (task is not None or current_of(loop) is not None):
        return swap(loop, task)  # it raises where none is to follow none
    before = current_of(loop)
    if before is not None:
        leave(loop, before)
    if task is not None:
        enter(loop, task)
    return before


@cython.final
cdef class Walker:
    """A task that waits for something to go on with."""

    def set_task(self, task):
        """Say in what task it waits."""
        self.task = task


@cython.final
cdef class Walkers:
    """The walkers of a process.

    Parameters
    ----------
    loop : AbstractEventLoop
    more : callable
        Called when none is left; those that it makes are parked later.

    Notes
    -----
    Threads: the loop's.
    """

    def __cinit__(self, loop not None, more not None):
        self._loop, self._more = loop, more
        self._idle = []

    def __len__(self):
        return len(self._idle)

    def park(self, Walker walker not None, Py_ssize_t most):
        """Have a walker wait for its next; False: there are `most`, or no more are needed."""
        walker.coroutine = walker.yielded = walker.context = None
        if self._closed or len(self._idle) >= most:
            return False
        walker.parked = self._loop.create_future()
        self._idle.append(walker)
        return True

    def first(self, coroutine not None):
        """Take a coroutine's first step.

        Returns
        -------
        object
            What it returned; a `Walker`, which has what is left of it and has been woken; or the
            coroutine, when no walker was free.
        """
        return self._first(coroutine)

    cdef object _first(self, object coroutine):
        cdef Walker walker = None
        cdef PyObject *out = NULL
        cdef int how = ENDED
        while walker is None or walker.parked.done():  # its task was cancelled
            if not self._idle:
                self._more()
                return coroutine
            walker = self._idle.pop()
        context = PyContext_CopyCurrent()
        before = swapped(self._loop, walker.task)
        PyContext_Enter(context)
        try:
            how = _py.PyIter_Send(<PyObject *>coroutine, <PyObject *>None, &out)
        finally:
            PyContext_Exit(context)
            swapped(self._loop, before)
            if out == NULL or how == ENDED:
                self._idle.append(walker)
        said = <object>out
        _py.give_back(out)
        if how == ENDED:
            return said
        if getattr(said, "_asyncio_future_blocking", False):
            # As a task does that takes a future over: others may begin to wait for it before ours.
            said._asyncio_future_blocking = False
        walker.coroutine, walker.yielded, walker.context = coroutine, said, context
        if not walker.parked.done():
            walker.parked.set_result(None)
        if not self._idle:
            self._more()
        return walker

    def close(self):
        """Let the walkers end that have nothing to do; no more are parked."""
        self._closed = True
        idle, self._idle = self._idle, []
        for walker in idle:
            (<Walker>walker).task.cancel()
