# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""What a worker waits for before agents that left it can begin in another.

Stands on csrc/uf_deliver.h. Moves no agent, and never waits itself.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._queue cimport Queues
from ultrafast.core._region cimport can_write
from ultrafast.core._status cimport check


@cython.final
cdef class Departure:
    """Begun once agents have left (`Agents.leave`): over when all that was sent here before is taken.

    Parameters
    ----------
    queues : Queues
    index : int
        Of this worker's inbox.
    """

    def __cinit__(self, Queues queues not None, uint32_t index):
        self._departure.seen = NULL
        can_write(queues.region)
        self._queues, self.index = queues, index
        self._departure.seen = <uint64_t *>PyMem_Calloc(
            queues.region._system.self.count, sizeof(uint64_t)
        )
        if self._departure.seen == NULL:
            raise MemoryError
        _c.uf_departure_begin(&queues.region._system.self, &self._departure)

    def __dealloc__(self):
        PyMem_Free(self._departure.seen)

    def is_over(self, bint patient=True):
        """Whether it is.

        Parameters
        ----------
        patient : bool, optional
            Wait for those who were on their way; `on_way` says how many still are.
        """
        can_write(self._queues.region)
        cdef int status = _c.uf_departure_look(
            &self._queues.region._system.self, self._queues._queues, self.index,
            &self._departure, patient, &self.on_way
        )
        if status == _c.UF_BUSY:
            return False
        check(status, f"queue {self.index}")
        return True
