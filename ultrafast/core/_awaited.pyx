# cython: language_level=3, binding=False, embedsignature=True
"""An answer that a task waits for: a future whose task may go on at the very moment it comes.

Stands on the functions that asyncio keeps for makers of tasks, and on what its tasks ask of a future.
A future has its task wait for the loop's next turn, however short the rest of the task's step is;
whoever hands messages out has a place in the loop's turn already, and that serves the task as well.
Knows nothing of requests, and has no deadline.
"""

cimport cython
from cpython.contextvars cimport PyContext_Enter, PyContext_Exit

from ultrafast.core._message cimport Message
from ultrafast.core._walkers cimport swapped

from asyncio import CancelledError, InvalidStateError


@cython.final
@cython.freelist(64)
cdef class Awaited:
    """What a task needs of a future.

    Parameters
    ----------
    loop : AbstractEventLoop
        Of who waits.
    at_once : bool
        Whether who waits may go on while messages are handed out.

    Notes
    -----
    Threads: the loop's.
    """

    def __cinit__(self, loop not None, bint at_once):
        self._loop, self._at_once = loop, at_once

    def get_loop(self):
        """The loop of who waits."""
        return self._loop

    def done(self):
        """Whether there is an answer, or there will be none."""
        return self._done

    def cancelled(self):
        """Whether who waits was told to stop waiting."""
        return self._cancelled

    def result(self):
        """The answer; what it ended with otherwise is raised."""
        if not self._done:
            raise InvalidStateError("the answer is not there yet")
        if self._cancelled:
            raise CancelledError() if self._error is None else CancelledError(self._error)
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self):
        """What `result` would raise, but for a cancellation, which is raised; or None."""
        if self._cancelled or not self._done:
            self.result()
        return self._error

    def cancel(self, msg=None):
        """Have who waits stop waiting; False: it has come to an end already."""
        if self._done:
            return False
        self._cancelled, self._error = True, msg
        self._end()
        return True

    def set_result(self, answer):
        """This is the answer; who waits goes on at the loop's next turn."""
        if self._done:
            raise InvalidStateError("there is an answer already")
        self._value = answer
        self._end()

    def set_exception(self, error):
        """There will be no answer, for this reason."""
        if self._done:
            raise InvalidStateError("there is an answer already")
        self._error = error
        self._end()

    def add_done_callback(self, callback, *, context=None):
        """Have something called, with this, when it has come to an end."""
        if self._done:
            self._loop.call_soon(callback, self, context=context)
        elif self._callbacks is None:
            self._callbacks = [(callback, context)]
        else:
            self._callbacks.append((callback, context))

    def remove_done_callback(self, callback):
        """Have it not called; how many times it would have been."""
        if self._callbacks is None:
            return 0
        kept = [each for each in self._callbacks if each[0] != callback]
        removed = len(self._callbacks) - len(kept)
        self._callbacks = kept or None
        return removed

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self._done:
            raise StopIteration(self.result())
        self._asyncio_future_blocking = True
        return self

    cdef int _end(self) except -1:
        cdef list callbacks = self._callbacks
        self._done = True
        self._callbacks = None
        if callbacks is not None:
            for callback, context in callbacks:
                self._loop.call_soon(callback, self, context=context)
        return 0

    cdef bint _come(self, Message answer) except *:
        """This is the answer, and who waits goes on with it before this returns, if it may.

        True: it goes on when the loop turns. What a task lets through that is to end the process
        comes out of here.
        """
        cdef list callbacks = self._callbacks
        self._value = answer
        if not self._at_once or callbacks is None or len(callbacks) != 1:
            self._end()
            return True
        callback, context = callbacks[0]
        # A task's step is begun where no other one is current; the one up the stack is so again after.
        before = swapped(self._loop, None)
        try:
            try:
                PyContext_Enter(context)
            except RuntimeError:  # it is the context of somebody up the stack
                self._end()
                return True
            self._done = True
            self._callbacks = None
            try:
                callback(self)
            finally:
                PyContext_Exit(context)
        finally:
            if before is not None:
                swapped(self._loop, before)
        return False
