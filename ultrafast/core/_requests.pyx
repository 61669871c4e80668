# cython: language_level=3, binding=False, embedsignature=True
"""Who waits for which answer, and until when: one table for all requests of a process.

Stands on the messages. A deadline costs a request one number: the table is swept when the earliest
of them has come. Sends nothing, and reads no clock.
"""

cimport cython
from libc.stdint cimport UINT64_MAX, uint64_t

from ultrafast.core._awaited cimport Awaited
from ultrafast.core._message cimport Message

cdef enum:
    CROWD = 1024


@cython.final
@cython.freelist(64)
cdef class Asked:
    """One request that is not answered yet."""


@cython.final
cdef class Requests:
    """Requests that wait for their answers.

    Parameters
    ----------
    arm : callable
        Called with a time (CLOCK_MONOTONIC, ns) at which `sweep` is to be called; the latest call
        counts.

    Notes
    -----
    Threads: the loop's.
    """

    def __cinit__(self, arm not None):
        self._asked = {}
        self._arm = arm
        self._armed_ns = UINT64_MAX
        self._crowd = CROWD

    def __len__(self):
        self._settle()
        return len(self._asked)

    cdef Asked _expect(self, uint64_t number, uint64_t until_ns):
        cdef Asked asked = Asked.__new__(Asked)
        asked.until_ns = until_ns
        self._enter(number, asked)
        return asked

    cdef Asked _expect_here(self, uint64_t number, uint64_t until_ns):
        """The same for who hands messages out until it is answered, or it says `_settle`."""
        cdef Asked asked = Asked.__new__(Asked)
        asked.until_ns = until_ns
        self._settle()
        self._here, self._here_number = asked, number
        return asked

    cdef int _tell(self, object value) except -1:
        """The answer to the one that is waited for right here."""
        self._here.value, self._here.told = value, True
        self._here = None
        return 0

    cdef int _settle(self) except -1:
        """Who waits right here waits as the others do."""
        cdef Asked asked = self._here
        if asked is not None:
            self._here = None
            self._enter(self._here_number, asked)
        return 0

    cdef int _enter(self, uint64_t number, Asked asked) except -1:
        self._asked[number] = asked
        if asked.until_ns < self._armed_ns:
            self._armed_ns = asked.until_ns
            self._arm(asked.until_ns)
        if len(self._asked) > self._crowd:
            self._forget_cancelled()
        return 0

    def expect(self, uint64_t number, uint64_t until_ns, future not None):
        """Have a future get the answer that carries a number; `TimeoutError` at the time."""
        self._expect(number, until_ns).future = future

    def forget(self, uint64_t number):
        """Nobody waits for this answer any more."""
        self._forget(number)

    cdef int _forget(self, uint64_t number) except -1:
        if self._here is not None and self._here_number == number:
            self._here = None
        else:
            self._asked.pop(number, None)
        return 0

    def answered(self, Message message not None):
        """Hand an answer to its asker. One whose asker gave up is released."""
        self._answered(message)

    cdef bint _answered(self, Message message) except *:
        """True: whose answer it is goes on when the loop turns, and not before."""
        if self._here is not None and self._here_number == message.correlation:
            self._here.message = message
            self._here = None
            return False
        found = self._asked.pop(message.correlation, None)
        if found is None:
            # Its asker gave up, or is a process that lived here before.
            message.release()
            return False
        future = (<Asked>found).future
        if future is None:
            (<Asked>found).message = message
            return True
        if future.done():
            message.release()
            return False
        if type(future) is Awaited:
            before, self._near = self._near, (<Awaited>future).near
            try:
                return (<Awaited>future)._come(message)
            finally:
                self._near = before
        future.set_result(message)
        return True

    def sweep(self, uint64_t now_ns):
        """End the requests whose time is over. Cost: a look at each that waits.

        Returns
        -------
        int or None
            When to sweep next; None when there is nothing to wait for. `arm` is not called for it.
        """
        cdef uint64_t soonest = UINT64_MAX
        cdef Asked asked
        self._settle()
        over = []
        for number, found in self._asked.items():
            asked = <Asked>found
            if asked.until_ns <= now_ns or (asked.future is not None and asked.future.done()):
                over.append(number)
            elif asked.until_ns < soonest:
                soonest = asked.until_ns
        self._armed_ns = soonest
        for number in over:
            asked = <Asked?>self._asked.pop(number)
            if asked.future is not None and not asked.future.done():
                asked.future.set_exception(TimeoutError())
        return None if soonest == UINT64_MAX else soonest

    def fail(self, make_error):
        """End all, each with an error that the call makes."""
        self._settle()
        asked, self._asked = self._asked, {}
        for found in asked.values():
            future = (<Asked?>found).future
            if future is not None and not future.done():
                future.set_exception(make_error())

    cdef _forget_cancelled(self):
        """Cancelled askers leave their requests behind, until the answers come."""
        self._asked = {
            number: found for number, found in self._asked.items()
            if (<Asked?>found).future is None or not (<Asked?>found).future.done()
        }
        self._crowd = 2 * len(self._asked) + CROWD
