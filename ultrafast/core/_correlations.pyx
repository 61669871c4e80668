# cython: language_level=3, binding=False, embedsignature=True
"""Numbers for the messages of one process, which all its doors that send share.

Stands on nothing. What a number is made of is its users' business.
"""

cimport cython
from libc.stdint cimport uint64_t


@cython.final
@cython.no_gc  # a number refers to nothing
cdef class Correlations:
    """Numbers that no other message of the region carries.

    Parameters
    ----------
    last : int
        The next one is the first that is given.
    """

    def __cinit__(self, uint64_t last):
        self._last = last

    def next(self):
        """The next number."""
        self._last += 1
        return self._last
